/* Private to passwd/: one entry of a file, and its text form. */
#ifndef PASSWD_INTERNAL_H
#define PASSWD_INTERNAL_H

#include "base/base64.h"
#include "passwd/passwd.h"

enum {
	SALT_MIN = 8,
	SALT_MAX = 128,
	HASH_MIN = 16,
	HASH_MAX = 128,
	SHA512_N = 64,
	SCRAM_KEY_N = 32, /* SHA-256 */
	SCRAM_SALT_N = 16,
	SCRAM_NONCE_N = 18, /* random bytes; 24 characters */
};

struct passwd_secret {
	enum passwd_kind kind;
	uint32_t iterations; /* PBKDF2, SCRAM; passes of argon2id */
	uint32_t kib, lanes; /* argon2id */
	uint16_t salt_n, hash_n;
	uint8_t salt[SALT_MAX], hash[HASH_MAX]; /* hash of SCRAM: StoredKey, ServerKey */
};

/* hash.c */
/* What stands behind "user:". NULL, or what is wrong with it, static. */
const char *secret_parse(struct slice text, struct passwd_secret *ret);
bool secret_format(const struct passwd_secret *s, char out[static PASSWD_HASH_TEXT_MAX]);
/* The hash of <password> with kind, costs and salt of <s>: s->hash_n bytes into <out>. */
bool secret_compute(
    const struct passwd_secret *s, struct slice password, uint8_t out[static HASH_MAX]);

/* text.c */
struct text_line {
	struct slice whole, user,
	    rest; /* whole: without the line end; user: trimmed; rest: behind the first ':' */
	unsigned number;
	bool blank;  /* empty, or a comment */
	bool broken; /* no ':' in it */
};
/* The next line of <text>; false: no more. Start with number 0. */
bool line_next(struct slice *text, struct text_line *l);

/* file.c */
/* The secret of <user>; NULL: unknown. */
const struct passwd_secret *secret_of_user(const struct passwd_file *f, struct slice user);
/* For <user>, who has none of SCRAM: always the same one of those who have; NULL: nobody has. */
const struct passwd_secret *secret_like_scram(const struct passwd_file *f, struct slice user);

/* scram.c: what both sides compute (RFC 5802 3) */
struct scram_keys {
	uint8_t client[SCRAM_KEY_N], stored[SCRAM_KEY_N], server[SCRAM_KEY_N];
};
bool scram_derive(struct slice password, struct slice salt, uint32_t iterations, struct scram_keys *ret);
bool scram_hmac(const uint8_t key[static SCRAM_KEY_N], struct slice text, uint8_t out[static SCRAM_KEY_N]);
bool scram_hash(const uint8_t in[static SCRAM_KEY_N], uint8_t out[static SCRAM_KEY_N]);
/* <a> ^= <b>: a key and a signature make a proof, a proof and a signature a key. */
void scram_xor(uint8_t a[static SCRAM_KEY_N], const uint8_t b[static SCRAM_KEY_N]);
/* Take "<name>=value" off <rest>; false: something else stands there. *ret_more: there was a ',' behind it. */
bool scram_take(struct slice *rest, char name, struct slice *ret, bool *ret_more);
/* Characters that a nonce may have, and at least one of them. */
bool scram_nonce_ok(struct slice nonce);
void scram_nonce_new(char out[static SCRAM_NONCE_N * 4 / 3 + 5]);
/* AuthMessage grows by ",text", or by "text" when it is empty. False: longer than any could be. */
enum { SCRAM_AUTH_MAX = 3 * SCRAM_MESSAGE_MAX + 2 };
struct scram_auth {
	uint16_t n;
	uint8_t p[SCRAM_AUTH_MAX];
};
bool scram_auth_add(struct scram_auth *a, struct slice text);
/* Append text to the answer, or base64 of it. */
bool scram_put(struct scram_answer *a, struct slice text);
bool scram_put_base64(struct scram_answer *a, struct slice bytes);

/* scram_server.c: scram_server_start() with a nonce of the caller's */
struct scram_given {
	const struct passwd_file *file;
	const uint8_t *secret;
	const char *nonce;
};
enum scram_result scram_server_begin(
    const struct scram_given *g, struct slice in, struct scram_server **ret, struct scram_answer *ret_answer);
/* scram_client.c: the first message with a nonce of the caller's */
bool scram_client_begin(struct scram_client *c, const char *nonce, struct scram_answer *ret);

#endif
