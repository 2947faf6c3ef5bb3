/* The answers to requests for the console's files. A build without the console has no answer to any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/num.h"
#include "console/console.h"

static void
gzip_is_sent_where_it_is_taken(void **state)
{
	static const struct {
		const char *accept;
		bool takes;
	} rows[] = {
		{ "gzip", true }, { "GZIP", true }, { "x-gzip", true }, { "br , gzip", true }, { "br,gzip ; q=0.1", true }, { "gzip;q=1", true },
		{ "", false }, { "gzi", false }, { "gzips", false }, { "br", false }, { "*", false }, { "gzip;q=0", false }, { "gzip; q=0.000", false },
		{ "identity, gzip;q=0.0", false }, { "gzip;q=", true }, { ",,", false },
	};

	(void)state;
	assert_false(console_takes_gzip((struct slice){ 0 }));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (console_takes_gzip(slice_str(rows[i].accept)) != rows[i].takes)
			fail_msg("%s", rows[i].accept);
}

static struct console_reply
answer(const char *path, const char *accept, const char *none_match)
{
	struct console_ask ask = { .path = slice_str(path), .mode = SL("{\"on\":\"test\"}") };
	struct console_reply r = { 0 };
	bool is;

	if (accept != NULL)
		ask.accept = slice_str(accept);
	if (none_match != NULL)
		ask.none_match = slice_str(none_match);
	is = console_answer(&ask, &r);
	assert_int_equal(is, r.status != 0);
	assert_true(memchr(r.fields, '\0', sizeof(r.fields) - 1) != NULL);
	return r;
}

static void
each_path_has_its_answer(void **state)
{
	static const struct {
		const char *path;
		unsigned status; /* 0: not the console's */
	} rows[] = {
		{ "/", 302 }, { "/console", 302 }, { "/console/", 200 }, { "/console/main.js", 200 }, { "/console/lib/api.js", 200 },
		{ "/console/mode.json", 200 }, { "/console/nothing.js", 404 }, { "/console/../main.js", 404 }, { "/console/%6dain.js", 404 },
		{ "/console//main.js", 404 }, { "/console/main.js/", 404 }, { "/console/lib", 404 }, { "/console/lib/", 404 },
		{ "/console/mode.json/", 404 }, { "/consolemain.js", 0 }, { "/Console/", 0 }, { "/x", 0 }, { "/mqtt", 0 }, { "//", 0 }, { "", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct console_reply r = answer(rows[i].path, NULL, NULL);

		if (r.status != (console_files_n > 0 ? rows[i].status : 0))
			fail_msg("%s: %u", rows[i].path, r.status);
		assert_int_equal(r.status == 200, r.type != NULL);
		assert_int_equal(r.status == 200, r.body.n > 0);
	}
}

static void
every_file_has_two_forms_and_their_tags(void **state)
{
	char path[160];

	(void)state;
	for (size_t i = 0; i < console_files_n; i++) {
		const struct console_file *f = &console_files[i];
		struct console_reply plain, packed;

		(void)snprintf(path, sizeof(path), "/console/%s", f->path);
		plain = answer(path, NULL, NULL);
		packed = answer(path, "gzip", NULL);
		assert_true(slice_eq(plain.body, f->plain) && slice_eq(packed.body, f->gzip));
		assert_non_null(strstr(plain.fields, f->etag));
		assert_non_null(strstr(packed.fields, f->etag_gzip));
		assert_null(strstr(plain.fields, "Content-Encoding"));
		assert_non_null(strstr(packed.fields, "Content-Encoding: gzip\r\n"));
		assert_int_equal(answer(path, NULL, f->etag).status, 304);
		assert_int_equal(answer(path, "gzip", f->etag).status, 200);
		assert_int_equal(answer(path, "gzip", "\"x\" , *").status, 304);
		packed = answer(path, "gzip", f->etag_gzip);
		assert_int_equal(packed.status, 304);
		assert_true(packed.body.n == 0 && packed.type == NULL && strstr(packed.fields, f->etag_gzip) != NULL);
		assert_null(strstr(packed.fields, "Content-Encoding"));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gzip_is_sent_where_it_is_taken),
		cmocka_unit_test(each_path_has_its_answer),
		cmocka_unit_test(every_file_has_two_forms_and_their_tags),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
