/* Tenants. */
#include "registry/internal.h"

static const struct column columns[] = {
	{ COL_TEXT, offsetof(struct registry_tenant, name) },
	{ COL_TEXT, offsetof(struct registry_tenant, quotas) },
	{ COL_BOOL, offsetof(struct registry_tenant, disabled) },
	{ COL_BOOL, offsetof(struct registry_tenant, first) },
	{ COL_INT, offsetof(struct registry_tenant, devices) },
	{ COL_INT, offsetof(struct registry_tenant, users) },
	{ COL_INT, offsetof(struct registry_tenant, created) },
	{ COL_INT, offsetof(struct registry_tenant, version) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_tenant), offsetof(struct registry_tenant, mem),
	"tenant" };
#define SELECT                                                                                                                  \
	"SELECT t.name, t.quotas, t.disabled, t.first, (SELECT COALESCE(SUM(n), 0) FROM device_tally d WHERE d.tenant_id = t.id)," \
	" (SELECT COALESCE(SUM(n), 0) FROM user_tally u WHERE u.tenant_id = t.id), t.created, t.version FROM tenants t WHERE "

bool
registry_tenant_add(struct registry *r, const struct registry_tenant *t, struct err *err)
{
	if (!word_name(t->name, "_-", false, "tenant's name", err) || !word_json(t->quotas, "quotas", err))
		return false;
	if (!change_begin(r, err))
		return false;
	if (change_end(r, db_run(r, "INSERT INTO tenants(name, quotas, disabled, first, created, version)"
	                            " VALUES(?1, ?2, ?3, NOT EXISTS(SELECT 1 FROM tenants WHERE first = 1), ?4, 1)",
	                      VALUES(v_text(t->name), v_text(t->quotas), v_int(t->disabled), v_int(registry_now(r))), err), err))
		return true;
	return r->failed == ERR_EXISTS ? row_exists(err, kind.what, t->name) : false;
}

/* Whatever the broker knows of a tenant's devices is each device's own state: a disabled tenant changes nothing there by itself. */
static bool
set(struct registry *r, const struct registry_tenant *t, struct err *err)
{
	struct row_query g = { &kind, "SELECT COUNT(*) FROM tenants WHERE name = ?1", VALUES(v_text(t->name)), t->name };

	if (!db_run(r, "UPDATE tenants SET quotas = ?2, disabled = ?3, version = version + 1 WHERE name = ?1 AND (?4 = 0 OR version = ?4)",
	        VALUES(v_text(t->name), v_text(t->quotas), v_int(t->disabled), v_int(t->version)), err))
		return false;
	return db_changed(r) == 1 || row_unchanged(r, &g, err);
}

bool
registry_tenant_set(struct registry *r, const struct registry_tenant *t, struct err *err)
{
	return word_json(t->quotas, "quotas", err) && change_begin(r, err) && change_end(r, set(r, t, err), err);
}

static bool
remove_it(struct registry *r, struct slice name, struct err *err)
{
	int64_t id = 0, first = 0;

	if (!tenant_number(r, name, &id, err) || !db_int(r, "SELECT first FROM tenants WHERE id = ?1", VALUES(v_int(id)), &first, err))
		return false;
	if (first != 0)
		return err_set(err, ERR_DENIED, "the first tenant stays: its devices have their ids as common names");
	/* What it once had leaves traces that do not hold it back. */
	if (!db_run(r, "UPDATE certificates SET tenant_id = NULL WHERE tenant_id = ?1 AND device_id IS NULL", VALUES(v_int(id)), err) ||
	    !db_run(r, "DELETE FROM entities WHERE tenant_id = ?1 AND device_id IS NULL", VALUES(v_int(id)), err) ||
	    !db_run(r, "DELETE FROM device_tally WHERE tenant_id = ?1 AND n = 0", VALUES(v_int(id)), err) ||
	    !db_run(r, "DELETE FROM user_tally WHERE tenant_id = ?1 AND n = 0", VALUES(v_int(id)), err))
		return false;
	if (db_run(r, "DELETE FROM tenants WHERE id = ?1", VALUES(v_int(id)), err))
		return db_run(r, "DELETE FROM end_tally WHERE tenant_id = ?1", VALUES(v_int(id)), err);
	if (r->failed != ERR_MISSING)
		return false;
	return err_set(err, ERR_DENIED, "tenant \"%.*s\" has devices, users, templates or CAs: remove these first", SL_ARG(name));
}

bool
registry_tenant_remove(struct registry *r, struct slice name, struct err *err)
{
	return change_begin(r, err) && change_end(r, remove_it(r, name, err), err);
}

bool
registry_tenant_get(struct registry *r, struct slice name, struct registry_tenant *ret, struct err *err)
{
	struct row_query g = { &kind, SELECT "t.name = ?1", VALUES(v_text(name)), name };

	return row_get(r, &g, ret, err);
}

bool
registry_tenant_first(struct registry *r, struct registry_tenant *ret, struct err *err)
{
	return row_get(r, &(struct row_query){ &kind, SELECT "t.first = 1", NULL, SL("that was the first") }, ret, err);
}

EACH_ROW(registry_tenant_fn)

bool
registry_tenant_list(struct registry *r, struct registry_page *page, registry_tenant_fn *each, void *ctx, struct err *err)
{
	struct list l = { .tag = 1, .text = true, .kind = &kind, .fetch = SELECT "t.id = ?1", .fn = each_row,
		.ctx = &(struct shown){ each, ctx },
		.scan = "SELECT 1, id, name FROM tenants WHERE (name, id) > (?1, ?2) ORDER BY name, id LIMIT ?3" };

	return list_run(r, &l, page, err);
}

bool
tenant_number(struct registry *r, struct slice name, int64_t *ret, struct err *err)
{
	if (name.n == 0) {
		*ret = 0;
		return true;
	}
	if (db_int(r, "SELECT id FROM tenants WHERE name = ?1", VALUES(v_text(name)), ret, err))
		return true;
	return r->failed == ERR_MISSING ? row_missing(err, kind.what, name) : false;
}
