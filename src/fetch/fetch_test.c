/* HTTP answers, whole, byte by byte and cut off; and URLs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/num.h"
#include "fetch/fetch.h"

enum { BODY_MAX = 20 };

#define HEAD "HTTP/1.1 200 OK\r\n"

static const struct {
	const char *what, *bytes, *body; /* body NULL: refused, with: */
	const char *why;
	bool closes; /* the end of the connection ends it */
} cases[] = {
	{ "a length", HEAD "Content-Length: 5\r\n\r\nhello", "hello", NULL, false },
	{ "no bytes", HEAD "Content-Length: 0\r\n\r\n", "", NULL, false },
	{ "until the end", HEAD "Server: x\r\n\r\nhello", "hello", NULL, true },
	{ "HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", "hello", NULL, true },
	{ "no reason", "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", "x", NULL, false },
	{ "bare LF", "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", "x", NULL, false },
	{ "any case, any space", HEAD "cOnTeNt-LeNgTh:\t 2 \r\n\r\nhi", "hi", NULL, false },
	{ "twice the same length", HEAD "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "hi", NULL, false },
	{ "chunks", HEAD "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: 1\r\n\r\n", "hello", NULL, false },
	{ "chunk in capitals", HEAD "Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "0123456789", NULL, false },
	{ "continue", "HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\n" HEAD "Content-Length: 2\r\n\r\nhi", "hi", NULL, false },
	{ "not there", "HTTP/1.1 404 Not Found\r\n\r\n", NULL, "404 Not Found", false },
	{ "elsewhere", "HTTP/1.1 301 Moved\r\nLocation: x\r\n\r\n", NULL, "301 Moved", false },
	{ "other protocol", "HTTP/1.1 101 Switching\r\n\r\n", NULL, "101", false },
	{ "HTTP/2", "HTTP/2 200 OK\r\n\r\n", NULL, "no HTTP/1.1", false },
	{ "something else", "220 mail.example ESMTP\r\n", NULL, "no HTTP/1.1", false },
	{ "TLS", "\x15\x03\x01\n", NULL, "no HTTP/1.1", false },
	{ "two lengths", HEAD "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", NULL, "Content-Length", false },
	{ "length and chunks", HEAD "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", NULL, "two lengths", false },
	{ "a length that is none", HEAD "Content-Length: -1\r\n\r\n", NULL, "Content-Length", false },
	{ "a length in a list", HEAD "Content-Length: 2, 2\r\n\r\n", NULL, "Content-Length", false },
	{ "packed", HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", NULL, "Transfer-Encoding", false },
	{ "folded", HEAD " Content-Length: 2\r\n\r\nhi", NULL, "header", false },
	{ "space before the colon", HEAD "Content-Length : 2\r\n\r\nhi", NULL, "header", false },
	{ "no colon", HEAD "hello\r\n\r\n", NULL, "header", false },
	{ "large", HEAD "Content-Length: 21\r\n\r\n", NULL, "larger than 20", false },
	{ "very large", HEAD "Content-Length: 99999999999999999999999\r\n\r\n", NULL, "Content-Length", false },
	{ "large until the end", HEAD "\r\n012345678901234567890", NULL, "larger than 20", false },
	{ "large chunk", HEAD "Transfer-Encoding: chunked\r\n\r\n15\r\n", NULL, "larger than 20", false },
	{ "huge chunk", HEAD "Transfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n", NULL, "larger than 20", false },
	{ "endless chunk length", HEAD "Transfer-Encoding: chunked\r\n\r\n0000000000000001\r\n", NULL, "chunk", false },
	{ "too many chunks", HEAD "Transfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n1\r\nx", NULL, "larger than 20", false },
	{ "a longer chunk", HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", NULL, "longer than it says", false },
	{ "no chunk", HEAD "Transfer-Encoding: chunked\r\n\r\nhello\r\n", NULL, "chunk", false },
};

/* In pieces of <step> bytes. */
static enum fetch_step
run(struct fetch_reader *r, struct slice bytes, size_t step, struct err *err)
{
	enum fetch_step got = FETCH_MORE;

	while (got == FETCH_MORE && bytes.n > 0) {
		size_t n = NUM_MIN(step, bytes.n);

		got = fetch_feed(r, slice_of(bytes.p, n), err);
		bytes = slice_from(bytes, n);
	}
	return got;
}

static void
reads_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (size_t step = 1; step < 64; step++) {
			struct fetch_reader r;
			struct err err = { 0 };
			enum fetch_step got;

			fetch_init(&r, BODY_MAX);
			got = run(&r, slice_str(cases[i].bytes), step, &err);
			if (got == FETCH_MORE && cases[i].closes)
				got = fetch_end(&r, &err);
			if (got != (cases[i].body != NULL ? FETCH_DONE : FETCH_BROKEN))
				fail_msg("%s, by %zu: %d %s", cases[i].what, step, (int)got, err.text);
			if (got == FETCH_BROKEN && strstr(err.text, cases[i].why) == NULL)
				fail_msg("%s, by %zu: %s", cases[i].what, step, err.text);
			if (got == FETCH_DONE && !slice_eq(slice_of(r.body, r.body_n), slice_str(cases[i].body)))
				fail_msg("%s, by %zu", cases[i].what, step);
			fetch_done(&r);
		}
	}
}

/* No beginning of an answer is one. */
static void
refuses_parts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].bytes);

		for (size_t k = 0; cases[i].body != NULL && !cases[i].closes && k < n; k++) {
			struct fetch_reader r;
			struct err err = { 0 };

			fetch_init(&r, BODY_MAX);
			assert_int_equal(run(&r, slice_of(cases[i].bytes, k), n, &err), FETCH_MORE);
			assert_int_equal(fetch_end(&r, &err), FETCH_BROKEN);
			assert_non_null(strstr(err.text, "closed"));
			fetch_done(&r);
		}
	}
}

static void
bounds_heads(void **state)
{
	char line[64] = "X: 345678901234567890123456789012345678901234567890123456789\r\n";
	struct fetch_reader r;
	struct err err = { 0 };
	enum fetch_step got;

	(void)state;
	fetch_init(&r, BODY_MAX);
	got = fetch_feed(&r, SL(HEAD), &err);
	for (size_t i = 0; i < FETCH_LINE_MAX && got == FETCH_MORE; i++)
		got = fetch_feed(&r, SL("x"), &err);
	assert_int_equal(fetch_feed(&r, SL("x"), &err), FETCH_BROKEN);
	assert_non_null(strstr(err.text, "a line"));
	fetch_done(&r);
	fetch_init(&r, BODY_MAX);
	got = fetch_feed(&r, SL(HEAD), &err);
	for (size_t i = 0; i * strlen(line) <= FETCH_HEAD_MAX && got == FETCH_MORE; i++)
		got = fetch_feed(&r, slice_str(line), &err);
	assert_int_equal(got, FETCH_BROKEN);
	assert_non_null(strstr(err.text, "headers"));
	fetch_done(&r);
}

static void
reads_urls(void **state)
{
	static const struct {
		const char *url, *host, *port, *authority, *path; /* host NULL: refused */
	} urls[] = {
		{ "http://ocsp.example", "ocsp.example", "80", "ocsp.example", "/" },
		{ "http://ocsp.example/", "ocsp.example", "80", "ocsp.example", "/" },
		{ "http://ocsp.example:8080/a/b?c=d", "ocsp.example", "8080", "ocsp.example:8080", "/a/b?c=d" },
		{ "http://ocsp.example?c=d", "ocsp.example", "80", "ocsp.example", "/?c=d" },
		{ "http://192.0.2.1:1", "192.0.2.1", "1", "192.0.2.1:1", "/" },
		{ "http://[2001:db8::1]", "2001:db8::1", "80", "[2001:db8::1]", "/" },
		{ "http://[2001:db8::1]:8080/x", "2001:db8::1", "8080", "[2001:db8::1]:8080", "/x" },
		{ "https://ocsp.example/", NULL, NULL, NULL, NULL },
		{ "ldap://ocsp.example/", NULL, NULL, NULL, NULL },
		{ "ocsp.example", NULL, NULL, NULL, NULL },
		{ "", NULL, NULL, NULL, NULL },
		{ "http://", NULL, NULL, NULL, NULL },
		{ "http:///x", NULL, NULL, NULL, NULL },
		{ "http://:80/", NULL, NULL, NULL, NULL },
		{ "http://a:0/", NULL, NULL, NULL, NULL },
		{ "http://a:65536/", NULL, NULL, NULL, NULL },
		{ "http://a:/", NULL, NULL, NULL, NULL },
		{ "http://a:b/", NULL, NULL, NULL, NULL },
		{ "http://user@a/", NULL, NULL, NULL, NULL },
		{ "http://[::1/", NULL, NULL, NULL, NULL },
		{ "http://[::1]x/", NULL, NULL, NULL, NULL },
		{ "http://a/#b", NULL, NULL, NULL, NULL },
		{ "http://a/\r\nX: y", NULL, NULL, NULL, NULL },
		{ "http://a/ b", NULL, NULL, NULL, NULL },
		{ "http://a/\xc3\xa4", NULL, NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
		struct fetch_url u;
		struct err err = { 0 };
		bool ok = fetch_url_parse(urls[i].url, &u, &err);

		if (ok != (urls[i].host != NULL))
			fail_msg("%s: %s", urls[i].url, err.text);
		if (!ok)
			continue;
		assert_string_equal(u.host, urls[i].host);
		assert_string_equal(u.port, urls[i].port);
		assert_string_equal(u.authority, urls[i].authority);
		assert_string_equal(u.path, urls[i].path);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_answers),
		cmocka_unit_test(refuses_parts),
		cmocka_unit_test(bounds_heads),
		cmocka_unit_test(reads_urls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
