/* What stands in certificates, as text and plain values; and libcrypto's error queue as one sentence. */
#include "pki/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <openssl/core_names.h>
#include <openssl/err.h>

/* Take the oldest error: the later ones are what the callers made of it. */
static void
crypto_reason(char *out, size_t cap)
{
	const char *data = NULL, *why;
	int flags = 0;
	unsigned long code = ERR_get_error_all(NULL, NULL, NULL, &data, &flags);

	/* Of our own methods (tkey.c) the words count. */
	if (ERR_GET_LIB(code) == ERR_LIB_USER && (flags & ERR_TXT_STRING) != 0)
		why = data;
	else
		why = code != 0 ? ERR_reason_error_string(code) : NULL;

	(void)snprintf(out, cap, "%s", why != NULL ? why : "libcrypto gives no reason");
	ERR_clear_error();
}

static bool __attribute__((format(printf, 3, 0)))
set_with_reason(struct err *e, enum err_code code, const char *fmt, va_list ap)
{
	char text[320], why[320];

	crypto_reason(why, sizeof why);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	return err_set(e, code, "%s: %s", text, why);
}

bool
crypto_err(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)set_with_reason(e, ERR_SYSTEM, fmt, ap);
	va_end(ap);
	return false;
}

bool
crypto_input_err(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)set_with_reason(e, ERR_INPUT, fmt, ap);
	va_end(ap);
	return false;
}

int64_t
pki_clock(int64_t now)
{
	return now != 0 ? now : (int64_t)time(NULL);
}

char *
name_text(const X509_NAME *n)
{
	auto_bio b = BIO_new(BIO_s_mem());
	char *data, *s;
	long len;

	if (b == NULL || X509_NAME_print_ex(b, n, 0, XN_FLAG_RFC2253) < 0)
		return NULL;
	len = BIO_get_mem_data(b, &data);
	s = malloc((size_t)len + 1);
	if (s == NULL)
		return NULL;
	if (len > 0)
		memcpy(s, data, (size_t)len);
	s[len] = '\0';
	return s;
}

int64_t
time_of(const ASN1_TIME *t)
{
	struct tm tm = { 0 };

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return NO_TIME;
	return (int64_t)timegm(&tm);
}

const char *
days_text(int64_t seconds, char out[32])
{
	uint64_t s = seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds;
	uint64_t n = s >= 86400 ? s / 86400 : s >= 3600 ? s / 3600 : s >= 60 ? s / 60 : s;
	const char *unit = s >= 86400 ? "day" : s >= 3600 ? "hour" : s >= 60 ? "minute" : "second";

	(void)snprintf(out, 32, "%llu %s%s", (unsigned long long)n, unit, n == 1 ? "" : "s");
	return out;
}

size_t
serial_bytes(const ASN1_INTEGER *s, uint8_t out[AUTHZ_SERIAL_MAX])
{
	const uint8_t *p = ASN1_STRING_get0_data(s);
	int n = ASN1_STRING_length(s);

	/* libcrypto keeps the magnitude; leading zeros of a careless encoder are not part of it. */
	while (n > 1 && p[0] == 0) {
		p++;
		n--;
	}
	if (n < 1 || n > AUTHZ_SERIAL_MAX)
		return 0;
	memcpy(out, p, (size_t)n);
	return (size_t)n;
}

ASN1_INTEGER *
serial_of(struct slice bytes)
{
	BIGNUM *bn = BN_bin2bn(bytes.p, (int)bytes.n, NULL);
	ASN1_INTEGER *n = bn != NULL ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;

	BN_free(bn);
	return n;
}

bool
cert_fingerprint(const X509 *x, uint8_t out[32])
{
	unsigned n = 32;

	return X509_digest(x, EVP_sha256(), out, &n) == 1 && n == 32;
}

bool
spki_hash(const X509 *x, uint8_t out[32])
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	unsigned len = 32;
	bool ok = n > 0 && EVP_Digest(der, (size_t)n, out, &len, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return ok && len == 32;
}

/* Only the string types whose meaning is certain: UTF8String, and the two that are ASCII. A BMPString or T61String would have
 * to be translated, and two encodings of one name are two chances to be somebody else. */
static bool
cn_string(const ASN1_STRING *s, char **ret, char *why, size_t cap)
{
	int type = ASN1_STRING_type(s);
	struct slice v = slice_of(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));

	if (type != V_ASN1_UTF8STRING && type != V_ASN1_PRINTABLESTRING && type != V_ASN1_IA5STRING) {
		const char *name = ASN1_tag2str(type);

		(void)snprintf(why, cap, "is encoded as %.40s; UTF8String is expected", name);
		return false;
	}
	if (!pki_cn_ok(v, why, cap))
		return false;
	*ret = malloc(v.n + 1);
	if (*ret == NULL) {
		(void)snprintf(why, cap, "could not be kept: out of memory");
		return false;
	}
	memcpy(*ret, v.p, v.n);
	(*ret)[v.n] = '\0';
	return true;
}

bool
name_cn(const X509_NAME *n, char **ret, char *why, size_t cap)
{
	int at = X509_NAME_get_index_by_NID(n, NID_commonName, -1);

	if (at < 0) {
		(void)snprintf(why, cap, "is missing");
		return false;
	}
	if (X509_NAME_get_index_by_NID(n, NID_commonName, at) >= 0) {
		(void)snprintf(why, cap, "stands there more than once");
		return false;
	}
	return cn_string(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(n, at)), ret, why, cap);
}

bool
cert_is_self_issued(const X509 *x)
{
	return X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)) == 0;
}

const char *
key_text(const EVP_PKEY *k, char *out, size_t cap)
{
	char group[64] = "";
	size_t n = 0;

	if (EVP_PKEY_is_a(k, "RSA"))
		(void)snprintf(out, cap, "RSA %d bits", EVP_PKEY_get_bits(k));
	else if (EVP_PKEY_is_a(k, "EC") &&
	    EVP_PKEY_get_utf8_string_param(k, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &n))
		(void)snprintf(out, cap, "EC %s",
		    strcmp(group, "prime256v1") == 0      ? "P-256"
			: strcmp(group, "secp384r1") == 0 ? "P-384"
			: strcmp(group, "secp521r1") == 0 ? "P-521"
							  : group);
	else
		(void)snprintf(out, cap, "%s", EVP_PKEY_get0_type_name(k) != NULL ?
			EVP_PKEY_get0_type_name(k) : "unknown");
	return out;
}
