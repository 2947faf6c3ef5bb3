/* A set of packet identifiers: nothing while empty, a short list while few, a bitmap when a client has many. */
#ifndef BROKER_IDSET_H
#define BROKER_IDSET_H

#include <stdbool.h>
#include <stdint.h>

struct idset {
	uint16_t *v;    /* list, or bitmap of 65,536 bits */
	uint16_t n, cap;
	bool is_bitmap;
};

/* Zero-initialised memory is the empty set. */
bool idset_has(const struct idset *s, uint16_t id);
/* <id> must not be in it. False when out of memory (nothing changed). */
bool idset_add(struct idset *s, uint16_t id);
/* False: it was not there. */
bool idset_del(struct idset *s, uint16_t id);
void idset_clear(struct idset *s);

#endif
