/* Password and key files: what is accepted, what is refused and in which words, and that others' files work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/num.h"
#include "passwd/internal.h"

/* Allocation number <fail_at> fails; 0: none. */
static unsigned fail_at, allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_reallocarray(void *p, size_t n, size_t m);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_reallocarray(void *p, size_t n, size_t m);

static bool
fails(void)
{
	return fail_at != 0 && ++allocations == fail_at;
}

void *
__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t m)
{
	return fails() ? NULL : __real_calloc(n, m);
}

void *
__wrap_reallocarray(void *p, size_t n, size_t m)
{
	return fails() ? NULL : __real_reallocarray(p, n, m);
}

/* Made by Debian's mosquitto_passwd 2.0.11 and by the argon2 program; the password is "secret". */
#define M6                                                                                                                       \
	"$6$pHZqXIfmxT9fB0VH$A1ZHoY1tWHLrQuaEW1q8a8R3JWpt6ox7szcrBUyVWBhu3IFCmg+/Psep2CwTCflOv2A015RqpSIOhlItBK9iEQ=="
#define M7                                                                                                                       \
	"$7$101$wJHLipKy+xkGasGP$foQcXFqUjlwcNQZY/OjfiD86r7pH3cRtRBIJMjW3xi/V76fbON1WEhuxvF/K/bxYV0rB9ps9qFbqwKs6SQc9dQ=="
#define A1 "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0MTIzNA$OuqdlUZ4TQoMBelbZTWbxKVhK1zA+Xf3LMtSPqH81ik"
#define A2 "$argon2id$v=19$m=64,t=2,p=2$c2FsdHNhbHRzYWx0MTIzNA$/MBz/jXz3RWDPxOY29Dqm9XdreFmgNf3KiWKVuPJ10BYYlkvKJw0pxrz0kZoKLEqGUZe2/pXP/OmsWle36Hs6w"
/* RFC 7677 3: the password is "pencil". */
#define S1                                                                                                                      \
	"$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPl"  \
	"ZqQxSrmfPwDl2dU="
#define H64 "A1ZHoY1tWHLrQuaEW1q8a8R3JWpt6ox7szcrBUyVWBhu3IFCmg+/Psep2CwTCflOv2A015RqpSIOhlItBK9iEQ=="

static void
others_hashes_are_understood(void **state)
{
	static const struct {
		const char *hash;
		enum passwd_kind kind;
	} made[] = { { M6, PASSWD_SHA512 }, { M7, PASSWD_PBKDF2 }, { A1, PASSWD_ARGON2ID }, { A2, PASSWD_ARGON2ID } };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(made); i++) {
		char text[400];
		struct err err = { 0 };
		enum passwd_kind kind = PASSWD_KINDS;
		struct passwd_file *f;

		(void)snprintf(text, sizeof(text), "# users\r\n\n bob :%s \r\n", made[i].hash);
		f = passwd_parse(slice_str(text), "f", &err);
		if (f == NULL)
			fail_msg("%s", err.text);
		assert_int_equal(passwd_count(f), 1);
		assert_int_equal(passwd_check(f, SL("bob"), SL("secret"), &kind), PASSWD_RIGHT);
		assert_int_equal(kind, made[i].kind);
		assert_int_equal(passwd_check(f, SL("bob"), SL("secretx"), &kind), PASSWD_WRONG);
		assert_int_equal(passwd_check(f, SL("bob"), SL("secre"), &kind), PASSWD_WRONG);
		assert_int_equal(passwd_check(f, SL("bob"), (struct slice){ 0 }, &kind), PASSWD_WRONG);
		kind = PASSWD_KINDS;
		assert_int_equal(passwd_check(f, SL("Bob"), SL("secret"), &kind), PASSWD_UNKNOWN);
		assert_int_equal(kind, made[i].kind);
		assert_int_equal(passwd_check(f, SL(""), SL("secret"), &kind), PASSWD_UNKNOWN);
		passwd_unref(f);
	}
}

/* The hash of nothing, which no program of ours writes, lets nobody in. */
static void
an_empty_password_is_none(void **state)
{
	static const char text[] = "bob:$6$c2FsdCBvZiB0d2Vs$0t83QmT+QANmWQb1PvLO60A+g/TT29tBrj"
				   "yOHFAiSKwUA7TdrZuqMM8D+WGueVGdDdiy7A11UzD7BRjsZ/t8KA==\n";
	struct err err = { 0 };
	enum passwd_kind kind;
	struct passwd_file *f = passwd_parse(slice_str(text), "f", &err);

	(void)state;
	assert_non_null(f);
	assert_int_equal(passwd_check(f, SL("bob"), SL(""), &kind), PASSWD_WRONG);
	passwd_unref(f);
}

/* clang-format off */
static const struct {
	const char *text, *error;
} bad[] = {
	{ "bob\n", "f:1: not of the form user:hash: there is no ':' in the line" },
	{ "#\n\nbob:\n", "f:3: user 'bob': there is no password" },
	{ "bob: \n", "f:1: user 'bob': there is no password" },
	{ ":" M6 "\n", "f:1: the user name is empty" },
	{ "bob:secret\n", "f:1: user 'bob': the password stands there in plain text; `signet passwd -U FILE` makes hashes of such lines" },
	{ "bob:" M6 "\nalice:" M7 "\nbob:" M7, "f:3: the user 'bob' stands in line 1 already; remove one of the two" },
	{ "bob:$5$abc$def", "f:1: user 'bob': the hash is of no kind that is known: $6$, $7$, $argon2id$ or $scram-sha-256$" },
	{ "bob:$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA", "f:1: user 'bob': the hash is of no kind that is known: $6$, $7$, $argon2id$ or $scram-sha-256$" },
	{ "bob:$", "f:1: user 'bob': the hash is of no kind that is known: $6$, $7$, $argon2id$ or $scram-sha-256$" },
	{ "bob:$6$pHZqXIfmxT9fB0VH", "f:1: user 'bob': the hash is missing; was the line cut?" },
	{ "bob:$6$pHZqXIfmxT9fB0VH$", "f:1: user 'bob': the hash is not one of 64 bytes, as SHA-512 makes them; was the line cut?" },
	{ "bob:$6$pHZqXIfmxT9fB0VH$AAAA", "f:1: user 'bob': the hash is not one of 64 bytes, as SHA-512 makes them; was the line cut?" },
	{ "bob:$6$pHZ!$" H64, "f:1: user 'bob': the salt is not base64 of at most 128 bytes" },
	{ "bob:$6$$" H64, "f:1: user 'bob': the salt is shorter than 8 bytes" },
	{ "bob:" M6 "$x", "f:1: user 'bob': there is something behind the hash" },
	{ "bob:" M6 ":x", "f:1: user 'bob': the hash is not base64 of at most 128 bytes" },
	{ "bob:$7$$pHZqXIfmxT9fB0VH$" H64, "f:1: user 'bob': the number of iterations is missing" },
	{ "bob:$7$0$pHZqXIfmxT9fB0VH$" H64, "f:1: user 'bob': the number of iterations is missing" },
	{ "bob:$7$-1$pHZqXIfmxT9fB0VH$" H64, "f:1: user 'bob': the number of iterations is missing" },
	{ "bob:$7$2000001$pHZqXIfmxT9fB0VH$" H64, "f:1: user 'bob': so many iterations would hold the broker up: at most 2000000" },
	{ "bob:$argon2id$v=16$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA", "f:1: user 'bob': argon2id of another version than v=19" },
	{ "bob:$argon2id$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA", "f:1: user 'bob': argon2id of another version than v=19" },
	{ "bob:$argon2id$v=19$t=1,m=8,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA", "f:1: user 'bob': argon2id needs m=KIB,t=PASSES,p=LANES" },
	{ "bob:$argon2id$v=19$m=8,t=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA", "f:1: user 'bob': argon2id needs m=KIB,t=PASSES,p=LANES" },
	{ "bob:$argon2id$v=19$m=8,t=1,p=1,x=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA", "f:1: user 'bob': argon2id has more parameters than m, t and p" },
	{ "bob:$argon2id$v=19$m=4,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA", "f:1: user 'bob': argon2id needs at least 8 KiB a lane" },
	{ "bob:$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA",
	    "f:1: user 'bob': argon2id with these costs would hold the broker up: at most m=262144, p=16, and m times t 1048576" },
	{ "bob:$argon2id$v=19$m=262144,t=5,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA",
	    "f:1: user 'bob': argon2id with these costs would hold the broker up: at most m=262144, p=16, and m times t 1048576" },
	{ "bob:$argon2id$v=19$m=8,t=4294967295,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA",
	    "f:1: user 'bob': argon2id with these costs would hold the broker up: at most m=262144, p=16, and m times t 1048576" },
	{ "bob:$argon2id$v=19$m=256,t=1,p=17$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0MTIzNA",
	    "f:1: user 'bob': argon2id with these costs would hold the broker up: at most m=262144, p=16, and m times t 1048576" },
	{ "bob:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2Fs", "f:1: user 'bob': the hash is shorter than 16 bytes; was the line cut?" },
	{ "b\x01:" M6, "f:1: a user name must not contain ':' or control characters" },
	{ "b\xff:" M6, "f:1: the user name is not UTF-8 text" },
};
/* clang-format on */

static void
a_bad_line_is_named(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = { 0 };

		assert_null(passwd_parse(slice_str(bad[i].text), "f", &err));
		assert_string_equal(err.text, bad[i].error);
	}
}

/* CVE-2018-12551: however a line is cut, nobody is let in by it. */
static void
no_truncation_lets_anybody_in(void **state)
{
	static const char *const lines[] = { "bob:" M6, "bob:" M7, "bob:" A1 };
	size_t i, n;

	(void)state;
	for (i = 0; i < ARRAY_LEN(lines); i++) {
		for (n = 1; n < strlen(lines[i]); n++) {
			struct err err = { 0 };
			struct passwd_file *f = passwd_parse(slice_of(lines[i], n), "f", &err);
			enum passwd_kind kind;

			/* Without a length of its own, a hash of argon2id may be cut to a shorter one, which then is of another
			 * value; padding of base64 may be left out. */
			if (f == NULL)
				continue;
			assert_true(n + 2 >= strlen(lines[i]) || i == 2);
			if (i == 2)
				assert_int_equal(passwd_check(f, SL("bob"), SL("secret"), &kind), PASSWD_WRONG);
			passwd_unref(f);
		}
	}
}

static void
an_empty_file_knows_nobody(void **state)
{
	static const char *const texts[] = { "", "\n", "# bob:x\n\r\n" };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(texts); i++) {
		struct err err = { 0 };
		struct passwd_file *f = passwd_parse(slice_str(texts[i]), "f", &err);
		enum passwd_kind kind;

		assert_non_null(f);
		assert_int_equal(passwd_count(f), 0);
		assert_int_equal(passwd_check(f, SL("bob"), SL(""), &kind), PASSWD_UNKNOWN);
		passwd_unref(passwd_ref(f));
		passwd_unref(f);
	}
}

/* In a file of mixed kinds, an unknown name costs what some entry costs, and the same each time. */
static void
unknown_names_cost_what_others_cost(void **state)
{
	struct err err = { 0 };
	struct passwd_file *f = passwd_parse(SL("a:" M6 "\nb:" M7 "\nc:" A2 "\nd:" S1 "\n"), "f", &err);
	unsigned seen[PASSWD_KINDS] = { 0 };
	unsigned i;

	(void)state;
	assert_non_null(f);
	for (i = 0; i < 300; i++) {
		char name[16];
		enum passwd_kind first = PASSWD_KINDS, second = PASSWD_KINDS;

		(void)snprintf(name, sizeof(name), "nobody%u", i);
		assert_int_equal(passwd_check(f, slice_str(name), SL("secret"), &first), PASSWD_UNKNOWN);
		assert_int_equal(passwd_check(f, slice_str(name), SL("other"), &second), PASSWD_UNKNOWN);
		assert_int_equal(first, second);
		seen[first]++;
	}
	for (i = 0; i < PASSWD_KINDS; i++)
		assert_true(seen[i] > 0);
	passwd_unref(f);
}

static void
our_hashes_can_be_read(void **state)
{
	static const struct {
		enum passwd_kind kind;
		uint32_t cost;
	} kinds[] = { { PASSWD_SHA512, 0 }, { PASSWD_PBKDF2, 5 }, { PASSWD_ARGON2ID, 64 }, { PASSWD_PBKDF2, 0 },
		{ PASSWD_ARGON2ID, 0 } };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(kinds); i++) {
		char hash[PASSWD_HASH_TEXT_MAX], again[PASSWD_HASH_TEXT_MAX], text[PASSWD_HASH_TEXT_MAX + 16];
		struct err err = { 0 };
		enum passwd_kind kind;
		struct passwd_file *f;

		assert_true(passwd_hash(kinds[i].kind, kinds[i].cost, SL("p\xc3\xa4ss"), hash, &err));
		assert_true(passwd_hash(kinds[i].kind, kinds[i].cost, SL("p\xc3\xa4ss"), again, &err));
		assert_string_not_equal(hash, again);
		(void)snprintf(text, sizeof(text), "u:%s", hash);
		f = passwd_parse(slice_str(text), "f", &err);
		assert_non_null(f);
		assert_int_equal(passwd_check(f, SL("u"), SL("p\xc3\xa4ss"), &kind), PASSWD_RIGHT);
		assert_int_equal(passwd_check(f, SL("u"), SL("pass"), &kind), PASSWD_WRONG);
		passwd_unref(f);
	}
}

static void
costs_have_bounds(void **state)
{
	static const struct {
		enum passwd_kind kind;
		uint32_t cost;
	} beyond[] = { { PASSWD_SHA512, 1 }, { PASSWD_PBKDF2, PASSWD_ITERATIONS_MAX + 1 }, { PASSWD_ARGON2ID, 7 },
		{ PASSWD_ARGON2ID, PASSWD_ARGON2_KIB_MAX + 1 } };
	char hash[PASSWD_HASH_TEXT_MAX];
	static uint8_t huge[UINT16_MAX + 1];
	struct err err;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(beyond); i++)
		assert_false(passwd_hash(beyond[i].kind, beyond[i].cost, SL("x"), hash, &err));
	assert_false(passwd_hash(PASSWD_SHA512, 0, SL(""), hash, &err));
	assert_false(passwd_hash(PASSWD_SHA512, 0, slice_of(huge, sizeof(huge)), hash, &err));
	assert_int_equal(err.code, ERR_USAGE);
}

static void
names_that_a_file_can_hold(void **state)
{
	static const struct {
		const char *name;
		bool ok;
	} names[] = { { "bob", true }, { "b b", true }, { "p\xc3\xa4", true }, { "", false }, { "a:b", false }, { " a", false },
		{ "a ", false }, { "#a", false }, { "a\n", false }, { "\x7f", false }, { "\xc3", false } };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(passwd_user_ok(slice_str(names[i].name), NULL), names[i].ok);
}

static void
edits_leave_the_rest_alone(void **state)
{
	static const struct {
		const char *before, *hash, *after;
		bool found;
	} edits[] = {
		{ "", "H", "bob:H\n", false },
		{ "# c\nal:x\n", "H", "# c\nal:x\nbob:H\n", false },
		{ "al:x", "H", "al:x\nbob:H\n", false },
		{ "# c\n bob : x\n\nal:x\n", "H", "# c\nbob:H\n\nal:x\n", true },
		{ "bob:1\nbobby:2\nbob:3\n", "H", "bob:H\nbobby:2\n", true },
		{ "bob:1\nal:2\n", NULL, "al:2\n", true },
		{ "bob:1", NULL, "", true },
		{ "al:2\nnonsense\n", NULL, "al:2\nnonsense\n", false },
		{ "#bob:1\n", NULL, "#bob:1\n", false },
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(edits); i++) {
		uint8_t *text = NULL;
		size_t n = 0;
		bool found = !edits[i].found;

		assert_true(passwd_edit(slice_str(edits[i].before), SL("bob"), edits[i].hash, &text, &n, &found));
		assert_string_equal((char *)text, edits[i].after);
		assert_int_equal(n, strlen(edits[i].after));
		assert_int_equal(found, edits[i].found);
		free(text);
	}
}

static void
plain_passwords_become_hashes(void **state)
{
	static const char before[] = "# c\nbob:secret\nal:" M6 "\neve:$dollar:s\n";
	struct err err = { 0 };
	struct passwd_upgraded up = { 0 };
	struct passwd_file *f;
	enum passwd_kind kind;

	(void)state;
	assert_true(passwd_upgrade(SL(before), "f", PASSWD_PBKDF2, 3, &up, &err));
	assert_int_equal(up.changed, 2);
	assert_non_null(strstr((char *)up.text, "al:" M6 "\n"));
	f = passwd_parse(slice_of(up.text, up.n), "f", &err);
	assert_non_null(f);
	assert_int_equal(passwd_check(f, SL("bob"), SL("secret"), &kind), PASSWD_RIGHT);
	assert_int_equal(passwd_check(f, SL("eve"), SL("$dollar:s"), &kind), PASSWD_RIGHT);
	assert_int_equal(passwd_check(f, SL("al"), SL("secret"), &kind), PASSWD_RIGHT);
	passwd_unref(f);
	free(up.text);
	assert_false(passwd_upgrade(SL("bob:x\nal\n"), "f", PASSWD_PBKDF2, 3, &up, &err));
	assert_string_equal(err.text, "f:2: not of the form user:password");
	assert_false(passwd_upgrade(SL("bob:\n"), "f", PASSWD_PBKDF2, 3, &up, &err));
}

static void
base64_is_canonical(void **state)
{
	static const struct {
		const char *text, *bytes;
	} cases[] = { { "", "" }, { "Zg==", "f" }, { "Zg", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" },
		{ "Zm9vYmE", "fooba" }, { "Zh==", NULL }, { "Zg=", NULL }, { "Z", NULL }, { "Zg===", NULL }, { "=", NULL },
		{ "Zm9=v", NULL }, { "Zm 9v", NULL }, { "Zm9v====", NULL }, { "Zm9-", NULL } };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t out[8];
		char text[16];
		size_t n = 0;
		bool ok = base64_get(slice_str(cases[i].text), out, sizeof(out), &n);

		assert_int_equal(ok, cases[i].bytes != NULL);
		if (!ok)
			continue;
		assert_true(slice_eq(slice_of(out, n), slice_str(cases[i].bytes)));
		base64_put(slice_of(out, n), strchr(cases[i].text, '=') != NULL, text);
		assert_string_equal(text, cases[i].text);
	}
	assert_false(base64_get(SL("Zm9vYmE"), (uint8_t[4]){ 0 }, 4, &(size_t){ 0 }));
}

static void
keys_by_identity(void **state)
{
	uint8_t key[PSK_KEY_MAX], other[PSK_KEY_MAX];
	struct err err = { 0 };
	struct psk_file *f = psk_parse(SL("# k\ndev1:deadBEEF\r\n\ndev2:00112233445566778899aabbccddeeff\n"), "f", &err);
	size_t n = 0;

	(void)state;
	assert_non_null(f);
	assert_int_equal(psk_count(f), 2);
	assert_int_equal(psk_weak(f), 1);
	assert_true(psk_find(f, SL("dev1"), key, &n));
	assert_int_equal(n, 4);
	assert_memory_equal(key, "\xde\xad\xbe\xef", 4);
	assert_true(psk_find(f, SL("dev2"), key, &n));
	assert_int_equal(n, 16);
	/* An unknown identity has a key all the same, and each time another. */
	assert_false(psk_find(f, SL("dev3"), key, &n));
	assert_int_equal(n, 32);
	assert_false(psk_find(f, SL("dev3"), other, &n));
	assert_memory_not_equal(key, other, 32);
	psk_unref(psk_ref(f));
	psk_unref(f);
	psk_unref(NULL);
}

static void
a_bad_key_is_named(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "dev1\n", "f:1: not of the form identity:key: there is no ':' in the line" },
		{ "dev1:\n", "f:1: identity 'dev1': there is no key" },
		{ "\n:aa\n", "f:2: the user name is empty" },
		{ "dev1:abc", "f:1: identity 'dev1': the key has an odd number of hexadecimal digits; was the line cut?" },
		{ "dev1:0xaa", "f:1: identity 'dev1': the key is not hexadecimal" },
		{ "dev1:aa\ndev1:bb", "f:2: the identity 'dev1' stands in line 1 already; remove one of the two" },
	};
	char text[2 * PSK_KEY_MAX + 20];
	struct err err = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		assert_null(psk_parse(slice_str(cases[i].text), "f", &err));
		assert_string_equal(err.text, cases[i].error);
	}
	memset(text, 'a', sizeof(text));
	memcpy(text, "d:", 2);
	assert_null(psk_parse(slice_of(text, 2 * PSK_KEY_MAX + 4), "f", &err));
	assert_string_equal(err.text, "f:1: identity 'd': the key is longer than 256 bytes");
	text[1] = 'a';
	text[PSK_IDENTITY_MAX + 1] = ':';
	assert_null(psk_parse(slice_of(text, PSK_IDENTITY_MAX + 4), "f", &err));
	assert_string_equal(err.text, "f:1: the identity is longer than 256 bytes");
}

static void
out_of_memory_is_an_error(void **state)
{
	static const char text[] = "a:" M6 "\nb:" M7 "\n";
	struct err err = { 0 };
	bool done = false;

	(void)state;
	for (fail_at = 1; !done; fail_at++) {
		struct passwd_file *f;
		struct psk_file *k;
		uint8_t *edited = NULL;
		size_t n = 0;
		bool found;

		allocations = 0;
		f = passwd_parse(SL(text), "f", &err);
		k = f != NULL ? psk_parse(SL("a:aa\n"), "f", &err) : NULL;
		done = k != NULL && passwd_edit(SL(text), SL("a"), "H", &edited, &n, &found);
		if (f == NULL || k == NULL)
			assert_int_equal(err.code, ERR_MEMORY);
		free(edited);
		passwd_unref(f);
		psk_unref(k);
		assert_true(fail_at < 100);
	}
	fail_at = 0;
	assert_true(allocations > 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_hashes_are_understood),
		cmocka_unit_test(an_empty_password_is_none),
		cmocka_unit_test(a_bad_line_is_named),
		cmocka_unit_test(no_truncation_lets_anybody_in),
		cmocka_unit_test(an_empty_file_knows_nobody),
		cmocka_unit_test(unknown_names_cost_what_others_cost),
		cmocka_unit_test(our_hashes_can_be_read),
		cmocka_unit_test(costs_have_bounds),
		cmocka_unit_test(names_that_a_file_can_hold),
		cmocka_unit_test(edits_leave_the_rest_alone),
		cmocka_unit_test(plain_passwords_become_hashes),
		cmocka_unit_test(base64_is_canonical),
		cmocka_unit_test(keys_by_identity),
		cmocka_unit_test(a_bad_key_is_named),
		cmocka_unit_test(out_of_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
