/* How much of something there may be in a time. */
#include "signer/internal.h"

#include "base/clock.h"

enum { BURST_S = 10 };

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
