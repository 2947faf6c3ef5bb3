/* Heads, targets, chunks: tables of cases, every truncation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/internal.h"
#include "base/num.h"

#define HOST "Host: h\r\n"

static const struct {
	const char *head;
	unsigned status; /* 0: taken */
} heads[] = {
	{ "GET / HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET /a?b=c HTTP/1.1\r\n" HOST "X:y\r\nZ: \t v w \t\r\n\r\n", 0 },
	{ "GET / HTTP/1.0\r\n\r\n", 0 },
	{ "POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n", 0 },
	{ "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", 0 },
	{ "GET https://h/a HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET http://h:8/a?x HTTP/1.1\r\n" HOST "\r\n", 0 },
	{ "GET https://h HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET https:///a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET ftp://h/a HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET h:80 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET  / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /  HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1 \r\n" HOST "\r\n", 505 },
	{ "GET /\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/2.0\r\n" HOST "\r\n", 505 },
	{ "GET / http/1.1\r\n" HOST "\r\n", 400 },
	{ "get / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "BREW / HTTP/1.1\r\n" HOST "\r\n", 501 },
	{ "G(T / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\x7f HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400 },
	{ "GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST " folded\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST ": x\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\n" HOST "\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\nHost: h\n\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 501 },
	{ "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", 417 },
};

/* In a block of its own length, so that a step beyond is seen. */
static ptrdiff_t
read_copy(struct slice in, struct http_head *h, struct http_fault *f)
{
	uint8_t *copy = malloc(in.n > 0 ? in.n : 1);
	ptrdiff_t n;

	assert_non_null(copy);
	memcpy(copy, in.p, in.n);
	n = http_read_head(slice_of(copy, in.n), h, f);
	free(copy);
	return n;
}

static void
test_heads(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		struct slice in = slice_str(heads[i].head);
		struct http_head h;
		struct http_fault f = { 0 };
		ptrdiff_t n = read_copy(in, &h, &f);

		if ((heads[i].status == 0) != (n == (ptrdiff_t)in.n) || (heads[i].status != 0 && f.status != heads[i].status))
			fail_msg("%s: %td, %u %s", heads[i].head, n, f.status, f.what != NULL ? f.what : "");
		if (heads[i].status == 0)
			for (size_t k = 0; k < in.n; k++)
				assert_int_equal(read_copy(slice_of(in.p, k), &h, &f), 0);
	}
}

static void
test_a_nul_is_no_text(void **state)
{
	static const char in[] = "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n", in2[] = "GET / HTTP/1.1\r\nHost: h\0\r\n\r\n";
	struct http_head h;
	struct http_fault f;

	(void)state;
	assert_int_equal(http_read_head(slice_of(in, sizeof(in) - 1), &h, &f), -1);
	assert_int_equal(http_read_head(slice_of(in2, sizeof(in2) - 1), &h, &f), -1);
}

static void
test_what_a_head_says(void **state)
{
	struct http_head h;
	struct http_fault f;
	struct slice v;

	(void)state;
	assert_true(http_read_head(SL("POST http://h/a?b HTTP/1.1\r\nhOST: h\r\nConnection: x, Close\r\nContent-Length: 7\r\nX: 1\r\nx: 2\r\n\r\nrest"), &h, &f) > 0);
	assert_true(slice_eq(h.target, SL("/a?b")));
	assert_int_equal(h.method, HTTP_POST);
	assert_int_equal(h.length, 7);
	assert_true(h.close && !h.chunked && !h.http_10);
	assert_true(http_header(&h, "content-length", &v) && slice_eq(v, SL("7")));
	assert_true(http_header(&h, "none", &v) && v.p == NULL);
	assert_false(http_header(&h, "X", &v));
	assert_true(http_read_head(SL("GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n"), &h, &f) > 0);
	assert_true(!h.close && h.http_10 && !h.expects);
	assert_true(http_read_head(SL("GET / HTTP/1.0\r\n\r\n"), &h, &f) > 0 && h.close);
}

static void
test_bounds(void **state)
{
	static char text[HTTP_HEAD_MAX + 100];
	struct http_head h;
	struct http_fault f;
	size_t n;

	(void)state;
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "X: ");
	memset(text + n, 'a', sizeof(text) - n);
	assert_int_equal(http_read_head(slice_of(text, HTTP_HEAD_MAX - 1), &h, &f), 0);
	assert_int_equal(http_read_head(slice_of(text, HTTP_HEAD_MAX), &h, &f), -1);
	assert_int_equal(f.status, 431);
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST);
	for (int i = 0; i < HTTP_HEADERS_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "X: y\r\n");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\r\n");
	assert_int_equal(http_read_head(slice_of(text, n), &h, &f), -1);
	assert_int_equal(f.status, 431);
	n = (size_t)snprintf(text, sizeof(text), "GET /");
	memset(text + n, 'a', HTTP_TARGET_MAX);
	n += HTTP_TARGET_MAX;
	n += (size_t)snprintf(text + n, sizeof(text) - n, " HTTP/1.1\r\n" HOST "\r\n");
	assert_int_equal(http_read_head(slice_of(text, n), &h, &f), -1);
	assert_int_equal(f.status, 414);
}

/* ---- targets ---- */

static const struct {
	const char *target, *shown; /* parts with '|' between, parameters behind '?'; NULL: refused */
} targets[] = {
	{ "/", "" },
	{ "/a", "a" },
	{ "/a/", "a" },
	{ "/a/b%20c/%C3%A4", "a|b c|\xc3\xa4" },
	{ "/a+b", "a+b" },
	{ "/a?x=1&y=a+b%2Bc&z", "a?x=1?y=a b+c?z=" },
	{ "/a?", "a" },
	{ "/a?&&x=%2f", "a?x=/" },
	{ "/%61%70i", "api" },
	{ "/...", "..." },
	{ "//", NULL },
	{ "//a", NULL },
	{ "/a//b", NULL },
	{ "/.", NULL },
	{ "/a/../b", NULL },
	{ "/a/%2e%2E/b", NULL },
	{ "/a/.%2e", NULL },
	{ "/a%2fb", NULL },
	{ "/a%2Fb", NULL },
	{ "/a%5cb", NULL },
	{ "/a\\b", NULL },
	{ "/a%00", NULL },
	{ "/a%0d%0a", NULL },
	{ "/a%7f", NULL },
	{ "/a%", NULL },
	{ "/a%4", NULL },
	{ "/a%4g", NULL },
	{ "/a%u0041", NULL },
	{ "/%ff", NULL },
	{ "/%c0%af", NULL },
	{ "/%ed%a0%80", NULL },
	{ "/a?x=1&x=2", NULL },
	{ "/a?x=1&%78=2", NULL },
	{ "/a?x=%00", NULL },
	{ "/1/2/3/4/5/6/7/8/9/10/11/12/13", NULL },
	{ "/a?1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17&18&19&20&21&22&23&24&25", NULL },
	{ "a", NULL },
	{ "", NULL },
};

static void
test_targets(void **state)
{
	struct http_path p;
	struct http_fault f;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		char shown[256] = "";
		size_t n = 0;
		bool ok = http_read_target(slice_str(targets[i].target), &p, &f);

		for (unsigned k = 0; ok && k < p.n; k++)
			n += (size_t)snprintf(shown + n, sizeof(shown) - n, "%s%.*s", k > 0 ? "|" : "", SL_ARG(p.segments[k]));
		for (unsigned k = 0; ok && k < p.n_query; k++)
			n += (size_t)snprintf(shown + n, sizeof(shown) - n, "?%.*s=%.*s", SL_ARG(p.query[k].name), SL_ARG(p.query[k].value));
		if (ok != (targets[i].shown != NULL) || (ok && strcmp(shown, targets[i].shown) != 0))
			fail_msg("%s: %s", targets[i].target, ok ? shown : f.what);
	}
}

/* ---- chunks ---- */

static const struct {
	const char *in, *body; /* NULL: refused */
} chunks[] = {
	{ "0\r\n\r\n", "" },
	{ "3\r\nabc\r\n0\r\n\r\n", "abc" },
	{ "3;x=y\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n", "abc0123456789" },
	{ "3\r\nabcd\r\n", NULL },
	{ "3\nabc", NULL },
	{ "g\r\n", NULL },
	{ "\r\n", NULL },
	{ "-1\r\n", NULL },
	{ "1000000000000000\r\n", NULL },
	{ "0\r\nX: y\r\n\r\n", NULL },
};

static bool
read_chunks(struct slice in, size_t step, char *out)
{
	struct http_chunks c = { 0 };
	struct http_fault f;
	struct slice piece;
	size_t there = 0, used = 0, n = 0;
	ptrdiff_t r;

	while (there < in.n && !c.done) {
		there = NUM_MIN(in.n, there + step);
		while ((r = http_read_chunk(&c, slice_of(in.p + used, there - used), &piece, &f)) > 0) {
			used += (size_t)r;
			if (piece.n > 0)
				memcpy(out + n, piece.p, piece.n);
			n += piece.n;
		}
		if (r < 0)
			return false;
	}
	out[n] = '\0';
	return c.done;
}

static void
test_chunks(void **state)
{
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
		for (size_t step = 1; step < 12; step++) {
			bool ok = read_chunks(slice_str(chunks[i].in), step, out);

			if (ok != (chunks[i].body != NULL) || (ok && strcmp(out, chunks[i].body) != 0))
				fail_msg("%s in steps of %zu", chunks[i].in, step);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_a_nul_is_no_text),
		cmocka_unit_test(test_what_a_head_says),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_chunks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
