/* Who comes back with a session ticket is judged by what holds now. */
#include "pki/testca.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

struct world {
	struct t_dir dir;
	struct t_cert root, client, watch;
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
	t_put_certs(&w.dir, "ca.pem", (struct t_cert[]){ w.root, w.client, w.watch }, 3);
	t_put_certs(&w.dir, "less.pem", (struct t_cert[]){ w.root, w.watch }, 2);
	t_put_certs(&w.dir, "root.pem", &w.root, 1);
	t_put_certs(&w.dir, "client.pem", &w.client, 1);
	t_put_certs(&w.dir, "watch.pem", &w.watch, 1);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	t_done(&w.root);
	t_done(&w.client);
	t_done(&w.watch);
	t_dir_done(&w.dir);
	return 0;
}

/* What is different from a listener with all CAs, both roles and no lists. */
struct listener {
	const char *ca_file, *crl_file;
	enum authz_role role; /* of the client CA */
	int64_t grace;
	bool no_cn, ignore_dates, quarantine, ocsp;
	const struct t_cert *shown; /* somebody has come with this CA in his chain */
};

static struct pki_trust *
trust_of(struct listener l)
{
	char ca[512], crl[512], p[2][512];
	const struct pki_role_ca roles[] = {
		{ l.role != AUTHZ_ROLE_NONE ? l.role : AUTHZ_ROLE_CLIENT, t_path(&w.dir, "client.pem", p[0]) },
		{ AUTHZ_ROLE_WATCH, t_path(&w.dir, "watch.pem", p[1]) },
	};
	const char *crls[] = { crl };
	struct pki_trust_config c = { .ca_file = t_path(&w.dir, l.ca_file != NULL ? l.ca_file : "ca.pem", ca), .roles = roles, .n_roles = 2,
		.crl_files = crls, .n_crl_files = l.crl_file != NULL, .crl_grace = l.grace, .now = T_NOW, .require_cn = !l.no_cn,
		.ignore_dates = l.ignore_dates, .quarantine = l.quarantine, .ocsp = l.ocsp };
	struct err err = { 0 };
	struct pki_trust *t;

	(void)t_path(&w.dir, l.crl_file != NULL ? l.crl_file : "", crl);
	t = pki_trust_new(&c, &err);
	if (t == NULL)
		print_error("%s\n", err.text);
	assert_non_null(t);
	if (l.shown != NULL) {
		struct t_cert somebody = t_leaf("somebody", l.shown);

		pki_peer_free(t_accepted(&w.dir, t, l.ca_file, somebody.x, l.shown->x));
		t_done(&somebody);
	}
	return t;
}

struct voucher {
	uint8_t p[PKI_VOUCHER_MAX];
	size_t n;
};

/* What the ticket of <leaf> says, given where <l> was in force. */
static struct voucher
voucher_of(struct listener l, X509 *leaf, X509 *sent)
{
	struct pki_trust *t = trust_of(l);
	struct pki_peer *p = t_accepted(&w.dir, t, l.ca_file != NULL ? l.ca_file : "ca.pem", leaf, sent);
	struct voucher v;

	v.n = pki_peer_vouch(p, v.p);
	pki_peer_free(p);
	pki_trust_unref(t);
	return v;
}

static enum pki_cause
returns_to(const struct pki_trust *t, X509 *leaf, const struct voucher *v, int64_t now)
{
	struct pki_returned r = { leaf, slice_of(v->p, v->n), now };
	struct pki_standing why = { 0 };
	struct pki_peer *p = NULL;
	bool ok = pki_judge_resumed(t, &r, &p, &why);

	assert_int_equal(ok, why.cause == PKI_OK);
	assert_int_equal(ok, p != NULL);
	assert_int_equal(ok, why.text[0] == '\0');
	pki_peer_free(p);
	return why.cause;
}

static enum pki_cause
returns(struct listener l, X509 *leaf, const struct voucher *v, int64_t now)
{
	struct pki_trust *t = trust_of(l);
	enum pki_cause cause = returns_to(t, leaf, v, now);

	pki_trust_unref(t);
	return cause;
}

/* Of the same person nothing is different. */
static void
he_is_who_he_was(void **state)
{
	struct t_cert leaf = t_leaf("d1", &w.client);
	struct pki_trust *t = trust_of((struct listener){ 0 });
	struct pki_peer *p = t_accepted(&w.dir, t, "ca.pem", leaf.x, NULL), *again = NULL;
	struct voucher v = { .n = 0 };
	struct pki_standing why;
	struct authz_facts a, b;

	(void)state;
	v.n = pki_peer_vouch(p, v.p);
	assert_true(v.n > 42);
	assert_true(pki_judge_resumed(t, &(struct pki_returned){ leaf.x, slice_of(v.p, v.n), T_NOW }, &again, &why));
	pki_peer_facts(p, false, &a);
	pki_peer_facts(again, false, &b);
	assert_int_equal(a.role, AUTHZ_ROLE_CLIENT);
	assert_int_equal(a.role, b.role);
	assert_true(slice_eq(a.cn, b.cn) && slice_eq(a.subject, b.subject) && slice_eq(a.issuer, b.issuer) && slice_eq(a.serial, b.serial));
	assert_true(slice_eq(a.chain, b.chain));
	assert_true(a.not_before == b.not_before && a.not_after == b.not_after && a.not_after != 0);
	assert_memory_equal(a.issuer_key, b.issuer_key, 32);
	assert_memory_equal(a.fingerprint, b.fingerprint, 32);
	pki_peer_free(p);
	pki_peer_free(again);
	pki_trust_unref(t);
	t_done(&leaf);
}

static void
dates(void **state)
{
	struct t_cert leaf = t_make(&(struct t_want){ .cn = "d", .from = T_NOW - T_DAY, .to = T_NOW + 100, .extended = "clientAuth" }, &w.client);
	struct t_cert ca = t_make(&(struct t_want){ .cn = "Short CA", .constraints = "critical,CA:TRUE", .to = T_NOW + 50 }, &w.root);
	struct t_cert below = t_leaf("d", &ca);
	struct voucher v = voucher_of((struct listener){ 0 }, leaf.x, NULL), u = voucher_of((struct listener){ .ca_file = "root.pem" }, below.x, ca.x),
		       blind = voucher_of((struct listener){ .ignore_dates = true }, leaf.x, NULL);

	(void)state;
	assert_int_equal(returns((struct listener){ 0 }, leaf.x, &v, T_NOW + 100), PKI_OK);
	assert_int_equal(returns((struct listener){ 0 }, leaf.x, &v, T_NOW + 101), PKI_BAD_EXPIRED);
	assert_int_equal(returns((struct listener){ .quarantine = true }, leaf.x, &v, T_NOW + 101), PKI_BAD_EXPIRED);
	assert_int_equal(returns((struct listener){ .ignore_dates = true }, leaf.x, &v, T_NOW + 101), PKI_OK);
	assert_int_equal(returns((struct listener){ 0 }, leaf.x, &v, T_NOW - T_DAY - 1), PKI_BAD_NOT_YET);
	assert_int_equal(returns((struct listener){ .ca_file = "root.pem", .shown = &ca }, below.x, &u, T_NOW + 50), PKI_OK);
	assert_int_equal(returns((struct listener){ .ca_file = "root.pem", .shown = &ca }, below.x, &u, T_NOW + 51), PKI_BAD_EXPIRED);
	assert_int_equal(returns((struct listener){ .ignore_dates = true }, leaf.x, &blind, T_NOW + 101), PKI_OK);
	assert_int_equal(returns((struct listener){ 0 }, leaf.x, &blind, T_NOW), PKI_BAD_EXPIRED);
	t_done(&leaf);
	t_done(&below);
	t_done(&ca);
}

static const int64_t from = T_NOW - T_DAY, to = T_NOW + T_DAY;

static void
lists(void **state)
{
	struct t_cert leaf = t_leaf("d", &w.client), other = t_leaf("e", &w.client);
	struct voucher v = voucher_of((struct listener){ 0 }, leaf.x, NULL);
	const struct {
		const struct t_cert *by;
		const X509 *who; /* is revoked */
		int64_t next, grace;
		enum pki_cause cause;
	} cases[] = {
		{ &w.client, other.x, to, 0, PKI_OK },
		{ &w.client, leaf.x, to, 0, PKI_BAD_REVOKED },
		{ &w.client, leaf.x, T_NOW - 9, 0, PKI_BAD_REVOKED },
		{ &w.client, other.x, T_NOW - 9, 0, PKI_BAD_CRL_EXPIRED },
		{ &w.client, other.x, T_NOW - 9, 10, PKI_OK },
		{ &w.client, other.x, T_NOW - 9, 9, PKI_BAD_CRL_EXPIRED },
		{ &w.watch, other.x, to, 0, PKI_BAD_CRL_MISSING },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		t_put_crl(&w.dir, "crl.pem", t_crl(cases[i].by, cases[i].who, from, cases[i].next, 1));
		assert_int_equal(returns((struct listener){ .crl_file = "crl.pem", .grace = cases[i].grace }, leaf.x, &v, T_NOW), cases[i].cause);
	}
	t_done(&leaf);
	t_done(&other);
}

static void
make_folder(struct t_dir *ret, const char *name)
{
	assert_true(path_join(ret->path, sizeof ret->path, w.dir.path, name));
	assert_int_equal(mkdir(ret->path, 0700), 0);
}

/* A list of the root's, beside those who have none. */
static void
an_intermediate_is_revoked(void **state)
{
	struct t_cert leaf = t_leaf("d", &w.client);
	struct voucher v = voucher_of((struct listener){ 0 }, leaf.x, NULL), u = voucher_of((struct listener){ .ca_file = "root.pem" }, leaf.x, w.client.x);
	struct t_dir d;

	(void)state;
	make_folder(&d, "above");
	t_put_crl(&d, "root.pem", t_crl(&w.root, leaf.x, from, to, 1));
	assert_int_equal(returns((struct listener){ .crl_file = "above" }, leaf.x, &v, T_NOW), PKI_OK);
	assert_int_equal(returns((struct listener){ .ca_file = "root.pem", .crl_file = "above", .shown = &w.client }, leaf.x, &u, T_NOW), PKI_OK);
	t_put_crl(&d, "root.pem", t_crl(&w.root, w.client.x, from, to, 1));
	assert_int_equal(returns((struct listener){ .crl_file = "above" }, leaf.x, &v, T_NOW), PKI_BAD_REVOKED);
	assert_int_equal(returns((struct listener){ .ca_file = "root.pem", .crl_file = "above" }, leaf.x, &u, T_NOW), PKI_BAD_REVOKED);
	t_done(&leaf);
}

/* The broker knows the root alone: whose a list of the client CA is, only that CA's certificate tells, and a resumption has none. */
static void
a_list_that_nobody_knows_yet(void **state)
{
	const struct listener l = { .ca_file = "root.pem", .crl_file = "unknown" };
	struct t_cert leaf = t_leaf("d", &w.client), other = t_leaf("e", &w.client);
	struct voucher v = voucher_of((struct listener){ .ca_file = "root.pem" }, leaf.x, w.client.x);
	struct pki_trust *t;
	struct t_dir d;

	(void)state;
	make_folder(&d, "unknown");
	/* Nor could anybody take him out again when such a list came later. */
	assert_int_equal(returns(l, leaf.x, &v, T_NOW), PKI_BAD_OTHER);
	assert_int_equal(returns((struct listener){ .ca_file = "root.pem", .crl_file = "unknown", .shown = &w.client }, leaf.x, &v, T_NOW), PKI_OK);
	t_put_crl(&d, "client.pem", t_crl(&w.client, leaf.x, from, to, 1));
	t = trust_of(l);
	assert_int_equal(returns_to(t, leaf.x, &v, T_NOW), PKI_BAD_OTHER);
	/* Another one has shown the chain. */
	pki_peer_free(t_accepted(&w.dir, t, "root.pem", other.x, w.client.x));
	assert_int_equal(returns_to(t, leaf.x, &v, T_NOW), PKI_BAD_REVOKED);
	pki_trust_unref(t);
	t_put_crl(&d, "client.pem", t_crl(&w.client, other.x, from, to, 1));
	t = trust_of(l);
	assert_int_equal(returns_to(t, leaf.x, &v, T_NOW), PKI_BAD_OTHER);
	pki_peer_free(t_accepted(&w.dir, t, "root.pem", leaf.x, w.client.x));
	assert_int_equal(returns_to(t, leaf.x, &v, T_NOW), PKI_OK);
	pki_trust_unref(t);
	t_done(&leaf);
	t_done(&other);
}

static void
other_rules(void **state)
{
	struct t_cert leaf = t_leaf("d", &w.client), nameless = t_make(&(struct t_want){ .org = "x" }, &w.client);
	struct t_cert pinned = t_make(&(struct t_want){ .cn = "p", .constraints = "CA:TRUE" }, NULL);
	struct voucher v = voucher_of((struct listener){ 0 }, leaf.x, NULL), u = voucher_of((struct listener){ .no_cn = true }, nameless.x, NULL), p;

	(void)state;
	assert_int_equal(returns((struct listener){ .ca_file = "less.pem" }, leaf.x, &v, T_NOW), PKI_BAD_CA_WITHDRAWN);
	assert_int_equal(returns((struct listener){ .role = AUTHZ_ROLE_CONTROL }, leaf.x, &v, T_NOW), PKI_BAD_ROLE_CHANGED);
	assert_int_equal(returns((struct listener){ .no_cn = true }, nameless.x, &u, T_NOW), PKI_OK);
	assert_int_equal(returns((struct listener){ 0 }, nameless.x, &u, T_NOW), PKI_BAD_CN);
	t_put_certs(&w.dir, "pinned.pem", (struct t_cert[]){ w.root, pinned }, 2);
	p = voucher_of((struct listener){ .ca_file = "pinned.pem" }, pinned.x, NULL);
	assert_int_equal(returns((struct listener){ .ca_file = "pinned.pem" }, pinned.x, &p, T_NOW), PKI_OK);
	assert_int_equal(returns((struct listener){ 0 }, pinned.x, &p, T_NOW), PKI_BAD_CA_WITHDRAWN);
	t_done(&leaf);
	t_done(&nameless);
	t_done(&pinned);
}

/* Where a responder is asked, it can be asked about who comes back as well; or he has to show his chain. */
static void
a_responder_can_be_asked(void **state)
{
	struct t_cert leaf = t_leaf("d", &w.client);
	struct pki_trust *t = trust_of((struct listener){ .ocsp = true });
	struct voucher v = voucher_of((struct listener){ .ocsp = true }, leaf.x, NULL);
	struct voucher u = voucher_of((struct listener){ .ca_file = "root.pem", .ocsp = true }, leaf.x, w.client.x);
	struct pki_standing why;
	struct pki_peer *p = NULL;

	(void)state;
	assert_true(pki_judge_resumed(t, &(struct pki_returned){ leaf.x, slice_of(v.p, v.n), T_NOW }, &p, &why));
	assert_true(p->issuer_cert != NULL && X509_cmp(p->issuer_cert, w.client.x) == 0);
	pki_peer_free(p);
	pki_trust_unref(t);
	assert_int_equal(returns((struct listener){ .ca_file = "root.pem", .ocsp = true }, leaf.x, &u, T_NOW), PKI_BAD_OTHER);
	assert_int_equal(returns((struct listener){ .ca_file = "root.pem", .ocsp = true, .shown = &w.client }, leaf.x, &u, T_NOW), PKI_OK);
	t_done(&leaf);
}

/* He is judged whole each time, until he has a certificate that is in its time. */
static void
nobody_in_quarantine_has_a_ticket(void **state)
{
	struct t_cert past = t_make(&(struct t_want){ .cn = "d", .from = T_NOW - 99 * T_DAY, .to = T_NOW - T_DAY }, &w.client);

	(void)state;
	assert_int_equal(voucher_of((struct listener){ .quarantine = true }, past.x, NULL).n, 0);
	t_done(&past);
}

/* It comes sealed, and is read as if it did not. */
static void
each_byte_and_each_end(void **state)
{
	struct t_cert leaf = t_leaf("d", &w.client);
	struct voucher v = voucher_of((struct listener){ 0 }, leaf.x, NULL);
	struct pki_trust *t = trust_of((struct listener){ 0 });

	(void)state;
	for (size_t n = 0; n < v.n; n++) {
		struct voucher cut = { .n = n };
		uint8_t *exact = malloc(n > 0 ? n : 1);
		struct pki_standing why;
		struct pki_peer *p = NULL;

		assert_non_null(exact);
		memcpy(exact, v.p, n);
		/* Without its last link it is another chain, a shorter one that is good. */
		(void)pki_judge_resumed(t, &(struct pki_returned){ leaf.x, slice_of(exact, n), T_NOW }, &p, &why);
		pki_peer_free(p);
		free(exact);
		memcpy(cut.p, v.p, n);
		if (n < 43)
			assert_int_equal(returns_to(t, leaf.x, &cut, T_NOW), PKI_BAD_OTHER);
	}
	for (size_t i = 0; i < v.n; i++) {
		struct voucher other = v;
		struct pki_standing why;
		struct pki_peer *p = NULL;

		other.p[i] ^= 0xff;
		if (pki_judge_resumed(t, &(struct pki_returned){ leaf.x, slice_of(other.p, other.n), T_NOW }, &p, &why))
			assert_true(p->role == AUTHZ_ROLE_CLIENT);
		pki_peer_free(p);
	}
	v.p[1] = AUTHZ_ROLE_QUARANTINE;
	assert_int_equal(returns_to(t, leaf.x, &v, T_NOW), PKI_BAD_OTHER);
	v.p[1] = AUTHZ_ROLE_CONTROL;
	assert_int_equal(returns_to(t, leaf.x, &v, T_NOW), PKI_BAD_ROLE_CHANGED);
	pki_trust_unref(t);
	t_done(&leaf);
}

static void
scopes(void **state)
{
	struct listener all[] = { { 0 }, { .ca_file = "less.pem" }, { .role = AUTHZ_ROLE_CONTROL }, { .no_cn = true }, { .ignore_dates = true },
		{ .quarantine = true } };
	uint8_t scope[ARRAY_LEN(all)][32], none[32], other[32];
	struct pki_trust *t;

	(void)state;
	t_put_crl(&w.dir, "crl.pem", t_crl(&w.client, NULL, from, to, 1));
	assert_true(pki_trust_scope(NULL, SL("1883"), none));
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		t = trust_of(all[i]);
		assert_true(pki_trust_scope(t, SL("1883"), scope[i]));
		assert_true(pki_trust_scope(t, SL("1884"), other));
		assert_memory_not_equal(scope[i], other, 32);
		assert_memory_not_equal(scope[i], none, 32);
		pki_trust_unref(t);
		/* Lists are asked each time: new ones let tickets be. */
		all[i].crl_file = "crl.pem";
		all[i].grace = 99;
		t = trust_of(all[i]);
		assert_true(pki_trust_scope(t, SL("1883"), other));
		assert_memory_equal(scope[i], other, 32);
		pki_trust_unref(t);
		for (size_t k = 0; k < i; k++)
			assert_memory_not_equal(scope[i], scope[k], 32);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(he_is_who_he_was),
		cmocka_unit_test(dates),
		cmocka_unit_test(lists),
		cmocka_unit_test(an_intermediate_is_revoked),
		cmocka_unit_test(a_list_that_nobody_knows_yet),
		cmocka_unit_test(other_rules),
		cmocka_unit_test(a_responder_can_be_asked),
		cmocka_unit_test(nobody_in_quarantine_has_a_ticket),
		cmocka_unit_test(each_byte_and_each_end),
		cmocka_unit_test(scopes),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
