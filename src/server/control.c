/* What an administrator of this machine asks of the running broker: requests below "$CONTROL/signet/v1/" on a listener with
 * `protocol control`, a unix socket that only the broker's user and root may open. A request and its answer are JSON objects. */
#include "server/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"

enum { WHY_MAX = 512, WHY_DEFAULT = 10 };

const char control_policy[] = "connect anonymous\n"
			      "allow anonymous publish " CONTROL_TOPIC "#\n"
			      "allow anonymous subscribe " CONTROL_TOPIC "response\n"
			      "allow anonymous subscribe $SYS/#\n";

static void
put_time(json_t *o, const char *key, int64_t t)
{
	char text[32];
	struct tm tm;
	time_t at = (time_t)t;

	if (t == 0 || gmtime_r(&at, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)json_object_set_new(o, key, json_null());
	else
		(void)json_object_set_new(o, key, json_string(text));
}

static void
put_text(json_t *o, const char *key, const char *text)
{
	(void)json_object_set_new(o, key, text[0] != '\0' && strcmp(text, "-") != 0 ? json_string(text) : json_null());
}

static void
add_note(void *ctx, const struct diary_note *x)
{
	json_t *o = json_object();

	put_time(o, "time", x->time);
	put_text(o, "what", x->what);
	put_text(o, "address", x->peer);
	put_text(o, "listener", x->listener);
	put_text(o, "client_id", x->client_id);
	put_text(o, "cause", x->cause);
	put_text(o, "text", x->text);
	put_text(o, "remedy", x->remedy);
	put_text(o, "sni", x->sni);
	put_text(o, "tls_version", x->tls_version);
	(void)json_object_set_new(o, "tls_alert", x->alert >= 0 ? json_integer(x->alert) : json_null());
	put_text(o, "subject", x->subject);
	put_text(o, "issuer", x->issuer);
	put_text(o, "serial", x->serial);
	put_text(o, "fingerprint", x->fingerprint);
	put_time(o, "not_before", x->not_before);
	put_time(o, "not_after", x->not_after);
	(void)json_array_append_new(ctx, o);
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
add_renewal(void *ctx, const struct renewal *r)
{
	json_t *o = json_object();

	put_text(o, "name", r->name);
	put_text(o, "role", authz_role_name(r->role));
	put_text(o, "issuer", r->issuer);
	put_text(o, "serial", r->serial);
	put_text(o, "fingerprint", r->fingerprint);
	put_time(o, "time", r->time);
	put_time(o, "not_before", r->not_before);
	put_time(o, "not_after", r->not_after);
	put_text(o, "request", r->csr != NULL ? r->csr : "");
	(void)json_array_append_new(ctx, o);
}

/* {}: who asks for a new certificate, and who is in quarantine. */
static bool
do_renewals(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out)
{
	json_t *list = json_array();

	(void)r;
	(void)in;
	renewals_read(s->renewals, add_renewal, list);
	*ret_out = json_pack("{s:o}", "renewals", list);
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
		*ret_out = json_pack("{s:s}", "error", "name and fingerprint are needed");
	else if (!renew_answer(s, name, fingerprint, json_string_value(json_object_get(in, "certificate"))))
		*ret_out = json_pack("{s:s}", "error", "nobody of that name and certificate asks for a new one");
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
	{ "backup", control_backup },
	{ "renewals", do_renewals },
	{ "renew-answer", do_renew_answer },
};

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
			*ret_out = json_pack("{s:s}", "error", e.text[0] != '\0' ? e.text : "a request is a JSON object");
			return false;
		}
		later = commands[i].carry_out(s, r, in, ret_out);
		json_decref(in);
		return later;
	}
	*ret_out = json_pack("{s:s}", "error", "there is no such command");
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
