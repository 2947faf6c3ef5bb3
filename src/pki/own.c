/* A server's own certificate: is it still good, the request for the next, and how that takes its place. */
#include "pki/internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>

enum { DUE_S = 30 * 86400, DUE_PART = 3 };

static int
count_names(const GENERAL_NAMES *g)
{
	int n = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(g); i++) {
		int type = sk_GENERAL_NAME_value(g, i)->type;

		n += type == GEN_DNS || type == GEN_IPADD;
	}
	return n;
}

/* Exactly the names that are wanted, each once however often it is said. */
static bool
has_names(X509 *x, const struct pki_own *o, char why[static PKI_WHY_MAX])
{
	auto_gens has = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	auto_gens wants = GENERAL_NAMES_new();
	char shown[160];

	for (size_t i = 0; i < o->n_names; i++) {
		if (wants == NULL || !hosts_add(wants, o->names[i], NULL) || !pki_names_host(x, o->names[i])) {
			(void)snprintf(why, PKI_WHY_MAX, "is not for %s", text_show(slice_str(o->names[i]), shown, sizeof shown));
			return false;
		}
	}
	if (o->n_names == 0 || count_names(has) == count_names(wants))
		return true;
	(void)snprintf(why, PKI_WHY_MAX, "is also for names that are not wanted any more");
	return false;
}

static enum pki_own_state
look_at(X509 *x, const struct pki_own *o, char why[static PKI_WHY_MAX])
{
	int64_t now = pki_clock(o->now), from = time_of(X509_get0_notBefore(x)), to = time_of(X509_get0_notAfter(x));
	struct err err = { 0 };
	auto_pkey key = key_read(o->key_file, NULL, "the server's key", &err);
	char when[32];

	if (key == NULL || X509_check_private_key(x, key) != 1) {
		ERR_clear_error();
		(void)snprintf(why, PKI_WHY_MAX, "has no key that fits: %.250s", key == NULL ? err.text : "it belongs to another certificate");
		return PKI_OWN_UNUSABLE;
	}
	if (to <= now) {
		(void)snprintf(why, PKI_WHY_MAX, "expired %s ago", days_text(now - to, when));
		return PKI_OWN_UNUSABLE;
	}
	if (!has_names(x, o, why))
		return PKI_OWN_DUE;
	if (to - now >= NUM_MIN((to - from) / DUE_PART, (int64_t)DUE_S))
		return PKI_OWN_GOOD;
	(void)snprintf(why, PKI_WHY_MAX, "expires in %s", days_text(to - now, when));
	return PKI_OWN_DUE;
}

/* The first of the file; its CAs stand behind it. NULL: <err>. */
static X509 *
first_cert(const char *path, struct err *err)
{
	STACK_OF(X509) *all = NULL;
	X509 *x = NULL;

	if (certs_read(path, &all, err) && (x = sk_X509_value(all, 0)) != NULL && X509_up_ref(x) != 1)
		x = NULL;
	sk_X509_pop_free(all, X509_free);
	return x;
}

enum pki_own_state
pki_own_look(const struct pki_own *o, char why[static PKI_WHY_MAX])
{
	struct err err = { 0 };
	auto_x509 x = first_cert(o->cert_file, &err);

	why[0] = '\0';
	if (x != NULL)
		return look_at(x, o, why);
	(void)snprintf(why, PKI_WHY_MAX, "cannot be used: %.280s", err.text);
	return PKI_OWN_UNUSABLE;
}

/* ---- the request ---- */

static bool
keep_name(struct pki_own_request *q, struct slice name, struct err *err)
{
	if (q->n_names == PKI_OWN_NAMES_MAX)
		return err_set(err, ERR_LIMIT, "a certificate has at most %d names", PKI_OWN_NAMES_MAX);
	if ((q->names[q->n_names] = text_dup(name)) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	q->n_names++;
	return true;
}

/* Those that are wanted, or those of the certificate. */
static bool
collect(const struct pki_own *o, struct pki_own_request *q, struct err *err)
{
	char list[64 * PKI_OWN_NAMES_MAX], cn[256];
	bool more = true;

	for (size_t i = 0; i < o->n_names; i++)
		if (!keep_name(q, slice_str(o->names[i]), err))
			return false;
	if (o->n_names == 0) {
		auto_x509 x = first_cert(o->cert_file, err);

		if (x == NULL)
			return err_set(err, ERR_MISSING, "%s cannot be read, and nobody says for which names a new one is: name them with broker_names and start again", o->cert_file);
		pki_list_names(x, list, sizeof list);
		for (struct slice rest = slice_str(list); more;) {
			struct slice one = slice_cut(&rest, ',', &more);

			while (one.n > 0 && one.p[0] == ' ')
				one = slice_of(one.p + 1, one.n - 1);
			if (!keep_name(q, one, err))
				return false;
		}
		if (pki_common_name(x, cn, sizeof cn))
			return text_copy(q->cn, sizeof q->cn, slice_str(cn)) || err_set(err, ERR_INPUT, "%s: its common name is too long", o->cert_file);
	}
	return text_copy(q->cn, sizeof q->cn, slice_str(q->names[0])) || err_set(err, ERR_USAGE, "the name \"%.100s\" is too long", q->names[0]);
}

/* As strong as the one before. */
static EVP_PKEY *
another_key(const struct pki_own *o, struct err *err)
{
	auto_pkey old = key_read(o->key_file, NULL, "the server's key", NULL);
	enum pki_key_type type = PKI_P256;
	int bits = old != NULL ? EVP_PKEY_get_bits(old) : 0;

	if (old != NULL && EVP_PKEY_is_a(old, "RSA"))
		type = bits > 4096 ? PKI_RSA8192 : bits > 3072 ? PKI_RSA4096 : bits > 2048 ? PKI_RSA3072 : PKI_RSA2048;
	else if (old != NULL)
		type = bits > 384 ? PKI_P521 : bits > 256 ? PKI_P384 : PKI_P256;
	return key_new(type, err);
}

bool
pki_own_ask(const struct pki_own *o, struct pki_own_request *ret, struct err *err)
{
	bool fresh = o->new_key || access(o->key_file, F_OK) == -1;
	auto_pkey key = NULL;
	auto_req req = NULL;

	*ret = (struct pki_own_request){ 0 };
	if (collect(o, ret, err)) {
		key = fresh ? another_key(o, err) : key_read(o->key_file, NULL, "the server's key", err);
		req = key != NULL ? req_make(ret->cn, (const char *const *)ret->names, ret->n_names, key, err) : NULL;
	}
	if (req != NULL) {
		unsigned char *der = NULL;
		int n = i2d_X509_REQ(req, &der);

		if (n > 0 && (ret->csr = malloc((size_t)n)) != NULL) {
			memcpy(ret->csr, der, (size_t)n);
			ret->csr_n = (size_t)n;
			if (fresh) {
				ret->key = key;
				key = NULL;
			}
		} else {
			(void)err_set(err, ERR_MEMORY, "out of memory");
		}
		OPENSSL_free(der);
	}
	if (ret->csr != NULL)
		return true;
	pki_own_request_done(ret);
	return false;
}

void
pki_own_request_done(struct pki_own_request *q)
{
	for (size_t i = 0; i < q->n_names; i++)
		free(q->names[i]);
	free(q->csr);
	EVP_PKEY_free(q->key);
	*q = (struct pki_own_request){ 0 };
}

/* ---- the answer ---- */

/* A crash between the two leaves a certificate of another key: the next look finds it unusable, and asks for one of the new key. */
static bool
write_both(const struct pki_own *o, const EVP_PKEY *key, struct slice pem, struct err *err)
{
	if (key != NULL && !key_replace(o->key_file, key, err))
		return false;
	return file_write(o->cert_file, pem, 0644, FILE_REPLACE | FILE_KEEP_OWNER, err);
}

bool
pki_own_take(const struct pki_own *o, const struct pki_own_request *q, struct slice leaf, struct slice issuer, struct err *err)
{
	const unsigned char *p = leaf.p;
	auto_x509 x = d2i_X509(NULL, &p, (long)leaf.n);
	auto_pkey key = NULL;
	auto_str pem = NULL;
	auto_str both = NULL;
	char why[PKI_WHY_MAX];
	const struct pki_own wanted = { .names = (const char *const *)q->names, .n_names = q->n_names };

	if (x == NULL)
		return crypto_input_err(err, "the answer is no certificate");
	if (q->key == NULL && (key = key_read(o->key_file, NULL, "the server's key", err)) == NULL)
		return false;
	if (X509_check_private_key(x, q->key != NULL ? q->key : key) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_DENIED, "the certificate that came is of another key");
	}
	if (!has_names(x, &wanted, why))
		return err_set(err, ERR_DENIED, "the certificate that came %s", why);
	if (!certs_pem(&x, 1, &pem, err))
		return false;
	if (asprintf(&both, "%s%.*s", pem, (int)issuer.n, (const char *)issuer.p) == -1) {
		both = NULL;
		return err_set(err, ERR_MEMORY, "out of memory");
	}
	return write_both(o, q->key, slice_str(both), err);
}
