/* Private to server/: the commands of the control socket. Requests and answers are JSON objects. */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include <jansson.h>
#include "server/internal.h"

#define CONTROL_TOPIC "$CONTROL/signet/v1/"
#define CONTROL_EVENTS CONTROL_TOPIC "events"
enum { CONTROL_PROTOCOL = 1, CONTROL_NAMES_MAX = 4096, CONTROL_NAME_MAX = 256 };
/* {"error": <text>, "code": <code>}; both are static or not needed after the call. */
json_t *control_error(const char *code, const char *text);
/* <r> is done, with this answer; NULL: out of memory. <out> is released. Any thread. */
void control_answer(struct broker_request *r, json_t *out);

/* ---- explain.c: who somebody would be, and what he asks about ---- */

/* Is <l> called <name>, or is that its port? NULL: is it one for clients? */
bool explain_is_meant(const struct config_listener *l, const char *name);
/* By role, cn and user of <q>, on a listener with these <rules>. */
bool explain_who(unsigned rules, const struct server_question *q, struct authz_principal **ret_who, struct err *err);
/* <text> behind the mount point, without "$share/NAME/". False: it is no topic of the kind, or too long. */
bool explain_topic(const struct config_listener *l, enum authz_action action, const char *text, char *out, size_t cap);

/* Is it one to which devices come with their certificates? */
bool explain_for_certificates(const struct config_listener *l);

/* ---- aside.c: what no worker does itself ---- */

struct asides *asides_new(struct server *s); /* NULL: out of memory */
void asides_quiet(struct asides *a); /* before the loops go: what waits is answered, and nothing more is taken. NULL is fine */
void asides_free(struct asides *a);  /* the same */

/* Answers <r>. On the thread for it. */
typedef void aside_work(struct server *s, struct broker_request *r, const json_t *in);
/* <in> is copied. False: out of memory, too many wait, or the broker ends; *ret_out is the answer to <r>, that says so. Any thread. */
bool control_aside(struct asides *a, struct broker_request *r, const json_t *in, aside_work *work, json_t **ret_out);

/* ---- control_rights.c: what shards are asked about rights ---- */

/* Who a session belongs to, and where it is: "listener", "role", "cn", "user". */
void rights_put_who(const struct server *s, json_t *o, unsigned listener, const struct authz_principal *who);
/* True: an answer follows. False: *ret_out is the answer, that says what is wrong, or NULL. */
bool control_explain(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);
/* {"text": "…", "acl": false, "listener": "8883", "count": 20, "ms": 2000}: what the policy in the text would change. */
bool control_diff(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);
/* {}: the policies in force, rule by rule. */
bool control_rules(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);
/* What <listener> is judged by now: a reference. */
struct authz_policy *rights_policy(struct server *s, unsigned listener);
void rights_put_reason(json_t *o, const struct authz_reason *r);
/* control_stranger.c: an explain about somebody who has no session; as aside_work. */
void control_stranger(struct server *s, struct broker_request *r, const json_t *in);

/* {"cn": "x", "role": "client"}: with which client id that certificate may come, and what it may publish and subscribe to. */
bool control_usage(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);

/* persist.c: {"dir": "/absolute"}: a copy of the store there, made on a thread of its own: {"dir": …, "bytes": N, "ms": N}. */
bool control_backup(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);

/* {}: who we are and what we speak. */
bool control_hello(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);

/* ---- control_json.c: how things are written ---- */

void control_put_time(json_t *o, const char *key, int64_t t); /* seconds since 1970; 0: null */
void control_put_text(json_t *o, const char *key, const char *text); /* "" and "-": null */
void control_put_slice(json_t *o, const char *key, struct slice s); /* what JSON cannot hold, as names may come from a certificate: null */
json_t *control_refusal_json(const struct diary_note *x);
/* What events and lists have in common: client id, listener, who it is, address and protocol. */
void control_put_session(const struct server *s, json_t *o, const struct broker_session *x);

/* feed.c: one event, if anybody listens: <o>, which is taken, with "event": <kind>. Any thread. */
void feed_put(struct feed *f, const char *kind, json_t *o);

/* ---- control_sessions.c ---- */

bool control_sessions(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);   /* a page of the list */
bool control_session(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);    /* one, with its subscriptions */
bool control_disconnect(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);
bool control_purge(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);      /* the session ends, too */

/* ---- control_publish.c ---- */

bool control_publish(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);

/* ---- registration.c: what stands below "registry/" ---- */

bool control_registry(struct server *s, struct broker_request *r, const json_t *in, json_t **ret_out);

/* events.c: what event_came_by() has remembered, taken apart; <text> is written to and borrowed. NULL: not known. */
struct came_by {
	const char *version, *cipher, *sni;
};
void event_take_came_by(char *text, struct came_by *ret);

#endif
