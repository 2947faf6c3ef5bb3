/* Certificates: what was issued, to whom it belongs, and whether it still counts. */
#include "registry/certificate_row.h"

static const char *const state_names[] = { "active", "superseded", "hold", "revoked" };
_Static_assert(ARRAY_LEN(state_names) == REGISTRY_CERT_STATES, "a name for each state");

enum { REASON_HOLD = 6, REASON_REMOVE = 8, REASON_MAX = 10 }; /* RFC 5280 5.3.1 */

const char *
registry_certificate_state_name(enum registry_certificate_state s)
{
	return state_names[s];
}

bool
registry_certificate_state_parse(struct slice name, enum registry_certificate_state *ret)
{
	for (unsigned i = 0; i < REGISTRY_CERT_STATES; i++) {
		if (slice_eq(name, slice_str(state_names[i]))) {
			*ret = (enum registry_certificate_state)i;
			return true;
		}
	}
	return false;
}

/* ---- what comes in ---- */

/* The hex of a certificate as bytes, and what it belongs to. */
struct facts {
	uint8_t serial_buf[REGISTRY_SERIAL_MAX], fingerprint_buf[REGISTRY_HASH], spki_buf[REGISTRY_HASH];
	struct slice serial, fingerprint, spki;
	int64_t ca, number;         /* <number>: of the row, 0: not there yet */
	struct device_ref device;   /* .number 0: none */
	bool client;                /* its CA's role */
};

static bool
text_fields_ok(const struct registry_certificate *c, struct err *err)
{
	if (c->cn.n > CN_BYTES_MAX)
		return err_set(err, ERR_INPUT, "the certificate's common name is too long");
	if (c->der.n > REGISTRY_DER_MAX)
		return err_set(err, ERR_LIMIT, "the certificate is too large: at most %d bytes", REGISTRY_DER_MAX);
	if ((unsigned)c->state >= REGISTRY_CERT_STATES)
		return err_set(err, ERR_INPUT, "there is no such state of a certificate");
	return word_text(c->cn, CN_BYTES_MAX, "common name", err) && word_text(c->profile, REGISTRY_LABEL_MAX, "profile", err) &&
	    word_text(c->origin, REGISTRY_LABEL_MAX, "origin", err) && word_text(c->by, REGISTRY_LABEL_MAX, "issuer's name", err);
}

static bool
hex_fields(const struct registry_certificate *c, struct facts *f, struct err *err)
{
	if (!word_hex(slice_str(c->serial), f->serial_buf, sizeof f->serial_buf, &f->serial))
		return err_set(err, ERR_INPUT, "a serial number is 1 to %d bytes in hex", REGISTRY_SERIAL_MAX);
	if (!word_hex(slice_str(c->fingerprint), f->fingerprint_buf, sizeof f->fingerprint_buf, &f->fingerprint) ||
	    !word_hash(f->fingerprint, "fingerprint", NULL))
		return err_set(err, ERR_INPUT, "a fingerprint is a SHA-256 in hex");
	if (c->spki[0] != '\0' && (!word_hex(slice_str(c->spki), f->spki_buf, sizeof f->spki_buf, &f->spki) ||
	                              !word_hash(f->spki, "key", NULL)))
		return err_set(err, ERR_INPUT, "a key is a SHA-256 in hex");
	return true;
}

static bool
find_ca(struct registry *r, struct slice ca, struct facts *f, struct err *err)
{
	struct query q;
	int more;

	if (!query_begin(&q, r, "SELECT id, role = 'client' FROM cas WHERE name = ?1", VALUES(v_text(ca)), err))
		return false;
	more = query_next(&q);
	if (more == 1) {
		f->ca = query_int(&q, 0);
		f->client = query_int(&q, 1) != 0;
	}
	query_end(&q);
	return more == 1 || (more == 0 && row_missing(err, "CA", ca));
}

static bool
find_facts(struct registry *r, const struct registry_certificate *c, struct facts *f, struct err *err)
{
	*f = (struct facts){ 0 };
	if (!text_fields_ok(c, err) || !hex_fields(c, f, err) || !find_ca(r, c->ca, f, err))
		return false;
	if (c->device.n > 0)
		return device_ref(r, c->tenant, c->device, &f->device, err);
	if (f->client && !device_ref_cn(r, c->cn, &f->device, err))
		return false;
	return f->device.number != 0 || tenant_number(r, c->tenant, &f->device.tenant, err);
}

/* ---- making ---- */

static bool
insert(struct registry *r, const struct registry_certificate *c, struct facts *f, struct err *err)
{
	if (!db_run(r, "INSERT INTO certificates(ca_id, serial, fingerprint, spki, cn, tenant_id, device_id, profile, origin, by, state,"
	               " not_before, not_after, revoked_at, reason, created, der)"
	               " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
	        VALUES(v_int(f->ca), v_blob(f->serial), v_blob(f->fingerprint), v_blob(f->spki), v_text(c->cn), v_ref(f->device.tenant),
	            v_ref(f->device.number), v_text(c->profile), v_text(c->origin), v_text(c->by), v_int((int)c->state),
	            v_int(c->not_before), v_int(c->not_after), v_int(c->revoked_at), v_int(c->reason), v_int(registry_now(r)),
	            v_blob(c->der)), err))
		return r->failed == ERR_EXISTS ? row_exists(err, certificate_kind.what, slice_str(c->serial)) : false;
	f->number = sqlite3_last_insert_rowid(r->db);
	return true;
}

/* A device may have certificates of several CAs; somebody else is a CN of one CA. */
static bool
supersede(struct registry *r, const struct registry_certificate *c, const struct facts *f, struct err *err)
{
	if (f->device.number != 0)
		return db_run(r, "UPDATE certificates INDEXED BY certificates_device SET state = 1 WHERE device_id = ?1 AND state = 0 AND id <> ?2",
		    VALUES(v_int(f->device.number), v_int(f->number)), err);
	return db_run(r, "UPDATE certificates INDEXED BY certificates_cn SET state = 1 WHERE cn = ?1 AND ca_id = ?3 AND state = 0 AND id <> ?2",
	    VALUES(v_text(c->cn), v_int(f->number), v_int(f->ca)), err);
}

static bool
add(struct registry *r, const struct registry_certificate_new *n, struct err *err)
{
	struct registry_certificate c = n->certificate;
	struct facts f;

	c.state = REGISTRY_CERT_ACTIVE;
	c.revoked_at = c.reason = 0;
	return find_facts(r, &c, &f, err) && (n->secret == 0 || secrets_use(r, n->secret, err)) && insert(r, &c, &f, err) &&
	    (n->secret == 0 || f.spki.n == 0 || db_run(r, "INSERT OR REPLACE INTO enrolled VALUES(?1, ?2, ?3)", VALUES(v_int(n->secret), v_blob(f.spki), v_int(f.number)), err)) &&
	    (!n->supersede || supersede(r, &c, &f, err)) && (n->keep_entity || entity_generated(r, c.cn, err)) &&
	    device_dates(r, f.device.number, err);
}

bool
registry_certificate_add(struct registry *r, const struct registry_certificate_new *n, struct err *err)
{
	return change_begin(r, err) && change_end(r, add(r, n, err), err);
}

/* ---- importing ---- */

struct known {
	int64_t id;
	enum registry_certificate_state state;
	bool same, has_der, has_spki, has_device;
};

static bool
find_known(struct registry *r, const struct facts *f, struct known *ret, struct err *err)
{
	struct query q;
	int more;

	*ret = (struct known){ 0 };
	if (!query_begin(&q, r, "SELECT id, state, fingerprint = ?3, der <> x'', spki <> x'', device_id IS NOT NULL FROM certificates"
	                  " WHERE ca_id = ?1 AND serial = ?2", VALUES(v_int(f->ca), v_blob(f->serial), v_blob(f->fingerprint)), err))
		return false;
	more = query_next(&q);
	if (more == 1)
		*ret = (struct known){ query_int(&q, 0), (enum registry_certificate_state)query_int(&q, 1), query_int(&q, 2) != 0,
			query_int(&q, 3) != 0, query_int(&q, 4) != 0, query_int(&q, 5) != 0 };
	query_end(&q);
	return more != -1;
}

static bool
count_revocation(struct registry *r, int64_t ca, struct err *err)
{
	return db_run(r, "UPDATE cas SET revocations = revocations + 1 WHERE id = ?1", VALUES(v_int(ca)), err);
}

/* What the index knows and we do not. States only go on: active, superseded, hold, revoked. */
static bool
update(struct registry *r, const struct registry_certificate *c, const struct facts *f, const struct known *k, bool *ret_news,
    struct err *err)
{
	bool state = c->state > k->state, der = c->der.n > 0 && !k->has_der, spki = f->spki.n > 0 && !k->has_spki,
	     device = f->device.number != 0 && !k->has_device && k->state != REGISTRY_CERT_REVOKED;

	*ret_news = state || der || spki || device;
	if (state && (!db_run(r, "UPDATE certificates SET state = ?2, revoked_at = ?3, reason = ?4 WHERE id = ?1",
	                  VALUES(v_int(k->id), v_int((int)c->state), v_int(c->revoked_at), v_int(c->reason)), err) ||
	                 (c->state >= REGISTRY_CERT_HOLD && !count_revocation(r, f->ca, err))))
		return false;
	if (c->state >= REGISTRY_CERT_HOLD && c->state >= k->state && !db_run(r, "DELETE FROM unbooked WHERE id = ?1", VALUES(v_int(k->id)), err))
		return false;
	return (!der || db_run(r, "UPDATE certificates SET der = ?2 WHERE id = ?1", VALUES(v_int(k->id), v_blob(c->der)), err)) &&
	    (!spki || db_run(r, "UPDATE certificates SET spki = ?2 WHERE id = ?1", VALUES(v_int(k->id), v_blob(f->spki)), err)) &&
	    (!device || db_run(r, "UPDATE certificates SET device_id = ?2, tenant_id = ?3 WHERE id = ?1",
	                    VALUES(v_int(k->id), v_int(f->device.number), v_int(f->device.tenant)), err)) &&
	    device_dates(r, f->device.number, err);
}

static bool
import(struct registry *r, const struct registry_certificate *c, bool *ret_news, struct err *err)
{
	struct facts f;
	struct known k;

	if (!find_facts(r, c, &f, err) || !find_known(r, &f, &k, err))
		return false;
	if (k.id != 0 && !k.same)
		return err_set(err, ERR_CONFLICT, "CA \"%.*s\" has issued serial number %s twice", SL_ARG(c->ca), c->serial);
	if (k.id != 0)
		return update(r, c, &f, &k, ret_news, err);
	*ret_news = true;
	return insert(r, c, &f, err) && (c->state < REGISTRY_CERT_HOLD || count_revocation(r, f.ca, err)) &&
	    device_dates(r, f.device.number, err);
}

bool
registry_certificate_import(struct registry *r, const struct registry_certificate *c, bool *ret_news, struct err *err)
{
	bool news = false;

	if (!change_begin(r, err) || !change_end(r, import(r, c, &news, err), err))
		return false;
	if (ret_news != NULL)
		*ret_news = news;
	return true;
}

/* ---- which one ---- */

struct one {
	int64_t id, ca, device;
	enum registry_certificate_state state;
	int64_t revoked_at;
	bool own; /* its CA's key is here */
};

static bool
find_one(struct registry *r, struct slice ca, struct slice serial, struct one *ret, struct err *err)
{
	uint8_t buf[REGISTRY_SERIAL_MAX];
	struct slice bytes;
	struct query q;
	int more;

	if (!word_hex(serial, buf, sizeof buf, &bytes))
		return row_missing(err, certificate_kind.what, serial);
	if (!query_begin(&q, r, "SELECT x.id, x.ca_id, COALESCE(x.device_id, 0), x.state, x.revoked_at, c.own FROM cas c JOIN certificates x"
	                  " ON x.ca_id = c.id AND x.serial = ?2 WHERE c.name = ?1", VALUES(v_text(ca), v_blob(bytes)), err))
		return false;
	more = query_next(&q);
	if (more == 1)
		*ret = (struct one){ query_int(&q, 0), query_int(&q, 1), query_int(&q, 2), (enum registry_certificate_state)query_int(&q, 3),
			query_int(&q, 4), query_int(&q, 5) != 0 };
	query_end(&q);
	return more == 1 || (more == 0 && row_missing(err, certificate_kind.what, serial));
}

/* ---- revoking ---- */

static bool
reason_ok(int reason, struct err *err)
{
	return (reason >= 0 && reason <= REASON_MAX && reason != 7 && reason != REASON_REMOVE) ||
	    err_set(err, ERR_INPUT, "there is no reason %d of a revocation", reason);
}

static bool
set_state(struct registry *r, const struct one *c, enum registry_certificate_state state, int reason, struct err *err)
{
	/* Who was on hold is revoked since then: RFC 5280 5.3.1 has the hold's end as the revocation's beginning. */
	int64_t at = state < REGISTRY_CERT_HOLD ? 0 : c->state == REGISTRY_CERT_HOLD ? c->revoked_at : registry_now(r);

	return db_run(r, "UPDATE certificates SET state = ?2, revoked_at = ?3, reason = ?4 WHERE id = ?1",
	           VALUES(v_int(c->id), v_int((int)state), v_int(at), v_int(reason)), err) &&
	    count_revocation(r, c->ca, err) && device_dates(r, c->device, err);
}

/* Nobody here makes lists for a factory's CA: what it issued would only seem to be revoked. */
static bool
can_list(const struct one *c, struct slice ca, struct err *err)
{
	return c->own || err_set(err, ERR_DENIED, "the key of CA \"%.*s\" is not here, so no revocation list can name its certificates", SL_ARG(ca));
}

static bool
revoke(struct registry *r, struct slice ca, struct slice serial, int reason, struct err *err)
{
	struct one c = { 0 };

	if (!find_one(r, ca, serial, &c, err) || !can_list(&c, ca, err))
		return false;
	if (c.state == REGISTRY_CERT_REVOKED || (c.state == REGISTRY_CERT_HOLD && reason == REASON_HOLD))
		return err_set(err, ERR_EXISTS, "certificate %.*s of CA \"%.*s\" is %s already", SL_ARG(serial), SL_ARG(ca),
		    c.state == REGISTRY_CERT_HOLD ? "on hold" : "revoked");
	return set_state(r, &c, reason == REASON_HOLD ? REGISTRY_CERT_HOLD : REGISTRY_CERT_REVOKED, reason, err);
}

bool
registry_certificate_revoke(struct registry *r, struct slice ca, struct slice serial, int reason, struct err *err)
{
	return reason_ok(reason, err) && change_begin(r, err) && change_end(r, revoke(r, ca, serial, reason, err), err);
}

static bool
unhold(struct registry *r, struct slice ca, struct slice serial, struct err *err)
{
	struct one c = { 0 };

	if (!find_one(r, ca, serial, &c, err))
		return false;
	if (c.state != REGISTRY_CERT_HOLD)
		return err_set(err, ERR_DENIED, "certificate %.*s is not on hold: it is %s", SL_ARG(serial), state_names[c.state]);
	return set_state(r, &c, REGISTRY_CERT_ACTIVE, 0, err);
}

bool
registry_certificate_unhold(struct registry *r, struct slice ca, struct slice serial, struct err *err)
{
	return change_begin(r, err) && change_end(r, unhold(r, ca, serial, err), err);
}

/* Of a device (?4) or, without one, of a CN (?5). On hold (?1 = 2) is no news for what is on hold. */
#define WHICH_DEVICE "certificates INDEXED BY certificates_device WHERE device_id = ?4 AND state < CASE ?1 WHEN 2 THEN 2 ELSE 3 END"
#define WHICH_CN "certificates INDEXED BY certificates_cn WHERE cn = ?5 AND state < CASE ?1 WHEN 2 THEN 2 ELSE 3 END"
#define SET " SET state = ?1, reason = ?2, revoked_at = CASE state WHEN 2 THEN revoked_at ELSE ?3 END "

static bool
revoke_many(struct registry *r, int64_t device, struct slice cn, int reason, unsigned *ret_n, struct err *err)
{
	struct values *v = &(struct values){ (const struct value[]){
	    v_int(reason == REASON_HOLD ? REGISTRY_CERT_HOLD : REGISTRY_CERT_REVOKED), v_int(reason), v_int(registry_now(r)),
	    v_int(device), v_text(cn) }, 5 };

	if (!db_run(r, device != 0 ? "UPDATE cas SET revocations = revocations + 1 WHERE id IN (SELECT ca_id FROM " WHICH_DEVICE ")"
	                           : "UPDATE cas SET revocations = revocations + 1 WHERE id IN (SELECT ca_id FROM " WHICH_CN ")", v, err) ||
	    !db_run(r, device != 0 ? "UPDATE certificates INDEXED BY certificates_device" SET
	                             "WHERE device_id = ?4 AND state < CASE ?1 WHEN 2 THEN 2 ELSE 3 END"
	                           : "UPDATE certificates INDEXED BY certificates_cn" SET
	                             "WHERE cn = ?5 AND state < CASE ?1 WHEN 2 THEN 2 ELSE 3 END", v, err))
		return false;
	*ret_n = (unsigned)db_changed(r);
	return device_dates(r, device, err);
}

bool
certificates_revoke(struct registry *r, const struct device_ref *device, int reason, unsigned *ret_n, struct err *err)
{
	return reason_ok(reason, err) && revoke_many(r, device->number, SL(""), reason, ret_n, err);
}

static bool
revoke_cn(struct registry *r, struct slice cn, int reason, unsigned *ret_n, struct err *err)
{
	struct device_ref ref = { 0 };
	unsigned n = 0;

	/* The device's first: they are its whatever CN they have. */
	if (!device_ref_cn(r, cn, &ref, err) || (ref.number != 0 && !revoke_many(r, ref.number, cn, reason, &n, err)) ||
	    !revoke_many(r, 0, cn, reason, ret_n, err))
		return false;
	*ret_n += n;
	return true;
}

bool
registry_certificate_revoke_all(struct registry *r, struct slice cn, int reason, unsigned *ret_n, struct err *err)
{
	unsigned n = 0;

	if (!reason_ok(reason, err) || !change_begin(r, err) || !change_end(r, revoke_cn(r, cn, reason, &n, err), err))
		return false;
	*ret_n = n;
	return true;
}

/* ---- what the signer is to book ---- */

bool
registry_unbooked_each(struct registry *r, unsigned max, bool (*each)(void *ctx, const struct registry_unbooked *v), void *ctx, struct err *err)
{
	struct query q;
	int more;

	if (!query_begin(&q, r, "SELECT c.name, x.serial, CASE WHEN x.state >= 2 THEN x.reason ELSE -1 END, x.revoked_at FROM unbooked u"
	                  " JOIN certificates x ON x.id = u.id JOIN cas c ON c.id = x.ca_id ORDER BY u.id LIMIT ?1", VALUES(v_int(max)), err))
		return false;
	while ((more = query_next(&q)) == 1) {
		struct registry_unbooked v = { .ca = query_text(&q, 0), .reason = (int)query_int(&q, 2), .at = query_int(&q, 3) };

		(void)text_hex(query_blob(&q, 1), v.serial, sizeof v.serial);
		if (!each(ctx, &v))
			break;
	}
	query_end(&q);
	return more != -1;
}

static bool
booked(struct registry *r, struct slice ca, struct slice serial, int reason, struct err *err)
{
	struct one c = { 0 };

	return find_one(r, ca, serial, &c, err) &&
	    db_run(r, "DELETE FROM unbooked WHERE id = ?1 AND ?2 = (SELECT CASE WHEN state >= 2 THEN reason ELSE -1 END FROM certificates WHERE id = ?1)",
	        VALUES(v_int(c.id), v_int(reason)), err);
}

bool
registry_booked(struct registry *r, struct slice ca, struct slice serial, int reason, struct err *err)
{
	return change_begin(r, err) && change_end(r, booked(r, ca, serial, reason, err), err);
}

/* ---- owners ---- */

static bool
assign(struct registry *r, struct slice fingerprint, struct slice tenant, struct slice device, struct err *err)
{
	uint8_t buf[REGISTRY_HASH];
	struct slice bytes = { 0 };
	struct device_ref ref = { 0 };
	int64_t before = 0;

	if (!word_hex(fingerprint, buf, sizeof buf, &bytes) ||
	    !db_int(r, "SELECT COALESCE(device_id, 0) FROM certificates WHERE fingerprint = ?1", VALUES(v_blob(bytes)), &before, err))
		return bytes.n == 0 || r->failed == ERR_MISSING ? row_missing(err, certificate_kind.what, fingerprint) : false;
	if (device.n > 0 ? !device_ref(r, tenant, device, &ref, err) : !tenant_number(r, tenant, &ref.tenant, err))
		return false;
	return db_run(r, "UPDATE certificates SET device_id = ?2, tenant_id = ?3 WHERE fingerprint = ?1",
	           VALUES(v_blob(bytes), v_ref(ref.number), v_ref(ref.tenant)), err) &&
	    device_dates(r, before, err) && device_dates(r, ref.number, err);
}

bool
registry_certificate_assign(struct registry *r, struct slice fingerprint, struct slice tenant, struct slice device, struct err *err)
{
	return change_begin(r, err) && change_end(r, assign(r, fingerprint, tenant, device, err), err);
}
