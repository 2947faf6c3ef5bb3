/* Records to bytes and back. What is read comes from a disk: every length is looked at. */
#include <stdlib.h>
#include "base/num.h"
#include "base/rd.h"
#include "base/wr.h"
#include "broker/record.h"
#include "broker/ring.h"
#include "topic/topic.h"

enum { VERSION = 1 };

static void
put_u64(struct wr *w, uint64_t v)
{
	wr_u32(w, (uint32_t)(v >> 32));
	wr_u32(w, (uint32_t)v);
}

static uint64_t
get_u64(struct rd *r)
{
	uint64_t high = rd_u32(r);

	return high << 32 | rd_u32(r);
}

static struct rd
open_record(struct slice s)
{
	struct rd r = rd_of(s);

	if (rd_u8(&r) != VERSION)
		r.bad = true;
	return r;
}

static bool
whole(const struct rd *r)
{
	return rd_ok(r) && rd_left(r) == 0;
}

/* ---- sessions ---- */

enum { HAS_CERT = 1, HAS_USERNAME = 2, HAS_KEY = 4, HAS_FINGERPRINT = 8, UNCLAIMED = 16, HAS_LISTENER = 32 };

size_t
record_session_size(const struct record_session *r)
{
	const struct authz_facts *f = &r->who;

	return 128 + r->id.n + r->listener.name.n + f->cn.n + f->username.n + f->subject.n + f->issuer.n + f->serial.n + f->chain.n;
}

struct slice
record_put_session(uint8_t *out, const struct record_session *r)
{
	const struct authz_facts *f = &r->who;
	struct wr w = wr_of(out, record_session_size(r));

	wr_u8(&w, VERSION);
	wr_str(&w, r->id);
	wr_u32(&w, r->expiry_s);
	wr_u16(&w, r->listener.at);
	put_u64(&w, (uint64_t)r->away_since);
	wr_u8(&w, (uint8_t)f->role);
	wr_u8(&w, (uint8_t)((f->has_cert ? HAS_CERT : 0) | (f->username.p != NULL ? HAS_USERNAME : 0) |
			    (f->issuer_key != NULL ? HAS_KEY : 0) | (f->fingerprint != NULL ? HAS_FINGERPRINT : 0) |
			    (r->unclaimed ? UNCLAIMED : 0) | (r->listener.name.p != NULL ? HAS_LISTENER : 0)));
	put_u64(&w, (uint64_t)f->not_after);
	put_u64(&w, f->credential);
	wr_str(&w, f->cn);
	wr_str(&w, f->username);
	wr_str(&w, f->subject);
	wr_str(&w, f->issuer);
	wr_str(&w, f->serial);
	wr_str(&w, f->chain);
	if (f->issuer_key != NULL)
		wr_bytes(&w, slice_of(f->issuer_key, 32));
	if (f->fingerprint != NULL)
		wr_bytes(&w, slice_of(f->fingerprint, 32));
	if (r->listener.name.p != NULL)
		wr_str(&w, r->listener.name);
	return wr_ok(&w) ? wr_slice(&w) : (struct slice){ 0 };
}

bool
record_get_session(struct slice s, struct record_session *ret)
{
	struct rd r = open_record(s);
	struct authz_facts *f = &ret->who;
	unsigned role, flags;

	*ret = (struct record_session){ .id = rd_str(&r) };
	ret->expiry_s = rd_u32(&r);
	ret->listener.at = rd_u16(&r);
	ret->away_since = (int64_t)get_u64(&r);
	role = rd_u8(&r);
	flags = rd_u8(&r);
	f->not_after = (int64_t)get_u64(&r);
	f->credential = get_u64(&r);
	f->cn = rd_str(&r);
	f->username = rd_str(&r);
	f->subject = rd_str(&r);
	f->issuer = rd_str(&r);
	f->serial = rd_str(&r);
	f->chain = rd_str(&r);
	if ((flags & HAS_KEY) != 0)
		f->issuer_key = rd_take(&r, 32).p;
	if ((flags & HAS_FINGERPRINT) != 0)
		f->fingerprint = rd_take(&r, 32).p;
	if ((flags & HAS_LISTENER) != 0)
		ret->listener.name = rd_str(&r);
	if ((flags & HAS_USERNAME) == 0)
		f->username = (struct slice){ 0 };
	f->has_cert = (flags & HAS_CERT) != 0;
	ret->unclaimed = (flags & UNCLAIMED) != 0;
	f->role = role < AUTHZ_ROLE_COUNT ? (enum authz_role)role : AUTHZ_ROLE_NONE;
	return whole(&r) && ret->id.n > 0 && role < AUTHZ_ROLE_COUNT && f->serial.n <= AUTHZ_SERIAL_MAX &&
	    f->chain.n <= AUTHZ_CHAIN_MAX;
}

/* ---- owners of retained messages ---- */

size_t
record_source_size(const struct record_source *r)
{
	return 10 + r->listener.name.n + r->who.cn.n + r->who.username.n;
}

struct slice
record_put_source(uint8_t *out, const struct record_source *r)
{
	const struct authz_facts *f = &r->who;
	struct wr w = wr_of(out, record_source_size(r));

	wr_u8(&w, VERSION);
	wr_u8(&w, (uint8_t)f->role);
	wr_u8(&w, (uint8_t)((f->has_cert ? HAS_CERT : 0) | (f->username.p != NULL ? HAS_USERNAME : 0) |
			    (r->listener.name.p != NULL ? HAS_LISTENER : 0)));
	wr_u16(&w, r->listener.at);
	wr_str(&w, f->cn);
	if (r->listener.name.p != NULL)
		wr_str(&w, r->listener.name);
	if (f->username.p != NULL)
		wr_bytes(&w, f->username);
	return wr_ok(&w) ? wr_slice(&w) : (struct slice){ 0 };
}

bool
record_get_source(struct slice s, struct record_source *ret)
{
	struct rd r = open_record(s);
	unsigned role = rd_u8(&r), flags = rd_u8(&r);

	*ret = (struct record_source){ .listener.at = rd_u16(&r) };
	ret->who.cn = rd_str(&r);
	if ((flags & HAS_LISTENER) != 0)
		ret->listener.name = rd_str(&r);
	ret->who.has_cert = (flags & HAS_CERT) != 0;
	ret->who.role = role < AUTHZ_ROLE_COUNT ? (enum authz_role)role : AUTHZ_ROLE_NONE;
	if ((flags & HAS_USERNAME) != 0)
		ret->who.username = rd_take(&r, rd_left(&r));
	return whole(&r) && role < AUTHZ_ROLE_COUNT;
}

/* ---- subscriptions ---- */

enum { SUB_SHARE = 0x80 /* of the options: a number follows */ };

struct slice
record_put_sub(uint8_t out[static RECORD_SUB_MAX], const struct record_sub *r)
{
	struct wr w = wr_of(out, RECORD_SUB_MAX);

	wr_u8(&w, VERSION);
	put_u64(&w, r->session);
	wr_u32(&w, r->id);
	wr_u8(&w, (uint8_t)(r->options | (r->share != 0 ? SUB_SHARE : 0)));
	if (r->share != 0)
		wr_u8(&w, r->share);
	return wr_slice(&w);
}

bool
record_get_sub(struct slice s, struct record_sub *ret)
{
	struct rd r = open_record(s);

	ret->session = get_u64(&r);
	ret->id = rd_u32(&r);
	ret->options = rd_u8(&r);
	ret->share = (ret->options & SUB_SHARE) != 0 ? rd_u8(&r) : 0;
	ret->options &= (uint8_t)~SUB_SHARE;
	ret->filter = rd_take(&r, rd_left(&r));
	return rd_ok(&r) && ret->filter.n > 0 && ret->filter.n <= UINT16_MAX && ret->share <= SHARE_SLOTS;
}

/* ---- messages ---- */

enum { BODY_QOS = 3, BODY_RETAIN = 4, BODY_STAMPED = 8 };

struct slice
record_put_body(uint8_t out[static RECORD_BODY_HEAD], const struct msg *m, int64_t expires)
{
	struct wr w = wr_of(out, RECORD_BODY_HEAD);

	wr_u8(&w, VERSION);
	wr_u8(&w, (uint8_t)((m->qos & BODY_QOS) | (m->retain ? BODY_RETAIN : 0) | (m->stamped ? BODY_STAMPED : 0)));
	put_u64(&w, (uint64_t)expires);
	wr_u16(&w, m->topic_n);
	wr_u32(&w, m->props_n);
	wr_u16(&w, m->origin_n);
	return wr_slice(&w);
}

struct slice
record_body_bytes(const struct msg *m)
{
	return slice_of(m->bytes + 2, (size_t)m->topic_n + m->props_n + m->payload_n + m->origin_n);
}

struct msg *
record_get_body(struct slice s, const struct record_now *now, bool *ret_nomem)
{
	struct rd r = open_record(s);
	unsigned flags = rd_u8(&r);
	int64_t expires = (int64_t)get_u64(&r);
	uint16_t topic_n = rd_u16(&r), origin_n;
	uint32_t props_n = rd_u32(&r);
	struct mqtt_publish p = { .qos = flags & BODY_QOS, .retain = (flags & BODY_RETAIN) != 0, .has_expiry = expires != 0 };
	struct slice origin;
	struct msg *m;

	*ret_nomem = false;
	origin_n = rd_u16(&r);
	p.topic = rd_take(&r, topic_n);
	p.forward = rd_take(&r, props_n);
	p.forward_n = props_n;
	/* Whoever sent it before stamps were switched on could write what he liked. */
	if (now->stamps && (flags & BODY_STAMPED) == 0) {
		p.props = p.forward;
		mqtt_withhold(&p, STAMP_PREFIX);
	}
	if (rd_left(&r) < origin_n)
		return NULL;
	p.payload = rd_take(&r, rd_left(&r) - origin_n);
	origin = rd_take(&r, origin_n);
	if (!whole(&r) || p.qos > 2 || !topic_name_ok(p.topic))
		return NULL;
	/* What has expired since is found expired in the first second. */
	if (expires > now->wall)
		p.message_expiry = (uint32_t)NUM_MIN(expires - now->wall, (int64_t)UINT32_MAX);
	m = msg_new(&p, origin, 0, now->s);
	if (m != NULL)
		m->stamped = (flags & BODY_STAMPED) != 0;
	*ret_nomem = m == NULL;
	return m;
}

/* ---- entries ---- */

enum { ENTRY_STATE = 3, ENTRY_QOS = 4, ENTRY_RETAIN = 16, ENTRY_SHARE = 32 /* a number follows */ };

struct slice
record_put_entry(uint8_t *out, const struct record_entry *r)
{
	struct wr w = wr_of(out, RECORD_ENTRY_HEAD + (size_t)4 * r->n_ids);

	wr_u8(&w, VERSION);
	put_u64(&w, r->session);
	wr_u8(&w, (uint8_t)(r->state | r->qos * ENTRY_QOS | (r->retain ? ENTRY_RETAIN : 0) | (r->share != 0 ? ENTRY_SHARE : 0)));
	wr_u16(&w, r->packet_id);
	if (r->share != 0)
		wr_u8(&w, r->share);
	for (unsigned i = 0; i < r->n_ids; i++)
		wr_u32(&w, r->ids[i]);
	return wr_slice(&w);
}

bool
record_get_entry(struct slice s, struct record_entry *ret)
{
	struct rd r = open_record(s);
	unsigned flags;

	*ret = (struct record_entry){ .session = get_u64(&r) };
	flags = rd_u8(&r);
	ret->packet_id = rd_u16(&r);
	ret->state = flags & ENTRY_STATE;
	ret->qos = flags / ENTRY_QOS & 3;
	ret->retain = (flags & ENTRY_RETAIN) != 0;
	ret->share = (flags & ENTRY_SHARE) != 0 ? rd_u8(&r) : 0;
	ret->id_bytes = rd_take(&r, rd_left(&r));
	ret->n_ids = (uint16_t)(ret->id_bytes.n / 4);
	return rd_ok(&r) && ret->id_bytes.n % 4 == 0 && ret->id_bytes.n / 4 <= UINT16_MAX && ret->state <= RECORD_RELEASED &&
	    ret->qos >= 1 && ret->qos <= 2 && ret->share <= SHARE_SLOTS && (ret->state == RECORD_QUEUED) == (ret->packet_id == 0);
}

/* ---- packet ids, wills ---- */

struct slice
record_put_inbound(uint8_t out[static RECORD_INBOUND], const struct record_inbound *r)
{
	struct wr w = wr_of(out, RECORD_INBOUND);

	wr_u8(&w, VERSION);
	put_u64(&w, r->session);
	wr_u16(&w, r->packet_id);
	if (r->shards > 0) {
		wr_u16(&w, r->shards);
		put_u64(&w, r->key[0]);
		put_u64(&w, r->key[1]);
	}
	return wr_slice(&w);
}

bool
record_get_inbound(struct slice s, struct record_inbound *ret)
{
	struct rd r = open_record(s);

	ret->session = get_u64(&r);
	ret->packet_id = rd_u16(&r);
	ret->shards = 0;
	if (rd_left(&r) > 0) {
		ret->shards = rd_u16(&r);
		ret->key[0] = get_u64(&r);
		ret->key[1] = get_u64(&r);
		r.bad = r.bad || ret->shards == 0;
	}
	return whole(&r) && ret->packet_id != 0;
}

struct slice
record_put_part(uint8_t out[static RECORD_PART], const struct record_part *r)
{
	struct wr w = wr_of(out, RECORD_PART);

	wr_u8(&w, VERSION);
	put_u64(&w, r->exchange);
	put_u64(&w, r->who);
	wr_u16(&w, r->shards);
	wr_u8(&w, r->is_group);
	if (r->has_key) {
		put_u64(&w, r->key[0]);
		put_u64(&w, r->key[1]);
	}
	return wr_slice(&w);
}

bool
record_get_part(struct slice s, struct record_part *ret)
{
	struct rd r = open_record(s);

	ret->exchange = get_u64(&r);
	ret->who = get_u64(&r);
	ret->shards = rd_u16(&r);
	ret->is_group = rd_u8(&r) != 0;
	ret->has_key = rd_left(&r) > 0;
	ret->key[0] = ret->has_key ? get_u64(&r) : 0;
	ret->key[1] = ret->has_key ? get_u64(&r) : 0;
	return whole(&r) && ret->exchange != 0 && ret->shards != 0;
}

size_t
record_handover_size(const struct record_handover *r)
{
	return 21 + r->group.n + r->source.n;
}

struct slice
record_put_handover(uint8_t *out, const struct record_handover *r)
{
	struct wr w = wr_of(out, record_handover_size(r));

	wr_u8(&w, VERSION);
	wr_u16(&w, r->shards);
	put_u64(&w, r->key[0]);
	put_u64(&w, r->key[1]);
	wr_str(&w, r->group);
	wr_bytes(&w, r->source);
	return wr_slice(&w);
}

bool
record_get_handover(struct slice s, struct record_handover *ret)
{
	struct rd r = open_record(s);

	ret->shards = rd_u16(&r);
	ret->key[0] = get_u64(&r);
	ret->key[1] = get_u64(&r);
	ret->group = rd_str(&r);
	ret->source = rd_take(&r, rd_left(&r));
	return whole(&r) && ret->shards != 0;
}

struct slice
record_put_will(uint8_t out[static RECORD_WILL], const struct record_will *r)
{
	struct wr w = wr_of(out, RECORD_WILL);

	wr_u8(&w, VERSION);
	put_u64(&w, r->session);
	wr_u32(&w, r->delay_s);
	wr_u32(&w, r->expiry_s);
	wr_u8(&w, r->has_expiry);
	return wr_slice(&w);
}

bool
record_get_will(struct slice s, struct record_will *ret)
{
	struct rd r = open_record(s);

	ret->session = get_u64(&r);
	ret->delay_s = rd_u32(&r);
	ret->expiry_s = rd_u32(&r);
	ret->has_expiry = rd_u8(&r) != 0;
	return whole(&r);
}

struct slice
record_put_note(uint8_t *out, struct slice name)
{
	struct wr w = wr_of(out, RECORD_NOTE_HEAD + name.n);

	wr_u8(&w, VERSION);
	wr_str(&w, name);
	return wr_slice(&w);
}

bool
record_get_note(struct slice s, struct slice *ret_name, struct slice *ret_value)
{
	struct rd r = open_record(s);

	*ret_name = rd_str(&r);
	*ret_value = rd_take(&r, rd_left(&r));
	return rd_ok(&r) && ret_name->n > 0 && ret_value->n > 0;
}
