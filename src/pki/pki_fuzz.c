/* libFuzzer: any bytes through the readers of files. A refusal has a text; what is taken survives what is done with it next. */
#include "pki/internal.h"

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
}

static void
try_crls(struct slice file)
{
	STACK_OF(X509_CRL) *list;
	struct err err = { 0 };

	if (!crls_parse(file, "f", &list, &err))
		check_refusal(&err);
	else
		sk_X509_CRL_pop_free(list, X509_CRL_free);
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
