/* Private to mqtt/: the property walker, the packet builder and the small checks that packets
 * share. */
#ifndef MQTT_INTERNAL_H
#define MQTT_INTERNAL_H

#include "mqtt/mqtt.h"

/* Will properties have rules of their own (5.0, 3.1.3.2) but no packet type; reserved type 0
 * stands for them. */
enum { PROPS_OF_WILL = 0 };

/* One property as it was found. */
struct prop {
	uint32_t number;    /* byte, two and four byte integer, variable byte integer */
	struct slice bytes; /* string or binary data; empty for a user property */
	uint8_t id;
};

/* The next property at <r>, checked: known, allowed in <packet>, not a forbidden repetition
 * (<seen> has bit 1 << identifier for what came before and is updated), value in range.
 * MQTT_RC_OK or what is wrong. */
uint8_t prop_read(struct rd *r, unsigned packet, uint64_t *seen, struct prop *ret);

/* Length and properties; <ret> is cleared first. */
uint8_t props_read(struct rd *r, unsigned packet, struct mqtt_props *ret);

/* The same where only the reason string matters. */
uint8_t props_read_reason(struct rd *r, unsigned packet, struct slice *ret);

/* Take "variable byte integer, then as many bytes" off <r>; false when there is less than that. */
static inline bool
props_open(struct rd *r, struct slice *ret)
{
	uint32_t n = rd_varint(r);

	*ret = rd_take(r, n);
	return rd_ok(r);
}

static inline bool
props_empty(const struct mqtt_props *p)
{
	return p->present == 0 && p->user.n == 0;
}

/* Whether <packet> may carry <reason> (5.0, 2.4). */
bool reason_allowed(unsigned packet, uint8_t reason);

/* The fixed header's flags, which 3.1.1 and 5.0 reserve in all packets but PUBLISH (2.2.2; 5.0:
 * 2.1.3). In 3.1 the bits were DUP and QoS, "not used" or set at will: nobody may rely on them,
 * so they are not looked at. */
static inline bool
flags_ok(const struct mqtt_frame *f, uint8_t version, uint8_t want)
{
	return f->flags == want || version == MQTT_V31;
}

/* Packets are written without their lengths, which are put in front once they are known: the
 * bytes are moved up, but no packet needs a second function that foresees its size. <mark> is
 * wr_len() where the run begins. */

/* Put the length of what was written since <mark> before it. */
void put_length(struct wr *w, size_t mark);
/* Length and properties. */
void put_props(struct wr *w, const struct mqtt_props *p);
/* Make what was written since <mark> a packet; takes all of it back when it did not fit. */
bool put_packet(struct wr *w, size_t mark, uint8_t type, uint8_t flags);

#endif
