/* What the folder's commands do goes into DIR/audit.log before it takes effect, as what the signer does. */
#include "pki/internal.h"

#include <stdio.h>
#include <openssl/err.h>
#include "audit/audit.h"

bool
note_certificates(const char *dir, const char *action, const struct pki_entry *const *v, size_t n, struct err *err)
{
	char path[PKI_PATH_MAX], from[32], to[32], actor[AUDIT_ACTOR_MAX + 1], reason[16];
	struct audit *a;
	bool ok;

	if (!path_join(path, sizeof path, dir, "audit.log"))
		return err_set(err, ERR_LIMIT, "%s: path too long", dir);
	a = audit_open(path, err);
	ok = a != NULL;
	for (size_t i = 0; i < n && ok; i++) {
		const struct pki_entry *e = v[i];
		struct audit_detail d[] = { { "ca", e->ca }, { "profile", e->profile }, { "serial", e->serial }, { "sha256", e->fingerprint },
			{ "not_before", time_stamp(e->not_before, from) }, { "not_after", time_stamp(e->not_after, to) }, { "reason", reason } };
		struct audit_record r = { .actor = audit_actor(actor), .action = action, .object = e->cn, .details = d,
			.n_details = ARRAY_LEN(d) - 1 };

		if (strcmp(action, "revoke") == 0) {
			(void)snprintf(reason, sizeof reason, "%d", e->reason);
			r.n_details++;
		}
		ok = audit_write(a, &r, NULL, err);
	}
	ok = ok && audit_sync(a, err);
	audit_close(a);
	return ok;
}

bool
note_certificate(const char *dir, const char *action, const struct pki_entry *e, struct err *err)
{
	return note_certificates(dir, action, &e, 1, err);
}

bool
note_ca(const char *dir, const char *action, const char *name, X509 *cert, struct err *err)
{
	char actor[AUDIT_ACTOR_MAX + 1], print[65] = "";
	uint8_t sum[32];
	struct audit_detail d[] = { { "sha256", print } };
	struct audit_record r = { .actor = audit_actor(actor), .action = action, .object = name, .details = d, .n_details = 1 };

	if (cert_fingerprint(cert, sum))
		(void)text_hex(slice_of(sum, sizeof sum), print, sizeof print);
	return audit_note(dir, &r, err);
}

bool
note_crl(const char *dir, const char *ca, uint64_t number, size_t n, struct err *err)
{
	char actor[AUDIT_ACTOR_MAX + 1], number_text[24], entries[24];
	struct audit_detail d[] = { { "number", number_text }, { "entries", entries } };
	struct audit_record r = { .actor = audit_actor(actor), .action = "crl", .object = ca, .details = d, .n_details = 2 };

	(void)snprintf(number_text, sizeof number_text, "%llu", (unsigned long long)number);
	(void)snprintf(entries, sizeof entries, "%zu", n);
	return audit_note(dir, &r, err);
}

bool
note_ocsp(const char *dir, const char *ca, const char *serial, const char *status, struct err *err)
{
	char actor[AUDIT_ACTOR_MAX + 1];
	struct audit_detail d[] = { { "serial", serial }, { "status", status } };
	struct audit_record r = { .actor = audit_actor(actor), .action = "ocsp", .object = ca, .details = d, .n_details = 2 };

	return audit_note(dir, &r, err);
}

static bool
signed_by(X509 *x, struct slice statement, struct slice signature)
{
	EVP_PKEY *key = X509_get0_pubkey(x);
	EVP_MD_CTX *ctx = key != NULL ? EVP_MD_CTX_new() : NULL;
	bool ok = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, key_digest(key), NULL, key) == 1 &&
	    EVP_DigestVerify(ctx, signature.p, signature.n, statement.p, statement.n) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

bool
pki_signed_by_der(struct slice cert, struct slice statement, struct slice signature, struct err *err)
{
	const unsigned char *p = cert.p;
	X509 *x = d2i_X509(NULL, &p, (long)cert.n);
	bool ok = x != NULL && signed_by(x, statement, signature);

	X509_free(x);
	ERR_clear_error();
	return ok || err_set(err, ERR_DENIED, "its signature is not by the CA's key");
}

bool
pki_signed_by(const char *cert_file, struct slice statement, struct slice signature, struct err *err)
{
	STACK_OF(X509) *certs;
	bool ok = false;

	if (!certs_read(cert_file, &certs, err))
		return false;
	for (int i = 0; !ok && i < sk_X509_num(certs); i++)
		ok = signed_by(sk_X509_value(certs, i), statement, signature);
	sk_X509_pop_free(certs, X509_free);
	ERR_clear_error();
	return ok || err_set(err, ERR_DENIED, "its signature is by no key of %s", cert_file);
}
