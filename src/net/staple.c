/* OCSP stapling (RFC 6066 8, RFC 8446 4.4.2.1): what a client is shown beside our certificate when it asks for it. */
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "net/internal.h"

static int
on_status(SSL *ssl, void *arg)
{
	struct tls_ctx *t = arg;
	uint8_t *copy = NULL;
	size_t n = 0;

	(void)pthread_mutex_lock(&t->staple.lock);
	if (t->staple.n > 0 && (int64_t)time(NULL) < t->staple.until) {
		n = t->staple.n;
		copy = OPENSSL_memdup(t->staple.der, n);
	}
	(void)pthread_mutex_unlock(&t->staple.lock);
	/* SSL_set_tlsext_status_ocsp_resp(), a macro, takes it over. */
	if (copy == NULL || SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_OCSP_RESP, (long)n, copy) != 1) {
		OPENSSL_free(copy);
		return SSL_TLSEXT_ERR_NOACK;
	}
	return SSL_TLSEXT_ERR_OK;
}

/* The macro SSL_CTX_set_tlsext_status_cb() casts between kinds of functions; the type is that of libssl. */
bool
staple_init(struct tls_ctx *t)
{
	if (pthread_mutex_init(&t->staple.lock, NULL) != 0)
		return false;
	t->staple.made = true;
	return SSL_CTX_callback_ctrl(t->ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB, (void (*)(void))on_status) == 1 &&
	       SSL_CTX_ctrl(t->ssl, SSL_CTRL_SET_TLSEXT_STATUS_REQ_CB_ARG, 0, t) == 1;
}

void
staple_done(struct tls_ctx *t)
{
	if (!t->staple.made)
		return;
	free(t->staple.der);
	(void)pthread_mutex_destroy(&t->staple.lock);
}

bool
tls_ctx_staple(struct tls_ctx *t, struct slice answer, int64_t until)
{
	uint8_t *copy = answer.n > 0 ? malloc(answer.n) : NULL, *old;

	if (answer.n > 0 && copy == NULL)
		return false;
	if (answer.n > 0)
		memcpy(copy, answer.p, answer.n);
	(void)pthread_mutex_lock(&t->staple.lock);
	old = t->staple.der;
	t->staple.der = copy;
	t->staple.n = answer.n;
	t->staple.until = until;
	(void)pthread_mutex_unlock(&t->staple.lock);
	free(old);
	return true;
}

int64_t
tls_ctx_staple_end(struct tls_ctx *t)
{
	int64_t until;

	(void)pthread_mutex_lock(&t->staple.lock);
	until = t->staple.n > 0 ? t->staple.until : 0;
	(void)pthread_mutex_unlock(&t->staple.lock);
	return until;
}
