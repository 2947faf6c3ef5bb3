/* The life of a connection: accepted, let in or refused, moved, closed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/assert.h"
#include "net/internal.h"

/* ---- what a stream may ask for ---- */

void
conn_mark_dirty(struct conn *c)
{
	struct loop *l = c->loop;

	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = NULL;
	*l->dirty_end = c;
	l->dirty_end = &c->next_dirty;
}

static void
on_wake(void *conn)
{
	conn_mark_dirty(conn);
}

static void
on_move(void *conn, unsigned worker)
{
	struct conn *c = conn;

	ASSERT(c->feeding);
	ASSERT(worker < c->loop->n_peers && worker != c->loop->index);
	c->target = (uint16_t)worker;
	c->state = CONN_MOVING;
}

static void
want_resume(struct conn *c, bool on)
{
	if (c->resume == on)
		return;
	c->resume = on;
	c->loop->n_resume += on ? 1 : -1u;
	if (on)
		conn_mark_dirty(c);
}

static void
on_read_enable(void *conn, bool on)
{
	struct conn *c = conn;

	if (c->paused == !on)
		return;
	c->paused = !on;
	/* epoll is told when the connection is flushed: a pause that ends in the same turn costs nothing. */
	conn_mark_dirty(c);
	want_resume(c, on && !c->feeding);
}

static const struct waker_ops waker = { .wake = on_wake, .move = on_move, .read_enable = on_read_enable };

/* ---- lists and readiness ---- */

static void
link_to(struct conn **head, struct conn *c)
{
	c->next = *head;
	c->prev = head;
	if (c->next != NULL)
		c->next->prev = &c->next;
	*head = c;
}

static void
unlink_conn(struct conn *c)
{
	*c->prev = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
}

static bool
wants_input(const struct conn *c)
{
	if (c->eof && c->state != CONN_OPEN)
		return false;
	return !c->paused || c->state != CONN_OPEN;
}

static int
poll_of(const struct conn *c, bool apart)
{
	return apart ? c->loop->shakes_fd.fd : c->loop->epfd;
}

static bool
leave_poll(struct conn *c)
{
	if (net_poll(poll_of(c, c->apart), EPOLL_CTL_DEL, &c->src, 0) == -1)
		return false;
	c->polled = false;
	return true;
}

/* Tell epoll what changed; mostly nothing has. EPOLLOUT is asked for only while the socket is full. */
void
conn_watch(struct conn *c)
{
	uint32_t want = (wants_input(c) ? (uint32_t)EPOLLIN : 0) | (c->tail != NULL ? (uint32_t)EPOLLOUT : 0);
	bool apart = c->secure && (c->state == CONN_PROXY || c->state == CONN_WAIT || c->state == CONN_SHAKE);

	if (c->state == CONN_DIAL)
		want = EPOLLOUT;
	if (c->polled && want == c->watched && apart == c->apart)
		return;
	if (c->polled && apart != c->apart)
		(void)leave_poll(c); /* else the next call fails */
	if (net_poll(poll_of(c, apart), c->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, &c->src, want) == -1) {
		conn_close(c, "out of memory");
		return;
	}
	c->polled = true;
	c->apart = apart;
	c->watched = (uint8_t)want;
}

/* ---- limbo ---- */

static void
stop_counting(struct conn *c)
{
	if (c->counted)
		c->loop->n_handshakes--;
	c->counted = false;
}

static void
limbo_free(struct conn *c)
{
	struct limbo *b = c->limbo;

	if (b == NULL)
		return;
	stop_counting(c);
	timer_cancel(c->loop->wheel, &b->timer);
	tls_shake_free(b->ssl);
	tls_shake_done(&b->shake);
	free(b->proxy_identity);
	free(b);
	c->limbo = NULL;
}

static struct limbo *
limbo_new(struct conn *c, uint64_t ms)
{
	struct limbo *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	b->conn = c;
	b->shake.alert_sent = b->shake.alert_received = -1;
	timer_set(c->loop->wheel, &b->timer, c->loop->now + ms);
	c->limbo = b;
	return b;
}

static bool
end_by(struct conn *c, uint64_t ms)
{
	if (c->limbo == NULL)
		return limbo_new(c, ms) != NULL;
	timer_set(c->loop->wheel, &c->limbo->timer, c->loop->now + ms);
	return true;
}

/* ---- beginning ---- */

struct conn *
conn_new(struct loop *l, int fd, bool secure, uint64_t ms)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		(void)close(fd);
		return NULL;
	}
	c->src = (struct source){ fd, SOURCE_CONN };
	c->loop = l;
	c->secure = secure;
	c->state = CONN_WAIT;
	link_to(&l->all, c);
	l->n_conns++;
	if (limbo_new(c, ms) == NULL) {
		conn_close(c, NULL);
		return NULL;
	}
	return c;
}

bool
conn_open(struct conn *c)
{
	struct loop *l = c->loop;
	struct net_peer peer = conn_peer(c);
	struct waker w = { &waker, c };

	c->limbo->shake.identity = NULL; /* open() takes it */
	c->limbo->told = true;
	c->state = CONN_OPEN;
	stop_counting(c);
	c->stream = l->h->open(l->ctx, &peer, &w, &c->ops);
	if (c->limbo->ssl != NULL)
		c->records = tls_established(&c->limbo->ssl, &c->tls);
	conn_mark_dirty(c);
	if (c->stream == NULL) {
		c->state = CONN_DRAIN;
		return false;
	}
	limbo_free(c);
	return true;
}

void
conn_fail(struct conn *c, const struct net_failure *f)
{
	struct loop *l = c->loop;
	struct net_peer peer = conn_peer(c);

	c->limbo->told = true;
	l->h->failed(l->ctx, &peer, f);
	l->again = true;
	stop_counting(c);
	tls_shake_free(c->limbo->ssl);
	c->limbo->ssl = NULL;
	block_free(&c->rest);
	if (l->io.out_n == 0 && c->tail == NULL) {
		conn_close(c, NULL);
		return;
	}
	/* A peer that learns nothing tries again and again: what we have to say, the alert, must not be lost to a reset. */
	c->state = CONN_FLUSH;
	secure_send(c);
	conn_mark_dirty(c);
}

/* ---- end ---- */

void
conn_end_stream(struct conn *c, const char *why)
{
	void *stream = c->stream;

	if (stream == NULL)
		return;
	c->stream = NULL;
	c->ops->closed(stream, why);
	c->loop->again = true;
}

static void
release(struct conn *c)
{
	limbo_free(c);
	block_free(&c->rest);
	block_free(&c->raw);
	block_free(&c->tail);
}

void
conn_close(struct conn *c, const char *why)
{
	struct loop *l = c->loop;

	if (c->state == CONN_DEAD)
		return;
	want_resume(c, false);
	dial_ended(c, why);
	c->state = CONN_DEAD;
	conn_end_stream(c, why);
	release(c);
	(void)close(c->src.fd); /* leaves epoll with it */
	unlink_conn(c);
	link_to(&l->dead, c);
	l->n_conns--;
}

void
conn_free(struct conn *c)
{
	unlink_conn(c);
	if (c->tls != NULL)
		c->records->free(c->tls);
	free(c);
}

void
conn_broken(struct conn *c, int no)
{
	if (c->broken == 0)
		c->broken = no > 0 && no < UINT8_MAX ? (uint8_t)no : EPIPE;
	block_free(&c->tail);
	conn_mark_dirty(c);
}

static const char *
text_of(int no)
{
	const char *text = strerrordesc_np(no);

	return text != NULL ? text : "unknown error";
}

void
conn_recv_end(struct conn *c, ssize_t n)
{
	int no = n == 0 ? 0 : errno;
	struct net_failure f = { .kind = NET_FAIL_CLOSED, .alert = -1 };

	if (no == EAGAIN || no == EINTR)
		return;
	if (no == 0 && c->broken != 0)
		no = c->broken;
	switch ((enum conn_state)c->state) {
	case CONN_DIAL:
	case CONN_PROXY:
	case CONN_WAIT:
	case CONN_SHAKE:
		f.probe = c->state != CONN_DIAL && c->state != CONN_SHAKE && c->rest == NULL && c->raw == NULL;
		f.detail = no != 0 ? text_of(no) : "connection closed by the peer";
		conn_fail(c, &f);
		break;
	case CONN_DRAIN:
	case CONN_FLUSH:
		/* It may have shut its side only, and still read what is left. */
		if (no != 0)
			conn_close(c, text_of(no));
		c->eof = true;
		conn_mark_dirty(c); /* epoll must stop to tell us */
		break;
	case CONN_OPEN:
	case CONN_LINGER:
	case CONN_MOVING:
	case CONN_DEAD:
		conn_close(c, no != 0 ? text_of(no) : NULL);
		break;
	}
}

void
conn_timeout(struct conn *c)
{
	struct net_failure f = { .kind = NET_FAIL_TIMEOUT,
		.alert = -1,
		.probe = c->rest == NULL && c->raw == NULL && (c->state == CONN_WAIT || c->state == CONN_PROXY),
		.detail = c->secure ? "the TLS handshake was not done in time" : "nothing was sent in time" };

	if (c->state == CONN_DIAL) {
		f.detail = "no answer in time";
		conn_fail(c, &f);
	} else if (c->state == CONN_PROXY || c->state == CONN_WAIT || c->state == CONN_SHAKE) {
		if (c->state == CONN_PROXY)
			f.detail = "the PROXY header was not there in time";
		block_free(&c->tail); /* no lingering for who kept us waiting */
		conn_fail(c, &f);
	}
	conn_close(c, "the last output was not read in time");
}

/* Nothing more will be said. */
static void
finish(struct conn *c)
{
	if (c->tls != NULL && !c->notified) {
		c->notified = true;
		c->records->close_notify(c->tls, &c->loop->io);
		secure_send_last(c);
	}
	conn_end_stream(c, NULL);
	c->state = CONN_FLUSH;
	if (c->broken != 0)
		return;
	if (c->tail != NULL) {
		if (c->limbo == NULL && !end_by(c, DRAIN_MS))
			conn_close(c, NULL);
		return;
	}
	/* Closing with input unread would reset the connection, and the peer might never see the end of our output. */
	if (c->eof || shutdown(c->src.fd, SHUT_WR) == -1 || !end_by(c, LINGER_MS)) {
		conn_close(c, NULL);
		return;
	}
	c->state = CONN_LINGER;
}

/* ---- moving ---- */

static void
hand_over(struct conn *c)
{
	struct loop *l = c->loop, *to = l->peers[c->target];

	want_resume(c, false);
	if (!leave_poll(c)) {
		conn_close(c, "cannot leave epoll");
		return;
	}
	if (c->tls != NULL)
		c->records->bind(c->tls, NULL);
	unlink_conn(c);
	l->n_conns--;
	c->loop = to;
	/* From here on it belongs to the other thread. */
	if (inbox_push(&to->arrivals, &c->arrival))
		loop_wake(to);
}

void
conn_arrive(struct loop *l, struct conn *c)
{
	struct waker w = { &waker, c };

	link_to(&l->all, c);
	l->n_conns++;
	if (c->tls != NULL)
		c->records->bind(c->tls, l->bio);
	c->state = CONN_OPEN;
	c->ops->moved(c->stream, l->ctx, &w);
	conn_mark_dirty(c);
	conn_watch(c);
	if (c->state == CONN_OPEN)
		conn_resume(c);
}

/* ---- events ---- */

/* Read and throw away; the peer is told nothing more. */
static void
discard(struct conn *c)
{
	ssize_t n = recv(c->src.fd, c->loop->rx, RX_SIZE, 0);

	if (n <= 0)
		conn_recv_end(c, n);
}

static void
readable(struct conn *c)
{
	if (c->state == CONN_PROXY)
		proxy_readable(c);
	else if (c->state != CONN_WAIT && c->state != CONN_SHAKE && c->state != CONN_OPEN)
		discard(c);
	else if (c->secure)
		secure_readable(c);
	else
		plain_readable(c);
}

static const char *
socket_error(const struct conn *c)
{
	int no = 0;
	socklen_t n = sizeof(no);

	if (getsockopt(c->src.fd, SOL_SOCKET, SO_ERROR, &no, &n) == -1 || no == 0)
		no = ECONNRESET;
	return text_of(no);
}

void
conn_event(struct conn *c, uint32_t events)
{
	if (c->state == CONN_MOVING || c->state == CONN_DEAD)
		return;
	if (c->state == CONN_DIAL) {
		dial_event(c);
		return;
	}
	if (events & EPOLLOUT) {
		output_tail(c);
		conn_mark_dirty(c);
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP) && wants_input(c))
		readable(c);
	else if (events & (EPOLLERR | EPOLLHUP))
		conn_close(c, socket_error(c));
	/* Before it has a stream it is in no list that would tell epoll later. */
	if ((c->state == CONN_PROXY || c->state == CONN_WAIT || c->state == CONN_SHAKE) && c->polled)
		conn_watch(c);
}

void
conn_resume(struct conn *c)
{
	want_resume(c, false);
	if (c->state != CONN_OPEN || c->paused)
		return;
	input_again(c);
	if (c->secure && c->state == CONN_OPEN && !c->paused)
		secure_resume(c);
}

/* A failed send() ends only what we say: what the peer sent before it went away is read first. */
static void
flush_broken(struct conn *c)
{
	/* A handshake ends when recv() says so, and is reported. */
	if (c->state == CONN_PROXY || c->state == CONN_WAIT || c->state == CONN_SHAKE)
		return;
	if (c->state != CONN_OPEN || c->paused)
		conn_close(c, text_of(c->broken));
}

static void
pull(struct conn *c)
{
	int n = c->secure ? secure_pull(c) : plain_pull(c);

	if (n > 0 && c->tail == NULL && c->broken == 0)
		conn_mark_dirty(c); /* it has more, after the others */
	if (n == STREAM_CLOSE || (n == 0 && c->state == CONN_DRAIN)) {
		block_free(&c->rest);
		block_free(&c->raw);
		finish(c);
	}
}

/* As long as the socket takes nothing the stream is not pulled, and cannot say that it wants to close. An empty feed() asks: a peer
 * that reads nothing must not outlive its session, its keep alive or its certificate. */
static void
ask_stuck(struct conn *c)
{
	if (c->state != CONN_OPEN || c->tail == NULL || c->stream == NULL)
		return;
	c->feeding = true;
	if (c->ops->feed(c->stream, slice_of("", 0)) == STREAM_CLOSE) {
		c->state = CONN_DRAIN;
		block_free(&c->rest);
	}
	c->feeding = false;
}

void
conn_flush(struct conn *c)
{
	if (c->state == CONN_DEAD)
		return;
	if (c->state == CONN_MOVING) {
		hand_over(c);
		return;
	}
	ask_stuck(c);
	if (c->state == CONN_DRAIN && c->limbo == NULL && !end_by(c, DRAIN_MS)) {
		conn_close(c, "out of memory");
		return;
	}
	if (c->tail == NULL && c->broken == 0) {
		if ((c->state == CONN_OPEN || c->state == CONN_DRAIN) && c->stream != NULL)
			pull(c);
		else if (c->state == CONN_DRAIN || c->state == CONN_FLUSH)
			finish(c);
	}
	if (c->broken != 0 && c->state != CONN_DEAD)
		flush_broken(c);
	if (c->state == CONN_DEAD)
		return;
	/* What waits for the next turn must come again. */
	if (c->resume)
		conn_mark_dirty(c);
	conn_watch(c);
}
