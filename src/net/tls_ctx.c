/* One listener's TLS settings: read from files, checked, then never changed. A reload makes a new
 * one. */
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/rd.h"
#include "base/text.h"
#include "net/internal.h"

enum { DH_BITS_MIN = 2048 };
enum { VERIFY_DEPTH = 3 }; /* leaf, issuing CA, an intermediate above it, root */

static const char ciphers_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
				 "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
				 "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
/* Forward secrecy where OpenSSL has it with an AEAD; else what small devices have. */
static const char ciphers_psk[] = "ECDHE-PSK-CHACHA20-POLY1305:PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384:"
				  "PSK-CHACHA20-POLY1305:PSK-AES128-CCM:PSK-AES256-CCM:PSK-AES128-CCM8";
static const char ciphers_13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char groups_pq[] = "X25519MLKEM768:X25519:P-256"; /* OpenSSL 3.5 has it */
static const char groups_ec[] = "X25519:P-256";

/* ---- what libssl asks while it shakes hands ---- */

static int
on_verify(X509_STORE_CTX *store, void *arg)
{
	struct tls_ctx *t = arg;
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_shake *s = SSL_get_app_data(ssl);
	void *peer = NULL;
	bool good;

	if (s == NULL || s->identity != NULL)
		return 0; /* once a handshake, and never after it */
	good = t->hooks.verify(t->hooks.ctx, store, &peer);
	s->identity = peer;
	/* The hook took from the chain what it wants; libssl would keep it as long as the
	 * connection lives. */
	X509_STORE_CTX_set0_verified_chain(store, NULL);
	if (good)
		tickets_offer(ssl, s);
	if (!good && X509_STORE_CTX_get_error(store) == X509_V_OK)
		X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return good ? 1 : 0;
}

static void
on_info(const SSL *ssl, int where, int ret)
{
	struct tls_shake *s;

	if (!(where & SSL_CB_ALERT) || (ret >> 8) != SSL3_AL_FATAL)
		return;
	s = SSL_get_app_data(ssl);
	if (s == NULL)
		return;
	if (where & SSL_CB_READ)
		s->alert_received = ret & 0xff;
	else
		s->alert_sent = ret & 0xff;
}

/* Only called when the peer offers protocols. RFC 7301 3.2: none of ours among them is fatal. */
static int
on_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_n, const uint8_t *in, unsigned in_n, void *arg)
{
	const struct tls_ctx *t = arg;
	uint8_t *chosen;

	(void)ssl;
	if (SSL_select_next_proto(&chosen, out_n, t->alpn, t->alpn_n, in, in_n) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* Also asked in TLS 1.3 (with SHA-256). No key at all would end the handshake in another way than a wrong one, and so tell
 * which identities there are: the hook has one for everybody. */
static unsigned
on_psk(SSL *ssl, const char *identity, unsigned char *key, unsigned cap)
{
	struct tls_shake *s = SSL_get_app_data(ssl);
	size_t n = 0;

	if (s == NULL || s->ctx->hooks.psk == NULL)
		return 0;
	free(s->psk);
	s->psk = strdup(identity);
	if (s->psk == NULL)
		return 0;
	s->psk_known = s->ctx->hooks.psk(s->ctx->hooks.ctx, slice_str(identity), key, cap, &n);
	return (unsigned)n;
}

static bool
set_psk(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	if (c->hooks.psk == NULL)
		return true;
	SSL_CTX_set_psk_server_callback(t->ssl, on_psk);
	return c->psk_hint == NULL || SSL_CTX_use_psk_identity_hint(t->ssl, c->psk_hint) == 1 ||
	       err_set(err, ERR_USAGE, "psk_hint %s: too long", c->psk_hint);
}

/* The same from the other side. With TLS 1.3 the key is offered with SHA-256. */
static unsigned
on_psk_client(SSL *ssl, const char *hint, char *identity, unsigned identity_cap, unsigned char *key, unsigned cap)
{
	const struct tls_shake *s = SSL_get_app_data(ssl);

	(void)hint;
	if (s == NULL || s->ctx->psk_n > cap ||
	    !text_copy(identity, identity_cap, slice_str(s->ctx->psk_identity)))
		return 0;
	memcpy(key, s->ctx->psk, s->ctx->psk_n);
	return (unsigned)s->ctx->psk_n;
}

static bool
set_client_psk(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	long n = 0;
	uint8_t *key;

	if (c->psk_identity == NULL)
		return true;
	key = OPENSSL_hexstr2buf(c->psk_key, &n);
	if (key == NULL || n < 1 || n > PSK_MAX || strchr(c->psk_key, ':') != NULL) {
		OPENSSL_clear_free(key, key != NULL ? (size_t)n : 0);
		return err_set(err, ERR_USAGE, "the pre-shared key is not 1 to %d bytes in hexadecimal", PSK_MAX);
	}
	memcpy(t->psk, key, (size_t)n);
	t->psk_n = (size_t)n;
	OPENSSL_clear_free(key, (size_t)n);
	t->psk_identity = strdup(c->psk_identity);
	SSL_CTX_set_psk_client_callback(t->ssl, on_psk_client);
	return t->psk_identity != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

/* Never ask on a terminal. */
static int
on_passphrase(char *buf, int cap, int writing, void *ctx)
{
	bool *asked = ctx;

	(void)writing;
	if (cap > 0)
		buf[0] = '\0';
	*asked = true;
	return -1;
}

/* ---- files ---- */

static const char *
last_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *text = ERR_reason_error_string(e);

	return text != NULL ? text : "unknown error";
}

/* Can it be read, and is it PEM? */
static bool
open_pem(const char *directive, const char *file, struct err *err)
{
	char head[64 * 1024];
	size_t n;
	FILE *f = fopen(file, "re");

	if (f == NULL)
		return err_sys(err, "%s %s", directive, file);
	n = fread(head, 1, sizeof(head) - 1, f);
	head[n] = '\0';
	if (ferror(f) != 0) {
		(void)err_sys(err, "%s %s", directive, file);
		(void)fclose(f);
		return false;
	}
	(void)fclose(f);
	if (n == 0)
		return err_set(err, ERR_INPUT, "%s %s: the file is empty", directive, file);
	if (memmem(head, n, "-----BEGIN ", 11) == NULL)
		return err_set(err, ERR_INPUT, "%s %s: not in PEM format%s", directive, file,
		    head[0] == 0x30 ? " (it looks like DER; convert it: openssl x509 -inform DER)"
				    : "");
	return true;
}

static bool
load_certificate(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	if (!open_pem("certfile", c->cert_file, err))
		return false;
	if (SSL_CTX_use_certificate_chain_file(t->ssl, c->cert_file) != 1)
		return err_set(err, ERR_INPUT, "certfile %s: no usable certificate in it (%s)",
		    c->cert_file, last_reason());
	return true;
}

static bool
load_key(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	bool asked = false;
	EVP_PKEY *key;
	BIO *b;
	int fits;

	if (!open_pem("keyfile", c->key_file, err))
		return false;
	b = BIO_new_file(c->key_file, "r");
	key = b != NULL ? PEM_read_bio_PrivateKey(b, NULL, on_passphrase, &asked) : NULL;
	(void)BIO_free(b);
	if (key == NULL && asked)
		return err_set(err, ERR_INPUT,
		    "keyfile %s: the key is encrypted; the broker cannot ask for a passphrase, "
		    "give it a key without one",
		    c->key_file);
	if (key == NULL)
		return err_set(err, ERR_INPUT, "keyfile %s: no private key in it (%s)", c->key_file,
		    last_reason());
	fits = X509_check_private_key(SSL_CTX_get0_certificate(t->ssl), key);
	if (fits == 1 && SSL_CTX_use_PrivateKey(t->ssl, key) != 1)
		fits = -1;
	EVP_PKEY_free(key);
	if (fits == -1)
		return err_set(
		    err, ERR_INPUT, "keyfile %s: cannot be used (%s)", c->key_file, last_reason());
	return fits == 1 || err_set(err, ERR_INPUT,
				"keyfile %s: does not belong to the certificate in certfile %s",
				c->key_file, c->cert_file);
}

/* RFC 7919 wants 2048 bits at the least; what is smaller can be broken beforehand for everybody who uses it. */
static bool
load_dh(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	EVP_PKEY *p;
	BIO *b;

	if (c->dh_file == NULL)
		return true;
	if (!open_pem("dhparamfile", c->dh_file, err))
		return false;
	b = BIO_new_file(c->dh_file, "r");
	p = b != NULL ? PEM_read_bio_Parameters(b, NULL) : NULL;
	(void)BIO_free(b);
	if (p == NULL || EVP_PKEY_get_base_id(p) != EVP_PKEY_DH || EVP_PKEY_get_bits(p) < DH_BITS_MIN) {
		EVP_PKEY_free(p);
		return err_set(err, ERR_INPUT, "dhparamfile %s: no Diffie-Hellman parameters of at least %d bits in it", c->dh_file, DH_BITS_MIN);
	}
	if (SSL_CTX_set0_tmp_dh_pkey(t->ssl, p) == 1)
		return true;
	EVP_PKEY_free(p);
	return err_set(err, ERR_INPUT, "dhparamfile %s: cannot be used (%s)", c->dh_file, last_reason());
}

static bool
check_folder(const char *path, struct err *err)
{
	DIR *d = opendir(path);

	if (d == NULL)
		return err_sys(err, "capath %s", path);
	(void)closedir(d);
	return true;
}

/* libcrypto reads a certificate's extensions when they are first asked for: here, while nobody else has the store, and not by
 * all threads at once at their first handshakes. */
static void
read_extensions(const SSL_CTX *s)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(s));

	for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
		X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));

		if (x != NULL)
			(void)X509_check_purpose(x, -1, 0);
	}
}

static bool
load_anchors(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	if (c->ca_file != NULL) {
		if (!open_pem("cafile", c->ca_file, err))
			return false;
		if (SSL_CTX_load_verify_file(t->ssl, c->ca_file) != 1)
			return err_set(err, ERR_INPUT,
			    "cafile %s: no usable certificate in it (%s)", c->ca_file,
			    last_reason());
		read_extensions(t->ssl);
	}
	if (c->ca_path != NULL) {
		if (!check_folder(c->ca_path, err))
			return false;
		if (SSL_CTX_load_verify_dir(t->ssl, c->ca_path) != 1)
			return err_set(err, ERR_INPUT, "capath %s: cannot be used (%s)", c->ca_path,
			    last_reason());
	}
	if (c->os_anchors && SSL_CTX_set_default_verify_paths(t->ssl) != 1)
		return err_set(err, ERR_SYSTEM, "the CAs of this machine cannot be used (%s)", last_reason());
	if ((c->ask_client_cert || c->require_client_cert) && c->ca_file == NULL &&
	    c->ca_path == NULL && c->hooks.verify == NULL)
		return err_set(err, ERR_USAGE,
		    "client certificates are asked for, but there is no cafile or capath to judge "
		    "them by");
	return true;
}

/* ---- settings ---- */

/* "mqtt,http/1.1" into length-prefixed names. */
static bool
set_alpn(struct tls_ctx *t, const char *names, struct err *err)
{
	struct slice all = slice_str(names != NULL ? names : "mqtt");
	bool more = true;

	t->alpn = malloc(all.n + 1);
	if (t->alpn == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	while (more) {
		struct slice one = slice_cut(&all, ',', &more);

		if (one.n == 0 || one.n > 255)
			return err_set(
			    err, ERR_USAGE, "ALPN protocol names have 1 to 255 characters");
		t->alpn[t->alpn_n++] = (uint8_t)one.n;
		memcpy(t->alpn + t->alpn_n, one.p, one.n);
		t->alpn_n += (unsigned)one.n;
	}
	SSL_CTX_set_alpn_select_cb(t->ssl, on_alpn, t);
	return true;
}

/* SSL_CTX_set1_groups_list() is a macro that casts const away where nothing is written. */
static bool
set_groups(SSL_CTX *s, const char *list)
{
	return SSL_CTX_ctrl(s, SSL_CTRL_SET_GROUPS_LIST, 0, (void *)(uintptr_t)list) == 1;
}

static bool
set_algorithms(SSL_CTX *s, const struct tls_config *c, struct err *err)
{
	char with_psk[sizeof(ciphers_12) + sizeof(ciphers_psk)];
	bool groups, only_psk = c->psk_identity != NULL;

	(void)snprintf(with_psk, sizeof(with_psk), "%s%s%s", only_psk ? "" : ciphers_12, c->hooks.psk != NULL ? ":" : "",
	    c->hooks.psk != NULL || only_psk ? ciphers_psk : "");
	if (SSL_CTX_set_cipher_list(s, c->ciphers != NULL ? c->ciphers : with_psk) != 1)
		return err_set(
		    err, ERR_USAGE, "ciphers %s: no cipher that this OpenSSL knows", c->ciphers);
	if (SSL_CTX_set_ciphersuites(s, c->ciphersuites != NULL ? c->ciphersuites : ciphers_13) !=
	    1)
		return err_set(err, ERR_USAGE,
		    "ciphers_tls1.3 %s: not a list of TLS 1.3 cipher suites", c->ciphersuites);
	if (c->groups != NULL)
		groups = set_groups(s, c->groups);
	else
		groups = set_groups(s, groups_pq) || set_groups(s, groups_ec);
	if (!groups)
		return err_set(err, ERR_USAGE,
		    "groups %s: not a list of groups that this OpenSSL knows",
		    c->groups != NULL ? c->groups : groups_ec);
	if (SSL_CTX_set_min_proto_version(
		s, c->min_version != 0 ? c->min_version : TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_max_proto_version(s, TLS1_3_VERSION) != 1)
		return err_set(err, ERR_USAGE, "tls_version: this OpenSSL does not have it");
	return true;
}

/* Records of refusals want the name that was asked for (RFC 6066 3). libssl does not look at it in a resumption of TLS 1.2, and not before
 * version and cipher suite are found, which may be what the handshake fails for. */
static int
on_hello(SSL *ssl, int *alert, void *arg)
{
	struct tls_shake *s = SSL_get_app_data(ssl);
	const uint8_t *p;
	size_t n;
	struct rd r;
	struct slice name;

	(void)alert;
	(void)arg;
	if (s == NULL || s->sni != NULL || SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &n) != 1)
		return SSL_CLIENT_HELLO_SUCCESS;
	r = rd_of(slice_of(p, n));
	(void)rd_u16(&r); /* of the list, which has one name */
	if (rd_u8(&r) != TLSEXT_NAMETYPE_host_name)
		return SSL_CLIENT_HELLO_SUCCESS;
	name = rd_str(&r);
	if (rd_ok(&r) && name.n <= TLSEXT_MAXLEN_host_name && memchr(name.p, 0, name.n) == NULL)
		s->sni = strndup((const char *)name.p, name.n); /* without memory the record lacks it */
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* Memory and safety: an idle connection holds no record buffers, no session is kept here, and early data can be replayed. */
static bool
set_behaviour(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	SSL_CTX *s = t->ssl;

	(void)SSL_CTX_set_options(s, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					 SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	(void)SSL_CTX_set_mode(s, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(s, 0);
	SSL_CTX_set_verify_depth(s, VERIFY_DEPTH);
	SSL_CTX_set_info_callback(s, on_info);
	if (c->ask_client_cert || c->require_client_cert)
		SSL_CTX_set_verify(s,
		    SSL_VERIFY_PEER |
			(c->require_client_cert ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
		    NULL);
	if (c->hooks.verify != NULL)
		SSL_CTX_set_cert_verify_callback(s, on_verify, t);
	SSL_CTX_set_client_hello_cb(s, on_hello, NULL);
	/* The context must be set where client certificates are asked for. */
	if (SSL_CTX_set_num_tickets(s, 0) != 1 || SSL_CTX_set_max_early_data(s, 0) != 1 ||
	    SSL_CTX_set_session_id_context(s, c->ticket_scope, sizeof(c->ticket_scope)) != 1 ||
	    (c->tickets != NULL && !tickets_set_up(t, c)))
		return err_set(err, ERR_SYSTEM, "cannot set up TLS: %s", last_reason());
	return true;
}

struct tls_ctx *
tls_ctx_new(const struct tls_config *c, struct err *err)
{
	struct tls_ctx *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	ERR_clear_error();
	atomic_init(&t->refs, 1);
	t->hooks = c->hooks;
	t->ssl = SSL_CTX_new(TLS_server_method());
	if (t->ssl == NULL)
		(void)err_set(err, ERR_SYSTEM, "cannot set up TLS: %s", last_reason());
	else if ((c->cert_file == NULL || c->key_file == NULL) &&
		 (c->hooks.psk == NULL || c->cert_file != NULL || c->key_file != NULL))
		(void)err_set(err, ERR_USAGE, "a TLS listener needs both certfile and keyfile");
	else if (!staple_init(t))
		(void)err_set(err, ERR_MEMORY, "out of memory");
	else if (set_algorithms(t->ssl, c, err) && set_behaviour(t, c, err) &&
		 set_alpn(t, c->alpn, err) && set_psk(t, c, err) && load_dh(t, c, err) &&
		 (c->cert_file == NULL || (load_certificate(t, c, err) && load_key(t, c, err))) &&
		 load_anchors(t, c, err)) {
		ERR_clear_error();
		return t;
	}
	ERR_clear_error();
	tls_ctx_unref(t);
	return NULL;
}

/* What is ours to say as a client. Renegotiation is the old way to change what was agreed on. */
static bool
set_client_behaviour(struct tls_ctx *t, const struct tls_config *c, struct err *err)
{
	SSL_CTX *s = t->ssl;

	(void)SSL_CTX_set_options(s, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_mode(s, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	(void)SSL_CTX_set_session_cache_mode(s, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify_depth(s, VERIFY_DEPTH);
	SSL_CTX_set_info_callback(s, on_info);
	SSL_CTX_set_verify(s, SSL_VERIFY_PEER, NULL);
	if (c->alpn == NULL)
		return true;
	/* Its server side callback is never asked here. Zero is success. */
	return set_alpn(t, c->alpn, err) &&
	       (SSL_CTX_set_alpn_protos(s, t->alpn, t->alpn_n) == 0 ||
		   err_set(err, ERR_SYSTEM, "cannot set up TLS: %s", last_reason()));
}

struct tls_ctx *
tls_client_new(const struct tls_config *c, bool any_name, struct err *err)
{
	struct tls_ctx *t = calloc(1, sizeof(*t));

	if (t == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	ERR_clear_error();
	atomic_init(&t->refs, 1);
	t->client = true;
	t->any_name = any_name;
	t->ssl = SSL_CTX_new(TLS_client_method());
	if (t->ssl == NULL)
		(void)err_set(err, ERR_SYSTEM, "cannot set up TLS: %s", last_reason());
	else if (c->ca_file == NULL && c->ca_path == NULL && !c->os_anchors && c->psk_identity == NULL)
		(void)err_set(err, ERR_USAGE, "there is no cafile or capath to judge the server by");
	else if ((c->cert_file == NULL) != (c->key_file == NULL))
		(void)err_set(err, ERR_USAGE, "%s", c->cert_file == NULL ? "keyfile needs a certfile" : "certfile needs a keyfile");
	else if (set_algorithms(t->ssl, c, err) && set_client_behaviour(t, c, err) && set_client_psk(t, c, err) &&
		 load_anchors(t, c, err) &&
		 (c->cert_file == NULL || (load_certificate(t, c, err) && load_key(t, c, err)))) {
		ERR_clear_error();
		return t;
	}
	ERR_clear_error();
	tls_ctx_unref(t);
	return NULL;
}

struct tls_ctx *
tls_ctx_ref(struct tls_ctx *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void
tls_ctx_unref(struct tls_ctx *t)
{
	if (t == NULL || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
		return;
	SSL_CTX_free(t->ssl);
	tls_tickets_unref(t->tickets);
	staple_done(t);
	free(t->alpn);
	free(t->psk_identity);
	OPENSSL_cleanse(t->psk, sizeof(t->psk));
	free(t);
}

bool
tls_ctx_dates(const struct tls_ctx *t, int64_t *ret_not_before, int64_t *ret_not_after)
{
	const X509 *x = SSL_CTX_get0_certificate(t->ssl);
	struct tm from, until;

	if (x == NULL || ASN1_TIME_to_tm(X509_get0_notBefore(x), &from) != 1 ||
	    ASN1_TIME_to_tm(X509_get0_notAfter(x), &until) != 1)
		return false;
	*ret_not_before = (int64_t)timegm(&from);
	*ret_not_after = (int64_t)timegm(&until);
	return true;
}
