/* A model test: publishers, persistent subscribers and noise, on one shard and on four whose turns come in any order. What the
 * broker has acknowledged reaches every subscriber: at least once at QoS 1, exactly once at QoS 2, in the publisher's order.
 * CHAOS_SEED=n repeats a run. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

enum { PUBS = 3, SUBS = 4, NOISE = 4, MESSAGES_MAX = 4000, STEPS = 40000, ROUNDS = 2 };

struct pub {
	struct end *e;
	char id[16], topic[16];
	bool pending, released; /* a message was sent; its PUBREL too */
	uint8_t qos;
	uint16_t packet_id;
	unsigned seq;           /* of the last message */
	uint8_t sent[MESSAGES_MAX], acked[MESSAGES_MAX]; /* QoS + 1 */
};

struct seen {
	unsigned last[3]; /* by QoS: newest so far */
	uint8_t times[MESSAGES_MAX];
};

struct sub {
	struct end *e;
	char id[16];
	uint8_t version;
	bool open[65536]; /* QoS 2 ids received and not released */
	struct seen seen[PUBS];
};

struct world {
	struct kit kit;
	uint64_t rng, seed;
	struct pub pubs[PUBS];
	struct sub subs[SUBS];
	struct end *noise[NOISE];
};

static struct world w;

static unsigned
dice(unsigned n)
{
	w.rng ^= w.rng << 13;
	w.rng ^= w.rng >> 7;
	w.rng ^= w.rng << 17;
	return (unsigned)(w.rng >> 33) % n;
}

#define REQUIRE(cond, ...) \
	do { \
		if (!(cond)) { \
			(void)fprintf(stderr, "CHAOS_SEED=%llu, %u shards: ", (unsigned long long)w.seed, w.kit.n); \
			fail_msg(__VA_ARGS__); \
		} \
	} while (0)

static void
settle(void)
{
	w.kit.manual = false;
	kit_pump(&w.kit);
	w.kit.manual = true;
}

/* A connection of <id>; the old one may be there still and is taken over. */
static struct end *
come(const char *id, uint8_t version, bool keep, bool will)
{
	struct end *e = kit_open(&w.kit, dice(w.kit.n), NULL, AUTHZ_ROLE_NONE);

	kit_send_connect(e, &(struct connect_options){ .version = version, .id = id, .keep = keep,
	    .expiry = version == 5 && keep ? UINT32_MAX : 0, .will_topic = will ? "t/will" : NULL,
	    .will_payload = will ? "w" : NULL, .will_qos = 1,
	    .receive_maximum = version == 5 ? (uint16_t)(1 + dice(30)) : 0 });
	return e;
}

static bool
alive(const struct end *e)
{
	return e != NULL && !e->closed;
}

/* ---- publishers ---- */

static void
pub_send(struct pub *p, bool dup)
{
	uint8_t buf[64];
	struct wr wr = wr_of(buf, sizeof buf);
	char text[16];
	struct mqtt_publish m = { .topic = slice_str(p->topic), .qos = p->qos, .packet_id = p->packet_id, .dup = dup };

	(void)snprintf(text, sizeof text, "%u", p->seq);
	m.payload = slice_str(text);
	assert_true(mqtt_put_publish(&wr, p->e->version, &m));
	kit_feed(p->e, buf, wr_len(&wr));
}

static void
pub_read(struct pub *p)
{
	struct mqtt_frame f;
	struct mqtt_ack a;

	while (p->e != NULL && kit_next(p->e, &f)) {
		if (f.type == MQTT_CONNACK) {
			/* What was not acknowledged is sent again [MQTT-4.4.0-1]. */
			if (p->pending && p->released)
				kit_ack(p->e, MQTT_PUBREL, p->packet_id);
			else if (p->pending)
				pub_send(p, true);
			continue;
		}
		if (f.type != MQTT_PUBACK && f.type != MQTT_PUBREC && f.type != MQTT_PUBCOMP)
			continue;
		assert_int_equal(mqtt_decode_ack(&f, p->e->version, &a), MQTT_RC_OK);
		if (!p->pending || a.packet_id != p->packet_id)
			continue; /* the second answer to what was sent twice */
		if (f.type != MQTT_PUBCOMP)
			p->acked[p->seq] = (uint8_t)(p->qos + 1u);
		if (f.type == MQTT_PUBREC) {
			p->released = true;
			kit_ack(p->e, MQTT_PUBREL, p->packet_id);
		} else
			p->pending = false;
	}
}

static void
pub_step(struct pub *p)
{
	pub_read(p);
	if (!alive(p->e) || dice(60) == 0) {
		if (alive(p->e) && dice(2) == 0)
			kit_cut(p->e);
		p->e = come(p->id, p->topic[2] == '0' ? 4 : 5, true, false);
		return;
	}
	if (p->pending && !p->released && p->qos == 2 && dice(20) == 0) {
		pub_send(p, true); /* a nervous client */
		return;
	}
	if (p->pending || p->seq + 1 >= MESSAGES_MAX || p->e->in_n == 0)
		return;
	p->seq++;
	p->qos = (uint8_t)dice(3);
	p->packet_id = (uint16_t)(p->packet_id % 50 + 1);
	p->sent[p->seq] = (uint8_t)(p->qos + 1u);
	p->pending = p->qos > 0;
	p->released = false;
	pub_send(p, false);
}

/* ---- subscribers ---- */

static void
sub_got(struct sub *s, const struct mqtt_publish *m)
{
	unsigned pub, seq;
	char text[16];
	struct seen *seen;
	uint8_t qos;

	if (m->topic.n != 3 || m->topic.p[2] < '0' || m->topic.p[2] > '9')
		return;
	pub = (unsigned)(m->topic.p[2] - '0');
	(void)snprintf(text, sizeof text, "%.*s", SL_ARG(m->payload));
	seq = (unsigned)strtoul(text, NULL, 10);
	seen = &s->seen[pub];
	qos = m->qos;
	REQUIRE(seq > 0 && w.pubs[pub].sent[seq] == qos + 1, "%s: message %u of %u at QoS %u was not sent", s->id, seq, pub, qos);
	if (seen->times[seq]++ > 0)
		REQUIRE(qos == 1, "%s: message %u of %u came twice at QoS %u", s->id, seq, pub, qos);
	else {
		REQUIRE(seq > seen->last[qos], "%s: message %u of %u came after %u", s->id, seq, pub, seen->last[qos]);
		seen->last[qos] = seq;
	}
}

static void
sub_publish(struct sub *s, const struct mqtt_frame *f, unsigned silence)
{
	struct mqtt_publish m;

	REQUIRE(mqtt_decode_publish(f, s->version, false, &m) == MQTT_RC_OK, "a bad PUBLISH");
	if (m.qos == 2 && s->open[m.packet_id]) {
		kit_ack(s->e, MQTT_PUBREC, m.packet_id);
		return;
	}
	sub_got(s, &m);
	if (m.qos == 2)
		s->open[m.packet_id] = true;
	if (m.qos > 0 && dice(100) >= silence)
		kit_ack(s->e, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id);
	else if (m.qos > 0)
		kit_cut(s->e); /* the answer is lost */
}

static void
sub_read(struct sub *s, unsigned most, unsigned silence)
{
	struct mqtt_frame f;
	struct mqtt_ack a;

	while (s->e != NULL && most-- > 0 && kit_next(s->e, &f)) {
		bool was = !s->e->closed;

		if (f.type == MQTT_PUBLISH && was)
			sub_publish(s, &f, silence);
		if (f.type != MQTT_PUBREL || !was)
			continue;
		assert_int_equal(mqtt_decode_ack(&f, s->version, &a), MQTT_RC_OK);
		s->open[a.packet_id] = false;
		kit_ack(s->e, MQTT_PUBCOMP, a.packet_id);
	}
}

static void
sub_step(struct sub *s)
{
	if (!alive(s->e) || dice(80) == 0) {
		if (alive(s->e) && dice(2) == 0)
			kit_cut(s->e);
		if (dice(3) == 0 || alive(s->e))
			s->e = come(s->id, s->version, true, dice(2) == 0);
		return;
	}
	sub_read(s, 1 + dice(10), 3);
}

/* ---- noise ---- */

static void
noise_step(unsigned i)
{
	static const char *const filters[] = { "t/#", "t/+", "$share/g/t/#", "$share/g/#", "t/1", "r/#", "+/will" };
	struct end *e = w.noise[i];
	uint8_t buf[128];
	struct wr wr = wr_of(buf, sizeof buf);
	struct mqtt_sub sub = { slice_str(filters[dice(ARRAY_LEN(filters))]), (uint8_t)dice(3) };
	struct mqtt_frame f;
	char id[8];

	if (!alive(e)) {
		(void)snprintf(id, sizeof id, "n%u", i);
		w.noise[i] = come(id, dice(2) ? 4 : 5, dice(3) == 0, dice(2) == 0);
		return;
	}
	while (kit_next(e, &f))
		;
	switch (dice(6)) {
	case 0:
		kit_cut(e);
		break;
	case 1:
		kit_publish(e, dice(2) ? "r/1" : "r/2", dice(3) ? "x" : "", 1, true, 9);
		break;
	case 2:
		assert_true(mqtt_put_filters(&wr, e->version, MQTT_UNSUBSCRIBE, 1, &sub, 1, NULL));
		kit_feed(e, buf, wr_len(&wr));
		break;
	default:
		assert_true(mqtt_put_filters(&wr, e->version, MQTT_SUBSCRIBE, 1, &sub, 1, NULL));
		kit_feed(e, buf, wr_len(&wr));
		break;
	}
}

/* ---- the run ---- */

static void
sweep(void)
{
	for (struct end *e = w.kit.ends, *next; e != NULL; e = next) {
		bool used = false;

		next = e->next;
		for (unsigned i = 0; i < PUBS; i++)
			used = used || w.pubs[i].e == e;
		for (unsigned i = 0; i < SUBS; i++)
			used = used || w.subs[i].e == e;
		for (unsigned i = 0; i < NOISE; i++)
			used = used || w.noise[i] == e;
		if (e->closed && !used)
			kit_forget(e);
	}
}

static void
start(unsigned shards)
{
	struct broker_settings s;

	broker_settings_default(&s);
	s.max_queued_messages = 0;
	kit_init(&w.kit, shards, &s, NULL);
	for (unsigned i = 0; i < PUBS; i++) {
		(void)snprintf(w.pubs[i].id, sizeof w.pubs[i].id, "pub%u", i);
		(void)snprintf(w.pubs[i].topic, sizeof w.pubs[i].topic, "t/%u", i);
	}
	for (unsigned i = 0; i < SUBS; i++) {
		struct sub *sub = &w.subs[i];

		(void)snprintf(sub->id, sizeof sub->id, "sub%u", i);
		sub->version = i & 1 ? 5 : 4;
		sub->e = kit_connect(&w.kit, &(struct connect_options){ .version = sub->version, .id = sub->id, .keep = true,
		    .expiry = i & 1 ? UINT32_MAX : 0 }, NULL);
		kit_subscribe(sub->e, i < 2 ? "t/#" : "t/+", 2);
	}
	w.kit.manual = true;
}

/* Everybody is there and answers: now nothing may be missing. */
static void
finish(void)
{
	for (unsigned i = 0; i < SUBS; i++)
		if (!alive(w.subs[i].e))
			w.subs[i].e = come(w.subs[i].id, w.subs[i].version, true, false);
	for (unsigned round = 0; round < 3000; round++) {
		settle();
		for (unsigned i = 0; i < SUBS; i++)
			sub_read(&w.subs[i], UINT32_MAX, 0);
	}
	for (unsigned p = 0; p < PUBS; p++)
		for (unsigned i = 0; i < SUBS; i++)
			for (unsigned seq = 1; seq <= w.pubs[p].seq; seq++)
				REQUIRE(w.pubs[p].acked[seq] == 0 || w.subs[i].seen[p].times[seq] > 0,
				    "%s: message %u of %u at QoS %u was lost", w.subs[i].id, seq, p, w.pubs[p].acked[seq] - 1u);
}

static void
chaos(unsigned shards, uint64_t seed)
{
	memset(&w, 0, sizeof w);
	w.seed = seed;
	w.rng = seed * 0x9e3779b97f4a7c15u + 1;
	start(shards);
	for (unsigned step = 0; step < STEPS; step++) {
		switch (dice(8)) {
		case 0:
		case 1:
			pub_step(&w.pubs[dice(PUBS)]);
			break;
		case 2:
		case 3:
			sub_step(&w.subs[dice(SUBS)]);
			break;
		case 4:
			if (dice(4) == 0)
				noise_step(dice(NOISE));
			break;
		case 5:
			w.kit.now_ms += dice(20);
			if (dice(200) == 0)
				kit_policy(&w.kit, NULL);
			break;
		default:
			kit_turn(&w.kit, dice(w.kit.n));
			break;
		}
		sweep();
	}
	finish();
	/* A run in which nothing happens proves nothing. */
	for (unsigned p = 0; p < PUBS; p++)
		REQUIRE(w.pubs[p].seq > STEPS / 100, "only %u messages", w.pubs[p].seq);
	w.kit.manual = false;
	kit_done(&w.kit);
}

static void
run(void **state)
{
	const char *text = getenv("CHAOS_SEED");

	if (text != NULL) {
		chaos(*(unsigned *)*state, strtoull(text, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= ROUNDS; seed++)
		chaos(*(unsigned *)*state, seed);
}

int
main(void)
{
	static unsigned one = 1, four = 4;
	const struct CMUnitTest all[] = {
		{ "chaos on 1", run, NULL, NULL, &one },
		{ "chaos on 4", run, NULL, NULL, &four },
	};

	return cmocka_run_group_tests_name("broker chaos", all, NULL, NULL);
}
