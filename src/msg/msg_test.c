/* A message lent as pieces must be the same bytes as the codec's own PUBLISH. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/num.h"
#include "msg/msg.h"

static size_t
gather(const struct msg *m, const struct msg_out *o, uint32_t now_s, uint8_t *out)
{
	uint8_t scratch[MSG_SCRATCH + 5 * 8];
	struct iovec iov[MSG_PIECES];
	int n = msg_pieces(m, o, now_s, scratch, iov);
	size_t len = 0;

	assert_in_range(n, 2, MSG_PIECES);
	for (int i = 0; i < n; i++) {
		memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	assert_int_equal(len, msg_wire_size(m, o));
	return len;
}

static void
same_as_codec(void **state)
{
	static const uint8_t user[] = { MQTT_P_USER_PROPERTY, 0, 1, 'k', 0, 1, 'v' };
	static const size_t payloads[] = { 0, 1, 64, 127, 128, 16383, 16384 };

	(void)state;
	for (unsigned k = 0; k < ARRAY_LEN(payloads); k++) {
		uint8_t *payload = calloc(1, payloads[k] + 1), *got = malloc(20000), *want = malloc(20000);
		struct mqtt_publish p = { .topic = SL("a/b"), .payload = { payload, payloads[k] }, .qos = 1,
			.forward = { user, sizeof user }, .forward_n = sizeof user };
		struct mqtt_publish below = p;
		struct msg *m = msg_new(&p, SL("me"), NULL, 100), *mounted;

		below.topic = SL("mount/a/b");
		mounted = msg_new(&below, SL("me"), NULL, 100);
		for (unsigned bits = 0; bits < 64; bits++) {
			uint8_t version = bits & 1 ? MQTT_V5 : MQTT_V311;
			struct msg_out o = { .version = version, .qos = bits >> 1 & 1, .packet_id = 9,
				.dup = (bits >> 1 & 1) && (bits >> 2 & 1), .retain = bits >> 3 & 1,
				.alias = version == MQTT_V5 && (bits >> 4 & 1) ? 3 : 0,
				.strip = bits >> 5 & 1 ? 6 : 0 };
			struct mqtt_publish q = p;
			struct wr w = wr_of(want, 20000);

			q.qos = o.qos, q.dup = o.dup, q.retain = o.retain, q.packet_id = o.packet_id;
			q.topic_alias = o.alias;
			assert_true(mqtt_put_publish(&w, version, &q));
			size_t n = gather(o.strip > 0 ? mounted : m, &o, 100, got);
			struct mqtt_frame fa, fb;
			struct mqtt_publish a, b;

			assert_int_equal(n, wr_len(&w));
			assert_int_equal(mqtt_frame(slice_of(got, n), 1 << 20, &fa), MQTT_FRAME_OK);
			assert_int_equal(mqtt_frame(wr_slice(&w), 1 << 20, &fb), MQTT_FRAME_OK);
			assert_int_equal(mqtt_decode_publish(&fa, version, false, &a), MQTT_RC_OK);
			assert_int_equal(mqtt_decode_publish(&fb, version, false, &b), MQTT_RC_OK);
			assert_true(slice_eq(a.topic, b.topic) && slice_eq(a.payload, b.payload));
			assert_int_equal(a.packet_id, b.packet_id);
			assert_int_equal(a.topic_alias, b.topic_alias);
			assert_int_equal(a.forward_n, b.forward_n);
			assert_int_equal(fa.flags, fb.flags);
		}
		msg_unref(m);
		msg_unref(mounted);
		free(payload);
		free(got);
		free(want);
	}
}

static void
expiry_and_identifiers(void **state)
{
	static const uint32_t ids[] = { 1, 300, 268435455 };
	struct mqtt_publish p = { .topic = SL("t"), .payload = SL("x"), .has_expiry = true, .message_expiry = 10 }, q;
	struct msg *m = msg_new(&p, SL(""), NULL, 100);
	struct msg_out o = { .version = MQTT_V5, .ids = ids, .n_ids = 3 };
	struct mqtt_frame f;
	uint8_t out[128];
	size_t n;

	(void)state;
	assert_false(msg_expired(m, 109));
	assert_true(msg_expired(m, 110));
	n = gather(m, &o, 104, out);
	assert_int_equal(mqtt_frame(slice_of(out, n), 1 << 20, &f), MQTT_FRAME_OK);
	assert_int_equal(mqtt_decode_publish(&f, MQTT_V5, false, &q), MQTT_RC_OK);
	assert_int_equal(q.message_expiry, 6);
	assert_int_equal(q.subscription_id, 1);
	/* An alias that the client knows already replaces the topic. */
	o = (struct msg_out){ .version = MQTT_V5, .alias = 5, .alias_only = true };
	n = gather(m, &o, 104, out);
	assert_int_equal(mqtt_frame(slice_of(out, n), 1 << 20, &f), MQTT_FRAME_OK);
	assert_int_equal(mqtt_decode_publish(&f, MQTT_V5, false, &q), MQTT_RC_OK);
	assert_int_equal(q.topic.n, 0);
	assert_int_equal(q.topic_alias, 5);
	/* An expiry beyond the clock's range is "very late", not "long ago". */
	p.message_expiry = UINT32_MAX;
	struct msg *late = msg_new(&p, SL(""), NULL, 100);
	assert_false(msg_expired(late, UINT32_MAX - 1));
	msg_unref(late);
	msg_unref(m);
}

static void
refuses_the_absurd(void **state)
{
	struct mqtt_publish p = { .topic = { (const uint8_t *)"x", 65536 } };

	(void)state;
	assert_null(msg_new(&p, SL(""), NULL, 0));
	p = (struct mqtt_publish){ .topic = SL("x"), .payload = { (const uint8_t *)"x", 268435456 } };
	assert_null(msg_new(&p, SL(""), NULL, 0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_as_codec),
		cmocka_unit_test(expiry_and_identifiers),
		cmocka_unit_test(refuses_the_absurd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
