/* The store's thread: everything that has arrived becomes one frame, which one write makes durable; then those who wait for it
 * are told, and only then the index learns of it. When the write fails, what that file holds from there on is unknown: the frame
 * is kept and goes to a new segment, whose header says that the old one does not count from this frame on. */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include "base/num.h"
#include "store/internal.h"

#define set(field, v) atomic_store_explicit(&(field), (v), memory_order_relaxed)
#define add(field, v) atomic_fetch_add_explicit(&(field), (v), memory_order_relaxed)

void
store_tell(struct store *s, const struct store_event *e)
{
	if (s->o.event != NULL)
		s->o.event(s->o.ctx, e);
}

static void
state_set(struct store *s, enum store_state now, const char *why)
{
	struct store_event e = { .kind = STORE_EVENT_STATE, .state = now, .file = "", .text = why };

	if ((enum store_state)atomic_load_explicit(&s->state, memory_order_relaxed) == now)
		return;
	set(s->state, (int)now);
	store_tell(s, &e);
}

static void
state_update(struct store *s)
{
	if (s->failing)
		return;
	if (s->files.no_space && s->files.n_spares < RESERVE)
		state_set(s, STORE_FULL, "no space for the reserve: nothing is taken that adds until there is some again");
	else
		state_set(s, STORE_READY, "what is handed over becomes durable again");
}

/* ---- building a frame ---- */

/* What a frame of <n> bytes takes with its header, a tag and padding, and a last record. */
bool
frame_room(struct store *s, size_t n)
{
	size_t need, cap = NUM_MAX(s->frame_cap, (size_t)FRAME_TARGET);
	uint8_t *p;

	if (!num_add(s->frame_n, n, &need) || !num_add(need, (size_t)FRAME_HEADER + RECORD_SHORT + SEAL_TAG + FRAME_ALIGN, &need))
		return false;
	if (need <= s->frame_cap)
		return true;
	while (cap < need)
		if (!num_mul(cap, 2u, &cap))
			return false;
	if ((p = realloc(s->frame, cap)) == NULL)
		return false;
	s->frame = p;
	s->frame_cap = cap;
	return true;
}

static void
frame_add(struct store *s, const uint8_t *p, size_t n, uint32_t records)
{
	memcpy(s->frame + FRAME_HEADER + s->frame_n, p, n);
	s->frame_n += n;
	s->frame_records += records;
}

/* As much of <b> as the frame should take; true when that is all. A turn is there as a whole or not at all, so a large one makes a
 * large frame; only what would not fit into memory twice is cut. */
static bool
take_batch(struct store *s, struct batch *b)
{
	size_t left = b->n - b->taken, n = 0;
	bool whole = left + s->frame_n <= FRAME_TARGET;
	uint32_t records = 0;
	struct record r;

	if (!whole && b->taken == 0) {
		if (s->framed != NULL)
			return false; /* it is in the next one */
		whole = left <= TURN_MAX && frame_room(s, left);
	}
	if (whole) {
		n = left;
		records = b->records;
	} else
		while (n < left && s->frame_n + n < FRAME_TARGET &&
		       record_get(b->bytes + b->taken + n, left - n, &r)) {
			n += r.size;
			records++;
		}
	if (n == 0 || !frame_room(s, n))
		return false;
	frame_add(s, b->bytes + b->taken, n, records);
	b->taken += n;
	b->records -= records;
	return b->taken == b->n;
}

static void
inbox_fetch(struct store *s)
{
	for (struct inbox_node *n = inbox_take(&s->inbox), *next; n != NULL; n = next) {
		struct batch *b = (struct batch *)(void *)n;

		next = n->next;
		b->next = NULL;
		*s->pending_last = b;
		s->pending_last = &b->next;
		s->batches_in++;
	}
}

static void
frame_build(struct store *s)
{
	struct batch *b, **framed = &s->framed;

	s->frame_n = 0;
	s->frame_records = s->frame_tail = s->mask = 0;
	if (!frame_room(s, 0))
		return;
	clean_fill(s);
	while ((b = s->pending) != NULL && s->frame_n < FRAME_TARGET && take_batch(s, b)) {
		if ((s->pending = b->next) == NULL)
			s->pending_last = &s->pending;
		b->next = NULL;
		*framed = b;
		framed = &b->next;
	}
	if (s->frame_tail != 0) {
		record_put(s->frame + FRAME_HEADER + s->frame_n, &(struct record){ .op = OP_TAIL, .id = s->frame_tail });
		s->frame_n += RECORD_SHORT;
		s->frame_records++;
	}
	s->frame_held = s->frame_n > 0;
}

/* ---- writing it ---- */

/* Checksums, encryption and header for this segment. The bytes to write, *ret_n of them; NULL: out of memory or libcrypto. */
static const uint8_t *
frame_finish(struct store *s, const struct seg *seg, uint64_t *ret_n)
{
	uint32_t seed = header_seed(&seg->h), mask = frame_mask(seed, s->next_seq);
	struct frame f = { .n = (uint32_t)s->frame_n, .records = s->frame_records, .seq = s->next_seq };
	uint8_t *out = s->frame;

	records_mask(s->frame + FRAME_HEADER, s->frame_n, s->mask ^ mask);
	s->mask = mask;
	if (s->seal != NULL) {
		if (s->sealed_cap < s->frame_cap) {
			if ((out = realloc(s->sealed, s->frame_cap)) == NULL)
				return NULL;
			s->sealed = out;
			s->sealed_cap = s->frame_cap;
		}
		out = s->sealed;
		memcpy(out + FRAME_HEADER, s->frame + FRAME_HEADER, s->frame_n);
		f.n += SEAL_TAG;
		frame_put(&f, seed, out);
		if (!seal_lock(s->seal, seg->used, out, out + FRAME_HEADER, s->frame_n))
			return NULL;
	}
	*ret_n = frame_size(f.n);
	memset(out + FRAME_HEADER + f.n, 0, *ret_n - FRAME_HEADER - f.n);
	f.crc = crc32c(seed, out + FRAME_HEADER, f.n);
	frame_put(&f, seed, out);
	return out;
}

int
segment_next(struct store *s, uint64_t room)
{
	int r;

	segment_seal(&s->files);
	s->h.tail = s->files.n > 0 ? s->files.segs[0].h.id : 0;
	s->h.first_seq = s->next_seq;
	s->h.next_id = atomic_load_explicit(&s->next_id, memory_order_relaxed);
	if ((r = segment_make(&s->files, &s->h, room)) < 0)
		return r;
	return s->seal == NULL || seal_segment(s->seal, &s->h) ? 0 : -ENOMEM;
}

static unsigned
flush_bucket(uint64_t us)
{
	unsigned i = 0;

	while (i < STORE_FLUSH_BUCKETS - 1 && us > store_flush_le_us[i])
		i++;
	return i;
}

int
frame_write(struct store *s)
{
	uint64_t n = frame_size(s->frame_n + (s->seal != NULL ? SEAL_TAG : 0u));
	const struct store_fs *fs = s->files.fs;
	struct seg *last = s->files.n > 0 ? &s->files.segs[s->files.n - 1] : NULL;
	const uint8_t *p;
	uint64_t begin;
	int r;

	if ((s->files.fd < 0 || last == NULL || last->size - last->used < n) && (r = segment_next(s, n)) < 0)
		return r;
	last = &s->files.segs[s->files.n - 1];
	if ((p = frame_finish(s, last, &n)) == NULL)
		return -ENOMEM;
	begin = fs->now_us(fs->ctx);
	if ((r = fs_write_all(fs, s->files.fd, p, n, last->used)) < 0) {
		segment_seal(&s->files);
		return r;
	}
	begin = fs->now_us(fs->ctx) - begin;
	add(s->flush_us, begin);
	set(s->flush_max_us, NUM_MAX(atomic_load_explicit(&s->flush_max_us, memory_order_relaxed), begin));
	add(s->flushes[flush_bucket(begin)], 1u);
	add(s->bytes, n);
	s->frame_at = last->used;
	last->used += n;
	s->next_seq++;
	return 0;
}

/* ---- telling, and remembering ---- */

static void
release(struct store *s)
{
	uint64_t bytes = 0;

	for (struct batch *b = s->framed, *next; b != NULL; b = next) {
		next = b->next;
		bytes += b->n;
		s->batches_out++;
		ticket_part(b->ticket, true);
		for (struct store_part *p = b->parts, *q; p != NULL; p = q) {
			q = p->next;
			ticket_part(p->ticket, true);
			free(p);
		}
		b->parts = NULL;
		(void)inbox_push(&b->writer->done, &b->node);
	}
	s->framed = NULL;
	atomic_fetch_sub_explicit(&s->backlog, bytes, memory_order_relaxed);
	for (unsigned i = 0; i < s->o.n_writers; i++)
		if (s->writers[i].wake) {
			s->writers[i].wake = false;
			if (s->o.wake != NULL)
				s->o.wake(s->o.ctx, i);
		}
}

static void
forget(struct store *s, struct place *p)
{
	struct seg *seg = seg_find(&s->files, p->seg);

	if (seg != NULL)
		seg->live -= p->n;
	s->live -= p->n;
	index_del(&s->index, p);
}

static void
unref(struct store *s, uint64_t id)
{
	struct place *p = id != 0 ? index_find(&s->index, id) : NULL;

	if (p != NULL && p->kind & STORE_COUNTED && p->ref > 0 && --p->ref == 0)
		forget(s, p);
}

static void
apply_put(struct store *s, const struct record *r, uint32_t at)
{
	struct seg *last = &s->files.segs[s->files.n - 1], *old;
	struct place *p = index_add(&s->index, r->id), *body;
	bool counted = (r->kind & STORE_COUNTED) != 0;
	uint64_t before;

	if (p == NULL) {
		s->clean_stopped = true; /* what the index does not know must not be cleaned away */
		store_tell(s, &(struct store_event){ .kind = STORE_EVENT_NO_CLEAN, .file = "",
		    .text = "out of memory for the index: space is reclaimed again after a restart" });
		return;
	}
	if (p->n > 0 && (old = seg_find(&s->files, p->seg)) != NULL)
		old->live -= p->n;
	s->live -= p->n;
	before = counted ? 0 : p->ref;
	p->seg = last->h.id;
	p->at = at;
	p->n = r->size;
	p->kind = r->kind;
	last->live += r->size;
	s->live += r->size;
	if (counted || before == r->ref)
		return;
	p->ref = r->ref;
	if (r->ref != 0 && (body = index_find(&s->index, r->ref)) != NULL && body->kind & STORE_COUNTED)
		body->ref++;
	unref(s, before);
}

void
frame_apply(struct store *s)
{
	const uint8_t *p = s->frame + FRAME_HEADER;
	struct record r;
	struct place *gone;
	size_t ahead = 0;

	for (size_t at = 0; at < s->frame_n && record_get(p + at, s->frame_n - at, &r); at += r.size) {
		ahead = records_prefetch(&s->index, slice_of(p, s->frame_n), ahead, at);
		if (r.op == OP_PUT)
			apply_put(s, &r, (uint32_t)(s->frame_at + FRAME_HEADER + at));
		else if (r.op == OP_DEL && (gone = index_find(&s->index, r.id)) != NULL) {
			uint64_t ref = gone->kind & STORE_COUNTED ? 0 : gone->ref;

			forget(s, gone);
			unref(s, ref);
		}
	}
	if (s->frame_tail > s->tail)
		s->tail = s->frame_tail;
	add(s->frames, 1u);
	add(s->records, s->frame_records);
}

void
store_publish(struct store *s)
{
	set(s->live_records, s->index.count);
	set(s->live_bytes, s->live);
	set(s->log_bytes, s->files.log_bytes);
	set(s->segments, s->files.n);
	set(s->spares, s->files.n_spares);
	state_update(s);
}

void
store_failed(struct store *s, int r)
{
	char text[160];
	bool full = r == -ENOSPC || r == -EDQUOT;

	(void)snprintf(text, sizeof text, "%s: %s", full ? "the disk is full, and the reserve is used up" :
	    "writing failed; what is not durable is kept in memory until a new segment can be written", strerror(-r));
	add(s->failures, 1u);
	s->retry_wait_ms = s->failing ? NUM_MIN(s->retry_wait_ms * 2, (uint64_t)RETRY_MAX_MS) : RETRY_MS;
	s->retry_us = s->files.fs->now_us(s->files.fs->ctx) + s->retry_wait_ms * 1000;
	s->failing = true;
	state_set(s, full ? STORE_FULL : STORE_FAILED, text);
}

/* One large record does not hold its memory for ever. */
static void
trim(struct store *s)
{
	if (s->frame_cap <= FRAME_KEEP)
		return;
	free(s->frame);
	free(s->sealed);
	s->frame = s->sealed = NULL;
	s->frame_cap = s->sealed_cap = s->frame_n = 0;
}

enum step
store_step(struct store *s)
{
	uint64_t n;
	int r;

	inbox_fetch(s);
	control_turn(s);
	if (s->failing && s->files.fs->now_us(s->files.fs->ctx) < s->retry_us)
		return STEP_WAITING;
	if (!s->frame_held && (s->pending != NULL || clean_due(s)))
		frame_build(s);
	if (!s->frame_held) {
		bool reserved = spares_reserve(&s->files);

		if (s->failing && (r = segment_next(s, 0)) < 0)
			store_failed(s, r);
		else
			s->failing = false;
		store_publish(s);
		return s->pending != NULL || s->failing ? STEP_WAITING : reserved ? STEP_BUSY : STEP_IDLE;
	}
	if ((r = frame_write(s)) < 0) {
		store_failed(s, r);
		return STEP_WAITING;
	}
	s->failing = s->frame_held = false;
	n = s->frame_n;
	state_update(s); /* whoever hears that something is durable must not be refused the next */
	release(s);
	frame_apply(s);
	clean_done(s);
	trim(s);
	s->clean_credit = NUM_MIN(s->clean_credit + (int64_t)(CLEAN_STEP + 3 * n), (int64_t)FRAME_TARGET * 4);
	if (!spares_reserve(&s->files))
		(void)spares_prepare(&s->files, n + 4096);
	store_publish(s);
	return STEP_BUSY;
}
