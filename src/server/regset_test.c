/* The set of devices: against a plain array, while it grows, and while others read it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/map.h"
#include "server/regset.h"

enum { NAMES = 20000 };

static struct slice
name_of(unsigned i, char buf[static 16])
{
	return slice_of(buf, (size_t)snprintf(buf, 16, "dev-%u", i));
}

static void
what_is_put_is_found(void **state)
{
	struct regset *s = regset_new(0);
	uint8_t model[NAMES] = { 0 };
	size_t count = 0, grown = 0;
	uint64_t r = 1;
	char buf[16];

	(void)state;
	assert_non_null(s);
	assert_int_equal(regset_get(s, SL("")), REGSET_NONE);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned n, to;

		r = r * 6364136223846793005u + 1442695040888963407u;
		n = (unsigned)(r >> 33) % NAMES;
		to = (unsigned)(r >> 20) % 4 + 1;
		if (!regset_put(s, name_of(n, buf), (enum regset_state)to)) {
			struct regset *bigger = regset_grown(s);

			assert_non_null(bigger);
			assert_int_equal(regset_count(bigger), count);
			regset_unref(s);
			s = bigger;
			grown++;
			/* Those that have gone are forgotten. */
			for (unsigned k = 0; k < NAMES; k++)
				if (model[k] == REGSET_GONE)
					model[k] = REGSET_NONE;
			assert_true(regset_put(s, name_of(n, buf), (enum regset_state)to));
		}
		if (to != REGSET_GONE) {
			count += model[n] == REGSET_NONE || model[n] == REGSET_GONE;
			model[n] = (uint8_t)to;
		} else if (model[n] != REGSET_NONE) {
			count -= model[n] != REGSET_GONE;
			model[n] = REGSET_GONE;
		}
		assert_int_equal(regset_count(s), count);
	}
	assert_true(grown > 0);
	for (unsigned i = 0; i < NAMES; i++)
		assert_int_equal(regset_get(s, name_of(i, buf)), model[i]);
	assert_int_equal(regset_get(s, SL("dev-")), REGSET_NONE);
	regset_unref(s);
}

static void
a_million_has_its_price(void **state)
{
	struct regset *s = regset_new(1000000);

	(void)state;
	assert_non_null(s);
	assert_true(regset_bytes(s) < 28u << 20);
	regset_unref(s);
	assert_null(regset_new((size_t)REGSET_MAX + 1));
	regset_unref(NULL);
}

struct readers {
	struct regset *set;
	atomic_bool stop;
	atomic_uint wrong;
};

/* Of 100 names the first stays enabled and the last is never there, whatever happens to those between. */
static void *
read_on(void *arg)
{
	struct readers *x = arg;
	char buf[16];

	while (!atomic_load(&x->stop)) {
		if (regset_get(x->set, name_of(0, buf)) != REGSET_ENABLED || regset_get(x->set, name_of(5000, buf)) != REGSET_NONE)
			(void)atomic_fetch_add(&x->wrong, 1);
		for (unsigned i = 1; i < 100; i++)
			if (regset_get(x->set, name_of(i, buf)) >= REGSET_STATES)
				(void)atomic_fetch_add(&x->wrong, 1);
	}
	return NULL;
}

static void
readers_need_no_lock(void **state)
{
	struct readers x = { .set = regset_new(0) };
	pthread_t threads[2];
	char buf[16];

	(void)state;
	assert_true(regset_put(x.set, name_of(0, buf), REGSET_ENABLED));
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &x), 0);
	for (unsigned round = 0; round < 200; round++)
		for (unsigned i = 1; i < 100; i++)
			assert_true(regset_put(x.set, name_of(i, buf), (enum regset_state)(1 + (round + i) % 4)));
	atomic_store(&x.stop, true);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(atomic_load(&x.wrong), 0);
	regset_unref(x.set);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_put_is_found),
		cmocka_unit_test(a_million_has_its_price),
		cmocka_unit_test(readers_need_no_lock),
	};

	return cmocka_run_group_tests_name("server regset", tests, NULL, NULL);
}
