/* libFuzzer: any bytes to a WebSocket, cut at places that the input itself chooses. The first byte: bit 0 begins behind a
 * good upgrade, the rest is the length of the pieces. The inner stream pauses, moves and quits as it is told by its input. Requests
 * for what lies below /p are answered with pages, whose form their own bytes choose. */
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "ws/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char request[] =
    "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct inner {
	struct waker w;
	size_t out;
	bool paused, moving, quit, closed;
};

static ptrdiff_t
inner_feed(void *self, struct slice in)
{
	struct inner *t = self;
	size_t used = 0;

	if (t->paused || t->moving || in.n == 0)
		abort();
	while (used < in.n && in.n - used > in.p[used] % 16) {
		uint8_t what = in.p[used];

		used += 1 + what % 16;
		t->out += 1 + what % 16;
		if (what >> 4 == 1) {
			t->paused = true;
			t->w.ops->read_enable(t->w.conn, false);
			break;
		}
		if (what >> 4 == 2) {
			t->moving = true;
			t->w.ops->move(t->w.conn, 1);
			break;
		}
		if (what >> 4 == 3)
			return STREAM_CLOSE;
	}
	return (ptrdiff_t)used;
}

static int
inner_pull(void *self, struct iovec *iov, int max)
{
	static uint8_t bytes[1 << 16];
	struct inner *t = self;

	if (max < 1 || t->closed)
		abort();
	if (t->out == 0)
		return t->quit ? STREAM_CLOSE : 0;
	iov[0] = (struct iovec){ bytes, NUM_MIN(t->out, sizeof(bytes)) };
	return 1;
}

static void
inner_sent(void *self)
{
	struct inner *t = self;

	t->out -= NUM_MIN(t->out, (size_t)1 << 16);
}

static void
inner_closed(void *self, const char *why)
{
	struct inner *t = self;

	(void)why;
	if (t->closed)
		abort();
	t->closed = true;
}

static void
inner_moved(void *self, void *ctx, const struct waker *w)
{
	struct inner *t = self;

	(void)ctx;
	t->moving = false;
	t->w = *w;
}

static const struct stream_ops inner_stream = { inner_feed, inner_pull, inner_sent, inner_closed,
	inner_moved };

struct below {
	bool paused, moving;
};

static void
below_wake(void *conn)
{
	(void)conn;
}

static void
below_move(void *conn, unsigned worker)
{
	(void)worker;
	((struct below *)conn)->moving = true;
}

static void
below_read_enable(void *conn, bool on)
{
	((struct below *)conn)->paused = !on;
}

static const struct waker_ops below_waker = { below_wake, below_move, below_read_enable };

/* True: it is over. */
static bool
pull_all(void *ws)
{
	struct iovec iov[8];
	volatile uint8_t sum = 0;
	int n;

	while ((n = ws_stream.pull(ws, iov, (int)ARRAY_LEN(iov))) > 0) {
		for (int i = 0; i < n; i++)
			for (size_t k = 0; k < iov[i].iov_len; k++)
				sum = (uint8_t)(sum + ((const uint8_t *)iov[i].iov_base)[k]);
		ws_stream.sent(ws);
	}
	return n == STREAM_CLOSE;
}

/* In a block of its own length. Bytes used. */
static ptrdiff_t
feed_copy(void *ws, const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n > 0 ? n : 1);
	ptrdiff_t used;

	if (copy == NULL)
		return STREAM_CLOSE;
	memcpy(copy, p, n);
	used = ws_stream.feed(ws, slice_of(copy, n));
	if (used > (ptrdiff_t)n || used < STREAM_CLOSE)
		abort();
	free(copy);
	return used;
}

static void
drive(void *ws, struct inner *t, struct below *b, struct slice in, size_t step)
{
	struct waker w = { &below_waker, b };
	size_t used = 0, there = 0, rounds = 0;
	bool again = false;

	while (there < in.n || again) {
		ptrdiff_t n;

		if (!again)
			there = NUM_MIN(in.n, there + step);
		if (++rounds > 2 * in.n + 64)
			abort(); /* it goes on without using anything */
		n = feed_copy(ws, in.p + used, there - used);
		if (n == STREAM_CLOSE) {
			(void)pull_all(ws);
			return;
		}
		used += (size_t)n;
		again = b->paused || b->moving;
		if (b->moving) {
			b->moving = false;
			ws_stream.moved(ws, NULL, &w);
		}
		if (pull_all(ws))
			return;
		if (b->paused) {
			t->paused = false;
			t->w.ops->read_enable(t->w.conn, true);
		}
		again = again && used < there;
	}
}

static bool
find_page(void *ctx, const struct ws_ask *ask, struct ws_page *ret)
{
	static const uint8_t paper[100000];
	static const unsigned statuses[] = { 200, 302, 304, 404 };
	size_t sum = ask->accept.n + ask->none_match.n;

	(void)ctx;
	if (ask->target.n == 0 || ask->target.p[0] != '/')
		abort();
	/* All of them are looked at, so that the sanitizer sees where they lie. */
	for (size_t i = 0; i < ask->accept.n; i++)
		sum += ask->accept.p[i];
	for (size_t i = 0; i < ask->none_match.n; i++)
		sum += ask->none_match.p[i];
	if (!slice_starts(ask->target, SL("/p")))
		return false;
	ret->status = statuses[sum % ARRAY_LEN(statuses)];
	(void)snprintf(ret->fields, sizeof(ret->fields), "X: %0*zu\r\n", (int)(sum % 1000), sum);
	ret->body = slice_of(paper, ret->status == 304 ? 0 : sum * 97 % (sizeof(paper) + 1));
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ws_pages pages = { .find = find_page };
	static const struct ws_config config = { .pages = &pages };
	struct inner t = { 0 };
	struct below b = { 0 };
	struct waker w = { &below_waker, &b };
	struct ws *ws;

	if (size < 1 || (ws = ws_new(&config, &w)) == NULL)
		return 0;
	t.w = ws_waker(ws);
	ws_take(ws, &t, &inner_stream);
	if ((data[0] & 1) != 0 &&
	    ws_stream.feed(ws, slice_str(request)) != (ptrdiff_t)strlen(request))
		abort();
	if (size > 1)
		drive(ws, &t, &b, slice_of(data + 1, size - 1), (size_t)(data[0] >> 1) + 1);
	ws_stream.closed(ws, NULL);
	if (!t.closed)
		abort();
	return 0;
}
