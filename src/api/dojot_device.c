/* device-manager's devices: looking at them, actuation, removal. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/broker.h"
#include "api/dojot.h"
#include "base/num.h"
#include "base/text.h"

enum { REASON_CESSATION = 5, WHOLE_MAX = 10000 /* devices that one request shows whole, or removes */, ATTRS_MAX = 100000 /* that they have together */ };

/* ---- lists ---- */

struct listing {
	struct slice part;    /* of the label; empty: any */
	int64_t first, last;  /* of those that fit, from 0: what is kept */
	int64_t n;            /* that fit */
	json_t *ids;
};

static bool
add_id(void *ctx, const struct registry_device *d)
{
	struct listing *l = ctx;

	if (l->part.n > 0 && memmem(d->label.p, d->label.n, l->part.p, l->part.n) == NULL)
		return true;
	l->n++;
	return l->n <= l->first || l->n > l->last || json_array_append_new(l->ids, text_json(d->id)) == 0;
}

static bool
walk(struct call *c, const struct registry_device_filter *f, struct listing *l, bool to_the_end, struct err *err)
{
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };

	do {
		if (!registry_device_list(c->api->registry, f, &page, add_id, l, err))
			return false;
		page.cursor = slice_str(page.next);
	} while (page.next[0] != '\0' && l->n < DOJOT_WALK_MAX && (to_the_end || l->n < l->last));
	return true;
}

/* "label=value" of an attribute, or a value_type. */
static bool
attrs_fit(const json_t *model, struct slice pair, struct slice type)
{
	struct slice label = pair, value = pair;
	bool eq, pair_ok = pair.n == 0, type_ok = type.n == 0;
	json_t *list, *one;
	const char *key;
	size_t i;

	label = slice_cut(&value, '=', &eq);
	json_object_foreach(json_object_get(model, "attrs"), key, list) {
		json_array_foreach(list, i, one) {
			struct slice is = slice_str(json_string_value(json_object_get(one, "label"))), has = slice_str(json_string_value(json_object_get(one, "static_value")));

			pair_ok = pair_ok || (eq && slice_eq(is, label) && slice_eq(has, value));
			type_ok = type_ok || slice_eq(slice_str(json_string_value(json_object_get(one, "value_type"))), type);
		}
	}
	return pair_ok && type_ok;
}

static size_t
count_attrs(const json_t *model)
{
	json_t *list;
	const char *key;
	size_t n = 1;

	json_object_foreach(json_object_get(model, "attrs"), key, list)
		n += json_array_size(list);
	return n;
}

static void
too_many(struct call *c)
{
	dojot_fail(c, 400, "these are more than %d devices, or have more than %d attributes: ask for a smaller page, or use /api/v1/devices", WHOLE_MAX, ATTRS_MAX);
}

/* Devices of <ids> as JSON; those that fit the query's attributes, from <first> on, at most <max>. *ret_n: that fit. NULL: answered; it would
 * be more than memory and time are for. */
static json_t *
models(struct call *c, const json_t *ids, int64_t first, int64_t max, int64_t *ret_n)
{
	struct slice pair = call_query(c, "attr"), type = call_query(c, "attr_type");
	json_t *all = json_array(), *id;
	struct registry_device d;
	size_t i, attrs = 0;

	*ret_n = 0;
	if (all == NULL) {
		dojot_error(c, &(struct err){ .code = ERR_MEMORY, .text = "out of memory" });
		return NULL;
	}
	if (json_array_size(ids) > WHOLE_MAX) {
		json_decref(all);
		too_many(c);
		return NULL;
	}
	json_array_foreach(ids, i, id) {
		json_t *one;

		if (attrs >= ATTRS_MAX) {
			json_decref(all);
			too_many(c);
			return NULL;
		}
		if (!registry_device_get(c->api->registry, call_tenant(c), slice_str(json_string_value(id)), &d, NULL))
			continue;
		one = model_device(c, &d);
		free(d.mem);
		attrs += count_attrs(one);
		if (attrs_fit(one, pair, type) && (*ret_n)++ >= first && *ret_n <= first + max)
			(void)json_array_append(all, one);
		json_decref(one);
	}
	return all;
}

static json_t *
only_ids(json_t *devices)
{
	json_t *ids = json_array(), *one;
	size_t i;

	json_array_foreach(devices, i, one)
		(void)json_array_append(ids, json_object_get(one, "id"));
	json_decref(devices);
	return ids;
}

static int64_t
total(struct call *c)
{
	int64_t of[REGISTRY_DEVICE_STATES], n = 0;

	if (registry_device_totals(c->api->registry, call_tenant(c), of, NULL))
		for (size_t i = 0; i < REGISTRY_DEVICE_STATES; i++)
			n += of[i];
	return n;
}

static void
answer_list(struct call *c, const struct dojot_page *p, struct listing *l, bool by_attr)
{
	bool ids = dojot_switch(c, "idsOnly");
	int64_t n = 0, first = by_attr ? (p->number - 1) * p->size : 0;
	json_t *devices;

	if (ids && !by_attr) {
		call_json(c, 200, json_incref(l->ids));
		return;
	}
	devices = models(c, l->ids, first, p->size, &n);
	if (devices == NULL)
		return;
	if (ids)
		call_json(c, 200, only_ids(devices));
	else
		call_json(c, 200, json_pack("{s:o, s:o}", "pagination", dojot_pagination(p, by_attr ? n : l->n), "devices", devices));
}

/* Numbered pages are found by walking: what lies far in costs, and has a bound. */
static void
list_of(struct call *c, int64_t template)
{
	bool by_attr = call_query(c, "attr").n > 0 || call_query(c, "attr_type").n > 0, paged = call_query(c, "page_num").p != NULL || call_query(c, "page_size").p != NULL;
	struct registry_device_filter f = { .tenant = call_tenant(c), .template = template };
	struct listing l = { .part = call_query(c, "label") };
	struct dojot_page p;
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool filtered = l.part.n > 0 || template != 0, ok;

	if (!dojot_page(c, &p))
		return;
	/* Programs that want all ids say nothing of pages. */
	if (dojot_switch(c, "idsOnly") && !paged)
		p.size = DOJOT_WALK_MAX;
	l.first = by_attr ? 0 : (p.number - 1) * p.size;
	l.last = by_attr ? DOJOT_WALK_MAX : l.first + p.size;
	l.ids = json_array();
	f.order = slice_eq(call_query(c, "sortBy"), SL("label")) ? REGISTRY_BY_LABEL : REGISTRY_BY_ID;
	ok = l.ids != NULL && walk(c, &f, &l, filtered || by_attr, &err);
	if (ok && !filtered)
		l.n = total(c);
	if (ok)
		answer_list(c, &p, &l, by_attr);
	else
		dojot_error(c, &err);
	json_decref(l.ids);
}

static bool
template_number(struct call *c, struct slice s, int64_t *ret)
{
	struct registry_template t;
	char shown[80];
	uint64_t id;

	if (text_u64(s, 1, INT64_MAX, &id) && registry_template_get(c->api->registry, call_tenant(c), (int64_t)id, &t, NULL)) {
		free(t.mem);
		*ret = (int64_t)id;
		return true;
	}
	dojot_fail(c, 404, "No such template: %s", text_show(s, shown, sizeof(shown)));
	return false;
}

static void
list(struct call *c)
{
	uint64_t id;

	list_of(c, text_u64(call_query(c, "template"), 1, INT64_MAX, &id) ? (int64_t)id : 0);
}

static void
list_of_template(struct call *c)
{
	int64_t id;

	if (template_number(c, c->params[0], &id))
		list_of(c, id);
}

static void
get(struct call *c)
{
	struct registry_device d;

	if (!model_load(c, &d))
		return;
	call_json(c, 200, model_device(c, &d));
	free(d.mem);
}

/* ---- templates of one ---- */

static void
store(struct call *c, struct registry_device *d)
{
	struct err err;
	bool ok = model_store(c, d, &err);

	free(d->mem);
	if (ok)
		model_answer(c);
	else
		dojot_error(c, &err);
}

static void
add_template(struct call *c)
{
	struct registry_device d;
	int64_t id;

	if (!template_number(c, c->params[1], &id) || !model_load(c, &d))
		return;
	for (size_t i = 0; i < d.n_templates; i++)
		if (d.templates[i] == id) {
			free(d.mem);
			dojot_fail(c, 400, "Device %.*s has template %" PRId64 " already", SL_ARG(c->params[0]), id);
			return;
		}
	if (d.n_templates == REGISTRY_TEMPLATES_MAX) {
		free(d.mem);
		dojot_fail(c, 400, "a device has at most %d templates", REGISTRY_TEMPLATES_MAX);
		return;
	}
	d.templates[d.n_templates++] = id;
	store(c, &d);
}

static void
remove_template(struct call *c)
{
	struct registry_device d;
	size_t i = 0;
	int64_t id;

	if (!template_number(c, c->params[1], &id) || !model_load(c, &d))
		return;
	while (i < d.n_templates && d.templates[i] != id)
		i++;
	if (i == d.n_templates) {
		free(d.mem);
		dojot_fail(c, 404, "Device %.*s is not associated with template %" PRId64, SL_ARG(c->params[0]), id);
		return;
	}
	memmove(&d.templates[i], &d.templates[i + 1], (--d.n_templates - i) * sizeof(d.templates[0]));
	store(c, &d);
}

/* ---- actuation ---- */

/* dojot's key begins with a blank; whoever reads the right one finds it, too. */
static void
on_sent(struct call *c, const json_t *answer)
{
	static const char text[] = "configuration sent to device";

	call_json(c, 200, json_pack("{s:s, s:s, s:b}", " status", text, "status", text, "subscribers", json_is_true(json_object_get(answer, "subscribers"))));
}

static json_t *
not_actuators(const json_t *model, json_t *attrs)
{
	json_t *wrong = json_array(), *v;
	const char *key;

	json_object_foreach(attrs, key, v)
		if (!model_has_actuator(model, key))
			(void)json_array_append_new(wrong, json_string(key));
	return wrong;
}

static void
actuate(struct call *c)
{
	json_t *attrs = json_object_get(c->body, "attrs"), *model, *wrong;
	struct registry_device d;

	if (!json_is_object(attrs)) {
		dojot_fail(c, 400, "Payload must be valid JSON, with an object \"attrs\"");
		return;
	}
	if (!model_load(c, &d))
		return;
	model = model_device(c, &d);
	wrong = not_actuators(model, attrs);
	json_decref(model);
	if (json_array_size(wrong) > 0) {
		call_json(c, 403, json_pack("{s:s, s:o}", "status", "some of the attributes are not configurable", "attrs", wrong));
	} else {
		json_decref(wrong);
		call_actuate(c, &d, attrs, on_sent);
	}
	free(d.mem);
}

/* ---- removal ---- */

static void
delete(struct call *c)
{
	struct registry_device d;
	struct err err;
	json_t *model;
	bool ok;

	if (!model_load(c, &d))
		return;
	model = model_device(c, &d);
	ok = registry_device_remove(c->api->registry, d.tenant, d.id, REASON_CESSATION, NULL, &err);
	free(d.mem);
	if (!ok) {
		json_decref(model);
		dojot_error(c, &err);
		return;
	}
	lists_due(c->api);
	call_json(c, 200, json_pack("{s:s, s:o}", "result", "ok", "removed_device", model));
}

/* All or none, with all that the removal of one does. */
static void
delete_all(struct call *c)
{
	struct registry_device_filter f = { .tenant = call_tenant(c) };
	struct registry *r = c->api->registry;
	struct listing l = { .last = WHOLE_MAX };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	json_t *devices, *id;
	int64_t n;
	size_t i;
	bool ok;

	if (total(c) > WHOLE_MAX) {
		dojot_fail(c, 400, "there are more than %d devices: remove them one by one, or the tenant's with /api/v1", WHOLE_MAX);
		return;
	}
	l.ids = json_array();
	ok = l.ids != NULL && walk(c, &f, &l, true, &err);
	devices = ok ? models(c, l.ids, 0, WHOLE_MAX, &n) : NULL;
	if (ok && devices == NULL) {
		json_decref(l.ids);
		return;
	}
	ok = ok && registry_begin(r, &err);
	json_array_foreach(l.ids, i, id) {
		ok = ok && registry_device_remove(r, call_tenant(c), slice_str(json_string_value(id)), REASON_CESSATION, NULL, &err);
		call_name(c, slice_str(json_string_value(id)));
	}
	json_decref(l.ids);
	if (ok && registry_commit(r, &err)) {
		lists_due(c->api);
		call_json(c, 200, json_pack("{s:s, s:o}", "result", "ok", "removed_devices", devices));
		return;
	}
	registry_rollback(r);
	json_decref(devices);
	dojot_error(c, &err);
}

#define ONE "/device/{device}"
static const struct op ops[] = {
	{ "dojotListDevices", "Devices", HTTP_GET, "/device", OP_DOJOT, 200, list },
	{ "dojotCreateDevices", "Make devices", HTTP_POST, "/device", OP_DOJOT, 200, model_create },
	{ "dojotDeleteDevices", "Remove all devices", HTTP_DELETE, "/device", OP_DOJOT, 200, delete_all },
	{ "dojotGetDevice", "One device", HTTP_GET, ONE, OP_DOJOT, 200, get },
	{ "dojotUpdateDevice", "Change a device", HTTP_PUT, ONE, OP_DOJOT, 200, model_update },
	{ "dojotDeleteDevice", "Remove a device", HTTP_DELETE, ONE, OP_DOJOT, 200, delete },
	{ "dojotActuate", "A command for a device", HTTP_PUT, ONE "/actuate", OP_DOJOT, 200, actuate },
	{ "dojotAddTemplate", "Give a device a template", HTTP_POST, ONE "/template/{template}", OP_DOJOT, 200, add_template },
	{ "dojotRemoveTemplate", "Take a template from a device", HTTP_DELETE, ONE "/template/{template}", OP_DOJOT, 200, remove_template },
	{ "dojotListDevicesOfTemplate", "Devices of a template", HTTP_GET, "/device/template/{template}", OP_DOJOT, 200, list_of_template },
};
const struct op_group group_dojot_device = { "dojot-device", "device-manager's devices", ops, ARRAY_LEN(ops) };
