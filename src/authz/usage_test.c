/* What is told can be done: each of it is asked of the policy again. */
#include "authz/testing.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "topic/topic.h"

static const struct row {
	const char *policy, *acl; /* one of them; none: open */
	enum authz_role role;
	const char *cn, *user;    /* .cn NULL: without certificate */
	const char *mount;
	const char *id, *publish, *subscribe; /* .id NULL: may not be here */
} rows[] = {
	{ "use springcore", NULL, AUTHZ_ROLE_CLIENT, "d1", NULL, "", "d1", "springcard/springcore/d1/test", "springcard/springcore/d1/#" },
	{ "define prefix acme/readers\nuse springcore", NULL, AUTHZ_ROLE_CLIENT, "d1", NULL, "", "d1", "acme/readers/d1/test", "acme/readers/d1/#" },
	{ "use springcore", NULL, AUTHZ_ROLE_WATCH, "w", NULL, "", "w", "", "#" },
	{ "use springcore", NULL, AUTHZ_ROLE_CONTROL, "c", NULL, "", "c", "test", "#" },
	{ "use springcore", NULL, AUTHZ_ROLE_CLOUD, "b", NULL, "", NULL, "", "" },
	{ "use springcore", NULL, AUTHZ_ROLE_CLIENT, "a/b", NULL, "", NULL, "", "" },
	{ "use springcore", NULL, AUTHZ_ROLE_NONE, NULL, NULL, "", NULL, "", "" },
	{ "use dojot", NULL, AUTHZ_ROLE_CLIENT, "acme:f6", NULL, "", "acme:f6", "/acme/f6/attrs", "/acme/f6/config" },
	{ "use dojot", NULL, AUTHZ_ROLE_CLIENT, "f6", NULL, "", NULL, "", "" },
	{ "tenant admin\nuse dojot", NULL, AUTHZ_ROLE_CLIENT, "f6", NULL, "", "admin:f6", "/admin/f6/attrs", "/admin/f6/config" },
	{ "tenant admin\nuse dojot", NULL, AUTHZ_ROLE_CONTROL, "c", NULL, "", "c", "test", "#" },
	{ "connect role client\nallow role client publish up/+/%u/x\nallow role client subscribe down/%c\n", NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "", "d", "up/test/d/x", "down/d" },
	{ "connect role client\nallow role client publish a/test\nallow role client publish b/#\ndeny everyone publish a/#\n", NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "", "d", "b/test", "" },
	{ "connect role client\n", NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "", "d", "", "" },
	{ "connect everyone\nallow everyone publish,subscribe site/%u/#\nsubscribe overlap", NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "site/", "d", "d/test", "d/#" },
	{ "connect everyone\nallow everyone publish,subscribe other/#\n", NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "site/", "d", "", "" },
	{ "connect everyone\nallow everyone publish,subscribe #\n", NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "site/", "d", "test", "#" },
	{ "", NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "", NULL, "", "" },
	{ NULL, "topic readwrite news/#\nuser ann\ntopic readwrite ann/#\n", AUTHZ_ROLE_NONE, NULL, "ann", "", "ann", "ann/test", "ann/#" },
	{ NULL, "topic read news/#\n", AUTHZ_ROLE_NONE, NULL, NULL, "", "test", "", "news/#" },
	{ NULL, NULL, AUTHZ_ROLE_CLIENT, "d", NULL, "", "d", "test", "#" },
};

static struct authz_principal *
who_of(const struct row *r)
{
	struct authz_facts f = { .role = r->role, .has_cert = r->cn != NULL, .cn = slice_str(r->cn), .username = slice_str(r->user) };
	struct authz_principal *who;

	if (r->cn != NULL)
		f.username = f.cn;
	who = authz_principal_new(&f);
	assert_non_null(who);
	return who;
}

static struct authz_policy *
policy_of(const struct row *r)
{
	struct err err;
	struct authz_policy *p = r->acl != NULL ? authz_policy_parse_acl(slice_str(r->acl), "a", &err)
	    : r->policy != NULL ? authz_policy_parse(slice_str(r->policy), "p", &err) : authz_policy_open();

	assert_non_null(p);
	return p;
}

static void
check(const struct authz_policy *p, const struct authz_principal *who, const char *mount, const struct authz_usage *u)
{
	struct slice id = slice_str(u->client_id);
	struct authz_verdict v;
	char topic[2 * AUTHZ_USAGE_MAX];

	assert_true(authz_allowed(p, who, id, AUTHZ_CONNECT, id, &v));
	(void)snprintf(topic, sizeof(topic), "%s%s", mount, u->publish);
	if (u->publish[0] != '\0')
		assert_true(topic_name_ok(slice_str(topic)) && authz_allowed(p, who, id, AUTHZ_PUBLISH, slice_str(topic), &v));
	(void)snprintf(topic, sizeof(topic), "%s%s", mount, u->subscribe);
	if (u->subscribe[0] != '\0')
		assert_true(topic_filter_ok(slice_str(topic)) && authz_allowed(p, who, id, AUTHZ_SUBSCRIBE, slice_str(topic), &v));
}

static void
policies(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		struct authz_principal *who = who_of(r);
		struct authz_policy *p = policy_of(r);
		struct authz_usage u;

		if (authz_usage(p, who, slice_str(r->mount), &u) != (r->id != NULL))
			fail_msg("row %zu: \"%s\"", i, u.client_id);
		if (strcmp(u.client_id, r->id != NULL ? r->id : "") != 0 || strcmp(u.publish, r->publish) != 0 || strcmp(u.subscribe, r->subscribe) != 0)
			fail_msg("row %zu: \"%s\" \"%s\" \"%s\"", i, u.client_id, u.publish, u.subscribe);
		if (r->id != NULL)
			check(p, who, r->mount, &u);
		authz_policy_unref(p);
		authz_principal_unref(who);
	}
}

static void
ranked(void **state)
{
	const struct authz_entry entries[] = { { AUTHZ_LIST_SEND, false, SL("up/#") }, { AUTHZ_LIST_SEND, true, SL("up/d") },
		{ AUTHZ_LIST_SEND, true, SL("out/%u/+") }, { AUTHZ_LIST_SUBSCRIBE_LITERAL, true, SL("in/d") } };
	struct authz_role_lists *lists = authz_role_lists_new(SL("r"), entries, ARRAY_LEN(entries));
	const struct authz_member member = { .name = SL("d"), .roles = &lists, .n_roles = 1 };
	struct authz_policy *p = authz_policy_ranked(&(struct authz_ranking){ .members = &member, .n_members = 1 });
	struct authz_principal *who = who_of(&(struct row){ .role = AUTHZ_ROLE_CLIENT, .cn = "d" }), *other = who_of(&(struct row){ .role = AUTHZ_ROLE_CLIENT, .cn = "e" });
	struct authz_usage u;

	(void)state;
	assert_non_null(p);
	assert_true(authz_usage(p, who, SL(""), &u));
	assert_string_equal(u.publish, "out/d/test");
	assert_string_equal(u.subscribe, "in/d");
	check(p, who, "", &u);
	assert_false(authz_usage(p, other, SL(""), &u));
	authz_policy_unref(p);
	authz_role_lists_unref(lists);
	authz_principal_unref(who);
	authz_principal_unref(other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(policies), cmocka_unit_test(ranked) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
