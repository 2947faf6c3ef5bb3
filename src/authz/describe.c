/* A policy in words, for --test-config and people who ask what is in force. */
#include "authz/internal.h"

#include <stdio.h>
#include "base/text.h"

struct teller {
	const struct authz_policy *p;
	void (*each)(void *ctx, const struct authz_told *t);
	void *ctx;
};

static const char *
source_of(const struct authz_policy *p, bool used)
{
	return used && p->used != NULL ? p->used : authz_policy_source(p);
}

static void
tell(const struct teller *t, const char *text, unsigned line, bool used)
{
	t->each(t->ctx, &(struct authz_told){ line > 0 ? source_of(t->p, used) : "", text, line });
}

static void
put(char *out, size_t cap, const char *text)
{
	size_t n = strlen(out);

	(void)snprintf(out + n, cap - n, "%s", text);
}

static void
put_roles(char *out, size_t cap, unsigned roles)
{
	const char *between = "role ";

	for (unsigned role = 0; role < AUTHZ_ROLE_COUNT; role++) {
		if ((roles & AUTHZ_ROLE_BIT(role)) == 0)
			continue;
		put(out, cap, between);
		put(out, cap, authz_role_name((enum authz_role)role));
		between = ",";
	}
}

static void
put_whom(const struct authz_policy *p, const struct authz_rule *r, char *out, size_t cap)
{
	char name[200];

	if (r->set == &p->anonymous) {
		put(out, cap, "anonymous clients");
		return;
	}
	if (r->roles != AUTHZ_ROLES_ALL &&
	    !(r->user.p != NULL && r->roles == AUTHZ_ROLE_BIT(AUTHZ_ROLE_NONE)))
		put_roles(out, cap, r->roles);
	else if (r->user.p == NULL)
		put(out, cap, "everyone");
	if (r->user.p == NULL)
		return;
	put(out, cap, out[0] != '\0' && out[strlen(out) - 1] != ' ' ? " user \"" : "user \"");
	put(out, cap, text_show(r->user, name, sizeof name));
	put(out, cap, "\"");
}

void
authz_rule_text(const struct authz_policy *p, const struct authz_rule *r, char out[static AUTHZ_RULE_TEXT_MAX])
{
	static const char *const rights[] = { "", "publish", "subscribe", "publish,subscribe" };
	char source[AUTHZ_EXPANSION_MAX + 8], whom[300] = "";

	put_whom(p, r, whom, sizeof whom);
	if (r->template == NULL) {
		(void)snprintf(out, AUTHZ_RULE_TEXT_MAX, "%s: may connect", whom);
		return;
	}
	(void)text_show(authz_template_source(r->template), source, sizeof source);
	(void)snprintf(out, AUTHZ_RULE_TEXT_MAX, "%s: %s %s %s", whom, r->deny ? "may not" : "may", rights[r->rights], source);
}

static void
tell_ids(const struct teller *t)
{
	char text[200];

	for (unsigned role = 0; role < AUTHZ_ROLE_COUNT; role++) {
		const char *name = authz_role_name((enum authz_role)role);

		switch (t->p->id_rule[role]) {
		case AUTHZ_ID_ANY:
			continue;
		case AUTHZ_ID_EQUALS_USER:
			(void)snprintf(text, sizeof text, "role %s: client id must equal the %s",
			    name,
			    role == AUTHZ_ROLE_NONE ? "user name" : "certificate's common name");
			break;
		case AUTHZ_ID_TENANT_DEVICE:
			(void)snprintf(text, sizeof text,
			    "role %s: client id is tenant:device and must equal the certificate's "
			    "common name",
			    name);
			break;
		}
		tell(t, text, t->p->id_place[role].line, t->p->id_place[role].used);
	}
	if (t->p->tenant[0] == '\0')
		return;
	(void)snprintf(
	    text, sizeof text, "a common name without tenant belongs to tenant %s", t->p->tenant);
	tell(t, text, 0, false);
}

static void
tell_line(void *ctx, const char *text)
{
	tell(ctx, text, 0, false);
}

void
authz_policy_tell(const struct authz_policy *p, void (*each)(void *ctx, const struct authz_told *t), void *ctx)
{
	struct teller t = { p, each, ctx };

	tell_line(&t, "certificates of the cloud role may not connect");
	if (p->kind == AUTHZ_KIND_OPEN) {
		tell_line(&t, "everything else is allowed");
		return;
	}
	if (p->kind == AUTHZ_KIND_RANKED) {
		authz_ranks_describe(p->ranks, tell_line, &t);
		return;
	}
	if (p->kind == AUTHZ_KIND_ACL)
		tell_line(&t, "everybody else may connect");
	tell_ids(&t);
	for (size_t i = 0; i < p->n_rules; i++) {
		char text[AUTHZ_RULE_TEXT_MAX];

		authz_rule_text(p, &p->rules[i], text);
		tell(&t, text, p->rules[i].line, p->rules[i].used);
	}
	tell_line(&t, p->overlap ? "a filter that reaches beyond what is allowed is granted, and each "
				   "delivery is judged"
				 : "a filter that reaches beyond what is allowed is refused");
	tell_line(&t, "everything else is refused");
}

struct lines {
	void (*line)(void *ctx, const char *text);
	void *ctx;
};

static void
text_alone(void *ctx, const struct authz_told *t)
{
	const struct lines *l = ctx;

	l->line(l->ctx, t->text);
}

void
authz_policy_describe(const struct authz_policy *p, void (*line)(void *ctx, const char *text), void *ctx)
{
	authz_policy_tell(p, text_alone, &(struct lines){ line, ctx });
}

/* Where the line about client ids stands, and what it says. */
static void
say_id_rule(const struct authz_policy *p, enum authz_role role, struct authz_reason *ret)
{
	static const char *const words[] = { [AUTHZ_ID_ANY] = "any", [AUTHZ_ID_EQUALS_USER] = "equals %u", [AUTHZ_ID_TENANT_DEVICE] = "tenant:device" };

	ret->line = p->id_place[role].line;
	(void)snprintf(ret->source, sizeof(ret->source), "%s", source_of(p, p->id_place[role].used));
	(void)snprintf(ret->rule, sizeof(ret->rule), "role %s: client-id %s", authz_role_name(role), words[p->id_rule[role]]);
}

void
authz_reason(const struct authz_policy *policy, const struct authz_principal *who, struct slice client_id, enum authz_action action,
    struct slice topic, struct authz_reason *ret)
{
	const struct authz_question q = { client_id, action, topic };
	const struct authz_rule *r;
	struct authz_verdict v;

	*ret = (struct authz_reason){ .allowed = authz_allowed(policy, who, client_id, action, topic, &v) };
	ret->part = ret->allowed && action == AUTHZ_SUBSCRIBE && !v.whole;
	r = authz_decider(policy, who, &q, ret->allowed);
	if (!ret->allowed)
		(void)snprintf(ret->why, sizeof(ret->why), "%s", v.why);
	if (policy->kind == AUTHZ_KIND_OPEN && ret->allowed)
		(void)snprintf(ret->rule, sizeof(ret->rule), "there is no policy, so everybody may do everything");
	if (policy->kind == AUTHZ_KIND_RANKED && who->role != AUTHZ_ROLE_CLOUD)
		authz_ranks_decider(policy->ranks, who, &q, ret->rule);
	if (r != NULL) {
		authz_rule_text(policy, r, ret->rule);
		ret->line = r->line;
		(void)snprintf(ret->source, sizeof(ret->source), "%s", source_of(policy, r->used));
	} else if (!ret->allowed && authz_id_decides(policy, who, &q)) {
		say_id_rule(policy, (enum authz_role)who->role, ret);
	}
	authz_remedy(policy, who, &q, r, ret);
}

void
authz_reason_text(const struct authz_reason *r, char *out, size_t cap)
{
	const char *part = r->part ? " in part (each delivery is judged)" : "", *between = r->rule[0] == '\0' ? "" : r->allowed ? ": " : "; ";
	char line[32] = "";

	if (r->line > 0)
		(void)snprintf(line, sizeof(line), "line %u: ", r->line);
	(void)snprintf(out, cap, "%s%s%s%s%s%s", r->allowed ? "allowed" : "refused: ", part, r->why, between, line, r->rule);
}

bool
authz_explain(const struct authz_policy *policy, const struct authz_principal *who, struct slice client_id,
    enum authz_action action, struct slice topic, char *out, size_t cap)
{
	struct authz_reason r;

	authz_reason(policy, who, client_id, action, topic, &r);
	authz_reason_text(&r, out, cap);
	return r.allowed;
}
