/* How connections begin: those that come, and those that we open. What follows is the same for both. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/assert.h"
#include "base/num.h"
#include "net/internal.h"

void
conn_accept(struct loop *l, int fd, const struct listener *ls, const struct sockaddr_storage *addr)
{
	struct conn *c = conn_new(l, fd, ls->tls != NULL, l->limits.handshake_timeout_ms);

	if (c == NULL)
		return;
	c->limbo->addr = *addr;
	c->limbo->listener = ls->cookie;
	c->limbo->proxy = ls->proxy;
	if (ls->proxy != NULL)
		c->state = CONN_PROXY;
	if (c->secure) {
		c->limbo->shake.ctx = tls_ctx_ref(ls->tls);
		c->counted = true;
		l->n_handshakes++;
	}
	conn_watch(c);
}

struct net_peer
conn_peer(const struct conn *c)
{
	const struct limbo *b = c->limbo;
	struct net_peer p = { .addr = b->addr,
		.listener = b->listener,
		.dialled = b->dialled,
		.ssl = b->ssl,
		.identity = b->shake.identity,
		.psk_identity = b->shake.psk,
		.proxy_identity = b->proxy_identity,
		.resumed = b->shake.resumed };

	if (b->ssl != NULL)
		tls_describe(b->ssl, &p);
	return p;
}

static bool
start(int fd, const struct net_dial *d, struct err *err)
{
	const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, (int)d->silent_ms },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, (int)d->keepalive[0] },
		{ IPPROTO_TCP, TCP_KEEPINTVL, (int)d->keepalive[1] },
		{ IPPROTO_TCP, TCP_KEEPCNT, (int)d->keepalive[2] },
	};

	for (size_t i = 0; d->addr->sa_family != AF_UNIX && i < ARRAY_LEN(options); i++)
		/* Each is an improvement, none is needed; 0 is the system's own. */
		if (options[i].value > 0)
			(void)setsockopt(
			    fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
	if (d->from != NULL && bind(fd, d->from, d->from_len) == -1)
		return err_sys(err, "cannot bind to the local address");
	if (connect(fd, d->addr, d->len) == -1 && errno != EINPROGRESS)
		return err_sys(err, "cannot connect");
	return true;
}

bool
loop_connect(struct loop *l, const struct net_dial *d, struct err *err)
{
	int fd = socket(d->addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char *name = d->tls != NULL ? strdup(d->name) : NULL;
	struct conn *c = NULL;

	ASSERT(d->dialled != NULL);
	if (fd == -1) {
		free(name);
		return err_sys(err, "cannot open a socket");
	}
	if (!start(fd, d, err)) {
		free(name);
		(void)close(fd);
		return false;
	}
	if (d->tls != NULL && name == NULL)
		(void)close(fd);
	else
		c = conn_new(l, fd, d->tls != NULL,
		    d->timeout_ms > 0 ? d->timeout_ms : l->limits.handshake_timeout_ms);
	if (c == NULL) {
		free(name);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	c->state = CONN_DIAL;
	memcpy(&c->limbo->addr, d->addr, NUM_MIN((size_t)d->len, sizeof(c->limbo->addr)));
	c->limbo->dialled = d->dialled;
	c->limbo->shake.name = name;
	c->limbo->shake.ctx = d->tls != NULL ? tls_ctx_ref(d->tls) : NULL;
	conn_watch(c);
	return true;
}

void
dial_event(struct conn *c)
{
	int no = 0;
	socklen_t n = sizeof(no);

	if (getsockopt(c->src.fd, SOL_SOCKET, SO_ERROR, &no, &n) == -1)
		no = errno;
	if (no != 0) {
		const char *text = strerrordesc_np(no);
		struct net_failure f = { .kind = NET_FAIL_CLOSED,
			.alert = -1,
			.detail = text != NULL ? text : "unknown error" };

		conn_fail(c, &f);
		return;
	}
	if (c->secure)
		secure_begin(c);
	else
		(void)conn_open(c); /* the state tells */
	if (c->state != CONN_DEAD)
		conn_mark_dirty(c); /* epoll is told when it is flushed */
}

void
dial_ended(struct conn *c, const char *why)
{
	struct net_failure f = { .kind = NET_FAIL_CLOSED,
		.alert = -1,
		.detail = why != NULL ? why : "out of memory" };
	struct net_peer peer;

	if (c->limbo == NULL || c->limbo->dialled == NULL || c->limbo->told)
		return;
	peer = conn_peer(c);
	c->limbo->told = true;
	c->loop->h->failed(c->loop->ctx, &peer, &f);
	c->loop->again = true;
}
