/* Private to registry/: the database, statements, rows, pages. */
#ifndef REGISTRY_INTERNAL_H
#define REGISTRY_INTERNAL_H

#include <sqlite3.h>
#include "base/num.h"
#include "base/text.h"
#include <stddef.h>
#include "registry/registry.h"

enum {
	APPLICATION_ID = 0x53475247, /* "SGRG" */
	STATEMENTS_MAX = 256,        /* kept prepared; there are fewer texts than that */
	CN_BYTES_MAX = 4 * REGISTRY_NAME_MAX,
	SCAN_MAX = 1000,             /* entries of an index that one page looks at beyond those that it shows */
};

struct registry {
	sqlite3 *db;
	char *path;
	int lock_fd;                 /* of path.lock; -1: there is none */
	int64_t (*now)(void *ctx);
	void *now_ctx;
	unsigned depth;              /* of transaction and savepoints */
	bool in_transaction;         /* between registry_begin() and its end */
	bool undone;                 /* SQLite gave the whole transaction up: it cannot be committed any more */
	enum err_code failed;        /* of the last error that db_fail() has told */
	int64_t tally_next;          /* the tenant whose counts of none are forgotten next */
	int64_t n_changes;           /* kept ones that are no removals; -1: to be counted */
	struct statement {
		char *sql;
		sqlite3_stmt *stmt;
		bool busy;
	} statements[STATEMENTS_MAX]; /* open addressing by the hash of the text */
	unsigned n_statements;
};

/* ---- db.c ---- */

int64_t registry_now(const struct registry *r);
/* What SQLite said last, as an error; returns false. <what> was being done: "cannot read the registry". */
bool db_fail(struct registry *r, const char *what, struct err *err);
/* A database file without the rest of a registry: for backups and checks. */
enum db_open { DB_WRITE, DB_READ };
bool db_open(struct registry *r, const char *path, enum db_open how, struct err *err);
bool db_pragmas(struct registry *r, struct err *err);
/* application_id and user_version; ERR_INPUT if it is none of ours. */
bool db_version(struct registry *r, int *ret_version, struct err *err);

/* ---- lock.c ---- */

/* path.lock; fd -1 for a reader where no writer ever was. */
bool db_lock(const char *path, bool shared, int *ret_fd, struct err *err);
void db_unlock(int fd);

/* ---- schema.c ---- */

struct migration {
	const char *sql; /* brings version n to n + 1, n being its place in the table */
};
extern const struct migration schema_migrations[];
extern const size_t schema_version;
/* One transaction a step; a copy of what was stays as path.vN. ERR_INPUT: newer than <n>. */
bool schema_migrate(struct registry *r, const struct migration *m, size_t n, struct err *err);

/* ---- query.c ---- */

struct value {
	enum { VALUE_NULL, VALUE_INT, VALUE_TEXT, VALUE_BLOB } kind;
	int64_t i;
	struct slice s;
};
struct values {
	const struct value *v;
	size_t n;
};
#define VALUES(...)                                                                                                             \
	(&(const struct values){ (const struct value[]){ __VA_ARGS__ },                                                         \
	    sizeof((const struct value[]){ __VA_ARGS__ }) / sizeof(struct value) })
static inline struct value
v_int(int64_t i)
{
	return (struct value){ .kind = VALUE_INT, .i = i };
}
/* A row's number; 0: NULL. */
static inline struct value
v_ref(int64_t i)
{
	return (struct value){ .kind = i != 0 ? VALUE_INT : VALUE_NULL, .i = i };
}
static inline struct value
v_text(struct slice s)
{
	return (struct value){ .kind = VALUE_TEXT, .s = s };
}
static inline struct value
v_blob(struct slice s)
{
	return (struct value){ .kind = VALUE_BLOB, .s = s };
}

struct query {
	struct registry *r;
	sqlite3_stmt *stmt;
	struct statement *kept; /* NULL: prepared for this once */
	struct err *err;
};
/* <v> are ?1, ?2, …: as many as the text has; NULL: none. They are borrowed until query_end(). False: query_end() is not needed. */
bool query_begin(struct query *q, struct registry *r, const char *sql, const struct values *v, struct err *err);
int query_next(struct query *q); /* 1: a row, 0: the end, -1: <err> is set */
void query_end(struct query *q);
struct slice query_text(const struct query *q, int column);
struct slice query_blob(const struct query *q, int column);
int64_t query_int(const struct query *q, int column);

/* A statement without rows. How many it changed: db_changed(). */
bool db_run(struct registry *r, const char *sql, const struct values *v, struct err *err);
int64_t db_changed(const struct registry *r);
/* One number. ERR_MISSING, without a text, when there is no row. */
bool db_int(struct registry *r, const char *sql, const struct values *v, int64_t *ret, struct err *err);
/* Constant text, several statements. */
bool db_exec(struct registry *r, const char *sql, struct err *err);

/* A change: its own transaction, or a savepoint in that of registry_begin(). change_end() returns what the whole came to. */
bool change_begin(struct registry *r, struct err *err);
bool change_end(struct registry *r, bool ok, struct err *err);
/* Written as: return change_begin(r, err) && change_end(r, steps(…), err); */

/* ---- rows.c ---- */

enum column_kind {
	COL_TEXT,  /* struct slice */
	COL_BLOB,  /* struct slice */
	COL_INT,   /* int64_t */
	COL_NUMBER, /* int or an enum */
	COL_BOOL,
	COL_SERIAL, /* char[], hex of a blob */
	COL_HASH,
	COL_TEMPLATES, /* "1,2,3" into registry_device.templates */
};
struct column {
	enum column_kind kind;
	size_t offset;
};
/* What kind of row, how to read it, and how people call it. */
struct kind {
	const struct column *columns;
	size_t n, size, mem; /* of the struct; where its .mem is */
	const char *what;    /* "device" */
};
/* The first row of the statement into <ret>, whose texts are copied. ERR_MISSING: "there is no <what> <name>". */
struct row_query {
	const struct kind *kind;
	const char *sql;
	const struct values *v;
	struct slice name; /* for the error */
};
bool row_get(struct registry *r, const struct row_query *g, void *ret, struct err *err);
/* <row> borrows from the statement. */
typedef bool row_fn(void *ctx, const void *row);
/* Every row of the statement. */
bool row_each(struct registry *r, const struct row_query *g, row_fn *fn, void *ctx, struct err *err);
/* The callback of a list, as the public type <fn> has it: each_row() with a struct shown. */
#define EACH_ROW(fn_type)                                                                                                       \
	struct shown {                                                                                                          \
		fn_type *fn;                                                                                                    \
		void *ctx;                                                                                                      \
	};                                                                                                                      \
	static bool each_row(void *ctx, const void *row)                                                                        \
	{                                                                                                                       \
		const struct shown *s = ctx;                                                                                    \
                                                                                                                                \
		return s->fn(s->ctx, row);                                                                                      \
	}
bool row_missing(struct err *err, const char *what, struct slice name);
bool row_exists(struct err *err, const char *what, struct slice name);
/* Of an update with "… AND (?version = 0 OR version = ?version)" that changed nothing: is the row gone, or another? <sql> counts it. */
bool row_unchanged(struct registry *r, const struct row_query *g, struct err *err);

/* ---- words.c: what may stand in a field ---- */

bool word_text(struct slice s, size_t max, const char *what, struct err *err);
bool word_json(struct slice s, const char *what, struct err *err);
/* Letters, digits and <more>; begins with a letter or digit; <upper>: capitals may be. */
bool word_name(struct slice s, const char *more, bool upper, const char *what, struct err *err);
bool word_hash(struct slice s, const char *what, struct err *err);
/* ASCII letters in lower case, into <out>; false: longer than <cap>. */
bool word_lower(struct slice s, char *out, size_t cap, struct slice *ret);
/* In decimal, for errors. */
enum { NUMBER_TEXT = 24 };
struct slice word_number(int64_t n, char out[NUMBER_TEXT]);
/* Hex to bytes; false: odd, not hex, too long or empty. Capitals are fine. */
bool word_hex(struct slice hex, uint8_t *out, size_t cap, struct slice *ret);

/* ---- lists.c ---- */

enum { LIST_VALUES_MAX = 16 };
/* A list in pages: entries of an index in its order; those that fit are fetched by their number and shown. */
struct list {
	uint8_t tag;                /* of the list and its order, in the cursor */
	/* SELECT fits, number, key …: ?1 the key and ?2 the number behind which to go on, ?3 how many, ?4 the tenant, then <more> */
	const char *scan;
	struct value more[LIST_VALUES_MAX]; /* ?5, ?6, … */
	size_t n_more;
	bool text;                  /* the key is text; else a number */
	bool down;                  /* the numbers fall; there is no key */
	struct slice prefix;        /* text keys begin with it */
	int64_t from, end;          /* number keys: first, and the one behind the last; 0: none */
	int64_t tenant;             /* with <each_tenant>: 0 = one after the other */
	bool each_tenant;
	const struct kind *kind;
	const char *fetch;          /* the row with number ?1 */
	row_fn *fn;
	void *ctx;
};
bool list_run(struct registry *r, const struct list *l, struct registry_page *page, struct err *err);
/* Text of a statement, from constant pieces. */
struct sql {
	char text[4096];
	size_t n;
};
void sql_add(struct sql *s, const char *piece);
/* What drives a list: "number, key FROM … WHERE …", to which the place to go on from is added. */
struct drive {
	uint8_t tag;
	bool text;
	const char *from;
	const char *key, *id; /* their columns, when rows may share a key; NULL: <from> has it all */
};
/* "SELECT <fits>, <from> …" */
void sql_drive(struct sql *s, const char *fits, const struct drive *d);

/* ---- what one subject needs of another ---- */

/* The number of a tenant; empty: *ret is 0. */
bool tenant_number(struct registry *r, struct slice name, int64_t *ret, struct err *err);
/* Tenants with an enabled member of the administrators' group; behind what could have removed the last of one of <before>: ERR_DENIED. */
bool admin_count(struct registry *r, int64_t *ret, struct err *err);
bool admin_left(struct registry *r, int64_t before, struct err *err);
/* A name for a device and CN that others look up. */
struct device_ref {
	int64_t number, tenant;
	char cn[CN_BYTES_MAX + 1];
	size_t cn_n;
};
bool device_ref(struct registry *r, struct slice tenant, struct slice id, struct device_ref *ret, struct err *err);
/* By CN; .number 0: there is none. */
bool device_ref_cn(struct registry *r, struct slice cn, struct device_ref *ret, struct err *err);
/* devices.not_after, after its certificates changed. */
bool device_dates(struct registry *r, int64_t number, struct err *err);
/* "tenant:id" or "id". */
bool device_cn(struct registry *r, int64_t tenant, struct slice id, char out[CN_BYTES_MAX + 1], struct slice *ret, struct err *err);
/* What follows is done within a change. */
/* The broker is to be told of a device of this tenant. */
bool change_put(struct registry *r, const struct registry_change *c, int64_t tenant, struct err *err);
/* A new device's end entity: NEW, whatever there was of this name. */
bool entity_of_device(struct registry *r, const struct registry_device_new *d, const struct device_ref *ref, struct err *err);
/* A certificate has come to its CN: GENERATED, if there is such an entity. */
bool entity_generated(struct registry *r, struct slice cn, struct err *err);
bool secrets_add(struct registry *r, const struct registry_secret *s, int64_t *ret_id, struct err *err);
/* The claim becomes a use. */
bool secrets_use(struct registry *r, int64_t id, struct err *err);
/* All certificates of a device that are not revoked. */
bool certificates_revoke(struct registry *r, const struct device_ref *device, int reason, unsigned *ret_n, struct err *err);

#endif
