/* signet serve: broker, signer and control, each in a process of its own. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "server/server.h"

/* The folder of FILE, or what was said. */
static bool
find_dir(const char *file, const char **dir, char room[PKI_PATH_MAX], struct err *err)
{
	const char *slash = strrchr(file, '/');

	if (*dir != NULL)
		return true;
	*dir = room;
	return text_copy(room, PKI_PATH_MAX, slash == NULL ? SL(".") : slice_of(file, NUM_MAX((size_t)(slash - file), (size_t)1))) ||
	    err_set(err, ERR_LIMIT, "%s: path too long", file);
}

/* What systemd's LoadCredential=signet-passphrase:… brings. */
static const char *
credential(char room[PKI_PATH_MAX])
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	return dir != NULL && path_join(room, PKI_PATH_MAX, dir, "signet-passphrase") && access(room, F_OK) == 0 ? room : NULL;
}

int
cmd_serve(int argc, char *argv[])
{
	struct serve_options o = { .dir = NULL };
	char dir[PKI_PATH_MAX], file[PKI_PATH_MAX], pass_path[PKI_PATH_MAX];
	const char *pass_file = NULL;
	struct pass pass;
	struct err err;
	int words, code;
	const struct arg table[] = {
		{ "config", "FILE", ARG_TEXT, &o.config_file, 0, 0, "the configuration; default: signet.conf of the installation", NULL, 'c' },
		{ "dir", "DIR", ARG_TEXT, &o.dir, 0, 0, "the installation; default: the folder of FILE, or . or ./run", NULL, 0 },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the CA keys' passphrase; else the systemd credential signet-passphrase, SIGNET_PASSPHRASE, or a person is asked", NULL, 0 },
		{ "daemon", NULL, ARG_FLAG, &o.daemon, 0, 0, "go to the background, once the passphrase was given", NULL, 'd' },
		{ "verbose", NULL, ARG_FLAG, &o.verbose, 0, 0, "log everything", NULL, 'v' },
		{ "quiet", NULL, ARG_FLAG, &o.quiet, 0, 0, "log nothing", NULL, 'q' },
	};
	const struct args args = { "signet serve [-c FILE|--dir DIR] [options]",
		"Runs the broker, the signer and (with an https_listener) control, each in a process of its own, until Ctrl-C or SIGTERM.\n"
		"The signer alone holds the CAs' keys. A process that ends is started again, and the others go on meanwhile.\n"
		"SIGHUP, SIGUSR1 and SIGUSR2 do what they do to `signet broker`.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet serve --dir /etc/signet\n  signet serve -c /etc/signet/signet.conf --passphrase-file /root/ca.pass -d\n\n"
		"Exit codes: 0 stopped in order; 1 could not start; 2 wrong usage; 3 the configuration is wrong.\n", 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (o.config_file == NULL) {
		if (!site_dir(o.dir, &o.dir, &err))
			return fail(&err);
		if (!path_join(file, sizeof file, o.dir, "signet.conf"))
			return fail(&(struct err){ ERR_LIMIT, "the path of the installation is too long" });
		o.config_file = file;
	}
	if (!find_dir(o.config_file, &o.dir, dir, &err))
		return fail(&err);
	pass_init(&pass, pass_file != NULL ? pass_file : credential(pass_path));
	o.secret = &pass.secret;
	return (int)serve_run(&o);
}
