/* CONNACK (3.2). */
#include "mqtt/internal.h"

enum { SESSION_PRESENT = 1, V3_CODE_MAX = 5 };

uint8_t
mqtt_decode_connack(const struct mqtt_frame *f, uint8_t version, struct mqtt_connack *ret)
{
	struct rd r = rd_of(f->body);
	uint8_t flags = rd_u8(&r), code = rd_u8(&r), reason;

	if (version == MQTT_V31) /* the byte was reserved, with no word on what it holds */
		flags = 0;
	if (!rd_ok(&r) || !flags_ok(f, version, 0) ||
	    (flags & ~SESSION_PRESENT) != 0) /* [MQTT-3.2.2-1] */
		return MQTT_RC_MALFORMED;
	if (version == MQTT_V5) {
		if ((reason = props_read(&r, MQTT_CONNACK, &ret->props)) != MQTT_RC_OK)
			return reason;
	} else
		ret->props = (struct mqtt_props){ 0 };
	if (rd_left(&r) != 0)
		return MQTT_RC_MALFORMED;
	if (version == MQTT_V5 ? !reason_allowed(MQTT_CONNACK, code)
			       : code > V3_CODE_MAX) /* [MQTT-3.2.2-8] */
		return MQTT_RC_PROTOCOL;
	if (code != 0 && flags != 0) /* a session that was refused is not present [MQTT-3.2.2-6] */
		return MQTT_RC_PROTOCOL;
	ret->session_present = flags != 0;
	ret->code = code;
	return MQTT_RC_OK;
}

bool
mqtt_put_connack(struct wr *w, uint8_t version, const struct mqtt_connack *m)
{
	size_t mark = wr_len(w);

	wr_u8(w, m->session_present && m->code == 0 && version != MQTT_V31 ? SESSION_PRESENT : 0);
	wr_u8(w, m->code);
	if (version == MQTT_V5)
		put_props(w, &m->props);
	return put_packet(w, mark, MQTT_CONNACK, 0);
}
