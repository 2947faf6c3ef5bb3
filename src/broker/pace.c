/* Rates: how many messages and bytes a second a client may publish and is sent, alone and together with all of its listener.
 * Each is a token bucket that holds one second. Who publishes more is not read from until he may again; what comes too fast for
 * a subscriber waits in its queue. Clients of a listener without rates have no pace, and pay one comparison. */
#include <stdlib.h>
#include "broker/internal.h"

enum { NS = 1000000000, NS_MS = 1000000 };

struct pace {
	struct timer timer;  /* on the shard's paces wheel: the sooner of the two below */
	struct client *client;
	uint64_t in_ms, out_ms; /* until when nothing is read, or no message sent; 0 = now */
	uint64_t at[BROKER_RATES];
};

static uint64_t
now_ns(const struct shard *sh)
{
	return sh->now_ms * NS_MS;
}

/* The state of a bucket is the time at which it is full again plus a second; <n> are taken out, even if there are fewer. */
static uint64_t
take(uint64_t at, uint64_t now, uint64_t rate, uint64_t n)
{
	uint64_t oldest = now > NS ? now - NS : 0;

	return NUM_MAX(at, oldest) + n * NS / rate;
}

/* From when on there is one of <rate> a second again. */
static uint64_t
due_ms(uint64_t at, uint64_t rate)
{
	return (at + NS / rate + NS_MS - 1) / NS_MS;
}

/* All clients of a listener share it, on whichever shard they are. */
static uint64_t
take_shared(_Atomic uint64_t *at, uint64_t now, uint64_t rate, uint64_t n)
{
	uint64_t old = atomic_load_explicit(at, memory_order_relaxed), new;

	do
		new = take(old, now, rate, n);
	while (!atomic_compare_exchange_weak_explicit(at, &old, new, memory_order_relaxed, memory_order_relaxed));
	return new;
}

/* Take <n> from both buckets of <rate>. Returns when the next may come; 0: now. *ret_over: more than the client's own had. */
static uint64_t
charge(struct client *c, enum broker_rate rate, uint64_t n, bool *ret_over)
{
	const struct shard *sh = c->shard;
	const struct broker_listener *l = listener_of(sh, c->listener);
	uint64_t due = 0, shared = 0;

	if (l->client_rates[rate] != 0) {
		c->pace->at[rate] = take(c->pace->at[rate], now_ns(sh), l->client_rates[rate], n);
		*ret_over |= c->pace->at[rate] > now_ns(sh);
		if (!l->rate_disconnects || rate >= BROKER_MESSAGES_OUT)
			due = due_ms(c->pace->at[rate], l->client_rates[rate]);
	}
	if (l->rates[rate] != 0)
		shared = due_ms(take_shared(&sh->broker->paces[c->listener].at[rate], now_ns(sh), l->rates[rate], n), l->rates[rate]);
	due = NUM_MAX(due, shared);
	return due > sh->now_ms ? due : 0;
}

static void
arm(struct pace *p)
{
	uint64_t due = p->in_ms;

	if (due == 0 || (p->out_ms != 0 && p->out_ms < due))
		due = p->out_ms;
	timer_set(p->client->shard->paces_wheel, &p->timer, due);
}

bool
pace_in(struct client *c, size_t bytes)
{
	bool over = false;
	uint64_t messages_ms = charge(c, BROKER_MESSAGES_IN, 1, &over);
	uint64_t bytes_ms = charge(c, BROKER_BYTES_IN, bytes, &over);

	if (over && listener_of(c->shard, c->listener)->rate_disconnects)
		return client_fail(c, MQTT_RC_RATE, "publishes more than client_rate_in_messages or client_rate_in_bytes");
	if (messages_ms == 0 && bytes_ms == 0)
		return true;
	stat_add(c->shard, paced, 1);
	c->pace->in_ms = NUM_MAX(messages_ms, bytes_ms);
	hold(c, HELD_RATE);
	arm(c->pace);
	return true;
}

bool
pace_may_send(const struct client *c)
{
	return c->pace->out_ms == 0 || c->state == CLIENT_CLOSING;
}

void
pace_out(struct client *c, size_t bytes)
{
	bool over = false;
	uint64_t messages_ms = charge(c, BROKER_MESSAGES_OUT, 1, &over);
	uint64_t bytes_ms = charge(c, BROKER_BYTES_OUT, bytes, &over);

	if (messages_ms == 0 && bytes_ms == 0)
		return;
	c->pace->out_ms = NUM_MAX(messages_ms, bytes_ms);
	arm(c->pace);
}

bool
pace_is_slow(const struct client *c)
{
	return c->pace != NULL && c->pace->out_ms != 0;
}

void
pace_timer(void *shard, struct timer *t)
{
	struct pace *p = (void *)((char *)t - offsetof(struct pace, timer));
	const struct shard *sh = shard;

	if (p->in_ms != 0 && p->in_ms <= sh->now_ms) {
		p->in_ms = 0;
		release(p->client, HELD_RATE);
	}
	if (p->out_ms != 0 && p->out_ms <= sh->now_ms) {
		p->out_ms = 0;
		wake(&p->client->waker);
	}
	if (p->in_ms != 0 || p->out_ms != 0)
		arm(p);
}

static bool
is_paced(const struct broker_listener *l)
{
	for (unsigned i = 0; i < BROKER_RATES; i++)
		if (l->client_rates[i] != 0 || l->rates[i] != 0)
			return true;
	return false;
}

bool
pace_begin(struct client *c)
{
	if (!is_paced(listener_of(c->shard, c->listener)))
		return true;
	/* Not before somebody needs it: it costs something each turn. */
	if (c->shard->paces_wheel == NULL && (c->shard->paces_wheel = wheel_new(c->shard->now_ms)) == NULL)
		return false;
	if ((c->pace = calloc(1, sizeof *c->pace)) == NULL)
		return false;
	c->pace->client = c;
	return true;
}

void
pace_forget(struct client *c)
{
	if (c->pace == NULL)
		return;
	timer_cancel(c->shard->paces_wheel, &c->pace->timer);
	free(c->pace);
	c->pace = NULL;
}

/* Other settings: buckets are full again, and nobody is held by what held him before. */
void
paces_renew(struct shard *sh)
{
	for (struct client *c = sh->clients, *next; c != NULL; c = next) {
		next = c->next;
		if (c->state != CLIENT_OPEN)
			continue;
		pace_forget(c);
		release(c, HELD_RATE);
		wake(&c->waker);
		if (!pace_begin(c))
			client_end(c, MQTT_RC_UNSPECIFIED, "out of memory", false);
	}
}
