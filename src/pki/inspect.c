/* signet inspect: everything in a file, in words; what cannot be read is named with its place. */
#include "pki/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

enum { REVOKED_SHOWN = 100 };

static void
put(const struct look *l, const char *name, const char *value)
{
	look_put(l, name, value);
}

static void
put_many(const struct look *l, const char *name, const char *value)
{
	l->v->field(l->v->ctx, name, value, true);
}

static void
put_name(const struct look *l, const char *field, const X509_NAME *n)
{
	auto_str s = name_text(n);

	put(l, field, s == NULL || s[0] == '\0' ? "(empty)" : s);
}

static void
put_hex(const struct look *l, const char *field, const uint8_t *p, size_t n)
{
	char hex[129];

	put(l, field, text_hex(slice_of(p, n), hex, sizeof hex));
}

static void
put_time(const struct look *l, const char *field, const ASN1_TIME *t)
{
	char text[32];

	put(l, field, text_when(time_of(t), text));
}

static void
put_validity(const struct look *l, const X509 *x)
{
	int64_t from = time_of(X509_get0_notBefore(x)), to = time_of(X509_get0_notAfter(x));
	char days[32], text[96];

	put_time(l, "not_before", X509_get0_notBefore(x));
	put_time(l, "not_after", X509_get0_notAfter(x));
	if (l->now < from)
		(void)snprintf(text, sizeof text, "not valid yet: begins in %s", days_text(from - l->now, days));
	else if (l->now >= to)
		(void)snprintf(text, sizeof text, "EXPIRED %s ago", days_text(l->now - to, days));
	else
		(void)snprintf(text, sizeof text, "valid, expires in %s", days_text(to - l->now, days));
	put(l, "validity", text);
}

static void
put_key(const struct look *l, const EVP_PKEY *k)
{
	char text[96];
	unsigned char *der = NULL;
	uint8_t hash[32];
	unsigned n = sizeof hash;
	int len;

	if (k == NULL) {
		put(l, "key", "unreadable");
		return;
	}
	put(l, "key", key_text(k, text, sizeof text));
	len = i2d_PUBKEY(k, &der);
	if (len > 0 && EVP_Digest(der, (size_t)len, hash, &n, EVP_sha256(), NULL) == 1)
		put_hex(l, "key_sha256", hash, sizeof hash);
	OPENSSL_free(der);
}

static void
put_ip(const struct look *l, const ASN1_STRING *v)
{
	const unsigned char *p = ASN1_STRING_get0_data(v);
	int n = ASN1_STRING_length(v);
	char text[64] = "IP:(malformed)";

	if (n == 4)
		(void)snprintf(text, sizeof text, "IP:%u.%u.%u.%u", p[0], p[1], p[2], p[3]);
	else if (n == 16)
		(void)snprintf(text, sizeof text, "IP:%x:%x:%x:%x:%x:%x:%x:%x", p[0] << 8 | p[1], p[2] << 8 | p[3],
		    p[4] << 8 | p[5], p[6] << 8 | p[7], p[8] << 8 | p[9], p[10] << 8 | p[11], p[12] << 8 | p[13],
		    p[14] << 8 | p[15]);
	put_many(l, "san", text);
}

static void
put_san(const struct look *l, const GENERAL_NAMES *names)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		int type;
		const ASN1_STRING *v = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
		const char *prefix = type == GEN_DNS ? "DNS:" : type == GEN_EMAIL ? "email:" : type == GEN_URI ? "URI:" : NULL;
		char shown[300], text[400];

		if (type == GEN_IPADD) {
			put_ip(l, v);
			continue;
		}
		if (prefix == NULL) {
			put_many(l, "san", "(another kind of name)");
			continue;
		}
		(void)text_show(slice_of(ASN1_STRING_get0_data(v), (size_t)ASN1_STRING_length(v)), shown, sizeof shown);
		(void)snprintf(text, sizeof text, "%s%s", prefix, shown);
		put_many(l, "san", text);
	}
}

struct bit {
	uint32_t mask;
	const char *name;
};

static void
put_bits(const struct look *l, const char *field, uint32_t value, const struct bit *bits, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if ((value & bits[i].mask) != 0)
			put_many(l, field, bits[i].name);
	}
}

static void
put_usage(const struct look *l, X509 *x)
{
	static const struct bit usage[] = {
		{ KU_DIGITAL_SIGNATURE, "digitalSignature" }, { KU_NON_REPUDIATION, "nonRepudiation" },
		{ KU_KEY_ENCIPHERMENT, "keyEncipherment" }, { KU_DATA_ENCIPHERMENT, "dataEncipherment" },
		{ KU_KEY_AGREEMENT, "keyAgreement" }, { KU_KEY_CERT_SIGN, "keyCertSign" }, { KU_CRL_SIGN, "cRLSign" },
	};
	static const struct bit extended[] = {
		{ XKU_SSL_SERVER, "serverAuth" }, { XKU_SSL_CLIENT, "clientAuth" }, { XKU_CODE_SIGN, "codeSigning" },
		{ XKU_SMIME, "emailProtection" }, { XKU_TIMESTAMP, "timeStamping" }, { XKU_OCSP_SIGN, "OCSPSigning" },
		{ XKU_ANYEKU, "anyExtendedKeyUsage" },
	};
	uint32_t flags = X509_get_extension_flags(x);

	if ((flags & EXFLAG_KUSAGE) != 0)
		put_bits(l, "key_usage", X509_get_key_usage(x), usage, ARRAY_LEN(usage));
	if ((flags & EXFLAG_XKUSAGE) != 0)
		put_bits(l, "extended_key_usage", X509_get_extended_key_usage(x), extended, ARRAY_LEN(extended));
}

/* What it is good for, as a verifier decides it. Roles come from the issuer's key, so no file alone can tell them. */
static void
put_purpose(const struct look *l, X509 *x)
{
	char text[96];
	long path = X509_get_pathlen(x);

	if (X509_check_ca(x) > 0) {
		(void)snprintf(text, sizeof text, path >= 0 ? "CA (path length %ld)" : "CA", path);
		put_many(l, "purpose", text);
		if (cert_is_self_issued(x))
			put_many(l, "purpose", "root (self-signed)");
		return;
	}
	if (X509_check_purpose(x, X509_PURPOSE_SSL_CLIENT, 0) == 1)
		put_many(l, "purpose", "TLS client (device, watcher, controller)");
	if (X509_check_purpose(x, X509_PURPOSE_SSL_SERVER, 0) == 1)
		put_many(l, "purpose", "TLS server (broker)");
	if (cert_is_self_issued(x))
		put_many(l, "purpose", "self-signed: no CA vouches for it");
}

static void
show_cn_fault(const struct look *l, const X509 *x)
{
	char why[128], text[256];
	auto_str cn = NULL;

	if (name_cn(X509_get_subject_name(x), &cn, why, sizeof why))
		return;
	(void)snprintf(text, sizeof text, "no identity for the broker: the common name %s", why);
	put_many(l, "warning", text);
}

static void
show_cert(const struct look *l, X509 *x)
{
	uint8_t serial[AUTHZ_SERIAL_MAX], print[32];
	size_t n = serial_bytes(X509_get0_serialNumber(x), serial);
	auto_gens san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	char version[24];

	put_name(l, "subject", X509_get_subject_name(x));
	put_name(l, "issuer", X509_get_issuer_name(x));
	if (n > 0)
		put_hex(l, "serial", serial, n);
	else
		put(l, "serial", "(longer than 20 octets)");
	put_san(l, san);
	put_validity(l, x);
	put_key(l, X509_get0_pubkey(x));
	put(l, "signature", OBJ_nid2ln(X509_get_signature_nid(x)));
	if (cert_fingerprint(x, print))
		put_hex(l, "sha256", print, sizeof print);
	(void)snprintf(version, sizeof version, "%ld", X509_get_version(x) + 1);
	put(l, "version", version);
	put_usage(l, x);
	put_purpose(l, x);
	look_places(l, x);
	show_cn_fault(l, x);
}

static void
show_req(const struct look *l, X509_REQ *r)
{
	STACK_OF(X509_EXTENSION) *list = X509_REQ_get_extensions(r);
	EVP_PKEY *k = X509_REQ_get0_pubkey(r);

	put_name(l, "subject", X509_REQ_get_subject_name(r));
	for (int i = 0; i < sk_X509_EXTENSION_num(list); i++) {
		X509_EXTENSION *e = sk_X509_EXTENSION_value(list, i);
		int nid = OBJ_obj2nid(X509_EXTENSION_get_object(e));
		auto_gens san = nid == NID_subject_alt_name ? X509V3_EXT_d2i(e) : NULL;

		put_san(l, san);
		if (nid != NID_subject_alt_name)
			put_many(l, "asks_for", nid != NID_undef ? OBJ_nid2sn(nid) : "(unknown extension)");
	}
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	put_key(l, k);
	put(l, "signature", OBJ_nid2ln(X509_REQ_get_signature_nid(r)));
	put(l, "self_signature", k != NULL && X509_REQ_verify(r, k) == 1 ? "good" : "BAD");
}

static void
show_crl(const struct look *l, X509_CRL *c)
{
	STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(c);
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(c);
	int n = sk_X509_REVOKED_num(list) > 0 ? sk_X509_REVOKED_num(list) : 0;
	uint8_t serial[AUTHZ_SERIAL_MAX];
	char text[160], hex[2 * AUTHZ_SERIAL_MAX + 1], when[32], days[32];

	put_name(l, "issuer", X509_CRL_get_issuer(c));
	put_time(l, "last_update", X509_CRL_get0_lastUpdate(c));
	if (next != NULL) {
		int64_t t = time_of(next);

		put_time(l, "next_update", next);
		(void)snprintf(text, sizeof text, t > l->now ? "valid, expires in %s" : "EXPIRED %s ago",
		    days_text(t - l->now, days));
		put(l, "validity", text);
	}
	put(l, "signature", OBJ_nid2ln(X509_CRL_get_signature_nid(c)));
	(void)snprintf(text, sizeof text, "%d", n);
	put(l, "revoked_count", text);
	for (int i = 0; i < n && i < REVOKED_SHOWN; i++) {
		X509_REVOKED *r = sk_X509_REVOKED_value(list, i);
		size_t len = serial_bytes(X509_REVOKED_get0_serialNumber(r), serial);
		ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(r, NID_crl_reason, NULL, NULL);

		(void)snprintf(text, sizeof text, "%s at %s (%s)", text_hex(slice_of(serial, len), hex, sizeof hex),
		    text_when(time_of(X509_REVOKED_get0_revocationDate(r)), when),
		    pki_reason_text(reason != NULL ? (int)ASN1_ENUMERATED_get(reason) : -1));
		ASN1_ENUMERATED_free(reason);
		put_many(l, "revoked", text);
	}
	if (n > REVOKED_SHOWN)
		put_many(l, "revoked", "(the rest is not shown)");
}

static void
begin(const struct look *l, const char *kind, unsigned line)
{
	look_begin(l, kind, line);
}

void
look_cert(const struct look *l, X509 *x, unsigned line)
{
	begin(l, "certificate", line);
	show_cert(l, x);
}

void
look_crl(const struct look *l, X509_CRL *c, unsigned line)
{
	begin(l, "CRL", line);
	show_crl(l, c);
}

void
look_key(const struct look *l, const EVP_PKEY *k, unsigned line)
{
	begin(l, "private key", line);
	put(l, "encrypted", k != NULL ? "no" : "yes");
	if (k != NULL)
		put_key(l, k);
}

/* One DER object of a kind that is known from its label, or is tried. */
static bool
try_der(const struct look *l, struct slice der, unsigned line, const char *label)
{
	const unsigned char *p = der.p;
	bool any = label == NULL;

	ERR_clear_error();
	if (any || strcmp(label, "CERTIFICATE") == 0 || strcmp(label, "X509 CERTIFICATE") == 0) {
		auto_x509 x = d2i_X509(NULL, &p, (long)der.n);

		if (x != NULL) {
			look_cert(l, x, line);
			return true;
		}
	}
	p = der.p;
	if (any || strcmp(label, "CERTIFICATE REQUEST") == 0 || strcmp(label, "NEW CERTIFICATE REQUEST") == 0) {
		auto_req r = d2i_X509_REQ(NULL, &p, (long)der.n);

		if (r != NULL) {
			begin(l, "certificate request", line);
			show_req(l, r);
			return true;
		}
	}
	p = der.p;
	if (any || strcmp(label, "X509 CRL") == 0) {
		auto_crl c = d2i_X509_CRL(NULL, &p, (long)der.n);

		if (c != NULL) {
			look_crl(l, c, line);
			return true;
		}
	}
	if ((any || strcmp(label, "PKCS7") == 0 || strcmp(label, "CMS") == 0) && look_pkcs7(l, der, line))
		return true;
	p = der.p;
	if (any || strcmp(label, "PUBLIC KEY") == 0) {
		auto_pkey k = d2i_PUBKEY(NULL, &p, (long)der.n);

		if (k != NULL) {
			begin(l, "public key", line);
			put_key(l, k);
			return true;
		}
	}
	return false;
}

/* Of an encrypted key nothing can be told without its passphrase, and looking should not ask for one. */
static bool
show_key(const struct look *l, struct slice text, unsigned line)
{
	EVP_PKEY *k;

	if (pki_key_is_encrypted(text) && l->v->secret == NULL) {
		look_key(l, NULL, line);
		return true;
	}
	k = key_parse(text, l->name, l->v->secret, "the key", l->err);
	if (k == NULL)
		return false;
	look_key(l, k, line);
	EVP_PKEY_free(k);
	return true;
}

static bool
show_block(const struct look *l, const struct pem_block *b)
{
	uint8_t *der = NULL;
	size_t n;
	bool ok;

	if (strstr(b->label, "PRIVATE KEY") != NULL && strstr(b->label, "SSH") == NULL) {
		if (show_key(l, b->text, b->line))
			return true;
		/* Of one that was to be opened the error says enough: the passphrase may be wrong. */
		if (l->v->secret != NULL && pki_key_is_encrypted(b->text))
			return false;
		return err_set(l->err, ERR_INPUT, "%s:%u: the private key that begins here is damaged", l->name, b->line);
	}
	if (strstr(b->label, "PARAMETERS") != NULL)
		return true;
	if (!pem_der(b, l->name, &der, &n, l->err))
		return false;
	ok = try_der(l, slice_of(der, n), b->line, b->label);
	OPENSSL_clear_free(der, n);
	ERR_clear_error();
	if (ok)
		return true;
	if (strcmp(pem_label_kind(b->label), "a PEM block of an unknown kind") == 0 || strstr(b->label, "CERTIFICATE") == NULL)
		return err_set(l->err, ERR_INPUT, "%s:%u: %s (\"%s\"), which cannot be shown", l->name, b->line,
		    pem_label_kind(b->label), b->label);
	return err_set(l->err, ERR_INPUT, "%s:%u: the block \"%s\" that begins here is damaged", l->name, b->line, b->label);
}

static bool
show_pem(const struct look *l, struct slice file)
{
	struct pem_block b;
	unsigned line = 0, found = 0;

	for (;;) {
		enum pem_result r = pem_next(&file, &line, l->name, &b, l->err);

		if (r == PEM_BROKEN)
			return false;
		if (r == PEM_NONE)
			break;
		found++;
		if (!show_block(l, &b))
			return false;
	}
	return found > 0 || err_set(l->err, ERR_INPUT, "%s: has no PEM block", l->name);
}

static bool
show_der(const struct look *l, struct slice file)
{
	const unsigned char *p = file.p;
	EVP_PKEY *k;
	X509_SIG *enc;
	bool ok;

	if (!der_whole(file, l->name, l->err))
		return false;
	if (try_der(l, file, 0, NULL) || look_ocsp(l, file))
		return true;
	if (look_pkcs12(l, file, &ok))
		return ok;
	k = d2i_AutoPrivateKey(NULL, &p, (long)file.n);
	p = file.p;
	enc = k == NULL ? d2i_X509_SIG(NULL, &p, (long)file.n) : NULL;
	ERR_clear_error();
	if (k == NULL && enc == NULL)
		return err_set(l->err, ERR_INPUT, "%s: is %s, which cannot be shown", l->name, file_kind(file));
	look_key(l, k, 0);
	EVP_PKEY_free(k);
	X509_SIG_free(enc);
	return true;
}

bool
pki_inspect(struct slice file, const char *name, int64_t now, const struct pki_view *view, struct err *err)
{
	struct look l = { view, name, pki_clock(now), err };

	ERR_clear_error();
	if (file.n == 0)
		return err_set(err, ERR_INPUT, "%s: is an empty file", name);
	return is_pem(file) ? show_pem(&l, file) : show_der(&l, file);
}
