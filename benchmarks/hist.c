/* Latencies in a fixed table of logarithmic steps. */
#include "bench.h"

enum { STEP_BITS = 6 };

_Static_assert(1 << STEP_BITS == HIST_STEPS, "steps are a power of two");
_Static_assert(HIST_N == HIST_STEPS * (64 - STEP_BITS + 1), "every 64-bit number has its place");

/* Row 0 holds the small numbers as they are; row e those whose upper STEP_BITS bits remain after a
 * shift by e. Of these rows only the upper half is used: it keeps the index simple. */
void
hist_add(struct hist *h, uint64_t v)
{
	unsigned e = v < HIST_STEPS ? 0 : 64u - (unsigned)__builtin_clzll(v) - STEP_BITS;

	h->n++;
	h->max = v > h->max ? v : h->max;
	h->count[e * HIST_STEPS + (v >> e)]++;
}

double
hist_at(const struct hist *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->n), sum = 0;

	for (unsigned i = 0; i < HIST_N; i++) {
		unsigned e = i / HIST_STEPS;

		sum += h->count[i];
		if (sum > want)
			return (double)((uint64_t)(i % HIST_STEPS) << e) +
			       (double)(e > 0 ? (uint64_t)1 << (e - 1) : 0);
	}
	return (double)h->max;
}
