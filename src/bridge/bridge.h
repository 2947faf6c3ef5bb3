/* Bridges: a topic shared with another broker. A bridge is two MQTT clients back to back: one speaks with the remote broker through
 * a transport, one with this broker through the stream that any client has. What one receives the other sends on, under another
 * name if so configured; an acknowledgement of one side is handed to the other and not made up here. So what waits, waits in
 * a session of one of the two brokers, with its limits, and QoS 1 and 2 hold from end to end.
 *
 * Sans-I/O, one thread's own. */
#ifndef BRIDGE_BRIDGE_H
#define BRIDGE_BRIDGE_H

#include "base/stream.h"

struct bridge;

/* ---- topics ---- */

enum { BRIDGE_OUT = 1, BRIDGE_IN = 2, BRIDGE_BOTH = BRIDGE_OUT | BRIDGE_IN };

/* One `topic` line. All texts are owned. */
struct bridge_topic {
	char *local, *remote;               /* whole filters, prefixes included */
	char *local_prefix, *remote_prefix; /* "" when there is none */
	uint8_t direction, qos;
};

/* "PATTERN [out|in|both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]"; words may stand in quotes, "" is the empty word. False with *ret_why,
 * which is NULL when memory is out. */
bool bridge_topic_parse(struct slice line, struct bridge_topic *ret, const char **ret_why);
void bridge_topic_done(struct bridge_topic *t);
/* The name on the other side of <name>, which came from this side if <direction> is BRIDGE_OUT. Parts of the result are borrowed: the
 * new prefix, and what is left of <name>. False: no topic of that direction has it. The first line that fits counts. */
bool bridge_topic_map(const struct bridge_topic *topics, unsigned n, uint8_t direction, struct slice name,
    struct slice *ret_prefix, struct slice *ret_rest);

/* ---- the bridge ---- */

/* Borrowed; must outlive the bridge. Numbers as in mosquitto.conf(5). */
struct bridge_config {
	const char *remote_id, *local_id;
	const char *username, *password; /* for the remote; NULL: none */
	const char *notify_topic;        /* NULL: no notifications */
	const struct bridge_topic *topics;
	unsigned n_topics;
	uint8_t version; /* MQTT_V31, MQTT_V311, MQTT_V5 */
	bool clean, local_clean, try_private, notify_local_only, attempt_unsubscribe, outgoing_retain;
	uint16_t keep_alive; /* s */
	uint16_t alias_max, receive_max; /* announced to an MQTT 5 remote */
	uint32_t session_expiry; /* MQTT 5 and not clean; 0: not said, the remote forgets */
	uint32_t packet_max; /* largest packet to the remote; 0: no limit */
};

struct bridge_ports {
	void *ctx;
	/* A new client of this broker. NULL: out of memory. */
	void *(*local_open)(void *ctx, const struct waker *w, const struct stream_ops **ret_ops);
	/* The remote has accepted us. */
	void (*up)(void *ctx, bool session_present);
	/* The connection has ended, for whatever reason; once for each bridge_link(). */
	void (*down)(void *ctx, const char *why);
	/* Something that the operator should know. */
	void (*warn)(void *ctx, const char *text);
};

/* NULL: out of memory. */
struct bridge *bridge_new(const struct bridge_config *c, const struct bridge_ports *p);
/* Go on with other settings; not while it has a connection. */
void bridge_configure(struct bridge *b, const struct bridge_config *c);
/* Not while it has a connection. NULL is fine. */
void bridge_free(struct bridge *b);

/* Make the session here, so that messages wait for the remote before it was ever reached, and say that the bridge is down. <old> are
 * topics that a session left behind may have and that are no longer wanted. False: this broker refused, or out of memory. */
bool bridge_prime(struct bridge *b, const struct bridge_topic *old, unsigned n_old);

/* A connection to the remote is open; the stream for it, with bridge_stream. NULL: out of memory. One at a time. */
void *bridge_link(struct bridge *b, const struct waker *remote, uint64_t now_ms);
extern const struct stream_ops bridge_stream;
/* Once a loop turn, before input: the time. */
void bridge_begin(struct bridge *b, uint64_t now_ms);
/* Time passes: keep alive. Returns when it wants to be called again, in the clock of <now_ms>. */
uint64_t bridge_turn(struct bridge *b, uint64_t now_ms);
/* Say good-bye and close; down() comes when it is done. Nothing without a connection. */
void bridge_stop(struct bridge *b);
bool bridge_is_linked(const struct bridge *b);
/* When the last message went through, either way, or the connection began. */
uint64_t bridge_last_ms(const struct bridge *b);
/* The remote refused the mark of a bridge (try_private); the next connection goes without. */
bool bridge_was_refused_as_bridge(const struct bridge *b);

#endif
