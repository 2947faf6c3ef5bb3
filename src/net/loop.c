/* One loop a thread: readiness, timers, letters from other threads, and the order of things in a
 * turn. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "base/assert.h"
#include "base/num.h"
#include "net/internal.h"

struct post {
	struct inbox_node node; /* first */
	void (*fn)(void *ctx, void *arg);
	void *arg;
};

uint64_t
net_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t
net_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int
net_poll(int epfd, int op, struct source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	return epoll_ctl(epfd, op, s->fd, &ev);
}

static void
set_limits(struct loop *l, const struct loop_limits *limits)
{
	if (limits != NULL)
		l->limits = *limits;
	if (l->limits.handshake_timeout_ms == 0)
		l->limits.handshake_timeout_ms = HANDSHAKE_MS;
	if (l->limits.max_handshakes == 0)
		l->limits.max_handshakes = HANDSHAKES_MAX;
}

static bool
open_poll(struct loop *l, struct err *err)
{
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->wake = (struct source){ eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), SOURCE_WAKE };
	l->shakes_fd = (struct source){ epoll_create1(EPOLL_CLOEXEC), SOURCE_SHAKES };
	if (l->epfd == -1 || l->wake.fd == -1 || l->shakes_fd.fd == -1 ||
	    net_poll(l->epfd, EPOLL_CTL_ADD, &l->wake, EPOLLIN) == -1 ||
	    net_poll(l->epfd, EPOLL_CTL_ADD, &l->shakes_fd, EPOLLIN) == -1)
		return err_sys(err, "cannot set up the event loop");
	return true;
}

struct loop *
loop_new(unsigned index, const struct net_handler *h, void *ctx, const struct loop_limits *limits,
    struct err *err)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (l == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	l->index = index;
	l->h = h;
	l->ctx = ctx;
	l->epfd = l->wake.fd = l->shakes_fd.fd = -1;
	l->dirty_end = &l->dirty;
	l->rest_until = UINT64_MAX;
	l->now = net_now_ms();
	set_limits(l, limits);
	l->io.out_cap = OUT_HIGH + 2 * TLS_RECORD_MAX;
	l->io.out = malloc(l->io.out_cap);
	l->wheel = wheel_new(l->now);
	l->bio = tls_bio_new(&l->io);
	if (l->io.out == NULL || l->wheel == NULL || l->bio == NULL)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	else if (open_poll(l, err))
		return l;
	loop_free(l);
	return NULL;
}

void
loop_set_peers(struct loop *l, struct loop *const *loops, unsigned n)
{
	struct loop **copy = calloc(n > 0 ? n : 1, sizeof(struct loop *));

	/* At the start, before there is anything to lose: a move would find no loop then. */
	ASSERT(copy != NULL && n <= UINT16_MAX);
	for (unsigned i = 0; i < n; i++)
		copy[i] = loops[i];
	free(l->peers);
	l->peers = copy;
	l->n_peers = n;
}

/* ---- letters ---- */

void
loop_wake(struct loop *l)
{
	int keep = errno; /* of the code that a signal interrupted */
	uint64_t one = 1;

	if (!atomic_exchange(&l->woken, true))
		(void)!write(
		    l->wake.fd, &one, sizeof(one)); /* fails only when it is readable already */
	errno = keep;
}

void
loop_stop(struct loop *l)
{
	atomic_store(&l->stop, true);
	loop_wake(l);
}

bool
loop_post(struct loop *l, void (*fn)(void *ctx, void *arg), void *arg)
{
	struct post *p = malloc(sizeof(*p));

	if (p == NULL)
		return false;
	*p = (struct post){ .fn = fn, .arg = arg };
	if (inbox_push(&l->posts, &p->node))
		loop_wake(l);
	return true;
}

static void
take_posts(struct loop *l)
{
	struct inbox_node *n = inbox_take(&l->posts), *next;

	for (; n != NULL; n = next) {
		struct post *p = (struct post *)n;

		next = n->next;
		p->fn(l->ctx, p->arg);
		free(p);
	}
}

static struct conn *
conn_of_arrival(struct inbox_node *n)
{
	return (struct conn *)(void *)((char *)n - offsetof(struct conn, arrival));
}

static void
take_arrivals(struct loop *l)
{
	struct inbox_node *n = inbox_take(&l->arrivals), *next;

	for (; n != NULL; n = next) {
		next = n->next;
		conn_arrive(l, conn_of_arrival(n));
	}
}

/* ---- the turn ---- */

static void
on_wake_event(struct loop *l)
{
	uint64_t n;

	(void)!read(l->wake.fd, &n, sizeof(n)); /* only clears it */
	/* An exchange, not a store: it makes visible what was pushed before a wake that found the
	 * flag set. */
	(void)atomic_exchange(&l->woken, false);
}

static void
on_event(struct loop *l, const struct epoll_event *ev)
{
	struct source *s = ev->data.ptr;

	switch ((enum source_kind)s->kind) {
	case SOURCE_CONN:
		conn_event(
		    (struct conn *)(void *)((char *)s - offsetof(struct conn, src)), ev->events);
		break;
	case SOURCE_LISTENER:
		listener_ready(
		    l, (struct listener *)(void *)((char *)s - offsetof(struct listener, src)));
		break;
	case SOURCE_WAKE:
		on_wake_event(l);
		break;
	case SOURCE_SHAKES:
		l->shaking = true;
		break;
	}
}

/* When all that flows is on its way: one after the other, until they have had their share of the turn. Level-triggered: those who
 * do not get their turn now are reported again, before those who did. */
static void
shake_hands(struct loop *l)
{
	struct epoll_event ev;

	for (unsigned i = 0; l->shaking && i < SHAKES_A_TURN && l->shake_ns < SHAKE_NS_A_TURN; i++) {
		l->shaking = epoll_wait(l->shakes_fd.fd, &ev, 1, 0) == 1;
		if (l->shaking)
			on_event(l, &ev);
		l->again = l->again || l->shaking;
	}
	l->shaking = false;
}

static void
on_timer(void *ctx, struct timer *t)
{
	struct loop *l = ctx;

	if (t == &l->starving)
		l->starved = false;
	else
		conn_timeout(
		    ((struct limbo *)(void *)((char *)t - offsetof(struct limbo, timer)))->conn);
}

/* Those that are allowed to read again get what is here already: with the other input, so that
 * turn() sees the results. */
static void
resume_reading(struct loop *l)
{
	for (struct conn *c = l->dirty; c != NULL && l->n_resume > 0; c = c->next_dirty)
		if (c->resume)
			conn_resume(c);
}

static void
flush_dirty(struct loop *l)
{
	for (int round = 0; round < FLUSH_ROUNDS && l->dirty != NULL; round++) {
		struct conn *c = l->dirty, *next;

		l->dirty = NULL;
		l->dirty_end = &l->dirty;
		for (; c != NULL; c = next) {
			next = c->next_dirty;
			c->dirty = false;
			conn_flush(c);
		}
	}
}

static void
bury(struct loop *l)
{
	struct conn *c = l->dead, *next;
	unsigned left = BURIALS_A_TURN;

	for (; c != NULL && left > 0; c = next) {
		next = c->next;
		if (c->dirty) /* it is in that list until the next turn */
			continue;
		left -= c->tls != NULL;
		conn_free(c);
	}
	listeners_bury(l);
}

static int
wait_ms(const struct loop *l, uint64_t turn_ms)
{
	uint64_t ms = NUM_MIN(turn_ms, wheel_wait(l->wheel, l->now));

	if (l->dirty != NULL || l->dead != NULL || l->again || l->n_resume > 0)
		return 0;
	if (l->rest_until != UINT64_MAX)
		ms = NUM_MIN(ms, l->rest_until > l->now ? l->rest_until - l->now : 0);
	if (ms == UINT64_MAX)
		return -1;
	return (int)NUM_MIN(ms, UINT64_C(3600000));
}

const uint32_t loop_lag_us[LOOP_LAGS - 1] = { 100, 250, 500, 1000, 2500, 5000, 10000, 50000, 250000, 1000000 };

static void
add(_Atomic uint64_t *at, uint64_t n)
{
	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_relaxed);
}

static void
count_turn(struct loop *l, uint64_t ns)
{
	unsigned i = 0;

	while (i < LOOP_LAGS - 1 && ns > (uint64_t)loop_lag_us[i] * 1000)
		i++;
	add(&l->stats.lag[i], 1);
	add(&l->stats.busy_ns, ns);
	if (l->shake_ns > 0)
		add(&l->stats.shake_ns, l->shake_ns);
}

const struct loop_stats *
loop_stats(const struct loop *l)
{
	return &l->stats;
}

static uint64_t
turn(struct loop *l, const struct epoll_event *ev, int n)
{
	uint64_t next, begin_ns = net_now_ns();

	l->now = begin_ns / 1000000;
	l->shake_ns = 0;
	if (l->h->begin != NULL)
		l->h->begin(l->ctx, l->now);
	for (int i = 0; i < n; i++)
		on_event(l, &ev[i]);
	take_posts(l);
	take_arrivals(l);
	resume_reading(l);
	wheel_advance(l->wheel, l->now, on_timer, l);
	l->again = false;
	next = l->h->turn != NULL ? l->h->turn(l->ctx, l->now) : UINT64_MAX;
	flush_dirty(l);
	shake_hands(l);
	bury(l);
	listeners_update(l);
	count_turn(l, net_now_ns() - begin_ns);
	return next;
}

static void
close_all(struct loop *l)
{
	while (l->all != NULL)
		conn_close(l->all, "the broker is shutting down");
}

void
loop_run(struct loop *l)
{
	struct epoll_event ev[EVENTS_A_TURN];
	uint64_t next = 0;
	bool last;

	do {
		int n = epoll_wait(l->epfd, ev, EVENTS_A_TURN, atomic_load(&l->stop) ? 0 : wait_ms(l, next));

		ASSERT(n >= 0 || errno == EINTR);
		/* Read before the turn, and a whole turn follows: what was posted before loop_stop() is still done. */
		last = atomic_load(&l->stop);
		next = turn(l, ev, n);
	} while (!last);
	/* On this thread, while the other loops are still there: what streams say at their end may
	 * wake them. */
	close_all(l);
}

unsigned
loop_connections(const struct loop *l)
{
	return l->n_conns;
}

void
loop_free(struct loop *l)
{
	struct inbox_node *n, *next;

	if (l == NULL)
		return;
	loop_stop_listening(l);
	listeners_bury(l);
	for (n = inbox_take(&l->arrivals); n != NULL; n = next) {
		struct conn *c = conn_of_arrival(n);

		next = n->next;
		c->next = l->all;
		c->prev = &l->all;
		if (c->next != NULL)
			c->next->prev = &c->next;
		l->all = c;
		l->n_conns++;
	}
	close_all(l);
	for (n = inbox_take(&l->posts); n != NULL; n = next) {
		next = n->next;
		free(n);
	}
	while (l->dead != NULL)
		conn_free(l->dead);
	tls_bio_free(l->bio);
	wheel_free(l->wheel);
	free(l->io.out);
	free(l->peers);
	if (l->wake.fd != -1)
		(void)close(l->wake.fd);
	if (l->shakes_fd.fd != -1)
		(void)close(l->shakes_fd.fd);
	if (l->epfd != -1)
		(void)close(l->epfd);
	free(l);
}
