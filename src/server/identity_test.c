/* Who a client is: certificate, user name, anonymous, by the rules of its listener. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/num.h"
#include "server/attempts.h"
#include "server/internal.h"

enum { CERT = RULE_CERT_IS_IDENTITY, ANON = RULE_ANONYMOUS, EMPTY = RULE_EMPTY_CLIENT_ID, PASS = RULE_PASSWORDS };

/* clang-format off */
static const struct {
	unsigned rules;
	bool cert;                /* the peer has one, CN "dev1" */
	const char *username;     /* of CONNECT; NULL: none */
	const char *id;
	uint8_t reason;
	const char *is;           /* user name of the principal; NULL: none */
	const char *why;
} cases[] = {
	/* Plain listener of the article: nobody. */
	{ EMPTY, false, NULL, "a", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ANONYMOUS },
	{ EMPTY, false, "", "a", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_PASSWORD },
	{ EMPTY, false, "dev1", "dev1", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_PASSWORD },
	{ EMPTY | CERT, false, "dev1", "dev1", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_PASSWORD },
	{ EMPTY | CERT, false, NULL, "dev1", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ANONYMOUS },
	/* Everybody, as mosquitto without password_file: the name is taken. */
	{ EMPTY | ANON, false, NULL, "", MQTT_RC_OK, NULL, "" },
	{ EMPTY | ANON, false, "bob", "a", MQTT_RC_OK, "bob", "" },
	{ EMPTY | ANON, false, "", "a", MQTT_RC_OK, NULL, "" },
	{ ANON, false, NULL, "", MQTT_RC_CLIENT_ID, NULL, WHY_NO_CLIENT_ID },
	/* A certificate that is the identity: CONNECT's name is not looked at. */
	{ EMPTY | CERT, true, NULL, "x", MQTT_RC_OK, "dev1", "" },
	{ EMPTY | CERT, true, "root", "x", MQTT_RC_OK, "dev1", "" },
	{ EMPTY | CERT | ANON, true, "root", "x", MQTT_RC_OK, "dev1", "" },
	{ CERT, true, "root", "", MQTT_RC_CLIENT_ID, NULL, WHY_NO_CLIENT_ID },
	/* A password file: a name that is given must be in it, also where nobody needs one. */
	{ EMPTY | PASS, false, "bob", "a", BROKER_LOGIN_PENDING, NULL, "" },
	{ EMPTY | PASS, false, "", "a", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ANONYMOUS },
	{ EMPTY | PASS | ANON, false, "", "a", MQTT_RC_OK, NULL, "" },
	{ EMPTY | PASS, false, NULL, "a", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ANONYMOUS },
	{ EMPTY | PASS | ANON, false, "bob", "a", BROKER_LOGIN_PENDING, NULL, "" },
	{ EMPTY | PASS | ANON, false, NULL, "a", MQTT_RC_OK, NULL, "" },
	{ PASS, false, "bob", "", MQTT_RC_CLIENT_ID, NULL, WHY_NO_CLIENT_ID },
	{ EMPTY | PASS | CERT, true, "bob", "a", MQTT_RC_OK, "dev1", "" },
	{ EMPTY | PASS, true, "bob", "a", BROKER_LOGIN_PENDING, NULL, "" },
	{ EMPTY | PASS, true, NULL, "a", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ANONYMOUS },
	/* Passwords that must be proved: none is looked at, and no name is taken on its word. */
	{ EMPTY | PASS | RULE_ONLY_SCRAM, false, "bob", "a", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ONLY_SCRAM },
	{ EMPTY | PASS | ANON | RULE_ONLY_SCRAM, false, "bob", "a", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ONLY_SCRAM },
	{ EMPTY | PASS | ANON | RULE_ONLY_SCRAM, false, NULL, "a", MQTT_RC_OK, NULL, "" },
	{ EMPTY | PASS | CERT | RULE_ONLY_SCRAM, true, "bob", "a", MQTT_RC_OK, "dev1", "" },
	/* A certificate that is only a ticket to the handshake. */
	{ EMPTY, true, NULL, "x", MQTT_RC_NOT_AUTHORIZED, NULL, WHY_ANONYMOUS },
	{ EMPTY | ANON, true, "bob", "x", MQTT_RC_OK, "bob", "" },
	{ EMPTY | ANON, true, NULL, "x", MQTT_RC_OK, NULL, "" },
};
/* clang-format on */

static struct pki_peer
dev1(void)
{
	static char cn[] = "dev1", subject[] = "CN=dev1,O=x", issuer[] = "CN=ca";

	return (struct pki_peer){ .subject = subject,
		.issuer = issuer,
		.cn = cn,
		.serial = { 7 },
		.serial_n = 1,
		.role = AUTHZ_ROLE_CLIENT,
		.not_after = 2000000000 };
}

static void
each_rule_has_its_answer(void **state)
{
	struct authz_facts none = { 0 };
	struct authz_principal *nobody = authz_principal_new(&none);
	struct pki_peer peer = dev1();
	size_t i;

	(void)state;
	assert_non_null(nobody);
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct authz_principal *cert =
		    identity_of_peer(cases[i].rules, cases[i].cert ? &peer : NULL, nobody);
		struct authz_principal *who = NULL;
		struct mqtt_connect m = { .version = MQTT_V311,
			.client_id = slice_str(cases[i].id),
			.has_username = cases[i].username != NULL,
			.username = slice_str(cases[i].username) };
		struct authz_facts facts;
		struct broker_login login = { .cert = cert, .connect = &m };

		assert_non_null(cert);
		assert_int_equal(identity_judge(cases[i].rules, &login), cases[i].reason);
		assert_string_equal(login.why, cases[i].why);
		who = login.who;
		assert_int_equal(who != NULL, cases[i].reason == MQTT_RC_OK);
		if (who != NULL) {
			assert_true(
			    slice_eq(authz_principal_username(who), slice_str(cases[i].is)));
			authz_principal_facts(who, &facts);
			/* A name that was only said never becomes a certificate's identity (W3). */
			assert_int_equal(facts.has_cert, cases[i].cert);
			assert_int_equal(authz_principal_role(who),
			    cases[i].cert ? AUTHZ_ROLE_CLIENT : AUTHZ_ROLE_NONE);
		}
		authz_principal_unref(who);
		authz_principal_unref(cert);
	}
	authz_principal_unref(nobody);
}

static void
the_subject_may_be_the_name(void **state)
{
	struct pki_peer peer = dev1();
	struct authz_principal *p = identity_of_peer(CERT | RULE_SUBJECT, &peer, NULL);

	(void)state;
	assert_non_null(p);
	assert_true(slice_eq(authz_principal_username(p), SL("CN=dev1,O=x")));
	authz_principal_unref(p);
}

static void
rules_follow_the_configuration(void **state)
{
	struct config c = { 0 };
	struct config_security s = { .allow_anonymous = 1, .allow_zero_length_clientid = true };
	struct config_listener l = { .security = &s, .allow_anonymous = -1 };

	(void)state;
	assert_int_equal(listener_rules_of(&c, &l), ANON | EMPTY);
	l.allow_anonymous = 0;
	assert_int_equal(listener_rules_of(&c, &l), EMPTY);
	l.allow_anonymous = -1;
	s.allow_anonymous = 0;
	l.use_subject_as_username = true;
	assert_int_equal(listener_rules_of(&c, &l), EMPTY | CERT | RULE_SUBJECT);
	l.use_identity_as_username = true;
	assert_int_equal(listener_rules_of(&c, &l), EMPTY | CERT);
	l.use_identity_as_username = l.use_subject_as_username = false;
	c.n_role_cas = 1;
	assert_int_equal(listener_rules_of(&c, &l), EMPTY | CERT);
	c.n_role_cas = 0;
	l.auth_method = CONFIG_AUTH_SCRAM;
	assert_int_equal(listener_rules_of(&c, &l), EMPTY);
	s.password_file = (char *)(uintptr_t) "f";
	assert_int_equal(listener_rules_of(&c, &l), EMPTY | PASS | RULE_SCRAM | RULE_ONLY_SCRAM);
	l.auth_method = CONFIG_AUTH_ANY;
	assert_int_equal(listener_rules_of(&c, &l), EMPTY | PASS | RULE_SCRAM);
	l.auth_method = CONFIG_AUTH_PASSWORD;
	assert_int_equal(listener_rules_of(&c, &l), EMPTY | PASS);
}

static void
a_key_may_be_an_identity(void **state)
{
	struct authz_facts none = { 0 }, facts;
	struct authz_principal *nobody = authz_principal_new(&none);
	struct authz_principal *p = identity_of_psk(EMPTY | RULE_PSK_IS_IDENTITY, "dev1", 1),
			       *other = identity_of_psk(EMPTY | CERT, "dev1", 1);
	struct mqtt_connect m = { .client_id = SL("x"), .has_username = true, .username = SL("root") };
	struct broker_login login = { .cert = p, .connect = &m };

	(void)state;
	assert_non_null(p);
	assert_true(authz_principal_username(other).p == NULL && authz_same_identity(other, nobody));
	assert_int_equal(identity_judge(EMPTY | PASS | RULE_PSK_IS_IDENTITY, &login), MQTT_RC_OK);
	assert_true(slice_eq(authz_principal_username(login.who), SL("dev1")));
	authz_principal_facts(login.who, &facts);
	assert_false(facts.has_cert);
	authz_principal_unref(login.who);
	authz_principal_unref(p);
	authz_principal_unref(other);
	authz_principal_unref(nobody);
}

/* People have five, then one in twelve seconds; what a device shows is counted apart. */
static void
people_have_fewer(void **state)
{
	struct buckets *t = buckets_new();
	struct attempts_key person, device;
	uint64_t now = 1000000;

	(void)state;
	assert_non_null(t);
	attempts_key(&person, ATTEMPTS_PERSON, "192.0.2.1:1000", SL("bob"));
	attempts_key(&device, ATTEMPTS_DEVICE, "192.0.2.1:1000", SL("bob"));
	for (unsigned i = 0; i < 5; i++) {
		assert_true(attempts_may(t, &person, now));
		attempts_failed(t, &person, now);
	}
	assert_false(attempts_may(t, &person, now));
	assert_false(attempts_may(t, &person, now + 11999));
	assert_true(attempts_may(t, &person, now + 12000));
	for (unsigned i = 0; i < 10; i++) {
		assert_true(attempts_may(t, &device, now));
		attempts_failed(t, &device, now);
	}
	assert_false(attempts_may(t, &device, now));
	buckets_free(t);
}

/* Ten wrong passwords for a user from an address, a hundred from an address, and time heals. */
static void
guessing_is_slow(void **state)
{
	struct buckets *t = buckets_new();
	struct attempts_key bob, elsewhere, same_net, alice;
	uint64_t now = 1000000;
	unsigned i;

	(void)state;
	assert_non_null(t);
	attempts_key(&bob, ATTEMPTS_DEVICE, "192.0.2.1:1000", SL("bob"));
	attempts_key(&same_net, ATTEMPTS_DEVICE, "192.0.2.1:2000", SL("bob"));
	attempts_key(&elsewhere, ATTEMPTS_DEVICE, "192.0.2.2:1000", SL("bob"));
	attempts_key(&alice, ATTEMPTS_DEVICE, "192.0.2.1:1000", SL("alice"));
	for (i = 0; i < 10; i++) {
		assert_true(attempts_may(t, &bob, now));
		attempts_failed(t, &bob, now);
	}
	assert_false(attempts_may(t, &bob, now));
	assert_false(attempts_may(t, &same_net, now));
	assert_true(attempts_may(t, &elsewhere, now));
	assert_true(attempts_may(t, &alice, now));
	assert_false(attempts_may(t, &bob, now + 4999));
	assert_true(attempts_may(t, &bob, now + 5000));
	now += 100000;
	for (i = 0; i < 100; i++) {
		struct attempts_key k;
		char name[8];

		assert_true(attempts_may(t, &alice, now));
		(void)snprintf(name, sizeof(name), "u%u", i);
		attempts_key(&k, ATTEMPTS_DEVICE, "192.0.2.1:1", slice_str(name));
		attempts_failed(t, &k, now);
	}
	assert_false(attempts_may(t, &alice, now));
	assert_true(attempts_may(t, &elsewhere, now));
	assert_true(attempts_may(t, &alice, now + 500));
	buckets_free(t);
}

/* What is being judged counts; what was right does not. */
static void
guesses_in_parallel_are_no_more(void **state)
{
	struct buckets *t = buckets_new();
	struct attempts_key bob, alice;
	uint64_t now = 1000000;

	(void)state;
	assert_non_null(t);
	attempts_key(&bob, ATTEMPTS_PERSON, "192.0.2.1:1000", SL("bob"));
	attempts_key(&alice, ATTEMPTS_PERSON, "192.0.2.1:1000", SL("alice"));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 5; i++)
			assert_true(attempts_take(t, &bob, now));
		assert_false(attempts_take(t, &bob, now));
		assert_true(attempts_take(t, &alice, now));
		attempts_spare(t, &alice);
		for (unsigned i = 0; i < 5; i++)
			attempts_spare(t, &bob);
	}
	/* The address has its own bound, and who is over it pays nothing for his name. */
	for (unsigned i = 0; i < 100; i++) {
		struct attempts_key k;
		char name[8];

		(void)snprintf(name, sizeof(name), "u%u", i);
		attempts_key(&k, ATTEMPTS_PERSON, "192.0.2.1:1", slice_str(name));
		assert_true(attempts_take(t, &k, now));
	}
	for (unsigned i = 0; i < 20; i++)
		assert_false(attempts_take(t, &alice, now));
	assert_true(attempts_take(t, &alice, now + 500));
	/* One who was not counted gains nothing by being spared. */
	attempts_key(&bob, ATTEMPTS_PERSON, "198.51.100.1:1", SL("bob"));
	attempts_spare(t, &bob);
	for (unsigned i = 0; i < 5; i++)
		assert_true(attempts_take(t, &bob, now));
	assert_false(attempts_take(t, &bob, now));
	buckets_free(t);
}

static void
addresses_of_one_network_count_as_one(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} pairs[] = {
		{ "[2001:db8::1]:1", "[2001:db8::ffff:2]:2", true },
		{ "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false },
		{ "[fe80::1%eth0]:1", "[fe80::2%eth0]:1", true },
		{ "unix", "unix", true },
		{ "unix", "192.0.2.1:1", false },
		{ "192.0.2.1:1", "192.0.2.1:2", true },
		{ "0.0.0.0:1", "unix", false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(pairs); i++) {
		struct attempts_key a, b;

		attempts_key(&a, ATTEMPTS_DEVICE, pairs[i].a, SL("x"));
		attempts_key(&b, ATTEMPTS_DEVICE, pairs[i].b, SL("x"));
		assert_int_equal(a.of[ATTEMPTS_USER] == b.of[ATTEMPTS_USER], pairs[i].same);
		assert_int_equal(a.of[ATTEMPTS_ADDRESS] == b.of[ATTEMPTS_ADDRESS], pairs[i].same);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_may_be_an_identity),
		cmocka_unit_test(guessing_is_slow),
		cmocka_unit_test(people_have_fewer),
		cmocka_unit_test(guesses_in_parallel_are_no_more),
		cmocka_unit_test(addresses_of_one_network_count_as_one),
		cmocka_unit_test(each_rule_has_its_answer),
		cmocka_unit_test(the_subject_may_be_the_name),
		cmocka_unit_test(rules_follow_the_configuration),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
