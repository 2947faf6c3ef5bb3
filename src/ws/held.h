/* Bytes on the heap while there are some; an idle connection has none. Private to ws/. */
#ifndef WS_HELD_H
#define WS_HELD_H

#include "base/slice.h"

struct held {
	size_t off, n, cap; /* n bytes at p + off */
	uint8_t p[];
};

/* At least <want> free bytes behind what is there. False: out of memory, or more than HELD_MAX. */
bool held_room(struct held **h, size_t want);
/* A copy of <s>; NULL: out of memory. */
struct held *held_of(struct slice s);
/* The first <n> bytes are done: freed with the last, and cut to size when most of it was used. */
void held_drop(struct held **h, size_t n);
void held_free(struct held **h);

static inline struct slice
held_slice(const struct held *h)
{
	return h != NULL ? (struct slice){ h->p + h->off, h->n } : (struct slice){ 0 };
}

#endif
