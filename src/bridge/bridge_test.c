/* A bridge between a broker and a broker that are both strings of bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <stdio.h>
#include "base/num.h"
#include "bridge/bridge.h"
#include "mqtt/mqtt.h"

/* ---- topics ---- */

static void
test_topic_lines(void **state)
{
	static const struct {
		const char *line;
		uint8_t direction, qos;
		const char *local, *remote;
	} good[] = {
		{ "a/#", BRIDGE_OUT, 0, "a/#", "a/#" },
		{ "a/# in", BRIDGE_IN, 0, "a/#", "a/#" },
		{ "# both 2 local/topic/ remote/topic/", BRIDGE_BOTH, 2, "local/topic/#", "remote/topic/#" },
		{ "p out 1 L/ \"\"", BRIDGE_OUT, 1, "L/p", "p" },
		{ "p out 1 \"\" R/", BRIDGE_OUT, 1, "p", "R/p" },
		{ "p in 1 \"\" \"\"", BRIDGE_IN, 1, "p", "p" },
		{ "\"\" in 0 local remote", BRIDGE_IN, 0, "local", "remote" },
		{ "\"a b/#\" both 1 \"my house/\" R/", BRIDGE_BOTH, 1, "my house/a b/#", "R/a b/#" },
		{ "clients/total in 0 test/ $SYS/broker/", BRIDGE_IN, 0, "test/clients/total", "$SYS/broker/clients/total" },
		{ "p\tout\t2\tL/", BRIDGE_OUT, 2, "L/p", "p" },
	};
	static const char *const bad[] = { "", "   ", "p sideways", "p out 3", "p out -1", "p out 10", "\"\"", "\"\" in", "\"\" in 0 local",
		"\"\" in 0 local \"\"", "\"\" in 0 \"\" remote", "\"open", "p out 1 \"L", "p out 1 L/ R/ more", "p out 1 + R/", "p out 1 L/ #/",
		"a/#/b", "a# in", "p out 1 L# R/" };
	struct bridge_topic t;
	const char *why;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		if (!bridge_topic_parse(slice_str(good[i].line), &t, &why))
			fail_msg("%s: %s", good[i].line, why);
		assert_int_equal(t.direction, good[i].direction);
		assert_int_equal(t.qos, good[i].qos);
		assert_string_equal(t.local, good[i].local);
		assert_string_equal(t.remote, good[i].remote);
		bridge_topic_done(&t);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		why = NULL;
		if (bridge_topic_parse(slice_str(bad[i]), &t, &why))
			fail_msg("%s was taken", bad[i]);
		assert_non_null(why);
	}
}

static void
test_topic_map(void **state)
{
	static const char *const lines[] = { "x/# out 0 L/ R/", "# in 0 in/ \"\"", "\"\" out 0 one two", "same both 0" };
	static const struct {
		uint8_t direction;
		const char *from, *to;
	} t[] = {
		{ BRIDGE_OUT, "L/x/y", "R/x/y" },
		{ BRIDGE_OUT, "L/x", "R/x" },
		{ BRIDGE_OUT, "L/y", NULL },
		{ BRIDGE_OUT, "one", "two" },
		{ BRIDGE_OUT, "one/more", NULL },
		{ BRIDGE_OUT, "same", "same" },
		{ BRIDGE_IN, "anything/at/all", "in/anything/at/all" },
		{ BRIDGE_IN, "same", "in/same" }, /* the first line counts */
		{ BRIDGE_IN, "$SYS/x", NULL },
	};
	struct bridge_topic topics[4];
	const char *why;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_true(bridge_topic_parse(slice_str(lines[i]), &topics[i], &why));
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct slice prefix, rest;
		char got[100];
		bool ok = bridge_topic_map(topics, 4, t[i].direction, slice_str(t[i].from), &prefix, &rest);

		assert_int_equal(ok, t[i].to != NULL);
		if (!ok)
			continue;
		(void)snprintf(got, sizeof got, "%.*s%.*s", SL_ARG(prefix), SL_ARG(rest));
		assert_string_equal(got, t[i].to);
	}
	for (size_t i = 0; i < 4; i++)
		bridge_topic_done(&topics[i]);
}

/* ---- two brokers ---- */

struct side {
	uint8_t got[8192]; /* by the broker of this side */
	size_t got_n, at;
	uint8_t say[4096]; /* that it will send */
	size_t say_n;
};

static struct world {
	struct bridge_config config;
	struct bridge_topic topics[4];
	struct bridge *bridge;
	void *stream;
	struct side local, remote;
	struct waker waker;
	unsigned opened, closed, ups, downs, warns, wakes;
	bool local_dead, reading;
	char why[300];
} w;

static ptrdiff_t
local_feed(void *self, struct slice in)
{
	assert_ptr_equal(self, &w.local);
	assert_true(w.local.got_n + in.n <= sizeof w.local.got);
	if (in.n > 0)
		memcpy(w.local.got + w.local.got_n, in.p, in.n);
	w.local.got_n += in.n;
	return in.n >= 2 && in.p[in.n - 2] == 0xe0 ? STREAM_CLOSE : (ptrdiff_t)in.n;
}

static int
local_pull(void *self, struct iovec *iov, int max)
{
	struct side *s = self;

	assert_true(max >= 4);
	if (s->say_n == 0)
		return w.local_dead ? STREAM_CLOSE : 0;
	/* In pieces, as a broker lends. */
	iov[0] = (struct iovec){ s->say, 1 };
	iov[1] = (struct iovec){ s->say + 1, s->say_n - 1 };
	return 2;
}

static void
local_sent(void *self)
{
	((struct side *)self)->say_n = 0;
}

static void
local_closed(void *self, const char *why)
{
	(void)self;
	(void)why;
	w.closed++;
}

static const struct stream_ops local_ops = { .feed = local_feed, .pull = local_pull, .sent = local_sent, .closed = local_closed };

static void *
local_open(void *ctx, const struct waker *waker, const struct stream_ops **ret_ops)
{
	(void)ctx;
	w.waker = *waker;
	w.opened++;
	w.local.got_n = w.local.at = w.local.say_n = 0;
	w.local_dead = false;
	*ret_ops = &local_ops;
	return &w.local;
}

static void
on_up(void *ctx, bool present)
{
	(void)ctx;
	(void)present;
	w.ups++;
}

static void
on_down(void *ctx, const char *why)
{
	(void)ctx;
	w.downs++;
	(void)snprintf(w.why, sizeof w.why, "%s", why);
}

static void
on_warn(void *ctx, const char *text)
{
	(void)ctx;
	assert_true(strlen(text) > 0);
	w.warns++;
}

static void
remote_wake(void *conn)
{
	(void)conn;
	w.wakes++;
}

static void
remote_read(void *conn, bool on)
{
	(void)conn;
	w.reading = on;
}

static const struct waker_ops remote_waker = { .wake = remote_wake, .read_enable = remote_read };

static void
begin(uint8_t version)
{
	static const struct bridge_ports ports = { .local_open = local_open, .up = on_up, .down = on_down, .warn = on_warn };
	static const char *const lines[] = { "o/# out 2 L/ R/", "i/# in 2 L/ R/", "b/# both 1" };
	const char *why;

	memset(&w, 0, sizeof w);
	for (size_t i = 0; i < 3; i++)
		assert_true(bridge_topic_parse(slice_str(lines[i]), &w.topics[i], &why));
	w.config = (struct bridge_config){ .remote_id = "host.br", .local_id = "local.host.br", .topics = w.topics, .n_topics = 3,
		.version = version, .try_private = true, .attempt_unsubscribe = true, .outgoing_retain = true, .keep_alive = 60,
		.alias_max = 10, .receive_max = 20 };
	w.reading = true;
	w.bridge = bridge_new(&w.config, &ports);
	assert_non_null(w.bridge);
}

static void
done(void)
{
	bridge_free(w.bridge);
	for (size_t i = 0; i < 3; i++)
		bridge_topic_done(&w.topics[i]);
}

/* Pull everything for the remote. False: it is closed. */
static bool
pull(void)
{
	struct iovec iov[8];
	int n;

	while ((n = bridge_stream.pull(w.stream, iov, 8)) > 0) {
		for (int i = 0; i < n; i++) {
			assert_true(w.remote.got_n + iov[i].iov_len <= sizeof w.remote.got);
			memcpy(w.remote.got + w.remote.got_n, iov[i].iov_base, iov[i].iov_len);
			w.remote.got_n += iov[i].iov_len;
		}
		bridge_stream.sent(w.stream);
	}
	return n == 0;
}

/* The remote says this, in pieces of one byte. True: it is still wanted. */
static bool
hear(const void *p, size_t n)
{
	uint8_t kept[4096];
	size_t have = 0;

	for (size_t i = 0; i < n; i++) {
		ptrdiff_t used;

		kept[have++] = ((const uint8_t *)p)[i];
		used = bridge_stream.feed(w.stream, slice_of(kept, have));
		if (used == STREAM_CLOSE)
			return false;
		memmove(kept, kept + used, have - (size_t)used);
		have -= (size_t)used;
	}
	assert_int_equal(have, 0);
	return pull();
}

static void
local_says(const void *p, size_t n)
{
	memcpy(w.local.say, p, n);
	w.local.say_n = n;
	w.waker.ops->wake(w.waker.conn);
	assert_true(w.wakes > 0);
	assert_true(pull());
}

static void
close_link(void)
{
	bridge_stream.closed(w.stream, "cut");
	w.stream = NULL;
}

#define HEAR(...) hear((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define LOCAL(...) local_says((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
#define EXPECT(side, ...) expect(&w.side, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void
expect(struct side *s, const uint8_t *p, size_t n)
{
	if (s->got_n - s->at != n || memcmp(s->got + s->at, p, n) != 0) {
		for (size_t i = s->at; i < s->got_n; i++)
			print_message("%02x ", s->got[i]);
		fail_msg("not what was expected");
	}
	s->at = s->got_n;
}

static void
link_up(uint8_t version)
{
	w.remote.got_n = w.remote.at = 0;
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_non_null(w.stream);
	assert_true(pull());
	w.remote.at = w.remote.got_n;
	assert_true(version == MQTT_V5 ? HEAR(0x20, 3, 0, 0, 0) : HEAR(0x20, 2, 0, 0));
	w.remote.at = w.remote.got_n;
	w.local.at = w.local.got_n;
	LOCAL(0x20, 3, 1, 0, 0); /* CONNACK: session present */
	EXPECT(remote, );
}

/* The bytes of mosquitto: 128 + 4, host.name, ids from 1. */
static void
test_opening(void **state)
{
	(void)state;
	begin(MQTT_V311);
	w.config.notify_topic = "$SYS/n";
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_true(pull());
	EXPECT(remote, 0x10, 30, 0, 4, 'M', 'Q', 'T', 'T', 0x84, 0x2c, 0, 60, 0, 7, 'h', 'o', 's', 't', '.', 'b', 'r', 0, 6, '$', 'S',
	    'Y', 'S', '/', 'n', 0, 1, '0');
	assert_int_equal(w.opened, 0);
	assert_true(HEAR(0x20, 2, 0, 0));
	EXPECT(remote, 0x33, 11, 0, 6, '$', 'S', 'Y', 'S', '/', 'n', 0, 1, '1',	  /* PUBLISH, retained, QoS 1 */
	    0xa2, 9, 0, 2, 0, 5, 'R', '/', 'o', '/', '#',			  /* UNSUBSCRIBE */
	    0x82, 10, 0, 3, 0, 5, 'R', '/', 'i', '/', '#', 2,			  /* SUBSCRIBE */
	    0x82, 8, 0, 4, 0, 3, 'b', '/', '#', 1);
	assert_int_equal(w.opened, 1);
	assert_int_equal(w.ups, 1);
	assert_true(HEAR(0x40, 2, 0, 1)); /* of the notification: nobody else's */
	EXPECT(remote, );
	close_link();
	assert_string_equal(w.why, "cut");
	assert_int_equal(w.closed, 1);
	done();
	begin(MQTT_V5);
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_true(pull());
	EXPECT(remote, 0x10, 26, 0, 4, 'M', 'Q', 'T', 'T', 5, 0, 0, 60, 6, 0x22, 0, 10, 0x21, 0, 20, 0, 7, 'h', 'o', 's', 't', '.', 'b', 'r');
	assert_true(HEAR(0x20, 3, 0, 0, 0));
	EXPECT(remote, 0xa2, 10, 0, 1, 0, 0, 5, 'R', '/', 'o', '/', '#', 0x82, 11, 0, 2, 0, 0, 5, 'R', '/', 'i', '/', '#', 0x0e, 0x82, 9, 0,
	    3, 0, 0, 3, 'b', '/', '#', 0x0d);
	close_link();
	done();
}

static void
test_out(void **state)
{
	(void)state;
	begin(MQTT_V311);
	link_up(MQTT_V311);
	/* QoS 0, with a property that 3.1.1 does not have. */
	LOCAL(0x30, 11, 0, 5, 'L', '/', 'o', '/', 'x', 2, 1, 0, 'p');
	EXPECT(remote, 0x30, 8, 0, 5, 'R', '/', 'o', '/', 'x', 'p');
	/* QoS 1: another id there, the acknowledgement comes back under ours. */
	LOCAL(0x33, 10, 0, 5, 'L', '/', 'o', '/', 'x', 0x12, 0x34, 0);
	EXPECT(remote, 0x33, 9, 0, 5, 'R', '/', 'o', '/', 'x', 0, 4);
	assert_true(HEAR(0x40, 2, 0, 4));
	EXPECT(local, 0x40, 2, 0x12, 0x34);
	/* QoS 2. */
	LOCAL(0x34, 10, 0, 5, 'L', '/', 'o', '/', 'x', 0, 9, 0);
	EXPECT(remote, 0x34, 9, 0, 5, 'R', '/', 'o', '/', 'x', 0, 5);
	assert_true(HEAR(0x50, 2, 0, 5));
	EXPECT(local, 0x50, 2, 0, 9);
	LOCAL(0x62, 2, 0, 9);
	EXPECT(remote, 0x62, 2, 0, 5);
	assert_true(HEAR(0x70, 2, 0, 5));
	EXPECT(local, 0x70, 2, 0, 9);
	/* A topic that is not configured any more does not wait for ever. */
	LOCAL(0x32, 6, 0, 1, 'z', 0, 7, 0);
	EXPECT(remote, );
	EXPECT(local, 0x40, 2, 0, 7);
	close_link();
	done();
}

/* The same message after the connection was cut has the same id there; a session that is new here forgets. */
static void
test_resume(void **state)
{
	(void)state;
	begin(MQTT_V311);
	link_up(MQTT_V311);
	LOCAL(0x32, 10, 0, 5, 'L', '/', 'o', '/', 'x', 0, 1, 0, 0x34, 10, 0, 5, 'L', '/', 'o', '/', 'x', 0, 2, 0);
	EXPECT(remote, 0x32, 9, 0, 5, 'R', '/', 'o', '/', 'x', 0, 4, 0x34, 9, 0, 5, 'R', '/', 'o', '/', 'x', 0, 5);
	assert_true(HEAR(0x50, 2, 0, 5));
	close_link();
	link_up(MQTT_V311);
	LOCAL(0x3a, 10, 0, 5, 'L', '/', 'o', '/', 'x', 0, 1, 0, 0x62, 2, 0, 2);
	EXPECT(remote, 0x3a, 9, 0, 5, 'R', '/', 'o', '/', 'x', 0, 4, 0x62, 2, 0, 5);
	close_link();
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_true(pull());
	assert_true(HEAR(0x20, 2, 0, 0));
	w.remote.at = w.remote.got_n;
	LOCAL(0x20, 3, 0, 0, 0, 0x62, 2, 0, 2); /* no session: whatever the id was, it is done */
	EXPECT(remote, );
	close_link();
	done();
}

static void
test_in(void **state)
{
	(void)state;
	begin(MQTT_V311);
	link_up(MQTT_V311);
	assert_true(HEAR(0x31, 8, 0, 5, 'R', '/', 'i', '/', 'x', 'p'));
	EXPECT(local, 0x31, 9, 0, 5, 'L', '/', 'i', '/', 'x', 0, 'p');
	assert_true(HEAR(0x32, 9, 0, 5, 'R', '/', 'i', '/', 'x', 0, 3));
	EXPECT(local, 0x32, 10, 0, 5, 'L', '/', 'i', '/', 'x', 0, 3, 0);
	LOCAL(0x40, 3, 0, 3, 0x10); /* no subscribers: nothing that 3.1.1 could say */
	EXPECT(remote, 0x40, 2, 0, 3);
	assert_true(HEAR(0x34, 9, 0, 5, 'R', '/', 'i', '/', 'x', 0, 8));
	EXPECT(local, 0x34, 10, 0, 5, 'L', '/', 'i', '/', 'x', 0, 8, 0);
	LOCAL(0x50, 2, 0, 8);
	EXPECT(remote, 0x50, 2, 0, 8);
	assert_true(HEAR(0x62, 2, 0, 8));
	EXPECT(local, 0x62, 2, 0, 8);
	LOCAL(0x70, 2, 0, 8);
	EXPECT(remote, 0x70, 2, 0, 8);
	close_link();
	done();
}

/* What the remote chooses to send under other topics does not come in. */
static void
test_in_uninvited(void **state)
{
	(void)state;
	begin(MQTT_V311);
	link_up(MQTT_V311);
	assert_true(HEAR(0x30, 3, 0, 1, 'x'));
	assert_true(HEAR(0x30, 7, 0, 5, 'R', '/', 'o', '/', 'x')); /* the other direction's */
	assert_true(HEAR(0x32, 5, 0, 1, 'x', 0, 9));
	EXPECT(remote, 0x40, 2, 0, 9);
	assert_true(HEAR(0x34, 5, 0, 1, 'x', 0, 9));
	EXPECT(remote, 0x50, 2, 0, 9);
	EXPECT(local, );
	assert_int_equal(w.warns, 1);
	close_link();
	done();
}

static void
test_v5(void **state)
{
	(void)state;
	begin(MQTT_V5);
	link_up(MQTT_V5);
	/* Properties go through, both ways; the alias is set and used. */
	LOCAL(0x30, 11, 0, 5, 'L', '/', 'o', '/', 'x', 2, 1, 0, 'p');
	EXPECT(remote, 0x30, 11, 0, 5, 'R', '/', 'o', '/', 'x', 2, 1, 0, 'p');
	assert_true(HEAR(0x30, 13, 0, 5, 'R', '/', 'i', '/', 'x', 5, 0x23, 0, 1, 1, 0));
	EXPECT(local, 0x30, 10, 0, 5, 'L', '/', 'i', '/', 'x', 2, 1, 0);
	assert_true(HEAR(0x30, 7, 0, 0, 3, 0x23, 0, 1, 'q'));
	EXPECT(local, 0x30, 9, 0, 5, 'L', '/', 'i', '/', 'x', 0, 'q');
	/* A refusal is passed on. */
	LOCAL(0x34, 10, 0, 5, 'L', '/', 'o', '/', 'x', 0, 1, 0);
	w.remote.at = w.remote.got_n;
	assert_true(HEAR(0x50, 3, 0, 4, 0x87));
	EXPECT(local, 0x50, 3, 0, 1, 0x87);
	assert_int_equal(w.warns, 1);
	close_link();
	done();
}

/* A remote that takes less than is configured: QoS 1 at most, packets of 20 bytes. */
static void
test_limits(void **state)
{
	(void)state;
	begin(MQTT_V5);
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_true(pull());
	assert_true(HEAR(0x20, 15, 0, 0, 12, 0x24, 1, 0x25, 0, 0x27, 0, 0, 0, 20, 0x21, 0, 7));
	w.remote.at = w.remote.got_n;
	/* Receive Maximum is handed on to the session here; asked for is what the remote can take. */
	assert_memory_equal(w.local.got + 13, ((const uint8_t[]){ 0x21, 0, 7, 0x11, 0xff, 0xff, 0xff, 0xff }), 8);
	assert_int_equal(w.local.got[w.local.got_n - 1], 1 | 0x0c);
	w.local.at = w.local.got_n;
	LOCAL(0x20, 3, 1, 0, 0);
	LOCAL(0x35, 10, 0, 5, 'L', '/', 'o', '/', 'x', 0, 1, 0);
	EXPECT(remote, 0x32, 10, 0, 5, 'R', '/', 'o', '/', 'x', 0, 4, 0);
	assert_true(HEAR(0x40, 2, 0, 4));
	EXPECT(local, 0x50, 2, 0, 1);
	LOCAL(0x62, 2, 0, 1);
	EXPECT(local, 0x70, 2, 0, 1);
	EXPECT(remote, );
	LOCAL(0x32, 20, 0, 5, 'L', '/', 'o', '/', 'x', 0, 2, 0, '1', '2', '3', '4', '5', '6', '7', '8', '9', '0');
	EXPECT(remote, );
	EXPECT(local, 0x40, 2, 0, 2);
	close_link();
	done();
}

static void
test_refusals(void **state)
{
	static const struct {
		uint8_t version, bytes[8];
		size_t n;
		const char *why;
	} t[] = {
		{ MQTT_V311, { 0x20, 2, 0, 5 }, 4, "not authorized" },
		{ MQTT_V311, { 0x20, 2, 0, 9 }, 4, "good CONNACK" },
		{ MQTT_V5, { 0x20, 3, 0, 0x86, 0 }, 5, "user name" },
		{ MQTT_V311, { 0x30, 3, 0, 1, 'a' }, 5, "good CONNACK" },
		{ MQTT_V311, { 0x20, 1, 0 }, 3, "good CONNACK" },
		{ MQTT_V311, { 0x00, 0 }, 2, "malformed" },
		{ MQTT_V311, { 0x20, 0xff, 0xff, 0x7f }, 4, "malformed" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		begin(t[i].version);
		w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
		assert_true(pull());
		assert_false(hear(t[i].bytes, t[i].n));
		assert_false(pull());
		bridge_stream.closed(w.stream, NULL);
		if (strstr(w.why, t[i].why) == NULL)
			fail_msg("%s", w.why);
		assert_int_equal(w.opened, 0);
		assert_false(bridge_was_refused_as_bridge(w.bridge));
		done();
	}
	/* The mark of a bridge is left out after this. */
	begin(MQTT_V311);
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_true(pull());
	assert_false(HEAR(0x20, 2, 0, 1));
	close_link();
	assert_true(bridge_was_refused_as_bridge(w.bridge));
	w.remote.got_n = 0;
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_true(pull());
	assert_int_equal(w.remote.got[8], 4);
	close_link();
	done();
}

/* What no server sends ends the connection, and so does the end of the session here. */
static void
test_ends(void **state)
{
	static const uint8_t bad[][8] = { { 0x10, 0 }, { 0x82, 0 }, { 0xe0, 0 }, { 0x20, 2, 0, 0 }, { 0x40, 1, 0 },
		{ 0x36, 5, 0, 1, 'a', 0, 1 }, { 0x32, 5, 0, 1, 'a', 0, 0 }, { 0x30, 1, 0 }, { 0x30, 5, 0, 3, 'R', '/', '+' }, { 0x30, 2, 0, 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		begin(MQTT_V311);
		link_up(MQTT_V311);
		assert_false(hear(bad[i], 2 + (size_t)bad[i][1]));
		assert_false(pull());
		bridge_stream.closed(w.stream, NULL);
		assert_int_equal(w.downs, 1);
		assert_int_equal(w.closed, 1);
		done();
	}
	begin(MQTT_V5);
	link_up(MQTT_V5);
	memcpy(w.local.say, (const uint8_t[]){ 0xe0, 1, 0x8e }, 3);
	w.local.say_n = 3;
	assert_false(pull());
	bridge_stream.closed(w.stream, NULL);
	assert_non_null(strstr(w.why, "taken over"));
	done();
	begin(MQTT_V5);
	link_up(MQTT_V5);
	w.local_dead = true;
	assert_false(pull());
	bridge_stream.closed(w.stream, NULL);
	assert_non_null(strstr(w.why, "this broker closed"));
	done();
}

static void
test_stop_and_prime(void **state)
{
	(void)state;
	begin(MQTT_V311);
	w.config.notify_topic = "n";
	link_up(MQTT_V311);
	bridge_stop(w.bridge);
	assert_false(pull());
	EXPECT(remote, 0x31, 4, 0, 1, 'n', '0', 0xe0, 0);
	bridge_stream.closed(w.stream, NULL);
	assert_string_equal(w.why, "the bridge was stopped");
	/* Nobody is connected: the session is made, what the remote would get waits in it. */
	w.opened = w.closed = 0;
	assert_true(bridge_prime(w.bridge, NULL, 0));
	assert_int_equal(w.opened, 1);
	assert_int_equal(w.closed, 1);
	assert_int_equal(w.local.got[0], 0x10);
	assert_memory_equal(w.local.got + w.local.got_n - 9, ((const uint8_t[]){ 0x31, 5, 0, 1, 'n', 0, '0', 0xe0, 0 }), 9);
	done();
}

static void
test_keep_alive(void **state)
{
	uint64_t next;

	(void)state;
	begin(MQTT_V311);
	link_up(MQTT_V311);
	next = bridge_turn(w.bridge, 2000);
	assert_int_equal(next, 61000);
	next = bridge_turn(w.bridge, next);
	assert_true(pull());
	EXPECT(remote, 0xc0, 0);
	EXPECT(local, 0xc0, 0);
	assert_int_equal(next, 91000);
	assert_true(HEAR(0xd0, 0));
	assert_true(HEAR(0xc0, 0)); /* the remote asks too */
	assert_true(pull());
	EXPECT(remote, 0xd0, 0);
	assert_int_equal(bridge_turn(w.bridge, 91000), 121000);
	next = bridge_turn(w.bridge, 121000);
	(void)bridge_turn(w.bridge, next);
	assert_false(pull());
	bridge_stream.closed(w.stream, NULL);
	assert_non_null(strstr(w.why, "does not answer"));
	/* What comes after a long sleep is news, not old. */
	link_up(MQTT_V311);
	bridge_begin(w.bridge, 61000);
	assert_true(HEAR(0x30, 7, 0, 5, 'R', '/', 'i', '/', 'x'));
	assert_int_equal(bridge_last_ms(w.bridge), 61000);
	close_link();
	/* And no CONNACK at all. */
	w.stream = bridge_link(w.bridge, &(struct waker){ &remote_waker, NULL }, 1000);
	assert_true(pull());
	next = bridge_turn(w.bridge, 1500);
	assert_int_equal(next, 11000);
	(void)bridge_turn(w.bridge, next);
	assert_false(pull());
	bridge_stream.closed(w.stream, NULL);
	assert_non_null(strstr(w.why, "CONNACK"));
	done();
}

/* As long as this broker does not want to read, nothing is taken from the remote. */
static void
test_push_back(void **state)
{
	static const uint8_t msg[] = { 0x30, 7, 0, 5, 'R', '/', 'i', '/', 'x' };

	(void)state;
	begin(MQTT_V311);
	link_up(MQTT_V311);
	w.waker.ops->read_enable(w.waker.conn, false);
	assert_false(w.reading);
	assert_int_equal(bridge_stream.feed(w.stream, slice_of(msg, sizeof msg)), 0);
	w.waker.ops->read_enable(w.waker.conn, true);
	assert_true(w.reading);
	assert_int_equal(bridge_stream.feed(w.stream, slice_of(msg, sizeof msg)), sizeof msg);
	EXPECT(local, 0x30, 8, 0, 5, 'L', '/', 'i', '/', 'x', 0);
	close_link();
	done();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_topic_lines),
		cmocka_unit_test(test_topic_map),
		cmocka_unit_test(test_opening),
		cmocka_unit_test(test_out),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_in_uninvited),
		cmocka_unit_test(test_v5),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_stop_and_prime),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_push_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
