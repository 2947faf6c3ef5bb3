/* Where sessions, their queues and retained messages live: small ops structs, of which the embedded one (keep.c, in memory, this
 * process) is the first. A durable or clustered keeper stands in here without the rest of the broker noticing. */
#ifndef BROKER_KEEP_H
#define BROKER_KEEP_H

#include "base/slice.h"
#include "broker/ring.h"

struct session;
struct retain_scan;

struct keep_ops {
	/* Sessions by client id. */
	struct session *(*session_find)(void *keep, struct slice client_id);
	bool (*session_add)(void *keep, struct session *s); /* false: out of memory */
	void (*session_del)(void *keep, struct session *s);
	/* The next session of a walk that begins with *pos = 0; NULL at the end. The one returned may be deleted. */
	struct session *(*session_next)(void *keep, size_t *pos);

	/* A session's queue of messages that wait for the window or for its client. push takes the reference on success. */
	bool (*queue_push)(void *keep, struct session *s, const struct out *o);
	bool (*queue_pop)(void *keep, struct session *s, struct out *ret); /* false: empty */
	void (*queue_clear)(void *keep, struct session *s);

	/* Retained messages (retain/retain.h). */
	bool (*retain_set)(void *keep, struct msg *m);
	struct msg *(*retain_get)(void *keep, struct slice topic, uint32_t now_s);
	struct retain_scan *(*scan_new)(void *keep, struct slice filter);
	bool (*scan_next)(void *keep, struct retain_scan *scan, unsigned max_hits, unsigned max_visits, uint32_t now_s,
	    void (*hit)(void *ctx, struct msg *m), void *ctx);
	void (*scan_free)(void *keep, struct retain_scan *scan);
	void (*sweep)(void *keep, unsigned max_visits, uint32_t now_s);
	void (*on_expiry)(void *keep, void (*fn)(void *ctx, struct msg *m), void *ctx);
	size_t (*retain_count)(void *keep);
	size_t (*retain_bytes)(void *keep);

	void (*free)(void *keep);
};

/* The embedded one. NULL: out of memory. */
extern const struct keep_ops keep_memory_ops;
void *keep_memory_new(void);

#endif
