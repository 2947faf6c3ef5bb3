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

static X509_CRL *
make_list(const struct ca *ca, const struct index *x, const struct crl_terms *t, size_t *ret_n, struct err *err)
{
	struct crl_draft d;
	bool ok = crl_begin(&d, ca->cert, t, err);

	for (size_t i = 0; ok && i < x->n; i++) {
		const struct pki_entry *e = &x->entries[i];
		uint8_t serial[AUTHZ_SERIAL_MAX];
		size_t n = 0;

		if (e->status == PKI_REVOKED)
			ok = (hex_bytes(e->serial, serial, sizeof serial, &n) || err_set(err, ERR_INPUT, "a serial number is damaged")) &&
			     crl_add(&d, slice_of(serial, n), e->revoked_at, e->reason, err);
	}
	*ret_n = ok ? d.n : 0;
	if (ok)
		return crl_finish(&d, ca->key, err);
	crl_drop(&d);
	return NULL;
}

static bool
write_list(const struct pki_revocation *r, const struct ca *ca, const struct index *x, char ret_path[PKI_PATH_MAX], struct err *err)
{
	int64_t now = pki_clock(r->now);
	struct crl_terms terms = { .from = now, .until = r->days > 0 ? now + (int64_t)r->days * 86400 : INT64_MAX };
	char dir[PKI_PATH_MAX], name[64];
	auto_bio bio = BIO_new(BIO_s_mem());
	auto_crl c = NULL;
	size_t entries;
	char *pem;
	long n;

	(void)snprintf(name, sizeof name, "%s.pem", ca->name);
	if (!home_path(dir, r->dir, "crls", err) || !dir_make(dir, 0755, err))
		return false;
	if (!path_join(ret_path, PKI_PATH_MAX, dir, name))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	terms.number = next_number(ret_path, now);
	c = make_list(ca, x, &terms, &entries, err);
	if (c == NULL || !note_crl(r->dir, ca->name, terms.number, entries, err))
		return false;
	if (bio == NULL || PEM_write_bio_X509_CRL(bio, c) != 1)
		return crypto_err(err, "cannot write the revocation list of %s", ca->name);
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
		e->reason = r->reason;
		if (!note_certificate(r->dir, "revoke", e, err) || !index_revoke(x, e->serial, r->reason, now, err))
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
	x->entries[i].reason = r->reason;
	return note_certificate(r->dir, "revoke", &x->entries[i], err) && index_revoke(x, x->entries[i].serial, r->reason, pki_clock(r->now), err);
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
