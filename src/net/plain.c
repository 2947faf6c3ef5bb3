/* Bytes as they are: one recv() for one event, one sendmsg() for what a stream lends. */
#include <errno.h>
#include <sys/socket.h>
#include "net/internal.h"

enum { TLS_HANDSHAKE = 22, TLS_MAJOR = 3 }; /* RFC 8446 5.1: how a ClientHello begins */

/* Does it speak TLS where nobody listens for it? True when the connection can go on to the stream
 * now. */
static bool
first_look(struct conn *c, const uint8_t *p, size_t n)
{
	struct net_failure f = { .kind = NET_FAIL_TLS_ON_PLAIN,
		.alert = -1,
		.first = { p, n < 16 ? n : 16 },
		.detail = "a TLS handshake on a listener without TLS" };

	if (p[0] != TLS_HANDSHAKE)
		return conn_open(c);
	if (n < 2) {
		if (!input_keep(c, p, n))
			conn_close(c, NULL);
		return false;
	}
	if (p[1] != TLS_MAJOR)
		return conn_open(c);
	conn_fail(c, &f);
	return false;
}

void
plain_readable(struct conn *c)
{
	struct space s;
	ssize_t n;

	if (!input_space(c, &s)) {
		conn_close(c, "no memory for an unfinished packet");
		return;
	}
	n = recv(c->src.fd, s.p + s.held, s.room < RX_SIZE ? s.room : RX_SIZE, 0);
	if (n <= 0) {
		conn_recv_end(c, n);
		return;
	}
	if (c->state == CONN_WAIT && !first_look(c, s.p, s.held + (size_t)n))
		return;
	input_feed(c, &s, (size_t)n);
}

bool
output_send(struct conn *c, const struct iovec *iov, int n, int flags)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };
	ssize_t sent = 0;
	size_t skip;

	if (c->tail == NULL)
		sent = sendmsg(c->src.fd, &m, MSG_NOSIGNAL | flags);
	if (sent == -1 && errno != EAGAIN && errno != EINTR)
		return false;
	skip = sent > 0 ? (size_t)sent : 0;
	for (int i = 0; i < n; i++) {
		size_t len = iov[i].iov_len, gone = skip < len ? skip : len;

		skip -= gone;
		if (!block_append(&c->tail, (const uint8_t *)iov[i].iov_base + gone, len - gone)) {
			errno = ENOMEM;
			return false;
		}
	}
	return true;
}

void
output_tail(struct conn *c)
{
	ssize_t n;

	if (c->tail == NULL)
		return;
	n = send(c->src.fd, c->tail->p + c->tail->off, c->tail->n, MSG_NOSIGNAL);
	if (n > 0)
		block_consume(&c->tail, (size_t)n);
	else if (n == -1 && errno != EAGAIN && errno != EINTR)
		conn_broken(c, errno);
}

int
plain_pull(struct conn *c)
{
	struct iovec *iov = c->loop->iov;
	size_t total = 0;
	int n;

	for (;;) {
		bool good;

		n = c->ops->pull(c->stream, iov, IOV_PIECES);
		if (n <= 0)
			return n;
		for (int i = 0; i < n; i++)
			total += iov[i].iov_len;
		good = output_send(c, iov, n, 0);
		c->ops->sent(c->stream);
		if (!good)
			conn_broken(c, errno);
		if (!good || c->tail != NULL || total >= FLUSH_BUDGET)
			return n;
	}
}
