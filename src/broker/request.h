/* What is published for the broker itself, and what other threads want done on a shard. */
#ifndef BROKER_REQUEST_H
#define BROKER_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "base/inbox.h"

struct client;
struct mqtt_publish;
struct shard;

/* As handlers: the answer to a PUBLISH, now or when it is done. */
bool request_take(struct client *c, const struct mqtt_publish *p);
/* If a request of <c> is being done: end it with <reason>, without its will, once it is answered. False: there is none. */
bool request_end_after(struct client *c, uint8_t reason, const char *text);
void request_forget(struct client *c);                             /* the client goes */

/* What another thread wants done on a shard. The memory is the order's own, or of what it is part of. */
struct order {
	struct inbox_node node;
	void (*carry_out)(struct shard *sh, struct order *o);
	void *ctx;
};
void order_give(struct shard *sh, struct order *o); /* any thread */
void orders_take(struct shard *sh);                 /* carry out what has arrived */

#endif
