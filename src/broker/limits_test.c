/* Limits that hold: rates, sessions, slow consumers, memory. On one shard and on four. */
#include <stdatomic.h>
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static uint64_t
sum(const struct kit *k, size_t at)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < k->n; i++)
		n += atomic_load((const _Atomic uint64_t *)(const void *)((const char *)shard_stats(broker_shard(k->broker, i)) + at));
	return n;
}
#define SUM(k, field) sum((k), offsetof(struct shard_stats, field))

/* Messages that came, of any kind. */
static unsigned
count_messages(struct end *e)
{
	struct mqtt_frame f;
	unsigned n = 0;

	while (kit_next(e, &f))
		n += f.type == MQTT_PUBLISH;
	return n;
}

static void
publish_many(struct end *e, unsigned n, const char *payload)
{
	for (unsigned i = 0; i < n; i++)
		kit_publish(e, "t", payload, 0, false, 0);
}

/* ---- global_max_clients ---- */

static void
sessions_are_bounded(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *a, *e;

	broker_settings_default(&set);
	set.max_clients = 2;
	k = kit_begin(state, &set, NULL);
	a = kit_connect(k, &(struct connect_options){ .version = 5, .id = "a", .keep = true, .expiry = 1000 }, NULL);
	kit_join(k, 4, "bb");
	/* One too many: 5.0 is told, 3.1.1 is cut off. */
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = "ccc" });
	assert_int_equal(kit_connack(e), MQTT_RC_BUSY);
	assert_true(e->closed);
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .version = 4, .id = "ccc" });
	kit_expect_nothing(e);
	assert_true(e->closed);
	assert_string_equal(k->last_text, "the broker has its global_max_clients of 2 already");
	/* Those who are counted come and go as they like: away or not, a session is a session. */
	kit_disconnect(a, 0);
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = "ccc" });
	assert_int_equal(kit_connack(e), MQTT_RC_BUSY);
	kit_connect(k, &(struct connect_options){ .version = 5, .id = "a", .keep = true }, NULL);
	kit_join(k, 5, "bb");
	kit_join(k, 5, "a"); /* taken over, with another session in place of the old one */
	kit_join(k, 5, "a");
	/* A session that ends makes room. */
	kit_disconnect(kit_join(k, 5, "a"), 0);
	kit_join(k, 5, "ccc");
}

/* ---- rates ---- */

static struct kit *
begin_rates(void **state, const struct broker_listener *l)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_listener copy = *l;

	kit_listener(k, &copy);
	return k;
}

static void
a_publisher_above_its_rate_is_not_read_from(void **state)
{
	static const struct broker_listener l = { .client_rates = { [BROKER_MESSAGES_IN] = 10 } };
	struct kit *k = begin_rates(state, &l);
	struct end *sub = kit_join(k, 4, "sub"), *pub = kit_join(k, 4, "pub"), *other = kit_join(k, 4, "other");

	kit_subscribe(sub, "t", 0);
	publish_many(pub, 35, "x");
	assert_int_equal(count_messages(sub), 10);
	assert_false(pub->reading);
	publish_many(other, 3, "x"); /* it has a rate of its own */
	assert_int_equal(count_messages(sub), 3);
	kit_sleep(k, 99);
	assert_int_equal(count_messages(sub), 0);
	kit_sleep(k, 1);
	assert_int_equal(count_messages(sub), 1);
	for (unsigned i = 0; i < 24; i++)
		kit_sleep(k, 100);
	assert_int_equal(count_messages(sub), 24);
	/* No more is here; after a second's silence there is a second's worth again, not more. */
	kit_sleep(k, 10000);
	assert_true(pub->reading);
	publish_many(pub, 12, "x");
	assert_int_equal(count_messages(sub), 10);
	assert_false(pub->closed);
	assert_true(SUM(k, paced) > 20);
}

static void
bytes_are_limited_and_a_large_message_passes(void **state)
{
	static const struct broker_listener l = { .client_rates = { [BROKER_BYTES_IN] = 100 } };
	struct kit *k = begin_rates(state, &l);
	struct end *sub = kit_join(k, 4, "sub"), *pub = kit_join(k, 4, "pub");
	char payload[296];

	memset(payload, 'x', sizeof payload - 1);
	payload[sizeof payload - 1] = '\0';
	kit_subscribe(sub, "t", 0);
	/* 301 bytes of PUBLISH: the whole of it, and two seconds (and a byte's) of debt. */
	publish_many(pub, 2, payload);
	assert_int_equal(count_messages(sub), 1);
	kit_sleep(k, 2019);
	assert_int_equal(count_messages(sub), 0);
	kit_sleep(k, 1);
	assert_int_equal(count_messages(sub), 1);
}

static void
waiting_for_a_rate_is_no_silence(void **state)
{
	static const struct broker_listener l = { .client_rates = { [BROKER_BYTES_IN] = 10 } };
	struct kit *k = begin_rates(state, &l);
	struct end *pub = kit_connect(k, &(struct connect_options){ .id = "pub", .keep_alive = 1 }, NULL);

	kit_publish(pub, "t", "much more than is allowed in two seconds", 0, false, 0);
	assert_false(pub->reading);
	for (unsigned i = 0; i < 4; i++)
		kit_sleep(k, 900);
	assert_false(pub->closed);
	assert_true(pub->reading);
	kit_sleep(k, 1000);
	assert_false(pub->closed);
	kit_sleep(k, 1000); /* now it is */
	assert_true(pub->closed);
}

static void
a_listener_has_a_rate_for_all_its_clients(void **state)
{
	static const struct broker_listener l = { .rates = { [BROKER_MESSAGES_IN] = 10 } };
	struct kit *k = begin_rates(state, &l);
	struct end *sub = kit_join(k, 4, "sub"), *a = kit_join(k, 4, "a"), *b = kit_join(k, 4, "bb");
	unsigned n = 0;

	kit_subscribe(sub, "t", 0);
	publish_many(a, 30, "x");
	publish_many(b, 30, "x");
	n = count_messages(sub);
	assert_in_range(n, 10, 11); /* who is not held yet has one message heard before he is */
	for (unsigned i = 0; i < 20; i++)
		kit_sleep(k, 100);
	n += count_messages(sub);
	assert_in_range(n, 29, 31);
}

static void
whoever_is_above_his_rate_is_disconnected_on_wish(void **state)
{
	static const struct broker_listener l = { .client_rates = { [BROKER_MESSAGES_IN] = 10 }, .rate_disconnects = true };
	struct kit *k = begin_rates(state, &l);
	struct end *pub = kit_join(k, 5, "pub");
	struct mqtt_disconnect d;
	struct mqtt_frame f;

	publish_many(pub, 10, "x");
	assert_false(pub->closed);
	assert_true(pub->reading);
	publish_many(pub, 1, "x");
	assert_true(pub->closed);
	f = kit_expect(pub, MQTT_DISCONNECT);
	assert_int_equal(mqtt_decode_disconnect(&f, 5, &d), MQTT_RC_OK);
	assert_int_equal(d.reason, MQTT_RC_RATE);
}

static void
deliveries_have_a_rate_too(void **state)
{
	static const struct broker_listener l = { .client_rates = { [BROKER_MESSAGES_OUT] = 10 } };
	struct kit *k = begin_rates(state, &l);
	struct end *sub = kit_join(k, 4, "sub"), *pub = kit_join(k, 4, "pub");

	kit_subscribe(sub, "t", 0);
	publish_many(pub, 25, "x");
	assert_true(pub->reading);
	assert_int_equal(count_messages(sub), 10);
	kit_sleep(k, 99);
	assert_int_equal(count_messages(sub), 0);
	for (unsigned i = 0; i < 15; i++)
		kit_sleep(k, 100);
	assert_int_equal(count_messages(sub), 15);
	/* The end does not wait for it. */
	publish_many(pub, 25, "x");
	kit_disconnect(sub, 0);
}

static void
rates_follow_a_reload(void **state)
{
	static const struct broker_listener slow = { .client_rates = { [BROKER_MESSAGES_IN] = 1 } };
	struct broker_listener none = { .takeover_same_identity = true }, again = slow;
	struct kit *k = begin_rates(state, &slow);
	struct end *sub = kit_join(k, 4, "sub"), *pub = kit_join(k, 4, "pub");

	kit_subscribe(sub, "t", 0);
	publish_many(pub, 5, "x");
	assert_int_equal(count_messages(sub), 1);
	kit_listener(k, &none);
	assert_int_equal(count_messages(sub), 4);
	kit_listener(k, &again);
	publish_many(pub, 5, "x");
	assert_int_equal(count_messages(sub), 1);
}

int
main(void)
{
	static const struct kit_test tests[] = {
		{ "sessions_are_bounded", sessions_are_bounded },
		{ "a_publisher_above_its_rate_is_not_read_from", a_publisher_above_its_rate_is_not_read_from },
		{ "bytes_are_limited_and_a_large_message_passes", bytes_are_limited_and_a_large_message_passes },
		{ "waiting_for_a_rate_is_no_silence", waiting_for_a_rate_is_no_silence },
		{ "a_listener_has_a_rate_for_all_its_clients", a_listener_has_a_rate_for_all_its_clients },
		{ "whoever_is_above_his_rate_is_disconnected_on_wish", whoever_is_above_his_rate_is_disconnected_on_wish },
		{ "deliveries_have_a_rate_too", deliveries_have_a_rate_too },
		{ "rates_follow_a_reload", rates_follow_a_reload },
	};

	return kit_run("broker limits", tests, ARRAY_LEN(tests));
}
