/* Templates of devices. */
#include "registry/internal.h"

static const struct column columns[] = {
	{ COL_INT, offsetof(struct registry_template, id) },
	{ COL_TEXT, offsetof(struct registry_template, tenant) },
	{ COL_TEXT, offsetof(struct registry_template, label) },
	{ COL_TEXT, offsetof(struct registry_template, attrs) },
	{ COL_INT, offsetof(struct registry_template, devices) },
	{ COL_INT, offsetof(struct registry_template, created) },
	{ COL_INT, offsetof(struct registry_template, updated) },
	{ COL_INT, offsetof(struct registry_template, version) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_template),
	offsetof(struct registry_template, mem), "template" };
/* The count ends at REGISTRY_PAGE_MAX. */
#define SELECT                                                                                                                 \
	"SELECT p.id, t.name, p.label, p.attrs, (SELECT COUNT(*) FROM (SELECT 1 FROM device_templates d WHERE d.template_id = p.id" \
	" LIMIT 1000)), p.created, p.updated, p.version FROM templates p JOIN tenants t ON t.id = p.tenant_id WHERE "
_Static_assert(REGISTRY_PAGE_MAX == 1000, "the LIMIT in SELECT");

static bool
fields_ok(const struct registry_template *t, struct err *err)
{
	if (t->tenant.n == 0)
		return err_set(err, ERR_INPUT, "a template belongs to a tenant");
	return word_text(t->label, REGISTRY_LABEL_MAX, "label", err) && word_json(t->attrs, "attributes", err);
}

static bool
no_template(int64_t id, struct err *err)
{
	char buf[NUMBER_TEXT];

	return row_missing(err, kind.what, word_number(id, buf));
}

static bool
add(struct registry *r, const struct registry_template *t, int64_t *ret_id, struct err *err)
{
	int64_t tenant, now = registry_now(r);

	if (!tenant_number(r, t->tenant, &tenant, err) ||
	    !db_run(r, "INSERT INTO templates(tenant_id, label, attrs, created, updated, version) VALUES(?1, ?2, ?3, ?4, ?4, 1)",
	        VALUES(v_int(tenant), v_text(t->label), v_text(t->attrs), v_int(now)), err))
		return false;
	*ret_id = sqlite3_last_insert_rowid(r->db);
	return true;
}

bool
registry_template_add(struct registry *r, const struct registry_template *t, int64_t *ret_id, struct err *err)
{
	int64_t id = 0;

	if (!fields_ok(t, err) || !change_begin(r, err) || !change_end(r, add(r, t, &id, err), err))
		return false;
	*ret_id = id;
	return true;
}

static bool
set(struct registry *r, const struct registry_template *t, struct err *err)
{
	int64_t tenant = 0;
	char buf[NUMBER_TEXT];

	if (!tenant_number(r, t->tenant, &tenant, err) ||
	    !db_run(r, "UPDATE templates SET label = ?3, attrs = ?4, updated = ?5, version = version + 1"
	               " WHERE id = ?1 AND tenant_id = ?2 AND (?6 = 0 OR version = ?6)",
	        VALUES(v_int(t->id), v_int(tenant), v_text(t->label), v_text(t->attrs), v_int(registry_now(r)), v_int(t->version)), err))
		return false;
	return db_changed(r) == 1 ||
	    row_unchanged(r,
	        &(struct row_query){ &kind, "SELECT COUNT(*) FROM templates WHERE id = ?1 AND tenant_id = ?2",
	            VALUES(v_int(t->id), v_int(tenant)), word_number(t->id, buf) }, err);
}

bool
registry_template_set(struct registry *r, const struct registry_template *t, struct err *err)
{
	return fields_ok(t, err) && change_begin(r, err) && change_end(r, set(r, t, err), err);
}

static bool
remove_it(struct registry *r, struct slice tenant, int64_t id, struct err *err)
{
	int64_t number = 0;

	if (!tenant_number(r, tenant, &number, err))
		return false;
	if (db_run(r, "DELETE FROM templates WHERE id = ?1 AND tenant_id = ?2", VALUES(v_int(id), v_int(number)), err))
		return db_changed(r) == 1 || no_template(id, err);
	return r->failed == ERR_MISSING ? err_set(err, ERR_DENIED, "there are devices of this template") : false;
}

bool
registry_template_remove(struct registry *r, struct slice tenant, int64_t id, struct err *err)
{
	return change_begin(r, err) && change_end(r, remove_it(r, tenant, id, err), err);
}

bool
registry_template_get(struct registry *r, struct slice tenant, int64_t id, struct registry_template *ret, struct err *err)
{
	char buf[NUMBER_TEXT];

	return row_get(r,
	    &(struct row_query){ &kind, SELECT "p.id = ?1 AND t.name = ?2", VALUES(v_int(id), v_text(tenant)), word_number(id, buf) }, ret,
	    err);
}

EACH_ROW(registry_template_fn)

bool
registry_template_list(struct registry *r, struct slice tenant, struct slice prefix, struct registry_page *page,
    registry_template_fn *each, void *ctx, struct err *err)
{
	struct list l = { .tag = 4, .kind = &kind, .fetch = SELECT "p.id = ?1", .fn = each_row, .ctx = &(struct shown){ each, ctx },
		.more = { v_text(prefix), v_int((int64_t)prefix.n) }, .n_more = 2,
		.scan = "SELECT substr(CAST(label AS BLOB), 1, ?6) = CAST(?5 AS BLOB), id, 0 FROM templates"
			" WHERE id > ?2 AND ?1 = 0 AND ?4 = 0 ORDER BY id LIMIT ?3" };

	if (!word_text(prefix, REGISTRY_LABEL_MAX, "prefix", err) || !tenant_number(r, tenant, &l.tenant, err))
		return false;
	if (l.tenant != 0) {
		l.tag = 5;
		l.scan = "SELECT substr(CAST(label AS BLOB), 1, ?6) = CAST(?5 AS BLOB), id, 0 FROM templates INDEXED BY templates_tenant"
			 " WHERE tenant_id = ?4 AND id > ?2 AND ?1 = 0 ORDER BY id LIMIT ?3";
	}
	return list_run(r, &l, page, err);
}

static bool
attr_ids(struct registry *r, unsigned n, int64_t *ret, struct err *err)
{
	return db_run(r, "UPDATE meta SET value = value + ?1 WHERE name = 'attr'", VALUES(v_int(n)), err) &&
	    db_int(r, "SELECT value FROM meta WHERE name = 'attr'", NULL, ret, err);
}

bool
registry_attr_ids(struct registry *r, unsigned n, int64_t *ret, struct err *err)
{
	int64_t last = 0;

	if (!change_begin(r, err) || !change_end(r, attr_ids(r, n, &last, err), err))
		return false;
	*ret = last - n + 1;
	return true;
}
