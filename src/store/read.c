/* Reading a segment frame by frame, whatever has happened to it. A frame that does not verify is a torn one where the log ends,
 * for only the last may have been on its way; anywhere else it is damage, and reading goes on at the next frame that verifies. */
#include <errno.h>
#include <stdlib.h>
#include "base/num.h"
#include "store/internal.h"

bool
reader_open(struct reader *r, const struct files *f, const struct seg *s, struct seal *seal, struct err *err)
{
	char name[NAME_BYTES], path[PATH_BYTES];
	uint8_t *buf = r->buf;
	size_t cap = r->cap, held = r->held;

	*r = (struct reader){ .files = f, .seg = *s, .seal = s->h.cipher != 0 ? seal : NULL, .buf = buf, .cap = cap, .held = held, .fd = -1,
		.seed = header_seed(&s->h), .next = FILE_HEADER, .want_seq = s->h.first_seq, .limit_seq = UINT64_MAX, .is_last = true };
	for (const struct seg *next = s + 1; next < f->segs + f->n && r->is_last; next++)
		if (!next->unreadable) {
			r->limit_seq = next->h.first_seq;
			r->is_last = false;
		}
	if (r->seal != NULL && !seal_segment(r->seal, &s->h))
		return err_set(err, ERR_SYSTEM, "cannot derive the key of %s", seg_name(s->h.id, name));
	r->fd = f->fs->open(f->fs->ctx, file_path(f, seg_name(s->h.id, name), path), FS_READ);
	if (r->fd < 0)
		return err_set(err, ERR_SYSTEM, "cannot open %s: %s", path, strerror(-r->fd));
	return true;
}

void
reader_close(struct reader *r)
{
	if (r->files != NULL && r->fd >= 0)
		r->files->fs->close(r->files->fs->ctx, r->fd);
	free(r->buf);
	*r = (struct reader){ .fd = -1 };
}

/* A header that verifies, of a frame that can be one. */
static bool
head_at(struct reader *r, uint64_t at, struct frame *ret)
{
	uint8_t h[FRAME_HEADER];

	return at + FRAME_HEADER <= r->seg.size &&
	    (r->error = fs_read_all(r->files->fs, r->fd, h, sizeof h, at)) == 0 && frame_get(h, r->seed, ret) &&
	    ret->n <= r->seg.size - at - FRAME_HEADER && ret->seq >= r->want_seq && ret->seq < r->limit_seq;
}

/* The payload into r->buf, behind what is held there. */
static bool
fetch(struct reader *r)
{
	size_t need = r->held + r->frame.n;

	if (need > r->cap || r->buf == NULL) {
		uint8_t *p = realloc(r->buf, NUM_MAX(need, (size_t)1));

		if (p == NULL) {
			r->error = -ENOMEM;
			return false;
		}
		r->buf = p;
		r->cap = NUM_MAX(need, (size_t)1);
	}
	r->bytes = r->buf + r->held;
	r->error = fs_read_all(r->files->fs, r->fd, r->bytes, r->frame.n, r->at + FRAME_HEADER);
	return r->error == 0;
}

static bool
open_payload(struct reader *r)
{
	uint8_t head[FRAME_HEADER];

	if (crc32c(r->seed, r->bytes, r->frame.n) != r->frame.crc)
		return false;
	if (r->seal == NULL)
		return r->seg.h.cipher == 0;
	if (r->frame.n < SEAL_TAG)
		return false;
	frame_put(&r->frame, r->seed, head);
	r->frame.n -= SEAL_TAG;
	return seal_unlock(r->seal, r->at, head, r->bytes, r->frame.n);
}

/* Where the next frame is that verifies, or the end of the file. */
static uint64_t
search(struct reader *r, uint64_t from, struct frame *ret)
{
	uint64_t at = (from + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;

	while (at < r->seg.size && !head_at(r, at, ret) && r->error == 0)
		at += FRAME_ALIGN;
	return NUM_MIN(at, r->seg.size);
}

/* The frame at r->at is no good; <has_head>, <has_bytes>: what of it could be read. */
static enum read_result
skip(struct reader *r, bool has_head, bool has_bytes, struct store_event *damage)
{
	uint64_t seq = r->want_seq;
	struct frame next = { .seq = r->limit_seq };

	r->want_seq += has_head;
	r->next = search(r, has_head ? r->at + FRAME_ALIGN : r->at, &next);
	if (r->error != 0)
		return READ_FAILED;
	if (r->next >= r->seg.size && r->is_last) {
		r->torn = has_head;
		return READ_END;
	}
	damage->offset = r->at;
	damage->frames = next.seq - seq;
	r->want_seq = next.seq;
	if (!has_bytes || r->seal != NULL || r->seg.h.cipher != 0)
		return READ_PARTIAL;
	damage->frames--;
	return READ_PARTIAL;
}

enum read_result
reader_next(struct reader *r, struct store_event *damage, struct err *err)
{
	bool has_head, has_bytes;
	char name[NAME_BYTES];
	enum read_result got;

	*damage = (struct store_event){ .kind = STORE_EVENT_DAMAGE };
	r->error = 0;
	if (r->want_seq >= r->limit_seq)
		return READ_END;
	r->at = r->next;
	has_head = head_at(r, r->at, &r->frame) && r->frame.seq == r->want_seq;
	has_bytes = has_head && fetch(r);
	if (has_bytes && open_payload(r)) {
		r->want_seq++;
		r->next = r->at + frame_size(r->frame.n + (r->seal != NULL ? SEAL_TAG : 0u));
		return READ_FRAME;
	}
	if (!has_bytes || r->seg.h.cipher != 0)
		r->frame.n = 0; /* no record of it counts */
	if (r->error == 0 && (got = skip(r, has_head, has_bytes, damage)) != READ_FAILED)
		return got;
	(void)err_set(err, r->error == -ENOMEM ? ERR_MEMORY : ERR_SYSTEM, "cannot read %s/%s near byte %llu: %s: if the disk is failing, "
	    "save the directory with a tool that passes over unreadable places, and start with the copy", r->files->dir,
	    seg_name(r->seg.h.id, name), (unsigned long long)r->at, strerror(-r->error));
	return READ_FAILED;
}
