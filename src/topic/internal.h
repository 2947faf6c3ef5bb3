/* The inside of the tree of subscriptions. Private to topic/.
 *
 * Filters without wildcards are most of a broker's filters and need no tree: each is one node
 * in a hash table by its whole text, so that a PUBLISH finds it with one look. Filters with
 * wildcards are a tree of levels; '+' and '#' children are pointers, children with text are in
 * a second table by (parent, level). */
#ifndef TOPIC_INTERNAL_H
#define TOPIC_INTERNAL_H

#include "topic/topic.h"

enum node_kind { NODE_EXACT, NODE_ROOT, NODE_TEXT, NODE_PLUS, NODE_HASH };

struct entries;

/* Common to all nodes. One entry is kept in place, more than one behind <many>. The text begins
 * right behind <kind>, in what would be padding: see node_text(). */
struct trie_node {
	uint32_t hash; /* place in its table */
	uint32_t n;    /* entries */
	union {
		struct trie_entry one;
		struct entries *many;
	} u;
	uint16_t text_n;
	uint8_t kind;
};

enum { NODE_TEXT_AT = offsetof(struct trie_node, kind) + 1 };

static inline uint8_t *
node_text(const struct trie_node *n)
{
	return (uint8_t *)(uintptr_t)n + NODE_TEXT_AT;
}

/* ---- entries.c: the subscriptions at one node ---- */

struct trie_entry *entries_all(struct trie_node *n);
struct trie_entry *entries_find(struct trie_node *n, const void *who);
/* <e->who> must not be there yet. False: out of memory, nothing changed. */
bool entries_add(struct trie_node *n, const struct trie_entry *e);
void entries_del(struct trie_node *n, struct trie_entry *e);
void entries_done(struct trie_node *n);

/* ---- table.c: nodes by hash ---- */

/* Open addressing. A slot is the node's address with 16 bits of its hash on top, so that a look
 * at a wrong node is rare. Growing and shrinking move a few slots with each change, from <old>
 * to <slots>: no change ever waits for a million. */
struct table {
	uint64_t *slots, *old;
	size_t mask, old_mask;
	size_t moved; /* slots of <old> that were dealt with */
	size_t count;
};

/* Linux gives out no address above 48 bits unless asked to. table_add() checks. */
enum { SLOT_ADDRESS_BITS = 48 };
#define SLOT_GONE UINT64_C(1)

static inline struct trie_node *
slot_node(uint64_t slot)
{
	return (struct trie_node *)(uintptr_t)(slot & ((UINT64_C(1) << SLOT_ADDRESS_BITS) - 1));
}

typedef bool table_eq(const struct trie_node *n, const void *key);

/* Inline so that <eq> is too. */
static inline struct trie_node *
table_get(const struct table *t, uint64_t hash, table_eq *eq, const void *key)
{
	uint64_t tag = hash >> SLOT_ADDRESS_BITS, slot;

	for (size_t i = (uint32_t)hash & t->mask; (slot = t->slots[i]) != 0; i = (i + 1) & t->mask)
		if (slot >> SLOT_ADDRESS_BITS == tag && eq(slot_node(slot), key))
			return slot_node(slot);
	if (__builtin_expect(t->old == NULL, 1))
		return NULL;
	for (size_t i = (uint32_t)hash & t->old_mask; (slot = t->old[i]) != 0;
	     i = (i + 1) & t->old_mask)
		if (slot != SLOT_GONE && slot >> SLOT_ADDRESS_BITS == tag &&
		    eq(slot_node(slot), key))
			return slot_node(slot);
	return NULL;
}

bool table_init(struct table *t);
void table_done(struct table *t);
/* Make sure of room for one more. False: out of memory. */
bool table_room(struct table *t);
/* After table_room(). Sets n->hash. */
void table_add(struct table *t, struct trie_node *n, uint64_t hash);
void table_del(struct table *t, struct trie_node *n);
/* Walk; start with *pos = 0, NULL at the end. Nothing may change meanwhile, but nodes that were
 * returned may be freed. */
struct trie_node *table_next(const struct table *t, size_t *pos);

#endif
