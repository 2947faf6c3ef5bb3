/* Corners of MQTT 5 that are no matter of one feature: what CONNACK announces is enforced, every end from our side has a reason,
 * formats are checked, expiry is counted. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static struct mqtt_props
connack_of(struct end *e)
{
	struct mqtt_frame f = kit_expect(e, MQTT_CONNACK);
	struct mqtt_connack a;

	assert_int_equal(mqtt_decode_connack(&f, MQTT_V5, &a), MQTT_RC_OK);
	assert_int_equal(a.code, MQTT_RC_OK);
	return a.props;
}

static uint8_t
reason_of_end(struct end *e)
{
	struct mqtt_frame f = kit_expect(e, MQTT_DISCONNECT);
	struct mqtt_disconnect m;

	assert_int_equal(mqtt_decode_disconnect(&f, MQTT_V5, &m), MQTT_RC_OK);
	assert_true(e->closed);
	return m.reason;
}

static struct end *
asks(struct kit *k, const struct connect_options *o)
{
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

	kit_send_connect(e, o);
	return e;
}

/* 3.2.2.3: what is not as the protocol has it without a word, and only that. */
static void
limits_are_announced(void **state)
{
	struct broker_settings s;
	struct mqtt_props p;
	struct kit *k;

	broker_settings_default(&s);
	s.max_qos = 1;
	s.retain_available = false;
	s.receive_maximum = 7;
	s.max_packet_size = 5000;
	s.topic_alias_max_in = 3;
	s.max_keep_alive = 60;
	s.max_session_expiry = 100;
	k = kit_begin(state, &s, NULL);
	p = connack_of(asks(k, &(struct connect_options){ .version = MQTT_V5, .id = "", .keep_alive = 90, .expiry = 500 }));
	assert_true(mqtt_has(&p, MQTT_P_MAXIMUM_QOS) && p.maximum_qos == 1);
	assert_true(mqtt_has(&p, MQTT_P_RETAIN_AVAILABLE) && p.retain_available == 0);
	assert_int_equal(p.receive_maximum, 7);
	assert_int_equal(p.maximum_packet_size, 5000);
	assert_int_equal(p.topic_alias_maximum, 3);
	assert_true(mqtt_has(&p, MQTT_P_SERVER_KEEP_ALIVE) && p.server_keep_alive == 60);
	assert_true(mqtt_has(&p, MQTT_P_SESSION_EXPIRY) && p.session_expiry == 100);
	assert_true(mqtt_has(&p, MQTT_P_ASSIGNED_CLIENT_ID) && p.assigned_client_id.n > 0);
	p = connack_of(asks(k, &(struct connect_options){ .version = MQTT_V5, .id = "a", .keep_alive = 60, .expiry = 100 }));
	assert_false(mqtt_has(&p, MQTT_P_SERVER_KEEP_ALIVE));
	assert_false(mqtt_has(&p, MQTT_P_SESSION_EXPIRY));
	assert_false(mqtt_has(&p, MQTT_P_ASSIGNED_CLIENT_ID));
}

/* Wildcards, subscription identifiers and shared subscriptions are there, which is so without a word. */
static void
nothing_else_is_announced(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct mqtt_props p = connack_of(asks(k, &(struct connect_options){ .version = MQTT_V5, .id = "a", .keep_alive = 60 }));
	static const enum mqtt_prop none[] = { MQTT_P_MAXIMUM_QOS, MQTT_P_RETAIN_AVAILABLE, MQTT_P_WILDCARD_AVAILABLE,
		MQTT_P_SUBSCRIPTION_ID_AVAILABLE, MQTT_P_SHARED_AVAILABLE, MQTT_P_SERVER_KEEP_ALIVE, MQTT_P_SESSION_EXPIRY,
		MQTT_P_ASSIGNED_CLIENT_ID, MQTT_P_RESPONSE_INFO, MQTT_P_SERVER_REFERENCE, MQTT_P_AUTH_METHOD, MQTT_P_AUTH_DATA,
		MQTT_P_REASON_STRING };

	for (size_t i = 0; i < ARRAY_LEN(none); i++)
		assert_false(mqtt_has(&p, none[i]));
	assert_int_equal(p.user.n, 0);
	struct end *e = kit_join(k, MQTT_V5, "b");

	kit_subscribe_opt(e, "a/+/#", 2, 268435455, 2);
	kit_subscribe(e, "$share/g/a/+", 2);
}

/* [MQTT-3.2.2-11], [MQTT-3.2.2-12], [MQTT-3.2.2-13], [MQTT-3.2.2-14] */
static void
limits_are_enforced(void **state)
{
	struct broker_settings s;
	struct kit *k;
	struct end *e;

	broker_settings_default(&s);
	s.max_qos = 1;
	s.retain_available = false;
	k = kit_begin(state, &s, NULL);
	e = kit_join(k, MQTT_V5, "a");
	kit_subscribe_opt(e, "t", 2, 0, 1);
	kit_publish(e, "t", "x", 2, false, 1);
	assert_int_equal(reason_of_end(e), MQTT_RC_QOS_UNSUPPORTED);
	e = kit_join(k, MQTT_V5, "a");
	kit_publish(e, "t", "x", 1, true, 1);
	assert_int_equal(reason_of_end(e), MQTT_RC_RETAIN_UNSUPPORTED);
	e = asks(k, &(struct connect_options){ .version = MQTT_V5, .id = "a", .will_topic = "w", .will_payload = "x", .will_qos = 2 });
	assert_int_equal(kit_connack(e), MQTT_RC_QOS_UNSUPPORTED);
	e = asks(k, &(struct connect_options){ .version = MQTT_V5, .id = "a", .will_topic = "w", .will_payload = "x", .will_retain = true });
	assert_int_equal(kit_connack(e), MQTT_RC_RETAIN_UNSUPPORTED);
}

/* A listener may have a limit of its own; a reload does not change what a client was told. */
static void
qos_of_a_listener(void **state)
{
	struct broker_listener l = { .own_max_qos = true, .max_qos = 1 };
	struct kit *k = kit_begin(state, NULL, NULL);
	struct mqtt_props p;
	struct end *e;

	kit_listener(k, &l);
	e = asks(k, &(struct connect_options){ .version = MQTT_V5, .id = "a" });
	p = connack_of(e);
	assert_true(mqtt_has(&p, MQTT_P_MAXIMUM_QOS) && p.maximum_qos == 1);
	kit_subscribe_opt(e, "t", 2, 0, 1);
	l.max_qos = 0;
	kit_listener(k, &l);
	kit_publish(e, "u", "x", 1, false, 1);
	(void)kit_expect(e, MQTT_PUBACK);
	kit_publish(e, "u", "x", 2, false, 2);
	assert_int_equal(reason_of_end(e), MQTT_RC_QOS_UNSUPPORTED);
	e = asks(k, &(struct connect_options){ .version = MQTT_V5, .id = "b", .will_topic = "w", .will_payload = "x", .will_qos = 1 });
	assert_int_equal(kit_connack(e), MQTT_RC_QOS_UNSUPPORTED);
}

static const struct {
	const char *payload;
	size_t n;
	bool ok;
} texts[] = {
#define BYTES(text, ok) { text, sizeof(text) - 1, ok }
	BYTES("", true),
	BYTES("plain", true),
	BYTES("gr\xc3\xbc\xc3\x9f", true),
	BYTES("with\0zero", true), /* a character like others in a payload, not in a string */
	BYTES("\0", true),
	BYTES("\xf0\x9f\x98\x80", true),
	BYTES("\xff", false),
	BYTES("\xc3", false),
	BYTES("\xc3\0\xbc", false),
	BYTES("\xed\xa0\x80", false), /* a surrogate */
	BYTES("\xc0\x80", false),     /* U+0000 in a longer form */
	BYTES("\xf4\x90\x80\x80", false),
};

/* 3.3.2.3.2, 3.1.3.2.3 */
static void
the_payload_is_what_it_says(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *sub = kit_join(k, MQTT_V5, "sub");

	kit_subscribe(sub, "#", 0);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		static const uint8_t format[] = { MQTT_P_PAYLOAD_FORMAT, 1 };
		struct mqtt_publish p = { .topic = SL("t"), .payload = slice_of(texts[i].payload, texts[i].n),
			.forward = slice_of(format, sizeof format) };
		struct end *e = kit_join(k, MQTT_V5, "a");
		uint8_t buf[200];
		struct wr w = wr_of(buf, sizeof buf);
		struct mqtt_frame f;

		assert_true(mqtt_put_publish(&w, MQTT_V5, &p));
		kit_feed(e, buf, wr_len(&w));
		if (texts[i].ok) {
			f = kit_expect(sub, MQTT_PUBLISH);
			assert_int_equal(mqtt_decode_publish(&f, MQTT_V5, false, &p), MQTT_RC_OK);
			assert_true(slice_eq(p.payload, slice_of(texts[i].payload, texts[i].n)));
			assert_true(p.utf8_payload);
			kit_disconnect(e, 0);
		} else {
			kit_expect_nothing(sub);
			assert_int_equal(reason_of_end(e), MQTT_RC_PAYLOAD_FORMAT);
		}
	}
}

static void
the_payload_of_a_will_too(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct mqtt_connect m = { .version = MQTT_V5, .clean_start = true, .client_id = SL("a") };
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
		uint8_t buf[200];
		struct wr w = wr_of(buf, sizeof buf);

		m.will = (struct mqtt_will){ .present = true, .topic = SL("w"), .payload = slice_of(texts[i].payload, texts[i].n) };
		mqtt_set(&m.will.props, MQTT_P_PAYLOAD_FORMAT), m.will.props.payload_format = 1;
		assert_true(mqtt_put_connect(&w, &m));
		e->version = MQTT_V5;
		kit_feed(e, buf, wr_len(&w));
		assert_int_equal(kit_connack(e), texts[i].ok ? MQTT_RC_OK : MQTT_RC_PAYLOAD_FORMAT);
		kit_cut(e);
	}
}

/* [MQTT-3.14.2-2] */
static void
expiry_may_change_at_the_end_but_not_from_zero(void **state)
{
	static const struct {
		uint32_t at_connect, at_end;
		uint8_t reason; /* of our DISCONNECT; 0: none */
		bool stays;
	} cases[] = {
		{ 0, 0, 0, false },
		{ 0, 1, MQTT_RC_PROTOCOL, false },
		{ 0, UINT32_MAX, MQTT_RC_PROTOCOL, false },
		{ 10, 0, 0, false },
		{ 10, 1000, 0, true },
		{ 10, UINT32_MAX, 0, true },
	};
	struct kit *k = kit_begin(state, NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct end *e = kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = "a", .expiry = cases[i].at_connect }, NULL);
		struct mqtt_disconnect m = { .props = { .session_expiry = cases[i].at_end } };
		uint8_t buf[20];
		struct wr w = wr_of(buf, sizeof buf);
		bool present;

		mqtt_set(&m.props, MQTT_P_SESSION_EXPIRY);
		assert_true(mqtt_put_disconnect(&w, MQTT_V5, &m));
		kit_feed(e, buf, wr_len(&w));
		if (cases[i].reason != 0)
			assert_int_equal(reason_of_end(e), cases[i].reason);
		else
			kit_expect_nothing(e);
		kit_sleep(k, 20000);
		e = kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = "a", .keep = true }, &present);
		assert_int_equal(present, cases[i].stays);
		kit_disconnect(e, 0);
	}
}

/* 4.13: whatever ends a connection from our side is said in DISCONNECT. */
static void
every_end_has_its_reason(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		uint8_t reason;
	} cases[] = {
#define PACKET(text, reason) { text, sizeof(text) - 1, reason }
		PACKET("\x00\x00", MQTT_RC_MALFORMED),
		PACKET("\x30\xff\xff\xff\xff", MQTT_RC_MALFORMED),
		PACKET("\x30\xff\xff\xff\x7f", MQTT_RC_TOO_LARGE),
		PACKET("\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", MQTT_RC_PROTOCOL),
		PACKET("\x20\x03\x00\x00\x00", MQTT_RC_PROTOCOL),
		PACKET("\x90\x00", MQTT_RC_PROTOCOL),
		PACKET("\xd0\x00", MQTT_RC_PROTOCOL),
		PACKET("\xf0\x00", MQTT_RC_PROTOCOL),
		PACKET("\xc1\x00", MQTT_RC_MALFORMED),
		PACKET("\x36\x05\x00\x01t\x00\x01", MQTT_RC_MALFORMED),
		PACKET("\x30\x04\x00\x01#\x00", MQTT_RC_MALFORMED),
		PACKET("\x30\x06\x00\x00\x03\x23\x00\x01", MQTT_RC_PROTOCOL), /* an alias that was never set */
		PACKET("\x30\x07\x00\x01t\x03\x23\xff\xff", MQTT_RC_ALIAS_INVALID),
		PACKET("\x82\x03\x00\x01\x00", MQTT_RC_MALFORMED),
		PACKET("\xa2\x03\x00\x01\x00", MQTT_RC_MALFORMED),
	};
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t reason;

		e = kit_join(k, MQTT_V5, "a");
		kit_feed(e, cases[i].bytes, cases[i].n);
		reason = reason_of_end(e);
		if (reason != cases[i].reason)
			fail_msg("case %zu: 0x%02x, not 0x%02x", i, reason, cases[i].reason);
	}
	e = kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = "a", .keep_alive = 10 }, NULL);
	kit_sleep(k, 16000);
	assert_int_equal(reason_of_end(e), MQTT_RC_KEEP_ALIVE);
	e = kit_join(k, MQTT_V5, "a");
	(void)kit_join(k, MQTT_V5, "a");
	assert_int_equal(reason_of_end(e), MQTT_RC_TAKEN_OVER);
	e = kit_join(k, MQTT_V5, "b");
	for (unsigned i = 0; i < k->n; i++)
		shard_disconnect_all(broker_shard(k->broker, i), MQTT_RC_SHUTTING_DOWN);
	kit_pump(k);
	assert_int_equal(reason_of_end(e), MQTT_RC_SHUTTING_DOWN);
}

/* [MQTT-3.3.2-5], [MQTT-3.3.2-6] */
static void
expiry_is_counted_while_messages_wait(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *sub = kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = "sub", .expiry = 1000 }, NULL);
	struct end *pub = kit_join(k, MQTT_V5, "pub");
	static const uint32_t seconds[] = { 5, 10, 100 };
	bool present;

	kit_subscribe(sub, "t", 1);
	kit_disconnect(sub, 0);
	for (size_t i = 0; i < ARRAY_LEN(seconds); i++) {
		struct mqtt_publish p = { .topic = SL("t"), .payload = SL("x"), .qos = 1, .packet_id = 1, .has_expiry = true,
			.message_expiry = seconds[i] };
		uint8_t buf[100];
		struct wr w = wr_of(buf, sizeof buf);

		assert_true(mqtt_put_publish(&w, MQTT_V5, &p));
		kit_feed(pub, buf, wr_len(&w));
		(void)kit_expect(pub, MQTT_PUBACK);
	}
	kit_sleep(k, 7000);
	sub = kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = "sub", .keep = true, .expiry = 1000 }, &present);
	assert_true(present);
	for (size_t i = 1; i < ARRAY_LEN(seconds); i++) {
		struct mqtt_publish p = kit_message(sub, "t", "x");

		assert_true(p.has_expiry);
		assert_int_equal(p.message_expiry, seconds[i] - 7);
	}
	kit_expect_nothing(sub);
}

/* 3.1.2.11.7: 0 forbids reason strings and user properties, except in PUBLISH, CONNACK and DISCONNECT. */
static void
problem_information_is_left_out_on_wish(void **state)
{
	struct kit *k = kit_begin(state, NULL, "connect everyone\nallow everyone subscribe #\n");

	for (unsigned asks_for = 0; asks_for < 2; asks_for++) {
		struct mqtt_connect m = { .version = MQTT_V5, .clean_start = true, .client_id = SL("a") };
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
		uint8_t buf[100];
		struct wr w = wr_of(buf, sizeof buf);
		struct mqtt_frame f;
		struct mqtt_ack a;

		mqtt_set(&m.props, MQTT_P_REQUEST_PROBLEM), m.props.request_problem = asks_for != 0;
		assert_true(mqtt_put_connect(&w, &m));
		e->version = MQTT_V5;
		kit_feed(e, buf, wr_len(&w));
		assert_int_equal(kit_connack(e), MQTT_RC_OK);
		w = wr_of(buf, sizeof buf);
		assert_true(mqtt_put_publish(&w, MQTT_V5, &(struct mqtt_publish){ .topic = SL("t"), .qos = 1, .packet_id = 9 }));
		kit_feed(e, buf, wr_len(&w));
		f = kit_expect(e, MQTT_PUBACK);
		assert_int_equal(mqtt_decode_ack(&f, MQTT_V5, &a), MQTT_RC_OK);
		assert_int_equal(a.reason, MQTT_RC_NOT_AUTHORIZED);
		assert_int_equal(a.reason_string.n > 0, asks_for != 0);
		kit_disconnect(e, 0);
	}
}

int
main(void)
{
#define TEST(f) { #f, f }
	static const struct kit_test tests[] = {
		TEST(limits_are_announced),
		TEST(nothing_else_is_announced),
		TEST(limits_are_enforced),
		TEST(qos_of_a_listener),
		TEST(the_payload_is_what_it_says),
		TEST(the_payload_of_a_will_too),
		TEST(expiry_may_change_at_the_end_but_not_from_zero),
		TEST(every_end_has_its_reason),
		TEST(expiry_is_counted_while_messages_wait),
		TEST(problem_information_is_left_out_on_wish),
	};

	return kit_run("corners", tests, ARRAY_LEN(tests));
}
