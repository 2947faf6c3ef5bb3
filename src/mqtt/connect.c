/* CONNECT (3.1). */
#include "base/text.h"
#include "mqtt/internal.h"

/* clang-format off */
enum {
	RESERVED = 0x01, CLEAN_START = 0x02, WILL = 0x04, WILL_QOS = 0x18, WILL_RETAIN = 0x20,
	PASSWORD = 0x40, USERNAME = 0x80,
	WILL_QOS_SHIFT = 3,
	BRIDGE = 0x80, /* in the protocol level; mosquitto's bridges mark themselves with it */
};
/* clang-format on */

/* Whether we speak what name and level ask for; a bridge's mark is not known in 5.0. */
static bool
is_ours(struct slice name, uint8_t level, uint8_t plain)
{
	if (slice_eq(name, SL("MQIsdp")))
		return plain == MQTT_V31;
	return slice_eq(name, SL("MQTT")) && (plain == MQTT_V311 || level == MQTT_V5);
}

/* Protocol name and level. */
static uint8_t
read_version(struct rd *r, struct mqtt_connect *ret)
{
	struct slice name = rd_str(r);
	uint8_t level = rd_u8(r), plain = level & (uint8_t)~BRIDGE;

	if (!rd_ok(r))
		return MQTT_RC_MALFORMED;
	ret->version = level;
	if (!is_ours(name, level, plain)) /* [MQTT-3.1.2-1], [MQTT-3.1.2-2] */
		return MQTT_RC_VERSION;
	ret->version = plain;
	ret->is_bridge = level != plain;
	return MQTT_RC_OK;
}

static bool
connect_flags_ok(uint8_t flags, uint8_t version)
{
	/* [MQTT-3.1.2-3]; 3.1 does not use the bit */
	if ((flags & RESERVED) != 0 && version != MQTT_V31)
		return false;
	/* [MQTT-3.1.2-11], [MQTT-3.1.2-13] */
	if ((flags & WILL) == 0 && (flags & (WILL_QOS | WILL_RETAIN)) != 0)
		return false;
	if ((flags & WILL_QOS) == WILL_QOS) /* [MQTT-3.1.2-12] */
		return false;
	/* 3.1.1: [MQTT-3.1.2-22]; 5.0 allows it (3.1.2.9) */
	return version == MQTT_V5 || (flags & (USERNAME | PASSWORD)) != PASSWORD;
}

static uint8_t
read_will(struct rd *r, uint8_t version, uint8_t flags, struct mqtt_will *ret)
{
	uint8_t reason;

	ret->present = true;
	ret->retain = (flags & WILL_RETAIN) != 0;
	ret->qos = flags >> WILL_QOS_SHIFT & 3;
	if (version == MQTT_V5) {
		if ((reason = props_read(r, PROPS_OF_WILL, &ret->props)) != MQTT_RC_OK)
			return reason;
		ret->delay = ret->props.will_delay;
	}
	ret->topic = rd_str(r);
	ret->payload = rd_str(r);
	if (!rd_ok(r) || ret->topic.n == 0 ||
	    !utf8_ok(ret->topic)) /* [MQTT-4.7.3-1], [MQTT-3.1.3-11] */
		return MQTT_RC_MALFORMED;
	return MQTT_RC_OK;
}

/* A field whose flag is set. In 3.1 "the remaining length takes precedence": the flag may be set
 * and nothing follow. */
static bool
read_credential(struct rd *r, bool flag, uint8_t version, struct slice *ret)
{
	if (!flag || (version == MQTT_V31 && rd_left(r) == 0))
		return false;
	*ret = rd_str(r);
	return true;
}

static uint8_t
check_client_id(const struct mqtt_connect *m)
{
	/* 5.0: the server assigns one [MQTT-3.1.3-6] */
	if (m->client_id.n > 0 || m->version == MQTT_V5)
		return MQTT_RC_OK;
	/* [MQTT-3.1.3-8]; 3.1 wants 1 to 23 characters, of which brokers only ever enforced the
	 * 1 */
	return m->version == MQTT_V31 || !m->clean_start ? MQTT_RC_CLIENT_ID : MQTT_RC_OK;
}

static uint8_t
read_connect(struct rd *r, uint8_t flags, struct mqtt_connect *m)
{
	uint8_t reason;

	if (m->version == MQTT_V5) {
		if ((reason = props_read(r, MQTT_CONNECT, &m->props)) != MQTT_RC_OK)
			return reason;
		if (mqtt_has(&m->props, MQTT_P_AUTH_DATA) &&
		    !mqtt_has(&m->props, MQTT_P_AUTH_METHOD))
			return MQTT_RC_PROTOCOL; /* 3.1.2.11.10 */
	}
	m->client_id = rd_str(r);
	if (!rd_ok(r) || !utf8_ok(m->client_id)) /* [MQTT-3.1.3-4] */
		return MQTT_RC_MALFORMED;
	if ((flags & WILL) != 0 &&
	    (reason = read_will(r, m->version, flags, &m->will)) != MQTT_RC_OK)
		return reason;
	m->has_username = read_credential(r, (flags & USERNAME) != 0, m->version, &m->username);
	m->has_password = read_credential(r, (flags & PASSWORD) != 0, m->version, &m->password);
	if (!rd_ok(r) || rd_left(r) != 0 || !utf8_ok(m->username)) /* [MQTT-3.1.3-12] */
		return MQTT_RC_MALFORMED;
	return check_client_id(m);
}

uint8_t
mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *ret)
{
	struct rd r = rd_of(f->body);
	uint8_t flags, reason;

	*ret = (struct mqtt_connect){ 0 };
	if ((reason = read_version(&r, ret)) != MQTT_RC_OK)
		return reason;
	flags = rd_u8(&r);
	ret->keep_alive = rd_u16(&r);
	if (!rd_ok(&r) || !flags_ok(f, ret->version, 0) || !connect_flags_ok(flags, ret->version))
		return MQTT_RC_MALFORMED;
	ret->clean_start = (flags & CLEAN_START) != 0;
	return read_connect(&r, flags, ret);
}

static void
put_will(struct wr *w, uint8_t version, const struct mqtt_will *will)
{
	struct mqtt_props props;

	if (version == MQTT_V5) {
		props = will->props;
		if (will->delay > 0) {
			props.will_delay = will->delay;
			mqtt_set(&props, MQTT_P_WILL_DELAY);
		}
		put_props(w, &props);
	}
	wr_str(w, will->topic);
	wr_str(w, will->payload);
}

static uint8_t
connect_flags(const struct mqtt_connect *m)
{
	unsigned flags = 0;

	flags |= m->clean_start ? CLEAN_START : 0u;
	flags |= m->has_username ? USERNAME : 0u;
	flags |= m->has_password ? PASSWORD : 0u;
	if (m->will.present) {
		flags |= WILL | (m->will.qos & 3u) << WILL_QOS_SHIFT;
		flags |= m->will.retain ? WILL_RETAIN : 0u;
	}
	return (uint8_t)flags;
}

bool
mqtt_put_connect(struct wr *w, const struct mqtt_connect *m)
{
	size_t mark = wr_len(w);
	uint8_t bridge = m->is_bridge && m->version != MQTT_V5 ? BRIDGE : 0;

	wr_str(w, m->version == MQTT_V31 ? SL("MQIsdp") : SL("MQTT"));
	wr_u8(w, m->version | bridge);
	wr_u8(w, connect_flags(m));
	wr_u16(w, m->keep_alive);
	if (m->version == MQTT_V5)
		put_props(w, &m->props);
	wr_str(w, m->client_id);
	if (m->will.present)
		put_will(w, m->version, &m->will);
	if (m->has_username)
		wr_str(w, m->username);
	if (m->has_password)
		wr_str(w, m->password);
	return put_packet(w, mark, MQTT_CONNECT, 0);
}
