/* libFuzzer: what comes in for EST and for OCSP by GET: base64, requests in it, and paths. The first byte chooses. A refusal has a text. */
#include "pki/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
request(struct slice der)
{
	struct pki_est_request r;
	struct err err = { 0 };
	bool ok = pki_est_read(der, &r, &err);

	if (ok != (err.text[0] == '\0'))
		abort();
	if (ok && strlen(r.cn) + strlen(r.challenge) >= sizeof r)
		abort();
}

static void
body(struct slice in)
{
	static uint8_t der[PKI_EST_REQUEST_MAX];
	size_t n;
	char *text;
	uint8_t *again;
	size_t m;

	if (!pki_est_decode(in, der, sizeof der, &n))
		return;
	request(slice_of(der, n));
	/* What is sent can be read. */
	text = pki_est_encode(slice_of(der, n));
	again = malloc(n);
	if (text != NULL && again != NULL && (!pki_est_decode(slice_str(text), again, n, &m) || m != n || memcmp(again, der, n) != 0))
		abort();
	free(text);
	free(again);
}

static void
path(struct slice in)
{
	static struct pki_ocsp_request r;
	uint8_t der[512];
	struct err err = { 0 };
	size_t n;

	if (pki_ocsp_from_path(in, der, sizeof der, &n) && !pki_ocsp_parse_request(slice_of(der, n), &r, &err) && err.text[0] == '\0')
		abort();
}

/* A certificate with a subject and names, without a key or signature: nobody looks at these. */
static X509 *
shown(void)
{
	X509 *x = X509_new();
	X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:a.example,IP:10.0.0.1");

	if (x == NULL || san == NULL || X509_add_ext(x, san, -1) != 1 ||
	    X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_UTF8, (const unsigned char *)"d", 1, -1, 0) != 1)
		abort();
	X509_EXTENSION_free(san);
	return x;
}

static void
again(struct slice der)
{
	static X509 *x;
	struct err err = { 0 };

	if (x == NULL)
		x = shown();
	if (pki_est_same_subject(der, x, &err) != (err.text[0] == '\0'))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const what[])(struct slice in) = { body, request, path, again };

	if (size > 0)
		what[data[0] % ARRAY_LEN(what)](slice_of(data + 1, size - 1));
	return 0;
}
