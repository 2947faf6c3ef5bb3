/* Blocks of a PEM file with their line numbers, and what a file is when it is not what was asked for. */
#include "pki/internal.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/pkcs7.h>

static const char begin_mark[] = "-----BEGIN ", end_mark[] = "-----END ", dashes[] = "-----";

static struct slice
next_line(struct slice *rest)
{
	bool more;
	struct slice l = slice_cut(rest, '\n', &more);

	while (l.n > 0 && (l.p[l.n - 1] == '\r' || l.p[l.n - 1] == ' ' || l.p[l.n - 1] == '\t'))
		l.n--;
	return l;
}

/* "CERTIFICATE" of "-----BEGIN CERTIFICATE-----". */
static bool
mark_label(struct slice line, const char *mark, struct slice *ret)
{
	size_t m = strlen(mark), d = sizeof dashes - 1;

	if (!slice_starts(line, slice_str(mark)) || line.n < m + d ||
	    memcmp(line.p + line.n - d, dashes, d) != 0)
		return false;
	*ret = slice_of(line.p + m, line.n - m - d);
	return true;
}

bool
is_pem(struct slice file)
{
	return file.p != NULL && memmem(file.p, file.n, dashes, sizeof dashes - 1) != NULL &&
	    memmem(file.p, file.n, "BEGIN ", 6) != NULL;
}

static enum pem_result
broken(struct err *err, const char *name, unsigned line, const char *what)
{
	(void)err_set(err, ERR_INPUT, "%s:%u: %s", name, line, what);
	return PEM_BROKEN;
}

/* From behind the BEGIN line of <ret> to its END line. */
static enum pem_result
find_end(struct slice *rest, unsigned *line, const char *name, struct pem_block *ret, struct err *err)
{
	struct slice label;

	while (rest->n > 0) {
		struct slice l = next_line(rest);

		++*line;
		if (mark_label(l, end_mark, &label)) {
			if (!slice_eq(label, slice_str(ret->label)))
				return broken(err, name, *line, "this END line does not belong to the BEGIN before it");
			ret->text.n = (size_t)(l.p + l.n - ret->text.p);
			return PEM_BLOCK;
		}
		if (slice_starts(l, slice_str(begin_mark)))
			break;
	}
	(void)err_set(err, ERR_INPUT, "%s:%u: the block \"%s\" that begins here has no END line: the file was cut off", name,
	    ret->line, ret->label);
	return PEM_BROKEN;
}

enum pem_result
pem_next(struct slice *rest, unsigned *line, const char *name, struct pem_block *ret, struct err *err)
{
	struct slice label;

	while (rest->n > 0) {
		struct slice l = next_line(rest);

		++*line;
		if (!slice_starts(l, slice_str(begin_mark)))
			continue;
		if (!mark_label(l, begin_mark, &label) || !text_copy(ret->label, sizeof ret->label, label))
			return broken(err, name, *line, "this BEGIN line is damaged");
		for (size_t i = 0; ret->label[i] != '\0'; i++) {
			if (ret->label[i] < ' ' || ret->label[i] > '~')
				return broken(err, name, *line, "this BEGIN line is damaged");
		}
		ret->line = *line;
		ret->text = l;
		return find_end(rest, line, name, ret, err);
	}
	return PEM_NONE;
}

bool
pem_der(const struct pem_block *b, const char *name, uint8_t **ret, size_t *ret_n, struct err *err)
{
	auto_bio bio = BIO_new(BIO_s_mem());
	char *label = NULL, *header = NULL;
	unsigned char *data = NULL;
	long n = 0;
	bool ok;

	/* The copy has the final newline without which PEM_read_bio() takes a block at the end of a file for cut. */
	if (bio == NULL || b->text.n > INT32_MAX || BIO_write(bio, b->text.p, (int)b->text.n) <= 0 ||
	    BIO_write(bio, "\n", 1) != 1)
		return err_set(err, ERR_MEMORY, "out of memory");
	ok = PEM_read_bio(bio, &label, &header, &data, &n) == 1 && n > 0;
	ERR_clear_error();
	OPENSSL_free(label);
	OPENSSL_free(header);
	if (!ok) {
		OPENSSL_free(data);
		return err_set(err, ERR_INPUT, "%s:%u: the block \"%s\" that begins here is damaged (not valid base64)",
		    name, b->line, b->label);
	}
	*ret = data;
	*ret_n = (size_t)n;
	return true;
}

const char *
pem_label_kind(const char *label)
{
	static const struct {
		const char *label, *kind;
	} kinds[] = {
		{ "CERTIFICATE", "a certificate" },
		{ "X509 CERTIFICATE", "a certificate" },
		{ "TRUSTED CERTIFICATE", "an OpenSSL trusted certificate" },
		{ "CERTIFICATE REQUEST", "a certificate request" },
		{ "NEW CERTIFICATE REQUEST", "a certificate request" },
		{ "X509 CRL", "a CRL" },
		{ "PRIVATE KEY", "a private key" },
		{ "RSA PRIVATE KEY", "a private key" },
		{ "EC PRIVATE KEY", "a private key" },
		{ "DSA PRIVATE KEY", "a private key" },
		{ "ENCRYPTED PRIVATE KEY", "an encrypted private key" },
		{ "PUBLIC KEY", "a public key" },
		{ "RSA PUBLIC KEY", "a public key" },
		{ "EC PARAMETERS", "parameters of an EC key" },
		{ "DH PARAMETERS", "Diffie-Hellman parameters" },
		{ "PKCS7", "a PKCS#7 bundle" },
		{ "CMS", "a CMS message" },
		{ "OPENSSH PRIVATE KEY", "an SSH private key" },
		{ "PGP PUBLIC KEY BLOCK", "a PGP key" },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (strcmp(kinds[i].label, label) == 0)
			return kinds[i].kind;
	}
	return "a PEM block of an unknown kind";
}

/* Length of one DER value with its header; 0: it does not begin like a SEQUENCE that DER could hold. */
static uint64_t
der_length(struct slice der)
{
	unsigned n;
	uint64_t len = 0;

	if (der.n < 2 || der.p[0] != 0x30)
		return 0;
	if (der.p[1] < 0x80)
		return 2u + der.p[1];
	n = der.p[1] & 0x7fu;
	if (n < 1 || n > 4 || der.n < 2u + n)
		return 0;
	for (unsigned i = 0; i < n; i++)
		len = len << 8 | der.p[2 + i];
	return 2u + n + len;
}

bool
der_whole(struct slice der, const char *name, struct err *err)
{
	uint64_t want = der_length(der);

	if (want == 0)
		return err_set(err, ERR_INPUT, "%s: is %s", name, file_kind(der));
	if (want > der.n)
		return err_set(err, ERR_INPUT, "%s: is cut off: its DER needs %llu bytes and %zu are there", name,
		    (unsigned long long)want, der.n);
	if (want < der.n)
		return err_set(err, ERR_INPUT, "%s: has %llu bytes of something else behind its DER", name,
		    (unsigned long long)(der.n - want));
	return true;
}

static bool
der_is(struct slice der, void *(*d2i)(const unsigned char **, long), void (*drop)(void *))
{
	const unsigned char *p = der.p;
	void *v = der.n <= PKI_FILE_MAX ? d2i(&p, (long)der.n) : NULL;

	ERR_clear_error();
	if (v != NULL)
		drop(v);
	return v != NULL;
}

#define DER_KIND(name, type, d2i_fn, free_fn) \
	static void *name##_read(const unsigned char **p, long n) \
	{ \
		return d2i_fn(NULL, p, n); \
	} \
	static void name##_drop(void *v) \
	{ \
		type *x = v; \
		free_fn(x); \
	}
DER_KIND(k_cert, X509, d2i_X509, X509_free)
DER_KIND(k_req, X509_REQ, d2i_X509_REQ, X509_REQ_free)
DER_KIND(k_crl, X509_CRL, d2i_X509_CRL, X509_CRL_free)
DER_KIND(k_pub, EVP_PKEY, d2i_PUBKEY, EVP_PKEY_free)
DER_KIND(k_p7, PKCS7, d2i_PKCS7, PKCS7_free)
DER_KIND(k_p12, PKCS12, d2i_PKCS12, PKCS12_free)
DER_KIND(k_enc, X509_SIG, d2i_X509_SIG, X509_SIG_free)
DER_KIND(k_key, EVP_PKEY, d2i_AutoPrivateKey, EVP_PKEY_free)

static const char *
der_kind(struct slice der)
{
	static const struct {
		void *(*d2i)(const unsigned char **, long);
		void (*drop)(void *);
		const char *kind;
	} kinds[] = {
		{ k_cert_read, k_cert_drop, "a certificate in DER" },
		{ k_req_read, k_req_drop, "a certificate request in DER" },
		{ k_crl_read, k_crl_drop, "a CRL in DER" },
		{ k_key_read, k_key_drop, "a private key in DER" },
		{ k_enc_read, k_enc_drop, "an encrypted private key in DER" },
		{ k_pub_read, k_pub_drop, "a public key in DER" },
		{ k_p12_read, k_p12_drop, "a PKCS#12 bundle" },
		{ k_p7_read, k_p7_drop, "a PKCS#7 bundle in DER" },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (der_is(der, kinds[i].d2i, kinds[i].drop))
			return kinds[i].kind;
	}
	return "DER of an unknown kind, or damaged";
}

const char *
file_kind(struct slice file)
{
	struct pem_block b;
	unsigned line = 0;

	if (file.n == 0)
		return "an empty file";
	if (is_pem(file)) {
		struct slice rest = file;

		return pem_next(&rest, &line, "", &b, NULL) == PEM_BLOCK ? pem_label_kind(b.label) : "a damaged PEM file";
	}
	if (der_length(file) != 0)
		return der_length(file) > file.n ? "DER that was cut off" : der_kind(file);
	if (utf8_ok(file))
		return "text without a PEM block";
	return "neither PEM nor DER";
}
