/* The event loop, and the phases of each mode. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "bench.h"

enum { EVENTS = 256, SETUP_S = 300, CLOSE_MS = 1000, SETTLE_MS = 300, ACKS_CAP = 64 * 1024 };

static uint64_t
ns_of(double seconds)
{
	return (uint64_t)(seconds * (double)NS_PER_S);
}

static void
nap(unsigned us)
{
	struct timespec t = { us / 1000000, (long)(us % 1000000) * 1000 };

	(void)nanosleep(&t, NULL); /* an early end does no harm */
}

/* One round of the loop, at the longest until <until>. */
static void
turn(struct bench *b, uint64_t until)
{
	struct epoll_event events[EVENTS];
	struct timespec t;
	uint64_t wait, limit = (uint64_t)b->n_pubs * b->deliveries * b->o.window / 8;
	int n;

	b->now = now_ns();
	wait = until > b->now ? until - b->now : 0;
	t = (struct timespec){ (time_t)(wait / NS_PER_S), (long)(wait % NS_PER_S) };
	n = epoll_pwait2(b->epfd, events, EVENTS, &t, NULL);
	b->now = now_ns();
	b->turn_deliveries = 0;
	for (int i = 0; i < n; i++)
		conn_event(events[i].data.ptr, events[i].events);
	load_pump(b);
	/* As a network card moderates interrupts: what comes a little later shares a round. */
	if (b->o.moderate > 0 && n > 0 && b->phase >= PHASE_WARMUP && b->turn_deliveries < limit)
		nap(b->o.moderate);
}

static struct counts
snapshot(const struct bench *b)
{
	struct counts s = b->total;

	s.time = now_ns();
	s.broker_cpu = proc_cpu((pid_t)b->o.pid);
	s.own_cpu = proc_cpu(getpid());
	return s;
}

static unsigned
begin_some(struct bench *b, unsigned from, unsigned end)
{
	while (from < end && b->begun < b->ready + b->o.ramp) {
		conn_start(&b->conns[from++]);
		b->begun++;
	}
	return from;
}

/* Connections <from>..<end>, some at a time, until all are ready. */
static bool
open_all(struct bench *b, unsigned from, unsigned end, struct err *err)
{
	uint64_t until = now_ns() + ns_of(SETUP_S);

	while (b->ready < end) {
		from = begin_some(b, from, end);
		turn(b, now_ns() + ns_of(0.1));
		if (b->faults.failed > 0)
			return err_set(err, ERR_SYSTEM,
			    "%u of %u connections stand, then one failed: is the "
			    "broker at %s port %u, and does it accept the certificate?",
			    b->ready, end, b->o.host, b->o.port);
		if (b->now > until)
			return err_set(err, ERR_SYSTEM,
			    "only %u of %u connections stood after %d s", b->ready, end, SETUP_S);
	}
	return true;
}

static void
close_all(struct bench *b)
{
	uint64_t until = now_ns() + CLOSE_MS * 1000000ull;
	unsigned left = b->n_conns;

	b->phase = PHASE_STOP;
	for (unsigned i = 0; i < b->n_conns; i++)
		if (b->conns[i].state == CONN_READY)
			client_disconnect(&b->conns[i]);
	while (left > 0 && b->now < until) {
		turn(b, now_ns() + ns_of(0.05));
		left = 0;
		for (unsigned i = 0; i < b->n_conns; i++)
			left += b->conns[i].state == CONN_CLOSING;
	}
	for (unsigned i = 0; i < b->n_conns; i++) {
		conn_close(&b->conns[i]);
		tls_free(&b->conns[i]);
	}
}

/* ---- connect ---- */

static void
churn(struct bench *b, double seconds)
{
	uint64_t until = now_ns() + ns_of(seconds);

	while (b->now < until) {
		for (unsigned i = 0; i < b->n_conns; i++)
			if (b->conns[i].fd == -1)
				conn_start(&b->conns[i]);
		/* Where nobody listens, every attempt fails at once: not for the whole time. */
		if (b->faults.failed > b->n_conns && b->total.connects == 0)
			return;
		turn(b, until);
	}
}

static void
run_connect(struct bench *b)
{
	b->phase = PHASE_WARMUP;
	churn(b, b->o.warmup);
	b->phase = PHASE_MEASURE;
	b->from = snapshot(b);
	churn(b, b->o.time);
	b->to = snapshot(b);
}

/* ---- idle ---- */

static bool
run_idle(struct bench *b, struct err *err)
{
	uint64_t until;

	b->rss_from = proc_rss((pid_t)b->o.pid);
	if (!open_all(b, 0, b->n_conns, err))
		return false;
	for (until = now_ns() + SETTLE_MS * 1000000ull; b->now < until;)
		turn(b, until);
	b->phase = PHASE_MEASURE;
	b->from = snapshot(b);
	for (until = now_ns() + ns_of(b->o.time); b->now < until;)
		turn(b, until);
	b->to = snapshot(b);
	b->rss_to = proc_rss((pid_t)b->o.pid);
	return true;
}

/* ---- revoke ---- */

/* How many connections have one of the certificates that are taken back. */
static unsigned
concerned(const struct bench *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->n_conns; i++)
		n += i % b->o.certs < b->o.revoked;
	return n;
}

static bool
run_revoke(struct bench *b, struct err *err)
{
	unsigned want = concerned(b);
	uint64_t until;

	if (!open_all(b, 0, b->n_conns, err))
		return false;
	for (until = now_ns() + SETTLE_MS * 1000000ull; b->now < until;)
		turn(b, until);
	if (b->o.wait) {
		(void)puts("ready");
		(void)fflush(stdout);
		(void)getchar(); /* whatever comes, the end of input too */
	}
	b->from = snapshot(b);
	b->phase = PHASE_MEASURE;
	if (b->o.crl == NULL) {
		(void)puts("begun");
		(void)fflush(stdout);
	} else if (rename(b->o.crl_new, b->o.crl) == -1) {
		return err_sys(err, "cannot rename %s", b->o.crl_new);
	}
	for (until = now_ns() + ns_of(10); b->now < until && b->cut < want;)
		turn(b, now_ns() + ns_of(0.01));
	b->to = snapshot(b);
	/* Who else would have to go later. */
	for (until = now_ns() + ns_of(b->o.time); b->now < until;)
		turn(b, until);
	b->faults.lost = want - NUM_MIN(want, b->cut);
	return true;
}

/* ---- p2p, fanin, fanout ---- */

static void
publish_for(struct bench *b, double seconds)
{
	uint64_t end = now_ns() + ns_of(seconds);

	while (b->now < end && b->faults.failed == 0) {
		if (b->o.rate <= 0) {
			turn(b, end);
			continue;
		}
		load_rate(b);
		turn(b, NUM_MIN(end, NUM_MAX(b->due, b->now + 50000)));
	}
}

/* Until everything has come, or nothing has for a while. */
static void
drain(struct bench *b)
{
	uint64_t left = load_outstanding(b), since = now_ns();

	b->phase = PHASE_DRAIN;
	while (left > 0 && b->faults.failed == 0 && b->now < since + ns_of(b->o.drain)) {
		uint64_t n;

		turn(b, now_ns() + ns_of(0.02));
		n = load_outstanding(b);
		since = n < left ? b->now : since;
		left = n;
	}
	b->faults.lost = 0;
	for (unsigned i = 0; i < b->n_pubs; i++) {
		if (!b->o.away)
			b->faults.lost += b->conns[i].pub.sent * b->deliveries - b->conns[i].pub.delivered;
		b->faults.bad_acks += b->conns[i].pub.inflight;
	}
}

/* The subscribers have subscribed and go: what is published then has to be kept for them. */
static bool
send_away(struct bench *b, struct err *err)
{
	uint64_t until = now_ns() + CLOSE_MS * 1000000ull;
	unsigned left = b->n_subs;

	for (unsigned i = b->n_pubs; i < b->n_conns; i++)
		client_disconnect(&b->conns[i]);
	for (; left > 0 && b->now < until; turn(b, now_ns() + ns_of(0.01))) {
		left = 0;
		for (unsigned i = b->n_pubs; i < b->n_conns; i++)
			left += b->conns[i].fd != -1;
	}
	return left == 0 || err_set(err, ERR_SYSTEM, "%u subscribers were not let go", left);
}

static bool
run_load(struct bench *b, struct err *err)
{
	/* Nobody publishes before all subscribers are there. */
	if (!open_all(b, 0, b->n_conns, err) || (b->o.away && !send_away(b, err)))
		return false;
	b->phase = PHASE_WARMUP;
	b->interval = b->o.rate > 0 ? (uint64_t)((double)NS_PER_S / b->o.rate) : 0;
	b->due = now_ns();
	for (unsigned i = 0; i < b->n_pubs; i++)
		load_mark(&b->conns[i]);
	b->now = now_ns();
	load_pump(b);
	publish_for(b, b->o.warmup);
	b->phase = PHASE_MEASURE;
	b->from = snapshot(b);
	publish_for(b, b->o.time);
	b->to = snapshot(b);
	drain(b);
	return true;
}

/* ---- all ---- */

static bool
prepare(struct bench *b, struct err *err)
{
	const struct options *o = &b->o;
	bool load = o->mode >= MODE_P2P;

	b->n_pubs = o->mode == MODE_P2P ? o->conns : load ? o->pubs : 0;
	b->n_subs = o->mode == MODE_P2P ? o->conns : load ? o->subs : 0;
	b->n_tracks = o->mode == MODE_P2P ? 1 : b->n_pubs;
	b->n_conns = load ? b->n_pubs + b->n_subs : o->conns;
	b->deliveries = o->mode == MODE_FANOUT ? b->n_subs : 1;
	b->plain_cap = 2 * RX_SIZE + PACKET_HEAD_MAX + o->payload;
	b->batch_cap = NUM_MAX((size_t)TX_HIGH, (size_t)PACKET_HEAD_MAX + o->payload);
	b->io.out_cap = TX_HIGH + 4 * TLS_RECORD;
	b->io.out = malloc(b->io.out_cap);
	b->rx = malloc(RX_SIZE);
	b->plain = malloc(b->plain_cap);
	b->batch = malloc(b->batch_cap);
	b->acks = malloc(ACKS_CAP);
	b->conns = calloc(b->n_conns, sizeof *b->conns);
	b->dirty = load ? calloc(b->n_pubs, sizeof(struct conn *)) : NULL;
	if (b->io.out == NULL || b->rx == NULL || b->plain == NULL || b->batch == NULL ||
	    b->acks == NULL || b->conns == NULL || (load && b->dirty == NULL))
		return err_set(err, ERR_MEMORY, "out of memory for %u connections", b->n_conns);
	for (unsigned i = 0; i < b->n_conns; i++) {
		struct conn *c = &b->conns[i];

		c->bench = b;
		c->fd = -1;
		c->number = i;
		c->is_publisher = i < b->n_pubs;
		c->index = c->is_publisher ? i : i - b->n_pubs;
	}
	b->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (b->epfd == -1)
		return err_sys(err, "epoll_create1");
	return (!load || load_init(b, err)) && (!o->tls || tls_init(b, err));
}

bool
bench_run(struct bench *b, struct err *err)
{
	bool good;

	b->epfd = -1;
	good = prepare(b, err);
	if (good && b->o.mode == MODE_CONNECT)
		run_connect(b);
	else if (good)
		good = b->o.mode == MODE_IDLE     ? run_idle(b, err)
		       : b->o.mode == MODE_REVOKE ? run_revoke(b, err)
						  : run_load(b, err);
	if (b->conns != NULL) {
		if (b->epfd != -1)
			close_all(b);
		load_done(b);
	}
	if (b->epfd != -1)
		(void)close(b->epfd);
	tls_done(b);
	free(b->io.out);
	free(b->rx);
	free(b->plain);
	free(b->batch);
	free(b->acks);
	free(b->conns);
	free(b->dirty);
	return good;
}
