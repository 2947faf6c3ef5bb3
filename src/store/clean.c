/* Space is reclaimed strictly from the oldest segment on: what is alive there is copied into the frames that are being written
 * anyway, then the file is free. A delete is always younger than the put it is about, so it may go with its segment. */
#include <string.h>
#include "base/num.h"
#include "store/internal.h"

/* Is the log so much larger than what is alive that copying pays? */
static bool
is_wasteful(const struct store *s)
{
	uint64_t log = s->files.log_bytes, room = (uint64_t)s->files.segment_bytes * 3;

	if (atomic_load_explicit(&s->state, memory_order_relaxed) == STORE_FULL)
		return log > s->live + room;
	return log > NUM_MAX(s->o.min_log_bytes, s->live * 2);
}

bool
clean_due(const struct store *s)
{
	if (s->files.n < 2 || s->clean_stopped || s->pinned || s->failing)
		return false;
	if (s->clean_retry_us != 0 && s->files.fs->now_us(s->files.fs->ctx) < s->clean_retry_us)
		return false;
	return s->files.segs[0].live == 0 || is_wasteful(s);
}

void
clean_forget(struct store *s)
{
	reader_close(&s->cleaner);
	s->clean_seg = 0;
}

static void
give_up(struct store *s, const char *why)
{
	char name[NAME_BYTES];

	clean_forget(s);
	s->clean_stopped = true;
	store_tell(s, &(struct store_event){ .kind = STORE_EVENT_NO_CLEAN, .file = seg_name(s->files.segs[0].h.id, name),
	    .text = why });
}

/* The disk may be able to another time; until then nothing of this segment is given up. */
static void
try_later(struct store *s, const char *why)
{
	char name[NAME_BYTES];

	clean_forget(s);
	s->clean_retry_us = s->files.fs->now_us(s->files.fs->ctx) + RETRY_READ_MS * UINT64_C(1000);
	atomic_fetch_add_explicit(&s->failures, 1u, memory_order_relaxed);
	if (s->clean_told == s->files.segs[0].h.id)
		return;
	s->clean_told = s->files.segs[0].h.id;
	store_tell(s, &(struct store_event){ .kind = STORE_EVENT_UNREADABLE, .file = seg_name(s->clean_told, name), .text = why });
}

/* Copy what is alive of the cleaner's frame, from where it was left. False when the frame being built has enough. */
static bool
copy_live(struct store *s, bool partial)
{
	struct reader *r = &s->cleaner;
	uint32_t mask = frame_mask(r->seed, r->frame.seq);
	struct record rec;

	while (s->clean_pos < r->frame.n && record_get(r->bytes + s->clean_pos, r->frame.n - s->clean_pos, &rec)) {
		const uint8_t *p = r->bytes + s->clean_pos;
		const struct place *at = rec.op == OP_PUT ? index_find(&s->index, rec.id) : NULL;

		if (at != NULL && at->seg == s->clean_seg && at->at == r->at + FRAME_HEADER + s->clean_pos &&
		    !(partial && !record_verify(p, &rec, mask))) {
			if (s->frame_n > COPY_MAX || !frame_room(s, rec.size))
				return false;
			memcpy(s->frame + FRAME_HEADER + s->frame_n, p, rec.size);
			/* Mixed with its own frame's mask; all of this one get theirs together. */
			records_mask(s->frame + FRAME_HEADER + s->frame_n, rec.size, mask);
			s->frame_n += rec.size;
			s->frame_records++;
			atomic_fetch_add_explicit(&s->copied, rec.size, memory_order_relaxed);
		}
		s->clean_pos += rec.size;
	}
	s->clean_pos = r->frame.n = 0;
	return true;
}

/* The next frame of the oldest segment; false at its end. */
static bool
fetch_frame(struct store *s)
{
	struct store_event ignored; /* told when the store was opened */
	struct err err;
	enum read_result got = reader_next(&s->cleaner, &ignored, &err);

	s->clean_partial = got == READ_PARTIAL;
	s->clean_pos = 0;
	if (got == READ_FRAME || got == READ_PARTIAL) {
		s->clean_credit -= (int64_t)s->cleaner.frame.n;
		return true;
	}
	if (got == READ_FAILED) {
		try_later(s, err.text);
		return false;
	}
	s->clean_end = s->clean_seg;
	clean_forget(s);
	return false;
}

static void
copy_some(struct store *s)
{
	struct seg *first = &s->files.segs[0];
	struct err err;

	if (s->clean_end == first->h.id) {
		give_up(s, "a segment has become unreadable: space is not reclaimed any more; check the disk, restart, and see what "
		    "signet store check says");
		return;
	}
	if (s->clean_seg != first->h.id) {
		clean_forget(s);
		if (!reader_open(&s->cleaner, &s->files, first, s->clean_seal, &err)) {
			try_later(s, err.text);
			return;
		}
		s->clean_seg = first->h.id;
		s->cleaner.frame.n = 0;
		s->clean_pos = 0;
	}
	do
		if (s->cleaner.frame.n > 0 && !copy_live(s, s->clean_partial))
			return;
	while (s->clean_credit > 0 && fetch_frame(s));
}

void
clean_fill(struct store *s)
{
	uint32_t dead = 0;

	if (!clean_due(s))
		return;
	while (dead + 1 < s->files.n && s->files.segs[dead].live == 0)
		dead++;
	if (dead > 0) {
		s->frame_tail = s->files.segs[dead].h.id;
		return;
	}
	if (s->clean_credit <= 0)
		s->clean_credit += CLEAN_STEP;
	copy_some(s);
}

void
clean_done(struct store *s)
{
	if (s->pinned)
		return;
	while (s->files.n > 1 && s->files.segs[0].h.id < s->tail) {
		if (s->clean_seg == s->files.segs[0].h.id)
			clean_forget(s);
		segment_drop_first(&s->files);
	}
}
