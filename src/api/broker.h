/* The broker as control knows it. Private to api/. */
#ifndef API_BROKER_H
#define API_BROKER_H

#include "api/internal.h"
#include "link/link.h"

/* Ask the broker <command> for <c>: takes <body>. <done> gets the answer and answers the call; refusals and silence are answered here. */
void broker_inquire(struct call *c, const char *command, json_t *body, void (*done)(struct call *c, const json_t *answer));
/* The same for what may take <ms> and longer, on a connection on which nothing else waits for it. c->refused, if it is set, gets what the broker has
 * against it and answers. */
void broker_consult(struct call *c, const char *command, json_t *body, void (*done)(struct call *c, const json_t *answer), unsigned ms);
/* The same, for what is only good to know: <done> runs in any case, with NULL when there is no answer within a few seconds; perhaps before this
 * returns. */
void broker_learn(struct call *c, const char *command, json_t *body, void (*done)(struct call *c, const json_t *answer));
/* Of the broker's list of sessions the first, or the first that is connected; NULL: there is none. */
const json_t *broker_best_session(const json_t *answer);
/* Publish <attrs> to the device, where actuate_topic says, at QoS 1: its session keeps it while it is away. <done> as above; its answer says
 * whether there are "subscribers". */
void call_actuate(struct call *c, const struct registry_device *d, const json_t *attrs, void (*done)(struct call *c, const json_t *answer));

/* Ask it for ourselves: takes <body> (NULL: out of memory). False and <err>: it cannot be asked, and <done> does not run. */
bool api_ask_broker(struct api *a, const char *command, json_t *body, link_answer *done, void *ctx, struct err *err);
struct broker_wait {
	link_answer *done;
	void *ctx;
	unsigned ms; /* for which an answer may take */
};
/* The same for what may take long; over the other connection, on which nothing else waits for it, or not at all. */
bool api_ask_broker_within(struct api *a, const char *command, json_t *body, const struct broker_wait *w, struct err *err);

#endif
