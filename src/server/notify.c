/* What the service manager (systemd) is told: that we are ready, that we reload, that we stop, and
 * that the workers turn. Without it, or built without libsystemd, all of this is silence. */
#include "server/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/num.h"

#if SIGNET_SYSTEMD
#include <systemd/sd-daemon.h>
#else
static int
sd_notify(int unset, const char *text)
{
	(void)unset;
	(void)text;
	return 0;
}

static int
sd_watchdog_enabled(int unset, uint64_t *ret_us)
{
	(void)unset;
	*ret_us = 0;
	return 0;
}
#endif

/* A message that does not arrive cannot be helped: the manager's own time limits decide then. */
void
notify_text(const char *text)
{
	(void)sd_notify(0, text);
}

/* To the supervisor of `signet serve`, which tells the manager, or to the manager. */
static void
say(const struct server *s, const char *text)
{
	if (s != NULL && s->options.notify_fd > 0)
		(void)send(s->options.notify_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
	else
		notify_text(text);
}

void
notify_ready(const struct server *s)
{
	char text[160];

	(void)snprintf(text, sizeof(text), "READY=1\nSTATUS=Running: %u listener%s, %u worker%s.", s->n_listeners,
	    s->n_listeners == 1 ? "" : "s", s->n_workers, s->n_workers == 1 ? "" : "s");
	say(s, text);
}

void
notify_reloading(const struct server *s)
{
	char text[160];

	/* The time is for Type=notify-reload: it tells this reload from one before. */
	(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "000\nSTATUS=Reloading.", server_now_ms());
	say(s, text);
}

void
notify_reload_failed(const struct server *s)
{
	say(s, "READY=1\nSTATUS=Running as before: the last reload failed, the log says why.");
}

void
notify_stopping(const struct server *s)
{
	say(s, "STOPPING=1\nSTATUS=Stopping.");
}

/* ---- the watchdog ---- */

uint64_t
watchdog_interval_ms(void)
{
	uint64_t us = 0;

	/* Less than a millisecond would be no interval at all. */
	return sd_watchdog_enabled(0, &us) > 0 ? NUM_MAX(us / 1000, UINT64_C(1)) : 0;
}

/* Ask for a turn, or look how long ago that was. A flag that is written only when somebody asks
 * costs the turn a read; a counter would cost every turn a write beside what other workers read. */
static bool
worker_turns(struct worker *w, uint64_t now_ms, uint64_t limit_ms)
{
	if (!atomic_load(&w->asked)) {
		if (w->late)
			log_notice("Worker %u turns again.", w->index);
		w->late = false;
		w->asked_ms = now_ms;
		atomic_store(&w->asked, true);
		loop_wake(w->loop);
		return true;
	}
	if (now_ms - w->asked_ms <= limit_ms)
		return true;
	if (!w->late)
		log_error("Worker %u has been busy with one turn for %" PRIu64
			  " ms; the watchdog gets no sign of life until it is done.",
		    w->index, now_ms - w->asked_ms);
	w->late = true;
	return false;
}

void
watchdog_tick(struct server *s, uint64_t now_ms)
{
	bool all = true;
	unsigned i;

	if (s->watchdog_ms == 0)
		return;
	for (i = 0; i < s->n_workers; i++)
		all = worker_turns(&s->workers[i], now_ms, s->watchdog_ms / 2) && all;
	if (all)
		say(s, "WATCHDOG=1");
}
