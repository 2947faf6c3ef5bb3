/* ejbca-rest's /user: end entities, who are devices or have a name of their own. */
#include "api/dojot.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "api/signers.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/passwd.h"

/* ---- names ---- */

enum { NAME_CAP = 4 * REGISTRY_NAME_MAX + REGISTRY_NAME_MAX + 2 };

/* What a tenant calls <name> has the common name NAME in the first one, and TENANT:NAME in all others; so nobody reaches into another tenant. */
static bool
full_name(const struct call *c, struct slice name, char out[static NAME_CAP])
{
	struct slice tenant = call_tenant(c);

	if (name.n > tenant.n && slice_starts(name, tenant) && name.p[tenant.n] == ':')
		name = slice_from(name, tenant.n + 1);
	if (name.n == 0 || name.n > 4 * (size_t)REGISTRY_NAME_MAX || memchr(name.p, ':', name.n) != NULL)
		return false;
	if (c->actor.first)
		(void)snprintf(out, NAME_CAP, "%.*s", SL_ARG(name));
	else
		(void)snprintf(out, NAME_CAP, "%.*s:%.*s", SL_ARG(tenant), SL_ARG(name));
	return registry_cn_ok(slice_str(out));
}

bool
dojot_entity_find(struct call *c, struct slice name, struct registry_entity *ret, struct err *err)
{
	char cn[NAME_CAP];

	if (full_name(c, name, cn)) {
		if (!registry_entity_get(c->api->registry, slice_str(cn), ret, err))
			return false;
		if (slice_eq(ret->tenant, call_tenant(c)) || (ret->tenant.n == 0 && c->actor.first))
			return true;
		free(ret->mem);
	}
	(void)err_set(err, ERR_MISSING, "there is no such end entity");
	return false;
}

bool
dojot_secret_make(char out[static DOJOT_SECRET_N + 1], uint8_t hash[static REGISTRY_HASH])
{
	uint8_t bytes[DOJOT_SECRET_N / 2];

	random_bytes(bytes, sizeof(bytes));
	(void)text_hex(slice_of(bytes, sizeof(bytes)), out, DOJOT_SECRET_N + 1);
	secret_wipe(bytes, sizeof(bytes));
	return EVP_Digest(out, DOJOT_SECRET_N, hash, NULL, EVP_sha256(), NULL) == 1;
}

/* False: answered. */
static bool
load(struct call *c, struct registry_entity *ret)
{
	struct err err;

	if (dojot_entity_find(c, c->params[0], ret, &err))
		return true;
	if (err.code == ERR_MISSING)
		dojot_fail(c, 404, "no certificates found");
	else
		dojot_error(c, &err);
	return false;
}

/* ---- looking ---- */

static void
get(struct call *c)
{
	char ca[REGISTRY_NAME_MAX + 1];
	struct registry_entity e;
	json_t *other, *v;

	if (!load(c, &e))
		return;
	v = json_pack("{s:o, s:i, s:o, s:s, s:s, s:s, s:s, s:n, s:n, s:n}", "username", text_json(e.name), "status", (int)e.state, "subjectDN", text_json(e.subject),
	    "caName", dojot_ca_name(c, e.ca, ca), "certificateProfileName", "CFREE", "endEntityProfileName", "EMPTY_CFREE", "tokenType", "USERGENERATED", "password",
	    "email", "subjectAltName");
	other = model_kept(e.other, false);
	if (v != NULL)
		(void)json_object_update_missing(v, other);
	json_decref(other);
	free(e.mem);
	call_json(c, 200, v != NULL ? json_pack("{s:[o]}", "user", v) : NULL);
}

struct found {
	json_t *items;
	int64_t now; /* 0: also those that have ended or are revoked */
};

static bool
add_certificate(void *ctx, const struct registry_certificate *x)
{
	struct found *f = ctx;
	bool good = (x->state == REGISTRY_CERT_ACTIVE || x->state == REGISTRY_CERT_SUPERSEDED) && x->not_after > f->now;
	char *text;
	bool ok;

	if (x->der.n == 0 || (f->now != 0 && !good))
		return true;
	text = dojot_base64(x->der, true);
	ok = text != NULL && json_array_append_new(f->items, json_pack("{s:n, s:n, s:i, s:s}", "certificate", "keyStore", "type", 0, "certificateData", text)) == 0;
	free(text);
	return ok;
}

static void
find(struct call *c)
{
	struct found f = { json_array(), slice_eq(call_query(c, "valid"), SL("false")) ? 0 : api_now(c->api) };
	struct registry_certificate_filter filter = { .with_der = true };
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	struct registry_entity e;
	struct err err;
	bool ok;

	if (!load(c, &e)) {
		json_decref(f.items);
		return;
	}
	filter.cn = e.name;
	ok = registry_certificate_list(c->api->registry, &filter, &page, add_certificate, &f, &err);
	free(e.mem);
	if (ok && json_array_size(f.items) > 0) {
		call_json(c, 200, json_pack("{s:o}", "certs", f.items));
		return;
	}
	json_decref(f.items);
	if (ok)
		dojot_fail(c, 404, "no certificates found");
	else
		dojot_error(c, &err);
}

/* ---- making and resetting ---- */

struct making {
	char cn[NAME_CAP], ca[REGISTRY_NAME_MAX + 1];
	char secret[DOJOT_SECRET_N + 1]; /* made here; "": none */
};

/* Only what stands for devices: an end entity of the Control CA would be an administrator. False: answered. */
static bool
choose_ca(struct call *c, struct making *m)
{
	struct slice name = dojot_text(c, "caName") != NULL ? call_text(c, "caName") : SL(DOJOT_CA);
	struct registry_ca x;
	struct err err;
	bool ok;

	if (!dojot_ca_get(c, name, &x, &err)) {
		dojot_soap(c, "%s", err.text);
		return false;
	}
	ok = slice_eq(x.name, slice_str(c->api->config->dojot.ca)) || slice_eq(x.role, SL("client"));
	(void)text_copy(m->ca, sizeof(m->ca), x.name);
	free(x.mem);
	if (!ok)
		dojot_soap(c, "CA %s is not for devices.", m->ca);
	return ok;
}

static bool
names_ok(struct call *c, const struct making *m)
{
	struct slice subject = call_text(c, "subjectDN"), profile = call_text(c, "certificateProfileName");

	if (subject.n > 0 && !(slice_starts(subject, SL("CN=")) && (slice_eq(slice_from(subject, 3), slice_str(m->cn)) ||
	    slice_eq(slice_from(subject, 3), call_text(c, "username"))))) {
		dojot_soap(c, "the subject of an end entity is CN=<username> and nothing else.");
		return false;
	}
	if (profile.n > 0 && !slice_eq(profile, SL("CFREE")) && !slice_eq(profile, slice_str(c->api->config->dojot.profile))) {
		dojot_soap(c, "the certificate profile is CFREE.");
		return false;
	}
	return true;
}

static void
put(struct call *c, struct slice hash)
{
	static const char *const kept[] = { "clearPwd", "keyRecoverable", "sendNotification" };
	struct making *m = c->work;
	char subject[NAME_CAP + 4];
	json_t *other = json_object(), *v;
	char *text;
	struct registry_entity e = { .name = slice_str(m->cn), .tenant = call_tenant(c), .ca = slice_str(m->ca), .profile = slice_str(c->api->config->dojot.profile),
		.ee_profile = SL("EMPTY_CFREE"), .token_type = SL("USERGENERATED"), .password = hash, .state = (enum registry_entity_state)call_int(c, "status", REGISTRY_NEW) };
	struct err err;
	bool ok;

	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if (json_is_boolean(json_object_get(c->body, kept[i])))
			(void)json_object_set(other, kept[i], json_object_get(c->body, kept[i]));
	(void)snprintf(subject, sizeof(subject), "CN=%s", m->cn);
	text = json_dumps(other, JSON_COMPACT);
	json_decref(other);
	e.subject = slice_str(subject);
	e.other = slice_str(text);
	ok = registry_entity_put(c->api->registry, &e, &err);
	call_name(c, e.name);
	free(text);
	if (!ok) {
		dojot_error(c, &err);
		return;
	}
	v = json_pack("{s:s, s:i}", "message", "ok", "status", 200);
	if (v != NULL && m->secret[0] != '\0')
		(void)json_object_set_new(v, "secret", json_string(m->secret));
	call_json(c, 200, v);
}

static void
on_hashed(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;
	char hash[PASSWD_HASH_TEXT_MAX];
	bool ok = j->right && text_copy(hash, sizeof(hash), slice_str(j->hash));

	hash_job_free(j);
	if (ok)
		put(c, slice_str(hash));
	else
		call_json(c, 503, NULL);
}

/* Without a password of its own: the one that all share, or one that is made for it. */
static void
choose_password(struct call *c, struct making *m)
{
	struct slice password = call_text(c, "password");
	bool shared = c->api->config->dojot.shared_password;
	uint8_t hash[REGISTRY_HASH];

	if (shared && (password.n == 0 || slice_eq(password, SL("dojot"))))
		put(c, (struct slice){ 0 });
	else if (password.n > 0 && (password.n < PASSWORD_MIN || password.n > PASSWORD_MAX))
		dojot_fail(c, 400, "a password has %d to %d characters; without one, a secret is made and shown", PASSWORD_MIN, PASSWORD_MAX);
	else if (password.n > 0)
		call_hash(c, password, on_hashed);
	else if (dojot_secret_make(m->secret, hash))
		call_hash(c, slice_str(m->secret), on_hashed);
	else
		call_json(c, 503, NULL);
}

static void
create(struct call *c)
{
	struct making *m;

	if (!dojot_body(c, DOJOT_EJBCA_BODY))
		return;
	if (dojot_text(c, "username") == NULL) {
		dojot_fail(c, 400, "required field usernamemissing.");
		return;
	}
	m = c->work = calloc(1, sizeof(*m));
	if (m == NULL)
		call_json(c, 503, NULL);
	else if (!full_name(c, call_text(c, "username"), m->cn))
		dojot_soap(c, "an end entity's name is 1 to 64 characters without / + # and of its own tenant.");
	else if (choose_ca(c, m) && names_ok(c, m))
		choose_password(c, m);
}

/* ---- the end ---- */

static void
on_listed(struct call *c, const struct err *why)
{
	if (why == NULL) {
		dojot_ok(c);
		return;
	}
	call_header(c, "Retry-After", "60");
	dojot_fail(c, 503, "revoked, but the revocation list is not published yet: %s", why->text);
}

static void
delete(struct call *c)
{
	struct slice wanted = call_query(c, "reason");
	struct registry *r = c->api->registry;
	bool remove = dojot_switch(c, "delete"), ok;
	int reason = wanted.p != NULL ? dojot_reason(wanted) : 0;
	char shown[100], ca[REGISTRY_NAME_MAX + 1];
	struct registry_entity e;
	struct err err;
	unsigned n = 0;

	if (reason == -1 || reason == 8) {
		dojot_fail(c, 400, "invalid revokation reason %s", text_show(wanted, shown, sizeof(shown)));
		return;
	}
	if (!load(c, &e))
		return;
	ok = registry_begin(r, &err) && registry_certificate_revoke_all(r, e.name, reason, &n, &err) &&
	    (remove ? registry_entity_remove(r, e.name, &err) : registry_entity_set_state(r, e.name, REGISTRY_REVOKED, &err)) && registry_commit(r, &err);
	(void)text_copy(ca, sizeof(ca), e.ca);
	free(e.mem);
	if (!ok) {
		registry_rollback(r);
		dojot_error(c, &err);
		return;
	}
	lists_due(c->api);
	if (n > 0)
		lists_make(c, slice_str(ca), on_listed);
	else
		dojot_ok(c);
}

static const struct op ops[] = {
	{ "dojotPutEntity", "Make or reset an end entity", HTTP_POST, "/user", OP_DOJOT, 200, create, .body_max = 16384 },
	{ "dojotGetEntity", "One end entity", HTTP_GET, "/user/{name}", OP_DOJOT, 200, get },
	{ "dojotDeleteEntity", "Revoke an end entity", HTTP_DELETE, "/user/{name}", OP_DOJOT, 200, delete },
	{ "dojotFindCertificates", "Its certificates", HTTP_GET, "/user/{name}/find", OP_DOJOT, 200, find },
};
const struct op_group group_dojot_entity = { "dojot-entity", "ejbca-rest's users", ops, ARRAY_LEN(ops) };
