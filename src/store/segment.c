/* The files of a store: its lock, its segments in order, and spares that were written ahead. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "store/internal.h"

enum { SEGMENTS_MIN = 16, HEX = 16, RETRY_SPACE_US = 1000000 };

const char *
file_path(const struct files *f, const char *name, char out[static PATH_BYTES])
{
	(void)snprintf(out, PATH_BYTES, "%s/%s", f->dir, name);
	return out;
}

const char *
seg_name(uint32_t id, char out[static NAME_BYTES])
{
	(void)snprintf(out, NAME_BYTES, "%016" PRIx32 ".seg", id);
	return out;
}

const char *
spare_name(uint32_t id, char out[static NAME_BYTES])
{
	(void)snprintf(out, NAME_BYTES, "spare-%016" PRIx32, id);
	return out;
}

struct seg *
seg_find(const struct files *f, uint32_t id)
{
	uint32_t low = 0, high = f->n;

	/* Mostly there are no gaps. */
	if (f->n > 0 && id >= f->segs[0].h.id && id - f->segs[0].h.id < f->n && f->segs[id - f->segs[0].h.id].h.id == id)
		return &f->segs[id - f->segs[0].h.id];
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (f->segs[mid].h.id == id)
			return &f->segs[mid];
		if (f->segs[mid].h.id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

struct seg *
files_append(struct files *f, const struct seg_header *h)
{
	if (f->n == f->cap) {
		uint32_t cap = f->cap > 0 ? f->cap * 2 : SEGMENTS_MIN;
		struct seg *v = realloc(f->segs, cap * sizeof *v);

		if (v == NULL)
			return NULL;
		f->segs = v;
		f->cap = cap;
	}
	f->segs[f->n] = (struct seg){ .h = *h };
	return &f->segs[f->n++];
}

/* ---- what is in the directory ---- */

struct listing {
	struct files *files;
	bool no_memory;
	unsigned stray; /* spares too many */
};

/* "<before><16 hex digits><after>" */
static bool
parse_name(const char *name, const char *before, const char *after, uint32_t *ret)
{
	size_t n = strlen(before);
	uint64_t v = 0;

	if (strlen(name) != n + HEX + strlen(after) || strncmp(name, before, n) != 0 || strcmp(name + n + HEX, after) != 0)
		return false;
	for (unsigned i = 0; i < HEX; i++) {
		char c = name[n + i];

		if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
			return false;
		v = v << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*ret = (uint32_t)v;
	return v != 0 && v < UINT32_MAX;
}

static void
on_name(void *arg, const char *name)
{
	struct listing *l = arg;
	struct files *f = l->files;
	uint32_t id;

	if (parse_name(name, "", ".seg", &id)) {
		if (files_append(f, &(struct seg_header){ .id = id }) == NULL)
			l->no_memory = true;
	} else if (parse_name(name, "spare-", "", &id)) {
		if (f->n_spares < SPARES_MAX)
			f->spares[f->n_spares++] = id;
	} else
		return;
	f->next_file = NUM_MAX(f->next_file, id + 1);
}

static int
by_id(const void *a, const void *b)
{
	const struct seg *x = a, *y = b;

	return x->h.id < y->h.id ? -1 : x->h.id > y->h.id;
}

/* Size, links and header; a segment whose header cannot be read is damaged and has no frames. */
static int
look_inside(const struct files *f, struct seg *s, int fd)
{
	uint8_t buf[HEADER_BYTES];
	struct seg_header h;
	unsigned links = 1;
	int r = f->fs->size(f->fs->ctx, fd, &s->size, &links);

	s->linked = links > 1;
	s->damaged = s->unreadable = true;
	for (unsigned at = 0; r >= 0 && at <= HEADER_SECOND && s->unreadable; at += HEADER_SECOND) {
		r = fs_read_all(f->fs, fd, buf, sizeof buf, at);
		if (r == -ENODATA)
			return 0;
		if (r < 0 || !header_get(buf, &h) || h.id != s->h.id)
			continue;
		s->h = h;
		s->damaged = s->unreadable = false;
	}
	return r;
}

static bool
look(const struct files *f, struct seg *s, struct err *err)
{
	char name[NAME_BYTES], path[PATH_BYTES];
	int r, fd = f->fs->open(f->fs->ctx, file_path(f, seg_name(s->h.id, name), path), FS_READ);

	if (fd >= 0) {
		r = look_inside(f, s, fd);
		f->fs->close(f->fs->ctx, fd);
	} else
		r = fd;
	errno = -r;
	return r >= 0 || err_sys(err, "cannot read %s", path);
}

/* Spares that were not written to their end, or are of another size, do not serve. */
static void
look_at_spares(struct files *f)
{
	char name[NAME_BYTES], path[PATH_BYTES];
	unsigned n = 0;

	for (unsigned i = 0; i < f->n_spares; i++) {
		uint64_t size = 0;
		unsigned links = 1;
		int fd = f->fs->open(f->fs->ctx, file_path(f, spare_name(f->spares[i], name), path), FS_READ);

		if (fd >= 0) {
			if (f->fs->size(f->fs->ctx, fd, &size, &links) < 0)
				size = 0;
			f->fs->close(f->fs->ctx, fd);
		}
		if (size == f->segment_bytes && links == 1)
			f->spares[n++] = f->spares[i];
		else
			(void)f->fs->remove(f->fs->ctx, path);
	}
	f->n_spares = n;
}

static bool
lock_dir(struct files *f, bool shared, struct err *err)
{
	char path[PATH_BYTES];

	f->lock = f->fs->lock(f->fs->ctx, file_path(f, "LOCK", path), shared);
	if (f->lock >= 0 || (shared && f->lock == -ENOENT))
		return true;
	if (f->lock == -EWOULDBLOCK)
		return err_set(err, ERR_EXISTS, "the store %s is in use by another process: stop that broker first, or make a "
		    "backup through it", f->dir);
	errno = -f->lock;
	return err_sys(err, "cannot lock %s", path);
}

/* All of one store, of a version that is known here. */
static bool
look_at_segments(struct files *f, struct err *err)
{
	const struct seg_header *own = NULL;
	char name[NAME_BYTES];

	for (uint32_t i = 0; i < f->n; i++) {
		if (!look(f, &f->segs[i], err))
			return false;
		f->log_bytes += f->segs[i].size;
		if (f->segs[i].unreadable)
			continue;
		own = &f->segs[i].h;
		if (own->major > FORMAT_MAJOR)
			return err_set(err, ERR_INPUT, "%s/%s has format %u.%u, and this program knows %u: use the newer one that wrote it",
			    f->dir, seg_name(own->id, name), own->major, own->minor, (unsigned)FORMAT_MAJOR);
	}
	for (uint32_t i = 0; own != NULL && i < f->n; i++)
		if (memcmp(f->segs[i].h.uuid, own->uuid, sizeof own->uuid) != 0)
			f->segs[i].damaged = f->segs[i].unreadable = true;
	return true;
}

bool
files_list(struct files *f, const char *dir, struct err *err)
{
	struct listing l = { .files = f };
	int r;

	f->lock = f->fd = f->prep_fd = -1;
	f->next_file = 1;
	if (strlen(dir) >= sizeof f->dir)
		return err_set(err, ERR_LIMIT, "the path of the store is too long: %s", dir);
	memcpy(f->dir, dir, strlen(dir) + 1);
	if ((r = f->fs->list(f->fs->ctx, dir, on_name, &l)) < 0) {
		errno = -r;
		return err_sys(err, "cannot read the directory %s", dir);
	}
	if (l.no_memory)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (f->n > 0)
		qsort(f->segs, f->n, sizeof *f->segs, by_id);
	return true;
}

bool
files_open(struct files *f, const char *dir, bool shared, struct err *err)
{
	int lock, r;

	f->lock = f->fd = f->prep_fd = -1;
	if (strlen(dir) >= sizeof f->dir)
		return err_set(err, ERR_LIMIT, "the path of the store is too long: %s", dir);
	memcpy(f->dir, dir, strlen(dir) + 1);
	if (!shared && (r = f->fs->make_dir(f->fs->ctx, dir)) < 0) {
		errno = -r;
		return err_sys(err, "cannot make the directory %s of the store", dir);
	}
	if (!lock_dir(f, shared, err))
		return false;
	lock = f->lock;
	if (!files_list(f, dir, err)) {
		f->lock = lock;
		return false;
	}
	f->lock = lock;
	if (!shared)
		look_at_spares(f);
	return look_at_segments(f, err);
}

void
files_close(struct files *f)
{
	if (f->fd >= 0)
		f->fs->close(f->fs->ctx, f->fd);
	if (f->prep_fd >= 0)
		f->fs->close(f->fs->ctx, f->prep_fd);
	if (f->lock >= 0)
		f->fs->close(f->fs->ctx, f->lock);
	free(f->segs);
	f->segs = NULL;
	f->n = f->cap = 0;
	f->fd = f->prep_fd = f->lock = -1;
}

/* ---- making one ---- */

static bool
is_no_space(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

/* A new file with room for <size>, under the name of a spare. A descriptor or -errno. */
static int
file_new(struct files *f, uint64_t size, int flags, uint32_t *ret_id)
{
	char name[NAME_BYTES], path[PATH_BYTES];
	uint32_t id = f->next_file++;
	int r, fd = f->fs->open(f->fs->ctx, file_path(f, spare_name(id, name), path), FS_WRITE | FS_CREATE | flags);

	if (fd < 0) {
		f->no_space = is_no_space(fd);
		return fd;
	}
	f->dir_dirty = true;
	r = f->fs->allocate(f->fs->ctx, fd, size);
	f->no_space = is_no_space(r);
	if (r >= 0) {
		*ret_id = id;
		return fd;
	}
	f->fs->close(f->fs->ctx, fd);
	(void)f->fs->remove(f->fs->ctx, path);
	return r;
}

static int
spare_open(struct files *f, uint32_t *ret_id)
{
	char name[NAME_BYTES], path[PATH_BYTES];

	*ret_id = f->spares[--f->n_spares];
	return f->fs->open(f->fs->ctx, file_path(f, spare_name(*ret_id, name), path), FS_WRITE | FS_DURABLE);
}

/* The file for a segment of <size> bytes, under a spare's name. When there is no space for a new one, a reserve serves. */
static int
file_for(struct files *f, uint64_t size, uint32_t *ret_id)
{
	bool may_recycle = size == f->segment_bytes && f->n_spares > 0;
	int fd;

	if (may_recycle && f->n_spares > RESERVE)
		return spare_open(f, ret_id);
	fd = file_new(f, size, FS_DURABLE, ret_id);
	return fd >= 0 || !may_recycle ? fd : spare_open(f, ret_id);
}

static int
name_segment(struct files *f, uint32_t spare, uint32_t id, bool *ret_renamed)
{
	char name[NAME_BYTES], from[PATH_BYTES], to[PATH_BYTES];
	int r;

	(void)file_path(f, spare_name(spare, name), from);
	(void)file_path(f, seg_name(id, name), to);
	if ((r = f->fs->rename(f->fs->ctx, from, to)) < 0)
		return r;
	*ret_renamed = true;
	if ((r = f->fs->sync_dir(f->fs->ctx, f->dir)) < 0) {
		/* It has no frames: whether it is still there after a crash changes nothing. */
		(void)f->fs->remove(f->fs->ctx, to);
		return r;
	}
	f->dir_dirty = false;
	return 0;
}

int
segment_make(struct files *f, struct seg_header *h, uint64_t room)
{
	uint64_t size = NUM_MAX((uint64_t)f->segment_bytes, FILE_HEADER + room);
	uint8_t buf[FILE_HEADER] = { 0 };
	char name[NAME_BYTES], path[PATH_BYTES];
	struct seg *s;
	uint32_t id;
	bool renamed = false;
	int r, fd;

	/* A spare that is still a segment on disk must not be written to. */
	if (f->dir_dirty && (r = f->fs->sync_dir(f->fs->ctx, f->dir)) < 0)
		return r;
	f->dir_dirty = false;
	if ((fd = file_for(f, size, &id)) < 0)
		return fd;
	h->id = f->next_file++;
	h->size = size;
	random_bytes(h->salt, sizeof h->salt);
	header_put(h, buf);
	header_put(h, buf + HEADER_SECOND);
	/* The size, too, is on disk before the name is. */
	if ((r = fs_write_all(f->fs, fd, buf, sizeof buf, 0)) < 0 || (r = f->fs->sync(f->fs->ctx, fd)) < 0 ||
	    (r = name_segment(f, id, h->id, &renamed)) < 0 || (s = files_append(f, h)) == NULL) {
		f->fs->close(f->fs->ctx, fd);
		/* Not even as a spare: what was written to it may be lost without a word at the next flush. */
		if (!renamed)
			(void)f->fs->remove(f->fs->ctx, file_path(f, spare_name(id, name), path));
		return r < 0 ? r : -ENOMEM;
	}
	s->size = size;
	s->used = FILE_HEADER;
	f->log_bytes += size;
	f->fd = fd;
	return 0;
}

void
segment_seal(struct files *f)
{
	if (f->fd >= 0)
		f->fs->close(f->fs->ctx, f->fd);
	f->fd = -1;
}

/* ---- when it has served ---- */

void
segment_drop_first(struct files *f)
{
	const struct seg *s = &f->segs[0];
	char name[NAME_BYTES], from[PATH_BYTES], to[PATH_BYTES];
	bool keep = !s->damaged && !s->linked && s->size == f->segment_bytes && f->n_spares < SPARES_MAX;

	(void)file_path(f, seg_name(s->h.id, name), from);
	if (s->damaged) {
		(void)seg_name(s->h.id, name);
		(void)text_copy(name + strlen(name), sizeof name - strlen(name), SL(".damaged"));
		(void)file_path(f, name, to);
		(void)f->fs->rename(f->fs->ctx, from, to);
	} else if (keep && f->fs->rename(f->fs->ctx, from, file_path(f, spare_name(s->h.id, name), to)) == 0)
		f->spares[f->n_spares++] = s->h.id;
	else
		(void)f->fs->remove(f->fs->ctx, from); /* if it stays, it is below the tail for ever */
	f->dir_dirty = true;
	f->log_bytes -= s->size;
	f->n--;
	memmove(f->segs, f->segs + 1, f->n * sizeof *f->segs);
}

static void
prepare_end(struct files *f, bool done)
{
	char name[NAME_BYTES], path[PATH_BYTES];

	f->fs->close(f->fs->ctx, f->prep_fd);
	f->prep_fd = -1;
	if (done && f->n_spares < SPARES_MAX)
		f->spares[f->n_spares++] = f->prep_id;
	else
		(void)f->fs->remove(f->fs->ctx, file_path(f, spare_name(f->prep_id, name), path));
	if (!done)
		f->prep_retry_us = f->fs->now_us(f->fs->ctx) + RETRY_SPACE_US;
}

bool
spares_reserve(struct files *f)
{
	uint32_t id;
	int fd;

	if (f->n_spares >= RESERVE || f->fs->now_us(f->fs->ctx) < f->prep_retry_us)
		return false;
	if ((fd = file_new(f, f->segment_bytes, 0, &id)) < 0) {
		f->prep_retry_us = f->fs->now_us(f->fs->ctx) + RETRY_SPACE_US;
		return false;
	}
	f->fs->close(f->fs->ctx, fd);
	f->spares[f->n_spares++] = id;
	return true;
}

bool
spares_prepare(struct files *f, uint64_t bytes)
{
	static const uint8_t zeroes[PREPARE_STEP];
	uint64_t n;
	int r;

	if (f->prep_fd < 0) {
		if (f->n_spares > RESERVE || f->fs->now_us(f->fs->ctx) < f->prep_retry_us)
			return false;
		if ((f->prep_fd = file_new(f, f->segment_bytes, 0, &f->prep_id)) < 0) {
			f->prep_retry_us = f->fs->now_us(f->fs->ctx) + RETRY_SPACE_US;
			return false;
		}
		f->prep_at = 0;
	}
	n = NUM_MIN(NUM_MIN(bytes, (uint64_t)PREPARE_STEP), f->segment_bytes - f->prep_at);
	r = fs_write_all(f->fs, f->prep_fd, zeroes, n, f->prep_at);
	f->no_space = is_no_space(r);
	f->prep_at += n;
	if (r < 0 || f->prep_at == f->segment_bytes)
		prepare_end(f, r >= 0);
	return r >= 0;
}
