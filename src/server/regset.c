/* Open addressing with two words a slot. A slot gets its name once and never another; what changes is how it stands, in the low bits of the
 * word that is written last and read first. */
#include "server/regset.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/num.h"
#include "base/secret.h"

enum { STATE_BITS = 3, ROOM_MIN = 4096 };
static const uint64_t STATE_MASK = (1 << STATE_BITS) - 1;
_Static_assert(REGSET_STATES <= 1 << STATE_BITS, "a state fits below the hash");

struct slot {
	_Atomic uint64_t a; /* hash, with the state in its low bits; 0: free */
	_Atomic uint64_t b;
};

struct regset {
	_Atomic uint32_t refs;
	uint64_t keys[2][2];
	size_t cap, used; /* used: slots that have a name; the writer's */
	_Atomic size_t count;
	struct slot slots[];
};

static struct regset *
set_new(size_t n, const uint64_t keys[2][2])
{
	size_t cap = NUM_MAX(n + n / 4, (size_t)ROOM_MIN) / 3 * 4;
	struct regset *s;

	if (n > REGSET_MAX || (s = calloc(1, sizeof(*s) + cap * sizeof(s->slots[0]))) == NULL)
		return NULL;
	atomic_init(&s->refs, 1);
	s->cap = cap;
	memcpy(s->keys, keys, sizeof(s->keys));
	return s;
}

struct regset *
regset_new(size_t n)
{
	uint64_t keys[2][2];

	random_bytes(keys, sizeof(keys));
	return set_new(n, (const uint64_t(*)[2])keys);
}

struct regset *
regset_ref(struct regset *s)
{
	(void)atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void
regset_unref(struct regset *s)
{
	if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
		free(s);
}

/* Where this name stands, or would stand: there is always a free slot. *ret_word: what is there, 0 if nothing. */
static size_t
find(const struct regset *s, uint64_t a, uint64_t b, uint64_t *ret_word)
{
	size_t i = (size_t)((a >> 32) * s->cap >> 32);

	for (;; i = i + 1 < s->cap ? i + 1 : 0) {
		const struct slot *slot = &s->slots[i];
		uint64_t word = atomic_load_explicit(&slot->a, memory_order_acquire);

		if (word != 0 && ((word ^ a) & ~STATE_MASK) != 0)
			continue;
		if (word != 0 && atomic_load_explicit(&slot->b, memory_order_relaxed) != b)
			continue;
		*ret_word = word;
		return i;
	}
}

bool
regset_has_room(const struct regset *s, size_t n)
{
	return s->used + n <= s->cap - s->cap / 8;
}

static bool
is_there(uint64_t state)
{
	return state != REGSET_NONE && state != REGSET_GONE;
}

static bool
put(struct regset *s, uint64_t a, uint64_t b, enum regset_state state)
{
	uint64_t word;
	struct slot *slot = &s->slots[find(s, a, b, &word)];

	if (word == 0) {
		if (!is_there(state))
			return true;
		if (!regset_has_room(s, 1))
			return false;
		s->used++;
		atomic_store_explicit(&slot->b, b, memory_order_relaxed);
	}
	if (is_there(state) != is_there(word & STATE_MASK))
		(void)atomic_fetch_add_explicit(&s->count, is_there(state) ? 1 : SIZE_MAX, memory_order_relaxed);
	atomic_store_explicit(&slot->a, (a & ~STATE_MASK) | (uint64_t)(state == REGSET_NONE ? REGSET_GONE : state), memory_order_release);
	return true;
}

bool
regset_put(struct regset *s, struct slice name, enum regset_state state)
{
	return put(s, map_siphash13(s->keys[0], name), map_siphash13(s->keys[1], name), state);
}

enum regset_state
regset_get(const struct regset *s, struct slice name)
{
	uint64_t word;

	(void)find(s, map_siphash13(s->keys[0], name), map_siphash13(s->keys[1], name), &word);
	return (enum regset_state)(word & STATE_MASK);
}

size_t
regset_count(const struct regset *s)
{
	return atomic_load_explicit(&s->count, memory_order_relaxed);
}

size_t
regset_bytes(const struct regset *s)
{
	return sizeof(*s) + s->cap * sizeof(s->slots[0]);
}

struct regset *
regset_grown(const struct regset *s)
{
	struct regset *to = set_new(NUM_MIN(2 * regset_count(s), (size_t)REGSET_MAX), s->keys);

	for (size_t i = 0; to != NULL && i < s->cap; i++) {
		uint64_t word = atomic_load_explicit(&s->slots[i].a, memory_order_relaxed);

		if (is_there(word & STATE_MASK) &&
		    !put(to, word, atomic_load_explicit(&s->slots[i].b, memory_order_relaxed), (enum regset_state)(word & STATE_MASK))) {
			regset_unref(to);
			return NULL;
		}
	}
	return to;
}
