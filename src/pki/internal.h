/* Private to pki/: the parts below the public calls, and libcrypto's objects with destructors. */
#ifndef PKI_INTERNAL_H
#define PKI_INTERNAL_H

#include <stdlib.h>
#include <unistd.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "pki/pki.h"
#include "token/token.h"

/* ---- locals that free themselves ---- */

#define PKI_CLEANUP(name, type, fn) \
	static inline void name##_cleanup(type *p) \
	{ \
		fn(*p); \
	}
PKI_CLEANUP(x509, X509 *, X509_free)
PKI_CLEANUP(pkey, EVP_PKEY *, EVP_PKEY_free)
PKI_CLEANUP(bio, BIO *, BIO_free_all)
PKI_CLEANUP(req, X509_REQ *, X509_REQ_free)
PKI_CLEANUP(crl, X509_CRL *, X509_CRL_free)
PKI_CLEANUP(basic, OCSP_BASICRESP *, OCSP_BASICRESP_free)
PKI_CLEANUP(ocsp_req, OCSP_REQUEST *, OCSP_REQUEST_free)
PKI_CLEANUP(ocsp_id, OCSP_CERTID *, OCSP_CERTID_free)
PKI_CLEANUP(gens, GENERAL_NAMES *, GENERAL_NAMES_free)
PKI_CLEANUP(mem, void *, free)
static inline void
str_cleanup(char **p)
{
	free(*p);
}
static inline void
fd_cleanup(int *fd)
{
	if (*fd != -1)
		close(*fd);
}
#define auto_x509 __attribute__((cleanup(x509_cleanup))) X509 *
#define auto_pkey __attribute__((cleanup(pkey_cleanup))) EVP_PKEY *
#define auto_bio __attribute__((cleanup(bio_cleanup))) BIO *
#define auto_req __attribute__((cleanup(req_cleanup))) X509_REQ *
#define auto_crl __attribute__((cleanup(crl_cleanup))) X509_CRL *
#define auto_basic __attribute__((cleanup(basic_cleanup))) OCSP_BASICRESP *
#define auto_ocsp_req __attribute__((cleanup(ocsp_req_cleanup))) OCSP_REQUEST *
#define auto_ocsp_id __attribute__((cleanup(ocsp_id_cleanup))) OCSP_CERTID *
#define auto_gens __attribute__((cleanup(gens_cleanup))) GENERAL_NAMES *
#define auto_str __attribute__((cleanup(str_cleanup))) char *
#define auto_fd __attribute__((cleanup(fd_cleanup))) int

/* <e> = ERR_SYSTEM "<what>: <libcrypto's oldest reason>"; the error queue is emptied. Returns false. */
bool crypto_err(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for input that libcrypto refuses (ERR_INPUT). */
bool crypto_input_err(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int64_t pki_clock(int64_t now); /* <now>, or the real time when it is 0 */

/* ---- text.c: what stands in certificates, as text ---- */

char *name_text(const X509_NAME *n);                  /* RFC 2253; free(); NULL: out of memory */
#define NO_TIME (INT64_MIN / 4)                       /* far in the past, and differences with it still fit */
int64_t time_of(const ASN1_TIME *t);                  /* seconds since 1970; NO_TIME when it is none */
const char *days_text(int64_t seconds, char out[32]); /* "3 days", "5 hours", "40 seconds"; of the absolute value */
ASN1_INTEGER *serial_of(struct slice bytes);           /* ASN1_INTEGER_free() */
size_t serial_bytes(const ASN1_INTEGER *s, uint8_t out[AUTHZ_SERIAL_MAX]); /* 0: too long or empty */
bool cert_fingerprint(const X509 *x, uint8_t out[32]);
bool spki_hash(const X509 *x, uint8_t out[32]);
/* The one CN of <n>, as UTF-8 without its terminator; false and <why> (follows "the common name ") when there is none, more
 * than one, or it is not fit to be an identity. <out>: free(). */
bool name_cn(const X509_NAME *n, char **ret, char *why, size_t cap);
bool cert_is_self_issued(const X509 *x);
/* "RSA 2048 bits", "EC P-256", …; returns out. */
const char *key_text(const EVP_PKEY *k, char *out, size_t cap);

/* ---- names.c ---- */

/* A name for subjectAltName. True: *ret_ip tells which kind. False: <why> in words that follow the name. */
bool host_ok(const char *host, bool *ret_ip, char *why, size_t cap);
/* Add <host> to <g> if it is not there yet. */
bool hosts_add(GENERAL_NAMES *g, const char *host, struct err *err);
/* Name of a CA's folder: [a-z0-9][a-z0-9_-]*, at most 32. */
bool ca_name_ok(const char *name);
/* As pki_cn_ok(), and usable as a folder's name: no leading dot or dash, no space at either end. */
bool new_cn_ok(const char *cn, char *why, size_t cap);

/* ---- pem.c: blocks of a file, with line numbers ---- */

struct pem_block {
	char label[64];      /* "CERTIFICATE" */
	unsigned line;       /* of its BEGIN */
	struct slice text;   /* from BEGIN to the end of the END line */
};
enum pem_result { PEM_NONE, PEM_BLOCK, PEM_BROKEN };
/* The next block of *rest, which moves behind it; *line counts. PEM_BROKEN: <err> says where. */
enum pem_result pem_next(struct slice *rest, unsigned *line, const char *name, struct pem_block *ret, struct err *err);
/* The DER of a block that holds no secret; OPENSSL_free(). */
bool pem_der(const struct pem_block *b, const char *name, uint8_t **ret, size_t *ret_n, struct err *err);
bool is_pem(struct slice file);
/* What a file that is not what was asked for is: "a certificate request", "an empty file", …; static. */
const char *pem_label_kind(const char *label);
const char *file_kind(struct slice file);
/* True when <der> is exactly one DER value; else <err> says how many bytes are missing or left over. */
bool der_whole(struct slice der, const char *name, struct err *err);

/* Parse what a file holds, PEM or DER. <name> stands in error texts. */
bool certs_parse(struct slice file, const char *name, STACK_OF(X509) **ret, struct err *err); /* one or more */
bool certs_read(const char *path, STACK_OF(X509) **ret, struct err *err);
X509 *cert_read_one(const char *path, struct err *err);
bool csr_parse(struct slice file, const char *name, X509_REQ **ret, struct err *err);
/* Each CRL of a file as DER, until <each> returns false. The file's bytes are written over. */
typedef bool crls_fn(void *ctx, struct slice der, struct err *err);
bool crls_parse(uint8_t *file, size_t n, const char *name, crls_fn *each, void *ctx, struct err *err);
/* The PEM of <n> certificates one after the other; free(). */
bool certs_pem(X509 *const *x, size_t n, char **ret, struct err *err);

/* ---- key.c ---- */

EVP_PKEY *key_new(enum pki_key_type t, struct err *err);
bool key_write(const char *path, const EVP_PKEY *k, const struct pki_secret *secret, const char *what, struct err *err);
/* In the place of one that is there, whose owner it keeps; not encrypted. */
bool key_replace(const char *path, const EVP_PKEY *k, struct err *err);
bool key_write_plain(const char *path, const EVP_PKEY *k, int flags, struct err *err); /* a device's, not encrypted; enum file_flags */
EVP_PKEY *key_parse(struct slice file, const char *name, const struct pki_secret *secret, const char *what, struct err *err);
EVP_PKEY *key_read(const char *path, const struct pki_secret *secret, const char *what, struct err *err);
/* May it be in a certificate of ours: RSA 2048 to 8192 in steps of 8, EC P-256, P-384, P-521. <why> follows "the key ". */
bool key_ok(const EVP_PKEY *k, char *why, size_t cap);
/* The digest that goes with the strength of a signing key. */
const EVP_MD *key_digest(const EVP_PKEY *k);

/* ---- cert.c: certificates by profile ---- */

enum profile { PROFILE_ROOT, PROFILE_ROLE_CA, PROFILE_SERVER, PROFILE_CLIENT, PROFILE_CFREE, PROFILE_OCSP, PROFILE_COUNT };
const char *profile_name(enum profile p);
unsigned profile_days(enum profile p);

struct cert_spec {
	enum profile profile;
	const char *cn, *org;         /* org may be NULL */
	const GENERAL_NAMES *san;     /* may be NULL or empty */
	EVP_PKEY *key;                /* the subject's */
	X509 *issuer;                 /* NULL: self-signed */
	EVP_PKEY *issuer_key;
	unsigned days;
	int64_t now;
	const char *crl_url, *ocsp_url, *issuers_url; /* for CRLDistributionPoints, AuthorityInfoAccess; NULL: none. url_ok() */
};
/* May it stand in a certificate: http:, no spaces, commas or other characters that mean something to libcrypto. */
bool url_ok(const char *url);
/* *ret_clipped: the end is the issuer's, not what was asked for. */
X509 *cert_make(const struct cert_spec *s, bool *ret_clipped, struct err *err);

/* ---- csr.c: what is kept of a request ---- */

struct csr_taken {
	EVP_PKEY *key;        /* owned */
	char *cn;             /* its CN if it has a usable one, else NULL; owned */
	char cn_fault[128];   /* why not: follows "it " */
	GENERAL_NAMES *san;   /* names and addresses that it asks for; owned, never NULL */
	char notes[512];      /* what was dropped, for people */
};
/* One more for people, behind those that are there; cut when it does not fit. */
void notes_add(char *notes, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool csr_take(X509_REQ *req, const char *name, struct csr_taken *ret, struct err *err);
void csr_taken_done(struct csr_taken *t);

/* ---- draft.c: one certificate by a profile, under a CA whose key is at hand ---- */

struct draft_wish {
	const char *cn;               /* NULL: the request's own */
	const char *const *hosts;
	size_t n_hosts;
	bool only_hosts;              /* the request's own are dropped */
	unsigned days;                /* 0: the profile's */
};
struct draft {
	X509 *ca;                     /* borrowed, with its key */
	EVP_PKEY *ca_key;
	enum profile profile;
	struct draft_wish wish;
	const char *crl_url, *ocsp_url, *issuers_url;
	int64_t now;
	EVP_PKEY *key;                /* of the subject; owned, as the next two */
	struct csr_taken csr;
	X509 *leaf;
	char notes[1024];
};
bool draft_request(struct draft *d, struct slice csr, struct err *err); /* takes key, name and hosts of it */
const char *draft_cn(const struct draft *d);                            /* NULL: the request has none that can be used */
bool draft_make(struct draft *d, struct err *err);                      /* the name has been looked at already */
void draft_done(struct draft *d);

/* ---- request.c ---- */

/* A request with this CN and these alternative names, signed with <k>. */
X509_REQ *req_make(const char *cn, const char *const *hosts, size_t n, EVP_PKEY *k, struct err *err);

/* ---- index.c: which certificates a CA issued; one event a line, append only ---- */

struct index {
	int fd; /* locked while open */
	struct pki_entry *entries;
	size_t n, cap;
	off_t seen; /* bytes of the file that are in <entries> */
	unsigned reads; /* how often index_resume() has read all of it */
	bool lean;  /* nothing is kept in memory; who has it locks and syncs */
};
bool index_open(struct index *x, const char *ca_dir, const char *ca, int64_t now, bool write, struct err *err);
void index_done(struct index *x);
const char *time_stamp(int64_t t, char out[32]);      /* "2026-01-31T12:00:00Z" */
/* Let others to it, and lock it again with what they have written: as index_done() and index_open(), without reading all of it again. */
void index_pause(struct index *x);
bool index_resume(struct index *x, const char *ca_dir, const char *ca, int64_t now, struct err *err);
bool index_issued(struct index *x, const struct pki_entry *e, struct err *err);
bool index_issued_all(struct index *x, const struct pki_entry *const *e, size_t n, struct err *err); /* all or none, with one sync */
bool index_mark(struct index *x, const char *serial, enum pki_status status, int64_t now, struct err *err);
bool index_revoke(struct index *x, const char *serial, int reason, int64_t now, struct err *err);

/* ---- home.c: the folder of an installation and its CAs ---- */

struct ca {
	char name[33];
	char dir[PKI_PATH_MAX];
	X509 *cert;
	EVP_PKEY *key;  /* NULL: not loaded */
	bool key_open;  /* the key file is readable by group or others */
	struct tkey *held;         /* of a key in a token */
	struct pki_tokens *tokens; /* our own process for it, or NULL */
};
bool home_path(char out[PKI_PATH_MAX], const char *dir, const char *name, struct err *err); /* canonical dir + "/name" */
bool home_check(const char *dir, struct err *err); /* has it an installation? */
bool ca_open(struct ca *ca, const char *dir, const char *name, bool with_key, const struct pki_secret *secret,
    struct err *err);
/* The same with its key, which may be in one of <tokens>; NULL: a process for it is started. */
bool ca_open_with(struct ca *ca, const char *dir, const char *name, const struct pki_secret *secret, const struct pki_tokens *tokens, struct err *err);
void ca_done(struct ca *ca);

/* ---- tkey.c: keys that a token holds; tokens.c: the processes that have them ---- */

struct tkey;
struct tkey *tkey_new(struct token *t, size_t index); /* NULL: out of memory */
void tkey_free(struct tkey *h);                        /* after its key; NULL is fine */
EVP_PKEY *tkey_of(struct tkey *h, EVP_PKEY *public, struct err *err); /* of that public key: tried */
EVP_PKEY *tkey_make(struct tkey *h, enum pki_key_type type, struct err *err);
bool token_uri_read(const char *ca_dir, char uri[static TOKEN_URI_MAX], struct err *err); /* "": its key is not in a token */
bool tokens_open(const struct pki_tokens *t, struct ca *ca, struct err *err); /* ca->key and ca->held of ca->cert */
/* For keys that are made: <base> with each of <names> as its object. */
struct pki_tokens *tokens_for_new(const char *base, const char *const *names, size_t n, const struct pki_secret *secret, struct err *err);
struct tkey *tokens_held(const struct pki_tokens *t, size_t i);
void tokens_unmake(const struct pki_tokens *t, size_t i);
/* Write a CA's folder: key, certificate, empty index. */
bool ca_write(const char *dir, EVP_PKEY *key, X509 *cert, const struct pki_secret *secret, const char *what,
    struct err *err);
bool ca_write_held(const char *dir, const char *uri, X509 *cert, struct err *err); /* the same for a key in a token */
/* Add a certificate to pki/ca.pem if it is not there, and a role_ca line to signet.conf (role not NONE). */
bool home_trust(const char *dir, X509 *cert, const char *cert_path, const char *role, struct err *err);
bool dir_sync(const char *path, struct err *err);
bool write_text(const char *dir, const char *name, const char *text, mode_t mode, int flags, struct err *err);

/* ---- issue.c, shared with install.c ---- */

/* Write key, chain and the trust anchor of one client or server into the (new) folder <dir>. <chain> is leaf, then its CAs. */
struct bundle {
	const EVP_PKEY *key;
	X509 *const *chain;
	size_t n_chain;
	X509 *anchor;
	int flags; /* enum file_flags */
};
bool bundle_write(const char *dir, const struct bundle *b, struct err *err);
/* Book a certificate in the index and keep a copy in <ca_dir>/certs/SERIAL.pem. */
bool cert_book(struct index *x, const char *ca_dir, const char *ca, X509 *leaf, enum profile p, const char *cn,
    struct err *err);

/* A copy of it in <ca_dir>/certs/SERIAL.pem. */
bool cert_copy(const char *ca_dir, X509 *leaf, const char *serial, int flags, struct err *err);
/* <made> gets its name <place>. What is there already is replaced only if <replace>: it is moved aside first. */
bool folder_swap(const char *made, const char *place, bool replace, struct err *err);

/* What the index keeps of <leaf>. */
bool entry_of(X509 *leaf, const char *ca, enum profile p, const char *cn, struct pki_entry *ret);

/* ---- note.c: one record in DIR/audit.log ---- */

bool note_certificate(const char *dir, const char *action, const struct pki_entry *e, struct err *err);
bool note_certificates(const char *dir, const char *action, const struct pki_entry *const *e, size_t n, struct err *err); /* with one sync */
bool note_ca(const char *dir, const char *action, const char *name, X509 *cert, struct err *err);
bool note_ocsp(const char *dir, const char *ca, const char *serial, const char *status, struct err *err);
bool note_crl(const char *dir, const char *ca, uint64_t number, size_t n, struct err *err);

/* ---- crl.c, ocsp.c ---- */

/* Exactly one answer in DER that is not a refusal. */
OCSP_BASICRESP *ocsp_parse(struct slice der, struct err *err);
bool ocsp_id_of(const OCSP_CERTID *cid, struct pki_ocsp_id *ret); /* false: with a digest or a serial number that is not taken */
/* Of the certificate <serial> of <ca>, with hashes by <md>. */
bool ocsp_id_for(const X509 *ca, const EVP_MD *md, struct slice serial, struct pki_ocsp_id *ret);
bool cert_ocsp_url(X509 *x, char out[static PKI_URL_MAX]);        /* the first http: URL of a responder in it */

/* ---- crl_make.c ---- */

struct crl_terms {
	int64_t from, until; /* the list ends with the CA at the latest */
	uint64_t number;
};
struct crl_draft {
	X509_CRL *crl; /* NULL: none is being made */
	X509 *ca;      /* borrowed */
	uint64_t number;
	size_t n;      /* entries so far */
};
bool crl_begin(struct crl_draft *d, X509 *ca, const struct crl_terms *t, struct err *err);
bool crl_add(struct crl_draft *d, struct slice serial, int64_t at, int reason, struct err *err);
X509_CRL *crl_finish(struct crl_draft *d, EVP_PKEY *key, struct err *err); /* also on failure the draft is gone */
void crl_drop(struct crl_draft *d);

#endif
