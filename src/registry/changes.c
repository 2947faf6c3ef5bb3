/* What the broker is to be told: an outbox in the order of what happened, and the whole for those who have missed too much. */
#include "registry/internal.h"

/* ---- writing ---- */

/* The next number, for a change that is being made. */
static bool
next_generation(struct registry *r, int64_t *ret, struct err *err)
{
	return db_run(r, "UPDATE meta SET value = value + 1 WHERE name = 'generation'", NULL, err) &&
	    db_int(r, "SELECT value FROM meta WHERE name = 'generation'", NULL, ret, err);
}

static bool
count_kept(struct registry *r, struct err *err)
{
	return r->n_changes >= 0 || db_int(r, "SELECT COUNT(*) FROM changes WHERE removed = 0", NULL, &r->n_changes, err);
}

/* Nobody has come for them in a long time: whoever comes takes a snapshot. Removals stay, since no snapshot tells them. */
static bool
give_up(struct registry *r, struct err *err)
{
	if (!db_run(r, "DELETE FROM changes WHERE removed = 0", NULL, err))
		return false;
	r->n_changes = 0;
	return db_run(r, "UPDATE meta SET value = (SELECT value FROM meta WHERE name = 'generation') WHERE name = 'changes_floor'", NULL, err);
}

/* A device is either among the kept ones or is not: the count goes with what was really deleted and written. */
static bool
forget(struct registry *r, const struct registry_change *c, struct err *err)
{
	if (!db_run(r, "DELETE FROM changes WHERE cn = ?1 AND removed = 0", VALUES(v_text(c->cn)), err))
		return false;
	r->n_changes -= db_changed(r);
	return !c->removed || db_run(r, "DELETE FROM changes WHERE cn = ?1", VALUES(v_text(c->cn)), err);
}

bool
change_put(struct registry *r, const struct registry_change *c, int64_t tenant, struct err *err)
{
	int64_t generation = 0;

	/* What was said of it before and not heard yet is no longer true; only that it was gone in between stays true. */
	if (!count_kept(r, err) || !forget(r, c, err) || !next_generation(r, &generation, err) ||
	    !db_run(r, "INSERT INTO changes(generation, cn, tenant, state, removed) SELECT ?1, ?2, name, ?4, ?5 FROM tenants WHERE id = ?3",
	        VALUES(v_int(generation), v_text(c->cn), v_int(tenant), v_int((int)c->state), v_int(c->removed)), err))
		return false;
	r->n_changes += !c->removed;
	return r->n_changes <= REGISTRY_CHANGES_MAX || give_up(r, err);
}

/* ---- reading ---- */

bool
registry_generation(struct registry *r, int64_t *ret, struct err *err)
{
	return db_int(r, "SELECT value FROM meta WHERE name = 'generation'", NULL, ret, err);
}

static bool
show(struct query *q, registry_change_fn *each, void *ctx)
{
	struct registry_change c = { .generation = query_int(q, 0), .tenant = query_text(q, 1), .cn = query_text(q, 2),
		.state = (enum registry_device_state)query_int(q, 3), .removed = query_int(q, 4) != 0 };

	return each(ctx, &c);
}

bool
registry_changes(struct registry *r, int64_t after, unsigned limit, registry_change_fn *each, void *ctx, struct err *err)
{
	struct query q;
	int64_t floor = 0;
	int more;

	if (!db_int(r, "SELECT value FROM meta WHERE name = 'changes_floor'", NULL, &floor, err))
		return false;
	if (after < floor)
		return err_set(err, ERR_CONFLICT, "changes up to %lld are not kept any more: take a snapshot", (long long)floor);
	if (!query_begin(&q, r, "SELECT generation, tenant, cn, state, removed FROM changes WHERE generation > ?1 ORDER BY generation LIMIT ?2",
	        VALUES(v_int(after), v_int(limit)), err))
		return false;
	while ((more = query_next(&q)) == 1)
		if (!show(&q, each, ctx))
			break;
	query_end(&q);
	return more != -1;
}

static bool
done(struct registry *r, int64_t generation, struct err *err)
{
	r->n_changes = -1;
	return db_run(r, "DELETE FROM changes WHERE generation <= ?1", VALUES(v_int(generation)), err);
}

bool
registry_changes_done(struct registry *r, int64_t generation, struct err *err)
{
	return change_begin(r, err) && change_end(r, done(r, generation, err), err);
}

/* Rows of <sql> behind number *at, at most <limit>: ?1 and ?2; the number is its last column. */
struct part {
	const char *sql;
	int64_t *at;
	unsigned limit;
	bool *ret_more;
};

static bool
show_part(struct registry *r, const struct part *p, registry_change_fn *each, void *ctx, struct err *err)
{
	struct query q;
	int64_t last = *p->at;
	unsigned n = 0;
	int more;

	if (!query_begin(&q, r, p->sql, VALUES(v_int(last), v_int((int64_t)p->limit + 1)), err))
		return false;
	while ((more = query_next(&q)) == 1 && n < p->limit) {
		last = query_int(&q, 5);
		n++;
		if (!show(&q, each, ctx))
			break;
	}
	query_end(&q);
	if (more == -1)
		return false;
	*p->at = last;
	*p->ret_more = more == 1;
	return true;
}

bool
registry_snapshot(struct registry *r, int64_t *at, unsigned limit, registry_change_fn *each, void *ctx, bool *ret_more,
    struct err *err)
{
	static const char sql[] = "SELECT 0, t.name, d.cn, d.state, 0, d.id FROM devices d JOIN tenants t ON t.id = d.tenant_id WHERE d.id > ?1"
				  " ORDER BY d.id LIMIT ?2";

	return show_part(r, &(struct part){ sql, at, limit, ret_more }, each, ctx, err);
}

/* ---- certificates of factories ---- */

bool
registry_factory_count(struct registry *r, int64_t *ret, struct err *err)
{
	return db_int(r, "SELECT COUNT(*) FROM cas c CROSS JOIN certificates x ON x.ca_id = c.id JOIN devices d ON d.id = x.device_id"
	                 " WHERE c.role = 'factory' AND x.origin = 'factory' AND x.state < 2", NULL, ret, err);
}

bool
registry_factory_snapshot(struct registry *r, int64_t *at, unsigned limit, registry_change_fn *each, void *ctx, bool *ret_more, struct err *err)
{
	static const char sql[] = "SELECT 0, t.name, '/' || lower(hex(x.fingerprint)), d.state, 0, x.id FROM cas c CROSS JOIN certificates x ON x.ca_id = c.id"
				  " JOIN devices d ON d.id = x.device_id JOIN tenants t ON t.id = d.tenant_id WHERE c.role = 'factory' AND x.origin = 'factory'"
				  " AND x.state < 2 AND x.id > ?1 ORDER BY x.id LIMIT ?2";

	return show_part(r, &(struct part){ sql, at, limit, ret_more }, each, ctx, err);
}

bool
registry_factory_change(struct registry *r, const struct registry_change *c, registry_change_fn *each, void *ctx, struct err *err)
{
	struct query q;
	int more;

	if (!query_begin(&q, r, "SELECT ?2, ?3, '/' || lower(hex(fingerprint)), ?4, ?5 FROM certificates INDEXED BY certificates_cn WHERE cn = ?1"
	                  " AND origin = 'factory' AND (state < 2 OR ?5 = 1)",
	        VALUES(v_text(c->cn), v_int(c->generation), v_text(c->tenant), v_int((int)c->state), v_int(c->removed)), err))
		return false;
	while ((more = query_next(&q)) == 1)
		if (!show(&q, each, ctx))
			break;
	query_end(&q);
	return more != -1;
}
