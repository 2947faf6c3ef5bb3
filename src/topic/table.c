/* Nodes by hash: the table under the tree of subscriptions. */
#include <stdlib.h>
#include "base/assert.h"
#include "topic/internal.h"

enum {
	SLOTS_MIN = 16,
	/* With each change at most so many nodes are moved, or so many slots looked at. Growing
	 * by two needs two slots a change to be done before the next time; shrinking by four
	 * needs all sixteen. */
	MOVE_NODES = 4,
	MOVE_SLOTS = 16,
};

bool
table_init(struct table *t)
{
	*t = (struct table){ .mask = SLOTS_MIN - 1 };
	t->slots = calloc(SLOTS_MIN, sizeof *t->slots);
	return t->slots != NULL;
}

void
table_done(struct table *t)
{
	free(t->slots);
	free(t->old);
	*t = (struct table){ 0 };
}

static void
slot_put(struct table *t, uint64_t slot, uint32_t hash)
{
	size_t i = hash & t->mask;

	while (t->slots[i] != 0)
		i = (i + 1) & t->mask;
	t->slots[i] = slot;
}

/* Go on moving from <old>. */
static void
move_some(struct table *t)
{
	unsigned nodes = 0, slots = 0;

	if (t->old == NULL)
		return;
	for (; t->moved <= t->old_mask && nodes < MOVE_NODES && slots < MOVE_SLOTS;
	     t->moved++, slots++) {
		uint64_t slot = t->old[t->moved];

		if (slot == 0 || slot == SLOT_GONE)
			continue;
		/* Not emptied: the nodes behind it must still be found. */
		t->old[t->moved] = SLOT_GONE;
		slot_put(t, slot, slot_node(slot)->hash);
		nodes++;
	}
	if (t->moved > t->old_mask) {
		free(t->old);
		t->old = NULL;
	}
}

static bool
resize(struct table *t, size_t slots)
{
	uint64_t *fresh;

	while (t->old != NULL)
		move_some(t);
	if (slots > (size_t)UINT32_MAX + 1 || (fresh = calloc(slots, sizeof *fresh)) == NULL)
		return false;
	t->old = t->slots;
	t->old_mask = t->mask;
	t->moved = 0;
	t->slots = fresh;
	t->mask = slots - 1;
	return true;
}

bool
table_room(struct table *t)
{
	size_t slots = t->mask + 1;

	return t->count + 1 <= slots - slots / 4 || resize(t, slots * 2);
}

void
table_add(struct table *t, struct trie_node *n, uint64_t hash)
{
	uint64_t address = (uintptr_t)n;

	ASSERT(address >> SLOT_ADDRESS_BITS == 0);
	n->hash = (uint32_t)hash;
	slot_put(t, hash >> SLOT_ADDRESS_BITS << SLOT_ADDRESS_BITS | address, n->hash);
	t->count++;
	move_some(t);
}

/* The slot of <n> in <slots>, or SIZE_MAX. */
static size_t
slot_of(const uint64_t *slots, size_t mask, const struct trie_node *n)
{
	for (size_t i = n->hash & mask; slots[i] != 0; i = (i + 1) & mask)
		if (slots[i] != SLOT_GONE && slot_node(slots[i]) == n)
			return i;
	return SIZE_MAX;
}

/* Empty slot <hole> and close the gap, so that no search meets an empty slot too early. */
static void
slot_clear(struct table *t, size_t hole)
{
	for (size_t i = (hole + 1) & t->mask; t->slots[i] != 0; i = (i + 1) & t->mask) {
		size_t home = slot_node(t->slots[i])->hash & t->mask;

		/* May move back only if its home is not between the hole and itself. */
		if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
			t->slots[hole] = t->slots[i];
			hole = i;
		}
	}
	t->slots[hole] = 0;
}

void
table_del(struct table *t, struct trie_node *n)
{
	size_t i = slot_of(t->slots, t->mask, n);

	if (i != SIZE_MAX) {
		slot_clear(t, i);
	} else {
		ASSERT(t->old != NULL);
		i = slot_of(t->old, t->old_mask, n);
		ASSERT(i != SIZE_MAX);
		t->old[i] = SLOT_GONE;
	}
	t->count--;
	move_some(t);
	/* If there is no memory for a smaller table, the larger one serves. */
	if (t->old == NULL && t->mask >= SLOTS_MIN * 4 && t->count < (t->mask + 1) / 8)
		(void)resize(t, (t->mask + 1) / 4);
}

struct trie_node *
table_next(const struct table *t, size_t *pos)
{
	size_t both = t->mask + 1 + (t->old != NULL ? t->old_mask + 1 : 0);

	while (*pos < both) {
		size_t i = (*pos)++;
		uint64_t slot = i <= t->mask || t->old == NULL ? t->slots[i & t->mask] : t->old[i - t->mask - 1];

		if (slot != 0 && slot != SLOT_GONE)
			return slot_node(slot);
	}
	return NULL;
}
