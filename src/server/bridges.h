/* Bridges while the server runs. Private to server/. */
#ifndef SERVER_BRIDGES_H
#define SERVER_BRIDGES_H

#include "authz/authz.h"
#include "net/net.h"
#include "server/config.h"

struct server;
struct worker;
struct lookup;

/* What the configuration says of one bridge, with everything loaded that can fail. */
struct bridge_plan {
	struct config_bridge config; /* owned */
	struct bridge_config bridge; /* borrows from the others */
	struct tls_ctx *tls;         /* NULL: plain */
	char *remote_id, *local_id, *notify_topic;
	uint64_t print; /* of all that is configured: a bridge whose print is the same has not changed */
};
struct bridge_plans {
	struct bridge_plan **v;
	unsigned n;
};
/* Takes the bridges out of <c>. NULL and <err>, which names place and file. */
struct bridge_plans *bridge_plans_load(struct config *c, struct err *err);
void bridge_plans_free(struct bridge_plans *p); /* NULL is fine */
void bridge_plan_free(struct bridge_plan *p);   /* NULL is fine */

/* Before the workers run. Takes <plans>. False: out of memory. */
bool bridges_start(struct server *s, struct bridge_plans *plans);
/* Any thread: the bridges are others now. Takes <plans>. */
void bridges_reload(struct server *s, struct bridge_plans *plans);
/* After the loops have gone. */
void bridges_free(struct server *s);

/* On the worker's thread. */
void bridges_begin(struct worker *w, uint64_t now_ms);
uint64_t bridges_turn(struct worker *w, uint64_t now_ms);
void bridges_leave(struct worker *w);
void *bridges_open(const struct net_peer *peer, const struct waker *w, const struct stream_ops **ret_ops);
void bridges_failed(const struct net_peer *peer, const struct net_failure *f);

/* ---- shared by bridges.c and bridge_set.c ---- */

enum { FOUND_MAX = 8 }; /* addresses of one host that are tried */

enum runner_state { RUN_WAIT, RUN_LOOKUP, RUN_DIAL, RUN_LINK, RUN_OFF };

/* What net gives back: which bridge, and whether it is only a look at the first address. */
struct call {
	struct runner *runner;
	bool probe;
};

struct runner {
	struct runner *next, *next_all;
	struct server *server;
	struct worker *worker;
	struct bridge_plan *plan, *coming; /* coming: for the next connection */
	struct bridge *bridge;
	struct authz_principal *who;
	struct lookup *lookup;
	struct call call, probe;
	uint64_t due_ms, probe_ms, now_ms;
	uint64_t up_ms;   /* since when it is connected */
	uint64_t wait_ms; /* the last pause between connections */
	unsigned at, tried; /* which address; how many in a row were tried */
	int found, found_n;
	struct sockaddr_storage addr[FOUND_MAX], primary;
	socklen_t len[FOUND_MAX], primary_n;
	enum runner_state state;
	bool primed, removed, probing, was_up;
	/* Of the main thread. */
	char *name, *local_id;
	uint64_t print;
	bool gone;
};

/* Try again at <due_ms>. */
void runner_wait(struct runner *r, uint64_t due_ms);
void runner_forget_lookup(struct runner *r);
/* Make its session here; on its thread, or before there are threads. */
void runner_prime(struct runner *r);
struct bridge_ports runner_ports(struct runner *r);

#endif
