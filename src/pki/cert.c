/* Certificates by profile: everything in them is decided here, nothing comes from a request but the key and checked names. */
#include "pki/internal.h"

#include <stdio.h>
#include <openssl/err.h>

/* Clocks of devices are often a little slow; a certificate made now has to work now. */
enum { SKEW_S = 300, DAY_S = 86400, SERIAL_BITS = 128 };

struct profile_row {
	const char *name;
	unsigned days;
	const char *constraints;
	const char *usage, *usage_rsa; /* usage NULL: for RSA keys only */
	const char *extended;
	bool nocheck;                  /* not to be looked up itself (RFC 6960 4.2.2.2.1) */
};

/* RFC 5280 4.2.1.3, 4.2.1.9, 4.2.1.12. The client's key usage is not critical (checklist A11): some embedded stacks refuse
 * critical extensions that they do not know. keyEncipherment means something for RSA keys only. */
static const struct profile_row profiles[PROFILE_COUNT] = {
	[PROFILE_ROOT] = { "root", 7300, "critical,CA:TRUE", "critical,keyCertSign,cRLSign", NULL, NULL },
	[PROFILE_ROLE_CA] = { "ca", 3650, "critical,CA:TRUE,pathlen:0", "critical,keyCertSign,cRLSign", NULL, NULL },
	[PROFILE_SERVER] = { "server", 398, "critical,CA:FALSE", "critical,digitalSignature",
	    "critical,digitalSignature,keyEncipherment", "serverAuth" },
	[PROFILE_CLIENT] = { "client", 730, "CA:FALSE", "digitalSignature", "digitalSignature,keyEncipherment",
	    "clientAuth" },
	/* What dojot's EJBCA makes: no extended key usage, so that a device may also be a server; RSA only. */
	[PROFILE_CFREE] = { "cfree", 730, "CA:FALSE", NULL,
	    "digitalSignature,nonRepudiation,keyEncipherment,dataEncipherment,keyAgreement", NULL },
	/* Short, as nobody asks whether it was revoked. */
	[PROFILE_OCSP] = { "ocsp", 90, "critical,CA:FALSE", "critical,digitalSignature", NULL, "critical,OCSPSigning", true },
};

const char *
profile_name(enum profile p)
{
	return profiles[p].name;
}

unsigned
profile_days(enum profile p)
{
	return profiles[p].days;
}

static bool
add_extension(X509 *x, X509V3_CTX *ctx, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
	bool ok = e != NULL && X509_add_ext(x, e, -1) == 1;

	X509_EXTENSION_free(e);
	return ok;
}

bool
url_ok(const char *url)
{
	static const char fine[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?&=%[]@";
	size_t n = strlen(url);

	return strncmp(url, "http://", 7) == 0 && n > 7 && n < 400 && strspn(url, fine) == n;
}

/* Where revocation is asked for, and where the issuer's certificate is (RFC 5280 4.2.1.13, 4.2.2.1). */
static bool
add_urls(X509 *x, X509V3_CTX *ctx, const struct cert_spec *s)
{
	bool ocsp = s->ocsp_url != NULL, issuers = s->issuers_url != NULL;
	char value[1024];

	/* One with ocsp-nocheck is looked up nowhere. */
	if (profiles[s->profile].nocheck)
		return true;
	if ((s->crl_url != NULL && !url_ok(s->crl_url)) || (ocsp && !url_ok(s->ocsp_url)) || (issuers && !url_ok(s->issuers_url)))
		return false;
	if (s->crl_url != NULL) {
		(void)snprintf(value, sizeof value, "URI:%s", s->crl_url);
		if (!add_extension(x, ctx, NID_crl_distribution_points, value))
			return false;
	}
	(void)snprintf(value, sizeof value, "%s%s%s%s%s", ocsp ? "OCSP;URI:" : "", ocsp ? s->ocsp_url : "", ocsp && issuers ? "," : "",
	    issuers ? "caIssuers;URI:" : "", issuers ? s->issuers_url : "");
	return value[0] == '\0' || add_extension(x, ctx, NID_info_access, value);
}

static bool
add_extensions(X509 *x, const struct cert_spec *s)
{
	const struct profile_row *p = &profiles[s->profile];
	X509 *issuer = s->issuer != NULL ? s->issuer : x;
	const char *usage = p->usage_rsa != NULL && EVP_PKEY_is_a(s->key, "RSA") ? p->usage_rsa : p->usage;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	if (!add_urls(x, &ctx, s) || !add_extension(x, &ctx, NID_basic_constraints, p->constraints) ||
	    !add_extension(x, &ctx, NID_key_usage, usage) ||
	    (p->extended != NULL && !add_extension(x, &ctx, NID_ext_key_usage, p->extended)) ||
	    (p->nocheck && !add_extension(x, &ctx, NID_id_pkix_OCSP_noCheck, "ignored")) ||
	    !add_extension(x, &ctx, NID_subject_key_identifier, "hash"))
		return false;
	/* An adopted CA may lack the identifier that this one would repeat. */
	if (X509_get_ext_by_NID(issuer, NID_subject_key_identifier, -1) >= 0 &&
	    !add_extension(x, &ctx, NID_authority_key_identifier, "keyid"))
		return false;
	if (s->san != NULL && sk_GENERAL_NAME_num(s->san) > 0)
		return X509_add1_ext_i2d(x, NID_subject_alt_name, (void *)(uintptr_t)s->san, 0, 0) == 1;
	return true;
}

/* RFC 5280 4.1.2.2: positive, at most 20 octets; 128 random bits need no counter and no memory of what was given out. */
static bool
set_serial(X509 *x)
{
	uint8_t bytes[SERIAL_BITS / 8];
	BIGNUM *n;
	bool ok;

	do
		random_bytes(bytes, sizeof bytes);
	while (bytes[0] == 0);
	n = BN_bin2bn(bytes, sizeof bytes, NULL);
	ok = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;
	BN_free(n);
	return ok;
}

static bool
set_time(X509 *x, int64_t t, int (*set)(X509 *, const ASN1_TIME *))
{
	ASN1_TIME *at = ASN1_TIME_set(NULL, (time_t)t);
	bool ok = at != NULL && set(x, at) == 1;

	ASN1_TIME_free(at);
	return ok;
}

static bool
set_validity(X509 *x, const struct cert_spec *s, bool *ret_clipped, struct err *err)
{
	int64_t from = s->now - SKEW_S, to = s->now + (int64_t)s->days * DAY_S;
	char when[32];

	*ret_clipped = false;
	if (s->issuer != NULL) {
		int64_t first = time_of(X509_get0_notBefore(s->issuer)), last = time_of(X509_get0_notAfter(s->issuer));

		if (last <= s->now)
			return err_set(err, ERR_DENIED, "the CA's certificate expired at %s: it can issue nothing more",
			    text_when(last, when));
		if (first > s->now)
			return err_set(err, ERR_DENIED, "the CA's certificate is not valid before %s: check the clock",
			    text_when(first, when));
		from = NUM_MAX(from, first);
		*ret_clipped = to > last;
		to = NUM_MIN(to, last);
	}
	if (!set_time(x, from, X509_set1_notBefore) || !set_time(x, to, X509_set1_notAfter))
		return crypto_err(err, "cannot set the validity");
	return true;
}

static X509_NAME *
make_name(const struct cert_spec *s)
{
	X509_NAME *n = X509_NAME_new();

	if (n == NULL)
		return NULL;
	if ((s->org != NULL &&
		X509_NAME_add_entry_by_txt(n, "O", MBSTRING_UTF8, (const unsigned char *)s->org, -1, -1, 0) != 1) ||
	    X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, (const unsigned char *)s->cn, -1, -1, 0) != 1) {
		X509_NAME_free(n);
		return NULL;
	}
	return n;
}

/* The subject, which must not be the issuer's (checklist A6): a verifier would take the leaf for a self-signed CA. The CN alone
 * is compared too, because that is what people and dojot's documents compare. */
static bool
set_names(X509 *x, const struct cert_spec *s, struct err *err)
{
	X509_NAME *name = make_name(s);
	const X509_NAME *issuer = s->issuer != NULL ? X509_get_subject_name(s->issuer) : name;
	char why[128];
	auto_str cn = NULL;
	bool ok;

	if (name == NULL)
		return crypto_err(err, "cannot make the subject of \"%s\"", s->cn);
	if (s->issuer != NULL && (X509_NAME_cmp(name, issuer) == 0 ||
	    (name_cn(issuer, &cn, why, sizeof why) && strcmp(cn, s->cn) == 0))) {
		X509_NAME_free(name);
		return err_set(err, ERR_DENIED, "\"%s\" is the name of the CA itself: a certificate needs another name than its issuer",
		    s->cn);
	}
	ok = X509_set_subject_name(x, name) == 1 && X509_set_issuer_name(x, issuer) == 1;
	X509_NAME_free(name);
	return ok || crypto_err(err, "cannot set the names of \"%s\"", s->cn);
}

X509 *
cert_make(const struct cert_spec *s, bool *ret_clipped, struct err *err)
{
	X509 *x = X509_new();
	EVP_PKEY *signer = s->issuer_key != NULL ? s->issuer_key : s->key;

	if (x == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	ERR_clear_error();
	if (profiles[s->profile].usage == NULL && !EVP_PKEY_is_a(s->key, "RSA")) {
		X509_free(x);
		(void)err_set(err, ERR_DENIED, "the profile %s is for RSA keys only", profile_name(s->profile));
		return NULL;
	}
	if (!set_names(x, s, err) || !set_validity(x, s, ret_clipped, err))
		goto fail;
	/* The signature is checked before anybody gets it: a fault while signing must not leave the house. */
	if (X509_set_version(x, X509_VERSION_3) != 1 || !set_serial(x) || X509_set_pubkey(x, s->key) != 1 ||
	    !add_extensions(x, s) || X509_sign(x, signer, key_digest(signer)) <= 0 || X509_verify(x, signer) != 1) {
		(void)crypto_err(err, "cannot make the certificate of \"%s\"", s->cn);
		goto fail;
	}
	return x;
fail:
	X509_free(x);
	return NULL;
}
