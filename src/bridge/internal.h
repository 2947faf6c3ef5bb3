/* What link.c (the life of a connection) and translate.c (packets of one side to packets of the other) share. */
#ifndef BRIDGE_INTERNAL_H
#define BRIDGE_INTERNAL_H

#include "bridge/bridge.h"
#include "mqtt/mqtt.h"

enum {
	BUF_HIGH = 256 * 1024,        /* for the remote: above this nothing more is taken from this broker */
	REMOTE_PACKET_MAX = 268435460, /* the protocol's own limit */
	CONNACK_MAX = 64 * 1024,      /* before the remote has let us in */
	CONNACK_MS = 10000,
	LOCAL_IOV = 64,
	NOTIFY_CAP = 512,
};

/* Bytes that wait: [off, n) of p. */
struct buf {
	uint8_t *p;
	size_t off, n, cap;
};

enum link_state { LINK_NEW, LINK_UP, LINK_CLOSING };

struct alias {
	uint8_t *topic;
	size_t n;
};

/* One connection to the remote, with the client here that belongs to it. */
struct link {
	struct bridge *bridge;
	struct waker remote;
	const struct stream_ops *local_ops;
	void *local; /* NULL: not yet, or no more */
	struct buf out;        /* for the remote */
	struct buf to_local;   /* for this broker */
	struct buf from_local; /* of it: an unfinished packet */
	struct alias *aliases; /* that the remote has set; config.alias_max of them */
	uint64_t last_in_ms, last_out_ms, ping_ms;
	uint32_t packet_max;  /* of the remote */
	uint16_t receive_max; /* of the remote */
	uint16_t keep_alive;  /* s, as agreed with both sides; 0: none */
	uint8_t qos_max, state;
	bool retain_ok, local_paused, local_ended, warned;
	char why[300]; /* "" while all is well */
};

/* Ids under which the remote knows messages of the session here. Kept from one connection to the next, as sessions are. */
struct ids {
	uint16_t remote_of[65536], local_of[65536];
	uint8_t lowered[65536 / 8]; /* by local id: QoS 2 here, QoS 1 there */
};

struct bridge {
	const struct bridge_config *c;
	struct bridge_ports ports;
	struct link *link;
	struct ids *ids;
	uint64_t now_ms, last_ms;
	uint16_t last_id;
	bool private_refused;
};

/* link.c */
/* Room for <n> more bytes behind what is there; NULL: out of memory, and the connection is ended. */
uint8_t *buf_room(struct link *l, struct buf *b, size_t n);
/* End the connection; the first reason counts. Returns false. */
bool link_fail(struct link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void link_warn(struct link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Become a client of this broker. */
bool link_local(struct link *l);

/* packets.c: false when the connection was ended */
/* An id that is not in use at the remote. */
uint16_t next_id(struct bridge *b);
bool put_publish(struct link *l, struct buf *to, uint8_t version, const struct mqtt_publish *m);
bool put_ack(struct link *l, struct buf *to, uint8_t version, uint8_t type, uint16_t id, uint8_t reason);
bool put_remote_filters(struct link *l);
bool put_remote_connect(struct link *l);
bool put_local_connect(struct link *l, bool will);
bool put_local_subscribe(struct link *l, uint8_t retain_handling);
bool put_local_unsubscribe(struct link *l, const struct bridge_topic *old, unsigned n);
/* The state of the bridge, retained. */
bool put_notify(struct link *l, struct buf *to, uint8_t version, uint8_t qos, bool up);
bool put_empty(struct link *l, struct buf *to, uint8_t type);
bool put_disconnect(struct link *l, struct buf *to, uint8_t version);
/* translate.c: the same */
bool from_remote(struct link *l, const struct mqtt_frame *f);
bool from_local(struct link *l, const struct mqtt_frame *f);

#endif
