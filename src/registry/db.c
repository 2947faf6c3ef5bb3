/* Opening and closing the file; SQLite's errors as ours. */
#include "registry/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { URI_MAX = 3 * 4096 + 64 };

int64_t
registry_now(const struct registry *r)
{
	return r->now != NULL ? r->now(r->now_ctx) : (int64_t)time(NULL);
}

/* ---- errors ---- */

static bool
fail_io(struct registry *r, const char *what, struct err *err)
{
	/* SQLite does not always keep it; query_next() has cleared errno before. */
	if (sqlite3_system_errno(r->db) != 0)
		errno = sqlite3_system_errno(r->db);
	if (errno == 0)
		return err_set(err, ERR_SYSTEM, "%s: %s: input/output error: %s", r->path, what, sqlite3_errmsg(r->db));
	return err_sys(err, "%s: %s", r->path, what);
}

static bool
fail_constraint(struct registry *r, const char *what, struct err *err)
{
	switch (sqlite3_extended_errcode(r->db)) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
	case SQLITE_CONSTRAINT_ROWID:
		return err_set(err, ERR_EXISTS, "%s: it exists already", r->path);
	case SQLITE_CONSTRAINT_FOREIGNKEY:
		return err_set(err, ERR_MISSING, "%s: what it refers to is not there, or something refers to it", r->path);
	default:
		return err_set(err, ERR_INPUT, "%s: %s: %s", r->path, what, sqlite3_errmsg(r->db));
	}
}

static bool
fail(struct registry *r, const char *what, struct err *err)
{
	switch (sqlite3_extended_errcode(r->db) & 0xff) {
	case SQLITE_CONSTRAINT:
		return fail_constraint(r, what, err);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return err_set(err, ERR_EXISTS, "%s: another program has this database locked: end it first", r->path);
	case SQLITE_NOMEM:
		return err_set(err, ERR_MEMORY, "out of memory");
	case SQLITE_FULL:
		return err_set(err, ERR_LIMIT, "%s: %s: the disk is full", r->path, what);
	case SQLITE_TOOBIG:
		return err_set(err, ERR_LIMIT, "%s: %s: too large", r->path, what);
	case SQLITE_IOERR:
		return fail_io(r, what, err);
	case SQLITE_NOTADB:
		return err_set(err, ERR_INPUT, "%s is no registry: it is not an SQLite database", r->path);
	case SQLITE_CORRUPT:
		return err_set(err, ERR_INPUT, "%s is damaged (%s): put a backup back", r->path, sqlite3_errmsg(r->db));
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return err_set(err, ERR_DENIED, "%s: %s: it may only be read", r->path, what);
	default:
		return err_set(err, ERR_SYSTEM, "%s: %s: %s", r->path, what, sqlite3_errmsg(r->db));
	}
}

bool
db_fail(struct registry *r, const char *what, struct err *err)
{
	struct err e = { 0 };

	(void)fail(r, what, &e);
	r->failed = e.code;
	if (err != NULL)
		*err = e;
	return false;
}

/* ---- opening ---- */

/* The path as a URI: what means something there is written as %XX. */
static bool
uri_of(const char *path, const char *query, char out[URI_MAX])
{
	size_t n = (size_t)snprintf(out, URI_MAX, "file:");

	for (; *path != '\0' && n + 4 + strlen(query) < URI_MAX; path++) {
		bool plain = *path != '%' && *path != '?' && *path != '#';

		n += (size_t)snprintf(out + n, URI_MAX - n, plain ? "%c" : "%%%02X", (unsigned char)*path);
	}
	(void)snprintf(out + n, URI_MAX - n, "%s", query);
	return *path == '\0';
}

/* Without a log beside it nothing needs to be written, not even to read: so it works where nobody may write. */
static bool
has_log(const char *path)
{
	char wal[4096 + 8];
	struct stat st;

	(void)snprintf(wal, sizeof wal, "%s-wal", path);
	return stat(wal, &st) == 0 && st.st_size > 0;
}

static bool
usable_file(const char *path, struct err *err)
{
	struct stat st;

	if (lstat(path, &st) == -1)
		return err_sys(err, "cannot open %s", path);
	return S_ISREG(st.st_mode) || err_set(err, ERR_INPUT, "%s is no registry: it is not a regular file", path);
}

static bool
settings(struct registry *r, struct err *err)
{
	int set = 0;

	sqlite3_extended_result_codes(r->db, 1);
	return (sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, &set) == SQLITE_OK &&
	           sqlite3_db_config(r->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, &set) == SQLITE_OK &&
	           sqlite3_db_config(r->db, SQLITE_DBCONFIG_DQS_DML, 0, &set) == SQLITE_OK &&
	           sqlite3_db_config(r->db, SQLITE_DBCONFIG_DQS_DDL, 0, &set) == SQLITE_OK) ||
	    db_fail(r, "cannot open it", err);
}

bool
db_open(struct registry *r, const char *path, enum db_open how, struct err *err)
{
	char uri[URI_MAX];
	int flags = SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;

	if (r->path == NULL && (r->path = strdup(path)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	if (!usable_file(path, err))
		return false;
	if (!uri_of(path, how == DB_READ && !has_log(path) ? "?immutable=1" : "", uri))
		return err_set(err, ERR_LIMIT, "%s: path too long", path);
	flags |= how == DB_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	if (sqlite3_open_v2(uri, &r->db, flags, NULL) != SQLITE_OK)
		return r->db == NULL ? err_set(err, ERR_MEMORY, "out of memory") : db_fail(r, "cannot open it", err);
	return settings(r, err);
}

bool
db_pragmas(struct registry *r, struct err *err)
{
	/* EXCLUSIVE before anything is read: so the log needs no shared memory, and no second connection can come in between. */
	return db_exec(r,
	    "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
	    "PRAGMA cell_size_check = ON; PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864;"
	    "PRAGMA wal_autocheckpoint = 1000", err);
}

bool
db_version(struct registry *r, int *ret_version, struct err *err)
{
	int64_t id = 0, version = 0, tables = 0;

	if (!db_int(r, "PRAGMA application_id", NULL, &id, err) || !db_int(r, "PRAGMA user_version", NULL, &version, err) ||
	    !db_int(r, "SELECT COUNT(*) FROM sqlite_schema", NULL, &tables, err))
		return false;
	if (id != APPLICATION_ID && (id != 0 || version != 0 || tables != 0))
		return err_set(err, ERR_INPUT, "%s is no registry: it is another program's database", r->path);
	*ret_version = (int)version;
	return true;
}

/* Nobody else may read it, also not the log beside it, which takes its mode. */
static bool
make_file(const char *path, bool create, struct err *err)
{
	struct stat st;
	int fd;

	if (stat(path, &st) == 0)
		return (st.st_mode & 077) == 0 || chmod(path, 0600) == 0 || err_sys(err, "cannot take rights of others from %s", path);
	if (errno != ENOENT)
		return err_sys(err, "cannot open %s", path);
	if (!create)
		return err_set(err, ERR_MISSING, "there is no registry %s", path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1)
		return err_sys(err, "cannot make %s", path);
	(void)close(fd);
	return true;
}

static bool
quick_check(struct registry *r, struct err *err)
{
	struct query q;
	bool ok;
	int more;

	if (!query_begin(&q, r, "PRAGMA quick_check(1)", NULL, err))
		return false;
	more = query_next(&q);
	ok = more == 1 && slice_eq(query_text(&q, 0), SL("ok"));
	if (more == 1 && !ok)
		(void)err_set(err, ERR_INPUT, "%s is damaged (%.*s): put a backup back", r->path, SL_ARG(query_text(&q, 0)));
	query_end(&q);
	return ok;
}

/* What was in the middle of something when the last process died. */
static bool
repair(struct registry *r, struct err *err)
{
	return change_begin(r, err) &&
	    change_end(r,
	        db_run(r, "UPDATE secrets INDEXED BY secrets_claimed SET claimed = 0 WHERE claimed > 0", NULL, err) &&
	            db_run(r, "DELETE FROM replays WHERE status = 0", NULL, err),
	        err);
}

static bool
open_write(struct registry *r, const struct registry_options *o, struct err *err)
{
	int version = 0;

	if (!db_lock(o->path, false, &r->lock_fd, err) || !make_file(o->path, o->create, err) ||
	    !db_open(r, o->path, DB_WRITE, err) || !db_version(r, &version, err))
		return false;
	if (version == 0 && !o->create)
		return err_set(err, ERR_INPUT, "%s is empty: remove it to begin with a new one, or put a backup back", o->path);
	return db_pragmas(r, err) && (!o->check || quick_check(r, err)) &&
	    schema_migrate(r, schema_migrations, schema_version, err) && repair(r, err);
}

static bool
open_read(struct registry *r, const struct registry_options *o, struct err *err)
{
	int version = 0;

	if (!db_lock(o->path, true, &r->lock_fd, err) || !db_open(r, o->path, DB_READ, err) || !db_version(r, &version, err))
		return false;
	if ((size_t)version != schema_version)
		return err_set(err, ERR_INPUT, "%s has version %d and this program reads version %zu: %s", o->path, version, schema_version,
		    (size_t)version < schema_version ? "start the service once, which brings it up to date" : "use the newer program");
	return !o->check || quick_check(r, err);
}

struct registry *
registry_open(const struct registry_options *o, struct err *err)
{
	struct registry *r = calloc(1, sizeof *r);

	if (r == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	r->lock_fd = -1;
	r->n_changes = -1;
	r->now = o->now;
	r->now_ctx = o->ctx;
	if (o->read_only ? open_read(r, o, err) : open_write(r, o, err))
		return r;
	registry_close(r);
	return NULL;
}

void
registry_close(struct registry *r)
{
	if (r == NULL)
		return;
	registry_rollback(r);
	for (unsigned i = 0; i < STATEMENTS_MAX; i++) {
		(void)sqlite3_finalize(r->statements[i].stmt);
		free(r->statements[i].sql);
	}
	(void)sqlite3_close(r->db); /* writes the log back; what fails there is done by the next who opens it */
	db_unlock(r->lock_fd);
	free(r->path);
	free(r);
}
