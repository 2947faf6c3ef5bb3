/* The OpenAPI document, made of the tables by which requests are checked. */
#include "api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

static const struct field fault_rows[] = {
	{ "pointer", FIELD_TEXT, FIELD_REQUIRED, 0, 256, .help = "JSON pointer into the body, or the name of a parameter" },
	{ "detail", FIELD_TEXT, FIELD_REQUIRED, 1, 512 },
	{ 0 },
};
static const struct field fault_row = { "error", FIELD_OBJECT, .of = fault_rows };
static const struct field problem_rows[] = {
	{ "type", FIELD_TEXT, FIELD_REQUIRED, 1, 128, .example = "\"urn:signet:problem:not-found\"" },
	{ "title", FIELD_TEXT, FIELD_REQUIRED, 1, 128 },
	{ "status", FIELD_INT, FIELD_REQUIRED, 400, 599 },
	{ "detail", FIELD_TEXT, FIELD_REQUIRED, 1, 1024, .help = "What is wrong" },
	{ "remedy", FIELD_TEXT, 0, 1, 1024, .help = "What to do" },
	{ "instance", FIELD_TEXT, 0, 1, 1024 },
	{ "errors", FIELD_LIST, 0, 0, FIELD_FAULTS_MAX, .of = &fault_row },
	{ 0 },
};

/* "o" of json_pack() takes its value also when it fails, and NULL makes it fail: so everything is handed on as it is. */

static json_t *
ref(const char *schema)
{
	char text[120];

	(void)snprintf(text, sizeof(text), "#/components/schemas/%s", schema);
	return json_pack("{s:s}", "$ref", text);
}

static json_t *
page_schema(const struct op *o)
{
	return json_pack("{s:s, s:[s, s], s:{s:{s:s, s:o}, s:{s:[s, s], s:s}}}", "type", "object", "required", "items", "next", "properties",
	    "items", "type", "array", "items", ref(o->answer->name), "next", "type", "string", "null", "description",
	    "The cursor of the next page; null: this was the last");
}

static json_t *
answer(const struct op *o)
{
	json_t *schema;

	if (o->media != NULL)
		return json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", reply_reason(o->status), "content", o->media, "schema", "type", "string");
	if (o->answer == NULL)
		return json_pack("{s:s}", "description", reply_reason(o->status));
	schema = (o->flags & (OP_LIST | OP_ALL)) != 0 ? page_schema(o) : ref(o->answer->name);
	return json_pack("{s:s, s:{s:{s:o}}}", "description", reply_reason(o->status), "content", "application/json", "schema", schema);
}

static json_t *
answers(const struct op *o)
{
	char status[8];
	json_t *v;

	(void)snprintf(status, sizeof(status), "%u", o->status);
	v = json_pack("{s:o, s:{s:s}}", status, answer(o), "default", "$ref", "#/components/responses/Problem");
	if ((o->flags & OP_RATIONED) != 0)
		(void)json_object_set_new(v, "429", json_pack("{s:s}", "$ref", "#/components/responses/TooMany"));
	return v;
}

static json_t *
body(const struct op *o)
{
	json_t *schema, *example;

	if (o->takes != NULL)
		return json_pack("{s:b, s:{s:{s:{s:s}}}}", "required", 1, "content", o->takes, "schema", "type", "string");
	schema = ref(o->body->name);
	example = o->example != NULL ? json_loads(o->example, 0, NULL) : json_object();

	return json_pack("{s:b, s:{s:{s:o, s:o}}}", "required", 1, "content", "application/json", "schema", schema, "example", example);
}

static bool
add_parameter(json_t *list, const struct field *row, const char *in)
{
	bool required = strcmp(in, "path") == 0 || (row->flags & FIELD_REQUIRED) != 0;
	json_t *p = json_pack("{s:s, s:s, s:b, s:o}", "name", row->name, "in", in, "required", required, "schema", field_schema(row, false));

	return json_array_append_new(list, p) == 0;
}

static bool
add_rows(json_t *list, const struct field *rows)
{
	for (; rows != NULL && rows->name != NULL; rows++)
		if (!add_parameter(list, rows, "query"))
			return false;
	return true;
}

static bool
add_header(json_t *list, const char *name, const char *help)
{
	return json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:{s:s}}", "name", name, "in", "header", "required", 0, "description", help,
						    "schema", "type", "string")) == 0;
}

static json_t *
parameters(const struct op *o)
{
	struct slice path = slice_str(o->path);
	json_t *list = json_array();
	bool more = true, ok = list != NULL;

	while (ok && more) {
		struct slice name, suffix;

		if (op_brace(slice_cut(&path, '/', &more), &name, &suffix))
			ok = add_parameter(list, op_param(name), "path");
	}
	ok = ok && add_rows(list, o->query) && ((o->flags & OP_LIST) == 0 || add_rows(list, page_query)) &&
	     ((o->flags & OP_OPEN) != 0 || add_rows(list, tenant_query));
	if (ok && (o->flags & OP_ONCE) != 0)
		ok = add_header(list, "Idempotency-Key", "The same key with the same request gets the same answer for a day, and nothing is done twice");
	if (ok && (o->flags & OP_MATCH) != 0)
		ok = add_header(list, "If-Match", "The ETag of what was read; 412 if it was changed meanwhile");
	if (ok)
		return list;
	json_decref(list);
	return NULL;
}

static json_t *
operation(const struct op *o, const char *tag)
{
	json_t *v = json_pack("{s:s, s:s, s:[s], s:o, s:o}", "operationId", o->id, "summary", o->summary, "tags", tag, "parameters", parameters(o),
	    "responses", answers(o));

	if (v != NULL && (o->body != NULL || o->takes != NULL) && json_object_set_new(v, "requestBody", body(o)) != 0)
		goto fail;
	if (v != NULL && (o->flags & OP_OPEN) != 0 && json_object_set_new(v, "security", json_array()) != 0)
		goto fail;
	return v;
fail:
	json_decref(v);
	return NULL;
}

static bool
add_schema(json_t *schemas, const struct schema *s, bool is_answer)
{
	if (s == NULL || json_object_get(schemas, s->name) != NULL)
		return true;
	return json_object_set_new(schemas, s->name, fields_schema(s->rows, is_answer)) == 0;
}

static bool
add_operation(json_t *paths, json_t *schemas, const struct op *o, const char *tag)
{
	static const char *const names[HTTP_METHODS] = { "get", "head", "post", "put", "patch", "delete", "options" };
	json_t *item = json_object_get(paths, o->path);

	if (item == NULL) {
		item = json_object();
		if (json_object_set_new(paths, o->path, item) != 0)
			return false;
	}
	/* What goes in and comes out under one name is shown as it comes out. */
	return add_schema(schemas, o->answer, true) && add_schema(schemas, o->body, o->body == o->answer) &&
	       json_object_set_new(item, names[o->method], operation(o, tag)) == 0;
}

static bool
add_operations(json_t *doc)
{
	json_t *paths = json_object_get(doc, "paths"), *tags = json_object_get(doc, "tags"),
	       *schemas = json_object_get(json_object_get(doc, "components"), "schemas");
	const struct schema problem = { "Problem", problem_rows };

	for (size_t g = 0; g < op_groups_n; g++) {
		const struct op_group *x = op_groups[g];

		if (json_array_append_new(tags, json_pack("{s:s, s:s}", "name", x->name, "description", x->about)) != 0)
			return false;
		for (size_t i = 0; i < x->n; i++)
			if (!add_operation(paths, schemas, &x->ops[i], x->name))
				return false;
	}
	return add_schema(schemas, &problem, true);
}

json_t *
document_json(void)
{
	json_t *problem = json_pack("{s:s, s:{s:{s:o}}}", "description", "What is wrong and what to do (RFC 9457)", "content",
	    "application/problem+json", "schema", ref("Problem"));
	json_t *too_many = json_pack("{s:s, s:{s:{s:s, s:{s:s}}}, s:{s:{s:o}}}", "description", "Too many wrong ones: " API_TRY_WORDS, "headers", "Retry-After", "description", "Seconds",
	    "schema", "type", "integer", "content", "application/problem+json", "schema", ref("Problem"));
	json_t *doc = json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:[]}], s:[], s:{}, s:{s:{s:{s:s, s:s, s:s}}, s:{s:o, s:o}, s:{}}}", "openapi", "3.1.0",
	    "info", "title", "Signet", "version", SIGNET_VERSION, "description",
	    "Tenants, users, devices and certificates. Log in for a token, or come with a certificate of the Control CA.", "security", "token",
	    "tags", "paths", "components", "securitySchemes", "token", "type", "http", "scheme", "bearer", "bearerFormat", "JWT", "responses",
	    "Problem", problem, "TooMany", too_many, "schemas");

	if (doc != NULL && add_operations(doc))
		return doc;
	json_decref(doc);
	return NULL;
}

char *
api_document(void)
{
	json_t *doc = document_json();
	char *text = doc != NULL ? json_dumps(doc, JSON_INDENT(1)) : NULL;

	json_decref(doc);
	return text;
}
