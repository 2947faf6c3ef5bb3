/* What the store has kept becomes sessions, queues and retained messages again, before any worker runs. A record that makes no
 * sense, or belongs to a session that is gone, is counted and taken out; everything else is recovered. */
#include <stdlib.h>
#include "base/mem.h"
#include "broker/internal.h"
#include "broker/record.h"
#include "broker/recover.h"

/* ---- identities to things ---- */

enum { NEIGHBOURS = 5 };

/* What was put together has neighbouring identities: these lie side by side. */
static struct recover_cell *
cell_of(const struct recover_table *t, uint64_t id)
{
	uint64_t m = (id >> NEIGHBOURS) * 0x9e3779b97f4a7c15u;
	size_t i = (size_t)(m >> 20 << NEIGHBOURS | (id & ((1u << NEIGHBOURS) - 1))) & (t->cap - 1);

	while (t->v[i].id != 0 && t->v[i].id != id)
		i = (i + 1) & (t->cap - 1);
	return &t->v[i];
}

void *
recover_find(const struct recover_table *t, uint64_t id)
{
	return t->cap > 0 && id != 0 ? cell_of(t, id)->thing : NULL;
}

static bool
table_put(struct recover_table *t, uint64_t id, void *thing)
{
	if (t->n * 2 >= t->cap) {
		struct recover_table bigger = { .n = t->n, .cap = t->cap > 0 ? t->cap * 2 : 1024 };

		if ((bigger.v = mem_table(bigger.cap, sizeof *bigger.v)) == NULL)
			return false;
		for (size_t i = 0; i < t->cap; i++)
			if (t->v[i].id != 0)
				*cell_of(&bigger, t->v[i].id) = t->v[i];
		free(t->v);
		*t = bigger;
	}
	*cell_of(t, id) = (struct recover_cell){ id, thing };
	t->n++;
	return true;
}

bool
recover_note(struct orphans *o, const struct orphan *one)
{
	if (o->n == o->cap) {
		size_t cap = o->cap > 0 ? o->cap * 2 : 64;
		struct orphan *v = reallocarray(o->v, cap, sizeof *v);

		if (v == NULL)
			return false;
		o->v = v;
		o->cap = cap;
	}
	o->v[o->n++] = *one;
	return true;
}

static bool
note(struct recovery *r, struct orphans *o, const struct store_record *rec)
{
	return recover_note(o, &(struct orphan){ rec->id, rec->ref, NULL, rec->kind }) || !(r->nomem = true);
}

static bool
reject(struct recovery *r, const struct store_record *rec)
{
	r->count->rejected++;
	return note(r, &r->orphans, rec);
}

/* Of the session with this record; NULL: there is none. Until the next one is begun. */
static struct loading *
loading_of(const struct recovery *r, uint64_t session)
{
	uintptr_t i = (uintptr_t)recover_find(&r->sessions, session);

	return i > 0 ? &r->loading[i - 1] : NULL;
}

static bool
loading_begin(struct recovery *r, uint64_t id, struct session *s)
{
	if (r->n_loading == r->cap_loading) {
		size_t cap = r->cap_loading > 0 ? r->cap_loading * 2 : 64;
		struct loading *v = reallocarray(r->loading, cap, sizeof *v);

		if (v == NULL)
			return false;
		r->loading = v;
		r->cap_loading = cap;
	}
	r->loading[r->n_loading++] = (struct loading){ .session = s, .shard = s->shard->index };
	return table_put(&r->sessions, id, (void *)(uintptr_t)r->n_loading);
}

/* ---- one function a kind ---- */

static bool
load_session(struct recovery *r, const struct store_record *rec)
{
	struct record_session got;
	struct shard *sh;
	struct session *s;
	uint16_t listener;
	int64_t away;

	if (!record_get_session(rec->bytes, &got))
		return reject(r, rec);
	sh = r->broker->shards[broker_home(r->broker, got.id)];
	if (session_find(sh, got.id) != NULL)
		return reject(r, rec);
	(void)session_count_in(r->broker, true);
	if ((s = session_new(sh, got.id)) == NULL) {
		session_count_out(r->broker);
		return !(r->nomem = true);
	}
	s->who = authz_principal_new(&got.who);
	/* Without memory the session goes with its shard. */
	if (s->who == NULL || !journal_adopt(s, rec->id) || !loading_begin(r, rec->id, s))
		return !(r->nomem = true);
	certs_add(s);
	s->expiry_s = got.expiry_s;
	listener = listener_recorded(sh, &got.listener);
	s->homeless = listener == LISTENER_NONE;
	s->listener = s->homeless ? 0 : listener;
	r->count->homeless += s->homeless;
	s->judge_all = true;
	s->unclaimed = got.unclaimed;
	away = got.away_since != 0 && got.away_since < r->now.wall ? r->now.wall - got.away_since : 0;
	s->offline_ms = sh->now_ms - (uint64_t)away * 1000; /* may be before the clock's beginning: only differences count */
	r->count->sessions++;
	return true;
}

static bool
load_body(struct recovery *r, const struct store_record *rec)
{
	struct msg *m = record_get_body(rec->bytes, &r->now, &r->nomem);

	if (m == NULL)
		return r->nomem ? false : reject(r, rec);
	if (table_put(&r->bodies, rec->id, m))
		return true;
	msg_unref(m);
	return !(r->nomem = true);
}

static bool
load_sub(struct recovery *r, const struct store_record *rec)
{
	struct record_sub got;
	struct loading *l;

	if (!record_get_sub(rec->bytes, &got) || (l = loading_of(r, got.session)) == NULL)
		return reject(r, rec);
	if (!session_resubscribe(l->session, &got, rec->id))
		return reject(r, rec);
	r->count->subscriptions++;
	return true;
}

/* The message of an entry with its subscription identifiers. */
static bool
make_out(const struct record_entry *e, struct msg *m, struct out *ret)
{
	struct out o = { .kind = OUT_MSG, .qos = e->qos & 3u, .retain = e->retain, .packet_id = e->packet_id };
	struct rd rd = rd_of(e->id_bytes);
	uint32_t id = e->n_ids == 1 ? rd_u32(&rd) & OUT_ID_MASK : 0;

	out_set_share(&o, e->share);
	if (e->n_ids <= 1) {
		o.id = id & OUT_ID_MASK;
		o.msg = msg_ref(m);
		*ret = o;
		return true;
	}
	o.kind = OUT_MANY;
	if ((o.many = malloc(sizeof *o.many + e->n_ids * sizeof o.many->ids[0])) == NULL)
		return false;
	*o.many = (struct many){ .refs = 1, .n = e->n_ids, .msg = msg_ref(m) };
	for (unsigned i = 0; i < e->n_ids; i++)
		o.many->ids[i] = rd_u32(&rd);
	*ret = o;
	return true;
}

static bool
load_entry(struct recovery *r, const struct store_record *rec)
{
	struct record_entry e;
	struct loading *l;
	struct loaded *at;
	struct msg *m;

	if (!record_get_entry(rec->bytes, &e) || (l = loading_of(r, e.session)) == NULL)
		return reject(r, rec);
	m = recover_find(&r->bodies, rec->ref);
	if (m == NULL && e.state != RECORD_RELEASED)
		return reject(r, rec);
	if (l->n == l->cap) {
		uint32_t cap = l->cap > 0 ? l->cap * 2 : 4;
		struct loaded *v = reallocarray(l->v, cap, sizeof *v);

		if (v == NULL)
			return !(r->nomem = true);
		l->v = v;
		l->cap = cap;
	}
	at = &l->v[l->n];
	*at = (struct loaded){ .state = e.state, .entry = { rec->id, rec->ref },
		.out = { .kind = OUT_RAW, .packet_id = e.packet_id, .qos = e.qos & 3u } };
	if (e.state != RECORD_RELEASED && !make_out(&e, m, &at->out))
		return !(r->nomem = true);
	l->session->share_slots |= UINT64_C(1) << e.share; /* no other subscription gets this number meanwhile */
	l->n++;
	r->count->messages++;
	return true;
}

static bool
load_inbound(struct recovery *r, const struct store_record *rec)
{
	struct record_inbound got;
	struct loading *l;

	if (!record_get_inbound(rec->bytes, &got) || (l = loading_of(r, got.session)) == NULL ||
	    idset_has(&l->session->received, got.packet_id))
		return reject(r, rec);
	if (idset_add(&l->session->received, got.packet_id) &&
	    journal_adopt_inbound(l->session, (struct inbound){ rec->id, 0, got.packet_id, got.shards > 0 }) &&
	    (got.shards == 0 || once_add_doubt(r->once, rec->id, got.key, got.shards)))
		return true;
	return !(r->nomem = true);
}

static bool
load_part(struct recovery *r, const struct store_record *rec)
{
	struct record_part got;

	if (!record_get_part(rec->bytes, &got))
		return reject(r, rec);
	if (once_add_part(r->once, rec->id, &got))
		return true;
	return !(r->nomem = true);
}

static bool load_source(struct recovery *r, const struct store_record *rec, struct slice bytes, struct msg_source **ret);

static bool
load_handover(struct recovery *r, const struct store_record *rec)
{
	struct record_handover got;
	struct msg *m = recover_find(&r->bodies, rec->ref);
	struct msg_source *source = NULL;

	if (m == NULL || !record_get_handover(rec->bytes, &got))
		return reject(r, rec);
	if (got.source.n > 0 && !load_source(r, rec, got.source, &source))
		return !r->nomem;
	if (source != NULL && m->source == NULL)
		m->source = msg_source_ref(source);
	if (once_add_doubt(r->once, rec->id, got.key, got.shards) && handover_load(r->once, rec->id, &got, m))
		return true;
	return !(r->nomem = true);
}

static bool
load_will(struct recovery *r, const struct store_record *rec)
{
	struct record_will got;
	struct loading *l;
	struct msg *m = recover_find(&r->bodies, rec->ref);
	struct will *w;

	if (!record_get_will(rec->bytes, &got) || m == NULL || (l = loading_of(r, got.session)) == NULL ||
	    l->session->will != NULL)
		return reject(r, rec);
	if ((w = calloc(1, sizeof *w)) == NULL)
		return !(r->nomem = true);
	/* It is his, as it would be if he had published it. */
	if (m->retain && r->broker->settings.check_retain_source && m->source == NULL && (m->source = source_of_session(l->session)) == NULL) {
		free(w);
		return !(r->nomem = true);
	}
	*w = (struct will){ .msg = msg_ref(m), .delay_s = got.delay_s, .expiry_s = got.expiry_s, .has_expiry = got.has_expiry };
	l->session->will = w;
	l->session->journal->will = rec->id;
	return true;
}

/* Equal owners are one: many messages have few. False: the record is rejected, or r->nomem. */
static bool
load_source(struct recovery *r, const struct store_record *rec, struct slice bytes, struct msg_source **ret)
{
	uint64_t hash = map_hash(bytes) | 1;
	struct record_source got;

	if ((*ret = recover_find(&r->sources, hash)) != NULL)
		return true;
	if (!record_get_source(bytes, &got)) {
		(void)reject(r, rec);
		return false;
	}
	if ((*ret = source_restored(r->broker->shards[0], &got)) != NULL && table_put(&r->sources, hash, *ret))
		return true;
	msg_source_unref(*ret);
	return !(r->nomem = true);
}

static bool
load_retained(struct recovery *r, const struct store_record *rec)
{
	struct msg_source *source = NULL;

	if (rec->bytes.n > 0 && !load_source(r, rec, rec->bytes, &source))
		return !r->nomem;
	if (!note(r, &r->retained, rec))
		return false;
	r->retained.v[r->retained.n - 1].source = source;
	return true;
}

static bool
load_note(struct recovery *r, const struct store_record *rec)
{
	struct slice name, value;

	if (!record_get_note(rec->bytes, &name, &value) || (r->broker->notes.key != NULL && map_get(&r->broker->notes, name) != NULL))
		return reject(r, rec);
	if (note_load(r->broker, rec->id, name, value))
		return true;
	return !(r->nomem = true);
}

static bool
on_record(void *ctx, const struct store_record *rec)
{
	struct recovery *r = ctx;

	if ((rec->kind & STORE_LATE) != 0 && !r->late && !recover_retained_begin(r))
		return false;
	switch (rec->kind) {
	case STORE_SESSION:
		return load_session(r, rec);
	case STORE_BODY:
		return load_body(r, rec);
	case STORE_RETAINED:
		return load_retained(r, rec);
	case STORE_SUBSCRIPTION:
		return load_sub(r, rec);
	case STORE_ENTRY:
		return load_entry(r, rec);
	case STORE_INBOUND:
		return load_inbound(r, rec);
	case STORE_WILL:
		return load_will(r, rec);
	case STORE_PART:
		return load_part(r, rec);
	case STORE_HANDOVER:
		return load_handover(r, rec);
	case STORE_NOTE:
		return load_note(r, rec);
	default:
		return reject(r, rec);
	}
}

/* ---- all of it ---- */

/* Before anybody is there: groups know their members, and what was on its way arrives. */
static void
go_on(struct broker *b)
{
	once_loaded(b);
	mail_carry(b);
	handovers_go_on(b);
	mail_carry(b);
}

enum { SWEEP_AHEAD = 16 };

static void
tables_free(struct recovery *r)
{
	const struct recover_table *t = &r->bodies;

	for (size_t i = 0; i < t->cap; i++) {
		if (i + SWEEP_AHEAD < t->cap && t->v[i + SWEEP_AHEAD].thing != NULL)
			__builtin_prefetch(t->v[i + SWEEP_AHEAD].thing, 1);
		msg_unref(t->v[i].thing);
	}
	for (size_t i = 0; i < r->sources.cap; i++)
		msg_source_unref(r->sources.v[i].thing);
	free(r->orphans.v);
	free(r->retained.v);
	free(r->sessions.v);
	free(r->sources.v);
	free(r->bodies.v);
}

bool
broker_recover(struct broker *b, uint64_t now_ms, struct broker_recovered *ret, struct err *err)
{
	struct recovery r = { .broker = b, .now = { b->ports.wall(b->ports.ctx), (uint32_t)(now_ms / 1000), b->settings.stamp_publishers },
		.once = &b->once, .count = ret };
	bool ok;

	*ret = (struct broker_recovered){ 0 };
	for (unsigned i = 0; i < b->n_shards; i++) {
		b->shards[i]->now_ms = now_ms;
		b->shards[i]->now_s = r.now.s;
	}
	ok = store_load(b->settings.store, on_record, &r, err) && (r.late || recover_retained_begin(&r));
	ok = (r.crew == NULL || recover_retained_end(&r)) && ok;
	ok = recover_sessions(&r, ok);
	if (ok)
		go_on(b);
	for (size_t i = 0; ok && i < r.orphans.n; i++)
		(void)store_del(b->shards[0]->journal.writer, r.orphans.v[i].kind, r.orphans.v[i].id);
	tables_free(&r);
	if (!ok && r.nomem)
		return err_set(err, ERR_MEMORY, "out of memory while the store is read: it needs as much as the broker that wrote it");
	return ok;
}
