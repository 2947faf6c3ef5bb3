/* signet registry: look at a registry that no process has open. */
#include "cli/internal.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "registry/registry.h"

/* DIR/registry/registry.db, where `signet init` puts it, DIR/registry.db, or the file itself. */
static bool
find_registry(const char *word, char path[PKI_PATH_MAX], struct err *err)
{
	struct stat st;

	if (stat(word, &st) == -1)
		return err_sys(err, "cannot open %s", word);
	if (S_ISDIR(st.st_mode) && path_join(path, PKI_PATH_MAX, word, "registry/registry.db") && access(path, F_OK) == 0)
		return true;
	return path_join(path, PKI_PATH_MAX, S_ISDIR(st.st_mode) ? word : "", S_ISDIR(st.st_mode) ? "registry.db" : word) ||
	    err_set(err, ERR_LIMIT, "%s: path too long", word);
}

static void
print_fault(void *ctx, const char *text)
{
	(void)ctx;
	(void)printf("%s\n", text);
}

static int
registry_cmd_check(int argc, char *argv[])
{
	char path[PKI_PATH_MAX];
	struct registry_report r;
	struct err err;
	int words, code;
	const struct args args = { "signet registry check DIR",
		"Reads every page of DIR/registry.db, verifies every index and reference, and compares what is kept with what\n"
		"is counted. Names each fault. DIR may also be the file, or a backup of it.",
		NULL, 0, "Exit codes: 0 whole, 1 damaged or not readable, 2 wrong usage.\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (!find_registry(argv[1], path, &err) || !registry_check(path, true, print_fault, NULL, &r, &err))
		return fail(&err);
	(void)printf("%" PRId64 " devices, %" PRId64 " certificates, %" PRId64 " users; %s\n", r.devices, r.certificates, r.users,
	    r.faults == 0 ? "whole" : "DAMAGED");
	if (r.faults == 0)
		return EXIT_OK;
	(void)printf("%" PRId64 " faults. Stop `signet serve` and put a backup in the place of %s.\n", r.faults, path);
	return EXIT_FAILED;
}

/* ---- stats ---- */

struct figure {
	const char *name;
	size_t offset;
};
#define FIGURE(name) { #name, offsetof(struct registry_report, name) }
static const struct figure figures[] = {
	FIGURE(bytes), FIGURE(free_bytes), FIGURE(tenants), FIGURE(users), FIGURE(groups), FIGURE(permissions), FIGURE(templates),
	FIGURE(devices), FIGURE(certificates), FIGURE(revoked), FIGURE(cas), FIGURE(entities), FIGURE(secrets), FIGURE(changes),
	FIGURE(generation),
};

static int64_t
value_of(const struct registry_report *r, const struct figure *f)
{
	return *(const int64_t *)(const void *)((const char *)r + f->offset);
}

static void
print_json(const struct registry_report *r)
{
	(void)printf("{\"version\":%d", r->version);
	for (size_t i = 0; i < ARRAY_LEN(figures); i++)
		(void)printf(",\"%s\":%" PRId64, figures[i].name, value_of(r, &figures[i]));
	(void)printf(",\"devices_by_state\":{");
	for (unsigned i = 0; i < REGISTRY_DEVICE_STATES; i++)
		(void)printf("%s\"%s\":%" PRId64, i == 0 ? "" : ",", registry_device_state_name((enum registry_device_state)i),
		    r->devices_of[i]);
	(void)printf("}}\n");
}

static void
print_text(const struct registry_report *r)
{
	(void)printf("%-14s%d\n", "version", r->version);
	for (size_t i = 0; i < ARRAY_LEN(figures); i++)
		(void)printf("%-14s%" PRId64 "\n", figures[i].name, value_of(r, &figures[i]));
	for (unsigned i = 0; i < REGISTRY_DEVICE_STATES; i++)
		(void)printf("  %-12s%" PRId64 "\n", registry_device_state_name((enum registry_device_state)i), r->devices_of[i]);
}

static int
registry_cmd_stats(int argc, char *argv[])
{
	char path[PKI_PATH_MAX];
	struct registry_report r;
	struct err err;
	bool json = false;
	int words, code;
	const struct arg table[] = { { "json", NULL, ARG_FLAG, &json, 0, 0, "one JSON object", NULL, 0 } };
	const struct args args = { "signet registry stats DIR [--json]",
		"Says how many tenants, users, devices, certificates and so on there are, and how much space they take.", table,
		ARRAY_LEN(table), NULL, 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (!find_registry(argv[1], path, &err) || !registry_check(path, false, NULL, NULL, &r, &err))
		return fail(&err);
	(json ? print_json : print_text)(&r);
	return EXIT_OK;
}

/* ---- dump ---- */

static bool
print_line(void *ctx, const char *json, size_t n)
{
	(void)ctx;
	return fwrite(json, 1, n, stdout) == n && putchar('\n') != EOF;
}

static int
registry_cmd_dump(int argc, char *argv[])
{
	char path[PKI_PATH_MAX];
	struct err err;
	int words, code;
	const struct args args = { "signet registry dump DIR",
		"Prints every row of every table as a JSON object. Hashes of passwords and of enrolment secrets are left out.", NULL, 0, NULL,
		1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (!find_registry(argv[1], path, &err) || !registry_dump(path, print_line, NULL, &err))
		return fail(&err);
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return EXIT_OK;
	(void)err_set(&err, ERR_SYSTEM, "cannot write to standard output");
	return fail(&err);
}

static const struct subcommand subcommands[] = {
	{ "check", "verify every page and every reference", registry_cmd_check },
	{ "dump", "every row, one JSON object a line", registry_cmd_dump },
	{ "stats", "what is in it, and how much space it takes", registry_cmd_stats },
};

int
cmd_registry(int argc, char *argv[])
{
	static const struct group group = {
		.name = "registry",
		.about = "Looks at the registry of devices, certificates and people while no process has it open. Nothing that is there is changed.",
		.more = ". Nothing is changed; a registry that a\nprocess has open is refused. Exit codes: 0 success, 1 failure or damage, "
			"2 wrong usage.",
		.table = subcommands,
		.n = ARRAY_LEN(subcommands),
	};

	return group_run(&group, argc, argv);
}
