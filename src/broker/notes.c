/* Small things that the server wants to find again after a restart: records of the store like others, written by the first shard. */
#include <stdlib.h>
#include "broker/internal.h"

struct note {
	uint64_t record;
	size_t n;
	char name[];
};

struct note_order {
	struct order order;
	struct slice name, value; /* of <bytes> */
	uint8_t bytes[];
};

static struct slice
note_key(const void *value)
{
	const struct note *n = value;

	return slice_of(n->name, n->n);
}

static struct note *
note_add(struct broker *b, struct slice name, uint64_t record)
{
	struct note *n = malloc(sizeof *n + name.n);

	if (n == NULL)
		return NULL;
	*n = (struct note){ .record = record, .n = name.n };
	memcpy(n->name, name.p, name.n);
	if (b->notes.key == NULL)
		map_init(&b->notes, note_key);
	if (map_put(&b->notes, n))
		return n;
	free(n);
	return NULL;
}

static void
forget(struct shard *sh, struct slice name)
{
	struct note *n = sh->broker->notes.key != NULL ? map_del(&sh->broker->notes, name) : NULL;

	if (n != NULL)
		(void)store_del(sh->journal.writer, STORE_NOTE, n->record);
	free(n);
}

static void
carry_out(struct shard *sh, struct order *o)
{
	struct note_order *x = (void *)((char *)o - offsetof(struct note_order, order));
	struct broker *b = sh->broker;
	struct store_record rec = { .kind = STORE_NOTE };
	uint8_t head[RECORD_NOTE_HEAD + BROKER_NOTE_NAME_MAX];
	struct note *n;

	if (journal_on(&sh->journal) && x->value.n == 0)
		forget(sh, x->name);
	else if (journal_on(&sh->journal)) {
		n = b->notes.key != NULL ? map_get(&b->notes, x->name) : NULL;
		if (n == NULL)
			n = note_add(b, x->name, store_id(sh->journal.writer));
		rec.head = record_put_note(head, x->name);
		rec.bytes = x->value;
		rec.id = n != NULL ? n->record : 0;
		/* Without memory it says what it said before. */
		if (n != NULL)
			(void)store_put(sh->journal.writer, &rec);
	}
	free(x);
}

bool
broker_note(struct broker *b, struct slice name, struct slice value)
{
	struct note_order *x;

	if (name.n == 0 || name.n > BROKER_NOTE_NAME_MAX || (x = malloc(sizeof *x + name.n + value.n)) == NULL)
		return false;
	*x = (struct note_order){ .order.carry_out = carry_out };
	memcpy(x->bytes, name.p, name.n);
	if (value.n > 0)
		memcpy(x->bytes + name.n, value.p, value.n);
	x->name = slice_of(x->bytes, name.n);
	x->value = slice_of(x->bytes + name.n, value.n);
	order_give(b->shards[0], &x->order);
	return true;
}

bool
note_load(struct broker *b, uint64_t record, struct slice name, struct slice value)
{
	if (note_add(b, name, record) == NULL)
		return false;
	if (b->ports.note != NULL)
		b->ports.note(b->ports.ctx, name, value);
	return true;
}

void
notes_done(struct broker *b)
{
	size_t pos = 0;
	void *n;

	if (b->notes.key == NULL)
		return;
	while ((n = map_next(&b->notes, &pos)) != NULL)
		free(n);
	map_done(&b->notes);
}
