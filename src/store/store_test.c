/* The store's parts: checksums, records, the index, tickets between workers, large records, keys, locks, tools, and failing memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/num.h"
#include "store/fs_testkit.h"

/* ---- allocation that fails when told to (see meson.build) ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

/* The calls left until one fails; 0: none will. */
static unsigned fail_in;

static bool
fails(void)
{
	return fail_in > 0 && --fail_in == 0;
}

void *
__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *
__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

/* ---- checksums and records ---- */

static void
test_crc(void **state)
{
	uint8_t buf[300];
	uint64_t random = 3;

	(void)state;
	/* RFC 3720, B.4 */
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(buf, 0, 32);
	assert_int_equal(crc32c(0, buf, 32), 0x8a9136aa);
	for (unsigned n = 0; n < sizeof buf; n++) {
		buf[n] = (uint8_t)sim_random(&random);
		assert_int_equal(crc32c(7, buf, n), crc32c_plain(7, buf, n));
		assert_int_equal(crc32c(crc32c(0, buf, n / 3), buf + n / 3, n - n / 3), crc32c(0, buf, n));
	}
}

static void
test_records(void **state)
{
	uint8_t buf[RECORD_PUT + 5] = { 0 };
	struct record in = { .op = OP_PUT, .kind = STORE_ENTRY, .id = 0x1122334455667788, .ref = 9, .n = 5 }, out;

	(void)state;
	memcpy(buf + RECORD_PUT, "hello", 5);
	record_put(buf, &in);
	assert_true(record_get(buf, sizeof buf, &out));
	assert_true(out.op == OP_PUT && out.kind == STORE_ENTRY && out.id == in.id && out.ref == 9 && out.size == sizeof buf);
	assert_memory_equal(out.bytes, "hello", 5);
	assert_true(record_verify(buf, &out, 0));
	records_mask(buf, sizeof buf, 0xdeadbeef);
	assert_false(record_verify(buf, &out, 0));
	assert_true(record_verify(buf, &out, 0xdeadbeef));
	for (size_t n = 0; n < sizeof buf; n++)
		assert_false(record_get(buf, n, &out));
	for (unsigned i = 0; i < sizeof buf * 8; i++) {
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_false(record_get(buf, sizeof buf, &out) && record_verify(buf, &out, 0xdeadbeef));
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	record_put(buf, &(struct record){ .op = OP_DEL, .kind = 1, .id = 3 });
	assert_true(record_get(buf, RECORD_SHORT, &out) && out.op == OP_DEL && out.id == 3 && out.size == RECORD_SHORT);
	assert_false(record_get(buf, RECORD_SHORT - 1, &out));
}

static void
test_header(void **state)
{
	struct seg_header in = { .id = 7, .tail = 5, .first_seq = 1ull << 40, .next_id = 99, .size = 65536, .major = 1, .cipher = 1,
		.uuid = "uuid", .salt = "salt", .key_id = "key" }, out;
	uint8_t buf[HEADER_BYTES];

	(void)state;
	header_put(&in, buf);
	assert_true(header_get(buf, &out));
	assert_true(out.id == 7 && out.tail == 5 && out.first_seq == in.first_seq && out.next_id == 99 && out.size == 65536);
	assert_int_equal(header_seed(&in), header_seed(&out));
	for (unsigned i = 0; i < sizeof buf * 8; i += 3) {
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_false(header_get(buf, &out));
		buf[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

/* ---- index ---- */

static void
test_index(void **state)
{
	enum { IDS = 20000 };
	static bool has[IDS];
	struct index x = { 0 };
	uint64_t random = 17, n = 0, seen = 0;
	struct place *p;

	(void)state;
	memset(has, 0, sizeof has);
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t id = 1 + sim_random(&random) % (IDS - 1);

		p = index_find(&x, id);
		assert_int_equal(p != NULL, has[id]);
		if (p != NULL && sim_random(&random) % 2) {
			assert_int_equal(p->n, (uint32_t)id * 3);
			index_del(&x, p);
			has[id] = false;
			n--;
		} else if (p == NULL) {
			assert_non_null(p = index_add(&x, id));
			p->n = (uint32_t)id * 3;
			has[id] = true;
			n++;
		}
	}
	for (uint64_t pos = 0; (p = index_next(&x, &pos)) != NULL; seen++)
		assert_true(has[p->id] && p->n == p->id * 3);
	assert_int_equal(seen, n);
	assert_int_equal(x.count, n);
	for (uint64_t id = 1; id < IDS; id++)
		if ((p = index_find(&x, id)) != NULL)
			index_del(&x, p);
	for (unsigned i = 0; i < INDEX_TABLES; i++)
		assert_null(x.tables[i].v); /* an empty one gives its memory back */
	index_clear(&x);
}

/* ---- a store in memory ---- */

struct world {
	struct sim *sim;
	struct store *store;
	unsigned woken[3], events;
	struct store_event last;
	uint64_t loaded;
	size_t bytes;
	struct err err;
};

static void
on_wake(void *ctx, unsigned writer)
{
	((struct world *)ctx)->woken[writer]++;
}

static void
on_event(void *ctx, const struct store_event *e)
{
	struct world *w = ctx;

	w->events++;
	w->last = *e;
}

static struct store_options
options(struct world *w)
{
	return (struct store_options){ .dir = "d", .n_writers = 3, .segment_bytes = 1, .fs = sim_fs(w->sim), .ctx = w,
		.wake = on_wake, .event = on_event };
}

static bool
reopen(struct world *w, struct slice key)
{
	struct store_options o = options(w);

	o.key = key;
	return (w->store = store_open(&o, &w->err)) != NULL;
}

static bool
on_load(void *ctx, const struct store_record *r)
{
	struct world *w = ctx;

	w->loaded++;
	w->bytes += r->bytes.n;
	return true;
}

static void
setup(struct world *w)
{
	*w = (struct world){ .sim = sim_new() };
	assert_true(reopen(w, SL("")));
}

static void
teardown(struct world *w)
{
	(void)store_close(w->store);
	sim_free(w->sim);
}

static uint64_t
put(struct store_writer *w, uint8_t kind, uint64_t ref, const char *text)
{
	uint64_t id = store_id(w);

	assert_true(store_put(w, &(struct store_record){ .kind = kind, .id = id, .ref = ref, .bytes = slice_str(text) }));
	return id;
}

static void
test_tickets(void **state)
{
	struct world w;
	struct store_writer *a, *b, *c;
	struct store_part *to_b, *to_c;
	uint64_t turn;

	(void)state;
	setup(&w);
	a = store_writer(w.store, 0);
	b = store_writer(w.store, 1);
	c = store_writer(w.store, 2);
	/* Nothing put: no turn. */
	turn = store_seq(a);
	store_submit(a);
	assert_int_equal(store_seq(a), turn);
	/* What A publishes waits for A, for what B puts because of it, and for C, who puts nothing. */
	(void)put(a, STORE_RETAINED, 0, "x");
	assert_non_null(to_b = store_claim(a));
	assert_non_null(to_c = store_claim(a));
	store_submit(a);
	assert_int_equal(store_step(w.store), STEP_BUSY);
	assert_true(store_durable(a) < turn);
	assert_int_equal(w.woken[0], 0);
	store_join(c, to_c);
	store_submit(c);
	(void)put(b, STORE_ENTRY, 0, "y");
	store_join(b, to_b);
	assert_true(store_durable(a) < turn);
	store_submit(b);
	assert_true(store_durable(a) < turn);
	assert_int_equal(store_step(w.store), STEP_BUSY);
	assert_int_equal(store_durable(a), turn);
	assert_int_equal(store_durable(b), 1);
	assert_true(w.woken[0] == 1 && w.woken[1] == 1 && w.woken[2] == 0);
	/* Later turns do not overtake one that waits. */
	turn = store_seq(a);
	assert_non_null(to_b = store_claim(a));
	store_submit(a);
	(void)put(a, STORE_RETAINED, 0, "z");
	store_submit(a);
	(void)store_step(w.store);
	assert_int_equal(store_durable(a), turn - 1);
	store_join(b, to_b);
	assert_int_equal(store_durable(a), turn + 1);
	teardown(&w);
}

static void
test_sizes(void **state)
{
	static char large[300 * 1024];
	struct world w;
	struct store_writer *a;
	struct store_stats st;

	(void)state;
	setup(&w);
	a = store_writer(w.store, 0);
	memset(large, 'x', sizeof large - 1);
	/* Larger than a segment, in one turn that is larger than a frame. */
	for (unsigned i = 0; i < 10; i++)
		(void)put(a, STORE_RETAINED, 0, large);
	(void)put(a, STORE_RETAINED, 0, "");
	store_submit(a);
	while (store_step(w.store) == STEP_BUSY)
		;
	assert_int_equal(store_durable(a), 1);
	store_stats(w.store, &st);
	assert_true(st.frames > 1 && st.live_records == 11 && st.backlog_bytes == 0);
	assert_true(store_close(w.store));
	assert_true(reopen(&w, SL("")));
	assert_true(store_load(w.store, on_load, &w, &w.err));
	assert_int_equal(w.loaded, 11);
	assert_int_equal(w.bytes, 10 * (sizeof large - 1));
	assert_int_equal(w.events, 0);
	teardown(&w);
}

/* A body that lost its last entry is gone, at once and after a restart; one that has some stays. */
static void
test_bodies(void **state)
{
	struct world w;
	struct store_writer *a;
	struct store_stats st;
	uint64_t body, e1, e2;

	(void)state;
	setup(&w);
	a = store_writer(w.store, 0);
	body = put(a, STORE_BODY, 0, "body");
	e1 = put(a, STORE_ENTRY, body, "1");
	e2 = put(a, STORE_ENTRY, body, "2");
	store_submit(a);
	(void)store_step(w.store);
	store_stats(w.store, &st);
	assert_int_equal(st.live_records, 3);
	assert_true(store_del(a, STORE_ENTRY, e1));
	store_submit(a);
	(void)store_step(w.store);
	/* PUBREC: the entry stays, without its body. */
	assert_true(store_put(a, &(struct store_record){ .kind = STORE_ENTRY, .id = e2, .bytes = SL("released") }));
	store_submit(a);
	(void)store_step(w.store);
	store_stats(w.store, &st);
	assert_int_equal(st.live_records, 1);
	assert_true(store_close(w.store));
	assert_true(reopen(&w, SL("")));
	assert_true(store_load(w.store, on_load, &w, &w.err));
	assert_int_equal(w.loaded, 1);
	assert_int_equal(w.bytes, 8);
	teardown(&w);
}

static void
test_keys(void **state)
{
	static const uint8_t key[STORE_KEY_BYTES] = "key", other[STORE_KEY_BYTES] = "other";
	struct world w = { .sim = sim_new() };

	(void)state;
	assert_false(reopen(&w, SL("short")));
	assert_true(reopen(&w, slice_of(key, sizeof key)));
	(void)put(store_writer(w.store, 0), STORE_RETAINED, 0, "the plain text");
	store_submit(store_writer(w.store, 0));
	assert_true(store_close(w.store));
	for (unsigned i = 0; i < sim_count(w.sim); i++)
		assert_null(memmem(sim_at(w.sim, i).bytes, sim_at(w.sim, i).n, "plain", 5));
	assert_false(reopen(&w, SL("")));
	assert_int_equal(w.err.code, ERR_DENIED);
	assert_false(reopen(&w, slice_of(other, sizeof other)));
	assert_int_equal(w.err.code, ERR_DENIED);
	assert_non_null(strstr(w.err.text, "key whose id is"));
	assert_true(reopen(&w, slice_of(key, sizeof key)));
	assert_true(store_load(w.store, on_load, &w, &w.err));
	assert_int_equal(w.bytes, 14);
	teardown(&w);
}

static void
test_newer_format(void **state)
{
	struct world w = { .sim = sim_new() };
	struct seg_header h = { .id = 1, .major = FORMAT_MAJOR + 1, .size = FILE_HEADER, .first_seq = 1 };
	uint8_t file[FILE_HEADER] = { 0 };

	(void)state;
	header_put(&h, file);
	sim_write(w.sim, "d/0000000000000001.seg", slice_of(file, sizeof file));
	assert_false(reopen(&w, SL("")));
	assert_int_equal(w.err.code, ERR_INPUT);
	sim_free(w.sim);
}

/* Every allocation fails once: what was not put is said, what was said is there. */
static void
test_no_memory(void **state)
{
	(void)state;
	for (unsigned nth = 1; nth < 60; nth++) {
		struct world w;
		struct store_writer *a;
		uint64_t promised = 0;

		setup(&w);
		a = store_writer(w.store, 0);
		fail_in = nth;
		for (unsigned i = 0; i < 40; i++) {
			promised += store_put(a, &(struct store_record){ .kind = STORE_RETAINED, .id = store_id(a), .bytes = SL("v") });
			if (i % 4 == 3)
				store_submit(a);
			if (i % 8 == 7)
				(void)store_step(w.store);
		}
		fail_in = 0;
		for (unsigned i = 0; i < 5; i++) {
			sim_sleep(w.sim, 5000000);
			(void)store_step(w.store);
		}
		assert_int_equal(store_durable(a), store_seq(a) - 1);
		assert_true(store_close(w.store));
		fail_in = nth;
		(void)reopen(&w, SL(""));
		(void)store_close(w.store);
		fail_in = 0;
		assert_true(reopen(&w, SL("")));
		assert_true(store_load(w.store, on_load, &w, &w.err));
		assert_int_equal(w.loaded, promised);
		teardown(&w);
	}
}

/* ---- on a disk ---- */

static void
test_on_disk(void **state)
{
	char dir[] = "/tmp/store-test-XXXXXX", path[64], copy[64], back[64], command[64];
	struct store_options o = { .dir = path, .n_writers = 1, .segment_bytes = STORE_SEGMENT_MIN };
	struct store_report rep;
	struct world w = { 0 };
	struct store *s;
	struct err err = { 0 };
	struct stat st;

	(void)state;
	(void)command;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/s", dir);
	(void)snprintf(copy, sizeof copy, "%s/b", dir);
	(void)snprintf(back, sizeof back, "%s/r", dir);
	assert_non_null(s = store_open(&o, &err));
	assert_null(store_open(&o, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	assert_false(store_check(&o, &rep, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	assert_true(store_start(s, &err));
	for (unsigned i = 0; i < 500; i++) {
		(void)put(store_writer(s, 0), STORE_RETAINED, 0, "some bytes that are kept for a topic");
		store_submit(store_writer(s, 0));
	}
	assert_true(store_backup(s, copy, &err));
	assert_true(store_close(s));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_true(store_check(&o, &rep, &err));
	assert_true(rep.live_records == 500 && rep.live_of_kind[STORE_RETAINED] == 500 && rep.damaged == 0 && rep.clean_end);
	assert_true(store_dump(&o, on_load, &w, &err));
	assert_int_equal(w.loaded, 500);
	assert_false(store_restore(dir, back, SL(""), &err));
	assert_true(store_restore(copy, back, SL(""), &err));
	assert_false(store_restore(copy, path, SL(""), &err));
	o.dir = back;
	assert_true(store_check(&o, &rep, &err));
	assert_int_equal(rep.live_records, 500);
	assert_non_null(s = store_open(&o, &err));
	assert_true(store_close(s));
	for (unsigned i = 0; i < 3; i++) {
		const char *const dirs[] = { path, copy, back };
		char file[400];
		struct files f = { .fs = store_fs_posix() };

		assert_true(files_list(&f, dirs[i], &err));
		for (uint32_t k = 0; k < f.n; k++)
			(void)unlink(file_path(&f, seg_name(f.segs[k].h.id, command), (char[PATH_BYTES]){ 0 }));
		for (unsigned k = 0; k < f.n_spares; k++)
			(void)unlink(file_path(&f, spare_name(f.spares[k], command), (char[PATH_BYTES]){ 0 }));
		free(f.segs);
		(void)snprintf(file, sizeof file, "%s/LOCK", dirs[i]);
		(void)unlink(file);
		assert_int_equal(rmdir(dirs[i]), 0);
	}
	assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc),
		cmocka_unit_test(test_records),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_index),
		cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_newer_format),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_on_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
