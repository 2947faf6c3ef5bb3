/* signet broker: the broker alone, a drop-in for `mosquitto -c FILE`. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/internal.h"
#include "server/server.h"

static void
print_help(void)
{
	(void)puts(
	    "Usage: signet broker [-c FILE] [-p PORT] [-v] [-d] [--test-config]\n"
	    "\n"
	    "Run the MQTT broker until Ctrl-C or SIGTERM. SIGHUP reads certificates, CAs, "
	    "revocation lists\n"
	    "and policies again; SIGUSR1 opens the log file again.\n"
	    "\n"
	    "  -c, --config FILE   the configuration, in the syntax of mosquitto.conf; without it "
	    "only\n"
	    "                      clients on this machine can connect, on port 1883\n"
	    "  -p, --port PORT     the port of the only listener, whatever the configuration says\n"
	    "  -v, --verbose       log everything\n"
	    "  -d, --daemon        go to the background once everything is open\n"
	    "      --test-config   load everything, start nothing: print what would listen, who "
	    "would be\n"
	    "                      let in and what looks wrong; exit 0 if the configuration is "
	    "good, else 3\n"
	    "  -h, --help          this text\n"
	    "\n"
	    "Exit codes: 0 stopped in order, 1 could not start, 3 the configuration or command "
	    "line is wrong.\n"
	    "\n"
	    "Examples:\n"
	    "  signet broker -c signet.conf\n"
	    "  signet broker -c /etc/mosquitto/mosquitto.conf --test-config\n"
	    "\n"
	    "Directives, with their defaults in brackets (docs/configuration.md says more):");
	server_print_directives(false);
}

enum { OPT_TEST = 256, OPT_DIRECTIVES };

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "port", required_argument, NULL, 'p' },
	{ "verbose", no_argument, NULL, 'v' },
	{ "daemon", no_argument, NULL, 'd' },
	{ "help", no_argument, NULL, 'h' },
	{ "test-config", no_argument, NULL, OPT_TEST },
	{ "directives-markdown", no_argument, NULL,
	    OPT_DIRECTIVES }, /* for docs/configuration.md */
	{ NULL, 0, NULL, 0 },
};

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

int
cmd_broker(int argc, char **argv)
{
	struct server_options o = { 0 };
	bool test = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:p:vdh", long_options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			o.config_file = optarg;
			break;
		case 'p':
			if (!read_port(optarg, &o.port))
				return SERVER_USAGE;
			break;
		case 'v':
			o.verbose = true;
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
