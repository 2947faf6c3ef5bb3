/* Keys and certificates in the forms that others want: PKCS#12 and DER. */
#include "pki/internal.h"

#include <string.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>

enum { ITERATIONS = 100000 };

/* Certificates behind the first, and the CA's, which nobody owns twice. */
static bool
others(STACK_OF(X509) *certs, STACK_OF(X509) *cas, STACK_OF(X509) *ret)
{
	for (int i = 1; i < sk_X509_num(certs); i++)
		if (sk_X509_push(ret, sk_X509_value(certs, i)) == 0)
			return false;
	for (int i = 0; i < sk_X509_num(cas); i++)
		if (sk_X509_push(ret, sk_X509_value(cas, i)) == 0)
			return false;
	return true;
}

static PKCS12 *
make(const struct pki_pkcs12 *p, EVP_PKEY *key, STACK_OF(X509) *certs, STACK_OF(X509) *cas, struct err *err)
{
	STACK_OF(X509) *rest = sk_X509_new_null();
	PKCS12 *ret = NULL;

	if (X509_check_private_key(sk_X509_value(certs, 0), key) != 1) {
		ERR_clear_error();
		(void)err_set(err, ERR_INPUT, "the key does not belong to the certificate");
	} else if (rest == NULL || !others(certs, cas, rest)) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
	} else {
		ret = PKCS12_create(p->password, p->name, key, sk_X509_value(certs, 0), rest, NID_aes_256_cbc, NID_aes_256_cbc, ITERATIONS, ITERATIONS, 0);
		if (ret == NULL)
			(void)crypto_err(err, "cannot make a PKCS#12 file");
	}
	sk_X509_free(rest);
	return ret;
}

/* malloc()ed DER of what libcrypto allocated. */
static bool
take(unsigned char *der, int n, uint8_t **ret, size_t *ret_n, struct err *err)
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

bool
pki_pkcs12(const struct pki_pkcs12 *p, uint8_t **ret, size_t *ret_n, struct err *err)
{
	STACK_OF(X509) *certs = NULL, *cas = NULL;
	auto_pkey key = key_parse(p->key, "the key", NULL, "the key", err);
	unsigned char *der = NULL;
	PKCS12 *made = NULL;
	bool ok = key != NULL && certs_parse(p->certs, "the certificate", &certs, err) && certs_parse(p->ca, "the CA's certificate", &cas, err) &&
		  (made = make(p, key, certs, cas, err)) != NULL;

	if (ok) {
		int n = i2d_PKCS12(made, &der);

		ok = take(der, n, ret, ret_n, err);
	}
	PKCS12_free(made);
	sk_X509_pop_free(certs, X509_free);
	sk_X509_pop_free(cas, X509_free);
	return ok;
}

bool
pki_first_der(struct slice file, const char *name, uint8_t **ret, size_t *ret_n, struct err *err)
{
	STACK_OF(X509) *certs = NULL;
	unsigned char *der = NULL;
	bool ok = certs_parse(file, name, &certs, err);

	if (ok) {
		int n = i2d_X509(sk_X509_value(certs, 0), &der);

		ok = take(der, n, ret, ret_n, err);
	}
	sk_X509_pop_free(certs, X509_free);
	return ok;
}
