/* Whom a listener trusts, prepared once: the CAs by name, the keys that give roles, the revocations. Immutable and shared. */
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
		if (memcmp(t->roles[i].spki, p->spki, 32) == 0 && t->roles[i].role != r->role)
			return err_set(err, ERR_INPUT, "%s: the key of this CA has the role \"%s\" already; one key gives one role",
			    r->file, authz_role_name(t->roles[i].role));
	}
	p->role = r->role;
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
	if (t->issuers == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (int i = 0; i < n; i++) {
		X509 *x = sk_X509_value(t->cas, i);

		/* Also fills libcrypto's cache of the extensions, before threads share the certificate. */
		(void)X509_check_ca(x);
		for (int k = 0; k < n && t->issuers[i] == NULL && !cert_is_self_issued(x); k++) {
			X509 *up = sk_X509_value(t->cas, k);

			if (X509_NAME_cmp(X509_get_subject_name(up), X509_get_issuer_name(x)) == 0 &&
			    X509_verify(x, X509_get0_pubkey(up)) == 1)
				t->issuers[i] = up;
		}
	}
	ERR_clear_error();
	return true;
}

static bool
fill(struct pki_trust *t, const struct pki_trust_config *c, struct err *err)
{
	bool ok = true;

	t->require_cn = c->require_cn;
	t->ignore_dates = c->ignore_dates;
	t->role_cas = sk_X509_new_null();
	if (t->role_cas == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (c->ca_file != NULL)
		ok = certs_read(c->ca_file, &t->cas, err);
	else if ((t->cas = sk_X509_new_null()) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (size_t i = 0; ok && i < c->n_roles; i++)
		ok = add_role(t, &c->roles[i], err);
	for (size_t i = 0; ok && i < c->n_crl_files; i++)
		ok = crl_set_add(&t->crls, c->crl_files[i], t->cas, err);
	return ok && find_issuers(t, err);
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
	free(t->issuers);
	free(t->roles);
	free(t);
}

enum authz_role
trust_role(const struct pki_trust *t, const uint8_t spki[32])
{
	for (size_t i = 0; i < t->n_roles; i++) {
		if (memcmp(t->roles[i].spki, spki, 32) == 0)
			return t->roles[i].role;
	}
	return AUTHZ_ROLE_NONE;
}

const X509 *
trust_issuer(const struct pki_trust *t, const X509 *ca)
{
	for (int i = 0; i < sk_X509_num(t->cas); i++) {
		if (X509_cmp(sk_X509_value(t->cas, i), ca) == 0)
			return t->issuers[i];
	}
	return NULL;
}
