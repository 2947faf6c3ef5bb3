/* The ready-made policies: roles x actions x topics, in full. */
#include "base/num.h"
#include "authz/testing.h"

#include <stdio.h>
#include "topic/topic.h"

enum { P = 1, S = 2, R = 4, ALL = P | S | R };

/* What each role may do with a topic; nobody else may do anything. Of a filter with wildcards only
 * S is asked. */
struct row {
	const char *topic;
	uint8_t client, watch, control;
};

static const struct row springcore[] = {
	/* its own place */
	{ "springcard/springcore/DA1275B0/status", ALL, S | R, ALL },
	{ "springcard/springcore/DA1275B0/meta", ALL, S | R, ALL },
	{ "springcard/springcore/DA1275B0/rdr/cmd", ALL, S | R, ALL },
	{ "springcard/springcore/DA1275B0/rdr/evt", ALL, S | R, ALL },
	{ "springcard/springcore/DA1275B0", ALL, S | R, ALL }, /* "x/#" matches "x" (4.7.1.2) */
	{ "springcard/springcore/DA1275B0/", ALL, S | R, ALL },
	/* Topics are no paths: this is below its own place, and nobody resolves it. */
	{ "springcard/springcore/DA1275B0/../DA1275B1/status", ALL, S | R, ALL },
	{ "springcard/springcore/DA1275B0/#", S, S, S },
	{ "springcard/springcore/DA1275B0/+/cmd", S, S, S },
	{ "springcard/springcore/DA1275B0/+", S, S, S },
	/* others, and what looks like its own */
	{ "springcard/springcore/DA1275B1/status", 0, S | R, ALL },
	{ "springcard/springcore/DA1275B01/status", 0, S | R, ALL },
	{ "springcard/springcore/DA1275B0 /status", 0, S | R, ALL },
	{ "springcard/springcore/DA1275B/status", 0, S | R, ALL },
	{ "springcard/springcore/da1275b0/status", 0, S | R, ALL },
	{ "Springcard/springcore/DA1275B0/status", 0, S | R, ALL },
	{ "springcard/springcore/../springcore/DA1275B0/status", 0, S | R, ALL },
	{ "springcard/springcore//DA1275B0/status", 0, S | R, ALL },
	{ "springcard//springcore/DA1275B0/status", 0, S | R, ALL },
	{ "/springcard/springcore/DA1275B0/status", 0, S | R, ALL },
	{ "springcard/springcore/%u/status", 0, S | R, ALL },
	{ "springcard/springcore", 0, S | R, ALL },
	{ "springcard/springcore/", 0, S | R, ALL },
	{ "springcard", 0, S | R, ALL },
	{ "DA1275B0/status", 0, S | R, ALL },
	{ "x", 0, S | R, ALL },
	{ "/", 0, S | R, ALL },
	{ "springcard/springcore/DA1275B1/#", 0, S, S },
	{ "springcard/springcore/+/status", 0, S, S },
	{ "springcard/springcore/+/#", 0, S, S },
	{ "springcard/springcore/#", 0, S, S },
	{ "springcard/+/DA1275B0/#", 0, S, S },
	{ "+/springcore/DA1275B0/status", 0, S, S },
	{ "+/+/+", 0, S, S },
	{ "+/+/DA1275B0/#", 0, S, S },
	{ "+", 0, S, S },
	{ "#", 0, S, S },
	{ "/#", 0, S, S },
	{ "+/#", 0, S, S },
	/* the broker's own topics */
	{ "$SYS/broker/uptime", 0, S | R, S | R },
	{ "$SYS/#", 0, S, S },
	{ "$SYS/broker/+", 0, S, S },
	{ "$CONTROL/signet/v1/x", 0, 0, 0 },
	{ "$CONTROL/#", 0, 0, 0 },
	{ "$sys/broker", 0, 0, 0 },
	{ "$springcard/springcore/DA1275B0/status", 0, 0, 0 },
	/* no filters at all */
	{ "springcard/springcore/DA1275B+/#", 0, 0, 0 },
	{ "springcard/springcore/DA1275B0/#/x", 0, 0, 0 },
	{ "springcard/springcore/DA1275B0/x#", 0, 0, 0 },
};

static const struct row dojot[] = {
	{ "/admin/f60c28/attrs", P, S | R, ALL },
	{ "/admin/f60c28/config", S | R, S | R, ALL },
	{ "/admin/f60c28/attrs/x", 0, S | R, ALL },
	{ "/admin/f60c28//attrs", 0, S | R, ALL },
	{ "/admin/f60c28/attrs/", 0, S | R, ALL },
	{ "/admin/f60c28/config/x", 0, S | R, ALL },
	{ "/admin/f60c28/Attrs", 0, S | R, ALL },
	{ "/Admin/f60c28/attrs", 0, S | R, ALL },
	{ "/admin/F60c28/config", 0, S | R, ALL },
	{ "admin/f60c28/attrs", 0, S | R, ALL },
	{ "admin/f60c28/config", 0, S | R, ALL },
	{ "//admin/f60c28/attrs", 0, S | R, ALL },
	{ "/admin/f60c28", 0, S | R, ALL },
	{ "/admin/f60c281/attrs", 0, S | R, ALL },
	{ "/admin/f60c2/attrs", 0, S | R, ALL },
	{ "/admin/a1998e/attrs", 0, S | R, ALL },
	{ "/admin/a1998e/config", 0, S | R, ALL },
	{ "/other/f60c28/attrs", 0, S | R, ALL },
	{ "/other/f60c28/config", 0, S | R, ALL },
	{ "/admin/../admin/f60c28/attrs", 0, S | R, ALL },
	{ "/admin:f60c28/attrs", 0, S | R, ALL },
	{ "/%t/%d/attrs", 0, S | R, ALL },
	{ "#", 0, S, S },
	{ "/#", 0, S, S },
	{ "+/+/+", 0, S, S },
	{ "+/+/+/+", 0, S, S },
	{ "+/admin/f60c28/config", 0, S, S },
	{ "/+/f60c28/config", 0, S, S },
	{ "/admin/+/config", 0, S, S },
	{ "/admin/f60c28/+", 0, S, S },
	{ "/admin/f60c28/#", 0, S, S },
	{ "/admin/f60c28/config/#", 0, S, S },
	{ "/admin/f60c28/attrs/#", 0, S, S },
	{ "$SYS/broker/uptime", 0, S | R, S | R },
	{ "$SYS/#", 0, S, S },
	{ "$CONTROL/x", 0, 0, 0 },
	{ "/admin/f60c28/confi+", 0, 0, 0 },
};

static void
ask(const struct authz_policy *p, const struct authz_principal *who, struct slice id,
    const struct row *row, uint8_t may)
{
	static const struct {
		uint8_t bit;
		enum authz_action action;
		const char *name;
	} actions[] = { { P, AUTHZ_PUBLISH, "publish" }, { S, AUTHZ_SUBSCRIBE, "subscribe" },
		{ R, AUTHZ_RECEIVE, "receive" } };
	struct slice topic = slice_str(row->topic);

	for (size_t i = 0; i < 3; i++) {
		struct authz_verdict v = { .why = "stale" };
		bool expected = (may & actions[i].bit) != 0;

		if (actions[i].action != AUTHZ_SUBSCRIBE && !topic_name_ok(topic))
			continue;
		if (authz_allowed(p, who, id, actions[i].action, topic, &v) != expected)
			fail_msg("%s: %s %s: expected %d (%s)",
			    authz_role_name(authz_principal_role(who)), actions[i].name, row->topic,
			    expected, v.why);
		assert_int_equal(v.allowed, expected);
		assert_int_equal(v.whole, expected);
		assert_int_equal(v.why[0] == '\0', expected);
		assert_string_not_equal(v.why, "stale");
	}
}

static void
matrix(const char *policy, struct slice device, const struct row *rows, size_t n)
{
	struct authz_policy *p = test_builtin(policy);
	struct authz_principal *client = test_cert(AUTHZ_ROLE_CLIENT, device);
	struct authz_principal *watch = test_cert(AUTHZ_ROLE_WATCH, SL("eye"));
	struct authz_principal *control = test_cert(AUTHZ_ROLE_CONTROL, SL("hand"));
	struct authz_principal *nobody[] = { test_cert(AUTHZ_ROLE_NONE, device),
		test_cert(AUTHZ_ROLE_CLOUD, device), test_user(NULL), test_user("DA1275B0"),
		test_user("admin:f60c28") };

	for (size_t i = 0; i < n; i++) {
		ask(p, client, device, &rows[i], rows[i].client);
		ask(p, watch, SL("eye"), &rows[i], rows[i].watch);
		ask(p, control, SL("hand"), &rows[i], rows[i].control);
		/* Under another client id nobody may do anything, whatever was accepted at CONNECT.
		 * */
		ask(p, client, SL("eye"), &rows[i], 0);
		ask(p, watch, device, &rows[i], 0);
		ask(p, control, SL("HAND"), &rows[i], 0);
		ask(p, control, SL(""), &rows[i], 0);
		for (size_t j = 0; j < sizeof nobody / sizeof nobody[0]; j++)
			ask(p, nobody[j], device, &rows[i], 0);
	}
	for (size_t j = 0; j < sizeof nobody / sizeof nobody[0]; j++)
		authz_principal_unref(nobody[j]);
	authz_principal_unref(control);
	authz_principal_unref(watch);
	authz_principal_unref(client);
	authz_policy_unref(p);
}

static void
springcore_matrix(void **state)
{
	(void)state;
	matrix("springcore", SL("DA1275B0"), springcore, sizeof springcore / sizeof springcore[0]);
}

static void
dojot_matrix(void **state)
{
	(void)state;
	matrix("dojot", SL("admin:f60c28"), dojot, sizeof dojot / sizeof dojot[0]);
}

/* A CONNECT, and in words why not; why NULL: accepted. */
struct entry {
	const char *policy;
	enum authz_role role;
	struct slice cn, id;
	const char *why;
};

static void
entries(const struct entry *e, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct authz_policy *p = authz_policy_builtin(e[i].policy).p != NULL
					     ? test_builtin(e[i].policy)
					     : test_policy(e[i].policy);
		struct authz_principal *who = test_cert(e[i].role, e[i].cn);
		struct authz_verdict v;

		if (authz_allowed(p, who, SL("not asked"), AUTHZ_CONNECT, e[i].id, &v) !=
		    (e[i].why == NULL))
			fail_msg("case %zu: %s", i, v.why);
		assert_string_equal(v.why, e[i].why != NULL ? e[i].why : "");
		authz_principal_unref(who);
		authz_policy_unref(p);
	}
}

#define CLOUD_WHY "certificate of the cloud role may not be used by a client"
#define EQUAL_WHY "client id must equal the certificate's common name"
#define FORM_WHY "client id must have the form tenant:device, of letters, digits and '_'"
#define BAD_CN_WHY                                                                                 \
	"the certificate's common name holds a '+', '#', '/' or U+0000 and so cannot stand in a "  \
	"topic"
#define NO_CN_WHY                                                                                  \
	"the certificate's common name is missing or empty, and the client id must equal it"
#define DOJOT_WHY                                                                                  \
	"client id must equal the certificate's common name (tenant:device, or the device alone)"
#define NO_TENANT_WHY                                                                              \
	"the certificate's common name holds no tenant, and the policy has no line `tenant NAME`"
#define OTHER_TENANT_WHY "client id names another tenant than the policy does"

static void
springcore_connect(void **state)
{
	static const struct entry cases[] = {
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("DA1275B0"), SL("DA1275B0"), NULL },
		{ "springcore", AUTHZ_ROLE_WATCH, SL("eye"), SL("eye"), NULL },
		{ "springcore", AUTHZ_ROLE_CONTROL, SL("hand"), SL("hand"), NULL },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("DA1275B0"), SL(""),
		    NULL }, /* will be the CN */
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("DA1275B0"), SL("da1275b0"), EQUAL_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("DA1275B0"), SL("DA1275B0 "), EQUAL_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("DA1275B0"), SL("DA1275B"), EQUAL_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("DA1275B0"), SL("DA1275B0\0"), EQUAL_WHY },
		{ "springcore", AUTHZ_ROLE_CONTROL, SL("hand"), SL("eye"), EQUAL_WHY },
		{ "springcore", AUTHZ_ROLE_WATCH, SL("eye"), SL("hand"), EQUAL_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL(""), SL(""), NO_CN_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL(""), SL("x"), NO_CN_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("#"), SL("#"), BAD_CN_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("+"), SL("+"), BAD_CN_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("a/b"), SL("a/b"), BAD_CN_WHY },
		{ "springcore", AUTHZ_ROLE_CLIENT, SL("a\0b"), SL("a\0b"), BAD_CN_WHY },
		{ "springcore", AUTHZ_ROLE_WATCH, SL("x/#"), SL(""), BAD_CN_WHY },
		{ "springcore", AUTHZ_ROLE_CLOUD, SL("broker"), SL("broker"), CLOUD_WHY },
		{ "springcore", AUTHZ_ROLE_CLOUD, SL("broker"), SL(""), CLOUD_WHY },
		{ "springcore", AUTHZ_ROLE_NONE, SL("DA1275B0"), SL("DA1275B0"),
		    "issuer has no role" },
		{ "connect role watch\n", AUTHZ_ROLE_CLIENT, SL("a"), SL("a"),
		    "role client may not connect" },
		{ "", AUTHZ_ROLE_CONTROL, SL("a"), SL("a"), "role control may not connect" },
	};

	(void)state;
	entries(cases, sizeof cases / sizeof cases[0]);
}

/* C3, and W8: the same device id in another tenant. */
static void
dojot_connect(void **state)
{
	static const char fixed[] = "tenant admin\nuse dojot\n";
	static const struct entry cases[] = {
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("admin:f60c28"), SL("admin:f60c28"), NULL },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("t_1:D_2"), SL("t_1:D_2"), NULL },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("f60c28"), SL("admin:f60c28"), NO_TENANT_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("admin:f60c28"), SL("other:f60c28"), DOJOT_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("admin:a1998e"), SL("admin:f60c28"), DOJOT_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("admin:f60c28"), SL("admin:F60C28"), DOJOT_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("admin:f60c28"), SL(""), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("admin:f60c28"), SL("f60c28"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("admin:"), SL("admin:"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL(":f60c28"), SL(":f60c28"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL(":"), SL(":"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("a:b:c"), SL("a:b:c"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("a:b-c"), SL("a:b-c"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("a:b\n"), SL("a:b\n"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("a:\xc3\xa9"), SL("a:\xc3\xa9"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("a/+:b"), SL("a/+:b"), FORM_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL(""), SL("a:b"), NO_CN_WHY },
		{ "dojot", AUTHZ_ROLE_CLIENT, SL("#"), SL("a:b"), BAD_CN_WHY },
		{ "dojot", AUTHZ_ROLE_WATCH, SL("eye"), SL("eye"), NULL },
		{ "dojot", AUTHZ_ROLE_WATCH, SL("eye"), SL("admin:f60c28"), EQUAL_WHY },
		{ "dojot", AUTHZ_ROLE_CONTROL, SL("hand"), SL("hand"), NULL },
		{ "dojot", AUTHZ_ROLE_CLOUD, SL("admin:f60c28"), SL("admin:f60c28"), CLOUD_WHY },
		{ "dojot", AUTHZ_ROLE_NONE, SL("admin:f60c28"), SL("admin:f60c28"),
		    "issuer has no role" },
		{ fixed, AUTHZ_ROLE_CLIENT, SL("f60c28"), SL("admin:f60c28"), NULL },
		{ fixed, AUTHZ_ROLE_CLIENT, SL("admin:f60c28"), SL("admin:f60c28"), NULL },
		{ fixed, AUTHZ_ROLE_CLIENT, SL("f60c28"), SL("other:f60c28"), OTHER_TENANT_WHY },
		{ fixed, AUTHZ_ROLE_CLIENT, SL("f60c28"), SL("admin2:f60c28"), OTHER_TENANT_WHY },
		{ fixed, AUTHZ_ROLE_CLIENT, SL("f60c28"), SL("Admin:f60c28"), OTHER_TENANT_WHY },
		{ fixed, AUTHZ_ROLE_CLIENT, SL("other:f60c28"), SL("other:f60c28"), NULL },
		{ fixed, AUTHZ_ROLE_CLIENT, SL("f60c28"), SL("f60c28"), FORM_WHY },
	};

	(void)state;
	entries(cases, sizeof cases / sizeof cases[0]);
}

static void
assigned_id(void **state)
{
	struct authz_policy *springcore_p = test_builtin("springcore"),
			    *dojot_p = test_builtin("dojot");
	struct authz_policy *open = authz_policy_open();
	struct authz_principal *who = test_cert(AUTHZ_ROLE_CLIENT, SL("DA1275B0")),
			       *bad = test_cert(AUTHZ_ROLE_CLIENT, SL("#"));
	struct authz_principal *eye = test_cert(AUTHZ_ROLE_WATCH, SL("eye")),
			       *user = test_user("u");

	(void)state;
	assert_non_null(open);
	assert_true(slice_eq(authz_assigned_client_id(springcore_p, who), SL("DA1275B0")));
	assert_true(slice_eq(authz_assigned_client_id(dojot_p, eye), SL("eye")));
	assert_int_equal(authz_assigned_client_id(dojot_p, who).n, 0);
	assert_int_equal(authz_assigned_client_id(open, who).n, 0);
	assert_int_equal(authz_assigned_client_id(springcore_p, bad).n, 0);
	assert_int_equal(authz_assigned_client_id(springcore_p, user).n, 0);
	authz_principal_unref(who);
	authz_principal_unref(bad);
	authz_principal_unref(eye);
	authz_principal_unref(user);
	authz_policy_unref(springcore_p);
	authz_policy_unref(dojot_p);
	authz_policy_unref(open);
}

static void
reasons(void **state)
{
	static const struct {
		const char *policy;
		enum authz_role role;
		enum authz_action action;
		const char *topic, *why;
	} cases[] = {
		{ "use springcore", AUTHZ_ROLE_WATCH, AUTHZ_PUBLISH, "x",
		    "role watch may not publish" },
		{ "use springcore", AUTHZ_ROLE_CLIENT, AUTHZ_PUBLISH, "x",
		    "topic is outside what role client may publish to" },
		{ "use springcore", AUTHZ_ROLE_CLIENT, AUTHZ_RECEIVE, "x",
		    "topic is outside what role client may receive" },
		{ "use springcore", AUTHZ_ROLE_CLIENT, AUTHZ_SUBSCRIBE, "x",
		    "filter is outside what role client may subscribe to" },
		{ "use springcore", AUTHZ_ROLE_CLIENT, AUTHZ_SUBSCRIBE, "#",
		    "filter is not wholly inside what role client may subscribe to" },
		{ "use springcore", AUTHZ_ROLE_CLIENT, AUTHZ_SUBSCRIBE, "a#",
		    "not a topic filter" },
		{ "use springcore", AUTHZ_ROLE_CLOUD, AUTHZ_SUBSCRIBE, "x", CLOUD_WHY },
		{ "use springcore", AUTHZ_ROLE_NONE, AUTHZ_PUBLISH, "x", "issuer has no role" },
		{ "use springcore\ndeny role control publish $CONTROL/#\ndeny role control "
		  "publish,subscribe a/#",
		    AUTHZ_ROLE_CONTROL, AUTHZ_PUBLISH, "a/b",
		    "a deny rule for role control matches the topic" },
		{ "use springcore\ndeny role watch subscribe a/#", AUTHZ_ROLE_WATCH,
		    AUTHZ_SUBSCRIBE, "#",
		    "filter reaches into what a deny rule keeps from role watch" },
		{ "use springcore\ndeny role watch subscribe a/#", AUTHZ_ROLE_WATCH,
		    AUTHZ_SUBSCRIBE, "a/+", "a deny rule for role watch covers the filter" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct authz_policy *p = test_policy(cases[i].policy);
		struct authz_principal *who = test_cert(cases[i].role, SL("me"));
		struct authz_verdict v;

		assert_false(authz_allowed(
		    p, who, SL("me"), cases[i].action, slice_str(cases[i].topic), &v));
		assert_string_equal(v.why, cases[i].why);
		authz_principal_unref(who);
		authz_policy_unref(p);
	}
}

/* A user name from CONNECT beside a certificate leads nowhere (C1). */
static void
user_name_beside_a_certificate(void **state)
{
	struct authz_facts f = { .role = AUTHZ_ROLE_CLIENT,
		.has_cert = true,
		.cn = SL("DA1"),
		.username = SL("DA2"),
		.issuer_key = test_key };
	struct authz_policy *p = test_builtin("springcore");
	struct authz_principal *who = authz_principal_new(&f);
	struct authz_verdict v;

	(void)state;
	assert_non_null(who);
	assert_false(authz_allowed(p, who, SL(""), AUTHZ_CONNECT, SL("DA2"), &v));
	assert_true(authz_allowed(p, who, SL(""), AUTHZ_CONNECT, SL("DA1"), &v));
	assert_true(
	    authz_allowed(p, who, SL("DA1"), AUTHZ_PUBLISH, SL("springcard/springcore/DA1/x"), &v));
	assert_false(
	    authz_allowed(p, who, SL("DA1"), AUTHZ_PUBLISH, SL("springcard/springcore/DA2/x"), &v));
	assert_true(slice_eq(authz_assigned_client_id(p, who), SL("DA1")));
	authz_principal_unref(who);
	authz_policy_unref(p);
}

static void
own_prefix(void **state)
{
	struct authz_policy *p = test_policy("define prefix acme/readers\nuse springcore\n");
	struct authz_principal *who = test_cert(AUTHZ_ROLE_CLIENT, SL("DA1"));
	struct authz_verdict v;

	(void)state;
	assert_true(
	    authz_allowed(p, who, SL("DA1"), AUTHZ_PUBLISH, SL("acme/readers/DA1/status"), &v));
	assert_true(
	    authz_allowed(p, who, SL("DA1"), AUTHZ_SUBSCRIBE, SL("acme/readers/DA1/#"), &v));
	assert_false(authz_allowed(
	    p, who, SL("DA1"), AUTHZ_PUBLISH, SL("springcard/springcore/DA1/status"), &v));
	authz_principal_unref(who);
	authz_policy_unref(p);
}

/* Below "$signet/" no policy counts, and in quarantine nothing else does. */
static void
reserved_topics(void **state)
{
	static const struct {
		enum authz_role role;
		const char *cn; /* NULL: no certificate */
		enum authz_action action;
		const char *topic;
		bool allowed;
	} rows[] = {
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/renew/d/request", true },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/renew/d/reply", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/renew/e/request", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/renew/d/request/x", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/renew/d", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/renew/dd/request", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/health/d", true },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/health/e", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_PUBLISH, "$signet/x", false },
		{ AUTHZ_ROLE_CONTROL, "c", AUTHZ_PUBLISH, "$signet/renew/d/reply", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_SUBSCRIBE, "$signet/renew/d/reply", true },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_RECEIVE, "$signet/renew/d/reply", true },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_SUBSCRIBE, "$signet/renew/+/reply", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_SUBSCRIBE, "$signet/#", false },
		{ AUTHZ_ROLE_CONTROL, "c", AUTHZ_SUBSCRIBE, "$signet/#", false },
		{ AUTHZ_ROLE_CONTROL, "c", AUTHZ_SUBSCRIBE, "$signet/renew/d/reply", false },
		{ AUTHZ_ROLE_CONTROL, "c", AUTHZ_RECEIVE, "$signet/renew/d/reply", false },
		{ AUTHZ_ROLE_CONTROL, "c", AUTHZ_SUBSCRIBE, "$signet/health/#", true },
		{ AUTHZ_ROLE_WATCH, "w", AUTHZ_RECEIVE, "$signet/health/d", true },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_SUBSCRIBE, "$signet/health/#", false },
		{ AUTHZ_ROLE_CLIENT, "d", AUTHZ_UNSUBSCRIBE, "$signet/x", true },
		{ AUTHZ_ROLE_NONE, NULL, AUTHZ_PUBLISH, "$signet/renew//request", false },
		{ AUTHZ_ROLE_NONE, "a/b", AUTHZ_PUBLISH, "$signet/renew/a/b/request", false },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_PUBLISH, "$signet/renew/d/request", true },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_SUBSCRIBE, "$signet/renew/d/reply", true },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_PUBLISH, "$signet/health/d", true },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_SUBSCRIBE, "$signet/health/#", false },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_PUBLISH, "x", false },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_SUBSCRIBE, "x", false },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_RECEIVE, "x", false },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_UNSUBSCRIBE, "x", true },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_CONNECT, "d", true },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_CONNECT, "quarantine:d", true },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_CONNECT, "e", false },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_CONNECT, "quarantine:", false },
		{ AUTHZ_ROLE_QUARANTINE, "d", AUTHZ_CONNECT, "", false },
	};
	struct err err;
	struct authz_policy *all[] = { authz_policy_open(),
		authz_policy_parse(SL("connect everyone\nallow everyone publish,subscribe #\nallow everyone publish,subscribe $signet/#\n"), "p", &err),
		authz_policy_parse_acl(SL("topic readwrite #\ntopic readwrite $signet/#\n"), "a", &err) };

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(all); k++) {
		assert_non_null(all[k]);
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			struct authz_facts f = { .role = rows[i].role, .has_cert = rows[i].cn != NULL };
			struct authz_principal *who;
			struct authz_verdict v;

			if (rows[i].cn != NULL)
				f.cn = f.username = slice_str(rows[i].cn);
			who = authz_principal_new(&f);
			assert_non_null(who);
			if (authz_allowed(all[k], who, f.cn, rows[i].action, slice_str(rows[i].topic), &v) != rows[i].allowed)
				fail_msg("policy %zu, row %zu: %s", k, i, rows[i].topic);
			authz_principal_unref(who);
		}
		authz_policy_unref(all[k]);
	}
}

/* A factory wrote the device alone into its certificate; dojot's device says its tenant, too, and only the one that the policy names. */
static void
dojot_in_quarantine(void **state)
{
	static const struct {
		const char *policy, *cn, *id, *why; /* .why NULL: allowed */
	} rows[] = {
		{ "tenant acme\nuse dojot", "f60c28", "acme:f60c28", NULL },
		{ "tenant acme\nuse dojot", "f60c28", "f60c28", NULL },
		{ "tenant acme\nuse dojot", "f60c28", "quarantine:f60c28", NULL },
		{ "tenant acme\nuse dojot", "other:f60c28", "other:f60c28", NULL },
		{ "tenant acme\nuse dojot", "f60c28", "other:f60c28", "or the policy's tenant" },
		{ "tenant acme\nuse dojot", "f60c28", "acme:f60c29", "or the policy's tenant" },
		{ "tenant acme\nuse dojot", "f60c28", "acme:", "or the policy's tenant" },
		{ "tenant acme\nuse dojot", "f60c28", "acme:x:f60c28", "or the policy's tenant" },
		{ "tenant acme\nuse dojot", "f60-c28", "acme:f60-c28", "or the policy's tenant" },
		{ "tenant acme\nuse dojot", "", "acme:", "or the policy's tenant" },
		{ "use dojot", "f60c28", "acme:f60c28", "tenant NAME" },
		{ "use springcore", "f60c28", "acme:f60c28", "behind \"quarantine:\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct authz_facts f = { .role = AUTHZ_ROLE_QUARANTINE, .has_cert = true, .cn = slice_str(rows[i].cn) };
		struct authz_principal *who = authz_principal_new(&f);
		struct err err;
		struct authz_policy *p = authz_policy_parse(slice_str(rows[i].policy), "p", &err);
		struct authz_verdict v;

		assert_non_null(who);
		assert_non_null(p);
		if (authz_allowed(p, who, (struct slice){ 0 }, AUTHZ_CONNECT, slice_str(rows[i].id), &v) != (rows[i].why == NULL))
			fail_msg("row %zu: %s as %s: %s", i, rows[i].cn, rows[i].id, v.why);
		if (rows[i].why != NULL && strstr(v.why, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, v.why);
		assert_false(authz_allowed(p, who, slice_str(rows[i].id), AUTHZ_PUBLISH, SL("/acme/f60c28/attrs"), &v));
		authz_principal_unref(who);
		authz_policy_unref(p);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reserved_topics),
		cmocka_unit_test(dojot_in_quarantine),
		cmocka_unit_test(springcore_matrix),
		cmocka_unit_test(dojot_matrix),
		cmocka_unit_test(springcore_connect),
		cmocka_unit_test(dojot_connect),
		cmocka_unit_test(assigned_id),
		cmocka_unit_test(reasons),
		cmocka_unit_test(user_name_beside_a_certificate),
		cmocka_unit_test(own_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
