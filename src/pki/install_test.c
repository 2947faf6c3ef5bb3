/* The installation and its CAs as a user has them: all or nothing, what openssl says of the certificates, refusals. */
#include "pki/testca.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>
#include <openssl/pem.h>

static struct t_dir dir;
static char site[512];

static const char *
in_site(const char *name, char out[512])
{
	assert_true(path_join(out, 512, site, name));
	return out;
}

static int
setup(void **state)
{
	static const char *const hosts[] = { "broker.example", "localhost", "127.0.0.1", "::1" };
	struct pki_install in = { .dir = site, .hosts = hosts, .n_hosts = 4 };
	struct err err;

	(void)state;
	t_dir_init(&dir);
	(void)snprintf(site, sizeof site, "%s/a/b", dir.path);
	if (!pki_install(&in, &err))
		fail_msg("%s", err.text);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	t_dir_done(&dir);
	return 0;
}

static mode_t
mode_of(const char *name)
{
	char path[512];
	struct stat st;

	assert_int_equal(stat(in_site(name, path), &st), 0);
	return st.st_mode & 0777;
}

static const char *
openssl_text(const char *path)
{
	static char out[65536];
	const char *argv[] = { "openssl", "x509", "-noout", "-text", "-in", path, NULL };

	assert_int_equal(t_run(argv, out, sizeof out), 0);
	return out;
}

static int
openssl_verify(const char *purpose, const char *untrusted, const char *leaf)
{
	static char out[4096];
	char root[512], mid[512], file[512];
	const char *argv[] = { "openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile",
		in_site("pki/root/cert.pem", root), "-untrusted",
		in_site(untrusted, mid), in_site(leaf, file), NULL };
	int code = t_run(argv, out, sizeof out);

	if (code != 0)
		print_message("%s", out);
	return code;
}

static void
layout_and_modes(void **state)
{
	static const char *const files[] = { "signet.conf", "pki/ca.pem", "pki/root/cert.pem", "pki/root/index.txt",
		"pki/cloud/cert.pem", "pki/client/cert.pem", "pki/watch/cert.pem", "pki/control/cert.pem", "pki/broker/cert.pem",
		"clients/watcher/cert.pem", "clients/watcher/ca.pem", "clients/controller/cert.pem" };
	static const char *const keys[] = { "pki/root/key.pem", "pki/cloud/key.pem", "pki/client/key.pem", "pki/watch/key.pem",
		"pki/control/key.pem", "pki/broker/key.pem", "clients/watcher/key.pem", "clients/controller/key.pem" };
	char path[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		assert_int_equal(access(in_site(files[i], path), R_OK), 0);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		assert_int_equal(mode_of(keys[i]), 0600);
	assert_int_equal(mode_of("pki"), 0700);
	assert_int_equal(mode_of("clients/watcher"), 0700);
}

static void
where_a_server_is(void **state)
{
	static const struct {
		const char *hosts[3];
		const char *want;
	} cases[] = {
		{ { "192.0.2.7", "mqtt.example", "other.example" }, "mqtt.example" },
		{ { "192.0.2.7", "::1", NULL }, "192.0.2.7" },
		{ { "2001:db8::7", NULL, NULL }, "[2001:db8::7]" },
	};
	char path[512], host[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pki_install in = { .dir = path, .hosts = cases[i].hosts };
		char file[600];
		struct err err;

		while (in.n_hosts < 3 && cases[i].hosts[in.n_hosts] != NULL)
			in.n_hosts++;
		(void)snprintf(path, sizeof path, "%s/where%zu", dir.path, i);
		if (!pki_install(&in, &err))
			fail_msg("%s", err.text);
		(void)snprintf(file, sizeof file, "%s/pki/broker/cert.pem", path);
		assert_true(pki_host_of(file, host, sizeof host));
		assert_string_equal(host, cases[i].want);
		assert_false(pki_host_of(file, host, 5));
	}
	assert_false(pki_host_of(in_site("signet.conf", path), host, sizeof host));
	assert_false(pki_host_of(in_site("clients/watcher/cert.pem", path), host, sizeof host));
}

/* Checklist A1, A3, A4, A11 in the words of the openssl command. */
static void
openssl_agrees(void **state)
{
	char path[512];
	const char *text = openssl_text(in_site("pki/root/cert.pem", path));

	(void)state;
	assert_non_null(strstr(text, "X509v3 Basic Constraints: critical\n                CA:TRUE\n"));
	assert_non_null(strstr(text, "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n"));
	text = openssl_text(in_site("pki/client/cert.pem", path));
	assert_non_null(strstr(text, "CA:TRUE, pathlen:0"));
	assert_non_null(strstr(text, "CN = Signet Client CA"));
	text = openssl_text(in_site("pki/broker/cert.pem", path));
	assert_non_null(strstr(text, "DNS:broker.example, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1"));
	assert_non_null(strstr(text, "Subject: CN = broker.example\n"));
	assert_non_null(strstr(text, "TLS Web Server Authentication\n"));
	assert_null(strstr(text, "TLS Web Client"));
	text = openssl_text(in_site("clients/watcher/cert.pem", path));
	assert_non_null(strstr(text, "X509v3 Key Usage: \n                Digital Signature\n"));
	assert_non_null(strstr(text, "X509v3 Basic Constraints: \n                CA:FALSE\n"));
	assert_non_null(strstr(text, "TLS Web Client Authentication\n"));
	assert_non_null(strstr(text, "X509v3 Authority Key Identifier"));
	assert_non_null(strstr(text, "X509v3 Subject Key Identifier"));
	assert_int_equal(openssl_verify("sslserver", "pki/broker/cert.pem", "pki/broker/cert.pem"), 0);
	assert_int_equal(openssl_verify("sslclient", "clients/watcher/cert.pem", "clients/watcher/cert.pem"), 0);
	assert_int_equal(openssl_verify("sslclient", "clients/controller/cert.pem", "clients/controller/cert.pem"), 0);
	assert_int_not_equal(openssl_verify("sslclient", "pki/broker/cert.pem", "pki/broker/cert.pem"), 0);
	assert_int_not_equal(openssl_verify("sslclient", "pki/client/cert.pem", "clients/watcher/cert.pem"), 0);
}

static void
nothing_is_overwritten(void **state)
{
	const char *hosts[] = { "h" };
	struct pki_install in = { .dir = site, .hosts = hosts, .n_hosts = 1 };
	uint8_t *before, *after;
	size_t n, m;
	char path[512];
	struct err err;

	(void)state;
	assert_true(file_read(in_site("pki/root/key.pem", path), PKI_FILE_MAX, &before, &n, NULL));
	assert_false(pki_install(&in, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	assert_true(file_read(path, PKI_FILE_MAX, &after, &m, NULL));
	assert_true(slice_eq(slice_of(before, n), slice_of(after, m)));
	free(before);
	free(after);
}

/* Whatever fails on the way, nothing stays: a bad name, a place that cannot be, and a disk that is full (file size limit). */
static void
failure_leaves_nothing(void **state)
{
	const char *hosts[] = { "h" }, *bad[] = { "10.0.0.300" };
	char place[600], file[512];
	struct pki_install in = { .dir = place, .hosts = bad, .n_hosts = 1 };
	struct rlimit was, small;
	struct err err;

	(void)state;
	(void)snprintf(place, sizeof place, "%s/new/deep", dir.path);
	assert_false(pki_install(&in, &err));
	assert_non_null(strstr(err.text, "not a valid IP address"));
	in.hosts = hosts;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_IGN);
	/* Each limit fails at another file: the keys, the certificates, the bundle. */
	for (rlim_t limit = 10; limit < 3000; limit += 299) {
		small = (struct rlimit){ limit, was.rlim_max };
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
		assert_false(pki_install(&in, &err));
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
		(void)snprintf(file, sizeof file, "%s/new", dir.path);
		assert_int_equal(access(file, F_OK), -1);
	}
	signal(SIGXFSZ, SIG_DFL);
	t_put(&dir, "file", SL("x"));
	(void)snprintf(place, sizeof place, "%s/file/x", dir.path);
	assert_false(pki_install(&in, &err));
	assert_non_null(strstr(err.text, "file"));
}

static struct pki_order
order(const char *ca, const char *cn)
{
	return (struct pki_order){ .dir = site, .ca = ca, .cn = cn };
}

static bool
issue(struct pki_order o, struct pki_issued *ret, struct err *err)
{
	err->text[0] = '\0';
	if (!pki_issue(&o, ret, err))
		return false;
	free(ret->pem);
	return true;
}

static void
count(void *ctx, const struct pki_entry *e)
{
	int *n = ctx;

	n[e->status]++;
}

static void
devices(void **state)
{
	struct pki_issued r, second;
	struct pki_order o = order("client", "dev-1");
	int n[5] = { 0 };
	char path[512];
	struct err err;

	(void)state;
	if (!issue(o, &r, &err))
		fail_msg("%s", err.text);
	assert_int_equal(strlen(r.serial), 32);
	assert_int_equal(mode_of("clients/dev-1/key.pem"), 0600);
	assert_int_equal(openssl_verify("sslclient", "clients/dev-1/cert.pem", "clients/dev-1/cert.pem"), 0);
	/* A5 */
	assert_false(issue(o, &second, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	o.reissue = true;
	assert_true(issue(o, &second, &err));
	assert_string_not_equal(r.serial, second.serial);
	assert_true(pki_list(site, "client", 0, count, n, &err));
	assert_int_equal(n[PKI_LIVE], 1);
	assert_int_equal(n[PKI_REPLACED], 1);
	/* A6, C1, and roles that are none of the caller's business */
	assert_false(issue(order("client", "Signet Client CA"), &r, &err));
	assert_non_null(strstr(err.text, "the name of the CA itself"));
	assert_false(issue(order("client", "a/b"), &r, &err));
	assert_false(issue(order("client", ".."), &r, &err));
	assert_false(issue(order("root", "x"), &r, &err));
	assert_false(issue(order("broker", "x"), &r, &err));
	assert_false(issue(order("../client", "x"), &r, &err));
	o = order("client", "srv");
	o.server = true;
	assert_false(issue(o, &r, &err));
	assert_int_equal(access(in_site("clients/srv", path), F_OK), -1);
	/* A folder in the way: refused, and the name is free afterwards. */
	assert_int_equal(mkdir(in_site("clients/blocked", path), 0700), 0);
	assert_false(issue(order("client", "blocked"), &r, &err));
	assert_int_equal(rmdir(path), 0);
	assert_true(issue(order("client", "blocked"), &r, &err));
}

static void
server_names(void **state)
{
	const char *hosts[] = { "192.0.2.7" };
	struct pki_order o = order("cloud", "b2.example");
	struct pki_issued r;
	char path[512];
	struct err err;

	(void)state;
	o.hosts = hosts;
	o.n_hosts = 1;
	o.key_type = PKI_RSA2048;
	assert_true(issue(o, &r, &err));
	assert_non_null(strstr(openssl_text(in_site("servers/b2.example/cert.pem", path)),
	    "DNS:b2.example, IP Address:192.0.2.7"));
	assert_non_null(strstr(openssl_text(path), "Digital Signature, Key Encipherment"));
	assert_non_null(strstr(openssl_text(path), "Signature Algorithm: ecdsa-with-SHA256"));
}

/* A13: validity is the profile's, or what is asked for, but never beyond the CA's; nothing under an expired CA. */
static void
validity(void **state)
{
	struct pki_order o = order("client", "late");
	struct pki_issued r;
	struct err err;
	int64_t now = pki_clock(0);

	(void)state;
	o.now = now + (int64_t)3649 * T_DAY;
	assert_true(issue(o, &r, &err));
	assert_true(r.not_after < now + (int64_t)3651 * T_DAY);
	assert_non_null(strstr(r.notes, "ends with the CA's own"));
	o = order("client", "later");
	o.now = now + (int64_t)3651 * T_DAY;
	assert_false(issue(o, &r, &err));
	assert_non_null(strstr(err.text, "expired"));
	o = order("client", "short");
	o.days = 3;
	o.now = now;
	assert_true(issue(o, &r, &err));
	assert_int_equal(r.not_after, now + 3 * T_DAY);
	assert_int_equal(r.not_before, NUM_MAX(now - 300, r.not_before));
}

/* The openssl command makes requests that ask for too much; the certificate has none of it. */
static void
requests_by_openssl(void **state)
{
	static char out[8192];
	char key[512], csr[512], cert[512];
	const char *argv[] = { "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", csr, "-subj",
		"/CN=evil/O=Control", "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign", "-addext",
		"extendedKeyUsage=serverAuth", "-addext", "subjectAltName=DNS:d.example,IP:10.0.0.9", NULL };
	struct pki_order o = order("client", "good");
	struct pki_issued r;
	struct err err;
	const char *text;
	uint8_t *data;
	size_t n;

	(void)state;
	(void)t_path(&dir, "k.pem", key);
	(void)t_path(&dir, "r.csr", csr);
	(void)t_path(&dir, "c.pem", cert);
	assert_int_equal(t_run(argv, out, sizeof out), 0);
	assert_true(file_read(csr, PKI_FILE_MAX, &data, &n, NULL));
	o.csr = slice_of(data, n);
	o.out = cert;
	if (!issue(o, &r, &err))
		fail_msg("%s", err.text);
	text = openssl_text(cert);
	assert_non_null(strstr(text, "Subject: CN = good\n"));
	assert_non_null(strstr(text, "CA:FALSE"));
	assert_non_null(strstr(text, "DNS:d.example, IP Address:10.0.0.9"));
	assert_non_null(strstr(text, "Digital Signature, Key Encipherment\n"));
	assert_null(strstr(text, "Certificate Sign"));
	assert_null(strstr(text, "TLS Web Server"));
	assert_non_null(strstr(r.notes, "basicConstraints was dropped"));
	assert_non_null(strstr(r.notes, "name \"evil\" was replaced"));
	/* The file is there now: nothing is signed over it, and the book knows nothing of the attempt. */
	o.cn = "good2";
	assert_false(issue(o, &r, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	free(data);
}

static void
adopted_ca(void **state)
{
	struct t_cert ca = t_make(&(struct t_want){ .cn = "Old CA", .constraints = "critical,CA:TRUE", .no_ids = true,
				      .from = pki_clock(0) - 1000, .to = pki_clock(0) + 100 * T_DAY }, NULL);
	struct t_cert dead = t_make(&(struct t_want){ .cn = "Dead CA", .constraints = "critical,CA:TRUE",
					.to = pki_clock(0) - 1000 }, NULL);
	struct t_cert leaf = t_leaf("l", &ca);
	char key[512], cert[512], path[512];
	struct pki_adopt a = { .dir = site, .name = "old", .key_file = key, .cert_file = cert, .role = AUTHZ_ROLE_CLIENT };
	struct pki_issued r;
	struct err err;
	uint8_t *text;
	size_t n;

	(void)state;
	(void)t_path(&dir, "old.key", key);
	(void)t_path(&dir, "old.crt", cert);
	t_put_key(&dir, "old.key", ca.key);
	t_put_certs(&dir, "old.crt", &leaf, 1);
	assert_false(pki_adopt(&a, &err));
	assert_non_null(strstr(err.text, "not the certificate of a CA"));
	t_put_certs(&dir, "old.crt", &dead, 1);
	assert_false(pki_adopt(&a, &err));
	assert_non_null(strstr(err.text, "expired"));
	t_put_certs(&dir, "old.crt", &ca, 1);
	t_put_key(&dir, "old.key", leaf.key);
	assert_false(pki_adopt(&a, &err));
	assert_non_null(strstr(err.text, "does not belong"));
	t_put_key(&dir, "old.key", ca.key);
	a.name = "client";
	assert_false(pki_adopt(&a, &err));
	a.name = "old";
	if (!pki_adopt(&a, &err))
		fail_msg("%s", err.text);
	assert_false(pki_adopt(&a, &err)); /* not twice */
	assert_true(file_read(in_site("signet.conf", path), PKI_FILE_MAX, &text, &n, NULL));
	assert_non_null(strstr((char *)text, "\nrole_ca client "));
	assert_non_null(strstr((char *)text, "/pki/old/cert.pem\n"));
	free(text);
	assert_true(issue(order("old", "client01"), &r, &err));
	t_done(&ca);
	t_done(&dead);
	t_done(&leaf);
}

static void
trusted_ca(void **state)
{
	struct t_cert ca = t_make(&(struct t_want){ .cn = "SpringCore Client CA", .constraints = "critical,CA:TRUE",
				      .to = pki_clock(0) + 100 * T_DAY }, NULL);
	char cert[512], path[PKI_PATH_MAX], conf[512];
	STACK_OF(X509) *list;
	struct err err;
	uint8_t *text;
	size_t n;
	int before;

	(void)state;
	(void)t_path(&dir, "sc.pem", cert);
	t_put_certs(&dir, "sc.pem", &ca, 1);
	assert_true(certs_read(in_site("pki/ca.pem", conf), &list, &err));
	before = sk_X509_num(list);
	sk_X509_pop_free(list, X509_free);
	/* Twice: the second time changes nothing. */
	for (int i = 0; i < 2; i++) {
		if (!pki_trust_add(site, cert, "client", NULL, path, &err))
			fail_msg("%s", err.text);
		assert_non_null(strstr(path, "/pki/trusted/client-springcore-client-ca.pem"));
	}
	assert_true(certs_read(in_site("pki/ca.pem", conf), &list, &err));
	assert_int_equal(sk_X509_num(list), before + 1);
	sk_X509_pop_free(list, X509_free);
	assert_true(file_read(in_site("signet.conf", conf), PKI_FILE_MAX, &text, &n, NULL));
	assert_non_null(strstr((char *)text, path));
	assert_null(strstr(strstr((char *)text, path) + 1, path));
	free(text);
	t_done(&ca);
}

/* A crash in the middle of a line leaves the index readable; damage elsewhere is named. */
static void
index_survives_a_torn_line(void **state)
{
	char path[512];
	struct pki_issued r;
	struct err err;
	int n[5] = { 0 };
	FILE *f = fopen(in_site("pki/watch/index.txt", path), "a");

	(void)state;
	assert_non_null(f);
	assert_true(fputs("issued\tabcdef\t2026-", f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_true(issue(order("watch", "w2"), &r, &err));
	assert_true(pki_list(site, "watch", 0, count, n, &err));
	assert_int_equal(n[PKI_LIVE], 2);
	f = fopen(path, "a");
	assert_true(f != NULL && fputs("rubbish\n", f) >= 0 && fclose(f) == 0);
	assert_false(pki_list(site, "watch", 0, count, n, &err));
	assert_non_null(strstr(err.text, "index.txt:"));
}

static bool
give_pass(void *ctx, const char *what, bool creating, char *buf, size_t cap, struct err *err)
{
	(void)what;
	(void)creating;
	(void)err;
	return text_copy(buf, cap, slice_str(ctx));
}

static void
encrypted_installation(void **state)
{
	const char *hosts[] = { "h" };
	char place[600], pass[] = "open sesame", wrong[] = "closed sesame", shortest[] = "abc";
	struct pki_secret good = { give_pass, pass }, bad = { give_pass, wrong }, poor = { give_pass, shortest };
	struct pki_install in = { .dir = place, .hosts = hosts, .n_hosts = 1, .secret = &poor };
	struct pki_order o = { .dir = place, .ca = "client", .cn = "d" };
	struct pki_issued r;
	struct err err;

	(void)state;
	(void)snprintf(place, sizeof place, "%s/enc", dir.path);
	assert_false(pki_install(&in, &err));
	assert_non_null(strstr(err.text, "shorter than 4"));
	in.secret = &good;
	assert_true(pki_install(&in, &err));
	assert_false(issue(o, &r, &err));
	assert_non_null(strstr(err.text, "encrypted"));
	o.secret = &bad;
	assert_false(issue(o, &r, &err));
	assert_non_null(strstr(err.text, "passphrase is wrong"));
	o.secret = &good;
	assert_true(issue(o, &r, &err));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(where_a_server_is),
		cmocka_unit_test(layout_and_modes),
		cmocka_unit_test(openssl_agrees),
		cmocka_unit_test(nothing_is_overwritten),
		cmocka_unit_test(failure_leaves_nothing),
		cmocka_unit_test(devices),
		cmocka_unit_test(server_names),
		cmocka_unit_test(validity),
		cmocka_unit_test(requests_by_openssl),
		cmocka_unit_test(adopted_ca),
		cmocka_unit_test(trusted_ca),
		cmocka_unit_test(index_survives_a_torn_line),
		cmocka_unit_test(encrypted_installation),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
