/* Loops with plain connections. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "net/internal.h"
#include "net/testkit.h"

static void
start(struct kit *k, unsigned loops, const struct loop_limits *limits)
{
	kit_init(k, loops, limits);
	kit_listen(k, 1, NULL);
	kit_start(k);
}

static void
test_echo(void **state)
{
	struct kit k;
	struct client c;
	static const char verbs[] = "etpep";

	(void)state;
	start(&k, 1, NULL);
	c = client_connect(&k);
	for (const char *v = verbs; *v != '\0'; v++)
		client_echo(&c, *v, "hello", 5);
	client_close(&c);
	kit_await(&k, &k.closed, 1);
	assert_string_equal(k.why, "-");
	kit_done(&k);
	assert_int_equal(k.opened, 1);
	assert_int_equal(k.closed, 1);
	assert_int_equal(k.failed, 0);
}

/* Frames of many lengths, cut at every byte and elsewhere. */
static void
test_split(void **state)
{
	uint8_t buf[600], got[600], payload[256];
	struct kit k;
	struct client c;
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)i;
	start(&k, 1, NULL);
	c = client_connect(&k);
	n = frame(buf, 'e', payload, 17);
	n += frame(buf + n, 'p', payload, 3);
	n += frame(buf + n, 'e', payload, 0);
	n += frame(buf + n, 't', payload, 200);
	for (size_t cut = 1; cut < n; cut++) {
		client_write(&c, buf, cut);
		client_write(&c, buf + cut, n - cut);
		assert_int_equal(client_read(&c, got, n), n);
		assert_memory_equal(buf, got, n);
	}
	for (size_t i = 0; i < n; i++)
		client_write(&c, buf + i, 1);
	assert_int_equal(client_read(&c, got, n), n);
	assert_memory_equal(buf, got, n);
	client_close(&c);
	kit_done(&k);
}

/* Packets longer than every window. */
static void
test_long_packets(void **state)
{
	static const size_t sizes[] = { 65530, 65536, 65537, 131072, 300000, 1000000 };
	uint8_t *payload = malloc(1000000);
	struct kit k;
	struct client c;

	(void)state;
	for (size_t i = 0; i < 1000000; i++)
		payload[i] = (uint8_t)(i * 7 >> 3);
	start(&k, 1, NULL);
	c = client_connect(&k);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		client_echo(&c, 'e', payload, sizes[i]);
		client_echo(&c, 'e', payload, 3);
	}
	client_close(&c);
	kit_done(&k);
	free(payload);
}

struct flood {
	struct client *c;
	size_t frames;
};

static void *
write_flood(void *arg)
{
	struct flood *f = arg;
	uint8_t payload[1000] = { 0 }, buf[1005];

	for (size_t i = 0; i < f->frames; i++) {
		memcpy(payload, &i, sizeof(i));
		client_write(f->c, buf, frame(buf, 'e', payload, sizeof(payload)));
	}
	return NULL;
}

/* Ten megabytes to a client that does not read until the stream has stopped reading in its turn. */
static void
test_slow_reader(void **state)
{
	struct kit k;
	struct client c;
	struct flood f = { &c, 10000 };
	pthread_t writer;
	uint8_t got[1005];

	(void)state;
	start(&k, 1, NULL);
	c = client_connect(&k);
	assert_int_equal(pthread_create(&writer, NULL, write_flood, &f), 0);
	kit_await(&k, &k.paused, 1);
	for (size_t i = 0; i < f.frames; i++) {
		assert_int_equal(client_read(&c, got, sizeof(got)), sizeof(got));
		assert_memory_equal(got + 5, &i, sizeof(i));
	}
	pthread_join(writer, NULL);
	client_close(&c);
	kit_done(&k);
	assert_true(k.most <= KIT_HIGH + 1005);
}

/* All output of a stream that closes reaches a peer that reads late; then comes the end of file and
 * no reset. */
static void
test_close_with_output(void **state)
{
	static const char verbs[] = "qc";
	size_t size = 1000000, n = size + 5;
	uint8_t *buf = calloc(2, n), more[4096] = { 0 };

	(void)state;
	for (const char *v = verbs; *v != '\0'; v++) {
		struct kit k;
		struct client c;

		start(&k, 1, NULL);
		c = client_connect(&k);
		client_write(&c, buf, frame(buf, *v, buf + n, size));
		client_write(&c, more, sizeof(more)); /* nobody will read this */
		assert_int_equal(client_read(&c, buf, n), n);
		assert_int_equal(buf[4], *v);
		assert_int_equal(recv(c.fd, more, 1, 0), 0);
		kit_await(&k, &k.closed, 1);
		assert_string_equal(k.why, "-");
		client_close(&c);
		kit_done(&k);
	}
	free(buf);
}

/* Connections that are reset are closed with a reason, also while the stream does not read. */
static void
test_reset(void **state)
{
	struct linger l = { 1, 0 };
	struct kit k;
	struct client c;

	(void)state;
	start(&k, 1, NULL);
	c = client_connect(&k);
	client_echo(&c, 'e', "x", 1);
	setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	client_close(&c);
	kit_await(&k, &k.closed, 1);
	assert_string_equal(k.why, "Connection reset by peer");
	kit_done(&k);
}

static void
test_refused(void **state)
{
	struct kit k;
	struct client c;
	char x;

	(void)state;
	kit_init(&k, 1, NULL);
	k.refuse = true;
	kit_listen(&k, 1, NULL);
	kit_start(&k);
	c = client_connect(&k);
	client_write(&c, "hello", 5);
	assert_int_equal(recv(c.fd, &x, 1, 0), 0);
	client_close(&c);
	kit_done(&k);
	assert_int_equal(k.opened, 1);
	assert_int_equal(k.closed, 0);
	assert_int_equal(k.failed, 0);
}

static void
test_failures(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		bool close;
		enum net_failure_kind kind;
		bool probe;
	} cases[] = {
		{ "", 0, true, NET_FAIL_CLOSED, true },
		{ "", 0, false, NET_FAIL_TIMEOUT, true },
		{ "\x16", 1, true, NET_FAIL_CLOSED, false },
		{ "\x16", 1, false, NET_FAIL_TIMEOUT, false },
		{ "\x16\x03\x01\x00\xf0\x01", 6, false, NET_FAIL_TLS_ON_PLAIN, false },
		{ "\x16\x03", 2, false, NET_FAIL_TLS_ON_PLAIN, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct loop_limits limits = { .handshake_timeout_ms = 30 };
		struct kit k;
		struct client c;
		char x;

		start(&k, 1, &limits);
		c = client_connect(&k);
		if (cases[i].n > 0)
			client_write(&c, cases[i].bytes, cases[i].n);
		if (cases[i].close)
			shutdown(c.fd, SHUT_WR);
		assert_true(recv(c.fd, &x, 1, 0) <= 0);
		kit_await(&k, &k.failed, 1);
		assert_int_equal(k.last.kind, cases[i].kind);
		assert_int_equal(k.last.probe, cases[i].probe);
		client_close(&c);
		kit_done(&k);
		assert_int_equal(k.failed, 1);
		assert_int_equal(k.opened, 0);
	}
}

/* A first byte of 0x16 alone says nothing yet. */
static void
test_not_tls_after_all(void **state)
{
	struct kit k;
	struct client c;

	(void)state;
	start(&k, 1, NULL);
	c = client_connect(&k);
	client_write(&c, "\x16", 1);
	client_write(&c,
	    "\x00\x00\x01"
	    "e",
	    4); /* a frame that is too long: the stream closes */
	kit_await(&k, &k.closed, 1);
	assert_int_equal(k.opened, 1);
	client_close(&c);
	kit_done(&k);
}

static void
test_max_connections(void **state)
{
	struct loop_limits limits = { .max_connections = 2 };
	struct client c[3];
	struct kit k;
	char x;

	(void)state;
	start(&k, 1, &limits);
	for (int i = 0; i < 2; i++) {
		c[i] = client_connect(&k);
		client_echo(&c[i], 'e', "x", 1);
	}
	c[2] = client_connect(&k);
	assert_true(recv(c[2].fd, &x, 1, 0) <= 0);
	kit_await(&k, &k.failed, 1);
	assert_int_equal(k.last.kind, NET_FAIL_LIMIT);
	client_close(&c[2]);
	client_close(&c[0]);
	kit_await(&k, &k.closed, 1);
	c[0] = client_connect(&k);
	client_echo(&c[0], 'e', "x", 1);
	client_close(&c[0]);
	client_close(&c[1]);
	kit_done(&k);
}

/* Without descriptors accept() rests, says so once, and goes on when there are some again. */
static void
test_no_descriptors(void **state)
{
	struct rlimit old, tight;
	struct client c;
	struct kit k;

	(void)state;
	start(&k, 1, NULL);
	c = client_connect(
	    &k); /* its own descriptor is here; accept() may have been faster than we are */
	client_echo(&c, 'e', "x", 1);
	client_close(&c);
	kit_await(&k, &k.closed, 1);
	getrlimit(RLIMIT_NOFILE, &old);
	c = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	tight = old;
	tight.rlim_cur = (rlim_t)c.fd; /* none above it */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	assert_int_equal(connect(c.fd, (const struct sockaddr *)&k.addr, sizeof(k.addr)), 0);
	kit_await(&k, &k.failed, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(k.last.kind, NET_FAIL_LIMIT);
	client_echo(&c, 'e', "y", 1);
	client_close(&c);
	kit_done(&k);
	assert_int_equal(k.failed, 1);
}

static void
count_post(void *ctx, void *arg)
{
	struct kit_loop *on = ctx;

	assert_true(pthread_equal(on->thread, pthread_self()));
	assert_ptr_equal(arg, on->kit);
	pthread_mutex_lock(&on->kit->lock);
	on->kit->posted++;
	pthread_cond_broadcast(&on->kit->changed);
	pthread_mutex_unlock(&on->kit->lock);
}

static void *
post_many(void *arg)
{
	struct kit *k = arg;

	for (int i = 0; i < 1000; i++)
		assert_true(loop_post(k->loops[i % 2].loop, count_post, k));
	return NULL;
}

static void
test_posts(void **state)
{
	pthread_t t[3];
	struct kit k;

	(void)state;
	start(&k, 2, NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, post_many, &k), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	kit_await(&k, &k.posted, 3000);
	/* What was posted before the end is still done. */
	assert_true(loop_post(k.loops[0].loop, count_post, &k));
	kit_done(&k);
	assert_int_equal(k.posted, 3001);
}

static void
stop_listening(void *ctx, void *arg)
{
	struct kit_loop *on = ctx;

	loop_stop_listening(on->loop);
	assert_int_equal(loop_connections(on->loop), 1);
	count_post(ctx, arg);
}

static void
test_stop_listening(void **state)
{
	struct kit k;
	struct client c;
	int fd;

	(void)state;
	start(&k, 1, NULL);
	c = client_connect(&k);
	client_echo(&c, 'e', "x", 1);
	assert_true(loop_post(k.loops[0].loop, stop_listening, &k));
	kit_await(&k, &k.posted, 1);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&k.addr, sizeof(k.addr)), -1);
	assert_int_equal(errno, ECONNREFUSED);
	close(fd);
	client_echo(&c, 'e', "still here", 10);
	client_close(&c);
	kit_done(&k);
}

/* Connections that are open when the loop ends get their closed(). */
static void
test_stop(void **state)
{
	struct kit k;
	struct client c[3];

	(void)state;
	start(&k, 2, NULL);
	for (int i = 0; i < 3; i++) {
		c[i] = client_connect(&k);
		if (i < 2)
			client_echo(&c[i], i == 1 ? 'm' : 'e', "x", 1);
	}
	kit_done(&k);
	assert_int_equal(k.closed, 2);
	for (int i = 0; i < 3; i++)
		client_close(&c[i]);
}

static void
test_blocks(void **state)
{
	struct block *b = NULL;
	uint8_t all[1000];
	size_t at = 0, end = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i % 251);
	while (end < sizeof(all)) {
		size_t n = 1 + end % 37, gone;

		n = n < sizeof(all) - end ? n : sizeof(all) - end;
		assert_true(block_append(&b, all + end, n));
		end += n;
		assert_int_equal(b->n, end - at);
		assert_memory_equal(b->p + b->off, all + at, end - at);
		gone = (end - at) / 2;
		block_consume(&b, gone);
		at += gone;
	}
	block_consume(&b, end - at);
	assert_null(b);
	assert_false(block_room(&b, (size_t)REST_MAX + 1));
	assert_null(b);
	block_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_long_packets),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_close_with_output),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_not_tls_after_all),
		cmocka_unit_test(test_max_connections),
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_posts),
		cmocka_unit_test(test_stop_listening),
		cmocka_unit_test(test_stop),
	};

	printf("sizeof(struct conn) = %zu\n", sizeof(struct conn));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
