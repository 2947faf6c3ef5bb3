/* When the records are read: retained messages into their trees, messages into their queues. Each shard's are put together by a
 * thread of its own, if there are many. */
#include <stdlib.h>
#include "broker/recover.h"

enum {
	CREW_MIN = 512, /* things for which threads are worth their while */
	AHEAD = 8,
};

/* ---- a thread for each shard ---- */

static void *
run(void *arg)
{
	struct crew *c = arg;

	c->failed = !c->work(c);
	return NULL;
}

static void
crew_begin(struct recovery *r, bool (*work)(struct crew *c), size_t things)
{
	for (unsigned i = 0; i < r->broker->n_shards; i++) {
		struct crew *c = &r->crew[i];

		c->work = work;
		c->failed = false;
		c->started = things >= CREW_MIN && pthread_create(&c->thread, NULL, run, c) == 0;
		if (!c->started)
			(void)run(c);
	}
}

static bool
crew_end(struct recovery *r)
{
	bool ok = true;

	for (unsigned i = 0; i < r->broker->n_shards; i++) {
		struct crew *c = &r->crew[i];

		if (c->started)
			(void)pthread_join(c->thread, NULL);
		c->started = false;
		ok = ok && !c->failed;
	}
	return ok || !(r->nomem = true);
}

/* ---- retained messages ---- */

static bool
keep(struct crew *c, const struct orphan *o, struct msg *m)
{
	const struct recovery *r = c->recovery;
	struct shard *sh = c->shard;

	if (m->payload_n == 0 || msg_expired(m, r->now.s) || sh->keep_ops->retain_get(sh->keep, msg_topic(m), r->now.s) != NULL)
		return recover_note(&c->orphans, o);
	m->record = o->id;
	m->body = o->ref;
	if (!sh->keep_ops->retain_set(sh->keep, m))
		return false;
	c->kept++;
	return true;
}

static bool
keep_all(struct crew *c)
{
	const struct recovery *r = c->recovery;

	for (size_t i = 0; i < r->retained.n; i++) {
		const struct orphan *o = &r->retained.v[i];
		struct msg *m = recover_find(&r->bodies, o->ref);

		if (m == NULL ? c->shard->index == 0 && !recover_note(&c->orphans, o)
			      : retained_home(r->broker, msg_topic(m)) == c->shard->index && !keep(c, o, m))
			return false;
	}
	return true;
}

bool
recover_retained_begin(struct recovery *r)
{
	r->late = true;
	if ((r->crew = calloc(r->broker->n_shards, sizeof *r->crew)) == NULL)
		return !(r->nomem = true);
	for (unsigned i = 0; i < r->broker->n_shards; i++)
		r->crew[i] = (struct crew){ .recovery = r, .shard = r->broker->shards[i] };
	/* What comes later may ask whose it is. */
	for (size_t i = 0; i < r->retained.n; i++) {
		const struct orphan *o = &r->retained.v[i];
		struct msg *m = o->source != NULL ? recover_find(&r->bodies, o->ref) : NULL;

		if (m != NULL && m->source == NULL)
			m->source = msg_source_ref(o->source);
	}
	crew_begin(r, keep_all, r->retained.n);
	return true;
}

bool
recover_retained_end(struct recovery *r)
{
	bool ok = crew_end(r);

	for (unsigned i = 0; i < r->broker->n_shards; i++) {
		struct crew *c = &r->crew[i];

		r->count->retained += c->kept;
		r->count->rejected += c->orphans.n;
		for (size_t k = 0; ok && k < c->orphans.n; k++)
			ok = recover_note(&r->orphans, &c->orphans.v[k]) || !(r->nomem = true);
		free(c->orphans.v);
		c->orphans = (struct orphans){ 0 };
	}
	return ok;
}

/* ---- sessions ---- */

static int
by_order(const void *a, const void *b)
{
	const struct loaded *x = a, *y = b;

	/* Identities only grow, also from one process to the next. */
	return x->entry.id < y->entry.id ? -1 : x->entry.id > y->entry.id;
}

/* Packet ids follow one another without gaps in .inflight: what was done meanwhile leaves a dead place. */
static bool
fill_gap(struct session *s, uint16_t packet_id)
{
	uint16_t last = s->inflight.count > 0 ? ring_at(&s->inflight, s->inflight.count - 1)->packet_id : 0;
	struct out *o;

	while (last != 0 && (last = packet_id_after(last)) != packet_id) {
		if ((o = ring_push(&s->inflight)) == NULL || !journal_adopt_entry(s, true, (struct entry){ 0 }))
			return false;
		*o = (struct out){ .kind = OUT_RAW, .flight = FLIGHT_DEAD, .packet_id = last };
	}
	return true;
}

static bool
adopt(struct session *s, struct loaded *l)
{
	bool sent = l->state != RECORD_QUEUED;
	struct out *at;

	if (sent && !fill_gap(s, l->out.packet_id))
		return false;
	if (!journal_adopt_entry(s, sent, l->entry))
		return false;
	if (!sent) {
		if (!s->shard->keep_ops->queue_push(s->shard->keep, s, &l->out))
			return false;
		s->pending_bytes += msg_size(out_msg(&l->out));
		stat_add(s->shard, queued_bytes, msg_size(out_msg(&l->out)));
		stat_add(s->shard, queued, 1);
		return true;
	}
	if ((at = ring_push(&s->inflight)) == NULL)
		return false;
	*at = l->out;
	at->flight = l->state == RECORD_RELEASED ? FLIGHT_PUBCOMP : l->out.qos == 1 ? FLIGHT_PUBACK : FLIGHT_PUBREC;
	if (l->state == RECORD_SENT)
		s->inflight_bytes += out_msg(at)->payload_n;
	s->live++;
	stat_add(s->shard, inflight, 1);
	s->next_packet_id = packet_id_after(l->out.packet_id);
	return true;
}

/* Is what was in flight as launch() makes it: ids that rise, none twice? Damage could have made it otherwise. */
static bool
ids_fit(const struct loading *l)
{
	uint32_t span = 0;
	uint16_t last = 0;

	for (uint32_t i = 0; i < l->n; i++) {
		if (l->v[i].state == RECORD_QUEUED)
			continue;
		if (last != 0)
			span += (l->v[i].out.packet_id + 65535u - last) % 65535u;
		if (last == l->v[i].out.packet_id || span >= FLIGHT_SPAN_MAX)
			return false;
		last = l->v[i].out.packet_id;
	}
	return true;
}

static bool
finish_session(struct loading *l)
{
	bool fit;

	if (l->n > 0)
		qsort(l->v, l->n, sizeof *l->v, by_order);
	fit = ids_fit(l);
	for (uint32_t i = 0; i < l->n; i++) {
		struct loaded *x = &l->v[i];

		if (!fit && x->state == RECORD_RELEASED)
			continue;
		if (!fit) {
			x->state = RECORD_QUEUED;
			x->out.packet_id = 0;
		}
		if (!adopt(l->session, x)) {
			for (; i < l->n; i++)
				out_release(&l->v[i].out);
			return false;
		}
	}
	session_recovered(l->session);
	return true;
}

static void
drop_all(struct loading *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		out_release(&l->v[i].out);
}

/* Where several cache lines of a session will be looked at. */
static inline __attribute__((always_inline)) void
prefetch(const struct loading *l)
{
	__builtin_prefetch(l->session);
	__builtin_prefetch((const char *)l->session + 64);
	__builtin_prefetch((const char *)l->session + 128);
	__builtin_prefetch(l->v);
}

static bool
finish_all(struct crew *c)
{
	const struct recovery *r = c->recovery;
	bool ok = true;

	for (size_t i = 0; i < r->n_loading; i++) {
		struct loading *l = &r->loading[i];

		if (i + AHEAD < r->n_loading && l[AHEAD].shard == c->shard->index)
			prefetch(l + AHEAD);
		if (l->shard != c->shard->index)
			continue;
		if (ok)
			ok = finish_session(l);
		else
			drop_all(l);
		free(l->v);
	}
	return ok;
}

bool
recover_sessions(struct recovery *r, bool ok)
{
	if (ok) {
		crew_begin(r, finish_all, r->count->messages);
		ok = crew_end(r);
	} else
		for (size_t i = 0; i < r->n_loading; i++) {
			drop_all(&r->loading[i]);
			free(r->loading[i].v);
		}
	free(r->loading);
	free(r->crew);
	return ok;
}
