/* End entities: what EJBCA called a user. A device has one, made with it; others come through dojot's /user. */
#include "registry/internal.h"

#include <stdio.h>

static const struct column columns[] = {
	{ COL_TEXT, offsetof(struct registry_entity, name) },
	{ COL_TEXT, offsetof(struct registry_entity, tenant) },
	{ COL_TEXT, offsetof(struct registry_entity, device) },
	{ COL_TEXT, offsetof(struct registry_entity, ca) },
	{ COL_TEXT, offsetof(struct registry_entity, profile) },
	{ COL_TEXT, offsetof(struct registry_entity, ee_profile) },
	{ COL_TEXT, offsetof(struct registry_entity, token_type) },
	{ COL_TEXT, offsetof(struct registry_entity, subject) },
	{ COL_TEXT, offsetof(struct registry_entity, password) },
	{ COL_TEXT, offsetof(struct registry_entity, other) },
	{ COL_NUMBER, offsetof(struct registry_entity, state) },
	{ COL_INT, offsetof(struct registry_entity, created) },
	{ COL_INT, offsetof(struct registry_entity, updated) },
	{ COL_INT, offsetof(struct registry_entity, version) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_entity), offsetof(struct registry_entity, mem),
	"end entity" };
#define SELECT                                                                                                              \
	"SELECT e.name, t.name, d.name, e.ca, e.profile, e.ee_profile, e.token_type, e.subject, e.password, e.other, e.state," \
	" e.created, e.updated, e.version FROM entities e LEFT JOIN tenants t ON t.id = e.tenant_id"                           \
	" LEFT JOIN devices d ON d.id = e.device_id WHERE "

static bool
state_ok(int state, struct err *err)
{
	static const int known[] = { REGISTRY_NEW, REGISTRY_FAILED, REGISTRY_INITIALIZED, REGISTRY_INPROCESS, REGISTRY_GENERATED,
		REGISTRY_REVOKED, REGISTRY_HISTORICAL };

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (state == known[i])
			return true;
	return err_set(err, ERR_INPUT, "there is no state %d of an end entity", state);
}

static bool
fields_ok(const struct registry_entity *e, struct err *err)
{
	if (!registry_cn_ok(e->name))
		return err_set(err, ERR_INPUT, "an end entity's name is 1 to %d characters of UTF-8 without / + # and control characters",
		    REGISTRY_NAME_MAX);
	return word_text(e->ca, REGISTRY_LABEL_MAX, "CA's name", err) && word_text(e->profile, REGISTRY_LABEL_MAX, "profile", err) &&
	    word_text(e->ee_profile, REGISTRY_LABEL_MAX, "end entity profile", err) &&
	    word_text(e->token_type, REGISTRY_LABEL_MAX, "token type", err) &&
	    word_text(e->subject, 4 * REGISTRY_LABEL_MAX, "subject", err) && word_text(e->password, 1024, "password's hash", err) &&
	    word_json(e->other, "end entity", err) && state_ok((int)e->state, err);
}

/* A device's entity is of the device's tenant; one without a device is of the tenant that is named. */
static bool
put(struct registry *r, const struct registry_entity *e, const struct device_ref *ref, struct err *err)
{
	return db_run(r, "INSERT INTO entities(name, tenant_id, device_id, ca, profile, ee_profile, token_type, subject, password, other,"
	                 " state, created, updated, version) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, 1)"
	                 " ON CONFLICT(name) DO UPDATE SET tenant_id = ?2, device_id = ?3, ca = ?4, profile = ?5, ee_profile = ?6,"
	                 " token_type = ?7, subject = ?8, password = ?9, other = ?10, state = ?11, updated = ?12, version = version + 1",
	    VALUES(v_text(e->name), v_ref(ref->tenant), v_ref(ref->number), v_text(e->ca), v_text(e->profile), v_text(e->ee_profile),
	        v_text(e->token_type), v_text(e->subject), v_text(e->password), v_text(e->other), v_int((int)e->state),
	        v_int(registry_now(r))), err);
}

static bool
put_named(struct registry *r, const struct registry_entity *e, struct err *err)
{
	struct device_ref ref = { 0 };

	if (!device_ref_cn(r, e->name, &ref, err) || (ref.number == 0 && !tenant_number(r, e->tenant, &ref.tenant, err)))
		return false;
	return put(r, e, &ref, err);
}

bool
registry_entity_put(struct registry *r, const struct registry_entity *e, struct err *err)
{
	return fields_ok(e, err) && change_begin(r, err) && change_end(r, put_named(r, e, err), err);
}

bool
entity_of_device(struct registry *r, const struct registry_device_new *d, const struct device_ref *ref, struct err *err)
{
	char subject[CN_BYTES_MAX + 8];
	struct registry_entity e = { .name = slice_of(ref->cn, ref->cn_n), .ca = d->ca, .profile = d->profile, .subject = d->subject,
		.state = REGISTRY_NEW };

	if (e.subject.n == 0) {
		(void)snprintf(subject, sizeof subject, "CN=%s", ref->cn);
		e.subject = slice_str(subject);
	}
	return fields_ok(&e, err) && put(r, &e, ref, err);
}

bool
entity_generated(struct registry *r, struct slice cn, struct err *err)
{
	return db_run(r, "UPDATE entities SET state = ?2, updated = ?3, version = version + 1 WHERE name = ?1",
	    VALUES(v_text(cn), v_int(REGISTRY_GENERATED), v_int(registry_now(r))), err);
}

static bool
one(struct registry *r, bool ok, struct slice name, struct err *err)
{
	return ok && (db_changed(r) == 1 || row_missing(err, kind.what, name));
}

bool
registry_entity_set_state(struct registry *r, struct slice name, enum registry_entity_state state, struct err *err)
{
	if (!state_ok((int)state, err) || !change_begin(r, err))
		return false;
	return change_end(r,
	    one(r, db_run(r, "UPDATE entities SET state = ?2, updated = ?3, version = version + 1 WHERE name = ?1",
	               VALUES(v_text(name), v_int((int)state), v_int(registry_now(r))), err), name, err), err);
}

bool
registry_entity_remove(struct registry *r, struct slice name, struct err *err)
{
	return change_begin(r, err) &&
	    change_end(r, one(r, db_run(r, "DELETE FROM entities WHERE name = ?1", VALUES(v_text(name)), err), name, err), err);
}

bool
registry_entity_get(struct registry *r, struct slice name, struct registry_entity *ret, struct err *err)
{
	return row_get(r, &(struct row_query){ &kind, SELECT "e.name = ?1", VALUES(v_text(name)), name }, ret, err);
}
