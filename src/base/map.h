/* A hash map from bytes to pointers. The value holds its own key; the map stores only pointers. One thread at a time
 * for each map; readers may share one that nobody changes. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

/* The key of a stored value, borrowed from it; must not change while the value is in the map. */
typedef struct slice map_key(const void *value);

/* Opaque in use; visible so that it can be embedded. Zero-initialised memory is not a map: map_init(). */
struct map {
	map_key *key;
	void **slots;
	uint32_t *hashes;
	size_t count, cap, tombs;
};

/* A keyed hash of <s> (SipHash-1-3, one random key per process): nobody outside can choose collisions. The same
 * value in every thread. */
uint64_t map_hash(struct slice s);
/* Its key, of two: for who must know after a restart what it was. Secret. */
const uint64_t *map_hash_key(void);
/* The function below it, with a key of the caller's. */
uint64_t map_siphash13(const uint64_t key[2], struct slice s);

void map_init(struct map *m, map_key *key);
/* Frees the map's own memory, not the values. Safe on a zeroed map. */
void map_done(struct map *m);

/* The value with this key, or NULL. */
void *map_get(const struct map *m, struct slice key);
/* Add <value>, whose key must not be there yet. False when out of memory (nothing changed). */
bool map_put(struct map *m, void *value);
/* Take the value with this key out and return it; NULL if there was none. */
void *map_del(struct map *m, struct slice key);
/* Walk: start with *pos = 0; NULL at the end. Deleting the value just returned is allowed, adding is not. */
void *map_next(const struct map *m, size_t *pos);
/* Give memory back after many deletions. An empty map has none, and map_put() does this too; needed only for a map
 * that stays nearly empty for long. Not during a walk. */
void map_trim(struct map *m);

#endif
