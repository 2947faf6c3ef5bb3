/* device-manager's devices: making and changing them. */
#include "api/dojot.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { COUNT_MAX = 1000, ID_TRIES = 10, ID_CAP = 16, LABEL_CAP = REGISTRY_LABEL_MAX + 16 };

/* ---- what a body says ---- */

static bool
input_fault(struct call *c, const char *member, const char *what)
{
	call_json(c, 400, json_pack("{s:s, s:{s:[s]}}", "message", "failed to parse input", "errors", member, what));
	return false;
}

static bool
read_id(const json_t *v, int64_t *ret)
{
	const char *s = json_string_value(v);
	uint64_t n;

	if (json_is_integer(v) && json_integer_value(v) > 0) {
		*ret = json_integer_value(v);
		return true;
	}
	if (s == NULL || !text_u64(slice_str(s), 1, INT64_MAX, &n))
		return false;
	*ret = (int64_t)n;
	return true;
}

/* Numbers, or texts of them; each must be there. False: answered. */
static bool
read_templates(struct call *c, struct registry_device *d)
{
	json_t *list = json_object_get(c->body, "templates"), *one;
	struct registry_template t;
	size_t i;

	if (!json_is_array(list))
		return input_fault(c, "templates", "Missing data for required field.");
	if (json_array_size(list) > REGISTRY_TEMPLATES_MAX)
		return input_fault(c, "templates", "a device has at most 32 templates");
	d->n_templates = 0;
	json_array_foreach(list, i, one) {
		char *shown = NULL;

		if (read_id(one, &d->templates[i]) && registry_template_get(c->api->registry, call_tenant(c), d->templates[i], &t, NULL)) {
			free(t.mem);
			d->n_templates++;
			continue;
		}
		shown = json_dumps(one, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
		dojot_fail(c, 404, "No such template: %.80s", shown != NULL ? shown : "");
		free(shown);
		return false;
	}
	return true;
}

/* The templates' attributes in one list, as the registry keeps them. */
static json_t *
known_attrs(struct call *c, const struct registry_device *d)
{
	json_t *all = json_array();
	struct registry_template t;

	for (size_t i = 0; i < d->n_templates; i++) {
		json_t *some;

		if (!registry_template_get(c->api->registry, call_tenant(c), d->templates[i], &t, NULL))
			continue;
		some = model_kept(t.attrs, true);
		(void)json_array_extend(all, some);
		json_decref(some);
		free(t.mem);
	}
	return all;
}

/* By its number, or by its label where no number is given. */
static const char *
attr_label(const json_t *known, const json_t *attr)
{
	const char *label = json_string_value(json_object_get(attr, "label"));
	json_t *id = json_object_get(attr, "id"), *one;
	int64_t wanted = 0;
	size_t i;

	if (id != NULL && !read_id(id, &wanted))
		return NULL;
	json_array_foreach(known, i, one) {
		const char *is = json_string_value(json_object_get(one, "label"));

		if (is != NULL && (id != NULL ? json_integer_value(json_object_get(one, "id")) == wanted : label != NULL && strcmp(is, label) == 0))
			return is;
	}
	return NULL;
}

/* One list of a device's own values into <own>. False: answered. */
static bool
take_values(struct call *c, const json_t *known, const json_t *list, json_t *own)
{
	json_t *attr;
	size_t i;

	json_array_foreach(list, i, attr) {
		json_t *value = json_object_get(attr, "static_value"), *id = json_object_get(attr, "id");
		const char *label = attr_label(known, attr);

		if (label == NULL) {
			char *shown = json_dumps(id, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

			dojot_fail(c, 400, "Unknown attribute %.80s in override list", shown != NULL ? shown : "without id");
			free(shown);
			return false;
		}
		if (value != NULL && !json_is_null(value))
			(void)json_object_set(own, label, value);
	}
	return true;
}

/* The device's own values: <before> without those of its templates, and what the body gives: a list, or lists by template. *ret_attrs: free().
 * False: answered. */
static bool
read_attrs(struct call *c, struct registry_device *d, char **ret_attrs)
{
	json_t *attrs = json_object_get(c->body, "attrs"), *own = model_kept(d->attrs, false), *known = known_attrs(c, d), *one;
	const char *key;
	size_t i;
	bool ok = true;

	json_array_foreach(known, i, one)
		(void)json_object_del(own, json_string_value(json_object_get(one, "label")));
	/* What was answered has taken the body with it. */
	if (json_is_array(attrs)) {
		ok = take_values(c, known, attrs, own);
		attrs = NULL;
	}
	json_object_foreach(attrs, key, one) {
		ok = take_values(c, known, one, own);
		if (!ok)
			break;
	}
	*ret_attrs = ok ? json_dumps(own, JSON_COMPACT) : NULL;
	json_decref(own);
	json_decref(known);
	if (*ret_attrs != NULL)
		d->attrs = slice_str(*ret_attrs);
	else if (ok)
		call_json(c, 503, NULL);
	return *ret_attrs != NULL;
}

/* False: answered. */
static bool
read_device(struct call *c, struct registry_device *d, char **ret_attrs)
{
	struct slice label = call_text(c, "label");

	if (!dojot_body(c, DOJOT_DEVICE_BODY))
		return false;
	if (label.n == 0)
		return input_fault(c, "label", "Missing data for required field.");
	if (label.n > REGISTRY_LABEL_MAX - 16)
		return input_fault(c, "label", "the label has at most 240 bytes");
	d->label = label;
	return read_templates(c, d) && read_attrs(c, d, ret_attrs);
}

/* ---- making ---- */

/* As device-manager's: five or six digits. */
static void
make_id(char out[static ID_CAP])
{
	uint32_t n;

	random_bytes(&n, sizeof(n));
	(void)snprintf(out, ID_CAP, "%05" PRIx32, n & 0xffffff);
}

static bool
id_ok(struct slice s)
{
	if (s.n < 2 || s.n > 6)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (text_hex_digit(s.p[i]) < 0)
			return false;
	return true;
}

/* One device; *ret_shown: what is told of it. */
static bool
add(struct call *c, const struct registry_device_new *asked, json_t **ret_shown, struct err *err)
{
	struct registry_device_new n = *asked;
	char made[ID_CAP], secret[DOJOT_SECRET_N + 1];
	uint8_t hash[REGISTRY_HASH];
	bool own = n.device.id.n > 0, ok = false;

	*ret_shown = NULL;
	if (!c->api->config->dojot.shared_password) {
		if (!dojot_secret_make(secret, hash))
			return err_set(err, ERR_MEMORY, "out of memory");
		n.secret = slice_of(hash, sizeof(hash));
	}
	for (unsigned i = 0; !ok && i < ID_TRIES; i++) {
		if (!own) {
			make_id(made);
			n.device.id = slice_str(made);
		}
		ok = registry_device_add(c->api->registry, &n, err);
		if (!ok && (own || err->code != ERR_EXISTS))
			return false;
	}
	if (!ok)
		return err_set(err, ERR_LIMIT, "Failed to generate unique device_id");
	call_name(c, n.device.id);
	*ret_shown = json_pack("{s:o, s:o}", "id", text_json(n.device.id), "label", text_json(n.device.label));
	if (*ret_shown != NULL && n.secret.n > 0)
		(void)json_object_set_new(*ret_shown, "secret", json_string(secret));
	secret_wipe(secret, sizeof(secret));
	return *ret_shown != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

/* "door_01" */
static void
number_label(const struct registry_device *d, int64_t count, int64_t i, char out[static LABEL_CAP])
{
	int width = snprintf(NULL, 0, "%" PRId64, count);

	if (count == 1)
		(void)snprintf(out, LABEL_CAP, "%.*s", SL_ARG(d->label));
	else
		(void)snprintf(out, LABEL_CAP, "%.*s_%0*" PRId64, SL_ARG(d->label), width, i);
}

/* All or none. The list of what is told of them, or NULL. */
static json_t *
add_all(struct call *c, const struct registry_device_new *asked, int64_t count, struct err *err)
{
	struct registry_device_new n = *asked;
	json_t *all = json_array(), *one = NULL;
	char label[LABEL_CAP];
	bool ok = all != NULL && registry_begin(c->api->registry, err);

	for (int64_t i = 0; ok && i < count; i++) {
		number_label(&asked->device, count, i, label);
		n.device.label = slice_str(label);
		ok = add(c, &n, &one, err) && json_array_append_new(all, one) == 0;
	}
	if (ok && registry_commit(c->api->registry, err))
		return all;
	registry_rollback(c->api->registry);
	json_decref(all);
	return NULL;
}

/* What was made, whole: that of which the id and the secret are told in <all>. */
static json_t *
whole(struct call *c, json_t *all)
{
	json_t *told = json_array_get(all, 0), *secret = json_object_get(told, "secret"), *v = NULL;
	struct registry_device d;

	if (registry_device_get(c->api->registry, call_tenant(c), slice_str(json_string_value(json_object_get(told, "id"))), &d, NULL)) {
		v = model_device(c, &d);
		free(d.mem);
	}
	if (v != NULL && secret != NULL)
		(void)json_object_set(v, "secret", secret);
	json_decref(all);
	return v != NULL ? json_pack("{s:s, s:[o]}", "message", "device created", "devices", v) : NULL;
}

static bool
read_count(struct call *c, bool verbose, int64_t *ret)
{
	struct slice s = call_query(c, "count");
	uint64_t n = 1;

	if (s.p != NULL && !text_u64(s, 1, COUNT_MAX, &n)) {
		dojot_fail(c, 400, "If provided, count must be integer, of 1 to %d", COUNT_MAX);
		return false;
	}
	*ret = (int64_t)n;
	if (!verbose || n == 1)
		return true;
	dojot_fail(c, 400, "Verbose can only be used for single device creation");
	return false;
}

static bool
read_own_id(struct call *c, int64_t count, struct registry_device *d)
{
	const json_t *id = json_object_get(c->body, "id");

	if (id == NULL || json_is_null(id) || count > 1)
		return true;
	d->id = call_text(c, "id");
	if (id_ok(d->id))
		return true;
	dojot_fail(c, 400, "Device ID must be 2-6 characters and must be hexadecimal (0-9,a-f,A-F).");
	return false;
}

void
model_create(struct call *c)
{
	const struct api_dojot *o = &c->api->config->dojot;
	struct registry_device_new n = { .device = { .tenant = call_tenant(c) }, .ca = slice_str(o->ca), .profile = slice_str(o->profile),
		.by = slice_str(c->actor.name) };
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool verbose = dojot_switch(c, "verbose");
	int64_t count;
	json_t *all;
	char *attrs;

	if (!read_count(c, verbose, &count) || !read_device(c, &n.device, &attrs))
		return;
	if (!read_own_id(c, count, &n.device)) {
		free(attrs);
		return;
	}
	all = add_all(c, &n, count, &err);
	free(attrs);
	if (all == NULL)
		dojot_error(c, &err);
	else if (verbose)
		call_json(c, 200, whole(c, all));
	else
		call_json(c, 200, json_pack("{s:s, s:o}", "message", "devices created", "devices", all));
}

/* ---- changing ---- */

/* An update lets the device have another certificate, as there: it is how an operator resets one. */
static bool
reset_entity(struct call *c, const struct registry_device *d, struct err *err)
{
	struct registry_entity e;
	bool reset;

	if (!registry_entity_get(c->api->registry, d->cn, &e, err))
		return err->code == ERR_MISSING;
	reset = e.state == REGISTRY_GENERATED;
	free(e.mem);
	return !reset || registry_entity_set_state(c->api->registry, d->cn, REGISTRY_NEW, err);
}

void
model_answer(struct call *c)
{
	struct registry_device d;
	struct err err;

	if (!registry_device_get(c->api->registry, call_tenant(c), c->params[0], &d, &err)) {
		dojot_error(c, &err);
		return;
	}
	call_json(c, 200, json_pack("{s:s, s:o}", "message", "device updated", "device", model_device(c, &d)));
	free(d.mem);
}

bool
model_load(struct call *c, struct registry_device *ret)
{
	char shown[80];
	struct err err;

	if (registry_device_get(c->api->registry, call_tenant(c), c->params[0], ret, &err))
		return true;
	if (err.code == ERR_MISSING || err.code == ERR_INPUT)
		dojot_fail(c, 404, "No such device: %s", text_show(c->params[0], shown, sizeof(shown)));
	else
		dojot_error(c, &err);
	return false;
}

bool
model_store(struct call *c, struct registry_device *d, struct err *err)
{
	struct registry *r = c->api->registry;

	if (registry_begin(r, err) && registry_device_set(r, d, err) && reset_entity(c, d, err) && registry_commit(r, err))
		return true;
	registry_rollback(r);
	return false;
}

void
model_update(struct call *c)
{
	struct registry_device d;
	struct err err;
	char *attrs;
	bool ok;

	if (!model_load(c, &d))
		return;
	if (!read_device(c, &d, &attrs)) {
		free(d.mem);
		return;
	}
	ok = model_store(c, &d, &err);
	free(attrs);
	free(d.mem);
	if (ok)
		model_answer(c);
	else
		dojot_error(c, &err);
}
