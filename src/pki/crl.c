/* The revocation lists that are in force, and which ones may take their place. A signature is verified once; a handshake costs a
 * look into a hash set for each certificate of the chain. */
#include "pki/crl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <openssl/err.h>

enum { FUTURE_SKEW_S = 300, FILES_MAX = 4096, COMPLAINT_MAX = 480 };

const char *
pki_reason_text(int reason)
{
	/* RFC 5280 5.3.1 */
	static const char *const text[] = { "unspecified", "key compromise", "CA compromise", "affiliation changed",
		"superseded", "cessation of operation", "on hold", "unknown", "removed from CRL", "privilege withdrawn",
		"AA compromise" };

	return reason >= 0 && (size_t)reason < ARRAY_LEN(text) ? text[reason] : "no reason given";
}

/* One reading of all files. */
struct loading {
	struct crl_set set;
	const struct crl_load *l;
	const char *file;
	bool broken; /* a file could not be read: what it had is kept, and that was said */
};

static bool
complain(struct crl_set *s, const char *text, struct err *err)
{
	char **v = reallocarray(s->complaints, s->n_complaints + 1, sizeof *v);

	if (v == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	s->complaints = v;
	v[s->n_complaints] = strdup(text);
	if (v[s->n_complaints] == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	s->n_complaints++;
	return true;
}

/* ---- which of two of one CA is in force ---- */

bool
crl_key(const struct crl *c, uint8_t ret[32])
{
	struct crl *m = (struct crl *)(uintptr_t)c; /* for its lock */
	bool known = c->verified;

	if (known) {
		memcpy(ret, c->issuer_key, 32);
		return true;
	}
	(void)pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->n_seen && !known; i++) {
		known = m->seen[i].good;
		if (known)
			memcpy(ret, m->seen[i].key, 32);
	}
	(void)pthread_mutex_unlock(&m->lock);
	return known;
}

static bool
same_ca(const struct crl *a, const struct crl *b)
{
	uint8_t key_a[32], key_b[32];
	bool known = crl_key(a, key_a);

	if (crl_key(b, key_b) != known)
		return false;
	return known ? memcmp(key_a, key_b, 32) == 0 : X509_NAME_cmp(a->issuer, b->issuer) == 0;
}

/* <0, 0, >0 as memcmp(); the shorter of two without leading zeros is the smaller. */
static int
compare_numbers(const struct crl *a, const struct crl *b)
{
	if (a->number_n != b->number_n)
		return a->number_n < b->number_n ? -1 : 1;
	return memcmp(a->number, b->number, a->number_n);
}

/* Why <c> may not take the place of <old>; "": it may. */
static const char *
why_not(const struct crl *c, const struct crl *old, int64_t now)
{
	bool numbered = c->number_n > 0 && old->number_n > 0;

	if (numbered && compare_numbers(c, old) < 0)
		return "its CRL number is lower than that of the one in force";
	if ((!numbered || compare_numbers(c, old) == 0) && c->last < old->last)
		return "it is older than the one in force";
	if (c->next <= now && old->next > now)
		return "it has expired, and the one in force has not";
	if (c->last > now + FUTURE_SKEW_S && old->last <= now + FUTURE_SKEW_S)
		return "it is from the future";
	return "";
}

static bool
push(struct crl_set *s, struct crl *c, struct err *err)
{
	struct crl **v = reallocarray(s->v, s->n + 1, sizeof(struct crl *));

	if (v == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	s->v = v;
	v[s->n++] = crl_ref(c);
	return true;
}

static struct crl **
find_ca(const struct crl_set *s, const struct crl *c)
{
	for (size_t i = 0; s != NULL && i < s->n; i++) {
		if (same_ca(s->v[i], c))
			return &s->v[i];
	}
	return NULL;
}

/* Put <c>, or what is in force instead of it, into the new set. */
static bool
settle(struct loading *x, struct crl *c, struct err *err)
{
	struct crl **old = find_ca(x->l->old, c), **mine = find_ca(&x->set, c);
	const char *why = "";
	char text[COMPLAINT_MAX];

	if (old != NULL && memcmp((*old)->digest, c->digest, sizeof c->digest) == 0)
		c = *old;
	else if (old != NULL)
		why = why_not(c, *old, x->l->now);
	if (why[0] != '\0') {
		(void)snprintf(text, sizeof text, "%s: the CRL of %s is not taken over: %s", x->file, c->issuer_text, why);
		return complain(&x->set, text, err) && (mine != NULL || push(&x->set, *old, err));
	}
	if (mine == NULL)
		return push(&x->set, c, err);
	/* A second one of this CA: the newer counts. */
	if (why_not(c, *mine, x->l->now)[0] == '\0') {
		crl_unref(*mine);
		*mine = crl_ref(c);
	}
	return true;
}

/* ---- one file ---- */

static bool
may_sign_lists(X509 *ca)
{
	return (X509_get_extension_flags(ca) & EXFLAG_KUSAGE) == 0 || (X509_get_key_usage(ca) & KU_CRL_SIGN) != 0;
}

/* Is there a CA of the CRL's issuer name, and does the key of one make the signature? */
static bool
try_signers(struct crl *c, struct slice der, STACK_OF(X509) *cas)
{
	bool named = false;

	for (int i = 0; i < sk_X509_num(cas) && !c->verified; i++) {
		X509 *ca = sk_X509_value(cas, i);

		if (X509_NAME_cmp(X509_get_subject_name(ca), c->issuer) != 0)
			continue;
		named = true;
		c->verified = may_sign_lists(ca) && crl_signed_by(der, X509_get0_pubkey(ca)) && spki_hash(ca, c->issuer_key);
	}
	return named;
}

/* False: the cafile has CAs of its issuer's name, but none signed it. */
static bool
find_signer(struct crl *c, struct slice der, const struct loading *x, struct err *err)
{
	bool named = try_signers(c, der, x->l->cas);

	/* Another CA of the same name can come with the next chain, so it is no fault when those that have come did not sign it. */
	if (!c->verified)
		(void)try_signers(c, der, x->l->brought);
	if (named && !c->verified)
		return err_set(err, ERR_INPUT, "%s: the CRL says that it is by %s, but that CA did not sign it", x->file,
		    c->issuer_text);
	if (c->verified)
		return true;
	/* Its CA may come with a chain: the whole is needed then. */
	c->raw = malloc(der.n);
	if (c->raw == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	memcpy(c->raw, der.p, der.n);
	c->raw_n = der.n;
	return true;
}

static bool
has_key(STACK_OF(X509) *cas, const uint8_t spki[32])
{
	uint8_t key[32];

	for (int i = 0; i < sk_X509_num(cas); i++) {
		if (spki_hash(sk_X509_value(cas, i), key) && memcmp(key, spki, 32) == 0)
			return true;
	}
	return false;
}

static bool
is_ours(const struct loading *x, const uint8_t spki[32])
{
	return has_key(x->l->cas, spki) || has_key(x->l->brought, spki);
}

/* The very same one, if it was read before and its CA is one of ours: a list of a million names is kept once. */
static struct crl *
known(const struct loading *x, const struct crl_set *s, const uint8_t digest[32])
{
	for (size_t i = 0; s != NULL && i < s->n; i++) {
		if (s->v[i]->verified && memcmp(s->v[i]->digest, digest, 32) == 0 && is_ours(x, s->v[i]->issuer_key))
			return s->v[i];
	}
	return NULL;
}

static bool
add_crl(void *ctx, struct slice der, struct err *err)
{
	struct loading *x = ctx;
	uint8_t digest[32];
	struct crl *c = NULL;
	bool ok;

	if (crl_digest(der, digest) &&
	    ((c = known(x, x->l->old, digest)) != NULL || (c = known(x, x->l->also, digest)) != NULL))
		return settle(x, c, err);
	c = crl_new(der, x->file, err);
	ok = c != NULL && find_signer(c, der, x, err) && settle(x, c, err);

	crl_unref(c);
	return ok;
}

static bool
load_file(struct loading *x, const char *path, struct err *err)
{
	size_t n, before = x->set.n;
	uint8_t *data;
	bool ok;

	x->file = path;
	ok = file_read(path, CRL_FILE_MAX, &data, &n, err);
	if (ok) {
		ok = crls_parse(data, n, path, add_crl, x, err);
		free(data);
	}
	if (ok || !x->l->lenient || err->code == ERR_MEMORY)
		return ok;
	x->broken = true;
	/* Nothing of a file that is damaged; what it brought before is kept with the rest that is missing. */
	while (x->set.n > before)
		crl_unref(x->set.v[--x->set.n]);
	return complain(&x->set, err->text, err);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files of a directory, sorted; hidden ones are somebody's temporary ones. */
static bool
list_dir(const char *path, char ***ret, size_t *ret_n, struct err *err)
{
	DIR *d = opendir(path);
	char **v = NULL, **more;
	size_t n = 0;
	bool ok = d != NULL || err_sys(err, "cannot read the directory %s", path);

	for (struct dirent *e; ok && d != NULL && (e = readdir(d)) != NULL;) {
		char full[PKI_PATH_MAX];
		struct stat st;

		if (e->d_name[0] == '.' || !path_join(full, sizeof full, path, e->d_name) || stat(full, &st) == -1 ||
		    !S_ISREG(st.st_mode))
			continue;
		more = reallocarray(v, n + 1, sizeof(char *));
		v = more != NULL ? more : v;
		ok = more != NULL && n < FILES_MAX && (v[n] = strdup(full)) != NULL;
		n += ok;
		if (!ok)
			(void)err_set(err, ERR_LIMIT, "%s: too many files for a directory of CRLs", path);
	}
	if (d != NULL)
		(void)closedir(d);
	if (n > 1)
		qsort(v, n, sizeof(char *), compare_names);
	*ret = v;
	*ret_n = n;
	return ok;
}

static bool
load_path(struct loading *x, const char *path, struct err *err)
{
	struct stat st;
	char **files = NULL;
	size_t n = 0;
	bool ok;

	if (stat(path, &st) == -1 || !S_ISDIR(st.st_mode))
		return load_file(x, path, err);
	x->set.partial = true;
	ok = list_dir(path, &files, &n, err);
	for (size_t i = 0; i < n; i++) {
		ok = ok && load_file(x, files[i], err);
		free(files[i]);
	}
	free(files);
	return ok;
}

/* ---- the set ---- */

/* A CRL that has vanished says nothing about those whom it revoked: it stays as long as its CA does. */
static bool
keep_missing(struct loading *x, struct err *err)
{
	const struct crl_set *old = x->l->old;
	char text[COMPLAINT_MAX];

	for (size_t i = 0; old != NULL && i < old->n; i++) {
		struct crl *c = old->v[i];
		uint8_t key[32];

		if (!crl_key(c, key) || find_ca(&x->set, c) != NULL || !is_ours(x, key))
			continue;
		(void)snprintf(text, sizeof text, "there is no good CRL of %s in the files any more", c->issuer_text);
		if (!push(&x->set, c, err) || (!x->broken && !complain(&x->set, text, err)))
			return false;
	}
	return true;
}

static bool
keep_names(struct crl_set *s, const struct crl_load *l, struct err *err)
{
	s->files = calloc(l->n_files > 0 ? l->n_files : 1, sizeof(char *));
	if (s->files == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (size_t i = 0; i < l->n_files; i++) {
		s->files[i] = strdup(l->files[i]);
		if (s->files[i] == NULL)
			return err_set(err, ERR_MEMORY, "out of memory");
		s->n_files++;
	}
	return true;
}

bool
crl_set_load(struct crl_set *s, const struct crl_load *l, struct err *err)
{
	struct loading x = { .l = l };
	bool ok = keep_names(&x.set, l, err);

	for (size_t i = 0; ok && i < l->n_files; i++)
		ok = load_path(&x, l->files[i], err);
	if (ok && l->n_files > 0)
		ok = keep_missing(&x, err);
	if (!ok) {
		crl_set_done(&x.set);
		return false;
	}
	*s = x.set;
	return true;
}

void
crl_set_done(struct crl_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		crl_unref(s->v[i]);
	for (size_t i = 0; i < s->n_files; i++)
		free(s->files[i]);
	for (size_t i = 0; i < s->n_complaints; i++)
		free(s->complaints[i]);
	free(s->v);
	free(s->files);
	free(s->complaints);
	*s = (struct crl_set){ 0 };
}

bool
crl_set_same(const struct crl_set *a, const struct crl_set *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		size_t k = 0;

		while (k < b->n && b->v[k] != a->v[i])
			k++;
		if (k == b->n)
			return false;
	}
	return true;
}

/* ---- questions ---- */

/* Its CA came with the chain, in a configuration that trusts a root alone: the signature is verified when the key is first seen. */
static bool
seen_with(const struct crl *c, const uint8_t key[32], EVP_PKEY *pkey)
{
	struct crl *m = (struct crl *)(uintptr_t)c; /* what is remembered changes nothing of what is said */
	bool good = false;
	unsigned i;

	(void)pthread_mutex_lock(&m->lock);
	for (i = 0; i < m->n_seen && memcmp(m->seen[i].key, key, 32) != 0; i++)
		;
	if (i < m->n_seen)
		good = m->seen[i].good;
	(void)pthread_mutex_unlock(&m->lock);
	if (i < m->n_seen || pkey == NULL)
		return good;
	good = crl_signed_by(slice_of(c->raw, c->raw_n), pkey);
	(void)pthread_mutex_lock(&m->lock);
	/* The good one is never driven out: a CRL has one signer. */
	for (i = 0; i < m->n_seen && m->seen[i].good; i++)
		;
	if (m->n_seen < CRL_KEYS_SEEN)
		i = m->n_seen++;
	if (i < m->n_seen) {
		memcpy(m->seen[i].key, key, 32);
		m->seen[i].good = good;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return good;
}

static bool
is_by(const struct crl *c, const uint8_t key[32], EVP_PKEY *pkey)
{
	return c->verified ? memcmp(c->issuer_key, key, 32) == 0 : seen_with(c, key, pkey);
}

static enum pki_cause
cause_of(const struct crl_answer *a, bool revoked, int64_t now, int64_t grace)
{
	int64_t until;

	if (revoked)
		return PKI_BAD_REVOKED;
	if (!num_add(a->crl->next, grace, &until))
		until = INT64_MAX;
	if (until <= now)
		return PKI_BAD_CRL_EXPIRED;
	return a->crl->last > now + FUTURE_SKEW_S ? PKI_BAD_CRL_FUTURE : PKI_OK;
}

struct crl_answer
crl_ask(const struct crl_set *s, const X509 *cert, X509 *issuer, int64_t now, int64_t grace)
{
	struct crl_answer a = { .cause = PKI_BAD_CRL_MISSING };
	uint8_t key[32], serial[AUTHZ_SERIAL_MAX];
	size_t n = serial_bytes(X509_get0_serialNumber(cert), serial);

	if (issuer == NULL || !spki_hash(issuer, key))
		return a;
	for (size_t i = 0; i < s->n; i++) {
		const struct crl *c = s->v[i];

		if (X509_NAME_cmp(c->issuer, X509_get_issuer_name(cert)) != 0)
			continue;
		if (!is_by(c, key, may_sign_lists(issuer) ? X509_get0_pubkey(issuer) : NULL))
			a.cause = a.crl == NULL ? PKI_BAD_CRL_SIGNATURE : a.cause;
		else if (a.crl == NULL || c->last > a.crl->last)
			a.crl = c;
	}
	if (a.crl != NULL)
		a.cause = cause_of(&a, crl_find(a.crl, slice_of(serial, n), &a.entry), now, grace);
	else if (s->partial)
		a.cause = PKI_OK;
	return a;
}

const struct crl *
crl_of_key(const struct crl_set *s, const uint8_t key[32])
{
	for (size_t i = 0; i < s->n; i++) {
		if (is_by(s->v[i], key, NULL))
			return s->v[i];
	}
	return NULL;
}

bool
crl_has_unknown(const struct crl_set *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (!s->v[i]->verified)
			return true;
	}
	return false;
}

void
crl_meet(const struct crl_set *s, X509 *ca, const uint8_t key[32])
{
	for (size_t i = 0; i < s->n; i++) {
		if (X509_NAME_cmp(s->v[i]->issuer, X509_get_subject_name(ca)) == 0 && may_sign_lists(ca))
			(void)is_by(s->v[i], key, X509_get0_pubkey(ca));
	}
}

struct crl_answer
crl_ask_key(const struct crl_set *s, const uint8_t key[32], struct slice serial, int64_t now, int64_t grace)
{
	struct crl_answer a = { .cause = PKI_OK, .crl = crl_of_key(s, key) };

	if (a.crl == NULL)
		a.cause = s->n > 0 && !s->partial ? PKI_BAD_CRL_MISSING : PKI_OK;
	else
		a.cause = cause_of(&a, crl_find(a.crl, serial, &a.entry), now, grace);
	return a;
}
