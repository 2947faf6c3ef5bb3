/* A policy in words, for --test-config and people who ask what is in force. */
#include "authz/internal.h"

#include <stdio.h>
#include "base/text.h"

struct teller {
	const struct authz_policy *p;
	void (*line)(void *ctx, const char *text);
	void *ctx;
};

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
		t->line(t->ctx, text);
	}
	if (t->p->tenant[0] == '\0')
		return;
	(void)snprintf(
	    text, sizeof text, "a common name without tenant belongs to tenant %s", t->p->tenant);
	t->line(t->ctx, text);
}

void
authz_policy_describe(
    const struct authz_policy *p, void (*line)(void *ctx, const char *text), void *ctx)
{
	struct teller t = { p, line, ctx };

	line(ctx, "certificates of the cloud role may not connect");
	if (p->kind == AUTHZ_KIND_OPEN) {
		line(ctx, "everything else is allowed");
		return;
	}
	if (p->kind == AUTHZ_KIND_RANKED) {
		authz_ranks_describe(p->ranks, line, ctx);
		return;
	}
	if (p->kind == AUTHZ_KIND_ACL)
		line(ctx, "everybody else may connect");
	tell_ids(&t);
	for (size_t i = 0; i < p->n_rules; i++) {
		char text[AUTHZ_RULE_TEXT_MAX];

		authz_rule_text(p, &p->rules[i], text);
		t.line(t.ctx, text);
	}
	line(ctx, p->overlap ? "a filter that reaches beyond what is allowed is granted, and each "
			       "delivery is judged"
			     : "a filter that reaches beyond what is allowed is refused");
	line(ctx, "everything else is refused");
}

/* Where a rule stands and what it says; "" if none decides. */
static void
decider_text(const struct authz_policy *p, const struct authz_principal *who, const struct authz_question *q, bool allowed,
    char out[static AUTHZ_RULE_TEXT_MAX + 20])
{
	const struct authz_rule *r = authz_decider(p, who, q, allowed);
	char text[AUTHZ_RULE_TEXT_MAX];

	out[0] = '\0';
	if (p->kind == AUTHZ_KIND_RANKED && who->role != AUTHZ_ROLE_CLOUD)
		authz_ranks_decider(p->ranks, who, q, out);
	if (r == NULL)
		return;
	authz_rule_text(p, r, text);
	(void)snprintf(out, AUTHZ_RULE_TEXT_MAX + 20, "line %u: %s", (unsigned)r->line, text);
}

bool
authz_explain(const struct authz_policy *policy, const struct authz_principal *who, struct slice client_id,
    enum authz_action action, struct slice topic, char *out, size_t cap)
{
	const struct authz_question q = { client_id, action, topic };
	struct authz_verdict v;
	bool ok = authz_allowed(policy, who, client_id, action, topic, &v);
	bool part = ok && action == AUTHZ_SUBSCRIBE && !v.whole;
	char text[AUTHZ_RULE_TEXT_MAX + 20];

	decider_text(policy, who, &q, ok, text);
	if (ok && policy->kind == AUTHZ_KIND_OPEN)
		(void)snprintf(out, cap, "allowed: there is no policy, so everybody may do everything");
	else if (ok)
		(void)snprintf(out, cap, "allowed%s%s%s", part ? " in part (each delivery is judged)" : "", text[0] != '\0' ? ": " : "", text);
	else
		(void)snprintf(out, cap, "refused: %s%s%s", v.why, text[0] != '\0' ? "; " : "", text);
	return ok;
}
