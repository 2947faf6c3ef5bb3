/* A broker's certificate as a client sees it, one question after the other, so that the first wrong answer has a name. */
#include "pki/check.h"
#include "pki/crl.h"

#include <stdarg.h>
#include <stdio.h>
#include <openssl/err.h>

bool
found(const struct checking *c, const struct pki_finding *f)
{
	c->each(c->ctx, f);
	return f->level != PKI_FAULT;
}

bool
found_fine(const struct checking *c, enum pki_check check, const char *fmt, ...)
{
	struct pki_finding f = { .check = check, .level = PKI_FINE };
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(f.text, sizeof f.text, fmt, ap);
	va_end(ap);
	return found(c, &f);
}

bool
found_err(const struct checking *c, enum pki_check check, const struct err *err, const char *remedy)
{
	struct pki_finding f = { .check = check, .level = PKI_FAULT };

	(void)snprintf(f.text, sizeof f.text, "%s", err->text);
	(void)snprintf(f.remedy, sizeof f.remedy, "%s", remedy);
	return found(c, &f);
}

const char *
cert_who(const X509 *x, char out[260])
{
	auto_str s = name_text(X509_get_subject_name(x));
	char shown[200];

	(void)snprintf(out, 260, "the certificate of %s",
	    s == NULL || s[0] == '\0' ? "nobody (its subject is empty)" : text_show(slice_str(s), shown, sizeof shown));
	return out;
}

bool
cert_signed_by(X509 *x, const X509 *ca)
{
	bool ok = X509_NAME_cmp(X509_get_issuer_name(x), X509_get_subject_name(ca)) == 0 &&
	    X509_verify(x, X509_get0_pubkey(ca)) == 1;

	ERR_clear_error();
	return ok;
}

bool
check_time_of(const struct checking *c, const X509 *x, bool fine)
{
	int64_t from = time_of(X509_get0_notBefore(x)), to = time_of(X509_get0_notAfter(x));
	struct pki_finding f = { .check = PKI_CHECK_TIME, .level = PKI_FAULT };
	char who[260], when[32], days[32];

	cert_who(x, who);
	if (c->now < from) {
		(void)snprintf(f.text, sizeof f.text, "%s is not valid before %s, which is in %s", who, text_when(from, when),
		    days_text(from - c->now, days));
		(void)snprintf(f.remedy, sizeof f.remedy, "set the clock of this machine, or of the one that issued it");
		return found(c, &f);
	}
	if (c->now >= to) {
		(void)snprintf(f.text, sizeof f.text, "%s expired %s ago, at %s", who, days_text(c->now - to, days),
		    text_when(to, when));
		(void)snprintf(f.remedy, sizeof f.remedy, "renew it, or set the clock of this machine if that is wrong");
		return found(c, &f);
	}
	if (to - c->now < SOON_S) {
		f.level = PKI_NOTE;
		(void)snprintf(f.text, sizeof f.text, "%s expires in %s, at %s", who, days_text(to - c->now, days),
		    text_when(to, when));
		(void)snprintf(f.remedy, sizeof f.remedy, "renew it in time");
		return found(c, &f);
	}
	return !fine || found_fine(c, PKI_CHECK_TIME, "%s is valid for %s, until %s", who, days_text(to - c->now, days),
			    text_when(to, when));
}

bool
check_usage_of(const struct checking *c, X509 *x, bool server)
{
	uint32_t flags = X509_get_extension_flags(x), want = server ? XKU_SSL_SERVER : XKU_SSL_CLIENT;
	uint32_t eku = (flags & EXFLAG_XKUSAGE) != 0 ? X509_get_extended_key_usage(x) : UINT32_MAX;
	struct pki_finding f = { .check = PKI_CHECK_USAGE, .level = PKI_FAULT };
	const char *side = server ? "server" : "client", *fault = NULL;
	char who[260], why[128], key[96];
	const EVP_PKEY *k = X509_get0_pubkey(x);

	(void)snprintf(f.remedy, sizeof f.remedy, "issue a certificate for a %s (extended key usage %sAuth)", side, side);
	if ((flags & EXFLAG_CA) != 0 && !cert_is_self_issued(x))
		fault = "is that of a CA (basicConstraints CA:TRUE)";
	else if ((eku & want) == 0)
		fault = server ? "may not be used by a server: its extended key usage has no serverAuth" :
				 "may not be used by a client: its extended key usage has no clientAuth";
	else if ((flags & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(x) & (KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT)) == 0)
		fault = "may not be used in TLS: its key usage has no digitalSignature";
	if (fault != NULL) {
		(void)snprintf(f.text, sizeof f.text, "%s %s", cert_who(x, who), fault);
		return found(c, &f);
	}
	if (k == NULL || !key_ok(k, why, sizeof why)) {
		(void)snprintf(f.text, sizeof f.text, "the key in %s is not one that brokers like: %s", cert_who(x, who),
		    k != NULL ? key_text(k, key, sizeof key) : "unreadable");
		(void)snprintf(f.remedy, sizeof f.remedy, "issue it with EC P-256 or RSA 2048");
		f.level = PKI_NOTE;
		return found(c, &f);
	}
	return found_fine(c, PKI_CHECK_USAGE, "a %s's certificate, %s", side, key_text(k, key, sizeof key));
}

/* ---- a server ---- */

struct look {
	struct checking c;
	const struct pki_server *s;
	STACK_OF(X509) *sent;  /* the leaf first */
	X509_STORE *store;
	X509_STORE_CTX *ctx;
	STACK_OF(X509) *chain; /* borrowed from ctx, verified */
};

static bool
take_sent(struct look *l)
{
	struct err err;

	l->sent = sk_X509_new_null();
	for (size_t i = 0; l->sent != NULL && i < l->s->n; i++) {
		const unsigned char *p = l->s->chain[i].p;
		X509 *x = d2i_X509(NULL, &p, (long)l->s->chain[i].n);

		if (x == NULL || sk_X509_push(l->sent, x) == 0) {
			X509_free(x);
			(void)crypto_input_err(&err, "certificate %zu that the broker has sent", i + 1);
			return found_err(&l->c, PKI_CHECK_CHAIN, &err, "the broker's operator has to look at it");
		}
	}
	if (l->sent != NULL && sk_X509_num(l->sent) > 0)
		return true;
	(void)err_set(&err, ERR_INPUT, "the broker has sent no certificate");
	return found_err(&l->c, PKI_CHECK_CHAIN, &err, "the broker's operator has to give it one (certfile, keyfile)");
}

static bool
load_store(struct look *l)
{
	struct err err;
	int ok;

	l->store = X509_STORE_new();
	l->ctx = X509_STORE_CTX_new();
	if (l->store == NULL || l->ctx == NULL) {
		(void)err_set(&err, ERR_MEMORY, "out of memory");
		return found_err(&l->c, PKI_CHECK_CHAIN, &err, "try again");
	}
	ok = l->s->ca_file != NULL ? X509_STORE_load_file(l->store, l->s->ca_file) : X509_STORE_set_default_paths(l->store);
	if (ok == 1)
		return true;
	(void)crypto_input_err(&err, "the CA file %s", l->s->ca_file != NULL ? l->s->ca_file : "of the operating system");
	return found_err(&l->c, PKI_CHECK_FILES, &err, "give the CA's certificate in PEM form (--cafile)");
}

/* A CA of this name is trusted, but it is another one. */
static bool
name_is_known(struct look *l, const X509 *x)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(l->store);
	bool known = false;

	for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
		const X509 *ca = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));

		known = known || (ca != NULL && X509_NAME_cmp(X509_get_subject_name(ca), X509_get_issuer_name(x)) == 0);
	}
	return known;
}

static bool
chain_fault(struct look *l)
{
	int error = X509_STORE_CTX_get_error(l->ctx), sent = sk_X509_num(l->sent);
	X509 *at = X509_STORE_CTX_get_current_cert(l->ctx);
	struct pki_finding f = { .check = PKI_CHECK_CHAIN, .level = PKI_FAULT };
	const char *file = l->s->ca_file != NULL ? l->s->ca_file : "the operating system's CAs";
	auto_str issuer = NULL;
	char who[260], shown[200];

	at = at != NULL ? at : sk_X509_value(l->sent, 0);
	issuer = name_text(X509_get_issuer_name(at));
	(void)text_show(slice_str(issuer), shown, sizeof shown);
	if (name_is_known(l, at)) {
		(void)snprintf(f.text, sizeof f.text, "%s comes from a CA named %s; %s holds one of that name, but with another key",
		    cert_who(at, who), shown, file);
		(void)snprintf(f.remedy, sizeof f.remedy, "get the present CA's certificate from the broker's operator");
	} else if (cert_is_self_issued(at)) {
		(void)snprintf(f.text, sizeof f.text, "the chain ends in a self-signed certificate that is not in %s: %s", file,
		    cert_who(at, who));
		(void)snprintf(f.remedy, sizeof f.remedy, "if this is the broker you mean, give its CA with --cafile");
	} else if (error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT ||
	    error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE) {
		(void)snprintf(f.text, sizeof f.text, "the issuer of %s, %s, is neither in %s nor among the %d certificate%s sent",
		    cert_who(at, who), shown, file, sent, sent == 1 ? "" : "s");
		(void)snprintf(f.remedy, sizeof f.remedy,
		    sent == 1 ? "the broker sends its own certificate alone: put its intermediate behind it in the certfile, or give the right --cafile" :
				"give the right --cafile");
	} else {
		(void)snprintf(f.text, sizeof f.text, "%s: %s", cert_who(at, who), X509_verify_cert_error_string(error));
		(void)snprintf(f.remedy, sizeof f.remedy, "the broker's operator has to look at its chain");
	}
	return found(&l->c, &f);
}

/* Signatures and CAs only: dates, names and usage have steps of their own. */
static bool
check_chain(struct look *l)
{
	X509_VERIFY_PARAM *param;
	char who[260];
	struct err err;

	if (X509_STORE_CTX_init(l->ctx, l->store, sk_X509_value(l->sent, 0), l->sent) != 1) {
		(void)err_set(&err, ERR_MEMORY, "out of memory");
		return found_err(&l->c, PKI_CHECK_CHAIN, &err, "try again");
	}
	param = X509_STORE_CTX_get0_param(l->ctx);
	(void)X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
	ERR_clear_error();
	if (X509_verify_cert(l->ctx) != 1)
		return chain_fault(l);
	l->chain = X509_STORE_CTX_get0_chain(l->ctx);
	return found_fine(&l->c, PKI_CHECK_CHAIN, "%d certificate%s sent, verified up to %s", sk_X509_num(l->sent),
	    sk_X509_num(l->sent) == 1 ? "" : "s", cert_who(sk_X509_value(l->chain, sk_X509_num(l->chain) - 1), who));
}

static bool
check_name(struct look *l)
{
	X509 *leaf = sk_X509_value(l->sent, 0);
	struct pki_finding f = { .check = PKI_CHECK_NAME, .level = PKI_FAULT };
	char names[200], shown[160];

	pki_list_names(leaf, names, sizeof names);
	if (l->s->host == NULL)
		return found_fine(&l->c, PKI_CHECK_NAME, "for %s; not compared", names);
	if (pki_names_host(leaf, l->s->host))
		return found_fine(&l->c, PKI_CHECK_NAME, "for %s", names);
	(void)snprintf(f.text, sizeof f.text, "the broker's certificate is for %s, not for '%s'", names,
	    text_show(slice_str(l->s->host), shown, sizeof shown));
	(void)snprintf(f.remedy, sizeof f.remedy,
	    "connect with one of these names, or give the broker a certificate for the name in use");
	return found(&l->c, &f);
}

static bool
check_times(struct look *l)
{
	for (int i = sk_X509_num(l->chain); i > 0; i--)
		if (!check_time_of(&l->c, sk_X509_value(l->chain, i - 1), i == 1))
			return false;
	return true;
}

/* What the CRLs say of one certificate of the chain. */
static bool
check_revoked(struct look *l, const struct crl_set *crls, int i)
{
	struct crl_answer a = crl_ask(crls, sk_X509_value(l->chain, i), sk_X509_value(l->chain, i + 1), l->c.now, 0);
	struct pki_finding f = { .check = PKI_CHECK_REVOCATION, .level = PKI_NOTE };
	char who[260], when[32];

	cert_who(sk_X509_value(l->chain, i), who);
	if (a.cause == PKI_OK)
		return found_fine(&l->c, PKI_CHECK_REVOCATION, "%s was not revoked", who);
	if (a.cause == PKI_BAD_REVOKED) {
		f.level = PKI_FAULT;
		(void)snprintf(f.text, sizeof f.text, "%s was revoked at %s (%s)", who, text_when(a.entry.date, when),
		    pki_reason_text(a.entry.reason));
		(void)snprintf(f.remedy, sizeof f.remedy, "the broker needs a new certificate; do not trust this one");
		return found(&l->c, &f);
	}
	(void)snprintf(f.text, sizeof f.text, "%s has no CRL of the issuer of %s that is in force (%s)", l->s->crl_file, who,
	    pki_cause_name(a.cause));
	(void)snprintf(f.remedy, sizeof f.remedy, "fetch the CA's present CRL");
	return found(&l->c, &f);
}

static bool
check_revocation(struct look *l)
{
	struct crl_load load = { .files = &l->s->crl_file, .n_files = 1, .cas = l->chain, .now = l->c.now };
	struct crl_set crls = { 0 };
	struct err err;
	bool ok = true;

	if (l->s->crl_file == NULL)
		return found_fine(&l->c, PKI_CHECK_REVOCATION, "no CRL was looked at: no --crlfile given");
	if (!crl_set_load(&crls, &load, &err))
		return found_err(&l->c, PKI_CHECK_REVOCATION, &err, "give the CA's CRL");
	for (int i = 0; ok && i + 1 < sk_X509_num(l->chain); i++)
		ok = check_revoked(l, &crls, i);
	crl_set_done(&crls);
	return ok;
}

static bool
staple_fault(struct look *l, const struct pki_ocsp_answer *a)
{
	struct pki_finding f = { .check = PKI_CHECK_REVOCATION, .level = PKI_FAULT };
	char when[32];

	(void)snprintf(f.text, sizeof f.text, "the stapled OCSP response says that the broker's certificate was revoked at %s (%s)",
	    text_when(a->revoked_at, when), pki_reason_text(a->reason));
	(void)snprintf(f.remedy, sizeof f.remedy, "the broker needs a new certificate; do not trust this one");
	return found(&l->c, &f);
}

/* Clients that look at what is stapled refuse all but "good"; whoever shows such a certificate (RFC 7633) is refused without. */
static bool
check_staple(struct look *l)
{
	X509 *leaf = sk_X509_value(l->chain, 0);
	bool must = pki_cert_must_staple(leaf), alone = sk_X509_num(l->chain) < 2 && !cert_is_self_issued(leaf);
	struct pki_finding f = { .check = PKI_CHECK_REVOCATION, .level = must ? PKI_FAULT : PKI_NOTE };
	uint8_t serial[AUTHZ_SERIAL_MAX];
	struct pki_ocsp_question q = { .serial = pki_cert_serial(leaf, serial), .now = l->c.now };
	struct pki_ocsp_answer a = { 0 };
	struct err err = { 0 };
	char when[32];

	if (!l->s->asked)
		return true;
	if (l->s->staple.n == 0 && !must)
		return found_fine(&l->c, PKI_CHECK_REVOCATION, "the broker staples no OCSP response");
	q.issuer = sk_X509_num(l->chain) < 2 ? leaf : sk_X509_value(l->chain, 1);
	if (l->s->staple.n == 0) {
		(void)snprintf(f.text, sizeof f.text, "the broker's certificate demands a stapled OCSP response (must-staple), and none came");
	} else if (alone) {
		(void)snprintf(f.text, sizeof f.text, "the stapled OCSP response cannot be verified: the CA of the broker's certificate is not known here");
	} else if (!pki_ocsp_judge(l->s->staple, &q, &a, &err)) {
		(void)err_prefix(&err, "the stapled OCSP response is not good");
		(void)snprintf(f.text, sizeof f.text, "%s", err.text);
	} else if (a.status == PKI_OCSP_REVOKED) {
		return staple_fault(l, &a);
	} else if (a.status == PKI_OCSP_GOOD) {
		return found_fine(&l->c, PKI_CHECK_REVOCATION, "the stapled OCSP response says good, until %s", text_when(a.until, when));
	} else {
		(void)snprintf(f.text, sizeof f.text, "the stapled OCSP response says that its responder does not know the broker's certificate");
	}
	(void)snprintf(f.remedy, sizeof f.remedy, "%s",
	    alone ? "give the CA of the broker with --cafile" :
		    "clients that look will refuse the broker: its operator has to look at its OCSP stapling");
	return found(&l->c, &f);
}

bool
pki_check_server(const struct pki_server *s, pki_found *each, void *ctx)
{
	struct look l = { .c = { each, ctx, pki_clock(s->now) }, .s = s };
	bool ok = take_sent(&l) && load_store(&l) && check_chain(&l) && check_name(&l) && check_times(&l) &&
	    check_usage_of(&l.c, sk_X509_value(l.sent, 0), true) && check_revocation(&l) && check_staple(&l);

	X509_STORE_CTX_free(l.ctx);
	X509_STORE_free(l.store);
	sk_X509_pop_free(l.sent, X509_free);
	return ok;
}
