/* The sockets that clients come to. */
#include "server/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <netinet/in.h>

#include "base/num.h"

enum { ADDRESSES_MAX = 16, BACKLOG = 65535 /* of which the kernel takes net.core.somaxconn */ };

struct addresses {
	struct sockaddr_storage a[ADDRESSES_MAX];
	socklen_t len[ADDRESSES_MAX];
	int n;
};

static bool
fail_at(const struct config *c, const struct config_listener *l, struct err *err)
{
	char where[CONFIG_PLACE_CAP];

	(void)err_prefix(err, "listener %s", l->name);
	if (l->place.line == 0)
		return false;
	return err_prefix(err, "%s", config_place_text(c, l->place, where, sizeof(where)));
}

static bool
unix_address(const struct config_listener *l, struct addresses *ret, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t n = strlen(l->path);

	if (n >= sizeof(un.sun_path))
		return err_set(err, ERR_LIMIT,
		    "the path is longer than the %zu bytes of a unix socket",
		    sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, l->path, n + 1);
	memcpy(&ret->a[0], &un, sizeof(un));
	ret->len[0] = sizeof(un);
	ret->n = 1;
	return true;
}

static bool
add_host(const char *host, const struct config_listener *l, struct addresses *ret, struct err *err)
{
	int family = l->socket_domain == 4 ? AF_INET : l->socket_domain == 6 ? AF_INET6 : AF_UNSPEC;
	int n = net_resolve(
	    host, l->port, family, ret->a + ret->n, ret->len + ret->n, ADDRESSES_MAX - ret->n, err);

	if (n < 0)
		return false;
	ret->n += n;
	return true;
}

static bool
find_addresses(const struct config_listener *l, struct addresses *ret, struct err *err)
{
	*ret = (struct addresses){ 0 };
	if (l->path != NULL)
		return unix_address(l, ret, err);
	if (!l->local_only && !l->loopback)
		return add_host(l->host, l, ret, err);
	return (l->socket_domain == 6 || add_host("127.0.0.1", l, ret, err)) &&
	       (l->socket_domain == 4 || add_host("::1", l, ret, err));
}

/* Would bind() do? SO_REUSEPORT, which the workers' sockets have, would let us share a port with
 * another process of ours without a word; a socket without it finds out. 0 or errno. */
static int
probe(const struct sockaddr_storage *a, socklen_t len)
{
	int fd = socket(a->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, no = 0;

	if (fd == -1)
		return errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->ss_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)a, len) == -1)
		no = errno;
	(void)close(fd);
	return no;
}

/* A socket file that nobody listens on is what a broker left that was killed. */
static bool
clear_unix(const struct sockaddr_storage *a, socklen_t len, const char *path, struct err *err)
{
	struct stat st;
	int fd, no = 0;

	if (lstat(path, &st) == -1)
		return true;
	if (!S_ISSOCK(st.st_mode))
		return err_set(err, ERR_EXISTS,
		    "%s is there already and is no socket; remove it or choose another path", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return err_sys(err, "cannot look at %s", path);
	if (connect(fd, (const struct sockaddr *)a, len) == -1)
		no = errno;
	(void)close(fd);
	if (no != ECONNREFUSED)
		return err_set(err, ERR_EXISTS, "another program listens on %s already", path);
	if (unlink(path) == -1)
		return err_sys(err, "cannot remove the old socket %s", path);
	return true;
}

/* The sockets of the administrator and the console are for control, too, which under `signet serve` as root is neither root nor who we become. */
static bool
give_to_control(const struct server *s, const char *path, struct err *err)
{
	struct privileges p;

	if (s->config->n_https == 0)
		return true;
	return privileges_control(s->config, &p, NULL, err) &&
	    (!p.drop || fchownat(AT_FDCWD, path, p.uid, (gid_t)-1, AT_SYMLINK_NOFOLLOW) == 0 || err_sys(err, "cannot give %s to user %s", path, p.name));
}

static bool
open_one(struct server *s, struct listener *l, const struct sockaddr_storage *a, socklen_t len,
    struct err *err)
{
	/* A unix socket is one file and has one queue: the first worker takes from it, sessions go
	 * home at CONNECT. */
	unsigned i, n = a->ss_family == AF_UNIX ? 1 : s->n_workers;

	for (i = 0; i < n; i++) {
		/* The file of a control socket is never open to others, not for a moment. */
		mode_t mask = CONFIG_FOR_CONTROL(l->config) ? umask(0177) : 0;
		int fd = net_bind(
		    (const struct sockaddr *)a, len, BACKLOG, l->config->bind_interface, err);

		if (CONFIG_FOR_CONTROL(l->config))
			(void)umask(mask);
		if (fd == -1)
			return false;
		if (CONFIG_FOR_CONTROL(l->config) && !give_to_control(s, l->config->path, err)) {
			(void)close(fd);
			return false;
		}
		/* The descriptor is the loop's from here on, also when this fails. */
		if (!loop_listen(s->workers[i].loop, fd, s->world->listeners[l->index].tls, l, err))
			return false;
		if (l->proxy.version > 0)
			loop_set_proxy(s->workers[i].loop, l, &l->proxy);
	}
	return true;
}

/* A socket that was passed in is one queue: every worker takes from it, through a descriptor of its
 * own. Its file, if it is a unix socket, is not ours to remove. */
static bool
adopt(struct server *s, struct listener *l, int from, struct err *err)
{
	unsigned i;

	for (i = 0; i < s->n_workers; i++) {
		int fd = fcntl(from, F_DUPFD_CLOEXEC, 0), flags = fcntl(from, F_GETFL);

		if (fd == -1 || flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1) {
			(void)err_sys(err, "cannot use the socket that was passed in");
			if (fd != -1)
				(void)close(fd);
			return false;
		}
		if (!loop_listen(s->workers[i].loop, fd, s->world->listeners[l->index].tls, l, err))
			return false;
		if (l->proxy.version > 0)
			loop_set_proxy(s->workers[i].loop, l, &l->proxy);
	}
	return true;
}

static void
say_listening(const struct server *s, const struct listener *l, const char *where, bool inherited)
{
	log_info("Listening on %s (%s%s%s%s).", where,
	    l->proxy.version > 0 ? "behind a proxy, " : "",
	    l->config->protocol == CONFIG_METRICS      ? "metrics, "
	    : l->config->console                       ? "WebSocket and /console/, "
	    : l->config->protocol == CONFIG_WEBSOCKETS ? "WebSocket, "
	    : l->config->protocol == CONFIG_CONSOLE    ? "console, "
						       : "",
	    s->world->listeners[l->index].tls != NULL ? "TLS" : "not encrypted",
	    inherited ? ", socket passed in" : "");
}

static bool
open_address(struct server *s, struct listener *l, const struct sockaddr_storage *a, socklen_t len,
    bool optional, bool *ret_opened, struct err *err)
{
	char text[80];
	const char *where = a->ss_family == AF_UNIX ? l->config->path
						    : net_addr_text(a, text, sizeof(text));
	int no, fd;

	*ret_opened = false;
	if (!inherit_find(&s->inherited, l->config, a, &fd, err))
		return false;
	if (fd != -1) {
		*ret_opened = true;
		if (fd != INHERIT_COVERED && !adopt(s, l, fd, err))
			return false;
		say_listening(s, l, where, true);
		return true;
	}
	if (a->ss_family == AF_UNIX) {
		if (!clear_unix(a, len, l->config->path, err))
			return false;
	} else {
		no = probe(a, len);
		if (no == EADDRINUSE)
			return err_set(err, ERR_EXISTS,
			    "cannot listen on %s: another program uses this port already; "
			    "stop it (`ss -ltnp` shows which it is) or choose another port",
			    text);
		/* A machine without IPv6: every address of it means IPv4 then. */
		if (optional && (no == EAFNOSUPPORT || no == EADDRNOTAVAIL))
			return true;
	}
	if (!open_one(s, l, a, len, err))
		return false;
	l->unix_made = a->ss_family == AF_UNIX;
	say_listening(s, l, where, false);
	*ret_opened = true;
	return true;
}

static bool
open_listener(struct server *s, struct listener *l, struct err *err)
{
	struct addresses found;
	bool any = false, opened, optional = l->config->host == NULL && l->config->path == NULL;
	int i;

	if (!find_addresses(l->config, &found, err))
		return false;
	for (i = 0; i < found.n; i++) {
		if (!open_address(s, l, &found.a[i], found.len[i], optional, &opened, err))
			return false;
		any = any || opened;
	}
	return any || err_set(err, ERR_SYSTEM, "none of its addresses is there on this machine");
}

bool
listen_all(struct server *s, struct err *err)
{
	unsigned i;

	for (i = 0; i < s->n_listeners; i++)
		if (!open_listener(s, &s->listeners[i], err))
			return fail_at(s->config, s->listeners[i].config, err);
	return true;
}

bool
listen_resolve(const struct config *c, const struct config_listener *l,
    void (*each)(void *ctx, const char *addr), void *ctx, struct err *err)
{
	struct addresses found;
	char text[80];
	int i;

	if (!find_addresses(l, &found, err))
		return fail_at(c, l, err);
	for (i = 0; i < found.n; i++)
		each(ctx, found.a[i].ss_family == AF_UNIX
			      ? l->path
			      : net_addr_text(&found.a[i], text, sizeof(text)));
	return true;
}
