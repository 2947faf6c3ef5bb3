/* Private to pki/: revocation lists, in a form that a handshake can ask. */
#ifndef PKI_CRL_H
#define PKI_CRL_H

#include <pthread.h>
#include <stdatomic.h>
#include "pki/internal.h"

enum {
	CRL_FILE_MAX = 256 << 20,
	CRL_NUMBER_MAX = 20, /* octets, RFC 5280 5.2.3 */
	CRL_KEYS_SEEN = 8,
};

/* One CRL: who is revoked by one CA. Immutable and counted across threads; its entries are a hash set over one block of bytes
 * (about 32 bytes an entry). */
struct crl {
	atomic_uint refs;
	X509_NAME *issuer;
	char *issuer_text;
	bool verified;          /* signature checked at load, with issuer_key */
	uint8_t issuer_key[32]; /* SHA-256 of the SPKI that signed it */
	uint8_t digest[32];     /* SHA-256 of the whole */
	uint8_t number[CRL_NUMBER_MAX];
	size_t number_n;        /* 0: none */
	int64_t last, next;     /* next INT64_MAX: none */

	uint8_t *pool;          /* entries: length, serial, date (4 octets, big-endian), reason */
	uint32_t *slots;        /* 1 + offset in pool; 0: free */
	uint32_t mask, n;       /* of slots; entries */

	/* While it was loaded nobody knew its CA: the whole, and the keys that were tried since. */
	uint8_t *raw;
	size_t raw_n;
	pthread_mutex_t lock;   /* of the following */
	unsigned n_seen;
	struct {
		uint8_t key[32];
		bool good;
	} seen[CRL_KEYS_SEEN];
};

struct revoked {
	int64_t date;
	int reason; /* CRLReason, -1 not given */
};

/* ---- crlder.c: from bytes ---- */

/* Of exactly one CRL in DER; <name> stands in error texts. Not yet verified, and without .raw. */
struct crl *crl_new(struct slice der, const char *name, struct err *err);
bool crl_digest(struct slice der, uint8_t out[32]);
struct crl *crl_ref(struct crl *c);
void crl_unref(struct crl *c); /* NULL is fine */
/* Did the owner of <key> sign these bytes? */
bool crl_signed_by(struct slice der, EVP_PKEY *key);
bool crl_find(const struct crl *c, struct slice serial, struct revoked *ret);
/* Each serial number in it; <each> returns false to end the walk. */
bool crl_each(const struct crl *c, bool (*each)(void *ctx, struct slice serial), void *ctx);

/* ---- crl.c: those that are in force ---- */

struct crl_set {
	struct crl **v;
	size_t n;
	char **files;     /* files or directories that they come from */
	size_t n_files;
	bool partial;     /* a directory: a CA without a CRL is not checked */
	char **complaints; /* what was not taken over, a sentence each */
	size_t n_complaints;
};

struct crl_load {
	const char *const *files;
	size_t n_files;
	STACK_OF(X509) *cas;
	STACK_OF(X509) *brought;   /* CAs below them that clients have shown; NULL: none */
	const struct crl_set *old;  /* what is in force now, or NULL */
	const struct crl_set *also; /* has perhaps read the same ones already, or NULL */
	bool lenient;              /* a file that cannot be read is a complaint, and what came from it stays */
	int64_t now;
};
/* Read all files. A CRL of a CA that has one in <old> takes its place only if it is not older, not of another key and not
 * expired earlier; what is refused is a complaint. */
bool crl_set_load(struct crl_set *s, const struct crl_load *l, struct err *err);
void crl_set_done(struct crl_set *s);
/* Are the same CRLs in force? */
bool crl_set_same(const struct crl_set *a, const struct crl_set *b);

struct crl_answer {
	enum pki_cause cause; /* PKI_OK, REVOKED, CRL_EXPIRED, CRL_FUTURE, CRL_SIGNATURE, CRL_MISSING */
	const struct crl *crl;
	struct revoked entry; /* REVOKED */
};
/* What the CRLs of <issuer> say of <cert>. <grace>: seconds for which an expired CRL is still good. */
struct crl_answer crl_ask(const struct crl_set *s, const X509 *cert, X509 *issuer, int64_t now, int64_t grace);
/* The same of a serial number and the key of its issuer. */
struct crl_answer crl_ask_key(const struct crl_set *s, const uint8_t key[32], struct slice serial, int64_t now, int64_t grace);
/* The CRL of the CA with this key; NULL: none, or it was not seen at work yet. */
const struct crl *crl_of_key(const struct crl_set *s, const uint8_t key[32]);
/* SHA-256 of the key that signed <c>; false: nobody has seen that CA yet. */
bool crl_key(const struct crl *c, uint8_t ret[32]);
/* Are there any such lists? */
bool crl_has_unknown(const struct crl_set *s);
/* Its CA was not there when a list was loaded, and is now. */
void crl_meet(const struct crl_set *s, X509 *ca, const uint8_t key[32]);

#endif
