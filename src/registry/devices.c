/* Devices: made with their end entity, their secret and the word to the broker, and taken away with their certificates. */
#include "registry/internal.h"

#include <stdio.h>
#include "registry/device_row.h"

static const char *const state_names[] = { "enabled", "disabled", "pending", "quarantined" };
_Static_assert(ARRAY_LEN(state_names) == REGISTRY_DEVICE_STATES, "a name for each state");

const char *
registry_device_state_name(enum registry_device_state s)
{
	return state_names[s];
}

bool
registry_device_state_parse(struct slice name, enum registry_device_state *ret)
{
	for (unsigned i = 0; i < REGISTRY_DEVICE_STATES; i++) {
		if (slice_eq(name, slice_str(state_names[i]))) {
			*ret = (enum registry_device_state)i;
			return true;
		}
	}
	return false;
}

/* ---- which one ---- */

bool
device_cn(struct registry *r, int64_t tenant, struct slice id, char out[CN_BYTES_MAX + 1], struct slice *ret, struct err *err)
{
	struct query q;
	int more, n;

	if (!registry_cn_ok(id) || memchr(id.p, ':', id.n) != NULL)
		return err_set(err, ERR_INPUT, "a device's id is 1 to %d characters of UTF-8 without / + # : and control characters",
		    REGISTRY_NAME_MAX);
	if (!query_begin(&q, r, "SELECT CASE first WHEN 1 THEN '' ELSE name || ':' END FROM tenants WHERE id = ?1", VALUES(v_int(tenant)), err))
		return false;
	more = query_next(&q);
	n = snprintf(out, CN_BYTES_MAX + 1, "%.*s%.*s", SL_ARG(query_text(&q, 0)), SL_ARG(id));
	query_end(&q);
	if (more == -1)
		return false;
	if (n > CN_BYTES_MAX || !registry_cn_ok(slice_str(out)))
		return err_set(err, ERR_INPUT, "the device's id is too long: its common name is \"tenant:id\" and has at most %d characters",
		    REGISTRY_NAME_MAX);
	*ret = slice_str(out);
	return true;
}

static bool
ref_of(struct registry *r, const char *sql, const struct values *v, struct device_ref *ret, struct err *err)
{
	struct query q;
	struct slice cn;
	int more;

	*ret = (struct device_ref){ 0 };
	if (!query_begin(&q, r, sql, v, err))
		return false;
	more = query_next(&q);
	if (more == 1) {
		ret->number = query_int(&q, 0);
		ret->tenant = query_int(&q, 1);
		cn = query_text(&q, 2);
		ret->cn_n = NUM_MIN(cn.n, sizeof ret->cn - 1);
		memcpy(ret->cn, cn.p, ret->cn_n);
	}
	query_end(&q);
	return more != -1;
}

bool
device_ref_cn(struct registry *r, struct slice cn, struct device_ref *ret, struct err *err)
{
	return ref_of(r, "SELECT id, tenant_id, cn FROM devices WHERE cn = ?1", VALUES(v_text(cn)), ret, err);
}

bool
device_ref(struct registry *r, struct slice tenant, struct slice id, struct device_ref *ret, struct err *err)
{
	if (!ref_of(r, "SELECT d.id, d.tenant_id, d.cn FROM tenants t JOIN devices d ON d.tenant_id = t.id AND d.name = ?2 WHERE t.name = ?1",
	        VALUES(v_text(tenant), v_text(id)), ret, err))
		return false;
	return ret->number != 0 || row_missing(err, device_kind.what, id);
}

static struct slice
ref_cn(const struct device_ref *ref)
{
	return slice_of(ref->cn, ref->cn_n);
}

/* <d> by tenant and id, or by CN when it names no tenant. */
static bool
ref_named(struct registry *r, const struct registry_device *d, struct device_ref *ret, struct err *err)
{
	if (d->tenant.n > 0)
		return device_ref(r, d->tenant, d->id, ret, err);
	return device_ref_cn(r, d->cn, ret, err) && (ret->number != 0 || row_missing(err, device_kind.what, d->cn));
}

static bool
tell(struct registry *r, const struct device_ref *ref, enum registry_device_state state, bool removed, struct err *err)
{
	struct registry_change c = { .cn = ref_cn(ref), .state = state, .removed = removed };

	return change_put(r, &c, ref->tenant, err);
}

/* ---- fields ---- */

static bool
fields_ok(const struct registry_device *d, struct err *err)
{
	if ((unsigned)d->state >= REGISTRY_DEVICE_STATES)
		return err_set(err, ERR_INPUT, "there is no such state of a device");
	if (d->n_templates > REGISTRY_TEMPLATES_MAX)
		return err_set(err, ERR_LIMIT, "a device has at most %d templates", REGISTRY_TEMPLATES_MAX);
	for (size_t i = 0; i < d->n_templates; i++)
		for (size_t j = 0; j < i; j++)
			if (d->templates[i] == d->templates[j])
				return err_set(err, ERR_INPUT, "template %lld is named twice", (long long)d->templates[i]);
	return word_text(d->label, REGISTRY_LABEL_MAX, "label", err) && word_json(d->attrs, "attributes", err);
}

/* "1,2,3": with the row, so that to show a device needs no other table. */
static struct slice
templates_text(const struct registry_device *d, char out[REGISTRY_TEMPLATES_MAX * NUMBER_TEXT])
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_templates; i++)
		n += (size_t)snprintf(out + n, NUMBER_TEXT, i == 0 ? "%lld" : ",%lld", (long long)d->templates[i]);
	return slice_of(out, n);
}

static bool
put_templates(struct registry *r, const struct registry_device *d, const struct device_ref *ref, struct err *err)
{
	for (size_t i = 0; i < d->n_templates; i++) {
		if (!db_run(r, "INSERT INTO device_templates(template_id, name, device_id) SELECT p.id, d.name, d.id FROM templates p, devices d"
		               " WHERE p.id = ?1 AND d.id = ?2 AND p.tenant_id = d.tenant_id",
		        VALUES(v_int(d->templates[i]), v_int(ref->number)), err))
			return false;
		if (db_changed(r) != 1)
			return err_set(err, ERR_MISSING, "there is no template %lld in the device's tenant", (long long)d->templates[i]);
	}
	return true;
}

/* ---- making ---- */

static bool
insert(struct registry *r, const struct registry_device *d, struct device_ref *ref, struct err *err)
{
	char templates[REGISTRY_TEMPLATES_MAX * NUMBER_TEXT];
	struct slice cn = { 0 };

	if (d->tenant.n == 0)
		return err_set(err, ERR_INPUT, "a device belongs to a tenant");
	if (!tenant_number(r, d->tenant, &ref->tenant, err) || !device_cn(r, ref->tenant, d->id, ref->cn, &cn, err))
		return false;
	ref->cn_n = cn.n;
	if (!db_run(r, "INSERT INTO devices(tenant_id, name, cn, label, state, templates, not_after, created, updated, version, attrs)"
	               " VALUES(?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7, 1, ?8)",
	        VALUES(v_int(ref->tenant), v_text(d->id), v_text(cn), v_text(d->label), v_int(d->state),
	            v_text(templates_text(d, templates)), v_int(registry_now(r)), v_text(d->attrs)), err))
		return r->failed == ERR_EXISTS ? row_exists(err, device_kind.what, d->id) : false;
	ref->number = sqlite3_last_insert_rowid(r->db);
	return put_templates(r, d, ref, err);
}

/* Certificates that the command line made for it before anybody had heard of it. */
static bool
adopt_certificates(struct registry *r, const struct device_ref *ref, struct err *err)
{
	if (!db_run(r, "UPDATE certificates INDEXED BY certificates_cn SET device_id = ?1, tenant_id = ?2 WHERE cn = ?3 AND device_id IS NULL"
	               " AND state <> 3 AND ca_id IN (SELECT id FROM cas WHERE role = 'client')",
	        VALUES(v_int(ref->number), v_int(ref->tenant), v_text(ref_cn(ref))), err))
		return false;
	return db_changed(r) == 0 || device_dates(r, ref->number, err);
}

static bool
add(struct registry *r, const struct registry_device_new *n, struct err *err)
{
	struct device_ref ref = { 0 };
	struct registry_secret s = { .tenant = n->device.tenant, .device = n->device.id, .purpose = SL("one-time"), .hash = n->secret,
		.max_uses = 1, .expires = n->secret_expires, .by = n->by };
	int64_t id = 0;

	return insert(r, &n->device, &ref, err) && entity_of_device(r, n, &ref, err) && adopt_certificates(r, &ref, err) &&
	    (n->secret.n == 0 || secrets_add(r, &s, &id, err)) && tell(r, &ref, n->device.state, false, err);
}

bool
registry_device_add(struct registry *r, const struct registry_device_new *d, struct err *err)
{
	return fields_ok(&d->device, err) && change_begin(r, err) && change_end(r, add(r, d, err), err);
}

/* ---- changing ---- */

static bool
set_state(struct registry *r, const struct device_ref *ref, enum registry_device_state state, struct err *err)
{
	if (!db_run(r, "UPDATE devices SET state = ?2, updated = ?3, version = version + 1 WHERE id = ?1 AND state <> ?2",
	        VALUES(v_int(ref->number), v_int(state), v_int(registry_now(r))), err))
		return false;
	return db_changed(r) == 0 || tell(r, ref, state, false, err);
}

static bool
set(struct registry *r, const struct registry_device *d, struct err *err)
{
	char templates[REGISTRY_TEMPLATES_MAX * NUMBER_TEXT];
	struct device_ref ref = { 0 };
	struct row_query g = { &device_kind, "SELECT COUNT(*) FROM devices WHERE id = ?1", NULL, d->id };

	if (!ref_named(r, d, &ref, err) ||
	    !db_run(r, "UPDATE devices SET label = ?2, attrs = ?3, templates = ?4, updated = ?5, version = version + 1"
	               " WHERE id = ?1 AND (?6 = 0 OR version = ?6)",
	        VALUES(v_int(ref.number), v_text(d->label), v_text(d->attrs), v_text(templates_text(d, templates)),
	            v_int(registry_now(r)), v_int(d->version)), err))
		return false;
	g.v = VALUES(v_int(ref.number));
	if (db_changed(r) != 1)
		return row_unchanged(r, &g, err);
	return db_run(r, "DELETE FROM device_templates WHERE device_id = ?1", g.v, err) && put_templates(r, d, &ref, err) &&
	    set_state(r, &ref, d->state, err);
}

bool
registry_device_set(struct registry *r, const struct registry_device *d, struct err *err)
{
	return fields_ok(d, err) && change_begin(r, err) && change_end(r, set(r, d, err), err);
}

/* ---- removing ---- */

static bool
remove_it(struct registry *r, const struct device_ref *ref, int reason, unsigned *ret_revoked, struct err *err)
{
	return certificates_revoke(r, ref, reason, ret_revoked, err) &&
	    db_run(r, "UPDATE entities SET state = ?2, updated = ?3, version = version + 1 WHERE device_id = ?1",
	        VALUES(v_int(ref->number), v_int(REGISTRY_REVOKED), v_int(registry_now(r))), err) &&
	    db_run(r, "DELETE FROM devices WHERE id = ?1", VALUES(v_int(ref->number)), err) && tell(r, ref, REGISTRY_DISABLED, true, err);
}

bool
registry_device_remove(struct registry *r, struct slice tenant, struct slice id, int reason, unsigned *ret_revoked, struct err *err)
{
	struct device_ref ref = { 0 };
	unsigned n = 0;

	if (!change_begin(r, err) ||
	    !change_end(r, device_ref(r, tenant, id, &ref, err) && remove_it(r, &ref, reason, &n, err), err))
		return false;
	if (ret_revoked != NULL)
		*ret_revoked = n;
	return true;
}

/* ---- looking up ---- */

bool
registry_device_get(struct registry *r, struct slice tenant, struct slice id, struct registry_device *ret, struct err *err)
{
	return row_get(r,
	    &(struct row_query){ &device_kind, DEVICE_SELECT "t.name = ?1 AND d.name = ?2", VALUES(v_text(tenant), v_text(id)), id }, ret,
	    err);
}

bool
registry_device_find(struct registry *r, struct slice cn, struct registry_device *ret, struct err *err)
{
	return row_get(r, &(struct row_query){ &device_kind, DEVICE_SELECT "d.cn = ?1", VALUES(v_text(cn)), cn }, ret, err);
}

bool
device_dates(struct registry *r, int64_t number, struct err *err)
{
	return number == 0 ||
	    db_run(r, "UPDATE devices SET not_after = COALESCE((SELECT MAX(not_after) FROM certificates INDEXED BY certificates_device"
	              " WHERE device_id = ?1 AND state = 0), 0) WHERE id = ?1", VALUES(v_int(number)), err);
}
