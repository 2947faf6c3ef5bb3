/* Who loses the right to be here goes at once, with what is said of his will and his session, and nobody else notices. */
#include "broker/testkit.h"
#include <stdio.h>
#include <string.h>

static const uint8_t ca_a[32] = { 0xa }, ca_b[32] = { 0xb }, root[32] = { 0xf };

/* A certificate <serial> of the CA <key>, whose own has serial number <key[0]> of the root. */
static struct end *
join(struct kit *k, const uint8_t key[32], uint8_t serial, const struct connect_options *o)
{
	uint8_t chain[AUTHZ_CHAIN_MAX];
	size_t n;
	struct authz_link up = { root, slice_of(key, 1), true };
	struct authz_facts f = { .has_cert = true, .cn = slice_str(o->id), .issuer_key = key, .fingerprint = key,
		.serial = slice_of(&serial, 1) };
	struct end *e;

	authz_chain_begin(chain, &n, true);
	assert_true(authz_chain_add(chain, &n, &up));
	f.chain = slice_of(chain, n);
	e = kit_open_as(k, (unsigned)strlen(o->id) % k->n, &f);
	kit_send_connect(e, o);
	assert_int_equal(kit_connack(e), 0);
	return e;
}

static struct broker_suspect
suspect(const uint8_t key[32], int serial)
{
	struct broker_suspect s = { .serial_n = serial >= 0 };

	memcpy(s.issuer_key, key, 32);
	s.serial[0] = serial >= 0 ? (uint8_t)serial : 0;
	return s;
}

static void
review(struct kit *k, const uint8_t key[32], int serial)
{
	struct broker_suspect s = { .serial_n = 0 };

	if (key != NULL)
		s = suspect(key, serial);
	k->judged = 0;
	assert_true(broker_judge_again(k->broker, &s, key != NULL));
	kit_pump(k);
}

static void
expect_expelled(struct end *e)
{
	if (e->version == MQTT_V5) {
		struct mqtt_frame f = kit_expect(e, MQTT_DISCONNECT);
		struct mqtt_disconnect m;

		assert_int_equal(mqtt_decode_disconnect(&f, MQTT_V5, &m), MQTT_RC_OK);
		assert_int_equal(m.reason, MQTT_RC_NOT_AUTHORIZED);
		assert_true(slice_eq(m.props.reason_string, SL("withdrawn")));
	}
	kit_expect_nothing(e);
	assert_true(e->closed);
}

static bool
is_a7(const struct authz_facts *f)
{
	return f->issuer_key != NULL && f->issuer_key[0] == 0xa && f->serial.p[0] == 7;
}

static bool
is_a(const struct authz_facts *f)
{
	return f->issuer_key != NULL && f->issuer_key[0] == 0xa;
}

static bool
is_anybody(const struct authz_facts *f)
{
	(void)f;
	return true;
}

static void
one_certificate(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *a7 = join(k, ca_a, 7, &(struct connect_options){ .version = 5, .id = "a7" });
	struct end *again = join(k, ca_a, 7, &(struct connect_options){ .version = 4, .id = "a7 elsewhere" });
	struct end *a8 = join(k, ca_a, 8, &(struct connect_options){ .version = 5, .id = "a8" });
	struct end *b7 = join(k, ca_b, 7, &(struct connect_options){ .version = 5, .id = "b7" });
	struct end *none = kit_join(k, 5, "nobody");

	k->withdrawn = is_a7;
	review(k, ca_b, 7);
	assert_int_equal(k->judged, 1);
	review(k, ca_a, 9);
	assert_int_equal(k->judged, 0);
	review(k, ca_a, 7);
	assert_int_equal(k->judged, 2);
	expect_expelled(a7);
	expect_expelled(again);
	assert_true(!a8->closed && !b7->closed && !none->closed);
	kit_publish(b7, "t", "x", 1, false, 1);
	kit_expect(b7, MQTT_PUBACK);
}

static void
a_whole_ca(void **state)
{
	/* By its own key, and as a certificate of the CA above it. */
	for (int by_root = 0; by_root < 2; by_root++) {
		struct kit *k = kit_begin(state, NULL, NULL);
		struct end *a[200], *b = join(k, ca_b, 1, &(struct connect_options){ .version = 5, .id = "b" });
		char id[16];

		for (unsigned i = 0; i < ARRAY_LEN(a); i++) {
			(void)snprintf(id, sizeof id, "a%u", i);
			a[i] = join(k, ca_a, (uint8_t)i, &(struct connect_options){ .version = i % 2 == 0 ? 5 : 4, .id = id });
		}
		k->withdrawn = is_a;
		review(k, by_root != 0 ? root : ca_a, by_root != 0 ? 0xa : -1);
		assert_int_equal(k->judged, ARRAY_LEN(a));
		for (unsigned i = 0; i < ARRAY_LEN(a); i++)
			expect_expelled(a[i]);
		assert_false(b->closed);
		if (by_root == 0)
			kit_done(k);
	}
}

static void
everybody(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *a = join(k, ca_a, 1, &(struct connect_options){ .version = 5, .id = "a" });
	struct end *none = kit_join(k, 5, "nobody");

	k->withdrawn = is_a;
	review(k, NULL, 0);
	assert_int_equal(k->judged, 2);
	expect_expelled(a);
	assert_false(none->closed);
	k->withdrawn = is_anybody;
	review(k, NULL, 0);
	expect_expelled(none);
}

/* Who connects while the news is on its way is asked about at CONNECT. */
static void
at_connect(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct end *e = kit_open(k, 0, "dev", AUTHZ_ROLE_NONE);

	k->withdrawn = is_anybody;
	kit_send_connect(e, &(struct connect_options){ .version = 5, .id = "dev" });
	assert_int_equal(kit_connack(e), MQTT_RC_NOT_AUTHORIZED);
	assert_string_equal(k->last_text, "withdrawn");
}

/* will published or not, session kept or ended: each as the listener has it, connected or away. */
static void
wills_and_queues(void **state)
{
	for (unsigned how = 0; how < 4; how++) {
		struct kit *k = kit_begin(state, NULL, NULL);
		struct broker_listener l = { .withdrawn_no_will = (how & 1) != 0, .withdrawn_purge = (how & 2) != 0 };
		struct connect_options here = { .version = 5, .id = "a7", .keep = true, .expiry = 1000, .will_topic = "w",
			.will_payload = "gone" };
		struct connect_options away = { .version = 5, .id = "a7 away", .keep = true, .expiry = 1000 };
		struct end *sub, *e;
		bool present;

		kit_listener(k, &l);
		sub = kit_join(k, 5, "sub");
		kit_subscribe(sub, "w", 0);
		kit_disconnect(join(k, ca_a, 7, &away), 0);
		e = join(k, ca_a, 7, &here);
		k->withdrawn = is_a7;
		review(k, ca_a, 7);
		expect_expelled(e);
		if ((how & 1) == 0)
			kit_message(sub, "w", "gone");
		kit_expect_nothing(sub);
		k->withdrawn = NULL;
		for (unsigned i = 0; i < 2; i++) {
			struct connect_options o = { .version = 5, .id = i == 0 ? "a7" : "a7 away", .keep = true, .expiry = 1000 };
			struct mqtt_connack ack;
			struct mqtt_frame f;
			uint8_t serial = 8;
			struct authz_facts who = { .has_cert = true, .cn = slice_str(o.id), .issuer_key = ca_a, .fingerprint = ca_a,
				.serial = slice_of(&serial, 1) };

			e = kit_open_as(k, 0, &who);
			kit_send_connect(e, &o);
			f = kit_expect(e, MQTT_CONNACK);
			assert_int_equal(mqtt_decode_connack(&f, 5, &ack), MQTT_RC_OK);
			present = ack.session_present;
			assert_int_equal(present, (how & 2) == 0);
		}
		if (how < 3)
			kit_done(k);
	}
}

/* A session that goes on under a new certificate is found by that one. */
static void
a_new_certificate(void **state)
{
	struct kit *k = kit_begin(state, NULL, NULL);
	struct connect_options o = { .version = 5, .id = "dev", .keep = true, .expiry = 1000 };
	struct end *e;

	kit_disconnect(join(k, ca_a, 7, &o), 0);
	e = join(k, ca_a, 8, &o);
	k->withdrawn = is_a7;
	review(k, ca_a, 7);
	assert_int_equal(k->judged, 0);
	review(k, ca_a, 8);
	assert_int_equal(k->judged, 1);
	assert_false(e->closed);
}

static void
a_small_packet_limit(void **state)
{
	struct broker_settings s;
	struct mqtt_disconnect m;
	struct mqtt_frame f;
	struct kit *k;
	struct end *e;

	broker_settings_default(&s);
	s.topic_alias_max_in = 0; /* CONNACK has 13 bytes then */
	k = kit_begin(state, &s, NULL);
	e = join(k, ca_a, 7, &(struct connect_options){ .version = 5, .id = "a", .maximum_packet = 13 });
	k->withdrawn = is_a7;
	review(k, ca_a, 7);
	f = kit_expect(e, MQTT_DISCONNECT);
	assert_int_equal(mqtt_decode_disconnect(&f, MQTT_V5, &m), MQTT_RC_OK);
	assert_int_equal(m.reason, MQTT_RC_NOT_AUTHORIZED);
	assert_int_equal(m.props.reason_string.n, 0);
}

#define TEST(f) { #f, f }
static const struct kit_test tests[] = {
	TEST(one_certificate),
	TEST(a_whole_ca),
	TEST(everybody),
	TEST(at_connect),
	TEST(wills_and_queues),
	TEST(a_new_certificate),
	TEST(a_small_packet_limit),
};

int
main(void)
{
	return kit_run("broker certs", tests, ARRAY_LEN(tests));
}
