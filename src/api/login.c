/* Logging in and out. */
#include "api/internal.h"

#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "passwd/passwd.h"

static bool
add_hash(struct call *c, struct slice hash, struct slice password, void (*done)(void *ctx, struct hash_job *j))
{
	struct hash_job *j = hash_job_new(hash, password);

	if (j == NULL)
		return false;
	j->done = done;
	j->ctx = c;
	if (hasher_add(c->api->hasher, j))
		return true;
	hash_job_free(j);
	return false;
}

static void
answer_busy(struct call *c)
{
	call_header(c, "Retry-After", "5");
	call_problem(c, 503, "busy", "try again in a few seconds", "too many passwords are looked at just now");
}

void
call_try_hash(struct call *c, const struct hash_try *t, struct slice password, void (*done)(void *ctx, struct hash_job *j))
{
	const struct api_ports *ports = &c->api->config->ports;

	/* Before the hash, which takes long: who guesses in parallel has no more guesses. */
	ports->tried(ports->ctx, t->what, c->peer, t->user);
	if (add_hash(c, t->hash, password, done))
		return;
	ports->spared(ports->ctx, t->what, c->peer, t->user);
	answer_busy(c);
}

void
call_hash(struct call *c, struct slice password, void (*done)(void *ctx, struct hash_job *j))
{
	if (!add_hash(c, (struct slice){ 0 }, password, done))
		answer_busy(c);
}

char *
login_token(struct call *c, const struct login *who, const char *more, struct token *ret)
{
	*ret = (struct token){ .more = more, .user = who->user, .generation = who->generation };
	memcpy(ret->tenant, who->tenant, sizeof(ret->tenant));
	return token_issue(c->api->tokens, ret, api_now(c->api));
}

static void
answer_token(struct call *c, const struct login *who)
{
	struct token token;
	char *text;
	json_t *v;

	if (who == NULL) {
		call_problem(c, 401, "credentials", "an administrator can set a new password", "user name or password is wrong");
		return;
	}
	signin_forget(c->api);
	if ((c->op->flags & OP_PAGE) != 0) {
		token = (struct token){ .user = who->user, .generation = who->generation };
		memcpy(token.tenant, who->tenant, sizeof(token.tenant));
		signin_done(c, &token, who->name);
		return;
	}
	text = login_token(c, who, NULL, &token);
	v = text != NULL ? json_pack("{s:s, s:s, s:I, s:o}", "token", text, "type", "Bearer", "expires_in",
			       (json_int_t)(token.expires - token.issued), "expires", time_json(token.expires))
			 : NULL;
	free(text);
	call_json(c, 200, v);
}

/* The same answer, after the same time, whether the name or the password is wrong. */
static void
on_password(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;
	const struct api_ports *ports = &c->api->config->ports;
	struct login *t = c->work;
	bool right = j->right && t->user != 0;

	hash_job_free(j);
	if (t->user != 0)
		(void)registry_user_login(c->api->registry, t->user, right, 0, NULL);
	if (right) {
		ports->spared(ports->ctx, API_TRY_PASSWORD, c->peer, slice_str(t->name));
		api_audit(c->api, t->name, "login", slice_str(c->peer));
		t->done(c, t);
		return;
	}
	api_audit(c->api, t->name, "login-refused", slice_str(c->peer));
	t->done(c, NULL);
}

/* With the user's hash, or with one of nobody's password. */
static void
compare(struct call *c, struct login *t, struct slice password)
{
	struct registry_tenant tenant = { 0 };
	struct registry_user u = { 0 };
	bool found = registry_user_find(c->api->registry, slice_str(t->name), &u, NULL);

	if (found && !u.disabled && u.password.n > 0 && registry_tenant_get(c->api->registry, u.tenant, &tenant, NULL) && !tenant.disabled) {
		t->user = u.id;
		t->generation = u.generation;
		(void)text_copy(t->tenant, sizeof(t->tenant), u.tenant);
	}
	call_try_hash(c, &(struct hash_try){ API_TRY_PASSWORD, slice_str(t->name), t->user != 0 ? u.password : slice_str(c->api->decoy) }, password, on_password);
	free(tenant.mem);
	free(u.mem);
}

void
login_try(struct call *c, struct slice name, struct slice password, void (*done)(struct call *c, const struct login *who))
{
	const struct api_ports *ports = &c->api->config->ports;
	struct login *t = c->work = calloc(1, sizeof(*t));

	if (t == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	t->done = done;
	(void)text_copy(t->name, sizeof(t->name), name);
	for (char *p = t->name; *p != '\0'; p++)
		*p = (char)(*p >= 'A' && *p <= 'Z' ? *p | 0x20 : *p);
	if (!ports->may_try(ports->ctx, API_TRY_PASSWORD, c->peer, slice_str(t->name))) {
		call_header(c, "Retry-After", "12");
		call_problem(c, 429, "too-many-logins", "wait, or come from another address", "too many wrong passwords for this user from this address, or from this address");
		return;
	}
	compare(c, t, password);
}

static void
login(struct call *c)
{
	login_try(c, call_text(c, "username"), call_text(c, "password"), answer_token);
}

static void
logout(struct call *c)
{
	int64_t now = api_now(c->api);

	if (c->actor.kind != ACTOR_USER)
		call_problem(c, 409, "no-token", NULL, "who asks has no token that could be given back");
	else if (!token_revoke(c->api->tokens, c->actor.jti, now + c->api->config->token_s, now)) /* of a cookie there may be a newer one */
		call_json(c, 503, NULL);
	else {
		tunnels_end(c->api, c->actor.jti);
		call_nothing(c);
	}
}

/* ---- who am I ---- */

static bool
add_group(void *ctx, const struct registry_group *g)
{
	return json_array_append_new(ctx, text_json(g->name)) == 0;
}

static void
me(struct call *c)
{
	static const char *const kinds[] = { "nobody", "user", "certificate", "local" };
	json_t *groups = json_array();
	struct err err;

	if (groups != NULL && c->actor.kind == ACTOR_USER && !registry_group_each(c->api->registry, c->actor.user, add_group, groups, &err)) {
		json_decref(groups);
		call_error(c, &err);
		return;
	}
	call_json(c, 200, json_pack("{s:s, s:s, s:s, s:b, s:o, s:o}", "name", c->actor.name, "kind", kinds[c->actor.kind], "tenant",
			      c->actor.tenant, "platform", c->actor.first, "groups", groups, "expires", time_json(c->actor.expires)));
}

static void
on_hashed(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;
	struct registry_user u;
	struct err err;
	bool ok = registry_user_get(c->api->registry, c->actor.user, &u, &err);

	if (ok) {
		/* Somebody may have given him another password, or disabled him, while the hashes were computed. */
		ok = u.generation == c->actor.generation || err_set(&err, ERR_CONFLICT, "the password or the rights were changed meanwhile");
		free(u.mem);
	}
	if (ok && !j->right)
		ok = err_set(&err, ERR_MEMORY, "out of memory");
	ok = ok && registry_user_set_password(c->api->registry, c->actor.user, slice_str(j->hash), &err);
	hash_job_free(j);
	if (ok)
		call_nothing(c);
	else
		call_error(c, &err);
}

/* The old one was right: now the new one. */
static void
on_old(void *ctx, struct hash_job *j)
{
	struct call *c = ctx;
	const struct api_ports *ports = &c->api->config->ports;
	bool right = j->right;

	hash_job_free(j);
	if (right) {
		ports->spared(ports->ctx, API_TRY_PASSWORD, c->peer, slice_str(c->actor.name));
		call_hash(c, call_text(c, "new_password"), on_hashed);
		return;
	}
	call_problem(c, 403, "credentials", NULL, "the old password is wrong");
}

static void
set_own_password(struct call *c)
{
	const struct api_ports *ports = &c->api->config->ports;
	struct registry_user u;

	if (c->actor.kind != ACTOR_USER || !registry_user_get(c->api->registry, c->actor.user, &u, NULL)) {
		call_problem(c, 409, "no-user", NULL, "who asks is no user with a password");
		return;
	}
	if (!ports->may_try(ports->ctx, API_TRY_PASSWORD, c->peer, slice_str(c->actor.name))) {
		free(u.mem);
		call_header(c, "Retry-After", "12");
		call_problem(c, 429, "too-many-logins", "wait", "too many wrong passwords");
		return;
	}
	call_try_hash(c, &(struct hash_try){ API_TRY_PASSWORD, slice_str(c->actor.name), u.password }, call_text(c, "old_password"), on_old);
	free(u.mem);
}

static const struct field login_rows[] = {
	{ "username", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_plain, .example = "\"admin\"" },
	{ "password", FIELD_TEXT, FIELD_REQUIRED | FIELD_SECRET, 1, PASSWORD_MAX, .example = "\"correct horse battery\"" },
	{ 0 },
};
static const struct field token_rows[] = {
	{ "token", FIELD_TEXT, FIELD_REQUIRED, 1, API_TOKEN_MAX, .help = "For the header Authorization: Bearer TOKEN" },
	{ "type", FIELD_TEXT, FIELD_REQUIRED, 1, 16 },
	{ "expires_in", FIELD_INT, FIELD_REQUIRED, 1, 86400, .help = "Seconds" },
	{ "expires", FIELD_TEXT, FIELD_REQUIRED, 20, 20, &rule_time },
	{ 0 },
};
static const struct field group_name = { "name", FIELD_TEXT, 0, 1, REGISTRY_NAME_MAX };
static const char *const kind_names[] = { "user", "certificate", "local", NULL };
static const struct field me_rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, 128 },
	{ "kind", FIELD_TEXT, FIELD_REQUIRED, .choices = kind_names },
	{ "tenant", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX },
	{ "platform", FIELD_BOOL, FIELD_REQUIRED, .help = "Of the first tenant, whose users can look after all others" },
	{ "groups", FIELD_LIST, FIELD_REQUIRED, 0, 1000, .of = &group_name },
	{ "expires", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ 0 },
};
static const struct field password_rows[] = {
	{ "old_password", FIELD_TEXT, FIELD_REQUIRED | FIELD_SECRET, 1, PASSWORD_MAX, .example = "\"correct horse battery\"" },
	{ "new_password", FIELD_TEXT, FIELD_REQUIRED | FIELD_SECRET, PASSWORD_MIN, PASSWORD_MAX, .example = "\"staple of the century\"" },
	{ 0 },
};
static const struct schema login_schema = { "Login", login_rows }, token_schema = { "Token", token_rows }, me_schema = { "Me", me_rows },
			   password_schema = { "PasswordChange", password_rows };

static const struct op ops[] = {
	{ "login", "Log in with user name and password", HTTP_POST, "/api/v1/login", OP_OPEN | OP_QUIET | OP_RATIONED, 200, login, .body = &login_schema,
	    .answer = &token_schema, .example = "{\"username\":\"admin\",\"password\":\"correct horse battery\"}", .body_max = 4096 },
	{ "signIn", "Sign in with a browser: the answer has a cookie in the place of a token. Requests with the cookie need the header X-Signet", HTTP_POST,
	    "/api/v1/signin", OP_OPEN | OP_QUIET | OP_PAGE | OP_RATIONED, 200, login, .body = &login_schema, .answer = &signin_schema,
	    .example = "{\"username\":\"admin\",\"password\":\"correct horse battery\"}", .body_max = 4096 },
	{ "logout", "Give the token back: it is void from now on", HTTP_POST, "/api/v1/logout", OP_SELF, 204, logout },
	{ "me", "Who is asking", HTTP_GET, "/api/v1/me", OP_SELF, 200, me, .answer = &me_schema },
	{ "setOwnPassword", "Change one's own password; all tokens of the user are void after it", HTTP_PUT, "/api/v1/me/password", OP_SELF | OP_RATIONED, 204,
	    set_own_password, .body = &password_schema, .example = "{\"old_password\":\"correct horse battery\",\"new_password\":\"staple of the century\"}", .body_max = 4096 },
};
const struct op_group group_login = { "login", "Logging in and out", ops, ARRAY_LEN(ops) };
