/* Private to pki/: what trust.c prepares and judge.c and peer.c read. */
#ifndef PKI_TRUST_H
#define PKI_TRUST_H

#include <stdatomic.h>
#include "pki/crl.h"

struct role_key {
	uint8_t spki[32];
	enum authz_role role;
	bool factory;
};

struct pki_trust {
	atomic_uint refs;
	STACK_OF(X509) *cas;       /* of the cafile */
	X509 **issuers;            /* of each of cas: which of them signed it, or NULL */
	uint8_t (*ca_keys)[32];    /* SHA-256 of the SPKI of each of cas */
	STACK_OF(X509) *role_cas;
	struct role_key *roles;
	size_t n_roles;
	struct crl_set crls;
	struct brought *brought;   /* shared with those before and after it */
	int64_t crl_grace;         /* seconds for which an expired CRL is still good */
	bool more_anchors, require_cn, ignore_dates, quarantine, ocsp;
};

/* Who among the cafile's CAs signed <ca>; NULL: nobody, or <ca> is not in it. */
X509 *trust_issuer(const struct pki_trust *t, const X509 *ca);
bool trust_has_cert(const struct pki_trust *t, const X509 *x); /* does it stand in the cafile? */
/* Is this the key of one of the cafile's CAs? */
bool trust_has_key(const struct pki_trust *t, const uint8_t spki[32]);

/* ---- brought.c: CAs that came with chains; any thread ---- */

enum { BROUGHT_MAX = 256 };

struct brought *brought_new(void); /* NULL: out of memory */
struct brought *brought_ref(struct brought *b);
void brought_unref(struct brought *b); /* NULL is fine */
/* <ca> stands in a chain that was verified: its key, and that of the CA next to the trusted one in this chain. When there are too many,
 * the one longest unused of the largest branch is forgotten. */
void brought_add(struct brought *b, X509 *ca, const uint8_t key[32], const uint8_t branch[32]);
/* The CA with this key, or NULL; X509_free(). It counts as used. */
X509 *brought_find(struct brought *b, const uint8_t key[32]);
/* All of them, counted; NULL: out of memory. */
STACK_OF(X509) *brought_all(struct brought *b);

/* ---- peer.c ---- */

struct pki_peer *peer_new(X509 *leaf);
/* What a responder is asked about <p> with. False: out of memory. */
bool peer_issued_by(struct pki_peer *p, X509 *leaf, X509 *issuer);
/* A refusal: what <p> says of it. <fmt> makes the sentence, <remedy> is one. */
void peer_refuse(struct pki_peer *p, enum pki_cause cause, int error, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* ---- diagnose.c ---- */

/* X509_verify_cert() said no: find out why and say it in <p>. */
void diagnose(const struct pki_trust *t, X509_STORE_CTX *ctx, int64_t now, struct pki_peer *p);
/* The leaf is a CA's certificate. */
void diagnose_ca(struct pki_peer *p, int error);
/* A CRL said no of chain[<depth>]. */
void diagnose_crl(const struct crl_answer *a, const X509 *cert, int depth, struct pki_peer *p);

#endif
