/* PUBLISH (3.3): the packet that there are millions of. */
#include "base/text.h"
#include "mqtt/internal.h"

enum { RETAIN = 1, QOS_SHIFT = 1, DUP = 8, ALIAS_SIZE = 3, EXPIRY_SIZE = 5 };

/* Alias and expiry belong to one hop: the first is a number of this connection, the second is
 * counted down. */
static inline bool
is_forwarded(uint8_t id)
{
	return id != MQTT_P_TOPIC_ALIAS && id != MQTT_P_MESSAGE_EXPIRY && id != MQTT_P_WILL_DELAY;
}

static void
keep_prop(struct mqtt_publish *m, const struct prop *v)
{
	switch (v->id) {
	case MQTT_P_PAYLOAD_FORMAT:
		m->utf8_payload = v->number == 1;
		break;
	case MQTT_P_MESSAGE_EXPIRY:
		m->message_expiry = v->number;
		m->has_expiry = true;
		break;
	case MQTT_P_TOPIC_ALIAS:
		m->topic_alias = (uint16_t)v->number;
		break;
	case MQTT_P_RESPONSE_TOPIC:
		m->response_topic = v->bytes;
		break;
	case MQTT_P_CORRELATION_DATA:
		m->correlation_data = v->bytes;
		break;
	case MQTT_P_CONTENT_TYPE:
		m->content_type = v->bytes;
		break;
	case MQTT_P_SUBSCRIPTION_ID: /* several when several subscriptions matched: the first */
		m->subscription_id = m->subscription_id > 0 ? m->subscription_id : v->number;
		break;
	default: /* user properties are only passed on */
		break;
	}
}

/* m->props into fields, and the run of those that go on. */
static uint8_t
read_props(bool from_client, struct mqtt_publish *m)
{
	struct rd r = rd_of(m->props);
	struct slice run = { 0 };
	uint64_t seen = 0;
	uint32_t n = 0;

	while (rd_left(&r) > 0) {
		const uint8_t *at = r.p;
		struct prop v;
		uint8_t reason = prop_read(&r, MQTT_PUBLISH, &seen, &v);

		if (reason != MQTT_RC_OK)
			return reason;
		if (from_client && v.id == MQTT_P_SUBSCRIPTION_ID) /* [MQTT-3.3.4-6] */
			return MQTT_RC_PROTOCOL;
		keep_prop(m, &v);
		if (!is_forwarded(v.id))
			continue;
		if (n == 0)
			run.p = at;
		if (run.p + n == at)
			run.n += (size_t)(r.p - at);
		n += (uint32_t)(r.p - at);
	}
	m->forward_n = n;
	if (run.n == n)
		m->forward = run;
	return MQTT_RC_OK;
}

static void
clear_props(struct mqtt_publish *m)
{
	m->props = m->forward = m->withheld = m->added = (struct slice){ 0 };
	m->response_topic = m->correlation_data = m->content_type = (struct slice){ 0 };
	m->forward_n = m->message_expiry = m->subscription_id = 0;
	m->topic_alias = 0;
	m->has_expiry = m->utf8_payload = false;
}

uint8_t
mqtt_decode_publish(
    const struct mqtt_frame *f, uint8_t version, bool from_client, struct mqtt_publish *ret)
{
	struct rd r = rd_of(f->body);
	uint8_t qos = f->flags >> QOS_SHIFT & 3, reason;

	if (qos == 3 || (qos == 0 && (f->flags & DUP) != 0)) /* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
		return MQTT_RC_MALFORMED;
	ret->qos = qos;
	ret->retain = (f->flags & RETAIN) != 0;
	ret->dup = (f->flags & DUP) != 0;
	ret->topic = rd_str(&r);
	ret->packet_id = qos > 0 ? rd_u16(&r) : 0;
	clear_props(ret);
	if (version == MQTT_V5)
		props_open(&r, &ret->props);
	if (!rd_ok(&r) || !utf8_ok(ret->topic)) /* [MQTT-3.3.2-1] */
		return MQTT_RC_MALFORMED;
	if (qos > 0 && ret->packet_id == 0) /* [MQTT-2.2.1-3] */
		return MQTT_RC_PROTOCOL;
	if (ret->props.n > 0 && (reason = read_props(from_client, ret)) != MQTT_RC_OK)
		return reason;
	if (ret->topic.n == 0 && ret->topic_alias == 0) /* 5.0: 3.3.2.1; 3.1.1: [MQTT-4.7.3-1] */
		return version == MQTT_V5 ? MQTT_RC_PROTOCOL : MQTT_RC_MALFORMED;
	ret->payload = rd_take(&r, rd_left(&r));
	return MQTT_RC_OK;
}

/* Is the user property at <at> one whose name begins with <prefix>? */
static bool
is_withheld(const uint8_t *at, struct slice prefix)
{
	struct slice name;

	if (prefix.n == 0 || at[0] != MQTT_P_USER_PROPERTY)
		return false;
	name = slice_of(at + 3, (size_t)at[1] << 8 | at[2]);
	if (name.n < prefix.n)
		return false;
	for (size_t i = 0; i < prefix.n; i++) {
		unsigned c = name.p[i];

		if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != prefix.p[i])
			return false;
	}
	return true;
}

/* Those of <raw> that go on to subscribers, in their order; how many bytes. With <out> NULL they are only counted. */
static size_t
copy_forwarded(struct slice raw, unsigned packet, struct slice withheld, uint8_t *out)
{
	struct rd r = rd_of(raw);
	uint64_t seen = 0;
	size_t n = 0;
	struct prop v;

	while (rd_left(&r) > 0) {
		const uint8_t *at = r.p;

		if (prop_read(&r, packet, &seen, &v) != MQTT_RC_OK)
			break; /* decoding did not succeed: there is nothing to forward */
		if (!is_forwarded(v.id) || is_withheld(at, withheld))
			continue;
		if (out != NULL)
			memcpy(out + n, at, (size_t)(r.p - at));
		n += (size_t)(r.p - at);
	}
	return n;
}

void
mqtt_forward_props(const struct mqtt_publish *m, uint8_t *out)
{
	if (m->forward.p != NULL)
		memcpy(out, m->forward.p, m->forward.n);
	else
		(void)copy_forwarded(m->props, MQTT_PUBLISH, m->withheld, out);
}

void
mqtt_withhold(struct mqtt_publish *m, struct slice prefix)
{
	size_t n = copy_forwarded(m->props, MQTT_PUBLISH, prefix, NULL);

	if (n == m->forward_n)
		return;
	m->withheld = prefix;
	m->forward = (struct slice){ 0 };
	m->forward_n = (uint32_t)n;
}

size_t
mqtt_will_forward(const struct mqtt_will *will, uint8_t *out)
{
	return copy_forwarded(will->props.raw, PROPS_OF_WILL, (struct slice){ 0 }, out);
}

static void
put_publish_props(struct wr *w, const struct mqtt_publish *m)
{
	size_t n = m->forward.p != NULL ? m->forward.n : m->forward_n;
	size_t all = n + (m->topic_alias > 0 ? ALIAS_SIZE : 0) + (m->has_expiry ? EXPIRY_SIZE : 0);

	wr_varint(w, all <= UINT32_MAX ? (uint32_t)all : UINT32_MAX);
	if (m->topic_alias > 0) {
		wr_u8(w, MQTT_P_TOPIC_ALIAS);
		wr_u16(w, m->topic_alias);
	}
	if (m->has_expiry) {
		wr_u8(w, MQTT_P_MESSAGE_EXPIRY);
		wr_u32(w, m->message_expiry);
	}
	if (w->bad || (size_t)(w->end - w->p) < n) {
		w->bad = true;
		return;
	}
	if (n > 0) {
		mqtt_forward_props(m, w->p);
		w->p += n;
	}
}

bool
mqtt_put_publish(struct wr *w, uint8_t version, const struct mqtt_publish *m)
{
	size_t mark = wr_len(w);
	unsigned flags = (m->qos & 3u) << QOS_SHIFT;

	flags |= m->retain ? RETAIN : 0u;
	flags |= m->dup && m->qos > 0 ? DUP : 0u;
	wr_str(w, m->topic);
	if (m->qos > 0)
		wr_u16(w, m->packet_id);
	if (version == MQTT_V5)
		put_publish_props(w, m);
	wr_bytes(w, m->payload);
	return put_packet(w, mark, MQTT_PUBLISH, (uint8_t)flags);
}
