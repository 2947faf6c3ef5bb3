/* The codec against its case tables: what each packet says, cut anywhere, changed anywhere,
 * written in any space. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/num.h"
#include "mqtt/case_test.h"

enum { BIG = 1 << 20 };

/* A copy that ends where the block ends, so that AddressSanitizer sees the first byte read too
 * far. */
static uint8_t *
exact_copy(struct slice s)
{
	uint8_t *p = malloc(s.n > 0 ? s.n : 1);

	assert_non_null(p);
	memcpy(p, s.p, s.n);
	return p;
}

static struct mqtt_frame
whole_frame(struct slice packet)
{
	struct mqtt_frame f = { 0 };

	assert_int_equal(mqtt_frame(packet, BIG, &f), MQTT_FRAME_OK);
	assert_int_equal(f.size, packet.n);
	return f;
}

static void
check_case(const struct mqtt_case *c, struct slice packet)
{
	uint8_t *copy = exact_copy(packet), out[4096], reason;
	struct mqtt_frame f = whole_frame(slice_of(copy, packet.n));
	struct wr w = wr_of(out, sizeof out);
	const char *differs = any_roundtrip(&f, c->version, !c->from_server, &w, &reason);

	if (reason != c->want)
		fail_msg("%s %s: %s, not %s", c->packet, c->name, mqtt_reason_text(reason),
		    mqtt_reason_text(c->want));
	if (differs != NULL)
		fail_msg("%s %s: comes back with another %s", c->packet, c->name, differs);
	if (c->want == MQTT_RC_OK && slice_eq(wr_slice(&w), packet) != (c->form == EXACT))
		fail_msg("%s %s: %s", c->packet, c->name,
		    c->form == EXACT ? "is not written as it was read"
				     : "is written as it was read: not LOOSE");
	free(copy);
}

static void
test_cases(void **state)
{
	(void)state;
	each_case(check_case);
}

/* Decode <body>, exactly as long as its block, as any type in any version: no crash, and what is
 * taken is understood. */
static void
check_body(const char *what, uint8_t type, uint8_t flags, uint8_t version, struct slice body)
{
	uint8_t *copy = exact_copy(body), reason;
	struct mqtt_frame f = {
		.type = type, .flags = flags, .body = { copy, body.n }, .size = body.n + 5
	};

	for (int from_client = 0; from_client < 2; from_client++) {
		const char *differs = any_roundtrip(&f, version, from_client != 0, NULL, &reason);

		if (differs != NULL)
			fail_msg("%s, %u bytes: comes back with another %s", what, (unsigned)body.n,
			    differs);
	}
	free(copy);
}

static void
check_truncations(const struct mqtt_case *c, struct slice packet)
{
	struct mqtt_frame f = whole_frame(packet), part;

	for (size_t n = 0; n < f.body.n; n++)
		check_body(c->packet, f.type, f.flags, c->version, slice_of(f.body.p, n));
	for (size_t n = 0; n < packet.n; n++) { /* of the stream */
		uint8_t *copy = exact_copy(slice_of(packet.p, n));

		assert_int_equal(mqtt_frame(slice_of(copy, n), BIG, &part), MQTT_FRAME_MORE);
		assert_int_equal(part.type, n > 0 ? f.type : 0);
		assert_true(part.size == 0 || part.size == packet.n);
		free(copy);
	}
}

static void
test_truncations(void **state)
{
	(void)state;
	each_case(check_truncations);
}

static void
check_mutations(const struct mqtt_case *c, struct slice packet)
{
	struct mqtt_frame f = whole_frame(packet);
	uint8_t body[4096];

	if (c->want != MQTT_RC_OK)
		return;
	memcpy(body, f.body.p, f.body.n);
	for (size_t i = 0; i < f.body.n; i++)
		for (unsigned v = 1; v < 256; v++) {
			body[i] = (uint8_t)(f.body.p[i] ^ v);
			check_body(
			    c->packet, f.type, f.flags, c->version, slice_of(body, f.body.n));
			body[i] = f.body.p[i];
		}
	for (unsigned first = 0x10; first < 0x100; first++)
		for (uint8_t version = MQTT_V31; version <= MQTT_V5; version++)
			check_body(c->packet, (uint8_t)(first >> 4), first & 15, version, f.body);
}

static void
test_mutations(void **state)
{
	(void)state;
	each_case(check_mutations);
}

/* Every encoder in every space that is too small, then in one that just holds the packet. */
static void
check_space(const struct mqtt_case *c, struct slice packet)
{
	struct mqtt_frame f = whole_frame(packet);
	struct any m;

	if (c->want != MQTT_RC_OK || c->form != EXACT)
		return;
	assert_int_equal(any_decode(&f, c->version, !c->from_server, &m), MQTT_RC_OK);
	for (size_t n = 0; n <= packet.n; n++) {
		uint8_t *space = malloc(n > 0 ? n : 1);
		struct wr w = wr_of(space, n);

		assert_non_null(space);
		assert_int_equal(any_put(&w, &m), n == packet.n);
		assert_int_equal(wr_ok(&w), n == packet.n);
		assert_int_equal(wr_len(&w), n == packet.n ? n : 0);
		free(space);
	}
}

static void
test_space(void **state)
{
	(void)state;
	each_case(check_space);
}

static void
test_append(void **state)
{
	uint8_t out[9];
	struct wr w = wr_of(out, sizeof out);

	(void)state;
	assert_true(mqtt_put_empty(&w, MQTT_PINGREQ));
	assert_true(mqtt_put_ack(&w, MQTT_V5, MQTT_PUBACK, 7, MQTT_RC_OK, (struct slice){ 0 }));
	assert_false(mqtt_put_ack(&w, MQTT_V5, MQTT_PUBACK, 8, MQTT_RC_QUOTA, (struct slice){ 0 }));
	/* what was there stays, nothing of what did not fit does */
	assert_true(slice_eq(wr_slice(&w), SL("\xc0\x00\x40\x02\x00\x07")));
	assert_false(mqtt_put_empty(&w, MQTT_PINGREQ));

	w = wr_of(NULL, 0);
	assert_false(mqtt_put_empty(&w, MQTT_PINGREQ));
}

static void
test_frames(void **state)
{
	static const struct {
		const char *in;
		size_t max;
		enum mqtt_frame_result want;
		size_t size;
	} t[] = {
		{ "", 100, MQTT_FRAME_MORE, 0 },
		{ "00", 100, MQTT_FRAME_BAD, 0 },
		{ "0F 00", 100, MQTT_FRAME_BAD, 0 },
		{ "C0", 100, MQTT_FRAME_MORE, 0 },
		{ "C0 00", 100, MQTT_FRAME_OK, 2 },
		{ "C0 00", 2, MQTT_FRAME_OK, 2 },
		{ "C0 00", 1, MQTT_FRAME_TOO_LARGE, 2 },
		{ "C0 00 C0 00", 100, MQTT_FRAME_OK, 2 },
		{ "30 80", 100, MQTT_FRAME_MORE, 0 },
		{ "30 8000", 100, MQTT_FRAME_BAD, 0 },
		{ "30 808000", 100, MQTT_FRAME_BAD, 0 },
		{ "30 80808000", 100, MQTT_FRAME_BAD, 0 },
		{ "30 80808080", 100, MQTT_FRAME_BAD, 0 },
		{ "30 FFFFFFFF", 100, MQTT_FRAME_BAD, 0 },
		{ "30 FFFFFF", 100, MQTT_FRAME_MORE, 0 },
		{ "30 7F", 128, MQTT_FRAME_TOO_LARGE, 129 },
		{ "30 7F", 129, MQTT_FRAME_MORE, 129 },
		{ "30 8001", 131, MQTT_FRAME_MORE, 131 },
		{ "30 8001", 130, MQTT_FRAME_TOO_LARGE, 131 },
		{ "30 FF7F", SIZE_MAX, MQTT_FRAME_MORE, 16383 + 3 },
		{ "30 808001", SIZE_MAX, MQTT_FRAME_MORE, 16384 + 4 },
		{ "30 FFFF7F", SIZE_MAX, MQTT_FRAME_MORE, 2097151 + 4 },
		{ "30 80808001", SIZE_MAX, MQTT_FRAME_MORE, 2097152 + 5 },
		{ "10 FFFFFF7F", 65536, MQTT_FRAME_TOO_LARGE, 268435455 + 5 },
		{ "10 FFFFFF7F", SIZE_MAX, MQTT_FRAME_MORE, 268435455 + 5 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		uint8_t in[16], *copy;
		size_t n = case_bytes(t[i].in, in, sizeof in);
		struct mqtt_frame f = { .size = 99 };

		copy = exact_copy(slice_of(in, n));
		if (mqtt_frame(slice_of(copy, n), t[i].max, &f) != t[i].want || f.size != t[i].size)
			fail_msg("%s with %zu: size %zu", t[i].in, t[i].max, f.size);
		if (t[i].want != MQTT_FRAME_BAD && n > 0)
			assert_true(f.type == in[0] >> 4 && f.flags == (in[0] & 15));
		free(copy);
	}
}

static void
test_connect_version(void **state)
{
	static const struct {
		const char *in;
		uint8_t version;
		bool bridge;
	} t[] = {
		{ "10 <MQTT> 04 02 000A <p>", MQTT_V311, false },
		{ "10 <MQTT> 84 02 000A <p>", MQTT_V311, true },
		{ "10 <MQIsdp> 83 02 000A <p>", MQTT_V31, true },
		{ "10 <MQTT> 05 02 000A {21 0000} <p>", MQTT_V5,
		    false }, /* known in spite of the error */
		{ "10 <MQTT> 06", 6, false },
		{ "10 <MQTT> 85", 0x85, false },
		{ "10 <what> 05", 5, false },
		{ "10 <MQTT>", 0, false },
	};
	struct mqtt_connect m;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		uint8_t in[64];
		struct mqtt_frame f =
		    whole_frame(slice_of(in, case_packet(t[i].in, in, sizeof in)));

		memset(&m, 0xff, sizeof m);
		(void)mqtt_decode_connect(&f, &m); /* test_cases knows what it says */
		assert_int_equal(m.version, t[i].version);
		assert_int_equal(m.is_bridge, t[i].bridge);
	}
}

static void
test_connect_fields(void **state)
{
	uint8_t in[128];
	size_t n = case_packet("10 <MQTT> 05 EC 003C {11 0000000A 21 0014} <dev1> {18 00000005 02 "
			       "00000006} <w/t> <gone> "
			       "<user> <secret>",
	    in, sizeof in);
	struct mqtt_frame f = whole_frame(slice_of(in, n));
	struct mqtt_connect m;

	(void)state;
	assert_int_equal(mqtt_decode_connect(&f, &m), MQTT_RC_OK);
	assert_false(m.clean_start);
	assert_int_equal(m.keep_alive, 60);
	assert_true(m.has_username && m.has_password);
	assert_true(slice_eq(m.client_id, SL("dev1")));
	assert_true(slice_eq(m.username, SL("user")));
	assert_true(slice_eq(m.password, SL("secret")));
	assert_true(m.will.present && m.will.retain);
	assert_int_equal(m.will.qos, 1);
	assert_int_equal(m.will.delay, 5);
	assert_true(slice_eq(m.will.topic, SL("w/t")));
	assert_true(slice_eq(m.will.payload, SL("gone")));
	assert_int_equal(m.will.props.message_expiry, 6);
	assert_true(mqtt_has(&m.props, MQTT_P_SESSION_EXPIRY));
	assert_int_equal(m.props.session_expiry, 10);
	assert_int_equal(m.props.receive_maximum, 20);
	assert_false(mqtt_has(&m.props, MQTT_P_MAXIMUM_PACKET_SIZE));
	assert_int_equal(m.props.raw.n, 8);
}

static void
test_will_delay_alone(void **state)
{
	struct mqtt_connect m = { .version = MQTT_V5,
		.client_id = SL("c"),
		.will = { .present = true, .delay = 9 } },
			    back;
	uint8_t out[64];
	struct wr w = wr_of(out, sizeof out);

	(void)state;
	m.will.topic = SL("t");
	assert_true(mqtt_put_connect(&w, &m));
	struct mqtt_frame f = whole_frame(wr_slice(&w));
	assert_int_equal(mqtt_decode_connect(&f, &back), MQTT_RC_OK);
	assert_int_equal(back.will.delay, 9);
	assert_true(mqtt_has(&back.will.props, MQTT_P_WILL_DELAY));
}

static void
test_filters_fields(void **state)
{
	uint8_t in[64];
	struct mqtt_frame f = whole_frame(
	    slice_of(in, case_packet("82 1234 {0B 8001} <a/b> 29 <c> 02", in, sizeof in)));
	struct mqtt_filters m;
	struct mqtt_sub s;

	(void)state;
	assert_int_equal(mqtt_decode_filters(&f, MQTT_V5, &m), MQTT_RC_OK);
	assert_int_equal(m.packet_id, 0x1234);
	assert_int_equal(m.subscription_id, 128);
	assert_int_equal(m.count, 2);
	assert_true(mqtt_filters_next(&m, &s));
	assert_true(slice_eq(s.filter, SL("a/b")));
	assert_int_equal(s.options & MQTT_SUB_QOS, 1);
	assert_int_equal(s.options & MQTT_SUB_RETAIN_AS_PUBLISHED, MQTT_SUB_RETAIN_AS_PUBLISHED);
	assert_int_equal((s.options & MQTT_SUB_RETAIN_HANDLING) >> 4, 2);
	assert_true(mqtt_filters_next(&m, &s));
	assert_true(slice_eq(s.filter, SL("c")));
	assert_int_equal(s.options, 2);
	assert_false(mqtt_filters_next(&m, &s));
	assert_false(mqtt_filters_next(&m, &s));
}

static void
test_v3_answers(void **state)
{
	uint8_t out[32], in[8];
	struct wr w = wr_of(out, sizeof out);
	struct mqtt_ack ack;

	(void)state;
	assert_true(mqtt_put_suback(&w, MQTT_V311, MQTT_SUBACK, 1, SL("\x02\x87\x9e"), SL("why")));
	assert_true(
	    slice_eq(wr_slice(&w), SL("\x90\x05\x00\x01\x02\x80\x80"))); /* one failure in 3.1.1 */
	w = wr_of(out, sizeof out);
	assert_true(mqtt_put_suback(&w, MQTT_V311, MQTT_UNSUBACK, 1, SL("\x11"), SL("why")));
	assert_true(slice_eq(wr_slice(&w), SL("\xb0\x02\x00\x01")));
	w = wr_of(out, sizeof out);
	assert_true(mqtt_put_ack(&w, MQTT_V311, MQTT_PUBREC, 1, MQTT_RC_QUOTA, SL("why")));
	assert_true(slice_eq(wr_slice(&w), SL("\x50\x02\x00\x01")));
	w = wr_of(out, sizeof out);
	assert_true(mqtt_put_disconnect(
	    &w, MQTT_V311, &(struct mqtt_disconnect){ .reason = MQTT_RC_BUSY }));
	assert_true(slice_eq(wr_slice(&w), SL("\xe0\x00")));
	w = wr_of(out, sizeof out);
	assert_true(mqtt_put_connack(
	    &w, MQTT_V5, &(struct mqtt_connack){ .session_present = true, .code = 0x87 }));
	assert_true(slice_eq(wr_slice(&w), SL("\x20\x03\x00\x87\x00"))); /* [MQTT-3.2.2-6] */

	struct mqtt_frame f = whole_frame(slice_of(in, case_packet("B0 0102", in, sizeof in)));
	assert_int_equal(mqtt_decode_ack(&f, MQTT_V311, &ack), MQTT_RC_OK);
	assert_int_equal(ack.packet_id, 0x102);
}

static void
test_text(void **state)
{
	(void)state;
	assert_string_equal(mqtt_reason_text(MQTT_RC_NOT_AUTHORIZED), "not authorized");
	assert_string_equal(
	    mqtt_reason_text(MQTT_RC_WILDCARD_UNSUPPORTED), "wildcard subscriptions not supported");
	assert_string_equal(mqtt_reason_text(0x03), "reason 0x03");
	assert_string_equal(mqtt_reason_text(0xa3), "reason 0xa3");
	assert_string_equal(mqtt_reason_text(0xff), "reason 0xff");
	assert_string_equal(mqtt_type_text(MQTT_CONNECT), "CONNECT");
	assert_string_equal(mqtt_type_text(MQTT_AUTH), "AUTH");
	assert_string_equal(mqtt_type_text(0), "reserved");
	assert_string_equal(mqtt_type_text(16), "unknown");
	for (unsigned i = 0; i < 256; i++) {
		assert_true(strlen(mqtt_reason_text((uint8_t)i)) > 0);
		assert_in_range(mqtt_connack_code_v3((uint8_t)i), 0, 5);
		assert_int_equal(mqtt_connack_code_v3((uint8_t)i) == 0, i == 0);
	}
	assert_int_equal(mqtt_connack_code_v3(MQTT_RC_VERSION), 1);
	assert_int_equal(mqtt_connack_code_v3(MQTT_RC_CLIENT_ID), 2);
	assert_int_equal(mqtt_connack_code_v3(MQTT_RC_BUSY), 3);
	assert_int_equal(mqtt_connack_code_v3(MQTT_RC_CREDENTIALS), 4);
	assert_int_equal(mqtt_connack_code_v3(MQTT_RC_NOT_AUTHORIZED), 5);
	assert_int_equal(mqtt_connack_code_v3(MQTT_RC_TOO_LARGE), 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_space),
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_connect_version),
		cmocka_unit_test(test_connect_fields),
		cmocka_unit_test(test_will_delay_alone),
		cmocka_unit_test(test_filters_fields),
		cmocka_unit_test(test_v3_answers),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
