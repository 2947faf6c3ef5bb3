/* TLS through a BIO on the loop's windows: one recv() feeds any number of records, one send()
 * carries any number. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/num.h"
#include "bench.h"

enum { PATH_CAP = 1024 };

static int
bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static int
bio_read(BIO *bio, char *p, int n)
{
	struct tls_io *io = BIO_get_data(bio);
	size_t k = NUM_MIN(io->in_n, (size_t)n);

	BIO_clear_retry_flags(bio);
	if (k == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(p, io->in, k);
	io->in += k;
	io->in_n -= k;
	return (int)k;
}

/* The window is emptied when it holds TX_HIGH and has room for more than one write above that. */
static int
bio_write(BIO *bio, const char *p, int n)
{
	struct tls_io *io = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if ((size_t)n > io->out_cap - io->out_n)
		return -1;
	memcpy(io->out + io->out_n, p, (size_t)n);
	io->out_n += (size_t)n;
	return n;
}

static long
bio_ctrl(BIO *bio, int cmd, long n, void *p)
{
	(void)bio;
	(void)n;
	(void)p;
	return cmd == BIO_CTRL_FLUSH;
}

const char *
tls_why(char *out, size_t cap)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code != 0 ? ERR_reason_error_string(code) : NULL;

	(void)snprintf(out, cap, "%s", text != NULL ? text : "no reason given");
	ERR_clear_error();
	return out;
}

static bool
fail(struct err *err, const char *what, const char *path)
{
	char why[128];

	return err_set(err, ERR_INPUT, "%s %s: %s", what, path, tls_why(why, sizeof why));
}

/* <pattern> with its first "%u" replaced. */
static void
expand(const char *pattern, unsigned n, char *out, size_t cap)
{
	const char *at = strstr(pattern, "%u");

	if (at == NULL)
		(void)snprintf(out, cap, "%s", pattern);
	else
		(void)snprintf(out, cap, "%.*s%u%s", (int)(at - pattern), pattern, n, at + 2);
}

static bool
use_certificate(SSL_CTX *ctx, const char *cert, const char *key, struct err *err)
{
	if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		return fail(err, "client certificate", cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return fail(err, "key of the client certificate", key);
	return true;
}

/* A folder holds cert.pem and key.pem, as `signet device add` makes them; else there are NAME.crt
 * and NAME.key. */
static bool
use_pattern(SSL_CTX *ctx, const char *pattern, unsigned n, struct err *err)
{
	char name[PATH_CAP], cert[PATH_CAP + 16], key[PATH_CAP + 16];
	struct stat st;
	bool folder;

	expand(pattern, n, name, sizeof name);
	folder = stat(name, &st) == 0 && S_ISDIR(st.st_mode);
	(void)snprintf(cert, sizeof cert, "%s%s", name, folder ? "/cert.pem" : ".crt");
	(void)snprintf(key, sizeof key, "%s%s", name, folder ? "/key.pem" : ".key");
	return use_certificate(ctx, cert, key, err);
}

static SSL_CTX *
new_context(const struct options *o, unsigned n, struct err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int version = o->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
	bool good = true;

	if (ctx == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory for TLS");
		return NULL;
	}
	(void)SSL_CTX_set_min_proto_version(ctx, version); /* both are built in */
	(void)SSL_CTX_set_max_proto_version(ctx, version);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	if (o->ca != NULL) {
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
		good = SSL_CTX_load_verify_file(ctx, o->ca) == 1 || fail(err, "--ca", o->ca);
	}
	if (good && o->cert_pattern != NULL)
		good = use_pattern(ctx, o->cert_pattern, n, err);
	else if (good && o->cert != NULL)
		good = use_certificate(ctx, o->cert, o->key, err);
	if (!good) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

bool
tls_init(struct bench *b, struct err *err)
{
	unsigned n = b->o.cert_pattern != NULL ? b->o.certs : 1;
	BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "window");

	b->bio = m;
	b->ctx = calloc(n, sizeof *b->ctx);
	if (m == NULL || b->ctx == NULL || BIO_meth_set_create(m, bio_create) != 1 ||
	    BIO_meth_set_read(m, bio_read) != 1 || BIO_meth_set_write(m, bio_write) != 1 ||
	    BIO_meth_set_ctrl(m, bio_ctrl) != 1)
		return err_set(err, ERR_MEMORY, "out of memory for TLS");
	for (b->n_ctx = 0; b->n_ctx < n; b->n_ctx++) {
		b->ctx[b->n_ctx] = new_context(&b->o, b->n_ctx, err);
		if (b->ctx[b->n_ctx] == NULL)
			return false;
	}
	return true;
}

void
tls_done(struct bench *b)
{
	for (unsigned i = 0; b->conns != NULL && i < b->n_conns; i++)
		SSL_SESSION_free(b->conns[i].session);
	for (unsigned i = 0; i < b->n_ctx; i++)
		SSL_CTX_free(b->ctx[i]);
	free(b->ctx);
	BIO_meth_free(b->bio);
}

bool
tls_attach(struct conn *c)
{
	struct bench *b = c->bench;
	BIO *bio = BIO_new(b->bio);

	c->ssl = SSL_new(b->ctx[c->number % b->n_ctx]);
	if (bio == NULL || c->ssl == NULL) {
		BIO_free(bio);
		return false;
	}
	if (c->session != NULL)
		(void)SSL_set_session(c->ssl, c->session); /* else it is a full handshake */
	BIO_set_data(bio, &b->io);
	SSL_set_bio(c->ssl, bio, bio);
	SSL_set_connect_state(c->ssl);
	return true;
}

void
tls_free(struct conn *c)
{
	if (c->ssl != NULL && c->bench->o.resume && SSL_SESSION_has_ticket(SSL_get0_session(c->ssl)) &&
	    SSL_SESSION_is_resumable(SSL_get0_session(c->ssl))) {
		SSL_SESSION_free(c->session);
		c->session = SSL_get1_session(c->ssl);
	}
	if (c->ssl != NULL) /* else libssl would not use the session again */
		SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->ssl);
	c->ssl = NULL;
}

int
tls_handshake(struct conn *c)
{
	int r = SSL_do_handshake(c->ssl);

	if (r == 1)
		return 1;
	return SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ ? 0 : -1;
}

ptrdiff_t
tls_read(struct conn *c, uint8_t *p, size_t room, bool *ret_eof)
{
	size_t n = 0;
	int r = SSL_read_ex(c->ssl, p, room, &n);

	if (r == 1)
		return (ptrdiff_t)n;
	switch (SSL_get_error(c->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return 0;
	case SSL_ERROR_ZERO_RETURN:
		*ret_eof = true;
		return 0;
	default:
		return -1;
	}
}

bool
tls_write(struct conn *c, const uint8_t *p, size_t n)
{
	size_t done = 0;

	return SSL_write_ex(c->ssl, p, n, &done) == 1 && done == n;
}

bool
tls_name(const struct bench *b, unsigned number, char *out, size_t cap)
{
	const X509 *x = SSL_CTX_get0_certificate(b->ctx[number % b->n_ctx]);

	return x != NULL && X509_NAME_get_text_by_NID(
				X509_get_subject_name(x), NID_commonName, out, (int)cap) > 0;
}
