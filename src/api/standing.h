/* Between the request for a certificate and the signer's answer its owner may be removed or disabled: how he stood, and whether he still does.
 * Private to api/. */
#ifndef API_STANDING_H
#define API_STANDING_H

#include "api/internal.h"

struct standing {
	bool device;      /* there is one of that common name */
	enum registry_device_state state;
	int64_t created;  /* another one of the same name, of another second, is another one */
};
void standing_of(struct registry *r, struct slice cn, struct standing *ret);
/* For who asks in the device's own name: ERR_DENIED unless it is enabled, and none of its certificates is on hold. A name that no device has is
 * judged by others. */
bool standing_may(struct registry *r, struct slice cn, struct err *err);
/* Book what was signed, if the owner of its common name stands as <then>, or better. Else it is booked as revoked, which goes to its CA's list,
 * and ERR_DENIED or ERR_MISSING says why it must not go out; so it is when its secret was withdrawn. */
bool standing_book(struct api *a, const struct registry_certificate_new *n, const struct standing *then, struct err *err);
/* It must not go out: booked as revoked, whatever else is known of it. */
void standing_void(struct api *a, const struct registry_certificate *x);

#endif
