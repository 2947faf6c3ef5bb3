/* Shared subscriptions when members leave, and when there are very many. */
#include <stdio.h>
#include <string.h>
#include "broker/internal.h"
#include "broker/testkit.h"

static struct end *
member(struct kit *k, const char *id, const struct connect_options *like)
{
	struct connect_options o = *like;
	struct end *e;

	o.id = id;
	o.version = 5;
	e = kit_connect(k, &o, NULL);
	kit_subscribe(e, "$share/g/t/#", 2);
	return e;
}

static unsigned
count(struct end *e, const char *payload)
{
	struct mqtt_frame f;
	struct mqtt_publish m;
	unsigned n = 0;

	while (kit_next(e, &f))
		if (f.type == MQTT_PUBLISH) {
			assert_int_equal(mqtt_decode_publish(&f, e->version, false, &m), MQTT_RC_OK);
			if (slice_eq(m.payload, slice_str(payload))) {
				assert_false(m.dup);
				n++;
			}
		}
	return n;
}

/* What a member had not answered goes to another when its session ends, in whatever way; what was sent at QoS 2 does not
 * [MQTT-4.8.2-5]; what it had not been sent does. */
static void
the_rest_goes_to_another(void **state)
{
	enum { CUT, GOODBYE, EXPIRY, CLEAN_START, SHORTENED, WAYS };

	for (unsigned way = 0; way < WAYS; way++) {
		struct kit *k = kit_begin(state, NULL, NULL);
		struct end *pub = kit_join(k, 4, "pub");
		const struct connect_options kept = { .keep = true, .expiry = 10, .receive_maximum = 4 };
		const struct connect_options brief = { .keep = true, .receive_maximum = 4 };
		struct end *a = member(k, "a", way == CUT || way == GOODBYE ? &brief : &kept), *b;
		uint16_t id;

		kit_subscribe(a, "own", 1);
		kit_publish(pub, "t/1", "done", 1, false, 1);
		kit_ack(a, MQTT_PUBACK, kit_message(a, "t/1", "done").packet_id);
		kit_publish(pub, "t/1", "one", 1, false, 2);
		kit_publish(pub, "t/1", "two", 2, false, 3);
		kit_publish(pub, "t/1", "received", 2, false, 4);
		kit_message(a, "t/1", "one");
		kit_message(a, "t/1", "two");
		id = kit_message(a, "t/1", "received").packet_id;
		kit_ack(a, MQTT_PUBREC, id);
		kit_expect(a, MQTT_PUBREL);
		kit_publish(pub, "own", "own", 1, false, 5);
		kit_message(a, "own", "own");
		/* Its window is full. */
		kit_publish(pub, "t/2", "waits 1", 1, false, 6);
		kit_publish(pub, "t/2", "waits 2", 2, false, 7);
		kit_publish(pub, "own", "waits own", 1, false, 8);
		kit_expect_nothing(a);
		b = member(k, "b", &(struct connect_options){ .keep = true, .expiry = 1000 });
		if (way == CUT || way == EXPIRY)
			kit_cut(a);
		else if (way == GOODBYE)
			kit_disconnect(a, 0);
		else if (way == CLEAN_START)
			(void)kit_join(k, 5, "a");
		else
			kit_feed(a, "\xe0\7\0\5\x11\0\0\0\0", 9);
		if (way == EXPIRY) {
			kit_expect_nothing(b); /* it may come back */
			kit_sleep(k, 11000);
		}
		kit_message(b, "t/1", "one");
		kit_message(b, "t/2", "waits 1");
		assert_int_equal(kit_message(b, "t/2", "waits 2").qos, 2);
		kit_expect_nothing(b);
		if (way + 1 < WAYS)
			kit_done(k);
	}
}

/* [MQTT-4.8.2-4], [MQTT-4.8.2-6]. */
static void
who_comes_back_has_his_own(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	const struct connect_options kept = { .keep = true, .expiry = 100 };
	struct end *pub = kit_join(k, 4, "pub"), *a = member(k, "a", &kept), *b;
	uint8_t nack[] = { 0x40, 3, 0, 0, 0x80 };
	uint16_t id;

	kit_publish(pub, "t/1", "one", 1, false, 1);
	kit_publish(pub, "t/1", "two", 2, false, 2);
	kit_publish(pub, "t/1", "no", 1, false, 3);
	kit_publish(pub, "t/1", "no 2", 2, false, 4);
	kit_message(a, "t/1", "one");
	kit_message(a, "t/1", "two");
	id = kit_message(a, "t/1", "no").packet_id;
	nack[3] = (uint8_t)id;
	kit_feed(a, nack, sizeof nack);
	nack[0] = 0x50;
	nack[3]++;
	kit_feed(a, nack, sizeof nack);
	b = member(k, "b", &kept);
	kit_cut(a);
	kit_expect_nothing(b);
	a = kit_connect(k, &(struct connect_options){ .version = 5, .id = "a", .keep = true }, NULL);
	assert_true(kit_message(a, "t/1", "one").dup);
	assert_true(kit_message(a, "t/1", "two").dup);
	assert_int_equal(count(a, "no"), 0);
	kit_disconnect(a, 0);
	kit_message(b, "t/1", "one");
	kit_expect_nothing(b); /* what was refused is gone, and what is under way at QoS 2 */
	/* Nobody left: nobody gets it, and nothing else comes of it. */
	kit_feed(b, "\xe0\7\0\5\x11\0\0\0\0", 9);
	b = member(k, "b", &kept);
	kit_expect_nothing(b);
}

/* Groups are told apart however many a session is in; who has unsubscribed keeps what was his. */
static void
groups_are_told_apart(void **state)
{
	enum { GROUPS = 40 };
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_settings set;
	struct end *pub = kit_join(k, 4, "pub"), *a, *b;
	char text[32];

	kit_done(k);
	broker_settings_default(&set);
	set.max_inflight = 100;
	k = kit_begin(state, &set, NULL);
	pub = kit_join(k, 4, "pub");
	a = kit_join(k, 5, "a");
	/* Numbers are used up and given away again. */
	for (unsigned round = 0; round < 5; round++)
		for (unsigned i = 0; i < GROUPS; i++) {
			uint8_t unsub[] = "\xa2\x10\0\7\0\0\x0b$share/xx/t";

			(void)snprintf(text, sizeof text, "$share/%02u/t", i);
			kit_subscribe(a, text, 1);
			memcpy(unsub + 14, text + 7, 2);
			if (round < 4 && i % 2 == 0) {
				kit_feed(a, unsub, 18);
				kit_expect(a, MQTT_UNSUBACK);
			}
		}
	kit_publish(pub, "t", "x", 1, false, 1);
	assert_int_equal(count(a, "x"), GROUPS);
	b = kit_join(k, 4, "b");
	for (unsigned i = 0; i < GROUPS; i += 3) {
		(void)snprintf(text, sizeof text, "$share/%02u/t", i);
		kit_subscribe(b, text, 1);
	}
	kit_feed(a, "\xa2\x10\0\7\0\0\x0b$share/00/t", 18);
	kit_expect(a, MQTT_UNSUBACK);
	kit_cut(a);
	assert_int_equal(count(b, "x"), (GROUPS + 2) / 3 - 1);
}

enum { MEMBERS = 5, MESSAGES = 1500 };

struct worker {
	struct end *e;
	uint16_t unacked[64];
	unsigned n_unacked;
};

static unsigned
dice(uint64_t *rnd, unsigned n)
{
	*rnd = *rnd * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*rnd >> 33) % n;
}

/* What has come for a worker; it answers now, later, or never. */
static void
work(struct worker *m, uint8_t *seen, uint64_t *rnd)
{
	struct mqtt_frame f;
	struct mqtt_publish p;
	struct mqtt_ack a;

	while (!m->e->closed && kit_next(m->e, &f)) {
		if (f.type == MQTT_PUBREL) {
			assert_int_equal(mqtt_decode_ack(&f, m->e->version, &a), MQTT_RC_OK);
			kit_ack(m->e, MQTT_PUBCOMP, a.packet_id);
		}
		if (f.type != MQTT_PUBLISH)
			continue;
		assert_int_equal(mqtt_decode_publish(&f, m->e->version, false, &p), MQTT_RC_OK);
		seen[strtoul((const char *)p.payload.p, NULL, 10)]++;
		if (p.qos == 2)
			kit_ack(m->e, MQTT_PUBREC, p.packet_id);
		else if (dice(rnd, 3) > 0)
			kit_ack(m->e, MQTT_PUBACK, p.packet_id);
		else if (m->n_unacked < ARRAY_LEN(m->unacked))
			m->unacked[m->n_unacked++] = p.packet_id;
	}
}

static void
arrive(struct kit *k, struct worker *m, unsigned number)
{
	char id[16];

	(void)snprintf(id, sizeof id, "worker%u", number);
	k->manual = false;
	*m = (struct worker){ .e = member(k, id, &(struct connect_options){ .keep = true, .receive_maximum = 3 }) };
	k->manual = true;
}

/* Workers with small windows come and go in the midst of everything; the last one is always there. Each message at QoS 1 reaches
 * somebody, each at QoS 2 nobody twice. */
static void
nothing_is_lost_by_leaving(void **state)
{
	struct broker_settings set;
	struct kit *k;
	struct end *pub;
	struct worker m[MEMBERS];
	static uint8_t seen[MESSAGES];
	uint64_t rnd = 42;
	struct mqtt_frame f;
	char text[16];

	memset(seen, 0, sizeof seen);
	broker_settings_default(&set);
	set.max_queued_messages = 0;
	k = kit_begin(state, &set, NULL);
	pub = kit_join(k, 5, "pub");
	for (unsigned i = 0; i < MEMBERS; i++)
		arrive(k, &m[i], i);
	for (unsigned n = 0; n < MESSAGES; n++) {
		struct worker *any = &m[dice(&rnd, MEMBERS - 1)];

		(void)snprintf(text, sizeof text, "%u ", n);
		kit_publish(pub, "t/x", text, n % 3 == 0 ? 2 : 1, false, (uint16_t)(n + 1));
		for (unsigned i = dice(&rnd, 3); i > 0; i--)
			kit_turn(k, dice(&rnd, k->n));
		while (!pub->closed && kit_next(pub, &f))
			if (f.type == MQTT_PUBREC) {
				struct mqtt_ack a;

				assert_int_equal(mqtt_decode_ack(&f, 5, &a), MQTT_RC_OK);
				kit_ack(pub, MQTT_PUBREL, a.packet_id);
			}
		for (unsigned i = 0; i < MEMBERS; i++)
			work(&m[i], seen, &rnd);
		if (any->n_unacked > 0 && dice(&rnd, 2) == 0)
			kit_ack(any->e, MQTT_PUBACK, any->unacked[--any->n_unacked]);
		if (dice(&rnd, 12) == 0) {
			if (dice(&rnd, 2) == 0)
				kit_cut(any->e);
			else
				kit_feed(any->e, "\xe0\0", 2);
			work(any, seen, &rnd);
			arrive(k, any, (unsigned)(any - m));
		}
	}
	k->manual = false;
	for (unsigned i = 0; i < MEMBERS - 1; i++) {
		kit_pump(k);
		work(&m[i], seen, &rnd);
		kit_cut(m[i].e);
	}
	/* He who is left answers everything. */
	for (unsigned round = 0; round < 3 * MESSAGES; round++) {
		kit_pump(k);
		work(&m[MEMBERS - 1], seen, &rnd);
		while (m[MEMBERS - 1].n_unacked > 0)
			kit_ack(m[MEMBERS - 1].e, MQTT_PUBACK, m[MEMBERS - 1].unacked[--m[MEMBERS - 1].n_unacked]);
	}
	for (unsigned n = 0; n < MESSAGES; n++)
		if (n % 3 == 0 ? seen[n] > 1 : seen[n] == 0)
			fail_msg("message %u came %u times", n, seen[n]);
}

/* Members that nobody speaks for, at one home: as many as a fleet of workers. */
static void
very_many_members(void **state)
{
	enum { N = 100000, EACH = 2 };
	static struct session *s[N];
	struct kit *k = kit_begin(state, NULL, NULL);
	struct shard *sh = broker_shard(k->broker, 0);
	struct mqtt_sub how = { SL("$share/g/t"), 1 };
	struct slice topic = SL("t");
	char id[16];

	for (uint32_t i = 0; i < N; i++) {
		(void)snprintf(id, sizeof id, "m%u", i);
		assert_non_null(s[i] = session_new(sh, slice_str(id)));
		assert_non_null(s[i]->subs = malloc(sizeof s[i]->subs[0]));
		assert_non_null(s[i]->subs[0].shared = share_join(s[i], &how, &(struct share_terms){ .extra = sh->policy_tag, .name_n = 1 }));
		s[i]->subs[0].node = NULL;
		s[i]->n_subs = s[i]->n_shared = s[i]->cap_subs = 1;
		share_presence(s[i], false);
	}
	kit_pump(k);
	/* Where nobody is there, it is still everybody's turn. */
	for (uint32_t i = 0; i < EACH * N; i++) {
		struct mqtt_publish p = { .topic = topic, .qos = 1 };
		struct msg *m = msg_new(&p, SL(""), NULL, 0);

		assert_int_equal(route_message(sh, m, true), ROUTED);
		msg_unref(m);
		if (i % 1000 == 0)
			kit_pump(k);
	}
	kit_pump(k);
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(s[i]->pending.count, EACH);
	/* They go in an order that is not theirs, and what they had goes to those who are left. */
	for (uint32_t i = 0; i < N - 10; i++) {
		uint32_t at = (uint32_t)((uint64_t)i * 7919 % (N - 10));

		for (uint32_t j = 0; j < EACH; j++) {
			struct out o;

			if (sh->keep_ops->queue_pop(sh->keep, s[at], &o))
				out_release(&o);
		}
		stat_sub(sh, queued, EACH);
		session_end(s[at]);
	}
	kit_pump(k);
	for (uint32_t i = N - 10; i < N; i++)
		session_end(s[i]);
	kit_pump(k);
	for (unsigned i = 0; i < k->n; i++)
		assert_int_equal(broker_shard(k->broker, i)->groups.count, 0);
}

#define TEST(name) { #name, name }
static const struct kit_test tests[] = {
	TEST(the_rest_goes_to_another),
	TEST(who_comes_back_has_his_own),
	TEST(groups_are_told_apart),
	TEST(nothing_is_lost_by_leaving),
	TEST(very_many_members),
};

int
main(void)
{
	return kit_run("broker shares", tests, ARRAY_LEN(tests));
}
