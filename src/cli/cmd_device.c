/* signet device: everything that a device needs, in one folder, with commands to try it; and the requests of devices for new
 * certificates (device_renew.c). */
#include "cli/ctl.h"
#include "cli/device_many.h"
#include "cli/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/num.h"

static bool
prepare(struct pki_order *o, const char *key_type, struct err *err)
{
	if (key_type != NULL && !pki_key_type_parse(slice_str(key_type), &o->key_type))
		return err_set(err, ERR_USAGE, "the key type is p256, p384, p521, rsa2048, rsa3072, rsa4096 or rsa8192");
	return site_dir(o->dir, &o->dir, err);
}

static const struct err *
err_usage(struct err *err, const char *text)
{
	(void)err_set(err, ERR_USAGE, "%s", text);
	return err;
}

static bool
add_many(const struct device_many *m, struct pki_order *o, const char *key_type, struct err *err)
{
	return prepare(o, key_type, err) && device_many(m, err);
}

static bool
add(struct pki_order *o, const char *key_type, struct err *err)
{
	struct pki_issued r;
	char *commands = NULL;
	bool ok;

	if (!prepare(o, key_type, err) || !pki_issue(o, &r, err))
		return false;
	(void)printf("%s\n  key.pem   the device's private key: keep it secret\n"
		     "  cert.pem  its certificate and the Client CA's\n  ca.pem    the root that the broker is checked with\n"
		     "  serial %s, SHA-256 %s\n",
	    r.place, r.serial, r.fingerprint);
	(void)fputs(r.notes, stderr);
	ok = site_commands(o->dir, r.place, r.cn, AUTHZ_ROLE_CLIENT, &commands, err);
	if (ok && commands[0] != '\0')
		(void)printf("\nTry it (also in commands.txt):\n%s", commands);
	free(commands);
	free(r.pem);
	return ok;
}

static int
run_add(int argc, char *argv[])
{
	struct pki_order o = { .ca = "client" };
	struct pass pass;
	const char *pass_file = NULL, *key_type = NULL, *separator = ",";
	struct device_many many = { .order = &o };
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &o.dir, 0, 0, "the installation (else . or ./run)" },
		{ "from", "FILE", ARG_TEXT, &many.from, 0, 0, "many: CSV whose first line names the columns id, label and template" },
		{ "result", "FILE", ARG_TEXT, &many.result, 0, 0, "with --from: what came of each line (FILE.result.csv)" },
		{ "separator", "C", ARG_TEXT, &separator, 0, 0, "with --from: between fields (,)" },
		{ "days", "N", ARG_NUMBER, &o.days, 1, 36500, "validity (730; never beyond the CA's)" },
		{ "key-type", "TYPE", ARG_TEXT, &key_type, 0, 0, "p256 (default), p384, p521, rsa2048, ..., rsa8192", CHOICES_KEY },
		{ "out", "DIR", ARG_TEXT, &o.out, 0, 0, "folder to make (clients/ID)" },
		{ "reissue", NULL, ARG_FLAG, &o.reissue, 0, 0, "replace the device's live certificate" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the Client CA key's passphrase (or SIGNET_PASSPHRASE)" },
	};
	const struct args args = { "signet device add ID [options] | --from FILE.csv [options]",
		"Adds a device: makes its key and certificate (common name ID) in clients/ID, and prints commands to try it. With --from: all devices of a file,\n"
		"which are registered, too, where a control process runs. A run that was interrupted goes on when it is begun again.",
		table, ARRAY_LEN(table), "Examples:\n  signet device add sensor01 --dir demo\n  signet device add --from sensors.csv\nExit codes: 0 success, 1 failure, 2 wrong usage.\n",
		0, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	o.secret = &pass.secret;
	if ((words == 1) == (many.from != NULL) || strlen(separator) != 1 || (many.from != NULL && (o.out != NULL || o.reissue)))
		return fail(err_usage(&err, "give the ID of a device, or --from FILE (without --out and --reissue, and with a separator of one byte)"));
	if (many.from != NULL) {
		many.separator = separator[0];
		return add_many(&many, &o, key_type, &err) ? EXIT_OK : fail(&err);
	}
	o.cn = argv[1];
	return add(&o, key_type, &err) ? EXIT_OK : fail(&err);
}

static int
run_pending(int argc, char *argv[])
{
	struct ctl ctl = { 0 };
	bool json = false;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &ctl.dir, 0, 0, "the installation (else . or ./run)" },
		{ "socket", "PATH", ARG_TEXT, &ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says" },
		{ "json", NULL, ARG_FLAG, &json, 0, 0, "an array of objects" },
	};
	const struct args args = { "signet device pending [options]",
		"Lists who asks the running broker for a new certificate (`device_renewal`), and who is in quarantine (`quarantine`).",
		table, ARRAY_LEN(table), NULL, 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	return device_pending(&ctl, json, &err) ? EXIT_OK : fail(&err);
}

static int
run_approve(int argc, char *argv[])
{
	struct device_order d = { .days = 0 };
	struct pass pass;
	const char *pass_file = NULL;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &d.ctl.dir, 0, 0, "the installation (else . or ./run), which has the CA's key" },
		{ "socket", "PATH", ARG_TEXT, &d.ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says" },
		{ "serial", "HEX", ARG_TEXT, &d.serial, 0, 0, "of the certificate that it showed, when two of the name ask" },
		{ "days", "N", ARG_NUMBER, &d.days, 1, 36500, "validity (730; never beyond the CA's)" },
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "the CA key's passphrase (or SIGNET_PASSPHRASE)" },
	};
	const struct args args = { "signet device approve ID [options]",
		"Signs what the device has asked for over MQTT, with the CA that issued its present certificate and under the same name,\n"
		"and lets the broker send it. The subject in the request does not count.",
		table, ARRAY_LEN(table), "Example: signet device approve sensor01\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	d.name = argv[1];
	d.secret = &pass.secret;
	return device_approve(&d, &err) ? EXIT_OK : fail(&err);
}

static int
run_refuse(int argc, char *argv[])
{
	struct device_order d = { .days = 0 };
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &d.ctl.dir, 0, 0, "the installation (else . or ./run)" },
		{ "socket", "PATH", ARG_TEXT, &d.ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says" },
		{ "serial", "HEX", ARG_TEXT, &d.serial, 0, 0, "of the certificate that it showed, when two of the name ask" },
	};
	const struct args args = { "signet device refuse ID [options]", "Tells a device that it gets no new certificate. It may ask again.", table,
		ARRAY_LEN(table), NULL, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	d.name = argv[1];
	return device_refuse(&d, &err) ? EXIT_OK : fail(&err);
}

static const struct subcommand subcommands[] = {
	{ "add", "a device's key, certificate and ready commands in one folder", run_add },
	{ "bundle", "a device's files in every form, as a folder, zip or tar", device_bundle },
	{ "token", "a one-time token, with which a device gets its certificate; also for a fleet", device_token },
	{ "tokens", "tokens that were made", device_tokens },
	{ "withdraw", "make a token useless", device_withdraw },
	{ "pending", "who asks for a new certificate, and who is in quarantine", run_pending },
	{ "approve", "sign a device's request, and send it its certificate", run_approve },
	{ "refuse", "tell a device no", run_refuse },
};

int
cmd_device(int argc, char *argv[])
{
	static const struct group group = {
		.name = "device",
		.about = "Adds devices, and answers those that ask over MQTT for a new certificate.",
		.more = ". Exit codes: 0 success, 1 failure, 2 wrong usage.",
		.table = subcommands,
		.n = ARRAY_LEN(subcommands),
	};

	return group_run(&group, argc, argv);
}
