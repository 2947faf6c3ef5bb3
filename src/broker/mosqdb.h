/* The file in which mosquitto 2.0 keeps what is persistent (formats 5 and 6), chunk by chunk. No I/O, no allocation; views borrow
 * from the file. Private to broker/.
 *
 * The file has neither checksums nor an end mark: what is damaged is found where it makes no sense, and a file that ends between
 * two chunks looks whole. Most numbers are big-endian; message numbers and times are in the byte order of the machine that wrote it,
 * which must be that of this one. */
#ifndef BROKER_MOSQDB_H
#define BROKER_MOSQDB_H

#include "base/err.h"
#include "base/rd.h"

enum mosqdb_kind { MOSQDB_CONFIG = 1, MOSQDB_MESSAGE, MOSQDB_CLIENT_MESSAGE, MOSQDB_RETAIN, MOSQDB_SUB, MOSQDB_CLIENT };

/* mosquitto's states of a message to or from a client, as far as they differ for us. */
enum mosqdb_state { MOSQDB_QUEUED, MOSQDB_SENT, MOSQDB_RELEASED, MOSQDB_RECEIVED, MOSQDB_UNSEEN };

struct mosqdb_client {
	struct slice id, username; /* username.p NULL: none */
	int64_t ends;       /* seconds since 1970; 0: connected when it was written, or never */
	uint32_t expiry_s;
	uint16_t port;      /* of the listener; 0: not known */
	bool unnamed;       /* its user name is what mosquitto left there of another client's */
};
struct mosqdb_message {
	uint64_t id;
	int64_t expires;    /* seconds since 1970; 0: never */
	struct slice origin, topic, payload;
	struct slice props; /* of MQTT 5 with the length in front, or empty */
	uint8_t qos;
	bool retain;
};
struct mosqdb_client_message {
	uint64_t message;
	struct slice client;
	struct slice ids;   /* subscription identifiers, as properties without the length in front: mosqdb_next_id() */
	uint16_t packet_id;
	uint8_t qos;
	enum mosqdb_state state; /* QUEUED, SENT and RELEASED: to the client; RECEIVED: PUBREC was sent; UNSEEN: was not answered, or is done */
	bool retain;
};
struct mosqdb_sub {
	struct slice client, filter; /* also "$share/…" */
	uint32_t id;
	uint8_t options; /* as in SUBSCRIBE */
};
struct mosqdb_chunk {
	enum mosqdb_kind kind;
	size_t at; /* byte of the file, for messages */
	union {
		struct mosqdb_client client;
		struct mosqdb_message message;
		struct mosqdb_client_message client_message;
		struct mosqdb_sub sub;
		uint64_t retain; /* a message's id */
	};
};

struct mosqdb {
	struct rd rd;
	const uint8_t *start;
	uint32_t version;
};

/* False: it is no such file, or of another version; <err> says which. */
bool mosqdb_open(struct mosqdb *db, struct slice file, struct err *err);
enum mosqdb_next { MOSQDB_END, MOSQDB_CHUNK, MOSQDB_BAD /* <err> names the byte */ };
enum mosqdb_next mosqdb_next(struct mosqdb *db, struct mosqdb_chunk *ret, struct err *err);
/* Take the first of <ids>; 0: there is no more. */
uint32_t mosqdb_next_id(struct slice *ids);

#endif
