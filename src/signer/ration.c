/* How much of something there may be in a time. */
#include "signer/internal.h"

#include <time.h>

enum { BURST_S = 10 };

static int64_t
clock_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct ration
ration_of(double rate)
{
	return (struct ration){ rate * BURST_S, rate, clock_ms() };
}

bool
ration_take(struct ration *r)
{
	int64_t now = clock_ms();

	r->level = NUM_MIN(r->level + (double)(now - r->at_ms) * r->rate / 1000, r->rate * BURST_S);
	r->at_ms = now;
	if (r->level < 1)
		return false;
	r->level -= 1;
	return true;
}
