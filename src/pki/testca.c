/* Certificates of every bad kind, for tests; see testca.h. */
#include "pki/testca.h"
#include "base/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <cmocka.h>
#include <openssl/pem.h>

static void
ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	if (value == NULL)
		return;
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(e);
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static X509_NAME *
subject(const struct t_want *w)
{
	X509_NAME *n = w->subject != NULL ? X509_NAME_dup(w->subject) : X509_NAME_new();
	int type = w->cn_type != 0 ? w->cn_type : MBSTRING_UTF8;

	if (w->subject != NULL)
		return n;
	if (w->org != NULL)
		assert_int_equal(X509_NAME_add_entry_by_txt(n, "O", MBSTRING_UTF8, (const unsigned char *)w->org, -1, -1, 0), 1);
	for (int i = 0; w->cn != NULL && i < (w->two_cns ? 2 : 1); i++)
		assert_int_equal(X509_NAME_add_entry_by_txt(n, "CN", type, (const unsigned char *)w->cn,
				     w->cn_len != 0 ? w->cn_len : (int)strlen(w->cn), -1, 0), 1);
	return n;
}

struct t_cert
t_make(const struct t_want *w, const struct t_cert *by)
{
	struct t_cert c = { X509_new(), w->key };
	X509_NAME *n = subject(w);
	X509 *issuer = by != NULL ? by->x : c.x;
	uint8_t serial[8];
	BIGNUM *bn;

	if (c.key == NULL)
		c.key = EVP_EC_gen("P-256");
	else
		EVP_PKEY_up_ref(c.key);
	random_bytes(serial, sizeof serial);
	bn = BN_bin2bn(serial, sizeof serial, NULL);
	assert_non_null(BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(c.x)));
	BN_free(bn);
	X509_set_version(c.x, w->v1 ? X509_VERSION_1 : X509_VERSION_3);
	X509_set_subject_name(c.x, n);
	X509_set_issuer_name(c.x, by != NULL ? X509_get_subject_name(by->x) : n);
	X509_NAME_free(n);
	ASN1_TIME_set(X509_getm_notBefore(c.x), (time_t)(w->from != 0 ? w->from : T_NOW - 180 * T_DAY));
	ASN1_TIME_set(X509_getm_notAfter(c.x), (time_t)(w->to != 0 ? w->to : T_NOW + 180 * T_DAY));
	assert_int_equal(X509_set_pubkey(c.x, c.key), 1);
	if (!w->v1) {
		ext(c.x, issuer, NID_basic_constraints, w->constraints);
		ext(c.x, issuer, NID_key_usage, w->usage);
		ext(c.x, issuer, NID_ext_key_usage, w->extended);
		ext(c.x, issuer, NID_subject_alt_name, w->san);
		if (!w->no_ids) {
			ext(c.x, issuer, NID_subject_key_identifier, "hash");
			if (X509_get_ext_by_NID(issuer, NID_subject_key_identifier, -1) >= 0)
				ext(c.x, issuer, NID_authority_key_identifier, "keyid");
		}
	}
	assert_true(X509_sign(c.x, by != NULL ? by->key : c.key,
			EVP_get_digestbyname(w->digest != NULL ? w->digest : "SHA256")) > 0);
	return c;
}

struct t_cert
t_root(const char *cn)
{
	return t_make(&(struct t_want){ .cn = cn, .org = "Test", .constraints = "critical,CA:TRUE",
			  .usage = "critical,keyCertSign,cRLSign" }, NULL);
}

struct t_cert
t_sub(const char *cn, const struct t_cert *by)
{
	return t_make(&(struct t_want){ .cn = cn, .org = "Test", .constraints = "critical,CA:TRUE,pathlen:0",
			  .usage = "critical,keyCertSign,cRLSign" }, by);
}

struct t_cert
t_leaf(const char *cn, const struct t_cert *by)
{
	return t_make(&(struct t_want){ .cn = cn, .constraints = "CA:FALSE", .usage = "digitalSignature",
			  .extended = "clientAuth" }, by);
}

void
t_done(struct t_cert *c)
{
	X509_free(c->x);
	EVP_PKEY_free(c->key);
	*c = (struct t_cert){ 0 };
}

void
t_dir_init(struct t_dir *d)
{
	const char *base = getenv("TMPDIR");

	(void)snprintf(d->path, sizeof d->path, "%s/signet-pki-XXXXXX", base != NULL ? base : "/tmp");
	assert_non_null(mkdtemp(d->path));
}

void
t_dir_done(struct t_dir *d)
{
	assert_true(dir_remove(d->path));
}

const char *
t_path(const struct t_dir *d, const char *name, char out[512])
{
	assert_true(path_join(out, 512, d->path, name));
	return out;
}

void
t_put(const struct t_dir *d, const char *name, struct slice data)
{
	char path[512];

	assert_true(file_write(t_path(d, name, path), data, 0600, FILE_REPLACE, NULL));
}

void
t_put_certs(const struct t_dir *d, const char *name, const struct t_cert *c, size_t n)
{
	X509 *list[16];
	char *pem;

	assert_true(n <= 16);
	for (size_t i = 0; i < n; i++)
		list[i] = c[i].x;
	assert_true(certs_pem(list, n, &pem, NULL));
	t_put(d, name, slice_str(pem));
	free(pem);
}

static void
put_bio(const struct t_dir *d, const char *name, BIO *b)
{
	char *data;
	long n = BIO_get_mem_data(b, &data);

	assert_true(n > 0);
	t_put(d, name, slice_of(data, (size_t)n));
	BIO_free(b);
}

void
t_put_key(const struct t_dir *d, const char *name, EVP_PKEY *k)
{
	BIO *b = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL), 1);
	put_bio(d, name, b);
}

static void
add_revoked(X509_CRL *c, const ASN1_INTEGER *serial, const ASN1_TIME *when, int reason)
{
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_ENUMERATED *why = ASN1_ENUMERATED_new();

	X509_REVOKED_set_serialNumber(r, (ASN1_INTEGER *)(uintptr_t)serial);
	X509_REVOKED_set_revocationDate(r, (ASN1_TIME *)(uintptr_t)when);
	ASN1_ENUMERATED_set(why, reason);
	X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, why, 0, 0);
	ASN1_ENUMERATED_free(why);
	X509_CRL_add0_revoked(c, r);
}

X509_CRL *
t_crl_of(const struct t_crl_want *w)
{
	X509_CRL *c = X509_CRL_new();
	ASN1_TIME *from = ASN1_TIME_set(NULL, (time_t)w->last), *to = ASN1_TIME_set(NULL, (time_t)w->next);
	ASN1_INTEGER *number = ASN1_INTEGER_new();

	X509_CRL_set_version(c, X509_CRL_VERSION_2);
	X509_CRL_set_issuer_name(c, X509_get_subject_name(w->by->x));
	X509_CRL_set1_lastUpdate(c, from);
	X509_CRL_set1_nextUpdate(c, to);
	for (size_t i = 0; i < ARRAY_LEN(w->victims) && w->victims[i] != NULL; i++)
		add_revoked(c, X509_get0_serialNumber(w->victims[i]), from, w->reason);
	for (size_t i = 0; i < w->more; i++) {
		ASN1_INTEGER_set_uint64(number, UINT64_C(0x7f00000000000000) + i * UINT64_C(0x9e3779b9));
		add_revoked(c, number, from, 1);
	}
	ASN1_INTEGER_set(number, w->number);
	if (w->number > 0)
		X509_CRL_add1_ext_i2d(c, NID_crl_number, number, 0, 0);
	if (w->delta)
		X509_CRL_add1_ext_i2d(c, NID_delta_crl, number, 1, 0);
	ASN1_INTEGER_free(number);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	assert_true(X509_CRL_sign(c, w->by->key, EVP_PKEY_is_a(w->by->key, "ED25519") ? NULL : EVP_sha256()) > 0);
	return c;
}

X509_CRL *
t_crl(const struct t_cert *by, const X509 *victim, int64_t last, int64_t next, int reason)
{
	return t_crl_of(&(struct t_crl_want){ by, { victim }, 0, last, next, reason, 0, false });
}

void
t_put_crl(const struct t_dir *d, const char *name, X509_CRL *c)
{
	BIO *b = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_X509_CRL(b, c), 1);
	put_bio(d, name, b);
	X509_CRL_free(c);
}

struct pki_peer *
t_accepted(const struct t_dir *d, const struct pki_trust *t, const char *ca_file, X509 *leaf, X509 *sent)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = sk_X509_new_null();
	struct pki_peer *p = NULL;
	char path[512];

	assert_int_equal(X509_STORE_load_file(store, t_path(d, ca_file, path)), 1);
	sk_X509_push(chain, leaf);
	if (sent != NULL)
		sk_X509_push(chain, sent);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, chain), 1);
	X509_STORE_CTX_set_time(ctx, 0, T_NOW);
	assert_true(pki_judge(t, ctx, &p));
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	sk_X509_free(chain);
	return p;
}

static void
child(const char *const argv[], int out)
{
	int null = open("/dev/null", O_RDWR);

	(void)dup2(null, 0);
	(void)dup2(out, 1);
	(void)dup2(out, 2);
	execvp(argv[0], (char *const *)(uintptr_t)argv); /* POSIX promises that it changes nothing */
	_exit(127);
}

int
t_run(const char *const argv[], char *out, size_t cap)
{
	int fds[2], status;
	size_t n = 0;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0)
		child(argv, fds[1]);
	close(fds[1]);
	for (ssize_t got = 1; got > 0 && n + 1 < cap; n += got > 0 ? (size_t)got : 0)
		got = read(fds[0], out + n, cap - 1 - n);
	out[n] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
