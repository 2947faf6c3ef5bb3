/* UTF-8 by the table of the Unicode standard, and what becomes of bytes that are shown. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include "base/num.h"

struct utf8_case {
	struct slice in;
	bool ok;
};

/* [MQTT-1.5.4-1], [MQTT-1.5.4-2]: no surrogates, no U+0000; RFC 3629: shortest form, at most U+10FFFF. */
static const struct utf8_case utf8_cases[] = {
	{ { 0 }, true },
	{ SL("a"), true },
	{ SL("sensors/door-1/state"), true },
	{ SL("\x7f"), true },
	{ SL("\xc2\x80"), true },
	{ SL("\xdf\xbf"), true },
	{ SL("\xe0\xa0\x80"), true },
	{ SL("\xed\x9f\xbf"), true },
	{ SL("\xee\x80\x80"), true },
	{ SL("\xef\xbb\xbf"), true }, /* U+FEFF is a character like others [MQTT-1.5.4-3] */
	{ SL("\xef\xbf\xbf"), true },
	{ SL("\xf0\x90\x80\x80"), true },
	{ SL("\xf4\x8f\xbf\xbf"), true },
	{ SL("12345678\xc3\xa4" "12345678"), true },
	{ SL("\0"), false },
	{ SL("1234567\0"), false },
	{ SL("\0" "1234567"), false },
	{ SL("123\0" "4567"), false },
	{ SL("12345678\0"), false },
	{ SL("\x80"), false },
	{ SL("\xbf"), false },
	{ SL("1234567\x80"), false },
	{ SL("\xc0\x80"), false }, /* U+0000 too long */
	{ SL("\xc1\xbf"), false },
	{ SL("\xe0\x80\x80"), false },
	{ SL("\xe0\x9f\xbf"), false },
	{ SL("\xf0\x80\x80\x80"), false },
	{ SL("\xf0\x8f\xbf\xbf"), false },
	{ SL("\xed\xa0\x80"), false }, /* U+D800 */
	{ SL("\xed\xbf\xbf"), false }, /* U+DFFF */
	{ SL("\xf4\x90\x80\x80"), false }, /* U+110000 */
	{ SL("\xf5\x80\x80\x80"), false },
	{ SL("\xf8\x88\x80\x80\x80"), false },
	{ SL("\xfe"), false },
	{ SL("\xff"), false },
	{ SL("\xc3("), false },
	{ SL("\xe2(\xa1"), false },
	{ SL("\xe2\x82("), false },
	{ SL("\xf0(\x8c\xbc"), false },
	{ SL("\xf0\x90(\xbc"), false },
	{ SL("\xf0\x90\x8c("), false },
};

/* In memory of exactly its length, so that the sanitizer sees every read beyond it. */
static bool
ok_exact(const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	bool ok;

	assert_non_null(copy);
	if (n > 0)
		memcpy(copy, p, n);
	ok = utf8_ok(slice_of(copy, n));
	free(copy);
	return ok;
}

static void
utf8_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(utf8_cases); i++)
		if (ok_exact(utf8_cases[i].in.p, utf8_cases[i].in.n) != utf8_cases[i].ok)
			fail_msg("case %zu", i);
}

/* Every case behind 0..16 ASCII bytes and before 0..9: the fast path must not hide or invent anything. */
static void
utf8_at_every_offset(void **state)
{
	uint8_t buf[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(utf8_cases); i++) {
		for (size_t before = 0; before <= 16; before++) {
			for (size_t after = 0; after <= 9; after++) {
				memset(buf, 'x', sizeof buf);
				if (utf8_cases[i].in.n > 0)
					memcpy(buf + before, utf8_cases[i].in.p, utf8_cases[i].in.n);
				if (ok_exact(buf, before + utf8_cases[i].in.n + after) != utf8_cases[i].ok)
					fail_msg("case %zu, %zu before, %zu after", i, before, after);
			}
		}
	}
}

static void
utf8_truncated_is_refused(void **state)
{
	static const struct slice whole[] = { SL("\xc3\xa4"), SL("\xe2\x82\xac"), SL("\xf0\x9f\x94\x91") };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
		assert_true(ok_exact(whole[i].p, whole[i].n));
		for (size_t n = 1; n < whole[i].n; n++)
			assert_false(ok_exact(whole[i].p, n));
	}
}

/* All code points, encoded here by arithmetic alone. */
static void
utf8_every_code_point(void **state)
{
	(void)state;
	for (uint32_t cp = 1; cp < 0x120000; cp++) {
		uint8_t b[4];
		size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
		bool want = cp < 0x110000 && (cp < 0xd800 || cp > 0xdfff);

		for (size_t k = n; k-- > 1; cp >>= 6)
			b[k] = (uint8_t)(0x80 | (cp & 0x3f));
		b[0] = (uint8_t)(n == 1 ? cp : (0xf00u >> n & 0xff) | cp);
		cp = b[0];
		if (n > 1)
			cp &= 0x7fu >> n;
		for (size_t k = 1; k < n; k++)
			cp = cp << 6 | (b[k] & 0x3fu);
		if (utf8_ok(slice_of(b, n)) != want)
			fail_msg("U+%04X", cp);
	}
}

static void
show_escapes(void **state)
{
	static const struct {
		struct slice in;
		const char *out, *line;
	} cases[] = {
		{ { 0 }, "", "" },
		{ SL("door-1"), "door-1", "door-1" },
		{ SL("T\xc3\xbcr \xe2\x82\xac \xf0\x9f\x94\x91"), "T\xc3\xbcr \xe2\x82\xac \xf0\x9f\x94\x91",
		    "T\xc3\xbcr \xe2\x82\xac \xf0\x9f\x94\x91" },
		{ SL("a\nb\r\t\0c\x7f"), "a\\x0ab\\x0d\\x09\\x00c\\x7f", "a\\x0ab\\x0d\\x09\\x00c\\x7f" },
		{ SL("\"'\\"), "\\x22\\x27\\x5c", "\"'\\" },
		{ SL("\xff\xc3"), "\\xff\\xc3", "\\xff\\xc3" },
		{ SL("\xc2\x9b" "31m"), "\\xc2\\x9b31m", "\\xc2\\x9b31m" },
		{ SL("\xe2\x80\xae\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9"), "\\u{202e}\\u{202a}\\u{2066}\\u{2069}",
		    "\\u{202e}\\u{202a}\\u{2066}\\u{2069}" },
		{ SL("\xe2\x80\xa8"), "\\u{2028}", "\\u{2028}" },
	};
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_string_equal(text_show(cases[i].in, out, sizeof out), cases[i].out);
		assert_string_equal(text_line(cases[i].in, out, sizeof out), cases[i].line);
	}
}

static void
show_cuts_between_pieces(void **state)
{
	static const struct slice in = SL("ab\n\xe2\x82\xac\xe2\x80\xae\x01z\xff");
	static const char whole[] = "ab\\x0a\xe2\x82\xac\\u{202e}\\x01z\\xff";

	(void)state;
	for (size_t cap = 8; cap <= sizeof whole + 4; cap++) {
		char *out = malloc(cap);
		size_t n;

		assert_non_null(out);
		assert_ptr_equal(text_show(in, out, cap), out);
		n = strlen(out);
		assert_true(n < cap);
		assert_true(utf8_ok(slice_of(out, n)));
		if (cap >= sizeof whole) {
			assert_string_equal(out, whole);
		} else {
			assert_true(n >= 3);
			assert_string_equal(out + n - 3, "...");
			assert_memory_equal(out, whole, n - 3);
		}
		free(out);
	}
	for (size_t cap = 1; cap < 8; cap++) {
		char out[8];

		assert_true(strlen(text_show(in, out, cap)) < cap);
	}
}

static void
hex(void **state)
{
	char out[9];

	(void)state;
	assert_string_equal(text_hex(SL("\x00\x7f\xab\xff"), out, sizeof out), "007fabff");
	assert_string_equal(text_hex(SL("\x00\x7f\xab\xff"), out, 8), "007fab");
	assert_string_equal(text_hex(SL("\x01"), out, 2), "");
	assert_string_equal(text_hex((struct slice){ 0 }, out, 1), "");
}

static void
numbers(void **state)
{
	static const struct {
		struct slice in;
		uint64_t min, max, want;
		bool ok;
	} cases[] = {
		{ SL("0"), 0, 9, 0, true },
		{ SL("8883"), 1, 65535, 8883, true },
		{ SL("0065535"), 1, 65535, 65535, true },
		{ SL("18446744073709551615"), 0, UINT64_MAX, UINT64_MAX, true },
		{ SL("18446744073709551616"), 0, UINT64_MAX, 0, false },
		{ SL("99999999999999999999999"), 0, UINT64_MAX, 0, false },
		{ SL("65536"), 1, 65535, 0, false },
		{ SL("0"), 1, 65535, 0, false },
		{ SL(""), 0, 9, 0, false },
		{ SL("-1"), 0, 9, 0, false },
		{ SL("+1"), 0, 9, 0, false },
		{ SL(" 1"), 0, 9, 0, false },
		{ SL("1 "), 0, 9, 0, false },
		{ SL("0x1"), 0, 9, 0, false },
		{ SL("1\0"), 0, 9, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t v = 12345;

		assert_int_equal(text_u64(cases[i].in, cases[i].min, cases[i].max, &v), cases[i].ok);
		assert_int_equal(v, cases[i].ok ? cases[i].want : 12345);
	}
}

/* RFC 9110 5.6: lists, tokens, blanks. */
static void
words(void **state)
{
	static const struct slice no_tokens[] = { { 0 }, SL("a b"), SL("a:"), SL("\xc3\xa4"), SL("a\0"), SL("\t"), SL("\x7f") };

	(void)state;
	assert_true(slice_eq(text_trim(SL(" \t a b\t ")), SL("a b")));
	assert_int_equal(text_trim(SL(" \t")).n, 0);
	assert_true(text_is_token(SL("Sec-WebSocket-Key")));
	assert_true(text_is_token(SL("!#$%&'*+-.^_`|~09azAZ")));
	for (size_t i = 0; i < ARRAY_LEN(no_tokens); i++)
		assert_false(text_is_token(no_tokens[i]));
	assert_true(text_same_word(SL("Upgrade"), "upgrade"));
	assert_false(text_same_word(SL("upgrade "), "upgrade"));
	assert_false(text_same_word(SL("upgrad"), "upgrade"));
	assert_true(text_has_word(SL("keep-alive,\tUpgrade"), "upgrade"));
	assert_true(text_has_word(SL(",,upgrade"), "upgrade"));
	assert_false(text_has_word(SL("keep-alive, upgraded"), "upgrade"));
	assert_false(text_has_word((struct slice){ 0 }, "upgrade"));
	for (int c = 0; c < 256; c++) {
		const char digits[] = "0123456789abcdef", *at = c != 0 && c < 128 ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;

		assert_int_equal(text_hex_digit((uint8_t)c), at != NULL ? (int)(at - digits) : -1);
	}
}

static void
hex_is_read_whole_or_not(void **state)
{
	static const struct slice bad[] = { SL("0"), SL("0g"), SL("g0"), SL("00 1"), SL("0x00"), SL("00112233445566"), SL("-1"), SL("0\0") };
	uint8_t out[6];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(text_unhex(bad[i], out, sizeof out, &n));
	assert_true(text_unhex(SL("00ff7FAb80Ff"), out, sizeof out, &n));
	assert_int_equal(n, 6);
	assert_memory_equal(out, "\0\xff\x7f\xab\x80\xff", 6);
	assert_true(text_unhex(SL(""), out, 0, &n) && n == 0);
}

static void
copy_is_whole_or_nothing(void **state)
{
	char out[4] = "zzz";

	(void)state;
	assert_true(text_copy(out, sizeof out, SL("abc")));
	assert_string_equal(out, "abc");
	assert_false(text_copy(out, sizeof out, SL("abcd")));
	assert_string_equal(out, "");
	assert_false(text_copy(out, sizeof out, SL("a\0b")));
	assert_string_equal(out, "");
	assert_true(text_copy(out, sizeof out, (struct slice){ 0 }));
	assert_string_equal(out, "");
	assert_false(text_copy(out, 0, SL("a")));
}

static void
cut_tells_empty_parts_from_none(void **state)
{
	struct slice rest = SL("a//b/");
	static const struct {
		struct slice part;
		bool more;
	} want[] = { { SL("a"), true }, { { 0 }, true }, { SL("b"), true }, { { 0 }, false } };
	bool more = true;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		assert_true(more);
		assert_true(slice_eq(slice_cut(&rest, '/', &more), want[i].part));
		assert_int_equal(more, want[i].more);
	}
	assert_int_equal(rest.n, 0);
	assert_true(slice_starts(SL("abc"), SL("ab")));
	assert_true(slice_starts(SL("abc"), (struct slice){ 0 }));
	assert_false(slice_starts(SL("ab"), SL("abc")));
}

static void
a_copy_looks_at_no_byte_behind(void **state)
{
	char *bytes = malloc(3), *copy;

	(void)state;
	assert_non_null(bytes);
	memcpy(bytes, "abc", 3);
	copy = text_dup(slice_of((const uint8_t *)bytes, 3));
	assert_string_equal(copy, "abc");
	free(bytes);
	free(copy);
	copy = text_dup(SL(""));
	assert_string_equal(copy, "");
	free(copy);
}

static void
shell_words(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = { { "dev-1", "dev-1" }, { "", "''" }, { "a b", "'a b'" }, { "$(id)", "'$(id)'" }, { "x';id;'", "'x'\\'';id;'\\'''" }, { "\xc3\xa9", "'\xc3\xa9'" } };
	char out[40];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(text_shell(rows[i].in, out, 4 * strlen(rows[i].in) + 3));
		assert_string_equal(out, rows[i].out);
		for (size_t cap = 0; cap <= strlen(rows[i].out); cap++) {
			assert_false(text_shell(rows[i].in, out, cap));
			assert_true(cap == 0 || out[0] == '\0');
		}
	}
}

static void
times(void **state)
{
	char out[32];

	(void)state;
	assert_string_equal(text_when(0, out), "1970-01-01 00:00:00 UTC");
	assert_string_equal(text_when(1769860800, out), "2026-01-31 12:00:00 UTC");
	assert_string_equal(text_when(INT64_MIN / 4, out), "an unreadable time");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(utf8_table),
		cmocka_unit_test(utf8_at_every_offset),
		cmocka_unit_test(utf8_truncated_is_refused),
		cmocka_unit_test(utf8_every_code_point),
		cmocka_unit_test(show_escapes),
		cmocka_unit_test(show_cuts_between_pieces),
		cmocka_unit_test(shell_words),
		cmocka_unit_test(hex),
		cmocka_unit_test(numbers),
		cmocka_unit_test(words),
		cmocka_unit_test(times),
		cmocka_unit_test(hex_is_read_whole_or_not), cmocka_unit_test(copy_is_whole_or_nothing),
		cmocka_unit_test(cut_tells_empty_parts_from_none),
		cmocka_unit_test(a_copy_looks_at_no_byte_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
