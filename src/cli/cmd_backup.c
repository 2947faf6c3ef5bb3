/* signet backup: the running broker copies its store, control the whole installation; and the CAs' keys, encrypted. */
#include "cli/ctl.h"
#include "cli/internal.h"
#include "cli/local.h"

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

/* Of the store alone. */
static bool
backup_store(struct ctl *ctl, const char *to, struct err *err)
{
	char dir[PKI_PATH_MAX];
	json_t *in, *out;
	bool ok;

	if (!absolute(to, dir, err))
		return false;
	if ((in = json_pack("{s:s}", "dir", dir)) == NULL)
		return err_set(err, ERR_USAGE, "the path is not UTF-8");
	ok = ctl_ask(ctl, "backup", in, &out, err);
	json_decref(in);
	if (!ok)
		return false;
	(void)printf("%s: %lld bytes in %lld ms\n", dir, (long long)json_integer_value(json_object_get(out, "bytes")),
	    (long long)json_integer_value(json_object_get(out, "ms")));
	json_decref(out);
	return true;
}

/* Control makes it where it may write. */
static bool
backup_all(const char *dir, struct err *err)
{
	struct https *h = local_open(dir, err);
	json_t *out = NULL;
	const json_t *one;
	const char *copy;
	size_t i;
	bool ok;

	if (h == NULL)
		return false;
	https_patience(h, BACKUP_S);
	ok = local_post(h, "/api/v1/backup", "", &out, err);
	https_close(h);
	if (!ok)
		return false;
	(void)printf("%s: %lld bytes\n", json_string_value(json_object_get(out, "folder")), (long long)json_integer_value(json_object_get(out, "bytes")));
	copy = json_string_value(json_object_get(out, "store_copy"));
	if (copy != NULL)
		(void)printf("The broker's store is in %s: take it along, as the folder \"store\" of the backup.\n", copy);
	json_array_foreach(json_object_get(out, "without"), i, one)
		(void)printf("Not in it: %s (%s).\n", json_string_value(json_object_get(one, "what")), json_string_value(json_object_get(one, "why")));
	json_decref(out);
	return true;
}

static bool
backup_keys(const char *given, const char *to, const char *pass_file, struct err *err)
{
	char folder[PKI_PATH_MAX];
	const char *dir;
	struct pass pass;
	unsigned n;

	pass_init(&pass, pass_file);
	if (!site_dir(given, &dir, err))
		return false;
	if (!path_join(folder, sizeof folder, to, "keys"))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", to);
	if (!pki_keys_save(dir, folder, &pass.secret, &n, err))
		return false;
	(void)printf("%s: the keys of %u CAs, encrypted. Whoever has them and their passphrase is your CA: keep the two apart.\n", folder, n);
	return true;
}

int
cmd_backup(int argc, char *argv[])
{
	struct ctl ctl = { .wait_s = BACKUP_S };
	const char *pass_file = NULL;
	bool all = false, keys = false;
	struct err err;
	int words, code;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &ctl.dir, 0, 0, "the installation; default: . or ./run", NULL, 0 },
		{ "socket", "PATH", ARG_TEXT, &ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says", NULL, 0 },
		{ "all", NULL, ARG_FLAG, &all, 0, 0, "the whole installation, without private keys, by the control process, which says where it is", NULL, 0 },
		{ "keys", NULL, ARG_FLAG, &keys, 0, 0, "the private keys of the CAs, encrypted, to BACKUP/keys", NULL, 0 },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "with --keys: encrypts those that are not encrypted yet (or SIGNET_PASSPHRASE)", NULL, 0 },
	};
	const struct args args = { "signet backup BACKUP | --all | --keys BACKUP [options]",
		"Asks the running broker of this machine to copy its store to BACKUP, which must be empty or missing, in a directory that the\n"
		"broker's user may write to. The copy is of one moment; nobody waits for it. On the same file system it consists of hard\n"
		"links: against a failing disk, copy it elsewhere. With --all control copies all that is needed to begin again on another machine: the store, the\n"
		"registry, the configuration, certificates, revocation lists, the audit log; private keys only if --keys puts them there, too.\n"
		"`signet store check` verifies a store, `signet restore` puts either back.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet backup /var/lib/signet/backup-monday\n  signet restore /var/lib/signet/backup-monday /var/lib/signet/signet.store\n"
		"  signet backup --all\n  signet backup --keys /var/lib/signet/registry/backups/20260131T120000Z --passphrase-file safe.txt\n\n"
		"Exit codes: 0 the backup is there; 1 it is not; 2 wrong usage.\n", 0, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if ((words == 0) != all || (all && keys))
		return fail(&(struct err){ ERR_USAGE, "say where to (BACKUP), or --all" });
	if (!(all ? backup_all(ctl.dir, &err) : keys ? backup_keys(ctl.dir, argv[1], pass_file, &err) : backup_store(&ctl, argv[1], &err)))
		return fail(&err);
	return EXIT_OK;
}
