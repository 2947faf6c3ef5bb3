/* What an administrator asks about the rights of a session: judged at its home, by who it is and what is in force there. */
#include <stdio.h>
#include <stdlib.h>
#include "broker/internal.h"

enum { TEXT_MAX = 2048 };

struct ask {
	struct order order;
	struct broker_ask q;
	uint8_t bytes[]; /* client id, topic */
};

/* False: it is none, and *ret_fault says what is wrong with it. */
static bool
topic_of(const struct session *s, const struct broker_ask *q, struct slice *ret, const char **ret_fault)
{
	struct slice topic = q->topic, name;
	bool ok = true;

	if (q->action == AUTHZ_CONNECT) {
		topic = session_id(s);
	} else if (q->will && topic.n == 0) {
		*ret_fault = "the client has no will now";
		if (s->will == NULL)
			return false;
		topic = msg_topic(s->will->msg);
	} else if (q->action == AUTHZ_SUBSCRIBE || q->action == AUTHZ_UNSUBSCRIBE) {
		*ret_fault = "not a topic filter";
		ok = topic_share_split(topic, &name, &topic) != TOPIC_SHARE_BAD && topic_filter_ok(topic) &&
		     mount_filter_of(s->shard, s->listener, &topic);
	} else {
		*ret_fault = "not a topic name";
		ok = topic_name_ok(topic) && mount_name_of(s->shard, s->listener, &topic);
	}
	if (ok)
		*ret = topic;
	return ok;
}

static void
judge(const struct session *s, const struct broker_ask *q)
{
	struct authz_reason reason;
	char text[TEXT_MAX];
	const char *fault = "";
	struct broker_finding f = { .found = true, .connected = s->client != NULL, .listener = s->listener,
		.waiting = s->pending.count + s->live, .who = s->who, .topic = q->topic, .text = text };

	if (s->homeless)
		(void)snprintf(text, sizeof text, "refused: the listener that the session belongs to is not configured any more; it is judged at the one "
		    "that its client comes to");
	else if (topic_of(s, q, &f.topic, &fault)) {
		authz_reason(listener_of(s->shard, s->listener)->policy, s->who, session_id(s), q->action, f.topic, &reason);
		authz_reason_text(&reason, text, sizeof text);
		f.allowed = reason.allowed;
		f.reason = &reason;
	} else
		(void)snprintf(text, sizeof text, "refused: %s", fault);
	q->answer(q->ctx, &f);
}

static void
carry_out(struct shard *sh, struct order *o)
{
	struct ask *a = (void *)((char *)o - offsetof(struct ask, order));
	const struct session *s = sh->keep_ops->session_find(sh->keep, a->q.client_id);

	if (s != NULL)
		judge(s, &a->q);
	else
		a->q.answer(a->q.ctx, &(struct broker_finding){ .text = "" });
	free(a);
}

static struct slice
copy(uint8_t *at, struct slice s)
{
	if (s.n > 0)
		memcpy(at, s.p, s.n);
	return slice_of(at, s.n);
}

bool
broker_ask(struct broker *b, const struct broker_ask *q)
{
	struct ask *a = malloc(sizeof *a + q->client_id.n + q->topic.n);

	if (a == NULL)
		return false;
	*a = (struct ask){ .order.carry_out = carry_out, .q = *q };
	a->q.client_id = copy(a->bytes, q->client_id);
	a->q.topic = copy(a->bytes + q->client_id.n, q->topic);
	order_give(b->shards[broker_home(b, q->client_id)], &a->order);
	return true;
}
