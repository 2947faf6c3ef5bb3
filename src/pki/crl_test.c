/* Revocation lists: what is read, which one may take the place of another, and who has to go. */
#include "pki/testca.h"
#include "pki/trust.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>
#include <openssl/rsa.h>

struct world {
	struct t_dir dir;
	struct t_cert root, client, watch, twin; /* twin: the client CA's name, another key */
	struct t_cert leaf;
};

static struct world w;

static int
setup(void **state)
{
	struct t_cert other;

	(void)state;
	t_dir_init(&w.dir);
	w.root = t_root("Root");
	w.client = t_sub("Client CA", &w.root);
	w.watch = t_sub("Watch CA", &w.root);
	other = t_root("Other Root");
	w.twin = t_sub("Client CA", &other);
	w.leaf = t_leaf("dev", &w.client);
	t_done(&other);
	t_put_certs(&w.dir, "ca.pem", (struct t_cert[]){ w.root, w.client, w.watch }, 3);
	t_put_certs(&w.dir, "fewer.pem", (struct t_cert[]){ w.root, w.watch }, 2);
	t_put_certs(&w.dir, "root.pem", &w.root, 1);
	t_put_certs(&w.dir, "client.pem", &w.client, 1);
	t_put_certs(&w.dir, "watch.pem", &w.watch, 1);
	return 0;
}

static int
teardown(void **state)
{
	struct t_cert *all[] = { &w.root, &w.client, &w.watch, &w.twin, &w.leaf };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		t_done(all[i]);
	t_dir_done(&w.dir);
	return 0;
}

static struct pki_trust *
trust_of(const char *ca_file, const char *crl_file, int64_t grace)
{
	char ca[512], crl[512];
	const char *files[] = { crl };
	struct pki_trust_config c = { .ca_file = t_path(&w.dir, ca_file, ca), .crl_files = files,
		.n_crl_files = crl_file != NULL ? 1 : 0, .crl_grace = grace, .now = T_NOW };
	struct err err = { 0 };
	struct pki_trust *t;

	(void)t_path(&w.dir, crl_file != NULL ? crl_file : "", crl);
	t = pki_trust_new(&c, &err);
	if (t == NULL)
		print_error("%s\n", err.text);
	assert_non_null(t);
	return t;
}

static enum pki_cause
again(const struct pki_trust *t, const struct pki_peer *p, int64_t now, bool fresh)
{
	struct authz_facts f;
	struct pki_standing s;
	bool ok;

	pki_peer_facts(p, false, &f);
	ok = pki_judge_again(t, &f, now, fresh, &s);
	assert_int_equal(ok, s.cause == PKI_OK);
	assert_int_equal(ok, s.text[0] == '\0');
	return s.cause;
}

static void
print_complaint(void *ctx, const char *text)
{
	char *all = ctx;
	size_t n = strlen(all);

	(void)snprintf(all + n, 2000 - n, "%s\n", text);
}

static const char *
complaints(const struct pki_trust *t, char all[2000])
{
	all[0] = '\0';
	pki_trust_complaints(t, print_complaint, all);
	return all;
}

static const int64_t early = T_NOW - 3 * T_DAY, from = T_NOW - T_DAY, to = T_NOW + T_DAY;

/* What may take the place of CRL number 5 of yesterday, and what may not. */
/* The client CA stands in the cafile, or its certificate came with a chain. */
static void
replacing_of(bool brought)
{
	const char *cas = brought ? "root.pem" : "ca.pem";
	static const struct {
		const char *name;
		long number;
		int64_t last, next;
		enum { BY_CLIENT, BY_TWIN, BY_WATCH, DAMAGED, EMPTY, MISSING, DELTA } what;
		const char *says; /* NULL: taken */
	} rows[] = {
		{ "higher", 6, from, to, BY_CLIENT, NULL },
		{ "the same number, later", 5, T_NOW, to, BY_CLIENT, NULL },
		{ "higher, in spite of its date", 6, early, to, BY_CLIENT, NULL },
		{ "lower", 4, T_NOW, to, BY_CLIENT, "number is lower" },
		{ "lower by octets", 1, T_NOW, to, BY_CLIENT, "number is lower" },
		{ "the same number, earlier", 5, early, to, BY_CLIENT, "older than the one in force" },
		{ "no number, later", 0, T_NOW, to, BY_CLIENT, NULL },
		{ "no number, earlier", 0, early, to, BY_CLIENT, "older than the one in force" },
		{ "expired already", 6, early, from, BY_CLIENT, "has expired, and the one in force has not" },
		{ "from the future", 6, to, to + T_DAY, BY_CLIENT, "from the future" },
		{ "another key", 6, from, to, BY_TWIN, "did not sign it" },
		{ "of another CA", 6, from, to, BY_WATCH, "no good CRL of CN=Client CA" },
		{ "cut", 6, from, to, DAMAGED, "cut off" },
		{ "empty", 6, from, to, EMPTY, "empty file" },
		{ "gone", 6, from, to, MISSING, "No such file" },
		{ "delta", 6, from, to, DELTA, "delta CRL" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		/* Another CA of this name may come with another chain: nobody can say of its list that it is forged. */
		bool other = rows[i].what == BY_WATCH || (brought && rows[i].what == BY_TWIN);
		const char *says = other ? "no good CRL of CN=Client CA" : rows[i].says;
		const struct t_cert *by = rows[i].what == BY_TWIN ? &w.twin : rows[i].what == BY_WATCH ? &w.watch : &w.client;
		struct pki_trust *old, *new;
		struct err err = { 0 };
		struct pki_peer *p;
		char path[512], all[2000];

		print_message("%s\n", rows[i].name);
		t_put_crl(&w.dir, "x.pem", t_crl_of(&(struct t_crl_want){ .by = &w.client, .number = 5, .last = from, .next = to }));
		old = trust_of(cas, "x.pem", 0);
		p = t_accepted(&w.dir, old, cas, w.leaf.x, brought ? w.client.x : NULL);
		t_put_crl(&w.dir, "x.pem",
		    t_crl_of(&(struct t_crl_want){ .by = by, .victims = { w.leaf.x }, .number = rows[i].number, .last = rows[i].last,
			.next = rows[i].next, .delta = rows[i].what == DELTA }));
		if (rows[i].what == DAMAGED)
			t_put(&w.dir, "x.pem", SL("-----BEGIN X509 CRL-----\nMII"));
		if (rows[i].what == EMPTY)
			t_put(&w.dir, "x.pem", SL(""));
		if (rows[i].what == MISSING)
			assert_int_equal(unlink(t_path(&w.dir, "x.pem", path)), 0);
		new = pki_trust_renew(old, NULL, T_NOW, &err);
		assert_non_null(new);
		(void)complaints(new, all);
		if (says == NULL)
			assert_string_equal(all, "");
		else if (strstr(all, says) == NULL)
			fail_msg("%s: %s", rows[i].name, all);
		assert_int_equal(pki_trust_same_crls(old, new), says != NULL && !other);
		assert_int_equal(again(new, p, T_NOW, true), says == NULL ? PKI_BAD_REVOKED : PKI_OK);
		assert_int_equal(again(old, p, T_NOW, true), PKI_OK);
		pki_peer_free(p);
		pki_trust_unref(old);
		pki_trust_unref(new);
	}
}

static void
replacing(void **state)
{
	(void)state;
	replacing_of(false);
}

static void
replacing_where_the_ca_comes_with_chains(void **state)
{
	(void)state;
	replacing_of(true);
}

struct news {
	unsigned n;
	uint8_t key[32];
	struct slice serial;
};

static bool
on_news(void *ctx, const uint8_t key[32], struct slice serial)
{
	struct news *n = ctx;

	n->n++;
	memcpy(n->key, key, 32);
	n->serial = serial;
	return true;
}

/* Only those who were not revoked before are news; and who did not change is shared. */
static void
what_is_new(void **state)
{
	struct t_cert other = t_leaf("other", &w.client);
	struct t_crl_want want = { .by = &w.client, .victims = { other.x }, .number = 5, .last = from, .next = to, .more = 1000 };
	struct pki_trust *old, *new, *same;
	struct news n = { 0 };
	struct err err = { 0 };
	uint8_t serial[AUTHZ_SERIAL_MAX], key[32];
	size_t len = serial_bytes(X509_get0_serialNumber(w.leaf.x), serial);

	(void)state;
	t_put_crl(&w.dir, "n.pem", t_crl_of(&want));
	old = trust_of("ca.pem", "n.pem", 0);
	same = pki_trust_renew(old, NULL, T_NOW, &err);
	assert_true(pki_trust_same_crls(old, same) && pki_trust_news(old, same, on_news, &n) && n.n == 0);
	want.victims[1] = w.leaf.x;
	want.number = 6;
	t_put_crl(&w.dir, "n.pem", t_crl_of(&want));
	new = pki_trust_renew(same, NULL, T_NOW, &err);
	assert_true(pki_trust_news(same, new, on_news, &n));
	assert_int_equal(n.n, 1);
	assert_true(spki_hash(w.client.x, key) && memcmp(key, n.key, 32) == 0 && slice_eq(n.serial, slice_of(serial, len)));
	pki_trust_unref(old);
	pki_trust_unref(same);
	pki_trust_unref(new);
	t_done(&other);
}

/* A CA revoked by its issuer, one taken away, a leaf whose time is over: each is seen from the facts alone. */
static void
the_whole_chain(void **state)
{
	struct pki_trust *plain = trust_of("ca.pem", NULL, 0), *root = trust_of("root.pem", NULL, 0), *t;
	struct pki_peer *p = t_accepted(&w.dir, plain, "ca.pem", w.leaf.x, NULL), *q = t_accepted(&w.dir, root, "root.pem", w.leaf.x, w.client.x);

	(void)state;
	assert_int_equal(again(plain, p, T_NOW, true), PKI_OK);
	assert_int_equal(again(plain, p, p->valid_until + 1, false), PKI_BAD_EXPIRED);
	/* With its CA out of the cafile who was accepted by it has to show the chain again; who did is as good as before. */
	t = trust_of("fewer.pem", NULL, 0);
	assert_int_equal(again(t, p, T_NOW, false), PKI_BAD_CA_WITHDRAWN);
	assert_int_equal(again(t, q, T_NOW, false), PKI_OK);
	pki_trust_unref(t);
	t = trust_of("client.pem", NULL, 0);
	assert_int_equal(again(t, q, T_NOW, false), PKI_BAD_CA_WITHDRAWN);
	pki_trust_unref(t);
	t_put_crl(&w.dir, "r.pem", t_crl_of(&(struct t_crl_want){ .by = &w.root, .victims = { w.client.x }, .last = from, .next = to }));
	t = trust_of("ca.pem", "r.pem", 0);
	assert_int_equal(again(t, p, T_NOW, false), PKI_BAD_REVOKED);
	assert_int_equal(again(t, q, T_NOW, false), PKI_BAD_REVOKED);
	pki_trust_unref(t);
	t_put_crl(&w.dir, "r.pem", t_crl_of(&(struct t_crl_want){ .by = &w.root, .victims = { w.watch.x }, .last = from, .next = to }));
	t = trust_of("ca.pem", "r.pem", 0);
	assert_int_equal(again(t, p, T_NOW, false), PKI_OK);
	/* A new connection needs a CRL of its CA, one that stands does not. */
	assert_int_equal(again(t, p, T_NOW, true), PKI_BAD_CRL_MISSING);
	pki_trust_unref(t);
	pki_trust_unref(plain);
	pki_trust_unref(root);
	pki_peer_free(p);
	pki_peer_free(q);
}

static struct pki_trust *
trust_after(const struct pki_trust *previous, const char *ca_file, const char *crl_file)
{
	char ca[512], crl[512];
	const char *files[] = { t_path(&w.dir, crl_file, crl) };
	struct pki_trust_config c = { .ca_file = t_path(&w.dir, ca_file, ca), .crl_files = files, .n_crl_files = 1, .previous = previous, .now = T_NOW };
	struct err err = { 0 };
	struct pki_trust *t = pki_trust_new(&c, &err);

	if (t == NULL)
		print_error("%s\n", err.text);
	assert_non_null(t);
	return t;
}

static void
count_known(void *ctx, const struct pki_crl *c)
{
	*(unsigned *)ctx += c->known;
}

/* The root alone is trusted. A handshake that began before the list came brings its CA after it did; and a CA counts only below a root
 * that is trusted now. */
static void
a_ca_that_came_with_a_chain(void **state)
{
	struct pki_trust *before = trust_of("root.pem", NULL, 0), *t, *elsewhere;
	struct pki_peer *p;
	unsigned known = 0;

	(void)state;
	t_put_crl(&w.dir, "b.pem", t_crl_of(&(struct t_crl_want){ .by = &w.client, .victims = { w.leaf.x }, .number = 1, .last = from, .next = to }));
	t = trust_after(before, "root.pem", "b.pem");
	pki_trust_crls(t, count_known, &known);
	assert_int_equal(known, 0);
	p = t_accepted(&w.dir, before, "root.pem", w.leaf.x, w.client.x);
	assert_int_equal(again(t, p, T_NOW, false), PKI_BAD_REVOKED);
	pki_trust_crls(t, count_known, &known);
	assert_int_equal(known, 1);
	elsewhere = trust_after(before, "watch.pem", "b.pem");
	known = 0;
	pki_trust_crls(elsewhere, count_known, &known);
	assert_int_equal(known, 0);
	pki_trust_unref(elsewhere);
	pki_trust_unref(before);
	pki_trust_unref(t);
	pki_peer_free(p);
}

static void
add_brought(struct brought *b, uint32_t key, uint8_t branch)
{
	uint8_t k[32] = { 0 }, of[32] = { branch };

	memcpy(k, &key, sizeof key);
	brought_add(b, w.client.x, k, of);
}

static bool
has_brought(struct brought *b, uint32_t key)
{
	uint8_t k[32] = { 0 };
	X509 *x;

	memcpy(k, &key, sizeof key);
	x = brought_find(b, k);
	assert_true(x == NULL || x == w.client.x);
	X509_free(x);
	return x != NULL;
}

/* Whoever has a CA may show as many below it as he likes: nobody else's is forgotten for them. */
static void
who_brings_too_many(void **state)
{
	enum { OTHERS = 3, MANY = 10000 };
	struct brought *b = brought_new();
	STACK_OF(X509) *all;
	uint32_t i;

	(void)state;
	assert_non_null(b);
	for (i = 0; i < OTHERS; i++)
		add_brought(b, i, (uint8_t)i);
	for (; i < BROUGHT_MAX; i++)
		add_brought(b, i, 100);
	assert_true(has_brought(b, OTHERS));
	for (; i < BROUGHT_MAX + 5; i++)
		add_brought(b, i, 100);
	assert_true(has_brought(b, OTHERS) && has_brought(b, BROUGHT_MAX) && has_brought(b, OTHERS + 6));
	for (i = OTHERS + 1; i < OTHERS + 6; i++)
		assert_false(has_brought(b, i));
	for (i = BROUGHT_MAX; i < MANY; i++)
		add_brought(b, i, 100);
	for (i = 0; i < OTHERS; i++)
		assert_true(has_brought(b, i));
	assert_true(has_brought(b, MANY - 1) && !has_brought(b, OTHERS));
	all = brought_all(b);
	assert_int_equal(sk_X509_num(all), BROUGHT_MAX);
	sk_X509_pop_free(all, X509_free);
	brought_unref(b);
}

static void
a_role_that_changed(void **state)
{
	char ca[512], file[512];
	struct pki_role_ca role = { AUTHZ_ROLE_WATCH, t_path(&w.dir, "client.pem", file) };
	struct pki_trust_config c = { .ca_file = t_path(&w.dir, "ca.pem", ca), .roles = &role, .n_roles = 1, .now = T_NOW };
	struct err err = { 0 };
	struct pki_trust *plain = trust_of("ca.pem", NULL, 0), *t = pki_trust_new(&c, &err);
	struct pki_peer *p = t_accepted(&w.dir, plain, "ca.pem", w.leaf.x, NULL);

	(void)state;
	assert_int_equal(again(t, p, T_NOW, false), PKI_BAD_ROLE_CHANGED);
	pki_peer_free(p);
	pki_trust_unref(plain);
	pki_trust_unref(t);
}

static void
stale(void **state)
{
	struct pki_trust *fresh, *strict, *lenient;
	struct pki_peer *p;

	(void)state;
	t_put_crl(&w.dir, "s.pem", t_crl(&w.client, NULL, early, from, 0));
	fresh = trust_of("ca.pem", NULL, 0);
	strict = trust_of("ca.pem", "s.pem", T_DAY);
	lenient = trust_of("ca.pem", "s.pem", T_DAY + 10);
	p = t_accepted(&w.dir, fresh, "ca.pem", w.leaf.x, NULL);
	assert_int_equal(again(strict, p, T_NOW, true), PKI_BAD_CRL_EXPIRED);
	assert_int_equal(again(strict, p, T_NOW, false), PKI_OK);
	assert_int_equal(again(lenient, p, T_NOW + 9, true), PKI_OK);
	assert_int_equal(again(lenient, p, T_NOW + 10, true), PKI_BAD_CRL_EXPIRED);
	pki_peer_free(p);
	pki_trust_unref(fresh);
	pki_trust_unref(strict);
	pki_trust_unref(lenient);
}

/* A directory: each file is a list of its own, and a CA without one is not checked. */
static void
directories(void **state)
{
	struct t_dir d;
	struct pki_trust *t, *new;
	struct pki_peer *p;
	struct err err = { 0 };

	(void)state;
	assert_true(path_join(d.path, sizeof d.path, w.dir.path, "crls"));
	assert_int_equal(mkdir(d.path, 0700), 0);
	t = trust_of("ca.pem", "crls", 0);
	p = t_accepted(&w.dir, t, "ca.pem", w.leaf.x, NULL);
	assert_int_equal(again(t, p, T_NOW, true), PKI_OK);
	t_put_crl(&d, "watch.pem", t_crl(&w.watch, NULL, from, to, 0));
	new = pki_trust_renew(t, NULL, T_NOW, &err);
	assert_int_equal(again(new, p, T_NOW, true), PKI_OK);
	pki_trust_unref(t);
	t_put_crl(&d, "client.pem", t_crl(&w.client, w.leaf.x, from, to, 1));
	t_put(&d, ".client.pem.new", SL("half of"));
	t = pki_trust_renew(new, NULL, T_NOW, &err);
	assert_int_equal(again(t, p, T_NOW, true), PKI_BAD_REVOKED);
	pki_trust_unref(new);
	pki_trust_unref(t);
	pki_peer_free(p);
}

/* Every kind of key signs CRLs that are understood, and a changed one is not. */
static void
signatures(void **state)
{
	const char *const types[] = { "EC", "RSA", "ED25519", "PSS" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		bool pss = strcmp(types[i], "PSS") == 0;
		EVP_PKEY *key = strcmp(types[i], "EC") == 0 ? EVP_EC_gen("P-384")
		    : strcmp(types[i], "ED25519") == 0      ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
							    : EVP_RSA_gen(2048);
		struct t_cert ca = { w.client.x, key };
		struct t_crl_want want = { .by = &ca, .number = 1, .last = from, .next = to, .more = 3 };
		X509_CRL *x = t_crl_of(&want);
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		EVP_PKEY_CTX *pctx;
		uint8_t *der = NULL;
		size_t n;

		if (pss) {
			assert_int_equal(EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, key), 1);
			assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING), 1);
			assert_true(X509_CRL_sign_ctx(x, ctx) > 0);
		}
		n = (size_t)i2d_X509_CRL(x, &der);
		assert_true(crl_signed_by(slice_of(der, n), key));
		assert_false(crl_signed_by(slice_of(der, n), w.client.key));
		der[n / 2] ^= 1;
		assert_false(crl_signed_by(slice_of(der, n), key));
		EVP_MD_CTX_free(ctx);
		OPENSSL_free(der);
		X509_CRL_free(x);
		EVP_PKEY_free(key);
	}
}

/* Every truncation and every changed octet is an error or a list, never a crash; and the whole has what libcrypto sees. */
static void
bytes(void **state)
{
	X509_CRL *x = t_crl_of(&(struct t_crl_want){ .by = &w.client, .victims = { w.leaf.x }, .number = 300, .last = from,
	    .next = to, .reason = 4, .more = 5 });
	uint8_t *der = NULL, serial[AUTHZ_SERIAL_MAX];
	size_t n = (size_t)i2d_X509_CRL(x, &der), len = serial_bytes(X509_get0_serialNumber(w.leaf.x), serial);
	struct err err = { 0 };
	struct crl *c = crl_new(slice_of(der, n), "f", &err);
	struct revoked r;

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->n, 6);
	assert_int_equal(c->last, from);
	assert_int_equal(c->next, to);
	assert_true(c->number_n == 2 && c->number[0] == 1 && c->number[1] == 44);
	assert_true(crl_find(c, slice_of(serial, len), &r) && r.date == from && r.reason == 4);
	serial[0] ^= 0x55;
	assert_false(crl_find(c, slice_of(serial, len), &r));
	crl_unref(c);
	for (size_t cut = 0; cut < n; cut++) {
		uint8_t *copy = malloc(cut > 0 ? cut : 1);

		memcpy(copy, der, cut);
		assert_null(crl_new(slice_of(copy, cut), "f", &err));
		free(copy);
	}
	for (size_t i = 0; i < n; i++) {
		der[i] ^= 0xff;
		crl_unref(crl_new(slice_of(der, n), "f", &err));
		der[i] ^= 0xff;
	}
	OPENSSL_free(der);
	X509_CRL_free(x);
}

static void
many(void **state)
{
	X509_CRL *x = t_crl_of(&(struct t_crl_want){ .by = &w.client, .number = 1, .last = from, .next = to, .more = 20000 });
	STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(x);
	uint8_t *der = NULL, serial[AUTHZ_SERIAL_MAX];
	size_t n = (size_t)i2d_X509_CRL(x, &der);
	struct err err = { 0 };
	struct crl *c = crl_new(slice_of(der, n), "f", &err);
	struct revoked r;

	(void)state;
	assert_non_null(c);
	assert_int_equal(c->n, 20000);
	for (int i = 0; i < sk_X509_REVOKED_num(list); i++) {
		size_t len = serial_bytes(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(list, i)), serial);

		assert_true(crl_find(c, slice_of(serial, len), &r));
	}
	crl_unref(c);
	OPENSSL_free(der);
	X509_CRL_free(x);
}

/* A list counts for the CA whose key has signed it, and for nobody else of its name: neither what it revokes nor that it is there. */
static void
lists_of_namesakes(void **state)
{
	/* A stranger's list under the name of a CA that nobody has shown yet; then two CAs of one name, each with its list or without. */
	static const struct {
		const char *cas, *lists;
		enum pki_cause cause;
	} rows[] = { { "root.pem", "twin.crl", PKI_BAD_CRL_MISSING }, { "twins.pem", "twin.crl", PKI_BAD_CRL_MISSING }, { "twins.pem", "client.crl", PKI_OK } };
	struct pki_trust *plain = trust_of("ca.pem", NULL, 0), *root = trust_of("root.pem", NULL, 0);
	struct pki_peer *p = t_accepted(&w.dir, plain, "ca.pem", w.leaf.x, NULL), *q = t_accepted(&w.dir, root, "root.pem", w.leaf.x, w.client.x);

	(void)state;
	t_put_certs(&w.dir, "twins.pem", (struct t_cert[]){ w.root, w.client, w.twin }, 3);
	t_put_crl(&w.dir, "twin.crl", t_crl_of(&(struct t_crl_want){ .by = &w.twin, .victims = { w.leaf.x }, .number = 9, .last = from, .next = to }));
	t_put_crl(&w.dir, "client.crl", t_crl_of(&(struct t_crl_want){ .by = &w.client, .number = 5, .last = from, .next = to }));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct pki_trust *t = trust_of(rows[i].cas, rows[i].lists, 0);

		assert_int_equal(again(t, i == 0 ? q : p, T_NOW, true), rows[i].cause);
		pki_trust_unref(t);
	}
	pki_peer_free(p);
	pki_peer_free(q);
	pki_trust_unref(plain);
	pki_trust_unref(root);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replacing),
		cmocka_unit_test(replacing_where_the_ca_comes_with_chains),
		cmocka_unit_test(a_ca_that_came_with_a_chain),
		cmocka_unit_test(who_brings_too_many),
		cmocka_unit_test(lists_of_namesakes),
		cmocka_unit_test(what_is_new),
		cmocka_unit_test(the_whole_chain),
		cmocka_unit_test(a_role_that_changed),
		cmocka_unit_test(stale),
		cmocka_unit_test(directories),
		cmocka_unit_test(signatures),
		cmocka_unit_test(bytes),
		cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
