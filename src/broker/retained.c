/* Retained messages live at their topic's home; a subscription asks the one home, or all for a wildcard, and gets the answer in
 * slices that its own queues can take (3.3.1.3). */
#include <stdlib.h>
#include "broker/internal.h"

/* A wildcard walk at a home. It is found by its id; only those that can go on stand in the shard's line. */
struct scan {
	struct scan *next;
	struct retain_scan *walk;
	struct handle session;
	uint32_t id, sub_id;
	uint32_t bytes; /* that the receiver has room for; UINT32_MAX: no limit */
	uint16_t to, extra, credit; /* credit: messages that the receiver has room for; 0 = it waits */
	uint8_t qos;
	bool listed, stopped;
	bool ended, untold; /* untold: the receiver is to hear that it waits, or has ended, and has not heard it yet */
};

/* At the receiver: a scan that waits until its client has room. */
struct scan_wait {
	struct scan_wait *next;
	uint32_t id;
	uint16_t home;
};

static bool
let_go_on(struct shard *sh, const struct scan_wait *w, uint32_t credit, uint32_t bytes)
{
	return mail_post(sh, w->home, &(struct mail){ .kind = credit > 0 ? MAIL_SCAN_MORE : MAIL_SCAN_STOP, .scan = w->id,
	    .extra = (uint16_t)credit, .id = bytes });
}

unsigned
retained_home(const struct broker *b, struct slice topic)
{
	return b->n_shards == 1 ? 0 : (unsigned)(map_hash(topic) % b->n_shards);
}

bool
retained_set(struct shard *sh, struct msg *m)
{
	return mail_post(sh, retained_home(sh->broker, msg_topic(m)), &(struct mail){ .kind = MAIL_RETAIN, .msg = msg_ref(m) });
}

/* <walk>: also where there is but one topic, so that the answer waits until there is room. */
static void
ask(struct session *s, unsigned home, struct slice filter, const struct hit *h, bool walk)
{
	struct mail m = { .kind = MAIL_SCAN_NEW, .options = walk, .qos = h->qos, .extra = h->extra, .id = h->id,
		.session = session_handle(s), .text = mail_text_new(filter) };

	if (m.text != NULL && mail_post(s->shard, home, &m))
		return;
	/* What was promised with SUBACK will not come: the next connection may ask for it again. */
	s->client->starved = true;
	wake(&s->client->waker);
}

void
retained_request(struct session *s, struct slice filter, const struct hit *h)
{
	struct broker *b = s->shard->broker;

	if (!topic_has_wildcard(filter)) {
		ask(s, retained_home(b, filter), filter, h, false);
		return;
	}
	for (unsigned i = 0; i < b->n_shards; i++)
		ask(s, i, filter, h, true);
}

/* ---- at the home ---- */

static struct slice
scan_key(const void *value)
{
	return slice_of(&((const struct scan *)value)->id, sizeof(uint32_t));
}

static struct scan *
scan_find(struct shard *sh, uint32_t id)
{
	return sh->scans_by_id.key == NULL ? NULL : map_get(&sh->scans_by_id, slice_of(&id, sizeof id));
}

/* At the end of the line. */
static void
scan_list(struct shard *sh, struct scan *scan)
{
	if (scan->listed)
		return;
	scan->listed = true;
	scan->next = NULL;
	if (sh->scans == NULL)
		sh->scans = scan;
	else
		sh->last_scan->next = scan;
	sh->last_scan = scan;
	if (sh->after_turn)
		sh->broker->ports.wake(sh->broker->ports.ctx, sh->index);
}

static void
send_hit(struct shard *sh, const struct scan *scan, struct msg *m, bool walk)
{
	if (!mail_post(sh, scan->to, &(struct mail){ .kind = MAIL_SCAN_HIT, .options = walk, .qos = scan->qos, .extra = scan->extra,
		.id = scan->sub_id, .session = scan->session, .msg = msg_ref(m) }))
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
}

/* "I could send more", or "that was all". */
static bool
tell(struct shard *sh, struct scan *scan)
{
	scan->untold = !mail_post(sh, scan->to, &(struct mail){ .kind = MAIL_SCAN_PAUSE, .tries = scan->ended, .scan = scan->id,
	    .session = scan->session });
	if (scan->untold)
		sh->scans_retry = true;
	return !scan->untold;
}

static struct scan *
scan_add(struct shard *sh, const struct scan *like, struct slice filter)
{
	struct scan *scan = malloc(sizeof *scan);

	if (scan == NULL)
		return NULL;
	*scan = *like;
	if (sh->scans_by_id.key == NULL)
		map_init(&sh->scans_by_id, scan_key);
	do
		scan->id = ++sh->next_scan_id; /* 0 is nobody's */
	while (scan->id == 0 || scan_find(sh, scan->id) != NULL);
	scan->walk = sh->keep_ops->scan_new(sh->keep, filter);
	if (scan->walk != NULL && map_put(&sh->scans_by_id, scan))
		return scan;
	sh->keep_ops->scan_free(sh->keep, scan->walk);
	free(scan);
	return NULL;
}

static void
scan_drop(struct shard *sh, struct scan *scan)
{
	(void)map_del(&sh->scans_by_id, scan_key(scan));
	sh->keep_ops->scan_free(sh->keep, scan->walk);
	free(scan);
}

void
mail_scan_new(struct shard *sh, struct mail *m)
{
	struct slice filter = slice_of(m->text->text, m->text->n);
	struct scan one = { .session = m->session, .sub_id = m->id, .to = m->from, .extra = m->extra, .qos = m->qos }, *scan;
	struct msg *found;

	if (m->options == 0) {
		if ((found = sh->keep_ops->retain_get(sh->keep, filter, sh->now_s)) != NULL && source_may(sh, found))
			send_hit(sh, &one, found, false);
		return;
	}
	if ((scan = scan_add(sh, &one, filter)) == NULL)
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
	else if (!tell(sh, scan))
		scan_list(sh, scan);
}

struct progress {
	struct shard *shard;
	struct scan *scan;
	unsigned sent;
};

static void
on_hit(void *ctx, struct msg *m)
{
	struct progress *p = ctx;
	struct scan *scan = p->scan;

	if (!source_may(p->shard, m))
		return;
	p->sent++;
	if (scan->bytes != UINT32_MAX)
		scan->bytes -= (uint32_t)NUM_MIN(msg_size(m), (size_t)scan->bytes);
	send_hit(p->shard, scan, m, true);
}

/* One slice. False when there is nothing more to be said. */
static bool
scan_step(struct shard *sh, struct scan *scan)
{
	struct progress p = { sh, scan, 0 };
	/* Where bytes count, each message is looked at before the next is sent. */
	bool counted = scan->bytes != UINT32_MAX, more = true;
	unsigned hits = counted ? NUM_MIN(scan->credit, (unsigned)SCAN_COUNTED) : 1, each = counted ? 1 : scan->credit;

	if (scan->stopped)
		return false;
	if (scan->untold)
		return !(tell(sh, scan) && scan->ended);
	for (unsigned i = 0; i < hits && more && p.sent == (counted ? i : 0) && scan->bytes > 0; i++)
		more = sh->keep_ops->scan_next(sh->keep, scan->walk, each, SCAN_VISITS, sh->now_s, on_hit, &p);
	ASSERT(p.sent <= scan->credit);
	scan->credit = (uint16_t)(scan->bytes == 0 ? 0 : scan->credit - p.sent);
	scan->ended = !more;
	if (scan->ended || scan->credit == 0)
		return !(tell(sh, scan) && scan->ended);
	return true;
}

static void
stops_retry(struct shard *sh)
{
	for (struct scan_wait *w; (w = sh->scan_stops) != NULL && let_go_on(sh, w, 0, 0);) {
		sh->scan_stops = w->next;
		free(w);
	}
	sh->scans_retry = sh->scan_stops != NULL;
}

bool
scans_turn(struct shard *sh)
{
	struct scan *scan;

	if (sh->scans_retry) {
		sh->scans_retry = false;
		stops_retry(sh);
		for (struct client *c = sh->clients; c != NULL; c = c->next)
			retained_room(c);
	}
	for (unsigned i = 0; i < SCANS_A_TURN && (scan = sh->scans) != NULL; i++) {
		sh->scans = scan->next;
		scan->listed = false;
		if (scan_step(sh, scan)) {
			if (scan->credit > 0 || scan->untold)
				scan_list(sh, scan);
		} else if (!scan->listed) {
			scan_drop(sh, scan);
		}
	}
	return sh->scans != NULL && !sh->scans_retry;
}

bool
scans_wait(const struct shard *sh)
{
	return sh->scans_retry;
}

void
scans_done(struct shard *sh)
{
	size_t pos = 0;

	for (struct scan_wait *w; (w = sh->scan_stops) != NULL;) {
		sh->scan_stops = w->next;
		free(w);
	}
	if (sh->scans_by_id.key == NULL)
		return;
	for (struct scan *scan; (scan = map_next(&sh->scans_by_id, &pos)) != NULL;) {
		sh->keep_ops->scan_free(sh->keep, scan->walk);
		free(scan);
	}
	map_done(&sh->scans_by_id);
	sh->scans = NULL;
}

void
mail_scan_more(struct shard *sh, struct mail *m)
{
	struct scan *scan = scan_find(sh, m->scan);

	if (scan == NULL)
		return;
	scan->credit = m->extra;
	scan->bytes = m->id;
	scan_list(sh, scan);
}

void
mail_scan_stop(struct shard *sh, struct mail *m)
{
	struct scan *scan = scan_find(sh, m->scan);

	if (scan == NULL)
		return;
	scan->stopped = true; /* the next turn takes it out: this may be called from within its step */
	scan_list(sh, scan);
}

/* ---- at the receiver ---- */

/* Messages that may come without anything being dropped for lack of room, and bytes of them; the last may go beyond. */
static uint32_t
room(const struct client *c, uint32_t *ret_bytes)
{
	const struct broker_settings *set = settings_of(c->shard);
	const struct session *s = c->session;
	uint32_t max = set->max_queued_messages, queue = max != 0 ? (max + 1) / 2 : OUT_PACKETS_LOW;
	size_t bytes = set->max_queued_bytes;

	if (s == NULL || c->out.count >= OUT_PACKETS_LOW || s->pending.count >= queue || c->out_bytes > set->max_out_bytes / 2 ||
	    (bytes != 0 && s->pending_bytes > bytes / 2))
		return 0;
	*ret_bytes = bytes == 0 ? UINT32_MAX : (uint32_t)NUM_MIN(bytes - s->pending_bytes, (size_t)UINT32_MAX - 1);
	return NUM_MIN(queue - s->pending.count, (uint32_t)SCAN_BATCH);
}

void
mail_scan_hit(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);
	struct hit h = { .id = m->id, .extra = m->extra, .qos = m->qos };

	uint32_t bytes;

	if (s == NULL)
		return;
	/* What was sent without asking for room waits for it at its home now. */
	if (m->options == 0 && s->client != NULL && room(s->client, &bytes) == 0)
		ask(s, m->from, msg_topic(m->msg), &h, true);
	else
		session_offer_retained(s, m->msg, &h);
}

void
mail_scan_pause(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);
	struct client *c = s != NULL ? s->client : NULL;
	bool ended = m->tries != 0;
	struct scan_wait *w, one = { .id = m->scan, .home = m->from };

	/* Nobody there: what matches now is what a later subscription will ask for again. */
	if (c == NULL) {
		if (!ended)
			(void)let_go_on(sh, &one, 0, 0);
		return;
	}
	if (c->scan_active == m->scan && c->scan_home == m->from)
		c->scan_active = 0;
	if (!ended) {
		if ((w = malloc(sizeof *w)) == NULL) {
			(void)let_go_on(sh, &one, 0, 0);
			c->starved = true; /* it would miss the rest */
			wake(&c->waker);
			return;
		}
		*w = one;
		w->next = c->scan_waits;
		c->scan_waits = w;
	}
	retained_room(c);
}

/* One scan at a time, so that all of them together do not bring more than there is room for. */
void
retained_room(struct client *c)
{
	struct scan_wait *w = c->scan_waits;
	uint32_t bytes, credit = w != NULL && c->scan_active == 0 ? room(c, &bytes) : 0;

	if (credit == 0)
		return;
	c->scan_waits = w->next;
	c->scan_active = w->id;
	c->scan_home = w->home;
	if (let_go_on(c->shard, w, credit, bytes)) {
		free(w);
		return;
	}
	/* Without memory it is tried again at the next turn. */
	c->scan_active = 0;
	c->scan_waits = w;
	c->shard->scans_retry = true;
}

void
retained_forget(struct client *c)
{
	struct scan_wait *next;

	for (struct scan_wait *w = c->scan_waits; w != NULL; w = next) {
		next = w->next;
		if (let_go_on(c->shard, w, 0, 0)) {
			free(w);
			continue;
		}
		w->next = c->shard->scan_stops;
		c->shard->scan_stops = w;
		c->shard->scans_retry = true;
	}
	c->scan_waits = NULL;
}
