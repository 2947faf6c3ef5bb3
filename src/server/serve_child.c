/* Starting the processes of `signet serve`: each is this program again with a word that people do not type, and only the
 * descriptors and the environment that it needs. */
#include "server/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/num.h"

enum { FDS_FIRST = 3, ENV_MAX = 64 };

/* ---- in the child, between fork and exec ---- */

static void
quit(const char *what)
{
	(void)dprintf(STDERR_FILENO, "signet serve: %s: %s\n", what, strerror(errno));
	_exit(SERVER_FAILED);
}

static bool
starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The signer gets nothing of it but what a sanitizer's build reads, and modules of tokens. Nobody else gets what is for the supervisor. */
static void
clean_environment(enum serve_role role)
{
	static const char *const kept[] = { "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS=", "SOFTHSM2_CONF=", "OPENSC_CONF=" };
	static const char *const ours[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "SIGNET_PASSPHRASE" };
	static char *left[ENV_MAX]; /* of the new process */
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		(void)unsetenv(ours[i]);
	/* Sockets, and where the key of the store may be. */
	if (role != SERVE_BROKER) {
		(void)unsetenv("LISTEN_FDS");
		(void)unsetenv("CREDENTIALS_DIRECTORY");
	}
	if (role != SERVE_SIGNER)
		return;
	for (char **e = environ; *e != NULL && n + 1 < ENV_MAX; e++)
		for (size_t i = 0; i < ARRAY_LEN(kept); i++)
			if (starts(*e, kept[i]))
				left[n++] = *e;
	left[n] = NULL;
	environ = left;
}

/* Sockets that systemd opened are for the broker, whoever has been it before. */
static void
pass_sockets(void)
{
	char pid[24];

	if (getenv("LISTEN_FDS") == NULL)
		return;
	(void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	if (setenv("LISTEN_PID", pid, 1) == -1)
		quit("setenv");
}

static void
keep(int fd)
{
	if (fcntl(fd, F_SETFD, 0) == -1)
		quit("fcntl");
}

struct start {
	const struct serve *s;
	enum serve_role role;
	int channel, log, signer_fd;
};

static void __attribute__((noreturn))
become(const struct start *st)
{
	static const char *const words[] = { [SERVE_SIGNER] = "@signer", [SERVE_BROKER] = "@broker", [SERVE_CONTROL] = "@control" };
	const struct serve *s = st->s;
	char channel[16], link[16], watchdog[24];
	const char *flag = s->options->verbose ? "-v" : s->options->quiet ? "-q" : "-";
	char *argv[] = { (char *)(uintptr_t) "signet", (char *)(uintptr_t)words[st->role], channel, link, watchdog,
		(char *)(uintptr_t)s->dir, (char *)(uintptr_t)s->file, (char *)(uintptr_t)flag, NULL };
	static const int others[] = { SIGHUP, SIGUSR1, SIGUSR2 };
	const struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t none;

	/* Ctrl-C is for the supervisor, which ends all in order; its own end is the end of all. */
	(void)setpgid(0, 0);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) == -1 || sigemptyset(&none) == -1 || sigprocmask(SIG_SETMASK, &none, NULL) == -1)
		quit("prctl");
	clean_environment(st->role);
	/* What is forwarded to all; it hears SIGHUP once it can. */
	for (size_t i = 0; st->role == SERVE_CONTROL && i < ARRAY_LEN(others); i++)
		(void)sigaction(others[i], &ignore, NULL);
	(void)snprintf(channel, sizeof(channel), "%d", st->channel);
	(void)snprintf(link, sizeof(link), "%d", st->signer_fd);
	(void)snprintf(watchdog, sizeof(watchdog), "%llu", (unsigned long long)s->watchdog_ms);
	if (st->role == SERVE_SIGNER) {
		if (dup2(st->log, STDERR_FILENO) == -1 || dup2(st->log, STDOUT_FILENO) == -1 || dup2(st->channel, FDS_FIRST) == -1)
			quit("dup2");
		(void)close_range(FDS_FIRST + 1, ~0U, 0);
		(void)snprintf(channel, sizeof(channel), "%d", FDS_FIRST);
		keep(FDS_FIRST);
	} else {
		keep(st->channel);
		if (st->signer_fd != -1)
			keep(st->signer_fd);
	}
	if (st->role == SERVE_BROKER)
		pass_sockets();
	(void)execv("/proc/self/exe", argv);
	quit("cannot start this program again (/proc/self/exe)");
	abort();
}

/* ---- in the supervisor ---- */

static void
shut(int *fd)
{
	if (*fd != -1)
		(void)close(*fd);
	*fd = -1;
}

void
serve_reap(struct serve_child *c)
{
	shut(&c->channel);
	shut(&c->log);
	c->pid = 0;
	c->ready = c->stale = false;
	c->line_n = 0;
}

/* The keys' passphrase, or that there is none. */
static bool
hand_over(struct serve *s, struct serve_child *c, struct err *err)
{
	struct iovec v[2] = { { (void *)(uintptr_t) "P", 1 }, { s->pass, strlen(s->pass) } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	return sendmsg(c->channel, &m, MSG_NOSIGNAL) != -1 || err_sys(err, "cannot speak to the signer");
}

bool
serve_spawn(struct serve *s, struct serve_child *c, int signer_fd, struct err *err)
{
	int pair[2], log[2] = { -1, -1 };
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return err_sys(err, "cannot make a socket for the %s", c->name);
	if (c->role == SERVE_SIGNER && pipe2(log, O_CLOEXEC) == -1) {
		(void)close(pair[0]);
		(void)close(pair[1]);
		return err_sys(err, "cannot make a pipe for the %s", c->name);
	}
	pid = fork();
	if (pid == 0)
		become(&(struct start){ s, c->role, pair[1], log[1], signer_fd });
	(void)close(pair[1]);
	shut(&log[1]);
	c->channel = pair[0];
	c->log = log[0];
	if (pid == -1) {
		serve_reap(c);
		return err_sys(err, "cannot start the %s", c->name);
	}
	c->pid = pid;
	c->told = false;
	c->started_ms = server_now_ms();
	if (c->log != -1)
		(void)fcntl(c->log, F_SETFL, O_NONBLOCK);
	log_info("The %s is process %ld.", c->name, (long)pid);
	return c->role != SERVE_SIGNER || hand_over(s, c, err);
}

bool
serve_link(struct serve *s, int *ret_fd, struct err *err)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = { 0 } };
	struct iovec v = { (void *)(uintptr_t) "C", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int pair[2];
	bool ok;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1)
		return err_sys(err, "cannot make a socket between control and the signer");
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &pair[1], sizeof(int));
	ok = sendmsg(s->children[SERVE_SIGNER].channel, &m, MSG_NOSIGNAL) != -1 || err_sys(err, "cannot speak to the signer");
	(void)close(pair[1]);
	if (ok)
		*ret_fd = pair[0];
	else
		(void)close(pair[0]);
	return ok;
}

static void
say_line(const struct serve_child *c, const char *line, size_t n)
{
	enum log_level level = LOG_LVL_ERROR;

	if (n > 1 && line[0] >= '0' && line[0] <= '0' + LOG_LVL_DEBUG && line[1] == ' ') {
		level = (enum log_level)(line[0] - '0');
		line += 2;
		n -= 2;
	}
	if (log_on(level))
		log_write(level, "[%s] %.*s", c->name, (int)n, line);
}

void
serve_read_log(struct serve_child *c)
{
	for (;;) {
		ssize_t got = read(c->log, c->line + c->line_n, sizeof(c->line) - c->line_n);
		char *end;

		if (got <= 0)
			return;
		c->line_n += (size_t)got;
		while ((end = memchr(c->line, '\n', c->line_n)) != NULL) {
			size_t n = (size_t)(end - c->line);

			say_line(c, c->line, n);
			c->line_n -= n + 1;
			memmove(c->line, end + 1, c->line_n);
		}
		if (c->line_n == sizeof(c->line)) {
			say_line(c, c->line, c->line_n);
			c->line_n = 0;
		}
	}
}
