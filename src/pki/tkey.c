/* A private key that a token holds, as a key of libcrypto: its public half, and methods that have the token sign. These methods are what
 * OpenSSL 3.0 has for it beside whole providers, and deprecated there; nothing else here uses them. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "pki/internal.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

struct tkey {
	struct token *token;
	size_t index;
	RSA_METHOD *rsa;
	EC_KEY_METHOD *ec;
};

/* The first word about it: the later ones are what libcrypto makes of it. */
static bool
ask(struct tkey *h, struct slice data, uint8_t out[static TOKEN_SIGNATURE_MAX], size_t *ret_n)
{
	struct err err = { .code = ERR_OK };

	if (token_sign(h->token, h->index, data, out, ret_n, &err))
		return true;
	ERR_raise_data(ERR_LIB_USER, 1, "%s", err.text);
	return false;
}

static int
rsa_sign(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
	uint8_t out[TOKEN_SIGNATURE_MAX];
	size_t got;

	/* Certificates, lists and responses are signed in this way alone. */
	if (padding != RSA_PKCS1_PADDING || n < 1 || !ask(RSA_get_ex_data(rsa, 0), slice_of(from, (size_t)n), out, &got) || got != (size_t)RSA_size(rsa))
		return -1;
	memcpy(to, out, got);
	return (int)got;
}

static ECDSA_SIG *
ec_sign(const unsigned char *digest, int n, const BIGNUM *kinv, const BIGNUM *r, EC_KEY *key)
{
	uint8_t out[TOKEN_SIGNATURE_MAX];
	size_t got, order = ((size_t)EC_GROUP_order_bits(EC_KEY_get0_group(key)) + 7) / 8;
	ECDSA_SIG *sig;
	BIGNUM *a, *b;

	(void)kinv;
	(void)r;
	if (n < 1 || !ask(EC_KEY_get_ex_data(key, 0), slice_of(digest, NUM_MIN((size_t)n, order)), out, &got) || got != 2 * order)
		return NULL;
	sig = ECDSA_SIG_new();
	a = BN_bin2bn(out, (int)order, NULL);
	b = BN_bin2bn(out + order, (int)order, NULL);
	if (sig != NULL && a != NULL && b != NULL && ECDSA_SIG_set0(sig, a, b) == 1)
		return sig;
	ECDSA_SIG_free(sig);
	BN_free(a);
	BN_free(b);
	return NULL;
}

static EVP_PKEY *
rsa_key(struct tkey *h, const EVP_PKEY *public)
{
	EVP_PKEY *k = EVP_PKEY_new();
	RSA *rsa = RSAPublicKey_dup(EVP_PKEY_get0_RSA(public));

	h->rsa = RSA_meth_dup(RSA_get_default_method());
	if (k != NULL && rsa != NULL && h->rsa != NULL && RSA_meth_set_priv_enc(h->rsa, rsa_sign) == 1 && RSA_set_method(rsa, h->rsa) == 1 &&
	    RSA_set_ex_data(rsa, 0, h) == 1) {
		RSA_set_flags(rsa, RSA_FLAG_EXT_PKEY);
		if (EVP_PKEY_assign_RSA(k, rsa) == 1)
			return k;
	}
	RSA_free(rsa);
	EVP_PKEY_free(k);
	return NULL;
}

static EVP_PKEY *
ec_key(struct tkey *h, const EVP_PKEY *public)
{
	EVP_PKEY *k = EVP_PKEY_new();
	EC_KEY *ec = EC_KEY_dup(EVP_PKEY_get0_EC_KEY(public));
	int (*sign)(int, const unsigned char *, int, unsigned char *, unsigned int *, const BIGNUM *, const BIGNUM *, EC_KEY *) = NULL;
	int (*setup)(EC_KEY *, BN_CTX *, BIGNUM **, BIGNUM **) = NULL;

	h->ec = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
	if (h->ec != NULL) {
		EC_KEY_METHOD_get_sign(h->ec, &sign, &setup, NULL);
		EC_KEY_METHOD_set_sign(h->ec, sign, setup, ec_sign);
	}
	if (k != NULL && ec != NULL && h->ec != NULL && EC_KEY_set_method(ec, h->ec) == 1 && EC_KEY_set_ex_data(ec, 0, h) == 1 &&
	    EVP_PKEY_assign_EC_KEY(k, ec) == 1)
		return k;
	EC_KEY_free(ec);
	EVP_PKEY_free(k);
	return NULL;
}

struct tkey *
tkey_new(struct token *t, size_t index)
{
	struct tkey *h = calloc(1, sizeof *h);

	if (h != NULL)
		*h = (struct tkey){ .token = t, .index = index };
	return h;
}

void
tkey_free(struct tkey *h)
{
	if (h == NULL)
		return;
	RSA_meth_free(h->rsa);
	/* Unlike its brother it does not like NULL. */
	if (h->ec != NULL)
		EC_KEY_METHOD_free(h->ec);
	free(h);
}

/* By trying: what was signed with it is verified with the public half. */
static bool
belongs(EVP_PKEY *key, EVP_PKEY *public, struct err *err)
{
	static const uint8_t text[] = "Is this the key of the CA?";
	EVP_MD_CTX *s = EVP_MD_CTX_new(), *v = EVP_MD_CTX_new();
	uint8_t sig[TOKEN_SIGNATURE_MAX + 16];
	size_t n = sizeof sig;
	bool ok = s != NULL && v != NULL && EVP_DigestSignInit(s, NULL, key_digest(public), NULL, key) == 1 &&
	    EVP_DigestSign(s, sig, &n, text, sizeof text) == 1;

	if (!ok)
		(void)crypto_err(err, "a trial signature fails");
	else
		ok = (EVP_DigestVerifyInit(v, NULL, key_digest(public), NULL, public) == 1 && EVP_DigestVerify(v, sig, n, text, sizeof text) == 1) ||
		    err_set(err, ERR_INPUT, "the key in the token does not belong to the certificate");
	ERR_clear_error();
	EVP_MD_CTX_free(s);
	EVP_MD_CTX_free(v);
	return ok;
}

EVP_PKEY *
tkey_of(struct tkey *h, EVP_PKEY *public, struct err *err)
{
	EVP_PKEY *k = EVP_PKEY_is_a(public, "RSA") ? rsa_key(h, public) : EVP_PKEY_is_a(public, "EC") ? ec_key(h, public) : NULL;

	if (k == NULL) {
		(void)crypto_err(err, "a key in a token is RSA or EC");
		return NULL;
	}
	if (belongs(k, public, err))
		return k;
	EVP_PKEY_free(k);
	return NULL;
}

/* ---- new ones ---- */

static EVP_PKEY *
from_params(const char *type, OSSL_PARAM_BLD *b)
{
	OSSL_PARAM *p = OSSL_PARAM_BLD_to_param(b);
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *k = NULL;

	if (p == NULL || c == NULL || EVP_PKEY_fromdata_init(c) != 1 || EVP_PKEY_fromdata(c, &k, EVP_PKEY_PUBLIC_KEY, p) != 1)
		k = NULL;
	EVP_PKEY_CTX_free(c);
	OSSL_PARAM_free(p);
	return k;
}

static EVP_PKEY *
public_of(enum token_kind kind, const uint8_t *data, size_t n)
{
	static const char *const groups[] = { [TOKEN_P256] = "P-256", [TOKEN_P384] = "P-384", [TOKEN_P521] = "P-521" };
	OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
	BIGNUM *modulus = kind == TOKEN_RSA ? BN_bin2bn(data, (int)n, NULL) : NULL;
	EVP_PKEY *k = NULL;

	if (b != NULL && kind == TOKEN_RSA && modulus != NULL && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
	    OSSL_PARAM_BLD_push_ulong(b, OSSL_PKEY_PARAM_RSA_E, RSA_F4) == 1)
		k = from_params("RSA", b);
	if (b != NULL && kind != TOKEN_RSA && OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, groups[kind], 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, data, n) == 1)
		k = from_params("EC", b);
	OSSL_PARAM_BLD_free(b);
	BN_free(modulus);
	return k;
}

EVP_PKEY *
tkey_make(struct tkey *h, enum pki_key_type type, struct err *err)
{
	static const struct {
		enum token_kind kind;
		unsigned bits;
	} kinds[PKI_KEY_TYPES] = { [PKI_P256] = { TOKEN_P256, 0 }, [PKI_P384] = { TOKEN_P384, 0 }, [PKI_P521] = { TOKEN_P521, 0 },
		[PKI_RSA2048] = { TOKEN_RSA, 2048 }, [PKI_RSA3072] = { TOKEN_RSA, 3072 }, [PKI_RSA4096] = { TOKEN_RSA, 4096 }, [PKI_RSA8192] = { TOKEN_RSA, 8192 } };
	uint8_t data[TOKEN_PUBLIC_MAX];
	auto_pkey public = NULL;
	size_t n;

	if (!token_make(h->token, h->index, kinds[type].kind, kinds[type].bits, data, &n, err))
		return NULL;
	public = public_of(kinds[type].kind, data, n);
	if (public != NULL)
		return tkey_of(h, public, err);
	(void)crypto_err(err, "the token's new key cannot be read");
	return NULL;
}
