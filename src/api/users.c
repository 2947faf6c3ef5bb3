/* Users of a tenant. A user of another tenant is one that is not there. */
#include "api/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static bool
add_name(void *ctx, const struct registry_group *g)
{
	return json_array_append_new(ctx, text_json(g->name)) == 0;
}

static json_t *
user_json(struct registry *r, const struct registry_user *u)
{
	json_t *groups = json_array();

	if (groups != NULL && r != NULL && !registry_group_each(r, u->id, add_name, groups, NULL)) {
		json_decref(groups);
		return NULL;
	}
	return json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o}", "name", text_json(u->name), "tenant", text_json(u->tenant), "full_name",
	    text_json(u->full_name), "email", text_json(u->email), "disabled", u->disabled, "groups", groups, "last_login",
	    time_json(u->last_login), "password_changed", time_json(u->password_changed), "created", time_json(u->created));
}

/* ---- lists: the groups are asked for when the walk is over ---- */

static bool
add_row(void *ctx, const struct registry_user *u)
{
	json_t *row = json_pack("{s:I, s:o}", "id", (json_int_t)u->id, "row", user_json(NULL, u));

	return json_array_append_new(ctx, row) == 0;
}

static json_t *
with_groups(struct registry *r, json_t *found)
{
	json_t *items = json_array(), *one;
	size_t i;

	json_array_foreach(found, i, one) {
		json_t *row = json_object_get(one, "row"), *groups = json_object_get(row, "groups");

		if (!registry_group_each(r, json_integer_value(json_object_get(one, "id")), add_name, groups, NULL) ||
		    json_array_append(items, row) != 0) {
			json_decref(items);
			items = NULL;
			break;
		}
	}
	json_decref(found);
	return items;
}

static void
list(struct call *c)
{
	struct registry_user_filter f = { .tenant = call_tenant(c), .prefix = call_query(c, "prefix") };
	struct registry_page page = call_page(c);
	json_t *found = json_array();
	struct err err;

	if (found == NULL || registry_user_list(c->api->registry, &f, &page, add_row, found, &err)) {
		call_page_json(c, found != NULL ? with_groups(c->api->registry, found) : NULL, &page);
		return;
	}
	json_decref(found);
	call_error(c, &err);
}

/* ---- one ---- */

bool
user_load(struct call *c, struct slice name, struct registry_user *ret)
{
	struct err err;

	if (registry_user_find(c->api->registry, name, ret, &err)) {
		if (slice_eq(ret->tenant, call_tenant(c))) {
			c->version = ret->version;
			return true;
		}
		free(ret->mem);
		(void)err_set(&err, ERR_MISSING, "there is no such user");
	}
	call_error(c, &err);
	return false;
}

static void
show(struct call *c, struct slice name, unsigned status)
{
	struct registry_user u;

	if (!user_load(c, name, &u))
		return;
	call_json(c, status, user_json(c->api->registry, &u));
	free(u.mem);
}

static void
get(struct call *c)
{
	show(c, c->params[0], 200);
}

/* His groups shall be those of <names> and no others. */
struct wanted {
	struct registry *r;
	const json_t *names;
	int64_t surplus[64];
	size_t n;
};

static bool
is_wanted(const json_t *names, struct slice name)
{
	size_t i;
	json_t *one;

	json_array_foreach(names, i, one)
		if (slice_eq(name, slice_of(json_string_value(one), json_string_length(one))))
			return true;
	return false;
}

static bool
note_surplus(void *ctx, const struct registry_group *g)
{
	struct wanted *w = ctx;

	if (!is_wanted(w->names, g->name) && w->n < ARRAY_LEN(w->surplus))
		w->surplus[w->n++] = g->id;
	return true;
}

static bool
join_group(struct registry *r, int64_t user, struct slice name, struct err *err)
{
	struct registry_group g;
	bool ok;

	if (!registry_group_find(r, name, &g, err))
		return false;
	ok = registry_link_add(r, REGISTRY_USER_GROUP, user, g.id, err) || err->code == ERR_EXISTS;
	free(g.mem);
	return ok;
}

bool
user_set_groups(struct call *c, int64_t user, struct err *err)
{
	struct wanted w = { .r = c->api->registry, .names = json_object_get(c->body, "groups") };
	json_t *one;
	size_t i;

	if (w.names == NULL)
		return true;
	json_array_foreach(w.names, i, one)
		if (!join_group(w.r, user, slice_str(json_string_value(one)), err))
			return false;
	if (!registry_group_each(w.r, user, note_surplus, &w, err))
		return false;
	for (i = 0; i < w.n; i++)
		if (!registry_link_remove(w.r, REGISTRY_USER_GROUP, user, w.surplus[i], err))
			return false;
	return true;
}

/* Who could give groups could give them to himself. */
static bool
may_give_groups(struct call *c)
{
	if (!call_has(c, "groups") || actor_is_admin(c))
		return true;
	call_problem(c, 403, "permission", NULL, "only an administrator can say in which groups a user is");
	return false;
}

/* All or nothing; false: answered. */
static bool
change(struct call *c, int64_t (*what)(struct call *c, struct err *err))
{
	struct registry *r = c->api->registry;
	struct err err;
	int64_t id;

	if (registry_begin(r, &err)) {
		id = what(c, &err);
		if (id != 0 && user_set_groups(c, id, &err) && registry_commit(r, &err))
			return true;
		registry_rollback(r);
	}
	call_error(c, &err);
	return false;
}

static int64_t
add(struct call *c, struct err *err)
{
	struct registry_user u = { .tenant = call_tenant(c), .name = call_text(c, "name"), .full_name = call_text(c, "full_name"),
		.email = call_text(c, "email"), .password = slice_str(c->work), .disabled = call_bool(c, "disabled", false) };
	int64_t id = 0;

	return registry_user_add(c->api->registry, &u, &id, err) ? id : 0;
}

static void
made(struct call *c)
{
	if (!change(c, add))
		return;
	call_location(c, "/api/v1/users/", call_text(c, "name"));
	show(c, call_text(c, "name"), 201);
}

static void
on_hashed(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;

	c->work = j->right ? strdup(j->hash) : NULL;
	hash_job_free(j);
	if (c->work != NULL)
		made(c);
	else
		call_json(c, 503, NULL);
}

static void
create(struct call *c)
{
	if (!may_give_groups(c))
		return;
	if (call_has(c, "password"))
		call_hash(c, call_text(c, "password"), on_hashed);
	else
		made(c);
}

static int64_t
set(struct call *c, struct err *err)
{
	struct registry_user u;
	int64_t id = 0;

	if (!registry_user_find(c->api->registry, c->params[0], &u, err))
		return 0;
	if (call_has(c, "full_name"))
		u.full_name = call_text(c, "full_name");
	if (call_has(c, "email"))
		u.email = call_text(c, "email");
	u.disabled = call_bool(c, "disabled", u.disabled);
	if (registry_user_set(c->api->registry, &u, err))
		id = u.id;
	free(u.mem);
	return id;
}

/* Of another tenant, or changed meanwhile; nor may somebody with fewer rights touch an administrator. False: answered. */
static bool
may_change(struct call *c)
{
	struct registry_user u;
	bool ok;

	if (!user_load(c, c->params[0], &u))
		return false;
	ok = call_if_match(c, u.version);
	if (ok && user_is_admin(c->api->registry, u.id) && !actor_is_admin(c)) {
		call_problem(c, 403, "permission", NULL, "only an administrator can change another one");
		ok = false;
	}
	free(u.mem);
	return ok;
}

static void
update(struct call *c)
{
	if (may_change(c) && may_give_groups(c) && change(c, set))
		show(c, c->params[0], 200);
}

static void
delete(struct call *c)
{
	struct registry_user u;
	struct err err;
	bool ok;

	if (!may_change(c) || !user_load(c, c->params[0], &u))
		return;
	ok = registry_user_remove(c->api->registry, u.id, &err);
	free(u.mem);
	call_done(c, ok, &err);
}

static void
on_new_password(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;
	struct registry_user u;
	struct err err;
	bool ok = false;

	/* He may have gone while the hash was made. */
	if (j->right && user_load(c, c->params[0], &u)) {
		ok = registry_user_set_password(c->api->registry, u.id, slice_str(j->hash), &err);
		free(u.mem);
		call_done(c, ok, &err);
	} else if (!j->right) {
		call_json(c, 503, NULL);
	}
	hash_job_free(j);
}

static void
set_password(struct call *c)
{
	if (may_change(c))
		call_hash(c, call_text(c, "password"), on_new_password);
}

/* ---- tables ---- */

static const struct field group_row = { "name", FIELD_TEXT, 0, 1, REGISTRY_NAME_MAX, &rule_plain };
static const struct field query[] = {
	{ "prefix", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_plain, .help = "Only names that begin so" },
	{ 0 },
};
static const struct field new_rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_user, .example = "\"anna\"" },
	{ "password", FIELD_TEXT, FIELD_SECRET, PASSWORD_MIN, PASSWORD_MAX, .help = "Without one nobody can log in under this name", .example = "\"correct horse battery\"" },
	{ "full_name", FIELD_TEXT, 0, 0, 200, &rule_plain, .example = "\"Anna Kovač\"" },
	{ "email", FIELD_TEXT, 0, 3, 250, &rule_email, .example = "\"anna@example.com\"" },
	{ "disabled", FIELD_BOOL },
	{ "groups", FIELD_LIST, 0, 0, 32, .of = &group_row, .example = "[\"user\"]" },
	{ 0 },
};
static const struct field change_rows[] = {
	{ "full_name", FIELD_TEXT, 0, 0, 200, &rule_plain },
	{ "email", FIELD_TEXT, FIELD_NULL, 3, 250, &rule_email },
	{ "disabled", FIELD_BOOL },
	{ "groups", FIELD_LIST, 0, 0, 32, .of = &group_row },
	{ 0 },
};
static const struct field password_rows[] = {
	{ "password", FIELD_TEXT, FIELD_REQUIRED | FIELD_SECRET, PASSWORD_MIN, PASSWORD_MAX, .example = "\"staple of the century\"" },
	{ 0 },
};
static const struct field rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "tenant", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "full_name", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "email", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "disabled", FIELD_BOOL, FIELD_REQUIRED },
	{ "groups", FIELD_LIST, FIELD_REQUIRED, 0, 1000, .of = &group_row },
	{ "last_login", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "password_changed", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "created", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ 0 },
};
static const struct schema schema = { "User", rows }, new_schema = { "NewUser", new_rows }, change_schema = { "UserChange", change_rows },
			   password_schema = { "NewPassword", password_rows };

static const struct op ops[] = {
	{ "listUsers", "Users of the tenant, by name", HTTP_GET, "/api/v1/users", OP_LIST, 200, list, .query = query, .answer = &schema },
	{ "createUser", "Make a user", HTTP_POST, "/api/v1/users", OP_ONCE, 201, create, .body = &new_schema, .answer = &schema,
	    .example = "{\"name\":\"anna\",\"password\":\"correct horse battery\",\"email\":\"anna@example.com\",\"groups\":[]}" },
	{ "getUser", "One user", HTTP_GET, "/api/v1/users/{user}", 0, 200, get, .answer = &schema },
	{ "updateUser", "Change a user; tokens are void where rights are lost", HTTP_PATCH, "/api/v1/users/{user}", OP_MATCH, 200, update, .body = &change_schema,
	    .answer = &schema, .example = "{\"full_name\":\"Anna K.\"}" },
	{ "deleteUser", "Remove a user; the last administrator stays", HTTP_DELETE, "/api/v1/users/{user}", OP_MATCH, 204, delete },
	{ "setPassword", "Give a user a new password; all tokens of the user are void after it", HTTP_PUT, "/api/v1/users/{user}/password", OP_ADMIN | OP_MATCH, 204, set_password,
	    .body = &password_schema, .example = "{\"password\":\"staple of the century\"}", .body_max = 4096 },
};
const struct op_group group_users = { "users", "Users of a tenant", ops, ARRAY_LEN(ops) };
