/* See fs_testkit.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/assert.h"
#include "base/num.h"
#include "store/fs_testkit.h"

enum { NAMES_MAX = 256, FDS_MAX = 64, PATH_SHORT = 96, SECTOR = 512, PAGE = 4096 };

struct inode {
	uint8_t *bytes;
	size_t n, cap;
	unsigned links;
};
struct name {
	char path[PATH_SHORT];
	unsigned inode;
};
struct names {
	struct name v[NAMES_MAX];
	unsigned n;
};
enum event_kind { EV_WRITE, EV_SIZE, EV_SYNC, EV_CREATE, EV_RENAME, EV_REMOVE, EV_LINK, EV_SYNC_DIR };
struct event {
	enum event_kind kind;
	unsigned inode;
	uint64_t at, n;
	uint8_t *bytes;
	char from[PATH_SHORT], to[PATH_SHORT];
	bool lost; /* a flush of it failed: no later one brings it to the disk */
};
struct sim {
	struct store_fs fs;
	struct inode *inodes;
	unsigned n_inodes;
	struct names names;
	struct names start; /* names and inodes when recording began */
	struct inode *start_inodes;
	unsigned n_start;
	struct event *events;
	size_t n_events, cap_events;
	struct {
		unsigned inode;
		bool used, durable, lock;
	} fds[FDS_MAX];
	uint64_t now_us, calls, fail_at, capacity;
	enum sim_fault fault;
	int error;
	bool lie;
	char locked[PATH_SHORT];
};

uint64_t
sim_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x * 0x2545f4914f6cdd1du;
}

/* More memory for <p>; what is new is not cleared. Not malloc(), which tests of the store let fail. */
static void *
more(void *p, size_t n, size_t size)
{
	void *q = reallocarray(p, n, size);

	ASSERT(q != NULL);
	return q;
}

static void *
zeroed(size_t n, size_t size)
{
	return memset(more(NULL, n, size), 0, n * size);
}

static void
resize(struct inode *f, size_t n)
{
	if (n > f->cap) {
		size_t cap = NUM_MAX(n, f->cap * 2);

		f->bytes = more(f->bytes, cap, 1);
		f->cap = cap;
	}
	if (n > f->n)
		memset(f->bytes + f->n, 0, n - f->n);
	f->n = n;
}

static void
put(struct inode *f, uint64_t at, const uint8_t *p, size_t n)
{
	if (at + n > f->n)
		resize(f, at + n);
	if (n > 0)
		memcpy(f->bytes + at, p, n);
}

static struct name *
find(struct names *names, const char *path)
{
	for (unsigned i = 0; i < names->n; i++)
		if (strcmp(names->v[i].path, path) == 0)
			return &names->v[i];
	return NULL;
}

static void
set_name(struct names *names, const char *path, unsigned inode)
{
	struct name *at = find(names, path);

	if (at == NULL) {
		ASSERT(names->n < NAMES_MAX && strlen(path) < PATH_SHORT);
		at = &names->v[names->n++];
		(void)snprintf(at->path, sizeof at->path, "%s", path);
	}
	at->inode = inode;
}

static void
del_name(struct names *names, const char *path)
{
	struct name *at = find(names, path);

	if (at != NULL)
		*at = names->v[--names->n];
}

static struct event *
record(struct sim *s, enum event_kind kind, unsigned inode)
{
	if (s->n_events == s->cap_events) {
		s->cap_events = NUM_MAX(256u, s->cap_events * 2);
		s->events = more(s->events, s->cap_events, sizeof *s->events);
	}
	s->events[s->n_events] = (struct event){ .kind = kind, .inode = inode };
	return &s->events[s->n_events++];
}

static void
record_names(struct sim *s, enum event_kind kind, unsigned inode, const char *from, const char *to)
{
	struct event *e = record(s, kind, inode);

	(void)snprintf(e->from, sizeof e->from, "%s", from);
	(void)snprintf(e->to, sizeof e->to, "%s", to);
}

/* ---- calls ---- */

static int
fault(struct sim *s)
{
	s->calls++;
	if (s->fault == SIM_NONE || s->fault == SIM_SHORT || s->fault == SIM_READS || s->calls < s->fail_at)
		return 0;
	if (s->fault == SIM_ONCE && s->calls > s->fail_at)
		return 0;
	return -s->error;
}

static uint64_t
bytes_in_use(const struct sim *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < s->names.n; i++)
		n += s->inodes[s->names.v[i].inode].n;
	return n;
}

static int
fd_new(struct sim *s, unsigned inode)
{
	for (int i = 0; i < FDS_MAX; i++)
		if (!s->fds[i].used) {
			s->fds[i].used = true;
			s->fds[i].inode = inode;
			s->fds[i].durable = s->fds[i].lock = false;
			return i;
		}
	return -EMFILE;
}

static int
on_open(void *ctx, const char *path, int flags)
{
	struct sim *s = ctx;
	const struct name *at = find(&s->names, path);
	int fd, r = fault(s);

	if (r < 0)
		return r;
	if (at != NULL && flags & FS_CREATE)
		return -EEXIST;
	if (at == NULL && !(flags & FS_CREATE))
		return -ENOENT;
	if (at == NULL) {
		s->inodes = more(s->inodes, s->n_inodes + 1, sizeof *s->inodes);
		s->inodes[s->n_inodes] = (struct inode){ .links = 1 };
		set_name(&s->names, path, s->n_inodes);
		record_names(s, EV_CREATE, s->n_inodes, path, "");
		fd = fd_new(s, s->n_inodes++);
	} else
		fd = fd_new(s, at->inode);
	if (fd >= 0)
		s->fds[fd].durable = (flags & FS_DURABLE) != 0;
	return fd;
}

static void
on_close(void *ctx, int fd)
{
	struct sim *s = ctx;

	ASSERT(fd >= 0 && fd < FDS_MAX && s->fds[fd].used);
	if (s->fds[fd].lock)
		s->locked[0] = '\0';
	s->fds[fd].used = false;
}

static ssize_t
on_read(void *ctx, int fd, void *p, size_t n, uint64_t at)
{
	struct sim *s = ctx;
	const struct inode *f = &s->inodes[s->fds[fd].inode];
	int r = fault(s);

	if (s->fault == SIM_READS && s->calls >= s->fail_at)
		r = -s->error;
	if (r < 0)
		return r;
	n = at >= f->n ? 0 : NUM_MIN(n, f->n - at);
	if (n > 0)
		memcpy(p, f->bytes + at, n);
	return (ssize_t)n;
}

static void
lose(struct sim *s, unsigned inode)
{
	for (size_t i = s->n_events; i-- > 0 && !(s->events[i].kind == EV_SYNC && s->events[i].inode == inode);)
		if (s->events[i].inode == inode && (s->events[i].kind == EV_WRITE || s->events[i].kind == EV_SIZE))
			s->events[i].lost = true;
}

static ssize_t
on_write(void *ctx, int fd, const void *p, size_t n, uint64_t at)
{
	struct sim *s = ctx;
	unsigned inode = s->fds[fd].inode;
	int r = fault(s);
	struct event *e;

	if (s->fault == SIM_SHORT && s->calls >= s->fail_at && n > 1)
		n /= 2;
	if (s->capacity != 0 && at + n > s->inodes[inode].n && bytes_in_use(s) + at + n - s->inodes[inode].n > s->capacity)
		return -ENOSPC;
	if (r < 0 && !s->fds[fd].durable)
		return r;
	put(&s->inodes[inode], at, p, n);
	e = record(s, EV_WRITE, inode);
	e->at = at;
	e->n = n;
	e->bytes = more(NULL, n + 1, 1);
	memcpy(e->bytes, p, n);
	if (r < 0) {
		lose(s, inode);
		return r;
	}
	if (s->fds[fd].durable && !s->lie)
		(void)record(s, EV_SYNC, inode);
	return (ssize_t)n;
}

static int
on_sync(void *ctx, int fd)
{
	struct sim *s = ctx;
	int r = fault(s);

	if (r < 0)
		lose(s, s->fds[fd].inode);
	else if (!s->lie)
		(void)record(s, EV_SYNC, s->fds[fd].inode);
	return r;
}

static int
on_allocate(void *ctx, int fd, uint64_t size)
{
	struct sim *s = ctx;
	unsigned inode = s->fds[fd].inode;
	int r = fault(s);

	if (r < 0)
		return r;
	if (size <= s->inodes[inode].n)
		return 0;
	if (s->capacity != 0 && bytes_in_use(s) + size - s->inodes[inode].n > s->capacity)
		return -ENOSPC;
	resize(&s->inodes[inode], size);
	record(s, EV_SIZE, inode)->n = size;
	return 0;
}

static int
on_size(void *ctx, int fd, uint64_t *ret, unsigned *ret_links)
{
	struct sim *s = ctx;
	int r = fault(s);

	if (r < 0)
		return r;
	*ret = s->inodes[s->fds[fd].inode].n;
	*ret_links = s->inodes[s->fds[fd].inode].links;
	return 0;
}

static int
on_rename(void *ctx, const char *from, const char *to)
{
	struct sim *s = ctx;
	const struct name *at = find(&s->names, from);
	int r = fault(s);
	unsigned inode;

	if (r < 0)
		return r;
	if (at == NULL)
		return -ENOENT;
	inode = at->inode;
	del_name(&s->names, from);
	set_name(&s->names, to, inode);
	record_names(s, EV_RENAME, inode, from, to);
	return 0;
}

static int
on_remove(void *ctx, const char *path)
{
	struct sim *s = ctx;
	const struct name *at = find(&s->names, path);
	int r = fault(s);

	if (r < 0)
		return r;
	if (at == NULL)
		return -ENOENT;
	s->inodes[at->inode].links--;
	record_names(s, EV_REMOVE, at->inode, path, "");
	del_name(&s->names, path);
	return 0;
}

static int
on_link(void *ctx, const char *from, const char *to)
{
	struct sim *s = ctx;
	const struct name *at = find(&s->names, from);
	int r = fault(s);

	if (r < 0)
		return r;
	if (at == NULL)
		return -ENOENT;
	if (find(&s->names, to) != NULL)
		return -EEXIST;
	s->inodes[at->inode].links++;
	record_names(s, EV_LINK, at->inode, from, to);
	set_name(&s->names, to, at->inode);
	return 0;
}

static int
on_list(void *ctx, const char *dir, void (*fn)(void *arg, const char *name), void *arg)
{
	struct sim *s = ctx;
	size_t n = strlen(dir);
	int r = fault(s);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < s->names.n; i++)
		if (strncmp(s->names.v[i].path, dir, n) == 0 && s->names.v[i].path[n] == '/')
			fn(arg, s->names.v[i].path + n + 1);
	return 0;
}

static int
on_make_dir(void *ctx, const char *path)
{
	(void)path;
	return fault(ctx);
}

static int
on_sync_dir(void *ctx, const char *path)
{
	struct sim *s = ctx;
	int r = fault(s);

	(void)path;
	if (r >= 0 && !s->lie)
		(void)record(s, EV_SYNC_DIR, 0);
	return r;
}

static int
on_lock(void *ctx, const char *path, bool shared)
{
	struct sim *s = ctx;
	int fd, r = fault(s);

	if (r < 0)
		return r;
	if (strcmp(s->locked, path) == 0)
		return -EWOULDBLOCK;
	fd = fd_new(s, 0);
	if (!shared && s->locked[0] == '\0') {
		s->fds[fd].lock = true;
		(void)snprintf(s->locked, sizeof s->locked, "%s", path);
	}
	return fd;
}

static uint64_t
on_now(void *ctx)
{
	return ((struct sim *)ctx)->now_us++;
}

/* ---- the kit ---- */

struct sim *
sim_new(void)
{
	struct sim *s = zeroed(1, sizeof *s);

	s->now_us = 1000000;
	s->fs = (struct store_fs){ s, on_open, on_close, on_read, on_write, on_sync, on_allocate, on_size, on_rename, on_remove,
		on_link, on_list, on_make_dir, on_sync_dir, on_lock, on_now };
	return s;
}

static struct inode *
inodes_copy(const struct inode *from, unsigned n)
{
	struct inode *v = zeroed(n + 1, sizeof *v);

	for (unsigned i = 0; i < n; i++) {
		put(&v[i], 0, from[i].bytes, from[i].n);
		v[i].links = from[i].links;
	}
	return v;
}

static void
inodes_free(struct inode *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		free(v[i].bytes);
	free(v);
}

/* What is there now is what a power cut finds at the least. */
static void
settle(struct sim *s)
{
	s->start = s->names;
	s->n_start = s->n_inodes;
	s->start_inodes = inodes_copy(s->inodes, s->n_inodes);
}

struct sim *
sim_copy(const struct sim *from)
{
	struct sim *s = sim_new();

	s->names = from->names;
	s->n_inodes = from->n_inodes;
	s->inodes = inodes_copy(from->inodes, from->n_inodes);
	s->now_us = from->now_us;
	settle(s);
	return s;
}

void
sim_free(struct sim *s)
{
	for (size_t i = 0; i < s->n_events; i++)
		free(s->events[i].bytes);
	free(s->events);
	inodes_free(s->inodes, s->n_inodes);
	inodes_free(s->start_inodes, s->n_start);
	free(s);
}

const struct store_fs *
sim_fs(struct sim *s)
{
	return &s->fs;
}

void
sim_sleep(struct sim *s, uint64_t us)
{
	s->now_us += us;
}

unsigned
sim_count(const struct sim *s)
{
	return s->names.n;
}

struct sim_file
sim_at(struct sim *s, unsigned i)
{
	struct inode *f = &s->inodes[s->names.v[i].inode];

	return (struct sim_file){ s->names.v[i].path, f->bytes, f->n };
}

void
sim_cut_file(struct sim *s, unsigned i, size_t n)
{
	s->inodes[s->names.v[i].inode].n = n;
}

void
sim_remove(struct sim *s, unsigned i)
{
	s->names.v[i] = s->names.v[--s->names.n];
}

void
sim_write(struct sim *s, const char *path, struct slice bytes)
{
	int fd = on_open(s, path, FS_WRITE | FS_CREATE | FS_DURABLE);

	ASSERT(fd >= 0);
	(void)on_write(s, fd, bytes.p, bytes.n, 0);
	on_close(s, fd);
}

void
sim_fail(struct sim *s, enum sim_fault how, uint64_t nth, int error)
{
	s->fault = how;
	s->fail_at = s->calls + nth;
	s->error = error;
}

void
sim_heal(struct sim *s)
{
	s->fault = SIM_NONE;
}

uint64_t
sim_calls(const struct sim *s)
{
	return s->calls;
}

void
sim_capacity(struct sim *s, uint64_t bytes)
{
	s->capacity = bytes;
}

void
sim_lie(struct sim *s)
{
	s->lie = true;
}

size_t
sim_events(const struct sim *s)
{
	return s->n_events;
}

/* ---- what a power cut leaves ---- */

struct disk {
	struct inode *inodes;
	unsigned n;
	struct names names;
	uint64_t random;
	enum sim_cut how;
};

static bool
chance(struct disk *d)
{
	return sim_random(&d->random) >> 63 != 0;
}

static void
apply_data(struct disk *d, const struct event *e, bool whole)
{
	struct inode *f = &d->inodes[e->inode];
	uint64_t grain = d->how == CUT_PAGES ? PAGE : SECTOR;

	if (e->kind == EV_SIZE) {
		if ((whole || chance(d)) && e->n > f->n)
			resize(f, e->n);
		return;
	}
	for (uint64_t at = e->at, end; at < e->at + e->n; at = end) {
		end = NUM_MIN((at / grain + 1) * grain, e->at + e->n);
		if (whole || chance(d))
			put(f, at, e->bytes + (at - e->at), end - at);
	}
}

static void
apply_name(struct disk *d, const struct event *e)
{
	if (e->kind == EV_CREATE)
		set_name(&d->names, e->from, e->inode);
	else if (e->kind == EV_LINK)
		set_name(&d->names, e->to, e->inode);
	else
		del_name(&d->names, e->from);
	if (e->kind == EV_RENAME)
		set_name(&d->names, e->to, e->inode);
}

static bool
is_name(const struct event *e)
{
	return e->kind == EV_CREATE || e->kind == EV_RENAME || e->kind == EV_REMOVE || e->kind == EV_LINK;
}

/* Was <e>, the event <i>, flushed before event <n>? */
static bool
is_flushed(const struct sim *s, size_t i, size_t n)
{
	const struct event *e = &s->events[i];

	for (size_t j = i + 1; j < n && !e->lost; j++) {
		const struct event *f = &s->events[j];

		if (is_name(e) ? f->kind == EV_SYNC_DIR : f->kind == EV_SYNC && f->inode == e->inode)
			return true;
	}
	return false;
}

struct sim *
sim_power_cut(const struct sim *s, size_t events, enum sim_cut how, uint64_t seed)
{
	struct disk d = { .names = s->start, .random = seed * 0x9e3779b97f4a7c15u + 1, .how = how, .n = s->n_inodes };
	struct sim *r = sim_new();
	bool names_go_on = true;
	uint64_t cut = 0;

	d.inodes = zeroed(s->n_inodes + 1, sizeof *d.inodes);
	for (unsigned i = 0; i < s->n_start; i++)
		put(&d.inodes[i], 0, s->start_inodes[i].bytes, s->start_inodes[i].n);
	cut = how == CUT_PREFIX ? sim_random(&d.random) % (events + 1) : 0;
	for (size_t i = 0; i < events; i++) {
		const struct event *e = &s->events[i];
		bool flushed;

		if (e->kind == EV_SYNC || e->kind == EV_SYNC_DIR)
			continue;
		flushed = is_flushed(s, i, events);
		if (is_name(e)) {
			names_go_on = names_go_on && (flushed || (how == CUT_PREFIX ? i < cut : how != CUT_ALL_LOST && chance(&d)));
			if (names_go_on)
				apply_name(&d, e);
		} else if (flushed || (how == CUT_PREFIX && i < cut))
			apply_data(&d, e, true);
		else if (how == CUT_SECTORS || how == CUT_PAGES)
			apply_data(&d, e, false);
	}
	r->inodes = d.inodes;
	r->n_inodes = d.n;
	r->names = d.names;
	for (unsigned i = 0; i < r->names.n; i++)
		r->inodes[r->names.v[i].inode].links++;
	settle(r);
	return r;
}
