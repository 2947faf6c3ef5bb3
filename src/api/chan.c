/* Connections: TLS, the bytes of a request in, the bytes of an answer out. One request at a time on each. */
#include "api/chan.h"

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/num.h"
#include "base/secret.h"

enum {
	IDLE_S = 60,                    /* without a byte of a next request */
	LINGER_S = 2,                   /* for a client to read why it was refused before all of its request was read */
	LINGER_MAX = 4 * 1024 * 1024,   /* bytes that are thrown away meanwhile */
	INPUT_MAX = 64 * 1024,          /* bytes that wait to be read by us */
};

/* ---- life ---- */

void
chan_deadline(struct chan *c, unsigned seconds)
{
	const struct timeval tv = { .tv_sec = (time_t)seconds };

	(void)evtimer_add(c->deadline, &tv);
}

static unsigned
timeout_of(const struct chan *c)
{
	return c->listener->api->config->timeout_s;
}

static void
chan_free(struct chan *c)
{
	struct api *a = c->listener->api;

	if (c->prev != NULL)
		c->prev->next = c->next;
	else if (a->conns == c)
		a->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	a->n_chans--;
	a->n_plain -= c->plain;
	tunnel_free(c->tunnel);
	if (c->call != NULL && c->state == CHAN_BUSY)
		call_orphan(c->call);
	else
		call_free(c->call);
	tls_guest_free(c->guest);
	if (c->bev != NULL)
		bufferevent_free(c->bev);
	if (c->deadline != NULL)
		event_free(c->deadline);
	address_give(a, c->address);
	free(c);
	api_chan_gone(a);
}

void
chans_leave(struct api *a)
{
	struct chan *c, *next;

	for (c = a->conns; c != NULL; c = next) {
		next = c->next;
		if (c->state == CHAN_STREAM || c->state == CHAN_TUNNEL || (c->state == CHAN_IDLE && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0))
			chan_free(c);
	}
}

void
chans_close(struct api *a)
{
	while (a->conns != NULL)
		chan_free(a->conns);
	map_done(&a->addresses);
}

struct bufferevent *
chan_lend(struct chan *c, struct tunnel *t)
{
	call_free(c->call);
	c->call = NULL;
	c->tunnel = t;
	c->state = CHAN_TUNNEL;
	(void)evtimer_del(c->deadline);
	return c->bev;
}

void
chan_end(struct chan *c)
{
	chan_free(c);
}

/* ---- the end of a handshake that came to nothing ---- */

/* libssl's own complaint says most. */
static unsigned long
handshake_error(struct bufferevent *bev)
{
	unsigned long e, best = 0;

	while ((e = bufferevent_get_openssl_error(bev)) != 0)
		if (best == 0 || (ERR_GET_LIB(best) != ERR_LIB_SSL && ERR_GET_LIB(e) == ERR_LIB_SSL))
			best = e;
	return best;
}

static void
handshake_failed(struct chan *c)
{
	struct net_failure f;

	tls_guest_failure(c->guest, handshake_error(c->bev), &f);
	chan_refused(c, &f);
}

/* ---- answers ---- */

static void
idle(struct chan *c)
{
	c->state = CHAN_IDLE;
	chan_deadline(c, c->plain ? NUM_MIN((unsigned)IDLE_S, timeout_of(c)) : IDLE_S);
	(void)bufferevent_enable(c->bev, EV_READ);
	c->more = true;
}

void
chan_answer(struct chan *c, struct reply *r)
{
	bool rest = c->state != CHAN_BUSY; /* not all of the request was read */

	r->close = r->close || rest || c->listener->api->leaving || c->call == NULL || c->call->head.close;
	r->plain = c->plain;
	r->head_only = c->call != NULL && c->call->head.method == HTTP_HEAD;
	c->unsent = 0;
	reply_write(bufferevent_get_output(c->bev), r);
	call_free(c->call);
	c->call = NULL;
	if (!r->close) {
		idle(c);
		return;
	}
	/* What waits to be read would make the kernel send a reset, which takes the answer away. */
	c->state = rest ? CHAN_LINGER : CHAN_LAST;
	chan_deadline(c, rest ? LINGER_S : timeout_of(c));
	(void)bufferevent_enable(c->bev, EV_READ);
	c->more = rest;
}

bool
chan_continue(struct chan *c)
{
	static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";

	return evbuffer_add(bufferevent_get_output(c->bev), line, sizeof(line) - 1) == 0;
}

static void
answer_fault(struct chan *c, const struct http_fault *f)
{
	json_t *p = problem_json(f->status, "http", f->what, NULL);
	char *text = p != NULL ? json_dumps(p, JSON_COMPACT) : NULL;
	struct reply r = { .status = f->status, .type = "application/problem+json", .body = slice_str(text), .close = true };

	chan_answer(c, &r);
	free(text);
	json_decref(p);
}

/* ---- requests ---- */

static void
run(struct chan *c)
{
	c->state = CHAN_BUSY;
	chan_deadline(c, 3 * timeout_of(c));
	(void)bufferevent_disable(c->bev, EV_READ);
	call_run(c->call);
}

static bool
body_add(struct chan *c, struct slice s)
{
	struct call *call = c->call;
	size_t cap;
	uint8_t *p;

	if (s.n > call->body_max - call->body_n) {
		answer_fault(c, &(struct http_fault){ 413, "the body is larger than what is taken here" });
		return false;
	}
	if (call->body_n + s.n > call->body_cap) {
		cap = NUM_MAX(call->body_n + s.n, 2 * call->body_cap);
		p = secret_realloc(call->body_bytes, cap);
		if (p == NULL) {
			answer_fault(c, &(struct http_fault){ 503, "out of memory" });
			return false;
		}
		call->body_bytes = p;
		call->body_cap = cap;
	}
	if (s.n > 0)
		memcpy(call->body_bytes + call->body_n, s.p, s.n);
	call->body_n += s.n;
	return true;
}

static bool
read_chunks(struct chan *c, struct evbuffer *in)
{
	struct http_fault f;
	struct slice all = { evbuffer_pullup(in, -1), evbuffer_get_length(in) }, piece;
	size_t used = 0;
	ptrdiff_t n;

	while ((n = http_read_chunk(&c->chunks, slice_from(all, used), &piece, &f)) > 0) {
		used += (size_t)n;
		if (!body_add(c, piece))
			return false;
	}
	if (n < 0) {
		answer_fault(c, &f);
		return false;
	}
	(void)evbuffer_drain(in, used);
	return c->chunks.done;
}

/* True: it is whole. */
static bool
read_body(struct chan *c, struct evbuffer *in)
{
	struct slice s;

	if (c->call->head.chunked)
		return read_chunks(c, in);
	s.n = (size_t)NUM_MIN((uint64_t)evbuffer_get_length(in), c->left);
	s.p = s.n > 0 ? evbuffer_pullup(in, (ev_ssize_t)s.n) : NULL;
	if (!body_add(c, s))
		return false;
	(void)evbuffer_drain(in, s.n);
	c->left -= s.n;
	return c->left == 0;
}

static void
begin_body(struct chan *c)
{
	c->state = CHAN_BODY;
	c->chunks = (struct http_chunks){ 0 };
	c->left = c->call->head.length;
	chan_deadline(c, timeout_of(c));
	if (c->left > c->call->body_max)
		answer_fault(c, &(struct http_fault){ 413, "the body is larger than what is taken here" });
	else if (c->call->head.expects)
		(void)chan_continue(c);
}

/* True: go on with what there is. */
static bool
read_head(struct chan *c, struct evbuffer *in)
{
	size_t n = NUM_MIN(evbuffer_get_length(in), (size_t)HTTP_HEAD_MAX);
	struct slice s = { evbuffer_pullup(in, (ev_ssize_t)n), n };
	struct http_fault f;
	struct http_head h;
	ptrdiff_t used = http_read_head(s, &h, &f);

	if (used == 0)
		return false;
	if (used < 0) {
		answer_fault(c, &f);
		return true;
	}
	c->call = call_new(c, slice_of(s.p, (size_t)used));
	if (c->call == NULL) {
		answer_fault(c, &(struct http_fault){ 503, "out of memory" });
		return true;
	}
	(void)evbuffer_drain(in, (size_t)used);
	/* Refused without a body: the connection can go on. */
	if (!h.chunked && h.length == 0)
		c->state = CHAN_BUSY;
	if (call_admit(c->call))
		begin_body(c);
	return true;
}

static void
linger(struct chan *c, struct evbuffer *in)
{
	c->lingered += evbuffer_get_length(in);
	(void)evbuffer_drain(in, evbuffer_get_length(in));
	if (c->lingered > LINGER_MAX)
		c->state = CHAN_LAST;
}

/* One step. False: nothing more can be done with what is there. The connection lives. */
static bool
step(struct chan *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);

	switch (c->state) {
	case CHAN_IDLE:
		/* Who sends one request after another has the answers of those before first: on_write(). */
		if (evbuffer_get_length(in) == 0 || evbuffer_get_length(bufferevent_get_output(c->bev)) > 0)
			return false;
		c->state = CHAN_HEAD;
		chan_deadline(c, timeout_of(c));
		return true;
	case CHAN_HEAD:
		return read_head(c, in);
	case CHAN_BODY:
		if (!read_body(c, in))
			return c->state != CHAN_BODY;
		run(c);
		return true;
	case CHAN_LINGER:
		linger(c, in);
		return false;
	case CHAN_STREAM:
		/* Nobody is asked anything any more on this connection. */
		(void)evbuffer_drain(in, evbuffer_get_length(in));
		return false;
	case CHAN_SHAKE:
	case CHAN_BUSY:
	case CHAN_LAST:
	case CHAN_TUNNEL:
		break;
	}
	return false;
}

/* An answer may come while a step runs: it says so in c->more, and nobody calls himself. */
static void
work(struct chan *c)
{
	if (c->working)
		return;
	c->working = true;
	do {
		c->more = false;
		while (step(c))
			;
	} while (c->more);
	c->working = false;
}

static void
on_read(struct bufferevent *bev, void *ctx)
{
	(void)bev;
	work(ctx);
}

/* All of the output is gone. */
static void
on_write(struct bufferevent *bev, void *ctx)
{
	struct chan *c = ctx;
	SSL *ssl = c->guest != NULL ? tls_guest_ssl(c->guest) : NULL;

	if (evbuffer_get_length(bufferevent_get_output(bev)) > 0)
		return;
	if (c->state == CHAN_IDLE)
		work(c); /* the next request may be there already */
	if (c->state == CHAN_HEAD || c->state == CHAN_BODY)
		(void)bufferevent_enable(bev, EV_READ); /* the rest of it, or again that there is none */
	if ((c->state != CHAN_LAST && c->state != CHAN_LINGER) || evbuffer_get_length(bufferevent_get_output(bev)) > 0)
		return;
	if (ssl != NULL)
		(void)SSL_shutdown(ssl);
	if (c->state == CHAN_LINGER)
		(void)shutdown(bufferevent_getfd(bev), SHUT_WR);
	else
		chan_free(c);
}

static void
on_event(struct bufferevent *bev, short what, void *ctx)
{
	struct chan *c = ctx;

	if ((what & BEV_EVENT_CONNECTED) != 0) {
		idle(c);
		return;
	}
	if (c->state == CHAN_SHAKE)
		handshake_failed(c);
	/* Who has said all that he has to say may still want to hear the answers. */
	if ((what & BEV_EVENT_EOF) != 0 && c->state == CHAN_IDLE && evbuffer_get_length(bufferevent_get_output(bev)) > 0) {
		if (evbuffer_get_length(bufferevent_get_input(bev)) == 0) {
			c->state = CHAN_LAST;
			chan_deadline(c, timeout_of(c));
		}
		(void)bufferevent_enable(bev, EV_WRITE);
		return;
	}
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0)
		chan_free(c);
}

/* Who reads a long answer slowly may go on as long as he reads. */
static bool
still_reads(struct chan *c)
{
	size_t n = evbuffer_get_length(bufferevent_get_output(c->bev));
	bool more = (c->state == CHAN_IDLE || c->state == CHAN_LAST) && n > 0 && (c->unsent == 0 || n < c->unsent);

	c->unsent = n;
	return more;
}

static void
on_deadline(evutil_socket_t fd, short what, void *ctx)
{
	struct chan *c = ctx;
	struct net_failure f = { .kind = NET_FAIL_TIMEOUT, .alert = -1, .detail = "the TLS handshake was not done in time" };

	(void)fd;
	(void)what;
	if (still_reads(c)) {
		chan_deadline(c, timeout_of(c));
		return;
	}
	if (c->state == CHAN_SHAKE)
		chan_refused(c, &f);
	if (c->state == CHAN_HEAD || c->state == CHAN_BODY) {
		answer_fault(c, &(struct http_fault){ 408, "the request took too long to come" });
		work(c);
		return;
	}
	if (c->state == CHAN_BUSY) {
		call_orphan(c->call);
		c->call = NULL;
		answer_fault(c, &(struct http_fault){ 504, "the answer takes too long; what was asked for may still happen" });
		return;
	}
	chan_free(c);
}

/* ---- arrival ---- */

static struct bufferevent *
make_bufferevent(struct chan *c, evutil_socket_t fd)
{
	struct api *a = c->listener->api;
	SSL *ssl;

	if (c->listener->tls == NULL)
		return bufferevent_socket_new(a->base, fd, BEV_OPT_CLOSE_ON_FREE);
	c->guest = tls_guest_new(c->listener->tls);
	if (c->guest == NULL)
		return NULL;
	ssl = tls_guest_ssl(c->guest);
	(void)SSL_up_ref(ssl); /* the buffer frees one when it is done with it, which is later than bufferevent_free() */
	c->bev = bufferevent_openssl_socket_new(a->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (c->bev == NULL)
		SSL_free(ssl);
	else
		bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
	return c->bev;
}

static bool
chan_open(struct chan *c, evutil_socket_t fd)
{
	struct api *a = c->listener->api;

	c->deadline = evtimer_new(a->base, on_deadline, c);
	c->bev = c->deadline != NULL ? make_bufferevent(c, fd) : NULL;
	if (c->bev == NULL)
		return false;
	bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, INPUT_MAX);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) != 0)
		return false;
	if (c->listener->tls == NULL) {
		c->local = !c->plain && chan_fd_is_ours(fd);
		idle(c);
	} else {
		chan_deadline(c, timeout_of(c));
	}
	return true;
}

/* Those who come for what everybody may have leave half of the room to the others. */
static bool
has_room(const struct api *a, bool plain)
{
	return a->n_chans < a->config->max_connections && (!plain || a->n_plain < (a->config->max_connections + 1) / 2);
}

void
chan_accept(struct listener *l, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct api *a = l->api;
	bool plain = a->config->listeners[l->index].plain;
	struct chan *c = has_room(a, plain) ? calloc(1, sizeof(*c)) : NULL;
	struct net_failure f = { .kind = NET_FAIL_LIMIT, .alert = -1, .detail = "there are too many connections, or too many from this address" };
	struct net_peer p = { 0 };

	if (len > 0 && len <= sizeof(p.addr))
		memcpy(&p.addr, addr, len);
	if (l->tls == NULL && !plain)
		p.addr.ss_family = AF_UNIX;
	if (c == NULL || (c->address = address_take(a, &p.addr)) == NULL) {
		a->config->ports.refused(a->config->ports.ctx, l->index, &p, &f);
		free(c);
		(void)close(fd);
		return;
	}
	c->listener = l;
	c->addr = p.addr;
	(void)net_addr_text(&c->addr, c->peer, sizeof(c->peer));
	c->next = a->conns;
	if (c->next != NULL)
		c->next->prev = c;
	a->conns = c;
	a->n_chans++;
	c->plain = plain;
	a->n_plain += plain;
	if (!chan_open(c, fd)) {
		if (c->bev == NULL)
			(void)close(fd);
		chan_free(c);
	}
}
