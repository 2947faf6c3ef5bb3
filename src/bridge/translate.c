/* Packets of one side to packets of the other. The side here is always MQTT 5, as only that says for each subscription that
 * nothing comes back (no local) and that messages stay retained as they were published. */
#include <stdio.h>
#include <stdlib.h>
#include "base/assert.h"
#include "base/num.h"
#include "bridge/internal.h"
#include "topic/topic.h"

static bool
ack_local(struct link *l, uint8_t type, uint16_t id, uint8_t reason)
{
	return put_ack(l, &l->to_local, MQTT_V5, type, id, reason);
}

static bool
ack_remote(struct link *l, uint8_t type, uint16_t id, uint8_t reason)
{
	return put_ack(l, &l->out, l->bridge->c->version, type, id,
	    l->bridge->c->version == MQTT_V5 ? reason : 0);
}

/* ---- ids ---- */

static void
forget(struct bridge *b, uint16_t local)
{
	struct ids *i = b->ids;

	i->local_of[i->remote_of[local]] = 0;
	i->remote_of[local] = 0;
	i->lowered[local >> 3] &= (uint8_t) ~(1u << (local & 7));
}

static uint16_t
remote_id(struct bridge *b, uint16_t local)
{
	struct ids *i = b->ids;

	if (i->remote_of[local] == 0) {
		i->remote_of[local] = next_id(b);
		i->local_of[i->remote_of[local]] = local;
	}
	return i->remote_of[local];
}

static bool
is_lowered(const struct bridge *b, uint16_t local)
{
	return (b->ids->lowered[local >> 3] >> (local & 7) & 1) != 0;
}

/* ---- messages ---- */

/* What is left of a property list when memory for it is separate; *ret is to be freed. */
static bool
collect_props(struct link *l, struct mqtt_publish *m, uint8_t **ret)
{
	*ret = NULL;
	if (m->forward.p != NULL || m->forward_n == 0)
		return true;
	if ((*ret = malloc(m->forward_n)) == NULL)
		return link_fail(l, "out of memory");
	mqtt_forward_props(m, *ret);
	m->forward = slice_of(*ret, m->forward_n);
	return true;
}

/* Under its name on the other side. <ret> borrows from <name>, or from *ret_own, which is to be freed. False: no topic has it, or
 * *ret_own is NULL where it is needed. */
static bool
rename_topic(
    struct link *l, uint8_t direction, struct slice name, struct slice *ret, uint8_t **ret_own)
{
	struct slice prefix, rest;

	*ret_own = NULL;
	if (!bridge_topic_map(
		l->bridge->c->topics, l->bridge->c->n_topics, direction, name, &prefix, &rest))
		return false;
	*ret = rest;
	if (prefix.n > 0) {
		if (prefix.n + rest.n > UINT16_MAX ||
		    (*ret_own = malloc(prefix.n + rest.n)) == NULL)
			return false;
		memcpy(*ret_own, prefix.p, prefix.n);
		if (rest.n > 0)
			memcpy(*ret_own + prefix.n, rest.p, rest.n);
		*ret = slice_of(*ret_own, prefix.n + rest.n);
	}
	return topic_name_ok(*ret);
}

static bool
send_renamed(struct link *l, struct buf *to, uint8_t version, struct mqtt_publish *m)
{
	uint8_t *props = NULL;
	bool ok;

	if (version != MQTT_V5) {
		m->forward = SL("");
		m->forward_n = 0;
		m->has_expiry = false;
	} else if (!collect_props(l, m, &props))
		return false;
	m->topic_alias = 0;
	ok = put_publish(l, to, version, m);
	free(props);
	return ok;
}

/* A message that does not go on must not wait in the session for ever. */
static bool
swallow_local(struct link *l, const struct mqtt_publish *m)
{
	if (m->qos == 0)
		return true;
	/* The reason ends a QoS 2 flow here. */
	return ack_local(l, m->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m->packet_id,
	    m->qos == 1 ? MQTT_RC_OK : MQTT_RC_UNSPECIFIED);
}

/* The remote takes less than was asked for before it was known: QoS 2 goes as QoS 1, and all above 0 as 0 if that is what it takes. */
static void
lower_qos(struct link *l, struct mqtt_publish *m, uint16_t local)
{
	m->qos = l->qos_max;
	if (m->qos == 1)
		l->bridge->ids->lowered[local >> 3] |= (uint8_t)(1u << (local & 7));
}

static bool
local_publish(struct link *l, const struct mqtt_frame *f)
{
	const struct bridge_config *c = l->bridge->c;
	struct mqtt_publish m;
	uint16_t local;
	uint8_t rc = mqtt_decode_publish(f, MQTT_V5, false, &m), *own = NULL;
	size_t before = l->out.n - l->out.off;
	bool ok = true;

	if (rc != MQTT_RC_OK)
		return link_fail(l, "malformed PUBLISH from this broker");
	l->bridge->last_ms = l->bridge->now_ms;
	local = m.packet_id;
	if (!rename_topic(l, BRIDGE_OUT, m.topic, &m.topic, &own)) {
		free(own);
		return swallow_local(l, &m);
	}
	m.retain = m.retain && c->outgoing_retain && l->retain_ok;
	l->bridge->ids->lowered[local >> 3] &= (uint8_t) ~(1u << (local & 7));
	if (m.qos > l->qos_max) {
		if (l->qos_max == 0)
			ok = swallow_local(l, &m);
		lower_qos(l, &m, local);
	}
	if (ok && m.qos > 0)
		m.packet_id = remote_id(l->bridge, local);
	ok = ok && send_renamed(l, &l->out, c->version, &m);
	free(own);
	if (!ok || l->out.n - l->out.off - before <= l->packet_max)
		return ok;
	/* Taken back: the remote would end the connection, and again at each next try. */
	l->out.n = l->out.off + before;
	if (!l->warned)
		link_warn(
		    l, "messages larger than the remote's %u bytes are dropped", l->packet_max);
	l->warned = true;
	if (m.qos == 0)
		return true;
	m.qos = m.qos == 1 && is_lowered(l->bridge, local) ? 2 : m.qos;
	forget(l->bridge, local);
	m.packet_id = local;
	return swallow_local(l, &m);
}

/* The topic of a message that came with an alias (3.3.2.3.4). */
static bool
resolve_alias(struct link *l, struct mqtt_publish *m)
{
	struct alias *a;
	uint8_t *copy;

	if (m->topic_alias == 0)
		return true;
	if (m->topic_alias > l->bridge->c->alias_max)
		return link_fail(l, "the remote broker sent a topic alias above our maximum");
	a = &l->aliases[m->topic_alias - 1];
	if (m->topic.n == 0) {
		m->topic = slice_of(a->topic, a->n);
		return a->n > 0 ||
		       link_fail(l, "the remote broker sent a topic alias that it has not set");
	}
	if ((copy = malloc(m->topic.n)) == NULL)
		return link_fail(l, "out of memory");
	memcpy(copy, m->topic.p, m->topic.n);
	free(a->topic);
	*a = (struct alias){ copy, m->topic.n };
	return true;
}

static bool
remote_publish(struct link *l, const struct mqtt_frame *f)
{
	struct mqtt_publish m;
	uint8_t *own = NULL;
	bool ok;

	if (mqtt_decode_publish(f, l->bridge->c->version, false, &m) != MQTT_RC_OK ||
	    m.subscription_id != 0)
		return link_fail(l, "the remote broker sent a malformed PUBLISH");
	if (!resolve_alias(l, &m))
		return false;
	if (m.topic.n == 0 || topic_has_wildcard(m.topic)) /* [MQTT-4.7.1-1] */
		return link_fail(l, "the remote broker sent a PUBLISH to what is no topic name");
	l->bridge->last_ms = l->bridge->now_ms;
	/* Only what was asked for: a remote broker does not choose what is published here. */
	if (!topic_name_ok(m.topic) || !rename_topic(l, BRIDGE_IN, m.topic, &m.topic, &own)) {
		free(own);
		if (!l->warned)
			link_warn(l, "the remote broker sent messages under topics that are not "
				     "configured; they are dropped");
		l->warned = true;
		return m.qos == 0 || ack_remote(l, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
					 m.packet_id, MQTT_RC_OK);
	}
	ok = send_renamed(l, &l->to_local, MQTT_V5, &m);
	free(own);
	return ok;
}

/* ---- acknowledgements ---- */

/* Of messages that came from here. */
static bool
remote_ack(struct link *l, const struct mqtt_frame *f)
{
	struct bridge *b = l->bridge;
	uint8_t type = f->type;
	struct mqtt_ack a;
	uint16_t local;
	bool refused;

	if (mqtt_decode_ack(f, b->c->version, &a) != MQTT_RC_OK)
		return link_fail(l, "the remote broker sent a malformed %s", mqtt_type_text(type));
	refused = a.reason >= MQTT_RC_UNSPECIFIED;
	/* Theirs to release. */
	if (type == MQTT_PUBREL)
		return ack_local(l, type, a.packet_id, a.reason);
	local = b->ids->local_of[a.packet_id];
	if (local == 0) /* of a notification, or of what is done already */
		return type != MQTT_PUBREC || refused ||
		       ack_remote(l, MQTT_PUBREL, a.packet_id, MQTT_RC_OK);
	if (refused && type != MQTT_PUBCOMP && !l->warned) {
		link_warn(l, "the remote broker refuses messages: %s", mqtt_reason_text(a.reason));
		l->warned = true;
	}
	if (type == MQTT_PUBACK && is_lowered(b, local)) {
		/* Done over there; here PUBREL still comes. */
		b->ids->local_of[b->ids->remote_of[local]] = 0;
		b->ids->remote_of[local] = 0;
		return ack_local(l, MQTT_PUBREC, local, MQTT_RC_OK);
	}
	if (type != MQTT_PUBREC || refused)
		forget(b, local);
	return ack_local(l, type, local, a.reason);
}

/* Of messages that came from there; and PUBREL for our own. */
static bool
local_ack(struct link *l, const struct mqtt_frame *f)
{
	struct bridge *b = l->bridge;
	struct mqtt_ack a;

	if (mqtt_decode_ack(f, MQTT_V5, &a) != MQTT_RC_OK)
		return link_fail(l, "malformed %s from this broker", mqtt_type_text(f->type));
	if (f->type != MQTT_PUBREL)
		return ack_remote(l, f->type, a.packet_id, a.reason);
	if (!is_lowered(b, a.packet_id) && b->ids->remote_of[a.packet_id] != 0)
		return ack_remote(l, MQTT_PUBREL, b->ids->remote_of[a.packet_id], a.reason);
	forget(b, a.packet_id);
	return ack_local(l, MQTT_PUBCOMP, a.packet_id, MQTT_RC_OK);
}

static bool
suback(struct link *l, const struct mqtt_frame *f, uint8_t version, const char *whose)
{
	struct mqtt_suback s;

	if (mqtt_decode_suback(f, version, &s) != MQTT_RC_OK)
		return link_fail(l, "malformed %s from %s", mqtt_type_text(f->type), whose);
	for (size_t i = 0; f->type == MQTT_SUBACK && i < s.codes.n; i++)
		if (s.codes.p[i] >= MQTT_RC_UNSPECIFIED)
			link_warn(l, "%s refuses a subscription: %s", whose,
			    version == MQTT_V5 ? mqtt_reason_text(s.codes.p[i])
					       : "no reason given");
	return true;
}

/* ---- who may come in ---- */

static const char *
refusal_text(uint8_t version, uint8_t code)
{
	static const char *const v3[] = { "", "protocol version not accepted", "client id rejected",
		"server unavailable", "bad user name or password", "not authorized" };

	return version == MQTT_V5 ? mqtt_reason_text(code) : code < ARRAY_LEN(v3) ? v3[code] : "";
}

static void
take_limits(struct link *l, const struct mqtt_props *p)
{
	if (mqtt_has(p, MQTT_P_RECEIVE_MAXIMUM))
		l->receive_max = p->receive_maximum;
	if (mqtt_has(p, MQTT_P_MAXIMUM_QOS))
		l->qos_max = p->maximum_qos;
	if (mqtt_has(p, MQTT_P_RETAIN_AVAILABLE))
		l->retain_ok = p->retain_available != 0;
	if (mqtt_has(p, MQTT_P_MAXIMUM_PACKET_SIZE))
		l->packet_max = NUM_MIN(l->packet_max, p->maximum_packet_size);
	if (mqtt_has(p, MQTT_P_SERVER_KEEP_ALIVE))
		l->keep_alive = p->server_keep_alive;
}

static bool
remote_connack(struct link *l, const struct mqtt_frame *f)
{
	struct bridge *b = l->bridge;
	const struct bridge_config *c = b->c;
	struct mqtt_connack m;

	if (f->type != MQTT_CONNACK || mqtt_decode_connack(f, c->version, &m) != MQTT_RC_OK)
		return link_fail(l, "the remote broker did not answer with a good CONNACK");
	if (m.code != 0) {
		b->private_refused =
		    b->private_refused || (c->version != MQTT_V5 && m.code == 1 && c->try_private);
		return link_fail(l, "the remote broker refuses the bridge: %s",
		    refusal_text(c->version, m.code));
	}
	take_limits(l, &m.props);
	l->state = LINK_UP;
	if (c->notify_topic != NULL && !c->notify_local_only &&
	    !put_notify(l, &l->out, c->version, NUM_MIN(l->qos_max, (uint8_t)1), true))
		return false;
	if (!put_remote_filters(l) || !link_local(l) || !put_local_connect(l, true) ||
	    !put_local_subscribe(l, 0))
		return false;
	if (c->notify_topic != NULL && !put_notify(l, &l->to_local, MQTT_V5, 0, true))
		return false;
	b->ports.up(b->ports.ctx, m.session_present);
	wake(&l->remote);
	return true;
}

static bool
local_connack(struct link *l, const struct mqtt_frame *f)
{
	struct mqtt_connack m;

	if (mqtt_decode_connack(f, MQTT_V5, &m) != MQTT_RC_OK)
		return link_fail(l, "malformed CONNACK from this broker");
	if (m.code != 0)
		return link_fail(
		    l, "this broker refuses the bridge's session: %s", mqtt_reason_text(m.code));
	if (!m.session_present)
		memset(l->bridge->ids, 0, sizeof *l->bridge->ids);
	if (mqtt_has(&m.props, MQTT_P_SERVER_KEEP_ALIVE) && m.props.server_keep_alive != 0)
		l->keep_alive = l->keep_alive == 0
				    ? m.props.server_keep_alive
				    : NUM_MIN(l->keep_alive, m.props.server_keep_alive);
	return true;
}

static bool
disconnect(struct link *l, const struct mqtt_frame *f, const char *whose)
{
	struct mqtt_disconnect m;

	if (mqtt_decode_disconnect(f, MQTT_V5, &m) != MQTT_RC_OK)
		return link_fail(l, "malformed DISCONNECT from %s", whose);
	return link_fail(l, "%s disconnected the bridge: %s", whose, mqtt_reason_text(m.reason));
}

bool
from_remote(struct link *l, const struct mqtt_frame *f)
{
	if (l->state == LINK_NEW)
		return remote_connack(l, f);
	switch (f->type) {
	case MQTT_PUBLISH:
		return remote_publish(l, f);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return remote_ack(l, f);
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		return suback(l, f, l->bridge->c->version, "the remote broker");
	case MQTT_PINGREQ: /* not for a server to send, and harmless: mosquitto's bridges answer it too */
		return put_empty(l, &l->out, MQTT_PINGRESP);
	case MQTT_PINGRESP:
		return true;
	case MQTT_DISCONNECT:
		if (l->bridge->c->version == MQTT_V5)
			return disconnect(l, f, "the remote broker");
		break;
	default:
		break;
	}
	return link_fail(
	    l, "the remote broker sent %s, which a server does not", mqtt_type_text(f->type));
}

bool
from_local(struct link *l, const struct mqtt_frame *f)
{
	switch (f->type) {
	case MQTT_CONNACK:
		return local_connack(l, f);
	case MQTT_PUBLISH:
		return local_publish(l, f);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
		return local_ack(l, f);
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		return suback(l, f, MQTT_V5, "this broker");
	case MQTT_DISCONNECT:
		return disconnect(l, f, "this broker");
	default:
		return true;
	}
}
