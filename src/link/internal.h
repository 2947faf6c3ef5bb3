/* Between link.c (the socket) and core.c (MQTT and JSON, which know no sockets). */
#ifndef LINK_INTERNAL_H
#define LINK_INTERNAL_H

#include "link/link.h"
#include "mqtt/mqtt.h"

#define LINK_TOPIC "$CONTROL/signet/v1/"

enum { LINK_PACKET_MAX = 16 << 20, LINK_HELLO_MS = 10000 };

enum core_state { CORE_CLOSED, CORE_CONNECTING, CORE_SUBSCRIBING, CORE_GREETING, CORE_UP };

struct core_buf {
	uint8_t *p;
	size_t at, n, cap; /* [at, n) is in use */
};

struct call {
	struct call *next;
	uint64_t tag, due_ms; /* due_ms: UINT64_MAX: never */
	link_answer *answer;
	void *ctx;
};

struct core {
	const char *name;
	char *const *topics;
	size_t n_topics;
	struct link_events on;
	void *ctx;
	enum core_state state;
	struct core_buf in, out;
	struct call *first, **last;
	unsigned n_calls;
	uint64_t tag, now_ms, step_due_ms, ping_ms, ping_due_ms; /* step: of what leads to UP; ping_ms 0: none are needed */
	uint64_t seq;       /* of the next event */
	uint32_t packet_max; /* what the broker takes */
	struct err err;     /* why it is CLOSED */
};

void core_init(struct core *c);
void core_done(struct core *c); /* after core_closed() */
/* A connection is there: CONNECT is put out. False: out of memory. */
bool core_open(struct core *c, uint64_t now_ms);
/* Bytes have come. False: it has to end, and c->err says why. */
bool core_feed(struct core *c, struct slice in, uint64_t now_ms);
/* What is to be sent, and how much of it was. */
struct slice core_output(const struct core *c);
void core_sent(struct core *c, size_t n);
/* Time passes: false as core_feed(). */
bool core_time(struct core *c, uint64_t now_ms);
uint64_t core_due(const struct core *c);
/* The connection has ended: everybody who waits hears it, then down(). Also after an attempt that did not get so far. */
void core_closed(struct core *c, const char *why);
bool core_request(struct core *c, const struct link_request *r, struct err *err);

#endif
