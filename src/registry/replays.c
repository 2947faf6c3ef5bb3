/* Requests that may be sent twice and are carried out once; settings; and what is forgotten in time. */
#include "registry/internal.h"

#include <stdlib.h>

enum { SCOPE_MAX = 256, KEY_MAX = 256 };

static bool
key_ok(struct slice scope, struct slice key, struct err *err)
{
	if (key.n == 0)
		return err_set(err, ERR_INPUT, "an idempotency key is not empty");
	return word_text(scope, SCOPE_MAX, "scope", err) && word_text(key, KEY_MAX, "idempotency key", err);
}

static const struct column columns[] = {
	{ COL_NUMBER, offsetof(struct registry_reply, status) },
	{ COL_BLOB, offsetof(struct registry_reply, head) },
	{ COL_BLOB, offsetof(struct registry_reply, body) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_reply), offsetof(struct registry_reply, mem),
	"reply" };

struct asked {
	struct slice scope, key, hash;
	enum registry_replay what;
	struct registry_reply reply;
};

static bool
begin(struct registry *r, struct asked *a, struct err *err)
{
	int64_t same = 0, status = 0;
	struct row_query g = { &kind, "SELECT status, head, body FROM replays WHERE scope = ?1 AND key = ?2",
		VALUES(v_text(a->scope), v_text(a->key)), a->key };

	/* One that was forgotten in time but not yet purged is none. */
	if (!db_run(r, "DELETE FROM replays WHERE scope = ?1 AND key = ?2 AND expires > 0 AND expires <= ?3",
	        VALUES(v_text(a->scope), v_text(a->key), v_int(registry_now(r))), err) ||
	    !db_run(r, "INSERT INTO replays(scope, key, hash, status, head, body, expires) VALUES(?1, ?2, ?3, 0, x'', x'', 0)"
	               " ON CONFLICT DO NOTHING", VALUES(v_text(a->scope), v_text(a->key), v_blob(a->hash)), err))
		return false;
	a->what = REGISTRY_FIRST;
	if (db_changed(r) == 1)
		return true;
	if (!db_int(r, "SELECT hash = ?3 FROM replays WHERE scope = ?1 AND key = ?2",
	        VALUES(v_text(a->scope), v_text(a->key), v_blob(a->hash)), &same, err) ||
	    !db_int(r, "SELECT status FROM replays WHERE scope = ?1 AND key = ?2", g.v, &status, err))
		return false;
	a->what = same == 0 ? REGISTRY_OTHER : status == 0 ? REGISTRY_RUNNING : REGISTRY_REPLAY;
	return a->what != REGISTRY_REPLAY || row_get(r, &g, &a->reply, err);
}

bool
registry_replay_begin(struct registry *r, struct slice scope, struct slice key, struct slice hash, enum registry_replay *ret_what,
    struct registry_reply *ret, struct err *err)
{
	struct asked a = { .scope = scope, .key = key, .hash = hash };

	if (!key_ok(scope, key, err) || !word_hash(hash, "request's hash", err) || !change_begin(r, err))
		return false;
	if (!change_end(r, begin(r, &a, err), err)) {
		free(a.reply.mem);
		return false;
	}
	*ret_what = a.what;
	*ret = a.reply;
	return true;
}

static bool
one(struct registry *r, bool ok, struct slice key, struct err *err)
{
	return ok && (db_changed(r) == 1 || row_missing(err, "idempotency key", key));
}

/* Who sends many requests a day has the answers of the last ones, and takes no more room than others. */
static bool
make_room(struct registry *r, struct slice scope, struct slice key, struct err *err)
{
	struct values *v = &(struct values){ (const struct value[]){ v_text(scope), v_int(REGISTRY_REPLAYS_MAX), v_int(REGISTRY_REPLAY_BYTES_MAX) }, 3 };
	int64_t over;

	do {
		if (!db_int(r, "SELECT COALESCE((SELECT n > ?2 OR bytes > ?3 FROM replay_tally WHERE scope = ?1), 0)", v, &over, err))
			return false;
		if (over == 0)
			return true;
		if (!db_run(r, "DELETE FROM replays WHERE scope = ?1 AND key = (SELECT key FROM replays INDEXED BY replays_oldest WHERE scope = ?1"
		               " AND expires > 0 AND key <> ?2 ORDER BY expires LIMIT 1)", VALUES(v_text(scope), v_text(key)), err))
			return false;
	} while (db_changed(r) == 1);
	return true; /* the others are not answered yet */
}

bool
registry_replay_finish(struct registry *r, struct slice scope, struct slice key, const struct registry_reply *reply, int64_t expires,
    struct err *err)
{
	if (reply->status <= 0 || reply->head.n > REGISTRY_JSON_MAX || reply->body.n > REGISTRY_JSON_MAX)
		return err_set(err, ERR_LIMIT, "a reply that is kept has a status, and at most %d bytes", REGISTRY_JSON_MAX);
	return change_begin(r, err) &&
	    change_end(r,
	        one(r, db_run(r, "UPDATE replays SET status = ?3, head = ?4, body = ?5, expires = ?6 WHERE scope = ?1 AND key = ?2"
	                         " AND status = 0",
	                   VALUES(v_text(scope), v_text(key), v_int(reply->status), v_blob(reply->head), v_blob(reply->body), v_int(expires)),
	                   err), key, err) && make_room(r, scope, key, err), err);
}

bool
registry_replay_abandon(struct registry *r, struct slice scope, struct slice key, struct err *err)
{
	return change_begin(r, err) &&
	    change_end(r,
	        one(r, db_run(r, "DELETE FROM replays WHERE scope = ?1 AND key = ?2 AND status = 0", VALUES(v_text(scope), v_text(key)), err),
	            key, err), err);
}

/* ---- settings ---- */

bool
registry_setting_get(struct registry *r, struct slice name, struct slice *ret_value, void **ret_mem, struct err *err)
{
	struct query q;
	struct slice value = { 0 };
	void *mem = NULL;
	int more;

	if (!query_begin(&q, r, "SELECT value FROM settings WHERE name = ?1", VALUES(v_text(name)), err))
		return false;
	more = query_next(&q);
	if (more == 1) {
		value = query_blob(&q, 0);
		if ((mem = text_dup(value)) == NULL)
			more = -2;
	}
	query_end(&q);
	if (more < 0)
		return more == -2 ? err_set(err, ERR_MEMORY, "out of memory") : false;
	*ret_value = slice_of(mem, value.n);
	*ret_mem = mem;
	return true;
}

bool
registry_setting_set(struct registry *r, struct slice name, struct slice value, struct err *err)
{
	if (value.n > REGISTRY_JSON_MAX)
		return err_set(err, ERR_LIMIT, "a setting has at most %d bytes", REGISTRY_JSON_MAX);
	if (name.n == 0 || !word_text(name, REGISTRY_LABEL_MAX, "setting's name", err))
		return name.n > 0 ? false : err_set(err, ERR_INPUT, "a setting has a name");
	return change_begin(r, err) &&
	    change_end(r,
	        value.n == 0 ? db_run(r, "DELETE FROM settings WHERE name = ?1", VALUES(v_text(name)), err)
	                     : db_run(r, "INSERT INTO settings VALUES(?1, ?2) ON CONFLICT DO UPDATE SET value = ?2",
	                           VALUES(v_text(name), v_blob(value)), err), err);
}

/* ---- forgetting ---- */

/* Days on which none ends any more: of one tenant at a time. */
static bool
purge_tally(struct registry *r, unsigned *n, struct err *err)
{
	int64_t tenant = 0;

	if (!db_int(r, "SELECT COALESCE(MIN(tenant_id), -1) FROM end_tally WHERE tenant_id >= ?1", VALUES(v_int(r->tally_next)), &tenant, err))
		return false;
	r->tally_next = tenant + 1;
	if (!db_run(r, "DELETE FROM end_tally WHERE tenant_id = ?1 AND n = 0", VALUES(v_int(tenant)), err))
		return false;
	*n += (unsigned)db_changed(r);
	return true;
}

static bool
purge(struct registry *r, unsigned limit, unsigned *ret_n, struct err *err)
{
	struct values *v = &(struct values){ (const struct value[]){ v_int(registry_now(r)), v_int(limit) }, 2 };

	/* A claimed one still has its certificate coming. */
	if (!db_run(r, "DELETE FROM secrets WHERE id IN (SELECT id FROM secrets INDEXED BY secrets_expires WHERE expires > 0"
	               " AND expires <= ?1 AND claimed = 0 LIMIT ?2)", v, err))
		return false;
	*ret_n = (unsigned)db_changed(r);
	if (!db_run(r, "DELETE FROM replays WHERE (scope, key) IN (SELECT scope, key FROM replays INDEXED BY replays_expires"
	               " WHERE expires > 0 AND expires <= ?1 LIMIT ?2)", v, err))
		return false;
	*ret_n += (unsigned)db_changed(r);
	return purge_tally(r, ret_n, err);
}

bool
registry_purge(struct registry *r, unsigned limit, unsigned *ret_n, struct err *err)
{
	unsigned n = 0;

	if (!change_begin(r, err) || !change_end(r, purge(r, limit, &n, err), err))
		return false;
	*ret_n = n;
	return true;
}
