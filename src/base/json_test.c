#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/num.h"

static const char *const objects[] = { "{}", " \t\r\n{ } ", "{\"a\":1}", "{\"a\":-0.5e+10,\"b\":[],\"c\":[1,2,{\"d\":[[]]}],\"e\":null,\"f\":true,\"g\":false}",
	"{\"\":\"\\u00e9\\n\\\"\\\\\\/\"}", "{\"a\":\"\xc3\xa9\"}", "{\"a\":1,\"a\":2}", "{\"a\":0}", "{\"a\":1E5}" };
static const char *const others[] = { "", " ", "null", "10", "\"x\"", "[]", "[{}]", "true", "{", "}", "{]", "{}{}", "{}x", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}",
	"{'a':1}", "{\"a\":01}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}", "{\"a\":1e}", "{\"a\":NaN}", "{\"a\":Infinity}", "{\"a\":nul}", "{\"a\":[1,]}", "{\"a\":[1}", "{\"a\":{]}",
	"{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"\xff\"}", "{\"a\":1 2}", "{\"a\" 1}", "{\"a\":1}}", "\xef\xbb\xbf{}", "{\"a\":-}", "{\"a\":tru" };

static void
texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(objects); i++)
		assert_true(json_text_is_object(slice_str(objects[i])));
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_false(json_text_is_object(slice_str(others[i])));
	assert_false(json_text_is_object((struct slice){ 0 }));
	assert_false(json_text_is_object(slice_of("{\"a\":\0}", 7)));
}

/* Each beginning of an object, in memory of just its length. */
static void
beginnings(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
		size_t whole = strlen(objects[i]), end = whole;

		while (objects[i][end - 1] != '}')
			end--;
		for (size_t n = 0; n < end; n++) {
			char *copy = malloc(n + 1);

			assert_non_null(copy);
			memcpy(copy, objects[i], n);
			copy = realloc(copy, n > 0 ? n : 1);
			assert_false(json_text_is_object(slice_of(copy, n)));
			free(copy);
		}
	}
}

static void
nesting(void **state)
{
	char text[4 * JSON_NESTING_MAX];

	(void)state;
	for (size_t n = JSON_NESTING_MAX - 1; n <= JSON_NESTING_MAX; n++) {
		size_t at = 0;

		memcpy(text, "{\"a\":", 5), at += 5;
		memset(text + at, '[', n), at += n;
		memset(text + at, ']', n), at += n;
		text[at++] = '}';
		assert_true(json_text_is_object(slice_of(text, at)) == (n < JSON_NESTING_MAX));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(texts), cmocka_unit_test(beginnings), cmocka_unit_test(nesting) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
