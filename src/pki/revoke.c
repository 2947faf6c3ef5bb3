/* Take a certificate back: a line in its CA's index, and a new revocation list in DIR/crls/CA.pem, which a broker that has
 * "crlfile DIR/crls" takes over at once. */
#include "pki/crl.h"

#include <stdio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

static const char *const reasons[] = { "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
	"cessationOfOperation", "certificateHold", NULL, NULL, "privilegeWithdrawn" };

bool
pki_reason_parse(struct slice name, int *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		if (reasons[i] != NULL && slice_eq(name, slice_str(reasons[i]))) {
			*ret = (int)i;
			return true;
		}
	}
	return false;
}

/* ---- the list ---- */

static bool
hex_bytes(const char *hex, uint8_t *out, size_t cap, size_t *ret_n)
{
	long n;
	unsigned char *v = OPENSSL_hexstr2buf(hex, &n);
	bool ok = v != NULL && n > 0 && (size_t)n <= cap;

	if (ok) {
		memcpy(out, v, (size_t)n);
		*ret_n = (size_t)n;
	}
	OPENSSL_free(v);
	return ok;
}

static bool
add_entry(X509_CRL *c, const struct pki_entry *e)
{
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_ENUMERATED *why = ASN1_ENUMERATED_new();
	ASN1_TIME *when = ASN1_TIME_set(NULL, (time_t)e->revoked_at);
	uint8_t serial[AUTHZ_SERIAL_MAX];
	size_t n = 0;
	BIGNUM *bn = hex_bytes(e->serial, serial, sizeof serial, &n) ? BN_bin2bn(serial, (int)n, NULL) : NULL;
	ASN1_INTEGER *number = bn != NULL ? BN_to_ASN1_INTEGER(bn, NULL) : NULL;
	bool ok = r != NULL && why != NULL && when != NULL && number != NULL && X509_REVOKED_set_serialNumber(r, number) == 1 &&
	    X509_REVOKED_set_revocationDate(r, when) == 1;

	/* "unspecified" is said by saying nothing (RFC 5280 5.3.1). */
	if (ok && e->reason > 0)
		ok = ASN1_ENUMERATED_set(why, e->reason) == 1 && X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, why, 0, 0) == 1;
	ok = ok && X509_CRL_add0_revoked(c, r) == 1;
	if (!ok)
		X509_REVOKED_free(r);
	ASN1_ENUMERATED_free(why);
	ASN1_TIME_free(when);
	ASN1_INTEGER_free(number);
	BN_free(bn);
	return ok;
}

struct first {
	struct crl *crl;
	const char *name;
};

static bool
keep_first(void *ctx, struct slice der, struct err *err)
{
	struct first *f = ctx;

	if (f->crl == NULL)
		f->crl = crl_new(der, f->name, err);
	return f->crl != NULL;
}

/* Above that of the list that is there, and never below that of one which got lost: the time is a number that rises. */
static uint64_t
next_number(const char *path, int64_t now)
{
	struct first f = { .name = path };
	struct err err = { 0 };
	uint64_t number = 0;
	uint8_t *data;
	size_t n;

	if (file_read(path, CRL_FILE_MAX, &data, &n, &err)) {
		(void)crls_parse(data, n, path, keep_first, &f, &err);
		free(data);
	}
	for (size_t i = 0; f.crl != NULL && f.crl->number_n <= sizeof number && i < f.crl->number_n; i++)
		number = number << 8 | f.crl->number[i];
	crl_unref(f.crl);
	return NUM_MAX(number + 1, (uint64_t)now);
}

static bool
add_extensions(X509_CRL *c, const struct ca *ca, uint64_t number)
{
	ASN1_INTEGER *n = ASN1_INTEGER_new();
	AUTHORITY_KEYID *id = AUTHORITY_KEYID_new();
	const ASN1_OCTET_STRING *key = X509_get0_subject_key_id(ca->cert);
	bool ok = n != NULL && id != NULL && ASN1_INTEGER_set_uint64(n, number) == 1 &&
	    X509_CRL_add1_ext_i2d(c, NID_crl_number, n, 0, 0) == 1;

	if (ok && key != NULL) {
		id->keyid = ASN1_OCTET_STRING_dup(key);
		ok = id->keyid != NULL && X509_CRL_add1_ext_i2d(c, NID_authority_key_identifier, id, 0, 0) == 1;
	}
	ASN1_INTEGER_free(n);
	AUTHORITY_KEYID_free(id);
	return ok;
}

static X509_CRL *
make_list(const struct ca *ca, const struct index *x, uint64_t number, int64_t now, int64_t until)
{
	X509_CRL *c = X509_CRL_new();
	ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)now), *to = ASN1_TIME_set(NULL, (time_t)until);
	bool ok = c != NULL && from != NULL && to != NULL && X509_CRL_set_version(c, X509_CRL_VERSION_2) == 1 &&
	    X509_CRL_set_issuer_name(c, X509_get_subject_name(ca->cert)) == 1 && X509_CRL_set1_lastUpdate(c, from) == 1 &&
	    X509_CRL_set1_nextUpdate(c, to) == 1;

	for (size_t i = 0; ok && i < x->n; i++)
		ok = x->entries[i].status != PKI_REVOKED || add_entry(c, &x->entries[i]);
	ok = ok && X509_CRL_sort(c) == 1 && add_extensions(c, ca, number) && X509_CRL_sign(c, ca->key, key_digest(ca->key)) > 0;
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	if (ok)
		return c;
	X509_CRL_free(c);
	return NULL;
}

static bool
write_list(const struct pki_revocation *r, const struct ca *ca, const struct index *x, char ret_path[PKI_PATH_MAX], struct err *err)
{
	int64_t now = pki_clock(r->now), until = time_of(X509_get0_notAfter(ca->cert));
	char dir[PKI_PATH_MAX], name[64];
	auto_bio bio = BIO_new(BIO_s_mem());
	auto_crl c = NULL;
	char *pem;
	long n;

	(void)snprintf(name, sizeof name, "%s.pem", ca->name);
	if (!home_path(dir, r->dir, "crls", err) || !dir_make(dir, 0755, err))
		return false;
	if (!path_join(ret_path, PKI_PATH_MAX, dir, name))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	if (r->days > 0)
		until = NUM_MIN(until, now + (int64_t)r->days * 86400);
	c = make_list(ca, x, next_number(ret_path, now), now, until);
	if (c == NULL || bio == NULL || PEM_write_bio_X509_CRL(bio, c) != 1)
		return crypto_err(err, "cannot make the revocation list of %s", ca->name);
	n = BIO_get_mem_data(bio, &pem);
	return file_write(ret_path, slice_of(pem, (size_t)n), 0644, FILE_REPLACE, err);
}

/* ---- whom ---- */

/* Every certificate of that name that could still be used, or the one with that serial number. */
static bool
mark_named(const struct pki_revocation *r, struct index *x, struct pki_revoked *ret, struct err *err)
{
	int64_t now = pki_clock(r->now);
	bool any = false;

	for (size_t i = 0; i < x->n; i++) {
		struct pki_entry *e = &x->entries[i];

		if (strcmp(e->cn, r->what) != 0 && strcasecmp(e->serial, r->what) != 0)
			continue;
		any = any || e->status == PKI_REVOKED;
		if (e->status == PKI_REVOKED || e->not_after <= now)
			continue;
		if (!index_revoke(x, e->serial, r->reason, now, err))
			return false;
		ret->n++;
	}
	return ret->n > 0 || any ||
	    err_set(err, ERR_MISSING, "%s has not issued a certificate \"%s\" that could be revoked", r->ca, r->what);
}

/* A certificate that is shown, as that of a CA below, which no index has. */
static bool
mark_file(const struct pki_revocation *r, const struct ca *ca, struct index *x, struct pki_revoked *ret, struct err *err)
{
	auto_x509 cert = cert_read_one(r->cert_file, err);
	uint8_t serial[AUTHZ_SERIAL_MAX];
	char hex[2 * AUTHZ_SERIAL_MAX + 1], why[128];
	auto_str cn = NULL;
	size_t i;

	if (cert == NULL)
		return false;
	if (X509_verify(cert, X509_get0_pubkey(ca->cert)) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_INPUT, "%s: was not issued by the CA %s", r->cert_file, ca->name);
	}
	(void)text_hex(slice_of(serial, serial_bytes(X509_get0_serialNumber(cert), serial)), hex, sizeof hex);
	for (i = 0; i < x->n && strcasecmp(x->entries[i].serial, hex) != 0; i++)
		;
	if (i < x->n && x->entries[i].status == PKI_REVOKED)
		return true;
	(void)name_cn(X509_get_subject_name(cert), &cn, why, sizeof why);
	if (i == x->n && !cert_book(x, ca->dir, ca->name, cert, X509_check_ca(cert) != 0 ? PROFILE_ROLE_CA : PROFILE_CLIENT,
			     cn != NULL ? cn : "-", err))
		return false;
	ret->n++;
	return index_revoke(x, x->entries[i].serial, r->reason, pki_clock(r->now), err);
}

bool
pki_revoke(const struct pki_revocation *r, struct pki_revoked *ret, struct err *err)
{
	struct pki_revoked done = { .n = 0 };
	struct ca ca = { 0 };
	struct index x = { .fd = -1 };
	bool ok = ca_open(&ca, r->dir, r->ca, true, r->secret, err) && index_open(&x, ca.dir, r->ca, pki_clock(r->now), true, err);

	if (ok && r->cert_file != NULL)
		ok = mark_file(r, &ca, &x, &done, err);
	else if (ok && r->what != NULL)
		ok = mark_named(r, &x, &done, err);
	ok = ok && write_list(r, &ca, &x, done.path, err);
	index_done(&x);
	ca_done(&ca);
	if (ok)
		*ret = done;
	return ok;
}
