/* What happens to a PUBLISH (3.3). Start reading here. */
#include <stdlib.h>
#include "base/json.h"
#include "base/text.h"
#include "broker/internal.h"

/* Topics that a client has given a number (3.3.2.3.4). */
struct alias_in {
	uint16_t cap;
	struct block *topic[];
};

void
alias_in_clear(struct client *c)
{
	for (uint16_t i = 0; c->alias_in != NULL && i < c->alias_in->cap; i++)
		free(c->alias_in->topic[i]);
	free(c->alias_in);
	c->alias_in = NULL;
}

/* Remember or look up the alias of <p>. */
static uint8_t
resolve_alias(struct client *c, struct mqtt_publish *p)
{
	uint16_t max = c->alias_max_in;
	struct block **at, *b;

	if (p->topic_alias > max)
		return MQTT_RC_ALIAS_INVALID;
	if (c->alias_in == NULL) {
		c->alias_in = calloc(1, sizeof *c->alias_in + max * sizeof(struct block *));
		if (c->alias_in == NULL)
			return MQTT_RC_UNSPECIFIED;
		c->alias_in->cap = max;
	}
	at = &c->alias_in->topic[p->topic_alias - 1];
	if (p->topic.n == 0) {
		if (*at == NULL)
			return MQTT_RC_PROTOCOL;
		p->topic = slice_of((*at)->bytes, (*at)->n);
		return MQTT_RC_OK;
	}
	if (*at != NULL && slice_eq(slice_of((*at)->bytes, (*at)->n), p->topic))
		return MQTT_RC_OK;
	if ((b = malloc(sizeof *b + p->topic.n)) == NULL)
		return MQTT_RC_UNSPECIFIED;
	b->n = (uint32_t)p->topic.n;
	memcpy(b->bytes, p->topic.p, p->topic.n);
	free(*at);
	*at = b;
	return MQTT_RC_OK;
}

bool
utf8_payload_ok(struct slice payload)
{
	bool more = true;

	while (more)
		if (!utf8_ok(slice_cut(&payload, '\0', &more)))
			return false;
	return true;
}

/* What ends the connection, whoever sends it. */
static uint8_t
check(struct client *c, struct mqtt_publish *p, const char **ret_why)
{
	const struct broker_settings *set = settings_of(c->shard);
	uint8_t rc = p->topic_alias != 0 ? resolve_alias(c, p) : MQTT_RC_OK;

	*ret_why = "topic alias out of range or not set";
	if (rc != MQTT_RC_OK)
		return rc;
	*ret_why = "not a topic name";
	if (!topic_name_ok(p->topic) || (c->mount_n > 0 && !mount_name(c, &p->topic)))
		return MQTT_RC_MALFORMED;
	*ret_why = "QoS above max_qos";
	if (p->qos > c->max_qos)
		return MQTT_RC_QOS_UNSUPPORTED;
	*ret_why = "retained message and retain_available is false";
	if (p->retain && !set->retain_available)
		return MQTT_RC_RETAIN_UNSUPPORTED;
	*ret_why = "more QoS 2 messages than Receive Maximum";
	/* Only 5.0 knows the limit (3.3.4). */
	if (c->version == MQTT_V5 && p->qos == 2 && !listener_of(c->shard, c->listener)->bridges &&
	    c->session->received.n >= set->receive_maximum &&
	    !idset_has(&c->session->received, p->packet_id))
		return MQTT_RC_RECEIVE_MAXIMUM;
	*ret_why = "payload is not the UTF-8 that its format indicator says";
	if (p->utf8_payload && !utf8_payload_ok(p->payload))
		return MQTT_RC_PAYLOAD_FORMAT;
	return MQTT_RC_OK;
}

/* The topics under which only the broker speaks; and a bridge of itself: it tells both brokers whether it is up, under
 * "$SYS/broker/connection/CLIENTID/state" with its client id at the remote one. */
bool
is_reserved(const struct broker_listener *l, struct slice client_id, struct slice topic)
{
	struct slice state = SL("$SYS/broker/connection/");

	if (topic.p[0] != '$' || !slice_starts(topic, SL("$SYS/")))
		return slice_starts(topic, SL("$share/"));
	if (!slice_starts(topic, state))
		return true;
	state = slice_from(topic, state.n);
	return !l->bridges && !(slice_starts(state, client_id) && slice_eq(slice_from(state, client_id.n), SL("/state")));
}

bool
is_request(struct slice topic)
{
	return topic.p[0] == '$' && (slice_starts(topic, SL("$CONTROL/")) || slice_starts(topic, SL("$signet/renew/")));
}

static bool
may_publish(struct client *c, const struct mqtt_publish *p, const char **ret_why, struct authz_verdict *v)
{
	*ret_why = "topic is the broker's own";
	if (is_reserved(listener_of(c->shard, c->listener), session_id(c->session), p->topic))
		return false;
	*ret_why = v->why;
	return authz_allowed(listener_of(c->shard, c->listener)->policy, c->who, session_id(c->session), AUTHZ_PUBLISH,
	    p->topic, v);
}

/* A device's data that is no JSON object: what to do with it, its readers may not know. */
static bool
is_odd_data(struct client *c, const struct mqtt_publish *p)
{
	static const char level[] = "/attrs";
	size_t n = sizeof level - 1;

	if (listener_of(c->shard, c->listener)->data == BROKER_DATA_ANY || p->topic.n < n || memcmp(p->topic.p + p->topic.n - n, level, n) != 0 ||
	    json_text_is_object(p->payload))
		return false;
	stat_add(c->shard, no_objects, 1);
	return listener_of(c->shard, c->listener)->data == BROKER_DATA_OBJECT;
}

static bool
is_too_large(const struct client *c, struct slice payload)
{
	uint32_t max = settings_of(c->shard)->max_payload;

	return max != 0 && payload.n > max;
}

/* Answer a PUBLISH that is not carried out. */
static bool
deny(struct client *c, const struct mqtt_publish *p, uint8_t reason, const char *why)
{
	struct broker_event e = { .kind = BROKER_DENIED_PUBLISH, .topic = p->topic, .reason = reason, .qos = p->qos,
		.text = why };

	stat_add(c->shard, denied, 1);
	client_report(c, &e);
	if (c->version != MQTT_V5 && p->qos > 0 && listener_of(c->shard, c->listener)->deny_v3_by_close)
		return client_fail(c, reason, "refused PUBLISH");
	if (p->qos == 0)
		return true;
	/* A v3 client can only be told by silence or by the end: the message is acknowledged and dropped. For QoS 2 its PUBREL
	 * finds no id, which v3 answers the same. */
	return out_ack(c, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id, c->version == MQTT_V5 ? reason : 0, why);
}

enum routed
publish_message(struct shard *sh, struct msg *m)
{
	bool begun = journal_begin(sh, m);
	bool kept = !m->retain || retained_set(sh, m);
	enum routed any = kept || m->qos == 0 ? route_message(sh, m, true) : ROUTED_NOMEM;

	if (!kept && m->qos == 0)
		shard_dropped(sh, BROKER_DROP_NO_MEMORY);
	journal_finish(sh, begun);
	return any;
}

bool
shard_publish_message(struct shard *sh, const struct mqtt_publish *p, bool *ret_heard)
{
	struct msg *m = msg_new(p, SL(""), NULL, sh->now_s);
	enum routed routed;

	if (m == NULL)
		return false;
	routed = publish_message(sh, m);
	msg_unref(m);
	if (routed == ROUTED_NOMEM)
		return false;
	*ret_heard = routed == ROUTED;
	return true;
}

bool
shard_publish(struct shard *sh, struct slice topic, struct slice payload, bool retain)
{
	bool heard;

	return shard_publish_message(sh, &(struct mqtt_publish){ .topic = topic, .payload = payload, .retain = retain }, &heard);
}

enum broker_told
shard_tell(struct shard *sh, struct slice client_id, struct slice topic, struct slice payload)
{
	struct mqtt_publish p = { .topic = topic, .payload = payload };
	struct session *s = session_find(sh, client_id);
	struct msg *m;

	if (s == NULL || s->client == NULL)
		return BROKER_TOLD_NOBODY;
	if (s->client->out_bytes > TOLD_MAX || s->client->dropping || (m = msg_new(&p, SL(""), NULL, sh->now_s)) == NULL)
		return BROKER_TOLD_LATER;
	route_to_one(sh, m, s);
	msg_unref(m);
	return BROKER_TOLD;
}

static bool
acknowledge(struct client *c, const struct mqtt_publish *p, bool received)
{
	/* That nobody listens is said where it ends the exchange; in the middle of one it is of no use. */
	uint8_t reason = received || c->version != MQTT_V5 || p->qos == 2 ? MQTT_RC_OK : MQTT_RC_NO_SUBSCRIBERS;

	if (p->qos == 0)
		return true;
	return out_ack(c, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id, reason, "");
}

bool
publish_receive(struct session *s, uint16_t packet_id)
{
	if (!idset_add(&s->received, packet_id))
		return false;
	if (journal_received(s, packet_id))
		return true;
	(void)idset_del(&s->received, packet_id);
	return false;
}

static void
unreceive(struct session *s, uint16_t packet_id)
{
	(void)idset_del(&s->received, packet_id);
	journal_freed(s, packet_id);
}

/* The store takes nothing: what would have to be kept is not acknowledged. */
static bool
deny_unkept(struct client *c, const struct mqtt_publish *p)
{
	static const char why[] = "the store takes nothing for now";

	if (p->qos > 0 && c->version != MQTT_V5)
		return client_fail(c, MQTT_RC_QUOTA, why);
	return deny(c, p, MQTT_RC_QUOTA, why);
}

/* NULL: out of memory. */
static struct msg *
make_message(struct client *c, struct mqtt_publish *p)
{
	struct msg_source *source = NULL;

	if (p->retain && !source_of(c, &source))
		return NULL;
	if (settings_of(c->shard)->stamp_publishers && !stamp_put(&c->stamp, c->who, p))
		return NULL;
	return msg_new(p, session_id(c->session), source, c->shard->now_s);
}

/* Once more: it may be that what the first answer waits for is not on the disk yet, and that was said to another connection. */
static bool
say_received(struct client *c, uint16_t packet_id)
{
	const struct inbound *in = journal_inbound(c->session, packet_id);

	return (in == NULL || gate_turn(c, in->seq)) && out_ack(c, MQTT_PUBREC, packet_id, MQTT_RC_OK, "");
}

bool
on_publish(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_publish p;
	struct authz_verdict v;
	struct msg *m;
	const char *why;
	uint64_t mark = c->shard->journal.marks, again = 0;
	uint8_t rc = mqtt_decode_publish(f, c->version, true, &p);
	enum routed routed;

	if (rc != MQTT_RC_OK)
		return client_fail(c, rc, "malformed PUBLISH");
	if ((rc = check(c, &p, &why)) != MQTT_RC_OK)
		return client_fail(c, rc, why);
	stat_add(c->shard, messages_in[p.qos], 1);
	c->messages_in++;
	stat_add(c->shard, payload_in[p.qos], p.payload.n);
	/* Received before and not released: the answer was lost, the message was not [MQTT-4.3.3-10]. */
	if (p.qos == 2 && idset_has(&c->session->received, p.packet_id) && (again = once_again(c->session, p.packet_id)) == 0)
		return say_received(c, p.packet_id);
	if (is_too_large(c, p.payload))
		return deny(c, &p, MQTT_RC_TOO_LARGE, "payload above message_size_limit");
	if (!may_publish(c, &p, &why, &v))
		return deny(c, &p, MQTT_RC_NOT_AUTHORIZED, why);
	if (is_request(p.topic))
		return request_take(c, &p);
	if (is_odd_data(c, &p))
		return deny(c, &p, MQTT_RC_PAYLOAD_FORMAT, "the data is no JSON object, as device_data wants it");
	if ((p.qos > 0 || p.retain) && journal_refuses(c->shard, p.retain))
		return deny_unkept(c, &p);
	mail_relieve(c->shard);
	m = make_message(c, &p);
	/* The end rather than an acknowledgement of what was not passed on; and the id must not count as received. */
	if (m == NULL || (p.qos == 2 && again == 0 && !publish_receive(c->session, p.packet_id))) {
		msg_unref(m);
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	}
	if (p.qos == 2)
		once_begin(c->session, p.packet_id, m);
	routed = publish_message(c->shard, m);
	if (p.qos == 2 && !once_end(c->session, p.packet_id, m))
		routed = ROUTED_NOMEM;
	msg_unref(m);
	if (routed == ROUTED_NOMEM && c->state == CLIENT_OPEN) {
		if (p.qos == 2 && again == 0)
			unreceive(c->session, p.packet_id);
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	}
	if (p.qos > 0)
		throttle(c);
	return c->state == CLIENT_OPEN && (p.qos == 0 || gate_since(c, mark)) && acknowledge(c, &p, routed == ROUTED);
}
