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
		{ NULL, AUTHZ_CONNECT, "other", "refused: client id must equal the certificate's common name; line 2: role client: client-id equals %u" },
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

/* With the line that is said behind the policy's text, it is otherwise; without one there is a reason for it. */
static void
what_would_change_it(void **state)
{
	static const char site[] = "connect role client\nclient-id role client equals %u\nallow role client publish,subscribe d/%u/#\n"
				   "deny role client publish d/+/no\nsubscribe overlap\n";
	static const char acl[] = "topic read open\nuser ann\ntopic ann/#\n";
	static const struct {
		const char *acl, *user, *cn; /* user NULL: a certificate; both NULL: anonymous */
		enum authz_role role;
		enum authz_action action;
		const char *topic;
		unsigned line;
		const char *fix, *remedy; /* fix "": none */
	} rows[] = {
		{ NULL, NULL, "dev", AUTHZ_ROLE_CLIENT, AUTHZ_PUBLISH, "d/dev/x", 3, "deny role client user dev publish d/dev/x", "to forbid it add the line below to test" },
		{ NULL, NULL, "dev", AUTHZ_ROLE_CLIENT, AUTHZ_PUBLISH, "e/100%", 0, "allow role client user dev publish e/100%%", "to allow it add" },
		{ NULL, NULL, "dev", AUTHZ_ROLE_CLIENT, AUTHZ_PUBLISH, "d/dev/no", 4, "", "narrow or remove line 4 of test" },
		{ NULL, NULL, "a b", AUTHZ_ROLE_CLIENT, AUTHZ_RECEIVE, "e", 0, "allow role client user \"a b\" subscribe e", "to allow it add" },
		{ NULL, NULL, "dev", AUTHZ_ROLE_CLIENT, AUTHZ_SUBSCRIBE, "e/#", 0, "allow role client user dev subscribe e/#", "to allow it add" },
		{ NULL, NULL, "dev", AUTHZ_ROLE_WATCH, AUTHZ_PUBLISH, "e", 0, "connect role watch user dev", "to allow it add" },
		{ NULL, NULL, "q\"t", AUTHZ_ROLE_CLIENT, AUTHZ_PUBLISH, "e", 0, "allow role client publish e", "to allow it add" },
		{ NULL, NULL, "dev", AUTHZ_ROLE_CLOUD, AUTHZ_PUBLISH, "d/dev/x", 0, "", "another CA" },
		{ NULL, NULL, "dev", AUTHZ_ROLE_CLIENT, AUTHZ_PUBLISH, "$signet/renew/other/request", 0, "", "" },
		{ NULL, "ann", NULL, AUTHZ_ROLE_NONE, AUTHZ_CONNECT, "ann", 0, "connect user ann", "to allow it add" },
		{ acl, "ann", NULL, AUTHZ_ROLE_NONE, AUTHZ_PUBLISH, "ann/x", 3, "user ann\ntopic deny ann/x", "to forbid it add the lines below to acl" },
		{ acl, "bob", NULL, AUTHZ_ROLE_NONE, AUTHZ_PUBLISH, "50%", 0, "user bob\ntopic write 50%", "to allow it add" },
		{ acl, "bob", NULL, AUTHZ_ROLE_NONE, AUTHZ_SUBSCRIBE, "x/#", 0, "user bob\ntopic read x/#", "to allow it add" },
		{ acl, NULL, NULL, AUTHZ_ROLE_NONE, AUTHZ_PUBLISH, "x", 0, "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *text = rows[i].acl != NULL ? rows[i].acl : site, *id = rows[i].cn != NULL ? rows[i].cn : "ann";
		struct authz_policy *p = rows[i].acl != NULL ? test_acl(text) : test_policy(text);
		struct authz_principal *who = rows[i].cn != NULL ? test_cert(rows[i].role, slice_str(rows[i].cn)) : test_user(rows[i].user);
		struct authz_reason r, after;
		char more[2000];

		authz_reason(p, who, slice_str(id), rows[i].action, slice_str(rows[i].topic), &r);
		assert_string_equal(r.fix, rows[i].fix);
		assert_int_equal(r.line, rows[i].line);
		assert_string_equal(r.source, r.line == 0 ? "" : rows[i].acl != NULL ? "acl" : "test");
		assert_non_null(strstr(r.remedy, rows[i].remedy));
		assert_true(rows[i].remedy[0] != '\0' || r.remedy[0] == '\0');
		authz_policy_unref(p);
		if (r.fix[0] != '\0') {
			(void)snprintf(more, sizeof more, "%s%s\n", text, r.fix);
			p = rows[i].acl != NULL ? test_acl(more) : test_policy(more);
			authz_reason(p, who, slice_str(id), rows[i].action, slice_str(rows[i].topic), &after);
			/* A right to connect is the first of two lines. */
			if (strncmp(r.fix, "connect", 7) == 0 && rows[i].action != AUTHZ_CONNECT)
				assert_non_null(strstr(after.fix, "allow role"));
			else
				assert_int_equal(after.allowed, !r.allowed);
			authz_policy_unref(p);
		}
		authz_principal_unref(who);
	}
}

struct told_places {
	char text[800];
};

static void
note_place(void *ctx, const struct authz_told *t)
{
	struct told_places *h = ctx;
	size_t n = strlen(h->text);

	if (t->line > 0)
		(void)snprintf(h->text + n, sizeof h->text - n, "%s:%u ", t->source, t->line);
}

/* Each rule says where it stands, also one of a policy that is used; and where a whole policy came from is known. */
static void
places_of_rules(void **state)
{
	static const char text[] = "define prefix a\nallow everyone publish x\nuse dojot\n";
	struct authz_policy *p = test_policy(text);
	struct authz_principal *who = test_cert(AUTHZ_ROLE_CONTROL, SL("ctl"));
	struct told_places h = { "" };
	struct authz_reason r;

	(void)state;
	authz_policy_tell(p, note_place, &h);
	assert_non_null(strstr(h.text, "test:2 dojot:"));
	authz_reason(p, who, SL("ctl"), AUTHZ_PUBLISH, SL("z"), &r);
	assert_true(r.allowed && r.line > 0);
	assert_string_equal(r.source, "dojot");
	assert_string_equal(authz_policy_source(p), "test");
	assert_true(slice_eq(authz_policy_text(p), slice_str(text)) && authz_policy_kind(p) == AUTHZ_KIND_ROLES);
	assert_true(authz_policy_weight(p, who) > 3);
	authz_principal_unref(who);
	authz_policy_unref(p);
	p = authz_policy_open();
	assert_string_equal(authz_policy_source(p), "");
	assert_null(authz_policy_text(p).p);
	authz_policy_unref(p);
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
		cmocka_unit_test(what_would_change_it),
		cmocka_unit_test(places_of_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
