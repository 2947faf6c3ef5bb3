/* The index: identity -> place in the log. Open addressing in 64 tables, so that growing one never takes long; neighbours among
 * the identities stay neighbours in memory, as what was put together is mostly deleted together. */
#include <stdlib.h>
#include "base/mem.h"
#include "store/internal.h"

enum { GROUP_BITS = 3, CAP_MIN = 64 };

static uint64_t
mix(uint64_t id)
{
	return (id >> GROUP_BITS) * 0x9e3779b97f4a7c15u;
}

static unsigned
table_of(uint64_t m)
{
	return (unsigned)(m >> 58);
}

static uint32_t
slot_of(uint64_t id, uint64_t m, uint32_t cap)
{
	return (uint32_t)((m >> 20 << GROUP_BITS | (id & ((1u << GROUP_BITS) - 1))) & (cap - 1));
}

struct place *
index_find(const struct index *x, uint64_t id)
{
	uint64_t m = mix(id);
	const struct index_table *t = &x->tables[table_of(m)];

	if (t->count == 0)
		return NULL;
	for (uint32_t i = slot_of(id, m, t->cap); t->v[i].id != 0; i = (i + 1) & (t->cap - 1))
		if (t->v[i].id == id)
			return &t->v[i];
	return NULL;
}

static struct place *
vacant(struct index_table *t, uint64_t id, uint64_t m)
{
	uint32_t i = slot_of(id, m, t->cap);

	while (t->v[i].id != 0)
		i = (i + 1) & (t->cap - 1);
	return &t->v[i];
}

static void
prefetch(const struct index *x, uint64_t id)
{
	uint64_t m = mix(id);
	const struct index_table *t = &x->tables[table_of(m)];

	if (t->cap > 0)
		__builtin_prefetch(&t->v[slot_of(id, m, t->cap)], 1);
}

size_t
records_prefetch(const struct index *x, struct slice frame, size_t done, size_t at)
{
	struct record next;

	for (; done < at + LOOK_AHEAD && done < frame.n && record_get(frame.p + done, frame.n - done, &next); done += next.size)
		prefetch(x, next.id);
	return done;
}

static bool
grow(struct index_table *t)
{
	struct index_table bigger = { .cap = t->cap > 0 ? t->cap * 2 : CAP_MIN, .count = t->count };

	if (bigger.cap == 0 || (bigger.v = mem_table(bigger.cap, sizeof *bigger.v)) == NULL)
		return false;
	for (uint32_t i = 0; i < t->cap; i++)
		if (t->v[i].id != 0)
			*vacant(&bigger, t->v[i].id, mix(t->v[i].id)) = t->v[i];
	free(t->v);
	*t = bigger;
	return true;
}

struct place *
index_add(struct index *x, uint64_t id)
{
	struct place *p = index_find(x, id);
	uint64_t m = mix(id);
	struct index_table *t = &x->tables[table_of(m)];

	if (p != NULL)
		return p;
	/* Without memory the table fills up to its last slot but one. */
	if (t->count >= t->cap / 4 * 3 && !grow(t) && t->count + 1 >= t->cap)
		return NULL;
	p = vacant(t, id, m);
	*p = (struct place){ .id = id };
	t->count++;
	x->count++;
	return p;
}

void
index_del(struct index *x, struct place *p)
{
	struct index_table *t = &x->tables[table_of(mix(p->id))];
	uint32_t hole = (uint32_t)(p - t->v);

	/* Those behind it that would not be found any more move up. */
	for (uint32_t i = (hole + 1) & (t->cap - 1); t->v[i].id != 0; i = (i + 1) & (t->cap - 1)) {
		uint32_t home = slot_of(t->v[i].id, mix(t->v[i].id), t->cap);

		if (((i - home) & (t->cap - 1)) < ((i - hole) & (t->cap - 1)))
			continue;
		t->v[hole] = t->v[i];
		hole = i;
	}
	t->v[hole] = (struct place){ 0 };
	t->count--;
	x->count--;
	if (t->count == 0) {
		free(t->v);
		*t = (struct index_table){ 0 };
	}
}

struct place *
index_next(const struct index *x, uint64_t *pos)
{
	for (uint32_t table = (uint32_t)(*pos >> 32), i = (uint32_t)*pos; table < INDEX_TABLES; table++, i = 0) {
		const struct index_table *t = &x->tables[table];

		for (; i < t->cap; i++)
			if (t->v[i].id != 0) {
				*pos = (uint64_t)table << 32 | (i + 1);
				return &t->v[i];
			}
	}
	return NULL;
}

void
index_clear(struct index *x)
{
	for (unsigned i = 0; i < INDEX_TABLES; i++)
		free(x->tables[i].v);
	*x = (struct index){ 0 };
}
