/* A command for a device, on the topic on which it hears what to do. */
#include "api/broker.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { TOPIC_CAP = 2048 };

/* What <letter> stands for in actuate_topic. */
static struct slice
value_of(const struct registry_device *d, char letter)
{
	switch (letter) {
	case 't':
		return d->tenant;
	case 'd':
		return d->id;
	case 'u':
		return d->cn;
	default:
		return (struct slice){ 0 };
	}
}

static bool
write_topic(const char *form, const struct registry_device *d, char out[static TOPIC_CAP])
{
	size_t n = 0;

	for (const char *p = form; *p != '\0'; p++) {
		struct slice s = *p == '%' ? value_of(d, p[1]) : (struct slice){ 0 };

		if (s.n == 0)
			s = slice_of(p, 1);
		else
			p++;
		if (n + s.n >= TOPIC_CAP)
			return false;
		memcpy(out + n, s.p, s.n);
		n += s.n;
	}
	out[n] = '\0';
	return true;
}

void
call_actuate(struct call *c, const struct registry_device *d, const json_t *attrs, void (*done)(struct call *c, const json_t *answer))
{
	char topic[TOPIC_CAP], *payload = json_dumps(attrs, JSON_COMPACT);
	json_t *body = NULL;

	if (payload != NULL && write_topic(c->api->config->actuate_topic, d, topic))
		body = json_pack("{s:s, s:s, s:i, s:s}", "topic", topic, "payload", payload, "qos", 1, "content_type", "application/json");
	free(payload);
	broker_inquire(c, "publish", body, done);
}

/* ---- of our own API ---- */

struct telling {
	char topic[TOPIC_CAP];
	bool session, connected;
};

static void
on_published(struct call *c, const json_t *answer)
{
	const struct telling *t = c->work;

	call_json(c, 200, json_pack("{s:s, s:b, s:b, s:b}", "topic", t->topic, "connected", t->connected, "session", t->session, "subscribers",
			      json_is_true(json_object_get(answer, "subscribers"))));
}

/* {"attributes": …} as its JSON, or the payload as it is. */
static json_t *
message(const struct call *c, const char *topic)
{
	const json_t *attributes = json_object_get(c->body, "attributes");
	char *text = attributes != NULL ? json_dumps(attributes, JSON_COMPACT) : NULL;
	json_t *m = json_pack("{s:s, s:i, s:b, s:o}", "topic", topic, "qos", 1, "retain", call_bool(c, "retain", false), "payload",
	    attributes != NULL ? json_string(text != NULL ? text : "") : text_json(call_text(c, "payload")));

	if (m != NULL && attributes != NULL)
		(void)json_object_set_new(m, "content_type", json_string("application/json"));
	if (m != NULL && call_has(c, "expiry"))
		(void)json_object_set_new(m, "expiry", json_integer(call_int(c, "expiry", 0)));
	if (attributes == NULL || text != NULL) {
		free(text);
		return m;
	}
	json_decref(m);
	return NULL;
}

static void
on_sessions(struct call *c, const json_t *answer)
{
	struct telling *t = c->work;
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(answer, "sessions"), i, one) {
		t->session = true;
		t->connected = t->connected || json_is_true(json_object_get(one, "connected"));
	}
	broker_inquire(c, "publish", message(c, t->topic), on_published);
}

static void
actuate(struct call *c)
{
	struct telling *t = c->work = calloc(1, sizeof(*t));
	struct registry_device d;
	struct faults f = { 0 };
	struct err err;
	json_t *body;

	if (call_has(c, "attributes") == call_has(c, "payload")) {
		fault_add(&f, "/payload", "either this or attributes, and not both");
		call_faults(c, 422, &f);
		return;
	}
	if (t == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	if (!registry_device_get(c->api->registry, call_tenant(c), c->params[0], &d, &err)) {
		call_error(c, &err);
		return;
	}
	body = write_topic(c->api->config->actuate_topic, &d, t->topic) ? json_pack("{s:o, s:i}", "cn", text_json(d.cn), "limit", 100) : NULL;
	free(d.mem);
	broker_inquire(c, "sessions", body, on_sessions);
}

static const struct field body_rows[] = {
	{ "attributes", FIELD_OBJECT, .help = "Sent as JSON", .example = "{\"fan\":100}" },
	{ "payload", FIELD_TEXT, 0, 0, 200000, .help = "In its place: the message as it is", .example = "\"on\"" },
	{ "retain", FIELD_BOOL, .help = "It is also for who subscribes later" },
	{ "expiry", FIELD_INT, 0, 1, 4294967295, .help = "Seconds; later it does not arrive" },
	{ 0 },
};
static const struct field answer_rows[] = {
	{ "topic", FIELD_TEXT, FIELD_REQUIRED, 1, TOPIC_CAP },
	{ "connected", FIELD_BOOL, FIELD_REQUIRED, .help = "The device is there" },
	{ "session", FIELD_BOOL, FIELD_REQUIRED, .help = "The broker keeps a session for it, in which the message waits while it is away; false: it does not get this message" },
	{ "subscribers", FIELD_BOOL, FIELD_REQUIRED, .help = "Somebody has subscribed to the topic" },
	{ 0 },
};
static const struct schema body_schema = { "Actuation", body_rows }, answer_schema = { "Actuated", answer_rows };

static const struct op ops[] = {
	{ "actuateDevice", "Tell a device something, on its topic (`actuate_topic`) at QoS 1", HTTP_POST, "/api/v1/devices/{device}/actuate", OP_ONCE, 200, actuate,
	    .body = &body_schema, .answer = &answer_schema, .example = "{\"attributes\":{\"fan\":100}}" },
};
const struct op_group group_actuate = { "actuation", "What devices are told", ops, ARRAY_LEN(ops) };
