/* What both sides of SCRAM-SHA-256 compute (RFC 5802 3) and read (RFC 5802 7). */
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/secret.h"
#include "passwd/internal.h"

bool
scram_hmac(
    const uint8_t key[static SCRAM_KEY_N], struct slice text, uint8_t out[static SCRAM_KEY_N])
{
	return HMAC(EVP_sha256(), key, SCRAM_KEY_N, text.p, text.n, out, NULL) != NULL;
}

bool
scram_hash(const uint8_t in[static SCRAM_KEY_N], uint8_t out[static SCRAM_KEY_N])
{
	return EVP_Digest(in, SCRAM_KEY_N, out, NULL, EVP_sha256(), NULL) == 1;
}

void
scram_xor(uint8_t a[static SCRAM_KEY_N], const uint8_t b[static SCRAM_KEY_N])
{
	size_t i;

	for (i = 0; i < SCRAM_KEY_N; i++)
		a[i] ^= b[i];
}

bool
scram_derive(struct slice password, struct slice salt, uint32_t iterations, struct scram_keys *ret)
{
	uint8_t salted[SCRAM_KEY_N];
	bool ok = PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.n, salt.p, (int)salt.n,
		      (int)iterations, EVP_sha256(), SCRAM_KEY_N, salted) == 1 &&
		  scram_hmac(salted, SL("Client Key"), ret->client) &&
		  scram_hash(ret->client, ret->stored) &&
		  scram_hmac(salted, SL("Server Key"), ret->server);

	secret_wipe(salted, sizeof(salted));
	return ok;
}

bool
scram_text_ok(struct slice text)
{
	size_t i;

	for (i = 0; i < text.n; i++)
		if (text.p[i] < 0x20 || text.p[i] > 0x7e)
			return false;
	return text.n > 0;
}

bool
scram_take(struct slice *rest, char name, struct slice *ret, bool *ret_more)
{
	if (rest->n < 2 || rest->p[0] != (uint8_t)name || rest->p[1] != '=')
		return false;
	*ret = slice_from(slice_cut(rest, ',', ret_more), 2);
	return true;
}

bool
scram_nonce_ok(struct slice nonce)
{
	size_t i;

	for (i = 0; i < nonce.n; i++)
		if (nonce.p[i] < 0x21 || nonce.p[i] > 0x7e || nonce.p[i] == ',')
			return false;
	return nonce.n > 0;
}

void
scram_nonce_new(char out[static SCRAM_NONCE_N * 4 / 3 + 5])
{
	uint8_t bytes[SCRAM_NONCE_N];

	random_bytes(bytes, sizeof(bytes));
	base64_put(slice_of(bytes, sizeof(bytes)), true, out);
}

bool
scram_auth_add(struct scram_auth *a, struct slice text)
{
	size_t comma = a->n > 0 ? 1 : 0;

	if (text.n > sizeof(a->p) - a->n || comma > sizeof(a->p) - a->n - text.n)
		return false;
	if (comma > 0)
		a->p[a->n++] = ',';
	if (text.n > 0)
		memcpy(a->p + a->n, text.p, text.n);
	a->n = (uint16_t)(a->n + text.n);
	return true;
}

bool
scram_put(struct scram_answer *a, struct slice text)
{
	if (text.n > sizeof(a->p) - a->n)
		return false;
	if (text.n > 0)
		memcpy(a->p + a->n, text.p, text.n);
	a->n = (uint16_t)(a->n + text.n);
	return true;
}

bool
scram_put_base64(struct scram_answer *a, struct slice bytes)
{
	char text[4 * (SALT_MAX / 3 + 1) + 1];

	if (bytes.n > SALT_MAX)
		return false;
	base64_put(bytes, true, text);
	return scram_put(a, slice_str(text));
}
