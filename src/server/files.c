/* http_dir: files for browsers, and nothing but what is really below it. Reading a file may wait for the disk for a moment; the
 * kernel is told what will be wanted. */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct file {
	int fd;
};

bool
files_open_dir(const char *path, int *ret_fd, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return err_sys(err, "cannot open the directory %s", path);
	*ret_fd = fd;
	return true;
}

/* Name by name, so that a symbolic link is refused wherever it is. ws/ has seen to it that no name is "..". -1: no such file, or
 * one that is not to be had. */
static int
open_below(int top, const char *path)
{
	char name[NAME_MAX + 1];
	int dir = top, fd;
	bool last = false;

	while (!last) {
		size_t n = strcspn(path, "/");

		last = path[n] == '\0';
		fd = -1;
		if (n > 0 && n < sizeof(name)) {
			memcpy(name, path, n);
			name[n] = '\0';
			/* Not blocking: a FIFO would wait for its other end. */
			fd = openat(dir, name,
			    O_NOFOLLOW | O_CLOEXEC |
				(last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY));
		}
		if (dir != top)
			(void)close(dir);
		if (fd == -1)
			return -1;
		dir = fd;
		path += n + 1;
	}
	return dir;
}

static void *
on_open(void *ctx, const char *path, struct ws_file *ret)
{
	const int *top = ctx;
	struct file *f;
	struct stat st;
	int fd = open_below(*top, path);

	if (fd == -1)
		return NULL;
	f = malloc(sizeof(*f));
	if (f == NULL || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		(void)close(fd);
		free(f);
		return NULL;
	}
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* only advice */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
	f->fd = fd;
	ret->size = (uint64_t)st.st_size;
	/* Weak: within one tick of the file system's clock a file may change twice. Inode numbers are nobody's business. */
	(void)snprintf(ret->tag, sizeof(ret->tag), "W/\"%llx.%lx-%llx\"", (unsigned long long)st.st_mtim.tv_sec,
	    (unsigned long)st.st_mtim.tv_nsec, (unsigned long long)st.st_size);
	return f;
}

static ptrdiff_t
on_read(void *file, void *p, size_t n)
{
	const struct file *f = file;
	ssize_t got;

	do
		got = read(f->fd, p, n);
	while (got == -1 && errno == EINTR);
	return got;
}

static void
on_close(void *file)
{
	struct file *f = file;

	(void)close(f->fd); /* only read from */
	free(f);
}

struct ws_files
files_below(const int *fd)
{
	return (struct ws_files){
		.ctx = (void *)(uintptr_t)fd, .open = on_open, .read = on_read, .close = on_close
	};
}
