/* Private to server/: the commands of the control socket. Requests and answers are JSON objects. */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include <jansson.h>
#include "server/internal.h"

#define CONTROL_TOPIC "$CONTROL/signet/v1/"
/* <r> is done, with this answer; NULL: out of memory. <out> is released. Any thread. */
void control_answer(struct broker_request *r, json_t *out);

/* ---- control_rights.c: what shards are asked about rights ---- */

/* Who a session belongs to, and where it is: "listener", "role", "cn", "user". */
void rights_put_who(const struct server *s, json_t *o, unsigned listener, const struct authz_principal *who);
/* True: an answer follows. False: *ret_out is the answer, that says what is wrong, or NULL. */
bool control_explain(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);
/* {"text": "…", "acl": false, "listener": "8883", "count": 20}: what the policy in the text would change. */
bool control_diff(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);

/* persist.c: {"dir": "/absolute"}: a copy of the store there, made on a thread of its own: {"dir": …, "bytes": N, "ms": N}. */
bool control_backup(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);

#endif
