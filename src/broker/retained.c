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
	uint16_t to, extra;
	uint8_t qos;
	bool paused, stopped;
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

void
mail_scan_new(struct shard *sh, struct mail *m)
{
	struct slice filter = slice_of(m->text->text, m->text->n);
	struct scan one = { .session = m->session, .sub_id = m->id, .to = m->from, .extra = m->extra, .qos = m->qos }, *scan;
	struct msg *found;

	if (!topic_has_wildcard(filter)) {
		if ((found = sh->keep_ops->retain_get(sh->keep, filter, sh->now_s)) != NULL)
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
	if (sh->after_turn)
		sh->broker->ports.wake(sh->broker->ports.ctx, sh->index);
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
	if (scan->paused)
		return true;
	if (!sh->keep_ops->scan_next(sh->keep, scan->walk, SCAN_BATCH, SCAN_VISITS, sh->now_s, on_hit, &p))
		return false;
	if (p.sent > 0) {
		scan->paused = true;
		(void)mail_post(sh, scan->to, &(struct mail){ .kind = MAIL_SCAN_PAUSE, .scan = scan->id,
		    .session = scan->session });
	}
	return true;
}

bool
scans_turn(struct shard *sh)
{
	bool more = false;

	for (struct scan **at = &sh->scans, *scan; (scan = *at) != NULL;) {
		if (scan_step(sh, scan)) {
			more = more || !scan->paused;
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
	scan->paused = false;
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

static bool
has_room(const struct client *c)
{
	uint32_t max = settings_of(c->shard)->max_queued_messages;

	return c->out.count < OUT_PACKETS_LOW &&
	    c->session->pending.count < (max != 0 ? max / 2 + 1 : OUT_PACKETS_LOW);
}

static void
go_on(struct shard *sh, unsigned home, uint32_t id, bool more)
{
	(void)mail_post(sh, home, &(struct mail){ .kind = more ? MAIL_SCAN_MORE : MAIL_SCAN_STOP, .scan = id });
}

void
mail_scan_pause(struct shard *sh, struct mail *m)
{
	struct session *s = session_of(sh, m->session);
	struct client *c = s != NULL ? s->client : NULL;
	struct scan_wait *w;

	/* Nobody there: what matches now is what a later subscription will ask for again. */
	if (c == NULL || has_room(c)) {
		go_on(sh, m->from, m->scan, c != NULL);
		return;
	}
	if ((w = malloc(sizeof *w)) == NULL) {
		go_on(sh, m->from, m->scan, false);
		return;
	}
	*w = (struct scan_wait){ c->scan_waits, m->scan, m->from };
	c->scan_waits = w;
}

static void
let_go(struct client *c, bool more)
{
	struct scan_wait *w = c->scan_waits, *next;

	c->scan_waits = NULL;
	for (; w != NULL; w = next) {
		next = w->next;
		go_on(c->shard, w->home, w->id, more);
		free(w);
	}
}

void
retained_room(struct client *c)
{
	if (c->session != NULL && has_room(c))
		let_go(c, true);
}

void
retained_forget(struct client *c)
{
	let_go(c, false);
}
