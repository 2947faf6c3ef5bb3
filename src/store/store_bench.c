/* What the store costs: `store_bench DIR [COUNT]`, with COUNT in thousands of messages. DIR is made and filled. Not a test. */
#include <fcntl.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/num.h"
#include "base/text.h"
#include "store/store.h"

enum { PAYLOAD = 256, AGE = 20000, SAMPLES = 2000, FAN = 1000, WINDOW_MAX = 4096 };

struct bench {
	struct store *store;
	struct store_writer *w;
	sem_t wake;
	char dir[256];
	uint64_t count;
	uint64_t loaded, loaded_bytes;
};

static double
now(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
on_wake(void *ctx, unsigned writer)
{
	(void)writer;
	(void)sem_post(&((struct bench *)ctx)->wake);
}

static void
on_event(void *ctx, const struct store_event *e)
{
	(void)ctx;
	printf("  event: %s %" PRIu64 ": %s\n", e->file, e->offset, e->text);
}

static bool
open_store(struct bench *b, const char *name)
{
	char path[300];
	struct err err;
	struct store_options o = { .dir = path, .n_writers = 1, .ctx = b, .wake = on_wake, .event = on_event };

	(void)snprintf(path, sizeof path, "%s/%s", b->dir, name);
	if ((b->store = store_open(&o, &err)) == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return false;
	}
	b->w = store_writer(b->store, 0);
	return true;
}

static void
wait_for(struct bench *b, uint64_t seq)
{
	while (store_durable(b->w) < seq)
		(void)sem_wait(&b->wake);
}

static int
by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
print_latency(const char *what, double *v, size_t n)
{
	qsort(v, n, sizeof *v, by_value);
	printf("%-44s p50 %7.1f us, p99 %7.1f us\n", what, v[n / 2] * 1e6, v[n * 99 / 100] * 1e6);
}

/* The disk alone: one write of 512 bytes, flushed. */
static bool
bench_disk(struct bench *b)
{
	static uint8_t block[4096];
	static double v[SAMPLES];
	char path[300];
	int fd;

	(void)snprintf(path, sizeof path, "%s/disk", b->dir);
	if ((fd = open(path, O_RDWR | O_CREAT | O_DSYNC | O_CLOEXEC, 0600)) == -1)
		return false;
	for (unsigned i = 0; i < 256; i++)
		if (pwrite(fd, block, sizeof block, (off_t)i * 4096) != sizeof block)
			return false;
	for (unsigned i = 0; i < SAMPLES; i++) {
		double t = now(CLOCK_MONOTONIC);

		if (pwrite(fd, block, 512, (off_t)(i % 2048) * 512) != 512)
			return false;
		v[i] = now(CLOCK_MONOTONIC) - t;
	}
	(void)close(fd);
	(void)unlink(path);
	print_latency("disk: write of 512 bytes, flushed", v, SAMPLES);
	return true;
}

static void
put_body(struct bench *b, uint64_t id)
{
	static uint8_t payload[PAYLOAD];

	memcpy(payload, &id, sizeof id);
	(void)store_put(b->w, &(struct store_record){ .kind = STORE_BODY, .id = id, .head = SL("device/000000/tt"),
	    .bytes = slice_of(payload, sizeof payload) });
}

static void
put_entry(struct bench *b, uint64_t id, uint64_t body, uint64_t session)
{
	uint8_t e[16] = { 0 };

	memcpy(e, &session, sizeof session);
	(void)store_put(b->w, &(struct store_record){ .kind = STORE_ENTRY, .id = id, .ref = body, .bytes = slice_of(e, sizeof e) });
}

/* <window> publishers with one message each on its way; each message is a body, one entry, and a delete later. */
static void
bench_messages(struct bench *b, unsigned window)
{
	static double begun[WINDOW_MAX], v[SAMPLES];
	struct rusage before, after;
	uint64_t n = NUM_MIN(b->count, (uint64_t)window * 20000), put = 0, seq[WINDOW_MAX], done = 0;
	uint64_t *entries = calloc(AGE, sizeof *entries);
	size_t samples = 0;
	double t, cpu;

	if (entries == NULL)
		return;
	(void)getrusage(RUSAGE_SELF, &before);
	t = now(CLOCK_MONOTONIC);
	while (done < n) {
		uint64_t turn = store_seq(b->w), durable;
		bool any = false;
		double at = now(CLOCK_MONOTONIC);

		for (; put < n && put - done < window; put++, any = true) {
			uint64_t body = store_id(b->w), *old = &entries[put % AGE];

			put_body(b, body);
			if (*old != 0)
				(void)store_del(b->w, STORE_ENTRY, *old);
			*old = store_id(b->w);
			put_entry(b, *old, body, 1);
			seq[put % window] = turn;
			begun[put % window] = at;
		}
		if (any)
			store_submit(b->w);
		if ((durable = store_durable(b->w)) < seq[done % window])
			(void)sem_wait(&b->wake);
		durable = store_durable(b->w);
		at = now(CLOCK_MONOTONIC);
		for (; done < put && seq[done % window] <= durable; done++)
			if (done % (n / SAMPLES + 1) == 0)
				v[samples++] = at - begun[done % window];
	}
	t = now(CLOCK_MONOTONIC) - t;
	(void)getrusage(RUSAGE_SELF, &after);
	cpu = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) +
	    (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1e6;
	printf("%4u publishers: %9.0f msg/s, %5.2f us CPU a message\n", window, (double)n / t, cpu / (double)n * 1e6);
	print_latency("", v, samples);
	for (unsigned i = 0; i < AGE; i++)
		if (entries[i] != 0)
			(void)store_del(b->w, STORE_ENTRY, entries[i]);
	store_submit(b->w);
	wait_for(b, store_seq(b->w) - 1);
	free(entries);
}

static void
bench_fan_out(struct bench *b)
{
	static double v[SAMPLES / 4];
	static uint64_t entries[FAN];

	for (unsigned i = 0; i < SAMPLES / 4; i++) {
		uint64_t body = store_id(b->w);
		double t = now(CLOCK_MONOTONIC);

		put_body(b, body);
		for (unsigned k = 0; k < FAN; k++)
			put_entry(b, entries[k] = store_id(b->w), body, k);
		store_submit(b->w);
		wait_for(b, store_seq(b->w) - 1);
		v[i] = now(CLOCK_MONOTONIC) - t;
		for (unsigned k = 0; k < FAN; k++)
			(void)store_del(b->w, STORE_ENTRY, entries[k]);
		store_submit(b->w);
		wait_for(b, store_seq(b->w) - 1);
	}
	print_latency("one message to 1000 sessions, durable", v, SAMPLES / 4);
}

static bool
on_load(void *ctx, const struct store_record *r)
{
	struct bench *b = ctx;

	b->loaded++;
	b->loaded_bytes += r->bytes.n;
	return true;
}

static void
print_memory(const char *what)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long size, resident = 0;

	if (f != NULL && fscanf(f, "%lu %lu", &size, &resident) == 2)
		printf("%s: %lu MiB resident\n", what, resident * (unsigned long)sysconf(_SC_PAGESIZE) >> 20);
	if (f != NULL)
		(void)fclose(f);
}

/* A million retained messages, and ten waiting for each of 100,000 sessions. */
static bool
bench_restart(struct bench *b)
{
	static uint8_t value[120];
	double t = now(CLOCK_MONOTONIC), loaded;
	struct store_stats st;
	struct err err;

	for (uint64_t i = 0; i < 1000000; i++) {
		uint64_t body = store_id(b->w);

		(void)store_put(b->w, &(struct store_record){ .kind = STORE_RETAINED, .id = store_id(b->w),
		    .bytes = slice_of(value, sizeof value) });
		put_body(b, body);
		put_entry(b, store_id(b->w), body, i / 10);
		if (i % 10 == 0)
			(void)store_put(b->w, &(struct store_record){ .kind = STORE_SESSION, .id = store_id(b->w),
			    .bytes = slice_of(value, 60) });
		if (i % 100 == 99)
			store_submit(b->w);
		if (i % 10000 == 9999)
			wait_for(b, store_seq(b->w) - 1);
	}
	store_stats(b->store, &st);
	printf("1M retained, 100k sessions x 10 messages: written in %.2f s, %" PRIu64 " MiB log\n", now(CLOCK_MONOTONIC) - t,
	    st.log_bytes >> 20);
	if (!store_close(b->store))
		return false;
	t = now(CLOCK_MONOTONIC);
	if (!open_store(b, "store"))
		return false;
	loaded = now(CLOCK_MONOTONIC);
	if (!store_load(b->store, on_load, b, &err))
		return false;
	printf("restart: opened in %.2f s, %" PRIu64 " records given in %.2f s\n", loaded - t, b->loaded, now(CLOCK_MONOTONIC) - loaded);
	print_memory("then");
	return true;
}

int
main(int argc, char **argv)
{
	static const unsigned windows[] = { 1, 10, 100, 1000 };
	struct bench b = { .count = 1000000 };
	uint64_t thousands;
	struct err err;
	struct store_stats st;

	if (argc < 2 || !text_copy(b.dir, sizeof b.dir, slice_str(argv[1])))
		return 2;
	if (argc > 2 && text_u64(slice_str(argv[2]), 1, 1000000, &thousands))
		b.count = thousands * 1000;
	(void)sem_init(&b.wake, 0, 0);
	if (!bench_disk(&b) || !open_store(&b, "store") || !store_start(b.store, &err))
		return 1;
	for (unsigned i = 0; i < ARRAY_LEN(windows); i++)
		bench_messages(&b, windows[i]);
	bench_fan_out(&b);
	store_stats(b.store, &st);
	printf("log %" PRIu64 " MiB, live %" PRIu64 " KiB, copied %" PRIu64 " KiB, %" PRIu64 " frames\n", st.log_bytes >> 20,
	    st.live_bytes >> 10, st.copied_bytes >> 10, st.frames);
	if (!bench_restart(&b) || !store_start(b.store, &err))
		return 1;
	printf("the same with 3.1 million records alive, which are moved meanwhile:\n");
	bench_messages(&b, 100);
	store_stats(b.store, &st);
	printf("log %" PRIu64 " MiB, live %" PRIu64 " MiB, copied %" PRIu64 " MiB\n", st.log_bytes >> 20, st.live_bytes >> 20,
	    st.copied_bytes >> 20);
	return store_close(b.store) ? 0 : 1;
}
