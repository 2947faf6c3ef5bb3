/* Certificates of our own that are not valid. The broker serves with them, as mosquitto does: clients that do not look, and the
 * operator who comes to see what is wrong, are let in. That it is wrong is said as loudly as a log can. */
#include "server/internal.h"

#include <stdio.h>
#include <time.h>

#include "base/num.h"

enum { REPEAT_MS = 3600 * 1000 };

/* "has expired on …", "is not valid before …"; false: nothing is wrong, or there is no certificate. */
static bool
what_is_wrong(const struct world_listener *l, int64_t now, char out[64])
{
	int64_t from, until;
	char date[32] = "";
	struct tm tm;
	time_t t;

	if (l->tls == NULL || !tls_ctx_dates(l->tls, &from, &until) || (now >= from && now <= until))
		return false;
	t = (time_t)(now < from ? from : until);
	if (gmtime_r(&t, &tm) != NULL)
		(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S UTC", &tm);
	(void)snprintf(out, 64, "%s %s", now < from ? "is not valid before" : "has expired on", date);
	return true;
}

/* The main thread alone exchanges worlds. */
void
alarm_certificates(struct server *s, bool now)
{
	uint64_t now_ms = server_now_ms();
	char wrong[64];

	if (!now && now_ms < s->alarm_ms)
		return;
	s->alarm_ms = now_ms + REPEAT_MS;
	for (unsigned i = 0; i < s->n_listeners; i++)
		if (what_is_wrong(&s->world->listeners[i], (int64_t)time(NULL), wrong))
			log_error("ALARM: the broker's certificate on listener %s, %s, %s: clients that check it cannot connect. "
				  "Issue a new one, or set the clock of this machine, and send the broker a SIGHUP.",
			    s->listeners[i].config->name, s->world->listeners[i].cert_file, wrong);
}

bool
alarm_may_exchange(const struct server *s, const struct world *old, const struct world *new, struct err *err)
{
	int64_t now = (int64_t)time(NULL);
	char wrong[64], unused[64];

	for (unsigned i = 0; i < NUM_MIN(old->n, new->n); i++)
		if (what_is_wrong(&new->listeners[i], now, wrong) && !what_is_wrong(&old->listeners[i], now, unused))
			return err_set(err, ERR_INPUT, "listener %s: certfile %s %s, and the present one is valid", s->listeners[i].config->name,
			    new->listeners[i].cert_file, wrong);
	return true;
}
