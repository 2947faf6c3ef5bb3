/* The last part of the walk of `signet doctor`: is the certificate taken, the CONNECT, a topic, and how long is the way? */
#include "cli/doctor.h"

#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"

enum { PASSWORD_FILE_MAX = 65536 };

struct talk {
	struct doctor *d;
	const struct wire_target *target;
	struct mqttc *c;
	const char *topic;
	char topic_made[300];
	uint8_t *password;
	size_t password_n;
	uint8_t version;
	bool session_present, connected, subscribed, published;
	uint8_t granted, reason; /* of SUBACK, of PUBACK */
	uint64_t heard_ms;       /* when our own message came back; 0 = it did not */
};

static void
on_connected(void *ctx, bool session_present)
{
	struct talk *t = ctx;

	t->connected = true;
	t->session_present = session_present;
}

static bool
on_message(void *ctx, const struct mqtt_publish *m)
{
	struct talk *t = ctx;

	if (slice_eq(m->topic, slice_str(t->topic)))
		t->heard_ms = wire_now();
	return true;
}

static void
on_subscribed(void *ctx, uint16_t packet_id, struct slice codes)
{
	struct talk *t = ctx;

	(void)packet_id;
	t->subscribed = true;
	t->granted = codes.n > 0 ? codes.p[0] : 0x80;
}

static void
on_published(void *ctx, uint16_t packet_id, uint8_t reason, struct slice text)
{
	struct talk *t = ctx;

	(void)packet_id;
	(void)text;
	t->published = true;
	t->reason = reason;
}

/* Until <*flag>, an end of the connection, or the step's time is over. */
static enum mqttc_result
turn_until(struct talk *t, const bool *flag)
{
	uint64_t due = wire_now() + (uint64_t)t->d->timeout_s * 1000;
	enum mqttc_result r = MQTTC_OK;
	bool extra;

	while (r == MQTTC_OK && !*flag)
		r = mqttc_turn(t->c, due, -1, &extra);
	return r;
}

static enum mqttc_result
try_connect(struct talk *t, uint8_t version)
{
	struct mqttc_config cfg = {
		.target = *t->target,
		.connect = { .version = version, .clean_start = true, .keep_alive = 60,
		    .client_id = slice_str(t->d->id != NULL ? t->d->id : ""), .has_username = t->d->user != NULL,
		    .username = slice_str(t->d->user != NULL ? t->d->user : ""), .has_password = t->password != NULL,
		    .password = slice_of(t->password, t->password_n) },
		.stop_fd = -1,
		.events = { on_connected, on_message, on_subscribed, NULL, on_published },
		.ctx = t,
	};
	enum mqttc_result r;

	mqttc_free(t->c);
	t->version = version;
	t->c = mqttc_new(&cfg);
	if (t->c == NULL)
		return MQTTC_FAILED;
	r = mqttc_open(t->c, wire_now() + (uint64_t)t->d->timeout_s * 1000);
	return r == MQTTC_OK ? turn_until(t, &t->connected) : r;
}

/* What to do about a CONNACK: codes of 3.1.1 (3.2.2.3) and 5 (3.2.2.2). */
static const char *
connack_remedy(const struct talk *t, uint8_t code)
{
	bool cert = t->d->cert != NULL;

	switch (code) {
	case 1:
	case MQTT_RC_VERSION:
		return "the broker does not speak this version of MQTT: look at its accept_protocol_versions";
	case 2:
	case MQTT_RC_CLIENT_ID:
		return "choose another client id with -i; some brokers want a certain prefix or none that is empty";
	case 3:
	case MQTT_RC_UNAVAILABLE:
	case MQTT_RC_BUSY:
		return "the broker cannot take anybody now: try later, and look at its log";
	case 4:
	case MQTT_RC_CREDENTIALS:
		return "check --user and --password-file";
	case 5:
	case MQTT_RC_NOT_AUTHORIZED:
		if (cert)
			return "the certificate was taken in TLS, but not for this client id: is it the certificate's common name? \"signet why\" and the broker's log say more";
		return t->d->user == NULL ? "the broker wants to know who it is: give --cert and --key, or --user and --password-file" :
					    "check --user and --password-file; the broker's log says which of them";
	case MQTT_RC_CONNECTION_RATE:
		return "wait a little: there were too many attempts";
	default:
		return "the broker's log has the reason";
	}
}

/* On a port without TLS a broker with TLS hangs up, and it helps to know. */
static bool
speaks_tls(const struct talk *t)
{
	struct wire_tls_opts o = { .judge_later = true, .os_certs = true };
	struct wire_target target = *t->target;
	struct err err;
	struct wire w;
	bool yes = false;

	target.tls = wire_tls_new(&o, &err);
	if (target.tls == NULL)
		return false;
	if (wire_open(&w, &target, -1, wire_now() + (uint64_t)t->d->timeout_s * 1000, &err) == WIRE_OK) {
		yes = true;
		wire_close(&w, 0);
	}
	wire_tls_free(target.tls);
	return yes;
}

static bool
connect_fault(struct talk *t, enum mqttc_result r)
{
	struct doctor *d = t->d;
	const char *text;

	if (t->c == NULL)
		return doctor_say(d, STEP_CONNECT, PKI_FAULT, "try again", "out of memory");
	text = t->c->err.text;
	if (r == MQTTC_TLS)
		return doctor_say(d, STEP_IDENTITY, PKI_FAULT, "", "%s", text);
	if (r == MQTTC_REFUSED)
		return doctor_say(d, STEP_CONNECT, PKI_FAULT, connack_remedy(t, t->c->code), "%s", text);
	if (r == MQTTC_TIMEOUT)
		return doctor_say(d, STEP_CONNECT, PKI_FAULT, "is it an MQTT broker?", "no CONNACK within %u s", d->timeout_s);
	if (d->no_tls && speaks_tls(t))
		return doctor_say(d, STEP_CONNECT, PKI_FAULT, "leave out --no-tls and give --cafile",
		    "the broker hung up: this port speaks TLS, and the CONNECT came without");
	return doctor_say(d, STEP_CONNECT, PKI_FAULT,
	    t->target->tls != NULL && d->cert == NULL ? "it may want a client certificate (--cert, --key); its log has the reason" :
							"the broker's log has the reason",
	    "%s before it answered the CONNECT", text);
}

static bool
step_connect(struct talk *t)
{
	struct doctor *d = t->d;
	enum mqttc_result r = try_connect(t, MQTT_V5);
	bool old = r == MQTTC_REFUSED && (t->c->code == 1 || t->c->code == MQTT_RC_VERSION);
	char id[300];

	/* Brokers from before MQTT 5 say so, or just hang up. */
	if (old || r == MQTTC_LOST || r == MQTTC_PROTOCOL)
		r = try_connect(t, MQTT_V311);
	if (r != MQTTC_OK || t->c == NULL)
		return connect_fault(t, r);
	if (t->target->tls != NULL && d->cert != NULL)
		(void)doctor_say(d, STEP_IDENTITY, PKI_FINE, "", "the broker takes the client's certificate");
	(void)text_show(slice_str(t->c->id), id, sizeof id);
	return doctor_say(d, STEP_CONNECT, PKI_FINE, "", "accepted as '%s' in MQTT %s%s", id, t->version == MQTT_V5 ? "5" : "3.1.1",
	    t->session_present ? ", with a session from before" : "");
}

/* A topic that nobody asked for may be forbidden. */
static enum pki_level
level_of(const struct talk *t)
{
	return t->d->topic != NULL ? PKI_FAULT : PKI_NOTE;
}

static bool
step_topics(struct talk *t)
{
	struct mqtt_sub sub = { slice_str(t->topic), 1 };
	struct doctor *d = t->d;
	uint16_t id;
	enum mqttc_result r;

	if (!mqttc_filters(t->c, MQTT_SUBSCRIBE, &sub, 1, NULL, &id))
		return doctor_say(d, STEP_TOPICS, PKI_FAULT, "", "%s", t->c->err.text);
	r = turn_until(t, &t->subscribed);
	if (r != MQTTC_OK)
		return doctor_say(d, STEP_TOPICS, PKI_FAULT, "the broker's log has the reason",
		    "no SUBACK: %s", r == MQTTC_TIMEOUT ? "no answer in time" : t->c->err.text);
	if (t->granted >= 0x80)
		return doctor_say(d, STEP_TOPICS, level_of(t), "\"signet explain\" tells which rule decides; choose a topic with -t",
		    "may not subscribe to '%s': %s", t->topic, mqtt_reason_text(t->version == MQTT_V5 ? t->granted : MQTT_RC_NOT_AUTHORIZED));
	return doctor_say(d, STEP_TOPICS, PKI_FINE, "", "may subscribe to '%s' (QoS %u)", t->topic, t->granted);
}

/* Our own message back, or at least its acknowledgement. */
static bool
step_round_trip(struct talk *t)
{
	struct mqtt_publish m = { .topic = slice_str(t->topic), .payload = SL("signet doctor"), .qos = 1 };
	struct doctor *d = t->d;
	uint64_t begin = wire_now(), due = begin + (uint64_t)d->timeout_s * 1000;
	uint16_t id;
	enum mqttc_result r;
	bool extra;

	m.qos = t->c->qos_max > 0 ? 1 : 0;
	if (!mqttc_publish(t->c, &m, &id))
		return doctor_say(d, STEP_ROUND_TRIP, PKI_FAULT, "", "%s", t->c->err.text);
	t->published = m.qos == 0;
	r = turn_until(t, &t->published);
	if (r != MQTTC_OK)
		return doctor_say(d, STEP_ROUND_TRIP, PKI_FAULT, "the broker's log has the reason",
		    "a PUBLISH on '%s' was not acknowledged: %s", t->topic, r == MQTTC_TIMEOUT ? "no answer in time" : t->c->err.text);
	if (t->reason >= 0x80)
		return doctor_say(d, STEP_ROUND_TRIP, level_of(t), "\"signet explain\" tells which rule decides; choose a topic with -t",
		    "answered after %llu ms: may not publish on '%s': %s", (unsigned long long)(wire_now() - begin), t->topic,
		    mqtt_reason_text(t->reason));
	if (t->granted >= 0x80)
		return doctor_say(d, STEP_ROUND_TRIP, PKI_FINE, "", "a PUBLISH on '%s' was acknowledged after %llu ms", t->topic,
		    (unsigned long long)(wire_now() - begin));
	while (t->heard_ms == 0 && mqttc_turn(t->c, due, -1, &extra) == MQTTC_OK)
		;
	if (t->heard_ms == 0)
		return doctor_say(d, STEP_ROUND_TRIP, level_of(t),
		    "before MQTT 5 a broker acknowledges what it throws away: may this client publish on this topic?",
		    "a PUBLISH on '%s' did not come back within %u s, although subscribed", t->topic, d->timeout_s);
	return doctor_say(d, STEP_ROUND_TRIP, PKI_FINE, "", "a message on '%s' came back after %llu ms", t->topic,
	    (unsigned long long)(t->heard_ms - begin));
}

static bool
read_password(struct talk *t)
{
	struct err err;

	if (t->d->password_file == NULL)
		return true;
	if (!file_read(t->d->password_file, PASSWORD_FILE_MAX, &t->password, &t->password_n, &err))
		return doctor_say(t->d, STEP_FILES, PKI_FAULT, "check the path and who may read it", "%s", err.text);
	t->password_n = strcspn((char *)t->password, "\r\n");
	return true;
}

bool
doctor_mqtt(struct doctor *d, const struct wire_target *target)
{
	struct talk t = { .d = d, .target = target, .topic = d->topic };
	bool ok;

	ok = read_password(&t) && step_connect(&t);
	if (ok && t.c != NULL && t.topic == NULL) {
		/* The broker may have chosen the id; one with wildcards in it is no topic. */
		bool plain = strpbrk(t.c->id, "+#/") == NULL && t.c->id[0] != '\0';

		(void)snprintf(t.topic_made, sizeof t.topic_made, "signet/doctor/%s", plain ? t.c->id : "me");
		t.topic = t.topic_made;
	}
	ok = ok && step_topics(&t) && step_round_trip(&t);
	if (ok)
		mqttc_close(t.c, MQTT_RC_OK);
	mqttc_free(t.c);
	secret_free(t.password, t.password_n);
	return ok;
}
