/* The signer's process: keys in, rights out, then requests until the end. One thread, no file opened after the start. */
#include "signer/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"

enum { SECURE_HEAP = 1 << 18, SECURE_LEAST = 32 };
enum { LINKS_MAX = 4, BATCH = 32, TICK_MS = 5000 };

/* One who asks: control, or the next one while the last is still being closed. */
struct link {
	int fd; /* -1: free */
	struct asker asker;
	struct answer *first, *last;
	struct answer *fresh; /* of this turn: not on the disk yet */
};

struct process {
	struct core *core;
	struct link links[LINKS_MAX];
	int channel, signals;
	uint8_t *buf;          /* MESSAGE_MAX + 1: what is longer is told from what fits */
	bool ended, failed;
};

static void
drop(struct link *l)
{
	if (l->fd != -1)
		(void)close(l->fd);
	asker_done(&l->asker);
	while (l->first != NULL) {
		struct answer *a = l->first;

		l->first = a->next;
		answer_free(a);
	}
	*l = (struct link){ .fd = -1 };
}

/* ---- answers ---- */

static void
queue(struct link *l, struct answer *a)
{
	if (l->last != NULL)
		l->last->next = a;
	else
		l->first = a;
	l->last = a;
	if (l->fresh == NULL)
		l->fresh = a;
}

/* The next part of <a>. False: not now. */
static bool
send_part(struct process *p, struct link *l, struct answer *a)
{
	struct slice body = a->err.code != ERR_OK ? slice_str(a->err.text) : slice_of(a->body, a->n);
	size_t n = NUM_MIN(body.n - a->sent, (size_t)PART_MAX);
	struct wr w = wr_of(p->buf, MESSAGE_MAX);

	wr_u8(&w, (uint8_t)a->err.code);
	wr_u32(&w, a->id);
	wr_u8(&w, a->sent + n < body.n);
	wr_bytes(&w, slice_of(body.p + a->sent, n));
	if (send(l->fd, p->buf, wr_len(&w), MSG_NOSIGNAL | MSG_DONTWAIT) == -1) {
		if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			drop(l);
		return false;
	}
	a->sent += n;
	a->begun = true;
	return true;
}

static void
flush(struct process *p, struct link *l)
{
	while (l->fd != -1 && l->first != NULL) {
		struct answer *a = l->first;

		if (!send_part(p, l, a))
			return;
		if (a->sent < (a->err.code != ERR_OK ? strlen(a->err.text) : a->n))
			continue;
		l->first = a->next;
		if (l->first == NULL)
			l->last = NULL;
		answer_free(a);
	}
}

/* Nothing leaves before it is on the disk; what could not be written there is taken back. */
static void
settle(struct process *p)
{
	struct err err = { 0 };
	bool ok = core_sync(p->core, &err);

	if (!ok)
		log_error("Nothing is signed: %s.", err.text);
	for (size_t i = 0; i < LINKS_MAX; i++) {
		struct link *l = &p->links[i];

		for (struct answer *a = l->fresh; !ok && a != NULL; a = a->next)
			a->err = err;
		l->fresh = NULL;
		flush(p, l);
	}
}

/* ---- requests ---- */

/* False: no more for now. */
static bool
take_one(struct process *p, struct link *l)
{
	ssize_t n = recv(l->fd, p->buf, MESSAGE_MAX + 1, MSG_DONTWAIT);
	struct answer *a;
	bool fatal;

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		drop(l);
		return false;
	}
	a = core_ask(p->core, &l->asker, slice_of(p->buf, (size_t)n), &fatal);
	secret_wipe(p->buf, (size_t)n); /* nothing secret, but nothing to keep, either */
	if (fatal)
		drop(l);
	else if (a != NULL)
		queue(l, a);
	return !fatal;
}

static void
take(struct process *p, struct link *l)
{
	for (unsigned i = 0; i < BATCH && l->fd != -1 && take_one(p, l); i++)
		;
}

/* ---- the supervisor ---- */

static void
connect_link(struct process *p, int fd)
{
	for (size_t i = 0; i < LINKS_MAX; i++) {
		if (p->links[i].fd == -1) {
			p->links[i].fd = fd;
			return;
		}
	}
	(void)close(fd);
	log_error("More than %d ask the signer at once; one of them is not heard.", LINKS_MAX);
}

static void
hear_supervisor(struct process *p)
{
	char byte;
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	ssize_t n = recvmsg(p->channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	int fd;

	if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
		p->ended = true;
	if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fd))
		return;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	connect_link(p, fd);
}

static void
hear_signal(struct process *p)
{
	struct signalfd_siginfo s;

	if (read(p->signals, &s, sizeof s) == (ssize_t)sizeof s && s.ssi_signo == SIGTERM)
		p->ended = true;
}

static void
turn(struct process *p)
{
	struct pollfd fds[2 + LINKS_MAX] = { { p->channel, POLLIN, 0 }, { p->signals, POLLIN, 0 } };

	for (size_t i = 0; i < LINKS_MAX; i++) {
		/* Who does not read his answers is not heard. */
		fds[2 + i].fd = p->links[i].fd;
		fds[2 + i].events = p->links[i].first != NULL ? POLLOUT : POLLIN;
	}
	if (poll(fds, ARRAY_LEN(fds), TICK_MS) == -1 && errno != EINTR) {
		log_error("The signer cannot wait: %s.", strerror(errno));
		p->ended = true;
		return;
	}
	for (size_t i = 0; i < LINKS_MAX; i++) {
		struct link *l = &p->links[i];

		if (l->fd == -1 || fds[2 + i].fd != l->fd || fds[2 + i].revents == 0)
			continue;
		if (l->first != NULL)
			flush(p, l);
		else
			take(p, l);
	}
	settle(p);
	if (core_lost(p->core) && !p->ended) {
		log_error("The signer ends, to be started again: the process that speaks to its tokens has gone.");
		p->ended = p->failed = true;
	}
	core_tick(p->core, clock_ms(), false);
	if ((fds[1].revents & POLLIN) != 0)
		hear_signal(p);
	if (fds[0].revents != 0)
		hear_supervisor(p);
}

/* ---- start and end ---- */

static bool
open_signals(struct process *p, struct err *err)
{
	sigset_t set;

	(void)sigfillset(&set);
	/* Faults of our own are not to wait in a queue. */
	(void)sigdelset(&set, SIGSEGV);
	(void)sigdelset(&set, SIGBUS);
	(void)sigdelset(&set, SIGABRT);
	(void)sigdelset(&set, SIGFPE);
	(void)sigdelset(&set, SIGILL);
	(void)sigdelset(&set, SIGSYS);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return err_sys(err, "cannot set signals up");
	p->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return p->signals != -1 || err_sys(err, "cannot set signals up");
}

static bool
begin(struct process *p, const struct signer_setup *s, struct err *err)
{
	p->buf = malloc(MESSAGE_MAX + 1);
	if (p->buf == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	/* Private numbers go to memory of their own, locked and wiped, also where the rest cannot be locked. */
	(void)CRYPTO_secure_malloc_init(SECURE_HEAP, SECURE_LEAST);
	if (!open_signals(p, err) || (p->core = core_new(s, err)) == NULL)
		return false;
	if (s->wipe != NULL)
		secret_wipe(s->wipe, s->wipe_n);
	if (!confine(s, err))
		return false;
	core_tick(p->core, clock_ms(), true);
	if (send(p->channel, "R", 1, MSG_NOSIGNAL) != 1)
		return err_sys(err, "the supervisor has gone");
	return true;
}

bool
signer_run(const struct signer_setup *s)
{
	struct process p = { .channel = s->channel, .signals = -1 };
	struct err err = { 0 };
	bool ok;

	for (size_t i = 0; i < LINKS_MAX; i++)
		p.links[i].fd = -1;
	ok = begin(&p, s, &err);
	if (!ok)
		log_error("The signer cannot start: %s.", err.text);
	while (ok && !p.ended)
		turn(&p);
	if (ok)
		core_tick(p.core, clock_ms(), true);
	for (size_t i = 0; i < LINKS_MAX; i++)
		drop(&p.links[i]);
	core_free(p.core);
	free(p.buf);
	if (p.signals != -1)
		(void)close(p.signals);
	return ok && !p.failed;
}
