/* The files that a client or a broker shows to its peer: do they belong together, are they in order, will they be taken? */
#include "pki/check.h"

#include <stdio.h>
#include <sys/stat.h>
#include <openssl/err.h>

struct bundle_look {
	struct checking c;
	const struct pki_bundle *b;
	STACK_OF(X509) *certs;
};

static bool
fault(const struct bundle_look *l, const char *remedy, const struct err *err)
{
	return found_err(&l->c, PKI_CHECK_FILES, err, remedy);
}

static bool
read_pem(const struct checking *c, const char *path, uint8_t **ret, size_t *ret_n)
{
	struct err err;
	const char *kind;

	if (!file_read(path, PKI_FILE_MAX, ret, ret_n, &err))
		return found_err(c, PKI_CHECK_FILES, &err, "check the path and who may read it");
	if (*ret_n > 0 && is_pem(slice_of(*ret, *ret_n)))
		return true;
	kind = file_kind(slice_of(*ret, *ret_n));
	(void)err_set(&err, ERR_INPUT, "%s: is not PEM but %s", path, kind);
	secret_free(*ret, *ret_n);
	return found_err(c, PKI_CHECK_FILES, &err,
	    "MQTT clients and brokers read PEM; \"openssl x509 -inform DER\" (or pkey) turns DER into it");
}

static bool
load_certs(struct bundle_look *l)
{
	struct err err;
	uint8_t *data;
	size_t n;
	bool ok;

	if (!read_pem(&l->c, l->b->cert, &data, &n))
		return false;
	ok = certs_parse(slice_of(data, n), l->b->cert, &l->certs, &err);
	secret_free(data, n); /* some keep the key in the same file */
	return ok || fault(l, "it must hold the certificate in PEM form, its intermediate behind it", &err);
}

static bool
check_mode(const struct bundle_look *l)
{
	struct pki_finding f = { .check = PKI_CHECK_FILES, .level = PKI_NOTE };
	struct stat st;
	char path[300];

	if (stat(l->b->key, &st) == -1 || (st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
		return true;
	(void)text_show(slice_str(l->b->key), path, sizeof path);
	(void)snprintf(f.text, sizeof f.text, "the private key %s may be read by others (mode %04o)", path,
	    (unsigned)st.st_mode & 07777u);
	(void)snprintf(f.remedy, sizeof f.remedy, "chmod 600 %s", path);
	return found(&l->c, &f);
}

/* Whose key is it, if not the first certificate's? */
static bool
pair_fault(const struct bundle_look *l, const EVP_PKEY *key)
{
	struct err err;

	for (int i = 1; i < sk_X509_num(l->certs); i++) {
		if (X509_check_private_key(sk_X509_value(l->certs, i), key) != 1)
			continue;
		ERR_clear_error();
		(void)err_set(&err, ERR_INPUT, "%s belongs to certificate %d of %s, and must belong to the first", l->b->key, i + 1,
		    l->b->cert);
		return fault(l, "put the certificates in order: the client's or broker's own first, then its intermediate", &err);
	}
	ERR_clear_error();
	(void)err_set(&err, ERR_INPUT, "%s does not belong to %s", l->b->key, l->b->cert);
	return fault(l, "find the key that was made for this certificate, or issue it anew for this key", &err);
}

static bool
check_key(const struct bundle_look *l)
{
	struct pki_finding f = { .check = PKI_CHECK_FILES, .level = PKI_NOTE };
	struct err err;
	uint8_t *data;
	size_t n;
	auto_pkey key = NULL;
	bool locked;

	if (l->b->key == NULL)
		return true;
	if (!read_pem(&l->c, l->b->key, &data, &n))
		return false;
	locked = pki_key_is_encrypted(slice_of(data, n));
	key = locked ? NULL : key_parse(slice_of(data, n), l->b->key, NULL, "the key", &err);
	secret_free(data, n);
	if (!check_mode(l))
		return false;
	if (locked) {
		(void)snprintf(f.text, sizeof f.text, "%s is encrypted: not compared with the certificate", l->b->key);
		(void)snprintf(f.remedy, sizeof f.remedy, "programs that start unattended need it unencrypted, with mode 0600");
		return found(&l->c, &f);
	}
	if (key == NULL)
		return fault(l, "it must hold the certificate's private key in PEM form", &err);
	return X509_check_private_key(sk_X509_value(l->certs, 0), key) == 1 || pair_fault(l, key);
}

/* Each certificate has to come from the one behind it (RFC 5246 7.4.2). */
static bool
check_order(const struct bundle_look *l)
{
	int n = sk_X509_num(l->certs);
	struct err err;
	char who[260];

	for (int i = 0; i + 1 < n; i++) {
		X509 *x = sk_X509_value(l->certs, i);
		bool elsewhere = false;

		if (cert_signed_by(x, sk_X509_value(l->certs, i + 1)))
			continue;
		for (int k = 0; k < n; k++)
			elsewhere = elsewhere || (k != i && cert_signed_by(x, sk_X509_value(l->certs, k)));
		(void)err_set(&err, ERR_INPUT, "%s: %s does not come from the certificate behind it%s", l->b->cert,
		    cert_who(x, who), elsewhere ? ", but from another in the file" : "");
		return found_err(&l->c, PKI_CHECK_CHAIN, &err,
		    elsewhere ? "put them in order: own certificate first, then its issuer, then the issuer's issuer" :
				"behind the certificate belongs its issuer's, and nothing else");
	}
	return found_fine(&l->c, PKI_CHECK_CHAIN, "%s: %d certificate%s in order", l->b->cert, n, n == 1 ? "" : "s");
}

/* Does <ca> know where the chain goes on? */
static bool
check_anchor(const struct bundle_look *l)
{
	struct pki_finding f = { .check = PKI_CHECK_CHAIN, .level = PKI_NOTE };
	X509 *last = sk_X509_value(l->certs, sk_X509_num(l->certs) - 1);
	STACK_OF(X509) *cas;
	auto_str issuer = NULL;
	bool named = false, ok = cert_is_self_issued(last);
	char shown[200], who[260];

	if (l->b->ca == NULL || ok || !certs_read(l->b->ca, &cas, NULL))
		return true;
	for (int i = 0; i < sk_X509_num(cas); i++) {
		const X509 *ca = sk_X509_value(cas, i);

		named = named || X509_NAME_cmp(X509_get_subject_name(ca), X509_get_issuer_name(last)) == 0;
		ok = ok || cert_signed_by(last, ca);
	}
	sk_X509_pop_free(cas, X509_free);
	if (ok)
		return true;
	issuer = name_text(X509_get_issuer_name(last));
	(void)text_show(slice_str(issuer), shown, sizeof shown);
	if (named) {
		f.level = PKI_FAULT;
		(void)snprintf(f.text, sizeof f.text, "%s bears the name of its issuer %s, but %s was signed with another key",
		    l->b->ca, shown, cert_who(last, who));
		(void)snprintf(f.remedy, sizeof f.remedy, "the CA was made anew, or comes from another installation: issue it again");
	} else {
		(void)snprintf(f.text, sizeof f.text, "the issuer of %s, %s, is in neither %s nor %s", cert_who(last, who), shown,
		    l->b->cert, l->b->ca);
		(void)snprintf(f.remedy, sizeof f.remedy,
		    "put the intermediate behind the certificate, unless the peer has it already");
	}
	return found(&l->c, &f);
}

static bool
check_subject(const struct bundle_look *l)
{
	struct pki_finding f = { .check = PKI_CHECK_NAME, .level = PKI_FAULT };
	X509 *leaf = sk_X509_value(l->certs, 0);
	char fault_text[128], names[200], shown[300], id[160];
	auto_str cn = NULL;

	if (l->b->server) {
		pki_list_names(leaf, names, sizeof names);
		return found_fine(&l->c, PKI_CHECK_NAME, "for %s", names);
	}
	if (cert_is_self_issued(leaf)) {
		(void)snprintf(f.text, sizeof f.text, "the certificate's subject equals its issuer");
		(void)snprintf(f.remedy, sizeof f.remedy, "let a CA issue it, with a common name that is not the CA's");
		return found(&l->c, &f);
	}
	if (!name_cn(X509_get_subject_name(leaf), &cn, fault_text, sizeof fault_text)) {
		(void)snprintf(f.text, sizeof f.text, "the certificate's common name cannot be an identity: it %s", fault_text);
		(void)snprintf(f.remedy, sizeof f.remedy,
		    "issue it again with one common name of 1 to 64 characters without '/', '+' and '#'");
		return found(&l->c, &f);
	}
	(void)text_show(slice_str(cn), shown, sizeof shown);
	if (l->b->client_id == NULL || strcmp(l->b->client_id, cn) == 0)
		return found_fine(&l->c, PKI_CHECK_NAME, "the common name is '%s'", shown);
	f.level = PKI_NOTE;
	(void)snprintf(f.text, sizeof f.text, "the common name is '%s', the client id '%s'", shown,
	    text_show(slice_str(l->b->client_id), id, sizeof id));
	(void)snprintf(f.remedy, sizeof f.remedy, "brokers that take the certificate as the identity want both to be the same");
	return found(&l->c, &f);
}

static bool
check_dates(const struct bundle_look *l)
{
	for (int i = sk_X509_num(l->certs); i > 0; i--)
		if (!check_time_of(&l->c, sk_X509_value(l->certs, i - 1), i == 1))
			return false;
	return true;
}

bool
pki_check_bundle(const struct pki_bundle *b, pki_found *each, void *ctx)
{
	struct bundle_look l = { .c = { each, ctx, pki_clock(b->now) }, .b = b };
	bool ok = load_certs(&l) && check_key(&l) &&
	    (b->key == NULL || found_fine(&l.c, PKI_CHECK_FILES, "%s and %s belong together", b->cert, b->key)) &&
	    check_order(&l) && (b->ca == NULL || pki_check_cas(b->ca, b->now, each, ctx)) && check_anchor(&l) &&
	    check_subject(&l) && check_dates(&l) && check_usage_of(&l.c, sk_X509_value(l.certs, 0), b->server);

	sk_X509_pop_free(l.certs, X509_free);
	return ok;
}

bool
pki_check_cas(const char *file, int64_t now, pki_found *each, void *ctx)
{
	struct checking c = { each, ctx, pki_clock(now) };
	STACK_OF(X509) *cas = NULL;
	struct err err;
	uint8_t *data;
	size_t n;
	char who[260];
	bool ok;

	if (!read_pem(&c, file, &data, &n))
		return false;
	ok = certs_parse(slice_of(data, n), file, &cas, &err);
	secret_free(data, n);
	if (!ok)
		return found_err(&c, PKI_CHECK_FILES, &err, "it must hold the CA's certificate in PEM form");
	for (int i = 0; ok && i < sk_X509_num(cas); i++) {
		X509 *x = sk_X509_value(cas, i);

		/* X.509 v1 has no basicConstraints; such roots are in use. */
		if (X509_get_version(x) < 2 || (X509_get_extension_flags(x) & EXFLAG_CA) != 0) {
			ok = check_time_of(&c, x, false);
			continue;
		}
		(void)err_set(&err, ERR_INPUT, "%s: %s is not that of a CA", file, cert_who(x, who));
		ok = found_err(&c, PKI_CHECK_FILES, &err, "give the certificate of the CA that issued it");
	}
	ok = ok && found_fine(&c, PKI_CHECK_FILES, "%s: %d CA certificate%s", file, sk_X509_num(cas),
		       sk_X509_num(cas) == 1 ? "" : "s");
	sk_X509_pop_free(cas, X509_free);
	return ok;
}
