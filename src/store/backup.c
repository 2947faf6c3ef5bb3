/* Backup while the store is in use, and restore. The store's thread only begins a new segment and keeps the older ones as they are
 * for a while; linking or copying them is the caller's time. */
#include <errno.h>
#include <stdlib.h>
#include "base/num.h"
#include "store/internal.h"

enum { COPY_BYTES = 1024 * 1024 };

/* ---- the store's thread ---- */

static void
answer(struct store *s, enum control state, int error)
{
	s->ctl = state;
	s->ctl_error = error;
	(void)pthread_cond_broadcast(&s->ctl_changed);
}

static void
pin(struct store *s)
{
	int r;

	if (s->ctl_batches == 0)
		s->ctl_batches = s->batches_in + 1;
	s->pinned = true; /* from now on nothing is freed */
	if (s->failing) {
		s->pinned = false;
		s->ctl_batches = 0;
		answer(s, CTL_FAILED, -EIO);
		return;
	}
	if (s->batches_out + 1 < s->ctl_batches || s->frame_held)
		return;
	s->ctl_batches = 0;
	if ((r = segment_next(s, 0)) < 0) {
		s->pinned = false;
		store_failed(s, r);
		answer(s, CTL_FAILED, r);
		return;
	}
	s->ctl_below = s->h.id;
	answer(s, CTL_PINNED, 0);
}

void
control_turn(struct store *s)
{
	if (!atomic_load_explicit(&s->ctl_wanted, memory_order_acquire))
		return;
	(void)pthread_mutex_lock(&s->ctl_lock);
	if (s->ctl == CTL_PIN)
		pin(s);
	else if (s->ctl == CTL_UNPIN) {
		for (uint32_t i = 0; i < s->files.n && s->files.segs[i].h.id < s->ctl_below; i++)
			s->files.segs[i].linked = true;
		s->pinned = false;
		answer(s, CTL_IDLE, 0);
	}
	(void)pthread_mutex_unlock(&s->ctl_lock);
}

/* ---- the caller's ---- */

/* Ask, and wait for an answer; 0 or -errno. */
static int
ask(struct store *s, enum control what)
{
	int error;

	(void)pthread_mutex_lock(&s->ctl_lock);
	if (what == CTL_PIN && s->ctl != CTL_IDLE && s->ctl != CTL_FAILED) {
		(void)pthread_mutex_unlock(&s->ctl_lock);
		return -EBUSY; /* another backup */
	}
	s->ctl = what;
	atomic_store_explicit(&s->ctl_wanted, true, memory_order_release);
	(void)sem_post(&s->work);
	while (s->ctl == what) {
		if (s->started) {
			(void)pthread_cond_wait(&s->ctl_changed, &s->ctl_lock);
			continue;
		}
		(void)pthread_mutex_unlock(&s->ctl_lock);
		(void)store_step(s);
		(void)pthread_mutex_lock(&s->ctl_lock);
	}
	error = s->ctl_error;
	atomic_store_explicit(&s->ctl_wanted, s->ctl == CTL_PIN || s->ctl == CTL_UNPIN, memory_order_release);
	(void)pthread_mutex_unlock(&s->ctl_lock);
	return error;
}

static int
copy_bytes(const struct store_fs *fs, int from, int to, uint64_t size)
{
	uint8_t *buf = malloc(COPY_BYTES);
	int r = buf == NULL ? -ENOMEM : 0;

	for (uint64_t at = 0; r == 0 && at < size;) {
		size_t n = (size_t)NUM_MIN((uint64_t)COPY_BYTES, size - at);

		if ((r = fs_read_all(fs, from, buf, n, at)) == 0)
			r = fs_write_all(fs, to, buf, n, at);
		at += n;
	}
	free(buf);
	return r;
}

static int
copy_file(const struct store_fs *fs, const char *from, const char *to)
{
	int in = fs->open(fs->ctx, from, FS_READ), out = -1, r;
	unsigned links;
	uint64_t size;

	if (in < 0)
		return in;
	if ((r = fs->size(fs->ctx, in, &size, &links)) >= 0 && (r = out = fs->open(fs->ctx, to, FS_WRITE | FS_CREATE)) >= 0 &&
	    (r = copy_bytes(fs, in, out, size)) == 0)
		r = fs->sync(fs->ctx, out);
	if (out >= 0)
		fs->close(fs->ctx, out);
	fs->close(fs->ctx, in);
	return r < 0 ? r : 0;
}

struct copying {
	struct files from, to; /* to: only its directory */
	uint32_t below;
	bool link;
};

static int
copy_one(struct copying *c, uint32_t id)
{
	char name[NAME_BYTES], from[PATH_BYTES], to[PATH_BYTES];
	const struct store_fs *fs = c->from.fs;
	int r;

	(void)file_path(&c->from, seg_name(id, name), from);
	(void)file_path(&c->to, name, to);
	if (c->link) {
		r = fs->link(fs->ctx, from, to);
		if (r != -EXDEV && r != -EPERM && r != -EOPNOTSUPP && r != -EMLINK)
			return r;
		c->link = false;
	}
	return copy_file(fs, from, to);
}

static bool
empty_dir(struct files *f, const struct store_fs *fs, const char *dir, struct err *err)
{
	f->fs = fs;
	if (!files_open(f, dir, false, err))
		return false;
	if (f->n == 0)
		return true;
	return err_set(err, ERR_EXISTS, "%s has a store already: give an empty or a new directory", dir);
}

/* Segments of c->from below c->below into c->to, whose directory is synced then. */
static bool
copy_all(struct copying *c, struct err *err)
{
	const struct store_fs *fs = c->from.fs;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < c->from.n; i++)
		if (c->from.segs[i].h.id < c->below)
			r = copy_one(c, c->from.segs[i].h.id);
	if (r == 0)
		r = fs->sync_dir(fs->ctx, c->to.dir);
	errno = -r;
	return r == 0 || err_sys(err, "cannot copy the store %s to %s", c->from.dir, c->to.dir);
}

bool
store_backup(struct store *s, const char *dir, struct err *err)
{
	struct copying *c = calloc(1, sizeof *c);
	bool ok;
	int r;

	if (c == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	c->to.lock = c->to.fd = c->to.prep_fd = -1;
	if ((ok = empty_dir(&c->to, s->files.fs, dir, err)) && (r = ask(s, CTL_PIN)) < 0) {
		errno = -r;
		ok = err_sys(err, "cannot make a backup of %s now", s->files.dir);
	} else if (ok) {
		/* The segments below are sealed and stay: the table of this moment is not needed, their names are. */
		c->from.fs = s->files.fs;
		c->below = s->ctl_below;
		c->link = true;
		ok = files_list(&c->from, s->files.dir, err) && copy_all(c, err);
		(void)ask(s, CTL_UNPIN);
		free(c->from.segs);
	}
	files_close(&c->to);
	free(c);
	return ok;
}

bool
store_restore(const char *from, const char *to, struct slice key, struct err *err)
{
	struct store_options o = { .dir = from, .key = key };
	struct copying *c = calloc(1, sizeof *c);
	struct store_report rep;
	bool ok;

	if (c == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	c->from.lock = c->from.fd = c->from.prep_fd = c->to.lock = c->to.fd = c->to.prep_fd = -1;
	c->from.fs = store_fs_posix();
	c->below = UINT32_MAX;
	ok = store_check(&o, &rep, err);
	if (ok && rep.damaged > 0)
		ok = err_set(err, ERR_INPUT, "the backup %s is damaged in %llu places: signet store check says where; take another", from,
		    (unsigned long long)rep.damaged);
	ok = ok && empty_dir(&c->to, c->from.fs, to, err) && files_open(&c->from, from, true, err) && copy_all(c, err);
	files_close(&c->from);
	files_close(&c->to);
	free(c);
	return ok;
}
