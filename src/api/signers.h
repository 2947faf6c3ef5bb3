/* What handlers need of the signer. Private to api/. */
#ifndef API_SIGNERS_H
#define API_SIGNERS_H

#include "api/internal.h"
#include "signer/signer.h"

/* The signer, to ask it something for <c>; NULL: it is not there, and the call is answered (503). signers_asked() after it. */
struct signer_client *call_signer(struct call *c);
struct signer_client *signers_client(struct api *a); /* NULL: it is not there */
void signers_asked(struct api *a);
/* Take <fd> as the signer's socket, in the place of another one. */
bool signers_connect(struct api *a, int fd);
/* What it made, as the registry has it; borrowed. */
void issued_fill(const struct signer_issued *s, struct registry_certificate *ret);
/* By which CA and profile the device or end entity <cn> gets its certificates; without an end entity, those of devices. */
void issue_terms(struct registry *r, struct slice cn, char ret_ca[static REGISTRY_NAME_MAX + 1], char ret_profile[static REGISTRY_NAME_MAX + 1]);
/* Ask the signer for its CAs, and take them into the registry. */
void cas_import(struct api *a);
/* A CA's certificate into the registry; what was said of it there stays. <role>: of one whose key is elsewhere. */
struct x509_st;
struct cas_entry {
	const char *name, *role; /* NULL: one of this installation, whose name says it */
	struct slice der;
	bool own;
};
bool cas_put(struct api *a, const struct cas_entry *e, struct x509_st *x, struct err *err);
/* What was asked for is in the registry, and the list is not published because of <err>. */
void lists_pending(struct call *c, const struct err *err);

#endif
