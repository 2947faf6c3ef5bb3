/* signet device pending, approve, refuse: what devices have asked for over MQTT. The CA's key is here, the broker never has it. */
#include "cli/ctl.h"
#include "cli/internal.h"
#include "cli/local.h"

#include <stdlib.h>
#include <string.h>

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static bool
ask_list(const struct ctl *t, json_t **ret, struct err *err)
{
	json_t *in = json_object();
	bool ok = in != NULL ? ctl_ask(t, "renewals", in, ret, err) : err_set(err, ERR_MEMORY, "out of memory");

	json_decref(in);
	return ok;
}

/* Nothing is wrong with his certificate. */
static bool
is_unregistered(const json_t *asker)
{
	return strcmp(text_of(asker, "quarantine"), "unregistered") == 0;
}

bool
device_pending(const struct ctl *t, bool json, struct err *err)
{
	json_t *out, *list, *o;
	size_t i;

	if (!ask_list(t, &out, err))
		return false;
	list = json_object_get(out, "renewals");
	if (json)
		(void)json_dumpf(list, stdout, JSON_INDENT(1));
	else
		json_array_foreach(list, i, o)
			(void)printf("%s  %s, role %s%s, serial %s, %s, valid to %s\n", text_of(o, "time"), text_of(o, "name"), text_of(o, "role"),
			    is_unregistered(o) ? " (not registered)" : "", text_of(o, "serial"),
			    text_of(o, "request")[0] != '\0' ? "asks for a new certificate" : "has not asked yet",
			    text_of(o, "not_after")[0] != '\0' ? text_of(o, "not_after") : "an end that is over or not begun");
	if (json)
		(void)printf("\n");
	else if (json_array_size(list) == 0)
		(void)printf("Nobody asks for a new certificate.\n");
	json_decref(out);
	return true;
}

/* Who asks under <name>; borrowed from <out>. Two of one name below different CAs: <serial> says which. */
static const json_t *
find_asker(const json_t *out, const char *name, const char *serial, struct err *err)
{
	const json_t *list = json_object_get(out, "renewals"), *found = NULL;
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o) {
		if (strcmp(text_of(o, "name"), name) != 0 || (serial != NULL && strcmp(text_of(o, "serial"), serial) != 0))
			continue;
		if (found != NULL) {
			(void)err_set(err, ERR_INPUT, "several clients of the name \"%s\" ask: say --serial (`signet device pending`)", name);
			return NULL;
		}
		found = o;
	}
	if (found == NULL)
		(void)err_set(err, ERR_MISSING, "nobody of the name \"%s\" asks for a new certificate (`signet device pending`)", name);
	return found;
}

static bool
send_answer(const struct ctl *t, const json_t *asker, const char *certificate, struct err *err)
{
	json_t *in = json_pack("{s:s,s:s}", "name", text_of(asker, "name"), "fingerprint", text_of(asker, "fingerprint")), *out = NULL;
	bool ok = in != NULL && (certificate == NULL || json_object_set_new(in, "certificate", json_string(certificate)) == 0);

	ok = ok ? ctl_ask(t, "renew-answer", in, &out, err) : err_set(err, ERR_MEMORY, "out of memory");
	json_decref(in);
	json_decref(out);
	return ok;
}

/* Which of our CAs issued the certificate that he showed, and does it stand? */
struct origin {
	const char *fingerprint;
	struct pki_entry found;
};

static void
look(void *ctx, const struct pki_entry *e)
{
	struct origin *x = ctx;

	if (strcmp(e->fingerprint, x->fingerprint) == 0)
		x->found = *e;
}

static bool
issue_for(const struct device_order *d, const json_t *asker, struct pki_issued *ret, struct err *err)
{
	struct origin x = { .fingerprint = text_of(asker, "fingerprint") };
	struct pki_order o = { .cn = text_of(asker, "name"), .csr = slice_str(text_of(asker, "request")), .days = d->days, .reissue = true, .overlap = true,
		.secret = d->secret };

	if (o.csr.n == 0)
		return err_set(err, ERR_MISSING, "%s has not sent a request yet: it publishes one on $signet/renew/%s/request", o.cn, o.cn);
	if (!site_dir(d->ctl.dir, &o.dir, err) || !pki_list(o.dir, NULL, 0, look, &x, err))
		return false;
	if (x.found.ca[0] == '\0')
		return err_set(err, ERR_MISSING, "the certificate that %s showed (SHA-256 %s) was not issued by a CA of %s: answer where that CA's key is",
		    o.cn, x.fingerprint, o.dir);
	if (x.found.status == PKI_REVOKED)
		return err_set(err, ERR_INPUT, "the certificate that %s showed was revoked: `signet device refuse %s`", o.cn, o.cn);
	o.ca = x.found.ca;
	return pki_issue(&o, ret, err);
}

/* One that waits for its registration: the control process has it. <what>: "approve", "refuse". */
static bool
settle_pending(const struct device_order *d, const char *what, struct err *err)
{
	const char *colon = strchr(d->name, ':');
	char path[160];
	struct https *h = local_open(d->ctl.dir, err);
	json_t *body = strcmp(what, "approve") == 0 ? json_object() : NULL;
	bool ok = h != NULL;

	if (colon != NULL && colon - d->name > 64)
		ok = err_set(err, ERR_USAGE, "the tenant's name is too long");
	(void)snprintf(path, sizeof path, "/api/v1/pending/%%s/%s%s%.*s", what, colon != NULL ? "?tenant=" : "", colon != NULL ? (int)(colon - d->name) : 0, d->name);
	if (ok)
		ok = body != NULL ? local_ask(h, path, colon != NULL ? colon + 1 : d->name, body, NULL, err) : local_post(h, path, colon != NULL ? colon + 1 : d->name, NULL, err);
	else
		json_decref(body);
	https_close(h);
	return ok;
}

/* <here>: the broker says that it waits. */
static bool
register_pending(const struct device_order *d, bool here, struct err *err)
{
	struct err why;

	if (settle_pending(d, "approve", &why)) {
		(void)printf("%s is registered: it comes back with a device's rights.\n", d->name);
		return true;
	}
	/* Nobody knows it: what the broker said stands. */
	if (!here && (why.code == ERR_MISSING || why.code == ERR_SYSTEM))
		return false;
	return err_set(err, why.code, "%s needs no new certificate: it is not registered; register it in the control plane, or refuse it (%s)", d->name, why.text);
}

static void
settle_one(const struct device_order *d, const char *dir, const char *fingerprint)
{
	struct origin x = { .fingerprint = fingerprint };
	struct pki_revocation r = { .dir = dir, .what = x.found.serial, .secret = d->secret };
	struct pki_revoked done;
	struct err err;
	json_t *in, *out = NULL;
	bool ok = pki_reason_parse(SL("superseded"), &r.reason) && pki_list(dir, NULL, 0, look, &x, &err) && x.found.ca[0] != '\0';

	if (!ok)
		return; /* another CA's */
	r.ca = x.found.ca;
	if (x.found.status != PKI_REVOKED && x.found.status != PKI_EXPIRED) {
		if (!pki_revoke(&r, &done, &err)) {
			(void)fprintf(stderr, "The former certificate of %s (serial %s) could not be revoked: %s\n", x.found.cn, x.found.serial, err.text);
			return;
		}
		(void)printf("The former certificate of %s (serial %s) is revoked as superseded.\n", x.found.cn, x.found.serial);
	}
	in = json_pack("{s:s}", "fingerprint", fingerprint);
	if (in != NULL)
		(void)ctl_ask(&d->ctl, "renew-settled", in, &out, &err); /* else it is asked for again the next time */
	json_decref(in);
	json_decref(out);
}

/* Certificates whose successors have been seen since: the CA is at hand now. */
static void
settle(const struct device_order *d, const json_t *list)
{
	const char *dir;
	struct err err;
	json_t *o;
	size_t i;

	if (!site_dir(d->ctl.dir, &dir, &err))
		return;
	json_array_foreach(list, i, o)
		settle_one(d, dir, text_of(o, "fingerprint"));
}

bool
device_approve(const struct device_order *d, struct err *err)
{
	struct pki_issued made = { .pem = NULL };
	const json_t *asker;
	json_t *out;
	bool ok;

	if (!ask_list(&d->ctl, &out, err))
		return false;
	asker = find_asker(out, d->name, d->serial, err);
	if (asker == NULL ? err->code == ERR_MISSING : is_unregistered(asker) && text_of(asker, "request")[0] == '\0') {
		ok = register_pending(d, asker != NULL, err);
		json_decref(out);
		return ok;
	}
	ok = asker != NULL && issue_for(d, asker, &made, err) && send_answer(&d->ctl, asker, made.pem, err);
	if (ok)
		(void)printf("%s has its new certificate: serial %s, SHA-256 %s\nThe old one stays good until the new one has connected.\n", d->name,
		    made.serial, made.fingerprint);
	if (ok)
		(void)fputs(made.notes, stderr);
	if (ok)
		settle(d, json_object_get(out, "superseded"));
	free(made.pem);
	json_decref(out);
	return ok;
}

bool
device_refuse(const struct device_order *d, struct err *err)
{
	const json_t *asker;
	struct err ignored;
	json_t *out;
	bool ok;

	if (!ask_list(&d->ctl, &out, err))
		return false;
	asker = find_asker(out, d->name, d->serial, err);
	/* Without control nobody can disable it: it is only told no. */
	ok = (asker == NULL ? err->code == ERR_MISSING : is_unregistered(asker)) && settle_pending(d, "refuse", &ignored);
	ok = ok || (asker != NULL && send_answer(&d->ctl, asker, NULL, err));
	if (ok)
		(void)printf("%s was told no.\n", d->name);
	json_decref(out);
	return ok;
}
