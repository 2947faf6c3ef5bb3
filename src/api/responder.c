/* What OCSP answers are signed with: for each CA a key of our own, for which the signer issues a certificate that is good for a few days and
 * for nothing else (RFC 6960 4.2.2.2). So millions of answers need neither the CA's key nor a record in the audit log each. */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "api/public.h"
#include "api/signers.h"
#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

#define OCSP_PROFILE "ocsp"

/* ---- life ---- */

static void
drop_certificate(struct responder *r)
{
	X509_free(r->cert);
	EVP_PKEY_free(r->key);
	r->cert = NULL;
	r->key = NULL;
}

void
responders_close(struct api *a)
{
	while (a->responders != NULL) {
		struct responder *r = a->responders;

		a->responders = r->next;
		drop_certificate(r);
		X509_free(r->issuer);
		pki_pair_done(&r->pair);
		free(r);
	}
}

struct responder *
responder_find(struct api *a, struct slice ca)
{
	struct responder *r = a->responders;

	while (r != NULL && !slice_eq(slice_str(r->ca), ca))
		r = r->next;
	return r;
}

/* ---- certificates ---- */

/* It stands among the others, so that people see it and the CA's index holds nothing that is not known here. */
static bool
keep(struct responder *r, const struct signer_issued *s, struct err *err)
{
	struct registry_certificate_new n = { .supersede = true, .keep_entity = true, .certificate = { .ca = slice_str(r->ca), .profile = SL(OCSP_PROFILE),
		.origin = SL(OCSP_PROFILE), .by = SL("control") } };

	issued_fill(s, &n.certificate);
	return registry_certificate_add(r->api->registry, &n, err);
}

static void
on_issued(void *ctx, const struct signer_issued *s, const struct err *why)
{
	struct responder *r = ctx;
	const unsigned char *p = s != NULL ? s->der.p : NULL;
	X509 *x = s != NULL ? d2i_X509(NULL, &p, (long)s->der.n) : NULL;
	struct err err = { 0 };

	/* Another one was asked for since. */
	if (!r->asking || (x != NULL && X509_check_private_key(x, r->pair.key) != 1)) {
		ERR_clear_error();
		X509_free(x);
		return;
	}
	r->asking = false;
	if (x == NULL || !keep(r, s, &err)) {
		log_error("Nothing to sign OCSP answers of CA %s with: %s.", r->ca, s == NULL ? why->text : x == NULL ? "its certificate cannot be read" : err.text);
		X509_free(x);
		pki_pair_done(&r->pair);
		return;
	}
	drop_certificate(r);
	r->cert = x;
	r->key = r->pair.key;
	r->pair.key = NULL;
	pki_pair_done(&r->pair);
	r->from = s->not_before;
	r->until = s->not_after;
	r->generation++;
}

/* Who checks certificates of an RSA CA need not be able to do more than RSA. */
static enum pki_key_type
key_type(const struct responder *r)
{
	return EVP_PKEY_is_a(X509_get0_pubkey(r->issuer), "RSA") ? PKI_RSA2048 : PKI_P256;
}

static void
ask(struct responder *r)
{
	struct signer_issue q = { .ca = r->ca, .profile = OCSP_PROFILE, .only_names = true, .actor = "ocsp" };
	struct err err;

	pki_pair_done(&r->pair);
	if (pki_pair_make(key_type(r), "OCSP responder", &r->pair, &err)) {
		q.csr = slice_of(r->pair.csr, r->pair.csr_n);
		r->asking = signer_issue(signers_client(r->api), &q, on_issued, r, &err);
		signers_asked(r->api);
	}
	if (!r->asking)
		log_error("Nothing to sign OCSP answers of CA %s with: %s.", r->ca, err.text);
}

/* ---- which CAs ---- */

static bool
is_same(const X509 *issuer, struct slice der)
{
	unsigned char *now = NULL;
	int n = issuer != NULL ? i2d_X509(issuer, &now) : 0;
	bool same = n > 0 && slice_eq(slice_of(now, (size_t)n), der);

	OPENSSL_free(now);
	return same;
}

/* The root issues the CAs below it by hand, and whoever has to know of those reads its list. */
static bool
note_ca(void *ctx, const struct registry_ca *x)
{
	struct api *a = ctx;
	struct responder *r = responder_find(a, x->name);
	const unsigned char *p = x->der.p;

	if (!x->own || slice_eq(x->name, SL("root")) || (r != NULL && is_same(r->issuer, x->der)))
		return true;
	if (r == NULL) {
		r = calloc(1, sizeof(*r));
		if (r == NULL || !text_copy(r->ca, sizeof(r->ca), x->name)) {
			free(r);
			return true;
		}
		r->api = a;
		r->next = a->responders;
		a->responders = r;
	}
	drop_certificate(r);
	X509_free(r->issuer);
	r->issuer = d2i_X509(NULL, &p, (long)x->der.n);
	return true;
}

void
responders_due(struct api *a, bool fresh)
{
	int64_t now = api_now(a);

	if (signers_client(a) == NULL)
		return;
	(void)registry_ca_each(a->registry, note_ca, a, NULL);
	for (struct responder *r = a->responders; r != NULL; r = r->next) {
		r->asking = r->asking && !fresh;
		if (r->issuer != NULL && !r->asking && (r->cert == NULL || now > r->from + (r->until - r->from) / 2))
			ask(r);
	}
}
