/* signet why: the latest refusals, with cause and remedy. */
#include "cli/ctl.h"
#include "cli/internal.h"

#include "base/num.h"

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static void
field(const json_t *o, const char *key, const char *label)
{
	const char *s = text_of(o, key);

	if (s[0] != '\0')
		(void)printf("  %-11s %s\n", label, s);
}

static void
show_one(const json_t *o)
{
	const json_t *alert = json_object_get(o, "tls_alert");

	(void)printf("%s  %s from %s on listener %s\n", text_of(o, "time"), text_of(o, "what"), text_of(o, "address"), text_of(o, "listener"));
	(void)printf("  %-11s %s [%s]\n", "cause", text_of(o, "text"), text_of(o, "cause"));
	field(o, "remedy", "remedy");
	field(o, "client_id", "client id");
	field(o, "subject", "subject");
	field(o, "issuer", "issuer");
	field(o, "serial", "serial");
	field(o, "fingerprint", "sha256");
	field(o, "not_before", "not before");
	field(o, "not_after", "not after");
	field(o, "sni", "sni");
	field(o, "tls_version", "tls");
	if (json_is_integer(alert))
		(void)printf("  %-11s %d\n", "alert", (int)json_integer_value(alert));
	(void)printf("\n");
}

int
cmd_why(int argc, char *argv[])
{
	struct ctl ctl = { 0 };
	unsigned count = 5;
	bool json = false;
	json_t *in, *out, *list, *o;
	struct err err;
	int words, code;
	size_t i;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &ctl.dir, 0, 0, "the installation; default: . or ./run", NULL, 0 },
		{ "socket", "PATH", ARG_TEXT, &ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says", NULL, 0 },
		{ "count", "N", ARG_NUMBER, &count, 1, 512, "how many at most; default 5", NULL, 'n' },
		{ "json", NULL, ARG_FLAG, &json, 0, 0, "an array of objects", NULL, 0 },
	};
	const struct args args = { "signet why [ADDRESS|CN|CLIENT-ID|SERIAL|CAUSE] [options]",
		"Asks the running broker of this machine whom it refused last: who, from where, why exactly, and what to do about it. The\n"
		"broker remembers the latest 512; it needs a listener with `protocol control`, which `signet init` writes.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet why\n  signet why sensor01\n  signet why 192.0.2.7 -n 20\n  signet why revoked --json\n\n"
		"Exit codes: 0 answered, also when there was no refusal; 1 no answer; 2 wrong usage.\n", 0, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	in = json_pack("{s:s,s:i}", "about", words > 0 ? argv[1] : "", "count", (int)count);
	if (in == NULL)
		return fail(&(struct err){ ERR_USAGE, "the word is not UTF-8" });
	if (!ctl_ask(&ctl, "why", in, &out, &err)) {
		json_decref(in);
		return fail(&err);
	}
	json_decref(in);
	list = json_object_get(out, "refusals");
	if (json)
		(void)json_dumpf(list, stdout, JSON_INDENT(1));
	else
		json_array_foreach(list, i, o)
			show_one(o);
	if (json)
		(void)printf("\n");
	else if (json_array_size(list) == 0)
		(void)printf("No refusal%s%s.\n", words > 0 ? " about " : "", words > 0 ? argv[1] : "");
	json_decref(out);
	return EXIT_OK;
}
