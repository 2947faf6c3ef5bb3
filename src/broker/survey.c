/* What other policies would change, before they are in force: a walk over the sessions of all shards, a few in a turn. */
#include <stdlib.h>
#include <string.h>
#include "base/text.h"
#include "broker/internal.h"

/* A step compares one rule or filter with another, in some 100 ns: a turn is to be over after a few milliseconds, whatever the policies are. */
enum { SESSIONS_A_TURN = 64, STEPS_A_TURN = 20000, RULES_MAX = 200, ID_SHOWN = 400 };

/* One shard's part: what it found, by client id. */
struct part {
	struct order order;
	struct survey *survey;
	struct broker_survey_result r;
	struct broker_changed **v;
	unsigned n;
	uint32_t at; /* slot */
	uint64_t until_ms; /* 0: it has not begun */
};

struct survey {
	_Atomic uint32_t left; /* parts */
	struct broker_survey s;
	unsigned n;
	struct part parts[];
};

/* ---- one session ---- */

struct look {
	const struct session *s;
	const struct authz_policy *from, *to;
	size_t rules; /* of both that may be about him */
	uint64_t steps;
	bool coarse;
	uint32_t lost, gained;
	unsigned n;
	struct broker_change v[BROKER_CHANGES_MAX];
};

static void
note(struct look *l, enum authz_action action, struct slice topic, bool lost)
{
	struct broker_change *c = &l->v[l->n];

	if (lost)
		l->lost++;
	else
		l->gained++;
	if (l->n == BROKER_CHANGES_MAX)
		return;
	l->n++;
	c->action = action;
	c->lost = lost;
	c->will = false;
	(void)text_show(topic, c->topic, sizeof c->topic);
}

static void
on_change(void *ctx, const struct authz_change *c)
{
	note(ctx, c->action, c->topic, c->lost);
}

/* 0: refused, 1: granted and each delivery judged, 2: granted wholly. */
static int
grant(const struct authz_policy *p, const struct session *s, enum authz_action action, struct slice topic)
{
	struct authz_verdict v;

	if (!authz_allowed(p, s->who, session_id(s), action, topic, &v))
		return 0;
	return v.whole ? 2 : 1;
}

static bool
compare(struct look *l, enum authz_action action, struct slice topic)
{
	int from = grant(l->from, l->s, action, topic), to = grant(l->to, l->s, action, topic);

	if (from != to)
		note(l, action, topic, to < from);
	return from != to;
}

static void
compare_subscriptions(struct look *l)
{
	uint8_t text[UINT16_MAX];
	uint32_t most = (uint32_t)(STEPS_A_TURN / (l->rules + 1)) + 1;

	l->coarse = l->coarse || most < l->s->n_subs;
	for (uint32_t i = 0; i < l->s->n_subs && i < most; i++) {
		const struct sub *sub = &l->s->subs[i];
		struct slice full, name, filter;

		if (sub->shared != NULL)
			full = slice_of(sub->shared->text, sub->shared->full_n);
		else
			full = slice_of(text, trie_filter(sub->node, text, sizeof text));
		filter = full;
		(void)topic_share_split(full, &name, &filter);
		(void)compare(l, AUTHZ_SUBSCRIBE, filter);
		l->steps += l->rules + 1;
	}
}

/* What the rules say, if they are not too many; else whether he may come. */
static void
compare_rules(struct look *l)
{
	const struct session *s = l->s;

	l->rules = authz_policy_weight(l->from, s->who) + authz_policy_weight(l->to, s->who);
	l->coarse = l->rules > RULES_MAX;
	l->steps = 1 + l->rules;
	if (l->coarse) {
		(void)compare(l, AUTHZ_CONNECT, session_id(s));
		return;
	}
	l->steps += l->rules * l->rules;
	authz_compare(&(struct authz_comparison){ l->from, l->to, s->who, session_id(s), on_change, l });
}

static void
look_at(struct look *l)
{
	const struct session *s = l->s;

	compare_rules(l);
	/* Who may not come any more has lost the rest with it. */
	if (l->n > 0 && l->v[0].action == AUTHZ_CONNECT && l->v[0].lost)
		return;
	compare_subscriptions(l);
	if (s->will != NULL && compare(l, AUTHZ_PUBLISH, msg_topic(s->will->msg)) && l->n < BROKER_CHANGES_MAX)
		l->v[l->n - 1].will = true;
}

/* ---- what is kept of it ---- */

static void
changed_free(struct broker_changed *c)
{
	if (c == NULL)
		return;
	authz_principal_unref(c->who);
	free(c->client_id);
	free(c);
}

static struct broker_changed *
changed_new(const struct look *l)
{
	const struct session *s = l->s;
	struct broker_changed *c = malloc(sizeof *c + l->n * sizeof c->v[0]);
	char id[ID_SHOWN];

	if (c == NULL)
		return NULL;
	*c = (struct broker_changed){ .who = authz_principal_ref(s->who), .listener = s->listener, .connected = s->client != NULL,
		.waiting = s->pending.count + s->live, .lost = l->lost, .gained = l->gained, .n = l->n };
	memcpy(c->v, l->v, l->n * sizeof c->v[0]);
	c->client_id = strdup(text_show(session_id(s), id, sizeof id));
	if (c->client_id != NULL)
		return c;
	changed_free(c);
	return NULL;
}

/* Into its place by client id, if that is among the first. */
static void
keep(struct part *p, struct broker_changed *c)
{
	unsigned low = 0, high = p->n;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (strcmp(p->v[middle]->client_id, c->client_id) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == p->survey->s.most) {
		changed_free(c);
		return;
	}
	if (p->n == p->survey->s.most)
		changed_free(p->v[--p->n]);
	memmove(&p->v[low + 1], &p->v[low], (p->n - low) * sizeof(p->v[0]));
	p->v[low] = c;
	p->n++;
}

/* The steps that it took. */
static uint64_t
visit(struct part *p, const struct session *s)
{
	const struct survey *v = p->survey;
	struct look l = { .s = s, .to = v->s.policy };
	struct broker_changed *c;

	if (s->homeless || s->listener >= 64 || (v->s.listeners & UINT64_C(1) << s->listener) == 0 || s->who == NULL)
		return 1;
	p->r.sessions++;
	p->r.subscriptions += s->n_subs;
	l.from = listener_of(s->shard, s->listener)->policy;
	look_at(&l);
	p->r.coarse += l.coarse;
	if (l.lost + l.gained == 0)
		return l.steps;
	p->r.changed++;
	p->r.losing += l.lost > 0;
	p->r.gaining += l.gained > 0;
	c = changed_new(&l);
	if (c != NULL)
		keep(p, c);
	else
		p->r.incomplete = true;
	return l.steps;
}

/* ---- the walk ---- */

static void
survey_free(struct survey *v)
{
	for (unsigned i = 0; i < v->n; i++) {
		for (unsigned k = 0; k < v->parts[i].n; k++)
			changed_free(v->parts[i].v[k]);
		free(v->parts[i].v);
	}
	authz_policy_unref(v->s.policy);
	free(v);
}

/* All into the first one's list, which has room for as many as are asked for. */
static void
join(struct survey *v)
{
	struct part *to = &v->parts[0];

	for (unsigned i = 1; i < v->n; i++) {
		struct part *p = &v->parts[i];

		to->r.sessions += p->r.sessions;
		to->r.subscriptions += p->r.subscriptions;
		to->r.changed += p->r.changed;
		to->r.losing += p->r.losing;
		to->r.gaining += p->r.gaining;
		to->r.coarse += p->r.coarse;
		to->r.incomplete = to->r.incomplete || p->r.incomplete;
		for (unsigned k = 0; k < p->n; k++)
			keep(to, p->v[k]);
		p->n = 0;
	}
	to->r.n = to->n;
	to->r.v = to->v;
}

static void
carry_out(struct shard *sh, struct order *o)
{
	struct part *p = (void *)((char *)o - offsetof(struct part, order));
	struct survey *v = p->survey;
	uint64_t steps = 0;
	bool late;

	if (p->until_ms == 0)
		p->until_ms = v->s.ms > 0 ? sh->now_ms + v->s.ms : UINT64_MAX;
	late = sh->now_ms >= p->until_ms;
	for (unsigned n = 0; !sh->closing && !late && p->at < sh->n_slots && n < SESSIONS_A_TURN && steps < STEPS_A_TURN; p->at++) {
		if (sh->slots[p->at].session == NULL)
			continue;
		n++;
		steps += visit(p, sh->slots[p->at].session);
	}
	if (sh->closing || (late && p->at < sh->n_slots))
		p->r.incomplete = true;
	else if (p->at < sh->n_slots) {
		order_give(sh, o);
		return;
	}
	if (atomic_fetch_sub_explicit(&v->left, 1, memory_order_acq_rel) != 1)
		return;
	join(v);
	v->s.done(v->s.ctx, &v->parts[0].r);
	survey_free(v);
}

bool
broker_survey(struct broker *b, const struct broker_survey *s)
{
	struct survey *v = calloc(1, sizeof *v + b->n_shards * sizeof v->parts[0]);

	if (v == NULL)
		return false;
	atomic_init(&v->left, b->n_shards);
	v->s = *s;
	v->s.most = NUM_MIN(s->most, (unsigned)BROKER_CHANGED_MAX);
	v->s.policy = authz_policy_ref(s->policy);
	v->n = b->n_shards;
	for (unsigned i = 0; i < v->n; i++) {
		v->parts[i] = (struct part){ .order.carry_out = carry_out, .survey = v };
		v->parts[i].v = calloc(v->s.most + 1, sizeof(struct broker_changed *));
		if (v->parts[i].v == NULL) {
			survey_free(v);
			return false;
		}
	}
	for (unsigned i = 0; i < b->n_shards; i++)
		order_give(b->shards[i], &v->parts[i].order);
	return true;
}
