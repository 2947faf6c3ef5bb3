/* TLS connections: who gets in, what the others are told, and what a connection costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "net/testkit.h"

static struct pki pki;

enum { NONE, OPTIONAL, REQUIRED };

static struct tls_ctx *
context(struct kit *k, int certs, int min_version)
{
	struct tls_config c = kit_tls_config(k, &pki);
	struct tls_ctx *t;
	struct err err;

	c.ask_client_cert = certs != NONE;
	c.require_client_cert = certs == REQUIRED;
	c.min_version = min_version;
	t = tls_ctx_new(&c, &err);
	if (t == NULL)
		fail_msg("%s", err.text);
	return t;
}

static void
start(struct kit *k, int certs, int min_version, const struct loop_limits *limits)
{
	struct tls_ctx *t;

	kit_init(k, 1, limits);
	t = context(k, certs, min_version);
	kit_listen(k, 1, t);
	tls_ctx_unref(t); /* the listener has its own reference */
	kit_start(k);
}

static void
test_echo(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, versions[v]);
		uint8_t *payload = malloc(1000000);
		struct kit k;
		struct client c;

		for (size_t i = 0; i < 1000000; i++)
			payload[i] = (uint8_t)(i * 5 >> 2);
		start(&k, REQUIRED, 0, NULL);
		c = client_connect(&k);
		assert_true(client_shake(&c, ctx));
		for (const char *verb = "etpe"; *verb != '\0'; verb++)
			client_echo(&c, *verb, "hello", 5);
		client_echo(&c, 'e', payload, 20000);
		client_echo(&c, 'e', payload, 200000);
		client_echo(&c, 'e', payload, 1);
		assert_int_equal(SSL_session_reused(c.ssl), 0);
		client_close(&c);
		kit_done(&k);
		assert_int_equal(k.opened, 1);
		assert_int_equal(k.identities, 1);
		assert_int_equal(k.freed, 1);
		assert_int_equal(k.closed, 1);
		SSL_CTX_free(ctx);
		free(payload);
	}
}

/* Ciphertext cut at every byte, the handshake included: a pair of memory BIOs stands for the
 * network. */
static void
test_split(void **state)
{
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, 0);
	uint8_t sent[300], got[300], wire[4096];
	struct kit k;
	struct client c;
	size_t n;
	SSL *ssl;
	bool done = false;

	(void)state;
	memset(sent, 'x', sizeof(sent));
	start(&k, REQUIRED, 0, NULL);
	c = client_connect(&k);
	ssl = SSL_new(ctx);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(ssl);
	n = frame(sent, 'e', sent + 5, 200);
	for (size_t have = 0; have < n;) {
		int out,
		    r = done ? SSL_read(ssl, got + have, (int)(n - have)) : SSL_do_handshake(ssl);

		if (!done && r == 1) {
			done = true;
			assert_int_equal(SSL_write(ssl, sent, (int)n), (int)n);
		} else if (done && r > 0) {
			have += (size_t)r;
			continue;
		}
		while ((out = BIO_read(SSL_get_wbio(ssl), wire, sizeof(wire))) > 0)
			for (int i = 0; i < out; i++)
				client_write(&c, wire + i, 1);
		out = (int)recv(c.fd, wire, sizeof(wire), 0);
		assert_true(out > 0);
		assert_int_equal(BIO_write(SSL_get_rbio(ssl), wire, out), out);
	}
	assert_memory_equal(sent, got, 205);
	SSL_free(ssl);
	client_close(&c);
	kit_done(&k);
	SSL_CTX_free(ctx);
}

/* Bytes through a socket pair into TLS would need a second thread on one SSL object, which libssl
 * does not allow: write and read alternate, and the client reads late. */
static void
test_slow_reader(void **state)
{
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, 0);
	uint8_t *payload = calloc(1, 200000), *buf = malloc(200005);
	struct kit k;
	struct client c;
	size_t n = 0;

	(void)state;
	start(&k, REQUIRED, 0, NULL);
	c = client_connect(&k);
	assert_true(client_shake(&c, ctx));
	/* 1.4 MB: more than stream and tail hold, less than the sockets of loopback take in
	 * addition. */
	for (int i = 0; i < 7; i++) {
		n = frame(buf, 'e', payload, 200000);
		buf[100] = (uint8_t)i;
		client_write(&c, buf, n);
	}
	for (int i = 0; i < 7; i++) {
		assert_int_equal(client_read(&c, buf, n), n);
		assert_int_equal(buf[100], i);
	}
	client_close(&c);
	kit_done(&k);
	assert_true(k.most <= KIT_HIGH + 200005);
	SSL_CTX_free(ctx);
	free(payload);
	free(buf);
}

static void
test_close_with_output(void **state)
{
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, 0);
	size_t size = 1000000, n = size + 5;
	uint8_t *buf = calloc(2, n), more[4096] = { 0 };

	(void)state;
	for (const char *v = "qc"; *v != '\0'; v++) {
		struct kit k;
		struct client c;

		start(&k, REQUIRED, 0, NULL);
		c = client_connect(&k);
		assert_true(client_shake(&c, ctx));
		client_write(&c, buf, frame(buf, *v, buf + n, size));
		client_write(&c, more, sizeof(more));
		assert_int_equal(client_read(&c, buf, n), n);
		assert_int_equal(client_read(&c, more, 1), 0);
		/* In good order: not a cut, not a reset. */
		assert_int_equal(
		    SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
		client_close(&c);
		kit_done(&k);
		assert_string_equal(k.why, "-");
	}
	SSL_CTX_free(ctx);
	free(buf);
}

static void
test_peer_close(void **state)
{
	SSL_CTX *ctx = client_ctx(NULL, &pki.root, 0);
	struct kit k;
	struct client c;
	uint8_t x;

	(void)state;
	start(&k, NONE, 0, NULL);
	c = client_connect(&k);
	assert_true(client_shake(&c, ctx));
	client_echo(&c, 'e', "x", 1);
	assert_int_equal(SSL_shutdown(c.ssl), 0);
	assert_int_equal(client_read(&c, &x, 1), 0);
	assert_int_equal(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
	kit_await(&k, &k.closed, 1);
	assert_string_equal(k.why, "-");
	client_close(&c);
	kit_done(&k);
	SSL_CTX_free(ctx);
}

/* What a client that is refused sees: the alert, not a reset. */
static int
alert_seen(struct client *c, bool shaken)
{
	uint8_t x;
	int reason;

	if (shaken)
		assert_int_equal(client_read(c, &x, 1), 0);
	reason = ERR_GET_REASON(ERR_peek_error());
	return reason > SSL_AD_REASON_OFFSET ? reason - SSL_AD_REASON_OFFSET : -1;
}

static void
test_client_certs(void **state)
{
	const struct {
		int certs;
		const struct cert *me;
		bool in, identity;
		enum net_failure_kind kind;
		int alert, alert_12; /* TLS 1.2 has no certificate_required */
	} cases[] = {
		{ NONE, &pki.client, true, false, 0, 0, 0 },
		{ OPTIONAL, NULL, true, false, 0, 0, 0 },
		{ OPTIONAL, &pki.client, true, true, 0, 0, 0 },
		{ OPTIONAL, &pki.stranger, false, true, NET_FAIL_VERIFY, SSL_AD_UNKNOWN_CA,
		    SSL_AD_UNKNOWN_CA },
		{ REQUIRED, NULL, false, false, NET_FAIL_NO_CERT, SSL_AD_CERTIFICATE_REQUIRED,
		    SSL_AD_HANDSHAKE_FAILURE },
		{ REQUIRED, &pki.client, true, true, 0, 0, 0 },
		{ REQUIRED, &pki.stranger, false, true, NET_FAIL_VERIFY, SSL_AD_UNKNOWN_CA,
		    SSL_AD_UNKNOWN_CA },
	};
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		size_t at = i / 2;
		SSL_CTX *ctx = client_ctx(cases[at].me, &pki.root, versions[i % 2]);
		int alert = i % 2 == 0 ? cases[at].alert : cases[at].alert_12;
		struct kit k;
		struct client c;
		bool shaken;

		start(&k, cases[at].certs, 0, NULL);
		c = client_connect(&k);
		shaken = client_shake(&c, ctx);
		if (cases[at].in) {
			assert_true(shaken);
			client_echo(&c, 'e', "x", 1);
		} else {
			assert_int_equal(alert_seen(&c, shaken), alert);
			kit_await(&k, &k.failed, 1);
			assert_int_equal(k.last.kind, cases[at].kind);
			assert_int_equal(k.last.alert, alert);
			assert_int_equal(k.last.identity, cases[at].identity);
		}
		client_close(&c);
		kit_done(&k);
		assert_int_equal(k.opened, cases[at].in);
		assert_int_equal(k.failed, !cases[at].in);
		assert_int_equal(k.identities, cases[at].in && cases[at].identity);
		assert_int_equal(k.freed, cases[at].identity);
		SSL_CTX_free(ctx);
	}
}

/* A client that does not trust our CA. */
static void
test_client_refuses_us(void **state)
{
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.stranger_root, versions[i]);
		struct kit k;
		struct client c;

		start(&k, REQUIRED, 0, NULL);
		c = client_connect(&k);
		assert_false(client_shake(&c, ctx));
		client_close(&c);
		kit_await(&k, &k.failed, 1);
		assert_int_equal(k.last.kind, NET_FAIL_ALERT);
		assert_int_equal(k.last.alert, SSL_AD_UNKNOWN_CA);
		assert_non_null(strstr(k.last.detail, "unknown CA"));
		kit_done(&k);
		SSL_CTX_free(ctx);
	}
}

static void
test_no_common_version(void **state)
{
	SSL_CTX *ctx = client_ctx(NULL, &pki.root, TLS1_2_VERSION);
	struct kit k;
	struct client c;

	(void)state;
	start(&k, NONE, TLS1_3_VERSION, NULL);
	c = client_connect(&k);
	assert_int_equal(alert_seen(&c, client_shake(&c, ctx)), SSL_AD_PROTOCOL_VERSION);
	kit_await(&k, &k.failed, 1);
	assert_int_equal(k.last.kind, NET_FAIL_TLS);
	assert_int_equal(k.last.alert, SSL_AD_PROTOCOL_VERSION);
	assert_string_equal(k.last.detail, "unsupported protocol");
	client_close(&c);
	kit_done(&k);
	SSL_CTX_free(ctx);
}

static void
test_no_common_cipher(void **state)
{
	SSL_CTX *ctx = client_ctx(NULL, &pki.root, TLS1_2_VERSION);
	struct kit k;
	struct client c;

	(void)state;
	assert_int_equal(SSL_CTX_set_cipher_list(ctx, "AES256-SHA256"), 1);
	start(&k, NONE, 0, NULL);
	c = client_connect(&k);
	assert_int_equal(alert_seen(&c, client_shake(&c, ctx)), SSL_AD_HANDSHAKE_FAILURE);
	kit_await(&k, &k.failed, 1);
	assert_int_equal(k.last.kind, NET_FAIL_TLS);
	assert_string_equal(k.last.detail, "no shared cipher");
	client_close(&c);
	kit_done(&k);
	SSL_CTX_free(ctx);
}

static void
test_alpn(void **state)
{
	static const struct {
		const char *offer;
		unsigned n;
		bool in;
	} cases[] = { { "\x04mqtt", 5, true }, { "\x02h2\x04mqtt", 8, true },
		{ "\x02h2", 3, false } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		SSL_CTX *ctx = client_ctx(NULL, &pki.root, 0);
		const uint8_t *name = NULL;
		unsigned n = 0;
		struct kit k;
		struct client c;
		bool shaken;

		SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)cases[i].offer, cases[i].n);
		start(&k, NONE, 0, NULL);
		c = client_connect(&k);
		shaken = client_shake(&c, ctx);
		assert_int_equal(shaken, cases[i].in);
		SSL_get0_alpn_selected(c.ssl, &name, &n);
		if (cases[i].in)
			assert_true(slice_eq(slice_of(name, n), SL("mqtt")));
		else
			assert_int_equal(alert_seen(&c, shaken), SSL_AD_NO_APPLICATION_PROTOCOL);
		client_close(&c);
		kit_done(&k);
		SSL_CTX_free(ctx);
	}
}

/* The first message of a client, to be sent in part or and then nothing. */
static size_t
client_hello(uint8_t *out, size_t cap)
{
	SSL_CTX *ctx = client_ctx(NULL, &pki.root, 0);
	SSL *ssl = SSL_new(ctx);
	int n;

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(ssl);
	(void)SSL_do_handshake(ssl);
	n = BIO_read(SSL_get_wbio(ssl), out, (int)cap);
	assert_true(n > 100);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return (size_t)n;
}

static void
test_failures(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		size_t hello; /* so many bytes of a ClientHello before */
		bool close;
		enum net_failure_kind kind;
		bool probe;
	} cases[] = {
		{ "", 0, 0, true, NET_FAIL_CLOSED, true },
		{ "", 0, 0, false, NET_FAIL_TIMEOUT, true },
		{ "", 0, 1, false, NET_FAIL_TIMEOUT, false },
		{ "", 0, 1, true, NET_FAIL_CLOSED, false },
		{ "", 0, 70, false, NET_FAIL_TIMEOUT, false },
		{ "", 0, 70, true, NET_FAIL_CLOSED, false },
		{ "", 0, SIZE_MAX, false, NET_FAIL_TIMEOUT, false },
		{ "", 0, SIZE_MAX, true, NET_FAIL_CLOSED, false },
		{ "\x10\x10\x00\x04MQTT\x05", 9, 0, false, NET_FAIL_PLAIN_ON_TLS, false },
		{ "G", 1, 0, false, NET_FAIL_PLAIN_ON_TLS, false },
		{ "\x16\x04", 2, 0, false, NET_FAIL_PLAIN_ON_TLS, false },
		{ "\x16\x03\x01\xff\xff", 5, 0, false, NET_FAIL_TLS, false },
		{ "\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9, 0, false, NET_FAIL_TLS, false },
		{ "\x15\x03\x03\x00\x02\x02\x30", 7, SIZE_MAX, false, NET_FAIL_ALERT, false },
		{ "garbage after a hello", 21, SIZE_MAX, false, NET_FAIL_TLS, false },
	};
	uint8_t hello[2048], buf[4096];
	size_t len = client_hello(hello, sizeof(hello));

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct loop_limits limits = { .handshake_timeout_ms = 60 };
		struct kit k;
		struct client c;

		start(&k, REQUIRED, 0, &limits);
		c = client_connect(&k);
		client_write(&c, hello, cases[i].hello < len ? cases[i].hello : len);
		if (cases[i].n > 0)
			client_write(&c, cases[i].bytes, cases[i].n);
		if (cases[i].close)
			shutdown(c.fd, SHUT_WR);
		while (recv(c.fd, buf, sizeof(buf), 0) > 0)
			;
		kit_await(&k, &k.failed, 1);
		assert_int_equal(k.last.kind, cases[i].kind);
		assert_int_equal(k.last.probe, cases[i].probe);
		if (cases[i].kind == NET_FAIL_PLAIN_ON_TLS) {
			assert_int_equal(k.last.first_n, cases[i].n);
			assert_memory_equal(k.last.first, cases[i].bytes, cases[i].n);
		}
		client_close(&c);
		kit_done(&k);
		assert_int_equal(k.failed, 1);
		assert_int_equal(k.opened, 0);
	}
}

/* A record that was changed on the way: the stream hears why, the peer gets its alert. */
static void
test_bad_record(void **state)
{
	static const uint8_t bad[] = "\x17\x03\x03\x00\x20"
				     "0123456789abcdef0123456789abcdef";
	SSL_CTX *ctx = client_ctx(NULL, &pki.root, 0);
	struct kit k;
	struct client c;

	(void)state;
	start(&k, NONE, 0, NULL);
	c = client_connect(&k);
	assert_true(client_shake(&c, ctx));
	client_echo(&c, 'e', "x", 1);
	assert_int_equal(send(c.fd, bad, 37, MSG_NOSIGNAL), 37);
	assert_int_equal(alert_seen(&c, true), SSL_AD_BAD_RECORD_MAC);
	kit_await(&k, &k.closed, 1);
	assert_non_null(strstr(k.why, "TLS: decryption failed or bad record mac"));
	client_close(&c);
	kit_done(&k);
	SSL_CTX_free(ctx);
}

/* Above the bound accept() waits; the queue of the kernel holds those who come, and they are served
 * later. */
static void
test_max_handshakes(void **state)
{
	struct loop_limits limits = { .max_handshakes = 2 };
	SSL_CTX *ctx = client_ctx(NULL, &pki.root, 0);
	struct client c[4];
	struct kit k;

	(void)state;
	start(&k, NONE, 0, &limits);
	for (int i = 0; i < 4; i++)
		c[i] = client_connect(&k);
	for (int i = 0; i < 4; i++) {
		assert_true(client_shake(&c[i], ctx));
		client_echo(&c[i], 'e', "x", 1);
	}
	for (int i = 0; i < 4; i++)
		client_close(&c[i]);
	kit_done(&k);
	assert_int_equal(k.opened, 4);
	SSL_CTX_free(ctx);
}

static void
set_tls(void *ctx, void *arg)
{
	struct kit_loop *on = ctx;
	struct kit *k = on->kit;

	loop_set_tls(on->loop, k, arg);
	tls_ctx_unref(arg);
	pthread_mutex_lock(&k->lock);
	k->posted++;
	pthread_cond_broadcast(&k->changed);
	pthread_mutex_unlock(&k->lock);
}

/* New connections come under the new settings, old ones live on. */
static void
test_reload(void **state)
{
	SSL_CTX *ctx = client_ctx(NULL, &pki.root, 0);
	struct client old, new;
	struct kit k;
	bool shaken;

	(void)state;
	start(&k, NONE, 0, NULL);
	old = client_connect(&k);
	assert_true(client_shake(&old, ctx));
	assert_true(loop_post(k.loops[0].loop, set_tls, context(&k, REQUIRED, 0)));
	kit_await(&k, &k.posted, 1);
	new = client_connect(&k);
	shaken = client_shake(&new, ctx);
	assert_int_equal(alert_seen(&new, shaken), SSL_AD_CERTIFICATE_REQUIRED);
	client_echo(&old, 'e', "x", 1);
	client_close(&new);
	client_close(&old);
	kit_done(&k);
	SSL_CTX_free(ctx);
}

static void
test_config_errors(void **state)
{
	const struct {
		const char *cert, *key, *ca, *text;
	} cases[] = {
		{ "missing.pem", NULL, NULL, "certfile /" },
		{ NULL, "missing.pem", NULL, "keyfile /" },
		{ NULL, NULL, "missing.pem", "cafile /" },
		{ "extra.pem", NULL, NULL, "the file is empty" },
		{ "key.pem", NULL, NULL, "no usable certificate" },
		{ NULL, "cert.pem", NULL, "no private key" },
		{ NULL, NULL, "extra.pem", "cafile /" },
		{ NULL, NULL, "key.pem", "no usable certificate" },
		{ "ca.pem", NULL, NULL, "does not belong to the certificate" },
	};
	struct kit k;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tls_config c = kit_tls_config(&k, &pki);
		char path[3][128];
		struct err err;

		pki_write(&pki, "extra.pem", "");
		(void)snprintf(path[0], 128, "%s/%s", pki.dir,
		    cases[i].cert != NULL ? cases[i].cert : "cert.pem");
		(void)snprintf(path[1], 128, "%s/%s", pki.dir,
		    cases[i].key != NULL ? cases[i].key : "key.pem");
		(void)snprintf(
		    path[2], 128, "%s/%s", pki.dir, cases[i].ca != NULL ? cases[i].ca : "ca.pem");
		c.cert_file = path[0];
		c.key_file = path[1];
		c.ca_file = path[2];
		c.require_client_cert = true;
		assert_null(tls_ctx_new(&c, &err));
		if (strstr(err.text, cases[i].text) == NULL)
			fail_msg("case %zu: %s", i, err.text);
	}
}

/* Whether to serve with it is not decided here: operators must be able to come in and see what is wrong. */
static void
test_dates_are_told(void **state)
{
	struct cert expired = cert_make("localhost", &pki.root, -7200, -3600);
	struct kit k;
	struct tls_config c = kit_tls_config(&k, &pki);
	int64_t from = 0, until = 0, now = (int64_t)time(NULL);
	struct tls_ctx *t;
	char path[128], key[128];
	struct err err;

	(void)state;
	pki_write_cert(&pki, "extra.pem", &expired, false);
	(void)snprintf(path, sizeof(path), "%s/extra.pem", pki.dir);
	pki_write_cert(&pki, "extra-key.pem", &expired, true);
	(void)snprintf(key, sizeof(key), "%s/extra-key.pem", pki.dir);
	c.cert_file = path;
	c.key_file = key;
	t = tls_ctx_new(&c, &err);
	if (t == NULL)
		fail_msg("%s", err.text);
	assert_true(tls_ctx_dates(t, &from, &until));
	assert_true(from < until && until < now - 3500 && until > now - 3700);
	tls_ctx_unref(t);
	cert_done(&expired);
}

static void
test_encrypted_key(void **state)
{
	struct tls_config c;
	struct err err;
	struct kit k;
	char path[128];
	FILE *f;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/extra.pem", pki.dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, pki.server.key, EVP_aes_128_cbc(),
			     (const unsigned char *)"secret", 6, NULL, NULL),
	    1);
	(void)fclose(f);
	c = kit_tls_config(&k, &pki);
	c.key_file = path;
	assert_null(tls_ctx_new(&c, &err));
	assert_non_null(strstr(err.text, "the key is encrypted"));
	c = kit_tls_config(&k, &pki);
	c.ciphers = "NONSENSE";
	assert_null(tls_ctx_new(&c, &err));
	assert_non_null(strstr(err.text, "ciphers NONSENSE"));
	c = kit_tls_config(&k, &pki);
	c.key_file = NULL;
	assert_null(tls_ctx_new(&c, &err));
	assert_int_equal(err.code, ERR_USAGE);
}

/* What an idle connection with a client certificate costs on the heap. The clients' objects are
 * gone when it is measured. */
static void
test_memory(void **state)
{
	enum { N = 400, TARGET = 20000 };
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, 0);
	struct client c[N + 1];
	struct rlimit lim;
	struct kit k;
	size_t before = 0, after, each;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max < 4096 ? lim.rlim_max : 4096;
	setrlimit(RLIMIT_NOFILE, &lim);
	start(&k, REQUIRED, 0, NULL);
	for (unsigned i = 0; i <= N; i++) {
		c[i] = client_connect(&k);
		assert_true(client_shake(&c[i], ctx));
		client_echo(&c[i], 'e', "x", 1);
		SSL_set_quiet_shutdown(c[i].ssl, 1);
		SSL_free(c[i].ssl);
		c[i].ssl = NULL;
		kit_await(&k, &k.opened, i + 1);
		if (i == 0)
			before =
			    mallinfo2().uordblks; /* the first also pays for what is made once */
	}
	after = mallinfo2().uordblks;
	each = (after - before) / N;
	printf("heap per idle TLS 1.3 connection with a client certificate: %zu bytes\n", each);
	for (unsigned i = 0; i <= N; i++)
		client_close(&c[i]);
	kit_done(&k);
	SSL_CTX_free(ctx);
	if (before == 0)
		skip(); /* a sanitizer's allocator does not tell */
	assert_true(each <= TARGET);
}

static int
setup(void **state)
{
	(void)state;
	pki_init(&pki);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	pki_done(&pki);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_close_with_output),
		cmocka_unit_test(test_peer_close),
		cmocka_unit_test(test_client_certs),
		cmocka_unit_test(test_client_refuses_us),
		cmocka_unit_test(test_no_common_version),
		cmocka_unit_test(test_no_common_cipher),
		cmocka_unit_test(test_alpn),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_bad_record),
		cmocka_unit_test(test_max_handshakes),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_config_errors),
		cmocka_unit_test(test_dates_are_told),
		cmocka_unit_test(test_encrypted_key),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
