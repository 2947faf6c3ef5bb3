/* signet inspect FILE...: what is in it. */
#include "cli/internal.h"

#include <stdlib.h>
#include "base/num.h"

int
cmd_inspect(int argc, char *argv[])
{
	struct show s = { 0 };
	int words, code, result = EXIT_OK;
	struct err err;
	const char *pass_file = NULL;
	struct pass pass;
	const struct arg table[] = {
		{ "passphrase-file", "FILE", ARG_TEXT, &pass_file, 0, 0, "opens what is encrypted; SIGNET_PASSPHRASE does it too" },
		{ "json", NULL, ARG_FLAG, &s.json, 0, 0, "an array with an object for each thing found" },
	};
	const struct args args = { "signet inspect FILE... [--passphrase-file FILE] [--json]",
		"Says what is in a file: certificates, certificate requests, CRLs, OCSP responses and keys; PEM (also several in one\n"
		"file), DER, PKCS#12 or PKCS#7. A file that is cut off, damaged or something else is named as such. Passphrases are not asked for.",
		table, ARRAY_LEN(table), "Exit codes: 0 everything was read, 1 something was not, 2 wrong usage.\n", 1, 1 << 20 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	pass_init(&pass, pass_file);
	if (pass_file != NULL || getenv("SIGNET_PASSPHRASE") != NULL)
		s.secret = &pass.secret;
	for (int i = 1; i <= words; i++) {
		if (!show_file(&s, argv[i], &err)) {
			(void)fflush(stdout);
			result = fail(&err);
		}
	}
	show_end(&s);
	return result;
}
