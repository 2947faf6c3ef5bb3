/* The verified-publisher stamp: who gets it, and that nobody else can write it. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>
#include "base/rd.h"
#include "base/wr.h"
#include "broker/record.h"

static struct kit *
begin(void **state, bool stamps)
{
	struct broker_settings set;

	broker_settings_default(&set);
	assert_false(set.stamp_publishers);
	set.stamp_publishers = stamps;
	return kit_begin(state, &set, NULL);
}

/* "name=value …" as encoded user properties. */
static struct slice
encode(struct wr *w, const char *pairs)
{
	struct slice all = slice_str(pairs);
	bool more = pairs[0] != '\0';

	while (more) {
		struct slice value = slice_cut(&all, ' ', &more), name;
		bool has_value;

		name = slice_cut(&value, '=', &has_value);
		assert_true(mqtt_put_user_property(w, name, value));
	}
	return wr_slice(w);
}

static void
publish_with(struct end *e, const char *topic, const char *pairs, bool retain)
{
	uint8_t raw[1000], buf[2000];
	struct wr w = wr_of(raw, sizeof raw), out = wr_of(buf, sizeof buf);
	struct mqtt_publish m = { .topic = slice_str(topic), .payload = SL("x"), .retain = retain };

	m.forward = encode(&w, pairs);
	assert_true(mqtt_put_publish(&out, e->version, &m));
	kit_feed(e, buf, wr_len(&out));
}

/* The user properties of what comes on <topic> are these, in this order. */
static void
expect_pairs(struct end *e, const char *topic, const char *payload, const char *want)
{
	struct mqtt_publish m = kit_message(e, topic, payload);
	struct rd r = rd_of(m.props);
	char got[1000] = "";
	size_t n = 0;

	while (rd_left(&r) > 0) {
		uint8_t id = rd_u8(&r);
		struct slice name, value;

		if (id == MQTT_P_CONTENT_TYPE) {
			(void)rd_str(&r);
			continue;
		}
		assert_int_equal(id, MQTT_P_USER_PROPERTY);
		name = rd_str(&r);
		value = rd_str(&r);
		assert_true(rd_ok(&r));
		n += (size_t)snprintf(got + n, sizeof got - n, "%s%.*s=%.*s", n > 0 ? " " : "", (int)name.n, name.p, (int)value.n, value.p);
		assert_true(n < sizeof got);
	}
	assert_string_equal(got, want);
}

static const uint8_t fingerprint[32] = { 0xab, 0xcd };
#define HEX "abcd000000000000000000000000000000000000000000000000000000000000"
#define STAMP "signet-publisher=dev1 signet-role=client signet-fingerprint=" HEX

static struct end *
join_as(struct kit *k, const struct connect_options *o)
{
	struct authz_facts f = { .role = AUTHZ_ROLE_CLIENT, .has_cert = true, .cn = SL("dev1"), .username = SL("dev1"),
		.subject = SL("CN=dev1"), .fingerprint = fingerprint, .issuer_key = fingerprint };
	struct end *e = kit_open_as(k, 0, &f);

	kit_send_connect(e, o);
	return e;
}

static struct end *
device(struct kit *k, uint8_t version)
{
	return join_as(k, &(struct connect_options){ .version = version, .id = version == 5 ? "dev1" : "dev1-old" });
}

static void
subscribers_learn_who(void **state)
{
	struct kit *k = begin(state, true);
	struct end *sub = kit_join(k, 5, "sub"), *old = kit_join(k, 4, "old"), *dev = device(k, 5), *v4 = device(k, 4);
	struct end *named = kit_connect(k, &(struct connect_options){ .version = 5, .id = "n", .username = "user1" }, NULL);
	struct end *nobody = kit_join(k, 5, "nobody");

	kit_subscribe(sub, "#", 0);
	kit_subscribe(old, "#", 0);
	publish_with(dev, "a", "k=v", false);
	expect_pairs(sub, "a", "x", "k=v " STAMP);
	kit_message(old, "a", "x");
	kit_publish(v4, "b", "x", 0, false, 0);
	expect_pairs(sub, "b", "x", STAMP);
	kit_message(old, "b", "x");
	kit_publish(named, "c", "x", 0, false, 0);
	expect_pairs(sub, "c", "x", "signet-publisher=user1");
	kit_publish(nobody, "d", "x", 0, false, 0);
	expect_pairs(sub, "d", "x", "signet-publisher=");
}

static void
nobody_else_writes_it(void **state)
{
	static const struct {
		const char *sent, *got;
	} rows[] = {
		{ "signet-publisher=boss", "" },
		{ "signet-publisher=boss a=b", "a=b " },
		{ "a=b signet-role=cloud", "a=b " },
		{ "a=b signet-role=cloud c=d signet-fingerprint=00 e=f", "a=b c=d e=f " },
		{ "SIGNET-Publisher=boss", "" },
		{ "signet-=1 signet-later=2", "" },
		{ "signet=1 xsignet-publisher=2 signe", "signet=1 xsignet-publisher=2 signe= " },
	};
	struct kit *k = begin(state, true);
	struct end *sub = kit_join(k, 5, "sub"), *dev = device(k, 5);

	kit_subscribe(sub, "#", 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char want[500];

		(void)snprintf(want, sizeof want, "%s%s", rows[i].got, STAMP);
		publish_with(dev, "a", rows[i].sent, false);
		expect_pairs(sub, "a", "x", want);
	}
}

static void
off_it_is_not_there(void **state)
{
	struct kit *k = begin(state, false);
	struct end *sub = kit_join(k, 5, "sub"), *dev = device(k, 5);

	kit_subscribe(sub, "#", 0);
	publish_with(dev, "a", "signet-publisher=boss", false);
	expect_pairs(sub, "a", "x", "signet-publisher=boss");
}

/* Retained, queued, shared, wills: the stamp is of who published, whoever comes when. */
static void
whatever_the_way(void **state)
{
	struct kit *k = begin(state, true);
	struct end *dev = device(k, 5), *late, *away, *member, *willed;

	away = kit_connect(k, &(struct connect_options){ .version = 5, .id = "away", .keep = true, .expiry = 100 }, NULL);
	kit_subscribe(away, "q", 1);
	kit_disconnect(away, 0);
	member = kit_join(k, 5, "member");
	kit_subscribe(member, "$share/g/s", 0);
	publish_with(dev, "r", "signet-role=cloud", true);
	kit_publish(dev, "q", "x", 1, false, 1);
	kit_publish(dev, "s", "x", 0, false, 0);
	expect_pairs(member, "s", "x", STAMP);
	kit_subscribe(member, "w", 0);
	willed = join_as(k, &(struct connect_options){ .version = 5, .id = "willed", .will_topic = "w", .will_payload = "w" });
	kit_cut(willed);
	expect_pairs(member, "w", "w", STAMP);
	kit_cut(dev);
	late = kit_join(k, 5, "late");
	kit_subscribe(late, "r", 0);
	expect_pairs(late, "r", "x", STAMP);
	assert_true(shard_publish(broker_shard(k->broker, 0), SL("r"), SL("own"), false));
	kit_pump(k);
	expect_pairs(late, "r", "own", ""); /* the broker's own word needs none */
	away = kit_open(k, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(away, &(struct connect_options){ .version = 5, .id = "away", .keep = true, .expiry = 100 });
	assert_int_equal(kit_connack(away), 0);
	expect_pairs(away, "q", "x", STAMP);
}

static void
it_counts_for_the_packets_size(void **state)
{
	/* header 2, topic 3, property length 2, the stamp, payload 1 */
	const uint32_t stamp = sizeof STAMP - 1 + 3 * 5 - 3 - 2; /* 5 bytes more for a pair, without "=" and blanks */

	for (uint32_t less = 0; less < 2; less++) {
		struct kit *k = begin(state, true);
		struct end *dev = device(k, 5);
		struct end *sub = kit_connect(
		    k, &(struct connect_options){ .version = 5, .id = "sub", .maximum_packet = 3 + 3 + 2 + stamp + 1 - less }, NULL);

		kit_subscribe(sub, "#", 0);
		kit_publish(dev, "a", "x", 0, false, 0);
		if (less > 0)
			kit_expect_nothing(sub);
		else
			expect_pairs(sub, "a", "x", STAMP);
		if (less == 0)
			kit_done(k);
	}
}

/* A bridge of our own is a publisher like any other: what the remote said of itself is not ours to vouch for. */
static void
over_a_bridge(void **state)
{
	struct broker_listener l[2] = { { .policy = NULL }, { .bridges = true } };
	struct authz_facts f = { .username = SL("bridge1") };
	struct broker_settings set;
	struct kit *k = kit_of(state);
	struct end *sub, *in;

	broker_settings_default(&set);
	set.stamp_publishers = true;
	kit_init_listeners(k, kit_shards(state), &set, l, ARRAY_LEN(l));
	sub = kit_join(k, 5, "sub");
	kit_subscribe(sub, "#", 0);
	k->listener = 1;
	in = kit_open_as(k, 0, &f);
	kit_send_connect(in, &(struct connect_options){ .version = 5, .id = "in" });
	assert_int_equal(kit_connack(in), 0);
	publish_with(in, "a", STAMP " k=v", false);
	expect_pairs(sub, "a", "x", "k=v signet-publisher=bridge1");
}

/* What was kept while stamps were off may hold what a client wrote. */
static void
what_was_kept_before(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		bool stamps = i & 1, bad = (i & 2) != 0;
		struct record_now now = { 1000, 10, stamps };
		uint8_t raw[200], bytes[400], head[RECORD_BODY_HEAD];
		struct wr w = wr_of(raw, sizeof raw), out = wr_of(bytes, sizeof bytes);
		struct mqtt_publish p = { .topic = SL("t"), .payload = SL("x") };
		bool stamped = (i & 4) != 0, nomem;
		struct msg *m, *got;

		p.forward = encode(&w, bad ? "signet-role=cloud a=b" : "a=b");
		p.forward_n = (uint32_t)p.forward.n;
		if (stamped)
			p.added = p.forward;
		assert_non_null(m = msg_new(&p, SL("o"), NULL, 10));
		assert_int_equal(m->stamped, stamped);
		wr_bytes(&out, record_put_body(head, m, 0));
		wr_bytes(&out, record_body_bytes(m));
		assert_true(wr_ok(&out));
		assert_non_null(got = record_get_body(wr_slice(&out), &now, &nomem));
		assert_int_equal(got->stamped, stamped);
		if (stamps && !stamped && bad)
			assert_true(slice_eq(msg_props(got), SL("\x26\0\1a\0\1b")));
		else
			assert_true(slice_eq(msg_props(got), msg_props(m)));
		assert_true(slice_eq(msg_payload(got), SL("x")));
		msg_unref(m);
		msg_unref(got);
	}
	(void)begin(state, true);
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(subscribers_learn_who),
	TEST(nobody_else_writes_it),
	TEST(off_it_is_not_there),
	TEST(whatever_the_way),
	TEST(it_counts_for_the_packets_size),
	TEST(over_a_bridge),
	TEST(what_was_kept_before),
};

int
main(void)
{
	return kit_run("broker stamp", tests, ARRAY_LEN(tests));
}
