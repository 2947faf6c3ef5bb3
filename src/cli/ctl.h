/* Private to cli/: questions to the running broker (server/control.c answers them). */
#ifndef CLI_CTL_H
#define CLI_CTL_H

#include <jansson.h>
#include "base/err.h"

struct ctl {
	const char *dir;    /* the installation, whose signet.conf names the socket; NULL: as site_dir() finds it */
	const char *socket; /* or this */
	unsigned wait_s;    /* for the answer; 0: 30 */
};
/* <request> is borrowed, *ret the caller's. False: nobody answers, or the broker refused, and <err> says so. */
bool ctl_ask(const struct ctl *t, const char *command, const json_t *request, json_t **ret, struct err *err);

/* ---- device_renew.c: certificates that devices ask for over MQTT ---- */

struct pki_secret;
struct device_order {
	struct ctl ctl;
	const char *name, *serial; /* <serial>: of the certificate that was shown; NULL: there is but one of the name */
	unsigned days;             /* 0: the CA's */
	const struct pki_secret *secret;
};
bool device_pending(const struct ctl *t, bool json, struct err *err);
bool device_approve(const struct device_order *d, struct err *err);
bool device_refuse(const struct device_order *d, struct err *err);

#endif
