/* Readers and writers: every truncation, the borders of the variable byte integer, and that they are inverse. */
#include "base/rd.h"
#include "base/wr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include "base/num.h"

/* One of each kind, 17 bytes in all. */
static const uint8_t sample[] = { 0x7f, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0x00, 0x03, 'a', 'b', 'c', 0xff, 0x7f,
	0x01, 0x02, 0x03 };

/* Reads the sample; true when nothing failed. */
static bool
read_sample(struct slice in)
{
	struct rd r = rd_of(in);
	uint8_t u8 = rd_u8(&r);
	uint16_t u16 = rd_u16(&r);
	uint32_t u32 = rd_u32(&r);
	struct slice str = rd_str(&r);
	uint32_t var = rd_varint(&r);
	struct slice rest = rd_take(&r, 3);

	if (!rd_ok(&r)) {
		/* It stays failed, and gives nothing more. */
		assert_int_equal(rd_left(&r), 0);
		assert_int_equal(rd_u8(&r), 0);
		assert_int_equal(rd_u16(&r), 0);
		assert_int_equal(rd_u32(&r), 0);
		assert_int_equal(rd_str(&r).n, 0);
		assert_int_equal(rd_take(&r, 1).n, 0);
		assert_false(rd_ok(&r));
		return false;
	}
	assert_int_equal(u8, 0x7f);
	assert_int_equal(u16, 0x1234);
	assert_int_equal(u32, 0xdeadbeef);
	assert_true(slice_eq(str, SL("abc")));
	assert_int_equal(var, 16383);
	assert_true(slice_eq(rest, SL("\1\2\3")));
	assert_int_equal(rd_left(&r), 0);
	return true;
}

static void
reads_whole_and_every_truncation(void **state)
{
	(void)state;
	for (size_t n = 0; n <= sizeof sample; n++) {
		uint8_t *exact = malloc(n > 0 ? n : 1); /* so that the sanitizer sees one byte too many */

		assert_non_null(exact);
		memcpy(exact, sample, n);
		assert_int_equal(read_sample(slice_of(exact, n)), n == sizeof sample);
		free(exact);
	}
	assert_false(read_sample((struct slice){ 0 }));
}

static void
take_of_huge_sizes_fails(void **state)
{
	struct rd r = rd_of(SL("abc"));

	(void)state;
	assert_int_equal(rd_take(&r, 0).n, 0);
	assert_true(rd_ok(&r));
	assert_int_equal(rd_take(&r, SIZE_MAX).n, 0);
	assert_false(rd_ok(&r));
	r = rd_of((struct slice){ 0 });
	assert_int_equal(rd_take(&r, 0).n, 0);
	assert_true(rd_ok(&r));
}

/* MQTT 1.5.5, table 1-1. */
static void
varint_borders(void **state)
{
	static const struct {
		uint32_t v;
		struct slice wire;
	} cases[] = {
		{ 0, SL("\x00") },
		{ 1, SL("\x01") },
		{ 127, SL("\x7f") },
		{ 128, SL("\x80\x01") },
		{ 16383, SL("\xff\x7f") },
		{ 16384, SL("\x80\x80\x01") },
		{ 2097151, SL("\xff\xff\x7f") },
		{ 2097152, SL("\x80\x80\x80\x01") },
		{ 268435455, SL("\xff\xff\xff\x7f") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t out[4];
		struct wr w = wr_of(out, sizeof out);
		struct rd r = rd_of(cases[i].wire);

		wr_varint(&w, cases[i].v);
		assert_true(wr_ok(&w));
		assert_true(slice_eq(wr_slice(&w), cases[i].wire));
		assert_int_equal(varint_len(cases[i].v), cases[i].wire.n);
		assert_int_equal(rd_varint(&r), cases[i].v);
		assert_true(rd_ok(&r));
		assert_int_equal(rd_left(&r), 0);
		for (size_t n = 0; n < cases[i].wire.n; n++) {
			r = rd_of(slice_of(cases[i].wire.p, n));
			(void)rd_varint(&r);
			assert_false(rd_ok(&r));
			w = wr_of(out, n);
			wr_varint(&w, cases[i].v);
			assert_false(wr_ok(&w));
		}
	}
}

static void
varint_refuses(void **state)
{
	static const struct slice cases[] = {
		SL("\x80\x00"), /* [MQTT-1.5.5-1]: not the shortest form */
		SL("\xff\x00"),
		SL("\x80\x80\x00"),
		SL("\x80\x80\x80\x00"),
		SL("\x80\x80\x80\x80"),
		SL("\xff\xff\xff\xff\x7f"), /* five bytes */
		SL("\x80\x80\x80\x80\x01"),
	};
	uint8_t out[8];
	struct wr w = wr_of(out, sizeof out);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct rd r = rd_of(cases[i]);

		(void)rd_varint(&r);
		assert_false(rd_ok(&r));
	}
	wr_varint(&w, 268435456);
	assert_false(wr_ok(&w));
	w = wr_of(out, sizeof out);
	wr_varint(&w, UINT32_MAX);
	assert_false(wr_ok(&w));
}

/* Powers of two and their neighbours, all the way: what is written is what is read. */
static void
varint_inverse(void **state)
{
	(void)state;
	for (uint32_t bit = 0; bit < 28; bit++) {
		for (uint32_t off = 0; off < 600; off++) {
			uint32_t v = (1u << bit) + off - 300;
			uint8_t out[4];
			struct wr w = wr_of(out, sizeof out);
			struct rd r;

			if (v > 268435455)
				continue;
			wr_varint(&w, v);
			assert_true(wr_ok(&w));
			assert_int_equal(wr_len(&w), varint_len(v));
			r = rd_of(wr_slice(&w));
			assert_int_equal(rd_varint(&r), v);
			assert_true(rd_ok(&r) && rd_left(&r) == 0);
		}
	}
}

static void
write_sample(struct wr *w)
{
	wr_u8(w, 0x7f);
	wr_u16(w, 0x1234);
	wr_u32(w, 0xdeadbeef);
	wr_str(w, SL("abc"));
	wr_varint(w, 16383);
	wr_bytes(w, SL("\1\2\3"));
	wr_bytes(w, (struct slice){ 0 });
}

static void
writes_whole_and_into_every_shorter_space(void **state)
{
	(void)state;
	for (size_t n = 0; n <= sizeof sample; n++) {
		uint8_t *exact = malloc(n > 0 ? n : 1);
		struct wr w;

		assert_non_null(exact);
		w = wr_of(exact, n);
		write_sample(&w);
		assert_int_equal(wr_ok(&w), n == sizeof sample);
		assert_true(wr_len(&w) <= n);
		assert_memory_equal(exact, sample, wr_len(&w));
		free(exact);
	}
}

static void
string_of_65536_bytes_fails(void **state)
{
	uint8_t *in = calloc(1, 65536), *out = malloc(70000);
	struct wr w = wr_of(out, 70000);

	(void)state;
	assert_non_null(in);
	assert_non_null(out);
	wr_str(&w, slice_of(in, 65535));
	assert_true(wr_ok(&w));
	assert_int_equal(wr_len(&w), 65537);
	w = wr_of(out, 70000);
	wr_str(&w, slice_of(in, 65536));
	assert_false(wr_ok(&w));
	free(in);
	free(out);
}

static void
checked_arithmetic(void **state)
{
	size_t n = 0;
	uint16_t small = 0;

	(void)state;
	assert_true(num_add((size_t)1, (size_t)2, &n));
	assert_int_equal(n, 3);
	assert_false(num_add(SIZE_MAX, (size_t)1, &n));
	assert_true(num_mul(SIZE_MAX / 2, (size_t)2, &n));
	assert_false(num_mul(SIZE_MAX / 2 + 1, (size_t)2, &n));
	assert_true(num_add(65000, 535, &small));
	assert_int_equal(small, 65535);
	assert_false(num_add(65000, 536, &small));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_whole_and_every_truncation),
		cmocka_unit_test(take_of_huge_sizes_fails),
		cmocka_unit_test(varint_borders),
		cmocka_unit_test(varint_refuses),
		cmocka_unit_test(varint_inverse),
		cmocka_unit_test(writes_whole_and_into_every_shorter_space),
		cmocka_unit_test(string_of_65536_bytes_fails),
		cmocka_unit_test(checked_arithmetic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
