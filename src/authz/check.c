/* The one decision: may this identity do that? Every CONNECT, will, PUBLISH, filter and delivery
 * comes here. */
#include "authz/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include "topic/topic.h"

/* Who asks, with what stands for the variables, and the rules that can be about him. */
struct asker {
	const struct authz_policy *p;
	const struct authz_principal *who;
	struct slice client_id;
	struct authz_values values;
	unsigned role_bit;
	const struct authz_set *sets[2];
	unsigned n_sets;
};

bool
authz_refuse(struct authz_verdict *ret, const char *fmt, ...)
{
	va_list ap;

	ret->allowed = ret->whole = false;
	va_start(ap, fmt);
	(void)vsnprintf(ret->why, sizeof ret->why, fmt, ap);
	va_end(ap);
	return false;
}

bool
authz_allow(struct authz_verdict *ret, bool whole)
{
	ret->allowed = true;
	ret->whole = whole;
	ret->why[0] = '\0';
	return true;
}

/* ---- who asks ---- */

/* By an ACL file it is whatever name the listener gives. By a policy of roles it is what the CA has
 * signed: the user name that a client with a certificate claims in CONNECT must not lead into
 * another's topics. */
static struct slice
user_of(const struct authz_policy *p, const struct authz_principal *who, bool *ret_fit)
{
	if (p->kind == AUTHZ_KIND_ROLES && (who->flags & PRINCIPAL_CERT) != 0) {
		*ret_fit = (who->flags & PRINCIPAL_CN_PLAIN) != 0;
		return slice_of(who->text + who->cn_at, who->cn_n);
	}
	*ret_fit = (who->flags & PRINCIPAL_USERNAME_PLAIN) != 0;
	return authz_principal_username(who);
}

static bool
is_anonymous(const struct authz_policy *p, const struct authz_principal *who)
{
	return (who->flags & PRINCIPAL_USERNAME) == 0 &&
	       (p->kind != AUTHZ_KIND_ROLES || (who->flags & PRINCIPAL_CERT) == 0);
}

static void
asker_init(struct asker *a, const struct authz_policy *p, const struct authz_principal *who,
    struct slice client_id)
{
	bool fit;
	struct slice user = user_of(p, who, &fit);
	const struct authz_user *u;

	a->p = p;
	a->who = who;
	a->client_id = client_id;
	a->role_bit = AUTHZ_ROLE_BIT(who->role);
	a->values = (struct authz_values){
		.v = { [AUTHZ_VAR_CLIENT_ID] = client_id, [AUTHZ_VAR_USER] = user }
	};
	if (!fit)
		a->values.unfit |= 1u << AUTHZ_VAR_USER;
	if ((p->vars & 1u << AUTHZ_VAR_CLIENT_ID) != 0 && !authz_plain(client_id))
		a->values.unfit |= 1u << AUTHZ_VAR_CLIENT_ID;
	a->n_sets = 0;
	a->sets[a->n_sets++] = &p->any;
	if (is_anonymous(p, who))
		a->sets[a->n_sets++] = &p->anonymous;
	else if (p->users.count > 0 && (u = map_get(&p->users, user)) != NULL)
		a->sets[a->n_sets++] = &u->set;
}

/* ---- may he be here? ---- */

static bool
may_connect(const struct asker *a, struct authz_verdict *ret)
{
	for (unsigned i = 0; i < a->n_sets; i++) {
		if ((a->sets[i]->connect & a->role_bit) != 0)
			return true;
	}
	if (a->who->role != AUTHZ_ROLE_NONE)
		return authz_refuse(
		    ret, "role %s may not connect", authz_role_name(authz_principal_role(a->who)));
	if ((a->who->flags & PRINCIPAL_CERT) != 0)
		return authz_refuse(ret, "issuer has no role");
	return authz_refuse(
	    ret, "no certificate, and no rule of the policy lets this user connect without one");
}

/* The user's name has to be there and must be fit for a topic. */
static bool
user_usable(const struct asker *a, struct authz_verdict *ret)
{
	const char *what = (a->who->flags & PRINCIPAL_CERT) != 0 ? "the certificate's common name"
								 : "the user name";

	if (a->values.v[AUTHZ_VAR_USER].n == 0)
		return authz_refuse(ret, "%s is missing or empty, and the client id must equal it", what);
	if ((a->values.unfit & 1u << AUTHZ_VAR_USER) != 0)
		return authz_refuse(
		    ret, "%s holds a '+', '#', '/' or U+0000 and so cannot stand in a topic", what);
	return true;
}

static bool
id_equals_user(const struct asker *a, enum authz_action action, struct authz_verdict *ret)
{
	if (!user_usable(a, ret))
		return false;
	/* An empty one is assigned: authz_assigned_client_id(). */
	if (slice_eq(a->client_id, a->values.v[AUTHZ_VAR_USER]) ||
	    (action == AUTHZ_CONNECT && a->client_id.n == 0))
		return true;
	return authz_refuse(ret, "client id must equal %s",
	    (a->who->flags & PRINCIPAL_CERT) != 0 ? "the certificate's common name"
						  : "the user name");
}

/* A CN that holds the device alone says nothing about the tenant: it is good for the one tenant
 * that the policy names, or else a device could come as its namesake in another tenant. */
static bool
id_is_tenant_device(struct asker *a, struct authz_verdict *ret)
{
	struct slice *tenant = &a->values.v[AUTHZ_VAR_TENANT],
		     *device = &a->values.v[AUTHZ_VAR_DEVICE];
	struct slice user = a->values.v[AUTHZ_VAR_USER], only = slice_str(a->p->tenant);

	if (!authz_tenant_device(a->client_id, tenant, device))
		return authz_refuse(
		    ret, "client id must have the form tenant:device, of letters, digits and '_'");
	if (!user_usable(a, ret))
		return false;
	if (slice_eq(a->client_id, user))
		return true;
	if (!slice_eq(*device, user))
		return authz_refuse(ret, "client id must equal the certificate's common name "
				   "(tenant:device, or the device alone)");
	if (only.n == 0)
		return authz_refuse(ret, "the certificate's common name holds no tenant, and the policy "
				   "has no line `tenant NAME`");
	if (!slice_eq(*tenant, only))
		return authz_refuse(ret, "client id names another tenant than the policy does");
	return true;
}

/* Asked for every action, so that a policy which is loaded later is also good for those who are
 * connected already. */
static bool
may_be_here(struct asker *a, enum authz_action action, struct authz_verdict *ret)
{
	if (a->p->kind != AUTHZ_KIND_ROLES)
		return true;
	if (!may_connect(a, ret))
		return false;
	switch (a->p->id_rule[a->who->role]) {
	case AUTHZ_ID_EQUALS_USER:
		return id_equals_user(a, action, ret);
	case AUTHZ_ID_TENANT_DEVICE:
		return id_is_tenant_device(a, ret);
	case AUTHZ_ID_ANY:
		break;
	}
	return true;
}

/* ---- rules ---- */

static bool
applies(const struct asker *a, const struct authz_rule *r, unsigned right)
{
	return (r->roles & a->role_bit) != 0 && (r->rights & right) != 0;
}

static bool
denies_name(const struct asker *a, unsigned right, struct slice name)
{
	for (unsigned s = 0; s < a->n_sets; s++) {
		for (uint32_t i = 0; i < a->sets[s]->n_deny; i++) {
			const struct authz_rule *r = a->sets[s]->rules[i];

			/* A value that cannot stand in a topic must not get around what is denied.
			 * */
			if (applies(a, r, right) &&
			    authz_template_matches(r->template, &a->values, name) != AUTHZ_NO)
				return true;
		}
	}
	return false;
}

static bool
allows_name(const struct asker *a, unsigned right, struct slice name)
{
	for (unsigned s = 0; s < a->n_sets; s++) {
		const struct authz_set *set = a->sets[s];

		for (uint32_t i = set->n_deny; i < set->n_deny + set->n_allow; i++) {
			const struct authz_rule *r = set->rules[i];

			if (applies(a, r, right) &&
			    authz_template_matches(r->template, &a->values, name) == AUTHZ_YES)
				return true;
		}
	}
	return false;
}

/* How a filter lies to the rules of one kind, allow or deny. */
enum extent { EXTENT_NONE, EXTENT_TOUCHED, EXTENT_COVERED };

static enum extent
extent_of_rule(const struct asker *a, const struct authz_rule *r, struct slice filter)
{
	uint8_t buf[AUTHZ_EXPANSION_MAX];
	struct slice expanded;

	switch (authz_template_expand(r->template, &a->values, buf, &expanded)) {
	case AUTHZ_NO:
		return EXTENT_NONE;
	case AUTHZ_UNFIT:
		/* Each delivery is compared up to the value; the filter cannot be. */
		return r->deny ? EXTENT_TOUCHED : EXTENT_NONE;
	case AUTHZ_YES:
		break;
	}
	if (topic_covers(expanded, filter))
		return EXTENT_COVERED;
	return topic_overlaps(expanded, filter) ? EXTENT_TOUCHED : EXTENT_NONE;
}

static enum extent
extent_of(const struct asker *a, bool deny, unsigned right, struct slice filter)
{
	enum extent most = EXTENT_NONE;

	for (unsigned s = 0; s < a->n_sets && most != EXTENT_COVERED; s++) {
		const struct authz_set *set = a->sets[s];
		uint32_t from = deny ? 0 : set->n_deny, n = deny ? set->n_deny : set->n_allow;

		for (uint32_t i = from; i < from + n && most != EXTENT_COVERED; i++) {
			const struct authz_rule *r = set->rules[i];
			enum extent e =
			    applies(a, r, right) ? extent_of_rule(a, r, filter) : EXTENT_NONE;

			most = e > most ? e : most;
		}
	}
	return most;
}

/* ---- why not ---- */

/* The one to whom the rules are addressed, as a person would say it; no bytes from the peer. */
static const char *
called(const struct asker *a, char *buf, size_t cap)
{
	if (a->p->kind == AUTHZ_KIND_ROLES && a->who->role != AUTHZ_ROLE_NONE)
		(void)snprintf(buf, cap, "role %s", authz_role_name(authz_principal_role(a->who)));
	else
		(void)snprintf(buf, cap, "%s",
		    is_anonymous(a->p, a->who) ? "an anonymous client" : "this user");
	return buf;
}

static const char *
verb_of(enum authz_action action)
{
	switch (action) {
	case AUTHZ_CONNECT:
		return "connect";
	case AUTHZ_PUBLISH:
		return "publish";
	case AUTHZ_SUBSCRIBE:
		return "subscribe";
	case AUTHZ_RECEIVE:
		return "receive";
	case AUTHZ_UNSUBSCRIBE:
		return "unsubscribe";
	}
	return "";
}

static bool
has_right(const struct asker *a, unsigned right)
{
	for (unsigned s = 0; s < a->n_sets; s++) {
		const struct authz_set *set = a->sets[s];

		for (uint32_t i = set->n_deny; i < set->n_deny + set->n_allow; i++) {
			if (applies(a, set->rules[i], right))
				return true;
		}
	}
	return false;
}

static bool
refuse_unallowed(
    const struct asker *a, enum authz_action action, unsigned right, struct authz_verdict *ret)
{
	const char *what = action == AUTHZ_SUBSCRIBE ? "filter" : "topic";
	const char *to = action == AUTHZ_RECEIVE ? "" : " to";
	char who[40];

	(void)called(a, who, sizeof who);
	if (a->p->n_rules == 0)
		return authz_refuse(ret, "the policy has no rules, so nothing is allowed");
	if (a->p->kind == AUTHZ_KIND_ACL)
		return authz_refuse(ret, "no ACL rule for %s matches", who);
	if (!has_right(a, right))
		return authz_refuse(ret, "%s may not %s", who, verb_of(action));
	return authz_refuse(ret, "%s is outside what %s may %s%s", what, who, verb_of(action), to);
}

static bool
judge_name(
    const struct asker *a, enum authz_action action, struct slice name, struct authz_verdict *ret)
{
	unsigned right = action == AUTHZ_PUBLISH ? AUTHZ_WRITE : AUTHZ_READ;
	char who[40];

	if (denies_name(a, right, name))
		return authz_refuse(
		    ret, "a deny rule for %s matches the topic", called(a, who, sizeof who));
	if (!allows_name(a, right, name))
		return refuse_unallowed(a, action, right, ret);
	return authz_allow(ret, true);
}

static bool
judge_filter(const struct asker *a, struct slice filter, struct authz_verdict *ret)
{
	enum extent denied, allowed;
	char who[40];

	if (!topic_filter_ok(filter))
		return authz_refuse(ret, "not a topic filter");
	denied = extent_of(a, true, AUTHZ_READ, filter);
	if (denied == EXTENT_COVERED)
		return authz_refuse(
		    ret, "a deny rule for %s covers the filter", called(a, who, sizeof who));
	allowed = extent_of(a, false, AUTHZ_READ, filter);
	if (allowed == EXTENT_NONE)
		return refuse_unallowed(a, AUTHZ_SUBSCRIBE, AUTHZ_READ, ret);
	if (allowed == EXTENT_COVERED && denied == EXTENT_NONE)
		return authz_allow(ret, true);
	if (a->p->overlap)
		return authz_allow(ret, false);
	if (allowed == EXTENT_TOUCHED)
		return authz_refuse(ret, "filter is not wholly inside what %s may subscribe to",
		    called(a, who, sizeof who));
	return authz_refuse(
	    ret, "filter reaches into what a deny rule keeps from %s", called(a, who, sizeof who));
}

bool
authz_allowed(const struct authz_policy *policy, const struct authz_principal *who,
    struct slice client_id, enum authz_action action, struct slice topic, struct authz_verdict *ret)
{
	struct asker a;

	if (who->role == AUTHZ_ROLE_CLOUD)
		return authz_refuse(ret, "certificate of the cloud role may not be used by a client");
	if (action != AUTHZ_CONNECT && authz_is_reserved(topic))
		return authz_reserved(who, action, topic, ret);
	if (who->role == AUTHZ_ROLE_QUARANTINE)
		return authz_quarantined(policy, who, action == AUTHZ_CONNECT ? topic : client_id, action, ret);
	if (policy->kind == AUTHZ_KIND_RANKED)
		return authz_ranks_allow(policy->ranks, who, client_id, action, topic, ret);
	/* What somebody has he may give back. */
	if (policy->kind == AUTHZ_KIND_OPEN || action == AUTHZ_UNSUBSCRIBE)
		return authz_allow(ret, true);
	asker_init(&a, policy, who, action == AUTHZ_CONNECT ? topic : client_id);
	if (!may_be_here(&a, action, ret))
		return false;
	switch (action) {
	case AUTHZ_CONNECT:
		return authz_allow(ret, true);
	case AUTHZ_SUBSCRIBE:
		return judge_filter(&a, topic, ret);
	case AUTHZ_PUBLISH:
	case AUTHZ_RECEIVE:
		return judge_name(&a, action, topic, ret);
	case AUTHZ_UNSUBSCRIBE:
		break;
	}
	return authz_refuse(ret, "no such action");
}

/* The first rule of one kind that is about it: a name matches, a filter lies to it at least as <least>. */
static const struct authz_rule *
find_rule(const struct asker *a, const struct authz_question *q, bool deny, enum extent least)
{
	unsigned right = q->action == AUTHZ_PUBLISH ? AUTHZ_WRITE : AUTHZ_READ;

	for (unsigned s = 0; s < a->n_sets; s++) {
		const struct authz_set *set = a->sets[s];
		uint32_t from = deny ? 0 : set->n_deny, n = deny ? set->n_deny : set->n_allow;

		for (uint32_t i = from; i < from + n; i++) {
			const struct authz_rule *r = set->rules[i];

			if (!applies(a, r, right))
				continue;
			if (q->action == AUTHZ_SUBSCRIBE ? extent_of_rule(a, r, q->topic) >= least
							 : authz_template_matches(r->template, &a->values, q->topic) != AUTHZ_NO)
				return r;
		}
	}
	return NULL;
}

static const struct authz_rule *
connect_rule(const struct asker *a)
{
	for (size_t i = 0; i < a->p->n_rules; i++) {
		const struct authz_rule *r = &a->p->rules[i];

		for (unsigned s = 0; s < a->n_sets && r->template == NULL; s++)
			if (r->set == a->sets[s] && (r->roles & a->role_bit) != 0)
				return r;
	}
	return NULL;
}

static const struct authz_rule *
first_of(const struct authz_rule *one, const struct authz_rule *other)
{
	return one != NULL ? one : other;
}

const struct authz_rule *
authz_decider(const struct authz_policy *policy, const struct authz_principal *who, const struct authz_question *q, bool allowed)
{
	const struct authz_rule *denies, *covers, *touches;
	struct authz_verdict v;
	struct asker a;

	if ((policy->kind != AUTHZ_KIND_ACL && policy->kind != AUTHZ_KIND_ROLES) || q->action == AUTHZ_UNSUBSCRIBE ||
	    who->role == AUTHZ_ROLE_CLOUD || who->role == AUTHZ_ROLE_QUARANTINE || authz_is_reserved(q->topic))
		return NULL;
	asker_init(&a, policy, who, q->action == AUTHZ_CONNECT ? q->topic : q->client_id);
	if (!may_be_here(&a, q->action, &v) || (q->action == AUTHZ_SUBSCRIBE && !topic_filter_ok(q->topic)))
		return NULL;
	if (q->action == AUTHZ_CONNECT)
		return connect_rule(&a);
	covers = find_rule(&a, q, false, EXTENT_COVERED);
	touches = find_rule(&a, q, false, EXTENT_TOUCHED);
	if (allowed)
		return first_of(covers, touches);
	denies = find_rule(&a, q, true, covers != NULL ? EXTENT_TOUCHED : EXTENT_COVERED);
	return first_of(denies, touches);
}

bool
authz_id_decides(const struct authz_policy *policy, const struct authz_principal *who, const struct authz_question *q)
{
	struct authz_verdict v;
	struct asker a;

	if (policy->kind != AUTHZ_KIND_ROLES || who->role == AUTHZ_ROLE_CLOUD || who->role == AUTHZ_ROLE_QUARANTINE || authz_is_reserved(q->topic))
		return false;
	asker_init(&a, policy, who, q->action == AUTHZ_CONNECT ? q->topic : q->client_id);
	return may_connect(&a, &v) && !may_be_here(&a, q->action, &v);
}

/* ---- what another policy would change ---- */

size_t
authz_policy_weight(const struct authz_policy *p, const struct authz_principal *who)
{
	struct asker a;
	size_t n = 0;

	if (p->kind == AUTHZ_KIND_RANKED)
		return 0;
	asker_init(&a, p, who, (struct slice){ 0 });
	for (unsigned i = 0; i < a.n_sets; i++)
		n += a.sets[i]->n_deny + a.sets[i]->n_allow;
	return n;
}

struct side {
	struct asker a;
	bool here; /* may he be here at all? */
};

/* How much of what <filter> can match? */
static enum extent
reach_of(const struct side *s, unsigned right, struct slice filter)
{
	enum extent denied, allowed;

	if (!s->here)
		return EXTENT_NONE;
	if (s->a.p->kind == AUTHZ_KIND_OPEN)
		return EXTENT_COVERED;
	denied = extent_of(&s->a, true, right, filter);
	if (denied == EXTENT_COVERED)
		return EXTENT_NONE;
	allowed = extent_of(&s->a, false, right, filter);
	return allowed == EXTENT_COVERED && denied != EXTENT_NONE ? EXTENT_TOUCHED : allowed;
}

static void
compare_filter(const struct authz_comparison *c, const struct side sides[2], unsigned right, struct slice filter)
{
	enum extent from = reach_of(&sides[0], right, filter), to = reach_of(&sides[1], right, filter);

	if (from != to)
		c->each(c->ctx, &(struct authz_change){ right == AUTHZ_WRITE ? AUTHZ_PUBLISH : AUTHZ_RECEIVE, filter, to < from });
}

static bool
expands(const struct side *s, const struct authz_rule *r, unsigned right, uint8_t *buf, struct slice *ret)
{
	return applies(&s->a, r, right) && authz_template_expand(r->template, &s->a.values, buf, ret) == AUTHZ_YES && topic_filter_ok(*ret);
}

/* Has a rule of <s> this filter too? Then it was told of already. */
static bool
has_filter(const struct side *s, unsigned right, struct slice filter)
{
	uint8_t buf[AUTHZ_EXPANSION_MAX];
	struct slice other;

	for (unsigned i = 0; i < s->a.n_sets; i++)
		for (uint32_t k = 0; k < s->a.sets[i]->n_deny + s->a.sets[i]->n_allow; k++)
			if (expands(s, s->a.sets[i]->rules[k], right, buf, &other) && slice_eq(other, filter))
				return true;
	return false;
}

static void
compare_rules(const struct authz_comparison *c, const struct side sides[2], unsigned which, unsigned right)
{
	const struct side *s = &sides[which];
	uint8_t buf[AUTHZ_EXPANSION_MAX];
	struct slice filter;

	if (s->a.p->kind == AUTHZ_KIND_OPEN)
		compare_filter(c, sides, right, SL("#"));
	for (unsigned i = 0; i < s->a.n_sets; i++)
		for (uint32_t k = 0; k < s->a.sets[i]->n_deny + s->a.sets[i]->n_allow; k++)
			if (expands(s, s->a.sets[i]->rules[k], right, buf, &filter) && (which == 0 || !has_filter(&sides[0], right, filter)))
				compare_filter(c, sides, right, filter);
}

void
authz_compare(const struct authz_comparison *c)
{
	const struct authz_policy *policies[2] = { c->from, c->to };
	struct authz_verdict v;
	struct side sides[2];
	bool connects[2];

	for (unsigned i = 0; i < 2; i++) {
		asker_init(&sides[i].a, policies[i], c->who, c->client_id);
		connects[i] = authz_allowed(policies[i], c->who, c->client_id, AUTHZ_CONNECT, c->client_id, &v);
		sides[i].here = connects[i] && may_be_here(&sides[i].a, AUTHZ_PUBLISH, &v);
	}
	if (connects[0] != connects[1])
		c->each(c->ctx, &(struct authz_change){ AUTHZ_CONNECT, c->client_id, connects[0] });
	for (unsigned i = 0; i < 2 && connects[1]; i++) {
		compare_rules(c, sides, i, AUTHZ_WRITE);
		compare_rules(c, sides, i, AUTHZ_READ);
	}
}

struct slice
authz_assigned_client_id(const struct authz_policy *policy, const struct authz_principal *who)
{
	bool fit;
	struct slice user = user_of(policy, who, &fit);

	if (policy->kind != AUTHZ_KIND_ROLES ||
	    policy->id_rule[who->role] != AUTHZ_ID_EQUALS_USER || !fit)
		return (struct slice){ 0 };
	return user;
}
