/* Enrolment: who shows a secret gets a certificate. Private to api/; docs/enrolment.md explains it. */
#ifndef API_ENROL_H
#define API_ENROL_H

#include "api/internal.h"

enum {
	ENROL_SECRET_N = 16,  /* random bytes of a secret; its text is their hex */
	ENROL_SECRET_CAP = 2 * ENROL_SECRET_N + 1,
	ENROL_CSR_MAX = 16384,
};

/* Who wants what, and what is shown for it. */
struct enrol_order {
	struct slice device; /* as he calls himself: an id or a common name; empty: whom the secret is for */
	struct slice secret; /* as it was shown: any text, of which the registry has the SHA-256 */
	struct slice csr;    /* PKCS#10, DER or PEM */
	const char *origin;  /* "enrol", "est", …: of the certificate in the registry; static */
	bool again;          /* who asks once more with the same key, as he has not heard the answer, gets it again */
};
struct enrolled {
	struct slice tenant, device, cn; /* whose it is; a device that a fleet's secret made is new */
	struct slice der;
	const char *ca, *serial, *fingerprint; /* lower-case hex */
	int64_t not_before, not_after;
};
/* How it ended; answers the call. NULL: nothing was issued, and the secret is as good as before: <why> is ERR_DENIED (unknown, void or somebody
 * else's; the text may be shown and does not say which), ERR_LIMIT (too many wrong ones from there, or the signer is busy), ERR_INPUT (the request),
 * ERR_EXISTS (a fleet's secret, and the device is there already), ERR_SYSTEM or ERR_MEMORY. */
typedef void enrol_done(struct call *c, const struct enrolled *e, const struct err *why);
/* THE way to a certificate by a secret: rationed by address and name, one use taken while the signer works, booked in the registry before
 * anybody has it, audited. <done> is called exactly once, perhaps before this returns, unless the process ends. Everything of <o> is copied. */
void enrol_take(struct call *c, const struct enrol_order *o, enrol_done *done);
/* The problem document for it: 401, 429, 422, 409 or 503. */
void enrol_problem(struct call *c, const struct err *why);

bool enrol_open(struct api *a, struct err *err);
void enrol_close(struct api *a);

#endif
