/* Bodies are checked by tables before any handler sees them. */
#include "api/field.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

enum { POINTER_CAP = 256, DETAIL_CAP = 320 };

void
fault_add(struct faults *f, const char *pointer, const char *fmt, ...)
{
	char detail[DETAIL_CAP];
	json_t *one;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(detail, sizeof(detail), fmt, ap);
	va_end(ap);
	if (f->list == NULL)
		f->list = json_array();
	if (f->list != NULL && json_array_size(f->list) >= FIELD_FAULTS_MAX)
		return;
	one = json_pack("{s:s, s:s}", "pointer", pointer, "detail", detail);
	if (one == NULL || json_array_append_new(f->list, one) != 0)
		f->failed = true;
}

/* "/a" and "b/c" make "/a/b~1c" (RFC 6901). */
static void
join(char out[static POINTER_CAP], const char *pointer, const char *name)
{
	size_t n = strlen(pointer);

	memmove(out, pointer, n + 1);
	if (n + 1 < POINTER_CAP)
		out[n++] = '/';
	for (; *name != '\0' && n + 3 < POINTER_CAP; name++) {
		if (*name == '~' || *name == '/') {
			out[n++] = '~';
			out[n++] = *name == '~' ? '0' : '1';
		} else {
			out[n++] = *name;
		}
	}
	out[n] = '\0';
}

/* UTF-8 is checked before. */
static int64_t
characters(struct slice s)
{
	int64_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += (s.p[i] & 0xc0) != 0x80;
	return n;
}

static bool
is_choice(const char *const *choices, struct slice s)
{
	for (; *choices != NULL; choices++)
		if (slice_eq(s, slice_str(*choices)))
			return true;
	return false;
}

static void
list_choices(const char *const *choices, char *out, size_t cap)
{
	size_t n = 0;

	out[0] = '\0';
	for (; *choices != NULL && n < cap; choices++)
		n += (size_t)snprintf(out + n, cap - n, "%s%s", n > 0 ? ", " : "", *choices);
}

static void
check_text(const struct field *row, struct slice s, const char *pointer, struct faults *f)
{
	char names[160];
	int64_t n = characters(s);

	if (row->choices != NULL) {
		list_choices(row->choices, names, sizeof(names));
		if (!is_choice(row->choices, s))
			fault_add(f, pointer, "is none of: %s", names);
		return;
	}
	if (n < row->min || n > row->max)
		fault_add(f, pointer, "has %" PRId64 " characters; %" PRId64 " to %" PRId64 " are taken", n, row->min, row->max);
	else if (row->rule != NULL && !row->rule->ok(s))
		fault_add(f, pointer, "is not %s", row->rule->says);
}

static void
check_int(const struct field *row, int64_t v, const char *pointer, struct faults *f)
{
	if (v < row->min || v > row->max)
		fault_add(f, pointer, "is %" PRId64 "; %" PRId64 " to %" PRId64 " are taken", v, row->min, row->max);
}

static void check_value(const struct field *row, json_t *v, const char *pointer, struct faults *f);

static const struct field *
find(const struct field *rows, const char *name)
{
	for (; rows->name != NULL; rows++)
		if (strcmp(rows->name, name) == 0)
			return rows;
	return NULL;
}

static void
check_members(const struct field *rows, json_t *v, const char *pointer, struct faults *f)
{
	char at[POINTER_CAP];
	const char *name;
	json_t *member;

	for (const struct field *row = rows; row->name != NULL; row++) {
		if ((row->flags & FIELD_REQUIRED) == 0 || json_object_get(v, row->name) != NULL)
			continue;
		join(at, pointer, row->name);
		fault_add(f, at, "is missing");
	}
	json_object_foreach(v, name, member) {
		const struct field *row = find(rows, name);

		join(at, pointer, name);
		if (row == NULL || (row->flags & FIELD_ANSWER) != 0)
			fault_add(f, at, "is not known here");
		else
			check_value(row, member, at, f);
	}
}

static void
check_list(const struct field *row, json_t *v, const char *pointer, struct faults *f)
{
	char at[POINTER_CAP], index[24];
	int64_t n = (int64_t)json_array_size(v);
	json_t *item;
	size_t i;

	if (n < row->min || n > row->max) {
		fault_add(f, pointer, "has %" PRId64 " entries; %" PRId64 " to %" PRId64 " are taken", n, row->min, row->max);
		return;
	}
	json_array_foreach(v, i, item) {
		(void)snprintf(index, sizeof(index), "%zu", i);
		join(at, pointer, index);
		check_value(row->of, item, at, f);
	}
}

static const char *const type_names[] = { "a string", "an integer", "true or false", "a list", "an object", "a value" };

static void
check_value(const struct field *row, json_t *v, const char *pointer, struct faults *f)
{
	const bool right[] = { json_is_string(v), json_is_integer(v), json_is_boolean(v), json_is_array(v), json_is_object(v), true };

	if (json_is_null(v) && (row->flags & FIELD_NULL) != 0)
		return;
	if (!right[row->type]) {
		fault_add(f, pointer, "is not %s", type_names[row->type]);
		return;
	}
	if (row->type == FIELD_TEXT)
		check_text(row, slice_of(json_string_value(v), json_string_length(v)), pointer, f);
	else if (row->type == FIELD_INT)
		check_int(row, json_integer_value(v), pointer, f);
	else if (row->type == FIELD_LIST)
		check_list(row, v, pointer, f);
	else if (row->type == FIELD_OBJECT && row->of != NULL)
		check_members(row->of, v, pointer, f);
}

bool
fields_check(const struct field *rows, json_t *v, struct faults *f)
{
	if (!json_is_object(v))
		fault_add(f, "", "is not an object");
	else
		check_members(rows, v, "", f);
	return f->list == NULL && !f->failed;
}

bool
field_check_text(const struct field *row, struct slice s, const char *pointer, struct faults *f)
{
	uint64_t n;

	if (row->type == FIELD_BOOL && !slice_eq(s, SL("true")) && !slice_eq(s, SL("false")))
		fault_add(f, pointer, "is not true or false");
	else if (row->type == FIELD_INT && !text_u64(s, 0, INT64_MAX, &n))
		fault_add(f, pointer, "is not a number");
	else if (row->type == FIELD_INT)
		check_int(row, (int64_t)n, pointer, f);
	else if (row->type == FIELD_TEXT)
		check_text(row, s, pointer, f);
	return f->list == NULL && !f->failed;
}

/* ---- reading ---- */

/* jansson's own limit is 2048 levels; brackets in strings do not count. */
static bool
too_deep(struct slice text)
{
	bool in_string = false;
	unsigned depth = 0;

	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];

		if (in_string) {
			i += c == '\\';
			in_string = c != '"';
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > FIELD_DEPTH_MAX)
				return true;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

json_t *
field_parse(struct slice text, char ret_why[static FIELD_WHY_CAP])
{
	json_error_t e;
	json_t *v;

	if (too_deep(text)) {
		(void)snprintf(ret_why, FIELD_WHY_CAP, "it is nested deeper than %d levels", FIELD_DEPTH_MAX);
		return NULL;
	}
	v = json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, &e);
	if (v == NULL) {
		char shown[120];

		(void)snprintf(ret_why, FIELD_WHY_CAP, "line %d, column %d: %s", e.line, e.column,
		    text_show(slice_str(e.text), shown, sizeof(shown)));
	}
	return v;
}

/* ---- the document ---- */

static bool
set(json_t *o, const char *name, json_t *v)
{
	return v != NULL && json_object_set_new(o, name, v) == 0;
}

static bool
add_choices(json_t *schema, const char *const *choices)
{
	json_t *list = json_array();

	for (; list != NULL && *choices != NULL; choices++)
		if (json_array_append_new(list, json_string(*choices)) != 0) {
			json_decref(list);
			return false;
		}
	return set(schema, "enum", list);
}

static bool
add_text(json_t *s, const struct field *row)
{
	if (row->choices != NULL)
		return add_choices(s, row->choices);
	if (!set(s, "minLength", json_integer(row->min)) || !set(s, "maxLength", json_integer(row->max)))
		return false;
	return row->rule == NULL || row->rule->pattern == NULL || set(s, "pattern", json_string(row->rule->pattern));
}

static bool
add_bounds(json_t *s, const struct field *row, bool answer)
{
	switch (row->type) {
	case FIELD_TEXT:
		return add_text(s, row);
	case FIELD_INT:
		return set(s, "minimum", json_integer(row->min)) && set(s, "maximum", json_integer(row->max));
	case FIELD_LIST:
		return set(s, "minItems", json_integer(row->min)) && set(s, "maxItems", json_integer(row->max)) &&
		       set(s, "items", field_schema(row->of, answer));
	case FIELD_BOOL:
	case FIELD_OBJECT:
	case FIELD_ANY:
		break;
	}
	return true;
}

json_t *
field_schema(const struct field *row, bool answer)
{
	static const char *const types[] = { "string", "integer", "boolean", "array", "object" };
	json_t *s = row->type == FIELD_OBJECT && row->of != NULL ? fields_schema(row->of, answer) : json_object();
	json_t *type, *example;
	bool ok = s != NULL;

	if (ok && row->type != FIELD_ANY) {
		type = (row->flags & FIELD_NULL) != 0 ? json_pack("[s, s]", types[row->type], "null") : json_string(types[row->type]);
		ok = set(s, "type", type);
	}
	ok = ok && add_bounds(s, row, answer) && (row->help == NULL || set(s, "description", json_string(row->help)));
	if (ok && row->example != NULL) {
		example = json_loads(row->example, JSON_DECODE_ANY, NULL);
		ok = example != NULL && set(s, "examples", json_pack("[o]", example));
	}
	if (ok && (row->flags & FIELD_SECRET) != 0)
		ok = set(s, "writeOnly", json_true());
	if (ok)
		return s;
	json_decref(s);
	return NULL;
}

json_t *
fields_schema(const struct field *rows, bool answer)
{
	json_t *s = json_pack("{s:s, s:{}, s:[], s:b}", "type", "object", "properties", "required", "additionalProperties", 0);
	json_t *required = json_object_get(s, "required"), *properties = json_object_get(s, "properties");
	bool ok = s != NULL;

	for (; ok && rows->name != NULL; rows++) {
		if ((rows->flags & (answer ? FIELD_SECRET : FIELD_ANSWER)) != 0)
			continue;
		ok = set(properties, rows->name, field_schema(rows, answer));
		if (ok && (rows->flags & FIELD_REQUIRED) != 0)
			ok = json_array_append_new(required, json_string(rows->name)) == 0;
	}
	if (ok)
		return s;
	json_decref(s);
	return NULL;
}
