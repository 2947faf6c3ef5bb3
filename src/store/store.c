/* Opening, closing, the thread, and what is told about the state. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include "base/num.h"
#include "base/secret.h"
#include "store/internal.h"

enum { CLOSE_TRIES = 3 };

static struct store *
store_new(const struct store_options *o)
{
	unsigned n = NUM_MAX(1u, NUM_MIN(o->n_writers, (unsigned)STORE_WRITERS_MAX));
	struct store *s = aligned_alloc(_Alignof(struct store_writer), sizeof *s + n * sizeof s->writers[0]);

	if (s == NULL)
		return NULL;
	memset(s, 0, sizeof *s + n * sizeof s->writers[0]);
	s->o = *o;
	s->o.n_writers = n;
	s->o.key = SL("");
	s->files.fs = o->fs != NULL ? o->fs : store_fs_posix();
	s->files.segment_bytes = o->segment_bytes == 0 ? STORE_SEGMENT_DEFAULT
	    : NUM_MAX((uint32_t)STORE_SEGMENT_MIN, NUM_MIN(o->segment_bytes, (uint32_t)STORE_SEGMENT_MAX)) / FRAME_ALIGN * FRAME_ALIGN;
	if (s->o.min_log_bytes == 0)
		s->o.min_log_bytes = (uint64_t)s->files.segment_bytes * 4;
	s->files.lock = s->files.fd = s->files.prep_fd = s->cleaner.fd = -1;
	s->pending_last = &s->pending;
	for (unsigned i = 0; i < n; i++) {
		s->writers[i].store = s;
		s->writers[i].index = i;
		s->writers[i].seq = 1;
		s->writers[i].last = &s->writers[i].first;
	}
	(void)sem_init(&s->work, 0, 0);
	(void)pthread_mutex_init(&s->ctl_lock, NULL);
	(void)pthread_cond_init(&s->ctl_changed, NULL);
	return s;
}

static void
batches_free(struct batch *b)
{
	for (struct batch *next; b != NULL; b = next) {
		next = b->next;
		for (struct store_part *p = b->parts, *q; p != NULL; p = q) {
			q = p->next;
			free(p);
		}
		batch_free(b);
	}
}

static void
writer_done(struct store_writer *w)
{
	batches_free(w->batch);
	batches_free(w->idle);
	for (struct inbox_node *n = inbox_take(&w->done), *next; n != NULL; n = next) {
		next = n->next;
		batch_free((struct batch *)(void *)n);
	}
	for (struct ticket *t = w->first, *next; t != NULL; t = next) {
		next = t->next;
		free(t);
	}
	free(w->turn);
}

static void
store_free(struct store *s)
{
	clean_forget(s);
	batches_free(s->pending);
	batches_free(s->framed);
	for (unsigned i = 0; i < s->o.n_writers; i++)
		writer_done(&s->writers[i]);
	files_close(&s->files);
	index_clear(&s->index);
	seal_free(s->seal);
	seal_free(s->clean_seal);
	free(s->frame);
	free(s->sealed);
	(void)sem_destroy(&s->work);
	(void)pthread_mutex_destroy(&s->ctl_lock);
	(void)pthread_cond_destroy(&s->ctl_changed);
	free(s);
}

/* ---- opening ---- */

static bool
recover(struct store *s, struct err *err)
{
	struct store_report out = { 0 };
	struct report rep = { s->o.event, s->o.ctx };
	struct load l = { .files = &s->files, .index = &s->index, .seal = s->clean_seal, .report = &rep, .out = &out };

	if (!load_index(&l, err))
		return false;
	if (s->o.refuse_damage && out.damaged > 0)
		return err_set(err, ERR_INPUT, "the store %s is damaged in %llu places: see what signet store check %s says, restore a "
		    "backup, or let the broker recover the rest (persistence_damage recover)", s->files.dir, (unsigned long long)out.damaged, s->files.dir);
	s->next_seq = l.next_seq;
	atomic_store_explicit(&s->next_id, l.next_id, memory_order_relaxed);
	s->live = l.live_bytes;
	while (s->files.n > 0 && s->files.segs[0].h.id < l.tail)
		segment_drop_first(&s->files);
	s->tail = l.tail;
	return true;
}

/* What a start left behind that never wrote anything. */
static void
drop_empty(struct files *f)
{
	char name[NAME_BYTES], path[PATH_BYTES];

	while (f->n > 0) {
		const struct seg *s = &f->segs[f->n - 1];

		if (s->used != FILE_HEADER || s->damaged ||
		    f->fs->remove(f->fs->ctx, file_path(f, seg_name(s->h.id, name), path)) < 0)
			return;
		f->log_bytes -= s->size;
		f->dir_dirty = true;
		f->n--;
	}
}

/* Never behind a tail that may be torn: the new segment says with its first sequence number where the old one ended. */
static bool
begin(struct store *s, struct err *err)
{
	bool first = s->files.n == 0;
	int r;

	s->h = (struct seg_header){ .major = FORMAT_MAJOR, .minor = FORMAT_MINOR, .cipher = s->seal != NULL };
	for (uint32_t i = 0; i < s->files.n; i++)
		if (!s->files.segs[i].unreadable)
			memcpy(s->h.uuid, s->files.segs[i].h.uuid, sizeof s->h.uuid);
	if (s->seal != NULL)
		seal_key_id(s->seal, s->h.key_id);
	if (first)
		random_bytes(s->h.uuid, sizeof s->h.uuid);
	drop_empty(&s->files);
	if ((r = segment_next(s, 0)) == 0)
		return true;
	if (!first) {
		store_failed(s, r);
		return true; /* it serves what it has, and goes on when the disk does */
	}
	errno = -r;
	return err_sys(err, "cannot begin a store in %s", s->files.dir);
}

struct store *
store_open(const struct store_options *o, struct err *err)
{
	struct store *s = store_new(o);

	if (s == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	if (!files_open(&s->files, o->dir, false, err) || !load_key(&s->files, o->key, &s->seal, err) ||
	    !load_key(&s->files, o->key, &s->clean_seal, err) || !recover(s, err) || !begin(s, err)) {
		store_free(s);
		return NULL;
	}
	store_publish(s);
	return s;
}

bool
store_load(struct store *s, store_load_fn *fn, void *ctx, struct err *err)
{
	return load_records(&s->files, &s->index, s->clean_seal, fn, ctx, err);
}

/* ---- the thread ---- */

static void
pause_for(struct store *s, unsigned ms)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_nsec += (long)ms * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	(void)sem_clockwait(&s->work, CLOCK_MONOTONIC, &ts);
}

static void *
run(void *arg)
{
	struct store *s = arg;

	for (;;) {
		enum step step = store_step(s);

		if (step == STEP_BUSY)
			continue;
		/* Looked at first: whoever sets it has submitted before. */
		if (atomic_load_explicit(&s->stopping, memory_order_acquire) && store_step(s) != STEP_BUSY)
			return NULL;
		if (step == STEP_WAITING || atomic_load_explicit(&s->state, memory_order_relaxed) != STORE_READY)
			pause_for(s, RETRY_MS / 2);
		else
			(void)sem_wait(&s->work);
	}
}

bool
store_start(struct store *s, struct err *err)
{
	int r = pthread_create(&s->thread, NULL, run, s);

	if (r != 0) {
		errno = r;
		return err_sys(err, "cannot start the thread of the store");
	}
	s->started = true;
	return true;
}

static bool
finish(struct store *s)
{
	for (unsigned tries = 0; s->pending != NULL || s->frame_held || atomic_load(&s->inbox.head) != NULL;) {
		s->retry_us = 0;
		if (store_step(s) != STEP_BUSY && ++tries == CLOSE_TRIES)
			return false;
	}
	s->frame_n = s->frame_tail = s->mask = 0;
	if (!frame_room(s, RECORD_SHORT))
		return true;
	record_put(s->frame + FRAME_HEADER, &(struct record){ .op = OP_END });
	s->frame_n = RECORD_SHORT;
	s->frame_records = 1;
	(void)frame_write(s); /* without the mark the next start only knows less about the very last frame */
	return true;
}

bool
store_close(struct store *s)
{
	bool ok;

	if (s == NULL)
		return true;
	if (s->started) {
		atomic_store_explicit(&s->stopping, true, memory_order_release);
		(void)sem_post(&s->work);
		(void)pthread_join(s->thread, NULL);
	}
	ok = finish(s);
	store_free(s);
	return ok;
}

/* ---- state ---- */

enum store_state
store_state(const struct store *s)
{
	return (enum store_state)atomic_load_explicit(&s->state, memory_order_relaxed);
}

#define get(field) atomic_load_explicit(&s->field, memory_order_relaxed)

void
store_stats(const struct store *s, struct store_stats *ret)
{
	*ret = (struct store_stats){
		.state = store_state(s),
		.live_records = get(live_records),
		.live_bytes = get(live_bytes),
		.log_bytes = get(log_bytes),
		.segments = get(segments),
		.spares = get(spares),
		.backlog_bytes = get(backlog),
		.frames = get(frames),
		.records = get(records),
		.bytes = get(bytes),
		.flush_us = get(flush_us),
		.flush_max_us = get(flush_max_us),
		.copied_bytes = get(copied),
		.failures = get(failures),
	};
}

const uint32_t store_flush_le_us[STORE_FLUSH_BUCKETS - 1] = { 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 100000, 250000, 1000000 };

void
store_flushes(const struct store *s, uint64_t ret[static STORE_FLUSH_BUCKETS])
{
	for (unsigned i = 0; i < STORE_FLUSH_BUCKETS; i++)
		ret[i] = get(flushes[i]);
}
