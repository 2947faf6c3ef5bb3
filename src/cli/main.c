/* signet: one program, one table of commands. */
#include "cli/internal.h"

#include <string.h>
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/describe.h"
#include "server/server.h"

struct command {
	const char *name;
	const char *summary;
	int (*run)(int argc, char *argv[]);
};

/* In the order in which a new user needs them. */
static const struct command commands[] = {
	{ "init", "make a certificate authority and a configuration that works", cmd_init },
	{ "broker", "run the MQTT broker; reads the syntax of mosquitto.conf", cmd_broker },
	{ "serve", "run broker, signer and control, each in a process of its own", cmd_serve },
	{ "control", "run the control process: API and registry", cmd_control },
	{ "device", "add a device: key, certificate and ready commands in one folder", cmd_device },
	{ "ca", "issue, sign, list, show and export certificates; adopt and trust CAs", cmd_ca },
	{ "enrol", "get this device's certificate for a token", cmd_enrol },
	{ "retrieve", "get a device's certificate from a dojot or from a Signet", cmd_retrieve },
	{ "passwd", "manage a password file; the arguments of mosquitto_passwd", cmd_passwd },
	{ "restore", "put a backup of the store back", cmd_restore },
	{ "store", "check and show the store of sessions and messages, import mosquitto's", cmd_store },
	{ "registry", "check and show the registry of devices, certificates and people", cmd_registry },
	{ "backup", "copy the store of the running broker", cmd_backup },
	{ "audit", "verify and show the log of what was issued and revoked", cmd_audit },
	{ "inspect", "say what is in a certificate, request, CRL or key file", cmd_inspect },
	{ "why", "ask the running broker whom it refused last, and why", cmd_why },
	{ "explain", "name the rule that decides what a client may do", cmd_explain },
	{ "policy", "what a policy allows, and who would notice if it were in force", cmd_policy },
	{ "doctor", "find out why a client does not get in, step by step", cmd_doctor },
	{ "pub", "publish messages; the flags of mosquitto_pub", cmd_pub },
	{ "sub", "subscribe and show messages; the flags of mosquitto_sub", cmd_sub },
	{ "rr", "publish a request and show the answer; the flags of mosquitto_rr", cmd_rr },
};

static void
help(FILE *out)
{
	(void)fprintf(out, "signet " SIGNET_VERSION " - MQTT where the certificate is the identity\n\n"
			   "Usage: signet COMMAND [options]\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		(void)fprintf(out, "  %-8s  %s\n", commands[i].name, commands[i].summary);
	(void)fputs("\n\"signet COMMAND --help\" explains a command; \"signet --version\" shows the version.\n\n"
		    "A first installation:\n"
		    "  signet init --dir demo --host localhost\n"
		    "  signet device add sensor01 --dir demo\n\n"
		    "Exit codes: 0 success, 1 failure, 2 wrong usage.\n",
	    out);
}

static const struct command *
find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

static int
unknown(const char *name)
{
	char shown[128];

	(void)fprintf(stderr, "signet: there is no command \"%s\"; \"signet --help\" lists them\n",
	    text_show(slice_str(name), shown, sizeof shown));
	return EXIT_USAGE;
}

static int
help_for(const char *name)
{
	const struct command *c = find(name);
	char word[32] = "", flag[] = "--help";
	char *argv[] = { word, flag, NULL };

	if (c == NULL)
		return unknown(name);
	(void)text_copy(word, sizeof word, slice_str(c->name));
	return c->run(2, argv);
}

static void
print_directive(void *ctx, const struct server_directive *d)
{
	(void)ctx;
	describe("directive", d->name);
	describe("value", d->value);
	describe("scope", d->scope);
	describe("default", d->def);
	describe("help", d->help);
	describe("note", d->at_start ? "A change takes effect at the next start." : NULL);
	describe("old", d->old ? "yes" : NULL);
}

/* Not in the help: it is for those who build man pages and completions. */
static int
describe_all(void)
{
	char flag[] = "--describe", *argv[] = { flag, flag, NULL };

	describe("version", SIGNET_VERSION);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		describe("command", commands[i].name);
		describe("summary", commands[i].summary);
		(void)commands[i].run(2, argv); /* one that has nothing to say is missed by the tests */
	}
	server_each_directive(print_directive, NULL);
	return EXIT_OK;
}

/* Output that was not written is a failure: "signet ca export > /full/disk" must not end with 0. */
static int
finish(int code)
{
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fprintf(stderr, "signet: cannot write to standard output\n");
		return code == EXIT_OK ? EXIT_FAILED : code;
	}
	return code;
}

/* All but those that only carry messages: what they know of a key stays in their memory in any case. */
static bool
handles_keys(const char *name)
{
	static const char *const others[] = { "broker", "@broker", "pub", "sub", "rr" };

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (strcmp(name, others[i]) == 0)
			return false;
	return true;
}

int
main(int argc, char *argv[])
{
	const struct command *c;

	if (argc > 1 && handles_keys(argv[1]))
		secret_wipe_freed();
	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    (strcmp(argv[1], "help") == 0 && argc == 2)) {
		help(stdout);
		return finish(EXIT_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		(void)printf("signet " SIGNET_VERSION "\n");
		return finish(EXIT_OK);
	}
	if (describe_asked(argc, argv))
		return finish(describe_all());
	if (argv[1][0] == '@')
		return serve_child_main(argc, argv);
	if (strcmp(argv[1], "help") == 0)
		return finish(help_for(argv[2]));
	c = find(argv[1]);
	return c != NULL ? finish(c->run(argc - 1, argv + 1)) : unknown(argv[1]);
}
