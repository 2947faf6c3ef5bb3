/* Sessions: what is kept for a client id, and what is offered to it (4.1). */
#include <stdlib.h>
#include "broker/internal.h"

enum { NO_EXPIRY = -1 };

struct session *
session_find(struct shard *sh, struct slice id)
{
	return sh->keep_ops->session_find(sh->keep, id);
}

struct session *
session_of(struct shard *sh, struct handle h)
{
	if (h.slot >= sh->n_slots || sh->slots[h.slot].generation != h.generation)
		return NULL;
	return sh->slots[h.slot].session;
}

static bool
slot_take(struct shard *sh, struct session *s)
{
	uint32_t i = sh->free_slot;

	if (i == 0) {
		if (sh->n_slots == sh->cap_slots) {
			uint32_t cap = sh->cap_slots > 0 ? sh->cap_slots * 2 : 64;
			struct slot *v = realloc(sh->slots, cap * sizeof *v);

			if (v == NULL)
				return false;
			sh->slots = v;
			sh->cap_slots = cap;
		}
		sh->slots[sh->n_slots++] = (struct slot){ .generation = 1 };
		i = sh->n_slots;
	} else
		sh->free_slot = sh->slots[i - 1].next_free;
	sh->slots[i - 1].session = s;
	s->slot = i - 1;
	s->generation = sh->slots[i - 1].generation;
	return true;
}

static void
slot_give(struct shard *sh, const struct session *s)
{
	struct slot *slot = &sh->slots[s->slot];

	slot->session = NULL;
	slot->generation++;
	slot->next_free = sh->free_slot;
	sh->free_slot = s->slot + 1;
}

bool
session_count_in(struct broker *b, bool must)
{
	uint32_t max = b->settings.max_clients;

	if (max == 0 || atomic_fetch_add_explicit(&b->n_clients, 1, memory_order_relaxed) < max || must)
		return true;
	session_count_out(b);
	return false;
}

void
session_count_out(struct broker *b)
{
	if (b->settings.max_clients != 0)
		(void)atomic_fetch_sub_explicit(&b->n_clients, 1, memory_order_relaxed);
}

struct session *
session_new(struct shard *sh, struct slice id)
{
	struct session *s = id.n > UINT16_MAX ? NULL : calloc(1, sizeof *s + id.n);

	if (s == NULL)
		return NULL;
	s->shard = sh;
	s->next_packet_id = 1;
	s->id_n = (uint16_t)id.n;
	memcpy(s->id, id.p, id.n);
	if (!slot_take(sh, s)) {
		free(s);
		return NULL;
	}
	if (!sh->keep_ops->session_add(sh->keep, s)) {
		slot_give(sh, s);
		free(s);
		return NULL;
	}
	stat_add(sh, sessions, 1);
	return s;
}

void
session_free(struct session *s)
{
	struct shard *sh = s->shard;

	ASSERT(s->client == NULL || sh->closing);
	session_unsubscribe_all(s);
	journal_end(s);
	drops_forget(s);
	certs_del(s);
	timer_cancel(sh->sessions_wheel, &s->timer);
	flight_clear(s);
	stat_sub(sh, queued, s->pending.count);
	sh->keep_ops->queue_clear(sh->keep, s);
	sh->keep_ops->session_del(sh->keep, s);
	slot_give(sh, s);
	will_free(s->will);
	authz_principal_unref(s->who);
	stat_sub(sh, sessions, 1);
	idset_clear(&s->received);
	session_count_out(sh->broker);
	free(s);
}

/* Would a policy judge <a> and <b> alike? */
static bool
same_rights(const struct authz_principal *a, const struct authz_principal *b)
{
	return authz_same_identity(a, b) && authz_principal_role(a) == authz_principal_role(b) &&
	    slice_eq(authz_principal_username(a), authz_principal_username(b));
}

void
session_attach(struct session *s, struct client *c)
{
	/* What was granted was granted to him who asked, under his listener's policy. */
	if (s->who != NULL && (s->homeless || s->listener != c->listener || !same_rights(s->who, c->who))) {
		s->judge_all = true;
		s->queue_tag = 0;
	}
	timer_cancel(s->shard->sessions_wheel, &s->timer);
	s->client = c;
	s->listener = (uint16_t)c->listener;
	s->unclaimed = s->homeless = false;
	c->session = s;
	certs_del(s);
	authz_principal_unref(s->who);
	s->who = authz_principal_ref(c->who);
	certs_add(s);
	if (s->n_shared > 0)
		share_presence(s, true);
}

/* Milliseconds after the disconnection at which the session ends; NO_EXPIRY: never. */
static int64_t
expiry_ms(const struct session *s)
{
	return s->expiry_s == UINT32_MAX ? NO_EXPIRY : (int64_t)s->expiry_s * 1000;
}

static void
arm_offline(struct session *s)
{
	int64_t end = expiry_ms(s), will = s->will != NULL ? (int64_t)s->will->delay_s * 1000 : NO_EXPIRY;
	int64_t due = end;

	if (will != NO_EXPIRY && (due == NO_EXPIRY || will < due))
		due = will;
	if (due != NO_EXPIRY)
		timer_set(s->shard->sessions_wheel, &s->timer, s->offline_ms + (uint64_t)due);
}

void
session_end(struct session *s)
{
	struct share_rest *rest = share_gather(s);

	session_unsubscribe_all(s);
	share_return(s->shard, rest);
	will_publish(s);
	session_free(s);
}

void
session_detach(struct session *s, bool clean)
{
	s->client = NULL;
	s->offline_ms = s->shard->now_ms;
	if (clean) {
		will_free(s->will); /* [MQTT-3.14.4-3] */
		s->will = NULL;
	}
	/* Before the will, which a group of which it is a member must not give to it. */
	if (s->expiry_s == 0) {
		session_end(s);
		return;
	}
	/* Without memory its time begins at the last word that was written. */
	(void)journal_session(s);
	if (s->will == NULL)
		(void)journal_will(s);
	if (s->n_shared > 0)
		share_presence(s, false);
	if (s->will != NULL && s->will->delay_s == 0)
		will_publish(s);
	arm_offline(s);
}

void
session_recovered(struct session *s)
{
	if (s->n_shared > 0)
		share_presence(s, false);
	arm_offline(s);
}

void
session_timer(void *shard, struct timer *t)
{
	struct session *s = (void *)((char *)t - offsetof(struct session, timer));
	struct shard *sh = shard;
	uint64_t gone = sh->now_ms - s->offline_ms;
	int64_t end = expiry_ms(s);
	bool over = end != NO_EXPIRY && gone >= (uint64_t)end;

	/* The will goes out at its delay or at the session's end, whichever is first [MQTT-3.1.3-9]. */
	if (over) {
		stat_add(s->shard, expired, 1);
		session_end(s);
		return;
	}
	if (s->will != NULL && gone >= (uint64_t)s->will->delay_s * 1000)
		will_publish(s);
	arm_offline(s);
}

/* Further subscription identifiers of a hit, as one counted block; NULL: out of memory. */
static struct many *
many_new(const struct shard *sh, struct msg *m, const struct hit *h)
{
	unsigned n = h->id != 0;
	struct many *v;

	for (uint32_t i = h->more; i != 0; i = sh->more[i - 1].next)
		n++;
	if ((v = malloc(sizeof *v + n * sizeof v->ids[0])) == NULL)
		return NULL;
	*v = (struct many){ .refs = 1, .msg = msg_ref(m) };
	if (h->id != 0)
		v->ids[v->n++] = h->id;
	for (uint32_t i = h->more; i != 0; i = sh->more[i - 1].next)
		v->ids[v->n++] = sh->more[i - 1].id;
	return v;
}

/* May it still be delivered? Subscriptions that were found whole under the present policies need no look. */
static bool
may_receive(const struct session *s, const struct msg *m, const struct hit *h)
{
	struct authz_verdict v;

	if (s->homeless || (h->extra == s->shard->policy_tag && !s->judge_all))
		return true;
	if (mount_sees(s, msg_topic(m)) && authz_allowed(listener_of(s->shard, s->listener)->policy, s->who, session_id(s),
		AUTHZ_RECEIVE, msg_topic(m), &v))
		return true;
	stat_add(s->shard, denied, 1);
	return false;
}

static void
offer(struct session *s, struct msg *m, const struct hit *h, bool retain, bool answer)
{
	struct client *c = s->client;
	uint8_t qos = settings_of(s->shard)->upgrade_qos ? h->qos : NUM_MIN(m->qos, h->qos);
	struct out o = { .kind = OUT_MSG, .id = h->id & OUT_ID_MASK, .qos = qos & 3u, .retain = retain };

	if (h->share != 0)
		out_set_share(&o, h->share);
	if (c == NULL && qos == 0 && !settings_of(s->shard)->queue_qos0)
		return;
	if (!may_receive(s, m, h))
		return;
	/* "mount/#" matches "mount" too, of which nothing would be left. */
	if (c != NULL && m->topic_n <= c->mount_n)
		return;
	if (h->more != 0) {
		if ((o.many = many_new(s->shard, m, h)) == NULL) {
			session_dropped(s, BROKER_DROP_NO_MEMORY);
			return;
		}
		o.kind = OUT_MANY;
	} else if (s->shard->lent.msg == m && s->shard->lent.n > 0) {
		s->shard->lent.n--;
		o.msg = m;
	} else
		o.msg = msg_ref(m);
	if (c != NULL && !out_fits(c, &o)) {
		session_dropped(s, BROKER_DROP_SIZE);
		out_release(&o);
		return;
	}
	o.flight = answer ? OUT_ANSWER : 0;
	if (c != NULL && qos == 0)
		(void)out_publish(c, &o);
	else
		flight_offer(s, o);
}

void
session_offer(struct session *s, struct msg *m, const struct hit *h)
{
	/* [MQTT-3.8.3-3] */
	if (h->no_local && m->origin_n == s->id_n && slice_eq(msg_origin(m), session_id(s)))
		return;
	offer(s, m, h, h->as_published && m->retain, false);
}

void
session_offer_retained(struct session *s, struct msg *m, const struct hit *h)
{
	offer(s, m, h, true, true);
}
