/* ejbca-rest's /sign: a certificate for an end entity that waits for one, for its password. */
#include "api/dojot.h"

#include <stdlib.h>

#include "api/enrol.h"
#include "api/events.h"
#include "api/signers.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

#define BAD_REQUEST "the certificate request is neither base64 nor PEM."

static const char *
state_name(enum registry_entity_state s)
{
	switch (s) {
	case REGISTRY_NEW:
		return "NEW";
	case REGISTRY_FAILED:
		return "FAILED";
	case REGISTRY_INITIALIZED:
		return "INITIALIZED";
	case REGISTRY_INPROCESS:
		return "INPROCESS";
	case REGISTRY_GENERATED:
		return "GENERATED";
	case REGISTRY_REVOKED:
		return "REVOKED";
	case REGISTRY_HISTORICAL:
		break;
	}
	return "HISTORICAL";
}

/* ---- the certificate ---- */

static void
answer(struct call *c, struct slice der)
{
	char *text = dojot_base64(der, true);

	call_json(c, 200, text != NULL ? json_pack("{s:{s:s, s:s}}", "status", "data", text, "responseType", "CERTIFICATE") : NULL);
	free(text);
}

static void
refuse(struct call *c, const struct err *why)
{
	if (why->code == ERR_INPUT || why->code == ERR_DENIED || why->code == ERR_MISSING)
		dojot_soap(c, "%s.", why->text);
	else
		dojot_error(c, why);
}

static bool
waits(const struct registry_entity *e)
{
	return e->state == REGISTRY_NEW || e->state == REGISTRY_FAILED || e->state == REGISTRY_INPROCESS;
}

/* Nobody has removed or revoked the end entity meanwhile? */
static bool
entity_waits(struct registry *r, struct slice name, struct err *err)
{
	struct registry_entity e;
	bool ok = registry_entity_get(r, name, &e, NULL);

	if (!ok)
		return err_set(err, ERR_MISSING, "the end entity was removed while its certificate was being signed");
	ok = waits(&e) || err_set(err, ERR_DENIED, "the end entity was set to %s while its certificate was being signed", state_name(e.state));
	free(e.mem);
	return ok;
}

static bool
book(struct call *c, const struct registry_certificate_new *n, struct err *err)
{
	const struct dojot_signing *g = c->work;

	/* One that the registry does not know must not go out: nobody could revoke it here. */
	if (!g->entity || entity_waits(c->api->registry, slice_str(g->cn), err))
		return standing_book(c->api, n, &g->standing, err);
	standing_void(c->api, &n->certificate);
	return false;
}

static void
on_issued(void *ctx, const struct signer_issued *s, const struct err *why)
{
	struct call *c = ctx;
	struct dojot_signing *g = c->work;
	struct registry_certificate_new n = { .certificate = { .ca = slice_str(g->ca), .profile = slice_str(g->profile),
		.origin = SL("dojot"), .by = slice_str(c->actor.name) } };
	struct registry_certificate *x = &n.certificate;
	struct err err;

	if (s == NULL) {
		g->done(c, NULL, why);
		return;
	}
	issued_fill(s, x);
	if (!book(c, &n, &err)) {
		g->done(c, NULL, &err);
		return;
	}
	event_certificate(c->api, "issued", x->ca, slice_str(x->serial));
	g->done(c, x, NULL);
}

void
dojot_issue(struct call *c, struct slice csr)
{
	struct dojot_signing *g = c->work;
	struct signer_issue q = { .ca = g->ca, .profile = g->profile, .cn = g->cn, .csr = csr, .actor = c->actor.name };
	struct signer_client *signer = signers_client(c->api);
	struct err err = { .code = ERR_SYSTEM, .text = "the signer is not there" };

	standing_of(c->api->registry, slice_str(g->cn), &g->standing);
	if (signer != NULL && signer_issue(signer, &q, on_issued, c, &err))
		signers_asked(c->api);
	else
		g->done(c, NULL, &err);
}

static void
on_certificate(struct call *c, const struct registry_certificate *x, const struct err *why)
{
	if (x != NULL)
		answer(c, x->der);
	else
		refuse(c, why);
}

static void
issue(struct call *c)
{
	struct slice csr;
	void *mem;

	if (!dojot_unbase64(call_text(c, "certificate"), &csr, &mem)) {
		dojot_soap(c, BAD_REQUEST);
		return;
	}
	dojot_issue(c, csr);
	free(mem);
}

/* ---- the password ---- */

static void
wrong(struct call *c)
{
	const struct api_ports *ports = &c->api->config->ports;

	ports->tried(ports->ctx, API_TRY_SECRET, c->peer, c->params[0]);
	dojot_soap(c, "Wrong username or password");
}

static void
on_enrolled(struct call *c, const struct enrolled *e, const struct err *why)
{
	if (e != NULL)
		answer(c, e->der);
	else if (why->code == ERR_DENIED)
		dojot_soap(c, "Wrong username or password");
	else
		refuse(c, why);
}

/* It may be the device's one-time secret. */
static void
try_secret(struct call *c)
{
	struct dojot_signing *g = c->work;
	struct enrol_order o = { .device = slice_str(g->cn), .secret = call_text(c, "passwd"), .origin = "dojot" };
	void *mem;

	if (!dojot_unbase64(call_text(c, "certificate"), &o.csr, &mem)) {
		dojot_soap(c, BAD_REQUEST);
		return;
	}
	enrol_take(c, &o, on_enrolled);
	free(mem);
}

static void
on_password(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;
	const struct api_ports *ports = &c->api->config->ports;
	bool right = j->right;

	hash_job_free(j);
	/* A wrong one may be a right secret, which counts by itself. */
	ports->spared(ports->ctx, API_TRY_SECRET, c->peer, c->params[0]);
	if (right)
		issue(c);
	else
		try_secret(c);
}

/* The password that all share, that of the end entity, or a one-time secret of the device. */
static void
check_password(struct call *c, const struct registry_entity *e)
{
	struct slice password = call_text(c, "passwd");

	if (password.n == 0 || password.n > PASSWORD_MAX)
		wrong(c);
	else if (c->api->config->dojot.shared_password && e->password.n == 0 && secret_eq(password, SL("dojot")))
		issue(c);
	else if (e->password.n > 0)
		call_try_hash(c, &(struct hash_try){ API_TRY_SECRET, c->params[0], e->password }, password, on_password);
	else
		try_secret(c);
}

/* ---- the request ---- */

/* One at a time, or one password would give two certificates. */
static bool
is_running(const struct call *c, struct slice cn)
{
	for (const struct call *x = c->api->calls; x != NULL; x = x->next)
		if (x != c && x->op == c->op && x->work != NULL && slice_eq(slice_str(((const struct dojot_signing *)x->work)->cn), cn))
			return true;
	return false;
}

static void
start(struct call *c, const struct registry_entity *e)
{
	char name[200];
	struct dojot_signing *g;
	struct err err;

	(void)text_show(e->name, name, sizeof(name));
	if (!waits(e)) {
		dojot_soap(c, "Got request with status %s (%d), NEW, FAILED or INPROCESS required: %s.", state_name(e->state), (int)e->state, name);
		return;
	}
	if (!standing_may(c->api->registry, e->name, &err)) {
		refuse(c, &err);
		return;
	}
	if (is_running(c, e->name)) {
		dojot_soap(c, "Another request for %s is being signed.", name);
		return;
	}
	g = calloc(1, sizeof(*g));
	if (g == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	g->done = on_certificate;
	g->entity = true;
	(void)text_copy(g->cn, sizeof(g->cn), e->name);
	(void)text_copy(g->ca, sizeof(g->ca), e->ca);
	(void)text_copy(g->profile, sizeof(g->profile), e->profile);
	c->work = g;
	check_password(c, e);
}

static void
sign(struct call *c)
{
	const struct api_ports *ports = &c->api->config->ports;
	struct registry_entity e;
	struct err err;

	if (!dojot_body(c, DOJOT_EJBCA_BODY))
		return;
	if (dojot_text(c, "passwd") == NULL || dojot_text(c, "certificate") == NULL) {
		dojot_fail(c, 400, "Missing parameter. Expected: passwd and certificate");
		return;
	}
	if (!ports->may_try(ports->ctx, API_TRY_SECRET, c->peer, c->params[0])) {
		call_header(c, "Retry-After", "5");
		dojot_fail(c, 429, "API rate limit exceeded");
		return;
	}
	if (dojot_entity_find(c, c->params[0], &e, &err)) {
		start(c, &e);
		free(e.mem);
	} else if (err.code == ERR_MISSING) {
		wrong(c);
	} else {
		dojot_error(c, &err);
	}
}

static const struct op ops[] = {
	{ "dojotSign", "Sign a certificate request", HTTP_POST, "/sign/{name}/pkcs10", OP_DOJOT, 200, sign },
};
const struct op_group group_dojot_sign = { "dojot-sign", "ejbca-rest's signing", ops, ARRAY_LEN(ops) };
