/* Fuzz target: two filters and a name, one a line. All that says something about them must say
 * the same. */
#include "base/assert.h"
#include "topic/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
on_hit(void *ctx, const struct trie_entry *e)
{
	unsigned *hits = ctx;

	*hits |= e->id;
}

/* Put both filters into a tree, ask it, take them out. */
static void
check_trie(struct slice a, struct slice b, struct slice name, unsigned expected)
{
	struct trie *t = trie_new();
	struct trie_entry ea = { .who = &ea, .id = 1 }, eb = { .who = &eb, .id = 2 };
	struct trie_node *na, *nb;
	unsigned hits = 0;
	uint8_t text[64];

	ASSERT(t != NULL);
	ASSERT(trie_put(t, a, &ea, &na) == TRIE_ADDED && trie_put(t, b, &eb, &nb) == TRIE_ADDED);
	ASSERT((na == nb) == slice_eq(a, b));
	ASSERT(trie_find(t, a) == na && trie_find(t, b) == nb);
	ASSERT(trie_filter(na, text, sizeof text) == a.n);
	ASSERT(a.n > sizeof text || memcmp(text, a.p, a.n) == 0);
	if (name.n > 0) {
		trie_match(t, name, on_hit, &hits);
		ASSERT(hits == expected);
	}
	ASSERT(trie_del(t, na, &ea));
	ASSERT(trie_find(t, b) == nb);
	hits = 0;
	trie_match(t, name, on_hit, &hits);
	ASSERT(hits == (expected & 2));
	ASSERT(trie_del(t, nb, &eb) && trie_count(t) == 0);
	trie_free(t);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of(data, size), a, b, name, x, y;
	bool more, ma, mb;

	a = slice_cut(&rest, '\n', &more);
	b = slice_cut(&rest, '\n', &more);
	name = rest;
	if (topic_share_split(a, &x, &y) == TOPIC_SHARE_YES)
		ASSERT(x.n > 0 && topic_filter_ok(y) && x.n + y.n + 8 == a.n);
	if (!topic_filter_ok(a) || !topic_filter_ok(b))
		return 0;
	ASSERT(topic_name_ok(a) == !topic_has_wildcard(a));
	ASSERT(topic_covers(a, a) && topic_overlaps(a, a));
	ASSERT(topic_overlaps(a, b) == topic_overlaps(b, a));
	ASSERT(!topic_covers(a, b) || topic_overlaps(a, b));
	if (!topic_name_ok(name))
		return 0;
	ma = topic_matches(a, name);
	mb = topic_matches(b, name);
	ASSERT(!(ma && mb) || topic_overlaps(a, b));
	ASSERT(!mb || ma || !topic_covers(a, b));
	ASSERT(ma == topic_overlaps(a, name) && ma == topic_covers(a, name));
	check_trie(a, b, name, (ma ? 1u : 0) | (mb ? 2u : 0));
	return 0;
}
