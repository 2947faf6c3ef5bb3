/* Retained messages by topic (3.3.1.3). One thread's own. */
#ifndef RETAIN_RETAIN_H
#define RETAIN_RETAIN_H

#include "msg/msg.h"

struct retain;

struct retain *retain_new(void); /* NULL: out of memory */
void retain_free(struct retain *r);
/* <fn> hears of each message that is dropped because it has expired, before it goes. */
void retain_on_expiry(struct retain *r, void (*fn)(void *ctx, struct msg *m), void *ctx);

enum retain_set { RETAIN_STORED, RETAIN_REPLACED, RETAIN_REMOVED, RETAIN_NONE, RETAIN_NOMEM };
/* Keep <m> (a reference is taken; its topic must be topic_name_ok()) as its topic's retained
 * message; an empty payload removes what is there [MQTT-3.3.1-6]. */
enum retain_set retain_set(struct retain *r, struct msg *m);
/* The message of exactly this topic, or NULL; borrowed. Expired ones are removed and not
 * returned. */
struct msg *retain_get(struct retain *r, struct slice topic, uint32_t now_s);

/* A walk over everything that a filter matches, in slices: the tree may change between two
 * calls. A message that is there from retain_scan_new() to the end of the walk is reported exactly
 * once, one that was set later never: it has reached the subscriber as a live one. */
struct retain_scan;
/* Copies the filter; one that is not topic_filter_ok() finds nothing. NULL: out of memory. */
struct retain_scan *retain_scan_new(struct retain *r, struct slice filter);
typedef void retain_hit(void *ctx, struct msg *m); /* borrowed; must not change the tree */
/* Go on until <max_hits> were reported or <max_visits> nodes were seen. False when the walk has
 * ended. */
bool retain_scan_next(struct retain_scan *s, unsigned max_hits, unsigned max_visits, uint32_t now_s,
    retain_hit *hit, void *ctx);
void retain_scan_free(struct retain_scan *s); /* at any time; NULL is fine */

/* Remove expired messages, looking at no more than <max_visits> topics; call it now and then. */
void retain_sweep(struct retain *r, unsigned max_visits, uint32_t now_s);
size_t retain_count(const struct retain *r);
size_t retain_bytes(const struct retain *r);

#endif
