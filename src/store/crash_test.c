/* What was acknowledged is there after a power cut at every moment of a run, after any fault of the file system, and is missed
 * aloud after damage. A model says what must be there; the disk is simulated (fs_testkit.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>
#include <cmocka.h>
#include "base/num.h"
#include "store/fs_testkit.h"

enum { OBJECTS = 8192, TURNS = 4096, WRITERS = 2, CONTENT_MAX = 24 * 1024, MARKS = 8192 };

static const uint8_t KEY[STORE_KEY_BYTES] = "0123456789abcdef0123456789abcde";

/* ---- the model: what is alive, and a sum over it after each turn ---- */

struct object {
	uint64_t id, ref;
	uint32_t version, refs, n;
	uint8_t kind;
};
struct mark {
	size_t events;
	uint32_t acked, submitted;
};
struct run {
	struct sim *sim;
	struct store *store;
	struct slice key;
	uint64_t random;
	struct object v[OBJECTS]; /* alive */
	uint32_t n, turns, acked, version;
	uint64_t sum, sums[TURNS];
	uint32_t turn_of[WRITERS][TURNS]; /* by sequence number */
	struct mark marks[MARKS];
	uint32_t n_marks;
	unsigned damage, tails, states, no_body, no_clean, unreadable;
	uint64_t lost;
	enum store_state state;
	bool foreign;
};

static uint32_t
below(struct run *r, uint32_t n)
{
	return (uint32_t)(sim_random(&r->random) >> 33) % n;
}

/* What a record of this identity and version holds: itself, and bytes that follow from it. */
static struct slice
content(uint8_t *buf, uint64_t id, uint32_t version, uint32_t n)
{
	uint64_t x = id * 77 + version + 1;

	memcpy(buf, &id, 8);
	memcpy(buf + 8, &version, 4);
	for (uint32_t i = 12; i < n; i++)
		buf[i] = (uint8_t)(i % 8 == 4 ? sim_random(&x) : x >> i % 8 * 8);
	return slice_of(buf, n);
}

static uint64_t
worth(const struct object *o)
{
	uint64_t v[4] = { o->id, o->ref, (uint64_t)o->version << 32 | o->n, o->kind };
	uint64_t lo = crc32c(1, v, sizeof v), hi = crc32c(2, v, sizeof v);

	return (hi << 32 | lo) * 0x9e3779b97f4a7c15u;
}

static struct object *
object(struct run *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->v[i].id == id)
			return &r->v[i];
	return NULL;
}

static void
model_drop(struct run *r, struct object *o)
{
	r->sum -= worth(o);
	*o = r->v[--r->n];
}

static void
model_unref(struct run *r, uint64_t ref)
{
	struct object *body = ref != 0 ? object(r, ref) : NULL;

	if (body != NULL && --body->refs == 0)
		model_drop(r, body);
}

static void
model_put(struct run *r, const struct object *o)
{
	struct object *at = object(r, o->id), *body;
	uint64_t before = 0;

	if (at == NULL) {
		assert_true(r->n < OBJECTS);
		at = &r->v[r->n++];
	} else {
		before = at->ref;
		r->sum -= worth(at);
	}
	*at = *o;
	r->sum += worth(at);
	if (o->ref == before)
		return;
	if (o->ref != 0 && (body = object(r, o->ref)) != NULL)
		body->refs++;
	model_unref(r, before);
}

static void
model_del(struct run *r, struct object *o)
{
	uint64_t ref = o->ref;

	model_drop(r, o);
	model_unref(r, ref);
}

/* ---- a run ---- */

static void
on_event(void *ctx, const struct store_event *e)
{
	struct run *r = ctx;

	switch (e->kind) {
	case STORE_EVENT_STATE:
		r->states++;
		r->state = e->state;
		break;
	case STORE_EVENT_TAIL:
		r->tails++;
		break;
	case STORE_EVENT_DAMAGE:
		r->damage++;
		r->lost += e->frames + e->records;
		break;
	case STORE_EVENT_NO_BODY:
		r->no_body++;
		break;
	case STORE_EVENT_NO_CLEAN:
		r->no_clean++;
		break;
	case STORE_EVENT_UNREADABLE:
		r->unreadable++;
		break;
	}
}

static struct store *
open_run(struct run *r, struct err *err)
{
	struct store_options o = { .dir = "d", .n_writers = WRITERS, .segment_bytes = STORE_SEGMENT_MIN, .key = r->key,
		.min_log_bytes = 2 * STORE_SEGMENT_MIN, .fs = sim_fs(r->sim), .ctx = r, .event = on_event };

	return store_open(&o, err);
}

static bool
on_load(void *ctx, const struct store_record *rec)
{
	static uint8_t want[CONTENT_MAX];
	struct run *r = ctx;
	struct object o = { .id = rec->id, .ref = rec->ref, .kind = rec->kind, .n = (uint32_t)rec->bytes.n };

	if (rec->bytes.n < 12 || rec->bytes.n > CONTENT_MAX) {
		r->foreign = true;
		return true;
	}
	memcpy(&o.version, rec->bytes.p + 8, 4);
	if (!slice_eq(rec->bytes, content(want, o.id, o.version, o.n)))
		r->foreign = true;
	r->version = NUM_MAX(r->version, o.version + 1);
	/* Bodies come before what refers to them. */
	if (o.ref != 0 && object(r, o.ref) == NULL)
		r->foreign = true;
	model_put(r, &o);
	return true;
}

/* Begin again with what the disk has. */
static void
resume(struct run *r, struct sim *sim, struct slice key, uint64_t random)
{
	struct err err = { 0 };

	memset(r, 0, sizeof *r);
	r->sim = sim;
	r->key = key;
	r->random = random;
	if ((r->store = open_run(r, &err)) == NULL)
		fail_msg("%s", err.text);
	assert_true(store_load(r->store, on_load, r, &err));
	assert_false(r->foreign);
	r->sums[0] = r->sum;
}

static struct run *
run_new(struct slice key, uint64_t seed)
{
	struct run *r = test_malloc(sizeof *r);

	resume(r, sim_new(), key, seed * 0x9e3779b97f4a7c15u + 1);
	return r;
}

static void
run_free(struct run *r)
{
	(void)store_close(r->store);
	sim_free(r->sim);
	test_free(r);
}

static void
put(struct run *r, struct store_writer *w, uint8_t kind, uint64_t id, uint64_t ref)
{
	static uint8_t buf[CONTENT_MAX];
	struct object o = { .id = id, .ref = ref, .kind = kind, .version = r->version++ };
	struct slice c;

	o.n = 12 + below(r, below(r, 40) == 0 ? CONTENT_MAX - 12 : below(r, 4) == 0 ? 900 : 60);
	c = content(buf, id, o.version, o.n);
	assert_true(store_put(w, &(struct store_record){ .kind = kind, .id = id, .ref = ref, .head = slice_of(c.p, 5),
	    .bytes = slice_from(c, 5) }));
	model_put(r, &o);
}

static void
one_operation(struct run *r, struct store_writer *w)
{
	struct object *o = r->n > 0 ? &r->v[below(r, r->n)] : NULL;
	uint64_t body;

	switch (below(r, r->n > 120 ? 9 : 6)) {
	case 0:
		put(r, w, below(r, 2) ? STORE_SESSION : STORE_RETAINED, store_id(w), 0);
		return;
	case 1:
	case 2:
		body = store_id(w);
		put(r, w, STORE_BODY, body, 0);
		for (uint32_t n = 1 + below(r, 4); n > 0; n--)
			put(r, w, STORE_ENTRY, store_id(w), body);
		return;
	case 3:
	case 4:
		if (o != NULL && !(o->kind & STORE_COUNTED))
			put(r, w, o->kind, o->id, below(r, 2) ? o->ref : 0);
		return;
	default:
		if (o == NULL || o->kind & STORE_COUNTED)
			return;
		assert_true(store_del(w, o->kind, o->id));
		model_del(r, o);
	}
}

static void
note_acks(struct run *r)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		uint64_t seq = store_durable(store_writer(r->store, i));

		r->acked = NUM_MAX(r->acked, r->turn_of[i][seq]);
	}
	assert_true(r->n_marks < MARKS);
	r->marks[r->n_marks++] = (struct mark){ sim_events(r->sim), r->acked, r->turns };
}

static enum step
step(struct run *r)
{
	enum step s = store_step(r->store);

	note_acks(r);
	return s;
}

static void
turn(struct run *r)
{
	unsigned i = below(r, WRITERS);
	struct store_writer *w = store_writer(r->store, i);
	uint64_t seq = store_seq(w);

	for (uint32_t n = 1 + below(r, 6); n > 0; n--)
		one_operation(r, w);
	store_submit(w);
	if (store_seq(w) == seq)
		return;
	assert_true(r->turns + 1 < TURNS);
	r->turn_of[i][seq] = ++r->turns;
	r->sums[r->turns] = r->sum;
}

static void
work(struct run *r, unsigned turns)
{
	while (turns-- > 0) {
		turn(r);
		if (below(r, 3) != 0)
			while (step(r) == STEP_BUSY && below(r, 4) != 0)
				;
	}
}

static void
drain(struct run *r)
{
	for (unsigned i = 0; i < 200 && r->acked < r->turns; i++) {
		sim_sleep(r->sim, 5000000);
		(void)step(r);
	}
	assert_int_equal(r->acked, r->turns);
}

/* ---- power cuts ---- */

/* Does <disk>, left by a cut of <r> behind <events>, hold what was acknowledged, and nothing that no moment had? Takes <disk>. */
static bool
survives(const struct run *r, struct sim *disk, size_t events)
{
	struct run *after = test_malloc(sizeof *after);
	uint32_t acked = 0, submitted = r->turns;
	bool found = false;

	for (uint32_t i = 0; i < r->n_marks && r->marks[i].events <= events; i++)
		acked = r->marks[i].acked;
	for (uint32_t i = r->n_marks; i-- > 0 && r->marks[i].events >= events;)
		submitted = r->marks[i].submitted;
	resume(after, disk, r->key, 1);
	for (uint32_t t = acked; t <= submitted && !found; t++)
		found = r->sums[t] == after->sum;
	found = found && after->damage == 0 && after->no_body == 0;
	run_free(after);
	return found;
}

static void
cut_everywhere(struct slice key, uint64_t seed, unsigned turns)
{
	struct run *r = run_new(key, seed);
	struct store_stats st;

	work(r, turns);
	/* The run has everything in it: new segments, copies, files recycled. */
	store_stats(r->store, &st);
	assert_true(st.copied_bytes > 0 && r->store->files.segs[0].h.id > 4);
	for (size_t k = 0; k <= sim_events(r->sim); k++)
		for (unsigned how = 0; how < CUT_MODES; how++)
			if (!survives(r, sim_power_cut(r->sim, k, how, seed + k), k))
				fail_msg("seed %u: power cut behind event %zu of %zu, mode %u", (unsigned)seed, k,
				    sim_events(r->sim), how);
	run_free(r);
}

static void
test_power_cut(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		cut_everywhere(SL(""), seed, 150);
}

static void
test_power_cut_encrypted(void **state)
{
	(void)state;
	cut_everywhere(slice_of(KEY, sizeof KEY), 7, 80);
}

/* Cut, recover, go on, cut again; also within the first steps of a start. */
static void
test_power_cut_chain(void **state)
{
	struct run *r = run_new(SL(""), 11), *next;
	uint64_t random = 5, largest = 0;

	(void)state;
	for (unsigned round = 0; round < 150; round++) {
		size_t k;
		uint64_t id;

		work(r, round % 7 == 0 ? 1 : 10 + below(r, 40));
		id = store_id(store_writer(r->store, 0));
		assert_true(id > largest);
		largest = id - 1;
		k = sim_random(&random) % (sim_events(r->sim) + 1);
		if (round % 5 == 0)
			k = NUM_MIN(k, 6);
		if (!survives(r, sim_power_cut(r->sim, k, round % CUT_MODES, round), k))
			fail_msg("round %u: behind event %zu of %zu", round, k, sim_events(r->sim));
		next = test_malloc(sizeof *next);
		resume(next, sim_power_cut(r->sim, k, round % CUT_MODES, round), SL(""), r->random + round);
		run_free(r);
		r = next;
		largest = 0; /* what was not on the disk may be given again */
	}
	run_free(r);
}

/* The control: without flushes the same test must find losses. */
static void
test_control(void **state)
{
	struct run *r = run_new(SL(""), 1);
	unsigned lost = 0;

	(void)state;
	sim_lie(r->sim);
	work(r, 60);
	for (size_t k = sim_events(r->sim) / 2; k <= sim_events(r->sim); k++)
		lost += !survives(r, sim_power_cut(r->sim, k, CUT_ALL_LOST, k), k);
	assert_true(lost > 10);
	run_free(r);
}

/* ---- faults ---- */

/* Work through a fault at call <nth>, with power cuts meanwhile: nothing is acknowledged that is not there. */
static void
fault_at(uint64_t nth, enum sim_fault how, int error)
{
	struct run *r = run_new(SL(""), 3);
	uint64_t before = sim_calls(r->sim);

	work(r, 10);
	sim_fail(r->sim, how, nth, error);
	work(r, 40);
	for (unsigned how_cut = CUT_SECTORS; how_cut <= CUT_ALL_LOST; how_cut++) {
		struct sim *disk = sim_power_cut(r->sim, sim_events(r->sim), how_cut, nth);

		if (!survives(r, disk, sim_events(r->sim)))
			fail_msg("a power cut after fault %d at call %u", error, (unsigned)(nth + before));
	}
	sim_heal(r->sim);
	drain(r);
	assert_int_equal(store_state(r->store), STORE_READY);
	work(r, 10);
	drain(r);
	if (!survives(r, sim_power_cut(r->sim, sim_events(r->sim), CUT_ALL_LOST, nth), sim_events(r->sim)))
		fail_msg("after healing of fault %d at call %u", error, (unsigned)(nth + before));
	run_free(r);
}

static void
test_faults(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EROFS };

	(void)state;
	for (uint64_t nth = 1; nth < 120; nth++) {
		fault_at(nth, SIM_ONCE, errors[nth % 3]);
		fault_at(nth, SIM_FOR_NOW, errors[(nth + 1) % 3]);
	}
	for (uint64_t nth = 1; nth < 120; nth += 7)
		fault_at(nth, SIM_SHORT, 0);
}

/* A start that meets a fault says so or goes on; nothing is lost by it. */
static void
test_faults_at_start(void **state)
{
	struct run *r = run_new(SL(""), 4), *again;
	struct err err;
	unsigned refused = 0;

	(void)state;
	work(r, 120);
	drain(r);
	for (uint64_t nth = 1; nth < 400; nth++) {
		struct sim *disk = sim_power_cut(r->sim, sim_events(r->sim), CUT_ALL_LOST, nth);

		again = test_malloc(sizeof *again);
		memset(again, 0, sizeof *again);
		again->sim = disk;
		sim_fail(disk, nth % 2 ? SIM_ONCE : SIM_FOR_NOW, nth, EIO);
		again->store = open_run(again, &err);
		refused += again->store == NULL;
		(void)store_close(again->store);
		sim_heal(disk);
		/* Reading errors at one start are not the next one's. */
		resume(again, disk, SL(""), 1);
		assert_true(again->damage > 0 || again->sum == r->sum);
		run_free(again);
	}
	assert_true(refused > 5);
	run_free(r);
}

static void
test_disk_full(void **state)
{
	struct run *r = run_new(SL(""), 5);
	struct store_writer *w = store_writer(r->store, 0);
	unsigned turns = 0;

	(void)state;
	/* Room for the log and its reserve. */
	sim_capacity(r->sim, 14 * STORE_SEGMENT_MIN);
	while (store_state(r->store) == STORE_READY && turns++ < 3000) {
		put(r, w, STORE_RETAINED, store_id(w), 0);
		store_submit(w);
		r->turn_of[0][store_seq(w) - 1] = ++r->turns;
		r->sums[r->turns] = r->sum;
		(void)step(r);
	}
	assert_int_equal(store_state(r->store), STORE_FULL);
	/* What deletes goes on from the reserve, and makes room. */
	while (r->n > 20) {
		assert_true(store_del(w, STORE_RETAINED, r->v[0].id));
		model_del(r, &r->v[0]);
		store_submit(w);
		r->turn_of[0][store_seq(w) - 1] = ++r->turns;
		r->sums[r->turns] = r->sum;
		sim_sleep(r->sim, 300000);
		while (step(r) == STEP_BUSY)
			;
	}
	drain(r);
	for (unsigned i = 0; i < 50; i++) {
		sim_sleep(r->sim, 2000000);
		(void)step(r);
	}
	assert_int_equal(store_state(r->store), STORE_READY);
	assert_true(survives(r, sim_power_cut(r->sim, sim_events(r->sim), CUT_ALL_LOST, 1), sim_events(r->sim)));
	run_free(r);
}

/* Starting on a full disk works: what is there is served, deletes are taken. */
static void
test_start_when_full(void **state)
{
	struct run *r = run_new(SL(""), 6), *full = test_malloc(sizeof *full);
	struct sim *disk;

	(void)state;
	work(r, 100);
	drain(r);
	disk = sim_power_cut(r->sim, sim_events(r->sim), CUT_ALL_LOST, 1);
	sim_capacity(disk, 1);
	resume(full, disk, SL(""), 9);
	assert_true(full->sum == r->sum);
	work(full, 5);
	sim_capacity(disk, 0);
	drain(full);
	for (unsigned i = 0; i < 10; i++) {
		sim_sleep(disk, 2000000);
		(void)step(full);
	}
	assert_int_equal(store_state(full->store), STORE_READY);
	run_free(full);
	run_free(r);
}

/* ---- damage ---- */

static struct run *
closed_run(struct slice key, unsigned turns)
{
	struct run *r = run_new(key, 21);

	work(r, turns);
	drain(r);
	assert_true(store_close(r->store));
	r->store = NULL;
	return r;
}

/* Open what was damaged: whole, or missed aloud; never a wrong byte. */
static unsigned
damaged(const struct run *r, struct sim *disk)
{
	struct run *after = test_malloc(sizeof *after);
	unsigned told;

	resume(after, disk, r->key, 1);
	told = after->damage + after->no_body;
	if (after->sum != r->sum && told == 0)
		fail_msg("something is missing and nobody said so");
	/* It goes on, and the next start knows the same. */
	work(after, 3);
	drain(after);
	run_free(after);
	return told;
}

static void
flips(struct slice key, unsigned n)
{
	struct run *r = closed_run(key, 200);
	uint64_t random = 99;
	unsigned told = 0;

	for (unsigned i = 0; i < n; i++) {
		struct sim *disk = sim_copy(r->sim);
		struct sim_file f = sim_at(disk, (unsigned)(sim_random(&random) % sim_count(disk)));
		size_t at = (size_t)(sim_random(&random) % f.n);

		if (i % 4 == 3)
			memset(f.bytes + at / 512 * 512, 0, NUM_MIN((size_t)512, f.n - at / 512 * 512));
		else
			f.bytes[at] ^= (uint8_t)(1u << i % 8);
		told += damaged(r, disk) > 0;
	}
	assert_true(told > n / 10);
	run_free(r);
}

static void
test_bit_flips(void **state)
{
	(void)state;
	flips(SL(""), 600);
	flips(slice_of(KEY, sizeof KEY), 200);
}

/* Who wants it so is refused instead, and told how to go on. */
static void
test_damage_refused(void **state)
{
	struct run *r = closed_run(SL(""), 60), *after = test_malloc(sizeof *after);
	struct sim *disk = sim_copy(r->sim);
	struct store_options o = { .dir = "d", .n_writers = 1, .refuse_damage = true, .fs = sim_fs(disk), .ctx = after, .event = on_event };
	struct sim_file first = { 0 };
	struct err err;

	(void)state;
	memset(after, 0, sizeof *after);
	for (unsigned i = 0; i < sim_count(disk); i++)
		if (strstr(sim_at(disk, i).path, ".seg") != NULL && (first.path == NULL || strcmp(sim_at(disk, i).path, first.path) < 0))
			first = sim_at(disk, i);
	first.bytes[FILE_HEADER + 40] ^= 1;
	assert_null(store_open(&o, &err));
	assert_int_equal(err.code, ERR_INPUT);
	assert_int_equal(after->damage, 1);
	o.refuse_damage = false;
	assert_non_null(after->store = store_open(&o, &err));
	assert_true(store_close(after->store));
	sim_free(disk);
	test_free(after);
	run_free(r);
}

static void
test_files_missing(void **state)
{
	struct run *r = closed_run(SL(""), 200);
	unsigned n = sim_count(r->sim), told = 0;
	const char *last = "";

	(void)state;
	for (unsigned i = 0; i < n; i++)
		if (strstr(sim_at(r->sim, i).path, ".seg") != NULL && strcmp(sim_at(r->sim, i).path, last) > 0)
			last = sim_at(r->sim, i).path;
	for (unsigned i = 0; i < n; i++) {
		struct sim *cut = sim_copy(r->sim), *gone = sim_copy(r->sim);
		struct sim_file f = sim_at(cut, i);

		if (strstr(f.path, ".seg") == NULL) {
			sim_free(cut);
			sim_free(gone);
			continue;
		}
		sim_cut_file(cut, i, f.n / 3);
		told += damaged(r, cut) > 0;
		if (strcmp(sim_at(r->sim, i).path, last) != 0) {
			sim_remove(gone, i);
			told += damaged(r, gone) > 0;
		} else
			sim_free(gone); /* nobody knows that the last one was there */
	}
	assert_true(told > 4);
	run_free(r);
}

/* ---- cleaning ---- */

static void
test_space_is_reclaimed(void **state)
{
	struct run *r = run_new(SL(""), 31);
	struct store_stats st;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		work(r, 120);
		drain(r);
		for (unsigned k = 0; k < 40 && step(r) != STEP_IDLE; k++)
			sim_sleep(r->sim, 10000);
		store_stats(r->store, &st);
		assert_true(st.log_bytes <= NUM_MAX(2u * STORE_SEGMENT_MIN, 2 * st.live_bytes) + 2u * STORE_SEGMENT_MIN);
		assert_int_equal(st.live_records, r->n);
		r->n_marks = 0;
	}
	assert_true(st.copied_bytes > 0);
	assert_int_equal(r->no_clean, 0);
	assert_true(survives(r, sim_copy(r->sim), sim_events(r->sim)));
	run_free(r);
}

/* A segment that cannot be read for a while: it is said once, all else goes on, and its space comes back later. */
static void
test_a_segment_cannot_be_read(void **state)
{
	struct run *r = run_new(SL(""), 33);
	struct store_stats st;
	uint64_t log;

	(void)state;
	work(r, 200);
	drain(r);
	sim_fail(r->sim, SIM_READS, 1, EIO);
	for (unsigned i = 0; i < 6; i++) {
		work(r, 100);
		drain(r);
		r->n_marks = 0;
	}
	assert_int_equal(r->unreadable, 1);
	assert_int_equal(r->no_clean, 0);
	assert_int_equal(r->states, 0);
	store_stats(r->store, &st);
	assert_true(st.state == STORE_READY && st.failures > 0);
	log = st.log_bytes;
	assert_true(survives(r, sim_copy(r->sim), sim_events(r->sim)));
	sim_heal(r->sim);
	sim_sleep(r->sim, RETRY_READ_MS * UINT64_C(1000));
	for (unsigned k = 0; k < 400 && step(r) != STEP_IDLE; k++)
		r->n_marks = 0;
	store_stats(r->store, &st);
	assert_true(st.log_bytes < log);
	assert_true(survives(r, sim_copy(r->sim), sim_events(r->sim)));
	run_free(r);
}

/* ---- backup ---- */

static void
test_backup(void **state)
{
	struct run *r = run_new(SL(""), 41), *b = test_malloc(sizeof *b);
	struct sim *disk;
	struct err err = { 0 };
	uint64_t sum;

	(void)state;
	work(r, 150);
	sum = r->sum;
	if (!store_backup(r->store, "backup", &err))
		fail_msg("%s", err.text);
	assert_false(store_backup(r->store, "backup", &err));
	/* The store goes on, reclaims, recycles: the backup stays what it was. */
	work(r, 600);
	drain(r);
	disk = sim_copy(r->sim);
	memset(b, 0, sizeof *b);
	b->sim = disk;
	struct store_options o = { .dir = "backup", .fs = sim_fs(disk), .ctx = b, .event = on_event };
	assert_true(store_dump(&o, on_load, b, &err));
	assert_false(b->foreign);
	assert_int_equal(b->damage, 0);
	assert_true(b->sum == sum);
	sim_free(disk);
	test_free(b);
	run_free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_cut),
		cmocka_unit_test(test_power_cut_encrypted),
		cmocka_unit_test(test_power_cut_chain),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_faults_at_start),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_start_when_full),
		cmocka_unit_test(test_bit_flips),
		cmocka_unit_test(test_damage_refused),
		cmocka_unit_test(test_files_missing),
		cmocka_unit_test(test_space_is_reclaimed),
		cmocka_unit_test(test_a_segment_cannot_be_read),
		cmocka_unit_test(test_backup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
