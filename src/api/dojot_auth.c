/* dojot's auth: logging in, and users. Its users are those of the registry, its services the tenants. */
#include "api/dojot.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/passwd.h"

/* ---- POST /auth ---- */

static bool
add_group_id(void *ctx, const struct registry_group *g)
{
	return json_array_append_new(ctx, json_integer(g->id)) == 0;
}

/* What dojot's programs look for in a token beside our own claims. */
static char *
claims_text(struct call *c, const struct login *who)
{
	json_t *groups = json_array(), *v;
	struct registry_user u;
	char *text = NULL;

	if (groups == NULL || !registry_user_get(c->api->registry, who->user, &u, NULL)) {
		json_decref(groups);
		return NULL;
	}
	(void)registry_group_each(c->api->registry, u.id, add_group_id, groups, NULL);
	v = json_pack("{s:o, s:o, s:I, s:o, s:o}", "service", text_json(u.tenant), "username", text_json(u.name), "userid", (json_int_t)u.id, "profile",
	    text_json(u.profile), "groups", groups);
	text = v != NULL ? json_dumps(v, JSON_COMPACT) : NULL;
	json_decref(v);
	free(u.mem);
	return text;
}

static void
on_login(struct call *c, const struct login *who)
{
	struct token token;
	char *more, *text;

	if (who == NULL) {
		dojot_fail(c, 401, "AuthenticationError");
		return;
	}
	signin_forget(c->api);
	more = claims_text(c, who);
	text = more != NULL ? login_token(c, who, more, &token) : NULL;
	free(more);
	call_json(c, 200, text != NULL ? json_pack("{s:s}", "jwt", text) : NULL);
	if (text != NULL)
		secret_free(text, strlen(text));
}

static void
log_in(struct call *c)
{
	if (!dojot_body(c, DOJOT_EJBCA_BODY))
		return;
	if (dojot_text(c, "username") == NULL || call_text(c, "username").n > REGISTRY_NAME_MAX)
		dojot_fail(c, 400, "missing username");
	else if (dojot_text(c, "passwd") == NULL || call_text(c, "passwd").n > PASSWORD_MAX)
		dojot_fail(c, 400, "missing password");
	else
		login_try(c, call_text(c, "username"), call_text(c, "passwd"), on_login);
}

/* ---- users ---- */

/* All values are texts there. */
static json_t *
number_text(int64_t n)
{
	return json_sprintf("%lld", (long long)n);
}

json_t *
dojot_user(const struct registry_user *u)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", number_text(u->id), "name", text_json(u->full_name.n > 0 ? u->full_name : u->name),
	    "username", text_json(u->name), "service", text_json(u->tenant), "email", text_json(u->email), "profile", text_json(u->profile),
	    "created_date", dojot_time(u->created));
}

/* Whoever looks after all tenants sees their users. */
static bool
sees_all(const struct call *c)
{
	return c->actor.first && actor_is_admin(c);
}

static bool
add_user(void *ctx, const struct registry_user *u)
{
	return json_array_append_new(ctx, dojot_user(u)) == 0;
}

static void
list_users(struct call *c)
{
	struct registry_user_filter f = { .prefix = call_query(c, "username") };
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	json_t *users = json_array();
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok = users != NULL;

	if (!sees_all(c))
		f.tenant = call_tenant(c);
	do {
		ok = ok && registry_user_list(c->api->registry, &f, &page, add_user, users, &err);
		page.cursor = slice_str(page.next);
	} while (ok && page.next[0] != '\0' && json_array_size(users) < DOJOT_WALK_MAX);
	if (ok) {
		call_json(c, 200, json_pack("{s:o}", "users", users));
		return;
	}
	json_decref(users);
	dojot_error(c, &err);
}

/* By number or name. False: answered. */
static bool
load(struct call *c, struct slice who, struct registry_user *ret)
{
	uint64_t id;
	bool found = text_u64(who, 1, INT64_MAX, &id) ? registry_user_get(c->api->registry, (int64_t)id, ret, NULL)
						      : registry_user_find(c->api->registry, who, ret, NULL);

	if (found && (slice_eq(ret->tenant, call_tenant(c)) || sees_all(c)))
		return true;
	if (found)
		free(ret->mem);
	dojot_fail(c, 404, "No user found with this ID");
	return false;
}

static void
get_user(struct call *c)
{
	struct registry_user u;

	if (!load(c, c->params[0], &u))
		return;
	call_json(c, 200, json_pack("{s:o}", "user", dojot_user(&u)));
	free(u.mem);
}

/* Nobody with fewer rights touches an administrator. False: answered. */
static bool
load_to_change(struct call *c, struct registry_user *ret)
{
	if (!load(c, c->params[0], ret))
		return false;
	if (actor_is_admin(c) || !user_is_admin(c->api->registry, ret->id))
		return true;
	free(ret->mem);
	dojot_fail(c, 403, "only an administrator can change another one");
	return false;
}

static void
delete_user(struct call *c)
{
	struct registry_user u;
	struct err err;
	bool ok;

	if (!load_to_change(c, &u))
		return;
	ok = registry_user_remove(c->api->registry, u.id, &err);
	free(u.mem);
	if (ok)
		dojot_fail(c, 200, "User removed");
	else
		dojot_error(c, &err);
}

static void
update_user(struct call *c)
{
	struct registry_user u;
	struct err err;
	bool ok;

	if (!dojot_body(c, DOJOT_EJBCA_BODY) || !load_to_change(c, &u))
		return;
	if (dojot_text(c, "name") != NULL)
		u.full_name = call_text(c, "name");
	if (dojot_text(c, "email") != NULL)
		u.email = call_text(c, "email");
	if (dojot_text(c, "profile") != NULL)
		u.profile = call_text(c, "profile");
	ok = registry_user_set(c->api->registry, &u, &err);
	free(u.mem);
	if (ok)
		dojot_ok(c);
	else
		dojot_error(c, &err);
}

/* ---- making one ---- */

struct new_user {
	char password[DOJOT_SECRET_N + 1]; /* "": the body's */
	char hash[PASSWD_HASH_TEXT_MAX];
};

/* In another tenant than one's own: it is made with its first user. */
static bool
enter_service(struct call *c, struct slice service, struct err *err)
{
	struct registry_tenant t = { .name = service };

	if (slice_eq(service, call_tenant(c)))
		return true;
	if (!sees_all(c))
		return err_set(err, ERR_DENIED, "users of another service are made by an administrator of all");
	return registry_tenant_add(c->api->registry, &t, err) || err->code == ERR_EXISTS;
}

/* The profile is the name of a group. */
static bool
join_profile(struct call *c, int64_t user, json_t *groups, json_t *failed, struct err *err)
{
	struct slice profile = call_text(c, "profile");
	struct registry_group g;
	bool ok;

	if (profile.n == 0)
		return true;
	if (!actor_is_admin(c) || !registry_group_find(c->api->registry, profile, &g, NULL))
		return json_array_append_new(failed, text_json(profile)) == 0;
	ok = registry_link_add(c->api->registry, REGISTRY_USER_GROUP, user, g.id, err);
	free(g.mem);
	return ok && json_array_append_new(groups, text_json(profile)) == 0;
}

static void
make_user(struct call *c, const struct new_user *n)
{
	struct registry *r = c->api->registry;
	struct slice service = dojot_text(c, "service") != NULL ? call_text(c, "service") : call_tenant(c);
	struct registry_user u = { .tenant = service, .name = call_text(c, "username"), .full_name = call_text(c, "name"),
		.email = call_text(c, "email"), .profile = call_text(c, "profile"), .password = slice_str(n->hash) }, made;
	json_t *groups = json_array(), *failed = json_array(), *v;
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	bool ok = registry_begin(r, &err) && enter_service(c, service, &err) && registry_user_add(r, &u, &u.id, &err) &&
	    join_profile(c, u.id, groups, failed, &err) && registry_commit(r, &err) && registry_user_get(r, u.id, &made, &err);

	call_name(c, u.name);
	if (!ok) {
		registry_rollback(r);
		json_decref(groups);
		json_decref(failed);
		if (err.code == ERR_EXISTS)
			dojot_fail(c, 400, "Username %.*s is in use.", SL_ARG(u.name));
		else
			dojot_error(c, &err);
		return;
	}
	v = json_pack("{s:o, s:o, s:o, s:s}", "user", dojot_user(&made), "groups", groups, "could not add", failed, "message", "user created");
	if (v != NULL && n->password[0] != '\0')
		(void)json_object_set_new(v, "password", json_string(n->password));
	free(made.mem);
	call_json(c, 200, v != NULL ? json_pack("[o, i]", v, 200) : NULL);
}

static void
on_hashed(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;
	struct new_user *n = c->work;
	bool ok = j->right && text_copy(n->hash, sizeof(n->hash), slice_str(j->hash));

	hash_job_free(j);
	if (ok)
		make_user(c, n);
	else
		call_json(c, 503, NULL);
}

static void
create_user(struct call *c)
{
	static const char *const needed[] = { "username", "email", "name", "profile" };
	struct slice password = call_text(c, "passwd");
	uint8_t hash[REGISTRY_HASH];
	struct new_user *n;

	if (!dojot_body(c, DOJOT_EJBCA_BODY))
		return;
	for (size_t i = 0; i < ARRAY_LEN(needed); i++)
		if (call_text(c, needed[i]).n == 0) {
			dojot_fail(c, 400, "Missing %s", needed[i]);
			return;
		}
	if (!rule_user.ok(call_text(c, "username"))) {
		dojot_fail(c, 400, "Invalid username, only lower case alphanumeric characters, - _ . and @ are allowed");
		return;
	}
	n = c->work = calloc(1, sizeof(*n));
	if (n == NULL || (password.n == 0 && !dojot_secret_make(n->password, hash))) {
		call_json(c, 503, NULL);
		return;
	}
	if (password.n > 0 && (password.n < PASSWORD_MIN || password.n > PASSWORD_MAX))
		dojot_fail(c, 400, "a password has %d to %d characters", PASSWORD_MIN, PASSWORD_MAX);
	else
		call_hash(c, password.n > 0 ? password : slice_str(n->password), on_hashed);
}

static void
forbidden(struct call *c)
{
	dojot_fail(c, 403, "Not authorized");
}

static const struct op ops[] = {
	{ "dojotLogin", "Log in", HTTP_POST, "/auth", OP_DOJOT | OP_OPEN | OP_QUIET, 200, log_in, .body_max = 4096 },
	{ "dojotRevokeToken", "Always refused", HTTP_POST, "/auth/revoke", OP_DOJOT | OP_OPEN | OP_QUIET, 403, forbidden },
	{ "dojotListUsers", "Users", HTTP_GET, "/auth/user", OP_DOJOT, 200, list_users },
	{ "dojotCreateUser", "Make a user", HTTP_POST, "/auth/user", OP_DOJOT, 200, create_user, .body_max = 4096 },
	{ "dojotGetUser", "One user", HTTP_GET, "/auth/user/{user}", OP_DOJOT, 200, get_user },
	{ "dojotUpdateUser", "Change a user", HTTP_PUT, "/auth/user/{user}", OP_DOJOT, 200, update_user, .body_max = 4096 },
	{ "dojotDeleteUser", "Remove a user", HTTP_DELETE, "/auth/user/{user}", OP_DOJOT, 200, delete_user },
};
const struct op_group group_dojot_auth = { "dojot-auth", "dojot's auth", ops, ARRAY_LEN(ops) };
