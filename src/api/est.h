/* EST (RFC 7030) inside control. Private to api/. */
#ifndef API_EST_H
#define API_EST_H

#include "api/enrol.h"
#include "api/standing.h"

enum est_kind { EST_ENROLL, EST_REENROLL, EST_KEYGEN };
struct est {
	enum est_kind kind;
	struct pki_est_request request;
	uint8_t der[PKI_EST_REQUEST_MAX]; /* the request as it came */
	size_t der_n;
	struct pki_pair pair;             /* of EST_KEYGEN: in the place of the request's key */
	struct standing standing;         /* of who is to get it, by his certificate */
	bool foreign;                     /* the certificate that is shown is a factory's */
	char ca[REGISTRY_NAME_MAX + 1], profile[REGISTRY_NAME_MAX + 1], cn[5 * REGISTRY_NAME_MAX + 2];
};
/* What is to be signed. */
struct slice est_csr(const struct est *e);
/* Hand it out; frees the call. */
void est_answer(struct call *c, struct slice der);
/* A request that is no good: 400 with the reason. */
void est_refuse(struct call *c, const struct err *why);

/* est_who.c: who asks, and may he have it? By name and secret (HTTP Basic), or by the certificate that he has. Answers in the end. */
void est_take(struct call *c);

#endif
