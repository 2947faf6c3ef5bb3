/* Acknowledgements of what was sent, and PUBREL of what was received (3.4 to 3.7). */
#include "broker/internal.h"

static bool
decode(struct client *c, const struct mqtt_frame *f, struct mqtt_ack *ret)
{
	uint8_t rc = mqtt_decode_ack(f, c->version, ret);

	return rc == MQTT_RC_OK || client_fail(c, rc, "malformed acknowledgement");
}

/* An id that is not known: "not an error during recovery" (3.6.2.1, 3.7.2.1), when the answer to it may have been lost; nor
 * for a bridge, whose remote may be recovering. */
static uint8_t
unknown_id(const struct client *c)
{
	bool recovery = c->resumed || listener_of(c->shard, c->listener)->bridges;

	return c->version != MQTT_V5 || recovery ? MQTT_RC_OK : MQTT_RC_ID_NOT_FOUND;
}

bool
on_puback(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	struct out *o;

	if (!decode(c, f, &a))
		return false;
	o = flight_find(c->session, a.packet_id);
	if (o != NULL && o->flight != FLIGHT_PUBACK)
		return client_fail(c, MQTT_RC_PROTOCOL, "PUBACK for a QoS 2 message");
	/* An unknown id may be the late answer to what a session before this one had sent: harmless. */
	if (o != NULL)
		flight_done(c->session, o);
	return true;
}

bool
on_pubrec(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	struct out *o;
	uint64_t mark = c->shard->journal.marks;

	if (!decode(c, f, &a))
		return false;
	o = flight_find(c->session, a.packet_id);
	if (o == NULL && a.reason >= MQTT_RC_UNSPECIFIED)
		return true;
	if (o == NULL)
		return out_ack(c, MQTT_PUBREL, a.packet_id, unknown_id(c), "");
	if (o->flight == FLIGHT_PUBACK)
		return client_fail(c, MQTT_RC_PROTOCOL, "PUBREC for a QoS 1 message");
	if (a.reason >= MQTT_RC_UNSPECIFIED) {
		flight_done(c->session, o); /* 4.3.3: an error ends the exchange */
		return true;
	}
	if (o->flight == FLIGHT_PUBREC && !flight_received(c->session, o))
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	/* Not in front of everything else that could go: it comes when the disk does. */
	if (c->session->journal != NULL && c->shard->journal.failing)
		return true;
	return gate_since(c, mark) && out_ack(c, MQTT_PUBREL, a.packet_id, MQTT_RC_OK, "");
}

bool
on_pubcomp(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	struct out *o;

	if (!decode(c, f, &a))
		return false;
	o = flight_find(c->session, a.packet_id);
	if (o != NULL && o->flight != FLIGHT_PUBCOMP)
		return client_fail(c, MQTT_RC_PROTOCOL, "PUBCOMP before PUBREC");
	if (o != NULL)
		flight_done(c->session, o);
	return true;
}

bool
on_pubrel(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_ack a;
	uint64_t mark = c->shard->journal.marks;
	bool known;

	if (!decode(c, f, &a))
		return false;
	known = idset_del(&c->session->received, a.packet_id);
	journal_freed(c->session, a.packet_id);
	return gate_since(c, mark) && out_ack(c, MQTT_PUBCOMP, a.packet_id, known ? MQTT_RC_OK : unknown_id(c), "");
}
