/* -D PACKET NAME VALUE: the MQTT 5 properties that the command line may set (MQTT 5, 2.2.2.2). */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"
#include "base/text.h"
#include "cli/client_opts.h"

enum prop_type { T_U8, T_U16, T_U32, T_VARINT, T_TEXT, T_BINARY, T_PAIR };

#define IN(packet) (1u << PROP_##packet)
#define NUMBER(field) offsetof(struct mqtt_props, field)

static const struct prop_def {
	const char *name;
	enum mqtt_prop id;
	enum prop_type type;
	unsigned packets; /* IN() of those that may carry it */
	size_t at;        /* in struct mqtt_props */
	uint32_t min, max;
} defs[] = {
	/* clang-format off */
	{ "payload-format-indicator", MQTT_P_PAYLOAD_FORMAT, T_U8, IN(PUBLISH) | IN(WILL), NUMBER(payload_format), 0, 1 },
	{ "message-expiry-interval", MQTT_P_MESSAGE_EXPIRY, T_U32, IN(PUBLISH) | IN(WILL), NUMBER(message_expiry), 0, UINT32_MAX },
	{ "content-type", MQTT_P_CONTENT_TYPE, T_TEXT, IN(PUBLISH) | IN(WILL), NUMBER(content_type) },
	{ "response-topic", MQTT_P_RESPONSE_TOPIC, T_TEXT, IN(PUBLISH) | IN(WILL), NUMBER(response_topic) },
	{ "correlation-data", MQTT_P_CORRELATION_DATA, T_BINARY, IN(PUBLISH) | IN(WILL), NUMBER(correlation_data) },
	{ "topic-alias", MQTT_P_TOPIC_ALIAS, T_U16, IN(PUBLISH), NUMBER(topic_alias), 1, UINT16_MAX },
	{ "subscription-identifier", MQTT_P_SUBSCRIPTION_ID, T_VARINT, IN(SUBSCRIBE), NUMBER(subscription_id), 1, 268435455 },
	{ "session-expiry-interval", MQTT_P_SESSION_EXPIRY, T_U32, IN(CONNECT) | IN(DISCONNECT), NUMBER(session_expiry), 0, UINT32_MAX },
	{ "authentication-method", MQTT_P_AUTH_METHOD, T_TEXT, IN(CONNECT), NUMBER(auth_method) },
	{ "authentication-data", MQTT_P_AUTH_DATA, T_BINARY, IN(CONNECT), NUMBER(auth_data) },
	{ "request-problem-information", MQTT_P_REQUEST_PROBLEM, T_U8, IN(CONNECT), NUMBER(request_problem), 0, 1 },
	{ "request-response-information", MQTT_P_REQUEST_RESPONSE, T_U8, IN(CONNECT), NUMBER(request_response), 0, 1 },
	{ "receive-maximum", MQTT_P_RECEIVE_MAXIMUM, T_U16, IN(CONNECT), NUMBER(receive_maximum), 1, UINT16_MAX },
	{ "topic-alias-maximum", MQTT_P_TOPIC_ALIAS_MAXIMUM, T_U16, IN(CONNECT), NUMBER(topic_alias_maximum), 0, UINT16_MAX },
	{ "maximum-packet-size", MQTT_P_MAXIMUM_PACKET_SIZE, T_U32, IN(CONNECT), NUMBER(maximum_packet_size), 1, UINT32_MAX },
	{ "will-delay-interval", MQTT_P_WILL_DELAY, T_U32, IN(WILL), NUMBER(will_delay), 0, UINT32_MAX },
	{ "reason-string", MQTT_P_REASON_STRING, T_TEXT, IN(DISCONNECT), NUMBER(reason_string) },
	{ "user-property", MQTT_P_USER_PROPERTY, T_PAIR,
	    IN(CONNECT) | IN(PUBLISH) | IN(SUBSCRIBE) | IN(UNSUBSCRIBE) | IN(DISCONNECT) | IN(WILL), NUMBER(user) },
	/* clang-format on */
};

static const char *const packets[PROP_PACKETS] = {
	[PROP_CONNECT] = "connect",
	[PROP_PUBLISH] = "publish",
	[PROP_SUBSCRIBE] = "subscribe",
	[PROP_UNSUBSCRIBE] = "unsubscribe",
	[PROP_DISCONNECT] = "disconnect",
	[PROP_WILL] = "will",
};

static const struct prop_def *
find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(defs); i++)
		if (strcasecmp(defs[i].name, name) == 0)
			return &defs[i];
	return NULL;
}

bool
client_prop_is_pair(const char *name)
{
	const struct prop_def *d = find(name);

	return d != NULL && d->type == T_PAIR;
}

static bool
add_pair(struct prop_set *s, const char *name, const char *value, struct err *err)
{
	struct slice n = slice_str(name), v = slice_str(value);
	size_t room = n.n + v.n + 5;
	uint8_t *grown;
	struct wr w;

	if (!utf8_ok(n) || !utf8_ok(v) || n.n > UINT16_MAX || v.n > UINT16_MAX)
		return err_set(err, ERR_USAGE,
		    "-D: name and value of a user-property are UTF-8 of at most 65535 bytes");
	grown = realloc(s->user, s->user_n + room);
	if (grown == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	s->user = grown;
	w = wr_of(grown + s->user_n, room);
	if (!mqtt_put_user_property(&w, n, v))
		return err_set(err, ERR_USAGE, "-D: user-property is too long");
	s->user_n += wr_len(&w);
	s->p.user = slice_of(s->user, s->user_n);
	mqtt_set(&s->p, MQTT_P_USER_PROPERTY);
	return true;
}

static bool
set_text(struct mqtt_props *p, const struct prop_def *d, const char *value, struct err *err)
{
	struct slice v = slice_str(value);

	if (v.n > UINT16_MAX || (d->type == T_TEXT && !utf8_ok(v)))
		return err_set(err, ERR_USAGE, "-D: the value of %s is %s of at most 65535 bytes",
		    d->name, d->type == T_TEXT ? "UTF-8 text" : "data");
	memcpy((uint8_t *)p + d->at, &v, sizeof v);
	return true;
}

static bool
set_number(struct mqtt_props *p, const struct prop_def *d, const char *value, struct err *err)
{
	uint8_t *at = (uint8_t *)p + d->at;
	char shown[64];
	uint64_t v;
	uint32_t v32;
	uint16_t v16;

	if (!text_u64(slice_str(value), d->min, d->max, &v))
		return err_set(err, ERR_USAGE,
		    "-D: the value of %s is a number from %u to %u, not '%s'", d->name, d->min,
		    d->max, text_show(slice_str(value), shown, sizeof shown));
	v32 = (uint32_t)v;
	v16 = (uint16_t)v;
	if (d->type == T_U8)
		*at = (uint8_t)v;
	else if (d->type == T_U16)
		memcpy(at, &v16, sizeof v16);
	else
		memcpy(at, &v32, sizeof v32);
	return true;
}

bool
client_prop_add(struct client_opts *o, const char *packet, const char *name, const char *value,
    const char *value2, struct err *err)
{
	const struct prop_def *d = find(name);
	struct prop_set *s;
	char shown[64];
	unsigned at = 0;

	while (at < PROP_PACKETS && strcasecmp(packets[at], packet) != 0)
		at++;
	if (at == PROP_PACKETS)
		return err_set(err, ERR_USAGE,
		    "-D %s: properties can be given for connect, publish, subscribe, unsubscribe, "
		    "disconnect and will",
		    text_show(slice_str(packet), shown, sizeof shown));
	if (d == NULL)
		return err_set(err, ERR_USAGE,
		    "-D %s: there is no property '%s'; MQTT 5, 2.2.2.2 has the list", packets[at],
		    text_show(slice_str(name), shown, sizeof shown));
	if ((d->packets & 1u << at) == 0)
		return err_set(err, ERR_USAGE, "-D: the property %s is not allowed for %s", d->name,
		    packets[at]);
	s = &o->props[at];
	if (d->type == T_PAIR)
		return add_pair(s, value, value2, err);
	if (mqtt_has(&s->p, d->id))
		return err_set(err, ERR_USAGE, "-D: the property %s is given twice for %s", d->name,
		    packets[at]);
	if (d->type == T_TEXT || d->type == T_BINARY ? !set_text(&s->p, d, value, err)
						     : !set_number(&s->p, d, value, err))
		return false;
	mqtt_set(&s->p, d->id);
	return true;
}
