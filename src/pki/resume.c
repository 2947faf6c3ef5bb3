/* What a session ticket says of a peer, and the judgement of who brings it back: nothing is believed that may have changed. */
#include "pki/trust.h"

#include <stdio.h>
#include <openssl/err.h>
#include "base/rd.h"
#include "base/wr.h"

enum { FORMAT = 1 };

_Static_assert(PKI_VOUCHER_MAX == 1 + 1 + 8 + 32 + AUTHZ_CHAIN_MAX, "a voucher has room for each chain");

size_t
pki_peer_vouch(const struct pki_peer *p, uint8_t out[static PKI_VOUCHER_MAX])
{
	struct wr w = wr_of(out, PKI_VOUCHER_MAX);

	if (p->cause != PKI_OK || p->role == AUTHZ_ROLE_QUARANTINE)
		return 0;
	wr_u8(&w, FORMAT);
	wr_u8(&w, (uint8_t)p->role);
	wr_u32(&w, (uint32_t)((uint64_t)p->valid_until >> 32));
	wr_u32(&w, (uint32_t)p->valid_until);
	wr_bytes(&w, slice_of(p->issuer_key, sizeof p->issuer_key));
	wr_bytes(&w, slice_of(p->chain, p->chain_n));
	return wr_ok(&w) ? wr_len(&w) : 0;
}

/* A chain to its last byte; what is left over was never written by pki_peer_vouch(). */
static bool
chain_ok(struct slice chain)
{
	struct authz_link link;

	if (chain.n == 0 || chain.n > AUTHZ_CHAIN_MAX)
		return false;
	(void)authz_chain_anchored(&chain);
	while (authz_chain_next(&chain, &link))
		if (link.serial.n > AUTHZ_SERIAL_MAX)
			return false;
	return chain.n == 0;
}

static bool
read_voucher(struct slice voucher, struct pki_peer *p)
{
	struct rd r = rd_of(voucher);
	uint8_t format = rd_u8(&r), role = rd_u8(&r);
	uint64_t high = rd_u32(&r), low = rd_u32(&r);
	struct slice key = rd_take(&r, sizeof p->issuer_key), chain = rd_take(&r, rd_left(&r));

	if (!rd_ok(&r) || format != FORMAT || role >= AUTHZ_ROLE_QUARANTINE || !chain_ok(chain))
		return false;
	p->role = (enum authz_role)role;
	p->valid_until = (int64_t)(high << 32 | low);
	memcpy(p->issuer_key, key.p, key.n);
	memcpy(p->chain, chain.p, chain.n);
	p->chain_n = chain.n;
	return true;
}

static bool
refuse(enum pki_cause cause, const char *text, struct pki_standing *ret)
{
	*ret = (struct pki_standing){ .cause = cause };
	(void)snprintf(ret->text, sizeof ret->text, "%s", text);
	return false;
}

/* A list of a CA that came with the chain is known as its own only where that CA's certificate is, which a resumption does not bring:
 * when it has been forgotten, a full handshake brings it again. */
static bool
cas_are_known(const struct pki_trust *t, const struct authz_facts *f)
{
	struct slice rest = f->chain;
	struct authz_link link = { .key = f->issuer_key, .anchor = authz_chain_anchored(&rest) };

	if (slice_eq(f->subject, f->issuer))
		return true;
	do {
		bool known = link.anchor || trust_has_key(t, link.key);
		X509 *ca = known ? NULL : brought_find(t->brought, link.key);

		known = known || ca != NULL;
		X509_free(ca);
		if (!known)
			return false;
	} while (authz_chain_next(&rest, &link));
	return true;
}

/* A responder that is asked about him wants his CA's certificate, which the cafile has, or somebody has shown. */
static bool
find_issuer(const struct pki_trust *t, X509 *leaf, struct pki_peer *p)
{
	X509 *ca;
	bool ok;

	if (!t->ocsp || trust_has_cert(t, leaf))
		return true;
	ca = pki_trust_ca(t, p->issuer_key);
	ok = ca != NULL && peer_issued_by(p, leaf, ca);
	pki_cert_free(ca);
	return ok;
}

static bool
stands(const struct pki_trust *t, X509 *leaf, struct pki_peer *p, int64_t now, struct pki_standing *ret)
{
	struct authz_facts f;

	pki_peer_facts(p, false, &f);
	if (!find_issuer(t, leaf, p))
		return refuse(PKI_BAD_OTHER, "a responder is asked about it, and its CA came with its chain", ret);
	/* It was written while nobody looked at dates, and now somebody does. */
	if (!t->ignore_dates && p->valid_until == 0)
		return refuse(PKI_BAD_EXPIRED, "nobody has looked at the dates of its chain", ret);
	if (!t->ignore_dates && now < p->not_before)
		return refuse(PKI_BAD_NOT_YET, "the certificate is not valid yet", ret);
	return pki_judge_again(t, &f, now, true, ret) &&
	    (cas_are_known(t, &f) || refuse(PKI_BAD_OTHER, "a CA came with its chain, and has been forgotten", ret));
}

bool
pki_judge_resumed(const struct pki_trust *t, const struct pki_returned *who, struct pki_peer **ret, struct pki_standing *why)
{
	struct pki_peer *p = peer_new(who->leaf);
	bool ok = false;

	if (p == NULL)
		(void)refuse(PKI_BAD_OTHER, "out of memory", why);
	else if (!read_voucher(who->voucher, p))
		(void)refuse(PKI_BAD_OTHER, "the ticket does not say what it should", why);
	else
		ok = stands(t, who->leaf, p, pki_clock(who->now), why);
	if (ok) {
		*ret = p;
		return true;
	}
	pki_peer_free(p);
	return false;
}

/* ---- to which rules a ticket belongs ---- */

static bool
add_certs(EVP_MD_CTX *md, const STACK_OF(X509) *v)
{
	int n = sk_X509_num(v);
	uint8_t print[32];

	if (EVP_DigestUpdate(md, &n, sizeof n) != 1)
		return false;
	for (int i = 0; i < n; i++)
		if (!cert_fingerprint(sk_X509_value(v, i), print) || EVP_DigestUpdate(md, print, sizeof print) != 1)
			return false;
	return true;
}

static bool
add_trust(EVP_MD_CTX *md, const struct pki_trust *t)
{
	uint8_t flags = (uint8_t)(t->require_cn | t->ignore_dates << 1 | t->quarantine << 2);

	if (!add_certs(md, t->cas) || EVP_DigestUpdate(md, &flags, 1) != 1)
		return false;
	for (size_t i = 0; i < t->n_roles; i++) {
		uint8_t role = (uint8_t)((unsigned)t->roles[i].role | (t->roles[i].factory ? 0x80u : 0u));

		if (EVP_DigestUpdate(md, t->roles[i].spki, 32) != 1 || EVP_DigestUpdate(md, &role, 1) != 1)
			return false;
	}
	return true;
}

bool
pki_trust_scope(const struct pki_trust *t, struct slice also, uint8_t ret[32])
{
	uint8_t trusts = t != NULL;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(md, &also.n, sizeof also.n) == 1 &&
	    (also.n == 0 || EVP_DigestUpdate(md, also.p, also.n) == 1) && EVP_DigestUpdate(md, &trusts, 1) == 1 &&
	    (t == NULL || add_trust(md, t)) && EVP_DigestFinal_ex(md, ret, NULL) == 1;

	EVP_MD_CTX_free(md);
	ERR_clear_error();
	return ok;
}
