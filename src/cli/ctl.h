/* Private to cli/: questions to the running broker (server/control.c answers them). */
#ifndef CLI_CTL_H
#define CLI_CTL_H

#include <jansson.h>
#include "base/err.h"

struct ctl {
	const char *dir;    /* the installation, whose signet.conf names the socket; NULL: as site_dir() finds it */
	const char *socket; /* or this */
};
/* <request> is borrowed, *ret the caller's. False: nobody answers, or the broker refused, and <err> says so. */
bool ctl_ask(const struct ctl *t, const char *command, const json_t *request, json_t **ret, struct err *err);

#endif
