/* Tenants: who has users and devices of his own. */
#include "api/internal.h"

#include <stdlib.h>

#include "base/num.h"

static json_t *
tenant_json(const struct registry_tenant *t)
{
	return json_pack("{s:o, s:b, s:b, s:I, s:I, s:o}", "name", text_json(t->name), "disabled", t->disabled, "first", t->first, "devices",
	    (json_int_t)t->devices, "users", (json_int_t)t->users, "created", time_json(t->created));
}

static bool
add_row(void *ctx, const struct registry_tenant *t)
{
	return json_array_append_new(ctx, tenant_json(t)) == 0;
}

static void
list(struct call *c)
{
	struct registry_page page = call_page(c);
	json_t *items = json_array();
	struct err err;
	bool ok;

	ok = items == NULL || registry_tenant_list(c->api->registry, &page, add_row, items, &err);
	call_listed(c, ok, items, &page, &err);
}

/* The tenant of the path; false: answered. */
static bool
load(struct call *c, struct slice name, struct registry_tenant *ret)
{
	struct err err;

	return call_found(c, registry_tenant_get(c->api->registry, name, ret, &err), &ret->version, &err);
}

static void
show(struct call *c, struct slice name, unsigned status)
{
	struct registry_tenant t;

	if (!load(c, name, &t))
		return;
	call_json(c, status, tenant_json(&t));
	free(t.mem);
}

static void
get(struct call *c)
{
	show(c, c->params[0], 200);
}

static void
create(struct call *c)
{
	struct registry_tenant t = { .name = call_text(c, "name"), .disabled = call_bool(c, "disabled", false) };
	struct err err;

	if (!registry_tenant_add(c->api->registry, &t, &err)) {
		call_error(c, &err);
		return;
	}
	call_location(c, "/api/v1/tenants/", t.name);
	show(c, t.name, 201);
}

static void
update(struct call *c)
{
	struct registry_tenant t;
	struct err err;
	bool ok;

	if (!load(c, c->params[0], &t))
		return;
	if (!call_if_match(c, t.version)) {
		free(t.mem);
		return;
	}
	t.disabled = call_bool(c, "disabled", t.disabled);
	ok = registry_tenant_set(c->api->registry, &t, &err);
	free(t.mem);
	if (ok)
		show(c, c->params[0], 200);
	else
		call_error(c, &err);
}

static void
delete(struct call *c)
{
	struct registry_tenant t;
	struct err err;
	bool match;

	if (!load(c, c->params[0], &t))
		return;
	match = call_if_match(c, t.version);
	free(t.mem);
	if (!match)
		return;
	call_done(c, registry_tenant_remove(c->api->registry, c->params[0], &err), &err);
}

static const struct field new_rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_name, .example = "\"acme\"" },
	{ "disabled", FIELD_BOOL, .help = "Nobody of it can log in or connect" },
	{ 0 },
};
static const struct field change_rows[] = {
	{ "disabled", FIELD_BOOL, FIELD_REQUIRED },
	{ 0 },
};
static const struct field rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_name },
	{ "disabled", FIELD_BOOL, FIELD_REQUIRED },
	{ "first", FIELD_BOOL, FIELD_REQUIRED, .help = "Common names of its devices are their ids; of others tenant:id" },
	{ "devices", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "users", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "created", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ 0 },
};
static const struct schema schema = { "Tenant", rows }, new_schema = { "NewTenant", new_rows }, change_schema = { "TenantChange", change_rows };

static const struct op ops[] = {
	{ "listTenants", "All tenants, by name", HTTP_GET, "/api/v1/tenants", OP_PLATFORM | OP_LIST, 200, list, .answer = &schema },
	{ "createTenant", "Make a tenant", HTTP_POST, "/api/v1/tenants", OP_PLATFORM | OP_ONCE, 201, create, .body = &new_schema, .answer = &schema,
	    .example = "{\"name\":\"acme\"}" },
	{ "getTenant", "One tenant", HTTP_GET, "/api/v1/tenants/{tenant}", OP_PLATFORM, 200, get, .answer = &schema },
	{ "updateTenant", "Change a tenant", HTTP_PATCH, "/api/v1/tenants/{tenant}", OP_PLATFORM | OP_MATCH, 200, update, .body = &change_schema,
	    .answer = &schema, .example = "{\"disabled\":true}" },
	{ "deleteTenant", "Remove a tenant that has no users, devices and templates", HTTP_DELETE, "/api/v1/tenants/{tenant}", OP_PLATFORM | OP_MATCH, 204, delete },
};
const struct op_group group_tenants = { "tenants", "Tenants", ops, ARRAY_LEN(ops) };
