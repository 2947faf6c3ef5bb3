/* The life of a bridge's connection: bytes come in from two sides and go out to two. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/assert.h"
#include "base/num.h"
#include "bridge/internal.h"

/* ---- buffers ---- */

static bool
grow(struct buf *b, size_t n)
{
	size_t want, cap;
	uint8_t *p;

	if (b->off > 0 && b->off == b->n)
		b->off = b->n = 0;
	if (!num_add(b->n, n, &want))
		return false;
	if (want <= b->cap)
		return true;
	if (b->off > 0) {
		memmove(b->p, b->p + b->off, b->n - b->off);
		b->n -= b->off;
		b->off = 0;
		want = b->n + n;
	}
	cap = NUM_MAX(want, b->cap * 2);
	if (want <= b->cap)
		return true;
	if ((p = realloc(b->p, cap)) == NULL)
		return false;
	b->p = p;
	b->cap = cap;
	return true;
}

uint8_t *
buf_room(struct link *l, struct buf *b, size_t n)
{
	if (grow(b, n))
		return b->p + b->n;
	(void)link_fail(l, "out of memory");
	return NULL;
}

static struct slice
buf_slice(const struct buf *b)
{
	return slice_of(b->n > b->off ? b->p + b->off : NULL, b->n - b->off);
}

static void
buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

/* ---- the end ---- */

bool
link_fail(struct link *l, const char *fmt, ...)
{
	va_list ap;

	if (l->why[0] == '\0') {
		va_start(ap, fmt);
		(void)vsnprintf(l->why, sizeof l->why, fmt, ap);
		va_end(ap);
	}
	l->state = LINK_CLOSING;
	wake(&l->remote);
	return false;
}

void
link_warn(struct link *l, const char *fmt, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	l->bridge->ports.warn(l->bridge->ports.ctx, text);
}

static void
local_close(struct link *l, const char *why)
{
	void *local = l->local;

	l->local = NULL;
	if (local != NULL)
		l->local_ops->closed(local, why);
}

static void
link_free(struct link *l)
{
	for (unsigned i = 0; l->aliases != NULL && i < l->bridge->c->alias_max; i++)
		free(l->aliases[i].topic);
	free(l->aliases);
	buf_free(&l->out);
	buf_free(&l->to_local);
	buf_free(&l->from_local);
	free(l);
}

/* ---- the client of this broker: we are its transport ---- */

static void
local_wake(void *conn)
{
	struct link *l = conn;

	wake(&l->remote);
}

static void
local_move(void *conn, unsigned worker)
{
	(void)worker;
	/* The bridge lives where its session does. */
	(void)link_fail(conn, "the session here has another home");
}

static void
local_read_enable(void *conn, bool on)
{
	struct link *l = conn;

	l->local_paused = !on;
	l->remote.ops->read_enable(l->remote.conn, on);
	wake(&l->remote);
}

static const struct waker_ops local_waker = {
	.wake = local_wake, .move = local_move, .read_enable = local_read_enable
};

bool
link_local(struct link *l)
{
	struct waker w = { &local_waker, l };

	l->local = l->bridge->ports.local_open(l->bridge->ports.ctx, &w, &l->local_ops);
	return l->local != NULL || link_fail(l, "out of memory");
}

/* Give this broker what is for it. */
static void
local_feed(struct link *l)
{
	ptrdiff_t used = 1;

	while (l->local != NULL && !l->local_ended && !l->local_paused &&
	       l->to_local.n > l->to_local.off && used > 0) {
		used = l->local_ops->feed(l->local, buf_slice(&l->to_local));
		if (used == STREAM_CLOSE)
			l->local_ended = true;
		else
			l->to_local.off += (size_t)used;
	}
}

/* Everything whole in <b> to <handle>. */
static bool
packets(struct link *l, struct buf *b, bool (*handle)(struct link *l, const struct mqtt_frame *f))
{
	struct mqtt_frame f;
	enum mqtt_frame_result r;

	while ((r = mqtt_frame(buf_slice(b), REMOTE_PACKET_MAX, &f)) == MQTT_FRAME_OK) {
		bool ok = handle(l, &f);

		b->off += f.size;
		if (!ok)
			return false;
	}
	return r == MQTT_FRAME_MORE || link_fail(l, "malformed packet");
}

/* Take from this broker what it has for the remote, as far as there is room. */
static void
local_pull(struct link *l)
{
	struct iovec iov[LOCAL_IOV];
	int n = 1;

	while (l->local != NULL && n > 0 && l->out.n - l->out.off < BUF_HIGH) {
		bool ok = true;

		n = l->local_ops->pull(l->local, iov, LOCAL_IOV);
		for (int i = 0; i < n && ok; i++) {
			uint8_t *p = buf_room(l, &l->from_local, iov[i].iov_len);

			ok = p != NULL;
			if (ok && iov[i].iov_len > 0)
				memcpy(p, iov[i].iov_base, iov[i].iov_len);
			l->from_local.n += ok ? iov[i].iov_len : 0;
		}
		if (n > 0)
			l->local_ops->sent(l->local);
		if (n > 0 && ok && !packets(l, &l->from_local, from_local))
			return;
		if (n == STREAM_CLOSE) {
			local_close(l, NULL);
			(void)link_fail(l, "this broker closed the bridge's session");
		}
		local_feed(l);
	}
}

/* ---- the stream below which the remote is ---- */

static ptrdiff_t
link_feed(void *self, struct slice in)
{
	struct link *l = self;
	struct mqtt_frame f;
	size_t used = 0;

	if (in.n > 0)
		l->last_in_ms = l->bridge->now_ms;
	while (l->state != LINK_CLOSING && !l->local_paused) {
		size_t max = l->state == LINK_NEW ? CONNACK_MAX : REMOTE_PACKET_MAX;
		enum mqtt_frame_result r = mqtt_frame(slice_from(in, used), max, &f);

		if (r == MQTT_FRAME_MORE)
			break;
		if (r != MQTT_FRAME_OK) {
			(void)link_fail(l, "the remote broker sent a malformed packet");
			break;
		}
		if (!from_remote(l, &f))
			break;
		used += f.size;
		local_feed(l);
	}
	return l->state == LINK_CLOSING ? STREAM_CLOSE : (ptrdiff_t)used;
}

static int
link_pull(void *self, struct iovec *iov, int max)
{
	struct link *l = self;

	ASSERT(max > 0);
	if (l->state != LINK_CLOSING) {
		local_feed(l);
		local_pull(l);
	}
	if (l->out.n > l->out.off) {
		iov[0] = (struct iovec){ l->out.p + l->out.off, l->out.n - l->out.off };
		l->last_out_ms = l->bridge->now_ms;
		return 1;
	}
	return l->state == LINK_CLOSING ? STREAM_CLOSE : 0;
}

static void
link_sent(void *self)
{
	struct link *l = self;

	l->out.off = l->out.n = 0;
	/* One long message must not be kept in memory for all the short ones. */
	if (l->out.cap > 2 * (size_t)BUF_HIGH)
		buf_free(&l->out);
}

static void
link_closed(void *self, const char *why)
{
	struct link *l = self;
	struct bridge *b = l->bridge;
	char text[sizeof l->why];

	(void)snprintf(text, sizeof text, "%s",
	    l->why[0] != '\0' ? l->why
	    : why != NULL     ? why
			      : "the remote broker closed the connection");
	/* Not in good order: the will says that the bridge is down. */
	local_close(l, text);
	b->link = NULL;
	link_free(l);
	b->ports.down(b->ports.ctx, text);
}

const struct stream_ops bridge_stream = {
	.feed = link_feed, .pull = link_pull, .sent = link_sent, .closed = link_closed
};

/* ---- the bridge ---- */

struct bridge *
bridge_new(const struct bridge_config *c, const struct bridge_ports *p)
{
	struct bridge *b = calloc(1, sizeof *b);

	if (b == NULL)
		return NULL;
	b->c = c;
	b->ports = *p;
	if ((b->ids = calloc(1, sizeof *b->ids)) == NULL) {
		free(b);
		return NULL;
	}
	return b;
}

void
bridge_configure(struct bridge *b, const struct bridge_config *c)
{
	ASSERT(b->link == NULL);
	b->c = c;
	b->private_refused = false;
}

void
bridge_free(struct bridge *b)
{
	if (b == NULL)
		return;
	ASSERT(b->link == NULL);
	free(b->ids);
	free(b);
}

void *
bridge_link(struct bridge *b, const struct waker *remote, uint64_t now_ms)
{
	struct link *l = calloc(1, sizeof *l);

	ASSERT(b->link == NULL);
	if (l == NULL)
		return NULL;
	*l = (struct link){ .bridge = b,
		.remote = *remote,
		.receive_max = UINT16_MAX,
		.keep_alive = b->c->keep_alive,
		.qos_max = 2,
		.retain_ok = true,
		.last_in_ms = now_ms,
		.last_out_ms = now_ms };
	l->packet_max = b->c->packet_max != 0 ? b->c->packet_max : REMOTE_PACKET_MAX;
	if (b->c->version == MQTT_V5 && b->c->alias_max > 0)
		l->aliases = calloc(b->c->alias_max, sizeof *l->aliases);
	if ((b->c->version == MQTT_V5 && b->c->alias_max > 0 && l->aliases == NULL) ||
	    !put_remote_connect(l)) {
		link_free(l);
		return NULL;
	}
	b->now_ms = b->last_ms = now_ms;
	b->link = l;
	return l;
}

static void
no_wake(void *conn)
{
	(void)conn;
}

static void
no_enable(void *conn, bool on)
{
	(void)conn;
	(void)on;
}

static const struct waker_ops no_waker = { .wake = no_wake, .read_enable = no_enable };

bool
bridge_prime(struct bridge *b, const struct bridge_topic *old, unsigned n_old)
{
	struct link *l = calloc(1, sizeof *l);
	struct waker w = { &no_waker, NULL };
	bool ok;

	if (l == NULL)
		return false;
	*l = (struct link){ .bridge = b,
		.remote = w,
		.receive_max = UINT16_MAX,
		.packet_max = REMOTE_PACKET_MAX,
		.qos_max = 2,
		.retain_ok = true };
	ok = link_local(l) && put_local_connect(l, false) && put_local_unsubscribe(l, old, n_old) &&
	     (b->c->local_clean || put_local_subscribe(l, 2)) &&
	     (b->c->notify_topic == NULL || put_notify(l, &l->to_local, MQTT_V5, 0, false)) &&
	     put_disconnect(l, &l->to_local, MQTT_V5);
	if (ok) {
		local_feed(l);
		ok = l->local_ended && l->state != LINK_CLOSING;
		/* What it says, but nothing is taken: messages stay in the session. */
		for (int n = 1; n > 0 && l->local != NULL;) {
			struct iovec iov[LOCAL_IOV];

			n = l->local_ops->pull(l->local, iov, LOCAL_IOV);
			if (n > 0 && ((const uint8_t *)iov[0].iov_base)[0] == MQTT_CONNACK << 4 &&
			    iov[0].iov_len > 3)
				ok = ok && ((const uint8_t *)iov[0].iov_base)[3] == 0;
			if (n > 0)
				l->local_ops->sent(l->local);
		}
	}
	local_close(l, NULL);
	link_free(l);
	return ok;
}

void
bridge_begin(struct bridge *b, uint64_t now_ms)
{
	b->now_ms = now_ms;
}

uint64_t
bridge_turn(struct bridge *b, uint64_t now_ms)
{
	struct link *l = b->link;
	uint64_t keep;

	b->now_ms = now_ms;
	if (l == NULL || l->state == LINK_CLOSING)
		return UINT64_MAX;
	if (l->state == LINK_NEW) {
		if (now_ms < l->last_in_ms + CONNACK_MS)
			return l->last_in_ms + CONNACK_MS;
		(void)link_fail(l, "the remote broker sent no CONNACK in time");
		return UINT64_MAX;
	}
	keep = (uint64_t)l->keep_alive * 1000;
	if (keep == 0)
		return UINT64_MAX;
	/* Half as much again as the remote would wait for us. */
	if (l->ping_ms != 0 && now_ms >= l->ping_ms + keep / 2 && l->last_in_ms < l->ping_ms) {
		(void)link_fail(l, "the remote broker does not answer");
		return UINT64_MAX;
	}
	if (l->ping_ms != 0 && l->last_in_ms >= l->ping_ms)
		l->ping_ms = 0;
	if (l->ping_ms == 0 && now_ms >= NUM_MIN(l->last_out_ms, l->last_in_ms) + keep) {
		l->ping_ms = now_ms;
		if (put_empty(l, &l->out, MQTT_PINGREQ) && put_empty(l, &l->to_local, MQTT_PINGREQ))
			wake(&l->remote);
	}
	return l->ping_ms != 0 ? l->ping_ms + keep / 2
			       : NUM_MIN(l->last_out_ms, l->last_in_ms) + keep;
}

void
bridge_stop(struct bridge *b)
{
	struct link *l = b->link;

	if (l == NULL || l->state == LINK_CLOSING)
		return;
	if (l->state == LINK_UP) {
		if (b->c->notify_topic != NULL && !b->c->notify_local_only)
			(void)put_notify(l, &l->out, b->c->version, 0, false);
		(void)put_disconnect(l, &l->out, b->c->version);
	}
	(void)link_fail(l, "the bridge was stopped");
}

bool
bridge_is_linked(const struct bridge *b)
{
	return b->link != NULL;
}

uint64_t
bridge_last_ms(const struct bridge *b)
{
	return b->last_ms;
}

bool
bridge_was_refused_as_bridge(const struct bridge *b)
{
	return b->private_refused;
}
