/* Bytes of one connection that have to wait; most of the time there are none, and no block
 * either. */
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "net/internal.h"

enum { BLOCK_MIN = 64 - sizeof(struct block) };

bool
block_room(struct block **b, size_t want)
{
	struct block *old = *b, *grown;
	size_t have = old != NULL ? old->n : 0, cap;

	if (old != NULL && old->cap - old->off - old->n >= want)
		return true;
	if (!num_add(have, want, &cap) || cap > REST_MAX)
		return false;
	if (old != NULL && old->cap >= cap && old->off >= old->n) {
		/* Enough room once the bytes that are done are gone; moving the rest is cheap
		 * against them. */
		memcpy(old->p, old->p + old->off, have);
		old->off = 0;
		return true;
	}
	cap = NUM_MAX(cap, NUM_MIN(have * 2, (size_t)REST_MAX));
	cap = NUM_MAX(cap, (size_t)BLOCK_MIN);
	grown = malloc(sizeof *grown + cap);
	if (grown == NULL)
		return false;
	*grown = (struct block){ .n = (uint32_t)have, .cap = (uint32_t)cap };
	if (old != NULL)
		memcpy(grown->p, old->p + old->off, have);
	free(old);
	*b = grown;
	return true;
}

bool
block_append(struct block **b, const uint8_t *p, size_t n)
{
	struct block *at;

	if (n == 0)
		return true;
	if (!block_room(b, n))
		return false;
	at = *b;
	memcpy(at->p + at->off + at->n, p, n);
	at->n += (uint32_t)n;
	return true;
}

void
block_consume(struct block **b, size_t n)
{
	struct block *at = *b;

	if (at == NULL)
		return;
	if (n >= at->n) {
		block_free(b);
		return;
	}
	at->off += (uint32_t)n;
	at->n -= (uint32_t)n;
}

void
block_free(struct block **b)
{
	free(*b);
	*b = NULL;
}
