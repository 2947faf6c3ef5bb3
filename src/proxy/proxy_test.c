/* The PROXY protocol: what is taken, what is not, and every beginning of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/un.h>

#include "base/num.h"
#include "proxy/proxy.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4 SIG "\x21\x11\0\x0c\xc0\0\2\5\x7f\0\0\1\x18\x83\x07\x5b"
#define V4_WITH(length) SIG "\x21\x11" length "\xc0\0\2\5\x7f\0\0\1\x18\x83\x07\x5b"

static const char *
text_of(const struct sockaddr_storage *a, char out[160])
{
	char addr[INET6_ADDRSTRLEN] = "";
	const struct sockaddr_in *v4 = (const void *)a;
	const struct sockaddr_in6 *v6 = (const void *)a;
	const struct sockaddr_un *un = (const void *)a;

	if (a->ss_family == AF_INET)
		(void)snprintf(out, 160, "%s %u", inet_ntop(AF_INET, &v4->sin_addr, addr, sizeof(addr)), ntohs(v4->sin_port));
	else if (a->ss_family == AF_INET6)
		(void)snprintf(out, 160, "%s %u", inet_ntop(AF_INET6, &v6->sin6_addr, addr, sizeof(addr)), ntohs(v6->sin6_port));
	else if (a->ss_family == AF_UNIX)
		(void)snprintf(out, 160, "unix %.108s", un->sun_path);
	else
		out[0] = '\0';
	return out;
}

/* clang-format off */
static const struct {
	unsigned version;
	struct slice in;
	const char *client; /* "": the connection's own address */
	bool local;
} good[] = {
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883\r\n"), "192.0.2.5 6275", false },
	{ 1, SL("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n"), "255.255.255.255 65535", false },
	{ 1, SL("PROXY TCP6 2001:db8::5 ::1 1 2\r\n"), "2001:db8::5 1", false },
	{ 1, SL("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0 65535", false },
	{ 1, SL("PROXY UNKNOWN\r\n"), "", false },
	{ 1, SL("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), "", false },
	{ 2, SL(V4), "192.0.2.5 6275", false },
	{ 2, SL(SIG "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x18\x83\x07\x5b"),
	    "2001:db8::5 6275", false },
	{ 2, SL(SIG "\x20\0\0\0"), "", true },
	{ 2, SL(SIG "\x20\x11\0\3xyz"), "", true }, /* what LOCAL has behind it is not looked at */
	{ 2, SL(SIG "\x21\0\0\0"), "", false },
	{ 2, SL(SIG "\x21\0\0\5\x04\0\2ab"), "", false },
	{ 2, SL(V4_WITH("\0\x11") "\x04\0\2ab"), "192.0.2.5 6275", false },                    /* NOOP */
	{ 2, SL(V4_WITH("\0\x0f") "\xee\0\0"), "192.0.2.5 6275", false },                      /* nobody knows it */
	{ 2, SL(V4_WITH("\0\x13") "\3\0\4\x77\xa2\x62\x03"), "192.0.2.5 6275", false },        /* CRC-32C */
};

static const struct {
	unsigned version;
	struct slice in;
	const char *why;
} wrong[] = {
	{ 1, SL("\x10"), "first bytes are no PROXY line" },
	{ 1, SL("PROXy"), "first bytes are no PROXY line" },
	{ 1, SL("GET / HTTP/1.1\r\n"), "first bytes are no PROXY line" },
	{ 1, SL(V4), "first bytes are no PROXY line" },
	{ 1, SL("PROXY \n"), "CR LF" },
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883\n"), "CR LF" },
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 6275 18833333333333333333333333333333333333333333333333333333333333333333333333333"),
	    "longer than 107" },
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 6275\r\n"), "form" },
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883 1\r\n"), "form" },
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883 \r\n"), "form" },
	{ 1, SL("PROXY TCP4  192.0.2.5 127.0.0.1 6275 1883\r\n"), "form" },
	{ 1, SL("PROXY TCP4 192.0.2.256 127.0.0.1 6275 1883\r\n"), "form" },
	{ 1, SL("PROXY TCP4 192.0.2.5 x 6275 1883\r\n"), "form" },
	{ 1, SL("PROXY TCP4 2001:db8::5 ::1 1 2\r\n"), "form" },
	{ 1, SL("PROXY TCP6 192.0.2.5 127.0.0.1 6275 1883\r\n"), "form" },
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 65536 1883\r\n"), "form" },
	{ 1, SL("PROXY TCP4 192.0.2.5 127.0.0.1 -1 1883\r\n"), "form" },
	{ 1, SL("PROXY TCP4 192.0.2.5\0 127.0.0.1 1 1883\r\n"), "form" },
	{ 1, SL("PROXY UDP4 192.0.2.5 127.0.0.1 1 1883\r\n"), "form" },
	{ 1, SL("PROXY UNKNOWNED\r\n"), "form" },
	{ 1, SL("PROXY \r\n"), "form" },
	{ 2, SL("PROXY TCP4 192.0.2.5 127.0.0.1 6275 1883\r\n"), "no PROXY header of version 2" },
	{ 2, SL("\x10"), "no PROXY header of version 2" },
	{ 2, SL("\r\n\r\n\0\r\nQUIT\r\x21\x11\0\0"), "no PROXY header of version 2" },
	{ 2, SL(SIG "\x11\x11\0\0"), "version is not 2" },
	{ 2, SL(SIG "\x22\x11\0\0"), "neither LOCAL nor PROXY" },
	{ 2, SL(SIG "\x21\x11\x20\x01"), "longer than 8 KiB" },
	{ 2, SL(SIG "\x21\x11\0\4\1\2\3\4"), "too short for two IPv4" },
	{ 2, SL(SIG "\x21\x11\0\x0a\1\2\3\4\1\2\3\4\0\1"), "two ports" },
	{ 2, SL(SIG "\x21\x21\0\x0c\xc0\0\2\5\x7f\0\0\1\x18\x83\x07\x5b"), "too short for two IPv6" },
	{ 2, SL(SIG "\x21\x31\0\x0c\xc0\0\2\5\x7f\0\0\1\x18\x83\x07\x5b"), "too short for two paths" },
	{ 2, SL(SIG "\x21\x41\0\x0c\xc0\0\2\5\x7f\0\0\1\x18\x83\x07\x5b"), "none of IPv4" },
	{ 2, SL(SIG "\x21\x12\0\x0c\xc0\0\2\5\x7f\0\0\1\x18\x83\x07\x5b"), "not a stream" },
	{ 2, SL(V4_WITH("\0\x0d") "\x04"), "longer than the header" },
	{ 2, SL(V4_WITH("\0\x11") "\x04\0\3ab"), "longer than the header" },
	{ 2, SL(V4_WITH("\0\x13") "\3\0\4\x77\xa2\x62\x04"), "checksum" },
	{ 2, SL(V4_WITH("\0\x12") "\3\0\3\1\2\3"), "checksum" },
	{ 2, SL(V4_WITH("\0\x13") "\x20\0\4\1\0\0\0"), "SSL TLV is too short" },
	{ 2, SL(V4_WITH("\0\x17") "\x20\0\x08\7\0\0\0\0\x22\0\1"), "TLV within its SSL TLV" },
	{ 2, SL(V4_WITH("\0\x1c") "\x20\0\5\7\0\0\0\0\x20\0\5\7\0\0\0\1"), "two SSL TLVs" },
};
/* clang-format on */

static void
good_headers_are_read(void **state)
{
	char text[160];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		uint8_t behind[400];
		struct proxy_header h = { 0 };
		struct slice in = good[i].in;

		memcpy(behind, in.p, in.n);
		memcpy(behind + in.n, "\r\n\x10\x10PROXY", 9);
		if (proxy_read(good[i].version, slice_of(behind, in.n + 9), &h) != PROXY_DONE)
			fail_msg("row %zu: %s", i, h.why);
		assert_int_equal(h.used, in.n);
		assert_string_equal(text_of(&h.client, text), good[i].client);
		assert_int_equal(h.local, good[i].local);
		assert_int_equal(h.unknown, !good[i].local && good[i].client[0] == '\0');
		/* On the heap, to the byte: a sanitizer sees what is read behind it. */
		for (size_t n = 0; n < in.n; n++) {
			uint8_t *cut = malloc(n + 1);

			assert_non_null(cut);
			memcpy(cut, in.p, n);
			cut = realloc(cut, n > 0 ? n : 1);
			assert_int_equal(proxy_read(good[i].version, slice_of(cut, n), &h), PROXY_MORE);
			free(cut);
		}
	}
}

static void
wrong_headers_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct proxy_header h = { 0 };

		if (proxy_read(wrong[i].version, wrong[i].in, &h) != PROXY_BAD)
			fail_msg("row %zu (%s) is accepted", i, wrong[i].why);
		if (strstr(h.why, wrong[i].why) == NULL)
			fail_msg("row %zu: %s", i, h.why);
		/* No beginning of it is taken for a whole header. */
		for (size_t n = 0; n < wrong[i].in.n; n++)
			assert_int_not_equal(proxy_read(wrong[i].version, slice_of(wrong[i].in.p, n), &h), PROXY_DONE);
	}
}

static void
a_unix_path_fills_its_field(void **state)
{
	uint8_t in[16 + 216] = SIG "\x21\x31\0\xd8";
	struct proxy_header h = { 0 };
	char text[160];

	(void)state;
	memset(in + 16, 'p', 108);
	assert_int_equal(proxy_read(2, slice_of(in, sizeof(in)), &h), PROXY_DONE);
	assert_int_equal(strlen(text_of(&h.client, text)), 5 + 108);
	assert_int_equal(proxy_read(2, slice_of(in, sizeof(in) - 1), &h), PROXY_MORE);
}

/* 2.2.6: the bits of the client, and what is said of its certificate. */
static void
the_certificate_is_what_the_proxy_says(void **state)
{
	static const struct {
		uint8_t client, verify;
		bool ssl, certificate, verified;
	} rows[] = {
		{ 0, 0, false, false, false },
		{ 1, 0, true, false, false },
		{ 3, 0, true, true, true },
		{ 5, 0, true, true, true },
		{ 7, 1, true, true, false },
		{ 6, 0, false, true, true },
	};
	uint8_t in[] = V4_WITH("\0\x20") "\x20\0\x11\0\0\0\0\0\x22\0\2me\x21\0\1v\x23\0\0";
	struct proxy_header h = { 0 };

	(void)state;
	in[15] = (uint8_t)(sizeof(in) - 1 - 16);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		in[31] = rows[i].client;
		in[35] = rows[i].verify;
		assert_int_equal(proxy_read(2, slice_of(in, sizeof(in) - 1), &h), PROXY_DONE);
		assert_int_equal(h.ssl, rows[i].ssl);
		assert_int_equal(h.certificate, rows[i].certificate);
		assert_int_equal(h.verified, rows[i].verified);
		assert_true(slice_eq(h.cn, SL("me")));
		assert_true(slice_eq(h.tls_version, SL("v")));
	}
}

static bool
is_in(const char *range, const char *addr)
{
	struct sockaddr_storage a = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&a;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&a;
	struct proxy_range r;

	assert_true(proxy_range_parse(slice_str(range), &r));
	a.ss_family = AF_UNIX;
	if (inet_pton(AF_INET, addr, &v4->sin_addr) == 1)
		a.ss_family = AF_INET;
	else if (inet_pton(AF_INET6, addr, &v6->sin6_addr) == 1)
		a.ss_family = AF_INET6;
	return proxy_range_has(&r, 1, &a);
}

static void
ranges_hold_what_they_say(void **state)
{
	static const char *const none[] = { "", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/8", "::1/129", "::1/64",
		"unix/1", "localhost", "1.2.3.4/32/1", "1.2.3.4 " };
	struct proxy_range r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		assert_false(proxy_range_parse(slice_str(none[i]), &r));
	assert_true(is_in("192.0.2.1", "192.0.2.1") && !is_in("192.0.2.1", "192.0.2.0"));
	assert_true(is_in("192.0.2.0/31", "192.0.2.1") && !is_in("192.0.2.0/31", "192.0.2.2"));
	assert_true(is_in("10.0.0.0/9", "10.127.1.2") && !is_in("10.0.0.0/9", "10.128.0.0"));
	assert_true(is_in("0.0.0.0/0", "255.1.2.3") && !is_in("0.0.0.0/0", "::1"));
	assert_true(is_in("2001:db8::/33", "2001:db8:7fff::1") && !is_in("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(is_in("::1", "::1") && !is_in("::1", "::2") && !is_in("::/0", "127.0.0.1"));
	assert_true(is_in("127.0.0.1", "::ffff:127.0.0.1") && !is_in("::/0", "::ffff:127.0.0.1"));
	assert_true(is_in("unix", "") && !is_in("unix", "127.0.0.1") && !is_in("0.0.0.0/0", ""));
	assert_false(proxy_range_has(NULL, 0, &(struct sockaddr_storage){ .ss_family = AF_INET }));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_hold_what_they_say),
		cmocka_unit_test(good_headers_are_read),
		cmocka_unit_test(wrong_headers_are_refused),
		cmocka_unit_test(a_unix_path_fills_its_field),
		cmocka_unit_test(the_certificate_is_what_the_proxy_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
