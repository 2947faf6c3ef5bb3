/* The process itself: is it well, what can it do. */
#include "api/internal.h"

#include "base/num.h"

static void
health(struct call *c)
{
	int64_t generation;
	bool ok = registry_generation(c->api->registry, &generation, NULL);

	if (ok)
		call_json(c, 200, json_pack("{s:s, s:s}", "status", "pass", "version", SIGNET_VERSION));
	else
		call_problem(c, 503, "registry", "see the log of the control process", "the registry cannot be read");
}

static void
document(struct call *c)
{
	call_json(c, 200, json_incref(c->api->document));
}

static const struct field health_rows[] = {
	{ "status", FIELD_TEXT, FIELD_REQUIRED, 1, 16 },
	{ "version", FIELD_TEXT, FIELD_REQUIRED, 1, 32 },
	{ 0 },
};
static const struct field document_rows[] = {
	{ "openapi", FIELD_TEXT, FIELD_REQUIRED, 5, 5 },
	{ "info", FIELD_OBJECT, FIELD_REQUIRED },
	{ "security", FIELD_ANY, FIELD_REQUIRED },
	{ "tags", FIELD_ANY, FIELD_REQUIRED },
	{ "paths", FIELD_OBJECT, FIELD_REQUIRED },
	{ "components", FIELD_OBJECT, FIELD_REQUIRED },
	{ 0 },
};
static const struct schema health_schema = { "Health", health_rows }, document_schema = { "Document", document_rows };

static const struct op ops[] = {
	{ "health", "Is the process well?", HTTP_GET, "/api/v1/health", OP_OPEN, 200, health, .answer = &health_schema },
	{ "document", "This document", HTTP_GET, "/api/v1/openapi.json", OP_OPEN, 200, document, .answer = &document_schema },
};
const struct op_group group_system = { "system", "The process itself", ops, ARRAY_LEN(ops) };
