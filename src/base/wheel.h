/* A hierarchical timer wheel: add, cancel and expire in constant time. Milliseconds of any monotonic clock. */
#ifndef BASE_WHEEL_H
#define BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embedded in what it belongs to; zeroed = not set. */
struct timer {
	struct timer *next, **prev;
	uint64_t due; /* ms */
};

struct wheel; /* one thread's */

typedef void timer_fn(void *ctx, struct timer *t);

/* NULL when out of memory. */
struct wheel *wheel_new(uint64_t now_ms);
/* Timers still set are forgotten, not called. NULL is accepted. */
void wheel_free(struct wheel *w);

/* (Re)arm <t> to fire in the first wheel_advance() whose now >= due; one that is due already fires in the next
 * advance. No allocation. */
void timer_set(struct wheel *w, struct timer *t, uint64_t due_ms);
/* Disarm; harmless when not set. */
void timer_cancel(struct wheel *w, struct timer *t);
static inline bool
timer_is_set(const struct timer *t)
{
	return t->prev != NULL;
}

/* Call <fn> for every timer due at <now_ms>; it may set and cancel any timer. Never goes back in time. */
void wheel_advance(struct wheel *w, uint64_t now_ms, timer_fn *fn, void *ctx);
/* Milliseconds until the next wheel_advance() may have work (may be early, never late); UINT64_MAX when no timer
 * is set. */
uint64_t wheel_wait(const struct wheel *w, uint64_t now_ms);

#endif
