/* Revocations in sorted tables. libcrypto would verify a CRL's signature again at every handshake and keep megabytes of parsed
 * entries; here the signature is verified once, and a handshake costs a binary search. */
#include "pki/internal.h"

#include <openssl/err.h>

enum { CRL_FILE_MAX = 256 << 20, FUTURE_SKEW_S = 300 };

const char *
crl_reason_text(int reason)
{
	/* RFC 5280 5.3.1 */
	static const char *const text[] = { "unspecified", "key compromise", "CA compromise", "affiliation changed",
		"superseded", "cessation of operation", "on hold", "unknown", "removed from CRL", "privilege withdrawn",
		"AA compromise" };

	return reason >= 0 && (size_t)reason < ARRAY_LEN(text) ? text[reason] : "no reason given";
}

static int
compare(const void *va, const void *vb)
{
	const struct revoked *a = va, *b = vb;
	size_t n = NUM_MIN(a->serial_n, b->serial_n);
	int c = memcmp(a->serial, b->serial, n);

	return c != 0 ? c : (int)a->serial_n - (int)b->serial_n;
}

static bool
take_entry(const X509_REVOKED *r, struct revoked *e)
{
	ASN1_ENUMERATED *reason;
	size_t n = serial_bytes(X509_REVOKED_get0_serialNumber(r), e->serial);

	/* A critical extension of an entry would change whom it is about (RFC 5280 5.3.3). */
	if (n == 0 || X509_REVOKED_get_ext_by_critical(r, 1, -1) >= 0)
		return false;
	e->serial_n = (uint8_t)n;
	e->date = time_of(X509_REVOKED_get0_revocationDate(r));
	e->reason = -1;
	reason = X509_REVOKED_get_ext_d2i(r, NID_crl_reason, NULL, NULL);
	if (reason != NULL) {
		long v = ASN1_ENUMERATED_get(reason);

		e->reason = v >= 0 && v <= 10 ? (int8_t)v : -1;
		ASN1_ENUMERATED_free(reason);
	}
	return true;
}

static bool
take_entries(struct crl *c, X509_CRL *x, const char *path, struct err *err)
{
	STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(x);
	int n = sk_X509_REVOKED_num(list);

	if (n <= 0)
		return true;
	c->list = calloc((size_t)n, sizeof *c->list);
	if (c->list == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (int i = 0; i < n; i++) {
		if (!take_entry(sk_X509_REVOKED_value(list, i), &c->list[i]))
			return err_set(err, ERR_INPUT, "%s: entry %d of the CRL of %s cannot be understood (indirect CRL?)", path, i + 1,
			    c->issuer_text);
	}
	c->n = (size_t)n;
	qsort(c->list, c->n, sizeof *c->list, compare);
	return true;
}

/* RFC 5280 5.2: a delta or a part of a CRL says less than it seems to; who must understand and does not has to refuse. */
static bool
check_extensions(X509_CRL *x, const char *path, const char *issuer, struct err *err)
{
	int at;

	if (X509_CRL_get_ext_by_NID(x, NID_delta_crl, -1) >= 0)
		return err_set(err, ERR_INPUT, "%s: the CRL of %s is a delta CRL; give the complete one", path, issuer);
	at = X509_CRL_get_ext_by_critical(x, 1, -1);
	if (at >= 0)
		return err_set(err, ERR_INPUT, "%s: the CRL of %s is limited by a critical extension (%s); give a complete one", path,
		    issuer, OBJ_nid2sn(OBJ_obj2nid(X509_EXTENSION_get_object(X509_CRL_get_ext(x, at)))));
	return true;
}

/* A CA of the CRL's issuer name whose key made the signature. False: there are such CAs, but none signed it. */
static bool
find_signer(struct crl *c, X509_CRL *x, STACK_OF(X509) *cas, const char *path, struct err *err)
{
	bool named = false;

	for (int i = 0; i < sk_X509_num(cas); i++) {
		X509 *ca = sk_X509_value(cas, i);

		if (X509_NAME_cmp(X509_get_subject_name(ca), c->issuer) != 0)
			continue;
		named = true;
		if ((X509_get_extension_flags(ca) & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(ca) & KU_CRL_SIGN) == 0)
			continue;
		if (X509_CRL_verify(x, X509_get0_pubkey(ca)) == 1 && spki_hash(ca, c->issuer_key)) {
			c->verified = true;
			break;
		}
	}
	ERR_clear_error();
	if (named && !c->verified)
		return err_set(err, ERR_INPUT, "%s: the CRL says that it is by %s, but that CA did not sign it", path, c->issuer_text);
	return true;
}

static void
crl_done(struct crl *c)
{
	X509_NAME_free(c->issuer);
	X509_CRL_free(c->raw);
	free(c->issuer_text);
	free(c->list);
	*c = (struct crl){ 0 };
}

static bool
take_crl(struct crl *ret, X509_CRL *x, const char *path, STACK_OF(X509) *cas, struct err *err)
{
	struct crl c = { .issuer = X509_NAME_dup(X509_CRL_get_issuer(x)), .issuer_text = name_text(X509_CRL_get_issuer(x)) };

	if (c.issuer == NULL || c.issuer_text == NULL) {
		crl_done(&c);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	c.last = time_of(X509_CRL_get0_lastUpdate(x));
	c.next = X509_CRL_get0_nextUpdate(x) != NULL ? time_of(X509_CRL_get0_nextUpdate(x)) : INT64_MAX;
	if (!check_extensions(x, path, c.issuer_text, err) || !find_signer(&c, x, cas, path, err) ||
	    !take_entries(&c, x, path, err)) {
		crl_done(&c);
		return false;
	}
	if (!c.verified && X509_CRL_up_ref(x) == 1)
		c.raw = x;
	*ret = c;
	return true;
}

bool
crl_set_add(struct crl_set *s, const char *path, STACK_OF(X509) *cas, struct err *err)
{
	STACK_OF(X509_CRL) *list;
	uint8_t *data;
	size_t n;
	bool ok;

	if (!file_read(path, CRL_FILE_MAX, &data, &n, err))
		return false;
	ok = crls_parse(slice_of(data, n), path, &list, err);
	free(data);
	if (!ok)
		return false;
	for (int i = 0; ok && i < sk_X509_CRL_num(list); i++) {
		struct crl *p = reallocarray(s->crls, s->n + 1, sizeof *p);

		if (p == NULL) {
			ok = err_set(err, ERR_MEMORY, "out of memory");
			break;
		}
		s->crls = p;
		ok = take_crl(&p[s->n], sk_X509_CRL_value(list, i), path, cas, err);
		s->n += ok;
	}
	sk_X509_CRL_pop_free(list, X509_CRL_free);
	return ok;
}

void
crl_set_done(struct crl_set *s)
{
	for (size_t i = 0; i < s->n; i++)
		crl_done(&s->crls[i]);
	free(s->crls);
	*s = (struct crl_set){ 0 };
}

static bool
is_by(const struct crl *c, const X509 *issuer, const uint8_t key[32])
{
	bool ok;

	if (c->verified)
		return memcmp(c->issuer_key, key, 32) == 0;
	/* Its CA came with the chain: the slow way, in a configuration that trusts a root alone. */
	ok = c->raw != NULL && X509_CRL_verify(c->raw, X509_get0_pubkey(issuer)) == 1;
	ERR_clear_error();
	return ok;
}

struct crl_answer
crl_ask(const struct crl_set *s, const X509 *cert, const X509 *issuer, int64_t now)
{
	struct crl_answer a = { .cause = PKI_BAD_CRL_MISSING };
	struct revoked want = { 0 };
	uint8_t key[32];

	want.serial_n = (uint8_t)serial_bytes(X509_get0_serialNumber(cert), want.serial);
	if (issuer == NULL || !spki_hash(issuer, key))
		return a;
	for (size_t i = 0; i < s->n; i++) {
		const struct crl *c = &s->crls[i];

		if (X509_NAME_cmp(c->issuer, X509_get_issuer_name(cert)) != 0)
			continue;
		if (!is_by(c, issuer, key))
			a.cause = a.crl == NULL ? PKI_BAD_CRL_SIGNATURE : a.cause;
		else if (a.crl == NULL || c->last > a.crl->last)
			a.crl = c;
	}
	if (a.crl == NULL)
		return a;
	if (a.crl->n > 0)
		a.entry = bsearch(&want, a.crl->list, a.crl->n, sizeof want, compare);
	a.cause = a.entry != NULL            ? PKI_BAD_REVOKED
	    : a.crl->next <= now             ? PKI_BAD_CRL_EXPIRED
	    : a.crl->last > now + FUTURE_SKEW_S ? PKI_BAD_CRL_FUTURE
					     : PKI_OK;
	return a;
}
