/* Sessions and messages as records of the store. What the bytes of a record mean is decided here and read in recover.c;
 * docs/store.md has the table of what is written when, and which packet waits for it. */
#include <stdlib.h>
#include "broker/internal.h"
#include "broker/record.h"

static struct journal_shard *
journal_of(const struct session *s)
{
	return &s->shard->journal;
}

/* Is there a journal, and not one of a shard that is being taken down? */
static bool
keeps(const struct session *s)
{
	return s->journal != NULL && !s->shard->closing;
}

static bool
put(struct journal_shard *j, const struct store_record *r)
{
	if (!store_put(j->writer, r))
		return false;
	j->marks++;
	return true;
}

static void
del(struct journal_shard *j, uint8_t kind, uint64_t id)
{
	/* Without memory the record stays and is found superfluous at the next start. */
	if (id != 0)
		(void)store_del(j->writer, kind, id);
}

/* ---- rings ---- */

static struct entry *
entry_at(const struct entries *r, uint32_t i)
{
	return &r->v[(r->head + i) & (r->cap - 1)];
}

static bool
entry_push(struct entries *r, struct entry e)
{
	if (r->count == r->cap) {
		uint32_t cap = r->cap > 0 ? r->cap * 2 : 8;
		struct entry *v = calloc(cap, sizeof *v);

		if (v == NULL)
			return false;
		for (uint32_t i = 0; i < r->count; i++)
			v[i] = *entry_at(r, i);
		free(r->v);
		*r = (struct entries){ v, 0, r->count, cap };
	}
	*entry_at(r, r->count++) = e;
	return true;
}

static bool
entries_fill(struct entries *r, uint32_t n)
{
	while (n-- > 0)
		if (!entry_push(r, (struct entry){ 0 }))
			return false;
	return true;
}

static void
entries_drop(struct entries *r, uint32_t n)
{
	r->count -= n;
	if (r->count > 0) {
		r->head = (r->head + n) & (r->cap - 1);
		return;
	}
	free(r->v);
	*r = (struct entries){ 0 };
}

/* ---- sessions ---- */

bool
journal_adopt(struct session *s, uint64_t id)
{
	if ((s->journal = calloc(1, sizeof *s->journal)) == NULL)
		return false;
	s->journal->id = id;
	atomic_fetch_add_explicit(&journal_of(s)->kept, 1, memory_order_release);
	return true;
}

bool
journal_adopt_entry(struct session *s, bool inflight, struct entry e)
{
	return entry_push(inflight ? &s->journal->inflight : &s->journal->pending, e);
}

static bool
begin(struct session *s)
{
	struct journal_shard *j = journal_of(s);

	if (s->journal != NULL)
		return true;
	if ((s->journal = calloc(1, sizeof *s->journal)) == NULL)
		return false;
	/* What it has already, from times without memory for a journal, holds its place. */
	if (!entries_fill(&s->journal->pending, s->pending.count) || !entries_fill(&s->journal->inflight, s->inflight.count)) {
		free(s->journal->pending.v);
		free(s->journal->inflight.v);
		free(s->journal);
		s->journal = NULL;
		return false;
	}
	s->journal->id = store_id(j->writer);
	atomic_fetch_add_explicit(&j->kept, 1, memory_order_release);
	return true;
}

/* Back to a session without one; nothing of it was written. */
static void
unbegin(struct session *s)
{
	free(s->journal->pending.v);
	free(s->journal->inflight.v);
	free(s->journal);
	s->journal = NULL;
	atomic_fetch_sub_explicit(&journal_of(s)->kept, 1, memory_order_relaxed);
}

bool
journal_session(struct session *s)
{
	struct shard *sh = s->shard;
	bool is_new = s->journal == NULL, ok = false;
	struct record_session r = { .id = session_id(s), .expiry_s = s->expiry_s, .listener = listener_record(sh, s->listener) };
	struct store_record rec = { .kind = STORE_SESSION };
	uint8_t *buf;

	if (!journal_on(&sh->journal) || sh->closing || (is_new && s->expiry_s == 0))
		return true;
	/* Clients come and go; what each of them would add to what waits for the disk has no bound. */
	if (!is_new && sh->journal.failing)
		return s->journal->stale = true;
	if (!begin(s))
		return false;
	authz_principal_facts(s->who, &r.who);
	r.away_since = s->client == NULL ? broker_wall(sh) : 0;
	rec.id = s->journal->id;
	buf = malloc(record_session_size(&r));
	if (buf != NULL) {
		rec.bytes = record_put_session(buf, &r);
		ok = put(&sh->journal, &rec);
		s->journal->seq = store_seq(sh->journal.writer);
	}
	free(buf);
	if (!ok && is_new)
		unbegin(s);
	return ok;
}

void
journal_end(struct session *s)
{
	struct journal_shard *j = journal_of(s);
	struct journal *x = s->journal;
	bool gone = keeps(s);

	if (x == NULL)
		return;
	for (uint32_t i = 0; gone && i < x->pending.count; i++)
		del(j, STORE_ENTRY, entry_at(&x->pending, i)->id);
	for (uint32_t i = 0; gone && i < x->inflight.count; i++)
		del(j, STORE_ENTRY, entry_at(&x->inflight, i)->id);
	for (uint32_t i = 0; gone && i < x->n_inbound; i++)
		del(j, STORE_INBOUND, x->inbound[i].id);
	if (gone) {
		del(j, STORE_WILL, x->will);
		del(j, STORE_SESSION, x->id);
		j->marks++;
	}
	free(x->pending.v);
	free(x->inflight.v);
	free(x->inbound);
	free(x);
	s->journal = NULL;
	atomic_fetch_sub_explicit(&j->kept, 1, memory_order_relaxed);
}

bool
journal_subscribed(struct session *s, struct sub *sub, const struct mqtt_sub *how, uint32_t id)
{
	struct record_sub r = { .id = id, .options = how->options, .filter = how->filter,
		.share = sub->shared != NULL ? sub->shared->slot : 0 };
	struct store_record rec = { .kind = STORE_SUBSCRIPTION };
	uint8_t head[RECORD_SUB_MAX];

	if (!keeps(s))
		return true;
	r.session = s->journal->id;
	rec.id = sub->record != 0 ? sub->record : store_id(journal_of(s)->writer);
	rec.head = record_put_sub(head, &r);
	rec.bytes = how->filter;
	if (!put(journal_of(s), &rec))
		return false;
	sub->record = rec.id;
	s->journal->seq = store_seq(journal_of(s)->writer);
	return true;
}

void
journal_unsubscribed(struct session *s, struct sub *sub)
{
	if (!keeps(s) || sub->record == 0)
		return;
	del(journal_of(s), STORE_SUBSCRIPTION, sub->record);
	journal_of(s)->marks++;
	sub->record = 0;
}

/* ---- messages ---- */

static int64_t
wall_of(const struct shard *sh, uint32_t expires_s)
{
	return expires_s == 0 ? 0 : broker_wall(sh) + ((int64_t)expires_s - (int64_t)sh->now_s);
}

/* What this shard retains has a record already; 0: it does not retain <m>. */
static uint64_t
retained_body(struct shard *sh, const struct msg *m)
{
	if (!m->retain || retained_home(sh->broker, msg_topic(m)) != sh->index ||
	    sh->keep_ops->retain_get(sh->keep, msg_topic(m), sh->now_s) != m)
		return 0;
	return m->body;
}

/* The record of <m> on this shard; 0: out of memory. */
uint64_t
journal_body_of(struct shard *sh, const struct msg *m)
{
	struct journal_shard *j = &sh->journal;
	struct store_record rec = { .kind = STORE_BODY };
	uint8_t head[RECORD_BODY_HEAD];

	if (j->now == m && j->body != 0)
		return j->body;
	if ((rec.id = retained_body(sh, m)) != 0)
		return rec.id;
	rec.id = store_id(j->writer);
	rec.head = record_put_body(head, m, wall_of(sh, m->expires_s));
	rec.bytes = record_body_bytes(m);
	if (!put(j, &rec))
		return 0;
	if (j->now == m)
		j->body = rec.id;
	return rec.id;
}

bool
journal_begin(struct shard *sh, struct msg *m)
{
	struct journal_shard *j = &sh->journal;

	if (!journal_on(j) || j->now == m)
		return false;
	j->now = m;
	j->body = 0;
	return true;
}

void
journal_finish(struct shard *sh, bool begun)
{
	if (!begun)
		return;
	sh->journal.now = NULL;
	sh->journal.body = 0;
}

static bool
put_entry(struct session *s, const struct out *o, struct entry e, enum record_state state)
{
	struct record_entry r = { .session = s->journal->id, .state = (uint8_t)state, .qos = o->qos,
		.retain = o->retain, .packet_id = o->packet_id, .share = (uint8_t)out_share(o) };
	struct store_record rec = { .kind = STORE_ENTRY, .id = e.id, .ref = e.body };
	uint8_t small[RECORD_ENTRY_HEAD + 4 * 8], *buf = small;
	uint32_t one = o->id;
	size_t n;
	bool ok;

	r.ids = o->kind == OUT_MANY ? o->many->ids : &one;
	r.n_ids = o->kind == OUT_MANY ? o->many->n : o->id != 0;
	n = RECORD_ENTRY_HEAD + (size_t)4 * r.n_ids;
	if (n > sizeof small && (buf = malloc(n)) == NULL)
		return false;
	rec.bytes = record_put_entry(buf, &r);
	ok = put(journal_of(s), &rec);
	if (buf != small)
		free(buf);
	return ok;
}

/* A new entry behind one of the rings; QoS 0 holds a place only. */
static bool
add_entry(struct session *s, const struct out *o, struct entries *ring, enum record_state state)
{
	struct shard *sh = s->shard;
	struct entry e = { 0 };

	if (!entry_push(ring, e))
		return false;
	if (o->qos == 0)
		return true;
	e.body = journal_body_of(sh, out_msg(o));
	e.id = store_id(sh->journal.writer);
	if (e.body != 0 && put_entry(s, o, e, state)) {
		*entry_at(ring, ring->count - 1) = e;
		return true;
	}
	ring->count--;
	return false;
}

bool
journal_queued(struct session *s, const struct out *o)
{
	return !keeps(s) || add_entry(s, o, &s->journal->pending, RECORD_QUEUED);
}

void
journal_not_queued(struct session *s)
{
	struct entries *r;

	if (!keeps(s))
		return;
	r = &s->journal->pending;
	del(journal_of(s), STORE_ENTRY, entry_at(r, --r->count)->id);
}

struct entry
journal_dequeued(struct session *s)
{
	struct entry e = { 0 };

	if (!keeps(s))
		return e;
	e = *entry_at(&s->journal->pending, 0);
	entries_drop(&s->journal->pending, 1);
	return e;
}

uint64_t
journal_body(const struct session *s, bool inflight, uint32_t i)
{
	const struct entries *r = keeps(s) ? inflight ? &s->journal->inflight : &s->journal->pending : NULL;

	return r != NULL && i < r->count ? entry_at(r, i)->body : 0;
}

void
journal_dropped(struct session *s, struct entry e)
{
	if (keeps(s))
		del(journal_of(s), STORE_ENTRY, e.id);
}

bool
journal_launched(struct session *s, const struct out *o, struct entry e)
{
	struct journal *x = s->journal;

	if (!keeps(s))
		return true;
	if (e.id == 0)
		return add_entry(s, o, &x->inflight, RECORD_SENT);
	if (!entry_push(&x->inflight, e))
		return false;
	/* So that the packet id is the same after a restart [MQTT-4.4.0-1]. */
	if (put_entry(s, o, e, RECORD_SENT))
		return true;
	x->inflight.count--;
	return false;
}

void
journal_done(struct session *s, uint32_t i)
{
	struct entry *e;

	if (!keeps(s))
		return;
	e = entry_at(&s->journal->inflight, i);
	del(journal_of(s), STORE_ENTRY, e->id);
	e->id = 0;
}

bool
journal_released(struct session *s, uint32_t i, const struct out *o)
{
	struct entry *e;

	if (!keeps(s))
		return true;
	e = entry_at(&s->journal->inflight, i);
	e->body = 0; /* it has arrived */
	return put_entry(s, o, *e, RECORD_RELEASED);
}

void
journal_shift(struct session *s, uint32_t n)
{
	if (keeps(s) && n > 0)
		entries_drop(&s->journal->inflight, n);
}

/* ---- messages from a session ---- */

bool
journal_adopt_inbound(struct session *s, struct inbound in)
{
	struct journal *x = s->journal;

	if (x->n_inbound == x->cap_inbound) {
		uint32_t cap = x->cap_inbound > 0 ? x->cap_inbound * 2 : 4;
		struct inbound *v = realloc(x->inbound, cap * sizeof *v);

		if (v == NULL)
			return false;
		x->inbound = v;
		x->cap_inbound = cap;
	}
	x->inbound[x->n_inbound++] = in;
	return true;
}

bool
journal_spread(struct session *s, const struct inbound *in, uint16_t shards)
{
	struct record_inbound r = { .session = s->journal->id, .packet_id = in->packet_id, .shards = shards };
	const uint64_t *key = map_hash_key();
	uint8_t buf[RECORD_INBOUND];

	r.key[0] = key[0];
	r.key[1] = key[1];
	return put(journal_of(s), &(struct store_record){ .kind = STORE_INBOUND, .id = in->id, .bytes = record_put_inbound(buf, &r) });
}

bool
journal_received(struct session *s, uint16_t packet_id)
{
	struct inbound in = { .packet_id = packet_id };

	if (!keeps(s))
		return true;
	in.id = store_id(journal_of(s)->writer);
	in.seq = store_seq(journal_of(s)->writer);
	if (!journal_adopt_inbound(s, in))
		return false;
	if (journal_spread(s, &in, 0))
		return true;
	s->journal->n_inbound--;
	return false;
}

struct inbound *
journal_inbound(const struct session *s, uint16_t packet_id)
{
	const struct journal *x = keeps(s) ? s->journal : NULL;

	/* Most often the oldest; there are at most Receive Maximum of them. */
	for (uint32_t i = 0; x != NULL && i < x->n_inbound; i++)
		if (x->inbound[i].packet_id == packet_id)
			return &x->inbound[i];
	return NULL;
}

void
journal_freed(struct session *s, uint16_t packet_id)
{
	struct inbound *in = journal_inbound(s, packet_id);

	if (in == NULL)
		return;
	del(journal_of(s), STORE_INBOUND, in->id);
	journal_of(s)->marks++;
	*in = s->journal->inbound[--s->journal->n_inbound];
}

/* ---- retained messages and wills ---- */

/* With whose it is, for check_retain_source. */
static bool
put_retained(struct shard *sh, struct store_record *rec, const struct msg_source *source)
{
	struct journal_shard *j = &sh->journal;
	struct record_source r;
	uint8_t *buf;
	bool ok;

	if (source == NULL)
		return put(j, rec);
	r = source_record(sh, source);
	if ((buf = malloc(record_source_size(&r))) == NULL)
		return false;
	rec->bytes = record_put_source(buf, &r);
	ok = put(j, rec);
	free(buf);
	return ok;
}

bool
journal_retained(struct shard *sh, struct msg *m, struct msg *old)
{
	struct journal_shard *j = &sh->journal;
	struct store_record rec = { .kind = STORE_RETAINED, .id = old != NULL ? old->record : 0 };

	/* What the broker says of itself it says again. */
	if (!journal_on(j) || sh->closing || slice_starts(msg_topic(m), SL("$SYS/")))
		return true;
	if (m->payload_n == 0) {
		del(j, STORE_RETAINED, rec.id);
		j->marks++;
		return true;
	}
	if (rec.id == 0)
		rec.id = store_id(j->writer);
	rec.ref = journal_body_of(sh, m);
	if (rec.ref == 0 || !put_retained(sh, &rec, m->source))
		return false;
	m->record = rec.id;
	m->body = rec.ref;
	return true;
}

void
journal_unretained(void *shard, struct msg *m)
{
	struct shard *sh = shard;

	if (journal_on(&sh->journal) && !sh->closing)
		del(&sh->journal, STORE_RETAINED, m->record);
}

bool
journal_will(struct session *s)
{
	struct record_will r = { 0 };
	struct store_record rec = { .kind = STORE_WILL };
	uint8_t buf[RECORD_WILL];
	struct journal *x = s->journal;

	if (!keeps(s))
		return true;
	if (s->will == NULL) {
		del(journal_of(s), STORE_WILL, x->will);
		x->will = 0;
		return true;
	}
	if (journal_of(s)->failing)
		return x->stale = true;
	r = (struct record_will){ .session = x->id, .delay_s = s->will->delay_s, .expiry_s = s->will->expiry_s,
		.has_expiry = s->will->has_expiry };
	rec.id = x->will != 0 ? x->will : store_id(journal_of(s)->writer);
	rec.ref = journal_body_of(s->shard, s->will->msg);
	rec.bytes = record_put_will(buf, &r);
	if (rec.ref == 0 || !put(journal_of(s), &rec))
		return false;
	x->will = rec.id;
	return true;
}

bool
journal_is_durable(const struct session *s)
{
	return s->journal->seq <= store_durable(journal_of(s)->writer);
}

void
journal_catch_up(struct session *s)
{
	/* Without memory the record says what it said before. */
	if (keeps(s) && s->journal->stale)
		s->journal->stale = !journal_session(s) || !journal_will(s);
}
