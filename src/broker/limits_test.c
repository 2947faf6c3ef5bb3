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

/* ---- slow consumers ---- */

static void
drops_are_attributed_and_told_once_an_interval(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *pub;

	broker_settings_default(&set);
	set.max_queued_messages = 5;
	set.drop_log_s = 10;
	k = kit_begin(state, &set, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct end *e = kit_connect(k, &(struct connect_options){ .id = i == 0 ? "away" : "other", .keep = true }, NULL);

		kit_subscribe(e, i == 0 ? "a" : "b", 1);
		kit_disconnect(e, 0);
	}
	pub = kit_join(k, 4, "pub");
	for (uint16_t i = 1; i <= 6; i++)
		kit_publish(pub, "a", "x", 1, false, i);
	assert_int_equal(k->counts[BROKER_DROPPING], 1); /* at once */
	assert_string_equal(k->last_id, "away");
	assert_int_equal(k->drops[BROKER_DROP_QUEUE], 1);
	for (uint16_t i = 1; i <= 100; i++)
		kit_publish(pub, "a", "x", 1, false, i);
	kit_sleep(k, 9999);
	assert_int_equal(k->counts[BROKER_DROPPING], 1);
	for (unsigned i = 0; i < 3; i++)
		kit_sleep(k, 1000);
	assert_int_equal(k->counts[BROKER_DROPPING], 2);
	assert_int_equal(k->drops[BROKER_DROP_QUEUE], 100);
	assert_int_equal(k->drops_total, 101);
	assert_int_equal(SUM(k, dropped), 101);
	assert_int_equal(SUM(k, drops[BROKER_DROP_QUEUE][AUTHZ_ROLE_NONE]), 101);
	/* Another client has a line of its own. */
	for (uint16_t i = 1; i <= 6; i++)
		kit_publish(pub, "b", "x", 1, false, i);
	assert_int_equal(k->counts[BROKER_DROPPING], 3);
	assert_string_equal(k->last_id, "other");
	/* Quiet for long: the next one is told at once again, with the sum. */
	for (unsigned i = 0; i < 60; i++)
		kit_sleep(k, 1000);
	assert_int_equal(k->counts[BROKER_DROPPING], 3);
	kit_publish(pub, "a", "x", 1, false, 1);
	assert_int_equal(k->counts[BROKER_DROPPING], 4);
	assert_int_equal(k->drops_total, 102);
}

static void
many_slow_clients_are_not_many_lines(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *pub;
	char id[8];

	broker_settings_default(&set);
	set.max_queued_messages = 1;
	set.drop_log_s = 10;
	k = kit_begin(state, &set, NULL);
	for (unsigned i = 0; i < 200; i++) {
		struct end *e;

		(void)snprintf(id, sizeof id, "c%u", i);
		e = kit_connect(k, &(struct connect_options){ .id = id, .keep = true }, NULL);
		kit_subscribe(e, "a", 1);
		kit_disconnect(e, 0);
		kit_forget(e);
	}
	pub = kit_join(k, 4, "pub");
	kit_publish(pub, "a", "x", 1, false, 1);
	kit_publish(pub, "a", "x", 1, false, 2);
	assert_int_equal(SUM(k, dropped), 200);
	assert_int_equal(k->counts[BROKER_DROPPING], 20 * k->n);
	for (unsigned i = 0; i < 12; i++)
		kit_sleep(k, 1000);
	assert_int_equal(k->counts[BROKER_DROPPING], 21 * k->n);
	assert_int_equal(k->last_id[0], '\0');
	assert_true(k->drops_clients > 0);
}

static void
each_reason_is_counted_apart(void **state)
{
	struct broker_listener l = { .client_rates = { [BROKER_MESSAGES_OUT] = 1 } };
	struct broker_settings set;
	struct kit *k;
	struct end *sub, *small, *pub;
	char payload[600];

	memset(payload, 'x', sizeof payload - 1);
	payload[sizeof payload - 1] = '\0';
	broker_settings_default(&set);
	set.max_out_bytes = 4000;
	set.max_queued_bytes = 1000;
	k = kit_begin(state, &set, NULL);
	pub = kit_join(k, 4, "pub");
	small = kit_connect(k, &(struct connect_options){ .version = 5, .id = "small", .maximum_packet = 100 }, NULL);
	kit_subscribe(small, "t", 0);
	publish_many(pub, 3, payload);
	assert_int_equal(SUM(k, drops[BROKER_DROP_SIZE][AUTHZ_ROLE_NONE]), 3);
	kit_disconnect(small, 0);
	kit_listener(k, &l);
	sub = kit_join(k, 4, "sub");
	kit_subscribe(sub, "t", 0);
	publish_many(pub, 20, payload);
	assert_in_range(SUM(k, drops[BROKER_DROP_RATE][AUTHZ_ROLE_NONE]), 10, 14);
	assert_int_equal(SUM(k, drops[BROKER_DROP_SLOW][AUTHZ_ROLE_NONE]), 0);
	kit_disconnect(kit_connect(k, &(struct connect_options){ .id = "away", .keep = true }, NULL), 0);
	sub = kit_connect(k, &(struct connect_options){ .id = "away", .keep = true }, NULL);
	kit_subscribe(sub, "q", 1);
	kit_disconnect(sub, 0);
	kit_publish(pub, "q", payload, 1, false, 1);
	kit_publish(pub, "q", payload, 1, false, 2);
	assert_int_equal(SUM(k, drops[BROKER_DROP_QUEUE_BYTES][AUTHZ_ROLE_NONE]), 1);
}

static void
a_reader_too_slow_loses_qos_0(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *sub, *pub;

	broker_settings_default(&set);
	set.max_out_bytes = 4000;
	k = kit_begin(state, &set, NULL);
	if (k->n > 1) /* its turn would send what is to wait here */
		return;
	sub = kit_join(k, 4, "sub");
	pub = kit_join(k, 4, "pub");
	kit_subscribe(sub, "t", 0);
	k->manual = true;
	publish_many(pub, 100, "about a hundred bytes with all that belongs to a message in memory, as it is in the queue");
	k->manual = false;
	assert_int_equal(k->counts[BROKER_DROPPING], 1);
	assert_in_range(SUM(k, drops[BROKER_DROP_SLOW][AUTHZ_ROLE_NONE]), 50, 90);
	assert_int_equal(SUM(k, drops[BROKER_DROP_SLOW][AUTHZ_ROLE_NONE]), SUM(k, dropped));
}

/* ---- identities, and clients that flap ---- */

static uint8_t
come(struct kit *k, const char *id, const char *cn, const char *user, struct end **ret)
{
	struct end *e = kit_open(k, (unsigned)strlen(id) % k->n, cn, cn != NULL ? AUTHZ_ROLE_CLIENT : AUTHZ_ROLE_NONE);

	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = id, .username = user });
	if (ret != NULL)
		*ret = e;
	return kit_connack(e);
}

static void
an_identity_has_so_many_connections(void **state)
{
	static const struct broker_listener l = { .max_per_identity = 2, .takeover_same_identity = true };
	struct kit *k = begin_rates(state, &l);
	struct end *a, *b;

	/* By certificate, on whichever shard. */
	assert_int_equal(come(k, "a", "device", NULL, &a), 0);
	assert_int_equal(come(k, "bb", "device", NULL, &b), 0);
	assert_int_equal(come(k, "ccc", "device", NULL, NULL), MQTT_RC_QUOTA);
	assert_non_null(strstr(k->last_text, "max_connections_per_identity of 2"));
	assert_int_equal(come(k, "dddd", "another", NULL, NULL), 0);
	/* The same client once more takes its own place. */
	assert_int_equal(come(k, "a", "device", NULL, &a), 0);
	assert_int_equal(come(k, "ccc", "device", NULL, NULL), MQTT_RC_QUOTA);
	kit_cut(a);
	assert_int_equal(come(k, "ccc", "device", NULL, NULL), 0);
	assert_int_equal(come(k, "a", "device", NULL, NULL), MQTT_RC_QUOTA);
	kit_disconnect(b, 0);
	assert_int_equal(come(k, "a", "device", NULL, NULL), 0);
	/* By user name. */
	assert_int_equal(come(k, "u", NULL, "user1", NULL), 0);
	assert_int_equal(come(k, "uu", NULL, "user1", NULL), 0);
	assert_int_equal(come(k, "uuu", NULL, "user1", NULL), MQTT_RC_QUOTA);
	assert_int_equal(come(k, "uuu", NULL, "user2", NULL), 0);
	/* Nobody in particular has no number. */
	for (unsigned i = 1; i < 9; i++)
		assert_int_equal(come(k, &"xxxxxxxx"[8 - i], NULL, NULL, NULL), 0);
}

static void
a_refusal_does_not_count(void **state)
{
	static const struct broker_listener l = { .max_per_identity = 1, .takeover_same_identity = true };
	struct kit *k = begin_rates(state, &l);
	struct end *a;

	assert_int_equal(come(k, "a", "owner", NULL, &a), 0);
	/* Refused after it was counted: the id is another's. */
	assert_int_equal(come(k, "a", "thief", NULL, NULL), MQTT_RC_CLIENT_ID);
	assert_int_equal(come(k, "b", "thief", NULL, NULL), 0);
	assert_false(a->closed);
}

static void
who_flaps_is_held_off_for_a_growing_time(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *e;
	unsigned told = 0;

	broker_settings_default(&set);
	set.flap_connects = 5;
	set.flap_hold_s = 6;
	k = kit_begin(state, &set, NULL);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(come(k, "a", NULL, "user1", &e), 0);
		kit_disconnect(e, 0);
	}
	for (uint64_t hold = 1000; hold <= 8000; hold *= 2) {
		assert_int_equal(come(k, "a", NULL, "user1", NULL), MQTT_RC_CONNECTION_RATE);
		assert_int_equal(k->counts[BROKER_FLAPPING], ++told);
		kit_sleep(k, NUM_MIN(hold, (uint64_t)6000) - 1);
		assert_int_equal(come(k, "a", NULL, "user1", NULL), MQTT_RC_CONNECTION_RATE);
		assert_int_equal(k->counts[BROKER_FLAPPING], told); /* one line for all of them */
		kit_sleep(k, 1);
	}
	/* 13 s later it has one more of its five a minute. The longest hold stays what it is. */
	assert_int_equal(come(k, "a", NULL, "user1", &e), 0);
	kit_disconnect(e, 0);
	assert_int_equal(come(k, "a", NULL, "user1", NULL), MQTT_RC_CONNECTION_RATE);
	told++;
	assert_string_equal(k->last_text, "held off, as it connects again and again");
	/* Others are not concerned: another id, or another user who says he is this one. */
	assert_int_equal(come(k, "b", NULL, "user1", NULL), 0);
	assert_int_equal(come(k, "a", NULL, "user2", &e), 0);
	kit_disconnect(e, 0);
	/* Some time without it, and it is as any other. */
	kit_sleep(k, 100000);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(come(k, "a", NULL, "user1", &e), 0);
		kit_disconnect(e, 0);
	}
	assert_int_equal(come(k, "a", NULL, "user1", NULL), MQTT_RC_CONNECTION_RATE);
	kit_sleep(k, 1000);
	assert_int_equal(k->counts[BROKER_FLAPPING], told + 1);
	kit_sleep(k, 15000);
	assert_int_equal(come(k, "a", NULL, "user1", NULL), 0);
}

static void
two_that_fight_for_one_id_are_held_off(void **state)
{
	struct broker_settings set;
	struct kit *k;
	uint8_t code = 0;
	unsigned n = 0;

	broker_settings_default(&set);
	set.flap_connects = 10;
	k = kit_begin(state, &set, NULL);
	while (n < 100 && (code = come(k, "a", NULL, NULL, NULL)) == 0)
		n++;
	assert_int_equal(n, 10);
	assert_int_equal(code, MQTT_RC_CONNECTION_RATE);
	assert_non_null(strstr(k->last_text, "held off"));
}

/* ---- memory ---- */

static void
memory_is_shed_in_order(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *sub, *pub, *e;

	broker_settings_default(&set);
	set.queue_qos0 = true;
	k = kit_begin(state, &set, NULL);
	sub = kit_connect(k, &(struct connect_options){ .id = "away", .keep = true }, NULL);
	kit_subscribe(sub, "t", 1);
	kit_disconnect(sub, 0);
	sub = kit_join(k, 4, "sub");
	kit_subscribe(sub, "t", 1);
	pub = kit_join(k, 4, "pub");

	broker_shed(k->broker, BROKER_SHED_QOS0, UINT64_MAX);
	kit_pump(k);
	kit_publish(pub, "t", "x", 0, false, 0);
	assert_int_equal(count_messages(sub), 1);
	assert_int_equal(SUM(k, drops[BROKER_DROP_SHED][AUTHZ_ROLE_NONE]), 1); /* of the one that is away */
	kit_join(k, 4, "other");

	broker_shed(k->broker, BROKER_SHED_CONNECTS, UINT64_MAX);
	kit_pump(k);
	for (uint8_t v = 4; v <= 5; v++) {
		e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
		kit_send_connect(e, &(struct connect_options){ .version = v, .id = "new" });
		assert_int_equal(kit_connack(e), v == 4 ? 3 : MQTT_RC_BUSY);
	}
	kit_publish(pub, "t", "x", 1, false, 1);
	kit_expect(pub, MQTT_PUBACK);
	assert_int_equal(count_messages(sub), 1);

	broker_shed(k->broker, BROKER_SHED_PUBLISHERS, UINT64_MAX);
	kit_pump(k);
	kit_publish(pub, "t", "x", 1, false, 2);
	kit_expect_nothing(pub);
	assert_false(pub->reading);
	assert_true(sub->reading); /* acknowledgements make room */
	kit_ack(sub, MQTT_PUBACK, 1);
	kit_sleep(k, 29000);
	assert_false(pub->closed);
	broker_shed(k->broker, BROKER_SHED_NONE, UINT64_MAX);
	kit_pump(k);
	kit_expect(pub, MQTT_PUBACK);
	assert_int_equal(count_messages(sub), 1);
	kit_join(k, 4, "new");
}

static void
whoever_is_held_too_long_is_ended(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *pub = kit_connect(k, &(struct connect_options){ .version = 5, .id = "pub", .keep_alive = 5 }, NULL);
	struct end *idle = kit_join(k, 5, "idle");
	struct mqtt_disconnect d;
	struct mqtt_frame f;

	broker_shed(k->broker, BROKER_SHED_PUBLISHERS, UINT64_MAX);
	kit_pump(k);
	kit_publish(pub, "t", "x", 0, false, 0);
	for (unsigned i = 0; i < 29; i++)
		kit_sleep(k, 1000);
	assert_false(pub->closed);
	kit_sleep(k, 1000);
	assert_true(pub->closed);
	f = kit_expect(pub, MQTT_DISCONNECT);
	assert_int_equal(mqtt_decode_disconnect(&f, 5, &d), MQTT_RC_OK);
	assert_int_equal(d.reason, MQTT_RC_QUOTA);
	assert_false(idle->closed);
}

static void
an_allowance_is_used_up_between_two_measurements(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *pub = kit_join(k, 4, "pub");
	char payload[1001];

	memset(payload, 'x', sizeof payload - 1);
	payload[sizeof payload - 1] = '\0';
	broker_shed(k->broker, BROKER_SHED_NONE, 10000);
	kit_pump(k);
	publish_many(pub, 20, "small");
	assert_true(pub->reading);
	for (unsigned i = 0; i < 30 && pub->reading; i++)
		publish_many(pub, 1, payload);
	assert_false(pub->reading);
	broker_shed(k->broker, BROKER_SHED_NONE, 10000);
	kit_sleep(k, 1);
	assert_true(pub->reading);
}

static void
nothing_is_kept_for_the_absent_at_the_limit(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *sub = kit_connect(k, &(struct connect_options){ .id = "away", .keep = true }, NULL);
	struct end *w = kit_connect(k, &(struct connect_options){ .id = "w", .will_topic = "t", .will_payload = "will", .will_qos = 1 }, NULL);

	kit_subscribe(sub, "t", 1);
	kit_disconnect(sub, 0);
	broker_shed(k->broker, BROKER_SHED_QUEUES, 0);
	kit_pump(k);
	kit_cut(w);
	assert_int_equal(SUM(k, drops[BROKER_DROP_SHED][AUTHZ_ROLE_NONE]), 1);
	assert_int_equal(SUM(k, queued), 0);
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
		{ "drops_are_attributed_and_told_once_an_interval", drops_are_attributed_and_told_once_an_interval },
		{ "many_slow_clients_are_not_many_lines", many_slow_clients_are_not_many_lines },
		{ "each_reason_is_counted_apart", each_reason_is_counted_apart },
		{ "a_reader_too_slow_loses_qos_0", a_reader_too_slow_loses_qos_0 },
		{ "memory_is_shed_in_order", memory_is_shed_in_order },
		{ "whoever_is_held_too_long_is_ended", whoever_is_held_too_long_is_ended },
		{ "an_allowance_is_used_up_between_two_measurements", an_allowance_is_used_up_between_two_measurements },
		{ "nothing_is_kept_for_the_absent_at_the_limit", nothing_is_kept_for_the_absent_at_the_limit },
		{ "an_identity_has_so_many_connections", an_identity_has_so_many_connections },
		{ "a_refusal_does_not_count", a_refusal_does_not_count },
		{ "who_flaps_is_held_off_for_a_growing_time", who_flaps_is_held_off_for_a_growing_time },
		{ "two_that_fight_for_one_id_are_held_off", two_that_fight_for_one_id_are_held_off },
		{ "rates_follow_a_reload", rates_follow_a_reload },
	};

	return kit_run("broker limits", tests, ARRAY_LEN(tests));
}
