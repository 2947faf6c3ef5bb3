/* Sessions, one after another, for administrators: listed, looked at, judged again, disconnected or ended. */
#include <stdio.h>
#include <stdlib.h>
#include "broker/internal.h"

enum { LOOKS_A_TURN = 4096, ENDS_A_TURN = 32 };

struct visit {
	struct order order;
	struct broker *broker;
	struct broker_visit v;
	struct broker_visited r;
	uint8_t id[];
};

static void
describe(const struct session *s, struct broker_session *ret)
{
	const struct client *c = s->client;
	uint64_t now = s->shard->now_ms;

	*ret = (struct broker_session){ .client_id = session_id(s), .connected = c != NULL, .homeless = s->homeless, .listener = s->listener, .who = s->who,
		.expiry_s = s->expiry_s, .subscriptions = s->n_subs, .waiting = s->pending.count + s->live, .inflight = s->live,
		.dropped = s->n_dropped, .waiting_bytes = s->pending_bytes + s->inflight_bytes };
	if (s->will != NULL)
		ret->will = msg_topic(s->will->msg);
	if (c == NULL) {
		ret->away_ms = now - NUM_MIN(now, s->offline_ms);
		return;
	}
	ret->peer = c->peer;
	ret->version = c->version;
	ret->keep_alive = c->keep_alive;
	ret->since_ms = now - NUM_MIN(now, c->begun_ms);
	ret->bytes_in = c->bytes_in;
	ret->bytes_out = c->bytes_out;
	ret->messages_in = c->messages_in;
	ret->messages_out = c->messages_out;
	ret->came_by = c->came_by;
	ret->idle_ms = now - NUM_MIN(now, c->last_rx_ms);
}

static void
name_subscriptions(const struct session *s, const struct broker_visit *v)
{
	uint8_t text[UINT16_MAX];

	for (uint32_t i = 0; i < s->n_subs; i++) {
		const struct sub *sub = &s->subs[i];

		if (sub->shared != NULL)
			v->subscription(v->ctx, slice_of(sub->shared->text, sub->shared->full_n), sub->shared->options & MQTT_SUB_QOS);
		else
			v->subscription(v->ctx, slice_of(text, trie_filter(sub->node, text, sizeof text)), trie_entry_of(sub->node, s)->options & MQTT_SUB_QOS);
	}
}

/* True: it has ended something, which is work. */
static bool
look(struct visit *x, struct session *s)
{
	struct broker_word word = { .reason = MQTT_RC_ADMINISTRATIVE };
	struct broker_session d;
	bool changed = false;

	describe(s, &d);
	switch (x->v.each(x->v.ctx, &d, &word)) {
	case BROKER_PASS:
		return false;
	case BROKER_TAKE:
		x->r.n++;
		if (x->v.subscription != NULL)
			name_subscriptions(s, &x->v);
		return false;
	case BROKER_EXPEL:
		if ((changed = s->client != NULL))
			client_expel(s->client, word.reason, word.why);
		break;
	case BROKER_WITHDRAW:
		changed = session_withdraw(s, word.reason, word.why, false);
		break;
	case BROKER_PURGE:
		changed = session_withdraw(s, word.reason, word.why, true);
		break;
	}
	x->r.n += changed;
	return changed;
}

static void
finish(struct visit *x)
{
	x->v.done(x->v.ctx, &x->r);
	free(x);
}

static bool
is_full(const struct visit *x)
{
	return x->v.most > 0 && x->r.n >= x->v.most;
}

/* A part of this shard; true: it is through. */
static bool
walk(struct shard *sh, struct visit *x)
{
	unsigned looks = LOOKS_A_TURN, ends = ENDS_A_TURN;

	for (; x->r.slot < sh->n_slots && looks > 0 && ends > 0 && !is_full(x); x->r.slot++, looks--) {
		struct session *s = sh->slots[x->r.slot].session;

		if (s != NULL && look(x, s))
			ends--;
	}
	return x->r.slot >= sh->n_slots;
}

static void
carry_out(struct shard *sh, struct order *o)
{
	struct visit *x = (void *)((char *)o - offsetof(struct visit, order));

	if (sh->closing) {
		finish(x);
		return;
	}
	if (x->v.client_id.p != NULL) {
		struct session *s = session_find(sh, x->v.client_id);

		if (s != NULL)
			(void)look(x, s);
		x->r.more = false;
		finish(x);
		return;
	}
	if (walk(sh, x)) {
		x->r.shard++;
		x->r.slot = 0;
	}
	x->r.more = x->r.shard < x->broker->n_shards;
	if (x->r.more && !is_full(x))
		order_give(x->broker->shards[x->r.shard], &x->order);
	else
		finish(x);
}

bool
broker_visit(struct broker *b, const struct broker_visit *v)
{
	struct visit *x = malloc(sizeof *x + v->client_id.n);

	if (x == NULL)
		return false;
	*x = (struct visit){ .order.carry_out = carry_out, .broker = b, .v = *v, .r = { .more = true, .shard = v->shard, .slot = v->slot } };
	if (v->client_id.p != NULL) {
		memcpy(x->id, v->client_id.p, v->client_id.n);
		x->v.client_id = slice_of(x->id, v->client_id.n);
		x->r.shard = broker_home(b, v->client_id);
	} else if (v->shard >= b->n_shards) {
		/* Left by a broker with more of them: it is through. */
		x->r.shard = b->n_shards - 1;
		x->r.slot = UINT32_MAX;
	}
	order_give(b->shards[x->r.shard], &x->order);
	return true;
}
