/* Groups and permissions, and who has which. What they mean for a request is the API's business. */
#include "registry/internal.h"

static const struct column group_columns[] = {
	{ COL_INT, offsetof(struct registry_group, id) },
	{ COL_TEXT, offsetof(struct registry_group, name) },
	{ COL_TEXT, offsetof(struct registry_group, description) },
	{ COL_BOOL, offsetof(struct registry_group, system) },
	{ COL_INT, offsetof(struct registry_group, created) },
	{ COL_INT, offsetof(struct registry_group, version) },
};
static const struct kind group_kind = { group_columns, ARRAY_LEN(group_columns), sizeof(struct registry_group),
	offsetof(struct registry_group, mem), "group" };
#define GROUP_SELECT "SELECT g.id, g.name, g.description, g.system, g.created, g.version FROM groups g "

static const struct column permission_columns[] = {
	{ COL_INT, offsetof(struct registry_permission, id) },
	{ COL_TEXT, offsetof(struct registry_permission, name) },
	{ COL_TEXT, offsetof(struct registry_permission, path) },
	{ COL_TEXT, offsetof(struct registry_permission, method) },
	{ COL_BOOL, offsetof(struct registry_permission, deny) },
	{ COL_BOOL, offsetof(struct registry_permission, system) },
	{ COL_INT, offsetof(struct registry_permission, created) },
	{ COL_INT, offsetof(struct registry_permission, version) },
};
static const struct kind permission_kind = { permission_columns, ARRAY_LEN(permission_columns), sizeof(struct registry_permission),
	offsetof(struct registry_permission, mem), "permission" };
#define PERMISSION_FIELDS "p.id, p.name, p.path, p.method, p.deny, p.system, p.created, p.version"
#define PERMISSION_SELECT "SELECT " PERMISSION_FIELDS " FROM permissions p "

/* ---- what groups and permissions do alike ---- */

/* An INSERT or UPDATE of a row whose name is unique. */
struct write {
	const struct kind *kind;
	const char *sql, *count; /* <count>: is there a row with this id; NULL: an INSERT */
	const struct values *v;
	struct slice name;
	int64_t id;
};

static bool
write_row(struct registry *r, const struct write *w, struct err *err)
{
	if (!db_run(r, w->sql, w->v, err))
		return r->failed == ERR_EXISTS ? row_exists(err, w->kind->what, w->name) : false;
	if (w->count == NULL || db_changed(r) == 1)
		return true;
	return row_unchanged(r, &(struct row_query){ w->kind, w->count, VALUES(v_int(w->id)), w->name }, err);
}

static bool
insert_row(struct registry *r, const struct write *w, int64_t *ret_id, struct err *err)
{
	int64_t id = 0;
	bool ok;

	if (!change_begin(r, err))
		return false;
	ok = write_row(r, w, err);
	id = sqlite3_last_insert_rowid(r->db);
	if (!change_end(r, ok, err))
		return false;
	*ret_id = id;
	return true;
}

struct removal {
	const struct kind *kind;
	const char *system, *sql; /* is it ours; the DELETE */
	int64_t id;
};

static bool
remove_row(struct registry *r, const struct removal *d, struct err *err)
{
	char buf[NUMBER_TEXT];
	int64_t system = 0, admins = 0;

	if (!db_int(r, d->system, VALUES(v_int(d->id)), &system, err))
		return r->failed == ERR_MISSING ? row_missing(err, d->kind->what, word_number(d->id, buf)) : false;
	if (system != 0)
		return err_set(err, ERR_DENIED, "this %s is a part of the system and stays", d->kind->what);
	return admin_count(r, &admins, err) && db_run(r, d->sql, VALUES(v_int(d->id)), err) && admin_left(r, admins, err);
}

/* ---- groups ---- */

static bool
group_ok(const struct registry_group *g, struct err *err)
{
	return word_name(g->name, "_-.", true, "group's name", err) && word_text(g->description, REGISTRY_LABEL_MAX, "description", err);
}

bool
registry_group_add(struct registry *r, const struct registry_group *g, int64_t *ret_id, struct err *err)
{
	struct write w = { .kind = &group_kind, .name = g->name,
		.sql = "INSERT INTO groups(name, description, system, created, version) VALUES(?1, ?2, ?3, ?4, 1)",
		.v = VALUES(v_text(g->name), v_text(g->description), v_int(g->system), v_int(registry_now(r))) };

	return group_ok(g, err) && insert_row(r, &w, ret_id, err);
}

static bool
group_set(struct registry *r, const struct registry_group *g, struct err *err)
{
	struct write w = { .kind = &group_kind, .name = g->name, .id = g->id,
		.sql = "UPDATE groups SET name = ?2, description = ?3, version = version + 1"
		       " WHERE id = ?1 AND (?4 = 0 OR version = ?4)",
		.count = "SELECT COUNT(*) FROM groups WHERE id = ?1",
		.v = VALUES(v_int(g->id), v_text(g->name), v_text(g->description), v_int(g->version)) };
	int64_t admins = 0;

	/* A name is all that makes the administrators' group what it is. */
	return admin_count(r, &admins, err) && write_row(r, &w, err) && admin_left(r, admins, err);
}

bool
registry_group_set(struct registry *r, const struct registry_group *g, struct err *err)
{
	return group_ok(g, err) && change_begin(r, err) && change_end(r, group_set(r, g, err), err);
}

bool
registry_group_remove(struct registry *r, int64_t id, struct err *err)
{
	struct removal d = { &group_kind, "SELECT system FROM groups WHERE id = ?1", "DELETE FROM groups WHERE id = ?1", id };

	return change_begin(r, err) && change_end(r, remove_row(r, &d, err), err);
}

bool
registry_group_get(struct registry *r, int64_t id, struct registry_group *ret, struct err *err)
{
	char buf[NUMBER_TEXT];

	return row_get(r,
	    &(struct row_query){ &group_kind, GROUP_SELECT "WHERE g.id = ?1", VALUES(v_int(id)), word_number(id, buf) }, ret, err);
}

bool
registry_group_find(struct registry *r, struct slice name, struct registry_group *ret, struct err *err)
{
	return row_get(r, &(struct row_query){ &group_kind, GROUP_SELECT "WHERE g.name = ?1", VALUES(v_text(name)), name }, ret, err);
}

/* ---- permissions ---- */

static bool
permission_ok(const struct registry_permission *p, struct err *err)
{
	return word_name(p->name, "_-.", true, "permission's name", err) && word_text(p->path, REGISTRY_LABEL_MAX, "path", err) &&
	    word_text(p->method, REGISTRY_LABEL_MAX, "method", err);
}

bool
registry_permission_add(struct registry *r, const struct registry_permission *p, int64_t *ret_id, struct err *err)
{
	struct write w = { .kind = &permission_kind, .name = p->name,
		.sql = "INSERT INTO permissions(name, path, method, deny, system, created, version) VALUES(?1, ?2, ?3, ?4, ?5, ?6, 1)",
		.v = VALUES(v_text(p->name), v_text(p->path), v_text(p->method), v_int(p->deny), v_int(p->system), v_int(registry_now(r))) };

	return permission_ok(p, err) && insert_row(r, &w, ret_id, err);
}

bool
registry_permission_set(struct registry *r, const struct registry_permission *p, struct err *err)
{
	struct write w = { .kind = &permission_kind, .name = p->name, .id = p->id,
		.sql = "UPDATE permissions SET name = ?2, path = ?3, method = ?4, deny = ?5, version = version + 1"
		       " WHERE id = ?1 AND (?6 = 0 OR version = ?6)",
		.count = "SELECT COUNT(*) FROM permissions WHERE id = ?1",
		.v = VALUES(v_int(p->id), v_text(p->name), v_text(p->path), v_text(p->method), v_int(p->deny), v_int(p->version)) };

	return permission_ok(p, err) && change_begin(r, err) && change_end(r, write_row(r, &w, err), err);
}

bool
registry_permission_remove(struct registry *r, int64_t id, struct err *err)
{
	struct removal d = { &permission_kind, "SELECT system FROM permissions WHERE id = ?1", "DELETE FROM permissions WHERE id = ?1",
		id };

	return change_begin(r, err) && change_end(r, remove_row(r, &d, err), err);
}

bool
registry_permission_get(struct registry *r, int64_t id, struct registry_permission *ret, struct err *err)
{
	char buf[NUMBER_TEXT];

	return row_get(r,
	    &(struct row_query){ &permission_kind, PERMISSION_SELECT "WHERE p.id = ?1", VALUES(v_int(id)), word_number(id, buf) }, ret, err);
}

bool
registry_permission_find(struct registry *r, struct slice name, struct registry_permission *ret, struct err *err)
{
	return row_get(r,
	    &(struct row_query){ &permission_kind, PERMISSION_SELECT "WHERE p.name = ?1", VALUES(v_text(name)), name }, ret, err);
}

/* ---- who has which ---- */

struct link_words {
	const char *add, *remove, *list;
};
static const struct link_words link_words[] = {
	[REGISTRY_USER_GROUP] = { "INSERT INTO user_groups(user_id, group_id) VALUES(?1, ?2)",
	    "DELETE FROM user_groups WHERE user_id = ?1 AND group_id = ?2", NULL },
	[REGISTRY_USER_PERMISSION] = { "INSERT INTO user_permissions(user_id, permission_id) VALUES(?1, ?2)",
	    "DELETE FROM user_permissions WHERE user_id = ?1 AND permission_id = ?2",
	    PERMISSION_SELECT "JOIN user_permissions l ON l.permission_id = p.id WHERE l.user_id = ?1 ORDER BY p.name" },
	[REGISTRY_GROUP_PERMISSION] = { "INSERT INTO group_permissions(group_id, permission_id) VALUES(?1, ?2)",
	    "DELETE FROM group_permissions WHERE group_id = ?1 AND permission_id = ?2",
	    PERMISSION_SELECT "JOIN group_permissions l ON l.permission_id = p.id WHERE l.group_id = ?1 ORDER BY p.name" },
};

bool
registry_link_add(struct registry *r, enum registry_link kind, int64_t a, int64_t b, struct err *err)
{
	if (!change_begin(r, err))
		return false;
	if (change_end(r, db_run(r, link_words[kind].add, VALUES(v_int(a), v_int(b)), err), err))
		return true;
	if (r->failed == ERR_EXISTS)
		return err_set(err, ERR_EXISTS, "it is so already");
	return r->failed == ERR_MISSING ? err_set(err, ERR_MISSING, "there is no such user, group or permission") : false;
}

static bool
unlink_rows(struct registry *r, enum registry_link kind, int64_t a, int64_t b, struct err *err)
{
	int64_t admins = 0;

	if (!admin_count(r, &admins, err) || !db_run(r, link_words[kind].remove, VALUES(v_int(a), v_int(b)), err))
		return false;
	if (db_changed(r) == 0)
		return err_set(err, ERR_MISSING, "it is not so");
	/* What a token says of its user's groups does not hold any more. */
	if (kind != REGISTRY_GROUP_PERMISSION &&
	    !db_run(r, "UPDATE users SET generation = generation + 1 WHERE id = ?1", VALUES(v_int(a)), err))
		return false;
	return admin_left(r, admins, err);
}

bool
registry_link_remove(struct registry *r, enum registry_link kind, int64_t a, int64_t b, struct err *err)
{
	return change_begin(r, err) && change_end(r, unlink_rows(r, kind, a, b, err), err);
}

/* ---- lists ---- */

struct shown_right {
	registry_group_fn *group;
	registry_permission_fn *permission;
	void *ctx;
};

static bool
show_group(void *ctx, const void *row)
{
	const struct shown_right *s = ctx;

	return s->group(s->ctx, row);
}

static bool
show_permission(void *ctx, const void *row)
{
	const struct shown_right *s = ctx;

	return s->permission(s->ctx, row);
}

bool
registry_group_each(struct registry *r, int64_t user, registry_group_fn *each, void *ctx, struct err *err)
{
	struct row_query g = { .kind = &group_kind, .v = VALUES(v_int(user)),
		.sql = user == 0 ? GROUP_SELECT "ORDER BY g.name"
				 : GROUP_SELECT "JOIN user_groups l ON l.group_id = g.id WHERE l.user_id = ?1 ORDER BY g.name" };

	return row_each(r, &g, show_group, &(struct shown_right){ .group = each, .ctx = ctx }, err);
}

bool
registry_permission_each(struct registry *r, enum registry_link kind, int64_t of, registry_permission_fn *each, void *ctx,
    struct err *err)
{
	struct row_query g = { .kind = &permission_kind, .v = VALUES(v_int(of)), .sql = link_words[kind].list };

	if (of != 0 && g.sql == NULL)
		return err_set(err, ERR_USAGE, "permissions are those of a user or a group");
	if (of == 0)
		g.sql = PERMISSION_SELECT "ORDER BY p.name";
	return row_each(r, &g, show_permission, &(struct shown_right){ .permission = each, .ctx = ctx }, err);
}

struct rules {
	bool (*each)(void *ctx, bool direct, const struct registry_permission *p);
	void *ctx;
	bool direct, stopped;
};

static bool
show_rule(void *ctx, const void *row)
{
	struct rules *s = ctx;

	s->stopped = !s->each(s->ctx, s->direct, row);
	return !s->stopped;
}

bool
registry_user_rules(struct registry *r, int64_t user, bool (*each)(void *ctx, bool direct, const struct registry_permission *p),
    void *ctx, struct err *err)
{
	struct rules s = { .each = each, .ctx = ctx, .direct = true };
	struct row_query g = { .kind = &permission_kind, .v = VALUES(v_int(user)), .sql = link_words[REGISTRY_USER_PERMISSION].list };

	if (!row_each(r, &g, show_rule, &s, err) || s.stopped)
		return s.stopped;
	s.direct = false;
	g.sql = "SELECT DISTINCT " PERMISSION_FIELDS " FROM user_groups u JOIN group_permissions l ON l.group_id = u.group_id"
		" JOIN permissions p ON p.id = l.permission_id WHERE u.user_id = ?1 ORDER BY p.name";
	return row_each(r, &g, show_rule, &s, err);
}
