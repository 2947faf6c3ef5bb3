/* One connection: TCP, TLS, and the bytes of both directions. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/num.h"
#include "bench.h"

enum { FAILURES_SHOWN = 5 };

static const char *const state_text[] = { "closed", "connecting", "in the TLS handshake",
	"waiting for CONNACK", "waiting for SUBACK", "ready", "disconnecting" };

bool
buf_append(struct buf *b, const uint8_t *p, size_t n)
{
	if (n > b->cap - b->n) {
		size_t cap = (b->n + n) * 2;
		uint8_t *q = realloc(b->p, cap);

		if (q == NULL)
			return false;
		b->p = q;
		b->cap = cap;
	}
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return true;
}

void
buf_free(struct buf *b)
{
	free(b->p);
	*b = (struct buf){ 0 };
}

void
conn_close(struct conn *c)
{
	if (c->fd == -1)
		return;
	(void)close(c->fd); /* nothing is to be lost in a socket that is closed this way */
	c->fd = -1;
	/* What it takes to free it would be measured with what the broker does. */
	if (c->bench->o.mode != MODE_REVOKE || c->bench->phase != PHASE_MEASURE)
		tls_free(c);
	buf_free(&c->in);
	buf_free(&c->out);
	if (c->state == CONN_READY)
		c->bench->ready--;
	c->state = CONN_CLOSED;
}

void
conn_fail(struct conn *c, const char *what)
{
	struct bench *b = c->bench;

	if (c->fd == -1)
		return;
	/* That is what is waited for; of those who keep their certificates it is a fault. */
	if (b->o.mode == MODE_REVOKE && b->phase == PHASE_MEASURE) {
		hist_add(&b->latency, now_ns() - b->from.time);
		b->cut++;
		b->faults.foreign += c->number % b->o.certs >= b->o.revoked;
		conn_close(c);
		return;
	}
	b->faults.failed++;
	if (b->said++ < FAILURES_SHOWN)
		(void)fprintf(stderr, "signet-bench: connection %u, %s: %s\n", c->number,
		    state_text[c->state], what);
	conn_close(c);
}

static void
fail_errno(struct conn *c, const char *what)
{
	char text[160];

	(void)snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
	conn_fail(c, text);
}

static void
fail_tls(struct conn *c)
{
	char text[160], why[128];

	(void)snprintf(text, sizeof text, "TLS: %s", tls_why(why, sizeof why));
	conn_fail(c, text);
}

static void
watch_out(struct conn *c, bool on)
{
	struct epoll_event e = { .events = EPOLLIN | (on ? EPOLLOUT : 0u), .data.ptr = c };

	if (c->out_watched == on)
		return;
	c->out_watched = on;
	(void)epoll_ctl(c->bench->epfd, EPOLL_CTL_MOD, c->fd, &e); /* it was added: cannot fail */
}

/* Many connections from one address would run out of ports: they are spread over 127.0.0.1 and
 * those behind it. */
static bool
bind_source(struct conn *c)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int one = 1;

	if (c->bench->o.sources <= 1)
		return true;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->number % c->bench->o.sources);
	(void)setsockopt(
	    c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one); /* only economy */
	return bind(c->fd, (const struct sockaddr *)&a, sizeof a) == 0;
}

void
conn_start(struct conn *c)
{
	struct bench *b = c->bench;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)b->o.port) };
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
	int one = 1;

	if (inet_pton(AF_INET, b->o.host, &a.sin_addr) != 1)
		return; /* options.c has looked */
	c->state = CONN_TCP;
	c->out_watched = true;
	c->started = now_ns();
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd == -1) {
		b->faults.failed++;
		if (b->said++ < FAILURES_SHOWN)
			perror("signet-bench: socket");
		return;
	}
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* TCP has it */
	if (!bind_source(c) || epoll_ctl(b->epfd, EPOLL_CTL_ADD, c->fd, &e) == -1 ||
	    (connect(c->fd, (const struct sockaddr *)&a, sizeof a) == -1 && errno != EINPROGRESS))
		fail_errno(c, "connect");
}

static void
at_eof(struct conn *c)
{
	if (c->state != CONN_CLOSING) {
		conn_fail(c, "closed by the broker");
		return;
	}
	conn_close(c);
	c->bench->total.connects++;
}

/* A broker that has read DISCONNECT need not read what comes behind it. */
static void
send_failed(struct conn *c)
{
	if (c->state == CONN_CLOSING)
		at_eof(c);
	else
		fail_errno(c, "send");
}

static void
put(struct conn *c, const uint8_t *p, size_t n)
{
	ssize_t r = 0;

	if (n == 0 || c->fd == -1)
		return;
	if (c->out.n == 0) {
		r = send(c->fd, p, n, MSG_NOSIGNAL);
		if (r == -1 && errno != EAGAIN) {
			send_failed(c);
			return;
		}
		r = NUM_MAX(r, 0);
	}
	if ((size_t)r == n)
		return;
	if (!buf_append(&c->out, p + r, n - (size_t)r)) {
		conn_fail(c, "out of memory");
		return;
	}
	watch_out(c, true);
}

static void
flush_tls(struct conn *c)
{
	struct tls_io *io = &c->bench->io;
	size_t n = io->out_n;

	io->out_n = 0;
	put(c, io->out, n);
}

void
conn_send(struct conn *c, const uint8_t *p, size_t n)
{
	if (c->ssl == NULL) {
		put(c, p, n);
		return;
	}
	while (n > 0 && c->fd != -1) {
		size_t k = NUM_MIN(n, (size_t)TLS_RECORD);

		if (!tls_write(c, p, k)) {
			fail_tls(c);
			return;
		}
		p += k;
		n -= k;
		if (n == 0 || c->bench->io.out_n >= TX_HIGH)
			flush_tls(c);
	}
}

static void
send_rest(struct conn *c)
{
	ssize_t r = c->out.n > 0 ? send(c->fd, c->out.p, c->out.n, MSG_NOSIGNAL) : 0;

	if (r == -1) {
		if (errno != EAGAIN)
			send_failed(c);
		return;
	}
	c->out.n -= (size_t)r;
	if (c->out.n > 0) {
		memmove(c->out.p, c->out.p + r, c->out.n);
		return;
	}
	watch_out(c, false);
	if (c->is_publisher)
		load_mark(c); /* it had to wait for this */
}

/* <n> bytes of plaintext are in the window, the first of them from before. */
static void
feed(struct conn *c, size_t n)
{
	struct bench *b = c->bench;
	size_t used = client_feed(c, slice_of(b->plain, n));

	c->in.n = 0;
	if (c->fd != -1 && used < n && !buf_append(&c->in, b->plain + used, n - used))
		conn_fail(c, "out of memory");
}

/* The ciphertext in the window becomes plaintext behind what waits. */
static void
decrypt(struct conn *c)
{
	struct bench *b = c->bench;
	size_t n = c->in.n;
	ptrdiff_t k = 0;
	bool eof = false;

	if (c->state == CONN_TLS) {
		int r = tls_handshake(c);

		flush_tls(c);
		if (r < 0)
			fail_tls(c);
		else if (r > 0 && c->fd != -1)
			client_open(c);
	}
	if (c->fd == -1 || c->state < CONN_CONNACK)
		return;
	if (n > 0)
		memcpy(b->plain, c->in.p, n);
	while ((k = tls_read(c, b->plain + n, b->plain_cap - n, &eof)) > 0)
		n += (size_t)k;
	if (k < 0 && c->state != CONN_CLOSING) {
		fail_tls(c);
		return;
	}
	feed(c, n);
	if (c->fd != -1 && eof)
		at_eof(c);
}

static void
readable(struct conn *c)
{
	struct bench *b = c->bench;
	uint8_t *to = c->ssl != NULL ? b->rx : b->plain + c->in.n;
	ssize_t n = recv(c->fd, to, RX_SIZE, 0);

	if (n == 0 || (n == -1 && c->state == CONN_CLOSING && errno == ECONNRESET)) {
		at_eof(c);
		return;
	}
	if (n == -1) {
		if (errno != EAGAIN)
			fail_errno(c, "recv");
		return;
	}
	if (c->ssl != NULL) {
		b->io.in = b->rx;
		b->io.in_n = (size_t)n;
		decrypt(c);
		b->io.in_n = 0;
		return;
	}
	if (c->in.n > 0)
		memcpy(b->plain, c->in.p, c->in.n);
	feed(c, c->in.n + (size_t)n);
}

static void
tcp_stands(struct conn *c)
{
	socklen_t size = sizeof errno;
	int no = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &no, &size) == -1 || no != 0) {
		errno = no != 0 ? no : errno;
		fail_errno(c, "connect");
		return;
	}
	watch_out(c, false);
	if (!c->bench->o.tls) {
		client_open(c);
		return;
	}
	c->state = CONN_TLS;
	if (!tls_attach(c) || tls_handshake(c) < 0) {
		fail_tls(c);
		return;
	}
	flush_tls(c);
}

void
conn_event(struct conn *c, uint32_t events)
{
	if (c->fd == -1)
		return;
	if (c->state == CONN_TCP) {
		tcp_stands(c);
		return;
	}
	if ((events & EPOLLOUT) != 0)
		send_rest(c);
	if (c->fd != -1 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
		readable(c);
}
