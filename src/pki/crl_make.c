/* A CA's revocation list (RFC 5280 5): entries are added one by one, then it is signed. */
#include "pki/internal.h"

#include <openssl/err.h>

static bool
set_times(X509_CRL *c, int64_t from, int64_t until)
{
	ASN1_TIME *a = ASN1_TIME_set(NULL, (time_t)from), *b = ASN1_TIME_set(NULL, (time_t)until);
	bool ok = a != NULL && b != NULL && X509_CRL_set1_lastUpdate(c, a) == 1 && X509_CRL_set1_nextUpdate(c, b) == 1;

	ASN1_TIME_free(a);
	ASN1_TIME_free(b);
	return ok;
}

bool
crl_begin(struct crl_draft *d, X509 *ca, const struct crl_terms *t, struct err *err)
{
	int64_t until = NUM_MIN(t->until, time_of(X509_get0_notAfter(ca)));

	ERR_clear_error();
	*d = (struct crl_draft){ .crl = X509_CRL_new(), .ca = ca, .number = t->number };
	if (d->crl != NULL && X509_CRL_set_version(d->crl, X509_CRL_VERSION_2) == 1 &&
	    X509_CRL_set_issuer_name(d->crl, X509_get_subject_name(ca)) == 1 && set_times(d->crl, t->from, until))
		return true;
	crl_drop(d);
	return crypto_err(err, "cannot begin a revocation list");
}

void
crl_drop(struct crl_draft *d)
{
	X509_CRL_free(d->crl);
	d->crl = NULL;
}

bool
crl_add(struct crl_draft *d, struct slice serial, int64_t at, int reason, struct err *err)
{
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_ENUMERATED *why = ASN1_ENUMERATED_new();
	ASN1_TIME *when = ASN1_TIME_set(NULL, (time_t)at);
	ASN1_INTEGER *number = serial_of(serial);
	bool ok = r != NULL && why != NULL && when != NULL && number != NULL && X509_REVOKED_set_serialNumber(r, number) == 1 &&
	    X509_REVOKED_set_revocationDate(r, when) == 1;

	/* "unspecified" is said by saying nothing (RFC 5280 5.3.1). */
	if (ok && reason > 0)
		ok = ASN1_ENUMERATED_set(why, reason) == 1 && X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, why, 0, 0) == 1;
	ok = ok && X509_CRL_add0_revoked(d->crl, r) == 1;
	if (!ok)
		X509_REVOKED_free(r);
	ASN1_ENUMERATED_free(why);
	ASN1_TIME_free(when);
	ASN1_INTEGER_free(number);
	d->n += ok;
	return ok || crypto_err(err, "cannot put an entry into a revocation list");
}

static bool
add_extensions(X509_CRL *c, const X509 *ca, uint64_t number)
{
	ASN1_INTEGER *n = ASN1_INTEGER_new();
	AUTHORITY_KEYID *id = AUTHORITY_KEYID_new();
	const ASN1_OCTET_STRING *key = X509_get0_subject_key_id((X509 *)(uintptr_t)ca);
	bool ok = n != NULL && id != NULL && ASN1_INTEGER_set_uint64(n, number) == 1 &&
	    X509_CRL_add1_ext_i2d(c, NID_crl_number, n, 0, 0) == 1;

	if (ok && key != NULL) {
		id->keyid = ASN1_OCTET_STRING_dup(key);
		ok = id->keyid != NULL && X509_CRL_add1_ext_i2d(c, NID_authority_key_identifier, id, 0, 0) == 1;
	}
	ASN1_INTEGER_free(n);
	AUTHORITY_KEYID_free(id);
	return ok;
}

X509_CRL *
crl_finish(struct crl_draft *d, EVP_PKEY *key, struct err *err)
{
	X509_CRL *c = d->crl;

	d->crl = NULL;
	if (X509_CRL_sort(c) == 1 && add_extensions(c, d->ca, d->number) && X509_CRL_sign(c, key, key_digest(key)) > 0)
		return c;
	X509_CRL_free(c);
	(void)crypto_err(err, "cannot sign a revocation list");
	return NULL;
}
