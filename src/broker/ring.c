/* The ring's slow half: growth and release. */
#include <stdlib.h>
#include "base/assert.h"
#include "broker/ring.h"

enum { RING_FIRST = 8, RING_MAX = 1 << 24 };

bool
ring_grow(struct ring *r)
{
	uint32_t cap = r->cap > 0 ? r->cap * 2 : RING_FIRST;
	struct out *v;

	if (cap > RING_MAX || (v = malloc(cap * sizeof *v)) == NULL)
		return false;
	for (uint32_t i = 0; i < r->count; i++)
		v[i] = *ring_at(r, i);
	free(r->v);
	r->v = v;
	r->head = 0;
	r->cap = cap;
	return true;
}

void
ring_drop(struct ring *r, uint32_t n)
{
	ASSERT_HOT(n <= r->count);
	r->head += n;
	r->count -= n;
	if (r->count == 0) {
		free(r->v);
		*r = (struct ring){ 0 };
	}
}

struct out
out_ref(const struct out *o)
{
	if (o->kind == OUT_MANY)
		o->many->refs++;
	else
		msg_ref(o->msg);
	return *o;
}

void
out_release(struct out *o)
{
	switch (o->kind) {
	case OUT_MSG:
		msg_unref(o->msg);
		break;
	case OUT_MANY:
		if (--o->many->refs == 0) {
			msg_unref(o->many->msg);
			free(o->many);
		}
		break;
	case OUT_BLOCK:
		free(o->block);
		break;
	default:
		break;
	}
	o->kind = OUT_RAW;
	o->raw_n = 0;
}
