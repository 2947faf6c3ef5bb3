/* A key that is made in memory, with a request for its certificate. */
#include "pki/internal.h"

#include <openssl/err.h>

bool
pki_pair_make(enum pki_key_type t, const char *cn, struct pki_pair *ret, struct err *err)
{
	EVP_PKEY *k = key_new(t, err);
	auto_req req = k != NULL ? req_make(cn, NULL, 0, k, err) : NULL;
	int n = req != NULL ? i2d_X509_REQ(req, NULL) : 0;
	uint8_t *der = n > 0 ? malloc((size_t)n) : NULL, *at = der;

	if (der != NULL) {
		*ret = (struct pki_pair){ k, der, (size_t)i2d_X509_REQ(req, &at) };
		return true;
	}
	EVP_PKEY_free(k);
	return req == NULL ? false : err_set(err, ERR_MEMORY, "out of memory");
}

void
pki_pair_done(struct pki_pair *p)
{
	EVP_PKEY_free(p->key);
	free(p->csr);
	*p = (struct pki_pair){ 0 };
}

bool
pki_pair_key(const struct pki_pair *p, uint8_t **ret, size_t *ret_n, struct err *err)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(p->key);
	int n = info != NULL ? i2d_PKCS8_PRIV_KEY_INFO(info, NULL) : 0;
	uint8_t *der = n > 0 ? malloc((size_t)n) : NULL, *at = der;

	if (der != NULL) {
		*ret_n = (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &at);
		*ret = der;
	}
	PKCS8_PRIV_KEY_INFO_free(info); /* wipes its octets */
	return der != NULL || crypto_err(err, "cannot encode the key");
}
