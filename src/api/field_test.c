/* Bodies against tables; tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jwt.h>

#include "api/internal.h"
#include "base/num.h"

static const char *const colours[] = { "red", "green", NULL };
static const struct field inner[] = {
	{ "n", FIELD_INT, FIELD_REQUIRED, -5, 5 },
	{ 0 },
};
static const struct field item = { "x", FIELD_OBJECT, .of = inner };
static const struct field rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 2, 4, &rule_name },
	{ "colour", FIELD_TEXT, FIELD_NULL, .choices = colours },
	{ "on", FIELD_BOOL },
	{ "many", FIELD_LIST, 0, 1, 2, .of = &item },
	{ "any", FIELD_ANY },
	{ "out", FIELD_TEXT, FIELD_ANSWER, 0, 9 },
	{ "a/b~c", FIELD_INT, 0, 0, 1 },
	{ 0 },
};

static const struct {
	const char *body, *pointer; /* of the first fault; NULL: it is right */
} cases[] = {
	{ "{\"name\":\"ab\"}", NULL },
	{ "{\"name\":\"ab\",\"colour\":\"red\",\"on\":false,\"many\":[{\"n\":-5},{\"n\":5}],\"any\":[{}]}", NULL },
	{ "{\"name\":\"ab\",\"colour\":null}", NULL },
	{ "{}", "/name" },
	{ "[]", "" },
	{ "{\"name\":\"a\"}", "/name" },
	{ "{\"name\":\"abcde\"}", "/name" },
	{ "{\"name\":\"A!\"}", "/name" },
	{ "{\"name\":7}", "/name" },
	{ "{\"name\":null}", "/name" },
	{ "{\"name\":\"ab\",\"colour\":\"blue\"}", "/colour" },
	{ "{\"name\":\"ab\",\"on\":1}", "/on" },
	{ "{\"name\":\"ab\",\"many\":[]}", "/many" },
	{ "{\"name\":\"ab\",\"many\":[{\"n\":1},{\"n\":1},{\"n\":1}]}", "/many" },
	{ "{\"name\":\"ab\",\"many\":[{\"n\":1},{\"n\":6}]}", "/many/1/n" },
	{ "{\"name\":\"ab\",\"many\":[{\"n\":1.0}]}", "/many/0/n" },
	{ "{\"name\":\"ab\",\"many\":[{}]}", "/many/0/n" },
	{ "{\"name\":\"ab\",\"many\":[{\"n\":1,\"m\":1}]}", "/many/0/m" },
	{ "{\"name\":\"ab\",\"out\":\"x\"}", "/out" },
	{ "{\"name\":\"ab\",\"other\":1}", "/other" },
	{ "{\"name\":\"ab\",\"a/b~c\":2}", "/a~1b~0c" },
};

static void
test_fields(void **state)
{
	char why[FIELD_WHY_CAP];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *v = field_parse(slice_str(cases[i].body), why);
		struct faults f = { 0 };
		const char *at;

		assert_non_null(v);
		assert_int_equal(fields_check(rows, v, &f), cases[i].pointer == NULL);
		at = json_string_value(json_object_get(json_array_get(f.list, 0), "pointer"));
		if (cases[i].pointer != NULL && (at == NULL || strcmp(at, cases[i].pointer) != 0))
			fail_msg("%s: %s", cases[i].body, at != NULL ? at : "no fault");
		json_decref(f.list);
		json_decref(v);
	}
}

static void
test_json(void **state)
{
	static const char *const bad[] = { "", "{", "{\"a\":1,\"a\":2}", "{\"a\":1} x", "{'a':1}", "{\"a\":\"\\u0000\"}", "{\"a\":\"\xff\"}", "{\"a\":1e999}",
		"{\"a\":99999999999999999999}", "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", "NaN", "{\"a\":\"\\ud800\"}" };
	char why[FIELD_WHY_CAP];
	json_t *v;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if ((v = field_parse(slice_str(bad[i]), why)) != NULL)
			fail_msg("%s is taken", bad[i]);
	v = field_parse(SL("[[[[[[[[[[[[[[[[\"[[[[[[\\\"[[[[\"]]]]]]]]]]]]]]]]"), why);
	assert_non_null(v);
	json_decref(v);
}

/* Each example in the document is what its table takes, and each table can be shown. */
static void
test_document(void **state)
{
	json_t *doc = document_json();

	(void)state;
	assert_non_null(doc);
	json_decref(doc);
	for (size_t g = 0; g < op_groups_n; g++) {
		for (size_t i = 0; i < op_groups[g]->n; i++) {
			const struct op *o = &op_groups[g]->ops[i];
			char why[FIELD_WHY_CAP];
			struct faults f = { 0 };
			json_t *v;

			assert_int_equal(o->body != NULL, o->example != NULL);
			if (o->body == NULL)
				continue;
			v = field_parse(slice_str(o->example), why);
			if (v == NULL || !fields_check(o->body->rows, v, &f))
				fail_msg("%s: %s", o->id, json_dumps(f.list, 0));
			json_decref(v);
		}
	}
}

/* ---- tokens ---- */

enum { NOW = 1700000000, LIFE = 100 };

static void
test_tokens(void **state)
{
	struct tokens *ts = tokens_new(LIFE), *other = tokens_new(LIFE);
	struct token t = { .user = 7, .generation = 3, .tenant = "acme" }, got;
	const char *why;
	char *text, *changed;

	(void)state;
	assert_non_null(ts);
	assert_non_null(other);
	text = token_issue(ts, &t, NOW);
	assert_non_null(text);
	assert_true(token_read(ts, slice_str(text), NOW, &got, &why));
	assert_int_equal(got.user, 7);
	assert_int_equal(got.generation, 3);
	assert_string_equal(got.tenant, "acme");
	assert_string_equal(got.jti, t.jti);
	assert_true(token_read(ts, slice_str(text), NOW + LIFE - 1, &got, &why));
	assert_false(token_read(ts, slice_str(text), NOW + LIFE, &got, &why));
	assert_false(token_read(ts, slice_str(text), NOW - 1, &got, &why));
	assert_false(token_read(other, slice_str(text), NOW, &got, &why));
	for (size_t i = 0; i < strlen(text); i++) {
		changed = strdup(text);
		assert_non_null(changed);
		changed[i] = changed[i] == 'A' ? 'B' : 'A';
		/* The last character of each part may have bits that mean nothing. */
		if (text[i + 1] != '.' && text[i + 1] != '\0' && text[i] != changed[i])
			assert_false(token_read(ts, slice_str(changed), NOW, &got, &why));
		changed[i] = '\0';
		assert_false(token_read(ts, slice_str(changed), NOW, &got, &why));
		free(changed);
	}
	assert_true(token_revoke(ts, t.jti, t.expires, NOW));
	assert_true(token_revoke(ts, t.jti, t.expires, NOW));
	assert_false(token_read(ts, slice_str(text), NOW, &got, &why));
	free(text);
	tokens_free(ts);
	tokens_free(other);
}

/* Times as they cannot be, under the right signature: no sum of them leaves its range. */
static void
test_times_of_tokens(void **state)
{
	static const struct {
		const char *claims;
		bool good;
	} times[] = {
		{ "{\"iat\":1699999950,\"nbf\":1699999950,\"exp\":1700000050}", true },
		{ "{\"iat\":1699999950,\"nbf\":1699999950,\"exp\":1700000051}", false },
		{ "{\"iat\":-9223372036854775807,\"nbf\":-9223372036854775807,\"exp\":1700000050}", false },
		{ "{\"exp\":9223372036854775807}", false },
		{ "{\"iat\":9223372036854775807,\"nbf\":9223372036854775807,\"exp\":-9223372036854775807}", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		struct tokens *ts = tokens_new(LIFE);
		struct token t = { .more = times[i].claims, .user = 7, .tenant = "acme" }, got;
		const char *why;
		char *text;

		assert_non_null(ts);
		text = token_issue(ts, &t, NOW);
		assert_non_null(text);
		assert_int_equal(token_read(ts, slice_str(text), NOW, &got, &why), times[i].good);
		free(text);
		tokens_free(ts);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_document),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_times_of_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
