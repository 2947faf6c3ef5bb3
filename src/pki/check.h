/* Shared by bundle.c and check.c: findings, and what both ask of certificates. */
#ifndef PKI_CHECK_H
#define PKI_CHECK_H

#include "pki/internal.h"

enum { SOON_S = 30 * 86400 }; /* an end that is nearer than this is worth a word */

struct checking {
	pki_found *each;
	void *ctx;
	int64_t now;
};

/* Report. Returns false for faults. */
bool found(const struct checking *c, const struct pki_finding *f);
bool found_fine(const struct checking *c, enum pki_check check, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A fault with the words of <err>. */
bool found_err(const struct checking *c, enum pki_check check, const struct err *err, const char *remedy);

/* "the certificate CN=…": <out> holds 260 bytes. */
const char *cert_who(const X509 *x, char out[260]);
bool cert_signed_by(X509 *x, const X509 *ca); /* by name and key */
/* Expired, not yet valid: a fault; its end is near: a note. <fine>: say so when all is well. */
bool check_time_of(const struct checking *c, const X509 *x, bool fine);
bool check_usage_of(const struct checking *c, X509 *x, bool server);

#endif
