/* Signing in with a browser: the same token as a login gives, in a cookie that no script can read and no other site can have sent. */
#include "api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { WHOLE_S = 12 * 3600, LINK_S = 3600, LINK_HEX = 48 };

/* ---- is it a page of ours that asks? ---- */

/* A header that only a page of the same origin can set: to others we answer no preflight (Fetch 4.8). */
static bool
is_asked_by_page(const struct call *c)
{
	struct slice s;

	return http_header(&c->head, "X-Signet", &s) && s.p != NULL;
}

bool
signin_same_origin(const struct call *c)
{
	struct slice site, origin, host;

	if (!http_header(&c->head, "Sec-Fetch-Site", &site) || !http_header(&c->head, "Origin", &origin) || !http_header(&c->head, "Host", &host))
		return false;
	if (site.p != NULL && !slice_eq(site, SL("same-origin")) && !slice_eq(site, SL("none")))
		return false;
	return origin.p == NULL || (slice_starts(origin, SL("https://")) && slice_eq(slice_from(origin, 8), host));
}

bool
signin_cookie(const struct call *c, struct slice *ret)
{
	struct slice list;
	bool more = true, named;

	if (!http_header(&c->head, "Cookie", &list) || list.p == NULL)
		return false;
	while (more) {
		struct slice one = slice_cut(&list, ';', &more), name;

		while (one.n > 0 && one.p[0] == ' ')
			one = slice_from(one, 1);
		name = slice_cut(&one, '=', &named);
		if (!named || !slice_eq(name, SL(API_COOKIE)))
			continue;
		*ret = one;
		return one.n > 0;
	}
	return false;
}

bool
signin_page(const struct call *c)
{
	return signin_same_origin(c) && (c->head.method <= HTTP_HEAD || is_asked_by_page(c));
}

/* ---- answers ---- */

static void
set_cookie(struct call *c, const char *value, int64_t seconds)
{
	call_header(c, "Set-Cookie", API_COOKIE "=%s; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=%lld", value, (long long)seconds);
}

static void
answer(struct call *c, struct token *t, const char *name)
{
	int64_t now = api_now(c->api);
	char *text = token_issue(c->api->tokens, t, now);

	if (text == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	set_cookie(c, text, t->expires - now);
	secret_wipe(text, strlen(text));
	free(text);
	call_json(c, 200, json_pack("{s:s, s:s, s:o, s:o}", "name", name, "tenant", t->tenant, "expires", time_json(t->expires), "until",
			      time_json(t->since + WHOLE_S)));
}

void
signin_done(struct call *c, struct token *t, const char *name)
{
	t->since = api_now(c->api);
	answer(c, t, name);
}

/* A page that is in use goes on for twelve hours; then its user shows again that he knows the password. */
static void
renew(struct call *c)
{
	struct registry_user u;
	struct token t = { .user = c->actor.user, .since = c->actor.since };
	struct err err;

	if (!c->actor.cookie) {
		call_problem(c, 409, "no-cookie", "log in again", "only the cookie of a sign-in can be renewed");
		return;
	}
	if (api_now(c->api) - c->actor.since >= WHOLE_S) {
		call_problem(c, 401, "login", "sign in again", "twelve hours have passed since the sign-in");
		return;
	}
	if (!registry_user_get(c->api->registry, c->actor.user, &u, &err)) {
		call_error(c, &err);
		return;
	}
	t.generation = u.generation;
	memcpy(t.tenant, c->actor.tenant, sizeof(t.tenant));
	memcpy(t.jti, c->actor.jti, sizeof(t.jti));
	free(u.mem);
	tunnels_renew(c->api, t.jti, api_now(c->api) + c->api->config->token_s);
	answer(c, &t, c->actor.name + strlen("user:"));
}

static void
sign_out(struct call *c)
{
	int64_t now = api_now(c->api);

	/* The newest token of this sign-in may be younger than the one that was sent. */
	if (c->actor.kind == ACTOR_USER && !token_revoke(c->api->tokens, c->actor.jti, now + c->api->config->token_s, now)) {
		call_json(c, 503, NULL);
		return;
	}
	tunnels_end(c->api, c->actor.jti);
	set_cookie(c, "", 0);
	call_nothing(c);
}

/* ---- the link that is shown when nobody has ever signed in ---- */

struct search {
	struct registry *registry;
	int64_t user;
	bool used; /* somebody has */
};

static bool
look_at(void *ctx, const struct registry_user *u)
{
	struct search *s = ctx;

	s->used = s->used || u->last_login != 0;
	if (s->user == 0 && !u->disabled && user_is_admin(s->registry, u->id))
		s->user = u->id;
	return !s->used;
}

static int64_t
first_admin(struct api *a)
{
	struct registry_user_filter f = { 0 };
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	struct search s = { .registry = a->registry };
	bool ok = registry_user_list(a->registry, &f, &page, look_at, &s, NULL);

	return ok && !s.used && page.next[0] == '\0' ? s.user : 0;
}

static const struct api_listener *
https_of(const struct api_config *cf)
{
	for (unsigned i = 0; i < cf->n_listeners; i++)
		if (cf->listeners[i].port != 0)
			return &cf->listeners[i];
	return NULL;
}

/* On a terminal only: a log is kept, and read by others. */
void
signin_offer(struct api *a)
{
	const struct api_listener *l = https_of(a->config);
	uint8_t secret[LINK_HEX / 2];
	char hex[LINK_HEX + 1];

	if (l == NULL || !api_has_console() || isatty(STDERR_FILENO) == 0 || (a->link_user = first_admin(a)) == 0)
		return;
	random_bytes(secret, sizeof(secret));
	(void)text_hex(slice_of(secret, sizeof(secret)), hex, sizeof(hex));
	(void)text_copy(a->link, sizeof(a->link), slice_str(hex));
	a->link_until = api_now(a) + LINK_S;
	(void)fprintf(stderr, "Nobody has signed in yet. On this machine open, once and within an hour:\n\n    https://localhost:%u/console/#link=%s\n\n",
	    (unsigned)l->port, hex);
	secret_wipe(secret, sizeof(secret));
	secret_wipe(hex, sizeof(hex));
}

void
signin_forget(struct api *a)
{
	secret_wipe(a->link, sizeof(a->link));
	a->link_user = 0;
}

static void
by_link(struct call *c)
{
	struct api *a = c->api;
	struct slice link = call_text(c, "link");
	struct token t = { .user = a->link_user };
	struct registry_user u;
	char name[REGISTRY_NAME_MAX + 1];
	bool good = a->link_user != 0 && link.n == LINK_HEX && secret_eq(link, slice_str(a->link)) && api_now(a) < a->link_until &&
	    chan_is_loopback(c->chan);

	if (!good || !registry_user_get(a->registry, a->link_user, &u, NULL)) {
		call_problem(c, 401, "link", "sign in with user name and password; `signet control --make-admin NAME` gives a new password",
		    "the link was used already, is too old, or is not for this machine");
		return;
	}
	signin_forget(a);
	t.generation = u.generation;
	(void)text_copy(t.tenant, sizeof(t.tenant), u.tenant);
	(void)text_copy(name, sizeof(name), u.name);
	(void)registry_user_login(a->registry, u.id, true, 0, NULL);
	free(u.mem);
	api_audit(a, name, "login-by-link", slice_str(c->peer));
	signin_done(c, &t, name);
}

static const struct field signin_rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "tenant", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX },
	{ "expires", FIELD_TEXT, FIELD_REQUIRED, 20, 20, &rule_time, .help = "Of the cookie; renew it before" },
	{ "until", FIELD_TEXT, FIELD_REQUIRED, 20, 20, &rule_time, .help = "How long it can be renewed" },
	{ 0 },
};
static const struct field link_rows[] = {
	{ "link", FIELD_TEXT, FIELD_REQUIRED | FIELD_SECRET, 1, 100, &rule_plain, .example = "\"5f3c\"", .help = "What stands behind #link= of the link shown at the first start" },
	{ 0 },
};
static const struct schema link_schema = { "SignInLink", link_rows };
const struct schema signin_schema = { "SignIn", signin_rows };

static const struct op ops[] = {
	{ "renewSignIn", "Renew the cookie; twelve hours after the sign-in at most", HTTP_PUT, "/api/v1/signin", OP_SELF | OP_QUIET, 200, renew,
	    .answer = &signin_schema },
	{ "signOut", "Sign out: the cookie is void from now on", HTTP_DELETE, "/api/v1/signin", OP_SELF | OP_QUIET, 204, sign_out },
	{ "signInByLink", "Sign in with the link that is shown on a terminal while nobody has ever signed in; once, and from this machine", HTTP_POST,
	    "/api/v1/signin/link", OP_OPEN | OP_QUIET | OP_PAGE, 200, by_link, .body = &link_schema, .answer = &signin_schema,
	    .example = "{\"link\":\"5f3c\"}", .body_max = 4096 },
};
const struct op_group group_signin = { "signin", "Signing in with a browser: a cookie in the place of a token", ops, ARRAY_LEN(ops) };
