/* OCSP (RFC 6960) from the side of who asks: what a responder's answer says of one certificate, and whether it may be believed. */
#include "pki/trust.h"

#include <stdio.h>
#include <openssl/err.h>

enum { SIGNERS_TRIED = 8, DIGEST_MIN = 28, SECURITY_BITS_MIN = 112 };

const char *
pki_ocsp_status_name(enum pki_ocsp_status s)
{
	return s == PKI_OCSP_GOOD ? "good" : s == PKI_OCSP_REVOKED ? "revoked" : "unknown";
}

/* ---- asking ---- */

static ASN1_INTEGER *
integer_of(struct slice serial)
{
	BIGNUM *n = serial.n > 0 && serial.n <= AUTHZ_SERIAL_MAX ? BN_bin2bn(serial.p, (int)serial.n, NULL) : NULL;
	ASN1_INTEGER *i = n != NULL ? BN_to_ASN1_INTEGER(n, NULL) : NULL;

	BN_free(n);
	return i;
}

bool
pki_ocsp_ask(const struct x509_st *issuer, struct slice serial, uint8_t **ret, size_t *ret_n, struct err *err)
{
	ASN1_INTEGER *number = integer_of(serial);
	auto_ocsp_req req = OCSP_REQUEST_new();
	OCSP_CERTID *id;
	uint8_t *der = NULL;
	int n = -1;

	ERR_clear_error();
	/* SHA-1 names the certificate, it protects nothing, and is what every responder knows (RFC 5019 2.1.1). */
	id = number != NULL ? OCSP_cert_id_new(EVP_sha1(), X509_get_subject_name(issuer), X509_get0_pubkey_bitstr(issuer), number) : NULL;
	ASN1_INTEGER_free(number);
	if (id != NULL && (req == NULL || OCSP_request_add0_id(req, id) == NULL))
		OCSP_CERTID_free(id);
	else if (id != NULL && OCSP_request_add1_nonce(req, NULL, 32) == 1)
		n = i2d_OCSP_REQUEST(req, &der);
	if (n <= 0)
		return crypto_err(err, "cannot make an OCSP request");
	*ret = malloc((size_t)n);
	if (*ret != NULL) {
		memcpy(*ret, der, (size_t)n);
		*ret_n = (size_t)n;
	}
	OPENSSL_free(der);
	return *ret != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

/* ---- who signed ---- */

static bool
is_weak(int signature)
{
	int digest = NID_undef;
	const EVP_MD *md;

	/* Without a digest of its own (EdDSA, PSS) libcrypto decides when it verifies. */
	if (OBJ_find_sigid_algs(signature, &digest, NULL) != 1)
		return true;
	md = digest != NID_undef ? EVP_get_digestbynid(digest) : NULL;
	return digest != NID_undef && (md == NULL || EVP_MD_get_size(md) < DIGEST_MIN);
}

/* 4.2.1 ResponderID: by name or by the SHA-1 hash of the key. */
static bool
is_named(const OCSP_BASICRESP *b, const X509 *x)
{
	const ASN1_OCTET_STRING *hash = NULL;
	const X509_NAME *name = NULL;
	uint8_t key[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (OCSP_resp_get0_id(b, &hash, &name) != 1)
		return false;
	if (name != NULL)
		return X509_NAME_cmp(name, X509_get_subject_name(x)) == 0;
	return X509_pubkey_digest(x, EVP_sha1(), key, &n) == 1 && (unsigned)ASN1_STRING_length(hash) == n &&
	    memcmp(ASN1_STRING_get0_data(hash), key, n) == 0;
}

static bool
has_signed(const OCSP_BASICRESP *b, const X509 *x)
{
	EVP_PKEY *key = X509_get0_pubkey(x);
	/* The item is only read; the macro's function takes it as it takes all of them. */
	bool ok = key != NULL && ASN1_item_verify(ASN1_ITEM_rptr(OCSP_RESPDATA), OCSP_resp_get0_tbs_sigalg(b),
	    OCSP_resp_get0_signature(b), (void *)(uintptr_t)OCSP_resp_get0_respdata(b), key) == 1;

	ERR_clear_error();
	return ok;
}

/* A responder that another has lent the right to answer for it: signed by the issuer's own key, for this purpose (4.2.2.2). */
static bool
check_delegate(X509 *x, const struct pki_ocsp_question *q, int64_t now, struct err *err)
{
	uint32_t flags = X509_get_extension_flags(x);

	if (X509_NAME_cmp(X509_get_issuer_name(x), X509_get_subject_name(q->issuer)) != 0 ||
	    X509_verify(x, X509_get0_pubkey(q->issuer)) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_DENIED, "it is signed by a responder whose certificate the CA has not issued");
	}
	if ((flags & EXFLAG_INVALID) != 0 || (flags & EXFLAG_XKUSAGE) == 0 || (X509_get_extended_key_usage(x) & XKU_OCSP_SIGN) == 0)
		return err_set(err, ERR_DENIED, "it is signed by a certificate of the CA that is not for OCSP (OCSPSigning is missing)");
	if ((flags & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(x) & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION)) == 0)
		return err_set(err, ERR_DENIED, "the key usage of the responder's certificate does not allow signatures");
	if (is_weak(X509_get_signature_nid(x)) || EVP_PKEY_get_security_bits(X509_get0_pubkey(x)) < SECURITY_BITS_MIN)
		return err_set(err, ERR_DENIED, "the responder's certificate has a weak key or signature");
	if (now < time_of(X509_get0_notBefore(x)) - PKI_OCSP_SKEW_S || now > time_of(X509_get0_notAfter(x)))
		return err_set(err, ERR_DENIED, "the responder's certificate is out of its time");
	/* With ocsp-nocheck the CA vouches for it until its end. */
	if (q->trust != NULL && X509_get_ext_by_NID(x, NID_id_pkix_OCSP_noCheck, -1) < 0 &&
	    crl_ask(&q->trust->crls, x, q->issuer, now, q->trust->crl_grace).cause == PKI_BAD_REVOKED)
		return err_set(err, ERR_DENIED, "the responder's certificate is revoked");
	return true;
}

static bool
check_signer(const OCSP_BASICRESP *b, const struct pki_ocsp_question *q, int64_t now, struct err *err)
{
	const STACK_OF(X509) *certs = OCSP_resp_get0_certs(b);
	const X509_ALGOR *alg = OCSP_resp_get0_tbs_sigalg(b);
	const ASN1_OBJECT *oid;

	X509_ALGOR_get0(&oid, NULL, NULL, alg);
	if (is_weak(OBJ_obj2nid(oid)))
		return err_set(err, ERR_DENIED, "its signature uses an algorithm that is broken or not known");
	if (is_named(b, q->issuer))
		return has_signed(b, q->issuer) || err_set(err, ERR_DENIED, "its signature is not that of the CA whom it names");
	for (int i = 0; i < sk_X509_num(certs) && i < SIGNERS_TRIED; i++) {
		X509 *x = sk_X509_value(certs, i);

		if (!is_named(b, x))
			continue;
		return check_delegate(x, q, now, err) &&
		    (has_signed(b, x) || err_set(err, ERR_DENIED, "its signature is not that of the responder whom it names"));
	}
	return err_set(err, ERR_DENIED, "it is signed by somebody who is neither the CA nor a responder with a certificate of it");
}

/* ---- what it says ---- */

OCSP_BASICRESP *
ocsp_parse(struct slice der, struct err *err)
{
	const unsigned char *p = der.p;
	OCSP_RESPONSE *r;
	OCSP_BASICRESP *b;
	int status;

	if (der.n == 0 || der.n > PKI_OCSP_RESPONSE_MAX) {
		(void)err_set(err, ERR_INPUT, "an OCSP response has 1 to %d bytes, and not %zu", PKI_OCSP_RESPONSE_MAX, der.n);
		return NULL;
	}
	ERR_clear_error();
	r = d2i_OCSP_RESPONSE(NULL, &p, (long)der.n);
	if (r == NULL || p != der.p + der.n) {
		ERR_clear_error();
		OCSP_RESPONSE_free(r);
		(void)err_set(err, ERR_INPUT, "this is no OCSP response");
		return NULL;
	}
	status = OCSP_response_status(r);
	b = status == OCSP_RESPONSE_STATUS_SUCCESSFUL ? OCSP_response_get1_basic(r) : NULL;
	OCSP_RESPONSE_free(r);
	ERR_clear_error();
	if (b == NULL && status == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		(void)err_set(err, ERR_INPUT, "the OCSP response has nothing in it that can be read");
	else if (b == NULL)
		(void)err_set(err, ERR_DENIED, "the responder refuses to answer: %s", OCSP_response_status_str(status));
	return b;
}

bool
ocsp_id_of(const OCSP_CERTID *cid, struct pki_ocsp_id *ret)
{
	ASN1_OCTET_STRING *name, *key;
	ASN1_INTEGER *serial;
	ASN1_OBJECT *alg;
	const EVP_MD *md;
	int n;

	/* libcrypto takes it as one that could be changed, and changes nothing. */
	if (OCSP_id_get0_info(&name, &alg, &key, &serial, (OCSP_CERTID *)(uintptr_t)cid) != 1)
		return false;
	*ret = (struct pki_ocsp_id){ .digest = OBJ_obj2nid(alg) };
	if (ret->digest != NID_sha1 && ret->digest != NID_sha256 && ret->digest != NID_sha384 && ret->digest != NID_sha512)
		return false;
	md = EVP_get_digestbynid(ret->digest);
	n = md != NULL ? EVP_MD_get_size(md) : -1;
	ret->serial_n = (uint8_t)serial_bytes(serial, ret->serial);
	if (n <= 0 || n > PKI_OCSP_HASH_MAX || ASN1_STRING_length(name) != n || ASN1_STRING_length(key) != n || ret->serial_n == 0 ||
	    ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER)
		return false;
	ret->hash_n = (uint8_t)n;
	memcpy(ret->name_hash, ASN1_STRING_get0_data(name), (size_t)n);
	memcpy(ret->key_hash, ASN1_STRING_get0_data(key), (size_t)n);
	return true;
}

bool
ocsp_id_for(const X509 *ca, const EVP_MD *md, struct slice serial, struct pki_ocsp_id *ret)
{
	unsigned n = 0, k = 0;

	*ret = (struct pki_ocsp_id){ .digest = EVP_MD_get_type(md), .serial_n = (uint8_t)serial.n };
	if (serial.n < 1 || serial.n > sizeof ret->serial || X509_NAME_digest(X509_get_subject_name(ca), md, ret->name_hash, &n) != 1 ||
	    X509_pubkey_digest(ca, md, ret->key_hash, &k) != 1 || n != k)
		return false;
	memcpy(ret->serial, serial.p, serial.n);
	ret->hash_n = (uint8_t)n;
	return true;
}

bool
pki_ocsp_is_of(const struct pki_ocsp_id *id, const struct x509_st *issuer)
{
	const EVP_MD *md = EVP_get_digestbynid(id->digest);
	struct pki_ocsp_id own;

	return md != NULL && ocsp_id_for(issuer, md, slice_of(id->serial, id->serial_n), &own) && own.hash_n == id->hash_n &&
	    memcmp(own.name_hash, id->name_hash, id->hash_n) == 0 && memcmp(own.key_hash, id->key_hash, id->hash_n) == 0;
}

static OCSP_SINGLERESP *
find_single(OCSP_BASICRESP *b, const struct pki_ocsp_question *q)
{
	struct pki_ocsp_id id;

	for (int i = 0; i < OCSP_resp_count(b); i++) {
		OCSP_SINGLERESP *s = OCSP_resp_get0(b, i);

		if (ocsp_id_of(OCSP_SINGLERESP_get0_id(s), &id) && slice_eq(slice_of(id.serial, id.serial_n), q->serial) &&
		    pki_ocsp_is_of(&id, q->issuer))
			return s;
	}
	return NULL;
}

static bool
read_single(OCSP_SINGLERESP *s, int64_t now, struct pki_ocsp_answer *ret, struct err *err)
{
	ASN1_GENERALIZEDTIME *revoked = NULL, *from = NULL, *to = NULL;
	int reason = -1, status = OCSP_single_get0_status(s, &reason, &revoked, &from, &to);
	char when[32];

	*ret = (struct pki_ocsp_answer){ .this_update = time_of(from), .reason = reason };
	ret->status = status == V_OCSP_CERTSTATUS_GOOD ? PKI_OCSP_GOOD : status == V_OCSP_CERTSTATUS_REVOKED ? PKI_OCSP_REVOKED
													     : PKI_OCSP_UNKNOWN;
	ret->revoked_at = revoked != NULL ? time_of(revoked) : 0;
	ret->until = to != NULL ? time_of(to) : ret->this_update + PKI_OCSP_NO_END_S;
	if (ret->this_update == NO_TIME || ret->until == NO_TIME || ret->until < ret->this_update)
		return err_set(err, ERR_INPUT, "its times make no sense");
	if (ret->this_update > now + PKI_OCSP_SKEW_S)
		return err_set(err, ERR_DENIED, "it is from the future: it begins at %s; check the clocks", text_when(ret->this_update, when));
	if (ret->until < now - PKI_OCSP_SKEW_S)
		return err_set(err, ERR_DENIED, "it is too old: it was good until %s", text_when(ret->until, when));
	return true;
}

/* An answer made beforehand has no nonce, and its age alone says how old it is. */
static bool
check_nonce(OCSP_BASICRESP *b, struct slice request, struct err *err)
{
	const unsigned char *p = request.p;
	auto_ocsp_req req = request.n > 0 ? d2i_OCSP_REQUEST(NULL, &p, (long)request.n) : NULL;

	return req == NULL || OCSP_check_nonce(req, b) != 0 ||
	    err_set(err, ERR_DENIED, "it answers another request than ours (the nonce differs)");
}

bool
pki_ocsp_judge(struct slice der, const struct pki_ocsp_question *q, struct pki_ocsp_answer *ret, struct err *err)
{
	int64_t now = pki_clock(q->now);
	auto_basic b = ocsp_parse(der, err);
	struct pki_ocsp_answer a;
	OCSP_SINGLERESP *s;

	if (b == NULL || !check_signer(b, q, now, err))
		return false;
	s = find_single(b, q);
	if (s == NULL)
		return err_set(err, ERR_DENIED, "it is about another certificate");
	if (!check_nonce(b, q->request, err) || !read_single(s, now, &a, err))
		return false;
	*ret = a;
	return true;
}

/* ---- our own certificate ---- */

struct slice
pki_cert_serial(const struct x509_st *cert, uint8_t buf[static AUTHZ_SERIAL_MAX])
{
	return slice_of(buf, serial_bytes(X509_get0_serialNumber(cert), buf));
}

struct x509_st *
pki_cert_ref(struct x509_st *cert)
{
	return X509_up_ref(cert) == 1 ? cert : NULL;
}

void
pki_cert_free(struct x509_st *cert)
{
	X509_free(cert);
}

bool
pki_cert_must_staple(const struct x509_st *cert)
{
	TLS_FEATURE *f = X509_get_ext_d2i(cert, NID_tlsfeature, NULL, NULL);
	bool must = false;

	for (int i = 0; !must && i < sk_ASN1_INTEGER_num(f); i++)
		must = ASN1_INTEGER_get(sk_ASN1_INTEGER_value(f, i)) == 5; /* status_request */
	TLS_FEATURE_free(f);
	return must;
}

bool
cert_ocsp_url(X509 *x, char out[static PKI_URL_MAX])
{
	STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(x);
	bool found = false;

	for (int i = 0; !found && i < sk_OPENSSL_STRING_num(urls); i++) {
		struct slice url = slice_str(sk_OPENSSL_STRING_value(urls, i));

		found = strncmp((const char *)url.p, "http://", 7) == 0 && text_copy(out, PKI_URL_MAX, url);
	}
	X509_email_free(urls);
	return found;
}

static X509 *
issuer_among(const STACK_OF(X509) *list, const X509 *cert)
{
	for (int i = 0; i < sk_X509_num(list); i++) {
		X509 *x = sk_X509_value(list, i);

		if (X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(cert)) == 0 &&
		    X509_verify((X509 *)(uintptr_t)cert, X509_get0_pubkey(x)) == 1 && X509_up_ref(x) == 1)
			return x;
	}
	ERR_clear_error();
	return NULL;
}

bool
pki_ocsp_subject(const char *cert_file, const char *ca_file, struct x509_st **ret_cert, struct x509_st **ret_issuer,
    char url[static PKI_URL_MAX], struct err *err)
{
	STACK_OF(X509) *chain = NULL, *cas = NULL;
	X509 *issuer, *cert;
	struct err no = { 0 };

	if (!certs_read(cert_file, &chain, err))
		return false;
	cert = sk_X509_value(chain, 0);
	issuer = issuer_among(chain, cert);
	if (issuer == NULL && ca_file != NULL && certs_read(ca_file, &cas, &no))
		issuer = issuer_among(cas, cert);
	sk_X509_pop_free(cas, X509_free);
	if (issuer == NULL) {
		sk_X509_pop_free(chain, X509_free);
		return err_set(err, ERR_INPUT, "%s: the certificate of its CA is not there, without which no OCSP answer can be checked; put it "
		    "behind the broker's own in the file", cert_file);
	}
	if (!cert_ocsp_url(cert, url))
		url[0] = '\0';
	(void)X509_check_purpose(issuer, -1, 0); /* fills libcrypto's cache before threads share it */
	*ret_issuer = issuer;
	*ret_cert = X509_up_ref(cert) == 1 ? cert : NULL;
	sk_X509_pop_free(chain, X509_free);
	return *ret_cert != NULL;
}
