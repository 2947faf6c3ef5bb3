/* Certificates, requests and CRLs from bytes, PEM or DER; every refusal names the file and the line or what it is instead. */
#include "pki/internal.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

/* What one kind of object needs to be read. */
struct kind {
	const char *what;            /* "a certificate" */
	const char *labels[3];
	/* Parse all of <der> and keep it in <out>. */
	bool (*add)(void *out, const unsigned char *der, size_t n);
	bool one;                    /* at most one is allowed */
};

static bool
add_cert(void *out, const unsigned char *der, size_t n)
{
	STACK_OF(X509) *list = out;
	const unsigned char *p = der;
	X509 *x = d2i_X509(NULL, &p, (long)n);

	if (x != NULL && p == der + n && sk_X509_push(list, x) > 0)
		return true;
	X509_free(x);
	return false;
}

static bool
add_req(void *out, const unsigned char *der, size_t n)
{
	X509_REQ **req = out;
	const unsigned char *p = der;
	X509_REQ *x = d2i_X509_REQ(NULL, &p, (long)n);

	if (x != NULL && p == der + n) {
		*req = x;
		return true;
	}
	X509_REQ_free(x);
	return false;
}

static const struct kind certificates = { "a certificate", { "CERTIFICATE", "X509 CERTIFICATE", NULL }, add_cert, false };
static const struct kind requests = {
	"a certificate request", { "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST", NULL }, add_req, true
};

static bool
is_label(const struct kind *k, const char *label)
{
	for (size_t i = 0; i < ARRAY_LEN(k->labels) && k->labels[i] != NULL; i++) {
		if (strcmp(k->labels[i], label) == 0)
			return true;
	}
	return false;
}

static bool
add_block(const struct pem_block *b, const char *name, const struct kind *k, void *out, struct err *err)
{
	uint8_t *der = NULL;
	size_t n;
	bool ok;

	if (!pem_der(b, name, &der, &n, err))
		return false;
	ok = k->add(out, der, n);
	OPENSSL_free(der);
	if (!ok)
		return crypto_input_err(err, "%s:%u: the block that begins here is not %s or is damaged", name, b->line, k->what);
	return true;
}

static bool
parse_pem(struct slice file, const char *name, const struct kind *k, void *out, struct err *err)
{
	struct pem_block b;
	unsigned line = 0, found = 0;
	const char *other = NULL;

	for (;;) {
		enum pem_result r = pem_next(&file, &line, name, &b, err);

		if (r == PEM_BROKEN)
			return false;
		if (r == PEM_NONE)
			break;
		if (!is_label(k, b.label)) {
			other = pem_label_kind(b.label);
			continue;
		}
		if (found++ > 0 && k->one)
			return err_set(err, ERR_INPUT, "%s:%u: a second block; one is expected", name, b.line);
		if (!add_block(&b, name, k, out, err))
			return false;
	}
	if (found == 0)
		return err_set(err, ERR_INPUT, "%s: is %s, not %s", name, other != NULL ? other : "PEM without a block",
		    k->what);
	return true;
}

static bool
parse(struct slice file, const char *name, const struct kind *k, void *out, struct err *err)
{
	ERR_clear_error();
	if (file.n == 0)
		return err_set(err, ERR_INPUT, "%s: is an empty file, not %s", name, k->what);
	if (is_pem(file))
		return parse_pem(file, name, k, out, err);
	if (!der_whole(file, name, err))
		return false;
	if (k->add(out, file.p, file.n))
		return true;
	ERR_clear_error();
	return err_set(err, ERR_INPUT, "%s: is %s, not %s", name, file_kind(file), k->what);
}

bool
certs_parse(struct slice file, const char *name, STACK_OF(X509) **ret, struct err *err)
{
	STACK_OF(X509) *list = sk_X509_new_null();

	if (list == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (!parse(file, name, &certificates, list, err)) {
		sk_X509_pop_free(list, X509_free);
		return false;
	}
	*ret = list;
	return true;
}

bool
certs_read(const char *path, STACK_OF(X509) **ret, struct err *err)
{
	uint8_t *data;
	size_t n;
	bool ok;

	/* A bundle of CAs may be larger than one certificate. */
	if (!file_read(path, 16 * (size_t)PKI_FILE_MAX, &data, &n, err))
		return false;
	ok = certs_parse(slice_of(data, n), path, ret, err);
	free(data);
	return ok;
}

X509 *
cert_read_one(const char *path, struct err *err)
{
	STACK_OF(X509) *list = NULL;
	X509 *x;

	if (!certs_read(path, &list, err))
		return NULL;
	if (sk_X509_num(list) != 1) {
		(void)err_set(err, ERR_INPUT, "%s: has %d certificates; exactly one is expected", path, sk_X509_num(list));
		sk_X509_pop_free(list, X509_free);
		return NULL;
	}
	x = sk_X509_pop(list);
	sk_X509_free(list);
	return x;
}

bool
csr_parse(struct slice file, const char *name, X509_REQ **ret, struct err *err)
{
	X509_REQ *req = NULL;

	if (file.n > PKI_FILE_MAX)
		return err_set(err, ERR_LIMIT, "%s: is larger than any certificate request", name);
	if (!parse(file, name, &requests, &req, err)) {
		X509_REQ_free(req);
		return false;
	}
	*ret = req;
	return true;
}

/* What a PEM block of a CRL holds, over its own text: a list of a million names is 60 MB already. */
static bool
decode_in_place(uint8_t *file, struct slice text, size_t *ret_at, size_t *ret_n)
{
	EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
	const uint8_t *begin = memchr(text.p, '\n', text.n), *end = text.p + text.n;
	uint8_t chunk[4096];
	size_t at, from;
	int n = 0;
	bool ok = ctx != NULL && begin != NULL;

	if (!ok) {
		EVP_ENCODE_CTX_free(ctx);
		return false;
	}
	/* The END line begins with the first dash; base64 has none. */
	end = memchr(begin, '-', (size_t)(end - begin));
	at = from = (size_t)(begin + 1 - file);
	*ret_at = at;
	EVP_DecodeInit(ctx);
	while (ok && end != NULL && file + from < end) {
		size_t k = NUM_MIN(sizeof chunk, (size_t)(end - (file + from)));

		memcpy(chunk, file + from, k);
		from += k;
		ok = EVP_DecodeUpdate(ctx, file + at, &n, chunk, (int)k) >= 0;
		at += ok ? (size_t)n : 0;
	}
	ok = ok && EVP_DecodeFinal(ctx, chunk, &n) == 1 && n == 0;
	EVP_ENCODE_CTX_free(ctx);
	*ret_n = at - *ret_at;
	return ok;
}

static bool
each_block(uint8_t *data, size_t size, const char *name, crls_fn *each, void *ctx, struct err *err)
{
	struct slice file = slice_of(data, size);
	struct pem_block b;
	unsigned line = 0, found = 0;
	const char *other = NULL;
	enum pem_result r;
	size_t at, n;

	while ((r = pem_next(&file, &line, name, &b, err)) == PEM_BLOCK) {
		if (strcmp(b.label, "X509 CRL") != 0) {
			other = pem_label_kind(b.label);
			continue;
		}
		found++;
		if (!decode_in_place(data, b.text, &at, &n))
			return err_set(err, ERR_INPUT,
			    "%s:%u: the block \"%s\" that begins here is damaged (not valid base64)", name, b.line, b.label);
		if (!each(ctx, slice_of(data + at, n), err))
			return false;
	}
	if (r == PEM_BROKEN)
		return false;
	return found > 0 || err_set(err, ERR_INPUT, "%s: is %s, not a CRL", name, other != NULL ? other : "PEM without a block");
}

bool
crls_parse(uint8_t *file, size_t n, const char *name, crls_fn *each, void *ctx, struct err *err)
{
	struct slice all = slice_of(file, n);

	ERR_clear_error();
	if (n == 0)
		return err_set(err, ERR_INPUT, "%s: is an empty file, not a CRL", name);
	if (is_pem(all))
		return each_block(file, n, name, each, ctx, err);
	return der_whole(all, name, err) && each(ctx, all, err);
}

bool
certs_pem(X509 *const *x, size_t n, char **ret, struct err *err)
{
	auto_bio b = BIO_new(BIO_s_mem());
	char *data, *s;
	long len;

	for (size_t i = 0; b != NULL && i < n; i++) {
		if (PEM_write_bio_X509(b, x[i]) != 1)
			return crypto_err(err, "cannot encode a certificate");
	}
	len = b != NULL ? BIO_get_mem_data(b, &data) : 0;
	s = len > 0 ? malloc((size_t)len + 1) : NULL;
	if (s == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	memcpy(s, data, (size_t)len);
	s[len] = '\0';
	*ret = s;
	return true;
}
