/* Bytes that wait. */
#include "ws/held.h"

#include <stdlib.h>

#include "base/num.h"

enum {
	HELD_MAX =
	    272 * 1024 * 1024, /* above the longest MQTT packet: the protocol should have said no */
	SMALL = 1024,          /* not worth cutting */
};

static struct held *
held_new(size_t cap)
{
	struct held *h = malloc(sizeof(*h) + cap);

	if (h != NULL) {
		h->off = h->n = 0;
		h->cap = cap;
	}
	return h;
}

bool
held_room(struct held **h, size_t want)
{
	struct held *old = *h, *new;
	size_t n = old != NULL ? old->n : 0;

	if (want > HELD_MAX - NUM_MIN(n, (size_t)HELD_MAX))
		return false;
	if (old != NULL && old->cap - old->off - n >= want)
		return true;
	if (old != NULL && old->cap - n >= want && old->off >= n) {
		memcpy(old->p, old->p + old->off, n);
		old->off = 0;
		return true;
	}
	/* What is unfinished for the second time is a long packet: from then on it grows by doubling. */
	new = held_new(NUM_MAX(n + want, 2 * n));
	if (new == NULL)
		return false;
	if (n > 0)
		memcpy(new->p, old->p + old->off, n);
	new->n = n;
	free(old);
	*h = new;
	return true;
}

struct held *
held_of(struct slice s)
{
	struct held *h = held_new(s.n);

	if (h != NULL && s.n > 0)
		memcpy(h->p, s.p, s.n);
	if (h != NULL)
		h->n = s.n;
	return h;
}

void
held_drop(struct held **h, size_t n)
{
	struct held *old = *h, *small;

	if (old == NULL)
		return;
	old->off += n;
	old->n -= n;
	if (old->n == 0) {
		held_free(h);
		return;
	}
	/* Only after something was used: a packet that grows is not copied at each step. */
	if (n == 0 || old->cap - old->n < SMALL || old->n > old->cap / 4)
		return;
	small = held_of(held_slice(old));
	if (small == NULL)
		return;
	free(old);
	*h = small;
}

void
held_free(struct held **h)
{
	free(*h);
	*h = NULL;
}
