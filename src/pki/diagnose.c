/* Why a certificate was refused: libcrypto's error, looked at until it names the thing that somebody can repair. */
#include "pki/trust.h"

#include <stdio.h>
#include <openssl/err.h>

/* One refusal being explained. */
struct fault {
	const struct pki_trust *t;
	X509_STORE_CTX *ctx;
	struct pki_peer *p;
	X509 *cert;        /* that it is about */
	int depth, error;
	int64_t now;
	char who[260];     /* "the certificate", "the CA certificate \"CN=…\"" */
	char issuer[220];  /* of cert */
};

/* A name's text cut to what fits in a sentence; it is printable already (RFC 2253 escapes). */
static void
put_name(const X509_NAME *n, char *out, size_t cap)
{
	auto_str s = name_text(n);

	(void)text_show(slice_str(s != NULL ? s : "?"), out, cap);
}

static void
name_who(const X509 *x, int depth, char *out, size_t cap)
{
	char name[200];

	if (depth == 0) {
		(void)snprintf(out, cap, "the certificate");
		return;
	}
	put_name(X509_get_subject_name(x), name, sizeof name);
	(void)snprintf(out, cap, "the CA certificate %s", name);
}

static void
on_expired(struct fault *f)
{
	int64_t end = time_of(X509_get0_notAfter(f->cert));
	char when[32], ago[32];

	peer_refuse(f->p, PKI_BAD_EXPIRED, f->error,
	    f->depth == 0 ? "issue a new certificate for this client" : "renew this CA's certificate and give it to the broker",
	    "%s expired %s ago, at %s", f->who, days_text(f->now - end, ago), text_when(end, when));
}

static void
on_not_yet(struct fault *f)
{
	int64_t begin = time_of(X509_get0_notBefore(f->cert));
	char when[32], in[32];

	peer_refuse(f->p, PKI_BAD_NOT_YET, f->error, "check the clocks of the broker and of the machine that issued it",
	    "%s is not valid before %s, which is in %s", f->who, text_when(begin, when), days_text(begin - f->now, in));
}

static const X509 *
find_named(STACK_OF(X509) *list, const X509_NAME *name)
{
	for (int i = 0; i < sk_X509_num(list); i++) {
		if (X509_NAME_cmp(X509_get_subject_name(sk_X509_value(list, i)), name) == 0)
			return sk_X509_value(list, i);
	}
	return NULL;
}

static bool
signed_by(X509 *x, const X509 *ca)
{
	bool ok = X509_verify(x, X509_get0_pubkey(ca)) == 1;

	ERR_clear_error();
	return ok;
}

/* Has one of our CAs the same organisation as <x>'s issuer? Only a hint for the text, never a right. */
static bool
same_house(const struct pki_trust *t, const X509 *x)
{
	char theirs[128], ours[128];

	if (X509_NAME_get_text_by_NID(X509_get_issuer_name(x), NID_organizationName, theirs, sizeof theirs) <= 0)
		return false;
	for (int i = 0; i < sk_X509_num(t->cas); i++) {
		const X509_NAME *n = X509_get_subject_name(sk_X509_value(t->cas, i));

		if (X509_NAME_get_text_by_NID(n, NID_organizationName, ours, sizeof ours) > 0 && strcmp(ours, theirs) == 0)
			return true;
	}
	return false;
}

static void
refuse_other_key(struct fault *f)
{
	peer_refuse(f->p, PKI_BAD_ISSUER_OTHER_KEY, f->error,
	    "the certificate comes from another CA of the same name (another installation, or the CA was made anew): issue it again with this one, or add that CA to the cafile",
	    "the issuer of %s is called %s, a CA that is known here, but the signature was made with another key", f->who,
	    f->issuer);
}

static void
refuse_missing(struct fault *f)
{
	peer_refuse(f->p, PKI_BAD_INTERMEDIATE_MISSING, f->error,
	    "let the client send its certificate together with the issuer's (the chain in clients/NAME/cert.pem), or add the issuer's certificate to the cafile",
	    "issuer %s not found: the intermediate certificate was not sent and is not in the cafile", f->issuer);
}

/* The certificate says of itself that its subject is its issuer. */
static void
on_self_issued(struct fault *f)
{
	if (f->depth > 0 && find_named(f->t->cas, X509_get_subject_name(f->cert)) != NULL) {
		refuse_other_key(f);
	} else if (f->depth > 0) {
		peer_refuse(f->p, PKI_BAD_ISSUER_UNKNOWN, f->error,
		    "if this CA is to be trusted, add its certificate to the cafile (signet ca trust)",
		    "issuer %s not found: the chain ends in a root that is not trusted here", f->issuer);
	} else if (signed_by(f->cert, f->cert)) {
		peer_refuse(f->p, PKI_BAD_SELF_SIGNED, f->error, "use a certificate that a CA in the cafile issued",
		    "the certificate is self-signed: no CA vouches for it");
	} else {
		peer_refuse(f->p, PKI_BAD_SUBJECT_IS_ISSUER, f->error,
		    "issue the certificate again with a common name that is not the CA's",
		    "the certificate's subject equals its issuer (%s): a client must not bear the name of its CA", f->issuer);
	}
}

static void
on_no_issuer(struct fault *f)
{
	const X509_NAME *name = X509_get_issuer_name(f->cert);
	const X509 *role_ca = find_named(f->t->role_cas, name);

	if (cert_is_self_issued(f->cert))
		on_self_issued(f);
	else if (find_named(f->t->cas, name) != NULL || (role_ca != NULL && !signed_by(f->cert, role_ca)))
		refuse_other_key(f);
	else if (role_ca != NULL || (f->depth == 0 && same_house(f->t, f->cert)))
		refuse_missing(f);
	else
		peer_refuse(f->p, PKI_BAD_ISSUER_UNKNOWN, f->error,
		    "use a certificate of a CA that is trusted here; if this one is to be trusted, add it to the cafile (signet ca trust)",
		    "issuer %s not found: no CA of that name is in the cafile, and %s", f->issuer,
		    sk_X509_num(X509_STORE_CTX_get0_untrusted(f->ctx)) > 1 ? "what the client sent with it does not lead to one" :
									      "the client sent no other certificate");
}

/* A signature that its named CA's key does not verify. When the certificate names that very key, the certificate was changed;
 * when it names none (X.509 v1), another CA of the same name is by far the likelier story. */
static void
on_bad_signature(struct fault *f)
{
	const ASN1_OCTET_STRING *named = X509_get0_authority_key_id(f->cert);

	if (named == NULL) {
		refuse_other_key(f);
		return;
	}
	peer_refuse(f->p, PKI_BAD_SIGNATURE, f->error, "the certificate was damaged or forged: issue it again",
	    "the signature of %s does not verify with the key of its issuer %s", f->who, f->issuer);
}

static void
on_usage(struct fault *f)
{
	uint32_t flags = X509_get_extension_flags(f->cert);
	uint32_t eku = (flags & EXFLAG_XKUSAGE) != 0 ? X509_get_extended_key_usage(f->cert) : UINT32_MAX;

	if (f->depth > 0) {
		peer_refuse(f->p, PKI_BAD_NOT_A_CA, f->error, "check the CA's key usage and extended key usage",
		    "%s may not issue certificates for TLS clients", f->who);
		return;
	}
	/* A CA's key usage forbids it as well; what it is says more. */
	if ((flags & EXFLAG_CA) != 0)
		diagnose_ca(f->p, f->error);
	else if ((eku & XKU_SSL_CLIENT) == 0)
		peer_refuse(f->p, PKI_BAD_USAGE, f->error, "issue a client's certificate (extended key usage clientAuth)",
		    "the certificate may not be used by a client: its extended key usage has no clientAuth%s",
		    (eku & XKU_SSL_SERVER) != 0 ? " (it is a server's)" : "");
	else
		peer_refuse(f->p, PKI_BAD_USAGE, f->error, "issue a client's certificate (key usage digitalSignature)",
		    "the certificate may not be used by a client: its key usage has no digitalSignature");
}

static void
on_not_a_ca(struct fault *f)
{
	peer_refuse(f->p, PKI_BAD_NOT_A_CA, f->error, "certificates are issued by CAs only: find out who made this one",
	    f->error == X509_V_ERR_PATH_LENGTH_EXCEEDED ?
		"%s was issued below a CA that may not have other CAs below it (path length exceeded)" :
		"%s is not that of a CA, and yet it issued another certificate", f->who);
}

static void
on_weak(struct fault *f)
{
	char key[96];
	const EVP_PKEY *k = X509_get0_pubkey(f->cert);

	if (f->error == X509_V_ERR_CA_MD_TOO_WEAK)
		peer_refuse(f->p, PKI_BAD_WEAK, f->error, "issue it again with SHA-256",
		    "%s is signed with %s, which can be forged", f->who, OBJ_nid2sn(X509_get_signature_nid(f->cert)));
	else
		peer_refuse(f->p, PKI_BAD_WEAK, f->error, "issue it again with RSA 2048 bits or more, or EC P-256",
		    "the key of %s is too weak: %s", f->who, k != NULL ? key_text(k, key, sizeof key) : "unreadable");
}

static const struct {
	int error;
	void (*explain)(struct fault *f);
} causes[] = {
	{ X509_V_ERR_CERT_HAS_EXPIRED, on_expired },
	{ X509_V_ERR_CERT_NOT_YET_VALID, on_not_yet },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, on_no_issuer },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, on_no_issuer },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, on_no_issuer },
	{ X509_V_ERR_CERT_UNTRUSTED, on_no_issuer },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, on_self_issued },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, on_self_issued },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, on_bad_signature },
	{ X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE, on_bad_signature },
	{ X509_V_ERR_INVALID_PURPOSE, on_usage },
	{ X509_V_ERR_INVALID_CA, on_not_a_ca },
	{ X509_V_ERR_INVALID_NON_CA, on_not_a_ca },
	{ X509_V_ERR_PATH_LENGTH_EXCEEDED, on_not_a_ca },
	{ X509_V_ERR_KEYUSAGE_NO_CERTSIGN, on_not_a_ca },
	{ X509_V_ERR_EE_KEY_TOO_SMALL, on_weak },
	{ X509_V_ERR_CA_KEY_TOO_SMALL, on_weak },
	{ X509_V_ERR_CA_MD_TOO_WEAK, on_weak },
};

void
diagnose_ca(struct pki_peer *p, int error)
{
	peer_refuse(p, PKI_BAD_IS_CA, error, "give the client a certificate of its own",
	    "the certificate is that of a CA (basicConstraints CA:TRUE), not of a client");
}

void
diagnose(const struct pki_trust *t, X509_STORE_CTX *ctx, int64_t now, struct pki_peer *p)
{
	struct fault f = { .t = t, .ctx = ctx, .p = p, .now = now };

	f.error = X509_STORE_CTX_get_error(ctx);
	f.depth = X509_STORE_CTX_get_error_depth(ctx);
	f.cert = X509_STORE_CTX_get_current_cert(ctx);
	if (f.cert == NULL) {
		f.cert = X509_STORE_CTX_get0_cert(ctx);
		f.depth = 0;
	}
	if (f.error == X509_V_OK)
		f.error = X509_V_ERR_UNSPECIFIED;
	p->depth = f.depth;
	name_who(f.cert, f.depth, f.who, sizeof f.who);
	put_name(X509_get_issuer_name(f.cert), f.issuer, sizeof f.issuer);
	for (size_t i = 0; i < ARRAY_LEN(causes); i++) {
		if (causes[i].error == f.error) {
			causes[i].explain(&f);
			return;
		}
	}
	peer_refuse(p, PKI_BAD_OTHER, f.error, "look at the certificate with \"signet inspect\"", "%s was refused: %s", f.who,
	    X509_verify_cert_error_string(f.error));
}

void
diagnose_crl(const struct crl_answer *a, const X509 *cert, int depth, struct pki_peer *p)
{
	char who[260], name[220], when[32];

	name_who(cert, depth, who, sizeof who);
	put_name(X509_get_issuer_name(cert), name, sizeof name);
	p->depth = depth;
	if (a->cause == PKI_BAD_REVOKED)
		peer_refuse(p, a->cause, X509_V_ERR_CERT_REVOKED, "if this client is to come back, issue a new certificate",
		    "%s was revoked at %s (%s)", who, text_when(a->entry.date, when), pki_reason_text(a->entry.reason));
	else if (a->cause == PKI_BAD_CRL_EXPIRED)
		peer_refuse(p, a->cause, X509_V_ERR_CRL_HAS_EXPIRED, "fetch the CA's new CRL and reload the broker",
		    "the CRL of CA %s expired at %s: nobody can tell whether the certificate was revoked since", name,
		    text_when(a->crl->next, when));
	else if (a->cause == PKI_BAD_CRL_FUTURE)
		peer_refuse(p, a->cause, X509_V_ERR_CRL_NOT_YET_VALID, "check the clock of the broker",
		    "the CRL of CA %s is from the future (%s)", name, text_when(a->crl->last, when));
	else if (a->cause == PKI_BAD_CRL_SIGNATURE)
		peer_refuse(p, a->cause, X509_V_ERR_CRL_SIGNATURE_FAILURE, "fetch the CA's own CRL and reload the broker",
		    "the CRL that bears the name of CA %s was not signed by it", name);
	else
		peer_refuse(p, PKI_BAD_CRL_MISSING, X509_V_ERR_UNABLE_TO_GET_CRL,
		    "add the CRL of this CA to the crlfile, or remove the crlfile directive",
		    "there is no CRL of CA %s, and a crlfile is configured", name);
}
