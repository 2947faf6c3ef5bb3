/* A policy: built once from a file, then only read, by every thread. */
#include "authz/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/num.h"

static struct slice
user_key(const void *value)
{
	return ((const struct authz_user *)value)->name;
}

struct authz_policy *
authz_policy_blank(enum authz_kind kind)
{
	struct authz_policy *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	atomic_init(&p->refs, 1);
	p->kind = kind;
	map_init(&p->users, user_key);
	return p;
}

bool
authz_policy_keep(struct authz_policy *p, struct slice text, const char *name)
{
	p->source = strdup(name);
	if (p->source == NULL || text.n == 0 || text.n > AUTHZ_TEXT_MAX)
		return p->source != NULL;
	p->text = malloc(text.n);
	if (p->text == NULL)
		return false;
	memcpy(p->text, text.p, text.n);
	p->text_n = text.n;
	return true;
}

enum authz_kind
authz_policy_kind(const struct authz_policy *p)
{
	return p->kind;
}

const char *
authz_policy_source(const struct authz_policy *p)
{
	return p->source != NULL ? p->source : "";
}

struct slice
authz_policy_text(const struct authz_policy *p)
{
	return slice_of(p->text, p->text_n);
}

struct authz_policy *
authz_policy_open(void)
{
	return authz_policy_blank(AUTHZ_KIND_OPEN);
}

struct authz_policy *
authz_policy_ref(struct authz_policy *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void
authz_policy_unref(struct authz_policy *p)
{
	size_t pos = 0;
	void *user;

	if (p == NULL || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < p->n_rules; i++)
		authz_template_free(p->rules[i].template);
	while ((user = map_next(&p->users, &pos)) != NULL)
		free(user);
	map_done(&p->users);
	free(p->rules);
	free(p->order);
	free(p->source);
	free(p->text);
	authz_ranks_free(p->ranks);
	free(p);
}

static struct authz_user *
user_get(struct authz_policy *p, struct slice name)
{
	struct authz_user *u = map_get(&p->users, name);

	if (u != NULL)
		return u;
	u = calloc(1, sizeof *u + name.n);
	if (u == NULL)
		return NULL;
	memcpy(u->text, name.p, name.n);
	u->name = slice_of(u->text, name.n);
	if (!map_put(&p->users, u)) {
		free(u);
		return NULL;
	}
	return u;
}

static bool
reserve(struct authz_policy *p)
{
	size_t cap = p->cap_rules > 0 ? p->cap_rules : 4;
	struct authz_rule *rules;

	if (p->n_rules < p->cap_rules)
		return true;
	if (!num_mul(cap, (size_t)2, &cap))
		return false;
	rules = reallocarray(p->rules, cap, sizeof *rules);
	if (rules == NULL)
		return false;
	p->rules = rules;
	p->cap_rules = cap;
	return true;
}

static struct authz_set *
set_of(struct authz_policy *p, const struct authz_selector *who, struct slice *ret_user)
{
	struct authz_user *u;

	*ret_user = (struct slice){ 0 };
	if (who->whom == AUTHZ_WHOM_ANY)
		return &p->any;
	if (who->whom == AUTHZ_WHOM_ANONYMOUS)
		return &p->anonymous;
	u = user_get(p, who->user);
	if (u == NULL)
		return NULL;
	*ret_user = u->name;
	return &u->set;
}

bool
authz_policy_add(struct authz_policy *p, const struct authz_selector *who, struct authz_rule rule)
{
	if (reserve(p))
		rule.set = set_of(p, who, &rule.user);
	if (rule.set == NULL) {
		authz_template_free(rule.template);
		return false;
	}
	rule.roles = (uint8_t)who->roles;
	if (rule.template == NULL) {
		rule.set->connect |= rule.roles;
	} else {
		p->vars |= authz_template_vars(rule.template);
		rule.set->n_deny += rule.deny;
		rule.set->n_allow += !rule.deny;
	}
	p->rules[p->n_rules++] = rule;
	return true;
}

/* Each set gets a run of <order>, which those that deny enter first. */
bool
authz_policy_finish(struct authz_policy *p)
{
	size_t next = 0;

	if (p->n_rules == 0)
		return true;
	p->order = calloc(p->n_rules, sizeof *p->order);
	if (p->order == NULL)
		return false;
	for (size_t i = 0; i < p->n_rules; i++) {
		struct authz_set *s = p->rules[i].set;

		if (s->placed)
			continue;
		s->placed = true;
		s->rules = p->order + next;
		next += s->n_deny + s->n_allow;
	}
	for (int deny = 1; deny >= 0; deny--) {
		for (size_t i = 0; i < p->n_rules; i++) {
			const struct authz_rule *r = &p->rules[i];

			if (r->template != NULL && r->deny == (deny == 1))
				r->set->rules[r->set->filled++] = r;
		}
	}
	return true;
}

bool
authz_is_word(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '_'))
			return false;
	}
	return s.n > 0;
}

bool
authz_tenant_device(struct slice id, struct slice *ret_tenant, struct slice *ret_device)
{
	struct slice device = id, tenant;
	bool more;

	tenant = slice_cut(&device, ':', &more);
	if (!more || !authz_is_word(tenant) || !authz_is_word(device))
		return false;
	*ret_tenant = tenant;
	*ret_device = device;
	return true;
}
