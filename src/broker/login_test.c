/* Logins whose verdict comes later, and the names that make client ids. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static struct end *
later(struct kit *k, uint8_t version, const char *id)
{
	struct end *e = kit_open(k, (unsigned)strlen(id) % k->n, NULL, AUTHZ_ROLE_NONE);

	kit_send_connect(e, &(struct connect_options){ .version = version, .id = id, .username = "later" });
	return e;
}

static const uint8_t pingreq[] = { MQTT_PINGREQ << 4, 0 };

/* Nothing behind the CONNECT is looked at before the verdict, and nothing is lost. */
static void
what_comes_behind_waits(void **state)
{
	static const uint8_t versions[] = { MQTT_V311, MQTT_V5 };

	for (unsigned i = 0; i < 2; i++) {
		struct kit *k = kit_begin(state, NULL, NULL);
		struct end *e = later(k, versions[i], "a");

		assert_int_equal(k->n_logins, 1);
		assert_false(e->reading);
		kit_feed(e, pingreq, sizeof pingreq);
		kit_expect_nothing(e);
		assert_int_equal(k->counts[BROKER_CONNECTED], 0);
		kit_verdict(k, MQTT_RC_OK);
		assert_int_equal(kit_connack(e), 0);
		(void)kit_expect(e, MQTT_PINGRESP);
		assert_int_equal(k->counts[BROKER_CONNECTED], 1);
		assert_int_equal(k->n_logins, 0);
		if (i == 0)
			kit_done(k);
	}
}

static void
a_late_refusal_is_told(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = later(k, MQTT_V5, "a"), *old = later(k, MQTT_V311, "b");

	kit_verdict(k, MQTT_RC_NOT_AUTHORIZED);
	assert_int_equal(kit_connack(e), MQTT_RC_NOT_AUTHORIZED);
	assert_true(e->closed);
	assert_int_equal(k->last, BROKER_REFUSED);
	assert_string_equal(k->last_text, "wrong password");
	assert_string_equal(k->last_id, "a");
	kit_verdict(k, MQTT_RC_BUSY);
	assert_int_equal(kit_connack(old), 3);
	assert_true(old->closed);
}

/* What the transport knew is in each event of the connection, wherever the session is at home. */
static void
how_he_came(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

	client_came_by(e->stream, "first");
	client_came_by(e->stream, "TLSv1.3 here");
	kit_send_connect(e, &(struct connect_options){ .id = "x", .username = "bad" });
	assert_int_equal(k->last, BROKER_REFUSED);
	assert_string_equal(k->last_came_by, "TLSv1.3 here");
	for (char id[] = "a"; id[0] < 'h'; id[0]++) {
		e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
		client_came_by(e->stream, "TLSv1.3 here");
		kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = id });
		assert_int_equal(kit_connack(e), 0);
		kit_disconnect(e, 0);
		assert_int_equal(k->last, BROKER_DISCONNECTED);
		assert_string_equal(k->last_came_by, "TLSv1.3 here");
	}
}

/* Clean Start with a wrong password must not touch the session of who is there. */
static void
nothing_happens_before_the_verdict(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = later(k, MQTT_V5, "a"), *thief;

	kit_verdict(k, MQTT_RC_OK);
	assert_int_equal(kit_connack(e), 0);
	thief = later(k, MQTT_V5, "a");
	kit_feed(e, pingreq, sizeof pingreq);
	(void)kit_expect(e, MQTT_PINGRESP);
	kit_verdict(k, MQTT_RC_NOT_AUTHORIZED);
	assert_int_equal(kit_connack(thief), MQTT_RC_NOT_AUTHORIZED);
	kit_feed(e, pingreq, sizeof pingreq);
	(void)kit_expect(e, MQTT_PINGRESP);
}

static void
a_verdict_may_find_nobody(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e;

	kit_cut(later(k, MQTT_V5, "a"));
	e = later(k, MQTT_V5, "b");
	/* Who judges need not work for those who are gone. */
	assert_true(atomic_load(&k->logins[0]->gone));
	assert_false(atomic_load(&k->logins[1]->gone));
	kit_cut(e);
	assert_true(atomic_load(&k->logins[1]->gone));
	kit_verdict(k, MQTT_RC_OK);
	kit_verdict(k, MQTT_RC_NOT_AUTHORIZED);
	assert_int_equal(k->counts[BROKER_CONNECTED], 0);
	assert_int_equal(k->counts[BROKER_DROPPED], 2);
	/* One that never comes: kit_done() answers when the broker has nobody left. */
	kit_cut(later(k, MQTT_V5, "c"));
}

/* The transport goes between the verdict and the CONNECT that comes again. */
static void
a_verdict_may_come_to_a_closing_client(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = later(k, MQTT_V5, "a");
	struct broker_login *l = k->logins[0];

	k->n_logins = 0;
	l->who = authz_principal_ref(l->cert);
	broker_login_done(l, MQTT_RC_OK);
	for (unsigned i = 0; i < k->n; i++)
		(void)shard_turn(broker_shard(k->broker, i), k->now_ms);
	kit_cut(e);
	assert_int_equal(k->counts[BROKER_CONNECTED], 0);
}

static void
a_verdict_has_its_time(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = later(k, MQTT_V5, "a");

	kit_sleep(k, 59000);
	assert_false(e->closed);
	kit_sleep(k, 2000);
	assert_true(e->closed);
	assert_string_equal(k->last_text, "the login was not judged in time");
	kit_verdict(k, MQTT_RC_OK);
	e = later(k, MQTT_V5, "b");
	kit_sleep(k, 59000);
	kit_verdict(k, MQTT_RC_OK);
	assert_int_equal(kit_connack(e), 0);
	kit_sleep(k, 60000);
	assert_false(e->closed);
}

static void
shutdown_ends_those_who_wait(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = later(k, MQTT_V5, "a");

	for (unsigned i = 0; i < k->n; i++)
		shard_disconnect_all(broker_shard(k->broker, i), MQTT_RC_SHUTTING_DOWN);
	kit_pump(k);
	assert_true(e->closed);
	kit_verdict(k, MQTT_RC_OK);
	assert_int_equal(k->counts[BROKER_CONNECTED], 0);
}

/* At any cut of the input the verdict belongs to the whole CONNECT. */
static void
slowly_fed_logins_work(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	struct mqtt_connect m = { .version = MQTT_V5, .clean_start = true, .client_id = SL("slow"), .has_username = true,
		.username = SL("later") };
	uint8_t buf[64];
	struct wr w = wr_of(buf, sizeof buf);

	assert_true(mqtt_put_connect(&w, &m));
	e->version = MQTT_V5;
	kit_feed_slowly(e, buf, wr_len(&w));
	assert_int_equal(k->n_logins, 1);
	kit_verdict(k, MQTT_RC_OK);
	assert_int_equal(kit_connack(e), 0);
	assert_int_equal(k->n_logins, 0);
}

static void
the_user_name_may_be_the_client_id(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_listener l = { .username_is_client_id = true, .takeover_same_identity = true };
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE), *cert = kit_open(k, 1 % k->n, "dev1", AUTHZ_ROLE_CLIENT);
	struct end *nobody = kit_open(k, 2 % k->n, NULL, AUTHZ_ROLE_NONE), *liar = kit_open(k, 0, "dev2", AUTHZ_ROLE_CLIENT);

	kit_listener(k, &l);
	kit_send_connect(e, &(struct connect_options){ .id = "x", .username = "user1" });
	assert_int_equal(kit_connack(e), 0);
	assert_string_equal(k->last_id, "user1");
	/* A certificate's name counts before what CONNECT says. */
	kit_send_connect(cert, &(struct connect_options){ .id = "user1", .username = "other" });
	assert_int_equal(kit_connack(cert), 0);
	assert_string_equal(k->last_id, "dev1");
	assert_false(e->closed);
	kit_send_connect(nobody, &(struct connect_options){ .version = MQTT_V5, .id = "user1" });
	assert_int_equal(kit_connack(nobody), MQTT_RC_NOT_AUTHORIZED);
	/* The login ends up as another than the id was chosen for. */
	kit_send_connect(liar, &(struct connect_options){ .version = MQTT_V5, .id = "x", .username = "user3" });
	assert_int_equal(kit_connack(liar), MQTT_RC_NOT_AUTHORIZED);
}

static void
ids_have_prefixes(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_listener l = { .auto_id_prefix = "dev-", .client_id_prefix = "dev" };
	struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	struct mqtt_frame f;
	struct mqtt_connack a;

	kit_listener(k, &l);
	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "" });
	f = kit_expect(e, MQTT_CONNACK);
	assert_int_equal(mqtt_decode_connack(&f, MQTT_V5, &a), MQTT_RC_OK);
	assert_int_equal(a.code, 0);
	assert_int_equal(a.props.assigned_client_id.n, 40);
	assert_true(slice_starts(a.props.assigned_client_id, SL("dev-")));
	e = kit_open(k, 1 % k->n, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "device" });
	assert_int_equal(kit_connack(e), 0);
	e = kit_open(k, 2 % k->n, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = "other" });
	assert_int_equal(kit_connack(e), MQTT_RC_NOT_AUTHORIZED);
	assert_true(e->closed);
}

/* 3.1.2.11.6 and 3.2.2.3.15: what response topics begin with, for who asks. */
static void
response_topics_have_a_beginning(void **state)
{
	static const struct {
		const char *prefix, *id, *username, *want;
		bool ask;
	} cases[] = {
		{ "rr/%c/", "a", NULL, "rr/a/", true },
		{ "rr/%c/", "a", NULL, NULL, false },
		{ "", "a", NULL, NULL, true },
		{ "rr/%u/%c", "a", "user1", "rr/user1/a", true },
		{ "rr/%u/%c", "a", NULL, NULL, true },
		{ "rr/%c/", "a/b", NULL, NULL, true },
		{ "rr/%c/", "#", NULL, NULL, true },
		{ "rr/%c/", "+", NULL, NULL, true },
		{ "rr", "a/#", NULL, "rr", true },
	};
	struct kit *k = kit_begin(state, NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct broker_listener l = { .takeover_same_identity = false };
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
		struct mqtt_connack a;
		struct mqtt_frame f;

		(void)snprintf(l.response_info, sizeof l.response_info, "%s", cases[i].prefix);
		kit_listener(k, &l);
		kit_send_connect(e, &(struct connect_options){ .version = MQTT_V5, .id = cases[i].id, .username = cases[i].username,
					.ask_response = cases[i].ask });
		f = kit_expect(e, MQTT_CONNACK);
		assert_int_equal(mqtt_decode_connack(&f, MQTT_V5, &a), MQTT_RC_OK);
		assert_int_equal(a.code, 0);
		assert_int_equal(mqtt_has(&a.props, MQTT_P_RESPONSE_INFO), cases[i].want != NULL);
		assert_true(slice_eq(a.props.response_info, slice_str(cases[i].want)));
	}
}

/* Before anybody asks for a password, or lets a client say more; once a connection, and never of who has no certificate. */
static void
certificates_are_vouched_for(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_listener l = { .vouch = true };
	struct end *good = kit_open(k, 0, "dev", AUTHZ_ROLE_CLIENT), *late = kit_open(k, 1 % k->n, "later", AUTHZ_ROLE_CLIENT);
	struct end *gone = kit_open(k, 2 % k->n, "gone", AUTHZ_ROLE_CLIENT), *none = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	struct end *bad = kit_open(k, 0, "later2", AUTHZ_ROLE_CLIENT);

	kit_listener(k, &l);
	kit_send_connect(good, &(struct connect_options){ .version = MQTT_V5, .id = "dev" });
	assert_int_equal(kit_connack(good), 0);
	kit_send_connect(gone, &(struct connect_options){ .version = MQTT_V5, .id = "gone" });
	assert_int_equal(kit_connack(gone), MQTT_RC_NOT_AUTHORIZED);
	assert_string_equal(k->last_text, "revoked");
	kit_send_connect(none, &(struct connect_options){ .version = MQTT_V5, .id = "none" });
	assert_int_equal(kit_connack(none), 0);
	assert_int_equal(k->n_vouched, 2);
	/* First the certificate, then the password. */
	kit_send_connect(late, &(struct connect_options){ .version = MQTT_V5, .id = "later", .username = "later" });
	assert_int_equal(k->n_logins, 1);
	kit_feed(late, pingreq, sizeof pingreq);
	kit_verdict(k, MQTT_RC_OK);
	assert_int_equal(k->n_logins, 1);
	kit_expect_nothing(late);
	kit_verdict(k, MQTT_RC_OK);
	assert_int_equal(kit_connack(late), 0);
	(void)kit_expect(late, MQTT_PINGRESP);
	assert_int_equal(k->n_vouched, 3);
	kit_send_connect(bad, &(struct connect_options){ .version = MQTT_V5, .id = "later2", .username = "later" });
	kit_verdict(k, MQTT_RC_UNAVAILABLE);
	assert_int_equal(kit_connack(bad), MQTT_RC_UNAVAILABLE);
	assert_int_equal(k->n_logins, 0);
	assert_int_equal(k->n_vouched, 4);
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(what_comes_behind_waits),
	TEST(a_late_refusal_is_told),
	TEST(how_he_came),
	TEST(nothing_happens_before_the_verdict),
	TEST(a_verdict_may_find_nobody),
	TEST(a_verdict_may_come_to_a_closing_client),
	TEST(a_verdict_has_its_time),
	TEST(shutdown_ends_those_who_wait),
	TEST(slowly_fed_logins_work),
	TEST(the_user_name_may_be_the_client_id),
	TEST(ids_have_prefixes),
	TEST(response_topics_have_a_beginning),
	TEST(certificates_are_vouched_for),
};

int
main(void)
{
	return kit_run("broker logins", tests, ARRAY_LEN(tests));
}
