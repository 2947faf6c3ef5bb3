/* Shared subscriptions (4.8.2): a group lives on one shard, which chooses exactly one member for a message. */
#include <stdlib.h>
#include "broker/internal.h"

enum { TRIES_MAX = 8 };

struct member {
	struct handle session;
	uint32_t id;
	uint16_t shard, extra;
	uint8_t options;
	bool online;
};

struct group {
	struct trie_node *node;
	struct member *members;
	uint32_t n, cap, next, id;
	uint16_t full_n, filter_at;
	char text[]; /* "$share/NAME/FILTER" */
};

static struct slice
group_key(const void *value)
{
	const struct group *g = value;

	return slice_of(g->text, g->full_n);
}

unsigned
share_home(const struct broker *b, struct slice full)
{
	return (unsigned)(map_hash(full) % b->n_shards);
}

static struct slice
full_of(const struct shared_sub *sub)
{
	return slice_of(sub->text, sub->full_n);
}

static struct slice
filter_of(const struct shared_sub *sub)
{
	return slice_from(full_of(sub), sizeof "$share/" - 1 + sub->name_n + 1u);
}

static bool
tell(struct session *s, const struct shared_sub *sub, enum mail_kind kind)
{
	struct shard *sh = s->shard;
	struct mail m = { .kind = (uint8_t)kind, .options = sub->options, .extra = sub->extra, .id = sub->id,
		.session = session_handle(s), .qos = s->client != NULL };

	if ((m.text = mail_text_new(full_of(sub))) == NULL)
		return false;
	m.text->name_n = sub->name_n;
	return mail_post(sh, share_home(sh->broker, full_of(sub)), &m);
}

bool
share_join(struct session *s, const struct shared_sub *sub)
{
	struct broker *b = s->shard->broker;
	unsigned home = share_home(b, full_of(sub));

	/* On the home's behalf, before SUBACK can leave; the home takes it back when the member goes. */
	interest_add(b, home, filter_of(sub));
	if (tell(s, sub, MAIL_SHARE_JOIN))
		return true;
	interest_del(b, home, filter_of(sub));
	return false;
}

void
share_leave(struct session *s, const struct shared_sub *sub)
{
	(void)tell(s, sub, MAIL_SHARE_LEAVE);
}

void
share_presence(struct session *s, bool online)
{
	for (uint32_t i = 0; i < s->n_subs; i++)
		if (s->subs[i].shared != NULL)
			(void)tell(s, s->subs[i].shared, online ? MAIL_SHARE_ONLINE : MAIL_SHARE_OFFLINE);
}

/* ---- on the home ---- */

static struct member *
member_find(struct group *g, unsigned shard, struct handle h)
{
	for (uint32_t i = 0; i < g->n; i++) {
		struct member *m = &g->members[i];

		if (m->shard == shard && m->session.slot == h.slot && m->session.generation == h.generation)
			return m;
	}
	return NULL;
}

static struct slice
group_filter(const struct group *g)
{
	return slice_from(group_key(g), g->filter_at);
}

static void
group_free(struct shard *sh, struct group *g)
{
	(void)map_del(&sh->groups, group_key(g));
	(void)trie_del(sh->subs, g->node, g);
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
	g->id = ++sh->next_scan_id;
	memcpy(g->text, t->text, t->n);
	if (sh->groups.key == NULL)
		map_init(&sh->groups, group_key);
	if (!map_put(&sh->groups, g)) {
		free(g);
		return NULL;
	}
	if (trie_put(sh->subs, group_filter(g), &e, &g->node) == TRIE_NOMEM) {
		(void)map_del(&sh->groups, group_key(g));
		free(g);
		return NULL;
	}
	return g;
}

static struct group *
group_find(struct shard *sh, const struct mail_text *t)
{
	return sh->groups.key == NULL ? NULL : map_get(&sh->groups, slice_of(t->text, t->n));
}

static struct member *
member_add(struct group *g)
{
	if (g->n == g->cap) {
		uint32_t cap = g->cap > 0 ? g->cap * 2 : 4;
		struct member *v = realloc(g->members, cap * sizeof *v);

		if (v == NULL)
			return NULL;
		g->members = v;
		g->cap = cap;
	}
	return &g->members[g->n++];
}

void
mail_share_join(struct shard *sh, struct mail *m)
{
	struct group *g = group_find(sh, m->text);
	struct member *at = g != NULL ? member_find(g, m->from, m->session) : NULL;

	if (at != NULL) /* subscribed again: the interest was counted once more */
		interest_del(sh->broker, sh->index, group_filter(g));
	if (g == NULL)
		g = group_new(sh, m->text);
	if (g != NULL && at == NULL)
		at = member_add(g);
	if (at == NULL) {
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
		if (g != NULL && g->n == 0)
			group_free(sh, g);
		return;
	}
	*at = (struct member){ m->session, m->id, m->from, m->extra, m->options, true };
}

static void
member_drop(struct shard *sh, struct group *g, struct member *at)
{
	*at = g->members[--g->n];
	interest_del(sh->broker, sh->index, group_filter(g));
}

void
mail_share_leave(struct shard *sh, struct mail *m)
{
	struct group *g = group_find(sh, m->text);
	struct member *at = g != NULL ? member_find(g, m->from, m->session) : NULL;

	if (at == NULL)
		return;
	member_drop(sh, g, at);
	if (g->n == 0)
		group_free(sh, g);
}

void
mail_share_status(struct shard *sh, struct mail *m)
{
	struct group *g = group_find(sh, m->text);
	struct member *at = g != NULL ? member_find(g, m->from, m->session) : NULL;

	if (at != NULL)
		at->online = m->kind == MAIL_SHARE_ONLINE;
}

/* In turn, those who are connected first. */
static struct member *
choose(struct group *g)
{
	for (uint32_t i = 0; i < g->n; i++) {
		uint32_t at = (g->next + i) % g->n;

		if (g->members[at].online) {
			g->next = at + 1;
			return &g->members[at];
		}
	}
	return &g->members[g->next++ % g->n];
}

static void
deliver_to(struct shard *sh, const struct group *g, const struct member *to, struct msg *m, uint8_t tries)
{
	struct hit h = { .id = to->id, .extra = to->extra, .qos = to->options & MQTT_SUB_QOS,
		.as_published = (to->options & MQTT_SUB_RETAIN_AS_PUBLISHED) != 0 };
	struct session *s;

	if (to->shard != sh->index) {
		(void)mail_post(sh, to->shard, &(struct mail){ .kind = MAIL_SHARE_DELIVER, .options = to->options,
		    .tries = tries, .extra = to->extra, .id = to->id, .scan = g->id, .session = to->session,
		    .msg = msg_ref(m) });
		return;
	}
	if ((s = session_of(sh, to->session)) != NULL)
		session_offer(s, m, &h);
}

void
group_deliver(struct shard *sh, struct group *g, const struct hit *h, struct msg *m)
{
	(void)h;
	if (g->n > 0)
		deliver_to(sh, g, choose(g), m, 0);
}

/* On the member's shard: it may have gone since it was chosen. */
void
mail_share_deliver(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);
	struct hit h = { .id = m->id, .extra = m->extra, .qos = m->options & MQTT_SUB_QOS,
		.as_published = (m->options & MQTT_SUB_RETAIN_AS_PUBLISHED) != 0 };

	if (s != NULL && (s->client != NULL || m->tries >= TRIES_MAX)) {
		session_offer(s, m->msg, &h);
		return;
	}
	if (m->tries < TRIES_MAX)
		(void)mail_post(sh, m->from, &(struct mail){ .kind = MAIL_SHARE_AGAIN, .scan = m->scan,
		    .tries = (uint8_t)(m->tries + 1), .session = m->session, .msg = msg_ref(m->msg) });
}

void
mail_share_again(struct shard *sh, struct mail *m)
{
	size_t pos = 0;
	struct group *g = NULL;
	struct member *at;

	if (sh->groups.key == NULL)
		return;
	while ((g = map_next(&sh->groups, &pos)) != NULL && g->id != m->scan)
		;
	if (g == NULL || g->n == 0)
		return;
	/* Whoever sent it back is not connected, as its own message will say in a moment. */
	if ((at = member_find(g, m->from, m->session)) != NULL)
		at->online = false;
	at = choose(g);
	deliver_to(sh, g, at, m->msg, at->online ? m->tries : TRIES_MAX);
}

void
groups_done(struct shard *sh)
{
	size_t pos = 0;

	if (sh->groups.key == NULL)
		return;
	for (struct group *g; (g = map_next(&sh->groups, &pos)) != NULL;) {
		free(g->members);
		free(g);
	}
	map_done(&sh->groups);
}
