/* source.c within broker/: whose retained messages are, and listeners that were. Part of internal.h, which includes it. */
#ifndef BROKER_SOURCE_H
#define BROKER_SOURCE_H

#include "broker/internal.h"

/* For a message that <who> publishes there; NULL: out of memory. */
struct msg_source *source_new(const struct shard *sh, uint32_t listener, struct authz_principal *who);
/* For a message of <c>; borrowed, one for all of them. NULL if nobody will ask. False: out of memory. */
bool source_of(struct client *c, struct msg_source **ret);
/* May whoever published <m> still publish it? */
bool source_may(const struct shard *sh, const struct msg *m);
/* Of a will that was kept. NULL: out of memory. */
struct msg_source *source_of_session(const struct session *s);
/* What is to be kept of it, views of <counted>; and one that was kept: under which policies, nobody knows any more. NULL: out of memory. */
struct record_source source_record(const struct shard *sh, const struct msg_source *counted);
struct msg_source *source_restored(const struct shard *sh, const struct record_source *r);
/* May <who> publish that at one of the listeners that there are? Where he was is none of them any more. */
bool source_may_anywhere(const struct shard *sh, struct authz_principal *who, struct slice client_id, struct slice topic);
/* A listener as a record names it, and the way back: by its name, else by its port if that is one listener's alone. LISTENER_NONE: it
 * is not there any more. */
enum { LISTENER_NONE = UINT16_MAX };
struct record_listener listener_record(const struct shard *sh, uint32_t listener);
uint16_t listener_recorded(const struct shard *sh, const struct record_listener *r);

#endif
