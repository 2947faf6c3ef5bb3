/* The broker process: start, wait for signals, stop. */
#include "server/control.h"
#include "server/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "server/pages.h"
#include "server/succeed.h"

enum { FLUSH_EVERY_S = 5 };

static unsigned
count_cores(void)
{
	cpu_set_t set;
	int n;

	if (sched_getaffinity(0, sizeof(set), &set) == -1)
		return 1;
	n = CPU_COUNT(&set);
	return (unsigned)NUM_MIN(NUM_MAX(n, 1), (int)CONFIG_WORKERS_MAX);
}

/* What clients that speak WebSocket may do before they speak MQTT, and those that never do. */
static bool
make_http(struct server *s, struct listener *l, struct err *err)
{
	const struct config_listener *c = l->config;

	l->ws = (struct ws_config){ .headers_max = (size_t)s->config->websockets_headers_size,
		.origins = (const char *const *)c->origins,
		.n_origins = c->n_origins,
		.tls = config_is_tls(c) };
	if (c->protocol == CONFIG_METRICS) {
		l->files = metrics_files(s);
		l->ws.files = &l->files;
		l->ws.plain = true;
		l->ws.type = "text/plain; version=0.0.4; charset=utf-8";
		l->forbidden = l->ws;
		l->forbidden.forbidden = WHY_METRICS;
		return true;
	}
	if (c->console) {
		l->pages = pages_of(l);
		l->ws.pages = &l->pages;
	}
	if (c->http_dir == NULL)
		return true;
	/* Opened before privileges are dropped, and the same directory for as long as we run. */
	if (!files_open_dir(c->http_dir, &l->http_fd, err))
		return false;
	l->files = files_below(&l->http_fd);
	l->ws.files = &l->files;
	return true;
}

static bool
make_listeners(struct server *s, struct err *err)
{
	const struct config *c = s->config;
	unsigned i;

	s->listeners = calloc(c->n_listeners, sizeof(*s->listeners));
	s->judges = calloc(c->n_listeners, sizeof(*s->judges));
	if (s->listeners == NULL || s->judges == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (i = 0; i < c->n_listeners; i++) {
		struct listener *l = &s->listeners[i];

		l->server = s;
		l->index = i;
		l->config = &c->listeners[i];
		l->http_fd = -1;
		atomic_store(&l->rules, listener_rules_of(c, l->config));
		if (pthread_mutex_init(&l->log_lock, NULL) != 0)
			return err_set(err, ERR_MEMORY, "out of memory");
		if (!judge_init(&s->judges[i])) {
			(void)pthread_mutex_destroy(&l->log_lock);
			return err_set(err, ERR_MEMORY, "out of memory");
		}
		s->n_listeners++;
		if (!make_http(s, l, err))
			return false;
		l->proxy = (struct net_proxy){ .version = (unsigned)l->config->proxy_version,
			.from = l->config->proxy_from,
			.n_from = l->config->n_proxy_from,
			.identity_from = l->config->proxy_identity_from,
			.n_identity_from = l->config->n_proxy_identity_from,
			.require_tls = l->config->proxy_require_tls,
			.require_certificate = l->config->certfile == NULL && l->config->require_certificate };
	}
	return true;
}

static bool
make_broker(struct server *s, struct err *err)
{
	struct broker_settings set = settings_of_config(s->config);
	struct broker_ports ports = server_ports(s);
	struct broker_listener *l = calloc(s->n_listeners + 1, sizeof(*l));

	if (l == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	set.store = persist_store(s);
	broker_listeners_of(s->config, s->world, l);
	s->told = l;
	s->broker = broker_new(s->n_workers, &set, l, s->n_listeners + 1, &ports);
	return s->broker != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

static bool
make_workers(struct server *s, struct err *err)
{
	const struct config *c = s->config;
	struct loop_limits limits = { .handshake_timeout_ms =
					  (unsigned)c->tls_handshake_timeout * 1000,
		.max_handshakes = (unsigned)c->max_handshakes };
	struct loop *loops[CONFIG_WORKERS_MAX];
	unsigned i;

	for (i = 0; i < s->n_workers; i++) {
		struct worker *w = &s->workers[i];

		w->server = s;
		w->index = i;
		w->shard = broker_shard(s->broker, i);
		if (i == 0)
			w->sys = sys_new((unsigned)c->sys_interval, server_now_ms());
		w->loop = loop_new(i, &server_handler, w, &limits, err);
		if (w->loop == NULL)
			return false;
		loops[i] = w->loop;
	}
	for (i = 0; i < s->n_workers; i++)
		loop_set_peers(loops[i], loops, s->n_workers);
	if (s->logtopics != NULL)
		logtopics_attach(s->logtopics, &s->workers[0]);
	return true;
}

/* Everything but sockets. */
static bool
make_bridges(struct server *s, struct err *err)
{
	struct bridge_plans *plans = bridge_plans_load(s->config, err);

	if (plans != NULL)
		metrics_bridges_set(s, plans);
	return plans != NULL && (bridges_start(s, plans) || err_set(err, ERR_MEMORY, "out of memory"));
}

static bool
server_prepare(struct server *s, struct err *err)
{
	struct authz_facts nobody = { 0 };
	uint8_t id[8];
	unsigned i;

	if (!make_listeners(s, err))
		return false;
	atomic_store(&s->memory.limit, s->config->memory_limit);
	s->tickets = tls_tickets_new((unsigned)s->config->tls_ticket_lifetime);
	if (s->tickets == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (i = 0; i < s->n_listeners; i++)
		s->judges[i].tickets = s->tickets;
	s->dynamics = dynamics_load(s->config, false, err);
	s->world = s->dynamics != NULL ? world_load(s->config, s->judges, s->dynamics, NULL, err) : NULL;
	if (s->world == NULL)
		return false;
	for (i = 0; i < s->n_listeners; i++) {
		s->judges[i].dynamic = dynamics_of(s->dynamics, s->config->listeners[i].dynsec);
		judge_set(&s->judges[i], &s->world->listeners[i]);
	}
	s->nobody = authz_principal_new(&nobody);
	s->logins = logins_new();
	s->ocsp = ocsp_new(s);
	s->staples = staples_new(s);
	s->origins = buckets_new();
	s->watch = watch_new(s, err);
	if (s->watch == NULL)
		return false;
	s->counters = calloc(1, sizeof(*s->counters));
	s->diary = diary_new();
	s->board = board_new();
	s->renewals = renewals_new();
	s->successions = successions_new();
	s->registrations = registrations_new(s);
	s->feed = feed_new(s);
	s->asides = asides_new(s);
	random_bytes(id, sizeof(id));
	(void)text_hex(slice_of(id, sizeof(id)), s->id, sizeof(s->id));
	s->n_workers = s->config->workers > 0 ? (unsigned)s->config->workers : count_cores();
	s->workers = calloc(s->n_workers, sizeof(*s->workers));
	if (s->nobody == NULL || s->logins == NULL || s->ocsp == NULL || s->staples == NULL || s->origins == NULL || s->counters == NULL || s->diary == NULL || s->board == NULL ||
	    s->renewals == NULL || s->successions == NULL || s->registrations == NULL || s->feed == NULL || s->asides == NULL || s->workers == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	for (i = 0; i < s->n_listeners; i++)
		s->judges[i].registrations = s->registrations;
	staples_prepare(s->staples, s->config, s->world);
	return persist_open(s, err) && make_broker(s, err) && persist_recover(s, err) && make_workers(s, err) && make_bridges(s, err);
}

static void
server_done(struct server *s)
{
	unsigned i;

	if (s->logtopics != NULL)
		logtopics_attach(s->logtopics, NULL);
	persist_quiet(s);
	asides_quiet(s->asides);
	for (i = 0; s->workers != NULL && i < s->n_workers; i++) {
		loop_free(s->workers[i].loop);
		sys_free(s->workers[i].sys);
		s->workers[i].loop = NULL;
	}
	bridges_free(s);
	broker_free(s->broker);
	persist_close(s);
	free(s->workers);
	inherit_done(&s->inherited, false);
	for (i = 0; i < s->n_listeners; i++) {
		judge_done(&s->judges[i]);
		(void)pthread_mutex_destroy(&s->listeners[i].log_lock);
		if (s->listeners[i].http_fd != -1)
			(void)close(s->listeners[i].http_fd); /* only read from */
		if (s->listeners[i].unix_made)
			(void)unlink(
			    s->listeners[i]
				.config->path); /* another start removes it if we may not */
	}
	free(s->listeners);
	free(s->judges);
	logins_free(s->logins);
	ocsp_free(s->ocsp);
	staples_free(s->staples);
	buckets_free(s->origins);
	world_free(s->world);
	tls_tickets_unref(s->tickets);
	dynamics_free(s->dynamics);
	free(s->told);
	authz_principal_unref(s->nobody);
	free(s->counters);
	free(s->bridge_certificates);
	diary_free(s->diary);
	board_free(s->board);
	renewals_free(s->renewals);
	successions_free(s->successions);
	registrations_free(s->registrations);
	feed_free(s->feed);
	asides_free(s->asides);
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;

	loop_run(w->loop);
	return NULL;
}

static void
server_stop(struct server *s)
{
	unsigned i;

	atomic_store(&s->stopping, true);
	for (i = 0; i < s->n_workers; i++)
		if (s->workers[i].started)
			loop_wake(s->workers[i].loop);
	for (i = 0; i < s->n_workers; i++)
		if (s->workers[i].started)
			(void)pthread_join(s->workers[i].thread, NULL);
	ocsp_stop(s->ocsp);
	staples_stop(s->staples);
	watch_free(s->watch);
	s->watch = NULL;
	/* Their verdicts go to shards that are still there, and wake loops that are, too. */
	logins_stop(s->logins);
	dynamics_stop(s->dynamics);
}

static bool
start_threads(struct server *s, struct err *err)
{
	char name[24];
	unsigned i;

	if (!persist_start(s, err) || !logins_start(s->logins, s->n_workers, err) || !ocsp_configure(s->ocsp, s->config, err) || !staples_start(s->staples, err) || !dynamics_start(s->dynamics, s, err))
		return false;
	for (i = 0; i < s->n_workers; i++) {
		struct worker *w = &s->workers[i];
		int no = pthread_create(&w->thread, NULL, worker_main, w);

		if (no != 0) {
			errno = no;
			return err_sys(err, "cannot start worker %u of %u", i + 1, s->n_workers);
		}
		w->started = true;
		(void)snprintf(name, sizeof(name), "worker-%u", i % 1000);
		(void)pthread_setname_np(w->thread, name); /* only for people who look with top */
	}
	return watch_start(s->watch, err);
}

/* ---- signals: the main thread waits for them, nobody else gets any ---- */

static bool
block_signals(sigset_t *ret, struct err *err)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	(void)sigemptyset(ret);
	(void)sigaddset(ret, SIGTERM);
	(void)sigaddset(ret, SIGINT);
	(void)sigaddset(ret, SIGHUP);
	(void)sigaddset(ret, SIGUSR1);
	(void)sigaddset(ret, SIGUSR2);
	if (sigaction(SIGPIPE, &ignore, NULL) == -1 || sigaction(SIGXFSZ, &ignore, NULL) == -1 || pthread_sigmask(SIG_BLOCK, ret, NULL) != 0)
		return err_sys(err, "cannot set signals up");
	return true;
}

static void
reload(struct server *s)
{
	notify_reloading(s);
	if (server_reload(s))
		notify_ready(s);
	else
		notify_reload_failed(s);
}

static void
wait_for_end(struct server *s, const sigset_t *set)
{
	uint64_t ms, now, flushed = 0;
	struct timespec pause;

	metrics_tick(s->counters, server_now_ms());
	for (;;) {
		int sig;

		ms = atomic_load(&s->memory.limit) > 0 ? (uint64_t)MEMORY_EVERY_MS : (uint64_t)FLUSH_EVERY_S * 1000;
		if (s->watchdog_ms > 0)
			ms = NUM_MIN(ms, NUM_MAX(s->watchdog_ms / 4, UINT64_C(1)));
		pause = (struct timespec){ .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
		sig = sigtimedwait(set, NULL, &pause);
		now = server_now_ms();
		watchdog_tick(s, now);
		memory_tick(s, now);
		metrics_tick(s->counters, now);
		if (now - flushed >= FLUSH_EVERY_S * 1000) {
			events_flush(s);
			alarm_certificates(s, false);
			tls_tickets_turn(s->tickets);
			flushed = now;
		}
		if (sig == SIGTERM || sig == SIGINT)
			return;
		if (sig == SIGHUP)
			reload(s);
		else if (sig == SIGUSR1)
			log_reopen();
		else if (sig == SIGUSR2)
			state_log(s);
	}
}

/* ---- the process ---- */

/* Into the background: the parent ends once everything that can fail at a start has not. */
bool
server_daemonize(struct err *err)
{
	pid_t pid = fork();
	int fd;

	if (pid == -1)
		return err_sys(err, "cannot go to the background");
	if (pid > 0)
		_exit(SERVER_OK);
	if (setsid() == -1)
		return err_sys(err, "cannot leave the terminal");
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd == -1)
		return err_sys(err, "cannot open /dev/null");
	(void)dup2(fd, STDIN_FILENO);
	(void)dup2(fd, STDOUT_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		(void)close(fd);
	return true;
}

bool
server_write_pid(const struct config *c, struct err *err)
{
	char where[CONFIG_PLACE_CAP], text[32];
	int fd, n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	bool ok;

	if (c->pid_file == NULL)
		return true;
	/* Often in a directory of the user that we will be, written by root: no links are
	 * followed. */
	fd = open(c->pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	ok = fd != -1 && write(fd, text, (size_t)n) == n;
	if (fd != -1)
		(void)close(fd);
	return ok || err_sys(err, "%s: pid_file: cannot write %s",
			 config_place_text(c, option_at(c->at, "pid_file"), where, sizeof(where)),
			 c->pid_file);
}

static void
say_weak_keys(const struct server *s)
{
	unsigned i;

	for (i = 0; i < s->n_listeners; i++) {
		const struct psk_file *f = s->world->listeners[i].psk;

		if (f != NULL && psk_weak(f) > 0)
			log_warning("Listener %s: %zu of %zu pre-shared keys are shorter than %d bytes: who hears one handshake can "
				    "guess them; `openssl rand -hex 32` makes a good one.",
			    s->listeners[i].config->name, psk_weak(f), psk_count(f), PSK_KEY_STRONG);
	}
}

static void
say_registration(const struct server *s)
{
	for (unsigned i = 0; i < s->n_listeners; i++)
		if ((atomic_load(&s->listeners[i].rules) & RULE_REGISTERED) != 0)
			log_notice("Listener %s: devices are refused until the control process has stated the registry.", s->listeners[i].config->name);
}

static void
say_start(const struct server *s)
{
	const struct config *c = s->config;
	unsigned i;

	log_notice("signet version %s starting.", SIGNET_VERSION);
	if (s->options.config_file != NULL)
		log_notice("Config loaded from %s.", s->options.config_file);
	if (c->listeners[0].local_only)
		log_notice("Starting in local only mode: no listener is configured, so only "
			   "clients on this machine can connect.");
	for (i = 0; i < c->n_warnings; i++)
		log_warning("%s.", c->warnings[i]);
}

/* One of the processes of `signet serve`, whose pid file and place in the background are the supervisor's. */
static bool
supervised(const struct server *s)
{
	return s->options.notify_fd > 0;
}

/* From a configuration to running threads. */
static bool
server_start(struct server *s, struct err *err)
{
	struct privileges *p = &s->privileges;
	struct logdest d;

	if (!privileges_find(s->config, p, err))
		return false;
	if ((s->config->log_dest & CONFIG_LOG_TOPIC) != 0 && (s->logtopics = logtopics_new()) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	d = (struct logdest){ s->options.daemon, p->drop ? p->uid : (uid_t)-1, p->gid, s->logtopics };
	if (!logdest_open(s->config, &d, err))
		return false;
	if (!check_config(s->config, p))
		return err_set(err, ERR_MEMORY, "out of memory");
	say_start(s);
	privileges_harden();
	if (!inherit_take(&s->inherited, err) || !server_prepare(s, err))
		return false;
	say_weak_keys(s);
	say_registration(s);
	alarm_certificates(s, true);
	if (!listen_all(s, err))
		return false;
	inherit_done(&s->inherited, true);
	if (s->options.daemon && !server_daemonize(err))
		return false;
	if ((!supervised(s) && !server_write_pid(s->config, err)) || !privileges_drop(p, err))
		return false;
	/* The kernel forgets this when the user changes. */
	if (supervised(s) && prctl(PR_SET_PDEATHSIG, SIGTERM) == -1)
		return err_sys(err, "cannot follow the supervisor");
	if (p->drop)
		log_info("Running as user %s.", p->name);
	/* The kernel resets this when the user changes. */
	privileges_harden();
	return start_threads(s, err);
}

/* With <s> zeroed but for options and configuration. */
static enum server_exit
serve(struct server *s)
{
	struct err err = { 0 };
	sigset_t set;
	bool ok;

	ok = block_signals(&set, &err) && server_start(s, &err);
	if (ok) {
		log_notice("signet version %s running with %u worker%s.", SIGNET_VERSION,
		    s->n_workers, s->n_workers == 1 ? "" : "s");
		s->watchdog_ms = supervised(s) ? s->options.watchdog_ms : watchdog_interval_ms();
		notify_ready(s);
		wait_for_end(s, &set);
		notify_stopping(s);
		log_notice("signet version %s terminating.", SIGNET_VERSION);
	} else {
		log_error("Cannot start: %s.", err.text);
	}
	server_stop(s);
	server_done(s);
	if (ok && !supervised(s) && s->config->pid_file != NULL)
		(void)unlink(
		    s->config
			->pid_file); /* may be a directory of root's, where we cannot any more */
	log_reset_sinks();
	logtopics_free(s->logtopics);
	return ok ? SERVER_OK : SERVER_FAILED;
}

enum server_exit
server_run(const struct server_options *o)
{
	struct server s = { .options = *o, .started = (int64_t)time(NULL) };
	struct err err = { 0 };
	enum server_exit code;

	s.config = config_load(o, &err);
	if (s.config == NULL) {
		log_error("%s.", err.text);
		return err.code == ERR_MEMORY ? SERVER_FAILED : SERVER_USAGE;
	}
	if (pthread_mutex_init(&s.lock, NULL) != 0) {
		config_free(s.config);
		return SERVER_FAILED;
	}
	if (pthread_mutex_init(&s.changing, NULL) != 0) {
		(void)pthread_mutex_destroy(&s.lock);
		config_free(s.config);
		return SERVER_FAILED;
	}
	code = serve(&s);
	(void)pthread_mutex_destroy(&s.changing);
	(void)pthread_mutex_destroy(&s.lock);
	config_free(s.config);
	return code;
}
