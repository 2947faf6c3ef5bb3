/* What was acknowledged is there after the process has been killed: the store's directory is copied at some moment, as a kill
 * would leave it, and another broker, perhaps with another number of shards, goes on with the copy. */
#include "broker/testkit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "store/store.h"

struct rig {
	struct kit kit;
	struct store *store;
	char base[64], dir[96];
	unsigned lives;
	sem_t moved;
	struct broker_recovered got;
	uint64_t known[KIT_SHARDS_MAX]; /* turns that the shards have heard of */
	const struct broker_listener *listeners; /* of the next life; NULL: one */
	unsigned n_listeners;
	bool still; /* in the next life nothing moves by itself */
};

static struct rig *
rig_of(struct kit *k)
{
	return (struct rig *)(void *)k;
}

static void
on_wake(void *ctx, unsigned writer)
{
	(void)writer;
	(void)sem_post(&((struct rig *)ctx)->moved);
}

/* Until all that was handed to the store is durable, and the broker has heard of it. */
static bool
settle(struct kit *k)
{
	struct rig *r = rig_of(k);
	struct timespec due;
	bool moved = false;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &due), 0);
	due.tv_sec += 20;
	for (unsigned i = 0; i < k->n; i++) {
		struct store_writer *w = store_writer(r->store, i);
		uint64_t durable;

		while ((durable = store_durable(w)) + 1 < store_seq(w))
			assert_int_equal(sem_timedwait(&r->moved, &due), 0);
		if (durable == r->known[i])
			continue;
		r->known[i] = durable;
		moved = k->awake[i] = true;
	}
	return moved;
}

static void
rig_open(struct rig *r, unsigned shards, int64_t wall)
{
	struct store_options o = { .dir = r->dir, .n_writers = shards, .wake = on_wake, .ctx = r, .segment_bytes = 1 << 20 };
	struct broker_settings set;
	struct err err = { 0 };

	if ((r->store = store_open(&o, &err)) == NULL)
		fail_msg("%s", err.text);
	broker_settings_default(&set);
	set.store = r->store;
	if (r->listeners != NULL)
		kit_init_listeners(&r->kit, shards, &set, r->listeners, r->n_listeners);
	else
		kit_init(&r->kit, shards, &set, NULL);
	r->kit.wall = wall != 0 ? wall : r->kit.wall;
	if (!broker_recover(r->kit.broker, r->kit.now_ms, &r->got, &err) || !store_start(r->store, &err))
		fail_msg("%s", err.text);
	assert_int_equal(r->got.rejected, 0);
	memset(r->known, 0, sizeof r->known);
	r->kit.settle = settle;
	r->kit.manual = r->still;
	kit_pump(&r->kit);
}

static void
copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC), out;
	ssize_t n;

	/* A spare that the store was just preparing, or a segment that it has no use for any more. */
	if (in == -1 && errno == ENOENT)
		return;
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof buf)) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	assert_int_equal(n, 0);
	(void)close(in);
	(void)close(out);
}

static void
copy_all(const struct rig *r, const char *to)
{
	char a[400], b[400];
	DIR *d = opendir(r->dir);

	assert_int_equal(mkdir(to, 0700), 0);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(a, sizeof a, "%s/%s", r->dir, e->d_name);
		(void)snprintf(b, sizeof b, "%s/%s", to, e->d_name);
		copy_file(a, b);
	}
	(void)closedir(d);
}

/* kill -9, and a new process. */
static void
rig_kill(struct rig *r, unsigned shards)
{
	struct store_stats was, is;
	int64_t wall = r->kit.wall;
	char to[96];

	(void)snprintf(to, sizeof to, "%s/%u", r->base, ++r->lives);
	store_stats(r->store, &is);
	/* Of one moment: space may be reclaimed meanwhile. */
	do {
		was = is;
		(void)dir_remove(to);
		copy_all(r, to);
		store_stats(r->store, &is);
	} while (is.frames != was.frames || is.segments != was.segments || is.spares != was.spares);
	r->kit.settle = NULL;
	kit_done(&r->kit);
	(void)store_close(r->store);
	(void)dir_remove(r->dir);
	(void)snprintf(r->dir, sizeof r->dir, "%s", to);
	rig_open(r, shards, wall);
}

static struct rig *
rig_new(void **state, unsigned shards)
{
	struct rig *r = calloc(1, sizeof *r);

	assert_non_null(r);
	*state = r;
	/* What is copied while the process lives needs no disk. */
	(void)snprintf(r->base, sizeof r->base, "%s/journal-test-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(r->base));
	(void)snprintf(r->dir, sizeof r->dir, "%s/0", r->base);
	assert_int_equal(sem_init(&r->moved, 0, 0), 0);
	rig_open(r, shards, 0);
	return r;
}

static int
teardown(void **state)
{
	struct rig *r = *state;

	r->kit.settle = NULL;
	kit_done(&r->kit);
	(void)store_close(r->store);
	(void)dir_remove(r->base);
	(void)sem_destroy(&r->moved);
	free(r);
	return 0;
}

static struct end *
come(struct rig *r, const char *id, bool want_present)
{
	bool present;
	struct end *e = kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = id, .keep = true, .expiry = 3600 },
	    &present);

	assert_int_equal(present, want_present);
	return e;
}

/* ---- tests; the number of shards before and after ---- */

static const unsigned before[] = { 1, 4, 4 }, after[] = { 1, 3, 1 };

static void
queued(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *sub = come(r, "sub", false), *pub = come(r, "pub", false);
	struct mqtt_publish p;
	char text[16];

	kit_subscribe_opt(sub, "q/#", 1, 77, 1);
	kit_subscribe(sub, "gone", 1);
	kit_feed(sub, "\xa2\x09\0\5\0\0\4gone", 11);
	(void)kit_expect(sub, MQTT_UNSUBACK);
	kit_cut(sub);
	for (unsigned i = 0; i < 50; i++) {
		(void)snprintf(text, sizeof text, "m%u", i);
		kit_publish(pub, "q/x", text, 1, false, (uint16_t)(i + 1));
	}
	kit_publish(pub, "q/x", "qos 0", 0, false, 0);
	kit_publish(pub, "gone", "x", 1, false, 100);
	rig_kill(r, m);
	assert_int_equal(r->got.sessions, 2);
	assert_int_equal(r->got.subscriptions, 1);
	assert_int_equal(r->got.messages, 50);
	sub = come(r, "sub", true);
	for (unsigned i = 0; i < 50; i++) {
		(void)snprintf(text, sizeof text, "m%u", i);
		p = kit_message(sub, "q/x", text);
		assert_int_equal(p.qos, 1);
		assert_int_equal(p.subscription_id, 77);
		kit_ack(sub, MQTT_PUBACK, p.packet_id);
	}
	kit_expect_nothing(sub);
	/* What was acknowledged does not come back, and the subscription holds. */
	rig_kill(r, n);
	assert_int_equal(r->got.messages, 0);
	sub = come(r, "sub", true);
	kit_expect_nothing(sub);
	pub = come(r, "pub", true);
	kit_publish(pub, "q/live", "now", 1, false, 7);
	p = kit_message(sub, "q/live", "now");
	assert_int_equal(p.subscription_id, 77);
}

/* Packet ids, their order and state survive [MQTT-4.4.0-1]; QoS 2 arrives once. */
static void
in_flight(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *sub = come(r, "sub", false), *pub = come(r, "pub", false);
	struct mqtt_publish p[6];
	struct mqtt_frame f;
	struct mqtt_ack a;

	kit_subscribe(sub, "#", 2);
	for (unsigned i = 0; i < 6; i++) {
		char text[8];

		(void)snprintf(text, sizeof text, "m%u", i);
		kit_publish(pub, "t", text, i % 2 == 0 ? 1 : 2, false, (uint16_t)(i + 1));
		p[i] = kit_message(sub, "t", text);
	}
	kit_ack(sub, MQTT_PUBACK, p[2].packet_id);
	kit_ack(sub, MQTT_PUBREC, p[3].packet_id);
	(void)kit_expect(sub, MQTT_PUBREL);
	kit_ack(sub, MQTT_PUBREC, p[5].packet_id);
	(void)kit_expect(sub, MQTT_PUBREL);
	kit_ack(sub, MQTT_PUBCOMP, p[5].packet_id);
	rig_kill(r, m);
	assert_int_equal(r->got.messages, 4);
	sub = come(r, "sub", true);
	/* m0 and m1 again, then PUBREL for m3, then m4: in the order in which they were sent. */
	for (unsigned i = 0; i < 5; i++) {
		if (i == 2)
			continue;
		if (i == 3) {
			f = kit_expect(sub, MQTT_PUBREL);
			assert_int_equal(mqtt_decode_ack(&f, 5, &a), 0);
			assert_int_equal(a.packet_id, p[3].packet_id);
			continue;
		}
		{
			char text[8];
			struct mqtt_publish again;

			(void)snprintf(text, sizeof text, "m%u", i);
			again = kit_message(sub, "t", text);
			assert_int_equal(again.packet_id, p[i].packet_id);
			assert_true(again.dup);
		}
	}
	kit_expect_nothing(sub);
	kit_ack(sub, MQTT_PUBCOMP, p[3].packet_id);
	kit_ack(sub, MQTT_PUBACK, p[0].packet_id);
	kit_ack(sub, MQTT_PUBREC, p[1].packet_id);
	(void)kit_expect(sub, MQTT_PUBREL);
	/* New ones take new ids. */
	pub = come(r, "pub", true);
	kit_publish(pub, "t", "new", 1, false, 50);
	assert_int_equal(kit_message(sub, "t", "new").packet_id, p[4].packet_id + 1);
}

/* A QoS 2 packet id that was received is received after a restart; PUBREL frees it for good. */
static void
inbound(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *sub = come(r, "sub", false), *pub = come(r, "pub", false);

	kit_subscribe(sub, "#", 0);
	kit_publish(pub, "t", "once", 2, false, 9);
	(void)kit_expect(pub, MQTT_PUBREC);
	kit_message(sub, "t", "once");
	rig_kill(r, m);
	sub = come(r, "sub", true);
	pub = come(r, "pub", true);
	kit_publish(pub, "t", "once", 2, false, 9);
	(void)kit_expect(pub, MQTT_PUBREC);
	kit_expect_nothing(sub);
	kit_ack(pub, MQTT_PUBREL, 9);
	(void)kit_expect(pub, MQTT_PUBCOMP);
	rig_kill(r, n);
	sub = come(r, "sub", true);
	pub = come(r, "pub", true);
	kit_publish(pub, "t", "twice", 2, false, 9);
	(void)kit_expect(pub, MQTT_PUBREC);
	kit_message(sub, "t", "twice");
}

static void
retained(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *pub = come(r, "pub", false), *sub;

	kit_publish(pub, "r/stays", "one", 1, true, 1);
	kit_publish(pub, "r/stays", "two", 1, true, 2);
	kit_publish(pub, "r/goes", "one", 1, true, 3);
	kit_publish(pub, "r/goes", "", 1, true, 4);
	kit_publish(pub, "r/zero", "zero", 0, true, 0);
	rig_kill(r, m);
	assert_int_equal(r->got.retained, 2);
	sub = come(r, "sub", false);
	kit_subscribe(sub, "r/stays", 1);
	assert_true(kit_message(sub, "r/stays", "two").retain);
	kit_subscribe(sub, "r/#", 0);
	for (unsigned i = 0; i < 2; i++)
		assert_true(kit_expect(sub, MQTT_PUBLISH).type == MQTT_PUBLISH);
	kit_expect_nothing(sub);
	pub = come(r, "pub", true);
	kit_publish(pub, "r/stays", "", 1, true, 5);
	kit_publish(pub, "r/zero", "", 0, true, 0);
	rig_kill(r, n);
	assert_int_equal(r->got.retained, 0);
}

/* check_retain_source asks after a restart too: who may not publish it any more has left nothing behind. */
static void
retained_source(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *pub = come(r, "pub", false), *sub;

	kit_publish(pub, "r/one", "1", 1, true, 1);
	kit_publish(pub, "r/two", "2", 1, true, 2);
	rig_kill(r, m);
	sub = come(r, "sub", false);
	kit_subscribe(sub, "r/one", 1);
	assert_true(kit_message(sub, "r/one", "1").retain);
	kit_policy(&r->kit, "connect everyone\nallow everyone subscribe #\nallow everyone publish r/two\n");
	kit_subscribe(sub, "r/+", 0);
	assert_true(kit_message(sub, "r/two", "2").retain);
	kit_expect_nothing(sub);
}

/* Sessions end when their time is over, even if that was while nobody ran; a will whose delay was running comes. */
static void
wills_and_ends(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *watch = come(r, "watch", false), *e;
	bool present;

	kit_subscribe(watch, "will/#", 1);
	e = kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "late", .keep = true, .expiry = 100,
	    .will_topic = "will/late", .will_payload = "gone", .will_qos = 1, .will_delay = 50 }, &present);
	kit_cut(e);
	e = kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "short", .keep = true, .expiry = 10 }, &present);
	kit_cut(e);
	(void)kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "clean" }, &present);
	kit_expect_nothing(watch);
	rig_kill(r, m);
	assert_int_equal(r->got.sessions, 3);
	watch = come(r, "watch", true);
	kit_expect_nothing(watch);
	kit_sleep(&r->kit, 51000);
	kit_message(watch, "will/late", "gone");
	rig_kill(r, n);
	/* "short" went meanwhile, and "late" has no will any more. */
	assert_int_equal(r->got.sessions, 2);
	watch = come(r, "watch", true);
	(void)kit_message(watch, "will/late", "gone"); /* was not acknowledged */
	kit_sleep(&r->kit, 200000);
	kit_expect_nothing(watch);
	rig_kill(r, m);
	assert_int_equal(r->got.sessions, 1);
}

/* Nothing of a clean QoS 0 world touches the disk, and clean start forgets. */
static void
nothing_kept(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *a = kit_join(&r->kit, 5, "a"), *b = kit_join(&r->kit, 4, "b"), *s;
	struct store_stats stats;
	bool present;

	kit_subscribe(a, "#", 2);
	for (uint16_t i = 1; i < 10; i++) {
		kit_publish(b, "t", "x", (uint8_t)(i % 3), false, i);
		kit_message(a, "t", "x");
	}
	store_stats(r->store, &stats);
	assert_int_equal(stats.records, 0);
	s = come(r, "s", false);
	kit_subscribe(s, "#", 1);
	kit_cut(s);
	kit_publish(b, "t", "queued", 1, false, 20);
	s = kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "s" }, &present);
	assert_false(present);
	rig_kill(r, m);
	store_stats(r->store, &stats);
	assert_int_equal(stats.live_records, 0);
	assert_int_equal(r->got.sessions, 0);
}

/* A shared subscription is one again, and a message of several subscriptions has all their identifiers. */
static void
shared_and_many(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *a = come(r, "a", false), *b = come(r, "b", false), *pub = come(r, "pub", false);
	struct mqtt_frame f;
	struct mqtt_publish p;

	kit_subscribe_opt(a, "$share/g/s", 1, 5, 1);
	kit_subscribe_opt(b, "m/+", 1, 300, 1);
	kit_subscribe_opt(b, "m/#", 1, 4, 1);
	kit_cut(a);
	kit_cut(b);
	kit_publish(pub, "s", "for the group", 1, false, 1);
	kit_publish(pub, "m/1", "many", 1, false, 2);
	rig_kill(r, m);
	a = come(r, "a", true);
	assert_int_equal(kit_message(a, "s", "for the group").subscription_id, 5);
	b = come(r, "b", true);
	f = kit_expect(b, MQTT_PUBLISH);
	assert_int_equal(mqtt_decode_publish(&f, 5, false, &p), 0);
	assert_non_null(memmem(p.props.p, p.props.n, "\x0b\xac\x02", 3));
	assert_non_null(memmem(p.props.p, p.props.n, "\x0b\x04", 2));
	pub = come(r, "pub", true);
	kit_publish(pub, "s", "again", 1, false, 3);
	(void)kit_message(a, "s", "again");
}

/* What a member of a group leaves is kept for the one who gets it, and for nobody else. */
static void
left_to_another(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *a = come(r, "a", false), *b = come(r, "b", false), *pub = come(r, "pub", false);

	kit_subscribe(a, "$share/g/s", 1);
	kit_publish(pub, "s", "one", 1, false, 1);
	(void)kit_message(a, "s", "one");
	kit_cut(a);
	kit_publish(pub, "s", "two", 1, false, 2);
	kit_subscribe(b, "$share/g/s", 1);
	a = come(r, "a", true);
	(void)kit_message(a, "s", "one");
	(void)kit_message(a, "s", "two");
	kit_feed(a, "\xe0\7\0\5\x11\0\0\0\0", 9); /* its session ends */
	(void)kit_message(b, "s", "one");
	(void)kit_message(b, "s", "two");
	rig_kill(r, m);
	assert_int_equal(r->got.messages, 2);
	b = come(r, "b", true);
	kit_ack(b, MQTT_PUBACK, kit_message(b, "s", "one").packet_id);
	kit_ack(b, MQTT_PUBACK, kit_message(b, "s", "two").packet_id);
	(void)come(r, "a", false);
}

/* The same after a restart: when the member's session ends then, what it had of the group goes to another; what it had otherwise ends
 * with it. */
static void
left_after_a_restart(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *a = come(r, "a", false), *b, *pub = come(r, "pub", false);

	/* The numbers of subscriptions that have gone are not given away. */
	kit_subscribe(a, "$share/g/gone", 1);
	kit_publish(pub, "gone", "of nobody", 1, false, 9);
	(void)kit_message(a, "gone", "of nobody");
	kit_feed(a, "\xa2\x12\0\5\0\0\15$share/g/gone", 20);
	(void)kit_expect(a, MQTT_UNSUBACK);
	kit_subscribe(a, "$share/g/s", 1);
	kit_subscribe(a, "$share/h/s", 2);
	kit_subscribe(a, "own", 1);
	kit_publish(pub, "s", "one", 1, false, 1);
	(void)kit_message(a, "s", "one");
	(void)kit_message(a, "s", "one");
	kit_publish(pub, "own", "its own", 1, false, 2);
	(void)kit_message(a, "own", "its own");
	kit_cut(a);
	kit_publish(pub, "s", "two", 2, false, 3);
	rig_kill(r, m);
	assert_int_equal(r->got.messages, 6);
	b = come(r, "b", false);
	kit_subscribe(b, "$share/g/s", 1);
	kit_subscribe(b, "$share/new/s", 1);
	a = kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "a" }, NULL); /* begins anew */
	(void)kit_message(b, "s", "one");
	(void)kit_message(b, "s", "two");
	/* Nobody else is in h. */
	kit_expect_nothing(b);
	rig_kill(r, n);
	assert_int_equal(r->got.messages, 2);
}

/* Whoever waits is judged by the listener that he came to, wherever it stands in the configuration now. */
static void
listeners_move(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct err err;
	struct authz_policy *strict = authz_policy_parse(SL("connect everyone\nallow everyone publish x/#\nallow everyone subscribe x/#\n"), "test", &err);
	const struct broker_listener one[] = { { .name = "1883", .policy = strict }, { .name = "127.0.0.1:8883", .mount_point = "a/" } },
	    other[] = { one[1], one[0] }, gone[] = { one[0], { .name = "9999", .mount_point = "a/" } }, back[] = { one[0], one[0], { .name = "[::1]:8883", .mount_point = "a/" } };
	struct end *sub, *pub;

	r->listeners = one;
	r->n_listeners = 2;
	rig_kill(r, n);
	r->kit.listener = 1;
	sub = come(r, "sub", false);
	kit_subscribe(sub, "t", 1);
	kit_cut(sub);
	pub = come(r, "pub", false);
	kit_publish(pub, "r", "kept", 1, true, 1);
	kit_cut(kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "mourned", .keep = true, .expiry = 3600, .will_topic = "w", .will_payload = "gone",
	    .will_qos = 1, .will_retain = true, .will_delay = 10 }, NULL));
	/* 0: another order. 1: it is not there, and nobody is where it was. 2: another address, the same port. */
	for (unsigned i = 0; i < 3; i++) {
		r->listeners = i == 0 ? other : i == 1 ? gone : back;
		r->n_listeners = i == 2 ? 3 : 2;
		rig_kill(r, m);
		assert_int_equal(r->got.homeless, i == 1 ? 3 : 0);
		r->kit.listener = i;
		pub = come(r, "pub", true);
		kit_publish(pub, "t", "waits", 1, false, (uint16_t)(i + 2));
		sub = come(r, "sub", true);
		kit_ack(sub, MQTT_PUBACK, kit_message(sub, "t", "waits").packet_id);
		kit_subscribe(sub, "r", 0);
		assert_true(kit_message(sub, "r", "kept").retain);
		/* As they were before, but for the address. */
		kit_cut(sub);
		kit_cut(pub);
		if (i == 1) { /* whoever comes to the other one hears nothing of it */
			r->kit.listener = 0;
			sub = come(r, "sub", true);
			kit_expect_nothing(sub);
			kit_cut(sub);
		}
		r->listeners = one;
		r->n_listeners = 2;
		rig_kill(r, n);
		r->kit.listener = 1;
		kit_cut(come(r, "sub", true));
		kit_cut(come(r, "pub", true));
	}
	authz_policy_unref(strict);
}

/* What a will leaves behind belongs to its owner, as if he had published it. */
static void
wills_source(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *e = kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "mourned", .keep = true, .expiry = 3600,
	    .will_topic = "w/one", .will_payload = "gone", .will_qos = 1, .will_retain = true, .will_delay = 10 }, NULL), *sub;

	kit_cut(e);
	rig_kill(r, m);
	kit_sleep(&r->kit, 11000);
	for (unsigned i = 0; i < 2; i++) {
		sub = kit_join(&r->kit, 5, "sub");
		kit_subscribe(sub, "w/one", 1);
		assert_true(kit_message(sub, "w/one", "gone").retain);
		kit_policy(&r->kit, "connect everyone\nallow everyone subscribe #\nallow everyone publish w/two\n");
		kit_subscribe(sub, "w/+", 1);
		kit_expect_nothing(sub);
		rig_kill(r, n);
	}
}

/* The newest word under each name. */
static void
noted(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	char name[BROKER_NOTE_NAME_MAX + 2];

	memset(name, 'x', sizeof name);
	assert_false(broker_note(r->kit.broker, slice_of(name, sizeof name), SL("v")));
	assert_false(broker_note(r->kit.broker, SL(""), SL("v")));
	assert_true(broker_note(r->kit.broker, SL("a"), SL("1")));
	assert_true(broker_note(r->kit.broker, SL("b"), SL("2")));
	assert_true(broker_note(r->kit.broker, SL("a"), SL("3")));
	assert_true(broker_note(r->kit.broker, SL("c"), SL("")));
	kit_pump(&r->kit);
	rig_kill(r, m);
	assert_true(strcmp(r->kit.notes, "a=3;b=2;") == 0 || strcmp(r->kit.notes, "b=2;a=3;") == 0);
	assert_true(broker_note(r->kit.broker, SL("a"), SL("")));
	assert_true(broker_note(r->kit.broker, SL("b"), SL("4")));
	kit_pump(&r->kit);
	rig_kill(r, n);
	assert_string_equal(r->kit.notes, "b=4;");
}

/* The publisher hears nothing before the disk has it. */
static void
acknowledged_means_kept(void **state)
{
	struct rig *r = rig_new(state, 4);
	struct end *sub = come(r, "sub", false), *pub = come(r, "pub", false);
	struct mqtt_frame f;

	kit_subscribe(sub, "t", 1);
	kit_cut(sub);
	/* The store's thread may be as quick as it likes: without a turn after its flush nothing leaves. */
	r->kit.manual = true;
	kit_publish(pub, "t", "x", 1, false, 1);
	kit_turn(&r->kit, pub->shard);
	assert_false(kit_next(pub, &f));
	r->kit.manual = false;
	kit_pump(&r->kit);
	(void)kit_expect(pub, MQTT_PUBACK);
}

/* What <e> was fed promises something: it hears nothing of it in the turn that wrote it down, be the disk as quick as it may; the
 * flush brings it, as a packet of this type. */
static void
held_until_durable(struct rig *r, struct end *e, uint8_t type)
{
	struct mqtt_frame f;

	kit_turn(&r->kit, e->shard);
	assert_false(kit_next(e, &f));
	r->kit.manual = false;
	kit_pump(&r->kit);
	(void)kit_expect(e, type);
	r->kit.manual = true;
}

static void
every_promise_waits(void **state)
{
	struct rig *r = rig_new(state, 1);
	struct end *away = come(r, "away", false), *pub, *sub = come(r, "sub", false);
	struct mqtt_publish p;
	struct mqtt_frame f;

	kit_subscribe(away, "t", 2);
	kit_subscribe(sub, "two", 2);
	kit_cut(away);
	r->kit.manual = true;
	pub = kit_open(&r->kit, 0, NULL, AUTHZ_ROLE_NONE);
	kit_send_connect(pub, &(struct connect_options){ .version = 5, .id = "pub", .keep = true, .expiry = 3600 });
	held_until_durable(r, pub, MQTT_CONNACK);
	kit_feed(pub, "\x82\x0a\0\1\0\0\4else\1", 12);
	held_until_durable(r, pub, MQTT_SUBACK);
	kit_feed(pub, "\xa2\x09\0\2\0\0\4else", 11);
	held_until_durable(r, pub, MQTT_UNSUBACK);
	kit_publish(pub, "t", "x", 1, false, 1);
	held_until_durable(r, pub, MQTT_PUBACK);
	kit_publish(pub, "t", "x", 2, false, 2);
	held_until_durable(r, pub, MQTT_PUBREC);
	kit_ack(pub, MQTT_PUBREL, 2);
	held_until_durable(r, pub, MQTT_PUBCOMP);
	kit_publish(pub, "kept", "x", 1, true, 3);
	held_until_durable(r, pub, MQTT_PUBACK);
	kit_publish(pub, "kept", "", 1, true, 4);
	held_until_durable(r, pub, MQTT_PUBACK);
	/* Outwards: a QoS 2 message and its release. */
	kit_publish(pub, "two", "x", 2, false, 5);
	kit_turn(&r->kit, 0);
	assert_false(kit_next(sub, &f) || kit_next(pub, &f));
	r->kit.manual = false;
	kit_pump(&r->kit);
	(void)kit_expect(pub, MQTT_PUBREC);
	p = kit_message(sub, "two", "x");
	r->kit.manual = true;
	kit_ack(sub, MQTT_PUBREC, p.packet_id);
	held_until_durable(r, sub, MQTT_PUBREL);
	r->kit.manual = false;
}

/* Take what there is: how many messages. */
static unsigned
take_all(struct end *e)
{
	unsigned n = 0;
	struct mqtt_frame f;
	struct mqtt_publish p;
	struct mqtt_ack a;

	while (kit_next(e, &f)) {
		if (f.type == MQTT_PUBLISH) {
			assert_int_equal(mqtt_decode_publish(&f, 5, false, &p), 0);
			kit_ack(e, MQTT_PUBREC, p.packet_id);
			n++;
		} else if (f.type == MQTT_PUBREL) {
			assert_int_equal(mqtt_decode_ack(&f, 5, &a), 0);
			kit_ack(e, MQTT_PUBCOMP, a.packet_id);
		}
	}
	return n;
}

enum { CROWD = 8 };

static void
crowd_comes(struct rig *r, struct end *crowd[static CROWD], bool present)
{
	char id[8];

	for (unsigned i = 0; i < CROWD; i++) {
		(void)snprintf(id, sizeof id, "c%u", i);
		crowd[i] = come(r, id, present);
		if (!present)
			kit_subscribe(crowd[i], i < CROWD / 2 ? "t" : "$share/g/t", 2);
	}
}

/* Until what was handed to the store is on the disk, whether or not it waits for more. */
static void
written(struct rig *r)
{
	char dir[96];
	struct err err = { 0 };

	(void)snprintf(dir, sizeof dir, "%s/copy", r->base);
	(void)dir_remove(dir);
	if (!store_backup(r->store, dir, &err))
		fail_msg("%s", err.text);
}

/* QoS 2 to sessions of several shards, and the broker dies after each step of it: everybody gets it once when the publisher, who
 * has no PUBREC, sends it again. */
static void
spread(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *crowd[CROWD], *pub = come(r, "pub", false);
	unsigned steps = n == 1 ? 2 : 9;

	crowd_comes(r, crowd, false);
	for (unsigned k = 0; k < 2 * steps; k++) {
		unsigned plain = 0, shared = 0, shard = broker_home(r->kit.broker, SL("pub"));
		uint16_t id = (uint16_t)(k + 1);

		r->kit.manual = true;
		kit_publish(pub, "t", "x", 2, false, id);
		for (unsigned i = 0; i < k / 2; i++)
			kit_turn(&r->kit, (shard + i) % r->kit.n);
		written(r);
		rig_kill(r, k % 2 == 0 ? m : n);
		crowd_comes(r, crowd, true);
		pub = come(r, "pub", true);
		/* Twice, as the nervous do. */
		kit_publish(pub, "t", "x", 2, false, id);
		kit_publish(pub, "t", "x", 2, false, id);
		(void)kit_expect(pub, MQTT_PUBREC);
		(void)kit_expect(pub, MQTT_PUBREC);
		kit_ack(pub, MQTT_PUBREL, id);
		(void)kit_expect(pub, MQTT_PUBCOMP);
		for (unsigned i = 0; i < CROWD; i++) {
			unsigned got = take_all(crowd[i]);

			if (i < CROWD / 2)
				assert_int_equal(got, 1);
			shared += i < CROWD / 2 ? 0 : got;
			plain += got;
		}
		assert_int_equal(shared, 1);
		assert_int_equal(plain, CROWD / 2 + 1);
		for (unsigned i = 0; i < CROWD; i++)
			assert_int_equal(take_all(crowd[i]), 0);
	}
	rig_kill(r, n);
	assert_int_equal(r->got.messages, 0);
}

/* The same with two deaths, one after some steps of the first try and one after some of the second: what was written in either
 * life counts, whatever the shards were then. */
static void
spread_again(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *crowd[CROWD], *pub = come(r, "pub", false);
	unsigned steps = n == 1 ? 2 : 6;

	crowd_comes(r, crowd, false);
	for (unsigned k = 0; k < steps * steps; k++) {
		unsigned plain = 0, shared = 0;
		uint16_t id = (uint16_t)(k + 1);

		for (unsigned life = 0; life < 2; life++) {
			unsigned shard = broker_home(r->kit.broker, SL("pub"));

			r->kit.manual = true;
			kit_publish(pub, "t", "x", 2, false, id);
			for (unsigned i = 0; i < (life == 0 ? 1 + k % steps : k / steps); i++)
				kit_turn(&r->kit, (shard + i) % r->kit.n);
			written(r);
			rig_kill(r, r->kit.n == n ? m : n);
			pub = come(r, "pub", true);
		}
		crowd_comes(r, crowd, true);
		kit_publish(pub, "t", "x", 2, false, id);
		(void)kit_expect(pub, MQTT_PUBREC);
		kit_ack(pub, MQTT_PUBREL, id);
		(void)kit_expect(pub, MQTT_PUBCOMP);
		for (unsigned i = 0; i < CROWD; i++) {
			unsigned got = take_all(crowd[i]);

			if (i < CROWD / 2)
				assert_int_equal(got, 1);
			shared += i < CROWD / 2 ? 0 : got;
			plain += got;
		}
		assert_int_equal(shared, 1);
		assert_int_equal(plain, CROWD / 2 + 1);
		for (unsigned i = 0; i < CROWD; i++)
			assert_int_equal(take_all(crowd[i]), 0);
	}
}

/* Die after <first> turns from <shard> on, and again after <second> of the life that follows. */
static void
die_twice(struct rig *r, unsigned shard, const unsigned turns[static 2], unsigned next)
{
	unsigned here = r->kit.n;

	for (unsigned life = 0; life < 2; life++) {
		for (unsigned i = 0; i < turns[life]; i++)
			kit_turn(&r->kit, (shard + i) % r->kit.n);
		written(r);
		r->still = life == 0;
		rig_kill(r, life == 0 ? next : here);
	}
}

/* Whoever it is, his messages are taken: how many. */
static unsigned
come_and_take(struct rig *r, const char *id)
{
	struct end *e = kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = id, .keep = true, .expiry = 3600 }, NULL);
	unsigned n = take_all(e);

	assert_int_equal(take_all(e), 0);
	kit_cut(e);
	return n;
}

/* A member of a group ends, and the broker dies after each step of what it leaves going to another one: it is not lost, and comes once. */
static void
left_in_between(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *e, *pub = come(r, "pub", false);
	unsigned steps = n == 1 ? 2 : 9;
	char a[16];

	for (unsigned k = 0; k < 2 * steps; k++) {
		unsigned turns[2] = { k / 2, k % 2 * (k % 7) };

		/* Names that live here and there. */
		(void)snprintf(a, sizeof a, "a%u", k);
		e = come(r, a, false);
		kit_subscribe(e, "$share/g/s", 2);
		kit_cut(e);
		for (uint16_t i = 1; i < 4; i++) {
			kit_publish(pub, "s", "x", 2, false, i);
			(void)kit_expect(pub, MQTT_PUBREC);
			kit_ack(pub, MQTT_PUBREL, i);
			(void)kit_expect(pub, MQTT_PUBCOMP);
		}
		e = come(r, "b", false);
		kit_subscribe(e, "$share/g/s", 2);
		kit_cut(e);
		r->kit.manual = true;
		e = kit_open(&r->kit, broker_home(r->kit.broker, slice_str(a)), NULL, AUTHZ_ROLE_NONE);
		kit_send_connect(e, &(struct connect_options){ .version = 5, .id = a });
		die_twice(r, e->shard, turns, m);
		assert_int_equal(come_and_take(r, a) + come_and_take(r, "b"), 3);
		(void)kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = a }, NULL);
		(void)kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = "b" }, NULL);
		pub = come(r, "pub", true);
	}
	rig_kill(r, n);
	assert_int_equal(r->got.messages, 0);
	assert_int_equal(r->got.sessions, 1);
}

/* The group's home has nobody that is kept: it hands on what the publisher waits for all the same. */
static void
through_a_home(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *sub = come(r, "sub", false), *pub;
	unsigned away = broker_home(r->kit.broker, SL("sub")), p = 0;
	struct mqtt_frame f;
	char filter[32];

	do
		(void)snprintf(filter, sizeof filter, "p%u", p++);
	while (n > 1 && broker_home(r->kit.broker, slice_str(filter)) == away);
	pub = kit_join(&r->kit, 5, filter);
	/* As many groups as it takes to have homes everywhere. */
	for (unsigned i = 0; i < 16; i++) {
		(void)snprintf(filter, sizeof filter, "$share/g%u/t%u", i, i);
		kit_subscribe(sub, filter, 1);
	}
	kit_cut(sub);
	for (unsigned i = 0; i < 16; i++) {
		r->kit.manual = true;
		(void)snprintf(filter, sizeof filter, "t%u", i);
		kit_publish(pub, filter, "x", 1, false, (uint16_t)(i + 1));
		/* Everybody but the one who writes, and the disk may be as quick as it likes. */
		for (unsigned k = 0; k < 3 * n; k++) {
			unsigned shard = (pub->shard + k) % n;

			if (shard != away)
				kit_turn(&r->kit, shard);
			written(r);
		}
		assert_false(kit_next(pub, &f));
		r->kit.manual = false;
		kit_pump(&r->kit);
		(void)kit_expect(pub, MQTT_PUBACK);
	}
	rig_kill(r, m);
	assert_int_equal(r->got.messages, 16);
}

/* The same for a will: its owner's record goes, and those it is for have it once. */
static void
will_in_between(void **state, unsigned n, unsigned m)
{
	struct rig *r = rig_new(state, n);
	struct end *crowd[CROWD];
	unsigned steps = n == 1 ? 2 : 7;
	char id[24];

	crowd_comes(r, crowd, false);
	for (unsigned k = 0; k < 2 * steps; k++) {
		unsigned turns[2] = { k / 2, k % 2 * (k % 5) }, shared = 0;

		(void)snprintf(id, sizeof id, "mourned%u", k);
		kit_cut(kit_connect(&r->kit, &(struct connect_options){ .version = 5, .id = id, .keep = true, .expiry = 3600, .will_topic = "t",
		    .will_payload = "x", .will_qos = 2, .will_delay = 10 }, NULL));
		r->kit.manual = true;
		r->kit.now_ms += 11000;
		r->kit.wall += 11;
		die_twice(r, broker_home(r->kit.broker, slice_str(id)), turns, m);
		kit_sleep(&r->kit, 11000);
		for (unsigned i = 0; i < CROWD; i++) {
			(void)snprintf(id, sizeof id, "c%u", i);
			if (i < CROWD / 2)
				assert_int_equal(come_and_take(r, id), 1);
			else
				shared += come_and_take(r, id);
		}
		assert_int_equal(shared, 1);
	}
	rig_kill(r, n);
	assert_int_equal(r->got.messages, 0);
}

/* As many as are put together by a thread for each shard. */
static void
many(void **state, unsigned n, unsigned m)
{
	enum { RETAINED = 600, SESSIONS = 30, MESSAGES = 20 };
	struct rig *r = rig_new(state, n);
	struct end *pub = come(r, "pub", false), *sub;
	char id[16], topic[16], text[16];

	for (unsigned i = 0; i < SESSIONS; i++) {
		(void)snprintf(id, sizeof id, "s%u", i);
		sub = come(r, id, false);
		kit_subscribe(sub, "all/#", 1);
		kit_cut(sub);
	}
	for (unsigned i = 0; i < RETAINED; i++) {
		(void)snprintf(topic, sizeof topic, "r/%u", i);
		kit_publish(pub, topic, topic, 0, true, 0);
	}
	for (unsigned i = 0; i < MESSAGES; i++) {
		(void)snprintf(text, sizeof text, "m%u", i);
		kit_publish(pub, "all/x", text, 1, false, (uint16_t)(i + 1));
	}
	rig_kill(r, m);
	assert_int_equal(r->got.sessions, SESSIONS + 1);
	assert_int_equal(r->got.retained, RETAINED);
	assert_int_equal(r->got.messages, SESSIONS * MESSAGES);
	for (unsigned i = 0; i < SESSIONS; i++) {
		(void)snprintf(id, sizeof id, "s%u", i);
		sub = come(r, id, true);
		for (unsigned k = 0; k < MESSAGES; k++) {
			(void)snprintf(text, sizeof text, "m%u", k);
			(void)kit_message(sub, "all/x", text);
		}
		kit_expect_nothing(sub);
	}
	for (unsigned i = 0; i < RETAINED; i += 7) {
		(void)snprintf(topic, sizeof topic, "r/%u", i);
		kit_subscribe(sub, topic, 0);
		assert_true(kit_message(sub, topic, topic).retain);
	}
	kit_expect_nothing(sub);
}

#define EACH(name) \
	static void name##_each(void **state) \
	{ \
		for (unsigned i = 0; i < ARRAY_LEN(before); i++) { \
			if (i > 0) \
				(void)teardown(state); \
			name(state, before[i], after[i]); \
		} \
	}
EACH(queued)
EACH(in_flight)
EACH(many)
EACH(inbound)
EACH(retained)
EACH(retained_source)
EACH(wills_and_ends)
EACH(nothing_kept)
EACH(shared_and_many)
EACH(left_to_another)
EACH(left_after_a_restart)
EACH(listeners_move)
EACH(wills_source)
EACH(noted)
EACH(spread)
EACH(spread_again)
EACH(left_in_between)
EACH(will_in_between)
EACH(through_a_home)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(queued_each, teardown),
		cmocka_unit_test_teardown(in_flight_each, teardown),
		cmocka_unit_test_teardown(many_each, teardown),
		cmocka_unit_test_teardown(inbound_each, teardown),
		cmocka_unit_test_teardown(retained_each, teardown),
		cmocka_unit_test_teardown(retained_source_each, teardown),
		cmocka_unit_test_teardown(wills_and_ends_each, teardown),
		cmocka_unit_test_teardown(nothing_kept_each, teardown),
		cmocka_unit_test_teardown(shared_and_many_each, teardown),
		cmocka_unit_test_teardown(left_to_another_each, teardown),
		cmocka_unit_test_teardown(left_after_a_restart_each, teardown),
		cmocka_unit_test_teardown(listeners_move_each, teardown),
		cmocka_unit_test_teardown(wills_source_each, teardown),
		cmocka_unit_test_teardown(noted_each, teardown),
		cmocka_unit_test_teardown(spread_each, teardown),
		cmocka_unit_test_teardown(spread_again_each, teardown),
		cmocka_unit_test_teardown(left_in_between_each, teardown),
		cmocka_unit_test_teardown(will_in_between_each, teardown),
		cmocka_unit_test_teardown(through_a_home_each, teardown),
		cmocka_unit_test_teardown(acknowledged_means_kept, teardown),
		cmocka_unit_test_teardown(every_promise_waits, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
