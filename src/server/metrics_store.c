/* What Prometheus may know of the durable store. */
#include "server/internal.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/num.h"

static const char *const states[] = { "off", "ready", "full", "failed" };

const char *
metrics_store_state(const struct store *s)
{
	if (s == NULL)
		return states[0];
	switch (store_state(s)) {
	case STORE_FULL:
		return states[2];
	case STORE_FAILED:
		return states[3];
	case STORE_READY:
		break;
	}
	return states[1];
}

#define AT(field) offsetof(struct store_stats, field)

static const struct {
	const char *name, *help, *type;
	size_t at;
} numbers[] = {
	{ "signet_store_backlog_bytes", "Bytes handed to the store that are not on the disk yet.", "gauge", AT(backlog_bytes) },
	{ "signet_store_live_records", "Records that are kept.", "gauge", AT(live_records) },
	{ "signet_store_live_bytes", "Bytes of the records that are kept.", "gauge", AT(live_bytes) },
	{ "signet_store_log_bytes", "Bytes of the files in use.", "gauge", AT(log_bytes) },
	{ "signet_store_segments", "Files in use.", "gauge", AT(segments) },
	{ "signet_store_spare_segments", "Files written ahead.", "gauge", AT(spares) },
	{ "signet_store_records_total", "Records that became durable.", "counter", AT(records) },
	{ "signet_store_written_bytes_total", "Bytes that were written.", "counter", AT(bytes) },
	{ "signet_store_copied_bytes_total", "Bytes copied to reclaim space.", "counter", AT(copied_bytes) },
	{ "signet_store_failures_total", "Writes and flushes that failed.", "counter", AT(failures) },
};

static void
put_flushes(FILE *f, const struct store *s, uint64_t sum_us)
{
	uint64_t counts[STORE_FLUSH_BUCKETS] = { 0 }, n = 0;

	if (s != NULL)
		store_flushes(s, counts);
	(void)fputs("# HELP signet_store_flush_seconds Writes of frames by how long they took until they were durable.\n"
		    "# TYPE signet_store_flush_seconds histogram\n", f);
	for (unsigned i = 0; i < STORE_FLUSH_BUCKETS; i++) {
		n += counts[i];
		if (i < STORE_FLUSH_BUCKETS - 1)
			(void)fprintf(f, "signet_store_flush_seconds_bucket{le=\"%g\"} %" PRIu64 "\n", store_flush_le_us[i] / 1e6, n);
	}
	(void)fprintf(f, "signet_store_flush_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", n);
	(void)fprintf(f, "signet_store_flush_seconds_sum %" PRIu64 ".%06" PRIu64 "000\n", sum_us / 1000000, sum_us % 1000000);
	(void)fprintf(f, "signet_store_flush_seconds_count %" PRIu64 "\n", n);
}

void
metrics_put_store(FILE *f, const struct store *s)
{
	const char *now = metrics_store_state(s);
	struct store_stats x = { 0 };

	if (s != NULL)
		store_stats(s, &x);
	(void)fputs("# HELP signet_store_state 1 for the state in which the store is.\n# TYPE signet_store_state gauge\n", f);
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		(void)fprintf(f, "signet_store_state{state=\"%s\"} %d\n", states[i], now == states[i]);
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
		(void)fprintf(f, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", numbers[i].name, numbers[i].help, numbers[i].name, numbers[i].type,
		    numbers[i].name, *(const uint64_t *)(const void *)((const char *)&x + numbers[i].at));
	put_flushes(f, s, x.flush_us);
}
