/* Connections that we open: whom we believe, and that every attempt ends in exactly one word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/num.h"
#include "net/testkit.h"

static struct pki pki;

struct caller {
	struct loop *loop;
	const struct net_dial *dial;
	unsigned opened, failed, closed;
	enum net_failure_kind kind;
	char detail[512];
	struct waker w;
	uint8_t out[32], in[32];
	size_t out_n, in_n;
	bool started, refuse, stop_at_once;
};

static ptrdiff_t
caller_feed(void *self, struct slice in)
{
	struct caller *c = self;

	assert_true(c->in_n + in.n <= sizeof(c->in));
	if (in.n > 0)
		memcpy(c->in + c->in_n, in.p, in.n);
	c->in_n += in.n;
	return c->in_n == 10 ? STREAM_CLOSE : (ptrdiff_t)in.n;
}

static int
caller_pull(void *self, struct iovec *iov, int max)
{
	struct caller *c = self;

	assert_true(max > 0);
	iov[0] = (struct iovec){ c->out, c->out_n };
	return c->out_n > 0 ? 1 : 0;
}

static void
caller_sent(void *self)
{
	((struct caller *)self)->out_n = 0;
}

static void
caller_closed(void *self, const char *why)
{
	struct caller *c = self;

	(void)why;
	c->closed++;
	loop_stop(c->loop);
}

static const struct stream_ops caller_ops = { .feed = caller_feed, .pull = caller_pull, .sent = caller_sent, .closed = caller_closed };

static void *
on_open(void *ctx, const struct net_peer *peer, const struct waker *w, const struct stream_ops **ret_ops)
{
	struct caller *c = ctx;

	assert_ptr_equal(peer->dialled, c);
	assert_null(peer->listener);
	c->opened++;
	c->w = *w;
	if (c->refuse) {
		loop_stop(c->loop);
		return NULL;
	}
	c->out_n = frame(c->out, 'e', "hello", 5);
	*ret_ops = &caller_ops;
	return c;
}

static void
on_failed(void *ctx, const struct net_peer *peer, const struct net_failure *f)
{
	struct caller *c = ctx;

	assert_ptr_equal(peer->dialled, c);
	c->failed++;
	c->kind = f->kind;
	(void)snprintf(c->detail, sizeof(c->detail), "%s", f->detail);
	loop_stop(c->loop);
}

static uint64_t
on_turn(void *ctx, uint64_t now_ms)
{
	struct caller *c = ctx;
	struct err err = { 0 };

	(void)now_ms;
	if (!c->started && !loop_connect(c->loop, c->dial, &err)) {
		c->failed++;
		(void)snprintf(c->detail, sizeof(c->detail), "%s", err.text);
		loop_stop(c->loop);
	}
	if (c->stop_at_once)
		loop_stop(c->loop);
	c->started = true;
	return UINT64_MAX;
}

/* One call from a loop of its own, to its end. */
static void
call(struct caller *c, struct net_dial *d)
{
	static const struct net_handler handler = { .open = on_open, .failed = on_failed, .turn = on_turn };
	struct err err = { 0 };

	c->loop = loop_new(0, &handler, c, NULL, &err);
	assert_non_null(c->loop);
	d->dialled = c;
	c->dial = d;
	loop_run(c->loop);
	loop_free(c->loop);
	assert_int_equal(c->opened + c->failed, 1);
}

static struct tls_ctx *
client_side(const char *ca, bool cert, bool any_name)
{
	struct tls_config c = { .ca_file = ca, .cert_file = cert ? pki.cert : NULL, .key_file = cert ? pki.key : NULL,
		.alpn = "mqtt" };
	struct err err = { 0 };
	struct tls_ctx *t = tls_client_new(&c, any_name, &err);

	if (t == NULL)
		fail_msg("%s", err.text);
	return t;
}

static void
start(struct kit *k, bool secure, bool want_cert)
{
	kit_init(k, 1, NULL);
	if (secure) {
		struct tls_config c = kit_tls_config(k, &pki);
		struct err err = { 0 };
		struct tls_ctx *t;

		c.ask_client_cert = c.require_client_cert = want_cert;
		t = tls_ctx_new(&c, &err);
		assert_non_null(t);
		kit_listen(k, 1, t);
		tls_ctx_unref(t);
	} else
		kit_listen(k, 1, NULL);
	kit_start(k);
}

static void
test_plain(void **state)
{
	struct caller c = { 0 };
	struct kit k;

	(void)state;
	start(&k, false, false);
	call(&c, &(struct net_dial){ .addr = (struct sockaddr *)&k.addr, .len = sizeof(k.addr) });
	assert_int_equal(c.opened, 1);
	assert_int_equal(c.closed, 1);
	assert_memory_equal(c.in + 5, "hello", 5);
	kit_done(&k);
}

static void
test_nobody(void **state)
{
	struct caller c = { 0 };
	struct kit k;
	struct sockaddr_in gone;

	(void)state;
	start(&k, false, false);
	gone = k.addr;
	kit_done(&k);
	call(&c, &(struct net_dial){ .addr = (struct sockaddr *)&gone, .len = sizeof(gone) });
	assert_int_equal(c.failed, 1);
	assert_non_null(strstr(c.detail, "refused"));
}

static void
test_no_answer(void **state)
{
	struct caller c = { 0 };
	struct kit k;

	(void)state;
	/* A listener that nobody serves takes the connection and shakes no hands. */
	kit_init(&k, 1, NULL);
	kit_listen(&k, 1, NULL);
	struct tls_ctx *t = client_side(pki.ca, false, false);
	call(&c, &(struct net_dial){ .addr = (struct sockaddr *)&k.addr, .len = sizeof(k.addr), .tls = t, .name = "localhost",
				     .timeout_ms = 50 });
	assert_int_equal(c.failed, 1);
	assert_int_equal(c.kind, NET_FAIL_TIMEOUT);
	/* The end of the loop is an end of the call, too. */
	struct caller c2 = { .stop_at_once = true };
	call(&c2, &(struct net_dial){ .addr = (struct sockaddr *)&k.addr, .len = sizeof(k.addr), .tls = t, .name = "localhost" });
	assert_int_equal(c2.failed, 1);
	tls_ctx_unref(t);
	kit_done(&k);
}

static void
test_refuse(void **state)
{
	struct caller c = { .refuse = true };
	struct kit k;

	(void)state;
	start(&k, false, false);
	call(&c, &(struct net_dial){ .addr = (struct sockaddr *)&k.addr, .len = sizeof(k.addr) });
	assert_int_equal(c.opened, 1);
	assert_int_equal(c.closed, 0);
	kit_done(&k);
}

static void
test_names(void **state)
{
	static const struct {
		const char *name;
		bool stranger_ca, any_name, cert, open;
		const char *detail;
	} t[] = {
		{ "localhost", false, false, false, true, "" },
		{ "LOCALHOST", false, false, true, true, "" },
		{ "broker.example", false, false, false, false, "hostname mismatch" },
		{ "localhost.example", false, false, false, false, "hostname mismatch" },
		{ "127.0.0.1", false, false, false, false, "IP address mismatch" },
		{ "broker.example", false, true, false, true, "" },
		{ "localhost", true, false, false, false, "self-signed certificate in certificate chain" },
		/* Any name, but not anybody. */
		{ "localhost", true, true, false, false, "self-signed certificate in certificate chain" },
	};
	char extra[128];

	(void)state;
	pki_write_cert(&pki, "extra.pem", &pki.stranger_root, false);
	(void)snprintf(extra, sizeof(extra), "%s/extra.pem", pki.dir);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct tls_ctx *ctx = client_side(t[i].stranger_ca ? extra : pki.ca, t[i].cert, t[i].any_name);
		struct caller c = { 0 };
		struct kit k;

		start(&k, true, t[i].cert);
		call(&c, &(struct net_dial){ .addr = (struct sockaddr *)&k.addr, .len = sizeof(k.addr), .tls = ctx, .name = t[i].name });
		assert_int_equal(c.opened, t[i].open);
		assert_string_equal(c.detail, t[i].detail);
		if (t[i].open)
			assert_memory_equal(c.in + 5, "hello", 5);
		else
			assert_int_equal(c.kind, NET_FAIL_VERIFY);
		kit_done(&k);
		assert_int_equal(k.identities, t[i].cert);
		tls_ctx_unref(ctx);
	}
}

static void
test_context(void **state)
{
	const struct {
		struct tls_config c;
		const char *says;
	} t[] = {
		{ { .cert_file = pki.cert, .key_file = pki.key }, "no cafile or capath" },
		{ { .ca_file = pki.ca, .cert_file = pki.cert }, "needs a keyfile" },
		{ { .ca_file = pki.ca, .key_file = pki.key }, "needs a certfile" },
		{ { .ca_file = pki.key }, "no usable certificate" },
		{ { .ca_file = "/nowhere" }, "/nowhere" },
		{ { .ca_file = pki.ca, .alpn = "a,,b" }, "ALPN" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct err err = { 0 };

		assert_null(tls_client_new(&t[i].c, false, &err));
		if (strstr(err.text, t[i].says) == NULL)
			fail_msg("%s", err.text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_context),
	};
	int failed;

	pki_init(&pki);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	pki_done(&pki);
	return failed;
}
