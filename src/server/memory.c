/* memory_limit: how much there is, and how short it is getting. What is in RAM is cheap to ask and an upper bound; the heap's own
 * books are exact and dear, and are read only when it matters, and never more than a twentieth of the time. */
#include "server/internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"

enum {
	HEAP_SHARE = 20,      /* a look at the heap may take this part of the time */
	SURE_PERCENT = 60,    /* of the limit in RAM: the heap need not be looked at */
	FALL_PERCENT = 5,     /* a level ends so far below where it began */
};

/* Percent of memory_limit at which each level begins. */
static const unsigned begins[] = { [BROKER_SHED_QOS0] = 80, [BROKER_SHED_CONNECTS] = 90, [BROKER_SHED_PUBLISHERS] = 95,
	[BROKER_SHED_QUEUES] = 100 };

static const char *const words[] = {
	[BROKER_SHED_NONE] = "everything is as usual again",
	[BROKER_SHED_QOS0] = "QoS 0 is dropped for clients that do not read or are away",
	[BROKER_SHED_CONNECTS] = "and nobody may connect",
	[BROKER_SHED_PUBLISHERS] = "and publishers are not read from",
	[BROKER_SHED_QUEUES] = "and nothing is kept for clients that are away",
};

uint64_t
heap_bytes(struct heap_gauge *g, uint64_t now_ms)
{
	struct mallinfo2 m;
	uint64_t took;

	if (g->next_ms != 0 && now_ms < g->next_ms)
		return g->value;
	m = mallinfo2();
	g->value = m.uordblks + m.hblkhd;
	took = server_now_ms() - now_ms;
	g->next_ms = now_ms + 1 + took * HEAP_SHARE;
	return g->value;
}

bool
memory_resident(uint64_t *ret)
{
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	char text[128];
	ssize_t n = fd != -1 ? read(fd, text, sizeof(text)) : -1;
	struct slice rest = slice_of(text, n > 0 ? (size_t)n : 0);
	uint64_t pages;
	bool more;

	if (fd != -1)
		(void)close(fd); /* only read from */
	(void)slice_cut(&rest, ' ', &more);
	if (!text_u64(slice_cut(&rest, ' ', &more), 0, UINT64_MAX / 65536, &pages))
		return false;
	*ret = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

enum broker_shed
memory_level(enum broker_shed old, uint64_t used, uint64_t limit)
{
	unsigned level = BROKER_SHED_NONE, percent = limit > 0 ? (unsigned)NUM_MIN(used / (limit / 100 + 1), UINT64_C(1000)) : 1000;

	for (unsigned i = BROKER_SHED_QOS0; i < ARRAY_LEN(begins); i++)
		if (percent >= begins[i])
			level = i;
	if (level >= (unsigned)old)
		return (enum broker_shed)level;
	while ((unsigned)old > level && percent + FALL_PERCENT < begins[old])
		old--;
	return old;
}

/* In use; what the heap's books cannot tell (a sanitizer's) counts as it is in RAM. */
static uint64_t
measure(struct memory *m, uint64_t limit, uint64_t now_ms)
{
	uint64_t resident = 0, heap;

	if (memory_resident(&resident) && resident < limit / 100 * SURE_PERCENT)
		return resident;
	heap = heap_bytes(&m->heap, now_ms);
	return heap > 0 ? heap : resident;
}

static void
say(enum broker_shed level, uint64_t used, uint64_t limit)
{
	/* Each includes those before it: the sentence says so. */
	char text[256] = "";
	size_t n = 0;

	for (unsigned i = level == BROKER_SHED_NONE ? 0 : 1; i <= (unsigned)level; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n > 0 ? ", " : "", words[i]);
	log_warning("Memory: %" PRIu64 " of %" PRIu64 " bytes of memory_limit are in use: %s.", used, limit, text);
}

void
memory_tick(struct server *s, uint64_t now_ms)
{
	struct memory *m = &s->memory;
	uint64_t limit = (uint64_t)atomic_load(&m->limit), used, stop;
	enum broker_shed old = (enum broker_shed)atomic_load(&m->level), level;

	if (limit == 0 && !m->limited)
		return;
	m->limited = limit > 0;
	used = limit > 0 ? measure(m, limit, now_ms) : 0;
	level = limit > 0 ? memory_level(old, used, limit) : BROKER_SHED_NONE;
	stop = limit / 100 * begins[BROKER_SHED_PUBLISHERS];
	atomic_store(&m->used, used);
	atomic_store(&m->level, (unsigned)level);
	/* Half of what is left: a message is more in memory than on the wire. */
	broker_shed(s->broker, level, limit == 0 ? UINT64_MAX : used < stop ? (stop - used) / 2 / s->n_workers : 0);
	if (level != old)
		say(level, used, limit);
}
