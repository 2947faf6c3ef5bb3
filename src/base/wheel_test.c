/* The timer wheel against a plain list, over short steps, long jumps and the borders of its levels. */
#include "base/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include "base/num.h"

enum { TIMERS = 200 };

struct model {
	struct wheel *w;
	uint64_t now, last_due;
	uint64_t seed;
	bool chaos; /* callbacks set and cancel others */
	bool set[TIMERS];
	uint64_t due[TIMERS]; /* as the wheel must see it: the earliest advance it may fire in */
	bool next_advance[TIMERS]; /* set from a callback when due already */
	struct timer t[TIMERS];
	size_t fired;
};

static uint64_t
next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return *seed >> 24;
}

static void
model_set(struct model *m, size_t i, uint64_t due)
{
	timer_set(m->w, &m->t[i], due);
	m->set[i] = true;
	m->due[i] = due;
}

static void
model_cancel(struct model *m, size_t i)
{
	timer_cancel(m->w, &m->t[i]);
	m->set[i] = false;
	m->next_advance[i] = false;
}

static uint64_t
random_delay(struct model *m)
{
	return next_random(&m->seed) & ((UINT64_C(1) << next_random(&m->seed) % 40) - 1);
}

static void
on_fire(void *ctx, struct timer *t)
{
	struct model *m = ctx;
	size_t i = (size_t)(t - m->t);

	assert_true(m->set[i]);
	assert_false(m->next_advance[i]);
	assert_false(timer_is_set(t));
	assert_true(m->due[i] <= m->now);
	m->set[i] = false;
	m->fired++;
	if (!m->chaos)
		return;
	i = next_random(&m->seed) % TIMERS;
	if (next_random(&m->seed) % 2 == 0) {
		model_cancel(m, i);
		return;
	}
	model_set(m, i, m->now - NUM_MIN(m->now, (uint64_t)5) + random_delay(m));
	m->next_advance[i] = m->due[i] <= m->now;
}

static void
model_advance(struct model *m, uint64_t now)
{
	m->now = now;
	for (size_t i = 0; i < TIMERS; i++)
		m->next_advance[i] = false;
	wheel_advance(m->w, now, on_fire, m);
	for (size_t i = 0; i < TIMERS; i++) {
		assert_int_equal(timer_is_set(&m->t[i]), m->set[i]);
		/* Nothing that was due is left behind. */
		if (m->set[i] && !m->next_advance[i])
			assert_true(m->due[i] > now);
	}
}

/* The wait is never later than the first timer. */
static void
model_check_wait(struct model *m)
{
	uint64_t first = UINT64_MAX, wait = wheel_wait(m->w, m->now);

	for (size_t i = 0; i < TIMERS; i++)
		if (m->set[i])
			first = NUM_MIN(first, m->due[i]);
	if (first == UINT64_MAX)
		assert_true(wait == UINT64_MAX);
	else
		assert_true(wait <= (first > m->now ? first - m->now : 0));
}

static void
run_random(uint64_t seed, uint64_t start, unsigned step_bits, bool chaos)
{
	struct model *m = calloc(1, sizeof *m);

	assert_non_null(m);
	*m = (struct model){ .w = wheel_new(start), .now = start, .seed = seed, .chaos = chaos };
	assert_non_null(m->w);
	for (unsigned step = 0; step < 3000; step++) {
		size_t i = next_random(&m->seed) % TIMERS;

		if (next_random(&m->seed) % 3 == 0)
			model_cancel(m, i);
		else
			model_set(m, i, m->now + random_delay(m));
		model_check_wait(m);
		if (next_random(&m->seed) % 4 == 0)
			model_advance(m, m->now + (next_random(&m->seed) & ((UINT64_C(1) << step_bits) - 1)));
	}
	assert_true(m->fired > 100);
	m->chaos = false;
	model_advance(m, m->now); /* what callbacks left for the next advance */
	model_advance(m, m->now + (UINT64_C(1) << 41));
	assert_true(wheel_wait(m->w, m->now) == UINT64_MAX);
	wheel_free(m->w);
	free(m);
}

static void
random_small_steps(void **state)
{
	(void)state;
	run_random(1, 0, 4, false);
	run_random(2, 4090, 8, false);
	run_random(3, (UINT64_C(1) << 36) - 300, 12, false);
}

static void
random_long_jumps(void **state)
{
	(void)state;
	run_random(4, 1, 22, false);
	run_random(5, UINT32_MAX - UINT64_C(1000), 36, false);
}

static void
random_with_callbacks_that_set_and_cancel(void **state)
{
	(void)state;
	run_random(6, 0, 6, true);
	run_random(7, 123456789, 16, true);
	run_random(8, UINT64_C(1) << 40, 30, true);
}

static void
count(void *ctx, struct timer *t)
{
	(void)t;
	++*(unsigned *)ctx;
}

/* One timer around every power of 64, from below, on and above the border: fires at its millisecond, not before. */
static void
level_borders(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits <= 60; bits += 6) {
		for (uint64_t from = 0; from <= 2; from++) {
			for (uint64_t to = 0; to <= 2; to++) {
				uint64_t border = UINT64_C(1) << bits, now = border - 1 + from, due = now + to * border + 1;
				struct wheel *w = wheel_new(now);
				struct timer t = { 0 };
				unsigned fired = 0;

				assert_non_null(w);
				timer_set(w, &t, due);
				wheel_advance(w, due - 1, count, &fired);
				assert_int_equal(fired, 0);
				assert_true(timer_is_set(&t));
				assert_true(wheel_wait(w, due - 1) <= 1);
				wheel_advance(w, due, count, &fired);
				assert_int_equal(fired, 1);
				assert_false(timer_is_set(&t));
				wheel_free(w);
			}
		}
	}
}

/* Whoever sleeps exactly as long as wheel_wait() says gets to the timer in few steps and never late. */
static void
waiting_leads_there(void **state)
{
	static const uint64_t delays[] = { 1, 2, 63, 64, 65, 4095, 4096, 60000, 262144, 90000000, UINT64_C(1) << 50 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
		uint64_t now = 1000003, due = now + delays[i];
		struct wheel *w = wheel_new(now);
		struct timer t = { 0 };
		unsigned fired = 0, turns = 0;

		assert_non_null(w);
		timer_set(w, &t, due);
		while (fired == 0) {
			now += wheel_wait(w, now);
			assert_true(now <= due);
			wheel_advance(w, now, count, &fired);
			assert_true(++turns <= 11);
		}
		assert_int_equal(now, due);
		wheel_free(w);
	}
}

static void
due_already_fires_in_the_next_advance(void **state)
{
	struct wheel *w = wheel_new(100);
	struct timer a = { 0 }, b = { 0 };
	unsigned fired = 0;

	(void)state;
	assert_non_null(w);
	timer_set(w, &a, 100);
	timer_set(w, &b, 3);
	assert_int_equal(wheel_wait(w, 100), 0);
	timer_cancel(w, &b);
	timer_cancel(w, &b);
	wheel_advance(w, 100, count, &fired);
	assert_int_equal(fired, 1);
	timer_set(w, &a, UINT64_MAX);
	timer_set(w, &b, 105);
	wheel_advance(w, 50, count, &fired); /* the clock does not go back */
	assert_int_equal(fired, 1);
	wheel_advance(w, UINT64_MAX - 1, count, &fired);
	assert_int_equal(fired, 2);
	wheel_advance(w, UINT64_MAX, count, &fired);
	assert_int_equal(fired, 3);
	wheel_free(w);
	wheel_free(NULL);
}

static void
rearm(void *ctx, struct timer *t)
{
	timer_set(ctx, t, t->due);
}

/* A callback that always sets its own timer into the past does not hold up the advance. */
static void
own_timer_into_the_past(void **state)
{
	struct wheel *w = wheel_new(0);
	struct timer t = { 0 };

	(void)state;
	assert_non_null(w);
	timer_set(w, &t, 7);
	wheel_advance(w, 1000, rearm, w);
	assert_true(timer_is_set(&t));
	assert_int_equal(wheel_wait(w, 1000), 0);
	wheel_free(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_small_steps),
		cmocka_unit_test(random_long_jumps),
		cmocka_unit_test(random_with_callbacks_that_set_and_cancel),
		cmocka_unit_test(level_borders),
		cmocka_unit_test(waiting_leads_there),
		cmocka_unit_test(due_already_fires_in_the_next_advance),
		cmocka_unit_test(own_timer_into_the_past),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
