/* Every cause of a refusal is told apart; roles come from keys; what older tools made is accepted. */
#include "pki/testca.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include <openssl/pem.h>

struct world {
	struct t_dir dir;
	struct t_cert root, client, watch, control, other_root, twin; /* twin: names as client, another key */
};

static struct world w;

static int
setup(void **state)
{
	(void)state;
	t_dir_init(&w.dir);
	w.root = t_root("Root");
	w.client = t_sub("Client CA", &w.root);
	w.watch = t_sub("Watch CA", &w.root);
	w.control = t_sub("Control CA", &w.root);
	w.other_root = t_root("Other Root");
	w.twin = t_sub("Client CA", &w.other_root);
	t_put_certs(&w.dir, "ca.pem", (struct t_cert[]){ w.root, w.client, w.watch, w.control }, 4);
	t_put_certs(&w.dir, "root.pem", &w.root, 1);
	t_put_certs(&w.dir, "client.pem", &w.client, 1);
	t_put_certs(&w.dir, "watch.pem", &w.watch, 1);
	t_put_certs(&w.dir, "control.pem", &w.control, 1);
	return 0;
}

static int
teardown(void **state)
{
	struct t_cert *all[] = { &w.root, &w.client, &w.watch, &w.control, &w.other_root, &w.twin };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		t_done(all[i]);
	t_dir_done(&w.dir);
	return 0;
}

static struct pki_trust *
trust_with(const char *ca_file, const char *crl_file, bool quarantine)
{
	char ca[512], crl[512], p[3][512];
	const struct pki_role_ca roles[] = {
		{ AUTHZ_ROLE_CLIENT, t_path(&w.dir, "client.pem", p[0]) },
		{ AUTHZ_ROLE_WATCH, t_path(&w.dir, "watch.pem", p[1]) },
		{ AUTHZ_ROLE_CONTROL, t_path(&w.dir, "control.pem", p[2]) },
	};
	const char *crls[] = { crl };
	struct pki_trust_config c = { .ca_file = t_path(&w.dir, ca_file, ca), .roles = roles, .n_roles = 3,
		.crl_files = crls, .n_crl_files = crl_file != NULL ? 1 : 0, .require_cn = true, .quarantine = quarantine };
	struct err err = { 0 };
	struct pki_trust *t;

	if (crl_file != NULL)
		(void)t_path(&w.dir, crl_file, crl);
	t = pki_trust_new(&c, &err);
	if (t == NULL)
		print_error("%s\n", err.text);
	assert_non_null(t);
	return t;
}

/* As net/ does it: the store holds what the cafile holds. */
static struct pki_peer *
judge(const struct pki_trust *t, const char *ca_file, X509 *leaf, X509 *sent, bool *ret_ok)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = sk_X509_new_null();
	struct pki_peer *p = NULL;
	char path[512];

	assert_int_equal(X509_STORE_load_file(store, t_path(&w.dir, ca_file, path)), 1);
	sk_X509_push(chain, leaf);
	if (sent != NULL)
		sk_X509_push(chain, sent);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, chain), 1);
	X509_STORE_CTX_set_default(ctx, "ssl_client");
	X509_STORE_CTX_set_time(ctx, 0, T_NOW);
	*ret_ok = pki_judge(t, ctx, &p);
	assert_non_null(p);
	assert_int_equal(*ret_ok, p->cause == PKI_OK);
	assert_int_equal(X509_STORE_CTX_get_error(ctx) == X509_V_OK, *ret_ok);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	sk_X509_free(chain);
	return p;
}

struct expect {
	const char *ca_file, *crl_file;
	struct t_cert leaf;       /* consumed */
	X509 *sent;
	enum pki_cause cause;
	const char *says;         /* in text; NULL: accepted */
	enum authz_role role;
	bool quarantine;
};

static void
check(struct expect e)
{
	const char *ca_file = e.ca_file != NULL ? e.ca_file : "ca.pem";
	struct pki_trust *t = trust_with(ca_file, e.crl_file, e.quarantine);
	bool ok;
	struct pki_peer *p = judge(t, ca_file, e.leaf.x, e.sent, &ok);

	if (p->cause != e.cause || (e.says != NULL && strstr(p->text, e.says) == NULL))
		print_error("wanted \"%s\", cause %s: %s | %s (error %d depth %d)\n", e.says != NULL ? e.says : "", pki_cause_name(p->cause), p->text, p->remedy, p->error,
		    p->depth);
	assert_int_equal(p->cause, e.cause);
	if (e.says != NULL) {
		assert_non_null(strstr(p->text, e.says));
		assert_true(strlen(p->remedy) > 10);
		assert_null(strchr(p->text, '\n'));
	} else {
		assert_int_equal(p->role, e.role);
	}
	pki_peer_free(p);
	pki_trust_unref(t);
	t_done(&e.leaf);
}

static void
roles_come_from_keys(void **state)
{
	(void)state;
	check((struct expect){ .leaf = t_leaf("d1", &w.client), .role = AUTHZ_ROLE_CLIENT });
	check((struct expect){ .leaf = t_leaf("d1", &w.client), .sent = w.client.x, .role = AUTHZ_ROLE_CLIENT });
	check((struct expect){ .leaf = t_leaf("w1", &w.watch), .role = AUTHZ_ROLE_WATCH });
	check((struct expect){ .leaf = t_leaf("c1", &w.control), .role = AUTHZ_ROLE_CONTROL });
	/* Root only in the cafile: the chain has to be sent, and the role is the same. */
	check((struct expect){ .ca_file = "root.pem", .leaf = t_leaf("d1", &w.client), .sent = w.client.x,
	    .role = AUTHZ_ROLE_CLIENT });
	/* C12: words in a name give nothing. */
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "Control CA", .org = "Control" }, &w.client),
	    .role = AUTHZ_ROLE_CLIENT });
	/* A7: issued by a root that has no role, X.509 v1. */
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "client01", .v1 = true }, &w.root) });
	/* A3: a CA of the right name below a trusted root, with another key. */
	{
		struct t_cert fake = t_sub("Control CA", &w.root);

		check((struct expect){ .ca_file = "root.pem", .leaf = t_leaf("x", &fake), .sent = fake.x });
		t_done(&fake);
	}
}

/* The commands of the DesignSpark article: CA without keyUsage, RSA, v1 leaves; one certificate of the CA in the cafile. */
static void
legacy_is_accepted(void **state)
{
	struct t_cert ca = t_make(&(struct t_want){ .cn = "Highly Trusted CA", .constraints = "critical,CA:TRUE",
				      .key = EVP_RSA_gen(2048) }, NULL);
	struct t_cert leaf = t_make(&(struct t_want){ .cn = "client01", .v1 = true }, &ca);

	(void)state;
	EVP_PKEY_free(ca.key); /* t_make() took a reference of its own */
	t_put_certs(&w.dir, "legacy.pem", &ca, 1);
	check((struct expect){ .ca_file = "legacy.pem", .leaf = leaf });
	t_done(&ca);
}

/* A certificate that stands in the cafile itself: a self-signed client is what the operator says it is, a CA is no client. */
static void
pinned(void **state)
{
	struct t_cert self = t_make(&(struct t_want){ .cn = "me", .constraints = "CA:TRUE" }, NULL);
	struct t_cert sub = t_make(&(struct t_want){ .cn = "Open CA", .constraints = "critical,CA:TRUE" }, &w.root);

	(void)state;
	t_put_certs(&w.dir, "pinned.pem", (struct t_cert[]){ self, sub, w.root }, 3);
	check((struct expect){ .ca_file = "pinned.pem", .leaf = self });
	check((struct expect){ .ca_file = "pinned.pem", .leaf = sub, .cause = PKI_BAD_IS_CA, .says = "that of a CA" });
}

static void
dates(void **state)
{
	(void)state;
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "d", .from = T_NOW - 99 * T_DAY, .to = T_NOW - 12 * T_DAY },
				   &w.client), .cause = PKI_BAD_EXPIRED, .says = "expired 12 days ago, at 2027-01-03" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "d", .from = T_NOW + 7200, .to = T_NOW + 9 * T_DAY }, &w.client),
	    .cause = PKI_BAD_NOT_YET, .says = "which is in 2 hours" });
	{
		struct t_cert old = t_make(&(struct t_want){ .cn = "Old CA", .constraints = "critical,CA:TRUE",
					       .to = T_NOW - T_DAY }, &w.root);

		check((struct expect){ .ca_file = "root.pem", .leaf = t_leaf("d", &old), .sent = old.x, .cause = PKI_BAD_EXPIRED,
		    .says = "the CA certificate CN=Old CA expired 1 day ago" });
		t_done(&old);
	}
}

/* A reload takes a CA away while a handshake is under way, which has it still. */
static void
an_anchor_of_before(void **state)
{
	struct t_cert leaf = t_leaf("d", &w.client), stays = t_leaf("e", &w.watch);
	struct pki_trust *t;
	struct pki_peer *p;
	bool ok;

	(void)state;
	t_put_certs(&w.dir, "less.pem", &w.watch, 1);
	t = trust_with("less.pem", NULL, false);
	p = judge(t, "ca.pem", leaf.x, NULL, &ok);
	assert_false(ok);
	assert_int_equal(p->cause, PKI_BAD_CA_WITHDRAWN);
	pki_peer_free(p);
	pki_peer_free(judge(t, "ca.pem", stays.x, NULL, &ok));
	assert_true(ok);
	pki_trust_unref(t);
	t_done(&leaf);
	t_done(&stays);
}

/* Only the dates of the certificate itself lead into quarantine: nothing above it, and no other fault. */
static void
quarantine(void **state)
{
	struct t_cert past = t_make(&(struct t_want){ .cn = "d", .from = T_NOW - 99 * T_DAY, .to = T_NOW - 12 * T_DAY }, &w.client);
	struct t_cert old = t_make(&(struct t_want){ .cn = "Old CA", .constraints = "critical,CA:TRUE", .to = T_NOW - T_DAY }, &w.root);
	struct pki_trust *in = trust_with("ca.pem", NULL, true), *out = trust_with("ca.pem", NULL, false);
	struct pki_standing standing;
	struct authz_facts f;
	struct pki_peer *p;
	bool ok;

	(void)state;
	p = judge(in, "ca.pem", past.x, NULL, &ok);
	assert_true(ok && p->role == AUTHZ_ROLE_QUARANTINE && p->valid_until == 0 && p->not_after == T_NOW - 12 * T_DAY);
	pki_peer_facts(p, false, &f);
	assert_true(pki_judge_again(in, &f, T_NOW, true, &standing));
	assert_false(pki_judge_again(out, &f, T_NOW, false, &standing));
	assert_int_equal(standing.cause, PKI_BAD_EXPIRED);
	pki_peer_free(p);
	pki_trust_unref(in);
	pki_trust_unref(out);
	t_put_crl(&w.dir, "crl.pem", t_crl(&w.client, past.x, T_NOW - T_DAY, T_NOW + T_DAY, 1));
	check((struct expect){ .quarantine = true, .crl_file = "crl.pem", .leaf = past, .cause = PKI_BAD_REVOKED, .says = "revoked" });
	check((struct expect){ .quarantine = true, .role = AUTHZ_ROLE_QUARANTINE,
	    .leaf = t_make(&(struct t_want){ .cn = "d", .from = T_NOW + 7200, .to = T_NOW + 9 * T_DAY }, &w.client) });
	check((struct expect){ .quarantine = true, .role = AUTHZ_ROLE_CLIENT, .leaf = t_leaf("d", &w.client) });
	check((struct expect){ .quarantine = true, .ca_file = "root.pem", .leaf = t_leaf("d", &old), .sent = old.x, .cause = PKI_BAD_EXPIRED,
	    .says = "the CA certificate CN=Old CA expired 1 day ago" });
	t_done(&old);
}

static void
issuers(void **state)
{
	struct t_cert foreign_sub = t_make(&(struct t_want){ .cn = "Foreign CA", .org = "Elsewhere",
					       .constraints = "critical,CA:TRUE" }, &w.other_root);

	(void)state;
	check((struct expect){ .leaf = t_leaf("d", &foreign_sub), .cause = PKI_BAD_ISSUER_UNKNOWN,
	    .says = "issuer CN=Foreign CA,O=Elsewhere not found" });
	/* The whole foreign chain is sent, root included. */
	check((struct expect){ .leaf = t_leaf("d", &w.other_root), .sent = w.other_root.x, .cause = PKI_BAD_ISSUER_UNKNOWN,
	    .says = "issuer CN=Other Root,O=Test not found" });
	/* Same name, another key: with and without identifiers (v1). */
	check((struct expect){ .leaf = t_leaf("d", &w.twin), .cause = PKI_BAD_ISSUER_OTHER_KEY, .says = "another key" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "d", .v1 = true }, &w.twin),
	    .cause = PKI_BAD_ISSUER_OTHER_KEY, .says = "another key" });
	check((struct expect){ .ca_file = "root.pem", .leaf = t_leaf("d", &w.twin), .cause = PKI_BAD_ISSUER_OTHER_KEY,
	    .says = "another key" });
	/* B7 */
	check((struct expect){ .ca_file = "root.pem", .leaf = t_leaf("d", &w.client), .cause = PKI_BAD_INTERMEDIATE_MISSING,
	    .says = "issuer CN=Client CA,O=Test not found: the intermediate certificate was not sent" });
	t_done(&foreign_sub);
}

static void
names_of_cas(void **state)
{
	X509_NAME *name = X509_get_subject_name(w.root.x);

	(void)state;
	/* Checklist A6, with and without identifiers. */
	check((struct expect){ .leaf = t_make(&(struct t_want){ .subject = name, .v1 = true }, &w.root),
	    .cause = PKI_BAD_SUBJECT_IS_ISSUER, .says = "subject equals its issuer" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .subject = name, .extended = "clientAuth" }, &w.root),
	    .cause = PKI_BAD_SUBJECT_IS_ISSUER, .says = "subject equals its issuer" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "me" }, NULL), .cause = PKI_BAD_SELF_SIGNED,
	    .says = "self-signed" });
}

static void
usages(void **state)
{
	struct t_cert leaf_as_ca = t_leaf("d0", &w.client), deep = t_sub("Deep CA", &w.client);

	(void)state;
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "b", .extended = "serverAuth" }, &w.client),
	    .cause = PKI_BAD_USAGE, .says = "it is a server's" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "b", .extended = "codeSigning" }, &w.client),
	    .cause = PKI_BAD_USAGE, .says = "no clientAuth" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "b", .usage = "critical,keyEncipherment" }, &w.client),
	    .cause = PKI_BAD_USAGE, .says = "no digitalSignature" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "b", .extended = "serverAuth,clientAuth" }, &w.client),
	    .role = AUTHZ_ROLE_CLIENT });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "ca", .constraints = "critical,CA:TRUE" }, &w.root),
	    .cause = PKI_BAD_IS_CA, .says = "that of a CA" });
	/* As CAs really are: the key usage would forbid it, too. */
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "ca", .constraints = "critical,CA:TRUE",
	    .usage = "critical,keyCertSign,cRLSign" }, &w.root), .cause = PKI_BAD_IS_CA, .says = "that of a CA" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "x" }, &leaf_as_ca), .sent = leaf_as_ca.x,
	    .cause = PKI_BAD_NOT_A_CA, .says = "not that of a CA" });
	check((struct expect){ .leaf = t_leaf("x", &deep), .sent = deep.x, .cause = PKI_BAD_NOT_A_CA, .says = "path length" });
	t_done(&leaf_as_ca);
	t_done(&deep);
}

static void
signatures_and_strength(void **state)
{
	struct t_cert bad = t_leaf("d", &w.client), old = t_leaf("d", &w.client);
	EVP_PKEY *small = EVP_RSA_gen(1024);
	unsigned char *der = NULL;
	const unsigned char *at;
	int n = i2d_X509(bad.x, &der);

	(void)state;
	der[n - 3] ^= 1; /* inside the signature */
	at = der;
	X509_free(bad.x);
	bad.x = d2i_X509(NULL, &at, n);
	OPENSSL_free(der);
	assert_non_null(bad.x);
	check((struct expect){ .leaf = bad, .cause = PKI_BAD_SIGNATURE, .says = "signature of the certificate does not verify" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "d", .key = small }, &w.client), .cause = PKI_BAD_WEAK,
	    .says = "RSA 1024 bits" });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "d", .digest = "SHA1" }, &w.client),
	    .cause = PKI_BAD_WEAK, .says = "SHA1" });
	EVP_PKEY_free(small);
	t_done(&old);
}

static void
common_names(void **state)
{
	static const char long_cn[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	static const struct {
		struct t_want want;
		const char *says;
	} bad[] = {
		{ { .cn = NULL, .org = "x" }, "it is missing" },
		{ { .cn = "a/b" }, "'/'" },
		{ { .cn = "a+" }, "wildcards" },
		{ { .cn = "#" }, "wildcards" },
		{ { .cn = "a", .two_cns = true }, "more than once" },
		{ { .cn = "a\0b", .cn_len = 3, .cn_type = V_ASN1_UTF8STRING }, "NUL" },
		{ { .cn = "a\nb", .cn_type = V_ASN1_UTF8STRING }, "control character" },
		{ { .cn = "\0a\0b", .cn_len = 4, .cn_type = V_ASN1_BMPSTRING }, "encoded as BMPSTRING" },
		{ { .cn = "abc", .cn_type = V_ASN1_T61STRING }, "encoded as T61STRING" },
	};

	(void)state;
	/* A UTF8String that is not UTF-8 does not get here: libcrypto refuses to parse such a name (names_test has the rule). */
	assert_int_equal(strlen(long_cn), 64);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		check((struct expect){ .leaf = t_make(&bad[i].want, &w.client), .cause = PKI_BAD_CN, .says = bad[i].says });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = long_cn }, &w.client), .role = AUTHZ_ROLE_CLIENT });
	check((struct expect){ .leaf = t_make(&(struct t_want){ .cn = "Gerät 7", .cn_type = V_ASN1_UTF8STRING }, &w.client),
	    .role = AUTHZ_ROLE_CLIENT });
}

static void
revocation(void **state)
{
	struct t_cert good = t_leaf("d", &w.client), bad = t_leaf("e", &w.client), other = t_leaf("f", &w.client);
	int64_t from = T_NOW - T_DAY, to = T_NOW + T_DAY;

	(void)state;
	t_put_crl(&w.dir, "crl.pem", t_crl(&w.client, bad.x, from, to, 1));
	check((struct expect){ .crl_file = "crl.pem", .leaf = bad, .cause = PKI_BAD_REVOKED,
	    .says = "revoked at 2027-01-14 08:00:00 UTC (key compromise)" });
	check((struct expect){ .crl_file = "crl.pem", .leaf = good, .role = AUTHZ_ROLE_CLIENT });
	check((struct expect){ .crl_file = "crl.pem", .leaf = t_leaf("g", &w.watch), .cause = PKI_BAD_CRL_MISSING,
	    .says = "no CRL of CA CN=Watch CA" });
	t_put_crl(&w.dir, "crl.pem", t_crl(&w.client, NULL, from - T_DAY, from, 0));
	check((struct expect){ .crl_file = "crl.pem", .leaf = other, .cause = PKI_BAD_CRL_EXPIRED,
	    .says = "the CRL of CA CN=Client CA,O=Test expired at 2027-01-14 08:00:00 UTC" });
	t_put_crl(&w.dir, "crl.pem", t_crl(&w.client, NULL, to, to + T_DAY, 0));
	check((struct expect){ .crl_file = "crl.pem", .leaf = t_leaf("h", &w.client), .cause = PKI_BAD_CRL_FUTURE,
	    .says = "from the future" });
}

/* A revoked intermediate refuses all below it, although the chain ends there; and a CRL whose CA came with the chain counts. */
static void
revocation_above(void **state)
{
	int64_t from = T_NOW - T_DAY, to = T_NOW + T_DAY;
	X509_CRL *two[2] = { t_crl(&w.root, w.client.x, from, to, 2), t_crl(&w.client, NULL, from, to, 0) };
	BIO *b = BIO_new(BIO_s_mem());
	struct t_cert bad = t_leaf("e", &w.watch);
	char *data;
	long n;

	(void)state;
	assert_true(PEM_write_bio_X509_CRL(b, two[0]) == 1 && PEM_write_bio_X509_CRL(b, two[1]) == 1);
	n = BIO_get_mem_data(b, &data);
	t_put(&w.dir, "two.pem", slice_of(data, (size_t)n));
	BIO_free(b);
	X509_CRL_free(two[0]);
	X509_CRL_free(two[1]);
	check((struct expect){ .crl_file = "two.pem", .leaf = t_leaf("d", &w.client), .cause = PKI_BAD_REVOKED,
	    .says = "the CA certificate CN=Client CA,O=Test was revoked" });
	check((struct expect){ .crl_file = "two.pem", .ca_file = "root.pem", .leaf = t_leaf("d", &w.client), .sent = w.client.x,
	    .cause = PKI_BAD_REVOKED, .says = "the CA certificate CN=Client CA" });
	t_put_crl(&w.dir, "watch-crl.pem", t_crl(&w.watch, bad.x, from, to, 0));
	check((struct expect){ .crl_file = "watch-crl.pem", .ca_file = "root.pem", .leaf = bad, .sent = w.watch.x,
	    .cause = PKI_BAD_REVOKED, .says = "was revoked" });
}

static void
trust_refuses_bad_files(void **state)
{
	char ca[512], file[512], crl[512];
	struct pki_role_ca roles[2] = { { AUTHZ_ROLE_CLIENT, file }, { AUTHZ_ROLE_WATCH, file } };
	const char *crls[] = { crl };
	struct pki_trust_config c = { .ca_file = t_path(&w.dir, "ca.pem", ca), .roles = roles, .n_roles = 2 };
	struct t_cert leaf = t_leaf("d", &w.client);
	struct err err;

	(void)state;
	(void)t_path(&w.dir, "client.pem", file);
	assert_null(pki_trust_new(&c, &err));
	assert_non_null(strstr(err.text, "has the role \"client\" already"));
	t_put_certs(&w.dir, "leaf.pem", &leaf, 1);
	(void)t_path(&w.dir, "leaf.pem", file);
	c.n_roles = 1;
	assert_null(pki_trust_new(&c, &err));
	assert_non_null(strstr(err.text, "leaf.pem: is not the certificate of a CA"));
	(void)t_path(&w.dir, "ca.pem", file);
	assert_null(pki_trust_new(&c, &err));
	assert_non_null(strstr(err.text, "has 4 certificates"));
	c.n_roles = 0;
	c.crl_files = crls;
	c.n_crl_files = 1;
	(void)t_path(&w.dir, "client.pem", crl);
	assert_null(pki_trust_new(&c, &err));
	assert_non_null(strstr(err.text, "client.pem: is a certificate, not a CRL"));
	t_put_crl(&w.dir, "forged.pem", t_crl(&w.twin, NULL, T_NOW, T_NOW + T_DAY, 0));
	(void)t_path(&w.dir, "forged.pem", crl);
	assert_null(pki_trust_new(&c, &err));
	assert_non_null(strstr(err.text, "that CA did not sign it"));
	(void)t_path(&w.dir, "nowhere.pem", ca);
	assert_null(pki_trust_new(&c, &err));
	assert_non_null(strstr(err.text, "nowhere.pem"));
	t_done(&leaf);
}

static void
facts_are_complete(void **state)
{
	struct t_cert leaf = t_leaf("dev 1", &w.client);
	struct pki_trust *t = trust_with("ca.pem", NULL, false);
	struct authz_facts f;
	uint8_t key[32];
	bool ok;
	struct pki_peer *p = judge(t, "ca.pem", leaf.x, NULL, &ok);

	(void)state;
	assert_true(ok && spki_hash(w.client.x, key));
	pki_peer_facts(p, false, &f);
	assert_true(f.has_cert && f.role == AUTHZ_ROLE_CLIENT);
	assert_true(slice_eq(f.cn, SL("dev 1")) && slice_eq(f.username, f.cn));
	assert_true(slice_eq(f.subject, SL("CN=dev 1")) && slice_eq(f.issuer, SL("CN=Client CA,O=Test")));
	assert_memory_equal(f.issuer_key, key, 32);
	assert_true(f.serial.n > 0 && f.serial.n <= 8 && f.not_after == T_NOW + 180 * T_DAY);
	pki_peer_facts(p, true, &f);
	assert_true(slice_eq(f.username, SL("CN=dev 1")));
	pki_peer_free(p);
	pki_trust_unref(pki_trust_ref(t));
	pki_trust_unref(t);
	t_done(&leaf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(roles_come_from_keys),
		cmocka_unit_test(legacy_is_accepted),
		cmocka_unit_test(pinned),
		cmocka_unit_test(an_anchor_of_before),
		cmocka_unit_test(dates),
		cmocka_unit_test(quarantine),
		cmocka_unit_test(issuers),
		cmocka_unit_test(names_of_cas),
		cmocka_unit_test(usages),
		cmocka_unit_test(signatures_and_strength),
		cmocka_unit_test(common_names),
		cmocka_unit_test(revocation),
		cmocka_unit_test(revocation_above),
		cmocka_unit_test(trust_refuses_bad_files),
		cmocka_unit_test(facts_are_complete),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
