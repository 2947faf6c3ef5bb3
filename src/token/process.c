/* The process beside us that speaks to tokens: a question and an answer at a time, over a socket of packets. */
#include "token/internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/num.h"
#include "base/secret.h"

enum { START_MS = 60000, ANSWER_MS = 30000, MAKE_MS = 600000, QUESTION_MAX = 2 + TOKEN_DATA_MAX, FD = 3 };

struct token {
	int fd;
	pid_t pid;
	bool lost;
};

/* ---- in the process ---- */

static void
answer(const struct err *err, const uint8_t *body, size_t n)
{
	uint8_t out[TOKEN_ANSWER_MAX + sizeof(err->text)] = { (uint8_t)err->code };

	if (err->code != ERR_OK) {
		n = strlen(err->text);
		body = (const uint8_t *)err->text;
	}
	if (n > 0)
		memcpy(out + 1, body, n);
	(void)send(FD, out, 1 + n, MSG_NOSIGNAL); /* who has gone hears nothing */
}

static void
carry_out(struct modules *m, const struct token_setup *s, const uint8_t *q, size_t n)
{
	uint8_t body[TOKEN_ANSWER_MAX];
	struct err err = { .code = ERR_OK };
	size_t body_n = 0;
	bool ok;

	if (n < 2 || q[1] >= s->n)
		ok = err_set(&err, ERR_INPUT, "no such key");
	else if (q[0] != TOKEN_OP_SIGN && !s->making)
		ok = err_set(&err, ERR_DENIED, "keys are neither made nor removed here");
	else if (q[0] == TOKEN_OP_SIGN)
		ok = modules_sign(m, q[1], slice_of(q + 2, n - 2), body, &body_n, &err);
	else if (q[0] == TOKEN_OP_MAKE && n == 5)
		ok = modules_make(m, q[1], (enum token_kind)q[2], (unsigned)q[3] << 8 | q[4], body, &body_n, &err);
	else
		modules_unmake(m, q[1]), ok = true;
	if (ok)
		err.code = ERR_OK;
	answer(&err, body, body_n);
}

static void __attribute__((noreturn))
serve(const struct token_setup *s, int fd)
{
	const struct rlimit none = { 0, 0 };
	uint8_t q[QUESTION_MAX];
	struct modules *m = NULL;
	struct err err = { .code = ERR_OK };
	sigset_t no_signals;
	ssize_t n;
	bool ok;

	/* It lives as long as who asks; Ctrl-C is not for it. */
	(void)setpgid(0, 0);
	(void)sigemptyset(&no_signals);
	(void)sigprocmask(SIG_SETMASK, &no_signals, NULL);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	if (dup2(fd, FD) != FD)
		_exit(1);
	(void)close_range(FD + 1, ~0U, 0);
	ok = s->confine == NULL || s->confine(s->ctx, &err);
	/* PINs reach no disk; the kernel forgets the last two when the user changes. */
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ok)
		m = modules_new(s, &err);
	answer(&err, NULL, 0);
	while (m != NULL && (n = recv(FD, q, sizeof(q), 0)) > 0)
		carry_out(m, s, q, (size_t)n);
	if (m != NULL)
		modules_wipe(m);
	_exit(0);
}

/* ---- beside it ---- */

/* The answer to what was asked. */
static bool
hear(struct token *t, int wait_ms, uint8_t *ret, size_t cap, size_t *ret_n, struct err *err)
{
	uint8_t in[TOKEN_ANSWER_MAX + sizeof(err->text)];
	struct pollfd p = { t->fd, POLLIN, 0 };
	ssize_t n;
	int ready;

	do
		ready = poll(&p, 1, wait_ms);
	while (ready == -1 && errno == EINTR);
	n = ready == 1 ? recv(t->fd, in, sizeof(in), 0) : -1;
	if (n < 1) {
		t->lost = true;
		return err_set(err, ERR_SYSTEM, ready == 0 ? "the token does not answer" : "the process that spoke to the token has ended");
	}
	if (in[0] != ERR_OK)
		return err_set(err, (enum err_code)in[0], "%.*s", (int)n - 1, (const char *)in + 1);
	if ((size_t)n - 1 > cap)
		return err_set(err, ERR_INPUT, "the token's answer is too long");
	if (n > 1)
		memcpy(ret, in + 1, (size_t)n - 1);
	*ret_n = (size_t)n - 1;
	return true;
}

static bool
ask(struct token *t, const uint8_t *q, size_t n, struct err *err)
{
	if (!t->lost && send(t->fd, q, n, MSG_NOSIGNAL) == (ssize_t)n)
		return true;
	t->lost = true;
	return err_set(err, ERR_SYSTEM, "the process that spoke to the token has ended");
}

struct token *
token_start(const struct token_setup *s, struct err *err)
{
	struct token *t = calloc(1, sizeof(*t));
	uint8_t nothing[1];
	int pair[2];
	size_t n;

	if (t == NULL || s->n < 1 || s->n > TOKEN_KEYS_MAX || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
		(void)err_set(err, ERR_SYSTEM, "the process for tokens cannot be started");
		free(t);
		return NULL;
	}
	t->fd = pair[0];
	t->pid = fork();
	if (t->pid == 0)
		serve(s, pair[1]);
	(void)close(pair[1]);
	if (t->pid != -1 && hear(t, START_MS, nothing, sizeof(nothing), &n, err))
		return t;
	if (t->pid == -1)
		(void)err_sys(err, "the process for tokens cannot be started");
	token_stop(t, t->pid != -1);
	return NULL;
}

void
token_stop(struct token *t, bool wait)
{
	if (t == NULL)
		return;
	(void)close(t->fd);
	/* A module may hang. */
	if (t->lost && wait)
		(void)kill(t->pid, SIGKILL);
	while (wait && waitpid(t->pid, NULL, 0) == -1 && errno == EINTR)
		;
	free(t);
}

bool
token_is_lost(const struct token *t)
{
	return t->lost;
}

bool
token_sign(struct token *t, size_t key, struct slice data, uint8_t ret[static TOKEN_SIGNATURE_MAX], size_t *ret_n, struct err *err)
{
	uint8_t q[QUESTION_MAX] = { TOKEN_OP_SIGN, (uint8_t)key };

	if (data.n > TOKEN_DATA_MAX)
		return err_set(err, ERR_LIMIT, "too much to sign at once");
	memcpy(q + 2, data.p, data.n);
	return ask(t, q, 2 + data.n, err) && hear(t, ANSWER_MS, ret, TOKEN_SIGNATURE_MAX, ret_n, err);
}

bool
token_make(struct token *t, size_t key, enum token_kind kind, unsigned bits, uint8_t ret[static TOKEN_PUBLIC_MAX], size_t *ret_n, struct err *err)
{
	const uint8_t q[5] = { TOKEN_OP_MAKE, (uint8_t)key, (uint8_t)kind, (uint8_t)(bits >> 8), (uint8_t)bits };

	return ask(t, q, sizeof(q), err) && hear(t, MAKE_MS, ret, TOKEN_PUBLIC_MAX, ret_n, err);
}

void
token_unmake(struct token *t, size_t key)
{
	const uint8_t q[2] = { TOKEN_OP_UNMAKE, (uint8_t)key };
	uint8_t nothing[1];
	struct err ignored;
	size_t n;

	if (ask(t, q, sizeof(q), &ignored))
		(void)hear(t, ANSWER_MS, nothing, sizeof(nothing), &n, &ignored);
}
