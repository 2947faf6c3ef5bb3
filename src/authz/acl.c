/* mosquitto's acl_file: "topic" lines belong to the "user" line before them (none: anonymous
 * clients), "pattern" lines to everybody. */
#include "authz/internal.h"

enum { ACL_RIGHTS = AUTHZ_READ | AUTHZ_WRITE };

static const struct {
	const char *word;
	uint8_t rights;
	bool deny;
} accesses[] = {
	{ "read", AUTHZ_READ, false },
	{ "write", AUTHZ_WRITE, false },
	{ "readwrite", ACL_RIGHTS, false },
	{ "deny", ACL_RIGHTS, true },
};

struct acl {
	struct authz_lines lines;
	struct authz_policy *p;
	struct authz_selector who; /* of topic lines */
};

/* "[ACCESS] FILTER". A word alone is the filter, as in mosquitto, even if it is "read". */
static bool
read_access(struct acl *a, struct slice *rest, struct authz_rule *ret)
{
	struct slice filter = *rest, word = authz_word(&filter);
	struct authz_shown shown;

	*ret = (struct authz_rule){ .rights = ACL_RIGHTS, .line = a->lines.line };
	if (filter.n == 0)
		return true;
	for (size_t i = 0; i < sizeof accesses / sizeof accesses[0]; i++) {
		if (slice_eq(word, slice_str(accesses[i].word))) {
			ret->rights = accesses[i].rights;
			ret->deny = accesses[i].deny;
			*rest = filter;
			return true;
		}
	}
	return authz_lines_fail(&a->lines,
	    "\"%s\" is not an access: expected read, write, readwrite or deny before a topic with "
	    "blanks",
	    authz_show(word, &shown));
}

static bool
read_rule(
    struct acl *a, struct slice rest, const struct authz_selector *who, enum authz_syntax syntax)
{
	struct authz_rule rule;
	struct authz_shown shown;
	const char *fault;

	if (rest.n == 0)
		return authz_lines_fail(&a->lines, "expected a topic filter at the end");
	if (!read_access(a, &rest, &rule))
		return false;
	rule.template = authz_template_new(rest, syntax, (struct slice){ 0 }, &fault);
	if (rule.template == NULL && fault != NULL)
		return authz_lines_fail(&a->lines, "\"%s\": %s", authz_show(rest, &shown), fault);
	if (rule.template == NULL || !authz_policy_add(a->p, who, rule))
		return authz_lines_nomem(&a->lines);
	return true;
}

static bool
read_line(struct acl *a, struct slice line)
{
	static const struct authz_selector everybody = { AUTHZ_WHOM_ANY, AUTHZ_ROLES_ALL, { 0 } };
	struct authz_shown shown;
	struct slice word = authz_word(&line);

	if (slice_eq(word, SL("topic")))
		return read_rule(a, line, &a->who, AUTHZ_SYNTAX_PLAIN);
	if (slice_eq(word, SL("pattern")))
		return read_rule(a, line, &everybody, AUTHZ_SYNTAX_PATTERN);
	if (!slice_eq(word, SL("user")))
		return authz_lines_fail(&a->lines,
		    "\"%s\" is not known here: expected user, topic or pattern",
		    authz_show(word, &shown));
	if (line.n == 0)
		return authz_lines_fail(&a->lines, "expected a user name behind \"user\"");
	a->who.whom = AUTHZ_WHOM_USER;
	a->who.user = line;
	return true;
}

struct authz_policy *
authz_policy_parse_acl(struct slice text, const char *name, struct err *err)
{
	struct acl a = { .lines = authz_lines_of(text, name, err),
		.p = authz_policy_blank(AUTHZ_KIND_ACL),
		.who = { AUTHZ_WHOM_ANONYMOUS, AUTHZ_ROLES_ALL, { 0 } } };
	struct slice line;

	if (a.p == NULL) {
		(void)authz_lines_nomem(&a.lines);
		return NULL;
	}
	a.p->overlap = true;
	while (authz_lines_next(&a.lines, &line) && read_line(&a, line))
		continue;
	if (!a.lines.bad && (!authz_policy_finish(a.p) || !authz_policy_keep(a.p, text, name)))
		(void)authz_lines_nomem(&a.lines);
	if (!a.lines.bad)
		return a.p;
	authz_policy_unref(a.p);
	return NULL;
}

bool
authz_text_is_acl(struct slice text)
{
	struct err err;
	struct authz_lines lines = authz_lines_of(text, "", &err);
	struct slice line, word;

	/* The words of the two kinds have nothing in common: the first one tells. */
	if (!authz_lines_next(&lines, &line))
		return false;
	word = authz_word(&line);
	return slice_eq(word, SL("topic")) || slice_eq(word, SL("user")) || slice_eq(word, SL("pattern"));
}
