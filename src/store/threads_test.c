/* Four workers and the store's thread at once, for TSan: each publishes to the next, whose records its own turns wait for,
 * while space is reclaimed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sched.h>
#include <semaphore.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/num.h"
#include "store/internal.h"

enum { WORKERS = 4, TURNS = 400, CHURN = 20 };

struct letter {
	struct inbox_node node; /* first */
	struct store_part *part;
};
struct worker {
	struct world *world;
	unsigned index;
	struct inbox inbox;
	sem_t wake;
	uint64_t joined;
	uint64_t passing[CHURN]; /* put in one turn, deleted in the next: garbage among what stays */
};
struct world {
	struct store *store;
	struct worker workers[WORKERS];
	_Atomic uint64_t put;
	_Atomic unsigned finished;
};

static void
on_wake(void *ctx, unsigned writer)
{
	(void)sem_post(&((struct world *)ctx)->workers[writer].wake);
}

static void
put(struct worker *w, uint8_t kind)
{
	struct store_writer *sw = store_writer(w->world->store, w->index);
	uint8_t value[100] = { 0 };

	if (store_put(sw, &(struct store_record){ .kind = kind, .id = store_id(sw), .bytes = slice_of(value, sizeof value) }))
		atomic_fetch_add(&w->world->put, 1);
}

static void
churn(struct worker *w)
{
	struct store_writer *sw = store_writer(w->world->store, w->index);
	uint8_t value[300] = { 0 };

	for (unsigned i = 0; i < CHURN; i++) {
		if (w->passing[i] != 0)
			(void)store_del(sw, STORE_WILL, w->passing[i]);
		w->passing[i] = store_id(sw);
		(void)store_put(sw, &(struct store_record){ .kind = STORE_WILL, .id = w->passing[i],
		    .bytes = slice_of(value, sizeof value) });
	}
}

static void
take_letters(struct worker *w)
{
	struct store_writer *sw = store_writer(w->world->store, w->index);

	for (struct inbox_node *n = inbox_take(&w->inbox), *next; n != NULL; n = next) {
		struct letter *l = (struct letter *)(void *)n;

		next = n->next;
		put(w, STORE_ENTRY);
		store_join(sw, l->part);
		free(l);
		w->joined++;
	}
}

static void
send(struct worker *w)
{
	struct worker *to = &w->world->workers[(w->index + 1) % WORKERS];
	struct letter *l = malloc(sizeof *l);

	if (l == NULL || (l->part = store_claim(store_writer(w->world->store, w->index))) == NULL)
		abort();
	if (inbox_push(&to->inbox, &l->node))
		(void)sem_post(&to->wake);
}

static void *
run(void *arg)
{
	struct worker *w = arg;
	struct store_writer *sw = store_writer(w->world->store, w->index);
	unsigned sent = 0;
	bool counted = false;

	while (atomic_load(&w->world->finished) < WORKERS) {
		uint64_t turn;

		take_letters(w);
		if (sent < TURNS) {
			put(w, STORE_RETAINED);
			churn(w);
			send(w);
			sent++;
		}
		turn = store_seq(sw);
		store_submit(sw);
		if (sent == TURNS && !counted && store_durable(sw) == turn - (turn > 1) && w->joined == TURNS) {
			counted = true;
			if (atomic_fetch_add(&w->world->finished, 1) + 1 == WORKERS)
				for (unsigned i = 0; i < WORKERS; i++)
					on_wake(w->world, i);
		}
		/* A few turns on their way, then wait. */
		if ((sent == TURNS || store_seq(sw) - store_durable(sw) > 8) && atomic_load(&w->world->finished) < WORKERS)
			(void)sem_wait(&w->wake);
	}
	return NULL;
}

static bool
count(void *ctx, const struct store_record *r)
{
	*(uint64_t *)ctx += r->bytes.n == 100;
	return true;
}

static void
clear(const char *dir)
{
	struct files f = { .fs = store_fs_posix() };
	char name[NAME_BYTES], path[PATH_BYTES];

	assert_true(files_list(&f, dir, NULL));
	for (uint32_t k = 0; k < f.n; k++)
		(void)unlink(file_path(&f, seg_name(f.segs[k].h.id, name), path));
	for (unsigned k = 0; k < f.n_spares; k++)
		(void)unlink(file_path(&f, spare_name(f.spares[k], name), path));
	free(f.segs);
	(void)unlink(file_path(&f, "LOCK", path));
	assert_int_equal(rmdir(dir), 0);
}

static void
test_threads(void **state)
{
	char dir[] = "/tmp/store-threads-XXXXXX";
	struct world *world = calloc(1, sizeof *world);
	struct store_options o = { .dir = dir, .n_writers = WORKERS, .segment_bytes = STORE_SEGMENT_MIN, .wake = on_wake, .ctx = world };
	pthread_t threads[WORKERS];
	struct store_stats st;
	uint64_t n = 0;
	struct err err = { 0 };

	(void)state;
	assert_non_null(world);
	assert_non_null(mkdtemp(dir));
	assert_non_null(world->store = store_open(&o, &err));
	assert_true(store_start(world->store, &err));
	for (unsigned i = 0; i < WORKERS; i++) {
		world->workers[i] = (struct worker){ .world = world, .index = i };
		(void)sem_init(&world->workers[i].wake, 0, 0);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, &world->workers[i]), 0);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	/* The store's thread may still have the last turns and all the cleaning before it. */
	for (unsigned ms = 0; ms < 60000; ms++) {
		store_stats(world->store, &st);
		if (st.copied_bytes > 0 && st.backlog_bytes == 0)
			break;
		(void)usleep(1000);
	}
	assert_true(st.copied_bytes > 0 && st.state == STORE_READY && st.backlog_bytes == 0);
	assert_true(store_close(world->store));
	assert_true(store_dump(&o, count, &n, &err));
	assert_int_equal(n, atomic_load(&world->put));
	assert_int_equal(n, 2 * WORKERS * TURNS);
	clear(dir);
	free(world);
}

static bool
count_some(void *ctx, const struct store_record *r)
{
	(void)r;
	return ++*(uint64_t *)ctx < 10;
}

/* What is large enough is read ahead by a thread: all of it, what is left of it, and no more than is wanted. */
static void
test_ahead(void **state)
{
	enum { RECORDS = 60000 };
	char dir[] = "/tmp/store-threads-XXXXXX", name[NAME_BYTES], path[PATH_BYTES];
	struct files files = { .fs = store_fs_posix() };
	struct store_options o = { .dir = dir, .n_writers = 1, .segment_bytes = 256 * 1024 };
	struct store *s;
	struct store_writer *w;
	struct store_report rep;
	uint8_t value[100] = { 0 };
	uint64_t n = 0;
	struct err err = { 0 };
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_non_null(s = store_open(&o, &err));
	assert_true(store_start(s, &err));
	w = store_writer(s, 0);
	for (unsigned i = 0; i < RECORDS; i++) {
		assert_true(store_put(w, &(struct store_record){ .kind = i % 2 == 0 ? STORE_SESSION : STORE_ENTRY, .id = store_id(w),
		    .bytes = slice_of(value, sizeof value) }));
		if (i % 1000 == 0)
			store_submit(w);
	}
	store_submit(w);
	assert_true(store_close(s));
	assert_true(store_dump(&o, count, &n, &err));
	assert_int_equal(n, RECORDS);
	n = 0;
	assert_false(store_dump(&o, count_some, &n, &err));
	assert_int_equal(n, 10);
	assert_true(files_list(&files, dir, &err) && files.n > 8);
	assert_non_null(f = fopen(file_path(&files, seg_name(files.segs[4].h.id, name), path), "r+e"));
	free(files.segs);
	assert_int_equal(fseek(f, FILE_HEADER + FRAME_HEADER + 1000, SEEK_SET), 0);
	assert_int_equal(fputc('x', f), 'x');
	assert_int_equal(fclose(f), 0);
	assert_true(store_check(&o, &rep, &err));
	assert_int_equal(rep.damaged, 1);
	assert_int_equal(rep.lost_records, 1);
	n = 0;
	assert_true(store_dump(&o, count, &n, &err));
	assert_int_equal(n, RECORDS - 1);
	clear(dir);
}

struct counted_reads {
	_Atomic size_t read, most; /* bytes of frames; most that were read and not yet handed over */
	_Atomic size_t handed;
};

static ssize_t
counted_read(void *ctx, int fd, void *p, size_t n, uint64_t at)
{
	const struct store_fs *real = store_fs_posix();
	struct counted_reads *c = ctx;
	ssize_t got = real->read(real->ctx, fd, p, n, at);
	size_t there;

	if (got > FRAME_ALIGN) {
		there = atomic_fetch_add(&c->read, (size_t)got) + (size_t)got - atomic_load(&c->handed);
		atomic_store(&c->most, NUM_MAX(there, atomic_load(&c->most)));
	}
	return got;
}

/* Turns may be large: no more of them than one wait in memory beside what is always allowed. */
static void
test_ahead_of_large_turns(void **state)
{
	enum { TURN = 10 * 1024 * 1024, LARGE = 5 };
	char dir[] = "/tmp/store-threads-XXXXXX";
	struct counted_reads count = { 0 };
	struct store_fs fs = *store_fs_posix();
	struct store_options o = { .dir = dir, .n_writers = 1 };
	struct files files = { .fs = &fs };
	uint8_t *value = calloc(1, TURN);
	struct store_event e;
	struct reader r;
	struct err err = { 0 };
	struct ahead *a;
	struct store *s;
	unsigned n = 0;

	(void)state;
	assert_non_null(value);
	assert_non_null(mkdtemp(dir));
	assert_non_null(s = store_open(&o, &err));
	assert_true(store_start(s, &err));
	for (unsigned i = 0; i < LARGE; i++) {
		struct store_writer *w = store_writer(s, 0);

		assert_true(store_put(w, &(struct store_record){ .kind = STORE_ENTRY, .id = store_id(w), .bytes = slice_of(value, TURN) }));
		store_submit(w);
	}
	assert_true(store_close(s));
	free(value);
	fs.ctx = &count;
	fs.read = counted_read;
	assert_true(files_open(&files, dir, true, &err));
	assert_true(files.log_bytes > LARGE * (uint64_t)TURN);
	atomic_store(&count.read, 0);
	assert_non_null(a = ahead_open(&files, 0, false, NULL));
	for (uint32_t i = 0; i < files.n; i++) {
		assert_true(ahead_segment(a, i, &r, &err));
		while (ahead_next(a, &r, &e, &err) == READ_FRAME) {
			n += r.frame.n >= TURN;
			/* Whoever reads has time to get ahead, if he would. */
			for (unsigned k = 0; n == 1 && k < 20000 && atomic_load(&count.read) < 3 * (size_t)TURN; k++)
				(void)sched_yield();
			atomic_fetch_add(&count.handed, r.frame.n);
		}
	}
	ahead_close(a);
	files_close(&files);
	assert_int_equal(n, LARGE);
	assert_in_range(atomic_load(&count.most), TURN, FRAME_KEEP + FRAME_TARGET + TURN);
	clear(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_ahead),
		cmocka_unit_test(test_ahead_of_large_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
