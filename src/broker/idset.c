/* See idset.h. A client may leave 65,535 QoS 2 exchanges open: each look must stay cheap then too. */
#include <stdlib.h>
#include "base/assert.h"
#include "broker/idset.h"

enum { LIST_MAX = 64, WORDS = 65536 / 16 };

static uint16_t
bit(uint16_t id)
{
	return (uint16_t)(1u << (id & 15));
}

/* Its place in the list, or n. */
static uint16_t
find(const struct idset *s, uint16_t id)
{
	uint16_t i = 0;

	while (i < s->n && s->v[i] != id)
		i++;
	return i;
}

bool
idset_has(const struct idset *s, uint16_t id)
{
	if (s->is_bitmap)
		return (s->v[id >> 4] & bit(id)) != 0;
	return find(s, id) < s->n;
}

static bool
to_bitmap(struct idset *s)
{
	uint16_t *v = calloc(WORDS, sizeof *v);

	if (v == NULL)
		return false;
	for (uint16_t i = 0; i < s->n; i++)
		v[s->v[i] >> 4] |= bit(s->v[i]);
	free(s->v);
	s->v = v;
	s->is_bitmap = true;
	return true;
}

static bool
grow(struct idset *s)
{
	uint16_t cap = s->cap > 0 ? (uint16_t)(s->cap * 2) : 8;
	uint16_t *v;

	if (s->n == LIST_MAX)
		return to_bitmap(s);
	if ((v = realloc(s->v, cap * sizeof *v)) == NULL)
		return false;
	s->v = v;
	s->cap = cap;
	return true;
}

bool
idset_add(struct idset *s, uint16_t id)
{
	ASSERT_HOT(!idset_has(s, id));
	if (!s->is_bitmap && s->n == s->cap && !grow(s))
		return false;
	if (s->is_bitmap)
		s->v[id >> 4] |= bit(id);
	else
		s->v[s->n] = id;
	s->n++;
	return true;
}

bool
idset_del(struct idset *s, uint16_t id)
{
	uint16_t at;

	if (s->is_bitmap) {
		if (!idset_has(s, id))
			return false;
		s->v[id >> 4] &= (uint16_t)~bit(id);
		s->n--;
	} else {
		if ((at = find(s, id)) == s->n)
			return false;
		s->v[at] = s->v[--s->n];
	}
	if (s->n == 0)
		idset_clear(s);
	return true;
}

void
idset_clear(struct idset *s)
{
	free(s->v);
	*s = (struct idset){ 0 };
}
