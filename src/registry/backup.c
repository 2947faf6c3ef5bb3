/* A copy of the registry while it is in use. */
#include "registry/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct registry_backup {
	struct registry *r;
	sqlite3 *db;                 /* the copy */
	sqlite3_backup *copy;
	char path[4096], part[4096 + 8]; /* part: until it is whole */
	bool made;
};

static bool
fail(struct registry_backup *b, int code, struct err *err)
{
	if ((code & 0xff) == SQLITE_FULL)
		return err_set(err, ERR_LIMIT, "cannot write %s: the disk is full", b->part);
	if ((code & 0xff) == SQLITE_IOERR && (errno = sqlite3_system_errno(b->db)) != 0)
		return err_sys(err, "cannot write %s", b->part);
	return err_set(err, (code & 0xff) == SQLITE_NOMEM ? ERR_MEMORY : ERR_SYSTEM, "cannot write %s: %s", b->part, sqlite3_errstr(code));
}

static bool
start(struct registry_backup *b, const char *path, struct err *err)
{
	int fd, code;

	if ((size_t)snprintf(b->path, sizeof b->path, "%s", path) >= sizeof b->path)
		return err_set(err, ERR_LIMIT, "%s: path too long", path);
	(void)snprintf(b->part, sizeof b->part, "%s.part", b->path);
	if (access(path, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "%s exists already: a backup overwrites nothing", path);
	/* SQLite would give it the umask's mode. */
	if ((fd = open(b->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) == -1)
		return err_sys(err, "cannot make %s", b->part);
	b->made = true;
	(void)close(fd);
	code = sqlite3_open_v2(b->part, &b->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (code != SQLITE_OK)
		return fail(b, code, err);
	/* Nobody sees it before it is whole: a journal and the flushes in between would only cost. */
	if (sqlite3_exec(b->db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) !=
	    SQLITE_OK)
		return fail(b, sqlite3_errcode(b->db), err);
	b->copy = sqlite3_backup_init(b->db, "main", b->r->db, "main");
	return b->copy != NULL || fail(b, sqlite3_errcode(b->db), err);
}

struct registry_backup *
registry_backup_new(struct registry *r, const char *path, struct err *err)
{
	struct registry_backup *b = calloc(1, sizeof *b);

	if (b == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	b->r = r;
	if (start(b, path, err))
		return b;
	registry_backup_free(b);
	return NULL;
}

static bool
sync_path(const char *path, int flags)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
	bool ok = fd != -1 && fsync(fd) == 0;

	if (fd != -1)
		(void)close(fd);
	return ok;
}

static bool
sync_folder(const char *path)
{
	char dir[4096];
	char *slash;

	(void)snprintf(dir, sizeof dir, "%s", path);
	slash = strrchr(dir, '/');
	if (slash == NULL)
		return sync_path(".", O_DIRECTORY);
	slash[slash == dir] = '\0';
	return sync_path(dir, O_DIRECTORY);
}

/* Closed, on the disk, and then under its name, which nobody has taken meanwhile. */
static bool
finish(struct registry_backup *b, struct err *err)
{
	int code = sqlite3_backup_finish(b->copy);

	b->copy = NULL;
	if (code != SQLITE_OK)
		return fail(b, code, err);
	(void)sqlite3_close(b->db);
	b->db = NULL;
	if (!sync_path(b->part, 0))
		return err_sys(err, "cannot write %s", b->part);
	if (link(b->part, b->path) == -1)
		return err_sys(err, "cannot name the backup %s", b->path);
	(void)unlink(b->part);
	b->made = false;
	return sync_folder(b->path) || err_sys(err, "cannot write the folder of %s", b->path);
}

bool
registry_backup_step(struct registry_backup *b, unsigned pages, bool *ret_done, struct err *err)
{
	int code;

	if (b->copy == NULL)
		return err_set(err, ERR_USAGE, "this backup is over");
	code = sqlite3_backup_step(b->copy, pages > INT32_MAX ? -1 : (int)pages);
	if (code == SQLITE_DONE) {
		*ret_done = true;
		return finish(b, err);
	}
	*ret_done = false;
	return code == SQLITE_OK || fail(b, code, err);
}

void
registry_backup_free(struct registry_backup *b)
{
	if (b == NULL)
		return;
	if (b->copy != NULL)
		(void)sqlite3_backup_finish(b->copy);
	(void)sqlite3_close(b->db);
	if (b->made)
		(void)unlink(b->part);
	free(b);
}
