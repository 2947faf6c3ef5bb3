/* Exactly once across shards and crashes: see once.h. */
#include <stdlib.h>
#include "broker/internal.h"
#include "broker/record.h"

struct open_exchange {
	uint64_t exchange, seq; /* seq: the turn that waits for all */
	struct handle session;
	uint16_t packet_id; /* 0: it stands for a HANDOVER */
};
struct once_mine {
	uint64_t exchange, record;
	unsigned from; /* the publisher's shard */
};

/* Room for one more behind <n> of <size> bytes each; false: out of memory. */
static bool
grow(void *p, size_t n, size_t *cap, size_t size)
{
	void **v = p, *bigger;
	size_t want = *cap > 0 ? *cap * 2 : 16;

	if (n < *cap)
		return true;
	if ((bigger = reallocarray(*v, want, size)) == NULL)
		return false;
	*v = bigger;
	*cap = want;
	return true;
}

/* ---- recovery ---- */

bool
once_add_doubt(struct once *o, uint64_t exchange, const uint64_t key[static 2], uint16_t shards)
{
	if (!grow(&o->doubts, o->n_doubts, &o->cap_doubts, sizeof *o->doubts))
		return false;
	o->doubts[o->n_doubts++] = (struct doubt){ .exchange = exchange, .key = { key[0], key[1] }, .shards = shards };
	return true;
}

bool
once_add_part(struct once *o, uint64_t record, const struct record_part *r)
{
	if (!grow(&o->parts, o->n_parts, &o->cap_parts, sizeof *o->parts))
		return false;
	o->parts[o->n_parts++] = (struct once_part){ r->exchange, r->who, record, { r->key[0], r->key[1] }, r->shards, r->is_group, r->has_key };
	return true;
}

static int
by_number(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int
by_doubt(const void *a, const void *b)
{
	return by_number(((const struct doubt *)a)->exchange, ((const struct doubt *)b)->exchange);
}

static int
by_part(const void *a, const void *b)
{
	return by_number(((const struct once_part *)a)->exchange, ((const struct once_part *)b)->exchange);
}

static struct doubt *
doubt_find(const struct broker *b, uint64_t exchange)
{
	const struct once *o = &b->once;
	struct doubt key = { .exchange = exchange };

	return exchange > o->max ? NULL : bsearch(&key, o->doubts, o->n_doubts, sizeof key, by_doubt);
}

const struct doubt *
once_doubt(const struct broker *b, uint64_t exchange)
{
	return doubt_find(b, exchange);
}

void
once_loaded(struct broker *b)
{
	struct once *o = &b->once;

	if (o->n_doubts > 0) {
		qsort(o->doubts, o->n_doubts, sizeof *o->doubts, by_doubt);
		o->max = o->doubts[o->n_doubts - 1].exchange;
	}
	if (o->n_parts > 0)
		qsort(o->parts, o->n_parts, sizeof *o->parts, by_part);
	for (size_t i = 0; i < o->n_parts; i++) {
		struct once_part *p = &o->parts[i];
		struct doubt *d = doubt_find(b, p->exchange);

		if (d == NULL) {
			(void)store_del(b->shards[0]->journal.writer, STORE_PART, p->record);
			continue;
		}
		if (d->n++ == 0)
			d->first = i;
		if (!p->has_key)
			memcpy(p->key, d->key, sizeof p->key);
	}
}

void
once_done(struct once *o)
{
	free(o->doubts);
	free(o->parts);
	handovers_done(o);
}

void
once_shard_done(struct once_shard *o)
{
	free(o->open);
	free(o->mine);
}

/* ---- parts ---- */

struct errand
once_errand(const struct shard *sh, const struct msg *m)
{
	return m->exchange == 0 ? (struct errand){ 0 } : (struct errand){ m->exchange, broker_home(sh->broker, msg_origin(m)) };
}

/* False: out of memory. A crash in this moment would make the message come twice. */
static bool
add_part(struct shard *sh, const struct errand *e, bool is_group, uint64_t who)
{
	struct journal_shard *j = &sh->journal;
	const uint64_t *key = map_hash_key();
	/* If it began in another life, another key has spread the sessions since, perhaps over more shards or fewer. */
	struct record_part r = { .exchange = e->exchange, .who = who, .shards = (uint16_t)sh->broker->n_shards, .is_group = is_group,
		.has_key = e->exchange <= sh->broker->once.max, .key = { key[0], key[1] } };
	struct store_record rec = { .kind = STORE_PART };
	uint8_t buf[RECORD_PART];

	rec.id = store_id(j->writer);
	rec.bytes = record_put_part(buf, &r);
	if (!grow(&j->once.mine, j->once.n_mine, &j->once.cap_mine, sizeof *j->once.mine) || !store_put(j->writer, &rec))
		return false;
	j->once.spread = true;
	/* What is carried on has records that nobody refers to in the end: the next start takes them out. */
	if (!r.has_key)
		j->once.mine[j->once.n_mine++] = (struct once_mine){ e->exchange, rec.id, e->from };
	return true;
}

/* ---- the publisher's shard ---- */

uint64_t
once_again(const struct session *s, uint16_t packet_id)
{
	const struct inbound *in = s->shard->broker->once.n_doubts > 0 ? journal_inbound(s, packet_id) : NULL;

	return in != NULL && in->in_doubt && in->seq == 0 ? in->id : 0;
}

void
once_begin(struct session *s, uint16_t packet_id, struct msg *m)
{
	struct shard *sh = s->shard;
	const struct inbound *in = journal_on(&sh->journal) ? journal_inbound(s, packet_id) : NULL;

	sh->journal.once.spread = false;
	/* A single shard writes it all in one piece, if no life before began it. Kept by a session that ends, nobody would send it again. */
	if (in != NULL && (sh->broker->n_shards > 1 || in->in_doubt))
		m->exchange = in->id;
}

bool
once_end(struct session *s, uint16_t packet_id, const struct msg *m)
{
	struct shard *sh = s->shard;
	struct once_shard *o = &sh->journal.once;
	struct inbound *in = m->exchange != 0 ? journal_inbound(s, packet_id) : NULL;

	if (in == NULL || (!o->spread && !in->in_doubt))
		return true;
	/* What is carried on may be cut off again: what this shard had to add stands beside nothing else. */
	if (!grow(&o->open, o->n_open, &o->cap_open, sizeof *o->open) ||
	    !(in->in_doubt ? once_own_part(sh, m) : journal_spread(s, in, (uint16_t)sh->broker->n_shards)))
		return false;
	in->seq = store_seq(sh->journal.writer);
	o->open[o->n_open++] = (struct open_exchange){ in->id, store_seq(sh->journal.writer), session_handle(s), packet_id };
	return true;
}

bool
once_open(struct shard *sh, uint64_t id)
{
	struct once_shard *o = &sh->journal.once;

	if (!grow(&o->open, o->n_open, &o->cap_open, sizeof *o->open))
		return false;
	o->open[o->n_open++] = (struct open_exchange){ .exchange = id, .seq = store_seq(sh->journal.writer) };
	return true;
}

/* No restart will ask what has got it: parts of an exchange that was in doubt, the others know theirs. */
static void
settle(struct shard *sh, const struct open_exchange *e)
{
	struct broker *b = sh->broker;
	struct session *s = e->packet_id != 0 ? session_of(sh, e->session) : NULL;
	struct inbound *in = s != NULL ? journal_inbound(s, e->packet_id) : NULL;
	struct doubt *d = doubt_find(b, e->exchange);

	if (in != NULL && in->id == e->exchange) {
		if (!journal_spread(s, in, 0))
			return; /* it stays in doubt, and its parts are there: nothing is wrong with that */
		in->in_doubt = false;
	}
	if (e->packet_id == 0)
		(void)store_del(sh->journal.writer, STORE_HANDOVER, e->exchange);
	for (size_t i = 0; d != NULL && !d->over && i < d->n; i++)
		(void)store_del(sh->journal.writer, STORE_PART, b->once.parts[d->first + i].record);
	if (d != NULL)
		d->over = true;
}

void
once_over(struct shard *sh, uint64_t id)
{
	settle(sh, &(struct open_exchange){ .exchange = id });
}

void
once_durable(struct shard *sh)
{
	struct once_shard *o = &sh->journal.once;
	uint64_t last = 0;
	size_t n = 0;

	for (; n < o->n_open && o->open[n].seq <= sh->journal.durable; n++) {
		settle(sh, &o->open[n]);
		if (o->open[n].exchange > sh->broker->once.max)
			last = o->open[n].exchange;
	}
	o->n_open -= n;
	if (n > 0)
		memmove(o->open, o->open + n, o->n_open * sizeof *o->open);
	/* Identities of one shard only grow: this one stands for all before it. Whom it does not reach hears of the next. */
	for (unsigned i = 0; last != 0 && i < sh->broker->n_shards; i++)
		(void)mail_post(sh, i, &(struct mail){ .kind = MAIL_ONCE, .id = (uint32_t)(last >> 32), .scan = (uint32_t)last });
}

/* ---- any shard ---- */

void
mail_once(struct shard *sh, struct mail *m)
{
	struct once_shard *o = &sh->journal.once;
	uint64_t last = (uint64_t)m->id << 32 | m->scan;
	size_t left = 0;

	for (size_t i = 0; i < o->n_mine; i++) {
		if (o->mine[i].from == m->from && o->mine[i].exchange <= last)
			(void)store_del(sh->journal.writer, STORE_PART, o->mine[i].record);
		else
			o->mine[left++] = o->mine[i];
	}
	o->n_mine = left;
}

bool
once_own_part(struct shard *sh, const struct msg *m)
{
	struct errand e = once_errand(sh, m);

	return add_part(sh, &e, false, sh->index);
}

void
once_here(struct shard *sh, const struct msg *m, uint64_t mark)
{
	if (m->exchange != 0 && sh->journal.marks != mark)
		(void)once_own_part(sh, m);
}

void
once_group(struct shard *sh, const struct errand *e, struct slice full, uint64_t mark)
{
	if (e->exchange != 0 && e->exchange != sh->journal.once.whole && sh->journal.marks != mark)
		(void)add_part(sh, e, true, map_hash(full));
}

bool
once_has_session(const struct broker *b, const struct doubt *d, const struct msg *m, struct slice session_id)
{
	/* What its own shard had to write stands beside INBOUND. */
	if (map_siphash13(d->key, session_id) % d->shards == map_siphash13(d->key, msg_origin(m)) % d->shards)
		return true;
	for (size_t i = d->first; i < d->first + d->n; i++) {
		const struct once_part *p = &b->once.parts[i];

		if (!p->is_group && p->who == map_siphash13(p->key, session_id) % p->shards)
			return true;
	}
	return false;
}

bool
once_has_group(const struct broker *b, const struct msg *m, struct slice full)
{
	const struct doubt *d = once_doubt(b, m->exchange);

	for (size_t i = 0; d != NULL && i < d->n; i++) {
		const struct once_part *p = &b->once.parts[d->first + i];

		if (p->is_group && p->who == map_siphash13(p->key, full))
			return true;
	}
	return false;
}
