/* Private to passwd/: one entry of a file, and its text form. */
#ifndef PASSWD_INTERNAL_H
#define PASSWD_INTERNAL_H

#include "passwd/passwd.h"

enum { SALT_MIN = 8, SALT_MAX = 128, HASH_MIN = 16, HASH_MAX = 128, SHA512_N = 64 };

struct passwd_secret {
	enum passwd_kind kind;
	uint32_t iterations; /* PBKDF2; passes of argon2id */
	uint32_t kib, lanes; /* argon2id */
	uint16_t salt_n, hash_n;
	uint8_t salt[SALT_MAX], hash[HASH_MAX];
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

/* base64.c: RFC 4648 4, with or without padding; canonical only. False: not that, or more than <cap>. */
bool base64_get(struct slice text, uint8_t *out, size_t cap, size_t *ret_n);
/* NUL-terminated; <cap> >= 4 * (n / 3 + 1) + 1. */
void base64_put(struct slice in, bool pad, char *out);

#endif
