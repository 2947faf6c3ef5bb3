/* Enrolment secrets: who shows one may have a certificate. Only hashes are kept; of what has 128 random bits a plain SHA-256 is as
 * good as the secret itself is hard to guess. */
#include "registry/internal.h"

#include <stdlib.h>

static const struct column columns[] = {
	{ COL_INT, offsetof(struct registry_secret, id) },
	{ COL_TEXT, offsetof(struct registry_secret, tenant) },
	{ COL_TEXT, offsetof(struct registry_secret, device) },
	{ COL_TEXT, offsetof(struct registry_secret, purpose) },
	{ COL_TEXT, offsetof(struct registry_secret, note) },
	{ COL_INT, offsetof(struct registry_secret, max_uses) },
	{ COL_INT, offsetof(struct registry_secret, uses) },
	{ COL_INT, offsetof(struct registry_secret, expires) },
	{ COL_BOOL, offsetof(struct registry_secret, revoked) },
	{ COL_TEXT, offsetof(struct registry_secret, by) },
	{ COL_INT, offsetof(struct registry_secret, created) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_secret), offsetof(struct registry_secret, mem),
	"secret" };
#define SELECT                                                                                                             \
	"SELECT s.id, t.name, d.name, s.purpose, s.note, s.max_uses, s.uses, s.expires, s.revoked, s.by, s.created"           \
	" FROM secrets s LEFT JOIN tenants t ON t.id = s.tenant_id LEFT JOIN devices d ON d.id = s.device_id WHERE "

static bool
no_secret(int64_t id, struct err *err)
{
	char buf[NUMBER_TEXT];

	return row_missing(err, kind.what, word_number(id, buf));
}

bool
secrets_add(struct registry *r, const struct registry_secret *s, int64_t *ret_id, struct err *err)
{
	struct device_ref ref = { 0 };

	if (!word_hash(s->hash, "secret's hash", err))
		return false;
	if (s->device.n > 0 ? !device_ref(r, s->tenant, s->device, &ref, err) : !tenant_number(r, s->tenant, &ref.tenant, err))
		return false;
	if (!db_run(r, "INSERT INTO secrets(hash, tenant_id, device_id, purpose, note, max_uses, uses, claimed, expires, revoked, by, created)"
	               " VALUES(?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, 0, ?8, ?9)",
	        VALUES(v_blob(s->hash), v_ref(ref.tenant), v_ref(ref.number), v_text(s->purpose), v_text(s->note), v_int(s->max_uses),
	            v_int(s->expires), v_text(s->by), v_int(registry_now(r))), err))
		return r->failed == ERR_EXISTS ? err_set(err, ERR_EXISTS, "this secret is in use already: make another one") : false;
	*ret_id = sqlite3_last_insert_rowid(r->db);
	return true;
}

bool
registry_secret_add(struct registry *r, const struct registry_secret *s, int64_t *ret_id, struct err *err)
{
	int64_t id = 0;

	if (s->max_uses < 0)
		return err_set(err, ERR_INPUT, "a secret has no negative number of uses");
	if (!word_text(s->purpose, REGISTRY_LABEL_MAX, "purpose", err) || !word_json(s->note, "note", err) ||
	    !word_text(s->by, REGISTRY_LABEL_MAX, "maker's name", err) || !change_begin(r, err) ||
	    !change_end(r, secrets_add(r, s, &id, err), err))
		return false;
	*ret_id = id;
	return true;
}

/* ---- claims ---- */

struct claim {
	int64_t id, max_uses, taken, expires, device, tenant;
	bool revoked, found;
};

static bool
find(struct registry *r, struct slice hash, struct claim *ret, struct err *err)
{
	struct query q;
	int more;

	*ret = (struct claim){ 0 };
	if (!query_begin(&q, r, "SELECT id, max_uses, uses + claimed, expires, COALESCE(device_id, 0), COALESCE(tenant_id, 0), revoked"
	                  " FROM secrets WHERE hash = ?1", VALUES(v_blob(hash)), err))
		return false;
	more = query_next(&q);
	if (more == 1)
		*ret = (struct claim){ query_int(&q, 0), query_int(&q, 1), query_int(&q, 2), query_int(&q, 3), query_int(&q, 4),
			query_int(&q, 5), query_int(&q, 6) != 0, true };
	query_end(&q);
	return more != -1;
}

/* Whose it is: a device's, a tenant's, anybody's. A CN that nobody has yet is the tenant's that its form says. */
static bool
is_for(struct registry *r, const struct claim *c, struct slice cn, bool *ret, struct err *err)
{
	struct device_ref ref = { 0 };
	int64_t tenant = 0;

	*ret = true;
	if (cn.n == 0 || (c->device == 0 && c->tenant == 0))
		return true;
	if (!device_ref_cn(r, cn, &ref, err))
		return false;
	if (c->device != 0 || ref.number != 0) {
		*ret = c->device != 0 ? ref.number == c->device : ref.tenant == c->tenant;
		return true;
	}
	if (!db_int(r, "SELECT COALESCE((SELECT id FROM tenants WHERE first = 0 AND name = substr(?1, 1, instr(?1, ':') - 1)),"
	               " (SELECT id FROM tenants WHERE first = 1), 0)", VALUES(v_text(cn)), &tenant, err))
		return false;
	*ret = tenant == c->tenant;
	return true;
}

static bool
claim(struct registry *r, struct slice hash, struct slice cn, struct claim *c, struct err *err)
{
	bool theirs;

	if (!find(r, hash, c, err))
		return false;
	if (!c->found)
		return err_set(err, ERR_DENIED, "nobody was given this secret");
	if (c->revoked)
		return err_set(err, ERR_DENIED, "the secret was revoked");
	if (c->expires != 0 && c->expires <= registry_now(r))
		return err_set(err, ERR_DENIED, "the secret has expired");
	if (c->max_uses != 0 && c->taken >= c->max_uses)
		return err_set(err, ERR_DENIED, "the secret is used up");
	if (!is_for(r, c, cn, &theirs, err))
		return false;
	if (!theirs)
		return err_set(err, ERR_DENIED, "the secret is another device's or tenant's");
	return db_run(r, "UPDATE secrets SET claimed = claimed + 1 WHERE id = ?1", VALUES(v_int(c->id)), err);
}

bool
registry_secret_claim(struct registry *r, struct slice hash, struct slice cn, struct registry_secret *ret, struct err *err)
{
	struct claim c;
	struct row_query g = { &kind, SELECT "s.id = ?1", NULL, SL("") };

	if (!word_hash(hash, "secret's hash", err) || !change_begin(r, err))
		return false;
	if (!claim(r, hash, cn, &c, err))
		return change_end(r, false, err);
	g.v = VALUES(v_int(c.id));
	if (!row_get(r, &g, ret, err))
		return change_end(r, false, err);
	if (change_end(r, true, err))
		return true;
	free(ret->mem);
	ret->mem = NULL;
	return false;
}

static bool
changed_one(struct registry *r, bool ok, int64_t id, struct err *err)
{
	return ok && (db_changed(r) == 1 || no_secret(id, err));
}

bool
registry_secret_unclaim(struct registry *r, int64_t id, struct err *err)
{
	return change_begin(r, err) &&
	    change_end(r,
	        changed_one(r, db_run(r, "UPDATE secrets SET claimed = claimed - 1 WHERE id = ?1 AND claimed > 0", VALUES(v_int(id)), err),
	            id, err), err);
}

bool
secrets_use(struct registry *r, int64_t id, struct err *err)
{
	if (!db_run(r, "UPDATE secrets SET claimed = claimed - 1, uses = uses + 1 WHERE id = ?1 AND claimed > 0 AND revoked = 0",
	        VALUES(v_int(id)), err))
		return false;
	return db_changed(r) == 1 || err_set(err, ERR_DENIED, "the secret is not claimed any more: it was revoked or removed meanwhile");
}

bool
registry_secret_revoke(struct registry *r, int64_t id, struct err *err)
{
	return change_begin(r, err) &&
	    change_end(r,
	        changed_one(r, db_run(r, "UPDATE secrets SET revoked = 1 WHERE id = ?1", VALUES(v_int(id)), err), id, err), err);
}

bool
registry_secret_get(struct registry *r, struct slice tenant, int64_t id, struct registry_secret *ret, struct err *err)
{
	char buf[NUMBER_TEXT];

	return row_get(r, &(struct row_query){ &kind, SELECT "s.id = ?1 AND t.name = ?2", VALUES(v_int(id), v_text(tenant)), word_number(id, buf) }, ret, err);
}

EACH_ROW(registry_secret_fn)

bool
registry_secret_list(struct registry *r, struct slice tenant, struct slice device, struct registry_page *page,
    registry_secret_fn *each, void *ctx, struct err *err)
{
	struct device_ref ref = { 0 };
	struct list l = { .tag = 8, .kind = &kind, .fetch = SELECT "s.id = ?1", .fn = each_row, .ctx = &(struct shown){ each, ctx },
		.scan = "SELECT 1, id, 0 FROM secrets WHERE id > ?2 AND ?1 = 0 AND ?4 = 0 ORDER BY id LIMIT ?3" };

	if (device.n > 0) {
		if (!device_ref(r, tenant, device, &ref, err))
			return false;
		l.tag = 9;
		l.more[0] = v_int(ref.number);
		l.n_more = 1;
		l.scan = "SELECT 1, id, 0 FROM secrets INDEXED BY secrets_device WHERE device_id = ?5 AND id > ?2 AND ?1 = 0 AND ?4 = 0"
			 " ORDER BY id LIMIT ?3";
		return list_run(r, &l, page, err);
	}
	if (!tenant_number(r, tenant, &l.tenant, err))
		return false;
	if (l.tenant != 0) {
		l.tag = 10;
		l.scan = "SELECT 1, id, 0 FROM secrets INDEXED BY secrets_tenant WHERE tenant_id = ?4 AND id > ?2 AND ?1 = 0 ORDER BY id"
			 " LIMIT ?3";
	}
	return list_run(r, &l, page, err);
}
