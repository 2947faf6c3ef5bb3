/* What a run has found, for people and as JSON. */
#include <stdio.h>

#include "bench.h"

struct figures {
	double seconds, sent, delivered, connects; /* a second */
	double broker_us, own_us;                  /* for each delivery or connection */
	double broker_load;                        /* share of one processor */
	double p50, p99, p999, max;                /* us */
	double ack50, ack99;                       /* us */
	double rss;                                /* bytes for each connection */
};

static double
per(uint64_t a, uint64_t n)
{
	return n > 0 ? (double)a / (double)n : 0;
}

static struct figures
figures_of(const struct bench *b)
{
	const struct counts *x = &b->from, *y = &b->to;
	uint64_t units =
	    b->o.mode == MODE_CONNECT  ? y->connects - x->connects
	    : b->o.mode == MODE_REVOKE ? b->cut
	    : b->o.away                ? y->sent - x->sent
				       : y->delivered - x->delivered;
	uint64_t broker = y->broker_cpu - x->broker_cpu, own = y->own_cpu - x->own_cpu;
	double s = (double)(y->time - x->time) / (double)NS_PER_S;

	s = s > 0 ? s : 1;
	return (struct figures){
		.seconds = s,
		.sent = (double)(y->sent - x->sent) / s,
		.delivered = (double)(y->delivered - x->delivered) / s,
		.connects = (double)(y->connects - x->connects) / s,
		.broker_us = per(broker, units) / 1000,
		.own_us = per(own, units) / 1000,
		.broker_load = (double)broker / (s * (double)NS_PER_S),
		.p50 = hist_at(&b->latency, 0.5) / 1000,
		.p99 = hist_at(&b->latency, 0.99) / 1000,
		.p999 = hist_at(&b->latency, 0.999) / 1000,
		.max = (double)b->latency.max / 1000,
		.ack50 = hist_at(&b->ack_latency, 0.5) / 1000,
		.ack99 = hist_at(&b->ack_latency, 0.99) / 1000,
		.rss = ((double)b->rss_to - (double)b->rss_from) / b->n_conns,
	};
}

bool
report_ok(const struct bench *b)
{
	const struct faults *f = &b->faults;
	/* At a fixed rate the broker may be asked for more than it can: QoS 0 may be dropped. */
	bool may_lose = b->o.qos == 0 && b->o.rate > 0;
	bool idle = b->o.mode == MODE_CONNECT ? b->to.connects == b->from.connects
		    : b->o.mode == MODE_REVOKE ? b->cut == 0
		    : b->o.away               ? b->ack_latency.n == 0
		    : b->o.mode != MODE_IDLE  ? b->to.delivered == b->from.delivered
					      : false;

	return !idle && (f->lost == 0 || may_lose) && f->duplicates == 0 && f->reordered == 0 &&
	       f->foreign == 0 && f->bad_acks == 0 && f->failed == 0;
}

static const char *
security(const struct bench *b)
{
	if (!b->o.tls)
		return "plain TCP";
	if (b->o.cert_pattern != NULL)
		return b->o.tls12 ? "TLS 1.2, several client certificates"
				  : "TLS 1.3, several client certificates";
	if (b->o.cert != NULL)
		return b->o.tls12 ? "TLS 1.2, one client certificate for all connections"
				  : "TLS 1.3, one client certificate for all connections";
	return b->o.tls12 ? "TLS 1.2, no client certificate" : "TLS 1.3, no client certificate";
}

static void
text_head(const struct bench *b)
{
	if (b->o.mode >= MODE_P2P)
		(void)printf("%s QoS %u, %u bytes, %u publishers, %u subscribers, window %u; %s\n",
		    b->o.mode_name, b->o.qos, b->o.payload, b->n_pubs, b->n_subs, b->o.window,
		    security(b));
	else
		(void)printf("%s, %u connections; %s\n", b->o.mode_name, b->n_conns, security(b));
}

static void
text_figures(const struct bench *b, const struct figures *f)
{
	const char *unit = b->o.mode == MODE_CONNECT ? "connection" : b->o.away ? "message" : "delivered message";

	if (b->o.mode == MODE_CONNECT)
		(void)printf("  connections    %.0f /s\n", f->connects);
	if (b->o.mode >= MODE_P2P)
		(void)printf(
		    "  sent           %.0f /s\n  delivered      %.0f /s\n", f->sent, f->delivered);
	if (b->o.mode == MODE_IDLE)
		(void)printf(
		    "  memory         %.0f bytes of RSS for each connection (%.1f -> %.1f MB)\n",
		    f->rss, (double)b->rss_from / 1e6, (double)b->rss_to / 1e6);
	if (b->o.mode == MODE_REVOKE) {
		(void)printf("  closed         %u of %u connections; from the beginning until the client sees it:\n"
			     "                 p50 %.1f, p99 %.1f, max %.1f ms\n",
		    b->cut, b->n_conns, f->p50 / 1000, f->p99 / 1000, f->max / 1000);
		(void)printf("  until then     broker CPU %.1f us, generator CPU %.1f us for each\n", f->broker_us, f->own_us);
		return;
	}
	if (b->o.mode != MODE_IDLE && b->o.pid > 0)
		(void)printf("  broker CPU     %.3f us for each %s\n", f->broker_us, unit);
	if (b->o.pid > 0)
		(void)printf("  broker load    %.1f %% of one processor\n", f->broker_load * 100);
	if (b->o.mode != MODE_IDLE)
		(void)printf("  generator CPU  %.3f us for each %s\n", f->own_us, unit);
	if (b->o.rate > 0 || b->o.mode == MODE_CONNECT)
		(void)printf("  latency        p50 %.0f, p99 %.0f, p99.9 %.0f, max %.0f us\n",
		    f->p50, f->p99, f->p999, f->max);
	if (b->ack_latency.n > 0)
		(void)printf("  acknowledged   p50 %.0f, p99 %.0f us after it was sent\n", f->ack50, f->ack99);
	if (b->o.rate > 0)
		(void)printf(
		    "  stalls         %llu\n", (unsigned long long)(b->to.stalls - b->from.stalls));
}

static void
text_checks(const struct bench *b)
{
	const struct faults *f = &b->faults;

	(void)printf("  checks         %s: %llu lost, %llu repeated, %llu out of order, %llu "
		     "foreign, %llu bad "
		     "acknowledgements, %llu connections failed\n",
	    report_ok(b) ? "passed" : "FAILED", (unsigned long long)f->lost,
	    (unsigned long long)f->duplicates, (unsigned long long)f->reordered,
	    (unsigned long long)f->foreign, (unsigned long long)f->bad_acks,
	    (unsigned long long)f->failed);
}

static void
json(const struct bench *b, const struct figures *f, FILE *out)
{
	const struct faults *x = &b->faults;

	(void)fprintf(out,
	    "{\"mode\":\"%s\",\"qos\":%u,\"payload\":%u,\"connections\":%u,\"publishers\":%u,"
	    "\"subscribers\":%u,\"window\":%u,\"security\":\"%s\",\"seconds\":%.3f,",
	    b->o.mode_name, b->o.qos, b->o.payload, b->n_conns, b->n_pubs, b->n_subs, b->o.window,
	    security(b), f->seconds);
	(void)fprintf(out,
	    "\"sent_per_s\":%.1f,\"delivered_per_s\":%.1f,\"connects_per_s\":%.1f,"
	    "\"broker_us_per_unit\":%.4f,\"broker_load\":%.4f,\"generator_us_per_unit\":%.4f,",
	    f->sent, f->delivered, f->connects, f->broker_us, f->broker_load, f->own_us);
	(void)fprintf(out,
	    "\"latency_us\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},"
	    "\"ack_us\":{\"p50\":%.1f,\"p99\":%.1f},\"all_messages\":%llu,\"rss_per_connection\":%.1f,\"stalls\":%llu,",
	    f->p50, f->p99, f->p999, f->max, f->ack50, f->ack99, (unsigned long long)b->total.sent, f->rss,
	    (unsigned long long)(b->to.stalls - b->from.stalls));
	(void)fprintf(out,
	    "\"lost\":%llu,\"duplicates\":%llu,\"reordered\":%llu,\"foreign\":%llu,"
	    "\"bad_acks\":%llu,\"failed\":%llu,\"ok\":%s}\n",
	    (unsigned long long)x->lost, (unsigned long long)x->duplicates,
	    (unsigned long long)x->reordered, (unsigned long long)x->foreign,
	    (unsigned long long)x->bad_acks, (unsigned long long)x->failed,
	    report_ok(b) ? "true" : "false");
}

bool
report(const struct bench *b, struct err *err)
{
	struct figures f = figures_of(b);
	bool to_stdout = b->o.json != NULL && strcmp(b->o.json, "-") == 0;
	FILE *out = stdout;

	if (!b->o.quiet) {
		text_head(b);
		text_figures(b, &f);
		text_checks(b);
	}
	if (b->o.json != NULL) {
		if (!to_stdout && (out = fopen(b->o.json, "ae")) == NULL)
			return err_sys(err, "--json %s", b->o.json);
		json(b, &f, out);
		if (!to_stdout && fclose(out) != 0)
			return err_sys(err, "--json %s", b->o.json);
	}
	return fflush(stdout) == 0 || err_sys(err, "standard output");
}
