/* Messages that go from what is kept here to what is kept by another shard: what a member of a share group leaves behind, and wills.
 * See once.h. The record of the one goes in the turn that lets go of the message; it stays until the other has written it. */
#include <stdlib.h>
#include "broker/internal.h"
#include "broker/record.h"

struct left_over {
	uint64_t id;
	struct msg *msg;
	struct slice group; /* its bytes are owned; empty: to all who subscribe */
};

/* ---- the shard that lets go ---- */

static bool
put(struct shard *sh, uint64_t id, const struct handover *h, struct slice source)
{
	const uint64_t *key = map_hash_key();
	struct record_handover r = { .shards = (uint16_t)sh->broker->n_shards, .key = { key[0], key[1] }, .group = h->group, .source = source };
	struct store_record rec = { .kind = STORE_HANDOVER, .id = id, .ref = h->body };
	uint8_t *buf = malloc(record_handover_size(&r));
	bool ok;

	if (buf == NULL)
		return false;
	rec.bytes = record_put_handover(buf, &r);
	ok = store_put(sh->journal.writer, &rec);
	free(buf);
	return ok;
}

static bool
put_with_source(struct shard *sh, uint64_t id, const struct handover *h)
{
	struct record_source r;
	uint8_t *buf;
	bool ok;

	if (h->msg->source == NULL || h->group.n > 0)
		return put(sh, id, h, SL(""));
	r = source_record(sh, h->msg->source);
	if ((buf = malloc(record_source_size(&r))) == NULL)
		return false;
	ok = put(sh, id, h, record_put_source(buf, &r));
	free(buf);
	return ok;
}

uint64_t
handover_begin(struct shard *sh, const struct handover *h)
{
	struct once_shard *o = &sh->journal.once;
	uint64_t id;

	/* A single shard writes it all in one piece. */
	if (!journal_on(&sh->journal) || sh->closing || sh->broker->n_shards == 1 || h->msg->qos == 0 || h->body == 0)
		return 0;
	id = store_id(sh->journal.writer);
	if (!put_with_source(sh, id, h))
		return 0;
	o->spread = false;
	o->whole = h->group.n > 0 ? id : 0;
	return id;
}

void
handover_end(struct shard *sh, uint64_t id)
{
	struct once_shard *o = &sh->journal.once;

	if (id == 0)
		return;
	o->whole = 0;
	/* Without memory the next start delivers it again. */
	if (o->spread)
		(void)once_open(sh, id);
	else
		(void)store_del(sh->journal.writer, STORE_HANDOVER, id);
}

/* ---- recovery ---- */

bool
handover_load(struct once *o, uint64_t id, const struct record_handover *r, struct msg *m)
{
	char *name = r->group.n > 0 ? malloc(r->group.n) : NULL;
	struct left_over *v;

	if (r->group.n > 0 && name == NULL)
		return false;
	v = reallocarray(o->left, o->n_left + 1, sizeof *v);
	if (v == NULL) {
		free(name);
		return false;
	}
	if (name != NULL)
		memcpy(name, r->group.p, r->group.n);
	o->left = v;
	v[o->n_left++] = (struct left_over){ id, msg_ref(m), slice_of(name, r->group.n) };
	return true;
}

void
handovers_done(struct once *o)
{
	for (size_t i = 0; i < o->n_left; i++) {
		msg_unref(o->left[i].msg);
		free((void *)(uintptr_t)o->left[i].group.p);
	}
	free(o->left);
	o->left = NULL;
	o->n_left = 0;
}

/* It went to one member of the group, if to any: one part is all. */
static void
to_group(struct broker *b, const struct left_over *l)
{
	struct shard *sh = b->shards[share_home(b, l->group)];
	const struct doubt *d = once_doubt(b, l->id);

	sh->journal.once.spread = false;
	if (d->n == 0)
		group_take(sh, l->group, l->msg, &(struct errand){ l->id, sh->index });
	if (sh->journal.once.spread)
		(void)once_open(sh, l->id);
	else
		once_over(sh, l->id);
}

static void
to_all(struct broker *b, const struct left_over *l)
{
	struct shard *sh = b->shards[broker_home(b, msg_origin(l->msg))];

	l->msg->exchange = l->id;
	if (!msg_expired(l->msg, sh->now_s))
		(void)publish_message(sh, l->msg);
	(void)once_own_part(sh, l->msg);
	(void)once_open(sh, l->id);
}

void
handovers_go_on(struct broker *b)
{
	for (size_t i = 0; i < b->once.n_left; i++) {
		const struct left_over *l = &b->once.left[i];

		if (l->group.n > 0)
			to_group(b, l);
		else
			to_all(b, l);
	}
	handovers_done(&b->once);
}
