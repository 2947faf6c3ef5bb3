/* Lists in pages. An index is walked behind the place where the last page ended; what fits is fetched by its number. However
 * little fits, a page looks at a bounded number of entries and says where to go on. */
#include "registry/internal.h"

#include "base/assert.h"

/* ---- cursors: hex of tag, tenant, key, number, text ---- */

enum { CURSOR_HEAD = 1 + 3 * 8 };

struct place {
	int64_t tenant, key, id;
	struct slice text;
	uint8_t bytes[CURSOR_HEAD + NUM_MAX((int)CN_BYTES_MAX, (int)REGISTRY_LABEL_MAX)]; /* of a cursor; <text> may lie in it */
};
_Static_assert(2 * sizeof ((struct place *)NULL)->bytes < REGISTRY_CURSOR_MAX, "each place fits a cursor");

static void
put64(uint8_t *p, int64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)((uint64_t)v >> (56 - 8 * i));
}

static int64_t
get64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return (int64_t)v;
}

static void
cursor_write(struct registry_page *page, uint8_t tag, const struct place *p)
{
	uint8_t raw[sizeof p->bytes];
	size_t n = NUM_MIN(p->text.n, sizeof raw - CURSOR_HEAD);

	raw[0] = tag;
	put64(raw + 1, p->tenant);
	put64(raw + 9, p->key);
	put64(raw + 17, p->id);
	if (n > 0)
		memcpy(raw + CURSOR_HEAD, p->text.p, n);
	(void)text_hex(slice_of(raw, CURSOR_HEAD + n), page->next, sizeof page->next);
}

static bool
cursor_read(struct slice cursor, uint8_t tag, struct place *ret, struct err *err)
{
	struct slice s;

	if (!word_hex(cursor, ret->bytes, sizeof ret->bytes, &s) || s.n < CURSOR_HEAD || s.p[0] != tag)
		return err_set(err, ERR_INPUT, "the cursor is not one of this list: begin with the first page");
	ret->tenant = get64(s.p + 1);
	ret->key = get64(s.p + 9);
	ret->id = get64(s.p + 17);
	ret->text = slice_from(s, CURSOR_HEAD);
	return true;
}

/* ---- walking ---- */

struct walk {
	struct registry *r;
	const struct list *l;
	struct registry_page *page;
	struct err *err;
	struct place at;
	int64_t shown, max; /* entries that fit */
	unsigned looked;
	bool stopped;       /* by the callback */
};
enum step { STEP_ON, STEP_END, STEP_FULL, STEP_FAILED };

/* The first place of a tenant. Keys are compared with "behind": numbers begin at 1. */
static void
begin_at(struct walk *w, int64_t tenant)
{
	w->at.tenant = tenant;
	w->at.key = w->l->from > 0 ? w->l->from : 0;
	w->at.id = w->l->down ? INT64_MAX : 0;
	w->at.text = w->l->text ? w->l->prefix : SL("");
}

static bool
next_tenant(struct walk *w, bool *ret_any)
{
	int64_t id = 0;

	*ret_any = false;
	if (!w->l->each_tenant || w->l->tenant != 0)
		return true;
	if (!db_int(w->r, "SELECT COALESCE(MIN(id), 0) FROM tenants WHERE id > ?1", VALUES(v_int(w->at.tenant)), &id, w->err))
		return false;
	*ret_any = id != 0;
	if (*ret_any)
		begin_at(w, id);
	return true;
}

static bool
past_end(const struct walk *w, const struct query *q)
{
	if (w->l->text && w->l->prefix.n > 0)
		return !slice_starts(query_text(q, 2), w->l->prefix);
	return w->l->end != 0 && query_int(q, 2) >= w->l->end;
}

static void
move_to(struct walk *w, const struct query *q)
{
	w->at.id = query_int(q, 1);
	if (!w->l->text) {
		w->at.key = w->l->down ? 0 : query_int(q, 2);
		return;
	}
	w->at.text = query_text(q, 2);
	w->at.text.n = NUM_MIN(w->at.text.n, sizeof w->at.bytes);
	if (w->at.text.n > 0)
		memcpy(w->at.bytes, w->at.text.p, w->at.text.n);
	w->at.text.p = w->at.bytes;
}

struct shower {
	row_fn *fn;
	void *ctx;
	bool stopped;
};

static bool
show_row(void *ctx, const void *row)
{
	struct shower *s = ctx;

	s->stopped = !s->fn(s->ctx, row);
	return false;
}

static bool
show(struct walk *w)
{
	struct shower s = { .fn = w->l->fn, .ctx = w->l->ctx };
	struct row_query g = { .kind = w->l->kind, .sql = w->l->fetch, .v = VALUES(v_int(w->at.id)) };

	w->shown++;
	if (!row_each(w->r, &g, show_row, &s, w->err))
		return false;
	w->stopped = s.stopped;
	return true;
}

/* An entry of the index, with which the walk may be over. */
static enum step
look(struct walk *w, const struct query *q)
{
	bool fits = query_int(q, 0) != 0;

	if (past_end(w, q))
		return STEP_END;
	if (w->stopped || w->shown == w->max || w->looked == SCAN_MAX)
		return STEP_FULL; /* there is at least this one */
	move_to(w, q);
	w->looked += !fits; /* what is shown has its own bound */
	return !fits || show(w) ? STEP_ON : STEP_FAILED;
}

static enum step
walk_tenant(struct walk *w)
{
	uint8_t key[sizeof w->at.bytes] = { 0 }; /* the walk moves, what is bound does not */
	size_t n = NUM_MIN(w->at.text.n, sizeof key);
	struct value v[4 + LIST_VALUES_MAX] = { w->l->text ? v_text(slice_of(key, n)) : v_int(w->at.key), v_int(w->at.id),
		v_int((int64_t)SCAN_MAX + w->max + 1), v_int(w->at.tenant) };
	struct query q;
	enum step step = STEP_ON;
	int more = 0;

	if (n > 0)
		memcpy(key, w->at.text.p, n);
	memcpy(v + 4, w->l->more, w->l->n_more * sizeof *v);
	if (!query_begin(&q, w->r, w->l->scan, &(struct values){ v, 4 + w->l->n_more }, w->err))
		return STEP_FAILED;
	while (step == STEP_ON && (more = query_next(&q)) == 1)
		step = look(w, &q);
	query_end(&q);
	if (more == -1)
		return STEP_FAILED;
	return step == STEP_ON ? STEP_END : step;
}

static bool
walk_all(struct walk *w, bool *ret_more)
{
	bool any = true;

	*ret_more = false;
	while (any) {
		enum step step = walk_tenant(w);

		if (step == STEP_FAILED)
			return false;
		*ret_more = step == STEP_FULL;
		if (*ret_more)
			return true;
		if (!next_tenant(w, &any))
			return false;
		*ret_more = any && w->looked == SCAN_MAX;
		if (*ret_more)
			return true;
		w->looked++; /* tenants count, too */
	}
	return true;
}

static bool
start(struct walk *w, struct slice cursor)
{
	const struct list *l = w->l;
	bool any;

	ASSERT(l->n_more <= LIST_VALUES_MAX);
	if (cursor.n > 0)
		return cursor_read(cursor, l->tag, &w->at, w->err);
	w->at.tenant = 0;
	begin_at(w, l->tenant);
	return !l->each_tenant || l->tenant != 0 || next_tenant(w, &any);
}

bool
list_run(struct registry *r, const struct list *l, struct registry_page *page, struct err *err)
{
	struct walk w = { .r = r, .l = l, .page = page, .err = err, .max = page->limit == 0 ? REGISTRY_PAGE : page->limit };
	bool more;

	w.max = NUM_MIN(w.max, REGISTRY_PAGE_MAX);
	if (!start(&w, page->cursor))
		return false;
	if (l->tenant != 0 && w.at.tenant != l->tenant)
		return err_set(err, ERR_INPUT, "the cursor is another tenant's: begin with the first page");
	if (!walk_all(&w, &more))
		return false;
	page->next[0] = '\0';
	if (more)
		cursor_write(page, l->tag, &w.at);
	return true;
}

/* ---- statements from pieces ---- */

void
sql_add(struct sql *s, const char *piece)
{
	size_t n = strlen(piece);

	ASSERT(s->n + n < sizeof s->text);
	memcpy(s->text + s->n, piece, n + 1);
	s->n += n;
}

void
sql_drive(struct sql *s, const char *fits, const struct drive *d)
{
	const char *const halves[] = { fits, ", ", d->from, " AND ", d->key, " = ?1 AND ", d->id, " > ?2 UNION ALL ", fits, ", ", d->from, " AND ",
		d->key, " > ?1 ORDER BY 3, 2 LIMIT ?3" };

	if (d->key == NULL) {
		sql_add(s, fits);
		sql_add(s, ", ");
		sql_add(s, d->from);
		return;
	}
	/* (key, number) > (?1, ?2) would say the same, but SQLite does not look a rowid up in an index that way: it would read all that
	 * have this key, on each page. */
	for (size_t i = 0; i < ARRAY_LEN(halves); i++)
		sql_add(s, halves[i]);
}
