/* Certificates for tests, see testkit.h. */
#include "net/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void
extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

struct cert
cert_make(const char *cn, const struct cert *ca, long not_before_s, long not_after_s)
{
	struct cert c = { X509_new(), EVP_EC_gen("P-256") };
	X509 *issuer = ca != NULL ? ca->x : c.x;
	X509_NAME *name = X509_get_subject_name(c.x);

	assert_non_null(c.key);
	X509_set_version(c.x, 2);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(c.x), (uint64_t)(uintptr_t)c.x);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(c.x, X509_get_subject_name(issuer));
	X509_gmtime_adj(X509_getm_notBefore(c.x), not_before_s);
	X509_gmtime_adj(X509_getm_notAfter(c.x), not_after_s);
	X509_set_pubkey(c.x, c.key);
	extend(c.x, issuer, NID_basic_constraints, ca == NULL ? "critical,CA:TRUE" : "CA:FALSE");
	assert_true(X509_sign(c.x, ca != NULL ? ca->key : c.key, EVP_sha256()) > 0);
	return c;
}

void
cert_done(struct cert *c)
{
	X509_free(c->x);
	EVP_PKEY_free(c->key);
}

static FILE *
open_in(const struct pki *p, const char *name, const char *mode)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, mode);
	assert_non_null(f);
	return f;
}

void
pki_write(const struct pki *p, const char *name, const char *text)
{
	FILE *f = open_in(p, name, "w");

	(void)fputs(text, f);
	(void)fclose(f);
}

void
pki_write_cert(const struct pki *p, const char *name, const struct cert *c, bool key)
{
	FILE *f = open_in(p, name, "w");

	if (key)
		assert_int_equal(PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL), 1);
	else
		assert_int_equal(PEM_write_X509(f, c->x), 1);
	(void)fclose(f);
}

void
pki_init(struct pki *p)
{
	const char *tmp = getenv("TMPDIR");

	*p = (struct pki){ 0 };
	(void)snprintf(p->dir, sizeof(p->dir), "%.40s/net-test-XXXXXX", tmp != NULL ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->ca, sizeof(p->ca), "%s/ca.pem", p->dir);
	(void)snprintf(p->cert, sizeof(p->cert), "%s/cert.pem", p->dir);
	(void)snprintf(p->key, sizeof(p->key), "%s/key.pem", p->dir);
	p->root = cert_make("root", NULL, -60, 3600);
	p->server = cert_make("localhost", &p->root, -60, 3600);
	p->client = cert_make("device1", &p->root, -60, 3600);
	p->stranger_root = cert_make("other root", NULL, -60, 3600);
	p->stranger = cert_make("device1", &p->stranger_root, -60, 3600);
	pki_write_cert(p, "ca.pem", &p->root, false);
	pki_write_cert(p, "cert.pem", &p->server, false);
	pki_write_cert(p, "key.pem", &p->server, true);
}

void
pki_done(struct pki *p)
{
	static const char *const names[] = { "ca.pem", "cert.pem", "key.pem", "extra.pem" };
	char path[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", p->dir, names[i]);
		(void)unlink(path);
	}
	(void)rmdir(p->dir);
	cert_done(&p->root);
	cert_done(&p->server);
	cert_done(&p->client);
	cert_done(&p->stranger_root);
	cert_done(&p->stranger);
}

SSL_CTX *
client_ctx(const struct cert *me, const struct cert *trusted, int version)
{
	SSL_CTX *s = SSL_CTX_new(TLS_client_method());

	assert_non_null(s);
	SSL_CTX_set_mode(s, SSL_MODE_NO_AUTO_CHAIN); /* devices send their leaf only */
	if (version != 0) {
		SSL_CTX_set_min_proto_version(s, version);
		SSL_CTX_set_max_proto_version(s, version);
	}
	if (trusted != NULL) {
		X509_STORE_add_cert(SSL_CTX_get_cert_store(s), trusted->x);
		SSL_CTX_set_verify(s, SSL_VERIFY_PEER, NULL);
	}
	if (me != NULL) {
		assert_int_equal(SSL_CTX_use_certificate(s, me->x), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(s, me->key), 1);
	}
	return s;
}
