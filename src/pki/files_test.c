/* Names, keys, readers and requests: tables of what is taken and what is refused, and every truncation of every kind of file. */
#include "pki/crl.h"
#include "pki/testca.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

static void
cn_rules(void **state)
{
	static const struct {
		struct slice cn;
		const char *why; /* NULL: good */
	} cases[] = {
		{ { (const uint8_t *)"client01", 8 }, NULL },
		{ { (const uint8_t *)"admin:f60c28", 12 }, NULL },
		{ { (const uint8_t *)"G\xc3\xa4rt", 5 }, NULL },
		{ { (const uint8_t *)"", 0 }, "empty" },
		{ { (const uint8_t *)"a\0b", 3 }, "NUL" },
		{ { (const uint8_t *)"a/b", 3 }, "'/'" },
		{ { (const uint8_t *)"a+b", 3 }, "wildcards" },
		{ { (const uint8_t *)"#", 1 }, "wildcards" },
		{ { (const uint8_t *)"a\x1f", 2 }, "control" },
		{ { (const uint8_t *)"a\x7f", 2 }, "control" },
		{ { (const uint8_t *)"a\xc2\x85", 3 }, "control" },
		{ { (const uint8_t *)"a\xff", 2 }, "UTF-8" },
		{ { (const uint8_t *)"a\xed\xa0\x80", 4 }, "UTF-8" },
	};
	char why[128], long_cn[PKI_CN_MAX * 2 + 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		why[0] = '\0';
		assert_int_equal(pki_cn_ok(cases[i].cn, why, sizeof why), cases[i].why == NULL);
		if (cases[i].why != NULL)
			assert_non_null(strstr(why, cases[i].why));
	}
	/* 64 characters, not bytes. */
	for (size_t i = 0; i <= PKI_CN_MAX; i++)
		memcpy(long_cn + 2 * i, "\xc3\xa4", 2);
	assert_true(pki_cn_ok(slice_of(long_cn, 2 * PKI_CN_MAX), NULL, 0));
	assert_false(pki_cn_ok(slice_of(long_cn, 2 * PKI_CN_MAX + 2), why, sizeof why));
	assert_false(new_cn_ok("..", why, sizeof why));
	assert_false(new_cn_ok("-x", why, sizeof why));
	assert_false(new_cn_ok("x ", why, sizeof why));
	assert_true(ca_name_ok("acme-2") && !ca_name_ok("../x") && !ca_name_ok("") && !ca_name_ok("-a") && !ca_name_ok("A"));
}

static void
host_rules(void **state)
{
	static const struct {
		const char *host;
		int kind; /* 0 refused, 1 DNS, 2 IP */
	} cases[] = {
		{ "localhost", 1 }, { "mqtt.example.com", 1 }, { "a_b.c-d", 1 }, { "10.0.0.1", 2 }, { "::1", 2 }, { "fe80::1", 2 },
		{ "10.0.0.256", 0 }, { "1.2.3", 0 }, { "::g", 0 }, { "1:2", 0 }, { "", 0 }, { "a..b", 0 }, { "-a", 0 }, { "a-", 0 },
		{ "a-.b", 0 }, { "*.example.com", 0 }, { "a b", 0 }, { ".", 0 }, { "a.", 0 }, { "caf\xc3\xa9", 0 }, { "a/b", 0 },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0 },
	};
	GENERAL_NAMES *g = GENERAL_NAMES_new();
	char why[128];
	bool ip;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		bool ok = host_ok(cases[i].host, &ip, why, sizeof why);

		if (ok != (cases[i].kind != 0))
			print_error("%s\n", cases[i].host);
		assert_int_equal(ok, cases[i].kind != 0);
		if (ok)
			assert_int_equal(ip, cases[i].kind == 2);
	}
	assert_true(hosts_add(g, "a", NULL) && hosts_add(g, "a", NULL) && hosts_add(g, "::1", NULL));
	assert_int_equal(sk_GENERAL_NAME_num(g), 2);
	GENERAL_NAMES_free(g);
}

/* ---- requests ---- */

struct ask {
	EVP_PKEY *key;
	const char *cn, *san, *constraints, *usage, *extended, *digest;
	bool break_signature;
	bool bad_ip; /* subjectAltName with an IP address of five bytes */
};

static void
add_wish(STACK_OF(X509_EXTENSION) *list, int nid, const char *value)
{
	if (value != NULL)
		sk_X509_EXTENSION_push(list, X509V3_EXT_conf_nid(NULL, NULL, nid, value));
}

static void
add_bad_ip(STACK_OF(X509_EXTENSION) *list)
{
	GENERAL_NAMES *g = GENERAL_NAMES_new();
	GENERAL_NAME *n = GENERAL_NAME_new();
	ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();

	ASN1_OCTET_STRING_set(s, (const unsigned char *)"12345", 5);
	GENERAL_NAME_set0_value(n, GEN_IPADD, s);
	sk_GENERAL_NAME_push(g, n);
	sk_X509_EXTENSION_push(list, X509V3_EXT_i2d(NID_subject_alt_name, 0, g));
	GENERAL_NAMES_free(g);
}

static X509_REQ *
request(const struct ask *a)
{
	X509_REQ *r = X509_REQ_new();
	X509_NAME *n = X509_NAME_new();
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	const EVP_MD *md = EVP_get_digestbyname(a->digest != NULL ? a->digest : "SHA256");

	if (a->cn != NULL)
		X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_UTF8, (const unsigned char *)a->cn, -1, -1, 0);
	X509_REQ_set_subject_name(r, n);
	X509_NAME_free(n);
	add_wish(list, NID_subject_alt_name, a->san);
	add_wish(list, NID_basic_constraints, a->constraints);
	add_wish(list, NID_key_usage, a->usage);
	add_wish(list, NID_ext_key_usage, a->extended);
	if (a->bad_ip)
		add_bad_ip(list);
	if (sk_X509_EXTENSION_num(list) > 0)
		X509_REQ_add_extensions(r, list);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	assert_int_equal(X509_REQ_set_pubkey(r, a->key), 1);
	assert_true(X509_REQ_sign(r, a->key, EVP_PKEY_is_a(a->key, "ED25519") ? NULL : md) > 0);
	if (a->break_signature) {
		EVP_PKEY *other = EVP_EC_gen("P-256");

		X509_REQ_set_pubkey(r, other);
		EVP_PKEY_free(other);
	}
	return r;
}

static void
key_rules(void **state)
{
	const struct {
		EVP_PKEY *key;
		const char *why;
	} cases[] = {
		{ EVP_EC_gen("P-256"), NULL }, { EVP_EC_gen("P-384"), NULL }, { EVP_EC_gen("P-521"), NULL },
		{ EVP_RSA_gen(2048), NULL }, { EVP_RSA_gen(2056), NULL },
		{ EVP_RSA_gen(1024), "2048 to 8192" },
		{ EVP_EC_gen("secp256k1"), "secp256k1" }, { EVP_EC_gen("P-224"), "P-256, P-384" },
		{ EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "ED25519" },
	};
	char why[160];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct ask a = { .key = cases[i].key, .cn = "d" };
		X509_REQ *r = request(&a);
		struct csr_taken t;
		struct err err = { 0 };
		bool ok = csr_take(r, "x.csr", &t, &err);

		assert_non_null(cases[i].key);
		assert_int_equal(key_ok(cases[i].key, why, sizeof why), cases[i].why == NULL);
		assert_int_equal(ok, cases[i].why == NULL);
		if (cases[i].why != NULL)
			assert_non_null(strstr(err.text, cases[i].why));
		else
			csr_taken_done(&t);
		X509_REQ_free(r);
		EVP_PKEY_free(cases[i].key);
	}
}

/* Sizes that no generator makes. */
static void
rsa_rules(void **state)
{
	static const struct {
		int bits;
		unsigned e;
		const char *why;
	} cases[] = {
		{ 2048, 65537, NULL }, { 6144, 3, NULL }, { 8192, 65537, NULL }, { 2049, 65537, "multiple of 8" },
		{ 2047, 65537, "2048 to 8192" }, { 8200, 65537, "2048 to 8192" }, { 16384, 65537, "2048 to 8192" },
		{ 2048, 1, "exponent" }, { 2048, 4, "exponent" },
	};
	char why[160];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		BIGNUM *n = BN_new(), *e = BN_new();
		OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
		EVP_PKEY *k = NULL;
		OSSL_PARAM *params;

		BN_set_bit(n, cases[i].bits - 1);
		BN_set_bit(n, 0);
		BN_set_word(e, cases[i].e);
		OSSL_PARAM_BLD_push_BN(b, "n", n);
		OSSL_PARAM_BLD_push_BN(b, "e", e);
		params = OSSL_PARAM_BLD_to_param(b);
		assert_true(EVP_PKEY_fromdata_init(ctx) == 1 &&
		    EVP_PKEY_fromdata(ctx, &k, EVP_PKEY_PUBLIC_KEY, params) == 1);
		assert_int_equal(key_ok(k, why, sizeof why), cases[i].why == NULL);
		if (cases[i].why != NULL)
			assert_non_null(strstr(why, cases[i].why));
		EVP_PKEY_free(k);
		EVP_PKEY_CTX_free(ctx);
		OSSL_PARAM_free(params);
		OSSL_PARAM_BLD_free(b);
		BN_free(n);
		BN_free(e);
	}
}

/* Checklist A10: names and addresses are kept, whatever else is asked for is dropped; the malformed is refused. */
static void
requests_are_policed(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	const struct {
		struct ask ask;
		const char *refused; /* text of the refusal, or NULL */
		int names;
		const char *note;
	} cases[] = {
		{ { .key = key, .cn = "d" }, NULL, 0, NULL },
		{ { .key = key, .cn = "d", .san = "DNS:a.example,IP:10.0.0.1,IP:::1" }, NULL, 3, NULL },
		{ { .key = key, .cn = "d", .constraints = "critical,CA:TRUE" }, NULL, 0, "basicConstraints was dropped" },
		{ { .key = key, .cn = "d", .usage = "keyCertSign" }, NULL, 0, "keyUsage was dropped" },
		{ { .key = key, .cn = "d", .extended = "serverAuth" }, NULL, 0, "extendedKeyUsage was dropped" },
		{ { .key = key, .cn = "d", .san = "email:a@b.c,URI:http://x" }, NULL, 0, "another kind" },
		{ { .key = key, .cn = "d", .san = "DNS:*.example" }, "not valid", 0, NULL },
		{ { .key = key, .cn = "d", .san = "DNS:10.0.0.300" }, "not valid", 0, NULL },
		{ { .key = key, .cn = "d", .bad_ip = true }, "5 bytes", 0, NULL },
		{ { .key = key, .cn = "d", .digest = "MD5" }, "MD5", 0, NULL },
		{ { .key = key, .cn = "d", .digest = "SHA1" }, "SHA1", 0, NULL },
		{ { .key = key, .cn = "d", .break_signature = true }, "does not fit its own key", 0, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct csr_taken t;
		struct err err = { 0 };
		X509_REQ *r;

		/* ECDSA with MD5 has no identifier: that one needs RSA. */
		struct ask a = cases[i].ask;
		bool md5 = a.digest != NULL && strcmp(a.digest, "MD5") == 0;

		if (md5)
			a.key = EVP_RSA_gen(2048);
		r = request(&a);
		assert_int_equal(csr_take(r, "x.csr", &t, &err), cases[i].refused == NULL);
		if (cases[i].refused != NULL) {
			if (strstr(err.text, cases[i].refused) == NULL)
				print_error("%s\n", err.text);
			assert_non_null(strstr(err.text, cases[i].refused));
		} else {
			assert_int_equal(sk_GENERAL_NAME_num(t.san), cases[i].names);
			assert_string_equal(t.cn, "d");
			assert_true(cases[i].note == NULL ? t.notes[0] == '\0' : strstr(t.notes, cases[i].note) != NULL);
			csr_taken_done(&t);
		}
		X509_REQ_free(r);
		if (md5)
			EVP_PKEY_free(a.key);
	}
	EVP_PKEY_free(key);
}

/* ---- readers ---- */

static void
on_begin(void *ctx, const char *kind, unsigned line)
{
	(void)line;
	(void)snprintf(ctx, 64, "%s", kind);
}

static void
on_field(void *ctx, const char *name, const char *value, bool many)
{
	(void)ctx;
	(void)many;
	assert_true(name[0] != '\0' && strchr(value, '\n') == NULL);
}

struct sample {
	const char *kind;
	uint8_t *data;
	size_t n;
};

static void
take_bio(struct sample *s, const char *kind, BIO *b)
{
	char *data;
	long n = BIO_get_mem_data(b, &data);

	s->kind = kind;
	s->n = (size_t)n;
	s->data = malloc(s->n);
	memcpy(s->data, data, s->n);
	BIO_free(b);
}

/* One of each kind, PEM and DER. */
static size_t
make_samples(struct sample s[16])
{
	struct t_cert root = t_root("Root");
	X509_REQ *req = request(&(struct ask){ .key = root.key, .cn = "d", .san = "DNS:a" });
	X509_CRL *crl = t_crl(&root, root.x, T_NOW, T_NOW + T_DAY, 1);
	BIO *b[9];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(b); i++)
		b[i] = BIO_new(BIO_s_mem());
	assert_true(PEM_write_bio_X509(b[0], root.x) && i2d_X509_bio(b[1], root.x) && PEM_write_bio_X509_REQ(b[2], req) &&
	    i2d_X509_REQ_bio(b[3], req) && PEM_write_bio_X509_CRL(b[4], crl) && i2d_X509_CRL_bio(b[5], crl) &&
	    PEM_write_bio_PrivateKey(b[6], root.key, NULL, NULL, 0, NULL, NULL) && i2d_PrivateKey_bio(b[7], root.key) &&
	    PEM_write_bio_PUBKEY(b[8], root.key));
	take_bio(&s[n++], "certificate", b[0]);
	take_bio(&s[n++], "certificate", b[1]);
	take_bio(&s[n++], "certificate request", b[2]);
	take_bio(&s[n++], "certificate request", b[3]);
	take_bio(&s[n++], "CRL", b[4]);
	take_bio(&s[n++], "CRL", b[5]);
	take_bio(&s[n++], "private key", b[6]);
	take_bio(&s[n++], "private key", b[7]);
	take_bio(&s[n++], "public key", b[8]);
	X509_REQ_free(req);
	X509_CRL_free(crl);
	t_done(&root);
	return n;
}

static void
whole_files_are_read_and_truncated_ones_named(void **state)
{
	struct sample s[16];
	size_t n = make_samples(s);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		char kind[64] = "";
		struct pki_view v = { on_begin, on_field, kind };
		struct err err = { 0 };

		assert_true(pki_inspect(slice_of(s[i].data, s[i].n), "f", T_NOW, &v, &err));
		assert_string_equal(kind, s[i].kind);
		/* A PEM file without its last newline is whole. */
		for (size_t cut = 0; cut + 1 < s[i].n; cut++) {
			uint8_t *copy = malloc(cut > 0 ? cut : 1);

			memcpy(copy, s[i].data, cut);
			err.text[0] = '\0';
			assert_false(pki_inspect(slice_of(copy, cut), "f", T_NOW, &v, &err));
			assert_true(err.text[0] == 'f' && strlen(err.text) > 8);
			free(copy);
		}
		free(s[i].data);
	}
}

static bool
is_crl(void *ctx, struct slice der, struct err *err)
{
	struct crl *c = crl_new(der, "f", err);

	(void)ctx;
	crl_unref(c);
	return c != NULL;
}

static void
wrong_kinds_are_named(void **state)
{
	struct sample s[16];
	size_t n = make_samples(s);
	struct err err;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		STACK_OF(X509) *certs = NULL;
		X509_REQ *req = NULL;
		struct slice f = slice_of(s[i].data, s[i].n);

		if (!certs_parse(f, "f", &certs, &err))
			assert_true(strstr(err.text, s[i].kind) != NULL && strstr(err.text, "not a certificate") != NULL);
		else
			assert_string_equal(s[i].kind, "certificate");
		if (!csr_parse(f, "f", &req, &err))
			assert_true(strstr(err.text, s[i].kind) != NULL);
		else
			assert_string_equal(s[i].kind, "certificate request");
		if (!crls_parse(s[i].data, s[i].n, "f", is_crl, NULL, &err))
			assert_true(strstr(err.text, s[i].kind) != NULL);
		else
			assert_string_equal(s[i].kind, "CRL");
		sk_X509_pop_free(certs, X509_free);
		X509_REQ_free(req);
		free(s[i].data);
	}
	assert_string_equal(file_kind(SL("hello\n")), "text without a PEM block");
	assert_string_equal(file_kind(SL("")), "an empty file");
}

static bool
give_pass(void *ctx, const char *what, bool creating, char *buf, size_t cap, struct err *err)
{
	(void)what;
	(void)creating;
	(void)err;
	return text_copy(buf, cap, slice_str(ctx));
}

static void
keys_round_trip(void **state)
{
	struct t_dir d;
	char pass[] = "correct horse", wrong[] = "wrong", path[512];
	struct pki_secret good = { give_pass, pass }, bad = { give_pass, wrong };
	EVP_PKEY *k = EVP_EC_gen("P-256"), *back;
	struct err err;
	uint8_t *text;
	size_t n;

	(void)state;
	t_dir_init(&d);
	(void)t_path(&d, "k.pem", path);
	assert_true(key_write(path, k, &good, "the key", &err));
	assert_false(key_write(path, k, &good, "the key", &err)); /* nothing is overwritten */
	assert_int_equal(err.code, ERR_EXISTS);
	back = key_read(path, &good, "the key", &err);
	assert_non_null(back);
	assert_int_equal(EVP_PKEY_eq(k, back), 1);
	EVP_PKEY_free(back);
	assert_null(key_read(path, &bad, "the key", &err));
	assert_non_null(strstr(err.text, "passphrase is wrong"));
	assert_null(key_read(path, NULL, "the key", &err));
	assert_non_null(strstr(err.text, "the key is encrypted and no passphrase was given"));
	assert_true(file_read(path, PKI_FILE_MAX, &text, &n, NULL));
	assert_non_null(strstr((char *)text, "BEGIN ENCRYPTED PRIVATE KEY"));
	free(text);
	EVP_PKEY_free(k);
	t_dir_done(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cn_rules),
		cmocka_unit_test(host_rules),
		cmocka_unit_test(key_rules),
		cmocka_unit_test(rsa_rules),
		cmocka_unit_test(requests_are_policed),
		cmocka_unit_test(whole_files_are_read_and_truncated_ones_named),
		cmocka_unit_test(wrong_kinds_are_named),
		cmocka_unit_test(keys_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
