/* libFuzzer: any bytes through the readers of files. A refusal has a text; what is taken survives what is done with it next. */
#include "pki/crl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
on_begin(void *ctx, const char *kind, unsigned line)
{
	(void)ctx;
	(void)line;
	if (kind[0] == '\0')
		abort();
}

/* What is shown goes to a terminal: no control characters, whatever stood in the certificate. */
static void
on_field(void *ctx, const char *name, const char *value, bool many)
{
	(void)ctx;
	(void)name;
	(void)many;
	for (; *value != '\0'; value++) {
		if ((unsigned char)*value < 0x20 || (unsigned char)*value == 0x7f)
			abort();
	}
}

static void
check_refusal(const struct err *err)
{
	if (err->text[0] == '\0')
		abort();
}

static void
try_certs(struct slice file)
{
	STACK_OF(X509) *list;
	struct err err = { 0 };
	char why[128];

	if (!certs_parse(file, "f", &list, &err)) {
		check_refusal(&err);
		return;
	}
	for (int i = 0; i < sk_X509_num(list); i++) {
		auto_str cn = NULL;

		if (name_cn(X509_get_subject_name(sk_X509_value(list, i)), &cn, why, sizeof why) &&
		    !pki_cn_ok(slice_str(cn), why, sizeof why))
			abort();
	}
	sk_X509_pop_free(list, X509_free);
}

/* What is passed on is the same request, and has the same key. */
static void
checked(struct slice file)
{
	uint8_t key[32], again[32];
	struct err err = { 0 };
	auto_str pem = NULL;

	if (!pki_request_check(file, &pem, &err) || !pki_request_key(file, key, &err) || !pki_request_key(slice_str(pem), again, &err) ||
	    memcmp(key, again, sizeof key) != 0)
		abort();
}

static void
try_csr(struct slice file)
{
	struct csr_taken t;
	struct err err = { 0 };
	auto_req req = NULL;

	if (!csr_parse(file, "f", &req, &err) || !csr_take(req, "f", &t, &err)) {
		check_refusal(&err);
		return;
	}
	csr_taken_done(&t);
	checked(file);
}

static bool
is_found(void *ctx, struct slice serial)
{
	struct revoked r;

	if (!crl_find(ctx, serial, &r))
		abort();
	return true;
}

/* What libcrypto reads as well has the same entries. */
static bool
on_crl(void *ctx, struct slice der, struct err *err)
{
	const unsigned char *p = der.p;
	struct crl *c = crl_new(der, "f", err);
	auto_crl x = c != NULL ? d2i_X509_CRL(NULL, &p, (long)der.n) : NULL;

	(void)ctx;
	if (c == NULL)
		return false;
	(void)crl_each(c, is_found, c);
	for (int i = 0; x != NULL && i < sk_X509_REVOKED_num(X509_CRL_get_REVOKED(x)); i++) {
		uint8_t serial[AUTHZ_SERIAL_MAX];
		size_t n = serial_bytes(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(x), i)), serial);

		(void)is_found(c, slice_of(serial, n));
	}
	crl_unref(c);
	return true;
}

static void
try_crls(struct slice file)
{
	uint8_t *copy = malloc(file.n > 0 ? file.n : 1);
	struct err err = { 0 };

	if (copy == NULL)
		return;
	if (file.n > 0)
		memcpy(copy, file.p, file.n);
	if (!crls_parse(copy, file.n, "f", on_crl, NULL, &err))
		check_refusal(&err);
	free(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice file = slice_of(data, size);
	struct pki_view view = { on_begin, on_field, NULL };
	struct err err = { 0 };

	if (!pki_inspect(file, "f", 1800000000, &view, &err))
		check_refusal(&err);
	try_certs(file);
	try_csr(file);
	try_crls(file);
	(void)file_kind(file);
	return 0;
}
