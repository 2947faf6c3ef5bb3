/* Mount points: two listeners that see a part of the topics each, and one that sees all. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

enum { ALL, A, B, GLUED };

static struct kit *
begin(void **state, struct authz_policy *policy)
{
	struct broker_listener l[] = { [ALL] = { 0 }, [A] = { .policy = policy, .mount_point = "a/" },
		[B] = { .mount_point = "b/" }, [GLUED] = { .mount_point = "a" } };

	kit_init_listeners(kit_of(state), kit_shards(state), NULL, l, ARRAY_LEN(l));
	return kit_of(state);
}

static struct end *
join(struct kit *k, unsigned listener, uint8_t version, const char *id)
{
	char own[16];

	(void)snprintf(own, sizeof own, "%s%u", id, version);
	k->listener = listener;
	return kit_connect(k, &(struct connect_options){ .version = version, .id = own, .keep = true, .expiry = 100 }, NULL);
}

/* The next of them, whatever acknowledgements come in between. */
static bool
next_message(struct end *e, struct mqtt_publish *ret)
{
	struct mqtt_frame f;

	while (kit_next(e, &f))
		if (f.type == MQTT_PUBLISH) {
			assert_int_equal(mqtt_decode_publish(&f, e->version, false, ret), MQTT_RC_OK);
			return true;
		}
	return false;
}

static void
message(struct end *e, const char *topic, const char *payload)
{
	struct mqtt_publish m;

	if (!next_message(e, &m) || !slice_eq(m.topic, slice_str(topic)) || !slice_eq(m.payload, slice_str(payload)))
		fail_msg("no %s %s", topic, payload);
}

static void
no_message(struct end *e)
{
	struct mqtt_publish m;

	assert_false(next_message(e, &m));
}

static void
each_sees_its_own(void **state)
{
	struct kit *k = begin(state, NULL);
	uint16_t id = 0;

	for (uint8_t v = 3; v <= 5; v++) {
		struct end *all = join(k, ALL, v, "all"), *a = join(k, A, v, "a"), *b = join(k, B, v, "b");

		kit_subscribe(all, "#", 2);
		kit_subscribe(a, "#", 2);
		kit_subscribe(b, "+/t", 1);
		kit_subscribe(b, "t", 0);
		for (uint8_t qos = 0; qos <= 2; qos++) {
			kit_publish(a, "x/t", "from a", qos, false, ++id);
			message(a, "x/t", "from a");
			message(all, "a/x/t", "from a");
			kit_publish(b, "t", "from b", qos, false, ++id);
			message(b, "t", "from b");
			message(all, "b/t", "from b");
			kit_publish(all, "b/y/t", "", qos, false, ++id);
			message(b, "y/t", "");
			message(all, "b/y/t", "");
			/* The broker's own topics are outside. */
			kit_publish(a, "$SYS/x", "no", qos, false, ++id);
			message(all, "a/$SYS/x", "no");
			message(a, "$SYS/x", "no");
			no_message(all);
			no_message(a);
			no_message(b);
		}
		assert_true(shard_publish(broker_shard(k->broker, 0), SL("a"), SL("x"), false)); /* all of a prefix is no topic */
		kit_pump(k);
		kit_expect_nothing(a);
		message(all, "a", "x");
		kit_disconnect(all, 0);
		kit_disconnect(a, 0);
		kit_disconnect(b, 0);
		kit_sleep(k, 200000);
	}
}

static void
retained_wills_and_aliases(void **state)
{
	struct kit *k = begin(state, NULL);
	struct end *all = join(k, ALL, 5, "all"), *a, *b;
	struct mqtt_publish m;

	kit_publish(all, "a/r", "kept", 0, true, 0);
	kit_publish(all, "r", "other", 0, true, 0);
	kit_subscribe(all, "+/w", 0);
	k->listener = A;
	a = kit_connect(k, &(struct connect_options){ .version = 5, .id = "a", .will_topic = "w", .will_payload = "gone",
				.alias_maximum = 3, .maximum_packet = 30 }, NULL);
	kit_subscribe(a, "#", 0);
	assert_true(kit_message(a, "r", "kept").retain);
	/* The alias stands for the topic without the prefix, both ways. */
	kit_feed(a, "\x30\x0b\0\5lo/ng\3\x23\0\1", 13);
	kit_feed(a, "\x30\7\0\0\3\x23\0\1x", 9);
	m = kit_message(a, "lo/ng", "");
	assert_int_equal(m.topic_alias, 2);
	m = kit_message(a, "", "x");
	assert_int_equal(m.topic_alias, 2);
	/* What the client can take is measured without the prefix: this one fits exactly. */
	kit_publish(all, "a/123456789012345", "1234567", 0, false, 0);
	kit_message(a, "123456789012345", NULL);
	kit_publish(all, "a/1234567890123456", "1234567", 0, false, 0);
	kit_expect_nothing(a);
	b = join(k, B, 5, "b");
	kit_subscribe(b, "#", 0);
	kit_expect_nothing(b);
	kit_cut(a);
	kit_message(all, "a/w", "gone");
	kit_expect_nothing(b);
}

static void
shared_and_unsubscribed(void **state)
{
	struct kit *k = begin(state, NULL);
	struct end *a = join(k, A, 5, "a"), *too = join(k, ALL, 5, "too"), *b = join(k, B, 5, "b");
	unsigned got = 0;
	struct mqtt_frame f;

	kit_subscribe(a, "$share/g/t", 0);
	kit_subscribe(too, "$share/g/a/t", 0);
	kit_subscribe(b, "$share/g/t", 0);
	for (unsigned i = 0; i < 10; i++)
		kit_publish(a, "t", "x", 0, false, 0);
	for (unsigned i = 0; i < 5; i++) {
		kit_message(a, "t", "x");
		kit_message(too, "a/t", "x");
	}
	kit_expect_nothing(a);
	kit_expect_nothing(b);
	/* UNSUBSCRIBE names it as SUBSCRIBE did. */
	kit_feed(a, "\xa2\x0f\0\7\0\0\x0a$share/g/t", 17);
	f = kit_expect(a, MQTT_UNSUBACK);
	assert_int_equal(f.body.p[f.body.n - 1], 0);
	kit_subscribe(a, "q", 0);
	kit_feed(a, "\xa2\6\0\7\0\0\1q", 8);
	f = kit_expect(a, MQTT_UNSUBACK);
	assert_int_equal(f.body.p[f.body.n - 1], 0);
	kit_publish(too, "a/t", "y", 0, false, 0);
	kit_message(too, "a/t", "y");
	kit_publish(too, "a/q", "y", 0, false, 0);
	while (kit_next(a, &f))
		got++;
	assert_int_equal(got, 0);
}

/* A prefix that is no whole level is the beginning of one: no wildcard can stand there. */
static void
glued(void **state)
{
	struct kit *k = begin(state, NULL);
	struct end *e = join(k, GLUED, 5, "g"), *old = join(k, GLUED, 4, "old"), *all = join(k, ALL, 5, "all");

	kit_subscribe_opt(e, "#", 0, 0, MQTT_RC_FILTER_INVALID);
	kit_subscribe_opt(e, "$share/g/+", 0, 0, MQTT_RC_FILTER_INVALID);
	kit_subscribe_opt(old, "+", 0, 0, 0x80);
	kit_subscribe(e, "/t", 0);
	kit_subscribe(e, "b/#", 0);
	kit_publish(all, "a/t", "1", 0, false, 0);
	kit_message(e, "/t", "1");
	kit_publish(all, "ab/x", "2", 0, false, 0);
	kit_message(e, "b/x", "2");
}

/* A session that goes on elsewhere keeps what it subscribed to, and sees what is visible from there. */
static void
session_goes_elsewhere(void **state)
{
	struct kit *k = begin(state, NULL);
	struct end *pub = join(k, ALL, 5, "pub"), *e = join(k, A, 5, "s");

	kit_subscribe(e, "t", 1);
	kit_publish(pub, "a/t", "flight", 1, false, 1);
	kit_message(e, "t", "flight"); /* not acknowledged */
	kit_cut(e);
	kit_publish(pub, "a/t", "queued", 1, false, 2);
	e = join(k, B, 5, "s");
	kit_expect_nothing(e);
	kit_publish(pub, "a/t", "live", 1, false, 3);
	kit_expect_nothing(e);
	kit_publish(e, "t", "mine", 1, false, 1);
	kit_expect(e, MQTT_PUBACK);
	e = join(k, ALL, 5, "s");
	kit_publish(pub, "a/t", "live", 1, false, 4);
	kit_message(e, "a/t", "live");
	e = join(k, A, 5, "s");
	kit_message(e, "t", "live");
	kit_subscribe(e, "b", 1);
	kit_publish(pub, "a/b", "again", 1, false, 5);
	kit_message(e, "b", "again");
}

/* Rights are asked for the whole topic. */
static void
rights_are_of_the_whole(void **state)
{
	struct err err;
	struct authz_policy *p = authz_policy_parse_acl(SL("topic write a/w\ntopic read a/r/#\n"), "acl", &err);
	struct kit *k = begin(state, p);
	struct end *all = join(k, ALL, 5, "all"), *a = join(k, A, 5, "a");

	authz_policy_unref(p);
	kit_subscribe(all, "#", 0);
	kit_publish(a, "w", "yes", 0, false, 0);
	kit_message(all, "a/w", "yes");
	kit_publish(a, "a/w", "no", 0, false, 0);
	kit_expect_nothing(all);
	kit_subscribe(a, "r/#", 0);
	kit_publish(all, "a/r/1", "yes", 0, false, 0);
	kit_message(a, "r/1", "yes");
}

static void
too_long_or_deep(void **state)
{
	struct kit *k = begin(state, NULL);
	static char topic[UINT16_MAX + 1], deep[512];
	struct end *e;

	memset(topic, 't', UINT16_MAX - 1);
	for (unsigned i = 0; i < 2 * 200; i++)
		deep[i] = i & 1 ? '/' : 'd';
	deep[2 * 200] = 'd'; /* 201 levels: fine without what stands in front */
	e = join(k, ALL, 5, "long");
	kit_publish(e, deep, "x", 0, false, 0);
	kit_subscribe(e, deep, 0);
	assert_false(e->closed);
	e = join(k, A, 5, "deep");
	kit_subscribe_opt(e, deep, 0, 0, MQTT_RC_FILTER_INVALID);
	kit_publish(e, deep, "x", 0, false, 0);
	kit_expect(e, MQTT_DISCONNECT);
	e = join(k, A, 5, "far");
	kit_publish(e, topic, "x", 0, false, 0);
	kit_expect(e, MQTT_DISCONNECT);
	assert_true(e->closed);
	topic[UINT16_MAX - 2] = '\0';
	e = join(k, A, 5, "fits");
	kit_publish(e, topic, "x", 0, false, 0);
	assert_false(e->closed);
}

#define TEST(name) { #name, name }
static const struct kit_test tests[] = {
	TEST(each_sees_its_own),
	TEST(retained_wills_and_aliases),
	TEST(shared_and_unsubscribed),
	TEST(glued),
	TEST(session_goes_elsewhere),
	TEST(rights_are_of_the_whole),
	TEST(too_long_or_deep),
};

int
main(void)
{
	return kit_run("broker mount points", tests, ARRAY_LEN(tests));
}
