/* Certificates of our own that are not valid. The broker serves with them, as mosquitto does: clients that do not look, and the
 * operator who comes to see what is wrong, are let in. That it is wrong is said as loudly as a log can. */
#include "server/internal.h"

#include <stdio.h>
#include <time.h>

#include "base/map.h"
#include "base/num.h"
#include "base/text.h"

enum {
	LOOK_MS = 60 * 1000,
	REPEAT_MS = 3600 * 1000,
	SOON_S = 14 * 86400,
	SOON_PART = 10, /* of its time: short-lived ones are renewed late, too */
	CA_SOON_S = 60 * 86400,
};

/* "has expired on …", "is not valid before …"; false: nothing is wrong, or there is no certificate. */
static bool
what_is_wrong(const struct world_listener *l, int64_t now, char out[64])
{
	int64_t from, until;
	char date[32];

	if (l->tls == NULL || !tls_ctx_dates(l->tls, &from, &until) || (now >= from && now <= until))
		return false;
	(void)snprintf(out, 64, "%s %s", now < from ? "is not valid before" : "has expired on", text_when(now < from ? from : until, date));
	return true;
}

static void
raise_one(struct server *s, enum alarm_kind kind, uint64_t key, int64_t until, const char *text)
{
	const struct alarm a = { .source = ALARMS_OF_CERTIFICATES, .kind = kind, .error = until <= (int64_t)time(NULL), .key = key, .text = text };

	/* What is wrong with our own is said below, at every start and reload. */
	if (a.error && kind == ALARM_CERTIFICATE)
		(void)board_raise(s->board, &a);
	else
		board_say(s->board, &a);
}

/* One certificate, on however many listeners it is, is one alarm. */
static void
look_at_own(struct server *s, unsigned i, int64_t now)
{
	const struct world_listener *l = &s->world->listeners[i];
	const char *file = l->cert_file != NULL ? l->cert_file : "";
	int64_t from, until;
	char text[512], wrong[64], date[32];

	if (l->tls == NULL || !tls_ctx_dates(l->tls, &from, &until))
		return;
	if (what_is_wrong(l, now, wrong))
		(void)snprintf(text, sizeof(text), "the broker's certificate %s %s: clients that check it cannot connect", file, wrong);
	else if (until - now < NUM_MIN((until - from) / SOON_PART, (int64_t)SOON_S))
		(void)snprintf(text, sizeof(text), "the broker's certificate %s ends on %s", file, text_when(until, date));
	else
		return;
	raise_one(s, ALARM_CERTIFICATE, map_hash(slice_str(file)), now < from ? now : until, text);
}

static void
look_at_ca(void *ctx, const struct pki_ca_facts *c)
{
	int64_t now = (int64_t)time(NULL);
	char text[512], date[32];

	if (c->not_after - now >= CA_SOON_S)
		return;
	(void)snprintf(text, sizeof(text), "the certificate of CA %.300s %s on %s; clients with certificates of it are refused from then on", c->subject,
	    c->not_after <= now ? "ended" : "ends", text_when(c->not_after, date));
	raise_one(ctx, ALARM_CA, map_hash(slice_str(c->serial_hex)) ^ map_hash(slice_str(c->subject)), c->not_after, text);
}

void
alarm_certificates(struct server *s, bool now)
{
	uint64_t now_ms = server_now_ms();
	char wrong[64];

	if (!now && now_ms < s->alarm_ms)
		return;
	now = now || now_ms >= s->alarm_log_ms;
	s->alarm_ms = now_ms + LOOK_MS;
	if (now)
		s->alarm_log_ms = now_ms + REPEAT_MS;
	/* The main thread alone exchanges worlds, but for what is trusted, which watch.c does: of that a reference. */
	for (unsigned i = 0; i < s->n_listeners; i++) {
		struct pki_trust *trust = judge_trust(&s->judges[i]);

		look_at_own(s, i, (int64_t)time(NULL));
		if (trust != NULL)
			pki_trust_cas(trust, look_at_ca, s);
		pki_trust_unref(trust);
		if (now && what_is_wrong(&s->world->listeners[i], (int64_t)time(NULL), wrong))
			log_error("ALARM: the broker's certificate on listener %s, %s, %s: clients that check it cannot connect. "
				  "Issue a new one, or set the clock of this machine, and send the broker a SIGHUP.",
			    s->listeners[i].config->name, s->world->listeners[i].cert_file, wrong);
	}
	(void)board_settle(s->board, ALARMS_OF_CERTIFICATES);
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
