/* Requests to the broker itself, and clients who are disconnected by name. */
#include "broker/testkit.h"
#include <string.h>

static const uint8_t pingreq[] = { MQTT_PINGREQ << 4, 0 };

static struct end *
join_as(struct kit *k, const char *id, const char *username)
{
	struct end *e = kit_open(k, (unsigned)strlen(id) % k->n, NULL, AUTHZ_ROLE_NONE);

	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = id, .username = username });
	assert_int_equal(kit_connack(e), 0);
	return e;
}

static void
what_nobody_takes_is_acknowledged_and_dropped(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, MQTT_V5, "a"), *other = kit_join(k, MQTT_V311, "bb");

	kit_subscribe(other, "$CONTROL/#", 1);
	kit_publish(e, "$CONTROL/x", "0", 0, true, 0);
	kit_publish(e, "$CONTROL/x", "1", 1, false, 1);
	(void)kit_expect(e, MQTT_PUBACK);
	kit_publish(e, "$CONTROL/x", "2", 2, false, 2);
	(void)kit_expect(e, MQTT_PUBREC);
	kit_ack(e, MQTT_PUBREL, 2);
	(void)kit_expect(e, MQTT_PUBCOMP);
	kit_expect_nothing(other);
	/* Only a whole first level is ours. */
	kit_subscribe(other, "$CONTROLS/#", 0);
	kit_publish(e, "$CONTROLS/x", "3", 0, false, 0);
	(void)kit_message(other, "$CONTROLS/x", "3");
}

/* The answer is for the sender alone, comes before the acknowledgement, and nothing overtakes it. */
static void
a_request_is_answered_in_its_time(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, MQTT_V5, "a"), *other = kit_join(k, MQTT_V5, "bb");

	kit_subscribe(e, "$CONTROL/+", 0);
	kit_subscribe(other, "$CONTROL/+", 0);
	for (uint8_t qos = 0; qos < 3; qos++) {
		kit_publish(e, "$CONTROL/later/1", "do it", qos, false, 7);
		assert_int_equal(k->n_requests, 1);
		assert_true(slice_eq(k->requests[0]->topic, SL("$CONTROL/later/1")));
		assert_true(slice_eq(k->requests[0]->payload, SL("do it")));
		assert_true(slice_eq(k->requests[0]->client_id, SL("a")));
		assert_false(e->reading);
		kit_feed(e, pingreq, sizeof pingreq);
		kit_expect_nothing(e);
		kit_answer(k, "done");
		(void)kit_message(e, "$CONTROL/answer", "done");
		if (qos > 0)
			(void)kit_expect(e, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC);
		(void)kit_expect(e, MQTT_PINGRESP);
	}
	/* Sent again, it is not done again. */
	kit_publish(e, "$CONTROL/later/1", "do it", 2, false, 7);
	(void)kit_expect(e, MQTT_PUBREC);
	assert_int_equal(k->n_requests, 0);
	kit_expect_nothing(other);
	kit_publish(e, "$CONTROL/later/1", "quietly", 1, false, 8);
	kit_answer(k, NULL);
	(void)kit_expect(e, MQTT_PUBACK);
}

static void
send_with_correlation(struct end *e, struct slice tag)
{
	struct mqtt_props props = { .correlation_data = tag, .present = 0 };
	uint8_t b[128], packet[256];
	struct wr pw = wr_of(b, sizeof b), w = wr_of(packet, sizeof packet);

	mqtt_set(&props, MQTT_P_CORRELATION_DATA);
	assert_true(mqtt_put_props(&pw, &props));
	assert_true(mqtt_put_publish(&w, MQTT_V5, &(struct mqtt_publish){ .topic = SL("$CONTROL/later/1"), .forward = wr_slice(&pw) }));
	kit_feed(e, packet, wr_len(&w));
}

static void
correlation_data_comes_back(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, MQTT_V5, "a");
	char tag[BROKER_CORRELATION_MAX + 1] = "of the request";
	struct mqtt_publish m;

	kit_subscribe(e, "$CONTROL/+", 0);
	for (size_t n = 0; n <= sizeof tag; n += 13) {
		send_with_correlation(e, slice_of(tag, n));
		kit_answer(k, "done");
		m = kit_message(e, "$CONTROL/answer", "done");
		/* What is too long for us is left out. */
		assert_true(slice_eq(m.correlation_data, slice_of(tag, n <= BROKER_CORRELATION_MAX ? n : 0)));
	}
}

static void
who_has_not_subscribed_gets_no_answer(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, MQTT_V5, "a");

	kit_publish(e, "$CONTROL/later", "x", 1, false, 1);
	kit_answer(k, "done");
	(void)kit_expect(e, MQTT_PUBACK);
	kit_expect_nothing(e);
}

static void
an_answer_may_find_nobody(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, MQTT_V5, "a");

	kit_publish(e, "$CONTROL/later", "x", 1, false, 1);
	kit_cut(e);
	kit_answer(k, "done");
	/* Its successor is another. */
	e = kit_join(k, MQTT_V5, "b");
	kit_publish(e, "$CONTROL/later", "x", 1, false, 1);
	(void)kit_join(k, MQTT_V5, "b");
	kit_answer(k, "done");
	/* One that is never answered: kit_done() does it when the broker has nobody left. */
	e = kit_join(k, MQTT_V5, "c");
	kit_publish(e, "$CONTROL/later", "x", 1, false, 1);
}

static void
who_is_kicked_is_told(void **state)
{
	static const char *const names[] = { "user1", "user1", "nobody" };
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *a = join_as(k, "a", "user1"), *b = join_as(k, "bbb", "user2"), *c = join_as(k, "ccccc", "user1"), *d = kit_join(k, MQTT_V311, "dd");
	struct broker_kick what = { .names = names, .n = 3, .reason = MQTT_RC_ADMINISTRATIVE, .text = "told to go" };
	struct mqtt_disconnect m;
	struct mqtt_frame f;

	/* Of another listener. */
	what.listeners = 2;
	assert_true(broker_kick(k->broker, &what));
	kit_pump(k);
	assert_false(a->closed || b->closed || c->closed || d->closed);
	what.listeners = 1;
	assert_true(broker_kick(k->broker, &what));
	kit_pump(k);
	assert_true(a->closed && c->closed);
	assert_false(b->closed || d->closed);
	assert_string_equal(k->last_text, "told to go");
	f = kit_expect(a, MQTT_DISCONNECT);
	assert_int_equal(mqtt_decode_disconnect(&f, MQTT_V5, &m), MQTT_RC_OK);
	assert_int_equal(m.reason, MQTT_RC_ADMINISTRATIVE);
	what.n = 0;
	what.anonymous = true;
	assert_true(broker_kick(k->broker, &what));
	kit_pump(k);
	assert_true(d->closed);
	assert_false(b->closed);
}

/* As mosquitto: an administrator's order is no accident. */
static void
who_is_kicked_leaves_no_will(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE), *other = kit_join(k, MQTT_V5, "bb");
	struct broker_kick what = { .listeners = 1, .reason = MQTT_RC_ADMINISTRATIVE, .text = "told to go", .n = 1,
		.names = (const char *const[]){ "user1" } };

	kit_subscribe(other, "w", 0);
	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "a", .username = "user1", .will_topic = "w", .will_payload = "x" });
	assert_int_equal(kit_connack(e), 0);
	assert_true(broker_kick(k->broker, &what));
	kit_pump(k);
	assert_true(e->closed);
	kit_expect_nothing(other);
}

/* Who disconnects himself has his answer first; and who connects because of it is not meant. */
static void
who_asked_for_it_is_answered_before(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = join_as(k, "a", "user1"), *again;
	struct broker_kick what = { .listeners = 1, .reason = MQTT_RC_ADMINISTRATIVE, .text = "told to go", .n = 1,
		.names = (const char *const[]){ "user1" } };

	kit_subscribe(e, "$CONTROL/#", 0);
	kit_publish(e, "$CONTROL/later", "x", 1, false, 1);
	assert_true(broker_kick(k->broker, &what));
	kit_pump(k);
	assert_false(e->closed);
	kit_answer(k, "done");
	(void)kit_message(e, "$CONTROL/answer", "done");
	(void)kit_expect(e, MQTT_PUBACK);
	(void)kit_expect(e, MQTT_DISCONNECT);
	assert_true(e->closed);
	k->manual = true;
	assert_true(broker_kick(k->broker, &what));
	k->manual = false;
	again = join_as(k, "b", "user1");
	kit_pump(k);
	assert_false(again->closed);
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(what_nobody_takes_is_acknowledged_and_dropped),
	TEST(a_request_is_answered_in_its_time),
	TEST(correlation_data_comes_back),
	TEST(who_has_not_subscribed_gets_no_answer),
	TEST(an_answer_may_find_nobody),
	TEST(who_is_kicked_is_told),
	TEST(who_is_kicked_leaves_no_will),
	TEST(who_asked_for_it_is_answered_before),
};

int
main(void)
{
	return kit_run("request", tests, ARRAY_LEN(tests));
}
