/* Ranked policies: the order in which roles and their lists are asked. */
#include "authz/testing.h"

#include "base/num.h"

#define ALLOW(list, topic) { AUTHZ_LIST_##list, true, SL(topic) }
#define DENY(list, topic) { AUTHZ_LIST_##list, false, SL(topic) }

static const struct authz_entry first[] = {
	DENY(SEND, "a/secret"), ALLOW(SEND, "a/#"), ALLOW(SEND, "own/%u/%c"), DENY(SEND, "not/%u"),
	DENY(RECEIVE, "r/deny/#"), ALLOW(RECEIVE, "r/+/x"),
	DENY(SUBSCRIBE_LITERAL, "s/+"), ALLOW(SUBSCRIBE_PATTERN, "s/#"), ALLOW(SUBSCRIBE_PATTERN, "own/%u/#"),
	ALLOW(SUBSCRIBE_LITERAL, "lit/%u"),
	DENY(UNSUBSCRIBE_PATTERN, "u/#"), ALLOW(UNSUBSCRIBE_LITERAL, "u/1"),
};
static const struct authz_entry second[] = {
	ALLOW(SEND, "a/secret"), ALLOW(SEND, "b"), DENY(SUBSCRIBE_PATTERN, "s/#"), ALLOW(SUBSCRIBE_PATTERN, "#"),
	ALLOW(SEND, "$CONTROL/dynamic-security/#"), ALLOW(SEND, "#"),
};

struct world {
	struct authz_role_lists *roles[2];
	struct authz_policy *p;
};

static void
make(struct world *w, bool otherwise)
{
	static const struct slice groups[] = { { 0 }, { (const uint8_t *)"crew", 4 } };
	struct authz_member members[] = {
		{ .name = SL("ann"), .roles = w->roles, .n_roles = 2, .groups = groups },
		{ .name = SL("bob"), .roles = w->roles, .n_roles = 1, .client_id = SL("bobs") },
		{ .name = SL("off"), .roles = w->roles, .n_roles = 2, .disabled = true },
		{ .name = SL("a+b"), .roles = w->roles, .n_roles = 1 },
	};
	struct authz_ranking r = { .members = members,
		.n_members = ARRAY_LEN(members),
		.anonymous = { .roles = w->roles + 1, .n_roles = 1 },
		.send = otherwise,
		.receive = otherwise,
		.subscribe = otherwise,
		.unsubscribe = otherwise };

	w->roles[0] = authz_role_lists_new(SL("one"), first, ARRAY_LEN(first));
	w->roles[1] = authz_role_lists_new(SL("two"), second, ARRAY_LEN(second));
	assert_non_null(w->roles[0]);
	assert_non_null(w->roles[1]);
	w->p = authz_policy_ranked(&r);
	assert_non_null(w->p);
}

static void
unmake(struct world *w)
{
	authz_policy_unref(w->p);
	authz_role_lists_unref(w->roles[0]);
	authz_role_lists_unref(w->roles[1]);
}

static const struct {
	const char *user, *id; /* user NULL: anonymous */
	enum authz_action action;
	const char *topic;
	bool allowed[2]; /* with defaults denying, allowing */
} cases[] = {
	{ "ann", "c", AUTHZ_CONNECT, "c", { true, true } },
	{ "eve", "c", AUTHZ_CONNECT, "c", { false, false } },
	{ "off", "c", AUTHZ_CONNECT, "c", { false, false } },
	{ "bob", "c", AUTHZ_CONNECT, "c", { false, false } },
	{ "bob", "bobs", AUTHZ_CONNECT, "bobs", { true, true } },
	{ NULL, "c", AUTHZ_CONNECT, "c", { true, true } },
	/* the first role that says something */
	{ "ann", "c", AUTHZ_PUBLISH, "a/secret", { false, false } },
	{ "ann", "c", AUTHZ_PUBLISH, "a/x", { true, true } },
	{ "ann", "c", AUTHZ_PUBLISH, "b", { true, true } },
	{ "bob", "bobs", AUTHZ_PUBLISH, "b", { false, true } },
	{ "bob", "other", AUTHZ_PUBLISH, "a/x", { false, false } },
	{ "off", "c", AUTHZ_PUBLISH, "a/x", { false, false } },
	{ "eve", "c", AUTHZ_PUBLISH, "a/x", { false, false } },
	{ NULL, "c", AUTHZ_PUBLISH, "a/secret", { true, true } },
	/* variables */
	{ "ann", "c", AUTHZ_PUBLISH, "not/ann", { false, false } },
	{ "bob", "bobs", AUTHZ_PUBLISH, "own/bob/bobs", { true, true } },
	{ "bob", "bobs", AUTHZ_PUBLISH, "own/ann/bobs", { false, true } },
	{ "a+b", "c", AUTHZ_PUBLISH, "not/anything", { false, false } }, /* a name that can be no topic gets around no denial */
	{ "a+b", "c", AUTHZ_PUBLISH, "own/a+b/c", { false, true } },
	/* $CONTROL needs a rule */
	{ "ann", "c", AUTHZ_PUBLISH, "$CONTROL/dynamic-security/v1", { true, true } },
	{ "ann", "c", AUTHZ_PUBLISH, "$CONTROL/x", { false, false } },
	{ "bob", "bobs", AUTHZ_PUBLISH, "$CONTROL/x", { false, false } },
	{ "bob", "bobs", AUTHZ_SUBSCRIBE, "$CONTROL/#", { false, false } },
	{ "bob", "bobs", AUTHZ_RECEIVE, "$CONTROL/x", { false, false } },
	/* receive */
	{ "ann", "c", AUTHZ_RECEIVE, "r/deny/x", { false, false } },
	{ "ann", "c", AUTHZ_RECEIVE, "r/y/x", { true, true } },
	{ "ann", "c", AUTHZ_RECEIVE, "z", { false, true } },
	/* literal before pattern; as it stands */
	{ "ann", "c", AUTHZ_SUBSCRIBE, "s/+", { false, false } },
	{ "ann", "c", AUTHZ_SUBSCRIBE, "s/1", { true, true } },
	{ "ann", "c", AUTHZ_SUBSCRIBE, "s", { true, true } },
	{ "ann", "c", AUTHZ_SUBSCRIBE, "s/#", { true, true } },
	{ "ann", "c", AUTHZ_SUBSCRIBE, "+/1", { true, true } },
	{ "bob", "bobs", AUTHZ_SUBSCRIBE, "+/1", { false, true } },
	{ "bob", "bobs", AUTHZ_SUBSCRIBE, "lit/%u", { true, true } },
	{ "bob", "bobs", AUTHZ_SUBSCRIBE, "lit/bob", { false, true } },
	{ "bob", "bobs", AUTHZ_SUBSCRIBE, "own/bob/+/x", { true, true } },
	{ "bob", "bobs", AUTHZ_SUBSCRIBE, "own/+/x", { false, true } },
	{ "ann", "c", AUTHZ_SUBSCRIBE, "$SYS/#", { true, true } }, /* "#" here is everything, as in mosquitto */
	{ NULL, "c", AUTHZ_SUBSCRIBE, "s/1", { false, false } },
	/* giving back */
	{ "ann", "c", AUTHZ_UNSUBSCRIBE, "u/1", { true, true } },
	{ "ann", "c", AUTHZ_UNSUBSCRIBE, "u/2", { false, false } },
	{ "ann", "c", AUTHZ_UNSUBSCRIBE, "v", { false, true } },
};

static void
decides_in_order(void **state)
{
	(void)state;
	for (int otherwise = 0; otherwise < 2; otherwise++) {
		struct world w;

		make(&w, otherwise == 1);
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			struct authz_principal *who = test_user(cases[i].user);
			struct authz_verdict v;

			if (authz_allowed(w.p, who, slice_str(cases[i].id), cases[i].action, slice_str(cases[i].topic), &v) !=
			    cases[i].allowed[otherwise])
				fail_msg("case %zu, default %d: %s", i, otherwise, v.why);
			assert_int_equal(v.allowed, cases[i].allowed[otherwise]);
			assert_true(v.allowed || v.why[0] != '\0');
			authz_principal_unref(who);
		}
		unmake(&w);
	}
}

/* A subscription is only whole if nothing that it matches is kept from the client. */
static const struct {
	const char *filter;
	bool whole[2];
} subscriptions[] = {
	{ "s/1", { false, true } },
	{ "r/y/x", { true, true } },
	{ "r/+/x", { false, false } },
	{ "r/y/+", { false, true } },
	{ "#", { false, false } },
	{ "z/#", { false, true } },
	{ "$SYS/#", { false, true } },
};

static void
knows_what_is_whole(void **state)
{
	(void)state;
	for (int otherwise = 0; otherwise < 2; otherwise++) {
		struct authz_principal *who = test_user("ann");
		struct authz_verdict v;
		struct world w;

		make(&w, otherwise == 1);
		for (size_t i = 0; i < ARRAY_LEN(subscriptions); i++) {
			assert_true(authz_allowed(w.p, who, SL("c"), AUTHZ_SUBSCRIBE, slice_str(subscriptions[i].filter), &v));
			if (v.whole != subscriptions[i].whole[otherwise])
				fail_msg("%s, default %d", subscriptions[i].filter, otherwise);
		}
		authz_principal_unref(who);
		unmake(&w);
	}
}

static void
refuses_topics(void **state)
{
	char longest[1100];

	(void)state;
	assert_true(authz_entry_ok(SL("a/+/%u/#")));
	assert_false(authz_entry_ok(SL("")));
	assert_false(authz_entry_ok(SL("a/#/b")));
	assert_false(authz_entry_ok(SL("a+")));
	memset(longest, 'x', sizeof(longest));
	assert_false(authz_entry_ok(slice_of(longest, sizeof(longest))));
}

static void
count_line(void *ctx, const char *text)
{
	assert_non_null(strchr(text, ' '));
	++*(int *)ctx;
}

static void
describes_itself(void **state)
{
	struct world w;
	int n = 0;

	(void)state;
	make(&w, false);
	authz_policy_describe(w.p, count_line, &n);
	assert_true(n > 3);
	unmake(&w);
}

/* The ACL that decides is named, with the role and the group that brought it. */
static void
names_the_decider(void **state)
{
	static const struct {
		const char *user, *id;
		enum authz_action action;
		const char *topic, *said;
	} asked[] = {
		{ "ann", "c", AUTHZ_PUBLISH, "a/secret", "refused: an ACL of a role denies it; role \"one\": publishClientSend deny a/secret" },
		{ "ann", "c", AUTHZ_PUBLISH, "a/x", "allowed: role \"one\": publishClientSend allow a/#" },
		{ "ann", "c", AUTHZ_PUBLISH, "b", "allowed: role \"two\" of group \"crew\": publishClientSend allow b" },
		{ "ann", "c", AUTHZ_PUBLISH, "not/ann", "refused: an ACL of a role denies it; role \"one\": publishClientSend deny not/%u" },
		{ "ann", "c", AUTHZ_RECEIVE, "r/a/x", "allowed: role \"one\": publishClientReceive allow r/+/x" },
		{ "ann", "c", AUTHZ_RECEIVE, "q", "refused: no ACL of a role allows it; no ACL matches, and the default access of publishClientReceive is deny" },
		{ "ann", "c", AUTHZ_SUBSCRIBE, "s/+", "refused: an ACL of a role denies it; role \"one\": subscribeLiteral deny s/+" },
		{ "ann", "c", AUTHZ_SUBSCRIBE, "s/1", "allowed in part (each delivery is judged): role \"one\": subscribePattern allow s/#" },
		{ "ann", "c", AUTHZ_UNSUBSCRIBE, "u/2", "refused: an ACL of a role denies it; role \"one\": unsubscribePattern deny u/#" },
		{ "ann", "c", AUTHZ_PUBLISH, "$CONTROL/x", "refused: no ACL of a role allows it; no ACL matches, and topics below $CONTROL need one" },
		{ NULL, "c", AUTHZ_PUBLISH, "b", "allowed: role \"two\": publishClientSend allow b" },
		{ "off", "c", AUTHZ_PUBLISH, "b", "refused: this client is disabled in dynamic security" },
		{ "who", "c", AUTHZ_CONNECT, "c", "refused: there is no client of this name in dynamic security" },
		{ "ann", "c", AUTHZ_CONNECT, "c", "allowed" },
		{ "bob", "c", AUTHZ_PUBLISH, "a/x", "refused: client id is not the one that dynamic security wants of this client" },
	};
	struct world w;
	char out[300];

	(void)state;
	make(&w, false);
	for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
		struct authz_principal *who = test_user(asked[i].user);
		bool ok = authz_explain(w.p, who, slice_str(asked[i].id), asked[i].action, slice_str(asked[i].topic), out, sizeof(out));

		assert_string_equal(out, asked[i].said);
		assert_int_equal(ok, strncmp(asked[i].said, "allowed", 7) == 0);
		authz_principal_unref(who);
	}
	unmake(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decides_in_order),
		cmocka_unit_test(knows_what_is_whole),
		cmocka_unit_test(refuses_topics),
		cmocka_unit_test(describes_itself),
		cmocka_unit_test(names_the_decider),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
