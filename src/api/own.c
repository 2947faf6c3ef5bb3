/* The certificate that broker and control show: it was issued beside control, which has to know of it to answer for it. */
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "api/signers.h"
#include "base/log.h"
#include "base/text.h"

struct search {
	X509 *leaf;
	char ca[REGISTRY_NAME_MAX + 1]; /* "": none of ours */
};

static bool
try_ca(void *ctx, const struct registry_ca *ca)
{
	struct search *s = ctx;
	const unsigned char *p = ca->der.p;
	X509 *x = ca->own ? d2i_X509(NULL, &p, (long)ca->der.n) : NULL;

	if (x != NULL && X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(s->leaf)) == 0 && X509_verify(s->leaf, X509_get0_pubkey(x)) == 1)
		(void)text_copy(s->ca, sizeof(s->ca), ca->name);
	X509_free(x);
	ERR_clear_error();
	return s->ca[0] == '\0';
}

static bool
import(struct api *a, const struct search *s, struct slice der, struct err *err)
{
	struct registry_certificate c = { .ca = slice_str(s->ca), .profile = SL("server"), .origin = SL("serve"), .by = SL("serve"), .der = der,
		.not_before = x509_seconds(X509_get0_notBefore(s->leaf)), .not_after = x509_seconds(X509_get0_notAfter(s->leaf)) };
	uint8_t serial[AUTHZ_SERIAL_MAX], print[EVP_MAX_MD_SIZE];
	char cn[5 * REGISTRY_NAME_MAX];
	unsigned n;

	if (!pki_common_name(s->leaf, cn, sizeof(cn)) || X509_digest(s->leaf, EVP_sha256(), print, &n) != 1)
		return err_set(err, ERR_INPUT, "it cannot be read");
	c.cn = slice_str(cn);
	(void)text_hex(pki_cert_serial(s->leaf, serial), c.serial, sizeof(c.serial));
	(void)text_hex(slice_of(print, n), c.fingerprint, sizeof(c.fingerprint));
	return registry_certificate_import(a->registry, &c, NULL, err);
}

void
own_import(struct api *a)
{
	struct slice der = a->config->certificate;
	const unsigned char *p = der.p;
	struct search s = { .leaf = der.n > 0 ? d2i_X509(NULL, &p, (long)der.n) : NULL };
	struct err err;

	if (s.leaf == NULL)
		return;
	if (!registry_ca_each(a->registry, try_ca, &s, &err) || (s.ca[0] != '\0' && !import(a, &s, der, &err)))
		log_warning("The broker's own certificate is not taken into the registry: %s.", err.text);
	X509_free(s.leaf);
}
