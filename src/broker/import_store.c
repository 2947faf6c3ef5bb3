/* Imported records go into a store, a few thousand a turn. */
#include "broker/import.h"

enum { TURN_RECORDS = 4096 };

struct into {
	struct store_writer *writer;
	unsigned n;
};

static uint64_t
into_id(void *ctx)
{
	return store_id(((struct into *)ctx)->writer);
}

static bool
into_put(void *ctx, const struct store_record *r)
{
	struct into *x = ctx;

	if (!store_put(x->writer, r))
		return false;
	if (++x->n % TURN_RECORDS == 0)
		store_submit(x->writer);
	return true;
}

bool
broker_import(struct store *s, const struct broker_import *from, struct broker_imported *ret, struct err *err)
{
	struct into x = { .writer = store_writer(s, 0) };
	struct import_sink to = { &x, into_id, into_put };

	if (!import_run(&to, from, ret, err))
		return false;
	store_submit(x.writer);
	return true;
}
