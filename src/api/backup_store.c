/* The broker's copy of its store, of which the broker says where it is. It may have been taken over: what it names is read, and removed afterwards,
 * only where control has nothing of its own. */
#include "api/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

static bool
is_folder(const struct stat *st, const char *dir, const char *sub)
{
	char path[PKI_PATH_MAX];
	struct stat own;

	return path_join(path, sizeof(path), dir, sub) && stat(path, &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino;
}

/* The registry's folder, where the backups are, the CAs', or that of all of it. */
static bool
is_own(const struct stat *st, const char *dir, const char *registry)
{
	const char *slash = strrchr(registry, '/');
	char folder[PKI_PATH_MAX] = ".";

	if (slash != NULL && !text_copy(folder, sizeof(folder), slice_of(registry, (size_t)(slash - registry) + 1)))
		return true;
	return is_folder(st, dir, ".") || is_folder(st, dir, "pki") || is_folder(st, folder, ".") || is_folder(st, folder, "backups");
}

/* By descriptors: the folder above is the broker's, who may put another in its place at any time. */
bool
store_copy_open(const char *dir, const char *registry, const char *path, struct store_copy *ret, struct err *err)
{
	const char *slash = strrchr(path, '/');
	char above[PKI_PATH_MAX];
	struct store_copy c = { .parent = -1, .fd = -1 };
	struct stat st;

	if (path[0] != '/' || strncmp(slash, "/backup-", 8) != 0 || !text_copy(above, sizeof(above), slice_of(path, (size_t)(slash - path) + 1)) ||
	    !text_copy(c.name, sizeof(c.name), slice_str(slash + 1)))
		return err_set(err, ERR_INPUT, "the broker says that the copy of its store is %s, and it never makes one of this name", path);
	c.parent = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c.parent == -1 || fstat(c.parent, &st) == -1) {
		(void)err_sys(err, "cannot open %s", above);
	} else if (is_own(&st, dir, registry)) {
		(void)err_set(err, ERR_INPUT, "the broker says that the copy of its store is %s, and that folder is not the broker's", path);
	} else {
		c.fd = openat(c.parent, c.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (c.fd != -1) {
			*ret = c;
			return true;
		}
		(void)err_sys(err, "cannot open %s", path);
	}
	store_copy_close(&c);
	return false;
}

void
store_copy_close(struct store_copy *c)
{
	if (c->parent != -1)
		(void)close(c->parent);
	if (c->fd != -1)
		(void)close(c->fd);
	c->parent = c->fd = -1;
}

bool
store_copy_each(const struct store_copy *c, bool (*each)(void *ctx, int folder, const char *name), void *ctx)
{
	int fd = openat(c->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd != -1 ? fdopendir(fd) : NULL;
	const struct dirent *e;
	bool ok = d != NULL;

	while (ok && (e = readdir(d)) != NULL)
		ok = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || each(ctx, c->fd, e->d_name);
	if (d != NULL)
		(void)closedir(d);
	else if (fd != -1)
		(void)close(fd);
	return ok;
}

static bool
remove_file(void *ctx, int folder, const char *name)
{
	(void)ctx;
	return unlinkat(folder, name, 0) == 0;
}

void
store_copy_remove(const char *dir, const char *registry, const char *path)
{
	struct store_copy c = { .parent = -1, .fd = -1 };
	struct err err;
	bool ok;

	if (!store_copy_open(dir, registry, path, &c, &err)) {
		if (err.code == ERR_INPUT)
			return; /* it is none, and the backup has failed because of it */
		log_warning("What the broker has copied for a backup is still there: %s. Remove it by hand.", err.text);
		return;
	}
	ok = store_copy_each(&c, remove_file, NULL) && unlinkat(c.parent, c.name, AT_REMOVEDIR) == 0;
	if (!ok)
		log_warning("What the broker has copied for a backup is still in %s (%s): remove it by hand.", path, strerror(errno));
	store_copy_close(&c);
}
