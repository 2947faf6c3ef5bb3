/* The stream as the transport sees it, with a toy protocol inside: packets are a byte of length and so many bytes. */
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

#define REQUEST                                                                                    \
	"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"           \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"             \
	"Sec-WebSocket-Protocol: mqtt\r\n\r\n"
#define UPGRADED                                                                                   \
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"        \
	"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: "           \
	"mqtt\r\n\r\n"

/* ---- the toy protocol: each packet is answered by itself; "P" pauses, "M" moves, "Q" quits ---- */

struct toy {
	struct waker w;
	char got[4096]; /* packets as text, with "." behind each */
	uint8_t out[4096];
	size_t out_n, lent;
	bool paused, moving, moved, quit, closed;
	char why[160];
};

static ptrdiff_t
toy_feed(void *self, struct slice in)
{
	struct toy *t = self;
	size_t used = 0, n;

	assert_false(t->moving);
	while (!t->paused && used < in.n && in.n - used > (n = in.p[used])) {
		const char *p = (const char *)in.p + used + 1;

		if (n == 1 && *p == 'M' && !t->moved) {
			t->moving = true;
			t->w.ops->move(t->w.conn, 1);
			return (ptrdiff_t)used;
		}
		used += 1 + n;
		(void)snprintf(
		    t->got + strlen(t->got), sizeof(t->got) - strlen(t->got), "%.*s.", (int)n, p);
		if (n == 1 && *p == 'Q') {
			t->quit = true;
			return STREAM_CLOSE;
		}
		if (n == 1 && *p == 'P') {
			t->paused = true;
			t->w.ops->read_enable(t->w.conn, false);
		}
		memcpy(t->out + t->out_n, p - 1, n + 1);
		t->out_n += n + 1;
		wake(&t->w);
	}
	return (ptrdiff_t)used;
}

static int
toy_pull(void *self, struct iovec *iov, int max)
{
	struct toy *t = self;

	assert_true(max >= 2);
	if (t->out_n == 0)
		return t->quit ? STREAM_CLOSE : 0;
	iov[0] = (struct iovec){ t->out, 1 };
	iov[1] = (struct iovec){ t->out + 1, t->out_n - 1 };
	t->lent = t->out_n;
	return 2;
}

static void
toy_sent(void *self)
{
	struct toy *t = self;

	assert_int_equal(t->lent, t->out_n);
	t->out_n = t->lent = 0;
}

static void
toy_closed(void *self, const char *why)
{
	struct toy *t = self;

	assert_false(t->closed);
	t->closed = true;
	(void)snprintf(t->why, sizeof(t->why), "%s", why != NULL ? why : "NULL");
}

static void
toy_moved(void *self, void *ctx, const struct waker *w)
{
	struct toy *t = self;

	assert_ptr_equal(ctx, t);
	t->w = *w;
	t->moving = false;
	t->moved = true;
}

static const struct stream_ops toy_stream = { toy_feed, toy_pull, toy_sent, toy_closed, toy_moved };

/* ---- the transport: keeps what was not used, as net does ---- */

struct link {
	struct toy toy;
	void *ws;
	uint8_t in[65536];
	size_t in_n;
	uint8_t out[262144];
	size_t out_n;
	bool paused, moving, closing, closed;
	unsigned moves;
};

static void
link_wake(void *conn)
{
	assert_non_null(conn);
}

static void
link_move(void *conn, unsigned worker)
{
	struct link *l = conn;

	assert_int_equal(worker, 1);
	l->moving = true;
	l->moves++;
}

static void
link_read_enable(void *conn, bool on)
{
	((struct link *)conn)->paused = !on;
}

static const struct waker_ops link_waker = { link_wake, link_move, link_read_enable };

static struct link *
link_new(const struct ws_config *c)
{
	struct link *l = calloc(1, sizeof(*l));
	struct waker w = { &link_waker, l };

	assert_non_null(l);
	l->ws = ws_new(c, &w);
	assert_non_null(l->ws);
	l->toy.w = ws_waker(l->ws);
	ws_take(l->ws, &l->toy, &toy_stream);
	return l;
}

static void
link_close(struct link *l, const char *why)
{
	if (!l->closed)
		ws_stream.closed(l->ws, why);
	l->closed = true;
}

static void
link_free(struct link *l)
{
	link_close(l, NULL);
	assert_true(l->toy.closed);
	free(l);
}

/* Offer what is there, as often as the transport would. */
static void
link_offer(struct link *l)
{
	ptrdiff_t used;

	while (l->in_n > 0 && !l->paused && !l->closing) {
		uint8_t *copy = malloc(l->in_n);

		assert_non_null(copy);
		memcpy(copy, l->in, l->in_n);
		used = ws_stream.feed(l->ws, slice_of(copy, l->in_n));
		free(copy);
		if (used == STREAM_CLOSE) {
			l->closing = true;
			return;
		}
		assert_true(used >= 0 && (size_t)used <= l->in_n);
		l->in_n -= (size_t)used;
		memmove(l->in, l->in + used, l->in_n);
		if (!l->moving)
			return;
		l->moving = false;
		struct waker w = { &link_waker, l };
		ws_stream.moved(l->ws, &l->toy, &w);
		assert_true(l->in_n > 0); /* else nobody would call again */
	}
}

static void
link_pull(struct link *l)
{
	struct iovec iov[8];
	int n;

	while (!l->closed && (n = ws_stream.pull(l->ws, iov, (int)ARRAY_LEN(iov))) != 0) {
		if (n == STREAM_CLOSE) {
			link_close(l, NULL);
			return;
		}
		for (int i = 0; i < n; i++) {
			assert_true(l->out_n + iov[i].iov_len <= sizeof(l->out));
			memcpy(l->out + l->out_n, iov[i].iov_base, iov[i].iov_len);
			l->out_n += iov[i].iov_len;
		}
		ws_stream.sent(l->ws);
	}
	if (l->closing)
		link_close(l, NULL);
}

/* <in> in pieces of <step> bytes, with a pull after each. A pause ends after the pull. */
static void
talk(struct link *l, struct slice in, size_t step)
{
	while (in.n > 0 && !l->closed) {
		size_t n = NUM_MIN(step, in.n);

		memcpy(l->in + l->in_n, in.p, n);
		l->in_n += n;
		in = slice_from(in, n);
		link_offer(l);
		link_pull(l);
		while (l->toy.paused && !l->closed) {
			l->toy.paused = false;
			l->toy.w.ops->read_enable(l->toy.w.conn, true);
			assert_false(l->paused);
			link_offer(l);
			link_pull(l);
		}
	}
}

static void
check_out(const struct link *l, struct slice want)
{
	if (l->out_n != want.n || memcmp(l->out, want.p, want.n) != 0)
		fail_msg("%zu bytes out, not %zu: %.*s", l->out_n, want.n, (int)l->out_n,
		    (const char *)l->out);
}

static const struct ws_config open_to_all = { 0 };

#define M0 "\0\0\0\0"

/* What the toy gets does not depend on how frames and reads cut the bytes. */
static void
packets_come_through_every_split(void **state)
{
	/* a packet in a frame; two in a frame; one over three fragments with a Ping between them; a pause; a move; */
	static const char in[] = REQUEST "\x82\x84" M0 "\3one"
					 "\x82\x88" M0 "\3two\3thr"
					 "\x02\x81" M0 "\4"
					 "\x89\x81" M0 "!"
					 "\x00\x82" M0 "fo"
					 "\x80\x82" M0 "ur"
					 "\x82\x86" M0 "\1P\3aft"
					 "\x82\x86" M0 "\1M\3mov"
					 "\x82\x84" M0 "\1Q\1x";

	(void)state;
	for (size_t step = 1; step < sizeof(in); step++) {
		struct link *l = link_new(&open_to_all);

		talk(l, slice_of(in, sizeof(in) - 1), step);
		if (strcmp(l->toy.got, "one.two.thr.four.P.aft.M.mov.Q.") != 0)
			fail_msg("in steps of %zu: %s", step, l->toy.got);
		assert_int_equal(l->moves, 1);
		assert_true(l->closed);
		assert_string_equal(l->toy.why, "NULL");
		assert_true(slice_starts(slice_of(l->out, l->out_n), SL(UPGRADED)));
		assert_memory_equal(l->out + l->out_n - 4, "\x88\x02\x03\xe8", 4);
		link_free(l);
	}
}

static void
answers_are_frames(void **state)
{
	struct link *l = link_new(&open_to_all);

	(void)state;
	talk(l, SL(REQUEST), 1000);
	check_out(l, SL(UPGRADED));
	l->out_n = 0;
	talk(l, SL("\x82\x86" M0 "\2ab\2cd"), 1000);
	check_out(l, SL("\x82\x06\2ab\2cd"));
	l->out_n = 0;
	talk(l, SL("\x89\x83\1\2\3\4\x60\x60\x60"), 1000);
	check_out(l, SL("\x8a\x03"
			"abc"));
	l->out_n = 0;
	talk(l, SL("\x88\x82" M0 "\x0f\xa1"), 1000);
	check_out(l, SL("\x88\x02\x0f\xa1"));
	assert_true(l->closed);
	link_free(l);
}

static void
a_close_without_a_code_is_answered_alike(void **state)
{
	struct link *l = link_new(&open_to_all);

	(void)state;
	talk(l, SL(REQUEST "\x88\x80" M0), 1000);
	check_out(l, SL(UPGRADED "\x88\0"));
	assert_string_equal(l->toy.why, "NULL");
	link_free(l);
}

static void
mistakes_close_with_their_code(void **state)
{
	static const struct {
		struct slice in, out;
		const char *got, *why;
	} rows[] = {
		{ SL("\x82\x82" M0 "\1a\x81\x81" M0 "x"), SL("\x82\x02\1a\x88\x02\x03\xeb"), "a.",
		    "WebSocket: a text frame; MQTT is sent in binary ones" },
		{ SL("\x82\x02\1a"), SL("\x88\x02\x03\xea"), "",
		    "WebSocket: a frame without a mask" },
		{ SL("\x80\x82" M0 "\1a"), SL("\x88\x02\x03\xea"), "",
		    "WebSocket: fragments out of order" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct link *l = link_new(&open_to_all);

		talk(l, SL(REQUEST), 1000);
		l->out_n = 0;
		talk(l, rows[i].in, 1000);
		check_out(l, rows[i].out);
		assert_true(l->closed);
		assert_string_equal(l->toy.got, rows[i].got);
		assert_string_equal(l->toy.why, rows[i].why);
		link_free(l);
	}
}

/* CVE-2026-25627: a packet that says it is longer than the frame it came in. Nothing may be read behind the frame, and
 * what comes in the next one goes on. */
static void
a_packet_may_be_longer_than_its_frame(void **state)
{
	struct link *l = link_new(&open_to_all);

	(void)state;
	talk(l,
	    SL(REQUEST "\x82\x83" M0 "\x06"
		       "ab"),
	    1000);
	assert_string_equal(l->toy.got, "");
	talk(l, SL("\x82\x84" M0 "cdef"), 1000);
	assert_string_equal(l->toy.got, "abcdef.");
	link_free(l);
}

/* Pings while the peer does not read: one Pong is kept, the latest. */
static void
only_the_latest_ping_is_kept(void **state)
{
	struct link *l = link_new(&open_to_all);
	char frame[7] = { (char)0x89, (char)0x81 };

	(void)state;
	talk(l, SL(REQUEST), 1000);
	l->out_n = 0;
	for (char c = 'a'; c <= 'z'; c++) {
		frame[6] = c;
		memcpy(l->in, frame, sizeof(frame));
		l->in_n = sizeof(frame);
		link_offer(l);
	}
	link_pull(l);
	check_out(l, SL("\x8a\x01z"));
	link_free(l);
}

static void
refusals_are_told_on_both_sides(void **state)
{
	static const char *const origins[] = { "https://good" };
	static const struct ws_config c = {
		.origins = origins, .n_origins = 1, .headers_max = 400
	};
	static const struct {
		const char *in, *out, *why;
	} rows[] = {
		{ "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 Not Found\r\n",
		    "WebSocket: a request without Upgrade: websocket, and there is no http_dir" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nX: a\rSet-Cookie: x\r\n\r\n",
		    "HTTP/1.1 400 Bad Request\r\n",
		    "WebSocket: a control character, or a line that does not end in CR LF" },
		{ "\x10\x0c", "", "WebSocket: an MQTT CONNECT without WebSocket" },
		{ "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
		  "Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://bad\r\n\r\n",
		    "", "WebSocket: an Origin that is not in websockets_origin" },
	};
	char big[600];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t step = 1; step < 400; step += 7) {
			struct link *l = link_new(&c);

			talk(l, slice_str(rows[i].in), step);
			assert_true(l->closed);
			assert_true(
			    slice_starts(slice_of(l->out, l->out_n), slice_str(rows[i].out)));
			assert_int_equal(l->out_n == 0, rows[i].out[0] == '\0');
			assert_string_equal(l->toy.why, rows[i].why);
			assert_string_equal(l->toy.got, "");
			link_free(l);
		}
	}
	memset(big, 'a', sizeof(big));
	struct link *l = link_new(&c);
	talk(l, SL("GET / HTTP/1.1\r\nX: "), 100);
	talk(l, slice_of(big, sizeof(big)), 100);
	assert_true(slice_starts(slice_of(l->out, l->out_n), SL("HTTP/1.1 431 ")));
	link_free(l);
}

/* The inner stream's own time limit for its first packet is that of the upgrade. */
static void
a_slow_upgrade_ends_with_the_inner_stream(void **state)
{
	struct link *l = link_new(&open_to_all);

	(void)state;
	talk(l, slice_of(REQUEST, 60), 1);
	assert_false(l->closed);
	l->toy.quit = true; /* as a timer would */
	link_pull(l);
	assert_true(l->closed);
	assert_int_equal(l->out_n, 0);
	link_free(l);
}

/* ---- files ---- */

struct store {
	size_t size, at, cut; /* reads end at <cut> */
	unsigned opened, closed;
	char path[WS_PATH_MAX];
	const char *tag;
};

static void *
store_open(void *ctx, const char *path, struct ws_file *ret)
{
	struct store *s = ctx;

	(void)snprintf(s->path, sizeof(s->path), "%s", path);
	if (strcmp(path, "a.txt") != 0)
		return NULL;
	s->opened++;
	ret->size = s->size;
	(void)snprintf(ret->tag, sizeof(ret->tag), "%s", s->tag != NULL ? s->tag : "");
	return s;
}

static ptrdiff_t
store_read(void *file, void *p, size_t n)
{
	struct store *s = file;

	n = NUM_MIN(n, s->cut - s->at);
	memset(p, 'x', n);
	s->at += n;
	return (ptrdiff_t)n;
}

static void
store_close(void *file)
{
	((struct store *)file)->closed++;
}

static void
files_are_served(void **state)
{
	static const size_t sizes[] = { 0, 1, 65536, 65537, 200000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct store s = { .size = sizes[i], .cut = sizes[i] };
		struct ws_files files = { &s, store_open, store_read, store_close };
		struct ws_config c = { .files = &files };
		struct link *l = link_new(&c);
		char want[ANSWER_CAP];
		size_t n = answer_put_file("text/plain; charset=utf-8", &(struct ws_file){ .size = sizes[i] }, want);

		talk(l, SL("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\nignored"), 1000);
		assert_true(l->closed);
		assert_int_equal(l->out_n, n + sizes[i]);
		assert_memory_equal(l->out, want, n);
		assert_string_equal(l->toy.why, "HTTP: a file was asked for");
		assert_int_equal(s.closed, 1);
		link_free(l);
	}
}

static void
head_missing_and_short_files(void **state)
{
	struct store s = { .size = 100, .cut = 50 };
	struct ws_files files = { &s, store_open, store_read, store_close };
	struct ws_config c = { .files = &files };
	struct link *l = link_new(&c);
	char want[ANSWER_CAP];
	size_t n = answer_put_file("text/plain; charset=utf-8", &(struct ws_file){ .size = 100 }, want);

	(void)state;
	talk(l, SL("HEAD /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"), 1000);
	check_out(l, slice_of(want, n));
	assert_int_equal(s.closed, 1);
	link_free(l);
	l = link_new(&c);
	talk(l, SL("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"), 1000);
	assert_int_equal(l->out_n, n + 50);
	assert_int_equal(s.closed, 2);
	link_free(l);
	l = link_new(&c);
	talk(l, SL("GET /b%20c/ HTTP/1.1\r\nHost: x\r\n\r\n"), 1000);
	assert_string_equal(s.path, "b c/index.html");
	assert_true(slice_starts(slice_of(l->out, l->out_n), SL("HTTP/1.1 404 ")));
	link_free(l);
	s.path[0] = '\0';
	l = link_new(&c);
	talk(l, SL("GET /%2e%2e/a.txt HTTP/1.1\r\nHost: x\r\n\r\n"), 1000);
	assert_string_equal(s.path, "");
	assert_true(slice_starts(slice_of(l->out, l->out_n), SL("HTTP/1.1 404 ")));
	link_free(l);
	/* The peer goes in the middle. */
	s.cut = 100;
	s.at = 0;
	l = link_new(&c);
	assert_true(ws_stream.feed(l->ws, SL("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n")) > 0);
	link_close(l, "connection reset by peer");
	assert_int_equal(s.closed, s.opened);
	link_free(l);
}

/* RFC 9110 13.1.2: what the client has is not sent again. */
static void
a_file_that_the_client_has_is_not_sent(void **state)
{
	static const struct {
		const char *tag, *headers;
		bool same;
	} rows[] = {
		{ "W/\"a-1\"", "If-None-Match: W/\"a-1\"\r\n", true },
		{ "W/\"a-1\"", "If-None-Match: \"a-1\"\r\n", true },
		{ "W/\"a-1\"", "if-none-match: \"b\" ,\tW/\"a-1\" , \"c\"\r\n", true },
		{ "W/\"a-1\"", "If-None-Match: *\r\n", true },
		{ "W/\"a-1\"", "", false },
		{ "W/\"a-1\"", "If-None-Match:\r\n", false },
		{ "W/\"a-1\"", "If-None-Match: W/\"a-2\"\r\n", false },
		{ "W/\"a-1\"", "If-None-Match: a-1\r\n", false },
		{ "W/\"a-1\"", "If-None-Match: \"a-1\"\r\nIf-None-Match: \"b\"\r\n", false },
		{ NULL, "If-None-Match: *\r\n", false },
		{ NULL, "If-None-Match: \"\"\r\n", false },
	};
	static const char *const methods[] = { "GET", "HEAD" };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		struct store s = { .size = 5, .cut = 5, .tag = rows[i / 2].tag };
		struct ws_files files = { &s, store_open, store_read, store_close };
		struct ws_config c = { .files = &files };
		struct link *l = link_new(&c);
		char text[300];
		int n = snprintf(text, sizeof(text), "%s /a.txt HTTP/1.1\r\nHost: x\r\n%s\r\n", methods[i % 2], rows[i / 2].headers);
		struct slice out;

		talk(l, slice_of(text, (size_t)n), 1000);
		out = slice_of(l->out, l->out_n);
		assert_true(slice_starts(out, rows[i / 2].same ? SL("HTTP/1.1 304 ") : SL("HTTP/1.1 200 ")));
		assert_int_equal(memmem(out.p, out.n, "\r\nETag: ", 8) != NULL, s.tag != NULL);
		assert_int_equal(memmem(out.p, out.n, "xxxxx", 5) != NULL, !rows[i / 2].same && i % 2 == 0);
		assert_true(l->closed);
		assert_int_equal(s.closed, 1);
		link_free(l);
	}
}

/* ---- pages ---- */

struct book {
	size_t size;
	unsigned status, found;
	char target[64], accept[64], none_match[64];
};

static uint8_t paper[200000];

static void
note(char out[static 64], struct slice s)
{
	if (s.p == NULL)
		s = SL("NULL");
	(void)snprintf(out, 64, "%.*s", SL_ARG(s));
}

static bool
book_find(void *ctx, const struct ws_ask *ask, struct ws_page *ret)
{
	struct book *b = ctx;

	note(b->target, ask->target);
	note(b->accept, ask->accept);
	note(b->none_match, ask->none_match);
	if (slice_starts(ask->target, SL("/none")))
		return false;
	b->found++;
	ret->status = b->status;
	(void)snprintf(ret->fields, sizeof(ret->fields), "X: y\r\n");
	ret->body = slice_of(paper, b->size);
	return true;
}

static void
pages_are_shown(void **state)
{
	static const struct {
		const char *method;
		unsigned status;
		size_t size;
		const char *head;
	} rows[] = {
		{ "GET", 200, 1, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 1\r\nConnection: close\r\n\r\n" },
		{ "GET", 200, 65536, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 65536\r\nConnection: close\r\n\r\n" },
		{ "GET", 200, 200000, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n" },
		{ "HEAD", 200, 200000, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 200000\r\nConnection: close\r\n\r\n" },
		{ "GET", 302, 0, "HTTP/1.1 302 Found\r\nX: y\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" },
		{ "GET", 304, 0, "HTTP/1.1 304 Not Modified\r\nX: y\r\nConnection: close\r\n\r\n" },
		{ "GET", 404, 5, "HTTP/1.1 404 Not Found\r\nX: y\r\nContent-Length: 5\r\nConnection: close\r\n\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(paper); i++)
		paper[i] = (uint8_t)(i * 7 + (i >> 8));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct book b = { .size = rows[i].size, .status = rows[i].status };
		struct ws_pages pages = { &b, book_find };
		struct ws_config c = { .pages = &pages };
		struct link *l = link_new(&c);
		bool whole = strcmp(rows[i].method, "GET") == 0;
		size_t n = strlen(rows[i].head), body = whole ? rows[i].size : 0;
		char text[200];
		int k = snprintf(text, sizeof(text), "%s /a?b HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\nIf-None-Match: \"t\"\r\n\r\nGET /more", rows[i].method);

		talk(l, slice_of(text, (size_t)k), 1000);
		assert_true(l->closed);
		assert_int_equal(l->out_n, n + body);
		assert_memory_equal(l->out, rows[i].head, n);
		assert_memory_equal(l->out + n, paper, body);
		assert_string_equal(l->toy.why, "HTTP: a page was asked for");
		assert_string_equal(b.target, "/a?b");
		assert_string_equal(b.accept, "gzip, br");
		assert_string_equal(b.none_match, "\"t\"");
		assert_int_equal(b.found, 1);
		link_free(l);
	}
}

static void
what_is_no_page_is_a_file_or_nothing(void **state)
{
	struct book b = { .size = 5, .status = 200 };
	struct store s = { .size = 5, .cut = 5 };
	struct ws_pages pages = { &b, book_find };
	struct ws_files files = { &s, store_open, store_read, store_close };
	struct ws_config c = { .pages = &pages };
	struct link *l = link_new(&c);

	(void)state;
	talk(l, SL("GET /none HTTP/1.1\r\nHost: x\r\nAccept-Encoding: a\r\nAccept-Encoding: b\r\n\r\n"), 1000);
	assert_string_equal(b.accept, "NULL");
	assert_true(slice_starts(slice_of(l->out, l->out_n), SL("HTTP/1.1 404 ")));
	link_free(l);
	/* Pages go first. */
	c.files = &files;
	l = link_new(&c);
	talk(l, SL("GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"), 1000);
	assert_int_equal(b.found, 1);
	assert_int_equal(s.opened, 0);
	link_free(l);
	l = link_new(&c);
	talk(l, SL("GET /none.txt HTTP/1.1\r\nHost: x\r\n\r\n"), 1000);
	assert_string_equal(s.path, "none.txt");
	link_free(l);
	/* The peer goes in the middle, and the inner stream gives up on one that does not read. */
	b.size = 200000;
	l = link_new(&c);
	assert_true(ws_stream.feed(l->ws, SL("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")) > 0);
	link_close(l, "connection reset by peer");
	link_free(l);
	l = link_new(&c);
	assert_true(ws_stream.feed(l->ws, SL("GET /a HTTP/1.1\r\nHost: x\r\n\r\n")) > 0);
	l->toy.quit = true;
	link_pull(l);
	assert_true(l->closed);
	assert_int_equal(l->out_n, 0);
	link_free(l);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_come_through_every_split),
		cmocka_unit_test(answers_are_frames),
		cmocka_unit_test(a_close_without_a_code_is_answered_alike),
		cmocka_unit_test(mistakes_close_with_their_code),
		cmocka_unit_test(a_packet_may_be_longer_than_its_frame),
		cmocka_unit_test(only_the_latest_ping_is_kept),
		cmocka_unit_test(refusals_are_told_on_both_sides),
		cmocka_unit_test(a_slow_upgrade_ends_with_the_inner_stream),
		cmocka_unit_test(files_are_served),
		cmocka_unit_test(head_missing_and_short_files),
		cmocka_unit_test(a_file_that_the_client_has_is_not_sent),
		cmocka_unit_test(pages_are_shown),
		cmocka_unit_test(what_is_no_page_is_a_file_or_nothing),
	};

	return cmocka_run_group_tests_name("ws_stream", tests, NULL, NULL);
}
