/* What is kept of a certificate request: the key, a name, and host names and addresses; everything else is the profile's. */
#include "pki/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>

void
notes_add(char *notes, size_t cap, const char *fmt, ...)
{
	size_t n = strlen(notes);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(notes + n, cap - n, fmt, ap);
	va_end(ap);
}

/* MD2, MD5 and SHA-1 can be forged by somebody who chooses both messages. */
static bool
check_digest(X509_REQ *req, const char *name, struct err *err)
{
	int nid = X509_REQ_get_signature_nid(req), digest = NID_undef, key = NID_undef;

	if (OBJ_find_sigid_algs(nid, &digest, &key) != 1)
		return err_set(err, ERR_DENIED, "%s: the request is signed with %s, which is not allowed", name,
		    nid != NID_undef ? OBJ_nid2ln(nid) : "an unknown algorithm");
	/* RSA-PSS (digest undefined here) has it in its parameters; libcrypto's own limits apply when verifying. */
	if (digest == NID_md5 || digest == NID_md4 || digest == NID_md2 || digest == NID_sha1 || digest == NID_mdc2 ||
	    digest == NID_ripemd160 || digest == NID_md5_sha1)
		return err_set(err, ERR_DENIED, "%s: the request is signed with %s, which can be forged: use SHA-256", name,
		    OBJ_nid2sn(digest));
	return true;
}

static bool
take_key(X509_REQ *req, const char *name, struct csr_taken *t, struct err *err)
{
	EVP_PKEY *k = X509_REQ_get0_pubkey(req);
	char why[160];

	if (k == NULL)
		return crypto_input_err(err, "%s: the public key of the request cannot be used", name);
	if (!key_ok(k, why, sizeof why))
		return err_set(err, ERR_DENIED, "%s: the key of the request %s", name, why);
	if (!check_digest(req, name, err))
		return false;
	if (X509_REQ_verify(req, k) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_DENIED,
		    "%s: the request's signature does not fit its own key: it was changed, or the sender has not the key", name);
	}
	if (EVP_PKEY_up_ref(k) != 1)
		return err_set(err, ERR_MEMORY, "out of memory");
	t->key = k;
	return true;
}

static bool
add_dns(GENERAL_NAMES *out, const ASN1_STRING *s, const char *name, struct err *err)
{
	char host[256], shown[300];
	struct slice v = slice_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
	bool ip;
	char why[128];

	if (!text_copy(host, sizeof host, v) || !host_ok(host, &ip, why, sizeof why) || ip)
		return err_set(err, ERR_INPUT, "%s: the request asks for the host name \"%s\", which is not valid", name,
		    text_show(v, shown, sizeof shown));
	return hosts_add(out, host, err);
}

static bool
add_ip(GENERAL_NAMES *out, const ASN1_STRING *s, const char *name, struct err *err)
{
	const unsigned char *p = ASN1_STRING_get0_data(s);
	char host[64];
	int n = ASN1_STRING_length(s);

	if (n == 4)
		(void)snprintf(host, sizeof host, "%u.%u.%u.%u", p[0], p[1], p[2], p[3]);
	else if (n == 16)
		(void)snprintf(host, sizeof host, "%x:%x:%x:%x:%x:%x:%x:%x", p[0] << 8 | p[1], p[2] << 8 | p[3],
		    p[4] << 8 | p[5], p[6] << 8 | p[7], p[8] << 8 | p[9], p[10] << 8 | p[11], p[12] << 8 | p[13],
		    p[14] << 8 | p[15]);
	else
		return err_set(err, ERR_INPUT, "%s: the request asks for an IP address of %d bytes; 4 or 16 are valid", name, n);
	return hosts_add(out, host, err);
}

static bool
take_san(const GENERAL_NAMES *asked, const char *name, struct csr_taken *t, struct err *err)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(asked); i++) {
		int type;
		const ASN1_STRING *v = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(asked, i), &type);

		if (i >= 64)
			return err_set(err, ERR_LIMIT, "%s: the request asks for more than 64 names", name);
		if (type == GEN_DNS) {
			if (!add_dns(t->san, v, name, err))
				return false;
		} else if (type == GEN_IPADD) {
			if (!add_ip(t->san, v, name, err))
				return false;
		} else {
			notes_add(t->notes, sizeof t->notes, "the request's alternative name of another kind than DNS or IP was dropped\n");
		}
	}
	return true;
}

static bool
take_extensions(X509_REQ *req, const char *name, struct csr_taken *t, struct err *err)
{
	STACK_OF(X509_EXTENSION) *list = X509_REQ_get_extensions(req);
	bool ok = true;

	for (int i = 0; ok && i < sk_X509_EXTENSION_num(list); i++) {
		X509_EXTENSION *e = sk_X509_EXTENSION_value(list, i);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(e));
		auto_gens asked = NULL;

		if (nid != NID_subject_alt_name) {
			/* Subject key identifier is ours to make; the usual wishes agree with the profile anyway. */
			if (nid != NID_subject_key_identifier)
				notes_add(t->notes, sizeof t->notes, "the request's wish for %.40s was dropped: the profile decides\n",
				    nid != NID_undef ? OBJ_nid2sn(nid) : "an unknown extension");
			continue;
		}
		asked = X509V3_EXT_d2i(e);
		ok = asked != NULL ? take_san(asked, name, t, err) :
				     crypto_input_err(err, "%s: the request's subjectAltName is damaged", name);
	}
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	ERR_clear_error();
	return ok;
}

bool
csr_take(X509_REQ *req, const char *name, struct csr_taken *ret, struct err *err)
{
	struct csr_taken t = { .san = GENERAL_NAMES_new() };

	if (t.san == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (!take_key(req, name, &t, err) || !take_extensions(req, name, &t, err)) {
		csr_taken_done(&t);
		return false;
	}
	(void)name_cn(X509_REQ_get_subject_name(req), &t.cn, t.cn_fault, sizeof t.cn_fault);
	*ret = t;
	return true;
}

void
csr_taken_done(struct csr_taken *t)
{
	EVP_PKEY_free(t->key);
	free(t->cn);
	GENERAL_NAMES_free(t->san);
	*t = (struct csr_taken){ 0 };
}

bool
pki_request_check(struct slice csr, char **ret_pem, struct err *err)
{
	struct csr_taken t = { 0 };
	X509_REQ *req = NULL;
	BIO *out = NULL;
	const char *text;
	long n;
	bool ok;

	if (!csr_parse(csr, "the request", &req, err))
		return false;
	ok = csr_take(req, "the request", &t, err);
	if (ok) {
		csr_taken_done(&t);
		out = BIO_new(BIO_s_mem());
		ok = out != NULL && PEM_write_bio_X509_REQ(out, req) == 1 && (n = BIO_get_mem_data(out, &text)) > 0 &&
		     (*ret_pem = text_dup(slice_of(text, (size_t)n))) != NULL;
		ok = ok || err_set(err, ERR_MEMORY, "out of memory");
	}
	BIO_free(out);
	X509_REQ_free(req);
	return ok;
}

bool
pki_request_key(struct slice csr, uint8_t ret[static 32], struct err *err)
{
	struct csr_taken t = { 0 };
	X509_REQ *req = NULL;
	unsigned char *der = NULL;
	bool ok = csr_parse(csr, "the request", &req, err) && csr_take(req, "the request", &t, err);
	int n = ok ? i2d_PUBKEY(t.key, &der) : -1;

	if (ok)
		ok = (n > 0 && EVP_Digest(der, (size_t)n, ret, NULL, EVP_sha256(), NULL) == 1) || err_set(err, ERR_MEMORY, "out of memory");
	OPENSSL_free(der);
	csr_taken_done(&t);
	X509_REQ_free(req);
	return ok;
}

bool
pki_fingerprint(struct slice pem, uint8_t ret[static 32])
{
	auto_bio in = pem.n <= INT32_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	auto_x509 x = in != NULL ? PEM_read_bio_X509(in, NULL, NULL, NULL) : NULL;

	if (x == NULL)
		ERR_clear_error();
	return x != NULL && cert_fingerprint(x, ret);
}
