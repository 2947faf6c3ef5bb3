/* Messages that a client did not get: counted by reason and role, attributed to the client, and told in one line a client and
 * interval, however many they are. */
#include <stdlib.h>
#include "broker/internal.h"

enum {
	LINES_MAX = 20,     /* clients that are named in one interval, on each shard */
	LOOK_EVERY_MS = 1000,
};

/* Of a session that has lost messages lately. */
struct drop_note {
	struct session *session;
	struct drop_note *next, **prev;
	uint64_t next_ms;               /* when it may be told of again */
	uint32_t counts[BROKER_DROPS];  /* since it was told of */
	bool fresh;                     /* since the last time it was looked at */
};

static const char *const names[] = { [BROKER_DROP_QUEUE] = "queue-full", [BROKER_DROP_QUEUE_BYTES] = "queue-bytes",
	[BROKER_DROP_SLOW] = "slow", [BROKER_DROP_RATE] = "rate", [BROKER_DROP_SIZE] = "packet-size",
	[BROKER_DROP_SHED] = "memory-limit", [BROKER_DROP_BACKLOG] = "overload", [BROKER_DROP_NO_MEMORY] = "no-memory" };
_Static_assert(ARRAY_LEN(names) == BROKER_DROPS, "each reason has a name");

const char *
broker_drop_name(enum broker_drop why)
{
	return names[why];
}

static void
tell(struct shard *sh, struct broker_event *e)
{
	e->kind = BROKER_DROPPING;
	e->peer = "";
	e->text = "";
	sh->broker->ports.event(sh->broker->ports.ctx, e);
}

/* A line for this session, unless there were many. */
static void
tell_note(struct drop_note *d)
{
	struct session *s = d->session;
	struct shard *sh = s->shard;
	struct broker_event e = { .client_id = session_id(s), .who = s->who, .listener = s->listener, .drops = d->counts,
		.drops_total = s->n_dropped };

	d->next_ms = sh->now_ms + (uint64_t)settings_of(sh)->drop_log_s * 1000;
	if (sh->drop_lines == LINES_MAX)
		sh->drops_untold++;
	else {
		sh->drop_lines++;
		tell(sh, &e);
	}
	memset(d->counts, 0, sizeof d->counts);
	d->fresh = false;
}

static struct drop_note *
note_of(struct session *s)
{
	struct shard *sh = s->shard;
	struct drop_note *d = s->drops;

	if (d != NULL || (d = calloc(1, sizeof *d)) == NULL)
		return d;
	if (sh->drop_notes == NULL)
		sh->drops_ms = sh->now_ms + LOOK_EVERY_MS;
	*d = (struct drop_note){ .session = s, .next = sh->drop_notes, .prev = &sh->drop_notes };
	if (d->next != NULL)
		d->next->prev = &d->next;
	sh->drop_notes = d;
	s->drops = d;
	return d;
}

static void
note_free(struct drop_note *d)
{
	d->session->drops = NULL;
	*d->prev = d->next;
	if (d->next != NULL)
		d->next->prev = d->prev;
	free(d);
}

void
shard_dropped(struct shard *sh, enum broker_drop why)
{
	stat_add(sh, dropped, 1);
	stat_add(sh, drops[why][AUTHZ_ROLE_NONE], 1);
}

void
session_dropped(struct session *s, enum broker_drop why)
{
	struct shard *sh = s->shard;
	struct drop_note *d = note_of(s);

	stat_add(sh, dropped, 1);
	stat_add(sh, drops[why][s->who != NULL ? authz_principal_role(s->who) : AUTHZ_ROLE_NONE], 1);
	s->n_dropped += s->n_dropped < UINT32_MAX;
	if (d == NULL) /* counted, but nobody can be told whose they were */
		return;
	d->counts[why] += d->counts[why] < UINT32_MAX;
	d->fresh = true;
	if (d->next_ms == 0)
		tell_note(d);
}

void
drops_forget(struct session *s)
{
	if (s->drops == NULL)
		return;
	if (s->drops->fresh && !s->shard->closing)
		tell_note(s->drops);
	note_free(s->drops);
}

/* Tell what is due; who has lost nothing for an interval is no case any more. */
void
drops_turn(struct shard *sh)
{
	if (sh->drop_notes == NULL || sh->now_ms < sh->drops_ms)
		return;
	sh->drops_ms = sh->now_ms + LOOK_EVERY_MS;
	if (sh->now_ms >= sh->drop_lines_ms) {
		struct broker_event e = { .drops_clients = sh->drops_untold };

		if (sh->drops_untold > 0)
			tell(sh, &e);
		sh->drops_untold = sh->drop_lines = 0;
		sh->drop_lines_ms = sh->now_ms + (uint64_t)settings_of(sh)->drop_log_s * 1000;
	}
	for (struct drop_note *d = sh->drop_notes, *next; d != NULL; d = next) {
		next = d->next;
		if (sh->now_ms < d->next_ms)
			continue;
		if (d->fresh)
			tell_note(d);
		else
			note_free(d);
	}
}

uint64_t
drops_wait(const struct shard *sh)
{
	if (sh->drop_notes == NULL)
		return UINT64_MAX;
	return sh->drops_ms > sh->now_ms ? sh->drops_ms - sh->now_ms : 0;
}
