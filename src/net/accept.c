/* Listening sockets: who may come in, how many at once, and what happens when there are no
 * descriptors left. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/num.h"
#include "net/internal.h"

enum {
	PEER_SILENT_MS = 30000, /* TCP_USER_TIMEOUT: sent data that is not acknowledged */
	KEEPALIVE_IDLE_S = 300, /* for those who ask for no MQTT keep alive */
	KEEPALIVE_STEP_S = 15,
	KEEPALIVE_STEPS = 4,
};

/* On Linux an accepted socket has these from its listener: no system calls for each connection. */
static void
set_tcp_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, PEER_SILENT_MS },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_STEP_S },
		{ IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_STEPS },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		/* Each is an improvement, none is needed. */
		(void)setsockopt(
		    fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

bool
loop_listen(struct loop *l, int fd, struct tls_ctx *tls, void *listener, struct err *err)
{
	struct listener *ls = calloc(1, sizeof(*ls));
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof(a);

	if (ls == NULL) {
		(void)close(fd);
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	*ls = (struct listener){ .src = { fd, SOURCE_LISTENER },
		.watched = true,
		.cookie = listener,
		.next = l->listeners };
	if (getsockname(fd, (struct sockaddr *)&a, &n) == 0 && a.ss_family != AF_UNIX)
		set_tcp_options(fd);
	if (net_poll(l->epfd, EPOLL_CTL_ADD, &ls->src, EPOLLIN) == -1) {
		(void)err_sys(err, "cannot watch a listening socket");
		(void)close(fd);
		free(ls);
		return false;
	}
	if (tls != NULL)
		ls->tls = tls_ctx_ref(tls);
	l->listeners = ls;
	return true;
}

void
loop_set_tls(struct loop *l, void *listener, struct tls_ctx *tls)
{
	for (struct listener *ls = l->listeners; ls != NULL; ls = ls->next) {
		struct tls_ctx *old = ls->tls;

		if (ls->cookie != listener)
			continue;
		ls->tls = tls != NULL ? tls_ctx_ref(tls) : NULL;
		tls_ctx_unref(old);
	}
}

void
loop_set_proxy(struct loop *l, void *listener, const struct net_proxy *p)
{
	for (struct listener *ls = l->listeners; ls != NULL; ls = ls->next)
		if (ls->cookie == listener)
			ls->proxy = p;
}

static bool
is_shaking_enough(const struct loop *l, const struct listener *ls)
{
	return ls->tls != NULL && l->n_handshakes >= l->limits.max_handshakes;
}

static void
report(struct loop *l, const struct listener *ls, const struct sockaddr_storage *addr,
    const char *detail)
{
	struct net_peer peer = { .listener = ls->cookie };
	struct net_failure f = { .kind = NET_FAIL_LIMIT, .alert = -1, .detail = detail };

	if (addr != NULL)
		peer.addr = *addr;
	l->h->failed(l->ctx, &peer, &f);
}

/* A listener that is ready and cannot be served would keep the loop spinning: it rests, the backlog
 * holds the queue. */
static void
starve(struct loop *l, const struct listener *ls, int no)
{
	if (!l->starved)
		report(l, ls, NULL,
		    no == EMFILE || no == ENFILE ? "no file descriptors left (ulimit -n)"
						 : "no memory for a new socket");
	l->starved = true;
	timer_set(l->wheel, &l->starving, l->now + STARVED_MS);
}

const char *
net_admit(const struct loop *l, void *listener, const struct sockaddr_storage *addr)
{
	return l->h->admit != NULL ? l->h->admit(l->ctx, listener, (const void *)addr, l->now) : NULL;
}

static bool
accept_one(struct loop *l, struct listener *ls)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t n = sizeof(addr);
	const char *why;
	int fd = accept4(ls->src.fd, (struct sockaddr *)&addr, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd == -1) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			starve(l, ls, errno);
		/* The others, ECONNABORTED and what the network had to say, are about a connection
		 * that is gone. */
		return errno == EINTR || errno == ECONNABORTED;
	}
	if (l->limits.max_connections > 0 && l->n_conns >= l->limits.max_connections) {
		report(l, ls, &addr, "too many connections (max_connections)");
		(void)close(fd);
		return true;
	}
	/* Of whom a proxy speaks for is judged when it has said so. */
	if (ls->proxy == NULL && (why = net_admit(l, ls->cookie, &addr)) != NULL) {
		report(l, ls, &addr, why);
		(void)close(fd);
		return true;
	}
	conn_accept(l, fd, ls, &addr);
	return true;
}

/* Does the application want nobody for now? */
static bool
is_resting(struct loop *l, struct listener *ls)
{
	uint64_t ms = l->h->rest != NULL ? l->h->rest(l->ctx, ls->cookie, l->now) : 0;

	if (ms == 0)
		return false;
	ls->rest_until = l->now + ms;
	return true;
}

void
listener_ready(struct loop *l, struct listener *ls)
{
	for (int i = 0;
	     i < ACCEPTS_A_TURN && ls->src.fd != -1 && !l->starved && !is_shaking_enough(l, ls) && !is_resting(l, ls);
	     i++)
		if (!accept_one(l, ls))
			return;
}

void
listeners_update(struct loop *l)
{
	l->rest_until = UINT64_MAX;
	for (struct listener *ls = l->listeners; ls != NULL; ls = ls->next) {
		bool rests = ls->rest_until > l->now;
		bool want = !l->starved && !rests && !is_shaking_enough(l, ls);

		if (rests)
			l->rest_until = NUM_MIN(l->rest_until, ls->rest_until);
		/* Without memory for epoll it stays as it is; the next turn tries again. */
		if (want != ls->watched &&
		    net_poll(l->epfd, EPOLL_CTL_MOD, &ls->src, want ? EPOLLIN : 0) == 0)
			ls->watched = want;
	}
}

void
loop_stop_listening(struct loop *l)
{
	while (l->listeners != NULL) {
		struct listener *ls = l->listeners;

		l->listeners = ls->next;
		/* A socket that was passed in lives on elsewhere, and close() alone would leave it
		 * watched. */
		(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, ls->src.fd, NULL);
		(void)close(ls->src.fd);
		ls->src.fd = -1;
		tls_ctx_unref(ls->tls);
		ls->tls = NULL;
		/* The events of this turn may name it still. */
		ls->next = l->stopped;
		l->stopped = ls;
	}
}

void
listeners_bury(struct loop *l)
{
	while (l->stopped != NULL) {
		struct listener *ls = l->stopped;

		l->stopped = ls->next;
		free(ls);
	}
}
