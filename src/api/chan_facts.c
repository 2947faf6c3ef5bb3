/* What is known of who is at the other end of a connection. */
#include "api/chan.h"

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <unistd.h>

const struct pki_peer *
chan_peer(const struct chan *c)
{
	struct net_peer p = { 0 };

	if (c->guest != NULL)
		tls_guest_peer(c->guest, &p);
	return p.identity;
}

struct x509_st *
chan_certificate(const struct chan *c)
{
	return c->guest != NULL ? SSL_get0_peer_certificate(tls_guest_ssl(c->guest)) : NULL;
}

size_t
chan_binding(const struct chan *c, uint8_t out[static CHAN_BINDING_MAX])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	SSL *ssl = c->guest != NULL ? tls_guest_ssl(c->guest) : NULL;

	if (ssl == NULL)
		return 0;
	if (SSL_version(ssl) >= TLS1_3_VERSION)
		return SSL_export_keying_material(ssl, out, 32, label, sizeof(label) - 1, (const unsigned char *)"", 0, 1) == 1 ? 32 : 0;
	if (SSL_get_extms_support(ssl) != 1)
		return 0;
	/* The first Finished: the client's, but the server's of a session that was resumed. */
	return SSL_session_reused(ssl) ? SSL_get_finished(ssl, out, CHAN_BINDING_MAX) : SSL_get_peer_finished(ssl, out, CHAN_BINDING_MAX);
}

struct api *
chan_api(const struct chan *c)
{
	return c->listener->api;
}

bool
chan_is_plain(const struct chan *c)
{
	return c->plain;
}

bool
chan_is_local(const struct chan *c)
{
	return c->local;
}

const struct sockaddr_storage *
chan_addr(const struct chan *c)
{
	return &c->addr;
}

bool
chan_is_loopback(const struct chan *c)
{
	const struct sockaddr_in6 *six = (const void *)&c->addr;
	const struct sockaddr_in *four = (const void *)&c->addr;

	if (c->addr.ss_family == AF_INET)
		return ntohl(four->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return c->addr.ss_family == AF_INET6 &&
	    (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == IN_LOOPBACKNET));
}

const char *
chan_peer_text(const struct chan *c)
{
	return c->peer;
}

void
chan_refused(struct chan *c, const struct net_failure *f)
{
	const struct api *a = c->listener->api;
	struct net_peer p = { .addr = c->addr };

	if (c->guest != NULL)
		tls_guest_peer(c->guest, &p);
	a->config->ports.refused(a->config->ports.ctx, c->listener->index, &p, f);
}

bool
chan_fd_is_ours(evutil_socket_t fd)
{
	struct ucred u;
	socklen_t n = sizeof(u);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n) == 0 && (u.uid == 0 || u.uid == geteuid());
}
