/* The tree of subscriptions against a plain list: random changes, every kind of filter, and no
 * memory at every place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/nomem_testkit.h"
#include "base/num.h"
#include "topic/topic.h"

/* ---- the model ---- */

enum { MODEL_MAX = 20000, FILTER_MAX = 24 };

struct sub {
	char filter[FILTER_MAX];
	struct trie_entry e;
	struct trie_node *node;
};

struct model {
	struct trie *t;
	unsigned n;
	struct sub subs[MODEL_MAX];
	/* what a match must report and what it did: sums that depend on each entry and on
	 * nothing else */
	uint64_t sum;
	unsigned hits;
};

static uint64_t
entry_sum(const struct trie_entry *e)
{
	uint64_t x =
	    (uintptr_t)e->who * 31 + e->id * 17 + e->options * 13u + e->kind * 7u + e->extra;

	x = (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return x ^ x >> 32;
}

static void
on_hit(void *ctx, const struct trie_entry *e)
{
	struct model *m = ctx;

	m->sum += entry_sum(e);
	m->hits++;
}

static void
check_match(struct model *m, const char *name)
{
	uint64_t sum = 0;
	unsigned hits = 0;

	for (unsigned i = 0; i < m->n; i++) {
		if (topic_matches(slice_str(m->subs[i].filter), slice_str(name))) {
			sum += entry_sum(&m->subs[i].e);
			hits++;
		}
	}
	m->sum = 0;
	m->hits = 0;
	trie_match(m->t, slice_str(name), on_hit, m);
	if (hits != m->hits || sum != m->sum)
		fail_msg("'%s': %u hits, should be %u", name, m->hits, hits);
}

static struct sub *
model_find(struct model *m, const char *filter, const void *who)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->subs[i].e.who == who && strcmp(m->subs[i].filter, filter) == 0)
			return &m->subs[i];
	return NULL;
}

static void
check_node(struct model *m, const struct sub *s)
{
	uint8_t text[FILTER_MAX];
	size_t n = strlen(s->filter);
	const struct trie_entry *e = trie_entry_of(s->node, s->e.who);

	assert_ptr_equal(trie_find(m->t, slice_str(s->filter)), s->node);
	assert_non_null(e);
	assert_int_equal(entry_sum(e), entry_sum(&s->e));
	text[0] = 0xee;
	assert_int_equal(trie_filter(s->node, text, n - 1), n);
	assert_int_equal(text[0], 0xee);
	assert_int_equal(trie_filter(s->node, text, sizeof text), n);
	assert_memory_equal(text, s->filter, n);
}

static void
model_put(struct model *m, const char *filter, const struct trie_entry *e)
{
	struct sub *s = model_find(m, filter, e->who);
	uint64_t generation = trie_generation(m->t);
	struct trie_node *node;

	assert_int_equal(
	    trie_put(m->t, slice_str(filter), e, &node), s != NULL ? TRIE_REPLACED : TRIE_ADDED);
	assert_int_not_equal(trie_generation(m->t), generation);
	if (s == NULL) {
		assert_true(m->n < MODEL_MAX);
		s = &m->subs[m->n++];
		(void)snprintf(s->filter, sizeof s->filter, "%s", filter);
	} else {
		assert_ptr_equal(s->node, node);
	}
	s->node = node;
	s->e = *e;
	assert_int_equal(trie_count(m->t), m->n);
	check_node(m, s);
}

static void
model_del(struct model *m, unsigned i)
{
	struct sub s = m->subs[i];
	uint64_t generation = trie_generation(m->t);
	bool others = false;

	check_node(m, &s);
	assert_false(trie_del(m->t, s.node, m));
	assert_int_equal(trie_generation(m->t), generation);
	assert_true(trie_del(m->t, s.node, s.e.who));
	assert_int_not_equal(trie_generation(m->t), generation);
	m->subs[i] = m->subs[--m->n];
	assert_int_equal(trie_count(m->t), m->n);
	for (unsigned k = 0; k < m->n && !others; k++)
		others = strcmp(m->subs[k].filter, s.filter) == 0;
	assert_ptr_equal(trie_find(m->t, slice_str(s.filter)), others ? s.node : NULL);
}

static struct model *
model_new(void)
{
	struct model *m = calloc(1, sizeof *m);

	assert_non_null(m);
	m->t = trie_new();
	assert_non_null(m->t);
	return m;
}

static void
model_free(struct model *m)
{
	trie_free(m->t);
	free(m);
}

static uint32_t
random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 24);
}

static void
random_text(uint64_t *rnd, bool filter, char *out, size_t cap)
{
	static const char *const levels[] = { "a", "b", "", "$x", "long", "c", "+", "+", "#" };
	unsigned n = 1 + random_next(rnd) % 4;
	size_t at = 0;

	do {
		at = 0;
		for (unsigned i = 0; i < n; i++) {
			const char *level =
			    levels[random_next(rnd) % (filter ? ARRAY_LEN(levels) : 6)];

			at += (size_t)snprintf(out + at, cap - at, "%s%s", i > 0 ? "/" : "", level);
			if (*level == '#')
				break;
		}
	} while (at == 0);
}

/* Entries at few places, so that nodes have none, one and many. */
static void
test_random(void **state)
{
	struct model *m = model_new();
	uint64_t rnd = 0x9e3779b97f4a7c15u;
	char who[8], text[FILTER_MAX];

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		/* Up and down between few and some hundreds. */
		unsigned want = (i / 5000) % 2 == 0 ? 300 : 3, what = random_next(&rnd) % 10;

		if (what < 2) {
			random_text(&rnd, false, text, sizeof text);
			check_match(m, text);
		} else if (m->n > 0 && (m->n > want) == (what < 8)) {
			model_del(m, random_next(&rnd) % m->n);
		} else {
			struct trie_entry e = {
				.who = who + random_next(&rnd) % sizeof who,
				.id = random_next(&rnd),
				.options = (uint8_t)random_next(&rnd),
				.kind = (uint8_t)random_next(&rnd),
				.extra = (uint16_t)random_next(&rnd),
			};

			random_text(&rnd, true, text, sizeof text);
			model_put(m, text, &e);
		}
	}
	while (m->n > 0)
		model_del(m, m->n - 1);
	check_match(m, "a/b");
	model_free(m);
}

/* All filters of up to three levels at once, against all names of up to four. */
static void
test_all_small(void **state)
{
	static const char *const levels[] = { "a", "b", "", "$x", "c", "+", "#" };
	struct model *m = model_new();
	struct trie_entry e = { .who = &e };
	char text[FILTER_MAX];

	(void)state;
	for (unsigned filters = 2; filters-- > 0;) {
		unsigned symbols = filters ? 7 : 5, depth_max = filters ? 3 : 4, total = 1;

		for (unsigned depth = 1; depth <= depth_max; depth++) {
			total *= symbols;
			for (unsigned i = 0; i < total; i++) {
				unsigned rest = i;
				size_t at = 0;

				for (unsigned d = 0; d < depth; d++, rest /= symbols)
					at += (size_t)snprintf(text + at, sizeof text - at, "%s%s",
					    d > 0 ? "/" : "", levels[rest % symbols]);
				e.id++;
				if (filters && topic_filter_ok(slice_str(text)))
					model_put(m, text, &e);
				if (!filters && topic_name_ok(slice_str(text)))
					check_match(m, text);
			}
		}
	}
	assert_int_equal(
	    m->n, (6 + 36 + 216 - 1) +
		      (1 + 6 + 36)); /* without and with '#' at the end; not the empty one */
	model_free(m);
}

static void
form(char *out, size_t cap, unsigned which, unsigned i)
{
	if (which == 2)
		(void)snprintf(out, cap, "d/+/%u", i);
	else
		(void)snprintf(out, cap, "d/%u/%s", i, which == 0 ? "t" : "#");
}

/* Tables grow and shrink in small steps: everything is found in the midst of that. */
static void
test_growth(void **state)
{
	enum { N = 3000, FORMS = 3 };
	struct model *m = model_new();
	struct trie_entry e = { .who = &e };
	char text[FILTER_MAX];
	long before = nomem.live;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		struct trie_node *node;

		for (unsigned f = 0; f < FORMS; f++) {
			form(text, sizeof text, f, i);
			e.id = i * 4 + f;
			assert_int_equal(trie_put(m->t, slice_str(text), &e, &node), TRIE_ADDED);
		}
		/* An older one is still there, wherever it is now. */
		(void)snprintf(text, sizeof text, "d/%u/t", i / 3);
		assert_non_null(trie_find(m->t, slice_str(text)));
		m->hits = 0;
		trie_match(m->t, slice_str(text), on_hit, m);
		assert_int_equal(m->hits, 2);
	}
	for (unsigned i = 0; i < N; i++) {
		for (unsigned f = 0; f < FORMS; f++) {
			struct trie_node *node;

			form(text, sizeof text, f, i);
			node = trie_find(m->t, slice_str(text));
			assert_non_null(node);
			assert_true(trie_del(m->t, node, &e));
			assert_null(trie_find(m->t, slice_str(text)));
		}
		(void)snprintf(text, sizeof text, "d/%u/t", N - 1 - i / 2);
		m->hits = 0;
		trie_match(m->t, slice_str(text), on_hit, m);
		assert_int_equal(m->hits, i < N - 1 - i / 2 ? 2 : 0);
	}
	assert_int_equal(trie_count(m->t), 0);
	/* No node is left; each of the two tables may be moving. */
	assert_in_range(nomem.live, before, before + 2);
	model_free(m);
}

/* Many at one filter, in and out, in an order that is not theirs. */
static void
test_crowd(void **state)
{
	enum { N = 5000 };
	struct model *m = model_new();
	static char who[N];
	struct trie_node *node = NULL, *same;
	uint64_t sum = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		struct trie_entry e = { .who = who + i, .id = i };

		assert_int_equal(trie_put(m->t, SL("news/+"), &e, &same), TRIE_ADDED);
		assert_true(node == NULL || node == same);
		node = same;
		e.id = i + 1;
		assert_int_equal(trie_put(m->t, SL("news/+"), &e, &same), TRIE_REPLACED);
		sum += entry_sum(&e);
	}
	for (unsigned left = N, at = 0; left > 0; left--) {
		const struct trie_entry *e;

		m->sum = 0;
		m->hits = 0;
		if (left % 97 == 0 || left < 10) {
			trie_match(m->t, SL("news/x"), on_hit, m);
			assert_int_equal(m->hits, left);
			assert_int_equal(m->sum, sum);
		}
		at = (at + 1237) % N; /* prime to N: meets each once */
		e = trie_entry_of(node, who + at);
		assert_non_null(e);
		assert_int_equal(e->id, at + 1);
		sum -= entry_sum(e);
		assert_true(trie_del(m->t, node, who + at));
		if (left > 1)
			assert_null(trie_entry_of(node, who + at));
	}
	assert_null(trie_find(m->t, SL("news/+")));
	model_free(m);
}

static void
test_deep(void **state)
{
	struct model *m = model_new();
	struct trie_entry e = { .who = &e };
	struct trie_node *plus, *hash, *slashes;
	uint8_t filter[2 * TOPIC_LEVELS_MAX], out[2 * TOPIC_LEVELS_MAX], *big = malloc(65535);
	size_t n = 2 * TOPIC_LEVELS_MAX - 1;

	(void)state;
	assert_non_null(big);
	for (size_t i = 0; i < sizeof filter; i++)
		filter[i] = i % 2 == 0 ? '+' : '/';
	assert_true(topic_filter_ok(slice_of(filter, n)));
	assert_int_equal(trie_put(m->t, slice_of(filter, n), &e, &plus), TRIE_ADDED);
	assert_int_equal(trie_filter(plus, out, sizeof out), n);
	assert_memory_equal(out, filter, n);
	filter[n - 1] = '#';
	assert_int_equal(trie_put(m->t, slice_of(filter, n), &e, &hash), TRIE_ADDED);
	memset(big, '/', 65535);
	assert_int_equal(
	    trie_put(m->t, slice_of(big, TOPIC_LEVELS_MAX - 1), &e, &slashes), TRIE_ADDED);
	trie_match(m->t, slice_of(big, TOPIC_LEVELS_MAX - 1), on_hit, m);
	assert_int_equal(m->hits, 3);
	/* A name that should have been refused harms nothing. */
	m->hits = 0;
	trie_match(m->t, slice_of(big, 65535), on_hit, m);
	assert_int_equal(m->hits, 1);
	/* The longest text there is. */
	memset(big, 'x', 65535);
	assert_int_equal(trie_put(m->t, slice_of(big, 65535), &e, &slashes), TRIE_ADDED);
	m->hits = 0;
	trie_match(m->t, slice_of(big, 65535), on_hit, m);
	assert_int_equal(m->hits, 1);
	assert_true(
	    trie_del(m->t, plus, &e) && trie_del(m->t, hash, &e) && trie_del(m->t, slashes, &e));
	assert_int_equal(trie_count(m->t), 1);
	free(big);
	model_free(m);
}

/* A filter that could not be put leaves no node behind. */
static void
test_half_built(void **state)
{
	static const char *const filters[] = { "a/b/+/d/e", "x", "x/+/#", "+/+/+", "y/z/#" };
	struct trie_entry e = { .who = &e }, other = { .who = &other };

	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(filters); f++) {
		for (unsigned k = 1, done = 0; !done; k++) {
			struct trie *t = trie_new();
			struct trie_node *node;
			long before;

			assert_non_null(t);
			assert_int_equal(trie_put(t, SL("x/+/c"), &e, &node), TRIE_ADDED);
			assert_int_equal(trie_put(t, SL("x"), &e, &node), TRIE_ADDED);
			before = nomem.live;
			nomem.fail_in = k;
			done = trie_put(t, slice_str(filters[f]), &other, &node) == TRIE_ADDED;
			assert_int_equal(done, nomem.fail_in > 0);
			nomem.fail_in = 0;
			assert_int_equal(nomem.live == before, !done);
			assert_int_equal(trie_count(t), 2 + done);
			if (done)
				assert_true(trie_del(t, node, &other));
			assert_int_equal(nomem.live, before);
			trie_free(t);
		}
	}
}

/* No memory at the k-th call: nothing has changed, and it works the next time. LeakSanitizer
 * sees what is lost. */
static void
test_no_memory(void **state)
{
	static const char *const filters[] = { "a", "a/b/c", "+", "#", "a/+/c/#", "a/+/c/d",
		"a/b/c/+/e/f/g" };
	static char who[600];

	(void)state;
	for (unsigned k = 1;; k++) {
		struct trie *t;

		nomem.fail_in = k;
		t = trie_new();
		if (nomem.fail_in > 0) {
			nomem.fail_in = 0;
			trie_free(t);
			break;
		}
		assert_null(t);
	}
	for (size_t f = 0; f < ARRAY_LEN(filters); f++) {
		struct model *m = model_new();
		unsigned failed = 0;

		for (unsigned w = 0; w < sizeof who; w++) {
			struct trie_entry e = { .who = who + w };
			struct trie_node *node;
			char name[FILTER_MAX];

			(void)snprintf(name, sizeof name, "%u/+", w);
			for (unsigned k = 1;; k++) {
				enum trie_put r;
				uint64_t generation = trie_generation(m->t);
				bool was = trie_find(m->t, slice_str(filters[f])) != NULL;

				nomem.fail_in = k;
				r = trie_put(m->t, slice_str(filters[f]), &e, &node);
				if (r == TRIE_ADDED)
					r = trie_put(m->t, slice_str(name), &e, &node);
				if (nomem.fail_in > 0)
					break;
				assert_int_equal(r, TRIE_NOMEM);
				failed++;
				node = trie_find(m->t, slice_str(filters[f]));
				if (node != NULL && trie_entry_of(node, &who[w]) != NULL)
					assert_true(trie_del(m->t, node, &who[w]));
				else
					assert_int_equal(trie_generation(m->t), generation);
				assert_int_equal(
				    trie_find(m->t, slice_str(filters[f])) != NULL, was);
				assert_int_equal(trie_count(m->t), 2 * w);
			}
			nomem.fail_in = 0;
			assert_int_equal(trie_count(m->t), 2 * w + 2);
		}
		assert_true(failed > sizeof who);
		/* Taking away needs no memory: each attempt at a smaller array or table fails. */
		for (unsigned w = 0; w < sizeof who; w++) {
			nomem.fail_in = 1;
			assert_true(
			    trie_del(m->t, trie_find(m->t, slice_str(filters[f])), who + w));
		}
		nomem.fail_in = 0;
		assert_int_equal(trie_count(m->t), sizeof who);
		model_free(m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_all_small),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_half_built),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
