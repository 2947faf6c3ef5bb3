/* Eleven levels of 64 slots cover the whole 64-bit clock, so there is no horizon and no special case for it.
 *
 * A timer lies on the level of the highest group of six bits in which its due time differs from <now>, in the slot
 * that its own value of that group names. Hence all slots in use of a level lie ahead of <now>, everything on a lower
 * level is due before anything on a higher one, and the first bit set on the lowest level in use is the next event.
 * Moving <now> forward up to that event keeps all of this true. */
#include "base/wheel.h"

#include <stdlib.h>
#include "base/assert.h"

enum { BITS = 6, SLOTS = 1 << BITS, LEVELS = 11 };

struct wheel {
	uint64_t now;     /* every timer in the slots is due later */
	uint64_t horizon; /* the goal of the wheel_advance() that is going on, else now */
	struct timer *ready;  /* due already when it was set: for the next advance */
	struct timer *firing; /* due now: for this advance */
	uint64_t used[LEVELS]; /* a bit for each slot that is not empty */
	struct timer *slot[LEVELS][SLOTS];
};

struct wheel *
wheel_new(uint64_t now_ms)
{
	struct wheel *w = calloc(1, sizeof *w);

	if (w == NULL)
		return NULL;
	w->now = w->horizon = now_ms;
	return w;
}

void
wheel_free(struct wheel *w)
{
	free(w);
}

static void
link_in(struct timer **head, struct timer *t)
{
	t->next = *head;
	t->prev = head;
	if (t->next != NULL)
		t->next->prev = &t->next;
	*head = t;
}

static void
unlink_from(struct timer *t)
{
	*t->prev = t->next;
	if (t->next != NULL)
		t->next->prev = t->prev;
	t->next = NULL;
	t->prev = NULL;
}

/* Into its slot, or among those that fire at once. */
static void
place(struct wheel *w, struct timer *t)
{
	unsigned level, at;

	if (t->due <= w->now) {
		link_in(&w->firing, t);
		return;
	}
	level = (63u - (unsigned)__builtin_clzll(t->due ^ w->now)) / BITS;
	at = (unsigned)(t->due >> (level * BITS)) % SLOTS;
	link_in(&w->slot[level][at], t);
	w->used[level] |= UINT64_C(1) << at;
}

void
timer_cancel(struct wheel *w, struct timer *t)
{
	uintptr_t head = (uintptr_t)t->prev, first = (uintptr_t)&w->slot[0][0];

	if (t->prev == NULL)
		return;
	unlink_from(t);
	/* Was it alone in a slot? Then nothing happens there any more. */
	if (head >= first && head < first + sizeof w->slot) {
		size_t i = (head - first) / sizeof w->slot[0][0];

		if (w->slot[i / SLOTS][i % SLOTS] == NULL)
			w->used[i / SLOTS] &= ~(UINT64_C(1) << i % SLOTS);
	}
}

void
timer_set(struct wheel *w, struct timer *t, uint64_t due_ms)
{
	timer_cancel(w, t);
	t->due = due_ms;
	/* What is due within the advance that is going on waits for the next one: a callback that sets its own timer
	 * into the past cannot hold up the loop. */
	if (due_ms <= w->horizon)
		link_in(&w->ready, t);
	else
		place(w, t);
}

/* The lowest level in use and when its first slot begins; false when nothing is set. */
static bool
next_event(const struct wheel *w, unsigned *ret_level, uint64_t *ret_at)
{
	for (unsigned level = 0; level < LEVELS; level++) {
		unsigned shift = level * BITS, slot;
		uint64_t above;

		if (w->used[level] == 0)
			continue;
		slot = (unsigned)__builtin_ctzll(w->used[level]);
		/* Two shifts: on the top level they add up to more than 63. */
		above = w->now >> shift >> BITS << BITS << shift;
		*ret_level = level;
		*ret_at = above | (uint64_t)slot << shift;
		return true;
	}
	return false;
}

static void
fire(struct wheel *w, timer_fn *fn, void *ctx)
{
	while (w->firing != NULL) {
		struct timer *t = w->firing;

		unlink_from(t);
		fn(ctx, t);
	}
}

void
wheel_advance(struct wheel *w, uint64_t now_ms, timer_fn *fn, void *ctx)
{
	uint64_t at;
	unsigned level;

	ASSERT(w->firing == NULL); /* not from within a callback */
	w->horizon = now_ms > w->now ? now_ms : w->now;
	w->firing = w->ready;
	w->ready = NULL;
	if (w->firing != NULL)
		w->firing->prev = &w->firing;
	fire(w, fn, ctx);
	while (next_event(w, &level, &at) && at <= w->horizon) {
		unsigned i = (unsigned)__builtin_ctzll(w->used[level]);
		struct timer *t = w->slot[level][i], *next;

		w->now = at;
		w->slot[level][i] = NULL;
		w->used[level] &= ~(UINT64_C(1) << i);
		for (; t != NULL; t = next) {
			next = t->next;
			place(w, t);
		}
		fire(w, fn, ctx);
	}
	w->now = w->horizon;
}

uint64_t
wheel_wait(const struct wheel *w, uint64_t now_ms)
{
	uint64_t at;
	unsigned level;

	if (w->ready != NULL)
		return 0;
	if (!next_event(w, &level, &at))
		return UINT64_MAX;
	return at > now_ms ? at - now_ms : 0;
}
