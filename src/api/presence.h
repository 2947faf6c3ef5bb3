/* Who is there. Private to api/. */
#ifndef API_PRESENCE_H
#define API_PRESENCE_H

#include "api/internal.h"

bool presence_open(struct api *a, struct err *err);
void presence_close(struct api *a);
/* The broker is there, and which one; it has gone. */
void presence_up(struct api *a, struct slice broker_id);
void presence_down(struct api *a);
/* One of its events, or a message of config.status_topic; and: some have not come. */
void presence_event(struct api *a, const json_t *event);
void presence_status(struct api *a, struct slice topic, struct slice payload, bool retained);
void presence_missed(struct api *a);
/* What is known goes into the registry now, before it is read. */
void presence_flush(struct api *a);
/* The registry's row of a common name as {"tenant", "device"} in <data>; false: no device of ours. ret_tenant: text of REGISTRY_NAME_MAX + 1. */
bool presence_owner(struct api *a, struct slice cn, json_t *data, char *ret_tenant);

#endif
