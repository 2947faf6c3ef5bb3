/* Many token buckets in a bounded place: for who comes from anywhere. The state of one is a single time; when a set is full the
 * bucket that is nearest to being full gives way, whose loss matters least. */
#include "server/internal.h"

#include <stdlib.h>

#include "base/num.h"

enum { SETS = 4096, WAYS = 4, LOCKS = 64 };

/* When it is full again. */
struct bucket {
	uint64_t key, full_ns;
};

struct buckets {
	pthread_mutex_t locks[LOCKS];
	struct bucket sets[SETS][WAYS];
};

struct buckets *
buckets_new(void)
{
	struct buckets *b = calloc(1, sizeof(*b));
	unsigned i;

	for (i = 0; b != NULL && i < LOCKS; i++) {
		if (pthread_mutex_init(&b->locks[i], NULL) == 0)
			continue;
		while (i-- > 0)
			(void)pthread_mutex_destroy(&b->locks[i]);
		free(b);
		return NULL;
	}
	return b;
}

void
buckets_free(struct buckets *b)
{
	unsigned i;

	if (b == NULL)
		return;
	for (i = 0; i < LOCKS; i++)
		(void)pthread_mutex_destroy(&b->locks[i]);
	free(b);
}

static struct bucket *
find(struct buckets *b, uint64_t key, bool make)
{
	struct bucket *set = b->sets[(key >> 1) % SETS], *oldest = &set[0];
	unsigned i;

	for (i = 0; i < WAYS; i++) {
		if (set[i].key == key)
			return &set[i];
		if (set[i].full_ns < oldest->full_ns)
			oldest = &set[i];
	}
	if (!make)
		return NULL;
	*oldest = (struct bucket){ .key = key };
	return oldest;
}

static pthread_mutex_t *
lock_of(struct buckets *b, uint64_t key)
{
	return &b->locks[(key >> 1) % SETS % LOCKS];
}

static bool
has(const struct bucket *x, const struct bucket_rule *r, uint64_t now_ns)
{
	return x == NULL || x->full_ns <= now_ns + (r->burst - 1) * r->every_ns;
}

bool
buckets_has(struct buckets *b, uint64_t key, const struct bucket_rule *r, uint64_t now_ns)
{
	pthread_mutex_t *lock = lock_of(b, key |= 1);
	bool ok;

	(void)pthread_mutex_lock(lock);
	ok = has(find(b, key, false), r, now_ns);
	(void)pthread_mutex_unlock(lock);
	return ok;
}

void
buckets_take(struct buckets *b, uint64_t key, const struct bucket_rule *r, uint64_t now_ns)
{
	pthread_mutex_t *lock = lock_of(b, key |= 1);
	struct bucket *x;

	(void)pthread_mutex_lock(lock);
	x = find(b, key, true);
	x->full_ns = NUM_MAX(x->full_ns, now_ns) + r->every_ns;
	(void)pthread_mutex_unlock(lock);
}

void
buckets_give(struct buckets *b, uint64_t key, const struct bucket_rule *r)
{
	pthread_mutex_t *lock = lock_of(b, key |= 1);
	struct bucket *x;

	(void)pthread_mutex_lock(lock);
	x = find(b, key, false);
	if (x != NULL)
		x->full_ns -= NUM_MIN(x->full_ns, r->every_ns);
	(void)pthread_mutex_unlock(lock);
}

bool
buckets_try(struct buckets *b, uint64_t key, const struct bucket_rule *r, uint64_t now_ns)
{
	pthread_mutex_t *lock = lock_of(b, key |= 1);
	struct bucket *x;
	bool ok;

	(void)pthread_mutex_lock(lock);
	x = find(b, key, true);
	ok = has(x, r, now_ns);
	if (ok)
		x->full_ns = NUM_MAX(x->full_ns, now_ns) + r->every_ns;
	(void)pthread_mutex_unlock(lock);
	return ok;
}
