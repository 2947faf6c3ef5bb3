/* Passphrases: from a file, the environment, or a person at a terminal without echo. Never from the command line, where every
 * user of the machine could read them. */
#include "cli/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { PASS_MAX = NUM_MAX((int)PKI_PASSPHRASE_MAX, 1024) };

/* Set by a signal while the echo is off: a handler can reach nothing but a global. */
static volatile sig_atomic_t caught;

static void
on_signal(int sig)
{
	caught = sig;
}

/* With <mask> (or NULL) in force only here, so that no signal comes unseen between a look at it and the waiting. */
static ssize_t
read_byte(int fd, const sigset_t *mask, char *c)
{
	struct pollfd p = { fd, POLLIN, 0 };

	if (mask != NULL && ppoll(&p, 1, NULL, mask) == -1)
		return -1;
	return read(fd, c, 1);
}

/* One line, byte by byte: what follows on standard input belongs to somebody else. -1: signal or error. */
static ssize_t
read_line(int fd, const sigset_t *mask, char *buf, size_t cap)
{
	size_t n = 0;
	char c;

	for (;;) {
		ssize_t got = read_byte(fd, mask, &c);

		if (got == -1 && (errno != EINTR || caught != 0))
			return -1;
		if (got == -1)
			continue;
		if (got == 0 || c == '\n')
			break;
		if (n + 1 >= cap) /* too long: read on, so that the rest is not taken for the next answer */
			n = cap;
		else
			buf[n++] = c;
	}
	if (n >= cap)
		return -1;
	if (n > 0 && buf[n - 1] == '\r')
		n--;
	buf[n] = '\0';
	return (ssize_t)n;
}

/* With the echo off, and on again even when a signal comes, which then takes its course. */
static ssize_t
read_hidden(int tty, const char *prompt, char *buf, size_t cap)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	struct sigaction old[ARRAY_LEN(signals)], act = { .sa_handler = on_signal };
	struct termios was, hidden;
	sigset_t ours, mask;
	ssize_t n;

	if (tcgetattr(tty, &was) == -1)
		return -1;
	caught = 0;
	(void)sigemptyset(&ours);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void)sigaddset(&ours, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &ours, &mask);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void)sigaction(signals[i], &act, &old[i]);
	hidden = was;
	hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	(void)tcsetattr(tty, TCSAFLUSH, &hidden);
	(void)dprintf(tty, "%s: ", prompt);
	n = read_line(tty, &mask, buf, cap);
	(void)dprintf(tty, "\n");
	(void)tcsetattr(tty, TCSAFLUSH, &was);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void)sigaction(signals[i], &old[i], NULL);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	if (caught != 0)
		(void)raise(caught);
	return n;
}

static bool
ask_again(int tty, const char *kind, const char *buf, struct err *err)
{
	char again[PASS_MAX];
	bool same = read_hidden(tty, "The same again", again, sizeof again) > 0 && secret_eq(slice_str(buf), slice_str(again));

	secret_wipe(again, sizeof again);
	return same || err_set(err, ERR_USAGE, "the two %ss differ: nothing was done", kind);
}

static bool
ask_tty(int tty, const char *what, bool creating, char *buf, size_t cap, struct err *err)
{
	char prompt[160];

	(void)snprintf(prompt, sizeof prompt, creating ? "New passphrase for %s" : "Passphrase for %s", what);
	if (read_hidden(tty, prompt, buf, cap) <= 0)
		return err_set(err, ERR_USAGE, "no passphrase was given for %s", what);
	return !creating || ask_again(tty, "passphrase", buf, err);
}

static bool
ask(const char *what, bool creating, char *buf, size_t cap, struct err *err)
{
	int tty;
	bool ok;

	if (!isatty(STDIN_FILENO)) {
		if (read_line(STDIN_FILENO, NULL, buf, cap) > 0)
			return true;
		return err_set(err, ERR_USAGE,
		    "a passphrase is needed for %s: give --passphrase-file FILE, SIGNET_PASSPHRASE, or a line on standard input%s", what,
		    creating ? " (or --no-passphrase to leave the key unencrypted)" : "");
	}
	tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	ok = ask_tty(tty != -1 ? tty : STDIN_FILENO, what, creating, buf, cap, err);
	if (tty != -1)
		(void)close(tty);
	return ok;
}

bool
pass_from_file(const char *path, char *buf, size_t cap, struct err *err)
{
	uint8_t *data;
	size_t n, len;
	bool ok;

	if (!file_read(path, (size_t)4 * PKI_PASSPHRASE_MAX, &data, &n, err))
		return false;
	len = strcspn((const char *)data, "\r\n"); /* NUL-terminated by file_read() */
	ok = len > 0 && len < cap && memchr(data, 0, NUM_MIN(n, len)) == NULL;
	if (ok) {
		memcpy(buf, data, len);
		buf[len] = '\0';
	}
	secret_free(data, n);
	return ok || err_set(err, ERR_USAGE, "%s: its first line is no passphrase or password (1 to %zu bytes)", path, cap - 1);
}

static bool
get(void *ctx, const char *what, bool creating, char *buf, size_t cap, struct err *err)
{
	const struct pass *p = ctx;
	const char *env = getenv("SIGNET_PASSPHRASE");

	if (p->file != NULL)
		return pass_from_file(p->file, buf, cap, err);
	if (env != NULL && env[0] != '\0')
		return text_copy(buf, cap, slice_str(env)) ||
		    err_set(err, ERR_USAGE, "SIGNET_PASSPHRASE is longer than %zu bytes", cap - 1);
	return ask(what, creating, buf, cap, err);
}

bool
pass_ask(const char *prompt, bool hidden, char *buf, size_t cap, struct err *err)
{
	int tty;
	bool ok;

	if (!isatty(STDIN_FILENO))
		return read_line(STDIN_FILENO, NULL, buf, cap) > 0 ||
		    err_set(err, ERR_USAGE, "%s: no line of it on standard input (1 to %zu bytes)", prompt, cap - 1);
	tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (!hidden)
		(void)dprintf(tty != -1 ? tty : STDOUT_FILENO, "%s: ", prompt);
	ok = (hidden ? read_hidden(tty != -1 ? tty : STDIN_FILENO, prompt, buf, cap) : read_line(tty != -1 ? tty : STDIN_FILENO, NULL, buf, cap)) > 0;
	if (tty != -1)
		(void)close(tty);
	return ok || err_set(err, ERR_USAGE, "%s: nothing was given", prompt);
}

bool
pass_ask_new(const char *user, char *buf, size_t cap, struct err *err)
{
	char prompt[160], shown[100];
	int tty;
	bool ok;

	(void)text_show(slice_str(user), shown, sizeof shown);
	if (!isatty(STDIN_FILENO))
		return read_line(STDIN_FILENO, NULL, buf, cap) > 0 ||
		    err_set(err, ERR_USAGE, "no password for '%s' on standard input (one line of at most %zu bytes)", shown, cap - 1);
	tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	(void)snprintf(prompt, sizeof prompt, "New password for %s", shown);
	ok = read_hidden(tty != -1 ? tty : STDIN_FILENO, prompt, buf, cap) > 0 ||
	    err_set(err, ERR_USAGE, "no password was given for '%s'", shown);
	ok = ok && ask_again(tty != -1 ? tty : STDIN_FILENO, "password", buf, err);
	if (tty != -1)
		(void)close(tty);
	return ok;
}

void
pass_init(struct pass *p, const char *file)
{
	*p = (struct pass){ .file = file, .secret = { get, p } };
}
