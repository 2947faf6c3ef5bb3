/* Properties (5.0, 2.2.2): one table says of each identifier what it is, where it may stand and
 * how often. Decoding, checking and encoding all go by it. */
#include <stddef.h>
#include "base/num.h"
#include "base/text.h"
#include "mqtt/internal.h"

enum prop_type { NONE, U8, U16, U32, VARINT, UTF8, TOPIC, BINARY, PAIR };

struct rule {
	uint8_t type;     /* enum prop_type */
	uint8_t field;    /* offset in struct mqtt_props */
	uint16_t packets; /* where it may stand, by type */
	uint16_t repeats; /* where it may stand more than once */
	uint32_t min;     /* numbers */
	uint32_t max;     /* 0: whatever the type can hold */
};

#define IN(name) (1u << MQTT_##name)
#define WILL (1u << PROPS_OF_WILL)
#define ACKS (IN(PUBACK) | IN(PUBREC) | IN(PUBREL) | IN(PUBCOMP) | IN(SUBACK) | IN(UNSUBACK))
#define F(name) offsetof(struct mqtt_props, name)

_Static_assert(sizeof(struct mqtt_props) <= 256, "rule.field is a byte");

/* 5.0, table 2-4; the ranges are those of 3.1.2.11, 3.1.3.2, 3.2.2.3, 3.3.2.3 and 3.8.2.1. */
static const struct rule rules[] = {
	/* clang-format off */
	[MQTT_P_PAYLOAD_FORMAT] = { U8, F(payload_format), WILL | IN(PUBLISH), 0, 0, 1 },
	[MQTT_P_MESSAGE_EXPIRY] = { U32, F(message_expiry), WILL | IN(PUBLISH), 0, 0, 0 },
	[MQTT_P_CONTENT_TYPE] = { UTF8, F(content_type), WILL | IN(PUBLISH), 0, 0, 0 },
	[MQTT_P_RESPONSE_TOPIC] = { TOPIC, F(response_topic), WILL | IN(PUBLISH), 0, 0, 0 },
	[MQTT_P_CORRELATION_DATA] = { BINARY, F(correlation_data), WILL | IN(PUBLISH), 0, 0, 0 },
	[MQTT_P_SUBSCRIPTION_ID] = {
	    VARINT, F(subscription_id), IN(PUBLISH) | IN(SUBSCRIBE), IN(PUBLISH), 1, 0 },
	[MQTT_P_SESSION_EXPIRY] = {
	    U32, F(session_expiry), IN(CONNECT) | IN(CONNACK) | IN(DISCONNECT), 0, 0, 0 },
	[MQTT_P_ASSIGNED_CLIENT_ID] = { UTF8, F(assigned_client_id), IN(CONNACK), 0, 0, 0 },
	[MQTT_P_SERVER_KEEP_ALIVE] = { U16, F(server_keep_alive), IN(CONNACK), 0, 0, 0 },
	[MQTT_P_AUTH_METHOD] = { UTF8, F(auth_method), IN(CONNECT) | IN(CONNACK) | IN(AUTH), 0, 0, 0 },
	[MQTT_P_AUTH_DATA] = { BINARY, F(auth_data), IN(CONNECT) | IN(CONNACK) | IN(AUTH), 0, 0, 0 },
	[MQTT_P_REQUEST_PROBLEM] = { U8, F(request_problem), IN(CONNECT), 0, 0, 1 },
	[MQTT_P_WILL_DELAY] = { U32, F(will_delay), WILL, 0, 0, 0 },
	[MQTT_P_REQUEST_RESPONSE] = { U8, F(request_response), IN(CONNECT), 0, 0, 1 },
	[MQTT_P_RESPONSE_INFO] = { UTF8, F(response_info), IN(CONNACK), 0, 0, 0 },
	[MQTT_P_SERVER_REFERENCE] = { UTF8, F(server_reference), IN(CONNACK) | IN(DISCONNECT), 0, 0, 0 },
	[MQTT_P_REASON_STRING] = {
	    UTF8, F(reason_string), IN(CONNACK) | ACKS | IN(DISCONNECT) | IN(AUTH), 0, 0, 0 },
	[MQTT_P_RECEIVE_MAXIMUM] = { U16, F(receive_maximum), IN(CONNECT) | IN(CONNACK), 0, 1, 0 },
	[MQTT_P_TOPIC_ALIAS_MAXIMUM] = { U16, F(topic_alias_maximum), IN(CONNECT) | IN(CONNACK), 0, 0, 0 },
	[MQTT_P_TOPIC_ALIAS] = { U16, F(topic_alias), IN(PUBLISH), 0, 1, 0 },
	[MQTT_P_MAXIMUM_QOS] = { U8, F(maximum_qos), IN(CONNACK), 0, 0, 1 },
	[MQTT_P_RETAIN_AVAILABLE] = { U8, F(retain_available), IN(CONNACK), 0, 0, 1 },
	[MQTT_P_USER_PROPERTY] = { PAIR, F(user), 0xffff, 0xffff, 0, 0 },
	[MQTT_P_MAXIMUM_PACKET_SIZE] = { U32, F(maximum_packet_size), IN(CONNECT) | IN(CONNACK), 0, 1, 0 },
	[MQTT_P_WILDCARD_AVAILABLE] = { U8, F(wildcard_available), IN(CONNACK), 0, 0, 1 },
	[MQTT_P_SUBSCRIPTION_ID_AVAILABLE] = { U8, F(subscription_id_available), IN(CONNACK), 0, 0, 1 },
	[MQTT_P_SHARED_AVAILABLE] = { U8, F(shared_available), IN(CONNACK), 0, 0, 1 },
	/* clang-format on */
};

_Static_assert(ARRAY_LEN(rules) <= 64, "presence is a bit of 64");

/* A topic name that can be published to: a response topic must not hold wildcards
 * [MQTT-3.3.2-14], and no topic is empty [MQTT-4.7.3-1]. */
static bool
is_topic(struct slice s)
{
	return s.n > 0 && memchr(s.p, '+', s.n) == NULL && memchr(s.p, '#', s.n) == NULL;
}

/* The value behind the identifier; false when it is not there or not of its type [MQTT-1.5.4-1]. */
static bool
read_value(struct rd *r, enum prop_type type, struct prop *v)
{
	struct slice name;

	switch (type) {
	case U8:
		v->number = rd_u8(r);
		return rd_ok(r);
	case U16:
		v->number = rd_u16(r);
		return rd_ok(r);
	case U32:
		v->number = rd_u32(r);
		return rd_ok(r);
	case VARINT:
		v->number = rd_varint(r);
		return rd_ok(r);
	case UTF8:
	case TOPIC:
		v->bytes = rd_str(r);
		return rd_ok(r) && utf8_ok(v->bytes);
	case BINARY:
		v->bytes = rd_str(r);
		return rd_ok(r);
	case PAIR:
		name = rd_str(r);
		v->bytes = rd_str(r);
		return rd_ok(r) && utf8_ok(name) && utf8_ok(v->bytes);
	case NONE:
	default:
		return false;
	}
}

uint8_t
prop_read(struct rd *r, unsigned packet, uint64_t *seen, struct prop *ret)
{
	/* An identifier is a variable byte integer, but all that are known take one byte, in
	 * which they stand as they are; anything else is unknown and malformed (5.0, 2.2.2.2). */
	uint8_t id = rd_u8(r);
	const struct rule *rule = &rules[id < ARRAY_LEN(rules) ? id : 0];

	ret->id = id;
	ret->number = 0;
	ret->bytes = (struct slice){ 0 };
	if (!read_value(r, (enum prop_type)rule->type, ret))
		return MQTT_RC_MALFORMED;
	if ((rule->packets >> packet & 1) == 0) /* known, but not for this packet (2.2.2.2) */
		return MQTT_RC_MALFORMED;
	if ((*seen >> id & 1) != 0 && (rule->repeats >> packet & 1) == 0)
		return MQTT_RC_PROTOCOL;
	*seen |= (uint64_t)1 << id;
	if (ret->number < rule->min || (rule->max > 0 && ret->number > rule->max))
		/* 3.3.2.3.4 names a reason of its own for alias 0 [MQTT-3.3.2-8] */
		return id == MQTT_P_TOPIC_ALIAS ? MQTT_RC_ALIAS_INVALID : MQTT_RC_PROTOCOL;
	if (rule->type == TOPIC && !is_topic(ret->bytes))
		return MQTT_RC_PROTOCOL;
	return MQTT_RC_OK;
}

static void
field_set(struct mqtt_props *p, const struct prop *v)
{
	uint8_t *at = (uint8_t *)p + rules[v->id].field;
	uint16_t u16 = (uint16_t)v->number;

	switch ((enum prop_type)rules[v->id].type) {
	case U8:
		*at = (uint8_t)v->number;
		break;
	case U16:
		memcpy(at, &u16, sizeof u16);
		break;
	case U32:
	case VARINT:
		memcpy(at, &v->number, sizeof v->number);
		break;
	case UTF8:
	case TOPIC:
	case BINARY:
		memcpy(at, &v->bytes, sizeof v->bytes);
		break;
	case PAIR: /* props_read() keeps the run of them */
	case NONE:
	default:
		break;
	}
}

uint8_t
props_read(struct rd *r, unsigned packet, struct mqtt_props *ret)
{
	struct rd in;

	*ret = (struct mqtt_props){ 0 };
	if (!props_open(r, &ret->raw))
		return MQTT_RC_MALFORMED;
	in = rd_of(ret->raw);
	while (rd_left(&in) > 0) {
		const uint8_t *at = in.p;
		struct prop v;
		uint8_t reason = prop_read(&in, packet, &ret->present, &v);

		if (reason != MQTT_RC_OK)
			return reason;
		if (v.id != MQTT_P_USER_PROPERTY) {
			field_set(ret, &v);
			continue;
		}
		if (ret->user.n == 0)
			ret->user.p = at;
		if (ret->user.p + ret->user.n == at)
			ret->user.n += (size_t)(in.p - at);
	}
	return MQTT_RC_OK;
}

uint8_t
props_read_reason(struct rd *r, unsigned packet, struct slice *ret)
{
	uint64_t seen = 0;
	struct slice raw;
	struct rd in;

	*ret = (struct slice){ 0 };
	if (!props_open(r, &raw))
		return MQTT_RC_MALFORMED;
	in = rd_of(raw);
	while (rd_left(&in) > 0) {
		struct prop v;
		uint8_t reason = prop_read(&in, packet, &seen, &v);

		if (reason != MQTT_RC_OK)
			return reason;
		if (v.id == MQTT_P_REASON_STRING)
			*ret = v.bytes;
	}
	return MQTT_RC_OK;
}

static void
put_field(struct wr *w, const struct mqtt_props *p, const struct rule *rule)
{
	const uint8_t *at = (const uint8_t *)p + rule->field;
	struct slice bytes;
	uint32_t u32;
	uint16_t u16;

	switch ((enum prop_type)rule->type) {
	case U8:
		wr_u8(w, *at);
		break;
	case U16:
		memcpy(&u16, at, sizeof u16);
		wr_u16(w, u16);
		break;
	case U32:
		memcpy(&u32, at, sizeof u32);
		wr_u32(w, u32);
		break;
	case VARINT:
		memcpy(&u32, at, sizeof u32);
		wr_varint(w, u32);
		break;
	case UTF8:
	case TOPIC:
	case BINARY:
		memcpy(&bytes, at, sizeof bytes);
		wr_str(w, bytes);
		break;
	case PAIR:
	case NONE: /* an identifier that does not exist was marked present */
	default:
		w->bad = true;
	}
}

static void
put_prop(struct wr *w, const struct mqtt_props *p, unsigned id)
{
	wr_u8(w, (uint8_t)id);
	put_field(w, p, &rules[id < ARRAY_LEN(rules) ? id : 0]);
}

bool
mqtt_put_props(struct wr *w, const struct mqtt_props *p)
{
	/* Any order is right (2.2.2.2). What a connection begins with goes in the order of the
	 * reference broker, for who compares CONNACK with it byte by byte. */
	static const uint8_t first[] = {
		MQTT_P_SERVER_KEEP_ALIVE,
		MQTT_P_TOPIC_ALIAS_MAXIMUM,
		MQTT_P_ASSIGNED_CLIENT_ID,
		MQTT_P_AUTH_METHOD,
		MQTT_P_AUTH_DATA,
		MQTT_P_RETAIN_AVAILABLE,
		MQTT_P_MAXIMUM_PACKET_SIZE,
		MQTT_P_RECEIVE_MAXIMUM,
		MQTT_P_MAXIMUM_QOS,
	};
	uint64_t left = p->present & ~((uint64_t)1 << MQTT_P_USER_PROPERTY);

	for (size_t i = 0; i < ARRAY_LEN(first); i++)
		if (mqtt_has(p, first[i])) {
			put_prop(w, p, first[i]);
			left &= ~((uint64_t)1 << first[i]);
		}
	for (; left != 0; left &= left - 1)
		put_prop(w, p, (unsigned)__builtin_ctzll(left));
	wr_bytes(w, p->user);
	return wr_ok(w);
}

void
put_props(struct wr *w, const struct mqtt_props *p)
{
	size_t mark = wr_len(w);

	mqtt_put_props(w, p);
	put_length(w, mark);
}

bool
mqtt_put_user_property(struct wr *w, struct slice name, struct slice value)
{
	wr_u8(w, MQTT_P_USER_PROPERTY);
	wr_str(w, name);
	wr_str(w, value);
	return wr_ok(w);
}
