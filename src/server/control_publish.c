/* Messages that control sends to devices, as the broker itself. */
#include "server/control.h"

#include <stdlib.h>
#include <openssl/evp.h>

#include "base/num.h"
#include "base/text.h"
#include "topic/topic.h"

enum { PROPS_MAX = 64 * 1024 };

struct parcel {
	struct mqtt_publish p;
	uint8_t *payload; /* decoded, or NULL */
	uint8_t *props;   /* encoded, or NULL */
};

static const char *
text_of(const json_t *in, const char *key, struct slice *ret)
{
	const json_t *v = json_object_get(in, key);

	if (v == NULL || json_is_null(v))
		return NULL;
	if (!json_is_string(v) || json_string_length(v) > UINT16_MAX || !utf8_ok(slice_of(json_string_value(v), json_string_length(v))))
		return "a text has at most 65535 bytes and no U+0000";
	*ret = slice_of(json_string_value(v), json_string_length(v));
	return NULL;
}

static const char *
read_payload(const json_t *in, struct parcel *x)
{
	const json_t *text = json_object_get(in, "payload"), *coded = json_object_get(in, "payload_base64");
	EVP_ENCODE_CTX *ctx;
	int n = 0, rest = 0;
	bool ok;

	if ((text != NULL && !json_is_string(text)) || (coded != NULL && (!json_is_string(coded) || text != NULL)))
		return "payload or payload_base64 is a text";
	if (text != NULL)
		x->p.payload = slice_of(json_string_value(text), json_string_length(text));
	if (coded == NULL)
		return NULL;
	ctx = EVP_ENCODE_CTX_new();
	x->payload = malloc(json_string_length(coded) + 1);
	ok = ctx != NULL && x->payload != NULL;
	if (ok) {
		EVP_DecodeInit(ctx);
		ok = EVP_DecodeUpdate(ctx, x->payload, &n, (const unsigned char *)json_string_value(coded), (int)json_string_length(coded)) >= 0 &&
		     EVP_DecodeFinal(ctx, x->payload + n, &rest) == 1;
	}
	EVP_ENCODE_CTX_free(ctx);
	x->p.payload = slice_of(x->payload, (size_t)n + (size_t)rest);
	return ok ? NULL : "payload_base64 is not base64";
}

static const char *
put_user_properties(const json_t *list, struct wr *w)
{
	const json_t *pair;
	size_t i;

	if (list != NULL && !json_is_array(list))
		return "user_properties is a list of pairs of texts";
	json_array_foreach(list, i, pair) {
		const json_t *name = json_array_get(pair, 0), *value = json_array_get(pair, 1);
		struct slice a, b;

		if (json_array_size(pair) != 2 || !json_is_string(name) || !json_is_string(value))
			return "user_properties is a list of pairs of texts";
		a = slice_of(json_string_value(name), json_string_length(name));
		b = slice_of(json_string_value(value), json_string_length(value));
		/* What stamp_publishers promises. */
		if (!utf8_ok(a) || !utf8_ok(b) || slice_starts(a, SL("signet-")))
			return "a user property has no U+0000 in it, and its name does not begin with signet-";
		if (!mqtt_put_user_property(w, a, b))
			return "the properties have more than 64 KiB";
	}
	return NULL;
}

static const char *
read_props(const json_t *in, struct parcel *x)
{
	struct mqtt_props props = { .present = 0 };
	const char *why;
	struct wr w;

	if ((why = text_of(in, "content_type", &props.content_type)) != NULL || (why = text_of(in, "response_topic", &props.response_topic)) != NULL ||
	    (why = text_of(in, "correlation", &props.correlation_data)) != NULL)
		return why;
	if (props.content_type.p != NULL)
		mqtt_set(&props, MQTT_P_CONTENT_TYPE);
	if (props.response_topic.p != NULL) {
		if (!topic_name_ok(props.response_topic))
			return "response_topic is not a topic name";
		mqtt_set(&props, MQTT_P_RESPONSE_TOPIC);
	}
	if (props.correlation_data.p != NULL)
		mqtt_set(&props, MQTT_P_CORRELATION_DATA);
	x->props = malloc(PROPS_MAX);
	if (x->props == NULL)
		return "out of memory";
	w = wr_of(x->props, PROPS_MAX);
	if (!mqtt_put_props(&w, &props))
		return "the properties have more than 64 KiB";
	if ((why = put_user_properties(json_object_get(in, "user_properties"), &w)) != NULL)
		return why;
	x->p.forward = wr_slice(&w);
	x->p.forward_n = (uint32_t)wr_len(&w);
	return NULL;
}

static const char *
read_parcel(const struct server *s, const json_t *in, struct parcel *x)
{
	const json_t *qos = json_object_get(in, "qos"), *retain = json_object_get(in, "retain"), *expiry = json_object_get(in, "expiry");
	const char *why = text_of(in, "topic", &x->p.topic);

	if (why != NULL)
		return why;
	if (x->p.topic.n == 0 || !topic_name_ok(x->p.topic) || x->p.topic.p[0] == '$')
		return "topic is a topic name that does not begin with $";
	if ((qos != NULL && (!json_is_integer(qos) || json_integer_value(qos) < 0 || json_integer_value(qos) > 2)) ||
	    (retain != NULL && !json_is_boolean(retain)))
		return "qos is 0, 1 or 2, retain true or false";
	if (expiry != NULL && (!json_is_integer(expiry) || json_integer_value(expiry) < 1 || json_integer_value(expiry) > UINT32_MAX))
		return "expiry is a number of seconds from 1";
	x->p.qos = (uint8_t)json_integer_value(qos);
	x->p.retain = json_is_true(retain);
	if (x->p.retain && !s->config->retain_available)
		return "retain_available is false";
	x->p.has_expiry = expiry != NULL;
	x->p.message_expiry = (uint32_t)json_integer_value(expiry);
	if ((why = read_payload(in, x)) == NULL && s->config->message_size_limit > 0 && x->p.payload.n > (uint64_t)s->config->message_size_limit)
		why = "the payload is above message_size_limit";
	return why != NULL ? why : read_props(in, x);
}

bool
control_publish(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	struct parcel x = { .payload = NULL };
	const char *why = read_parcel(s, in, &x);
	bool heard = false;

	/* We are on the thread of the shard where the sender is at home. */
	r->writes = true;
	if (why != NULL)
		*ret_out = control_error("argument", why);
	else if (!shard_publish_message(broker_shard(s->broker, broker_home(s->broker, r->client_id)), &x.p, &heard))
		*ret_out = control_error("memory", "out of memory");
	else
		*ret_out = json_pack("{s:b,s:b}", "done", 1, "subscribers", heard);
	free(x.payload);
	free(x.props);
	return false;
}
