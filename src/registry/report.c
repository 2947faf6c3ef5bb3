/* A registry that nobody has open: is it whole, what is in it, all of it as JSON. */
#include "registry/internal.h"

#include <stdlib.h>
#include <sys/stat.h>

/* ---- counting ---- */

struct count {
	const char *sql;
	size_t offset;
};
#define COUNT(table, field) { "SELECT COUNT(*) FROM " table, offsetof(struct registry_report, field) }
static const struct count counts[] = {
	COUNT("tenants", tenants), COUNT("users", users), COUNT("groups", groups), COUNT("permissions", permissions),
	COUNT("templates", templates), COUNT("devices", devices), COUNT("certificates", certificates), COUNT("cas", cas),
	COUNT("entities", entities), COUNT("secrets", secrets), COUNT("changes", changes),
	COUNT("certificates WHERE state >= 2", revoked),
	COUNT("devices WHERE state = 0", devices_of[REGISTRY_ENABLED]),
	COUNT("devices WHERE state = 1", devices_of[REGISTRY_DISABLED]),
	COUNT("devices WHERE state = 2", devices_of[REGISTRY_PENDING]),
	COUNT("devices WHERE state = 3", devices_of[REGISTRY_QUARANTINED]),
	{ "SELECT value FROM meta WHERE name = 'generation'", offsetof(struct registry_report, generation) },
	{ "SELECT p.page_count * s.page_size FROM pragma_page_count p, pragma_page_size s", offsetof(struct registry_report, bytes) },
	{ "SELECT f.freelist_count * s.page_size FROM pragma_freelist_count f, pragma_page_size s",
	    offsetof(struct registry_report, free_bytes) },
};

static bool
count_all(struct registry *r, struct registry_report *ret, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		if (!db_int(r, counts[i].sql, NULL, (int64_t *)(void *)((char *)ret + counts[i].offset), err))
			return false;
	ret->version = (int)schema_version;
	return true;
}

/* ---- checking ---- */

/* Each row is a fault, in words. What is kept to be fast is compared with what it stands for. */
static const char *const checks[] = {
	"SELECT integrity_check FROM pragma_integrity_check(1000) WHERE integrity_check <> 'ok'",
	"SELECT 'table ' || \"table\" || ': row ' || COALESCE(rowid, '?') || ' refers to something in ' || parent || ' that is not there'"
	" FROM pragma_foreign_key_check",
	"SELECT 'tenant ' || name || ': the number of its devices is kept as ' || kept || ' and is ' || real FROM (SELECT t.name,"
	" (SELECT COALESCE(SUM(n), 0) FROM device_tally y WHERE y.tenant_id = t.id) AS kept,"
	" (SELECT COUNT(*) FROM devices d WHERE d.tenant_id = t.id) AS real FROM tenants t) WHERE kept <> real",
	"SELECT 'device ' || cn || ': the end of its certificates is kept as ' || not_after || ' and is ' || real FROM (SELECT d.cn, d.not_after,"
	" COALESCE((SELECT MAX(x.not_after) FROM certificates x WHERE x.device_id = d.id AND x.state = 0), 0) AS real FROM devices d)"
	" WHERE not_after <> real LIMIT 1000",
	"SELECT 'the number of certificates that end on each day is not right: ' || kept || ' kept, ' || real || ' there' FROM (SELECT"
	" (SELECT COALESCE(SUM(n), 0) FROM end_tally) AS kept, (SELECT COUNT(*) FROM certificates WHERE state = 0) AS real) WHERE kept <> real",
	"SELECT 'device ' || d.cn || ': its common name is not that of its tenant' FROM devices d JOIN tenants t ON t.id = d.tenant_id"
	" WHERE d.cn <> CASE t.first WHEN 1 THEN d.name ELSE t.name || ':' || d.name END LIMIT 1000",
	"SELECT 'the idempotency keys of ' || scope || ' are not as many and as large as is kept' FROM (SELECT scope, COUNT(*) AS n,"
	" SUM(length(head) + length(body)) AS bytes FROM replays GROUP BY scope) r FULL JOIN replay_tally y USING(scope)"
	" WHERE r.n IS NOT y.n OR r.bytes IS NOT y.bytes LIMIT 1000",
	"SELECT 'CA ' || name || ': more revocations are listed than there were' FROM cas WHERE revocations_listed > revocations",
};

struct faults {
	void (*each)(void *ctx, const char *text);
	void *ctx;
	int64_t n;
};

static bool
run_check(struct registry *r, const char *sql, struct faults *f, struct err *err)
{
	struct query q;
	char line[512];
	int more;

	if (!query_begin(&q, r, sql, NULL, err))
		return false;
	while ((more = query_next(&q)) == 1) {
		f->n++;
		if (f->each != NULL)
			f->each(f->ctx, text_line(query_text(&q, 0), line, sizeof line));
	}
	query_end(&q);
	return more != -1;
}

bool
registry_check(const char *path, bool deep, void (*fault)(void *ctx, const char *text), void *ctx, struct registry_report *ret,
    struct err *err)
{
	struct registry_report report = { 0 };
	struct faults f = { .each = fault, .ctx = ctx };
	struct registry *r = registry_open(&(struct registry_options){ .path = path, .read_only = true }, err);
	bool ok = r != NULL;

	for (size_t i = 0; ok && deep && i < ARRAY_LEN(checks); i++)
		ok = run_check(r, checks[i], &f, err);
	ok = ok && count_all(r, &report, err);
	registry_close(r);
	report.faults = f.n;
	if (ok)
		*ret = report;
	return ok;
}

/* ---- all of it ---- */

/* Names of tables and columns come from the file; they are quoted as SQL's own function has it. */
#define LEFT_OUT "('password', 'hash')"
static const char tables_sql[] =
    "SELECT name, 'SELECT json_object(''table'', ' || quote(name) || (SELECT group_concat(', ' || quote(c.name) || ', ' ||"
    " CASE WHEN c.type = 'BLOB' THEN 'lower(hex(\"' || c.name || '\"))' ELSE '\"' || c.name || '\"' END, '')"
    " FROM pragma_table_info(s.name) c WHERE c.name NOT IN " LEFT_OUT ") || ') FROM \"' || name || '\"'"
    " FROM sqlite_schema s WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";

struct dump {
	bool (*each)(void *ctx, const char *json, size_t n);
	void *ctx;
	bool stopped;
};

static bool
dump_table(struct registry *r, const char *sql, struct dump *d, struct err *err)
{
	struct query q;
	int more;

	if (!query_begin(&q, r, sql, NULL, err))
		return false;
	while ((more = query_next(&q)) == 1 && !d->stopped) {
		struct slice s = query_text(&q, 0);

		d->stopped = !d->each(d->ctx, (const char *)s.p, s.n);
	}
	query_end(&q);
	return more != -1;
}

static bool
dump_all(struct registry *r, struct dump *d, struct err *err)
{
	struct query q;
	char *sql;
	int more;
	bool ok = true;

	if (!query_begin(&q, r, tables_sql, NULL, err))
		return false;
	while (ok && !d->stopped && (more = query_next(&q)) == 1) {
		sql = text_dup(query_text(&q, 1));
		ok = sql != NULL ? dump_table(r, sql, d, err) : err_set(err, ERR_MEMORY, "out of memory");
		free(sql);
	}
	ok = ok && (d->stopped || more == 0);
	query_end(&q);
	return ok;
}

bool
registry_dump(const char *path, bool (*each)(void *ctx, const char *json, size_t n), void *ctx, struct err *err)
{
	struct dump d = { .each = each, .ctx = ctx };
	struct registry *r = registry_open(&(struct registry_options){ .path = path, .read_only = true }, err);
	bool ok = r != NULL && dump_all(r, &d, err);

	registry_close(r);
	return ok;
}
