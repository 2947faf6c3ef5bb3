/* EST (RFC 7030, RFC 8951): certificates for devices by standard means. What a request may be, the signer's profiles say. */
#include "api/est.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { BODY_MAX = 2 * PKI_EST_REQUEST_MAX, CAS_MAX = 64 };
#define PKCS7_TYPE "application/pkcs7-mime"
#define CERTS_TYPE PKCS7_TYPE "; smime-type=certs-only"

struct slice
est_csr(const struct est *e)
{
	return e->pair.csr != NULL ? slice_of(e->pair.csr, e->pair.csr_n) : slice_of(e->der, e->der_n);
}

void
est_refuse(struct call *c, const struct err *why)
{
	if (why->code == ERR_INPUT || why->code == ERR_DENIED || why->code == ERR_LIMIT)
		call_problem(c, 400, "request", "make another request (PKCS#10): P-256, P-384, P-521 or RSA of 2048 bits and more, signed with SHA-256 or better", "%s",
		    why->text);
	else
		call_error(c, why);
}

/* ---- the label: a tenant ---- */

/* False: answered. Without one: the first tenant, and whoever a secret is for. */
static bool
enter(struct call *c)
{
	struct registry_tenant t;
	struct err err;
	bool ok;

	if (c->path.n < 4)
		return true;
	if (!registry_tenant_get(c->api->registry, c->params[0], &t, &err)) {
		call_error(c, &err);
		return false;
	}
	ok = !t.disabled && text_copy(c->tenant, sizeof(c->tenant), t.name);
	free(t.mem);
	if (!ok)
		call_problem(c, 404, "not-found", NULL, "the tenant is disabled");
	return ok;
}

/* ---- answers ---- */

/* Old clients look for the header, newer ones pass over it (RFC 8951 3.1). */
static void
send_text(struct call *c, const char *type, struct slice der)
{
	char *text = pki_est_encode(der);

	call_header(c, "Content-Transfer-Encoding", "base64");
	if (text != NULL)
		call_bytes(c, 200, type, slice_str(text));
	else
		call_json(c, 503, NULL);
	free(text);
}

/* Key and certificate in two parts (RFC 7030 4.4.2); what holds the key is wiped when it is sent. */
static struct blob *
two_parts(const char *boundary, const char *key, const char *certs)
{
	static const char part[] = "Content-Transfer-Encoding: base64\r\n\r\n";
	size_t cap = strlen(key) + strlen(certs) + 4 * strlen(boundary) + 300;
	struct blob *b = malloc(sizeof(*b) + cap);

	if (b == NULL)
		return NULL;
	*b = (struct blob){ .refs = 1, .secret = true };
	b->n = (size_t)snprintf((char *)b->bytes, cap, "--%s\r\nContent-Type: application/pkcs8\r\n%s%s\r\n--%s\r\nContent-Type: " CERTS_TYPE "\r\n%s%s\r\n--%s--\r\n",
	    boundary, part, key, boundary, part, certs, boundary);
	return b;
}

static void
send_pair(struct call *c, const struct est *e, struct slice certs)
{
	char boundary[40], type[100];
	uint8_t random[12], *der = NULL;
	size_t n = 0;
	struct err err;
	bool ok = pki_pair_key(&e->pair, &der, &n, &err);
	char *key = ok ? pki_est_encode(slice_of(der, n)) : NULL, *text = pki_est_encode(certs);
	struct blob *b;

	random_bytes(random, sizeof(random));
	(void)text_hex(slice_of(random, sizeof(random)), boundary, sizeof(boundary));
	(void)snprintf(type, sizeof(type), "multipart/mixed; boundary=%s", boundary);
	b = key != NULL && text != NULL ? two_parts(boundary, key, text) : NULL;
	secret_free(der, n);
	secret_free(key, key != NULL ? strlen(key) : 0);
	free(text);
	if (b != NULL)
		call_blob(c, type, b);
	else
		call_json(c, 503, NULL);
	blob_unref(b);
}

void
est_answer(struct call *c, struct slice der)
{
	const struct est *e = c->work;
	uint8_t *certs;
	size_t n;
	struct err err;

	if (!pki_est_certs(&der, 1, &certs, &n, &err))
		call_error(c, &err);
	else if (e->kind == EST_KEYGEN)
		send_pair(c, e, slice_of(certs, n));
	else
		send_text(c, CERTS_TYPE, slice_of(certs, n));
	free(certs);
}

/* ---- requests ---- */

static void
ended(struct call *c)
{
	struct est *e = c->work;

	if (e != NULL)
		pki_pair_done(&e->pair);
}

/* Somebody who takes another's request away and sends it as his own has another connection (RFC 7030 3.5). */
static bool
check_binding(struct call *c, const struct est *e, struct err *err)
{
	uint8_t raw[CHAN_BINDING_MAX];
	size_t n = chan_binding(c->chan, raw);
	char text[4 * CHAN_BINDING_MAX / 3 + 8];

	if (!e->request.has_challenge)
		return true;
	base64_put(slice_of(raw, n), true, text);
	return (n > 0 && strcmp(text, e->request.challenge) == 0) ||
	       err_set(err, ERR_INPUT, "the request's challengePassword is not the base64 of this connection's %s: leave it out, or bind it",
		   n == 32 ? "tls-exporter" : "tls-unique");
}

/* The request's signature is looked at all the same: a key that is made here is of its kind. */
static bool
make_pair(struct est *e, struct err *err)
{
	if (e->request.wants_sealed)
		return err_set(err, ERR_INPUT, "the key cannot be encrypted for another one: leave (Asymmetric)DecryptKeyIdentifier out");
	if (!e->request.key_known)
		return err_set(err, ERR_INPUT, "the server makes EC keys only: send a request with a key on the curve that it shall have");
	return pki_pair_make(e->request.key, "device", &e->pair, err);
}

static void
run(struct call *c, enum est_kind kind)
{
	struct est *e = c->work = calloc(1, sizeof(*e));
	struct err err;

	if (e == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	c->ended = ended;
	e->kind = kind;
	if (!enter(c))
		return;
	if (!pki_est_decode(slice_of(c->body_bytes, c->body_n), e->der, sizeof(e->der), &e->der_n)) {
		(void)err_set(&err, ERR_INPUT, "the body is not base64 of 1 to %d bytes", PKI_EST_REQUEST_MAX);
		est_refuse(c, &err);
		return;
	}
	if (!pki_est_read(slice_of(e->der, e->der_n), &e->request, &err) || !check_binding(c, e, &err))
		est_refuse(c, &err);
	else if (kind == EST_KEYGEN && !make_pair(e, &err))
		est_refuse(c, &err);
	else
		est_take(c);
}

static void
enroll(struct call *c)
{
	run(c, EST_ENROLL);
}

static void
reenroll(struct call *c)
{
	run(c, EST_REENROLL);
}

static void
keygen(struct call *c)
{
	if (c->api->config->est_keygen)
		run(c, EST_KEYGEN);
	else
		call_problem(c, 404, "not-found", "set est_serverkeygen true, or make the key on the device", "keys of devices are not made here");
}

/* ---- what everybody may know ---- */

struct bundle {
	struct call *call;
	struct slice ders[CAS_MAX];
	void *mems[CAS_MAX];
	size_t n;
};

/* Those that issue for devices, and what is above them. */
static bool
add_ca(void *ctx, const struct registry_ca *x)
{
	struct bundle *b = ctx;
	bool ours = x->tenant.n == 0 || slice_eq(x->tenant, call_tenant(b->call));
	bool other = slice_eq(x->role, SL("watch")) || slice_eq(x->role, SL("control")) || slice_eq(x->role, SL("cloud"));

	if (!ours || other || x->retired || x->der.n == 0 || b->n == CAS_MAX || (b->mems[b->n] = malloc(x->der.n)) == NULL)
		return true;
	memcpy(b->mems[b->n], x->der.p, x->der.n);
	b->ders[b->n] = slice_of(b->mems[b->n], x->der.n);
	b->n++;
	return true;
}

static void
cacerts(struct call *c)
{
	struct bundle *b = calloc(1, sizeof(*b));
	uint8_t *der = NULL;
	size_t n = 0;
	struct err err;
	bool ok;

	if (b == NULL) {
		(void)err_set(&err, ERR_MEMORY, "out of memory");
		call_error(c, &err);
		return;
	}
	if (!enter(c)) {
		free(b);
		return;
	}
	b->call = c;
	ok = registry_ca_each(c->api->registry, add_ca, b, &err) && (b->n > 0 || err_set(&err, ERR_SYSTEM, "the signer has not said yet which CAs there are")) &&
	     pki_est_certs(b->ders, b->n, &der, &n, &err);
	if (ok)
		send_text(c, PKCS7_TYPE, slice_of(der, n));
	else
		call_error(c, &err);
	for (size_t i = 0; i < b->n; i++)
		free(b->mems[i]);
	free(b);
	free(der);
}

/* CsrAttrs (RFC 7030 4.5.2): a key on P-256, and ECDSA with SHA-256. A proposal: the profile takes more. */
static void
csrattrs(struct call *c)
{
	static const uint8_t attrs[] = { 0x30, 0x21, 0x30, 0x15, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x31, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48,
		0xce, 0x3d, 0x03, 0x01, 0x07, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02 };

	if (enter(c))
		send_text(c, "application/csrattrs", slice_of(attrs, sizeof(attrs)));
}

#define EST "/.well-known/est/"
#define BY_EST(name, about, path, fn, type) \
	{ name, about, HTTP_POST, path, OP_OPEN | OP_QUIET, 200, fn, .takes = "application/pkcs10", .body_max = BODY_MAX, .media = type }
#define FROM_EST(name, about, path, fn, type) { name, about, HTTP_GET, path, OP_OPEN, 200, fn, .media = type }
static const struct op ops[] = {
	FROM_EST("estCacerts", "CAs of devices' certificates (base64 of PKCS#7)", EST "cacerts", cacerts, PKCS7_TYPE),
	FROM_EST("estCsrattrs", "What a request should have", EST "csrattrs", csrattrs, "application/csrattrs"),
	BY_EST("estEnroll", "A certificate, for a secret (HTTP Basic) or with the one that the device has", EST "simpleenroll", enroll, PKCS7_TYPE),
	BY_EST("estReenroll", "The next certificate of whoever shows one", EST "simplereenroll", reenroll, PKCS7_TYPE),
	BY_EST("estKeygen", "A key and its certificate; with est_serverkeygen", EST "serverkeygen", keygen, "multipart/mixed"),
	FROM_EST("estCacertsOf", "The same of a tenant", EST "{tenant}/cacerts", cacerts, PKCS7_TYPE),
	FROM_EST("estCsrattrsOf", "The same of a tenant", EST "{tenant}/csrattrs", csrattrs, "application/csrattrs"),
	BY_EST("estEnrollOf", "The same of a tenant", EST "{tenant}/simpleenroll", enroll, PKCS7_TYPE),
	BY_EST("estReenrollOf", "The same of a tenant", EST "{tenant}/simplereenroll", reenroll, PKCS7_TYPE),
	BY_EST("estKeygenOf", "The same of a tenant", EST "{tenant}/serverkeygen", keygen, "multipart/mixed"),
};
const struct op_group group_est = { "est", "Enrollment over Secure Transport (RFC 7030)", ops, ARRAY_LEN(ops) };
