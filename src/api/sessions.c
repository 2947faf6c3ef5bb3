/* What the broker knows and does: sessions, refusals, messages. */
#include "api/broker.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

/* <items> of the broker's list as a page; takes them. */
static void
answer_list(struct call *c, const json_t *answer, json_t *items)
{
	struct registry_page page = { 0 };
	const char *next = json_string_value(json_object_get(answer, "next"));

	if (next != NULL && strlen(next) < sizeof(page.next))
		memcpy(page.next, next, strlen(next) + 1);
	call_page_json(c, items, &page);
}

/* The broker knows a CA by its key; people by its name. */
static void
name_ca(struct api *a, json_t *session)
{
	const char *issuer = json_string_value(json_object_get(session, "issuer"));
	uint8_t key[REGISTRY_HASH];
	struct registry_ca ca;
	size_t n;

	if (issuer == NULL || !text_unhex(slice_str(issuer), key, sizeof(key), &n) || n != sizeof(key))
		return;
	if (!registry_ca_find(a->registry, slice_of(key, sizeof(key)), &ca, NULL))
		return;
	(void)json_object_set_new(session, "ca", text_json(ca.name));
	free(ca.mem);
}

static void
on_sessions(struct call *c, const json_t *answer)
{
	json_t *items = json_deep_copy(json_object_get(answer, "sessions")), *one;
	size_t i;

	json_array_foreach(items, i, one)
		name_ca(c->api, one);
	answer_list(c, answer, items);
}

/* What the query has of these, under the broker's names. */
static json_t *
narrowed(const struct call *c, json_t *body)
{
	static const char *const names[] = { "role", "listener", "cn", "user", "about" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct slice s = call_query(c, names[i]);

		if (s.p != NULL)
			(void)json_object_set_new(body, names[i], text_json(s));
	}
	return body;
}

static void
list_sessions(struct call *c)
{
	struct slice connected = call_query(c, "connected"), cursor = call_query(c, "cursor");
	json_t *body = narrowed(c, json_pack("{s:I}", "limit", (json_int_t)call_query_int(c, "limit", 100)));

	if (connected.p != NULL)
		(void)json_object_set_new(body, "connected", json_boolean(slice_eq(connected, SL("true"))));
	if (cursor.p != NULL)
		(void)json_object_set_new(body, "after", text_json(cursor));
	broker_inquire(c, "sessions", body, on_sessions);
}

static void
on_refusals(struct call *c, const json_t *answer)
{
	answer_list(c, answer, json_deep_copy(json_object_get(answer, "refusals")));
}

static void
list_refusals(struct call *c)
{
	broker_inquire(c, "why", narrowed(c, json_pack("{s:I, s:s}", "count", (json_int_t)call_query_int(c, "count", 20), "about", "")), on_refusals);
}

static void
on_done(struct call *c, const json_t *answer)
{
	call_json(c, 200, json_pack("{s:I}", "sessions", json_integer_value(json_object_get(answer, "sessions"))));
}

/* Of one's own tenant: the registry says which common name it has. <how> and <what>: another member. NULL: answered. */
static json_t *
of_device(struct call *c, const char *how, json_t *what)
{
	struct registry_device d;
	struct err err;
	json_t *body;

	if (!registry_device_get(c->api->registry, call_tenant(c), c->params[0], &d, &err)) {
		json_decref(what);
		call_error(c, &err);
		return NULL;
	}
	body = json_pack("{s:o, s:o}", "cn", text_json(d.cn), how, what);
	free(d.mem);
	if (body == NULL)
		call_json(c, 503, NULL);
	return body;
}

static void
disconnect(struct call *c)
{
	json_t *body = of_device(c, "reason", json_string("disconnected by an administrator"));

	if (body != NULL)
		broker_inquire(c, "disconnect", body, on_done);
}

/* ---- one of them ---- */

/* The certificate that it came with, if it is one of ours. */
static json_t *
certificate_of(struct call *c, const json_t *session)
{
	const char *fingerprint = json_string_value(json_object_get(session, "fingerprint"));
	struct registry_certificate x;
	json_t *v;

	if (fingerprint == NULL || !registry_certificate_find_fingerprint(c->api->registry, slice_str(fingerprint), &x, NULL))
		return json_null();
	v = json_pack("{s:o, s:s, s:s, s:o}", "ca", text_json(x.ca), "serial", x.serial, "state", registry_certificate_state_name(x.state), "not_after",
	    time_json(x.not_after));
	free(x.mem);
	return v;
}

static void
on_session(struct call *c, const json_t *answer)
{
	json_t *v;

	if (!json_is_true(json_object_get(answer, "found"))) {
		call_problem(c, 404, "not-found", NULL, "the broker has no such session");
		return;
	}
	v = json_deep_copy(json_object_get(answer, "session"));
	if (v != NULL) {
		(void)json_object_set(v, "filters", json_object_get(answer, "subscriptions"));
		(void)json_object_set(v, "will", json_object_get(answer, "will"));
		(void)json_object_set_new(v, "certificate", certificate_of(c, v));
		name_ca(c->api, v);
	}
	call_json(c, 200, v);
}

static void
get_session(struct call *c)
{
	broker_inquire(c, "session", json_pack("{s:o}", "client_id", text_json(call_query(c, "client_id"))), on_session);
}

const json_t *
broker_best_session(const json_t *answer)
{
	const json_t *all = json_object_get(answer, "sessions"), *best = json_array_get(all, 0);
	json_t *one;
	size_t i;

	json_array_foreach(all, i, one)
		if (!json_is_true(json_object_get(best, "connected")) && json_is_true(json_object_get(one, "connected")))
			best = one;
	return best;
}

static void
on_device_sessions(struct call *c, const json_t *answer)
{
	const json_t *best = broker_best_session(answer);

	if (best == NULL)
		call_problem(c, 404, "not-found", NULL, "the broker has no session of this device");
	else
		broker_inquire(c, "session", json_pack("{s:O}", "client_id", json_object_get(best, "client_id")), on_session);
}

static void
get_device_session(struct call *c)
{
	json_t *body = of_device(c, "limit", json_integer(100));

	if (body != NULL)
		broker_inquire(c, "sessions", body, on_device_sessions);
}

static void
end_sessions(struct call *c)
{
	bool purge = call_bool(c, "purge", false);
	json_t *body = json_copy(c->body);

	(void)json_object_del(body, "purge");
	if (json_object_size(body) == (size_t)(json_object_get(body, "reason") != NULL)) {
		struct faults f = { 0 };

		json_decref(body);
		fault_add(&f, "/client_id", "this, or cn, or user must say whose");
		call_faults(c, 422, &f);
		return;
	}
	call_name(c, call_text(c, "client_id"));
	call_name(c, call_text(c, "cn"));
	call_name(c, call_text(c, "user"));
	broker_inquire(c, purge ? "purge" : "disconnect", body, on_done);
}

/* ---- messages ---- */

static void
on_published(struct call *c, const json_t *answer)
{
	call_json(c, 200, json_pack("{s:b}", "subscribers", json_is_true(json_object_get(answer, "subscribers"))));
}

static void
publish(struct call *c)
{
	call_name(c, call_text(c, "topic"));
	broker_inquire(c, "publish", json_incref(c->body), on_published);
}

/* ---- tables ---- */

static const struct field session_query[] = {
	{ "connected", FIELD_BOOL },
	{ "role", FIELD_TEXT, .min = 1, .max = 32, .rule = &rule_name },
	{ "listener", FIELD_TEXT, .min = 1, .max = 160, .rule = &rule_plain },
	{ "cn", FIELD_TEXT, .min = 1, .max = 160, .rule = &rule_plain },
	{ "user", FIELD_TEXT, .min = 1, .max = 256, .rule = &rule_plain },
	{ 0 },
};
static const struct field one_query[] = {
	{ "client_id", FIELD_TEXT, FIELD_REQUIRED, 1, 512, &rule_plain },
	{ 0 },
};
static const struct field end_rows[] = {
	{ "client_id", FIELD_TEXT, 0, 1, 512, &rule_plain },
	{ "cn", FIELD_TEXT, 0, 1, 160, &rule_plain },
	{ "user", FIELD_TEXT, 0, 1, 256, &rule_plain, .help = "Several narrow" },
	{ "reason", FIELD_TEXT, 0, 1, 200, &rule_plain, .help = "For the clients" },
	{ "purge", FIELD_BOOL, .help = "The sessions end, too, with what waits in them" },
	{ 0 },
};
static const struct field refusal_query[] = {
	{ "about", FIELD_TEXT, .min = 1, .max = 256, .rule = &rule_plain, .help = "Address, client id, common name, serial number or cause" },
	{ "count", FIELD_INT, .min = 1, .max = 100 },
	{ 0 },
};
/* docs/control-protocol.md says what is in them. */
static const struct field any_row = { "value", FIELD_ANY };
#define SESSION_FIELDS \
	{ "client_id", FIELD_ANY, FIELD_REQUIRED }, { "connected", FIELD_BOOL, FIELD_REQUIRED }, { "listener", FIELD_ANY }, { "role", FIELD_ANY }, { "cn", FIELD_ANY }, \
	{ "user", FIELD_ANY }, { "issuer", FIELD_ANY }, { "serial", FIELD_ANY }, { "fingerprint", FIELD_ANY }, { "address", FIELD_ANY }, { "protocol", FIELD_ANY }, \
	{ "keep_alive", FIELD_ANY }, { "seen", FIELD_ANY }, { "offline_since", FIELD_ANY }, { "expiry", FIELD_ANY }, { "subscriptions", FIELD_ANY }, \
	{ "waiting", FIELD_ANY }, { "inflight", FIELD_ANY }, { "dropped", FIELD_ANY }, { "waiting_bytes", FIELD_ANY }, { "since", FIELD_ANY }, \
	{ "tls_version", FIELD_ANY }, { "cipher", FIELD_ANY }, { "sni", FIELD_ANY }, { "bytes_in", FIELD_ANY }, { "bytes_out", FIELD_ANY }, \
	{ "messages_in", FIELD_ANY }, { "messages_out", FIELD_ANY }, { "ca", FIELD_ANY, .help = "Whose certificate it has, if the registry knows this CA" }
static const struct field session_rows[] = {
	SESSION_FIELDS,
	{ 0 },
};
static const struct field filter_rows[] = {
	{ "filter", FIELD_ANY, FIELD_REQUIRED }, { "qos", FIELD_INT, FIELD_REQUIRED, 0, 2 },
	{ 0 },
};
static const struct field filter_row = { "filter", FIELD_OBJECT, .of = filter_rows };
static const struct field shown_certificate_rows[] = {
	{ "ca", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX }, { "serial", FIELD_TEXT, FIELD_REQUIRED, 2, 2 * REGISTRY_SERIAL_MAX },
	{ "state", FIELD_TEXT, FIELD_REQUIRED, 1, 32 }, { "not_after", FIELD_ANY, FIELD_REQUIRED },
	{ 0 },
};
static const struct field one_rows[] = {
	SESSION_FIELDS,
	{ "filters", FIELD_LIST, FIELD_REQUIRED, 0, 1000, .of = &filter_row, .help = "What it has subscribed to; at most 1000 are named" },
	{ "will", FIELD_ANY, FIELD_REQUIRED, .help = "The topic of its will, or null" },
	{ "certificate", FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULL, .of = shown_certificate_rows, .help = "null: none that the registry knows" },
	{ 0 },
};
static const struct field refusal_rows[] = {
	{ "time", FIELD_ANY, FIELD_REQUIRED }, { "what", FIELD_ANY }, { "address", FIELD_ANY }, { "listener", FIELD_ANY }, { "client_id", FIELD_ANY }, { "cause", FIELD_ANY, FIELD_REQUIRED },
	{ "text", FIELD_ANY, FIELD_REQUIRED }, { "remedy", FIELD_ANY, FIELD_REQUIRED }, { "sni", FIELD_ANY }, { "tls_version", FIELD_ANY }, { "tls_alert", FIELD_ANY }, { "subject", FIELD_ANY },
	{ "issuer", FIELD_ANY }, { "serial", FIELD_ANY }, { "fingerprint", FIELD_ANY }, { "not_before", FIELD_ANY }, { "not_after", FIELD_ANY },
	{ 0 },
};
static const struct field done_rows[] = {
	{ "sessions", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ 0 },
};
static const struct field pair_row = { "pair", FIELD_LIST, 0, 2, 2, .of = &any_row };
static const struct field message_rows[] = {
	{ "topic", FIELD_TEXT, FIELD_REQUIRED, 1, 4096, &rule_plain, .example = "\"/acme/sensor01/config\"" },
	{ "payload", FIELD_TEXT, 0, 0, 200000, .example = "\"{\\\"fan\\\":100}\"" },
	{ "qos", FIELD_INT, 0, 0, 2, .example = "1" },
	{ "retain", FIELD_BOOL },
	{ "expiry", FIELD_INT, 0, 0, 4294967295, .help = "Seconds" },
	{ "content_type", FIELD_TEXT, 0, 1, 256, &rule_plain },
	{ "user_properties", FIELD_LIST, 0, 0, 32, .of = &pair_row },
	{ 0 },
};
static const struct field published_rows[] = {
	{ "subscribers", FIELD_BOOL, FIELD_REQUIRED, .help = "Somebody has subscribed" },
	{ 0 },
};
static const struct schema session_schema = { "Session", session_rows }, refusal_schema = { "Refusal", refusal_rows },
			   one_schema = { "OneSession", one_rows }, end_schema = { "SessionEnd", end_rows },
			   done_schema = { "Disconnected", done_rows }, message_schema = { "Message", message_rows },
			   published_schema = { "Published", published_rows };

static const struct op ops[] = {
	{ "listSessions", "Sessions of the broker, connected or kept", HTTP_GET, "/api/v1/sessions", OP_PLATFORM | OP_LIST, 200, list_sessions, .query = session_query,
	    .answer = &session_schema },
	{ "getSession", "One session: its subscriptions, what waits for it, who it is", HTTP_GET, "/api/v1/session", OP_PLATFORM, 200, get_session, .query = one_query,
	    .answer = &one_schema },
	{ "getDeviceSession", "The session of a device; of several one that is connected", HTTP_GET, "/api/v1/devices/{device}/session", 0, 200, get_device_session,
	    .answer = &one_schema },
	{ "endSessions", "End connections, or sessions with what waits in them", HTTP_POST, "/api/v1/sessions/end", OP_PLATFORM, 200, end_sessions, .body = &end_schema,
	    .answer = &done_schema, .example = "{\"client_id\":\"sensor01\",\"reason\":\"maintenance\"}" },
	{ "listRefusals", "Whom the broker refused last, and why", HTTP_GET, "/api/v1/refusals", OP_PLATFORM | OP_ALL, 200, list_refusals, .query = refusal_query,
	    .answer = &refusal_schema },
	{ "disconnectDevice", "End the connections of a device; it may come back", HTTP_POST, "/api/v1/devices/{device}/disconnect", 0, 200, disconnect,
	    .answer = &done_schema },
	{ "publish", "Publish a message as the broker itself; at QoS 1 and 2 it waits for sessions that are away", HTTP_POST, "/api/v1/publish", OP_PLATFORM | OP_ONCE, 200,
	    publish, .body = &message_schema, .answer = &published_schema, .example = "{\"topic\":\"/acme/sensor01/config\",\"payload\":\"{\\\"fan\\\":100}\",\"qos\":1}" },
};
const struct op_group group_broker = { "broker", "The running broker", ops, ARRAY_LEN(ops) };
