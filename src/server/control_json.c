/* How the answers and events of the control socket are written. */
#include "server/control.h"

#include <stdio.h>
#include <time.h>

#include "base/text.h"

void
control_put_time(json_t *o, const char *key, int64_t t)
{
	char text[32];
	struct tm tm;
	time_t at = (time_t)t;

	if (t == 0 || gmtime_r(&at, &tm) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)json_object_set_new(o, key, json_null());
	else
		(void)json_object_set_new(o, key, json_string(text));
}

void
control_put_text(json_t *o, const char *key, const char *text)
{
	(void)json_object_set_new(o, key, text[0] != '\0' && strcmp(text, "-") != 0 ? json_string(text) : json_null());
}

json_t *
control_refusal_json(const struct diary_note *x)
{
	json_t *o = json_object();

	control_put_time(o, "time", x->time);
	control_put_text(o, "what", x->what);
	control_put_text(o, "address", x->peer);
	control_put_text(o, "listener", x->listener);
	control_put_text(o, "client_id", x->client_id);
	control_put_text(o, "cause", x->cause);
	control_put_text(o, "text", x->text);
	control_put_text(o, "remedy", x->remedy);
	control_put_text(o, "sni", x->sni);
	control_put_text(o, "tls_version", x->tls_version);
	(void)json_object_set_new(o, "tls_alert", x->alert >= 0 ? json_integer(x->alert) : json_null());
	control_put_text(o, "subject", x->subject);
	control_put_text(o, "issuer", x->issuer);
	control_put_text(o, "serial", x->serial);
	control_put_text(o, "fingerprint", x->fingerprint);
	control_put_time(o, "not_before", x->not_before);
	control_put_time(o, "not_after", x->not_after);
	return o;
}

void
control_put_slice(json_t *o, const char *key, struct slice s)
{
	json_t *v = s.p != NULL ? json_stringn((const char *)s.p, s.n) : NULL;

	(void)json_object_set_new(o, key, v != NULL ? v : json_null());
}

static void
put_hex(json_t *o, const char *key, struct slice s)
{
	char text[2 * 32 + 1];

	(void)json_object_set_new(o, key, s.p != NULL && s.n > 0 && s.n <= 32 ? json_string(text_hex(s, text, sizeof(text))) : json_null());
}

void
control_put_session(const struct server *s, json_t *o, const struct broker_session *x)
{
	struct authz_facts f = { 0 };

	control_put_slice(o, "client_id", x->client_id);
	if (x->who != NULL) {
		rights_put_who(s, o, x->listener, x->who);
		authz_principal_facts(x->who, &f);
	}
	if (x->homeless)
		(void)json_object_set_new(o, "listener", json_null());
	put_hex(o, "issuer", slice_of(f.issuer_key, 32));
	put_hex(o, "serial", f.serial);
	put_hex(o, "fingerprint", slice_of(f.fingerprint, 32));
	control_put_text(o, "address", x->peer != NULL ? x->peer : "");
	(void)json_object_set_new(o, "protocol", x->version != 0 ? json_integer(x->version) : json_null());
}
