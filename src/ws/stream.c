/* The WebSocket between a transport and a protocol: first a request, then frames. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/num.h"
#include "ws/held.h"
#include "ws/internal.h"

enum { CHUNK = 64 * 1024 }; /* of a file, in memory at one time; of a page, lent at one time */

enum ws_state {
	WS_REQUEST, /* of the request not all is there */
	WS_OPEN,
	WS_ANSWER,  /* it was no upgrade: <out>, then perhaps a file or a page, then the end */
	WS_CLOSING, /* what the inner stream still has, then a Close frame, then the end */
};

/* What pull() has lent, one kind at a time. */
enum ws_lent { LENT_NOTHING, LENT_OUT, LENT_INNER, LENT_CLOSE, LENT_FILE };

/* A file or a page on its way out. */
struct serving {
	void *file;        /* NULL: a page */
	struct slice page; /* what is left of it */
	uint64_t left;     /* of the file */
	uint8_t chunk[];   /* of the file */
};

struct ws {
	const struct ws_config *config;
	struct waker below;
	void *inner; /* NULL once it was closed */
	const struct stream_ops *ops;
	struct held *held; /* unmasked input that the inner stream has not used */
	struct held *out;  /* an answer in HTTP, or the latest Pong */
	struct serving *serving;
	const char
	    *why; /* what the inner stream is told at the end; NULL: what the transport says */
	struct frames frames;
	uint16_t close_code;
	uint8_t state, lent;
	uint8_t close[4]; /* a frame */
	bool paused : 1;     /* the inner stream wants no input */
	bool moving : 1;     /* it leaves for another thread */
	bool waits : 1;      /* <held> is to be offered again, as it is */
	bool ahead : 1;      /* the first byte of the next input was taken already, see anchor() */
	bool inner_done : 1; /* it has no more output */
	bool close_sent : 1;
};

/* A hundred thousand idle ones must fit beside their clients. */
_Static_assert(sizeof(struct ws) <= 112, "struct ws has a budget");

/* ---- the waker of the inner stream ---- */

static void
on_wake(void *conn)
{
	struct ws *w = conn;

	wake(&w->below);
}

static void
on_move(void *conn, unsigned worker)
{
	struct ws *w = conn;

	w->moving = true;
	w->below.ops->move(w->below.conn, worker);
}

static void
on_read_enable(void *conn, bool on)
{
	struct ws *w = conn;

	w->paused = !on;
	w->below.ops->read_enable(w->below.conn, on);
}

static const struct waker_ops ws_waker_ops = {
	.wake = on_wake, .move = on_move, .read_enable = on_read_enable
};

/* ---- life ---- */

struct ws *
ws_new(const struct ws_config *c, const struct waker *below)
{
	struct ws *w = calloc(1, sizeof(*w));

	if (w != NULL) {
		w->config = c;
		w->below = *below;
	}
	return w;
}

struct waker
ws_waker(struct ws *w)
{
	return (struct waker){ &ws_waker_ops, w };
}

void
ws_take(struct ws *w, void *inner, const struct stream_ops *ops)
{
	w->inner = inner;
	w->ops = ops;
}

static void
end_inner(struct ws *w, const char *why)
{
	void *inner = w->inner;

	w->inner = NULL;
	if (inner != NULL)
		w->ops->closed(inner, why);
}

void
ws_free(struct ws *w)
{
	if (w == NULL)
		return;
	held_free(&w->held);
	held_free(&w->out);
	if (w->serving != NULL && w->serving->file != NULL)
		w->config->files->close(w->serving->file);
	free(w->serving);
	free(w);
}

static void
ws_closed(void *self, const char *why)
{
	struct ws *w = self;

	end_inner(w, w->why != NULL ? w->why : why);
	ws_free(w);
}

static void
ws_moved(void *self, void *ctx, const struct waker *below)
{
	struct ws *w = self;
	struct waker mine = ws_waker(w);

	w->below = *below;
	w->moving = false;
	w->ops->moved(w->inner, ctx, &mine);
}

/* ---- the request ---- */

/* The end, with or without words; the inner stream hears of it now. */
static ptrdiff_t
refuse(struct ws *w, unsigned status, const char *why, bool head_only)
{
	char text[ANSWER_CAP], told[160];

	if (status != 0)
		w->out = held_of(slice_of(text, answer_put_error(status, why, head_only, text)));
	(void)snprintf(told, sizeof(told), "%s: %s", w->config->plain ? "HTTP" : "WebSocket", why);
	end_inner(w, told);
	w->state = WS_ANSWER;
	return STREAM_CLOSE;
}

/* Its bytes stay where they are; the transport copies at most a chunk of them, for a peer that does not read. */
static ptrdiff_t
show(struct ws *w, const struct ws_page *p, bool head_only, size_t n)
{
	char text[ANSWER_PAGE_CAP];

	w->state = WS_ANSWER;
	w->why = "HTTP: a page was asked for";
	w->out = held_of(slice_of(text, answer_put_page(p, text)));
	if (w->out == NULL)
		return STREAM_CLOSE;
	if (head_only || p->body.n == 0)
		return (ptrdiff_t)n;
	w->serving = calloc(1, sizeof(*w->serving));
	if (w->serving == NULL)
		return STREAM_CLOSE;
	w->serving->page = p->body;
	return (ptrdiff_t)n;
}

static bool
find_page(const struct ws_config *c, const struct request *r, struct ws_page *ret)
{
	struct ws_ask ask = { .target = r->target, .accept = r->accept, .none_match = r->none_match };

	return c->pages != NULL && c->pages->find(c->pages->ctx, &ask, ret);
}

static ptrdiff_t
serve(struct ws *w, const struct request *r, size_t n)
{
	const struct ws_files *files = w->config->files;
	bool head_only = slice_eq(r->method, SL("HEAD"));
	char path[WS_PATH_MAX], text[ANSWER_CAP];
	struct serving *s;
	struct ws_file f = { 0 };
	void *file;
	bool same;

	if (files == NULL || !path_of_target(r->target, path) ||
	    (file = files->open(files->ctx, path, &f)) == NULL)
		return refuse(w, 404,
		    files == NULL || w->config->plain ? "a request for something that is not here"
						      : "a request for a file that is not in http_dir",
		    head_only);
	w->state = WS_ANSWER;
	w->why = "HTTP: a file was asked for";
	same = answer_is_same(r, &f);
	w->out = held_of(slice_of(text, same ? answer_put_same(&f, text)
					     : answer_put_file(w->config->type != NULL ? w->config->type
										       : path_type(path),
						   &f, text)));
	head_only = head_only || same;
	s = head_only || w->out == NULL ? NULL : malloc(sizeof(*s) + CHUNK);
	if (s == NULL) {
		files->close(file);
		return head_only ? (ptrdiff_t)n : STREAM_CLOSE;
	}
	*s = (struct serving){ .file = file, .left = f.size };
	w->serving = s;
	return (ptrdiff_t)n;
}

static ptrdiff_t
answer(struct ws *w, const struct request *r, size_t n)
{
	struct answer a = answer_to(r, w->config);
	char text[ANSWER_CAP];
	struct ws_page page;

	switch (a.kind) {
	case ANSWER_ERROR:
		return refuse(w, a.status, a.why, slice_eq(r->method, SL("HEAD")));
	case ANSWER_CLOSE:
		return refuse(w, 0, a.why, false);
	case ANSWER_FILE:
		if (find_page(w->config, r, &page))
			return show(w, &page, slice_eq(r->method, SL("HEAD")), n);
		return serve(w, r, n);
	case ANSWER_SWITCH:
		break;
	}
	w->out = held_of(slice_of(text, answer_put_switch(r, text)));
	if (w->out == NULL)
		return refuse(w, 0, "out of memory", false);
	w->state = WS_OPEN;
	return (ptrdiff_t)n;
}

static ptrdiff_t
feed_request(struct ws *w, struct slice in)
{
	size_t max = w->config->headers_max > 0 ? w->config->headers_max : WS_HEADERS_DEFAULT,
	       n = 0;
	struct request r;
	const char *why;

	switch (request_parse(in, max, &r, &n, &why)) {
	case REQUEST_MORE:
		return 0;
	case REQUEST_OK:
		return answer(w, &r, n);
	case REQUEST_BAD:
		return refuse(w, 400, why, false);
	case REQUEST_TOO_LARGE:
		return refuse(
		    w, 431, "a request with more bytes than websockets_headers_size", false);
	case REQUEST_VERSION:
		return refuse(w, 505, "a request that is not HTTP/1.1", false);
	case REQUEST_NOT_HTTP:
		break;
	}
	return refuse(w, 0, why, false);
}

/* ---- frames ---- */

static ptrdiff_t
begin_close(struct ws *w, unsigned code, const char *why)
{
	w->state = WS_CLOSING;
	w->close_code = (uint16_t)code;
	w->why = why;
	held_free(&w->held);
	return STREAM_CLOSE;
}

/* Only the latest Ping is answered when several are there (RFC 6455 5.5.3): a peer that does not read cannot make us
 * keep its Pings. Without memory for it there is no Pong. */
static void
on_ping(struct ws *w, const struct frame_step *s)
{
	uint8_t frame[2 + FRAME_CONTROL_MAX] = { 0x80 | FRAME_OP_PONG, (uint8_t)s->payload_n };

	/* The answer to the request goes first, and comes from the same feed(). */
	if (w->out != NULL && w->out->p[0] != frame[0])
		return;
	memcpy(frame + 2, s->payload, s->payload_n);
	held_free(&w->out);
	w->out = held_of(slice_of(frame, 2 + s->payload_n));
	wake(&w->below);
}

/* Unmask what is there up to the first frame that is neither data nor Ping nor Pong. False: out of memory. */
static bool
take_frames(struct ws *w, struct slice in, struct frame_step *step, enum frame_event *ret_event,
    size_t *ret_used)
{
	enum frame_event event = FRAME_PING;
	size_t used = 0, n = 0;
	uint8_t *out;

	if (!held_room(&w->held, in.n))
		return false;
	out = w->held->p + w->held->off + w->held->n;
	while (event == FRAME_PING) {
		event = frames_step(&w->frames, slice_from(in, used), out, &n, step);
		used += step->used;
		if (event == FRAME_PING)
			on_ping(w, step);
	}
	w->held->n += n;
	if (n > 0)
		w->waits = true;
	*ret_event = event;
	*ret_used = used;
	return true;
}

/* Offer the inner stream what is unmasked. False: it closes. */
static bool
offer(struct ws *w)
{
	ptrdiff_t used;

	if (!w->waits || w->paused || w->held->n == 0)
		return true;
	w->waits = false;
	used = w->ops->feed(w->inner, held_slice(w->held));
	if (used == STREAM_CLOSE)
		return false;
	ASSERT(used >= 0 && (size_t)used <= w->held->n);
	held_drop(&w->held, (size_t)used);
	/* It stopped in the middle: the same bytes come again when it reads again, or is there. */
	w->waits = w->held != NULL && (w->paused || w->moving);
	return true;
}

/* What is held has to be offered again when the inner stream goes on, and only the transport knows when; but it calls feed() only if
 * it holds something itself. So one byte is left there, though it was taken, and skipped when it comes again. */
static ptrdiff_t
anchor(struct ws *w, size_t used, size_t n)
{
	if (!w->waits || used < n)
		return (ptrdiff_t)used;
	w->ahead = true;
	return (ptrdiff_t)(n - 1);
}

static ptrdiff_t
feed_frames(struct ws *w, struct slice in)
{
	size_t skip = w->ahead ? 1 : 0, used = 0;
	enum frame_event event;
	struct frame_step step;

	w->ahead = false;
	if (!take_frames(w, slice_from(in, skip), &step, &event, &used))
		return begin_close(
		    w, CLOSE_MEMORY, "WebSocket: no memory for an unfinished packet");
	if (!offer(w))
		return begin_close(w, CLOSE_NORMAL, NULL);
	if (w->held != NULL && w->held->n == 0)
		held_free(&w->held);
	/* What ends the connection waits until everything before it was used. */
	if (w->waits || event == FRAME_DATA)
		return anchor(w, skip + used, in.n);
	if (event == FRAME_CLOSE)
		return begin_close(w, step.code, NULL);
	return begin_close(w, step.code, step.why);
}

static ptrdiff_t
ws_feed(void *self, struct slice in)
{
	struct ws *w = self;
	ptrdiff_t used, more;

	switch ((enum ws_state)w->state) {
	case WS_REQUEST:
		used = feed_request(w, in);
		if (used <= 0 || w->state != WS_OPEN || (size_t)used == in.n)
			return used;
		more = feed_frames(w, slice_from(in, (size_t)used));
		return more < 0 ? more : used + more;
	case WS_OPEN:
		return feed_frames(w, in);
	case WS_ANSWER:
		return (ptrdiff_t)in.n; /* nobody reads what comes after the only request */
	case WS_CLOSING:
		break;
	}
	return STREAM_CLOSE;
}

/* ---- output ---- */

static int
lend(struct ws *w, enum ws_lent what, struct iovec *iov, const uint8_t *p, size_t n)
{
	/* sendmsg() only reads. */
	iov[0] = (struct iovec){ (void *)(uintptr_t)p, n };
	w->lent = (uint8_t)what;
	return 1;
}

/* Binary frames around the packets that the inner stream lends: its bytes stay where they are. */
static int
pull_inner(struct ws *w, struct iovec *iov, int max)
{
	int room = max / 3, n = w->inner_done ? STREAM_CLOSE : w->ops->pull(w->inner, iov + room, room);

	if (n <= 0) {
		w->inner_done = n == STREAM_CLOSE;
		return n;
	}
	w->lent = LENT_INNER;
	return frames_of_packets(iov, room, n);
}

static int
pull_frames(struct ws *w, struct iovec *iov, int max)
{
	int n = w->close_sent ? STREAM_CLOSE : pull_inner(w, iov, max);

	if (n > 0 || (n == 0 && w->state == WS_OPEN) || w->close_sent)
		return n;
	if (w->state == WS_OPEN)
		(void)begin_close(w, CLOSE_NORMAL, NULL);
	w->close[0] = 0x80 | FRAME_OP_CLOSE;
	w->close[1] = w->close_code == CLOSE_EMPTY ? 0 : 2;
	w->close[2] = (uint8_t)(w->close_code >> 8);
	w->close[3] = (uint8_t)w->close_code;
	return lend(w, LENT_CLOSE, iov, w->close, (size_t)w->close[1] + 2);
}

static int
pull_page(struct ws *w, struct serving *s, struct iovec *iov)
{
	struct slice part = slice_of(s->page.p, NUM_MIN(s->page.n, (size_t)CHUNK));

	if (part.n == 0)
		return STREAM_CLOSE;
	s->page = slice_from(s->page, part.n);
	return lend(w, LENT_FILE, iov, part.p, part.n);
}

static int
pull_file(struct ws *w, struct iovec *iov)
{
	struct serving *s = w->serving;
	ptrdiff_t n = 0;

	if (s != NULL && s->file == NULL)
		return pull_page(w, s, iov);
	if (s != NULL && s->left > 0)
		n = w->config->files->read(
		    s->file, s->chunk, (size_t)NUM_MIN(s->left, (uint64_t)CHUNK));
	/* A file that became shorter ends the connection before Content-Length: the client sees that something is missing. */
	if (n <= 0)
		return STREAM_CLOSE;
	s->left -= (uint64_t)n;
	return lend(w, LENT_FILE, iov, s->chunk, (size_t)n);
}

/* It has nothing to say before its first input, but it may have lost its patience. */
static bool
inner_gave_up(struct ws *w, struct iovec *iov, int max)
{
	int n = w->inner != NULL ? w->ops->pull(w->inner, iov, max) : 0;

	if (n > 0)
		w->ops->sent(w->inner);
	return n != 0;
}

static int
ws_pull(void *self, struct iovec *iov, int max)
{
	struct ws *w = self;

	if ((w->state == WS_REQUEST || w->state == WS_ANSWER) && inner_gave_up(w, iov, max))
		return STREAM_CLOSE;
	if (w->out != NULL)
		return lend(w, LENT_OUT, iov, w->out->p, w->out->n);
	switch ((enum ws_state)w->state) {
	case WS_REQUEST:
		return 0;
	case WS_ANSWER:
		return pull_file(w, iov);
	case WS_OPEN:
	case WS_CLOSING:
		break;
	}
	return pull_frames(w, iov, max);
}

static void
ws_sent(void *self)
{
	struct ws *w = self;
	enum ws_lent lent = w->lent;

	w->lent = LENT_NOTHING;
	if (lent == LENT_OUT)
		held_free(&w->out);
	else if (lent == LENT_INNER)
		w->ops->sent(w->inner);
	else if (lent == LENT_CLOSE)
		w->close_sent = true;
}

const struct stream_ops ws_stream = {
	.feed = ws_feed,
	.pull = ws_pull,
	.sent = ws_sent,
	.closed = ws_closed,
	.moved = ws_moved,
};
