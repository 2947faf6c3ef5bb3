/* Policy files; docs/policies.md has the grammar. */
#include "authz/internal.h"

#include <stdio.h>
#include "base/text.h"
#include "topic/topic.h"

/* Who has set something: the file, or the ready-made policy that it uses. */
enum set_by { SET_BY_NOBODY, SET_BY_FILE, SET_BY_USED };

struct parser {
	struct authz_lines lines;
	struct authz_policy *p;
	bool in_used, has_used;
	struct slice prefix;
	enum set_by prefix_set, tenant_set, subscribe_set, id_set[AUTHZ_ROLE_COUNT];
};

static bool read_lines(struct parser *ps);

static bool
expected(struct parser *ps, struct slice got, const char *what)
{
	struct authz_shown shown;

	if (got.n == 0)
		return authz_lines_fail(&ps->lines, "the line ends where %s is expected", what);
	return authz_lines_fail(&ps->lines, "\"%s\": expected %s", authz_show(got, &shown), what);
}

static bool
ends(struct parser *ps, struct slice rest)
{
	return rest.n == 0 || expected(ps, rest, "the end of the line");
}

/* ---- who ---- */

/* "client,watch": one word. */
static bool
read_roles(struct parser *ps, struct slice list, unsigned *ret)
{
	static const char what[] = "client, watch, control or none, with commas between several";
	enum authz_role role;
	unsigned roles = 0;
	bool more = true;

	while (more) {
		struct slice word = slice_cut(&list, ',', &more);

		if (slice_eq(word, SL("none")))
			role = AUTHZ_ROLE_NONE;
		else if (!authz_role_parse(word, &role))
			return expected(ps, word, what);
		if (role == AUTHZ_ROLE_CLOUD)
			return expected(ps, word, "a role that may connect (cloud is for servers)");
		roles |= AUTHZ_ROLE_BIT(role);
	}
	*ret = roles;
	return true;
}

/* NAME, or "NAME WITH BLANKS". */
static bool
read_user(struct parser *ps, struct slice *rest, struct slice *ret)
{
	struct slice name, behind;
	bool more = true;

	if (rest->n > 0 && rest->p[0] == '"') {
		*rest = slice_from(*rest, 1);
		name = slice_cut(rest, '"', &more);
		if (!more)
			return expected(ps, name, "a '\"' behind the name");
		behind = authz_word(rest);
		if (behind.n > 0)
			return expected(ps, behind, "a blank behind the name");
	} else {
		name = authz_word(rest);
	}
	*ret = name;
	return name.n > 0 || expected(ps, name, "a user name");
}

static bool
read_selector(struct parser *ps, struct slice *rest, struct authz_selector *ret)
{
	struct slice word = authz_word(rest), look;

	*ret = (struct authz_selector){ AUTHZ_WHOM_ANY, AUTHZ_ROLES_ALL, { 0 } };
	if (slice_eq(word, SL("everyone")))
		return true;
	if (slice_eq(word, SL("anonymous"))) {
		ret->whom = AUTHZ_WHOM_ANONYMOUS;
		return true;
	}
	if (slice_eq(word, SL("role"))) {
		if (!read_roles(ps, authz_word(rest), &ret->roles))
			return false;
		look = *rest;
		if (!slice_eq(authz_word(&look), SL("user")))
			return true;
		*rest = look;
	} else if (slice_eq(word, SL("user"))) {
		/* A name in a certificate says nothing without the role of its CA, so a name alone
		 * is one with a password. */
		ret->roles = AUTHZ_ROLE_BIT(AUTHZ_ROLE_NONE);
	} else {
		return expected(ps, word, "role, user, anonymous or everyone");
	}
	ret->whom = AUTHZ_WHOM_USER;
	return read_user(ps, rest, &ret->user);
}

/* ---- the statements ---- */

static bool
add(struct parser *ps, const struct authz_selector *who, struct authz_rule rule)
{
	rule.line = ps->lines.line;
	rule.used = ps->in_used;
	return authz_policy_add(ps->p, who, rule) || authz_lines_nomem(&ps->lines);
}

static bool
on_connect(struct parser *ps, struct slice rest)
{
	struct authz_selector who;

	return read_selector(ps, &rest, &who) && ends(ps, rest) &&
	       add(ps, &who, (struct authz_rule){ 0 });
}

static bool
read_rights(struct parser *ps, struct slice list, uint8_t *ret)
{
	unsigned rights = 0;
	bool more = true;

	while (more) {
		struct slice word = slice_cut(&list, ',', &more);

		if (slice_eq(word, SL("publish")))
			rights |= AUTHZ_WRITE;
		else if (slice_eq(word, SL("subscribe")))
			rights |= AUTHZ_READ;
		else
			return expected(ps, word, "publish, subscribe or publish,subscribe");
	}
	*ret = (uint8_t)rights;
	return true;
}

static bool
read_rule(struct parser *ps, struct slice rest, bool deny)
{
	struct authz_rule rule = { .deny = deny };
	struct authz_selector who;
	struct authz_shown shown;
	const char *fault;

	if (!read_selector(ps, &rest, &who) || !read_rights(ps, authz_word(&rest), &rule.rights))
		return false;
	if (rest.n == 0)
		return expected(ps, rest, "a topic filter");
	if (slice_starts(rest, SL("$share/")))
		return expected(ps, rest, "the filter itself, which $share/NAME/ is not part of");
	rule.template = authz_template_new(rest, AUTHZ_SYNTAX_POLICY, ps->prefix, &fault);
	if (rule.template == NULL && fault != NULL)
		return authz_lines_fail(&ps->lines, "\"%s\": %s", authz_show(rest, &shown), fault);
	if (rule.template == NULL)
		return authz_lines_nomem(&ps->lines);
	return add(ps, &who, rule);
}

static bool
on_allow(struct parser *ps, struct slice rest)
{
	return read_rule(ps, rest, false);
}

static bool
on_deny(struct parser *ps, struct slice rest)
{
	return read_rule(ps, rest, true);
}

/* Everything is set once; a used policy does not touch what the file has set before. */
static bool
set_once(struct parser *ps, enum set_by *by, const char *what, bool *ret_skip)
{
	*ret_skip = ps->in_used && *by == SET_BY_FILE;
	if (*ret_skip)
		return true;
	if (*by != SET_BY_NOBODY)
		return authz_lines_fail(&ps->lines,
		    "%s is set already (what a used policy shall not decide is set before `use`)",
		    what);
	*by = ps->in_used ? SET_BY_USED : SET_BY_FILE;
	return true;
}

static bool
on_define(struct parser *ps, struct slice rest)
{
	struct slice word = authz_word(&rest);
	bool skip;

	if (!slice_eq(word, SL("prefix")))
		return expected(ps, word, "prefix");
	if (!topic_name_ok(rest) || rest.p[0] == '$' || rest.p[rest.n - 1] == '/' ||
	    memchr(rest.p, '%', rest.n) != NULL)
		return expected(ps, rest,
		    "the first levels of a topic, without wildcards, '%', '$' in front and '/' "
		    "behind");
	if (!set_once(ps, &ps->prefix_set, "the prefix", &skip))
		return false;
	if (!skip)
		ps->prefix = rest;
	return true;
}

static bool
on_tenant(struct parser *ps, struct slice rest)
{
	bool skip;

	if (!authz_is_word(rest) || rest.n > AUTHZ_TENANT_MAX)
		return expected(ps, rest, "a tenant's name: letters, digits and '_', at most 128");
	if (!set_once(ps, &ps->tenant_set, "the tenant", &skip))
		return false;
	if (!skip)
		(void)text_copy(
		    ps->p->tenant, sizeof ps->p->tenant, rest); /* fits, as said above */
	return true;
}

static bool
on_subscribe(struct parser *ps, struct slice rest)
{
	bool overlap = slice_eq(rest, SL("overlap")), skip;

	if (!overlap && !slice_eq(rest, SL("strict")))
		return expected(ps, rest, "strict or overlap");
	if (!set_once(ps, &ps->subscribe_set, "subscribe", &skip))
		return false;
	if (!skip)
		ps->p->overlap = overlap;
	return true;
}

/* "any", "equals %u" or "tenant:device". */
static bool
read_id_rule(struct parser *ps, struct slice rest, enum authz_id_rule *ret)
{
	struct slice word = authz_word(&rest);

	if (slice_eq(word, SL("any"))) {
		*ret = AUTHZ_ID_ANY;
	} else if (slice_eq(word, SL("tenant:device"))) {
		*ret = AUTHZ_ID_TENANT_DEVICE;
	} else if (slice_eq(word, SL("equals"))) {
		*ret = AUTHZ_ID_EQUALS_USER;
		word = authz_word(&rest);
		if (!slice_eq(word, SL("%u")))
			return expected(ps, word, "%u");
	} else {
		return expected(ps, word, "any, equals %u or tenant:device");
	}
	return ends(ps, rest);
}

static bool
on_client_id(struct parser *ps, struct slice rest)
{
	struct authz_selector who;
	enum authz_id_rule rule = AUTHZ_ID_ANY;
	bool skip;

	if (!read_selector(ps, &rest, &who) || !read_id_rule(ps, rest, &rule))
		return false;
	if (who.whom != AUTHZ_WHOM_ANY)
		return expected(
		    ps, SL("client-id"), "role or everyone behind it, not a single user");
	for (unsigned role = 0; role < AUTHZ_ROLE_COUNT; role++) {
		char what[64];

		if ((who.roles & AUTHZ_ROLE_BIT(role)) == 0)
			continue;
		(void)snprintf(what, sizeof what, "the client id of role %s",
		    authz_role_name((enum authz_role)role));
		if (!set_once(ps, &ps->id_set[role], what, &skip))
			return false;
		if (skip)
			continue;
		ps->p->id_rule[role] = rule;
		ps->p->id_place[role].line = ps->lines.line;
		ps->p->id_place[role].used = ps->in_used;
	}
	return true;
}

static bool
on_use(struct parser *ps, struct slice rest)
{
	struct authz_lines outer = ps->lines;
	const char *used = NULL;
	struct slice text;
	char name[32];
	bool ok;

	if (text_copy(name, sizeof name, rest))
		used = authz_builtin_name(name, &text);
	if (used == NULL)
		return expected(ps, rest, "springcore or dojot");
	if (ps->has_used)
		return authz_lines_fail(&ps->lines, "a policy can use one other, once");
	ps->has_used = ps->in_used = true;
	ps->p->used = used;
	ps->lines = authz_lines_of(text, used, outer.err);
	ok = read_lines(ps);
	ps->in_used = false;
	ps->lines = outer;
	ps->lines.bad = !ok;
	return ok;
}

static const struct {
	const char *word;
	bool (*read)(struct parser *ps, struct slice rest);
} statements[] = {
	{ "connect", on_connect },
	{ "client-id", on_client_id },
	{ "allow", on_allow },
	{ "deny", on_deny },
	{ "define", on_define },
	{ "subscribe", on_subscribe },
	{ "tenant", on_tenant },
	{ "use", on_use },
};

static bool
read_line(struct parser *ps, struct slice line)
{
	struct slice word = authz_word(&line);

	for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
		if (slice_eq(word, slice_str(statements[i].word)))
			return statements[i].read(ps, line);
	}
	return expected(
	    ps, word, "connect, client-id, allow, deny, define, subscribe, tenant or use");
}

static bool
read_lines(struct parser *ps)
{
	struct slice line;

	while (authz_lines_next(&ps->lines, &line)) {
		if (!read_line(ps, line))
			return false;
	}
	return !ps->lines.bad;
}

/* Tenant and device are only known of those whose client id says them. */
static bool
check_vars(struct parser *ps)
{
	const unsigned needs = 1u << AUTHZ_VAR_TENANT | 1u << AUTHZ_VAR_DEVICE;

	for (size_t i = 0; i < ps->p->n_rules; i++) {
		const struct authz_rule *r = &ps->p->rules[i];

		if (r->template == NULL || (authz_template_vars(r->template) & needs) == 0)
			continue;
		for (unsigned role = 0; role < AUTHZ_ROLE_COUNT; role++) {
			if ((r->roles & AUTHZ_ROLE_BIT(role)) == 0 ||
			    ps->p->id_rule[role] == AUTHZ_ID_TENANT_DEVICE)
				continue;
			ps->lines.line = r->line;
			return authz_lines_fail(&ps->lines,
			    "%%t and %%d need a line `client-id role %s tenant:device`",
			    authz_role_name((enum authz_role)role));
		}
	}
	return true;
}

struct authz_policy *
authz_policy_parse(struct slice text, const char *name, struct err *err)
{
	struct parser ps = { .lines = authz_lines_of(text, name, err),
		.p = authz_policy_blank(AUTHZ_KIND_ROLES) };

	if (ps.p == NULL) {
		(void)authz_lines_nomem(&ps.lines);
		return NULL;
	}
	if (read_lines(&ps) && check_vars(&ps)) {
		if (authz_policy_finish(ps.p) && authz_policy_keep(ps.p, text, name))
			return ps.p;
		(void)authz_lines_nomem(&ps.lines);
	}
	authz_policy_unref(ps.p);
	return NULL;
}
