/* OCSP: whose answers are believed and which not, and our own answers as the openssl command sees them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>
#include <openssl/ocsp.h>
#include "pki/testca.h"

struct world {
	struct t_cert root, ca, leaf, other, stranger; /* stranger: another CA of the same name */
	struct t_cert delegate, no_purpose, foreign, expired, no_usage, nocheck, ca_of_other;
};

static struct t_cert
responder(const char *cn, const char *extended, const char *usage, int64_t to, const struct t_cert *by)
{
	return t_make(&(struct t_want){ .cn = cn, .constraints = "CA:FALSE", .usage = usage, .extended = extended, .to = to }, by);
}

static int
make_world(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	w->root = t_root("Root");
	w->ca = t_sub("Issuer", &w->root);
	w->leaf = t_leaf("dev1", &w->ca);
	w->other = t_leaf("dev2", &w->ca);
	w->stranger = t_root("Issuer");
	w->ca_of_other = t_sub("Other", &w->root);
	w->delegate = responder("responder", "OCSPSigning", "digitalSignature", 0, &w->ca);
	w->no_purpose = responder("responder", "clientAuth", "digitalSignature", 0, &w->ca);
	w->foreign = responder("responder", "OCSPSigning", "digitalSignature", 0, &w->ca_of_other);
	w->expired = responder("responder", "OCSPSigning", "digitalSignature", T_NOW - T_DAY, &w->ca);
	w->no_usage = responder("responder", "OCSPSigning", "keyEncipherment", 0, &w->ca);
	*state = w;
	return 0;
}

static int
free_world(void **state)
{
	struct world *w = *state;
	struct t_cert *c = (struct t_cert *)w;

	for (size_t i = 0; i < sizeof *w / sizeof *c; i++)
		t_done(&c[i]);
	free(w);
	return 0;
}

/* An answer as anybody could make it. */
struct made {
	const struct t_cert *signer, *about, *issuer; /* NULL: the CA, the leaf, the CA */
	int status, reason;
	int64_t from, to;  /* 0: an hour ago, in an hour; to -1: none */
	const char *digest; /* of the signature */
	const EVP_MD *id;   /* of the certificate's name; NULL: SHA-1 */
	bool by_key, twice, damaged;
	OCSP_REQUEST *asked; /* its nonce is repeated */
};

static struct slice
make(const struct world *w, const struct made *m, uint8_t out[PKI_OCSP_RESPONSE_MAX])
{
	const struct t_cert *by = m->signer != NULL ? m->signer : &w->ca, *about = m->about != NULL ? m->about : &w->leaf;
	const struct t_cert *issuer = m->issuer != NULL ? m->issuer : &w->ca;
	OCSP_BASICRESP *b = OCSP_BASICRESP_new();
	ASN1_TIME *from = ASN1_GENERALIZEDTIME_set(NULL, (time_t)(m->from != 0 ? m->from : T_NOW - 3600));
	ASN1_TIME *to = m->to == -1 ? NULL : ASN1_GENERALIZEDTIME_set(NULL, (time_t)(m->to != 0 ? m->to : T_NOW + 3600));
	ASN1_TIME *revoked = m->status == V_OCSP_CERTSTATUS_REVOKED ? ASN1_GENERALIZEDTIME_set(NULL, T_NOW - 7200) : NULL;
	OCSP_CERTID *id = OCSP_cert_id_new(m->id != NULL ? m->id : EVP_sha1(), X509_get_subject_name(issuer->x),
	    X509_get0_pubkey_bitstr(issuer->x), X509_get0_serialNumber(about->x));
	OCSP_CERTID *else_id = OCSP_cert_id_new(EVP_sha1(), X509_get_subject_name(w->ca.x), X509_get0_pubkey_bitstr(w->ca.x),
	    X509_get0_serialNumber(w->other.x));
	OCSP_RESPONSE *r;
	uint8_t *p = out;
	int n;

	if (m->twice)
		assert_non_null(OCSP_basic_add1_status(b, else_id, V_OCSP_CERTSTATUS_REVOKED, 1, from, from, to));
	assert_non_null(OCSP_basic_add1_status(b, id, m->status, m->reason, revoked, from, to));
	if (m->asked != NULL)
		assert_int_equal(OCSP_copy_nonce(b, m->asked), 1);
	assert_int_equal(OCSP_basic_sign(b, by->x, by->key, EVP_get_digestbyname(m->digest != NULL ? m->digest : "SHA256"), NULL,
			     m->by_key ? OCSP_RESPID_KEY : 0), 1);
	r = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, b);
	n = i2d_OCSP_RESPONSE(r, NULL);
	assert_in_range(n, 1, PKI_OCSP_RESPONSE_MAX);
	(void)i2d_OCSP_RESPONSE(r, &p);
	OCSP_RESPONSE_free(r);
	OCSP_BASICRESP_free(b);
	OCSP_CERTID_free(id);
	OCSP_CERTID_free(else_id);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	ASN1_TIME_free(revoked);
	return slice_of(out, (size_t)n);
}

static struct pki_ocsp_question
about_leaf(const struct world *w, uint8_t serial[AUTHZ_SERIAL_MAX])
{
	return (struct pki_ocsp_question){ .issuer = w->ca.x, .serial = pki_cert_serial(w->leaf.x, serial), .now = T_NOW };
}

static void
judges_answers(void **state)
{
	const struct world *w = *state;
	const struct {
		const char *what;
		struct made m;
		const char *refused; /* NULL: taken */
		enum pki_ocsp_status status;
	} cases[] = {
		{ "of the CA", { 0 }, NULL, PKI_OCSP_GOOD },
		{ "of the CA, named by its key", { .by_key = true }, NULL, PKI_OCSP_GOOD },
		{ "revoked", { .status = V_OCSP_CERTSTATUS_REVOKED, .reason = 1 }, NULL, PKI_OCSP_REVOKED },
		{ "unknown", { .status = V_OCSP_CERTSTATUS_UNKNOWN }, NULL, PKI_OCSP_UNKNOWN },
		{ "SHA-256 in the name", { .id = EVP_sha256() }, NULL, PKI_OCSP_GOOD },
		{ "SHA-512 in the name", { .id = EVP_sha512() }, NULL, PKI_OCSP_GOOD },
		{ "an unknown digest in the name", { .id = EVP_md5() }, "another certificate", 0 },
		{ "among others", { .twice = true }, NULL, PKI_OCSP_GOOD },
		{ "without an end", { .to = -1, .from = T_NOW }, NULL, PKI_OCSP_GOOD },
		{ "of a delegate", { .signer = &w->delegate }, NULL, PKI_OCSP_GOOD },
		{ "of a delegate, named by its key", { .signer = &w->delegate, .by_key = true }, NULL, PKI_OCSP_GOOD },
		{ "other certificate", { .about = &w->other }, "another certificate", 0 },
		{ "other issuer", { .issuer = &w->ca_of_other }, "another certificate", 0 },
		{ "signed by a CA of the same name", { .signer = &w->stranger }, "not that of the CA", 0 },
		{ "signed by the CA above", { .signer = &w->root }, "the CA has not issued", 0 },
		{ "signed by a device", { .signer = &w->other }, "not for OCSP", 0 },
		{ "signed by the device itself", { .signer = &w->leaf }, "not for OCSP", 0 },
		{ "delegate without purpose", { .signer = &w->no_purpose }, "not for OCSP", 0 },
		{ "delegate of another CA", { .signer = &w->foreign }, "the CA has not issued", 0 },
		{ "delegate that expired", { .signer = &w->expired }, "out of its time", 0 },
		{ "delegate that may not sign", { .signer = &w->no_usage }, "does not allow signatures", 0 },
		{ "SHA-1 in the signature", { .digest = "SHA1" }, "broken", 0 },
		{ "expired", { .from = T_NOW - 7200, .to = T_NOW - PKI_OCSP_SKEW_S - 1 }, "too old", 0 },
		{ "just expired", { .from = T_NOW - 7200, .to = T_NOW - PKI_OCSP_SKEW_S + 1 }, NULL, PKI_OCSP_GOOD },
		{ "old and without an end", { .from = T_NOW - PKI_OCSP_NO_END_S - PKI_OCSP_SKEW_S - 1, .to = -1 }, "too old", 0 },
		{ "from the future", { .from = T_NOW + PKI_OCSP_SKEW_S + 1, .to = T_NOW + 7200 }, "future", 0 },
		{ "almost from the future", { .from = T_NOW + PKI_OCSP_SKEW_S - 1, .to = T_NOW + 7200 }, NULL, PKI_OCSP_GOOD },
		{ "ends before it begins", { .from = T_NOW, .to = T_NOW - 60 }, "no sense", 0 },
	};
	uint8_t buf[PKI_OCSP_RESPONSE_MAX], serial[AUTHZ_SERIAL_MAX];
	struct pki_ocsp_question q = about_leaf(w, serial);

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct slice der = make(w, &cases[i].m, buf);
		struct pki_ocsp_answer a = { 0 };
		struct err err = { 0 };
		bool ok = pki_ocsp_judge(der, &q, &a, &err);

		if (ok != (cases[i].refused == NULL) || (!ok && strstr(err.text, cases[i].refused) == NULL))
			fail_msg("%s: %s", cases[i].what, ok ? "taken" : err.text);
		if (!ok)
			continue;
		assert_int_equal(a.status, cases[i].status);
		assert_int_equal(a.reason, a.status == PKI_OCSP_REVOKED ? 1 : -1);
		assert_int_equal(a.revoked_at, a.status == PKI_OCSP_REVOKED ? T_NOW - 7200 : 0);
		assert_int_equal(a.until, cases[i].m.to == -1 ? a.this_update + PKI_OCSP_NO_END_S
							     : cases[i].m.to != 0 ? cases[i].m.to : T_NOW + 3600);
	}
}

/* No part of an answer is one, and none with a bit turned over is taken for what it was not. */
static void
refuses_damage(void **state)
{
	const struct world *w = *state;
	uint8_t buf[PKI_OCSP_RESPONSE_MAX], serial[AUTHZ_SERIAL_MAX];
	struct slice der = make(w, &(struct made){ .signer = &w->delegate, .status = V_OCSP_CERTSTATUS_REVOKED }, buf);
	struct pki_ocsp_question q = about_leaf(w, serial);
	struct pki_ocsp_answer a;
	struct err err = { 0 };

	for (size_t n = 0; n < der.n; n++)
		assert_false(pki_ocsp_judge(slice_of(der.p, n), &q, &a, &err));
	for (size_t i = 0; i < der.n; i++) {
		buf[i] ^= 1;
		if (pki_ocsp_judge(der, &q, &a, &err))
			assert_int_equal(a.status, PKI_OCSP_REVOKED);
		buf[i] ^= 1;
	}
	assert_true(pki_ocsp_judge(der, &q, &a, &err));
	buf[der.n] = 0;
	assert_false(pki_ocsp_judge(slice_of(der.p, der.n + 1), &q, &a, &err));
}

static void
looks_up_its_certificate(void **state)
{
	const struct world *w = *state;
	struct t_dir d;
	char ca[512], list[512];
	const char *lists = list;
	uint8_t buf[PKI_OCSP_RESPONSE_MAX], serial[AUTHZ_SERIAL_MAX];
	struct pki_ocsp_question q = about_leaf(w, serial);
	struct pki_trust_config c = { .ca_file = ca, .crl_files = &lists, .n_crl_files = 1, .now = T_NOW };
	struct slice der = make(w, &(struct made){ .signer = &w->delegate }, buf);
	struct pki_ocsp_answer a;
	struct pki_trust *t;
	struct err err = { 0 };

	t_dir_init(&d);
	t_put_certs(&d, "ca.pem", (struct t_cert[]){ w->ca, w->root }, 2);
	t_put_crl(&d, "list.pem", t_crl(&w->ca, w->delegate.x, T_NOW - T_DAY, T_NOW + T_DAY, 1));
	(void)t_path(&d, "ca.pem", ca);
	(void)t_path(&d, "list.pem", list);
	t = pki_trust_new(&c, &err);
	assert_non_null(t);
	q.trust = t;
	assert_false(pki_ocsp_judge(der, &q, &a, &err));
	assert_non_null(strstr(err.text, "revoked"));
	pki_trust_unref(t);
	t_put_crl(&d, "list.pem", t_crl(&w->ca, w->other.x, T_NOW - T_DAY, T_NOW + T_DAY, 1));
	t = pki_trust_new(&c, &err);
	q.trust = t;
	assert_true(pki_ocsp_judge(der, &q, &a, &err));
	pki_trust_unref(t);
	t_dir_done(&d);
}

static void
compares_nonces(void **state)
{
	const struct world *w = *state;
	uint8_t buf[PKI_OCSP_RESPONSE_MAX], serial[AUTHZ_SERIAL_MAX], *ask = NULL, *again = NULL;
	struct pki_ocsp_question q = about_leaf(w, serial);
	struct pki_ocsp_answer a;
	struct err err = { 0 };
	OCSP_REQUEST *req;
	const uint8_t *p;
	size_t n, m;

	assert_true(pki_ocsp_ask(q.issuer, q.serial, &ask, &n, &err));
	assert_true(pki_ocsp_ask(q.issuer, q.serial, &again, &m, &err));
	p = ask;
	req = d2i_OCSP_REQUEST(NULL, &p, (long)n);
	q.request = slice_of(ask, n);
	assert_true(pki_ocsp_judge(make(w, &(struct made){ .asked = req }, buf), &q, &a, &err));
	assert_true(pki_ocsp_judge(make(w, &(struct made){ 0 }, buf), &q, &a, &err));
	q.request = slice_of(again, m);
	assert_false(pki_ocsp_judge(make(w, &(struct made){ .asked = req }, buf), &q, &a, &err));
	assert_non_null(strstr(err.text, "nonce"));
	OCSP_REQUEST_free(req);
	free(ask);
	free(again);
}

static void
says_who_refuses(void **state)
{
	static const struct {
		enum pki_ocsp_refusal why;
		const char *text;
	} cases[] = { { PKI_OCSP_MALFORMED, "malformedrequest" }, { PKI_OCSP_INTERNAL, "internalerror" }, { PKI_OCSP_TRY_LATER, "trylater" },
		{ PKI_OCSP_UNAUTHORIZED, "unauthorized" } };
	uint8_t serial[AUTHZ_SERIAL_MAX], *der;
	struct pki_ocsp_question q = about_leaf(*state, serial);
	struct pki_ocsp_answer a;
	size_t n;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct err err = { 0 };

		assert_true(pki_ocsp_refuse(cases[i].why, &der, &n, &err));
		assert_false(pki_ocsp_judge(slice_of(der, n), &q, &a, &err));
		assert_non_null(strstr(err.text, cases[i].text));
		free(der);
	}
}

/* ---- signet inspect ---- */

struct seen {
	char text[8192];
	size_t n;
};

static void
on_begin(void *ctx, const char *kind, unsigned line)
{
	struct seen *s = ctx;

	(void)line;
	s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "[%s]\n", kind);
}

static void
on_field(void *ctx, const char *name, const char *value, bool many)
{
	struct seen *s = ctx;

	(void)many;
	s->n += (size_t)snprintf(s->text + s->n, sizeof s->text - s->n, "%s=%s\n", name, value);
}

static void
shows_answers(void **state)
{
	const struct world *w = *state;
	static const char *const lines[] = { "[OCSP response]\n", "answer=successful\n", "responder=CN=responder\n", ": revoked at ",
		"(key compromise), good for 1 hour\n", "next_update=", "[certificate]\n" };
	uint8_t buf[PKI_OCSP_RESPONSE_MAX];
	struct slice der = make(w, &(struct made){ .signer = &w->delegate, .status = V_OCSP_CERTSTATUS_REVOKED, .reason = 1 }, buf);
	struct seen seen = { .n = 0 };
	struct pki_view view = { on_begin, on_field, &seen };
	struct err err = { 0 };

	assert_true(pki_inspect(der, "f", T_NOW, &view, &err));
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		if (strstr(seen.text, lines[i]) == NULL)
			fail_msg("%s is not in %s", lines[i], seen.text);
}

/* ---- the other side ---- */

static void
reads_requests(void **state)
{
	const struct world *w = *state;
	static struct pki_ocsp_request r;
	uint8_t serial[AUTHZ_SERIAL_MAX], *der;
	struct slice number = pki_cert_serial(w->leaf.x, serial);
	struct err err = { 0 };
	size_t n;

	assert_true(pki_ocsp_ask(w->ca.x, number, &der, &n, &err));
	assert_true(pki_ocsp_parse_request(slice_of(der, n), &r, &err));
	assert_int_equal(r.n, 1);
	assert_int_equal(r.nonce_n, 32);
	assert_true(slice_eq(slice_of(r.ids[0].serial, r.ids[0].serial_n), number));
	assert_true(pki_ocsp_is_of(&r.ids[0], w->ca.x));
	assert_false(pki_ocsp_is_of(&r.ids[0], w->stranger.x));
	assert_false(pki_ocsp_is_of(&r.ids[0], w->root.x));
	for (size_t i = 0; i < n; i++)
		assert_false(pki_ocsp_parse_request(slice_of(der, i), &r, &err));
	free(der);
}

static void
answers_requests(void **state)
{
	const struct world *w = *state;
	const struct {
		const struct t_cert *signer;
		enum pki_ocsp_status status;
	} cases[] = { { &w->ca, PKI_OCSP_GOOD }, { &w->ca, PKI_OCSP_REVOKED }, { &w->ca, PKI_OCSP_UNKNOWN }, { &w->delegate, PKI_OCSP_GOOD },
		{ &w->delegate, PKI_OCSP_REVOKED } };
	static struct pki_ocsp_request r;
	uint8_t serial[AUTHZ_SERIAL_MAX], *ask, *der;
	struct pki_ocsp_question q = about_leaf(w, serial);
	struct pki_ocsp_answer a;
	struct err err = { 0 };
	size_t n, m;

	assert_true(pki_ocsp_ask(q.issuer, q.serial, &ask, &n, &err));
	assert_true(pki_ocsp_parse_request(slice_of(ask, n), &r, &err));
	q.request = slice_of(ask, n);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct pki_ocsp_signing s = { cases[i].signer->x, cases[i].signer->key, slice_of(r.nonce, r.nonce_n), T_NOW - 60, T_NOW + 60 };
		struct pki_ocsp_single v = { &r.ids[0], cases[i].status, T_NOW - 7200, 4 };

		assert_true(pki_ocsp_sign(&s, &v, 1, &der, &m, &err));
		assert_true(pki_ocsp_judge(slice_of(der, m), &q, &a, &err));
		assert_int_equal(a.status, cases[i].status);
		assert_int_equal(a.until, T_NOW + 60);
		assert_int_equal(a.reason, a.status == PKI_OCSP_REVOKED ? 4 : -1);
		free(der);
	}
	free(ask);
}

static void
signs_as_nobody_else(void **state)
{
	const struct world *w = *state;
	struct pki_ocsp_id id = { .digest = NID_sha1, .hash_n = 20, .serial_n = 1, .serial = { 1 } };
	struct pki_ocsp_single v = { &id, PKI_OCSP_GOOD, 0, -1 };
	struct pki_ocsp_signing s = { w->no_purpose.x, w->no_purpose.key, { 0 }, T_NOW, T_NOW + 60 };
	struct err err = { 0 };
	uint8_t *der;
	size_t n;

	assert_false(pki_ocsp_sign(&s, &v, 1, &der, &n, &err));
	assert_non_null(strstr(err.text, "OCSPSigning"));
	s.cert = w->ca.x;
	assert_false(pki_ocsp_sign(&s, &v, 1, &der, &n, &err));
	assert_non_null(strstr(err.text, "does not belong"));
}

/* The openssl command asks, we answer, and it believes us. */
static void
is_believed_by_openssl(void **state)
{
	int64_t now = (int64_t)time(NULL);
	struct t_want want = { .cn = "Issuer", .org = "Test", .constraints = "critical,CA:TRUE", .usage = "critical,keyCertSign,cRLSign",
		.from = now - T_DAY, .to = now + T_DAY };
	struct t_cert ca = t_make(&want, NULL), leaf, delegate;
	char ca_file[512], leaf_file[512], by_file[512], req_file[512], resp_file[512], out[4096];
	const char *const ask[] = { "openssl", "ocsp", "-issuer", ca_file, "-cert", leaf_file, "-reqout", req_file, NULL };
	const char *const look[] = { "openssl", "ocsp", "-issuer", ca_file, "-cert", leaf_file, "-CAfile", ca_file, "-no_nonce",
		"-respin", resp_file, NULL };
	const char *const nonce[] = { "openssl", "ocsp", "-CAfile", ca_file, "-VAfile", by_file, "-reqin", req_file, "-respin", resp_file, NULL };
	static struct pki_ocsp_request r;
	struct t_dir d;
	struct err err = { 0 };
	uint8_t *data, *der;
	size_t n, m;

	(void)state;
	want.cn = "dev1";
	want.constraints = "CA:FALSE";
	want.usage = "digitalSignature";
	leaf = t_make(&want, &ca);
	want.cn = "responder";
	want.extended = "OCSPSigning";
	delegate = t_make(&want, &ca);
	t_dir_init(&d);
	t_put_certs(&d, "ca.pem", &ca, 1);
	t_put_certs(&d, "leaf.pem", &leaf, 1);
	(void)t_path(&d, "ca.pem", ca_file);
	(void)t_path(&d, "leaf.pem", leaf_file);
	(void)t_path(&d, "by.pem", by_file);
	(void)t_path(&d, "request", req_file);
	(void)t_path(&d, "response", resp_file);
	assert_int_equal(t_run(ask, out, sizeof out), 0);
	assert_true(file_read(req_file, PKI_OCSP_REQUEST_MAX, &data, &n, &err));
	assert_true(pki_ocsp_parse_request(slice_of(data, n), &r, &err));
	assert_true(r.n == 1 && r.nonce_n >= 16);
	for (int i = 0; i < 4; i++) {
		const struct t_cert *by = i < 2 ? &ca : &delegate;
		struct pki_ocsp_signing s = { by->x, by->key, slice_of(r.nonce, r.nonce_n), now - 60, now + 600 };
		struct pki_ocsp_single v = { &r.ids[0], i % 2 == 0 ? PKI_OCSP_GOOD : PKI_OCSP_REVOKED, now - 300, 1 };

		assert_true(pki_ocsp_sign(&s, &v, 1, &der, &m, &err));
		t_put(&d, "response", slice_of(der, m));
		t_put_certs(&d, "by.pem", by, 1);
		free(der);
		if (t_run(nonce, out, sizeof out) != 0 || strstr(out, "Response verify OK") == NULL || strstr(out, "WARNING") != NULL)
			fail_msg("%d: %s", i, out);
		if (t_run(look, out, sizeof out) != 0 || strstr(out, "Response verify OK") == NULL || strstr(out, "WARNING") != NULL ||
		    strstr(out, i % 2 == 0 ? ": good" : ": revoked") == NULL)
			fail_msg("%d: %s", i, out);
	}
	free(data);
	t_done(&ca);
	t_done(&leaf);
	t_done(&delegate);
	t_dir_done(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(judges_answers),
		cmocka_unit_test(refuses_damage),
		cmocka_unit_test(looks_up_its_certificate),
		cmocka_unit_test(compares_nonces),
		cmocka_unit_test(says_who_refuses),
		cmocka_unit_test(shows_answers),
		cmocka_unit_test(reads_requests),
		cmocka_unit_test(answers_requests),
		cmocka_unit_test(signs_as_nobody_else),
		cmocka_unit_test(is_believed_by_openssl),
	};

	return cmocka_run_group_tests(tests, make_world, free_world);
}
