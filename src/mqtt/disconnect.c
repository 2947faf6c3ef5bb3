/* DISCONNECT (3.14), AUTH (5.0, 3.15), and the packets that are nothing but a fixed header. */
#include "mqtt/internal.h"

/* Reason and properties, both of which may be left out (3.14.2.1, 3.14.2.2.1, 3.15.2.1). */
static uint8_t
read_end(const struct mqtt_frame *f, struct mqtt_disconnect *m)
{
	struct rd r = rd_of(f->body);
	uint8_t reason;

	*m = (struct mqtt_disconnect){ 0 };
	if (rd_left(&r) > 0)
		m->reason = rd_u8(&r);
	if (rd_left(&r) > 0 && (reason = props_read(&r, f->type, &m->props)) != MQTT_RC_OK)
		return reason;
	if (rd_left(&r) != 0)
		return MQTT_RC_MALFORMED;
	return reason_allowed(f->type, m->reason) ? MQTT_RC_OK
						  : MQTT_RC_PROTOCOL; /* [MQTT-3.14.2-1] */
}

uint8_t
mqtt_decode_disconnect(const struct mqtt_frame *f, uint8_t version, struct mqtt_disconnect *ret)
{
	if (!flags_ok(f, version, 0)) /* [MQTT-3.14.1-1] */
		return MQTT_RC_MALFORMED;
	if (version != MQTT_V5 && f->body.n > 0)
		return MQTT_RC_MALFORMED;
	return read_end(f, ret);
}

uint8_t
mqtt_decode_auth(const struct mqtt_frame *f, struct mqtt_disconnect *ret)
{
	uint8_t reason;

	if (f->flags != 0) /* [MQTT-3.15.1-1] */
		return MQTT_RC_MALFORMED;
	if ((reason = read_end(f, ret)) != MQTT_RC_OK)
		return reason;
	/* 3.15.2.2.2: leaving the method out is an error, except in the short form, "success"
	 * and no properties */
	if (!mqtt_has(&ret->props, MQTT_P_AUTH_METHOD) &&
	    (ret->reason != MQTT_RC_OK || ret->props.raw.n > 0))
		return MQTT_RC_PROTOCOL;
	return MQTT_RC_OK;
}

uint8_t
mqtt_decode_empty(const struct mqtt_frame *f)
{
	return f->flags == 0 && f->body.n == 0 ? MQTT_RC_OK : MQTT_RC_MALFORMED;
}

static bool
put_end(struct wr *w, uint8_t type, const struct mqtt_disconnect *m)
{
	size_t mark = wr_len(w);
	bool bare = props_empty(&m->props);

	if (m->reason != MQTT_RC_OK || !bare)
		wr_u8(w, m->reason);
	if (!bare)
		put_props(w, &m->props);
	return put_packet(w, mark, type, 0);
}

bool
mqtt_put_disconnect(struct wr *w, uint8_t version, const struct mqtt_disconnect *m)
{
	return version == MQTT_V5 ? put_end(w, MQTT_DISCONNECT, m)
				  : mqtt_put_empty(w, MQTT_DISCONNECT);
}

bool
mqtt_put_auth(struct wr *w, const struct mqtt_disconnect *m)
{
	return put_end(w, MQTT_AUTH, m);
}

bool
mqtt_put_empty(struct wr *w, uint8_t type)
{
	return put_packet(w, wr_len(w), type, 0);
}
