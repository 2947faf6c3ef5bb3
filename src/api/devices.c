/* Devices and templates of a tenant. */
#include "api/presence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { BULK_MAX = 1000, REASON_CESSATION = 5 };

/* JSON that the registry keeps as text. */
static json_t *
kept_json(struct slice s)
{
	json_t *v = s.n > 0 ? json_loadb((const char *)s.p, s.n, 0, NULL) : NULL;

	return v != NULL ? v : json_object();
}

static const char *const certificate_names[] = { "active", "superseded", "hold", "revoked", "none", "expired", NULL };

static const char *
certificate_of(const struct registry_device *d, int64_t now)
{
	bool ended = d->certificate == REGISTRY_HAS_ACTIVE && d->not_after < now;

	return certificate_names[ended ? REGISTRY_HAS_EXPIRED : d->certificate];
}

static json_t *
device_json(const struct registry_device *d, int64_t now)
{
	json_t *templates = json_array();

	for (size_t i = 0; templates != NULL && i < d->n_templates; i++)
		(void)json_array_append_new(templates, json_integer(d->templates[i]));
	return json_pack("{s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "id", text_json(d->id), "tenant",
	    text_json(d->tenant), "cn", text_json(d->cn), "label", text_json(d->label), "state", registry_device_state_name(d->state),
	    "templates", templates, "attributes", kept_json(d->attrs), "certificate", certificate_of(d, now), "certificate_until", time_json(d->not_after), "online",
	    d->online, "since", time_json(d->since), "last_seen", time_json(d->last_seen), "address", text_json(d->address), "status",
	    text_json(d->status), "stale", d->stale, "created", time_json(d->created), "updated", time_json(d->updated));
}

struct row_list {
	json_t *items;
	int64_t now;
};

static bool
add_row(void *ctx, const struct registry_device *d)
{
	const struct row_list *l = ctx;

	return json_array_append_new(l->items, device_json(d, l->now)) == 0;
}

static const char *const state_names[] = { "enabled", "disabled", "pending", "quarantined", NULL };
static const char *const order_names[] = { "id", "label", "expiry", "last_seen", NULL };

static enum registry_device_order
order_of(struct slice s)
{
	for (unsigned i = 0; order_names[i] != NULL; i++)
		if (slice_eq(s, slice_str(order_names[i])))
			return (enum registry_device_order)i;
	return REGISTRY_BY_ID;
}

static void
list(struct call *c)
{
	struct slice state = call_query(c, "state"), certificate = call_query(c, "certificate"), online = call_query(c, "online"),
		     stale = call_query(c, "stale");
	enum registry_device_state one;
	struct registry_device_filter f = { .tenant = call_tenant(c), .prefix = call_query(c, "prefix"), .order = order_of(call_query(c, "order")),
		.template = call_query_int(c, "template", 0), .expires_before = time_read(call_query(c, "expires_before")),
		.seen_before = time_read(call_query(c, "seen_before")), .seen_after = time_read(call_query(c, "seen_after")),
		.online = slice_eq(online, SL("true")), .offline = slice_eq(online, SL("false")),
		.stale = slice_eq(stale, SL("true")), .fresh = slice_eq(stale, SL("false")) };
	struct registry_page page = call_page(c);
	struct row_list l = { json_array(), api_now(c->api) };
	struct err err;
	bool ok;

	presence_flush(c->api);
	if (state.p != NULL && registry_device_state_parse(state, &one))
		f.states = 1u << one;
	for (unsigned i = 0; certificate_names[i] != NULL; i++)
		f.certificates |= slice_eq(certificate, slice_str(certificate_names[i])) ? 1u << i : 0;
	ok = l.items == NULL || registry_device_list(c->api->registry, &f, &page, add_row, &l, &err);
	call_listed(c, ok, l.items, &page, &err);
}

/* Kept, not counted. */
static void
totals(struct call *c)
{
	int64_t n[REGISTRY_DEVICE_STATES];
	struct err err;

	if (registry_device_totals(c->api->registry, call_tenant(c), n, &err))
		call_json(c, 200, json_pack("{s:I, s:I, s:I, s:I}", "enabled", (json_int_t)n[REGISTRY_ENABLED], "disabled", (json_int_t)n[REGISTRY_DISABLED], "pending",
				      (json_int_t)n[REGISTRY_PENDING], "quarantined", (json_int_t)n[REGISTRY_QUARANTINED]));
	else
		call_error(c, &err);
}

static bool
load(struct call *c, struct slice id, struct registry_device *ret)
{
	struct err err;

	presence_flush(c->api);
	return call_found(c, registry_device_get(c->api->registry, call_tenant(c), id, ret, &err), &ret->version, &err);
}

static void
show(struct call *c, struct slice id, unsigned status)
{
	struct registry_device d;

	if (!load(c, id, &d))
		return;
	call_json(c, status, device_json(&d, api_now(c->api)));
	free(d.mem);
}

static void
get(struct call *c)
{
	show(c, c->params[0], 200);
}

/* ---- what a body says ---- */

static struct slice
member(const json_t *v, const char *name)
{
	const json_t *m = json_object_get(v, name);

	return json_is_string(m) ? slice_of(json_string_value(m), json_string_length(m)) : (struct slice){ 0 };
}

static void
read_templates(const json_t *v, struct registry_device *d)
{
	const json_t *list = json_object_get(v, "templates"), *one;
	size_t i;

	if (list == NULL)
		return;
	d->n_templates = 0;
	json_array_foreach(list, i, one)
		d->templates[d->n_templates++] = json_integer_value(one);
}

/* *ret_attrs is free()d by the caller. */
static bool
read_device(const json_t *v, struct registry_device *d, char **ret_attrs, struct err *err)
{
	const json_t *attrs = json_object_get(v, "attributes");
	struct slice state = member(v, "state");

	*ret_attrs = NULL;
	if (json_object_get(v, "label") != NULL)
		d->label = member(v, "label");
	if (state.p != NULL)
		(void)registry_device_state_parse(state, &d->state);
	read_templates(v, d);
	if (attrs == NULL)
		return true;
	*ret_attrs = json_dumps(attrs, JSON_COMPACT);
	if (*ret_attrs == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	d->attrs = slice_str(*ret_attrs);
	return true;
}

static bool
add(struct call *c, const json_t *v, struct err *err)
{
	struct registry_device_new n = { .device = { .tenant = call_tenant(c), .id = member(v, "id") }, .ca = SL("client"),
		.profile = SL("client"), .by = slice_str(c->actor.name) };
	char *attrs;
	bool ok = read_device(v, &n.device, &attrs, err) && registry_device_add(c->api->registry, &n, err);

	free(attrs);
	return ok;
}

static void
create(struct call *c)
{
	struct slice id = call_text(c, "id");
	struct err err;

	if (!add(c, c->body, &err)) {
		call_error(c, &err);
		return;
	}
	call_location(c, "/api/v1/devices/", id);
	show(c, id, 201);
}

static bool
is_there(struct call *c, const json_t *v)
{
	struct registry_device d;

	if (!registry_device_get(c->api->registry, call_tenant(c), member(v, "id"), &d, NULL))
		return false;
	free(d.mem);
	return true;
}

/* All or none. */
static void
create_many(struct call *c)
{
	json_t *devices = json_object_get(c->body, "devices"), *one;
	bool keep = slice_eq(call_text(c, "existing"), SL("keep"));
	struct registry *r = c->api->registry;
	json_int_t kept = 0;
	struct err err;
	size_t i;
	bool ok = registry_begin(r, &err);

	json_array_foreach(devices, i, one) {
		/* Looked for first: an insertion that fails is undone, and what it had counted is counted anew. */
		if (ok && keep && is_there(c, one)) {
			kept++;
			continue;
		}
		if (ok && add(c, one, &err)) {
			call_name(c, member(one, "id"));
			continue;
		}
		if (ok)
			(void)err_prefix(&err, "/devices/%zu", i);
		ok = false;
		break;
	}
	if (ok && registry_commit(r, &err)) {
		call_json(c, 201, json_pack("{s:I, s:I}", "created", (json_int_t)json_array_size(devices) - kept, "kept", kept));
		return;
	}
	registry_rollback(r);
	call_error(c, &err);
}

/* ---- many, each for itself ---- */

/* What came of one of them. */
static bool
add_result(json_t *items, const json_t *id, bool ok, const struct err *err)
{
	json_t *v = json_pack("{s:O, s:b}", "id", id, "done", ok);

	if (v != NULL && !ok)
		(void)json_object_set_new(v, "detail", json_string(err->text));
	return json_array_append_new(items, v) == 0;
}

static bool
update_one(struct call *c, json_t *one, struct err *err)
{
	struct registry_device d;
	char *attrs = NULL;
	bool ok;

	if (!registry_device_get(c->api->registry, call_tenant(c), member(one, "id"), &d, err))
		return false;
	ok = read_device(one, &d, &attrs, err) && registry_device_set(c->api->registry, &d, err);
	free(attrs);
	free(d.mem);
	return ok;
}

static bool
delete_one(struct call *c, json_t *one, struct err *err)
{
	struct slice id = slice_of(json_string_value(one), json_string_length(one));
	unsigned n;

	return registry_device_remove(c->api->registry, call_tenant(c), id, REASON_CESSATION, &n, err);
}

/* One transaction; what fails of it leaves the rest as it is. */
static void
for_each(struct call *c, const json_t *list, bool (*run)(struct call *c, json_t *one, struct err *err))
{
	struct registry *r = c->api->registry;
	json_t *items = json_array(), *one;
	json_int_t done = 0;
	struct err err;
	size_t i;
	bool ok = registry_begin(r, &err);

	json_array_foreach(list, i, one) {
		struct err why;
		bool fine = ok && run(c, one, &why);

		done += fine;
		if (fine)
			call_name(c, json_is_string(one) ? slice_of(json_string_value(one), json_string_length(one)) : member(one, "id"));
		if (ok && !add_result(items, json_is_string(one) ? one : json_object_get(one, "id"), fine, &why))
			ok = err_set(&err, ERR_MEMORY, "out of memory");
	}
	if (ok && registry_commit(r, &err)) {
		lists_due(c->api);
		call_json(c, 200, json_pack("{s:I, s:I, s:o}", "done", done, "failed", (json_int_t)json_array_size(list) - done, "items", items));
		return;
	}
	registry_rollback(r);
	json_decref(items);
	call_error(c, &err);
}

static void
update_many(struct call *c)
{
	for_each(c, json_object_get(c->body, "devices"), update_one);
}

static void
delete_many(struct call *c)
{
	for_each(c, json_object_get(c->body, "ids"), delete_one);
}

static void
update(struct call *c)
{
	struct registry_device d;
	struct err err;
	char *attrs = NULL;
	bool ok;

	if (!load(c, c->params[0], &d))
		return;
	if (!call_if_match(c, d.version)) {
		free(d.mem);
		return;
	}
	ok = read_device(c->body, &d, &attrs, &err) && registry_device_set(c->api->registry, &d, &err);
	free(attrs);
	free(d.mem);
	if (ok)
		show(c, c->params[0], 200);
	else
		call_error(c, &err);
}

static void
delete(struct call *c)
{
	struct registry_device d;
	struct err err;
	unsigned n;
	bool match;

	if (!load(c, c->params[0], &d))
		return;
	match = call_if_match(c, d.version);
	free(d.mem);
	if (!match)
		return;
	if (!registry_device_remove(c->api->registry, call_tenant(c), c->params[0], REASON_CESSATION, &n, &err)) {
		call_error(c, &err);
		return;
	}
	lists_due(c->api);
	call_nothing(c);
}

/* ---- tables ---- */

static const struct field template_row = { "template", FIELD_INT, 0, 1, INT64_MAX };
static const struct field query[] = {
	{ "prefix", FIELD_TEXT, .min = 1, .max = 256, .rule = &rule_plain, .help = "Only ids (in the order of labels: labels) that begin so" },
	{ "state", FIELD_TEXT, .choices = state_names },
	{ "order", FIELD_TEXT, .choices = order_names, .help = "expiry: those with a certificate, what ends first first; last_seen: those that were ever seen" },
	{ "template", FIELD_INT, .min = 1, .max = INT64_MAX },
	{ "online", FIELD_BOOL },
	{ "stale", FIELD_BOOL, .help = "Its status messages have stopped" },
	{ "certificate", FIELD_TEXT, .choices = certificate_names, .help = "active: one that has not ended; expired: its active ones have; else as its newest one is" },
	{ "expires_before", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time, .help = "Its latest certificate ends before" },
	{ "seen_before", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time },
	{ "seen_after", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time },
	{ 0 },
};
#define DEVICE_FIELDS \
	{ "label", FIELD_TEXT, 0, 0, 200, &rule_plain, .example = "\"Door 3\"" }, \
	{ "state", FIELD_TEXT, .choices = state_names, .help = "Only an enabled device may connect" }, \
	{ "templates", FIELD_LIST, 0, 0, REGISTRY_TEMPLATES_MAX, .of = &template_row, .example = "[]" }, \
	{ "attributes", FIELD_OBJECT, .help = "Anything that is known of it", .example = "{\"floor\":2}" }, \
	{ 0 }
static const struct field new_rows[] = {
	{ "id", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_device, .example = "\"sensor01\"" },
	DEVICE_FIELDS,
};
static const struct field change_rows[] = { DEVICE_FIELDS };
static const struct field new_row = { "device", FIELD_OBJECT, .of = new_rows };
static const char *const existing_names[] = { "refuse", "keep", NULL };
static const struct field bulk_rows[] = {
	{ "devices", FIELD_LIST, FIELD_REQUIRED, 1, BULK_MAX, .of = &new_row },
	{ "existing", FIELD_TEXT, .choices = existing_names, .help = "keep: those that are there already stay as they are, and are no fault" },
	{ 0 },
};
static const struct field changed_rows[] = {
	{ "id", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_device },
	DEVICE_FIELDS,
};
static const struct field changed_row = { "device", FIELD_OBJECT, .of = changed_rows };
static const struct field changes_rows[] = {
	{ "devices", FIELD_LIST, FIELD_REQUIRED, 1, BULK_MAX, .of = &changed_row },
	{ 0 },
};
static const struct field id_row = { "id", FIELD_TEXT, 0, 1, REGISTRY_NAME_MAX, &rule_device };
static const struct field ids_rows[] = {
	{ "ids", FIELD_LIST, FIELD_REQUIRED, 1, BULK_MAX, .of = &id_row },
	{ 0 },
};
static const struct field result_rows[] = {
	{ "id", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "done", FIELD_BOOL, FIELD_REQUIRED },
	{ "detail", FIELD_TEXT, 0, 1, 1024, .help = "Why not" },
	{ 0 },
};
static const struct field result_row = { "result", FIELD_OBJECT, .of = result_rows };
static const struct field results_rows[] = {
	{ "done", FIELD_INT, FIELD_REQUIRED, 0, BULK_MAX },
	{ "failed", FIELD_INT, FIELD_REQUIRED, 0, BULK_MAX },
	{ "items", FIELD_LIST, FIELD_REQUIRED, 0, BULK_MAX, .of = &result_row, .help = "In the order of the request" },
	{ 0 },
};
static const struct field created_rows[] = {
	{ "created", FIELD_INT, FIELD_REQUIRED, 0, BULK_MAX },
	{ "kept", FIELD_INT, FIELD_REQUIRED, 0, BULK_MAX, .help = "That were there already" },
	{ 0 },
};
static const struct field rows[] = {
	{ "id", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "tenant", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "cn", FIELD_TEXT, FIELD_REQUIRED, 1, 160, .help = "The common name in its certificates" },
	{ "label", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "state", FIELD_TEXT, FIELD_REQUIRED, .choices = state_names },
	{ "templates", FIELD_LIST, FIELD_REQUIRED, 0, REGISTRY_TEMPLATES_MAX, .of = &template_row },
	{ "attributes", FIELD_OBJECT, FIELD_REQUIRED },
	{ "certificate", FIELD_TEXT, FIELD_REQUIRED, .choices = certificate_names, .help = "Whether one is active; else as its newest one is" },
	{ "certificate_until", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "online", FIELD_BOOL, FIELD_REQUIRED },
	{ "since", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "last_seen", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "address", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "status", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "stale", FIELD_BOOL, FIELD_REQUIRED, .help = "It was online by its last status message, and has missed two: status says how it was" },
	{ "created", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "updated", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ 0 },
};
static const struct field totals_rows[] = {
	{ "enabled", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "disabled", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "pending", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "quarantined", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ 0 },
};
static const struct schema totals_schema = { "DeviceTotals", totals_rows };
static const struct schema schema = { "Device", rows }, new_schema = { "NewDevice", new_rows }, change_schema = { "DeviceChange", change_rows },
			   bulk_schema = { "NewDevices", bulk_rows }, created_schema = { "Created", created_rows },
			   changes_schema = { "DeviceChanges", changes_rows }, ids_schema = { "DeviceIds", ids_rows }, results_schema = { "BulkResults", results_rows };

static const struct op ops[] = {
	{ "listDevices", "Devices of the tenant", HTTP_GET, "/api/v1/devices", OP_LIST, 200, list, .query = query, .answer = &schema },
	{ "createDevice", "Make a device; it may connect with a certificate of its name", HTTP_POST, "/api/v1/devices", OP_ONCE, 201, create, .body = &new_schema,
	    .answer = &schema, .example = "{\"id\":\"sensor01\",\"label\":\"Door 3\",\"attributes\":{\"floor\":2}}" },
	{ "createDevices", "Make up to 1000 devices, all or none", HTTP_POST, "/api/v1/devices/bulk", OP_ONCE, 201, create_many, .body = &bulk_schema,
	    .answer = &created_schema, .example = "{\"devices\":[{\"id\":\"sensor02\"},{\"id\":\"sensor03\",\"label\":\"Door 4\"}]}", .body_max = 1024 * 1024 },
	{ "updateDevices", "Change up to 1000 devices, each for itself", HTTP_POST, "/api/v1/devices/bulk/update", OP_ONCE, 200, update_many, .body = &changes_schema,
	    .answer = &results_schema, .example = "{\"devices\":[{\"id\":\"sensor02\",\"state\":\"disabled\"},{\"id\":\"sensor03\",\"label\":\"Door 6\"}]}",
	    .body_max = 1024 * 1024 },
	{ "deleteDevices", "Remove up to 1000 devices, each for itself", HTTP_POST, "/api/v1/devices/bulk/delete", OP_ONCE, 200, delete_many, .body = &ids_schema,
	    .answer = &results_schema, .example = "{\"ids\":[\"sensor02\",\"sensor03\"]}", .body_max = 1024 * 1024 },
	{ "getTotals", "How many devices of the tenant there are in each state", HTTP_GET, "/api/v1/totals", 0, 200, totals, .answer = &totals_schema },
	{ "getDevice", "One device", HTTP_GET, "/api/v1/devices/{device}", 0, 200, get, .answer = &schema },
	{ "updateDevice", "Change a device; one that is not enabled any more is disconnected", HTTP_PATCH, "/api/v1/devices/{device}", OP_MATCH, 200, update,
	    .body = &change_schema, .answer = &schema, .example = "{\"label\":\"Door 5\",\"state\":\"disabled\"}" },
	{ "deleteDevice", "Remove a device: its certificates are revoked, its sessions end", HTTP_DELETE, "/api/v1/devices/{device}", OP_MATCH, 204, delete },
};
const struct op_group group_devices = { "devices", "Devices of a tenant", ops, ARRAY_LEN(ops) };
