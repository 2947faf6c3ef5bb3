/* Messages in the order of their topics: a tree that branches where topics differ, on half
 * bytes (a "qp-trie"). No call recurses; each costs at most the length of the topic. */
#include <stdlib.h>
#include "base/num.h"
#include "retain/internal.h"

/* All topics below are the same before half byte <at>; twig by twig in order. */
struct branch {
	uint32_t at;
	uint16_t map; /* which half bytes have a twig */
	twig twigs[];
};

static bool
is_branch(twig w)
{
	return (w & 1) != 0;
}

static struct branch *
branch_of(twig w)
{
	return (struct branch *)(w - 1);
}

static struct msg *
msg_of(twig w)
{
	return (struct msg *)w;
}

static size_t
branch_size(unsigned twigs)
{
	return sizeof(struct branch) + twigs * sizeof(twig);
}

static unsigned
half(struct slice topic, uint32_t at)
{
	size_t i = at / 2;
	unsigned rank = i < topic.n ? topic_rank(topic.p[i]) : 0;

	return at % 2 == 0 ? rank >> 4 : rank & 15;
}

/* GCC calls a function for the built-in one where the processor is not known to have an
 * instruction. */
static unsigned
bits(unsigned map)
{
	map -= map >> 1 & 0x5555;
	map = (map & 0x3333) + (map >> 2 & 0x3333);
	map = (map + (map >> 4)) & 0x0f0f;
	return (map + (map >> 8)) & 0x1f;
}

static unsigned
place(const struct branch *b, unsigned h)
{
	return bits(b->map & ((1u << h) - 1));
}

static bool
has(const struct branch *b, unsigned h)
{
	return (b->map >> h & 1) != 0;
}

static struct msg *
first_below(twig w)
{
	while (is_branch(w))
		w = branch_of(w)->twigs[0];
	return msg_of(w);
}

/* Of all topics one that has as much in common with <topic> as any. The tree is not empty. */
static struct msg *
nearest(const struct tree *t, struct slice topic)
{
	twig w = t->root;

	while (is_branch(w)) {
		const struct branch *b = branch_of(w);
		unsigned h = half(topic, b->at);

		w = b->twigs[has(b, h) ? place(b, h) : 0];
	}
	return msg_of(w);
}

/* The first half byte in which they differ; UINT32_MAX: none. */
static uint32_t
difference(struct slice a, struct slice b)
{
	size_t i = 0, n = NUM_MIN(a.n, b.n);

	while (i < n && a.p[i] == b.p[i])
		i++;
	if (i == n && a.n == b.n)
		return UINT32_MAX;
	return (uint32_t)(2 * i) + (half(a, (uint32_t)(2 * i)) == half(b, (uint32_t)(2 * i)));
}

struct msg *
tree_get(const struct tree *t, struct slice topic)
{
	twig w = t->root;

	while (is_branch(w)) {
		const struct branch *b = branch_of(w);
		unsigned h = half(topic, b->at);

		if (!has(b, h))
			return NULL;
		w = b->twigs[place(b, h)];
	}
	return w != 0 && slice_eq(msg_topic(msg_of(w)), topic) ? msg_of(w) : NULL;
}

/* Give the branch in <at> one more twig. */
static bool
grow(struct tree *t, twig *at, unsigned h, struct msg *m)
{
	struct branch *b = branch_of(*at);
	unsigned n = bits(b->map), i = place(b, h);

	b = realloc(b, branch_size(n + 1));
	if (b == NULL)
		return false;
	memmove(b->twigs + i + 1, b->twigs + i, (n - i) * sizeof(twig));
	b->twigs[i] = (twig)m;
	b->map = (uint16_t)(b->map | 1u << h);
	*at = (twig)b | 1;
	t->bytes += sizeof(twig);
	return true;
}

/* Put a branch between <at> and what hangs there, which has <old> at half byte <diff>. */
static bool
fork_at(struct tree *t, twig *at, uint32_t diff, unsigned old, struct msg *m)
{
	unsigned h = half(msg_topic(m), diff);
	struct branch *b = malloc(branch_size(2));

	if (b == NULL)
		return false;
	b->at = diff;
	b->map = (uint16_t)(1u << h | 1u << old);
	b->twigs[h > old] = (twig)m;
	b->twigs[h < old] = *at;
	*at = (twig)b | 1;
	t->bytes += branch_size(2);
	return true;
}

bool
tree_put(struct tree *t, struct msg *m, struct msg **ret_old)
{
	struct slice topic = msg_topic(m);
	struct msg *near = t->root != 0 ? nearest(t, topic) : NULL;
	uint32_t diff = near != NULL ? difference(topic, msg_topic(near)) : UINT32_MAX;
	twig *at = &t->root;

	while (is_branch(*at) && branch_of(*at)->at < diff) {
		struct branch *b = branch_of(*at);

		at = b->twigs + place(b, half(topic, b->at));
	}
	if (diff == UINT32_MAX) {
		*ret_old = near;
		*at = (twig)m;
		return true;
	}
	if (is_branch(*at) && branch_of(*at)->at == diff) {
		if (!grow(t, at, half(topic, diff), m))
			return false;
	} else if (!fork_at(t, at, diff, half(msg_topic(near), diff), m)) {
		return false;
	}
	*ret_old = NULL;
	return true;
}

/* Take twig <i> from the branch in <at>. */
static void
shrink(struct tree *t, twig *at, unsigned h)
{
	struct branch *b = branch_of(*at), *smaller;
	unsigned n = bits(b->map), i = place(b, h);

	if (n == 2) {
		*at = b->twigs[1 - i];
		t->bytes -= branch_size(2);
		free(b);
		return;
	}
	memmove(b->twigs + i, b->twigs + i + 1, (n - i - 1) * sizeof(twig));
	b->map = (uint16_t)(b->map & ~(1u << h));
	t->bytes -= sizeof(twig);
	smaller = realloc(b, branch_size(n - 1));
	if (smaller != NULL)
		*at = (twig)smaller | 1;
}

struct msg *
tree_del(struct tree *t, struct slice topic)
{
	twig *at = &t->root, *parent = NULL;
	unsigned h = 0;
	struct msg *m;

	while (is_branch(*at)) {
		struct branch *b = branch_of(*at);

		h = half(topic, b->at);
		if (!has(b, h))
			return NULL;
		parent = at;
		at = b->twigs + place(b, h);
	}
	if (*at == 0 || !slice_eq(msg_topic(msg_of(*at)), topic))
		return NULL;
	m = msg_of(*at);
	if (parent != NULL)
		shrink(t, parent, h);
	else
		t->root = 0;
	return m;
}

struct msg *
tree_from(const struct tree *t, struct slice from)
{
	struct msg *near = t->root != 0 ? nearest(t, from) : NULL;
	uint32_t diff = near != NULL ? difference(from, msg_topic(near)) : UINT32_MAX;
	twig w = t->root, after = 0; /* <after>: what follows the twigs that were taken */
	unsigned h;

	if (diff == UINT32_MAX)
		return near;
	while (is_branch(w) && branch_of(w)->at < diff) {
		const struct branch *b = branch_of(w);
		unsigned i = place(b, half(from, b->at));

		if (i + 1 < bits(b->map))
			after = b->twigs[i + 1];
		w = b->twigs[i];
	}
	h = half(from, diff);
	if (is_branch(w) && branch_of(w)->at == diff) {
		/* None of its twigs is <from>'s, or <near> would have more in common. */
		const struct branch *b = branch_of(w);
		unsigned i = place(b, h);

		w = i < bits(b->map) ? b->twigs[i] : after;
	} else if (half(msg_topic(near), diff) < h) {
		w = after;
	}
	return w != 0 ? first_below(w) : NULL;
}
