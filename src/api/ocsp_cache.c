/* OCSP answers that were signed already: bounded, however many certificates there are. */
#include <stdlib.h>

#include "api/public.h"

static struct slice
entry_key(const void *value)
{
	const struct ocsp_entry *e = value;

	return slice_of(e->key, e->key_n);
}

void
ocsp_cache_init(struct ocsp_cache *k)
{
	*k = (struct ocsp_cache){ 0 };
	map_init(&k->map, entry_key);
}

static void
unlink_entry(struct ocsp_cache *k, struct ocsp_entry *e)
{
	if (e->prev != NULL)
		e->prev->next = e->next;
	else
		k->first = e->next;
	if (e->next != NULL)
		e->next->prev = e->prev;
	else
		k->last = e->prev;
}

static void
push(struct ocsp_cache *k, struct ocsp_entry *e)
{
	e->prev = NULL;
	e->next = k->first;
	if (k->first != NULL)
		k->first->prev = e;
	else
		k->last = e;
	k->first = e;
}

static void
forget(struct ocsp_cache *k, struct ocsp_entry *e)
{
	(void)map_del(&k->map, entry_key(e));
	unlink_entry(k, e);
	blob_unref(e->blob);
	free(e);
}

void
ocsp_cache_done(struct ocsp_cache *k)
{
	while (k->first != NULL)
		forget(k, k->first);
	map_done(&k->map);
}

struct ocsp_entry *
ocsp_cache_get(struct ocsp_cache *k, struct slice key)
{
	struct ocsp_entry *e = map_get(&k->map, key);

	if (e != NULL) {
		unlink_entry(k, e);
		push(k, e);
	}
	return e;
}

bool
ocsp_cache_put(struct ocsp_cache *k, struct ocsp_entry *e)
{
	struct ocsp_entry *old = map_get(&k->map, entry_key(e));

	if (old != NULL)
		forget(k, old);
	else if (k->map.count >= OCSP_CACHE_MAX)
		forget(k, k->last);
	if (!map_put(&k->map, e))
		return false;
	push(k, e);
	return true;
}
