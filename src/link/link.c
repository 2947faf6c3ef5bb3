/* The socket below core.c: connect, read, write, try again. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/num.h"
#include "base/assert.h"
#include "base/text.h"
#include "link/internal.h"

enum { READ_N = 64 * 1024, READS_A_TURN = 16, WAIT_FIRST_MS = 100, WAIT_MAX_MS = 10000 };

struct link_client {
	struct core core;
	char *path, *name, *topics[LINK_TOPICS_MAX];
	int fd;
	uint64_t retry_ms; /* when the next attempt is due */
	unsigned wait_ms;  /* before the one after that */
};

static bool
copy_topics(struct link_client *l, const struct link_config *c)
{
	ASSERT(c->n_topics <= LINK_TOPICS_MAX);
	for (size_t i = 0; i < c->n_topics; i++) {
		if ((l->topics[i] = strdup(c->topics[i])) == NULL)
			return false;
		l->core.n_topics++;
	}
	return true;
}

struct link_client *
link_client_new(const struct link_config *c)
{
	struct link_client *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	l->fd = -1;
	l->wait_ms = WAIT_FIRST_MS;
	core_init(&l->core);
	l->path = strdup(c->path);
	l->core.name = l->name = strdup(c->name);
	l->core.on = c->on;
	l->core.ctx = c->ctx;
	l->core.topics = l->topics;
	if (l->path != NULL && l->name != NULL && copy_topics(l, c))
		return l;
	link_client_free(l);
	return NULL;
}

void
link_client_free(struct link_client *l)
{
	if (l == NULL)
		return;
	l->core.on.down = NULL;
	core_closed(&l->core, "the link is closed");
	core_done(&l->core);
	if (l->fd != -1)
		(void)close(l->fd);
	for (size_t i = 0; i < LINK_TOPICS_MAX; i++)
		free(l->topics[i]);
	free(l->path);
	free(l->name);
	free(l);
}

int
link_client_fd(const struct link_client *l)
{
	return l->fd;
}

short
link_client_wants(const struct link_client *l)
{
	return (short)(POLLIN | (core_output(&l->core).n > 0 ? POLLOUT : 0));
}

uint64_t
link_client_due(const struct link_client *l)
{
	uint64_t due = core_due(&l->core);

	return l->fd == -1 ? NUM_MIN(due, l->retry_ms) : due;
}

bool
link_client_is_up(const struct link_client *l)
{
	return l->core.state == CORE_UP;
}

bool
link_client_request(struct link_client *l, const struct link_request *r, struct err *err)
{
	return core_request(&l->core, r, err);
}

static void
lose(struct link_client *l, const char *why, uint64_t now_ms)
{
	struct err err;

	/* <why> may be the core's, which begins anew. */
	(void)err_set(&err, ERR_SYSTEM, "%s", why);
	if (l->fd != -1)
		(void)close(l->fd);
	l->fd = -1;
	l->retry_ms = now_ms + l->wait_ms;
	l->wait_ms = NUM_MIN(l->wait_ms * 2, (unsigned)WAIT_MAX_MS);
	core_closed(&l->core, err.text);
}

static bool
dial(struct link_client *l, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (!text_copy(a.sun_path, sizeof a.sun_path, slice_str(l->path)))
		return err_set(err, ERR_USAGE, "%s: longer than the %zu bytes that a unix socket's path may have", l->path, sizeof a.sun_path - 1);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd == -1)
		return err_sys(err, "no unix socket");
	/* It is done at once, or not at all (EAGAIN: too many wait to be accepted). */
	if (connect(l->fd, (const struct sockaddr *)&a, sizeof a) == -1)
		return err_sys(err, "cannot connect to the broker at %s", l->path);
	return true;
}

static bool
flush(struct link_client *l, struct err *err)
{
	struct slice s;

	while ((s = core_output(&l->core)).n > 0) {
		ssize_t n = send(l->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n == -1 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n == -1)
			return err_sys(err, "control socket");
		core_sent(&l->core, (size_t)n);
	}
	return true;
}

static bool
receive(struct link_client *l, uint64_t now_ms, struct err *err)
{
	uint8_t buf[READ_N];

	for (int i = 0; i < READS_A_TURN; i++) {
		ssize_t n = recv(l->fd, buf, sizeof buf, MSG_DONTWAIT);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1 && errno == EAGAIN)
			return true;
		if (n == -1)
			return err_sys(err, "control socket");
		if (n == 0)
			return err_set(err, ERR_SYSTEM, "the broker has closed the control socket");
		if (!core_feed(&l->core, slice_of(buf, (size_t)n), now_ms))
			return err_set(err, l->core.err.code, "%s", l->core.err.text);
	}
	return true;
}

/* One turn of an open connection. */
static bool
turn(struct link_client *l, short events, uint64_t now_ms, struct err *err)
{
	if ((events & (POLLIN | POLLHUP | POLLERR)) != 0 && !receive(l, now_ms, err))
		return false;
	if (!core_time(&l->core, now_ms))
		return err_set(err, l->core.err.code, "%s", l->core.err.text);
	return flush(l, err);
}

void
link_client_ready(struct link_client *l, short events, uint64_t now_ms)
{
	struct err err = { 0 };
	bool ok;

	if (l->fd == -1) {
		/* Who still waits on a closed link waits no longer than he said. */
		(void)core_time(&l->core, now_ms);
		if (now_ms < l->retry_ms)
			return;
		ok = dial(l, &err) && (core_open(&l->core, now_ms) || err_set(&err, ERR_MEMORY, "out of memory"));
		ok = ok && flush(l, &err);
	} else
		ok = turn(l, events, now_ms, &err);
	if (!ok)
		lose(l, err.text, now_ms);
	else if (l->core.state == CORE_UP)
		l->wait_ms = WAIT_FIRST_MS;
}
