/* Private keys in PKCS#11 tokens. The token's module, which is not ours, is loaded by a process of its own: what it opens,
 * starts and breaks stays there, and it is the only one that has the PINs. */
#ifndef TOKEN_TOKEN_H
#define TOKEN_TOKEN_H

#include "base/err.h"
#include "base/slice.h"

enum {
	TOKEN_KEYS_MAX = 64,
	TOKEN_URI_MAX = 2048,
	TOKEN_PATH_MAX = 1024,
	TOKEN_LABEL_MAX = 128,
	TOKEN_PIN_MAX = 256,         /* with its NUL */
	TOKEN_DATA_MAX = 128,        /* that is signed: a digest, or a DigestInfo */
	TOKEN_SIGNATURE_MAX = 1024,  /* RSA 8192; ECDSA: r and s, each as long as the curve's order */
	TOKEN_PUBLIC_MAX = 1200,
};

/* A PKCS#11 URI (RFC 7512), decoded. Of a path's attributes token, serial, object, id and type=private are known; of a query's
 * module-path and pin-source=file:…; others are refused, since what is not looked at must not seem to be. "pin-value" is, too. */
struct token_uri {
	char token[33], serial[17];  /* "": any */
	char object[TOKEN_LABEL_MAX + 1];
	uint8_t id[TOKEN_LABEL_MAX];
	size_t id_n;
	char module[TOKEN_PATH_MAX], pin_file[TOKEN_PATH_MAX];
};
/* There is a module with an absolute path, and a token or serial. */
bool token_uri_parse(struct slice uri, struct token_uri *ret, struct err *err);
/* <uri> with ";object=NAME" in it, which it must not have. False: too long. */
bool token_uri_add_object(const char *uri, const char *name, char out[static TOKEN_URI_MAX]);

struct token_key {
	struct token_uri uri;
	char pin[TOKEN_PIN_MAX];
};
struct token_setup {
	const struct token_key *keys; /* copied; PINs are the caller's to wipe */
	size_t n;
	bool making;             /* the keys are to be made, and must not be there */
	/* In the new process, before a module is loaded; NULL: nothing. */
	bool (*confine)(void *ctx, struct err *err);
	void *ctx;
};
/* Start the process and open all keys. NULL: <err>. The caller has no other thread. */
struct token;
struct token *token_start(const struct token_setup *s, struct err *err);
/* <wait>: until it has ended; else init sees to it. NULL is fine. */
void token_stop(struct token *t, bool wait);
/* It has gone, or did not answer in time: nothing comes of it any more. */
bool token_is_lost(const struct token *t);

/* RSA: PKCS #1 v1.5 of the DigestInfo <data>; EC: ECDSA of the digest <data>, r || s. A token that was taken out and put back is opened
 * anew; while it is away: ERR_SYSTEM. *ret_n: at most TOKEN_SIGNATURE_MAX. Blocks, 30 s at most. */
bool token_sign(struct token *t, size_t key, struct slice data, uint8_t ret[static TOKEN_SIGNATURE_MAX], size_t *ret_n, struct err *err);

enum token_kind { TOKEN_P256, TOKEN_P384, TOKEN_P521, TOKEN_RSA };
/* A new one that never leaves the token. EC: the point, uncompressed. RSA: the modulus (exponent 65537), big-endian. */
bool token_make(struct token *t, size_t key, enum token_kind kind, unsigned bits, uint8_t ret[static TOKEN_PUBLIC_MAX], size_t *ret_n,
    struct err *err);
/* Take back what token_make() made. */
void token_unmake(struct token *t, size_t key);

#endif
