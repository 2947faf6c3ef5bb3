/* Statements: prepared once and kept by their text, values bound by number, transactions. Nothing that came from outside is ever
 * part of a statement's text. */
#include "registry/internal.h"

#include <errno.h>
#include <stdlib.h>
#include "base/assert.h"

/* ---- prepared statements ---- */

/* A sample does: the texts are our own, few, and compared as a whole afterwards. */
static unsigned
hash_of(const char *sql)
{
	size_t n = strlen(sql), step = n / 32 + 1;
	uint32_t h = 2166136261u ^ (uint32_t)n; /* FNV-1a */

	for (size_t i = 0; i < n; i += step)
		h = (h ^ (uint8_t)sql[i]) * 16777619u;
	return h % STATEMENTS_MAX;
}

/* Its place in the table, or a free one; NULL: neither. */
static struct statement *
place_of(struct registry *r, const char *sql)
{
	unsigned at = hash_of(sql);

	for (unsigned i = 0; i < STATEMENTS_MAX; i++, at = (at + 1) % STATEMENTS_MAX) {
		struct statement *s = &r->statements[at];

		if (s->sql == NULL)
			return r->n_statements < STATEMENTS_MAX * 3 / 4 ? s : NULL;
		if (strcmp(s->sql, sql) == 0)
			return s;
	}
	return NULL;
}

static bool
prepare(struct registry *r, const char *sql, unsigned flags, sqlite3_stmt **ret, struct err *err)
{
	if (sqlite3_prepare_v3(r->db, sql, -1, flags, ret, NULL) == SQLITE_OK)
		return true;
	return db_fail(r, "cannot prepare a statement", err);
}

static bool
statement(struct query *q, const char *sql)
{
	struct statement *s = place_of(q->r, sql);

	q->kept = NULL;
	/* Busy: a callback of a walk asks the same again. */
	if (s == NULL || s->busy)
		return prepare(q->r, sql, 0, &q->stmt, q->err);
	if (s->sql == NULL) {
		if (!prepare(q->r, sql, SQLITE_PREPARE_PERSISTENT, &s->stmt, q->err))
			return false;
		if ((s->sql = strdup(sql)) == NULL) {
			(void)sqlite3_finalize(s->stmt);
			s->stmt = NULL;
			return err_set(q->err, ERR_MEMORY, "out of memory");
		}
		q->r->n_statements++;
	}
	s->busy = true;
	q->kept = s;
	q->stmt = s->stmt;
	return true;
}

static int
bind(sqlite3_stmt *s, int at, const struct value *v)
{
	/* SQLite takes a NULL pointer for NULL. */
	const void *p = v->s.n > 0 ? (const void *)v->s.p : "";

	if (v->kind == VALUE_INT)
		return sqlite3_bind_int64(s, at, v->i);
	if (v->kind == VALUE_TEXT)
		return sqlite3_bind_text64(s, at, p, v->s.n, SQLITE_STATIC, SQLITE_UTF8);
	if (v->kind == VALUE_BLOB)
		return sqlite3_bind_blob64(s, at, p, v->s.n, SQLITE_STATIC);
	return sqlite3_bind_null(s, at);
}

bool
query_begin(struct query *q, struct registry *r, const char *sql, const struct values *v, struct err *err)
{
	*q = (struct query){ .r = r, .err = err };
	if (!statement(q, sql))
		return false;
	/* A text that was put together may have no use for the last ones. */
	for (int i = 0, n = sqlite3_bind_parameter_count(q->stmt); v != NULL && i < n && (size_t)i < v->n; i++) {
		if (bind(q->stmt, i + 1, &v->v[i]) != SQLITE_OK) {
			(void)db_fail(r, "cannot ask the registry", err);
			query_end(q);
			return false;
		}
	}
	return true;
}

int
query_next(struct query *q)
{
	int code;

	errno = 0;
	code = sqlite3_step(q->stmt);
	if (code == SQLITE_ROW)
		return 1;
	if (code == SQLITE_DONE)
		return 0;
	(void)db_fail(q->r, "cannot use the registry", q->err);
	return -1;
}

void
query_end(struct query *q)
{
	if (q->kept == NULL) {
		(void)sqlite3_finalize(q->stmt); /* its error was told by query_next() */
		return;
	}
	(void)sqlite3_reset(q->stmt); /* likewise */
	(void)sqlite3_clear_bindings(q->stmt);
	q->kept->busy = false;
}

/* ---- columns ---- */

struct slice
query_text(const struct query *q, int column)
{
	const unsigned char *p = sqlite3_column_text(q->stmt, column);

	return p == NULL ? SL("") : slice_of(p, (size_t)sqlite3_column_bytes(q->stmt, column));
}

struct slice
query_blob(const struct query *q, int column)
{
	const void *p = sqlite3_column_blob(q->stmt, column);

	return p == NULL ? SL("") : slice_of(p, (size_t)sqlite3_column_bytes(q->stmt, column));
}

int64_t
query_int(const struct query *q, int column)
{
	return sqlite3_column_int64(q->stmt, column);
}

/* ---- whole statements ---- */

bool
db_run(struct registry *r, const char *sql, const struct values *v, struct err *err)
{
	struct query q;
	int more;

	if (!query_begin(&q, r, sql, v, err))
		return false;
	do
		more = query_next(&q);
	while (more == 1);
	query_end(&q);
	return more == 0;
}

int64_t
db_changed(const struct registry *r)
{
	return sqlite3_changes64(r->db);
}

bool
db_int(struct registry *r, const char *sql, const struct values *v, int64_t *ret, struct err *err)
{
	struct query q;
	int more;

	if (!query_begin(&q, r, sql, v, err))
		return false;
	more = query_next(&q);
	if (more == 1)
		*ret = query_int(&q, 0);
	query_end(&q);
	if (more == 0)
		r->failed = ERR_MISSING;
	return more == 1 || (more == 0 && err_set(err, ERR_MISSING, "there is no such entry"));
}

bool
db_exec(struct registry *r, const char *sql, struct err *err)
{
	errno = 0;
	return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK || db_fail(r, "cannot use the registry", err);
}

/* ---- transactions ---- */

bool
change_begin(struct registry *r, struct err *err)
{
	if (r->undone)
		return err_set(err, ERR_SYSTEM, "the transaction was undone by an earlier error: roll it back and begin again");
	if (!db_run(r, r->depth == 0 ? "BEGIN IMMEDIATE" : "SAVEPOINT change", NULL, err))
		return false;
	r->depth++;
	return true;
}

/* A full disk and the like make SQLite give up all of it, not only the statement. */
static void
undo(struct registry *r)
{
	r->n_changes = -1;
	if (sqlite3_get_autocommit(r->db) != 0)
		r->undone = r->depth > 0;
	else if (r->depth == 0)
		(void)db_run(r, "ROLLBACK", NULL, NULL);
	else if (!db_run(r, "ROLLBACK TO change", NULL, NULL) || !db_run(r, "RELEASE change", NULL, NULL))
		r->undone = true;
}

bool
change_end(struct registry *r, bool ok, struct err *err)
{
	ASSERT(r->depth > 0);
	r->depth--;
	if (ok)
		ok = db_run(r, r->depth == 0 ? "COMMIT" : "RELEASE change", NULL, err);
	if (!ok)
		undo(r);
	return ok;
}

bool
registry_begin(struct registry *r, struct err *err)
{
	if (r->in_transaction)
		return err_set(err, ERR_USAGE, "a transaction is open already");
	if (!change_begin(r, err))
		return false;
	r->in_transaction = true;
	return true;
}

bool
registry_commit(struct registry *r, struct err *err)
{
	bool undone = r->undone;

	if (!r->in_transaction)
		return err_set(err, ERR_USAGE, "there is no transaction to commit");
	if (undone) {
		registry_rollback(r);
		return err_set(err, ERR_SYSTEM, "the transaction was undone by an earlier error");
	}
	r->in_transaction = false;
	return change_end(r, true, err);
}

void
registry_rollback(struct registry *r)
{
	if (!r->in_transaction)
		return;
	r->in_transaction = r->undone = false;
	r->depth--;
	undo(r);
}
