/* Shared subscriptions (4.8.2) where the members are: what a session tells the groups that it belongs to, and what becomes of
 * their messages when it ends. The groups themselves: group.c. */
#include <stdlib.h>
#include "broker/internal.h"

_Static_assert(offsetof(struct shared_sub, text) == offsetof(struct shared_sub, session) + sizeof(struct handle),
    "whose it is and what it is called are one key");

static struct slice
sub_key(const void *value)
{
	const struct shared_sub *sub = value;

	return slice_of(&sub->session, sizeof sub->session + sub->full_n);
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

unsigned
share_home(const struct broker *b, struct slice full)
{
	return (unsigned)(map_hash(full) % b->n_shards);
}

struct shared_sub *
share_find(const struct session *s, struct slice full)
{
	uint8_t key[sizeof(struct handle) + UINT16_MAX];
	struct handle h = session_handle(s);

	if (s->n_shared == 0 || full.n > UINT16_MAX)
		return NULL;
	memcpy(key, &h, sizeof h);
	memcpy(key + sizeof h, full.p, full.n);
	return map_get(&s->shard->shared_subs, slice_of(key, sizeof h + full.n));
}

/* A number by which queued messages say for which subscription they are; 0 when there is none left. One that was in use is
 * not given away while something in the queues may still bear it. */
static uint8_t
slot_take(struct session *s)
{
	if (s->share_slots + 1 == 0 && s->n_shared < SHARE_SLOTS && s->inflight.count == 0 && s->pending.count == 0) {
		s->share_slots = 1;
		for (uint32_t i = 0; i < s->n_subs; i++)
			if (s->subs[i].shared != NULL)
				s->share_slots |= UINT64_C(1) << s->subs[i].shared->slot;
	}
	for (unsigned i = 1; i <= SHARE_SLOTS; i++)
		if ((s->share_slots >> i & 1) == 0) {
			s->share_slots |= UINT64_C(1) << i | 1;
			return (uint8_t)i;
		}
	return 0;
}

/* ---- what the home is told ---- */

static bool
tell(struct shard *sh, const struct shared_sub *sub, enum mail_kind kind)
{
	struct mail m = { .kind = (uint8_t)kind, .options = sub->options, .extra = sub->extra, .id = sub->id,
		.session = sub->session, .qos = sub->slot };

	if ((m.text = mail_text_new(full_of(sub))) == NULL)
		return false;
	m.text->name_n = sub->name_n;
	return mail_post(sh, share_home(sh->broker, full_of(sub)), &m);
}

/* The same for what must not be lost: without memory it waits in the subscription itself. */
static void
tell_surely(struct shard *sh, struct shared_sub *sub, enum mail_kind kind)
{
	bool waits = sub->news != MAIL_NONE;

	if (!waits && tell(sh, sub, kind)) {
		if (kind == MAIL_SHARE_LEAVE)
			free(sub);
		return;
	}
	sub->news = (uint8_t)kind;
	if (waits)
		return;
	sub->next = sh->untold;
	sh->untold = sub;
}

bool
shares_turn(struct shard *sh)
{
	struct shared_sub *sub;

	while ((sub = sh->untold) != NULL && tell(sh, sub, sub->news)) {
		sh->untold = sub->next;
		if (sub->news == MAIL_SHARE_LEAVE)
			free(sub);
		else
			sub->news = MAIL_NONE;
	}
	return sh->untold != NULL;
}

void
shares_done(struct shard *sh)
{
	/* The sessions have gone before: nobody else has these. */
	while (sh->untold != NULL) {
		struct shared_sub *sub = sh->untold;

		sh->untold = sub->next;
		free(sub);
	}
	map_done(&sh->shared_subs);
}

static void
share_count(struct broker *b, unsigned home, struct slice filter)
{
	interest_add(b, home, filter);
	atomic_fetch_add_explicit(&b->shards[home]->journal.members, 1, memory_order_release);
}

void
share_uncount(struct broker *b, unsigned home, struct slice filter)
{
	interest_del(b, home, filter);
	atomic_fetch_sub_explicit(&b->shards[home]->journal.members, 1, memory_order_relaxed);
}

/* On the home's behalf, before SUBACK can leave; the home takes it back when the member goes. */
static bool
join(struct session *s, const struct shared_sub *sub)
{
	struct broker *b = s->shard->broker;
	unsigned home = share_home(b, full_of(sub));

	share_count(b, home, filter_of(sub));
	if (tell(s->shard, sub, MAIL_SHARE_JOIN))
		return true;
	share_uncount(b, home, filter_of(sub));
	return false;
}

struct shared_sub *
share_join(struct session *s, const struct mqtt_sub *how, const struct share_terms *t)
{
	struct shard *sh = s->shard;
	struct shared_sub *sub;

	/* A LEAVE that waits would come behind this. */
	if (shares_turn(sh) || (sub = malloc(sizeof *sub + how->filter.n)) == NULL)
		return NULL;
	*sub = (struct shared_sub){ .id = t->id, .options = how->options, .extra = t->extra, .name_n = t->name_n,
		.full_n = (uint16_t)how->filter.n, .session = session_handle(s) };
	memcpy(sub->text, how->filter.p, how->filter.n);
	if (sh->shared_subs.key == NULL)
		map_init(&sh->shared_subs, sub_key);
	if (map_put(&sh->shared_subs, sub)) {
		/* Not one of those that the rest of what was kept may bear. */
		sub->slot = t->slot == 0 ? slot_take(s) : t->slot == SHARE_NO_SLOT ? 0 : t->slot;
		s->share_slots |= UINT64_C(1) << sub->slot;
		if (join(s, sub))
			return sub;
		if (sub->slot != 0)
			s->share_slots &= ~(UINT64_C(1) << sub->slot);
		(void)map_del(&sh->shared_subs, sub_key(sub));
	}
	free(sub);
	return NULL;
}

bool
share_rejoin(struct session *s, struct shared_sub *sub, const struct mqtt_sub *how, uint32_t id, uint16_t extra)
{
	struct shared_sub old = { .id = sub->id, .options = sub->options, .extra = sub->extra };

	if (shares_turn(s->shard))
		return false;
	if (sub->slot == 0)
		sub->slot = slot_take(s);
	sub->id = id;
	sub->options = how->options;
	sub->extra = extra;
	if (join(s, sub))
		return true;
	sub->id = old.id;
	sub->options = old.options;
	sub->extra = old.extra;
	return false;
}

void
share_leave(struct session *s, struct shared_sub *sub)
{
	(void)map_del(&s->shard->shared_subs, sub_key(sub));
	tell_surely(s->shard, sub, MAIL_SHARE_LEAVE);
}

void
share_presence(struct session *s, bool online)
{
	for (uint32_t i = 0; i < s->n_subs; i++)
		if (s->subs[i].shared != NULL)
			tell_surely(s->shard, s->subs[i].shared, online ? MAIL_SHARE_ONLINE : MAIL_SHARE_OFFLINE);
}

/* ---- the end of a member ---- */

struct share_rest {
	uint32_t n;
	struct {
		struct mail mail; /* MAIL_SHARE_RETURN */
		uint64_t body;    /* of the session, in the store */
	} v[];
};

static void
add(struct session *s, struct share_rest *rest, const struct shared_sub *const by_slot[static SHARE_SLOTS + 1],
    const struct out *o, uint64_t body)
{
	const struct shared_sub *sub = by_slot[out_share(o)];
	struct mail m = { .kind = MAIL_SHARE_RETURN };

	if (sub == NULL || (m.text = mail_text_new(full_of(sub))) == NULL) {
		if (sub != NULL)
			session_dropped(s, BROKER_DROP_NO_MEMORY);
		return;
	}
	m.msg = msg_ref(out_msg(o));
	rest->v[rest->n].mail = m;
	rest->v[rest->n++].body = body;
}

struct share_rest *
share_gather(struct session *s)
{
	const struct shared_sub *by_slot[SHARE_SLOTS + 1] = { NULL };
	struct shard *sh = s->shard;
	struct share_rest *rest;
	uint32_t at = 0;
	struct out o;

	if (s->n_shared == 0 || sh->stopping || s->inflight.count + s->pending.count == 0)
		return NULL;
	rest = malloc(sizeof *rest + (s->inflight.count + s->pending.count) * sizeof rest->v[0]);
	if (rest == NULL)
		return NULL;
	rest->n = 0;
	for (uint32_t i = 0; i < s->n_subs; i++)
		if (s->subs[i].shared != NULL)
			by_slot[s->subs[i].shared->slot] = s->subs[i].shared;
	by_slot[0] = NULL;
	/* QoS 2 that was sent goes to nobody else [MQTT-4.8.2-5]; QoS 1 should, be it twice. */
	for (uint32_t i = 0; i < s->inflight.count; i++)
		if (ring_at(&s->inflight, i)->flight == FLIGHT_PUBACK)
			add(s, rest, by_slot, ring_at(&s->inflight, i), journal_body(s, true, i));
	while (sh->keep_ops->queue_pop(sh->keep, s, &o)) {
		stat_sub(sh, queued, 1);
		add(s, rest, by_slot, &o, journal_body(s, false, at++));
		out_release(&o);
	}
	return rest;
}

void
share_return(struct shard *sh, struct share_rest *rest)
{
	for (uint32_t i = 0; rest != NULL && i < rest->n; i++) {
		struct mail *m = &rest->v[i].mail;
		struct slice full = slice_of(m->text->text, m->text->n);
		uint64_t id = handover_begin(sh, &(struct handover){ m->msg, rest->v[i].body, full });

		m->text->errand = (struct errand){ id, sh->index };
		if (!mail_post(sh, share_home(sh->broker, full), m))
			shard_dropped(sh, BROKER_DROP_NO_MEMORY);
		handover_end(sh, id);
	}
	free(rest);
}
