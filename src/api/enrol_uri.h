/* Where a device goes with its secret: signet://HOST:PORT/DEVICE?ca=SHA256#SECRET. Private to api/. */
#ifndef API_ENROL_URI_H
#define API_ENROL_URI_H

#include "api/internal.h"

/* HOST:PORT under which a device reaches this API: as the request says, else as configured, else as the asker has reached it. */
bool enrol_host(const struct call *c, struct slice asked, char *out, size_t cap);
/* The root of the installation, as PEM; free(). NULL and <err>. */
char *enrol_root(const struct api *a, struct err *err);
enum { ENROL_URI_CAP = 1200 };
struct enrol_uri {
	const char *host;
	struct slice device, secret; /* device empty: a fleet's */
};
bool enrol_uri(const struct api *a, const struct enrol_uri *u, char out[static ENROL_URI_CAP], struct err *err);

#endif
