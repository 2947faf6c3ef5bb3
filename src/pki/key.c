/* Private keys: make, write (PKCS#8, usually encrypted), read, and which ones are good enough. */
#include "pki/internal.h"

#include <stdio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

/* scrypt with N 2^14, r 8, p 5: 16 MiB and about a quarter of a second a guess. libcrypto's key derivation for PKCS#8 has
 * a fixed bound of 32 MiB, so a larger N could be written but never be read again. */
enum { SCRYPT_N = 1 << 14, SCRYPT_R = 8, SCRYPT_P = 5, SALT_BYTES = 16 };

static const struct {
	const char *name, *group;
	unsigned bits;
} types[PKI_KEY_TYPES] = {
	[PKI_P256] = { "p256", "P-256", 0 },
	[PKI_P384] = { "p384", "P-384", 0 },
	[PKI_P521] = { "p521", "P-521", 0 },
	[PKI_RSA2048] = { "rsa2048", NULL, 2048 },
	[PKI_RSA3072] = { "rsa3072", NULL, 3072 },
	[PKI_RSA4096] = { "rsa4096", NULL, 4096 },
	[PKI_RSA8192] = { "rsa8192", NULL, 8192 },
};

const char *
pki_key_type_name(enum pki_key_type t)
{
	return t < PKI_KEY_TYPES ? types[t].name : "?";
}

bool
pki_key_type_parse(struct slice name, enum pki_key_type *ret)
{
	for (unsigned t = 0; t < PKI_KEY_TYPES; t++) {
		if (slice_eq(name, slice_str(types[t].name))) {
			*ret = (enum pki_key_type)t;
			return true;
		}
	}
	return false;
}

EVP_PKEY *
key_new(enum pki_key_type t, struct err *err)
{
	EVP_PKEY *k = types[t].group != NULL ? EVP_EC_gen(types[t].group) : EVP_RSA_gen(types[t].bits);

	if (k == NULL)
		(void)crypto_err(err, "cannot make a %s key", types[t].name);
	return k;
}

static X509_SIG *
encrypt(PKCS8_PRIV_KEY_INFO *p8, const char *pass)
{
	unsigned char salt[SALT_BYTES];
	X509_ALGOR *pbe;
	X509_SIG *sig;

	random_bytes(salt, sizeof salt);
	pbe = PKCS5_pbe2_set_scrypt(EVP_aes_256_cbc(), salt, sizeof salt, NULL, SCRYPT_N, SCRYPT_R, SCRYPT_P);
	if (pbe == NULL)
		return NULL;
	sig = PKCS8_set0_pbe(pass, (int)strlen(pass), p8, pbe);
	if (sig == NULL)
		X509_ALGOR_free(pbe);
	return sig;
}

static bool
put_encrypted(BIO *out, PKCS8_PRIV_KEY_INFO *p8, const struct pki_secret *secret, const char *what, struct err *err)
{
	char pass[PKI_PASSPHRASE_MAX];
	X509_SIG *sig = NULL;
	bool ok = secret->get(secret->ctx, what, true, pass, sizeof pass, err);

	if (ok && strlen(pass) < PKI_PASSPHRASE_MIN)
		ok = err_set(err, ERR_USAGE, "the passphrase for %s is shorter than %d characters", what,
		    PKI_PASSPHRASE_MIN);
	if (ok) {
		sig = encrypt(p8, pass);
		ok = (sig != NULL && PEM_write_bio_PKCS8(out, sig) == 1) || crypto_err(err, "cannot encrypt %s", what);
	}
	secret_wipe(pass, sizeof pass);
	X509_SIG_free(sig);
	return ok;
}

static bool
put(const char *path, const EVP_PKEY *k, const struct pki_secret *secret, const char *what, int flags, struct err *err)
{
	/* A "secmem" BIO wipes what it held. */
	auto_bio out = BIO_new(BIO_s_secmem());
	PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(k);
	char *data;
	bool ok;

	if (out == NULL || p8 == NULL)
		ok = crypto_err(err, "cannot encode %s", what);
	else if (secret != NULL)
		ok = put_encrypted(out, p8, secret, what, err);
	else
		ok = PEM_write_bio_PKCS8_PRIV_KEY_INFO(out, p8) == 1 || crypto_err(err, "cannot encode %s", what);
	if (ok) {
		long n = BIO_get_mem_data(out, &data);

		ok = file_write(path, slice_of(data, (size_t)n), 0600, flags, err);
	}
	PKCS8_PRIV_KEY_INFO_free(p8);
	return ok;
}

bool
key_write(const char *path, const EVP_PKEY *k, const struct pki_secret *secret, const char *what, struct err *err)
{
	return put(path, k, secret, what, 0, err);
}

bool
key_replace(const char *path, const EVP_PKEY *k, struct err *err)
{
	return put(path, k, NULL, path, FILE_REPLACE | FILE_KEEP_OWNER, err);
}

bool
key_write_plain(const char *path, const EVP_PKEY *k, int flags, struct err *err)
{
	return put(path, k, NULL, "a device's key", flags, err);
}

struct ask {
	const struct pki_secret *secret;
	const char *what;
	struct err *err;
	bool asked, failed;
};

static int
on_passphrase(char *buf, int size, int writing, void *ctx)
{
	struct ask *a = ctx;

	(void)writing;
	a->asked = true;
	if (a->secret == NULL) {
		a->failed = true;
		(void)err_set(a->err, ERR_USAGE, "%s is encrypted and no passphrase was given", a->what);
		return -1;
	}
	if (!a->secret->get(a->secret->ctx, a->what, false, buf, (size_t)size, a->err)) {
		a->failed = true;
		return -1;
	}
	return (int)strlen(buf);
}

bool
pki_key_is_encrypted(struct slice pem)
{
	return memmem(pem.p, pem.n, "ENCRYPTED", strlen("ENCRYPTED")) != NULL;
}

static bool
is_encrypted_der(struct slice file)
{
	const unsigned char *p = file.p;
	X509_SIG *sig = d2i_X509_SIG(NULL, &p, (long)file.n);

	X509_SIG_free(sig);
	ERR_clear_error();
	return sig != NULL;
}

static EVP_PKEY *
key_from_der(struct slice file, struct ask *a)
{
	const unsigned char *p = file.p;
	auto_bio b = NULL;

	if (!is_encrypted_der(file))
		return d2i_AutoPrivateKey(NULL, &p, (long)file.n);
	b = BIO_new_mem_buf(file.p, (int)file.n);
	return b != NULL ? d2i_PKCS8PrivateKey_bio(b, NULL, on_passphrase, a) : NULL;
}

EVP_PKEY *
key_parse(struct slice file, const char *name, const struct pki_secret *secret, const char *what, struct err *err)
{
	struct ask a = { secret, what, err, false, false };
	EVP_PKEY *k = NULL;

	if (file.n == 0 || file.n > PKI_FILE_MAX) {
		(void)err_set(err, ERR_INPUT, "%s: is %s, not a private key", name,
		    file.n == 0 ? "an empty file" : "too large");
		return NULL;
	}
	ERR_clear_error();
	if (is_pem(file)) {
		auto_bio b = BIO_new_mem_buf(file.p, (int)file.n);

		k = b != NULL ? PEM_read_bio_PrivateKey(b, NULL, on_passphrase, &a) : NULL;
	} else {
		k = key_from_der(file, &a);
	}
	if (k != NULL || a.failed) {
		ERR_clear_error();
		return k;
	}
	if (a.asked)
		(void)err_set(err, ERR_DENIED, "%s: the passphrase is wrong, or the file is damaged", name);
	else
		(void)err_set(err, ERR_INPUT, "%s: has no private key that can be read: it is %s", name, file_kind(file));
	ERR_clear_error();
	return NULL;
}

EVP_PKEY *
key_read(const char *path, const struct pki_secret *secret, const char *what, struct err *err)
{
	uint8_t *data;
	size_t n;
	EVP_PKEY *k;

	if (!file_read(path, PKI_FILE_MAX, &data, &n, err))
		return NULL;
	k = key_parse(slice_of(data, n), path, secret, what, err);
	secret_free(data, n);
	return k;
}

static bool
rsa_ok(const EVP_PKEY *k, char *why, size_t cap)
{
	int bits = EVP_PKEY_get_bits(k);
	BIGNUM *e = NULL;
	bool odd = EVP_PKEY_get_bn_param(k, OSSL_PKEY_PARAM_RSA_E, &e) == 1 && BN_is_odd(e) && BN_num_bits(e) >= 2;

	BN_free(e);
	if (bits < 2048 || bits > 8192)
		(void)snprintf(why, cap, "is RSA with %d bits; 2048 to 8192 are allowed", bits);
	else if (bits % 8 != 0)
		(void)snprintf(why, cap, "is RSA with %d bits; the size has to be a multiple of 8", bits);
	else if (!odd)
		(void)snprintf(why, cap, "is RSA with an exponent that is even or 1");
	else
		return true;
	return false;
}

bool
key_ok(const EVP_PKEY *k, char *why, size_t cap)
{
	char text[96];

	if (EVP_PKEY_is_a(k, "RSA"))
		return rsa_ok(k, why, cap);
	(void)key_text(k, text, sizeof text);
	if (strcmp(text, "EC P-256") == 0 || strcmp(text, "EC P-384") == 0 || strcmp(text, "EC P-521") == 0)
		return true;
	(void)snprintf(why, cap, "is %s; RSA with 2048 to 8192 bits and EC P-256, P-384 and P-521 are allowed", text);
	return false;
}

const EVP_MD *
key_digest(const EVP_PKEY *k)
{
	int bits = EVP_PKEY_is_a(k, "EC") ? EVP_PKEY_get_bits(k) : 0;

	return bits > 384 ? EVP_sha512() : bits > 256 ? EVP_sha384() : EVP_sha256();
}
