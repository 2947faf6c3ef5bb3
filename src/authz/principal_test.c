/* Principals: what goes in comes out, once; and who is the same as whom. */
#include "authz/testing.h"

#include <stdlib.h>

static const uint8_t key_a[32] = { 10 }, key_b[32] = { 11 }, print_a[32] = { 20 },
		     print_b[32] = { 21 };

static void
facts_come_back(void **state)
{
	static const struct authz_facts cases[] = {
		{ 0 },
		{ .username = SL("roger") },
		{ .username = { (const uint8_t *)"", 0 } },
		{ .role = AUTHZ_ROLE_CLIENT,
		    .has_cert = true,
		    .cn = SL("DA1275B0"),
		    .username = SL("DA1275B0"),
		    .subject = SL("CN=DA1275B0,O=SpringCard"),
		    .issuer = SL("CN=Client CA"),
		    .serial = SL("\x00\xff\x01"),
		    .issuer_key = key_a,
		    .fingerprint = print_a,
		    .not_after = 4102444800 },
		{ .role = AUTHZ_ROLE_WATCH,
		    .has_cert = true,
		    .cn = SL("a,b"),
		    .username = SL("other"),
		    .subject = SL("CN=a\\,b"),
		    .issuer = SL("CN=W"),
		    .fingerprint = print_b,
		    .not_after = -1 },
		{ .role = AUTHZ_ROLE_NONE,
		    .has_cert = true,
		    .subject = SL("O=no name"),
		    .issuer = SL("O=x"),
		    .username = SL("O=no name"),
		    .issuer_key = key_b,
		    .serial = SL("12345678901234567890") },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct authz_facts *in = &cases[i];
		struct authz_facts out;
		struct authz_principal *p = authz_principal_new(in);

		assert_non_null(p);
		authz_principal_facts(p, &out);
		assert_int_equal(out.role, in->role);
		assert_int_equal(authz_principal_role(p), in->role);
		assert_int_equal(out.has_cert, in->has_cert);
		assert_true(slice_eq(out.cn, in->cn) && slice_eq(out.subject, in->subject));
		assert_true(slice_eq(out.issuer, in->issuer) && slice_eq(out.serial, in->serial));
		assert_true(slice_eq(out.username, in->username));
		assert_int_equal(out.username.p == NULL, in->username.p == NULL);
		assert_true(slice_eq(authz_principal_username(p), in->username));
		assert_int_equal(out.issuer_key == NULL, in->issuer_key == NULL);
		assert_int_equal(out.fingerprint == NULL, in->fingerprint == NULL);
		if (in->issuer_key != NULL)
			assert_memory_equal(out.issuer_key, in->issuer_key, 32);
		if (in->fingerprint != NULL)
			assert_memory_equal(out.fingerprint, in->fingerprint, 32);
		assert_int_equal(out.not_after, in->not_after);
		authz_principal_unref(p);
	}
}

static void
a_name_is_kept_once(void **state)
{
	struct authz_principal *p = test_cert(AUTHZ_ROLE_CLIENT, SL("DA1275B0"));
	struct authz_facts f = { .has_cert = true,
		.cn = SL("DA1275B0"),
		.username = SL("DA1275B0"),
		.subject = SL("CN=DA1275B0,O=SpringCard") };
	struct authz_facts out;

	(void)state;
	authz_principal_facts(p, &out);
	assert_ptr_equal(out.cn.p, out.username.p);
	authz_principal_unref(p);
	p = authz_principal_new(&f);
	assert_non_null(p);
	authz_principal_facts(p, &out);
	assert_ptr_equal(out.cn.p, out.subject.p + 3);
	assert_ptr_equal(out.username.p, out.cn.p);
	authz_principal_unref(p);
}

static void
limits(void **state)
{
	uint8_t *big = calloc(1, 65536);
	struct authz_facts f = { 0 };
	struct authz_principal *p;

	(void)state;
	assert_non_null(big);
	for (struct slice *s = &f.cn; s <= &f.serial; s++) {
		size_t max = s == &f.serial ? AUTHZ_SERIAL_MAX : 65535;

		*s = slice_of(big, max + 1);
		assert_null(authz_principal_new(&f));
		*s = slice_of(big, max);
		p = authz_principal_new(&f);
		assert_non_null(p);
		authz_principal_unref(p);
	}
	free(big);
	authz_principal_unref(NULL);
}

static void
references(void **state)
{
	struct authz_principal *p = test_user("roger");

	(void)state;
	assert_ptr_equal(authz_principal_ref(p), p);
	authz_principal_unref(p);
	assert_true(slice_eq(authz_principal_username(p), SL("roger")));
	authz_principal_unref(p);
}

static void
same_identity(void **state)
{
	static const struct authz_facts who[] = {
		{ 0 },
		{ .username = { (const uint8_t *)"", 0 } },
		{ .username = SL("d1") },
		{ .has_cert = true,
		    .cn = SL("d1"),
		    .username = SL("d1"),
		    .issuer_key = key_a,
		    .fingerprint = print_a },
		{ .has_cert = true,
		    .cn = SL("d1"),
		    .username = SL("d1"),
		    .issuer_key = key_b,
		    .fingerprint = print_a },
		{ .has_cert = true,
		    .cn = SL("D1"),
		    .username = SL("d1"),
		    .issuer_key = key_a,
		    .fingerprint = print_a },
		{ .has_cert = true, .cn = SL("d1\0"), .username = SL("d1"), .issuer_key = key_a },
		{ .has_cert = true, .issuer_key = key_a, .fingerprint = print_a },
		{ .has_cert = true, .issuer_key = key_a, .fingerprint = print_b },
		{ .role = AUTHZ_ROLE_CLIENT,
		    .has_cert = true,
		    .cn = SL("d2"),
		    .issuer_key = key_a },
	};
	enum { N = sizeof who / sizeof who[0] };
	struct authz_facts renewed = who[3];
	struct authz_principal *p[N], *q;

	(void)state;
	for (size_t i = 0; i < N; i++)
		assert_non_null(p[i] = authz_principal_new(&who[i]));
	for (size_t i = 0; i < N; i++) {
		assert_non_null(q = authz_principal_new(&who[i]));
		assert_true(authz_same_identity(p[i], q));
		for (size_t j = 0; j < N; j++)
			assert_int_equal(authz_same_identity(q, p[j]), i == j);
		authz_principal_unref(q);
	}
	/* A renewed certificate, or another user name beside it, is still the same device. */
	renewed.fingerprint = print_b;
	renewed.username = SL("x");
	renewed.not_after = 1;
	assert_non_null(q = authz_principal_new(&renewed));
	assert_true(authz_same_identity(p[3], q));
	authz_principal_unref(q);
	/* Two certificates that say neither name nor fingerprint are not the same. */
	renewed = (struct authz_facts){ .has_cert = true, .issuer_key = key_a };
	assert_non_null(q = authz_principal_new(&renewed));
	authz_principal_unref(p[0]);
	assert_non_null(p[0] = authz_principal_new(&renewed));
	assert_false(authz_same_identity(p[0], q));
	authz_principal_unref(q);
	for (size_t i = 0; i < N; i++)
		authz_principal_unref(p[i]);
}

static void
role_names(void **state)
{
	enum authz_role role;

	(void)state;
	for (unsigned i = AUTHZ_ROLE_NONE + 1; i < AUTHZ_ROLE_QUARANTINE; i++) {
		assert_true(
		    authz_role_parse(slice_str(authz_role_name((enum authz_role)i)), &role));
		assert_int_equal(role, i);
	}
	assert_string_equal(authz_role_name(AUTHZ_ROLE_NONE), "none");
	/* Nobody can be given it. */
	assert_string_equal(authz_role_name(AUTHZ_ROLE_QUARANTINE), "quarantine");
	assert_false(authz_role_parse(SL("quarantine"), &role));
	assert_false(authz_role_parse(SL("none"), &role));
	assert_false(authz_role_parse(SL("Client"), &role));
	assert_false(authz_role_parse(SL(""), &role));
	assert_false(authz_role_parse(SL("client "), &role));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(facts_come_back),
		cmocka_unit_test(a_name_is_kept_once),
		cmocka_unit_test(limits),
		cmocka_unit_test(references),
		cmocka_unit_test(same_identity),
		cmocka_unit_test(role_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
