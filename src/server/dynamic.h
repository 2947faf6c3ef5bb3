/* dynamic.c: dynamic security, all files of it and the thread that carries out its commands. Private to server/. */
#ifndef SERVER_DYNAMIC_H
#define SERVER_DYNAMIC_H

#include "broker/broker.h"
#include "dynsec/dynsec.h"
#include "server/config.h"

struct server;
struct dynamics; /* all files */
struct dynamic;  /* one of them */

/* Read all files; <look>: make none. NULL and <err>, which names place, directive and file. */
struct dynamics *dynamics_load(const struct config *c, bool look, struct err *err);
void dynamics_free(struct dynamics *ds); /* NULL is fine */
/* The file of <x>; NULL: there is none, or <x> is NULL. */
struct dynamic *dynamics_of(const struct dynamics *ds, const struct config_plugin *x);
bool dynamics_start(struct dynamics *ds, struct server *s, struct err *err);
/* Answer all that waits and end the thread; NULL is fine. */
void dynamics_stop(struct dynamics *ds);
/* As broker_ports.request. Any worker's thread. */
bool dynamics_request(struct dynamics *ds, struct broker_request *r);
struct authz_policy *dynamic_policy(struct dynamic *d);  /* a reference; any thread */
struct dynsec_logins *dynamic_logins(struct dynamic *d); /* a reference; any thread */
uint64_t dynamic_tag(struct dynamic *d, struct slice user); /* dynsec_tag() of what holds now; any thread */

#endif
