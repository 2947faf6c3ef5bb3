/* See testkit.h. */
#include "net/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include "base/num.h"

enum { LONG_S = 60 }; /* only when something is broken */

/* ---- the stream ---- */

struct echo {
	struct waker w;
	struct kit_loop *on;
	struct echo *next; /* kit_loop.waiting */
	uint8_t *out;
	size_t n, off, lent;
	bool paused, closing;
	char wait; /* verb whose answer turn() allows */
};

#define UNDER_LOCK(k, what)                                                                        \
	do {                                                                                       \
		pthread_mutex_lock(&(k)->lock);                                                    \
		what;                                                                              \
		pthread_cond_broadcast(&(k)->changed);                                             \
		pthread_mutex_unlock(&(k)->lock);                                                  \
	} while (0)

static void
answer(struct echo *e, const uint8_t *p, size_t n)
{
	struct kit *k = e->on->kit;

	e->out = realloc(e->out, e->n + n);
	assert_non_null(e->out);
	memcpy(e->out + e->n, p, n);
	e->n += n;
	UNDER_LOCK(k, k->most = NUM_MAX(k->most, e->n - e->off));
	if (e->n - e->off >= KIT_HIGH && !e->paused) {
		e->paused = true;
		e->w.ops->read_enable(e->w.conn, false);
		UNDER_LOCK(k, k->paused++);
	}
}

static void
wait_for_turn(struct echo *e, char verb)
{
	bool already = e->wait != 0;

	e->wait = verb;
	if (already)
		return;
	e->next = e->on->waiting;
	e->on->waiting = e;
	loop_wake(e->on->loop);
}

static void
stop_waiting(struct echo *e)
{
	for (struct echo **at = &e->on->waiting; *at != NULL; at = &(*at)->next) {
		if (*at == e) {
			*at = e->next;
			break;
		}
	}
	e->wait = 0;
}

/* False: no more of this input now. */
static bool
obey(struct echo *e, char verb)
{
	switch (verb) {
	case 'm':
		stop_waiting(e);
		e->w.ops->move(e->w.conn, (e->on->index + 1) % e->on->kit->n);
		return false;
	case 'p':
		e->w.ops->read_enable(e->w.conn, false);
		wait_for_turn(e, verb);
		return false;
	case 't':
		wait_for_turn(e, verb);
		return true;
	case 'c':
		e->closing = true;
		return true;
	default:
		return true;
	}
}

static ptrdiff_t
echo_feed(void *self, struct slice in)
{
	struct echo *e = self;
	size_t used = 0;

	while (in.n - used >= 5 && !e->paused) {
		const uint8_t *p = in.p + used;
		size_t n = 4 + ((size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]);
		char verb = (char)p[4];

		if (n > KIT_FRAME_MAX)
			return STREAM_CLOSE;
		if (in.n - used < n)
			break;
		answer(e, p, n);
		used += n;
		if (verb == 'q')
			return STREAM_CLOSE;
		if (!obey(e, verb))
			break;
	}
	return (ptrdiff_t)used;
}

static int
echo_pull(void *self, struct iovec *iov, int max)
{
	struct echo *e = self;
	size_t left = e->n - e->off, pieces = 0;

	assert_true(max >= 2);
	assert_int_equal(e->lent, 0);
	if (e->wait != 0)
		return 0;
	if (left == 0)
		return e->closing ? STREAM_CLOSE : 0;
	/* Two pieces, and not too much: the rest comes with the next pull. */
	e->lent = left < 100000 ? left : 100000;
	iov[pieces++] = (struct iovec){ e->out + e->off, e->lent > 3 ? 3 : e->lent };
	if (e->lent > 3)
		iov[pieces++] = (struct iovec){ e->out + e->off + 3, e->lent - 3 };
	return (int)pieces;
}

static void
echo_sent(void *self)
{
	struct echo *e = self;

	assert_true(e->lent > 0);
	e->off += e->lent;
	e->lent = 0;
	if (e->off == e->n) {
		free(e->out);
		e->out = NULL;
		e->n = e->off = 0;
	}
	if (e->paused && e->n - e->off < KIT_HIGH / 2) {
		memmove(e->out, e->out + e->off, e->n - e->off);
		e->n -= e->off;
		e->off = 0;
		e->paused = false;
		e->w.ops->read_enable(e->w.conn, true);
	}
}

static void
echo_closed(void *self, const char *why)
{
	struct echo *e = self;
	struct kit *k = e->on->kit;

	stop_waiting(e);
	UNDER_LOCK(k, k->closed++;
		   (void)snprintf(k->why, sizeof(k->why), "%s", why != NULL ? why : "-"));
	free(e->out);
	free(e);
}

static void
echo_moved(void *self, void *ctx, const struct waker *w)
{
	struct echo *e = self;

	e->w = *w;
	e->on = ctx;
	assert_true(pthread_equal(e->on->thread, pthread_self()));
	UNDER_LOCK(e->on->kit, e->on->kit->moved++);
	wake(&e->w);
}

static const struct stream_ops echo_ops = { .feed = echo_feed,
	.pull = echo_pull,
	.sent = echo_sent,
	.closed = echo_closed,
	.moved = echo_moved };

/* ---- the handler ---- */

static void *
on_open(void *ctx, const struct net_peer *peer, const struct waker *w,
    const struct stream_ops **ret_ops)
{
	struct kit_loop *on = ctx;
	struct kit *k = on->kit;
	struct echo *e = k->refuse ? NULL : calloc(1, sizeof(*e));
	char text[80];

	assert_non_null(strstr(net_addr_text(&peer->addr, text, sizeof(text)), "127.0.0.1:"));
	assert_ptr_equal(peer->listener, k);
	assert_true((peer->ssl != NULL) == (peer->tls_version != NULL));
	if (peer->identity != NULL) {
		free(peer->identity);
		UNDER_LOCK(k, k->identities++; k->freed++);
	}
	UNDER_LOCK(k, k->opened++);
	if (e == NULL)
		return NULL;
	e->w = *w;
	e->on = on;
	*ret_ops = &echo_ops;
	return e;
}

static void
on_failed(void *ctx, const struct net_peer *peer, const struct net_failure *f)
{
	struct kit *k = ((struct kit_loop *)ctx)->kit;
	struct kit_failure seen = { .kind = f->kind,
		.alert = f->alert,
		.probe = f->probe,
		.identity = peer->identity != NULL,
		.first_n = f->first.n };

	assert_non_null(f->detail);
	if (f->first.n > 0)
		memcpy(seen.first, f->first.p, f->first.n);
	(void)snprintf(seen.detail, sizeof(seen.detail), "%s", f->detail);
	UNDER_LOCK(k, k->last = seen; k->failed++);
}

static uint64_t
on_turn(void *ctx, uint64_t now_ms)
{
	struct kit_loop *on = ctx;
	struct echo *e = on->waiting, *next;

	(void)now_ms;
	on->waiting = NULL;
	for (; e != NULL; e = next) {
		next = e->next;
		if (e->wait == 'p')
			e->w.ops->read_enable(e->w.conn, true);
		e->wait = 0;
		wake(&e->w);
	}
	return UINT64_MAX;
}

void
kit_init(struct kit *k, unsigned loops, const struct loop_limits *limits)
{
	struct loop *all[KIT_LOOPS];
	struct err err;

	*k = (struct kit){ .n = loops,
		.handler = { .open = on_open, .failed = on_failed, .turn = on_turn } };
	if (limits != NULL)
		k->limits = *limits;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->changed, NULL);
	for (unsigned i = 0; i < loops; i++) {
		k->loops[i] = (struct kit_loop){ .kit = k, .index = i };
		all[i] = k->loops[i].loop =
		    loop_new(i, &k->handler, &k->loops[i], &k->limits, &err);
		assert_non_null(all[i]);
	}
	for (unsigned i = 0; i < loops; i++)
		loop_set_peers(all[i], all, loops);
}

void
kit_listen(struct kit *k, unsigned listeners, struct tls_ctx *tls)
{
	struct err err;

	k->addr = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	for (unsigned i = 0; i < listeners; i++) {
		socklen_t n = sizeof(k->addr);
		int fd = net_bind((struct sockaddr *)&k->addr, sizeof(k->addr), 1024, NULL, &err);

		assert_int_not_equal(fd, -1);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&k->addr, &n), 0);
		assert_true(loop_listen(k->loops[i].loop, fd, tls, k, &err));
	}
}

static void *
run(void *arg)
{
	loop_run(((struct kit_loop *)arg)->loop);
	return NULL;
}

void
kit_start(struct kit *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		assert_int_equal(pthread_create(&k->loops[i].thread, NULL, run, &k->loops[i]), 0);
		k->loops[i].started = true;
	}
}

void
kit_done(struct kit *k)
{
	for (unsigned i = 0; i < k->n; i++)
		loop_stop(k->loops[i].loop);
	for (unsigned i = 0; i < k->n; i++)
		if (k->loops[i].started)
			pthread_join(k->loops[i].thread, NULL);
	for (unsigned i = 0; i < k->n; i++)
		loop_free(k->loops[i].loop);
	pthread_cond_destroy(&k->changed);
	pthread_mutex_destroy(&k->lock);
}

void
kit_await(struct kit *k, const unsigned *counter, unsigned n)
{
	struct timespec t;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += LONG_S;
	pthread_mutex_lock(&k->lock);
	while (*counter < n && r == 0)
		r = pthread_cond_timedwait(&k->changed, &k->lock, &t);
	pthread_mutex_unlock(&k->lock);
	assert_int_equal(r, 0);
}

/* ---- clients ---- */

struct client
client_connect(const struct kit *k)
{
	struct client c = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	struct timeval t = { .tv_sec = LONG_S };

	assert_int_not_equal(c.fd, -1);
	setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	assert_int_equal(connect(c.fd, (const struct sockaddr *)&k->addr, sizeof(k->addr)), 0);
	setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return c;
}

bool
client_shake(struct client *c, SSL_CTX *ctx)
{
	c->ssl = SSL_new(ctx);
	assert_non_null(c->ssl);
	SSL_set_fd(c->ssl, c->fd);
	ERR_clear_error();
	return SSL_connect(c->ssl) == 1;
}

void
client_write(struct client *c, const void *p, size_t n)
{
	const uint8_t *at = p;

	if (c->ssl != NULL) {
		ERR_clear_error();
		assert_int_equal(SSL_write(c->ssl, p, (int)n), (int)n);
		return;
	}
	while (n > 0) {
		ssize_t k = send(c->fd, at, n, MSG_NOSIGNAL);

		assert_true(k > 0);
		at += k;
		n -= (size_t)k;
	}
}

size_t
client_read(struct client *c, void *p, size_t n)
{
	size_t have = 0, got;

	while (have < n) {
		ERR_clear_error();
		if (c->ssl != NULL) {
			if (SSL_read_ex(c->ssl, (uint8_t *)p + have, n - have, &got) != 1)
				break;
		} else {
			ssize_t r = recv(c->fd, (uint8_t *)p + have, n - have, 0);

			if (r <= 0)
				break;
			got = (size_t)r;
		}
		have += got;
	}
	return have;
}

void
client_close(struct client *c)
{
	SSL_free(c->ssl);
	close(c->fd);
	*c = (struct client){ .fd = -1 };
}

size_t
frame(uint8_t *out, char verb, const void *payload, size_t n)
{
	size_t len = n + 1;

	out[0] = (uint8_t)(len >> 24);
	out[1] = (uint8_t)(len >> 16);
	out[2] = (uint8_t)(len >> 8);
	out[3] = (uint8_t)len;
	out[4] = (uint8_t)verb;
	if (n > 0)
		memcpy(out + 5, payload, n);
	return n + 5;
}

void
client_echo(struct client *c, char verb, const void *payload, size_t n)
{
	uint8_t *sent = malloc(2 * (n + 5)), *got = sent + n + 5;
	size_t len = frame(sent, verb, payload, n);

	client_write(c, sent, len);
	assert_int_equal(client_read(c, got, len), len);
	assert_memory_equal(sent, got, len);
	free(sent);
}

/* ---- the verify hook ---- */

static bool
judge(void *ctx, X509_STORE_CTX *store, void **ret_peer)
{
	(void)ctx;
	*ret_peer = strdup("somebody");
	return X509_verify_cert(store) == 1;
}

static struct kit *the_kit; /* peer_free() has no context */

static void
count_free(void *peer)
{
	free(peer);
	UNDER_LOCK(the_kit, the_kit->freed++);
}

struct tls_config
kit_tls_config(struct kit *k, const struct pki *p)
{
	the_kit = k;
	return (struct tls_config){ .cert_file = p->cert,
		.key_file = p->key,
		.ca_file = p->ca,
		.hooks = { .verify = judge, .peer_free = count_free } };
}
