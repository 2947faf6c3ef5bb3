/* The audit log for those who may read it: from its end, page by page, and whether it is as it was written. */
#include "api/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/audit.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"

enum { CAS_MAX = 64, PAGE = 100 };

/* While we may: the file is the signer's, and root opens it for whoever control becomes. */
void
auditing_open(struct api *a)
{
	char path[PKI_PATH_MAX];

	a->audit_fd = path_join(path, sizeof(path), a->config->dir, "audit.log") ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

void
auditing_close(struct api *a)
{
	if (a->audit_fd != -1)
		(void)close(a->audit_fd);
	a->audit_fd = -1;
}

/* False: answered. The signer may have made it since. */
static bool
is_there(struct call *c)
{
	if (c->api->audit_fd == -1)
		auditing_open(c->api);
	if (c->api->audit_fd != -1)
		return true;
	call_problem(c, 503, "no-audit-log", "`signet serve` makes it; `signet audit show` reads it as root", "the audit log cannot be read: %s", strerror(errno));
	return false;
}

/* ---- a page ---- */

struct page {
	json_t *items;
	size_t limit;
	struct slice actor, object, action;
	char from[24], until[24]; /* RFC 3339 in UTC: its order is that of the times */
	bool failed, over;        /* over: everything else is older than it may be */
};

static bool
contains(const char *text, struct slice part)
{
	return part.p == NULL || memmem(text, strlen(text), part.p, part.n) != NULL;
}

static json_t *
record_json(const struct audit_seen *r, bool intact)
{
	json_t *details = json_object();

	for (size_t i = 0; i < r->n_details; i++)
		(void)json_object_set_new(details, r->details[i].name, json_string(r->details[i].value));
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:o, s:s, s:s, s:b}", "n", (json_int_t)r->n, "time", r->time, "actor", r->actor, "action", r->action, "object",
	    r->object, "details", details, "prev", r->prev, "hash", r->hash, "intact", intact);
}

static bool
is_about(const struct audit_seen *r, struct slice part)
{
	bool is = contains(r->object, part);

	for (size_t i = 0; !is && i < r->n_details; i++)
		is = strncmp(r->details[i].name, "names", 5) == 0 && contains(r->details[i].value, part);
	return is;
}

static bool
add_row(void *ctx, const struct audit_seen *r, bool intact)
{
	struct page *p = ctx;

	if (p->from[0] != '\0' && strcmp(r->time, p->from) < 0) {
		p->over = true;
		return false;
	}
	if ((p->until[0] != '\0' && strcmp(r->time, p->until) >= 0) || !contains(r->actor, p->actor) || !is_about(r, p->object) ||
	    (p->action.p != NULL && !slice_eq(p->action, slice_str(r->action))))
		return true;
	p->failed = json_array_append_new(p->items, record_json(r, intact)) != 0;
	return !p->failed && json_array_size(p->items) < p->limit;
}

static void
list(struct call *c)
{
	struct page p = { .limit = (size_t)call_query_int(c, "limit", PAGE), .actor = call_query(c, "actor"), .object = call_query(c, "object"),
		.action = call_query(c, "action") };
	struct audit_page walk = { .each = add_row, .ctx = &p };
	struct registry_page page = { 0 };
	struct slice cursor = call_query(c, "cursor");
	struct err err;
	bool ok;

	if (!is_there(c))
		return;
	if (cursor.p != NULL && !text_u64(cursor, 1, INT64_MAX, &walk.before)) {
		call_problem(c, 422, "value", NULL, "the cursor is none of this list");
		return;
	}
	(void)text_copy(p.from, sizeof(p.from), call_query(c, "from"));
	(void)text_copy(p.until, sizeof(p.until), call_query(c, "until"));
	p.items = json_array();
	ok = p.items != NULL && audit_backwards(c->api->audit_fd, &walk, &err);
	if (p.items == NULL || p.failed)
		ok = err_set(&err, ERR_MEMORY, "out of memory");
	if (walk.next != 0 && !p.over)
		(void)snprintf(page.next, sizeof(page.next), "%llu", (unsigned long long)walk.next);
	call_listed(c, ok, p.items, &page, &err);
}

/* ---- all of it, on the thread beside the loop ---- */

struct check {
	struct job job;
	struct call *call;
	int fd;
	struct {
		char name[REGISTRY_NAME_MAX + 1];
		uint8_t *der;
		size_t n;
	} cas[CAS_MAX];
	size_t n_cas;
	struct audit_summary sum;
	uint64_t unchecked;
	bool ok;
	struct err err;
};

static bool
keep_ca(void *ctx, const struct registry_ca *x)
{
	struct check *k = ctx;

	if (x->der.n == 0 || k->n_cas == CAS_MAX || (k->cas[k->n_cas].der = malloc(x->der.n)) == NULL)
		return true;
	memcpy(k->cas[k->n_cas].der, x->der.p, x->der.n);
	k->cas[k->n_cas].n = x->der.n;
	(void)text_copy(k->cas[k->n_cas++].name, sizeof(k->cas[0].name), x->name);
	return true;
}

static bool
check_signature(void *ctx, const char *name, struct slice statement, struct slice signature, struct err *err)
{
	struct check *k = ctx;

	for (size_t i = 0; i < k->n_cas; i++)
		if (strcmp(k->cas[i].name, name) == 0)
			return pki_signed_by_der(slice_of(k->cas[i].der, k->cas[i].n), statement, signature, err);
	k->unchecked++;
	return true;
}

static void
check_work(struct job *j)
{
	struct check *k = (void *)j;
	const struct audit_reader r = { .verify = check_signature, .ctx = k };

	k->ok = audit_verify_fd(k->fd, "audit.log", &r, &k->sum, &k->err);
}

static void
check_free(struct job *j)
{
	struct check *k = (void *)j;

	for (size_t i = 0; i < k->n_cas; i++)
		free(k->cas[i].der);
	if (k->fd != -1)
		(void)close(k->fd);
	free(k);
}

static void
check_done(struct job *j)
{
	struct check *k = (void *)j;
	const struct audit_summary *s = &k->sum;
	struct call *c = k->call;
	json_t *v = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o, s:o}", "ok", k->ok, "records", (json_int_t)s->records, "checkpoints",
	    (json_int_t)s->checkpoints, "last_checkpoint", (json_int_t)s->last_checkpoint, "behind_checkpoint", (json_int_t)(s->records - s->last_checkpoint),
	    "not_checked", (json_int_t)k->unchecked, "torn_bytes", (json_int_t)s->torn, "hash", s->hash, "first", s->first[0] != '\0' ? json_string(s->first) : json_null(),
	    "last", s->last[0] != '\0' ? json_string(s->last) : json_null(), "fault", k->ok ? json_null() : json_string(k->err.text));

	check_free(j);
	call_json(c, 200, v);
}

static void
verify(struct call *c)
{
	struct check *k;

	if (!is_there(c))
		return;
	k = calloc(1, sizeof(*k));
	if (k != NULL) {
		k->job = (struct job){ .work = check_work, .done = check_done, .drop = check_free };
		k->call = c;
		k->fd = dup(c->api->audit_fd);
		(void)registry_ca_each(c->api->registry, keep_ca, k, NULL);
	}
	if (k != NULL && k->fd != -1 && worker_add(c->api->worker, &k->job))
		return;
	if (k != NULL)
		check_free(&k->job);
	call_header(c, "Retry-After", "5");
	call_problem(c, 503, "busy", "try again later", "there is no room for another check");
}

/* ---- tables ---- */

static const struct field query[] = {
	{ "actor", FIELD_TEXT, .min = 1, .max = 160, .rule = &rule_plain, .help = "A part of who did it" },
	{ "object", FIELD_TEXT, .min = 1, .max = 256, .rule = &rule_plain, .help = "A part of what it was done to, or of the names of all to which it was done: /ID/ is all of one" },
	{ "action", FIELD_TEXT, .min = 1, .max = 64, .rule = &rule_plain },
	{ "from", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time },
	{ "until", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time, .help = "Before this" },
	{ 0 },
};
static const struct field rows[] = {
	{ "n", FIELD_INT, FIELD_REQUIRED, 1, INT64_MAX },
	{ "time", FIELD_TEXT, FIELD_REQUIRED, 20, 20, &rule_time },
	{ "actor", FIELD_TEXT, FIELD_REQUIRED, 0, AUDIT_ACTOR_MAX },
	{ "action", FIELD_TEXT, FIELD_REQUIRED, 0, AUDIT_ACTION_MAX },
	{ "object", FIELD_TEXT, FIELD_REQUIRED, 0, AUDIT_OBJECT_MAX },
	{ "details", FIELD_OBJECT, FIELD_REQUIRED },
	{ "prev", FIELD_TEXT, FIELD_REQUIRED, 64, 64 },
	{ "hash", FIELD_TEXT, FIELD_REQUIRED, 64, 64 },
	{ "intact", FIELD_BOOL, FIELD_REQUIRED, .help = "hash is that of its text; whether the whole chain is, /audit/verify says" },
	{ 0 },
};
static const struct field state_rows[] = {
	{ "ok", FIELD_BOOL, FIELD_REQUIRED, .help = "Every record, the chain and the checkpoints are as they were written" },
	{ "records", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "That are good, up to the first that is not" },
	{ "checkpoints", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "last_checkpoint", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Number of the newest one's record; 0: none" },
	{ "behind_checkpoint", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Records that no checkpoint covers yet" },
	{ "not_checked", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Checkpoints by CAs that are not known here" },
	{ "torn_bytes", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "hash", FIELD_TEXT, FIELD_REQUIRED, 64, 64, .help = "Of the newest good record: compare it with one that is kept elsewhere" },
	{ "first", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "last", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "fault", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, 1024 },
	{ 0 },
};
static const struct schema schema = { "AuditRecord", rows }, state_schema = { "AuditState", state_rows };

static const struct op ops[] = {
	{ "listAudit", "The audit log, newest first; a page may be short and have a successor", HTTP_GET, "/api/v1/audit", OP_PLATFORM | OP_LIST, 200, list, .query = query, .answer = &schema },
	{ "verifyAudit", "Is the whole audit log as it was written?", HTTP_GET, "/api/v1/audit/verify", OP_PLATFORM, 200, verify, .answer = &state_schema },
};
const struct op_group group_audit = { "audit", "The audit log", ops, ARRAY_LEN(ops) };
