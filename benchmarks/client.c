/* The MQTT side of a connection: CONNECT, SUBSCRIBE, and what comes in. */
#include <stdio.h>

#include "base/num.h"
#include "bench.h"
#include "mqtt/mqtt.h"

enum { SMALL_PACKET = 512, ID_CAP = 128, ACKS_CAP = 64 * 1024, ACK_SIZE = 4 };

static void
client_id(const struct conn *c, char *out, size_t cap)
{
	const struct options *o = &c->bench->o;

	if (!o->id_from_cert || !tls_name(c->bench, c->number, out, cap))
		(void)snprintf(out, cap, "%s-%u", o->id_prefix, c->number);
}

static void
send_packet(struct conn *c, const struct wr *w)
{
	if (wr_ok(w))
		conn_send(c, w->start, wr_len(w));
	else
		conn_fail(c, "the packet is too long; use shorter names");
}

void
client_open(struct conn *c)
{
	uint8_t space[SMALL_PACKET];
	struct wr w = wr_of(space, sizeof space);
	char id[ID_CAP];
	struct mqtt_connect m = { .version = version_of(c), .clean_start = !c->bench->o.persistent };

	client_id(c, id, sizeof id);
	m.client_id = slice_str(id);
	c->state = CONN_CONNACK;
	(void)mqtt_put_connect(&w, &m); /* send_packet() asks */
	send_packet(c, &w);
}

void
client_disconnect(struct conn *c)
{
	uint8_t space[SMALL_PACKET];
	struct wr w = wr_of(space, sizeof space);

	if (c->state == CONN_READY)
		c->bench->ready--;
	c->state = CONN_CLOSING;
	(void)mqtt_put_disconnect(&w, version_of(c), &(struct mqtt_disconnect){ 0 });
	send_packet(c, &w);
}

static void
subscribe(struct conn *c)
{
	uint8_t space[SMALL_PACKET];
	struct wr w = wr_of(space, sizeof space);
	char filter[SMALL_PACKET / 2];
	struct mqtt_sub sub;

	load_filter(c, filter, sizeof filter);
	sub = (struct mqtt_sub){ slice_str(filter), (uint8_t)c->bench->o.qos };
	c->state = CONN_SUBACK;
	(void)mqtt_put_filters(&w, version_of(c), MQTT_SUBSCRIBE, SUBSCRIBE_ID, &sub, 1, NULL);
	send_packet(c, &w);
}

static void
set_ready(struct conn *c)
{
	c->state = CONN_READY;
	c->bench->ready++;
}

static void
on_connack(struct conn *c, const struct mqtt_frame *f)
{
	struct bench *b = c->bench;
	struct mqtt_connack m;
	char text[64];

	if (c->state != CONN_CONNACK || mqtt_decode_connack(f, version_of(c), &m) != MQTT_RC_OK) {
		conn_fail(c, "a CONNACK that nobody expected or understands");
		return;
	}
	if (m.code != 0) {
		(void)snprintf(text, sizeof text, "refused: CONNACK 0x%02x", m.code);
		conn_fail(c, text);
		return;
	}
	c->pub.inflight_max =
	    mqtt_has(&m.props, MQTT_P_RECEIVE_MAXIMUM) ? m.props.receive_maximum : UINT16_MAX;
	if (b->o.mode == MODE_CONNECT) {
		if (b->phase == PHASE_MEASURE)
			hist_add(&b->latency, now_ns() - c->started);
		client_disconnect(c);
	} else if (b->o.mode == MODE_IDLE || b->o.mode == MODE_REVOKE || c->is_publisher) {
		set_ready(c);
	} else {
		subscribe(c);
	}
}

static void
on_suback(struct conn *c, const struct mqtt_frame *f)
{
	struct mqtt_suback m;

	if (c->state != CONN_SUBACK || mqtt_decode_suback(f, version_of(c), &m) != MQTT_RC_OK ||
	    m.packet_id != SUBSCRIBE_ID || m.codes.n != 1 || m.codes.p[0] != c->bench->o.qos) {
		conn_fail(c, "the subscription was not granted as asked");
		return;
	}
	set_ready(c);
}

static void
flush_acks(struct conn *c)
{
	struct bench *b = c->bench;
	size_t n = b->acks_n;

	b->acks_n = 0;
	if (n > 0)
		conn_send(c, b->acks, n);
}

/* Gathered: all answers to what one recv() brought go out together. */
static void
answer(struct conn *c, uint8_t type, uint16_t packet_id)
{
	struct bench *b = c->bench;
	struct wr w;

	if (ACKS_CAP - b->acks_n < ACK_SIZE)
		flush_acks(c);
	w = wr_of(b->acks + b->acks_n, ACKS_CAP - b->acks_n);
	(void)mqtt_put_ack(
	    &w, version_of(c), type, packet_id, 0, (struct slice){ 0 }); /* there is room */
	b->acks_n += wr_len(&w);
}

static void
on_publish(struct conn *c, const struct mqtt_frame *f)
{
	struct mqtt_publish m;

	if (c->is_publisher || mqtt_decode_publish(f, version_of(c), false, &m) != MQTT_RC_OK ||
	    m.qos != c->bench->o.qos) {
		c->bench->faults.foreign++;
		return;
	}
	if (m.qos > 0)
		answer(c, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id);
	load_on_publish(c, m.payload);
}

static void
on_ack(struct conn *c, const struct mqtt_frame *f)
{
	struct mqtt_ack m;
	bool to_publisher = f->type != MQTT_PUBREL;

	if (mqtt_decode_ack(f, version_of(c), &m) != MQTT_RC_OK || m.reason >= 0x80 ||
	    to_publisher != c->is_publisher) {
		c->bench->faults.bad_acks++;
		return;
	}
	if (f->type == MQTT_PUBREC)
		answer(c, MQTT_PUBREL, m.packet_id);
	if (f->type == MQTT_PUBREL)
		answer(c, MQTT_PUBCOMP, m.packet_id);
	else
		load_on_ack(c, f->type, m.packet_id);
}

static void
on_end(struct conn *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect m = { 0 };
	char text[96];

	(void)mqtt_decode_disconnect(f, version_of(c), &m); /* the connection ends either way */
	(void)snprintf(
	    text, sizeof text, "DISCONNECT from the broker: %s", mqtt_reason_text(m.reason));
	conn_fail(c, text);
}

typedef void handler(struct conn *c, const struct mqtt_frame *f);

static handler *const handlers[] = {
	[MQTT_CONNACK] = on_connack,
	[MQTT_SUBACK] = on_suback,
	[MQTT_PUBLISH] = on_publish,
	[MQTT_PUBACK] = on_ack,
	[MQTT_PUBREC] = on_ack,
	[MQTT_PUBREL] = on_ack,
	[MQTT_PUBCOMP] = on_ack,
	[MQTT_DISCONNECT] = on_end,
};

size_t
client_feed(struct conn *c, struct slice in)
{
	size_t all = in.n, max = PACKET_HEAD_MAX + (size_t)c->bench->o.payload;
	struct mqtt_frame f;
	enum mqtt_frame_result r;

	while ((r = mqtt_frame(in, max, &f)) == MQTT_FRAME_OK) {
		if (f.type >= ARRAY_LEN(handlers) || handlers[f.type] == NULL) {
			conn_fail(c, "a packet that a broker does not send");
			return all;
		}
		handlers[f.type](c, &f);
		if (c->fd == -1) {
			c->bench->acks_n = 0;
			return all;
		}
		in = slice_from(in, f.size);
	}
	flush_acks(c);
	if (r != MQTT_FRAME_MORE) {
		conn_fail(c, "bytes that are no MQTT packet, or a packet that is too large");
		return all;
	}
	return all - in.n;
}
