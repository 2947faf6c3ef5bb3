/* Who asks by EST: a name and a secret, which enrol_take() judges, or a device with the certificate that it has. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "api/est.h"
#include "api/signers.h"
#include "base/base64.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/text.h"

enum { CREDENTIALS_MAX = 1024, PENDING_S = 300, OFTEN = 20, OFTEN_S = 3600 /* certificates of a device, in this time */ };

static void
ask_who(struct call *c, const char *why)
{
	call_header(c, "WWW-Authenticate", "Basic realm=\"est\"");
	call_problem(c, 401, "enrolment", "send the device's id and its one-time secret by HTTP Basic, or show its certificate in the TLS handshake", "%s", why);
}

static bool
is_own_name(const struct est *e, struct slice id, struct slice cn)
{
	struct slice asked = slice_str(e->request.cn);

	return asked.n == 0 || slice_eq(asked, id) || slice_eq(asked, cn);
}

/* ---- by a secret ---- */

static void
on_taken(struct call *c, const struct enrolled *e, const struct err *why)
{
	if (e != NULL) {
		est_answer(c, e->der);
	} else if (why->code == ERR_INPUT) {
		est_refuse(c, why);
	} else {
		if (why->code == ERR_DENIED)
			call_header(c, "WWW-Authenticate", "Basic realm=\"est\"");
		enrol_problem(c, why);
	}
}

/* A device of another tenant than the first has a name with the tenant's in it, which it need not say twice. */
static bool
full_name(const struct call *c, struct slice name, char *out, size_t cap)
{
	struct registry_tenant t;
	bool first;

	if (c->tenant[0] == '\0' || name.n == 0 || memchr(name.p, ':', name.n) != NULL || !registry_tenant_get(c->api->registry, call_tenant(c), &t, NULL))
		return text_copy(out, cap, name);
	first = t.first;
	free(t.mem);
	return first ? text_copy(out, cap, name) : (size_t)snprintf(out, cap, "%s:%.*s", c->tenant, SL_ARG(name)) < cap;
}

static void
by_secret(struct call *c, struct slice coded)
{
	struct est *e = c->work;
	uint8_t raw[CREDENTIALS_MAX];
	size_t n = 0;
	struct slice name, secret;
	char device[5 * REGISTRY_NAME_MAX];
	bool more = false;
	struct enrol_order o = { .origin = "est" };

	if (base64_get(coded, raw, sizeof(raw), &n)) {
		secret = slice_of(raw, n);
		name = slice_cut(&secret, ':', &more);
	}
	if (!more || !utf8_ok(name) || !full_name(c, name, device, sizeof(device))) {
		secret_wipe(raw, sizeof(raw));
		ask_who(c, "the Authorization header is not Basic with NAME:SECRET");
		return;
	}
	/* Of a fleet's secret the request may say which device it is. */
	if (name.n > 0 && !is_own_name(e, name, slice_str(device))) {
		struct err err;

		secret_wipe(raw, sizeof(raw));
		(void)err_set(&err, ERR_INPUT, "the request's common name is not the device's id");
		est_refuse(c, &err);
		return;
	}
	o.device = slice_str(device);
	o.secret = secret;
	o.csr = est_csr(e);
	enrol_take(c, &o, on_taken);
	secret_wipe(raw, sizeof(raw));
}

/* ---- by a certificate ---- */

static void
on_issued(void *ctx, const struct signer_issued *s, const struct err *why)
{
	struct call *c = ctx;
	struct est *e = c->work;
	struct registry_certificate_new n = { .supersede = true, .certificate = { .ca = slice_str(e->ca), .profile = slice_str(e->profile), .origin = SL("est"),
		.by = slice_str(c->actor.name) } };
	struct err err;

	if (s == NULL) {
		est_refuse(c, why);
		return;
	}
	issued_fill(s, &n.certificate);
	/* One that the registry does not know must not go out: nobody could revoke it here. The old one stays good beside it. */
	if (!standing_book(c->api, &n, &e->standing, &err)) {
		call_error(c, &err);
		return;
	}
	broker_poke(c->api);
	est_answer(c, s->der);
}

static void
order(struct call *c)
{
	struct est *e = c->work;
	struct signer_issue q = { .ca = e->ca, .profile = e->profile[0] != '\0' ? e->profile : NULL, .cn = e->cn, .csr = est_csr(e), .actor = c->actor.name };
	struct signer_client *signer = call_signer(c);
	struct err err;

	if (signer == NULL)
		return;
	if (signer_issue(signer, &q, on_issued, c, &err))
		signers_asked(c->api);
	else
		call_error(c, &err);
}

/* Whose it is: as it was booked; or, of one that is not known by its number, the device of its name, where our own CA of devices says so. Of a
 * factory's only the first counts. */
static bool
find_device(struct call *c, const struct pki_peer *p, const struct registry_ca *ca, struct registry_device *ret)
{
	struct registry *r = c->api->registry;
	struct est *e = c->work;
	struct registry_certificate x;
	bool ok;

	if (!registry_certificate_find(r, slice_of(p->issuer_key, sizeof(p->issuer_key)), slice_of(p->serial, p->serial_n), &x, NULL))
		return ca->own && slice_eq(ca->role, SL("client")) && p->cn != NULL && registry_device_find(r, slice_str(p->cn), ret, NULL);
	ok = x.device.n > 0 && x.state <= REGISTRY_CERT_SUPERSEDED && (!ca->own || text_copy(e->profile, sizeof(e->profile), x.profile)) &&
	     registry_device_get(r, x.tenant, x.device, ret, NULL);
	free(x.mem);
	return ok;
}

/* From the same CA as before; who comes from a factory gets his first one of ours. */
static bool
find(struct call *c, const struct pki_peer *p, struct registry_device *ret)
{
	struct registry *r = c->api->registry;
	struct est *e = c->work;
	struct registry_ca ca;
	bool ok;

	if (!registry_ca_find(r, slice_of(p->issuer_key, sizeof(p->issuer_key)), &ca, NULL))
		return false;
	ok = !ca.retired && find_device(c, p, &ca, ret);
	e->foreign = !ca.own;
	if (ok && ca.own)
		(void)text_copy(e->ca, sizeof(e->ca), ca.name);
	else if (ok)
		issue_terms(r, ret->cn, e->ca, e->profile);
	free(ca.mem);
	return ok;
}

static bool
may_have(struct call *c, const struct registry_device *d)
{
	if (c->tenant[0] != '\0' && !slice_eq(d->tenant, call_tenant(c))) {
		call_problem(c, 403, "tenant", "use the address of its own tenant", "the device is another tenant's");
		return false;
	}
	if (d->state == REGISTRY_PENDING) {
		call_header(c, "Retry-After", "%d", PENDING_S);
		call_bytes(c, 202, NULL, (struct slice){ 0 });
		return false;
	}
	if (d->state == REGISTRY_ENABLED)
		return true;
	call_problem(c, 403, "device", "an administrator can enable it again", "the device is %s", registry_device_state_name(d->state));
	return false;
}

static bool
take_created(void *ctx, const struct registry_certificate *x)
{
	*(int64_t *)ctx = x->created;
	return true;
}

/* One device that asks again and again takes the signer from all others, and fills the disk. False: answered. */
static bool
check_pace(struct call *c, const struct registry_device *d)
{
	struct registry_certificate_filter f = { .tenant = d->tenant, .device = d->id };
	struct registry_page page = { .limit = OFTEN };
	int64_t oldest = 0;
	struct err err;

	if (!registry_certificate_list(c->api->registry, &f, &page, take_created, &oldest, &err)) {
		call_error(c, &err);
		return false;
	}
	if (page.next[0] == '\0' || oldest <= api_now(c->api) - OFTEN_S)
		return true;
	call_header(c, "Retry-After", "%d", OFTEN_S);
	call_problem(c, 429, "too-many-certificates", "wait an hour", "the device has had more than %d certificates within an hour", OFTEN);
	return false;
}

static bool
check_subject(struct call *c, const struct registry_device *d)
{
	struct est *e = c->work;
	struct err err;
	bool ok;

	if (e->kind == EST_REENROLL && e->foreign)
		ok = err_set(&err, ERR_DENIED, "the certificate that is shown is not one of ours, which could be renewed: use simpleenroll");
	else if (e->kind == EST_REENROLL)
		ok = pki_est_same_subject(slice_of(e->der, e->der_n), chan_certificate(c->chan), &err);
	else
		ok = is_own_name(e, d->id, d->cn) || err_set(&err, ERR_INPUT, "the request's common name is not that of the certificate that is shown");
	if (!ok)
		est_refuse(c, &err);
	return ok;
}

static void
by_certificate(struct call *c, const struct pki_peer *p)
{
	const struct api_ports *ports = &c->api->config->ports;
	struct est *e = c->work;
	struct registry_device d;
	char shown[100];

	if (p->role == AUTHZ_ROLE_QUARANTINE || !ports->stands(ports->ctx, p)) {
		ask_who(c, "the certificate is not good any more");
		return;
	}
	if (!find(c, p, &d)) {
		ask_who(c, "the certificate is no device's that is registered here");
		return;
	}
	(void)snprintf(c->actor.name, sizeof(c->actor.name), "certificate:%s", text_show(d.cn, shown, sizeof(shown)));
	(void)text_copy(e->cn, sizeof(e->cn), d.cn);
	standing_of(c->api->registry, d.cn, &e->standing);
	if (may_have(c, &d) && check_subject(c, &d) && check_pace(c, &d))
		order(c);
	free(d.mem);
}

void
est_take(struct call *c)
{
	const struct est *e = c->work;
	const struct pki_peer *p = chan_peer(c->chan);
	struct slice header = { 0 };

	if (!http_header(&c->head, "Authorization", &header)) {
		ask_who(c, "there is more than one Authorization header");
	} else if (header.p != NULL && e->kind != EST_REENROLL) {
		if (header.n > 6 && strncasecmp((const char *)header.p, "Basic ", 6) == 0)
			by_secret(c, slice_from(header, 6));
		else
			ask_who(c, "the Authorization header is not Basic with NAME:SECRET");
	} else if (p != NULL) {
		by_certificate(c, p);
	} else {
		ask_who(c, e->kind == EST_REENROLL ? "to enrol again takes the certificate that the device has" : "the request says not who asks");
	}
}
