/* For the tests of authz/: people and policies made in a line. */
#ifndef AUTHZ_TESTING_H
#define AUTHZ_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "authz/authz.h"

static const uint8_t test_key[32] = { 1 }, test_print[32] = { 2 };

/* With a certificate; <cn> may hold NUL bytes. */
static inline struct authz_principal *
test_cert(enum authz_role role, struct slice cn)
{
	struct authz_facts f = { .role = role,
		.has_cert = true,
		.cn = cn,
		.username = cn,
		.subject = SL("CN=x,O=y"),
		.issuer = SL("CN=ca"),
		.serial = SL("\x01\x02"),
		.issuer_key = test_key,
		.fingerprint = test_print,
		.not_after = 4102444800 };
	struct authz_principal *p = authz_principal_new(&f);

	assert_non_null(p);
	return p;
}

/* Without one; NULL: anonymous. */
static inline struct authz_principal *
test_user(const char *name)
{
	struct authz_facts f = { .username = slice_str(name) };
	struct authz_principal *p = authz_principal_new(&f);

	assert_non_null(p);
	return p;
}

static inline struct authz_policy *
test_policy(const char *text)
{
	struct err err = { 0 };
	struct authz_policy *p = authz_policy_parse(slice_str(text), "test", &err);

	if (p == NULL)
		fail_msg("%s", err.text);
	return p;
}

static inline struct authz_policy *
test_acl(const char *text)
{
	struct err err = { 0 };
	struct authz_policy *p = authz_policy_parse_acl(slice_str(text), "acl", &err);

	if (p == NULL)
		fail_msg("%s", err.text);
	return p;
}

static inline struct authz_policy *
test_builtin(const char *name)
{
	struct err err = { 0 };
	struct authz_policy *p = authz_policy_parse(authz_policy_builtin(name), name, &err);

	if (p == NULL)
		fail_msg("%s", err.text);
	return p;
}

#endif
