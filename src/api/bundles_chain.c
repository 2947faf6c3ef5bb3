/* The CAs' certificates in a bundle. */
#include "api/bundles.h"

#include <openssl/pem.h>
#include <stdlib.h>

#include "base/text.h"

enum { CHAIN_MAX = 8 };

static bool
add_pem(BIO *b, struct slice der)
{
	return PEM_write_bio(b, "CERTIFICATE", "", der.p, (long)der.n) > 0;
}

/* The CAs from <ca> up: all but the last to <chain>, the last to <root>; either NULL: nowhere. */
static bool
write_cas(struct call *c, const char *ca, BIO *chain, BIO *root)
{
	char name[REGISTRY_NAME_MAX + 1];
	bool ok = true, top = false;

	(void)text_copy(name, sizeof(name), slice_str(ca));
	for (unsigned i = 0; ok && !top && i < CHAIN_MAX; i++) {
		struct registry_ca x;
		BIO *to;

		if (!registry_ca_get(c->api->registry, slice_str(name), &x, NULL))
			return false;
		top = x.parent.n == 0;
		to = top ? root : chain;
		ok = x.der.n > 0 && (to == NULL || add_pem(to, x.der));
		(void)text_copy(name, sizeof(name), x.parent);
		free(x.mem);
	}
	return ok && top;
}

bool
bundles_chain(struct call *c, struct slice leaf, const char *ca, BIO *chain, BIO *root)
{
	struct registry_ca x;
	bool cloud = registry_ca_get(c->api->registry, SL("cloud"), &x, NULL);

	if (cloud)
		free(x.mem);
	return (leaf.n == 0 || add_pem(chain, leaf)) && write_cas(c, ca, leaf.n > 0 ? chain : NULL, cloud ? NULL : root) &&
	    (!cloud || write_cas(c, "cloud", NULL, root));
}
