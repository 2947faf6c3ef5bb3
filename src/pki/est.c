/* What EST carries (RFC 7030): requests with what is in them beside the key, and certificates without a signature. */
#include "pki/internal.h"

#include <openssl/err.h>
#include <openssl/pkcs7.h>

/* ---- requests ---- */

/* The key that the server makes is to be sealed for one that the client has (RFC 7030 4.4.1). */
static bool
wants_sealed(const X509_REQ *req)
{
	static const char *const oids[] = { "1.2.840.113549.1.9.16.2.37", "1.2.840.113549.1.9.16.2.54" };
	bool wants = false;

	for (size_t i = 0; i < ARRAY_LEN(oids); i++) {
		ASN1_OBJECT *o = OBJ_txt2obj(oids[i], 1);

		wants = wants || (o != NULL && X509_REQ_get_attr_by_OBJ(req, o, -1) >= 0);
		ASN1_OBJECT_free(o);
	}
	return wants;
}

static bool
read_challenge(const X509_REQ *req, struct pki_est_request *ret, struct err *err)
{
	int at = X509_REQ_get_attr_by_NID(req, NID_pkcs9_challengePassword, -1);
	const ASN1_TYPE *v = at >= 0 ? X509_ATTRIBUTE_get0_type(X509_REQ_get_attr(req, at), 0) : NULL;
	const ASN1_STRING *s;

	ret->has_challenge = at >= 0;
	if (at < 0)
		return true;
	if (v == NULL || (v->type != V_ASN1_PRINTABLESTRING && v->type != V_ASN1_UTF8STRING && v->type != V_ASN1_IA5STRING && v->type != V_ASN1_T61STRING))
		return err_set(err, ERR_INPUT, "the request's challengePassword is no text");
	s = v->value.asn1_string;
	return text_copy(ret->challenge, sizeof ret->challenge, slice_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s))) ||
	       err_set(err, ERR_INPUT, "the request's challengePassword is too long");
}

static bool
is_curve(const EVP_PKEY *k, const char *name)
{
	char group[64];
	size_t n;

	return EVP_PKEY_get_group_name(k, group, sizeof group, &n) == 1 && strcmp(group, name) == 0;
}

static bool
key_like(const EVP_PKEY *k, enum pki_key_type *ret)
{
	if (!EVP_PKEY_is_a(k, "EC"))
		return false;
	*ret = is_curve(k, "prime256v1") ? PKI_P256 : is_curve(k, "secp384r1") ? PKI_P384 : PKI_P521;
	return true;
}

/* Exactly one request, and nothing behind it. */
static X509_REQ *
parse(struct slice der, struct err *err)
{
	const unsigned char *p = der.p;
	X509_REQ *req = der.n > 0 && der.n <= PKI_EST_REQUEST_MAX ? d2i_X509_REQ(NULL, &p, (long)der.n) : NULL;

	ERR_clear_error();
	if (req != NULL && p == der.p + der.n)
		return req;
	X509_REQ_free(req);
	(void)err_set(err, ERR_INPUT, "the body is no certificate request (PKCS#10, DER, in base64)");
	return NULL;
}

bool
pki_est_read(struct slice der, struct pki_est_request *ret, struct err *err)
{
	auto_req req = parse(der, err);
	struct csr_taken t;
	bool ok;

	if (req == NULL || !csr_take(req, "the request", &t, err))
		return false;
	*ret = (struct pki_est_request){ .wants_sealed = wants_sealed(req) };
	ret->key_known = key_like(t.key, &ret->key);
	ok = read_challenge(req, ret, err) &&
	     (t.cn == NULL || text_copy(ret->cn, sizeof ret->cn, slice_str(t.cn)) || err_set(err, ERR_INPUT, "the request's common name is too long"));
	csr_taken_done(&t);
	ERR_clear_error();
	return ok;
}

/* ---- the same subject ---- */

static bool
holds(const GENERAL_NAMES *all, GENERAL_NAME *one)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++)
		if (GENERAL_NAME_cmp(sk_GENERAL_NAME_value(all, i), one) == 0)
			return true;
	return false;
}

static bool
same_names(const GENERAL_NAMES *a, const GENERAL_NAMES *b)
{
	/* sk_…_num() of NULL is -1. */
	if (NUM_MAX(sk_GENERAL_NAME_num(a), 0) != NUM_MAX(sk_GENERAL_NAME_num(b), 0))
		return false;
	for (int i = 0; i < sk_GENERAL_NAME_num(a); i++)
		if (!holds(b, sk_GENERAL_NAME_value(a, i)) || !holds(a, sk_GENERAL_NAME_value(b, i)))
			return false;
	return true;
}

bool
pki_est_same_subject(struct slice der, const struct x509_st *cert, struct err *err)
{
	auto_req req = parse(der, err);
	STACK_OF(X509_EXTENSION) *list = req != NULL ? X509_REQ_get_extensions(req) : NULL;
	auto_gens asked = X509V3_get_d2i(list, NID_subject_alt_name, NULL, NULL);
	auto_gens has = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool ok = req != NULL;

	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	ERR_clear_error();
	if (ok && X509_NAME_cmp(X509_REQ_get_subject_name(req), X509_get_subject_name(cert)) != 0)
		ok = err_set(err, ERR_DENIED, "the request's subject is not that of the certificate that is shown");
	if (ok && !same_names(asked, has))
		ok = err_set(err, ERR_DENIED, "the request's subjectAltName is not that of the certificate that is shown");
	return ok;
}

/* ---- answers ---- */

/* SignedData with nothing signed (RFC 5272 4.1, "certs-only"). */
static PKCS7 *
bag_new(void)
{
	PKCS7 *p = PKCS7_new();

	if (p != NULL && PKCS7_set_type(p, NID_pkcs7_signed) == 1 && PKCS7_content_new(p, NID_pkcs7_data) == 1 && PKCS7_set_detached(p, 1) == 1)
		return p;
	PKCS7_free(p);
	return NULL;
}

static bool
add(PKCS7 *p, struct slice der)
{
	const unsigned char *at = der.p;
	auto_x509 x = d2i_X509(NULL, &at, (long)der.n);

	return x != NULL && PKCS7_add_certificate(p, x) == 1;
}

bool
pki_est_certs(const struct slice *ders, size_t n, uint8_t **ret, size_t *ret_n, struct err *err)
{
	PKCS7 *p = bag_new();
	bool ok = p != NULL;
	uint8_t *der = NULL, *at;
	int len = 0;

	for (size_t i = 0; ok && i < n; i++)
		ok = add(p, ders[i]);
	ok = ok && (len = i2d_PKCS7(p, NULL)) > 0 && (at = der = malloc((size_t)len)) != NULL && i2d_PKCS7(p, &at) == len;
	PKCS7_free(p);
	if (!ok) {
		free(der);
		return crypto_err(err, "cannot wrap certificates");
	}
	*ret = der;
	*ret_n = (size_t)len;
	return true;
}
