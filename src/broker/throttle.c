/* Back-pressure between shards, and from the store: letters to a shard that cannot keep up are bounded in bytes. QoS 0 is dropped, publishers of
 * QoS 1 and 2 are not read from; whoever does not publish towards it notices nothing. */
#include "broker/internal.h"

static size_t
backlog(const struct broker *b, unsigned shard)
{
	return atomic_load_explicit(&b->shards[shard]->backlog, memory_order_relaxed);
}

bool
throttle_is_full(const struct broker *b, unsigned to)
{
	return backlog(b, to) > BACKLOG_FULL;
}

static bool
any_above(const struct shard *sh, size_t limit)
{
	const struct broker *b = sh->broker;

	for (unsigned i = 0; i < b->n_shards; i++)
		if (i != sh->index && backlog(b, i) > limit)
			return true;
	return false;
}

void
hold(struct client *c, enum held why)
{
	if (c->held == 0)
		c->waker.ops->read_enable(c->waker.conn, false);
	c->held |= (uint8_t)why;
}

void
release(struct client *c, enum held why)
{
	if ((c->held & why) == 0)
		return;
	c->held &= (uint8_t)~why;
	if (c->held != 0)
		return;
	/* What it has sent meanwhile was not looked at. */
	c->last_rx_ms = c->shard->now_ms;
	c->waker.ops->read_enable(c->waker.conn, true);
}

void
throttle(struct client *c)
{
	struct shard *sh = c->shard;

	if ((c->held & HELD_BACKLOG) != 0 || (!sh->journal.behind && !any_above(sh, BACKLOG_HIGH)))
		return;
	c->next_throttled = sh->throttled;
	sh->throttled = c;
	hold(c, HELD_BACKLOG);
}

void
throttle_forget(struct client *c)
{
	struct client **at = &c->shard->throttled;

	if ((c->held & HELD_BACKLOG) == 0)
		return;
	while (*at != c)
		at = &(*at)->next_throttled;
	*at = c->next_throttled;
	c->held &= (uint8_t)~HELD_BACKLOG;
}

bool
throttle_turn(struct shard *sh)
{
	if (sh->throttled == NULL || sh->journal.behind || any_above(sh, BACKLOG_LOW))
		return sh->throttled != NULL;
	while (sh->throttled != NULL) {
		struct client *c = sh->throttled;

		sh->throttled = c->next_throttled;
		release(c, HELD_BACKLOG);
	}
	return false;
}
