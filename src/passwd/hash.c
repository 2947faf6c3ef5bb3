/* The kinds of hash: their text, and their computation. */
#include <argon2.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/internal.h"

static const struct {
	uint16_t salt_n, hash_n;
} new_sizes[] = {
	[PASSWD_SHA512] = { 12, SHA512_N }, /* what mosquitto 2.0 reads */
	[PASSWD_PBKDF2] = { 12, SHA512_N },
	[PASSWD_ARGON2ID] = { 16, 32 },
	[PASSWD_SCRAM] = { SCRAM_SALT_N, 2 * SCRAM_KEY_N },
};
_Static_assert(ARRAY_LEN(new_sizes) == PASSWD_KINDS, "each kind has its sizes");

static const char *const names[] = {
	[PASSWD_SHA512] = "sha512",
	[PASSWD_PBKDF2] = "sha512-pbkdf2",
	[PASSWD_ARGON2ID] = "argon2id",
	[PASSWD_SCRAM] = "scram-sha-256",
};
_Static_assert(ARRAY_LEN(names) == PASSWD_KINDS, "each kind has a name");

const char *
passwd_kind_name(enum passwd_kind k)
{
	return names[k];
}

bool
passwd_kind_parse(struct slice name, enum passwd_kind *ret)
{
	unsigned i;

	for (i = 0; i < PASSWD_KINDS; i++) {
		if (slice_eq(name, slice_str(names[i]))) {
			*ret = (enum passwd_kind)i;
			return true;
		}
	}
	return false;
}

/* ---- text ---- */

static const char *
parse_salt(struct slice salt, struct passwd_secret *s)
{
	size_t n = 0;

	if (!base64_get(salt, s->salt, sizeof(s->salt), &n))
		return "the salt is not base64 of at most 128 bytes";
	if (n < SALT_MIN)
		return "the salt is shorter than 8 bytes";
	s->salt_n = (uint16_t)n;
	return NULL;
}

static const char *
parse_hash(struct slice hash, struct passwd_secret *s)
{
	size_t n = 0;

	if (!base64_get(hash, s->hash, sizeof(s->hash), &n))
		return "the hash is not base64 of at most 128 bytes";
	if (s->kind != PASSWD_ARGON2ID && n != SHA512_N)
		return "the hash is not one of 64 bytes, as SHA-512 makes them; was the line cut?";
	if (n < HASH_MIN)
		return "the hash is shorter than 16 bytes; was the line cut?";
	s->hash_n = (uint16_t)n;
	return NULL;
}

/* Two keys, each with its own '$'. */
static const char *
parse_keys(struct slice stored, struct slice server, struct passwd_secret *s)
{
	size_t n = 0, m = 0;

	if (!base64_get(stored, s->hash, SCRAM_KEY_N, &n) || n != SCRAM_KEY_N ||
	    !base64_get(server, s->hash + SCRAM_KEY_N, SCRAM_KEY_N, &m) || m != SCRAM_KEY_N)
		return "scram-sha-256 needs two keys of 32 bytes in base64; was the line cut?";
	s->hash_n = 2 * SCRAM_KEY_N;
	return NULL;
}

/* "m=47104,t=1,p=1", in this order, as the reference implementation writes and reads it. */
static const char *
parse_costs(struct slice text, struct passwd_secret *s)
{
	static const char *const marks[] = { "m=", "t=", "p=" };
	uint64_t v[3] = { 0 };
	bool more = true;
	size_t i;

	for (i = 0; i < ARRAY_LEN(marks); i++) {
		struct slice one = slice_cut(&text, ',', &more);

		if (!slice_starts(one, slice_str(marks[i])) ||
		    !text_u64(slice_from(one, 2), 1, UINT32_MAX, &v[i]))
			return "argon2id needs m=KIB,t=PASSES,p=LANES";
	}
	if (more)
		return "argon2id has more parameters than m, t and p";
	if (v[0] > PASSWD_ARGON2_KIB_MAX || v[2] > PASSWD_ARGON2_LANES_MAX ||
	    v[0] * v[1] > PASSWD_ARGON2_WORK_MAX || v[1] > PASSWD_ARGON2_WORK_MAX)
		return "argon2id with these costs would hold the broker up: at most m=262144, "
		       "p=16, and m times t 1048576";
	if (v[0] < 8 * v[2])
		return "argon2id needs at least 8 KiB a lane";
	s->kib = (uint32_t)v[0];
	s->iterations = (uint32_t)v[1];
	s->lanes = (uint32_t)v[2];
	return NULL;
}

static const char *
parse_argon2id(struct slice *rest, bool *more, struct passwd_secret *s)
{
	struct slice version = slice_cut(rest, '$', more);

	if (!slice_eq(version, SL("v=19")))
		return "argon2id of another version than v=19";
	return parse_costs(slice_cut(rest, '$', more), s);
}

static const char *
parse_iterations(struct slice text, struct passwd_secret *s)
{
	uint64_t n = 0;

	if (!text_u64(text, 1, UINT32_MAX, &n))
		return "the number of iterations is missing";
	if (n > PASSWD_ITERATIONS_MAX)
		return "so many iterations would hold the broker up: at most 2000000";
	if (n < PASSWD_SCRAM_ITERATIONS_MIN && s->kind == PASSWD_SCRAM)
		return "SCRAM needs at least 4096 iterations";
	s->iterations = (uint32_t)n;
	return NULL;
}

const char *
secret_parse(struct slice text, struct passwd_secret *ret)
{
	struct slice kind, salt, hash, second = { 0 };
	const char *why = NULL;
	bool more = true;

	*ret = (struct passwd_secret){ 0 };
	if (text.n == 0)
		return "there is no password";
	if (text.p[0] != '$')
		return "the password stands there in plain text; `signet passwd -U FILE` makes "
		       "hashes of such lines";
	text = slice_from(text, 1);
	kind = slice_cut(&text, '$', &more);
	if (slice_eq(kind, SL("6"))) {
		ret->kind = PASSWD_SHA512;
	} else if (slice_eq(kind, SL("7"))) {
		ret->kind = PASSWD_PBKDF2;
		why = parse_iterations(slice_cut(&text, '$', &more), ret);
	} else if (slice_eq(kind, SL("argon2id"))) {
		ret->kind = PASSWD_ARGON2ID;
		why = parse_argon2id(&text, &more, ret);
	} else if (slice_eq(kind, SL("scram-sha-256"))) {
		ret->kind = PASSWD_SCRAM;
		why = parse_iterations(slice_cut(&text, '$', &more), ret);
	} else {
		return "the hash is of no kind that is known: $6$, $7$, $argon2id$ or "
		       "$scram-sha-256$";
	}
	if (why != NULL)
		return why;
	salt = slice_cut(&text, '$', &more);
	if (!more)
		return "the hash is missing; was the line cut?";
	hash = slice_cut(&text, '$', &more);
	if (ret->kind == PASSWD_SCRAM)
		second = slice_cut(&text, '$', &more);
	if (more)
		return "there is something behind the hash";
	why = parse_salt(salt, ret);
	if (why != NULL)
		return why;
	return ret->kind == PASSWD_SCRAM ? parse_keys(hash, second, ret) : parse_hash(hash, ret);
}

static bool
format_scram(const struct passwd_secret *s, const char *salt, char out[static PASSWD_HASH_TEXT_MAX])
{
	char stored[SCRAM_KEY_N * 2], server[SCRAM_KEY_N * 2];
	int n;

	base64_put(slice_of(s->hash, SCRAM_KEY_N), true, stored);
	base64_put(slice_of(s->hash + SCRAM_KEY_N, SCRAM_KEY_N), true, server);
	n = snprintf(out, PASSWD_HASH_TEXT_MAX, "$scram-sha-256$%u$%s$%s$%s", s->iterations, salt,
	    stored, server);
	secret_wipe(stored, sizeof(stored));
	secret_wipe(server, sizeof(server));
	return n > 0 && n < PASSWD_HASH_TEXT_MAX;
}

bool
secret_format(const struct passwd_secret *s, char out[static PASSWD_HASH_TEXT_MAX])
{
	char salt[4 * (SALT_MAX / 3 + 1) + 1], hash[4 * (HASH_MAX / 3 + 1) + 1], head[64] = "$6$";
	bool pad = s->kind != PASSWD_ARGON2ID;
	int n;

	base64_put(slice_of(s->salt, s->salt_n), pad, salt);
	if (s->kind == PASSWD_SCRAM)
		return format_scram(s, salt, out);
	base64_put(slice_of(s->hash, s->hash_n), pad, hash);
	if (s->kind == PASSWD_PBKDF2)
		(void)snprintf(head, sizeof(head), "$7$%u$", s->iterations);
	else if (s->kind == PASSWD_ARGON2ID)
		(void)snprintf(head, sizeof(head), "$argon2id$v=19$m=%u,t=%u,p=%u$", s->kib,
		    s->iterations, s->lanes);
	n = snprintf(out, PASSWD_HASH_TEXT_MAX, "%s%s$%s", head, salt, hash);
	secret_wipe(hash, sizeof(hash));
	return n > 0 && n < PASSWD_HASH_TEXT_MAX;
}

/* ---- computation ---- */

static bool
sha512(const struct passwd_secret *s, struct slice password, uint8_t *out)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool ok = c != NULL && EVP_DigestInit_ex(c, EVP_sha512(), NULL) == 1 &&
		  EVP_DigestUpdate(c, password.p, password.n) == 1 &&
		  EVP_DigestUpdate(c, s->salt, s->salt_n) == 1 &&
		  EVP_DigestFinal_ex(c, out, NULL) == 1;

	EVP_MD_CTX_free(c); /* wipes */
	return ok;
}

static bool
argon2id(const struct passwd_secret *s, struct slice password, uint8_t *out)
{
	struct passwd_secret copy = *s; /* the library's pointers are not const */
	argon2_context c = {
		.out = out,
		.outlen = s->hash_n,
		.pwd = (uint8_t *)(uintptr_t)
			   password.p, /* not written to without ARGON2_FLAG_CLEAR_PASSWORD */
		.pwdlen = (uint32_t)password.n,
		.salt = copy.salt,
		.saltlen = s->salt_n,
		.t_cost = s->iterations,
		.m_cost = s->kib,
		.lanes = s->lanes,
		.threads = 1, /* the lanes one after the other: a login is one thread's work */
		.version = ARGON2_VERSION_13,
	};
	int rc = argon2id_ctx(&c);

	secret_wipe(&copy, sizeof(copy));
	return rc == ARGON2_OK;
}

static bool
scram(const struct passwd_secret *s, struct slice password, uint8_t *out)
{
	struct scram_keys k;
	bool ok = scram_derive(password, slice_of(s->salt, s->salt_n), s->iterations, &k);

	if (ok) {
		memcpy(out, k.stored, SCRAM_KEY_N);
		memcpy(out + SCRAM_KEY_N, k.server, SCRAM_KEY_N);
	}
	secret_wipe(&k, sizeof(k));
	return ok;
}

bool
secret_compute(const struct passwd_secret *s, struct slice password, uint8_t out[static HASH_MAX])
{
	/* Both libraries want a pointer even to nothing, and lengths that CONNECT cannot exceed. */
	if (password.p == NULL)
		password = SL("");
	if (password.n > UINT16_MAX)
		return false;
	switch (s->kind) {
	case PASSWD_SHA512:
		return sha512(s, password, out);
	case PASSWD_PBKDF2:
		return PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.n, s->salt,
			   s->salt_n, (int)s->iterations, EVP_sha512(), s->hash_n, out) == 1;
	case PASSWD_ARGON2ID:
		return argon2id(s, password, out);
	case PASSWD_SCRAM:
		return scram(s, password, out);
	case PASSWD_KINDS:
		break;
	}
	return false;
}

static bool
set_costs(struct passwd_secret *s, uint32_t cost, struct err *err)
{
	if (s->kind == PASSWD_SHA512)
		return cost == 0 ||
		       err_set(err, ERR_USAGE,
			   "sha512 has no iterations; choose sha512-pbkdf2 or argon2id");
	if (s->kind == PASSWD_PBKDF2 || s->kind == PASSWD_SCRAM) {
		s->iterations = cost != 0 ? cost : PASSWD_ITERATIONS;
		if (s->kind == PASSWD_SCRAM && s->iterations < PASSWD_SCRAM_ITERATIONS_MIN)
			return err_set(err, ERR_USAGE, "scram-sha-256 takes at least %d iterations",
			    PASSWD_SCRAM_ITERATIONS_MIN);
		return s->iterations <= PASSWD_ITERATIONS_MAX ||
		       err_set(err, ERR_USAGE, "at most %d iterations", PASSWD_ITERATIONS_MAX);
	}
	s->kib = cost != 0 ? cost : PASSWD_ARGON2_KIB;
	s->iterations = s->lanes = 1;
	return (s->kib >= 8 && s->kib <= PASSWD_ARGON2_KIB_MAX) ||
	       err_set(err, ERR_USAGE, "argon2id takes 8 to %d KiB", PASSWD_ARGON2_KIB_MAX);
}

bool
passwd_hash(enum passwd_kind kind, uint32_t cost, struct slice password,
    char out[static PASSWD_HASH_TEXT_MAX], struct err *err)
{
	struct passwd_secret s = { .kind = kind,
		.salt_n = new_sizes[kind].salt_n,
		.hash_n = new_sizes[kind].hash_n };
	bool ok;

	if (password.n == 0 || password.n > UINT16_MAX)
		return err_set(err, ERR_USAGE, "a password has 1 to 65535 bytes");
	if (kind == PASSWD_SCRAM && !scram_text_ok(password))
		return err_set(err, ERR_USAGE,
		    "a password for scram-sha-256 is printable ASCII: what else is the same text "
		    "differs from client to client");
	if (!set_costs(&s, cost, err))
		return false;
	random_bytes(s.salt, s.salt_n);
	ok = secret_compute(&s, password, s.hash) && secret_format(&s, out);
	secret_wipe(&s, sizeof(s));
	return ok || err_set(err, ERR_MEMORY, "out of memory computing a hash");
}

const char *
passwd_hash_fault(struct slice hash)
{
	struct passwd_secret s;
	const char *fault = secret_parse(hash, &s);

	secret_wipe(&s, sizeof(s));
	return fault;
}

enum passwd_verdict
passwd_check_hash(struct slice hash, struct slice password)
{
	struct passwd_secret s;
	uint8_t out[HASH_MAX];
	enum passwd_verdict v = PASSWD_FAILED;

	if (secret_parse(hash, &s) == NULL && secret_compute(&s, password, out))
		v = secret_eq(slice_of(out, s.hash_n), slice_of(s.hash, s.hash_n)) && password.n > 0 ? PASSWD_RIGHT
												     : PASSWD_WRONG;
	secret_wipe(&s, sizeof(s));
	secret_wipe(out, sizeof(out));
	return v;
}
