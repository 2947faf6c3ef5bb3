/* What somebody may do by the API, and who would gain or lose what by another group or permission. */
#include "api/rights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

enum { PEOPLE_MAX = 500 };

static json_t *
verdict_json(const struct rights_verdict *v)
{
	return json_pack("{s:b, s:s?, s:s?, s:s?}", "allowed", v->allowed, "permission", v->permission, "via", v->via, "other", v->other);
}

/* ---- one person ---- */

static json_t *
operations_json(const struct rights *x)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rights_count(x); i++) {
		struct rights_op o = rights_op(x, i);
		struct rights_verdict v;
		json_t *one;

		rights_judge(x, i, &v);
		one = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "id", o.op->id, "summary", o.op->summary, "group", o.group, "method",
		    http_method_name(o.op->method), "path", o.op->path, "verdict", verdict_json(&v));
		if (json_array_append_new(list, one) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static void
add_permission(void *ctx, const struct registry_permission *p, const char *via)
{
	(void)json_array_append_new(ctx, json_pack("{s:o, s:o, s:o, s:s, s:s?}", "name", text_json(p->name), "path", text_json(p->path), "method",
					     text_json(p->method), "effect", p->deny ? "deny" : "permit", "via", via));
}

/* "devices" and "/api/v1/devices?limit=1" are "/api/v1/devices/". */
static bool
asked_path(struct slice s, char *out, size_t cap)
{
	bool more;
	int n;

	s = slice_cut(&s, '?', &more);
	while (s.n > 0 && s.p[s.n - 1] == '/')
		s.n--;
	n = snprintf(out, cap, "%s%.*s/", s.n > 0 && s.p[0] == '/' ? "" : "/api/v1/", SL_ARG(s));
	return n > 0 && (size_t)n < cap;
}

/* null: nothing was asked for. */
static json_t *
question_json(const struct call *c, const struct rights *x)
{
	struct slice path = call_query(c, "path"), method = call_query(c, "method");
	char text[HTTP_TARGET_MAX + 16];
	struct rights_verdict v;
	json_t *o;

	if (path.p == NULL || !asked_path(path, text, sizeof(text)))
		return json_null();
	for (unsigned m = 0; m < HTTP_METHODS; m++) {
		if (!slice_eq(slice_str(http_method_name((enum http_method)m)), method.p != NULL ? method : SL("GET")))
			continue;
		rights_try(x, (enum http_method)m, text, c->api->config->dojot.on, &v);
		o = verdict_json(&v);
		(void)json_object_set_new(o, "method", json_string(http_method_name((enum http_method)m)));
		(void)json_object_set_new(o, "path", json_string(text));
		return o;
	}
	return json_null();
}

/* Its name; "": there is none yet. */
static void
first_tenant(struct registry *r, char ret[static REGISTRY_NAME_MAX + 1])
{
	struct registry_tenant t;

	ret[0] = '\0';
	if (!registry_tenant_first(r, &t, NULL))
		return;
	(void)text_copy(ret, REGISTRY_NAME_MAX + 1, t.name);
	free(t.mem);
}

static void
get_rights(struct call *c)
{
	struct registry *r = c->api->registry;
	struct rights *x = NULL;
	struct registry_user u;
	char first[REGISTRY_NAME_MAX + 1];
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	json_t *v = NULL, *permissions;

	if (!user_load(c, c->params[0], &u))
		return;
	x = rights_new(r);
	first_tenant(r, first);
	if (x != NULL && rights_of(x, &(struct rights_user){ u.id, slice_eq(u.tenant, slice_str(first)) }, &err)) {
		permissions = json_array();
		rights_each(x, add_permission, permissions);
		v = json_pack("{s:o, s:o, s:b, s:b, s:o, s:o, s:o}", "name", text_json(u.name), "tenant", text_json(u.tenant), "disabled", u.disabled,
		    "administrator", user_is_admin(r, u.id), "permissions", permissions, "question", question_json(c, x), "operations", operations_json(x));
	}
	c->version = 0;
	if (v != NULL)
		call_json(c, 200, v);
	else
		call_error(c, &err);
	rights_free(x);
	free(u.mem);
}

/* ---- what would change ---- */

struct person {
	struct rights_user u;
	char name[REGISTRY_NAME_MAX + 1], tenant[REGISTRY_NAME_MAX + 1];
	bool *before; /* of each operation */
};
struct proposal {
	struct call *c;
	struct rights *x;
	int64_t group, user, permission; /* that are named; 0: not */
	char first[REGISTRY_NAME_MAX + 1]; /* tenant */
	struct person *v;
	size_t n;
	bool incomplete, failed;
};

static bool
add_person(void *ctx, const struct registry_user *u)
{
	struct proposal *p = ctx;
	struct person *x;

	if (u->disabled)
		return true;
	if (p->n == PEOPLE_MAX) {
		p->incomplete = true;
		return false;
	}
	x = &p->v[p->n++];
	x->u = (struct rights_user){ u->id, slice_eq(u->tenant, slice_str(p->first)) };
	(void)text_copy(x->name, sizeof(x->name), u->name);
	(void)text_copy(x->tenant, sizeof(x->tenant), u->tenant);
	return true;
}

/* Whom it may be about. */
static bool
find_people(struct proposal *p, struct err *err)
{
	struct registry *r = p->c->api->registry;
	struct registry_user_filter f = { .group = p->group };
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	struct registry_user u;
	bool ok;

	first_tenant(r, p->first);
	if (p->user != 0) {
		if (!registry_user_get(r, p->user, &u, err))
			return false;
		ok = add_person(p, &u);
		free(u.mem);
		return ok;
	}
	do {
		if (!registry_user_list(r, &f, &page, add_person, p, err))
			return false;
		page.cursor = slice_str(page.next);
	} while (page.next[0] != '\0' && !p->incomplete);
	return true;
}

static bool
note_before(struct proposal *p, struct err *err)
{
	size_t n = rights_count(p->x);

	for (size_t i = 0; i < p->n; i++) {
		struct rights_verdict v;

		p->v[i].before = calloc(n, sizeof(bool));
		if (p->v[i].before == NULL)
			return err_set(err, ERR_MEMORY, "out of memory");
		if (!rights_of(p->x, &p->v[i].u, err))
			return false;
		for (size_t k = 0; k < n; k++) {
			rights_judge(p->x, k, &v);
			p->v[i].before[k] = v.allowed;
		}
	}
	return true;
}

static bool
link_named(struct proposal *p, const char *member, bool add, struct err *err)
{
	struct registry *r = p->c->api->registry;
	enum registry_link kind = p->group != 0 ? REGISTRY_GROUP_PERMISSION : REGISTRY_USER_PERMISSION;
	int64_t of = p->group != 0 ? p->group : p->user;
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(p->c->body, member), i, one) {
		struct registry_permission x;
		bool ok;

		if (!registry_permission_find(r, slice_str(json_string_value(one)), &x, err))
			return false;
		ok = add ? registry_link_add(r, kind, of, x.id, err) || err->code == ERR_EXISTS : registry_link_remove(r, kind, of, x.id, err) || err->code == ERR_MISSING;
		free(x.mem);
		if (!ok)
			return false;
	}
	return true;
}

/* As it would be done; the transaction is rolled back. */
static bool
apply(struct proposal *p, struct err *err)
{
	struct registry *r = p->c->api->registry;

	if (p->permission != 0)
		return registry_permission_remove(r, p->permission, err);
	if (p->group != 0 && call_bool(p->c, "remove", false))
		return registry_group_remove(r, p->group, err);
	return (p->user == 0 || user_set_groups(p->c, p->user, err)) && link_named(p, "grant", true, err) && link_named(p, "revoke", false, err);
}

static json_t *
changed_json(struct proposal *p, const struct person *x)
{
	json_t *gains = json_array(), *loses = json_array();

	for (size_t k = 0; k < rights_count(p->x); k++) {
		struct rights_op o = rights_op(p->x, k);
		struct rights_verdict v;

		rights_judge(p->x, k, &v);
		if (v.allowed != x->before[k])
			(void)json_array_append_new(v.allowed ? gains : loses, json_pack("{s:s, s:s, s:s}", "id", o.op->id, "group", o.group, "summary", o.op->summary));
	}
	return json_pack("{s:s, s:s, s:o, s:o}", "name", x->name, "tenant", x->tenant, "gains", gains, "loses", loses);
}

static json_t *
compare(struct proposal *p, struct err *err)
{
	json_t *list = json_array(), *one;

	rights_forget(p->x);
	for (size_t i = 0; i < p->n; i++) {
		if (!rights_of(p->x, &p->v[i].u, err)) {
			json_decref(list);
			return NULL;
		}
		one = changed_json(p, &p->v[i]);
		if (json_array_size(json_object_get(one, "gains")) + json_array_size(json_object_get(one, "loses")) > 0)
			(void)json_array_append_new(list, one);
		else
			json_decref(one);
	}
	return json_pack("{s:o, s:I, s:b}", "users", list, "people", (json_int_t)p->n, "incomplete", p->incomplete);
}

static json_t *
try_it(struct proposal *p, struct err *err)
{
	struct registry *r = p->c->api->registry;
	json_t *v = NULL;

	p->x = rights_new(r);
	p->v = calloc(PEOPLE_MAX, sizeof(p->v[0]));
	if (p->x == NULL || p->v == NULL)
		return (void)err_set(err, ERR_MEMORY, "out of memory"), NULL;
	if (!find_people(p, err) || !note_before(p, err) || !registry_begin(r, err))
		return NULL;
	if (apply(p, err))
		v = compare(p, err);
	registry_rollback(r);
	return v;
}

/* What the body names. False: answered. */
static bool
find_named(struct proposal *p)
{
	struct call *c = p->c;
	struct registry *r = c->api->registry;
	struct registry_group g;
	struct registry_permission x;
	struct registry_user u;
	struct err err = { 0 };

	if (call_has(c, "user")) {
		if (!user_load(c, call_text(c, "user"), &u))
			return false;
		p->user = u.id;
		free(u.mem);
	} else if (call_has(c, "group")) {
		if (!call_found(c, registry_group_find(r, call_text(c, "group"), &g, &err), &(int64_t){ 0 }, &err))
			return false;
		p->group = g.id;
		free(g.mem);
	} else {
		if (!call_found(c, registry_permission_find(r, call_text(c, "permission"), &x, &err), &(int64_t){ 0 }, &err))
			return false;
		p->permission = x.id;
		free(x.mem);
	}
	c->version = 0;
	return true;
}

/* False: answered. */
static bool
may_propose(struct call *c)
{
	int named = call_has(c, "user") + call_has(c, "group") + call_has(c, "permission");
	struct faults f = { 0 };

	if (named != 1)
		fault_add(&f, "/group", "one of user, group and permission says what is to change");
	if (call_has(c, "groups") && !call_has(c, "user"))
		fault_add(&f, "/groups", "are those of a user");
	if (f.list != NULL || f.failed) {
		call_faults(c, 422, &f);
		return false;
	}
	/* Groups and permissions are for all tenants. */
	if (c->actor.first || (call_has(c, "user") && !call_has(c, "grant") && !call_has(c, "revoke")))
		return true;
	call_problem(c, 403, "permission", NULL, "groups and permissions are for all tenants: only users of the first one see what they are");
	return false;
}

static void
preview(struct call *c)
{
	struct proposal p = { .c = c };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	json_t *v;

	if (!may_propose(c) || !find_named(&p))
		return;
	v = try_it(&p, &err);
	for (size_t i = 0; i < p.n; i++)
		free(p.v[i].before);
	free(p.v);
	rights_free(p.x);
	if (v != NULL)
		call_json(c, 200, v);
	else
		call_error(c, &err);
}

/* ---- tables ---- */

static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", NULL };
static const struct field query[] = {
	{ "method", FIELD_TEXT, .choices = methods, .help = "And of this path (GET)" },
	{ "path", FIELD_TEXT, .min = 1, .max = 1024, .rule = &rule_plain, .help = "May this be done, in particular?" },
	{ 0 },
};
#define VERDICT_FIELDS \
	{ "allowed", FIELD_BOOL, FIELD_REQUIRED }, { "permission", FIELD_ANY, FIELD_REQUIRED, .help = "That decides; null: none fits" }, \
	{ "via", FIELD_ANY, FIELD_REQUIRED, .help = "The group that has it; null: it is the user's own" }, { "other", FIELD_ANY, FIELD_REQUIRED, .help = "Why, where it is no matter of permissions" }
static const struct field verdict_rows[] = {
	VERDICT_FIELDS,
	{ 0 },
};
static const struct field question_rows[] = {
	VERDICT_FIELDS,
	{ "method", FIELD_ANY, FIELD_REQUIRED }, { "path", FIELD_ANY, FIELD_REQUIRED },
	{ 0 },
};
static const struct field operation_rows[] = {
	{ "id", FIELD_ANY, FIELD_REQUIRED }, { "summary", FIELD_ANY, FIELD_REQUIRED }, { "group", FIELD_ANY, FIELD_REQUIRED }, { "method", FIELD_ANY, FIELD_REQUIRED },
	{ "path", FIELD_ANY, FIELD_REQUIRED }, { "verdict", FIELD_OBJECT, FIELD_REQUIRED, .of = verdict_rows, .help = "For any that stands for {…}" },
	{ 0 },
};
static const struct field operation_row = { "operation", FIELD_OBJECT, .of = operation_rows };
static const struct field has_rows[] = {
	{ "name", FIELD_ANY, FIELD_REQUIRED }, { "path", FIELD_ANY, FIELD_REQUIRED }, { "method", FIELD_ANY, FIELD_REQUIRED }, { "effect", FIELD_ANY, FIELD_REQUIRED },
	{ "via", FIELD_ANY, FIELD_REQUIRED },
	{ 0 },
};
static const struct field has_row = { "permission", FIELD_OBJECT, .of = has_rows };
static const struct field rows[] = {
	{ "name", FIELD_ANY, FIELD_REQUIRED }, { "tenant", FIELD_ANY, FIELD_REQUIRED }, { "disabled", FIELD_BOOL, FIELD_REQUIRED },
	{ "administrator", FIELD_BOOL, FIELD_REQUIRED, .help = "In group admin: may also say in which groups users are" },
	{ "permissions", FIELD_LIST, FIELD_REQUIRED, 0, INT64_MAX, .of = &has_row, .help = "The user's own, which stand above the others, then those of the groups" },
	{ "question", FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULL, .of = question_rows },
	{ "operations", FIELD_LIST, FIELD_REQUIRED, 0, INT64_MAX, .of = &operation_row },
	{ 0 },
};
static const struct field name_row = { "name", FIELD_TEXT, 0, 1, REGISTRY_NAME_MAX, &rule_plain };
static const struct field proposal_rows[] = {
	{ "user", FIELD_TEXT, 0, 1, REGISTRY_NAME_MAX, &rule_plain },
	{ "groups", FIELD_LIST, 0, 0, 32, .of = &name_row, .help = "In which the user would be" },
	{ "group", FIELD_TEXT, 0, 1, REGISTRY_NAME_MAX, &rule_plain, .example = "\"operators\"" },
	{ "remove", FIELD_BOOL, .help = "The group as a whole" },
	{ "permission", FIELD_TEXT, 0, 1, REGISTRY_NAME_MAX, &rule_plain, .help = "That would be removed" },
	{ "grant", FIELD_LIST, 0, 0, 64, .of = &name_row, .help = "Permissions given to the group or user" },
	{ "revoke", FIELD_LIST, 0, 0, 64, .of = &name_row, .help = "Permissions taken away" },
	{ 0 },
};
static const struct field short_rows[] = {
	{ "id", FIELD_ANY, FIELD_REQUIRED }, { "group", FIELD_ANY, FIELD_REQUIRED }, { "summary", FIELD_ANY, FIELD_REQUIRED },
	{ 0 },
};
static const struct field short_row = { "operation", FIELD_OBJECT, .of = short_rows };
static const struct field person_rows[] = {
	{ "name", FIELD_ANY, FIELD_REQUIRED }, { "tenant", FIELD_ANY, FIELD_REQUIRED },
	{ "gains", FIELD_LIST, FIELD_REQUIRED, 0, INT64_MAX, .of = &short_row }, { "loses", FIELD_LIST, FIELD_REQUIRED, 0, INT64_MAX, .of = &short_row },
	{ 0 },
};
static const struct field person_row = { "person", FIELD_OBJECT, .of = person_rows };
static const struct field effect_rows[] = {
	{ "users", FIELD_LIST, FIELD_REQUIRED, 0, PEOPLE_MAX, .of = &person_row, .help = "For whom something would change" },
	{ "people", FIELD_INT, FIELD_REQUIRED, 0, PEOPLE_MAX, .help = "That were looked at; who is disabled is not" },
	{ "incomplete", FIELD_BOOL, FIELD_REQUIRED, .help = "There are more" },
	{ 0 },
};
static const struct schema schema = { "Rights", rows }, proposal_schema = { "RightsProposal", proposal_rows }, effect_schema = { "RightsEffect", effect_rows };

static const struct op ops[] = {
	{ "getUserRights", "What a user may do, operation by operation, and which permission decides", HTTP_GET, "/api/v1/users/{user}/rights", 0, 200, get_rights, .query = query,
	    .answer = &schema },
	{ "previewRights", "Who would gain or lose what by another group or permission; nothing is changed", HTTP_POST, "/api/v1/rights/preview", OP_QUIET, 200, preview,
	    .body = &proposal_schema, .answer = &effect_schema, .example = "{\"group\":\"operators\",\"grant\":[\"read_devices\"]}" },
};
const struct op_group group_rights = { "rights", "What people may do by the API", ops, ARRAY_LEN(ops) };
