/* SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK (3.8 to 3.11). */
#include "base/text.h"
#include "mqtt/internal.h"

enum {
	FLAGS = 2, /* [MQTT-3.8.1-1], [MQTT-3.10.1-1] */
	V3_FAILURE = 0x80,
	HANDLING_3 = MQTT_SUB_RETAIN_HANDLING,
	OPTIONS_V5 = MQTT_SUB_QOS | MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED |
		     MQTT_SUB_RETAIN_HANDLING,
};

static uint8_t
check_options(const struct mqtt_sub *sub, uint8_t version)
{
	uint8_t o = sub->options;

	if ((o & ~(version == MQTT_V5 ? OPTIONS_V5 : MQTT_SUB_QOS)) != 0) /* [MQTT-3.8.3-5] */
		return MQTT_RC_MALFORMED;
	/* 3.8.3.1 calls these two protocol errors; who tells the reasons apart expects those of
	 * the reference broker, to which whatever is wrong with these packets is malformed. */
	if ((o & MQTT_SUB_QOS) == MQTT_SUB_QOS || (o & MQTT_SUB_RETAIN_HANDLING) == HANDLING_3)
		return MQTT_RC_MALFORMED;
	/* [MQTT-3.8.3-4] */
	if ((o & MQTT_SUB_NO_LOCAL) != 0 && slice_starts(sub->filter, SL("$share/")))
		return MQTT_RC_PROTOCOL;
	return MQTT_RC_OK;
}

bool
mqtt_filters_next(struct mqtt_filters *f, struct mqtt_sub *ret)
{
	struct mqtt_sub sub = { 0 };

	if (rd_left(&f->rd) == 0)
		return false;
	sub.filter = rd_str(&f->rd);
	if (f->options)
		sub.options = rd_u8(&f->rd);
	if (!rd_ok(&f->rd))
		return false;
	*ret = sub;
	return true;
}

/* All filters once, on a copy of the reader; how many there are in m->count. */
static uint8_t
check_filters(struct mqtt_filters *m, uint8_t version)
{
	struct mqtt_filters walk = *m;
	struct mqtt_sub sub;
	uint8_t reason;

	while (mqtt_filters_next(&walk, &sub)) {
		if (sub.filter.n == 0 || !utf8_ok(sub.filter)) /* [MQTT-4.7.3-1], [MQTT-3.8.3-1] */
			return MQTT_RC_MALFORMED;
		if ((reason = check_options(&sub, version)) != MQTT_RC_OK)
			return reason;
		m->count++;
	}
	if (!rd_ok(&walk.rd) || m->count == 0) /* [MQTT-3.8.3-2], [MQTT-3.10.3-2] */
		return MQTT_RC_MALFORMED;
	return MQTT_RC_OK;
}

uint8_t
mqtt_decode_filters(const struct mqtt_frame *f, uint8_t version, struct mqtt_filters *ret)
{
	struct mqtt_filters m = { .rd = rd_of(f->body), .options = f->type == MQTT_SUBSCRIBE };
	struct mqtt_props props;
	uint8_t reason;

	m.packet_id = rd_u16(&m.rd);
	if (!rd_ok(&m.rd) || !flags_ok(f, version, FLAGS) || m.packet_id == 0) /* [MQTT-2.2.1-3] */
		return MQTT_RC_MALFORMED;
	if (version == MQTT_V5) {
		if (props_read(&m.rd, f->type, &props) != MQTT_RC_OK)
			return MQTT_RC_MALFORMED;
		m.subscription_id = props.subscription_id;
	}
	if ((reason = check_filters(&m, version)) != MQTT_RC_OK)
		return reason;
	*ret = m;
	return MQTT_RC_OK;
}

bool
mqtt_put_filters(struct wr *w, uint8_t version, uint8_t type, uint16_t packet_id,
    const struct mqtt_sub *subs, size_t n, const struct mqtt_props *props)
{
	static const struct mqtt_props none;
	size_t mark = wr_len(w);

	wr_u16(w, packet_id);
	if (version == MQTT_V5)
		put_props(w, props != NULL ? props : &none);
	for (size_t i = 0; i < n; i++) {
		wr_str(w, subs[i].filter);
		if (type == MQTT_SUBSCRIBE)
			wr_u8(w, subs[i].options);
	}
	return put_packet(w, mark, type, FLAGS);
}

static bool
code_allowed(uint8_t type, uint8_t version, uint8_t code)
{
	if (version == MQTT_V5)
		return reason_allowed(type, code);
	return code <= 2 || code == V3_FAILURE; /* [MQTT-3.9.3-2] */
}

uint8_t
mqtt_decode_suback(const struct mqtt_frame *f, uint8_t version, struct mqtt_suback *ret)
{
	struct rd r = rd_of(f->body);
	uint16_t id = rd_u16(&r);
	bool bare = f->type == MQTT_UNSUBACK && version != MQTT_V5;
	struct slice codes;
	uint8_t reason;

	if (!rd_ok(&r) || !flags_ok(f, version, 0))
		return MQTT_RC_MALFORMED;
	if (version == MQTT_V5) {
		if ((reason = props_read(&r, f->type, &ret->props)) != MQTT_RC_OK)
			return reason;
	} else
		ret->props = (struct mqtt_props){ 0 };
	codes = rd_take(&r, rd_left(&r));
	if (bare != (codes.n == 0))
		return MQTT_RC_MALFORMED;
	for (size_t i = 0; i < codes.n; i++)
		if (!code_allowed(f->type, version, codes.p[i]))
			return MQTT_RC_PROTOCOL;
	if (id == 0)
		return MQTT_RC_PROTOCOL;
	ret->packet_id = id;
	ret->codes = codes;
	return MQTT_RC_OK;
}

bool
mqtt_put_suback(struct wr *w, uint8_t version, uint8_t type, uint16_t packet_id, struct slice codes,
    struct slice reason_string)
{
	size_t mark = wr_len(w);
	struct mqtt_props props = { .reason_string = reason_string };

	wr_u16(w, packet_id);
	if (version == MQTT_V5) {
		if (reason_string.n > 0)
			mqtt_set(&props, MQTT_P_REASON_STRING);
		put_props(w, &props);
		wr_bytes(w, codes);
	} else if (type == MQTT_SUBACK) {
		for (size_t i = 0; i < codes.n; i++) /* 3.1.1 knows one failure */
			wr_u8(w, codes.p[i] < V3_FAILURE ? codes.p[i] : V3_FAILURE);
	}
	return put_packet(w, mark, type, 0);
}
