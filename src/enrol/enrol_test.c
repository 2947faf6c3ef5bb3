#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/num.h"
#include "enrol/enrol.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TOKEN "signet://host.example:8443/d%C3%BCse%201?ca=" HEX64 "#s3cret"

/* ---- tokens ---- */

static void
test_a_token_is_read_and_written(void **state)
{
	struct enrol_token t;
	char out[ENROL_TOKEN_CAP];

	(void)state;
	assert_true(enrol_token_read(SL(" \n" TOKEN "\r\n"), &t, NULL));
	assert_string_equal(t.host, "host.example:8443");
	assert_string_equal(t.device, "d\xc3\xbcse 1");
	assert_string_equal(t.ca, HEX64);
	assert_string_equal(t.secret, "s3cret");
	assert_true(enrol_token_write(&t, out));
	assert_string_equal(out, TOKEN);
	assert_true(enrol_token_read(SL("signet://[::1]:1/?ca=" HEX64 "#a"), &t, NULL));
	assert_string_equal(t.device, "");
}

static void
test_what_is_no_token_is_said(void **state)
{
	static const char *const bad[] = { "", ("https://host/d?ca=" HEX64 "#s"), ("signet://host?ca=" HEX64 "#s"), ("signet:///d?ca=" HEX64 "#s"), ("signet://h@x/d?ca=" HEX64 "#s"),
		("signet://h/%zz?ca=" HEX64 "#s"), ("signet://h/%0?ca=" HEX64 "#s"), ("signet://h/%00?ca=" HEX64 "#s"), ("signet://h/%ff?ca=" HEX64 "#s"), ("signet://h/d?cb=" HEX64 "#s"),
		("signet://h/d?ca=" HEX64 "0#s"), "signet://h/d?ca=A123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef#s", ("signet://h/d?ca=" HEX64 "#"),
		("signet://h/d?ca=" HEX64 "#a b"), ("signet://h/d?ca=" HEX64) };
	struct enrol_token t = { .host = "untouched" };
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_false(enrol_token_read(slice_str(bad[i]), &t, &err));
		assert_int_equal(err.code, ERR_INPUT);
	}
	for (size_t n = 0; n < sizeof(TOKEN) - sizeof("#s3cret"); n++)
		assert_false(enrol_token_read(slice_of(TOKEN, n), &t, NULL));
	assert_string_equal(t.host, "untouched");
}

/* ---- QR ---- */

static size_t
count(const char *text, const char *what)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
		n++;
	return n;
}

static void
test_a_code_is_drawn(void **state)
{
	char *svg = qr_svg(TOKEN, NULL), *plain = qr_text(TOKEN, false, NULL), *colours = qr_text(TOKEN, true, NULL), *long_one = calloc(1, QR_TEXT_MAX + 2);
	int a = 0, b = 0;
	struct err err;

	(void)state;
	assert_non_null(svg);
	assert_int_equal(sscanf(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\"", &a, &b), 2);
	assert_int_equal(a, b);
	/* 17 + 4 * version squares and the quiet zone; the finder's first row stands in the corner. */
	assert_int_equal((a - 8 - 17) % 4, 0);
	assert_non_null(strstr(svg, "M4 4h7v1h-7z"));
	assert_int_equal(count(plain, "\n"), (a + 1) / 2);
	assert_int_equal(count(colours, "\033[0m\n"), (a + 1) / 2);
	/* The quiet zone is light: blocks where there are no colours, spaces where there are. */
	assert_int_equal(strncmp(plain, "\xe2\x96\x88\xe2\x96\x88\xe2\x96\x88\xe2\x96\x88", 12), 0);
	assert_non_null(strstr(colours, "\033[30;107m    "));
	memset(long_one, 'x', QR_TEXT_MAX + 1);
	assert_null(qr_svg(long_one, &err));
	assert_int_equal(err.code, ERR_LIMIT);
	free(svg);
	free(plain);
	free(colours);
	free(long_one);
}

/* ---- CSV ---- */

/* "1[a|b] 2!": lines with their number and fields, or a fault. */
static void
show(struct slice text, size_t piece, char *out, size_t cap)
{
	struct csv *c = csv_new(',');
	struct csv_line l;
	size_t n = 0;

	out[0] = '\0';
	for (size_t at = 0; at <= text.n; at += piece) {
		size_t m = NUM_MIN(piece, text.n - at);
		struct slice in = slice_of(text.p + at, m);

		while (csv_next(c, &in, at + m == text.n && m < piece, &l)) {
			n += (size_t)snprintf(out + n, cap - n, "%u%s", l.number, l.fault != NULL ? "! " : "[");
			for (size_t i = 0; i < l.n; i++)
				n += (size_t)snprintf(out + n, cap - n, "%.*s%s", SL_ARG(l.fields[i]), i + 1 < l.n ? "|" : "] ");
		}
	}
	csv_free(c);
}

static void
test_lines_are_read_whole_and_in_pieces(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ "\n\r\n\n", "" },
		{ "a", "1[a] " },
		{ "a,b\r\nc,d\n", "1[a|b] 2[c|d] " },
		{ "\xef\xbb\xbfid,label\nx,y", "1[id|label] 2[x|y] " },
		{ "\xef\xbbx", "1[\xef\xbbx] " },
		{ ",\n,,", "1[|] 2[||] " },
		{ "\"\"\n\"a\"\"b\",\"c,d\"\r\n", "1[] 2[a\"b|c,d] " },
		{ "\"two\nlines\",x\ny", "1[two\nlines|x] 3[y] " },
		{ "a\"b\nc", "1! 2[c] " },
		{ "\"a\"b\nc", "1! 2[c] " },
		{ "\"a\"\rb\nc", "1! 2[c] " },
		{ "a\rb", "1[a\rb] " },
		{ "x\n\"open\n\n", "1[x] 2! " },
		{ " a , b ", "1[ a | b ] " },
		{ "1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2\r\nz", "1[1|2|3|4|5|6|7|8|9|0|1|2|3|4|5|6|7|8|9|0|1|2|3|4|5|6|7|8|9|0|1|2] 2[z] " },
		{ "1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,1,2,3\r\nz", "1! 2[z] " },
	};
	char out[400];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t piece = 1; piece <= strlen(rows[i].text) + 1; piece++) {
			show(slice_str(rows[i].text), piece, out, sizeof(out));
			assert_string_equal(out, rows[i].want);
		}
	}
}

static void
test_a_line_is_bounded(void **state)
{
	char *text = malloc(CSV_LINE_MAX + 3), out[64];

	(void)state;
	memset(text, 'a', CSV_LINE_MAX + 1);
	memcpy(text + CSV_LINE_MAX + 1, "\nb", 2);
	show(slice_of(text, CSV_LINE_MAX + 3), 1000, out, sizeof(out));
	assert_string_equal(out, "1! 2[b] ");
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_token_is_read_and_written),
		cmocka_unit_test(test_what_is_no_token_is_said),
		cmocka_unit_test(test_a_code_is_drawn),
		cmocka_unit_test(test_lines_are_read_whole_and_in_pieces),
		cmocka_unit_test(test_a_line_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
