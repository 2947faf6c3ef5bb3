/* What is known of one peer, in values and in words. */
#include "pki/trust.h"

#include <stdarg.h>
#include <stdio.h>

const char *
pki_cause_name(enum pki_cause c)
{
	static const char *const names[PKI_CAUSES] = {
		[PKI_OK] = "ok",
		[PKI_BAD_EXPIRED] = "expired",
		[PKI_BAD_NOT_YET] = "not-yet-valid",
		[PKI_BAD_REVOKED] = "revoked",
		[PKI_BAD_CRL_EXPIRED] = "crl-expired",
		[PKI_BAD_CRL_MISSING] = "crl-missing",
		[PKI_BAD_CRL_FUTURE] = "crl-not-yet-valid",
		[PKI_BAD_CRL_SIGNATURE] = "crl-signature",
		[PKI_BAD_ISSUER_UNKNOWN] = "issuer-unknown",
		[PKI_BAD_ISSUER_OTHER_KEY] = "issuer-other-key",
		[PKI_BAD_INTERMEDIATE_MISSING] = "intermediate-missing",
		[PKI_BAD_SUBJECT_IS_ISSUER] = "subject-is-issuer",
		[PKI_BAD_SELF_SIGNED] = "self-signed",
		[PKI_BAD_USAGE] = "wrong-usage",
		[PKI_BAD_IS_CA] = "is-a-ca",
		[PKI_BAD_NOT_A_CA] = "issuer-not-a-ca",
		[PKI_BAD_SIGNATURE] = "bad-signature",
		[PKI_BAD_WEAK] = "weak",
		[PKI_BAD_CN] = "bad-common-name",
		[PKI_BAD_CA_WITHDRAWN] = "ca-withdrawn",
		[PKI_BAD_ROLE_CHANGED] = "role-changed",
		[PKI_BAD_OTHER] = "other",
	};

	return names[c];
}

struct pki_peer *
peer_new(X509 *leaf)
{
	struct pki_peer *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->subject = name_text(X509_get_subject_name(leaf));
	p->issuer = name_text(X509_get_issuer_name(leaf));
	if (p->subject == NULL || p->issuer == NULL || !cert_fingerprint(leaf, p->fingerprint)) {
		pki_peer_free(p);
		return NULL;
	}
	(void)name_cn(X509_get_subject_name(leaf), &p->cn, p->cn_fault, sizeof p->cn_fault);
	p->serial_n = serial_bytes(X509_get0_serialNumber(leaf), p->serial);
	(void)text_hex(slice_of(p->serial, p->serial_n), p->serial_hex, sizeof p->serial_hex);
	p->not_before = time_of(X509_get0_notBefore(leaf));
	p->not_after = time_of(X509_get0_notAfter(leaf));
	return p;
}

void
peer_refuse(struct pki_peer *p, enum pki_cause cause, int error, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	p->cause = cause;
	p->error = error;
	va_start(ap, fmt);
	(void)vsnprintf(p->text, sizeof p->text, fmt, ap);
	va_end(ap);
	(void)snprintf(p->remedy, sizeof p->remedy, "%s", remedy);
}

bool
peer_issued_by(struct pki_peer *p, X509 *leaf, X509 *issuer)
{
	char url[PKI_URL_MAX];

	p->issuer_cert = pki_cert_ref(issuer);
	if (cert_ocsp_url(leaf, url))
		p->ocsp_url = strdup(url);
	return p->issuer_cert != NULL;
}

void
pki_peer_free(struct pki_peer *p)
{
	if (p == NULL)
		return;
	free(p->subject);
	free(p->issuer);
	free(p->cn);
	free(p->ocsp_url);
	X509_free(p->issuer_cert);
	free(p);
}

void
pki_peer_facts(const struct pki_peer *p, bool use_subject, struct authz_facts *ret)
{
	struct slice cn = slice_str(p->cn);

	*ret = (struct authz_facts){
		.role = p->role,
		.has_cert = true,
		.cn = cn,
		.username = use_subject ? slice_str(p->subject) : cn,
		.subject = slice_str(p->subject),
		.issuer = slice_str(p->issuer),
		.serial = slice_of(p->serial, p->serial_n),
		.issuer_key = p->issuer_key,
		.fingerprint = p->fingerprint,
		.not_before = p->not_before,
		.not_after = p->valid_until,
		.chain = slice_of(p->chain, p->chain_n),
	};
}
