/* Control's client on the broker's control socket (docs/control-protocol.md): one connection, requests with answers, events, and reconnects
 * by itself. Never blocks: whoever has an event loop waits for fd and wants, and calls ready(). One thread's own. */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include <jansson.h>
#include "base/err.h"
#include "base/slice.h"

struct link_client;

enum link_result {
	LINK_OK,
	LINK_REFUSED, /* the broker says why not */
	LINK_TIMEOUT, /* no answer in time; it may still be carried out */
	LINK_LOST,    /* the connection ended before the answer; whether it was carried out is not known */
};
struct link_reply {
	enum link_result result;
	const json_t *answer; /* of OK and REFUSED; borrowed for the call */
	const char *error;    /* in words; not of OK */
	const char *code;     /* of REFUSED, for programs: "gap", …; "" if there is none */
};
typedef void link_answer(void *ctx, const struct link_reply *r);

/* Called from within ready(), and free() for answers. They may send requests; they may not free the link. Each may be NULL but <up>. */
struct link_events {
	/* Connected, and the broker has said hello: <hello>, borrowed. Now the whole truth is to be stated; nothing of an earlier connection counts. */
	void (*up)(void *ctx, const json_t *hello);
	/* The connection has ended, or an attempt has failed; all requests were answered before. It is tried again by itself. */
	void (*down)(void *ctx, const char *why);
	/* An event, borrowed. NULL: events are not subscribed to. */
	void (*event)(void *ctx, const json_t *event);
	/* So many events are missing here: read again what is kept of sessions, renewals and refusals. */
	void (*missed)(void *ctx, uint64_t n);
	/* A message of one of link_config.topics, borrowed. <retained>: the broker had kept it. */
	void (*message)(void *ctx, struct slice topic, struct slice payload, bool retained);
};
struct link_config {
	const char *path;      /* of the socket */
	const char *name;      /* client id, and what hello says; "": the broker makes an id up */
	const char *const *topics; /* what else is subscribed to, at QoS 0; at most LINK_TOPICS_MAX. A broker that lets nobody have them is no fault */
	size_t n_topics;
	struct link_events on;
	void *ctx;
};

enum { LINK_TOPICS_MAX = 32 };
enum { LINK_CALLS_MAX = 1024, LINK_OUT_MAX = 16 << 20 };

/* <c> is copied, with its texts. It begins to connect at the first ready(). NULL: out of memory. */
struct link_client *link_client_new(const struct link_config *c);
/* Closes; what is not answered yet is LOST. NULL is fine. */
void link_client_free(struct link_client *l);

/* What to wait for, anew after each ready() and request(): the descriptor (-1: none now), POLLIN and POLLOUT, and until when at the latest, in the
 * clock of ready(). */
int link_client_fd(const struct link_client *l);
short link_client_wants(const struct link_client *l);
uint64_t link_client_due(const struct link_client *l);
/* <events>: what poll() found, 0 if only time has passed. <now_ms>: of any monotonic clock. */
void link_client_ready(struct link_client *l, short events, uint64_t now_ms);
bool link_client_is_up(const struct link_client *l);

/* "hello", "registry/begin", …; <request> is borrowed. <answer> is called exactly once, after <timeout_ms> at the latest (0: none), unless the
 * result is false: not up, out of memory, larger than the broker takes, or LINK_CALLS_MAX requests or LINK_OUT_MAX bytes wait (then try again
 * after an answer), and <err> says which. Requests are carried out in their order. */
struct link_request {
	const char *command;
	const json_t *body;
	uint64_t now_ms;     /* in the clock of ready() */
	unsigned timeout_ms;
	link_answer *answer;
	void *ctx;
};
bool link_client_request(struct link_client *l, const struct link_request *r, struct err *err);

#endif
