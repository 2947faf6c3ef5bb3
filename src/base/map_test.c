/* The hash map against a plain array, and the hash against OpenSSL's. */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/num.h"

enum { ITEMS = 600, STEPS = 20000 };

struct item {
	uint32_t key;
	bool in;
};

static struct slice
item_key(const void *value)
{
	const struct item *it = value;

	return slice_of(&it->key, sizeof it->key);
}

/* A small generator of our own: the same sequence in every run. */
static uint32_t
next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

static void
check_whole(const struct map *m, struct item *items)
{
	size_t pos = 0, walked = 0, in = 0;

	while (map_next(m, &pos) != NULL)
		walked++;
	for (size_t i = 0; i < ITEMS; i++) {
		in += items[i].in;
		assert_ptr_equal(map_get(m, item_key(&items[i])), items[i].in ? &items[i] : NULL);
	}
	assert_int_equal(walked, in);
	assert_int_equal(m->count, in);
}

/* Random puts and deletes, in tides so that the table grows and shrinks. */
static void
random_against_model(void **state)
{
	static struct item items[ITEMS];
	uint64_t seed = 42;
	struct map m;

	(void)state;
	map_init(&m, item_key);
	for (uint32_t i = 0; i < ITEMS; i++)
		items[i].key = i * 7919;
	for (unsigned step = 0; step < STEPS; step++) {
		struct item *it = &items[next_random(&seed) % ITEMS];
		bool flood = step / 2000 % 2 == 0;

		if (!it->in && (flood || next_random(&seed) % 8 == 0)) {
			assert_true(map_put(&m, it));
			it->in = true;
		} else if (it->in && (!flood || next_random(&seed) % 8 == 0)) {
			assert_ptr_equal(map_del(&m, item_key(it)), it);
			it->in = false;
		} else if (!it->in) {
			assert_null(map_del(&m, item_key(it)));
		}
		if (step % 500 == 0)
			check_whole(&m, items);
	}
	check_whole(&m, items);
	map_done(&m);
	map_done(&m);
}

static void
empty_map_has_no_memory(void **state)
{
	struct map m;
	struct item a = { .key = 1 };
	size_t pos = 0;

	(void)state;
	map_init(&m, item_key);
	assert_null(map_get(&m, item_key(&a)));
	assert_null(map_del(&m, item_key(&a)));
	assert_null(map_next(&m, &pos));
	assert_true(map_put(&m, &a));
	assert_int_equal(m.cap, 8);
	assert_ptr_equal(map_del(&m, item_key(&a)), &a);
	assert_int_equal(m.cap, 0);
	assert_null(m.slots);
	map_done(&m);
	m = (struct map){ 0 };
	map_done(&m);
}

static void
shrinks_when_nearly_empty(void **state)
{
	static struct item items[ITEMS];
	struct map m;
	size_t big;

	(void)state;
	map_init(&m, item_key);
	for (uint32_t i = 0; i < ITEMS; i++) {
		items[i].key = i;
		assert_true(map_put(&m, &items[i]));
	}
	big = m.cap;
	assert_true(big >= ITEMS && big <= 4 * (size_t)ITEMS);
	for (uint32_t i = 2; i < ITEMS; i++)
		assert_non_null(map_del(&m, item_key(&items[i])));
	assert_true(map_put(&m, &items[2]));
	assert_int_equal(m.cap, 8);
	assert_ptr_equal(map_get(&m, item_key(&items[0])), &items[0]);
	assert_ptr_equal(map_get(&m, item_key(&items[1])), &items[1]);
	assert_ptr_equal(map_get(&m, item_key(&items[2])), &items[2]);
	for (uint32_t i = 3; i < ITEMS; i++)
		assert_true(map_put(&m, &items[i]));
	for (uint32_t i = 1; i < ITEMS; i++)
		assert_non_null(map_del(&m, item_key(&items[i])));
	map_trim(&m);
	assert_int_equal(m.cap, 8);
	assert_ptr_equal(map_get(&m, item_key(&items[0])), &items[0]);
	map_done(&m);
}

/* Deleting what the walk just returned neither skips nor repeats anything. */
static void
walk_may_delete(void **state)
{
	static struct item items[ITEMS];
	struct map m;
	struct item *it;
	size_t pos = 0, seen = 0;

	(void)state;
	map_init(&m, item_key);
	for (uint32_t i = 0; i < ITEMS; i++) {
		items[i].key = i;
		assert_true(map_put(&m, &items[i]));
	}
	while ((it = map_next(&m, &pos)) != NULL) {
		assert_false(it->in);
		it->in = true;
		seen++;
		assert_ptr_equal(map_del(&m, item_key(it)), it);
	}
	assert_int_equal(seen, ITEMS);
	assert_int_equal(m.count, 0);
	map_done(&m);
}

struct text_item {
	char key[12];
};

static struct slice
text_key(const void *value)
{
	return slice_str(((const struct text_item *)value)->key);
}

/* Many values whose probes begin in the same slot of a table of 8, and the empty key. */
static void
collisions(void **state)
{
	static struct text_item items[6];
	struct text_item *last = &items[5];
	size_t n = 0;
	struct map m;

	(void)state;
	map_init(&m, text_key);
	for (unsigned i = 0; n < 5; i++) {
		(void)snprintf(items[n].key, sizeof items[n].key, "%u", i);
		if ((map_hash(text_key(&items[n])) & 7) == 7)
			n++;
	}
	for (size_t i = 0; i < 5; i++)
		assert_true(map_put(&m, &items[i]));
	assert_int_equal(m.cap, 8);
	assert_ptr_equal(map_del(&m, text_key(&items[1])), &items[1]);
	assert_ptr_equal(map_del(&m, text_key(&items[3])), &items[3]);
	assert_ptr_equal(map_get(&m, text_key(&items[4])), &items[4]);
	assert_null(map_get(&m, text_key(&items[1])));
	assert_int_equal(m.tombs, 2);
	/* At the end of a run of neighbours tombstones go away with the value, up to the next value. */
	assert_ptr_equal(map_del(&m, text_key(&items[4])), &items[4]);
	assert_int_equal(m.tombs, 1);
	assert_ptr_equal(map_del(&m, text_key(&items[2])), &items[2]);
	assert_int_equal(m.tombs, 0);
	assert_ptr_equal(map_get(&m, text_key(&items[0])), &items[0]);
	last->key[0] = '\0';
	assert_true(map_put(&m, last));
	assert_ptr_equal(map_get(&m, (struct slice){ 0 }), last);
	map_done(&m);
}

/* OpenSSL's SipHash, told to do one and three rounds. */
static uint64_t
siphash13_openssl(const uint64_t key[2], const uint8_t *in, size_t n)
{
	unsigned c = 1, d = 3;
	size_t size = 8, got = 0;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_C_ROUNDS, &c),
		OSSL_PARAM_construct_uint(OSSL_MAC_PARAM_D_ROUNDS, &d),
		OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	uint64_t v = 0;

	assert_non_null(ctx);
	assert_int_equal(EVP_MAC_init(ctx, (const uint8_t *)key, 16, params), 1);
	assert_int_equal(EVP_MAC_update(ctx, in, n), 1);
	assert_int_equal(EVP_MAC_final(ctx, (uint8_t *)&v, &got, sizeof v), 1);
	assert_int_equal(got, sizeof v);
	EVP_MAC_CTX_free(ctx);
	EVP_MAC_free(mac);
	return v;
}

static void
siphash_agrees_with_openssl(void **state)
{
	static const uint64_t zero[2], key[2] = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	uint8_t in[70];

	(void)state;
	for (uint8_t i = 0; i < sizeof in; i++)
		in[i] = (uint8_t)(i * 37 + 200);
	for (size_t n = 0; n < sizeof in; n++)
		assert_int_equal(map_siphash13(key, slice_of(in, n)), siphash13_openssl(key, in, n));
	/* Two published values. */
	assert_int_equal(map_siphash13(zero, (struct slice){ 0 }), 0xd1fba762150c532cu);
	assert_int_equal(map_siphash13(zero, SL("siphash")), 0x8264ceeccb16bcbeu);
}

static void *
hash_elsewhere(void *arg)
{
	*(uint64_t *)arg = map_hash(SL("the same everywhere"));
	return NULL;
}

static void
hash_is_the_same_in_every_thread(void **state)
{
	pthread_t th[4];
	uint64_t got[4] = { 0 };

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&th[i], NULL, hash_elsewhere, &got[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(th[i], NULL), 0);
		assert_int_equal(got[i], map_hash(SL("the same everywhere")));
	}
	assert_int_not_equal(map_hash(SL("a")), map_hash(SL("b")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hash_is_the_same_in_every_thread),
		cmocka_unit_test(siphash_agrees_with_openssl),
		cmocka_unit_test(random_against_model),
		cmocka_unit_test(empty_map_has_no_memory),
		cmocka_unit_test(shrinks_when_nearly_empty),
		cmocka_unit_test(walk_may_delete),
		cmocka_unit_test(collisions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
