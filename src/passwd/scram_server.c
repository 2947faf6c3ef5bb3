/* The server's side of SCRAM-SHA-256. Who does not exist is told the same as who does: a salt that is his for good, and at
 * the end that the proof is wrong (RFC 5802 5.1, 9). */
#include <stdio.h>
#include <stdlib.h>

#include "base/secret.h"
#include "base/text.h"
#include "passwd/internal.h"

struct scram_server {
	enum scram_result
	    verdict; /* if the proof is wrong; SCRAM_UNKNOWN and SCRAM_OTHER_HASH: it always is */
	uint8_t stored[SCRAM_KEY_N], server[SCRAM_KEY_N];
	struct scram_auth auth;
	uint16_t gs2_n, nonce_n, user_n;
	uint8_t gs2[SCRAM_MESSAGE_MAX]; /* what "c=" must repeat */
	uint8_t nonce[SCRAM_MESSAGE_MAX];
	uint8_t user[SCRAM_MESSAGE_MAX];
};

/* The client's first message, cut up. */
struct first {
	struct slice gs2, bare, authzid, user, nonce;
};

/* One exchange ends: the server's word for it (RFC 5802 7, server-error-value) and ours. */
static enum scram_result
fail(struct scram_answer *a, const char *error, const char *why)
{
	a->n = 0;
	(void)scram_put(a, slice_str(error)); /* there is room */
	a->why = why;
	return SCRAM_BROKEN;
}

static enum scram_result
no_memory(struct scram_answer *a)
{
	a->n = 0;
	a->why = "out of memory";
	return SCRAM_FAILED;
}

/* What follows the nonce or the binding and is not known is passed over, as long as it looks like an extension. */
static bool
extensions_ok(struct slice rest, bool more)
{
	while (more) {
		struct slice one = slice_cut(&rest, ',', &more);

		if (one.n < 3 || one.p[1] != '=' || (uint8_t)((one.p[0] | 0x20) - 'a') >= 26)
			return false;
	}
	return true;
}

/* "n" or "y": the client has no channel binding, or believes that we have none, which is so. */
static enum scram_result
cut_first(struct slice in, struct first *f, struct scram_answer *a)
{
	struct slice rest = in, flag;
	bool more = false;

	flag = slice_cut(&rest, ',', &more);
	if (slice_starts(flag, SL("p=")))
		return fail(
		    a, "e=channel-binding-not-supported", "the client demands channel binding");
	if (!more || flag.n != 1 || (flag.p[0] != 'n' && flag.p[0] != 'y'))
		return fail(
		    a, "e=invalid-encoding", "the first message of SCRAM has no binding flag");
	f->authzid = slice_cut(&rest, ',', &more);
	if (!more || (f->authzid.n > 0 && !slice_starts(f->authzid, SL("a="))))
		return fail(a, "e=invalid-encoding", "the first message of SCRAM has a bad header");
	f->bare = rest;
	f->gs2 = slice_of(in.p, in.n - rest.n);
	if (slice_starts(rest, SL("m=")))
		return fail(
		    a, "e=extensions-not-supported", "the client demands an extension of SCRAM");
	if (!scram_take(&rest, 'n', &f->user, &more) || !more ||
	    !scram_take(&rest, 'r', &f->nonce, &more) || !scram_nonce_ok(f->nonce) ||
	    !extensions_ok(rest, more))
		return fail(
		    a, "e=invalid-encoding", "the first message of SCRAM is not well-formed");
	return SCRAM_MORE;
}

/* A saslname: ',' and '=' are written "=2C" and "=3D". */
static bool
unescape(struct slice name, uint8_t out[static SCRAM_MESSAGE_MAX], uint16_t *ret_n)
{
	uint16_t n = 0;

	if (name.n == 0 || name.n > SCRAM_MESSAGE_MAX || !utf8_ok(name))
		return false;
	while (name.n > 0) {
		uint8_t c = name.p[0];

		if (slice_starts(name, SL("=2C")))
			c = ',';
		else if (c == '=' && !slice_starts(name, SL("=3D")))
			return false;
		name = slice_from(name, name.p[0] == '=' ? 3 : 1);
		out[n++] = c;
	}
	*ret_n = n;
	return true;
}

/* "a=": acting as somebody else is not offered, as oneself is nothing new. */
static bool
is_self(const struct scram_server *s, struct slice authzid)
{
	uint8_t name[SCRAM_MESSAGE_MAX];
	uint16_t n = 0;

	return authzid.n == 0 || (unescape(slice_from(authzid, 2), name, &n) &&
				     slice_eq(slice_of(name, n), scram_server_user(s)));
}

/* Salt and keys, of the user or made up; the same work in both cases. */
static bool
choose_secret(const struct scram_given *g, struct scram_server *s, struct passwd_secret *ret)
{
	struct slice user = scram_server_user(s);
	const struct passwd_secret *known = secret_of_user(g->file, user),
				   *like = secret_like_scram(g->file, user);
	bool ok;

	*ret = (struct passwd_secret){
		.kind = PASSWD_SCRAM, .iterations = PASSWD_ITERATIONS, .salt_n = SCRAM_SALT_N
	};
	if (like != NULL) {
		ret->iterations = like->iterations;
		ret->salt_n = like->salt_n;
	}
	ok = scram_hmac(g->secret, user, ret->salt) &&
	     scram_hmac(ret->salt, SL("2"), ret->salt + SCRAM_KEY_N) &&
	     scram_hmac(ret->salt + SCRAM_KEY_N, SL("3"), ret->salt + 2 * (size_t)SCRAM_KEY_N) &&
	     scram_hmac(
		 ret->salt + 2 * (size_t)SCRAM_KEY_N, SL("4"), ret->salt + 3 * (size_t)SCRAM_KEY_N);
	s->verdict = known == NULL ? SCRAM_UNKNOWN : SCRAM_OTHER_HASH;
	if (known != NULL && known->kind == PASSWD_SCRAM) {
		s->verdict = SCRAM_WRONG;
		*ret = *known;
	}
	memcpy(s->stored, ret->hash, SCRAM_KEY_N);
	memcpy(s->server, ret->hash + SCRAM_KEY_N, SCRAM_KEY_N);
	return ok;
}

static bool
put_first(struct scram_server *s, const struct passwd_secret *with, struct scram_answer *a)
{
	char cost[16];

	(void)snprintf(cost, sizeof(cost), ",i=%u", with->iterations);
	return scram_put(a, SL("r=")) && scram_put(a, slice_of(s->nonce, s->nonce_n)) &&
	       scram_put(a, SL(",s=")) && scram_put_base64(a, slice_of(with->salt, with->salt_n)) &&
	       scram_put(a, slice_str(cost)) && scram_auth_add(&s->auth, slice_of(a->p, a->n));
}

static enum scram_result
begin(const struct scram_given *g, const struct first *f, struct scram_server *s,
    struct scram_answer *a)
{
	struct slice own = slice_str(g->nonce);
	struct passwd_secret with;
	bool ok;

	if (!unescape(f->user, s->user, &s->user_n))
		return fail(
		    a, "e=invalid-username-encoding", "the user name of SCRAM is not well-formed");
	if (!is_self(s, f->authzid))
		return fail(a, "e=other-error", "the client wants to act as another user");
	if (f->nonce.n > sizeof(s->nonce) - own.n)
		return fail(a, "e=other-error", "the first message of SCRAM is too long");
	memcpy(s->gs2, f->gs2.p, f->gs2.n);
	s->gs2_n = (uint16_t)f->gs2.n;
	memcpy(s->nonce, f->nonce.p, f->nonce.n);
	memcpy(s->nonce + f->nonce.n, own.p, own.n);
	s->nonce_n = (uint16_t)(f->nonce.n + own.n);
	(void)scram_auth_add(&s->auth, f->bare); /* as long as a message at most */
	ok = choose_secret(g, s, &with);
	if (ok && !put_first(s, &with, a)) {
		secret_wipe(&with, sizeof(with));
		return fail(a, "e=other-error", "the first message of SCRAM is too long");
	}
	secret_wipe(&with, sizeof(with));
	return ok ? SCRAM_MORE : no_memory(a);
}

enum scram_result
scram_server_begin(const struct scram_given *g, struct slice in, struct scram_server **ret,
    struct scram_answer *ret_answer)
{
	struct first f = { 0 };
	struct scram_server *s;
	enum scram_result r;

	ret_answer->n = 0;
	ret_answer->why = NULL;
	if (in.n > SCRAM_MESSAGE_MAX)
		return fail(ret_answer, "e=other-error", "the first message of SCRAM is too long");
	r = cut_first(in, &f, ret_answer);
	if (r != SCRAM_MORE)
		return r;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return no_memory(ret_answer);
	r = begin(g, &f, s, ret_answer);
	if (r == SCRAM_MORE)
		*ret = s;
	else
		scram_server_free(s);
	return r;
}

enum scram_result
scram_server_start(const struct passwd_file *f, const uint8_t secret[static SCRAM_SECRET_N],
    struct slice in, struct scram_server **ret, struct scram_answer *ret_answer)
{
	char nonce[SCRAM_NONCE_N * 4 / 3 + 5];
	struct scram_given g = { f, secret, nonce };

	scram_nonce_new(nonce);
	return scram_server_begin(&g, in, ret, ret_answer);
}

/* H(proof ^ ClientSignature) is the StoredKey of who knows the password; then ours goes into <signature>. */
static bool
is_proof(struct scram_server *s, uint8_t proof[static SCRAM_KEY_N],
    uint8_t signature[static SCRAM_KEY_N], bool *ret)
{
	struct slice auth = slice_of(s->auth.p, s->auth.n);
	uint8_t stored[SCRAM_KEY_N];
	bool ok = scram_hmac(s->stored, auth, signature);

	scram_xor(proof, signature);
	ok = ok && scram_hash(proof, stored) && scram_hmac(s->server, auth, signature);
	*ret = secret_eq(slice_of(stored, sizeof(stored)), slice_of(s->stored, sizeof(s->stored)));
	secret_wipe(proof, SCRAM_KEY_N); /* it is the ClientKey now */
	return ok;
}

static enum scram_result
judge(struct scram_server *s, uint8_t proof[static SCRAM_KEY_N], struct scram_answer *a)
{
	uint8_t signature[SCRAM_KEY_N];
	bool same = false;

	if (!is_proof(s, proof, signature, &same))
		return no_memory(a);
	if (!same || s->verdict != SCRAM_WRONG) {
		(void)fail(a, "e=invalid-proof",
		    s->verdict == SCRAM_UNKNOWN      ? "there is no such user"
		    : s->verdict == SCRAM_OTHER_HASH ? "the user has a hash of another kind"
						     : "the password is wrong");
		return s->verdict;
	}
	(void)(scram_put(a, SL("v=")) &&
	       scram_put_base64(a, slice_of(signature, sizeof(signature)))); /* there is room */
	return SCRAM_RIGHT;
}

/* "c=" repeats the header of the first message, as nothing was bound. */
static bool
repeats_header(const struct scram_server *s, struct slice binding)
{
	char text[4 * (SCRAM_MESSAGE_MAX / 3 + 1) + 1];

	base64_put(slice_of(s->gs2, s->gs2_n), true, text);
	return slice_eq(binding, slice_str(text));
}

enum scram_result
scram_server_finish(struct scram_server *s, struct slice in, struct scram_answer *ret_answer)
{
	struct slice rest = in, binding, nonce, text;
	uint8_t proof[SCRAM_KEY_N];
	const uint8_t *last;
	bool more = false;
	size_t n = 0;

	ret_answer->n = 0;
	ret_answer->why = NULL;
	if (in.n > SCRAM_MESSAGE_MAX)
		return fail(ret_answer, "e=other-error", "the last message of SCRAM is too long");
	/* base64 has no ',': the proof is behind the last one. */
	last = in.n > 0 ? memrchr(in.p, ',', in.n) : NULL;
	if (last == NULL)
		return fail(
		    ret_answer, "e=invalid-encoding", "the last message of SCRAM has no proof");
	text = slice_from(in, (size_t)(last - in.p) + 1);
	rest.n = (size_t)(last - in.p);
	if (!slice_starts(text, SL("p=")) ||
	    !base64_get(slice_from(text, 2), proof, sizeof(proof), &n) || n != sizeof(proof))
		return fail(
		    ret_answer, "e=invalid-encoding", "the last message of SCRAM has no proof");
	text = rest;
	if (!scram_take(&rest, 'c', &binding, &more) || !more ||
	    !scram_take(&rest, 'r', &nonce, &more) || !extensions_ok(rest, more))
		return fail(ret_answer, "e=invalid-encoding",
		    "the last message of SCRAM is not well-formed");
	if (!repeats_header(s, binding))
		return fail(ret_answer, "e=channel-bindings-dont-match",
		    "the last message of SCRAM has another header");
	if (!slice_eq(nonce, slice_of(s->nonce, s->nonce_n)) || !scram_auth_add(&s->auth, text))
		return fail(ret_answer, "e=other-error",
		    "the last message of SCRAM is of another exchange");
	return judge(s, proof, ret_answer);
}

struct slice
scram_server_user(const struct scram_server *s)
{
	return slice_of(s->user, s->user_n);
}

void
scram_server_free(struct scram_server *s)
{
	secret_free(s, s != NULL ? sizeof(*s) : 0);
}
