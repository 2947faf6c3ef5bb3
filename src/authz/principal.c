/* Who somebody is: decided once after the handshake or CONNECT, kept as long as connection and
 * session live. */
#include "authz/internal.h"

#include <stdlib.h>

enum { DIGEST_N = 32 };

static const char *const role_names[AUTHZ_ROLE_COUNT] = {
	[AUTHZ_ROLE_NONE] = "none",
	[AUTHZ_ROLE_CLOUD] = "cloud",
	[AUTHZ_ROLE_CLIENT] = "client",
	[AUTHZ_ROLE_WATCH] = "watch",
	[AUTHZ_ROLE_CONTROL] = "control",
	[AUTHZ_ROLE_QUARANTINE] = "quarantine",
};

const char *
authz_role_name(enum authz_role role)
{
	return (unsigned)role < AUTHZ_ROLE_COUNT ? role_names[role] : "none";
}

bool
authz_role_parse(struct slice name, enum authz_role *ret)
{
	for (unsigned i = AUTHZ_ROLE_NONE + 1; i < AUTHZ_ROLE_QUARANTINE; i++) {
		if (slice_eq(name, slice_str(role_names[i]))) {
			*ret = (enum authz_role)i;
			return true;
		}
	}
	return false;
}

bool
authz_plain(struct slice value)
{
	for (size_t i = 0; value.p != NULL && i < value.n; i++) {
		uint8_t c = value.p[i];

		if (c == '+' || c == '#' || c == '/' || c == 0)
			return false;
	}
	return true;
}

static void
append(struct authz_principal *p, uint32_t *at, const void *bytes, size_t n)
{
	if (n > 0)
		memcpy(p->text + *at, bytes, n);
	*at += (uint32_t)n;
}

/* The CN nearly always stands in the subject already, and the user name is nearly always the CN: a
 * connection that sleeps shall not pay for it twice. */
static uint32_t
find_or_append(struct authz_principal *p, uint32_t *at, struct slice s)
{
	const uint8_t *found = s.n > 0 && *at > 0 ? memmem(p->text, *at, s.p, s.n) : NULL;
	uint32_t begin = *at;

	if (found != NULL)
		return (uint32_t)(found - p->text);
	append(p, at, s.p, s.n);
	return begin;
}

static bool
fits(const struct authz_facts *f)
{
	return f->cn.n <= UINT16_MAX && f->username.n <= UINT16_MAX && f->subject.n <= UINT16_MAX &&
	       f->issuer.n <= UINT16_MAX && f->serial.n <= AUTHZ_SERIAL_MAX &&
	       f->chain.n <= AUTHZ_CHAIN_MAX;
}

static uint8_t
flags_of(const struct authz_facts *f)
{
	unsigned flags = 0;

	if (f->has_cert)
		flags |= PRINCIPAL_CERT;
	if (f->username.p != NULL)
		flags |= PRINCIPAL_USERNAME;
	if (f->issuer_key != NULL)
		flags |= PRINCIPAL_ISSUER_KEY;
	if (f->fingerprint != NULL)
		flags |= PRINCIPAL_FINGERPRINT;
	if (authz_plain(f->cn))
		flags |= PRINCIPAL_CN_PLAIN;
	if (authz_plain(f->username))
		flags |= PRINCIPAL_USERNAME_PLAIN;
	return (uint8_t)flags;
}

struct authz_principal *
authz_principal_new(const struct authz_facts *f)
{
	struct authz_principal *p, *small;
	uint32_t at = 0;

	if (!fits(f))
		return NULL;
	p = malloc(sizeof *p + f->subject.n + f->issuer.n + f->cn.n + f->username.n + f->serial.n +
		   2 * DIGEST_N + f->chain.n);
	if (p == NULL)
		return NULL;
	*p = (struct authz_principal){ .role = (uint8_t)f->role,
		.flags = flags_of(f),
		.serial_n = (uint8_t)f->serial.n,
		.not_before = f->not_before,
		.not_after = f->not_after,
		.subject_n = (uint16_t)f->subject.n,
		.issuer_n = (uint16_t)f->issuer.n,
		.cn_n = (uint16_t)f->cn.n,
		.username_n = (uint16_t)f->username.n,
		.chain_n = (uint16_t)f->chain.n,
		.credential = f->credential };
	atomic_init(&p->refs, 1);
	append(p, &at, f->subject.p, f->subject.n);
	append(p, &at, f->issuer.p, f->issuer.n);
	p->cn_at = find_or_append(p, &at, f->cn);
	p->username_at = find_or_append(p, &at, f->username);
	p->tail_at = at;
	append(p, &at, f->serial.p, f->serial.n);
	append(p, &at, f->issuer_key, f->issuer_key != NULL ? DIGEST_N : 0);
	append(p, &at, f->fingerprint, f->fingerprint != NULL ? DIGEST_N : 0);
	append(p, &at, f->chain.p, f->chain.n);
	small = realloc(p, sizeof *p + at);
	return small != NULL ? small : p;
}

struct authz_principal *
authz_principal_ref(struct authz_principal *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void
authz_principal_unref(struct authz_principal *p)
{
	if (p != NULL && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
		free(p);
}

static struct slice
cn_of(const struct authz_principal *p)
{
	return slice_of(p->text + p->cn_at, p->cn_n);
}

static const uint8_t *
issuer_key_of(const struct authz_principal *p)
{
	return p->flags & PRINCIPAL_ISSUER_KEY ? p->text + p->tail_at + p->serial_n : NULL;
}

static struct slice
chain_of(const struct authz_principal *p)
{
	size_t at = p->tail_at + p->serial_n + (p->flags & PRINCIPAL_ISSUER_KEY ? (size_t)DIGEST_N : 0) +
		    (p->flags & PRINCIPAL_FINGERPRINT ? (size_t)DIGEST_N : 0);

	return slice_of(p->text + at, p->chain_n);
}

static const uint8_t *
fingerprint_of(const struct authz_principal *p)
{
	size_t at =
	    p->tail_at + p->serial_n + (p->flags & PRINCIPAL_ISSUER_KEY ? (size_t)DIGEST_N : 0);

	return p->flags & PRINCIPAL_FINGERPRINT ? p->text + at : NULL;
}

void
authz_principal_facts(const struct authz_principal *p, struct authz_facts *ret)
{
	*ret = (struct authz_facts){
		.role = (enum authz_role)p->role,
		.has_cert = (p->flags & PRINCIPAL_CERT) != 0,
		.cn = cn_of(p),
		.username = authz_principal_username(p),
		.subject = slice_of(p->text, p->subject_n),
		.issuer = slice_of(p->text + p->subject_n, p->issuer_n),
		.serial = slice_of(p->text + p->tail_at, p->serial_n),
		.issuer_key = issuer_key_of(p),
		.fingerprint = fingerprint_of(p),
		.chain = chain_of(p),
		.not_before = p->not_before,
		.not_after = p->not_after,
		.credential = p->credential,
	};
}

enum authz_role
authz_principal_role(const struct authz_principal *p)
{
	return (enum authz_role)p->role;
}

struct slice
authz_principal_username(const struct authz_principal *p)
{
	return p->flags & PRINCIPAL_USERNAME ? slice_of(p->text + p->username_at, p->username_n)
					     : (struct slice){ 0 };
}

static bool
same_digest(const uint8_t *a, const uint8_t *b)
{
	return a != NULL && b != NULL && memcmp(a, b, DIGEST_N) == 0;
}

bool
authz_same_identity(const struct authz_principal *a, const struct authz_principal *b)
{
	if (a == b)
		return true;
	if (((a->flags ^ b->flags) & PRINCIPAL_CERT) != 0)
		return false;
	if ((a->flags & PRINCIPAL_CERT) == 0)
		return ((a->flags ^ b->flags) & PRINCIPAL_USERNAME) == 0 &&
		       slice_eq(authz_principal_username(a), authz_principal_username(b));
	/* Without a name nothing but the certificate itself says who it is. */
	if (a->cn_n == 0 || b->cn_n == 0)
		return a->cn_n == b->cn_n && same_digest(fingerprint_of(a), fingerprint_of(b));
	return same_digest(issuer_key_of(a), issuer_key_of(b)) && slice_eq(cn_of(a), cn_of(b));
}

/* ---- chains ---- */

enum { LINK_ANCHOR = 0x80, LINK_HEAD = DIGEST_N + 1 };

void
authz_chain_begin(uint8_t chain[static AUTHZ_CHAIN_MAX], size_t *ret_n, bool anchor)
{
	chain[0] = anchor;
	*ret_n = 1;
}

bool
authz_chain_add(uint8_t chain[static AUTHZ_CHAIN_MAX], size_t *n, const struct authz_link *l)
{
	uint8_t *p = chain + *n;

	if (l->serial.n > AUTHZ_SERIAL_MAX || *n + LINK_HEAD + l->serial.n > AUTHZ_CHAIN_MAX)
		return false;
	memcpy(p, l->key, DIGEST_N);
	p[DIGEST_N] = (uint8_t)(l->serial.n | (l->anchor ? (unsigned)LINK_ANCHOR : 0));
	if (l->serial.n > 0)
		memcpy(p + LINK_HEAD, l->serial.p, l->serial.n);
	*n += LINK_HEAD + l->serial.n;
	return true;
}

bool
authz_chain_anchored(struct slice *chain)
{
	bool anchor = chain->n > 0 && chain->p[0] != 0;

	if (chain->n > 0)
		*chain = slice_from(*chain, 1);
	return anchor;
}

bool
authz_chain_next(struct slice *chain, struct authz_link *ret)
{
	size_t n;

	if (chain->n < LINK_HEAD)
		return false;
	n = chain->p[DIGEST_N] & ~(unsigned)LINK_ANCHOR;
	if (chain->n < LINK_HEAD + n)
		return false;
	*ret = (struct authz_link){ chain->p, slice_of(chain->p + LINK_HEAD, n), (chain->p[DIGEST_N] & LINK_ANCHOR) != 0 };
	*chain = slice_from(*chain, LINK_HEAD + n);
	return true;
}
