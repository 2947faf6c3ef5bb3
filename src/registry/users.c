/* Users: who may log in. Passwords come as encoded hashes and are compared by whoever asks. */
#include "registry/internal.h"

static const struct column columns[] = {
	{ COL_INT, offsetof(struct registry_user, id) },
	{ COL_TEXT, offsetof(struct registry_user, tenant) },
	{ COL_TEXT, offsetof(struct registry_user, name) },
	{ COL_TEXT, offsetof(struct registry_user, full_name) },
	{ COL_TEXT, offsetof(struct registry_user, email) },
	{ COL_TEXT, offsetof(struct registry_user, profile) },
	{ COL_TEXT, offsetof(struct registry_user, password) },
	{ COL_BOOL, offsetof(struct registry_user, disabled) },
	{ COL_INT, offsetof(struct registry_user, generation) },
	{ COL_INT, offsetof(struct registry_user, failures) },
	{ COL_INT, offsetof(struct registry_user, locked_until) },
	{ COL_INT, offsetof(struct registry_user, last_login) },
	{ COL_INT, offsetof(struct registry_user, password_changed) },
	{ COL_INT, offsetof(struct registry_user, created) },
	{ COL_INT, offsetof(struct registry_user, version) },
};
static const struct kind kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_user), offsetof(struct registry_user, mem),
	"user" };
#define SELECT                                                                                                              \
	"SELECT u.id, t.name, u.name, u.full_name, u.email, u.profile, u.password, u.disabled, u.generation, u.failures,"      \
	" u.locked_until, u.last_login, u.password_changed, u.created, u.version FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE "

/* In lower case, as they are kept. */
struct folded {
	char name_buf[REGISTRY_NAME_MAX], email_buf[REGISTRY_LABEL_MAX];
	struct slice name, email;
};

static bool
fold_email(struct slice email, struct folded *f, struct err *err)
{
	return word_text(email, sizeof f->email_buf, "e-mail address", err) &&
	    word_lower(email, f->email_buf, sizeof f->email_buf, &f->email);
}

static bool
fields_ok(const struct registry_user *u, struct folded *f, struct err *err)
{
	return word_text(u->full_name, REGISTRY_LABEL_MAX, "full name", err) && word_text(u->profile, REGISTRY_LABEL_MAX, "profile", err) &&
	    fold_email(u->email, f, err);
}

static bool
password_ok(struct slice hash, struct err *err)
{
	/* Whoever mistakes this field for a password's is told at once, and the password is not written anywhere. */
	if (hash.n > 0 && hash.p[0] != '$')
		return err_set(err, ERR_INPUT, "a user's password is kept as an encoded hash only");
	return word_text(hash, 1024, "password's hash", err);
}

static bool
add(struct registry *r, const struct registry_user *u, const struct folded *f, int64_t *ret_id, struct err *err)
{
	int64_t tenant, now = registry_now(r), taken;

	if (u->tenant.n == 0)
		return err_set(err, ERR_INPUT, "a user belongs to a tenant");
	if (!tenant_number(r, u->tenant, &tenant, err))
		return false;
	if (!db_run(r, "INSERT INTO users(tenant_id, name, full_name, email, profile, password, disabled, generation, failures,"
	               " locked_until, last_login, password_changed, created, version) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, 0, 0, 0, ?8, ?8, 1)",
	        VALUES(v_int(tenant), v_text(f->name), v_text(u->full_name), v_text(f->email), v_text(u->profile), v_text(u->password),
	            v_int(u->disabled), v_int(now)), err)) {
		if (r->failed != ERR_EXISTS || !db_int(r, "SELECT COUNT(*) FROM users WHERE name = ?1", VALUES(v_text(f->name)), &taken, err))
			return false;
		return taken > 0 ? row_exists(err, kind.what, f->name) : row_exists(err, "user with the e-mail address", f->email);
	}
	*ret_id = sqlite3_last_insert_rowid(r->db);
	return true;
}

bool
registry_user_add(struct registry *r, const struct registry_user *u, int64_t *ret_id, struct err *err)
{
	struct folded f;
	int64_t id = 0;

	if (!word_lower(u->name, f.name_buf, sizeof f.name_buf, &f.name))
		return err_set(err, ERR_INPUT, "the user's name is too long: at most %d bytes", REGISTRY_NAME_MAX);
	if (!word_name(f.name, "_-.@", false, "user's name", err) || !fields_ok(u, &f, err) || !password_ok(u->password, err) ||
	    !change_begin(r, err) || !change_end(r, add(r, u, &f, &id, err), err))
		return false;
	*ret_id = id;
	return true;
}

bool
admin_count(struct registry *r, int64_t *ret, struct err *err)
{
	return db_int(r, "SELECT COUNT(DISTINCT u.tenant_id) FROM groups g JOIN user_groups ug ON ug.group_id = g.id JOIN users u ON u.id = ug.user_id"
	                 " WHERE g.name = '" REGISTRY_ADMIN_GROUP "' AND u.disabled = 0", NULL, ret, err);
}

bool
admin_left(struct registry *r, int64_t before, struct err *err)
{
	int64_t n = 0;

	return admin_count(r, &n, err) &&
	    (n >= before || err_set(err, ERR_DENIED, "this would leave a tenant without an enabled user in group \"%s\": make another administrator there first",
	                        REGISTRY_ADMIN_GROUP));
}

static bool
no_user(int64_t id, struct err *err)
{
	char buf[NUMBER_TEXT];

	return row_missing(err, kind.what, word_number(id, buf));
}

static bool
set(struct registry *r, const struct registry_user *u, const struct folded *f, struct err *err)
{
	int64_t admins = 0;
	char buf[NUMBER_TEXT];
	struct row_query g = { &kind, "SELECT COUNT(*) FROM users WHERE id = ?1", VALUES(v_int(u->id)), word_number(u->id, buf) };

	if (!admin_count(r, &admins, err))
		return false;
	if (!db_run(r, "UPDATE users SET full_name = ?2, email = ?3, profile = ?4, generation = generation + (?5 AND NOT disabled),"
	               " disabled = ?5, version = version + 1 WHERE id = ?1 AND (?6 = 0 OR version = ?6)",
	        VALUES(v_int(u->id), v_text(u->full_name), v_text(f->email), v_text(u->profile), v_int(u->disabled), v_int(u->version)),
	        err))
		return r->failed == ERR_EXISTS ? row_exists(err, "user with the e-mail address", f->email) : false;
	return db_changed(r) == 1 ? admin_left(r, admins, err) : row_unchanged(r, &g, err);
}

bool
registry_user_set(struct registry *r, const struct registry_user *u, struct err *err)
{
	struct folded f;

	return fields_ok(u, &f, err) && change_begin(r, err) && change_end(r, set(r, u, &f, err), err);
}

/* A tenant that is to go must become empty: but for the first one its last user may be removed, whoever he is. */
static bool
remove_it(struct registry *r, int64_t id, struct err *err)
{
	int64_t admins = 0, last = 0;

	if (!admin_count(r, &admins, err) ||
	    !db_int(r, "SELECT COUNT(*) FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.id = ?1 AND t.first = 0"
	               " AND NOT EXISTS(SELECT 1 FROM users x WHERE x.tenant_id = u.tenant_id AND x.id <> u.id)", VALUES(v_int(id)), &last, err) ||
	    !db_run(r, "DELETE FROM users WHERE id = ?1", VALUES(v_int(id)), err))
		return false;
	if (db_changed(r) != 1)
		return no_user(id, err);
	return last != 0 || admin_left(r, admins, err);
}

bool
registry_user_remove(struct registry *r, int64_t id, struct err *err)
{
	return change_begin(r, err) && change_end(r, remove_it(r, id, err), err);
}

/* ---- looking up ---- */

bool
registry_user_get(struct registry *r, int64_t id, struct registry_user *ret, struct err *err)
{
	char buf[NUMBER_TEXT];
	struct row_query g = { &kind, SELECT "u.id = ?1", VALUES(v_int(id)), word_number(id, buf) };

	return row_get(r, &g, ret, err);
}

bool
registry_user_find(struct registry *r, struct slice name, struct registry_user *ret, struct err *err)
{
	char buf[REGISTRY_NAME_MAX];
	struct slice folded;

	if (!word_lower(name, buf, sizeof buf, &folded))
		return row_missing(err, kind.what, name);
	return row_get(r, &(struct row_query){ &kind, SELECT "u.name = ?1", VALUES(v_text(folded)), name }, ret, err);
}

EACH_ROW(registry_user_fn)

bool
registry_user_list(struct registry *r, const struct registry_user_filter *f, struct registry_page *page, registry_user_fn *each,
    void *ctx, struct err *err)
{
	struct list l = { .tag = 2, .text = true, .kind = &kind, .fetch = SELECT "u.id = ?1", .fn = each_row,
		.ctx = &(struct shown){ each, ctx }, .more = { v_int(f->group) }, .n_more = 1,
		.scan = "SELECT ?5 = 0 OR EXISTS(SELECT 1 FROM user_groups g WHERE g.user_id = u.id AND g.group_id = ?5), u.id, u.name"
			" FROM users u WHERE (u.name, u.id) > (?1, ?2) AND ?4 = 0 ORDER BY u.name, u.id LIMIT ?3" };

	char prefix[REGISTRY_NAME_MAX];

	if (!word_text(f->prefix, sizeof prefix, "prefix", err) || !word_lower(f->prefix, prefix, sizeof prefix, &l.prefix) ||
	    !tenant_number(r, f->tenant, &l.tenant, err))
		return false;
	if (l.tenant != 0) {
		l.tag = 3;
		l.scan = "SELECT ?5 = 0 OR EXISTS(SELECT 1 FROM user_groups g WHERE g.user_id = u.id AND g.group_id = ?5), u.id, u.name"
			 " FROM users u INDEXED BY users_tenant WHERE u.tenant_id = ?4 AND (u.name, u.id) > (?1, ?2)"
			 " ORDER BY u.name, u.id LIMIT ?3";
	}
	return list_run(r, &l, page, err);
}

/* ---- passwords and logins ---- */

static bool
set_password(struct registry *r, int64_t id, struct slice hash, struct err *err)
{
	if (!db_run(r, "UPDATE users SET password = ?2, generation = generation + 1, failures = 0, locked_until = 0,"
	               " password_changed = ?3, version = version + 1 WHERE id = ?1",
	        VALUES(v_int(id), v_text(hash), v_int(registry_now(r))), err))
		return false;
	return db_changed(r) == 1 || no_user(id, err);
}

bool
registry_user_set_password(struct registry *r, int64_t id, struct slice hash, struct err *err)
{
	return password_ok(hash, err) && change_begin(r, err) && change_end(r, set_password(r, id, hash, err), err);
}

static bool
login(struct registry *r, int64_t id, bool success, int64_t locked_until, struct err *err)
{
	if (!db_run(r, success ? "UPDATE users SET failures = 0, locked_until = 0, last_login = ?2 WHERE id = ?1"
	                       : "UPDATE users SET failures = failures + 1, locked_until = ?2 WHERE id = ?1",
	        VALUES(v_int(id), v_int(success ? registry_now(r) : locked_until)), err))
		return false;
	return db_changed(r) == 1 || no_user(id, err);
}

bool
registry_user_login(struct registry *r, int64_t id, bool success, int64_t locked_until, struct err *err)
{
	return change_begin(r, err) && change_end(r, login(r, id, success, locked_until, err), err);
}
