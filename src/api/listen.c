/* Sockets on which people and programs come. */
#include "api/internal.h"

#include <errno.h>
#include <event2/listener.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

static void
on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *addr, int len, void *ctx)
{
	(void)ev;
	chan_accept(ctx, fd, addr, (socklen_t)len);
}

/* Out of descriptors, most likely: it would be asked again and again at once. */
static void
on_accept_error(struct evconnlistener *ev, void *ctx)
{
	static const struct timeval pause = { .tv_sec = 1 };
	struct listener *l = ctx;

	log_warning("A connection to control cannot be taken: %s.", strerror(errno));
	if (event_add(l->again, &pause) == 0)
		(void)evconnlistener_disable(ev);
}

static void
on_again(evutil_socket_t fd, short what, void *ctx)
{
	struct listener *l = ctx;

	(void)fd;
	(void)what;
	for (unsigned i = 0; i < l->n; i++)
		(void)evconnlistener_enable(l->ev[i]);
}

static bool
listen_on(struct listener *l, const struct sockaddr *addr, socklen_t len, struct err *err)
{
	int fd = net_bind(addr, len, 64, NULL, err);

	if (fd == -1)
		return false;
	(void)evutil_make_socket_nonblocking(fd);
	l->ev[l->n] = evconnlistener_new(l->api->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (l->ev[l->n] != NULL) {
		evconnlistener_set_error_cb(l->ev[l->n++], on_accept_error);
		return true;
	}
	(void)close(fd);
	return err_set(err, ERR_MEMORY, "out of memory");
}

static bool
open_tcp(struct listener *l, const struct api_listener *x, struct err *err)
{
	struct sockaddr_storage addr[LISTENER_SOCKETS_MAX];
	socklen_t len[LISTENER_SOCKETS_MAX];
	int n = net_resolve(x->host, x->port, AF_UNSPEC, addr, len, LISTENER_SOCKETS_MAX, err);

	for (int i = 0; i < n; i++)
		if (!listen_on(l, (const struct sockaddr *)&addr[i], len[i], err))
			return false;
	return n > 0;
}

/* What a process that was killed left behind answers nobody. */
static void
remove_stale(const struct sockaddr_un *u)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1)
		return;
	if (connect(fd, (const struct sockaddr *)u, sizeof(*u)) == -1 && errno == ECONNREFUSED)
		(void)unlink(u->sun_path);
	(void)close(fd);
}

static bool
open_unix(struct listener *l, const struct api_listener *x, struct err *err)
{
	struct sockaddr_un u = { .sun_family = AF_UNIX };

	if (!text_copy(u.sun_path, sizeof(u.sun_path), slice_str(x->path)))
		return err_set(err, ERR_USAGE, "the path of a unix socket has at most %zu bytes: %s", sizeof(u.sun_path) - 1, x->path);
	remove_stale(&u);
	return listen_on(l, (const struct sockaddr *)&u, sizeof(u), err) &&
	       (chmod(x->path, 0600) == 0 || err_sys(err, "%s", x->path));
}

bool
listeners_open(struct api *a, struct err *err)
{
	const struct api_config *cf = a->config;

	for (unsigned i = 0; i < cf->n_listeners; i++) {
		struct listener *l = &a->listeners[i];

		*l = (struct listener){ .api = a, .index = i, .again = evtimer_new(a->base, on_again, l) };
		if (l->again == NULL)
			return err_set(err, ERR_MEMORY, "out of memory");
		if (cf->listeners[i].port == 0) {
			if (!open_unix(l, &cf->listeners[i], err))
				return false;
			continue;
		}
		if (!cf->listeners[i].plain && (l->tls = cf->ports.tls(cf->ports.ctx, i, err)) == NULL)
			return false;
		if (!open_tcp(l, &cf->listeners[i], err))
			return false;
	}
	return true;
}

void
listeners_close(struct api *a)
{
	for (unsigned i = 0; i < a->config->n_listeners; i++) {
		struct listener *l = &a->listeners[i];

		if (l->n > 0 && a->config->listeners[i].port == 0)
			(void)unlink(a->config->listeners[i].path);
		while (l->n > 0)
			evconnlistener_free(l->ev[--l->n]);
		if (l->again != NULL)
			event_free(l->again);
		l->again = NULL;
		tls_ctx_unref(l->tls);
		l->tls = NULL;
	}
}

/* Those who are here stay under the context under which they came. */
void
listeners_renew(struct api *a)
{
	const struct api_ports *ports = &a->config->ports;
	struct err err;

	for (unsigned i = 0; i < a->config->n_listeners; i++) {
		struct tls_ctx *t;

		if (a->listeners[i].tls == NULL)
			continue;
		t = ports->tls(ports->ctx, i, &err);
		if (t == NULL) {
			log_warning("Control's listener %s stays as it was: %s.", a->config->listeners[i].name, err.text);
			continue;
		}
		tls_ctx_unref(a->listeners[i].tls);
		a->listeners[i].tls = t;
	}
}
