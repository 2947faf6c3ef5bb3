/* The judgement of a peer's certificate: libcrypto verifies the chain, then come the rules that it does not know. */
#include "pki/trust.h"

#include <stdio.h>
#include <openssl/err.h>

enum { DEPTH_MAX = 10, SECURITY_LEVEL = 2 };

static int64_t
check_time(X509_STORE_CTX *ctx)
{
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);

	/* Tests and replays fix the time there, as libcrypto has it. */
	if ((X509_VERIFY_PARAM_get_flags(param) & X509_V_FLAG_USE_CHECK_TIME) != 0)
		return (int64_t)X509_VERIFY_PARAM_get_time(param);
	return pki_clock(0);
}

/* What decides: trusted intermediates end a chain (devices may send the leaf alone), clientAuth, no key below 112 bits of
 * strength, no SHA-1. X509_STRICT stays off: X.509 v1 leaves and CAs without key usage are in use (docs/pki.md). */
static bool
set_rules(const struct pki_trust *t, X509_STORE_CTX *ctx)
{
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST;
	int depth = X509_VERIFY_PARAM_get_depth(param);

	if (t->ignore_dates)
		flags |= X509_V_FLAG_NO_CHECK_TIME;
	if (depth < 0 || depth > DEPTH_MAX)
		X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
	if (X509_VERIFY_PARAM_get_auth_level(param) < SECURITY_LEVEL)
		X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	/* Revocation is ours to check (crl.c), with these flags libcrypto would look for CRLs in its own store. */
	(void)X509_VERIFY_PARAM_clear_flags(param, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	return X509_VERIFY_PARAM_set_flags(param, flags) == 1 &&
	    X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_CLIENT) == 1;
}

/* The leaf itself stands in the cafile: an operator pinned one client. */
static bool
is_pinned(STACK_OF(X509) *chain)
{
	return sk_X509_num(chain) == 1;
}

static bool
check_leaf(const struct pki_trust *t, X509 *leaf, STACK_OF(X509) *chain, struct pki_peer *p)
{
	if (p->serial_n == 0) {
		peer_refuse(p, PKI_BAD_OTHER, X509_V_ERR_APPLICATION_VERIFICATION, "issue the certificate again",
		    "the certificate's serial number has more than %d octets", AUTHZ_SERIAL_MAX);
		return false;
	}
	/* "openssl req -x509" makes self-signed certificates with CA:TRUE; one that is pinned is a client all the same. */
	if ((X509_get_extension_flags(leaf) & EXFLAG_CA) != 0 && !(is_pinned(chain) && cert_is_self_issued(leaf))) {
		diagnose_ca(p, X509_V_ERR_INVALID_PURPOSE);
		return false;
	}
	if (!is_pinned(chain) && cert_is_self_issued(leaf)) {
		peer_refuse(p, PKI_BAD_SUBJECT_IS_ISSUER, X509_V_ERR_SUBJECT_ISSUER_MISMATCH,
		    "issue the certificate again with a common name that is not the CA's",
		    "the certificate's subject equals its issuer: a client must not bear the name of its CA");
		return false;
	}
	if (t->require_cn && p->cn == NULL) {
		peer_refuse(p, PKI_BAD_CN, X509_V_ERR_APPLICATION_VERIFICATION,
		    "issue the certificate again with one common name of 1 to 64 characters without '/', '+' and '#'",
		    "the certificate's common name cannot be an identity: it %s", p->cn_fault);
		return false;
	}
	return true;
}

/* A handshake that began before a reload has the CAs of that time. */
static bool
check_anchor(const struct pki_trust *t, const X509 *anchor, struct pki_peer *p)
{
	if (t->more_anchors || trust_has_cert(t, anchor))
		return true;
	peer_refuse(p, PKI_BAD_CA_WITHDRAWN, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "give the client a certificate of a CA that cafile names",
	    "the CA that vouches for the certificate was taken out of the cafile during the handshake");
	return false;
}

static bool
is_factory(const struct pki_trust *t, const X509 *ca)
{
	uint8_t key[32];

	return spki_hash(ca, key) && pki_trust_is_factory(t, key);
}

/* Every certificate of the chain has to be free of revocation. The leaf's CA must have a CRL when there are any (as mosquitto's
 * crlfile has it); those above are checked where there is one. */
static bool
check_crls(const struct pki_trust *t, STACK_OF(X509) *chain, int64_t now, struct pki_peer *p)
{
	int n = sk_X509_num(chain);

	for (int i = 0; t->crls.n > 0 && i < n; i++) {
		X509 *x = sk_X509_value(chain, i);
		X509 *issuer = i + 1 < n ? sk_X509_value(chain, i + 1) : trust_issuer(t, x);
		struct crl_answer a;

		if (i + 1 == n && cert_is_self_issued(x))
			break;
		a = crl_ask(&t->crls, x, issuer, now, t->crl_grace);
		if (a.cause == PKI_OK || (a.cause == PKI_BAD_CRL_MISSING && (i > 0 || (issuer != NULL && is_factory(t, issuer)))))
			continue;
		diagnose_crl(&a, x, i, p);
		return false;
	}
	return true;
}

/* The CAs that the cafile does not have: their lists are to be known when nobody shows this chain. */
static bool
keep_brought(const struct pki_trust *t, STACK_OF(X509) *chain)
{
	int n = sk_X509_num(chain), end = t->more_anchors ? n : n - 1;
	uint8_t key[32], branch[32] = { 0 };

	for (int i = end - 1; i > 0; i--) {
		X509 *x = sk_X509_value(chain, i);

		if (i == n - 1 && trust_has_cert(t, x))
			continue;
		if (!spki_hash(x, key))
			return false;
		if (i >= n - 2)
			memcpy(branch, key, 32);
		brought_add(t->brought, x, key, branch);
	}
	return true;
}

/* What pki_judge_again() needs of the chain, which nobody keeps: who issued each CA of it. */
static bool
keep_chain(const struct pki_trust *t, STACK_OF(X509) *chain, struct pki_peer *p)
{
	int n = sk_X509_num(chain);
	struct authz_link link = { .anchor = trust_has_key(t, p->issuer_key) };
	uint8_t key[32], serial[AUTHZ_SERIAL_MAX];

	authz_chain_begin(p->chain, &p->chain_n, link.anchor);
	p->valid_until = t->ignore_dates ? 0 : p->not_after;
	for (int i = 1; i < n; i++) {
		X509 *x = sk_X509_value(chain, i);
		const X509 *issuer = i + 1 < n ? sk_X509_value(chain, i + 1) : trust_issuer(t, x);

		if (!t->ignore_dates)
			p->valid_until = NUM_MIN(p->valid_until, time_of(X509_get0_notAfter(x)));
		if (issuer == NULL || cert_is_self_issued(x))
			continue;
		if (!spki_hash(issuer, key))
			return false;
		link = (struct authz_link){ key, slice_of(serial, serial_bytes(X509_get0_serialNumber(x), serial)),
			trust_has_key(t, key) };
		if (!authz_chain_add(p->chain, &p->chain_n, &link))
			return false;
	}
	return true;
}

/* With quarantine the dates of the leaf itself, and of nothing above it, are no end. */
static int
on_verified(int ok, X509_STORE_CTX *ctx)
{
	int error = X509_STORE_CTX_get_error(ctx);

	if (ok == 0 && X509_STORE_CTX_get_error_depth(ctx) == 0 &&
	    (error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID))
		return 1;
	return ok;
}

static bool
accept(const struct pki_trust *t, X509_STORE_CTX *ctx, int64_t now, struct pki_peer *p)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(ctx);
	X509 *leaf = X509_STORE_CTX_get0_cert(ctx);

	if (!check_anchor(t, sk_X509_value(chain, sk_X509_num(chain) - 1), p) || !check_leaf(t, leaf, chain, p) || !check_crls(t, chain, now, p))
		return false;
	/* The key that verified the leaf's signature; a pinned leaf vouches for itself and has no role. */
	if (!spki_hash(is_pinned(chain) ? leaf : sk_X509_value(chain, 1), p->issuer_key) || !keep_chain(t, chain, p) ||
	    !keep_brought(t, chain) || (t->ocsp && !is_pinned(chain) && !peer_issued_by(p, leaf, sk_X509_value(chain, 1)))) {
		peer_refuse(p, PKI_BAD_OTHER, X509_V_ERR_OUT_OF_MEM, "try again", "out of memory");
		return false;
	}
	p->role = is_pinned(chain) ? AUTHZ_ROLE_NONE : pki_trust_role(t, p->issuer_key);
	if (t->quarantine && (now > p->not_after || now < p->not_before)) {
		p->role = AUTHZ_ROLE_QUARANTINE;
		p->valid_until = 0;
	}
	return true;
}

bool
pki_judge(const struct pki_trust *t, struct x509_store_ctx_st *ctx, struct pki_peer **ret)
{
	X509 *leaf = X509_STORE_CTX_get0_cert(ctx);
	int64_t now = check_time(ctx);
	struct pki_peer *p = leaf != NULL ? peer_new(leaf) : NULL;
	bool ok = false;

	*ret = p;
	if (p == NULL) {
		X509_STORE_CTX_set_error(ctx, X509_V_ERR_OUT_OF_MEM);
		return false;
	}
	ERR_clear_error();
	if (t->quarantine)
		X509_STORE_CTX_set_verify_cb(ctx, on_verified);
	if (!set_rules(t, ctx))
		peer_refuse(p, PKI_BAD_OTHER, X509_V_ERR_OUT_OF_MEM, "try again", "out of memory");
	else if (X509_verify_cert(ctx) == 1)
		ok = accept(t, ctx, now, p);
	else
		diagnose(t, ctx, now, p);
	ERR_clear_error();
	X509_STORE_CTX_set_error(ctx, ok ? X509_V_OK : p->error);
	return ok;
}

/* ---- again ---- */

static bool
standing_of_crl(const struct crl_answer *a, const char *who, struct pki_standing *ret)
{
	char when[32];

	ret->cause = a->cause;
	if (a->cause == PKI_BAD_REVOKED)
		(void)snprintf(ret->text, sizeof ret->text, "%s was revoked at %s (%s)", who, text_when(a->entry.date, when),
		    pki_reason_text(a->entry.reason));
	else if (a->cause == PKI_BAD_CRL_MISSING)
		(void)snprintf(ret->text, sizeof ret->text, "there is no CRL of the CA of %s", who);
	else
		(void)snprintf(ret->text, sizeof ret->text, "the CRL of the CA of %s %s at %s", who,
		    a->cause == PKI_BAD_CRL_EXPIRED ? "expired" : "begins", text_when(
			a->cause == PKI_BAD_CRL_EXPIRED ? a->crl->next : a->crl->last, when));
	return false;
}

/* A list can have been read a moment before its CA was seen for the first time. */
static void
meet_lists(const struct pki_trust *t, const uint8_t key[32])
{
	X509 *ca;

	if (!crl_has_unknown(&t->crls) || crl_of_key(&t->crls, key) != NULL || (ca = brought_find(t->brought, key)) == NULL)
		return;
	crl_meet(&t->crls, ca, key);
	X509_free(ca);
	ERR_clear_error();
}

/* Revocation of one certificate, and whether its issuer is still trusted if it was. */
static bool
link_stands(const struct pki_trust *t, const struct authz_link *l, int depth, int64_t now, bool fresh, struct pki_standing *ret)
{
	const char *who = depth == 0 ? "the certificate" : "a CA of the certificate";
	struct crl_answer a;

	if (l->anchor && !trust_has_key(t, l->key)) {
		ret->cause = PKI_BAD_CA_WITHDRAWN;
		(void)snprintf(ret->text, sizeof ret->text, "a CA that vouched for %s is not in the cafile any more", who);
		return false;
	}
	if (t->crls.n == 0)
		return true;
	meet_lists(t, l->key);
	a = crl_ask_key(&t->crls, l->key, l->serial, now, t->crl_grace);
	if (a.cause == PKI_OK || (a.cause != PKI_BAD_REVOKED && !fresh) || (a.cause == PKI_BAD_CRL_MISSING && (depth > 0 || pki_trust_is_factory(t, l->key))))
		return true;
	return standing_of_crl(&a, who, ret);
}

bool
pki_judge_again(const struct pki_trust *t, const struct authz_facts *f, int64_t now, bool fresh, struct pki_standing *ret)
{
	struct slice rest = f->chain;
	struct authz_link link = { f->issuer_key, f->serial, authz_chain_anchored(&rest) };
	/* A pinned one is its own issuer, and nobody revokes it but who takes it away. */
	bool pinned = f->issuer_key == NULL || slice_eq(f->subject, f->issuer);
	int depth = 0;

	*ret = (struct pki_standing){ .cause = PKI_OK };
	if (f->not_after != 0 && !t->ignore_dates && now > f->not_after) {
		ret->cause = PKI_BAD_EXPIRED;
		(void)snprintf(ret->text, sizeof ret->text, "the certificate, or a CA of it, has expired");
		return false;
	}
	if (t->require_cn && f->cn.n == 0) {
		ret->cause = PKI_BAD_CN;
		(void)snprintf(ret->text, sizeof ret->text, "a common name is needed now, and the certificate has none");
		return false;
	}
	if (pinned && link.anchor && !trust_has_key(t, link.key))
		return link_stands(t, &link, 0, now, false, ret);
	if (pinned)
		return true;
	do {
		if (!link_stands(t, &link, depth++, now, fresh, ret))
			return false;
	} while (authz_chain_next(&rest, &link));
	if (f->role == AUTHZ_ROLE_QUARANTINE && !t->quarantine) {
		ret->cause = PKI_BAD_EXPIRED;
		(void)snprintf(ret->text, sizeof ret->text, "the certificate is out of its time, and there is no quarantine any more");
		return false;
	}
	if (f->role != AUTHZ_ROLE_QUARANTINE && pki_trust_role(t, f->issuer_key) != f->role) {
		ret->cause = PKI_BAD_ROLE_CHANGED;
		(void)snprintf(ret->text, sizeof ret->text, "its CA gives the role %s now, and gave %s",
		    authz_role_name(pki_trust_role(t, f->issuer_key)), authz_role_name(f->role));
		return false;
	}
	return true;
}
