/* From a message to everybody who gets it: this shard's tree (remembered per topic), other shards by the interest map. */
#include <stdlib.h>
#include "broker/internal.h"

/* The last result for a topic; good as long as the tree has not changed. */
struct route {
	uint64_t generation;
	struct hit *hits;
	uint32_t n;
	uint16_t topic_n;
	uint8_t *topic;
};

static struct hit *
hit_new(struct shard *sh)
{
	if (sh->n_hits == sh->cap_hits) {
		uint32_t cap = sh->cap_hits > 0 ? sh->cap_hits * 2 : 64;
		struct hit *v = cap > UINT32_MAX / sizeof *v ? NULL : realloc(sh->hits, cap * sizeof *v);

		if (v == NULL)
			return NULL;
		sh->hits = v;
		sh->cap_hits = cap;
	}
	return &sh->hits[sh->n_hits++];
}

static bool
more_add(struct shard *sh, struct hit *h, uint32_t id)
{
	if (sh->n_more == sh->cap_more) {
		uint32_t cap = sh->cap_more > 0 ? sh->cap_more * 2 : 64;
		struct more_id *v = realloc(sh->more, cap * sizeof *v);

		if (v == NULL)
			return false;
		sh->more = v;
		sh->cap_more = cap;
	}
	sh->more[sh->n_more++] = (struct more_id){ id, h->more };
	h->more = sh->n_more;
	return true;
}

/* Several subscriptions of one session: one copy, the highest QoS, all identifiers (3.3.4). */
static void
merge(struct shard *sh, struct hit *h, const struct trie_entry *e)
{
	h->qos = NUM_MAX(h->qos, (uint8_t)(e->options & MQTT_SUB_QOS));
	h->no_local = h->no_local && (e->options & MQTT_SUB_NO_LOCAL) != 0;
	h->as_published = h->as_published || (e->options & MQTT_SUB_RETAIN_AS_PUBLISHED) != 0;
	if (e->extra == sh->policy_tag)
		h->extra = e->extra;
	if (e->id != 0 && h->id == 0)
		h->id = e->id;
	else if (e->id != 0)
		(void)more_add(sh, h, e->id);
}

static void
collect(void *ctx, const struct trie_entry *e)
{
	struct shard *sh = ctx;
	struct session *s = e->kind == SUB_SESSION ? e->who : NULL;
	struct hit *h;

	/* The place is looked at too: the sequence comes round again. */
	if (s != NULL && s->match_seq == sh->match_seq && s->match_index < sh->n_hits &&
	    sh->hits[s->match_index].session == s) {
		merge(sh, &sh->hits[s->match_index], e);
		return;
	}
	if ((h = hit_new(sh)) == NULL) {
		sh->match_failed = true;
		return;
	}
	*h = (struct hit){
		.id = e->id,
		.extra = e->extra,
		.qos = e->options & MQTT_SUB_QOS,
		.no_local = (e->options & MQTT_SUB_NO_LOCAL) != 0,
		.as_published = (e->options & MQTT_SUB_RETAIN_AS_PUBLISHED) != 0,
		.is_group = s == NULL,
	};
	if (s != NULL) {
		h->session = s;
		s->match_seq = sh->match_seq;
		s->match_index = sh->n_hits - 1;
	} else
		h->group = e->who;
}

static void
match(struct shard *sh, struct slice topic)
{
	/* Sequence 0 is what a new session has. */
	if (++sh->match_seq == 0)
		sh->match_seq = 1;
	sh->n_hits = 0;
	sh->n_more = 0;
	sh->match_failed = false;
	trie_match(sh->subs, topic, collect, sh);
}

/* Cheap and good enough: a collision costs one walk of the tree. */
static uint32_t
route_slot(struct slice topic)
{
	uint64_t h = topic.n * 0x9e3779b97f4a7c15u, word;
	size_t i = 0;

	for (; i + 8 <= topic.n; i += 8) {
		memcpy(&word, topic.p + i, 8);
		h = (h ^ word) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	for (; i < topic.n; i++)
		h = (h ^ topic.p[i]) * 0x100000001b3u;
	return (uint32_t)((h * 0x9e3779b97f4a7c15u) >> 48) & (ROUTE_SLOTS - 1);
}

static uint32_t
large(uint32_t n)
{
	return n > ROUTE_HITS_MAX ? n : 0;
}

static void
route_forget(struct shard *sh, struct route *r)
{
	sh->large_hits -= large(r->n);
	free(r->hits);
	free(r->topic);
	*r = (struct route){ 0 };
}

/* Large ones of other generations than <generation>, or all. */
static void
large_forget(struct shard *sh, uint64_t generation, bool all)
{
	for (unsigned i = 0; i < ROUTE_SLOTS; i++)
		if (large(sh->routes[i].n) > 0 && (all || sh->routes[i].generation != generation))
			route_forget(sh, &sh->routes[i]);
}

/* Is there room for a route of so many hits in the place of <r>? Those of a tree that has changed make it; and all do when it was asked
 * for often enough: who is there might have been sent to once, and copying what is thrown out again at the next message is in vain. */
static bool
large_fits(struct shard *sh, const struct route *r)
{
	uint64_t generation = trie_generation(sh->subs);
	uint32_t n = large(sh->n_hits);

	if (n == 0 || sh->large_hits - large(r->n) + n <= ROUTE_HITS_LARGE)
		return true;
	if (n > ROUTE_HITS_LARGE)
		return false;
	if (sh->large_swept != generation) {
		sh->large_swept = generation;
		large_forget(sh, generation, false);
	}
	if (sh->large_hits - large(r->n) + n > ROUTE_HITS_LARGE) {
		if (++sh->large_refused < ROUTE_LARGE_PATIENCE)
			return false;
		large_forget(sh, generation, true);
	}
	sh->large_refused = 0;
	return true;
}

static void
route_remember(struct shard *sh, struct route *r, struct slice topic)
{
	struct hit *hits = NULL;
	uint8_t *copy;

	if (sh->match_failed || sh->n_more > 0 || topic.n > 256 || !large_fits(sh, r))
		return;
	copy = malloc(topic.n);
	if (sh->n_hits > 0)
		hits = malloc(sh->n_hits * sizeof *hits);
	if (copy == NULL || (sh->n_hits > 0 && hits == NULL)) {
		free(copy);
		free(hits);
		return;
	}
	memcpy(copy, topic.p, topic.n);
	if (sh->n_hits > 0)
		memcpy(hits, sh->hits, sh->n_hits * sizeof *hits);
	/* What is there is out of date, or was looked for less lately. */
	route_forget(sh, r);
	*r = (struct route){ trie_generation(sh->subs), hits, sh->n_hits, (uint16_t)topic.n, copy };
	sh->large_hits += large(sh->n_hits);
}

void
route_done(struct shard *sh)
{
	for (unsigned i = 0; sh->routes != NULL && i < ROUTE_SLOTS; i++) {
		free(sh->routes[i].hits);
		free(sh->routes[i].topic);
	}
	free(sh->routes);
	free(sh->hits);
	free(sh->more);
}

struct hits {
	const struct hit *v;
	uint32_t n;
	bool failed; /* there was no memory for some */
};

/* Everybody on this shard whose filters match. Borrowed until the next call or change of the tree. */
static struct hits
route_find(struct shard *sh, struct slice topic)
{
	struct route *r;

	if (sh->routes == NULL)
		sh->routes = calloc(ROUTE_SLOTS, sizeof *sh->routes);
	r = sh->routes != NULL ? &sh->routes[route_slot(topic)] : NULL;
	if (r != NULL && r->topic != NULL && r->generation == trie_generation(sh->subs) &&
	    slice_eq(slice_of(r->topic, r->topic_n), topic))
		return (struct hits){ r->hits, r->n, false };
	match(sh, topic);
	if (r != NULL)
		route_remember(sh, r, topic);
	return (struct hits){ sh->hits, sh->n_hits, sh->match_failed };
}

/* Where many sessions get one message, the memory of each is where no cache expects it. What it looks at is asked for in steps: the
 * session, what that points to, and what that points to. (Inline, or GCC finds that it changes nothing and leaves the call out.) */
static inline __attribute__((always_inline)) void
look_ahead(const struct hits *h, uint32_t i)
{
	enum { FAR = 24, MIDDLE = 16, NEAR = 8 };
	const struct session *s;

	if (i + FAR < h->n && !h->v[i + FAR].is_group) {
		s = h->v[i + FAR].session;
		__builtin_prefetch(s, 1);
		__builtin_prefetch((const char *)s + 64, 1);
		__builtin_prefetch((const char *)s + SESSION_HOT - 1, 1);
	}
	if (i + MIDDLE < h->n && !h->v[i + MIDDLE].is_group) {
		s = h->v[i + MIDDLE].session;
		__builtin_prefetch(s->client == NULL ? (const void *)s->journal : s->client, 1);
		if (s->pending.count < s->pending.cap)
			__builtin_prefetch(ring_at(&s->pending, s->pending.count), 1);
	}
	if (i + NEAR < h->n && !h->v[i + NEAR].is_group && (s = h->v[i + NEAR].session)->client == NULL && s->journal != NULL)
		journal_prefetch(s->journal);
}

/* Other shards count references to the same message meanwhile: the line goes to and fro once, not for each of many. */
static void
lend_refs(struct shard *sh, struct msg *m, uint32_t n)
{
	sh->lent = (struct lent_refs){ m, n > LEND_REFS_MIN ? n : 0 };
	if (sh->lent.n > 0)
		msg_ref_many(m, n);
}

static void
unlend_refs(struct shard *sh)
{
	if (sh->lent.n > 0)
		msg_unref_many(sh->lent.msg, sh->lent.n);
}

static void
deliver(struct shard *sh, struct msg *m, const struct hits *h)
{
	if (h->failed)
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
	const struct doubt *d = m->exchange != 0 ? once_doubt(sh->broker, m->exchange) : NULL;
	struct lent_refs outer = sh->lent;

	lend_refs(sh, m, h->n);
	/* Nothing that an offer does changes the tree: a client that fails is ended at its own next turn or feed. */
	for (uint32_t i = 0; i < h->n; i++) {
		look_ahead(h, i);
		if (h->v[i].is_group)
			group_deliver(sh, h->v[i].group, m);
		else if (d == NULL || !once_has_session(sh->broker, d, m, session_id(h->v[i].session)))
			session_offer(h->v[i].session, m, &h->v[i]);
	}
	unlend_refs(sh);
	sh->lent = outer;
}

void
route_to_one(struct shard *sh, struct msg *m, struct session *s)
{
	struct hits h = route_find(sh, msg_topic(m));

	for (uint32_t i = 0; i < h.n; i++)
		if (!h.v[i].is_group && h.v[i].session == s)
			session_offer(s, m, &h.v[i]);
}

/* A retained message goes to all: who subscribes between this look and the moment when the topic's home stores it would
 * otherwise get neither the old message nor the new one. */
static bool
goes_to(const struct shard *sh, const struct msg *m, unsigned i, const struct interest_key *k, bool *ret_cares)
{
	*ret_cares = i != sh->index && interest_any(sh->broker, i, k);
	return i != sh->index && (*ret_cares || m->retain);
}

/* Room for a letter to everybody whom <m> goes to: what will be acknowledged is passed on, or nobody gets it and its publisher
 * sends it again. */
static bool
reserve(struct shard *sh, struct msg *m, const struct interest_key *k)
{
	const struct mail letter = { .kind = MAIL_PUBLISH, .msg = m };
	uint32_t flushes;
	bool cares;

	/* The outboxes may go off for lack of room in one, and with them the room in the others. */
	do {
		flushes = sh->flushes;
		for (unsigned i = 0; i < sh->broker->n_shards; i++)
			if (goes_to(sh, m, i, k, &cares) && !mail_room(sh, i, &letter))
				return false;
	} while (flushes != sh->flushes);
	return true;
}

enum routed
route_message(struct shard *sh, struct msg *m, bool spread)
{
	struct broker *b = sh->broker;
	struct hits here = route_find(sh, msg_topic(m));
	struct interest_key k;
	bool any = here.n > 0, cares, alone = !sh->outbox_dirty;

	if (spread && here.failed && m->qos > 0)
		return ROUTED_NOMEM;
	if (spread && b->n_shards > 1) {
		k = interest_key_of(msg_topic(m));
		if (m->qos > 0 && !reserve(sh, m, &k))
			return ROUTED_NOMEM;
		for (unsigned i = 0; i < b->n_shards; i++)
			if (goes_to(sh, m, i, &k, &cares))
				any = (mail_post(sh, i, &(struct mail){ .kind = MAIL_PUBLISH, .msg = msg_ref(m) }) && cares) || any;
		/* All shards at once. What must come once goes after this turn was handed to the store (once.h), with all before it. */
		if (alone && m->exchange == 0 && here.n > SPREAD_FIRST)
			mail_send(sh);
	}
	deliver(sh, m, &here);
	return any ? ROUTED : ROUTED_NOBODY;
}
