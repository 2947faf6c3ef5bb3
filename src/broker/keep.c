/* The embedded keeper: this shard's sessions, queues and retained messages in memory. */
#include <stdlib.h>
#include "broker/internal.h"
#include "retain/retain.h"

struct keep {
	struct map sessions;
	struct retain *retained;
};

static struct slice
key_of(const void *session)
{
	return session_id(session);
}

void *
keep_memory_new(void)
{
	struct keep *k = calloc(1, sizeof *k);

	if (k == NULL)
		return NULL;
	map_init(&k->sessions, key_of);
	if ((k->retained = retain_new()) == NULL) {
		free(k);
		return NULL;
	}
	return k;
}

static void
keep_free(void *keep)
{
	struct keep *k = keep;

	map_done(&k->sessions);
	retain_free(k->retained);
	free(k);
}

static struct session *
find(void *keep, struct slice id)
{
	return map_get(&((struct keep *)keep)->sessions, id);
}

static bool
add(void *keep, struct session *s)
{
	return map_put(&((struct keep *)keep)->sessions, s);
}

static void
del(void *keep, struct session *s)
{
	(void)map_del(&((struct keep *)keep)->sessions, session_id(s));
}

static struct session *
next(void *keep, size_t *pos)
{
	return map_next(&((struct keep *)keep)->sessions, pos);
}

static bool
push(void *keep, struct session *s, const struct out *o)
{
	struct out *at = ring_push(&s->pending);

	(void)keep;
	if (at != NULL)
		*at = *o;
	return at != NULL;
}

static bool
pop(void *keep, struct session *s, struct out *ret)
{
	(void)keep;
	if (s->pending.count == 0)
		return false;
	*ret = *ring_at(&s->pending, 0);
	ring_drop(&s->pending, 1);
	return true;
}

static void
clear(void *keep, struct session *s)
{
	(void)keep;
	for (uint32_t i = 0; i < s->pending.count; i++)
		out_release(ring_at(&s->pending, i));
	ring_drop(&s->pending, s->pending.count);
}

static bool
set(void *keep, struct msg *m)
{
	return retain_set(((struct keep *)keep)->retained, m) != RETAIN_NOMEM;
}

static struct msg *
get(void *keep, struct slice topic, uint32_t now_s)
{
	return retain_get(((struct keep *)keep)->retained, topic, now_s);
}

static struct retain_scan *
scan_new(void *keep, struct slice filter)
{
	return retain_scan_new(((struct keep *)keep)->retained, filter);
}

static bool
scan_next(void *keep, struct retain_scan *scan, unsigned max_hits, unsigned max_visits, uint32_t now_s,
    void (*hit)(void *ctx, struct msg *m), void *ctx)
{
	(void)keep;
	return retain_scan_next(scan, max_hits, max_visits, now_s, hit, ctx);
}

static void
scan_free(void *keep, struct retain_scan *scan)
{
	(void)keep;
	retain_scan_free(scan);
}

static void
sweep(void *keep, unsigned max_visits, uint32_t now_s)
{
	retain_sweep(((struct keep *)keep)->retained, max_visits, now_s);
}

static void
on_expiry(void *keep, void (*fn)(void *ctx, struct msg *m), void *ctx)
{
	retain_on_expiry(((struct keep *)keep)->retained, fn, ctx);
}

static size_t
bytes(void *keep)
{
	return retain_bytes(((struct keep *)keep)->retained);
}

static size_t
count(void *keep)
{
	return retain_count(((struct keep *)keep)->retained);
}

const struct keep_ops keep_memory_ops = {
	.session_find = find,
	.session_add = add,
	.session_del = del,
	.session_next = next,
	.queue_push = push,
	.queue_pop = pop,
	.queue_clear = clear,
	.retain_set = set,
	.retain_get = get,
	.scan_new = scan_new,
	.scan_next = scan_next,
	.scan_free = scan_free,
	.sweep = sweep,
	.on_expiry = on_expiry,
	.retain_count = count,
	.retain_bytes = bytes,
	.free = keep_free,
};
