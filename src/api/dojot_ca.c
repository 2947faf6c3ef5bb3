/* ejbca-rest's /ca: certificates of CAs, revocation lists, one certificate's state and its end. */
#include "api/dojot.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "api/events.h"
#include "api/signers.h"
#include "base/num.h"
#include "base/text.h"

/* ---- which CA ---- */

bool
dojot_ca_get(struct call *c, struct slice name, struct registry_ca *ret, struct err *err)
{
	struct registry *r = c->api->registry;
	char shown[100];
	bool found = registry_ca_get(r, name, ret, NULL);

	if (!found && slice_eq(name, SL(DOJOT_CA)))
		found = registry_ca_get(r, slice_str(c->api->config->dojot.ca), ret, NULL);
	if (found && call_sees_ca(c, ret))
		return true;
	if (found)
		free(ret->mem);
	(void)err_set(err, ERR_MISSING, "CA with name %s does not exist.", text_show(name, shown, sizeof(shown)));
	return false;
}

const char *
dojot_ca_name(const struct call *c, struct slice name, char out[static REGISTRY_NAME_MAX + 1])
{
	struct registry_ca x;
	bool alias = slice_eq(name, slice_str(c->api->config->dojot.ca));

	if (alias && registry_ca_get(c->api->registry, SL(DOJOT_CA), &x, NULL)) {
		free(x.mem);
		alias = false;
	}
	(void)text_copy(out, REGISTRY_NAME_MAX + 1, alias ? SL(DOJOT_CA) : name);
	return out;
}

/* False: answered. */
static bool
load_ca(struct call *c, struct registry_ca *ret)
{
	struct err err;

	if (dojot_ca_get(c, c->params[0], ret, &err))
		return true;
	dojot_soap(c, "%s", err.text);
	return false;
}

struct listing {
	struct call *call;
	json_t *items;
};

static bool
add_row(void *ctx, const struct registry_ca *x)
{
	struct listing *l = ctx;

	return !call_sees_ca(l->call, x) || json_array_append_new(l->items, json_pack("{s:I, s:o}", "id", (json_int_t)x->id, "name", text_json(x->name))) == 0;
}

static void
list(struct call *c)
{
	struct listing l = { c, json_array() };
	char name[REGISTRY_NAME_MAX + 1];
	struct registry_ca x;
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };

	if (l.items == NULL || !registry_ca_each(c->api->registry, add_row, &l, &err)) {
		json_decref(l.items);
		dojot_error(c, &err);
		return;
	}
	if (dojot_ca_get(c, SL(DOJOT_CA), &x, NULL)) {
		if (!slice_eq(x.name, slice_str(dojot_ca_name(c, x.name, name))))
			(void)json_array_append_new(l.items, json_pack("{s:I, s:s}", "id", (json_int_t)x.id, "name", name));
		free(x.mem);
	}
	call_json(c, 200, json_pack("{s:o}", "CAs", l.items));
}

/* ---- its certificate ---- */

/* <text> and a further certificate: what clients put between BEGIN and END becomes a file of both. free(). */
static char *
joined(char *text, struct slice der)
{
	static const char between[] = "\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\n";
	char *more = dojot_base64(der, true), *both = NULL;
	size_t cap;

	if (text != NULL && more != NULL) {
		cap = strlen(text) + strlen(more) + sizeof(between);
		both = malloc(cap);
		if (both != NULL)
			(void)snprintf(both, cap, "%s%s%s", text, between, more);
	}
	free(more);
	free(text);
	return both;
}

/* Without the CAs above it the file would verify nothing: most programs want a chain up to its root. */
char *
dojot_chain(struct call *c, struct registry_ca *x)
{
	char *text = dojot_base64(x->der, true);
	struct registry_ca above;

	for (unsigned depth = 0; depth < 8 && x->parent.n > 0; depth++) {
		if (!registry_ca_get(c->api->registry, x->parent, &above, NULL))
			break;
		free(x->mem);
		*x = above;
		text = joined(text, x->der);
	}
	free(x->mem);
	return text;
}

static void
get(struct call *c)
{
	struct registry_ca x;
	char *text;

	if (!load_ca(c, &x))
		return;
	if (slice_eq(call_query(c, "chain"), SL("false"))) {
		text = dojot_base64(x.der, true);
		free(x.mem);
	} else {
		text = dojot_chain(c, &x);
	}
	call_json(c, 200, text != NULL ? json_pack("{s:s}", "certificate", text) : NULL);
	free(text);
}

/* ---- its revocation list ---- */

static void
answer_list(struct call *c)
{
	struct registry_ca x;
	struct slice der;
	struct err err;
	char *text;
	void *mem;
	bool ok;

	if (!load_ca(c, &x))
		return;
	ok = registry_crl_get(c->api->registry, x.name, &der, &mem, &err);
	free(x.mem);
	if (!ok) {
		dojot_soap(c, "%s", err.text);
		return;
	}
	text = dojot_base64(der, false);
	free(mem);
	call_json(c, 200, text != NULL ? json_pack("{s:s}", "CRL", text) : NULL);
	free(text);
}

static void
pending(struct call *c, const struct err *why)
{
	call_header(c, "Retry-After", "60");
	dojot_fail(c, 503, "the CA's revocation list is not published yet: %s", why->text);
}

static void
on_list(struct call *c, const struct err *why)
{
	if (why != NULL)
		pending(c, why);
	else if (c->head.method == HTTP_GET)
		answer_list(c);
	else
		dojot_ok(c);
}

static void
make_list(struct call *c)
{
	char name[REGISTRY_NAME_MAX + 1];
	struct registry_ca x;
	bool own;

	if (!load_ca(c, &x))
		return;
	own = x.own;
	(void)text_copy(name, sizeof(name), x.name);
	free(x.mem);
	if (own)
		lists_make(c, slice_str(name), on_list);
	else
		dojot_soap(c, "the key of CA %s is not here, so no list can be made.", name);
}

static void
get_list(struct call *c)
{
	if (dojot_switch(c, "delta"))
		dojot_soap(c, "there is no delta list: the list is made anew at each revocation.");
	else if (dojot_switch(c, "update"))
		make_list(c);
	else
		answer_list(c);
}

/* ---- one certificate ---- */

static const struct {
	const char *name;
	int code;
} reasons[] = {
	{ "UNSPECIFIED", 0 }, { "KEYCOMPROMISE", 1 }, { "CACOMPROMISE", 2 }, { "AFFILIATIONCHANGED", 3 }, { "SUPERSEDED", 4 }, { "CESSATIONOFOPERATION", 5 },
	{ "CERTIFICATEHOLD", 6 }, { "REMOVEFROMCRL", 8 }, { "PRIVILEGESWITHDRAWN", 9 }, { "AACOMPROMISE", 10 },
};

int
dojot_reason(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (name.n == strlen(reasons[i].name) && strncasecmp((const char *)name.p, reasons[i].name, name.n) == 0)
			return reasons[i].code;
	return -1;
}

static const char *
reason_text(int code)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].code == code)
			return reasons[i].name;
	return reasons[0].name;
}

/* The n-th part of a distinguished name, without blanks around it. */
static bool
dn_part(struct slice dn, unsigned n, struct slice *ret)
{
	bool more = true;

	for (unsigned i = 0; more; i++) {
		*ret = slice_cut(&dn, ',', &more);
		if (i < n)
			continue;
		while (ret->n > 0 && ret->p[0] == ' ')
			*ret = slice_from(*ret, 1);
		while (ret->n > 0 && ret->p[ret->n - 1] == ' ')
			ret->n--;
		return true;
	}
	return false;
}

static unsigned
dn_parts(struct slice dn)
{
	unsigned n = 1;

	for (size_t i = 0; i < dn.n; i++)
		n += dn.p[i] == ',';
	return n;
}

/* In the one order or the other: X.500 and LDAP begin at opposite ends. */
static bool
dn_same(struct slice a, struct slice b)
{
	unsigned n = dn_parts(a), same = 0, mirrored = 0;
	struct slice x, y, z;

	if (n != dn_parts(b))
		return false;
	for (unsigned i = 0; i < n; i++) {
		(void)dn_part(a, i, &x);
		(void)dn_part(b, i, &y);
		(void)dn_part(b, n - 1 - i, &z);
		same += slice_eq(x, y);
		mirrored += slice_eq(x, z);
	}
	return same == n || mirrored == n;
}

struct search {
	struct call *call;
	struct slice dn;
	char name[REGISTRY_NAME_MAX + 1];
};

static bool
fits_dn(void *ctx, const struct registry_ca *x)
{
	struct search *s = ctx;

	if (call_sees_ca(s->call, x) && dn_same(x->subject, s->dn))
		(void)text_copy(s->name, sizeof(s->name), x->name);
	return s->name[0] == '\0';
}

/* By the issuer's distinguished name, or its name. False: answered. */
static bool
load(struct call *c, struct registry_certificate *ret)
{
	struct search s = { .call = c, .dn = c->params[0] };
	char serial[2 * REGISTRY_SERIAL_MAX + 1], shown[100];
	struct registry_ca x;
	bool ok;

	if (dojot_ca_get(c, c->params[0], &x, NULL)) {
		(void)text_copy(s.name, sizeof(s.name), x.name);
		free(x.mem);
	} else {
		(void)registry_ca_each(c->api->registry, fits_dn, &s, NULL);
	}
	if (s.name[0] == '\0') {
		dojot_soap(c, "Could not find CA with name null and ID %s.", text_show(c->params[0], shown, sizeof(shown)));
		return false;
	}
	ok = text_copy(serial, sizeof(serial), c->params[1]);
	for (char *p = serial; ok && *p != '\0'; p++)
		*p = (char)(*p >= 'A' && *p <= 'F' ? *p | 0x20 : *p);
	ok = ok && registry_certificate_get(c->api->registry, slice_str(s.name), slice_str(serial), ret, NULL);
	if (ok && (slice_eq(ret->tenant, call_tenant(c)) || (ret->tenant.n == 0 && c->actor.first)))
		return true;
	if (ok)
		free(ret->mem);
	dojot_soap(c, "Could not find end entity certificate. Issuer %s, serialNo %s.", text_show(c->params[0], shown, sizeof(shown)), serial);
	return false;
}

static void
get_status(struct call *c)
{
	struct registry_certificate x;
	bool revoked;

	if (!load(c, &x))
		return;
	revoked = x.state == REGISTRY_CERT_REVOKED || x.state == REGISTRY_CERT_HOLD;
	call_json(c, 200, json_pack("{s:{s:s, s:o}}", "status", "reason", revoked ? reason_text(x.reason) : "NOTREVOKED", "date",
			      revoked ? dojot_time(x.revoked_at) : json_string("1969-12-31T23:59:59.999000+00:00")));
	free(x.mem);
}

static void
get_certificate(struct call *c)
{
	struct registry_certificate x;
	char *text;

	if (!load(c, &x))
		return;
	text = x.der.n > 0 ? dojot_base64(x.der, true) : NULL;
	if (x.der.n == 0)
		dojot_fail(c, 404, "no certificates found");
	else
		call_json(c, 200, text != NULL ? json_pack("{s:{s:n, s:n, s:i, s:s}}", "certificate", "certificate", "keyStore", "type", 0, "certificateData", text) : NULL);
	free(text);
	free(x.mem);
}

static void
on_revoked(struct call *c, const struct err *why)
{
	if (why == NULL)
		dojot_ok(c);
	else
		pending(c, why);
}

static void
revoke(struct call *c)
{
	struct slice wanted = call_query(c, "reason");
	struct registry *r = c->api->registry;
	struct registry_certificate x;
	char shown[100];
	struct err err;
	int reason = wanted.p != NULL ? dojot_reason(wanted) : 0;
	bool ok;

	if (reason == -1) {
		dojot_fail(c, 400, "invalid revokation reason %s", text_show(wanted, shown, sizeof(shown)));
		return;
	}
	if (!load(c, &x))
		return;
	if (!certificate_is_device(c->api, &x) && !actor_is_admin(c)) {
		free(x.mem);
		dojot_fail(c, 403, "only an administrator can change a certificate that is no device's");
		return;
	}
	ok = reason == 8 ? registry_certificate_unhold(r, x.ca, slice_str(x.serial), &err)
			 : registry_certificate_revoke(r, x.ca, slice_str(x.serial), reason, &err);
	if (ok)
		event_certificate(c->api, reason == 8 ? "released" : reason == 6 ? "held" : "revoked", x.ca, slice_str(x.serial));
	if (ok)
		lists_publish(c, &x, reason == 8 ? -1 : reason, on_revoked);
	else if (err.code == ERR_EXISTS)
		dojot_soap(c, "Certificate is already revoked. Issuer: '%s', serno: %s.", text_show(c->params[0], shown, sizeof(shown)), x.serial);
	else
		dojot_error(c, &err);
	free(x.mem);
}

#define ONE "/ca/{issuer}/certificate/{serial}"
static const struct op ops[] = {
	{ "dojotListCas", "All CAs", HTTP_GET, "/ca", OP_DOJOT, 200, list },
	{ "dojotGetCa", "A CA's certificate", HTTP_GET, "/ca/{ca}", OP_DOJOT, 200, get },
	{ "dojotGetCaList", "A CA's revocation list", HTTP_GET, "/ca/{ca}/crl", OP_DOJOT, 200, get_list },
	{ "dojotMakeCaList", "Make a CA's revocation list", HTTP_PUT, "/ca/{ca}/crl", OP_DOJOT, 200, make_list },
	{ "dojotCertificateStatus", "Is it revoked", HTTP_GET, ONE "/status", OP_DOJOT, 200, get_status },
	{ "dojotGetCertificate", "One certificate", HTTP_GET, ONE, OP_DOJOT, 200, get_certificate },
	{ "dojotRevokeCertificate", "Revoke a certificate", HTTP_DELETE, ONE, OP_DOJOT, 200, revoke },
};
const struct op_group group_dojot_ca = { "dojot-ca", "ejbca-rest's CAs", ops, ARRAY_LEN(ops) };
