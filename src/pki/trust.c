/* Whom a listener trusts, prepared once: the CAs by name, the keys that give roles, the revocations. Immutable and shared. */
#include "pki/check.h"
#include "pki/trust.h"

#include <stdio.h>
#include <openssl/err.h>

static bool
add_role(struct pki_trust *t, const struct pki_role_ca *r, struct err *err)
{
	struct role_key *p = reallocarray(t->roles, t->n_roles + 1, sizeof *p);
	X509 *x;

	if (p == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	t->roles = p;
	p += t->n_roles;
	x = cert_read_one(r->file, err);
	if (x == NULL)
		return false;
	if (sk_X509_push(t->role_cas, x) <= 0) {
		X509_free(x);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	/* A leaf here would give its role to nobody; that is a mistake to tell, not to keep. */
	if (X509_check_ca(x) == 0)
		return err_set(err, ERR_INPUT, "%s: is not the certificate of a CA and cannot give the role \"%s\"", r->file,
		    authz_role_name(r->role));
	if (!spki_hash(x, p->spki))
		return crypto_err(err, "%s: cannot read the key", r->file);
	for (size_t i = 0; i < t->n_roles; i++) {
		if (memcmp(t->roles[i].spki, p->spki, 32) == 0 && (t->roles[i].role != r->role || t->roles[i].factory != r->factory))
			return err_set(err, ERR_INPUT, "%s: the key of this CA has the role \"%s\" already; one key gives one role",
			    r->file, t->roles[i].factory ? "factory" : authz_role_name(t->roles[i].role));
	}
	p->role = r->role;
	p->factory = r->factory;
	t->n_roles++;
	return true;
}

/* With trusted intermediates a chain ends below the root; whether the intermediate itself was revoked is the root's CRL's to
 * say, so remember who issued whom. */
static bool
find_issuers(struct pki_trust *t, struct err *err)
{
	int n = sk_X509_num(t->cas);

	t->issuers = calloc(n > 0 ? (size_t)n : 1, sizeof(X509 *));
	t->ca_keys = calloc(n > 0 ? (size_t)n : 1, sizeof *t->ca_keys);
	if (t->issuers == NULL || t->ca_keys == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (int i = 0; i < n; i++) {
		X509 *x = sk_X509_value(t->cas, i);

		/* Also fills libcrypto's cache of the extensions, before threads share the certificate. */
		(void)X509_check_ca(x);
		if (!spki_hash(x, t->ca_keys[i]))
			return crypto_err(err, "cannot read the key of a CA");
		for (int k = 0; k < n && t->issuers[i] == NULL && !cert_is_self_issued(x); k++) {
			X509 *up = sk_X509_value(t->cas, k);

			if (cert_signed_by(x, up))
				t->issuers[i] = up;
		}
	}
	return true;
}

static bool
any_signed(STACK_OF(X509) *cas, X509 *x)
{
	for (int i = 0; i < sk_X509_num(cas); i++)
		if (cert_signed_by(x, sk_X509_value(cas, i)))
			return true;
	return false;
}

/* Of the CAs that came with chains those that still stand below a CA of the cafile; NULL: out of memory. */
static STACK_OF(X509) *
brought_below(const struct pki_trust *t)
{
	STACK_OF(X509) *all = brought_all(t->brought), *good = sk_X509_new_reserve(NULL, BROUGHT_MAX);
	bool more = all != NULL && good != NULL;

	/* One below the other, in whatever order they were seen. */
	while (more) {
		more = false;
		for (int i = sk_X509_num(all) - 1; i >= 0; i--) {
			X509 *x = sk_X509_value(all, i);

			/* Where handshakes know more CAs than we do, these are known to nobody else. */
			if (!t->more_anchors && !any_signed(t->cas, x) && !any_signed(good, x))
				continue;
			(void)sk_X509_push(good, sk_X509_delete(all, i)); /* there is room */
			more = true;
		}
	}
	if (all == NULL) {
		sk_X509_free(good);
		good = NULL;
	}
	sk_X509_pop_free(all, X509_free);
	return good;
}

static bool
load_lists(struct pki_trust *t, struct crl_load *l, struct err *err)
{
	bool ok;

	l->cas = t->cas;
	l->brought = brought_below(t);
	if (l->brought == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	ok = crl_set_load(&t->crls, l, err);
	sk_X509_pop_free(l->brought, X509_free);
	return ok;
}

static bool
fill(struct pki_trust *t, const struct pki_trust_config *c, struct err *err)
{
	bool ok = true;
	struct crl_load load = { .files = c->crl_files, .n_files = c->n_crl_files, .now = pki_clock(c->now) };

	t->crl_grace = c->crl_grace;
	t->more_anchors = c->more_anchors;
	t->require_cn = c->require_cn;
	t->ignore_dates = c->ignore_dates;
	t->quarantine = c->quarantine && !c->ignore_dates;
	t->ocsp = c->ocsp;
	t->role_cas = sk_X509_new_null();
	t->brought = c->previous != NULL ? brought_ref(c->previous->brought) : brought_new();
	if (t->role_cas == NULL || t->brought == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (c->ca_file != NULL)
		ok = certs_read(c->ca_file, &t->cas, err);
	else if ((t->cas = sk_X509_new_null()) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (size_t i = 0; ok && i < c->n_roles; i++)
		ok = add_role(t, &c->roles[i], err);
	load.also = c->also != NULL ? &c->also->crls : NULL;
	load.old = c->previous != NULL ? &c->previous->crls : NULL;
	return ok && find_issuers(t, err) && load_lists(t, &load, err);
}

struct pki_trust *
pki_trust_new(const struct pki_trust_config *c, struct err *err)
{
	struct pki_trust *t = calloc(1, sizeof *t);

	if (t == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	atomic_init(&t->refs, 1);
	if (!fill(t, c, err)) {
		pki_trust_unref(t);
		return NULL;
	}
	return t;
}

/* The same CAs and rules, without revocations. */
static bool
copy(struct pki_trust *t, const struct pki_trust *from)
{
	size_t n = (size_t)NUM_MAX(sk_X509_num(from->cas), 1), r = NUM_MAX(from->n_roles, (size_t)1);

	t->brought = brought_ref(from->brought);
	t->cas = X509_chain_up_ref(from->cas);
	t->role_cas = X509_chain_up_ref(from->role_cas);
	t->issuers = calloc(n, sizeof(X509 *));
	t->ca_keys = calloc(n, sizeof *t->ca_keys);
	t->roles = calloc(r, sizeof *t->roles);
	if (t->cas == NULL || t->role_cas == NULL || t->issuers == NULL || t->ca_keys == NULL || t->roles == NULL)
		return false;
	memcpy(t->issuers, from->issuers, n * sizeof(X509 *));
	memcpy(t->ca_keys, from->ca_keys, n * sizeof *t->ca_keys);
	if (from->n_roles > 0)
		memcpy(t->roles, from->roles, from->n_roles * sizeof *t->roles);
	t->n_roles = from->n_roles;
	t->crl_grace = from->crl_grace;
	t->more_anchors = from->more_anchors;
	t->require_cn = from->require_cn;
	t->ignore_dates = from->ignore_dates;
	t->quarantine = from->quarantine;
	t->ocsp = from->ocsp;
	return true;
}

struct pki_trust *
pki_trust_renew(const struct pki_trust *old, const struct pki_trust *also, int64_t now, struct err *err)
{
	struct crl_load load = { .files = (const char *const *)old->crls.files, .n_files = old->crls.n_files,
		.old = &old->crls, .also = also != NULL ? &also->crls : NULL, .lenient = true, .now = pki_clock(now) };
	struct pki_trust *t = calloc(1, sizeof *t);

	if (t == NULL || !copy(t, old)) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
	} else if (load_lists(t, &load, err)) {
		atomic_init(&t->refs, 1);
		return t;
	}
	if (t != NULL)
		atomic_init(&t->refs, 1);
	pki_trust_unref(t);
	return NULL;
}

struct news {
	const struct crl *old;
	uint8_t key[32];
	bool (*each)(void *ctx, const uint8_t key[32], struct slice serial);
	void *ctx;
};

static bool
tell_new(void *ctx, struct slice serial)
{
	const struct news *n = ctx;
	struct revoked r;

	return (n->old != NULL && crl_find(n->old, serial, &r)) || n->each(n->ctx, n->key, serial);
}

bool
pki_trust_news(const struct pki_trust *old, const struct pki_trust *now,
    bool (*each)(void *ctx, const uint8_t key[32], struct slice serial), void *ctx)
{
	bool all = true;

	for (size_t i = 0; all && i < now->crls.n; i++) {
		const struct crl *c = now->crls.v[i];
		struct news n = { .each = each, .ctx = ctx };
		bool known = crl_key(c, n.key);

		n.old = known ? crl_of_key(&old->crls, n.key) : NULL;
		if (n.old == c)
			continue;
		/* Whose CA nobody knew yet has no key here: its sessions cannot be told from others. */
		all = known ? crl_each(c, tell_new, &n) : crl_set_same(&old->crls, &now->crls);
	}
	return all;
}

bool
pki_trust_same_crls(const struct pki_trust *a, const struct pki_trust *b)
{
	return crl_set_same(&a->crls, &b->crls);
}

void
pki_trust_complaints(const struct pki_trust *t, void (*each)(void *ctx, const char *text), void *ctx)
{
	for (size_t i = 0; i < t->crls.n_complaints; i++)
		each(ctx, t->crls.complaints[i]);
}

static void
tell_ca(const X509 *x, void (*each)(void *ctx, const struct pki_ca_facts *c), void *ctx)
{
	uint8_t serial[AUTHZ_SERIAL_MAX];
	char hex[2 * AUTHZ_SERIAL_MAX + 1];
	auto_str subject = name_text(X509_get_subject_name(x));

	(void)text_hex(slice_of(serial, serial_bytes(X509_get0_serialNumber(x), serial)), hex, sizeof hex);
	each(ctx, &(struct pki_ca_facts){ subject != NULL ? subject : "", hex, time_of(X509_get0_notAfter(x)) });
}

static bool
has_cert(const STACK_OF(X509) *v, int n, const X509 *x)
{
	for (int i = 0; i < n; i++)
		if (X509_cmp(sk_X509_value(v, i), x) == 0)
			return true;
	return false;
}

void
pki_trust_cas(const struct pki_trust *t, void (*each)(void *ctx, const struct pki_ca_facts *c), void *ctx)
{
	int n_cas = NUM_MAX(sk_X509_num(t->cas), 0), n_roles = NUM_MAX(sk_X509_num(t->role_cas), 0);

	for (int i = 0; i < n_cas; i++)
		if (!has_cert(t->cas, i, sk_X509_value(t->cas, i)))
			tell_ca(sk_X509_value(t->cas, i), each, ctx);
	for (int i = 0; i < n_roles; i++) {
		const X509 *x = sk_X509_value(t->role_cas, i);

		if (!has_cert(t->cas, n_cas, x) && !has_cert(t->role_cas, i, x))
			tell_ca(x, each, ctx);
	}
}

void
pki_trust_crls(const struct pki_trust *t, void (*each)(void *ctx, const struct pki_crl *c), void *ctx)
{
	for (size_t i = 0; i < t->crls.n; i++) {
		const struct crl *c = t->crls.v[i];
		struct pki_crl v = { .issuer = c->issuer_text, .last = c->last, .next = c->next, .revoked = c->n };
		uint8_t key[32];

		v.known = crl_key(c, key);
		(void)text_hex(slice_of(c->number, c->number_n), v.number, sizeof v.number);
		each(ctx, &v);
	}
}

struct pki_trust *
pki_trust_ref(struct pki_trust *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void
pki_trust_unref(struct pki_trust *t)
{
	if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	sk_X509_pop_free(t->cas, X509_free);
	sk_X509_pop_free(t->role_cas, X509_free);
	crl_set_done(&t->crls);
	brought_unref(t->brought);
	free(t->issuers);
	free(t->ca_keys);
	free(t->roles);
	free(t);
}

enum authz_role
pki_trust_role(const struct pki_trust *t, const uint8_t spki[32])
{
	for (size_t i = 0; i < t->n_roles; i++) {
		if (memcmp(t->roles[i].spki, spki, 32) == 0)
			return t->roles[i].role;
	}
	return AUTHZ_ROLE_NONE;
}

bool
pki_trust_is_factory(const struct pki_trust *t, const uint8_t spki[32])
{
	for (size_t i = 0; i < t->n_roles; i++)
		if (memcmp(t->roles[i].spki, spki, 32) == 0)
			return t->roles[i].factory;
	return false;
}

X509 *
trust_issuer(const struct pki_trust *t, const X509 *ca)
{
	for (int i = 0; i < sk_X509_num(t->cas); i++) {
		if (X509_cmp(sk_X509_value(t->cas, i), ca) == 0)
			return t->issuers[i];
	}
	return NULL;
}

X509 *
pki_trust_ca(const struct pki_trust *t, const uint8_t key[32])
{
	for (int i = 0; i < sk_X509_num(t->cas); i++) {
		if (memcmp(t->ca_keys[i], key, 32) == 0)
			return pki_cert_ref(sk_X509_value(t->cas, i));
	}
	return brought_find(t->brought, key);
}

bool
trust_has_cert(const struct pki_trust *t, const X509 *x)
{
	return has_cert(t->cas, sk_X509_num(t->cas), x);
}

bool
trust_has_key(const struct pki_trust *t, const uint8_t spki[32])
{
	for (int i = 0; i < sk_X509_num(t->cas); i++) {
		if (memcmp(t->ca_keys[i], spki, 32) == 0)
			return true;
	}
	return false;
}
