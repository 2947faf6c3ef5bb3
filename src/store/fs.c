/* The file system as the store uses it: the one file here that makes such calls. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "store/internal.h"

static int
result(int r)
{
	return r == -1 ? -errno : r;
}

static int
fs_open(void *ctx, const char *path, int flags)
{
	int how = O_CLOEXEC | O_NOFOLLOW | (flags & (FS_WRITE | FS_CREATE) ? O_RDWR : O_RDONLY);

	(void)ctx;
	if (flags & FS_CREATE)
		how |= O_CREAT | O_EXCL;
	if (flags & FS_DURABLE)
		how |= O_DSYNC;
	return result(open(path, how, 0600));
}

static void
fs_close(void *ctx, int fd)
{
	(void)ctx;
	(void)close(fd); /* everything that matters was synced before */
}

static ssize_t
fs_read(void *ctx, int fd, void *p, size_t n, uint64_t at)
{
	ssize_t got = pread(fd, p, n, (off_t)at);

	(void)ctx;
	return got == -1 ? -errno : got;
}

static ssize_t
fs_write(void *ctx, int fd, const void *p, size_t n, uint64_t at)
{
	ssize_t got = pwrite(fd, p, n, (off_t)at);

	(void)ctx;
	return got == -1 ? -errno : got;
}

static int
fs_sync(void *ctx, int fd)
{
	(void)ctx;
	return result(fdatasync(fd));
}

static int
fs_allocate(void *ctx, int fd, uint64_t size)
{
	int r = result(fallocate(fd, 0, 0, (off_t)size));

	(void)ctx;
	return r == -EOPNOTSUPP ? result(ftruncate(fd, (off_t)size)) : r;
}

static int
fs_size(void *ctx, int fd, uint64_t *ret, unsigned *ret_links)
{
	struct stat st;

	(void)ctx;
	if (fstat(fd, &st) == -1)
		return -errno;
	*ret = (uint64_t)st.st_size;
	*ret_links = (unsigned)st.st_nlink;
	return 0;
}

static int
fs_rename(void *ctx, const char *from, const char *to)
{
	(void)ctx;
	return result(rename(from, to));
}

static int
fs_remove(void *ctx, const char *path)
{
	(void)ctx;
	return result(unlink(path));
}

static int
fs_link(void *ctx, const char *from, const char *to)
{
	(void)ctx;
	return result(link(from, to));
}

static int
fs_list(void *ctx, const char *dir, void (*fn)(void *arg, const char *name), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	(void)ctx;
	if (d == NULL)
		return -errno;
	while ((errno = 0, e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			fn(arg, e->d_name);
	int r = -errno;
	(void)closedir(d);
	return r;
}

static int
fs_make_dir(void *ctx, const char *path)
{
	int r = result(mkdir(path, 0700));

	(void)ctx;
	return r == -EEXIST ? 0 : r;
}

static int
fs_sync_dir(void *ctx, const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	(void)ctx;
	if (fd == -1)
		return -errno;
	r = result(fsync(fd));
	(void)close(fd);
	return r;
}

static int
fs_lock(void *ctx, const char *path, bool shared)
{
	int fd = open(path, O_CLOEXEC | O_NOFOLLOW | (shared ? O_RDONLY : O_RDWR | O_CREAT), 0600);

	(void)ctx;
	/* What there is can be served from a file system that is read-only for now. */
	if (fd == -1 && errno == EROFS)
		fd = open(path, O_CLOEXEC | O_NOFOLLOW | O_RDONLY);
	if (fd == -1)
		return -errno;
	if (flock(fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == -1) {
		int r = -errno;

		(void)close(fd);
		return r;
	}
	return fd;
}

static uint64_t
fs_now_us(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

const struct store_fs *
store_fs_posix(void)
{
	static const struct store_fs posix = {
		.open = fs_open,
		.close = fs_close,
		.read = fs_read,
		.write = fs_write,
		.sync = fs_sync,
		.allocate = fs_allocate,
		.size = fs_size,
		.rename = fs_rename,
		.remove = fs_remove,
		.link = fs_link,
		.list = fs_list,
		.make_dir = fs_make_dir,
		.sync_dir = fs_sync_dir,
		.lock = fs_lock,
		.now_us = fs_now_us,
	};

	return &posix;
}

int
fs_write_all(const struct store_fs *fs, int fd, const void *p, size_t n, uint64_t at)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = fs->write(fs->ctx, fd, (const uint8_t *)p + done, n - done, at + done);

		if (got == -EINTR)
			continue;
		if (got <= 0)
			return got == 0 ? -EIO : (int)got;
		done += (size_t)got;
	}
	return 0;
}

int
fs_read_all(const struct store_fs *fs, int fd, void *p, size_t n, uint64_t at)
{
	for (size_t done = 0; done < n;) {
		ssize_t got = fs->read(fs->ctx, fd, (uint8_t *)p + done, n - done, at + done);

		if (got == -EINTR)
			continue;
		if (got <= 0)
			return got == 0 ? -ENODATA : (int)got;
		done += (size_t)got;
	}
	return 0;
}
