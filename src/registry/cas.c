/* Certificate authorities and their revocation lists. */
#include "registry/internal.h"

#include <stdlib.h>

static const struct column columns[] = {
	{ COL_INT, offsetof(struct registry_ca, id) },
	{ COL_TEXT, offsetof(struct registry_ca, name) },
	{ COL_TEXT, offsetof(struct registry_ca, tenant) },
	{ COL_TEXT, offsetof(struct registry_ca, role) },
	{ COL_TEXT, offsetof(struct registry_ca, parent) },
	{ COL_TEXT, offsetof(struct registry_ca, subject) },
	{ COL_BLOB, offsetof(struct registry_ca, key) },
	{ COL_BLOB, offsetof(struct registry_ca, der) },
	{ COL_INT, offsetof(struct registry_ca, not_before) },
	{ COL_INT, offsetof(struct registry_ca, not_after) },
	{ COL_BOOL, offsetof(struct registry_ca, own) },
	{ COL_BOOL, offsetof(struct registry_ca, auto_register) },
	{ COL_BOOL, offsetof(struct registry_ca, retired) },
	{ COL_INT, offsetof(struct registry_ca, crl_number) },
	{ COL_INT, offsetof(struct registry_ca, crl_this) },
	{ COL_INT, offsetof(struct registry_ca, crl_next) },
	{ COL_BOOL, offsetof(struct registry_ca, crl_due) },
	{ COL_INT, offsetof(struct registry_ca, created) },
	{ COL_INT, offsetof(struct registry_ca, version) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_ca), offsetof(struct registry_ca, mem), "CA" };
#define SELECT                                                                                                              \
	"SELECT c.id, c.name, t.name, c.role, p.name, c.subject, c.key, c.der, c.not_before, c.not_after, c.own, c.auto_register," \
	" c.retired, c.crl_number, c.crl_this, c.crl_next, c.revocations > c.revocations_listed, c.created, c.version"          \
	" FROM cas c LEFT JOIN tenants t ON t.id = c.tenant_id LEFT JOIN cas p ON p.id = c.parent_id "

static bool
fields_ok(const struct registry_ca *c, struct err *err)
{
	if (c->der.n == 0 || c->der.n > REGISTRY_DER_MAX)
		return err_set(err, ERR_INPUT, "a CA's certificate has 1 to %d bytes", REGISTRY_DER_MAX);
	return word_name(c->name, "_-.", true, "CA's name", err) && word_text(c->role, REGISTRY_NAME_MAX, "role", err) &&
	    word_text(c->subject, 4 * REGISTRY_LABEL_MAX, "subject", err) && word_hash(c->key, "CA's key", err);
}

static bool
put(struct registry *r, const struct registry_ca *c, struct err *err)
{
	int64_t tenant = 0, parent = 0;

	if (!tenant_number(r, c->tenant, &tenant, err))
		return false;
	if (c->parent.n > 0 && !db_int(r, "SELECT id FROM cas WHERE name = ?1", VALUES(v_text(c->parent)), &parent, err))
		return r->failed == ERR_MISSING ? row_missing(err, kind.what, c->parent) : false;
	if (db_run(r, "INSERT INTO cas(name, tenant_id, role, parent_id, subject, key, der, not_before, not_after, own, auto_register, retired,"
	              " crl_number, crl_this, crl_next, crl_begun, revocations, revocations_begun, revocations_listed, created, version)"
	              " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 0, 0, 0, 0, 0, 0, ?13, 1)"
	              " ON CONFLICT(name) DO UPDATE SET tenant_id = ?2, role = ?3, parent_id = ?4, subject = ?5, key = ?6, der = ?7,"
	              " not_before = ?8, not_after = ?9, own = ?10, auto_register = ?11, retired = ?12, version = version + 1",
	        VALUES(v_text(c->name), v_ref(tenant), v_text(c->role), v_ref(parent), v_text(c->subject), v_blob(c->key), v_blob(c->der),
	            v_int(c->not_before), v_int(c->not_after), v_int(c->own), v_int(c->auto_register), v_int(c->retired),
	            v_int(registry_now(r))), err))
		return true;
	return r->failed == ERR_EXISTS ? err_set(err, ERR_EXISTS, "another CA has this key already") : false;
}

bool
registry_ca_put(struct registry *r, const struct registry_ca *c, struct err *err)
{
	return fields_ok(c, err) && change_begin(r, err) && change_end(r, put(r, c, err), err);
}

bool
registry_ca_get(struct registry *r, struct slice name, struct registry_ca *ret, struct err *err)
{
	return row_get(r, &(struct row_query){ &kind, SELECT "WHERE c.name = ?1", VALUES(v_text(name)), name }, ret, err);
}

bool
registry_ca_find(struct registry *r, struct slice key, struct registry_ca *ret, struct err *err)
{
	char hex[2 * REGISTRY_HASH + 1];

	return row_get(r,
	    &(struct row_query){ &kind, SELECT "WHERE c.key = ?1", VALUES(v_blob(key)), slice_str(text_hex(key, hex, sizeof hex)) }, ret,
	    err);
}

EACH_ROW(registry_ca_fn)

bool
registry_ca_each(struct registry *r, registry_ca_fn *each, void *ctx, struct err *err)
{
	return row_each(r, &(struct row_query){ &kind, SELECT "ORDER BY c.name", NULL, SL("") }, each_row, &(struct shown){ each, ctx },
	    err);
}

/* ---- revocation lists ---- */

static bool
begin(struct registry *r, struct slice ca, int64_t *ret_number, struct err *err)
{
	if (!db_run(r, "UPDATE cas SET crl_begun = MAX(crl_begun, crl_number) + 1, revocations_begun = revocations WHERE name = ?1",
	        VALUES(v_text(ca)), err))
		return false;
	if (db_changed(r) != 1)
		return row_missing(err, kind.what, ca);
	return db_int(r, "SELECT crl_begun FROM cas WHERE name = ?1", VALUES(v_text(ca)), ret_number, err);
}

bool
registry_crl_begin(struct registry *r, struct slice ca, int64_t *ret_number, struct err *err)
{
	int64_t number = 0;

	if (!change_begin(r, err) || !change_end(r, begin(r, ca, &number, err), err))
		return false;
	*ret_number = number;
	return true;
}

static bool
put_crl(struct registry *r, const struct registry_crl *c, struct err *err)
{
	int64_t last = 0;

	if (!db_int(r, "SELECT crl_number FROM cas WHERE name = ?1", VALUES(v_text(c->ca)), &last, err))
		return r->failed == ERR_MISSING ? row_missing(err, kind.what, c->ca) : false;
	if (c->number <= last)
		return err_set(err, ERR_CONFLICT, "there is revocation list %lld already, which is not older than %lld", (long long)last,
		    (long long)c->number);
	/* One that was not begun here (by the command line) is not known to hold everything. */
	return db_run(r, "UPDATE cas SET crl_number = ?2, crl_this = ?3, crl_next = ?4,"
	                 " revocations_listed = CASE crl_begun WHEN ?2 THEN revocations_begun ELSE revocations_listed END WHERE name = ?1",
	           VALUES(v_text(c->ca), v_int(c->number), v_int(c->this_update), v_int(c->next_update)), err) &&
	    db_run(r, "INSERT INTO crls(ca_id, der) SELECT id, ?2 FROM cas WHERE name = ?1 ON CONFLICT DO UPDATE SET der = ?2",
	        VALUES(v_text(c->ca), v_blob(c->der)), err);
}

bool
registry_crl_put(struct registry *r, const struct registry_crl *c, struct err *err)
{
	if (c->der.n > REGISTRY_CRL_MAX)
		return err_set(err, ERR_LIMIT, "the revocation list is too large: at most %d bytes", REGISTRY_CRL_MAX);
	return change_begin(r, err) && change_end(r, put_crl(r, c, err), err);
}

bool
registry_crl_get(struct registry *r, struct slice ca, struct slice *ret_der, void **ret_mem, struct err *err)
{
	struct query q;
	struct slice der = { 0 };
	void *mem = NULL;
	int more;

	if (!query_begin(&q, r, "SELECT l.der FROM cas c JOIN crls l ON l.ca_id = c.id WHERE c.name = ?1", VALUES(v_text(ca)), err))
		return false;
	more = query_next(&q);
	if (more == 1) {
		der = query_blob(&q, 0);
		if ((mem = malloc(der.n + 1)) != NULL)
			memcpy(mem, der.p, der.n);
	}
	query_end(&q);
	if (more == 0)
		return row_missing(err, "revocation list of CA", ca);
	if (more == -1 || mem == NULL)
		return more == 1 ? err_set(err, ERR_MEMORY, "out of memory") : false;
	*ret_der = slice_of(mem, der.n);
	*ret_mem = mem;
	return true;
}

bool
registry_revoked_each(struct registry *r, struct slice ca, bool (*each)(void *ctx, const struct registry_revoked *v), void *ctx,
    struct err *err)
{
	struct query q;
	int64_t id = 0;
	int more;

	if (!db_int(r, "SELECT id FROM cas WHERE name = ?1", VALUES(v_text(ca)), &id, err))
		return r->failed == ERR_MISSING ? row_missing(err, kind.what, ca) : false;
	if (!query_begin(&q, r, "SELECT serial, revoked_at, reason FROM certificates INDEXED BY certificates_revoked WHERE ca_id = ?1 AND state >= 2"
	                  " AND not_after >= (SELECT crl_this FROM cas WHERE id = ?1) ORDER BY serial", VALUES(v_int(id)), err))
		return false;
	while ((more = query_next(&q)) == 1) {
		struct registry_revoked v = { .at = query_int(&q, 1), .reason = (int)query_int(&q, 2) };

		(void)text_hex(query_blob(&q, 0), v.serial, sizeof v.serial);
		if (!each(ctx, &v))
			break;
	}
	query_end(&q);
	return more != -1;
}
