/* A connection, for chan.c, chan_facts.c and stream.c. Private to api/. */
#ifndef API_CHAN_H
#define API_CHAN_H

#include "api/internal.h"

enum chan_state { CHAN_SHAKE, CHAN_IDLE, CHAN_HEAD, CHAN_BODY, CHAN_BUSY, CHAN_STREAM, CHAN_LAST, CHAN_LINGER, CHAN_TUNNEL };

struct chan {
	struct chan *prev, *next;
	struct listener *listener;
	struct bufferevent *bev;
	struct tls_guest *guest; /* NULL: a unix socket, or plain */
	struct event *deadline;
	struct address *address;
	struct sockaddr_storage addr;
	char peer[80];
	enum chan_state state;
	bool local, plain, working, more;
	struct call *call;
	struct tunnel *tunnel;   /* CHAN_TUNNEL */
	struct http_chunks chunks;
	uint64_t left;           /* of the body, when it is not in chunks */
	size_t lingered;
	size_t unsent;           /* of the answer, when the deadline was looked at last */
};

/* In <seconds> it ends, or what its state says. */
void chan_deadline(struct chan *c, unsigned seconds);
/* It came to nothing: say so. */
void chan_refused(struct chan *c, const struct net_failure *f);
bool chan_fd_is_ours(evutil_socket_t fd); /* a unix socket's other end is root, or whoever we are ourselves */

#endif
