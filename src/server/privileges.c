/* What the process may do: less than it started with, for good. */
#include "server/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"

static bool
lookup(const char *name, struct privileges *p)
{
	char buf[4096];
	struct passwd pw, *found = NULL;

	if (getpwnam_r(name, &pw, buf, sizeof(buf), &found) != 0 || found == NULL)
		return false;
	p->uid = pw.pw_uid;
	p->gid = pw.pw_gid;
	(void)snprintf(p->name, sizeof(p->name), "%s", name);
	return true;
}

bool
privileges_named(const char *name, struct privileges *ret)
{
	struct privileges p = { .drop = true };

	if (!lookup(name, &p))
		return false;
	p.drop = p.uid != 0;
	*ret = p;
	return true;
}

bool
privileges_find(const struct config *c, struct privileges *ret, struct err *err)
{
	static const char *const usual[] = { "signet", "mosquitto", "nobody" };
	struct privileges p = { .drop = true };
	char where[CONFIG_PLACE_CAP];
	size_t i;

	*ret = (struct privileges){ 0 };
	if (geteuid() != 0)
		return true;
	if (c->user != NULL && strcmp(c->user, "root") == 0)
		return true;
	/* `user mosquitto` on a machine without mosquitto means nobody, as in mosquitto. */
	if (c->user != NULL && !lookup(c->user, &p) &&
	    !(strcmp(c->user, "mosquitto") == 0 && lookup("nobody", &p)))
		return err_set(err, ERR_MISSING, "%s: user: there is no user \"%s\"",
		    config_place_text(c, option_at(c->at, "user"), where, sizeof(where)), c->user);
	for (i = 0; c->user == NULL && p.name[0] == '\0' && i < ARRAY_LEN(usual); i++)
		(void)lookup(usual[i], &p);
	if (p.name[0] == '\0')
		return err_set(err, ERR_MISSING,
		    "there is no user to run as; name one with `user` (`user root` stays root)");
	if (p.uid == 0)
		p.drop = false;
	*ret = p;
	return true;
}

bool
privileges_control(const struct config *c, struct privileges *ret, bool *ret_guess, struct err *err)
{
	static const char *const usual[] = { "_signet-control", "nobody" };
	char where[CONFIG_PLACE_CAP];

	*ret = (struct privileges){ 0 };
	if (ret_guess != NULL)
		*ret_guess = false;
	if (geteuid() != 0 || (c->control_user == NULL && c->user != NULL && strcmp(c->user, "root") == 0))
		return true;
	if (c->control_user != NULL)
		return privileges_named(c->control_user, ret) ||
		       err_set(err, ERR_MISSING, "%s: control_user: there is no user \"%s\"",
			   config_place_text(c, option_at(c->at, "control_user"), where, sizeof(where)), c->control_user);
	for (size_t i = 0; i < ARRAY_LEN(usual); i++) {
		if (!privileges_named(usual[i], ret))
			continue;
		if (ret_guess != NULL)
			*ret_guess = i > 0;
		return true;
	}
	return err_set(err, ERR_MISSING, "there is no user for control to run as: name one with control_user");
}

bool
privileges_drop(const struct privileges *p, struct err *err)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (!p->drop)
		return true;
	if (initgroups(p->name, p->gid) == -1 || setresgid(p->gid, p->gid, p->gid) == -1 ||
	    setresuid(p->uid, p->uid, p->uid) == -1)
		return err_sys(err, "cannot become user %s", p->name);
	/* Trust nothing: ask the kernel, and try the way back. */
	if (getresuid(&r, &e, &s) == -1 || getresgid(&rg, &eg, &sg) == -1 || r != p->uid ||
	    e != p->uid || s != p->uid || rg != p->gid || eg != p->gid || sg != p->gid ||
	    setresuid(0, 0, 0) != -1)
		return err_set(
		    err, ERR_SYSTEM, "root could not be left behind for user %s", p->name);
	return true;
}

void
privileges_return(const struct privileges *p)
{
	/* Half of the way back is no state to go on in. */
	if (p->drop && (seteuid(0) == -1 || setegid(0) == -1))
		abort();
}

bool
privileges_borrow(const struct privileges *p, struct err *err)
{
	if (!p->drop)
		return true;
	if (setegid(p->gid) == 0 && seteuid(p->uid) == 0)
		return true;
	(void)err_sys(err, "cannot act as user %s", p->name);
	privileges_return(p);
	return false;
}

void
privileges_harden(void)
{
	struct rlimit files, none = { 0 };

	/* Failures here leave us as we were; none of it is needed to run. A sanitizer's build has
	 * to be debugged. */
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

/* One element of a path by its mode bits, as the kernel would for a user without extra groups and
 * ACLs. */
static bool
mode_allows(const struct privileges *p, const struct stat *st, mode_t bit)
{
	if (st->st_uid == p->uid)
		return (st->st_mode & (bit << 6)) != 0;
	if (st->st_gid == p->gid)
		return (st->st_mode & (bit << 3)) != 0;
	return (st->st_mode & bit) != 0;
}

static bool
may(const struct privileges *p, const char *path, mode_t bit)
{
	char *real = realpath(path, NULL), *slash;
	struct stat st;
	bool ok = real != NULL && stat(real, &st) == 0 && mode_allows(p, &st, bit);

	for (slash = real; ok && slash != NULL; slash = strchr(slash + 1, '/')) {
		char kept = slash[1];

		/* Every directory on the way must let the user through. */
		if (slash != real)
			*slash = '\0';
		else
			slash[1] = '\0';
		ok = stat(real, &st) == 0 && mode_allows(p, &st, S_IXOTH);
		if (slash != real)
			*slash = '/';
		else
			slash[1] = kept;
	}
	free(real);
	return ok;
}

bool
privileges_may_read(const struct privileges *p, const char *path)
{
	return may(p, path, S_IROTH);
}

bool
privileges_may_write(const struct privileges *p, const char *path)
{
	return may(p, path, S_IWOTH);
}
