/* Packets waiting: a growing ring of 16-byte entries that owns no memory while it is empty. */
#ifndef BROKER_RING_H
#define BROKER_RING_H

#include "msg/msg.h"

enum out_kind {
	OUT_RAW,   /* up to 8 bytes in place */
	OUT_BLOCK, /* a whole encoded packet on the heap */
	OUT_MSG,   /* a message with at most one subscription identifier */
	OUT_MANY,  /* a message with several */
};

struct block {
	uint32_t n;
	uint8_t bytes[];
};

/* A delivery with several subscription identifiers; counted, one thread's. */
struct many {
	uint32_t refs;
	uint16_t n;
	struct msg *msg;
	uint32_t ids[];
};

struct out {
	union {
		struct msg *msg;
		struct many *many;
		struct block *block;
		uint8_t raw[8];
	};
	uint32_t id : 28;   /* OUT_MSG: subscription identifier or 0 */
	uint32_t share_low : 4;
	uint16_t packet_id; /* QoS > 0 */
	uint8_t kind : 3, flight : 3, qos : 2;
	uint8_t raw_n : 4, retain : 1, dup : 1, share_high : 2;
};
_Static_assert(sizeof(struct out) == 16, "four to a cache line");

/* By which shared subscription of its session a message came (share.c); 0: none. */
enum { SHARE_SLOTS = 63, OUT_ID_MASK = 0xfffffff /* every subscription identifier fits */ };
static inline unsigned
out_share(const struct out *o)
{
	return (unsigned)o->share_high << 4 | o->share_low;
}
static inline void
out_set_share(struct out *o, unsigned slot)
{
	o->share_low = slot & 15u;
	o->share_high = slot >> 4 & 3u;
}

struct ring {
	struct out *v;
	uint32_t head, count, cap; /* cap is 0 or a power of two */
};

/* The entry <i> from the front; i < count. */
static inline struct out *
ring_at(const struct ring *r, uint32_t i)
{
	return &r->v[(r->head + i) & (r->cap - 1)];
}

/* Double the room; false when out of memory. */
bool ring_grow(struct ring *r);

/* A place at the end; NULL when out of memory. */
static inline struct out *
ring_push(struct ring *r)
{
	if (r->count == r->cap && !ring_grow(r))
		return NULL;
	return ring_at(r, r->count++);
}

/* Forget the first <n> entries (their references are the caller's business); an empty ring gives its memory back. */
void ring_drop(struct ring *r, uint32_t n);

/* The message of an OUT_MSG or OUT_MANY entry. */
static inline struct msg *
out_msg(const struct out *o)
{
	return o->kind == OUT_MANY ? o->many->msg : o->msg;
}
/* Another reference to what <o> holds (messages only). */
struct out out_ref(const struct out *o);
/* Release what <o> holds. */
void out_release(struct out *o);

#endif
