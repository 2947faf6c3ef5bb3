/* QoS 1 and 2 outwards: the window of what is in flight, and the queue behind it (4.3, 4.4, 4.9). */
#include "broker/internal.h"

enum { JUDGED = 1 };
enum { UNSENT = 1 }; /* .raw_n of what is in flight: still to be sent again on this connection */

static void
refuse(struct session *s, struct out *o, enum broker_drop why)
{
	session_dropped(s, why);
	out_release(o);
}

/* Behind everything that waits. Newest are refused when the queue is full: what was promised first is kept. */
static void
enqueue(struct session *s, struct out *o)
{
	const struct broker_settings *set = settings_of(s->shard);
	size_t size = msg_size(out_msg(o));
	/* A scan stops when the queue is full; the last of its messages may go beyond. */
	size_t counted = o->flight == OUT_ANSWER ? 1 : size;

	/* What enters the queue of a connected client was judged a moment ago: .flight remembers that, for as long as
	 * the policies stay the same. */
	if (s->pending.count == 0)
		s->queue_tag = s->shard->policy_tag;
	o->flight = s->client != NULL && s->queue_tag == s->shard->policy_tag ? JUDGED : 0;
	if (s->client == NULL && s->shard->shed >= (o->qos == 0 ? BROKER_SHED_QOS0 : BROKER_SHED_QUEUES)) {
		refuse(s, o, BROKER_DROP_SHED);
		return;
	}
	if (set->max_queued_messages != 0 && s->pending.count >= set->max_queued_messages) {
		refuse(s, o, BROKER_DROP_QUEUE);
		return;
	}
	if (set->max_queued_bytes != 0 && s->pending_bytes + counted > set->max_queued_bytes) {
		refuse(s, o, BROKER_DROP_QUEUE_BYTES);
		return;
	}
	if (!journal_queued(s, o)) {
		refuse(s, o, BROKER_DROP_NO_MEMORY);
		return;
	}
	if (!s->shard->keep_ops->queue_push(s->shard->keep, s, o)) {
		journal_not_queued(s);
		refuse(s, o, BROKER_DROP_NO_MEMORY);
		return;
	}
	s->pending_bytes += size;
	stat_add(s->shard, queued_bytes, size);
	stat_add(s->shard, queued, 1);
}

/* As mosquitto has it: the limit is looked at before a message is sent, so the last one may go beyond it, and one that is larger
 * than the limit goes alone. */
static bool
bytes_open(const struct session *s)
{
	size_t max = settings_of(s->shard)->max_inflight_bytes;

	return max == 0 || s->inflight_bytes < max;
}

/* Exactly once needs the disk: while it fails, QoS 2 waits, and what is behind it in the queue. */
static bool
must_wait(const struct session *s, const struct out *o)
{
	return o->qos == 2 && s->journal != NULL && s->shard->journal.failing;
}

static bool
window_open(const struct session *s)
{
	return s->client != NULL && s->unsent == 0 && s->live < s->client->window && s->inflight.count < FLIGHT_SPAN_MAX &&
	       bytes_open(s);
}

/* Give it the next packet id and send it; <e>: its records, if it was queued. Takes the reference. */
static void
launch(struct session *s, struct out *o, struct entry e)
{
	struct out *at = ring_push(&s->inflight), copy;
	uint64_t mark = s->shard->journal.marks;

	o->packet_id = s->next_packet_id;
	if (at == NULL || !journal_launched(s, o, e)) {
		s->inflight.count -= at != NULL;
		journal_dropped(s, e);
		refuse(s, o, BROKER_DROP_NO_MEMORY);
		return;
	}
	s->next_packet_id = packet_id_after(o->packet_id);
	/* Its packet id has to be known after a restart, or it could arrive twice. */
	if (o->qos == 2 && !gate_try(s->client, mark)) {
		s->client->starved = true;
		wake(&s->client->waker);
	}
	*at = *o;
	at->flight = o->qos == 1 ? FLIGHT_PUBACK : FLIGHT_PUBREC;
	s->live++;
	stat_add(s->shard, inflight, 1);
	s->inflight_bytes += out_msg(o)->payload_n;
	copy = out_ref(at);
	(void)out_publish(s->client, &copy);
}

void
flight_offer(struct session *s, struct out o)
{
	if (s->pending.count == 0 && window_open(s) && o.qos > 0 && !must_wait(s, &o))
		launch(s, &o, (struct entry){ 0 });
	else
		enqueue(s, &o);
}

/* Rights are asked again at delivery: what waited, or was sent once before, may have become forbidden. */
static bool
may_send(const struct session *s, const struct out *o)
{
	struct authz_verdict v;

	if (o->flight == JUDGED && s->queue_tag == s->shard->policy_tag && o->packet_id == 0)
		return true;
	return mount_sees(s, msg_topic(out_msg(o))) && authz_allowed(listener_of(s->shard, s->listener)->policy, s->who,
	    session_id(s), AUTHZ_RECEIVE, msg_topic(out_msg(o)), &v);
}

static uint32_t
distance(const struct session *s, uint16_t id)
{
	/* Ids follow one another without gaps, 65535 is followed by 1: the place follows from the distance. */
	return (id + 65535u - ring_at(&s->inflight, 0)->packet_id) % 65535u;
}

/* Release what <o> holds; it is not to be sent again. */
static void
let_go(struct session *s, struct out *o)
{
	if (o->kind != OUT_RAW && o->raw_n == UNSENT)
		s->unsent--;
	if (o->kind != OUT_RAW)
		s->inflight_bytes -= out_msg(o)->payload_n;
	out_release(o);
}

static void
bury(struct session *s, struct out *o)
{
	journal_done(s, distance(s, o->packet_id));
	let_go(s, o);
	o->flight = FLIGHT_DEAD;
	s->live--;
	stat_sub(s->shard, inflight, 1);
}

static void
resend(struct session *s, struct out *o)
{
	struct out copy = out_ref(o);

	copy.dup = 1; /* [MQTT-3.3.1-1] */
	(void)out_publish(s->client, &copy);
}

/* Go on with what did not fit into the window when the client came back. */
static void
resend_more(struct session *s)
{
	while (s->unsent > 0 && s->live - s->unsent < s->client->window) {
		uint32_t i = distance(s, s->resend_id);
		struct out *o = ring_at(&s->inflight, i < s->inflight.count ? i : 0);

		if (must_wait(s, o))
			return;
		s->resend_id = o->packet_id == UINT16_MAX ? 1 : (uint16_t)(o->packet_id + 1);
		if (o->kind == OUT_RAW || o->raw_n != UNSENT)
			continue;
		o->raw_n = 0;
		s->unsent--;
		resend(s, o);
	}
}

void
flight_fill(struct session *s)
{
	struct out o;
	struct entry e;
	size_t size;

	if (s->client != NULL)
		resend_more(s);
	while (s->pending.count > 0 && s->client != NULL) {
		if (ring_at(&s->pending, 0)->qos > 0 && (!window_open(s) || must_wait(s, ring_at(&s->pending, 0))))
			return;
		if (!s->shard->keep_ops->queue_pop(s->shard->keep, s, &o))
			return;
		e = journal_dequeued(s);
		size = NUM_MIN(s->pending_bytes, msg_size(out_msg(&o)));
		s->pending_bytes -= size;
		stat_sub(s->shard, queued_bytes, size);
		stat_sub(s->shard, queued, 1);
		/* Expired while it waited [MQTT-3.3.2-5], too large for this connection, or no longer allowed: rights are
		 * asked at delivery. */
		if (msg_expired(out_msg(&o), s->shard->now_s) || !may_send(s, &o)) {
			journal_dropped(s, e);
			out_release(&o);
			continue;
		}
		if (!out_fits(s->client, &o)) {
			journal_dropped(s, e);
			refuse(s, &o, BROKER_DROP_SIZE);
			continue;
		}
		if (o.qos == 0)
			(void)out_publish(s->client, &o);
		else
			launch(s, &o, e);
	}
}

/* [MQTT-4.4.0-1], as far as the client's Receive Maximum of this time allows [MQTT-3.3.4-9]. */
void
flight_resume(struct session *s)
{
	struct client *c = s->client;
	unsigned sent = 0;
	bool wait = false; /* what is behind it, too: it goes out in its order */

	s->unsent = 0;
	for (uint32_t i = 0; i < s->inflight.count; i++) {
		struct out *o = ring_at(&s->inflight, i);

		if (o->flight == FLIGHT_PUBCOMP && must_wait(s, o))
			continue;
		if (o->flight == FLIGHT_PUBCOMP && !out_ack(c, MQTT_PUBREL, o->packet_id, MQTT_RC_OK, ""))
			return; /* out of memory: the client was ended, and perhaps the session with it */
		if (o->flight != FLIGHT_PUBACK && o->flight != FLIGHT_PUBREC)
			continue;
		o->raw_n = 0;
		if (!may_send(s, o) || !out_fits(c, o)) {
			bury(s, o);
			continue;
		}
		wait = wait || must_wait(s, o);
		if (!wait && sent < c->window) {
			resend(s, o);
			sent++;
		} else {
			o->raw_n = UNSENT;
			s->resend_id = s->unsent++ == 0 ? o->packet_id : s->resend_id;
		}
	}
	flight_fill(s);
}

void
flight_go_on(struct session *s)
{
	uint64_t mark = s->shard->journal.marks;
	bool waited = s->unsent > 0;

	for (uint32_t i = 0; i < s->inflight.count && !waited; i++)
		waited = ring_at(&s->inflight, i)->flight == FLIGHT_PUBCOMP;
	/* What is said of it has been handed over and may not be on the disk yet: the session's record is behind it. */
	if (waited && (!journal_session(s) || !gate_since(s->client, mark)))
		return;
	for (uint32_t i = 0; i < s->inflight.count; i++) {
		const struct out *o = ring_at(&s->inflight, i);

		if (o->flight == FLIGHT_PUBCOMP && !out_ack(s->client, MQTT_PUBREL, o->packet_id, MQTT_RC_OK, ""))
			return;
	}
	flight_fill(s);
}

void
flight_clear(struct session *s)
{
	for (uint32_t i = 0; i < s->inflight.count; i++)
		out_release(ring_at(&s->inflight, i));
	ring_drop(&s->inflight, s->inflight.count);
	stat_sub(s->shard, inflight, s->live);
	stat_sub(s->shard, queued_bytes, s->pending_bytes);
	s->live = s->unsent = 0;
	s->pending_bytes = s->inflight_bytes = 0;
}

struct out *
flight_find(struct session *s, uint16_t id)
{
	uint32_t i;
	struct out *o;

	if (s->inflight.count == 0 || id == 0)
		return NULL;
	i = distance(s, id);
	if (i >= s->inflight.count)
		return NULL;
	o = ring_at(&s->inflight, i);
	ASSERT_HOT(o->packet_id == id);
	return o->flight == FLIGHT_DEAD ? NULL : o;
}

void
flight_done(struct session *s, struct out *o)
{
	uint32_t dead = 0;

	bury(s, o);
	while (dead < s->inflight.count && ring_at(&s->inflight, dead)->flight == FLIGHT_DEAD)
		dead++;
	ring_drop(&s->inflight, dead);
	journal_shift(s, dead);
	if (s->pending.count > 0 || s->unsent > 0)
		flight_fill(s);
}

bool
flight_received(struct session *s, struct out *o)
{
	if (!journal_released(s, distance(s, o->packet_id), o))
		return false;
	let_go(s, o);
	o->flight = FLIGHT_PUBCOMP;
	return true;
}
