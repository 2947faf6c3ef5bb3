/* What Prometheus may know of the alarms, and of the way from one worker to another. */
#include "server/internal.h"

#include <inttypes.h>
#include <stdio.h>

void
metrics_put_health(FILE *f, const struct metrics *m)
{
	unsigned n[ALARM_KINDS];

	(void)fputs("# HELP signet_worker_latency_seconds_total How long what the first worker asked this one waited, in all.\n"
		    "# TYPE signet_worker_latency_seconds_total counter\n", f);
	for (unsigned i = 0; i < m->n_shards; i++) {
		uint64_t ns = figure_read(&m->probes[i]->sum_ns);

		(void)fprintf(f, "signet_worker_latency_seconds_total{worker=\"%u\"} %" PRIu64 ".%09" PRIu64 "\n", i, ns / 1000000000, ns % 1000000000);
	}
	(void)fputs("# HELP signet_worker_latency_probes_total How often it was asked: once a second while there is $SYS.\n"
		    "# TYPE signet_worker_latency_probes_total counter\n", f);
	for (unsigned i = 0; i < m->n_shards; i++)
		(void)fprintf(f, "signet_worker_latency_probes_total{worker=\"%u\"} %" PRIu64 "\n", i, figure_read(&m->probes[i]->n));
	board_kinds(m->board, n);
	(void)fputs("# HELP signet_alarms Alarms that stand, by name; $SYS/broker/alarms has their words.\n# TYPE signet_alarms gauge\n", f);
	for (int k = 0; k < ALARM_KINDS; k++)
		(void)fprintf(f, "signet_alarms{name=\"%s\"} %u\n", alarm_kind_name((enum alarm_kind)k), n[k]);
}
