/* The web console of a listener. Private to server/. */
#ifndef SERVER_PAGES_H
#define SERVER_PAGES_H

#include "ws/ws.h"

struct listener;

/* What it answers to browsers that ask for no WebSocket; holds <l>. */
struct ws_pages pages_of(struct listener *l);

#endif
