/* Templates: what devices of a kind have in common. A template's attributes are kept in registry_template.attrs as
 * [{"id":1,"label":"fan","type":"actuator","value_type":"integer","static_value":…}, …]: also for those who show them otherwise. */
#include "api/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

enum { ATTRIBUTES_MAX = 256 };

static json_t *
template_json(const struct registry_template *t)
{
	json_t *attributes = t->attrs.n > 0 ? json_loadb((const char *)t->attrs.p, t->attrs.n, 0, NULL) : NULL;

	return json_pack("{s:I, s:o, s:o, s:o, s:I, s:o, s:o}", "id", (json_int_t)t->id, "tenant", text_json(t->tenant), "label", text_json(t->label),
	    "attributes", attributes != NULL ? attributes : json_array(), "devices", (json_int_t)t->devices, "created", time_json(t->created), "updated",
	    time_json(t->updated));
}

static bool
add_row(void *ctx, const struct registry_template *t)
{
	return json_array_append_new(ctx, template_json(t)) == 0;
}

static void
list(struct call *c)
{
	struct registry_page page = call_page(c);
	json_t *items = json_array();
	struct err err;
	bool ok = items == NULL || registry_template_list(c->api->registry, call_tenant(c), call_query(c, "prefix"), &page, add_row, items, &err);

	call_listed(c, ok, items, &page, &err);
}

static bool
load(struct call *c, int64_t id, struct registry_template *ret)
{
	struct err err;

	return call_found(c, registry_template_get(c->api->registry, call_tenant(c), id, ret, &err), &ret->version, &err);
}

static void
show(struct call *c, int64_t id, unsigned status)
{
	struct registry_template t;

	if (!load(c, id, &t))
		return;
	call_json(c, status, template_json(&t));
	free(t.mem);
}

static void
get(struct call *c)
{
	show(c, call_param_int(c, 0), 200);
}

/* ---- attributes ---- */

static bool
labels_differ(json_t *attributes, struct faults *f)
{
	json_t *seen = json_object(), *one;
	char pointer[40];
	size_t i;

	f->failed = seen == NULL;
	json_array_foreach(attributes, i, one) {
		const char *label = json_string_value(json_object_get(one, "label"));

		(void)snprintf(pointer, sizeof(pointer), "/attributes/%zu/label", i);
		if (json_object_get(seen, label) != NULL)
			fault_add(f, pointer, "stands there twice");
		else if (json_object_set_new(seen, label, json_true()) != 0)
			f->failed = true;
	}
	json_decref(seen);
	return f->list == NULL && !f->failed;
}

static json_t *
with_label(const json_t *attributes, const char *label)
{
	json_t *one;
	size_t i;

	json_array_foreach(attributes, i, one) {
		const char *other = json_string_value(json_object_get(one, "label"));

		if (other != NULL && strcmp(other, label) == 0)
			return one;
	}
	return NULL;
}

/* An attribute that was there keeps its number; the others get new ones. */
static bool
number(struct call *c, json_t *attributes, const json_t *before, struct err *err)
{
	unsigned fresh = 0;
	int64_t next = 0;
	json_t *one;
	size_t i;

	for (unsigned round = 0; round < 2; round++) {
		json_array_foreach(attributes, i, one) {
			json_t *old = with_label(before, json_string_value(json_object_get(one, "label")));
			json_t *id = old != NULL ? json_incref(json_object_get(old, "id")) : NULL;

			fresh += round == 0 && id == NULL;
			if (round == 1 && id == NULL)
				id = json_integer(next++);
			if (id != NULL && json_object_set_new(one, "id", id) != 0)
				return err_set(err, ERR_MEMORY, "out of memory");
		}
		if (round == 0 && fresh > 0 && !registry_attr_ids(c->api->registry, fresh, &next, err))
			return false;
	}
	return true;
}

/* What the body says, over what <t> has. *ret_attrs: free(). */
static bool
read_body(struct call *c, struct registry_template *t, char **ret_attrs, struct err *err)
{
	json_t *attributes = json_object_get(c->body, "attributes"), *before;
	bool ok;

	*ret_attrs = NULL;
	if (call_has(c, "label"))
		t->label = call_text(c, "label");
	if (attributes == NULL)
		return true;
	before = t->attrs.n > 0 ? json_loadb((const char *)t->attrs.p, t->attrs.n, 0, NULL) : NULL;
	ok = number(c, attributes, before, err);
	json_decref(before);
	if (!ok)
		return false;
	*ret_attrs = json_dumps(attributes, JSON_COMPACT);
	if (*ret_attrs == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	t->attrs = slice_str(*ret_attrs);
	return true;
}

/* False: answered. */
static bool
check(struct call *c)
{
	struct faults f = { 0 };

	if (labels_differ(json_object_get(c->body, "attributes"), &f))
		return true;
	call_faults(c, 422, &f);
	return false;
}

/* ---- changes ---- */

static void
create(struct call *c)
{
	struct registry_template t = { .tenant = call_tenant(c) };
	struct err err;
	char *attrs, text[24];
	int64_t id = 0;
	bool ok;

	if (!check(c))
		return;
	ok = read_body(c, &t, &attrs, &err) && registry_template_add(c->api->registry, &t, &id, &err);
	free(attrs);
	if (!ok) {
		call_error(c, &err);
		return;
	}
	(void)snprintf(text, sizeof(text), "%lld", (long long)id);
	call_location(c, "/api/v1/templates/", slice_str(text));
	show(c, id, 201);
}

static void
update(struct call *c)
{
	struct registry_template t;
	struct err err;
	char *attrs = NULL;
	bool ok;

	if (!check(c) || !load(c, call_param_int(c, 0), &t))
		return;
	if (!call_if_match(c, t.version)) {
		free(t.mem);
		return;
	}
	ok = read_body(c, &t, &attrs, &err) && registry_template_set(c->api->registry, &t, &err);
	free(attrs);
	free(t.mem);
	if (ok)
		get(c);
	else
		call_error(c, &err);
}

static void
delete(struct call *c)
{
	int64_t id = call_param_int(c, 0);
	struct registry_template t;
	struct err err;
	bool match;

	if (!load(c, id, &t))
		return;
	match = call_if_match(c, t.version);
	free(t.mem);
	if (match)
		call_done(c, registry_template_remove(c->api->registry, call_tenant(c), id, &err), &err);
}

/* ---- tables ---- */

static const char *const type_names[] = { "dynamic", "static", "actuator", "meta", NULL };
#define ATTRIBUTE_FIELDS \
	{ "label", FIELD_TEXT, FIELD_REQUIRED, 1, 64, &rule_label }, \
	{ "type", FIELD_TEXT, FIELD_REQUIRED, .choices = type_names, \
	    .help = "dynamic: the device says it; actuator: it is told the device; static: the same for all devices; meta: about the template" }, \
	{ "value_type", FIELD_TEXT, FIELD_REQUIRED, 1, 64, &rule_plain, .help = "float, integer, string, bool, geo:point, …" }, \
	{ "static_value", FIELD_ANY, .help = "Of static and meta ones" }
static const struct field attribute_rows[] = {
	ATTRIBUTE_FIELDS,
	{ 0 },
};
static const struct field shown_attribute_rows[] = {
	{ "id", FIELD_INT, FIELD_REQUIRED, 1, INT64_MAX, .help = "Never used twice" },
	ATTRIBUTE_FIELDS,
	{ 0 },
};
static const struct field attribute_row = { "attribute", FIELD_OBJECT, .of = attribute_rows },
			  shown_attribute_row = { "attribute", FIELD_OBJECT, .of = shown_attribute_rows };
static const struct field new_rows[] = {
	{ "label", FIELD_TEXT, FIELD_REQUIRED, 1, 200, &rule_plain },
	{ "attributes", FIELD_LIST, 0, 0, ATTRIBUTES_MAX, .of = &attribute_row },
	{ 0 },
};
static const struct field change_rows[] = {
	{ "label", FIELD_TEXT, 0, 1, 200, &rule_plain },
	{ "attributes", FIELD_LIST, 0, 0, ATTRIBUTES_MAX, .of = &attribute_row, .help = "All of them; who is not named any more goes" },
	{ 0 },
};
static const struct field rows[] = {
	{ "id", FIELD_INT, FIELD_REQUIRED, 1, INT64_MAX },
	{ "tenant", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "label", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "attributes", FIELD_LIST, FIELD_REQUIRED, 0, 4096, .of = &shown_attribute_row },
	{ "devices", FIELD_INT, FIELD_REQUIRED, 0, REGISTRY_PAGE_MAX, .help = "How many devices have it; counted up to 1000" },
	{ "created", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "updated", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ 0 },
};
static const struct field query[] = {
	{ "prefix", FIELD_TEXT, .min = 1, .max = 200, .rule = &rule_plain, .help = "Only labels that begin so" },
	{ 0 },
};
static const struct schema schema = { "Template", rows }, new_schema = { "NewTemplate", new_rows }, change_schema = { "TemplateChange", change_rows };
#define ONE "/api/v1/templates/{template}"

static const struct op ops[] = {
	{ "listTemplates", "Templates of the tenant", HTTP_GET, "/api/v1/templates", OP_LIST, 200, list, .query = query, .answer = &schema },
	{ "createTemplate", "Make a template", HTTP_POST, "/api/v1/templates", OP_ONCE, 201, create, .body = &new_schema, .answer = &schema,
	    .example = "{\"label\":\"Door\",\"attributes\":[{\"label\":\"open\",\"type\":\"dynamic\",\"value_type\":\"bool\"},"
		       "{\"label\":\"lock\",\"type\":\"actuator\",\"value_type\":\"bool\"},"
		       "{\"label\":\"maker\",\"type\":\"static\",\"value_type\":\"string\",\"static_value\":\"Acme\"}]}" },
	{ "getTemplate", "One template", HTTP_GET, ONE, 0, 200, get, .answer = &schema },
	{ "updateTemplate", "Change a template", HTTP_PATCH, ONE, OP_MATCH, 200, update, .body = &change_schema, .answer = &schema,
	    .example = "{\"label\":\"Door, 2nd edition\"}" },
	{ "deleteTemplate", "Remove a template that no device has", HTTP_DELETE, ONE, OP_MATCH, 204, delete },
};
const struct op_group group_templates = { "templates", "What devices of a kind have in common", ops, ARRAY_LEN(ops) };
