/* SCRAM-SHA-256: the RFC's example, both sides against each other, and everything that is no SCRAM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/num.h"
#include "passwd/internal.h"

static bool no_memory;
void *__real_calloc(size_t n, size_t m);
void *__wrap_calloc(size_t n, size_t m);

void *
__wrap_calloc(size_t n, size_t m)
{
	return no_memory ? NULL : __real_calloc(n, m);
}

/* RFC 7677 3; the password is "pencil". */
#define KEYS "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define SECRET "$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==" KEYS
#define CNONCE "rOprNGfwEbeRWgbNEkqO"
#define SNONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define C1 "n,,n=user,r=" CNONCE
#define S1 "r=" CNONCE SNONCE ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
#define C2 "c=biws,r=" CNONCE SNONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define S2 "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
/* "old" has a hash of another kind; its password is "secret". */
#define OLD                                                                                                                     \
	"$7$101$wJHLipKy+xkGasGP$foQcXFqUjlwcNQZY/OjfiD86r7pH3cRtRBIJMjW3xi/V76fbON1WEhuxvF/K/bxYV0rB9ps9qFbqwKs6SQc9dQ=="

static const uint8_t secret[SCRAM_SECRET_N] = "a secret of this broker's own ..";

static struct passwd_file *
file_of(const char *text)
{
	struct err err = { 0 };
	struct passwd_file *f = passwd_parse(slice_str(text), "f", &err);

	if (f == NULL)
		fail_msg("%s", err.text);
	return f;
}

static struct passwd_file *
file(void)
{
	return file_of("old:" OLD "\nuser:" SECRET "\na,b=c:" SECRET "\n");
}

static void
assert_answer(const struct scram_answer *a, const char *want)
{
	if (!slice_eq(slice_of(a->p, a->n), slice_str(want)))
		fail_msg("'%.*s', not '%s'", (int)a->n, (const char *)a->p, want);
}

/* The server's first step with the RFC's nonce. */
static enum scram_result
start(const struct passwd_file *f, struct slice in, struct scram_server **ret, struct scram_answer *a)
{
	struct scram_given g = { f, secret, SNONCE };

	*ret = NULL;
	return scram_server_begin(&g, in, ret, a);
}

static void
the_example_of_the_rfc_works(void **state)
{
	struct passwd_file *f = file();
	struct scram_server *s;
	struct scram_client *c;
	struct scram_answer a;
	struct err err = { 0 };

	(void)state;
	assert_int_equal(start(f, SL(C1), &s, &a), SCRAM_MORE);
	assert_answer(&a, S1);
	assert_true(slice_eq(scram_server_user(s), SL("user")));
	assert_int_equal(scram_server_finish(s, SL(C2), &a), SCRAM_RIGHT);
	assert_answer(&a, S2);
	scram_server_free(s);
	passwd_unref(f);
	c = scram_client_new(SL("user"), SL("pencil"), &err);
	assert_non_null(c);
	assert_true(scram_client_begin(c, CNONCE, &a));
	assert_answer(&a, C1);
	assert_true(scram_client_step(c, SL(S1), &a, &err));
	assert_answer(&a, C2);
	assert_true(scram_client_verify(c, SL(S2), &err));
	/* Once. */
	assert_false(scram_client_verify(c, SL(S2), &err));
	scram_client_free(c);
}

/* What the two sides make of each other. */
static enum scram_result
meet(const struct passwd_file *f, struct slice user, struct slice password)
{
	struct scram_server *s = NULL;
	struct scram_answer a, b;
	struct err err = { 0 };
	struct scram_client *c = scram_client_new(user, password, &err);
	enum scram_result r;
	int i;

	assert_non_null(c);
	/* What an exchange that was broken off has left behind does not matter to the next. */
	for (i = 0; i < 2; i++) {
		assert_true(scram_client_step(c, (struct slice){ 0 }, &a, &err));
		scram_server_free(s);
		s = NULL;
		assert_int_equal(scram_server_start(f, secret, slice_of(a.p, a.n), &s, &b), SCRAM_MORE);
		assert_true(slice_eq(scram_server_user(s), user));
		assert_true(scram_client_step(c, slice_of(b.p, b.n), &a, &err));
	}
	r = scram_server_finish(s, slice_of(a.p, a.n), &b);
	assert_int_equal(scram_client_verify(c, slice_of(b.p, b.n), &err), r == SCRAM_RIGHT);
	if (r != SCRAM_RIGHT) {
		assert_answer(&b, "e=invalid-proof");
		assert_non_null(b.why);
	}
	scram_server_free(s);
	scram_client_free(c);
	return r;
}

static void
both_sides_meet(void **state)
{
	static const struct {
		const char *user, *password;
		enum scram_result r;
	} cases[] = {
		{ "user", "pencil", SCRAM_RIGHT },
		{ "a,b=c", "pencil", SCRAM_RIGHT },
		{ "user", "pencils", SCRAM_WRONG },
		{ "nobody", "pencil", SCRAM_UNKNOWN },
		{ "old", "secret", SCRAM_OTHER_HASH },
	};
	struct passwd_file *f = file(), *empty = file_of("");
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(meet(f, slice_str(cases[i].user), slice_str(cases[i].password)), cases[i].r);
	passwd_unref(f);
	passwd_unref(empty);
}

/* The salt and the cost that a name gets. */
static void
ask(const struct passwd_file *f, const char *user, char out[static SCRAM_MESSAGE_MAX])
{
	struct scram_server *s;
	struct scram_answer a;
	char first[200];
	const char *at;

	(void)snprintf(first, sizeof(first), "n,,n=%s,r=x", user);
	assert_int_equal(start(f, slice_str(first), &s, &a), SCRAM_MORE);
	(void)snprintf(out, SCRAM_MESSAGE_MAX, "%.*s", (int)a.n, (const char *)a.p);
	at = strstr(out, ",s=");
	assert_non_null(at);
	memmove(out, at, strlen(at) + 1);
	scram_server_free(s);
}

/* Nobody learns which names there are: a made up salt stays, is that of the name alone, and looks like the others. */
static void
who_exists_is_not_told(void **state)
{
	char one[SCRAM_MESSAGE_MAX], again[SCRAM_MESSAGE_MAX], other[SCRAM_MESSAGE_MAX], real[SCRAM_MESSAGE_MAX];
	struct passwd_file *f = file(), *empty = file_of("");

	(void)state;
	ask(f, "nobody", one);
	ask(f, "nobody", again);
	ask(f, "old", other);
	ask(f, "user", real);
	assert_string_equal(one, again);
	assert_string_not_equal(one, other);
	assert_int_equal(strlen(one), strlen(real));
	assert_string_equal(strstr(one, ",i="), ",i=4096");
	assert_string_equal(strstr(real, ",i="), ",i=4096");
	ask(empty, "nobody", again);
	assert_string_equal(strstr(again, ",i="), ",i=100000");
	passwd_unref(f);
	passwd_unref(empty);
}

static void
wrong_first_messages_are_refused(void **state)
{
	static const struct {
		const char *in, *answer;
	} cases[] = {
		{ "p=tls-exporter,,n=user,r=x", "e=channel-binding-not-supported" },
		{ "p=tls-unique", "e=channel-binding-not-supported" },
		{ "", "e=invalid-encoding" },
		{ "n", "e=invalid-encoding" },
		{ "n,", "e=invalid-encoding" },
		{ "n,,", "e=invalid-encoding" },
		{ "N,,n=user,r=x", "e=invalid-encoding" },
		{ "nn,,n=user,r=x", "e=invalid-encoding" },
		{ "z,,n=user,r=x", "e=invalid-encoding" },
		{ "n,b=user,n=user,r=x", "e=invalid-encoding" },
		{ "n,a=root,n=user,r=x", "e=other-error" },
		{ "n,a=,n=user,r=x", "e=other-error" },
		{ "n,a=us=er,n=user,r=x", "e=other-error" },
		{ "n,,m=ext,n=user,r=x", "e=extensions-not-supported" },
		{ "n,,r=x,n=user", "e=invalid-encoding" },
		{ "n,,n=user", "e=invalid-encoding" },
		{ "n,,n=user,", "e=invalid-encoding" },
		{ "n,,n=user,r=", "e=invalid-encoding" },
		{ "n,,n=user,r=a b", "e=invalid-encoding" },
		{ "n,,n=user,r=x,", "e=invalid-encoding" },
		{ "n,,n=user,r=x,1=2", "e=invalid-encoding" },
		{ "n,,n=user,r=x,y=", "e=invalid-encoding" },
		{ "n,,n=,r=x", "e=invalid-username-encoding" },
		{ "n,,n=us=er,r=x", "e=invalid-username-encoding" },
		{ "n,,n=user=2c,r=x", "e=invalid-username-encoding" },
		{ "n,,n=user=3,r=x", "e=invalid-username-encoding" },
		{ "n,,n=\xff,r=x", "e=invalid-username-encoding" },
	};
	struct passwd_file *f = file();
	static const char first[] = "n,,n=user,r=";
	uint8_t long_one[SCRAM_MESSAGE_MAX + 2];
	struct scram_server *s;
	struct scram_answer a;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		if (start(f, slice_str(cases[i].in), &s, &a) != SCRAM_BROKEN)
			fail_msg("'%s' is taken", cases[i].in);
		assert_answer(&a, cases[i].answer);
		assert_non_null(a.why);
		assert_null(s);
	}
	/* Too long by itself, or together with what we add. */
	memset(long_one, 'x', sizeof(long_one));
	memcpy(long_one, first, sizeof(first) - 1);
	for (i = sizeof(long_one) - 1; i > SCRAM_MESSAGE_MAX - 40; i -= 20) {
		assert_int_equal(start(f, slice_of(long_one, i), &s, &a), SCRAM_BROKEN);
		assert_answer(&a, "e=other-error");
	}
	no_memory = true;
	assert_int_equal(start(f, SL(C1), &s, &a), SCRAM_FAILED);
	no_memory = false;
	passwd_unref(f);
}

static void
other_headers_are_taken_and_bound(void **state)
{
	static const struct {
		const char *first, *binding;
		bool ok;
	} cases[] = {
		{ "n,,n=user,r=" CNONCE, "biws", true },
		{ "y,,n=user,r=" CNONCE, "eSws", true },
		{ "y,,n=user,r=" CNONCE, "biws", false }, /* somebody took the binding away on the way */
		{ "n,,n=user,r=" CNONCE, "eSws", false },
		{ "n,a=user,n=user,r=" CNONCE, "bixhPXVzZXIs", true },
		{ "n,a=user,n=user,r=" CNONCE, "biws", false },
		{ "n,,n=user,r=" CNONCE ",x=later", "biws", true },
	};
	struct passwd_file *f = file();
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		struct scram_keys k;
		struct scram_server *s;
		struct scram_answer a, last = { 0 };
		struct scram_auth auth = { 0 };
		uint8_t signature[SCRAM_KEY_N];
		char text[300];

		assert_int_equal(start(f, slice_str(cases[i].first), &s, &a), SCRAM_MORE);
		(void)snprintf(text, sizeof(text), "c=%s,r=%s", cases[i].binding, CNONCE SNONCE);
		assert_true(scram_auth_add(&auth, slice_str(strstr(cases[i].first, "n=user"))));
		assert_true(scram_auth_add(&auth, slice_of(a.p, a.n)));
		assert_true(scram_auth_add(&auth, slice_str(text)));
		assert_true(scram_derive(SL("pencil"),
		    SL("\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81"), 4096, &k));
		assert_true(scram_hmac(k.stored, slice_of(auth.p, auth.n), signature));
		scram_xor(k.client, signature);
		assert_true(scram_put(&last, slice_str(text)) && scram_put(&last, SL(",p=")) &&
			    scram_put_base64(&last, slice_of(k.client, SCRAM_KEY_N)));
		assert_int_equal(scram_server_finish(s, slice_of(last.p, last.n), &a), cases[i].ok ? SCRAM_RIGHT : SCRAM_BROKEN);
		if (!cases[i].ok)
			assert_answer(&a, "e=channel-bindings-dont-match");
		scram_server_free(s);
	}
	passwd_unref(f);
}

static void
wrong_last_messages_are_refused(void **state)
{
#define P ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define R "r=" CNONCE SNONCE
	static const struct {
		const char *in, *answer;
		enum scram_result r;
	} cases[] = {
		{ "", "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws", "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws," R, "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws" P, "e=invalid-encoding", SCRAM_BROKEN },
		{ R P, "e=invalid-encoding", SCRAM_BROKEN },
		{ R ",c=biws" P, "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws," R ",p=", "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws," R ",p=dHzb", "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws," R P "=", "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws," R P ",x=y", "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=biws," R ",," P, "e=invalid-encoding", SCRAM_BROKEN },
		{ "c=," R P, "e=channel-bindings-dont-match", SCRAM_BROKEN },
		{ "c=biwsYQ==," R P, "e=channel-bindings-dont-match", SCRAM_BROKEN },
		{ "c=biws,r=" CNONCE P, "e=other-error", SCRAM_BROKEN },
		{ "c=biws,r=" SNONCE P, "e=other-error", SCRAM_BROKEN },
		{ "c=biws,r=" P, "e=other-error", SCRAM_BROKEN },
		{ "c=biws," R "x" P, "e=other-error", SCRAM_BROKEN },
		/* What is signed may not be changed. */
		{ "c=biws," R ",x=y" P, "e=invalid-proof", SCRAM_WRONG },
		{ "c=biws," R ",p=AHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "e=invalid-proof", SCRAM_WRONG },
		{ "c=biws," R ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "e=invalid-proof", SCRAM_WRONG },
	};
	struct passwd_file *f = file();
	struct scram_server *s;
	struct scram_answer a;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(start(f, SL(C1), &s, &a), SCRAM_MORE);
		if (scram_server_finish(s, slice_str(cases[i].in), &a) != cases[i].r)
			fail_msg("'%s'", cases[i].in);
		assert_answer(&a, cases[i].answer);
		assert_non_null(a.why);
		scram_server_free(s);
	}
	passwd_unref(f);
}

/* Every message cut anywhere, in memory of its own size. */
static void
cut_messages_are_refused(void **state)
{
	struct passwd_file *f = file();
	struct scram_answer a;
	struct err err = { 0 };
	size_t n;

	(void)state;
	for (n = 0; n < strlen(C1); n++) {
		uint8_t *copy = malloc(n + 1);
		struct scram_server *s;

		assert_non_null(copy);
		memcpy(copy, C1, n);
		/* A shorter nonce is one, too. */
		assert_int_equal(start(f, slice_of(copy, n), &s, &a), n > strlen("n,,n=user,r=") ? SCRAM_MORE : SCRAM_BROKEN);
		scram_server_free(s);
		free(copy);
	}
	for (n = 0; n < strlen(C2); n++) {
		uint8_t *copy = malloc(n + 1);
		struct scram_server *s;

		assert_non_null(copy);
		memcpy(copy, C2, n);
		assert_int_equal(start(f, SL(C1), &s, &a), SCRAM_MORE);
		/* base64 may do without its padding. */
		assert_int_equal(scram_server_finish(s, slice_of(copy, n), &a), n == strlen(C2) - 1 ? SCRAM_RIGHT : SCRAM_BROKEN);
		scram_server_free(s);
		free(copy);
	}
	for (n = 1; n < strlen(S1) - 4; n++) {
		struct scram_client *c = scram_client_new(SL("user"), SL("pencil"), &err);
		uint8_t *copy = malloc(n);

		assert_non_null(c);
		assert_non_null(copy);
		memcpy(copy, S1, n);
		assert_true(scram_client_begin(c, CNONCE, &a));
		assert_false(scram_client_step(c, slice_of(copy, n), &a, &err));
		scram_client_free(c);
		free(copy);
	}
	for (n = 0; n < strlen(S2) - 1; n++) {
		struct scram_client *c = scram_client_new(SL("user"), SL("pencil"), &err);

		assert_non_null(c);
		assert_true(scram_client_begin(c, CNONCE, &a));
		assert_true(scram_client_step(c, SL(S1), &a, &err));
		assert_false(scram_client_verify(c, slice_of((const uint8_t *)S2, n), &err));
		scram_client_free(c);
	}
	passwd_unref(f);
}

static void
bad_servers_are_refused(void **state)
{
#define SALT ",s=W22ZaJ0SNY7soEsUEjb6gQ=="
	static const char *const cases[] = {
		"r=" SNONCE SALT ",i=4096",        /* not our nonce */
		"r=" CNONCE SALT ",i=4096",        /* nothing of its own */
		"r=" CNONCE SNONCE ",s=,i=4096",   /* no salt */
		"r=" CNONCE SNONCE ",s=!,i=4096",
		"r=" CNONCE SNONCE SALT ",i=4095", /* it would have the password guessed */
		"r=" CNONCE SNONCE SALT ",i=1",
		"r=" CNONCE SNONCE SALT ",i=0",
		"r=" CNONCE SNONCE SALT ",i=-1",
		"r=" CNONCE SNONCE SALT ",i=10000001", /* it would keep us busy */
		"r=" CNONCE SNONCE SALT ",i=4294967296",
		"r=" CNONCE SNONCE SALT,
		"m=x,r=" CNONCE SNONCE SALT ",i=4096",
		"e=other-error",
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	};
	char long_name[257];
	struct scram_client *c;
	struct scram_answer a;
	struct err err = { 0 };
	size_t i;

	(void)state;
	memset(long_name, '=', sizeof(long_name));
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		c = scram_client_new(SL("user"), SL("pencil"), &err);
		assert_non_null(c);
		assert_true(scram_client_begin(c, CNONCE, &a));
		if (scram_client_step(c, slice_str(cases[i]), &a, &err))
			fail_msg("'%s' is taken", cases[i]);
		/* And that is the end of it, whatever comes. */
		assert_false(scram_client_step(c, SL(S1), &a, &err));
		assert_false(scram_client_verify(c, SL(S2), &err));
		scram_client_free(c);
	}
	c = scram_client_new(SL("user"), SL("pencil"), &err);
	assert_non_null(c);
	/* In without a proof: nobody was asked for one. */
	assert_false(scram_client_verify(c, SL(S2), &err));
	assert_false(scram_client_step(c, SL(S1), &a, &err));
	assert_true(scram_client_begin(c, CNONCE, &a));
	assert_true(scram_client_step(c, SL(S1), &a, &err));
	assert_false(scram_client_verify(c, SL("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), &err));
	assert_int_equal(err.code, ERR_DENIED);
	scram_client_free(c);
	assert_null(scram_client_new(SL("user"), (struct slice){ 0 }, &err));
	assert_null(scram_client_new((struct slice){ 0 }, SL("pencil"), &err));
	assert_null(scram_client_new(slice_of((const uint8_t *)long_name, 257), SL("pencil"), &err));
	c = scram_client_new(slice_of((const uint8_t *)long_name, 256), SL("pencil"), &err);
	assert_non_null(c);
	assert_true(scram_client_step(c, (struct slice){ 0 }, &a, &err));
	scram_client_free(c);
	assert_null(scram_client_new(SL("us\xc3\xa9r"), SL("pencil"), &err));
	assert_null(scram_client_new(SL("user"), SL("pen\tcil"), &err));
	no_memory = true;
	assert_null(scram_client_new(SL("user"), SL("pencil"), &err));
	no_memory = false;
}

static void
lines_of_files_are_checked(void **state)
{
#define SALT_OK "W22ZaJ0SNY7soEsUEjb6gQ=="
	static const char *const bad[] = {
		"$scram-sha-256$4095$" SALT_OK KEYS,
		"$scram-sha-256$2000001$" SALT_OK KEYS,
		"$scram-sha-256$$" SALT_OK KEYS,
		"$scram-sha-256$4096$" SALT_OK KEYS "$",
		"$scram-sha-256$4096$" SALT_OK KEYS "$x",
		"$scram-sha-256$4096$W22Z" KEYS,
		"$scram-sha-256$4096$" KEYS,
		"$scram-sha-256$4096$" SALT_OK "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
		"$scram-sha-256$4096$" SALT_OK "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$",
		"$scram-sha-256$4096$" SALT_OK "$WG5d$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
		"$scram-sha-256$4096$" SALT_OK,
		"$scram-sha-256$4096",
		"$scram-sha-256",
		"$SCRAM-SHA-256$4096$" SALT_OK KEYS,
	};
	struct passwd_secret s, again;
	char text[PASSWD_HASH_TEXT_MAX];
	struct err err = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(bad); i++)
		if (secret_parse(slice_str(bad[i]), &s) == NULL)
			fail_msg("'%s' is taken", bad[i]);
	for (i = 1; i < strlen(SECRET) - 1; i++) /* the last '=' may be left out */
		assert_non_null(secret_parse(slice_of((const uint8_t *)SECRET, i), &s));
	assert_null(secret_parse(SL(SECRET), &s));
	assert_true(secret_format(&s, text));
	assert_string_equal(text, SECRET);
	assert_null(secret_parse(slice_str(text), &again));
	assert_memory_equal(&s, &again, sizeof(s));
	assert_null(passwd_parse(SL("us\xc3\xa9r:" SECRET "\n"), "f", &err));
	assert_non_null(strstr(err.text, "f:1: "));
}

/* An ordinary login works with the same line, and so does what we write. */
static void
passwords_work_too(void **state)
{
	enum passwd_kind kind = PASSWD_KINDS;
	struct passwd_file *f = file();
	char hash[PASSWD_HASH_TEXT_MAX], text[PASSWD_HASH_TEXT_MAX + 10];
	struct err err = { 0 };

	(void)state;
	assert_int_equal(passwd_check(f, SL("user"), SL("pencil"), &kind), PASSWD_RIGHT);
	assert_int_equal(kind, PASSWD_SCRAM);
	assert_int_equal(passwd_check(f, SL("user"), SL("pencils"), &kind), PASSWD_WRONG);
	assert_int_equal(passwd_check(f, SL("user"), (struct slice){ 0 }, &kind), PASSWD_WRONG);
	passwd_unref(f);
	assert_true(passwd_kind_parse(SL("scram-sha-256"), &kind));
	assert_true(passwd_hash(kind, 5000, SL("pen cil"), hash, &err));
	(void)snprintf(text, sizeof(text), "bob:%s\n", hash);
	f = file_of(text);
	assert_int_equal(passwd_check(f, SL("bob"), SL("pen cil"), &kind), PASSWD_RIGHT);
	assert_int_equal(meet(f, SL("bob"), SL("pen cil")), SCRAM_RIGHT);
	assert_int_equal(meet(f, SL("bob"), SL("pencil")), SCRAM_WRONG);
	passwd_unref(f);
	assert_false(passwd_hash(kind, 4095, SL("pencil"), hash, &err));
	assert_false(passwd_hash(kind, PASSWD_ITERATIONS_MAX + 1, SL("pencil"), hash, &err));
	assert_false(passwd_hash(kind, 5000, SL("p\xc3\xa9ncil"), hash, &err));
	assert_false(passwd_user_fits(kind, SL("p\xc3\xa9ncil"), &err));
	assert_true(passwd_user_fits(PASSWD_ARGON2ID, SL("p\xc3\xa9ncil"), &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_of_the_rfc_works),
		cmocka_unit_test(both_sides_meet),
		cmocka_unit_test(who_exists_is_not_told),
		cmocka_unit_test(wrong_first_messages_are_refused),
		cmocka_unit_test(other_headers_are_taken_and_bound),
		cmocka_unit_test(wrong_last_messages_are_refused),
		cmocka_unit_test(cut_messages_are_refused),
		cmocka_unit_test(bad_servers_are_refused),
		cmocka_unit_test(lines_of_files_are_checked),
		cmocka_unit_test(passwords_work_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
