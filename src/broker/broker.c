/* What all shards share: settings, listener tables, the list of shards. */
#include <stdlib.h>
#include "broker/internal.h"

void
broker_settings_default(struct broker_settings *s)
{
	*s = (struct broker_settings){
		.max_packet_size = 2000000,
		.max_queued_messages = 1000,
		.max_inflight = 20,
		.receive_maximum = 20,
		.topic_alias_max_in = 10,
		.topic_alias_max_out = 10,
		.max_session_expiry = UINT32_MAX,
		.connect_timeout_ms = 10000,
		.drop_log_s = 60,
		.flap_hold_s = 300,
		.max_qos = 2,
		.retain_available = true,
		.check_retain_source = true,
		.allow_empty_client_id = true,
		.max_out_bytes = 4u << 20,
	};
}

static struct listener_table *
listener_table_new(const struct broker_listener *v, unsigned n, uint32_t generation)
{
	struct listener_table *t = calloc(1, sizeof *t + n * sizeof *v);

	if (t == NULL)
		return NULL;
	atomic_init(&t->refs, 1);
	t->generation = generation;
	t->n = n;
	for (unsigned i = 0; i < n; i++) {
		t->v[i] = v[i];
		authz_policy_ref(t->v[i].policy);
	}
	return t;
}

void
listener_table_unref(struct listener_table *t)
{
	if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < t->n; i++)
		authz_policy_unref(t->v[i].policy);
	free(t);
}

/* Held for a few instructions, on reload and when a shard notices it: never on the path of a message. */
static void
lock(struct broker *b)
{
	while (atomic_exchange_explicit(&b->listeners_lock, true, memory_order_acquire))
		;
}

static void
unlock(struct broker *b)
{
	atomic_store_explicit(&b->listeners_lock, false, memory_order_release);
}

struct listener_table *
broker_listeners(struct broker *b)
{
	struct listener_table *t;

	lock(b);
	t = b->newest;
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	unlock(b);
	return t;
}

bool
broker_set_listeners(struct broker *b, const struct broker_listener *v, unsigned n)
{
	struct listener_table *t, *old;
	uint32_t generation = atomic_load_explicit(&b->generation, memory_order_relaxed) + 1;

	if (n != b->newest->n || (t = listener_table_new(v, n, generation)) == NULL)
		return false;
	/* Subscriptions were made under them. */
	for (unsigned i = 0; i < n; i++)
		memcpy(t->v[i].mount_point, b->newest->v[i].mount_point, sizeof t->v[i].mount_point);
	lock(b);
	old = b->newest;
	b->newest = t;
	unlock(b);
	atomic_store_explicit(&b->generation, generation, memory_order_release);
	listener_table_unref(old);
	for (unsigned i = 0; i < b->n_shards; i++)
		b->ports.wake(b->ports.ctx, i);
	return true;
}

struct broker *
broker_new(unsigned n_shards, const struct broker_settings *s, const struct broker_listener *listeners,
    unsigned n_listeners, const struct broker_ports *ports)
{
	struct broker *b = calloc(1, sizeof *b);

	if (b == NULL)
		return NULL;
	b->settings = *s;
	b->ports = *ports;
	b->n_shards = n_shards;
	b->shards = calloc(n_shards, sizeof *b->shards);
	b->interest = calloc((size_t)n_shards * INTEREST_SLOTS, sizeof *b->interest);
	b->paces = calloc(n_listeners, sizeof *b->paces);
	b->crowd = crowd_new();
	b->newest = listener_table_new(listeners, n_listeners, 0);
	if (b->shards == NULL || b->interest == NULL || b->paces == NULL || b->crowd == NULL || b->newest == NULL) {
		broker_free(b);
		return NULL;
	}
	for (unsigned i = 0; i < n_shards; i++)
		if ((b->shards[i] = shard_new(b, i)) == NULL) {
			broker_free(b);
			return NULL;
		}
	return b;
}

void
broker_free(struct broker *b)
{
	if (b == NULL)
		return;
	for (unsigned i = 0; b->shards != NULL && i < b->n_shards; i++)
		shard_settle(b->shards[i]);
	for (unsigned i = 0; b->shards != NULL && i < b->n_shards; i++)
		shard_free(b->shards[i]);
	listener_table_unref(b->newest);
	free(b->interest);
	free(b->paces);
	crowd_free(b->crowd);
	free(b->shards);
	once_done(&b->once);
	notes_done(b);
	free(b);
}

struct shard *
broker_shard(struct broker *b, unsigned index)
{
	return b->shards[index];
}
