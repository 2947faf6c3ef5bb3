/* For the tests of pki/: certificates of every bad kind, made in memory. */
#ifndef PKI_TESTCA_H
#define PKI_TESTCA_H

#include "pki/internal.h"

enum { T_NOW = 1800000000, T_DAY = 86400 }; /* 2027-01-15 08:00 UTC */

struct t_want {
	const char *cn, *org;
	int cn_type;               /* MBSTRING_UTF8 (0) or a V_ASN1_… type with raw bytes */
	int cn_len;                /* of raw bytes; 0: strlen */
	bool two_cns, v1;
	const char *constraints, *usage, *extended, *san; /* NULL: no such extension */
	bool no_ids;               /* no SKI and AKI */
	const char *digest;        /* NULL: SHA256 */
	int64_t from, to;          /* 0: a year around T_NOW */
	EVP_PKEY *key;             /* NULL: made */
	X509_NAME *subject;        /* instead of cn and org */
};
struct t_cert {
	X509 *x;
	EVP_PKEY *key;
};
/* <by> NULL: self-signed. Fails the test when anything fails. */
struct t_cert t_make(const struct t_want *w, const struct t_cert *by);
struct t_cert t_root(const char *cn);
struct t_cert t_sub(const char *cn, const struct t_cert *by);
struct t_cert t_leaf(const char *cn, const struct t_cert *by);
void t_done(struct t_cert *c);

/* Files in a new folder under $TMPDIR, removed by t_dir_done(). */
struct t_dir {
	char path[256];
};
void t_dir_init(struct t_dir *d);
void t_dir_done(struct t_dir *d);
const char *t_path(const struct t_dir *d, const char *name, char out[512]);
void t_put(const struct t_dir *d, const char *name, struct slice data);
void t_put_certs(const struct t_dir *d, const char *name, const struct t_cert *c, size_t n);
void t_put_key(const struct t_dir *d, const char *name, EVP_PKEY *k);
/* A CRL by <by> that revokes <victim> (or nothing). */
X509_CRL *t_crl(const struct t_cert *by, const X509 *victim, int64_t last, int64_t next, int reason);
struct t_crl_want {
	const struct t_cert *by;
	const X509 *victims[4];
	long number;     /* 0: none */
	int64_t last, next;
	int reason;
	size_t more;     /* as many made-up serial numbers beside the victims' */
	bool delta;
};
X509_CRL *t_crl_of(const struct t_crl_want *w);
void t_put_crl(const struct t_dir *d, const char *name, X509_CRL *c);
/* A handshake at T_NOW with a listener whose cafile is <ca_file>: <leaf> must be accepted. */
struct pki_peer *t_accepted(const struct t_dir *d, const struct pki_trust *t, const char *ca_file, X509 *leaf, X509 *sent);
/* Run a program; its exit code, its standard output in <out>. No shell. */
int t_run(const char *const argv[], char *out, size_t cap);

#endif
