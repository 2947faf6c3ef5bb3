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

struct learned {
	unsigned n, named;
	struct broker_survey_result r;
	char first[40], last[40], changes[400];
};

static void
learn(void *ctx, const struct broker_survey_result *r)
{
	struct learned *l = ctx;

	l->n++;
	l->r = *r;
	l->named = r->n;
	for (unsigned i = 1; i < r->n; i++)
		assert_true(strcmp(r->v[i - 1]->client_id, r->v[i]->client_id) < 0);
	if (r->n == 0)
		return;
	(void)snprintf(l->first, sizeof l->first, "%s", r->v[0]->client_id);
	(void)snprintf(l->last, sizeof l->last, "%s", r->v[r->n - 1]->client_id);
	for (unsigned i = 0; i < r->v[0]->n; i++) {
		const struct broker_change *c = &r->v[0]->v[i];
		size_t n = strlen(l->changes);

		(void)snprintf(l->changes + n, sizeof l->changes - n, "%c%d%s %s;", c->lost ? '-' : '+', (int)c->action, c->will ? "w" : "", c->topic);
	}
}

static struct learned
survey(struct kit *k, const char *text, unsigned most)
{
	struct err err;
	struct authz_policy *p = authz_policy_parse(slice_str(text), "new", &err);
	struct learned l = { 0 };

	assert_non_null(p);
	assert_true(broker_survey(k->broker, &(struct broker_survey){ .policy = p, .listeners = 1, .most = most, .done = learn, .ctx = &l }));
	kit_pump(k);
	assert_int_equal(l.n, 1);
	assert_false(l.r.incomplete);
	authz_policy_unref(p);
	return l;
}

static void
a_survey_finds_who_gains_and_loses(void **state)
{
	static const char now[] = "connect everyone\nallow everyone publish,subscribe own/%c/#\nallow everyone publish w\n";
	struct kit *k = kit_begin(state, NULL, now);
	struct end *e = kit_connect(k, &(struct connect_options){ .version = MQTT_V5, .id = "c1", .expiry = 100, .will_topic = "w", .will_payload = "x" }, NULL);
	struct learned l;

	kit_subscribe(e, "own/c1/+", 0);
	for (unsigned i = 0; i < 300; i++) {
		char id[10];

		(void)snprintf(id, sizeof id, "d%03u", i);
		(void)kit_join(k, MQTT_V5, id);
	}
	l = survey(k, now, 10);
	assert_int_equal(l.r.sessions, 301);
	assert_int_equal(l.r.subscriptions, 1);
	assert_int_equal(l.r.changed + l.named, 0);
	l = survey(k, "connect everyone\nallow everyone publish own/%c/#\nallow everyone publish more\n", 10);
	assert_int_equal(l.r.changed, 301);
	assert_int_equal(l.r.losing, 301);
	assert_int_equal(l.r.gaining, 301);
	assert_int_equal(l.named, 10);
	assert_string_equal(l.first, "c1");
	assert_string_equal(l.last, "d008");
	assert_string_equal(l.changes, "-1 w;-3 own/c1/#;+1 more;-2 own/c1/+;-1w w;");
	/* A session that is kept counts too. */
	kit_disconnect(e, 0);
	assert_int_equal(survey(k, "allow everyone publish x\n", 1).r.changed, 301);
	assert_string_equal(survey(k, "allow everyone publish x\n", 1).changes, "-0 c1;");
	assert_int_equal(survey(k, "allow everyone publish x\n", 0).named, 0);
}

/* A policy may have as many rules as it likes: then only subscriptions and wills are compared, and of these the first. */
static void
many_rules_are_looked_at_roughly(void **state)
{
	static char big[400 * 40];
	struct kit *k = kit_begin(state, NULL, "connect everyone\nallow everyone publish,subscribe #\n");
	struct end *e = kit_join(k, MQTT_V5, "a");
	struct learned l;
	size_t n = (size_t)snprintf(big, sizeof big, "connect everyone\n");

	kit_subscribe(e, "x", 0);
	for (unsigned i = 0; i < 300; i++)
		n += (size_t)snprintf(big + n, sizeof big - n, "allow everyone publish t/%u\n", i);
	l = survey(k, big, 10);
	assert_int_equal(l.r.coarse, 1);
	assert_string_equal(l.changes, "-2 x;");
	assert_int_equal(survey(k, "connect everyone\nallow everyone subscribe #\n", 10).r.coarse, 0);
}

static void
a_survey_ends_with_the_broker(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	static struct learned l;
	struct authz_policy *p = authz_policy_open();

	l = (struct learned){ 0 };
	assert_true(broker_survey(k->broker, &(struct broker_survey){ .policy = p, .listeners = 1, .most = 5, .done = learn, .ctx = &l }));
	authz_policy_unref(p);
	kit_done(k);
	assert_int_equal(l.n, 1);
	assert_true(l.r.incomplete);
	kit_init(k, 2, NULL, NULL);
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(a_session_is_judged_by_who_it_is),
	TEST(an_answer_may_come_at_the_end),
	TEST(a_mount_point_stands_in_front),
	TEST(a_survey_finds_who_gains_and_loses),
	TEST(many_rules_are_looked_at_roughly),
	TEST(a_survey_ends_with_the_broker),
};

int
main(void)
{
	return kit_run("rights", tests, ARRAY_LEN(tests));
}
