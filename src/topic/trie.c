/* The tree of subscriptions: who wants what, and who gets this PUBLISH. */
#include <stdlib.h>
#include "base/assert.h"
#include "base/map.h"
#include "base/num.h"
#include "topic/internal.h"

struct level;

/* A node of the tree, as opposed to the table of exact filters. '#' nodes end here: they have
 * no children. */
struct tail {
	struct level *parent;
	struct trie_node node;
};

struct level {
	struct level *plus;
	struct tail *hash;
	uint32_t children; /* with text; they are in <levels> of the trie */
	struct tail tail;
};

struct trie {
	struct table exact, levels;
	struct level *root;
	uint64_t generation;
	size_t count;
};

static struct tail *
tail_of(struct trie_node *n)
{
	return (struct tail *)(void *)((uint8_t *)n - offsetof(struct tail, node));
}

static struct level *
level_of(struct trie_node *n)
{
	return (struct level *)(void *)((uint8_t *)n - offsetof(struct level, tail.node));
}

/* A node with <before> bytes of other members in front of it. */
static struct trie_node *
node_new(size_t before, enum node_kind kind, struct slice text)
{
	/* Short texts lie in what would be padding. */
	size_t size = before + NUM_MAX(sizeof(struct trie_node), NODE_TEXT_AT + text.n);
	uint8_t *p = malloc(size);
	struct trie_node *n;

	ASSERT(text.n <= UINT16_MAX);
	if (p == NULL)
		return NULL;
	memset(p, 0, before + sizeof *n);
	n = (struct trie_node *)(void *)(p + before);
	n->kind = (uint8_t)kind;
	n->text_n = (uint16_t)text.n;
	if (text.n > 0)
		memcpy(node_text(n), text.p, text.n);
	return n;
}

static struct slice
text_of(const struct trie_node *n)
{
	return slice_of(node_text(n), n->text_n);
}

struct trie *
trie_new(void)
{
	struct trie *t = calloc(1, sizeof *t);
	struct trie_node *root = node_new(offsetof(struct level, tail.node), NODE_ROOT, SL(""));

	if (t == NULL || root == NULL || !table_init(&t->exact) || !table_init(&t->levels)) {
		if (t != NULL) {
			table_done(&t->exact);
			table_done(&t->levels);
		}
		if (root != NULL)
			free(level_of(root));
		free(t);
		return NULL;
	}
	t->root = level_of(root);
	return t;
}

/* Free <l> and the '+' and '#' nodes that hang on it without text between. */
static void
chain_free(struct level *l)
{
	while (l != NULL) {
		struct level *plus = l->plus;

		if (l->hash != NULL)
			entries_done(&l->hash->node);
		free(l->hash);
		entries_done(&l->tail.node);
		free(l);
		l = plus;
	}
}

void
trie_free(struct trie *t)
{
	struct trie_node *n;

	if (t == NULL)
		return;
	for (size_t pos = 0; (n = table_next(&t->exact, &pos)) != NULL;) {
		entries_done(n);
		free(n);
	}
	/* Each '+' and '#' node hangs, through others, on the root or on one node with text. */
	for (size_t pos = 0; (n = table_next(&t->levels, &pos)) != NULL;)
		chain_free(level_of(n));
	chain_free(t->root);
	table_done(&t->exact);
	table_done(&t->levels);
	free(t);
}

/* ---- one step ---- */

static bool
exact_eq(const struct trie_node *n, const void *key)
{
	return slice_eq(text_of(n), *(const struct slice *)key);
}

struct child_key {
	const struct level *parent;
	struct slice text;
};

static bool
child_eq(const struct trie_node *n, const void *key)
{
	const struct child_key *k = key;
	const struct tail *tail = (const void *)((const uint8_t *)n - offsetof(struct tail, node));

	return tail->parent == k->parent && slice_eq(text_of(n), k->text);
}

/* map_hash() is keyed, so outsiders choose neither of the two parts. The parent has to reach
 * all bits: many parents have a child of the same name. */
static uint64_t
child_hash(const struct level *parent, uint64_t text_hash)
{
	uint64_t x = (text_hash ^ (uintptr_t)parent >> 4) * UINT64_C(0x9e3779b97f4a7c15);

	return (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
}

static struct level *
child_get(const struct trie *t, const struct level *parent, struct slice text, uint64_t text_hash)
{
	struct child_key key = { parent, text };
	struct trie_node *n = table_get(&t->levels, child_hash(parent, text_hash), child_eq, &key);

	return n != NULL ? level_of(n) : NULL;
}

static enum node_kind
kind_of(struct slice text)
{
	if (text.n != 1)
		return NODE_TEXT;
	return text.p[0] == '+' ? NODE_PLUS : text.p[0] == '#' ? NODE_HASH : NODE_TEXT;
}

/* The node for level <text> of a filter below <parent>, or NULL. */
static struct trie_node *
step(const struct trie *t, const struct level *parent, struct slice text)
{
	enum node_kind kind = kind_of(text);
	struct level *l;

	if (kind == NODE_HASH)
		return parent->hash != NULL ? &parent->hash->node : NULL;
	if (kind == NODE_PLUS)
		l = parent->plus;
	else
		l = parent->children > 0 ? child_get(t, parent, text, map_hash(text)) : NULL;
	return l != NULL ? &l->tail.node : NULL;
}

/* The same, made now. NULL: out of memory, nothing changed. */
static struct trie_node *
step_new(struct trie *t, struct level *parent, struct slice text)
{
	enum node_kind kind = kind_of(text);
	size_t before =
	    kind == NODE_HASH ? offsetof(struct tail, node) : offsetof(struct level, tail.node);
	struct trie_node *n;

	if (kind == NODE_TEXT && !table_room(&t->levels))
		return NULL;
	n = node_new(before, kind, kind == NODE_TEXT ? text : SL(""));
	if (n == NULL)
		return NULL;
	tail_of(n)->parent = parent;
	if (kind == NODE_HASH) {
		parent->hash = tail_of(n);
	} else if (kind == NODE_PLUS) {
		parent->plus = level_of(n);
	} else {
		table_add(&t->levels, n, child_hash(parent, map_hash(text)));
		parent->children++;
	}
	return n;
}

/* ---- put, find, delete ---- */

/* Remove <n> and its parents as far as they serve nobody. */
static void
prune(struct trie *t, struct trie_node *n)
{
	while (n->kind != NODE_ROOT && n->n == 0) {
		struct level *parent = tail_of(n)->parent;

		if (n->kind == NODE_HASH) {
			parent->hash = NULL;
			free(tail_of(n));
		} else {
			struct level *l = level_of(n);

			if (l->plus != NULL || l->hash != NULL || l->children > 0)
				return;
			if (n->kind == NODE_PLUS) {
				parent->plus = NULL;
			} else {
				table_del(&t->levels, n);
				parent->children--;
			}
			free(l);
		}
		n = &parent->tail.node;
	}
}

static struct trie_node *
put_exact(struct trie *t, struct slice filter)
{
	uint64_t hash = map_hash(filter);
	struct trie_node *n = table_get(&t->exact, hash, exact_eq, &filter);

	if (n != NULL)
		return n;
	if (!table_room(&t->exact) || (n = node_new(0, NODE_EXACT, filter)) == NULL)
		return NULL;
	table_add(&t->exact, n, hash);
	return n;
}

static struct trie_node *
put_wild(struct trie *t, struct slice filter)
{
	struct trie_node *n = &t->root->tail.node;
	unsigned depth = 0;
	bool more = true;

	while (more) {
		struct slice text = slice_cut(&filter, '/', &more);
		struct level *parent = level_of(n);
		struct trie_node *next;

		/* The caller has asked topic_filter_ok(); match_below() relies on it. */
		ASSERT(n->kind != NODE_HASH && ++depth <= TOPIC_LEVELS_MAX);
		next = step(t, parent, text);
		if (next == NULL && (next = step_new(t, parent, text)) == NULL) {
			prune(t, n);
			return NULL;
		}
		n = next;
	}
	return n;
}

static void
node_drop(struct trie *t, struct trie_node *n)
{
	if (n->kind != NODE_EXACT) {
		prune(t, n);
		return;
	}
	table_del(&t->exact, n);
	free(n);
}

enum trie_put
trie_put(
    struct trie *t, struct slice filter, const struct trie_entry *e, struct trie_node **ret_node)
{
	struct trie_node *n =
	    topic_has_wildcard(filter) ? put_wild(t, filter) : put_exact(t, filter);
	struct trie_entry *old;

	if (n == NULL)
		return TRIE_NOMEM;
	old = entries_find(n, e->who);
	if (old != NULL) {
		*old = *e;
	} else if (entries_add(n, e)) {
		t->count++;
	} else {
		return TRIE_NOMEM; /* not the first entry here, which is kept in place: <n> stays */
	}
	t->generation++;
	*ret_node = n;
	return old != NULL ? TRIE_REPLACED : TRIE_ADDED;
}

struct trie_node *
trie_find(const struct trie *t, struct slice filter)
{
	struct trie_node *n = &t->root->tail.node;
	bool more = true;

	if (!topic_has_wildcard(filter))
		return table_get(&t->exact, map_hash(filter), exact_eq, &filter);
	while (more) {
		/* Only a filter that is not ok goes on behind '#'; nothing ends there. */
		if (n->kind == NODE_HASH)
			return NULL;
		n = step(t, level_of(n), slice_cut(&filter, '/', &more));
		if (n == NULL)
			return NULL;
	}
	return n->n > 0 ? n : NULL;
}

struct trie_entry *
trie_entry_of(struct trie_node *n, const void *who)
{
	return entries_find(n, who);
}

bool
trie_del(struct trie *t, struct trie_node *n, const void *who)
{
	struct trie_entry *e = entries_find(n, who);

	if (e == NULL)
		return false;
	entries_del(n, e);
	t->count--;
	t->generation++;
	if (n->n == 0)
		node_drop(t, n);
	return true;
}

static struct slice
level_text(const struct trie_node *n)
{
	return n->kind == NODE_PLUS ? SL("+") : n->kind == NODE_HASH ? SL("#") : text_of(n);
}

static const struct trie_node *
parent_of(const struct trie_node *n)
{
	const struct tail *tail = (const void *)((const uint8_t *)n - offsetof(struct tail, node));

	return &tail->parent->tail.node;
}

size_t
trie_filter(const struct trie_node *n, uint8_t *out, size_t cap)
{
	size_t size = 0, at;

	if (n->kind == NODE_EXACT) {
		if (n->text_n <= cap)
			memcpy(out, node_text(n), n->text_n);
		return n->text_n;
	}
	for (const struct trie_node *p = n; p->kind != NODE_ROOT; p = parent_of(p))
		size += level_text(p).n + (p != n);
	at = size;
	if (size > cap)
		return size;
	for (const struct trie_node *p = n; p->kind != NODE_ROOT; p = parent_of(p)) {
		struct slice text = level_text(p);

		if (p != n)
			out[--at] = '/';
		at -= text.n;
		if (text.n > 0)
			memcpy(out + at, text.p, text.n);
	}
	return size;
}

/* ---- match ---- */

struct match {
	const struct trie *t;
	trie_hit *hit;
	void *ctx;
	struct slice rest; /* of the name, not split yet */
	bool more, dollar;
	unsigned n; /* levels split so far: no more than the tree is deep */
	struct slice text[TOPIC_LEVELS_MAX];
	uint64_t hash[TOPIC_LEVELS_MAX];
};

static void
report(const struct match *m, struct trie_node *n)
{
	const struct trie_entry *e = entries_all(n);

	for (uint32_t i = 0; i < n->n; i++)
		m->hit(m->ctx, e + i);
}

/* Has the name no more than <depth> levels? <depth> is at most one beyond what was split. */
static bool
ends_at(const struct match *m, unsigned depth)
{
	return depth == m->n && !m->more;
}

/* Is there a level <depth> in the name? Split it off if that was not done yet. */
static bool
has_level(struct match *m, unsigned depth)
{
	if (depth < m->n)
		return true;
	if (!m->more)
		return false;
	m->text[depth] = slice_cut(&m->rest, '/', &m->more);
	m->hash[depth] = map_hash(m->text[depth]);
	m->n++;
	return true;
}

/* <l> matches the first <depth> levels of the name. Goes no deeper than the tree, that is
 * TOPIC_LEVELS_MAX. */
static void
match_below(struct match *m, struct level *l, unsigned depth)
{
	bool wild_ok = depth > 0 || !m->dollar; /* [MQTT-4.7.2-1] */
	struct level *child;

	/* The level itself, its parent, and everything below (4.7.1.2). */
	if (l->hash != NULL && wild_ok)
		report(m, &l->hash->node);
	if (l->plus == NULL && l->children == 0) {
		if (ends_at(m, depth))
			report(m, &l->tail.node);
		return;
	}
	if (!has_level(m, depth)) {
		report(m, &l->tail.node);
		return;
	}
	if (l->plus != NULL && wild_ok)
		match_below(m, l->plus, depth + 1);
	if (l->children == 0)
		return;
	child = child_get(m->t, l, m->text[depth], m->hash[depth]);
	if (child != NULL)
		match_below(m, child, depth + 1);
}

static void
match_wild(const struct trie *t, struct slice name, trie_hit *hit, void *ctx)
{
	struct match m; /* five kilobytes: not cleared */

	m.t = t;
	m.hit = hit;
	m.ctx = ctx;
	m.rest = name;
	m.more = true;
	m.dollar = name.n > 0 && name.p[0] == '$';
	m.n = 0;
	match_below(&m, t->root, 0);
}

void
trie_match(const struct trie *t, struct slice name, trie_hit *hit, void *ctx)
{
	const struct level *root = t->root;
	struct trie_node *n = NULL;

	if (t->exact.count > 0)
		n = table_get(&t->exact, map_hash(name), exact_eq, &name);
	if (n != NULL) {
		const struct trie_entry *e = entries_all(n);

		for (uint32_t i = 0; i < n->n; i++)
			hit(ctx, e + i);
	}
	if (root->plus != NULL || root->hash != NULL || root->children > 0)
		match_wild(t, name, hit, ctx);
}

uint64_t
trie_generation(const struct trie *t)
{
	return t->generation;
}

size_t
trie_count(const struct trie *t)
{
	return t->count;
}
