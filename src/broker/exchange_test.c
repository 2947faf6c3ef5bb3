/* Enhanced authentication (MQTT 5, 4.12) with a method of the kit's: before CONNACK, again on a connection that stands, and all that
 * may come in between. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static struct end *
begin(struct kit *k, const char *id, const char *data)
{
	struct end *e = kit_open(k, (unsigned)strlen(id) % k->n, NULL, AUTHZ_ROLE_NONE);

	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = id, .method = "toy", .data = data });
	return e;
}

static size_t
put_auth(uint8_t buf[static 200], uint8_t reason, const char *method, const char *data)
{
	struct mqtt_disconnect m = { .reason = reason };
	struct wr w = wr_of(buf, 200);

	if (method != NULL)
		mqtt_set(&m.props, MQTT_P_AUTH_METHOD), m.props.auth_method = slice_str(method);
	if (data != NULL)
		mqtt_set(&m.props, MQTT_P_AUTH_DATA), m.props.auth_data = slice_str(data);
	assert_true(mqtt_put_auth(&w, &m));
	return wr_len(&w);
}

static void
send_auth(struct end *e, uint8_t reason, const char *method, const char *data)
{
	uint8_t buf[200];

	kit_feed(e, buf, put_auth(buf, reason, method, data));
}

static void
go(struct end *e)
{
	send_auth(e, MQTT_RC_CONTINUE_AUTH, "toy", "go");
}

static void
assert_data(const struct mqtt_props *p, const char *data)
{
	assert_true(mqtt_has(p, MQTT_P_AUTH_METHOD));
	assert_true(slice_eq(p->auth_method, SL("toy")));
	assert_int_equal(mqtt_has(p, MQTT_P_AUTH_DATA), data != NULL);
	assert_true(slice_eq(p->auth_data, slice_str(data)));
}

static void
expect_auth(struct end *e, uint8_t reason, const char *data)
{
	struct mqtt_frame f = kit_expect(e, MQTT_AUTH);
	struct mqtt_disconnect m;

	assert_int_equal(mqtt_decode_auth(&f, &m), MQTT_RC_OK);
	assert_int_equal(m.reason, reason);
	assert_data(&m.props, data);
}

static void
expect_connack(struct end *e, uint8_t code, const char *data)
{
	struct mqtt_frame f = kit_expect(e, MQTT_CONNACK);
	struct mqtt_connack a;

	assert_int_equal(mqtt_decode_connack(&f, MQTT_V5, &a), MQTT_RC_OK);
	assert_int_equal(a.code, code);
	if (code == MQTT_RC_OK || data != NULL)
		assert_data(&a.props, data);
	else
		assert_int_equal(a.props.present, 0);
	if (code != MQTT_RC_OK) {
		kit_expect_nothing(e);
		assert_true(e->closed);
	}
}

static void
expect_disconnect(struct end *e, uint8_t reason, const char *why)
{
	struct mqtt_frame f = kit_expect(e, MQTT_DISCONNECT);
	struct mqtt_disconnect m;

	assert_int_equal(mqtt_decode_disconnect(&f, MQTT_V5, &m), MQTT_RC_OK);
	assert_int_equal(m.reason, reason);
	assert_true(e->closed);
	assert_string_equal(e->kit->last_text, why);
}

static const uint8_t pingreq[] = { MQTT_PINGREQ << 4, 0 }, disconnect[] = { MQTT_DISCONNECT << 4, 0 };

static void
assert_lives(struct end *e)
{
	kit_feed(e, pingreq, sizeof pingreq);
	(void)kit_expect(e, MQTT_PINGRESP);
}

static struct end *
joined(struct kit *k, const char *id, const char *data)
{
	struct end *e = begin(k, id, data);

	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	go(e);
	expect_connack(e, MQTT_RC_OK, "welcome");
	assert_int_equal(k->n_toys, 0);
	return e;
}

/* Whoever vouches for the certificate comes first; the exchange begins then, and once. */
static void
certificates_come_first(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_listener l = { .vouch = true };
	struct end *e = kit_open(k, 0, "later", AUTHZ_ROLE_CLIENT);

	kit_listener(k, &l);
	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "c", .method = "toy", .data = "user/1" });
	kit_expect_nothing(e);
	kit_verdict(k, MQTT_RC_OK);
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	go(e);
	expect_connack(e, MQTT_RC_OK, "welcome");
	assert_int_equal(k->n_vouched, 1);
	assert_int_equal(k->n_toys, 0);
}

static void
rounds_lead_to_connack(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);

	for (unsigned n = 0; n <= 8; n++) {
		char id[4], data[10];
		struct end *e;

		(void)snprintf(id, sizeof id, "c%u", n);
		(void)snprintf(data, sizeof data, "user/%u", n);
		e = begin(k, id, data);
		for (unsigned i = 0; i < n; i++) {
			expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
			kit_expect_nothing(e);
			assert_int_equal(k->counts[BROKER_CONNECTED], n);
			go(e);
		}
		expect_connack(e, MQTT_RC_OK, "welcome");
		assert_int_equal(k->n_toys, 0);
		assert_string_equal(k->last_id, id);
		assert_lives(e);
	}
}

/* No data in CONNECT: the server's first word is empty. */
static void
data_may_come_later(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = begin(k, "a", NULL);

	expect_auth(e, MQTT_RC_CONTINUE_AUTH, NULL);
	send_auth(e, MQTT_RC_CONTINUE_AUTH, "toy", "user/0");
	expect_connack(e, MQTT_RC_OK, "welcome");
}

static void
what_fails_is_told_in_connack(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = begin(k, "a", "nothing");

	expect_connack(e, MQTT_RC_NOT_AUTHORIZED, "e=wrong");
	assert_int_equal(k->last, BROKER_REFUSED);
	assert_string_equal(k->last_text, "not a toy");
	e = begin(k, "a", "user/2");
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	go(e);
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	send_auth(e, MQTT_RC_CONTINUE_AUTH, "toy", "stop");
	expect_connack(e, MQTT_RC_NOT_AUTHORIZED, "e=wrong");
	assert_string_equal(k->last_text, "not a toy");
	assert_string_equal(k->last_id, "a");
	assert_int_equal(k->counts[BROKER_CONNECTED], 0);
	assert_int_equal(k->counts[BROKER_REFUSED], 2);
}

static void
unknown_methods_are_refused(void **state)
{
	char long_one[BROKER_AUTH_METHOD_MAX + 2];
	struct kit *k = kit_begin(state, NULL, NULL);
	const char *const methods[] = { "", "Toy", "toy ", "SCRAM-SHA-256", long_one };

	memset(long_one, 'x', sizeof long_one - 1);
	long_one[sizeof long_one - 1] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

		kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "a", .method = methods[i], .data = "user/0" });
		assert_int_equal(kit_connack(e), MQTT_RC_AUTH_METHOD);
		assert_true(e->closed);
	}
	/* Data without a method: a protocol error (3.1.2.11.10), not answered as others in CONNECT are not. */
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "a", .data = "user/0" });
	kit_expect_nothing(e);
	assert_true(e->closed);
}

/* The eighth AUTH is the last that a client may need. */
static void
rounds_have_an_end(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = begin(k, "a", "user/9");

	for (unsigned i = 0; i < 8; i++) {
		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		go(e);
	}
	expect_connack(e, MQTT_RC_NOT_AUTHORIZED, NULL);
	assert_string_equal(k->last_text, "the authentication needs more than 8 rounds");
}

static void
wrong_packets_in_between_end_it(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		uint8_t code;
	} cases[] = {
#define PACKET(text, code) { text, sizeof(text) - 1, code }
		PACKET("\xc0\x00", MQTT_RC_PROTOCOL),                             /* PINGREQ */
		PACKET("\x30", MQTT_RC_PROTOCOL),                                 /* the first byte is enough */
		PACKET("\x82\x06\x00\x01\x00\x00\x00\x00", MQTT_RC_PROTOCOL),
		PACKET("\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", MQTT_RC_PROTOCOL),
		PACKET("\x00", MQTT_RC_PROTOCOL),
		PACKET("\xf1", MQTT_RC_MALFORMED),
		PACKET("\xe1\x00", MQTT_RC_PROTOCOL),
		PACKET("\xe0\x01\x01", MQTT_RC_PROTOCOL),                         /* DISCONNECT with a reason that is none */
		PACKET("\xf0\x00", MQTT_RC_PROTOCOL),                             /* AUTH: no method */
		PACKET("\xf0\x02\x18\x00", MQTT_RC_PROTOCOL),
		PACKET("\xf0\x08\x18\x06\x15\x00\x03tox", MQTT_RC_PROTOCOL),      /* another method */
		PACKET("\xf0\x08\x00\x06\x15\x00\x03toy", MQTT_RC_PROTOCOL),      /* success is the server's to say */
		PACKET("\xf0\x08\x19\x06\x15\x00\x03toy", MQTT_RC_PROTOCOL),      /* nothing to do again */
		PACKET("\xf0\x08\x80\x06\x15\x00\x03toy", MQTT_RC_PROTOCOL),
		PACKET("\xf0\x08\x18\x07\x15\x00\x03toy", MQTT_RC_MALFORMED),
		PACKET("\xf0\x08\x18\x06\x15\x00\x03toy", MQTT_RC_NOT_AUTHORIZED), /* well-formed, without data */
	};

	struct kit *k = kit_begin(state, NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct end *e = begin(k, "a", "user/2");

		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		kit_feed(e, cases[i].bytes, cases[i].n);
		expect_connack(e, cases[i].code, cases[i].code == MQTT_RC_NOT_AUTHORIZED ? "e=wrong" : NULL);
		assert_int_equal(k->n_toys, 0);
	}
	assert_int_equal(k->counts[BROKER_REFUSED], ARRAY_LEN(cases));
	assert_int_equal(k->counts[BROKER_CONNECTED], 0);
}

/* AUTH that would not fit is not waited for. */
static void
auth_has_a_size(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = begin(k, "a", "user/2");

	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	kit_feed(e, "\xf0\xff\xff\x03", 4);
	kit_expect_nothing(e);
	assert_true(e->closed);
	assert_int_equal(k->counts[BROKER_DROPPED], 1);
}

static void
the_client_may_leave(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = begin(k, "a", "user/2");

	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	kit_feed(e, disconnect, sizeof disconnect);
	kit_expect_nothing(e);
	assert_true(e->closed);
	e = begin(k, "a", "user/2");
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	/* A session expiry in it finds no session. */
	kit_feed(e, "\xe0\x07\x00\x05\x11\x00\x00\x00\x09", 9);
	kit_expect_nothing(e);
	assert_true(e->closed);
	kit_cut(begin(k, "a", "user/2"));
	assert_int_equal(k->counts[BROKER_DROPPED], 3);
	assert_int_equal(k->n_toys, 0);
}

static void
it_has_its_time(void **state)
{
	struct broker_settings s;
	struct kit *k;
	struct end *e;

	broker_settings_default(&s);
	s.connect_timeout_ms = 10000;
	k = kit_begin(state, &s, NULL);
	e = begin(k, "a", "user/3");
	for (unsigned i = 0; i < 2; i++) {
		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		kit_sleep(k, 4000);
		go(e); /* gives no more time */
	}
	assert_false(e->closed);
	kit_sleep(k, 3000);
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	kit_expect_nothing(e);
	assert_true(e->closed);
	assert_string_equal(k->last_text, "the authentication was not finished in time");
	assert_int_equal(k->n_toys, 0);
}

static void
shutdown_ends_it(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *live = joined(k, "b", "user/1"), *e = begin(k, "a", "user/2");

	send_auth(live, MQTT_RC_REAUTH, "toy", "user/1");
	expect_auth(live, MQTT_RC_CONTINUE_AUTH, "more");
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	for (unsigned i = 0; i < k->n; i++)
		shard_disconnect_all(broker_shard(k->broker, i), MQTT_RC_SHUTTING_DOWN);
	kit_pump(k);
	kit_expect_nothing(e);
	assert_true(e->closed);
	(void)kit_expect(live, MQTT_DISCONNECT);
	assert_true(live->closed);
	assert_int_equal(k->n_toys, 0);
}

/* Nobody loses his session to somebody who has not proved anything. */
static void
nothing_happens_before_the_end(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = joined(k, "a", "user/1"), *thief = begin(k, "a", "user/1");

	expect_auth(thief, MQTT_RC_CONTINUE_AUTH, "more");
	assert_lives(e);
	send_auth(thief, MQTT_RC_CONTINUE_AUTH, "toy", "no");
	expect_connack(thief, MQTT_RC_NOT_AUTHORIZED, "e=wrong");
	assert_lives(e);
	thief = begin(k, "a", "other/1");
	expect_auth(thief, MQTT_RC_CONTINUE_AUTH, "more");
	go(thief);
	expect_connack(thief, MQTT_RC_CLIENT_ID, "welcome"); /* another identity's session */
	assert_lives(e);
	thief = begin(k, "a", "user/1");
	expect_auth(thief, MQTT_RC_CONTINUE_AUTH, "more");
	go(thief);
	expect_connack(thief, MQTT_RC_OK, "welcome");
	expect_disconnect(e, MQTT_RC_TAKEN_OVER, "");
}

/* What the policy and the settings say comes after it; will, id and properties are those of the CONNECT. */
static void
connect_is_kept_whole(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *sub = kit_join(k, MQTT_V5, "sub"), *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	struct mqtt_connack a;
	struct mqtt_frame f;

	kit_subscribe(sub, "will", 0);
	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "", .method = "toy", .data = "user/1",
				.will_topic = "will", .will_payload = "gone", .expiry = 100 });
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	go(e);
	f = kit_expect(e, MQTT_CONNACK);
	assert_int_equal(mqtt_decode_connack(&f, MQTT_V5, &a), MQTT_RC_OK);
	assert_int_equal(a.code, 0);
	assert_data(&a.props, "welcome");
	assert_true(slice_starts(a.props.assigned_client_id, SL("auto-")));
	kit_cut(e);
	(void)kit_message(sub, "will", "gone");
}

static void
the_user_name_must_be_said_where_it_is_the_id(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_listener l = { .username_is_client_id = true, .takeover_same_identity = true };
	static const struct {
		const char *username, *data;
		uint8_t code;
	} cases[] = {
		{ "user", "user/1", MQTT_RC_OK },
		{ "root", "user/1", MQTT_RC_NOT_AUTHORIZED },
		{ NULL, "user/1", MQTT_RC_NOT_AUTHORIZED },
	};

	kit_listener(k, &l);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

		kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "x", .username = cases[i].username,
					.method = "toy", .data = cases[i].data });
		if (cases[i].username != NULL) {
			expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
			go(e);
		}
		assert_int_equal(kit_connack(e), cases[i].code);
		assert_string_equal(k->last_id, cases[i].code == MQTT_RC_OK ? "user" : "x");
	}
}

static void
policies_hold(void **state)
{
	struct kit *k = kit_begin(state, NULL, "connect everyone\n");
	struct end *e = begin(k, "a", "user/1");

	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	kit_policy(k, "connect role watch\n");
	go(e);
	expect_connack(e, MQTT_RC_NOT_AUTHORIZED, "welcome");
	assert_int_equal(k->counts[BROKER_CONNECTED], 0);
}

/* Any cut of the bytes, and all of them at once. */
static void
cuts_do_not_matter(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct mqtt_connect m = { .version = MQTT_V5, .clean_start = true, .client_id = SL("a") };
	uint8_t buf[500];
	struct wr w = wr_of(buf, sizeof buf);
	size_t n;

	mqtt_set(&m.props, MQTT_P_AUTH_METHOD), m.props.auth_method = SL("toy");
	mqtt_set(&m.props, MQTT_P_AUTH_DATA), m.props.auth_data = SL("user/2");
	assert_true(mqtt_put_connect(&w, &m));
	n = wr_len(&w);
	for (unsigned i = 0; i < 2; i++)
		n += put_auth(buf + n, MQTT_RC_CONTINUE_AUTH, "toy", "go");
	memcpy(buf + n, pingreq, sizeof pingreq);
	n += sizeof pingreq;
	for (unsigned i = 0; i < 2; i++) {
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

		e->version = MQTT_V5;
		if (i == 0)
			kit_feed(e, buf, n);
		else
			kit_feed_slowly(e, buf, n);
		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		expect_connack(e, MQTT_RC_OK, "welcome");
		(void)kit_expect(e, MQTT_PINGRESP);
	}
}

/* The next packet's type; 0: there is none. */
static uint8_t
next_within(struct end *e, uint32_t max)
{
	struct mqtt_frame f;

	if (!kit_next(e, &f))
		return 0;
	if (f.size > max)
		fail_msg("%s of %zu bytes, not %u", mqtt_type_text(f.type), f.size, max);
	return f.type;
}

/* [MQTT-3.1.2-24] */
static void
small_clients_are_not_sent_more_than_they_take(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);

	for (uint32_t max = 1; max < 60; max++) {
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
		uint8_t type;

		kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "a", .method = "toy", .data = "user/1",
					.maximum_packet = max });
		type = next_within(e, max);
		if (type == MQTT_AUTH) {
			go(e);
			type = next_within(e, max);
		}
		assert_int_equal(e->closed, max < 32); /* what the CONNACK that lets in has */
		if (!e->closed) {
			assert_int_equal(type, MQTT_CONNACK);
			kit_cut(e);
		}
	}
}

/* ---- re-authentication ---- */

static void
again_while_messages_flow(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = joined(k, "a", "user/1");

	for (unsigned i = 0; i < 3; i++) {
		kit_subscribe(e, "t", 1);
		send_auth(e, MQTT_RC_REAUTH, "toy", "user/2");
		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		kit_publish(e, "t", "between", 0, false, 0);
		(void)kit_message(e, "t", "between");
		go(e);
		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		assert_lives(e);
		go(e);
		expect_auth(e, MQTT_RC_OK, "welcome");
		assert_int_equal(k->n_toys, 0);
	}
	/* At once, or with data that comes later. */
	send_auth(e, MQTT_RC_REAUTH, "toy", "user/0");
	expect_auth(e, MQTT_RC_OK, "welcome");
	send_auth(e, MQTT_RC_REAUTH, "toy", NULL);
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, NULL);
	send_auth(e, MQTT_RC_CONTINUE_AUTH, "toy", "user/0");
	expect_auth(e, MQTT_RC_OK, "welcome");
	assert_lives(e);
	assert_int_equal(k->counts[BROKER_DISCONNECTED], 0);
}

static void
again_goes_wrong(void **state)
{
	static const struct {
		uint8_t first, second; /* reasons of AUTH; 0xff: none */
		const char *method, *data, *why;
		uint8_t reason;
	} cases[] = {
		{ MQTT_RC_REAUTH, 0xff, "toy", "nothing", "not a toy", MQTT_RC_NOT_AUTHORIZED },
		{ MQTT_RC_REAUTH, 0xff, "toy", "root/0", "re-authentication as another user", MQTT_RC_NOT_AUTHORIZED },
		{ MQTT_RC_REAUTH, 0xff, "Toy", "user/1", "AUTH with another method than CONNECT", MQTT_RC_PROTOCOL },
		{ MQTT_RC_REAUTH, 0xff, NULL, NULL, "malformed AUTH", MQTT_RC_PROTOCOL },
		{ MQTT_RC_OK, 0xff, NULL, NULL, "AUTH with another method than CONNECT", MQTT_RC_PROTOCOL },
		{ MQTT_RC_OK, 0xff, "toy", "user/1", "AUTH that continues nothing", MQTT_RC_PROTOCOL },
		{ MQTT_RC_CONTINUE_AUTH, 0xff, "toy", "user/1", "AUTH that continues nothing", MQTT_RC_PROTOCOL },
		{ MQTT_RC_REAUTH, MQTT_RC_REAUTH, "toy", "user/1", "AUTH that does not continue the authentication", MQTT_RC_PROTOCOL },
		{ MQTT_RC_REAUTH, MQTT_RC_OK, "toy", "user/1", "AUTH that does not continue the authentication", MQTT_RC_PROTOCOL },
		{ MQTT_RC_REAUTH, MQTT_RC_CONTINUE_AUTH, "toy", "user/1", "not a toy", MQTT_RC_NOT_AUTHORIZED },
	};
	struct kit *k = kit_begin(state, NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct end *e = joined(k, "a", "user/1");

		send_auth(e, cases[i].first, cases[i].method, cases[i].data);
		if (cases[i].second != 0xff) {
			expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
			send_auth(e, cases[i].second, "toy", "user/1");
		}
		expect_disconnect(e, cases[i].reason, cases[i].why);
		assert_int_equal(k->n_toys, 0);
	}
}

static void
again_has_its_rounds_and_its_time(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = joined(k, "a", "user/1");

	send_auth(e, MQTT_RC_REAUTH, "toy", "user/9");
	for (unsigned i = 0; i < 8; i++) {
		expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
		go(e);
	}
	expect_disconnect(e, MQTT_RC_NOT_AUTHORIZED, "the authentication needs more than 8 rounds");
	e = joined(k, "a", "user/1");
	send_auth(e, MQTT_RC_REAUTH, "toy", "user/2");
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	kit_sleep(k, 6000);
	go(e);
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	kit_sleep(k, 6000);
	expect_disconnect(e, MQTT_RC_NOT_AUTHORIZED, "the re-authentication was not finished in time");
	/* One that was done in time is not remembered. */
	e = joined(k, "a", "user/1");
	send_auth(e, MQTT_RC_REAUTH, "toy", "user/1");
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	go(e);
	expect_auth(e, MQTT_RC_OK, "welcome");
	kit_sleep(k, 60000);
	assert_lives(e);
	/* The client goes, or is taken over, in the middle of it. */
	send_auth(e, MQTT_RC_REAUTH, "toy", "user/1");
	expect_auth(e, MQTT_RC_CONTINUE_AUTH, "more");
	(void)joined(k, "a", "user/1");
	(void)kit_expect(e, MQTT_DISCONNECT);
	assert_true(e->closed);
	e = joined(k, "b", "user/1");
	send_auth(e, MQTT_RC_REAUTH, "toy", "user/1");
	kit_cut(e);
	assert_int_equal(k->n_toys, 0);
}

/* [MQTT-4.12.0-7]; and AUTH is a packet of MQTT 5. */
static void
without_a_method_there_is_no_auth(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, MQTT_V5, "a"), *old = kit_join(k, MQTT_V311, "b"),
		   *nobody = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

	send_auth(e, MQTT_RC_REAUTH, "toy", "user/0");
	expect_disconnect(e, MQTT_RC_PROTOCOL, "AUTH without an authentication method");
	send_auth(old, MQTT_RC_REAUTH, "toy", "user/0");
	assert_true(old->closed);
	send_auth(nobody, MQTT_RC_CONTINUE_AUTH, "toy", "user/0");
	assert_true(nobody->closed);
	kit_expect_nothing(nobody);
}

int
main(void)
{
#define TEST(f) { #f, f }
	static const struct kit_test tests[] = {
		TEST(certificates_come_first),
		TEST(rounds_lead_to_connack),
		TEST(data_may_come_later),
		TEST(what_fails_is_told_in_connack),
		TEST(unknown_methods_are_refused),
		TEST(rounds_have_an_end),
		TEST(wrong_packets_in_between_end_it),
		TEST(auth_has_a_size),
		TEST(the_client_may_leave),
		TEST(it_has_its_time),
		TEST(shutdown_ends_it),
		TEST(nothing_happens_before_the_end),
		TEST(connect_is_kept_whole),
		TEST(the_user_name_must_be_said_where_it_is_the_id),
		TEST(policies_hold),
		TEST(cuts_do_not_matter),
		TEST(small_clients_are_not_sent_more_than_they_take),
		TEST(again_while_messages_flow),
		TEST(again_goes_wrong),
		TEST(again_has_its_rounds_and_its_time),
		TEST(without_a_method_there_is_no_auth),
	};

	return kit_run("exchange", tests, ARRAY_LEN(tests));
}
