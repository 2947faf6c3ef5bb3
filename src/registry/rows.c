/* Rows as structs, by a table of columns: borrowed from the statement for a walk, copied for a look-up. */
#include "registry/internal.h"

#include <stdlib.h>
#include "base/assert.h"

enum { ROW_MAX = 1024 }; /* of a struct */

/* "1,2,3", as devices.c writes it. */
static void
read_templates(struct slice text, struct registry_device *d)
{
	bool more = text.n > 0;

	d->n_templates = 0;
	while (more && d->n_templates < REGISTRY_TEMPLATES_MAX) {
		struct slice part = slice_cut(&text, ',', &more);
		uint64_t id;

		if (text_u64(part, 1, INT64_MAX, &id))
			d->templates[d->n_templates++] = (int64_t)id;
	}
}

static void
read_column(const struct query *q, int i, const struct column *c, void *row)
{
	void *to = (char *)row + c->offset;

	switch (c->kind) {
	case COL_TEXT:
		*(struct slice *)to = query_text(q, i);
		break;
	case COL_BLOB:
		*(struct slice *)to = query_blob(q, i);
		break;
	case COL_INT:
		*(int64_t *)to = query_int(q, i);
		break;
	case COL_NUMBER:
		*(int *)to = (int)query_int(q, i);
		break;
	case COL_BOOL:
		*(bool *)to = query_int(q, i) != 0;
		break;
	case COL_SERIAL:
		(void)text_hex(query_blob(q, i), to, 2 * REGISTRY_SERIAL_MAX + 1);
		break;
	case COL_HASH:
		(void)text_hex(query_blob(q, i), to, 2 * REGISTRY_HASH + 1);
		break;
	case COL_TEMPLATES:
		read_templates(query_text(q, i), (struct registry_device *)row);
		break;
	}
}

static void
read_row(const struct query *q, const struct kind *k, void *row)
{
	ASSERT(k->size <= ROW_MAX);
	memset(row, 0, k->size);
	for (size_t i = 0; i < k->n; i++)
		read_column(q, (int)i, &k->columns[i], row);
}

static bool
is_slice(const struct column *c)
{
	return c->kind == COL_TEXT || c->kind == COL_BLOB;
}

/* All texts into one piece of memory, a NUL behind each. */
static bool
own_row(const struct kind *k, void *row, struct err *err)
{
	size_t n = 1;
	char *p;

	for (size_t i = 0; i < k->n; i++)
		if (is_slice(&k->columns[i]))
			n += ((struct slice *)(void *)((char *)row + k->columns[i].offset))->n + 1;
	if ((p = malloc(n)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	*(void **)(void *)((char *)row + k->mem) = p;
	for (size_t i = 0; i < k->n; i++) {
		struct slice *s = (void *)((char *)row + k->columns[i].offset);

		if (!is_slice(&k->columns[i]))
			continue;
		if (s->n > 0)
			memcpy(p, s->p, s->n);
		p[s->n] = '\0';
		s->p = (const uint8_t *)p;
		p += s->n + 1;
	}
	return true;
}

bool
row_missing(struct err *err, const char *what, struct slice name)
{
	char shown[160];

	return err_set(err, ERR_MISSING, "there is no %s \"%s\"", what, text_show(name, shown, sizeof shown));
}

bool
row_exists(struct err *err, const char *what, struct slice name)
{
	char shown[160];

	return err_set(err, ERR_EXISTS, "there is a %s \"%s\" already", what, text_show(name, shown, sizeof shown));
}

bool
row_get(struct registry *r, const struct row_query *g, void *ret, struct err *err)
{
	struct query q;
	_Alignas(max_align_t) char row[ROW_MAX];
	int more;
	bool ok;

	if (!query_begin(&q, r, g->sql, g->v, err))
		return false;
	more = query_next(&q);
	if (more == 1)
		read_row(&q, g->kind, row);
	ok = more == 1 && own_row(g->kind, row, err);
	query_end(&q);
	if (ok)
		memcpy(ret, row, g->kind->size);
	return ok || (more == 0 && row_missing(err, g->kind->what, g->name));
}

bool
row_each(struct registry *r, const struct row_query *g, row_fn *fn, void *ctx, struct err *err)
{
	struct query q;
	_Alignas(max_align_t) char row[ROW_MAX];
	int more;

	if (!query_begin(&q, r, g->sql, g->v, err))
		return false;
	while ((more = query_next(&q)) == 1) {
		read_row(&q, g->kind, row);
		if (!fn(ctx, row))
			break;
	}
	query_end(&q);
	return more != -1;
}

bool
row_unchanged(struct registry *r, const struct row_query *g, struct err *err)
{
	int64_t n = 0;
	char shown[160];

	if (!db_int(r, g->sql, g->v, &n, err))
		return false;
	if (n == 0)
		return row_missing(err, g->kind->what, g->name);
	return err_set(err, ERR_CONFLICT, "the %s \"%s\" was changed meanwhile: read it again", g->kind->what,
	    text_show(g->name, shown, sizeof shown));
}
