/* What everybody may have, and caches may keep: revocation lists, CAs' certificates, OCSP answers. Private to api/. */
#ifndef API_PUBLIC_H
#define API_PUBLIC_H

#include "api/internal.h"

/* Of something that was made at <made> and is good until <until> (0: no end): ETag, Last-Modified, Expires and Cache-Control of the answer. */
struct keep {
	const char *tag;  /* with its quotes */
	int64_t made, until;
	int64_t again;    /* when another one is made, or until; 0: not known */
};
enum { KEEP_TAG_CAP = 35, KEEP_MAX_AGE_S = 300 };
bool keep_tag(struct slice bytes, char out[static KEEP_TAG_CAP]); /* a hash of them */
/* Has the client the same already (RFC 9110 13.2.2)? Then it is answered (304). Else headers are set for the answer that follows. */
bool keep_known(struct call *c, const struct keep *k);

/* A CA's newest revocation list, as all who ask get it. Borrowed until the next. NULL: <err>. */
struct public_list {
	struct blob *blob;
	char tag[KEEP_TAG_CAP];
};
const struct public_list *public_list(struct api *a, const struct registry_ca *x, bool pem, struct err *err);

/* responder.c: keys that may answer in a CA's name, lent by the signer for a few days */

struct responder {
	struct responder *next;
	struct api *api;
	char ca[REGISTRY_NAME_MAX + 1];
	struct x509_st *issuer, *cert; /* cert NULL: none yet */
	struct evp_pkey_st *key;
	int64_t from, until;           /* of cert */
	unsigned generation;           /* of cert; starts with 1 */
	bool asking;
	struct pki_pair pair;          /* for which is asked */
};
/* NULL: there is no such CA, or the signer has not its key. */
struct responder *responder_find(struct api *a, struct slice ca);

/* ocsp_cache.c: answers about one certificate each, the ones that were asked for last */

enum { OCSP_CACHE_MAX = 16384, OCSP_KEY_MAX = REGISTRY_NAME_MAX + 4 + AUTHZ_SERIAL_MAX };
struct ocsp_entry {
	struct ocsp_entry *prev, *next; /* from the one that was asked for last */
	size_t key_n;
	uint8_t key[OCSP_KEY_MAX];
	unsigned generation;           /* of the responder that signed it */
	enum pki_ocsp_status status;   /* what it says */
	int reason;
	int64_t revoked_at, made, until;
	char tag[KEEP_TAG_CAP];
	struct blob *blob;
};
struct ocsp_cache {
	struct map map;
	struct ocsp_entry *first, *last;
};
void ocsp_cache_init(struct ocsp_cache *k);
void ocsp_cache_done(struct ocsp_cache *k);
struct ocsp_entry *ocsp_cache_get(struct ocsp_cache *k, struct slice key); /* NULL: none */
/* Takes <e>, which has its key, in the place of another one of that key, and forgets the oldest when there are too many. False: out of memory. */
bool ocsp_cache_put(struct ocsp_cache *k, struct ocsp_entry *e);

#endif
