/* Session tickets: who comes back by one, and who has to show his certificate again. Both ends are in this thread; bytes go by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"
#include "net/internal.h"
#include "net/testkit.h"

enum { LIFETIME = 7200 };

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
static struct pki pki;

/* What the hooks were asked, and what they say. */
struct door {
	unsigned verified, vouched, returned, alive;
	bool shut;  /* nobody may resume */
	bool mute;  /* nobody gets a ticket */
	struct tls_tickets *tickets;
	struct tls_ctx *tls;
	struct tls_config config;
};

static struct door *the_door; /* peer_free() has no context */

static char *
name_of(X509 *x)
{
	char *name = calloc(1, 64);

	assert_non_null(name);
	assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, 64) > 0);
	the_door->alive++;
	return name;
}

static bool
verify(void *ctx, X509_STORE_CTX *store, void **ret_peer)
{
	struct door *d = ctx;

	d->verified++;
	*ret_peer = name_of(X509_STORE_CTX_get0_cert(store));
	return X509_verify_cert(store) == 1;
}

static void
peer_free(void *peer)
{
	the_door->alive--;
	free(peer);
}

static size_t
vouch(void *ctx, void *peer, uint8_t *out)
{
	struct door *d = ctx;

	d->vouched++;
	if (d->mute)
		return 0;
	memcpy(out, peer, strlen(peer));
	return strlen(peer);
}

static bool
resume(void *ctx, X509 *leaf, struct slice voucher, void **ret_peer)
{
	struct door *d = ctx;
	char *name = name_of(leaf);

	d->returned++;
	assert_true(slice_eq(voucher, slice_str(name)));
	if (d->shut) {
		peer_free(name);
		return false;
	}
	*ret_peer = name;
	return true;
}

static void
door_make(struct door *d)
{
	struct err err;

	tls_ctx_unref(d->tls);
	d->tls = tls_ctx_new(&d->config, &err);
	assert_non_null(d->tls);
}

static void
door_open(struct door *d, bool required)
{
	*d = (struct door){ .tickets = tls_tickets_new(LIFETIME) };
	assert_non_null(d->tickets);
	d->config = (struct tls_config){ .cert_file = pki.cert,
		.key_file = pki.key,
		.ca_file = pki.ca,
		.ask_client_cert = true,
		.require_client_cert = required,
		.tickets = d->tickets,
		.ticket_scope = "here",
		.hooks = { .verify = verify, .peer_free = peer_free, .vouch = vouch, .resume = resume, .ctx = d } };
	the_door = d;
	door_make(d);
}

static void
door_close(struct door *d)
{
	tls_ctx_unref(d->tls);
	tls_tickets_unref(d->tickets);
	assert_int_equal(d->alive, 0);
}

static uint64_t
refused(const struct door *d, enum tls_ticket_fault fault)
{
	return atomic_load(&tls_tickets_stats(d->tickets)->refused[fault]);
}

struct outcome {
	bool done, resumed;       /* by both ends; as the server says */
	char who[64];
	enum net_failure_kind kind;
	SSL_SESSION *session;     /* that the client may come back with, or NULL */
	int early;                /* SSL_get_early_data_status() of the client */
};

/* What one end has written reaches the other. True: there was something. */
static bool
carry_out(SSL *client, struct tls_io *io)
{
	int n = (int)io->out_n;

	if (n == 0)
		return false;
	assert_int_equal(BIO_write(SSL_get_rbio(client), io->out, n), n);
	io->out_n = 0;
	return true;
}

static struct outcome
come_with(struct door *d, SSL *client)
{
	struct tls_io io = { 0 };
	BIO *bio = tls_bio_new(&io);
	struct tls_shake s = { .ctx = tls_ctx_ref(d->tls), .alert_sent = -1, .alert_received = -1 };
	SSL *server = tls_shake_new(&s, bio);
	enum shake_result r = SHAKE_MORE;
	struct outcome o = { 0 };
	struct net_failure f;
	uint8_t wire[65536];
	int n;

	SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	BIO_set_mem_eof_return(SSL_get_rbio(client), -1);
	SSL_set_connect_state(client);
	if (SSL_get0_session(client) != NULL && SSL_SESSION_get_max_early_data(SSL_get0_session(client)) > 0) {
		size_t sent;

		assert_int_equal(SSL_write_early_data(client, "early", 5, &sent), 1);
	}
	for (int i = 0; i < 8 && r == SHAKE_MORE; i++) {
		(void)SSL_do_handshake(client);
		n = BIO_read(SSL_get_wbio(client), wire, sizeof(wire));
		io.in = wire;
		io.in_n = n > 0 ? (size_t)n : 0;
		r = tls_shake_step(server, &s, &f);
		(void)carry_out(client, &io);
	}
	o.done = r == SHAKE_DONE && SSL_do_handshake(client) == 1;
	o.kind = f.kind;
	o.resumed = s.resumed;
	assert_int_equal(o.done && s.resumed, o.done && SSL_session_reused(client));
	(void)snprintf(o.who, sizeof(o.who), "%s", s.identity != NULL ? (char *)s.identity : "");
	/* The ticket of TLS 1.3 comes behind the handshake. */
	(void)SSL_read(client, wire, sizeof(wire));
	o.early = SSL_get_early_data_status(client);
	if (o.done && SSL_SESSION_is_resumable(SSL_get0_session(client)) && SSL_SESSION_has_ticket(SSL_get0_session(client)))
		o.session = SSL_get1_session(client);
	tls_shake_free(server);
	tls_shake_done(&s);
	tls_bio_free(bio);
	free(io.out);
	SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session is not for use again */
	SSL_free(client);
	ERR_clear_error();
	return o;
}

/* <session> NULL: a full handshake. */
static struct outcome
come(struct door *d, SSL_CTX *ctx, SSL_SESSION *session)
{
	SSL *client = SSL_new(ctx);

	assert_non_null(client);
	if (session != NULL)
		assert_int_equal(SSL_set_session(client, session), 1);
	return come_with(d, client);
}

/* A ticket of a full handshake. */
static SSL_SESSION *
ticket(struct door *d, SSL_CTX *ctx)
{
	struct outcome o = come(d, ctx, NULL);

	assert_true(o.done && !o.resumed);
	assert_non_null(o.session);
	return o.session;
}

static void
expect_full(struct door *d, SSL_CTX *ctx, SSL_SESSION *session)
{
	unsigned before = d->verified;
	struct outcome o = come(d, ctx, session);

	assert_true(o.done && !o.resumed);
	assert_string_equal(o.who, "device1");
	assert_int_equal(d->verified, before + 1);
	SSL_SESSION_free(o.session);
}

static void
who_comes_back_is_judged(void **state)
{
	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, versions[v]);
		struct door d;
		SSL_SESSION *session;
		struct outcome o;

		door_open(&d, true);
		session = ticket(&d, ctx);
		assert_int_equal(SSL_SESSION_get_max_early_data(session), 0);
		assert_true(SSL_SESSION_get_ticket_lifetime_hint(session) <= LIFETIME);
		for (unsigned i = 1; i <= 3; i++) {
			o = come(&d, ctx, session);
			assert_true(o.done && o.resumed);
			assert_string_equal(o.who, "device1");
			assert_int_equal(d.verified, 1);
			assert_int_equal(d.returned, i);
			/* In TLS 1.3 each has a successor. */
			if (versions[v] == TLS1_3_VERSION)
				assert_non_null(o.session);
			SSL_SESSION_free(session);
			session = o.session;
		}
		d.shut = true;
		expect_full(&d, ctx, session);
		assert_int_equal(refused(&d, TLS_TICKET_JUDGED), 1);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		door_close(&d);
	}
}

static void
a_ticket_holds_where_it_was_given(void **state)
{
	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, versions[v]);
		struct door d;
		SSL_SESSION *session;
		struct outcome o;

		door_open(&d, true);
		session = ticket(&d, ctx);
		/* A reload that changes nothing of it. */
		door_make(&d);
		o = come(&d, ctx, session);
		assert_true(o.done && o.resumed);
		SSL_SESSION_free(o.session);
		d.config.ticket_scope[31] = 1;
		door_make(&d);
		expect_full(&d, ctx, session);
		assert_int_equal(refused(&d, TLS_TICKET_ELSEWHERE), 1);
		assert_int_equal(d.returned, 1);
		d.config.ticket_scope[31] = 0;
		d.config.tickets = NULL;
		door_make(&d);
		expect_full(&d, ctx, session);
		assert_null(come(&d, ctx, NULL).session);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		door_close(&d);
	}
}

static void
keys_take_turns(void **state)
{
	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, versions[v]);
		uint64_t now = tickets_clock();
		struct door d;
		SSL_SESSION *session;
		struct outcome o;

		door_open(&d, true);
		session = ticket(&d, ctx);
		tickets_turn_at(d.tickets, now + LIFETIME + 1);
		o = come(&d, ctx, session);
		assert_true(o.done && o.resumed);
		SSL_SESSION_free(o.session);
		tickets_turn_at(d.tickets, now + 2 * (LIFETIME + 1));
		expect_full(&d, ctx, session);
		assert_int_equal(refused(&d, TLS_TICKET_UNKNOWN), 1);
		SSL_SESSION_free(session);
		/* Nobody came for long: no key outlives that. */
		session = ticket(&d, ctx);
		tickets_turn_at(d.tickets, now + 5 * (LIFETIME + 1));
		expect_full(&d, ctx, session);
		assert_int_equal(refused(&d, TLS_TICKET_UNKNOWN), 2);
		SSL_SESSION_free(session);
		/* Another process. */
		session = ticket(&d, ctx);
		tls_tickets_unref(d.tickets);
		d.tickets = d.config.tickets = tls_tickets_new(LIFETIME);
		door_make(&d);
		expect_full(&d, ctx, session);
		assert_int_equal(refused(&d, TLS_TICKET_UNKNOWN), 1);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		door_close(&d);
	}
}

/* The time runs from the full handshake; a ticket that follows from another does not begin it again. */
static void
the_lifetime_is_one(void **state)
{
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, TLS1_3_VERSION);
	struct door d;
	SSL_SESSION *session;
	uint64_t until;
	struct outcome o;

	(void)state;
	door_open(&d, true);
	session = ticket(&d, ctx);
	o = come(&d, ctx, session);
	assert_true(o.done && o.resumed);
	tls_tickets_set_lifetime(d.tickets, 1);
	until = tickets_clock() + 1;
	while (tickets_clock() < until)
		(void)poll(NULL, 0, 10);
	/* On a machine that stands still the key may be gone by then as well. */
	expect_full(&d, ctx, o.session);
	expect_full(&d, ctx, session);
	assert_int_equal(refused(&d, TLS_TICKET_TOO_OLD) + refused(&d, TLS_TICKET_UNKNOWN), 2);
	SSL_SESSION_free(o.session);
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	door_close(&d);
}

/* Each bit of a ticket counts. */
static void
forged(void **state)
{
	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, versions[v]);
		struct door d;
		SSL_SESSION *session;
		const uint8_t *p;
		size_t n, tried = 0;

		door_open(&d, true);
		session = ticket(&d, ctx);
		SSL_SESSION_get0_ticket(session, &p, &n);
		assert_true(n > 100);
		for (size_t at = 0; at < n; at += at < 40 || at + 40 > n ? 5 : n / 12) {
			uint8_t *bytes = (uint8_t *)(uintptr_t)p;

			bytes[at] ^= (uint8_t)(1 << at % 8);
			expect_full(&d, ctx, session);
			bytes[at] ^= (uint8_t)(1 << at % 8);
			tried++;
		}
		assert_int_equal(refused(&d, TLS_TICKET_UNKNOWN), tried);
		assert_int_equal(d.returned, 0);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		door_close(&d);
	}
}

/* Who shall not resume has nothing to do it with, and is let in all the same. */
static void
no_ticket(void **state)
{
	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, versions[v]);
		struct door d;
		struct outcome o;

		door_open(&d, true);
		d.mute = true;
		o = come(&d, ctx, NULL);
		assert_true(o.done);
		assert_string_equal(o.who, "device1");
		assert_null(o.session);
		SSL_CTX_free(ctx);
		door_close(&d);
	}
}

/* Nobody to judge; but it opens no door that wants a certificate. */
static void
without_certificate(void **state)
{
	(void)state;
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		SSL_CTX *ctx = client_ctx(NULL, &pki.root, versions[v]), *with = client_ctx(&pki.client, &pki.root, versions[v]);
		struct door d;
		SSL_SESSION *session;
		struct outcome o;

		door_open(&d, false);
		session = ticket(&d, ctx);
		o = come(&d, ctx, session);
		assert_true(o.done && o.resumed && o.who[0] == '\0');
		SSL_SESSION_free(o.session);
		d.config.require_client_cert = true;
		door_make(&d);
		o = come(&d, ctx, session);
		assert_true(!o.done && o.kind == NET_FAIL_NO_CERT);
		expect_full(&d, with, session);
		assert_int_equal(refused(&d, TLS_TICKET_JUDGED), 2);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
		SSL_CTX_free(with);
		door_close(&d);
	}
}

/* A client that does not keep to what its ticket says: what it sends early reaches nobody. */
static void
early_data_is_refused(void **state)
{
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, TLS1_3_VERSION);
	struct door d;
	SSL_SESSION *session;
	struct outcome o;

	(void)state;
	door_open(&d, true);
	session = ticket(&d, ctx);
	assert_int_equal(SSL_SESSION_set_max_early_data(session, 1000), 1);
	o = come(&d, ctx, session);
	assert_true(o.done && o.resumed);
	assert_int_equal(o.early, SSL_EARLY_DATA_REJECTED);
	SSL_SESSION_free(o.session);
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	door_close(&d);
}

/* The first hello had no share of a group that is spoken here: the ticket is looked at twice. */
static void
a_second_hello(void **state)
{
	SSL_CTX *ctx = client_ctx(&pki.client, &pki.root, TLS1_3_VERSION);
	char groups[] = "P-384:P-256"; /* the macro casts const away */
	struct door d;
	SSL_SESSION *session;
	struct outcome o;

	(void)state;
	assert_int_equal(SSL_CTX_set1_groups_list(ctx, groups), 1);
	door_open(&d, true);
	session = ticket(&d, ctx);
	o = come(&d, ctx, session);
	assert_true(o.done && o.resumed);
	assert_string_equal(o.who, "device1");
	assert_int_equal(d.returned, 2);
	SSL_SESSION_free(o.session);
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	door_close(&d);
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
		cmocka_unit_test(who_comes_back_is_judged),
		cmocka_unit_test(a_ticket_holds_where_it_was_given),
		cmocka_unit_test(keys_take_turns),
		cmocka_unit_test(the_lifetime_is_one),
		cmocka_unit_test(forged),
		cmocka_unit_test(no_ticket),
		cmocka_unit_test(without_certificate),
		cmocka_unit_test(early_data_is_refused),
		cmocka_unit_test(a_second_hello),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
