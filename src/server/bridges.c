/* Bridges while the server runs: when to connect, where to, and what to do when it fails. A bridge lives on the worker where
 * its session here is at home. */
#include "server/bridges.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "server/internal.h"

enum {
	NEXT_MS = 100,        /* between one address and the next */
	DIAL_MS = 10000,      /* TCP and TLS together */
	LAZY_MS = 250,        /* how often a lazy bridge looks whether something waits */
	PRIMARY_MS = 10000,   /* how often the first address is tried while another serves */
};

/* A name that is being looked up by a thread of its own, as getaddrinfo() blocks. */
struct lookup {
	pthread_mutex_t lock;
	struct runner *runner; /* NULL: nobody waits any more; under the lock */
	unsigned refs;         /* under the lock */
	char host[256];
	uint16_t port;
	int n;
	struct sockaddr_storage addr[FOUND_MAX];
	socklen_t len[FOUND_MAX];
	struct err err;
};

static const struct config_address *
address_of(const struct runner *r)
{
	return &r->plan->config.addresses[r->at];
}

/* ---- lookups ---- */

static void
lookup_unref(struct lookup *l)
{
	unsigned left;

	(void)pthread_mutex_lock(&l->lock);
	left = --l->refs;
	(void)pthread_mutex_unlock(&l->lock);
	if (left > 0)
		return;
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

static void on_found(void *ctx, void *arg);

static void *
lookup_main(void *arg)
{
	struct lookup *l = arg;

	l->n = net_resolve(l->host, l->port, AF_UNSPEC, l->addr, l->len, FOUND_MAX, &l->err);
	(void)pthread_mutex_lock(&l->lock);
	/* Without memory for a letter the bridge's own deadline helps. */
	if (l->runner != NULL)
		(void)loop_post(l->runner->worker->loop, on_found, l->runner);
	(void)pthread_mutex_unlock(&l->lock);
	lookup_unref(l);
	return NULL;
}

static bool
lookup_start(struct runner *r)
{
	const struct config_address *a = address_of(r);
	struct lookup *l = calloc(1, sizeof(*l));
	pthread_attr_t attr;
	pthread_t thread;
	bool ok;

	if (l == NULL || pthread_mutex_init(&l->lock, NULL) != 0) {
		free(l);
		return false;
	}
	l->runner = r;
	l->refs = 2;
	l->port = a->port;
	(void)snprintf(l->host, sizeof(l->host), "%s", a->host);
	ok = pthread_attr_init(&attr) == 0;
	if (ok) {
		ok = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0 &&
		     pthread_create(&thread, &attr, lookup_main, l) == 0;
		(void)pthread_attr_destroy(&attr);
	}
	if (!ok) {
		(void)pthread_mutex_destroy(&l->lock);
		free(l);
		return false;
	}
	r->lookup = l;
	return true;
}

void
runner_forget_lookup(struct runner *r)
{
	struct lookup *l = r->lookup;

	if (l == NULL)
		return;
	(void)pthread_mutex_lock(&l->lock);
	l->runner = NULL;
	(void)pthread_mutex_unlock(&l->lock);
	r->lookup = NULL;
	lookup_unref(l);
}

/* An address in digits needs nobody's help. */
static bool
in_digits(struct runner *r)
{
	const struct config_address *a = address_of(r);
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&r->addr[0];
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&r->addr[0];

	memset(&r->addr[0], 0, sizeof(r->addr[0]));
	r->found = 0;
	r->found_n = 1;
	if (inet_pton(AF_INET, a->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(a->port);
		r->len[0] = sizeof(*v4);
		return true;
	}
	memset(&r->addr[0], 0, sizeof(r->addr[0]));
	if (inet_pton(AF_INET6, a->host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(a->port);
		r->len[0] = sizeof(*v6);
		return true;
	}
	return false;
}

/* ---- connecting ---- */

void
runner_wait(struct runner *r, uint64_t due_ms)
{
	r->state = RUN_WAIT;
	r->due_ms = due_ms;
	loop_wake(r->worker->loop);
}

/* Decorrelated jitter: between the base and three times the last pause, at most the cap. */
static uint64_t
pause_ms(struct runner *r)
{
	uint64_t base = (uint64_t)r->plan->config.restart_base * 1000, cap = (uint64_t)r->plan->config.restart_cap * 1000;
	uint64_t high = NUM_MIN(cap, NUM_MAX(base, r->wait_ms * 3)), random = 0;

	random_bytes(&random, sizeof(random));
	r->wait_ms = high > base ? base + random % (high - base + 1) : base;
	return r->wait_ms;
}

/* No connection, or no longer one. */
static void
ended(struct runner *r)
{
	const struct config_bridge *c = &r->plan->config;

	if (r->state == RUN_OFF)
		return;
	/* Only a connection that lasted makes the next pause a short one again. */
	if (r->was_up && r->now_ms - r->up_ms >= (uint64_t)c->restart_stable * 1000)
		r->wait_ms = 0;
	r->found_n = 0;
	if (r->removed || (c->start_type == CONFIG_START_ONCE && r->was_up)) {
		r->state = RUN_OFF;
		return;
	}
	r->tried++;
	if (!r->was_up || c->round_robin)
		r->at = (r->at + 1) % c->n_addresses;
	else
		r->at = 0;
	if (!r->was_up && r->tried < c->n_addresses) {
		runner_wait(r, r->now_ms + NEXT_MS);
		return;
	}
	if (c->start_type == CONFIG_START_ONCE) {
		r->state = RUN_OFF;
		return;
	}
	r->tried = 0;
	if (!c->round_robin)
		r->at = 0;
	runner_wait(r, r->now_ms + pause_ms(r));
}

static bool dial(struct runner *r, struct call *call, const struct sockaddr_storage *addr, socklen_t len);

/* One address did not do. */
static void
not_this(struct runner *r, const char *why, const char *remedy)
{
	const struct config_address *a = address_of(r);

	log_warning("Bridge %s cannot connect to %s:%u: %s%s%s.", r->plan->config.name, a->host, a->port, why,
	    remedy != NULL ? ". Remedy: " : "", remedy != NULL ? remedy : "");
	while (++r->found < r->found_n && !r->removed)
		if (dial(r, &r->call, &r->addr[r->found], r->len[r->found])) {
			r->state = RUN_DIAL;
			return;
		}
	r->was_up = false;
	ended(r);
}

static bool
dial(struct runner *r, struct call *call, const struct sockaddr_storage *addr, socklen_t len)
{
	const struct config_bridge *c = &r->plan->config;
	struct sockaddr_storage from = { .ss_family = addr->ss_family };
	struct net_dial d = { .addr = (const struct sockaddr *)addr,
		.len = len,
		.tls = call->probe ? NULL : r->plan->tls,
		.name = address_of(r)->host,
		.dialled = call,
		.timeout_ms = DIAL_MS,
		.silent_ms = (unsigned)c->tcp_user_timeout,
		.keepalive = { c->tcp_keepalive[0], c->tcp_keepalive[1], c->tcp_keepalive[2] } };
	struct err err = { 0 };

	if (c->bind_address != NULL) {
		void *in = addr->ss_family == AF_INET ? (void *)&((struct sockaddr_in *)(void *)&from)->sin_addr
						      : (void *)&((struct sockaddr_in6 *)(void *)&from)->sin6_addr;

		if (inet_pton(addr->ss_family, c->bind_address, in) != 1) {
			log_warning("Bridge %s: bridge_bind_address %s is not an address of this family.", c->name, c->bind_address);
			return false;
		}
		d.from = (struct sockaddr *)&from;
		d.from_len = len;
	}
	if (loop_connect(r->worker->loop, &d, &err))
		return true;
	log_warning("Bridge %s: %s.", c->name, err.text);
	return false;
}

static void
dial_first(struct runner *r)
{
	if (r->at == 0) {
		r->primary = r->addr[0];
		r->primary_n = r->len[0];
	}
	r->found = -1;
	while (++r->found < r->found_n)
		if (dial(r, &r->call, &r->addr[r->found], r->len[r->found])) {
			r->state = RUN_DIAL;
			return;
		}
	r->was_up = false;
	ended(r);
}

static void
on_found(void *ctx, void *arg)
{
	struct runner *r = arg;
	struct lookup *l = r->lookup;

	(void)ctx;
	if (l == NULL || r->state != RUN_LOOKUP)
		return;
	r->found = r->found_n = 0;
	if (l->n > 0) {
		memcpy(r->addr, l->addr, sizeof(r->addr));
		memcpy(r->len, l->len, sizeof(r->len));
		r->found_n = l->n;
		runner_forget_lookup(r);
		dial_first(r);
		return;
	}
	not_this(r, l->n == 0 ? "the name has no address" : l->err.text, NULL);
	runner_forget_lookup(r);
}

static void
take_plan(struct runner *r)
{
	struct bridge_plan *old = r->plan;

	if (r->coming == NULL)
		return;
	r->plan = r->coming;
	r->coming = NULL;
	bridge_configure(r->bridge, &r->plan->bridge);
	/* What the old session was subscribed to and is not wanted any more goes. */
	if (!bridge_prime(r->bridge, old->config.topics, old->config.n_topics))
		log_warning("Bridge %s has no session here.", r->plan->config.name);
	bridge_plan_free(old);
	r->at = 0;
}

static void
begin(struct runner *r)
{
	take_plan(r);
	r->was_up = false;
	log_notice("Connecting bridge %s (%s:%u).", r->plan->config.name, address_of(r)->host, address_of(r)->port);
	if (in_digits(r)) {
		dial_first(r);
		return;
	}
	r->found_n = 0;
	r->state = RUN_LOOKUP;
	if (!lookup_start(r))
		not_this(r, "no thread to look the name up", NULL);
}

/* ---- what net says ---- */

void *
bridges_open(const struct net_peer *peer, const struct waker *w, const struct stream_ops **ret_ops)
{
	struct call *call = peer->dialled;
	struct runner *r = call->runner;
	void *stream;

	if (call->probe) {
		r->probing = false;
		if (r->state == RUN_LINK) {
			log_notice("Bridge %s: the first address answers again.", r->plan->config.name);
			bridge_stop(r->bridge);
		}
		return NULL;
	}
	if (r->state != RUN_DIAL || r->removed || (stream = bridge_link(r->bridge, w, r->now_ms)) == NULL) {
		ended(r);
		return NULL;
	}
	r->state = RUN_LINK;
	r->found_n = 0;
	*ret_ops = &bridge_stream;
	return stream;
}

void
bridges_failed(const struct net_peer *peer, const struct net_failure *f)
{
	const struct call *call = peer->dialled;
	struct runner *r = call->runner;
	char text[200];

	if (call->probe) {
		r->probing = false;
		return;
	}
	if (r->state != RUN_DIAL)
		return;
	if (f->kind == NET_FAIL_VERIFY) {
		(void)snprintf(text, sizeof(text), "its certificate is refused: %s", f->detail);
		not_this(r, text, "bridge_cafile must have the CA of that certificate, and the certificate must have the name in `address`");
		return;
	}
	if (f->kind == NET_FAIL_ALERT) {
		(void)snprintf(text, sizeof(text), "it ended the TLS handshake: %s", f->detail);
		not_this(r, text, NULL);
		return;
	}
	not_this(r, f->detail, NULL);
}

/* ---- what the bridge says ---- */

static void *
local_open(void *ctx, const struct waker *w, const struct stream_ops **ret_ops)
{
	struct runner *r = ctx;
	char peer[100];

	(void)snprintf(peer, sizeof(peer), "bridge %s", r->plan->config.name);
	*ret_ops = &client_stream;
	return client_new(r->worker->shard, r->server->n_listeners, authz_principal_ref(r->who), peer, w);
}

static void
on_up(void *ctx, bool present)
{
	struct runner *r = ctx;

	r->was_up = true;
	r->tried = 0;
	r->up_ms = r->now_ms;
	if (r->plan->config.restart_stable == 0)
		r->wait_ms = 0;
	r->probe_ms = r->now_ms + PRIMARY_MS;
	log_notice("Bridge %s is connected to %s:%u%s.", r->plan->config.name, address_of(r)->host, address_of(r)->port,
	    present ? ", which has kept its session" : "");
}

static void
on_down(void *ctx, const char *why)
{
	struct runner *r = ctx;

	log_notice("Bridge %s is not connected to %s:%u any more: %s.", r->plan->config.name, address_of(r)->host,
	    address_of(r)->port, why);
	if (bridge_was_refused_as_bridge(r->bridge) && !r->was_up) {
		runner_wait(r, r->now_ms + NEXT_MS);
		return;
	}
	if (r->coming != NULL && r->coming->config.reload_type != 0 && r->state == RUN_LINK && !r->removed)
		runner_wait(r, r->now_ms);
	else if (r->was_up && r->state == RUN_LINK && r->at != 0 && !r->plan->config.round_robin && !r->removed &&
		 strcmp(why, "the bridge was stopped") == 0) {
		r->at = 0;
		runner_wait(r, r->now_ms);
	} else if (r->was_up && r->plan->config.start_type == CONFIG_START_LAZY && !r->removed && r->state == RUN_LINK)
		runner_wait(r, r->now_ms);
	else
		ended(r);
}

static void
on_warn(void *ctx, const char *text)
{
	struct runner *r = ctx;

	log_warning("Bridge %s: %s.", r->plan->config.name, text);
}

/* ---- time ---- */

static uint64_t
linked(struct runner *r, uint64_t now_ms)
{
	const struct config_bridge *c = &r->plan->config;
	uint64_t due = bridge_turn(r->bridge, now_ms), idle;

	if (c->start_type == CONFIG_START_LAZY) {
		idle = bridge_last_ms(r->bridge) + (uint64_t)c->idle_timeout * 1000;
		if (now_ms >= idle)
			bridge_stop(r->bridge);
		else
			due = NUM_MIN(due, idle);
	}
	if (r->at == 0 || c->round_robin || r->primary_n == 0)
		return due;
	if (now_ms >= r->probe_ms && !r->probing) {
		r->probe_ms = now_ms + PRIMARY_MS;
		r->probing = dial(r, &r->probe, &r->primary, r->primary_n);
	}
	return NUM_MIN(due, r->probe_ms);
}

static uint64_t
waiting(struct runner *r, uint64_t now_ms)
{
	const struct config_bridge *c = &r->plan->config;

	if (c->start_type == CONFIG_START_MANUAL)
		return UINT64_MAX;
	if (now_ms < r->due_ms)
		return r->due_ms;
	if (c->start_type == CONFIG_START_LAZY && r->tried == 0 &&
	    shard_waiting(r->worker->shard, slice_str(r->plan->local_id)) < (uint64_t)c->threshold)
		return now_ms + LAZY_MS;
	begin(r);
	return r->state == RUN_WAIT ? r->due_ms : UINT64_MAX;
}

void
runner_prime(struct runner *r)
{
	r->primed = true;
	if (!bridge_prime(r->bridge, NULL, 0))
		log_warning("Bridge %s has no session here.", r->plan->config.name);
	if (r->plan->config.start_type == CONFIG_START_MANUAL)
		log_notice("Bridge %s is not started: start_type is manual.", r->plan->config.name);
}

static uint64_t
runner_turn(struct runner *r, uint64_t now_ms)
{
	r->now_ms = now_ms;
	if (!r->primed)
		runner_prime(r);
	switch (r->state) {
	case RUN_WAIT:
		return waiting(r, now_ms);
	case RUN_LINK:
		return linked(r, now_ms);
	case RUN_LOOKUP:
	case RUN_DIAL:
	case RUN_OFF:
		break;
	}
	return UINT64_MAX;
}

/* What arrives after a long sleep must not be taken for old. */
void
bridges_begin(struct worker *w, uint64_t now_ms)
{
	for (struct runner *r = w->bridges; r != NULL; r = r->next) {
		r->now_ms = now_ms;
		bridge_begin(r->bridge, now_ms);
	}
}

uint64_t
bridges_turn(struct worker *w, uint64_t now_ms)
{
	uint64_t due = UINT64_MAX;

	for (struct runner *r = w->bridges; r != NULL; r = r->next)
		due = NUM_MIN(due, runner_turn(r, now_ms));
	return due == UINT64_MAX ? due : due > now_ms ? due - now_ms : 0;
}

void
bridges_leave(struct worker *w)
{
	for (struct runner *r = w->bridges; r != NULL; r = r->next) {
		bridge_stop(r->bridge);
		r->state = RUN_OFF;
	}
}

struct bridge_ports
runner_ports(struct runner *r)
{
	return (struct bridge_ports){
		.ctx = r, .local_open = local_open, .up = on_up, .down = on_down, .warn = on_warn };
}
