/* Requests as bytes: everything that control says comes through here, whoever control is by then. */
#include "signer/internal.h"

void
put_i64(struct wr *w, int64_t v)
{
	wr_u32(w, (uint32_t)((uint64_t)v >> 32));
	wr_u32(w, (uint32_t)v);
}

static uint64_t
get_u64(struct rd *r)
{
	uint64_t high = rd_u32(r);

	return high << 32 | rd_u32(r);
}

int64_t
get_i64(struct rd *r)
{
	return (int64_t)get_u64(r);
}

void
put_entry(struct wr *w, const struct signer_entry *e)
{
	wr_u8(w, e->serial_n);
	wr_bytes(w, slice_of(e->serial, e->serial_n));
	wr_u8(w, (uint8_t)e->reason);
	put_i64(w, e->at);
}

/* Text for people and certificates: UTF-8 without NUL, and it fits. */
static bool
text(struct rd *r, char *out, size_t cap)
{
	struct slice s = rd_str(r);

	return rd_ok(r) && utf8_ok(s) && text_copy(out, cap, s);
}

/* Times that a certificate or list can hold (RFC 5280 4.1.2.5: to the end of 9999). */
static bool
time_ok(int64_t t)
{
	return t >= 0 && t <= INT64_C(253402300799);
}

static bool
parse_issue(struct req *r, struct rd *in)
{
	uint8_t flags;
	uint16_t n;

	if (!text(in, r->ca, sizeof r->ca) || !text(in, r->profile, sizeof r->profile) || !text(in, r->actor, sizeof r->actor))
		return false;
	flags = rd_u8(in);
	r->has_cn = (flags & ISSUE_HAS_CN) != 0;
	r->only_names = (flags & ISSUE_ONLY_NAMES) != 0;
	if ((flags & ~(ISSUE_HAS_CN | ISSUE_ONLY_NAMES)) != 0 || !text(in, r->cn, sizeof r->cn))
		return false;
	r->days = rd_u32(in);
	r->csr = rd_str(in);
	n = rd_u16(in);
	if (!rd_ok(in) || n > SIGNER_NAMES_MAX || r->csr.n == 0 || r->csr.n > SIGNER_CSR_MAX)
		return false;
	for (r->n_names = 0; r->n_names < n; r->n_names++) {
		if (!text(in, r->names[r->n_names], NAME_CAP))
			return false;
		r->name_list[r->n_names] = r->names[r->n_names];
	}
	return true;
}

/* As the index has them: pairs of lower-case digits. */
static bool
serial_ok(const char *hex)
{
	size_t n = strlen(hex);

	return n >= 2 && n % 2 == 0 && n <= 2 * SIGNER_SERIAL_MAX && strspn(hex, "0123456789abcdef") == n;
}

static bool
parse_revoke(struct req *r, struct rd *in)
{
	if (!text(in, r->ca, sizeof r->ca) || !text(in, r->actor, sizeof r->actor) || !text(in, r->serial, sizeof r->serial))
		return false;
	r->reason = rd_u8(in);
	if (r->reason == 0xff) /* -1 in a byte */
		r->reason = -1;
	r->at = get_i64(in);
	return serial_ok(r->serial) && r->reason >= -1 && r->reason <= 10 && r->reason != 7 && time_ok(r->at);
}

static bool
entry_parse(struct rd *in, struct signer_entry *ret)
{
	struct slice serial;

	ret->serial_n = rd_u8(in);
	serial = rd_take(in, ret->serial_n);
	if (!rd_ok(in) || serial.n < 1 || serial.n > sizeof ret->serial)
		return false;
	memcpy(ret->serial, serial.p, serial.n);
	ret->reason = (int8_t)rd_u8(in);
	ret->at = get_i64(in);
	return rd_ok(in) && ret->reason >= -2 && ret->reason <= 10 && time_ok(ret->at);
}

struct signer_entry
entry_next(struct slice *entries)
{
	struct rd in = rd_of(*entries);
	struct signer_entry e = { 0 };

	(void)entry_parse(&in, &e);
	*entries = slice_from(*entries, entries->n - rd_left(&in));
	return e;
}

/* To the end of the message. */
static bool
parse_entries(struct req *r, struct rd *in, size_t max, bool ocsp)
{
	struct signer_entry e;

	r->entries = slice_of(in->p, rd_left(in));
	for (r->n_entries = 0; rd_ok(in) && rd_left(in) > 0; r->n_entries++) {
		if (r->n_entries == max || !entry_parse(in, &e) || (!ocsp && e.reason < 0))
			return false;
	}
	return rd_ok(in);
}

static bool
parse_crl(struct req *r, struct rd *in)
{
	uint8_t flags = rd_u8(in);

	r->first = (flags & CRL_FIRST) != 0;
	r->last = (flags & CRL_LAST) != 0;
	if ((flags & ~(CRL_FIRST | CRL_LAST)) != 0 || !text(in, r->ca, sizeof r->ca) || !text(in, r->actor, sizeof r->actor))
		return false;
	r->number = get_u64(in);
	r->days = rd_u32(in);
	return parse_entries(r, in, MESSAGE_MAX, false);
}

static bool
parse_ocsp(struct req *r, struct rd *in)
{
	uint8_t flags = rd_u8(in);

	r->sha256 = flags == 1;
	if (flags > 1 || !text(in, r->ca, sizeof r->ca) || !text(in, r->actor, sizeof r->actor))
		return false;
	r->good_for = rd_u32(in);
	r->nonce = rd_str(in);
	return rd_ok(in) && r->nonce.n <= SIGNER_NONCE_MAX && r->good_for >= 1 && r->good_for <= SIGNER_OCSP_DAYS_MAX * 86400 &&
	    parse_entries(r, in, SIGNER_OCSP_MAX, true) && r->n_entries > 0;
}

static bool
parse_log(struct req *r, struct rd *in)
{
	uint16_t n;

	if (!text(in, r->actor, sizeof r->actor) || !text(in, r->action, sizeof r->action) || !text(in, r->object, sizeof r->object))
		return false;
	n = rd_u16(in);
	if (!rd_ok(in) || n > SIGNER_DETAILS_MAX || r->action[0] == '\0')
		return false;
	for (r->n_details = 0; r->n_details < n; r->n_details++) {
		if (!text(in, r->detail_names[r->n_details], DETAIL_CAP) || !text(in, r->detail_values[r->n_details], VALUE_CAP))
			return false;
	}
	return true;
}

static bool
parse_nothing(struct req *r, struct rd *in)
{
	(void)r;
	return rd_ok(in);
}

bool
req_parse(struct req *r, struct slice message, struct err *err)
{
	static bool (*const parsers[])(struct req *, struct rd *) = {
		[REQ_CAS] = parse_nothing, [REQ_ISSUE] = parse_issue, [REQ_REVOKE] = parse_revoke, [REQ_CRL] = parse_crl,
		[REQ_OCSP] = parse_ocsp, [REQ_LOG] = parse_log, [REQ_CHECKPOINT] = parse_nothing,
	};
	struct rd in = rd_of(message);
	uint8_t type = rd_u8(&in);

	*r = (struct req){ .id = rd_u32(&in) };
	if (message.n > MESSAGE_MAX || !rd_ok(&in) || type >= ARRAY_LEN(parsers) || parsers[type] == NULL)
		return err_set(err, ERR_INPUT, "this is no request");
	r->type = (enum req_type)type;
	if (!parsers[type](r, &in) || !rd_ok(&in))
		return err_set(err, ERR_INPUT, "a request of type %u has a field that is out of its bounds or not text", type);
	return rd_left(&in) == 0 || err_set(err, ERR_INPUT, "a request of type %u has bytes behind its end", type);
}
