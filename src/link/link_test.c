/* The control link: what it says and hears as bytes, and its socket against a broker of a few lines. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/num.h"
#include "link/internal.h"

struct told {
	unsigned up, down, events, answers;
	uint64_t missed;
	enum link_result result;
	char why[200], code[20], error[200], last_event[40];
	json_t *answer;
};

static void
on_up(void *ctx, const json_t *hello)
{
	assert_true(json_is_object(hello));
	((struct told *)ctx)->up++;
}

static void
on_down(void *ctx, const char *why)
{
	struct told *t = ctx;

	t->down++;
	(void)snprintf(t->why, sizeof t->why, "%s", why);
}

static void
on_event(void *ctx, const json_t *e)
{
	struct told *t = ctx;

	t->events++;
	(void)snprintf(t->last_event, sizeof t->last_event, "%s", json_string_value(json_object_get(e, "event")));
}

static void
on_missed(void *ctx, uint64_t n)
{
	((struct told *)ctx)->missed += n;
}

static void
on_answer(void *ctx, const struct link_reply *r)
{
	struct told *t = ctx;

	t->answers++;
	t->result = r->result;
	(void)snprintf(t->error, sizeof t->error, "%s", r->error != NULL ? r->error : "");
	(void)snprintf(t->code, sizeof t->code, "%s", r->code);
	json_decref(t->answer);
	t->answer = json_deep_copy(r->answer);
}

static const struct link_events all = { on_up, on_down, on_event, on_missed };

/* ---- the broker's side, by hand ---- */

struct bytes {
	uint8_t b[4096];
	struct wr w;
};

static struct bytes *
fresh(struct bytes *x)
{
	x->w = wr_of(x->b, sizeof x->b);
	return x;
}

static struct slice
connack(struct bytes *x, uint16_t keep_alive, uint32_t packet)
{
	struct mqtt_connack m = { .props = { .server_keep_alive = keep_alive, .maximum_packet_size = packet } };

	if (keep_alive > 0)
		mqtt_set(&m.props, MQTT_P_SERVER_KEEP_ALIVE);
	if (packet > 0)
		mqtt_set(&m.props, MQTT_P_MAXIMUM_PACKET_SIZE);
	assert_true(mqtt_put_connack(&fresh(x)->w, MQTT_V5, &m));
	return wr_slice(&x->w);
}

static struct slice
suback(struct bytes *x, size_t n, uint8_t code)
{
	uint8_t codes[2] = { code, code };

	assert_true(mqtt_put_suback(&fresh(x)->w, MQTT_V5, MQTT_SUBACK, 1, slice_of(codes, n), SL("")));
	return wr_slice(&x->w);
}

static struct slice
says(struct bytes *x, const char *where, uint64_t tag, const char *text)
{
	uint8_t raw[8] = { 0 }, b[16];
	struct mqtt_props p = { .correlation_data = slice_of(raw, sizeof raw) };
	struct wr rw = wr_of(raw, sizeof raw), pw = wr_of(b, sizeof b);
	char topic[60];

	(void)snprintf(topic, sizeof topic, LINK_TOPIC "%s", where);
	wr_u32(&rw, (uint32_t)(tag >> 32));
	wr_u32(&rw, (uint32_t)tag);
	mqtt_set(&p, MQTT_P_CORRELATION_DATA);
	if (tag > 0)
		assert_true(mqtt_put_props(&pw, &p));
	assert_true(mqtt_put_publish(&fresh(x)->w, MQTT_V5,
	    &(struct mqtt_publish){ .topic = slice_str(topic), .payload = slice_str(text), .forward = wr_slice(&pw) }));
	return wr_slice(&x->w);
}

/* The next packet that the link sends; it is sent then. */
static struct mqtt_frame
out(struct core *c, uint8_t type)
{
	static uint8_t kept[4096];
	struct slice s = core_output(c);
	struct mqtt_frame f;

	assert_true(s.n > 0 && s.n <= sizeof kept);
	memcpy(kept, s.p, s.n);
	assert_int_equal(mqtt_frame(slice_of(kept, s.n), sizeof kept, &f), MQTT_FRAME_OK);
	assert_int_equal(f.type, type);
	core_sent(c, f.size);
	return f;
}

static uint64_t
request_out(struct core *c, const char *topic, const char *payload)
{
	struct mqtt_frame f = out(c, MQTT_PUBLISH);
	struct mqtt_publish m;
	struct rd r;
	uint64_t tag;

	assert_int_equal(mqtt_decode_publish(&f, MQTT_V5, true, &m), MQTT_RC_OK);
	assert_true(slice_eq(m.topic, slice_str(topic)));
	if (payload != NULL)
		assert_true(slice_eq(m.payload, slice_str(payload)));
	r = rd_of(m.correlation_data);
	tag = (uint64_t)rd_u32(&r) << 32;
	return tag | rd_u32(&r);
}

static void
bring_up(struct core *c, struct told *t, const struct link_events *on)
{
	struct bytes x;

	*c = (struct core){ .name = "me", .on = *on, .ctx = t };
	core_init(c);
	assert_true(core_open(c, 1000));
	(void)out(c, MQTT_CONNECT);
	assert_true(core_feed(c, connack(&x, 0, 5000), 1001));
	(void)out(c, MQTT_SUBSCRIBE);
	assert_true(core_feed(c, suback(&x, on->event != NULL ? 2 : 1, 0), 1002));
	assert_int_equal(t->up, 0);
	assert_true(core_feed(c, says(&x, "response", request_out(c, LINK_TOPIC "hello", NULL), "{\"protocol\":1}"), 1003));
	assert_int_equal(t->up, 1);
	assert_int_equal(c->state, CORE_UP);
}

static bool
ask(struct core *c, struct told *t, const char *command, unsigned timeout)
{
	json_t *body = json_pack("{s:i}", "a", 1);
	bool ok = core_request(c, &(struct link_request){ .command = command, .body = body, .now_ms = c->now_ms, .timeout_ms = timeout, .answer = on_answer, .ctx = t },
	    &(struct err){ 0 });

	json_decref(body);
	return ok;
}

static void
bring_down(struct core *c, struct told *t)
{
	core_closed(c, "over");
	core_done(c);
	json_decref(t->answer);
}

static void
it_says_hello_first(void **state)
{
	struct told t = { 0 };
	struct core c;
	struct link_events quiet = { on_up, on_down, NULL, NULL };

	(void)state;
	bring_up(&c, &t, &all);
	assert_int_equal(core_due(&c), UINT64_MAX);
	bring_down(&c, &t);
	assert_int_equal(t.down, 1);
	assert_string_equal(t.why, "over");
	t = (struct told){ 0 };
	bring_up(&c, &t, &quiet);
	bring_down(&c, &t);
}

static void
answers_find_their_requests(void **state)
{
	struct told t = { 0 };
	struct core c;
	struct bytes x;
	uint64_t one, two;

	(void)state;
	bring_up(&c, &t, &all);
	assert_true(ask(&c, &t, "one", 0));
	assert_true(ask(&c, &t, "two", 50));
	one = request_out(&c, LINK_TOPIC "one", "{\"a\":1}");
	two = request_out(&c, LINK_TOPIC "two", "{\"a\":1}");
	assert_int_equal(core_due(&c), 1053);
	assert_true(core_feed(&c, says(&x, "response", 999, "{}"), 1010));
	assert_true(core_feed(&c, says(&x, "response", 0, "{}"), 1010));
	assert_int_equal(t.answers, 0);
	assert_true(core_feed(&c, says(&x, "response", one, "{\"x\":[1]}"), 1010));
	assert_int_equal(t.result, LINK_OK);
	assert_int_equal(json_array_size(json_object_get(t.answer, "x")), 1);
	assert_true(core_time(&c, 1052));
	assert_int_equal(t.answers, 1);
	assert_true(core_time(&c, 1053));
	assert_int_equal(t.answers, 2);
	assert_int_equal(t.result, LINK_TIMEOUT);
	/* It comes too late, and nobody minds. */
	assert_true(core_feed(&c, says(&x, "response", two, "{}"), 1060));
	assert_int_equal(t.answers, 2);
	assert_true(ask(&c, &t, "three", 0));
	assert_true(core_feed(&c, says(&x, "response", request_out(&c, LINK_TOPIC "three", NULL), "{\"error\":\"no\",\"code\":\"gap\"}"), 1060));
	assert_int_equal(t.result, LINK_REFUSED);
	assert_string_equal(t.error, "no");
	assert_string_equal(t.code, "gap");
	assert_true(ask(&c, &t, "four", 0));
	core_closed(&c, "gone");
	assert_int_equal(t.answers, 4);
	assert_int_equal(t.result, LINK_LOST);
	assert_false(ask(&c, &t, "five", 0));
	bring_down(&c, &t);
}

static void
events_are_counted(void **state)
{
	static const struct {
		const char *text;
		uint64_t missed;
		unsigned events;
	} cases[] = {
		{ "{\"seq\":0,\"dropped\":0,\"events\":[{\"event\":\"a\"},{\"event\":\"b\"}]}", 0, 2 },
		{ "{\"seq\":2,\"dropped\":0,\"events\":[{\"event\":\"c\"}]}", 0, 3 },
		{ "{\"seq\":13,\"dropped\":10,\"events\":[]}", 10, 3 },
		{ "{\"seq\":13,\"dropped\":0,\"events\":[{\"event\":\"d\"},7]}", 10, 4 },
		/* Lost on the way, without a word. */
		{ "{\"seq\":16,\"dropped\":0,\"events\":[{\"event\":\"e\"}]}", 11, 5 },
		{ "{}", 11, 5 },
	};
	struct told t = { 0 };
	struct core c;
	struct bytes x;

	(void)state;
	bring_up(&c, &t, &all);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		assert_true(core_feed(&c, says(&x, "events", 0, cases[i].text), 1010));
		assert_int_equal(t.missed, cases[i].missed);
		assert_int_equal(t.events, cases[i].events);
	}
	assert_string_equal(t.last_event, "e");
	bring_down(&c, &t);
}

static void
there_are_limits(void **state)
{
	struct told t = { 0 };
	struct core c;
	json_t *big = json_pack("{s:o}", "x", json_string("0123456789"));
	char text[6000];
	struct err err;

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	bring_up(&c, &t, &all);
	(void)json_object_set_new(big, "y", json_string(text));
	assert_false(core_request(&c, &(struct link_request){ .command = "x", .body = big, .answer = on_answer, .ctx = &t }, &err));
	assert_int_equal(err.code, ERR_LIMIT);
	json_decref(big);
	for (unsigned i = 0; i < LINK_CALLS_MAX; i++) {
		assert_true(ask(&c, &t, "x", 0));
		core_sent(&c, core_output(&c).n);
	}
	assert_false(ask(&c, &t, "x", 0));
	bring_down(&c, &t);
	assert_int_equal(t.answers, LINK_CALLS_MAX);
}

static void
a_broker_that_insists_gets_pings(void **state)
{
	struct told t = { 0 };
	struct core c = { .name = "", .on = all, .ctx = &t };
	struct bytes x;

	(void)state;
	core_init(&c);
	assert_true(core_open(&c, 0));
	(void)out(&c, MQTT_CONNECT);
	assert_true(core_feed(&c, connack(&x, 10, 0), 0));
	(void)out(&c, MQTT_SUBSCRIBE);
	assert_true(core_time(&c, 4999));
	assert_int_equal(core_output(&c).n, 0);
	assert_int_equal(core_due(&c), 5000);
	assert_true(core_time(&c, 5000));
	(void)out(&c, MQTT_PINGREQ);
	assert_true(core_feed(&c, SL("\xd0\0"), 5000));
	/* But it has to get on with it. */
	assert_false(core_time(&c, LINK_HELLO_MS));
	bring_down(&c, &t);
}

static void
what_is_wrong_ends_it(void **state)
{
	struct told t = { 0 };
	struct core c;
	struct bytes x;

	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		struct mqtt_disconnect bye = { .reason = MQTT_RC_ADMINISTRATIVE };
		struct slice s;

		bring_up(&c, &t, &all);
		t.up = 0;
		switch (i) {
		case 0:
			s = connack(&x, 0, 0);
			break;
		case 1:
			s = suback(&x, 1, 0);
			break;
		case 2:
			s = says(&x, "response", 1, "[]");
			break;
		case 3:
			s = says(&x, "response", 1, "{");
			break;
		case 4:
			s = SL("\x30\xff\xff\xff\xff");
			break;
		case 5:
			s = SL("\x82\x02\x00\x01");
			break;
		case 6:
			s = SL("\x30\x01\x00");
			break;
		case 7:
			assert_true(mqtt_put_disconnect(&fresh(&x)->w, MQTT_V5, &bye));
			s = wr_slice(&x.w);
			break;
		default:
			s = SL("\x30\xff\xff\xff\x7f");
			break;
		}
		assert_false(core_feed(&c, s, 1010));
		assert_true(c.err.text[0] != '\0');
		core_closed(&c, c.err.text);
		core_done(&c);
	}
	json_decref(t.answer);
}

/* A whole conversation, cut at every byte. */
static void
in_pieces(void **state)
{
	struct told t = { 0 };
	struct core c = { .name = "me", .on = all, .ctx = &t };
	uint8_t all_bytes[512];
	size_t n = 0;
	struct bytes x;
	struct slice parts[4];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(parts); i++) {
		struct slice s = i == 0   ? connack(&x, 0, 0)
				 : i == 1 ? suback(&x, 2, 0)
				 : i == 2 ? says(&x, "response", 1, "{\"protocol\":1}")
					  : says(&x, "events", 0, "{\"seq\":0,\"events\":[{\"event\":\"a\"}]}");

		memcpy(all_bytes + n, s.p, s.n);
		n += s.n;
	}
	core_init(&c);
	assert_true(core_open(&c, 0));
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(t.events, 0);
		assert_true(core_feed(&c, slice_of(all_bytes + i, 1), 1));
	}
	assert_int_equal(t.up, 1);
	assert_int_equal(t.events, 1);
	bring_down(&c, &t);
}

/* ---- the socket ---- */

struct place {
	char dir[40], path[60];
	int fd;
};

static void
listen_there(struct place *p)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", p->path);
	p->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(p->fd != -1);
	assert_int_equal(bind(p->fd, (const struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(p->fd, 4), 0);
}

/* Turns of the link until it has sent a packet of that type, which is read. */
static struct slice
hear(struct link_client *l, int fd, uint8_t *buf, size_t cap)
{
	ssize_t n;

	link_client_ready(l, POLLIN, 1);
	n = recv(fd, buf, cap, 0);
	assert_true(n > 0);
	return slice_of(buf, (size_t)n);
}

static void
it_connects_again(void **state)
{
	struct place p;
	struct told t = { 0 };
	struct link_client *l;
	uint8_t buf[4096];
	struct bytes x;
	struct slice s;
	int fd;

	(void)state;
	(void)snprintf(p.dir, sizeof p.dir, "/tmp/link-test-XXXXXX");
	assert_non_null(mkdtemp(p.dir));
	(void)snprintf(p.path, sizeof p.path, "%s/s", p.dir);
	l = link_client_new(&(struct link_config){ .path = p.path, .name = "me", .on = all, .ctx = &t });
	assert_non_null(l);
	assert_int_equal(link_client_due(l), 0);
	/* Nobody is there: later, and later still. */
	link_client_ready(l, 0, 1000);
	assert_int_equal(t.down, 1);
	assert_int_equal(link_client_fd(l), -1);
	assert_int_equal(link_client_due(l), 1100);
	link_client_ready(l, 0, 1099);
	assert_int_equal(t.down, 1);
	link_client_ready(l, 0, 1100);
	assert_int_equal(t.down, 2);
	assert_int_equal(link_client_due(l), 1300);
	assert_false(link_client_request(l, &(struct link_request){ .command = "x", .body = NULL }, &(struct err){ 0 }));
	listen_there(&p);
	for (unsigned round = 1; round <= 2; round++) {
		uint64_t now = link_client_due(l);

		link_client_ready(l, 0, now);
		assert_true(link_client_fd(l) != -1);
		fd = accept(p.fd, NULL, NULL);
		assert_true(fd != -1);
		s = hear(l, fd, buf, sizeof buf);
		assert_int_equal(s.p[0], MQTT_CONNECT << 4);
		s = connack(&x, 0, 0);
		assert_int_equal(send(fd, s.p, s.n, 0), s.n);
		s = hear(l, fd, buf, sizeof buf);
		assert_int_equal(s.p[0] >> 4, MQTT_SUBSCRIBE);
		s = suback(&x, 2, 0);
		assert_int_equal(send(fd, s.p, s.n, 0), s.n);
		s = hear(l, fd, buf, sizeof buf);
		assert_int_equal(s.p[0] >> 4, MQTT_PUBLISH);
		/* Numbers go on from one connection to the next. */
		s = says(&x, "response", round, "{}");
		assert_int_equal(send(fd, s.p, s.n, 0), s.n);
		link_client_ready(l, POLLIN, now);
		assert_true(link_client_is_up(l));
		assert_int_equal(t.up, round);
		assert_int_equal(link_client_wants(l), POLLIN);
		(void)close(fd);
		link_client_ready(l, POLLIN | POLLHUP, now);
		assert_false(link_client_is_up(l));
		assert_string_equal(t.why, "the broker has closed the control socket");
		/* From the beginning: it was up. */
		assert_int_equal(link_client_due(l), now + 100);
	}
	link_client_free(l);
	link_client_free(NULL);
	(void)close(p.fd);
	(void)unlink(p.path);
	(void)rmdir(p.dir);
}

struct heard {
	struct told told; /* first: the others' callbacks take it for the whole */
	unsigned n;
	bool retained;
	char topic[40], payload[40];
};

static void
on_message(void *ctx, struct slice topic, struct slice payload, bool retained)
{
	struct heard *h = ctx;

	h->n++;
	h->retained = retained;
	(void)snprintf(h->topic, sizeof h->topic, "%.*s", SL_ARG(topic));
	(void)snprintf(h->payload, sizeof h->payload, "%.*s", SL_ARG(payload));
}

static void
other_topics_are_heard_as_they_are(void **state)
{
	struct link_events on = all;
	char first[] = "a/+/status", second[] = "forbidden";
	char *const topics[] = { first, second };
	const uint8_t codes[] = { 0, 0, 0, MQTT_RC_NOT_AUTHORIZED };
	struct heard h = { 0 };
	struct core c = { .name = "me", .topics = topics, .n_topics = ARRAY_LEN(topics), .ctx = &h };
	struct bytes x;

	(void)state;
	on.message = on_message;
	c.on = on;
	core_init(&c);
	assert_true(core_open(&c, 1000));
	(void)out(&c, MQTT_CONNECT);
	assert_true(core_feed(&c, connack(&x, 0, 5000), 1001));
	assert_non_null(memmem(core_output(&c).p, core_output(&c).n, first, strlen(first)));
	(void)out(&c, MQTT_SUBSCRIBE);
	/* One that nobody may have is no fault. */
	assert_true(mqtt_put_suback(&fresh(&x)->w, MQTT_V5, MQTT_SUBACK, 1, slice_of(codes, sizeof codes), SL("")));
	assert_true(core_feed(&c, wr_slice(&x.w), 1002));
	assert_true(core_feed(&c, says(&x, "response", request_out(&c, LINK_TOPIC "hello", NULL), "{}"), 1003));
	assert_true(mqtt_put_publish(&fresh(&x)->w, MQTT_V5, &(struct mqtt_publish){ .topic = SL("a/x/status"), .payload = SL("no JSON"), .retain = true }));
	assert_true(core_feed(&c, wr_slice(&x.w), 1004));
	assert_int_equal(h.n, 1);
	assert_true(h.retained);
	assert_string_equal(h.topic, "a/x/status");
	assert_string_equal(h.payload, "no JSON");
	core_closed(&c, "end");
	core_done(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_hello_first),
		cmocka_unit_test(answers_find_their_requests),
		cmocka_unit_test(events_are_counted),
		cmocka_unit_test(there_are_limits),
		cmocka_unit_test(a_broker_that_insists_gets_pings),
		cmocka_unit_test(what_is_wrong_ends_it),
		cmocka_unit_test(other_topics_are_heard_as_they_are),
		cmocka_unit_test(in_pieces),
		cmocka_unit_test(it_connects_again),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
