/* Input on its way to the stream. While a packet is unfinished its beginning waits on the heap;
 * when more arrives, a short beginning is put in front of it in the loop's window, and a long one
 * grows where it is. */
#include <stdlib.h>
#include <string.h>
#include "base/assert.h"
#include "net/internal.h"

bool
input_space(struct conn *c, struct space *ret)
{
	struct loop *l = c->loop;
	struct block *rest = c->rest;
	size_t held = rest != NULL ? rest->n : 0;

	if (held <= IN_HEAD) {
		*ret = (struct space){ l->in + IN_HEAD - held, held, IN_ROOM };
		if (held > 0)
			memcpy(ret->p, rest->p + rest->off, held);
		return true;
	}
	if (!block_room(&c->rest, RX_SIZE))
		return false;
	rest = c->rest;
	*ret = (struct space){ rest->p + rest->off, held, rest->cap - rest->off - held };
	return true;
}

static bool
is_within(const struct block *b, const uint8_t *p)
{
	return b != NULL && (uintptr_t)p >= (uintptr_t)b->p &&
	       (uintptr_t)p <= (uintptr_t)b->p + b->cap;
}

bool
input_keep(struct conn *c, const uint8_t *p, size_t n)
{
	struct block *old = c->rest;

	if (n == 0) {
		block_free(&c->rest);
		return true;
	}
	if (is_within(old, p)) {
		old->off = (uint32_t)(p - old->p);
		old->n = (uint32_t)n;
		/* A long packet is over: what follows it does not need all that memory. */
		if (n <= IN_HEAD && old->cap > 2 * IN_HEAD) {
			struct block *small = NULL;

			if (block_append(&small, p, n)) {
				c->rest = small;
				free(old);
			}
		}
		return true;
	}
	if (old != NULL)
		old->off = old->n = 0;
	return block_append(&c->rest, p, n);
}

static void
offer(struct conn *c, const uint8_t *p, size_t n)
{
	ptrdiff_t used;

	c->feeding = true;
	used = c->ops->feed(c->stream, slice_of(p, n));
	c->feeding = false;
	conn_mark_dirty(c);
	if (used == STREAM_CLOSE) {
		c->state = CONN_DRAIN;
		block_free(&c->rest);
		return;
	}
	ASSERT(used >= 0 && (size_t)used <= n);
	if (!input_keep(c, p + used, n - (size_t)used))
		conn_close(c, n - (size_t)used > IN_HEAD ? "no memory for an unfinished packet"
							 : "out of memory");
}

void
input_feed(struct conn *c, const struct space *s, size_t n)
{
	offer(c, s->p, s->held + n);
}

void
input_again(struct conn *c)
{
	struct space s;

	if (c->rest == NULL)
		return;
	/* In place: the stream sees it without a copy. */
	s = (struct space){ c->rest->p + c->rest->off, c->rest->n, 0 };
	offer(c, s.p, s.held);
}
