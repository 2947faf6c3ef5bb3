/* CONNECT: who is it, may he, which session is his (3.1). */
#include <stdio.h>
#include <stdlib.h>
#include "base/secret.h"
#include "broker/exchange.h"
#include "broker/internal.h"

enum { UUID_N = 36, AUTO_ID_MAX = BROKER_PREFIX_MAX + UUID_N, RESPONSE_MAX = 512,
	CONNACK_MAX = 512 + RESPONSE_MAX + BROKER_AUTH_DATA_MAX + BROKER_AUTH_METHOD_MAX };

/* It is reported, and the connection closes. */
static bool
turn_away(struct client *c, const struct mqtt_connect *m, uint8_t reason, const char *why)
{
	struct broker_event e = { .kind = BROKER_REFUSED, .client_id = m->client_id, .reason = reason, .text = why };

	c->version = m->version;
	crowd_leave(c);
	stat_add(c->shard, refused, 1);
	client_report(c, &e);
	timer_cancel(c->shard->clients_wheel, &c->timer);
	c->state = CLIENT_CLOSING;
	wake(&c->waker);
	return false;
}

/* A refusal: CONNACK and no further answer; nothing of an existing session was touched. */
static bool
refuse(struct client *c, const struct mqtt_connect *m, uint8_t reason, const char *why)
{
	struct mqtt_connack ack = { .code = m->version == MQTT_V5 ? reason : mqtt_connack_code_v3(reason) };
	uint8_t buf[BROKER_AUTH_DATA_MAX + BROKER_AUTH_METHOD_MAX + 32];
	struct wr w = wr_of(buf, sizeof buf);

	auth_answer(c, &ack.props, true);
	/* A client that does not speak our language is told in the oldest form there is [MQTT-3.1.2-2]. */
	if (mqtt_put_connack(&w, m->version == MQTT_V5 ? MQTT_V5 : MQTT_V311, &ack) &&
	    (m->props.maximum_packet_size == 0 || wr_len(&w) <= m->props.maximum_packet_size))
		(void)out_packet(c, buf, wr_len(&w));
	return turn_away(c, m, reason, why);
}

/* A prefix and a UUID in capitals, chosen so that the session's home is this shard. */
static struct slice
make_id(const struct shard *sh, const struct broker_listener *l, char id[static AUTO_ID_MAX + 1])
{
	const char *prefix = l->auto_id_prefix[0] != '\0' ? l->auto_id_prefix : "auto-";
	uint8_t r[16];

	do {
		random_bytes(r, sizeof r);
		(void)snprintf(id, AUTO_ID_MAX + 1,
		    "%s%02X%02X%02X%02X-%02X%02X-%02X%02X-%02X%02X-%02X%02X%02X%02X%02X%02X", prefix, r[0], r[1], r[2],
		    r[3], r[4], r[5], (r[6] & 0x0f) | 0x40, r[7], (r[8] & 0x3f) | 0x80, r[9], r[10], r[11], r[12],
		    r[13], r[14], r[15]);
	} while (map_hash(slice_str(id)) % sh->broker->n_shards != sh->index);
	return slice_str(id);
}

/* What follows from CONNECT and the settings. */
struct terms {
	struct slice id;
	bool assigned, session_present;
	uint16_t keep_alive;
	uint32_t expiry_s;
	struct will *will;
	struct authz_principal *who;
	char why[BROKER_WHY_MAX];
	char auto_id[AUTO_ID_MAX + 1];
};

static uint32_t
session_expiry(const struct broker_settings *set, const struct mqtt_connect *m)
{
	if (m->version == MQTT_V5)
		return NUM_MIN(m->props.session_expiry, set->max_session_expiry);
	return m->clean_start ? 0 : set->max_session_expiry;
}

/* Authentication comes first, then the policy, then what the client wants. */
static uint8_t
judge(struct client *c, const struct mqtt_connect *m, struct terms *t)
{
	const struct broker_settings *set = settings_of(c->shard);
	const struct broker_listener *l = listener_of(c->shard, c->listener);
	const struct broker_ports *ports = &c->shard->broker->ports;
	struct slice id = l->username_is_client_id ? t->id : m->client_id;
	struct authz_verdict v;
	uint8_t rc = login_vouch(c, m, t->why);

	if (rc == MQTT_RC_OK)
		rc = mqtt_has(&m->props, MQTT_P_AUTH_METHOD) ? auth_judge(c, m, &t->who, t->why) : login_judge(c, m, &t->who, t->why);
	if (rc != MQTT_RC_OK)
		return rc;
	/* Since the handshake or the password was judged a right may have gone; later ones are told to the session. */
	if (ports->judge_again != NULL && (rc = ports->judge_again(ports->ctx, c->listener, t->who, true, t->why)) != MQTT_RC_OK)
		return rc;
	if (l->username_is_client_id && !slice_eq(authz_principal_username(t->who), t->id)) {
		(void)snprintf(t->why, sizeof t->why, "the client id is the user name here, and the login is another's");
		return MQTT_RC_NOT_AUTHORIZED;
	}
	if (!authz_allowed(l->policy, t->who, id, AUTHZ_CONNECT, id, &v)) {
		(void)snprintf(t->why, sizeof t->why, "%s", v.why);
		return MQTT_RC_NOT_AUTHORIZED;
	}
	t->keep_alive = m->keep_alive;
	if (set->max_keep_alive != 0 && (m->keep_alive == 0 || m->keep_alive > set->max_keep_alive)) {
		t->keep_alive = set->max_keep_alive;
		if (m->version != MQTT_V5) {
			(void)snprintf(t->why, sizeof t->why, "keep alive above max_keepalive %u", set->max_keep_alive);
			return MQTT_RC_CLIENT_ID;
		}
	}
	t->expiry_s = session_expiry(set, m);
	return MQTT_RC_OK;
}

static uint8_t
judge_will(struct client *c, const struct mqtt_connect *m, struct terms *t)
{
	const struct broker_settings *set = settings_of(c->shard);
	struct authz_verdict v;
	struct slice topic = m->will.topic;
	const char *why = NULL;
	uint8_t rc = MQTT_RC_OK;

	if (!m->will.present)
		return MQTT_RC_OK;
	if (!topic_name_ok(topic) || !mount_name(c, &topic) || slice_starts(topic, SL("$share/")))
		rc = MQTT_RC_TOPIC_INVALID, why = "the will's topic is not a topic name";
	else if (is_reserved(listener_of(c->shard, c->listener), t->id, topic) || is_request(topic))
		rc = MQTT_RC_NOT_AUTHORIZED, why = "the will's topic is the broker's own";
	else if (set->max_payload != 0 && m->will.payload.n > set->max_payload)
		rc = MQTT_RC_TOO_LARGE, why = "its payload is above message_size_limit";
	else if (m->will.props.payload_format == 1 && !utf8_payload_ok(m->will.payload))
		rc = MQTT_RC_PAYLOAD_FORMAT, why = "its payload is not the UTF-8 that its format indicator says";
	else if (m->will.qos > max_qos_of(c->shard, c->listener))
		rc = MQTT_RC_QOS_UNSUPPORTED, why = "the will's QoS is above max_qos";
	else if (m->will.retain && !set->retain_available)
		rc = MQTT_RC_RETAIN_UNSUPPORTED, why = "the will is retained and retain_available is false";
	else if (!authz_allowed(listener_of(c->shard, c->listener)->policy, t->who, t->id, AUTHZ_PUBLISH, topic, &v))
		rc = MQTT_RC_NOT_AUTHORIZED, why = v.why;
	if (rc == MQTT_RC_OK)
		rc = will_new(c->shard, m, &(struct will_of){ topic, t->id, t->who }, &t->will);
	if (rc == MQTT_RC_OK && m->will.retain && set->check_retain_source &&
	    (t->will->msg->source = source_new(c->shard, c->listener, t->who)) == NULL) {
		will_free(t->will);
		t->will = NULL;
		rc = MQTT_RC_UNAVAILABLE;
	}
	if (why != NULL)
		(void)snprintf(t->why, sizeof t->why, "will: %s", why);
	if (rc == MQTT_RC_NOT_AUTHORIZED) {
		struct broker_event e = { .kind = BROKER_DENIED_WILL, .client_id = t->id, .who = t->who,
			.topic = topic, .reason = rc, .qos = m->will.qos, .text = why };

		c->version = m->version;
		client_report(c, &e);
	}
	return rc;
}

/* Can <name> be a level of a topic? */
static bool
is_level(struct slice name)
{
	return name.n > 0 && name.n <= RESPONSE_MAX && memchr(name.p, '/', name.n) == NULL && memchr(name.p, '+', name.n) == NULL &&
	       memchr(name.p, '#', name.n) == NULL;
}

/* What the client may begin its response topics with, if it asks (3.1.2.11.6). Nothing, if a name in it has no place in a topic. */
static struct slice
response_info(const struct client *c, const struct mqtt_connect *m, const struct terms *t, char buf[static RESPONSE_MAX])
{
	const char *p = listener_of(c->shard, c->listener)->response_info;
	struct wr w = wr_of(buf, RESPONSE_MAX);

	if (!mqtt_has(&m->props, MQTT_P_REQUEST_RESPONSE) || m->props.request_response == 0)
		return SL("");
	for (; *p != '\0'; p++) {
		struct slice name = p[0] == '%' && p[1] == 'c' ? t->id
				    : p[0] == '%' && p[1] == 'u' ? authz_principal_username(t->who) : SL("");

		if (p[0] != '%') {
			wr_u8(&w, (uint8_t)*p);
			continue;
		}
		if (!is_level(name))
			return SL("");
		wr_bytes(&w, name);
		p++;
	}
	return wr_ok(&w) ? wr_slice(&w) : SL("");
}

static bool
put_connack(struct wr *w, const struct client *c, const struct mqtt_connect *m, const struct terms *t)
{
	const struct broker_settings *set = settings_of(c->shard);
	struct mqtt_connack ack = { .session_present = t->session_present };
	struct mqtt_props *p = &ack.props;
	char response[RESPONSE_MAX];

	if (m->version == MQTT_V5) {
		auth_answer(c, p, false);
		p->response_info = response_info(c, m, t, response);
		if (p->response_info.n > 0)
			mqtt_set(p, MQTT_P_RESPONSE_INFO);
		if (t->expiry_s != m->props.session_expiry)
			mqtt_set(p, MQTT_P_SESSION_EXPIRY);
		p->session_expiry = t->expiry_s;
		if (set->receive_maximum < UINT16_MAX) /* which is what it is without a word */
			mqtt_set(p, MQTT_P_RECEIVE_MAXIMUM);
		p->receive_maximum = set->receive_maximum;
		if (c->max_qos < 2)
			mqtt_set(p, MQTT_P_MAXIMUM_QOS);
		p->maximum_qos = c->max_qos;
		if (!set->retain_available)
			mqtt_set(p, MQTT_P_RETAIN_AVAILABLE);
		mqtt_set(p, MQTT_P_MAXIMUM_PACKET_SIZE);
		p->maximum_packet_size = set->max_packet_size;
		if (t->assigned)
			mqtt_set(p, MQTT_P_ASSIGNED_CLIENT_ID);
		p->assigned_client_id = t->id;
		if (c->alias_max_in > 0)
			mqtt_set(p, MQTT_P_TOPIC_ALIAS_MAXIMUM);
		p->topic_alias_maximum = c->alias_max_in;
		if (t->keep_alive != m->keep_alive)
			mqtt_set(p, MQTT_P_SERVER_KEEP_ALIVE);
		p->server_keep_alive = t->keep_alive;
	}
	return mqtt_put_connack(w, m->version, &ack);
}

static bool
send_connack(struct client *c, const struct mqtt_connect *m, const struct terms *t)
{
	uint8_t buf[CONNACK_MAX];
	struct wr w = wr_of(buf, sizeof buf);

	if (!put_connack(&w, c, m, t))
		return client_fail(c, MQTT_RC_UNSPECIFIED, "CONNACK too large");
	return out_packet(c, buf, wr_len(&w));
}

/* Can the client take the CONNACK that it would get [MQTT-3.1.2-24]? Then it can take all that is not dropped for its size. */
static bool
connack_fits(const struct client *c, const struct mqtt_connect *m, const struct terms *t)
{
	uint8_t buf[CONNACK_MAX];
	struct wr w = wr_of(buf, c->max_packet_out);

	return c->max_packet_out == 0 || c->max_packet_out >= CONNACK_MAX || put_connack(&w, c, m, t);
}

/* Another identity may not take over, end or read a session [C17]. */
static bool
may_take(const struct client *c, const struct session *s, const struct authz_principal *who)
{
	struct slice name = authz_principal_username(s->who);

	/* A certificate out of its time ends nobody's session, and hears nothing of it; its successor may take its place. */
	if (authz_principal_role(who) == AUTHZ_ROLE_QUARANTINE && authz_principal_role(s->who) != AUTHZ_ROLE_QUARANTINE)
		return false;
	if (!listener_of(c->shard, c->listener)->takeover_same_identity)
		return true;
	if (s->unclaimed)
		return name.p == NULL || slice_eq(name, authz_principal_username(who));
	return authz_same_identity(s->who, who);
}

/* Returns the session that goes on, or NULL; *ret_rc. */
static struct session *
take_session(struct client *c, const struct mqtt_connect *m, struct terms *t, uint8_t *ret_rc)
{
	struct session *s = session_find(c->shard, t->id);

	*ret_rc = MQTT_RC_OK;
	if (s == NULL)
		return NULL;
	if (!may_take(c, s, t->who)) {
		*ret_rc = MQTT_RC_CLIENT_ID;
		(void)snprintf(t->why, sizeof t->why, "the client id belongs to another identity's session");
		return NULL;
	}
	/* What would change could not be promised; as it is, it goes on. */
	if (c->shard->journal.failing && s->journal != NULL &&
	    (m->clean_start || t->expiry_s != s->expiry_s || !journal_is_durable(s))) {
		*ret_rc = MQTT_RC_QUOTA;
		(void)snprintf(t->why, sizeof t->why, "the store cannot be written for now");
		return NULL;
	}
	if (s->client != NULL) {
		/* The old connection ends, its session goes on or ends below [MQTT-3.1.4-3]. */
		client_end(s->client, MQTT_RC_TAKEN_OVER, "session taken over", false);
		s = session_find(c->shard, t->id); /* it ended with the connection if its expiry was 0 */
	}
	if (s != NULL && m->clean_start) {
		session_end(s);
		s = NULL;
	}
	return s;
}

static uint8_t
make_session(struct client *c, struct terms *t, struct session **ret)
{
	struct broker *b = c->shard->broker;

	if (t->expiry_s > 0 && journal_refuses(c->shard, true)) {
		(void)snprintf(t->why, sizeof t->why, "the store takes no new sessions for now");
		return MQTT_RC_QUOTA;
	}
	if (!session_count_in(b, listener_of(c->shard, c->listener)->bridges)) {
		(void)snprintf(t->why, sizeof t->why, "the broker has its global_max_clients of %u already",
		    b->settings.max_clients);
		return MQTT_RC_BUSY;
	}
	if ((*ret = session_new(c->shard, t->id)) != NULL)
		return MQTT_RC_OK;
	session_count_out(b);
	(void)snprintf(t->why, sizeof t->why, "out of memory");
	return MQTT_RC_UNAVAILABLE;
}

static void
set_limits(struct client *c, const struct mqtt_connect *m, uint16_t keep_alive)
{
	const struct broker_settings *set = settings_of(c->shard);
	const struct broker_listener *l = listener_of(c->shard, c->listener);

	c->version = m->version;
	c->is_bridge = m->is_bridge;
	c->keep_alive = keep_alive;
	c->window = set->max_inflight;
	c->max_qos = max_qos_of(c->shard, c->listener);
	c->problem_info = c->explain_acks = false;
	c->mount_n = (uint16_t)strlen(listener_of(c->shard, c->listener)->mount_point);
	if (m->version == MQTT_V5) {
		if (mqtt_has(&m->props, MQTT_P_RECEIVE_MAXIMUM))
			c->window = NUM_MIN(c->window, m->props.receive_maximum);
		c->max_packet_out = m->props.maximum_packet_size;
		c->alias_max_in = l->own_aliases ? l->topic_alias_max_in : set->topic_alias_max_in;
		c->alias_max_out = l->own_aliases ? l->topic_alias_max_out : set->topic_alias_max_out;
		c->alias_max_out = NUM_MIN(c->alias_max_out, m->props.topic_alias_maximum);
		c->problem_info = !mqtt_has(&m->props, MQTT_P_REQUEST_PROBLEM) || m->props.request_problem;
		/* Only who asks for them in so many words: others compare acknowledgements with mosquitto's byte by byte. */
		c->explain_acks = mqtt_has(&m->props, MQTT_P_REQUEST_PROBLEM) && m->props.request_problem;
	}
}

/* A connection that takes over another of the same identity is none more. */
static uint8_t
count_identity(struct client *c, struct terms *t)
{
	const struct session *s = session_find(c->shard, t->id);
	bool instead = s != NULL && s->client != NULL && authz_same_identity(s->client->who, t->who);

	uint8_t rc = crowd_enter(c, t->who, instead);

	if (rc == MQTT_RC_UNAVAILABLE)
		(void)snprintf(t->why, sizeof t->why, "out of memory");
	if (rc != MQTT_RC_QUOTA)
		return rc;
	(void)snprintf(t->why, sizeof t->why, "the identity has its max_connections_per_identity of %u already",
	    listener_of(c->shard, c->listener)->max_per_identity);
	return rc;
}

static bool
enter(struct client *c, const struct mqtt_connect *m, struct terms *t)
{
	struct broker_event e = { .kind = BROKER_CONNECTED, .clean = m->clean_start, .keep_alive = t->keep_alive };
	uint64_t mark = c->shard->journal.marks;
	uint8_t rc;
	struct session *s;

	set_limits(c, m, t->keep_alive);
	if (!connack_fits(c, m, t)) {
		will_free(t->will);
		return turn_away(c, m, MQTT_RC_TOO_LARGE, "its Maximum Packet Size is too small for CONNACK");
	}
	rc = count_identity(c, t);
	s = rc == MQTT_RC_OK ? take_session(c, m, t, &rc) : NULL;
	if (rc == MQTT_RC_OK && s == NULL)
		rc = make_session(c, t, &s);
	else if (rc == MQTT_RC_OK)
		t->session_present = true;
	if (rc != MQTT_RC_OK) {
		will_free(t->will);
		/* One too many is cut off, as mosquitto does it, where CONNACK has no word for it. */
		return (rc == MQTT_RC_BUSY && m->version != MQTT_V5 ? turn_away : refuse)(c, m, rc, t->why);
	}
	c->resumed = t->session_present;
	t->id = session_id(s); /* it may have been borrowed from the principal that goes now */
	authz_principal_unref(c->who);
	c->who = authz_principal_ref(t->who);
	will_free(s->will);
	s->will = t->will;
	s->expiry_s = t->expiry_s;
	c->state = CLIENT_OPEN;
	c->role = (uint8_t)authz_principal_role(c->who);
	stat_add(c->shard, connected, 1);
	stat_add(c->shard, roles[c->role], 1);
	stat_add(c->shard, connects, 1);
	session_attach(s, c);
	client_arm(c);
	if (!pace_begin(c))
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	if (!journal_session(s) || !journal_will(s))
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	if (!gate_since(c, mark) || !send_connack(c, m, t))
		return false;
	e.session_present = t->session_present;
	client_report(c, &e);
	flight_resume(s);
	return c->state == CLIENT_OPEN;
}

/* Who will be known by the time of the verdict: the transport's identity before what CONNECT says. */
static uint8_t
username_as_id(const struct client *c, const struct mqtt_connect *m, struct terms *t)
{
	t->id = authz_principal_username(c->who);
	if (t->id.n == 0 && m->has_username)
		t->id = m->username;
	if (t->id.n > 0)
		return MQTT_RC_OK;
	(void)snprintf(t->why, sizeof t->why, "there is no user name, and use_username_as_clientid is true");
	return MQTT_RC_NOT_AUTHORIZED;
}

/* The client id, made up if it is empty and that is allowed [MQTT-3.1.3-6]. */
static uint8_t
find_id(struct client *c, const struct mqtt_connect *m, struct terms *t)
{
	const struct broker_listener *l = listener_of(c->shard, c->listener);

	if (l->username_is_client_id)
		return username_as_id(c, m, t);
	t->id = m->client_id;
	if (t->id.n > 0)
		return MQTT_RC_OK;
	if (!settings_of(c->shard)->allow_empty_client_id) {
		(void)snprintf(t->why, sizeof t->why, "empty client id and allow_zero_length_clientid is false");
		return MQTT_RC_CLIENT_ID;
	}
	t->assigned = true;
	t->id = authz_assigned_client_id(l->policy, c->who);
	if (t->id.n == 0)
		t->id = make_id(c->shard, l, t->auto_id);
	return MQTT_RC_OK;
}

static uint8_t
choose_id(struct client *c, const struct mqtt_connect *m, struct terms *t)
{
	uint8_t rc = find_id(c, m, t);

	if (rc != MQTT_RC_OK || slice_starts(t->id, slice_str(listener_of(c->shard, c->listener)->client_id_prefix)))
		return rc;
	(void)snprintf(t->why, sizeof t->why, "the client id does not begin as clientid_prefixes demands");
	return MQTT_RC_NOT_AUTHORIZED;
}

static bool
is_accepted(const struct client *c, uint8_t version)
{
	unsigned versions = listener_of(c->shard, c->listener)->versions;

	return versions == 0 || (versions >> version & 1) != 0;
}

bool
on_connect(struct client *c, const struct mqtt_frame *f)
{
	struct mqtt_connect m;
	struct terms t = { .why = "" };
	uint8_t rc = mqtt_decode_connect(f, &m);
	unsigned home;
	bool ok;

	/* Who is told that somebody was disconnected and then connects must not be taken for one of those. */
	orders_take(c->shard);
	if (rc == MQTT_RC_VERSION)
		return refuse(c, &m, rc, "protocol name or version not known");
	if ((rc == MQTT_RC_OK || rc == MQTT_RC_CLIENT_ID) && !is_accepted(c, m.version))
		return refuse(c, &m, MQTT_RC_VERSION, "protocol version is none of accept_protocol_versions");
	if (rc == MQTT_RC_CLIENT_ID)
		return refuse(c, &m, rc, "empty client id in a session that is to be kept");
	if (rc != MQTT_RC_OK) /* without CONNACK: 3.1.1 demands it and 5.0 allows it [MQTT-3.1.4-1] */
		return client_fail(c, rc, "malformed CONNECT");
	if ((rc = choose_id(c, &m, &t)) != MQTT_RC_OK)
		return refuse(c, &m, rc, t.why);
	home = (unsigned)(map_hash(t.id) % c->shard->broker->n_shards);
	if (home != c->shard->index) {
		client_leave(c, home);
		return false;
	}
	if (c->shard->shed >= BROKER_SHED_CONNECTS && !listener_of(c->shard, c->listener)->bridges)
		return refuse(c, &m, MQTT_RC_BUSY, "memory_limit is nearly reached: nobody may connect");
	if ((rc = judge(c, &m, &t)) == MQTT_RC_OK && !flap_may(c, t.who, t.assigned ? SL("") : t.id)) {
		rc = MQTT_RC_CONNECTION_RATE;
		(void)snprintf(t.why, sizeof t.why, "held off, as it connects again and again");
	}
	if (rc == MQTT_RC_OK)
		rc = judge_will(c, &m, &t);
	if (rc == BROKER_LOGIN_PENDING)
		return false;
	if (rc == MQTT_RC_CONTINUE_AUTH)
		return auth_wait(c, f);
	if (rc != MQTT_RC_OK)
		ok = refuse(c, &m, rc, t.why);
	else
		ok = enter(c, &m, &t);
	authz_principal_unref(t.who);
	if (ok)
		auth_settled(c);
	return ok;
}
