/* Bytes under TLS: one recv() fills the loop's window, from which records are opened into the
 * plaintext window; what a stream lends is gathered into whole records, and all of them leave in
 * one send(). */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include "base/num.h"
#include "net/internal.h"

enum { TLS_HANDSHAKE = 22, TLS_MAJOR = 3, TLS_HEADER = 5 };

static void
send_window(struct conn *c, int flags)
{
	struct tls_io *io = &c->loop->io;
	struct iovec iov = { io->out, io->out_n };

	if (io->out_n > 0 && c->broken == 0 && !output_send(c, &iov, 1, flags))
		conn_broken(c, errno);
	io->out_n = 0;
}

void
secure_send(struct conn *c)
{
	send_window(c, 0);
}

void
secure_send_last(struct conn *c)
{
	send_window(c, MSG_MORE);
}

/* Keep the ciphertext that nobody may decrypt now. */
static void
keep_raw(struct conn *c)
{
	struct tls_io *io = &c->loop->io;
	struct slice left = { io->in, io->in_n };

	io->in = NULL;
	io->in_n = 0;
	if (left.n > 0 && !block_append(&c->raw, left.p, left.n))
		conn_close(c, "out of memory");
}

/* Nothing is allocated for a peer before it has shown that it speaks TLS, and before its
 * ClientHello is here as a whole: up to then it costs us a few hundred bytes. True when the
 * handshake can begin. */
static bool
first_look(struct conn *c)
{
	const struct tls_io *io = &c->loop->io;
	struct net_failure f = { .kind = NET_FAIL_PLAIN_ON_TLS,
		.alert = -1,
		.first = { io->in, NUM_MIN(io->in_n, (size_t)16) },
		.detail = "the first bytes are not TLS" };
	size_t len;

	if (io->in[0] != TLS_HANDSHAKE || (io->in_n > 1 && io->in[1] != TLS_MAJOR)) {
		conn_fail(c, &f);
		return false;
	}
	if (io->in_n < TLS_HEADER)
		return false;
	/* A length above what a record may have is libssl's to refuse. */
	len = (size_t)io->in[3] << 8 | io->in[4];
	return len > TLS_RECORD_MAX || io->in_n - TLS_HEADER >= len;
}

/* The handshake goes on. True when it is done and the stream is there. */
static bool
shake(struct conn *c)
{
	struct limbo *b = c->limbo;
	struct net_failure f;
	enum shake_result r;
	uint64_t begin;

	if (b->ssl == NULL) {
		b->ssl = tls_shake_new(&b->shake, c->loop->bio);
		if (b->ssl == NULL) {
			conn_close(c, NULL);
			return false;
		}
		c->state = CONN_SHAKE;
	}
	begin = net_now_ns();
	r = tls_shake_step(b->ssl, &b->shake, &f);
	c->loop->shake_ns += net_now_ns() - begin;
	if (r == SHAKE_FAILED) {
		conn_fail(c, &f);
		return false;
	}
	secure_send(c);
	return r == SHAKE_DONE && c->state == CONN_SHAKE && conn_open(c);
}

static void
broken(struct conn *c, const char *why)
{
	char text[sizeof c->loop->io.why];

	/* The alert must reach the peer: the stream is told now, the socket closes in its own
	 * time. */
	memcpy(text, why, sizeof text);
	secure_send(c);
	conn_end_stream(c, text);
	c->records->free(c->tls);
	c->tls = NULL;
	c->state = CONN_DRAIN;
	conn_mark_dirty(c);
}

static void
pump(struct conn *c)
{
	struct tls_io *io = &c->loop->io;
	enum tls_result r = TLS_FULL;

	while (c->state == CONN_OPEN && !c->paused && r == TLS_FULL) {
		struct space s;
		size_t n = 0;

		if (!input_space(c, &s)) {
			conn_close(c, "no memory for an unfinished packet");
			return;
		}
		r = c->records->open(c->tls, io, s.p + s.held, s.room, &n);
		if (n > 0)
			input_feed(c, &s, n);
	}
	if (r == TLS_EOF)
		c->eof = true;
	if (r == TLS_BROKEN && (c->state == CONN_OPEN || c->state == CONN_MOVING)) {
		broken(c, io->why);
		return;
	}
	if (c->state == CONN_DEAD)
		return;
	/* While the stream wants nothing, what came before the end of file still has to reach
	 * it. */
	if (c->eof && c->state == CONN_OPEN && !c->paused) {
		c->records->close_notify(c->tls, io);
		secure_send_last(c);
		conn_close(c, NULL);
		return;
	}
	secure_send(c); /* an answer of TLS itself, such as a KeyUpdate */
}

/* The in window holds what there is. */
static void
input(struct conn *c)
{
	struct tls_io *io = &c->loop->io;

	if (c->state == CONN_WAIT && first_look(c))
		c->state = CONN_SHAKE;
	if (c->state == CONN_SHAKE)
		(void)shake(c); /* the state tells */
	if (c->state == CONN_OPEN)
		pump(c);
	if (c->state == CONN_WAIT || c->state == CONN_OPEN || c->state == CONN_MOVING)
		keep_raw(c);
	io->in = NULL;
	io->in_n = io->out_n = 0;
}

void
secure_readable(struct conn *c)
{
	struct loop *l = c->loop;
	size_t held = c->raw != NULL ? c->raw->n : 0;
	ssize_t n;

	if (held >= RX_SIZE) {
		secure_resume(c);
		return;
	}
	n = recv(c->src.fd, l->rx + held, RX_SIZE - held, 0);
	if (n <= 0) {
		conn_recv_end(c, n);
		return;
	}
	if (held > 0)
		memcpy(l->rx, c->raw->p + c->raw->off, held);
	block_free(&c->raw);
	l->io.in = l->rx;
	l->io.in_n = held + (size_t)n;
	input(c);
}

void
secure_begin(struct conn *c)
{
	struct tls_io *io = &c->loop->io;

	io->in = NULL;
	io->in_n = io->out_n = 0;
	c->state = CONN_SHAKE;
	(void)shake(c); /* the state tells */
	io->out_n = 0;
}

void
secure_resume(struct conn *c)
{
	struct loop *l = c->loop;
	size_t held = c->raw != NULL ? NUM_MIN((size_t)c->raw->n, (size_t)RX_SIZE) : 0;

	if (held > 0)
		memcpy(l->rx, c->raw->p + c->raw->off, held);
	block_consume(&c->raw, held);
	l->io.in = l->rx;
	l->io.in_n = held;
	input(c);
}

static bool
seal_stage(struct conn *c)
{
	struct loop *l = c->loop;
	bool good = l->staged == 0 || c->records->seal(c->tls, &l->io, l->stage, l->staged);

	l->staged = 0;
	return good;
}

/* Into records of full size: the one copy of a payload. Long pieces are encrypted from where they
 * are. */
static bool
gather(struct conn *c, struct slice piece)
{
	struct loop *l = c->loop;

	while (piece.n > 0) {
		size_t n = NUM_MIN(piece.n, (size_t)TLS_RECORD_MAX - l->staged);

		if (l->staged == 0 && n == TLS_RECORD_MAX) {
			if (!c->records->seal(c->tls, &l->io, piece.p, n))
				return false;
		} else {
			memcpy(l->stage + l->staged, piece.p, n);
			l->staged += n;
			if (l->staged == TLS_RECORD_MAX && !seal_stage(c))
				return false;
		}
		piece = slice_from(piece, n);
		if (l->io.out_n >= OUT_HIGH)
			secure_send(c);
	}
	return true;
}

int
secure_pull(struct conn *c)
{
	struct loop *l = c->loop;
	size_t total = 0;
	bool good = true;
	int n;

	l->staged = 0;
	do {
		n = c->ops->pull(c->stream, l->iov, IOV_PIECES);
		for (int i = 0; i < n && good && c->broken == 0; i++) {
			good = gather(c, slice_of(l->iov[i].iov_base, l->iov[i].iov_len));
			total += l->iov[i].iov_len;
		}
		if (n > 0)
			c->ops->sent(c->stream);
	} while (n > 0 && good && c->broken == 0 && c->tail == NULL && total < FLUSH_BUDGET);
	if (c->broken == 0)
		good = good && seal_stage(c);
	l->staged = 0;
	/* The last words of a stream leave with close_notify behind them. */
	if (n != STREAM_CLOSE || !good)
		secure_send(c);
	if (!good)
		conn_broken(c, ENOMEM);
	return n;
}
