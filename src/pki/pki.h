/* Keys, certificates, and who a peer is: the installation's certificate authorities (create, issue, sign, list), the
 * look into files, and the judgement of a certificate in a TLS handshake. Never uses libssl. */
#ifndef PKI_PKI_H
#define PKI_PKI_H

#include "authz/authz.h"
#include "base/err.h"
#include "base/slice.h"

struct x509_st;
struct x509_store_ctx_st;
struct evp_pkey_st;

/* ---- names and keys ---- */

enum {
	PKI_CN_MAX = 64,         /* characters, X.520 ub-common-name */
	PKI_PASSPHRASE_MIN = 4,  /* as the openssl command has it */
	PKI_PASSPHRASE_MAX = 1024,
	PKI_PATH_MAX = 4096,
	PKI_FILE_MAX = 1 << 20,  /* largest certificate, request or key file that is read */
};

/* May <cn> name a device: 1 to 64 characters of valid UTF-8, no control characters, none of "/ + #" (they would change the
 * meaning of a topic). On false <why> says what is wrong, in words that follow "the common name ". */
bool pki_cn_ok(struct slice cn, char *why, size_t cap);

enum pki_key_type {
	PKI_P256, PKI_P384, PKI_P521, PKI_RSA2048, PKI_RSA3072, PKI_RSA4096, PKI_RSA8192,
	PKI_KEY_TYPES
};
const char *pki_key_type_name(enum pki_key_type t); /* "p256", "rsa2048", …; static */
bool pki_key_type_parse(struct slice name, enum pki_key_type *ret);

/* Where passphrases come from. get() is called when a key needs one: writes it NUL-terminated into <buf> (the caller wipes
 * it); <what> names the key for a prompt; <creating>: ask twice. */
struct pki_secret {
	bool (*get)(void *ctx, const char *what, bool creating, char *buf, size_t cap, struct err *err);
	void *ctx;
};

/* ---- an installation: a folder with signet.conf, pki/ and clients/ (docs/pki.md has the layout) ---- */

struct pki_install {
	const char *dir;
	const char *const *hosts;     /* the broker's names and IP addresses; the first is its CN */
	size_t n_hosts;
	uint16_t port;                /* 0 = 8883 */
	enum pki_key_type key_type;
	const struct pki_secret *secret; /* NULL: CA keys are written unencrypted */
	const char *policy;           /* NULL = "springcore" */
	const char *tenant;           /* of devices whose common name is their id alone: DIR/dojot.policy says it and uses <policy>. NULL: no such file */
	unsigned workers;             /* 0 = one a core */
	const char *pkcs11;           /* CA keys are made in this token (RFC 7512, without object); <secret> gives its PIN. NULL: in files */
	uint16_t api_port;            /* of control's API by HTTPS; 0: none */
	int64_t now;                  /* 0 = the clock */
	/* With <api_port>: what else is to be in DIR, made in <folder>, which becomes DIR when all of it is there; registry/ is there. NULL: nothing. */
	bool (*also)(void *ctx, const char *folder, struct err *err);
	void *ctx;
};
/* Make the whole installation or nothing: what is there already is never touched (ERR_EXISTS), and a failure removes
 * everything that was begun. */
bool pki_install(const struct pki_install *i, struct err *err);

/* An order for one certificate. Subject, key usage and extended key usage come from the profile of the CA, never from a CSR. */
struct pki_order {
	const char *dir;              /* of the installation */
	const char *ca;               /* "client", "watch", "control", "cloud" or an adopted CA's name */
	const char *cn;               /* NULL with a CSR: the CSR's own, which must pass pki_cn_ok() */
	const char *const *hosts;     /* for subjectAltName: DNS names and IP addresses */
	size_t n_hosts;
	struct slice csr;             /* PEM or DER; empty: a key is made too */
	enum pki_key_type key_type;
	unsigned days;                /* 0 = the profile's; always clipped to the CA's end */
	bool server;                  /* of an adopted CA: a server's certificate (the cloud CA always makes these) */
	bool ocsp;                    /* a certificate for an OCSP responder of this CA */
	bool reissue;                 /* replace a live certificate of the same name */
	bool overlap;                 /* with it: the old one stays live until somebody revokes it as superseded */
	const char *out;              /* without CSR: folder (NULL = clients/CN or servers/CN); with: file (NULL = none) */
	const struct pki_secret *secret; /* NULL: an encrypted CA key is an error */
	int64_t now;                  /* 0 = the clock */
};
struct pki_issued {
	char serial[41], fingerprint[65];
	char cn[4 * PKI_CN_MAX + 1];
	int64_t not_before, not_after;
	char place[PKI_PATH_MAX];     /* folder or file written; empty: none */
	char *pem;                    /* leaf and its intermediate; free() */
	char notes[1024];             /* what a person should know, a line each: clipped validity, dropped wishes, open key file */
};
bool pki_issue(const struct pki_order *o, struct pki_issued *ret, struct err *err);

/* Many of them. CA and index are opened once; a turn of at most PKI_SERIES_MAX has a handful of syncs for all that is in it, and others have the
 * index meanwhile; but one series at a time (ERR_EXISTS). <o>: what holds of all (its cn is not looked at), clients' folders only; borrowed until pki_series_free(). What a run that was killed had booked
 * and not put in its place is put there now, and what it had not booked is taken away, so that nothing is made twice and no key is lost. NULL and <err>. */
enum { PKI_SERIES_MAX = 200 };
struct pki_series;
struct pki_series *pki_series_new(const struct pki_order *o, struct err *err);
struct pki_series_one {
	const char *cn;                  /* in; what follows comes out */
	bool had;                        /* it has its folder and a live certificate already: nothing was done */
	char serial[41], fingerprint[65]; /* of the certificate that it has now, if <why> is ERR_OK */
	int64_t not_after;
	struct err why;
};
/* A turn. False: nobody in it has got anything, and it makes no sense to go on. */
bool pki_series_issue(struct pki_series *s, struct pki_series_one *v, size_t n, struct err *err);
void pki_series_free(struct pki_series *s); /* NULL is fine */

enum pki_status { PKI_LIVE, PKI_EXPIRED, PKI_REPLACED, PKI_DROPPED, PKI_REVOKED };
const char *pki_status_name(enum pki_status s);
struct pki_entry {
	char ca[33], serial[41], fingerprint[65], profile[16];
	char cn[4 * PKI_CN_MAX + 1];
	int64_t not_before, not_after;
	enum pki_status status;
	int64_t revoked_at; /* with PKI_REVOKED */
	int reason;         /* CRLReason; 0: not given */
};
/* Every certificate that the installation's CAs issued (<ca> NULL: all of them), oldest first in each CA. */
bool pki_list(const char *dir, const char *ca, int64_t now, void (*each)(void *ctx, const struct pki_entry *e), void *ctx,
    struct err *err);
/* One line of pki/CA/index.txt, without its end. MARKED: serial, and status since <revoked_at> with <reason>. False: damaged. */
enum pki_index_what { PKI_INDEX_NOTHING, PKI_INDEX_ISSUED, PKI_INDEX_MARKED };
bool pki_index_line(struct slice line, enum pki_index_what *ret_what, struct pki_entry *ret);
/* Take certificates back and write the CA's revocation list to DIR/crls/CA.pem, where it takes the place of the old one at once. */
#define PKI_REASONS "unspecified keyCompromise cACompromise affiliationChanged superseded cessationOfOperation certificateHold privilegeWithdrawn"
bool pki_reason_parse(struct slice name, int *ret); /* one of these, as a CRLReason */
const char *pki_reason_text(int reason);            /* a CRLReason in words, "no reason given" for -1; static */
struct pki_revocation {
	const char *dir, *ca;
	const char *what;      /* every certificate of this common name, or the one of this serial number; NULL: only the list anew */
	const char *cert_file; /* instead of it: this certificate, which <ca> must have issued */
	int reason;
	unsigned days;         /* for which the list is good; 0: until the CA's end */
	const struct pki_secret *secret;
	int64_t now;           /* 0 = the clock */
};
struct pki_revoked {
	unsigned n;              /* certificates; 0: they were revoked already */
	char path[PKI_PATH_MAX]; /* of the list */
};
bool pki_revoke(const struct pki_revocation *r, struct pki_revoked *ret, struct err *err);
/* The names of the CAs ("root", "cloud", … and adopted ones), sorted. */
bool pki_each_ca(const char *dir, void (*each)(void *ctx, const char *name), void *ctx, struct err *err);

/* Take over an existing CA: <key_file> and <cert_file> are checked (belong together, a CA, not expired, key strong enough)
 * and copied to pki/<name>/; it is trusted from then on and can issue. <role> may be NONE. The key is written encrypted
 * unless <new_secret> is NULL. */
struct pki_adopt {
	const char *dir, *name, *key_file, *cert_file;
	enum authz_role role;
	const struct pki_secret *secret, *new_secret;
	int64_t now;
};
bool pki_adopt(const struct pki_adopt *a, struct err *err);

/* The private keys of all CAs to <out>/CA.pem, for a backup: those that are encrypted as they are, others encrypted with the passphrase that <secret> gives.
 * Those in tokens and elsewhere are left out. */
bool pki_key_is_encrypted(struct slice pem); /* without its passphrase nothing can be told of it */
bool pki_keys_save(const char *dir, const char *out, const struct pki_secret *secret, unsigned *ret_n, struct err *err);

/* Trust a CA whose key is elsewhere, and give what it issues a role: copied to pki/trusted/<role>-<name>.pem, added to
 * pki/ca.pem and as a role_ca line to signet.conf. <role>: "client", …, "factory". <name> NULL: made from its CN. <ret_path> holds PKI_PATH_MAX. */
bool pki_trust_add(const char *dir, const char *cert_file, const char *role, const char *name, char *ret_path,
    struct err *err);

/* A CA's certificate, for devices and other programs: PEM or DER; <chain>: with the CAs above it (PEM only). free(). */
bool pki_export(const char *dir, const char *ca, bool der, bool chain, uint8_t **ret, size_t *ret_n, struct err *err);

/* A key that is made in memory, and a request (DER) for its certificate. The key's own memory is wiped at the end. */
struct pki_pair {
	struct evp_pkey_st *key;
	uint8_t *csr;
	size_t csr_n;
};
bool pki_pair_make(enum pki_key_type t, const char *cn, struct pki_pair *ret, struct err *err);
bool pki_pair_key(const struct pki_pair *p, uint8_t **ret, size_t *ret_n, struct err *err); /* PKCS#8, DER; secret_free() */
void pki_pair_done(struct pki_pair *p); /* of zeros is fine */

/* Is it a request that a CA here would take (PEM or DER, signature, key)? *ret_pem: the same as PEM; free(). */
bool pki_request_check(struct slice csr, char **ret_pem, struct err *err);
/* SHA-256 of the key (SubjectPublicKeyInfo) in such a request. */
bool pki_request_key(struct slice csr, uint8_t ret[static 32], struct err *err);
/* SHA-256 of the first certificate in <pem>. False: there is none. */
bool pki_fingerprint(struct slice pem, uint8_t ret[static 32]);

/* The other side: a key and a request for a certificate of one's own, in files (RFC 2986). */
struct pki_request {
	const char *cn;                /* passes pki_cn_ok() */
	const char *const *hosts;      /* for subjectAltName: DNS names and IP addresses */
	size_t n_hosts;
	enum pki_key_type key_type;    /* of a key that is made */
	const char *key_file, *csr_file; /* what is there already is used, and has to belong together */
};
struct pki_requested {
	bool key_made, csr_made;
	char *base64;                  /* the request's DER in one line; free() */
};
/* The key is written with mode 0600, both files atomically. */
bool pki_request(const struct pki_request *r, struct pki_requested *ret, struct err *err);
/* Is <cert> (PEM or DER) for the key in <key_file>, with the common name <cn>, and signed by <ca> (PEM or DER)? False says
 * what is not. *ret_pem: the certificate as PEM; free(). */
bool pki_answer_check(const struct pki_request *r, struct slice cert, struct slice ca, char **ret_pem, struct err *err);

/* A server's own certificate, kept good by whoever has its key. */
enum { PKI_OWN_NAMES_MAX = 64, PKI_WHY_MAX = 320 };
struct pki_own {
	const char *cert_file, *key_file;
	const char *const *names;      /* that it shall have, the first is its CN; none: those that it has */
	size_t n_names;                /* at most PKI_OWN_NAMES_MAX */
	bool new_key;                  /* with each new certificate; else the key stays */
	int64_t now;                   /* 0 = the clock */
};
enum pki_own_state {
	PKI_OWN_GOOD,
	PKI_OWN_DUE,      /* it works, and is to be replaced: other names, or 30 days or a third of its time are left */
	PKI_OWN_UNUSABLE, /* missing, damaged, expired, or of another key */
};
/* <why>: in words that follow the file's name, unless it is good. */
enum pki_own_state pki_own_look(const struct pki_own *o, char why[static PKI_WHY_MAX]);
struct pki_own_request {
	char cn[4 * PKI_CN_MAX + 1];
	char *names[PKI_OWN_NAMES_MAX];
	size_t n_names;
	uint8_t *csr; /* DER */
	size_t csr_n;
	void *key;    /* the new one, until its certificate is there */
};
/* ERR_MISSING: there is neither a certificate nor a name. */
bool pki_own_ask(const struct pki_own *o, struct pki_own_request *ret, struct err *err);
/* <leaf> (DER) is the answer, <issuer> (PEM) its CA's certificate, which goes behind it: checked against key and names, and written, with the
 * new key. Owners of the files stay. */
bool pki_own_take(const struct pki_own *o, const struct pki_own_request *q, struct slice leaf, struct slice issuer, struct err *err);
void pki_own_request_done(struct pki_own_request *q);

/* Key and certificates in one file (RFC 7292): AES-256, PBKDF2 with SHA-256. */
struct pki_pkcs12 {
	struct slice key, certs, ca; /* PEM or DER; the first of <certs> belongs to the key */
	const char *name;            /* as it is shown to people */
	const char *password;
};
bool pki_pkcs12(const struct pki_pkcs12 *p, uint8_t **ret, size_t *ret_n, struct err *err); /* *ret: free() */
/* The first certificate of <file> (PEM or DER) as DER; free(). <name> stands in error texts. */
bool pki_first_der(struct slice file, const char *name, uint8_t **ret, size_t *ret_n, struct err *err);

/* Is <signature> over <statement> by the key of a certificate in <cert_file> (PEM or DER; one or more), with the digest that goes
 * with that key? For checkpoints of the audit log. */
bool pki_signed_by(const char *cert_file, struct slice statement, struct slice signature, struct err *err);
bool pki_signed_by_der(struct slice cert, struct slice statement, struct slice signature, struct err *err); /* of one certificate */

/* ---- look into a file ---- */

struct pki_view {
	void (*begin)(void *ctx, const char *kind, unsigned line); /* "certificate", "private key", …; line 0: DER */
	void (*field)(void *ctx, const char *name, const char *value, bool many); /* many: one of a list */
	void *ctx;
	const struct pki_secret *secret; /* opens what is encrypted; NULL: it is only said that it is */
};
/* Everything in <file> (PEM bundle, DER, PKCS#12, PKCS#7, OCSP response). False at the first thing that cannot be read: <err> says what it is instead or
 * where it breaks; what stands before it was shown. */
bool pki_inspect(struct slice file, const char *name, int64_t now, const struct pki_view *view, struct err *err);

/* ---- look at a server's certificate, as a client does ---- */

/* The CN of <cert> as UTF-8; false: none, or it does not fit. */
bool pki_common_name(const struct x509_st *cert, char *out, size_t cap);
/* Is <cert> for <host>, a name or an address (RFC 6125 6.4)? The CN counts only without alternative names. */
bool pki_names_host(struct x509_st *cert, const char *host);
/* Its names, "a, b, 10.0.0.1", safe to show; "no name at all". */
void pki_list_names(struct x509_st *cert, char *out, size_t cap);
/* Where one goes whose certificate is the first in <file> (PEM): its first DNS name without a wildcard, else its first address ("192.0.2.7",
 * "[::1]"). False: it has none, it does not fit, or it cannot be read. */
bool pki_host_of(const char *file, char *out, size_t cap);

/* ---- checks for "signet doctor": one finding after the other, up to the first fault ---- */

enum pki_level { PKI_FINE, PKI_NOTE, PKI_FAULT };
enum pki_check { PKI_CHECK_FILES, PKI_CHECK_CHAIN, PKI_CHECK_NAME, PKI_CHECK_TIME, PKI_CHECK_USAGE, PKI_CHECK_REVOCATION };
struct pki_finding {
	enum pki_check check;
	enum pki_level level;
	char text[480];   /* one sentence, safe to show */
	char remedy[320]; /* one sentence; empty when all is well */
};
typedef void pki_found(void *ctx, const struct pki_finding *f);

/* What a client or server shows to its peer. */
struct pki_bundle {
	const char *cert, *key, *ca; /* files; <key> and <ca> may be NULL: not looked at */
	const char *client_id;       /* that it connects with; NULL: not known */
	bool server;
	int64_t now;                 /* 0 = the clock */
};
/* Files, pair, order of the chain, names, time, usage. True: no fault. */
bool pki_check_bundle(const struct pki_bundle *b, pki_found *each, void *ctx);
/* The same for a file of trusted CAs, as a client or a broker has it. */
bool pki_check_cas(const char *file, int64_t now, pki_found *each, void *ctx);

/* What a broker has sent in a TLS handshake that nobody has judged yet. */
struct pki_server {
	const struct slice *chain; /* DER, the broker's own first */
	size_t n;
	const char *host;          /* that was asked for; NULL: names are not compared (a unix socket) */
	const char *ca_file;       /* NULL: the CAs of the operating system */
	const char *crl_file;      /* NULL: no CRL is looked at */
	bool asked;                /* for a stapled OCSP response */
	struct slice staple;       /* what came of it, DER; empty: nothing */
	int64_t now;
};
/* Chain, name, time, usage, revocation by CRL and by what is stapled. True: no fault. */
bool pki_check_server(const struct pki_server *s, pki_found *each, void *ctx);

/* ---- OCSP (RFC 6960): what a responder says of a certificate, and answers of our own ---- */

struct pki_trust;

enum {
	PKI_OCSP_REQUEST_MAX = 16 << 10,
	PKI_OCSP_RESPONSE_MAX = 64 << 10,
	PKI_OCSP_IDS_MAX = 64,    /* certificates in one request */
	PKI_OCSP_NONCE_MAX = 128, /* bytes, RFC 9654 2.1 */
	PKI_OCSP_HASH_MAX = 64,
	PKI_OCSP_SKEW_S = 300,    /* by which the clocks of two machines may differ */
	PKI_OCSP_NO_END_S = 600,  /* for so long an answer without nextUpdate is good */
};
enum pki_ocsp_status { PKI_OCSP_GOOD, PKI_OCSP_REVOKED, PKI_OCSP_UNKNOWN };
const char *pki_ocsp_status_name(enum pki_ocsp_status s); /* "good", …; static */

struct pki_ocsp_answer {
	enum pki_ocsp_status status;
	int64_t this_update, until; /* until: nextUpdate; without one PKI_OCSP_NO_END_S after thisUpdate */
	int64_t revoked_at;         /* REVOKED */
	int reason;                 /* REVOKED: CRLReason, -1 not given */
};
/* A request about the certificate <serial> of <issuer>, with a nonce: DER, free(). Any thread. */
bool pki_ocsp_ask(const struct x509_st *issuer, struct slice serial, uint8_t **ret, size_t *ret_n, struct err *err);
struct pki_ocsp_question {
	struct x509_st *issuer;
	struct slice serial;
	struct slice request;           /* what pki_ocsp_ask() made; empty: the answer was made beforehand for everybody */
	const struct pki_trust *trust;  /* whose CRLs a responder's certificate without ocsp-nocheck is looked up in; may be NULL */
	int64_t now;                    /* 0 = the clock */
};
/* What <der> says of it. It must be signed by the issuer's key or by a certificate that this key has signed for OCSP (4.2.2.2), in
 * its time, and have our nonce if it has any. False and a sentence in <err> otherwise, also when the responder refuses (tryLater, …). */
bool pki_ocsp_judge(struct slice der, const struct pki_ocsp_question *q, struct pki_ocsp_answer *ret, struct err *err);
/* What we show to others and want an answer for: the first certificate of <cert_file>, with its issuer from there or from <ca_file>
 * (may be NULL). Both are the caller's, pki_cert_free(). <url> gets the responder named in it, "" if there is none. */
enum { PKI_URL_MAX = 512 };
bool pki_ocsp_subject(const char *cert_file, const char *ca_file, struct x509_st **ret_cert, struct x509_st **ret_issuer,
    char url[static PKI_URL_MAX], struct err *err);
struct x509_st *pki_cert_ref(struct x509_st *cert);
struct slice pki_cert_serial(const struct x509_st *cert, uint8_t buf[static AUTHZ_SERIAL_MAX]); /* empty: too long */
bool pki_cert_must_staple(const struct x509_st *cert); /* RFC 7633 */
void pki_cert_free(struct x509_st *cert); /* NULL is fine; counted */

/* The other side. Which certificate is meant: by the hashes of its issuer's name and key. */
struct pki_ocsp_id {
	int digest; /* libcrypto's number: SHA-1, SHA-256, SHA-384 or SHA-512 */
	uint8_t hash_n, serial_n;
	uint8_t name_hash[PKI_OCSP_HASH_MAX], key_hash[PKI_OCSP_HASH_MAX], serial[AUTHZ_SERIAL_MAX];
};
struct pki_ocsp_request {
	unsigned n;
	uint8_t nonce_n; /* 0: none */
	uint8_t nonce[PKI_OCSP_NONCE_MAX];
	struct pki_ocsp_id ids[PKI_OCSP_IDS_MAX];
};
/* A request as it stands in a URL (RFC 6960 A.1): base64, with %XX in it. False: it is not that, or longer than <cap>. */
enum { PKI_OCSP_PATH_MAX = 4096 };
bool pki_ocsp_from_path(struct slice path, uint8_t *out, size_t cap, size_t *ret_n);
/* Of exactly one request in DER. A signature of the requester is not looked at. */
bool pki_ocsp_parse_request(struct slice der, struct pki_ocsp_request *ret, struct err *err);
bool pki_ocsp_is_of(const struct pki_ocsp_id *id, const struct x509_st *issuer);
struct pki_ocsp_single {
	const struct pki_ocsp_id *id;
	enum pki_ocsp_status status;
	int64_t revoked_at; /* REVOKED, as the next */
	int reason;         /* -1: not given */
};
struct pki_ocsp_signing {
	struct x509_st *cert;     /* the issuer's own, or of its delegate: this one is sent along */
	struct evp_pkey_st *key;
	struct slice nonce;       /* empty: none */
	int64_t this_update, next_update;
};
/* One answer about <n> certificates, DER, free(). <cert> must be a CA's, or have extended key usage OCSPSigning. */
bool pki_ocsp_sign(const struct pki_ocsp_signing *s, const struct pki_ocsp_single *v, size_t n, uint8_t **ret, size_t *ret_n,
    struct err *err);
/* Write to <out> what the CA <ca> of the installation <dir> says of the first certificate in <cert_file>, by its index and signed by its own key. */
struct pki_ocsp_order {
	const char *dir, *ca, *cert_file, *out;
	unsigned days;           /* for which it is good; 0: 7 */
	const struct pki_secret *secret;
	int64_t now;             /* 0 = the clock */
};
struct pki_ocsp_made {
	enum pki_ocsp_status status;
	int64_t from, until;
	char serial[2 * AUTHZ_SERIAL_MAX + 1];
};
bool pki_ocsp_make(const struct pki_ocsp_order *o, struct pki_ocsp_made *ret, struct err *err);
/* One that only refuses, unsigned (4.2.1). */
enum pki_ocsp_refusal { PKI_OCSP_MALFORMED = 1, PKI_OCSP_INTERNAL = 2, PKI_OCSP_TRY_LATER = 3, PKI_OCSP_UNAUTHORIZED = 6 };
bool pki_ocsp_refuse(enum pki_ocsp_refusal why, uint8_t **ret, size_t *ret_n, struct err *err);

/* ---- EST (RFC 7030, RFC 8951) ---- */

enum { PKI_EST_REQUEST_MAX = 16 << 10, PKI_EST_CHALLENGE_MAX = 256 };
struct pki_est_request {
	char cn[4 * PKI_CN_MAX + 1];            /* "": none that can be used */
	bool has_challenge;                     /* challengePassword: what binds it to a connection */
	char challenge[PKI_EST_CHALLENGE_MAX];
	bool wants_sealed;                      /* a key that the server makes is to be encrypted for it */
	bool key_known;                         /* it has a key of <key>'s kind, one on a curve; RSA otherwise */
	enum pki_key_type key;
};
/* The body of a request: base64 with white space anywhere. False: it is not that, or longer than <cap>, or out of memory. */
bool pki_est_decode(struct slice body, uint8_t *out, size_t cap, size_t *ret_n);
/* The other way, in lines; free(). NULL: out of memory. */
char *pki_est_encode(struct slice der);
/* Exactly one request (DER) that a CA here would take: its signature, key and names are checked. */
bool pki_est_read(struct slice der, struct pki_est_request *ret, struct err *err);
/* Is it for the subject and the subjectAltName of <cert> (RFC 7030 4.2.2)? */
bool pki_est_same_subject(struct slice der, const struct x509_st *cert, struct err *err);
/* Certificates (DER) in a PKCS#7 with nothing else; DER, free(). */
bool pki_est_certs(const struct slice *ders, size_t n, uint8_t **ret, size_t *ret_n, struct err *err);

#include "pki/authority.h"

/* ---- judge a peer ---- */

struct pki_role_ca {
	enum authz_role role;
	const char *file; /* one CA certificate, PEM or DER */
	bool factory;     /* a maker's: see pki_trust_is_factory() */
};
struct pki_trust_config {
	const char *ca_file;              /* the listener's cafile, or NULL (capath alone) */
	bool more_anchors;                /* handshakes know CAs beside those of ca_file (capath) */
	const struct pki_role_ca *roles;
	size_t n_roles;
	const char *const *crl_files;     /* files or directories; none: revocation is not checked */
	size_t n_crl_files;
	const struct pki_trust *previous; /* its CRLs stay in force where what is read may not take their place; NULL: none */
	const struct pki_trust *also;     /* may have read the same lists already, so that they are kept once; NULL: none */
	int64_t crl_grace;                /* seconds for which a CRL is good after its end */
	int64_t now;                      /* 0 = the clock */
	bool require_cn;                  /* use_identity_as_username: a certificate without a usable CN is refused */
	bool ignore_dates;                /* disable_client_cert_date_checks */
	bool ocsp;                        /* accepted peers say whom to ask about them */
	bool quarantine;                  /* who would only be refused for his own certificate's dates is AUTHZ_ROLE_QUARANTINE */
};

/* Immutable, counted across threads; a reload makes a new one. NULL and <err> (naming the file) on any failure. */
struct pki_trust;
struct pki_trust *pki_trust_new(const struct pki_trust_config *c, struct err *err);
struct pki_trust *pki_trust_ref(struct pki_trust *t);
/* The role of what the CA with this key issues; the key as in authz_facts. */
enum authz_role pki_trust_role(const struct pki_trust *t, const uint8_t spki[32]);
/* Is it a factory's? Its certificates prove where a device comes from and no name that is ours: who lets them in knows each of them by its
 * fingerprint, so none is refused for want of a revocation list. */
bool pki_trust_is_factory(const struct pki_trust *t, const uint8_t spki[32]);
void pki_trust_unref(struct pki_trust *t); /* NULL is fine */

/* The same with the revocation lists read again. Those of a file that cannot be read stay; so does each whose successor is
 * forged, older (CRL number, else date), expired or from the future, or missing. NULL: out of memory. Blocks; any thread. */
struct pki_trust *pki_trust_renew(const struct pki_trust *old, const struct pki_trust *also, int64_t now, struct err *err);
/* What was not taken over when <t> was made, a sentence each, naming the file. */
void pki_trust_complaints(const struct pki_trust *t, void (*each)(void *ctx, const char *text), void *ctx);
/* The CA with this key, of the cafile or of a chain that was accepted, or NULL; pki_cert_free(). */
struct x509_st *pki_trust_ca(const struct pki_trust *t, const uint8_t key[32]);
/* The lists that are in force. */
struct pki_crl {
	const char *issuer;   /* RFC 2253 */
	char number[41];      /* in hex; "": it has none */
	int64_t last, next;   /* next INT64_MAX: it has no end */
	uint32_t revoked;     /* entries */
	bool known;           /* its CA stands in the cafile, or came with a chain; else it counts for chains that bring it */
};
/* The CAs that clients' certificates may come from, each once. */
struct pki_ca_facts {
	const char *subject, *serial_hex; /* RFC 2253 */
	int64_t not_after;
};
void pki_trust_cas(const struct pki_trust *t, void (*each)(void *ctx, const struct pki_ca_facts *c), void *ctx);
void pki_trust_crls(const struct pki_trust *t, void (*each)(void *ctx, const struct pki_crl *c), void *ctx);
bool pki_trust_same_crls(const struct pki_trust *a, const struct pki_trust *b);
/* Who is revoked under <now> and was not under <old>: the key of the issuer and the serial number. False: <each> ended it, or
 * there are CRLs of which that cannot be said. */
bool pki_trust_news(const struct pki_trust *old, const struct pki_trust *now,
    bool (*each)(void *ctx, const uint8_t key[32], struct slice serial), void *ctx);

enum pki_cause {
	PKI_OK,
	PKI_BAD_EXPIRED, PKI_BAD_NOT_YET,         /* also of a CA: depth > 0 */
	PKI_BAD_REVOKED,
	PKI_BAD_CRL_EXPIRED, PKI_BAD_CRL_MISSING, PKI_BAD_CRL_FUTURE, PKI_BAD_CRL_SIGNATURE,
	PKI_BAD_ISSUER_UNKNOWN,                   /* nobody here knows the issuer's name */
	PKI_BAD_ISSUER_OTHER_KEY,                 /* the name is known, the key is another */
	PKI_BAD_INTERMEDIATE_MISSING,             /* one of ours, but the chain has a hole */
	PKI_BAD_SUBJECT_IS_ISSUER,                /* a leaf that bears its CA's name */
	PKI_BAD_SELF_SIGNED,
	PKI_BAD_USAGE,                            /* EKU without clientAuth, key usage without digitalSignature */
	PKI_BAD_IS_CA,                            /* a CA's own certificate used as a client's */
	PKI_BAD_NOT_A_CA,                         /* signed by something that may not sign, or too deep */
	PKI_BAD_SIGNATURE,
	PKI_BAD_WEAK,                             /* key too small or digest broken */
	PKI_BAD_CN,                               /* missing, twice, or not fit to be an identity */
	PKI_BAD_CA_WITHDRAWN,                     /* its CA was trusted, and is not any more */
	PKI_BAD_ROLE_CHANGED,                     /* its CA gives another role now */
	PKI_BAD_OTHER,                            /* text has libcrypto's words */
	PKI_CAUSES
};
const char *pki_cause_name(enum pki_cause c); /* "expired", "issuer-unknown", …; static, for metrics and tests */

/* What was learned of a peer, whether accepted or not. Strings are safe to log. */
struct pki_peer {
	enum pki_cause cause;
	int depth;                   /* whom the cause is about: 0 = the peer's own certificate */
	int error;                   /* X509_V_ERR_…, also set in the X509_STORE_CTX (it chooses the TLS alert) */
	char text[480];              /* one sentence: what is wrong; empty when accepted */
	char remedy[320];            /* one sentence: what to do */
	char *subject, *issuer;      /* RFC 2253, of the peer's own certificate; never NULL */
	char *cn;                    /* NULL: none that passes pki_cn_ok() */
	char cn_fault[96];           /* why cn is NULL */
	uint8_t serial[AUTHZ_SERIAL_MAX];
	size_t serial_n;
	char serial_hex[2 * AUTHZ_SERIAL_MAX + 1];
	uint8_t fingerprint[32];     /* SHA-256 of the certificate */
	int64_t not_before, not_after;
	/* Only when accepted: from the verified chain. */
	enum authz_role role;        /* NONE when the issuing CA has none */
	uint8_t issuer_key[32];      /* SHA-256 of the issuing CA's SubjectPublicKeyInfo */
	int64_t valid_until;         /* the earliest end in the chain; 0: dates are not looked at */
	uint8_t chain[AUTHZ_CHAIN_MAX]; /* the CAs above: authz_chain_next() */
	size_t chain_n;
	/* Only with pki_trust_config.ocsp: what a responder is asked with. NULL: nothing to ask, as the certificate stands in the cafile itself. */
	struct x509_st *issuer_cert;
	char *ocsp_url;              /* the responder in it; NULL: none */
};
/* Verify the chain in <ctx> (as the callback of SSL_CTX_set_cert_verify_callback gets it) and say who it is. True: accepted.
 * <ret> is set in both cases, NULL only when out of memory (and then refused). Any thread. */
bool pki_judge(const struct pki_trust *t, struct x509_store_ctx_st *ctx, struct pki_peer **ret);
/* Judge again what was accepted once, from its facts: revocation of the whole chain, its end, a CA that was taken away, a role that
 * is another one. <fresh>: for a new connection, so that a CRL that has expired or is missing counts too. */
struct pki_standing {
	enum pki_cause cause;
	char text[200]; /* in words, when it is not PKI_OK */
};
bool pki_judge_again(const struct pki_trust *t, const struct authz_facts *f, int64_t now, bool fresh, struct pki_standing *ret);
/* For a session ticket: what nobody could find out of an accepted peer's certificate alone. Bytes written; 0: he must not have one (in
 * quarantine, or refused), since he is to be judged whole each time. Any thread. */
enum { PKI_VOUCHER_MAX = 42 + AUTHZ_CHAIN_MAX };
size_t pki_peer_vouch(const struct pki_peer *p, uint8_t out[static PKI_VOUCHER_MAX]);
/* Who comes back with a ticket: judged by what holds now, as pki_judge_again() does for a new connection, and stricter where only his whole
 * chain could tell. False: let him show it; <why> says what is against him. <ret> is set on success only. Any thread. */
struct pki_returned {
	struct x509_st *leaf;  /* the certificate of the first handshake */
	struct slice voucher;  /* of pki_peer_vouch() */
	int64_t now;           /* 0 = the clock */
};
bool pki_judge_resumed(const struct pki_trust *t, const struct pki_returned *who, struct pki_peer **ret, struct pki_standing *why);
/* A hash of whom <t> (NULL: nobody) lets in and as what, but for revocation, and of <also>: a ticket holds where it is the same. False: out
 * of memory. */
bool pki_trust_scope(const struct pki_trust *t, struct slice also, uint8_t ret[32]);
void pki_peer_free(struct pki_peer *p); /* NULL is fine */
/* The facts of an accepted peer, borrowed from <p>; username is the CN (or the subject: <use_subject>), .p NULL without. */
void pki_peer_facts(const struct pki_peer *p, bool use_subject, struct authz_facts *ret);

#endif
