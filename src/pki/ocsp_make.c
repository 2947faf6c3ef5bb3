/* An OCSP answer made beforehand, for a server that shows it with its certificate: what the CA's index says of one certificate. */
#include "pki/internal.h"

#include <openssl/err.h>

enum { DAY_S = 86400, OCSP_DAYS = 7 };

static const struct pki_entry *
find_entry(const struct index *x, const char *serial)
{
	for (size_t i = 0; i < x->n; i++)
		if (strcasecmp(x->entries[i].serial, serial) == 0)
			return &x->entries[i];
	return NULL;
}

static bool
sign_and_write(const struct pki_ocsp_order *o, const struct ca *ca, const struct pki_ocsp_single *v, const struct pki_ocsp_made *m,
    struct err *err)
{
	struct pki_ocsp_signing s = { .cert = ca->cert, .key = ca->key, .this_update = m->from, .next_update = m->until };
	uint8_t *der = NULL;
	size_t n = 0;
	bool ok = note_ocsp(o->dir, ca->name, m->serial, pki_ocsp_status_name(m->status), err) && pki_ocsp_sign(&s, v, 1, &der, &n, err) &&
	    file_write(o->out, slice_of(der, n), 0644, FILE_REPLACE, err);

	free(der);
	return ok;
}

static bool
make_answer(const struct pki_ocsp_order *o, const struct ca *ca, const struct index *x, struct pki_ocsp_made *m, struct err *err)
{
	int64_t now = pki_clock(o->now);
	auto_x509 cert = NULL;
	struct pki_ocsp_single v = { .reason = -1 };
	const struct pki_entry *e;
	uint8_t serial[AUTHZ_SERIAL_MAX];
	struct pki_ocsp_id id;
	STACK_OF(X509) *list;

	if (!certs_read(o->cert_file, &list, err))
		return false;
	cert = sk_X509_shift(list);
	sk_X509_pop_free(list, X509_free);
	if (X509_verify(cert, X509_get0_pubkey(ca->cert)) != 1 || !ocsp_id_for(ca->cert, EVP_sha1(), pki_cert_serial(cert, serial), &id)) {
		ERR_clear_error();
		return err_set(err, ERR_INPUT, "%s: was not issued by the CA %s", o->cert_file, ca->name);
	}
	(void)text_hex(slice_of(id.serial, id.serial_n), m->serial, sizeof m->serial);
	e = find_entry(x, m->serial);
	m->status = e == NULL ? PKI_OCSP_UNKNOWN : e->status == PKI_REVOKED ? PKI_OCSP_REVOKED : PKI_OCSP_GOOD;
	m->from = now;
	m->until = NUM_MIN(now + (int64_t)(o->days > 0 ? o->days : OCSP_DAYS) * DAY_S, time_of(X509_get0_notAfter(ca->cert)));
	v.id = &id;
	v.status = m->status;
	if (m->status == PKI_OCSP_REVOKED) {
		v.revoked_at = e->revoked_at;
		v.reason = e->reason;
	}
	return sign_and_write(o, ca, &v, m, err);
}

bool
pki_ocsp_make(const struct pki_ocsp_order *o, struct pki_ocsp_made *ret, struct err *err)
{
	struct pki_ocsp_made m = { .until = 0 };
	struct index x = { .fd = -1 };
	struct ca ca = { 0 };
	bool ok = ca_open(&ca, o->dir, o->ca, true, o->secret, err) && index_open(&x, ca.dir, o->ca, pki_clock(o->now), false, err) &&
	    make_answer(o, &ca, &x, &m, err);

	index_done(&x);
	ca_done(&ca);
	if (ok)
		*ret = m;
	return ok;
}
