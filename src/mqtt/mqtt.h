/* MQTT 3.1, 3.1.1 and 5.0 packets: bytes to views and back. No allocation, no I/O, no state.
 *
 * Every view borrows from the input frame. Every decoder checks the whole packet: structure, lengths, UTF-8 of
 * strings, properties allowed for the packet, duplicates, value ranges. Any thread. */
#ifndef MQTT_MQTT_H
#define MQTT_MQTT_H

#include "base/rd.h"
#include "base/wr.h"

enum mqtt_type {
	MQTT_CONNECT = 1, MQTT_CONNACK, MQTT_PUBLISH, MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP,
	MQTT_SUBSCRIBE, MQTT_SUBACK, MQTT_UNSUBSCRIBE, MQTT_UNSUBACK, MQTT_PINGREQ, MQTT_PINGRESP,
	MQTT_DISCONNECT, MQTT_AUTH,
};

/* Protocol levels as CONNECT carries them. */
enum { MQTT_V31 = 3, MQTT_V311 = 4, MQTT_V5 = 5 };

/* MQTT 5, 2.4. Also used inside for v3 clients; mqtt_connack_code_v3() translates. */
enum mqtt_reason {
	MQTT_RC_OK = 0x00, MQTT_RC_QOS1 = 0x01, MQTT_RC_QOS2 = 0x02, MQTT_RC_WITH_WILL = 0x04,
	MQTT_RC_NO_SUBSCRIBERS = 0x10, MQTT_RC_NO_SUBSCRIPTION = 0x11, MQTT_RC_CONTINUE_AUTH = 0x18,
	MQTT_RC_REAUTH = 0x19, MQTT_RC_UNSPECIFIED = 0x80, MQTT_RC_MALFORMED = 0x81, MQTT_RC_PROTOCOL = 0x82,
	MQTT_RC_IMPLEMENTATION = 0x83, MQTT_RC_VERSION = 0x84, MQTT_RC_CLIENT_ID = 0x85, MQTT_RC_CREDENTIALS = 0x86,
	MQTT_RC_NOT_AUTHORIZED = 0x87, MQTT_RC_UNAVAILABLE = 0x88, MQTT_RC_BUSY = 0x89, MQTT_RC_BANNED = 0x8a,
	MQTT_RC_SHUTTING_DOWN = 0x8b, MQTT_RC_AUTH_METHOD = 0x8c, MQTT_RC_KEEP_ALIVE = 0x8d, MQTT_RC_TAKEN_OVER = 0x8e,
	MQTT_RC_FILTER_INVALID = 0x8f, MQTT_RC_TOPIC_INVALID = 0x90, MQTT_RC_ID_IN_USE = 0x91, MQTT_RC_ID_NOT_FOUND = 0x92,
	MQTT_RC_RECEIVE_MAXIMUM = 0x93, MQTT_RC_ALIAS_INVALID = 0x94, MQTT_RC_TOO_LARGE = 0x95, MQTT_RC_RATE = 0x96,
	MQTT_RC_QUOTA = 0x97, MQTT_RC_ADMINISTRATIVE = 0x98, MQTT_RC_PAYLOAD_FORMAT = 0x99, MQTT_RC_RETAIN_UNSUPPORTED = 0x9a,
	MQTT_RC_QOS_UNSUPPORTED = 0x9b, MQTT_RC_USE_ANOTHER = 0x9c, MQTT_RC_SERVER_MOVED = 0x9d,
	MQTT_RC_SHARED_UNSUPPORTED = 0x9e, MQTT_RC_CONNECTION_RATE = 0x9f, MQTT_RC_MAXIMUM_CONNECT_TIME = 0xa0,
	MQTT_RC_SUBSCRIPTION_ID_UNSUPPORTED = 0xa1, MQTT_RC_WILDCARD_UNSUPPORTED = 0xa2,
};

/* "not authorized", … for logs and people; "reason 0xNN" style text for unknown codes. Static. */
const char *mqtt_reason_text(uint8_t reason);
/* "PUBLISH", …; static. */
const char *mqtt_type_text(uint8_t type);
/* The CONNACK return code 0..5 that says the same to a v3 client (3.1.1, 3.2.2.3). */
uint8_t mqtt_connack_code_v3(uint8_t reason);

/* ---- frames ---- */

enum mqtt_frame_result {
	MQTT_FRAME_OK,
	MQTT_FRAME_MORE,      /* not whole yet */
	MQTT_FRAME_BAD,       /* remaining length malformed, or reserved type 0: MQTT_RC_MALFORMED */
	MQTT_FRAME_TOO_LARGE, /* larger than <max>: MQTT_RC_TOO_LARGE; known as soon as the header is there */
};

struct mqtt_frame {
	uint8_t type, flags;
	struct slice body; /* borrowed from the input */
	size_t size;       /* of the whole packet */
};

/* Find one whole packet at the start of <in>; <max> limits the whole packet (header included). Writes <ret> on
 * OK; on MORE and TOO_LARGE it sets ret->type, flags and size (0 while the length is not known). */
enum mqtt_frame_result mqtt_frame(struct slice in, size_t max, struct mqtt_frame *ret);

/* ---- properties (5.0, 2.2.2) ---- */

enum mqtt_prop {
	MQTT_P_PAYLOAD_FORMAT = 1, MQTT_P_MESSAGE_EXPIRY = 2, MQTT_P_CONTENT_TYPE = 3, MQTT_P_RESPONSE_TOPIC = 8,
	MQTT_P_CORRELATION_DATA = 9, MQTT_P_SUBSCRIPTION_ID = 11, MQTT_P_SESSION_EXPIRY = 17, MQTT_P_ASSIGNED_CLIENT_ID = 18,
	MQTT_P_SERVER_KEEP_ALIVE = 19, MQTT_P_AUTH_METHOD = 21, MQTT_P_AUTH_DATA = 22, MQTT_P_REQUEST_PROBLEM = 23,
	MQTT_P_WILL_DELAY = 24, MQTT_P_REQUEST_RESPONSE = 25, MQTT_P_RESPONSE_INFO = 26, MQTT_P_SERVER_REFERENCE = 28,
	MQTT_P_REASON_STRING = 31, MQTT_P_RECEIVE_MAXIMUM = 33, MQTT_P_TOPIC_ALIAS_MAXIMUM = 34, MQTT_P_TOPIC_ALIAS = 35,
	MQTT_P_MAXIMUM_QOS = 36, MQTT_P_RETAIN_AVAILABLE = 37, MQTT_P_USER_PROPERTY = 38, MQTT_P_MAXIMUM_PACKET_SIZE = 39,
	MQTT_P_WILDCARD_AVAILABLE = 40, MQTT_P_SUBSCRIPTION_ID_AVAILABLE = 41, MQTT_P_SHARED_AVAILABLE = 42,
};

/* The decoded properties of any packet except PUBLISH, and what the encoders write. mqtt_has() tells presence;
 * absent numbers are 0. <user> is borrowed: all user properties, still encoded, in their order (when decoding it
 * is only set if they stand together; else the first run of them). */
struct mqtt_props {
	uint64_t present; /* bit mqtt_prop */
	uint32_t session_expiry, message_expiry, will_delay, subscription_id, maximum_packet_size;
	uint16_t receive_maximum, topic_alias_maximum, topic_alias, server_keep_alive;
	uint8_t payload_format, request_problem, request_response, maximum_qos, retain_available, wildcard_available,
	    subscription_id_available, shared_available;
	struct slice content_type, response_topic, correlation_data, assigned_client_id, auth_method, auth_data,
	    response_info, server_reference, reason_string, user;
	struct slice raw; /* decoding: everything, without the length in front */
};

static inline bool
mqtt_has(const struct mqtt_props *p, enum mqtt_prop id)
{
	return (p->present >> id & 1) != 0;
}
static inline void
mqtt_set(struct mqtt_props *p, enum mqtt_prop id)
{
	p->present |= (uint64_t)1 << id;
}

/* ---- decoding: each returns MQTT_RC_OK or the reason with which the connection ends ---- */

/* Nothing of *ret is of use after an error, except mqtt_connect.version. Sending roles are not told apart, except in
 * PUBLISH: that a client may not send DISCONNECT 0x8e, or a server a session expiry in it, is the caller's business. In
 * 3.1, where the reserved bits of the fixed header and of CONNECT were "not used", they are not looked at. A property
 * that exists but does not belong into the packet is MQTT_RC_PROTOCOL, one that does not exist MQTT_RC_MALFORMED. */

struct mqtt_will {
	bool present, retain;
	uint8_t qos;
	struct slice topic, payload;
	uint32_t delay;                 /* s; 0 when absent */
	struct mqtt_props props;        /* v5 */
};

struct mqtt_connect {
	uint8_t version; /* MQTT_V31, MQTT_V311, MQTT_V5; bit 7 (a bridge's mark) is taken off into is_bridge */
	bool is_bridge, clean_start, has_username, has_password;
	uint16_t keep_alive; /* s */
	struct slice client_id, username, password;
	struct mqtt_will will;
	struct mqtt_props props;
};

/* MQTT_RC_VERSION: the protocol name or level is not ours; ret->version then is the level seen (for the form of the
 * CONNACK: v5 answers with 0x84, others with return code 1). On any error ret->version is set if it was read.
 * An empty client id with clean_start 0 in 3.1.1 is MQTT_RC_CLIENT_ID [MQTT-3.1.3-8]; v3.1 also refuses an empty id. The will
 * topic's UTF-8 is checked here, its being a topic name by the caller. Rules on authentication properties (auth data without method) are checked. */
uint8_t mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *ret);

struct mqtt_publish {
	struct slice topic;   /* may be empty in v5 when topic_alias > 0; UTF-8 checked, wildcards not */
	struct slice payload;
	struct slice props;   /* v5: all properties encoded, without the length in front; empty in v3 */
	struct slice forward; /* props without topic alias and message expiry, if that is one run of bytes; else .p == NULL
	                       * and mqtt_forward_props() makes it */
	uint32_t forward_n;   /* length of the forwarded properties in any case */
	struct slice withheld; /* user properties that begin so are not forwarded: mqtt_withhold(); empty: all are */
	struct slice added;   /* whoever makes a message of it: encoded properties that go on behind the forwarded ones */
	uint32_t message_expiry; /* s; valid if has_expiry */
	uint16_t packet_id;   /* QoS > 0: never 0 */
	uint16_t topic_alias; /* 0 = none (0 on the wire is MQTT_RC_ALIAS_INVALID) */
	struct slice response_topic, correlation_data, content_type;
	uint32_t subscription_id; /* the first one; only a server sends it: with from_client true it is MQTT_RC_PROTOCOL */
	uint8_t qos;
	bool retain, dup, has_expiry, utf8_payload; /* utf8_payload: payload format indicator 1 (the payload itself is not checked) */
};

/* Fast: called for every message. */
uint8_t mqtt_decode_publish(const struct mqtt_frame *f, uint8_t version, bool from_client, struct mqtt_publish *ret);
/* The same for a will's properties: what a PUBLISH of it carries on, at most will->props.raw.n bytes; returns how many. */
size_t mqtt_will_forward(const struct mqtt_will *will, uint8_t *out);
/* Write m->forward_n bytes of properties that go on to subscribers, in their order, into <out>. What a server sent may
 * hold subscription identifiers; they are among them. */
void mqtt_forward_props(const struct mqtt_publish *m, uint8_t *out);
/* From now on user properties whose names begin with <prefix> (at least one byte, lower case; ASCII case does not count) are not among those
 * of m->props that go on. <prefix> is borrowed. */
void mqtt_withhold(struct mqtt_publish *m, struct slice prefix);

struct mqtt_ack {
	uint16_t packet_id;
	uint8_t reason;
	struct slice reason_string;
};
/* PUBACK, PUBREC, PUBREL, PUBCOMP: flags, id, reason and properties. Also UNSUBACK of v3 (id only). */
uint8_t mqtt_decode_ack(const struct mqtt_frame *f, uint8_t version, struct mqtt_ack *ret);

/* Subscription options byte (3.8.3.1). */
enum { MQTT_SUB_QOS = 3, MQTT_SUB_NO_LOCAL = 4, MQTT_SUB_RETAIN_AS_PUBLISHED = 8, MQTT_SUB_RETAIN_HANDLING = 0x30 };

struct mqtt_filters {
	struct rd rd;
	bool options; /* SUBSCRIBE: an options byte behind each filter */
	unsigned count;
	uint16_t packet_id;
	uint32_t subscription_id; /* 0 = none */
};
struct mqtt_sub {
	struct slice filter;
	uint8_t options;
};
/* Checks the whole SUBSCRIBE or UNSUBSCRIBE (by f->type): at least one filter, options byte in range (reserved bits, QoS 3, retain
 * handling 3; in v3 only QoS bits), UTF-8, no empty filter. The filters' own grammar is the caller's business, but no-local on
 * "$share/" is refused here [MQTT-3.8.3-4]. */
uint8_t mqtt_decode_filters(const struct mqtt_frame *f, uint8_t version, struct mqtt_filters *ret);
/* The next one; false at the end. */
bool mqtt_filters_next(struct mqtt_filters *f, struct mqtt_sub *ret);

struct mqtt_disconnect {
	uint8_t reason;
	struct mqtt_props props;
};
uint8_t mqtt_decode_disconnect(const struct mqtt_frame *f, uint8_t version, struct mqtt_disconnect *ret);
uint8_t mqtt_decode_auth(const struct mqtt_frame *f, struct mqtt_disconnect *ret); /* v5 only; the same form */
/* PINGREQ, PINGRESP: no flags, no body. */
uint8_t mqtt_decode_empty(const struct mqtt_frame *f);

/* What a client receives. */
struct mqtt_connack {
	bool session_present;
	uint8_t code; /* as on the wire: v3 0..5, v5 a reason */
	struct mqtt_props props;
};
uint8_t mqtt_decode_connack(const struct mqtt_frame *f, uint8_t version, struct mqtt_connack *ret);
struct mqtt_suback {
	uint16_t packet_id;
	struct slice codes; /* one a filter; empty for UNSUBACK of v3 */
	struct mqtt_props props;
};
uint8_t mqtt_decode_suback(const struct mqtt_frame *f, uint8_t version, struct mqtt_suback *ret); /* and UNSUBACK */

/* ---- encoding: append one whole packet to <w>; false when it does not fit: w->bad is set and <w> ends where it did.
 * Values are written as they are: who wants a valid packet gives valid values ---- */

bool mqtt_put_connack(struct wr *w, uint8_t version, const struct mqtt_connack *m);
/* <reason_string> may be empty; both are left out in v3. Reason 0 without properties takes the short form. */
bool mqtt_put_ack(struct wr *w, uint8_t version, uint8_t type, uint16_t packet_id, uint8_t reason, struct slice reason_string);
bool mqtt_put_suback(struct wr *w, uint8_t version, uint8_t type, uint16_t packet_id, struct slice codes, struct slice reason_string);
bool mqtt_put_disconnect(struct wr *w, uint8_t version, const struct mqtt_disconnect *m);
bool mqtt_put_auth(struct wr *w, const struct mqtt_disconnect *m);
bool mqtt_put_connect(struct wr *w, const struct mqtt_connect *m);
/* From m: topic, payload, qos, retain, dup, packet_id, topic_alias, message_expiry, forward (all other properties, encoded;
 * it may be set alone, without forward_n: mqtt_put_props() can make it). */
bool mqtt_put_publish(struct wr *w, uint8_t version, const struct mqtt_publish *m);
/* <type> MQTT_SUBSCRIBE or MQTT_UNSUBSCRIBE; <props> may be NULL. */
bool mqtt_put_filters(struct wr *w, uint8_t version, uint8_t type, uint16_t packet_id, const struct mqtt_sub *subs, size_t n, const struct mqtt_props *props);
bool mqtt_put_empty(struct wr *w, uint8_t type);
/* The properties without their length, those in p->present in ascending order of identifier, then p->user. */
bool mqtt_put_props(struct wr *w, const struct mqtt_props *p);
/* One user property, encoded, for use in mqtt_props.user. */
bool mqtt_put_user_property(struct wr *w, struct slice name, struct slice value);

#endif
