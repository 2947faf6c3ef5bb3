/* Who has stopped saying how he is. SpringCore's devices say it at an interval, also when nothing has changed; whose last word was that he is
 * online, and who has missed two of them, is stale: his session may stand, but nobody should believe his state any more. All have the same
 * time, so the one who spoke longest ago stands first, and nobody else is ever looked at. */
#include "api/stale.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/presence.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"

enum { MISSED = 2, AT_ONCE = 500, AGAIN_MS = 5000 };

struct beat {
	struct beat *prev, *next; /* in the order in which they are due */
	int64_t due_ms;
	size_t cn_n;
	char cn[];
};
struct stale {
	struct map beats;
	struct beat *first, *last;
	struct event *due, *adopt;
	int64_t at;               /* of the registry's list of those who are expected */
	bool hearing;
};

static void
after_ms(struct event *ev, int64_t ms)
{
	const struct timeval tv = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	(void)evtimer_add(ev, &tv);
}

static struct slice
cn_of(const struct beat *b)
{
	return slice_of(b->cn, b->cn_n);
}

static struct slice
key_of(const void *v)
{
	return cn_of(v);
}

static int64_t
patience_ms(const struct api *a)
{
	return (int64_t)a->config->status_interval_s * MISSED * 1000;
}

/* ---- the queue ---- */

static void
take_out(struct stale *s, struct beat *b)
{
	if (b->prev != NULL)
		b->prev->next = b->next;
	else
		s->first = b->next;
	if (b->next != NULL)
		b->next->prev = b->prev;
	else
		s->last = b->prev;
}

static void
put_last(struct stale *s, struct beat *b, int64_t due_ms)
{
	b->due_ms = due_ms;
	b->next = NULL;
	b->prev = s->last;
	if (s->last != NULL)
		s->last->next = b;
	else
		s->first = b;
	s->last = b;
}

static void
arm(struct stale *s)
{
	if (s->first == NULL || !s->hearing)
		(void)evtimer_del(s->due);
	else if (!evtimer_pending(s->due, NULL))
		after_ms(s->due, NUM_MAX(s->first->due_ms - clock_ms(), (int64_t)0));
}

void
stale_expect(struct api *a, struct slice cn)
{
	struct stale *s = a->stale;
	struct beat *b;

	if (patience_ms(a) == 0)
		return;
	b = map_get(&s->beats, cn);
	if (b != NULL) {
		take_out(s, b);
	} else {
		b = malloc(sizeof(*b) + cn.n);
		if (b == NULL)
			return;
		*b = (struct beat){ .cn_n = cn.n };
		memcpy(b->cn, cn.p, cn.n);
		if (!map_put(&s->beats, b)) {
			free(b);
			return;
		}
	}
	put_last(s, b, clock_ms() + patience_ms(a));
	arm(s);
}

void
stale_forget(struct api *a, struct slice cn)
{
	struct beat *b = map_del(&a->stale->beats, cn);

	if (b != NULL)
		take_out(a->stale, b);
	free(b);
}

bool
stale_expects(const struct api *a, struct slice cn)
{
	return map_get(&a->stale->beats, cn) != NULL;
}

static void
on_due(evutil_socket_t fd, short what, void *ctx)
{
	struct api *a = ctx;
	struct stale *s = a->stale;
	int64_t now = clock_ms();
	struct beat *b;

	(void)fd;
	(void)what;
	for (unsigned n = 0; n < AT_ONCE && (b = s->first) != NULL && b->due_ms <= now; n++) {
		(void)map_del(&s->beats, cn_of(b));
		take_out(s, b);
		presence_stale(a, cn_of(b));
		free(b);
	}
	arm(s);
}

/* ---- what an earlier process expected ---- */

static bool
adopt_one(void *ctx, struct slice cn)
{
	if (!stale_expects(ctx, cn))
		stale_expect(ctx, cn);
	return true;
}

static void
on_adopt(evutil_socket_t fd, short what, void *ctx)
{
	struct api *a = ctx;
	struct err err;
	bool ok;

	(void)fd;
	(void)what;
	presence_flush(a);
	ok = registry_presence_expected(a->registry, &a->stale->at, AT_ONCE, adopt_one, a, &err);
	if (!ok)
		log_warning("The registry cannot say whose status messages are expected: %s; it is asked again.", err.text);
	if (!ok || a->stale->at != 0)
		after_ms(a->stale->adopt, ok ? 0 : AGAIN_MS);
}

void
stale_hear(struct api *a)
{
	struct stale *s = a->stale;
	int64_t due;

	if (patience_ms(a) == 0)
		return;
	due = clock_ms() + patience_ms(a);
	for (struct beat *b = s->first; b != NULL; b = b->next)
		b->due_ms = due;
	(void)evtimer_del(s->due);
	s->hearing = true;
	arm(s);
	s->at = 0;
	after_ms(s->adopt, 0);
}

void
stale_deaf(struct api *a)
{
	a->stale->hearing = false;
	arm(a->stale);
}

bool
stale_open(struct api *a, struct err *err)
{
	struct stale *s = a->stale = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	map_init(&s->beats, key_of);
	s->due = evtimer_new(a->base, on_due, a);
	s->adopt = evtimer_new(a->base, on_adopt, a);
	return (s->due != NULL && s->adopt != NULL) || err_set(err, ERR_MEMORY, "out of memory");
}

void
stale_close(struct api *a)
{
	struct stale *s = a->stale;

	if (s == NULL)
		return;
	for (struct beat *b = s->first, *next; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	map_done(&s->beats);
	if (s->due != NULL)
		event_free(s->due);
	if (s->adopt != NULL)
		event_free(s->adopt);
	free(s);
	a->stale = NULL;
}
