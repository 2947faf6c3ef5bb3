/* What Prometheus reads is what was counted, in its format to the letter, and docs/monitoring.md explains each name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "server/internal.h"

enum { FAMILIES_MAX = 64, VALUE_CAP = 256 };

static const char *guide; /* the path of docs/monitoring.md; set once by main() */

/* ---- the format, as Prometheus reads it ---- */

struct family {
	struct slice name, type;
	unsigned samples;
};
struct reading {
	struct family families[FAMILIES_MAX];
	size_t n;
	/* The sample that is looked for, as "name" or "name{label=\"value\"}" with its values not escaped. */
	const char *want;
	bool found;
	uint64_t value;
};

static bool
is_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!(s.p[i] == '_' || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
			(i > 0 && s.p[i] >= '0' && s.p[i] <= '9')))
			return false;
	return s.n > 0;
}

/* A value in quotes at the beginning of <s>, to <out>. */
static void
read_quoted(struct slice *s, char *out, size_t *at)
{
	assert_true(s->n > 0 && s->p[0] == '"');
	*s = slice_from(*s, 1);
	while (s->n > 0 && s->p[0] != '"') {
		uint8_t c = s->p[0];

		if (c == '\\') {
			*s = slice_from(*s, 1);
			assert_true(s->n > 0 && strchr("n\"\\", s->p[0]) != NULL);
			c = s->p[0] == 'n' ? '\n' : s->p[0];
		}
		assert_true(*at < VALUE_CAP - 4);
		out[(*at)++] = (char)c;
		*s = slice_from(*s, 1);
	}
	assert_true(s->n > 0);
	*s = slice_from(*s, 1);
}

static void
read_sample(struct reading *r, struct slice line)
{
	struct family *f = &r->families[r->n - 1];
	char shown[VALUE_CAP];
	size_t at = f->name.n;
	uint64_t value;

	assert_true(r->n > 0 && slice_starts(line, f->name) && at < VALUE_CAP / 2);
	memcpy(shown, line.p, at);
	line = slice_from(line, at);
	while (slice_eq(f->type, SL("histogram")) && line.n > 0 && (line.p[0] == '_' || (line.p[0] >= 'a' && line.p[0] <= 'z'))) {
		shown[at++] = (char)line.p[0];
		line = slice_from(line, 1);
	}
	if (line.n > 0 && line.p[0] == '{') {
		do {
			size_t k = 1;

			while (k < line.n && line.p[k] != '=')
				k++;
			assert_true(is_name(slice_of(line.p + 1, k - 1)));
			memcpy(shown + at, line.p, k + 1);
			at += k + 1;
			shown[at++] = '"';
			line = slice_from(line, k + 1);
			read_quoted(&line, shown, &at);
			shown[at++] = '"';
			assert_true(line.n > 0);
		} while (line.p[0] == ',');
		assert_int_equal(line.p[0], '}');
		shown[at++] = '}';
		line = slice_from(line, 1);
	}
	shown[at] = '\0';
	assert_true(line.n > 1 && line.p[0] == ' ');
	line = slice_from(line, 1);
	for (size_t i = 0; i < line.n; i++) /* seconds have nine digits behind the point */
		if (line.p[i] == '.') {
			assert_int_equal(line.n - i, 10);
			line.n = i;
		}
	assert_true(text_u64(line, 0, UINT64_MAX, &value));
	f->samples++;
	if (r->want != NULL && strcmp(shown, r->want) == 0) {
		assert_false(r->found);
		r->found = true;
		r->value = value;
	}
}

static void
read_line(struct reading *r, struct slice line)
{
	bool more;
	struct slice name;

	if (slice_starts(line, SL("# HELP "))) {
		line = slice_from(line, 7);
		name = slice_cut(&line, ' ', &more);
		assert_true(is_name(name) && line.n > 10 && r->n < FAMILIES_MAX);
		for (size_t i = 0; i < r->n; i++)
			assert_false(slice_eq(r->families[i].name, name));
		r->families[r->n++] = (struct family){ .name = name };
	} else if (slice_starts(line, SL("# TYPE "))) {
		struct family *f = &r->families[r->n - 1];

		line = slice_from(line, 7);
		name = slice_cut(&line, ' ', &more);
		assert_true(r->n > 0 && slice_eq(name, f->name) && f->type.n == 0);
		f->type = line;
		assert_true(slice_eq(line, SL("gauge")) || slice_eq(line, SL("counter")) || slice_eq(line, SL("histogram")));
	} else {
		read_sample(r, line);
	}
}

static void
read_all(struct slice text, struct reading *r)
{
	bool more = true;

	assert_true(text.n > 0 && text.p[text.n - 1] == '\n' && utf8_ok(text));
	text.n--;
	while (more)
		read_line(r, slice_cut(&text, '\n', &more));
	for (size_t i = 0; i < r->n; i++) {
		struct slice name = r->families[i].name;
		bool total = name.n > 6 && memcmp(name.p + name.n - 6, "_total", 6) == 0;

		assert_true(r->families[i].samples > 0);
		assert_int_equal(total, slice_eq(r->families[i].type, SL("counter")));
	}
}

static uint64_t
value_of(struct slice text, const char *want)
{
	struct reading r = { .want = want };

	read_all(text, &r);
	if (!r.found)
		fail_msg("%s is not in it", want);
	return r.value;
}

/* ---- the tests ---- */

static struct shard_stats shards[2]; /* zeroed by each test that counts */
static const struct shard_stats *const both[] = { &shards[0], &shards[1] };

static const struct loop_stats idle;
static const struct loop_stats *const idles[] = { &idle, &idle };
static const struct probe probes[2] = { { .n = 3, .sum_ns = 1500000000 } };
static const struct probe *const asked[] = { &probes[0], &probes[1] };
static const struct tls_ticket_stats no_tickets;

static struct slice
text_of(const struct metrics *m)
{
	size_t n = 0;
	char *text = metrics_text(m, &n);

	assert_non_null(text);
	return slice_of(text, n);
}

static void
text_free(struct slice text)
{
	free((void *)(uintptr_t)text.p);
}

static void
counters_are_summed(void **state)
{
	static const struct {
		const char *name;
		_Atomic uint64_t *at[2];
	} rows[] = {
#define ROW(name, field) { name, { &shards[0].field, &shards[1].field } }
		ROW("signet_sessions", sessions),
		ROW("signet_subscriptions", subscriptions),
		ROW("signet_shared_subscriptions", shared),
		ROW("signet_retained_messages", retained),
		ROW("signet_queued_messages", queued),
		ROW("signet_sockets_total", sockets),
		ROW("signet_connects_total", connects),
		ROW("signet_refused_total", refused),
		ROW("signet_sessions_expired_total", expired),
		ROW("signet_packets_received_total", packets_in),
		ROW("signet_packets_sent_total", packets_out),
		ROW("signet_bytes_received_total", bytes_in),
		ROW("signet_bytes_sent_total", bytes_out),
		ROW("signet_messages_received_total{qos=\"0\"}", messages_in[0]),
		ROW("signet_messages_received_total{qos=\"2\"}", messages_in[2]),
		ROW("signet_messages_sent_total{qos=\"1\"}", messages_out[1]),
		ROW("signet_payload_bytes_received_total{qos=\"0\"}", payload_in[0]),
		ROW("signet_payload_bytes_sent_total{qos=\"2\"}", payload_out[2]),
		ROW("signet_messages_dropped_total{reason=\"queue-full\",role=\"none\"}", drops[BROKER_DROP_QUEUE][AUTHZ_ROLE_NONE]),
		ROW("signet_messages_dropped_total{reason=\"slow\",role=\"watch\"}", drops[BROKER_DROP_SLOW][AUTHZ_ROLE_WATCH]),
		ROW("signet_messages_dropped_total{reason=\"no-memory\",role=\"control\"}", drops[BROKER_DROP_NO_MEMORY][AUTHZ_ROLE_CONTROL]),
		ROW("signet_queued_bytes", queued_bytes),
		ROW("signet_inflight_messages", inflight),
		ROW("signet_retained_bytes", retained_bytes),
		ROW("signet_rate_waits_total", paced),
		ROW("signet_denied_total", denied),
#undef ROW
	};
	static const struct metrics_counters some = { .open_fds = 7, .handshakes = 11, .resumptions = 4, .handshake_refusals[REFUSAL_TLS_CIPHER] = 12 };
	static const struct tls_ticket_stats tickets = { { 13, 14, 15, 16 } };
	static const struct loop_stats busy = { .lag = { 1, 2, 3, [LOOP_LAGS - 1] = 4 }, .busy_ns = 5000000001, .shake_ns = 3000000000 };
	static const struct loop_stats *const loops[] = { &busy, &busy };
	struct metrics m = { .shards = both, .n_shards = 2, .loops = loops, .probes = asked, .counters = &some, .tickets = &tickets, .started = 1234, .memory_limit = 100,
		.memory_used = 90, .memory_level = 2, .registry = { .known = true, .generation = 41, .devices = 1000 } };
	struct slice text;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		atomic_store(rows[i].at[0], i + 1);
		atomic_store(rows[i].at[1], UINT64_C(1) << 40);
	}
	atomic_store(&shards[0].roles[AUTHZ_ROLE_NONE], 3);
	atomic_store(&shards[1].roles[AUTHZ_ROLE_CLIENT], 4);
	atomic_store(&shards[1].backlog, 5);
	text = text_of(&m);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(value_of(text, rows[i].name), (UINT64_C(1) << 40) + i + 1);
	assert_int_equal(value_of(text, "signet_connections{worker=\"0\",role=\"none\"}"), 3);
	assert_int_equal(value_of(text, "signet_connections{worker=\"1\",role=\"client\"}"), 4);
	assert_int_equal(value_of(text, "signet_connections{worker=\"1\",role=\"none\"}"), 0);
	assert_int_equal(value_of(text, "signet_worker_backlog_bytes{worker=\"1\"}"), 5);
	assert_int_equal(value_of(text, "signet_memory_limit_bytes"), 100);
	assert_int_equal(value_of(text, "signet_registry_devices"), 1000);
	assert_int_equal(value_of(text, "signet_registry_generation"), 41);
	assert_int_equal(value_of(text, "signet_memory_used_bytes"), 90);
	assert_int_equal(value_of(text, "signet_memory_shed_level"), 2);
	assert_int_equal(value_of(text, "signet_tls_handshakes_total{result=\"ok\"}"), 11);
	assert_int_equal(value_of(text, "signet_tls_handshakes_total{result=\"tls-cipher\"}"), 12);
	assert_int_equal(value_of(text, "signet_tls_handshake_seconds_total{worker=\"1\"}"), 3);
	assert_int_equal(value_of(text, "signet_tls_resumptions_total"), 4);
	assert_int_equal(value_of(text, "signet_tls_tickets_refused_total{reason=\"unknown-key\"}"), 13);
	assert_int_equal(value_of(text, "signet_tls_tickets_refused_total{reason=\"too-old\"}"), 14);
	assert_int_equal(value_of(text, "signet_tls_tickets_refused_total{reason=\"other-listener-or-trust\"}"), 15);
	assert_int_equal(value_of(text, "signet_tls_tickets_refused_total{reason=\"judged\"}"), 16);
	/* Each bound counts all below it. */
	assert_int_equal(value_of(text, "signet_loop_lag_seconds_bucket{worker=\"0\",le=\"0.0001\"}"), 1);
	assert_int_equal(value_of(text, "signet_loop_lag_seconds_bucket{worker=\"0\",le=\"0.0005\"}"), 6);
	assert_int_equal(value_of(text, "signet_loop_lag_seconds_bucket{worker=\"0\",le=\"1\"}"), 6);
	assert_int_equal(value_of(text, "signet_loop_lag_seconds_bucket{worker=\"0\",le=\"+Inf\"}"), 10);
	assert_int_equal(value_of(text, "signet_loop_lag_seconds_count{worker=\"0\"}"), 10);
	assert_int_equal(value_of(text, "signet_loop_lag_seconds_sum{worker=\"0\"}"), 5);
	assert_int_equal(value_of(text, "signet_worker_latency_seconds_total{worker=\"0\"}"), 1);
	assert_int_equal(value_of(text, "signet_worker_latency_probes_total{worker=\"0\"}"), 3);
	assert_int_equal(value_of(text, "signet_alarms{name=\"crl\"}"), 0);
	assert_int_equal(value_of(text, "process_start_time_seconds"), 1234);
	assert_int_equal(value_of(text, "signet_build_info{version=\"" SIGNET_VERSION "\"}"), 1);
	assert_int_equal(value_of(text, "process_open_fds"), 7);
	assert_true(value_of(text, "process_resident_memory_bytes") > 100000);
	text_free(text);
}

static void
labels_are_escaped(void **state)
{
	static const struct metrics_certificate certificates[] = {
		{ "8883", "/etc/signet/server.pem", 2000000000 },
		{ "8884", "/a \"b\"\\c\nd.pem", 1 },
		{ "8885", "/not-utf8-\xff", 2 },
	};
	static const struct metrics_counters none;
	struct metrics m = { .shards = both,
		.n_shards = 1, .loops = idles, .probes = asked,
		.certificates = certificates,
		.n_certificates = ARRAY_LEN(certificates),
		.counters = &none, .tickets = &no_tickets };
	struct slice text = text_of(&m);

	(void)state;
#define EXPIRY "signet_certificate_expiry_seconds"
	assert_int_equal(value_of(text, EXPIRY "{listener=\"8883\",file=\"/etc/signet/server.pem\"}"), 2000000000);
	assert_int_equal(value_of(text, EXPIRY "{listener=\"8884\",file=\"/a \"b\"\\c\nd.pem\"}"), 1);
	assert_int_equal(value_of(text, EXPIRY "{listener=\"8885\",file=\"/not-utf8-\\xff\"}"), 2);
	text_free(text);
}

/* Each cause is there from the start, and is counted under the name that the log has in brackets. */
static void
refusals_are_counted_by_cause(void **state)
{
	struct metrics_counters c = { 0 };
	struct metrics m = { .shards = both, .n_shards = 1, .loops = idles, .probes = asked, .counters = &c, .tickets = &no_tickets };
	char want[VALUE_CAP];
	struct slice text;

	(void)state;
	for (int i = REFUSAL_NONE + 1; i < REFUSAL_CAUSES; i++) {
		struct refusal r = { .cause = (enum refusal_cause)i, .name = refusal_cause_name((enum refusal_cause)i) };

		for (int k = 0; k < i; k++)
			metrics_count_refusal(&c, &r);
	}
	for (int i = PKI_OK + 1; i < PKI_CAUSES; i++) {
		struct refusal r = { .cause = REFUSAL_CERTIFICATE, .name = pki_cause_name((enum pki_cause)i) };

		for (int k = 0; k < 100 + i; k++)
			metrics_count_refusal(&c, &r);
	}
	text = text_of(&m);
	for (int i = REFUSAL_NONE + 1; i < REFUSAL_CAUSES; i++) {
		(void)snprintf(want, sizeof(want), "signet_refusals_total{cause=\"%s\"}", refusal_cause_name((enum refusal_cause)i));
		assert_int_equal(value_of(text, want), i);
	}
	for (int i = PKI_OK + 1; i < PKI_CAUSES; i++) {
		(void)snprintf(want, sizeof(want), "signet_refusals_total{cause=\"%s\"}", pki_cause_name((enum pki_cause)i));
		assert_int_equal(value_of(text, want), 100 + i);
	}
	text_free(text);
}

static void
the_guide_explains_each(void **state)
{
	static const struct metrics_certificate certificate = { "l", "f", 1, 1 };
	static const struct metrics_counters none;
	struct metrics m = { .shards = both, .n_shards = 1, .loops = idles, .probes = asked, .certificates = &certificate, .n_certificates = 1, .counters = &none, .tickets = &no_tickets };
	struct slice text = text_of(&m);
	struct reading r = { 0 };
	struct err err = { 0 };
	uint8_t *doc = NULL;
	size_t n = 0;

	(void)state;
	assert_true(file_read(guide, 1 << 20, &doc, &n, &err));
	read_all(text, &r);
	for (size_t i = 0; i < r.n; i++) {
		struct slice name = r.families[i].name;
		char row[128];
		int k = snprintf(row, sizeof(row), "| `%.*s` | %.*s |", (int)name.n, (const char *)name.p,
		    (int)r.families[i].type.n, (const char *)r.families[i].type.p);

		if (memmem(doc, n, row, (size_t)k) == NULL)
			fail_msg("%s has no row that begins with %s", guide, row);
	}
	free(doc);
	text_free(text);
}

/* A scrape wishes for a count, the main thread makes it, not more often than it should. */
static void
descriptors_are_counted_now_and_then(void **state)
{
	struct metrics_counters c = { 0 };
	uint64_t n;

	(void)state;
	metrics_tick(&c, 1000);
	n = atomic_load(&c.open_fds);
	assert_true(n >= 3);
	atomic_store(&c.open_fds, 0);
	metrics_tick(&c, 100000); /* nobody wants to know */
	assert_int_equal(atomic_load(&c.open_fds), 0);
	atomic_store(&c.fds_wanted, true);
	metrics_tick(&c, 5000);
	assert_int_equal(atomic_load(&c.open_fds), 0);
	metrics_tick(&c, 11000);
	assert_int_equal(atomic_load(&c.open_fds), n);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_are_summed),
		cmocka_unit_test(labels_are_escaped),
		cmocka_unit_test(refusals_are_counted_by_cause),
		cmocka_unit_test(descriptors_are_counted_now_and_then),
		cmocka_unit_test(the_guide_explains_each),
	};

	guide = argc > 1 ? argv[1] : "docs/monitoring.md";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
