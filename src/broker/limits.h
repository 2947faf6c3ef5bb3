/* Shared inside broker/ only: limits, and what is told of them. Included by internal.h, which has the structures. */
#ifndef BROKER_LIMITS_H
#define BROKER_LIMITS_H

#include "broker/internal.h"

/* ---- pace.c: rates ---- */

/* The client is in: it gets a pace if its listener has rates. False: out of memory. */
bool pace_begin(struct client *c);
void pace_forget(struct client *c); /* the client is going */
/* A client with a pace has published a packet of so many bytes, or has been sent one. False: it was ended. */
bool pace_in(struct client *c, size_t bytes);
void pace_out(struct client *c, size_t bytes);
bool pace_may_send(const struct client *c); /* a message, now; a client with a pace */
bool pace_is_slow(const struct client *c);  /* does it get no more than it gets because of a rate? */
void pace_timer(void *shard, struct timer *t);
void paces_renew(struct shard *sh); /* the listeners have changed */

/* ---- drops.c: who did not get what, and why ---- */

void session_dropped(struct session *s, enum broker_drop why); /* one message */
void shard_dropped(struct shard *sh, enum broker_drop why);    /* one that was nobody's yet */
void drops_forget(struct session *s);                          /* the session is going */
void drops_turn(struct shard *sh);
uint64_t drops_wait(const struct shard *sh); /* ms until the next drops_turn() has something to do */

/* ---- shed.c: what is given up while memory is short ---- */

void shed_take(struct shard *sh); /* the last measurement */
void shed_turn(struct shard *sh); /* let go on, or end, those who were held */
uint64_t shed_wait(const struct shard *sh);
size_t shed_out_max(const struct shard *sh); /* while memory is short: less than max_out_bytes */

/* ---- crowd.c: who is here too often ---- */

struct crowd *crowd_new(void); /* NULL: out of memory */
void crowd_free(struct crowd *w); /* NULL is fine */
/* May one more of this identity come in? It is counted until crowd_leave(). <must>: it takes the place of another. MQTT_RC_OK,
 * MQTT_RC_QUOTA, or MQTT_RC_UNAVAILABLE when out of memory. */
uint8_t crowd_enter(struct client *c, const struct authz_principal *who, bool must);
void crowd_leave(struct client *c); /* harmless when it was not counted */
struct flaps *flaps_new(void); /* free(); NULL: out of memory */
/* Not held off? <id>: the client id, or nothing if it was made up. */
bool flap_may(struct client *c, const struct authz_principal *who, struct slice id);

#endif
