/* Sockets that the service manager opened for us (socket activation). A listener whose address is
 * that of such a socket takes it; nothing is opened beside it. */
#include "server/internal.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#if SIGNET_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

bool
inherit_take(struct inherited *ret, struct err *err)
{
	int n = 0;

	*ret = (struct inherited){ 0 };
#if SIGNET_SYSTEMD
	n = sd_listen_fds(1);
	ret->first = SD_LISTEN_FDS_START;
#endif
	if (n < 0) {
		errno = -n;
		return err_sys(err, "cannot take the sockets that LISTEN_FDS announces");
	}
	if (n > INHERITED_MAX)
		return err_set(err, ERR_LIMIT,
		    "%d sockets were passed in, %d can be used; the .socket unit has too many", n,
		    INHERITED_MAX);
	ret->n = (unsigned)n;
	return true;
}

static bool
option_of(int fd, int level, int name, int *ret)
{
	socklen_t n = sizeof(*ret);

	return getsockopt(fd, level, name, ret, &n) == 0;
}

static bool
name_of(int fd, struct sockaddr_storage *ret)
{
	socklen_t n = sizeof(*ret);
	int type, listens;

	*ret = (struct sockaddr_storage){ 0 };
	return option_of(fd, SOL_SOCKET, SO_TYPE, &type) && type == SOCK_STREAM &&
	       option_of(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens) && listens != 0 &&
	       getsockname(fd, (struct sockaddr *)ret, &n) == 0;
}

static bool
same_name(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	if (a->ss_family == AF_INET6)
		return a6->sin6_port == b6->sin6_port && a6->sin6_scope_id == b6->sin6_scope_id &&
		       IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
	return strncmp(((const struct sockaddr_un *)(const void *)a)->sun_path,
		   ((const struct sockaddr_un *)(const void *)b)->sun_path,
		   sizeof(((struct sockaddr_un *)0)->sun_path)) == 0;
}

/* [::]:PORT that is open to IPv4 too. */
static bool
takes_both(int fd, const struct sockaddr_storage *name)
{
	const struct sockaddr_in6 *a = (const void *)name;
	int only = 0;

	return name->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->sin6_addr) &&
	       option_of(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only) && only == 0;
}

/* Is <name>, which takes both families, what stands for 0.0.0.0:PORT as well? */
static bool
covers(const struct sockaddr_storage *name, const struct sockaddr_storage *wanted)
{
	const struct sockaddr_in *w = (const void *)wanted;

	return wanted->ss_family == AF_INET && w->sin_addr.s_addr == htonl(INADDR_ANY) &&
	       w->sin_port == ((const struct sockaddr_in6 *)(const void *)name)->sin6_port;
}

/* The socket must not let in whom the configuration keeps out. */
static bool
suits(int fd, const struct config_listener *l, bool both, struct err *err)
{
	char device[IF_NAMESIZE] = "";
	socklen_t n = sizeof(device) - 1;

	if (both && (l->host != NULL || l->socket_domain != 0))
		return err_set(err, ERR_USAGE,
		    "the socket that was passed in takes IPv4 and IPv6, this listener only one of "
		    "them; write BindIPv6Only=ipv6-only in the .socket unit");
	if (l->bind_interface == NULL)
		return true;
	(void)getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &n);
	return strcmp(device, l->bind_interface) == 0 ||
	       err_set(err, ERR_USAGE,
		   "the socket that was passed in is not bound to the interface %s as "
		   "bind_interface demands; write BindToDevice=%s in the .socket unit",
		   l->bind_interface, l->bind_interface);
}

bool
inherit_find(struct inherited *in, const struct config_listener *l,
    const struct sockaddr_storage *wanted, int *ret_fd, struct err *err)
{
	struct sockaddr_storage name;
	unsigned i;

	*ret_fd = -1;
	for (i = 0; i < in->n; i++) {
		int fd = in->first + (int)i;
		bool both;

		if (!name_of(fd, &name))
			continue;
		both = takes_both(fd, &name);
		if (!same_name(&name, wanted) && !(both && covers(&name, wanted)))
			continue;
		if (in->by[i] != NULL && in->by[i] != l)
			return err_set(err, ERR_EXISTS,
			    "the socket that was passed in for this address is listener %s's "
			    "already",
			    in->by[i]->name);
		if (!suits(fd, l, both, err))
			return false;
		/* The second time it is the other family of the listener that has it. */
		*ret_fd = in->by[i] != NULL ? INHERIT_COVERED : fd;
		in->by[i] = l;
		return true;
	}
	return true;
}

void
inherit_done(struct inherited *in, bool say)
{
	struct sockaddr_storage name;
	char text[160];
	unsigned i;

	for (i = 0; i < in->n; i++) {
		int fd = in->first + (int)i;

		if (say && in->by[i] == NULL)
			log_warning("A socket was passed in (%s) that no listener of the "
				    "configuration has; it is not used.",
			    name_of(fd, &name)
				? name.ss_family == AF_UNIX
				      ? ((const struct sockaddr_un *)(const void *)&name)->sun_path
				      : net_addr_text(&name, text, sizeof(text))
				: "not a listening stream socket");
		(void)close(fd);
	}
	in->n = 0;
}
