/* A client's own side of enrolment: its key, its request, and what it checks of the answer. */
#include "pki/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>

/* A key without its request is one of a run that was interrupted; a request without its key is of no use to anybody. */
static EVP_PKEY *
take_key(const struct pki_request *r, bool *ret_made, struct err *err)
{
	EVP_PKEY *k;

	*ret_made = access(r->key_file, F_OK) == -1;
	if (!*ret_made)
		return key_read(r->key_file, NULL, "the key", err);
	if (unlink(r->csr_file) == -1 && errno != ENOENT) {
		(void)err_sys(err, "%s: cannot be replaced", r->csr_file);
		return NULL;
	}
	k = key_new(r->key_type, err);
	if (k == NULL || key_write(r->key_file, k, NULL, "the key", err))
		return k;
	EVP_PKEY_free(k);
	return NULL;
}

static bool
add_names(X509_REQ *req, const char *const *hosts, size_t n, struct err *err)
{
	auto_gens names = GENERAL_NAMES_new();
	STACK_OF(X509_EXTENSION) *list = NULL;
	X509_EXTENSION *e;
	bool ok;

	if (n == 0)
		return true;
	if (names == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (size_t i = 0; i < n; i++)
		if (!hosts_add(names, hosts[i], err))
			return false;
	e = X509V3_EXT_i2d(NID_subject_alt_name, 0, names);
	ok = e != NULL && X509v3_add_ext(&list, e, -1) != NULL && X509_REQ_add_extensions(req, list) == 1;
	X509_EXTENSION_free(e);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	return ok || crypto_err(err, "cannot make the request");
}

X509_REQ *
req_make(const char *cn, const char *const *hosts, size_t n, EVP_PKEY *k, struct err *err)
{
	auto_req req = X509_REQ_new();
	X509_NAME *name = req != NULL ? X509_REQ_get_subject_name(req) : NULL;
	X509_REQ *ret;

	if (name == NULL || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(req, k) != 1 ||
	    X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) != 1) {
		(void)crypto_err(err, "cannot make the request");
		return NULL;
	}
	if (!add_names(req, hosts, n, err))
		return NULL;
	if (X509_REQ_sign(req, k, key_digest(k)) == 0) {
		(void)crypto_err(err, "cannot sign the request");
		return NULL;
	}
	ret = req;
	req = NULL;
	return ret;
}

static bool
make(const struct pki_request *r, EVP_PKEY *k, X509_REQ **ret, struct err *err)
{
	auto_req req = req_make(r->cn, r->hosts, r->n_hosts, k, err);
	auto_bio out = BIO_new(BIO_s_mem());
	char *text;
	long n;

	if (req == NULL)
		return false;
	if (out == NULL || PEM_write_bio_X509_REQ(out, req) != 1)
		return crypto_err(err, "cannot encode the request");
	n = BIO_get_mem_data(out, &text);
	if (!file_write(r->csr_file, slice_of(text, (size_t)n), 0644, FILE_REPLACE, err))
		return false;
	*ret = req;
	req = NULL;
	return true;
}

/* The request that is there already: for this key and this name? */
static bool
read_again(const struct pki_request *r, EVP_PKEY *k, X509_REQ **ret, struct err *err)
{
	auto_req req = NULL;
	auto_str cn = NULL;
	uint8_t *data;
	size_t n;
	char why[128];
	bool ok;

	if (!file_read(r->csr_file, PKI_FILE_MAX, &data, &n, err))
		return false;
	ok = csr_parse(slice_of(data, n), r->csr_file, &req, err);
	free(data);
	if (!ok)
		return false;
	if (X509_REQ_check_private_key(req, k) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_INPUT, "%s does not belong to %s: remove the request, or both", r->csr_file, r->key_file);
	}
	if (!name_cn(X509_REQ_get_subject_name(req), &cn, why, sizeof why) || strcmp(cn, r->cn) != 0)
		return err_set(err, ERR_INPUT, "%s is a request for another name than %s: remove it", r->csr_file, r->cn);
	*ret = req;
	req = NULL;
	return true;
}

static bool
encode(X509_REQ *req, char **ret, struct err *err)
{
	unsigned char *der = NULL;
	int n = i2d_X509_REQ(req, &der);
	char *text = n > 0 ? malloc(4 * ((size_t)n + 2) / 3 + 4) : NULL;

	if (text != NULL)
		(void)EVP_EncodeBlock((unsigned char *)text, der, n);
	OPENSSL_free(der);
	*ret = text;
	return text != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

bool
pki_request(const struct pki_request *r, struct pki_requested *ret, struct err *err)
{
	struct pki_requested made = { 0 };
	auto_pkey k = NULL;
	auto_req req = NULL;
	char why[160];

	if (!pki_cn_ok(slice_str(r->cn), why, sizeof why))
		return err_set(err, ERR_USAGE, "the common name %s", why);
	k = take_key(r, &made.key_made, err);
	if (k == NULL)
		return false;
	made.csr_made = made.key_made || access(r->csr_file, F_OK) == -1;
	if (!(made.csr_made ? make(r, k, &req, err) : read_again(r, k, &req, err)) || !encode(req, &made.base64, err))
		return false;
	*ret = made;
	return true;
}

bool
pki_answer_check(const struct pki_request *r, struct slice cert, struct slice ca, char **ret_pem, struct err *err)
{
	STACK_OF(X509) *leafs = NULL, *cas = NULL;
	auto_pkey k = key_read(r->key_file, NULL, "the key", err);
	auto_str cn = NULL;
	char why[128];
	X509 *leaf, *issuer;
	bool ok = k != NULL && certs_parse(cert, "the answer", &leafs, err) && certs_parse(ca, "the CA's certificate", &cas, err);

	if (ok) {
		leaf = sk_X509_value(leafs, 0);
		issuer = sk_X509_value(cas, 0);
		if (X509_check_private_key(leaf, k) != 1)
			ok = err_set(err, ERR_DENIED, "the certificate is not for the key in %s", r->key_file);
		else if (!name_cn(X509_get_subject_name(leaf), &cn, why, sizeof why) || strcmp(cn, r->cn) != 0)
			ok = err_set(err, ERR_DENIED, "the certificate is not for %s", r->cn);
		else if (X509_verify(leaf, X509_get0_pubkey(issuer)) != 1)
			ok = err_set(err, ERR_DENIED, "the certificate was not signed by the CA whose certificate was retrieved");
		else
			ok = certs_pem(&leaf, 1, ret_pem, err);
	}
	ERR_clear_error();
	sk_X509_pop_free(leafs, X509_free);
	sk_X509_pop_free(cas, X509_free);
	return ok;
}
