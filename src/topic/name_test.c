/* Topic names and filters: case tables, and the relations between filters against every name. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/num.h"
#include "topic/topic.h"

struct ok_case {
	struct slice text;
	bool name, filter;
};

static void
test_ok(void **state)
{
	const struct ok_case ok_cases[] = {
		{ { NULL, 0 }, false, false }, /* [MQTT-4.7.3-1] */
		{ SL("a"), true, true },
		{ SL("/"), true, true },
		{ SL("//"), true, true },
		{ SL("a/b/c"), true, true },
		{ SL("/a"), true, true },
		{ SL("a b/\xc3\xa4"), true, true },
		{ SL("$SYS/x"), true, true },
		{ SL("a\0b"), false, false }, /* [MQTT-4.7.3-2] */
		{ SL("abcdefgh\0"), false, false },
		{ SL("\0"), false, false },
		{ SL("#"), false, true },
		{ SL("a/#"), false, true },
		{ SL("#/a"), false, false }, /* [MQTT-4.7.1-1] */
		{ SL("a#"), false, false },
		{ SL("a/b#"), false, false },
		{ SL("a/#/"), false, false },
		{ SL("##"), false, false },
		{ SL("+"), false, true },
		{ SL("+/+"), false, true },
		{ SL("+/#"), false, true },
		{ SL("a/+/b"), false, true },
		{ SL("a+"), false, false }, /* [MQTT-4.7.1-2] */
		{ SL("+a/b"), false, false },
		{ SL("a/b+c"), false, false },
		{ SL("++"), false, false },
		{ SL("+#"), false, false },
		{ SL("12345678+"), false, false },
		{ SL("1234567#90123456"), false, false },
		{ SL("12345678901234567890123456789012"), true, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ok_cases); i++) {
		const struct ok_case *c = &ok_cases[i];

		if (topic_name_ok(c->text) != c->name || topic_filter_ok(c->text) != c->filter)
			fail_msg("case %zu: %.*s", i, SL_ARG(c->text));
		if (topic_filter_ok(c->text))
			assert_int_equal(topic_has_wildcard(c->text), !c->name);
	}
}

/* Each byte, at each place in a word of eight. */
static void
test_name_bytes(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 24; n++) {
		for (size_t at = 0; at < n; at++) {
			for (unsigned c = 0; c < 256; c++) {
				uint8_t name[24];

				memset(name, 'a', sizeof name);
				name[at] = (uint8_t)c;
				assert_int_equal(topic_name_ok(slice_of(name, n)),
				    c != 0 && c != '+' && c != '#');
			}
		}
	}
}

static void
test_limits(void **state)
{
	uint8_t *big = malloc(65536);

	(void)state;
	assert_non_null(big);
	memset(big, '/', 65536);
	assert_true(topic_name_ok(slice_of(big, TOPIC_LEVELS_MAX - 1)));
	assert_true(topic_filter_ok(slice_of(big, TOPIC_LEVELS_MAX - 1)));
	assert_false(topic_name_ok(slice_of(big, TOPIC_LEVELS_MAX)));
	assert_false(topic_filter_ok(slice_of(big, TOPIC_LEVELS_MAX)));
	assert_false(topic_name_ok(slice_of(big, 65400)));
	assert_false(topic_filter_ok(slice_of(big, 65400)));
	big[TOPIC_LEVELS_MAX - 1] = '#';
	assert_true(topic_filter_ok(slice_of(big, TOPIC_LEVELS_MAX)));
	memset(big, 'a', 65536);
	assert_true(topic_name_ok(slice_of(big, 65535)));
	assert_true(topic_filter_ok(slice_of(big, 65535)));
	assert_false(topic_name_ok(slice_of(big, 65536)));
	assert_false(topic_filter_ok(slice_of(big, 65536)));
	free(big);
}

struct match_case {
	const char *filter, *name;
	bool yes;
};

/* The examples of 4.7.1.2, 4.7.1.3, 4.7.2 and 4.7.3, and what is next to them. */
static const struct match_case match_cases[] = {
	{ "sport/tennis/player1/#", "sport/tennis/player1", true },
	{ "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
	{ "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
	{ "sport/tennis/player1/#", "sport/tennis/player2", false },
	{ "sport/tennis/player1/#", "sport/tennis", false },
	{ "sport/#", "sport", true },
	{ "#", "a/b", true },
	{ "#", "/", true },
	{ "sport/tennis/+", "sport/tennis/player1", true },
	{ "sport/tennis/+", "sport/tennis/player1/ranking", false },
	{ "sport/tennis/+", "sport/tennis", false },
	{ "sport/+", "sport", false },
	{ "sport/+", "sport/", true },
	{ "+/+", "/finance", true },
	{ "/+", "/finance", true },
	{ "+", "/finance", false },
	{ "+/tennis/#", "a/tennis", true },
	{ "#", "$SYS/x", false },
	{ "+/monitor/Clients", "$SYS/monitor/Clients", false },
	{ "$SYS/#", "$SYS/", true },
	{ "$SYS/#", "$SYS", true },
	{ "$SYS/monitor/+", "$SYS/monitor/Clients", true },
	{ "a/#", "a/$x", true },
	{ "a/+", "a/$x", true },
	{ "ACCOUNTS", "Accounts", false },
	{ "a//b", "a//b", true },
	{ "a/+/b", "a//b", true },
	{ "a//b", "a/b", false },
	{ "a", "a/", false },
	{ "a/", "a", false },
	{ "/a", "a", false },
	{ "ab", "a", false },
	{ "a", "ab", false },
	{ "", "a", false },
};

static void
test_matches(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(match_cases); i++) {
		const struct match_case *c = &match_cases[i];

		if (topic_matches(slice_str(c->filter), slice_str(c->name)) != c->yes)
			fail_msg("%s %s %s", c->filter, c->yes ? "must match" : "must not match",
			    c->name);
	}
}

/* ---- every filter against every name ---- */

struct set {
	unsigned n;
	char text[1200][16];
};

static void
set_add(struct set *s, const char *head, const char *level)
{
	assert_true(s->n < ARRAY_LEN(s->text));
	(void)snprintf(s->text[s->n++], sizeof s->text[0], "%s%s%s", head != NULL ? head : "",
	    head != NULL ? "/" : "", level);
}

/* All sequences of at most <levels> of <alphabet>, shorter ones first. */
static void
set_fill(struct set *s, const char *const *alphabet, unsigned symbols, unsigned levels)
{
	unsigned from = 0;

	s->n = 0;
	for (unsigned a = 0; a < symbols; a++)
		set_add(s, NULL, alphabet[a]);
	for (unsigned depth = 1; depth < levels; depth++) {
		unsigned to = s->n;

		for (; from < to; from++)
			for (unsigned a = 0; a < symbols; a++)
				set_add(s, s->text[from], alphabet[a]);
	}
}

/* Matching as the specification words it: level by level, on split strings. Slow and plain. */
static bool
plainly_matches(const char *filter, const char *name)
{
	const char *f = filter, *n = name;

	if (name[0] == '$' && (filter[0] == '+' || filter[0] == '#'))
		return false;
	for (;;) {
		size_t fl = strcspn(f, "/"), nl = strcspn(n, "/");

		if (fl == 1 && f[0] == '#')
			return true;
		if (!(fl == 1 && f[0] == '+') && (fl != nl || memcmp(f, n, fl) != 0))
			return false;
		f += fl;
		n += nl;
		if (*f == '\0' || *n == '\0')
			return *f == *n || (*n == '\0' && strcmp(f, "/#") == 0);
		f++;
		n++;
	}
}

/* <c> is in no filter and stands for all text that a filter does not name; one level more than
 * the longest filter stands for all that '#' may add. */
static const char *const filter_alphabet[] = { "a", "b", "", "+", "#", "$x" };
static const char *const name_alphabet[] = { "a", "b", "c", "", "$x" };

static void
test_relations(void **state)
{
	static struct set filters, names;
	static bool m[300][1200];
	unsigned pairs = 0, covered = 0, overlapping = 0;

	(void)state;
	set_fill(&filters, filter_alphabet, ARRAY_LEN(filter_alphabet), 3);
	set_fill(&names, name_alphabet, ARRAY_LEN(name_alphabet), 4);
	assert_int_equal(filters.n, 6 + 36 + 216);
	assert_int_equal(names.n, 5 + 25 + 125 + 625);
	for (unsigned f = 0; f < filters.n; f++) {
		struct slice filter = slice_str(filters.text[f]);

		if (!topic_filter_ok(filter))
			continue;
		for (unsigned n = 0; n < names.n; n++) {
			struct slice name = slice_str(names.text[n]);

			if (!topic_name_ok(name))
				continue;
			m[f][n] = plainly_matches(filters.text[f], names.text[n]);
			if (topic_matches(filter, name) != m[f][n])
				fail_msg("'%s' and '%s'", filters.text[f], names.text[n]);
		}
	}
	for (unsigned a = 0; a < filters.n; a++) {
		for (unsigned b = 0; b < filters.n; b++) {
			struct slice fa = slice_str(filters.text[a]),
				     fb = slice_str(filters.text[b]);
			bool covers = true, overlaps = false;

			if (!topic_filter_ok(fa) || !topic_filter_ok(fb))
				continue;
			for (unsigned n = 0; n < names.n; n++) {
				covers = covers && (m[a][n] || !m[b][n]);
				overlaps = overlaps || (m[a][n] && m[b][n]);
			}
			pairs++;
			covered += covers;
			overlapping += overlaps;
			if (topic_covers(fa, fb) != covers)
				fail_msg("'%s' covers '%s': must be %d", filters.text[a],
				    filters.text[b], covers);
			if (topic_overlaps(fa, fb) != overlaps)
				fail_msg("'%s' overlaps '%s': must be %d", filters.text[a],
				    filters.text[b], overlaps);
		}
	}
	assert_int_equal(pairs, 185 * 185);
	assert_true(covered > 185 && covered < overlapping && overlapping < pairs);
}

struct share_case {
	const char *filter;
	enum topic_share result;
	const char *name, *inner;
};

static const struct share_case share_cases[] = {
	{ "$share/g/a/b", TOPIC_SHARE_YES, "g", "a/b" },
	{ "$share/g/#", TOPIC_SHARE_YES, "g", "#" },
	{ "$share/g//x", TOPIC_SHARE_YES, "g", "/x" },
	{ "$share/g/$SYS/+", TOPIC_SHARE_YES, "g", "$SYS/+" },
	{ "$share/g g/+", TOPIC_SHARE_YES, "g g", "+" },
	{ "$share", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share//", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share//a", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/ab", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/ab/", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/a+/x", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/+/x", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/#", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/a#/x", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/g/a#", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$share/g/#/a", TOPIC_SHARE_BAD, NULL, NULL },
	{ "$shared/g/a", TOPIC_SHARE_NO, NULL, NULL },
	{ "$shar", TOPIC_SHARE_NO, NULL, NULL },
	{ "$SHARE/g/a", TOPIC_SHARE_NO, NULL, NULL },
	{ "/$share/g/a", TOPIC_SHARE_NO, NULL, NULL },
	{ "a", TOPIC_SHARE_NO, NULL, NULL },
	{ "", TOPIC_SHARE_NO, NULL, NULL },
};

static void
test_share(void **state)
{
	struct slice x, y;

	(void)state;
	assert_int_equal(topic_share_split(SL("$share/a\0/x"), &x, &y), TOPIC_SHARE_BAD);
	for (size_t i = 0; i < ARRAY_LEN(share_cases); i++) {
		const struct share_case *c = &share_cases[i];
		struct slice name = SL("untouched"), inner = SL("untouched");

		if (topic_share_split(slice_str(c->filter), &name, &inner) != c->result)
			fail_msg("%s", c->filter);
		if (c->result == TOPIC_SHARE_YES) {
			assert_true(slice_eq(name, slice_str(c->name)));
			assert_true(slice_eq(inner, slice_str(c->inner)));
		} else {
			assert_true(
			    slice_eq(name, SL("untouched")) && slice_eq(inner, SL("untouched")));
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ok),
		cmocka_unit_test(test_name_bytes),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_relations),
		cmocka_unit_test(test_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
