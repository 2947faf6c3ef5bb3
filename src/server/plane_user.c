/* Control under a user of its own: root opens ports and reads keys, and gives him what he writes to. */
#include "server/plane.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

/* One file of root's in a folder that will be, or is already, somebody else's: nothing that lies elsewhere, too. */
static void
give_file(int folder, const char *name, const struct privileges *p)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd == -1)
		return;
	/* What cannot be given is told by who cannot open it. */
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == 0 && fchown(fd, p->uid, p->gid) == -1)
		log_debug("Cannot give %s away: %s.", name, strerror(errno));
	(void)close(fd);
}

static bool
give_folder(const char *path, const struct privileges *p)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	const struct dirent *e;
	struct stat st;
	DIR *d;
	bool ok;

	if (fd == -1)
		return errno == ENOENT;
	ok = fstat(fd, &st) == 0 && (st.st_uid != 0 || fchown(fd, p->uid, p->gid) == 0);
	d = ok ? fdopendir(fd) : NULL;
	if (d == NULL) {
		(void)close(fd);
		return false;
	}
	while ((e = readdir(d)) != NULL)
		give_file(fd, e->d_name, p);
	(void)closedir(d);
	return true;
}

/* By trying, in a process that ends: groups and access lists count as they will. */
static bool
can(const struct privileges *p, const char *folder, int what)
{
	struct err ignored;
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(privileges_drop(p, &ignored) && faccessat(AT_FDCWD, folder, what, AT_EACCESS) == 0 ? 0 : 1);
	return pid != -1 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool
is_same(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == -1 || stat(b, &y) == -1 || (x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

bool
plane_give(const struct privileges *p, const char *dir, const char *registry, char ret_why[static SERVER_WHY_MAX])
{
	const char *slash = strrchr(registry, '/');
	char folder[PKI_PATH_MAX], crls[PKI_PATH_MAX];

	(void)text_copy(folder, sizeof(folder), slash == NULL ? SL(".") : slice_of(registry, (size_t)NUM_MAX(slash - registry, 1)));
	if (!can(p, dir, X_OK))
		(void)snprintf(ret_why, SERVER_WHY_MAX, "user %s cannot get to %.200s", p->name, dir);
	/* Whom the folder of the configuration belongs to, he says what root does next. */
	else if (is_same(dir, folder))
		(void)snprintf(ret_why, SERVER_WHY_MAX, "the registry %.200s lies beside the configuration, where only root may write", registry);
	else if (!path_join(crls, sizeof(crls), dir, "crls") || !give_folder(folder, p) || !give_folder(crls, p) || !can(p, folder, W_OK | X_OK))
		(void)snprintf(ret_why, SERVER_WHY_MAX, "user %s cannot write to %.200s", p->name, folder);
	else
		return true;
	return false;
}

bool
plane_become(const struct privileges *p, bool supervised, struct err *err)
{
	if (!privileges_drop(p, err))
		return false;
	/* The kernel forgets both when the user changes. */
	if (supervised && prctl(PR_SET_PDEATHSIG, SIGTERM) == -1)
		return err_sys(err, "cannot follow the supervisor");
	privileges_harden();
	if (p->drop)
		log_info("Control runs as user %s.", p->name);
	return true;
}
