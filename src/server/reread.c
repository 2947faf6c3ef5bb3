/* What the broker reads again at SIGHUP, when root has made it somebody else: files in the installation's folder are opened to the group of
 * that user, for reading and nothing more. */
#include "server/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"

enum { PATHS_MAX = 1024 };

struct paths {
	const char *v[PATHS_MAX];
	size_t n;
};

static void
add(struct paths *l, const char *path)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->v[i], path) == 0)
			return;
	if (l->n < PATHS_MAX && access(path, F_OK) == 0)
		l->v[l->n++] = path;
}

/* Those of one scope: what takes effect at the next start, and what is for control alone, is not read again. */
static void
add_scope(struct paths *l, enum option_scope scope, const void *base)
{
	for (unsigned i = 0; i < options_n; i++) {
		const struct option *o = &options[i];
		const char *path = o->scope == scope && o->type == OPTION_PATH ? *(char *const *)(const void *)((const char *)base + o->offset) : NULL;

		if (path != NULL && (o->flags & (OPTION_NEXT_START | OPTION_CONTROL)) == 0)
			add(l, path);
	}
}

static void
collect(const struct config *c, struct paths *l)
{
	for (unsigned i = 0; i < c->n_files; i++)
		add(l, c->files[i]);
	for (unsigned i = 0; i < c->n_listeners; i++) {
		add_scope(l, OPTION_LISTENER, &c->listeners[i]);
		add_scope(l, OPTION_SECURITY, c->listeners[i].security);
	}
	for (unsigned i = 0; i < c->n_bridges && c->bridges != NULL; i++)
		add_scope(l, OPTION_BRIDGE, &c->bridges[i]);
	for (unsigned i = 0; i < c->n_role_cas; i++)
		add(l, c->role_cas[i].file);
}

/* ---- can he? ---- */

static void __attribute__((noreturn))
try_all(const struct privileges *p, const struct paths *l, int out)
{
	struct err ignored;
	char can[PATHS_MAX];

	if (!privileges_drop(p, &ignored))
		_exit(1);
	for (size_t i = 0; i < l->n; i++)
		can[i] = faccessat(AT_FDCWD, l->v[i], R_OK, AT_EACCESS) == 0;
	_exit(write(out, can, l->n) == (ssize_t)l->n ? 0 : 1);
}

/* Leave those that he cannot read; by trying, in a process that ends: groups and access lists count as they will. False: it cannot be found out. */
static bool
leave_closed(const struct privileges *p, struct paths *l)
{
	char can[PATHS_MAX];
	size_t n = 0;
	int pipe_fd[2], status = 0;
	pid_t pid;
	bool ok;

	if (pipe2(pipe_fd, O_CLOEXEC) == -1)
		return false;
	pid = fork();
	if (pid == 0)
		try_all(p, l, pipe_fd[1]);
	(void)close(pipe_fd[1]);
	/* No more than a pipe holds, and written at once. */
	ok = pid != -1 && read(pipe_fd[0], can, l->n) == (ssize_t)l->n;
	(void)close(pipe_fd[0]);
	ok = pid != -1 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0 && ok;
	for (size_t i = 0; ok && i < l->n; i++)
		if (!can[i])
			l->v[n++] = l->v[i];
	l->n = ok ? n : l->n;
	return ok;
}

/* ---- then he shall ---- */

/* Root's, and of no group that somebody has given something on purpose. */
static bool
is_ours(const struct stat *st, const struct privileges *p)
{
	return st->st_uid == 0 && (st->st_gid == 0 || st->st_gid == p->gid || (st->st_mode & 070) == 0);
}

/* Nothing but <bits> for the group, and for others what they had. */
static bool
open_fd(int fd, const struct stat *st, const struct privileges *p, mode_t bits)
{
	if (!is_ours(st, p))
		return false;
	return fchown(fd, (uid_t)-1, p->gid) == 0 && fchmod(fd, (st->st_mode & 0707) | bits) == 0;
}

/* May he pass through already? */
static bool
passes(const struct stat *st, const struct privileges *p)
{
	return (st->st_mode & 01) != 0 || (st->st_gid == p->gid && (st->st_mode & 010) != 0);
}

static bool
open_last(int fd, const struct privileges *p)
{
	struct stat st;

	if (fstat(fd, &st) == -1)
		return false;
	if (S_ISDIR(st.st_mode))
		return (st.st_mode & 05) == 05 || open_fd(fd, &st, p, 050);
	return (st.st_mode & 04) != 0 || (S_ISREG(st.st_mode) && st.st_nlink == 1 && open_fd(fd, &st, p, 040));
}

/* Name by name from the installation's folder, so that nobody's link leads anywhere else. */
static bool
open_below(int folder, const char *path, const struct privileges *p)
{
	char name[NAME_MAX + 1];
	struct stat st;
	int at = folder;
	bool ok = true;

	while (ok) {
		size_t n = strcspn(path, "/");
		bool last = path[n] == '\0';
		int fd = -1;

		if (n > 0 && n < sizeof(name)) {
			memcpy(name, path, n);
			name[n] = '\0';
			fd = strcmp(name, "..") == 0 ? -1 : openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (last ? 0 : O_DIRECTORY));
		}
		if (at != folder)
			(void)close(at);
		at = fd;
		ok = fd != -1 && (last ? open_last(fd, p) : fstat(fd, &st) == 0 && st.st_uid == 0 && (passes(&st, p) || open_fd(fd, &st, p, 010)));
		if (last)
			break;
		path += n + 1;
	}
	if (at != -1 && at != folder)
		(void)close(at);
	return ok;
}

/* Whom others are, too, learns no secret by it. */
static bool
is_nobody(const struct privileges *p)
{
	return strcmp(p->name, "nobody") == 0 || p->uid == 65534;
}

static void
open_all(const struct paths *l, const struct privileges *p, const char *dir)
{
	int folder = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	size_t n = strlen(dir);
	struct stat st;

	if (folder == -1)
		return;
	for (size_t i = 0; i < l->n && fstat(folder, &st) == 0 && st.st_uid == 0; i++)
		if (strncmp(l->v[i], dir, n) == 0 && l->v[i][n] == '/' && open_below(folder, l->v[i] + n + 1, p))
			log_info("Group %ld, which is that of the broker's user %s, may read %s from now on.", (long)p->gid, p->name, l->v[i]);
	(void)close(folder);
}

bool
reread_prepare(const struct config *c, const struct privileges *p, const char *dir, char ret_why[static REREAD_WHY_MAX])
{
	struct paths *l;
	bool ok;

	if (!p->drop)
		return true;
	l = calloc(1, sizeof(*l));
	(void)text_copy(ret_why, REREAD_WHY_MAX, SL("it cannot be found out what it may read"));
	if (l == NULL)
		return false;
	collect(c, l);
	ok = leave_closed(p, l);
	if (ok && l->n > 0 && !is_nobody(p)) {
		open_all(l, p, dir);
		ok = leave_closed(p, l);
	}
	if (ok && l->n > 0) {
		(void)snprintf(ret_why, REREAD_WHY_MAX, "user %s cannot read %.300s", p->name, l->v[0]);
		ok = false;
	}
	free(l);
	return ok;
}
