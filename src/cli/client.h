/* A small MQTT client for the command line: one connection, one thread, poll(). Callers take
 * turns with it. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "cli/wire.h"
#include "mqtt/mqtt.h"
#include "passwd/passwd.h"

enum mqttc_result {
	MQTTC_OK,
	MQTTC_TIMEOUT,   /* the turn's deadline passed */
	MQTTC_STOPPED,   /* <stop_fd> became readable */
	MQTTC_LOST,      /* the connection is gone: worth another try */
	MQTTC_REFUSED,   /* CONNACK says no: <code> */
	MQTTC_DISMISSED, /* MQTT 5: the broker sent DISCONNECT with <code> */
	MQTTC_PROTOCOL,  /* what came is not MQTT */
	MQTTC_TLS,
	MQTTC_FAILED, /* could not connect, out of memory */
};

/* Called from within mqttc_turn(). They may publish and subscribe, not close. Each may be NULL. */
struct mqttc_events {
	void (*connected)(void *ctx, bool session_present);
	/* A message for us; topic aliases are resolved. It is acknowledged after the call.
	 * False: nothing that comes after it is handled any more, and the turn ends at once. */
	bool (*message)(void *ctx, const struct mqtt_publish *m);
	void (*subscribed)(void *ctx, uint16_t packet_id, struct slice codes);
	void (*unsubscribed)(void *ctx, uint16_t packet_id);
	/* A message of ours has arrived for good (QoS 1: PUBACK, QoS 2: PUBCOMP), or was
	 * refused: reason >= 0x80. */
	void (*published)(void *ctx, uint16_t packet_id, uint8_t reason, struct slice text);
};

struct mqttc_config {
	struct wire_target target;
	struct mqtt_connect connect;
	const struct mqtt_props *disconnect; /* properties for DISCONNECT (5) */
	struct scram_client *scram;          /* NULL: no enhanced authentication; else MQTT 5 only */
	int stop_fd;                         /* -1: none */
	bool debug;                          /* name each packet on standard output */
	struct mqttc_events events;
	void *ctx;
};

struct mqttc_buf {
	uint8_t *p;
	size_t at, n, cap; /* [at, n) is in use */
};

struct mqttc_alias {
	uint8_t *topic;
	size_t n;
};

/* Visible for its plain facts; changed by the functions below only. */
struct mqttc {
	struct mqttc_config cfg;
	struct wire wire;
	struct mqttc_buf in, out;
	uint64_t last_out, last_in, ping_since, connack_due;
	bool unread;  /* the last turn stopped reading before there was nothing more */
	bool up;      /* CONNACK came */
	bool was_up;  /* once, on this or an earlier connection */
	uint8_t code; /* of REFUSED and DISMISSED */
	uint16_t last_id;
	char id[256]; /* as sent, or as the broker assigned it; for debug */
	/* What the CONNACK allows us. */
	uint32_t packet_max;
	uint16_t receive_max, alias_max;
	uint8_t qos_max;
	bool may_retain;
	unsigned in_flight; /* our messages of QoS 1 and 2 without their last acknowledgement */
	uint8_t *ours;      /* by packet id: what is waited for (65,536) */
	uint8_t *theirs;    /* a bit a packet id: QoS 2 message delivered, PUBREL not yet there */
	struct mqttc_alias *aliases; /* theirs; alias_n + 1 of them, index 0 unused */
	size_t alias_n;
	struct err err; /* why the last turn ended badly */
};

/* <cfg> is copied, what it points to is borrowed. NULL when out of memory. */
struct mqttc *mqttc_new(const struct mqttc_config *cfg);
void mqttc_free(struct mqttc *c); /* closes without a word; NULL is fine */

/* Connect the transport (until <deadline> at the latest) and queue CONNECT; mqttc_turn() does
 * the rest. May be called again after LOST. */
enum mqttc_result mqttc_open(struct mqttc *c, uint64_t deadline);
/* Send and receive until something has happened, at the latest until <deadline>
 * (CLOCK_MONOTONIC, ms). Returns early, with *ret_extra true, when <extra_fd> (-1: none) is
 * readable. */
enum mqttc_result mqttc_turn(struct mqttc *c, uint64_t deadline, int extra_fd, bool *ret_extra);
/* Bytes that wait for the socket. */
size_t mqttc_backlog(const struct mqttc *c);
/* DISCONNECT with <reason>, send what is queued (at most some seconds), close. */
void mqttc_close(struct mqttc *c, uint8_t reason);

/* Queue a PUBLISH; its packet id (also for QoS 0, where it only numbers) in *ret_id. <m> has
 * topic, payload, qos, retain, and for MQTT 5 topic_alias, expiry and forward. False: the
 * broker's limits or memory forbid it, c->err says which, and c->code is the reason that fits. */
bool mqttc_publish(struct mqttc *c, const struct mqtt_publish *m, uint16_t *ret_id);
/* May another message of QoS 1 or 2 be sent now (Receive Maximum, 4.9)? */
bool mqttc_may_publish(const struct mqttc *c, unsigned max_inflight);
/* <type> MQTT_SUBSCRIBE or MQTT_UNSUBSCRIBE; <props> may be NULL. */
bool mqttc_filters(struct mqttc *c, uint8_t type, const struct mqtt_sub *subs, size_t n,
    const struct mqtt_props *props, uint16_t *ret_id);

#endif
