/* How control asks the signer: typed requests over one end of a SOCK_SEQPACKET socketpair, answers by callback. No event
 * loop of its own: the caller watches signer_client_fd(). One thread. Include it as signer/signer.h. */
#ifndef SIGNER_CLIENT_H
#define SIGNER_CLIENT_H

#include "base/err.h"
#include "base/slice.h"

enum {
	SIGNER_NAMES_MAX = 64,       /* wishes for subjectAltName in one request */
	SIGNER_CSR_MAX = 16 << 10,   /* bytes of a certificate request, DER */
	SIGNER_OCSP_MAX = 64,        /* certificates in one OCSP response */
	SIGNER_NONCE_MAX = 32,       /* RFC 9654 2.1 */
	SIGNER_SERIAL_MAX = 20,      /* RFC 5280 4.1.2.2 */
	SIGNER_DETAILS_MAX = 16,     /* of one audit record */
	SIGNER_WAITING_MAX = 4096,   /* requests without an answer; more are refused (ERR_LIMIT) */
	SIGNER_OCSP_DAYS_MAX = 7,    /* for which an OCSP response may be good */
};

struct signer_client;

/* Takes <fd> over: it is set non-blocking, and closed by signer_client_free(). NULL: out of memory, and <fd> is the caller's. */
struct signer_client *signer_client_new(int fd);
/* Requests without an answer get none any more: no callback runs. NULL is fine. */
void signer_client_free(struct signer_client *c);
int signer_client_fd(const struct signer_client *c);
/* Is it to be watched for room to write, too? Ask again after each call here. For reading it is watched always. */
bool signer_client_wants_write(const struct signer_client *c);
/* Read and write what can be without waiting; callbacks run from here and nowhere else, and may ask again. False: the signer
 * has gone (<err>). Every request that had no answer has got ERR_SYSTEM then; a new one may be made of the next socket
 * that the supervisor hands over. What was signed and not answered stands in the CA's index and the audit log. */
bool signer_client_ready(struct signer_client *c, struct err *err);
/* Requests that have no answer yet. */
size_t signer_client_waiting(const struct signer_client *c);

/* All requests: what they refer to is copied before the call returns. False: not sent (<err> says why), <done> does not run.
 * <done> gets a NULL result and the reason when the signer refuses: ERR_DENIED the profile forbids it, ERR_INPUT the request
 * is not what it should be, ERR_LIMIT too many at once (ask again in a second), ERR_MISSING no such CA or profile, ERR_SYSTEM
 * no answer. Results are borrowed for the time of the callback. <actor> is who asked control for it, at most 128 bytes:
 * the audit log has it as "control/<actor>". */

/* ---- one certificate ---- */

struct signer_issue {
	const char *ca;           /* "client", "watch", "control", "cloud", or an adopted one */
	const char *profile;      /* "client", "server", "cfree", "ocsp" (a responder's, 7 days at most); NULL: the first that the CA has */
	const char *cn;           /* pki_cn_ok(); NULL: the request's own */
	const char *const *names; /* DNS names and IP addresses for subjectAltName, beside those of the request */
	size_t n_names;
	bool only_names;          /* those of the request are dropped */
	struct slice csr;         /* DER or PEM */
	unsigned days;            /* 0: the profile's; never more than the profile's, nor than the CA has left */
	const char *actor;
};
struct signer_issued {
	const char *serial, *fingerprint; /* lower-case hex; SHA-256 */
	const char *cn;                   /* as it stands in the certificate */
	int64_t not_before, not_after;    /* seconds since 1970 */
	struct slice der;
	const char *notes;                /* what was dropped or clipped, a line each; "" */
};
typedef void signer_issued_fn(void *ctx, const struct signer_issued *ret, const struct err *err);
bool signer_issue(struct signer_client *c, const struct signer_issue *q, signer_issued_fn *done, void *ctx, struct err *err);

/* ---- revocation ---- */

/* Said of one certificate. It is booked in the CA's index and the audit log before the answer; lists and OCSP responses are
 * made of what the caller says in their requests. */
struct signer_revoke {
	const char *ca, *serial; /* lower-case hex */
	int reason;              /* CRLReason; 6: on hold; -1: it is good again (only after 6) */
	int64_t at;              /* seconds since 1970; 0: now */
	const char *actor;
};
typedef void signer_done_fn(void *ctx, bool ok, const struct err *err);
bool signer_revoke(struct signer_client *c, const struct signer_revoke *q, signer_done_fn *done, void *ctx, struct err *err);

struct signer_entry {
	uint8_t serial[SIGNER_SERIAL_MAX];
	uint8_t serial_n;
	int8_t reason;     /* CRLReason; 0: not said. In OCSP also -1: not revoked, -2: not known here */
	int64_t at;        /* when it was revoked */
};
struct signer_crl {
	const char *ca;
	const struct signer_entry *entries; /* all of them, at most 4,000,000 */
	size_t n;
	uint64_t number;   /* CRL number: above that of the list before */
	unsigned days;     /* for which it is good; 0: until the CA's end */
	const char *actor;
};
typedef void signer_der_fn(void *ctx, struct slice der, const struct err *err); /* empty: refused */
bool signer_crl(struct signer_client *c, const struct signer_crl *q, signer_der_fn *done, void *ctx, struct err *err);

/* A whole OCSPResponse (RFC 6960 4.2.1, status successful), signed by the CA itself, responder by key. */
struct signer_ocsp {
	const char *ca;
	const struct signer_entry *entries;
	size_t n;              /* 1 to SIGNER_OCSP_MAX */
	bool sha256;           /* the digest in the CertIDs, as the request had it; else SHA-1 */
	struct slice nonce;    /* empty: none (a response that is cached has none) */
	unsigned good_for;     /* seconds until nextUpdate; 1 to SIGNER_OCSP_DAYS_MAX days */
	const char *actor;
};
bool signer_ocsp(struct signer_client *c, const struct signer_ocsp *q, signer_der_fn *done, void *ctx, struct err *err);

/* ---- what there is ---- */

struct signer_ca {
	const char *name;
	const char *profiles;  /* that it issues by, separated by spaces, the first is the usual one; "": none (the root) */
	struct slice der;      /* its certificate */
	bool away;             /* its key is elsewhere: nothing is signed with it */
};
/* <n> 0: refused. */
typedef void signer_cas_fn(void *ctx, const struct signer_ca *cas, size_t n, const struct err *err);
bool signer_cas(struct signer_client *c, signer_cas_fn *done, void *ctx, struct err *err);

/* ---- the audit log ---- */

struct signer_detail {
	const char *name, *value; /* UTF-8; at most 64 and 1024 bytes */
};
struct signer_record {
	const char *actor, *action, *object; /* UTF-8; at most 128, 64 and 512 bytes */
	const struct signer_detail *details;
	size_t n_details;                    /* at most SIGNER_DETAILS_MAX */
};
/* The record's number in the log and its hash (64 hex digits); it is on the disk. NULL hash: refused. */
typedef void signer_logged_fn(void *ctx, uint64_t n, const char *hash, const struct err *err);
bool signer_log(struct signer_client *c, const struct signer_record *q, signer_logged_fn *done, void *ctx, struct err *err);
/* A checkpoint now. The signer makes one by itself at start and end, after 1000 records and after a minute. */
bool signer_checkpoint(struct signer_client *c, signer_logged_fn *done, void *ctx, struct err *err);

#endif
