/* Alarms stand as long as they are found, each once, and docs/monitoring.md explains each kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "server/health.h"

static const char *guide; /* the path of docs/monitoring.md; set once by main() */

static json_t *
list_of(struct board *b, uint64_t *said)
{
	char *text = board_text(b, said);
	json_t *list = text != NULL ? json_loads(text, 0, NULL) : NULL;

	assert_true((text == NULL) == (list == NULL));
	free(text);
	return list;
}

static const char *
field(const json_t *list, size_t i, const char *name)
{
	return json_string_value(json_object_get(json_array_get(list, i), name));
}

static void
what_is_not_found_again_is_over(void **state)
{
	struct alarm store = { .source = ALARMS_OF_STORE, .kind = ALARM_STORE_FULL, .error = true, .text = "full" };
	struct alarm lag = { .source = ALARMS_OF_FIGURES, .kind = ALARM_LOOP_LAG, .text = "120 ms", .remedy = "wait" };
	struct board *b = board_new();
	uint64_t said = 0;
	unsigned kinds[ALARM_KINDS];
	json_t *list;

	(void)state;
	list = list_of(b, &said); /* nothing is news at first */
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
	assert_null(list_of(b, &said));
	assert_true(board_raise(b, &lag));
	assert_int_equal(board_settle(b, ALARMS_OF_FIGURES), 1);
	assert_true(board_raise(b, &store));
	assert_int_equal(board_settle(b, ALARMS_OF_STORE), 1);
	list = list_of(b, &said);
	assert_int_equal(json_array_size(list), 2);
	assert_string_equal(field(list, 0, "name"), "store-full"); /* the graver one is first */
	assert_string_equal(field(list, 0, "level"), "error");
	assert_non_null(strstr(field(list, 0, "remedy"), "persistence_location"));
	assert_string_equal(field(list, 1, "remedy"), "wait");
	json_decref(list);
	/* Again with other words: the same one, and the log has heard of it. */
	lag.text = "130 ms";
	assert_false(board_raise(b, &lag));
	assert_int_equal(board_settle(b, ALARMS_OF_FIGURES), 1);
	list = list_of(b, &said);
	assert_string_equal(field(list, 1, "text"), "130 ms");
	json_decref(list);
	assert_false(board_raise(b, &lag));
	assert_int_equal(board_settle(b, ALARMS_OF_FIGURES), 1);
	assert_null(list_of(b, &said)); /* all as it was */
	/* Each source ends its own. */
	assert_int_equal(board_settle(b, ALARMS_OF_FIGURES), 0);
	assert_int_equal(board_count(b, ALARMS_OF_STORE), 1);
	board_kinds(b, kinds);
	assert_int_equal(kinds[ALARM_STORE_FULL], 1);
	assert_int_equal(kinds[ALARM_LOOP_LAG], 0);
	list = list_of(b, &said);
	assert_int_equal(json_array_size(list), 1);
	json_decref(list);
	assert_true(board_raise(b, &lag)); /* a new one */
	board_free(b);
}

static void
names_of_any_bytes_become_text_that_fits(void **state)
{
	char longest[2000];
	struct alarm a = { .source = ALARMS_OF_CERTIFICATES, .kind = ALARM_CA, .text = "CN=\xff\"\n<script>" };
	struct board *b = board_new();
	uint64_t said = 0;
	json_t *list;

	(void)state;
	assert_true(board_raise(b, &a));
	/* Two bytes a character, and one more in front: the cut falls into one of them. */
	for (size_t i = 0; i + 1 < sizeof(longest); i++)
		longest[i] = i % 2 == 0 ? '\xc3' : '\xa9';
	longest[sizeof(longest) - 2] = longest[sizeof(longest) - 1] = '\0';
	a.key = 1;
	a.text = longest;
	assert_true(board_raise(b, &a));
	assert_int_equal(board_settle(b, ALARMS_OF_CERTIFICATES), 2);
	list = list_of(b, &said);
	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(strlen(field(list, 1, "text")) % 2, 0);
	json_decref(list);
	/* The same again is no news, though it had to be cut. */
	a.key = 0;
	a.text = "CN=\xff\"\n<script>";
	assert_false(board_raise(b, &a));
	a.key = 1;
	a.text = longest;
	assert_false(board_raise(b, &a));
	assert_int_equal(board_settle(b, ALARMS_OF_CERTIFICATES), 2);
	assert_null(list_of(b, &said));
	board_free(b);
}

struct lines {
	unsigned n, full;
};

static void
count_line(void *ctx, enum log_level level, const char *line, size_t n)
{
	struct lines *l = ctx;

	assert_true(level == LOG_LVL_WARNING || level == LOG_LVL_ERROR);
	l->n++;
	l->full += memmem(line, n, "more alarms than have a place", strlen("more alarms than have a place")) != NULL;
}

static void
there_is_an_end_to_them(void **state)
{
	struct board *b = board_new();
	struct lines lines = { 0 };
	uint64_t said = 0;
	unsigned warnings;
	json_t *list;

	(void)state;
	assert_true(log_add_sink(count_line, &lines));
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < 1000; i++)
			board_say(b, &(struct alarm){ .source = ALARMS_OF_CERTIFICATES, .kind = ALARM_CA, .key = i, .text = "x" });
		warnings = board_settle(b, ALARMS_OF_CERTIFICATES);
	}
	assert_in_range(warnings, 100, 999);
	/* Each of them once, and once that there is no place. */
	assert_int_equal(lines.n, warnings + 1);
	assert_int_equal(lines.full, 1);
	/* What is wrong has places of its own. */
	for (uint64_t i = 0; i < 1000; i++)
		board_say(b, &(struct alarm){ .source = ALARMS_OF_LISTS, .kind = ALARM_CRL, .error = true, .key = i, .text = "y" });
	assert_in_range(board_settle(b, ALARMS_OF_LISTS), 60, 999);
	assert_int_equal(lines.full, 1);
	list = list_of(b, &said);
	assert_in_range(json_array_size(list), 1, 100);
	assert_string_equal(field(list, 0, "level"), "error");
	json_decref(list);
	log_reset_sinks();
	board_free(b);
}

static void
the_guide_explains_each(void **state)
{
	struct err err = { 0 };
	uint8_t *doc = NULL;
	size_t n = 0;

	(void)state;
	assert_true(file_read(guide, 1 << 20, &doc, &n, &err));
	for (int k = 0; k < ALARM_KINDS; k++) {
		char row[64];
		int len = snprintf(row, sizeof(row), "\n| `%s` |", alarm_kind_name((enum alarm_kind)k));

		if (memmem(doc, n, row, (size_t)len) == NULL)
			fail_msg("%s has no row that begins with %s", guide, row);
	}
	free(doc);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_found_again_is_over),
		cmocka_unit_test(names_of_any_bytes_become_text_that_fits),
		cmocka_unit_test(there_is_an_end_to_them),
		cmocka_unit_test(the_guide_explains_each),
	};

	guide = argc > 1 ? argv[1] : "docs/monitoring.md";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
