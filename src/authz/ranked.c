/* Ranked policies: each user has roles in an order, each role lists of rules in an order, and the first rule that
 * matches decides. mosquitto's dynamic security says it so. */
#include "authz/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/text.h"
#include "topic/topic.h"

struct entry {
	bool allow;
	struct authz_template *template; /* owned */
	struct slice literal;            /* the text itself, in the literal lists; owned by the template */
};

struct authz_role_lists {
	atomic_uint refs;
	struct slice name;              /* behind the entries */
	uint32_t from[AUTHZ_LISTS + 1]; /* list i is [from[i], from[i + 1]) */
	struct entry entries[];
};

struct held_role {
	struct authz_role_lists *lists;
	struct slice group; /* through which he has it; .p NULL: it is his own */
};

/* One member, his references, and his names and those of the groups behind them. */
struct member {
	struct slice name, client_id;
	bool disabled;
	uint32_t n_roles;
	struct held_role roles[];
};

struct authz_ranks {
	struct map members;
	struct member *anonymous;
	bool send, receive, subscribe, unsubscribe;
};

static bool
is_literal(enum authz_list l)
{
	return l == AUTHZ_LIST_SUBSCRIBE_LITERAL || l == AUTHZ_LIST_UNSUBSCRIBE_LITERAL;
}

bool
authz_entry_ok(struct slice topic)
{
	const char *fault;
	struct authz_template *t =
	    authz_template_new(topic, AUTHZ_SYNTAX_PATTERN, (struct slice){ 0 }, &fault);

	authz_template_free(t);
	return t != NULL && topic_filter_ok(topic);
}

/* ---- making ---- */

static bool
entry_init(struct entry *e, const struct authz_entry *from)
{
	enum authz_syntax syntax = is_literal(from->list) ? AUTHZ_SYNTAX_PLAIN : AUTHZ_SYNTAX_PATTERN;
	const char *fault;

	e->allow = from->allow;
	e->template = authz_template_new(from->topic, syntax, (struct slice){ 0 }, &fault);
	if (e->template != NULL && is_literal(from->list))
		e->literal = authz_template_source(e->template);
	return e->template != NULL;
}

/* Into the room at *at, behind which the next one goes. */
static struct slice
keep_text(uint8_t **at, struct slice s)
{
	struct slice kept = slice_of(*at, s.n);

	if (s.p == NULL)
		return s;
	if (s.n > 0)
		memcpy(*at, s.p, s.n);
	*at += s.n;
	return kept;
}

struct authz_role_lists *
authz_role_lists_new(struct slice name, const struct authz_entry *entries, size_t n)
{
	struct authz_role_lists *l = n > UINT32_MAX / sizeof(struct entry)
					 ? NULL
					 : calloc(1, sizeof *l + n * sizeof(struct entry) + name.n);
	uint8_t *text;
	uint32_t at = 0;

	if (l == NULL)
		return NULL;
	atomic_init(&l->refs, 1);
	text = (uint8_t *)&l->entries[n];
	l->name = keep_text(&text, name);
	for (unsigned list = 0; list < AUTHZ_LISTS; list++) {
		for (size_t i = 0; i < n; i++) {
			if (entries[i].list != (enum authz_list)list)
				continue;
			l->from[AUTHZ_LISTS] = at + 1;
			if (!entry_init(&l->entries[at++], &entries[i])) {
				authz_role_lists_unref(l);
				return NULL;
			}
		}
		l->from[list + 1] = at;
	}
	return l;
}

struct authz_role_lists *
authz_role_lists_ref(struct authz_role_lists *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void
authz_role_lists_unref(struct authz_role_lists *l)
{
	if (l == NULL || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < l->from[AUTHZ_LISTS]; i++)
		authz_template_free(l->entries[i].template);
	free(l);
}

static void
member_free(struct member *m)
{
	for (uint32_t i = 0; m != NULL && i < m->n_roles; i++)
		authz_role_lists_unref(m->roles[i].lists);
	free(m);
}

static struct member *
member_new(const struct authz_member *from)
{
	size_t roles_n = from->n_roles * sizeof(struct held_role), text_n = from->name.n + from->client_id.n;
	struct member *m;
	uint8_t *text;

	for (size_t i = 0; from->groups != NULL && i < from->n_roles; i++)
		text_n += from->groups[i].n;
	m = calloc(1, sizeof *m + roles_n + text_n);
	if (m == NULL)
		return NULL;
	text = (uint8_t *)m + sizeof *m + roles_n;
	m->disabled = from->disabled;
	m->n_roles = (uint32_t)from->n_roles;
	for (uint32_t i = 0; i < m->n_roles; i++) {
		m->roles[i].lists = authz_role_lists_ref(from->roles[i]);
		if (from->groups != NULL)
			m->roles[i].group = keep_text(&text, from->groups[i]);
	}
	m->name = keep_text(&text, from->name);
	m->client_id = keep_text(&text, from->client_id);
	return m;
}

static struct slice
member_key(const void *value)
{
	return ((const struct member *)value)->name;
}

void
authz_ranks_free(struct authz_ranks *r)
{
	size_t pos = 0;
	void *m;

	if (r == NULL)
		return;
	while ((m = map_next(&r->members, &pos)) != NULL)
		member_free(m);
	map_done(&r->members);
	member_free(r->anonymous);
	free(r);
}

static bool
ranks_fill(struct authz_ranks *r, const struct authz_ranking *from)
{
	r->anonymous = member_new(&from->anonymous);
	if (r->anonymous == NULL)
		return false;
	for (size_t i = 0; i < from->n_members; i++) {
		struct member *m = member_new(&from->members[i]);

		if (m == NULL || !map_put(&r->members, m)) {
			member_free(m);
			return false;
		}
	}
	return true;
}

struct authz_policy *
authz_policy_ranked(const struct authz_ranking *from)
{
	struct authz_policy *p = authz_policy_blank(AUTHZ_KIND_RANKED);

	if (p == NULL)
		return NULL;
	p->ranks = calloc(1, sizeof *p->ranks);
	if (p->ranks != NULL) {
		*p->ranks = (struct authz_ranks){ .send = from->send,
			.receive = from->receive,
			.subscribe = from->subscribe,
			.unsubscribe = from->unsubscribe };
		map_init(&p->ranks->members, member_key);
		if (ranks_fill(p->ranks, from))
			return p;
	}
	authz_policy_unref(p);
	return NULL;
}

/* ---- judging ---- */

/* NULL: none decides, here and below. */
static const struct entry *
ask_name(const struct authz_role_lists *l, enum authz_list list, const struct authz_values *v,
    struct slice name)
{
	for (uint32_t i = l->from[list]; i < l->from[list + 1]; i++) {
		const struct entry *e = &l->entries[i];
		enum authz_match m = authz_template_matches(e->template, v, name);

		/* A value that cannot stand in a topic must not get around what is denied. */
		if (m == AUTHZ_YES || (m == AUTHZ_UNFIT && !e->allow))
			return e;
	}
	return NULL;
}

/* mosquitto's own idea of it: unlike topic_covers(), wildcards in the first level stand for "$SYS" as well. That gives
 * nobody more than he may receive, and takes away what a rule denies. */
static bool
covers(struct slice outer, struct slice inner)
{
	bool outer_more = true, inner_more = true;

	while (outer_more) {
		struct slice o = slice_cut(&outer, '/', &outer_more), i;

		if (slice_eq(o, SL("#")))
			return true;
		if (!inner_more)
			return false;
		i = slice_cut(&inner, '/', &inner_more);
		if (slice_eq(i, SL("#")) || (!slice_eq(o, SL("+")) && !slice_eq(o, i)))
			return false;
	}
	return !inner_more;
}

static bool
pattern_decides(const struct entry *e, const struct authz_values *v, struct slice filter)
{
	uint8_t buf[AUTHZ_EXPANSION_MAX];
	struct slice expanded;

	switch (authz_template_expand(e->template, v, buf, &expanded)) {
	case AUTHZ_NO:
		break;
	case AUTHZ_UNFIT:
		return !e->allow;
	case AUTHZ_YES:
		return covers(expanded, filter);
	}
	return false;
}

/* The literal list of a role goes before its patterns, whatever their priorities, as in mosquitto. */
static const struct entry *
ask_filter(const struct authz_role_lists *l, enum authz_list literal, const struct authz_values *v,
    struct slice filter)
{
	enum authz_list pattern = literal + 1;

	for (uint32_t i = l->from[literal]; i < l->from[literal + 1]; i++) {
		if (slice_eq(l->entries[i].literal, filter))
			return &l->entries[i];
	}
	for (uint32_t i = l->from[pattern]; i < l->from[pattern + 1]; i++) {
		if (pattern_decides(&l->entries[i], v, filter))
			return &l->entries[i];
	}
	return NULL;
}

static bool
is_control(struct slice topic)
{
	return topic.n > 0 && topic.p[0] == '$' && slice_starts(topic, SL("$CONTROL"));
}

/* May all be received that <filter> can match? */
static bool
may_receive_all(const struct authz_ranks *r, const struct member *m, const struct authz_values *v,
    struct slice filter)
{
	for (uint32_t k = 0; k < m->n_roles; k++) {
		const struct authz_role_lists *l = m->roles[k].lists;

		for (uint32_t i = l->from[AUTHZ_LIST_RECEIVE]; i < l->from[AUTHZ_LIST_RECEIVE + 1]; i++) {
			const struct entry *e = &l->entries[i];
			uint8_t buf[AUTHZ_EXPANSION_MAX];
			struct slice expanded;
			enum authz_match match = authz_template_expand(e->template, v, buf, &expanded);

			if (match == AUTHZ_YES && topic_covers(expanded, filter))
				return e->allow;
			if (!e->allow && (match == AUTHZ_UNFIT || (match == AUTHZ_YES && topic_overlaps(expanded, filter))))
				return false;
		}
	}
	return r->receive && !is_control(filter);
}

static const struct entry *
ask_role(const struct authz_role_lists *l, enum authz_action action, const struct authz_values *v, struct slice topic)
{
	switch (action) {
	case AUTHZ_PUBLISH:
		return ask_name(l, AUTHZ_LIST_SEND, v, topic);
	case AUTHZ_RECEIVE:
		return ask_name(l, AUTHZ_LIST_RECEIVE, v, topic);
	case AUTHZ_SUBSCRIBE:
		return ask_filter(l, AUTHZ_LIST_SUBSCRIBE_LITERAL, v, topic);
	case AUTHZ_UNSUBSCRIBE:
		return ask_filter(l, AUTHZ_LIST_UNSUBSCRIBE_LITERAL, v, topic);
	case AUTHZ_CONNECT:
		break;
	}
	return NULL;
}

/* Who decides, and as which of his roles. */
static const struct entry *
ask_member(const struct member *m, enum authz_action action, const struct authz_values *v,
    struct slice topic, const struct held_role **ret)
{
	for (uint32_t i = 0; i < m->n_roles; i++) {
		const struct entry *e = ask_role(m->roles[i].lists, action, v, topic);

		if (e != NULL) {
			*ret = &m->roles[i];
			return e;
		}
	}
	return NULL;
}

static bool
allowed_without_rule(const struct authz_ranks *r, enum authz_action action, struct slice topic)
{
	if (is_control(topic))
		return false;
	switch (action) {
	case AUTHZ_PUBLISH:
		return r->send;
	case AUTHZ_RECEIVE:
		return r->receive;
	case AUTHZ_SUBSCRIBE:
		return r->subscribe;
	case AUTHZ_UNSUBSCRIBE:
		return r->unsubscribe;
	case AUTHZ_CONNECT:
		break;
	}
	return false;
}

/* NULL and a verdict: may not be here. */
static const struct member *
find_member(const struct authz_ranks *r, struct slice user, struct slice client_id,
    struct authz_verdict *ret)
{
	const struct member *m;

	if (user.p == NULL)
		return r->anonymous;
	m = map_get(&r->members, user);
	if (m == NULL)
		(void)authz_refuse(ret, "there is no client of this name in dynamic security");
	else if (m->disabled)
		(void)authz_refuse(ret, "this client is disabled in dynamic security");
	else if (m->client_id.p != NULL && !slice_eq(m->client_id, client_id))
		(void)authz_refuse(ret, "client id is not the one that dynamic security wants of this client");
	else
		return m;
	return NULL;
}

static struct authz_values
values_of(const struct authz_principal *who, struct slice client_id)
{
	struct authz_values v = { .v = { [AUTHZ_VAR_CLIENT_ID] = client_id, [AUTHZ_VAR_USER] = authz_principal_username(who) } };

	if ((who->flags & PRINCIPAL_USERNAME_PLAIN) == 0)
		v.unfit |= 1u << AUTHZ_VAR_USER;
	if (!authz_plain(client_id))
		v.unfit |= 1u << AUTHZ_VAR_CLIENT_ID;
	return v;
}

bool
authz_ranks_allow(const struct authz_ranks *r, const struct authz_principal *who,
    struct slice client_id, enum authz_action action, struct slice topic, struct authz_verdict *ret)
{
	const struct member *m = find_member(r, authz_principal_username(who), action == AUTHZ_CONNECT ? topic : client_id, ret);
	const struct held_role *role;
	const struct entry *e;
	struct authz_values v;

	if (m == NULL)
		return false;
	if (action == AUTHZ_CONNECT)
		return authz_allow(ret, true);
	v = values_of(who, client_id);
	e = ask_member(m, action, &v, topic, &role);
	if (e != NULL && !e->allow)
		return authz_refuse(ret, "an ACL of a role denies it");
	if (e == NULL && !allowed_without_rule(r, action, topic))
		return authz_refuse(ret, "no ACL of a role allows it");
	return authz_allow(ret, action != AUTHZ_SUBSCRIBE || may_receive_all(r, m, &v, topic));
}

/* As mosquitto_ctrl calls them. */
static const char *
list_name(const struct authz_role_lists *l, const struct entry *e)
{
	static const char *const names[AUTHZ_LISTS] = { "publishClientSend", "publishClientReceive", "subscribeLiteral",
		"subscribePattern", "unsubscribeLiteral", "unsubscribePattern" };
	unsigned list = 0;

	while (list + 1 < AUTHZ_LISTS && e >= &l->entries[l->from[list + 1]])
		list++;
	return names[list];
}

void
authz_ranks_decider(const struct authz_ranks *r, const struct authz_principal *who, const struct authz_question *q,
    char out[static AUTHZ_RULE_TEXT_MAX])
{
	static const char *const access[] = { [AUTHZ_PUBLISH] = "publishClientSend", [AUTHZ_RECEIVE] = "publishClientReceive",
		[AUTHZ_SUBSCRIBE] = "subscribe", [AUTHZ_UNSUBSCRIBE] = "unsubscribe" };
	struct authz_verdict verdict;
	const struct member *m = find_member(r, authz_principal_username(who), q->client_id, &verdict);
	struct authz_values v = values_of(who, q->client_id);
	char role_text[200], group_text[200], source[AUTHZ_EXPANSION_MAX];
	const struct held_role *role;
	const struct entry *e;
	bool grouped;

	out[0] = '\0';
	if (m == NULL || q->action == AUTHZ_CONNECT)
		return;
	e = ask_member(m, q->action, &v, q->topic, &role);
	if (e == NULL && is_control(q->topic))
		(void)snprintf(out, AUTHZ_RULE_TEXT_MAX, "no ACL matches, and topics below $CONTROL need one");
	else if (e == NULL)
		(void)snprintf(out, AUTHZ_RULE_TEXT_MAX, "no ACL matches, and the default access of %s is %s", access[q->action],
		    allowed_without_rule(r, q->action, q->topic) ? "allow" : "deny");
	if (e == NULL)
		return;
	grouped = role->group.p != NULL;
	(void)snprintf(out, AUTHZ_RULE_TEXT_MAX, "role \"%s\"%s%s%s: %s %s %s", text_show(role->lists->name, role_text, sizeof role_text),
	    grouped ? " of group \"" : "",
	    grouped ? text_show(role->group, group_text, sizeof group_text) : "", grouped ? "\"" : "",
	    list_name(role->lists, e), e->allow ? "allow" : "deny", text_show(authz_template_source(e->template), source, sizeof source));
}

static void
each_allowed(const struct authz_role_lists *l, enum authz_list list, const struct authz_values *v, const struct authz_comparison *c)
{
	for (uint32_t i = l->from[list]; i < l->from[list + 1]; i++) {
		uint8_t buf[AUTHZ_EXPANSION_MAX];
		struct slice filter;

		if (l->entries[i].allow && authz_template_expand(l->entries[i].template, v, buf, &filter) == AUTHZ_YES)
			c->each(c->ctx, &(struct authz_change){ list == AUTHZ_LIST_SEND ? AUTHZ_PUBLISH : AUTHZ_RECEIVE, filter, false });
	}
}

void
authz_ranks_each(const struct authz_ranks *r, const struct authz_comparison *c)
{
	struct authz_verdict verdict;
	const struct member *m = find_member(r, authz_principal_username(c->who), c->client_id, &verdict);
	const struct authz_values v = values_of(c->who, c->client_id);

	for (uint32_t i = 0; m != NULL && i < m->n_roles; i++) {
		each_allowed(m->roles[i].lists, AUTHZ_LIST_SEND, &v, c);
		each_allowed(m->roles[i].lists, AUTHZ_LIST_SUBSCRIBE_LITERAL, &v, c);
		each_allowed(m->roles[i].lists, AUTHZ_LIST_SUBSCRIBE_PATTERN, &v, c);
	}
	/* What no ACL speaks of may be allowed. */
	c->each(c->ctx, &(struct authz_change){ AUTHZ_PUBLISH, SL("#"), false });
	c->each(c->ctx, &(struct authz_change){ AUTHZ_RECEIVE, SL("#"), false });
}

void
authz_ranks_describe(
    const struct authz_ranks *r, void (*line)(void *ctx, const char *text), void *ctx)
{
	line(ctx, "clients, groups and roles of dynamic security decide");
	line(ctx, r->send ? "where no ACL matches, a client may publish" : "where no ACL matches, a client may not publish");
	line(ctx, r->receive ? "where no ACL matches, a client may receive" : "where no ACL matches, a client may not receive");
	line(ctx, r->subscribe ? "where no ACL matches, a client may subscribe" : "where no ACL matches, a client may not subscribe");
	line(ctx, r->unsubscribe ? "where no ACL matches, a client may unsubscribe" : "where no ACL matches, a client may not unsubscribe");
	line(ctx, "topics below $CONTROL need an ACL in any case");
}
