/* A handshake that another loop than ours carries on: libevent wants the SSL object itself. Contexts, judgement and reasons are
 * the same as everywhere. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "net/internal.h"

struct tls_guest {
	struct tls_shake shake;
	SSL *ssl;
};

struct tls_guest *
tls_guest_new(struct tls_ctx *t)
{
	struct tls_guest *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->shake = (struct tls_shake){ .ctx = tls_ctx_ref(t), .alert_sent = -1, .alert_received = -1 };
	g->ssl = tls_shake_new(&g->shake, NULL);
	if (g->ssl != NULL)
		return g;
	tls_guest_free(g);
	return NULL;
}

struct ssl_st *
tls_guest_ssl(struct tls_guest *g)
{
	return g->ssl;
}

void
tls_guest_peer(struct tls_guest *g, struct net_peer *ret)
{
	ret->identity = g->shake.identity;
	ret->psk_identity = NULL;
	tls_describe(g->ssl, ret);
}

void
tls_guest_failure(struct tls_guest *g, unsigned long error, struct net_failure *ret)
{
	*ret = (struct net_failure){ .kind = NET_FAIL_CLOSED, .alert = -1, .detail = "the connection was closed" };
	if (error == 0 && g->shake.alert_received < 0)
		return;
	/* What was read is gone, and libssl has looked at it. */
	if (ERR_GET_LIB(error) == ERR_LIB_SSL && (ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST || ERR_GET_REASON(error) == SSL_R_HTTPS_PROXY_REQUEST)) {
		ret->kind = NET_FAIL_PLAIN_ON_TLS;
		ret->first = ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST ? SL("GET ") : SL("CONN");
		return;
	}
	/* libevent has taken it out of the queue, where the reasons are looked for. */
	ERR_clear_error();
	if (error != 0)
		ERR_raise(ERR_GET_LIB(error), ERR_GET_REASON(error));
	tls_classify(g->ssl, &g->shake, ret);
}

void
tls_guest_free(struct tls_guest *g)
{
	if (g == NULL)
		return;
	/* Others may hold the object for a while, and it must not call us any more. */
	if (g->ssl != NULL)
		(void)SSL_set_app_data(g->ssl, NULL);
	SSL_free(g->ssl);
	if (g->shake.identity != NULL)
		g->shake.ctx->hooks.peer_free(g->shake.identity);
	free(g->shake.psk);
	free(g->shake.sni);
	tls_ctx_unref(g->shake.ctx);
	free(g);
}
