/* Any packet: decoded, encoded and compared whatever its type. */
#include <stdlib.h>
#include "mqtt/case_test.h"

uint8_t
any_decode(const struct mqtt_frame *f, uint8_t version, bool from_client, struct any *ret)
{
	ret->type = f->type;
	ret->version = version;
	switch ((enum mqtt_type)f->type) {
	case MQTT_CONNECT:
		return mqtt_decode_connect(f, &ret->connect);
	case MQTT_CONNACK:
		return mqtt_decode_connack(f, version, &ret->connack);
	case MQTT_PUBLISH:
		return mqtt_decode_publish(f, version, from_client, &ret->publish);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return mqtt_decode_ack(f, version, &ret->ack);
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		return mqtt_decode_filters(f, version, &ret->filters);
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		return mqtt_decode_suback(f, version, &ret->suback);
	case MQTT_DISCONNECT:
		return mqtt_decode_disconnect(f, version, &ret->end);
	case MQTT_AUTH:
		return mqtt_decode_auth(f, &ret->end);
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
	default:
		return mqtt_decode_empty(f);
	}
}

static bool
put_filters(struct wr *w, const struct any *m)
{
	struct mqtt_filters walk = m->filters;
	struct mqtt_props props = { .subscription_id = m->filters.subscription_id };
	struct mqtt_sub *subs = calloc(m->filters.count, sizeof *subs);
	size_t n = 0;
	bool ok;

	if (subs == NULL)
		abort();
	while (n < m->filters.count && mqtt_filters_next(&walk, &subs[n]))
		n++;
	if (n != m->filters.count || rd_left(&walk.rd) != 0)
		abort();
	if (props.subscription_id > 0)
		mqtt_set(&props, MQTT_P_SUBSCRIPTION_ID);
	ok = mqtt_put_filters(w, m->version, m->type, m->filters.packet_id, subs, n, &props);
	free(subs);
	return ok;
}

bool
any_put(struct wr *w, const struct any *m)
{
	switch ((enum mqtt_type)m->type) {
	case MQTT_CONNECT:
		return mqtt_put_connect(w, &m->connect);
	case MQTT_CONNACK:
		return mqtt_put_connack(w, m->version, &m->connack);
	case MQTT_PUBLISH:
		return mqtt_put_publish(w, m->version, &m->publish);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return mqtt_put_ack(
		    w, m->version, m->type, m->ack.packet_id, m->ack.reason, m->ack.reason_string);
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		return put_filters(w, m);
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		return mqtt_put_suback(w, m->version, m->type, m->suback.packet_id, m->suback.codes,
		    m->suback.props.reason_string);
	case MQTT_DISCONNECT:
		return mqtt_put_disconnect(w, m->version, &m->end);
	case MQTT_AUTH:
		return mqtt_put_auth(w, &m->end);
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
	default:
		return mqtt_put_empty(w, m->type);
	}
}

#define SAME(field)                                                                                \
	do {                                                                                       \
		if (a->field != b->field)                                                          \
			return #field;                                                             \
	} while (0)
#define SAME_SLICE(field)                                                                          \
	do {                                                                                       \
		if (!slice_eq(a->field, b->field))                                                 \
			return #field;                                                             \
	} while (0)
#define SAME_PROPS(field)                                                                          \
	do {                                                                                       \
		const char *differs_ = props_differ(&a->field, &b->field);                         \
		if (differs_ != NULL)                                                              \
			return differs_;                                                           \
	} while (0)

static const char *
props_differ(const struct mqtt_props *a, const struct mqtt_props *b)
{
	SAME(present);
	SAME(session_expiry);
	SAME(message_expiry);
	SAME(will_delay);
	SAME(subscription_id);
	SAME(maximum_packet_size);
	SAME(receive_maximum);
	SAME(topic_alias_maximum);
	SAME(topic_alias);
	SAME(server_keep_alive);
	SAME(payload_format);
	SAME(request_problem);
	SAME(request_response);
	SAME(maximum_qos);
	SAME(retain_available);
	SAME(wildcard_available);
	SAME(subscription_id_available);
	SAME(shared_available);
	SAME_SLICE(content_type);
	SAME_SLICE(response_topic);
	SAME_SLICE(correlation_data);
	SAME_SLICE(assigned_client_id);
	SAME_SLICE(auth_method);
	SAME_SLICE(auth_data);
	SAME_SLICE(response_info);
	SAME_SLICE(server_reference);
	SAME_SLICE(reason_string);
	SAME_SLICE(user);
	return NULL;
}

static const char *
connect_differs(const struct mqtt_connect *a, const struct mqtt_connect *b)
{
	SAME(version);
	SAME(is_bridge);
	SAME(clean_start);
	SAME(has_username);
	SAME(has_password);
	SAME(keep_alive);
	SAME_SLICE(client_id);
	SAME_SLICE(username);
	SAME_SLICE(password);
	SAME(will.present);
	SAME(will.retain);
	SAME(will.qos);
	SAME(will.delay);
	SAME_SLICE(will.topic);
	SAME_SLICE(will.payload);
	SAME_PROPS(will.props);
	SAME_PROPS(props);
	return NULL;
}

/* The forwarded properties made from all of them, whatever m->forward says. */
static struct slice
forwarded(const struct mqtt_publish *m, uint8_t *out)
{
	struct mqtt_publish copy = *m;

	copy.forward = (struct slice){ 0 };
	if (m->forward_n > 0)
		mqtt_forward_props(&copy, out);
	return slice_of(out, m->forward_n);
}

static const char *
forward_differs(const struct mqtt_publish *a, const struct mqtt_publish *b)
{
	/* exactly as long as they should be, so that AddressSanitizer sees one byte too many */
	uint8_t *x = malloc(a->forward_n + (a->forward_n == 0)),
		*y = malloc(b->forward_n + (b->forward_n == 0));
	const char *differs = NULL;

	if (x == NULL || y == NULL)
		abort();
	if (!slice_eq(forwarded(a, x), forwarded(b, y)))
		differs = "forwarded properties";
	else if (a->forward.p != NULL && !slice_eq(a->forward, slice_of(x, a->forward_n)))
		differs = "forward";
	else if (b->forward_n > 0 && b->forward.p == NULL)
		differs = "forward, which an encoded packet has in one run";
	free(x);
	free(y);
	return differs;
}

static const char *
publish_differs(const struct mqtt_publish *a, const struct mqtt_publish *b)
{
	SAME_SLICE(topic);
	SAME_SLICE(payload);
	SAME_SLICE(response_topic);
	SAME_SLICE(correlation_data);
	SAME_SLICE(content_type);
	SAME(forward_n);
	SAME(message_expiry);
	SAME(packet_id);
	SAME(topic_alias);
	SAME(subscription_id);
	SAME(qos);
	SAME(retain);
	SAME(dup);
	SAME(has_expiry);
	SAME(utf8_payload);
	return forward_differs(a, b);
}

static const char *
filters_differ(const struct any *a, const struct any *b)
{
	struct mqtt_filters f = a->filters, g = b->filters;
	struct mqtt_sub x, y;

	SAME(filters.count);
	SAME(filters.options);
	SAME(filters.packet_id);
	SAME(filters.subscription_id);
	while (mqtt_filters_next(&f, &x))
		if (!mqtt_filters_next(&g, &y) || !slice_eq(x.filter, y.filter) ||
		    x.options != y.options)
			return "filter";
	return mqtt_filters_next(&g, &y) ? "number of filters" : NULL;
}

const char *
any_differs(const struct any *a, const struct any *b)
{
	SAME(type);
	switch ((enum mqtt_type)a->type) {
	case MQTT_CONNECT:
		return connect_differs(&a->connect, &b->connect);
	case MQTT_CONNACK:
		SAME(connack.session_present);
		SAME(connack.code);
		SAME_PROPS(connack.props);
		return NULL;
	case MQTT_PUBLISH:
		return publish_differs(&a->publish, &b->publish);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		SAME(ack.packet_id);
		SAME(ack.reason);
		SAME_SLICE(ack.reason_string);
		return NULL;
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		return filters_differ(a, b);
	case MQTT_SUBACK:
	case MQTT_UNSUBACK: /* what the encoder takes: not the user properties */
		SAME(suback.packet_id);
		SAME_SLICE(suback.codes);
		SAME_SLICE(suback.props.reason_string);
		return NULL;
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		SAME(end.reason);
		SAME_PROPS(end.props);
		return NULL;
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
	default:
		return NULL;
	}
}

const char *
any_roundtrip(const struct mqtt_frame *f, uint8_t version, bool from_client, struct wr *out,
    uint8_t *ret_reason)
{
	size_t cap = f->size + 64;
	uint8_t *bytes = malloc(cap);
	struct wr w = wr_of(bytes, cap);
	struct mqtt_frame again = { 0 };
	const char *differs = NULL;
	struct any a, b;

	if (bytes == NULL)
		abort();
	*ret_reason = any_decode(f, version, from_client, &a);
	if (*ret_reason != MQTT_RC_OK)
		goto out;
	if (!any_put(&w, &a))
		differs = "it cannot be encoded";
	else if (mqtt_frame(wr_slice(&w), cap, &again) != MQTT_FRAME_OK || again.size != wr_len(&w))
		differs = "the encoded packet is no frame";
	else if (any_decode(&again, version, from_client, &b) != MQTT_RC_OK)
		differs = "the encoded packet is refused";
	else
		differs = any_differs(&a, &b);
	if (out != NULL)
		wr_bytes(out, wr_slice(&w));
out:
	free(bytes);
	return differs;
}
