/* Rates of connections: by listener, network and address, in manual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>

#include "base/num.h"
#include "server/internal.h"

static struct server server;
static struct config_listener config;
static struct listener listener;

static int
set_up(void **state)
{
	(void)state;
	server = (struct server){ .origins = buckets_new() };
	config = (struct config_listener){ 0 };
	listener = (struct listener){ .server = &server, .config = &config };
	return server.origins != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	buckets_free(server.origins);
	return 0;
}

static const char *
from(const char *address, uint64_t now_ms)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(1234) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, address, &four.sin_addr) == 1)
		return admit(&listener, (const void *)&four, now_ms);
	assert_int_equal(inet_pton(AF_INET6, address, &six.sin6_addr), 1);
	return admit(&listener, (const void *)&six, now_ms);
}

static unsigned
let_in(const char *address, unsigned n, uint64_t now_ms)
{
	unsigned in = 0;

	while (n-- > 0)
		in += from(address, now_ms) == NULL;
	return in;
}

static void
an_address_has_a_rate(void **state)
{
	const uint64_t now = 1000;

	(void)state;
	config.address_connect_rate = 2;
	assert_int_equal(let_in("192.0.2.1", 100, now), 20); /* ten seconds' worth */
	assert_string_equal(from("192.0.2.1", now), WHY_ADDRESS_RATE);
	assert_string_equal(from("::ffff:192.0.2.1", now), WHY_ADDRESS_RATE); /* the same one */
	assert_null(from("192.0.2.2", now));
	assert_int_equal(let_in("192.0.2.1", 100, now + 499), 0);
	assert_int_equal(let_in("192.0.2.1", 100, now + 500), 1); /* refusals cost nothing */
	assert_int_equal(let_in("192.0.2.1", 100, now + 60000), 20);
	assert_int_equal(let_in("2001:db8::1", 100, now), 20);
	assert_null(from("2001:db8::2", now));
}

static void
a_network_has_a_rate(void **state)
{
	const uint64_t now = 1000;
	unsigned in = 0;

	(void)state;
	config.network_connect_rate = 3;
	for (unsigned i = 0; i < 100; i++) {
		char address[32];

		(void)snprintf(address, sizeof(address), "192.0.2.%u", i);
		in += let_in(address, 1, now);
	}
	assert_int_equal(in, 30);
	assert_string_equal(from("192.0.2.200", now), WHY_NETWORK_RATE);
	assert_null(from("192.0.3.1", now));
	assert_int_equal(let_in("2001:db8:0:1::1", 20, now) + let_in("2001:db8:0:1:ffff::1", 20, now), 30);
	assert_null(from("2001:db8:0:2::1", now));
}

static void
what_an_address_is_refused_its_network_keeps(void **state)
{
	(void)state;
	config.address_connect_rate = 1;
	config.network_connect_rate = 2;
	assert_int_equal(let_in("192.0.2.1", 1000, 1000), 10);
	assert_int_equal(let_in("192.0.2.2", 1000, 1000), 10);
	assert_int_equal(let_in("192.0.2.3", 1000, 1000), 0);
}

static void
listeners_do_not_share_rates_and_unix_sockets_have_none(void **state)
{
	struct sockaddr un = { .sa_family = AF_UNIX };

	(void)state;
	config.address_connect_rate = 1;
	assert_int_equal(let_in("192.0.2.1", 20, 1000), 10);
	listener.index = 1;
	assert_int_equal(let_in("192.0.2.1", 20, 1000), 10);
	for (unsigned i = 0; i < 100; i++)
		assert_null(admit(&listener, &un, 1000));
}

/* The table is bounded: a million addresses do not make a new address wait, and few old ones are forgotten. */
static void
a_flood_of_addresses_is_bounded(void **state)
{
	(void)state;
	config.address_connect_rate = 1;
	assert_int_equal(let_in("198.51.100.1", 20, 1000), 10);
	for (unsigned i = 0; i < 200000; i++) {
		struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000000u + i) };

		assert_null(admit(&listener, (const void *)&a, 1000));
	}
	assert_int_equal(let_in("198.51.100.1", 20, 1000), 0); /* it is the emptiest, and the last to be forgotten */
}

static void
a_listener_rests_when_it_has_had_its_rate(void **state)
{
	uint64_t now = 5000;

	(void)state;
	assert_int_equal(admit_wait(&listener, now), 0);
	config.connect_rate = 10;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(admit_wait(&listener, now), 0);
		assert_null(from("192.0.2.1", now));
	}
	assert_int_equal(admit_wait(&listener, now), 100);
	assert_int_equal(admit_wait(&listener, now + 99), 1);
	assert_int_equal(admit_wait(&listener, now + 100), 0);
	assert_null(from("192.0.2.1", now + 100));
	assert_int_equal(admit_wait(&listener, now + 100), 100);
}

/* ---- memory_limit ---- */

static void
levels_of_memory_begin_and_end(void **state)
{
	static const struct {
		enum broker_shed old, new;
		unsigned percent;
	} rows[] = {
		{ BROKER_SHED_NONE, BROKER_SHED_NONE, 0 },
		{ BROKER_SHED_NONE, BROKER_SHED_NONE, 79 },
		{ BROKER_SHED_NONE, BROKER_SHED_QOS0, 80 },
		{ BROKER_SHED_NONE, BROKER_SHED_CONNECTS, 90 },
		{ BROKER_SHED_NONE, BROKER_SHED_PUBLISHERS, 95 },
		{ BROKER_SHED_QOS0, BROKER_SHED_QUEUES, 100 },
		{ BROKER_SHED_QOS0, BROKER_SHED_QUEUES, 900 },
		/* Not back and forth around one number. */
		{ BROKER_SHED_QOS0, BROKER_SHED_QOS0, 79 },
		{ BROKER_SHED_QOS0, BROKER_SHED_QOS0, 75 },
		{ BROKER_SHED_QOS0, BROKER_SHED_NONE, 74 },
		{ BROKER_SHED_QUEUES, BROKER_SHED_QUEUES, 95 },
		{ BROKER_SHED_QUEUES, BROKER_SHED_PUBLISHERS, 94 },
		{ BROKER_SHED_QUEUES, BROKER_SHED_CONNECTS, 89 },
		{ BROKER_SHED_QUEUES, BROKER_SHED_NONE, 10 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(memory_level(rows[i].old, rows[i].percent * UINT64_C(1000000000), 100 * UINT64_C(1000000000) - 1), rows[i].new);
	assert_int_equal(memory_level(BROKER_SHED_NONE, UINT64_MAX, 1), BROKER_SHED_QUEUES);
	assert_int_equal(memory_level(BROKER_SHED_NONE, UINT64_MAX, INT64_MAX / 1000), BROKER_SHED_QUEUES);
}

static void
memory_can_be_measured(void **state)
{
	struct heap_gauge g = { 0 };
	uint64_t n, before = heap_bytes(&g, server_now_ms());
	uint8_t *p = malloc(10000000);

	(void)state;
	assert_non_null(p);
	memset(p, 1, 10000000);
	assert_true(memory_resident(&n));
	assert_true(n > 10000000);
	/* A sanitizer keeps other books. */
	if (before > 0)
		assert_true(heap_bytes(&(struct heap_gauge){ 0 }, server_now_ms()) >= before + 10000000);
	assert_int_equal(heap_bytes(&g, 1), before); /* not looked at anew in a hurry */
	free(p);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_address_has_a_rate, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_network_has_a_rate, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_an_address_is_refused_its_network_keeps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(listeners_do_not_share_rates_and_unix_sockets_have_none, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_flood_of_addresses_is_bounded, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_listener_rests_when_it_has_had_its_rate, set_up, tear_down),
		cmocka_unit_test(levels_of_memory_begin_and_end),
		cmocka_unit_test(memory_can_be_measured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
