/* Append to the audit log; see audit.h. The file is opened once; afterwards only read, write, seek, lock, cut and sync are
 * asked of the system, so that the signer can do it behind its seccomp filter. */
#include "audit/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"

enum { LOCK_TRIES = 2000, LOCK_PAUSE_NS = 5000000 }; /* ten seconds */

struct audit {
	int fd;
	char *path;
	off_t size;               /* of the file when <head> was looked up */
	struct audit_head head;
	uint64_t checkpoint;      /* number of the newest one that is known */
	char *line, *room;        /* AUDIT_LINE_MAX each */
};

static bool
lock(struct audit *a, struct err *err)
{
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_NS };

	for (unsigned i = 0; i < LOCK_TRIES; i++) {
		if (flock(a->fd, LOCK_EX | LOCK_NB) == 0)
			return true;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_sys(err, "cannot lock %s", a->path);
		(void)nanosleep(&pause, NULL);
	}
	return err_set(err, ERR_LIMIT, "%s is locked by another program for more than ten seconds", a->path);
}

static void
unlock(struct audit *a)
{
	(void)flock(a->fd, LOCK_UN); /* closing does it, too */
}

/* All of it, or the file is as it was. */
static bool
put_line(struct audit *a, size_t n, struct err *err)
{
	size_t done = 0;

	while (done < n) {
		ssize_t put = write(a->fd, a->line + done, n - done);

		if (put == -1 && errno == EINTR)
			continue;
		if (put <= 0) {
			(void)err_sys(err, "cannot write %s", a->path);
			/* What is torn all the same is seen and cut by the next who writes. */
			return ftruncate(a->fd, a->size) == 0 ? false : err_prefix(err, "a torn end stays");
		}
		done += (size_t)put;
	}
	a->size += (off_t)n;
	return true;
}

static void
count(struct audit *a, const char *action)
{
	if (strcmp(action, "checkpoint") == 0)
		a->checkpoint = a->head.n;
	a->head.unsigned_n = a->head.n - a->checkpoint;
}

/* Behind <a->head>, with the lock held. */
static bool
add(struct audit *a, const struct audit_record *r, struct err *err)
{
	char hash[AUDIT_HASH_CAP];
	size_t n = audit_format(r, a->head.n + 1, a->head.hash, a->line, hash);

	if (n == 0)
		return err_set(err, ERR_LIMIT, "%s: a record is too long", a->path);
	if (!put_line(a, n, err))
		return false;
	a->head.n++;
	memcpy(a->head.hash, hash, sizeof hash);
	count(a, r->action);
	return true;
}

/* A crash while a record was written: nobody was told of it, so it counts for nothing. That it was there is kept. */
static bool
cut_torn(struct audit *a, off_t from, struct err *err)
{
	char bytes[32], offset[32];
	struct audit_detail d[] = { { "bytes", bytes }, { "offset", offset } };
	struct audit_record r = { .actor = "audit", .action = "torn", .object = "the last line", .details = d, .n_details = 2 };

	(void)snprintf(bytes, sizeof bytes, "%lld", (long long)(a->size - from));
	(void)snprintf(offset, sizeof offset, "%lld", (long long)from);
	if (ftruncate(a->fd, from) == -1)
		return err_sys(err, "cannot cut the torn last line of %s", a->path);
	a->size = from;
	return add(a, &r, err);
}

/* The last line that is whole becomes the head. */
static bool
take_head(struct audit *a, struct slice line, off_t at, struct err *err)
{
	struct parsed p = { .room = a->room };
	bool ok = audit_parse(&p, line, err);

	if (ok && !audit_intact(&p))
		ok = err_set(err, ERR_INPUT, "its hash is not that of its text");
	if (!ok)
		return err_prefix(err, "%s: the last record (byte %lld) was changed after it was written, so nothing is put behind it; move "
				       "the file away, it is evidence, and a new one begins", a->path, (long long)at);
	a->head.n = p.seen.n;
	memcpy(a->head.hash, p.seen.hash, AUDIT_HASH_CAP);
	count(a, p.seen.action);
	return true;
}

static bool
read_tail(struct audit *a, char *buf, off_t from, size_t n, struct err *err)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(a->fd, buf + done, n - done, from + (off_t)done);

		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(err, "cannot read %s", a->path);
		done += (size_t)got;
	}
	return true;
}

/* Look at the end of a file that others have written to. */
static bool
look(struct audit *a, struct err *err)
{
	size_t n = (size_t)NUM_MIN(a->size, (off_t)2 * AUDIT_LINE_MAX);
	off_t from = a->size - (off_t)n;
	char *buf = malloc(n), *end, *start;
	bool ok;

	if (buf == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	ok = read_tail(a, buf, from, n, err);
	end = ok ? memrchr(buf, '\n', n) : NULL;
	if (ok && end == NULL && from > 0)
		ok = err_set(err, ERR_INPUT, "%s: there is no record at its end: move the file away, and a new one begins", a->path);
	if (ok && end != NULL) {
		start = memrchr(buf, '\n', (size_t)(end - buf));
		start = start != NULL ? start + 1 : buf;
		ok = take_head(a, slice_of(start, (size_t)(end - start)), from + (start - buf), err);
	}
	if (ok && (end == NULL || end + 1 < buf + n))
		ok = cut_torn(a, end != NULL ? from + (end + 1 - buf) : 0, err);
	free(buf);
	return ok;
}

/* With the lock held: the head is that of the file as it is. */
static bool
refresh(struct audit *a, struct err *err)
{
	off_t end = lseek(a->fd, 0, SEEK_END);
	bool ok;

	if (end == -1)
		return err_sys(err, "cannot read %s", a->path);
	if (end == a->size)
		return true;
	a->size = end;
	if (end == 0) {
		a->head = (struct audit_head){ .hash = AUDIT_ZEROS };
		return true;
	}
	ok = look(a, err);
	if (!ok)
		a->size = -1; /* the next asks again */
	return ok;
}

/* Made by root, it belongs to whom the installation belongs to: his commands write to it, too. */
static void
give_to_owner(int fd, const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (geteuid() != 0)
		return;
	if (slash == NULL || !text_copy(dir, sizeof dir, slice_of(path, (size_t)(slash - path))))
		return;
	if (stat(dir[0] != '\0' ? dir : "/", &st) == 0 && fchown(fd, st.st_uid, st.st_gid) == -1)
		return; /* root's, then */
}

static int
open_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);

	if (fd == -1 && errno == ENOENT) {
		fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
		if (fd != -1)
			give_to_owner(fd, path);
		else if (errno == EEXIST)
			fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	}
	if (fd == -1)
		(void)err_sys(err, "cannot open the audit log %s", path);
	return fd;
}

struct audit *
audit_open(const char *path, struct err *err)
{
	struct audit *a = calloc(1, sizeof *a);
	bool ok;

	if (a == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	a->fd = -1;
	a->size = -1;
	memcpy(a->head.hash, AUDIT_ZEROS, sizeof AUDIT_ZEROS);
	a->path = text_dup(slice_str(path));
	a->line = malloc(AUDIT_LINE_MAX);
	a->room = malloc(AUDIT_LINE_MAX);
	if (a->path == NULL || a->line == NULL || a->room == NULL)
		ok = err_set(err, ERR_MEMORY, "out of memory");
	else
		ok = (a->fd = open_file(path, err)) != -1 && lock(a, err);
	if (ok) {
		ok = refresh(a, err) && audit_sync(a, err);
		unlock(a);
	}
	if (ok)
		return a;
	audit_close(a);
	return NULL;
}

void
audit_close(struct audit *a)
{
	if (a == NULL)
		return;
	if (a->fd != -1)
		(void)close(a->fd); /* what was promised is synced */
	free(a->path);
	free(a->line);
	free(a->room);
	free(a);
}

struct audit_head
audit_head(const struct audit *a)
{
	return a->head;
}

bool
audit_write(struct audit *a, const struct audit_record *r, struct audit_head *ret, struct err *err)
{
	bool ok;

	if (!lock(a, err))
		return false;
	ok = refresh(a, err) && add(a, r, err);
	unlock(a);
	if (ok && ret != NULL)
		*ret = a->head;
	return ok;
}

bool
audit_sync(struct audit *a, struct err *err)
{
	return fsync(a->fd) == 0 || err_sys(err, "cannot sync %s", a->path);
}

bool
audit_append(struct audit *a, const struct audit_record *r, struct audit_head *ret, struct err *err)
{
	return audit_write(a, r, ret, err) && audit_sync(a, err);
}

struct slice
audit_statement(uint64_t n, const char *hash, char out[AUDIT_STATEMENT_CAP])
{
	int len = snprintf(out, AUDIT_STATEMENT_CAP, "signet audit checkpoint v1\n%llu\n%.64s\n", (unsigned long long)n, hash);

	return slice_of(out, (size_t)len);
}

static bool
add_checkpoint(struct audit *a, const char *actor, const struct audit_signer *s, struct err *err)
{
	char statement[AUDIT_STATEMENT_CAP], hex[2 * AUDIT_SIGNATURE_MAX + 1];
	uint8_t signature[AUDIT_SIGNATURE_MAX];
	struct audit_detail d[] = { { "signer", s->name }, { "signature", hex } };
	struct audit_record r = { .actor = actor, .action = "checkpoint", .object = "the log so far", .details = d, .n_details = 2 };
	size_t n;

	if (!s->sign(s->ctx, audit_statement(a->head.n, a->head.hash, statement), signature, sizeof signature, &n, err))
		return false;
	if (2 * n > AUDIT_VALUE_MAX)
		return err_set(err, ERR_LIMIT, "a signature of %zu bytes is too long for the audit log", n);
	(void)text_hex(slice_of(signature, n), hex, sizeof hex);
	return add(a, &r, err);
}

bool
audit_checkpoint(struct audit *a, const char *actor, const struct audit_signer *s, struct audit_head *ret, struct err *err)
{
	bool ok;

	if (!lock(a, err))
		return false;
	ok = refresh(a, err) && add_checkpoint(a, actor, s, err);
	unlock(a);
	ok = ok && audit_sync(a, err);
	if (ok && ret != NULL)
		*ret = a->head;
	return ok;
}

const char *
audit_actor(char out[AUDIT_ACTOR_MAX + 1])
{
	char buf[4096];
	struct passwd pw, *found = NULL;

	if (getpwuid_r(getuid(), &pw, buf, sizeof buf, &found) == 0 && found != NULL)
		(void)snprintf(out, AUDIT_ACTOR_MAX + 1, "cli/%.100s", pw.pw_name);
	else
		(void)snprintf(out, AUDIT_ACTOR_MAX + 1, "cli/%lu", (unsigned long)getuid());
	return out;
}

bool
audit_note(const char *dir, const struct audit_record *r, struct err *err)
{
	char path[4096];
	struct audit *a;
	bool ok;

	if (!path_join(path, sizeof path, dir, "audit.log"))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	a = audit_open(path, err);
	ok = a != NULL && audit_append(a, r, NULL, err);
	audit_close(a);
	return ok;
}
