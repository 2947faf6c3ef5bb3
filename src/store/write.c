/* A worker's side: what it puts in a turn goes into a buffer of its own, which it hands over without waiting. */
#include <stdlib.h>
#include "base/assert.h"
#include "base/num.h"
#include "store/internal.h"

enum { BATCH_MIN = 16 * 1024, BATCH_KEEP = 1024 * 1024, IDLE_MAX = 4, ID_CHUNK = 1024 };

struct store_writer *
store_writer(struct store *s, unsigned index)
{
	return &s->writers[index];
}

uint64_t
store_id(struct store_writer *w)
{
	if (w->id == w->id_end) {
		w->id = atomic_fetch_add_explicit(&w->store->next_id, ID_CHUNK, memory_order_relaxed);
		w->id_end = w->id + ID_CHUNK;
	}
	return w->id++;
}

/* ---- tickets ---- */

static void
wake(const struct store_writer *w)
{
	const struct store_options *o = &w->store->o;

	if (o->wake != NULL)
		o->wake(o->ctx, w->index);
}

void
ticket_part(struct ticket *t, bool defer)
{
	struct store_writer *w = t->writer; /* the ticket may be gone in a moment */

	if (atomic_fetch_sub_explicit(&t->parts, 1, memory_order_acq_rel) != 1)
		return;
	if (defer)
		w->wake = true;
	else
		wake(w);
}

static bool
turn_begin(struct store_writer *w)
{
	if (w->turn != NULL)
		return true;
	if ((w->turn = malloc(sizeof *w->turn)) == NULL)
		return false;
	*w->turn = (struct ticket){ .parts = 1, .seq = w->seq, .writer = w };
	return true;
}

uint64_t
store_seq(const struct store_writer *w)
{
	return w->seq;
}

uint64_t
store_durable(struct store_writer *w)
{
	struct ticket *t;

	while ((t = w->first) != NULL && atomic_load_explicit(&t->parts, memory_order_acquire) == 0) {
		w->durable = t->seq;
		if ((w->first = t->next) == NULL)
			w->last = &w->first;
		free(t);
	}
	return w->durable;
}

struct store_part *
store_claim(struct store_writer *w)
{
	struct store_part *p = malloc(sizeof *p);

	if (p == NULL || !turn_begin(w)) {
		free(p);
		return NULL;
	}
	*p = (struct store_part){ .ticket = w->turn };
	atomic_fetch_add_explicit(&w->turn->parts, 1, memory_order_relaxed);
	return p;
}

struct store_part *
store_share(const struct store_part *p)
{
	struct store_part *more = malloc(sizeof *more);

	if (more == NULL)
		return NULL;
	*more = (struct store_part){ .ticket = p->ticket };
	atomic_fetch_add_explicit(&p->ticket->parts, 1, memory_order_relaxed);
	return more;
}

void
store_join(struct store_writer *w, struct store_part *p)
{
	if (w->batch != NULL && w->batch->n > 0) {
		p->next = w->batch->parts;
		w->batch->parts = p;
		return;
	}
	ticket_part(p->ticket, false);
	free(p);
}

/* ---- records ---- */

void
batch_free(struct batch *b)
{
	if (b != NULL)
		free(b->bytes);
	free(b);
}

static struct batch *
batch_new(struct store_writer *w)
{
	struct inbox_node *back = w->idle == NULL ? inbox_take(&w->done) : NULL;
	unsigned idle = 0;
	struct batch *b;

	for (struct inbox_node *next; back != NULL; back = next) {
		next = back->next;
		b = (struct batch *)(void *)back;
		if (b->cap > BATCH_KEEP || ++idle > IDLE_MAX) {
			batch_free(b);
			continue;
		}
		b->next = w->idle;
		w->idle = b;
	}
	if ((b = w->idle) != NULL)
		w->idle = b->next;
	else if ((b = calloc(1, sizeof *b)) == NULL)
		return NULL;
	*b = (struct batch){ .writer = w, .cap = b->cap, .bytes = b->bytes };
	return b;
}

/* Room for <n> more bytes in this turn's batch; NULL: out of memory. */
static uint8_t *
room(struct store_writer *w, size_t n)
{
	struct batch *b = w->batch;
	size_t cap;
	uint8_t *p;

	if (!turn_begin(w) || (b == NULL && (b = w->batch = batch_new(w)) == NULL))
		return NULL;
	if (b->cap - b->n >= n)
		return b->bytes + b->n;
	if (!num_mul(NUM_MAX(b->cap, (size_t)BATCH_MIN), 2u, &cap) || (cap < b->n + n && !num_add(b->n, n, &cap)))
		return NULL;
	if ((p = realloc(b->bytes, cap)) == NULL)
		return NULL;
	b->bytes = p;
	b->cap = cap;
	return p + b->n;
}

static void
copy(uint8_t *p, struct slice s)
{
	if (s.n > 0)
		memcpy(p, s.p, s.n);
}

bool
store_put(struct store_writer *w, const struct store_record *r)
{
	struct record rec = { .op = OP_PUT, .kind = r->kind, .id = r->id, .ref = r->ref };
	size_t n = r->head.n + r->bytes.n;
	uint8_t *p;

	ASSERT(r->id != 0);
	if (r->head.n > STORE_RECORD_MAX || r->bytes.n > STORE_RECORD_MAX || n > STORE_RECORD_MAX ||
	    (p = room(w, RECORD_PUT + n)) == NULL)
		return false;
	copy(p + RECORD_PUT, r->head);
	copy(p + RECORD_PUT + r->head.n, r->bytes);
	rec.n = (uint32_t)n;
	record_put(p, &rec);
	w->batch->n += RECORD_PUT + n;
	w->batch->records++;
	return true;
}

bool
store_del(struct store_writer *w, uint8_t kind, uint64_t id)
{
	uint8_t *p = room(w, RECORD_SHORT);

	if (p == NULL)
		return false;
	record_put(p, &(struct record){ .op = OP_DEL, .kind = kind, .id = id });
	w->batch->n += RECORD_SHORT;
	w->batch->records++;
	return true;
}

void
store_submit(struct store_writer *w)
{
	struct ticket *t = w->turn;
	struct batch *b = w->batch;

	if (t == NULL)
		return;
	w->turn = NULL;
	w->seq++;
	*w->last = t;
	w->last = &t->next;
	if (b == NULL || b->n == 0) {
		ticket_part(t, false);
		return;
	}
	w->batch = NULL;
	b->ticket = t;
	atomic_fetch_add_explicit(&w->store->backlog, b->n, memory_order_relaxed);
	if (inbox_push(&w->store->inbox, &b->node))
		(void)sem_post(&w->store->work);
}
