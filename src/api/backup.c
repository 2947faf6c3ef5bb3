/* All that is needed to begin again on another machine, in a folder beside the registry: first the broker's store, then the registry, then the
 * files, so that nothing in the later ones is missing in what the earlier ones refer to. It has its name only when it is whole. */
#include "api/backup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/broker.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum { PAGES = 256, STORE_MS = 600000 };

struct backup {
	struct api *api;
	struct call *call;
	struct registry_backup *registry; /* in steps, between which others are served */
	struct event *step;
	struct files_job *files;          /* until it is the worker's */
	char folder[PKI_PATH_MAX], part[PKI_PATH_MAX + 8], time[24];
	char store[PKI_PATH_MAX];         /* where the broker's copy is that nobody needs behind us, or "" */
	bool whole;
};

static void
backup_free(struct backup *x)
{
	x->api->backup = NULL;
	if (x->step != NULL)
		event_free(x->step);
	registry_backup_free(x->registry);
	files_job_free(x->files);
	if (!x->whole)
		(void)dir_remove(x->part);
	if (x->store[0] != '\0')
		store_copy_remove(x->api->config->dir, x->api->config->registry, x->store);
	free(x);
}

void
backup_stop(struct api *a)
{
	if (a->backup != NULL)
		backup_free(a->backup);
}

static void
give_up(struct backup *x, const struct err *err)
{
	struct call *c = x->call;

	log_error("The backup failed: %s.", err->text);
	backup_free(x);
	call_error(c, err);
}

/* ---- the end ---- */

/* Relative to the installation's folder, or null: it lies elsewhere. */
static json_t *
place_in(const struct api *a, const char *path)
{
	char dir[PATH_MAX], real[PATH_MAX];
	size_t n;

	if (realpath(a->config->dir, dir) == NULL || realpath(path, real) == NULL)
		return json_null();
	n = strlen(dir);
	return strncmp(real, dir, n) == 0 && real[n] == '/' ? json_string(real + n + 1) : json_null();
}

static json_t *
store_json(const struct backup *x, const struct files_job *j)
{
	char store[PKI_PATH_MAX];
	char *slash;

	if (j->store[0] == '\0')
		return json_null();
	(void)text_copy(store, sizeof(store), slice_str(j->store));
	slash = strrchr(store, '/');
	if (slash != NULL)
		*slash = '\0';
	return json_pack("{s:o, s:o}", "place", place_in(x->api, store), "copy", j->has_store ? json_null() : json_string(j->store));
}

static bool
write_manifest(struct backup *x, const struct files_job *j, struct err *err)
{
	char dir[PATH_MAX], path[PKI_PATH_MAX + 32];
	json_t *m = json_pack("{s:i, s:s, s:s, s:s, s:o, s:o, s:O, s:O}", "signet_backup", 1, "made", x->time, "version", SIGNET_VERSION, "dir",
	    realpath(x->api->config->dir, dir) != NULL ? dir : "", "registry", place_in(x->api, x->api->config->registry), "store", store_json(x, j), "files", j->files,
	    "without", j->without);
	char *text = m != NULL ? json_dumps(m, JSON_INDENT(1)) : NULL;
	bool ok = text != NULL || err_set(err, ERR_MEMORY, "out of memory");

	(void)snprintf(path, sizeof(path), "%s/backup.json", x->part);
	ok = ok && file_write(path, slice_str(text), 0600, 0, err);
	free(text);
	json_decref(m);
	return ok;
}

static void
on_files(struct files_job *j)
{
	struct backup *x = j->ctx;
	struct call *c = x->call;
	struct err err = j->err;
	json_t *v;

	if (j->ok && write_manifest(x, j, &err) && (rename(x->part, x->folder) == 0 || err_sys(&err, "cannot name %s", x->folder))) {
		x->whole = true;
		/* Whoever made the backup takes it along from there. */
		if (!j->has_store)
			x->store[0] = '\0';
		log_notice("A backup is in %s.", x->folder);
		v = json_pack("{s:s, s:s, s:I, s:i, s:b, s:o, s:O}", "folder", x->folder, "made", x->time, "bytes", (json_int_t)j->bytes, "files", (int)json_array_size(j->files),
		    "store", j->store[0] != '\0', "store_copy", j->store[0] != '\0' && !j->has_store ? json_string(j->store) : json_null(), "without", j->without);
		files_job_free(j);
		backup_free(x);
		call_json(c, 201, v);
		return;
	}
	files_job_free(j);
	give_up(x, &err);
}

/* ---- the registry ---- */

static void
begin_files(struct backup *x)
{
	struct files_job *j = x->files;
	struct err err;

	j->done = on_files;
	j->ctx = x;
	x->files = NULL;
	if (worker_add(x->api->worker, &j->job))
		return;
	files_job_free(j);
	(void)err_set(&err, ERR_LIMIT, "too much else waits to be done: try again later");
	give_up(x, &err);
}

static void
on_step(evutil_socket_t fd, short what, void *ctx)
{
	struct backup *x = ctx;
	struct err err;
	bool done = false;

	(void)fd;
	(void)what;
	if (!registry_backup_step(x->registry, PAGES, &done, &err)) {
		give_up(x, &err);
	} else if (done) {
		registry_backup_free(x->registry);
		x->registry = NULL;
		begin_files(x);
	} else {
		event_active(x->step, EV_TIMEOUT, 0);
	}
}

static void
begin_registry(struct backup *x)
{
	char path[PKI_PATH_MAX + 32];
	struct err err;

	(void)snprintf(path, sizeof(path), "%s/registry.db", x->part);
	x->registry = registry_backup_new(x->api->registry, path, &err);
	if (x->registry != NULL)
		event_active(x->step, EV_TIMEOUT, 0);
	else
		give_up(x, &err);
}

/* ---- the broker's store ---- */

/* The loop may end before it answers. */
static void
on_store(void *ctx, const struct link_reply *r)
{
	struct api *a = ctx;
	struct backup *x = a->backup;
	const char *dir = r->result == LINK_OK ? json_string_value(json_object_get(r->answer, "dir")) : NULL;
	struct err err;

	if (x == NULL)
		return;
	if (dir != NULL && text_copy(x->store, sizeof(x->store), slice_str(dir))) {
		(void)text_copy(x->files->store, sizeof(x->files->store), slice_str(dir));
		begin_registry(x);
	} else if (r->result == LINK_REFUSED && strcmp(r->code, "no-store") == 0) {
		(void)json_array_append_new(x->files->without, json_pack("{s:s, s:s}", "what", "store", "why", "the broker keeps nothing (persistence false)"));
		begin_registry(x);
	} else {
		(void)err_set(&err, ERR_SYSTEM, "the broker does not copy its store: %s", r->error != NULL ? r->error : "its answer is no path");
		give_up(x, &err);
	}
}

static void
begin_store(struct backup *x)
{
	bool wanted = !slice_eq(call_query(x->call, "store"), SL("false"));
	struct call *c = x->call;
	struct err err;

	if (!wanted || x->api->broker == NULL) {
		(void)json_array_append_new(x->files->without, json_pack("{s:s, s:s}", "what", "store", "why", wanted ? "no listener has `protocol control`" : "it was not asked for"));
		begin_registry(x);
		return;
	}
	if (api_ask_broker_within(x->api, "backup", json_object(), &(struct broker_wait){ on_store, x->api, STORE_MS }, &err))
		return;
	backup_free(x);
	call_header(c, "Retry-After", "5");
	call_problem(c, 503, "no-broker", "start the broker, or leave its store out with ?store=false", "the broker cannot be asked to copy its store: %s", err.text);
}

/* ---- the beginning ---- */

static bool
make_folder(struct backup *x, struct err *err)
{
	const char *registry = x->api->config->registry, *slash = strrchr(registry, '/');
	time_t now = (time_t)api_now(x->api);
	struct tm tm;
	char name[32], parent[PKI_PATH_MAX];
	int n;

	if (gmtime_r(&now, &tm) == NULL || strftime(name, sizeof(name), "%Y%m%dT%H%M%SZ", &tm) == 0 || strftime(x->time, sizeof(x->time), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return err_set(err, ERR_SYSTEM, "the clock says what is no time");
	n = slash != NULL ? snprintf(parent, sizeof(parent), "%.*s/backups", (int)(slash - registry), registry) : snprintf(parent, sizeof(parent), "backups");
	if (n < 0 || (size_t)n >= sizeof(parent) || !path_join(x->folder, sizeof(x->folder), parent, name))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", registry);
	(void)snprintf(x->part, sizeof(x->part), "%s.part", x->folder);
	if (!dir_make(parent, 0700, err))
		return false;
	if (access(x->folder, F_OK) == 0)
		return err_set(err, ERR_EXISTS, "there is a backup of this second already");
	/* Of a process that was killed at it. */
	(void)dir_remove(x->part);
	return mkdir(x->part, 0700) == 0 || err_sys(err, "cannot make %s", x->part);
}

static void
backup(struct call *c)
{
	struct api *a = c->api;
	struct backup *x = a->backup == NULL ? calloc(1, sizeof(*x)) : NULL;
	struct err err;

	if (x == NULL) {
		call_problem(c, 503, "busy", "try again when it is done", "a backup is being made already, or there is no memory for one");
		return;
	}
	a->backup = x;
	x->api = a;
	x->call = c;
	x->whole = true; /* nothing is there yet */
	if (!make_folder(x, &err)) {
		give_up(x, &err);
		return;
	}
	x->whole = false;
	x->step = evtimer_new(a->base, on_step, x);
	x->files = files_job_new(a, x->part);
	if (x->step != NULL && x->files != NULL) {
		begin_store(x);
		return;
	}
	(void)err_set(&err, ERR_MEMORY, "out of memory");
	give_up(x, &err);
}

static const struct field query[] = {
	{ "store", FIELD_BOOL, .help = "With the broker's store: sessions, queued and retained messages (true)" },
	{ 0 },
};
static const struct field without_rows[] = {
	{ "what", FIELD_TEXT, FIELD_REQUIRED, 1, PKI_PATH_MAX },
	{ "why", FIELD_TEXT, FIELD_REQUIRED, 1, 256 },
	{ 0 },
};
static const struct field without_row = { "without", FIELD_OBJECT, .of = without_rows };
static const struct field rows[] = {
	{ "folder", FIELD_TEXT, FIELD_REQUIRED, 1, PKI_PATH_MAX, .help = "On the machine of the control process; `signet restore` makes an installation of it" },
	{ "made", FIELD_TEXT, FIELD_REQUIRED, 20, 20, &rule_time },
	{ "bytes", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "files", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Of which it consists" },
	{ "store", FIELD_BOOL, FIELD_REQUIRED, .help = "With the broker's store" },
	{ "store_copy", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, PKI_PATH_MAX, .help = "Where it is, when the broker runs as another user: take it along" },
	{ "without", FIELD_LIST, FIELD_REQUIRED, 0, 100000, .of = &without_row, .help = "What is not in it, and why: private keys, for which there is `signet backup --keys`" },
	{ 0 },
};
static const struct schema schema = { "Backup", rows };
static const struct op ops[] = {
	{ "backup", "Copy the installation while it is in use: registry, store, configuration, certificates, lists and audit log, without private keys", HTTP_POST, "/api/v1/backup",
	    OP_PLATFORM | OP_ADMIN, 201, backup, .query = query, .answer = &schema },
};
const struct op_group group_backup = { "backup", "Beginning again elsewhere", ops, ARRAY_LEN(ops) };
