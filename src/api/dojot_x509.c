/* x509-identity-mgmt's /x509/v1: certificates by their fingerprints, as the successor of ejbca-rest has them. */
#include "api/dojot.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/events.h"
#include "api/signers.h"
#include "base/num.h"
#include "base/text.h"

enum { PAGE_MAX = 250, PAGE_SIZE = 25, REASON_SUPERSEDED = 4, FINGERPRINT_CAP = 3 * REGISTRY_HASH + 2 };

static void
fail(struct call *c, unsigned status, const char *what)
{
	call_json(c, status, json_pack("{s:s}", "error", what));
}

static void
fail_because(struct call *c, const struct err *err)
{
	bool ours = err->code == ERR_SYSTEM || err->code == ERR_MEMORY || err->code == ERR_LIMIT;

	if (ours)
		call_header(c, "Retry-After", "5");
	fail(c, ours ? 503 : err->code == ERR_MISSING ? 404 : err->code == ERR_EXISTS ? 409 : 400, call_why(c, err));
}

/* ---- forms ---- */

/* "AA:BB:…" */
static json_t *
fingerprint_json(const char *hex)
{
	char out[FINGERPRINT_CAP];
	size_t n = 0;

	for (size_t i = 0; hex[i] != '\0' && n + 2 < sizeof(out); i++) {
		if (i > 0 && i % 2 == 0)
			out[n++] = ':';
		out[n++] = (char)(hex[i] >= 'a' ? hex[i] - 'a' + 'A' : hex[i]);
	}
	out[n] = '\0';
	return json_string(out);
}

/* With colons or without, in any case. */
static bool
read_fingerprint(struct slice s, char out[static 2 * REGISTRY_HASH + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char d = (char)s.p[i];

		if (d == ':')
			continue;
		if (n == 2 * REGISTRY_HASH || text_hex_digit((uint8_t)d) < 0)
			return false;
		out[n++] = (char)(d >= 'A' && d <= 'F' ? d | 0x20 : d);
	}
	out[n] = '\0';
	return n == 2 * REGISTRY_HASH;
}

static json_t *
certificate_json(const struct registry_certificate *x)
{
	json_t *owner = x->device.n > 0 ? json_pack("{s:o}", "device", text_json(x->device)) : json_object();

	return json_pack("{s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "issuedByDojotPki", 1, "autoRegistered", 0, "fingerprint", fingerprint_json(x->fingerprint), "pem",
	    pem_json(x->der, "CERTIFICATE"), "belongsTo", owner, "tenant", text_json(x->tenant), "createdAt", dojot_time(x->created));
}

/* ---- looking ---- */

/* False: answered. */
static bool
load(struct call *c, struct registry_certificate *ret)
{
	char fingerprint[2 * REGISTRY_HASH + 1];

	if (read_fingerprint(c->params[0], fingerprint) && registry_certificate_find_fingerprint(c->api->registry, slice_str(fingerprint), ret, NULL)) {
		if (slice_eq(ret->tenant, call_tenant(c)) || (ret->tenant.n == 0 && c->actor.first))
			return true;
		free(ret->mem);
	}
	fail(c, 404, "No records found for the following parameters: fingerprint");
	return false;
}

/* False: answered. */
static bool
load_to_change(struct call *c, struct registry_certificate *ret)
{
	if (!load(c, ret))
		return false;
	if (certificate_is_device(c->api, ret) || actor_is_admin(c))
		return true;
	free(ret->mem);
	fail(c, 403, "only an administrator can change a certificate that is no device's");
	return false;
}

static void
get(struct call *c)
{
	struct registry_certificate x;

	if (!load(c, &x))
		return;
	call_json(c, 200, certificate_json(&x));
	free(x.mem);
}

struct listing {
	int64_t first, last, n;
	json_t *items;
};

static bool
add_row(void *ctx, const struct registry_certificate *x)
{
	struct listing *l = ctx;

	l->n++;
	return l->n <= l->first || l->n > l->last || json_array_append_new(l->items, certificate_json(x)) == 0;
}

static int64_t
query_number(const struct call *c, const char *name, int64_t otherwise, int64_t max)
{
	int64_t n = call_query_int(c, name, otherwise);

	return n < 1 ? otherwise : NUM_MIN(n, max);
}

static json_t *
paging_json(int64_t page, int64_t size, int64_t n)
{
	int64_t pages = NUM_MAX((n + size - 1) / size, (int64_t)1);
	json_t *previous = page > 1 ? json_pack("{s:I}", "number", (json_int_t)page - 1) : json_null();
	json_t *next = page < pages ? json_pack("{s:I}", "number", (json_int_t)page + 1) : json_null();

	return json_pack("{s:o, s:{s:I}, s:o, s:I, s:I, s:I}", "previous", previous, "current", "number", (json_int_t)page, "next", next, "totalItems", (json_int_t)n,
	    "totalPages", (json_int_t)pages, "limitPerPage", (json_int_t)size);
}

static void
list(struct call *c)
{
	int64_t page = query_number(c, "page", 1, DOJOT_WALK_MAX), size = query_number(c, "limit", PAGE_SIZE, PAGE_MAX);
	struct registry_certificate_filter f = { .tenant = call_tenant(c), .with_der = true };
	struct registry_page p = { .limit = REGISTRY_PAGE_MAX };
	struct listing l = { (page - 1) * size, page * size, 0, json_array() };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok = l.items != NULL;

	do {
		ok = ok && registry_certificate_list(c->api->registry, &f, &p, add_row, &l, &err);
		p.cursor = slice_str(p.next);
	} while (ok && p.next[0] != '\0' && l.n < DOJOT_WALK_MAX);
	if (ok) {
		call_json(c, 200, json_pack("{s:o, s:o}", "paging", paging_json(page, size, l.n), "certificates", l.items));
		return;
	}
	json_decref(l.items);
	fail_because(c, &err);
}

/* ---- issuing ---- */

static void
on_certificate(struct call *c, const struct registry_certificate *x, const struct err *why)
{
	if (x != NULL)
		call_json(c, 201, json_pack("{s:o, s:o}", "certificateFingerprint", fingerprint_json(x->fingerprint), "certificatePem", pem_json(x->der, "CERTIFICATE")));
	else
		fail_because(c, why);
}

/* The common name that the request has. False: it is none, or has no such name. */
static bool
csr_name(struct slice pem, char *out, size_t cap)
{
	BIO *b = BIO_new_mem_buf(pem.p, (int)NUM_MIN(pem.n, (size_t)API_BODY_MAX));
	X509_REQ *q = b != NULL ? PEM_read_bio_X509_REQ(b, NULL, NULL, NULL) : NULL;
	int n = q != NULL ? X509_NAME_get_text_by_NID(X509_REQ_get_subject_name(q), NID_commonName, out, (int)cap) : -1;

	X509_REQ_free(q);
	(void)BIO_free(b);
	return n > 0 && (size_t)n < cap && strlen(out) == (size_t)n;
}

/* The device's id: what the body says, else the request; TENANT:ID counts as ID. */
static struct slice
wanted_id(struct call *c, char *name, size_t cap)
{
	json_t *device = json_object_get(json_object_get(c->body, "belongsTo"), "device");
	struct slice id, tenant = call_tenant(c);

	if (json_is_string(device))
		return slice_of(json_string_value(device), json_string_length(device));
	if (!csr_name(call_text(c, "csr"), name, cap))
		return (struct slice){ 0 };
	id = slice_str(name);
	if (id.n > tenant.n && slice_starts(id, tenant) && id.p[tenant.n] == ':')
		id = slice_from(id, tenant.n + 1);
	return id;
}

static void
issue_for(struct call *c, const struct registry_device *d)
{
	const struct api_dojot *o = &c->api->config->dojot;
	struct registry_entity e = { .ca = slice_str(o->ca), .profile = slice_str(o->profile) };
	struct dojot_signing *g = c->work = calloc(1, sizeof(*g));

	struct err err;

	if (g == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	if (!standing_may(c->api->registry, d->cn, &err)) {
		fail_because(c, &err);
		return;
	}
	(void)registry_entity_get(c->api->registry, d->cn, &e, NULL);
	g->done = on_certificate;
	(void)text_copy(g->cn, sizeof(g->cn), d->cn);
	(void)text_copy(g->ca, sizeof(g->ca), e.ca);
	(void)text_copy(g->profile, sizeof(g->profile), e.profile);
	free(e.mem);
	dojot_issue(c, call_text(c, "csr"));
}

static void
create(struct call *c)
{
	struct registry_device d;
	char name[1024];

	if (!json_is_object(c->body)) {
		fail(c, 400, "the body is no JSON object");
		return;
	}
	if (json_object_get(json_object_get(c->body, "belongsTo"), "application") != NULL) {
		fail(c, 403, "certificates of applications are not issued here");
		return;
	}
	if (dojot_text(c, "csr") == NULL) {
		fail(c, 400, "csr is needed; other CAs' certificates are trusted with `signet ca trust`, not registered");
		return;
	}
	if (!registry_device_get(c->api->registry, call_tenant(c), wanted_id(c, name, sizeof(name)), &d, NULL)) {
		fail(c, 400, "the certificate request is for no device of the tenant: its common name, or belongsTo.device, is a device's id");
		return;
	}
	issue_for(c, &d);
	free(d.mem);
}

/* ---- changes ---- */

/* A certificate is the device's of its common name, as the broker sees it: another owner would be a lie. */
static void
own(struct call *c)
{
	json_t *device = json_object_get(json_object_get(c->body, "belongsTo"), "device");
	struct registry_certificate x;
	struct registry_device d;
	struct slice id = { 0 };
	struct err err;
	bool ok = true;

	if (c->op->method == HTTP_PATCH && device == NULL) {
		fail(c, 400, "belongsTo.device is needed: a device's id, or null");
		return;
	}
	if (!load_to_change(c, &x))
		return;
	if (json_is_string(device)) {
		id = slice_of(json_string_value(device), json_string_length(device));
		ok = registry_device_get(c->api->registry, call_tenant(c), id, &d, &err);
		if (ok) {
			ok = slice_eq(d.cn, x.cn) || err_set(&err, ERR_INPUT, "the certificate's common name is another device's");
			free(d.mem);
		}
	}
	ok = ok && registry_certificate_assign(c->api->registry, slice_str(x.fingerprint), id.n > 0 ? call_tenant(c) : (struct slice){ 0 }, id, &err);
	free(x.mem);
	if (ok)
		call_nothing(c);
	else
		fail(c, 400, err.text);
}

static void
on_listed(struct call *c, const struct err *why)
{
	if (why == NULL) {
		call_nothing(c);
		return;
	}
	call_header(c, "Retry-After", "60");
	fail(c, 503, "revoked, but the revocation list is not published yet");
}

static void
revoke(struct call *c)
{
	struct registry_certificate x;
	struct err err;

	if (!load_to_change(c, &x))
		return;
	if (registry_certificate_revoke(c->api->registry, x.ca, slice_str(x.serial), REASON_SUPERSEDED, &err)) {
		event_certificate(c->api, "revoked", x.ca, slice_str(x.serial));
		lists_publish(c, &x, REASON_SUPERSEDED, on_listed);
	} else {
		fail_because(c, &err);
	}
	free(x.mem);
}

/* ---- the CA ---- */

/* False: answered. */
static bool
load_ca(struct call *c, struct registry_ca *ret)
{
	struct err err;

	if (dojot_ca_get(c, SL(DOJOT_CA), ret, &err))
		return true;
	fail_because(c, &err);
	return false;
}

static void
get_ca(struct call *c)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	char hex[2 * REGISTRY_HASH + 1], *chain, *pem;
	struct registry_ca x;
	json_t *v = NULL;
	size_t cap;

	if (!load_ca(c, &x))
		return;
	(void)EVP_Digest(x.der.p, x.der.n, hash, NULL, EVP_sha256(), NULL);
	(void)text_hex(slice_of(hash, REGISTRY_HASH), hex, sizeof(hex));
	chain = dojot_chain(c, &x);
	cap = chain != NULL ? strlen(chain) + 80 : 0;
	pem = chain != NULL ? malloc(cap) : NULL;
	if (pem != NULL) {
		(void)snprintf(pem, cap, "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n", chain);
		v = json_pack("{s:o, s:s}", "certificateFingerprint", fingerprint_json(hex), "caPem", pem);
	}
	free(pem);
	free(chain);
	call_json(c, 200, v);
}

static void
get_list(struct call *c)
{
	struct registry_ca x;
	struct slice der;
	struct err err;
	void *mem;
	bool ok;

	if (!load_ca(c, &x))
		return;
	ok = registry_crl_get(c->api->registry, x.name, &der, &mem, &err);
	free(x.mem);
	if (!ok) {
		fail_because(c, &err);
		return;
	}
	call_json(c, 200, json_pack("{s:o}", "crl", pem_json(der, "X509 CRL")));
	free(mem);
}

#define ALL "/x509/v1/certificates"
#define ONE ALL "/{fingerprint}"
static const struct op ops[] = {
	{ "dojotX509List", "Certificates", HTTP_GET, ALL, OP_DOJOT, 200, list },
	{ "dojotX509Issue", "Sign a certificate request", HTTP_POST, ALL, OP_DOJOT, 201, create, .body_max = 102400 },
	{ "dojotX509Get", "One certificate", HTTP_GET, ONE, OP_DOJOT, 200, get },
	{ "dojotX509Own", "Say whose it is", HTTP_PATCH, ONE, OP_DOJOT, 204, own },
	{ "dojotX509Revoke", "Revoke it", HTTP_DELETE, ONE, OP_DOJOT, 204, revoke },
	{ "dojotX509Disown", "It is nobody's", HTTP_DELETE, ONE "/belongsto", OP_DOJOT, 204, own },
	{ "dojotX509Ca", "The CA's certificate", HTTP_GET, "/x509/v1/ca", OP_DOJOT, 200, get_ca },
	{ "dojotX509Crl", "The CA's revocation list", HTTP_GET, "/x509/v1/ca/crl", OP_DOJOT, 200, get_list },
};
const struct op_group group_dojot_x509 = { "dojot-x509", "x509-identity-mgmt", ops, ARRAY_LEN(ops) };
