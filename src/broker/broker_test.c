/* The protocol as a client sees it, on one shard and on several: no sockets, no real time. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static void
first_packet(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_feed(e, "\xc0\x00", 2); /* [MQTT-3.1.0-1] */
	assert_true(e->closed);
	assert_int_equal(k->counts[BROKER_DROPPED], 1);
	assert_string_equal(k->last_text, "the first packet is not CONNECT");
	/* CVE-2023-0809: what announces 256 MB and is no CONNECT ends at its first byte. */
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_feed(e, "\x30", 1);
	assert_true(e->closed);
	/* CVE-2017-7651: a CONNECT of 100 MB ends at its header. */
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_feed(e, "\x10\xff\xff\xff\x2f", 5);
	assert_true(e->closed);
	/* A second CONNECT [MQTT-3.1.0-2]. */
	e = kit_join(k, 4, "twice");
	kit_send_connect(e, &(struct connect_options){ .id = "twice" });
	assert_true(e->closed);
	/* CVE-2017-7655: packets that only a server sends. */
	e = kit_join(k, 5, "server");
	kit_feed(e, "\x20\x03\x00\x00\x00", 5);
	assert_int_equal(kit_expect(e, MQTT_DISCONNECT).body.p[0], MQTT_RC_PROTOCOL);
	assert_true(e->closed);
}

static void
versions(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_feed(e, "\x10\x0d\0\4MQTT\7\2\0\0\0\1a", 15);
	assert_int_equal(kit_connack(e), 1); /* unacceptable protocol version */
	assert_true(e->closed);
	assert_int_equal(k->counts[BROKER_REFUSED], 1);
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	e->version = MQTT_V31;
	kit_feed_slowly(e, "\x10\x0f\0\6MQIsdp\3\2\0\0\0\1a", 17);
	assert_int_equal(kit_connack(e), 0);
	/* An empty id with clean start off cannot be kept [MQTT-3.1.3-8]. */
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_feed(e, "\x10\x0c\0\4MQTT\4\0\0\0\0\0", 14);
	assert_int_equal(kit_connack(e), 2);
	/* Without, one is made up, and 5.0 says which. */
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = "" });
	struct mqtt_connack a;
	struct mqtt_frame f = kit_expect(e, MQTT_CONNACK);
	assert_int_equal(mqtt_decode_connack(&f, 5, &a), 0);
	assert_int_equal(a.props.assigned_client_id.n, 41);
	assert_int_equal(a.props.receive_maximum, 20);
	assert_int_equal(a.props.topic_alias_maximum, 10);
	assert_int_equal(a.props.maximum_packet_size, 2000000);
	/* Authentication that says no leaves no session behind. */
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_feed(e, "\x10\x12\0\4MQTT\4\x82\0\0\0\1z\0\3bad", 20);
	assert_int_equal(kit_connack(e), 4);
	assert_string_equal(k->last_text, "bad user");
	assert_true(e->closed);
}

static void
finish(struct end *sub, const struct mqtt_publish *m)
{
	if (m->qos == 1)
		kit_ack(sub, MQTT_PUBACK, m->packet_id);
	if (m->qos == 2) {
		kit_ack(sub, MQTT_PUBREC, m->packet_id);
		kit_expect(sub, MQTT_PUBREL);
		kit_ack(sub, MQTT_PUBCOMP, m->packet_id);
	}
}

static void
every_qos_both_ways(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	for (unsigned bits = 0; bits < 36; bits++) {
		uint8_t pv = bits & 1 ? 5 : 4, sv = bits >> 1 & 1 ? 5 : 4;
		uint8_t pq = (uint8_t)(bits / 4 % 3), sq = (uint8_t)(bits / 12);
		char a[8], b[8];
		(void)snprintf(a, sizeof a, "p%u", bits);
		(void)snprintf(b, sizeof b, "s%u", bits);
		struct end *pub = kit_join(k, pv, a), *sub = kit_join(k, sv, b);
		kit_subscribe(sub, "t/+", sq);
		kit_publish(pub, "t/1", "hello", pq, false, 9);
		if (pq == 1)
			assert_int_equal(kit_expect(pub, MQTT_PUBACK).size, 4);
		if (pq == 2) {
			kit_expect(pub, MQTT_PUBREC);
			/* The same id again before PUBREL is the same message [MQTT-4.3.3-10]. */
			kit_publish(pub, "t/1", "hello", pq, false, 9);
			kit_expect(pub, MQTT_PUBREC);
			kit_ack(pub, MQTT_PUBREL, 9);
			kit_expect(pub, MQTT_PUBCOMP);
		}
		struct mqtt_publish m = kit_message(sub, "t/1", "hello");
		assert_int_equal(m.qos, NUM_MIN(pq, sq));
		assert_false(m.retain);
		assert_false(m.dup);
		if (m.qos > 0)
			assert_int_equal(m.packet_id, 1);
		finish(sub, &m);
		kit_expect_nothing(sub);
		kit_expect_nothing(pub);
		kit_disconnect(pub, 0);
		kit_disconnect(sub, 0);
	}
	assert_int_equal(k->counts[BROKER_DISCONNECTED], 72);
}

static void
nobody_listens(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, 5, "lonely");
	kit_publish(e, "x", "y", 1, false, 3);
	struct mqtt_frame f = kit_expect(e, MQTT_PUBACK);
	assert_int_equal(f.body.n, 3);
	assert_int_equal(f.body.p[2], MQTT_RC_NO_SUBSCRIBERS);
	kit_ack(e, MQTT_PUBREL, 99);
	f = kit_expect(e, MQTT_PUBCOMP);
	assert_int_equal(f.body.p[2], MQTT_RC_ID_NOT_FOUND);
	/* An unknown PUBREC or PUBACK harms nobody. */
	kit_ack(e, MQTT_PUBACK, 4);
	kit_ack(e, MQTT_PUBREC, 4);
	kit_expect(e, MQTT_PUBREL);
	assert_false(e->closed);
}

static void
order_is_kept(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *pub = kit_join(k, 4, "pub"), *sub = kit_join(k, 4, "subscriber-2");
	char text[16];
	kit_subscribe(sub, "#", 1);
	for (unsigned i = 0; i < 500; i++) {
		(void)snprintf(text, sizeof text, "%u", i);
		kit_publish(pub, "seq", text, 1, false, (uint16_t)(i + 1));
		kit_expect(pub, MQTT_PUBACK);
	}
	/* 20 in flight, the rest waits for acknowledgements (4.9). */
	for (unsigned i = 0; i < 500; i++) {
		(void)snprintf(text, sizeof text, "%u", i);
		struct mqtt_publish m = kit_message(sub, "seq", text);
		assert_int_equal(m.packet_id, i + 1);
		if (i % 20 == 19) {
			kit_expect_nothing(sub);
			for (unsigned j = i - 19; j <= i; j++)
				kit_ack(sub, MQTT_PUBACK, (uint16_t)(j + 1));
		}
	}
	kit_expect_nothing(sub);
}

static void
packet_ids_wrap(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *pub = kit_join(k, 4, "pub"), *sub = kit_join(k, 4, "sub");
	kit_subscribe(sub, "#", 1);
	for (unsigned i = 0; i < 65535 + 40; i++) {
		kit_publish(pub, "t", "x", 1, false, 1);
		struct mqtt_publish m = kit_message(sub, "t", "x");
		assert_int_equal(m.packet_id, i % 65535 + 1);
		kit_ack(sub, MQTT_PUBACK, m.packet_id);
		sub->in_n = sub->in_at = pub->in_n = pub->in_at = 0;
	}
	/* Out of order within the window. */
	for (unsigned i = 0; i < 3; i++)
		kit_publish(pub, "t", "x", 1, false, 1);
	uint16_t a = kit_message(sub, "t", "x").packet_id, b = kit_message(sub, "t", "x").packet_id;
	uint16_t c = kit_message(sub, "t", "x").packet_id;
	kit_ack(sub, MQTT_PUBACK, c);
	kit_ack(sub, MQTT_PUBACK, a);
	kit_ack(sub, MQTT_PUBACK, a);
	kit_ack(sub, MQTT_PUBACK, b);
	assert_false(sub->closed);
	kit_publish(pub, "t", "y", 1, false, 1);
	assert_int_equal(kit_message(sub, "t", "y").packet_id, c + 1);
}

static void
sessions_persist(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct connect_options keep = { .version = 5, .id = "keeper", .keep = true, .expiry = 100 };
	bool present;
	struct end *sub = kit_connect(k, &keep, &present), *pub = kit_join(k, 4, "p");
	assert_false(present);
	kit_subscribe(sub, "a/#", 2);
	kit_publish(pub, "a/1", "one", 1, false, 1);
	assert_int_equal(kit_message(sub, "a/1", "one").packet_id, 1);
	kit_publish(pub, "a/2", "two", 2, false, 2);
	uint16_t two = kit_message(sub, "a/2", "two").packet_id;
	kit_ack(sub, MQTT_PUBREC, two);
	kit_expect(sub, MQTT_PUBREL);
	kit_cut(sub);
	kit_publish(pub, "a/3", "three", 1, false, 3);
	kit_publish(pub, "a/4", "lost", 0, false, 0);
	kit_sleep(k, 99000);
	sub = kit_connect(k, &keep, &present);
	assert_true(present);
	/* What was in flight comes first, with DUP and its old id; then what waited [MQTT-4.4.0-1]. */
	struct mqtt_publish m = kit_message(sub, "a/1", "one");
	assert_true(m.dup);
	assert_int_equal(m.packet_id, 1);
	kit_expect(sub, MQTT_PUBREL);
	m = kit_message(sub, "a/3", "three");
	assert_false(m.dup);
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBCOMP, two);
	kit_ack(sub, MQTT_PUBACK, 1);
	kit_ack(sub, MQTT_PUBACK, m.packet_id);
	kit_disconnect(sub, 0);
	/* After its expiry nothing is left. */
	kit_sleep(k, 101000);
	sub = kit_connect(k, &keep, &present);
	assert_false(present);
	kit_publish(pub, "a/5", "five", 1, false, 4);
	kit_expect_nothing(sub);
	/* Clean start ends a session. */
	kit_subscribe(sub, "a/#", 1);
	kit_cut(sub);
	sub = kit_join(k, 4, "keeper");
	kit_publish(pub, "a/6", "six", 1, false, 5);
	kit_expect_nothing(sub);
}

static void
takeover(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct connect_options o = { .version = 5, .id = "me", .keep = true, .expiry = 10, .will_topic = "w",
		.will_payload = "gone" };
	bool present;
	struct end *watch = kit_join(k, 4, "watch"), *first = kit_connect(k, &o, NULL), *second;
	kit_subscribe(watch, "w", 0);
	kit_subscribe(first, "t", 1);
	second = kit_connect(k, &o, &present);
	assert_true(present);
	assert_int_equal(kit_expect(first, MQTT_DISCONNECT).body.p[0], MQTT_RC_TAKEN_OVER);
	assert_true(first->closed);
	kit_message(watch, "w", "gone"); /* the old connection did not end well (3.1.4) */
	kit_publish(watch, "t", "x", 1, false, 1);
	kit_message(second, "t", "x");
	kit_cut(second);
	/* Another identity gets neither the connection nor the queue nor the will. */
	struct end *thief = kit_open(k, 0, "thief", AUTHZ_ROLE_CLIENT);
	kit_expect(watch, MQTT_PUBACK);
	kit_message(watch, "w", "gone");
	o.version = 5;
	kit_send_connect(thief, &o);
	assert_int_equal(kit_connack(thief), MQTT_RC_CLIENT_ID);
	assert_true(thief->closed);
	second = kit_connect(k, &o, &present);
	assert_true(present);
	assert_true(kit_message(second, "t", "x").dup);
}

static void
wills(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *watch = kit_join(k, 5, "watch"), *e;
	struct connect_options o = { .version = 5, .id = "dying", .will_topic = "w/x", .will_payload = "dead",
		.will_qos = 1, .will_retain = true };
	kit_subscribe_opt(watch, "w/#", 1 | MQTT_SUB_RETAIN_AS_PUBLISHED, 0, 1);
	e = kit_connect(k, &o, NULL);
	kit_disconnect(e, 0); /* takes it back [MQTT-3.14.4-3] */
	kit_expect_nothing(watch);
	e = kit_connect(k, &o, NULL);
	kit_disconnect(e, MQTT_RC_WITH_WILL);
	struct mqtt_publish m = kit_message(watch, "w/x", "dead");
	assert_true(m.retain);
	finish(watch, &m);
	e = kit_connect(k, &o, NULL);
	kit_feed(e, "\xf0\xff\xff\xff\xff\xff", 6); /* garbage */
	m = kit_message(watch, "w/x", "dead");
	finish(watch, &m);
	/* Keep alive: one and a half times [MQTT-3.1.2-22]. */
	o.keep_alive = 10;
	e = kit_connect(k, &o, NULL);
	kit_sleep(k, 14900);
	assert_false(e->closed);
	kit_feed(e, "\xc0\x00", 2);
	kit_expect(e, MQTT_PINGRESP);
	kit_sleep(k, 14900);
	assert_false(e->closed);
	kit_sleep(k, 200);
	assert_true(e->closed);
	m = kit_message(watch, "w/x", "dead");
	finish(watch, &m);
	/* Delay: between the delay and a second later; not at all when the client is back in time. */
	o.keep_alive = 0, o.keep = true, o.expiry = 60, o.will_delay = 5;
	e = kit_connect(k, &o, NULL);
	kit_cut(e);
	kit_sleep(k, 4900);
	kit_expect_nothing(watch);
	e = kit_connect(k, &o, NULL);
	kit_sleep(k, 10000);
	kit_expect_nothing(watch);
	kit_cut(e);
	kit_sleep(k, 5100);
	m = kit_message(watch, "w/x", "dead");
	finish(watch, &m);
	/* CVE-2019-11778: a delay longer than the session: at the session's end. */
	o.expiry = 3, o.will_delay = 1000;
	e = kit_connect(k, &o, NULL);
	kit_cut(e);
	kit_sleep(k, 2900);
	kit_expect_nothing(watch);
	kit_sleep(k, 200);
	m = kit_message(watch, "w/x", "dead");
	finish(watch, &m);
	kit_expect_nothing(watch);
}

static void
retained(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *pub = kit_join(k, 4, "pub"), *sub = kit_join(k, 5, "sub");
	char topic[32];
	unsigned seen[300] = { 0 };
	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(topic, sizeof topic, "r/%u/x", i);
		kit_publish(pub, topic, "v", 1, true, 1);
		kit_expect(pub, MQTT_PUBACK);
	}
	kit_publish(pub, "r/7/x", "", 1, true, 1); /* removed [MQTT-3.3.1-6] */
	kit_publish(pub, "r/8/x", "new", 1, true, 1);
	kit_subscribe(sub, "r/8/x", 0);
	struct mqtt_publish m = kit_message(sub, "r/8/x", "new");
	assert_true(m.retain); /* [MQTT-3.3.1-8] */
	kit_expect_nothing(sub);
	kit_subscribe(sub, "r/+/x", 0);
	for (unsigned i = 0; i < 299; i++) {
		unsigned n;
		m = kit_message(sub, NULL, NULL);
		assert_true(m.retain);
		assert_int_equal(sscanf((const char *)m.topic.p, "r/%u/x", &n), 1);
		seen[n]++;
	}
	kit_expect_nothing(sub);
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(seen[i], i != 7);
	/* A live message is not marked, unless the subscriber wants it as published [MQTT-3.3.1-12]. */
	kit_subscribe_opt(sub, "r/+/x", 0x20, 0, 0); /* and retain handling 2 sends none again */
	kit_expect_nothing(sub);
	kit_subscribe_opt(sub, "r/8/x", 0x10, 0, 0); /* handling 1: not for one that is there already */
	kit_expect_nothing(sub);
	kit_publish(pub, "r/9/x", "live", 0, true, 0);
	assert_false(kit_message(sub, "r/9/x", "live").retain);
	kit_subscribe_opt(sub, "r/+/x", 0x20 | MQTT_SUB_RETAIN_AS_PUBLISHED, 0, 0);
	kit_publish(pub, "r/9/x", "live", 0, true, 0);
	assert_true(kit_message(sub, "r/9/x", "live").retain);
	/* Shared subscriptions get none. */
	kit_subscribe(sub, "$share/g/r/8/x", 0);
	kit_expect_nothing(sub);
}

static void
retained_flow(void **state)
{
	struct kit *k;
	struct broker_settings s;
	broker_settings_default(&s);
	s.max_queued_messages = 600;
	/* More retained messages than the queue may hold: they wait at their home, none is lost. */
	k = kit_begin(state, &s, NULL);
	struct end *pub = kit_join(k, 4, "pub"), *sub = kit_join(k, 4, "sub");
	char topic[32];
	for (unsigned i = 0; i < 3000; i++) {
		(void)snprintf(topic, sizeof topic, "q/%u", i);
		kit_publish(pub, topic, "v", 0, true, 0);
	}
	for (unsigned i = 0; i < 3000; i++) { /* QoS 1 so that they count */
		(void)snprintf(topic, sizeof topic, "q/%u", i);
		kit_publish(pub, topic, "v", 1, true, 1);
	}
	kit_subscribe(sub, "q/#", 1);
	for (unsigned i = 0; i < 3000; i++) {
		struct mqtt_publish m = kit_message(sub, NULL, "v");
		kit_ack(sub, MQTT_PUBACK, m.packet_id);
	}
	kit_expect_nothing(sub);
	assert_int_equal(k->counts[BROKER_DROPPING], 0);
}

static void
overlapping(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *sub = kit_join(k, 5, "sub"), *pub = kit_join(k, 5, "pub");
	kit_subscribe_opt(sub, "a/#", 0, 10, 0);
	kit_subscribe_opt(sub, "a/+", 2, 11, 2);
	kit_subscribe_opt(sub, "a/b", 1, 300, 1);
	kit_publish(pub, "a/b", "x", 2, false, 1);
	struct mqtt_frame f = kit_expect(sub, MQTT_PUBLISH);
	struct mqtt_publish m;
	assert_int_equal(mqtt_decode_publish(&f, 5, false, &m), 0);
	assert_int_equal(m.qos, 2);
	uint64_t ids = 0;
	struct rd r = rd_of(m.props);
	while (rd_left(&r) > 0) {
		assert_int_equal(rd_u8(&r), MQTT_P_SUBSCRIPTION_ID);
		uint32_t id = rd_varint(&r);
		ids |= id == 10 ? 1u : id == 11 ? 2u : id == 300 ? 4u : 8u;
	}
	assert_int_equal(ids, 7);
	kit_expect_nothing(sub);
	/* No local [MQTT-3.8.3-3]. */
	struct end *both = kit_join(k, 5, "both");
	kit_subscribe_opt(both, "me", MQTT_SUB_NO_LOCAL, 0, 0);
	kit_publish(both, "me", "x", 0, false, 0);
	kit_expect_nothing(both);
	kit_publish(pub, "me", "y", 0, false, 0);
	kit_message(both, "me", "y");
	/* $-topics are not for wildcards [MQTT-4.7.2-1], and nobody speaks for the broker. */
	kit_subscribe(both, "#", 0);
	kit_publish(pub, "$test/x", "x", 0, false, 0);
	kit_expect_nothing(both);
	kit_publish(pub, "$SYS/x", "x", 1, false, 9);
	kit_expect(pub, MQTT_PUBREC);
	assert_int_equal(kit_expect(pub, MQTT_PUBACK).body.p[2], MQTT_RC_NOT_AUTHORIZED);
	/* Unsubscribed is unsubscribed. */
	kit_feed(both, "\xa2\x09\0\5\0\0\2me\0\0", 11);
}

static void
unsubscribe(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *sub = kit_join(k, 5, "sub"), *pub = kit_join(k, 4, "pub");
	kit_subscribe(sub, "x/y", 0);
	kit_subscribe(sub, "$share/g/x/y", 0);
	kit_publish(pub, "x/y", "1", 0, false, 0);
	kit_message(sub, "x/y", "1");
	kit_message(sub, "x/y", "1");
	kit_feed(sub, "\xa2\x0d\0\5\0\0\3x/y\0\3z/z", 15);
	struct mqtt_frame f = kit_expect(sub, MQTT_UNSUBACK);
	assert_memory_equal(f.body.p, "\0\5\0\0\x11", 5);
	kit_publish(pub, "x/y", "2", 0, false, 0);
	kit_message(sub, "x/y", "2"); /* the shared one is still there (CVE-2024-8376) */
	kit_expect_nothing(sub);
	kit_feed(sub, "\xa2\x11\0\6\0\0\x0c$share/g/x/y", 19);
	assert_memory_equal(kit_expect(sub, MQTT_UNSUBACK).body.p, "\0\6\0\0", 4);
	kit_publish(pub, "x/y", "3", 1, false, 7);
	kit_expect_nothing(sub);
	/* Not a filter: the packet is an error, nothing is half done. */
	kit_feed(sub, "\x82\x0f\0\7\0\0\3ok1\0\0\3a#b\0", 17);
	assert_int_equal(kit_expect(sub, MQTT_DISCONNECT).body.p[0], MQTT_RC_MALFORMED);
	assert_true(sub->closed);
	sub = kit_join(k, 5, "sub");
	kit_feed(sub, "\xa2\x08\0\7\0\0\3a#b", 10);
	assert_int_equal(kit_expect(sub, MQTT_DISCONNECT).body.p[0], MQTT_RC_MALFORMED);
	/* NanoMQ CVE-2025-68699 */
	sub = kit_join(k, 5, "sub");
	kit_feed(sub, "\x82\x0f\0\7\0\0\x09$share/ab\0", 17);
	assert_true(sub->closed);
}

static void
shared(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *m[5], *pub = kit_join(k, 4, "pub"), *plain = kit_join(k, 4, "plain-one");
	static const char *const ids[] = { "a", "bb", "ccc", "dddd", "eeeee" };
	unsigned total = 0, got[5] = { 0 };
	struct mqtt_frame f;
	for (unsigned i = 0; i < 5; i++) {
		m[i] = kit_connect(k, &(struct connect_options){ .version = 5, .id = ids[i], .keep = true,
		    .expiry = 100 }, NULL);
		kit_subscribe(m[i], "$share/work/jobs/+", 1);
	}
	kit_subscribe(plain, "jobs/#", 0);
	for (unsigned i = 0; i < 100; i++)
		kit_publish(pub, "jobs/1", "x", 1, false, 1);
	for (unsigned i = 0; i < 100; i++)
		kit_message(plain, "jobs/1", "x");
	for (unsigned i = 0; i < 5; i++)
		for (; kit_next(m[i], &f); got[i]++)
			kit_ack(m[i], MQTT_PUBACK, (uint16_t)(got[i] + 1));
	for (unsigned i = 0; i < 5; total += got[i++])
		assert_int_equal(got[i], 20);
	assert_int_equal(total, 100); /* exactly one each */
	/* Those who are away get nothing while others are there. */
	kit_cut(m[0]);
	kit_cut(m[1]);
	kit_disconnect(m[2], 0);
	for (unsigned i = 0; i < 30; i++)
		kit_publish(pub, "jobs/2", "y", 1, false, 1);
	for (unsigned i = 3; i < 5; i++)
		for (unsigned j = 0; j < 15; j++)
			kit_ack(m[i], MQTT_PUBACK, kit_message(m[i], "jobs/2", "y").packet_id);
	/* With everybody away the messages wait for one of them. */
	kit_cut(m[3]);
	kit_cut(m[4]);
	kit_publish(pub, "jobs/3", "z", 1, false, 1);
	total = 0;
	for (unsigned i = 0; i < 5; i++) {
		m[i] = kit_connect(k, &(struct connect_options){ .version = 5, .id = ids[i], .keep = true }, NULL);
		for (; kit_next(m[i], &f); total++)
			;
	}
	assert_int_equal(total, 1);
	/* No local on a shared subscription is an error [MQTT-3.8.3-4]. */
	kit_feed(m[0], "\x82\x10\0\7\0\0\x0a$share/a/b\4", 18);
	assert_true(m[0]->closed);
}

static void
aliases(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *pub = kit_join(k, 5, "pub"), *sub = kit_connect(k,
	    &(struct connect_options){ .version = 5, .id = "sub", .alias_maximum = 1 }, NULL);
	struct mqtt_frame f;
	struct mqtt_publish m;
	kit_subscribe(sub, "#", 0);
	kit_feed(pub, "\x30\x0a\0\3a/b\3\x23\0\2" "1", 12); /* alias 2 = a/b */
	kit_feed(pub, "\x30\x07\0\0\3\x23\0\2" "2", 9);     /* alias 2 */
	kit_message(sub, "a/b", "1");
	f = kit_expect(sub, MQTT_PUBLISH);
	assert_int_equal(mqtt_decode_publish(&f, 5, false, &m), 0);
	assert_int_equal(m.topic.n, 0); /* and the way out uses one of its own */
	assert_int_equal(m.topic_alias, 1);
	assert_true(slice_eq(m.payload, SL("2")));
	kit_publish(pub, "other", "3", 0, false, 0);
	kit_message(sub, "other", "3"); /* only one alias is allowed */
	kit_feed(pub, "\x30\x07\0\0\3\x23\0\3" "2", 9); /* never set */
	assert_int_equal(kit_expect(pub, MQTT_DISCONNECT).body.p[0], MQTT_RC_PROTOCOL);
	pub = kit_join(k, 5, "pub");
	kit_feed(pub, "\x30\x08\0\1a\3\x23\0\x0b" "2", 10); /* above the maximum of 10 */
	assert_int_equal(kit_expect(pub, MQTT_DISCONNECT).body.p[0], MQTT_RC_ALIAS_INVALID);
}

static void
limits(void **state)
{
	struct kit *k;
	struct broker_settings s;
	broker_settings_default(&s);
	s.max_packet_size = 100;
	s.max_queued_messages = 3;
	s.max_qos = 1;
	s.retain_available = false;
	s.receive_maximum = 2;
	s.max_keep_alive = 60;
	k = kit_begin(state, &s, NULL);
	char big[120] = { 0 };
	memset(big, 'x', 110);
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .id = "v3" });
	assert_int_equal(kit_connack(e), 2); /* keep alive 0 is above 60 */
	e = kit_connect(k, &(struct connect_options){ .version = 5, .id = "v5", .keep_alive = 600 }, NULL);
	kit_publish(e, "t", big, 0, false, 0);
	assert_int_equal(kit_expect(e, MQTT_DISCONNECT).body.p[0], MQTT_RC_TOO_LARGE);
	e = kit_connect(k, &(struct connect_options){ .version = 5, .id = "v5" }, NULL);
	kit_publish(e, "t", "x", 2, false, 1);
	assert_int_equal(kit_expect(e, MQTT_DISCONNECT).body.p[0], MQTT_RC_QOS_UNSUPPORTED);
	e = kit_connect(k, &(struct connect_options){ .version = 5, .id = "v5" }, NULL);
	kit_publish(e, "t", "x", 0, true, 0);
	assert_int_equal(kit_expect(e, MQTT_DISCONNECT).body.p[0], MQTT_RC_RETAIN_UNSUPPORTED);
	/* No packet is larger than the client can take: none at all, where that is CONNACK [MQTT-3.1.2-24]. */
	e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = "tiny", .maximum_packet = 19 });
	kit_expect_nothing(e);
	assert_true(e->closed);
	/* A subscriber's own limits. */
	struct end *sub = kit_connect(k, &(struct connect_options){ .version = 5, .id = "small", .keep = true,
	    .expiry = 50, .receive_maximum = 2, .maximum_packet = 30 }, NULL);
	struct end *pub = kit_connect(k, &(struct connect_options){ .id = "pub", .keep_alive = 50 }, NULL);
	kit_subscribe_opt(sub, "t", 2, 0, 1); /* granted QoS 1 only */
	big[40] = 0;
	kit_publish(pub, "t", big, 1, false, 1); /* too large for it: skipped */
	for (unsigned i = 0; i < 8; i++)
		kit_publish(pub, "t", "small", 1, false, 1);
	kit_message(sub, "t", "small");
	kit_message(sub, "t", "small");
	kit_expect_nothing(sub); /* two in flight, three wait, three were refused */
	assert_int_equal(k->counts[BROKER_DROPPING], 1);
	for (unsigned i = 1; i <= 5; i++)
		kit_ack(sub, MQTT_PUBACK, (uint16_t)i);
	for (unsigned i = 0; i < 3; i++)
		kit_message(sub, "t", "small");
	kit_expect_nothing(sub);
}

static void
receive_maximum(void **state)
{
	struct kit *k;
	struct broker_settings s;
	broker_settings_default(&s);
	s.receive_maximum = 2;
	k = kit_begin(state, &s, NULL);
	struct end *e = kit_join(k, 5, "greedy");
	for (uint16_t i = 1; i <= 2; i++) {
		kit_publish(e, "t", "x", 2, false, i);
		kit_expect(e, MQTT_PUBREC);
	}
	kit_publish(e, "t", "x", 2, false, 2);
	kit_expect(e, MQTT_PUBREC);
	kit_publish(e, "t", "x", 2, false, 3);
	assert_int_equal(kit_expect(e, MQTT_DISCONNECT).body.p[0], MQTT_RC_RECEIVE_MAXIMUM);
}

/* 3.1.1 has no Receive Maximum: a client may leave every id open, and each is remembered. */
static void
many_open_exchanges(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, 4, "v3"), *sub = kit_join(k, 4, "sub");
	kit_subscribe(sub, "t", 0);
	for (unsigned round = 0; round < 2; round++)
		for (uint16_t i = 1; i <= 300; i++) {
			kit_publish(e, "t", "x", 2, false, i);
			kit_expect(e, MQTT_PUBREC);
		}
	for (uint16_t i = 1; i <= 300; i++)
		kit_message(sub, "t", "x");
	kit_expect_nothing(sub);
	for (uint16_t i = 300; i > 0; i--) {
		kit_ack(e, MQTT_PUBREL, i);
		kit_expect(e, MQTT_PUBCOMP);
	}
	kit_publish(e, "t", "again", 2, false, 7);
	kit_message(sub, "t", "again");
}

static void
timeouts(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_feed(e, "\x10", 1);
	kit_sleep(k, 9900);
	assert_false(e->closed);
	kit_sleep(k, 200);
	assert_true(e->closed);
	assert_string_equal(k->last_text, "no CONNECT in time");
	/* Message expiry is counted down while queued [MQTT-3.3.2-6]. */
	struct connect_options keep = { .version = 5, .id = "keeper", .keep = true, .expiry = 100 };
	struct end *sub = kit_connect(k, &keep, NULL), *pub = kit_join(k, 5, "pub");
	kit_subscribe(sub, "t", 1);
	kit_cut(sub);
	kit_feed(pub, "\x32\x0c\0\1t\0\1\5\2\0\0\0\x0a" "a", 14);
	kit_feed(pub, "\x32\x0c\0\1t\0\2\5\2\0\0\0\x05" "b", 14);
	kit_sleep(k, 6000);
	sub = kit_connect(k, &keep, NULL);
	assert_int_equal(kit_message(sub, "t", "a").message_expiry, 4);
	kit_expect_nothing(sub);
}

static const char devices[] = "connect everyone\nallow role client publish,subscribe dev/%u/#\n"
			      "allow role watch subscribe #\nallow role control publish,subscribe #\n";
/* The same after a reload that has taken a device's right away. */
static const char nothing[] = "connect everyone\nallow role watch subscribe none\nallow role control publish,subscribe #\n";

static struct end *
enter(struct kit *k, const char *cn, enum authz_role role, const struct connect_options *o)
{
	struct end *e = kit_open(k, (unsigned)cn[0] % k->n, cn, role);

	kit_send_connect(e, o);
	return e;
}

static void
rights(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, devices);
	struct end *dev = enter(k, "d1", AUTHZ_ROLE_CLIENT, &(struct connect_options){ .version = 5, .id = "d1" });
	struct end *other = enter(k, "d2", AUTHZ_ROLE_CLIENT, &(struct connect_options){ .version = 4, .id = "d2" });
	struct end *watch = enter(k, "w", AUTHZ_ROLE_WATCH, &(struct connect_options){ .version = 5, .id = "w" });
	assert_int_equal(kit_connack(dev), 0);
	assert_int_equal(kit_connack(other), 0);
	assert_int_equal(kit_connack(watch), 0);
	kit_subscribe(watch, "#", 1);
	/* Every filter of a packet is judged (W2), and a v3 client gets 0x80. */
	kit_feed(dev, "\x82\x13\0\1\0\0\4dev/\0\0\6+/attr\1", 21);
	assert_memory_equal(kit_expect(dev, MQTT_SUBACK).body.p, "\0\1\0\x87\x87", 5);
	kit_subscribe_opt(other, "#", 0, 0, 0x80);
	kit_subscribe(dev, "dev/d1/#", 1);
	kit_publish(dev, "dev/d1/attr", "mine", 1, false, 1);
	kit_message(watch, "dev/d1/attr", "mine");
	kit_message(dev, "dev/d1/attr", "mine");
	assert_int_equal(kit_expect(dev, MQTT_PUBACK).body.n, 2);
	kit_publish(dev, "dev/d2/attr", "not mine", 1, false, 2);
	assert_int_equal(kit_expect(dev, MQTT_PUBACK).body.p[2], MQTT_RC_NOT_AUTHORIZED);
	assert_int_equal(k->counts[BROKER_DENIED_PUBLISH], 1);
	kit_publish(other, "dev/d1/attr", "v3", 1, false, 2);
	kit_expect(other, MQTT_PUBACK); /* acknowledged and dropped */
	kit_publish(watch, "dev/d1/x", "v5", 2, false, 3);
	assert_int_equal(kit_expect(watch, MQTT_PUBREC).body.p[2], MQTT_RC_NOT_AUTHORIZED);
	kit_expect_nothing(watch);
	/* A will is a publish, judged at CONNECT (C9, C13). */
	struct end *e = enter(k, "w2", AUTHZ_ROLE_WATCH,
	    &(struct connect_options){ .version = 5, .id = "w2", .will_topic = "dev/d1/attr", .will_payload = "x" });
	assert_int_equal(kit_connack(e), MQTT_RC_NOT_AUTHORIZED);
	assert_int_equal(k->counts[BROKER_DENIED_WILL], 1);
	kit_expect_nothing(watch);
	/* A server's certificate is no client's (C11). */
	e = enter(k, "srv", AUTHZ_ROLE_CLOUD, &(struct connect_options){ .version = 4, .id = "srv" });
	assert_int_equal(kit_connack(e), 5);
	assert_true(e->closed);
}

/* A right that is taken away takes everything with it: live and queued messages, retained ones, the will, publishing
 * (CVE-2018-12546, CVE-2021-34434, and the class of "revoked right, yet …"). */
static void
rights_taken_away(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, devices);
	struct connect_options keep = { .version = 5, .id = "d1", .keep = true, .expiry = 100,
		.will_topic = "dev/d1/status", .will_payload = "dead" };
	struct end *dev = enter(k, "d1", AUTHZ_ROLE_CLIENT, &keep), *ctl;
	struct end *watch = enter(k, "w", AUTHZ_ROLE_WATCH, &(struct connect_options){ .version = 4, .id = "w" });
	ctl = enter(k, "c", AUTHZ_ROLE_CONTROL, &(struct connect_options){ .version = 4, .id = "c" });
	assert_int_equal(kit_connack(dev), 0);
	assert_int_equal(kit_connack(ctl), 0);
	assert_int_equal(kit_connack(watch), 0);
	kit_subscribe(dev, "dev/d1/#", 1);
	kit_subscribe(ctl, "#", 0);
	kit_publish(ctl, "dev/d1/cmd", "before", 1, true, 1);
	kit_expect(ctl, MQTT_PUBLISH);
	kit_expect(ctl, MQTT_PUBACK);
	kit_message(dev, "dev/d1/cmd", "before"); /* in flight, not acknowledged */
	kit_policy(k, nothing);
	kit_publish(ctl, "dev/d1/cmd", "after", 1, false, 2);
	kit_expect(ctl, MQTT_PUBLISH);
	kit_expect(ctl, MQTT_PUBACK);
	kit_expect_nothing(dev);
	kit_publish(dev, "dev/d1/attr", "x", 1, false, 5);
	assert_int_equal(kit_expect(dev, MQTT_PUBACK).body.p[2], MQTT_RC_NOT_AUTHORIZED);
	kit_subscribe_opt(watch, "dev/#", 0, 0, 0x80);
	kit_cut(dev);
	kit_expect_nothing(ctl); /* no will */
	kit_publish(ctl, "dev/d1/cmd", "offline", 1, false, 3);
	kit_expect(ctl, MQTT_PUBLISH);
	kit_expect(ctl, MQTT_PUBACK);
	keep.will_topic = NULL;
	dev = enter(k, "d1", AUTHZ_ROLE_CLIENT, &keep);
	assert_int_equal(kit_connack(dev), 0);
	kit_expect_nothing(dev); /* neither what was in flight nor what was queued */
	kit_policy(k, devices);
	kit_publish(ctl, "dev/d1/cmd", "again", 1, false, 4);
	kit_message(dev, "dev/d1/cmd", "again");
	kit_subscribe(dev, "dev/d1/cmd", 1);
	assert_true(kit_message(dev, "dev/d1/cmd", "before").retain);
}

/* The springcore rule: a client id is the certificate's common name, so nobody can be somebody else (C2, C17). */
static void
client_id_is_identity(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, "connect role client,control\nclient-id everyone equals %u\nallow role client publish,subscribe dev/%u/#\n");
	struct end *e = enter(k, "d1", AUTHZ_ROLE_CLIENT, &(struct connect_options){ .version = 5, .id = "d2" });
	assert_int_equal(kit_connack(e), MQTT_RC_NOT_AUTHORIZED);
	assert_int_equal(k->counts[BROKER_REFUSED], 1);
	/* An empty one is filled in. */
	e = enter(k, "d1", AUTHZ_ROLE_CLIENT, &(struct connect_options){ .version = 5, .id = "" });
	struct mqtt_frame f = kit_expect(e, MQTT_CONNACK);
	struct mqtt_connack a;
	assert_int_equal(mqtt_decode_connack(&f, 5, &a), 0);
	assert_int_equal(a.code, 0);
	assert_true(slice_eq(a.props.assigned_client_id, SL("d1")));
	e = enter(k, "x", AUTHZ_ROLE_NONE, &(struct connect_options){ .version = 4, .id = "x" });
	assert_int_equal(kit_connack(e), 5);
}

static void
split_anywhere(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *sub = kit_join(k, 4, "sub"), *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_subscribe(sub, "a/b", 1);
	kit_feed_slowly(e, "\x10\x0d\0\4MQTT\4\2\0\0\0\1a\x32\x09\0\3a/b\0\1hi\x32\x09\0\3a/b\0\2ho\xc0\x00", 39);
	assert_int_equal(kit_connack(e), 0);
	kit_expect(e, MQTT_PUBACK);
	kit_expect(e, MQTT_PUBACK);
	kit_expect(e, MQTT_PINGRESP);
	kit_message(sub, "a/b", "hi");
	kit_message(sub, "a/b", "ho");
}

/* Whatever bytes come, only their sender suffers. */
static void
noise(void **state)
{
	struct kit *k;
	uint32_t x = 12345;

	k = kit_begin(state, NULL, NULL);
	struct end *good = kit_join(k, 5, "good"), *pub = kit_join(k, 4, "pub");
	kit_subscribe(good, "ok", 1);
	for (unsigned i = 0; i < 3000; i++) {
		struct end *e = kit_join(k, i & 1 ? 5 : 4, "noisy");
		uint8_t junk[40];
		for (size_t j = 0; j < sizeof junk; j++) {
			x = x * 1664525u + 1013904223u;
			junk[j] = (uint8_t)(x >> 24);
		}
		junk[0] = (uint8_t)((i % 15 + 1) << 4 | (i % 3 ? 2 : junk[0] & 15));
		junk[1] = (uint8_t)(i % 38);
		kit_feed(e, junk, 2 + (size_t)junk[1]);
		if (!e->closed)
			kit_cut(e);
		k->ends = e->next; /* forget it, or this gets slow */
		free(e->in);
		free(e->kept);
		free(e);
	}
	kit_publish(pub, "ok", "still here", 1, false, 1);
	kit_message(good, "ok", "still here");
}

static void
shutdown(void **state)
{
	struct kit *k;
	k = kit_begin(state, NULL, NULL);
	struct end *a = kit_connect(k, &(struct connect_options){ .version = 5, .id = "a", .will_topic = "w",
	    .will_payload = "x" }, NULL), *b = kit_join(k, 4, "b");
	kit_subscribe(b, "w", 0);
	for (unsigned i = 0; i < k->n; i++)
		shard_disconnect_all(broker_shard(k->broker, i), MQTT_RC_SHUTTING_DOWN);
	kit_pump(k);
	assert_int_equal(kit_expect(a, MQTT_DISCONNECT).body.p[0], MQTT_RC_SHUTTING_DOWN);
	assert_true(a->closed && b->closed);
	kit_expect_nothing(b);
}

#define TEST(name) { #name, name }
static const struct kit_test tests[] = {
	TEST(first_packet),
	TEST(versions),
	TEST(every_qos_both_ways),
	TEST(nobody_listens),
	TEST(order_is_kept),
	TEST(packet_ids_wrap),
	TEST(sessions_persist),
	TEST(takeover),
	TEST(wills),
	TEST(retained),
	TEST(retained_flow),
	TEST(overlapping),
	TEST(unsubscribe),
	TEST(shared),
	TEST(aliases),
	TEST(limits),
	TEST(receive_maximum),
	TEST(many_open_exchanges),
	TEST(timeouts),
	TEST(rights),
	TEST(rights_taken_away),
	TEST(client_id_is_identity),
	TEST(split_anywhere),
	TEST(noise),
	TEST(shutdown),
};

int
main(void)
{
	return kit_run("broker", tests, ARRAY_LEN(tests));
}
