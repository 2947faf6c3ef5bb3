/* How much memory a retained message takes and how long a call: `retain_bench [COUNT]`. Not a
 * test. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "retain/retain.h"

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static size_t
used(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static void
on_hit(void *ctx, struct msg *m)
{
	++*(uint64_t *)ctx;
	(void)m;
}

static struct slice
topic_of(char *buf, size_t cap, unsigned i)
{
	int n = snprintf(buf, cap, "device/%06u/tt", i);

	return slice_of(buf, (size_t)n);
}

static void
fill(struct retain *r, unsigned count)
{
	static const uint8_t payload[64];
	char buf[64];

	for (unsigned i = 0; i < count; i++) {
		struct mqtt_publish p = {
			.topic = topic_of(buf, sizeof buf, (unsigned)((uint64_t)i * 7919 % count)),
			.payload = slice_of(payload, sizeof payload),
		};
		struct msg *m = msg_new(&p, SL("device"), NULL, 0);

		if (m == NULL || retain_set(r, m) == RETAIN_NOMEM)
			exit(1);
		msg_unref(m);
	}
}

static void
scan(struct retain *r, struct slice filter)
{
	struct retain_scan *s = retain_scan_new(r, filter);
	double at = seconds(), worst = 0;
	uint64_t hits = 0;
	bool more = s != NULL;

	while (more) {
		double slice = seconds();

		more = retain_scan_next(s, 256, 1024, 0, on_hit, &hits);
		slice = seconds() - slice;
		worst = slice > worst ? slice : worst;
	}
	at = seconds() - at;
	printf("%.*s: %" PRIu64 " in %.3f s, %.0f ns each, longest slice of 256: %.0f us\n",
	    SL_ARG(filter), hits, at, hits > 0 ? at * 1e9 / (double)hits : 0, worst * 1e6);
	retain_scan_free(s);
}

int
main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000000;
	struct retain *r = retain_new();
	size_t before = used();
	double at = seconds();
	uint64_t x = 88172645463325252u, found = 0;
	char buf[64];

	if (r == NULL || count == 0 || count > 10000000)
		return 2;
	fill(r, count);
	at = seconds() - at;
	printf("%u messages, topic 16 bytes, payload 64: %.1f bytes each in memory (%.1f counted), "
	       "%.0f ns to set\n",
	    count, (double)(used() - before) / count, (double)retain_bytes(r) / count,
	    at * 1e9 / count);
	at = seconds();
	for (unsigned i = 0; i < count; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		found += retain_get(r, topic_of(buf, sizeof buf, (unsigned)(x % count)), 0) != NULL;
	}
	at = seconds() - at;
	printf(
	    "get: %.0f ns (%" PRIu64 " found; with making the topic)\n", at * 1e9 / count, found);
	scan(r, SL("#"));
	scan(r, SL("device/+/tt"));
	scan(r, SL("device/+/x"));
	scan(r, SL("device/000007/#"));
	retain_free(r);
	return 0;
}
