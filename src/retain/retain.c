/* Retained messages: keep, find, let go. */
#include <stdlib.h>
#include "base/assert.h"
#include "retain/internal.h"
#include "topic/topic.h"

struct retain *
retain_new(void)
{
	struct retain *r = calloc(1, sizeof *r);

	if (r == NULL)
		return NULL;
	r->scratch = malloc(SCRATCH_SIZE);
	if (r->scratch == NULL) {
		free(r);
		return NULL;
	}
	return r;
}

/* Count <m> in or out. */
static void
account(struct retain *r, const struct msg *m, bool in)
{
	size_t one = in ? 1 : SIZE_MAX; /* that is, minus one */

	r->count += one;
	r->bytes += one * msg_size(m);
	r->expiring += m->expires_s != 0 ? one : 0;
}

static void
retain_drop(struct retain *r, struct slice topic)
{
	struct msg *m = tree_del(&r->tree, topic);

	if (m == NULL)
		return;
	account(r, m, false);
	msg_unref(m);
}

void
retain_free(struct retain *r)
{
	struct msg *m;

	if (r == NULL)
		return;
	while ((m = tree_from(&r->tree, SL(""))) != NULL)
		retain_drop(r, msg_topic(m));
	msg_unref(r->swept);
	free(r->scratch);
	free(r);
}

void
retain_expire(struct retain *r, struct msg *m)
{
	if (r->expired != NULL)
		r->expired(r->expired_ctx, m);
	retain_drop(r, msg_topic(m));
}

void
retain_on_expiry(struct retain *r, void (*fn)(void *ctx, struct msg *m), void *ctx)
{
	r->expired = fn;
	r->expired_ctx = ctx;
}

enum retain_set
retain_set(struct retain *r, struct msg *m)
{
	struct msg *old;

	ASSERT(topic_name_ok(msg_topic(m)));
	if (m->payload_n == 0) {
		/* [MQTT-3.3.1-6], [MQTT-3.3.1-7]: what is there goes, and this one is not kept. */
		old = tree_get(&r->tree, msg_topic(m));
		retain_drop(r, msg_topic(m));
		return old != NULL ? RETAIN_REMOVED : RETAIN_NONE;
	}
	if (!tree_put(&r->tree, m, &old))
		return RETAIN_NOMEM;
	msg_ref(m);
	m->kept = r->walks;
	account(r, m, true);
	if (old == NULL)
		return RETAIN_STORED;
	account(r, old, false);
	msg_unref(old);
	return RETAIN_REPLACED; /* [MQTT-3.3.1-5] */
}

struct msg *
retain_get(struct retain *r, struct slice topic, uint32_t now_s)
{
	struct msg *m = tree_get(&r->tree, topic);

	if (m == NULL || !msg_expired(m, now_s))
		return m;
	retain_expire(r, m); /* 3.3.2.3.3 */
	return NULL;
}

void
retain_sweep(struct retain *r, unsigned max_visits, uint32_t now_s)
{
	if (r->expiring == 0) {
		msg_unref(r->swept);
		r->swept = NULL;
	}
	for (; max_visits > 0 && r->expiring > 0; max_visits--) {
		struct slice from = { r->scratch, 0 };
		struct msg *m;

		if (r->swept != NULL) {
			struct slice last = msg_topic(r->swept);

			/* What comes right behind <last>, be it there or not. */
			memcpy(r->scratch, last.p, last.n);
			r->scratch[last.n] = '/';
			from.n = last.n + 1;
		}
		m = tree_from(&r->tree, from);
		msg_unref(r->swept);
		r->swept = m != NULL ? msg_ref(m) : NULL;
		if (m == NULL)
			return; /* the next sweep begins anew */
		if (msg_expired(m, now_s))
			retain_expire(r, m);
	}
}

size_t
retain_count(const struct retain *r)
{
	return r->count;
}

size_t
retain_bytes(const struct retain *r)
{
	return r->bytes + r->tree.bytes;
}
