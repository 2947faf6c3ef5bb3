/* One published message: immutable, counted across threads, stored once. */
#ifndef MSG_MSG_H
#define MSG_MSG_H

#include <stdatomic.h>
#include <sys/uio.h>
#include "mqtt/mqtt.h"

/* Whose messages are: the caller's, at the beginning of a struct of its own; counted across threads. */
struct msg_source {
	_Atomic uint32_t refs;
	void (*free)(struct msg_source *s); /* any thread, when nobody refers to it any more */
};
static inline struct msg_source * /* any thread */
msg_source_ref(struct msg_source *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}
void msg_source_unref(struct msg_source *s); /* any thread; NULL is fine */

/* Visible because the path of every message reads it; nobody outside msg/ writes it but for <kept>, <record>, <body> and <exchange>. Behind the struct, in the
 * same allocation: topic length (2 bytes, big-endian), topic, forwarded properties (v5), payload, publisher's client id. */
struct msg {
	_Atomic uint32_t refs;
	uint32_t payload_n;
	uint32_t props_n;   /* forwarded properties, without length prefix */
	uint32_t expires_s; /* monotonic second at which it is worthless; 0 = never */
	struct msg_source *source; /* whose it is, if that was said; a reference */
	uint64_t kept;      /* retain/'s own, on the one thread that keeps the message: since which walk */
	uint64_t record, body; /* of the thread that keeps it, too: where the store has it, or 0 */
	uint64_t exchange;  /* of its publisher, before anybody else knows it: see broker/once.h; or 0 */
	uint16_t topic_n, origin_n;
	uint8_t qos;        /* as published */
	bool retain;        /* as published */
	bool stamped;       /* has properties that were added here, not sent by a client */
	uint8_t bytes[];
};

/* One copy, one reference. p->topic must be resolved (no alias); p->added goes to MQTT 5 subscribers behind what p forwards. <now_s>: monotonic seconds, for the expiry. <source>: NULL, or a reference is taken. NULL when out of
 * memory or when lengths are absurd. */
struct msg *msg_new(const struct mqtt_publish *p, struct slice origin_client_id, struct msg_source *source,
    uint32_t now_s);

/* Any thread. */
static inline struct msg *
msg_ref(struct msg *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}
/* Any thread; NULL is fine. */
void msg_unref(struct msg *m);
/* <n> references at once; the caller keeps one of his own until they are given back. */
static inline void
msg_ref_many(struct msg *m, uint32_t n)
{
	atomic_fetch_add_explicit(&m->refs, n, memory_order_relaxed);
}
static inline void
msg_unref_many(struct msg *m, uint32_t n)
{
	atomic_fetch_sub_explicit(&m->refs, n, memory_order_acq_rel);
}

static inline struct slice
msg_topic(const struct msg *m)
{
	return slice_of(m->bytes + 2, m->topic_n);
}
static inline struct slice
msg_props(const struct msg *m)
{
	return slice_of(m->bytes + 2 + m->topic_n, m->props_n);
}
static inline struct slice
msg_payload(const struct msg *m)
{
	return slice_of(m->bytes + 2 + m->topic_n + m->props_n, m->payload_n);
}
static inline struct slice
msg_origin(const struct msg *m)
{
	return slice_of(m->bytes + 2 + m->topic_n + m->props_n + m->payload_n, m->origin_n);
}
/* Bytes that the message takes in memory, for byte limits. */
static inline size_t
msg_size(const struct msg *m)
{
	return sizeof *m + 2 + (size_t)m->topic_n + m->props_n + m->payload_n + m->origin_n;
}
static inline bool
msg_expired(const struct msg *m, uint32_t now_s)
{
	return m->expires_s != 0 && now_s >= m->expires_s;
}

/* How one subscriber gets it. */
struct msg_out {
	const uint32_t *ids; /* subscription identifiers, v5 */
	uint16_t n_ids;
	uint16_t packet_id;  /* QoS > 0 */
	uint16_t alias;      /* v5; 0 = none */
	bool alias_only;     /* the topic was sent with this alias before: leave it out */
	uint16_t strip;      /* bytes of the topic's beginning that are left out; less than all of it */
	uint8_t version, qos;
	bool dup, retain;
};

/* A PUBLISH is lent as at most four pieces: fixed header and what differs between subscribers are written into <scratch>
 * (msg_scratch_size() bytes), topic, properties and payload are lent from the message itself. Returns the number of pieces. */
enum { MSG_PIECES = 4, MSG_SCRATCH = 24 /* with no subscription identifier; 5 more bytes for each */ };
int msg_pieces(const struct msg *m, const struct msg_out *o, uint32_t now_s, uint8_t *scratch, struct iovec iov[static MSG_PIECES]);
/* Size of that PUBLISH on the wire: for Maximum Packet Size. */
size_t msg_wire_size(const struct msg *m, const struct msg_out *o);

#endif
