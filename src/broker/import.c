/* What mosquitto promised becomes what we promise: the records that the journal would have written. The file is looked through twice
 * before anything is put; what refers to something is then put behind it. */
#include "broker/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/map.h"
#include "base/num.h"
#include "broker/mosqdb.h"
#include "broker/record.h"
#include "mqtt/mqtt.h"
#include "topic/topic.h"

struct message {
	struct mosqdb_message m;
	size_t at;       /* in the file */
	uint64_t record; /* once it is put */
	bool over, retained;
};
struct owner {
	struct mosqdb_client c;
	uint64_t record; /* 0: its time was over */
};
/* The one of a group that is given what is not routed yet. */
struct share {
	struct owner *first;
	struct mosqdb_sub sub;
};
/* Who gets a message that mosquitto had accepted and not handed on. */
struct hit {
	struct owner *to;
	uint32_t id;
	uint8_t options;
	bool alone; /* a shared subscription's copy is not joined with others */
};
struct hits {
	struct hit *v;
	size_t n, cap;
	const struct owner *from;
	bool nomem;
};

struct import {
	const struct import_sink *to;
	const struct broker_import *from;
	struct broker_imported *count;
	struct err *err;
	struct message *messages;
	struct owner *owners;
	struct share *shares;
	size_t n_messages, n_owners, n_shares;
	struct map by_number, by_client, by_share, by_topic; /* by_topic: retained messages */
	struct trie *subs;
	struct slice last_name; /* of a client */
	uint8_t *scratch;
	size_t scratch_n;
};

static struct slice
number_key(const void *value)
{
	const struct message *m = value;

	return slice_of(&m->m.id, sizeof m->m.id);
}

static struct slice
client_key(const void *value)
{
	return ((const struct owner *)value)->c.id;
}

static struct slice
share_key(const void *value)
{
	return ((const struct share *)value)->sub.filter;
}

static struct slice
topic_key(const void *value)
{
	return ((const struct message *)value)->m.topic;
}

static bool
nomem(struct import *im)
{
	return err_set(im->err, ERR_MEMORY, "out of memory: this needs about three times the file's size");
}

static bool
bad(struct import *im, size_t at, const char *what)
{
	return err_set(im->err, ERR_INPUT, "byte %zu: %s", at, what);
}

/* Call <fn> for each chunk. */
static bool
each(struct import *im, bool (*fn)(struct import *im, const struct mosqdb_chunk *c))
{
	struct mosqdb db;
	struct mosqdb_chunk c;
	enum mosqdb_next next;

	if (!mosqdb_open(&db, im->from->file, im->err))
		return false;
	while ((next = mosqdb_next(&db, &c, im->err)) == MOSQDB_CHUNK)
		if (!fn(im, &c))
			return false;
	return next == MOSQDB_END;
}

static struct message *
message_of(const struct import *im, uint64_t number)
{
	return map_get(&im->by_number, slice_of(&number, sizeof number));
}

static bool
put(struct import *im, const struct store_record *r)
{
	return im->to->put(im->to->ctx, r) || nomem(im);
}

/* ---- first look: how much of what ---- */

static bool
count_chunk(struct import *im, const struct mosqdb_chunk *c)
{
	im->n_messages += c->kind == MOSQDB_MESSAGE;
	im->n_owners += c->kind == MOSQDB_CLIENT;
	im->n_shares += c->kind == MOSQDB_SUB && slice_starts(c->sub.filter, SL("$share/"));
	return true;
}

static bool
make_room(struct import *im)
{
	im->messages = calloc(im->n_messages + 1, sizeof *im->messages);
	im->owners = calloc(im->n_owners + 1, sizeof *im->owners);
	im->shares = calloc(im->n_shares + 1, sizeof *im->shares);
	im->subs = trie_new();
	im->n_messages = im->n_owners = im->n_shares = 0;
	return (im->messages != NULL && im->owners != NULL && im->shares != NULL && im->subs != NULL) || nomem(im);
}

/* ---- second look: messages and sessions ---- */

static bool
learn_message(struct import *im, const struct mosqdb_chunk *c)
{
	struct message *m = &im->messages[im->n_messages];

	if (message_of(im, c->message.id) != NULL)
		return bad(im, c->at, "a message's number is there twice");
	*m = (struct message){ .m = c->message, .at = c->at, .over = c->message.expires > 0 && c->message.expires <= im->from->now };
	im->n_messages++;
	return map_put(&im->by_number, m) || nomem(im);
}

/* When does it end, counted from when? False: it is over. */
static bool
time_left(const struct import *im, const struct mosqdb_client *c, struct record_session *ret)
{
	int64_t now = im->from->now, saved = NUM_MIN(im->from->saved_at, now);

	ret->expiry_s = c->expiry_s;
	ret->away_since = saved;
	if (c->ends > 0) {
		if (c->ends <= now)
			return false;
		ret->away_since = c->ends - (int64_t)c->expiry_s;
		if (c->expiry_s != UINT32_MAX && ret->away_since > 0 && ret->away_since <= now)
			return true;
		/* persistent_client_expiration: the end is not where the client's own word would have put it. */
		ret->away_since = now;
		ret->expiry_s = (uint32_t)NUM_MIN(c->ends - now, (int64_t)UINT32_MAX - 1);
		return true;
	}
	return c->expiry_s == UINT32_MAX || (c->expiry_s > 0 && saved + (int64_t)c->expiry_s > now);
}

static bool
put_session(struct import *im, struct owner *o)
{
	struct record_session r = { .id = o->c.id, .unclaimed = true };
	struct store_record rec = { .kind = STORE_SESSION };
	char port[8];
	uint8_t *buf;
	bool ok;

	(void)snprintf(port, sizeof port, "%u", (unsigned)o->c.port);
	/* A socket's path is not in the file: then it is the first one. */
	if (o->c.port != 0)
		r.listener.name = slice_str(port);
	/* mosquitto knew a user name at most, and not always the right one. */
	if (!im->from->any_owner && !o->c.unnamed)
		r.who.username = o->c.username;
	if (!time_left(im, &o->c, &r)) {
		im->count->over++;
		return true;
	}
	if ((buf = malloc(record_session_size(&r))) == NULL)
		return nomem(im);
	rec.id = o->record = im->to->id(im->to->ctx);
	rec.bytes = record_put_session(buf, &r);
	ok = put(im, &rec);
	free(buf);
	im->count->sessions++;
	im->count->unnamed += o->c.unnamed;
	return ok;
}

static bool
learn_client(struct import *im, const struct mosqdb_chunk *c)
{
	struct owner *o = &im->owners[im->n_owners];

	if (map_get(&im->by_client, c->client.id) != NULL)
		return bad(im, c->at, "a client's id is there twice");
	*o = (struct owner){ .c = c->client };
	/* The second without a name behind one with a name has that one's, its length turned round twice. */
	if (im->n_owners > 0 && o[-1].c.unnamed && o->c.username.p != NULL && slice_eq(o->c.username, im->last_name))
		o->c.unnamed = true;
	if (o->c.username.p != NULL)
		im->last_name = o->c.username;
	im->n_owners++;
	return (map_put(&im->by_client, o) || nomem(im)) && put_session(im, o);
}

static bool
learn_chunk(struct import *im, const struct mosqdb_chunk *c)
{
	if (c->kind == MOSQDB_MESSAGE)
		return learn_message(im, c);
	return c->kind != MOSQDB_CLIENT || learn_client(im, c);
}

/* ---- messages ---- */

/* The message as a PUBLISH of MQTT 5 without its payload, so that it is judged as one. */
static bool
decode(struct import *im, const struct message *m, struct mqtt_publish *ret)
{
	size_t n = 2 + m->m.topic.n + NUM_MAX(m->m.props.n, (size_t)1);
	struct mqtt_frame f = { .type = MQTT_PUBLISH };
	struct wr w;

	if (n > im->scratch_n) {
		uint8_t *p = realloc(im->scratch, n);

		if (p == NULL)
			return nomem(im);
		im->scratch = p;
		im->scratch_n = n;
	}
	w = wr_of(im->scratch, n);
	wr_str(&w, m->m.topic);
	if (m->m.props.n == 0)
		wr_u8(&w, 0);
	wr_bytes(&w, m->m.props);
	f.body = wr_slice(&w);
	f.size = f.body.n + 5;
	if (mqtt_decode_publish(&f, MQTT_V5, true, ret) != MQTT_RC_OK || ret->payload.n > 0)
		return bad(im, m->at, "a message's properties are not those of a PUBLISH");
	ret->payload = m->m.payload;
	ret->qos = m->m.qos & 3u;
	ret->retain = m->m.retain || m->retained;
	ret->has_expiry = false; /* the record says when */
	return true;
}

static bool
put_body(struct import *im, struct message *m)
{
	struct store_record rec = { .kind = STORE_BODY };
	uint8_t head[RECORD_BODY_HEAD];
	struct mqtt_publish p;
	struct msg *msg;
	bool ok;

	if (m->record != 0 || !decode(im, m, &p))
		return m->record != 0;
	if ((msg = msg_new(&p, m->m.origin, NULL, 0)) == NULL)
		return nomem(im);
	rec.id = m->record = im->to->id(im->to->ctx);
	rec.head = record_put_body(head, msg, m->m.expires);
	rec.bytes = record_body_bytes(msg);
	ok = put(im, &rec);
	msg_unref(msg);
	return ok;
}

/* <m> NULL: it was released, nobody needs it any more. */
static bool
put_entry(struct import *im, struct message *m, struct record_entry *e)
{
	struct store_record rec = { .kind = STORE_ENTRY };
	uint8_t *buf;
	bool ok;

	if (m != NULL && !put_body(im, m))
		return false;
	if ((buf = malloc(RECORD_ENTRY_HEAD + (size_t)4 * e->n_ids)) == NULL)
		return nomem(im);
	rec.id = im->to->id(im->to->ctx);
	rec.ref = m != NULL ? m->record : 0;
	rec.bytes = record_put_entry(buf, e);
	ok = put(im, &rec);
	free(buf);
	im->count->messages++;
	return ok;
}

/* ---- third look: what is a session's ---- */

static bool
put_sub(struct import *im, const struct mosqdb_sub *s, struct owner *o)
{
	struct record_sub r = { .session = o->record, .id = s->id, .options = s->options };
	struct store_record rec = { .kind = STORE_SUBSCRIPTION, .bytes = s->filter };
	struct trie_entry e = { .who = o, .id = s->id, .options = s->options };
	uint8_t head[RECORD_SUB_MAX];
	struct slice name, filter = s->filter;
	struct trie_node *node;

	if (topic_share_split(s->filter, &name, &filter) == TOPIC_SHARE_YES) {
		struct share *g = &im->shares[im->n_shares];

		if (map_get(&im->by_share, s->filter) == NULL) {
			*g = (struct share){ o, *s };
			im->n_shares++;
			e.who = g;
			e.kind = 1;
			if (!map_put(&im->by_share, g))
				return nomem(im);
		} else
			e.who = NULL;
	}
	if (e.who != NULL && trie_put(im->subs, filter, &e, &node) == TRIE_NOMEM)
		return nomem(im);
	rec.id = im->to->id(im->to->ctx);
	rec.head = record_put_sub(head, &r);
	im->count->subscriptions++;
	return put(im, &rec);
}

static bool
use_sub(struct import *im, const struct mosqdb_chunk *c)
{
	struct owner *o = map_get(&im->by_client, c->sub.client);

	if (o == NULL)
		return bad(im, c->at, "a subscription belongs to a client that is not in the file");
	return o->record == 0 || put_sub(im, &c->sub, o);
}

static bool
ids_of(struct import *im, struct slice bytes, struct record_entry *e, uint32_t **ret)
{
	size_t cap = NUM_MIN(bytes.n / 2, (size_t)UINT16_MAX); /* each takes at least two */
	uint32_t *ids;

	if (cap == 0)
		return true;
	if ((ids = calloc(cap, sizeof *ids)) == NULL)
		return nomem(im);
	for (uint32_t id; e->n_ids < cap && (id = mosqdb_next_id(&bytes)) != 0;)
		ids[e->n_ids++] = id;
	e->ids = ids;
	*ret = ids;
	return true;
}

static bool
use_outgoing(struct import *im, const struct mosqdb_client_message *c, struct owner *o)
{
	static const uint8_t states[] = { [MOSQDB_QUEUED] = RECORD_QUEUED, [MOSQDB_SENT] = RECORD_SENT, [MOSQDB_RELEASED] = RECORD_RELEASED };
	struct record_entry e = { .session = o->record, .qos = c->qos, .retain = c->retain, .state = states[c->state] };
	struct message *m = message_of(im, c->message);
	uint32_t *ids = NULL;
	bool ok;

	if (e.state == RECORD_RELEASED)
		m = NULL;
	else if (m == NULL || m->over) {
		/* One that is on its way may have arrived: only the client knows, and its packet id is free again. */
		*(m == NULL ? &im->count->missing : &im->count->expired) += 1;
		return true;
	}
	if (e.state != RECORD_QUEUED)
		e.packet_id = c->packet_id;
	ok = ids_of(im, e.state == RECORD_RELEASED ? (struct slice){ 0 } : c->ids, &e, &ids) && put_entry(im, m, &e);
	free(ids);
	return ok;
}

static bool
use_client_message(struct import *im, const struct mosqdb_chunk *c)
{
	const struct mosqdb_client_message *x = &c->client_message;
	struct owner *o = map_get(&im->by_client, x->client);
	struct record_inbound in = { .packet_id = x->packet_id };
	struct store_record rec = { .kind = STORE_INBOUND };
	uint8_t buf[RECORD_INBOUND];

	if (o == NULL)
		return bad(im, c->at, "a message belongs to a client that is not in the file");
	if (o->record == 0 || x->state == MOSQDB_UNSEEN)
		return true;
	if (x->qos == 0) {
		im->count->qos0++;
		return true;
	}
	if (x->state != MOSQDB_RECEIVED)
		return use_outgoing(im, x, o);
	in.session = o->record;
	rec.id = im->to->id(im->to->ctx);
	rec.bytes = record_put_inbound(buf, &in);
	im->count->inbound++;
	return put(im, &rec);
}

/* The last one of a topic holds. */
static bool
retain(struct import *im, struct message *m)
{
	(void)map_del(&im->by_topic, m->m.topic);
	if (m->m.payload.n == 0 || slice_starts(m->m.topic, SL("$SYS/")))
		return true;
	m->retained = true;
	return map_put(&im->by_topic, m) || nomem(im);
}

static bool
use_retained(struct import *im, const struct mosqdb_chunk *c)
{
	struct message *m = message_of(im, c->retain);

	if (m == NULL)
		im->count->missing++;
	else if (m->over)
		im->count->expired++;
	else
		return retain(im, m);
	return true;
}

static bool
use_chunk(struct import *im, const struct mosqdb_chunk *c)
{
	if (c->kind == MOSQDB_SUB)
		return use_sub(im, c);
	if (c->kind == MOSQDB_CLIENT_MESSAGE)
		return use_client_message(im, c);
	return c->kind != MOSQDB_RETAIN || use_retained(im, c);
}

/* ---- fourth look: what was received of QoS 2. mosquitto hands it on at PUBREL, we at PUBLISH ---- */

static void
on_hit(void *ctx, const struct trie_entry *e)
{
	const struct share *g = e->kind != 0 ? e->who : NULL;
	struct hits *h = ctx;
	struct hit new = { g != NULL ? g->first : e->who, e->id, e->options, g != NULL };

	if ((e->options & MQTT_SUB_NO_LOCAL) != 0 && new.to == h->from)
		return;
	if (h->n == h->cap) {
		size_t cap = h->cap > 0 ? h->cap * 2 : 16;
		struct hit *v = reallocarray(h->v, cap, sizeof *v);

		if (v == NULL) {
			h->nomem = true;
			return;
		}
		h->v = v;
		h->cap = cap;
	}
	h->v[h->n++] = new;
}

static int
by_receiver(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->alone != y->alone)
		return x->alone - y->alone;
	return x->to < y->to ? -1 : x->to > y->to;
}

/* One copy for all subscriptions of one session. */
static bool
hand_on(struct import *im, struct message *m, const struct hit *v, size_t n)
{
	struct record_entry e = { .session = v->to->record, .state = RECORD_QUEUED };
	uint32_t *ids = calloc(n, sizeof *ids);
	bool ok;

	if (ids == NULL)
		return nomem(im);
	e.ids = ids;
	for (size_t i = 0; i < n; i++) {
		e.qos = NUM_MAX(e.qos, (uint8_t)(v[i].options & MQTT_SUB_QOS));
		e.retain = e.retain || (m->m.retain && (v[i].options & MQTT_SUB_RETAIN_AS_PUBLISHED) != 0);
		if (v[i].id != 0 && e.n_ids < UINT16_MAX)
			ids[e.n_ids++] = v[i].id;
	}
	ok = e.qos == 0 || put_entry(im, m, &e);
	free(ids);
	return ok;
}

static bool
route(struct import *im, struct message *m, const struct owner *from)
{
	struct hits h = { .from = from };
	bool ok;

	trie_match(im->subs, m->m.topic, on_hit, &h);
	ok = !h.nomem || nomem(im);
	if (h.n > 0)
		qsort(h.v, h.n, sizeof *h.v, by_receiver);
	for (size_t i = 0, n; ok && i < h.n; i += n) {
		for (n = 1; i + n < h.n && !h.v[i].alone && !h.v[i + n].alone && h.v[i + n].to == h.v[i].to;)
			n++;
		ok = hand_on(im, m, &h.v[i], n);
	}
	free(h.v);
	return ok;
}

static bool
route_chunk(struct import *im, const struct mosqdb_chunk *c)
{
	struct message *m;
	struct owner *o;

	if (c->kind != MOSQDB_CLIENT_MESSAGE || c->client_message.state != MOSQDB_RECEIVED)
		return true;
	o = map_get(&im->by_client, c->client_message.client);
	m = message_of(im, c->client_message.message);
	/* Without a message it was one that mosquitto had refused. */
	if (o->record == 0 || m == NULL || m->over)
		return true;
	if (c->client_message.retain && !retain(im, m))
		return false;
	return route(im, m, o);
}

static bool
put_retained(struct import *im)
{
	struct message *m;

	for (size_t pos = 0; (m = map_next(&im->by_topic, &pos)) != NULL;) {
		struct store_record rec = { .kind = STORE_RETAINED };

		if (!put_body(im, m))
			return false;
		rec.id = im->to->id(im->to->ctx);
		rec.ref = m->record;
		if (!put(im, &rec))
			return false;
		im->count->retained++;
	}
	return true;
}

bool
import_run(const struct import_sink *to, const struct broker_import *from, struct broker_imported *ret, struct err *err)
{
	struct broker_imported count = { 0 };
	struct import im = { .to = to, .from = from, .count = &count, .err = err };
	bool ok;

	map_init(&im.by_number, number_key);
	map_init(&im.by_client, client_key);
	map_init(&im.by_share, share_key);
	map_init(&im.by_topic, topic_key);
	ok = each(&im, count_chunk) && make_room(&im) && each(&im, learn_chunk) && each(&im, use_chunk) && each(&im, route_chunk) &&
	    put_retained(&im);
	map_done(&im.by_number);
	map_done(&im.by_client);
	map_done(&im.by_share);
	map_done(&im.by_topic);
	trie_free(im.subs);
	free(im.messages);
	free(im.owners);
	free(im.shares);
	free(im.scratch);
	*ret = ok ? count : *ret;
	return ok;
}
