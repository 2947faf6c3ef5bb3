/* Back-pressure between shards: letters to a shard that cannot keep up are bounded in bytes. QoS 0 is dropped, publishers of
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
throttle(struct client *c)
{
	struct shard *sh = c->shard;

	if (sh->broker->n_shards == 1 || c->throttled || !any_above(sh, BACKLOG_HIGH))
		return;
	c->throttled = true;
	c->next_throttled = sh->throttled;
	sh->throttled = c;
	if (!c->paused)
		c->waker.ops->read_enable(c->waker.conn, false);
}

void
throttle_forget(struct client *c)
{
	struct client **at = &c->shard->throttled;

	if (!c->throttled)
		return;
	while (*at != c)
		at = &(*at)->next_throttled;
	*at = c->next_throttled;
	c->throttled = false;
}

bool
throttle_turn(struct shard *sh)
{
	if (sh->throttled == NULL || any_above(sh, BACKLOG_LOW))
		return sh->throttled != NULL;
	while (sh->throttled != NULL) {
		struct client *c = sh->throttled;

		sh->throttled = c->next_throttled;
		c->throttled = false;
		if (!c->paused)
			c->waker.ops->read_enable(c->waker.conn, true);
	}
	return false;
}
