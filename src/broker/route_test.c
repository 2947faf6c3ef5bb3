/* Which matches are remembered: as long as the tree stays, a message to a topic that has had one walks no tree. */
#include "broker/internal.h"
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

enum { MANY = ROUTE_HITS_MAX + 44 };

/* How often the tree was walked for <n> messages. */
static uint32_t
walks(struct end *pub, const char *topic, unsigned n)
{
	const struct shard *sh = pub->kit->broker->shards[0];
	uint32_t before = sh->match_seq;

	for (unsigned i = 0; i < n; i++)
		kit_publish(pub, topic, "x", 0, false, 0);
	return sh->match_seq - before;
}

/* The topic that cannot be remembered, as it is too long, and has the place of another one in the table. */
static void
what_is_never_remembered_throws_nothing_out(void **state)
{
	struct kit k;
	struct end *pub;
	char topic[300];
	bool lost = false;

	(void)state;
	kit_init(&k, 1, NULL, NULL);
	pub = kit_join(&k, 4, "pub");
	assert_int_equal(walks(pub, "short", 2), 1);
	for (unsigned i = 0; i < 5000 && !lost; i++) {
		memset(topic, 'x', sizeof topic - 1);
		(void)snprintf(topic + 280, sizeof topic - 280, "%u", i);
		assert_int_equal(walks(pub, topic, 1), 1);
		lost = walks(pub, "short", 1) > 0;
	}
	assert_false(lost);
	kit_done(&k);
}

/* Many sessions get what is sent to t/…: there is room for so many such routes, and those that are used find it. */
static void
large_ones_that_are_used_find_room(void **state)
{
	const struct shard *sh;
	struct kit k;
	struct end *pub;
	char name[20];

	(void)state;
	kit_init(&k, 1, NULL, NULL);
	for (unsigned i = 0; i < MANY; i++) {
		struct end *e;

		(void)snprintf(name, sizeof name, "s%u", i);
		e = kit_connect(&k, &(struct connect_options){ .version = 5, .id = name, .keep = true, .expiry = 1000 }, NULL);
		kit_subscribe(e, "t/#", 0);
		kit_cut(e);
		kit_forget(e);
	}
	pub = kit_join(&k, 4, "pub");
	sh = k.broker->shards[0];
	for (unsigned i = 0; sh->large_hits + MANY <= ROUTE_HITS_LARGE; i++) {
		(void)snprintf(name, sizeof name, "t/%u", i);
		(void)walks(pub, name, 1);
	}
	/* It is full: a few messages do not change that, and more do. */
	assert_int_equal(walks(pub, "t/new", 3), 3);
	assert_int_equal(walks(pub, name, 3), 0); /* who is there stays */
	assert_int_equal(walks(pub, "t/new", 2 * ROUTE_LARGE_PATIENCE), ROUTE_LARGE_PATIENCE - 3);
	assert_int_equal(sh->large_hits, MANY);
	/* One that is older than the tree does not count. */
	kit_subscribe(pub, "elsewhere", 0);
	assert_int_equal(walks(pub, "t/new", 3), 1);
	assert_int_equal(sh->large_hits, MANY);
	kit_done(&k);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_never_remembered_throws_nothing_out),
		cmocka_unit_test(large_ones_that_are_used_find_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
