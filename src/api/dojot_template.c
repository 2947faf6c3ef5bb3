/* device-manager's templates. */
#include "api/dojot.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

/* False: answered. */
static bool
load(struct call *c, struct registry_template *ret)
{
	char shown[80];
	uint64_t id;

	if (text_u64(c->params[0], 1, INT64_MAX, &id) && registry_template_get(c->api->registry, call_tenant(c), (int64_t)id, ret, NULL))
		return true;
	dojot_fail(c, 404, "No such template: %s", text_show(c->params[0], shown, sizeof(shown)));
	return false;
}

/* ---- lists ---- */

struct listing {
	const struct call *call;
	const struct dojot_page *page;
	json_t *items;
	int64_t n; /* that fit */
};

static bool
fits(const struct call *c, const struct registry_template *t)
{
	struct slice part = call_query(c, "label");

	return part.n == 0 || memmem(t->label.p, t->label.n, part.p, part.n) != NULL;
}

static bool
add_row(void *ctx, const struct registry_template *t)
{
	struct listing *l = ctx;
	int64_t first = (l->page->number - 1) * l->page->size;

	if (!fits(l->call, t))
		return true;
	l->n++;
	if (l->n <= first || l->n > first + l->page->size)
		return true;
	return json_array_append_new(l->items, model_template(t, call_query(l->call, "attr_format"))) == 0;
}

static void
list(struct call *c)
{
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	struct dojot_page p;
	struct listing l = { c, &p, NULL, 0 };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok;

	if (!dojot_page(c, &p))
		return;
	l.items = json_array();
	ok = l.items != NULL;
	do {
		ok = ok && registry_template_list(c->api->registry, call_tenant(c), (struct slice){ 0 }, &page, add_row, &l, &err);
		page.cursor = slice_str(page.next);
	} while (ok && page.next[0] != '\0' && l.n < DOJOT_WALK_MAX);
	if (ok) {
		call_json(c, 200, json_pack("{s:o, s:o}", "pagination", dojot_pagination(&p, l.n), "templates", l.items));
		return;
	}
	json_decref(l.items);
	dojot_error(c, &err);
}

static void
get(struct call *c)
{
	struct registry_template t;

	if (!load(c, &t))
		return;
	call_json(c, 200, model_template(&t, call_query(c, "attr_format")));
	free(t.mem);
}

/* ---- changes ---- */

/* Label and attributes of the body into <t>; *ret_attrs: free(). False: answered. */
static bool
read_body(struct call *c, struct registry_template *t, char **ret_attrs)
{
	json_t *attrs = json_object_get(c->body, "attrs"), *old, *kept;
	const char *why = "";

	if (dojot_text(c, "label") == NULL || call_text(c, "label").n == 0) {
		call_json(c, 400, json_pack("{s:s, s:{s:[s]}}", "message", "failed to parse input", "errors", "label", "Missing data for required field."));
		return false;
	}
	old = model_kept(t->attrs, true);
	kept = attrs != NULL ? model_attrs(c, attrs, old, &why) : json_array();
	json_decref(old);
	*ret_attrs = kept != NULL ? json_dumps(kept, JSON_COMPACT) : NULL;
	json_decref(kept);
	t->label = call_text(c, "label");
	t->attrs = slice_str(*ret_attrs);
	if (*ret_attrs != NULL)
		return true;
	if (why[0] != '\0')
		call_json(c, 400, json_pack("{s:s, s:{s:[s]}}", "message", "failed to parse attr", "errors", "attrs", why));
	else
		call_json(c, 503, NULL);
	return false;
}

static void
answer(struct call *c, int64_t id, const char *as)
{
	struct registry_template t;
	struct err err;

	if (!registry_template_get(c->api->registry, call_tenant(c), id, &t, &err)) {
		dojot_error(c, &err);
		return;
	}
	call_json(c, 200, json_pack("{s:s, s:o}", "result", "ok", as, model_template(&t, SL("both"))));
	free(t.mem);
}

static void
create(struct call *c)
{
	struct registry_template t = { .tenant = call_tenant(c) };
	struct err err;
	int64_t id = 0;
	char *attrs;
	bool ok;

	if (!dojot_body(c, DOJOT_DEVICE_BODY) || !read_body(c, &t, &attrs))
		return;
	ok = registry_template_add(c->api->registry, &t, &id, &err);
	free(attrs);
	call_name_number(c, id);
	if (ok)
		answer(c, id, "template");
	else
		dojot_error(c, &err);
}

static void
update(struct call *c)
{
	struct registry_template t;
	struct err err;
	char *attrs;
	bool ok;

	if (!dojot_body(c, DOJOT_DEVICE_BODY) || !load(c, &t))
		return;
	if (!read_body(c, &t, &attrs)) {
		free(t.mem);
		return;
	}
	ok = registry_template_set(c->api->registry, &t, &err);
	free(attrs);
	free(t.mem);
	if (ok)
		answer(c, t.id, "updated");
	else
		dojot_error(c, &err);
}

static void
refuse_removal(struct call *c, const struct err *err)
{
	if (err->code == ERR_DENIED)
		dojot_fail(c, 400, "Templates cannot be removed as they are being used by devices");
	else
		dojot_error(c, err);
}

static void
delete(struct call *c)
{
	struct registry_template t;
	struct err err;
	json_t *removed;

	if (!load(c, &t))
		return;
	removed = model_template(&t, SL("both"));
	free(t.mem);
	if (registry_template_remove(c->api->registry, call_tenant(c), t.id, &err)) {
		call_json(c, 200, json_pack("{s:s, s:o}", "result", "ok", "removed", removed));
		return;
	}
	json_decref(removed);
	refuse_removal(c, &err);
}

static bool
add_all(void *ctx, const struct registry_template *t)
{
	return json_array_append_new(ctx, model_template(t, SL("both"))) == 0;
}

/* All or none; of so many that nobody would read the answer, none. */
static void
delete_all(struct call *c)
{
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	struct registry *r = c->api->registry;
	json_t *all = json_array(), *one;
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	size_t i;
	bool ok = all != NULL && registry_begin(r, &err) && registry_template_list(r, call_tenant(c), (struct slice){ 0 }, &page, add_all, all, &err);

	if (ok && page.next[0] != '\0')
		ok = err_set(&err, ERR_INPUT, "there are more than %d templates: remove them one by one", REGISTRY_PAGE_MAX);
	json_array_foreach(all, i, one) {
		ok = ok && registry_template_remove(r, call_tenant(c), json_integer_value(json_object_get(one, "id")), &err);
		call_name_number(c, json_integer_value(json_object_get(one, "id")));
	}
	if (ok && registry_commit(r, &err)) {
		call_json(c, 200, json_pack("{s:s, s:o}", "result", "ok", "removed", all));
		return;
	}
	registry_rollback(r);
	json_decref(all);
	refuse_removal(c, &err);
}

static const struct op ops[] = {
	{ "dojotListTemplates", "Templates", HTTP_GET, "/template", OP_DOJOT, 200, list },
	{ "dojotCreateTemplate", "Make a template", HTTP_POST, "/template", OP_DOJOT, 200, create },
	{ "dojotDeleteTemplates", "Remove all templates", HTTP_DELETE, "/template", OP_DOJOT, 200, delete_all },
	{ "dojotGetTemplate", "One template", HTTP_GET, "/template/{template}", OP_DOJOT, 200, get },
	{ "dojotUpdateTemplate", "Change a template", HTTP_PUT, "/template/{template}", OP_DOJOT, 200, update },
	{ "dojotDeleteTemplate", "Remove a template", HTTP_DELETE, "/template/{template}", OP_DOJOT, 200, delete },
};
const struct op_group group_dojot_template = { "dojot-template", "device-manager's templates", ops, ARRAY_LEN(ops) };
