/* Who is connected. */
#include "api/seats.h"

#include <stdlib.h>
#include <string.h>

/* A common name with at least one session. */
struct who {
	size_t seats, cn_n;
	char cn[];
};

struct slice
seat_id(const struct seat *s)
{
	return slice_of(s->id, s->id_n);
}

static struct slice
who_cn(const struct who *w)
{
	return slice_of(w->cn, w->cn_n);
}

struct slice
seat_cn(const struct seat *s)
{
	return who_cn(s->who);
}

bool
seat_is_shared(const struct seat *s)
{
	return s->who->seats > 1;
}

static struct slice
seat_key(const void *v)
{
	return seat_id(v);
}

static struct slice
who_key(const void *v)
{
	return who_cn(v);
}

void
seats_init(struct seats *s)
{
	map_init(&s->seats, seat_key);
	map_init(&s->whos, who_key);
}

static void
leave(struct seats *s, struct who *w)
{
	if (--w->seats > 0)
		return;
	(void)map_del(&s->whos, who_cn(w));
	free(w);
}

static struct who *
enter(struct seats *s, struct slice cn)
{
	struct who *w = map_get(&s->whos, cn);

	if (w == NULL) {
		w = malloc(sizeof(*w) + cn.n);
		if (w == NULL)
			return NULL;
		*w = (struct who){ .cn_n = cn.n };
		memcpy(w->cn, cn.p, cn.n);
		if (!map_put(&s->whos, w)) {
			free(w);
			return NULL;
		}
	}
	w->seats++;
	return w;
}

void
seats_drop(struct seats *s, struct slice id)
{
	struct seat *x = map_del(&s->seats, id);

	if (x != NULL)
		leave(s, x->who);
	free(x);
}

static struct seat *
add(struct seats *s, struct slice id, struct slice cn)
{
	struct seat *x = calloc(1, sizeof(*x) + id.n);

	if (x == NULL)
		return NULL;
	x->id_n = id.n;
	memcpy(x->id, id.p, id.n);
	x->who = enter(s, cn);
	if (x->who != NULL && map_put(&s->seats, x))
		return x;
	if (x->who != NULL)
		leave(s, x->who);
	free(x);
	return NULL;
}

struct seat *
seats_take(struct seats *s, struct slice id, struct slice cn, unsigned mark)
{
	struct seat *x = map_get(&s->seats, id);

	if (x != NULL && !slice_eq(seat_cn(x), cn)) {
		seats_drop(s, id);
		x = NULL;
	}
	if (x == NULL)
		x = add(s, id, cn);
	if (x != NULL)
		x->mark = mark;
	return x;
}

bool
seats_has(const struct seats *s, struct slice cn)
{
	return map_get(&s->whos, cn) != NULL;
}

size_t
seats_count(const struct seats *s)
{
	return s->seats.count;
}

struct seat *
seats_next(const struct seats *s, size_t *pos)
{
	return map_next(&s->seats, pos);
}

void
seats_clear(struct seats *s)
{
	struct seat *x;

	for (size_t pos = 0; (x = seats_next(s, &pos)) != NULL;)
		seats_drop(s, seat_id(x));
}

void
seats_done(struct seats *s)
{
	seats_clear(s);
	map_done(&s->seats);
	map_done(&s->whos);
}
