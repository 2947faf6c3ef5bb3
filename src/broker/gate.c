/* Answers that wait for the disk. What is sent to a client is one row of packets; a gate stands in front of the first one that
 * promises something of a turn that is not durable yet, and all behind it waits too: order is kept, and it is one flush long. */
#include <stdlib.h>
#include "broker/internal.h"

enum { BEHIND_HIGH = 8 * 1024 * 1024, BEHIND_LOW = 2 * 1024 * 1024 };

struct gate {
	uint64_t at;  /* number of the packet behind it, as c->out_base counts */
	uint64_t seq; /* of the turn */
};
struct gates {
	struct client *client;
	struct gates *next, **prev; /* all of the shard */
	uint32_t n, cap;
	struct gate *v;
};

static struct gates *
gates_new(struct client *c)
{
	struct gates *g = calloc(1, sizeof *g);

	if (g == NULL)
		return NULL;
	g->client = c;
	g->next = c->shard->journal.gated;
	g->prev = &c->shard->journal.gated;
	if (g->next != NULL)
		g->next->prev = &g->next;
	c->shard->journal.gated = g;
	return c->gates = g;
}

void
gate_forget(struct client *c)
{
	struct gates *g = c->gates;

	if (g == NULL)
		return;
	*g->prev = g->next;
	if (g->next != NULL)
		g->next->prev = g->prev;
	c->gates = NULL;
	free(g->v);
	free(g);
}

static bool
gate_push(struct client *c, uint64_t seq)
{
	struct gates *g = c->gates != NULL ? c->gates : gates_new(c);

	if (g == NULL)
		return false;
	/* Behind the one of this turn all waits for it already. */
	if (g->n > 0 && g->v[g->n - 1].seq == seq)
		return true;
	if (g->n == g->cap) {
		uint32_t cap = g->cap > 0 ? g->cap * 2 : 2;
		struct gate *v = realloc(g->v, cap * sizeof *v);

		if (v == NULL)
			return false;
		g->v = v;
		g->cap = cap;
	}
	g->v[g->n++] = (struct gate){ c->out_base + c->out.count, seq };
	return true;
}

bool
gate_try(struct client *c, uint64_t mark)
{
	const struct journal_shard *j = &c->shard->journal;

	return j->marks == mark || gate_push(c, store_seq(j->writer));
}

bool
gate_since(struct client *c, uint64_t mark)
{
	if (gate_try(c, mark))
		return true;
	return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
}

bool
gate_turn(struct client *c, uint64_t seq)
{
	if (!journal_on(&c->shard->journal) || seq <= store_durable(c->shard->journal.writer) || gate_push(c, seq))
		return true;
	return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
}

uint32_t
gate_open(const struct client *c)
{
	return c->gates == NULL || c->gates->n == 0 ? c->out.count : (uint32_t)(c->gates->v[0].at - c->out_base);
}

/* Open what is durable; the client goes on when there was anything. */
static void
gates_open(struct gates *g, uint64_t durable)
{
	struct client *c = g->client;
	uint32_t n = 0;

	while (n < g->n && g->v[n].seq <= durable)
		n++;
	if (n == 0)
		return;
	g->n -= n;
	memmove(g->v, g->v + n, g->n * sizeof *g->v);
	if (g->n == 0)
		gate_forget(c);
	wake(&c->waker);
}

/* What was left for this moment: sessions write down how they are, and QoS 2 goes on. */
static void
catch_up(struct shard *sh)
{
	size_t pos = 0;

	for (struct session *s; (s = sh->keep_ops->session_next(sh->keep, &pos)) != NULL;) {
		journal_catch_up(s);
		if (s->client != NULL && s->journal != NULL)
			flight_go_on(s);
	}
}

bool
journal_refuses(const struct shard *sh, bool retain)
{
	const struct broker *b = sh->broker;

	if (!sh->journal.refuses)
		return false;
	for (unsigned i = 0; !retain && i < b->n_shards; i++)
		retain = atomic_load_explicit(&b->shards[i]->journal.kept, memory_order_acquire) > 0;
	return retain;
}

void
gates_turn(struct shard *sh)
{
	struct journal_shard *j = &sh->journal;
	uint64_t durable;
	struct store_stats stats;
	enum store_state state;
	bool failed = j->failing;

	if (!journal_on(j))
		return;
	state = store_state(sh->broker->settings.store);
	j->refuses = state != STORE_READY;
	j->failing = state == STORE_FAILED;
	if (failed && !j->failing)
		catch_up(sh);
	if (j->gated == NULL && !j->behind && j->once.n_open == 0)
		return;
	store_stats(sh->broker->settings.store, &stats);
	j->behind = stats.backlog_bytes > (j->behind ? BEHIND_LOW : BEHIND_HIGH);
	durable = store_durable(j->writer);
	if (durable == j->durable)
		return;
	j->durable = durable;
	once_durable(sh);
	for (struct gates *g = j->gated, *next; g != NULL; g = next) {
		next = g->next;
		gates_open(g, durable);
	}
}
