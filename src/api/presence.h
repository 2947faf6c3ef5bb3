/* Who is there. Private to api/. */
#ifndef API_PRESENCE_H
#define API_PRESENCE_H

#include "api/internal.h"

enum {
	PRESENCE_STATE_MAX = 64,
	PRESENCE_STEP_S = 60, /* how much later somebody must have been heard to be written */
};
/* What is to be written of one device. */
struct note {
	char cn[REGISTRY_LABEL_MAX + 1], address[80], status[PRESENCE_STATE_MAX + 1];
	bool online;
	enum registry_beat beat;
	int64_t since, seen;
};

bool presence_open(struct api *a, struct err *err);
void presence_close(struct api *a);
/* The broker is there, and which one; it has gone. */
void presence_up(struct api *a, struct slice broker_id);
void presence_down(struct api *a);
/* One of its events, or a message of config.status_topic; and: some have not come. */
void presence_event(struct api *a, const json_t *event);
void presence_status(struct api *a, struct slice topic, struct slice payload, bool retained);
void presence_missed(struct api *a);
/* The device <cn> has not said how it is for as long as it may. */
void presence_stale(struct api *a, struct slice cn);
void presence_note(struct api *a, const struct note *n);
bool presence_is_noted(const struct api *a, struct slice cn); /* one waits to be written */
bool presence_online(const struct api *a, const struct registry_device *d); /* by what is known now */
/* What is known goes into the registry now, before it is read. */
void presence_flush(struct api *a);
/* The registry's row of a common name as {"tenant", "device"} in <data>; false: no device of ours. ret_tenant: text of REGISTRY_NAME_MAX + 1. */
bool presence_owner(struct api *a, struct slice cn, json_t *data, char *ret_tenant);

#endif
