/* The packets of the command line client: what is sent, and what each one received means. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"
#include "cli/client_internal.h"

enum { SLACK = 64 }; /* header, lengths and fixed fields of any packet */

/* A line of -d, in the form of mosquitto's tools. Never with a password. */
static __attribute__((format(printf, 2, 3))) void
debug(const struct mqttc *c, const char *fmt, ...)
{
	va_list ap;

	if (!c->cfg.debug)
		return;
	printf("Client %s ", c->id[0] != '\0' ? c->id : "(null)");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static void
debug_publish(const struct mqttc *c, const char *verb, const struct mqtt_publish *m)
{
	char topic[512];

	if (c->cfg.debug)
		debug(c, "%s PUBLISH (d%d, q%u, r%d, m%u, '%s', ... (%zu bytes))", verb, m->dup,
		    m->qos, m->retain, m->packet_id, text_show(m->topic, topic, sizeof topic),
		    m->payload.n);
}

/* Room for a packet of at most <n> bytes and some: then wr_of(that). */
static bool
begin(struct mqttc *c, size_t n, struct wr *ret)
{
	if (n > PACKET_MAX || !mqttc_room(&c->out, n + SLACK))
		return false;
	*ret = wr_of(c->out.p + c->out.n, c->out.cap - c->out.n);
	return true;
}

static bool
end(struct mqttc *c, const struct wr *w)
{
	if (!wr_ok(w))
		return false;
	c->out.n += wr_len(w);
	return true;
}

static size_t
props_size(const struct mqtt_props *p)
{
	return 128 + p->content_type.n + p->response_topic.n + p->correlation_data.n +
	       p->auth_method.n + p->auth_data.n + p->reason_string.n + p->server_reference.n +
	       p->user.n;
}

/* ---- sending ---- */

static void
set_auth(struct mqtt_props *p, const struct scram_answer *a)
{
	mqtt_set(p, MQTT_P_AUTH_METHOD);
	p->auth_method = SL(SCRAM_METHOD);
	mqtt_set(p, MQTT_P_AUTH_DATA);
	p->auth_data = slice_of(a->p, a->n);
}

bool
mqttc_put_connect(struct mqttc *c)
{
	struct mqtt_connect m = c->cfg.connect;
	struct scram_answer first;
	struct wr w;
	size_t n;

	if (c->cfg.scram != NULL) {
		if (!scram_client_step(c->cfg.scram, SL(""), &first, &c->err))
			return false;
		set_auth(&m.props, &first);
	}
	n = m.client_id.n + m.username.n + m.password.n + m.will.topic.n + m.will.payload.n +
	    props_size(&m.props) + props_size(&m.will.props);
	text_show(m.client_id, c->id, sizeof c->id);
	debug(c, "sending CONNECT");
	return begin(c, n, &w) && mqtt_put_connect(&w, &m) && end(c, &w);
}

static bool
put_auth(struct mqttc *c, const struct scram_answer *a)
{
	struct mqtt_disconnect m = { .reason = MQTT_RC_CONTINUE_AUTH };
	struct wr w;

	set_auth(&m.props, a);
	debug(c, "sending AUTH (%u)", m.reason);
	return begin(c, props_size(&m.props), &w) && mqtt_put_auth(&w, &m) && end(c, &w);
}

bool
mqttc_put_ping(struct mqttc *c)
{
	struct wr w;

	debug(c, "sending PINGREQ");
	return begin(c, 2, &w) && mqtt_put_empty(&w, MQTT_PINGREQ) && end(c, &w);
}

bool
mqttc_put_disconnect(struct mqttc *c, uint8_t reason)
{
	struct mqtt_disconnect m = { .reason = reason };
	struct wr w;

	if (c->cfg.disconnect != NULL)
		m.props = *c->cfg.disconnect;
	debug(c, "sending DISCONNECT");
	return begin(c, props_size(&m.props), &w) &&
	       mqtt_put_disconnect(&w, c->cfg.connect.version, &m) && end(c, &w);
}

static bool
put_ack(struct mqttc *c, uint8_t type, uint16_t id, uint8_t reason)
{
	struct wr w;

	if (type == MQTT_PUBACK || type == MQTT_PUBREC)
		debug(c, "sending %s (m%u, rc%u)", mqtt_type_text(type), id, reason);
	else
		debug(c, "sending %s (m%u)", mqtt_type_text(type), id);
	return begin(c, 8, &w) &&
	       mqtt_put_ack(&w, c->cfg.connect.version, type, id, reason, SL("")) && end(c, &w);
}

/* A packet id that nothing waits under; 0 when all are taken. */
static uint16_t
new_id(struct mqttc *c)
{
	for (unsigned i = 0; i < PACKET_IDS; i++) {
		if (++c->last_id == 0)
			c->last_id = 1;
		if (c->ours[c->last_id] == WAIT_NOTHING)
			return c->last_id;
	}
	return 0;
}

static bool
forbid(struct mqttc *c, uint8_t code, const char *why)
{
	c->code = code;
	return err_set(&c->err, ERR_LIMIT, "the broker does not accept this message: %s", why);
}

bool
mqttc_publish(struct mqttc *c, const struct mqtt_publish *m, uint16_t *ret_id)
{
	size_t n = m->topic.n + m->payload.n +
		   (m->forward.p != NULL ? m->forward.n : m->forward_n) + SLACK;
	struct mqtt_publish copy = *m;
	struct wr w;

	if (m->qos > c->qos_max)
		return forbid(c, MQTT_RC_QOS_UNSUPPORTED,
		    c->qos_max == 0 ? "only QoS 0; use -q 0" : "QoS 1 at most; use -q 1");
	if (m->retain && !c->may_retain)
		return forbid(c, MQTT_RC_RETAIN_UNSUPPORTED,
		    "it does not keep retained messages; leave out -r");
	if (m->topic_alias > c->alias_max)
		return forbid(c, MQTT_RC_ALIAS_INVALID,
		    "its topic-alias-maximum is smaller than the topic-alias");
	copy.packet_id = new_id(c);
	if (copy.packet_id == 0 || !begin(c, n, &w) ||
	    !mqtt_put_publish(&w, c->cfg.connect.version, &copy)) {
		c->code = MQTT_RC_TOO_LARGE;
		return err_set(&c->err, ERR_LIMIT,
		    "the message is too large for MQTT or for this machine's memory");
	}
	/* [MQTT-3.2.2-15] of 5. */
	if (wr_len(&w) > c->packet_max)
		return forbid(
		    c, MQTT_RC_TOO_LARGE, "it is larger than the broker's maximum-packet-size");
	(void)end(c, &w); /* wr_ok() is known */
	debug_publish(c, "sending", &copy);
	if (m->qos > 0) {
		c->ours[copy.packet_id] = m->qos == 1 ? WAIT_PUBACK : WAIT_PUBREC;
		c->in_flight++;
	}
	*ret_id = copy.packet_id;
	return true;
}

bool
mqttc_may_publish(const struct mqttc *c, unsigned max_inflight)
{
	return c->in_flight < NUM_MIN(max_inflight, (unsigned)c->receive_max);
}

bool
mqttc_filters(struct mqttc *c, uint8_t type, const struct mqtt_sub *subs, size_t n,
    const struct mqtt_props *props, uint16_t *ret_id)
{
	uint16_t id = new_id(c);
	size_t size = props != NULL ? props_size(props) : 0;
	char shown[512];
	struct wr w;

	for (size_t i = 0; i < n; i++) {
		size += subs[i].filter.n + 3;
		text_show(subs[i].filter, shown, sizeof shown);
		if (type == MQTT_SUBSCRIBE)
			debug(c, "sending SUBSCRIBE (Mid: %u, Topic: %s, QoS: %d, Options: 0x%02x)",
			    id, shown, subs[i].options & MQTT_SUB_QOS,
			    subs[i].options & ~(unsigned)MQTT_SUB_QOS);
		else
			debug(c, "sending UNSUBSCRIBE (Mid: %u, Topic: %s)", id, shown);
	}
	if (id == 0 || !begin(c, size, &w) ||
	    !mqtt_put_filters(&w, c->cfg.connect.version, type, id, subs, n, props) || !end(c, &w))
		return err_set(&c->err, ERR_MEMORY, "too many or too long filters");
	*ret_id = id;
	return true;
}

/* ---- receiving ---- */

void
mqttc_forget(struct mqttc *c)
{
	c->in.at = c->in.n = c->out.at = c->out.n = 0;
	c->up = c->unread = false;
	c->ping_since = 0;
	c->code = 0;
	c->in_flight = 0;
	memset(c->ours, WAIT_NOTHING, PACKET_IDS);
	for (size_t i = 0; i <= c->alias_n; i++)
		c->aliases[i].n = 0; /* aliases live as long as the connection (5, 3.3.2.3.4) */
	c->packet_max = UINT32_MAX;
	c->receive_max = UINT16_MAX;
	c->alias_max = 0;
	c->qos_max = 2;
	c->may_retain = true;
}

static enum mqttc_result
broken(struct mqttc *c, const struct mqtt_frame *f, uint8_t reason)
{
	(void)err_set(&c->err, ERR_INPUT, "the broker broke the protocol: %s, %s",
	    mqtt_type_text(f->type), mqtt_reason_text(reason));
	return MQTTC_PROTOCOL;
}

static enum mqttc_result
no_memory(struct mqttc *c)
{
	(void)err_set(&c->err, ERR_MEMORY, "out of memory");
	return MQTTC_FAILED;
}

static const char *
connack_text(uint8_t version, uint8_t code)
{
	static const char *const v3[] = {
		"accepted",
		"it does not speak this protocol version; try another -V",
		"it does not accept the client id (-i)",
		"it is not available now",
		"bad user name or password",
		"not authorised",
	};

	if (version != MQTT_V5)
		return code < ARRAY_LEN(v3) ? v3[code] : "unknown reason";
	return code == MQTT_RC_VERSION ? "it does not speak MQTT 5; try -V mqttv311"
				       : mqtt_reason_text(code);
}

static enum mqttc_result
refused(struct mqttc *c, uint8_t code, struct slice text)
{
	char why[200];
	bool named = c->id[0] != '\0';

	c->code = code;
	(void)err_set(&c->err, ERR_DENIED,
	    "the broker refused the connection: %s%s%s (code %u%s%s%s)",
	    connack_text(c->cfg.connect.version, code), text.n > 0 ? ": " : "",
	    text.n > 0 ? text_show(text, why, sizeof why) : "", code, named ? ", client id '" : "",
	    c->id, named ? "'" : "");
	return MQTTC_REFUSED;
}

static void
take_limits(struct mqttc *c, const struct mqtt_props *p)
{
	if (mqtt_has(p, MQTT_P_MAXIMUM_PACKET_SIZE))
		c->packet_max = p->maximum_packet_size;
	if (mqtt_has(p, MQTT_P_RECEIVE_MAXIMUM))
		c->receive_max = p->receive_maximum;
	if (mqtt_has(p, MQTT_P_MAXIMUM_QOS))
		c->qos_max = p->maximum_qos;
	if (mqtt_has(p, MQTT_P_RETAIN_AVAILABLE))
		c->may_retain = p->retain_available != 0;
	if (mqtt_has(p, MQTT_P_SERVER_KEEP_ALIVE))
		c->cfg.connect.keep_alive = p->server_keep_alive; /* [MQTT-3.2.2-21] */
	c->alias_max = p->topic_alias_maximum;
	if (mqtt_has(p, MQTT_P_ASSIGNED_CLIENT_ID))
		text_show(p->assigned_client_id, c->id, sizeof c->id);
}

static enum mqttc_result
on_connack(struct mqttc *c, const struct mqtt_frame *f)
{
	uint8_t version = c->cfg.connect.version;
	struct mqtt_connack m;
	uint8_t reason;

	if (c->up)
		return broken(c, f, MQTT_RC_PROTOCOL);
	/* A broker that has never heard of MQTT 5 answers in the older form. */
	if (version == MQTT_V5 && f->body.n == 2 && f->body.p[1] > 0)
		return refused(c, f->body.p[1] == 1 ? MQTT_RC_VERSION : f->body.p[1], SL(""));
	reason = mqtt_decode_connack(f, version, &m);
	if (reason != MQTT_RC_OK)
		return broken(c, f, reason);
	take_limits(c, &m.props);
	debug(c, "received CONNACK (%u)", m.code);
	if (m.code != 0)
		return refused(c, m.code, m.props.reason_string);
	/* Whoever lets us in without knowing the password is not the broker that we mean. */
	if (c->cfg.scram != NULL && !scram_client_verify(c->cfg.scram, m.props.auth_data, &c->err))
		return MQTTC_PROTOCOL;
	if (!m.session_present) /* what was under way is forgotten there (5, 4.1) */
		memset(c->theirs, 0, PACKET_IDS / 8);
	c->up = c->was_up = true;
	if (c->cfg.events.connected != NULL)
		c->cfg.events.connected(c->cfg.ctx, m.session_present);
	return MQTTC_OK;
}

/* MQTT 5, 3.3.2.3.4: an alias stands for the topic it came with last. */
static bool
resolve_alias(struct mqttc *c, struct mqtt_publish *m)
{
	struct mqttc_alias *a;

	if (m->topic_alias == 0)
		return true;
	if (m->topic_alias > c->alias_n)
		return false;
	a = &c->aliases[m->topic_alias];
	if (m->topic.n > 0) {
		uint8_t *copy = malloc(m->topic.n);

		if (copy == NULL)
			return false;
		memcpy(copy, m->topic.p, m->topic.n);
		free(a->topic);
		a->topic = copy;
		a->n = m->topic.n;
	}
	m->topic = slice_of(a->topic, a->n);
	return a->n > 0;
}

static enum mqttc_result
on_publish(struct mqttc *c, const struct mqtt_frame *f, bool *ret_halt)
{
	struct mqtt_publish m;
	uint8_t reason = mqtt_decode_publish(f, c->cfg.connect.version, false, &m), bit;
	bool known;

	if (reason != MQTT_RC_OK)
		return broken(c, f, reason);
	if (!resolve_alias(c, &m))
		return broken(c, f, MQTT_RC_ALIAS_INVALID);
	debug_publish(c, "received", &m);
	bit = (uint8_t)(1u << (m.packet_id & 7));
	/* QoS 2 delivers on PUBLISH and remembers the id until PUBREL (3.1.1, 4.3.3, method B). */
	known = m.qos == 2 && (c->theirs[m.packet_id >> 3] & bit) != 0;
	if (!known && c->cfg.events.message != NULL)
		*ret_halt = !c->cfg.events.message(c->cfg.ctx, &m);
	if (m.qos == 2)
		c->theirs[m.packet_id >> 3] |= bit;
	if (m.qos > 0 &&
	    !put_ack(c, m.qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, m.packet_id, MQTT_RC_OK))
		return no_memory(c);
	return MQTTC_OK;
}

static void
settled(struct mqttc *c, const struct mqtt_ack *m)
{
	c->ours[m->packet_id] = WAIT_NOTHING;
	c->in_flight--;
	if (c->cfg.events.published != NULL)
		c->cfg.events.published(c->cfg.ctx, m->packet_id, m->reason, m->reason_string);
}

/* PUBACK, PUBREC and PUBCOMP for what we published. One that nothing waits for is harmless and
 * passed over. */
static enum mqttc_result
on_ack(struct mqttc *c, const struct mqtt_frame *f)
{
	struct mqtt_ack m;
	uint8_t reason = mqtt_decode_ack(f, c->cfg.connect.version, &m);

	if (reason != MQTT_RC_OK)
		return broken(c, f, reason);
	if (f->type == MQTT_PUBREC)
		debug(c, "received PUBREC (Mid: %u)", m.packet_id);
	else
		debug(c, "received %s (Mid: %u, RC:%u)", mqtt_type_text(f->type), m.packet_id,
		    m.reason);
	if (f->type == MQTT_PUBREC && m.reason < 0x80) {
		if (c->ours[m.packet_id] == WAIT_PUBREC)
			c->ours[m.packet_id] = WAIT_PUBCOMP;
		return put_ack(c, MQTT_PUBREL, m.packet_id, MQTT_RC_OK) ? MQTTC_OK : no_memory(c);
	}
	if ((f->type == MQTT_PUBACK && c->ours[m.packet_id] == WAIT_PUBACK) ||
	    (f->type == MQTT_PUBREC && c->ours[m.packet_id] == WAIT_PUBREC) ||
	    (f->type == MQTT_PUBCOMP && c->ours[m.packet_id] == WAIT_PUBCOMP))
		settled(c, &m);
	return MQTTC_OK;
}

static enum mqttc_result
on_pubrel(struct mqttc *c, const struct mqtt_frame *f)
{
	struct mqtt_ack m;
	uint8_t reason = mqtt_decode_ack(f, c->cfg.connect.version, &m);

	if (reason != MQTT_RC_OK)
		return broken(c, f, reason);
	debug(c, "received PUBREL (Mid: %u)", m.packet_id);
	c->theirs[m.packet_id >> 3] &= (uint8_t) ~(1u << (m.packet_id & 7));
	return put_ack(c, MQTT_PUBCOMP, m.packet_id, MQTT_RC_OK) ? MQTTC_OK : no_memory(c);
}

static enum mqttc_result
on_suback(struct mqttc *c, const struct mqtt_frame *f)
{
	struct mqtt_suback m;
	uint8_t reason = mqtt_decode_suback(f, c->cfg.connect.version, &m);

	if (reason != MQTT_RC_OK)
		return broken(c, f, reason);
	debug(c, "received %s", mqtt_type_text(f->type));
	if (f->type == MQTT_SUBACK && c->cfg.events.subscribed != NULL)
		c->cfg.events.subscribed(c->cfg.ctx, m.packet_id, m.codes);
	if (f->type == MQTT_UNSUBACK && c->cfg.events.unsubscribed != NULL)
		c->cfg.events.unsubscribed(c->cfg.ctx, m.packet_id);
	return MQTTC_OK;
}

/* The exchange before CONNACK (MQTT 5, 4.12). */
static enum mqttc_result
on_auth(struct mqttc *c, const struct mqtt_frame *f)
{
	struct scram_answer a;
	struct mqtt_disconnect m;
	uint8_t reason;

	if (c->cfg.scram == NULL) {
		(void)err_set(&c->err, ERR_DENIED,
		    "the broker wants more authentication (AUTH), which was not asked for");
		return MQTTC_PROTOCOL;
	}
	reason = mqtt_decode_auth(f, &m);
	if (reason != MQTT_RC_OK)
		return broken(c, f, reason);
	debug(c, "received AUTH (%u)", m.reason);
	if (c->up || m.reason != MQTT_RC_CONTINUE_AUTH ||
	    !slice_eq(m.props.auth_method, SL(SCRAM_METHOD)))
		return broken(c, f, MQTT_RC_PROTOCOL);
	if (!scram_client_step(c->cfg.scram, m.props.auth_data, &a, &c->err))
		return MQTTC_PROTOCOL;
	return put_auth(c, &a) ? MQTTC_OK : no_memory(c);
}

static enum mqttc_result
on_disconnect(struct mqttc *c, const struct mqtt_frame *f)
{
	struct mqtt_disconnect m;
	uint8_t reason = mqtt_decode_disconnect(f, c->cfg.connect.version, &m);
	char why[200];

	if (c->cfg.connect.version != MQTT_V5)
		return broken(c, f, MQTT_RC_PROTOCOL);
	if (reason != MQTT_RC_OK)
		return broken(c, f, reason);
	debug(c, "received DISCONNECT (%u)", m.reason);
	c->code = m.reason;
	c->up = false; /* nothing is sent any more [MQTT-3.14.4-1] */
	(void)err_set(&c->err, ERR_DENIED, "the broker ended the connection: %s%s%s (code %u)",
	    mqtt_reason_text(m.reason), m.props.reason_string.n > 0 ? ": " : "",
	    m.props.reason_string.n > 0 ? text_show(m.props.reason_string, why, sizeof why) : "",
	    m.reason);
	/* These pass by themselves; the others would come again, or end a fight of two clients
	 * over one id. */
	if (m.reason == MQTT_RC_SHUTTING_DOWN || m.reason == MQTT_RC_BUSY ||
	    m.reason == MQTT_RC_KEEP_ALIVE)
		return MQTTC_LOST;
	return MQTTC_DISMISSED;
}

enum mqttc_result
mqttc_packet(struct mqttc *c, const struct mqtt_frame *f, bool *ret_halt)
{
	uint8_t reason;

	if (!c->up && f->type != MQTT_CONNACK && f->type != MQTT_AUTH) /* [MQTT-3.2.0-1] */
		return broken(c, f, MQTT_RC_PROTOCOL);
	switch (f->type) {
	case MQTT_CONNACK:
		return on_connack(c, f);
	case MQTT_PUBLISH:
		return on_publish(c, f, ret_halt);
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBCOMP:
		return on_ack(c, f);
	case MQTT_PUBREL:
		return on_pubrel(c, f);
	case MQTT_SUBACK:
	case MQTT_UNSUBACK:
		return on_suback(c, f);
	case MQTT_PINGRESP:
		reason = mqtt_decode_empty(f);
		debug(c, "received PINGRESP");
		c->ping_since = 0;
		return reason == MQTT_RC_OK ? MQTTC_OK : broken(c, f, reason);
	case MQTT_DISCONNECT:
		return on_disconnect(c, f);
	case MQTT_AUTH:
		return on_auth(c, f);
	default:
		return broken(c, f, MQTT_RC_PROTOCOL);
	}
}
