/* Addresses: resolve, bind, and write them for people. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include "net/internal.h"

enum { FD_SEARCH_MAX = 65536 };

static const char *
inet_text(const struct sockaddr_storage *a, char *out, size_t cap)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)a;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)a;
	char host[INET6_ADDRSTRLEN];

	if (a->ss_family == AF_INET) {
		(void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		(void)snprintf(out, cap, "%s:%u", host, ntohs(v4->sin_port));
	} else {
		(void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		if (v6->sin6_scope_id != 0)
			(void)snprintf(
			    out, cap, "[%s%%%u]:%u", host, v6->sin6_scope_id, ntohs(v6->sin6_port));
		else
			(void)snprintf(out, cap, "[%s]:%u", host, ntohs(v6->sin6_port));
	}
	return out;
}

const char *
net_addr_text(const struct sockaddr_storage *a, char *out, size_t cap)
{
	switch (a->ss_family) {
	case AF_INET:
	case AF_INET6:
		return inet_text(a, out, cap);
	case AF_UNIX:
		(void)snprintf(out, cap, "unix");
		return out;
	default:
		(void)snprintf(out, cap, "unknown");
		return out;
	}
}

/* Does this process listen on exactly this address already? */
static bool
is_ours(const struct sockaddr *addr, socklen_t len)
{
	struct rlimit lim = { .rlim_cur = 1024 };
	int max;

	(void)getrlimit(RLIMIT_NOFILE, &lim);
	max = lim.rlim_cur < FD_SEARCH_MAX ? (int)lim.rlim_cur : FD_SEARCH_MAX;
	for (int fd = 0; fd < max; fd++) {
		struct sockaddr_storage a = { 0 };
		socklen_t n = sizeof(a), size = sizeof(int);
		int listens = 0;

		if (getsockname(fd, (struct sockaddr *)&a, &n) == 0 && n == len &&
		    memcmp(&a, addr, len) == 0 &&
		    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0)
			return true;
	}
	return false;
}

static int
new_socket(const struct sockaddr *addr, const char *bind_device)
{
	int on = 1, fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool good = fd != -1;

	if (good && addr->sa_family == AF_INET6)
		good = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
	if (good && addr->sa_family != AF_UNIX)
		good = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
	if (good && bind_device != NULL)
		good = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bind_device,
			   (socklen_t)strlen(bind_device)) == 0;
	if (!good && fd != -1) {
		int no = errno;

		(void)close(fd);
		errno = no;
		return -1;
	}
	return fd;
}

/* <shared>: SO_REUSEPORT from the beginning, so that the address may be one of our own sockets'.
 * Otherwise only after listen(): up to then the kernel itself refuses the port if anybody else
 * listens on it, and later those who ask for it without owning it; two brokers cannot share a port
 * by mistake, whichever comes first. */
static int
bind_one(
    const struct sockaddr *addr, socklen_t len, int backlog, const char *bind_device, bool shared)
{
	int on = 1, fd = new_socket(addr, bind_device), no;
	bool tcp = addr->sa_family != AF_UNIX;

	if (fd == -1)
		return -1;
	if ((!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0) &&
	    bind(fd, addr, len) == 0 && listen(fd, backlog) == 0 &&
	    (shared || !tcp || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0))
		return fd;
	no = errno;
	(void)close(fd);
	errno = no;
	return -1;
}

int
net_bind(const struct sockaddr *addr, socklen_t len, int backlog, const char *bind_device,
    struct err *err)
{
	struct sockaddr_storage a = { 0 };
	char text[160];
	int fd = bind_one(addr, len, backlog, bind_device, false);

	if (fd == -1 && errno == EADDRINUSE && addr->sa_family != AF_UNIX) {
		if (is_ours(addr, len))
			fd = bind_one(addr, len, backlog, bind_device, true);
		else
			errno = EADDRINUSE;
	}
	if (fd != -1)
		return fd;
	memcpy(&a, addr, len < sizeof(a) ? len : sizeof(a));
	if (addr->sa_family == AF_UNIX)
		(void)snprintf(text, sizeof(text), "unix socket %.108s",
		    ((const struct sockaddr_un *)(const void *)&a)->sun_path);
	else
		(void)net_addr_text(&a, text, sizeof(text));
	if (errno == EADDRINUSE)
		(void)err_set(err, ERR_EXISTS,
		    "cannot listen on %s: it is in use already, perhaps by another broker (ss "
		    "-ltnp shows by whom)",
		    text);
	else if (errno == EACCES)
		(void)err_sys(
		    err, "cannot listen on %s (ports below 1024 need CAP_NET_BIND_SERVICE)", text);
	else
		(void)err_sys(err, "cannot listen on %s", text);
	return -1;
}

static bool
has_family(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd != -1)
		(void)close(fd);
	return fd != -1;
}

int
net_resolve(const char *host, uint16_t port, int family, struct sockaddr_storage *ret,
    socklen_t *ret_len, int max, struct err *err)
{
	struct addrinfo hints = { .ai_family = family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list = NULL;
	char service[8];
	int r, n = 0;

	(void)snprintf(service, sizeof(service), "%u", port);
	r = getaddrinfo(host, service, &hints, &list);
	if (r != 0) {
		(void)err_set(err, ERR_INPUT, "cannot resolve %s: %s",
		    host != NULL ? host : "any address",
		    r == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(r));
		return -1;
	}
	for (const struct addrinfo *a = list; a != NULL && n < max; a = a->ai_next) {
		/* "Any address" on a machine without IPv6 means IPv4. */
		if (a->ai_addrlen > sizeof(ret[n]) || (host == NULL && !has_family(a->ai_family)))
			continue;
		memset(&ret[n], 0, sizeof(ret[n]));
		memcpy(&ret[n], a->ai_addr, a->ai_addrlen);
		ret_len[n++] = a->ai_addrlen;
	}
	freeaddrinfo(list);
	return n;
}
