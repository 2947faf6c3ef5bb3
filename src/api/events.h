/* Events for those who listen. Private to api/. */
#ifndef API_EVENTS_H
#define API_EVENTS_H

#include "api/internal.h"

bool events_open(struct api *a, struct err *err);
void events_close(struct api *a); /* after the connections */
/* Something happened: takes <data>, an object (NULL: out of memory, and nothing happens), which gets "time" if it has none. <kind>: "connect",
 * "disconnect", "refusal", "quarantine", "renewal", "status", "certificate", "enrolment", "change", "broker". <tenant>: whose it is; empty: the
 * installation's, for users of the first tenant. "device" in it is the id of the device that it is about. */
void event_put(struct api *a, const char *kind, struct slice tenant, json_t *data);
/* A certificate was "issued", "revoked", "held" or "released". */
void event_certificate(struct api *a, const char *what, struct slice ca, struct slice serial);
/* Something may have changed: those whose asker may not listen any more end. */
void events_check(struct api *a);
/* What <c> asked for was done, and changed something. */
void event_change(struct call *c);

#endif
