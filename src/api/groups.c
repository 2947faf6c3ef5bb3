/* Groups and permissions, which are for all tenants. */
#include "api/internal.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

/* ---- permissions ---- */

static json_t *
permission_json(const struct registry_permission *p)
{
	return json_pack("{s:o, s:o, s:o, s:s, s:b}", "name", text_json(p->name), "path", text_json(p->path), "method", text_json(p->method),
	    "effect", p->deny ? "deny" : "permit", "system", p->system);
}

static bool
add_permission(void *ctx, const struct registry_permission *p)
{
	return json_array_append_new(ctx, permission_json(p)) == 0;
}

/* All that there is of one kind: <each> fills the list. */
static void
answer_all(struct call *c, bool (*each)(struct call *c, int64_t of, json_t *items, struct err *err), int64_t of)
{
	json_t *items = json_array();
	struct err err;
	bool ok = items == NULL || each(c, of, items, &err);

	call_listed(c, ok, items, &(struct registry_page){ 0 }, &err);
}

static bool
permissions_of_group(struct call *c, int64_t of, json_t *items, struct err *err)
{
	return registry_permission_each(c->api->registry, REGISTRY_GROUP_PERMISSION, of, add_permission, items, err);
}

static bool
permissions_of_user(struct call *c, int64_t of, json_t *items, struct err *err)
{
	return registry_permission_each(c->api->registry, REGISTRY_USER_PERMISSION, of, add_permission, items, err);
}

static void
list_permissions(struct call *c)
{
	answer_all(c, permissions_of_group, 0);
}

/* It is compiled at each request: what cannot be is refused here. */
static bool
check_pattern(struct call *c, const char *name, struct faults *f)
{
	char why[120], text[REGISTRY_LABEL_MAX + 8];
	struct slice s = call_text(c, name);
	char pointer[32];
	regex_t re;
	int rc;

	(void)snprintf(text, sizeof(text), "^(%.*s)", SL_ARG(s));
	rc = regcomp(&re, text, REG_EXTENDED | REG_NOSUB);
	if (rc == 0) {
		regfree(&re);
		return true;
	}
	(void)regerror(rc, &re, why, sizeof(why));
	(void)snprintf(pointer, sizeof(pointer), "/%s", name);
	fault_add(f, pointer, "is no regular expression (POSIX, extended): %s", why);
	return false;
}

/* What the body has stands in the place of what <p> has. False: answered. */
static bool
read_permission(struct call *c, struct registry_permission *p)
{
	struct faults f = { 0 };

	if (call_has(c, "path") && check_pattern(c, "path", &f))
		p->path = call_text(c, "path");
	if (call_has(c, "method") && check_pattern(c, "method", &f))
		p->method = call_text(c, "method");
	if (call_has(c, "effect"))
		p->deny = slice_eq(call_text(c, "effect"), SL("deny"));
	if (f.list == NULL && !f.failed)
		return true;
	call_faults(c, 422, &f);
	return false;
}

static void
create_permission(struct call *c)
{
	struct registry_permission p = { .name = call_text(c, "name") };
	struct err err;
	int64_t id;

	if (!read_permission(c, &p))
		return;
	if (!registry_permission_add(c->api->registry, &p, &id, &err)) {
		call_error(c, &err);
		return;
	}
	call_location(c, "/api/v1/permissions/", p.name);
	call_json(c, 201, permission_json(&p));
}

static void
get_permission(struct call *c)
{
	struct registry_permission p;
	struct err err;

	if (!call_found(c, registry_permission_find(c->api->registry, c->params[0], &p, &err), &p.version, &err))
		return;
	call_json(c, 200, permission_json(&p));
	free(p.mem);
}

/* What is ours is as it is documented. */
static bool
may_edit(struct call *c, bool system)
{
	if (!system)
		return true;
	call_problem(c, 409, "denied", "make another one", "this is a part of the system and stays as it is");
	return false;
}

static void
update_permission(struct call *c)
{
	struct registry_permission p;
	struct err err;

	if (!call_found(c, registry_permission_find(c->api->registry, c->params[0], &p, &err), &p.version, &err))
		return;
	if (call_if_match(c, p.version) && may_edit(c, p.system) && read_permission(c, &p)) {
		p.version = 0;
		if (registry_permission_set(c->api->registry, &p, &err)) {
			c->version++;
			call_json(c, 200, permission_json(&p));
		} else {
			call_error(c, &err);
		}
	}
	free(p.mem);
}

static void
delete_permission(struct call *c)
{
	struct registry_permission p;
	struct err err;

	if (!call_found(c, registry_permission_find(c->api->registry, c->params[0], &p, &err), &p.version, &err))
		return;
	if (call_if_match(c, p.version))
		call_done(c, registry_permission_remove(c->api->registry, p.id, &err), &err);
	free(p.mem);
}

/* ---- groups ---- */

static json_t *
group_json(const struct registry_group *g)
{
	return json_pack("{s:o, s:o, s:b}", "name", text_json(g->name), "description", text_json(g->description), "system", g->system);
}

static bool
add_group(void *ctx, const struct registry_group *g)
{
	return json_array_append_new(ctx, group_json(g)) == 0;
}

static bool
groups_of(struct call *c, int64_t of, json_t *items, struct err *err)
{
	return registry_group_each(c->api->registry, of, add_group, items, err);
}

static void
list_groups(struct call *c)
{
	answer_all(c, groups_of, 0);
}

static void
create_group(struct call *c)
{
	struct registry_group g = { .name = call_text(c, "name"), .description = call_text(c, "description") };
	struct err err;
	int64_t id;

	if (!registry_group_add(c->api->registry, &g, &id, &err)) {
		call_error(c, &err);
		return;
	}
	call_location(c, "/api/v1/groups/", g.name);
	call_json(c, 201, group_json(&g));
}

static void
get_group(struct call *c)
{
	struct registry_group g;
	struct err err;

	if (!call_found(c, registry_group_find(c->api->registry, c->params[0], &g, &err), &g.version, &err))
		return;
	call_json(c, 200, group_json(&g));
	free(g.mem);
}

static void
update_group(struct call *c)
{
	struct registry_group g;
	struct err err;

	if (!call_found(c, registry_group_find(c->api->registry, c->params[0], &g, &err), &g.version, &err))
		return;
	if (call_if_match(c, g.version) && may_edit(c, g.system)) {
		g.description = call_text(c, "description");
		g.version = 0;
		if (registry_group_set(c->api->registry, &g, &err)) {
			c->version++;
			call_json(c, 200, group_json(&g));
		} else {
			call_error(c, &err);
		}
	}
	free(g.mem);
}

/* The group of the path; 0: answered. */
static int64_t
group_of(struct call *c)
{
	struct registry_group g;
	struct err err;

	if (!registry_group_find(c->api->registry, c->params[0], &g, &err)) {
		call_error(c, &err);
		return 0;
	}
	free(g.mem);
	return g.id;
}

static void
delete_group(struct call *c)
{
	struct registry_group g;
	struct err err;

	if (!call_found(c, registry_group_find(c->api->registry, c->params[0], &g, &err), &g.version, &err))
		return;
	if (call_if_match(c, g.version))
		call_done(c, registry_group_remove(c->api->registry, g.id, &err), &err);
	free(g.mem);
}

static void
list_group_permissions(struct call *c)
{
	int64_t id = group_of(c);

	if (id != 0)
		answer_all(c, permissions_of_group, id);
}

typedef bool link_change(struct registry *r, enum registry_link kind, int64_t a, int64_t b, struct err *err);

static void
change_link(struct call *c, enum registry_link kind, int64_t of, link_change *change, enum err_code fine)
{
	struct registry_permission p;
	struct err err;
	bool ok = registry_permission_find(c->api->registry, c->params[1], &p, &err);

	if (ok) {
		ok = change(c->api->registry, kind, of, p.id, &err) || err.code == fine;
		free(p.mem);
	}
	call_done(c, ok, &err);
}

static void
put_group_permission(struct call *c)
{
	int64_t id = group_of(c);

	if (id != 0)
		change_link(c, REGISTRY_GROUP_PERMISSION, id, registry_link_add, ERR_EXISTS);
}

static void
delete_group_permission(struct call *c)
{
	int64_t id = group_of(c);

	if (id != 0)
		change_link(c, REGISTRY_GROUP_PERMISSION, id, registry_link_remove, ERR_OK);
}

/* ---- a user's own permissions ---- */

static int64_t
user_of(struct call *c)
{
	struct registry_user u;
	struct err err;

	if (!registry_user_find(c->api->registry, c->params[0], &u, &err)) {
		call_error(c, &err);
		return 0;
	}
	free(u.mem);
	return u.id;
}

static void
list_user_permissions(struct call *c)
{
	int64_t id = user_of(c);

	if (id != 0)
		answer_all(c, permissions_of_user, id);
}

static void
put_user_permission(struct call *c)
{
	int64_t id = user_of(c);

	if (id != 0)
		change_link(c, REGISTRY_USER_PERMISSION, id, registry_link_add, ERR_EXISTS);
}

static void
delete_user_permission(struct call *c)
{
	int64_t id = user_of(c);

	if (id != 0)
		change_link(c, REGISTRY_USER_PERMISSION, id, registry_link_remove, ERR_OK);
}

/* ---- tables ---- */

static const char *const effects[] = { "permit", "deny", NULL };
static const struct field permission_rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_name, .example = "\"read_devices\"" },
	{ "path", FIELD_TEXT, FIELD_REQUIRED, 1, 200, &rule_plain,
	    .help = "Regular expression (POSIX, extended) on the path with a slash at its end, anchored at its front", .example = "\"/api/v1/devices/(.*)\"" },
	{ "method", FIELD_TEXT, FIELD_REQUIRED, 1, 64, &rule_plain, .help = "Likewise on the method", .example = "\"GET\"" },
	{ "effect", FIELD_TEXT, FIELD_REQUIRED, .choices = effects, .example = "\"permit\"" },
	{ "system", FIELD_BOOL, FIELD_ANSWER, .help = "Ours: cannot be removed" },
	{ 0 },
};
static const struct field group_rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_name, .example = "\"operators\"" },
	{ "description", FIELD_TEXT, 0, 0, 200, &rule_plain, .example = "\"Who looks after the devices\"" },
	{ "system", FIELD_BOOL, FIELD_ANSWER, .help = "Ours: cannot be removed" },
	{ 0 },
};
static const struct field permission_change_rows[] = {
	{ "path", FIELD_TEXT, 0, 1, 200, &rule_plain }, { "method", FIELD_TEXT, 0, 1, 64, &rule_plain }, { "effect", FIELD_TEXT, .choices = effects },
	{ 0 },
};
static const struct field group_change_rows[] = {
	{ "description", FIELD_TEXT, FIELD_REQUIRED, 0, 200, &rule_plain },
	{ 0 },
};
static const struct schema permission_change_schema = { "PermissionChange", permission_change_rows }, group_change_schema = { "GroupChange", group_change_rows };
static const struct schema permission_schema = { "Permission", permission_rows }, group_schema = { "Group", group_rows };

enum { RIGHTS = OP_PLATFORM | OP_ADMIN };
static const struct op ops[] = {
	{ "listPermissions", "All permissions", HTTP_GET, "/api/v1/permissions", OP_PLATFORM | OP_ALL, 200, list_permissions, .answer = &permission_schema },
	{ "createPermission", "Make a permission", HTTP_POST, "/api/v1/permissions", RIGHTS | OP_ONCE, 201, create_permission, .body = &permission_schema,
	    .answer = &permission_schema, .example = "{\"name\":\"read_devices\",\"path\":\"/api/v1/devices/(.*)\",\"method\":\"GET\",\"effect\":\"permit\"}" },
	{ "getPermission", "One permission", HTTP_GET, "/api/v1/permissions/{permission}", OP_PLATFORM, 200, get_permission, .answer = &permission_schema },
	{ "updatePermission", "Change a permission; not one of ours", HTTP_PATCH, "/api/v1/permissions/{permission}", RIGHTS | OP_MATCH, 200, update_permission,
	    .body = &permission_change_schema, .answer = &permission_schema, .example = "{\"method\":\"(GET|HEAD)\"}" },
	{ "deletePermission", "Remove a permission", HTTP_DELETE, "/api/v1/permissions/{permission}", RIGHTS | OP_MATCH, 204, delete_permission },
	{ "listGroups", "All groups", HTTP_GET, "/api/v1/groups", OP_PLATFORM | OP_ALL, 200, list_groups, .answer = &group_schema },
	{ "createGroup", "Make a group", HTTP_POST, "/api/v1/groups", RIGHTS | OP_ONCE, 201, create_group, .body = &group_schema, .answer = &group_schema,
	    .example = "{\"name\":\"operators\",\"description\":\"Who looks after the devices\"}" },
	{ "getGroup", "One group", HTTP_GET, "/api/v1/groups/{group}", OP_PLATFORM, 200, get_group, .answer = &group_schema },
	{ "updateGroup", "Change what a group is described as; not one of ours", HTTP_PATCH, "/api/v1/groups/{group}", RIGHTS | OP_MATCH, 200, update_group,
	    .body = &group_change_schema, .answer = &group_schema, .example = "{\"description\":\"Who looks after the devices\"}" },
	{ "deleteGroup", "Remove a group", HTTP_DELETE, "/api/v1/groups/{group}", RIGHTS | OP_MATCH, 204, delete_group },
	{ "listGroupPermissions", "What a group may do", HTTP_GET, "/api/v1/groups/{group}/permissions", OP_PLATFORM | OP_ALL, 200, list_group_permissions,
	    .answer = &permission_schema },
	{ "grantGroup", "Give a permission to a group", HTTP_PUT, "/api/v1/groups/{group}/permissions/{permission}", RIGHTS, 204, put_group_permission },
	{ "revokeGroup", "Take a permission from a group", HTTP_DELETE, "/api/v1/groups/{group}/permissions/{permission}", RIGHTS, 204, delete_group_permission },
	{ "listUserPermissions", "What a user may do beside what his groups may", HTTP_GET, "/api/v1/users/{user}/permissions", OP_PLATFORM | OP_ALL, 200,
	    list_user_permissions, .answer = &permission_schema },
	{ "grantUser", "Give a permission to a user; it stands above those of the groups", HTTP_PUT, "/api/v1/users/{user}/permissions/{permission}", RIGHTS, 204,
	    put_user_permission },
	{ "revokeUser", "Take a permission from a user", HTTP_DELETE, "/api/v1/users/{user}/permissions/{permission}", RIGHTS, 204, delete_user_permission },
};
const struct op_group group_groups = { "permissions", "Groups and permissions, for all tenants", ops, ARRAY_LEN(ops) };
