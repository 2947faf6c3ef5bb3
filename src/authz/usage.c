/* What somebody can do at once under a policy, for commands that people paste. Nothing here knows a policy's topics: they are those of its rules,
 * and each is put to the one question before it is told. */
#include "authz/internal.h"

#include <stdio.h>
#include "base/num.h"
#include "base/text.h"
#include "topic/topic.h"

struct search {
	const struct authz_policy *policy;
	const struct authz_principal *who;
	struct slice mount;
	struct authz_usage *found;
};

static bool
may(const struct search *s, enum authz_action action, const char *topic)
{
	char whole[AUTHZ_EXPANSION_MAX + AUTHZ_USAGE_MAX];
	struct authz_verdict v;
	int n = snprintf(whole, sizeof(whole), "%.*s%s", SL_ARG(s->mount), topic);

	return n > 0 && (size_t)n < sizeof(whole) && topic[0] != '\0' &&
	    authz_allowed(s->policy, s->who, slice_str(s->found->client_id), action, slice_str(whole), &v);
}

/* A name that the filter matches: "test" for each wildcard. False: too long. */
static bool
name_for(struct slice filter, char out[static AUTHZ_USAGE_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < filter.n; i++) {
		bool wild = filter.p[i] == '+' || filter.p[i] == '#';

		if (n + sizeof("test") > AUTHZ_USAGE_MAX)
			return false;
		n += (size_t)snprintf(out + n, AUTHZ_USAGE_MAX - n, "%.*s", wild ? 4 : 1, wild ? "test" : (const char *)filter.p + i);
	}
	out[n] = '\0';
	return topic_name_ok(slice_str(out));
}

static void
on_right(void *ctx, const struct authz_change *c)
{
	struct search *s = ctx;
	bool write = c->action == AUTHZ_PUBLISH;
	char *to = write ? s->found->publish : s->found->subscribe, topic[AUTHZ_USAGE_MAX];
	struct slice filter = c->topic;

	if (c->action == AUTHZ_CONNECT || to[0] != '\0')
		return;
	/* The client does not see the mount point. A wildcard may reach it. */
	if (slice_starts(filter, s->mount))
		filter = slice_from(filter, s->mount.n);
	else if (!slice_eq(filter, SL("#")))
		return;
	if (write ? name_for(filter, topic) : text_copy(topic, sizeof(topic), filter))
		if (may(s, write ? AUTHZ_PUBLISH : AUTHZ_SUBSCRIBE, topic))
			memcpy(to, topic, strlen(topic) + 1);
}

/* The CN or user name; where the client id has to name the tenant and that does not, the policy's one. False: he may not be here. */
static bool
find_client_id(const struct authz_policy *p, const struct authz_principal *who, char out[static AUTHZ_USAGE_MAX])
{
	struct slice cn = slice_of(who->text + who->cn_at, who->cn_n), user = authz_principal_username(who);
	struct slice name = (who->flags & PRINCIPAL_CERT) != 0 ? cn : user.n > 0 ? user : SL("test");
	char forms[2][AUTHZ_USAGE_MAX];

	(void)snprintf(forms[0], sizeof(forms[0]), "%.*s", SL_ARG(name));
	(void)snprintf(forms[1], sizeof(forms[1]), "%s:%.*s", p->tenant, SL_ARG(name));
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		struct slice id = slice_str(forms[i]);
		struct authz_verdict v;

		if (id.n == 0 || id.n + 1 == AUTHZ_USAGE_MAX || !authz_allowed(p, who, id, AUTHZ_CONNECT, id, &v))
			continue;
		memcpy(out, forms[i], id.n + 1);
		return true;
	}
	return false;
}

bool
authz_usage(const struct authz_policy *policy, const struct authz_principal *who, struct slice mount, struct authz_usage *ret)
{
	struct search s = { policy, who, mount, ret };
	struct authz_comparison c = { .to = policy, .who = who, .each = on_right, .ctx = &s };
	struct authz_policy *nothing;

	*ret = (struct authz_usage){ .client_id = "" };
	if (!find_client_id(policy, who, ret->client_id))
		return false;
	c.client_id = slice_str(ret->client_id);
	/* Against a policy that allows nothing, every right is one that is gained. */
	nothing = policy->kind != AUTHZ_KIND_RANKED ? authz_policy_blank(AUTHZ_KIND_ROLES) : NULL;
	if (nothing != NULL) {
		c.from = nothing;
		authz_compare(&c);
	} else if (policy->kind == AUTHZ_KIND_RANKED) {
		authz_ranks_each(policy->ranks, &c);
	}
	authz_policy_unref(nothing);
	return true;
}
