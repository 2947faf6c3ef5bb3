/* Commands that are several: "signet ca issue". One table, one help, one dispatch. */
#include "cli/internal.h"

#include <string.h>
#include "base/num.h"
#include "cli/describe.h"

static void
help(const struct group *g, FILE *out)
{
	(void)fprintf(out, "Usage: signet %s SUBCOMMAND [options]\n\nSubcommands:\n", g->name);
	for (size_t i = 0; i < g->n; i++)
		(void)fprintf(out, "  %-7s  %s\n", g->table[i].name, g->table[i].summary);
	(void)fprintf(out, "\n\"signet %s SUBCOMMAND --help\" explains one%s\n", g->name, g->more);
}

static int
describe_all(const struct group *g)
{
	char flag[] = "--describe", *argv[] = { flag, flag, NULL }, usage[64];

	(void)snprintf(usage, sizeof usage, "signet %s SUBCOMMAND [options]", g->name);
	describe("usage", usage);
	describe("about", g->about);
	for (size_t i = 0; i < g->n; i++) {
		describe("subcommand", g->table[i].name);
		describe("summary", g->table[i].summary);
		(void)g->table[i].run(2, argv); /* only prints */
	}
	return EXIT_OK;
}

int
group_run(const struct group *g, int argc, char *argv[])
{
	if (describe_asked(argc, argv))
		return describe_all(g);
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		help(g, stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; argc >= 2 && i < g->n; i++)
		if (strcmp(g->table[i].name, argv[1]) == 0)
			return g->table[i].run(argc - 1, argv + 1);
	help(g, stderr);
	return EXIT_USAGE;
}
