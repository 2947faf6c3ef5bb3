/* Wills: built at CONNECT, published when the connection ends badly (3.1.2.5). */
#include <stdlib.h>
#include "broker/internal.h"

uint8_t
will_new(const struct shard *sh, const struct mqtt_connect *m, const struct will_of *of, struct will **ret)
{
	const struct mqtt_will *in = &m->will;
	size_t cap = in->props.raw.n + 1;
	uint8_t *buf = malloc(cap);
	struct will *w = calloc(1, sizeof *w);
	struct stamp *stamp = NULL;
	struct mqtt_publish p = { .topic = of->topic, .payload = in->payload, .qos = in->qos, .retain = in->retain };

	if (buf != NULL && w != NULL) {
		if (m->version == MQTT_V5)
			p.forward = p.props = slice_of(buf, mqtt_will_forward(in, buf));
		p.forward_n = (uint32_t)p.forward.n;
		w->delay_s = in->delay;
		w->has_expiry = mqtt_has(&in->props, MQTT_P_MESSAGE_EXPIRY);
		w->expiry_s = in->props.message_expiry;
		if (!settings_of(sh)->stamp_publishers || stamp_put(&stamp, of->who, &p))
			w->msg = msg_new(&p, of->id, NULL, sh->now_s);
	}
	stamp_free(stamp);
	free(buf);
	if (w == NULL || w->msg == NULL) {
		free(w);
		return MQTT_RC_UNAVAILABLE;
	}
	*ret = w;
	return MQTT_RC_OK;
}

void
will_free(struct will *w)
{
	if (w == NULL)
		return;
	msg_unref(w->msg);
	free(w);
}

/* False: out of memory. What was kept of it goes in this turn, and what it becomes on other shards may not be kept yet. */
static bool
give(struct shard *sh, struct msg *m, bool was_kept)
{
	bool begun = was_kept && journal_begin(sh, m), ok;

	if (was_kept && m->qos > 0)
		m->exchange = handover_begin(sh, &(struct handover){ m, sh->broker->n_shards > 1 ? journal_body_of(sh, m) : 0, SL("") });
	ok = publish_message(sh, m) != ROUTED_NOMEM;
	handover_end(sh, m->exchange);
	journal_finish(sh, begun);
	return ok;
}

void
will_publish(struct session *s)
{
	struct will *w = s->will;
	struct shard *sh = s->shard;
	struct authz_verdict v;
	bool was_kept;

	if (w == NULL)
		return;
	s->will = NULL;
	was_kept = s->journal != NULL && s->journal->will != 0;
	(void)journal_will(s);
	/* Nobody else holds the message yet, so its expiry can still be set: it counts from now. */
	if (w->has_expiry)
		w->msg->expires_s = NUM_MAX(1u, w->expiry_s > UINT32_MAX - sh->now_s ? UINT32_MAX : sh->now_s + w->expiry_s);
	/* A right that was taken away since CONNECT takes the will with it. */
	if (s->homeless ? source_may_anywhere(sh, s->who, session_id(s), msg_topic(w->msg)) :
	    authz_allowed(listener_of(sh, s->listener)->policy, s->who, session_id(s), AUTHZ_PUBLISH, msg_topic(w->msg), &v)) {
		if (!give(sh, w->msg, was_kept))
			shard_dropped(sh, BROKER_DROP_NO_MEMORY);
	} else
		stat_add(sh, denied, 1);
	will_free(w);
}
