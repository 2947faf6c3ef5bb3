/* A CA whose key is at hand: in memory, or in a token. Include it as pki/pki.h. */
#ifndef PKI_AUTHORITY_H
#define PKI_AUTHORITY_H

#include "pki/pki.h"

/* ---- a CA whose key is in memory: what the signer works with. One thread ---- */

/* The process that speaks to the tokens which hold keys of CAs (pki/NAME/key.uri, a PKCS#11 URI; docs/control.md). */
struct pki_tokens;
struct pki_token_way {
	const struct pki_secret *secret;              /* PINs, but for pin-source; asked before the process is there */
	bool (*confine)(void *ctx, struct err *err);  /* in the new process, before any module is loaded; NULL: nothing */
	void *ctx;
};
/* Of all CAs below <dir>, or <only> that one. *ret NULL: none has its key in a token. The caller has no other thread. */
bool pki_tokens_start(const char *dir, const char *only, const struct pki_token_way *way, struct pki_tokens **ret, struct err *err);
bool pki_tokens_lost(const struct pki_tokens *t);       /* the process has gone: nothing comes of it any more. NULL: false */
void pki_tokens_stop(struct pki_tokens *t, bool wait);  /* after the CAs; <wait>: until it has ended. NULL is fine */

struct pki_ca;
/* <tokens>: of pki_tokens_start(), outlives it. Key, certificate and index of DIR/pki/NAME; afterwards no file is opened. NULL: <err>, ERR_MISSING when the key is not here. */
struct pki_ca *pki_ca_open(const char *dir, const char *name, const struct pki_secret *secret, const struct pki_tokens *tokens, struct err *err);
void pki_ca_free(struct pki_ca *c); /* wipes the key; NULL is fine */
const char *pki_ca_name(const struct pki_ca *c);
struct slice pki_ca_der(const struct pki_ca *c);
bool pki_profile_known(struct slice name); /* "client", "server", "cfree", "ocsp" */
bool pki_url_ok(const char *url);          /* fit to stand in a certificate */

struct pki_wish {
	const char *profile;            /* of "ocsp" only the key in csr counts; with a cn it is refused */
	const char *cn;                 /* NULL: the request's own; pki_cn_ok() */
	const char *const *names;       /* for subjectAltName */
	size_t n_names;
	bool only_names;                /* those of the request are dropped */
	struct slice csr;               /* DER or PEM */
	unsigned days;                  /* 0: the profile's; more is clipped to it, and to the CA's end */
	const char *crl_url, *ocsp_url, *issuers_url; /* NULL: none; "%c" stands for the CA's name */
	int64_t now;                    /* 0 = the clock */
};
struct pki_made {
	struct pki_entry entry;
	uint8_t *der;
	size_t der_n;
	char notes[1024];
};
/* Make a certificate. Nobody may get it before it was booked and synced. */
bool pki_ca_make(struct pki_ca *c, const struct pki_wish *w, struct pki_made *ret, struct err *err);
void pki_made_done(struct pki_made *m);
/* Put into the index; what of it is on the disk, pki_ca_sync() says. */
bool pki_ca_book(struct pki_ca *c, const struct pki_entry *e, struct err *err);
bool pki_ca_mark(struct pki_ca *c, const char *serial, int reason, int64_t at, struct err *err); /* reason -1: live again */
bool pki_ca_sync(struct pki_ca *c, struct err *err);

/* A revocation list. It ends with the CA at the latest. */
struct pki_crl_draft;
struct pki_crl_draft *pki_crl_begin(struct pki_ca *c, int64_t from, int64_t until, uint64_t number, struct err *err);
bool pki_crl_add(struct pki_crl_draft *d, struct slice serial, int64_t at, int reason, struct err *err);
bool pki_crl_end(struct pki_crl_draft *d, uint8_t **ret, size_t *ret_n, struct err *err); /* DER, free(); <d> is gone in any case */
void pki_crl_drop(struct pki_crl_draft *p); /* NULL is fine */

struct pki_ocsp_about {
	struct slice serial;
	enum pki_ocsp_status status;
	int64_t revoked_at;
	int reason; /* -1: not given */
};
struct pki_ocsp_terms {
	const struct pki_ocsp_about *about;
	size_t n;           /* 1 to PKI_OCSP_IDS_MAX */
	bool sha256;        /* in the CertIDs; else SHA-1 */
	struct slice nonce; /* empty: none */
	int64_t from, until;
};
bool pki_ca_ocsp(struct pki_ca *c, const struct pki_ocsp_terms *t, uint8_t **ret, size_t *ret_n, struct err *err); /* DER, free() */

/* A statement that is not DER (it could be a certificate then): a checkpoint of the audit log. */
struct pki_signature {
	size_t n;
	uint8_t bytes[1024];
};
bool pki_ca_sign(struct pki_ca *c, struct slice statement, struct pki_signature *ret, struct err *err);

#endif
