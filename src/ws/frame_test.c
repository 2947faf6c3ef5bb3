/* Frames: every form of the length, every split, every mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/num.h"
#include "ws/internal.h"

enum { CAP = 512 * 1024 };

/* Everything in <in>, given in pieces of <step> bytes with what was not used before them; the events as letters: "p" Ping, "c" Close,
 * "b" bad. */
struct run {
	uint8_t *out;
	size_t n;
	char events[64];
	struct frame_step last;
};

static void
run(struct run *r, struct slice in, size_t step)
{
	struct frames f = { 0 };
	size_t used = 0, there = 0, at = 0;

	r->n = 0;
	while (there < in.n && at + 1 < sizeof(r->events)) {
		enum frame_event e;

		there = NUM_MIN(in.n, there + step);
		do {
			e = frames_step(
			    &f, slice_of(in.p + used, there - used), r->out, &r->n, &r->last);
			used += r->last.used;
			assert_true(used <= there);
			if (e != FRAME_DATA && at + 1 < sizeof(r->events))
				r->events[at++] = e == FRAME_PING    ? 'p'
						  : e == FRAME_CLOSE ? 'c'
								     : 'b';
		} while (e == FRAME_PING);
		if (e != FRAME_DATA)
			break;
	}
	r->events[at] = '\0';
}

static struct run *
new_run(void)
{
	struct run *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->out = malloc(CAP);
	assert_non_null(r->out);
	return r;
}

static void
free_run(struct run *r)
{
	free(r->out);
	free(r);
}

/* clang-format off */
#define MASK "\x01\x02\x03\x04"
static const struct {
	struct slice in;
	const char *out, *events;
	uint16_t code;
} cases[] = {
	{ SL("\x82\x80" MASK), "", "", 0 },
	{ SL("\x82\x83" MASK "\x60\x60\x60"), "abc", "", 0 },
	{ SL("\x82\x85\0\0\0\0hello\x82\x81\0\0\0\0!"), "hello!", "", 0 },
	{ SL("\x82\x89" MASK "\x60\x60\x60\x60\x64\x64\x64\x6c\x68"), "abcdefghi", "", 0 },
	/* fragments, with a Ping and a Pong between them */
	{ SL("\x02\x81\0\0\0\0a\x89\x81\0\0\0\0x\x00\x80\0\0\0\0\x8a\x80\0\0\0\0\x80\x81\0\0\0\0b"), "ab", "p", 0 },
	{ SL("\x89\x80\0\0\0\0\x89\x80\0\0\0\0\x82\x81\0\0\0\0z"), "z", "pp", 0 },
	{ SL("\x82\x81\0\0\0\0a\x88\x82\0\0\0\0\x03\xe8\x82\x81\0\0\0\0b"), "a", "c", 1000 },
	{ SL("\x88\x80\0\0\0\0"), "", "c", CLOSE_EMPTY },
	{ SL("\x88\x85\0\0\0\0\x0f\xa0" "bye"), "", "c", 4000 },
	/* mistakes */
	{ SL("\x82\x01" "a"), "", "b", 1002 },
	{ SL("\xc2\x80" MASK), "", "b", 1002 },
	{ SL("\xa2\x80" MASK), "", "b", 1002 },
	{ SL("\x92\x80" MASK), "", "b", 1002 },
	{ SL("\x81\x80" MASK), "", "b", 1003 },
	{ SL("\x01\x80" MASK), "", "b", 1003 },
	{ SL("\x83\x80" MASK), "", "b", 1002 },
	{ SL("\x8b\x80" MASK), "", "b", 1002 },
	{ SL("\x80\x80" MASK), "", "b", 1002 },
	{ SL("\x00\x80" MASK), "", "b", 1002 },
	{ SL("\x02\x80" MASK "\x82\x80" MASK), "", "b", 1002 },
	{ SL("\x82\x81\0\0\0\0a\x80\x80" MASK), "a", "b", 1002 },
	{ SL("\x09\x80" MASK), "", "b", 1002 },
	{ SL("\x89\xfe\0\x7e" MASK), "", "b", 1002 },
	{ SL("\x88\x81\0\0\0\0\x03"), "", "b", 1002 },
	{ SL("\x88\x82\0\0\0\0\x03\xe7"), "", "b", 1002 },
	{ SL("\x88\x82\0\0\0\0\x03\xed"), "", "b", 1002 },
	{ SL("\x88\x82\0\0\0\0\x0b\xb7"), "", "b", 1002 },
	{ SL("\x88\x83\0\0\0\0\x03\xe8\xff"), "", "b", 1002 },
	/* lengths: not the shortest, or above 63 bits */
	{ SL("\x82\xfe\0\x7d" MASK), "", "b", 1002 },
	{ SL("\x82\xff\0\0\0\0\0\0\xff\xff" MASK), "", "b", 1002 },
	{ SL("\x82\xff\x80\0\0\0\0\1\0\0" MASK), "", "b", 1002 },
	{ SL("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0xyz"), "xyz", "", 0 },
};
/* clang-format on */

static void
each_case_however_it_is_split(void **state)
{
	struct run *r = new_run();
	size_t i, step;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		for (step = 1; step <= cases[i].in.n; step++) {
			run(r, cases[i].in, step);
			if (r->n != strlen(cases[i].out) ||
			    memcmp(r->out, cases[i].out, r->n) != 0 ||
			    strcmp(r->events, cases[i].events) != 0)
				fail_msg("case %zu in steps of %zu: %zu bytes, events \"%s\"", i,
				    step, r->n, r->events);
			if (cases[i].code != 0)
				assert_int_equal(r->last.code, cases[i].code);
			if (strchr(r->events, 'b') != NULL)
				assert_true(
				    slice_starts(slice_str(r->last.why), SL("WebSocket: ")));
		}
	}
	free_run(r);
}

static void
a_truncated_case_never_reads_on(void **state)
{
	struct run *r = new_run();
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_LEN(cases); i++) {
		for (k = 1; k < cases[i].in.n; k++) {
			uint8_t *copy = malloc(k);

			assert_non_null(copy);
			memcpy(copy, cases[i].in.p, k);
			run(r, slice_of(copy, k), k);
			assert_true(r->n <= strlen(cases[i].out));
			free(copy);
		}
	}
	free_run(r);
}

static void
ping_gives_its_payload(void **state)
{
	struct run *r = new_run();
	uint8_t ping[6 + 125] = { 0x89, 0x80 | 125, 1, 2, 3, 4 };

	(void)state;
	for (int i = 0; i < 125; i++)
		ping[6 + i] = (uint8_t)(i ^ ping[2 + i % 4]);
	run(r, slice_of(ping, sizeof(ping)), 7);
	assert_string_equal(r->events, "p");
	assert_int_equal(r->last.payload_n, 125);
	for (int i = 0; i < 125; i++)
		assert_int_equal(r->last.payload[i], i);
	free_run(r);
}

/* All three forms of the length, all phases of the mask, on both ways. */
static void
lengths_and_masks(void **state)
{
	static const size_t sizes[] = { 1, 125, 126, 127, 65535, 65536, 70001 };
	static const uint8_t mask[4] = { 0xde, 0xad, 0xbe, 0xef };
	struct run *r = new_run();
	uint8_t *in = malloc(CAP), *plain = malloc(CAP);

	(void)state;
	assert_non_null(in);
	assert_non_null(plain);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t n = sizes[i], head;

		head = frame_put_head(in, n);
		assert_int_equal(head, n < 126 ? 2 : n < 65536 ? 4 : 10);
		in[1] |= 0x80;
		memcpy(in + head, mask, 4);
		for (size_t k = 0; k < n; k++) {
			plain[k] = (uint8_t)(k * 7 + k / 251);
			in[head + 4 + k] = plain[k] ^ mask[k % 4];
		}
		for (size_t step = 1; step < n + 20; step = step * 2 + 1) {
			if (n / step > 20000)
				continue;
			run(r, slice_of(in, head + 4 + n), step);
			assert_int_equal(r->n, n);
			assert_memory_equal(r->out, plain, n);
			assert_string_equal(r->events, "");
		}
	}
	free(in);
	free(plain);
	free_run(r);
}

/* Each MQTT packet gets a frame, whatever pieces it comes in; what does not end where a piece does stays in one. */
static void
packets_become_frames(void **state)
{
	enum { ROOM = 6 };
	static const struct {
		const char *pieces[ROOM];
		size_t n[ROOM];
		const char *frames; /* the length of each */
	} rows[] = {
		{ { "\xd0\0" }, { 2 }, "2 " },
		{ { "\x40\2\0\1", "\x40\2\0\2" }, { 4, 4 }, "4 4 " },
		{ { "\x30\5\0", "\1tab", "\x40\2\0\1" }, { 3, 4, 4 }, "7 4 " },
		{ { "\x40\2\0\1", "\x32\6", "\0\1t", "\0\7", "x", "\xd0\0" }, { 4, 2, 3, 2, 1, 2 }, "4 8 2 " },
		{ { "\xd0\0", "\xd0\0", "\xd0\0", "\xd0\0", "\xd0\0", "\xd0\0" }, { 2, 2, 2, 2, 2, 2 }, "2 2 2 2 2 2 " },
		{ { "\x30\x80\1", NULL, "\xd0\0" }, { 3, 128, 2 }, "131 2 " },
		{ { "\x30\xff\xff\3", NULL, "\xd0\0" }, { 4, 65535, 2 }, "65539 2 " },
		{ { "\xd0\0\xd0\0", "\xd0\0" }, { 4, 2 }, "6 " },
		{ { "\x30\5\0\1t", "\xd0\0" }, { 5, 2 }, "7 " },
		{ { "\x30", "\5\0\1tab", "\xd0\0" }, { 1, 6, 2 }, "9 " },
		{ { "\x30\xff\xff\xff\xff\1", "\xd0\0" }, { 6, 2 }, "8 " },
	};
	static uint8_t zeros[1 << 16];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct iovec iov[3 * ROOM] = { 0 };
		char seen[64] = "";
		int n = 0, k = 0;

		for (; n < ROOM && rows[i].n[n] > 0; n++)
			iov[ROOM + n] = (struct iovec){ rows[i].pieces[n] == NULL ? (void *)zeros : (void *)(uintptr_t)rows[i].pieces[n], rows[i].n[n] };
		n = frames_of_packets(iov, ROOM, n);
		for (int at = 0; at < n; k++) {
			const uint8_t *head = iov[at].iov_base;
			uint64_t want = head[1], have = 0;

			assert_int_equal(head[0], 0x82);
			if (want > 125) {
				want = 0;
				for (size_t b = 2; b < iov[at].iov_len; b++)
					want = want << 8 | head[b];
			}
			for (at++; have < want; at++) {
				assert_true(at < n);
				have += iov[at].iov_len;
			}
			assert_int_equal(have, want);
			(void)snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%u ", (unsigned)have);
		}
		if (strcmp(seen, rows[i].frames) != 0)
			fail_msg("row %zu: %s", i, seen);
		for (int at = 0, from = 0; at < n; at++) /* the pieces themselves, in their order */
			if ((uintptr_t)iov[at].iov_base - (uintptr_t)iov >= sizeof(iov)) {
				const char *p = rows[i].pieces[from++];

				assert_ptr_equal(iov[at].iov_base, p == NULL ? (const void *)zeros : (const void *)p);
			}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_case_however_it_is_split),
		cmocka_unit_test(a_truncated_case_never_reads_on),
		cmocka_unit_test(ping_gives_its_payload),
		cmocka_unit_test(lengths_and_masks),
		cmocka_unit_test(packets_become_frames),
	};

	return cmocka_run_group_tests_name("ws_frame", tests, NULL, NULL);
}
