/* libFuzzer: any bytes as an OCSP response, and as a request. A refusal has a text; nothing unsigned is believed; what is read as a
 * request can be answered. */
#include "pki/internal.h"

#include <openssl/pem.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A CA that has signed nothing: its key does not exist any more. */
static const char issuer_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBdzCCAR2gAwIBAgIUG0STU9As8HdD/3TkM91+Agp0IjwwCgYIKoZIzj0EAwIw\n"
    "ETEPMA0GA1UEAwwGSXNzdWVyMB4XDTI2MTEyMTExMDU1MVoXDTQ2MTExNjExMDU1\n"
    "MVowETEPMA0GA1UEAwwGSXNzdWVyMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n"
    "FPKjOS5tzwiOp8jxYzvu+iacNiVU5ts1ZhoPaHUo7veKjjzE2rI6UHPEqPQXmJM/\n"
    "yV27ApqZzdNpICN9ev5Bo6NTMFEwHQYDVR0OBBYEFJ3Aml9qYolp0q5rnZ7G7fMt\n"
    "MBfwMB8GA1UdIwQYMBaAFJ3Aml9qYolp0q5rnZ7G7fMtMBfwMA8GA1UdEwEB/wQF\n"
    "MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAMYVYEt2cjoJguuwy4stfuoUPtK07WSO\n"
    "oUseXhCcMaTNAiB48bWarHeVB7szDtPzRsRFsYaSI9+BQ58O6Et0N1nW2A==\n"
    "-----END CERTIFICATE-----\n";

static void
try_response(struct slice file)
{
	static const uint8_t serial[] = { 1 };
	auto_bio bio = BIO_new_mem_buf(issuer_pem, -1);
	auto_x509 issuer = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	struct pki_ocsp_question q = { .issuer = issuer, .serial = slice_of(serial, 1), .now = 1800000000 };
	struct pki_ocsp_answer a;
	struct err err = { 0 };

	if (issuer == NULL || pki_ocsp_judge(file, &q, &a, &err) || err.text[0] == '\0')
		abort();
}

static void
try_request(struct slice file)
{
	static struct pki_ocsp_request r;
	struct err err = { 0 };

	if (!pki_ocsp_parse_request(file, &r, &err)) {
		if (err.text[0] == '\0')
			abort();
		return;
	}
	if (r.n < 1 || r.n > PKI_OCSP_IDS_MAX || r.nonce_n > PKI_OCSP_NONCE_MAX)
		abort();
	for (unsigned i = 0; i < r.n; i++) {
		if (r.ids[i].serial_n < 1 || r.ids[i].serial_n > AUTHZ_SERIAL_MAX || r.ids[i].hash_n > PKI_OCSP_HASH_MAX)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	try_response(slice_of(data, size));
	try_request(slice_of(data, size));
	return 0;
}
