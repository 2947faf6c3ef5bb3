/* registry.db.lock: one process writes. SQLite's own locks say so, too, but not who it is. */
#include "registry/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum { LOCK_PATH_MAX = 4096 };

/* The process that wrote its number there, if it still lives. */
static bool
holder(int fd, uint64_t *ret)
{
	char text[24];
	ssize_t n = pread(fd, text, sizeof text, 0);

	if (n <= 1 || !text_u64(slice_of(text, (size_t)n - 1), 1, INT32_MAX, ret))
		return false;
	return kill((pid_t)*ret, 0) == 0 || errno == EPERM;
}

static bool
refused(int fd, const char *path, bool shared, struct err *err)
{
	uint64_t pid;

	if (errno != EWOULDBLOCK)
		return err_sys(err, "cannot lock %s", path);
	if (holder(fd, &pid))
		return err_set(err, ERR_EXISTS, "%s: process %lu has the registry open: stop it first", path, (unsigned long)pid);
	return err_set(err, ERR_EXISTS, "%s: another process %s: wait until it is done", path,
	    shared ? "has the registry open" : "reads the registry");
}

static bool
sign(int fd)
{
	char text[24];
	int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

	return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n;
}

bool
db_lock(const char *path, bool shared, int *ret_fd, struct err *err)
{
	char name[LOCK_PATH_MAX];
	int fd, n = snprintf(name, sizeof name, "%s.lock", path);

	if (n < 0 || (size_t)n >= sizeof name)
		return err_set(err, ERR_LIMIT, "%s: path too long", path);
	fd = open(name, (shared ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd == -1 && errno == ENOENT && shared) {
		*ret_fd = -1;
		return true;
	}
	if (fd == -1)
		return err_sys(err, "cannot open %s", name);
	if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == -1) {
		(void)refused(fd, path, shared, err);
		(void)close(fd);
		return false;
	}
	if (!shared && !sign(fd)) {
		(void)err_sys(err, "cannot write %s", name);
		(void)close(fd);
		return false;
	}
	*ret_fd = fd;
	return true;
}

void
db_unlock(int fd)
{
	if (fd == -1)
		return;
	/* Nobody is named any more. Of a reader it fails, and there was nothing to take back. */
	if (ftruncate(fd, 0) == -1)
		errno = 0;
	(void)close(fd);
}
