/* signet serve: starts signer, broker and control and watches them. It opens no address, reads nothing from the network and holds
 * no key but the passphrase of the keys, so that a signer that was killed can be started again without a person. */
#include "server/serve.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 10000, SETTLED_MS = 30000, END_MS = 20000, END_BROKER_MS = 120000, TURN_MS = 1000, TEXT_MAX = 512 };

/* ---- start and start again ---- */

static void
start_failed(struct serve *s, struct serve_child *c, const struct err *err)
{
	log_error("The %s cannot be started: %s.", c->name, err->text);
	c->next_ms = server_now_ms() + PAUSE_MAX_MS;
	(void)s;
}

static void
start(struct serve *s, struct serve_child *c)
{
	struct err err = { 0 };
	int signer_fd = -1;
	bool ok;

	ok = (c->role != SERVE_CONTROL || serve_link(s, &signer_fd, &err)) && serve_spawn(s, c, signer_fd, &err);
	if (signer_fd != -1)
		(void)close(signer_fd);
	if (!ok)
		start_failed(s, c, &err);
	/* It says nothing; what it needs was looked at when the configuration was read. */
	if (ok && c->role == SERVE_CONTROL)
		c->ready = c->was_ready = true;
}

/* Control is of no use without somebody to ask. */
static bool
may_start(const struct serve *s, const struct serve_child *c)
{
	return c->wanted && c->pid == 0 && !s->stopping && server_now_ms() >= c->next_ms &&
	    (c->role != SERVE_CONTROL || s->children[SERVE_SIGNER].ready) && (c->role == SERVE_SIGNER || serve_cert_usable(s));
}

static void
start_due(struct serve *s)
{
	for (unsigned i = 0; i < SERVE_ROLES; i++)
		if (may_start(s, &s->children[i]))
			start(s, &s->children[i]);
}

/* ---- ends ---- */

void
serve_ask_to_end(struct serve_child *c)
{
	if (c->pid == 0 || c->told)
		return;
	c->told = true;
	c->started_ms = server_now_ms();
	(void)kill(c->pid, SIGTERM);
}

static void
describe_end(const struct serve_child *c, int status, char *out, size_t cap)
{
	if (WIFSIGNALED(status))
		(void)snprintf(out, cap, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		(void)snprintf(out, cap, "ended with code %d%s", WEXITSTATUS(status), c->was_ready ? "" : " before it was ready");
}

/* The longer it stood, the sooner it is there again. */
static void
plan_restart(struct serve_child *c)
{
	uint64_t now = server_now_ms();

	if (now - c->started_ms >= SETTLED_MS)
		c->pause_ms = 0;
	c->pause_ms = c->pause_ms == 0 ? PAUSE_FIRST_MS : NUM_MIN(2 * c->pause_ms, (unsigned)PAUSE_MAX_MS);
	c->next_ms = now + c->pause_ms;
}

static void
ended(struct serve *s, struct serve_child *c, int status)
{
	bool asked = c->told;
	char how[128];

	if (c->log != -1)
		serve_read_log(c);
	describe_end(c, status, how, sizeof(how));
	serve_reap(c);
	if (s->stopping) {
		if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)
			log_warning("The %s %s.", c->name, how);
		return;
	}
	/* Its words to control have nobody who hears them; a new pair of sockets needs a new control. */
	if (c->role == SERVE_SIGNER)
		serve_ask_to_end(&s->children[SERVE_CONTROL]);
	if (!c->was_ready && !s->announced) {
		log_error("The %s %s.", c->name, how);
		s->code = WIFEXITED(status) && WEXITSTATUS(status) != 0 ? (enum server_exit)WEXITSTATUS(status) : SERVER_FAILED;
		s->stopping = true;
		return;
	}
	if (asked) {
		c->next_ms = 0;
		return;
	}
	plan_restart(c);
	log_error("The %s %s; it is started again in %u ms. The others go on.", c->name, how, c->pause_ms);
}

static void
reap(struct serve *s)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < SERVE_ROLES; i++)
			if (s->children[i].pid == pid)
				ended(s, &s->children[i], status);
}

/* Who was asked to end has his time for it. */
static void
end_late(struct serve_child *c)
{
	if (c->pid == 0 || !c->told || server_now_ms() - c->started_ms <= (c->role == SERVE_BROKER ? END_BROKER_MS : END_MS))
		return;
	log_error("The %s does not end; it is killed.", c->name);
	(void)kill(c->pid, SIGKILL);
	c->started_ms = server_now_ms();
}

/* Control first, so that nobody asks for more; the signer last, as others may still ask it. True: all have ended. */
static bool
end_in_order(struct serve *s)
{
	static const enum serve_role order[] = { SERVE_CONTROL, SERVE_BROKER, SERVE_SIGNER };

	for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
		struct serve_child *c = &s->children[order[i]];

		if (c->pid == 0)
			continue;
		serve_ask_to_end(c);
		return false;
	}
	return true;
}

/* ---- what they say ---- */

static bool
all_ready(const struct serve *s)
{
	for (unsigned i = 0; i < SERVE_ROLES; i++)
		if (s->children[i].wanted && !s->children[i].was_ready)
			return false;
	return true;
}

static void
announce(struct serve *s)
{
	if (s->announced || !all_ready(s))
		return;
	s->announced = true;
	log_notice("signet version %s serves.", SIGNET_VERSION);
	notify_text("READY=1\nSTATUS=Running.");
}

static void
hear(struct serve *s, struct serve_child *c)
{
	char text[TEXT_MAX];
	ssize_t n = recv(c->channel, text, sizeof(text) - 1, MSG_DONTWAIT);

	if (n <= 0)
		return;
	text[n] = '\0';
	if (c->role == SERVE_SIGNER || strncmp(text, "READY=1", 7) == 0)
		c->ready = c->was_ready = true;
	if (c->ready && c->stale)
		serve_news_tell(s, c);
	/* The broker's word is ours: a reload, its watchdog. */
	if (c->role == SERVE_BROKER && s->announced && !s->stopping)
		notify_text(text);
}

/* A broker that is being started gives no sign of life; it is watched again when it is there. */
static void
watchdog(struct serve *s)
{
	uint64_t now = server_now_ms();

	if (s->watchdog_ms == 0 || s->children[SERVE_BROKER].ready || now - s->watched_ms < s->watchdog_ms / 4)
		return;
	s->watched_ms = now;
	notify_text("WATCHDOG=1");
}

static void
forward(struct serve *s, int sig)
{
	for (unsigned i = 0; i < SERVE_ROLES; i++)
		if (i != SERVE_SIGNER && s->children[i].ready)
			(void)kill(s->children[i].pid, sig);
}

/* A person's SIGHUP ends no connection: a broker that may not read its files again says so. */
static void
reload(struct serve *s)
{
	serve_cert_soon(s);
	serve_news_open(s);
	if (s->children[SERVE_BROKER].ready)
		(void)kill(s->children[SERVE_BROKER].pid, SIGHUP);
	if (s->children[SERVE_CONTROL].ready)
		serve_news_tell(s, &s->children[SERVE_CONTROL]);
}

static void
certificate_is_new(struct serve *s)
{
	serve_news_open(s);
	serve_news_tell(s, &s->children[SERVE_BROKER]);
	serve_news_tell(s, &s->children[SERVE_CONTROL]);
}

static void
say_state(const struct serve *s)
{
	for (unsigned i = 0; i < SERVE_ROLES; i++) {
		const struct serve_child *c = &s->children[i];

		if (c->wanted)
			log_notice("State of the %s: %s %ld.", c->name, c->ready ? "process" : c->pid != 0 ? "starting as process" : "not running,", (long)c->pid);
	}
}

static void
hear_signals(struct serve *s)
{
	struct signalfd_siginfo i;

	while (read(s->signals, &i, sizeof(i)) == (ssize_t)sizeof(i)) {
		if (i.ssi_signo == SIGTERM || i.ssi_signo == SIGINT) {
			if (!s->stopping) {
				log_notice("The processes of signet serve are ended in order.");
				notify_stopping(NULL);
			}
			s->stopping = true;
		} else if (i.ssi_signo != SIGCHLD) {
			if (i.ssi_signo == SIGUSR1)
				log_reopen();
			if (i.ssi_signo == SIGUSR2)
				say_state(s);
			if (i.ssi_signo == SIGHUP)
				reload(s);
			else
				forward(s, (int)i.ssi_signo);
		}
	}
	reap(s);
}

static int
time_to_next(const struct serve *s)
{
	uint64_t now = server_now_ms(), wait = TURN_MS;

	for (unsigned i = 0; i < SERVE_ROLES; i++) {
		const struct serve_child *c = &s->children[i];

		if (c->wanted && c->pid == 0 && c->next_ms > now)
			wait = NUM_MIN(wait, c->next_ms - now);
	}
	return (int)wait;
}

static void
turn(struct serve *s)
{
	struct pollfd fds[2 + 2 * SERVE_ROLES] = { { s->signals, POLLIN, 0 } };
	struct pollfd *cert = &fds[1 + 2 * SERVE_ROLES];

	for (unsigned i = 0; i < SERVE_ROLES; i++) {
		fds[1 + i] = (struct pollfd){ s->children[i].channel, POLLIN, 0 };
		fds[1 + SERVE_ROLES + i] = (struct pollfd){ s->children[i].log, POLLIN, 0 };
	}
	cert->events = serve_cert_wants(s, &cert->fd);
	(void)poll(fds, ARRAY_LEN(fds), time_to_next(s)); /* interrupted: as if the time had come */
	for (unsigned i = 0; i < SERVE_ROLES; i++) {
		if ((fds[1 + SERVE_ROLES + i].revents & POLLIN) != 0)
			serve_read_log(&s->children[i]);
		if ((fds[1 + i].revents & POLLIN) != 0)
			hear(s, &s->children[i]);
		/* Who has closed his end is about to end; SIGCHLD says when. */
		if ((fds[1 + SERVE_ROLES + i].revents & (POLLIN | POLLHUP)) == POLLHUP)
			(void)close(s->children[i].log), s->children[i].log = -1;
		if ((fds[1 + i].revents & (POLLIN | POLLHUP)) == POLLHUP)
			(void)close(s->children[i].channel), s->children[i].channel = -1;
	}
	if (serve_cert_turn(s, cert->revents))
		certificate_is_new(s);
	hear_signals(s);
	for (unsigned i = 0; i < SERVE_ROLES; i++)
		end_late(&s->children[i]);
	serve_news_turn(s);
	start_due(s);
	announce(s);
	watchdog(s);
}

/* ---- the process ---- */

static bool
find_places(struct serve *s, struct err *err)
{
	const struct serve_options *o = s->options;
	char pki[PKI_PATH_MAX];

	if (realpath(o->dir, pki) == NULL)
		return err_sys(err, "%s", o->dir);
	if (!text_copy(s->dir, sizeof(s->dir), slice_str(pki)))
		return err_set(err, ERR_LIMIT, "%s: path too long", o->dir);
	if (realpath(o->config_file, s->file) == NULL)
		return err_sys(err, "%s", o->config_file);
	if (!path_join(pki, sizeof(pki), s->dir, "pki") || access(pki, F_OK) == -1)
		return err_set(err, ERR_MISSING, "%s has no installation (there is no %s/pki): make one with \"signet init --dir %s --host NAME\"", o->dir,
		    o->dir, o->dir);
	return true;
}

static bool
open_signals(struct serve *s, struct err *err)
{
	static const int all[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t set;

	(void)sigemptyset(&set);
	for (unsigned i = 0; i < ARRAY_LEN(all); i++)
		(void)sigaddset(&set, all[i]);
	if (sigaction(SIGPIPE, &ignore, NULL) == -1 || sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return err_sys(err, "cannot set signals up");
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->signals != -1 || err_sys(err, "cannot set signals up");
}

/* Nobody reads it there any more: not in /proc/PID/environ either. */
static bool
forget_environment(void)
{
	char *word = getenv("SIGNET_PASSPHRASE");

	if (word != NULL)
		secret_wipe(word, strlen(word));
	return unsetenv("SIGNET_PASSPHRASE") == 0;
}

/* In memory that is not swapped, and in no core file. */
static bool
take_passphrase(struct serve *s, struct err *err)
{
	const struct pki_secret *secret = s->options->secret;

	s->pass = mmap(NULL, PKI_PASSPHRASE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->pass == MAP_FAILED) {
		s->pass = NULL;
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	(void)mlock(s->pass, PKI_PASSPHRASE_MAX);
	(void)madvise(s->pass, PKI_PASSPHRASE_MAX, MADV_DONTDUMP);
	return !serve_needs_passphrase(s->dir) || (secret->get(secret->ctx, "the CA keys", false, s->pass, PKI_PASSPHRASE_MAX, err) && forget_environment());
}

static bool
begin(struct serve *s, struct err *err)
{
	struct privileges control;
	struct logdest d = { .daemon = s->options->daemon, .owner = (uid_t)-1 };

	/* Before anything is said to a log: a person is asked at the terminal. */
	if (!find_places(s, err) || !take_passphrase(s, err) || !privileges_find(s->config, &s->broker, err))
		return false;
	if (!privileges_control(s->config, &control, NULL, err))
		return false;
	s->control_drops = control.drop;
	if (s->broker.drop)
		d.owner = s->broker.uid;
	d.group = s->broker.gid;
	s->config->log_dest &= ~(unsigned)CONFIG_LOG_TOPIC;
	if (!logdest_open(s->config, &d, err))
		return false;
	privileges_harden();
	if (s->options->daemon && !server_daemonize(err))
		return false;
	s->watchdog_ms = watchdog_interval_ms();
	serve_news_begin(s);
	return serve_cert_new(s, err) && open_signals(s, err) && server_write_pid(s->config, err);
}

static enum server_exit
serve(struct serve *s)
{
	struct err err = { 0 };
	bool ok = begin(s, &err);

	if (!ok) {
		log_error("Cannot start: %s.", err.text);
		s->code = err.code == ERR_USAGE ? SERVER_USAGE : SERVER_FAILED;
	}
	s->stopping = !ok;
	while (!s->stopping || !end_in_order(s))
		turn(s);
	if (s->pass != NULL) {
		secret_wipe(s->pass, PKI_PASSPHRASE_MAX);
		(void)munmap(s->pass, PKI_PASSPHRASE_MAX);
	}
	if (ok && s->config->pid_file != NULL)
		(void)unlink(s->config->pid_file); /* another start writes over it */
	serve_cert_free(s);
	if (s->signals != -1)
		(void)close(s->signals);
	log_reset_sinks();
	return s->code;
}

enum server_exit
serve_run(const struct serve_options *o)
{
	static const char *const names[] = { [SERVE_SIGNER] = "signer", [SERVE_BROKER] = "broker", [SERVE_CONTROL] = "control" };
	struct server_options load = { .config_file = o->config_file, .quiet = o->quiet, .verbose = o->verbose };
	struct serve *s = calloc(1, sizeof(*s));
	enum server_exit code;
	struct err err;

	if (s == NULL)
		return SERVER_FAILED;
	s->options = o;
	s->signals = -1;
	for (unsigned i = 0; i < SERVE_ROLES; i++)
		s->children[i] = (struct serve_child){ .role = (enum serve_role)i, .name = names[i], .wanted = i != SERVE_CONTROL, .channel = -1, .log = -1 };
	s->config = config_load(&load, &err);
	if (s->config == NULL) {
		log_error("%s.", err.text);
		free(s);
		return SERVER_USAGE;
	}
	/* Without an address it has nothing to do. */
	s->children[SERVE_CONTROL].wanted = s->config->n_https > 0;
	code = serve(s);
	config_free(s->config);
	free(s);
	return code;
}

/* ---- the processes ---- */

int
serve_child_main(int argc, char *argv[])
{
	uint64_t channel = 0, watchdog_ms = 0, signer = 0;
	struct server_options o = { 0 };

	if (argc < 8)
		return -1;
	if (strcmp(argv[1], "@signer") == 0)
		return serve_signer_main(argc, argv);
	o.config_file = argv[6];
	o.verbose = strcmp(argv[7], "-v") == 0;
	o.quiet = strcmp(argv[7], "-q") == 0;
	if (!text_u64(slice_str(argv[2]), 3, 1 << 20, &channel) || !text_u64(slice_str(argv[4]), 0, UINT32_MAX, &watchdog_ms))
		return -1;
	o.notify_fd = (int)channel;
	o.watchdog_ms = watchdog_ms;
	if (strcmp(argv[1], "@broker") == 0)
		return (int)server_run(&o);
	if (strcmp(argv[1], "@control") != 0 || !text_u64(slice_str(argv[3]), 3, 1 << 20, &signer))
		return -1;
	o.signer_fd = (int)signer;
	privileges_harden();
	return (int)server_control(&o);
}
