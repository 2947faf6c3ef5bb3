/* Retained messages against a plain list: random changes in the midst of several walks, every
 * kind of filter, expiry, and no memory at every place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/nomem_testkit.h"
#include "base/num.h"
#include "retain/retain.h"
#include "topic/topic.h"

/* ---- helpers ---- */

static struct msg *
message(struct slice topic, struct slice payload, uint32_t expiry)
{
	struct mqtt_publish p = {
		.topic = topic,
		.payload = payload,
		.retain = true,
		.has_expiry = expiry > 0,
		.message_expiry = expiry,
	};
	struct msg *m = msg_new(&p, SL("origin"), NULL, 0);

	assert_non_null(m);
	return m;
}

/* Set, and let go of the own reference. */
static enum retain_set
set(struct retain *r, struct slice topic, struct slice payload, uint32_t expiry)
{
	struct msg *m = message(topic, payload, expiry);
	enum retain_set result = retain_set(r, m);

	msg_unref(m);
	return result;
}

static uint32_t
random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 24);
}

/* ---- one after the other ---- */

static void
test_set(void **state)
{
	struct retain *r = retain_new();
	struct msg *m;
	size_t empty;

	(void)state;
	assert_non_null(r);
	empty = retain_bytes(r);
	assert_int_equal(set(r, SL("a/b"), SL(""), 0), RETAIN_NONE);
	assert_int_equal(set(r, SL("a/b"), SL("1"), 0), RETAIN_STORED);
	assert_int_equal(set(r, SL("a/b"), SL("22"), 0), RETAIN_REPLACED);
	assert_int_equal(retain_count(r), 1);
	m = retain_get(r, SL("a/b"), 5);
	assert_non_null(m);
	assert_true(slice_eq(msg_payload(m), SL("22")));
	assert_int_equal(atomic_load(&m->refs), 1);
	assert_int_equal(retain_bytes(r), empty + msg_size(m));
	assert_null(retain_get(r, SL("a"), 5));
	assert_null(retain_get(r, SL("a/b/"), 5));
	assert_null(retain_get(r, SL(""), 5));
	assert_int_equal(set(r, SL("a"), SL("3"), 0), RETAIN_STORED);
	assert_int_equal(set(r, SL("a/"), SL("4"), 0), RETAIN_STORED);
	assert_int_equal(retain_count(r), 3);
	assert_true(slice_eq(msg_payload(retain_get(r, SL("a"), 5)), SL("3")));
	assert_true(slice_eq(msg_payload(retain_get(r, SL("a/"), 5)), SL("4")));
	assert_int_equal(set(r, SL("a"), SL(""), 0), RETAIN_REMOVED);
	assert_int_equal(set(r, SL("a"), SL(""), 0), RETAIN_NONE);
	assert_int_equal(set(r, SL("a/"), SL(""), 0), RETAIN_REMOVED);
	assert_int_equal(set(r, SL("a/b"), SL(""), 0), RETAIN_REMOVED);
	assert_int_equal(retain_count(r), 0);
	assert_int_equal(retain_bytes(r), empty);
	retain_free(r);
	retain_free(NULL);
}

static void
count_hit(void *ctx, struct msg *m)
{
	(void)m;
	++*(unsigned *)ctx;
}

static unsigned
count_all(struct retain *r, struct slice filter, uint32_t now_s)
{
	struct retain_scan *s = retain_scan_new(r, filter);
	unsigned hits = 0;

	assert_non_null(s);
	while (retain_scan_next(s, 3, 7, now_s, count_hit, &hits))
		;
	assert_false(retain_scan_next(s, 3, 7, now_s, count_hit, &hits));
	retain_scan_free(s);
	return hits;
}

static void
test_expiry(void **state)
{
	struct retain *r = retain_new();

	(void)state;
	assert_non_null(r);
	assert_int_equal(set(r, SL("a"), SL("x"), 10), RETAIN_STORED);
	assert_int_equal(set(r, SL("b"), SL("x"), 20), RETAIN_STORED);
	assert_int_equal(set(r, SL("c"), SL("x"), 0), RETAIN_STORED);
	assert_int_equal(set(r, SL("d"), SL("x"), 10), RETAIN_STORED);
	assert_non_null(retain_get(r, SL("a"), 9));
	assert_null(retain_get(r, SL("a"), 10));
	assert_int_equal(retain_count(r), 3);
	assert_int_equal(count_all(r, SL("#"), 10), 2);
	assert_int_equal(retain_count(r), 2);
	/* Two visits see <b> and <c>, the third the end. */
	retain_sweep(r, 2, 20);
	assert_int_equal(retain_count(r), 1);
	assert_non_null(retain_get(r, SL("c"), 1000000));
	retain_sweep(r, 100, 1000000);
	assert_int_equal(retain_count(r), 1);
	retain_free(r);
}

/* The sweep comes round to all, a few at a time. */
static void
test_sweep(void **state)
{
	enum { N = 1000 };
	struct retain *r = retain_new();
	char topic[32];

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < N; i++) {
		(void)snprintf(topic, sizeof topic, "t/%u", i);
		assert_int_equal(
		    set(r, slice_str(topic), SL("x"), i % 2 == 0 ? 50 : 0), RETAIN_STORED);
	}
	for (unsigned i = 0; i < N / 10 / 2; i++)
		retain_sweep(r, 10, 49);
	assert_int_equal(retain_count(r), N);
	/* Where the first round is now does not matter: one whole round is enough. */
	for (unsigned i = 0; i < N / 10 + 2; i++)
		retain_sweep(r, 10, 50);
	assert_int_equal(retain_count(r), N / 2);
	assert_int_equal(count_all(r, SL("t/+"), 50), N / 2);
	retain_free(r);
}

/* ---- filters ---- */

static const char *const levels[] = { "a", "b", "", "$x", "a!", "a\x01", "ab", "%", "\xc3\xbf", "#",
	"+" };
enum { NAME_LEVELS = 9, TEXT_MAX = 32 };

static void
random_text(uint64_t *rnd, bool filter, char *out, size_t cap)
{
	unsigned n = 1 + random_next(rnd) % 4;
	size_t at = 0;

	do {
		at = 0;
		for (unsigned i = 0; i < n; i++) {
			unsigned which = random_next(rnd) % (filter ? 16 : NAME_LEVELS);
			const char *level =
			    levels[which < ARRAY_LEN(levels) ? which : ARRAY_LEN(levels) - 1];

			at += (size_t)snprintf(out + at, cap - at, "%s%s", i > 0 ? "/" : "", level);
			if (*level == '#')
				break;
		}
	} while (at == 0);
}

/* All topics of up to three levels of the alphabet: every filter finds what it matches, in one
 * order. */
static void
test_filters(void **state)
{
	static char topics[1000][TEXT_MAX];
	struct retain *r = retain_new();
	uint64_t rnd = 0x2545f4914f6cdd1du;
	unsigned n = 0;

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < 9 + 81 + 729; i++) {
		unsigned depth = i < 9    ? 1
				 : i < 90 ? 2
					  : 3,
			 rest = i < 9    ? i
				: i < 90 ? i - 9
					 : i - 90;
		size_t at = 0;

		for (unsigned d = 0; d < depth; d++, rest /= 9)
			at += (size_t)snprintf(topics[n] + at, TEXT_MAX - at, "%s%s",
			    d > 0 ? "/" : "", levels[rest % 9]);
		if (at > 0)
			assert_int_equal(set(r, slice_str(topics[n++]), SL("x"), 0), RETAIN_STORED);
	}
	assert_int_equal(retain_count(r), n);
	for (unsigned i = 0; i < 2000; i++) {
		char filter[TEXT_MAX];
		unsigned want = 0;

		random_text(&rnd, true, filter, sizeof filter);
		for (unsigned k = 0; k < n; k++)
			want += topic_matches(slice_str(filter), slice_str(topics[k]));
		if (count_all(r, slice_str(filter), 0) != want)
			fail_msg("'%s': should find %u", filter, want);
	}
	assert_int_equal(count_all(r, SL("a/#/b"), 0), 0);
	assert_int_equal(count_all(r, SL(""), 0), 0);
	retain_free(r);
}

/* A walk goes straight to what it wants: it does not look at what lies beside. */
static void
test_visits(void **state)
{
	enum { N = 2000 };
	struct retain *r = retain_new();
	struct retain_scan *s;
	char topic[32];
	unsigned hits = 0;

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < N; i++) {
		(void)snprintf(topic, sizeof topic, "dev/%u/t%u", i / 2 % 100, i % 2 + i / 200);
		(void)set(r, slice_str(topic), SL("x"), 0);
	}
	s = retain_scan_new(r, SL("dev/7/#"));
	assert_non_null(s);
	assert_false(retain_scan_next(s, N, 40, 0, count_hit, &hits));
	assert_in_range(hits, 2, 20);
	retain_scan_free(s);
	s = retain_scan_new(r, SL("dev/+/t0"));
	assert_non_null(s);
	hits = 0;
	assert_false(retain_scan_next(s, N, 250, 0, count_hit, &hits));
	assert_int_equal(hits, 100);
	retain_scan_free(s);
	/* Both limits hold. */
	s = retain_scan_new(r, SL("#"));
	assert_non_null(s);
	hits = 0;
	assert_true(retain_scan_next(s, 5, 100, 0, count_hit, &hits));
	assert_int_equal(hits, 5);
	assert_true(retain_scan_next(s, 100, 7, 0, count_hit, &hits));
	assert_int_equal(hits, 12);
	retain_scan_free(s);
	retain_scan_free(NULL);
	retain_free(r);
}

/* Long topics, deep topics, and one inside the other. */
static void
test_long(void **state)
{
	struct retain *r = retain_new();
	uint8_t *big = malloc(65535);

	(void)state;
	assert_non_null(r);
	assert_non_null(big);
	memset(big, 'x', 65535);
	assert_int_equal(set(r, slice_of(big, 65535), SL("x"), 0), RETAIN_STORED);
	assert_int_equal(set(r, slice_of(big, 65534), SL("x"), 0), RETAIN_STORED);
	big[65533] = '/';
	assert_int_equal(set(r, slice_of(big, 65535), SL("x"), 0), RETAIN_STORED);
	assert_int_equal(count_all(r, SL("#"), 0), 3);
	assert_int_equal(count_all(r, SL("+"), 0), 2);
	assert_int_equal(count_all(r, SL("+/x"), 0), 1);
	/* The longest place: nearly all of a topic, and a filter as long. */
	big[0] = '+';
	big[1] = '/';
	memset(big + 2, 'y', 65533);
	assert_int_equal(count_all(r, slice_of(big, 65535), 0), 0);
	assert_null(retain_get(r, slice_of(big, 65535), 0));
	for (unsigned n = 1; n < 2000; n++) {
		memset(big, 'a', n);
		assert_int_equal(set(r, slice_of(big, n), SL("x"), 0), RETAIN_STORED);
	}
	assert_int_equal(count_all(r, SL("+"), 0), 2 + 1999);
	free(big);
	retain_free(r);
}

/* ---- anything may happen between two calls ---- */

enum { TOPICS = 400, WALKS = 4 };

struct known {
	char topic[TEXT_MAX];
	struct msg *m; /* borrowed; NULL: not there */
};

struct running {
	struct retain_scan *s;
	char filter[TEXT_MAX];
	bool always[TOPICS]; /* there since the walk began; all others are not reported */
	unsigned char reported[TOPICS];
	const struct known *topics;
};

static void
walk_hit(void *ctx, struct msg *m)
{
	struct running *w = ctx;

	for (unsigned i = 0; i < TOPICS; i++) {
		if (!slice_eq(slice_str(w->topics[i].topic), msg_topic(m)))
			continue;
		assert_ptr_equal(w->topics[i].m, m);
		assert_true(topic_matches(slice_str(w->filter), msg_topic(m)));
		assert_true(w->always[i]);
		assert_int_equal(w->reported[i], 0);
		w->reported[i] = 1;
		return;
	}
	fail_msg("a topic that was never set");
}

static void
walk_begin(struct running *w, struct retain *r, const struct known *topics, uint64_t *rnd)
{
	random_text(rnd, true, w->filter, sizeof w->filter);
	w->s = retain_scan_new(r, slice_str(w->filter));
	assert_non_null(w->s);
	w->topics = topics;
	for (unsigned i = 0; i < TOPICS; i++) {
		w->always[i] = topics[i].m != NULL;
		w->reported[i] = 0;
	}
}

static void
walk_end(struct running *w)
{
	for (unsigned i = 0; i < TOPICS; i++)
		if (w->always[i] &&
		    topic_matches(slice_str(w->filter), slice_str(w->topics[i].topic)))
			assert_int_equal(w->reported[i], 1);
	retain_scan_free(w->s);
	w->s = NULL;
}

/* Set or remove topic <i>. */
static void
change(struct retain *r, struct known *topics, unsigned i, struct running *walks, bool remove)
{
	struct known *k = &topics[i];
	struct msg *m = message(slice_str(k->topic), remove ? SL("") : SL("x"), 0);
	enum retain_set result = retain_set(r, m);

	if (remove)
		assert_int_equal(result, k->m != NULL ? RETAIN_REMOVED : RETAIN_NONE);
	else
		assert_int_equal(result, k->m != NULL ? RETAIN_REPLACED : RETAIN_STORED);
	k->m = remove ? NULL : m;
	msg_unref(m);
	for (unsigned w = 0; w < WALKS; w++)
		walks[w].always[i] = false;
}

static void
topics_fill(struct known *topics, uint64_t *rnd)
{
	for (unsigned i = 0; i < TOPICS;) {
		bool twice = false;

		random_text(rnd, false, topics[i].topic, TEXT_MAX);
		for (unsigned k = 0; k < i && !twice; k++)
			twice = strcmp(topics[k].topic, topics[i].topic) == 0;
		i += !twice;
	}
}

static void
test_random(void **state)
{
	static struct known topics[TOPICS];
	static struct running walks[WALKS];
	struct retain *r = retain_new();
	uint64_t rnd = 0xd1b54a32d192ed03u;
	unsigned count = 0, ended = 0;

	(void)state;
	assert_non_null(r);
	topics_fill(topics, &rnd);
	for (unsigned i = 0; i < 100000; i++) {
		unsigned at = random_next(&rnd) % TOPICS;
		struct running *w = &walks[random_next(&rnd) % WALKS];
		/* Now more come than go, now the other way round. */
		bool remove = random_next(&rnd) % 16 < ((i / 10000) % 2 == 0 ? 3 : 13);

		if (random_next(&rnd) % 4 < 2) {
			change(r, topics, at, walks, remove);
		} else if (w->s == NULL) {
			walk_begin(w, r, topics, &rnd);
		} else if (!retain_scan_next(w->s, 1 + random_next(&rnd) % 4,
			       1 + random_next(&rnd) % 8, 0, walk_hit, w)) {
			walk_end(w);
			ended++;
		}
		assert_ptr_equal(retain_get(r, slice_str(topics[at].topic), 0), topics[at].m);
	}
	assert_true(ended > 1000);
	for (unsigned i = 0; i < TOPICS; i++)
		count += topics[i].m != NULL;
	assert_int_equal(retain_count(r), count);
	/* A walk may be left in the midst, and outlive nothing it needs. */
	retain_free(r);
	for (unsigned i = 0; i < WALKS; i++)
		retain_scan_free(walks[i].s);
}

/* ---- no memory ---- */

static void
test_no_memory(void **state)
{
	static struct known topics[TOPICS];
	uint64_t rnd = 0x9e3779b97f4a7c15u;
	struct retain *r;
	unsigned failed = 0, before_count = 0;
	long before = nomem.live;
	size_t empty;

	(void)state;
	for (unsigned k = 1; k <= 2; k++) {
		nomem.fail_in = k;
		assert_null(retain_new());
		assert_int_equal(nomem.live, before);
	}
	r = retain_new();
	assert_non_null(r);
	empty = retain_bytes(r);
	before = nomem.live;
	nomem.fail_in = 1;
	assert_null(retain_scan_new(r, SL("a/#")));
	topics_fill(topics, &rnd);
	for (unsigned i = 0; i < TOPICS; i++) {
		struct msg *m = message(slice_str(topics[i].topic), SL("x"), 0);
		size_t bytes = retain_bytes(r);

		nomem.all = true;
		if (retain_set(r, m) == RETAIN_NOMEM) {
			failed++;
			assert_int_equal(retain_count(r), before_count);
			assert_int_equal(retain_bytes(r), bytes);
			assert_int_equal(atomic_load(&m->refs), 1);
			assert_null(retain_get(r, slice_str(topics[i].topic), 0));
			nomem.all = false;
			assert_int_equal(retain_set(r, m), RETAIN_STORED);
		}
		nomem.all = false;
		assert_int_equal(retain_count(r), ++before_count);
		msg_unref(m);
	}
	/* The very first message is the root and needs nothing. */
	assert_int_equal(failed, TOPICS - 1);
	/* Replacing, walking and removing need no memory. */
	for (unsigned i = 0; i < TOPICS; i++) {
		struct msg *m = message(slice_str(topics[i].topic), SL("y"), 0);
		struct msg *none = message(slice_str(topics[i].topic), SL(""), 0);

		nomem.all = true;
		assert_int_equal(retain_set(r, m), RETAIN_REPLACED);
		assert_int_equal(retain_set(r, none), RETAIN_REMOVED);
		nomem.all = false;
		msg_unref(m);
		msg_unref(none);
	}
	assert_int_equal(retain_count(r), 0);
	assert_int_equal(retain_bytes(r), empty);
	assert_int_equal(nomem.live, before);
	retain_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_visits),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
