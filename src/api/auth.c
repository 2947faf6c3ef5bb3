/* Who asks, and may he? A token, a certificate of the Control CA, or this machine's administrator on the unix socket. */
#include "api/internal.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "base/text.h"

static bool
refuse(struct call *c, const char *why)
{
	call_header(c, "WWW-Authenticate", "Bearer realm=\"signet\"");
	call_problem(c, 401, "login", "log in with POST /api/v1/login and send Authorization: Bearer TOKEN, or use a certificate of the Control CA",
	    "%s", why);
	return false;
}

/* Who has no tenant of his own is at home in the first one. */
static bool
at_home(struct call *c)
{
	struct registry_tenant t;
	struct err err;

	c->actor.first = true;
	if (registry_tenant_first(c->api->registry, &t, &err)) {
		(void)text_copy(c->actor.tenant, sizeof(c->actor.tenant), t.name);
		free(t.mem);
	} else if (err.code != ERR_MISSING) {
		call_error(c, &err);
		return false;
	}
	return true;
}

static bool
tenant_stands(struct api *a, struct slice name, bool *ret_first)
{
	struct registry_tenant t;
	bool ok = registry_tenant_get(a->registry, name, &t, NULL);

	if (!ok)
		return false;
	ok = !t.disabled;
	*ret_first = t.first;
	free(t.mem);
	return ok;
}

/* What has changed since: removed, disabled, another password or fewer rights. */
bool
auth_still(struct api *a, const struct token *t, struct actor *ret)
{
	struct actor x = { .kind = ACTOR_USER, .user = t->user, .expires = t->expires, .since = t->since, .generation = t->generation };
	struct registry_user u;
	bool ok;

	if (!registry_user_get(a->registry, t->user, &u, NULL))
		return false;
	ok = !u.disabled && u.generation == t->generation && slice_eq(u.tenant, slice_str(t->tenant)) && tenant_stands(a, u.tenant, &x.first);
	(void)snprintf(x.name, sizeof(x.name), "user:%.*s", SL_ARG(u.name));
	free(u.mem);
	memcpy(x.tenant, t->tenant, sizeof(t->tenant));
	memcpy(x.jti, t->jti, sizeof(t->jti));
	if (ok)
		*ret = x;
	return ok;
}

/* NULL: it is he. Else why not; static. */
static const char *
by_token(struct call *c, struct slice text)
{
	bool cookie = c->actor.cookie;
	struct token t;
	const char *why;

	if (!token_read(c->api->tokens, text, api_now(c->api), &t, &why))
		return why;
	if (!auth_still(c->api, &t, &c->actor))
		return "the token is not good any more";
	c->actor.cookie = cookie;
	return NULL;
}

static bool
by_certificate(struct call *c, const struct pki_peer *p)
{
	const struct api_ports *ports = &c->api->config->ports;
	char cn[100];

	if (p->role != AUTHZ_ROLE_CONTROL)
		return refuse(c, "the certificate is not of the Control CA");
	if (!ports->stands(ports->ctx, p))
		return refuse(c, "the certificate is not good any more");
	(void)snprintf(c->actor.name, sizeof(c->actor.name), "certificate:%s",
	    text_show(slice_str(p->cn != NULL ? p->cn : p->serial_hex), cn, sizeof(cn)));
	c->actor.kind = ACTOR_CERTIFICATE;
	return at_home(c);
}

static bool
bearer(struct slice s, struct slice *ret)
{
	if (s.n < 7 || strncasecmp((const char *)s.p, "Bearer ", 7) != 0)
		return false;
	*ret = slice_from(s, 7);
	return true;
}

static bool
refuse_foreign(struct call *c)
{
	call_problem(c, 403, "foreign", "open /console/ at the address under which you signed in, or send Authorization: Bearer TOKEN",
	    "the request comes from a page of another site, or is not one of the console's");
	return false;
}

bool
auth_who(struct call *c)
{
	const struct pki_peer *p = chan_peer(c->chan);
	struct slice header, text;
	const char *why;

	if ((c->op->flags & OP_PAGE) != 0 && !signin_page(c))
		return refuse_foreign(c);
	if ((c->op->flags & OP_OPEN) != 0)
		return true;
	if (!http_header(&c->head, "Authorization", &header))
		return refuse(c, "there is more than one Authorization header");
	if (header.p != NULL) {
		why = bearer(header, &text) ? by_token(c, text) : "the Authorization header is not Bearer TOKEN";
		return why == NULL || refuse(c, why);
	}
	/* From here on it is the browser's doing who asks, whichever page wanted it. */
	if (!signin_same_origin(c))
		return refuse_foreign(c);
	if (signin_cookie(c, &text)) {
		c->actor.cookie = true;
		if (!signin_page(c))
			return refuse_foreign(c);
		why = by_token(c, text);
		return why == NULL || refuse(c, why);
	}
	if (chan_is_local(c->chan)) {
		(void)snprintf(c->actor.name, sizeof(c->actor.name), "local");
		c->actor.kind = ACTOR_LOCAL;
		return at_home(c);
	}
	return p != NULL ? by_certificate(c, p) : refuse(c, "the request says not who asks");
}

/* ---- rules ---- */

struct verdict {
	const char *path, *method;
	bool direct_permit, direct_deny, group_permit, group_deny;
};

bool
auth_pattern(struct slice rule, regex_t *re)
{
	char anchored[REGISTRY_LABEL_MAX + 8];

	(void)snprintf(anchored, sizeof(anchored), "^(%.*s)", SL_ARG(rule));
	return rule.n <= REGISTRY_LABEL_MAX && regcomp(re, anchored, REG_EXTENDED | REG_NOSUB) == 0;
}

void
auth_rule_read(struct auth_rule *x, struct slice rule, bool deny)
{
	x->deny = deny;
	x->readable = auth_pattern(rule, &x->re);
}

bool
auth_rule_fits(const struct auth_rule *x, const char *text)
{
	return x->readable ? regexec(&x->re, text, 0, NULL, 0) == 0 : x->deny;
}

void
auth_rule_free(struct auth_rule *x)
{
	if (x->readable)
		regfree(&x->re);
}

bool
auth_fits(struct slice rule, const char *text, bool deny)
{
	struct auth_rule x;
	bool fits;

	auth_rule_read(&x, rule, deny);
	fits = auth_rule_fits(&x, text);
	auth_rule_free(&x);
	return fits;
}

static bool
one_rule(void *ctx, bool direct, const struct registry_permission *p)
{
	struct verdict *v = ctx;

	if (!auth_fits(p->path, v->path, p->deny) || !auth_fits(p->method, v->method, p->deny))
		return true;
	if (direct)
		*(p->deny ? &v->direct_deny : &v->direct_permit) = true;
	else
		*(p->deny ? &v->group_deny : &v->group_permit) = true;
	return true;
}

/* Rules of the user stand above those of his groups, denying above permitting, and no rule is a no. */
bool
auth_permits(struct api *a, const struct actor *who, enum http_method m, const char *path)
{
	struct verdict v = { .path = path, .method = http_method_name(m) };

	if (who->kind != ACTOR_USER)
		return true;
	if (!registry_user_rules(a->registry, who->user, one_rule, &v, NULL) || v.direct_deny)
		return false;
	return v.direct_permit || (v.group_permit && !v.group_deny);
}

static bool
permitted(struct call *c, const char *path)
{
	return auth_permits(c->api, &c->actor, c->op->method, path);
}

/* As it is matched: decoded, with a slash at the end. */
static void
path_text(const struct http_path *p, char out[static HTTP_TARGET_MAX + 2])
{
	size_t n = 0;

	out[n++] = '/';
	for (unsigned i = 0; i < p->n; i++) {
		memcpy(out + n, p->segments[i].p, p->segments[i].n);
		n += p->segments[i].n;
		out[n++] = '/';
	}
	out[n] = '\0';
}

static bool
forbid(struct call *c, const char *what)
{
	call_problem(c, 403, "permission", "an administrator can give a permission for this method and path to you or a group of yours",
	    "%s may not %s %s", c->actor.name, http_method_name(c->op->method), what);
	return false;
}

/* In another tenant than one's own: only from the first one, and with a permission for that tenant as a whole. */
static bool
may_enter(struct call *c)
{
	char path[REGISTRY_NAME_MAX + 40];

	if (strcmp(c->tenant, c->actor.tenant) == 0)
		return true;
	(void)snprintf(path, sizeof(path), "/api/v1/tenants/%s/", c->tenant);
	return c->actor.first && permitted(c, path);
}

static bool
enter_tenant(struct call *c, struct slice wanted)
{
	bool first;

	(void)text_copy(c->tenant, sizeof(c->tenant), wanted.p != NULL ? wanted : slice_str(c->actor.tenant));
	if (!may_enter(c))
		return forbid(c, "anything in another tenant");
	if (strcmp(c->tenant, c->actor.tenant) == 0 || tenant_stands(c->api, wanted, &first))
		return true;
	call_problem(c, 404, "not-found", NULL, "there is no tenant \"%s\", or it is disabled", c->tenant);
	return false;
}

bool
auth_may(struct call *c)
{
	char path[HTTP_TARGET_MAX + 2], shown[API_TEXT_MAX];

	if ((c->op->flags & OP_OPEN) != 0)
		return true;
	path_text(&c->path, path);
	if ((c->op->flags & OP_SELF) == 0 && !permitted(c, path))
		return forbid(c, text_show(slice_str(path), shown, sizeof(shown)));
	if ((c->op->flags & OP_PLATFORM) != 0 && !c->actor.first)
		return forbid(c, "what is for all tenants, as a user of another one than the first");
	/* Who could give rights, or another's password, could give himself what others may; a copy of all is for those who may all. */
	if ((c->op->flags & OP_ADMIN) != 0 && !actor_is_admin(c))
		return forbid(c, "what is for administrators alone");
	return enter_tenant(c, (c->op->flags & OP_DOJOT) == 0 ? call_query(c, "tenant") : (struct slice){ 0 });
}

bool
auth_stands(struct call *c)
{
	const struct api_ports *ports = &c->api->config->ports;
	const struct pki_peer *p = chan_peer(c->chan);
	char path[HTTP_TARGET_MAX + 2];
	struct slice header, text;
	bool first;

	switch (c->actor.kind) {
	case ACTOR_USER:
		path_text(&c->path, path);
		if (!http_header(&c->head, "Authorization", &header) || (header.p != NULL ? !bearer(header, &text) : !signin_cookie(c, &text)))
			return false;
		return by_token(c, text) == NULL && permitted(c, path) && may_enter(c) && tenant_stands(c->api, call_tenant(c), &first);
	case ACTOR_CERTIFICATE:
		return p != NULL && ports->stands(ports->ctx, p);
	case ACTOR_LOCAL:
		return true;
	case ACTOR_NOBODY:
		break;
	}
	return false;
}

static bool
is_admin_group(void *ctx, const struct registry_group *g)
{
	bool *is = ctx;

	*is = *is || slice_eq(g->name, SL(REGISTRY_ADMIN_GROUP));
	return !*is;
}

bool
user_is_admin(struct registry *r, int64_t user)
{
	bool is = false;

	return registry_group_each(r, user, is_admin_group, &is, NULL) && is;
}

bool
actor_is_admin(const struct call *c)
{
	return c->actor.kind != ACTOR_USER || user_is_admin(c->api->registry, c->actor.user);
}
