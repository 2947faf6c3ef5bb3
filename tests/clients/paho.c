/* Eclipse Paho's C client against the broker: URI VERSION(3, 4, 5) PREFIX [CA CERT KEY]. Exit code 0 if everything came as
 * it must; else a line on stderr says what did not. */
#include <MQTTClient.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 30000, LARGE = 300000, MANY = 30 };

struct setup {
	const char *uri, *prefix;
	int version;
	MQTTClient_SSLOptions *tls;
};

static void
check(bool ok, const char *what, int code)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %d (%s)\n", what, code, MQTTClient_strerror(code));
	exit(1);
}

static MQTTClient
client_new(const struct setup *s, const char *name)
{
	MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
	MQTTClient c;
	char id[64];

	snprintf(id, sizeof id, "%s%s", s->prefix, name);
	create.MQTTVersion = s->version;
	check(MQTTClient_createWithOptions(&c, s->uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create) == 0, "create", 0);
	return c;
}

/* Is there a session of before? MQTT 3.1 has no word for it, and this library (1.3.12) says no in MQTT 5 whatever CONNACK said. */
static bool
client_connect(const struct setup *s, MQTTClient c, bool clean)
{
	MQTTClient_connectOptions v3 = MQTTClient_connectOptions_initializer, v5 = MQTTClient_connectOptions_initializer5, *o = s->version == 5 ? &v5 : &v3;
	MQTTProperties properties = MQTTProperties_initializer;
	MQTTProperty expiry = { .identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, .value.integer4 = 1000 };
	int code;

	o->ssl = s->tls;
	o->MQTTVersion = s->version;
	o->keepAliveInterval = 30;
	if (s->version < 5) {
		o->cleansession = clean;
		code = MQTTClient_connect(c, o);
	} else {
		o->cleanstart = clean;
		if (!clean)
			MQTTProperties_add(&properties, &expiry);
		MQTTResponse r = MQTTClient_connect5(c, o, &properties, NULL);
		code = r.reasonCode;
		MQTTResponse_free(r);
		MQTTProperties_free(&properties);
	}
	check(code == 0, "connect", code);
	return o->returned.sessionPresent != 0;
}

static void
client_end(const struct setup *s, MQTTClient *c)
{
	int code = s->version == 5 ? MQTTClient_disconnect5(*c, PATIENCE_MS, MQTTREASONCODE_SUCCESS, NULL) : MQTTClient_disconnect(*c, PATIENCE_MS);

	check(code == 0, "disconnect", code);
	MQTTClient_destroy(c);
}

static void
subscribe(const struct setup *s, MQTTClient c, const char *filter, int qos)
{
	int code;

	if (s->version < 5)
		code = MQTTClient_subscribe(c, filter, qos) == 0 ? qos : -1;
	else {
		MQTTResponse r = MQTTClient_subscribe5(c, filter, qos, NULL, NULL);
		code = (int)r.reasonCode;
		MQTTResponse_free(r);
	}
	check(code == qos, "subscribe", code);
}

static void
publish(const struct setup *s, MQTTClient c, const char *topic, const void *payload, size_t n, int qos, bool retained)
{
	MQTTClient_message m = MQTTClient_message_initializer;
	MQTTClient_deliveryToken token = 0;
	int code;

	m.payload = (void *)(uintptr_t)payload;
	m.payloadlen = (int)n;
	m.qos = qos;
	m.retained = retained;
	if (s->version < 5)
		code = MQTTClient_publishMessage(c, topic, &m, &token);
	else {
		MQTTResponse r = MQTTClient_publishMessage5(c, topic, &m, &token);
		code = (int)r.reasonCode;
		MQTTResponse_free(r);
	}
	check(code == 0, "publish", code);
	if (qos > 0)
		code = MQTTClient_waitForCompletion(c, token, PATIENCE_MS);
	check(code == 0, "completion", code);
}

static void
expect(MQTTClient c, const char *topic, const void *payload, size_t n, int qos, bool retained)
{
	MQTTClient_message *m = NULL;
	char *name = NULL;
	int len, code = MQTTClient_receive(c, &name, &len, &m, PATIENCE_MS);

	check((code == 0 || code == MQTTCLIENT_TOPICNAME_TRUNCATED) && m != NULL, topic, code);
	check(strcmp(name, topic) == 0, name, 0);
	check((size_t)m->payloadlen == n && memcmp(m->payload, payload, n) == 0, "payload", m->payloadlen);
	check(m->qos == qos, "QoS", m->qos);
	check(m->retained == retained, "retained", m->retained);
	MQTTClient_freeMessage(&m);
	MQTTClient_free(name);
}

/* Every QoS, a large payload, many in a row, and what is retained. */
static void
messages(const struct setup *s, const char *topic)
{
	MQTTClient c = client_new(s, "a");
	char *large = malloc(LARGE), text[16];

	memset(large, 'x', LARGE);
	check(!client_connect(s, c, true), "session present", 1);
	subscribe(s, c, topic, 2);
	for (int qos = 0; qos <= 2; qos++) {
		publish(s, c, topic, "small", 5, qos, false);
		expect(c, topic, "small", 5, qos, false);
		publish(s, c, topic, "", 0, qos, false);
		expect(c, topic, "", 0, qos, false);
		publish(s, c, topic, large, LARGE, qos, false);
		expect(c, topic, large, LARGE, qos, false);
	}
	for (int i = 0; i < MANY; i++)
		publish(s, c, topic, text, (size_t)snprintf(text, sizeof text, "%d", i), i % 3, false);
	for (int i = 0; i < MANY; i++)
		expect(c, topic, text, (size_t)snprintf(text, sizeof text, "%d", i), i % 3, false);
	publish(s, c, topic, "kept", 4, 1, true);
	expect(c, topic, "kept", 4, 1, false);
	subscribe(s, c, topic, 1);
	expect(c, topic, "kept", 4, 1, true);
	publish(s, c, topic, "", 0, 1, true);
	expect(c, topic, "", 0, 1, false);
	free(large);
	client_end(s, &c);
}

/* What comes for a session while its client is away. */
static void
sessions(const struct setup *s, const char *topic)
{
	MQTTClient kept = client_new(s, "kept"), other = client_new(s, "b");

	check(!client_connect(s, kept, false), "session present", 1);
	subscribe(s, kept, topic, 2);
	client_end(s, &kept);
	client_connect(s, other, true);
	for (int qos = 1; qos <= 2; qos++)
		publish(s, other, topic, "waited", 6, qos, false);
	client_end(s, &other);
	kept = client_new(s, "kept");
	check(client_connect(s, kept, false) == (s->version == 4), "session present", 0);
	for (int qos = 1; qos <= 2; qos++)
		expect(kept, topic, "waited", 6, qos, false);
	client_end(s, &kept);
}

/* The session goes to who comes last; the connection before is cut off. Until yield() has noticed that, receive() reports the end of
 * any connection of this process as its own failure. */
static void
takeover(const struct setup *s, const char *topic)
{
	MQTTClient first = client_new(s, "twice"), second = client_new(s, "twice");

	client_connect(s, first, false);
	subscribe(s, first, topic, 2);
	check(client_connect(s, second, false) == (s->version == 4), "session present", 0);
	for (int i = 0; i < PATIENCE_MS / 100 && MQTTClient_isConnected(first); i++)
		MQTTClient_yield(); /* 100 ms */
	check(!MQTTClient_isConnected(first), "taken over", 0);
	for (int qos = 0; qos <= 2; qos++) {
		publish(s, second, topic, "mine", 4, qos, false);
		expect(second, topic, "mine", 4, qos, false);
	}
	MQTTClient_destroy(&first);
	client_end(s, &second);
}

int
main(int argc, char **argv)
{
	MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
	struct setup s;
	char topic[64];

	if (argc < 4)
		return 2;
	s = (struct setup){ .uri = argv[1], .version = atoi(argv[2]), .prefix = argv[3] };
	if (argc == 7) {
		tls.trustStore = argv[4];
		tls.keyStore = argv[5];
		tls.privateKey = argv[6];
		tls.verify = 1;
		s.tls = &tls;
	}
	snprintf(topic, sizeof topic, "%s/paho", s.prefix);
	messages(&s, topic);
	sessions(&s, topic);
	takeover(&s, topic);
	return 0;
}
