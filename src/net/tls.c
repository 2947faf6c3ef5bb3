/* TLS by libssl, which never sees a socket: it reads from and writes to the loop's windows through
 * one BIO that all connections of the loop share. Here are the handshake, and records that libssl
 * goes on to carry after it. */
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "net/internal.h"

/* ---- the windows as a BIO ---- */

static int
window_read(BIO *b, char *p, size_t n, size_t *ret_n)
{
	struct tls_io *io = BIO_get_data(b);

	BIO_clear_retry_flags(b);
	if (io->in_n == 0) {
		BIO_set_retry_read(b);
		return 0;
	}
	*ret_n = NUM_MIN(n, io->in_n);
	memcpy(p, io->in, *ret_n);
	io->in += *ret_n;
	io->in_n -= *ret_n;
	return 1;
}

static int
window_write(BIO *b, const char *p, size_t n, size_t *ret_n)
{
	struct tls_io *io = BIO_get_data(b);
	size_t want;

	BIO_clear_retry_flags(b);
	if (!num_add(io->out_n, n, &want) || want > OUT_MAX)
		return 0;
	if (want > io->out_cap) {
		/* Rare: the sealer sends in time, so this is a certificate chain of unusual
		 * length. */
		size_t cap = NUM_MAX(want, io->out_cap * 2);
		uint8_t *grown = realloc(io->out, cap);

		if (grown == NULL)
			return 0;
		io->out = grown;
		io->out_cap = cap;
	}
	memcpy(io->out + io->out_n, p, n);
	io->out_n = want;
	*ret_n = n;
	return 1;
}

static long
window_ctrl(BIO *b, int cmd, long num, void *p)
{
	(void)b;
	(void)num;
	(void)p;
	return cmd == BIO_CTRL_FLUSH;
}

BIO *
tls_bio_new(struct tls_io *io)
{
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "window");
	BIO *b = NULL;

	if (m != NULL && BIO_meth_set_read_ex(m, window_read) == 1 &&
	    BIO_meth_set_write_ex(m, window_write) == 1 && BIO_meth_set_ctrl(m, window_ctrl) == 1)
		b = BIO_new(m);
	if (b == NULL) {
		BIO_meth_free(m);
		return NULL;
	}
	/* The method lives as long as the BIO: kept where tls_bio_free() finds it. */
	(void)BIO_set_app_data(b, m);
	BIO_set_data(b, io);
	BIO_set_init(b, 1);
	return b;
}

void
tls_bio_free(BIO *b)
{
	BIO_METHOD *m = b != NULL ? BIO_get_app_data(b) : NULL;

	(void)BIO_free(b);
	BIO_meth_free(m);
}

/* ---- reasons ---- */

/* The text of the first complaint of libssl itself, else of the last of all. Empties the queue. */
static const char *
take_reason(int *ret_reason)
{
	unsigned long e, best = 0;

	while ((e = ERR_get_error()) != 0)
		if (best == 0 || ERR_GET_LIB(best) != ERR_LIB_SSL)
			best = e;
	*ret_reason = best != 0 && ERR_GET_LIB(best) == ERR_LIB_SSL ? ERR_GET_REASON(best) : 0;
	if (best == 0 || ERR_reason_error_string(best) == NULL)
		return "TLS error without a reason";
	return ERR_reason_error_string(best);
}

static void
explain(struct tls_io *io)
{
	int reason;
	const char *text = take_reason(&reason);

	if (reason > SSL_AD_REASON_OFFSET) {
		int alert = reason - SSL_AD_REASON_OFFSET;

		(void)snprintf(io->why, sizeof(io->why), "TLS alert from peer: %s (%d)",
		    SSL_alert_desc_string_long(alert), alert);
	} else {
		(void)snprintf(io->why, sizeof(io->why), "TLS: %s", text);
	}
}

/* ---- handshake ---- */

static void
bind_bio(void *t, BIO *bio)
{
	SSL *ssl = t;

	if (bio != NULL) {
		(void)BIO_up_ref(bio);
		(void)BIO_up_ref(bio);
	}
	SSL_set0_rbio(ssl, bio);
	SSL_set0_wbio(ssl, bio);
}

/* Whom we call, and who must answer: RFC 6125; an address is not a name and goes without SNI (RFC 6066 3). */
static bool
expect_name(SSL *ssl, const struct tls_shake *s)
{
	X509_VERIFY_PARAM *p = SSL_get0_param(ssl);
	uint8_t addr[16];
	bool digits = inet_pton(AF_INET, s->name, addr) == 1 || inet_pton(AF_INET6, s->name, addr) == 1;
	/* SSL_set_tlsext_host_name() is a macro that casts const away where nothing is written. */
	char *name = s->name;

	if (!digits && SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name) != 1)
		return false;
	if (s->ctx->any_name)
		return true;
	X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return (digits ? X509_VERIFY_PARAM_set1_ip_asc(p, name) : X509_VERIFY_PARAM_set1_host(p, name, 0)) == 1;
}

SSL *
tls_shake_new(struct tls_shake *s, BIO *bio)
{
	SSL *ssl;

	ERR_clear_error();
	ssl = SSL_new(s->ctx->ssl);
	if (ssl == NULL)
		return NULL;
	bind_bio(ssl, bio);
	(void)SSL_set_app_data(ssl, s);
	if (!s->ctx->client) {
		SSL_set_accept_state(ssl);
		return ssl;
	}
	SSL_set_connect_state(ssl);
	if (!expect_name(ssl, s)) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

/* How a wrong pre-shared key shows: TLS 1.3 checks a binder, TLS 1.2 finds that the first encrypted record is none. */
static bool
wrong_key(int reason)
{
	return reason == SSL_R_BINDER_DOES_NOT_VERIFY || reason == SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC ||
	       reason == SSL_R_DIGEST_CHECK_FAILED || reason == SSL_R_BAD_PSK || reason == SSL_R_PSK_IDENTITY_NOT_FOUND;
}

/* A claim is an identity only if the key was used: a client may name one and then go another way. */
static void
settle_psk(const SSL *ssl, struct tls_shake *s)
{
	const SSL_CIPHER *c = SSL_get_current_cipher(ssl);
	bool used = SSL_version(ssl) >= TLS1_3_VERSION
			? SSL_session_reused(ssl) == 1
			: c != NULL && SSL_CIPHER_get_auth_nid(c) == NID_auth_psk;

	if (used && s->psk_known)
		return;
	free(s->psk);
	s->psk = NULL;
}

void
tls_classify(const SSL *ssl, struct tls_shake *s, struct net_failure *f)
{
	int reason;

	f->kind = NET_FAIL_TLS;
	f->alert = s->alert_sent;
	f->detail = take_reason(&reason);
	if (reason > SSL_AD_REASON_OFFSET || s->alert_received >= 0) {
		f->kind = NET_FAIL_ALERT;
		f->alert =
		    s->alert_received >= 0 ? s->alert_received : reason - SSL_AD_REASON_OFFSET;
		f->detail = SSL_alert_desc_string_long(f->alert);
	} else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		f->kind = NET_FAIL_VERIFY;
		if (s->ctx->client)
			f->detail = X509_verify_cert_error_string(SSL_get_verify_result(ssl));
	} else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
		f->kind = NET_FAIL_NO_CERT;
	} else if (s->psk != NULL && wrong_key(reason)) {
		f->kind = NET_FAIL_PSK;
		f->psk_identity = s->psk;
		f->psk_known = s->psk_known;
	}
}

enum shake_result
tls_shake_step(SSL *ssl, struct tls_shake *s, struct net_failure *ret_f)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(ssl);
	if (r == 1 && tickets_settle(ssl, s)) {
		settle_psk(ssl, s);
		return SHAKE_DONE;
	}
	if (r == 1) {
		*ret_f = (struct net_failure){ .kind = NET_FAIL_TLS, .alert = -1, .detail = "a session that nobody has judged" };
		return SHAKE_FAILED;
	}
	*ret_f = (struct net_failure){ .kind = NET_FAIL_CLOSED,
		.alert = -1,
		.detail = "the peer ended the handshake with close_notify" };
	switch (SSL_get_error(ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return SHAKE_MORE;
	case SSL_ERROR_ZERO_RETURN:
		break;
	default:
		tls_classify(ssl, s, ret_f);
		break;
	}
	return SHAKE_FAILED;
}

void
tls_shake_free(SSL *ssl)
{
	SSL_free(ssl);
}

void
tls_shake_done(struct tls_shake *s)
{
	tickets_forget(s);
	if (s->identity != NULL && s->ctx->hooks.peer_free != NULL)
		s->ctx->hooks.peer_free(s->identity);
	tls_ctx_unref(s->ctx);
	free(s->name);
	free(s->psk);
	free(s->sni);
}

void
tls_describe(SSL *ssl, struct net_peer *peer)
{
	const struct tls_shake *s = SSL_get_app_data(ssl);

	peer->tls_version = SSL_get_version(ssl);
	peer->cipher = SSL_get_current_cipher(ssl) != NULL ? SSL_get_cipher_name(ssl) : NULL;
	peer->sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	if (peer->sni == NULL && s != NULL)
		peer->sni = s->sni;
}

/* ---- records, by the object that made the handshake ("attached") ---- */

static enum tls_result
attached_open(void *t, struct tls_io *io, uint8_t *p, size_t room, size_t *ret_n)
{
	SSL *ssl = t;
	size_t n = 0, got;

	/* libssl gives one record at a time. */
	while (n < room) {
		ERR_clear_error();
		if (SSL_read_ex(ssl, p + n, room - n, &got) != 1)
			break;
		n += got;
		/* Everything that was there is out: to ask once more would only make libssl say so. */
		if (io->in_n == 0 && SSL_pending(ssl) == 0 && n < room) {
			*ret_n = n;
			return TLS_MORE;
		}
	}
	*ret_n = n;
	if (n == room)
		return TLS_FULL;
	switch (SSL_get_error(ssl, 0)) {
	case SSL_ERROR_WANT_READ:
		return TLS_MORE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_EOF;
	default:
		explain(io);
		return TLS_BROKEN;
	}
}

static bool
attached_seal(void *t, struct tls_io *io, const uint8_t *p, size_t n)
{
	SSL *ssl = t;
	size_t done;

	/* Partial writes are on: a peer that negotiated short fragments gets several records. */
	for (; n > 0; p += done, n -= done) {
		ERR_clear_error();
		if (SSL_write_ex(ssl, p, n, &done) != 1) {
			explain(io);
			return false;
		}
	}
	return true;
}

static void
attached_close_notify(void *t, struct tls_io *io)
{
	(void)io;
	ERR_clear_error();
	(void)SSL_shutdown(t); /* what cannot be said is left unsaid */
	ERR_clear_error();
}

static void
attached_free(void *t)
{
	SSL_free(t);
}

static const struct record_ops attached = {
	.open = attached_open,
	.seal = attached_seal,
	.close_notify = attached_close_notify,
	.bind = bind_bio,
	.free = attached_free,
};

const struct record_ops *
tls_established(SSL **ssl, void **ret_state)
{
	(void)SSL_set_app_data(*ssl, NULL);
	*ret_state = *ssl;
	*ssl = NULL;
	return &attached;
}
