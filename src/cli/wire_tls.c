/* TLS for the command line clients: the context, the broker's names, and errors that a person
 * can act on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <arpa/inet.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/wire_internal.h"
#include "pki/pki.h"

enum { PSK_MAX = 64, ALPN_MAX = 64 };

struct wire_tls {
	SSL_CTX *ctx;
	struct wire_tls_opts opts;
	uint8_t psk[PSK_MAX];
	unsigned psk_n;
};

static const struct {
	int alert;
	const char *text;
} alerts[] = {
	/* clang-format off */
	{ 0, "close notify" }, { 10, "unexpected message" }, { 20, "bad record MAC" }, { 22, "record overflow" },
	{ 40, "handshake failure" }, { 42, "bad certificate" }, { 43, "unsupported certificate" },
	{ 44, "certificate revoked" }, { 45, "certificate expired" }, { 46, "certificate unknown" },
	{ 47, "illegal parameter" }, { 48, "unknown CA" }, { 49, "access denied" }, { 50, "decode error" },
	{ 51, "decrypt error" }, { 70, "protocol version" }, { 71, "insufficient security" },
	{ 80, "internal error" }, { 86, "inappropriate fallback" }, { 90, "user canceled" },
	{ 109, "missing extension" }, { 110, "unsupported extension" }, { 112, "unrecognized name" },
	{ 113, "bad certificate status response" }, { 115, "unknown PSK identity" },
	{ 116, "certificate required" }, { 120, "no application protocol" },
	/* clang-format on */
};

const char *
wire_alert_text(int alert)
{
	for (size_t i = 0; i < ARRAY_LEN(alerts); i++)
		if (alerts[i].alert == alert)
			return alerts[i].text;
	return "an alert without a name";
}

/* libssl's reason for the last failure; empties its queue. */
static const char *
reason_text(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = ERR_reason_error_string(e);

	ERR_clear_error();
	return text != NULL ? text : "no reason given";
}

/* ---- the context ---- */

static unsigned
give_psk(SSL *ssl, const char *hint, char *identity, unsigned identity_max, unsigned char *psk,
    unsigned psk_max)
{
	const struct wire *w = SSL_get_app_data(ssl);
	const struct wire_tls *t = w->target->tls;

	(void)hint; /* one identity is all we have */
	if (t->psk_n > psk_max ||
	    !text_copy(identity, identity_max, slice_str(t->opts.psk_identity)))
		return 0;
	memcpy(psk, t->psk, t->psk_n);
	return t->psk_n;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool
set_psk(struct wire_tls *t, struct err *err)
{
	struct slice hex = slice_str(t->opts.psk);

	if (hex.n == 0 || hex.n % 2 != 0 || hex.n / 2 > PSK_MAX)
		return err_set(err, ERR_USAGE,
		    "--psk wants 1 to %d bytes in hexadecimal, two digits each", PSK_MAX);
	for (size_t i = 0; i < hex.n; i += 2) {
		int high = hex_value((char)hex.p[i]), low = hex_value((char)hex.p[i + 1]);

		if (high < 0 || low < 0)
			return err_set(err, ERR_USAGE,
			    "--psk is not hexadecimal (digits and a to f, no 0x in front)");
		t->psk[t->psk_n++] = (uint8_t)(high << 4 | low);
	}
	/* Pre-shared keys of TLS 1.3 are something else (RFC 8446 4.2.11); brokers of this kind
	 * speak 1.2. */
	if (SSL_CTX_set_max_proto_version(t->ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(t->ctx, t->opts.ciphers != NULL ? t->opts.ciphers : "PSK") != 1)
		return err_set(err, ERR_USAGE, "no cipher for --psk: %s", reason_text());
	SSL_CTX_set_psk_client_callback(t->ctx, give_psk);
	return true;
}

static bool
set_version(struct wire_tls *t, struct err *err)
{
	const char *v = t->opts.version;
	int min = TLS1_2_VERSION, max = 0;

	if (v != NULL && strcmp(v, "tlsv1.2") == 0)
		max = TLS1_2_VERSION;
	else if (v != NULL && strcmp(v, "tlsv1.3") == 0)
		min = max = TLS1_3_VERSION;
	else if (v != NULL && strncmp(v, "tlsv1", 5) == 0)
		return err_set(err, ERR_USAGE,
		    "--tls-version %s is no longer secure and not supported; use tlsv1.2 or "
		    "tlsv1.3",
		    v);
	else if (v != NULL)
		return err_set(err, ERR_USAGE, "--tls-version is tlsv1.2 or tlsv1.3");
	if (SSL_CTX_set_min_proto_version(t->ctx, min) != 1 ||
	    SSL_CTX_set_max_proto_version(t->ctx, max) != 1)
		return err_set(
		    err, ERR_SYSTEM, "this libssl does not do --tls-version: %s", reason_text());
	return true;
}

static bool
set_trust(struct wire_tls *t, struct err *err)
{
	const struct wire_tls_opts *o = &t->opts;
	bool os = o->os_certs || (o->cafile == NULL && o->capath == NULL && o->psk == NULL);

	if (o->cafile != NULL && SSL_CTX_load_verify_file(t->ctx, o->cafile) != 1)
		return err_set(err, ERR_INPUT,
		    "--cafile %s: %s; it must be a file with CA certificates in PEM form",
		    o->cafile, reason_text());
	if (o->capath != NULL && SSL_CTX_load_verify_dir(t->ctx, o->capath) != 1)
		return err_set(err, ERR_INPUT,
		    "--capath %s: %s; it must be a directory prepared with 'openssl rehash'",
		    o->capath, reason_text());
	if (os && SSL_CTX_set_default_verify_paths(t->ctx) != 1)
		return err_set(err, ERR_SYSTEM,
		    "cannot load the CA certificates of the operating system: %s", reason_text());
	return true;
}

static bool
set_identity(struct wire_tls *t, struct err *err)
{
	const struct wire_tls_opts *o = &t->opts;

	if (o->cert == NULL)
		return true;
	if (SSL_CTX_use_certificate_chain_file(t->ctx, o->cert) != 1)
		return err_set(err, ERR_INPUT,
		    "--cert %s: %s; it must be a certificate in PEM form, its intermediates behind "
		    "it",
		    o->cert, reason_text());
	if (SSL_CTX_use_PrivateKey_file(t->ctx, o->key, SSL_FILETYPE_PEM) != 1) {
		bool mismatch = ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH;

		if (mismatch)
			return err_set(err, ERR_INPUT, "--key %s does not belong to --cert %s",
			    o->key, o->cert);
		return err_set(err, ERR_INPUT,
		    "--key %s: %s; it must be the private key of --cert %s in PEM form", o->key,
		    reason_text(), o->cert);
	}
	return true;
}

static bool
set_details(struct wire_tls *t, struct err *err)
{
	const struct wire_tls_opts *o = &t->opts;
	uint8_t alpn[ALPN_MAX + 1];
	size_t n = o->alpn != NULL ? strlen(o->alpn) : 0;

	if (o->ciphers != NULL && o->psk == NULL) {
		bool ok = strncmp(o->ciphers, "TLS_", 4) == 0
			      ? SSL_CTX_set_ciphersuites(t->ctx, o->ciphers) == 1
			      : SSL_CTX_set_cipher_list(t->ctx, o->ciphers) == 1;

		if (!ok)
			return err_set(err, ERR_USAGE,
			    "--ciphers %s: %s; 'openssl ciphers' lists them", o->ciphers,
			    reason_text());
	}
	if (o->alpn == NULL)
		return true;
	if (n == 0 || n > ALPN_MAX)
		return err_set(err, ERR_USAGE,
		    "--tls-alpn wants one protocol name of 1 to %d characters", ALPN_MAX);
	alpn[0] = (uint8_t)n;
	memcpy(alpn + 1, o->alpn, n);
	/* Unlike its neighbours this one returns 0 on success. */
	if (SSL_CTX_set_alpn_protos(t->ctx, alpn, (unsigned)n + 1) != 0)
		return err_set(err, ERR_MEMORY, "out of memory");
	return true;
}

/* ---- the broker's certificate ---- */

static const char *
remedy_of(int why)
{
	switch (why) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		return "is --cafile the CA of this broker?";
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return "renew the broker's certificate, or set this machine's clock";
	case X509_V_ERR_HOSTNAME_MISMATCH:
		return "connect with one of these names (-h), or give the broker a certificate for "
		       "the name you use";
	case X509_V_ERR_INVALID_PURPOSE:
		return "the broker needs a certificate for TLS servers";
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
	case X509_V_ERR_CA_MD_TOO_WEAK:
		return "the key or signature is too weak; issue it anew";
	default:
		return "the broker's operator has to look at it";
	}
}

/* Why the certificate was refused, whose it is and what to do, into w->verify. */
static void
explain_refusal(struct wire *w, X509_STORE_CTX *store, X509 *leaf)
{
	int why = X509_STORE_CTX_get_error(store);
	X509 *at = X509_STORE_CTX_get_current_cert(store);
	char names[160], subject[128], shown[160];

	pki_list_names(leaf, names, sizeof names);
	X509_NAME_oneline(X509_get_subject_name(at != NULL ? at : leaf), subject, sizeof subject);
	text_show(slice_str(subject), shown, sizeof shown);
	if (why == X509_V_ERR_HOSTNAME_MISMATCH)
		snprintf(w->verify, sizeof w->verify,
		    "the broker's certificate is for %s, not for '%s'; %s", names, w->target->host,
		    remedy_of(why));
	else
		snprintf(w->verify, sizeof w->verify,
		    "the broker's certificate (%s) is not trusted: %s at %s; %s", names,
		    X509_verify_cert_error_string(why), shown, remedy_of(why));
}

/* In place of libssl's own verification, so that the host is judged and the reason kept at one
 * place. */
static int
verify(X509_STORE_CTX *store, void *ctx)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct wire *w = SSL_get_app_data(ssl);
	X509 *leaf = X509_STORE_CTX_get0_cert(store);
	const struct wire_tls *t = ctx;
	bool ok;

	if (t->opts.judge_later)
		return 1;
	ok = X509_verify_cert(store) == 1;

	/* A unix socket has no host name to compare. */
	if (ok && !t->opts.insecure && w->target->unix_path == NULL &&
	    !pki_names_host(leaf, w->target->host)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
		ok = false;
	}
	if (!ok)
		explain_refusal(w, store, leaf);
	return ok ? 1 : 0;
}

/* libssl asks when the broker has asked. */
static int
on_cert_wanted(SSL *ssl, void *ctx)
{
	struct wire *w = SSL_get_app_data(ssl);

	(void)ctx;
	w->cert_wanted = true;
	return 1;
}

struct wire_tls *
wire_tls_new(const struct wire_tls_opts *o, struct err *err)
{
	struct wire_tls *t = calloc(1, sizeof *t);

	if (t == NULL || (t->ctx = SSL_CTX_new(TLS_client_method())) == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		free(t);
		return NULL;
	}
	t->opts = *o;
	SSL_CTX_set_mode(
	    t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(t->ctx, verify, t);
	SSL_CTX_set_cert_cb(t->ctx, on_cert_wanted, NULL);
	ERR_clear_error();
	if (set_version(t, err) && set_trust(t, err) && set_identity(t, err) &&
	    set_details(t, err) && (o->psk == NULL || set_psk(t, err)))
		return t;
	wire_tls_free(t);
	return NULL;
}

void
wire_tls_free(struct wire_tls *t)
{
	if (t == NULL)
		return;
	SSL_CTX_free(t->ctx);
	secret_free(t, sizeof *t);
}

bool
wire_cert_name(const char *path, char *out, size_t cap, struct err *err)
{
	FILE *f = fopen(path, "re");
	X509 *cert;
	bool ok;

	if (f == NULL)
		return err_sys(err, "--cert %s", path);
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	if (cert == NULL)
		return err_set(err, ERR_INPUT,
		    "--cert %s: %s; it must be a certificate in PEM form", path, reason_text());
	ok = pki_common_name(cert, out, cap);
	X509_free(cert);
	if (!ok)
		return err_set(err, ERR_INPUT,
		    "--cert %s has no usable common name for a client id; give one with -i", path);
	return true;
}

/* ---- connections ---- */

/* SSL_set_tlsext_host_name() without its cast from const; libssl copies the name. */
static bool
set_server_name(SSL *ssl, const char *host)
{
	return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
		   (void *)(uintptr_t)host) == 1;
}

bool
wire_tls_start(struct wire *w, struct err *err)
{
	const struct wire_target *t = w->target;
	struct in6_addr ip;

	w->ssl = SSL_new(t->tls->ctx);
	if (w->ssl == NULL || SSL_set_fd(w->ssl, w->fd) != 1)
		return err_set(err, ERR_MEMORY, "out of memory");
	SSL_set_app_data(w->ssl, w);
	/* RFC 6066 3: no addresses in the server name indication. */
	if (t->unix_path == NULL && inet_pton(AF_INET, t->host, &ip) != 1 &&
	    inet_pton(AF_INET6, t->host, &ip) != 1 && !set_server_name(w->ssl, t->host))
		return err_set(err, ERR_USAGE, "the host name is too long for TLS");
	if (t->tls->opts.judge_later && SSL_set_tlsext_status_type(w->ssl, TLSEXT_STATUSTYPE_ocsp) != 1)
		return err_set(err, ERR_MEMORY, "out of memory");
	SSL_set_connect_state(w->ssl);
	return true;
}

bool
wire_facts(const struct wire *w, struct wire_facts *ret)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(w->ssl);
	struct wire_facts f = { .version = SSL_get_version(w->ssl), .cipher = SSL_get_cipher_name(w->ssl) };
	unsigned char *at;
	const unsigned char *staple = NULL;
	long staple_n = SSL_get_tlsext_status_ocsp_resp(w->ssl, &staple);
	size_t total = 1;

	if (staple_n > 0)
		f.staple = slice_of(staple, (size_t)staple_n);
	f.n = NUM_MIN((size_t)NUM_MAX(sk_X509_num(chain), 0), (size_t)WIRE_CHAIN_MAX);
	for (size_t i = 0; i < f.n; i++)
		total += (size_t)NUM_MAX(i2d_X509(sk_X509_value(chain, (int)i), NULL), 0);
	at = f.chain_bytes = malloc(total);
	if (at == NULL)
		return false;
	for (size_t i = 0; i < f.n; i++) {
		int n = i2d_X509(sk_X509_value(chain, (int)i), &at);

		f.chain[i] = slice_of(at - NUM_MAX(n, 0), (size_t)NUM_MAX(n, 0));
	}
	*ret = f;
	return true;
}

static const char *
alert_remedy(int alert, const struct wire_tls_opts *o)
{
	bool about_cert = (alert >= 42 && alert <= 46) || alert == 48 || alert == 116;

	if ((about_cert || alert == SSL_AD_HANDSHAKE_FAILURE) && o->cert == NULL && o->psk == NULL)
		return "it may ask for a client certificate: give --cert and --key";
	if (alert == SSL_AD_CERTIFICATE_EXPIRED)
		return "renew it";
	if (alert == SSL_AD_UNKNOWN_CA)
		return "is it issued by a CA that the broker trusts, and does the file hold the "
		       "intermediates too?";
	if (about_cert)
		return "the broker's log has the reason";
	if (alert == SSL_AD_UNKNOWN_PSK_IDENTITY ||
	    (o->psk != NULL && alert != SSL_AD_PROTOCOL_VERSION))
		return "check --psk and --psk-identity";
	if (alert == SSL_AD_PROTOCOL_VERSION)
		return "it speaks another TLS version: see --tls-version";
	return "the broker's log has the reason";
}

static enum wire_result
explain_alert(const struct wire *w, int alert, struct err *err)
{
	const struct wire_tls_opts *o = &w->target->tls->opts;
	bool ours = o->cert != NULL && ((alert >= 42 && alert <= 46) || alert == 48);

	ERR_clear_error();
	(void)err_set(err, ERR_DENIED, "the broker refused %s: %s (alert %d); %s",
	    ours ? "our certificate" : "us in TLS", wire_alert_text(alert), alert,
	    alert_remedy(alert, o));
	return WIRE_TLS;
}

/* After an SSL_ call that returned <rc>. */
static enum wire_result
explain(struct wire *w, int rc, struct err *err)
{
	int saved = errno, kind = SSL_get_error(w->ssl, rc);
	unsigned long e = ERR_peek_last_error();
	int reason = ERR_GET_REASON(e);
	char where[300];

	w->want_write = kind == SSL_ERROR_WANT_WRITE;
	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
		return WIRE_AGAIN;
	wire_where(w->target, where, sizeof where);
	if (kind == SSL_ERROR_SSL && reason > SSL_AD_REASON_OFFSET &&
	    reason < SSL_AD_REASON_OFFSET + 256)
		return explain_alert(w, reason - SSL_AD_REASON_OFFSET, err);
	if (w->verify[0] != '\0') {
		ERR_clear_error();
		(void)err_set(err, ERR_DENIED, "%s", w->verify);
		return WIRE_TLS;
	}
	if (kind == SSL_ERROR_ZERO_RETURN || (kind == SSL_ERROR_SYSCALL && e == 0) ||
	    reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
		bool reset = kind == SSL_ERROR_SYSCALL && saved != 0;

		ERR_clear_error();
		if (!SSL_is_init_finished(w->ssl))
			(void)err_set(err, ERR_SYSTEM,
			    "the broker at %s closed the connection during the TLS handshake; does "
			    "this port speak TLS?",
			    where);
		else if (reset)
			(void)(errno = saved, err_sys(err, "the connection was lost"));
		else
			(void)err_set(err, ERR_SYSTEM, "the broker closed the connection");
		return WIRE_CLOSED;
	}
	if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG)
		(void)err_set(err, ERR_INPUT,
		    "%s does not answer in TLS; use the broker's TLS port, or leave out the TLS "
		    "flags",
		    where);
	else
		(void)err_set(err, ERR_SYSTEM, "TLS with %s: %s", where,
		    e != 0 ? ERR_reason_error_string(e) : "failed");
	ERR_clear_error();
	return WIRE_TLS;
}

enum wire_result
wire_tls_shake(struct wire *w, struct err *err)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_do_handshake(w->ssl);
	w->want_write = false;
	return rc == 1 ? WIRE_OK : explain(w, rc, err);
}

enum wire_result
wire_tls_read(struct wire *w, void *p, size_t n, size_t *ret, struct err *err)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_read_ex(w->ssl, p, n, ret);
	w->want_write = false;
	return rc == 1 ? WIRE_OK : explain(w, rc, err);
}

enum wire_result
wire_tls_write(struct wire *w, struct slice s, size_t *ret, struct err *err)
{
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_write_ex(w->ssl, s.p, s.n, ret);
	w->want_write = false;
	return rc == 1 ? WIRE_OK : explain(w, rc, err);
}

void
wire_tls_stop(struct wire *w)
{
	if (w->ssl == NULL)
		return;
	if (SSL_is_init_finished(w->ssl)) {
		ERR_clear_error();
		(void)SSL_shutdown(w->ssl); /* one step: nobody waits for the answer */
	}
	ERR_clear_error();
	SSL_free(w->ssl);
	w->ssl = NULL;
}
