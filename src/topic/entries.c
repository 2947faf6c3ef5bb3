/* The subscriptions at one node: one in place, a few in an array, many in an array with an
 * index. */
#include <stdlib.h>
#include "topic/internal.h"

/* Behind <e>, from INDEX_FROM entries on: an index by who, 2 * (cap + 1) numbers, each an
 * entry's place plus one or 0. Without it a topic that all clients subscribe to would cost the
 * square of their number. */
struct entries {
	uint32_t cap; /* 3, 7, 15, ...: exactly fills what malloc() gives */
	uint32_t unused;
	struct trie_entry e[];
};

enum { CAP_FIRST = 3, INDEX_FROM = 63 };

_Static_assert(sizeof(struct trie_entry) <= 24, "an entry is small");

static uint32_t *
index_of(struct entries *m)
{
	return m->cap >= INDEX_FROM ? (uint32_t *)(void *)(m->e + m->cap) : NULL;
}

static uint32_t
index_mask(const struct entries *m)
{
	return 2 * (m->cap + 1) - 1;
}

/* Addresses are not chosen by clients, so a plain mix is enough. */
static uint32_t
who_hash(const void *who)
{
	return (uint32_t)(((uint64_t)(uintptr_t)who >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/* The place in the index where <who> is, or the empty one where it would be. */
static uint32_t
index_find(struct entries *m, const void *who)
{
	const uint32_t *index = index_of(m), mask = index_mask(m);
	uint32_t i = who_hash(who) & mask;

	while (index[i] != 0 && m->e[index[i] - 1].who != who)
		i = (i + 1) & mask;
	return i;
}

static void
index_clear(struct entries *m, uint32_t hole)
{
	uint32_t *index = index_of(m), mask = index_mask(m);

	for (uint32_t i = (hole + 1) & mask; index[i] != 0; i = (i + 1) & mask) {
		uint32_t home = who_hash(m->e[index[i] - 1].who) & mask;

		if (((i - home) & mask) >= ((i - hole) & mask)) {
			index[hole] = index[i];
			hole = i;
		}
	}
	index[hole] = 0;
}

struct trie_entry *
entries_all(struct trie_node *n)
{
	return n->n > 1 ? n->u.many->e : &n->u.one;
}

struct trie_entry *
entries_find(struct trie_node *n, const void *who)
{
	struct trie_entry *e = entries_all(n);

	if (n->n > 1 && index_of(n->u.many) != NULL) {
		uint32_t at = index_of(n->u.many)[index_find(n->u.many, who)];

		return at != 0 ? e + (at - 1) : NULL;
	}
	for (uint32_t i = 0; i < n->n; i++)
		if (e[i].who == who)
			return e + i;
	return NULL;
}

/* Give the node an array for <cap> entries. */
static bool
resize(struct trie_node *n, uint32_t cap)
{
	size_t index = cap >= INDEX_FROM ? 2 * ((size_t)cap + 1) * sizeof(uint32_t) : 0;
	struct entries *m = malloc(sizeof *m + cap * sizeof m->e[0] + index);

	if (m == NULL)
		return false;
	m->cap = cap;
	m->unused = 0;
	memcpy(m->e, entries_all(n), n->n * sizeof m->e[0]);
	if (index != 0) {
		memset(index_of(m), 0, index);
		for (uint32_t i = 0; i < n->n; i++)
			index_of(m)[index_find(m, m->e[i].who)] = i + 1;
	}
	if (n->n > 1)
		free(n->u.many);
	n->u.many = m;
	return true;
}

bool
entries_add(struct trie_node *n, const struct trie_entry *e)
{
	struct entries *m;

	if (n->n == 0) {
		n->u.one = *e;
		n->n = 1;
		return true;
	}
	if (n->n == 1 && !resize(n, CAP_FIRST))
		return false;
	if (n->n > 1 && n->n == n->u.many->cap) {
		if (n->n > UINT32_MAX / 8 || !resize(n, 2 * n->n + 1))
			return false;
	}
	m = n->u.many;
	m->e[n->n++] = *e;
	if (index_of(m) != NULL)
		index_of(m)[index_find(m, e->who)] = n->n;
	return true;
}

void
entries_del(struct trie_node *n, struct trie_entry *e)
{
	struct entries *m = n->u.many;
	uint32_t at, last = n->n - 1;

	if (n->n == 1) {
		n->n = 0;
		return;
	}
	/* The last one takes its place. */
	at = (uint32_t)(e - m->e);
	if (index_of(m) != NULL) {
		index_clear(m, index_find(m, e->who));
		if (at != last)
			index_of(m)[index_find(m, m->e[last].who)] = at + 1;
	}
	m->e[at] = m->e[last];
	n->n = last;
	if (n->n == 1) {
		n->u.one = m->e[0];
		free(m);
	} else if (m->cap > CAP_FIRST && n->n <= m->cap / 4) {
		(void)resize(n, m->cap / 2); /* if there is no memory, the larger array serves */
	}
}

void
entries_done(struct trie_node *n)
{
	if (n->n > 1)
		free(n->u.many);
	n->n = 0;
}
