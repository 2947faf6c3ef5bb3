/* What a login is worth: a signed token (JWT, HS256) under a key that only this process has and that ends with it. So a token never
 * outlives the process, the list of those that were given back needs no file, and there is no key to steal from a disk. */
#include "api/internal.h"

#include <errno.h>
#include <jwt.h>
#include <stdlib.h>

#include "base/secret.h"
#include "base/text.h"

static const char issuer[] = "signet", audience[] = "signet-api";

enum { TOKEN_KEY_N = 32, REVOKED_MAX = 65536 };

struct revoked {
	struct revoked *next;
	int64_t expires;
	char jti[33];
};

struct tokens {
	uint8_t key[TOKEN_KEY_N];
	unsigned life_s;
	struct map revoked;
	struct revoked *first, **last; /* in the order in which they came */
};

static struct slice
revoked_key(const void *value)
{
	return slice_str(((const struct revoked *)value)->jti);
}

struct tokens *
tokens_new(unsigned life_s)
{
	struct tokens *ts = calloc(1, sizeof(*ts));

	if (ts == NULL)
		return NULL;
	random_bytes(ts->key, sizeof(ts->key));
	ts->life_s = life_s;
	map_init(&ts->revoked, revoked_key);
	ts->last = &ts->first;
	return ts;
}

static void
forget_first(struct tokens *ts)
{
	struct revoked *x = ts->first;

	ts->first = x->next;
	if (ts->first == NULL)
		ts->last = &ts->first;
	(void)map_del(&ts->revoked, slice_str(x->jti));
	free(x);
}

void
tokens_free(struct tokens *ts)
{
	if (ts == NULL)
		return;
	while (ts->first != NULL)
		forget_first(ts);
	map_done(&ts->revoked);
	secret_free(ts, sizeof(*ts));
}

static bool
add_claims(jwt_t *jwt, const struct token *t)
{
	return jwt_add_grant(jwt, "iss", issuer) == 0 && jwt_add_grant(jwt, "aud", audience) == 0 &&
	       jwt_add_grant(jwt, "jti", t->jti) == 0 && jwt_add_grant(jwt, "tenant", t->tenant) == 0 &&
	       jwt_add_grant_int(jwt, "sub", (long)t->user) == 0 && jwt_add_grant_int(jwt, "gen", (long)t->generation) == 0 &&
	       jwt_add_grant_int(jwt, "since", (long)t->since) == 0 && jwt_add_grant_int(jwt, "iat", (long)t->issued) == 0 && jwt_add_grant_int(jwt, "nbf", (long)t->issued) == 0 &&
	       jwt_add_grant_int(jwt, "exp", (long)t->expires) == 0 &&
	       (t->more == NULL || jwt_add_grants_json(jwt, t->more) == 0);
}

char *
token_issue(struct tokens *ts, struct token *t, int64_t now)
{
	uint8_t id[16];
	jwt_t *jwt = NULL;
	char *text = NULL;

	if (t->jti[0] == '\0') {
		random_bytes(id, sizeof(id));
		(void)text_hex(slice_of(id, sizeof(id)), t->jti, sizeof(t->jti));
	}
	t->since = t->since != 0 ? t->since : now;
	t->issued = now;
	t->expires = now + ts->life_s;
	if (jwt_new(&jwt) == 0 && jwt_set_alg(jwt, JWT_ALG_HS256, ts->key, sizeof(ts->key)) == 0 && add_claims(jwt, t))
		text = jwt_encode_str(jwt);
	jwt_free(jwt);
	return text;
}

static bool
claim(jwt_t *jwt, const char *name, int64_t *ret)
{
	errno = 0;
	*ret = jwt_get_grant_int(jwt, name);
	return errno == 0;
}

static bool
claim_is(jwt_t *jwt, const char *name, const char *value)
{
	const char *is = jwt_get_grant(jwt, name);

	return is != NULL && strcmp(is, value) == 0;
}

static bool
read_claims(jwt_t *jwt, struct token *t)
{
	int64_t nbf;
	const char *jti = jwt_get_grant(jwt, "jti"), *tenant = jwt_get_grant(jwt, "tenant");

	return claim_is(jwt, "iss", issuer) && claim_is(jwt, "aud", audience) && claim(jwt, "sub", &t->user) &&
	       claim(jwt, "gen", &t->generation) && claim(jwt, "since", &t->since) && claim(jwt, "iat", &t->issued) && claim(jwt, "nbf", &nbf) && nbf == t->issued &&
	       claim(jwt, "exp", &t->expires) && jti != NULL && tenant != NULL && text_copy(t->jti, sizeof(t->jti), slice_str(jti)) &&
	       text_copy(t->tenant, sizeof(t->tenant), slice_str(tenant));
}

static bool
refuse(const char **ret_why, const char *why)
{
	*ret_why = why;
	return false;
}

bool
token_read(struct tokens *ts, struct slice text, int64_t now, struct token *ret, const char **ret_why)
{
	char copy[API_TOKEN_MAX + 1];
	struct token t = { 0 };
	jwt_t *jwt = NULL;
	bool ok;

	if (!text_copy(copy, sizeof(copy), text) || jwt_decode(&jwt, copy, ts->key, sizeof(ts->key)) != 0)
		return refuse(ret_why, "the token is not one of this process, or was changed");
	/* The library goes by what the token says; there is one algorithm here. */
	ok = jwt_get_alg(jwt) == JWT_ALG_HS256 && read_claims(jwt, &t);
	jwt_free(jwt);
	secret_wipe(copy, sizeof(copy));
	if (!ok)
		return refuse(ret_why, "the token is not one of this process, or was changed");
	if (t.issued > now || t.expires > t.issued + ts->life_s)
		return refuse(ret_why, "the token is from the future");
	if (t.expires <= now)
		return refuse(ret_why, "the token has expired");
	if (map_get(&ts->revoked, slice_str(t.jti)) != NULL)
		return refuse(ret_why, "the token was given back by a logout");
	*ret = t;
	return true;
}

bool
token_revoke(struct tokens *ts, const char *jti, int64_t expires, int64_t now)
{
	struct revoked *x;

	while (ts->first != NULL && ts->first->expires <= now)
		forget_first(ts);
	if (map_get(&ts->revoked, slice_str(jti)) != NULL)
		return true;
	if (ts->revoked.count >= REVOKED_MAX || (x = calloc(1, sizeof(*x))) == NULL)
		return false;
	x->expires = expires;
	(void)text_copy(x->jti, sizeof(x->jti), slice_str(jti));
	if (!map_put(&ts->revoked, x)) {
		free(x);
		return false;
	}
	*ts->last = x;
	ts->last = &x->next;
	return true;
}
