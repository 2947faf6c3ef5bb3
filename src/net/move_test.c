/* Connections that go from loop to loop under load, with bytes of theirs already here that belong
 * to the other side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "net/testkit.h"

enum { CLIENTS = 6, ROUNDS = 40 };

static struct pki pki;

struct job {
	const struct kit *k;
	SSL_CTX *ctx; /* NULL: plain */
	unsigned seed;
	bool good;
};

/* Frames behind each other in one write: whoever moves has unread input, encrypted and not. */
static size_t
pipeline(uint8_t *out, unsigned seed)
{
	static const char verbs[] = "meemtmpmeemme";
	uint8_t payload[3000];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(seed + i);
	for (const char *v = verbs; *v != '\0'; v++)
		n += frame(out + n, *v, payload,
		    (seed * 7919u + (unsigned)(v - verbs) * 271u) % sizeof(payload));
	return n;
}

/* No assertions here: cmocka knows one thread only. */
static void *
work(void *arg)
{
	struct job *j = arg;
	struct client c = client_connect(j->k);
	uint8_t *sent = malloc(50000), *got = malloc(50000);

	j->good = j->ctx == NULL || client_shake(&c, j->ctx);
	for (unsigned i = 0; i < ROUNDS && j->good; i++) {
		size_t n = pipeline(sent, j->seed + i);

		client_write(&c, sent, n);
		j->good = client_read(&c, got, n) == n && memcmp(sent, got, n) == 0;
	}
	client_close(&c);
	free(sent);
	free(got);
	return NULL;
}

static void
run(struct tls_ctx *tls, SSL_CTX *ctx, struct kit *k)
{
	struct job jobs[CLIENTS];
	pthread_t threads[CLIENTS];

	kit_listen(k, 3, tls);
	kit_start(k);
	for (unsigned i = 0; i < CLIENTS; i++) {
		jobs[i] = (struct job){ .k = k, .ctx = ctx, .seed = i * 1000 };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &jobs[i]), 0);
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	kit_await(k, &k->closed, CLIENTS);
	kit_done(k);
	for (unsigned i = 0; i < CLIENTS; i++)
		assert_true(jobs[i].good);
	assert_int_equal(k->opened, CLIENTS);
	assert_int_equal(k->closed, CLIENTS);
	assert_int_equal(k->moved, CLIENTS * ROUNDS * 6);
}

static void
test_plain(void **state)
{
	struct kit k;

	(void)state;
	kit_init(&k, 3, NULL);
	run(NULL, NULL, &k);
}

static void
test_tls(void **state)
{
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, versions[v]);
		struct tls_config conf;
		struct tls_ctx *t;
		struct err err;
		struct kit k;

		kit_init(&k, 3, NULL);
		conf = kit_tls_config(&k, &pki);
		conf.require_client_cert = true;
		t = tls_ctx_new(&conf, &err);
		assert_non_null(t);
		run(t, ctx, &k);
		tls_ctx_unref(t);
		SSL_CTX_free(ctx);
	}
}

/* The peer says goodbye behind the frame that moves: all of it is heard at the new place. */
static void
test_close_behind(void **state)
{
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, 0);

	(void)state;
	for (int secure = 0; secure < 2; secure++) {
		uint8_t buf[64];
		struct tls_config conf;
		struct tls_ctx *t = NULL;
		struct client c;
		struct err err;
		struct kit k;
		size_t n;

		kit_init(&k, 2, NULL);
		conf = kit_tls_config(&k, &pki);
		if (secure)
			t = tls_ctx_new(&conf, &err);
		kit_listen(&k, 1, t);
		kit_start(&k);
		c = client_connect(&k);
		if (secure)
			assert_true(client_shake(&c, ctx));
		n = frame(buf, 'm', "x", 1);
		n += frame(buf + n, 'e', "y", 1);
		client_write(&c, buf, n);
		if (secure)
			(void)SSL_shutdown(c.ssl);
		client_close(&c);
		kit_await(&k, &k.closed, 1);
		assert_int_equal(k.moved, 1);
		kit_done(&k);
		tls_ctx_unref(t);
	}
	SSL_CTX_free(ctx);
}

/* Loops that end while connections are on their way: each stream still gets its closed(). */
static void
test_stop_while_moving(void **state)
{
	(void)state;
	for (int round = 0; round < 20; round++) {
		struct client c[4];
		uint8_t buf[64];
		struct kit k;

		kit_init(&k, 2, NULL);
		kit_listen(&k, 2, NULL);
		kit_start(&k);
		for (int i = 0; i < 4; i++) {
			c[i] = client_connect(&k);
			client_write(&c[i], buf, frame(buf, 'm', "x", 1));
		}
		if (round % 2 == 0)
			kit_await(&k, &k.opened, 1 + (unsigned)round % 4);
		kit_done(&k);
		assert_int_equal(k.opened, k.closed);
		for (int i = 0; i < 4; i++)
			client_close(&c[i]);
	}
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
		cmocka_unit_test(test_plain),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_close_behind),
		cmocka_unit_test(test_stop_while_moving),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
