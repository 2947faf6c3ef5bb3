/* Where a device goes with its secret. Private to api/. */
#ifndef API_ENROL_URI_H
#define API_ENROL_URI_H

#include "api/internal.h"
#include "enrol/enrol.h"

/* HOST:PORT under which a device reaches this API: <asked>, else as configured, else as the asker has reached it. */
bool enrol_host(const struct call *c, struct slice asked, char *out, size_t cap);
/* The root of the installation, as PEM (free()), and the SHA-256 of its certificate in hex. NULL and <err>. */
char *enrol_root(const struct api *a, char ret_sha256[static 65], struct err *err);
/* The token of a secret, for the host that the call's body names. <device> empty: a fleet's. */
bool enrol_uri(const struct call *c, struct slice device, struct slice secret, char out[static ENROL_TOKEN_CAP], struct err *err);

#endif
