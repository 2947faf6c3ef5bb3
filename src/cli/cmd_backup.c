/* signet backup: the running broker copies its store. */
#include "cli/ctl.h"
#include "cli/internal.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"

enum { BACKUP_S = 24 * 3600 };

/* As the broker must be told it, whose working directory is another. */
static bool
absolute(const char *dir, char out[static PKI_PATH_MAX], struct err *err)
{
	char here[PKI_PATH_MAX];

	if (dir[0] != '/' && getcwd(here, sizeof here) == NULL)
		return err_sys(err, "cannot tell the present directory");
	if (dir[0] == '/' ? (size_t)snprintf(out, PKI_PATH_MAX, "%s", dir) < PKI_PATH_MAX : path_join(out, PKI_PATH_MAX, here, dir))
		return true;
	return err_set(err, ERR_LIMIT, "%s: the path is too long", dir);
}

int
cmd_backup(int argc, char *argv[])
{
	struct ctl ctl = { .wait_s = BACKUP_S };
	char dir[PKI_PATH_MAX];
	json_t *in, *out;
	struct err err;
	int words, code;
	bool ok;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &ctl.dir, 0, 0, "the installation; default: . or ./run", NULL, 0 },
		{ "socket", "PATH", ARG_TEXT, &ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says", NULL, 0 },
	};
	const struct args args = { "signet backup BACKUP [options]",
		"Asks the running broker of this machine to copy its store to BACKUP, which must be empty or missing, in a directory that the\n"
		"broker's user may write to. The copy is of one moment; nobody waits for it. On the same file system it consists of hard\n"
		"links: against a failing disk, copy it elsewhere. `signet store check` verifies it, `signet restore` puts it back.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet backup /var/lib/signet/backup-monday\n  signet restore /var/lib/signet/backup-monday /var/lib/signet/signet.store\n\n"
		"Exit codes: 0 the backup is there; 1 it is not; 2 wrong usage.\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (!absolute(argv[1], dir, &err))
		return fail(&err);
	if ((in = json_pack("{s:s}", "dir", dir)) == NULL)
		return fail(&(struct err){ ERR_USAGE, "the path is not UTF-8" });
	ok = ctl_ask(&ctl, "backup", in, &out, &err);
	json_decref(in);
	if (!ok)
		return fail(&err);
	(void)printf("%s: %lld bytes in %lld ms\n", dir, (long long)json_integer_value(json_object_get(out, "bytes")),
	    (long long)json_integer_value(json_object_get(out, "ms")));
	json_decref(out);
	return EXIT_OK;
}
