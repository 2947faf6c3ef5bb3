/* Every allocation of a broad scenario fails once: nothing leaks, nothing falls over, and those who had no part in it are
 * served as before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/nomem_testkit.h"
#include "base/num.h"
#include "broker/broker.h"

static void
nomem_arm(unsigned after, unsigned failures)
{
	nomem.hit = false;
	nomem.fail_in = after + 1;
	nomem.more = failures - 1;
}

/* Has any allocation failed? */
static bool
nomem_disarm(void)
{
	nomem.fail_in = nomem.more = 0;
	return nomem.hit;
}

/* ---- a broker and peers that allocate nothing themselves ---- */

enum { SHARDS = 2, PEERS_MAX = 16 };

struct peer {
	void *stream;
	struct waker waker;
	unsigned shard, target;
	bool woken, moving, closed, silent;
	uint8_t version, in[16384], kept[16384];
	size_t in_n, kept_n;
	bool granted; /* by the last SUBACK */
	unsigned messages, acks; /* PUBLISH packets received; PUBACK and PUBREC */
};

static struct {
	struct broker *broker;
	struct authz_policy *policy;
	uint64_t now_ms;
	struct peer peers[PEERS_MAX];
	unsigned n_peers;
} w;

static void
port_wake(void *ctx, unsigned shard)
{
	(void)ctx, (void)shard;
}

static uint8_t
port_authenticate(void *ctx, struct broker_login *l)
{
	(void)ctx;
	l->who = authz_principal_ref(l->cert);
	return MQTT_RC_OK;
}

/* The first step is not enough, the second is. */
static uint8_t
port_exchange(void *ctx, struct broker_exchange *x)
{
	static int begun;

	(void)ctx;
	if (x->state == NULL) {
		x->state = &begun;
		return MQTT_RC_CONTINUE_AUTH;
	}
	x->who = authz_principal_ref(x->cert);
	return MQTT_RC_OK;
}

static void
port_exchange_end(void *ctx, struct broker_exchange *x)
{
	(void)ctx, (void)x;
}

static void
port_event(void *ctx, const struct broker_event *e)
{
	(void)ctx, (void)e;
}

static int64_t
port_wall(void *ctx)
{
	(void)ctx;
	return 1800000000;
}

static void
peer_wake(void *conn)
{
	((struct peer *)conn)->woken = true;
}

static void
peer_move(void *conn, unsigned worker)
{
	((struct peer *)conn)->moving = true;
	((struct peer *)conn)->target = worker;
}

static void
peer_read(void *conn, bool on)
{
	(void)conn, (void)on;
}

static const struct waker_ops peer_ops = { peer_wake, peer_move, peer_read };

static void
peer_close(struct peer *p)
{
	if (!p->closed && p->stream != NULL)
		client_stream.closed(p->stream, NULL);
	p->closed = true;
}

static void
peer_give(struct peer *p)
{
	while (!p->closed && p->kept_n > 0) {
		ptrdiff_t used;

		shard_begin(broker_shard(w.broker, p->shard), w.now_ms);
		used = client_stream.feed(p->stream, slice_of(p->kept, p->kept_n));
		p->woken = true;
		if (used == STREAM_CLOSE) {
			p->kept_n = 0;
			return;
		}
		memmove(p->kept, p->kept + used, p->kept_n - (size_t)used);
		p->kept_n -= (size_t)used;
		if (p->moving) {
			p->moving = false;
			p->shard = p->target;
			client_stream.moved(p->stream, NULL, &p->waker);
		} else if (used == 0)
			return;
	}
}

static void
put(struct peer *p, const void *bytes, size_t n)
{
	if (p->closed)
		return;
	assert_true(p->kept_n + n <= sizeof p->kept);
	memcpy(p->kept + p->kept_n, bytes, n);
	p->kept_n += n;
	p->woken = true;
}

static void
put_ack(struct peer *p, uint8_t type, uint16_t id)
{
	uint8_t buf[8];
	struct wr wr = wr_of(buf, sizeof buf);

	assert_true(mqtt_put_ack(&wr, p->version, type, id, 0, SL("")));
	put(p, buf, wr_len(&wr));
}

/* Answers as a client does. */
static void
answer(struct peer *p, const struct mqtt_frame *f)
{
	struct mqtt_publish m;
	struct mqtt_ack a;

	if (f->type == MQTT_PUBLISH) {
		assert_int_equal(mqtt_decode_publish(f, p->version, false, &m), MQTT_RC_OK);
		p->messages++;
		if (m.qos > 0 && !p->silent)
			put_ack(p, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id);
	}
	if (f->type == MQTT_SUBACK)
		p->granted = f->body.p[f->body.n - 1] <= 2;
	p->acks += f->type == MQTT_PUBACK || f->type == MQTT_PUBREC;
	if (f->type != MQTT_PUBREC && f->type != MQTT_PUBREL)
		return;
	assert_int_equal(mqtt_decode_ack(f, p->version, &a), MQTT_RC_OK);
	if (a.reason < 0x80)
		put_ack(p, f->type == MQTT_PUBREC ? MQTT_PUBREL : MQTT_PUBCOMP, a.packet_id);
}

static void
peer_drain(struct peer *p)
{
	struct iovec iov[40];
	struct mqtt_frame f;
	size_t at = 0;
	int n = 0;

	while (!p->closed && (n = client_stream.pull(p->stream, iov, 40)) > 0) {
		for (int i = 0; i < n; i++) {
			assert_true(p->in_n + iov[i].iov_len <= sizeof p->in);
			memcpy(p->in + p->in_n, iov[i].iov_base, iov[i].iov_len);
			p->in_n += iov[i].iov_len;
		}
		client_stream.sent(p->stream);
	}
	if (n == STREAM_CLOSE)
		peer_close(p);
	while (mqtt_frame(slice_of(p->in + at, p->in_n - at), 1u << 20, &f) == MQTT_FRAME_OK) {
		answer(p, &f);
		at += f.size;
	}
	memmove(p->in, p->in + at, p->in_n - at);
	p->in_n -= at;
}

static void
pump(void)
{
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < SHARDS; i++)
			(void)shard_turn(broker_shard(w.broker, i), w.now_ms);
		for (unsigned i = 0; i < w.n_peers; i++) {
			struct peer *p = &w.peers[i];

			if (!p->woken || p->closed)
				continue;
			p->woken = false;
			peer_drain(p);
			peer_give(p);
		}
	}
}

static struct peer *
come(const char *id, uint8_t version, bool keep)
{
	static const struct authz_facts nobody;
	struct peer *p = &w.peers[w.n_peers++];
	struct mqtt_connect m = { .version = version, .client_id = slice_str(id), .clean_start = !keep,
		.will = { .present = true, .qos = 1, .retain = true, .topic = SL("t/will"), .payload = SL("w") } };
	struct authz_principal *who;
	uint8_t buf[256];
	struct wr wr = wr_of(buf, sizeof buf);

	assert_true(w.n_peers <= PEERS_MAX);
	*p = (struct peer){ .version = version, .shard = w.n_peers % SHARDS };
	p->waker = (struct waker){ &peer_ops, p };
	if (version == 5) {
		mqtt_set(&m.props, MQTT_P_SESSION_EXPIRY), m.props.session_expiry = keep ? 100 : 0;
		mqtt_set(&m.props, MQTT_P_TOPIC_ALIAS_MAXIMUM), m.props.topic_alias_maximum = 2;
	}
	if (strcmp(id, "proves") == 0)
		mqtt_set(&m.props, MQTT_P_AUTH_METHOD), m.props.auth_method = SL("m");
	assert_true(mqtt_put_connect(&wr, &m));
	who = authz_principal_new(&nobody);
	if (who != NULL)
		p->stream = client_new(broker_shard(w.broker, p->shard), 0, who, "peer", &p->waker);
	p->closed = p->stream == NULL;
	put(p, buf, wr_len(&wr));
	pump();
	return p;
}

static void
subscribe(struct peer *p, uint8_t type, const char *filter, uint8_t options, uint32_t id)
{
	struct mqtt_sub s = { slice_str(filter), options };
	struct mqtt_props props = { .subscription_id = id };
	uint8_t buf[256];
	struct wr wr = wr_of(buf, sizeof buf);

	if (id != 0)
		mqtt_set(&props, MQTT_P_SUBSCRIPTION_ID);
	assert_true(mqtt_put_filters(&wr, p->version, type, 3, &s, 1, p->version == 5 ? &props : NULL));
	put(p, buf, wr_len(&wr));
	pump();
}

static void
publish(struct peer *p, const char *topic, uint8_t qos, bool retain, uint16_t id)
{
	struct mqtt_publish m = { .topic = slice_str(topic), .payload = SL("a payload of some length"), .qos = qos,
		.retain = retain, .packet_id = id, .topic_alias = p->version == 5 ? 1 : 0 };
	uint8_t buf[256];
	struct wr wr = wr_of(buf, sizeof buf);

	assert_true(mqtt_put_publish(&wr, p->version, &m));
	put(p, buf, wr_len(&wr));
	pump();
}

/* ---- the scenario ---- */

static bool
make_broker(void)
{
	struct broker_settings s;
	struct broker_listener l = { .policy = w.policy };
	struct broker_ports ports = { .wake = port_wake, .authenticate = port_authenticate, .exchange = port_exchange,
		.exchange_end = port_exchange_end, .event = port_event, .wall = port_wall };

	broker_settings_default(&s);
	s.max_inflight = 3;
	w.now_ms = 1000000;
	w.n_peers = 0;
	w.broker = broker_new(SHARDS, &s, &l, 1, &ports);
	return w.broker != NULL;
}

/* AUTH of the method "m". */
static void
prove(struct peer *p, uint8_t reason)
{
	struct mqtt_disconnect m = { .reason = reason, .props = { .auth_method = SL("m") } };
	uint8_t buf[32];
	struct wr wr = wr_of(buf, sizeof buf);

	mqtt_set(&m.props, MQTT_P_AUTH_METHOD);
	assert_true(mqtt_put_auth(&wr, &m));
	put(p, buf, wr_len(&wr));
	pump();
}

static void
scenario(void)
{
	struct broker_listener l = { .policy = w.policy };
	struct peer *a = come("a", 5, true), *b = come("b", 4, true), *pub = come("pub", 5, false), *old = come("old", 4, false);

	subscribe(a, MQTT_SUBSCRIBE, "t/#", 2, 5);
	subscribe(a, MQTT_SUBSCRIBE, "t/+", 1, 6);
	subscribe(b, MQTT_SUBSCRIBE, "t/x", 2, 0);
	subscribe(a, MQTT_SUBSCRIBE, "$share/g/s/#", 1, 0);
	subscribe(b, MQTT_SUBSCRIBE, "$share/g/s/#", 1, 0);
	subscribe(old, MQTT_SUBSCRIBE, "$share/g/s/#", 1, 0);
	b->silent = true; /* its window fills */
	for (uint16_t i = 1; i <= 6; i++) {
		publish(pub, "t/x", (uint8_t)(i % 3), false, i);
		publish(pub, "s/x", 1, false, (uint16_t)(i + 20));
		publish(old, i & 1 ? "r/1" : "r/2", 1, true, i);
	}
	subscribe(a, MQTT_SUBSCRIBE, "r/#", 1, 0);
	subscribe(b, MQTT_SUBSCRIBE, "r/1", 1, 0);
	peer_close(a);
	publish(pub, "t/x", 2, false, 50);
	(void)broker_set_listeners(w.broker, &l, 1);
	a = come("a", 5, true);
	b = come("b", 4, true); /* takes over */
	subscribe(b, MQTT_SUBSCRIBE, "r/+", 1, 0);
	subscribe(a, MQTT_UNSUBSCRIBE, "t/+", 0, 0);
	subscribe(b, MQTT_UNSUBSCRIBE, "$share/g/s/#", 0, 0);
	peer_close(old); /* its will */
	old = come("proves", 5, false);
	prove(old, MQTT_RC_CONTINUE_AUTH);
	prove(old, MQTT_RC_REAUTH);
	prove(old, MQTT_RC_CONTINUE_AUTH);
	prove(old, MQTT_RC_REAUTH);
	put(pub, "\xe0\x00", 2);
	pump();
	peer_close(a);
	w.now_ms += 200000; /* the session's end */
	pump();
}

static void
bystander(struct peer *listener, struct peer *speaker)
{
	unsigned before = listener->messages;

	if (listener->closed || speaker->closed)
		fail_msg("%s was hurt", listener->closed ? "the listener" : "the speaker");
	publish(speaker, "by", 1, false, 7);
	publish(speaker, "by", 2, false, 8);
	assert_int_equal(listener->messages, before + 2);
}

/* Whoever is a member of the group now, each message reaches one: nobody who has gone is taken for one. */
static void
group_is_sound(struct peer *speaker)
{
	struct peer *late = come("late", 4, false);
	unsigned before = 0, after = 0;

	for (unsigned i = 0; i < w.n_peers; i++) /* what waits for one that does not answer is not lost, but not counted */
		if (w.peers[i].silent)
			peer_close(&w.peers[i]);
	subscribe(late, MQTT_SUBSCRIBE, "$share/g/s/#", 1, 0);
	for (unsigned i = 0; i < w.n_peers; i++)
		before += w.peers[i].messages;
	for (uint16_t i = 0; i < 4; i++)
		publish(speaker, "s/x", 1, false, (uint16_t)(40 + i));
	for (unsigned i = 0; i < w.n_peers; i++)
		after += w.peers[i].messages;
	assert_int_equal(after, before + 4);
}

/* Nobody waits for an answer that was lost: what is retained comes to everybody who asks for it now. */
static void
retained_is_sound(struct peer *speaker)
{
	publish(speaker, "k/1", 1, true, 60);
	for (unsigned i = 0; i < w.n_peers; i++) {
		struct peer *p = &w.peers[i];
		unsigned before = p->messages;

		if (p->closed || p->silent)
			continue;
		subscribe(p, MQTT_SUBSCRIBE, "k/#", 0, 0);
		assert_int_equal(p->messages, before + 1);
	}
}

/* Returns whether any allocation was to fail. */
static bool
run_once(unsigned k, unsigned failures)
{
	long before = nomem.live;
	struct peer *listener, *speaker;
	bool failed;

	assert_true(make_broker());
	pump(); /* the shards learn the time */
	listener = come("listener", 4, false);
	speaker = come("speaker", 4, false);
	subscribe(listener, MQTT_SUBSCRIBE, "by", 2, 0);
	bystander(listener, speaker);
	nomem_arm(k, failures);
	scenario();
	failed = nomem_disarm();
	bystander(listener, speaker);
	group_is_sound(speaker);
	retained_is_sound(speaker);
	for (unsigned i = 0; i < w.n_peers; i++)
		peer_close(&w.peers[i]);
	pump();
	broker_free(w.broker);
	if (nomem.live != before)
		fail_msg("allocation %u failed %u times: %ld blocks are left", k, failures, nomem.live - before);
	return failed;
}

static void
each_allocation_fails(void **state)
{
	static const unsigned failures[] = { 1, 2, 10 };

	(void)state;
	w.policy = authz_policy_open();
	for (unsigned i = 0; i < ARRAY_LEN(failures); i++) {
		unsigned k = 0;

		while (run_once(k, failures[i]))
			k++;
		assert_in_range(k, 100, 100000);
	}
	authz_policy_unref(w.policy);
}

static unsigned long
dropped(unsigned shard)
{
	return atomic_load(&shard_stats(broker_shard(w.broker, shard))->dropped);
}

/* An id whose session is at home on <shard>. */
static const char *
id_at(unsigned shard, char id[static 8])
{
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(id, 8, "%u-%u", shard, i);
		if (broker_home(w.broker, slice_str(id)) == shard)
			return id;
	}
	return NULL;
}

/* One message from one shard to the other with the k-th allocation failing. Returns whether any was to fail. */
static bool
crosses_once(unsigned k, uint8_t qos, const char *filter)
{
	char id[2][8];
	struct peer *from, *to;
	bool failed;

	assert_true(make_broker());
	pump();
	from = come(id_at(0, id[0]), 4, false);
	to = come(id_at(1, id[1]), 4, false);
	subscribe(to, MQTT_SUBSCRIBE, filter, 2, 0);
	nomem_arm(k, 1);
	publish(from, "x", qos, false, 1);
	failed = nomem_disarm();
	pump();
	/* Not told: it comes again. Told: it is there, or its loss was counted where it was lost. */
	if (from->acks == 1 && to->messages + dropped(1) != 1)
		fail_msg("QoS %u: acknowledged, %u came and %lu were counted as lost, allocation %u, %s", qos, to->messages, dropped(1), k, filter);
	assert_true(from->acks == 1 || from->closed);
	assert_int_equal(dropped(0), 0);
	for (unsigned i = 0; i < w.n_peers; i++)
		peer_close(&w.peers[i]);
	pump();
	broker_free(w.broker);
	return failed;
}

/* Who was granted a place in a group has it, or is sent away to ask again; one that stays for him is found when he is back. */
static bool
joins_once(unsigned k, const char *filter, bool keep)
{
	char id[2][8];
	struct peer *from, *to;
	bool failed;

	assert_true(make_broker());
	pump();
	from = come(id_at(0, id[0]), 4, false);
	to = come(id_at(1, id[1]), 4, keep);
	nomem_arm(k, 1);
	subscribe(to, MQTT_SUBSCRIBE, filter, 1, 0);
	failed = nomem_disarm();
	pump();
	if (to->closed && keep && to->granted)
		to = come(id[1], 4, true);
	else if (to->closed || !to->granted)
		to = NULL;
	publish(from, "x", 1, false, 1);
	if (to != NULL && to->messages != 1)
		fail_msg("granted and not a member, allocation %u, %s", k, filter);
	for (unsigned i = 0; i < w.n_peers; i++)
		peer_close(&w.peers[i]);
	pump();
	broker_free(w.broker);
	return failed;
}

static void
granted_is_a_member(void **state)
{
	(void)state;
	w.policy = authz_policy_open();
	for (unsigned keep = 0; keep < 2; keep++) {
		static const char *const filters[] = { "$share/g/x", "$share/h/x", "$share/i/x" };

		for (unsigned i = 0; i < ARRAY_LEN(filters); i++)
			for (unsigned k = 0; joins_once(k, filters[i], keep != 0); k++)
				;
	}
	authz_policy_unref(w.policy);
}

static void
acknowledged_is_passed_on(void **state)
{
	(void)state;
	w.policy = authz_policy_open();
	for (uint8_t qos = 1; qos <= 2; qos++) {
		static const char *const filters[] = { "x", "$share/g/x", "$share/h/x" };

		for (unsigned i = 0; i < ARRAY_LEN(filters); i++)
			for (unsigned k = 0; crosses_once(k, qos, filters[i]); k++)
				;
	}
	authz_policy_unref(w.policy);
}

static void
no_broker(void **state)
{
	long before = nomem.live;

	(void)state;
	w.policy = authz_policy_open();
	for (unsigned k = 0;; k++) {
		bool made;

		nomem_arm(k, 1);
		made = make_broker();
		assert_int_equal(made, !nomem_disarm());
		if (made)
			break;
	}
	broker_free(w.broker);
	authz_policy_unref(w.policy);
	assert_int_equal(nomem.live, before);
}

int
main(void)
{
	const struct CMUnitTest all[] = {
		cmocka_unit_test(no_broker),
		cmocka_unit_test(each_allocation_fails),
		cmocka_unit_test(acknowledged_is_passed_on),
		cmocka_unit_test(granted_is_a_member),
	};

	return cmocka_run_group_tests_name("broker without memory", all, NULL, NULL);
}
