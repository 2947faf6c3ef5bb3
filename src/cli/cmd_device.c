/* signet device add: everything that a device needs, in one folder, with commands to try it. */
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/num.h"

static bool
add(struct pki_order *o, const char *key_type, struct err *err)
{
	struct pki_issued r;
	char *commands = NULL;
	bool ok;

	if (key_type != NULL && !pki_key_type_parse(slice_str(key_type), &o->key_type))
		return err_set(err, ERR_USAGE, "the key type is p256, p384, p521, rsa2048, rsa3072, rsa4096 or rsa8192");
	if (!site_dir(o->dir, &o->dir, err) || !pki_issue(o, &r, err))
		return false;
	(void)printf("%s\n  key.pem   the device's private key: keep it secret\n"
		     "  cert.pem  its certificate and the Client CA's\n  ca.pem    the root that the broker is checked with\n"
		     "  serial %s, SHA-256 %s\n",
	    r.place, r.serial, r.fingerprint);
	(void)fputs(r.notes, stderr);
	ok = site_commands(o->dir, r.place, r.cn, AUTHZ_ROLE_CLIENT, &commands, err);
	if (ok)
		(void)printf("\nTry it (also in commands.txt):\n%s", commands);
	free(commands);
	free(r.pem);
	return ok;
}

int
cmd_device(int argc, char *argv[])
{
	struct pki_order o = { .ca = "client" };
	struct pass pass;
	const char *pass_file = NULL, *key_type = NULL;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &o.dir, 0, 0, "the installation (else . or ./run)" },
		{ "days", "N", ARG_NUMBER, &o.days, 1, 36500, "validity (730; never beyond the CA's)" },
		{ "key-type", "TYPE", ARG_TEXT, &key_type, 0, 0, "p256 (default), p384, p521, rsa2048, ..., rsa8192", CHOICES_KEY },
		{ "out", "DIR", ARG_TEXT, &o.out, 0, 0, "folder to make (clients/ID)" },
		{ "reissue", NULL, ARG_FLAG, &o.reissue, 0, 0, "replace the device's live certificate" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the Client CA key's passphrase (or SIGNET_PASSPHRASE)" },
	};
	const struct args args = { "signet device add ID [options]",
		"Adds a device: makes its key and certificate (common name ID) in clients/ID, and prints commands to try it.",
		table, ARRAY_LEN(table), "Example: signet device add sensor01 --dir demo\nExit codes: 0 success, 1 failure, 2 wrong usage.\n",
		2, 2 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (strcmp(argv[1], "add") != 0) {
		(void)fprintf(stderr, "signet: usage: %s (--help explains)\n", args.usage);
		return EXIT_USAGE;
	}
	pass_init(&pass, pass_file);
	o.cn = argv[2];
	o.secret = &pass.secret;
	return add(&o, key_type, &err) ? EXIT_OK : fail(&err);
}
