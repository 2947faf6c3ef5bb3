/* What administrators ask about the rights of sessions. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static const char policy[] = "connect everyone\nallow everyone publish,subscribe own/%c/#\nallow user ann publish wills/+\n";

struct heard {
	unsigned n;
	struct broker_finding f;
	char text[300], topic[100];
};

static void
hear(void *ctx, const struct broker_finding *f)
{
	struct heard *h = ctx;

	h->n++;
	h->f = *f;
	(void)snprintf(h->text, sizeof h->text, "%s", f->text);
	(void)snprintf(h->topic, sizeof h->topic, "%.*s", (int)f->topic.n, (const char *)f->topic.p);
}

static struct heard
ask(struct kit *k, const char *id, enum authz_action action, const char *topic)
{
	struct heard h = { 0 };
	struct broker_ask q = { .client_id = slice_str(id), .topic = slice_str(topic), .action = action, .answer = hear, .ctx = &h };

	q.will = action == AUTHZ_PUBLISH && topic[0] == '\0';
	assert_true(broker_ask(k->broker, &q));
	kit_pump(k);
	assert_int_equal(h.n, 1);
	return h;
}

static void
a_session_is_judged_by_who_it_is(void **state)
{
	struct kit *k = kit_begin(state, NULL, policy);
	struct end *e = kit_join(k, MQTT_V5, "a");
	struct heard h = ask(k, "a", AUTHZ_PUBLISH, "own/a/x");

	assert_true(h.f.found && h.f.connected && h.f.allowed);
	assert_string_equal(h.text, "allowed: line 2: everyone: may publish,subscribe own/%c/#");
	assert_string_equal(h.topic, "own/a/x");
	h = ask(k, "a", AUTHZ_PUBLISH, "own/b/x");
	assert_false(h.f.allowed);
	assert_non_null(strstr(h.text, "refused: "));
	assert_true(ask(k, "a", AUTHZ_SUBSCRIBE, "own/a/#").f.allowed);
	assert_true(ask(k, "a", AUTHZ_SUBSCRIBE, "$share/g/own/a/#").f.allowed);
	assert_true(ask(k, "a", AUTHZ_RECEIVE, "own/a/y").f.allowed);
	assert_true(ask(k, "a", AUTHZ_CONNECT, "").f.allowed);
	assert_string_equal(ask(k, "a", AUTHZ_SUBSCRIBE, "x/#/y").text, "refused: not a topic filter");
	assert_string_equal(ask(k, "a", AUTHZ_RECEIVE, "x/#").text, "refused: not a topic name");
	assert_string_equal(ask(k, "a", AUTHZ_PUBLISH, "").text, "refused: the client has no will now");
	assert_false(ask(k, "nobody", AUTHZ_PUBLISH, "own/a/x").f.found);
	/* By what is in force now. */
	kit_policy(k, "connect everyone\nallow everyone publish own/b/#\n");
	assert_true(ask(k, "a", AUTHZ_PUBLISH, "own/b/x").f.allowed);
	assert_false(ask(k, "a", AUTHZ_PUBLISH, "own/a/x").f.allowed);
	kit_expect_nothing(e);
}

/* Whom nobody waits for any more: the broker goes first. */
static void
an_answer_may_come_at_the_end(void **state)
{
	struct kit *k = kit_begin(state, NULL, policy);
	static struct heard h;
	struct broker_ask q = { .client_id = SL("a"), .topic = SL("t"), .action = AUTHZ_PUBLISH, .answer = hear, .ctx = &h };

	h = (struct heard){ 0 };
	assert_true(broker_ask(k->broker, &q));
	kit_done(k);
	assert_int_equal(h.n, 1);
	assert_false(h.f.found);
	kit_init(k, 2, NULL, NULL);
}

static void
a_mount_point_stands_in_front(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct broker_listener v = { .mount_point = "m/" };
	struct heard h;

	kit_done(k);
	kit_init_listeners(k, 2, NULL, &v, 1);
	(void)kit_join(k, MQTT_V5, "a");
	h = ask(k, "a", AUTHZ_PUBLISH, "x");
	assert_string_equal(h.topic, "m/x");
	h = ask(k, "a", AUTHZ_SUBSCRIBE, "$share/g/+");
	assert_string_equal(h.topic, "m/+");
	assert_true(h.f.allowed);
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(a_session_is_judged_by_who_it_is),
	TEST(an_answer_may_come_at_the_end),
	TEST(a_mount_point_stands_in_front),
};

int
main(void)
{
	return kit_run("rights", tests, ARRAY_LEN(tests));
}
