/* What an administrator of this machine asks of the running broker: requests below "$CONTROL/signet/v1/" on a listener with
 * `protocol control`, a unix socket that only the broker's user and root may open. A request and its answer are JSON objects. */
#include "server/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "server/succeed.h"

enum { WHY_MAX = 512, WHY_DEFAULT = 10, SUCCEEDED_MAX = 256 };

const char control_policy[] = "connect anonymous\n"
			      "allow anonymous publish " CONTROL_TOPIC "#\n"
			      "allow anonymous subscribe " CONTROL_TOPIC "response\n"
			      "allow anonymous subscribe " CONTROL_EVENTS "\n"
			      "allow anonymous subscribe #\n" /* status messages */
			      "allow anonymous subscribe $SYS/#\n";

/* Who is signed in at the console looks and says nothing: at everything, or at what lies below the name of his tenant. */
const char console_policy[] = "connect everyone\n"
			      "allow role watch subscribe #\n"
			      "allow role watch subscribe $SYS/#\n"
			      "allow role none subscribe /%u/#\n";

json_t *
control_error(const char *code, const char *text)
{
	return json_pack("{s:s,s:s}", "error", text, "code", code);
}

static void
add_note(void *ctx, const struct diary_note *x)
{
	(void)json_array_append_new(ctx, control_refusal_json(x));
}

/* {"about": "192.0.2.1", "count": 10}: the latest refusals, newest first. */
static bool
do_why(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const char *about = json_string_value(json_object_get(in, "about"));
	json_int_t n = json_is_integer(json_object_get(in, "count")) ? json_integer_value(json_object_get(in, "count")) : WHY_DEFAULT;
	json_t *list = json_array();

	(void)r;
	diary_read(s->diary, about != NULL ? about : "", (unsigned)NUM_MAX(1, NUM_MIN(n, (json_int_t)WHY_MAX)), add_note, list);
	*ret_out = json_pack("{s:o}", "refusals", list);
	return false;
}

static void
add_succeeded(void *ctx, const struct succeeded *e)
{
	json_t *list = ctx, *o;

	if (e->since == 0 || e->settled || json_array_size(list) >= SUCCEEDED_MAX || (o = json_object()) == NULL)
		return;
	control_put_text(o, "name", e->name);
	control_put_text(o, "serial", e->serial);
	control_put_text(o, "fingerprint", e->fingerprint);
	control_put_time(o, "since", e->since);
	(void)json_array_append_new(list, o);
}

static void
add_renewal(void *ctx, const struct renewal *r)
{
	json_t *o = json_object();

	control_put_text(o, "name", r->name);
	control_put_text(o, "role", authz_role_name(r->role));
	control_put_text(o, "quarantine", r->quarantine != NULL ? r->quarantine : "");
	control_put_text(o, "issuer", r->issuer);
	control_put_text(o, "serial", r->serial);
	control_put_text(o, "fingerprint", r->fingerprint);
	control_put_time(o, "time", r->time);
	control_put_time(o, "not_before", r->not_before);
	control_put_time(o, "not_after", r->not_after);
	control_put_text(o, "request", r->csr != NULL ? r->csr : "");
	(void)json_array_append_new(ctx, o);
}

/* {}: who asks for a new certificate, who is in quarantine, and which certificates have a successor that is in use. */
static bool
do_renewals(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	json_t *list = json_array(), *gone = json_array();

	(void)r;
	(void)in;
	renewals_read(s->renewals, add_renewal, list);
	successions_read(s->successions, add_succeeded, gone);
	*ret_out = json_pack("{s:o,s:o}", "renewals", list, "superseded", gone);
	return false;
}

/* {"fingerprint": "…"}: that one is on its CA's list now. */
static bool
do_renew_settled(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const char *fingerprint = json_string_value(json_object_get(in, "fingerprint"));

	(void)r;
	if (fingerprint == NULL || !succession_settle(s, fingerprint))
		*ret_out = control_error("missing", "no certificate with that fingerprint was superseded");
	else
		*ret_out = json_pack("{s:b}", "done", 1);
	return false;
}

/* {"name": "dev1", "fingerprint": "…", "certificate": "-----BEGIN …"}; without a certificate the answer is no. */
static bool
do_renew_answer(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const char *name = json_string_value(json_object_get(in, "name"));
	const char *fingerprint = json_string_value(json_object_get(in, "fingerprint"));

	(void)r;
	if (name == NULL || fingerprint == NULL)
		*ret_out = control_error("argument", "name and fingerprint are needed");
	else if (!renew_answer(s, name, fingerprint, json_string_value(json_object_get(in, "certificate"))))
		*ret_out = control_error("missing", "nobody of that name and certificate asks for a new one");
	else
		*ret_out = json_pack("{s:b}", "done", 1);
	return false;
}

static const struct {
	const char *name;
	/* True: control_answer() follows, from some thread; false: *ret_out is the answer. */
	bool (*carry_out)(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);
} commands[] = {
	{ "why", do_why },
	{ "explain", control_explain },
	{ "diff", control_diff },
	{ "rules", control_rules },
	{ "usage", control_usage },
	{ "backup", control_backup },
	{ "renewals", do_renewals },
	{ "renew-answer", do_renew_answer },
	{ "renew-settled", do_renew_settled },
	{ "hello", control_hello },
	{ "registry/begin", control_registry },
	{ "registry/chunk", control_registry },
	{ "registry/commit", control_registry },
	{ "registry/change", control_registry },
	{ "sessions", control_sessions },
	{ "session", control_session },
	{ "disconnect", control_disconnect },
	{ "purge", control_purge },
	{ "publish", control_publish },
};

static json_t *
listeners_json(const struct server *s, bool *ret_required)
{
	json_t *list = json_array();

	*ret_required = false;
	for (unsigned i = 0; i < s->n_listeners; i++) {
		static const char *const protocols[] = { [CONFIG_MQTT] = "mqtt", [CONFIG_WEBSOCKETS] = "websockets", [CONFIG_METRICS] = "metrics",
			[CONFIG_CONTROL] = "control", [CONFIG_CONSOLE] = "console" };
		const struct config_listener *l = s->listeners[i].config;
		bool required = (atomic_load(&s->listeners[i].rules) & RULE_REGISTERED) != 0;

		*ret_required = *ret_required || required;
		(void)json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:b}", "name", l->name, "protocol", protocols[l->protocol], "tls", config_is_tls(l),
						      "require_registration", required));
	}
	return list;
}

bool
control_hello(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	const json_t *protocol = json_object_get(in, "protocol");
	struct registration_facts f;
	json_t *o, *list;
	bool required;

	(void)r;
	if (protocol != NULL && json_integer_value(protocol) != CONTROL_PROTOCOL) {
		*ret_out = control_error("argument", "this broker speaks protocol 1");
		return false;
	}
	registration_facts(s->registrations, &f);
	list = listeners_json(s, &required);
	o = json_pack("{s:i,s:s,s:s,s:i,s:i,s:b,s:o}", "protocol", CONTROL_PROTOCOL, "version", SIGNET_VERSION, "broker_id", s->id, "workers", (int)s->n_workers,
	    "names_max", CONTROL_NAMES_MAX, "registration_required", required, "listeners", list);
	control_put_time(o, "started", s->started);
	(void)json_object_set_new(o, "registry", json_pack("{s:o,s:I}", "generation", f.known ? json_integer((json_int_t)f.generation) : json_null(),
						      "devices", (json_int_t)f.devices));
	*ret_out = o;
	return false;
}

void
control_answer(struct broker_request *r, json_t *out)
{
	char *text = out != NULL ? json_dumps(out, JSON_COMPACT) : NULL;

	json_decref(out);
	broker_request_done(r, CONTROL_TOPIC "response", text, text != NULL ? strlen(text) : 0);
}

/* As carry_out. */
static bool
carry_out(struct server *s, struct broker_request *r, struct slice name, json_t **ret_out)
{
	json_error_t e = { 0 };
	json_t *in;
	bool later;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (!slice_eq(name, slice_str(commands[i].name)))
			continue;
		in = json_loadb((const char *)r->payload.p, r->payload.n, JSON_REJECT_DUPLICATES, &e);
		if (!json_is_object(in)) {
			json_decref(in);
			*ret_out = control_error("syntax", e.text[0] != '\0' ? e.text : "a request is a JSON object");
			return false;
		}
		later = commands[i].carry_out(s, r, in, ret_out);
		json_decref(in);
		return later;
	}
	*ret_out = control_error("command", "there is no such command");
	return false;
}

bool
control_request(struct server *s, struct broker_request *r)
{
	json_t *out = NULL;

	if (r->listener >= s->n_listeners || s->listeners[r->listener].config->protocol != CONFIG_CONTROL)
		return false;
	if (!slice_starts(r->topic, SL(CONTROL_TOPIC)))
		return false;
	if (!carry_out(s, r, slice_from(r->topic, sizeof(CONTROL_TOPIC) - 1), &out))
		control_answer(r, out);
	return true;
}

bool
server_control_path(const char *file, char *out, size_t cap, struct err *err)
{
	struct config *c = config_load(&(struct server_options){ .config_file = file }, err);
	const char *path = NULL;
	bool ok;

	if (c == NULL)
		return false;
	for (unsigned i = 0; i < c->n_listeners; i++)
		if (c->listeners[i].protocol == CONFIG_CONTROL)
			path = c->listeners[i].path;
	ok = path != NULL ? text_copy(out, cap, slice_str(path)) || err_set(err, ERR_LIMIT, "%s: the path is too long", path) :
			    err_set(err, ERR_MISSING, "%s: no listener has `protocol control`: add `listener 0 PATH` and `protocol control`", file);
	config_free(c);
	return ok;
}
