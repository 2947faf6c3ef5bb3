/* From segments to the index: what is alive after everything that happened, in the order in which it happened. */
#include <stdio.h>
#include <stdlib.h>
#include "base/num.h"
#include "base/text.h"
#include "store/internal.h"

enum { FOUND_MIN = 16 };

/* Damage is told at the end: what lies in segments below the tail does not count. */
static bool
note(struct load *l, const struct seg *s, const struct store_event *e, const char *text)
{
	if (l->n_found == l->cap_found) {
		size_t cap = l->cap_found > 0 ? l->cap_found * 2 : FOUND_MIN;
		struct found *v = realloc(l->found, cap * sizeof *v);

		if (v == NULL)
			return false;
		l->found = v;
		l->cap_found = cap;
	}
	struct found *f = &l->found[l->n_found++];

	*f = (struct found){ .seg = s->h.id, .e = *e };
	(void)snprintf(f->text, sizeof f->text, "%s", text);
	return true;
}

static void
tell_found(struct load *l)
{
	char name[NAME_BYTES];

	for (size_t i = 0; i < l->n_found; i++) {
		struct found *f = &l->found[i];
		struct seg *s = seg_find(l->files, f->seg);

		if (f->seg < l->tail)
			continue;
		f->e.file = seg_name(f->seg, name);
		f->e.text = f->text;
		if (f->e.kind == STORE_EVENT_TAIL)
			l->out->torn_tail = true;
		else {
			l->out->damaged++;
			l->out->lost_frames += f->e.frames;
			l->out->lost_records += f->e.records;
			if (s != NULL)
				s->damaged = true;
		}
		if (l->report->event != NULL)
			l->report->event(l->report->ctx, &f->e);
	}
}

/* ---- records ---- */

static bool
replay_put(struct load *l, const struct reader *r, const struct record *rec)
{
	struct place *p = index_add(l->index, rec->id);

	if (p == NULL)
		return false;
	p->ref = rec->kind & STORE_COUNTED ? 0 : rec->ref;
	p->seg = r->seg.h.id;
	p->at = (uint32_t)(r->at + FRAME_HEADER + (uint64_t)(rec->bytes - RECORD_PUT - r->bytes));
	p->n = rec->size;
	p->kind = rec->kind;
	return true;
}

static bool
replay(struct load *l, const struct reader *r, const struct record *rec)
{
	struct place *p;

	if (rec->id >> 62 != 0 || (rec->id == 0 && rec->op <= OP_DEL))
		return true; /* never given */
	if (rec->op == OP_PUT || rec->op == OP_DEL)
		l->next_id = NUM_MAX(l->next_id, rec->id + 1);
	switch (rec->op) {
	case OP_PUT:
		l->out->puts++;
		return replay_put(l, r, rec);
	case OP_DEL:
		l->out->dels++;
		if ((p = index_find(l->index, rec->id)) != NULL)
			index_del(l->index, p);
		return true;
	case OP_TAIL:
		l->tail = NUM_MAX(l->tail, (uint32_t)NUM_MIN(rec->id, (uint64_t)UINT32_MAX));
		return true;
	case OP_END:
		l->out->clean_end = true;
		return true;
	default:
		return true; /* of a later minor version: may be passed over */
	}
}

typedef bool record_fn(void *ctx, const struct reader *r, const struct record *rec);

/* All records of the present frame; of a damaged one those that verify. Each is looked for in <x>. The number that counted, -1 for
 * no memory. */
static int64_t
each_record(struct reader *r, const struct index *x, bool partial, record_fn *fn, void *ctx)
{
	uint32_t mask = frame_mask(r->seed, r->frame.seq);
	struct record rec;
	size_t ahead = 0;
	int64_t n = 0;

	for (size_t at = 0; at < r->frame.n && record_get(r->bytes + at, r->frame.n - at, &rec); at += rec.size) {
		ahead = records_prefetch(x, slice_of(r->bytes, r->frame.n), ahead, at);
		if (partial && !record_verify(r->bytes + at, &rec, mask))
			continue;
		if (!fn(ctx, r, &rec))
			return -1;
		n++;
	}
	return n;
}

static bool
on_replay(void *ctx, const struct reader *r, const struct record *rec)
{
	return replay(ctx, r, rec);
}

static bool
load_frame(struct load *l, struct reader *r, enum read_result got, struct store_event *damage, struct err *err)
{
	int64_t n;

	l->out->clean_end = false;
	if (got == READ_FRAME || r->frame.n > 0)
		l->out->frames++;
	if ((n = each_record(r, l->index, got == READ_PARTIAL, on_replay, l)) < 0)
		return err_set(err, ERR_MEMORY, "out of memory");
	l->out->records += (uint64_t)n;
	if (got == READ_FRAME)
		return true;
	damage->records = r->frame.n > 0 && r->frame.records > n ? r->frame.records - (uint64_t)n : 0;
	return note(l, &r->seg, damage, "damaged: what is lost here is lost, everything else was recovered; restore a backup if "
	    "that is not acceptable") || err_set(err, ERR_MEMORY, "out of memory");
}

static bool
load_segment(struct load *l, struct ahead *a, struct seg *s, struct err *err)
{
	struct reader r;
	struct store_event e;
	enum read_result got;

	l->next_id = NUM_MAX(l->next_id, s->h.next_id);
	l->tail = NUM_MAX(l->tail, s->h.tail);
	l->next_seq = NUM_MAX(l->next_seq, s->h.first_seq);
	l->out->encrypted = s->h.cipher != 0;
	if (!ahead_segment(a, (uint32_t)(s - l->files->segs), &r, err))
		return false;
	while ((got = ahead_next(a, &r, &e, err)) == READ_FRAME || got == READ_PARTIAL)
		if (!load_frame(l, &r, got, &e, err))
			return false;
	if (got == READ_FAILED)
		return false;
	s->used = r.next;
	if (s->size < s->h.size) {
		e = (struct store_event){ .kind = STORE_EVENT_DAMAGE, .offset = s->size };
		if (!note(l, s, &e, "the file is shorter than it was made: what stood behind this place is lost"))
			return err_set(err, ERR_MEMORY, "out of memory");
	}
	l->next_seq = NUM_MAX(l->next_seq, r.torn ? r.want_seq - 1 : r.want_seq);
	e = (struct store_event){ .kind = STORE_EVENT_TAIL, .offset = r.at };
	return !r.torn || note(l, s, &e, "a frame that was never acknowledged was cut off: it was being written when the machine "
	    "stopped") || err_set(err, ERR_MEMORY, "out of memory");
}

/* ---- what is left ---- */

struct dead {
	uint64_t *v;
	size_t n, cap;
};

static bool
dead_add(struct dead *d, uint64_t id)
{
	if (d->n == d->cap) {
		size_t cap = d->cap > 0 ? d->cap * 2 : 1024;
		uint64_t *v = realloc(d->v, cap * sizeof *v);

		if (v == NULL)
			return false;
		d->v = v;
		d->cap = cap;
	}
	d->v[d->n++] = id;
	return true;
}

static void
dead_bury(struct dead *d, struct index *x)
{
	for (size_t i = 0; i < d->n; i++) {
		struct place *p = index_find(x, d->v[i]);

		if (p != NULL)
			index_del(x, p);
	}
	d->n = 0;
}

/* A segment that was given up and is still there, as its new name was lost with the power. */
static bool
drop_old(struct load *l, struct dead *dead)
{
	struct place *p;

	for (uint64_t pos = 0; (p = index_next(l->index, &pos)) != NULL;)
		if (p->seg < l->tail && !dead_add(dead, p->id))
			return false;
	dead_bury(dead, l->index);
	return true;
}

static bool
count_refs(struct load *l, struct dead *dead)
{
	struct place *p, *body;

	for (uint64_t pos = 0; (p = index_next(l->index, &pos)) != NULL;) {
		if (p->ref == 0 || p->kind & STORE_COUNTED)
			continue;
		if ((body = index_find(l->index, p->ref)) != NULL && body->kind & STORE_COUNTED) {
			body->ref++;
			continue;
		}
		struct store_event e = { .kind = STORE_EVENT_NO_BODY, .offset = p->id, .file = "", .records = 1,
			.text = "a record is lost, as what it refers to was damaged" };

		l->out->lost_bodies++;
		if (l->report->event != NULL)
			l->report->event(l->report->ctx, &e);
		if (!dead_add(dead, p->id))
			return false;
	}
	return true;
}

static bool
account(struct load *l, struct dead *dead)
{
	struct place *p;
	struct seg *s;

	if (!count_refs(l, dead))
		return false;
	for (uint64_t pos = 0; (p = index_next(l->index, &pos)) != NULL;)
		if (p->kind & STORE_COUNTED && p->ref == 0 && !dead_add(dead, p->id))
			return false;
	dead_bury(dead, l->index);
	for (uint64_t pos = 0; (p = index_next(l->index, &pos)) != NULL;) {
		if ((s = seg_find(l->files, p->seg)) != NULL)
			s->live += p->n;
		l->live_bytes += p->n;
		l->out->live_of_kind[p->kind]++;
	}
	l->out->live_records = l->index->count;
	l->out->live_bytes = l->live_bytes;
	return true;
}

/* The oldest segment that counts is always there. */
static bool
check_tail(struct load *l)
{
	struct seg gone = { .h.id = l->tail };
	struct store_event e = { .kind = STORE_EVENT_DAMAGE };

	if (l->files->n == 0 || l->tail == 0 || seg_find(l->files, l->tail) != NULL)
		return true;
	return note(l, &gone, &e, "the file is missing: put it back if it is elsewhere, or restore a backup");
}

bool
load_index(struct load *l, struct err *err)
{
	struct dead dead = { 0 };
	struct store_event e = { .kind = STORE_EVENT_DAMAGE };
	struct ahead *a;
	uint32_t first = 0;
	bool ok = true;

	l->next_id = NUM_MAX(l->next_id, 1u);
	l->next_seq = NUM_MAX(l->next_seq, 1u);
	for (uint32_t i = 0; i < l->files->n; i++)
		l->tail = NUM_MAX(l->tail, l->files->segs[i].unreadable ? 0 : l->files->segs[i].h.tail);
	while (first < l->files->n && l->files->segs[first].h.id < l->tail)
		first++;
	if ((a = ahead_open(l->files, first, false, l->seal)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (uint32_t i = first; ok && i < l->files->n; i++) {
		struct seg *s = &l->files->segs[i];

		if (s->h.id < l->tail)
			continue;
		l->out->segments++;
		if (s->unreadable)
			ok = note(l, s, &e, "not a segment of this store, or both copies of its header are damaged: nothing of it "
			    "could be used") || err_set(err, ERR_MEMORY, "out of memory");
		else
			ok = load_segment(l, a, s, err);
	}
	ahead_close(a);
	if (ok && !(drop_old(l, &dead) && account(l, &dead) && check_tail(l)))
		ok = err_set(err, ERR_MEMORY, "out of memory");
	if (ok)
		tell_found(l);
	l->out->log_bytes = l->files->log_bytes;
	free(dead.v);
	free(l->found);
	l->found = NULL;
	return ok;
}

/* ---- the records themselves ---- */

struct delivery {
	const struct index *index;
	store_load_fn *fn;
	void *ctx;
	uint8_t late;
};

static bool
deliver(void *ctx, const struct reader *r, const struct record *rec)
{
	struct delivery *d = ctx;
	struct store_record out = { .kind = rec->kind, .id = rec->id, .ref = rec->ref, .bytes = slice_of(rec->bytes, rec->n) };
	const struct place *p;

	if (rec->op != OP_PUT || (rec->kind & STORE_LATE) != d->late || (p = index_find(d->index, rec->id)) == NULL)
		return true;
	if (p->seg != r->seg.h.id || p->at != r->at + FRAME_HEADER + (uint64_t)(rec->bytes - RECORD_PUT - r->bytes))
		return true;
	return d->fn(d->ctx, &out);
}

static bool
deliver_segment(struct ahead *a, uint32_t i, struct delivery *d, struct err *err)
{
	struct store_event ignored; /* told by load_index() */
	struct reader r;
	enum read_result got;
	bool ok = ahead_segment(a, i, &r, err);

	if (!ok)
		return false;
	while (ok && ((got = ahead_next(a, &r, &ignored, err)) == READ_FRAME || got == READ_PARTIAL))
		ok = each_record(&r, d->index, got == READ_PARTIAL, deliver, d) >= 0;
	return ok && got == READ_END;
}

bool
load_records(const struct files *f, const struct index *x, struct seal *seal, store_load_fn *fn, void *ctx, struct err *err)
{
	bool ok = true;

	for (unsigned late = 0; ok && late <= STORE_LATE; late += STORE_LATE) {
		struct delivery d = { .index = x, .fn = fn, .ctx = ctx, .late = (uint8_t)late };
		struct ahead *a = ahead_open(f, 0, true, seal);

		if (a == NULL)
			return err_set(err, ERR_MEMORY, "out of memory");
		for (uint32_t i = 0; ok && i < f->n; i++)
			if (f->segs[i].live > 0)
				ok = deliver_segment(a, i, &d, err);
		ahead_close(a);
	}
	return ok;
}

bool
load_key(const struct files *f, struct slice key, struct seal **ret, struct err *err)
{
	const struct seg_header *h = NULL;
	struct seal *seal = NULL;
	uint8_t id[8] = { 0 };
	char have[17], want[17], name[NAME_BYTES];

	if (key.n > 0 && (seal = seal_new(key)) == NULL)
		return err_set(err, ERR_INPUT, "the key of the store is not %d bytes long, or there is no memory", STORE_KEY_BYTES);
	if (seal != NULL)
		seal_key_id(seal, id);
	for (uint32_t i = 0; i < f->n && h == NULL; i++)
		if (!f->segs[i].unreadable && f->segs[i].h.cipher != 0 &&
		    (seal == NULL || memcmp(f->segs[i].h.key_id, id, sizeof id) != 0))
			h = &f->segs[i].h;
	*ret = seal;
	if (h == NULL)
		return true;
	*ret = NULL;
	seal_free(seal);
	(void)text_hex(slice_of(h->key_id, 8), want, sizeof want);
	(void)text_hex(slice_of(id, 8), have, sizeof have);
	if (key.n == 0)
		return err_set(err, ERR_DENIED, "%s/%s is encrypted with the key whose id is %s: give that key", f->dir,
		    seg_name(h->id, name), want);
	return err_set(err, ERR_DENIED, "%s/%s is encrypted with the key whose id is %s, and the one given has the id %s", f->dir,
	    seg_name(h->id, name), want, have);
}
