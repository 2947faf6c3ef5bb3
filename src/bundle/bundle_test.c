#include "bundle/bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/pkcs12.h>
#include "base/num.h"

/* `openssl req` and `openssl x509`, for this test alone. */
static const char root_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBdDCCARugAwIBAgIUWy9b5aJjTHU5cM5JKYYvXM/3oScwCgYIKoZIzj0EAwIw\n"
    "DzENMAsGA1UEAwwEUm9vdDAgFw0yNjExMjExMTMyMzhaGA8yMTI2MTAyODExMzIz\n"
    "OFowDzENMAsGA1UEAwwEUm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPV5\n"
    "6+1My+ndoSkXnYdwMlKRi9FCOZOFjOpPiuLTLVKa+SsnUEWbDC7SONM3QOghsfZJ\n"
    "dg7CXbcNW4T1p5agbn6jUzBRMB0GA1UdDgQWBBTjWP7aPwykFS/ASBfgaH6PmBap\n"
    "5zAfBgNVHSMEGDAWgBTjWP7aPwykFS/ASBfgaH6PmBap5zAPBgNVHRMBAf8EBTAD\n"
    "AQH/MAoGCCqGSM49BAMCA0cAMEQCIHHacjBJnHZILo1xJG06xtwmq7vVcahsfQ4f\n"
    "jXfULGomAiBPqc+5zYfJ/y2GOIjgaTlOUwNuspTp9vmoQDuZ0IGNwA==\n"
    "-----END CERTIFICATE-----\n";
static const char cert_pem[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBGTCBwQIUZ7LPHPN2VkfsxSsTO537shbgkDkwCgYIKoZIzj0EAwIwDzENMAsG\n"
    "A1UEAwwEUm9vdDAgFw0yNjExMjExMTMyMzhaGA8yMTI2MTAyODExMzIzOFowDzEN\n"
    "MAsGA1UEAwwEZG9vcjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABIdOWU43yLUF\n"
    "Xu2WvuIvoryZWSBv0Y2aHjrp2Fod+sRbCpP8Be6hCdhPgzgx6l5cr2HriV4qg192\n"
    "Vc30fbjKT6cwCgYIKoZIzj0EAwIDRwAwRAIgFUcLeuv2ipjj/xJemAG4jnDVa3ya\n"
    "lsDwlDaqqmWKsMgCIHN41DdxL5Njq2ucmLOhyFTvmDKtFtNaX7u42YR4gnli\n"
    "-----END CERTIFICATE-----\n";
static const char key_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgtDdEnIZr4DF8AETu\n"
    "HJY0s4A40NK8wXwxI566O8gti6WhRANCAASHTllON8i1BV7tlr7iL6K8mVkgb9GN\n"
    "mh466dhaHfrEWwqT/AXuoQnYT4M4MepeXK9h64leKoNfdlXN9H24yk+n\n"
    "-----END PRIVATE KEY-----\n";
static const char other_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmYz4kwrpjb85EqI4\n"
    "nhjPn3z0cTBFLFgW2uMmzM57suuhRANCAAT1eevtTMvp3aEpF52HcDJSkYvRQjmT\n"
    "hYzqT4ri0y1SmvkrJ1BFmwwu0jjTN0DoIbH2SXYOwl23DVuE9aeWoG5+\n"
    "-----END PRIVATE KEY-----\n";

static struct bundle_order
order(void)
{
	return (struct bundle_order){ .cn = "door \"1\"", .key = slice_str(key_pem), .cert = slice_str(cert_pem), .ca = slice_str(root_pem), .host = "mqtt.example",
		.port = 8883, .commands = "do it\n", .now = 1800000000 };
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
	struct bundle_order o = order();
	const struct bundle_springcore reader = { .ca_slot = 2 };
	const struct bundle_file *f;
	const unsigned char *p;
	struct bundle_set b;
	struct err err;
	EVP_PKEY *k = NULL;
	X509 *x = NULL;
	STACK_OF(X509) *more = NULL;
	PKCS12 *p12;

	(void)state;
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
	assert_int_equal(X509_check_private_key(x, k), 1);
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
	struct bundle_order o = order();
	struct bundle_set b;
	struct err err;

	(void)state;
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
	(void)state;
	struct bundle_order o = order();
	struct bundle_set b;
	struct err err;

	o.key = slice_str(other_pem);
	assert_false(bundle_make(&o, &b, &err));
	assert_non_null(strstr(err.text, "does not belong"));
	o = order();
	o.cn = "a/b";
	assert_false(bundle_make(&o, &b, &err));
	o = order();
	o.cert = SL("rubbish");
	assert_false(bundle_make(&o, &b, &err));
}

static void
one_folder_in_an_archive(void **state)
{
	struct bundle_order o = order();
	uint8_t *zip, *again, *tar;
	size_t zip_n, again_n, tar_n;
	struct bundle_set b;
	struct err err;

	(void)state;
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
	(void)state;
	struct err err;
	char *json;

	assert_true(bundle_springcore(&r, "h.example", 18883, slice_str(root_pem), &json, &err));
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
	assert_true(bundle_springcore(&(struct bundle_springcore){ 0 }, "h", 8883, slice_str(root_pem), &json, &err));
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
	(void)state;
	struct err err;
	char *json;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_false(bundle_springcore(&cases[i].r, cases[i].host, 0, slice_str(root_pem), &json, &err));
		assert_non_null(strstr(err.text, cases[i].said));
	}
	assert_true(bundle_springcore(&(struct bundle_springcore){ .client_id = x + 49 - 24, .device_id = x + 49 - 24, .prefix = x + 49 - 32,
	    .login = x + 49 - 16, .password = x + 49 - 16, .ca_slot = 6 }, x + 1, 0, slice_str(root_pem), &json, &err));
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

	return cmocka_run_group_tests(tests, NULL, NULL);
}
