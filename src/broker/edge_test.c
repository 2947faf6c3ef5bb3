/* Cases at the edges: what a change of identity, a smaller client or a slow one makes of a session. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

/* The policy gives the id, borrowed from the certificate; the user name makes the principal another. */
static void
assigned_id_outlives_the_certificate(void **state)
{
	struct kit *k = kit_begin(state, NULL, "connect everyone\nclient-id role client equals %u\nallow role client publish #\n");
	struct end *e = kit_open(k, 0, "dev1", AUTHZ_ROLE_CLIENT);
	struct mqtt_connect m = { .version = MQTT_V5, .clean_start = true, .has_username = true, .username = SL("other") };
	uint8_t buf[64];
	struct wr w = wr_of(buf, sizeof buf);
	struct mqtt_frame f;
	struct mqtt_connack a;

	assert_true(mqtt_put_connect(&w, &m));
	e->version = MQTT_V5;
	kit_feed(e, buf, wr_len(&w));
	f = kit_expect(e, MQTT_CONNACK);
	assert_int_equal(mqtt_decode_connack(&f, MQTT_V5, &a), MQTT_RC_OK);
	assert_int_equal(a.code, 0);
	assert_true(slice_eq(a.props.assigned_client_id, SL("dev1")));
}

static const char roles[] = "connect everyone\nallow role watch subscribe #\nallow role client subscribe dev/%u/#\n"
			    "allow role control publish,subscribe #\n";

static struct end *
enter(struct kit *k, const char *cn, enum authz_role role, const char *id)
{
	struct end *e = kit_open(k, (unsigned)cn[0] % k->n, cn, role);

	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = id, .keep = true, .expiry = 100 });
	assert_int_equal(kit_connack(e), 0);
	return e;
}

/* Where anybody may go on with a session, what it subscribed to and what waits in it was granted to somebody else. */
static void
rights_do_not_pass_on(void **state)
{
	struct kit *k = kit_begin(state, NULL, roles);
	struct broker_listener l = { .takeover_same_identity = false };
	struct err err;
	struct end *e, *control;

	l.policy = authz_policy_parse(slice_str(roles), "test", &err);
	assert_non_null(l.policy);
	assert_true(broker_set_listeners(k->broker, &l, 1));
	authz_policy_unref(l.policy);
	kit_pump(k);
	control = enter(k, "boss", AUTHZ_ROLE_CONTROL, "boss");
	e = enter(k, "watcher", AUTHZ_ROLE_WATCH, "x");
	kit_subscribe_opt(e, "#", 1, 0, 1);
	kit_subscribe_opt(e, "$share/g/shared", 1, 0, 1);
	for (uint16_t i = 1; i <= 25; i++) { /* more than the window: some wait */
		kit_publish(control, "secret", "waits", 1, false, i);
		kit_expect(control, MQTT_PUBACK);
	}
	kit_cut(e);
	e = enter(k, "device", AUTHZ_ROLE_CLIENT, "x");
	kit_publish(control, "secret", "new", 1, false, 30);
	kit_publish(control, "shared", "new", 1, false, 31);
	kit_expect_nothing(e);
	kit_publish(control, "dev/device/a", "yours", 1, false, 32);
	kit_message(e, "dev/device/a", "yours");
	kit_expect_nothing(e);
}

/* Maximum Packet Size and Receive Maximum are those of the connection that a message goes to, not of the one for which it
 * was queued [MQTT-3.1.2-24] [MQTT-3.3.4-9]. */
static void
smaller_on_return(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct connect_options o = { .version = 5, .id = "sub", .keep = true, .expiry = 100 };
	struct end *sub = kit_connect(k, &o, NULL), *pub = kit_join(k, 4, "pub");
	char big[200];
	uint16_t ids[3];

	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = 0;
	kit_subscribe(sub, "t", 1);
	kit_publish(pub, "t", big, 1, false, 1); /* in flight, and too large later */
	kit_publish(pub, "t", "1", 1, false, 2);
	kit_publish(pub, "t", "2", 1, false, 3);
	kit_publish(pub, "t", "3", 1, false, 4);
	kit_cut(sub);
	kit_publish(pub, "t", big, 1, false, 5); /* waits */
	kit_publish(pub, "t", "4", 1, false, 6);
	o.maximum_packet = 100;
	o.receive_maximum = 2;
	sub = kit_connect(k, &o, NULL);
	ids[0] = kit_message(sub, "t", "1").packet_id;
	ids[1] = kit_message(sub, "t", "2").packet_id;
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBACK, ids[1]);
	ids[2] = kit_message(sub, "t", "3").packet_id;
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBACK, ids[0]);
	ids[0] = kit_message(sub, "t", "4").packet_id;
	kit_ack(sub, MQTT_PUBACK, ids[2]);
	kit_ack(sub, MQTT_PUBACK, ids[0]);
	kit_publish(pub, "t", "5", 1, false, 7);
	kit_message(sub, "t", "5");
}

/* A QoS 2 exchange half done, with a smaller window on return. */
static void
smaller_on_return_qos2(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct connect_options o = { .version = 5, .id = "sub", .keep = true, .expiry = 100 };
	struct end *sub = kit_connect(k, &o, NULL), *pub = kit_join(k, 4, "pub");
	uint16_t one, two, three;

	kit_subscribe(sub, "t", 2);
	for (uint16_t i = 1; i <= 3; i++) {
		kit_publish(pub, "t", (char[2]){ (char)('0' + i), 0 }, 2, false, i);
		kit_ack(pub, MQTT_PUBREL, i);
	}
	one = kit_message(sub, "t", "1").packet_id;
	two = kit_message(sub, "t", "2").packet_id;
	three = kit_message(sub, "t", "3").packet_id;
	kit_ack(sub, MQTT_PUBREC, two);
	kit_expect(sub, MQTT_PUBREL);
	kit_cut(sub);
	o.receive_maximum = 1;
	sub = kit_connect(k, &o, NULL);
	assert_int_equal(kit_message(sub, "t", "1").packet_id, one);
	kit_expect(sub, MQTT_PUBREL);
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBCOMP, two);
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBREC, one);
	kit_expect(sub, MQTT_PUBREL);
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBCOMP, one);
	assert_int_equal(kit_message(sub, "t", "3").packet_id, three);
	kit_ack(sub, MQTT_PUBREC, three);
	kit_expect(sub, MQTT_PUBREL);
	kit_ack(sub, MQTT_PUBCOMP, three);
	kit_publish(pub, "t", "4", 1, false, 9);
	kit_message(sub, "t", "4");
}

/* What was sent once does not expire any more [MQTT-4.3.3-7]; what waits behind it does. */
static void
expiry_under_way(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct connect_options o = { .version = 5, .id = "sub", .keep = true, .expiry = 100, .receive_maximum = 1 };
	struct end *sub = kit_connect(k, &o, NULL), *pub = kit_join(k, 5, "pub");
	struct mqtt_publish m;

	kit_subscribe(sub, "t", 2);
	kit_feed(pub, "\x34\x0c\0\1t\0\1\5\2\0\0\0\x05" "a", 14);
	kit_feed(pub, "\x34\x0c\0\1t\0\2\5\2\0\0\0\x05" "b", 14);
	kit_message(sub, "t", "a");
	kit_cut(sub);
	kit_sleep(k, 6000);
	sub = kit_connect(k, &o, NULL);
	m = kit_message(sub, "t", "a");
	assert_true(m.dup);
	kit_ack(sub, MQTT_PUBREC, m.packet_id);
	kit_expect(sub, MQTT_PUBREL);
	kit_ack(sub, MQTT_PUBCOMP, m.packet_id);
	kit_expect_nothing(sub);
}

/* 4.3.3: an error in PUBREC ends the exchange, known or not. */
static void
pubrec_with_error(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, 5, "e");

	kit_feed(e, "\x50\x03\0\7\x87", 5);
	kit_expect_nothing(e);
}

/* The will of a member goes to those who stay. */
static void
will_of_a_member(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *other = kit_join(k, 5, "other");

	kit_subscribe(other, "$share/g/w", 1);
	for (unsigned i = 0; i < 4; i++) {
		struct end *e = kit_connect(k, &(struct connect_options){ .version = 5, .id = "dying", .will_topic = "w",
		    .will_payload = "gone", .will_qos = 1 }, NULL);

		kit_subscribe(e, "$share/g/w", 1);
		kit_cut(e);
		kit_ack(other, MQTT_PUBACK, kit_message(other, "w", "gone").packet_id);
	}
}

/* Retained messages in plenty for a client that reads: all of them, whatever their size. */
static void
retained_in_bulk(void **state)
{
	struct broker_settings s;
	struct kit *k;
	struct end *pub, *sub;
	char topic[16], payload[900];
	unsigned n = 0;
	struct mqtt_frame f;

	broker_settings_default(&s);
	s.max_out_bytes = 20000;
	k = kit_begin(state, &s, NULL);
	pub = kit_join(k, 4, "pub");
	memset(payload, 'x', sizeof payload - 1);
	payload[sizeof payload - 1] = 0;
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(topic, sizeof topic, "r/%u", i);
		kit_publish(pub, topic, payload, 0, true, 0);
	}
	sub = kit_join(k, 4, "sub");
	kit_subscribe(sub, "r/#", 0);
	while (kit_next(sub, &f))
		n++;
	assert_int_equal(n, 300);
}

/* The same at QoS 1 to a queue that is bounded in bytes: what has no room waits at its home. */
static void
retained_and_full_queues(void **state)
{
	struct broker_settings s;
	struct kit *k;
	struct end *pub, *sub;
	char topic[16], payload[400];
	unsigned n = 0;
	struct mqtt_frame f;

	broker_settings_default(&s);
	s.max_queued_bytes = 2000;
	s.max_inflight = 2;
	k = kit_begin(state, &s, NULL);
	pub = kit_join(k, 4, "pub");
	memset(payload, 'x', sizeof payload - 1);
	payload[sizeof payload - 1] = 0;
	for (unsigned i = 0; i < 200; i++) {
		(void)snprintf(topic, sizeof topic, "r/%u", i);
		kit_publish(pub, topic, payload, 1, true, 1);
	}
	/* All by one filter, and each by one of its own. */
	for (unsigned each = 0; each < 2; each++) {
		static char text[200][8];
		static uint8_t buf[200 * 12];
		struct wr w = wr_of(buf, sizeof buf);
		struct mqtt_sub subs[200] = { { SL("r/#"), 1 } };

		for (unsigned i = 0; each && i < 200; i++) {
			(void)snprintf(text[i], sizeof text[i], "r/%u", i);
			subs[i] = (struct mqtt_sub){ slice_str(text[i]), 1 };
		}
		sub = kit_join(k, 4, each ? "sub" : "other");
		assert_true(mqtt_put_filters(&w, 4, MQTT_SUBSCRIBE, 1, subs, each ? 200 : 1, NULL));
		kit_feed(sub, buf, wr_len(&w));
		kit_expect(sub, MQTT_SUBACK);
		for (n = 0; kit_next(sub, &f); n++) {
			struct mqtt_publish m;

			assert_int_equal(mqtt_decode_publish(&f, 4, false, &m), MQTT_RC_OK);
			kit_ack(sub, MQTT_PUBACK, m.packet_id);
		}
		assert_int_equal(n, 200);
	}
}

/* Twenty thousand walks at a time cost what one does, each: the square of that would not end here. */
static void
very_many_walks(void **state)
{
	enum { N = 20000, PACKET = 1000 };
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *pub = kit_join(k, 4, "pub"), *sub = kit_join(k, 4, "sub");
	static char text[PACKET][16];
	static uint8_t buf[PACKET * 20];
	struct mqtt_sub subs[PACKET];
	struct mqtt_frame f;
	unsigned n = 0;

	kit_publish(pub, "r/7", "x", 0, true, 0);
	kit_publish(pub, "r/19999", "x", 0, true, 0);
	k->manual = true; /* all of them are asked before any is answered */
	for (unsigned at = 0; at < N; at += PACKET) {
		struct wr w = wr_of(buf, sizeof buf);

		for (unsigned i = 0; i < PACKET; i++) {
			(void)snprintf(text[i], sizeof text[i], "r/%u/#", at + i);
			subs[i] = (struct mqtt_sub){ slice_str(text[i]), 0 };
		}
		assert_true(mqtt_put_filters(&w, 4, MQTT_SUBSCRIBE, 1, subs, PACKET, NULL));
		kit_feed(sub, buf, wr_len(&w));
	}
	k->manual = false;
	kit_pump(k);
	while (kit_next(sub, &f))
		n += f.type == MQTT_PUBLISH;
	assert_int_equal(n, 2);
}

/* A session's subscriptions have a limit, and the answers that a client does not read hold up what it sends. */
static void
subscriptions_have_a_limit(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, 5, "e");
	uint8_t *buf = malloc(8 + 8u * 70000), code = 0;
	struct wr w;
	struct mqtt_sub subs[2000];
	char text[2000][8];
	unsigned total = 0, refused = 0;
	struct mqtt_suback a;

	assert_non_null(buf);
	for (unsigned round = 0; round < 34; round++) {
		for (unsigned i = 0; i < 2000; i++) {
			(void)snprintf(text[i], sizeof text[i], "%u", total++);
			subs[i] = (struct mqtt_sub){ slice_str(text[i]), 0 };
		}
		w = wr_of(buf, 8 + 8u * 70000);
		assert_true(mqtt_put_filters(&w, 5, MQTT_SUBSCRIBE, 1, subs, 2000, NULL));
		kit_feed(e, buf, wr_len(&w));
		struct mqtt_frame f = kit_expect(e, MQTT_SUBACK);
		assert_int_equal(mqtt_decode_suback(&f, 5, &a), MQTT_RC_OK);
		for (size_t i = 0; i < a.codes.n; i++)
			if (a.codes.p[i] != 0)
				refused++, code = a.codes.p[i];
	}
	free(buf);
	assert_int_equal(total - refused, 65536);
	assert_int_equal(code, MQTT_RC_QUOTA);
}

static void
shared_have_a_limit(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, 5, "e");
	char text[32];

	for (unsigned i = 0; i < 8192; i++) {
		(void)snprintf(text, sizeof text, "$share/g/%u", i);
		kit_subscribe(e, text, 0);
	}
	kit_subscribe_opt(e, "$share/g/more", 0, 0, MQTT_RC_QUOTA);
	kit_subscribe(e, "$share/g/7", 1); /* again */
	kit_subscribe(e, "plain", 1);
}

/* Two clients with different homes; on one shard there is only one. */
static bool
apart(struct kit *k, struct end **ret_pub, struct end **ret_sub)
{
	char id[16];

	*ret_pub = kit_join(k, 5, "pub");
	for (unsigned i = 0; k->n > 1 && i < 100; i++) {
		(void)snprintf(id, sizeof id, "sub%u", i);
		*ret_sub = kit_join(k, 5, id);
		if ((*ret_sub)->shard != (*ret_pub)->shard)
			return true;
	}
	return false;
}

static void
publish_large(struct end *e, uint8_t qos)
{
	enum { SIZE = 1000000 };
	uint8_t *payload = calloc(1, SIZE), *buf = malloc(SIZE + 100);
	struct wr w = wr_of(buf, SIZE + 100);
	struct mqtt_publish m = { .topic = SL("t"), .payload = { payload, SIZE }, .qos = qos, .packet_id = qos };

	assert_true(mqtt_put_publish(&w, MQTT_V5, &m));
	kit_feed(e, buf, wr_len(&w));
	kit_turn(e->kit, e->shard);
	free(payload);
	free(buf);
}

/* A shard that does not get to its letters: QoS 0 towards it is dropped, publishers of QoS 1 wait, until it has caught up. */
static void
slow_shard(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *pub, *sub;
	const struct shard_stats *stats;

	if (!apart(k, &pub, &sub))
		return;
	stats = shard_stats(broker_shard(k->broker, pub->shard));
	kit_subscribe(sub, "t", 0);
	k->manual = true;
	for (unsigned i = 0; i < 60; i++)
		publish_large(pub, 0);
	assert_int_equal(stats->dropped, 0);
	for (unsigned i = 0; i < 60; i++)
		publish_large(pub, 0);
	assert_in_range(stats->dropped, 50, 60);
	assert_true(pub->reading);
	publish_large(pub, 1);
	assert_false(pub->reading);
	k->manual = false;
	kit_pump(k);
	kit_sleep(k, 5);
	assert_true(pub->reading);
	kit_publish(pub, "t", "again", 1, false, 2);
	for (struct mqtt_frame f; kit_next(sub, &f);)
		;
	kit_publish(pub, "t", "more", 0, false, 0);
	kit_message(sub, "t", "more");
}

/* A SUBSCRIBE between a publisher's look at the interest map and the moment when the topic's home stores the message. */
static void
retained_and_subscribe_at_once(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *pub, *sub;

	if (!apart(k, &pub, &sub))
		return;
	k->manual = true;
	kit_publish(pub, "r/t", "new", 1, true, 1);
	kit_feed(sub, "\x82\x08\0\1\0\0\2r/\0", 10);
	kit_feed(sub, "\x82\x09\0\2\0\0\3r/t\0", 11);
	for (unsigned i = 0; i < k->n; i++)
		if (i != pub->shard)
			kit_turn(k, i);
	for (unsigned i = 0; i < k->n; i++)
		if (i != pub->shard)
			kit_turn(k, i);
	k->manual = false;
	kit_pump(k);
	kit_expect(sub, MQTT_SUBACK);
	kit_expect(sub, MQTT_SUBACK);
	kit_message(sub, "r/t", "new");
}

/* Who has seen the SUBACK and publishes then is heard once: live, not as a retained message as well. */
static void
retained_since_suback(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *pub, *sub;
	char topic[8];

	if (!apart(k, &pub, &sub))
		return;
	kit_publish(pub, "r/old", "old", 1, true, 9);
	k->manual = true;
	kit_feed(sub, "\x82\x07\0\1\0\0\1#\0", 9);
	kit_turn(k, sub->shard);
	kit_expect(sub, MQTT_SUBACK);
	for (unsigned i = 0; i < 8; i++) {
		(void)snprintf(topic, sizeof topic, "r/%u", i);
		kit_publish(pub, topic, "new", 1, true, (uint16_t)(10 + i));
	}
	k->manual = false;
	kit_pump(k);
	for (unsigned i = 0, live = 0, old = 0; i < 9; i++) {
		struct mqtt_frame f = kit_expect(sub, MQTT_PUBLISH);
		struct mqtt_publish m;

		assert_int_equal(mqtt_decode_publish(&f, 5, false, &m), MQTT_RC_OK);
		live += !m.retain;
		old += m.retain;
		assert_in_range(live, 0, 8);
		assert_in_range(old, 0, 1);
	}
	kit_expect_nothing(sub);
}

/* What stands between user properties does not part them (3.1.3.2.8). */
static void
properties_of_a_will(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *watch = kit_join(k, 5, "watch"), *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	static const uint8_t connect[] = "\x10\x31\0\4MQTT\5\6\0\0\0\0\3abc"
					 "\x17\x26\0\1a\0\1""1\x18\0\0\0\0\x26\0\1b\0\1""2\x03\0\1c"
					 "\0\1w\0\4dead";
	struct mqtt_frame f;
	struct mqtt_publish m;

	kit_subscribe(watch, "w", 0);
	e->version = 5;
	kit_feed(e, connect, sizeof connect - 1);
	assert_int_equal(kit_connack(e), 0);
	kit_cut(e);
	f = kit_expect(watch, MQTT_PUBLISH);
	assert_int_equal(mqtt_decode_publish(&f, 5, false, &m), MQTT_RC_OK);
	assert_int_equal(m.props.n, 18);
	assert_memory_equal(m.props.p, "\x26\0\1a\0\1""1\x26\0\1b\0\1""2\x03\0\1c", 18);
}

#define TEST(name) { #name, name }
static const struct kit_test tests[] = {
	TEST(assigned_id_outlives_the_certificate),
	TEST(rights_do_not_pass_on),
	TEST(smaller_on_return),
	TEST(smaller_on_return_qos2),
	TEST(expiry_under_way), TEST(pubrec_with_error),
	TEST(will_of_a_member),
	TEST(retained_in_bulk),
	TEST(retained_and_full_queues),
	TEST(very_many_walks),
	TEST(subscriptions_have_a_limit),
	TEST(shared_have_a_limit),
	TEST(slow_shard),
	TEST(retained_and_subscribe_at_once),
	TEST(retained_since_suback),
	TEST(properties_of_a_will),
};

int
main(void)
{
	return kit_run("broker edges", tests, ARRAY_LEN(tests));
}
