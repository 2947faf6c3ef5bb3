/* Decisions in words: the rule that decides is named, with its line. */
#include "authz/testing.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"

struct row {
	const char *user; /* NULL: anonymous */
	enum authz_action action;
	const char *topic, *said;
};

static void
check(const struct authz_policy *p, const struct authz_principal *who, const char *id, const struct row *row)
{
	char out[300], cut[10];
	struct authz_verdict v;
	bool ok = authz_explain(p, who, slice_str(id), row->action, slice_str(row->topic), out, sizeof out);

	assert_string_equal(out, row->said);
	assert_int_equal(ok, authz_allowed(p, who, slice_str(id), row->action, slice_str(row->topic), &v));
	assert_int_equal(ok, strncmp(row->said, "allowed", 7) == 0);
	(void)authz_explain(p, who, slice_str(id), row->action, slice_str(row->topic), cut, sizeof cut);
	assert_int_equal(strlen(cut), strlen(row->said) < 9 ? strlen(row->said) : 9);
}

static void
lines_of_an_acl_file(void **state)
{
	static const struct row rows[] = {
		{ NULL, AUTHZ_PUBLISH, "open/x", "refused: no ACL rule for an anonymous client matches" },
		{ NULL, AUTHZ_RECEIVE, "open/x", "allowed: line 1: anonymous clients: may subscribe open/#" },
		{ "ann", AUTHZ_PUBLISH, "ann/x", "allowed: line 3: user \"ann\": may publish,subscribe ann/#" },
		{ "ann", AUTHZ_PUBLISH, "ann/no/x", "refused: a deny rule for this user matches the topic; line 4: user \"ann\": may not publish,subscribe ann/no/#" },
		{ "ann", AUTHZ_SUBSCRIBE, "ann/1/#", "allowed: line 3: user \"ann\": may publish,subscribe ann/#" },
		{ "ann", AUTHZ_SUBSCRIBE, "ann/#", "allowed in part (each delivery is judged): line 3: user \"ann\": may publish,subscribe ann/#" },
		{ "ann", AUTHZ_SUBSCRIBE, "#", "allowed in part (each delivery is judged): line 5: everyone: may subscribe all/%u/#" },
		{ "ann", AUTHZ_SUBSCRIBE, "ann/no/1", "refused: a deny rule for this user covers the filter; line 4: user \"ann\": may not publish,subscribe ann/no/#" },
		{ "ann", AUTHZ_SUBSCRIBE, "x/#/y", "refused: not a topic filter" },
		{ "ann", AUTHZ_RECEIVE, "all/ann/x", "allowed: line 5: everyone: may subscribe all/%u/#" },
		{ "bob", AUTHZ_RECEIVE, "all/ann/x", "refused: no ACL rule for this user matches" },
		{ "bob", AUTHZ_CONNECT, "c", "allowed" },
		{ "bob", AUTHZ_UNSUBSCRIBE, "c", "allowed" },
	};
	struct authz_policy *p = test_acl("topic read open/#\nuser ann\ntopic ann/#\ntopic deny ann/no/#\npattern read all/%u/#\n");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct authz_principal *who = test_user(rows[i].user);

		check(p, who, "c", &rows[i]);
		authz_principal_unref(who);
	}
	authz_policy_unref(p);
}

static void
lines_of_a_policy(void **state)
{
	static const struct row rows[] = {
		{ NULL, AUTHZ_CONNECT, "dev", "allowed: line 1: role client: may connect" },
		{ NULL, AUTHZ_CONNECT, "other", "refused: client id must equal the certificate's common name" },
		{ NULL, AUTHZ_PUBLISH, "d/dev/x", "allowed: line 3: role client: may publish,subscribe d/%c/#" },
		{ NULL, AUTHZ_PUBLISH, "d/dev/secret", "refused: a deny rule for role client matches the topic; line 4: role client: may not publish,subscribe d/+/secret" },
		{ NULL, AUTHZ_PUBLISH, "d/two/x", "refused: topic is outside what role client may publish to" },
		{ NULL, AUTHZ_SUBSCRIBE, "d/dev/a", "allowed: line 3: role client: may publish,subscribe d/%c/#" },
		{ NULL, AUTHZ_SUBSCRIBE, "d/dev/#", "refused: filter reaches into what a deny rule keeps from role client; line 4: role client: may not publish,subscribe d/+/secret" },
		{ NULL, AUTHZ_SUBSCRIBE, "d/#", "refused: filter is not wholly inside what role client may subscribe to; line 3: role client: may publish,subscribe d/%c/#" },
		{ NULL, AUTHZ_SUBSCRIBE, "e/#", "refused: filter is outside what role client may subscribe to" },
	};
	struct authz_policy *p = test_policy("connect role client\nclient-id role client equals %u\n"
					     "allow role client publish,subscribe d/%c/#\ndeny role client publish,subscribe d/+/secret\n");
	struct authz_principal *who = test_cert(AUTHZ_ROLE_CLIENT, SL("dev")), *watch = test_cert(AUTHZ_ROLE_WATCH, SL("w")),
			       *cloud = test_cert(AUTHZ_ROLE_CLOUD, SL("dev"));

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(p, who, "dev", &rows[i]);
	check(p, watch, "w", &(struct row){ NULL, AUTHZ_PUBLISH, "d/w", "refused: role watch may not connect" });
	check(p, cloud, "dev", &(struct row){ NULL, AUTHZ_PUBLISH, "d/dev/x", "refused: certificate of the cloud role may not be used by a client" });
	authz_principal_unref(who);
	authz_principal_unref(watch);
	authz_principal_unref(cloud);
	authz_policy_unref(p);
}

static void
no_policy_at_all(void **state)
{
	struct authz_policy *p = authz_policy_open();
	struct authz_principal *who = test_user(NULL);

	(void)state;
	check(p, who, "c", &(struct row){ NULL, AUTHZ_PUBLISH, "x", "allowed: there is no policy, so everybody may do everything" });
	check(p, who, "c", &(struct row){ NULL, AUTHZ_SUBSCRIBE, "#", "allowed: there is no policy, so everybody may do everything" });
	authz_principal_unref(who);
	authz_policy_unref(p);
}

struct heard {
	char text[600];
};

static void
hear(void *ctx, const struct authz_change *c)
{
	static const char *const names[] = { [AUTHZ_CONNECT] = "connect", [AUTHZ_PUBLISH] = "publish", [AUTHZ_RECEIVE] = "receive" };
	struct heard *h = ctx;
	size_t n = strlen(h->text);

	(void)snprintf(h->text + n, sizeof h->text - n, "%s%s %.*s;", c->lost ? "-" : "+", names[c->action], (int)c->topic.n, (const char *)c->topic.p);
}

/* What one client would gain and lose. */
static void
differences(void **state)
{
	static const struct {
		const char *from, *to, *said; /* NULL: open */
	} asked[] = {
		{ "user ann\ntopic a/#\n", "user ann\ntopic a/#\n", "" },
		{ "user ann\ntopic a/#\n", "user bob\ntopic a/#\n", "-publish a/#;-receive a/#;" },
		{ "user ann\ntopic a/#\n", "user ann\ntopic read a/#\n", "-publish a/#;" },
		{ "user ann\ntopic read a/#\n", "user ann\ntopic read a/#\ntopic write b\n", "+publish b;" },
		{ "user ann\ntopic a/#\n", "user ann\ntopic a/#\ntopic deny a/x\n", "-publish a/#;-receive a/#;-publish a/x;-receive a/x;" },
		{ "user ann\ntopic a/#\ntopic a/b\n", "user ann\ntopic a/#\n", "" },
		{ "pattern read %c/%u\n", "pattern read %u/%c\n", "-receive c/ann;+receive ann/c;" },
		{ NULL, "user ann\ntopic read #\n", "-publish #;" },
		{ NULL, "user bob\ntopic #\n", "-publish #;-receive #;" },
		{ "user bob\ntopic #\n", NULL, "+publish #;+receive #;" },
		{ NULL, NULL, "" },
	};
	struct authz_principal *who = test_user("ann");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
		struct authz_policy *from = asked[i].from != NULL ? test_acl(asked[i].from) : authz_policy_open();
		struct authz_policy *to = asked[i].to != NULL ? test_acl(asked[i].to) : authz_policy_open();
		struct heard h = { "" };

		authz_compare(&(struct authz_comparison){ from, to, who, SL("c"), hear, &h });
		assert_string_equal(h.text, asked[i].said);
		authz_policy_unref(from);
		authz_policy_unref(to);
	}
	authz_principal_unref(who);
}

static void
who_may_not_come_any_more(void **state)
{
	struct authz_policy *from = test_policy("connect role client\nallow role client publish a/#\n");
	struct authz_policy *to = test_policy("connect role watch\nallow role client publish b/#\n");
	struct authz_principal *who = test_cert(AUTHZ_ROLE_CLIENT, SL("dev"));
	struct heard h = { "" };

	(void)state;
	authz_compare(&(struct authz_comparison){ from, to, who, SL("dev"), hear, &h });
	assert_string_equal(h.text, "-connect dev;");
	authz_policy_unref(from);
	authz_policy_unref(to);
	authz_principal_unref(who);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_an_acl_file),
		cmocka_unit_test(lines_of_a_policy),
		cmocka_unit_test(no_policy_at_all),
		cmocka_unit_test(differences),
		cmocka_unit_test(who_may_not_come_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
