/* Certificates looked up and listed. */
#include "registry/certificate_row.h"

enum { DAY = 86400 };

static const struct column columns[] = {
	{ COL_TEXT, offsetof(struct registry_certificate, ca) },
	{ COL_SERIAL, offsetof(struct registry_certificate, serial) },
	{ COL_HASH, offsetof(struct registry_certificate, fingerprint) },
	{ COL_HASH, offsetof(struct registry_certificate, spki) },
	{ COL_TEXT, offsetof(struct registry_certificate, cn) },
	{ COL_TEXT, offsetof(struct registry_certificate, tenant) },
	{ COL_TEXT, offsetof(struct registry_certificate, device) },
	{ COL_TEXT, offsetof(struct registry_certificate, profile) },
	{ COL_TEXT, offsetof(struct registry_certificate, origin) },
	{ COL_TEXT, offsetof(struct registry_certificate, by) },
	{ COL_NUMBER, offsetof(struct registry_certificate, state) },
	{ COL_INT, offsetof(struct registry_certificate, not_before) },
	{ COL_INT, offsetof(struct registry_certificate, not_after) },
	{ COL_INT, offsetof(struct registry_certificate, revoked_at) },
	{ COL_NUMBER, offsetof(struct registry_certificate, reason) },
	{ COL_BOOL, offsetof(struct registry_certificate, own) },
	{ COL_INT, offsetof(struct registry_certificate, created) },
	{ COL_BLOB, offsetof(struct registry_certificate, der) },
};
const struct kind certificate_kind = { columns, ARRAY_LEN(columns), sizeof(struct registry_certificate),
	offsetof(struct registry_certificate, mem), "certificate" };

/* ---- one ---- */

bool
registry_certificate_get(struct registry *r, struct slice ca, struct slice serial, struct registry_certificate *ret, struct err *err)
{
	uint8_t buf[REGISTRY_SERIAL_MAX];
	struct slice bytes;

	if (!word_hex(serial, buf, sizeof buf, &bytes))
		return row_missing(err, certificate_kind.what, serial);
	return row_get(r,
	    &(struct row_query){ &certificate_kind, CERTIFICATE_SELECT("x.der") "c.name = ?1 AND x.serial = ?2",
	        VALUES(v_text(ca), v_blob(bytes)), serial }, ret, err);
}

bool
registry_certificate_find(struct registry *r, struct slice issuer_key, struct slice serial_bytes, struct registry_certificate *ret,
    struct err *err)
{
	char hex[2 * REGISTRY_SERIAL_MAX + 1];

	return row_get(r,
	    &(struct row_query){ &certificate_kind, CERTIFICATE_SELECT("x.der") "c.key = ?1 AND x.serial = ?2",
	        VALUES(v_blob(issuer_key), v_blob(serial_bytes)), slice_str(text_hex(serial_bytes, hex, sizeof hex)) }, ret, err);
}

bool
registry_certificate_find_fingerprint(struct registry *r, struct slice fingerprint, struct registry_certificate *ret,
    struct err *err)
{
	uint8_t buf[REGISTRY_HASH];
	struct slice bytes;

	if (!word_hex(fingerprint, buf, sizeof buf, &bytes))
		return row_missing(err, certificate_kind.what, fingerprint);
	return row_get(r,
	    &(struct row_query){ &certificate_kind, CERTIFICATE_SELECT("x.der") "x.fingerprint = ?1", VALUES(v_blob(bytes)), fingerprint },
	    ret, err);
}

bool
registry_secret_answer(struct registry *r, struct slice hash, struct slice key, struct registry_certificate *ret, struct err *err)
{
	struct query q;
	int64_t id = 0;
	int more;

	if (!query_begin(&q, r, "SELECT e.certificate FROM secrets s JOIN enrolled e ON e.secret = s.id WHERE s.hash = ?1 AND e.spki = ?2"
	                        " AND s.revoked = 0 AND (s.expires = 0 OR s.expires > ?3)", VALUES(v_blob(hash), v_blob(key), v_int(registry_now(r))), err))
		return false;
	more = query_next(&q);
	if (more == 1)
		id = query_int(&q, 0);
	query_end(&q);
	return more != -1 &&
	    row_get(r, &(struct row_query){ &certificate_kind, CERTIFICATE_SELECT("x.der") "x.id = ?1 AND x.state = 0", VALUES(v_int(id)), SL("of this secret") }, ret, err);
}

/* ---- lists ---- */

/* The most telling of what the filter says drives, the rest is asked of each entry. */
#define NEWEST " AND x.id < ?2 AND ?1 = 0 ORDER BY x.id DESC LIMIT ?3"
#define OLDEST_LAST(words) { 32, false, "x.id, 0 FROM certificates x " words NEWEST, NULL, NULL }
static const struct drive by_device = OLDEST_LAST("INDEXED BY certificates_device WHERE x.device_id = ?6");
static const struct drive by_cn = OLDEST_LAST("INDEXED BY certificates_cn WHERE x.cn = ?7");
static const struct drive ended = OLDEST_LAST("INDEXED BY certificates_ended WHERE x.state <> 0");
static const struct drive of_tenant = OLDEST_LAST("INDEXED BY certificates_tenant WHERE x.tenant_id = ?12");
static const struct drive of_nobody = OLDEST_LAST("INDEXED BY certificates_tenant WHERE x.tenant_id IS NULL");
static const struct drive all = OLDEST_LAST("WHERE 1");
static const struct drive ends_of_nobody = { 35, false,
	"x.id, x.not_after FROM certificates x INDEXED BY certificates_tenant_end WHERE x.tenant_id IS NULL AND x.state = 0", "x.not_after", "x.id" };
static const struct drive ends_of_tenant = { 33, false,
	"x.id, x.not_after FROM certificates x INDEXED BY certificates_tenant_end WHERE x.tenant_id = ?12 AND x.state = 0", "x.not_after",
	"x.id" };
static const struct drive ends_of_ca = { 34, false,
	"x.id, x.not_after FROM certificates x INDEXED BY certificates_ca_end WHERE x.tenant_id = ?12 AND x.ca_id = ?5 AND x.state = 0",
	"x.not_after", "x.id" };
static const struct drive ends = { 33, false, "x.id, x.not_after FROM certificates x INDEXED BY certificates_end WHERE x.state = 0",
	"x.not_after", "x.id" };

/* The numbers of what a filter names. */
struct who {
	int64_t tenant, device, ca;
};

static const struct drive *
driven_by(const struct registry_certificate_filter *f, const struct who *w)
{
	if (f->order == REGISTRY_CERT_BY_EXPIRY && f->nobodys)
		return &ends_of_nobody;
	if (f->order == REGISTRY_CERT_BY_EXPIRY)
		return w->tenant == 0 ? &ends : w->ca != 0 ? &ends_of_ca : &ends_of_tenant;
	if (w->device != 0)
		return &by_device;
	if (f->cn.n > 0)
		return &by_cn;
	if (f->states != 0 && (f->states & 1u << REGISTRY_CERT_ACTIVE) == 0)
		return &ended;
	return f->nobodys ? &of_nobody : w->tenant != 0 ? &of_tenant : &all;
}

/* ?5 CA, ?6 device, ?7 CN, ?8 states, ?9 expires after, ?10 expires before, ?12 tenant */
static void
put_fits(struct sql *s, const struct registry_certificate_filter *f, const struct who *w, const struct drive *d)
{
	sql_add(s, "SELECT 1");
	if (w->ca != 0 && d != &ends_of_ca)
		sql_add(s, " AND x.ca_id = ?5");
	if (w->device != 0 && d != &by_device)
		sql_add(s, " AND x.device_id = ?6");
	if (f->cn.n > 0 && d != &by_cn)
		sql_add(s, " AND x.cn = ?7");
	if (f->states != 0)
		sql_add(s, " AND (?8 >> x.state) & 1");
	if (f->expires_after != 0 && f->order != REGISTRY_CERT_BY_EXPIRY)
		sql_add(s, " AND x.not_after > ?9");
	if (f->expires_before != 0 && f->order != REGISTRY_CERT_BY_EXPIRY)
		sql_add(s, " AND x.not_after < ?10");
	if (f->nobodys && d != &of_nobody && d != &ends_of_nobody)
		sql_add(s, " AND x.tenant_id IS NULL");
	if (w->tenant != 0 && d != &of_tenant && d != &ends_of_tenant && d != &ends_of_ca)
		sql_add(s, " AND x.tenant_id = ?12");
}

static bool
find_who(struct registry *r, const struct registry_certificate_filter *f, struct who *ret, struct err *err)
{
	struct device_ref ref = { 0 };

	if (!word_text(f->cn, CN_BYTES_MAX, "common name", err) || !tenant_number(r, f->tenant, &ret->tenant, err) ||
	    (f->device.n > 0 && !device_ref(r, f->tenant, f->device, &ref, err)))
		return false;
	ret->device = ref.number;
	if (f->ca.n == 0 || db_int(r, "SELECT id FROM cas WHERE name = ?1", VALUES(v_text(f->ca)), &ret->ca, err))
		return true;
	return r->failed == ERR_MISSING ? row_missing(err, "CA", f->ca) : false;
}

EACH_ROW(registry_certificate_fn)

bool
registry_certificate_list(struct registry *r, const struct registry_certificate_filter *f, struct registry_page *page,
    registry_certificate_fn *each, void *ctx, struct err *err)
{
	struct who w = { 0 };
	struct sql sql = { .n = 0 }, fits = { .n = 0 };
	const struct drive *d;
	struct list l = { .kind = &certificate_kind, .fn = each_row, .ctx = &(struct shown){ each, ctx }, .scan = sql.text, .n_more = 8,
		.fetch = f->with_der ? CERTIFICATE_SELECT("x.der") "x.id = ?1" : CERTIFICATE_SELECT("x''") "x.id = ?1" };

	if (!find_who(r, f, &w, err))
		return false;
	d = driven_by(f, &w);
	put_fits(&fits, f, &w, d);
	sql_drive(&sql, fits.text, d);
	memcpy(l.more, VALUES(v_int(w.ca), v_int(w.device), v_text(f->cn), v_int(f->states), v_int(f->expires_after),
	               v_int(f->expires_before), v_int(0), v_int(w.tenant))->v, 8 * sizeof *l.more);
	l.tag = d->tag;
	l.down = f->order != REGISTRY_CERT_BY_EXPIRY;
	if (!l.down) {
		l.from = f->expires_after > 0 ? f->expires_after + 1 : 0;
		l.end = f->expires_before;
	}
	return list_run(r, &l, page, err);
}

/* Of one tenant it is a piece of the table. */
#define ENDS(whose) "SELECT day, SUM(n) FROM end_tally WHERE " whose "(?2 = 0 OR ca_id = ?2) AND n > 0 GROUP BY day ORDER BY day"

bool
registry_expiry(struct registry *r, struct registry_expiry *e, struct err *err)
{
	struct registry_certificate_filter f = { .tenant = e->tenant, .ca = e->ca };
	struct who w = { 0 };
	int64_t first = e->from / DAY, last = 0;
	struct query q;
	int more;

	if (e->n > INT32_MAX)
		return err_set(err, ERR_LIMIT, "too many days");
	if (!find_who(r, &f, &w, err) ||
	    !query_begin(&q, r, w.tenant != 0 ? ENDS("tenant_id = ?1 AND ") : ENDS(""), VALUES(v_int(w.tenant), v_int(w.ca)), err))
		return false;
	e->before = e->later = e->last = 0;
	if (e->n > 0)
		memset(e->days, 0, e->n * sizeof *e->days);
	while ((more = query_next(&q)) == 1) {
		int64_t n = query_int(&q, 1);

		last = query_int(&q, 0);
		if (last < first)
			e->before += n;
		else if (last - first >= (int64_t)e->n)
			e->later += n;
		else
			e->days[last - first] = n;
		e->last = last * DAY;
	}
	query_end(&q);
	return more != -1;
}

bool
registry_active_each(struct registry *r, struct slice tenant, bool (*each)(void *ctx, const struct registry_active *x), void *ctx, struct err *err)
{
	int64_t number = 0;
	struct query q;
	int more;

	if (!tenant_number(r, tenant, &number, err) ||
	    !query_begin(&q, r, "SELECT c.name, e.n, e.day FROM (SELECT ca_id, SUM(n) AS n, MAX(day) AS day FROM end_tally WHERE tenant_id = ?1 AND n > 0 GROUP BY ca_id) e"
	                        " JOIN cas c ON c.id = e.ca_id ORDER BY c.name", VALUES(v_int(number)), err))
		return false;
	while ((more = query_next(&q)) == 1) {
		const struct registry_active x = { query_text(&q, 0), query_int(&q, 1), query_int(&q, 2) * DAY };

		if (!each(ctx, &x))
			break;
	}
	query_end(&q);
	return more != -1;
}
