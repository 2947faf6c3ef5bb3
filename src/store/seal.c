/* Encryption at rest: AES-256-GCM for each frame, with a key for each segment derived from the master key. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "base/wr.h"
#include "store/internal.h"

enum { KEY_FILE_MAX = 4096 };

struct seal {
	EVP_CIPHER_CTX *ctx;
	uint8_t master[STORE_KEY_BYTES], key[STORE_KEY_BYTES], key_id[8];
};

/* HMAC-SHA-256 as a pseudo-random function: <label> keeps the uses apart. */
static bool
derive(const struct seal *s, struct slice label, struct slice data, uint8_t ret[static STORE_KEY_BYTES])
{
	uint8_t in[128];
	struct wr w = wr_of(in, sizeof in);
	unsigned got = 0;

	wr_bytes(&w, label);
	wr_bytes(&w, data);
	return wr_ok(&w) && HMAC(EVP_sha256(), s->master, sizeof s->master, in, wr_len(&w), ret, &got) != NULL &&
	    got == STORE_KEY_BYTES;
}

struct seal *
seal_new(struct slice master)
{
	struct seal *s = calloc(1, sizeof *s);
	uint8_t id[STORE_KEY_BYTES];

	if (s == NULL || master.n != STORE_KEY_BYTES)
		goto failed;
	memcpy(s->master, master.p, STORE_KEY_BYTES);
	if ((s->ctx = EVP_CIPHER_CTX_new()) == NULL || !derive(s, SL("signet store key id"), SL(""), id))
		goto failed;
	memcpy(s->key_id, id, sizeof s->key_id);
	return s;
failed:
	seal_free(s);
	return NULL;
}

void
seal_free(struct seal *s)
{
	if (s == NULL)
		return;
	EVP_CIPHER_CTX_free(s->ctx);
	secret_free(s, sizeof *s);
}

void
seal_key_id(const struct seal *s, uint8_t ret[static 8])
{
	memcpy(ret, s->key_id, 8);
}

bool
seal_segment(struct seal *s, const struct seg_header *h)
{
	uint8_t in[36];

	memcpy(in, h->uuid, 16);
	memcpy(in + 16, h->salt, 16);
	for (unsigned i = 0; i < 4; i++)
		in[32 + i] = (uint8_t)(h->id >> 8 * i);
	return derive(s, SL("signet store segment"), slice_of(in, sizeof in), s->key);
}

static void
nonce_of(uint64_t at, uint8_t ret[static 12])
{
	memset(ret, 0, 12);
	for (unsigned i = 0; i < 8; i++)
		ret[i] = (uint8_t)(at >> 8 * i);
}

bool
seal_lock(struct seal *s, uint64_t at, const uint8_t aad[static 24], uint8_t *p, size_t n)
{
	uint8_t nonce[12];
	int got;

	nonce_of(at, nonce);
	return n <= INT32_MAX && EVP_EncryptInit_ex(s->ctx, EVP_aes_256_gcm(), NULL, s->key, nonce) == 1 &&
	    EVP_EncryptUpdate(s->ctx, NULL, &got, aad, 24) == 1 &&
	    EVP_EncryptUpdate(s->ctx, p, &got, p, (int)n) == 1 && EVP_EncryptFinal_ex(s->ctx, p + n, &got) == 1 &&
	    EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG, p + n) == 1;
}

bool
seal_unlock(struct seal *s, uint64_t at, const uint8_t aad[static 24], uint8_t *p, size_t n)
{
	uint8_t nonce[12];
	int got;

	nonce_of(at, nonce);
	return n <= INT32_MAX && EVP_DecryptInit_ex(s->ctx, EVP_aes_256_gcm(), NULL, s->key, nonce) == 1 &&
	    EVP_DecryptUpdate(s->ctx, NULL, &got, aad, 24) == 1 &&
	    EVP_DecryptUpdate(s->ctx, p, &got, p, (int)n) == 1 &&
	    EVP_CIPHER_CTX_ctrl(s->ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG, p + n) == 1 &&
	    EVP_DecryptFinal_ex(s->ctx, p + n, &got) == 1;
}

/* Two hex digits a byte. */
static bool
from_hex(struct slice s, uint8_t ret[static STORE_KEY_BYTES])
{
	size_t n;

	while (s.n > 2 * STORE_KEY_BYTES && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
		s.n--;
	return text_unhex(s, ret, STORE_KEY_BYTES, &n) && n == STORE_KEY_BYTES;
}

bool
store_key_read(const char *path, uint8_t ret[static STORE_KEY_BYTES], struct err *err)
{
	uint8_t *p, key[STORE_KEY_BYTES];
	size_t n;
	bool ok;

	if (!file_read(path, KEY_FILE_MAX, &p, &n, err))
		return false;
	if ((ok = n == STORE_KEY_BYTES))
		memcpy(key, p, STORE_KEY_BYTES);
	else
		ok = from_hex(slice_of(p, n), key);
	secret_free(p, n);
	if (ok)
		memcpy(ret, key, STORE_KEY_BYTES);
	secret_wipe(key, sizeof key);
	return ok || err_set(err, ERR_INPUT, "%s is no key of a store: it has to have %d bytes, or %d hex digits (openssl rand -hex %d)",
	    path, STORE_KEY_BYTES, 2 * STORE_KEY_BYTES, STORE_KEY_BYTES);
}
