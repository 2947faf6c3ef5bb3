/* The client's side of the protocol, byte by byte, against a broker that is the other end of a
 * socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/num.h"
#include "cli/client_internal.h"

struct rig {
	struct mqttc *c;
	int broker;
	unsigned messages, published, subscribed, connected;
	uint8_t last_reason;
	uint16_t last_id;
	char topic[64];
	bool stop; /* message() returns false */
};

static void
on_connected(void *ctx, bool session_present)
{
	struct rig *r = ctx;

	(void)session_present;
	r->connected++;
}

static bool
on_message(void *ctx, const struct mqtt_publish *m)
{
	struct rig *r = ctx;

	r->messages++;
	assert_true(m->topic.n < sizeof r->topic);
	memcpy(r->topic, m->topic.p, m->topic.n);
	r->topic[m->topic.n] = '\0';
	return !r->stop;
}

static void
on_subscribed(void *ctx, uint16_t id, struct slice codes)
{
	struct rig *r = ctx;

	r->subscribed += (unsigned)codes.n;
	r->last_id = id;
}

static void
on_published(void *ctx, uint16_t id, uint8_t reason, struct slice text)
{
	struct rig *r = ctx;

	(void)text;
	r->published++;
	r->last_id = id;
	r->last_reason = reason;
}

/* A client that has sent CONNECT. */
static void
rig_init(struct rig *r, uint8_t version)
{
	struct mqttc_config cfg = {
		.target = { .host = "test", .port = 1 },
		.connect = { .version = version,
		    .clean_start = true,
		    .keep_alive = 60,
		    .client_id = SL("me") },
		.stop_fd = -1,
		.events = { on_connected, on_message, on_subscribed, NULL, on_published },
		.ctx = r,
	};
	uint64_t now = wire_now();
	int pair[2];

	*r = (struct rig){ 0 };
	if (version == MQTT_V5) {
		cfg.connect.props.topic_alias_maximum = 3;
		mqtt_set(&cfg.connect.props, MQTT_P_TOPIC_ALIAS_MAXIMUM);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	r->c = mqttc_new(&cfg);
	assert_non_null(r->c);
	mqttc_forget(r->c);
	r->c->wire.fd = pair[0];
	r->c->wire.target = &r->c->cfg.target;
	r->c->last_out = r->c->last_in = now;
	r->c->connack_due = now + 30000;
	assert_true(mqttc_put_connect(r->c));
	r->broker = pair[1];
}

static void
rig_done(struct rig *r)
{
	mqttc_free(r->c);
	close(r->broker);
}

/* One turn that does not wait. */
static enum mqttc_result
turn(struct rig *r)
{
	bool extra;
	enum mqttc_result m = mqttc_turn(r->c, 0, -1, &extra);

	return m == MQTTC_TIMEOUT ? MQTTC_OK : m;
}

/* The broker says <bytes>. */
static enum mqttc_result
hear(struct rig *r, struct slice bytes)
{
	assert_int_equal(send(r->broker, bytes.p, bytes.n, MSG_NOSIGNAL), (ssize_t)bytes.n);
	return turn(r);
}

/* What the client sent since the last look is exactly <want>. */
static void
said(struct rig *r, struct slice want)
{
	uint8_t got[512];
	ssize_t n;

	assert_int_equal(turn(r), MQTTC_OK);
	n = recv(r->broker, got, sizeof got, 0);
	assert_int_equal(n < 0 ? 0 : n, (ssize_t)want.n);
	if (want.n > 0)
		assert_memory_equal(got, want.p, want.n);
}

#define CONNECT_311 SL("\x10\x0e\0\4MQTT\4\2\0\x3c\0\2me")
#define CONNACK_3 SL("\x20\2\0\0")
#define CONNACK_5 SL("\x20\3\0\0\0")

static void
rig_up(struct rig *r, uint8_t version)
{
	uint8_t sink[256];

	rig_init(r, version);
	assert_int_equal(hear(r, version == MQTT_V5 ? CONNACK_5 : CONNACK_3), MQTTC_OK);
	assert_int_equal(r->connected, 1);
	assert_true(recv(r->broker, sink, sizeof sink, 0) > 0);
}

static void
test_connect(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, MQTT_V311);
	said(&r, CONNECT_311);
	assert_int_equal(hear(&r, CONNACK_3), MQTTC_OK);
	assert_true(r.c->up && r.connected == 1);
	assert_int_equal(hear(&r, CONNACK_3), MQTTC_PROTOCOL); /* [MQTT-3.2.0-2] */
	rig_done(&r);
}

/* First answers to CONNECT that end the matter. */
static const struct {
	uint8_t version;
	struct slice bytes;
	enum mqttc_result result;
	uint8_t code;
	const char *word;
} answers[] = {
	{ MQTT_V311, { (const uint8_t *)"\x20\2\0\5", 4 }, MQTTC_REFUSED, 5, "not authorised" },
	{ MQTT_V311, { (const uint8_t *)"\x20\2\0\1", 4 }, MQTTC_REFUSED, 1, "protocol version" },
	{ MQTT_V5, { (const uint8_t *)"\x20\3\0\x87\0", 5 }, MQTTC_REFUSED, 0x87,
	    "not authorized" },
	{ MQTT_V5, { (const uint8_t *)"\x20\x09\0\x87\6\x1f\0\3why", 11 }, MQTTC_REFUSED, 0x87,
	    "why" },
	{ MQTT_V5, { (const uint8_t *)"\x20\2\0\1", 4 }, MQTTC_REFUSED, 0x84, "-V mqttv311" },
	{ MQTT_V311, { (const uint8_t *)"\x20\2\0\x09", 4 }, MQTTC_PROTOCOL, 0, "CONNACK" },
	{ MQTT_V311, { (const uint8_t *)"\x90\3\0\1\0", 5 }, MQTTC_PROTOCOL, 0, "not MQTT" },
	{ MQTT_V311, { (const uint8_t *)"HTTP/1.1 400", 12 }, MQTTC_PROTOCOL, 0, "not MQTT" },
	{ MQTT_V311, { (const uint8_t *)"\x15\3\1\0\2\2\x50", 7 }, MQTTC_PROTOCOL, 0, "TLS" },
	{ MQTT_V5, { (const uint8_t *)"\xf0\2\x18\0", 4 }, MQTTC_PROTOCOL, 0, "AUTH" },
};

static void
test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct rig r;

		rig_init(&r, answers[i].version);
		assert_int_equal(hear(&r, answers[i].bytes), answers[i].result);
		assert_int_equal(r.c->code, answers[i].code);
		if (strstr(r.c->err.text, answers[i].word) == NULL)
			fail_msg("%zu: %s", i, r.c->err.text);
		assert_int_equal(r.connected, 0);
		rig_done(&r);
	}
}

/* However the bytes come, the result is the same. */
static void
test_split_input(void **state)
{
	static const char in[] = "\x20\3\0\0\0"
				 "\x90\4\0\1\0\1"
				 "\x32\x09\0\3a/b\0\7\0x"
				 "\xd0\0";

	(void)state;
	for (size_t cut = 0; cut < sizeof in; cut++) {
		struct rig r;

		rig_init(&r, MQTT_V5);
		assert_int_equal(hear(&r, slice_of(in, cut)), MQTTC_OK);
		assert_int_equal(hear(&r, slice_of(in + cut, sizeof in - 1 - cut)), MQTTC_OK);
		assert_int_equal(r.connected, 1);
		assert_int_equal(r.subscribed, 1);
		assert_int_equal(r.messages, 1);
		assert_string_equal(r.topic, "a/b");
		rig_done(&r);
	}
}

static void
test_receive_qos(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r, MQTT_V311);
	assert_int_equal(hear(&r, SL("\x30\4\0\1ax")), MQTTC_OK);
	said(&r, SL(""));
	assert_int_equal(hear(&r, SL("\x32\6\0\1a\0\5x")), MQTTC_OK);
	said(&r, SL("\x40\2\0\5"));
	/* QoS 2: told once, however often it comes before PUBREL [MQTT-4.3.3-2]. */
	assert_int_equal(hear(&r, SL("\x34\6\0\1a\0\6x")), MQTTC_OK);
	said(&r, SL("\x50\2\0\6"));
	assert_int_equal(hear(&r, SL("\x3c\6\0\1a\0\6x")), MQTTC_OK);
	said(&r, SL("\x50\2\0\6"));
	assert_int_equal(r.messages, 3);
	assert_int_equal(hear(&r, SL("\x62\2\0\6")), MQTTC_OK);
	said(&r, SL("\x70\2\0\6"));
	assert_int_equal(hear(&r, SL("\x34\6\0\1a\0\6x")), MQTTC_OK);
	assert_int_equal(r.messages, 4);
	rig_done(&r);
}

/* After message() has said no, the message is acknowledged and the next one stays with the
 * broker. */
static void
test_halt(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r, MQTT_V311);
	r.stop = true;
	assert_int_equal(hear(&r, SL("\x32\6\0\1a\0\5x\x32\6\0\1a\0\6x")), MQTTC_OK);
	assert_int_equal(r.messages, 1);
	mqttc_close(r.c, 0);
	{
		uint8_t got[64];
		ssize_t n = recv(r.broker, got, sizeof got, 0);

		assert_int_equal(n, 6);
		assert_memory_equal(got, "\x40\2\0\5\xe0\0", 6);
	}
	rig_done(&r);
}

static void
test_publish(void **state)
{
	struct mqtt_publish m = { .topic = SL("a"), .payload = SL("x"), .qos = 2 };
	struct rig r;
	uint16_t id;

	(void)state;
	rig_up(&r, MQTT_V311);
	assert_true(mqttc_publish(r.c, &m, &id));
	assert_int_equal(id, 1);
	assert_false(mqttc_may_publish(r.c, 1));
	assert_true(mqttc_may_publish(r.c, 2));
	said(&r, SL("\x34\6\0\1a\0\1x"));
	assert_int_equal(hear(&r, SL("\x50\2\0\1")), MQTTC_OK);
	said(&r, SL("\x62\2\0\1"));
	assert_int_equal(r.published, 0);
	assert_int_equal(hear(&r, SL("\x70\2\0\1")), MQTTC_OK);
	assert_int_equal(r.published, 1);
	assert_true(mqttc_may_publish(r.c, 1));
	/* Acknowledgements that nothing waits for change nothing. */
	assert_int_equal(hear(&r, SL("\x40\2\0\1\x70\2\0\1\x50\2\0\x09")), MQTTC_OK);
	assert_int_equal(r.published, 1);
	assert_int_equal(r.c->in_flight, 0);
	rig_done(&r);
}

static void
test_publish_refused(void **state)
{
	struct mqtt_publish m = { .topic = SL("a"), .payload = SL("x"), .qos = 2 };
	struct rig r;
	uint16_t id;

	(void)state;
	rig_up(&r, MQTT_V5);
	assert_true(mqttc_publish(r.c, &m, &id));
	assert_int_equal(
	    hear(&r, SL("\x50\3\0\1\x87")), MQTTC_OK); /* 4.3.3: no PUBREL after that */
	assert_int_equal(r.published, 1);
	assert_int_equal(r.last_reason, 0x87);
	assert_int_equal(r.c->in_flight, 0);
	rig_done(&r);
}

/* What the CONNACK of MQTT 5 forbids is not sent. */
static void
test_limits(void **state)
{
	static const struct {
		struct mqtt_publish m;
		uint8_t code;
	} cases[] = {
		{ { .topic = SL("a"), .payload = SL("x"), .qos = 2 }, MQTT_RC_QOS_UNSUPPORTED },
		{ { .topic = SL("a"), .payload = SL("x"), .retain = true },
		    MQTT_RC_RETAIN_UNSUPPORTED },
		{ { .topic = SL("a"), .payload = SL("x"), .topic_alias = 3 },
		    MQTT_RC_ALIAS_INVALID },
		{ { .topic = SL("a"), .payload = SL("twenty bytes of load") }, MQTT_RC_TOO_LARGE },
		{ { .topic = SL("a"), .payload = SL("x"), .qos = 1, .topic_alias = 2 }, 0 },
	};
	struct rig r;
	uint16_t id;

	(void)state;
	rig_init(&r, MQTT_V5);
	/* maximum QoS 1, retain 0, topic alias maximum 2, maximum packet size 20, receive
	 * maximum 1 */
	assert_int_equal(
	    hear(&r, SL("\x20\x12\0\0\x0f\x24\1\x25\0\x22\0\2\x27\0\0\0\x14\x21\0\1")), MQTTC_OK);
	assert_int_equal(r.connected, 1);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(mqttc_publish(r.c, &cases[i].m, &id), cases[i].code == 0);
		if (cases[i].code != 0)
			assert_int_equal(r.c->code, cases[i].code);
	}
	assert_false(mqttc_may_publish(r.c, 20)); /* receive maximum 1 */
	rig_done(&r);
}

static void
test_aliases(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r, MQTT_V5);
	assert_int_equal(hear(&r, SL("\x30\x09\0\3a/b\3\x23\0\2")), MQTTC_OK);
	assert_string_equal(r.topic, "a/b");
	r.topic[0] = '\0';
	assert_int_equal(hear(&r, SL("\x30\6\0\0\3\x23\0\2")), MQTTC_OK);
	assert_string_equal(r.topic, "a/b");
	assert_int_equal(hear(&r, SL("\x30\6\0\0\3\x23\0\1")), MQTTC_PROTOCOL); /* never set */
	rig_done(&r);
	rig_up(&r, MQTT_V5);
	assert_int_equal(
	    hear(&r, SL("\x30\7\0\1a\3\x23\0\4")), MQTTC_PROTOCOL); /* above our maximum */
	rig_done(&r);
}

static void
test_disconnect(void **state)
{
	static const struct {
		struct slice bytes;
		enum mqttc_result result;
	} cases[] = {
		{ SL("\xe0\1\x8b"), MQTTC_LOST }, /* shutting down: comes back */
		{ SL("\xe0\1\x8e"),
		    MQTTC_DISMISSED }, /* taken over: coming back would take it over again */
		{ SL("\xe0\1\x98"), MQTTC_DISMISSED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct rig r;

		rig_up(&r, MQTT_V5);
		assert_int_equal(hear(&r, cases[i].bytes), cases[i].result);
		assert_int_equal(r.c->code, cases[i].bytes.p[2]);
		assert_false(r.c->up);
		rig_done(&r);
	}
}

static void
test_keep_alive(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r, MQTT_V311);
	r.c->last_out -= 60000; /* as if a minute had passed */
	said(&r, SL("\xc0\0"));
	assert_int_equal(hear(&r, SL("\xd0\0")), MQTTC_OK);
	r.c->last_out -= 60000;
	said(&r, SL("\xc0\0"));
	r.c->ping_since -= 60000;
	assert_int_equal(turn(&r), MQTTC_LOST);
	assert_non_null(strstr(r.c->err.text, "PINGREQ"));
	rig_done(&r);
	rig_init(&r, MQTT_V311);
	r.c->connack_due = wire_now();
	assert_int_equal(turn(&r), MQTTC_LOST);
	assert_non_null(strstr(r.c->err.text, "CONNECT"));
	rig_done(&r);
}

/* The broker hangs up: what it said before still counts. */
static void
test_hang_up(void **state)
{
	struct rig r;

	(void)state;
	rig_up(&r, MQTT_V5);
	shutdown(r.broker, SHUT_WR);
	assert_int_equal(turn(&r), MQTTC_LOST);
	rig_done(&r);
	rig_up(&r, MQTT_V5);
	assert_int_equal(send(r.broker, "\xe0\1\x8e", 3, 0), 3);
	close(r.broker);
	r.broker = dup(STDIN_FILENO);
	r.c->last_out -= 60000; /* a PINGREQ that cannot be sent any more */
	assert_int_equal(turn(&r), MQTTC_DISMISSED);
	rig_done(&r);
}

static void
test_cut_packets(void **state)
{
	static const struct slice whole[] = {
		SL("\x30\x09\0\3a/b\3\x23\0\2"),
		SL("\x90\4\0\1\0\1"),
		SL("\xe0\1\x8b"),
		SL("\x40\3\0\1\x87"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
		for (size_t n = 0; n < whole[i].n; n++) {
			struct rig r;

			rig_up(&r, MQTT_V5);
			assert_int_equal(hear(&r, slice_of(whole[i].p, n)), MQTTC_OK);
			assert_int_equal(r.messages + r.subscribed + r.published, 0);
			rig_done(&r);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_split_input),
		cmocka_unit_test(test_receive_qos),
		cmocka_unit_test(test_halt),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_publish_refused),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_aliases),
		cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_hang_up),
		cmocka_unit_test(test_cut_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
