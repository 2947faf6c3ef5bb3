/* The groups of shared subscriptions (4.8.2): each lives on one shard, which chooses exactly one member for a message. However many
 * members there are, coming, going and choosing cost the same. */
#include <stdlib.h>
#include "broker/internal.h"

enum { TRIES_MAX = 8 };

struct member {
	struct {
		struct handle session;
		uint32_t shard;
	} key;
	uint32_t at; /* its place in the group */
	uint32_t id;
	uint16_t extra;
	uint8_t options, slot;
};

struct group {
	struct trie_node *node;
	struct map by_session;
	struct member **members; /* those who are connected stand in front */
	uint32_t n, n_online, cap, next, id;
	uint16_t full_n, filter_at;
	char text[]; /* "$share/NAME/FILTER" */
};

static struct slice
group_key(const void *value)
{
	const struct group *g = value;

	return slice_of(g->text, g->full_n);
}

static struct slice
group_id(const void *value)
{
	return slice_of(&((const struct group *)value)->id, sizeof(uint32_t));
}

static struct slice
member_key(const void *value)
{
	const struct member *m = value;

	return slice_of(&m->key, sizeof m->key);
}

static struct slice
group_filter(const struct group *g)
{
	return slice_from(group_key(g), g->filter_at);
}

/* ---- members ---- */

static struct member *
member_find(const struct group *g, const struct mail *m)
{
	struct member who = { .key = { m->session, m->from } };

	return map_get(&g->by_session, member_key(&who));
}

static void
swap(struct group *g, uint32_t a, uint32_t b)
{
	struct member *m = g->members[a];

	g->members[a] = g->members[b];
	g->members[b] = m;
	g->members[a]->at = a;
	m->at = b;
}

static bool
is_online(const struct group *g, const struct member *m)
{
	return m->at < g->n_online;
}

static void
set_online(struct group *g, const struct member *m, bool online)
{
	if (is_online(g, m) == online)
		return;
	if (online)
		swap(g, m->at, g->n_online++);
	else
		swap(g, m->at, --g->n_online);
}

static struct member *
member_add(struct group *g, const struct mail *m)
{
	struct member *at;

	if (g->n == g->cap) {
		uint32_t cap = g->cap > 0 ? g->cap * 2 : 4;
		struct member **v = realloc(g->members, cap * sizeof(struct member *));

		if (v == NULL)
			return NULL;
		g->members = v;
		g->cap = cap;
	}
	if ((at = malloc(sizeof *at)) == NULL)
		return NULL;
	*at = (struct member){ .key = { m->session, m->from }, .at = g->n };
	if (!map_put(&g->by_session, at)) {
		free(at);
		return NULL;
	}
	g->members[g->n++] = at;
	return at;
}

static void
member_drop(struct shard *sh, struct group *g, struct member *m)
{
	set_online(g, m, false);
	swap(g, m->at, --g->n);
	(void)map_del(&g->by_session, member_key(m));
	free(m);
	share_uncount(sh->broker, sh->index, group_filter(g));
}

/* ---- groups ---- */

static void
group_free(struct shard *sh, struct group *g)
{
	(void)map_del(&sh->groups, group_key(g));
	(void)map_del(&sh->groups_by_id, group_id(g));
	if (g->node != NULL)
		(void)trie_del(sh->subs, g->node, g);
	map_done(&g->by_session);
	free(g->members);
	free(g);
}

static struct group *
group_new(struct shard *sh, const struct mail_text *t)
{
	struct group *g = calloc(1, sizeof *g + t->n);
	struct trie_entry e = { .who = g, .options = 2, .kind = SUB_GROUP };

	if (g == NULL)
		return NULL;
	g->full_n = (uint16_t)t->n;
	g->filter_at = (uint16_t)(sizeof "$share/" - 1 + t->name_n + 1u);
	memcpy(g->text, t->text, t->n);
	map_init(&g->by_session, member_key);
	if (sh->groups.key == NULL) {
		map_init(&sh->groups, group_key);
		map_init(&sh->groups_by_id, group_id);
	}
	do
		g->id = ++sh->next_group_id;
	while (map_get(&sh->groups_by_id, group_id(g)) != NULL);
	if (map_put(&sh->groups, g) && map_put(&sh->groups_by_id, g) &&
	    trie_put(sh->subs, group_filter(g), &e, &g->node) != TRIE_NOMEM)
		return g;
	g->node = NULL;
	group_free(sh, g);
	return NULL;
}

static struct group *
group_find(struct shard *sh, const struct mail_text *t)
{
	return sh->groups.key == NULL ? NULL : map_get(&sh->groups, slice_of(t->text, t->n));
}

void
mail_share_join(struct shard *sh, struct mail *m)
{
	struct group *g = group_find(sh, m->text);
	struct member *at = g != NULL ? member_find(g, m) : NULL;

	if (at != NULL) /* subscribed again: the interest was counted once more */
		share_uncount(sh->broker, sh->index, group_filter(g));
	if (g == NULL)
		g = group_new(sh, m->text);
	if (g != NULL && at == NULL)
		at = member_add(g, m);
	if (at == NULL) {
		/* It was granted already. If it is not even known there, ONLINE will make up for it one day. */
		(void)mail_post(sh, m->from, &(struct mail){ .kind = MAIL_SHARE_LOST, .session = m->session });
		if (g != NULL && g->n == 0)
			group_free(sh, g);
		return;
	}
	at->id = m->id;
	at->extra = m->extra;
	at->options = m->options;
	at->slot = m->qos;
	set_online(g, at, true);
}

void
mail_share_leave(struct shard *sh, struct mail *m)
{
	struct group *g = group_find(sh, m->text);
	struct member *at = g != NULL ? member_find(g, m) : NULL;

	if (at != NULL)
		member_drop(sh, g, at);
	if (g != NULL && g->n == 0)
		group_free(sh, g);
}

void
mail_share_status(struct shard *sh, struct mail *m)
{
	struct group *g = group_find(sh, m->text);
	struct member *at = g != NULL ? member_find(g, m) : NULL;

	if (at != NULL)
		set_online(g, at, m->kind == MAIL_SHARE_ONLINE);
	else if (m->kind == MAIL_SHARE_ONLINE)
		mail_share_join(sh, m); /* there was no memory for it when it joined */
}

/* On the member's shard: it is none, for lack of memory. With the next connection it will be. */
void
mail_share_lost(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);

	if (s == NULL || s->client == NULL)
		return;
	s->client->starved = true;
	wake(&s->client->waker);
}

/* ---- messages ---- */

/* In turn, those who are connected first. */
static struct member *
choose(struct group *g)
{
	uint32_t of = g->n_online > 0 ? g->n_online : g->n;

	if (g->next >= of)
		g->next = 0;
	return g->members[g->next++];
}

static struct hit
hit_of(uint32_t id, uint16_t extra, uint8_t options, uint8_t slot)
{
	return (struct hit){ .id = id, .extra = extra, .qos = options & MQTT_SUB_QOS, .share = slot,
		.as_published = (options & MQTT_SUB_RETAIN_AS_PUBLISHED) != 0 };
}

/* With a message whose exchange is to be remembered goes the name; without memory for it the message may come twice after a crash. */
static struct mail_text *
name_for(const struct group *g, const struct errand *e)
{
	struct mail_text *t = e->exchange != 0 ? mail_text_new(group_key(g)) : NULL;

	if (t != NULL)
		t->errand = *e;
	return t;
}

static struct errand
errand_of(const struct mail *m)
{
	return m->text != NULL ? m->text->errand : (struct errand){ 0 };
}

static void
give_away(struct shard *sh, struct group *g, struct msg *m, uint8_t tries, const struct errand *e)
{
	uint64_t mark;

	while (g->n > 0) {
		struct member *to = choose(g);
		struct hit h = hit_of(to->id, to->extra, to->options, to->slot);
		bool wait = !is_online(g, to) || tries >= TRIES_MAX;
		struct session *s;

		if (to->key.shard != sh->index) {
			if (mail_post(sh, to->key.shard, &(struct mail){ .kind = MAIL_SHARE_DELIVER, .options = to->options,
			    .tries = wait ? TRIES_MAX : tries, .extra = to->extra, .id = to->id, .scan = g->id,
			    .session = to->key.session, .qos = to->slot, .msg = msg_ref(m), .text = name_for(g, e) }))
				return;
			/* Out of memory, or too much to do there: somebody else may be nearer. */
			if (tries++ >= TRIES_MAX) {
				shard_dropped(sh, BROKER_DROP_NO_MEMORY);
				return;
			}
			continue;
		}
		if ((s = session_of(sh, to->key.session)) == NULL) {
			member_drop(sh, g, to); /* the group stays, empty or not: others may be looking at the tree */
		} else if (s->client == NULL && !wait) {
			set_online(g, to, false);
			tries++;
		} else {
			mark = sh->journal.marks;
			session_offer(s, m, &h);
			once_group(sh, e, group_key(g), mark);
			return;
		}
	}
}

void
group_deliver(struct shard *sh, struct group *g, struct msg *m)
{
	struct errand e = once_errand(sh, m);

	if (m->exchange == 0 || !once_has_group(sh->broker, m, group_key(g)))
		give_away(sh, g, m, 0, &e);
}

static void
member_offer(struct shard *sh, struct session *s, const struct mail *m, const struct hit *h)
{
	uint64_t mark = sh->journal.marks;

	session_offer(s, m->msg, h);
	if (m->text != NULL)
		once_group(sh, &m->text->errand, slice_of(m->text->text, m->text->n), mark);
}

/* On the member's shard: it may have gone since it was chosen. */
void
mail_share_deliver(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);
	struct hit h = hit_of(m->id, m->extra, m->options, m->qos);
	struct mail_text *text = NULL;

	if (s != NULL && (s->client != NULL || m->tries >= TRIES_MAX)) {
		member_offer(sh, s, m, &h);
		return;
	}
	if (m->text != NULL && (text = mail_text_new(slice_of(m->text->text, m->text->n))) != NULL)
		text->errand = m->text->errand;
	if (mail_post(sh, m->from, &(struct mail){ .kind = MAIL_SHARE_AGAIN, .scan = m->scan,
	    .tries = (uint8_t)NUM_MIN(m->tries + 1, TRIES_MAX), .qos = s == NULL, .session = m->session, .msg = msg_ref(m->msg), .text = text }))
		return;
	if (s != NULL)
		member_offer(sh, s, m, &h);
	else
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
}

/* Whoever sends it back is not connected (.qos: has gone for good), as its own letter will say in a moment. */
void
mail_share_again(struct shard *sh, struct mail *m)
{
	struct group *g = sh->groups.key == NULL ? NULL : map_get(&sh->groups_by_id, slice_of(&m->scan, sizeof m->scan));
	struct member *at = g != NULL ? member_find(g, m) : NULL;
	struct errand e = errand_of(m);

	if (at != NULL && m->qos != 0)
		member_drop(sh, g, at);
	else if (at != NULL)
		set_online(g, at, false);
	if (g != NULL)
		give_away(sh, g, m->msg, m->tries, &e);
}

void
group_take(struct shard *sh, struct slice full, struct msg *m, const struct errand *e)
{
	struct group *g = sh->groups.key == NULL ? NULL : map_get(&sh->groups, full);

	if (g != NULL && !msg_expired(m, sh->now_s))
		give_away(sh, g, m, 0, e);
}

/* What a member had not acknowledged, or not been sent, when its session ended. */
void
mail_share_return(struct shard *sh, struct mail *m)
{
	group_take(sh, slice_of(m->text->text, m->text->n), m->msg, &m->text->errand);
}

void
groups_done(struct shard *sh)
{
	size_t pos = 0;

	if (sh->groups.key == NULL)
		return;
	for (struct group *g; (g = map_next(&sh->groups, &pos)) != NULL;) {
		for (uint32_t i = 0; i < g->n; i++)
			free(g->members[i]);
		map_done(&g->by_session);
		free(g->members);
		free(g);
	}
	map_done(&sh->groups);
	map_done(&sh->groups_by_id);
}
