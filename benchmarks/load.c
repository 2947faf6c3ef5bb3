/* Publishing in a closed loop or at a fixed rate, and the checks on what comes out.
 *
 * Each payload begins with its time, a magic number, the publisher's index and a sequence number. A
 * subscriber credits what it receives to that publisher, which keeps at most `window` messages
 * unseen: what is measured is what the broker delivers and not how fast it drops. */
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "bench.h"
#include "mqtt/mqtt.h"

enum { MAGIC = 0x53424e43, TOPIC_CAP = 200, SEEN_BITS = 64 };

/* Written and read by this program only: in the machine's byte order. */
struct head {
	uint64_t time;
	uint32_t magic, publisher;
	uint64_t sequence;
};

_Static_assert(sizeof(struct head) == PAYLOAD_HEAD, "the head of a payload");

static bool
is_open_loop(const struct bench *b)
{
	return b->o.rate > 0;
}

static void
topic_of(const struct conn *c, char *out, size_t cap)
{
	const struct bench *b = c->bench;

	switch (b->o.mode) {
	case MODE_FANIN:
		(void)snprintf(out, cap, "%s/in/%u/%u", b->o.topic, c->index % b->n_subs, c->index);
		break;
	case MODE_FANOUT:
		(void)snprintf(out, cap, "%s/out/%u", b->o.topic, c->index);
		break;
	case MODE_P2P:
	case MODE_CONNECT:
	case MODE_IDLE:
	case MODE_REVOKE:
		(void)snprintf(out, cap, "%s/p2p/%u", b->o.topic, c->index);
		break;
	}
}

void
load_filter(const struct conn *c, char *out, size_t cap)
{
	const struct bench *b = c->bench;

	if (b->o.mode == MODE_FANIN)
		(void)snprintf(out, cap, "%s/in/%u/#", b->o.topic, c->index);
	else if (b->o.mode == MODE_FANOUT)
		(void)snprintf(out, cap, "%s/out/+", b->o.topic);
	else
		topic_of(c, out, cap);
}

/* One whole PUBLISH, so that sending another is a copy with four fields changed. */
static bool
make_packet(struct conn *c)
{
	const struct options *o = &c->bench->o;
	size_t cap = PACKET_HEAD_MAX + o->payload;
	uint8_t *payload = malloc(o->payload);
	struct mqtt_publish m = { .qos = (uint8_t)o->qos, .packet_id = o->qos > 0 ? 1 : 0 };
	struct head h = { .magic = MAGIC, .publisher = c->index };
	char topic[TOPIC_CAP];
	struct wr w;
	bool good;

	c->pub.packet = malloc(cap);
	if (payload == NULL || c->pub.packet == NULL) {
		free(payload);
		return false;
	}
	for (unsigned i = 0; i < o->payload; i++)
		payload[i] = (uint8_t)('a' + i % 26);
	memcpy(payload, &h, sizeof h);
	topic_of(c, topic, sizeof topic);
	m.topic = slice_str(topic);
	m.payload = slice_of(payload, o->payload);
	w = wr_of(c->pub.packet, cap);
	good = mqtt_put_publish(&w, version_of(c), &m);
	free(payload);
	c->pub.packet_n = wr_len(&w);
	c->pub.payload_at = c->pub.packet_n - o->payload;
	/* The identifier stands behind the topic, before the properties (none: one byte in 5.0). */
	c->pub.id_at = c->pub.payload_at - 2 - (version_of(c) == MQTT_V5 ? 1 : 0);
	return good;
}

bool
load_init(struct bench *b, struct err *err)
{
	for (unsigned i = 0; i < b->n_conns; i++) {
		struct conn *c = &b->conns[i];

		if (c->is_publisher ? make_packet(c) && (c->pub.sent_at = calloc(b->o.window, sizeof *c->pub.sent_at)) != NULL
				    : (c->tracks = calloc(b->n_tracks, sizeof *c->tracks)) != NULL)
			continue;
		return err_set(err, ERR_MEMORY, "out of memory for %u connections", b->n_conns);
	}
	return true;
}

void
load_done(struct bench *b)
{
	for (unsigned i = 0; i < b->n_conns; i++) {
		free(b->conns[i].pub.packet);
		free(b->conns[i].pub.sent_at);
		free(b->conns[i].tracks);
	}
}

/* ---- publishing ---- */

static uint64_t
unseen(const struct bench *b, const struct publisher *p)
{
	uint64_t seen = b->o.away ? p->acked : p->delivered / b->deliveries;

	return p->sent > seen ? p->sent - seen : 0; /* duplicates would take it below */
}

/* How many messages may be sent now; with QoS > 0 no more than the broker allows [MQTT-3.3.4-7]. */
static uint64_t
room(const struct bench *b, const struct publisher *p)
{
	uint64_t out = unseen(b, p);
	uint64_t n = out < b->o.window ? b->o.window - out : 0;
	uint64_t limit = NUM_MIN(b->o.window, p->inflight_max);

	if (b->o.qos > 0)
		n = NUM_MIN(n, limit > p->inflight ? limit - p->inflight : 0);
	return n;
}

static size_t
put_message(struct conn *c, uint8_t *to, uint64_t time)
{
	struct publisher *p = &c->pub;
	struct head h = { time, MAGIC, c->index, p->sent };

	memcpy(to, p->packet, p->packet_n);
	memcpy(to + p->payload_at, &h, sizeof h);
	if (c->bench->o.qos > 0) {
		p->packet_id = p->packet_id == UINT16_MAX ? 1 : (uint16_t)(p->packet_id + 1);
		to[p->id_at] = (uint8_t)(p->packet_id >> 8);
		to[p->id_at + 1] = (uint8_t)p->packet_id;
		p->inflight++;
		p->sent_at[p->sent % c->bench->o.window] = time;
	}
	p->sent++;
	c->bench->total.sent++;
	return p->packet_n;
}

static void
pump(struct conn *c)
{
	struct bench *b = c->bench;
	uint64_t n;

	/* Not before a good batch fits: half the window, unless told otherwise. */
	if (room(b, &c->pub) < NUM_MIN(b->o.refill, c->pub.inflight_max))
		return;
	while (c->state == CONN_READY && c->out.n == 0 && (n = room(b, &c->pub)) > 0) {
		size_t size = 0;

		n = NUM_MIN(n, (uint64_t)(b->batch_cap / c->pub.packet_n));
		n = b->o.batch > 0 ? NUM_MIN(n, (uint64_t)b->o.batch) : n;
		for (; n > 0; n--)
			size += put_message(c, b->batch + size, b->now);
		conn_send(c, b->batch, size);
	}
}

void
load_mark(struct conn *publisher)
{
	struct bench *b = publisher->bench;

	if (publisher->pub.dirty || b->dirty == NULL)
		return;
	publisher->pub.dirty = true;
	b->dirty[b->n_dirty++] = publisher;
}

void
load_pump(struct bench *b)
{
	bool sending = (b->phase == PHASE_WARMUP || b->phase == PHASE_MEASURE) && !is_open_loop(b);

	for (unsigned i = 0; i < b->n_dirty; i++) {
		b->dirty[i]->pub.dirty = false;
		if (sending)
			pump(b->dirty[i]);
	}
	b->n_dirty = 0;
}

void
load_rate(struct bench *b)
{
	while (b->due <= b->now) {
		struct conn *c = &b->conns[b->turn];

		if (c->state != CONN_READY || c->out.n > 0 || room(b, &c->pub) == 0) {
			b->total.stalls++;
			return; /* it stays due, and its time counts from then */
		}
		conn_send(c, b->batch, put_message(c, b->batch, b->due));
		b->turn = (b->turn + 1) % b->n_pubs;
		b->due += b->interval;
	}
}

uint64_t
load_outstanding(const struct bench *b)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < b->n_pubs; i++) {
		const struct publisher *p = &b->conns[i].pub;
		uint64_t due = b->o.away ? 0 : p->sent * b->deliveries;

		n += due > p->delivered ? due - p->delivered : 0;
		n += p->inflight;
	}
	return n;
}

/* ---- checking ---- */

/* The track that a message of this publisher belongs to; NULL when it should not have come here. */
static struct track *
track_of(const struct conn *c, uint32_t publisher)
{
	const struct bench *b = c->bench;

	if (publisher >= b->n_pubs)
		return NULL;
	if (b->o.mode == MODE_P2P)
		return publisher == c->index ? c->tracks : NULL;
	if (b->o.mode == MODE_FANIN && publisher % b->n_subs != c->index)
		return NULL;
	return &c->tracks[publisher];
}

/* False: this one has come before. */
static bool
note(struct track *t, uint64_t sequence, struct faults *f)
{
	uint64_t back, bit;

	if (sequence >= t->next) {
		uint64_t step = sequence + 1 - t->next;

		t->seen = (step < SEEN_BITS ? t->seen << step : 0) | 1;
		t->next = sequence + 1;
		return true;
	}
	back = t->next - 1 - sequence;
	bit = back < SEEN_BITS ? (uint64_t)1 << back : 0;
	/* Further behind than the mask reaches counts as a repeat: a fault either way. */
	if (bit == 0 || (t->seen & bit) != 0) {
		f->duplicates++;
		return false;
	}
	t->seen |= bit;
	f->reordered++;
	return true;
}

void
load_on_publish(struct conn *c, struct slice payload)
{
	struct bench *b = c->bench;
	struct conn *from;
	struct head h = { 0 };
	struct track *t;

	if (payload.n == b->o.payload)
		memcpy(&h, payload.p, sizeof h);
	t = h.magic == MAGIC ? track_of(c, h.publisher) : NULL;
	if (t == NULL || h.sequence >= b->conns[h.publisher].pub.sent) {
		b->faults.foreign++;
		return;
	}
	if (!note(t, h.sequence, &b->faults))
		return;
	from = &b->conns[h.publisher];
	from->pub.delivered++;
	b->total.delivered++;
	b->turn_deliveries++;
	if (b->phase == PHASE_MEASURE)
		hist_add(&b->latency, b->now > h.time ? b->now - h.time : 0);
	load_mark(from);
}

/* Acknowledgements come in the order of what they acknowledge [MQTT-4.6.0-2], [MQTT-4.6.0-3]. */
void
load_on_ack(struct conn *c, uint8_t type, uint16_t packet_id)
{
	struct publisher *p = &c->pub;
	uint64_t sent_at;
	uint16_t *last = type == MQTT_PUBCOMP ? &p->comp_id : &p->ack_id;
	uint16_t next = *last == UINT16_MAX ? 1 : (uint16_t)(*last + 1);

	if (packet_id != next || p->inflight == 0 ||
	    (c->bench->o.qos == 1) != (type == MQTT_PUBACK))
		c->bench->faults.bad_acks++;
	*last = packet_id;
	if (type == MQTT_PUBREC || p->inflight == 0)
		return;
	p->inflight--;
	sent_at = p->sent_at[p->acked++ % c->bench->o.window];
	if (c->bench->phase == PHASE_MEASURE)
		hist_add(&c->bench->ack_latency, c->bench->now > sent_at ? c->bench->now - sent_at : 0);
	load_mark(c);
}
