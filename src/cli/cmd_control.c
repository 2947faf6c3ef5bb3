/* signet control: the control process alone, and its first administrator. */
#include "cli/internal.h"

#include <stdlib.h>

#include "api/api.h"
#include "base/file.h"
#include "base/num.h"
#include "server/server.h"

static const char about[] =
    "Runs the control process alone until Ctrl-C or SIGTERM: the API by HTTPS with the registry of tenants, users, devices\n"
    "and certificates. SIGHUP reads certificates, CAs and revocation lists again. Nothing is signed without the signer\n"
    "beside it.";
static const char more[] =
    "Examples:\n"
    "  signet control --dir /etc/signet --make-admin admin\n"
    "  signet control --dir /etc/signet\n"
    "  signet control --openapi > openapi.json\n\n"
    "Exit codes: 0 stopped in order, 1 could not start, 2 or 3 the command line or the configuration is wrong.\n";

static int
print_document(void)
{
	char *text = api_document();
	bool ok = text != NULL && puts(text) != EOF;

	free(text);
	return ok ? EXIT_OK : EXIT_FAILED;
}

static bool
find_config(const char *dir, char *path, size_t cap, struct err *err)
{
	const char *found;

	return site_dir(dir, &found, err) &&
	       (path_join(path, cap, found, "signet.conf") || err_set(err, ERR_USAGE, "%s: the path is too long", found));
}

int
cmd_control(int argc, char *argv[])
{
	struct server_options o = { 0 };
	const char *dir = NULL, *admin = NULL;
	char path[PKI_PATH_MAX];
	bool document = false;
	int words, code;
	struct err err;
	const struct arg table[] = {
		{ "config", "FILE", ARG_TEXT, &o.config_file, 0, 0, "the configuration", NULL, 'c' },
		{ "dir", "DIR", ARG_TEXT, &dir, 0, 0, "the installation, which has signet.conf" },
		{ "make-admin", "NAME", ARG_TEXT, &admin, 0, 0, "make this administrator, or give a new password; it is shown once" },
		{ "openapi", NULL, ARG_FLAG, &document, 0, 0, "print the OpenAPI document" },
		{ "verbose", NULL, ARG_FLAG, &o.verbose, 0, 0, "log everything", NULL, 'v' },
	};
	const struct args args = { "signet control [-c FILE | --dir DIR] [options]", about, table, ARRAY_LEN(table), more, 0, 0 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	if (document)
		return print_document();
	if (o.config_file == NULL) {
		if (!find_config(dir, path, sizeof(path), &err))
			return fail(&err);
		o.config_file = path;
	}
	if (admin == NULL)
		return (int)server_control(&o);
	return site_admin(o.config_file, admin, &err) ? EXIT_OK : fail(&err);
}
