/* All the state of one core, and its turn of the loop. */
#include <stdlib.h>
#include "broker/internal.h"

enum { SWEEP_EVERY_MS = 1000 };
static const uint32_t TAGS = 0x7fff;

static uint16_t
policy_tag(uint32_t generation)
{
	return (uint16_t)(0x8000u | (generation & TAGS));
}

struct shard *
shard_new(struct broker *b, unsigned index)
{
	struct shard *sh = calloc(1, sizeof *sh);

	if (sh == NULL)
		return NULL;
	sh->broker = b;
	sh->index = index;
	sh->after_turn = true;
	sh->keep_ops = &keep_memory_ops;
	sh->keep = keep_memory_new();
	sh->subs = trie_new();
	sh->clients_wheel = wheel_new(0);
	sh->sessions_wheel = wheel_new(0);
	sh->flaps = b->settings.flap_connects > 0 ? flaps_new() : NULL;
	sh->outboxes = calloc((size_t)OUTBOXES * b->n_shards, sizeof(struct batch *));
	sh->routes = NULL;
	certs_init(&sh->certs);
	if (b->settings.store != NULL)
		sh->journal.writer = store_writer(b->settings.store, index);
	if (sh->keep != NULL && journal_on(&sh->journal))
		sh->keep_ops->on_expiry(sh->keep, journal_unretained, sh);
	sh->mounted = malloc(MOUNTED_MAX);
	sh->listeners = broker_listeners(b);
	sh->policy_tag = policy_tag(sh->listeners->generation);
	if (sh->keep == NULL || sh->subs == NULL || sh->clients_wheel == NULL || sh->sessions_wheel == NULL ||
	    (b->settings.flap_connects > 0 && sh->flaps == NULL) ||
	    sh->outboxes == NULL || sh->mounted == NULL) {
		shard_free(sh);
		return NULL;
	}
	return sh;
}

void
shard_settle(struct shard *sh)
{
	if (sh == NULL)
		return;
	sh->closing = true;
	orders_take(sh);
}

void
shard_free(struct shard *sh)
{
	size_t pos = 0;

	if (sh == NULL)
		return;
	sh->closing = true;
	logins_done(sh);
	orders_take(sh);
	if (sh->outboxes != NULL)
		mail_done(sh);
	scans_done(sh);
	if (sh->keep != NULL)
		for (struct session *s; (s = sh->keep_ops->session_next(sh->keep, &pos)) != NULL;)
			session_free(s);
	groups_done(sh);
	certs_done(sh);
	shares_done(sh);
	once_shard_done(&sh->journal.once);
	route_done(sh);
	trie_free(sh->subs);
	wheel_free(sh->clients_wheel);
	wheel_free(sh->sessions_wheel);
	wheel_free(sh->paces_wheel);
	if (sh->keep != NULL)
		sh->keep_ops->free(sh->keep);
	listener_table_unref(sh->listeners);
	free(sh->outboxes);
	free(sh->flaps);
	free(sh->mounted);
	free(sh->slots);
	free(sh);
}

/* Tags come round again; nothing that was marked in the round before may count as marked now. */
static void
forget_tags(struct shard *sh)
{
	for (uint32_t i = 0; i < sh->n_slots; i++) {
		if (sh->slots[i].session == NULL)
			continue;
		sh->slots[i].session->judge_all = true;
		sh->slots[i].session->queue_tag = 0;
	}
}

void
shard_renew(struct shard *sh)
{
	uint32_t newest = atomic_load_explicit(&sh->broker->generation, memory_order_acquire);

	if (newest == sh->listeners->generation)
		return;
	if (((newest ^ sh->listeners->generation) & ~TAGS) != 0)
		forget_tags(sh);
	listener_table_unref(sh->listeners);
	sh->listeners = broker_listeners(sh->broker);
	sh->policy_tag = policy_tag(sh->listeners->generation);
	paces_renew(sh);
}

void
shard_begin(struct shard *sh, uint64_t now_ms)
{
	sh->after_turn = false;
	sh->now_ms = now_ms;
	sh->now_s = (uint32_t)(now_ms / 1000);
	shard_renew(sh);
	shed_take(sh);
	gates_turn(sh);
	mail_take(sh);
	logins_take(sh);
	orders_take(sh);
}

uint64_t
shard_turn(struct shard *sh, uint64_t now_ms)
{
	uint64_t wait, other;
	bool more, waits, reviewing;

	shard_begin(sh, now_ms);
	if (now_ms >= sh->sweep_ms) {
		sh->keep_ops->sweep(sh->keep, SWEEP_VISITS, sh->now_s);
		sh->sweep_ms = now_ms + SWEEP_EVERY_MS;
	}
	wheel_advance(sh->clients_wheel, now_ms, client_timer, sh);
	wheel_advance(sh->sessions_wheel, now_ms, session_timer, sh);
	if (sh->paces_wheel != NULL)
		wheel_advance(sh->paces_wheel, now_ms, pace_timer, sh);
	reviewing = reviews_turn(sh);
	more = scans_turn(sh) || reviewing;
	waits = throttle_turn(sh);
	waits = shares_turn(sh) || waits;
	waits = scans_wait(sh) || waits;
	drops_turn(sh);
	shed_turn(sh);
	mail_flush(sh);
	atomic_store_explicit(&sh->stats.backlog, atomic_load_explicit(&sh->backlog, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(&sh->stats.retained_bytes, sh->keep_ops->retain_bytes(sh->keep), memory_order_relaxed);
	atomic_store_explicit(&sh->stats.retained, sh->keep_ops->retain_count(sh->keep), memory_order_relaxed);
	sh->after_turn = true;
	if (more)
		return 0;
	wait = wheel_wait(sh->clients_wheel, now_ms);
	other = wheel_wait(sh->sessions_wheel, now_ms);
	wait = NUM_MIN(wait, other);
	if (sh->paces_wheel != NULL) {
		other = wheel_wait(sh->paces_wheel, now_ms);
		wait = NUM_MIN(wait, other);
	}
	other = drops_wait(sh);
	wait = NUM_MIN(wait, other);
	other = shed_wait(sh);
	wait = NUM_MIN(wait, other);
	if (waits)
		wait = NUM_MIN(wait, (uint64_t)THROTTLED_MS);
	return sh->stats.retained > 0 ? NUM_MIN(wait, (uint64_t)SWEEP_EVERY_MS) : wait;
}

void
shard_disconnect_all(struct shard *sh, uint8_t reason)
{
	sh->stopping = reason == MQTT_RC_SHUTTING_DOWN;
	for (struct client *c = sh->clients, *next; c != NULL; c = next) {
		next = c->next;
		client_end(c, reason, "server shutting down", reason == MQTT_RC_SHUTTING_DOWN);
	}
}

unsigned
broker_home(const struct broker *b, struct slice client_id)
{
	return (unsigned)(map_hash(client_id) % b->n_shards);
}

uint32_t
shard_waiting(const struct shard *sh, struct slice client_id)
{
	const struct session *s = sh->keep_ops->session_find(sh->keep, client_id);

	return s != NULL ? s->pending.count + s->live : 0;
}

const struct shard_stats *
shard_stats(const struct shard *sh)
{
	return &sh->stats;
}
