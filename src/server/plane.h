/* Private to server/: control under a user of its own (plane_user.c). */
#ifndef SERVER_PLANE_H
#define SERVER_PLANE_H

#include "server/internal.h"

/* Give him what control writes to: the folder of the registry with what is in it, and DIR/crls. False: he could not work there (*ret_why),
 * and nothing was given. As root, before there is a thread. */
enum { SERVER_WHY_MAX = 400 };
bool plane_give(const struct privileges *p, const char *dir, const char *registry, char ret_why[static SERVER_WHY_MAX]);
/* Become him; what the kernel forgets at that is said again. */
bool plane_become(const struct privileges *p, bool supervised, struct err *err);

#endif
