/* Requests and their answers, and what file a target means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/num.h"
#include "ws/internal.h"

#define FIRST "GET /mqtt HTTP/1.1\r\n"
#define HOST "Host: localhost:9001\r\n"
#define UPGRADE "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" /* RFC 6455 1.3 */
#define PROTOCOL "Sec-WebSocket-Protocol: mqtt\r\n"
#define GOOD FIRST HOST UPGRADE VERSION KEY PROTOCOL

static void *
no_file(void *ctx, const char *path, struct ws_file *ret)
{
	(void)ctx;
	(void)path;
	(void)ret;
	return NULL;
}

static const char *const origins[] = { "https://example.com", "http://localhost:8000" };
static const struct ws_files files = { .open = no_file };
static const struct ws_config config = { .origins = origins, .n_origins = ARRAY_LEN(origins) };

/* clang-format off */
static const struct {
	const char *text;
	unsigned status; /* 0: closed without an answer */
} cases[] = {
	{ GOOD "\r\n", 101 },
	{ FIRST "hOST:x\r\n" "uPGRADE:h2c,  WebSocket \r\n" "connection:\tupgrade\t\r\n" VERSION KEY PROTOCOL "\r\n", 101 },
	{ GOOD "Sec-WebSocket-Protocol: other\r\n\r\n", 101 },
	{ FIRST HOST UPGRADE VERSION KEY "Sec-WebSocket-Protocol: x, mqttv3.1\r\n\r\n", 101 },
	{ GOOD "Origin: https://example.com\r\n\r\n", 101 },
	{ GOOD "Cookie: caf\xe9\r\nX:\r\n\r\n", 101 },
	{ GOOD "Content-Length: 0\r\n\r\n", 101 },
	/* Origin: closed, as mosquitto does */
	{ GOOD "Origin: https://example.com.evil\r\n\r\n", 0 },
	{ GOOD "Origin: https://example.co\r\n\r\n", 0 },
	{ GOOD "Origin: null\r\n\r\n", 0 },
	{ GOOD "Origin:\r\n\r\n", 0 },
	{ GOOD "Origin: https://example.com\r\nOrigin: https://evil\r\n\r\n", 400 },
	/* not HTTP */
	{ "\x10\x0c\0\4MQTT", 0 },
	{ "\r\n" GOOD "\r\n", 0 },
	{ "get / HTTP/1.1\r\n\r\n", 0 },
	{ "\x16\x03\x01", 0 },
	/* the upgrade's parts */
	{ FIRST UPGRADE VERSION KEY PROTOCOL "\r\n", 400 },
	{ GOOD HOST "\r\n", 400 },
	{ FIRST HOST "Connection: Upgrade\r\n" VERSION KEY PROTOCOL "\r\n", 404 },
	{ FIRST HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n" VERSION KEY PROTOCOL "\r\n", 400 },
	{ FIRST HOST "Upgrade: websockets\r\nConnection: Upgrade\r\n" VERSION KEY PROTOCOL "\r\n", 400 },
	{ FIRST HOST "Upgrade: websocket\r\nConnection: keep-alive\r\n" VERSION KEY PROTOCOL "\r\n", 400 },
	{ FIRST HOST UPGRADE KEY PROTOCOL "\r\n", 426 },
	{ FIRST HOST UPGRADE "Sec-WebSocket-Version: 8\r\n" KEY PROTOCOL "\r\n", 426 },
	{ GOOD VERSION "\r\n", 400 },
	{ FIRST HOST UPGRADE VERSION PROTOCOL "\r\n", 400 },
	{ FIRST HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" PROTOCOL "\r\n", 400 },
	{ FIRST HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ1=\r\n" PROTOCOL "\r\n", 400 },
	{ FIRST HOST UPGRADE VERSION "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ_==\r\n" PROTOCOL "\r\n", 400 },
	{ FIRST HOST UPGRADE VERSION "Sec-WebSocket-Key:\r\n" PROTOCOL "\r\n", 400 },
	{ GOOD KEY "\r\n", 400 },
	{ FIRST HOST UPGRADE VERSION KEY "\r\n", 400 },
	{ FIRST HOST UPGRADE VERSION KEY "Sec-WebSocket-Protocol: MQTT, mqtt5\r\n\r\n", 400 },
	{ "POST /mqtt HTTP/1.1\r\n" HOST UPGRADE VERSION KEY PROTOCOL "\r\n", 405 },
	{ GOOD "Content-Length: 5\r\n\r\n", 400 },
	{ GOOD "Transfer-Encoding: chunked\r\n\r\n", 400 },
	/* no upgrade at all */
	{ FIRST HOST "\r\n", 404 },
	{ "DELETE / HTTP/1.1\r\n" HOST "\r\n", 405 },
	/* the first line */
	{ "GET / HTTP/1.0\r\n" HOST "\r\n", 505 },
	{ "PRI * HTTP/2.0\r\n\r\n", 505 },
	{ "GET / HTTP/1.1 \r\n" HOST "\r\n", 505 },
	{ "GET  / HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\r\n" HOST "\r\n", 400 },
	{ "GET /a b HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET http://localhost/ HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET * HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "GET /\tx HTTP/1.1\r\n" HOST "\r\n", 400 },
	{ "G@T / HTTP/1.1\r\n" HOST "\r\n", 400 },
	/* what could be read in two ways */
	{ FIRST HOST "X: a\r\n b\r\n\r\n", 400 },
	{ FIRST HOST "X : a\r\n\r\n", 400 },
	{ FIRST HOST ": a\r\n\r\n", 400 },
	{ FIRST HOST "X a\r\n\r\n", 400 },
	{ FIRST HOST "X: a\n\r\n", 400 },
	{ FIRST HOST "X: a\rY: b\r\n\r\n", 400 },
	{ "GET / HTTP/1.1\n", 400 },
	{ FIRST HOST "X: \x01\r\n\r\n", 400 },
	{ FIRST HOST "X: \x7f\r\n\r\n", 400 },
};
/* clang-format on */

/* 101, 200 for a file, an error, 0 for close, -1 for more. */
static int
status_of(struct slice in, const struct ws_config *c, size_t *ret_n)
{
	struct request r;
	struct answer a;
	const char *why;

	switch (request_parse(in, WS_HEADERS_DEFAULT, &r, ret_n, &why)) {
	case REQUEST_MORE:
		return -1;
	case REQUEST_BAD:
		assert_true(why[0] != '\0');
		return 400;
	case REQUEST_TOO_LARGE:
		return 431;
	case REQUEST_VERSION:
		return 505;
	case REQUEST_NOT_HTTP:
		return 0;
	case REQUEST_OK:
		break;
	}
	a = answer_to(&r, c);
	return a.kind == ANSWER_CLOSE ? 0 : (int)a.status;
}

static void
each_request_gets_its_answer(void **state)
{
	size_t i, n = 0;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice in = slice_str(cases[i].text);
		int got = status_of(in, &config, &n);

		if (got != (int)cases[i].status)
			fail_msg("%s\ngave %d, not %u", cases[i].text, got, cases[i].status);
		if (got == 101)
			assert_int_equal(n, in.n);
	}
}

static void
a_truncated_request_waits_or_is_refused_never_taken(void **state)
{
	size_t i, n = 0, k;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice whole = slice_str(cases[i].text);

		for (k = 0; k < whole.n; k++) {
			uint8_t *copy =
			    malloc(k + 1); /* of its own length for the sanitizer, but for 0 */
			int got;

			assert_non_null(copy);
			memcpy(copy, whole.p, k);
			got = status_of(slice_of(copy, k), &config, &n);
			if (got != -1 && got != (int)cases[i].status)
				fail_msg("%zu bytes of %s\ngave %d", k, cases[i].text, got);
			free(copy);
		}
	}
}

static void
a_nul_is_refused(void **state)
{
	static const char nul[] = FIRST HOST "X: a\0b\r\n\r\n",
			  target[] = "GET /a\0b HTTP/1.1\r\n" HOST "\r\n";
	size_t n;

	(void)state;
	assert_int_equal(status_of(slice_of(nul, sizeof(nul) - 1), &config, &n), 400);
	assert_int_equal(status_of(slice_of(target, sizeof(target) - 1), &config, &n), 400);
}

static void
headers_are_bounded(void **state)
{
	char text[WS_HEADERS_DEFAULT + 64];
	size_t n = 0, fixed = strlen(GOOD "X: \r\n\r\n"), at;

	(void)state;
	for (size_t size = WS_HEADERS_DEFAULT - 1; size <= WS_HEADERS_DEFAULT + 1; size++) {
		memset(text, 'a', sizeof(text));
		memcpy(text, GOOD "X: ", strlen(GOOD "X: "));
		memcpy(text + size - 4, "\r\n\r\n", 4);
		assert_true(size > fixed);
		assert_int_equal(status_of(slice_of(text, size), &config, &n),
		    size <= WS_HEADERS_DEFAULT ? 101 : 431);
	}
	/* Without an end it is refused as soon as it cannot be one any more. */
	memset(text, 'a', sizeof(text));
	memcpy(text, FIRST, strlen(FIRST));
	for (at = strlen(FIRST); at < WS_HEADERS_DEFAULT; at++)
		assert_int_equal(status_of(slice_of(text, at), &config, &n), -1);
	assert_int_equal(status_of(slice_of(text, at), &config, &n), 431);
}

static void
the_upgrade_is_exact(void **state)
{
	static const char want[] = "HTTP/1.1 101 Switching Protocols\r\n"
				   "Upgrade: WebSocket\r\n"
				   "Connection: Upgrade\r\n"
				   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
				   "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
	struct request r;
	char out[ANSWER_CAP + 1];
	const char *why;
	size_t n;

	(void)state;
	assert_int_equal(request_parse(slice_str(GOOD "\r\n"), 4096, &r, &n, &why), REQUEST_OK);
	n = answer_put_switch(&r, out);
	out[n] = '\0';
	assert_string_equal(out, want);
	r.protocol_mqtt = false;
	out[answer_put_switch(&r, out)] = '\0';
	assert_non_null(strstr(out, "\r\nSec-WebSocket-Protocol: mqttv3.1\r\n\r\n"));
}

static void
errors_have_their_headers(void **state)
{
	char out[ANSWER_CAP];

	(void)state;
	out[answer_put_error(426, "no", false, out)] = '\0';
	assert_string_equal(out,
	    "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	    "Content-Type: text/plain\r\nContent-Length: 3\r\nConnection: close, "
	    "Upgrade\r\n\r\nno\n");
	out[answer_put_error(405, "no", true, out)] = '\0';
	assert_string_equal(out,
	    "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"
	    "Content-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
}

static void
files_are_asked_for_only_where_there_are_some(void **state)
{
	struct ws_config with = { .files = &files };
	size_t n;

	(void)state;
	assert_int_equal(status_of(slice_str(FIRST HOST "\r\n"), &with, &n), 200);
	assert_int_equal(status_of(slice_str("HEAD / HTTP/1.1\r\n" HOST "\r\n"), &with, &n), 200);
	assert_int_equal(status_of(slice_str("PUT / HTTP/1.1\r\n" HOST "\r\n"), &with, &n), 405);
	/* Without a list every Origin may come. */
	assert_int_equal(status_of(slice_str(GOOD "Origin: https://evil\r\n\r\n"), &with, &n), 101);
}

static bool
no_page(void *ctx, const struct ws_ask *ask, struct ws_page *ret)
{
	(void)ctx;
	(void)ask;
	(void)ret;
	return false;
}

/* With pages of our own those may come by themselves, and others by the list alone. */
static void
our_own_pages_may_come(void **state)
{
	static const struct {
		const char *host, *origin;
		bool plain, tls; /* may it come there? */
	} rows[] = {
		{ "localhost:9001", "http://localhost:9001", true, false },
		{ "localhost:9001", "https://localhost:9001", true, true }, /* behind a proxy with TLS, and paho */
		{ "localhost", "http://localhost", true, false },
		{ "127.0.0.1:9001", "http://127.0.0.1:9001", true, false },
		{ "[::1]:9001", "http://[::1]:9001", true, false },
		{ "broker.example:9001", "https://broker.example:9001", false, true }, /* anybody's name can lead here */
		{ "localhost.evil:9001", "http://localhost.evil:9001", false, false },
		{ "127.0.0.1.evil", "http://127.0.0.1.evil", false, false },
		{ "localhost:9001", "http://localhost:9002", false, false },
		{ "localhost:9001", "http://localhost", false, false },
		{ "localhost:9001", "https://evil.example", false, false },
		{ "localhost:9001", "ws://localhost:9001", false, false },
		{ "localhost:9001", "localhost:9001", false, false },
		{ "localhost:9001", "null", false, false },
		{ "localhost:9001", "", false, false },
		{ "", "https://", false, true }, /* no browser's */
		{ "x", "https://example.com", true, true }, /* of the list */
	};
	static const struct ws_pages pages = { .find = no_page };
	struct ws_config c = { .pages = &pages, .origins = origins, .n_origins = ARRAY_LEN(origins) };
	char text[600];
	size_t n;

	(void)state;
	for (size_t i = 0; i < 4 * ARRAY_LEN(rows); i++) {
		bool listed = strcmp(rows[i / 4].host, "x") == 0, want = i % 2 != 0 ? rows[i / 4].tls : rows[i / 4].plain;
		int got;

		c.tls = i % 2 != 0;
		c.n_origins = i % 4 < 2 ? ARRAY_LEN(origins) : 0;
		(void)snprintf(text, sizeof(text), FIRST "Host: %s\r\nOrigin: %s\r\n" UPGRADE VERSION KEY PROTOCOL "\r\n", rows[i / 4].host, rows[i / 4].origin);
		got = status_of(slice_str(text), &c, &n);
		if (got != (want && (c.n_origins > 0 || !listed) ? 101 : 0))
			fail_msg("%d%d %s gave %d", c.tls, c.n_origins > 0, text, got);
	}
	/* Who names no site is no browser; what is no upgrade is a page's business. */
	assert_int_equal(status_of(slice_str(GOOD "\r\n"), &c, &n), 101);
	assert_int_equal(status_of(slice_str(FIRST HOST "\r\n"), &c, &n), 200);
	assert_int_equal(status_of(slice_str("PUT / HTTP/1.1\r\n" HOST "\r\n"), &c, &n), 405);
}

static void
plain_listeners_upgrade_nothing(void **state)
{
	struct ws_config plain = { .files = &files, .plain = true };
	size_t n;

	(void)state;
	assert_int_equal(status_of(slice_str(FIRST HOST "\r\n"), &plain, &n), 200);
	assert_int_equal(status_of(slice_str(GOOD "\r\n"), &plain, &n), 200);
	assert_int_equal(status_of(slice_str("POST / HTTP/1.1\r\n" HOST "\r\n"), &plain, &n), 405);
	assert_int_equal(
	    status_of(slice_str(FIRST HOST "Content-Length: 1\r\n\r\n"), &plain, &n), 400);
	plain.forbidden = "no";
	assert_int_equal(status_of(slice_str(FIRST HOST "\r\n"), &plain, &n), 403);
	assert_int_equal(status_of(slice_str(GOOD "\r\n"), &plain, &n), 403);
	assert_int_equal(status_of(slice_str("POST / HTTP/1.1\r\n" HOST "\r\n"), &plain, &n), 403);
}

static void
each_target_is_a_clean_path_or_none(void **state)
{
	static const struct {
		const char *target, *path; /* NULL: refused */
	} paths[] = {
		{ "/", "index.html" },
		{ "/?x=/../..", "index.html" },
		{ "/a.js", "a.js" },
		{ "/a/b%20c.css?v=1", "a/b c.css" },
		{ "/a/", "a/index.html" },
		{ "/%C3%A9", "\xc3\xa9" },
		{ "/a..b/c...", "a..b/c..." },
		{ "/..", NULL },
		{ "/../etc/passwd", NULL },
		{ "/a/../../etc/passwd", NULL },
		{ "/a/..", NULL },
		{ "/./a", NULL },
		{ "/%2e%2e/etc/passwd", NULL },
		{ "/%2E%2e%2fetc", NULL },
		{ "/.%2e/etc", NULL },
		{ "/a%2f..%2f..%2fetc", NULL },
		{ "/%2fetc/passwd", NULL },
		{ "//etc/passwd", NULL },
		{ "/a//b", NULL },
		{ "/..%5c..%5cetc", NULL },
		{ "/a\\b", NULL },
		{ "/a%00.html", NULL },
		{ "/a%0a", NULL },
		{ "/a%7f", NULL },
		{ "/.htpasswd", NULL },
		{ "/a/.git/config", NULL },
		{ "/%", NULL },
		{ "/%4", NULL },
		{ "/%zz", NULL },
		{ "/%ff", NULL },
		{ "/%252e%252e/x", "%2e%2e/x" },
		{ "", NULL },
		{ "a", NULL },
	};
	char out[WS_PATH_MAX], text[2 * WS_PATH_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(paths); i++) {
		bool ok = path_of_target(slice_str(paths[i].target), out);

		if (ok != (paths[i].path != NULL) || (ok && strcmp(out, paths[i].path) != 0))
			fail_msg("%s gave %s", paths[i].target, ok ? out : "nothing");
	}
	memset(text, 'a', sizeof(text));
	text[0] = '/';
	for (i = 1; i < sizeof(text); i++)
		assert_int_equal(path_of_target(slice_of(text, i), out),
		    i <= WS_PATH_MAX - sizeof("index.html") + 1);
	for (i = 2; i + 1 < sizeof(text); i++) {
		bool ok;

		text[i] = '/';
		ok = path_of_target(slice_of(text, i + 1), out);
		assert_true(!ok || strlen(out) == i + strlen("index.html"));
		text[i] = 'a';
	}
}

static void
types_go_by_the_name(void **state)
{
	(void)state;
	assert_string_equal(path_type("a/index.HTML"), "text/html; charset=utf-8");
	assert_string_equal(path_type("mqtt.min.js"), "text/javascript; charset=utf-8");
	assert_string_equal(path_type(".js"), "application/octet-stream");
	assert_string_equal(path_type("x"), "application/octet-stream");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_request_gets_its_answer),
		cmocka_unit_test(a_truncated_request_waits_or_is_refused_never_taken),
		cmocka_unit_test(a_nul_is_refused),
		cmocka_unit_test(headers_are_bounded),
		cmocka_unit_test(the_upgrade_is_exact),
		cmocka_unit_test(errors_have_their_headers),
		cmocka_unit_test(files_are_asked_for_only_where_there_are_some),
		cmocka_unit_test(our_own_pages_may_come),
		cmocka_unit_test(plain_listeners_upgrade_nothing),
		cmocka_unit_test(each_target_is_a_clean_path_or_none),
		cmocka_unit_test(types_go_by_the_name),
	};

	return cmocka_run_group_tests_name("ws_request", tests, NULL, NULL);
}
