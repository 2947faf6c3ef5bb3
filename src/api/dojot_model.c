/* Templates and devices in the form of dojot's device-manager. What a device has of its own stands in its attributes under the label of the
 * template's attribute that it overrides. */
#include "api/dojot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

enum { ATTRS_MAX = 256, LABEL_MAX = 128 };

json_t *
model_kept(struct slice s, bool list)
{
	json_t *v = s.n > 0 ? json_loadb((const char *)s.p, s.n, 0, NULL) : NULL;

	if (list ? json_is_array(v) : json_is_object(v))
		return v;
	json_decref(v);
	return list ? json_array() : json_object();
}

/* ---- attributes that come in ---- */

static const char *
text_of(const json_t *v, const char *name)
{
	return json_string_value(json_object_get(v, name));
}

static bool
label_ok(const char *s)
{
	size_t n = s != NULL ? strlen(s) : 0;

	return n > 0 && n <= LABEL_MAX && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}

static const json_t *
with_label(const json_t *list, const char *label)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one) {
		const char *other = text_of(one, "label");

		if (other != NULL && strcmp(other, label) == 0)
			return one;
	}
	return NULL;
}

/* NULL: it is as it should be. */
static const char *
attr_fault(const json_t *v, bool meta)
{
	const char *type = text_of(v, "type"), *value_type = text_of(v, "value_type"), *label = text_of(v, "label");

	if (!json_is_object(v) || label == NULL || type == NULL || value_type == NULL)
		return "an attribute has label, type and value_type";
	if (meta ? label[0] == '\0' || strlen(label) > LABEL_MAX : !label_ok(label))
		return "Labels must contain letters, numbers or dashes(-_)";
	if (strlen(type) > 32 || strlen(value_type) > 32)
		return "type and value_type have at most 32 characters";
	return NULL;
}

/* What is kept of one: nothing that we do not know. */
static json_t *
one_attr(const json_t *v, int64_t id)
{
	static const char *const kept[] = { "label", "type", "value_type", "static_value" };
	json_t *out = json_pack("{s:I}", "id", (json_int_t)id), *x;

	for (size_t i = 0; out != NULL && i < ARRAY_LEN(kept); i++) {
		x = json_object_get(v, kept[i]);
		if (x != NULL && !json_is_null(x))
			(void)json_object_set(out, kept[i], x);
	}
	return out;
}

/* Those of <attrs>, each with a number: of <old> where that has the label, else from *next on. */
static json_t *
numbered(const json_t *attrs, const json_t *old, bool meta, int64_t *next, const char **ret_why)
{
	json_t *out = json_array(), *one, *made, *inner;
	size_t i;

	json_array_foreach(attrs, i, one) {
		const char *fault = attr_fault(one, meta);
		const json_t *before = fault == NULL ? with_label(old, text_of(one, "label")) : NULL;

		if (fault == NULL && with_label(out, text_of(one, "label")) != NULL)
			fault = "a template can not have repeated attributes";
		made = fault == NULL ? one_attr(one, before != NULL ? json_integer_value(json_object_get(before, "id")) : (*next)++) : NULL;
		inner = made != NULL && !meta && json_is_array(json_object_get(one, "metadata"))
			    ? numbered(json_object_get(one, "metadata"), json_object_get(before, "metadata"), true, next, &fault) : NULL;
		if (inner != NULL)
			(void)json_object_set_new(made, "metadata", inner);
		if (fault != NULL || json_array_append_new(out, made) != 0) {
			if (fault != NULL)
				json_decref(made);
			json_decref(out);
			*ret_why = fault != NULL ? fault : "";
			return NULL;
		}
	}
	return out;
}

static size_t
count(const json_t *attrs)
{
	size_t n = json_array_size(attrs), i;
	json_t *one;

	json_array_foreach(attrs, i, one)
		n += json_array_size(json_object_get(one, "metadata"));
	return n;
}

json_t *
model_attrs(struct call *c, const json_t *attrs, const json_t *old, const char **ret_why)
{
	size_t n = count(attrs);
	int64_t next = 0;

	*ret_why = "";
	if (!json_is_array(attrs))
		*ret_why = "attrs is a list";
	else if (n > ATTRS_MAX)
		*ret_why = "a template has at most 256 attributes";
	else if (n == 0 || registry_attr_ids(c->api->registry, (unsigned)n, &next, NULL))
		return numbered(attrs, old, false, &next, ret_why);
	return NULL;
}

/* ---- as they go out ---- */

static json_t *
shown_attr(const json_t *v, const struct registry_template *t)
{
	json_t *out = json_deep_copy(v);

	if (out != NULL) {
		(void)json_object_set_new(out, "template_id", json_sprintf("%" PRId64, t->id));
		(void)json_object_set_new(out, "created", dojot_time(t->created));
	}
	return out;
}

static bool
is_data(const json_t *v)
{
	const char *type = text_of(v, "type");

	return type != NULL && (strcmp(type, "static") == 0 || strcmp(type, "dynamic") == 0 || strcmp(type, "actuator") == 0);
}

json_t *
model_template(const struct registry_template *t, struct slice format)
{
	bool split = !slice_eq(format, SL("single")), single = !slice_eq(format, SL("split"));
	json_t *kept = model_kept(t->attrs, true), *all = json_array(), *data = json_array(), *config = json_array(), *one, *out;
	size_t i;

	json_array_foreach(kept, i, one) {
		json_t *shown = shown_attr(one, t);

		(void)json_array_append(is_data(one) ? data : config, shown);
		(void)json_array_append_new(all, shown);
	}
	json_decref(kept);
	out = json_pack("{s:I, s:o, s:o}", "id", (json_int_t)t->id, "label", text_json(t->label), "created", dojot_time(t->created));
	if (out != NULL && t->updated != t->created)
		(void)json_object_set_new(out, "updated", dojot_time(t->updated));
	if (out != NULL && single)
		(void)json_object_set(out, "attrs", all);
	if (out != NULL && split) {
		(void)json_object_set(out, "data_attrs", data);
		(void)json_object_set(out, "config_attrs", config);
	}
	json_decref(all);
	json_decref(data);
	json_decref(config);
	return out;
}

/* The attributes of one template, with the device's own values. */
static json_t *
attrs_of(const struct registry_template *t, const json_t *own)
{
	json_t *kept = model_kept(t->attrs, true), *out = json_array(), *one;
	size_t i;

	json_array_foreach(kept, i, one) {
		json_t *shown = shown_attr(one, t), *value = json_object_get(own, text_of(one, "label") != NULL ? text_of(one, "label") : "");

		if (value != NULL && !json_is_null(value)) {
			(void)json_object_set(shown, "static_value", value);
			(void)json_object_set_new(shown, "is_static_overridden", json_true());
		} else if (json_object_get(one, "static_value") != NULL) {
			(void)json_object_set_new(shown, "is_static_overridden", json_false());
		}
		(void)json_array_append_new(out, shown);
	}
	json_decref(kept);
	return out;
}

json_t *
model_device(struct call *c, const struct registry_device *d)
{
	json_t *own = model_kept(d->attrs, false), *templates = json_array(), *attrs = json_object(), *out;
	struct registry_template t;
	char key[24];

	for (size_t i = 0; i < d->n_templates; i++) {
		if (!registry_template_get(c->api->registry, d->tenant, d->templates[i], &t, NULL))
			continue;
		(void)snprintf(key, sizeof(key), "%" PRId64, t.id);
		(void)json_array_append_new(templates, json_integer(t.id));
		(void)json_object_set_new(attrs, key, attrs_of(&t, own));
		free(t.mem);
	}
	json_decref(own);
	out = json_pack("{s:o, s:o, s:o, s:o, s:o, s:b}", "id", text_json(d->id), "label", text_json(d->label), "created", dojot_time(d->created), "templates",
	    templates, "attrs", attrs, "disabled", d->state != REGISTRY_ENABLED);
	if (out != NULL && d->updated != d->created)
		(void)json_object_set_new(out, "updated", dojot_time(d->updated));
	return out;
}

bool
model_has_actuator(const json_t *model, const char *label)
{
	json_t *list, *one;
	const char *key;
	size_t i;

	json_object_foreach(json_object_get(model, "attrs"), key, list) {
		json_array_foreach(list, i, one) {
			const char *is = text_of(one, "label"), *type = text_of(one, "type");

			if (is != NULL && type != NULL && strcmp(is, label) == 0 && strcmp(type, "actuator") == 0)
				return true;
		}
	}
	return false;
}
