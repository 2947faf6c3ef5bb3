#include "bundle/bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include "base/num.h"
#include "pki/testca.h"

struct site {
	struct t_cert root, leaf;
	char *ca, *cert, *key;
};

static char *
key_pem(EVP_PKEY *k)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *text, *ret;
	long n;

	assert_int_equal(PEM_write_bio_PKCS8PrivateKey(b, k, NULL, NULL, 0, NULL, NULL), 1);
	n = BIO_get_mem_data(b, &text);
	ret = text_dup(slice_of(text, (size_t)n));
	BIO_free(b);
	return ret;
}

static int
setup(void **state)
{
	static struct site s;
	struct err err;

	s.root = t_root("Root");
	s.leaf = t_leaf("door \"1\"", &s.root);
	assert_true(certs_pem(&s.root.x, 1, &s.ca, &err));
	assert_true(certs_pem(&s.leaf.x, 1, &s.cert, &err));
	s.key = key_pem(s.leaf.key);
	*state = &s;
	return 0;
}

static int
teardown(void **state)
{
	struct site *s = *state;

	t_done(&s->root);
	t_done(&s->leaf);
	free(s->ca);
	free(s->cert);
	free(s->key);
	return 0;
}

static struct bundle_order
order(const struct site *s)
{
	return (struct bundle_order){ .cn = "door \"1\"", .key = slice_str(s->key), .cert = slice_str(s->cert), .ca = slice_str(s->ca), .host = "mqtt.example",
		.port = 8883, .commands = "do it\n", .now = T_NOW };
}

static const struct bundle_file *
file(const struct bundle_set *b, const char *name)
{
	for (size_t i = 0; i < b->n; i++)
		if (strcmp(b->files[i].name, name) == 0)
			return &b->files[i];
	return NULL;
}

static void
all_files(void **state)
{
	struct bundle_order o = order(*state);
	const struct bundle_springcore reader = { .ca_slot = 2 };
	const struct bundle_file *f;
	const unsigned char *p;
	struct bundle_set b;
	struct err err;
	EVP_PKEY *k = NULL;
	X509 *x = NULL;
	STACK_OF(X509) *more = NULL;
	PKCS12 *p12;

	o.springcore = &reader;
	o.password = "a word";
	assert_true(bundle_make(&o, &b, &err));
	assert_int_equal(b.n, 9);
	for (size_t i = 0; i < b.n; i++)
		assert_int_equal(b.files[i].secret, strcmp(b.files[i].name, "key.pem") == 0 || strcmp(b.files[i].name, "device.p12") == 0 ||
		    strcmp(b.files[i].name, "p12-password.txt") == 0 || strcmp(b.files[i].name, "device.h") == 0);
	f = file(&b, "device.p12");
	p = f->data;
	p12 = d2i_PKCS12(NULL, &p, (long)f->n);
	assert_int_equal(PKCS12_parse(p12, "a word", &k, &x, &more), 1);
	assert_int_equal(X509_cmp(x, ((struct site *)*state)->leaf.x), 0);
	assert_int_equal(sk_X509_num(more), 1);
	PKCS12_free(p12);
	EVP_PKEY_free(k);
	X509_free(x);
	sk_X509_pop_free(more, X509_free);
	f = file(&b, "device.h");
	assert_non_null(memmem(f->data, f->n, "#define SIGNET_CLIENT_ID \"door \\0421\\042\"\n", 40));
	f = file(&b, "README.txt");
	assert_non_null(memmem(f->data, f->n, "springcore.json", 15));
	assert_null(memmem(f->data, f->n, "a word", 6));
	bundle_done(&b);
}

static void
without_a_key_nothing_is_secret(void **state)
{
	struct bundle_order o = order(*state);
	struct bundle_set b;
	struct err err;

	o.key = slice_of(NULL, 0);
	assert_true(bundle_make(&o, &b, &err));
	assert_null(file(&b, "key.pem"));
	assert_null(file(&b, "device.p12"));
	for (size_t i = 0; i < b.n; i++) {
		assert_false(b.files[i].secret);
		assert_null(memmem(b.files[i].data, b.files[i].n, "PRIVATE KEY", 11));
	}
	bundle_done(&b);
}

static void
what_cannot_be(void **state)
{
	struct site *s = *state;
	struct bundle_order o = order(s);
	struct bundle_set b;
	struct err err;
	char *other = key_pem(s->root.key);

	o.key = slice_str(other);
	assert_false(bundle_make(&o, &b, &err));
	assert_non_null(strstr(err.text, "does not belong"));
	free(other);
	o = order(s);
	o.cn = "a/b";
	assert_false(bundle_make(&o, &b, &err));
	o = order(s);
	o.cert = SL("rubbish");
	assert_false(bundle_make(&o, &b, &err));
}

static void
one_folder_in_an_archive(void **state)
{
	struct bundle_order o = order(*state);
	uint8_t *zip, *again, *tar;
	size_t zip_n, again_n, tar_n;
	struct bundle_set b;
	struct err err;

	o.password = "the same";
	o.cn = "..";
	assert_true(bundle_make(&o, &b, &err));
	assert_string_equal(b.folder, "_..");
	assert_true(bundle_pack(&b, BUNDLE_ZIP, &zip, &zip_n, &err));
	assert_true(bundle_pack(&b, BUNDLE_ZIP, &again, &again_n, &err));
	assert_true(bundle_pack(&b, BUNDLE_TAR_GZ, &tar, &tar_n, &err));
	assert_int_equal(zip_n, again_n);
	assert_memory_equal(zip, again, zip_n);
	assert_memory_equal(zip, "PK\3\4", 4);
	assert_memory_equal(tar, "\x1f\x8b", 2);
	free(zip);
	free(again);
	free(tar);
	bundle_done(&b);
}

/* ---- SpringCore ---- */

static void
reader_is_told_all(void **state)
{
	const struct bundle_springcore r = { .client_id = "RD1", .device_id = "RD1", .prefix = "a/b", .login = "me", .password = "pw", .ca_slot = 3 };
	struct site *s = *state;
	struct err err;
	char *json;

	assert_true(bundle_springcore(&r, "h.example", 18883, slice_str(s->ca), &json, &err));
	assert_non_null(strstr(json, "\"C0\": \"64\""));
	assert_non_null(strstr(json, "\"88\": \"37038D4D8F\""));
	assert_non_null(strstr(json, "\"85\": \"0000000000000000000049C3\""));
	assert_non_null(strstr(json, "\"86\": \"682E6578616D706C65\""));
	assert_non_null(strstr(json, "\"8B\": \"6D65\""));
	assert_non_null(strstr(json, "\"8C\": \"7077\""));
	assert_non_null(strstr(json, "\"8D\": \"524431\""));
	assert_non_null(strstr(json, "\"8E\": \"612F62\""));
	assert_non_null(strstr(json, "\"8F\": \"524431\""));
	assert_non_null(strstr(json, "\"03\": \"3082"));
	free(json);
	assert_true(bundle_springcore(&(struct bundle_springcore){ 0 }, "h", 8883, slice_str(s->ca), &json, &err));
	assert_null(strstr(json, "\"85\""));
	assert_null(strstr(json, "\"8D\""));
	free(json);
}

static void
reader_has_its_bounds(void **state)
{
	static const char x[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"; /* 49 */
	const struct {
		struct bundle_springcore r;
		const char *host, *said;
	} cases[] = {
		{ { 0 }, x, "broker's name" },
		{ { 0 }, "", "broker's name" },
		{ { 0 }, "h st", "ASCII without spaces" },
		{ { 0 }, "h\xc3\xa9", "ASCII without spaces" },
		{ { .client_id = x + 49 - 25 }, "h", "client id" },
		{ { .device_id = x + 49 - 25 }, "h", "device id" },
		{ { .prefix = x + 49 - 33 }, "h", "topic prefix" },
		{ { .login = x + 49 - 17 }, "h", "login" },
		{ { .password = x + 49 - 17 }, "h", "password" },
		{ { .ca_slot = 7 }, "h", "place 0 to 6" },
	};
	struct site *s = *state;
	struct err err;
	char *json;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_false(bundle_springcore(&cases[i].r, cases[i].host, 0, slice_str(s->ca), &json, &err));
		assert_non_null(strstr(err.text, cases[i].said));
	}
	assert_true(bundle_springcore(&(struct bundle_springcore){ .client_id = x + 49 - 24, .device_id = x + 49 - 24, .prefix = x + 49 - 32,
	    .login = x + 49 - 16, .password = x + 49 - 16, .ca_slot = 6 }, x + 1, 0, slice_str(s->ca), &json, &err));
	free(json);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_files),
		cmocka_unit_test(without_a_key_nothing_is_secret),
		cmocka_unit_test(what_cannot_be),
		cmocka_unit_test(one_folder_in_an_archive),
		cmocka_unit_test(reader_is_told_all),
		cmocka_unit_test(reader_has_its_bounds),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
