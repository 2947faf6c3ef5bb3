/* Lists of devices: which index drives them, and what is left to ask of each entry. */
#include "registry/device_row.h"

static const struct column columns[] = {
	{ COL_TEXT, offsetof(struct registry_device, tenant) },
	{ COL_TEXT, offsetof(struct registry_device, id) },
	{ COL_TEXT, offsetof(struct registry_device, cn) },
	{ COL_TEXT, offsetof(struct registry_device, label) },
	{ COL_TEXT, offsetof(struct registry_device, attrs) },
	{ COL_TEMPLATES, 0 },
	{ COL_NUMBER, offsetof(struct registry_device, state) },
	{ COL_INT, offsetof(struct registry_device, not_after) },
	{ COL_NUMBER, offsetof(struct registry_device, certificate) },
	{ COL_BOOL, offsetof(struct registry_device, online) },
	{ COL_INT, offsetof(struct registry_device, since) },
	{ COL_INT, offsetof(struct registry_device, last_seen) },
	{ COL_TEXT, offsetof(struct registry_device, address) },
	{ COL_TEXT, offsetof(struct registry_device, status) },
	{ COL_BOOL, offsetof(struct registry_device, stale) },
	{ COL_INT, offsetof(struct registry_device, created) },
	{ COL_INT, offsetof(struct registry_device, updated) },
	{ COL_INT, offsetof(struct registry_device, version) },
};
const struct kind device_kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_device), offsetof(struct registry_device, mem),
	"device" };

EACH_ROW(registry_device_fn)

/* ---- the statement ---- */

#define BY_NAME " AND (d.name, d.id) > (?1, ?2) ORDER BY d.name, d.id LIMIT ?3"
static const struct drive by_id = { 16, true, "d.id, d.name FROM devices d INDEXED BY devices_name WHERE d.tenant_id = ?4" BY_NAME, NULL,
	NULL };
/* The same order through fewer entries: all that are not simply enabled, or those of a template. */
static const struct drive not_enabled = { 16, true,
	"d.id, d.name FROM devices d INDEXED BY devices_not_enabled WHERE d.state <> 0 AND d.tenant_id = ?4" BY_NAME, NULL, NULL };
static const struct drive of_template = { 16, true,
	"d.id, l.name FROM device_templates l CROSS JOIN devices d ON d.id = l.device_id WHERE l.template_id = ?5 AND d.tenant_id = ?4"
	" AND l.name >= ?1 AND (l.name, d.id) > (?1, ?2) ORDER BY l.name LIMIT ?3", NULL, NULL };
static const struct drive by_label = { 17, true, "d.id, d.label FROM devices d INDEXED BY devices_label WHERE d.tenant_id = ?4", "d.label",
	"d.id" };
/* "<> 0" as the index has it: "> 0" SQLite would take for the place to begin at, instead of the key. */
static const struct drive by_expiry = { 18, false,
	"d.id, d.not_after FROM devices d INDEXED BY devices_end WHERE d.not_after <> 0 AND d.tenant_id = ?4", "d.not_after", "d.id" };
static const struct drive by_last_seen = { 19, false,
	"p.device_id, p.last_seen FROM presence p INDEXED BY presence_seen CROSS JOIN devices d ON d.id = p.device_id WHERE p.tenant_id = ?4",
	"p.last_seen", "p.device_id" };

static const struct drive *
driven_by(const struct registry_device_filter *f)
{
	const unsigned enabled = 1u << REGISTRY_ENABLED;

	switch (f->order) {
	case REGISTRY_BY_LABEL:
		return &by_label;
	case REGISTRY_BY_EXPIRY:
		return &by_expiry;
	case REGISTRY_BY_LAST_SEEN:
		return &by_last_seen;
	case REGISTRY_BY_ID:
	default:
		if (f->template != 0)
			return &of_template;
		return f->states != 0 && (f->states & enabled) == 0 ? &not_enabled : &by_id;
	}
}

#define PRESENCE(column) "COALESCE((SELECT " column " FROM presence s WHERE s.device_id = d.id), 0)"

/* What an entry must be beyond its place in the index: ?5 template, ?6 states, ?7 expires before, ?8 seen before, ?9 seen after,
 * ?10 online, ?11 and ?12 the id's range, ?13 certificates, ?14 now. */
static void
put_fits(struct sql *s, const struct registry_device_filter *f, const struct drive *d)
{
	const unsigned all = (1u << REGISTRY_DEVICE_STATES) - 1;

	sql_add(s, "SELECT 1");
	if (f->states != 0 && (f->states & all) != all)
		sql_add(s, " AND (?6 >> d.state) & 1");
	if (f->template != 0 && d != &of_template)
		sql_add(s, " AND EXISTS(SELECT 1 FROM device_templates x WHERE x.template_id = ?5 AND x.name = d.name AND x.device_id = d.id)");
	if (f->expires_before != 0 && d != &by_expiry)
		sql_add(s, " AND d.not_after > 0 AND d.not_after < ?7");
	if (f->certificates != 0)
		sql_add(s, " AND (?13 >> CASE WHEN d.not_after > 0 AND d.not_after < ?14 THEN 5 ELSE " HAS_CERTIFICATE " END) & 1");
	if (f->seen_before != 0 && d != &by_last_seen)
		sql_add(s, " AND " PRESENCE("s.last_seen") " < ?8");
	if (f->seen_after != 0 && d != &by_last_seen)
		sql_add(s, " AND " PRESENCE("s.last_seen") " > ?9");
	if (f->online != f->offline)
		sql_add(s, " AND " PRESENCE("s.online") " = ?10");
	if (f->stale != f->fresh)
		sql_add(s, f->stale ? " AND " PRESENCE("s.beat") " = 2" : " AND " PRESENCE("s.beat") " <> 2");
	if (f->prefix.n > 0 && !d->text)
		sql_add(s, " AND d.name >= ?11 AND d.name < ?12");
}

struct device_list {
	struct list list;
	struct sql sql;
	char above[REGISTRY_LABEL_MAX + 1]; /* all texts with the prefix are below it: no UTF-8 has the byte FF */
};

/* Of all that end, those that do so in the time that is asked for. */
static void
bound_ends(const struct registry_device_filter *f, int64_t now, struct list *l)
{
	l->end = f->expires_before;
	if (f->certificates == 1u << REGISTRY_HAS_ACTIVE)
		l->from = now;
	if (f->certificates == 1u << REGISTRY_HAS_EXPIRED)
		l->end = f->expires_before != 0 ? NUM_MIN(f->expires_before, now) : now;
}

static bool
prepare_list(struct registry *r, const struct registry_device_filter *f, struct device_list *l, struct err *err)
{
	const struct drive *d = driven_by(f);
	struct slice above;
	struct sql fits = { .n = 0 };

	if (!word_text(f->prefix, REGISTRY_LABEL_MAX, "prefix", err))
		return false;
	l->sql.n = 0;
	put_fits(&fits, f, d);
	sql_drive(&l->sql, fits.text, d);
	if (f->prefix.n > 0)
		memcpy(l->above, f->prefix.p, f->prefix.n);
	l->above[f->prefix.n] = (char)0xff;
	above = slice_of(l->above, f->prefix.n + 1);
	l->list = (struct list){ .tag = d->tag, .scan = l->sql.text, .text = d->text, .each_tenant = true, .kind = &device_kind,
		.fetch = DEVICE_SELECT "d.id = ?1", .prefix = d->text ? f->prefix : SL(""), .n_more = 10,
		.more = { v_int(f->template), v_int(f->states), v_int(f->expires_before), v_int(f->seen_before), v_int(f->seen_after),
		    v_int(f->online), v_text(f->prefix), v_text(above), v_int(f->certificates), v_int(registry_now(r)) } };
	if (d == &by_expiry)
		bound_ends(f, registry_now(r), &l->list);
	if (d == &by_last_seen) {
		l->list.from = f->seen_after > 0 ? f->seen_after + 1 : 0;
		l->list.end = f->seen_before;
	}
	return tenant_number(r, f->tenant, &l->list.tenant, err);
}

bool
registry_device_list(struct registry *r, const struct registry_device_filter *f, struct registry_page *page, registry_device_fn *each,
    void *ctx, struct err *err)
{
	struct device_list l;

	if (!prepare_list(r, f, &l, err))
		return false;
	l.list.fn = each_row;
	l.list.ctx = &(struct shown){ each, ctx };
	return list_run(r, &l.list, page, err);
}

bool
registry_device_totals(struct registry *r, struct slice tenant, int64_t ret[static REGISTRY_DEVICE_STATES], struct err *err)
{
	struct query q;
	int64_t number, n[REGISTRY_DEVICE_STATES] = { 0 };
	int more;

	if (!tenant_number(r, tenant, &number, err) ||
	    !query_begin(&q, r, "SELECT state, SUM(n) FROM device_tally WHERE ?1 = 0 OR tenant_id = ?1 GROUP BY state", VALUES(v_int(number)), err))
		return false;
	while ((more = query_next(&q)) == 1)
		if (query_int(&q, 0) >= 0 && query_int(&q, 0) < REGISTRY_DEVICE_STATES)
			n[query_int(&q, 0)] = query_int(&q, 1);
	query_end(&q);
	if (more == 0)
		memcpy(ret, n, sizeof n);
	return more == 0;
}
