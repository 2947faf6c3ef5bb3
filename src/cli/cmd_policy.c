/* signet policy: what a policy or ACL file says, and what it would change in the running broker. */
#include "cli/ctl.h"
#include "cli/internal.h"

#include <stdlib.h>
#include "base/file.h"
#include "base/num.h"

enum { POLICY_FILE_MAX = 16 * 1024 * 1024 };

struct text {
	uint8_t *data; /* NULL: ready-made */
	struct slice s;
	bool acl;
};

/* A file, or the name of a ready-made policy. NULL: a mistake in it, which <err> names. */
static struct authz_policy *
load(const char *name, struct text *t, struct err *err)
{
	size_t n = 0;

	*t = (struct text){ .s = authz_policy_builtin(name) };
	if (t->s.p == NULL) {
		if (!file_read(name, POLICY_FILE_MAX, &t->data, &n, err))
			return NULL;
		t->s = slice_of(t->data, n);
	}
	t->acl = authz_text_is_acl(t->s);
	return t->acl ? authz_policy_parse_acl(t->s, name, err) : authz_policy_parse(t->s, name, err);
}

static void
print_line(void *ctx, const char *line)
{
	if (ctx == NULL)
		(void)printf("%s\n", line);
	else
		(void)json_array_append_new(ctx, json_string(line));
}

static int
policy_show(int argc, char *argv[])
{
	bool json = false;
	struct authz_policy *p;
	struct text t;
	struct err err = { 0 };
	int words, code;
	json_t *list;
	const struct arg table[] = { { "json", NULL, ARG_FLAG, &json, 0, 0, "an array of lines", NULL, 0 } };
	const struct args args = { "signet policy show FILE|springcore|dojot [--json]",
		"Checks a policy or ACL file and says in words what it allows, a line a rule.", table, ARRAY_LEN(table),
		"Exit codes: 0 it is good, 2 it is not, or wrong usage.\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	p = load(argv[1], &t, &err);
	if (p != NULL) {
		list = json ? json_array() : NULL;
		authz_policy_describe(p, print_line, list);
		if (json)
			(void)json_dumpf(list, stdout, JSON_INDENT(1));
		(void)fputs(json ? "\n" : "", stdout);
		json_decref(list);
	} else {
		(void)fail(&err);
	}
	authz_policy_unref(p);
	free(t.data);
	return p != NULL ? EXIT_OK : EXIT_USAGE;
}

static json_int_t
number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *
text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "-";
}

static void
print_client(const json_t *o)
{
	json_t *list = json_object_get(o, "changes"), *c;
	size_t i, n = json_array_size(list);

	(void)printf("%s (%s, role %s, user %s, listener %s)\n", text_of(o, "client_id"),
	    json_is_true(json_object_get(o, "connected")) ? "connected" : "kept session", text_of(o, "role"), text_of(o, "user"), text_of(o, "listener"));
	json_array_foreach(list, i, c)
		(void)printf("  %s %s %s\n", text_of(c, "change"), text_of(c, "action"), text_of(c, "topic"));
	if (number(o, "lost") + number(o, "gained") > (json_int_t)n)
		(void)printf("  and %d more\n", (int)(number(o, "lost") + number(o, "gained") - (json_int_t)n));
}

static int
print_diff(const json_t *out, bool json)
{
	json_t *list = json_object_get(out, "clients"), *o;
	json_int_t changed = number(out, "changed");
	size_t i;

	if (json) {
		(void)json_dumpf(out, stdout, JSON_INDENT(1));
		(void)printf("\n");
	} else {
		json_array_foreach(list, i, o)
			print_client(o);
		(void)printf("%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " sessions would change (%" JSON_INTEGER_FORMAT " lose, %" JSON_INTEGER_FORMAT
			     " gain); %" JSON_INTEGER_FORMAT " subscriptions were looked at%s\n",
		    changed, number(out, "sessions"), number(out, "losing"), number(out, "gaining"), number(out, "subscriptions"),
		    (json_int_t)json_array_size(list) < changed ? "; --count N shows more" : "");
	}
	if (number(out, "coarse") > 0)
		(void)fprintf(stderr, "signet: of %" JSON_INTEGER_FORMAT " sessions only CONNECT, the first subscriptions and the will were compared: too many rules are about them\n",
		    number(out, "coarse"));
	if (json_is_true(json_object_get(out, "incomplete")))
		(void)fputs("signet: the broker could not look at everything\n", stderr);
	return changed > 0 ? EXIT_FAILED : EXIT_OK;
}

static int
policy_diff(int argc, char *argv[])
{
	struct ctl ctl = { 0 };
	unsigned count = 20;
	bool json = false, ok;
	const char *listener = NULL;
	struct authz_policy *p;
	struct text t;
	struct err err = { 0 };
	json_t *in = NULL, *out = NULL;
	int words, code;
	const struct arg table[] = {
		{ "dir", "DIR", ARG_TEXT, &ctl.dir, 0, 0, "the installation; default: . or ./run", NULL, 0 },
		{ "socket", "PATH", ARG_TEXT, &ctl.socket, 0, 0, "the broker's control socket; default: as signet.conf says", NULL, 0 },
		{ "listener", "NAME", ARG_TEXT, &listener, 0, 0, "for the clients of this listener alone", NULL, 0 },
		{ "count", "N", ARG_NUMBER, &count, 1, 1000, "how many clients are named at most; default 20", NULL, 'n' },
		{ "json", NULL, ARG_FLAG, &json, 0, 0, "an object", NULL, 0 },
	};
	const struct args args = { "signet policy diff NEW [options]",
		"Asks the running broker who would gain or lose what if NEW, a policy or ACL file or the name of a ready-made policy, were in\n"
		"force: every session, connected or kept, by its rights, its subscriptions and its will. Nothing is changed.",
		table, ARRAY_LEN(table),
		"Examples:\n  signet policy diff new.policy\n  signet policy diff new.acl --listener 1883 --json\n\n"
		"Exit codes: 0 nobody would notice, 1 somebody would, 2 wrong usage or a mistake in NEW, 3 no answer.\n", 1, 1 };

	if (!args_parse(&args, argc, argv, &words, &code))
		return code;
	p = load(argv[1], &t, &err);
	ok = p != NULL;
	authz_policy_unref(p);
	if (ok && (in = json_pack("{s:s%,s:b,s:i}", "text", (const char *)t.s.p, t.s.n, "acl", t.acl, "count", (int)count)) == NULL)
		ok = err_set(&err, ERR_USAGE, "%s is not UTF-8", argv[1]);
	free(t.data);
	if (!ok) {
		(void)fail(&err);
		return EXIT_USAGE;
	}
	if (listener != NULL)
		(void)json_object_set_new(in, "listener", json_string(listener));
	ok = ctl_ask(&ctl, "diff", in, &out, &err);
	json_decref(in);
	if (!ok) {
		(void)fail(&err);
		return 3;
	}
	code = print_diff(out, json);
	json_decref(out);
	return code;
}

/* ---- the command ---- */

static const struct subcommand subcommands[] = {
	{ "diff", "who would gain or lose what in the running broker by another policy", policy_diff },
	{ "show", "check a policy or ACL file and say what it allows", policy_show },
};

int
cmd_policy(int argc, char *argv[])
{
	static const struct group group = {
		.name = "policy",
		.about = "Says what a policy or ACL file allows, and what it would change in the running broker before it is in force.",
		.more = ", with its exit codes.",
		.table = subcommands,
		.n = ARRAY_LEN(subcommands),
	};

	return group_run(&group, argc, argv);
}
