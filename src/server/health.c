/* The broker's figures, sampled with $SYS and kept for a while, so that whoever comes when something has gone wrong sees how it began.
 * Nothing is counted here that metrics.c does not have; what is added is the difference between two looks. */
#include "server/health.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "server/internal.h"

enum {
	SAMPLES = 360,       /* an hour, at 10 s */
	RECENT = 12,         /* in a message of its own each time */
	HISTORY_EVERY = 6,   /* samples from one message with all of them to the next: recent ones cover that */
	WINDOW = 6,          /* samples that decide about alarms */
	CAUSES = REFUSAL_CAUSES + PKI_CAUSES,
	CAUSES_SHOWN = 4,    /* of a sample; the others are counted together */
	PROBE_MS = 1000,
	STUCK_MS = 5000,
	LAG_LIMIT_MS = 100,
	REFUSALS_LIMIT = 30, /* in the window, of one cause */
	AWAY_MS = 15000,     /* control may take so long to come */
};

uint64_t
server_total(const struct server *s, size_t at)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < s->n_workers; i++)
		n += figure_of(shard_stats(s->workers[i].shard), at);
	return n;
}

/* ---- what a sample has ---- */

enum figure {
	CONNECTIONS, SESSIONS, MESSAGES_IN, MESSAGES_OUT, BYTES_IN, BYTES_OUT, DROPPED, QUEUED, QUEUED_BYTES, LATENCY, LATENCY_MAX,
	LAG_50, LAG_99, FLUSH_50, FLUSH_99, REFUSALS, MEMORY, FIGURES
};
/* docs/monitoring.md says what they are. Rates are a second's, times are ms. */
static const char *const names[FIGURES] = {
	[CONNECTIONS] = "connections", [SESSIONS] = "sessions", [MESSAGES_IN] = "messages_in", [MESSAGES_OUT] = "messages_out",
	[BYTES_IN] = "bytes_in", [BYTES_OUT] = "bytes_out", [DROPPED] = "dropped", [QUEUED] = "queued", [QUEUED_BYTES] = "queued_bytes",
	[LATENCY] = "latency", [LATENCY_MAX] = "latency_max", [LAG_50] = "lag_p50", [LAG_99] = "lag_p99", [FLUSH_50] = "flush_p50",
	[FLUSH_99] = "flush_p99", [REFUSALS] = "refusals", [MEMORY] = "memory",
};
/* Those that are the growth of a counter, by QoS or not. */
static const struct {
	enum figure figure;
	size_t at;
	unsigned n;
} rates[] = {
	{ MESSAGES_IN, offsetof(struct shard_stats, messages_in), BROKER_QOS }, { MESSAGES_OUT, offsetof(struct shard_stats, messages_out), BROKER_QOS },
	{ BYTES_IN, offsetof(struct shard_stats, bytes_in), 1 }, { BYTES_OUT, offsetof(struct shard_stats, bytes_out), 1 },
	{ DROPPED, offsetof(struct shard_stats, dropped), 1 },
};
static const struct {
	enum figure figure;
	size_t at;
} gauges[] = {
	{ CONNECTIONS, offsetof(struct shard_stats, connected) }, { SESSIONS, offsetof(struct shard_stats, sessions) },
	{ QUEUED, offsetof(struct shard_stats, queued) }, { QUEUED_BYTES, offsetof(struct shard_stats, queued_bytes) },
};

struct sample {
	int64_t time;     /* seconds since 1970 */
	float v[FIGURES]; /* NAN: not known */
	uint32_t drops, others; /* messages; refusals beside these: */
	struct {
		uint16_t cause;
		uint32_t n;
	} causes[CAUSES_SHOWN];
};

struct health {
	unsigned interval_s;
	uint64_t taken, last_ms, probe_ms; /* samples so far; when; when to ask again */
	uint64_t control_ms, registry_ms;  /* when it was there last, or we began */
	bool control_seen;
	/* Counters as they were at the last sample. */
	uint64_t rates[ARRAY_LEN(rates)], lag[LOOP_LAGS], flushes[STORE_FLUSH_BUCKETS], probes, probe_ns, drops[BROKER_DROPS];
	uint32_t causes[CAUSES];
	uint32_t refused[WINDOW][CAUSES], dropped[WINDOW][BROKER_DROPS]; /* a row a sample */
	uint64_t window_lag[WINDOW][LOOP_LAGS];
	struct sample v[SAMPLES];
};

struct health *
health_new(unsigned interval_s)
{
	struct health *h = calloc(1, sizeof(*h));

	if (h != NULL)
		h->interval_s = interval_s;
	return h;
}

void
health_free(struct health *h)
{
	free(h);
}

/* ---- the way from one worker to another ---- */

static uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void
on_probe(void *ctx, void *arg)
{
	struct worker *w = ctx;
	struct probe *p = &w->probe;
	uint64_t ns = now_ns() - p->sent_ns;

	(void)arg;
	(void)atomic_fetch_add_explicit(&p->n, 1, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&p->sum_ns, ns, memory_order_relaxed);
	if (ns > figure_read(&p->max_ns))
		atomic_store_explicit(&p->max_ns, ns, memory_order_relaxed);
	atomic_store_explicit(&p->out, false, memory_order_release);
}

uint64_t
health_probe(struct health *h, struct server *s, uint64_t now_ms)
{
	if (now_ms < h->probe_ms)
		return h->probe_ms - now_ms;
	h->probe_ms = now_ms + PROBE_MS;
	for (unsigned i = 0; i < s->n_workers; i++) {
		struct worker *w = &s->workers[i];

		if (atomic_load_explicit(&w->probe.out, memory_order_acquire))
			continue;
		w->probe.sent_ns = now_ns();
		atomic_store_explicit(&w->probe.out, true, memory_order_relaxed);
		if (!loop_post(w->loop, on_probe, NULL))
			atomic_store_explicit(&w->probe.out, false, memory_order_relaxed);
	}
	return PROBE_MS;
}

/* How long the one that is out has been; 0: none is. */
static uint64_t
waits_ns(const struct probe *p)
{
	return atomic_load_explicit(&p->out, memory_order_acquire) ? now_ns() - p->sent_ns : 0;
}

static void
take_latency(struct health *h, struct server *s, struct sample *x)
{
	uint64_t n = 0, sum = 0, most = 0;

	for (unsigned i = 0; i < s->n_workers; i++) {
		struct probe *p = &s->workers[i].probe;
		uint64_t max = atomic_exchange_explicit(&p->max_ns, 0, memory_order_relaxed), waits = waits_ns(p);

		n += figure_read(&p->n);
		sum += figure_read(&p->sum_ns);
		most = NUM_MAX(most, NUM_MAX(max, waits));
	}
	x->v[LATENCY] = n > h->probes ? (float)((double)(sum - h->probe_ns) / 1e6 / (double)(n - h->probes)) : NAN;
	x->v[LATENCY_MAX] = most > 0 ? (float)((double)most / 1e6) : NAN;
	h->probes = n;
	h->probe_ns = sum;
}

/* ---- histograms ---- */

/* Where the part <q> of all lies, in ms: <us> has the upper bounds of all but the last bucket. NAN: there is nothing. */
static float
quantile(const uint64_t *counts, const uint32_t *us, unsigned n, double q)
{
	uint64_t all = 0, below = 0;
	unsigned i;

	for (i = 0; i < n; i++)
		all += counts[i];
	if (all == 0)
		return NAN;
	for (i = 0; i < n - 1 && (double)(below + counts[i]) < q * (double)all; i++)
		below += counts[i];
	if (i == n - 1)
		return (float)us[n - 2] / 1000;
	double from = i > 0 ? us[i - 1] : 0, part = counts[i] > 0 ? (q * (double)all - (double)below) / (double)counts[i] : 1;

	return (float)((from + part * (us[i] - from)) / 1000);
}

static void
take_lag(struct health *h, const struct server *s, struct sample *x)
{
	uint64_t *grown = h->window_lag[h->taken % WINDOW];

	for (unsigned k = 0; k < LOOP_LAGS; k++) {
		uint64_t now = 0;

		for (unsigned i = 0; i < s->n_workers; i++)
			now += figure_read(&loop_stats(s->workers[i].loop)->lag[k]);
		grown[k] = now - h->lag[k];
		h->lag[k] = now;
	}
	x->v[LAG_50] = quantile(grown, loop_lag_us, LOOP_LAGS, 0.5);
	x->v[LAG_99] = quantile(grown, loop_lag_us, LOOP_LAGS, 0.99);
}

static void
take_flushes(struct health *h, const struct server *s, struct sample *x)
{
	uint64_t now[STORE_FLUSH_BUCKETS] = { 0 }, grown[STORE_FLUSH_BUCKETS];

	if (persist_store(s) != NULL)
		store_flushes(persist_store(s), now);
	for (unsigned k = 0; k < STORE_FLUSH_BUCKETS; k++) {
		grown[k] = now[k] - h->flushes[k];
		h->flushes[k] = now[k];
	}
	x->v[FLUSH_50] = quantile(grown, store_flush_le_us, STORE_FLUSH_BUCKETS, 0.5);
	x->v[FLUSH_99] = quantile(grown, store_flush_le_us, STORE_FLUSH_BUCKETS, 0.99);
}

/* ---- refusals and what was dropped ---- */

static const char *
cause_name(unsigned i)
{
	return i < REFUSAL_CAUSES ? refusal_cause_name((enum refusal_cause)i) : pki_cause_name((enum pki_cause)(i - REFUSAL_CAUSES));
}

static uint64_t
cause_count(const struct server *s, unsigned i)
{
	return figure_read(i < REFUSAL_CAUSES ? &s->counters->refusals[i] : &s->counters->certificates[i - REFUSAL_CAUSES]);
}

/* Into <x>, if it is one of the largest there. */
static void
keep_cause(struct sample *x, unsigned cause, uint32_t n)
{
	for (unsigned i = 0; i < CAUSES_SHOWN && n > 0; i++) {
		uint32_t old = x->causes[i].n;
		unsigned was = x->causes[i].cause;

		if (n <= old)
			continue;
		x->causes[i].n = n;
		x->causes[i].cause = (uint16_t)cause;
		n = old;
		cause = was;
	}
	x->others += n;
}

static void
take_refusals(struct health *h, const struct server *s, struct sample *x, double span)
{
	uint32_t *grown = h->refused[h->taken % WINDOW];
	uint64_t all = 0;

	for (unsigned i = 0; i < CAUSES; i++) {
		uint32_t now = (uint32_t)cause_count(s, i);

		grown[i] = i == REFUSAL_NONE ? 0 : now - h->causes[i];
		h->causes[i] = now;
		all += grown[i];
		keep_cause(x, i, grown[i]);
	}
	x->v[REFUSALS] = (float)((double)all / span);
}

static void
take_drops(struct health *h, const struct server *s)
{
	uint32_t *grown = h->dropped[h->taken % WINDOW];

	for (unsigned why = 0; why < BROKER_DROPS; why++) {
		uint64_t now = 0;

		for (unsigned role = 0; role < AUTHZ_ROLE_COUNT; role++)
			now += server_total(s, offsetof(struct shard_stats, drops) + (why * AUTHZ_ROLE_COUNT + role) * sizeof(uint64_t));
		grown[why] = (uint32_t)(now - h->drops[why]);
		h->drops[why] = now;
	}
}

/* ---- a sample ---- */

static void
take_sample(struct health *h, struct server *s, uint64_t now_ms)
{
	struct sample *x = &h->v[h->taken % SAMPLES];
	double span = (double)NUM_MAX(now_ms - h->last_ms, UINT64_C(1)) / 1000;
	uint64_t memory = 0;

	*x = (struct sample){ .time = (int64_t)time(NULL) };
	for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
		x->v[gauges[i].figure] = (float)server_total(s, gauges[i].at);
	for (size_t i = 0; i < ARRAY_LEN(rates); i++) {
		uint64_t now = 0;

		for (unsigned k = 0; k < rates[i].n; k++)
			now += server_total(s, rates[i].at + k * sizeof(uint64_t));
		x->v[rates[i].figure] = (float)((double)(now - h->rates[i]) / span);
		h->rates[i] = now;
	}
	take_latency(h, s, x);
	take_lag(h, s, x);
	take_flushes(h, s, x);
	take_refusals(h, s, x, span);
	take_drops(h, s);
	x->v[MEMORY] = memory_resident(&memory) ? (float)memory : NAN;
}

/* ---- alarms ---- */

static unsigned
window_of(const struct health *h)
{
	return (unsigned)NUM_MIN(h->taken, (uint64_t)WINDOW);
}

static void
judge_lag(const struct health *h, struct server *s)
{
	uint64_t sum[LOOP_LAGS] = { 0 };
	char text[160];
	float lag;

	for (unsigned k = 0; k < LOOP_LAGS; k++)
		for (unsigned i = 0; i < window_of(h); i++)
			sum[k] += h->window_lag[i][k];
	lag = quantile(sum, loop_lag_us, LOOP_LAGS, 0.99);
	/* One slow turn among few, as at the start, is no sign of anything. */
	if (h->taken < WINDOW || !(lag > LAG_LIMIT_MS))
		return;
	(void)snprintf(text, sizeof(text), "the workers are slow: one turn in a hundred of their loops took %.0f ms or more in the last %u s", (double)lag,
	    window_of(h) * h->interval_s);
	board_say(s->board, &(struct alarm){ .source = ALARMS_OF_FIGURES, .kind = ALARM_LOOP_LAG, .text = text });
}

static void
judge_workers(struct server *s)
{
	char text[96];

	for (unsigned i = 0; i < s->n_workers; i++) {
		uint64_t ms = waits_ns(&s->workers[i].probe) / 1000000;

		if (ms < STUCK_MS)
			continue;
		(void)snprintf(text, sizeof(text), "worker %u has done nothing for %" PRIu64 " s: its clients wait", i, ms / 1000);
		board_say(s->board, &(struct alarm){ .source = ALARMS_OF_FIGURES, .kind = ALARM_WORKER_STUCK, .error = true, .key = i, .text = text });
	}
}

static void
judge_drops(const struct health *h, struct server *s)
{
	uint64_t all = 0, sum[BROKER_DROPS] = { 0 };
	unsigned worst = 0;
	char text[200];

	for (unsigned why = 0; why < BROKER_DROPS; why++) {
		for (unsigned i = 0; i < window_of(h); i++)
			sum[why] += h->dropped[i][why];
		all += sum[why];
		worst = sum[why] > sum[worst] ? why : worst;
	}
	if (all == 0)
		return;
	(void)snprintf(text, sizeof(text), "clients did not get %" PRIu64 " messages in the last %u s, most of them (%" PRIu64 ") for %s", all,
	    window_of(h) * h->interval_s, sum[worst], broker_drop_name((enum broker_drop)worst));
	if (board_raise(s->board, &(struct alarm){ .source = ALARMS_OF_FIGURES, .kind = ALARM_QUEUE_DROPS, .text = text }))
		log_info("ALARM: %s.", text); /* the log names the clients anyway */
}

static void
judge_refusals(const struct health *h, struct server *s)
{
	unsigned worst = REFUSAL_NONE;
	uint64_t most = 0;
	char text[200], remedy[400];

	for (unsigned c = 0; c < CAUSES; c++) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < window_of(h); i++)
			sum += h->refused[i][c];
		if (sum > most) {
			most = sum;
			worst = c;
		}
	}
	if (most < REFUSALS_LIMIT)
		return;
	(void)snprintf(text, sizeof(text), "many refusals: %" PRIu64 " in the last %u s for %s", most, window_of(h) * h->interval_s, cause_name(worst));
	(void)snprintf(remedy, sizeof(remedy), "`signet why %s` says who that is and what to do", cause_name(worst));
	board_say(s->board, &(struct alarm){ .source = ALARMS_OF_FIGURES, .kind = ALARM_REFUSALS, .key = worst, .text = text, .remedy = remedy });
}

static void
judge_memory(struct server *s)
{
	unsigned level = atomic_load(&s->memory.level);
	uint64_t limit = (uint64_t)atomic_load(&s->memory.limit);
	char text[160];

	if (level == BROKER_SHED_NONE)
		return;
	(void)snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64 " MB of memory_limit are in use: %s", atomic_load(&s->memory.used) / 1000000, limit / 1000000,
	    level == BROKER_SHED_QOS0 ? "QoS 0 is dropped for slow clients"
				      : level == BROKER_SHED_CONNECTS ? "nobody may connect" : "nobody may connect, and publishers wait");
	/* memory.c has told the log. */
	(void)board_raise(s->board, &(struct alarm){ .source = ALARMS_OF_FIGURES, .kind = ALARM_MEMORY, .error = level > BROKER_SHED_QOS0, .text = text });
}

/* Where control has been, or its supervisor says that it will be, it is missed. */
static void
judge_control(struct health *h, struct server *s, uint64_t now_ms)
{
	struct registration_facts f;
	bool required = false;

	registration_facts(s->registrations, &f);
	for (unsigned i = 0; i < s->n_listeners; i++)
		required = required || (atomic_load(&s->listeners[i].rules) & RULE_REGISTERED) != 0;
	if (f.known || !required || h->registry_ms == 0)
		h->registry_ms = now_ms;
	if (feed_is_on(s->feed))
		h->control_seen = true;
	if (feed_is_on(s->feed) || h->control_ms == 0)
		h->control_ms = now_ms;
	if (now_ms - h->registry_ms > AWAY_MS)
		board_say(s->board, &(struct alarm){ .source = ALARMS_OF_FIGURES, .kind = ALARM_REGISTRY, .error = true,
				   .text = "nobody has told the broker which devices are registered: they are refused" });
	else if (now_ms - h->control_ms > AWAY_MS && (h->control_seen || (s->options.notify_fd > 0 && s->config->n_https > 0)))
		board_say(s->board, &(struct alarm){ .source = ALARMS_OF_FIGURES, .kind = ALARM_CONTROL,
				   .text = "the control process is not connected: the API and the console are down, and no certificate is issued, renewed or revoked" });
}

void
health_sample(struct health *h, struct server *s, uint64_t now_ms)
{
	/* The first look has nothing to compare with. */
	bool first = h->last_ms == 0;

	take_sample(h, s, now_ms);
	h->last_ms = now_ms;
	if (first)
		return;
	h->taken++;
	judge_lag(h, s);
	judge_workers(s);
	judge_drops(h, s);
	judge_refusals(h, s);
	judge_memory(s);
	judge_control(h, s, now_ms);
	(void)board_settle(s->board, ALARMS_OF_FIGURES);
}

/* ---- as JSON: only numbers and names of ours ---- */

static void
put_float(FILE *f, float v)
{
	if (isnan(v))
		(void)fputs("null", f);
	else
		(void)fprintf(f, v >= 100 ? "%.0f" : "%.3g", (double)v);
}

static void
put_sample(FILE *f, const struct sample *x)
{
	const char *comma = "";

	(void)fprintf(f, "[%" PRId64, x->time);
	for (unsigned i = 0; i < FIGURES; i++) {
		(void)fputc(',', f);
		put_float(f, x->v[i]);
	}
	(void)fputs(",{", f);
	for (unsigned i = 0; i < CAUSES_SHOWN && x->causes[i].n > 0; i++) {
		(void)fprintf(f, "%s\"%s\":%" PRIu32, comma, cause_name(x->causes[i].cause), x->causes[i].n);
		comma = ",";
	}
	if (x->others > 0)
		(void)fprintf(f, "%s\"other\":%" PRIu32, comma, x->others);
	(void)fputs("}]", f);
}

static char *
finish(FILE *f, char **text)
{
	bool ok = ferror(f) == 0;

	ok = fclose(f) == 0 && ok;
	if (ok)
		return *text;
	free(*text);
	return NULL;
}

/* The newest <n>, the oldest of them first. */
static char *
text_of(const struct health *h, unsigned n)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	uint64_t from = h->taken - NUM_MIN((uint64_t)n, h->taken);

	if (f == NULL)
		return NULL;
	(void)fprintf(f, "{\"interval\":%u,\"first\":%" PRIu64 ",\"fields\":[\"time\"", h->interval_s, from);
	for (unsigned i = 0; i < FIGURES; i++)
		(void)fprintf(f, ",\"%s\"", names[i]);
	(void)fputs(",\"causes\"],\"samples\":[", f);
	for (uint64_t i = from; i < h->taken; i++) {
		if (i > from)
			(void)fputc(',', f);
		put_sample(f, &h->v[i % SAMPLES]);
	}
	(void)fputs("]}", f);
	return finish(f, &text);
}

char *
health_recent(const struct health *h)
{
	return text_of(h, RECENT);
}

char *
health_history(const struct health *h)
{
	return text_of(h, SAMPLES);
}

bool
health_history_is_due(const struct health *h)
{
	return h->taken % HISTORY_EVERY == 0;
}

char *
health_refusals(const struct server *s)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	const char *comma = "";

	if (f == NULL)
		return NULL;
	(void)fputc('{', f);
	for (unsigned i = 0; i < CAUSES; i++) {
		uint64_t n = i == REFUSAL_NONE ? 0 : cause_count(s, i);

		if (n > 0)
			(void)fprintf(f, "%s\"%s\":%" PRIu64, comma, cause_name(i), n);
		if (n > 0)
			comma = ",";
	}
	(void)fputc('}', f);
	return finish(f, &text);
}
