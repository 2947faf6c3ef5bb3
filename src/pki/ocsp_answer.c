/* OCSP (RFC 6960) from the side of who answers: a request as plain values, and signed answers. Who is revoked, the caller knows. */
#include "pki/internal.h"

#include <openssl/err.h>

/* ---- requests ---- */

/* 4.4.1: an OCTET STRING within the extension's; some send the bytes themselves. */
static void
take_nonce(OCSP_REQUEST *req, struct pki_ocsp_request *ret)
{
	int at = OCSP_REQUEST_get_ext_by_NID(req, NID_id_pkix_OCSP_Nonce, -1);
	const ASN1_OCTET_STRING *value = at >= 0 ? X509_EXTENSION_get_data(OCSP_REQUEST_get_ext(req, at)) : NULL;
	const unsigned char *p = value != NULL ? ASN1_STRING_get0_data(value) : NULL;
	ASN1_OCTET_STRING *inner = value != NULL ? d2i_ASN1_OCTET_STRING(NULL, &p, ASN1_STRING_length(value)) : NULL;
	const ASN1_OCTET_STRING *nonce = inner != NULL ? inner : value;
	int n = nonce != NULL ? ASN1_STRING_length(nonce) : 0;

	if (n > 0 && n <= PKI_OCSP_NONCE_MAX) {
		memcpy(ret->nonce, ASN1_STRING_get0_data(nonce), (size_t)n);
		ret->nonce_n = (uint8_t)n;
	}
	ASN1_OCTET_STRING_free(inner);
}

static bool
take_ids(OCSP_REQUEST *req, struct pki_ocsp_request *ret, struct err *err)
{
	int n = OCSP_request_onereq_count(req);

	if (n < 1 || n > PKI_OCSP_IDS_MAX)
		return err_set(err, ERR_LIMIT, "the OCSP request asks about %d certificates; 1 to %d are answered", n, PKI_OCSP_IDS_MAX);
	for (int i = 0; i < n; i++) {
		if (!ocsp_id_of(OCSP_onereq_get0_id(OCSP_request_onereq_get0(req, i)), &ret->ids[i]))
			return err_set(err, ERR_INPUT, "the OCSP request names a certificate by hashes that are not known here");
	}
	ret->n = (unsigned)n;
	return true;
}

bool
pki_ocsp_parse_request(struct slice der, struct pki_ocsp_request *ret, struct err *err)
{
	const unsigned char *p = der.p;
	auto_ocsp_req req = NULL;

	if (der.n == 0 || der.n > PKI_OCSP_REQUEST_MAX)
		return err_set(err, ERR_INPUT, "an OCSP request has 1 to %d bytes, and not %zu", PKI_OCSP_REQUEST_MAX, der.n);
	ERR_clear_error();
	req = d2i_OCSP_REQUEST(NULL, &p, (long)der.n);
	ERR_clear_error();
	if (req == NULL || p != der.p + der.n)
		return err_set(err, ERR_INPUT, "this is no OCSP request");
	*ret = (struct pki_ocsp_request){ 0 };
	take_nonce(req, ret);
	ERR_clear_error();
	return take_ids(req, ret, err);
}

/* ---- answers ---- */

static bool
give(uint8_t *der, int n, uint8_t **ret, size_t *ret_n, struct err *err)
{
	uint8_t *copy = n > 0 ? malloc((size_t)n) : NULL;

	if (copy != NULL) {
		memcpy(copy, der, (size_t)n);
		*ret = copy;
		*ret_n = (size_t)n;
	}
	OPENSSL_free(der);
	return copy != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

static bool
give_response(int status, OCSP_BASICRESP *b, uint8_t **ret, size_t *ret_n, struct err *err)
{
	OCSP_RESPONSE *r = OCSP_response_create(status, b);
	uint8_t *der = NULL;
	int n = r != NULL ? i2d_OCSP_RESPONSE(r, &der) : -1;

	OCSP_RESPONSE_free(r);
	return n > 0 ? give(der, n, ret, ret_n, err) : crypto_err(err, "cannot make an OCSP response");
}

static OCSP_CERTID *
certid_of(const struct pki_ocsp_id *id)
{
	/* libcrypto makes one of a name and a key only; the DER of 4.1.1 has the hashes. */
	X509_ALGOR *alg = X509_ALGOR_new();
	uint8_t body[4 * PKI_OCSP_HASH_MAX], *p = body;
	ASN1_OCTET_STRING *name = ASN1_OCTET_STRING_new(), *key = ASN1_OCTET_STRING_new();
	BIGNUM *bn = BN_bin2bn(id->serial, id->serial_n, NULL);
	ASN1_INTEGER *serial = bn != NULL ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;
	OCSP_CERTID *ret = NULL;
	const uint8_t *in;
	uint8_t der[4 * PKI_OCSP_HASH_MAX + 8], *out = der;
	int n;

	if (alg != NULL && name != NULL && key != NULL && serial != NULL &&
	    X509_ALGOR_set0(alg, OBJ_nid2obj(id->digest), V_ASN1_NULL, NULL) == 1 &&
	    ASN1_OCTET_STRING_set(name, id->name_hash, id->hash_n) == 1 && ASN1_OCTET_STRING_set(key, id->key_hash, id->hash_n) == 1) {
		n = i2d_X509_ALGOR(alg, &p);
		n += i2d_ASN1_OCTET_STRING(name, &p);
		n += i2d_ASN1_OCTET_STRING(key, &p);
		n += i2d_ASN1_INTEGER(serial, &p);
		ASN1_put_object(&out, 1, n, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
		memcpy(out, body, (size_t)n);
		in = der;
		ret = d2i_OCSP_CERTID(NULL, &in, (out - der) + n);
	}
	X509_ALGOR_free(alg);
	ASN1_OCTET_STRING_free(name);
	ASN1_OCTET_STRING_free(key);
	BN_free(bn);
	ASN1_INTEGER_free(serial);
	return ret;
}

static bool
add_single(OCSP_BASICRESP *b, const struct pki_ocsp_single *v, ASN1_TIME *from, ASN1_TIME *to)
{
	static const int status[] = { V_OCSP_CERTSTATUS_GOOD, V_OCSP_CERTSTATUS_REVOKED, V_OCSP_CERTSTATUS_UNKNOWN };
	ASN1_TIME *revoked = v->status == PKI_OCSP_REVOKED ? ASN1_GENERALIZEDTIME_set(NULL, (time_t)v->revoked_at) : NULL;
	auto_ocsp_id id = certid_of(v->id);
	/* "unspecified" is said by saying nothing (RFC 5280 5.3.1). */
	bool ok = id != NULL && (v->status != PKI_OCSP_REVOKED || revoked != NULL) &&
	    OCSP_basic_add1_status(b, id, status[v->status], v->reason > 0 ? v->reason : -1, revoked, from, to) != NULL;

	ASN1_TIME_free(revoked);
	return ok;
}

/* 4.2.2.2: the CA itself, or whom it has lent this right; nobody believes others. */
static bool
may_sign(X509 *cert, EVP_PKEY *key, bool *ret_delegate, struct err *err)
{
	bool ca = X509_check_ca(cert) > 0;

	if (X509_check_private_key(cert, key) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_INPUT, "the key does not belong to the responder's certificate");
	}
	*ret_delegate = !ca;
	return ca || ((X509_get_extension_flags(cert) & EXFLAG_XKUSAGE) != 0 && (X509_get_extended_key_usage(cert) & XKU_OCSP_SIGN) != 0) ||
	    err_set(err, ERR_DENIED, "the certificate is neither a CA's nor made for OCSP (OCSPSigning): no client believes it");
}

bool
pki_ocsp_sign(const struct pki_ocsp_signing *s, const struct pki_ocsp_single *v, size_t n, uint8_t **ret, size_t *ret_n,
    struct err *err)
{
	ASN1_TIME *from = ASN1_GENERALIZEDTIME_set(NULL, (time_t)s->this_update), *to = ASN1_GENERALIZEDTIME_set(NULL, (time_t)s->next_update);
	auto_basic b = OCSP_BASICRESP_new();
	bool ok = b != NULL && from != NULL && to != NULL, delegate = false;

	ERR_clear_error();
	if (!may_sign(s->cert, s->key, &delegate, err)) {
		ASN1_TIME_free(from);
		ASN1_TIME_free(to);
		return false;
	}
	for (size_t i = 0; ok && i < n; i++)
		ok = add_single(b, &v[i], from, to);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	if (ok && s->nonce.n > 0)
		ok = OCSP_basic_add1_nonce(b, (unsigned char *)(uintptr_t)s->nonce.p, (int)s->nonce.n) == 1;
	/* The issuer's own certificate is with everybody who asks. By key: a name says no more (RFC 5019 2.2.3). */
	ok = ok && OCSP_basic_sign(b, s->cert, s->key, key_digest(s->key), NULL, OCSP_RESPID_KEY | (delegate ? 0 : OCSP_NOCERTS)) == 1;
	return ok ? give_response(OCSP_RESPONSE_STATUS_SUCCESSFUL, b, ret, ret_n, err) : crypto_err(err, "cannot sign an OCSP response");
}

bool
pki_ocsp_refuse(enum pki_ocsp_refusal why, uint8_t **ret, size_t *ret_n, struct err *err)
{
	return give_response((int)why, NULL, ret, ret_n, err);
}
