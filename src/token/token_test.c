/* PKCS#11 URIs: what is taken, and what is refused with its reason. And a token that signs nothing. */
#include "token/internal.h"

#include <dlfcn.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"

static const char good[] = "pkcs11:token=My%20token;serial=12ab;object=client%3b1;id=%00%ff;type=private?module-path=/usr/lib/m.so&pin-source=file:/etc/pin%25";

static void
a_uri_is_taken_apart(void **state)
{
	struct token_uri u;
	struct err err;

	(void)state;
	assert_true(token_uri_parse(slice_str(good), &u, &err));
	assert_string_equal(u.token, "My token");
	assert_string_equal(u.serial, "12ab");
	assert_string_equal(u.object, "client;1");
	assert_int_equal(u.id_n, 2);
	assert_memory_equal(u.id, "\0\xff", 2);
	assert_string_equal(u.module, "/usr/lib/m.so");
	assert_string_equal(u.pin_file, "/etc/pin%");
}

static void
what_is_no_such_uri_is_refused(void **state)
{
	static const struct {
		const char *uri, *why;
	} cases[] = {
		{ "", "begins with" },
		{ "pkcs11", "begins with" },
		{ "file:/x", "begins with" },
		{ "pkcs11:", "module-path" },
		{ "pkcs11:token=a", "module-path" },
		{ "pkcs11:token=a?module-path=m.so", "module-path" },
		{ "pkcs11:object=a?module-path=/m.so", "which token" },
		{ "pkcs11:token=?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token=a;token=b?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token=a%?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token=a%2?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token=a%zz?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token=a%00b?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token=123456789012345678901234567890123?module-path=/m.so", "\"token\"" },
		{ "pkcs11:token=a;type=cert?module-path=/m.so", "\"type\"" },
		{ "pkcs11:token=a;slot-id=1?module-path=/m.so", "\"slot-id\"" },
		{ "pkcs11:token=a;?module-path=/m.so", "\"\"" },
		{ "pkcs11:token=a?module-path=/m.so&pin-value=1234", "PIN" },
		{ "pkcs11:token=a;pin-value=1234?module-path=/m.so", "PIN" },
		{ "pkcs11:token=a?module-path=/m.so&pin-source=/etc/pin", "\"pin-source\"" },
		{ "pkcs11:token=a?module-path=/m.so&pin-source=|cat", "\"pin-source\"" },
		{ "pkcs11:token=a?module-name=x", "\"module-name\"" },
	};
	struct token_uri u;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_false(token_uri_parse(slice_str(cases[i].uri), &u, &err));
		if (strstr(err.text, cases[i].why) == NULL)
			fail_msg("%s: %s", cases[i].uri, err.text);
		assert_null(strstr(err.text, "1234"));
	}
	/* No truncation of a good one is anything but good or refused. */
	for (size_t n = 0; n < sizeof(good) - 1; n++)
		(void)token_uri_parse(slice_of(good, n), &u, &err);
}

static void
an_object_is_added(void **state)
{
	char out[TOKEN_URI_MAX], longest[TOKEN_URI_MAX];

	(void)state;
	assert_true(token_uri_add_object("pkcs11:token=a?module-path=/m", "x", out));
	assert_string_equal(out, "pkcs11:token=a;object=x?module-path=/m");
	assert_true(token_uri_add_object("pkcs11:token=a", "x", out));
	assert_string_equal(out, "pkcs11:token=a;object=x");
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_false(token_uri_add_object(longest, "x", out));
}

static void
a_module_that_is_none(void **state)
{
	struct token_key key = { .pin = "1234" };
	struct token_setup s = { .keys = &key, .n = 1 };
	struct err err;

	(void)state;
	assert_true(token_uri_parse(SL("pkcs11:token=a?module-path=/nonexistent/m.so"), &key.uri, &err));
	assert_null(token_start(&s, &err));
	assert_non_null(strstr(err.text, "/nonexistent/m.so cannot be loaded"));
	assert_int_equal(err.code, ERR_INPUT);
}

/* Opened anew it may sign; a third time nobody asks, and the reason is that of the second. */
static void
what_does_not_sign_is_asked_twice(void **state)
{
	char uri[TOKEN_URI_MAX], path[PATH_MAX];
	uint8_t out[TOKEN_SIGNATURE_MAX];
	struct token_key key = { .pin = "1234" };
	struct token_setup s = { .keys = &key, .n = 1 };
	void *lib = dlopen(*state, RTLD_NOW), *sym = lib != NULL ? dlsym(lib, "token_fake_asked") : NULL;
	unsigned (*asked)(void);
	struct modules *m;
	struct err err;
	size_t n;

	assert_non_null(sym);
	memcpy(&asked, &sym, sizeof(asked));
	assert_non_null(realpath(*state, path));
	assert_in_range(snprintf(uri, sizeof(uri), "pkcs11:token=fake?module-path=%s", path), 1, sizeof(uri) - 1);
	assert_true(token_uri_parse(slice_str(uri), &key.uri, &err));
	m = modules_new(&s, &err);
	assert_non_null(m);
	assert_int_equal(asked(), 0);
	assert_false(modules_sign(m, 0, SL("digest"), out, &n, &err));
	assert_int_equal(asked(), 2);
	assert_non_null(strstr(err.text, "the key may not sign"));
	modules_wipe(m);
}

int
main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_uri_is_taken_apart),
		cmocka_unit_test(what_is_no_such_uri_is_refused),
		cmocka_unit_test(an_object_is_added),
		cmocka_unit_test(a_module_that_is_none),
		cmocka_unit_test_prestate(what_does_not_sign_is_asked_twice, argv[argc - 1]),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
