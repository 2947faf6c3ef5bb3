/* Who is there: of each device what its sessions last said, written in batches. */
#include "registry/internal.h"

static bool
put(struct registry *r, const struct registry_presence *p, struct err *err)
{
	/* ?2 online, ?3 since, ?4 last seen. A change of online without a time of its own happened when it was seen. */
	return word_text(p->address, REGISTRY_LABEL_MAX, "address", err) && word_text(p->status, REGISTRY_LABEL_MAX, "status", err) &&
	    db_run(r, "INSERT INTO presence(device_id, tenant_id, online, since, last_seen, address, status, beat)"
	              " SELECT id, tenant_id, ?2, CASE ?3 WHEN 0 THEN ?4 ELSE ?3 END, ?4, ?5, ?6, MAX(?7, 0) FROM devices WHERE cn = ?1"
	              " ON CONFLICT DO UPDATE SET online = ?2,"
	              " since = CASE WHEN ?3 <> 0 THEN ?3 WHEN online <> ?2 THEN ?4 ELSE since END,"
	              " last_seen = MAX(last_seen, ?4),"
	              " address = CASE ?5 WHEN '' THEN address ELSE ?5 END, status = CASE ?6 WHEN '' THEN status ELSE ?6 END,"
	              " beat = CASE WHEN ?7 < 0 THEN beat ELSE ?7 END",
	        VALUES(v_text(p->cn), v_int(p->online), v_int(p->since), v_int(p->last_seen), v_text(p->address), v_text(p->status), v_int((int64_t)p->beat - 1)),
	        err);
}

static bool
put_all(struct registry *r, const struct registry_presence *p, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (!put(r, &p[i], err))
			return false;
	return true;
}

bool
registry_presence_set(struct registry *r, const struct registry_presence *p, size_t n, struct err *err)
{
	return change_begin(r, err) && change_end(r, put_all(r, p, n, err), err);
}

bool
registry_presence_expected(struct registry *r, int64_t *at, unsigned limit, bool (*each)(void *ctx, struct slice cn), void *ctx, struct err *err)
{
	struct query q;
	int64_t last = *at;
	unsigned n = 0;
	int more;

	if (!query_begin(&q, r, "SELECT p.device_id, d.cn FROM presence p INDEXED BY presence_expected JOIN devices d ON d.id = p.device_id"
	                  " WHERE p.beat = 1 AND p.device_id > ?1 ORDER BY p.device_id LIMIT ?2", VALUES(v_int(*at), v_int(limit)), err))
		return false;
	while ((more = query_next(&q)) == 1) {
		last = query_int(&q, 0);
		n++;
		if (!each(ctx, query_text(&q, 1)))
			break;
	}
	query_end(&q);
	if (more == -1)
		return false;
	*at = n == 0 ? 0 : last;
	return true;
}

bool
registry_presence_reset(struct registry *r, struct err *err)
{
	return change_begin(r, err) &&
	    change_end(r,
	        db_run(r, "UPDATE presence INDEXED BY presence_online SET online = 0, since = ?1 WHERE online = 1",
	            VALUES(v_int(registry_now(r))), err), err);
}
