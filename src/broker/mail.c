/* Letters between shards: gathered in a batch per receiver, pushed once a turn, carried out by the receiver's turn. */
#include <stdlib.h>
#include "broker/internal.h"

enum { BATCH_FIRST = 30, BATCH_MAX = 1 << 16 };

/* Whoever waits for the letter that a letter came of waits for this one, too. */
struct heir {
	struct heir *next;
	struct store_part *part;
	uint64_t seq; /* which batch of letters it came of */
};

struct batch {
	struct inbox_node node;
	uint32_t n, cap;
	size_t bytes;
	struct store_part *part; /* of the turn that waits for what these letters bring; or NULL */
	struct heir *heirs;
	struct mail v[];
};

/* What a letter keeps in memory until it is carried out. */
static size_t
mail_size(const struct mail *m)
{
	return sizeof *m + (m->msg != NULL ? msg_size(m->msg) : 0) + (m->text != NULL ? m->text->n : 0);
}

static void
mail_release(struct mail *m)
{
	msg_unref(m->msg);
	free(m->text);
}

struct mail_text *
mail_text_new(struct slice s)
{
	struct mail_text *t = s.n > UINT32_MAX / 2 ? NULL : malloc(sizeof *t + s.n);

	if (t == NULL)
		return NULL;
	*t = (struct mail_text){ .n = (uint32_t)s.n };
	memcpy(t->text, s.p, s.n);
	return t;
}

/* Letters that change or ask for retained messages go to all receivers before any other letter goes to anybody. So a message
 * that a topic's home keeps only after a walk has begun there reaches the walk's subscriber live: it is sent out after it
 * reached the home, which is after the walk came there, which is after the subscription was made. */
static bool
goes_first(enum mail_kind kind)
{
	return kind == MAIL_RETAIN || kind == MAIL_SCAN_NEW;
}

/* Room for one more letter. A full batch goes off at once, so that a flood does not become one huge block. <to>: an index
 * into the outboxes. */
static struct batch *
batch_room(struct shard *sh, unsigned to)
{
	struct batch *b = sh->outboxes[to], *bigger;
	uint32_t cap = b == NULL ? BATCH_FIRST : b->cap * 2;

	if (b != NULL && b->n < b->cap)
		return b;
	if (b != NULL && b->cap >= BATCH_MAX && !journal_on(&sh->journal)) {
		mail_flush(sh);
		return batch_room(sh, to);
	}
	if ((bigger = realloc(b, sizeof *b + cap * sizeof(struct mail))) == NULL)
		return NULL;
	if (b == NULL)
		*bigger = (struct batch){ .part = NULL };
	bigger->cap = cap;
	sh->outboxes[to] = bigger;
	sh->outbox_large = sh->outbox_large || cap > BATCH_MAX;
	return bigger;
}

void
mail_send(struct shard *sh)
{
	struct broker *b = sh->broker;

	if (!sh->outbox_dirty)
		return;
	sh->outbox_dirty = sh->outbox_large = false;
	sh->flushes++;
	for (unsigned i = 0; i < OUTBOXES * b->n_shards; i++) {
		struct shard *to = b->shards[i % b->n_shards];
		struct batch *batch = sh->outboxes[i];

		if (batch == NULL)
			continue;
		sh->outboxes[i] = NULL;
		atomic_fetch_add_explicit(&to->backlog, batch->bytes, memory_order_relaxed);
		if (inbox_push(&to->inbox, &batch->node))
			b->ports.wake(b->ports.ctx, to->index);
	}
}

void
mail_flush(struct shard *sh)
{
	if (journal_on(&sh->journal))
		store_submit(sh->journal.writer);
	mail_send(sh);
}

void
mail_relieve(struct shard *sh)
{
	if (sh->outbox_large)
		mail_flush(sh);
}

static void
mail_publish(struct shard *sh, struct mail *m)
{
	bool begun = journal_begin(sh, m->msg);
	uint64_t mark = sh->journal.marks;

	(void)route_message(sh, m->msg, false);
	once_here(sh, m->msg, mark);
	journal_finish(sh, begun);
}

static void
mail_retain(struct shard *sh, struct mail *m)
{
	struct msg *old = journal_on(&sh->journal) ? sh->keep_ops->retain_get(sh->keep, msg_topic(m->msg), sh->now_s) : NULL;
	bool begun = journal_begin(sh, m->msg);

	if (!journal_retained(sh, m->msg, old) || !sh->keep_ops->retain_set(sh->keep, m->msg))
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
	journal_finish(sh, begun);
}

static mail_fn *const handlers[MAIL_KINDS] = {
	[MAIL_PUBLISH] = mail_publish,
	[MAIL_RETAIN] = mail_retain,
	[MAIL_SHARE_JOIN] = mail_share_join,
	[MAIL_SHARE_LEAVE] = mail_share_leave,
	[MAIL_SHARE_ONLINE] = mail_share_status,
	[MAIL_SHARE_OFFLINE] = mail_share_status,
	[MAIL_SHARE_DELIVER] = mail_share_deliver,
	[MAIL_SHARE_AGAIN] = mail_share_again,
	[MAIL_SHARE_RETURN] = mail_share_return,
	[MAIL_SHARE_LOST] = mail_share_lost,
	[MAIL_SCAN_NEW] = mail_scan_new,
	[MAIL_SCAN_HIT] = mail_scan_hit,
	[MAIL_SCAN_PAUSE] = mail_scan_pause,
	[MAIL_SCAN_MORE] = mail_scan_more,
	[MAIL_SCAN_STOP] = mail_scan_stop,
	[MAIL_ONCE] = mail_once,
};

/* Does whoever waits for this turn wait for what the receiver writes, too? */
static bool
is_promise(const struct shard *sh, unsigned to, const struct mail *m)
{
	const struct broker *b = sh->broker;
	bool kept = false, anywhere;

	if (!journal_on(&sh->journal) || m->msg == NULL || m->kind == MAIL_SCAN_HIT || (m->msg->qos == 0 && m->kind != MAIL_RETAIN))
		return false;
	if (m->kind == MAIL_RETAIN)
		return m->msg->qos > 0;
	/* The home of a share group hands the message on. */
	anywhere = m->kind != MAIL_PUBLISH || atomic_load_explicit(&b->shards[to]->journal.members, memory_order_acquire) > 0;
	for (unsigned i = 0; i < b->n_shards && !kept; i++)
		kept = (i == to || anywhere) &&
		       atomic_load_explicit(&b->shards[i]->journal.kept, memory_order_acquire) > 0;
	return kept;
}

static void
outbox_touched(struct shard *sh)
{
	if (!sh->outbox_dirty && sh->after_turn)
		sh->broker->ports.wake(sh->broker->ports.ctx, sh->index);
	sh->outbox_dirty = true;
}

static bool
inherit_one(const struct shard *sh, struct batch *b, const struct store_part *p)
{
	struct heir *h = malloc(sizeof *h);

	if (h == NULL || (h->part = store_share(p)) == NULL) {
		free(h);
		return false;
	}
	h->seq = sh->carried_seq;
	h->next = b->heirs;
	b->heirs = h;
	return true;
}

static bool
inherit(const struct shard *sh, struct batch *b)
{
	const struct batch *from = sh->carried;

	if (from == NULL || (b->heirs != NULL && b->heirs->seq == sh->carried_seq))
		return true;
	if (from->part != NULL && !inherit_one(sh, b, from->part))
		return false;
	for (const struct heir *h = from->heirs; h != NULL; h = h->next)
		if (!inherit_one(sh, b, h->part))
			return false;
	return true;
}

static void
join_all(struct shard *sh, struct batch *b)
{
	if (b->part != NULL)
		store_join(sh->journal.writer, b->part);
	for (struct heir *h = b->heirs, *next; h != NULL; h = next) {
		next = h->next;
		store_join(sh->journal.writer, h->part);
		free(h);
	}
}

/* The batch for <m> with room for it, and a part in what this turn's promises wait for if it is one. NULL: out of memory. */
static struct batch *
batch_for(struct shard *sh, unsigned to, const struct mail *m)
{
	struct batch *b = batch_room(sh, goes_first(m->kind) ? to : to + sh->broker->n_shards);

	if (b == NULL || !is_promise(sh, to, m))
		return b;
	if (b->part == NULL && (b->part = store_claim(sh->journal.writer)) == NULL)
		return NULL;
	if (!inherit(sh, b))
		return NULL;
	sh->journal.marks++;
	sh->journal.once.spread = true;
	/* Even if nothing is written into it: the part must be joined. */
	outbox_touched(sh);
	return b;
}

bool
mail_room(struct shard *sh, unsigned to, const struct mail *m)
{
	return batch_for(sh, to, m) != NULL;
}

bool
mail_post(struct shard *sh, unsigned to, const struct mail *m)
{
	struct mail copy = *m;
	struct batch *b;

	copy.from = (uint16_t)sh->index;
	/* To itself there is nothing to wait for; the handlers are written for it. */
	if (to == sh->index && !sh->closing) {
		handlers[m->kind](sh, &copy);
		mail_release(&copy);
		return true;
	}
	if (m->kind == MAIL_PUBLISH && m->msg->qos == 0 && throttle_is_full(sh->broker, to)) {
		shard_dropped(sh, BROKER_DROP_BACKLOG);
		mail_release(&copy);
		return false;
	}
	if (sh->closing || (b = batch_for(sh, to, m)) == NULL) {
		mail_release(&copy);
		return false;
	}
	b->v[b->n++] = copy;
	b->bytes += mail_size(&copy);
	outbox_touched(sh);
	return true;
}

static void
read_all(struct shard *sh, bool carry_out)
{
	struct inbox_node *node = inbox_take(&sh->inbox);

	while (node != NULL) {
		struct batch *b = (struct batch *)node;

		node = node->next;
		sh->carried = b;
		sh->carried_seq++;
		for (uint32_t i = 0; i < b->n; i++) {
			struct mail *m = &b->v[i];

			if (carry_out)
				handlers[m->kind](sh, m);
			mail_release(m);
		}
		sh->carried = NULL;
		join_all(sh, b);
		atomic_fetch_sub_explicit(&sh->backlog, b->bytes, memory_order_relaxed);
		free(b);
	}
}

void
mail_take(struct shard *sh)
{
	read_all(sh, true);
}

void
mail_carry(struct broker *b)
{
	bool more = true;

	while (more) {
		more = false;
		for (unsigned i = 0; i < b->n_shards; i++) {
			more = more || b->shards[i]->outbox_dirty;
			mail_flush(b->shards[i]);
		}
		for (unsigned i = 0; more && i < b->n_shards; i++)
			mail_take(b->shards[i]);
	}
}

void
mail_done(struct shard *sh)
{
	read_all(sh, false);
	for (unsigned i = 0; sh->outboxes != NULL && i < OUTBOXES * sh->broker->n_shards; i++) {
		struct batch *b = sh->outboxes[i];

		sh->outboxes[i] = NULL;
		for (uint32_t k = 0; b != NULL && k < b->n; k++)
			mail_release(&b->v[k]);
		if (b != NULL)
			join_all(sh, b);
		free(b);
	}
}
