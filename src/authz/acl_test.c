/* mosquitto's acl_file: what its grammar means, and the flaws it once had. */
#include "authz/testing.h"

#include <stdio.h>
#include "topic/topic.h"

enum { P = 1, R = 2, S = 4, WHOLE = 8 }; /* S without WHOLE: deliveries are judged one by one */

struct ask {
	const char *user; /* NULL: anonymous */
	const char *id, *topic;
	unsigned may;
};

static void
ask_all(const struct authz_policy *p, const struct ask *a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct authz_principal *who = test_user(a[i].user);
		struct slice id = slice_str(a[i].id), topic = slice_str(a[i].topic);
		struct authz_verdict v;
		unsigned may = 0;

		assert_true(authz_allowed(p, who, id, AUTHZ_CONNECT, id, &v));
		if (topic_name_ok(topic)) {
			may |= authz_allowed(p, who, id, AUTHZ_PUBLISH, topic, &v) ? P : 0u;
			may |= authz_allowed(p, who, id, AUTHZ_RECEIVE, topic, &v) ? R : 0u;
		}
		may |= authz_allowed(p, who, id, AUTHZ_SUBSCRIBE, topic, &v) ? S : 0u;
		may |= v.whole ? WHOLE : 0u;
		if (may != a[i].may)
			fail_msg("case %zu: %s/%s %s: got %u, expected %u (%s)", i,
			    a[i].user != NULL ? a[i].user : "-", a[i].id, a[i].topic, may, a[i].may,
			    v.why);
		authz_principal_unref(who);
	}
}

#define ASK_ALL(p, cases) ask_all((p), (cases), sizeof(cases) / sizeof(cases)[0])
#define RW (P | R | S | WHOLE)
#define RO (R | S | WHOLE)

static void
topics_and_users(void **state)
{
	static const char text[] = "# anonymous clients only\r\n"
				   "topic read public/#\r\n"
				   "topic write in/anon\r\n"
				   "\r\n"
				   "  user roger\r\n"
				   "\ttopic foo/bar  \r\n"
				   "topic readwrite with blank/x y\n"
				   "topic deny public/secret\n"
				   "topic read public/#\n"
				   "user two words\n"
				   "topic write a/+/c\n"
				   "topic read\n"
				   "user roger\n"
				   "topic read later\n"
				   "topic literal/%u";
	static const struct ask cases[] = {
		{ NULL, "c", "public/x", RO },
		{ NULL, "c", "public", RO },
		{ NULL, "c", "public/#", S | WHOLE },
		{ NULL, "c", "in/anon", P },
		{ NULL, "c", "foo/bar", 0 },
		{ "", "c", "public/x", 0 },
		{ "roger", "c", "in/anon", 0 },
		{ "roger", "c", "foo/bar", RW },
		{ "roger", "c", "foo/bar/x", 0 },
		{ "roger", "c", "with blank/x y", RW },
		{ "roger", "c", "public/x", RO },
		{ "roger", "c", "public/secret", 0 },
		{ "roger", "c", "public/#", S },
		{ "roger", "c", "public/+", S },
		{ "roger", "c", "#", S },
		{ "roger", "c", "other/#", 0 },
		{ "roger", "c", "later", RO },
		{ "roger", "c", "literal/%u", RW },
		{ "roger", "c", "literal/roger", 0 },
		{ "Roger", "c", "foo/bar", 0 },
		{ "rogers", "c", "foo/bar", 0 },
		{ "two words", "c", "a/b/c", P },
		{ "two words", "c", "a/b/c/d", 0 },
		{ "two words", "c", "a/b", 0 },
		{ "two words", "c", "read", RW },
		{ "two", "c", "a/b/c", 0 },
		{ "mallory", "c", "public/x", 0 },
	};
	struct authz_policy *p = test_acl(text);

	(void)state;
	ASK_ALL(p, cases);
	authz_policy_unref(p);
}

static void
patterns(void **state)
{
	static const char text[] = "pattern write sensor/%u/data\n"
				   "pattern read cmd/%c/#\n"
				   "pattern readwrite pre-%u-x/%c\n"
				   "pattern 100%/%u\n"
				   "pattern %u/own/#\n"
				   "pattern deny deny/%u/#\n"
				   "pattern deny/#\n";
	static const struct ask cases[] = {
		{ "u", "c", "sensor/u/data", P },
		{ "u", "c", "sensor/c/data", 0 },
		{ "u", "c", "sensor/ux/data", 0 },
		{ "u", "c", "sensor/u/x/data", 0 },
		{ "u", "c", "cmd/c/1", RO },
		{ "u", "c", "cmd/c", RO },
		{ "u", "c", "cmd/cc/1", 0 },
		{ "u", "c", "cmd/+/1", S },
		{ "u", "c", "pre-u-x/c", RW },
		{ "u", "c", "pre-u-y/c", 0 },
		{ "u", "c", "100%/u", RW },
		{ "u", "c", "u/own/thing", RW },
		{ "u", "c", "deny/u/x", 0 },
		{ "u", "c", "deny/u/#", 0 },
		{ "u", "c", "deny/v/x", RW },
		{ "u", "c", "deny/#", S },
		/* no user name: what needs one is not for him, the rest is */
		{ NULL, "c", "sensor//data", 0 },
		{ NULL, "c", "cmd/c/1", RO },
		{ NULL, "c", "/own/thing", 0 },
		{ NULL, "c", "deny/x", RW },
		/* CVE-2017-7650: names that would be wildcards or levels */
		{ "+", "c", "sensor/x/data", 0 },
		{ "+", "c", "sensor/+/data", 0 },
		{ "#", "c", "x/own/y", 0 },
		{ "#", "c", "#", S }, /* for cmd/c/# and deny/# alone */
		{ "u", "+", "cmd/x/1", 0 },
		{ "u", "#", "cmd/x/1", 0 },
		{ "u", "#", "cmd/#", 0 },
		{ "u", "c/1", "cmd/c/1", 0 },
		{ "a/own", "c", "a/own/own/x", 0 },
		{ "x/y", "c", "sensor/x/y/data", 0 },
		{ "u", "", "cmd//1", 0 },
		/* a user name is no way to the broker's own topics */
		{ "$SYS", "c", "$SYS/own/x", 0 },
		{ "$SYS", "c", "$SYS/#", 0 },
		/* nor a way around what is denied */
		{ "a/b", "c", "deny/a/b/x", S },
		{ "a/b", "c", "deny/c", S },
		{ "+", "c", "deny/+", S },
		{ "+", "c", "deny/+/#", S },
		{ "+", "c", "cmd/c/1", R | S }, /* no filter can be compared with "deny/+/#" */
	};
	struct authz_policy *p = test_acl(text);

	(void)state;
	ASK_ALL(p, cases);
	authz_policy_unref(p);
}

/* Wildcards do not reach topics that begin with '$'. */
static void
dollar_topics(void **state)
{
	static const struct ask cases[] = {
		{ NULL, "c", "a", RW },
		{ NULL, "c", "#", S | WHOLE },
		{ NULL, "c", "$SYS/broker/uptime", 0 },
		{ NULL, "c", "$SYS/#", 0 },
		{ "admin", "c", "$SYS/broker/uptime", RO },
		{ "admin", "c", "$SYS/#", S | WHOLE },
		{ "admin", "c", "+/broker/uptime", 0 },
		{ "plus", "c", "$SYS/broker", 0 },
		{ "plus", "c", "x/broker", RW },
	};
	struct authz_policy *p = test_acl(
	    "topic #\nuser admin\ntopic read $SYS/#\nuser plus\ntopic +/broker\n");

	(void)state;
	ASK_ALL(p, cases);
	authz_policy_unref(p);
}

/* CVE-2018-12550: an empty file once allowed everything. */
static void
empty_denies_all(void **state)
{
	static const char *const texts[] = { "", "\n\n", "# only a comment\r\n", "\xef\xbb\xbf",
		"user roger\n" };
	static const struct ask cases[] = {
		{ NULL, "c", "a", 0 },
		{ NULL, "c", "#", 0 },
		{ "roger", "c", "a", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		struct authz_policy *p = test_acl(texts[i]);

		ASK_ALL(p, cases);
		authz_policy_unref(p);
	}
}

static void
reasons(void **state)
{
	struct authz_policy *p = test_acl("topic deny a\ntopic #\nuser roger\ntopic b\n");
	struct authz_policy *empty = test_acl("");
	struct authz_principal *roger = test_user("roger"), *anon = test_user(NULL);
	struct authz_principal *cloud = test_cert(AUTHZ_ROLE_CLOUD, SL("broker"));
	struct authz_policy *open = authz_policy_open();
	struct authz_verdict v;

	(void)state;
	assert_false(authz_allowed(p, roger, SL("c"), AUTHZ_PUBLISH, SL("a"), &v));
	assert_string_equal(v.why, "no ACL rule for this user matches");
	assert_false(authz_allowed(p, anon, SL("c"), AUTHZ_PUBLISH, SL("a"), &v));
	assert_string_equal(v.why, "a deny rule for an anonymous client matches the topic");
	assert_false(authz_allowed(p, anon, SL("c"), AUTHZ_SUBSCRIBE, SL("$SYS/#"), &v));
	assert_string_equal(v.why, "no ACL rule for an anonymous client matches");
	assert_false(authz_allowed(empty, anon, SL("c"), AUTHZ_RECEIVE, SL("a"), &v));
	assert_string_equal(v.why, "the policy has no rules, so nothing is allowed");
	assert_false(authz_allowed(p, cloud, SL("c"), AUTHZ_CONNECT, SL("c"), &v));
	assert_string_equal(v.why, "certificate of the cloud role may not be used by a client");
	assert_non_null(open);
	assert_false(authz_allowed(open, cloud, SL("c"), AUTHZ_CONNECT, SL("c"), &v));
	assert_string_equal(v.why, "certificate of the cloud role may not be used by a client");
	assert_true(authz_allowed(open, anon, SL("c"), AUTHZ_CONNECT, SL(""), &v));
	assert_true(authz_allowed(open, anon, SL("c"), AUTHZ_SUBSCRIBE, SL("#"), &v));
	assert_true(v.whole);
	authz_principal_unref(roger);
	authz_principal_unref(anon);
	authz_principal_unref(cloud);
	authz_policy_unref(p);
	authz_policy_unref(empty);
	authz_policy_unref(open);
}

/* A certificate's CN is the user when the listener says so, with the same care. */
static void
certificate_users(void **state)
{
	struct authz_policy *p = test_acl("user dev1\ntopic a\npattern own/%u/#\n");
	struct authz_principal *dev = test_cert(AUTHZ_ROLE_NONE, SL("dev1"));
	struct authz_principal *bad = test_cert(AUTHZ_ROLE_NONE, SL("+"));
	struct authz_verdict v;

	(void)state;
	assert_true(authz_allowed(p, dev, SL("any"), AUTHZ_CONNECT, SL("any"), &v));
	assert_true(authz_allowed(p, dev, SL("any"), AUTHZ_PUBLISH, SL("a"), &v));
	assert_true(authz_allowed(p, dev, SL("any"), AUTHZ_PUBLISH, SL("own/dev1/x"), &v));
	assert_false(authz_allowed(p, bad, SL("any"), AUTHZ_PUBLISH, SL("own/dev1/x"), &v));
	assert_false(authz_allowed(p, bad, SL("any"), AUTHZ_SUBSCRIBE, SL("own/+/#"), &v));
	authz_principal_unref(dev);
	authz_principal_unref(bad);
	authz_policy_unref(p);
}

/* A value as long as MQTT allows: no rule with it matches a filter, and nothing is written past the
 * end. */
static void
long_values(void **state)
{
	static char id[65536];
	struct authz_policy *p = test_acl("pattern a/%c%c/#\npattern deny d/%c/#\ntopic d/#\n");
	struct authz_principal *anon = test_user(NULL);
	struct authz_verdict v;

	(void)state;
	memset(id, 'x', sizeof id - 1);
	assert_false(authz_allowed(p, anon, slice_str(id), AUTHZ_SUBSCRIBE, SL("a/#"), &v));
	assert_false(authz_allowed(p, anon, slice_str(id), AUTHZ_PUBLISH, SL("a/x"), &v));
	/* A deny rule that cannot be compared leaves nothing unseen. */
	assert_true(authz_allowed(p, anon, slice_str(id), AUTHZ_SUBSCRIBE, SL("d/y"), &v));
	assert_false(v.whole);
	assert_true(authz_allowed(p, anon, SL("x"), AUTHZ_SUBSCRIBE, SL("d/y"), &v));
	assert_true(v.whole);
	authz_principal_unref(anon);
	authz_policy_unref(p);
}

/* ---- what a granted filter promises ---- */

enum { DEPTH = 3, WORDS_MAX = 6 };

/* The <i>-th topic of at most DEPTH levels out of <n> words; false behind the last. */
static bool
nth_topic(const char *const *words, unsigned n, unsigned i, char *out, size_t cap)
{
	unsigned depth = 1, count = n;
	size_t used = 0;

	while (i >= count) {
		i -= count;
		count *= n;
		if (++depth > DEPTH)
			return false;
	}
	for (; depth > 0; depth--, i /= n)
		used += (size_t)snprintf(
		    out + used, cap - used, "%s%s", words[i % n], depth > 1 ? "/" : "");
	return true;
}

static void
filter_keeps_its_promise(const struct authz_policy *p, const struct authz_principal *who,
    struct slice filter, bool strict)
{
	static const char *const words[] = { "a", "b", "", "$x" };
	struct authz_verdict sub, rec;
	char name[64];

	(void)authz_allowed(p, who, SL("b"), AUTHZ_SUBSCRIBE, filter, &sub);
	assert_true(!strict || sub.whole == sub.allowed);
	for (unsigned i = 0; nth_topic(words, 4, i, name, sizeof name); i++) {
		if (name[0] == '\0' || !topic_matches(filter, slice_str(name)))
			continue;
		(void)authz_allowed(p, who, SL("b"), AUTHZ_RECEIVE, slice_str(name), &rec);
		if (sub.whole && !rec.allowed)
			fail_msg("%.*s is granted whole, %s is not", SL_ARG(filter), name);
		if (!sub.allowed && !strict && rec.allowed)
			fail_msg("%.*s is refused, %s is not", SL_ARG(filter), name);
	}
}

/* All filters against all names over a small alphabet: whole means that nothing needs another look,
 * and what is refused would not have had anything to deliver. */
static void
whole_means_whole(void **state)
{
	static const char *const words[] = { "a", "b", "", "$x", "+", "#" };
	static const char *const acls[] = { "topic #\n", "topic a/#\ntopic deny a/b\n",
		"topic +/b\ntopic $x/#\n", "pattern %u/#\n", "pattern +/%c\npattern deny a/%u/+\n",
		"topic /#\npattern deny %u\n", "topic +/+/+\ntopic deny +/b/#\n",
		"topic #\ntopic deny $x/#\ntopic $x/a\n" };
	static const char *const users[] = { NULL, "a", "b", "+", "$x", "a/b" };
	char filter[64], text[200];

	(void)state;
	for (size_t a = 0; a < sizeof acls / sizeof acls[0] * 6; a++) {
		const char *user = users[a % 6];
		struct authz_principal *who = test_user(user);
		struct authz_policy *loose;
		struct authz_policy *strict =
		    test_policy("connect everyone\nallow everyone subscribe +/a\nallow everyone "
				"subscribe %c/#\n"
				"deny everyone subscribe b/%u\n");

		(void)snprintf(text, sizeof text, "%s%s\n%s", user != NULL ? "user " : "#",
		    user != NULL ? user : "", acls[a / 6]);
		loose = test_acl(text);
		for (unsigned i = 0; nth_topic(words, WORDS_MAX, i, filter, sizeof filter); i++) {
			if (!topic_filter_ok(slice_str(filter)))
				continue;
			filter_keeps_its_promise(loose, who, slice_str(filter), false);
			filter_keeps_its_promise(strict, who, slice_str(filter), true);
		}
		authz_policy_unref(strict);
		authz_policy_unref(loose);
		authz_principal_unref(who);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(topics_and_users),
		cmocka_unit_test(patterns),
		cmocka_unit_test(dollar_topics),
		cmocka_unit_test(empty_denies_all),
		cmocka_unit_test(reasons),
		cmocka_unit_test(certificate_users),
		cmocka_unit_test(long_values),
		cmocka_unit_test(whole_means_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
