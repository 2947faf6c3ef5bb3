/* signet inspect: files with several things in one wrapping, PKCS#12 (RFC 7292) and PKCS#7 (RFC 2315). */
#include "pki/inspect.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/pkcs7.h>

enum { MAC_ROUNDS_MAX = 10000000 }; /* one that asks for more only wants to keep us busy */

static void
show_certs(const struct look *l, STACK_OF(X509) *list)
{
	for (int i = 0; i < sk_X509_num(list); i++)
		look_cert(l, sk_X509_value(list, i), 0);
}

static void
put_count(const struct look *l, const char *name, int n)
{
	char text[16];

	(void)snprintf(text, sizeof text, "%d", NUM_MAX(n, 0));
	look_put(l, name, text);
}

bool
look_pkcs7(const struct look *l, struct slice der, unsigned line)
{
	const unsigned char *at = der.p;
	PKCS7 *p = d2i_PKCS7(NULL, &at, (long)der.n);
	STACK_OF(X509) *certs = NULL;
	STACK_OF(X509_CRL) *crls = NULL;

	ERR_clear_error();
	if (p == NULL)
		return false;
	if (PKCS7_type_is_signed(p) && p->d.sign != NULL) {
		certs = p->d.sign->cert;
		crls = p->d.sign->crl;
	}
	look_begin(l, "PKCS#7 bundle", line);
	put_count(l, "certificates", sk_X509_num(certs));
	put_count(l, "crls", sk_X509_CRL_num(crls));
	show_certs(l, certs);
	for (int i = 0; i < sk_X509_CRL_num(crls); i++)
		look_crl(l, sk_X509_CRL_value(crls, i), 0);
	PKCS7_free(p);
	ERR_clear_error();
	return true;
}

/* Many are made without a passphrase, which has two spellings. */
static bool
opens_bare(PKCS12 *p, const char **ret)
{
	*ret = NULL;
	if (PKCS12_mac_present(p) == 0 || PKCS12_verify_mac(p, NULL, 0) == 1)
		return true;
	*ret = "";
	return PKCS12_verify_mac(p, "", 0) == 1;
}

static bool
rounds_are_sane(const PKCS12 *p)
{
	const ASN1_INTEGER *rounds = NULL;
	int64_t n = 1;

	PKCS12_get0_mac(NULL, NULL, NULL, &rounds, p);
	return rounds == NULL || (ASN1_INTEGER_get_int64(&n, rounds) == 1 && n >= 1 && n <= MAC_ROUNDS_MAX);
}

static bool
show_contents(const struct look *l, PKCS12 *p, const char *pass)
{
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	STACK_OF(X509) *more = NULL;

	if (PKCS12_parse(p, pass, &key, &cert, &more) != 1) {
		bool old = ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_EVP;

		ERR_clear_error();
		return err_set(l->err, ERR_INPUT, "%s: is a PKCS#12 file whose contents cannot be read%s", l->name,
		    old ? ": it uses an old cipher; \"openssl pkcs12 -legacy\" opens it" : ": it is damaged");
	}
	look_begin(l, "PKCS#12 bundle", 0);
	look_put(l, "integrity", PKCS12_mac_present(p) == 1 ? "good" : "not protected");
	put_count(l, "certificates", NUM_MAX(sk_X509_num(more), 0) + (cert != NULL));
	if (key != NULL)
		look_key(l, key, 0);
	if (cert != NULL)
		look_cert(l, cert, 0);
	show_certs(l, more);
	EVP_PKEY_free(key);
	X509_free(cert);
	sk_X509_pop_free(more, X509_free);
	ERR_clear_error();
	return true;
}

static bool
show_locked(const struct look *l, PKCS12 *p)
{
	char pass[PKI_PASSPHRASE_MAX + 1];
	bool ok;

	if (l->v->secret == NULL) {
		look_begin(l, "PKCS#12 bundle", 0);
		look_put(l, "encrypted", "yes");
		return true;
	}
	if (!l->v->secret->get(l->v->secret->ctx, l->name, false, pass, sizeof pass, l->err))
		return false;
	if (PKCS12_verify_mac(p, pass, (int)strlen(pass)) == 1)
		ok = show_contents(l, p, pass);
	else
		ok = err_set(l->err, ERR_INPUT, "%s: the passphrase is wrong", l->name);
	secret_wipe(pass, sizeof pass);
	ERR_clear_error();
	return ok;
}

bool
look_pkcs12(const struct look *l, struct slice der, bool *ret_ok)
{
	const unsigned char *at = der.p;
	PKCS12 *p = d2i_PKCS12(NULL, &at, (long)der.n);
	const char *pass;

	ERR_clear_error();
	if (p == NULL)
		return false;
	if (!rounds_are_sane(p))
		*ret_ok = err_set(l->err, ERR_INPUT, "%s: is a PKCS#12 file that asks for an absurd number of rounds", l->name);
	else
		*ret_ok = opens_bare(p, &pass) ? show_contents(l, p, pass) : show_locked(l, p);
	PKCS12_free(p);
	return true;
}
