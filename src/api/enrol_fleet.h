/* A fleet's secret: it makes devices of templates, with ids by a pattern. Private to api/. */
#ifndef API_ENROL_FLEET_H
#define API_ENROL_FLEET_H

#include "api/internal.h"

/* What stands in the secret's note: {"pattern": "line7-{n:4}", "templates": [1], "label": "…"}. In a pattern {n} is a number, from 1 on, {n:4} one
 * of at least 4 digits, {name} what the device calls itself. False: <ret_why> says what is wrong with it. */
bool fleet_pattern_ok(struct slice pattern, const char **ret_why);

struct fleet_question {
	struct slice note;
	struct slice tenant; /* empty: the first, whose devices' common names are their ids */
	struct slice name;   /* as the device calls itself; empty: the common name in its request */
	struct slice csr;
	int64_t uses;        /* of the secret so far */
	bool (*free)(void *ctx, const char *cn); /* nobody has it */
	void *ctx;
};
/* Id and common name of the next device. */
bool fleet_name(const struct fleet_question *q, char *ret_id, size_t id_cap, char *ret_cn, size_t cn_cap, struct err *err);
/* Make it, in a transaction of the caller's. */
bool fleet_add(struct registry *r, const struct registry_secret *s, struct slice tenant, struct slice id, struct err *err);

#endif
