/* dojot's /auth/pap: groups and permissions, which are those of the registry and for all tenants. */
#include "api/dojot.h"

#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

/* ---- what dojot has from the beginning ---- */

static const struct {
	const char *name, *path, *method;
	bool user; /* of the group of that name */
} predefined[] = {
	{ "all_template", "/template/(.*)", "(.*)", true },
	{ "ro_template", "/template/(.*)", "GET", false },
	{ "all_device", "/device/(.*)", "(.*)", true },
	{ "ro_device", "/device/(.*)", "GET", false },
	{ "ro_ca", "/ca/(.*)", "GET", true },
	{ "wo_sign", "/sign/(.*)", "POST", true },
};

/* What was removed here comes back with a start, but to nobody: the group gets its rights when it is made. */
bool
dojot_prepare(struct api *a, struct err *err)
{
	const struct registry_group g = { .name = SL("user"), .description = SL("This groups can do anything, except manage users") };
	struct registry *r = a->registry;
	int64_t group = 0;
	bool made, ok = registry_begin(r, err);

	made = ok && registry_group_add(r, &g, &group, err);
	ok = ok && (made || err->code == ERR_EXISTS);
	for (size_t i = 0; ok && i < ARRAY_LEN(predefined); i++) {
		struct registry_permission p = { .name = slice_str(predefined[i].name), .path = slice_str(predefined[i].path), .method = slice_str(predefined[i].method) };

		if (registry_permission_add(r, &p, &p.id, err))
			ok = !made || !predefined[i].user || registry_link_add(r, REGISTRY_GROUP_PERMISSION, group, p.id, err);
		else
			ok = err->code == ERR_EXISTS;
	}
	if (ok && registry_commit(r, err))
		return true;
	registry_rollback(r);
	return false;
}

/* ---- forms ---- */

static json_t *
permission_json(const struct registry_permission *p)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:s, s:o}", "id", (json_int_t)p->id, "name", text_json(p->name), "path", text_json(p->path), "method",
	    text_json(p->method), "permission", p->deny ? "deny" : "permit", "created_date", dojot_time(p->created));
}

static json_t *
group_json(const struct registry_group *g)
{
	return json_pack("{s:I, s:o, s:o, s:o}", "id", (json_int_t)g->id, "name", text_json(g->name), "description", text_json(g->description), "created_date",
	    dojot_time(g->created));
}

struct listing {
	struct slice name, path, method; /* must be in it; empty: any */
	json_t *items;
};

static bool
has(struct slice s, struct slice part)
{
	return part.n == 0 || memmem(s.p, s.n, part.p, part.n) != NULL;
}

static bool
add_permission(void *ctx, const struct registry_permission *p)
{
	struct listing *l = ctx;

	return !has(p->path, l->path) || !has(p->method, l->method) || json_array_append_new(l->items, permission_json(p)) == 0;
}

static bool
add_group(void *ctx, const struct registry_group *g)
{
	struct listing *l = ctx;

	return !has(g->name, l->name) || json_array_append_new(l->items, group_json(g)) == 0;
}

static void
answer_items(struct call *c, const char *as, json_t *items, bool ok, const struct err *err)
{
	if (ok && items != NULL) {
		call_json(c, 200, json_pack("{s:o}", as, items));
		return;
	}
	json_decref(items);
	dojot_error(c, err);
}

static void
done(struct call *c, bool ok, const struct err *err)
{
	if (ok)
		dojot_ok(c);
	else
		dojot_error(c, err);
}

/* ---- by number or name; false: answered ---- */

static bool
load_permission(struct call *c, struct slice s, struct registry_permission *ret)
{
	uint64_t id;

	if (text_u64(s, 1, INT64_MAX, &id) ? registry_permission_get(c->api->registry, (int64_t)id, ret, NULL)
					   : registry_permission_find(c->api->registry, s, ret, NULL))
		return true;
	dojot_fail(c, 404, "No permission found with this ID");
	return false;
}

static bool
load_group(struct call *c, struct slice s, struct registry_group *ret)
{
	uint64_t id;

	if (text_u64(s, 1, INT64_MAX, &id) ? registry_group_get(c->api->registry, (int64_t)id, ret, NULL) : registry_group_find(c->api->registry, s, ret, NULL))
		return true;
	dojot_fail(c, 404, "No group found with this ID");
	return false;
}

/* 0: answered. */
static int64_t
user_of(struct call *c, struct slice s)
{
	struct registry_user u;
	uint64_t id;

	if (!(text_u64(s, 1, INT64_MAX, &id) ? registry_user_get(c->api->registry, (int64_t)id, &u, NULL) : registry_user_find(c->api->registry, s, &u, NULL))) {
		dojot_fail(c, 404, "Unknown user id");
		return 0;
	}
	free(u.mem);
	return u.id;
}

/* ---- permissions ---- */

static void
list_permissions(struct call *c)
{
	struct listing l = { .path = call_query(c, "path"), .method = call_query(c, "method"), .items = json_array() };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok = l.items != NULL && registry_permission_each(c->api->registry, REGISTRY_GROUP_PERMISSION, 0, add_permission, &l, &err);

	answer_items(c, "permissions", l.items, ok, &err);
}

static bool
pattern_ok(struct slice s)
{
	regex_t re;

	if (s.n == 0 || memchr(s.p, '\0', s.n) != NULL || !auth_pattern(s, &re))
		return false;
	regfree(&re);
	return true;
}

/* What the body says over <p>; false: answered. */
static bool
read_permission(struct call *c, struct registry_permission *p)
{
	struct slice effect = call_text(c, "permission");

	if (!dojot_body(c, DOJOT_EJBCA_BODY))
		return false;
	if (dojot_text(c, "path") != NULL)
		p->path = call_text(c, "path");
	if (dojot_text(c, "method") != NULL)
		p->method = call_text(c, "method");
	if (dojot_text(c, "name") != NULL)
		p->name = call_text(c, "name");
	if (effect.p != NULL)
		p->deny = slice_eq(effect, SL("deny"));
	if (effect.p != NULL && !p->deny && !slice_eq(effect, SL("permit")))
		dojot_fail(c, 400, "Invalid permission. Must be one of \"permit\" or \"deny\"");
	else if (!pattern_ok(p->path) || !pattern_ok(p->method))
		dojot_fail(c, 400, "path and method are needed, and are regular expressions");
	else
		return true;
	return false;
}

static void
create_permission(struct call *c)
{
	struct registry_permission p = { 0 };
	char name[32];
	uint64_t random;
	struct err err;

	if (!read_permission(c, &p))
		return;
	if (p.name.n == 0) {
		random_bytes(&random, sizeof(random));
		(void)snprintf(name, sizeof(name), "perm_%016" PRIx64, random);
		p.name = slice_str(name);
	}
	call_name(c, p.name);
	if (registry_permission_add(c->api->registry, &p, &p.id, &err))
		call_json(c, 200, json_pack("{s:i, s:I}", "status", 200, "id", (json_int_t)p.id));
	else
		dojot_error(c, &err);
}

static void
get_permission(struct call *c)
{
	struct registry_permission p;

	if (!load_permission(c, c->params[0], &p))
		return;
	call_json(c, 200, permission_json(&p));
	free(p.mem);
}

static void
update_permission(struct call *c)
{
	struct registry_permission p;
	struct err err;
	void *mem;
	bool ok;

	if (!load_permission(c, c->params[0], &p))
		return;
	mem = p.mem;
	if (read_permission(c, &p)) {
		ok = registry_permission_set(c->api->registry, &p, &err);
		done(c, ok, &err);
	}
	free(mem);
}

static void
delete_permission(struct call *c)
{
	struct registry_permission p;
	struct err err;

	if (!load_permission(c, c->params[0], &p))
		return;
	free(p.mem);
	done(c, registry_permission_remove(c->api->registry, p.id, &err), &err);
}

/* ---- groups ---- */

static void
list_groups(struct call *c)
{
	struct listing l = { .name = call_query(c, "name"), .items = json_array() };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok = l.items != NULL && registry_group_each(c->api->registry, 0, add_group, &l, &err);

	answer_items(c, "groups", l.items, ok, &err);
}

static void
create_group(struct call *c)
{
	struct registry_group g = { .name = call_text(c, "name"), .description = call_text(c, "description") };
	struct err err;

	if (!dojot_body(c, DOJOT_EJBCA_BODY))
		return;
	call_name(c, g.name);
	if (!rule_name.ok(g.name))
		dojot_fail(c, 400, "Invalid group name, only alphanumeric characters, - and _ are allowed");
	else if (registry_group_add(c->api->registry, &g, &g.id, &err))
		call_json(c, 200, json_pack("{s:i, s:I}", "status", 200, "id", (json_int_t)g.id));
	else
		dojot_error(c, &err);
}

static void
get_group(struct call *c)
{
	struct registry_group g;

	if (!load_group(c, c->params[0], &g))
		return;
	call_json(c, 200, group_json(&g));
	free(g.mem);
}

static void
update_group(struct call *c)
{
	struct registry_group g;
	struct err err;
	bool ok;

	if (!dojot_body(c, DOJOT_EJBCA_BODY) || !load_group(c, c->params[0], &g))
		return;
	if (dojot_text(c, "description") != NULL)
		g.description = call_text(c, "description");
	ok = registry_group_set(c->api->registry, &g, &err);
	free(g.mem);
	done(c, ok, &err);
}

static void
delete_group(struct call *c)
{
	struct registry_group g;
	struct err err;

	if (!load_group(c, c->params[0], &g))
		return;
	free(g.mem);
	done(c, registry_group_remove(c->api->registry, g.id, &err), &err);
}

/* ---- who has what ---- */

static void
change_link(struct call *c, enum registry_link kind, int64_t a, int64_t b)
{
	struct registry *r = c->api->registry;
	struct err err;
	bool ok = c->op->method == HTTP_POST ? registry_link_add(r, kind, a, b, &err) || err.code == ERR_EXISTS : registry_link_remove(r, kind, a, b, &err);

	done(c, ok, &err);
}

static void
user_group(struct call *c)
{
	int64_t user = user_of(c, c->params[0]);
	struct registry_group g;

	if (user == 0 || !load_group(c, c->params[1], &g))
		return;
	free(g.mem);
	change_link(c, REGISTRY_USER_GROUP, user, g.id);
}

static void
group_permission(struct call *c)
{
	struct registry_permission p;
	struct registry_group g;

	if (!load_group(c, c->params[0], &g))
		return;
	free(g.mem);
	if (!load_permission(c, c->params[1], &p))
		return;
	free(p.mem);
	change_link(c, REGISTRY_GROUP_PERMISSION, g.id, p.id);
}

static void
user_permission(struct call *c)
{
	int64_t user = user_of(c, c->params[0]);
	struct registry_permission p;

	if (user == 0 || !load_permission(c, c->params[1], &p))
		return;
	free(p.mem);
	change_link(c, REGISTRY_USER_PERMISSION, user, p.id);
}

static void
permissions_of(struct call *c, enum registry_link kind, int64_t of)
{
	struct listing l = { .items = json_array() };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok = l.items != NULL && registry_permission_each(c->api->registry, kind, of, add_permission, &l, &err);

	answer_items(c, "permissions", l.items, ok, &err);
}

static void
direct_permissions(struct call *c)
{
	int64_t user = user_of(c, c->params[0]);

	if (user != 0)
		permissions_of(c, REGISTRY_USER_PERMISSION, user);
}

static void
group_permissions(struct call *c)
{
	struct registry_group g;

	if (!load_group(c, c->params[0], &g))
		return;
	free(g.mem);
	permissions_of(c, REGISTRY_GROUP_PERMISSION, g.id);
}

static bool
add_rule(void *ctx, bool direct, const struct registry_permission *p)
{
	(void)direct;
	return add_permission(ctx, p);
}

static void
all_permissions(struct call *c)
{
	int64_t user = user_of(c, c->params[0]);
	struct listing l = { 0 };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok;

	if (user == 0)
		return;
	l.items = json_array();
	ok = l.items != NULL && registry_user_rules(c->api->registry, user, add_rule, &l, &err);
	answer_items(c, "permissions", l.items, ok, &err);
}

static void
user_groups(struct call *c)
{
	int64_t user = user_of(c, c->params[0]);
	struct listing l = { 0 };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok;

	if (user == 0)
		return;
	l.items = json_array();
	ok = l.items != NULL && registry_group_each(c->api->registry, user, add_group, &l, &err);
	answer_items(c, "groups", l.items, ok, &err);
}

static bool
add_user(void *ctx, const struct registry_user *u)
{
	struct listing *l = ctx;

	return json_array_append_new(l->items, dojot_user(u)) == 0;
}

static void
users_of_group(struct call *c)
{
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	struct registry_user_filter f = { 0 };
	struct listing l = { 0 };
	struct registry_group g;
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok;

	if (!load_group(c, c->params[0], &g))
		return;
	free(g.mem);
	f.group = g.id;
	l.items = json_array();
	ok = l.items != NULL;
	do {
		ok = ok && registry_user_list(c->api->registry, &f, &page, add_user, &l, &err);
		page.cursor = slice_str(page.next);
	} while (ok && page.next[0] != '\0' && json_array_size(l.items) < DOJOT_WALK_MAX);
	answer_items(c, "users", l.items, ok, &err);
}

enum { PAP = OP_DOJOT | OP_PLATFORM, RIGHTS = PAP | OP_ADMIN };
#define PERMISSION "/auth/pap/permission"
#define GROUP "/auth/pap/group"
static const struct op ops[] = {
	{ "dojotListPermissions", "Permissions", HTTP_GET, PERMISSION, PAP, 200, list_permissions },
	{ "dojotCreatePermission", "Make a permission", HTTP_POST, PERMISSION, RIGHTS, 200, create_permission, .body_max = 4096 },
	{ "dojotGetPermission", "One permission", HTTP_GET, PERMISSION "/{permission}", PAP, 200, get_permission },
	{ "dojotUpdatePermission", "Change a permission", HTTP_PUT, PERMISSION "/{permission}", RIGHTS, 200, update_permission, .body_max = 4096 },
	{ "dojotDeletePermission", "Remove a permission", HTTP_DELETE, PERMISSION "/{permission}", RIGHTS, 200, delete_permission },
	{ "dojotListGroups", "Groups", HTTP_GET, GROUP, PAP, 200, list_groups },
	{ "dojotCreateGroup", "Make a group", HTTP_POST, GROUP, RIGHTS, 200, create_group, .body_max = 4096 },
	{ "dojotGetGroup", "One group", HTTP_GET, GROUP "/{group}", PAP, 200, get_group },
	{ "dojotUpdateGroup", "Change a group", HTTP_PUT, GROUP "/{group}", RIGHTS, 200, update_group, .body_max = 4096 },
	{ "dojotDeleteGroup", "Remove a group", HTTP_DELETE, GROUP "/{group}", RIGHTS, 200, delete_group },
	{ "dojotGroupPermissions", "What a group may do", HTTP_GET, GROUP "/{group}/permissions", PAP, 200, group_permissions },
	{ "dojotGroupUsers", "Who is in a group", HTTP_GET, GROUP "/{group}/users", PAP, 200, users_of_group },
	{ "dojotDirectPermissions", "What a user may do by himself", HTTP_GET, "/auth/pap/user/{user}/directpermissions", PAP, 200, direct_permissions },
	{ "dojotAllPermissions", "What a user may do", HTTP_GET, "/auth/pap/user/{user}/allpermissions", PAP, 200, all_permissions },
	{ "dojotUserGroups", "A user's groups", HTTP_GET, "/auth/pap/user/{user}/groups", PAP, 200, user_groups },
	{ "dojotJoin", "Put a user into a group", HTTP_POST, "/auth/pap/usergroup/{user}/{group}", RIGHTS, 200, user_group },
	{ "dojotLeave", "Take a user out of a group", HTTP_DELETE, "/auth/pap/usergroup/{user}/{group}", RIGHTS, 200, user_group },
	{ "dojotGrantGroup", "Give a permission to a group", HTTP_POST, "/auth/pap/grouppermissions/{group}/{permission}", RIGHTS, 200, group_permission },
	{ "dojotRevokeGroup", "Take it away", HTTP_DELETE, "/auth/pap/grouppermissions/{group}/{permission}", RIGHTS, 200, group_permission },
	{ "dojotGrantUser", "Give a permission to a user", HTTP_POST, "/auth/pap/userpermissions/{user}/{permission}", RIGHTS, 200, user_permission },
	{ "dojotRevokeUser", "Take it away", HTTP_DELETE, "/auth/pap/userpermissions/{user}/{permission}", RIGHTS, 200, user_permission },
};
const struct op_group group_dojot_pap = { "dojot-pap", "dojot's groups and permissions", ops, ARRAY_LEN(ops) };
