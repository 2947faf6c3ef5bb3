/* The exchange itself: one connection, one request, one answer, each wait bounded by one deadline. */
#include "fetch/fetch.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"

enum { HEAD_CAP = 1536, READ_CAP = 16384 };

static int64_t
now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until <fd> is ready. */
static bool
wait_for(const struct fetch_post *p, int fd, short events, int64_t due, struct err *err)
{
	struct pollfd v[2] = { { .fd = fd, .events = events }, { .fd = p->stop_fd, .events = POLLIN } };
	int64_t left;
	int n;

	do {
		left = due - now_ms();
		n = left > 0 ? poll(v, 2, (int)NUM_MIN(left, (int64_t)INT32_MAX)) : 0;
	} while (n == -1 && errno == EINTR);
	if (n == -1)
		return err_sys(err, "cannot wait for the answer");
	if (v[1].revents != 0)
		return err_set(err, ERR_SYSTEM, "the program ends");
	return n > 0 || err_set(err, ERR_SYSTEM, "no answer within %u ms", p->timeout_ms);
}

static bool
connect_one(const struct fetch_post *p, const struct addrinfo *a, int64_t due, int *ret, struct err *err)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), no = 0;
	socklen_t n = sizeof no;

	if (fd == -1)
		return err_sys(err, "cannot open a socket");
	if (connect(fd, a->ai_addr, a->ai_addrlen) == -1 && errno != EINPROGRESS) {
		no = errno;
	} else if (!wait_for(p, fd, POLLOUT, due, err)) {
		(void)close(fd);
		return false;
	} else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &no, &n) == -1) {
		no = errno;
	}
	if (no == 0) {
		*ret = fd;
		return true;
	}
	(void)close(fd);
	errno = no;
	return err_sys(err, "cannot connect to %s port %s", p->url->host, p->url->port);
}

static bool
connect_any(const struct fetch_post *p, int64_t *ret_due, int *ret, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *list = NULL, *a;
	int no = getaddrinfo(p->url->host, p->url->port, &hints, &list);
	bool ok = false;

	if (no != 0)
		return err_set(err, ERR_SYSTEM, "cannot find the host %s: %s", p->url->host, gai_strerror(no));
	*ret_due = now_ms() + p->timeout_ms;
	for (a = list; a != NULL && !ok; a = a->ai_next)
		ok = connect_one(p, a, *ret_due, ret, err);
	freeaddrinfo(list);
	return ok;
}

static bool
send_all(const struct fetch_post *p, int fd, int64_t due, struct slice s, struct err *err)
{
	while (s.n > 0) {
		ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

		if (n > 0)
			s = slice_from(s, (size_t)n);
		else if (errno == EAGAIN && !wait_for(p, fd, POLLOUT, due, err))
			return false;
		else if (errno != EAGAIN && errno != EINTR)
			return err_sys(err, "cannot send to %s port %s", p->url->host, p->url->port);
	}
	return true;
}

static bool
receive(const struct fetch_post *p, int fd, int64_t due, struct fetch_reader *r, struct err *err)
{
	enum fetch_step step = FETCH_MORE;
	uint8_t buf[READ_CAP];

	while (step == FETCH_MORE) {
		ssize_t n;

		if (!wait_for(p, fd, POLLIN, due, err))
			return false;
		n = recv(fd, buf, sizeof buf, 0);
		if (n == -1 && errno != EAGAIN && errno != EINTR)
			return err_sys(err, "cannot read from %s port %s", p->url->host, p->url->port);
		if (n >= 0)
			step = n == 0 ? fetch_end(r, err) : fetch_feed(r, slice_of(buf, (size_t)n), err);
	}
	return step == FETCH_DONE;
}

static bool
exchange(const struct fetch_post *p, int fd, int64_t due, struct fetch_reader *r, struct err *err)
{
	char head[HEAD_CAP];
	int n = snprintf(head, sizeof head,
	    "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: signet\r\nAccept: %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
	    p->url->path, p->url->authority, p->accept, p->type, p->body.n);

	if (n < 0 || (size_t)n >= sizeof head)
		return err_set(err, ERR_LIMIT, "the URL is too long");
	return send_all(p, fd, due, slice_of(head, (size_t)n), err) && send_all(p, fd, due, p->body, err) && receive(p, fd, due, r, err);
}

bool
fetch_post(const struct fetch_post *p, uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct fetch_reader r;
	int64_t due = 0;
	int fd = -1;
	bool ok;

	if (!connect_any(p, &due, &fd, err))
		return false;
	fetch_init(&r, p->max);
	ok = exchange(p, fd, due, &r, err);
	(void)close(fd);
	if (ok && r.body_n == 0)
		ok = err_set(err, ERR_INPUT, "the answer is empty");
	if (ok) {
		*ret = r.body;
		*ret_n = r.body_n;
		r.body = NULL;
	}
	fetch_done(&r);
	return ok;
}
