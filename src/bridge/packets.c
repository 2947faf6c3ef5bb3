/* Packets that a bridge writes, for either side. */
#include <stdio.h>
#include "base/num.h"
#include "bridge/internal.h"

enum {
	PUBLISH_ROOM = 5 + 2 + 2 + 4 + 16, /* header, topic length, id, property length, expiry and alias */
	ACK_ROOM = 8,
	SMALL_ROOM = 16,
};

static bool
written(struct link *l, struct buf *to, const struct wr *w)
{
	if (!wr_ok(w))
		return link_fail(l, "a packet does not fit");
	to->n += wr_len(w);
	return true;
}

bool
put_remote_connect(struct link *l)
{
	const struct bridge_config *c = l->bridge->c;
	bool notify = c->notify_topic != NULL && !c->notify_local_only;
	uint8_t props[16], *p;
	struct wr pw = wr_of(props, sizeof props), w;
	struct mqtt_connect m = { .version = c->version,
		.is_bridge = c->try_private && c->version != MQTT_V5 && !l->bridge->private_refused,
		.clean_start = c->clean,
		.has_username = c->username != NULL,
		.has_password = c->password != NULL,
		.keep_alive = c->keep_alive,
		.client_id = slice_str(c->remote_id),
		.username = slice_str(c->username),
		.password = slice_str(c->password),
		.will = { .present = notify,
		    .retain = true,
		    .qos = 1,
		    .topic = slice_str(c->notify_topic),
		    .payload = SL("0") } };
	size_t room = 128 + m.client_id.n + m.username.n + m.password.n + m.will.topic.n;

	/* In the order in which mosquitto writes them. */
	if (c->alias_max > 0) {
		wr_u8(&pw, MQTT_P_TOPIC_ALIAS_MAXIMUM);
		wr_u16(&pw, c->alias_max);
	}
	if (c->receive_max > 0) {
		wr_u8(&pw, MQTT_P_RECEIVE_MAXIMUM);
		wr_u16(&pw, c->receive_max);
	}
	if (c->session_expiry > 0 && !c->clean) {
		wr_u8(&pw, MQTT_P_SESSION_EXPIRY);
		wr_u32(&pw, c->session_expiry);
	}
	if (c->version == MQTT_V5)
		m.props.user = wr_slice(&pw);
	if ((p = buf_room(l, &l->out, room)) == NULL)
		return false;
	w = wr_of(p, room);
	(void)mqtt_put_connect(&w, &m);
	return written(l, &l->out, &w);
}

bool
put_local_connect(struct link *l, bool will)
{
	const struct bridge_config *c = l->bridge->c;
	struct mqtt_connect m = { .version = MQTT_V5,
		.clean_start = c->local_clean,
		.keep_alive = c->keep_alive,
		.client_id = slice_str(c->local_id),
		.will = { .present = will && c->notify_topic != NULL,
		    .retain = true,
		    .qos = 1,
		    .topic = slice_str(c->notify_topic),
		    .payload = SL("0") },
		.props = { .session_expiry = UINT32_MAX, .receive_maximum = l->receive_max } };
	size_t room = 128 + m.client_id.n + m.will.topic.n;
	uint8_t *p = buf_room(l, &l->to_local, room);
	struct wr w;

	if (!c->local_clean)
		mqtt_set(&m.props, MQTT_P_SESSION_EXPIRY);
	mqtt_set(&m.props, MQTT_P_RECEIVE_MAXIMUM);
	if (p == NULL)
		return false;
	w = wr_of(p, room);
	(void)mqtt_put_connect(&w, &m);
	return written(l, &l->to_local, &w);
}

uint16_t
next_id(struct bridge *b)
{
	/* At most a window of them is in use. */
	do {
		if (++b->last_id == 0)
			b->last_id = 1;
	} while (b->ids->local_of[b->last_id] != 0);
	return b->last_id;
}

static bool
put_filter(struct link *l, bool remote, uint8_t type, const struct mqtt_sub *sub)
{
	struct buf *to = remote ? &l->out : &l->to_local;
	uint8_t version = remote ? l->bridge->c->version : MQTT_V5;
	/* Here nobody looks at it, and the remote's numbers are as if there were no other side. */
	uint16_t id = remote ? next_id(l->bridge) : UINT16_MAX;
	size_t room = SMALL_ROOM + sub->filter.n;
	uint8_t *p = buf_room(l, to, room);
	struct wr w;

	if (p == NULL)
		return false;
	w = wr_of(p, room);
	(void)mqtt_put_filters(&w, version, type, id, sub, 1, NULL);
	return written(l, to, &w);
}

bool
put_local_subscribe(struct link *l, uint8_t retain_handling)
{
	const struct bridge_config *c = l->bridge->c;

	for (unsigned i = 0; i < c->n_topics; i++) {
		const struct bridge_topic *t = &c->topics[i];
		uint8_t qos = NUM_MIN(t->qos, l->qos_max);
		struct mqtt_sub sub = { slice_str(t->local),
			(uint8_t)(qos | MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED |
				  retain_handling << 4) };

		if ((t->direction & BRIDGE_OUT) != 0 && !put_filter(l, false, MQTT_SUBSCRIBE, &sub))
			return false;
	}
	return true;
}

static bool
is_wanted(const struct bridge_config *c, const char *local)
{
	for (unsigned i = 0; i < c->n_topics; i++)
		if ((c->topics[i].direction & BRIDGE_OUT) != 0 &&
		    strcmp(c->topics[i].local, local) == 0)
			return true;
	return false;
}

bool
put_local_unsubscribe(struct link *l, const struct bridge_topic *old, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct mqtt_sub sub = { .filter = slice_str(old[i].local) };

		if ((old[i].direction & BRIDGE_OUT) != 0 &&
		    !is_wanted(l->bridge->c, old[i].local) &&
		    !put_filter(l, false, MQTT_UNSUBSCRIBE, &sub))
			return false;
	}
	return true;
}

bool
put_remote_filters(struct link *l)
{
	const struct bridge_config *c = l->bridge->c;

	for (unsigned i = 0; i < c->n_topics; i++) {
		const struct bridge_topic *t = &c->topics[i];
		struct mqtt_sub sub = { slice_str(t->remote), NUM_MIN(t->qos, l->qos_max) };
		bool in = (t->direction & BRIDGE_IN) != 0;

		if (c->version == MQTT_V5 && in)
			sub.options |= MQTT_SUB_NO_LOCAL | MQTT_SUB_RETAIN_AS_PUBLISHED;
		/* A topic that went the other way before may be subscribed in a session that the remote has kept. */
		if ((in || c->attempt_unsubscribe) &&
		    !put_filter(l, true, in ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE, &sub))
			return false;
	}
	return true;
}

bool
put_publish(struct link *l, struct buf *to, uint8_t version, const struct mqtt_publish *m)
{
	size_t room = PUBLISH_ROOM + m->topic.n + m->forward.n + m->payload.n;
	uint8_t *p = buf_room(l, to, room);
	struct wr w;

	if (p == NULL)
		return false;
	w = wr_of(p, room);
	(void)mqtt_put_publish(&w, version, m);
	return written(l, to, &w);
}

bool
put_notify(struct link *l, struct buf *to, uint8_t version, uint8_t qos, bool up)
{
	struct mqtt_publish m = { .topic = slice_str(l->bridge->c->notify_topic),
		.payload = up ? SL("1") : SL("0"),
		.qos = qos,
		.retain = true,
		.packet_id = qos > 0 ? next_id(l->bridge) : 0 };

	return put_publish(l, to, version, &m);
}

bool
put_empty(struct link *l, struct buf *to, uint8_t type)
{
	uint8_t *p = buf_room(l, to, 2);
	struct wr w;

	if (p == NULL)
		return false;
	w = wr_of(p, 2);
	(void)mqtt_put_empty(&w, type);
	return written(l, to, &w);
}

bool
put_disconnect(struct link *l, struct buf *to, uint8_t version)
{
	struct mqtt_disconnect m = { .reason = MQTT_RC_OK };
	uint8_t *p = buf_room(l, to, SMALL_ROOM);
	struct wr w;

	if (p == NULL)
		return false;
	w = wr_of(p, SMALL_ROOM);
	(void)mqtt_put_disconnect(&w, version, &m);
	return written(l, to, &w);
}

bool
put_ack(struct link *l, struct buf *to, uint8_t version, uint8_t type, uint16_t id, uint8_t reason)
{
	uint8_t *p = buf_room(l, to, ACK_ROOM);
	struct wr w;

	if (p == NULL)
		return false;
	w = wr_of(p, ACK_ROOM);
	(void)mqtt_put_ack(&w, version, type, id, reason, SL(""));
	return written(l, to, &w);
}
