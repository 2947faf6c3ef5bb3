/* Control's side and the signer's decoder against each other: what is asked arrives, and nothing that is cut or longer does. */
#include "signer/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

struct pair {
	struct signer_client *client;
	int peer;
	uint8_t buf[MESSAGE_MAX];
	size_t n;
	struct req req;
};

static int
setup(void **state)
{
	struct pair *p = calloc(1, sizeof *p);
	int fds[2];

	assert_non_null(p);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	p->client = signer_client_new(fds[0]);
	assert_non_null(p->client);
	p->peer = fds[1];
	*state = p;
	return 0;
}

static int
teardown(void **state)
{
	struct pair *p = *state;

	signer_client_free(p->client);
	if (p->peer != -1)
		(void)close(p->peer);
	free(p);
	return 0;
}

static void
pump(struct pair *p)
{
	struct err err = { 0 };

	if (!signer_client_ready(p->client, &err))
		fail_msg("%s", err.text);
}

/* The next message as the signer sees it; each shorter and one longer are refused. */
static const struct req *
arrives(struct pair *p)
{
	struct err err = { 0 };
	ssize_t n;

	pump(p);
	n = recv(p->peer, p->buf, sizeof p->buf, MSG_DONTWAIT);
	assert_true(n > 0);
	p->n = (size_t)n;
	for (size_t i = 0; i < p->n; i++) {
		uint8_t *copy = malloc(i + 1);

		assert_non_null(copy);
		memcpy(copy, p->buf, i);
		/* Lists end with the message: a whole entry less is a shorter list. */
		if (req_parse(&p->req, slice_of(copy, i), &err))
			assert_true(p->req.type == REQ_CRL || p->req.type == REQ_OCSP);
		else
			assert_true(err.text[0] != '\0');
		free(copy);
	}
	p->buf[p->n] = 0;
	assert_false(req_parse(&p->req, slice_of(p->buf, p->n + 1), &err));
	if (!req_parse(&p->req, slice_of(p->buf, p->n), &err))
		fail_msg("%s", err.text);
	return &p->req;
}

static void
answer(struct pair *p, enum err_code code, uint32_t id, bool more, struct slice body)
{
	uint8_t buf[4096];
	struct wr w = wr_of(buf, sizeof buf);

	wr_u8(&w, (uint8_t)code);
	wr_u32(&w, id);
	wr_u8(&w, more);
	wr_bytes(&w, body);
	assert_true(wr_ok(&w));
	assert_int_equal(send(p->peer, buf, wr_len(&w), 0), wr_len(&w));
}

struct got {
	unsigned n;
	enum err_code code;
	char text[480];
	size_t der_n;
};

static void
on_issued(void *ctx, const struct signer_issued *ret, const struct err *err)
{
	struct got *g = ctx;

	g->n++;
	g->code = err != NULL ? err->code : ERR_OK;
	assert_true((ret == NULL) == (err != NULL));
	(void)snprintf(g->text, sizeof g->text, "%s", err != NULL ? err->text : ret->notes);
	g->der_n = ret != NULL ? ret->der.n : 0;
}

static void
on_der(void *ctx, struct slice der, const struct err *err)
{
	struct got *g = ctx;

	g->n++;
	g->code = err != NULL ? err->code : ERR_OK;
	g->der_n = der.n;
}

static void
on_done(void *ctx, bool ok, const struct err *err)
{
	on_der(ctx, slice_of("x", ok), err);
}

static void
on_cas(void *ctx, const struct signer_ca *cas, size_t n, const struct err *err)
{
	on_der(ctx, slice_of("x", n), err);
	if (n == 2)
		assert_string_equal(cas[1].name, "cloud");
}

static void
on_logged(void *ctx, uint64_t n, const char *hash, const struct err *err)
{
	on_der(ctx, slice_of("x", n), err);
	assert_true((hash == NULL) == (err != NULL));
}

static void
test_issue(void **state)
{
	struct pair *p = *state;
	const char *const names[] = { "a.example", "10.0.0.1" };
	struct signer_issue q = { "client", "cfree", "t:sensor", names, 2, true, SL("not looked at"), 90, "admin" };
	struct got g = { 0 };
	struct err err;
	uint8_t body[512];
	struct wr w = wr_of(body, sizeof body);
	const struct req *r;

	assert_true(signer_issue(p->client, &q, on_issued, &g, &err));
	r = arrives(p);
	assert_int_equal(r->type, REQ_ISSUE);
	assert_string_equal(r->ca, "client");
	assert_string_equal(r->profile, "cfree");
	assert_string_equal(r->cn, "t:sensor");
	assert_true(r->has_cn && r->only_names);
	assert_int_equal(r->n_names, 2);
	assert_string_equal(r->name_list[1], "10.0.0.1");
	assert_int_equal(r->days, 90);
	assert_true(slice_eq(r->csr, q.csr));
	wr_str(&w, SL("0a"));
	wr_str(&w, SL("ff"));
	wr_str(&w, SL("t:sensor"));
	put_i64(&w, 1);
	put_i64(&w, 2);
	wr_str(&w, SL("DER"));
	wr_str(&w, SL("a note\n"));
	/* In two parts, and the first alone does nothing. */
	answer(p, ERR_OK, r->id, true, slice_of(body, 5));
	pump(p);
	assert_int_equal(g.n, 0);
	answer(p, ERR_OK, r->id, false, slice_of(body + 5, wr_len(&w) - 5));
	pump(p);
	assert_int_equal(g.n, 1);
	assert_int_equal(g.code, ERR_OK);
	assert_int_equal(g.der_n, 3);
	assert_string_equal(g.text, "a note\n");
	assert_int_equal(signer_client_waiting(p->client), 0);
	/* A refusal. */
	assert_true(signer_issue(p->client, &q, on_issued, &g, &err));
	r = arrives(p);
	answer(p, ERR_DENIED, r->id, false, SL("no"));
	pump(p);
	assert_int_equal(g.n, 2);
	assert_int_equal(g.code, ERR_DENIED);
	assert_string_equal(g.text, "no");
}

static void
test_too_long_is_not_sent(void **state)
{
	struct pair *p = *state;
	static uint8_t big[SIGNER_CSR_MAX + 1];
	struct signer_issue q = { .ca = "client", .csr = slice_of(big, sizeof big), .actor = "a" };
	struct got g = { 0 };
	struct err err;
	ssize_t n;

	/* The decoder has the limits; the client only that of a message. */
	assert_true(signer_issue(p->client, &q, on_issued, &g, &err));
	pump(p);
	n = recv(p->peer, p->buf, sizeof p->buf, MSG_DONTWAIT);
	assert_true(n > 0);
	assert_false(req_parse(&p->req, slice_of(p->buf, (size_t)n), &err));
}

static void
test_the_other_requests(void **state)
{
	struct pair *p = *state;
	struct signer_entry entries[] = { { { 1, 2 }, 2, 1, 1000 }, { { 9 }, 1, -1, 0 } };
	struct signer_revoke rev = { "watch", "0a0b", 6, 77, "x" };
	struct signer_ocsp o = { "client", entries, 2, true, SL("nonce"), 3600, "x" };
	struct signer_detail d[] = { { "why", "because" } };
	struct signer_record rec = { "admin", "login", "admin", d, 1 };
	struct got g = { 0 };
	struct err err;
	const struct req *r;
	struct slice rest;
	uint8_t body[256];
	struct wr w = wr_of(body, sizeof body);

	assert_true(signer_revoke(p->client, &rev, on_done, &g, &err));
	r = arrives(p);
	assert_string_equal(r->serial, "0a0b");
	assert_int_equal(r->reason, 6);
	assert_int_equal(r->at, 77);
	answer(p, ERR_OK, r->id, false, SL(""));
	assert_true(signer_ocsp(p->client, &o, on_der, &g, &err));
	r = arrives(p);
	assert_int_equal(r->n_entries, 2);
	assert_true(r->sha256);
	rest = r->entries;
	assert_int_equal(entry_next(&rest).at, 1000);
	assert_int_equal(entry_next(&rest).reason, -1);
	assert_int_equal(rest.n, 0);
	answer(p, ERR_OK, r->id, false, SL("response"));
	assert_true(signer_log(p->client, &rec, on_logged, &g, &err));
	r = arrives(p);
	assert_string_equal(r->detail_values[0], "because");
	put_i64(&w, 8);
	wr_str(&w, SL("aa"));
	answer(p, ERR_OK, r->id, false, wr_slice(&w));
	assert_true(signer_checkpoint(p->client, on_logged, &g, &err));
	r = arrives(p);
	answer(p, ERR_OK, r->id, false, wr_slice(&w));
	assert_true(signer_cas(p->client, on_cas, &g, &err));
	r = arrives(p);
	w = wr_of(body, sizeof body);
	for (unsigned i = 0; i < 2; i++) {
		wr_str(&w, i == 0 ? SL("client") : SL("cloud"));
		wr_str(&w, SL("client cfree"));
		wr_str(&w, SL("DER"));
	}
	answer(p, ERR_OK, r->id, false, wr_slice(&w));
	pump(p);
	assert_int_equal(g.n, 5);
	assert_int_equal(g.code, ERR_OK);
	assert_int_equal(g.der_n, 2);
}

static void
test_a_long_list_goes_in_parts(void **state)
{
	enum { N = 5000 };
	struct pair *p = *state;
	struct signer_entry *entries = calloc(N, sizeof *entries);
	struct signer_crl q = { "client", entries, N, UINT64_C(1) << 40, 7, "x" };
	struct got g = { 0 };
	struct err err = { 0 };
	size_t seen = 0, parts = 0;
	const struct req *r = &p->req;

	assert_non_null(entries);
	for (size_t i = 0; i < N; i++)
		entries[i] = (struct signer_entry){ { (uint8_t)(i >> 8), (uint8_t)i, 1 }, 3, 0, (int64_t)i };
	assert_true(signer_crl(p->client, &q, on_der, &g, &err));
	do {
		ssize_t n;

		pump(p);
		n = recv(p->peer, p->buf, sizeof p->buf, MSG_DONTWAIT);
		assert_true(n > 0);
		assert_true(req_parse(&p->req, slice_of(p->buf, (size_t)n), &err));
		assert_int_equal(r->first, parts == 0);
		assert_true(r->number == UINT64_C(1) << 40);
		for (struct slice rest = r->entries; rest.n > 0; seen++)
			assert_int_equal(entry_next(&rest).at, seen);
		parts++;
	} while (!r->last);
	assert_int_equal(seen, N);
	assert_true(parts > 1);
	answer(p, ERR_OK, r->id, false, SL("list"));
	pump(p);
	assert_int_equal(g.n, 1);
	assert_int_equal(g.der_n, 4);
	free(entries);
}

static void
test_the_signer_goes(void **state)
{
	struct pair *p = *state;
	struct signer_issue q = { .ca = "client", .csr = SL("x"), .actor = "a" };
	struct got g = { 0 };
	struct err err = { 0 };

	assert_true(signer_issue(p->client, &q, on_issued, &g, &err));
	assert_true(signer_issue(p->client, &q, on_issued, &g, &err));
	pump(p);
	assert_int_equal(close(p->peer), 0);
	p->peer = -1;
	assert_false(signer_client_ready(p->client, &err));
	assert_int_equal(g.n, 2);
	assert_int_equal(g.code, ERR_SYSTEM);
	assert_int_equal(signer_client_waiting(p->client), 0);
	assert_false(signer_issue(p->client, &q, on_issued, &g, &err));
	assert_int_equal(g.n, 2);
}

static void
test_an_answer_to_nobody_ends_it(void **state)
{
	struct pair *p = *state;
	struct signer_issue q = { .ca = "client", .csr = SL("x"), .actor = "a" };
	struct got g = { 0 };
	struct err err = { 0 };
	const struct req *r;

	assert_true(signer_issue(p->client, &q, on_issued, &g, &err));
	r = arrives(p);
	answer(p, ERR_OK, r->id + 1, false, SL(""));
	assert_false(signer_client_ready(p->client, &err));
	assert_int_equal(g.n, 1);
	assert_int_equal(g.code, ERR_SYSTEM);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_issue, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_long_is_not_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_other_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_long_list_goes_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_signer_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_answer_to_nobody_ends_it, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
