/* Retained messages live at their topic's home; a subscription asks the one home, or all for a wildcard, and gets the answer in
 * slices that its own queues can take (3.3.1.3). */
#include <stdlib.h>
#include "broker/internal.h"

/* A wildcard walk at a home. */
struct scan {
	struct scan *next;
	struct retain_scan *walk;
	struct handle session;
	uint32_t id, sub_id;
	uint16_t to, extra, credit; /* credit: messages that the receiver has room for; 0 = it waits */
	uint8_t qos;
	bool stopped;
};

/* At the receiver: a scan that waits until its client has room. */
struct scan_wait {
	struct scan_wait *next;
	uint32_t id;
	uint16_t home;
};

static unsigned
topic_home(const struct broker *b, struct slice topic)
{
	return b->n_shards == 1 ? 0 : (unsigned)(map_hash(topic) % b->n_shards);
}

bool
retained_set(struct shard *sh, struct msg *m)
{
	return mail_post(sh, topic_home(sh->broker, msg_topic(m)), &(struct mail){ .kind = MAIL_RETAIN, .msg = msg_ref(m) });
}

static void
ask(struct session *s, unsigned home, struct slice filter, const struct hit *h)
{
	struct mail m = { .kind = MAIL_SCAN_NEW, .qos = h->qos, .extra = h->extra, .id = h->id,
		.session = session_handle(s), .text = mail_text_new(filter) };

	if (m.text != NULL)
		(void)mail_post(s->shard, home, &m);
}

void
retained_request(struct session *s, struct slice filter, const struct hit *h)
{
	struct broker *b = s->shard->broker;

	if (!topic_has_wildcard(filter)) {
		ask(s, topic_home(b, filter), filter, h);
		return;
	}
	for (unsigned i = 0; i < b->n_shards; i++)
		ask(s, i, filter, h);
}

/* ---- at the home ---- */

static void
send_hit(struct shard *sh, const struct scan *scan, struct msg *m)
{
	(void)mail_post(sh, scan->to, &(struct mail){ .kind = MAIL_SCAN_HIT, .qos = scan->qos, .extra = scan->extra,
	    .id = scan->sub_id, .session = scan->session, .msg = msg_ref(m) });
}

/* "I could send more", or <ended>: "that was all". */
static void
tell(struct shard *sh, const struct scan *scan, bool ended)
{
	(void)mail_post(sh, scan->to, &(struct mail){ .kind = MAIL_SCAN_PAUSE, .tries = ended, .scan = scan->id,
	    .session = scan->session });
}

void
mail_scan_new(struct shard *sh, struct mail *m)
{
	struct slice filter = slice_of(m->text->text, m->text->n);
	struct scan one = { .session = m->session, .sub_id = m->id, .to = m->from, .extra = m->extra, .qos = m->qos }, *scan;
	struct msg *found;

	if (!topic_has_wildcard(filter)) {
		if ((found = sh->keep_ops->retain_get(sh->keep, filter, sh->now_s)) != NULL && source_may(sh, found))
			send_hit(sh, &one, found);
		return;
	}
	if ((scan = malloc(sizeof *scan)) == NULL)
		return;
	*scan = one;
	scan->id = ++sh->next_scan_id;
	if ((scan->walk = sh->keep_ops->scan_new(sh->keep, filter)) == NULL) {
		free(scan);
		return;
	}
	scan->next = sh->scans;
	sh->scans = scan;
	tell(sh, scan, false);
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

	if (!source_may(p->shard, m))
		return;
	p->sent++;
	send_hit(p->shard, p->scan, m);
}

/* One slice. False when the scan has ended. */
static bool
scan_step(struct shard *sh, struct scan *scan)
{
	struct progress p = { sh, scan, 0 };

	if (scan->stopped)
		return false;
	if (scan->credit == 0)
		return true;
	if (!sh->keep_ops->scan_next(sh->keep, scan->walk, scan->credit, SCAN_VISITS, sh->now_s, on_hit, &p)) {
		tell(sh, scan, true);
		return false;
	}
	ASSERT(p.sent <= scan->credit);
	scan->credit = (uint16_t)(scan->credit - p.sent);
	if (scan->credit == 0)
		tell(sh, scan, false);
	return true;
}

bool
scans_turn(struct shard *sh)
{
	bool more = false;

	for (struct scan **at = &sh->scans, *scan; (scan = *at) != NULL;) {
		if (scan_step(sh, scan)) {
			more = more || scan->credit > 0;
			at = &scan->next;
			continue;
		}
		*at = scan->next;
		sh->keep_ops->scan_free(sh->keep, scan->walk);
		free(scan);
	}
	return more;
}

void
scans_done(struct shard *sh)
{
	for (struct scan *scan = sh->scans, *next; scan != NULL; scan = next) {
		next = scan->next;
		sh->keep_ops->scan_free(sh->keep, scan->walk);
		free(scan);
	}
	sh->scans = NULL;
}

static struct scan *
scan_find(struct shard *sh, uint32_t id)
{
	struct scan *scan = sh->scans;

	while (scan != NULL && scan->id != id)
		scan = scan->next;
	return scan;
}

void
mail_scan_more(struct shard *sh, struct mail *m)
{
	struct scan *scan = scan_find(sh, m->scan);

	if (scan == NULL)
		return;
	scan->credit = m->extra;
	if (sh->after_turn)
		sh->broker->ports.wake(sh->broker->ports.ctx, sh->index);
}

void
mail_scan_stop(struct shard *sh, struct mail *m)
{
	struct scan *scan = scan_find(sh, m->scan);

	if (scan == NULL)
		return;
	scan->stopped = true; /* the next turn takes it out: this may be called from within its step */
	if (sh->after_turn)
		sh->broker->ports.wake(sh->broker->ports.ctx, sh->index);
}

/* ---- at the receiver ---- */

void
mail_scan_hit(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);
	struct hit h = { .id = m->id, .extra = m->extra, .qos = m->qos };

	if (s != NULL)
		session_offer_retained(s, m->msg, &h);
}

/* Messages that may come without anything being dropped for lack of room. */
static uint32_t
room(const struct client *c)
{
	uint32_t max = settings_of(c->shard)->max_queued_messages;
	uint32_t queue = max != 0 ? (max + 1) / 2 : OUT_PACKETS_LOW;

	if (c->session == NULL || c->out.count >= OUT_PACKETS_LOW || c->session->pending.count >= queue ||
	    c->out_bytes > settings_of(c->shard)->max_out_bytes / 2)
		return 0;
	return NUM_MIN(queue - c->session->pending.count, (uint32_t)SCAN_BATCH);
}

static void
let_go_on(struct shard *sh, unsigned home, uint32_t id, uint32_t credit)
{
	(void)mail_post(sh, home, &(struct mail){ .kind = credit > 0 ? MAIL_SCAN_MORE : MAIL_SCAN_STOP, .scan = id,
	    .extra = (uint16_t)credit });
}

void
mail_scan_pause(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);
	struct client *c = s != NULL ? s->client : NULL;
	bool ended = m->tries != 0;
	struct scan_wait *w;

	/* Nobody there: what matches now is what a later subscription will ask for again. */
	if (c == NULL) {
		if (!ended)
			let_go_on(sh, m->from, m->scan, 0);
		return;
	}
	if (c->scan_active == m->scan && c->scan_home == m->from)
		c->scan_active = 0;
	if (!ended) {
		if ((w = malloc(sizeof *w)) == NULL) {
			let_go_on(sh, m->from, m->scan, 0);
			return;
		}
		*w = (struct scan_wait){ c->scan_waits, m->scan, m->from };
		c->scan_waits = w;
	}
	retained_room(c);
}

/* One scan at a time, so that all of them together do not bring more than there is room for. */
void
retained_room(struct client *c)
{
	struct scan_wait *w = c->scan_waits;
	uint32_t credit = w != NULL && c->scan_active == 0 ? room(c) : 0;

	if (credit == 0)
		return;
	c->scan_waits = w->next;
	c->scan_active = w->id;
	c->scan_home = w->home;
	let_go_on(c->shard, w->home, w->id, credit);
	free(w);
}

void
retained_forget(struct client *c)
{
	struct scan_wait *next;

	for (struct scan_wait *w = c->scan_waits; w != NULL; w = next) {
		next = w->next;
		let_go_on(c->shard, w->home, w->id, 0);
		free(w);
	}
	c->scan_waits = NULL;
}
