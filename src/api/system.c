/* The process itself: is it well, what can it do. */
#include "api/internal.h"

#include <stdio.h>
#include <stdlib.h>

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

/* ---- backup ---- */

/* In steps, between which others are served. */
struct backup {
	struct registry_backup *b;
	struct event *step;
	struct call *call;
	char path[PKI_PATH_MAX];
};

static void
backup_free(struct backup *x)
{
	x->call->api->backup = NULL;
	if (x->step != NULL)
		event_free(x->step);
	registry_backup_free(x->b);
	free(x);
}

static void
on_step(evutil_socket_t fd, short what, void *ctx)
{
	struct backup *x = ctx;
	struct call *c = x->call;
	struct err err;
	bool done = false, ok = registry_backup_step(x->b, 256, &done, &err);
	json_t *v;

	(void)fd;
	(void)what;
	if (ok && !done) {
		event_active(x->step, EV_TIMEOUT, 0);
		return;
	}
	v = ok ? json_pack("{s:s}", "file", x->path) : NULL;
	backup_free(x);
	if (ok)
		call_json(c, 201, v);
	else
		call_error(c, &err);
}

void
backup_stop(struct api *a)
{
	if (a->backup != NULL)
		backup_free(a->backup);
}

static void
backup(struct call *c)
{
	struct backup *x = c->api->backup == NULL ? calloc(1, sizeof(*x)) : NULL;
	struct err err;

	if (x == NULL) {
		call_problem(c, 503, "busy", "try again when it is done", "a backup is being made already, or there is no memory for one");
		return;
	}
	c->api->backup = x;
	x->call = c;
	(void)snprintf(x->path, sizeof(x->path), "%s.%lld.backup", c->api->config->registry, (long long)api_now(c->api));
	x->step = evtimer_new(c->api->base, on_step, x);
	x->b = x->step != NULL ? registry_backup_new(c->api->registry, x->path, &err) : NULL;
	if (x->b != NULL) {
		event_active(x->step, EV_TIMEOUT, 0);
		return;
	}
	if (x->step == NULL)
		(void)err_set(&err, ERR_MEMORY, "out of memory");
	backup_free(x);
	call_error(c, &err);
}

static const struct field health_rows[] = {
	{ "status", FIELD_TEXT, FIELD_REQUIRED, 1, 16 },
	{ "version", FIELD_TEXT, FIELD_REQUIRED, 1, 32 },
	{ 0 },
};
static const struct field file_rows[] = {
	{ "file", FIELD_TEXT, FIELD_REQUIRED, 1, PKI_PATH_MAX, .help = "On the machine of the control process" },
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
static const struct schema health_schema = { "Health", health_rows }, file_schema = { "BackupFile", file_rows },
			   document_schema = { "Document", document_rows };

static const struct op ops[] = {
	{ "health", "Is the process well?", HTTP_GET, "/api/v1/health", OP_OPEN, 200, health, .answer = &health_schema },
	{ "document", "This document", HTTP_GET, "/api/v1/openapi.json", OP_OPEN, 200, document, .answer = &document_schema },
	{ "backup", "Copy the registry while it is in use", HTTP_POST, "/api/v1/backup", OP_PLATFORM, 201, backup, .answer = &file_schema },
};
const struct op_group group_system = { "system", "The process itself", ops, ARRAY_LEN(ops) };
