/* EST and OCSP as text: base64 and paths, requests and what is in them, PKCS#7. */
#include "pki/testca.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/pkcs7.h>

#define SEALED "1.2.840.113549.1.9.16.2.37"

struct asked {
	const char *cn, *san, *challenge;
	const EVP_MD *digest;
	EVP_PKEY *key;
	bool sealed;
};

static size_t
make(const struct asked *a, uint8_t out[PKI_EST_REQUEST_MAX])
{
	X509_REQ *req = X509_REQ_new();
	STACK_OF(X509_EXTENSION) *list = NULL;
	uint8_t *at = out;
	size_t n;

	assert_int_equal(X509_REQ_set_pubkey(req, a->key), 1);
	if (a->cn != NULL)
		assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8, (const uint8_t *)a->cn, -1, -1, 0), 1);
	if (a->san != NULL) {
		X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, a->san);

		assert_non_null(X509v3_add_ext(&list, e, -1));
		X509_EXTENSION_free(e);
		assert_int_equal(X509_REQ_add_extensions(req, list), 1);
		sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	}
	if (a->challenge != NULL)
		assert_int_equal(X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword, MBSTRING_UTF8, (const uint8_t *)a->challenge, -1), 1);
	if (a->sealed)
		assert_int_equal(X509_REQ_add1_attr_by_txt(req, SEALED, V_ASN1_OCTET_STRING, (const uint8_t *)"id", 2), 1);
	assert_true(X509_REQ_sign(req, a->key, a->digest != NULL ? a->digest : EVP_sha256()) > 0);
	n = (size_t)i2d_X509_REQ(req, &at);
	X509_REQ_free(req);
	return n;
}

static void
reads_requests(void **state)
{
	static uint8_t der[PKI_EST_REQUEST_MAX + 1];
	EVP_PKEY *p384 = EVP_EC_gen("P-384"), *rsa = EVP_RSA_gen(2048);
	struct pki_est_request r;
	struct err err = { 0 };
	size_t n = make(&(struct asked){ .cn = "sensor01", .challenge = "abc=", .key = p384, .sealed = true }, der);

	(void)state;
	assert_true(pki_est_read(slice_of(der, n), &r, &err));
	assert_string_equal(r.cn, "sensor01");
	assert_true(r.has_challenge && r.wants_sealed && r.key_known);
	assert_string_equal(r.challenge, "abc=");
	assert_int_equal(r.key, PKI_P384);
	for (size_t i = 0; i < n; i++) {
		err.text[0] = '\0';
		assert_false(pki_est_read(slice_of(der, i), &r, &err));
		assert_int_not_equal(err.text[0], '\0');
	}
	assert_false(pki_est_read(slice_of(der, n + 1), &r, &err));
	der[n - 1] ^= 1;
	assert_false(pki_est_read(slice_of(der, n), &r, &err));
	n = make(&(struct asked){ .key = rsa }, der);
	assert_true(pki_est_read(slice_of(der, n), &r, &err));
	assert_true(r.cn[0] == '\0' && !r.has_challenge && !r.wants_sealed && !r.key_known);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(rsa);
}

static void
refuses_requests(void **state)
{
	static uint8_t der[PKI_EST_REQUEST_MAX];
	EVP_PKEY *weak = EVP_RSA_gen(1024), *rsa = EVP_RSA_gen(2048);
	char longest[PKI_EST_CHALLENGE_MAX + 1];
	const struct {
		struct asked asked;
		const char *says;
	} rows[] = {
		{ { .cn = "a", .key = weak }, "1024" },
		{ { .cn = "a", .key = rsa, .digest = EVP_md5() }, "MD5" },
		{ { .cn = "a", .key = rsa, .digest = EVP_sha1() }, "SHA1" },
		{ { .cn = "a", .key = rsa, .san = "DNS:*.example" }, "host name" },
		{ { .cn = "a", .key = rsa, .challenge = longest }, "challengePassword is too long" },
	};

	(void)state;
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pki_est_request r;
		struct err err = { 0 };
		size_t n = make(&rows[i].asked, der);

		assert_false(pki_est_read(slice_of(der, n), &r, &err));
		if (strstr(err.text, rows[i].says) == NULL)
			fail_msg("%s is not in %s", rows[i].says, err.text);
	}
	EVP_PKEY_free(weak);
	EVP_PKEY_free(rsa);
}

static void
compares_subjects(void **state)
{
	static uint8_t der[PKI_EST_REQUEST_MAX];
	struct t_cert root = t_root("root"), plain = t_make(&(struct t_want){ .cn = "dev" }, &root),
		      named = t_make(&(struct t_want){ .cn = "dev", .san = "DNS:a.example,DNS:b.example" }, &root);
	const struct {
		const X509 *cert;
		const char *cn, *san;
		bool same;
	} rows[] = {
		{ plain.x, "dev", NULL, true },
		{ plain.x, "dev2", NULL, false },
		{ plain.x, NULL, NULL, false },
		{ plain.x, "dev", "DNS:a.example", false },
		{ named.x, "dev", "DNS:a.example,DNS:b.example", true },
		{ named.x, "dev", "DNS:b.example,DNS:a.example", true },
		{ named.x, "dev", "DNS:a.example", false },
		{ named.x, "dev", "DNS:a.example,DNS:a.example", false },
		{ named.x, "dev", "DNS:a.example,DNS:c.example", false },
		{ named.x, "dev", NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { 0 };
		size_t n = make(&(struct asked){ .cn = rows[i].cn, .san = rows[i].san, .key = plain.key }, der);

		if (pki_est_same_subject(slice_of(der, n), rows[i].cert, &err) != rows[i].same)
			fail_msg("row %zu: %s", i, err.text);
	}
	t_done(&plain);
	t_done(&named);
	t_done(&root);
}

static void
decodes_bodies(void **state)
{
	static const struct {
		const char *text, *bytes; /* NULL: refused */
	} rows[] = {
		{ "Zm9v", "foo" }, { "Zm9vYg==", "foob" }, { "Zm9vYg", "foob" }, { " Zm\r\n9v\tYg\n==\n", "foob" }, { "", NULL }, { " \n", NULL }, { "Zm9v!", NULL },
		{ "Z", NULL }, { "Zm9vYh==", NULL }, { "=", NULL }, { "Zm9vYmFyeA==", NULL },
	};
	uint8_t out[6];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool ok = pki_est_decode(slice_str(rows[i].text), out, sizeof out, &n);

		assert_int_equal(ok, rows[i].bytes != NULL);
		if (ok)
			assert_true(slice_eq(slice_of(out, n), slice_str(rows[i].bytes)));
	}
	for (size_t len = 0; len < 200; len += 7) {
		uint8_t der[200] = { 1, 2, 3 }, again[200];
		char *text = pki_est_encode(slice_of(der, len));

		assert_int_equal(pki_est_decode(slice_str(text), again, sizeof again, &n), len > 0);
		assert_true(len == 0 || (n == len && memcmp(der, again, len) == 0));
		free(text);
	}
}

static void
decodes_paths(void **state)
{
	static const struct {
		const char *text, *bytes; /* NULL: refused */
	} rows[] = {
		{ "Zm9v", "foo" }, { "Zm9vYg%3D%3d", "foob" }, { "Zm9vYg==", "foob" }, { "%5a%6D9v", "foo" }, { "Pz8/", "???" }, { "Pz8%2F", "???" }, { "Pz8_", "???" },
		{ "Pj4-", ">>>" }, { "Pj4%2B", ">>>" }, { "", NULL }, { "%", NULL }, { "Zm9v%", NULL }, { "Zm9v%3", NULL }, { "Zm9v%3g", NULL }, { "Zm9v%00", NULL },
		{ "Zm 9v", NULL }, { "Zm9v?", NULL }, { "Zm9vYmFyeA", NULL },
	};
	static char longest[PKI_OCSP_PATH_MAX + 2];
	static uint8_t big[PKI_OCSP_PATH_MAX];
	uint8_t out[6];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		bool ok = pki_ocsp_from_path(slice_str(rows[i].text), out, sizeof out, &n);

		if (ok != (rows[i].bytes != NULL))
			fail_msg("%s", rows[i].text);
		if (ok)
			assert_true(slice_eq(slice_of(out, n), slice_str(rows[i].bytes)));
	}
	memset(longest, 'A', sizeof longest - 1);
	assert_true(pki_ocsp_from_path(slice_of(longest, PKI_OCSP_PATH_MAX), big, sizeof big, &n));
	assert_false(pki_ocsp_from_path(slice_of(longest, PKI_OCSP_PATH_MAX + 1), big, sizeof big, &n));
}

static void
wraps_certificates(void **state)
{
	struct t_cert root = t_root("root"), leaf = t_leaf("leaf", &root);
	uint8_t *a = NULL, *b = NULL, *der;
	struct slice ders[2] = { { .n = (size_t)i2d_X509(leaf.x, &a) }, { .n = (size_t)i2d_X509(root.x, &b) } };
	const uint8_t *at;
	struct err err = { 0 };
	size_t n;
	PKCS7 *p;

	(void)state;
	ders[0].p = a;
	ders[1].p = b;
	assert_true(pki_est_certs(ders, 2, &der, &n, &err));
	at = der;
	p = d2i_PKCS7(NULL, &at, (long)n);
	assert_true(p != NULL && at == der + n && PKCS7_type_is_signed(p));
	assert_int_equal(sk_X509_num(p->d.sign->cert), 2);
	assert_int_equal(sk_PKCS7_SIGNER_INFO_num(p->d.sign->signer_info), 0);
	assert_int_equal(X509_cmp(sk_X509_value(p->d.sign->cert, 0), leaf.x), 0);
	PKCS7_free(p);
	free(der);
	ders[1].n--;
	assert_false(pki_est_certs(ders, 2, &der, &n, &err));
	OPENSSL_free(a);
	OPENSSL_free(b);
	t_done(&leaf);
	t_done(&root);
}

static void
makes_pairs(void **state)
{
	struct pki_pair p;
	struct pki_est_request r;
	struct err err = { 0 };
	uint8_t *der;
	const uint8_t *at;
	size_t n;
	EVP_PKEY *k;

	(void)state;
	assert_true(pki_pair_make(PKI_P521, "made", &p, &err));
	assert_true(pki_est_read(slice_of(p.csr, p.csr_n), &r, &err));
	assert_true(r.key_known && r.key == PKI_P521);
	assert_string_equal(r.cn, "made");
	assert_true(pki_pair_key(&p, &der, &n, &err));
	at = der;
	k = d2i_AutoPrivateKey(NULL, &at, (long)n);
	assert_true(k != NULL && at == der + n && EVP_PKEY_eq(k, p.key) == 1);
	EVP_PKEY_free(k);
	secret_free(der, n);
	pki_pair_done(&p);
	pki_pair_done(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_requests),
		cmocka_unit_test(refuses_requests),
		cmocka_unit_test(compares_subjects),
		cmocka_unit_test(decodes_bodies),
		cmocka_unit_test(decodes_paths),
		cmocka_unit_test(wraps_certificates),
		cmocka_unit_test(makes_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
