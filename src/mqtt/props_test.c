/* Properties: each identifier in each packet against a second copy of the specification's table;
 * which of them go on; very many of them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/num.h"
#include "mqtt/case_test.h"

enum { BIG = 1 << 28 };

/* 5.0, table 2-4, in its own words: C CONNECT, c CONNACK, P PUBLISH, W will, a PUBACK…PUBCOMP, S
 * SUBSCRIBE, s SUBACK, U UNSUBSCRIBE, u UNSUBACK, D DISCONNECT, A AUTH. */
static const struct {
	uint8_t id;
	const char *packets, *value;
} table[] = {
	{ 0x01, "PW", "01" },
	{ 0x02, "PW", "00000001" },
	{ 0x03, "PW", "<x>" },
	{ 0x08, "PW", "<x>" },
	{ 0x09, "PW", "<x>" },
	{ 0x0b, "PS", "01" },
	{ 0x11, "CcD", "00000001" },
	{ 0x12, "c", "<x>" },
	{ 0x13, "c", "0001" },
	{ 0x15, "CcA", "<x>" },
	{ 0x16, "CcA", "<x>" },
	{ 0x17, "C", "01" },
	{ 0x18, "W", "00000001" },
	{ 0x19, "C", "01" },
	{ 0x1a, "c", "<x>" },
	{ 0x1c, "cD", "<x>" },
	{ 0x1f, "casuDA", "<x>" },
	{ 0x21, "Cc", "0001" },
	{ 0x22, "Cc", "0001" },
	{ 0x23, "P", "0001" },
	{ 0x24, "c", "01" },
	{ 0x25, "c", "01" },
	{ 0x26, "CcPWaSsUuDA", "<k> <v>" },
	{ 0x27, "Cc", "00000001" },
	{ 0x28, "c", "01" },
	{ 0x29, "c", "01" },
	{ 0x2a, "c", "01" },
};

/* Packets with a place for properties; the method stands before data and in every AUTH. */
static const struct {
	char letter;
	const char *before, *after;
} packets[] = {
	{ 'C', "10 <MQTT> 05 02 0000 {", "} <p>" },
	{ 'c', "20 00 00 {", "}" },
	{ 'P', "30 <t> {", "} 'x'" },
	{ 'W', "10 <MQTT> 05 06 0000 {} <p> {", "} <t> <x>" },
	{ 'a', "40 0001 00 {", "}" },
	{ 'a', "50 0001 00 {", "}" },
	{ 'a', "62 0001 00 {", "}" },
	{ 'a', "70 0001 00 {", "}" },
	{ 'S', "82 0001 {", "} <f> 00" },
	{ 's', "90 0001 {", "} 00" },
	{ 'U', "A2 0001 {", "} <f>" },
	{ 'u', "B0 0001 {", "} 00" },
	{ 'D', "E0 00 {", "}" },
	{ 'A', "F0 18 {", "}" },
};

/* What decoding packet <k> with <middle> for its properties says. */
static uint8_t
decode_with(size_t k, const char *middle)
{
	char text[256];
	uint8_t bytes[256];
	struct mqtt_frame f = { 0 };
	struct any m;

	assert_in_range(
	    snprintf(text, sizeof text, "%s %s %s", packets[k].before, middle, packets[k].after), 1,
	    sizeof text - 1);
	assert_int_equal(
	    mqtt_frame(slice_of(bytes, case_packet(text, bytes, sizeof bytes)), BIG, &f),
	    MQTT_FRAME_OK);
	return any_decode(&f, MQTT_V5, false, &m);
}

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		for (size_t k = 0; k < ARRAY_LEN(packets); k++) {
			bool allowed = strchr(table[i].packets, packets[k].letter) != NULL;
			bool repeats = table[i].id == 0x26 ||
				       (table[i].id == 0x0b && packets[k].letter == 'P');
			bool method = table[i].id == 0x15;
			const char *need = !method && (packets[k].letter == 'A' ||
							  (table[i].id == 0x16 && allowed))
					       ? "15 <m>"
					       : "";
			char once[64], twice[128], bare[64];

			(void)snprintf(
			    once, sizeof once, "%s %02x %s", need, table[i].id, table[i].value);
			(void)snprintf(
			    twice, sizeof twice, "%s %02x %s", once, table[i].id, table[i].value);
			(void)snprintf(bare, sizeof bare, "%s %02x", need, table[i].id);
			if (decode_with(k, once) != (allowed ? MQTT_RC_OK : MQTT_RC_MALFORMED))
				fail_msg(
				    "property %02x in packet %c", table[i].id, packets[k].letter);
			if (decode_with(k, twice) !=
			    (!allowed || packets[k].letter == 'S'
				    ? (repeats ? MQTT_RC_OK : MQTT_RC_MALFORMED)
				: repeats ? MQTT_RC_OK
					  : MQTT_RC_PROTOCOL))
				fail_msg("property %02x twice in packet %c", table[i].id,
				    packets[k].letter);
			if (decode_with(k, bare) != MQTT_RC_MALFORMED)
				fail_msg("property %02x without value in packet %c", table[i].id,
				    packets[k].letter);
		}
}

static bool
is_known(unsigned id)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].id == id)
			return true;
	return false;
}

static void
test_unknown(void **state)
{
	(void)state;
	for (unsigned id = 0; id < 256; id++)
		for (size_t k = 0; k < ARRAY_LEN(packets); k++) {
			char text[32];

			if (is_known(id))
				continue;
			(void)snprintf(text, sizeof text, "%02x 00000000", id);
			assert_int_equal(decode_with(k, text), MQTT_RC_MALFORMED);
		}
}

static struct mqtt_frame
frame_of(const char *notation, uint8_t *space, size_t cap)
{
	struct mqtt_frame f = { 0 };

	assert_int_equal(
	    mqtt_frame(slice_of(space, case_packet(notation, space, cap)), BIG, &f), MQTT_FRAME_OK);
	return f;
}

static void
test_forward(void **state)
{
	static const struct {
		const char *props, *forwarded;
		bool one_run;
	} t[] = {
		{ "", "", true },
		{ "23 0001", "", true },
		{ "02 00000001 23 0001", "", true },
		{ "01 01", "01 01", true },
		{ "23 0001 01 01 03 <t>", "01 01 03 <t>", true },
		{ "01 01 03 <t> 02 00000001", "01 01 03 <t>", true },
		{ "23 0001 01 01 03 <t> 02 00000001", "01 01 03 <t>", true },
		{ "01 01 23 0001 03 <t>", "01 01 03 <t>", false },
		{ "01 01 23 0001 03 <t> 02 00000001 26 <a> <b>", "01 01 03 <t> 26 <a> <b>", false },
		{ "26 <a> <b> 02 00000001 26 <a> <b>", "26 <a> <b> 26 <a> <b>", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		uint8_t space[128], want[64], got[64];
		char text[128];
		struct mqtt_publish m;
		size_t n = case_bytes(t[i].forwarded, want, sizeof want);

		(void)snprintf(text, sizeof text, "30 <t> {%s} 'x'", t[i].props);
		struct mqtt_frame f = frame_of(text, space, sizeof space);
		memset(&m, 0xa5, sizeof m); /* nothing may be left as it was */
		assert_int_equal(mqtt_decode_publish(&f, MQTT_V5, true, &m), MQTT_RC_OK);
		assert_int_equal(m.forward_n, n);
		assert_true(t[i].one_run == (n == 0 || m.forward.p != NULL));
		memset(got, 0xee, sizeof got);
		mqtt_forward_props(&m, got);
		assert_memory_equal(got, want, n);
		assert_int_equal(got[n], 0xee);
		if (m.forward.p != NULL)
			assert_true(slice_eq(m.forward, slice_of(want, n)));
	}
}

static void
test_publish_fields(void **state)
{
	uint8_t space[128];
	struct mqtt_frame f = frame_of(
	    "3B <t> 0102 {01 01 02 0000000A 03 <ct> 08 <rt> 09 <cd> 0B 05 0B 06 23 0007} 'pay'",
	    space, sizeof space);
	struct mqtt_publish m;

	(void)state;
	memset(&m, 0xa5, sizeof m);
	assert_int_equal(mqtt_decode_publish(&f, MQTT_V5, false, &m), MQTT_RC_OK);
	assert_true(slice_eq(m.topic, SL("t")) && slice_eq(m.payload, SL("pay")));
	assert_true(slice_eq(m.content_type, SL("ct")) && slice_eq(m.response_topic, SL("rt")) &&
		    slice_eq(m.correlation_data, SL("cd")));
	assert_true(m.qos == 1 && m.retain && m.dup && m.packet_id == 0x102);
	assert_true(m.has_expiry && m.message_expiry == 10 && m.topic_alias == 7 && m.utf8_payload);
	assert_int_equal(m.subscription_id, 5);

	f = frame_of("30 <t> 'pay'", space, sizeof space);
	memset(&m, 0xa5, sizeof m);
	assert_int_equal(mqtt_decode_publish(&f, MQTT_V311, true, &m), MQTT_RC_OK);
	assert_true(m.qos == 0 && !m.retain && !m.dup && m.packet_id == 0 && !m.has_expiry &&
		    m.topic_alias == 0 && !m.utf8_payload && m.subscription_id == 0 &&
		    m.forward_n == 0 && m.props.n == 0);
	assert_true(m.response_topic.n == 0 && m.content_type.n == 0 && m.correlation_data.n == 0);
}

/* Quadratic work would be 10^11 steps here: the test would not end. */
static void
test_many_user_properties(void **state)
{
	enum { N = 300000, EACH = 7 };
	size_t cap = (size_t)N * EACH + 64;
	uint8_t *props = malloc(cap), *packet = malloc(cap), *again = malloc(cap);
	struct wr w = wr_of(props, cap);
	struct mqtt_publish m = { .topic = SL("t") }, back;
	struct mqtt_connect c = { .version = MQTT_V5, .client_id = SL("c") }, cback;
	struct mqtt_frame f = { 0 };

	(void)state;
	assert_true(props != NULL && packet != NULL && again != NULL);
	for (int i = 0; i < N; i++)
		assert_true(mqtt_put_user_property(&w, SL("k"), SL("v")));
	m.forward = c.props.user = wr_slice(&w);

	w = wr_of(packet, cap);
	assert_true(mqtt_put_publish(&w, MQTT_V5, &m));
	assert_int_equal(mqtt_frame(wr_slice(&w), BIG, &f), MQTT_FRAME_OK);
	assert_int_equal(mqtt_decode_publish(&f, MQTT_V5, true, &back), MQTT_RC_OK);
	assert_int_equal(back.forward_n, N * EACH);
	back.forward = (struct slice){ 0 };
	mqtt_forward_props(&back, again);
	assert_memory_equal(again, props, (size_t)N * EACH);

	w = wr_of(packet, cap);
	assert_true(mqtt_put_connect(&w, &c));
	assert_int_equal(mqtt_frame(wr_slice(&w), BIG, &f), MQTT_FRAME_OK);
	assert_int_equal(mqtt_decode_connect(&f, &cback), MQTT_RC_OK);
	assert_true(slice_eq(cback.props.user, c.props.user));
	free(props);
	free(packet);
	free(again);
}

static void
test_too_long(void **state)
{
	enum { CAP = 200000 };
	uint8_t *big = calloc(1, CAP), *out = malloc(CAP);
	struct wr w = wr_of(out, CAP);
	struct mqtt_publish m = { .topic = { big, 65536 } };
	struct mqtt_props p = { .reason_string = { big, 65536 } };

	(void)state;
	assert_true(big != NULL && out != NULL);
	memset(big, 'x', CAP);
	assert_false(mqtt_put_publish(&w, MQTT_V311, &m));
	m.topic.n = 65535;
	w = wr_of(out, CAP);
	assert_true(mqtt_put_publish(&w, MQTT_V311, &m));
	mqtt_set(&p, MQTT_P_REASON_STRING);
	w = wr_of(out, CAP);
	assert_false(mqtt_put_props(&w, &p));
	w = wr_of(out, CAP);
	assert_false(mqtt_put_user_property(&w, p.reason_string, SL("v")));
	p = (struct mqtt_props){ .present = 1 }; /* identifier 0 does not exist */
	w = wr_of(out, CAP);
	assert_false(mqtt_put_props(&w, &p));
	p = (struct mqtt_props){ .present = (uint64_t)1 << 63 };
	w = wr_of(out, CAP);
	assert_false(mqtt_put_props(&w, &p));
	free(big);
	free(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_forward),
		cmocka_unit_test(test_publish_fields),
		cmocka_unit_test(test_many_user_properties),
		cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
