/* A CA whose key is in memory, for the signer: opened once from its folder, then no file is opened any more. */
#include "pki/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <openssl/err.h>

/* Ten seconds; and who answers in the CA's name may do so for no longer than an answer of the CA itself is good, since nobody asks whether
 * he was revoked. */
enum { LOCK_TRIES = 2000, LOCK_PAUSE_NS = 5000000, RESPONDER_DAYS = 7 };

struct pki_ca {
	struct ca ca;
	struct index index;  /* lean */
	uint8_t *der;
	int der_n;
	bool written;        /* the index, and not synced yet */
};

static const struct {
	const char *name;
	enum profile profile;
} leaf_profiles[] = { { "client", PROFILE_CLIENT }, { "server", PROFILE_SERVER }, { "cfree", PROFILE_CFREE }, { "ocsp", PROFILE_OCSP } };

static bool
profile_find(struct slice name, enum profile *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(leaf_profiles); i++) {
		if (slice_eq(name, slice_str(leaf_profiles[i].name))) {
			*ret = leaf_profiles[i].profile;
			return true;
		}
	}
	return false;
}

bool
pki_profile_known(struct slice name)
{
	enum profile p;

	return profile_find(name, &p);
}

bool
pki_url_ok(const char *url)
{
	return url_ok(url);
}

struct pki_ca *
pki_ca_open(const char *dir, const char *name, const struct pki_secret *secret, const struct pki_tokens *tokens, struct err *err)
{
	struct pki_ca *c = calloc(1, sizeof *c);
	char path[PKI_PATH_MAX];
	bool ok;

	if (c == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	c->index = (struct index){ .fd = -1, .lean = true };
	ok = ca_open_with(&c->ca, dir, name, secret, tokens, err);
	if (ok && !path_join(path, sizeof path, c->ca.dir, "index.txt"))
		ok = err_set(err, ERR_LIMIT, "%s: path too long", c->ca.dir);
	if (ok) {
		c->index.fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
		c->der_n = i2d_X509(c->ca.cert, &c->der);
		ok = c->index.fd != -1 || err_sys(err, "cannot open %s", path);
	}
	if (ok && c->der_n > 0)
		return c;
	pki_ca_free(c);
	return NULL;
}

void
pki_ca_free(struct pki_ca *c)
{
	if (c == NULL)
		return;
	ca_done(&c->ca);
	index_done(&c->index);
	OPENSSL_free(c->der);
	free(c);
}

const char *
pki_ca_name(const struct pki_ca *c)
{
	return c->ca.name;
}

struct slice
pki_ca_der(const struct pki_ca *c)
{
	return slice_of(c->der, (size_t)c->der_n);
}

/* ---- issue ---- */

static bool
check_name(const struct draft *d, struct err *err)
{
	const char *cn = draft_cn(d);
	char why[128], shown[4 * PKI_CN_MAX];

	if (cn == NULL)
		return err_set(err, ERR_INPUT, "the common name of the request cannot be used, it %s", d->csr.cn_fault);
	return pki_cn_ok(slice_str(cn), why, sizeof why) ||
	    err_set(err, ERR_INPUT, "\"%s\" cannot be the name of a certificate: the common name %s",
		text_show(slice_str(cn), shown, sizeof shown), why);
}

/* "http://host/crl/%c" with the CA's name; NULL stays NULL. */
static const char *
url_for(const struct pki_ca *c, const char *form, char out[512])
{
	const char *at = form != NULL ? strstr(form, "%c") : NULL;

	if (at == NULL)
		return form;
	(void)snprintf(out, 512, "%.*s%s%s", (int)(at - form), form, c->ca.name, at + 2);
	return out;
}

static bool
make(struct pki_ca *c, struct draft *d, const struct pki_wish *w, struct pki_made *ret, struct err *err)
{
	uint8_t *der = NULL;
	int n;

	if (!draft_request(d, w->csr, err) || !check_name(d, err) || !draft_make(d, err))
		return false;
	if (!entry_of(d->leaf, c->ca.name, d->profile, draft_cn(d), &ret->entry) || (n = i2d_X509(d->leaf, &der)) <= 0)
		return crypto_err(err, "cannot encode the certificate");
	ret->der = der;
	ret->der_n = (size_t)n;
	(void)snprintf(ret->notes, sizeof ret->notes, "%s", d->notes);
	return true;
}

bool
pki_ca_make(struct pki_ca *c, const struct pki_wish *w, struct pki_made *ret, struct err *err)
{
	struct draft d = { .ca = c->ca.cert, .ca_key = c->ca.key, .now = pki_clock(w->now),
		.wish = { .cn = w->cn, .hosts = w->names, .n_hosts = w->n_names, .only_hosts = w->only_names, .days = w->days } };
	char crl[512], ocsp[512], issuers[512], responder[64];
	bool ok;

	if (!profile_find(slice_str(w->profile), &d.profile))
		return err_set(err, ERR_MISSING, "there is no such profile");
	if (d.profile == PROFILE_OCSP && w->cn != NULL)
		return err_set(err, ERR_DENIED, "the profile ocsp is for responders, and for nobody who has a name of his own");
	/* More than the profile's is clipped; the CA's own end clips the rest. */
	d.wish.days = w->days == 0 ? 0 : NUM_MIN(w->days, profile_days(d.profile));
	if (d.profile == PROFILE_OCSP) {
		/* A colon behind what is no tenant: no device has such a name. */
		(void)snprintf(responder, sizeof responder, "OCSP responder: %s", c->ca.name);
		d.wish = (struct draft_wish){ .cn = responder, .only_hosts = true, .days = RESPONDER_DAYS };
	}
	d.crl_url = url_for(c, w->crl_url, crl);
	d.ocsp_url = url_for(c, w->ocsp_url, ocsp);
	d.issuers_url = url_for(c, w->issuers_url, issuers);
	ok = make(c, &d, w, ret, err);
	draft_done(&d);
	return ok;
}

void
pki_made_done(struct pki_made *m)
{
	OPENSSL_free(m->der);
	*m = (struct pki_made){ .der = NULL };
}

/* ---- the index ---- */

static bool
lock(struct pki_ca *c, struct err *err)
{
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };

	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(c->index.fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(err, "cannot lock the index of %s", c->ca.name);
		(void)nanosleep(&pause, NULL);
	}
	return err_set(err, ERR_LIMIT, "the index of %s is locked by another program for more than ten seconds", c->ca.name);
}

bool
pki_ca_book(struct pki_ca *c, const struct pki_entry *e, struct err *err)
{
	bool ok;

	if (!lock(c, err))
		return false;
	ok = index_issued(&c->index, e, err);
	(void)flock(c->index.fd, LOCK_UN);
	c->written = c->written || ok;
	return ok;
}

bool
pki_ca_mark(struct pki_ca *c, const char *serial, int reason, int64_t at, struct err *err)
{
	bool ok;

	if (!lock(c, err))
		return false;
	ok = reason < 0 ? index_mark(&c->index, serial, PKI_LIVE, at, err) : index_revoke(&c->index, serial, reason, at, err);
	(void)flock(c->index.fd, LOCK_UN);
	c->written = c->written || ok;
	return ok;
}

bool
pki_ca_sync(struct pki_ca *c, struct err *err)
{
	if (c->written && fsync(c->index.fd) == -1)
		return err_sys(err, "cannot sync the index of %s", c->ca.name);
	c->written = false;
	return true;
}

/* ---- revocation ---- */

struct pki_crl_draft {
	struct crl_draft d;
	EVP_PKEY *key;
};

struct pki_crl_draft *
pki_crl_begin(struct pki_ca *c, int64_t from, int64_t until, uint64_t number, struct err *err)
{
	struct crl_terms t = { from, until, number };
	struct pki_crl_draft *p = calloc(1, sizeof *p);

	if (p == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	if (crl_begin(&p->d, c->ca.cert, &t, err)) {
		p->key = c->ca.key;
		return p;
	}
	free(p);
	return NULL;
}

bool
pki_crl_add(struct pki_crl_draft *p, struct slice serial, int64_t at, int reason, struct err *err)
{
	return crl_add(&p->d, serial, at, reason, err);
}

void
pki_crl_drop(struct pki_crl_draft *p)
{
	if (p != NULL)
		crl_drop(&p->d);
	free(p);
}

bool
pki_crl_end(struct pki_crl_draft *p, uint8_t **ret, size_t *ret_n, struct err *err)
{
	X509_CRL *crl = crl_finish(&p->d, p->key, err);
	unsigned char *at;
	int n = crl != NULL ? i2d_X509_CRL(crl, NULL) : 0;

	free(p);
	*ret = n > 0 ? at = malloc((size_t)n) : NULL;
	if (*ret != NULL)
		*ret_n = (size_t)i2d_X509_CRL(crl, &at);
	else if (crl != NULL)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	X509_CRL_free(crl);
	return *ret != NULL;
}

bool
pki_ca_ocsp(struct pki_ca *c, const struct pki_ocsp_terms *t, uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct pki_ocsp_id ids[PKI_OCSP_IDS_MAX];
	struct pki_ocsp_single singles[PKI_OCSP_IDS_MAX];
	struct pki_ocsp_signing s = { .cert = c->ca.cert, .key = c->ca.key, .nonce = t->nonce, .this_update = t->from, .next_update = t->until };

	if (t->n < 1 || t->n > PKI_OCSP_IDS_MAX)
		return err_set(err, ERR_LIMIT, "an OCSP response is about 1 to %d certificates", PKI_OCSP_IDS_MAX);
	for (size_t i = 0; i < t->n; i++) {
		const struct pki_ocsp_about *a = &t->about[i];

		if (!ocsp_id_for(c->ca.cert, t->sha256 ? EVP_sha256() : EVP_sha1(), a->serial, &ids[i]))
			return crypto_err(err, "cannot name a certificate of the CA %s", c->ca.name);
		singles[i] = (struct pki_ocsp_single){ &ids[i], a->status, a->revoked_at, a->reason };
	}
	return pki_ocsp_sign(&s, singles, t->n, ret, ret_n, err);
}

bool
pki_ca_sign(struct pki_ca *c, struct slice statement, struct pki_signature *ret, struct err *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = sizeof ret->bytes;
	/* What is DER could be a certificate. */
	bool ok = statement.n > 0 && statement.p[0] != 0x30 && ctx != NULL &&
	    EVP_DigestSignInit(ctx, NULL, key_digest(c->ca.key), NULL, c->ca.key) == 1 &&
	    EVP_DigestSign(ctx, ret->bytes, &n, statement.p, statement.n) == 1;

	EVP_MD_CTX_free(ctx);
	ret->n = ok ? n : 0;
	return ok || crypto_err(err, "cannot sign with the key of the CA %s", c->ca.name);
}
