/* Open addressing with linear probing over two arrays in one block: the values, then 32 bits of each one's hash, so
 * that a probe touches a value only when it is almost certainly the right one. */
#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include "base/num.h"
#include "base/secret.h"

enum { CAP_MIN = 8 };

/* The key is the one piece of state of the whole process here: written once, before anything is hashed, and the
 * same for every map so that a hash may be handed from thread to thread. */
static pthread_once_t hash_once = PTHREAD_ONCE_INIT;
static uint64_t hash_key[2];

static void
hash_init(void)
{
	random_bytes(hash_key, sizeof hash_key);
}

static inline uint64_t
rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t
map_siphash13(const uint64_t key[2], struct slice s)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
		key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u };
	uint64_t word, last = (uint64_t)s.n << 56;
	size_t i = 0;

	for (; s.n - i >= 8; i += 8) {
		memcpy(&word, s.p + i, sizeof word);
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
	}
	for (unsigned shift = 0; i < s.n; i++, shift += 8)
		last |= (uint64_t)s.p[i] << shift;
	v[3] ^= last;
	sip_round(v);
	v[0] ^= last;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

const uint64_t *
map_hash_key(void)
{
	(void)pthread_once(&hash_once, hash_init);
	return hash_key;
}

uint64_t
map_hash(struct slice s)
{
	return map_siphash13(map_hash_key(), s);
}

/* Marks a slot whose value was taken out of the middle of a probe sequence. */
static char tomb_mark;
#define TOMB ((void *)&tomb_mark)

void
map_init(struct map *m, map_key *key)
{
	*m = (struct map){ .key = key };
}

void
map_done(struct map *m)
{
	free(m->slots);
	*m = (struct map){ .key = m->key };
}

static void
place(struct map *m, void *value, uint32_t hash)
{
	size_t i = hash & (m->cap - 1);

	while (m->slots[i] != NULL)
		i = (i + 1) & (m->cap - 1);
	m->slots[i] = value;
	m->hashes[i] = hash;
}

/* Move everything to a table with room for <want> values at no more than half full, and no tombstones. */
static bool
resize(struct map *m, size_t want)
{
	struct map to = { .key = m->key, .count = m->count, .cap = CAP_MIN };
	size_t bytes;

	while (to.cap / 2 < want)
		if (!num_mul(to.cap, (size_t)2, &to.cap))
			return false;
	if (to.cap > UINT32_MAX || !num_mul(to.cap, sizeof(void *) + sizeof(uint32_t), &bytes))
		return false;
	to.slots = calloc(1, bytes);
	if (to.slots == NULL)
		return false;
	to.hashes = (uint32_t *)(void *)(to.slots + to.cap);
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i] != NULL && m->slots[i] != TOMB)
			place(&to, m->slots[i], m->hashes[i]);
	free(m->slots);
	*m = to;
	return true;
}

/* Where the value with <key> is; m->cap when nowhere. */
static size_t
find(const struct map *m, struct slice key)
{
	uint32_t hash;
	size_t i;

	if (m->count == 0)
		return m->cap;
	hash = (uint32_t)map_hash(key);
	i = hash & (m->cap - 1);
	for (; m->slots[i] != NULL; i = (i + 1) & (m->cap - 1))
		if (m->hashes[i] == hash && m->slots[i] != TOMB && slice_eq(m->key(m->slots[i]), key))
			return i;
	return m->cap;
}

void *
map_get(const struct map *m, struct slice key)
{
	size_t i = find(m, key);

	return i < m->cap ? m->slots[i] : NULL;
}

bool
map_put(struct map *m, void *value)
{
	bool full = (m->count + m->tombs + 1) * 4 > m->cap * 3;
	bool sparse = m->cap > CAP_MIN && (m->count + 1) * 8 <= m->cap;

	/* A table that cannot be made smaller is still a good table. */
	if ((full || sparse) && !resize(m, m->count + 1) && full)
		return false;
	place(m, value, (uint32_t)map_hash(m->key(value)));
	m->count++;
	return true;
}

void *
map_del(struct map *m, struct slice key)
{
	size_t mask = m->cap - 1, i = find(m, key);
	void *value;

	if (i >= m->cap)
		return NULL;
	value = m->slots[i];
	m->count--;
	/* The table never moves here, since a walk may be going on; but an empty one has nothing left to walk. */
	if (m->count == 0) {
		map_done(m);
		return value;
	}
	m->slots[i] = TOMB;
	m->tombs++;
	/* At the end of a probe sequence there is nothing to bridge. */
	for (; m->slots[i] == TOMB && m->slots[(i + 1) & mask] == NULL; i = (i - 1) & mask) {
		m->slots[i] = NULL;
		m->tombs--;
	}
	return value;
}

void
map_trim(struct map *m)
{
	if (m->cap > CAP_MIN && (m->count + 1) * 8 <= m->cap)
		(void)resize(m, m->count); /* without memory for it the table stays as it is */
}

void *
map_next(const struct map *m, size_t *pos)
{
	while (*pos < m->cap) {
		void *value = m->slots[(*pos)++];

		if (value != NULL && value != TOMB)
			return value;
	}
	return NULL;
}
