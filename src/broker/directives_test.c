/* What single settings change: sizes, versions, windows. */
#include "broker/testkit.h"
#include <string.h>

static void
expect_ack(struct end *e, uint8_t type, uint16_t packet_id, uint8_t reason)
{
	struct mqtt_frame f = kit_expect(e, type);
	struct mqtt_ack a;

	assert_int_equal(mqtt_decode_ack(&f, e->version, &a), MQTT_RC_OK);
	assert_int_equal(a.packet_id, packet_id);
	assert_int_equal(a.reason, reason);
}

/* message_size_limit: nobody gets what is larger; the sender's exchange is completed, with a reason where the version has one. */
static void
large_payloads_are_dropped(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *sub, *late;

	broker_settings_default(&set);
	set.max_payload = 4;
	k = kit_begin(state, &set, NULL);
	sub = kit_join(k, 5, "sub");
	kit_subscribe(sub, "#", 2);
	for (uint8_t version = 4; version <= 5; version++) {
		struct end *pub = kit_join(k, version, "pub");
		uint8_t reason = version == 5 ? MQTT_RC_TOO_LARGE : 0;

		kit_publish(pub, "a", "12345", 0, false, 0);
		kit_publish(pub, "a", "12345", 1, true, 1);
		expect_ack(pub, MQTT_PUBACK, 1, reason);
		kit_publish(pub, "a", "12345", 2, false, 2);
		expect_ack(pub, MQTT_PUBREC, 2, reason);
		kit_expect_nothing(sub);
		kit_publish(pub, "a", "1234", 0, false, 0);
		kit_message(sub, "a", "1234");
		/* The id is free again: the same one with a message that fits. */
		kit_publish(pub, "a", "fits", 2, false, 2);
		expect_ack(pub, MQTT_PUBREC, 2, 0);
		kit_message(sub, "a", "fits");
		kit_disconnect(pub, 0);
	}
	late = kit_join(k, 4, "late");
	kit_subscribe(late, "a", 0);
	kit_expect_nothing(late); /* it was not retained */
}

static void
large_wills_are_refused(void **state)
{
	static const struct {
		uint8_t version;
		const char *payload;
		uint8_t code;
	} rows[] = { { 3, "12345", 5 }, { 4, "12345", 5 }, { 5, "12345", MQTT_RC_TOO_LARGE }, { 4, "1234", 0 }, { 5, "1234", 0 } };
	struct broker_settings set;
	struct kit *k;

	broker_settings_default(&set);
	set.max_payload = 4;
	k = kit_begin(state, &set, NULL);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);

		kit_send_connect(e, &(struct connect_options){ .version = rows[i].version, .id = "w", .will_topic = "w",
					.will_payload = rows[i].payload });
		assert_int_equal(kit_connack(e), rows[i].code);
	}
}

/* accept_protocol_versions. */
static void
versions_are_accepted_as_configured(void **state)
{
	static const uint8_t refusals[] = { [3] = 1, [4] = 1, [5] = MQTT_RC_VERSION };
	struct kit *k = kit_begin(state, NULL, NULL);

	for (unsigned versions = 0; versions < 1u << 6; versions += 1u << 3) {
		struct broker_listener l = { .versions = (uint8_t)versions };

		kit_listener(k, &l);
		for (uint8_t v = 3; v <= 5; v++) {
			struct end *e = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
			bool ok = versions == 0 || (versions >> v & 1) != 0;

			kit_send_connect(e, &(struct connect_options){ .version = v, .id = "x" });
			assert_int_equal(kit_connack(e), ok ? 0 : refusals[v]);
			assert_true(e->closed != ok);
			if (ok)
				kit_disconnect(e, 0);
		}
	}
}

/* upgrade_outgoing_qos: live, retained, shared and while the client was away. */
static void
qos_is_upgraded(void **state)
{
	struct broker_settings set;
	struct connect_options kept = { .version = 5, .id = "kept", .keep = true, .expiry = 100 };
	struct kit *k;
	struct end *pub, *sub, *low, *member;

	broker_settings_default(&set);
	set.upgrade_qos = true;
	k = kit_begin(state, &set, NULL);
	pub = kit_join(k, 4, "pub");
	low = kit_join(k, 4, "low");
	kit_publish(pub, "t", "old", 0, true, 0);
	sub = kit_connect(k, &kept, NULL);
	kit_subscribe(sub, "t", 2);
	assert_int_equal(kit_message(sub, "t", "old").qos, 2);
	kit_subscribe(low, "t", 0);
	assert_int_equal(kit_message(low, "t", "old").qos, 0);
	member = kit_join(k, 5, "member");
	kit_subscribe(member, "$share/g/t", 1);
	kit_publish(pub, "t", "new", 0, false, 0);
	assert_int_equal(kit_message(sub, "t", "new").qos, 2);
	assert_int_equal(kit_message(member, "t", "new").qos, 1);
	assert_int_equal(kit_message(low, "t", "new").qos, 0);
	kit_publish(pub, "t", "two", 2, false, 1); /* never more than was subscribed to */
	assert_int_equal(kit_message(low, "t", "two").qos, 0);
	kit_cut(sub);
	kit_publish(pub, "t", "away", 0, false, 0);
	sub = kit_connect(k, &kept, NULL);
	for (struct mqtt_publish m = { .qos = 9 }; !slice_eq(m.payload, SL("away"));) {
		struct mqtt_frame f = kit_expect(sub, MQTT_PUBLISH);

		assert_int_equal(mqtt_decode_publish(&f, 5, false, &m), MQTT_RC_OK);
		assert_int_equal(m.qos, 2);
	}
}

/* max_inflight_bytes: the window closes at 10 bytes, whatever answers open it again. */
static void
window_of_bytes(void **state)
{
	struct broker_settings set;
	struct connect_options kept = { .version = 5, .id = "sub", .keep = true, .expiry = 100 };
	struct kit *k;
	struct end *pub, *sub;
	uint16_t ids[3];

	broker_settings_default(&set);
	set.max_inflight_bytes = 10;
	k = kit_begin(state, &set, NULL);
	pub = kit_join(k, 4, "pub");
	sub = kit_connect(k, &kept, NULL);
	kit_subscribe(sub, "t", 2);
	kit_publish(pub, "t", "sixbyt", 1, false, 1);
	kit_publish(pub, "t", "larger than the limit", 2, false, 2);
	kit_publish(pub, "t", "a", 1, false, 3);
	kit_publish(pub, "t", "", 1, false, 4);
	ids[0] = kit_message(sub, "t", "sixbyt").packet_id;
	ids[1] = kit_message(sub, "t", "larger than the limit").packet_id;
	kit_expect_nothing(sub);
	kit_publish(pub, "t", "0", 0, false, 0); /* QoS 0 is in nobody's flight */
	kit_message(sub, "t", "0");
	kit_ack(sub, MQTT_PUBACK, ids[0]);
	kit_expect_nothing(sub);
	/* The same again for the next connection, and no more. */
	kit_cut(sub);
	sub = kit_connect(k, &kept, NULL);
	assert_int_equal(kit_message(sub, "t", "larger than the limit").packet_id, ids[1]);
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBREC, ids[1]);
	kit_expect(sub, MQTT_PUBREL);
	kit_ack(sub, MQTT_PUBCOMP, ids[1]);
	ids[2] = kit_message(sub, "t", "a").packet_id;
	kit_message(sub, "t", "");
	kit_expect_nothing(sub);
	/* Nothing is counted twice or for ever: message after message passes. */
	kit_ack(sub, MQTT_PUBACK, ids[2]);
	kit_publish(pub, "t", "another ten", 1, false, 5);
	ids[0] = kit_message(sub, "t", "another ten").packet_id;
	kit_publish(pub, "t", "waits", 1, false, 6);
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBACK, ids[0]);
	kit_message(sub, "t", "waits");
}

static void
hears(struct kit *k, const char *filter, unsigned want)
{
	struct end *e = kit_open(k, 0, "reader", AUTHZ_ROLE_WATCH);
	struct mqtt_frame f;
	unsigned got = 0;

	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = "reader" });
	assert_int_equal(kit_connack(e), 0);
	kit_subscribe(e, filter, 1);
	while (kit_next(e, &f))
		got++;
	assert_int_equal(got, want);
	kit_disconnect(e, 0);
}

/* check_retain_source: whoever may not publish it any more is not heard by those who come later, be he there or not. */
static void
retained_by_whom(void **state)
{
	static const char all[] = "connect everyone\nallow role watch subscribe #\nallow role client publish #\nallow role control publish #\n";
	static const char some[] = "connect everyone\nallow role watch subscribe #\nallow role client publish a/%u/#\nallow role control publish #\n";

	for (unsigned checked = 0; checked < 2; checked++) {
		struct broker_settings set;
		struct kit *k;
		struct end *e, *gone, *ctl;

		broker_settings_default(&set);
		assert_true(set.check_retain_source);
		set.check_retain_source = checked != 0;
		k = kit_begin(state, &set, all);
		e = kit_open(k, 0, "dev1", AUTHZ_ROLE_CLIENT);
		gone = kit_open(k, 1 % k->n, "dev2", AUTHZ_ROLE_CLIENT);
		ctl = kit_open(k, 2 % k->n, "ctl", AUTHZ_ROLE_CONTROL);
		kit_send_connect(e, &(struct connect_options){ .version = 5, .id = "e" });
		kit_send_connect(gone, &(struct connect_options){ .version = 5, .id = "gone", .will_topic = "a/w", .will_payload = "w",
						.will_retain = true });
		kit_send_connect(ctl, &(struct connect_options){ .version = 4, .id = "ctl" });
		kit_publish(e, "a/dev1/x", "mine", 0, true, 0);
		kit_publish(e, "a/dev2/x", "not mine", 0, true, 0);
		kit_publish(gone, "a/dev2/y", "mine", 1, true, 1);
		kit_publish(ctl, "a/c", "mine", 0, true, 0);
		assert_true(shard_publish(broker_shard(k->broker, 0), SL("a/own"), SL("x"), true));
		kit_cut(gone);
		hears(k, "a/#", 6);
		hears(k, "a/dev2/x", 1);
		kit_policy(k, some);
		hears(k, "a/#", checked ? 4 : 6);
		hears(k, "a/dev2/x", checked ? 0 : 1);
		hears(k, "a/w", checked ? 0 : 1);
		hears(k, "a/dev2/y", 1);
		kit_publish(e, "a/dev1/x", "mine again", 0, true, 0);
		hears(k, "a/dev1/x", 1);
		/* It was kept all the time. */
		kit_policy(k, all);
		hears(k, "a/#", 6);
		if (checked == 0)
			kit_done(k);
	}
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(large_payloads_are_dropped),
	TEST(large_wills_are_refused),
	TEST(versions_are_accepted_as_configured),
	TEST(qos_is_upgraded),
	TEST(window_of_bytes),
	TEST(retained_by_whom),
};

int
main(void)
{
	return kit_run("broker directives", tests, ARRAY_LEN(tests));
}
