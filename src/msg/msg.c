/* One published message: built once, lent to any number of subscribers. */
#include <stdlib.h>
#include "base/num.h"
#include "msg/msg.h"

/* A fixed header, topic length, packet id, property length, alias and expiry fit whatever the message. */
_Static_assert(MSG_SCRATCH >= 5 + 2 + 2 + 4 + 3 + 5, "scratch holds everything that is not a subscription identifier");

enum { VARINT_MAX = 268435455 };

static uint8_t *
put(uint8_t *at, struct slice s)
{
	if (s.n > 0)
		memcpy(at, s.p, s.n);
	return at + s.n;
}

struct msg *
msg_new(const struct mqtt_publish *p, struct slice origin_client_id, struct msg_source *source,
    uint32_t now_s)
{
	size_t n = p->topic.n + p->forward_n + p->added.n + p->payload.n;
	struct msg *m;
	uint8_t *at;

	if (p->topic.n > UINT16_MAX || origin_client_id.n > UINT16_MAX || p->forward_n > VARINT_MAX ||
	    p->payload.n > VARINT_MAX || n > VARINT_MAX)
		return NULL;
	if ((m = malloc(sizeof *m + 2 + n + origin_client_id.n)) == NULL)
		return NULL;
	m->payload_n = (uint32_t)p->payload.n;
	m->props_n = p->forward_n + (uint32_t)p->added.n;
	m->expires_s = 0;
	m->record = m->body = m->exchange = 0;
	if (p->has_expiry && !num_add(now_s, p->message_expiry, &m->expires_s))
		m->expires_s = UINT32_MAX;
	m->source = source;
	if (source != NULL)
		atomic_fetch_add_explicit(&source->refs, 1, memory_order_relaxed);
	m->topic_n = (uint16_t)p->topic.n;
	m->origin_n = (uint16_t)origin_client_id.n;
	m->qos = p->qos;
	m->retain = p->retain;
	m->stamped = p->added.n > 0;
	at = m->bytes;
	*at++ = (uint8_t)(p->topic.n >> 8);
	*at++ = (uint8_t)p->topic.n;
	at = put(at, p->topic);
	if (p->forward.p == NULL && p->forward_n > 0) {
		mqtt_forward_props(p, at);
		at += p->forward_n;
	} else
		at = put(at, slice_of(p->forward.p, p->forward_n));
	at = put(at, p->added);
	at = put(at, p->payload);
	put(at, origin_client_id);
	atomic_init(&m->refs, 1);
	return m;
}

void
msg_source_unref(struct msg_source *s)
{
	if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		s->free(s);
}

void
msg_unref(struct msg *m)
{
	/* The last holder sees everything the others did before they let go. */
	if (m != NULL && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) {
		msg_source_unref(m->source);
		free(m);
	}
}

/* Seconds left, never 0 while the message is still delivered [MQTT-3.3.2-6]. */
static uint32_t
expiry_left(const struct msg *m, uint32_t now_s)
{
	return m->expires_s > now_s ? m->expires_s - now_s : 1;
}

/* Length of all properties that this subscriber gets, without their length in front. */
static size_t
props_size(const struct msg *m, const struct msg_out *o)
{
	size_t n = m->props_n;

	if (o->alias != 0)
		n += 3;
	if (m->expires_s != 0)
		n += 5;
	for (unsigned i = 0; i < o->n_ids; i++)
		n += 1 + varint_len(o->ids[i]);
	return n;
}

static size_t
remaining(const struct msg *m, const struct msg_out *o)
{
	size_t n = 2 + (o->alias_only ? 0u : (unsigned)m->topic_n - o->strip) + (o->qos > 0 ? 2u : 0u) + m->payload_n;

	if (o->version == MQTT_V5) {
		size_t props = props_size(m, o);

		n += varint_len((uint32_t)props) + props;
	}
	return n;
}

size_t
msg_wire_size(const struct msg *m, const struct msg_out *o)
{
	size_t n = remaining(m, o);

	return 1 + varint_len((uint32_t)n) + n;
}

/* The topic's length where it is not the message's own. */
static void
put_length(struct wr *w, const struct msg *m, const struct msg_out *o)
{
	if (o->alias_only)
		wr_u16(w, 0);
	else if (o->strip > 0)
		wr_u16(w, (uint16_t)(m->topic_n - o->strip));
}

/* What stands between topic and payload and differs between subscribers. */
static void
put_middle(struct wr *w, const struct msg *m, const struct msg_out *o, uint32_t now_s)
{
	if (o->qos > 0)
		wr_u16(w, o->packet_id);
	if (o->version != MQTT_V5)
		return;
	wr_varint(w, (uint32_t)props_size(m, o));
	if (m->expires_s != 0) {
		wr_u8(w, MQTT_P_MESSAGE_EXPIRY);
		wr_u32(w, expiry_left(m, now_s));
	}
	for (unsigned i = 0; i < o->n_ids; i++) {
		wr_u8(w, MQTT_P_SUBSCRIPTION_ID);
		wr_varint(w, o->ids[i]);
	}
	if (o->alias != 0) {
		wr_u8(w, MQTT_P_TOPIC_ALIAS);
		wr_u16(w, o->alias);
	}
}

int
msg_pieces(const struct msg *m, const struct msg_out *o, uint32_t now_s, uint8_t *scratch,
    struct iovec iov[static MSG_PIECES])
{
	struct wr w = wr_of(scratch, MSG_SCRATCH + 5u * o->n_ids);
	bool v5 = o->version == MQTT_V5;
	size_t head, skip = 2 + (size_t)m->topic_n + (v5 ? 0 : m->props_n);
	size_t tail = (v5 ? m->props_n : 0) + (size_t)m->payload_n;
	size_t from = o->strip > 0 ? 2 + (size_t)o->strip : 0; /* of the topic with its length */
	int n = 1;

	wr_u8(&w, (uint8_t)(MQTT_PUBLISH << 4 | (o->dup ? 8 : 0) | o->qos << 1 | (o->retain ? 1 : 0)));
	wr_varint(&w, (uint32_t)remaining(m, o));
	put_length(&w, m, o);
	head = wr_len(&w);
	put_middle(&w, m, o, now_s);
	iov[0] = (struct iovec){ scratch, head };
	/* Nothing between topic and payload (v3, QoS 0): they stand together in the message, too. */
	if (wr_len(&w) == head && !o->alias_only && m->props_n == 0) {
		iov[1] = (struct iovec){ (void *)(uintptr_t)(m->bytes + from), 2 + (size_t)m->topic_n - from + m->payload_n };
		return 2;
	}
	if (o->alias_only)
		iov[0].iov_len = wr_len(&w);
	else
		iov[n++] = (struct iovec){ (void *)(uintptr_t)(m->bytes + from), 2 + (size_t)m->topic_n - from };
	if (!o->alias_only && wr_len(&w) > head)
		iov[n++] = (struct iovec){ scratch + head, wr_len(&w) - head };
	if (tail > 0)
		iov[n++] = (struct iovec){ (void *)(uintptr_t)(m->bytes + skip), tail };
	return n;
}
