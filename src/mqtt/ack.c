/* PUBACK, PUBREC, PUBREL, PUBCOMP (3.4 to 3.7), and UNSUBACK of 3.1.1, which has the same form. */
#include "mqtt/internal.h"

static inline uint8_t
ack_flags(uint8_t type)
{
	return type == MQTT_PUBREL ? 2 : 0; /* [MQTT-3.6.1-1] */
}

uint8_t
mqtt_decode_ack(const struct mqtt_frame *f, uint8_t version, struct mqtt_ack *ret)
{
	struct rd r = rd_of(f->body);
	uint16_t id = rd_u16(&r);
	uint8_t code = MQTT_RC_OK, reason;
	struct slice text = { 0 };

	if (!flags_ok(f, version, ack_flags(f->type)))
		return MQTT_RC_MALFORMED;
	if (version == MQTT_V5 &&
	    rd_left(&r) > 0) { /* 3.4.2.1: both reason and property length may be left out */
		code = rd_u8(&r);
		if (rd_left(&r) > 0 &&
		    (reason = props_read_reason(&r, f->type, &text)) != MQTT_RC_OK)
			return reason;
	}
	if (!rd_ok(&r) || rd_left(&r) != 0)
		return MQTT_RC_MALFORMED;
	if (id == 0 ||
	    !reason_allowed(f->type, code)) /* [MQTT-2.2.1-3]; [MQTT-3.4.2-1] and its like */
		return MQTT_RC_PROTOCOL;
	ret->packet_id = id;
	ret->reason = code;
	ret->reason_string = text;
	return MQTT_RC_OK;
}

bool
mqtt_put_ack(struct wr *w, uint8_t version, uint8_t type, uint16_t packet_id, uint8_t reason,
    struct slice reason_string)
{
	size_t mark = wr_len(w);
	struct mqtt_props props = { .reason_string = reason_string };

	wr_u16(w, packet_id);
	if (version == MQTT_V5 && (reason != MQTT_RC_OK || reason_string.n > 0))
		wr_u8(w, reason);
	if (version == MQTT_V5 && reason_string.n > 0) {
		mqtt_set(&props, MQTT_P_REASON_STRING);
		put_props(w, &props);
	}
	return put_packet(w, mark, type, ack_flags(type));
}
