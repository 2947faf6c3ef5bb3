/* What is given up while memory is short, in this order: QoS 0 for those who do not read, new connections, reading from
 * publishers, messages for those who are away. The server measures and says how short it is; between two measurements a shard
 * that takes in much stops by itself. */
#include "broker/internal.h"

enum {
	SHED_OUT_BYTES = 64 * 1024,   /* unsent output of a connection above which QoS 0 is dropped, while memory is short */
	SHED_PATIENCE_MS = 30000,     /* a publisher that was not read from for so long is ended: it can go elsewhere */
};

void
broker_shed(struct broker *b, enum broker_shed level, uint64_t allowance)
{
	bool same = atomic_exchange_explicit(&b->shed.level, (uint8_t)level, memory_order_relaxed) == (uint8_t)level;

	atomic_store_explicit(&b->shed.allowance, allowance, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&b->shed.seq, 1, memory_order_release);
	/* Who was stopped by his allowance has a new one. */
	if (!atomic_exchange_explicit(&b->shed.stopped, false, memory_order_relaxed) && same)
		return;
	for (unsigned i = 0; i < b->n_shards; i++)
		b->ports.wake(b->ports.ctx, i);
}

static uint64_t
taken_in(const struct shard *sh)
{
	return atomic_load_explicit(&sh->stats.bytes_in, memory_order_relaxed);
}

void
shed_take(struct shard *sh)
{
	struct shed *b = &sh->broker->shed;
	uint32_t seq = atomic_load_explicit(&b->seq, memory_order_acquire);

	if (seq == 0) /* there is no limit */
		return;
	if (seq != sh->shed_seq) {
		sh->shed_seq = seq;
		sh->shed_mark = taken_in(sh);
		sh->shed = atomic_load_explicit(&b->level, memory_order_relaxed);
	} else if (sh->shed < BROKER_SHED_PUBLISHERS &&
		   taken_in(sh) - sh->shed_mark > atomic_load_explicit(&b->allowance, memory_order_relaxed)) {
		sh->shed = BROKER_SHED_PUBLISHERS;
		atomic_store_explicit(&b->stopped, true, memory_order_relaxed);
	}
	if (sh->shed >= BROKER_SHED_PUBLISHERS && sh->shed_since_ms == 0)
		sh->shed_since_ms = sh->now_ms;
}

void
shed_turn(struct shard *sh)
{
	bool over = sh->shed < BROKER_SHED_PUBLISHERS;

	if (sh->shed_since_ms == 0 || (!over && sh->now_ms - sh->shed_since_ms < SHED_PATIENCE_MS))
		return;
	for (struct client *c = sh->clients, *next; c != NULL; c = next) {
		next = c->next;
		if (over)
			release(c, HELD_MEMORY);
		else if ((c->held & HELD_MEMORY) != 0 && !listener_of(sh, c->listener)->bridges)
			client_end(c, MQTT_RC_QUOTA, "memory_limit is reached, and it was not read from for 30 s", false);
	}
	sh->shed_since_ms = over ? 0 : sh->now_ms;
}

uint64_t
shed_wait(const struct shard *sh)
{
	uint64_t due = sh->shed_since_ms + SHED_PATIENCE_MS;

	if (sh->shed_since_ms == 0)
		return UINT64_MAX;
	return due > sh->now_ms ? due - sh->now_ms : 0;
}

size_t
shed_out_max(const struct shard *sh)
{
	size_t max = settings_of(sh)->max_out_bytes;

	return NUM_MIN(max, (size_t)SHED_OUT_BYTES);
}
