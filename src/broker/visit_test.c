/* Sessions as administrators see them, and what they do with them. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

struct tour {
	enum broker_wish wish;
	const char *only;   /* this client id; NULL: everybody */
	unsigned seen, done, filters;
	char filter[40], will[20], why[20];
	uint8_t reason;
	struct broker_session last;
	struct broker_visited r;
};

static enum broker_wish
meet(void *ctx, const struct broker_session *s, struct broker_word *ret)
{
	struct tour *t = ctx;

	if (t->only != NULL && !slice_eq(s->client_id, slice_str(t->only)))
		return BROKER_PASS;
	t->seen++;
	t->last = *s;
	(void)snprintf(t->will, sizeof t->will, "%.*s", (int)s->will.n, (const char *)s->will.p);
	(void)snprintf(ret->why, sizeof ret->why, "%s", t->why);
	if (t->reason != 0)
		ret->reason = t->reason;
	return t->wish;
}

static void
subscription(void *ctx, struct slice filter, uint8_t qos)
{
	struct tour *t = ctx;

	t->filters++;
	(void)snprintf(t->filter, sizeof t->filter, "%.*s %u", (int)filter.n, (const char *)filter.p, qos);
}

static void
over(void *ctx, const struct broker_visited *r)
{
	struct tour *t = ctx;

	t->done++;
	t->r = *r;
}

static void
visit(struct kit *k, struct tour *t, const struct broker_visit *like)
{
	struct broker_visit v = *like;

	v.each = meet;
	v.done = over;
	v.ctx = t;
	t->done = t->seen = 0;
	assert_true(broker_visit(k->broker, &v));
	kit_pump(k);
	assert_int_equal(t->done, 1);
}

static void
everybody_is_met_once(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct tour t = { .wish = BROKER_TAKE };
	struct broker_visit v = { .most = 7 };
	unsigned pages = 0, all = 0;
	char id[8];

	visit(k, &t, &(struct broker_visit){ 0 });
	assert_int_equal(t.seen + t.r.n, 0);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(id, sizeof id, "c%u", i);
		(void)kit_join(k, MQTT_V5, id);
	}
	visit(k, &t, &(struct broker_visit){ 0 });
	assert_int_equal(t.seen, 100);
	assert_int_equal(t.r.n, 100);
	assert_false(t.r.more);
	do {
		visit(k, &t, &v);
		assert_true(t.seen <= 7);
		assert_int_equal(t.seen, t.r.n);
		all += t.seen;
		v.shard = t.r.shard;
		v.slot = t.r.slot;
		pages++;
	} while (t.r.more);
	assert_int_equal(all, 100);
	assert_true(pages >= 100 / 7);
	/* A cursor that another broker gave. */
	visit(k, &t, &(struct broker_visit){ .shard = 1000, .slot = 3 });
	assert_int_equal(t.seen, 0);
	assert_false(t.r.more);
	t.only = "c55";
	visit(k, &t, &(struct broker_visit){ 0 });
	assert_int_equal(t.r.n, 1);
}

static void
one_is_looked_into(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct connect_options o = { .version = MQTT_V5, .id = "dev", .keep = true, .expiry = 500, .keep_alive = 30, .will_topic = "w/dev", .will_payload = "x" };
	struct end *e = kit_connect(k, &o, NULL);
	struct tour t = { .wish = BROKER_TAKE };
	struct broker_visit v = { .client_id = SL("dev"), .subscription = subscription };

	kit_subscribe(e, "a/+", 1);
	kit_sleep(k, 2000);
	visit(k, &t, &v);
	assert_int_equal(t.seen, 1);
	assert_true(t.last.connected && t.last.who != NULL);
	assert_int_equal(t.last.idle_ms, 2000);
	assert_int_equal(t.last.keep_alive, 30);
	assert_int_equal(t.last.version, MQTT_V5);
	assert_int_equal(t.last.expiry_s, 500);
	assert_int_equal(t.last.subscriptions, 1);
	assert_string_equal(t.will, "w/dev");
	assert_string_equal(t.filter, "a/+ 1");
	kit_subscribe(e, "$share/g/b", 0);
	t.filters = 0;
	visit(k, &t, &v);
	assert_int_equal(t.filters, 2);
	assert_string_equal(t.filter, "$share/g/b 0");
	kit_disconnect(e, 0);
	kit_publish(kit_join(k, MQTT_V311, "pub"), "a/b", "m", 1, false, 1);
	kit_sleep(k, 3000);
	visit(k, &t, &v);
	assert_false(t.last.connected);
	assert_int_equal(t.last.away_ms, 3000);
	assert_int_equal(t.last.waiting, 1);
	assert_null(t.last.peer);
	v.client_id = SL("nobody");
	visit(k, &t, &v);
	assert_int_equal(t.seen + t.r.n, 0);
}

static uint8_t
dismissed(struct end *e)
{
	struct mqtt_frame f = kit_expect(e, MQTT_DISCONNECT);
	struct mqtt_disconnect m;

	assert_int_equal(mqtt_decode_disconnect(&f, MQTT_V5, &m), MQTT_RC_OK);
	assert_true(slice_eq(m.props.reason_string, SL("go")));
	kit_expect_nothing(e);
	assert_true(e->closed);
	return m.reason;
}

static bool
comes_back(struct kit *k, const char *id)
{
	bool present;

	(void)kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = id, .keep = true, .expiry = 500 }, &present);
	return present;
}

/* Connected and kept ones, with each wish: who is closed, whose session stays. */
static void
they_are_sent_away(void **state)
{
	static const struct {
		enum broker_wish wish;
		bool purge_option, here_stays, away_stays;
		unsigned n;
	} cases[] = {
		{ BROKER_EXPEL, false, true, true, 1 },
		{ BROKER_WITHDRAW, false, true, true, 1 },
		{ BROKER_WITHDRAW, true, false, false, 2 },
		{ BROKER_PURGE, false, false, false, 2 },
	};

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct kit *k = kit_begin(state, NULL, NULL);
		struct broker_listener l = { .withdrawn_purge = cases[i].purge_option };
		struct connect_options o = { .version = MQTT_V5, .id = "here", .keep = true, .expiry = 500, .will_topic = "w", .will_payload = "gone" };
		struct tour t = { .wish = cases[i].wish, .why = "go", .reason = i % 2 == 0 ? 0 : MQTT_RC_NOT_AUTHORIZED };
		struct end *e, *sub;

		kit_listener(k, &l);
		sub = kit_connect(k, &(struct connect_options){ .version = MQTT_V311, .id = "sub", .username = "user-sub" }, NULL);
		kit_subscribe(sub, "w", 0);
		kit_disconnect(kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = "away", .keep = true, .expiry = 500 }, NULL), 0);
		e = kit_connect(k, &o, NULL);
		t.only = "here";
		visit(k, &t, &(struct broker_visit){ 0 });
		assert_int_equal(t.r.n, 1);
		t.only = "away";
		visit(k, &t, &(struct broker_visit){ 0 });
		assert_int_equal(t.r.n, cases[i].n - 1);
		assert_int_equal(dismissed(e), t.reason != 0 ? t.reason : MQTT_RC_ADMINISTRATIVE);
		(void)kit_message(sub, "w", "gone");
		assert_int_equal(comes_back(k, "here"), cases[i].here_stays);
		assert_int_equal(comes_back(k, "away"), cases[i].away_stays);
		if (i + 1 < ARRAY_LEN(cases))
			kit_done(k);
	}
}

static void
many_are_sent_away(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct tour t = { .wish = BROKER_PURGE, .why = "go" };
	char id[8];

	for (unsigned i = 0; i < 300; i++) {
		(void)snprintf(id, sizeof id, "c%u", i);
		(void)kit_join(k, MQTT_V311, id);
	}
	visit(k, &t, &(struct broker_visit){ 0 });
	assert_int_equal(t.r.n, 300);
	assert_false(t.r.more);
	visit(k, &t, &(struct broker_visit){ 0 });
	assert_int_equal(t.seen, 0);
}

static void
a_visit_ends_with_the_broker(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	static struct tour t;

	t = (struct tour){ .wish = BROKER_TAKE };
	(void)kit_join(k, MQTT_V5, "a");
	assert_true(broker_visit(k->broker, &(struct broker_visit){ .each = meet, .done = over, .ctx = &t }));
	kit_done(k);
	assert_int_equal(t.done, 1);
	assert_true(t.r.more);
	kit_init(k, 2, NULL, NULL);
}

/* ---- what the broker says by itself ---- */

static void
one_client_is_told(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_join(k, MQTT_V5, "a"), *other = kit_join(k, MQTT_V5, "bb");
	struct shard *home = broker_shard(k->broker, broker_home(k->broker, SL("a")));

	kit_subscribe(e, "$CONTROL/news", 0);
	kit_subscribe(other, "$CONTROL/news", 0);
	assert_int_equal(shard_tell(home, SL("a"), SL("$CONTROL/news"), SL("1")), BROKER_TOLD);
	kit_pump(k);
	(void)kit_message(e, "$CONTROL/news", "1");
	kit_expect_nothing(other);
	assert_int_equal(shard_tell(home, SL("nobody"), SL("$CONTROL/news"), SL("1")), BROKER_TOLD_NOBODY);
	/* More than a slow reader holds is kept back, not lost. */
	char *big = calloc(1, 300 * 1024);

	assert_non_null(big);
	assert_int_equal(shard_tell(home, SL("a"), SL("$CONTROL/news"), slice_of(big, 300 * 1024)), BROKER_TOLD);
	assert_int_equal(shard_tell(home, SL("a"), SL("$CONTROL/news"), SL("2")), BROKER_TOLD_LATER);
	kit_pump(k);
	free(big);
	(void)kit_expect(e, MQTT_PUBLISH);
	assert_int_equal(shard_tell(home, SL("a"), SL("$CONTROL/news"), SL("3")), BROKER_TOLD);
	kit_pump(k);
	(void)kit_message(e, "$CONTROL/news", "3");
}

static void
the_broker_publishes_with_a_qos(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct connect_options o = { .version = MQTT_V5, .id = "dev", .keep = true, .expiry = 500 };
	struct mqtt_publish p = { .topic = SL("t/dev/config"), .payload = SL("{}"), .qos = 1 };
	struct end *e = kit_connect(k, &o, NULL);
	bool heard = true;

	assert_true(shard_publish_message(broker_shard(k->broker, 0), &p, &heard));
	assert_false(heard);
	kit_subscribe(e, "t/dev/config", 1);
	kit_disconnect(e, 0);
	assert_true(shard_publish_message(broker_shard(k->broker, 0), &p, &heard));
	assert_true(heard);
	kit_pump(k);
	e = kit_connect(k, &o, NULL);
	assert_int_equal(kit_message(e, "t/dev/config", "{}").qos, 1);
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(everybody_is_met_once),
	TEST(one_is_looked_into),
	TEST(they_are_sent_away),
	TEST(many_are_sent_away),
	TEST(a_visit_ends_with_the_broker),
	TEST(one_client_is_told),
	TEST(the_broker_publishes_with_a_qos),
};

int
main(void)
{
	return kit_run("broker visit", tests, ARRAY_LEN(tests));
}
