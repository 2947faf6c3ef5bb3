/* What the broker does for bridges: of others, which come with the mark, and of its own. */
#include <string.h>
#include "broker/testkit.h"

static struct kit kit;

static int
end(void **state)
{
	(void)state;
	kit_done(&kit);
	return 0;
}

/* A CONNECT of 3.1.1 with a bridge's mark, or of 5.0, and a will about its state. */
static struct end *
come(const char *id, uint8_t version, const char *will, uint8_t want)
{
	struct end *e = kit_open(&kit, 0, NULL, AUTHZ_ROLE_NONE);
	struct mqtt_connect m = { .version = version, .is_bridge = version != MQTT_V5, .clean_start = true, .client_id = slice_str(id),
		.will = { .present = will != NULL, .retain = true, .qos = 1, .topic = slice_str(will), .payload = SL("0") } };
	uint8_t buf[200];
	struct wr w = wr_of(buf, sizeof buf);

	assert_true(mqtt_put_connect(&w, &m));
	e->version = version;
	kit_feed(e, buf, wr_len(&w));
	assert_int_equal(kit_connack(e), want);
	return e;
}

static void
the_mark_says_no_local_and_as_published(void **state)
{
	struct end *bridge, *pub;

	(void)state;
	kit_init(&kit, 1, NULL, NULL);
	bridge = come("br", MQTT_V311, NULL, 0);
	pub = kit_connect(&kit, &(struct connect_options){ .id = "pub" }, NULL);
	kit_subscribe(bridge, "a/#", 1);
	kit_publish(bridge, "a/x", "mine", 1, false, 1);
	kit_expect(bridge, MQTT_PUBACK);
	kit_expect_nothing(bridge);
	kit_publish(pub, "a/x", "yours", 0, true, 0);
	assert_true(kit_message(bridge, "a/x", "yours").retain);
	kit_publish(pub, "a/x", "plain", 0, false, 0);
	assert_false(kit_message(bridge, "a/x", "plain").retain);
}

/* The topic is the bridge's own if its client id is in it, and nothing else of $SYS is. */
static void
the_state_of_a_bridge(void **state)
{
	static const struct {
		const char *topic;
		bool heard;
	} t[] = {
		{ "$SYS/broker/connection/br/state", true },
		{ "$SYS/broker/connection/other/state", false },
		{ "$SYS/broker/connection/br", false },
		{ "$SYS/broker/connection/br/state/x", false },
		{ "$SYS/broker/connection//state", false },
		{ "$SYS/broker/version", false },
	};
	struct end *sub;

	(void)state;
	kit_init(&kit, 2, NULL, NULL);
	sub = kit_connect(&kit, &(struct connect_options){ .id = "sub" }, NULL);
	kit_subscribe(sub, "$SYS/#", 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct end *e = come("br", MQTT_V311, NULL, 0);

		kit_publish(e, t[i].topic, "1", 0, true, 0);
		if (t[i].heard)
			kit_message(sub, t[i].topic, "1");
		kit_expect_nothing(sub);
		kit_disconnect(e, 0);
		kit_cut(e);
		/* As a will: heard when the connection is cut, or refused at CONNECT. */
		e = come("br", MQTT_V5, t[i].topic, t[i].heard ? 0 : MQTT_RC_NOT_AUTHORIZED);
		kit_cut(e);
		if (t[i].heard)
			kit_message(sub, t[i].topic, "0");
		kit_expect_nothing(sub);
	}
}

/* A remote broker of 3.1.1 knows no Receive Maximum. */
static void
our_own_bridges(void **state)
{
	struct broker_listener l = { .bridges = true };
	struct end *e, *sub;

	(void)state;
	kit_init(&kit, 1, NULL, NULL);
	kit_listener(&kit, &l);
	kit_pump(&kit);
	sub = kit_connect(&kit, &(struct connect_options){ .id = "sub" }, NULL);
	kit_subscribe(sub, "$SYS/#", 0);
	e = kit_connect(&kit, &(struct connect_options){ .version = 5, .id = "local.br" }, NULL);
	for (uint16_t i = 1; i <= 100; i++) {
		kit_publish(e, "t", "x", 2, false, i);
		kit_expect(e, MQTT_PUBREC);
	}
	kit_publish(e, "$SYS/broker/connection/br/state", "1", 0, true, 0);
	kit_message(sub, "$SYS/broker/connection/br/state", "1");
	kit_publish(e, "$SYS/broker/version", "1", 0, true, 0);
	kit_expect_nothing(sub);
}

static void
waiting(void **state)
{
	struct connect_options o = { .id = "away", .keep = true };
	struct end *e, *pub;
	struct shard *home;

	(void)state;
	kit_init(&kit, 4, NULL, NULL);
	home = broker_shard(kit.broker, broker_home(kit.broker, SL("away")));
	e = kit_connect(&kit, &o, NULL);
	pub = kit_connect(&kit, &(struct connect_options){ .id = "pub" }, NULL);
	assert_int_equal(shard_waiting(home, SL("away")), 0);
	assert_int_equal(shard_waiting(home, SL("nobody")), 0);
	kit_subscribe(e, "t", 1);
	kit_cut(e);
	for (uint16_t i = 1; i <= 30; i++) {
		kit_publish(pub, "t", "x", 1, false, i);
		kit_expect(pub, MQTT_PUBACK);
	}
	assert_int_equal(shard_waiting(home, SL("away")), 30);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_mark_says_no_local_and_as_published, end),
		cmocka_unit_test_teardown(the_state_of_a_bridge, end),
		cmocka_unit_test_teardown(our_own_bridges, end),
		cmocka_unit_test_teardown(waiting, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
