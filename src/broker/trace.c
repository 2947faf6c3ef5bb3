/* log_type debug: each packet is a line, as mosquitto writes them. Nobody comes here otherwise. */
#include <stdarg.h>
#include <stdio.h>
#include "base/text.h"
#include "broker/internal.h"

enum { TOPIC_SHOWN = 300, LINE_MAX = 900 };

static void say(struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
say(struct client *c, const char *fmt, ...)
{
	char line[LINE_MAX];
	struct broker_event e = { .kind = BROKER_TRACE, .text = line };
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	client_report(c, &e);
}

static const char *
name_of(uint8_t type)
{
	static const char *const names[16] = { "an unknown packet", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
		"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH" };

	return names[type & 15];
}

static void
trace_filters(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_filters filters;
	struct mqtt_sub sub;
	char topic[TOPIC_SHOWN];

	if (mqtt_decode_filters(f, c->version, &filters) != MQTT_RC_OK)
		return;
	while (mqtt_filters_next(&filters, &sub)) {
		(void)text_show(sub.filter, topic, sizeof topic);
		if (f->type == MQTT_SUBSCRIBE)
			say(c, "\t%s (QoS %d)", topic, sub.options & MQTT_SUB_QOS);
		else
			say(c, "\t%s", topic);
	}
}

void
trace_in(struct client *c, const struct mqtt_frame *f)
{
	char id[TOPIC_SHOWN], topic[TOPIC_SHOWN];
	struct mqtt_publish p;
	struct mqtt_ack a;

	if (c->session == NULL)
		return;
	(void)text_show(session_id(c->session), id, sizeof id);
	switch (f->type) {
	case MQTT_PUBLISH:
		if (mqtt_decode_publish(f, c->version, true, &p) == MQTT_RC_OK)
			say(c, "Received PUBLISH from %s (d%d, q%d, r%d, m%d, '%s', ... (%zu bytes))", id, p.dup, p.qos, p.retain, p.packet_id,
			    text_show(p.topic, topic, sizeof topic), p.payload.n);
		break;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		if (mqtt_decode_ack(f, c->version, &a) != MQTT_RC_OK)
			break;
		if (f->type == MQTT_PUBACK || f->type == MQTT_PUBCOMP)
			say(c, "Received %s from %s (Mid: %d, RC:%d)", name_of(f->type), id, a.packet_id, a.reason);
		else
			say(c, "Received %s from %s (Mid: %d)", name_of(f->type), id, a.packet_id);
		break;
	default:
		say(c, "Received %s from %s", name_of(f->type), id);
		if (f->type == MQTT_SUBSCRIBE || f->type == MQTT_UNSUBSCRIBE)
			trace_filters(c, f);
		break;
	}
}

static void
trace_packet(struct client *c, const char *id, struct slice p)
{
	uint8_t type = p.n > 0 ? p.p[0] >> 4 : 0;
	struct mqtt_frame f;
	struct mqtt_ack a;
	bool ok = mqtt_frame(p, p.n, &f) == MQTT_FRAME_OK;

	if (ok && (type == MQTT_PUBACK || type == MQTT_PUBREC) && mqtt_decode_ack(&f, c->version, &a) == MQTT_RC_OK)
		say(c, "Sending %s to %s (m%d, rc%d)", name_of(type), id, a.packet_id, a.reason);
	else if (ok && (type == MQTT_PUBREL || type == MQTT_PUBCOMP) && mqtt_decode_ack(&f, c->version, &a) == MQTT_RC_OK)
		say(c, "Sending %s to %s (m%d)", name_of(type), id, a.packet_id);
	else if (ok && type == MQTT_CONNACK && f.body.n >= 2)
		say(c, "Sending CONNACK to %s (%d, %d)", id, f.body.p[0], f.body.p[1]);
	else
		say(c, "Sending %s to %s", name_of(type), id);
}

void
trace_out(struct client *c, const struct out *o)
{
	char id[TOPIC_SHOWN] = "-", topic[TOPIC_SHOWN];
	const struct msg *m;

	if (c->session != NULL)
		(void)text_show(session_id(c->session), id, sizeof id);
	if (o->kind == OUT_RAW || o->kind == OUT_BLOCK) {
		trace_packet(c, id, o->kind == OUT_RAW ? slice_of(o->raw, o->raw_n) : slice_of(o->block->bytes, o->block->n));
		return;
	}
	m = out_msg(o);
	say(c, "Sending PUBLISH to %s (d%d, q%d, r%d, m%d, '%s', ... (%u bytes))", id, o->dup, o->qos, o->retain, o->packet_id,
	    text_show(slice_from(msg_topic(m), c->mount_n), topic, sizeof topic), (unsigned)m->payload_n);
}
