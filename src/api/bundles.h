/* Parts of bundles. Private to api/. */
#ifndef API_BUNDLES_H
#define API_BUNDLES_H

#include <openssl/bio.h>
#include "api/internal.h"

/* PEM. <chain>: the certificate <leaf> (empty: none, and nothing) and the CAs above it, which <ca> is the first of, but for their root. <root>: the
 * one by which the broker is known. That may be another one: the broker's certificate is of the CA cloud, and an adopted CA of devices has a root of
 * its own. */
bool bundles_chain(struct call *c, struct slice leaf, const char *ca, BIO *chain, BIO *root);

#endif
