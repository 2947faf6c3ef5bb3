/* signet passwd: password files, with the arguments of mosquitto_passwd. */
#include "cli/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/describe.h"
#include "passwd/passwd.h"

enum { PASSWORD_MAX = 1024 };

struct request {
	bool batch, create, remove, upgrade;
	enum passwd_kind kind;
	uint32_t cost;
	const char *path, *user, *password;
};

static const char usage[] = "signet passwd [-H KIND] [-I N] [-c] FILE USER\n"
			    "signet passwd [-H KIND] [-I N] [-c] -b FILE USER PASSWORD\n"
			    "signet passwd -D FILE USER\n"
			    "signet passwd [-H KIND] [-I N] -U FILE";
static const char about[] = "Add a user to a password file of the broker (`password_file`) or give "
			    "him another password. The\n"
			    "password is asked for at the terminal, or read as one line of "
			    "standard input. The file is that of\n"
			    "mosquitto, too. A running broker reads it again at a SIGHUP.";

static const struct described flags[] = {
	{ 'c', NULL, NULL, NULL, "make a new file; what is there is overwritten" },
	{ 'b', NULL, NULL, NULL,
	    "take the password from the command line, where every user of this machine can see "
	    "it" },
	{ 'D', NULL, NULL, NULL, "remove the user" },
	{ 'U', NULL, NULL, NULL, "replace passwords that stand in FILE in plain text by hashes" },
	{ 'H', NULL, "KIND", "sha512-pbkdf2 argon2id scram-sha-256 sha512",
	    "sha512-pbkdf2 (the default; mosquitto 2.0 and later), argon2id (stronger; mosquitto "
	    "2.1 and\n"
	    "later), scram-sha-256 (for clients that log in with SCRAM-SHA-256, and for passwords; "
	    "not read by\n"
	    "mosquitto), or sha512 (weak; mosquitto 1.x)" },
	{ 'I', NULL, "N", NULL,
	    "iterations of sha512-pbkdf2 and scram-sha-256 (default 100000; a SCRAM client computes "
	    "them itself),\n"
	    "or KiB of memory for argon2id (default 47104)" },
	{ 'h', NULL, NULL, NULL, "this text" },
};

/* <indent> before each line but the first. */
static void
print_lines(FILE *out, const char *text, const char *indent)
{
	for (; *text != '\0'; text++) {
		(void)fputc(*text, out);
		if (*text == '\n')
			(void)fputs(indent, out);
	}
}

static void
print_help(FILE *out)
{
	(void)fputs("Usage: ", out);
	print_lines(out, usage, "       ");
	(void)fprintf(out, "\n\n%s\n\n", about);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		(void)fprintf(out, "  -%c %-5s  ", flags[i].letter,
		    flags[i].value != NULL ? flags[i].value : "");
		print_lines(out, flags[i].help, "            ");
		(void)fputc('\n', out);
	}
	(void)fputs("\n"
		    "Exit codes: 0 done, 1 failed, 2 wrong usage.\n"
		    "\n"
		    "Examples:\n"
		    "  signet passwd -c passwords bob\n"
		    "  openssl rand -hex 16 | tee bob.password | signet passwd passwords bob\n",
	    out);
}

static int
describe_all(void)
{
	describe("usage", usage);
	describe("about", about);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		describe_option(&flags[i]);
	return EXIT_OK;
}

/* ---- the file ---- */

/* What the file is at present: where it really is, and whose. */
struct target {
	char path[PATH_MAX];
	bool there;
	struct stat st;
	uint8_t *text;
	size_t n;
};

/* Two edits at once would lose one of them. The lock is on the file itself, and a file that was exchanged while we waited is
 * another: then it is tried again. It ends with the process. */
static bool
target_lock(const struct target *t, struct err *err)
{
	struct stat held, there;

	for (;;) {
		int fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

		if (fd == -1)
			return err_sys(err, "cannot open %s", t->path);
		if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
			(void)fprintf(stderr, "signet: waiting for another change of %s\n", t->path);
			if (flock(fd, LOCK_EX) == -1) {
				(void)err_sys(err, "cannot lock %s", t->path);
				(void)close(fd); /* only read from */
				return false;
			}
		}
		if (fstat(fd, &held) == 0 && stat(t->path, &there) == 0 && held.st_dev == there.st_dev &&
		    held.st_ino == there.st_ino)
			return true;
		(void)close(fd); /* only read from */
	}
}

static bool
target_read(struct target *t, const struct request *r, struct err *err)
{
	/* A link stays one: what it points to is exchanged. */
	char *real = realpath(r->path, NULL);
	bool fits = text_copy(t->path, sizeof t->path, slice_str(real != NULL ? real : r->path));

	free(real);
	if (!fits)
		return err_set(err, ERR_USAGE, "the path is too long");
	t->there = stat(t->path, &t->st) == 0;
	if (!t->there && errno != ENOENT)
		return err_sys(err, "cannot look at %s", r->path);
	if (t->there && !S_ISREG(t->st.st_mode))
		return err_set(err, ERR_INPUT, "%s is not a file", r->path);
	if (!t->there && !r->create)
		return err_set(err, ERR_MISSING, "%s is not there; -c makes a new file", r->path);
	if (t->there && !target_lock(t, err))
		return false;
	/* Whose it is may have changed with it. */
	if (t->there && stat(t->path, &t->st) == -1)
		return err_sys(err, "cannot look at %s", r->path);
	return r->create || file_read(t->path, PASSWD_FILE_MAX, &t->text, &t->n, err);
}

/* In one step, so that a broker never reads half of it; for its owner alone unless it was otherwise before. */
static bool
target_write(const struct target *t, struct slice text, struct err *err)
{
	mode_t mode = t->there ? t->st.st_mode & 0777 : 0600;

	if (!file_write(t->path, text, mode, t->there ? FILE_REPLACE : 0, err))
		return false;
	if (!t->there || (t->st.st_uid == geteuid() && t->st.st_gid == getegid()))
		return true;
	return chown(t->path, t->st.st_uid, t->st.st_gid) == 0 ||
	       err_sys(err, "%s was written, but cannot be given back to its owner (%u:%u)",
		   t->path, t->st.st_uid, t->st.st_gid);
}

/* ---- what is wanted ---- */

static bool
get_password(const struct request *r, char *buf, size_t cap, struct err *err)
{
	if (!r->batch)
		return pass_ask_new(r->user, buf, cap, err);
	(void)fputs("signet: warning: a password on the command line can be seen by every user of "
		    "this machine, and stays in the "
		    "history of the shell\n",
	    stderr);
	return text_copy(buf, cap, slice_str(r->password)) ||
	       err_set(err, ERR_USAGE, "the password is longer than %zu bytes", cap - 1);
}

static bool
set_user(
    const struct request *r, const struct target *t, uint8_t **ret, size_t *ret_n, struct err *err)
{
	char password[PASSWORD_MAX], hash[PASSWD_HASH_TEXT_MAX];
	bool found, ok = passwd_user_fits(r->kind, slice_str(r->user), err) &&
			 get_password(r, password, sizeof password, err) &&
			 passwd_hash(r->kind, r->cost, slice_str(password), hash, err);

	secret_wipe(password, sizeof password);
	if (!ok)
		return false;
	if (!passwd_edit(slice_of(t->text, t->n), slice_str(r->user), hash, ret, ret_n, &found))
		ok = err_set(err, ERR_MEMORY, "out of memory");
	secret_wipe(hash, sizeof hash);
	return ok;
}

static bool
remove_user(
    const struct request *r, const struct target *t, uint8_t **ret, size_t *ret_n, struct err *err)
{
	char shown[100];
	bool found;

	if (!passwd_edit(slice_of(t->text, t->n), slice_str(r->user), NULL, ret, ret_n, &found))
		return err_set(err, ERR_MEMORY, "out of memory");
	if (found)
		return true;
	secret_free(*ret, *ret_n);
	*ret = NULL;
	return err_set(err, ERR_MISSING, "%s has no user '%s'", r->path,
	    text_show(slice_str(r->user), shown, sizeof shown));
}

static bool
upgrade(
    const struct request *r, const struct target *t, uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct passwd_upgraded new = { 0 };

	if (!passwd_upgrade(slice_of(t->text, t->n), r->path, r->kind, r->cost, &new, err))
		return false;
	*ret = new.text;
	*ret_n = new.n;
	(void)printf("%zu password%s replaced by %s.\n", new.changed,
	    new.changed == 1 ? " was" : "s were", new.changed == 1 ? "a hash" : "hashes");
	return true;
}

static bool
run(const struct request *r, struct err *err)
{
	static struct target t;
	uint8_t *text = NULL;
	size_t n = 0;
	bool ok;

	if (r->user != NULL && !passwd_user_ok(slice_str(r->user), err))
		return false;
	ok = target_read(&t, r, err);
	if (ok && r->upgrade)
		ok = upgrade(r, &t, &text, &n, err);
	else if (ok && r->remove)
		ok = remove_user(r, &t, &text, &n, err);
	else if (ok)
		ok = set_user(r, &t, &text, &n, err);
	ok = ok && target_write(&t, slice_of(text, n), err);
	secret_free(text, n);
	secret_free(t.text, t.n);
	return ok;
}

/* ---- the command line ---- */

static bool
check_words(struct request *r, int words, char **argv, struct err *err)
{
	int wanted = r->upgrade ? 1 : r->batch ? 3 : 2;

	if ((r->create || r->batch || r->remove) + r->upgrade > 1 || (r->create && r->remove) ||
	    (r->batch && r->remove))
		return err_set(
		    err, ERR_USAGE, "these options do not go together; -h shows which do");
	if (words != wanted)
		return err_set(err, ERR_USAGE, "%s; -h shows what is needed",
		    words < wanted ? "something is missing" : "too many words");
	r->path = argv[0];
	r->user = wanted > 1 ? argv[1] : NULL;
	r->password = wanted > 2 ? argv[2] : NULL;
	return true;
}

static bool
take_option(struct request *r, int opt, struct err *err)
{
	uint64_t n = 0;

	switch (opt) {
	case 'b':
		r->batch = true;
		return true;
	case 'c':
		r->create = true;
		return true;
	case 'D':
		r->remove = true;
		return true;
	case 'U':
		r->upgrade = true;
		return true;
	case 'H':
		return passwd_kind_parse(slice_str(optarg), &r->kind) ||
		       err_set(err, ERR_USAGE, "-H takes sha512, sha512-pbkdf2, argon2id or scram-sha-256");
	case 'I':
		if (!text_u64(slice_str(optarg), 1, PASSWD_ITERATIONS_MAX, &n))
			return err_set(err, ERR_USAGE, "-I takes a number from 1 to %d",
			    PASSWD_ITERATIONS_MAX);
		r->cost = (uint32_t)n;
		return true;
	default:
		return err_set(err, ERR_USAGE, "unknown option; -h shows what there is");
	}
}

int
cmd_passwd(int argc, char *argv[])
{
	/* mosquitto 2.0 cannot read argon2id, and the file may be its, too. */
	struct request r = { .kind = PASSWD_PBKDF2 };
	static const struct option long_options[] = { { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 } };
	struct err err = { 0 };
	int opt;

	if (describe_asked(argc, argv))
		return describe_all();
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "bcDUH:I:h", long_options, NULL)) != -1) {
		if (opt == 'h') {
			print_help(stdout);
			return EXIT_OK;
		}
		if (!take_option(&r, opt, &err))
			return fail(&err);
	}
	if (!check_words(&r, argc - optind, argv + optind, &err) || !run(&r, &err))
		return fail(&err);
	return EXIT_OK;
}
