/* Whole files, read and written safely; see file.h. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/num.h"
#include "base/secret.h"

/* Read from <fd> until the end or <cap> bytes; -1 with errno. */
static ssize_t
read_full(int fd, uint8_t *p, size_t cap)
{
	size_t n = 0;

	while (n < cap) {
		ssize_t got = read(fd, p + n, cap - n);

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static bool
check_regular(int fd, const char *path, size_t max, size_t *ret_size, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) == -1)
		return err_sys(err, "cannot read %s", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INPUT, "%s is %s, not a regular file: give the path of a file", path,
		    S_ISDIR(st.st_mode) ? "a directory" : "a device, pipe or socket");
	if ((uint64_t)st.st_size > max)
		return err_set(err, ERR_LIMIT, "%s has %lld bytes, more than the %zu that such a file may have", path,
		    (long long)st.st_size, max);
	*ret_size = (size_t)st.st_size;
	return true;
}

static bool
read_open(int fd, const char *path, size_t max, uint8_t **ret, size_t *ret_n, struct err *err)
{
	size_t size = 0, cap;
	uint8_t *p;
	ssize_t n;

	if (!check_regular(fd, path, max, &size, err))
		return false;
	/* One byte for the NUL; it also shows whether the file has grown since. */
	if (!num_add(size, (size_t)1, &cap) || (p = malloc(cap)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory reading %s", path);
	n = read_full(fd, p, cap);
	if (n == -1 || (size_t)n > size) {
		if (n == -1)
			(void)err_sys(err, "cannot read %s", path);
		else
			(void)err_set(err, ERR_INPUT, "%s is being written to: try again when that has ended", path);
		secret_free(p, cap);
		return false;
	}
	p[n] = '\0';
	*ret = p;
	*ret_n = (size_t)n;
	return true;
}

bool
file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_n, struct err *err)
{
	/* O_NONBLOCK: a pipe without a writer must not hold us up before we see that it is one. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	bool ok;

	if (fd == -1)
		return err_sys(err, "cannot open %s", path);
	ok = read_open(fd, path, max, ret, ret_n, err);
	(void)close(fd); /* only read from: nothing can be lost */
	return ok;
}

static bool
write_full(int fd, struct slice s)
{
	while (s.n > 0) {
		ssize_t put = write(fd, s.p, s.n);

		if (put == -1 && errno != EINTR)
			return false;
		if (put > 0)
			s = slice_from(s, (size_t)put);
	}
	return true;
}

/* All of <data> on the disk under a temporary name. */
static bool
write_temp(int fd, struct slice data, mode_t mode, int flags)
{
	int no;
	bool ok = write_full(fd, data) && fchmod(fd, mode) == 0 && ((flags & FILE_UNSYNCED) != 0 || fsync(fd) == 0);

	no = errno;
	if (close(fd) == -1 && ok)
		return false;
	errno = no;
	return ok;
}

/* The temporary file gets its name: in place of what is there, or only if nothing is there. */
static bool
move_into_place(const char *temp, const char *path, int flags)
{
	if ((flags & FILE_REPLACE) != 0)
		return rename(temp, path) == 0;
	if (renameat2(AT_FDCWD, temp, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return true;
	if (errno != EINVAL && errno != ENOSYS)
		return false;
	/* A file system that does not know the flag. */
	return link(temp, path) == 0 && unlink(temp) == 0;
}

/* Whose <path> is, <fd> becomes, as far as the system lets us. */
static void
take_owner(int fd, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) == -1 && fchown(fd, (uid_t)-1, st.st_gid) == -1)
		return; /* it is ours, then */
}

/* <temp> is there and open as <fd>; whatever happens, it is gone or in place afterwards. */
static bool
finish_write(int fd, const char *temp, const char *path, struct slice data, mode_t mode, int flags, struct err *err)
{
	if (write_temp(fd, data, mode, flags) && move_into_place(temp, path, flags))
		return true;
	if (errno == EEXIST)
		(void)err_set(err, ERR_EXISTS, "%s is there already and is not overwritten: move it away first", path);
	else
		(void)err_sys(err, "cannot write %s", path);
	(void)unlink(temp);
	return false;
}

bool
file_write(const char *path, struct slice data, mode_t mode, int flags, struct err *err)
{
	const char *slash = strrchr(path, '/');
	int dir_n = slash == NULL ? 0 : (int)NUM_MIN(slash - path + 1, PATH_MAX);
	char temp[PATH_MAX];
	int n = snprintf(temp, sizeof temp, "%.*s.signet-XXXXXX", dir_n, path);
	int dir, fd;
	bool ok;

	if (n < 0 || (size_t)n >= sizeof temp) {
		errno = ENAMETOOLONG;
		return err_sys(err, "cannot write %s", path);
	}
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd == -1)
		return err_sys(err, "cannot write %s", path);
	if ((flags & FILE_KEEP_OWNER) != 0)
		take_owner(fd, path);
	ok = finish_write(fd, temp, path, data, mode, flags, err);
	if (!ok || (flags & FILE_UNSYNCED) != 0)
		return ok;
	/* The new name is safe once the directory is. Directories that cannot be opened or synced (write-only ones,
	 * some network file systems) are left to their own promises. */
	(void)snprintf(temp, sizeof temp, "%.*s", dir_n > 0 ? dir_n : 1, dir_n > 0 ? path : ".");
	dir = open(temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir == -1)
		return true;
	if (fsync(dir) == -1 && errno == EIO) {
		ok = err_sys(err, "%s was written but may not survive a power cut", path);
		if ((flags & FILE_REPLACE) == 0)
			(void)unlink(path);
	}
	(void)close(dir);
	return ok;
}

bool
file_sync_all(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = fd != -1 && syncfs(fd) == 0;

	if (!ok)
		(void)err_sys(err, "cannot sync the file system of %s", path);
	if (fd != -1)
		(void)close(fd); /* only read from */
	return ok;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

bool
dir_remove(const char *path)
{
	return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0;
}

/* One level; what is there already must be a directory. */
static bool
make_one(const char *path, mode_t mode, struct err *err)
{
	struct stat st;
	int why;

	if (mkdir(path, mode) == 0)
		return true;
	why = errno;
	/* Not only EEXIST: on a read-only file system mkdir says EROFS for what is there, too. */
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return true;
		return err_set(err, ERR_EXISTS, "%s is there already and is not a directory: move it away first", path);
	}
	errno = why;
	return err_sys(err, "cannot make the directory %s", path);
}

bool
dir_make(const char *path, mode_t mode, struct err *err)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof part) {
		errno = n == 0 ? ENOENT : ENAMETOOLONG;
		return err_sys(err, "cannot make the directory %s", path);
	}
	memcpy(part, path, n + 1);
	for (size_t i = 1; i < n; i++) {
		if (part[i] != '/')
			continue;
		part[i] = '\0';
		if (!make_one(part, mode, err))
			return false;
		part[i] = '/';
	}
	return make_one(part, mode, err);
}

bool
path_join(char *out, size_t cap, const char *dir, const char *name)
{
	size_t len = strlen(dir);
	const char *sep = len == 0 || dir[len - 1] == '/' ? "" : "/";
	int n = name[0] == '/' ? snprintf(out, cap, "%s", name) : snprintf(out, cap, "%s%s%s", dir, sep, name);

	return n >= 0 && (size_t)n < cap;
}
