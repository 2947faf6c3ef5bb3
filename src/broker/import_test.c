/* Files as mosquitto 2.0 writes them, made here: every truncation, every byte changed, memory that runs out at every place; what the records say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/wr.h"
#include "broker/import.h"
#include "broker/record.h"

enum { NOW = 1000000, FILE_MAX = 4096, CHUNKS_MAX = 32 };

struct made {
	uint8_t bytes[FILE_MAX];
	struct wr w;
	size_t starts[CHUNKS_MAX], n_starts, length_at;
};

static void
native(struct wr *w, uint64_t v)
{
	wr_bytes(w, slice_of(&v, sizeof v));
}

static void
chunk(struct made *m, uint32_t kind)
{
	m->starts[m->n_starts++] = wr_len(&m->w);
	wr_u32(&m->w, kind);
	m->length_at = wr_len(&m->w);
	wr_u32(&m->w, 0);
}

static void
chunk_end(struct made *m)
{
	struct wr w = wr_of(m->bytes + m->length_at, 4);

	wr_u32(&w, (uint32_t)(wr_len(&m->w) - m->length_at - 4));
}

static void
make(struct made *m)
{
	*m = (struct made){ .w = { 0 } };
	m->w = wr_of(m->bytes, sizeof m->bytes);
	wr_bytes(&m->w, slice_of("\0\265\0mosquitto db\0\0\0\0\0\0\0\6", 23));
	chunk(m, 1);
	native(&m->w, 9);
	wr_bytes(&m->w, slice_of("\1\10\0\0\0\0\0\0", 8));
	chunk_end(m);
}

static void
add_message(struct made *m, uint64_t id, const char *topic, unsigned qos, uint64_t expires)
{
	chunk(m, 2);
	native(&m->w, id);
	native(&m->w, expires);
	wr_u32(&m->w, 4); /* payload */
	wr_u16(&m->w, 1);
	wr_u16(&m->w, 3); /* origin */
	wr_u16(&m->w, 2); /* its user name */
	wr_u16(&m->w, (uint16_t)strlen(topic));
	wr_u16(&m->w, 1883);
	wr_u8(&m->w, (uint8_t)qos);
	wr_u8(&m->w, 0);
	wr_bytes(&m->w, SL("pubus"));
	wr_bytes(&m->w, slice_str(topic));
	wr_bytes(&m->w, SL("body"));
	wr_bytes(&m->w, SL("\x02\x01\x01"));
	chunk_end(m);
}

static void
add_client(struct made *m, const char *id, uint32_t expiry, uint64_t ends, const char *name)
{
	chunk(m, 6);
	native(&m->w, ends);
	wr_u32(&m->w, expiry);
	wr_u16(&m->w, 5);
	wr_u16(&m->w, (uint16_t)strlen(id));
	wr_u16(&m->w, 1883);
	wr_u16(&m->w, (uint16_t)strlen(name));
	wr_u32(&m->w, 0);
	wr_bytes(&m->w, slice_str(id));
	wr_bytes(&m->w, slice_str(name));
	chunk_end(m);
}

static void
add_sub(struct made *m, const char *id, const char *filter, unsigned qos, unsigned options)
{
	chunk(m, 5);
	wr_u32(&m->w, 7);
	wr_u16(&m->w, (uint16_t)strlen(id));
	wr_u16(&m->w, (uint16_t)strlen(filter));
	wr_u8(&m->w, (uint8_t)qos);
	wr_u8(&m->w, (uint8_t)options);
	wr_u16(&m->w, 0);
	wr_bytes(&m->w, slice_str(id));
	wr_bytes(&m->w, slice_str(filter));
	chunk_end(m);
}

static void
add_state(struct made *m, const char *id, uint64_t message, unsigned qos, unsigned state, unsigned packet_id)
{
	chunk(m, 3);
	native(&m->w, message);
	wr_u16(&m->w, (uint16_t)packet_id);
	wr_u16(&m->w, (uint16_t)strlen(id));
	wr_u8(&m->w, (uint8_t)qos);
	wr_u8(&m->w, (uint8_t)state);
	wr_u8(&m->w, 0);
	wr_u8(&m->w, state != 7); /* direction */
	wr_bytes(&m->w, slice_str(id));
	if (state == 11)
		wr_bytes(&m->w, SL("\x04\x0b\x07\x0b\x08"));
	chunk_end(m);
}

static void
make_whole(struct made *m)
{
	make(m);
	add_message(m, 1, "a/b", 2, 0);
	add_message(m, 2, "a/c", 1, NOW + 50);
	add_message(m, 3, "a/old", 1, NOW - 1);
	add_client(m, "alice", UINT32_MAX, 0, "al");
	add_client(m, "bob", 600, NOW + 500, "");
	add_client(m, "over", 600, NOW - 1, "");
	add_state(m, "alice", 1, 2, 5, 10);
	add_state(m, "alice", 2, 1, 11, 11);
	add_state(m, "alice", 3, 1, 11, 12);
	add_state(m, "bob", 9, 2, 9, 4);
	add_state(m, "bob", 1, 2, 7, 20);
	add_sub(m, "alice", "a/#", 1, 0);
	add_sub(m, "alice", "+/b", 2, 0);
	add_sub(m, "bob", "a/b", 2, 4);
	add_sub(m, "over", "a/b", 2, 0);
	chunk(m, 4);
	native(&m->w, 2);
	chunk_end(m);
	assert_true(wr_ok(&m->w));
}

struct seen {
	uint64_t last;
	unsigned n, left; /* <left>: puts until memory runs out; 0: never */
	char text[4096];
	size_t at;
};

static uint64_t
next_id(void *ctx)
{
	return ++((struct seen *)ctx)->last;
}

static void
say(struct seen *s, const char *text)
{
	size_t n = strlen(text);

	assert_true(s->at + n < sizeof s->text);
	memcpy(s->text + s->at, text, n + 1);
	s->at += n;
}

static void
say_record(struct seen *s, const struct store_record *r, struct slice bytes)
{
	struct record_session session;
	struct record_entry e;
	struct record_inbound in;
	char line[160] = "";

	if (r->kind == STORE_SESSION) {
		assert_true(record_get_session(bytes, &session));
		(void)snprintf(line, sizeof line, "session %.*s %u %lld %.*s\n", SL_ARG(session.id), session.expiry_s,
		    (long long)session.away_since, SL_ARG(session.who.username));
	} else if (r->kind == STORE_ENTRY) {
		assert_true(record_get_entry(bytes, &e));
		(void)snprintf(line, sizeof line, "entry of %u: %u q%u id %u ids %u%s\n", (unsigned)e.session, e.state, e.qos, e.packet_id,
		    e.n_ids, r->ref != 0 ? "" : " released");
	} else if (r->kind == STORE_INBOUND) {
		assert_true(record_get_inbound(bytes, &in));
		(void)snprintf(line, sizeof line, "inbound of %u: %u\n", (unsigned)in.session, in.packet_id);
	}
	say(s, line);
}

static bool
on_put(void *ctx, const struct store_record *r)
{
	struct seen *s = ctx;
	uint8_t buf[512];
	size_t n = r->head.n + r->bytes.n;

	assert_true(n <= sizeof buf);
	if (r->head.n > 0)
		memcpy(buf, r->head.p, r->head.n);
	if (r->bytes.n > 0)
		memcpy(buf + r->head.n, r->bytes.p, r->bytes.n);
	s->n++;
	if (s->left > 0 && --s->left == 0)
		return false;
	say_record(s, r, slice_of(buf, n));
	return true;
}

static bool
run(struct seen *s, const uint8_t *bytes, size_t n, struct broker_imported *got, struct err *err)
{
	struct import_sink to = { s, next_id, on_put };
	struct broker_import from = { .file = slice_of(bytes, n), .now = NOW, .saved_at = NOW - 100 };

	return import_run(&to, &from, got, err);
}

static void
what_becomes_of_it(void **state)
{
	static struct made m;
	static struct seen s;
	struct broker_imported got;
	struct err err = { 0 };

	(void)state;
	make_whole(&m);
	if (!run(&s, m.bytes, wr_len(&m.w), &got, &err))
		fail_msg("%s", err.text);
	/* alice: one in flight, one queued; what bob sent is handed on to her once, with the better QoS, and not to him (no local). */
	assert_string_equal(s.text, "session alice 4294967295 999900 al\nsession bob 600 999900 \n"
				    "entry of 1: 1 q2 id 10 ids 0\nentry of 1: 0 q1 id 0 ids 2\nentry of 2: 2 q2 id 4 ids 0 released\n"
				    "inbound of 2: 20\nentry of 1: 0 q2 id 0 ids 2\n");
	assert_int_equal(got.sessions, 2);
	assert_int_equal(got.over, 1);
	assert_int_equal(got.subscriptions, 3);
	assert_int_equal(got.messages, 4);
	assert_int_equal(got.expired, 1);
	assert_int_equal(got.retained, 1);
	assert_int_equal(got.inbound, 1);
}

static void
every_truncation(void **state)
{
	static struct made m;
	struct broker_imported got;

	(void)state;
	make_whole(&m);
	for (size_t n = 0; n < wr_len(&m.w); n++) {
		static struct seen s;
		uint8_t *exact = malloc(n + 1); /* so that ASan sees the end */
		struct err err = { 0 };
		bool whole = false, ok;

		assert_non_null(exact);
		memcpy(exact, m.bytes, n);
		s = (struct seen){ 0 };
		for (size_t i = 1; i < m.n_starts; i++)
			whole = whole || m.starts[i] == n;
		exact = realloc(exact, n > 0 ? n : 1);
		ok = run(&s, exact, n, &got, &err);
		assert_int_equal(ok, whole);
		assert_true(ok || (err.code == ERR_INPUT && strncmp(err.text, "byte ", 5) == 0));
		free(exact);
	}
}

static void
every_byte_changed(void **state)
{
	static struct made m;
	struct broker_imported got;

	(void)state;
	make_whole(&m);
	for (size_t i = 0; i < wr_len(&m.w); i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			static struct seen s;
			struct err err = { 0 };

			s = (struct seen){ 0 };
			m.bytes[i] ^= (uint8_t)(1u << bit);
			if (!run(&s, m.bytes, wr_len(&m.w), &got, &err))
				assert_true(err.code == ERR_INPUT && strncmp(err.text, "byte ", 5) == 0);
			m.bytes[i] ^= (uint8_t)(1u << bit);
		}
	}
}

static void
without_memory(void **state)
{
	static struct made m;
	static struct seen s;
	struct broker_imported got;
	unsigned all;

	(void)state;
	make_whole(&m);
	s = (struct seen){ 0 };
	assert_true(run(&s, m.bytes, wr_len(&m.w), &got, NULL));
	all = s.n;
	for (unsigned left = 1; left <= all; left++) {
		struct err err = { 0 };

		s = (struct seen){ .left = left };
		assert_false(run(&s, m.bytes, wr_len(&m.w), &got, &err));
		assert_int_equal(err.code, ERR_MEMORY);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_becomes_of_it), cmocka_unit_test(every_truncation),
		cmocka_unit_test(every_byte_changed), cmocka_unit_test(without_memory) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
