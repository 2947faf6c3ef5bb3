/* Session tickets (RFC 5077, RFC 8446 4.6.1): the state of a session is with its client, sealed under keys that only this process has. A ticket
 * that comes back is opened, must belong here, must not be too old, and who it names is judged anew; else a full handshake follows,
 * which tells him why. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/num.h"
#include "base/rd.h"
#include "base/secret.h"
#include "base/wr.h"
#include "net/internal.h"

enum {
	NAME_N = 16, /* libssl's, of a key in front of a ticket */
	IV_N = 16,
	KEY_N = 32,
	HEAD_N = 8,  /* in front of a voucher: when the certificate was shown */
};

/* AES-256-CBC, and HMAC-SHA-256 over the whole: what libssl can carry out, RFC 5077 4. */
struct ticket_key {
	uint8_t name[NAME_N], cipher[KEY_N], mac[KEY_N];
	uint64_t since; /* s */
	bool there;
};

struct tls_tickets {
	atomic_uint refs;
	EVP_CIPHER *cipher; /* fetched once: that is most of its cost */
	pthread_mutex_t lock; /* of the following three */
	struct ticket_key now, before;
	uint64_t lifetime_s;
	struct tls_ticket_stats stats;
};

/* Seconds. It goes on while the machine sleeps, and nobody can set it back. */
uint64_t
tickets_clock(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t); /* cannot fail for this clock */
	return (uint64_t)t.tv_sec;
}

/* ---- keys ---- */

static void
new_key(struct ticket_key *k, uint64_t now_s)
{
	random_bytes(k->name, sizeof(k->name));
	random_bytes(k->cipher, sizeof(k->cipher));
	random_bytes(k->mac, sizeof(k->mac));
	k->since = now_s;
	k->there = true;
}

struct tls_tickets *
tls_tickets_new(unsigned lifetime_s)
{
	struct tls_tickets *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	atomic_init(&t->refs, 1);
	t->lifetime_s = lifetime_s;
	t->cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	if (t->cipher == NULL || pthread_mutex_init(&t->lock, NULL) != 0) {
		EVP_CIPHER_free(t->cipher);
		ERR_clear_error();
		free(t);
		return NULL;
	}
	new_key(&t->now, tickets_clock());
	return t;
}

struct tls_tickets *
tls_tickets_ref(struct tls_tickets *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void
tls_tickets_unref(struct tls_tickets *t)
{
	if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
		return;
	EVP_CIPHER_free(t->cipher);
	(void)pthread_mutex_destroy(&t->lock);
	secret_free(t, sizeof(*t));
}

void
tls_tickets_set_lifetime(struct tls_tickets *t, unsigned lifetime_s)
{
	(void)pthread_mutex_lock(&t->lock);
	t->lifetime_s = lifetime_s;
	(void)pthread_mutex_unlock(&t->lock);
	tls_tickets_turn(t);
}

static void
turn(struct tls_tickets *t, uint64_t now_s)
{
	uint64_t age = now_s > t->now.since ? now_s - t->now.since : 0;

	if (age < t->lifetime_s)
		return;
	if (age < 2 * t->lifetime_s)
		t->before = t->now;
	else
		secret_wipe(&t->before, sizeof(t->before));
	new_key(&t->now, now_s);
}

void
tickets_turn_at(struct tls_tickets *t, uint64_t now_s)
{
	(void)pthread_mutex_lock(&t->lock);
	turn(t, now_s);
	(void)pthread_mutex_unlock(&t->lock);
}

void
tls_tickets_turn(struct tls_tickets *t)
{
	tickets_turn_at(t, tickets_clock());
}

/* The key that seals (<name> NULL), or that with this name. Wipe it afterwards. */
static bool
key_of(struct tls_tickets *t, const uint8_t *name, struct ticket_key *ret)
{
	const struct ticket_key *k;

	(void)pthread_mutex_lock(&t->lock);
	turn(t, tickets_clock());
	k = name == NULL || memcmp(name, t->now.name, NAME_N) == 0 ? &t->now
	    : t->before.there && memcmp(name, t->before.name, NAME_N) == 0 ? &t->before
									    : NULL;
	if (k != NULL)
		*ret = *k;
	(void)pthread_mutex_unlock(&t->lock);
	return k != NULL;
}

static uint64_t
lifetime_of(struct tls_tickets *t)
{
	uint64_t s;

	(void)pthread_mutex_lock(&t->lock);
	s = t->lifetime_s;
	(void)pthread_mutex_unlock(&t->lock);
	return s;
}

const struct tls_ticket_stats *
tls_tickets_stats(const struct tls_tickets *t)
{
	return &t->stats;
}

/* ---- what libssl asks ---- */

static bool
use_key(const struct tls_tickets *t, struct ticket_key *k, const uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex2(cipher, t->cipher, k->cipher, iv, seal, NULL) == 1 && EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* 1: done; 2: done, and a new ticket shall follow; 0: no ticket is made, or this one is not ours; -1: the handshake fails. */
static int
on_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	const struct tls_shake *s = SSL_get_app_data(ssl);
	struct ticket_key k;
	bool ok;

	if (s == NULL || (seal != 0 && s->no_ticket) || !key_of(s->ctx->tickets, seal != 0 ? NULL : name, &k))
		return 0;
	if (seal != 0) {
		memcpy(name, k.name, NAME_N);
		random_bytes(iv, IV_N);
	}
	ok = use_key(s->ctx->tickets, &k, iv, cipher, mac, seal);
	secret_wipe(&k, sizeof(k));
	if (!ok)
		return -1;
	/* RFC 8446 C.4: a ticket is for one use, so that nobody on the way can tell that two connections are of one client. */
	return seal == 0 && SSL_version(ssl) >= TLS1_3_VERSION ? 2 : 1;
}

/* When the certificate was shown, out of what the session says; the rest is the voucher. */
static bool
proved_at(SSL_SESSION *session, uint64_t *ret_s, struct slice *ret_voucher)
{
	void *data = NULL;
	size_t n = 0;
	struct rd r;
	uint64_t high, low;

	if (SSL_SESSION_get0_ticket_appdata(session, &data, &n) != 1)
		return false;
	r = rd_of(slice_of(data, n));
	high = rd_u32(&r);
	low = rd_u32(&r);
	*ret_voucher = rd_take(&r, rd_left(&r));
	*ret_s = high << 32 | low;
	return rd_ok(&r);
}

static bool
write_voucher(SSL_SESSION *session, struct tls_shake *s, uint64_t now_s)
{
	const struct tls_hooks *h = &s->ctx->hooks;
	uint8_t buf[HEAD_N + TLS_VOUCHER_MAX];
	struct wr w = wr_of(buf, HEAD_N);
	size_t n = s->identity != NULL && !s->no_ticket ? h->vouch(h->ctx, s->identity, buf + HEAD_N) : 0;

	wr_u32(&w, (uint32_t)(now_s >> 32));
	wr_u32(&w, (uint32_t)now_s);
	return SSL_SESSION_set1_ticket_appdata(session, buf, HEAD_N + n) == 1;
}

/* A ticket is about to be made. One that follows from another has its time, not a new one: RFC 8446 4.6.1 wants the time since the
 * client proved that the certificate is its own to be limited. */
static int
on_make(SSL *ssl, void *arg)
{
	const struct tls_ctx *t = arg;
	struct tls_shake *s = SSL_get_app_data(ssl);
	SSL_SESSION *session = SSL_get_session(ssl);
	uint64_t now_s = tickets_clock(), since = now_s, lifetime = lifetime_of(t->tickets), age;
	struct slice voucher;

	if (s == NULL || session == NULL ||
	    !(SSL_session_reused(ssl) == 1 ? proved_at(session, &since, &voucher) : write_voucher(session, s, now_s)))
		return 0;
	age = now_s - NUM_MIN(since, now_s);
	/* What the client is told; on_ticket() decides. */
	(void)SSL_SESSION_set_timeout(session, (long)(age < lifetime ? lifetime - age : 1));
	return 1;
}

static bool
refuse(const struct tls_ctx *t, enum tls_ticket_fault fault)
{
	(void)atomic_fetch_add_explicit(&t->tickets->stats.refused[fault], 1, memory_order_relaxed);
	return false;
}

/* Whom a ticket that could be opened names, if he may come in by it. */
static bool
may_resume(const struct tls_ctx *t, SSL_SESSION *session, void **ret_peer)
{
	unsigned n = 0;
	const uint8_t *scope = SSL_SESSION_get0_id_context(session, &n);
	X509 *leaf = SSL_SESSION_get0_peer(session);
	uint64_t since, now_s = tickets_clock();
	struct slice voucher;

	if (n != sizeof(t->scope) || memcmp(scope, t->scope, n) != 0)
		return refuse(t, TLS_TICKET_ELSEWHERE);
	if (!proved_at(session, &since, &voucher) || since > now_s || now_s - since >= lifetime_of(t->tickets))
		return refuse(t, TLS_TICKET_TOO_OLD);
	/* There was no certificate, and none is needed. */
	if (leaf == NULL && voucher.n == 0 && (SSL_CTX_get_verify_mode(t->ssl) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT) == 0)
		return true;
	if (leaf == NULL || voucher.n == 0 || t->hooks.resume == NULL || !t->hooks.resume(t->hooks.ctx, leaf, voucher, ret_peer))
		return refuse(t, TLS_TICKET_JUDGED);
	return true;
}

/* A client has shown a ticket, or in TLS 1.2 that it takes one (EMPTY). In TLS 1.3 it has not proved yet that it is its own, so that he who it
 * names is not let in here but by tickets_settle(). */
static SSL_TICKET_RETURN
on_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t name_n, SSL_TICKET_STATUS status, void *arg)
{
	const struct tls_ctx *t = arg;
	struct tls_shake *s = SSL_get_app_data(ssl);

	(void)name;
	(void)name_n;
	if (s == NULL)
		return SSL_TICKET_RETURN_IGNORE;
	tickets_forget(s);
	if (status == SSL_TICKET_NO_DECRYPT)
		(void)refuse(t, TLS_TICKET_UNKNOWN);
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	s->judged = may_resume(t, session, &s->returned);
	if (!s->judged)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS_RENEW ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_USE;
}

bool
tickets_set_up(struct tls_ctx *t, const struct tls_config *c)
{
	t->tickets = tls_tickets_ref(c->tickets);
	memcpy(t->scope, c->ticket_scope, sizeof(t->scope));
	(void)SSL_CTX_clear_options(t->ssl, SSL_OP_NO_TICKET);
	return SSL_CTX_set_num_tickets(t->ssl, 1) == 1 && SSL_CTX_set_tlsext_ticket_key_evp_cb(t->ssl, on_key) == 1 &&
	       SSL_CTX_set_session_ticket_cb(t->ssl, on_make, on_ticket, t) == 1;
}

/* TLS 1.3 then sends none. TLS 1.2 has promised one in its hello, and sends one of no length: RFC 5077 3.3. */
void
tickets_offer(SSL *ssl, struct tls_shake *s)
{
	uint8_t voucher[TLS_VOUCHER_MAX];

	if (s->ctx->tickets == NULL || (s->identity != NULL && s->ctx->hooks.vouch(s->ctx->hooks.ctx, s->identity, voucher) > 0))
		return;
	s->no_ticket = true;
	(void)SSL_set_num_tickets(ssl, 0); /* cannot fail */
}

void
tickets_forget(struct tls_shake *s)
{
	if (s->returned != NULL && s->ctx->hooks.peer_free != NULL)
		s->ctx->hooks.peer_free(s->returned);
	s->returned = NULL;
	s->judged = false;
}

bool
tickets_settle(SSL *ssl, struct tls_shake *s)
{
	if (s->ctx->tickets == NULL)
		return true;
	s->resumed = SSL_session_reused(ssl) == 1;
	if (s->resumed && (!s->judged || s->identity != NULL))
		return false;
	if (s->resumed) {
		s->identity = s->returned;
		s->returned = NULL;
	}
	tickets_forget(s);
	/* Nobody asks for it any more, and a connection may sleep for long. */
	(void)SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), NULL, 0);
	return true;
}
