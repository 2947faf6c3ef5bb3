/* Private to pki/: what inspect.c and inspect_bundle.c share. */
#ifndef PKI_INSPECT_H
#define PKI_INSPECT_H

#include "pki/internal.h"

struct look {
	const struct pki_view *v;
	const char *name;
	int64_t now;
	struct err *err;
};

static inline void
look_begin(const struct look *l, const char *kind, unsigned line)
{
	l->v->begin(l->v->ctx, kind, line);
}
static inline void
look_put(const struct look *l, const char *name, const char *value)
{
	l->v->field(l->v->ctx, name, value, false);
}
/* One thing each, with its heading. <k> NULL: encrypted. */
void look_cert(const struct look *l, X509 *x, unsigned line);
void look_crl(const struct look *l, X509_CRL *c, unsigned line);
void look_key(const struct look *l, const EVP_PKEY *k, unsigned line);

/* ---- inspect_bundle.c ---- */

/* False: it is no PKCS#7, and nothing was shown. */
bool look_pkcs7(const struct look *l, struct slice der, unsigned line);
/* False: it is no PKCS#12. Else *ret_ok: it was shown; false with l->err: the passphrase is wrong, or it is damaged. */
bool look_pkcs12(const struct look *l, struct slice der, bool *ret_ok);

/* ---- inspect_ocsp.c ---- */

/* Where its revocation is told: AIA and CRL distribution points (RFC 5280 4.2.1.13, 4.2.2.1). */
void look_places(const struct look *l, const X509 *x);
/* False: it is no OCSP response, and nothing was shown. */
bool look_ocsp(const struct look *l, struct slice der);

#endif
