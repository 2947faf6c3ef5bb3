/* signet broker: the broker alone, a drop-in for `mosquitto -c FILE`. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "cli/describe.h"
#include "cli/internal.h"
#include "server/server.h"

enum { OPT_TEST = 256, OPT_DIRECTIVES };

/* In the order of --help; a letter below 256 is also the short form. */
static const struct {
	int letter;
	const char *name, *value, *help;
} flags[] = {
	{ 'c', "config", "FILE",
	    "the configuration, in the syntax of mosquitto.conf; without it only\n"
	    "clients on this machine can connect, on port 1883" },
	{ 'p', "port", "PORT", "the port of the only listener, whatever the configuration says; up to ten\n"
				"times when no listener is configured" },
	{ 'v', "verbose", NULL, "log everything" },
	{ 'q', "quiet", NULL, "log nothing" },
	{ 'd', "daemon", NULL, "go to the background once everything is open" },
	{ OPT_TEST, "test-config", NULL,
	    "load everything, start nothing: print what would listen, who would be\n"
	    "let in and what looks wrong; exit 0 if the configuration is good, else 3" },
	{ 'h', "help", NULL, "this text" },
	{ OPT_DIRECTIVES, "directives-markdown", NULL, NULL }, /* for docs/configuration.md */
};

static const char usage[] = "signet broker [-c FILE] [-p PORT] [-v|-q] [-d] [--test-config]";
static const char about[] = "Run the MQTT broker until Ctrl-C or SIGTERM. SIGHUP reads "
			    "certificates, CAs, revocation lists\n"
			    "and policies again; SIGUSR1 opens the log file again; SIGUSR2 says in the log what there is.";

static void
print_flag(char letter, const char *name, const char *value, const char *help)
{
	char left[40];

	(void)snprintf(left, sizeof(left), "%c%c%c --%s%s%s", letter != '\0' ? '-' : ' ',
	    letter != '\0' ? letter : ' ', letter != '\0' ? ',' : ' ', name,
	    value != NULL ? " " : "", value != NULL ? value : "");
	(void)printf("  %-18s  ", left);
	for (; *help != '\0'; help++) {
		(void)putchar(*help);
		if (*help == '\n')
			(void)printf("%22s", "");
	}
	(void)putchar('\n');
}

static void
print_help(void)
{
	(void)printf("Usage: %s\n\n%s\n\n", usage, about);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (flags[i].help != NULL)
			print_flag(flags[i].letter < OPT_TEST ? (char)flags[i].letter : '\0',
			    flags[i].name, flags[i].value, flags[i].help);
	(void)puts(
	    "\n"
	    "Exit codes: 0 stopped in order, 1 could not start, 3 the configuration or "
	    "command line is wrong.\n"
	    "\n"
	    "Examples:\n"
	    "  signet broker -c signet.conf\n"
	    "  signet broker -c /etc/mosquitto/mosquitto.conf --test-config\n"
	    "\n"
	    "Directives, with their defaults in brackets (docs/configuration.md says more):");
	server_print_directives(false);
}

static int
describe_all(void)
{
	describe("usage", usage);
	describe("about", about);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++)
		if (flags[i].help != NULL)
			describe_option(&(struct described){
			    flags[i].letter < OPT_TEST ? (char)flags[i].letter : '\0',
			    flags[i].name, flags[i].value, NULL, flags[i].help });
	return SERVER_OK;
}

/* The table as getopt_long() wants it; ends with zeros. */
static void
long_options(struct option ret[ARRAY_LEN(flags) + 1])
{
	memset(ret, 0, (ARRAY_LEN(flags) + 1) * sizeof(ret[0]));
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		ret[i].name = flags[i].name;
		ret[i].has_arg = flags[i].value != NULL ? required_argument : no_argument;
		ret[i].val = flags[i].letter;
	}
}

static bool
read_port(const char *text, unsigned *ret)
{
	uint64_t n = 0;

	if (!text_u64(slice_str(text), 1, 65535, &n)) {
		(void)fprintf(
		    stderr, "signet broker: -p: \"%s\" is not a port number (1 to 65535)\n", text);
		return false;
	}
	*ret = (unsigned)n;
	return true;
}

static bool
add_port(struct server_options *o, const char *text)
{
	if (o->port == 0)
		return read_port(text, &o->port);
	if (o->n_ports == ARRAY_LEN(o->ports)) {
		(void)fputs("signet broker: -p: more than ten times\n", stderr);
		return false;
	}
	return read_port(text, &o->ports[o->n_ports]) && ++o->n_ports > 0;
}

int
cmd_broker(int argc, char **argv)
{
	struct server_options o = { 0 };
	struct option words[ARRAY_LEN(flags) + 1];
	bool test = false;
	int opt;

	if (describe_asked(argc, argv))
		return describe_all();
	long_options(words);
	while ((opt = getopt_long(argc, argv, "c:p:vqdh", words, NULL)) != -1) {
		switch (opt) {
		case 'c':
			o.config_file = optarg;
			break;
		case 'p':
			if (!add_port(&o, optarg))
				return SERVER_USAGE;
			break;
		case 'v':
			o.verbose = true;
			break;
		case 'q':
			o.quiet = true;
			break;
		case 'd':
			o.daemon = true;
			break;
		case 'h':
			print_help();
			return SERVER_OK;
		case OPT_TEST:
			test = true;
			break;
		case OPT_DIRECTIVES:
			server_print_directives(true);
			return SERVER_OK;
		default:
			(void)fputs("Try `signet broker --help`.\n", stderr);
			return SERVER_USAGE;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr,
		    "signet broker: unexpected argument \"%s\"; the configuration is given with "
		    "-c\n",
		    argv[optind]);
		return SERVER_USAGE;
	}
	return (int)(test ? server_test_config(&o) : server_run(&o));
}
