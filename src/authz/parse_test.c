/* Policy and ACL files as text: the grammar, every mistake with its line, every truncation, and
 * what is said about them. */
#include "authz/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/num.h"

typedef struct authz_policy *parser(struct slice text, const char *name, struct err *err);

/* ---- allocation failure ---- */

static int fail_after = -1; /* counts down; the test's own, one thread */

static bool
fails_now(void)
{
	return fail_after >= 0 && fail_after-- == 0;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *
__wrap_malloc(size_t n)
{
	return fails_now() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t n)
{
	return fails_now() ? NULL : __real_realloc(p, n);
}

void *
__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails_now() ? NULL : __real_reallocarray(p, n, size);
}

static void
out_of_memory(parser *parse, struct slice text)
{
	struct authz_policy *p = NULL;
	int n = 0;

	while (p == NULL) {
		struct err err = { 0 };

		fail_after = n++;
		p = parse(text, "f", &err);
		fail_after = -1;
		if (p == NULL)
			assert_int_equal(err.code, ERR_MEMORY);
		assert_true(n < 1000);
	}
	assert_true(n > 5);
	authz_policy_unref(p);
}

static void
memory_runs_out(void **state)
{
	struct authz_facts f = { .cn = SL("x") };
	struct authz_principal *p;

	(void)state;
	out_of_memory(authz_policy_parse,
	    SL("define prefix x\nuse springcore\nallow user \"a b\" publish c\n"));
	out_of_memory(authz_policy_parse_acl, SL("topic a\nuser b\ntopic c\nuser d\npattern %u\n"));
	fail_after = 0;
	assert_null(authz_principal_new(&f));
	fail_after = 1; /* the one that only gives memory back */
	p = authz_principal_new(&f);
	fail_after = -1;
	assert_non_null(p);
	authz_principal_unref(p);
}

/* ---- mistakes ---- */

static void
mistakes(parser *parse, const char *const (*cases)[2], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct err err = { 0 };

		if (parse(slice_str(cases[i][0]), "f", &err) != NULL)
			fail_msg("case %zu was accepted: %s", i, cases[i][0]);
		assert_string_equal(err.text, cases[i][1]);
		assert_int_equal(err.code, ERR_INPUT);
		/* Nobody has to want the words. */
		assert_null(parse(slice_str(cases[i][0]), "f", NULL));
	}
}

#define SELECTOR_WORDS "expected role, user, anonymous or everyone"
#define ROLE_WORDS "expected client, watch, control or none, with commas between several"
#define FILTER_WORDS                                                                               \
	"expected a topic filter: '+' and '#' only as whole levels, '#' only as the last"
#define VAR_WORDS "expected one of %c %u %t %d %p %% behind the '%'"
#define PREFIX_WORDS                                                                               \
	"expected the first levels of a topic, without wildcards, '%', '$' in front and '/' "      \
	"behind"
#define TENANT_WORDS "expected a tenant's name: letters, digits and '_', at most 128"
#define SET_WORDS "is set already (what a used policy shall not decide is set before `use`)"

static void
policy_mistakes(void **state)
{
	static const char *const cases[][2] = {
		{ "alow role client publish x", "f:1: \"alow\": expected connect, client-id, "
						"allow, deny, define, subscribe, tenant or use" },
		{ "# c\r\n\r\n\tconnect",
		    "f:3: the line ends where role, user, anonymous or everyone is expected" },
		{ "connect client", "f:1: \"client\": " SELECTOR_WORDS },
		{ "connect role", "f:1: the line ends where client, watch, control or none, with "
				  "commas between several is "
				  "expected" },
		{ "connect role client,",
		    "f:1: the line ends where client, watch, control or none, with commas between "
		    "several is expected" },
		{ "connect role client, watch",
		    "f:1: the line ends where client, watch, control or none, with commas "
		    "between several is expected" },
		{ "connect role Client", "f:1: \"Client\": " ROLE_WORDS },
		{ "connect role cloud",
		    "f:1: \"cloud\": expected a role that may connect (cloud is for servers)" },
		{ "connect role client now", "f:1: \"now\": expected the end of the line" },
		{ "connect user", "f:1: the line ends where a user name is expected" },
		{ "connect user \"\"", "f:1: the line ends where a user name is expected" },
		{ "connect user \"a b", "f:1: \"a b\": expected a '\"' behind the name" },
		{ "connect user \"a\"b", "f:1: \"b\": expected a blank behind the name" },
		{ "allow role client", "f:1: the line ends where publish, subscribe or "
				       "publish,subscribe is expected" },
		{ "allow role client read x",
		    "f:1: \"read\": expected publish, subscribe or publish,subscribe" },
		{ "allow role client publish",
		    "f:1: the line ends where a topic filter is expected" },
		{ "allow role client publish a/#/b", "f:1: \"a/#/b\": " FILTER_WORDS },
		{ "allow role client publish a+/b", "f:1: \"a+/b\": " FILTER_WORDS },
		{ "allow role client publish %u#", "f:1: \"%u#\": " FILTER_WORDS },
		{ "allow role client publish a/%x", "f:1: \"a/%x\": " VAR_WORDS },
		{ "allow role client publish a/%U", "f:1: \"a/%U\": " VAR_WORDS },
		{ "allow role client publish a/%/b", "f:1: \"a/%/b\": " VAR_WORDS },
		{ "allow role client publish a/%",
		    "f:1: \"a/%\": expected one of %c %u %t %d %p %% at the end" },
		{ "allow role client publish %p/a",
		    "f:1: \"%p/a\": %p needs a line `define prefix \xe2\x80\xa6` before it" },
		{ "\nallow role client publish /%t\nconnect role client",
		    "f:2: %t and %d need a line `client-id role client tenant:device`" },
		{ "client-id role client tenant:device\nallow role client,watch publish /%d",
		    "f:2: %t and %d need a line `client-id role watch tenant:device`" },
		{ "allow role client subscribe $share/g/x",
		    "f:1: \"$share/g/x\": expected the filter itself, which $share/NAME/ is not "
		    "part of" },
		{ "client-id role client",
		    "f:1: the line ends where any, equals %u or tenant:device is expected" },
		{ "client-id role client equals %c", "f:1: \"%c\": expected %u" },
		{ "client-id role client tenant",
		    "f:1: \"tenant\": expected any, equals %u or tenant:device" },
		{ "client-id role client any way", "f:1: \"way\": expected the end of the line" },
		{ "client-id user x any",
		    "f:1: \"client-id\": expected role or everyone behind it, not a single user" },
		{ "client-id role client any\nclient-id role watch,client any",
		    "f:2: the client id of role client " SET_WORDS },
		{ "define prefix a\ndefine prefix a", "f:2: the prefix " SET_WORDS },
		{ "use springcore\ndefine prefix a", "f:2: the prefix " SET_WORDS },
		{ "use dojot\nclient-id role client any",
		    "f:2: the client id of role client " SET_WORDS },
		{ "define suffix a", "f:1: \"suffix\": expected prefix" },
		{ "define prefix a/", "f:1: \"a/\": " PREFIX_WORDS },
		{ "define prefix a/#", "f:1: \"a/#\": " PREFIX_WORDS },
		{ "define prefix %u", "f:1: \"%u\": " PREFIX_WORDS },
		{ "define prefix $SYS", "f:1: \"$SYS\": " PREFIX_WORDS },
		{ "tenant a:b", "f:1: \"a:b\": " TENANT_WORDS },
		{ "tenant a\ntenant b", "f:2: the tenant " SET_WORDS },
		{ "subscribe loose", "f:1: \"loose\": expected strict or overlap" },
		{ "subscribe strict\nsubscribe strict", "f:2: subscribe " SET_WORDS },
		{ "use mine", "f:1: \"mine\": expected springcore or dojot" },
		{ "use", "f:1: the line ends where springcore or dojot is expected" },
		{ "use dojot\nuse springcore", "f:2: a policy can use one other, once" },
		{ "# ok\n\xff", "f:2: the line is not UTF-8, as topics and names have to be" },
		{ "\x1b[2J", "f:1: \"\\x1b[2J\": expected connect, client-id, allow, deny, define, "
			     "subscribe, tenant or use" },
	};

	(void)state;
	mistakes(authz_policy_parse, cases, ARRAY_LEN(cases));
}

#define ACL_WORDS "expected user, topic or pattern"

static void
acl_mistakes(void **state)
{
	static const char *const cases[][2] = {
		{ "topics a", "f:1: \"topics\" is not known here: " ACL_WORDS },
		{ "\n\nTopic a", "f:3: \"Topic\" is not known here: " ACL_WORDS },
		{ "connect role client", "f:1: \"connect\" is not known here: " ACL_WORDS },
		{ "topic", "f:1: expected a topic filter at the end" },
		{ "pattern   ", "f:1: expected a topic filter at the end" },
		{ "user", "f:1: expected a user name behind \"user\"" },
		{ "topic raed a", "f:1: \"raed\" is not an access: expected read, write, readwrite "
				  "or deny before a topic "
				  "with blanks" },
		{ "topic read a/#/b", "f:1: \"a/#/b\": " FILTER_WORDS },
		{ "pattern read a/%u+", "f:1: \"a/%u+\": " FILTER_WORDS },
		{ "user a\ntopic a\xc0",
		    "f:2: the line is not UTF-8, as topics and names have to be" },
	};

	(void)state;
	mistakes(authz_policy_parse_acl, cases, ARRAY_LEN(cases));
}

static void
nul_and_long_lines(void **state)
{
	static parser *const parsers[] = { authz_policy_parse, authz_policy_parse_acl };
	char line[1030] = "#";
	struct err err;

	(void)state;
	memset(line + 1, 'x', sizeof line - 1);
	for (size_t i = 0; i < ARRAY_LEN(parsers); i++) {
		struct authz_policy *p = parsers[i](slice_of(line, 1024), "f", &err);

		assert_non_null(p);
		authz_policy_unref(p);
		assert_null(parsers[i](slice_of(line, 1025), "f", &err));
		assert_string_equal(err.text, "f:1: the line is longer than 1,024 bytes");
		assert_null(parsers[i](SL("# a\n# b\0c\n"), "f", &err));
		assert_string_equal(
		    err.text, "f:2: the line holds a NUL byte: is this a text file?");
	}
}

static void
prefix_too_long(void **state)
{
	char text[1100];
	struct err err = { 0 };
	int n =
	    snprintf(text, sizeof text, "define prefix %01000d\nallow everyone publish %%p/%%p", 1);

	(void)state;
	assert_null(authz_policy_parse(slice_of(text, (size_t)n), "f", &err));
	assert_string_equal(err.text, "f:2: \"%p/%p\": the topic is longer than 1,024 bytes");
}

/* ---- truncation ---- */

static void
truncate_all(parser *parse, struct slice text)
{
	for (size_t n = 0; n <= text.n; n++) {
		/* Its own memory, so that a read past the end is seen. */
		uint8_t *copy = malloc(n > 0 ? n : 1);
		struct err err = { 0 };
		struct authz_policy *p;
		unsigned line;

		assert_non_null(copy);
		memcpy(copy, text.p, n);
		p = parse(slice_of(copy, n), "f", &err);
		free(copy);
		if (p == NULL) {
			assert_int_equal(sscanf(err.text, "f:%u: ", &line), 1);
			assert_true(line >= 1);
		}
		authz_policy_unref(p);
	}
}

static void
truncations(void **state)
{
	(void)state;
	truncate_all(authz_policy_parse, authz_policy_builtin("springcore"));
	truncate_all(authz_policy_parse, authz_policy_builtin("dojot"));
	truncate_all(authz_policy_parse,
	    SL("\xef\xbb\xbf# c\r\ndefine prefix a/b\r\ntenant t\nsubscribe overlap\nuse dojot\n"
	       "connect user \"a b\"\nconnect anonymous\nconnect everyone\nclient-id role none "
	       "any\n"
	       "allow role none user \"a b\" publish,subscribe %p/%u/x%%y/+/#\ndeny everyone "
	       "subscribe x y\n"));
	truncate_all(authz_policy_parse_acl, SL("# c\r\ntopic read a/#\r\nuser a b\ntopic deny x "
						"y\npattern readwrite %u/%c/+\n\ttopic write #"));
}

/* ---- meaning ---- */

static void
builtins(void **state)
{
	static const char *const names[] = { "springcore", "dojot" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct authz_policy *p = test_builtin(names[i]);

		assert_true(slice_starts(authz_policy_builtin(names[i]), SL("# ")));
		assert_ptr_equal(authz_policy_ref(p), p);
		authz_policy_unref(p);
		authz_policy_unref(p);
	}
	assert_null(authz_policy_builtin("").p);
	assert_null(authz_policy_builtin("springcore.policy").p);
	authz_policy_unref(NULL);
}

/* Policies beyond the ready-made ones: who is meant by what. */
static void
selectors(void **state)
{
	static const char text[] = "connect everyone\n"
				   "allow everyone subscribe news/%%/#\n"
				   "allow anonymous publish box\n"
				   "allow user \"a b\" publish,subscribe ab\n"
				   "allow role client user dev1 publish extra/%c\n"
				   "allow role none,watch subscribe nw\n"
				   "deny user bad subscribe news/%%/x\n";
	struct authz_principal *anon = test_user(NULL), *ab = test_user("a b"),
			       *bad = test_user("bad");
	struct authz_principal *dev1 = test_cert(AUTHZ_ROLE_CLIENT, SL("dev1"));
	struct authz_principal *dev2 = test_cert(AUTHZ_ROLE_CLIENT, SL("dev2"));
	struct authz_principal *fake = test_cert(AUTHZ_ROLE_CLIENT, SL("a b"));
	struct authz_principal *watch1 = test_cert(AUTHZ_ROLE_WATCH, SL("dev1"));
	struct authz_principal *cert = test_cert(AUTHZ_ROLE_NONE, SL("x"));
	const struct {
		const struct authz_principal *who;
		enum authz_action action;
		const char *topic;
		bool may;
	} cases[] = {
		{ anon, AUTHZ_SUBSCRIBE, "news/%/#", true },
		{ anon, AUTHZ_PUBLISH, "box", true },
		{ ab, AUTHZ_PUBLISH, "box", false },
		{ cert, AUTHZ_PUBLISH, "box", false }, /* has a certificate, so not anonymous */
		{ ab, AUTHZ_PUBLISH, "ab", true },
		{ fake, AUTHZ_PUBLISH, "ab",
		    false }, /* a name in a certificate is not the user with the password */
		{ dev1, AUTHZ_PUBLISH, "extra/id", true },
		{ dev2, AUTHZ_PUBLISH, "extra/id", false },
		{ watch1, AUTHZ_PUBLISH, "extra/id", false },
		{ watch1, AUTHZ_SUBSCRIBE, "nw", true },
		{ anon, AUTHZ_SUBSCRIBE, "nw", true },
		{ dev1, AUTHZ_SUBSCRIBE, "nw", false },
		{ bad, AUTHZ_RECEIVE, "news/%/x", false },
		{ bad, AUTHZ_RECEIVE, "news/%/y", true },
		{ bad, AUTHZ_SUBSCRIBE, "news/%/#", false },
		{ ab, AUTHZ_SUBSCRIBE, "news/%/#", true },
	};
	struct authz_policy *p = test_policy(text);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct authz_verdict v;

		if (authz_allowed(p, cases[i].who, SL("id"), cases[i].action,
			slice_str(cases[i].topic), &v) != cases[i].may)
			fail_msg("case %zu: %s", i, v.why);
	}
	authz_principal_unref(anon);
	authz_principal_unref(ab);
	authz_principal_unref(bad);
	authz_principal_unref(dev1);
	authz_principal_unref(dev2);
	authz_principal_unref(fake);
	authz_principal_unref(watch1);
	authz_principal_unref(cert);
	authz_policy_unref(p);
}

static void
password_users_connect(void **state)
{
	struct authz_policy *p = test_policy(
	    "connect user \"a b\"\nclient-id everyone equals %u\nallow role none publish u/%u\n");
	struct authz_principal *ab = test_user("a b"), *c = test_user("c"), *anon = test_user(NULL);
	struct authz_verdict v;

	(void)state;
	assert_true(authz_allowed(p, ab, SL(""), AUTHZ_CONNECT, SL("a b"), &v));
	assert_true(authz_allowed(p, ab, SL("a b"), AUTHZ_PUBLISH, SL("u/a b"), &v));
	assert_false(authz_allowed(p, ab, SL(""), AUTHZ_CONNECT, SL("a"), &v));
	assert_string_equal(v.why, "client id must equal the user name");
	assert_false(authz_allowed(p, c, SL(""), AUTHZ_CONNECT, SL("c"), &v));
	assert_string_equal(
	    v.why, "no certificate, and no rule of the policy lets this user connect without one");
	assert_false(authz_allowed(p, anon, SL(""), AUTHZ_CONNECT, SL("a b"), &v));
	authz_principal_unref(ab);
	authz_principal_unref(c);
	authz_principal_unref(anon);
	authz_policy_unref(p);
}

static void
overlap_option(void **state)
{
	struct authz_policy *p = test_policy(
	    "subscribe overlap\nuse springcore\ndeny role client subscribe %p/%u/secret\n");
	struct authz_principal *who = test_cert(AUTHZ_ROLE_CLIENT, SL("d"));
	struct authz_verdict v;

	(void)state;
	assert_true(authz_allowed(p, who, SL("d"), AUTHZ_SUBSCRIBE, SL("#"), &v));
	assert_false(v.whole);
	assert_true(
	    authz_allowed(p, who, SL("d"), AUTHZ_SUBSCRIBE, SL("springcard/springcore/d/#"), &v));
	assert_false(v.whole);
	assert_true(
	    authz_allowed(p, who, SL("d"), AUTHZ_SUBSCRIBE, SL("springcard/springcore/d/x"), &v));
	assert_true(v.whole);
	assert_false(authz_allowed(
	    p, who, SL("d"), AUTHZ_SUBSCRIBE, SL("springcard/springcore/d/secret"), &v));
	assert_false(authz_allowed(p, who, SL("d"), AUTHZ_SUBSCRIBE, SL("x/#"), &v));
	assert_false(
	    authz_allowed(p, who, SL("d"), AUTHZ_RECEIVE, SL("springcard/springcore/e/x"), &v));
	authz_principal_unref(who);
	authz_policy_unref(p);
}

/* ---- describe ---- */

struct story {
	char text[4096];
	size_t n;
};

static void
collect(void *ctx, const char *line)
{
	struct story *s = ctx;
	int n = snprintf(s->text + s->n, sizeof s->text - s->n, "%s\n", line);

	assert_true(n > 0 && (size_t)n < sizeof s->text - s->n);
	s->n += (size_t)n;
}

static void
describe(void **state)
{
	static const char head[] = "certificates of the cloud role may not connect\n";
	struct story s = { 0 };
	struct authz_policy *p = authz_policy_open();

	(void)state;
	assert_non_null(p);
	authz_policy_describe(p, collect, &s);
	assert_string_equal(
	    s.text, "certificates of the cloud role may not connect\neverything else is allowed\n");
	authz_policy_unref(p);
	s.n = 0;
	p = test_policy("tenant t\nuse dojot\nconnect anonymous\nconnect user \"a b\"\n"
			"deny role watch user x publish a%%/#\nallow everyone subscribe +\n");
	authz_policy_describe(p, collect, &s);
	assert_true(slice_starts(slice_of(s.text, s.n), SL(head)));
	assert_non_null(strstr(s.text,
	    "\nrole client: client id is tenant:device and must equal the certificate's common "
	    "name\nrole watch: client id must equal the certificate's common name\n"));
	assert_non_null(strstr(s.text, "\na common name without tenant belongs to tenant t\n"));
	assert_non_null(strstr(s.text, "\nrole client,watch,control: may connect\n"));
	assert_non_null(strstr(s.text, "\nrole client: may publish /%t/%d/attrs\n"));
	assert_non_null(
	    strstr(s.text, "\nanonymous clients: may connect\nuser \"a b\": may connect\n"));
	assert_non_null(strstr(
	    s.text, "\nrole watch user \"x\": may not publish a%%/#\neveryone: may subscribe +\n"));
	assert_non_null(
	    strstr(s.text, "\na filter that reaches beyond what is allowed is refused\n"));
	authz_policy_unref(p);
	s.n = 0;
	p = test_acl("topic read a\nuser r\ntopic deny b\npattern %u/%x\n");
	authz_policy_describe(p, collect, &s);
	assert_non_null(strstr(s.text,
	    "\neverybody else may connect\nanonymous clients: may subscribe a\n"
	    "user \"r\": may not publish,subscribe b\neveryone: may publish,subscribe %u/%x\n"));
	authz_policy_unref(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_runs_out),
		cmocka_unit_test(policy_mistakes),
		cmocka_unit_test(acl_mistakes),
		cmocka_unit_test(nul_and_long_lines),
		cmocka_unit_test(prefix_too_long),
		cmocka_unit_test(truncations),
		cmocka_unit_test(builtins),
		cmocka_unit_test(selectors),
		cmocka_unit_test(password_users_connect),
		cmocka_unit_test(overlap_option),
		cmocka_unit_test(describe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
