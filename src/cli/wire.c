/* Sockets below the command line clients: resolving, connecting, reading, writing, closing. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"
#include "cli/wire_internal.h"

uint64_t
wire_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

const char *
wire_where(const struct wire_target *t, char *out, size_t cap)
{
	char host[256];
	bool six = t->unix_path == NULL && strchr(t->host, ':') != NULL;

	text_show(slice_str(t->unix_path != NULL ? t->unix_path : t->host), host, sizeof host);
	if (t->unix_path != NULL)
		snprintf(out, cap, "%s", host);
	else
		snprintf(out, cap, six ? "[%s]:%u" : "%s:%u", host, t->port);
	return out;
}

/* Wait until <fd> has one of <events>, the deadline, or the wish to stop. */
static enum wire_result
wait_for(int fd, short events, int stop_fd, uint64_t deadline)
{
	for (;;) {
		struct pollfd p[2] = { { fd, events, 0 }, { stop_fd, POLLIN, 0 } };
		uint64_t now = wire_now();
		uint64_t left = now < deadline ? deadline - now : 0;
		int n = poll(p, stop_fd >= 0 ? 2 : 1, (int)NUM_MIN(left, (uint64_t)60000));

		if (n > 0 && stop_fd >= 0 && p[1].revents != 0)
			return WIRE_STOPPED;
		if (n > 0)
			return WIRE_OK;
		if (n == -1 && errno != EINTR)
			return WIRE_FAILED;
		if (n == 0 && left == 0)
			return WIRE_TIMEOUT;
	}
}

static bool
bind_to(int fd, const struct addrinfo *to, const char *addr, struct err *err)
{
	struct addrinfo hints = { .ai_family = to->ai_family, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	char shown[128];
	int rc = getaddrinfo(addr, NULL, &hints, &list);
	bool ok = false;

	text_show(slice_str(addr), shown, sizeof shown);
	if (rc != 0)
		return err_set(err, ERR_USAGE, "-A %s: %s; give an address of this machine", shown,
		    gai_strerror(rc));
	if (list == NULL)
		return err_set(err, ERR_USAGE, "-A %s: no address", shown);
	if (bind(fd, list->ai_addr, list->ai_addrlen) == -1)
		(void)err_sys(err, "cannot bind to -A %s", shown);
	else
		ok = true;
	freeaddrinfo(list);
	return ok;
}

/* <fd> to <addr>; the result of a connect that takes its time comes through poll() and SO_ERROR. */
static enum wire_result
connect_fd(int fd, const struct sockaddr *addr, socklen_t len, int stop_fd, uint64_t deadline)
{
	enum wire_result r;
	int e = 0;
	socklen_t n = sizeof e;

	if (connect(fd, addr, len) == 0)
		return WIRE_OK;
	if (errno != EINPROGRESS)
		return WIRE_FAILED;
	r = wait_for(fd, POLLOUT, stop_fd, deadline);
	if (r == WIRE_TIMEOUT)
		errno = ETIMEDOUT;
	if (r != WIRE_OK)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) == -1)
		return WIRE_FAILED;
	errno = e;
	return e == 0 ? WIRE_OK : WIRE_FAILED;
}

static enum wire_result
open_unix(
    struct wire *w, const struct wire_target *t, int stop_fd, uint64_t deadline, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	enum wire_result r;
	char where[300];

	wire_where(t, where, sizeof where);
	if (!text_copy(a.sun_path, sizeof a.sun_path, slice_str(t->unix_path))) {
		(void)err_set(err, ERR_USAGE,
		    "--unix %s: the path is longer than the %zu bytes a unix socket may have",
		    where, sizeof a.sun_path - 1);
		return WIRE_FAILED;
	}
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd == -1) {
		(void)err_sys(err, "no unix socket");
		return WIRE_FAILED;
	}
	r = connect_fd(w->fd, (const struct sockaddr *)&a, sizeof a, stop_fd, deadline);
	if (r != WIRE_OK)
		(void)err_sys(err, "cannot connect to the broker at the unix socket %s", where);
	return r;
}

static enum wire_result
open_one(struct wire *w, const struct addrinfo *a, int stop_fd, uint64_t deadline, struct err *err)
{
	const struct wire_target *t = w->target;
	enum wire_result r;
	char where[300];
	int on = 1;

	w->fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd == -1) {
		(void)err_sys(err, "no socket");
		return WIRE_FAILED;
	}
	if (t->bind_addr != NULL && !bind_to(w->fd, a, t->bind_addr, err))
		return WIRE_FAILED;
	if (t->nodelay)
		(void)setsockopt(
		    w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only latency */
	r = connect_fd(w->fd, a->ai_addr, a->ai_addrlen, stop_fd, deadline);
	if (r != WIRE_OK)
		(void)err_sys(
		    err, "cannot connect to the broker at %s", wire_where(t, where, sizeof where));
	return r;
}

static void
shut(struct wire *w)
{
	if (w->fd != -1)
		close(w->fd);
	w->fd = -1;
}

/* Every address of the host in turn, IPv6 and IPv4 in the resolver's order. */
static enum wire_result
open_tcp(struct wire *w, int stop_fd, uint64_t deadline, struct err *err)
{
	const struct wire_target *t = w->target;
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	enum wire_result r = WIRE_FAILED;
	char port[8], shown[256];
	int rc;

	snprintf(port, sizeof port, "%u", t->port);
	rc = getaddrinfo(t->host, port, &hints, &list);
	if (rc != 0 || t->host[0] == '\0') {
		(void)err_set(err, ERR_USAGE, "cannot find the host '%s': %s; check -h",
		    text_show(slice_str(t->host), shown, sizeof shown),
		    rc != 0 ? gai_strerror(rc) : "the name is empty");
		if (rc == 0)
			freeaddrinfo(list);
		return WIRE_FAILED;
	}
	for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
		r = open_one(w, a, stop_fd, deadline, err);
		if (r == WIRE_OK || r == WIRE_STOPPED || r == WIRE_TIMEOUT)
			break;
		shut(w);
	}
	freeaddrinfo(list);
	return r;
}

static enum wire_result
shake_hands(struct wire *w, int stop_fd, uint64_t deadline, struct err *err)
{
	enum wire_result r;
	char where[300];

	if (!wire_tls_start(w, err))
		return WIRE_TLS;
	while ((r = wire_tls_shake(w, err)) == WIRE_AGAIN) {
		r = wait_for(w->fd, wire_events(w, false), stop_fd, deadline);
		if (r == WIRE_TIMEOUT)
			(void)err_set(err, ERR_SYSTEM,
			    "the broker at %s did not finish the TLS handshake in time; does the "
			    "port speak TLS?",
			    wire_where(w->target, where, sizeof where));
		if (r != WIRE_OK)
			return r;
	}
	return r;
}

enum wire_result
wire_open(
    struct wire *w, const struct wire_target *t, int stop_fd, uint64_t deadline, struct err *err)
{
	enum wire_result r;

	*w = (struct wire){ .fd = -1, .target = t };
	r = t->unix_path != NULL ? open_unix(w, t, stop_fd, deadline, err)
				 : open_tcp(w, stop_fd, deadline, err);
	if (r == WIRE_OK && t->tls != NULL)
		r = shake_hands(w, stop_fd, deadline, err);
	if (r != WIRE_OK) {
		wire_tls_stop(w);
		shut(w);
	}
	return r;
}

void
wire_close(struct wire *w, int linger_ms)
{
	uint8_t sink[4096];
	uint64_t deadline = wire_now() + (uint64_t)linger_ms;

	if (w->fd == -1)
		return;
	wire_tls_stop(w);
	/* Closing with unread input resets the connection and may destroy what is still under
	 * way to the broker, so read until it has closed its side too. */
	if (linger_ms > 0 && shutdown(w->fd, SHUT_WR) == 0) {
		while (wait_for(w->fd, POLLIN, -1, deadline) == WIRE_OK) {
			ssize_t n = recv(w->fd, sink, sizeof sink, 0);

			if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
				break;
		}
	}
	shut(w);
}

static enum wire_result
gone(ssize_t n, struct err *err)
{
	if (n == 0) {
		(void)err_set(err, ERR_SYSTEM, "the broker closed the connection");
		return WIRE_CLOSED;
	}
	if (errno == EAGAIN || errno == EINTR)
		return WIRE_AGAIN;
	(void)err_sys(err, "the connection was lost");
	return WIRE_CLOSED;
}

enum wire_result
wire_read(struct wire *w, void *p, size_t n, size_t *ret, struct err *err)
{
	ssize_t got;

	if (w->ssl != NULL)
		return wire_tls_read(w, p, n, ret, err);
	got = recv(w->fd, p, n, 0);
	if (got <= 0)
		return gone(got, err);
	*ret = (size_t)got;
	return WIRE_OK;
}

enum wire_result
wire_write(struct wire *w, struct slice s, size_t *ret, struct err *err)
{
	ssize_t put;

	if (w->ssl != NULL)
		return wire_tls_write(w, s, ret, err);
	put = send(w->fd, s.p, s.n, MSG_NOSIGNAL);
	if (put < 0)
		return gone(put, err);
	*ret = (size_t)put;
	return WIRE_OK;
}

short
wire_events(const struct wire *w, bool output_waits)
{
	return (short)(POLLIN | (output_waits || w->want_write ? POLLOUT : 0));
}
