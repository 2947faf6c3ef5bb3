/* How much memory a subscription takes and how long a match: `trie_bench [COUNT]`. Not a test. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "topic/topic.h"

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
on_hit(void *ctx, const struct trie_entry *e)
{
	(void)e;
	++*(uint64_t *)ctx;
}

static struct slice
name_of(char *buf, size_t cap, const char *fmt_tail, unsigned i)
{
	int n = snprintf(buf, cap, "device/%06u%s", i, fmt_tail);

	return slice_of(buf, (size_t)n);
}

struct run {
	const char *what, *filter, *name; /* what follows the number */
	unsigned count;
};

static void
run(const struct run *r)
{
	struct trie *t = trie_new();
	size_t before = used();
	double at = seconds(), put, worst = 0;
	uint64_t hits = 0, x = 88172645463325252u;
	unsigned matches = 2000000;
	char buf[64];

	if (t == NULL)
		exit(1);
	for (unsigned i = 0; i < r->count; i++) {
		struct trie_entry e = { .who = &hits };
		struct trie_node *n;
		double one = seconds();

		if (trie_put(t, name_of(buf, sizeof buf, r->filter, i), &e, &n) != TRIE_ADDED)
			exit(1);
		one = seconds() - one;
		worst = one > worst ? one : worst;
	}
	put = seconds() - at;
	printf("%-28s %u: %.1f bytes and %.0f ns each to add, longest %.0f us", r->what, r->count,
	    (double)(used() - before) / r->count, put * 1e9 / r->count, worst * 1e6);
	for (int live = 0; live < 2; live++) {
		at = seconds();
		for (unsigned i = 0; i < matches; i++) {
			struct slice name;

			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			name = name_of(buf, sizeof buf, r->name, (unsigned)(x % r->count));
			if (live)
				trie_match(t, name, on_hit, &hits);
			else
				hits += name.n;
		}
		put = seconds() - at - (live ? put : 0);
	}
	printf("; match %.0f ns\n", put * 1e9 / matches);
	trie_free(t);
}

int
main(int argc, char **argv)
{
	unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 1000000;
	const struct run runs[] = {
		{ "device/N/s/t (19 bytes)", "/s/tmp", "/s/tmp", count },
		{ "device/N/#", "/#", "/s/tmp", count },
		{ "device/N/+/set", "/+/set", "/s/set", count },
		{ "nothing there", "/s/tmp", "/s/tmq", count },
	};

	if (count == 0 || count > 10000000)
		return 2;
	/* Otherwise glibc keeps the million pieces that trie_free() gave back apart, and one later
	 * malloc() joins them all, which takes it up to 0.4 s. */
	(void)mallopt(M_MXFAST, 0);
	for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
		run(&runs[i]);
	return 0;
}
