/* The client's side of SCRAM-SHA-256: it proves that it knows the password, and has the server prove that it does. */
#include <stdlib.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "passwd/internal.h"

/* More would only serve to keep us busy. */
enum { SERVER_ITERATIONS_MAX = 10 * 1000 * 1000 };
/* So that a first message has room for it, however it is escaped. */
enum { USER_MAX = 256 };

struct scram_client {
	struct slice user, password;
	struct scram_auth auth;
	bool begun; /* the next is the server's first message */
	bool ended; /* the next is the server's signature */
	char nonce[SCRAM_NONCE_N * 4 / 3 + 5];
	uint8_t signature[SCRAM_KEY_N]; /* the server's, as it must be */
};

struct scram_client *
scram_client_new(struct slice user, struct slice password, struct err *err)
{
	struct scram_client *c;

	if (user.n > USER_MAX || !scram_text_ok(user) || !scram_text_ok(password)) {
		(void)err_set(err, ERR_USAGE,
		    SCRAM_METHOD " needs a user name and a password in printable ASCII, the name "
				 "of at most %d characters",
		    USER_MAX);
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	c->user = user;
	c->password = password;
	return c;
}

void
scram_client_free(struct scram_client *c)
{
	secret_free(c, c != NULL ? sizeof(*c) : 0);
}

static bool
put_name(struct scram_answer *a, struct slice name)
{
	bool ok = true;
	size_t i;

	for (i = 0; ok && i < name.n; i++)
		ok = scram_put(a, name.p[i] == ','   ? SL("=2C")
				  : name.p[i] == '=' ? SL("=3D")
						     : slice_of(name.p + i, 1));
	return ok;
}

bool
scram_client_begin(struct scram_client *c, const char *nonce, struct scram_answer *ret)
{
	*ret = (struct scram_answer){ 0 };
	c->auth.n = 0;
	c->ended = false;
	c->begun = text_copy(c->nonce, sizeof(c->nonce), slice_str(nonce)) &&
		   scram_put(ret, SL("n,,n=")) && put_name(ret, c->user) &&
		   scram_put(ret, SL(",r=")) && scram_put(ret, slice_str(c->nonce)) &&
		   scram_auth_add(&c->auth, slice_from(slice_of(ret->p, ret->n), 3));
	return c->begun;
}

/* Salt and cost, from a server that we do not trust yet. */
static const char *
read_first(const struct scram_client *c, struct slice in, struct passwd_secret *ret,
    struct slice *ret_nonce)
{
	struct slice ours = slice_str(c->nonce), salt, cost;
	bool more = false;
	uint64_t i = 0;
	size_t n = 0;

	if (slice_starts(in, SL("m=")))
		return "it demands an extension of SCRAM";
	if (!scram_take(&in, 'r', ret_nonce, &more) || !more ||
	    !scram_take(&in, 's', &salt, &more) || !more || !scram_take(&in, 'i', &cost, &more))
		return "its first message is not one of SCRAM";
	if (!slice_starts(*ret_nonce, ours) || ret_nonce->n <= ours.n ||
	    !scram_nonce_ok(*ret_nonce))
		return "its nonce does not begin with ours";
	if (!base64_get(salt, ret->salt, sizeof(ret->salt), &n) || n == 0)
		return "its salt is not base64 of at most 128 bytes";
	ret->salt_n = (uint16_t)n;
	if (!text_u64(cost, 1, UINT32_MAX, &i))
		return "it does not say how many iterations";
	if (i < PASSWD_SCRAM_ITERATIONS_MIN)
		return "with fewer than 4096 iterations it could guess the password (RFC 7677 4)";
	if (i > SERVER_ITERATIONS_MAX)
		return "it wants more than 10000000 iterations";
	ret->iterations = (uint32_t)i;
	return NULL;
}

/* The proof over what was said so far; and what the server must answer. */
static bool
prove(struct scram_client *c, const struct passwd_secret *with, struct scram_answer *a)
{
	struct slice auth = slice_of(c->auth.p, c->auth.n);
	uint8_t signature[SCRAM_KEY_N];
	struct scram_keys k;
	bool ok =
	    scram_derive(c->password, slice_of(with->salt, with->salt_n), with->iterations, &k) &&
	    scram_hmac(k.stored, auth, signature) && scram_hmac(k.server, auth, c->signature);

	if (ok)
		scram_xor(k.client, signature);
	ok = ok && scram_put(a, SL(",p=")) &&
	     scram_put_base64(a, slice_of(k.client, sizeof(k.client)));
	secret_wipe(&k, sizeof(k));
	return ok;
}

static bool
finish(struct scram_client *c, struct slice in, struct scram_answer *a, struct err *err)
{
	struct passwd_secret with = { 0 };
	struct slice nonce;
	const char *why;

	*a = (struct scram_answer){ 0 };
	c->begun = false;
	if (in.n > SCRAM_MESSAGE_MAX)
		return err_set(err, ERR_INPUT,
		    "the broker's " SCRAM_METHOD " is not to be trusted: its message is too long");
	why = read_first(c, in, &with, &nonce);
	if (why != NULL)
		return err_set(
		    err, ERR_INPUT, "the broker's " SCRAM_METHOD " is not to be trusted: %s", why);
	if (!scram_auth_add(&c->auth, in) || !scram_put(a, SL("c=biws,r=")) ||
	    !scram_put(a, nonce) || !scram_auth_add(&c->auth, slice_of(a->p, a->n)) ||
	    !prove(c, &with, a))
		return err_set(err, ERR_MEMORY, "out of memory");
	c->ended = true;
	return true;
}

bool
scram_client_step(
    struct scram_client *c, struct slice in, struct scram_answer *ret, struct err *err)
{
	char nonce[SCRAM_NONCE_N * 4 / 3 + 5];

	if (in.n > 0)
		return c->begun ? finish(c, in, ret, err)
				: err_set(err, ERR_INPUT,
				      "the broker wants more of " SCRAM_METHOD " than there is");
	scram_nonce_new(nonce);
	return scram_client_begin(c, nonce, ret) ||
	       err_set(err, ERR_USAGE, "the user name is too long");
}

bool
scram_client_verify(struct scram_client *c, struct slice in, struct err *err)
{
	uint8_t signature[SCRAM_KEY_N];
	struct slice text;
	bool more = false, ended = c->ended;
	size_t n = 0;

	c->ended = false;
	if (!ended || !scram_take(&in, 'v', &text, &more) ||
	    !base64_get(text, signature, sizeof(signature), &n) ||
	    !secret_eq(slice_of(signature, n), slice_of(c->signature, sizeof(c->signature))))
		return err_set(err, ERR_DENIED,
		    "the broker lets us in, but cannot prove that it knows the password: it is not "
		    "the one it "
		    "pretends to be");
	return true;
}
