/* What Prometheus may know of the broker: the counters of the shards and of the server in the text format 0.0.4, as a file that is
 * written anew for each reader. */
#include "server/internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/text.h"

enum { LABEL_CAP = 1024, FDS_EVERY_MS = 10000 };

#define IN(field) offsetof(struct shard_stats, field)

/* Sums over all shards. docs/monitoring.md has the same names, and the test compares. */
static const struct {
	const char *name, *help;
	size_t at;
	bool gauge;
} sums[] = {
	{ "signet_sessions", "MQTT sessions, connected or kept for a client that is away.", IN(sessions), true },
	{ "signet_subscriptions", "Subscriptions of all sessions.", IN(subscriptions), true },
	{ "signet_shared_subscriptions", "Subscriptions that are shared.", IN(shared), true },
	{ "signet_retained_messages", "Retained messages.", IN(retained), true },
	{ "signet_queued_messages", "Messages that wait for clients.", IN(queued), true },
	{ "signet_queued_bytes", "Bytes of these messages; one that waits for several clients counts for each.", IN(queued_bytes), true },
	{ "signet_inflight_messages", "QoS 1 and 2 messages that were sent and are not acknowledged.", IN(inflight), true },
	{ "signet_retained_bytes", "Bytes of the retained messages and their topics.", IN(retained_bytes), true },
	{ "signet_sockets_total", "Connections that became ready for a protocol.", IN(sockets), false },
	{ "signet_connects_total", "MQTT connections that were accepted.", IN(connects), false },
	{ "signet_refused_total", "MQTT connections that were answered with a refusal.", IN(refused), false },
	{ "signet_sessions_expired_total", "Sessions that ended because their client stayed away too long.", IN(expired), false },
	{ "signet_packets_received_total", "MQTT packets from clients.", IN(packets_in), false },
	{ "signet_packets_sent_total", "MQTT packets to clients.", IN(packets_out), false },
	{ "signet_bytes_received_total", "Bytes of MQTT from clients.", IN(bytes_in), false },
	{ "signet_bytes_sent_total", "Bytes of MQTT to clients.", IN(bytes_out), false },
	{ "signet_rate_waits_total", "Times that a publisher was not read from, as it or its listener was above a rate.", IN(paced), false },
	{ "signet_data_not_object_total", "Publications to topics that end in attrs, whose payload was no JSON object (device_data).", IN(no_objects), false },
	{ "signet_denied_total", "Publications, subscriptions, wills and deliveries that the policy denied.", IN(denied), false },
};

/* By QoS. */
static const struct {
	const char *name, *help;
	size_t at;
} by_qos[] = {
	{ "signet_messages_received_total", "PUBLISH packets from clients.", IN(messages_in) },
	{ "signet_messages_sent_total", "PUBLISH packets to clients.", IN(messages_out) },
	{ "signet_payload_bytes_received_total", "Bytes of payload in PUBLISH packets from clients.", IN(payload_in) },
	{ "signet_payload_bytes_sent_total", "Bytes of payload in PUBLISH packets to clients.", IN(payload_out) },
};

static void
put_head(FILE *f, const char *name, const char *type, const char *help)
{
	(void)fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
put_gauge(FILE *f, const char *name, const char *help, uint64_t value)
{
	put_head(f, name, "gauge", help);
	(void)fprintf(f, "%s %" PRIu64 "\n", name, value);
}

/* A label's value in quotes. Paths need not be UTF-8, the format must be. */
static void
put_label(FILE *f, const char *value)
{
	char shown[LABEL_CAP];
	const char *p = utf8_ok(slice_str(value)) ? value
						  : text_show(slice_str(value), shown, sizeof(shown));

	(void)fputc('"', f);
	for (; *p != '\0'; p++) {
		if (*p == '\n')
			(void)fputs("\\n", f);
		else if (*p == '"' || *p == '\\')
			(void)fprintf(f, "\\%c", *p);
		else
			(void)fputc(*p, f);
	}
	(void)fputc('"', f);
}

static uint64_t
total(const struct metrics *m, size_t at)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < m->n_shards; i++)
		n += figure_of(m->shards[i], at);
	return n;
}

static void
put_connections(FILE *f, const struct metrics *m)
{
	put_head(f, "signet_connections", "gauge", "MQTT connections that are open, by worker and role.");
	for (unsigned i = 0; i < m->n_shards; i++)
		for (int role = 0; role < AUTHZ_ROLE_COUNT; role++)
			(void)fprintf(f, "signet_connections{worker=\"%u\",role=\"%s\"} %" PRIu64 "\n", i,
			    authz_role_name((enum authz_role)role), figure_of(m->shards[i], IN(roles) + (size_t)role * sizeof(uint64_t)));
}

static void
put_drops(FILE *f, const struct metrics *m)
{
	put_head(f, "signet_messages_dropped_total", "counter", "Messages that a client did not get, by reason and the client's role.");
	for (int why = 0; why < BROKER_DROPS; why++)
		for (int role = 0; role < AUTHZ_ROLE_COUNT; role++)
			(void)fprintf(f, "signet_messages_dropped_total{reason=\"%s\",role=\"%s\"} %" PRIu64 "\n",
			    broker_drop_name((enum broker_drop)why), authz_role_name((enum authz_role)role),
			    total(m, IN(drops) + ((size_t)why * AUTHZ_ROLE_COUNT + (size_t)role) * sizeof(uint64_t)));
}

static void
put_shards(FILE *f, const struct metrics *m)
{
	put_connections(f, m);
	for (size_t k = 0; k < ARRAY_LEN(sums); k++) {
		put_head(f, sums[k].name, sums[k].gauge ? "gauge" : "counter", sums[k].help);
		(void)fprintf(f, "%s %" PRIu64 "\n", sums[k].name, total(m, sums[k].at));
	}
	for (size_t k = 0; k < ARRAY_LEN(by_qos); k++) {
		put_head(f, by_qos[k].name, "counter", by_qos[k].help);
		for (unsigned q = 0; q < BROKER_QOS; q++)
			(void)fprintf(f, "%s{qos=\"%u\"} %" PRIu64 "\n", by_qos[k].name, q, total(m, by_qos[k].at + q * sizeof(uint64_t)));
	}
	put_drops(f, m);
	put_head(f, "signet_worker_backlog_bytes", "gauge", "Bytes of letters from other workers that wait for this one.");
	for (unsigned i = 0; i < m->n_shards; i++)
		(void)fprintf(f, "signet_worker_backlog_bytes{worker=\"%u\"} %" PRIu64 "\n", i, figure_of(m->shards[i], IN(backlog)));
}

/* ---- loops ---- */

static void
put_seconds(FILE *f, uint64_t ns)
{
	(void)fprintf(f, "%" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000, ns % 1000000000);
}

static void
put_lag(FILE *f, unsigned worker, const struct loop_stats *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < LOOP_LAGS; i++) {
		n += figure_read(&s->lag[i]);
		if (i < LOOP_LAGS - 1)
			(void)fprintf(f, "signet_loop_lag_seconds_bucket{worker=\"%u\",le=\"%g\"} %" PRIu64 "\n", worker,
			    loop_lag_us[i] / 1e6, n);
	}
	(void)fprintf(f, "signet_loop_lag_seconds_bucket{worker=\"%u\",le=\"+Inf\"} %" PRIu64 "\n", worker, n);
	(void)fprintf(f, "signet_loop_lag_seconds_sum{worker=\"%u\"} ", worker);
	put_seconds(f, figure_read(&s->busy_ns));
	(void)fprintf(f, "signet_loop_lag_seconds_count{worker=\"%u\"} %" PRIu64 "\n", worker, n);
}

static void
put_loops(FILE *f, const struct metrics *m)
{
	put_head(f, "signet_loop_lag_seconds", "histogram", "Turns of the event loop by how long they took; what becomes ready meanwhile waits.");
	for (unsigned i = 0; i < m->n_shards; i++)
		put_lag(f, i, m->loops[i]);
	put_head(f, "signet_tls_handshake_seconds_total", "counter", "Time that a worker spent in TLS handshakes.");
	for (unsigned i = 0; i < m->n_shards; i++) {
		(void)fprintf(f, "signet_tls_handshake_seconds_total{worker=\"%u\"} ", i);
		put_seconds(f, figure_read(&m->loops[i]->shake_ns));
	}
}

/* ---- refusals ---- */

static void
put_cause(FILE *f, const char *metric, const char *cause, const _Atomic uint64_t *n)
{
	(void)fprintf(f, "%s\"%s\"} %" PRIu64 "\n", metric, cause, figure_read(n));
}

/* All causes from the start on, so that the first of its kind is a change. */
static void
put_refusals(FILE *f, const struct metrics_counters *c)
{
	put_head(f, "signet_refusals_total", "counter",
	    "Refusals by cause, the words in brackets of the log; those the log left out too.");
	for (int i = REFUSAL_NONE + 1; i < REFUSAL_CAUSES; i++)
		put_cause(f, "signet_refusals_total{cause=", refusal_cause_name((enum refusal_cause)i), &c->refusals[i]);
	for (int i = PKI_OK + 1; i < PKI_CAUSES; i++)
		put_cause(f, "signet_refusals_total{cause=", pki_cause_name((enum pki_cause)i), &c->certificates[i]);
}

static bool
is_handshake(enum refusal_cause c)
{
	return (c >= REFUSAL_NO_CERTIFICATE && c < REFUSAL_TLS_ON_PLAIN && c != REFUSAL_LEFT_AFTER_HANDSHAKE) ||
	       c == REFUSAL_PSK_UNKNOWN || c == REFUSAL_PSK_WRONG;
}

static void
put_handshakes(FILE *f, const struct metrics_counters *c)
{
	static const char metric[] = "signet_tls_handshakes_total{result=";

	put_head(f, "signet_tls_handshakes_total", "counter", "TLS handshakes by result: ok, probe, or the cause of the refusal.");
	put_cause(f, metric, "ok", &c->handshakes);
	put_cause(f, metric, "probe", &c->handshake_refusals[REFUSAL_NONE]);
	for (int i = REFUSAL_NONE + 1; i < REFUSAL_CAUSES; i++)
		if (is_handshake((enum refusal_cause)i))
			put_cause(f, metric, refusal_cause_name((enum refusal_cause)i), &c->handshake_refusals[i]);
	for (int i = PKI_OK + 1; i < PKI_CAUSES; i++)
		put_cause(f, metric, pki_cause_name((enum pki_cause)i), &c->handshake_certificates[i]);
}

static void
put_tickets(FILE *f, const struct metrics *m)
{
	static const char *const faults[TLS_TICKET_FAULTS] = { [TLS_TICKET_UNKNOWN] = "unknown-key", [TLS_TICKET_TOO_OLD] = "too-old",
		[TLS_TICKET_ELSEWHERE] = "other-listener-or-trust", [TLS_TICKET_JUDGED] = "judged" };

	put_head(f, "signet_tls_resumptions_total", "counter", "TLS handshakes with result ok that were resumptions by a session ticket.");
	(void)fprintf(f, "signet_tls_resumptions_total %" PRIu64 "\n", figure_read(&m->counters->resumptions));
	put_head(f, "signet_tls_tickets_refused_total", "counter", "Session tickets that were not taken, by reason; a full handshake followed each.");
	for (int i = 0; i < TLS_TICKET_FAULTS; i++)
		put_cause(f, "signet_tls_tickets_refused_total{reason=", faults[i], &m->tickets->refused[i]);
}

static void
put_staples(FILE *f, const struct metrics *m)
{
	bool first = true;

	for (unsigned i = 0; i < m->n_certificates; i++) {
		if (m->certificates[i].staple_end == 0)
			continue;
		if (first)
			put_head(f, "signet_ocsp_staple_expiry_seconds", "gauge",
			    "When the OCSP response that a listener shows with its certificate ends, in seconds since 1970.");
		first = false;
		(void)fputs("signet_ocsp_staple_expiry_seconds{listener=", f);
		put_label(f, m->certificates[i].listener);
		(void)fprintf(f, "} %" PRId64 "\n", m->certificates[i].staple_end);
	}
}

static void
put_certificates(FILE *f, const struct metrics *m)
{
	if (m->n_certificates == 0)
		return;
	put_head(f, "signet_certificate_expiry_seconds", "gauge",
	    "When the certificate of a listener ends, in seconds since 1970.");
	for (unsigned i = 0; i < m->n_certificates; i++) {
		(void)fputs("signet_certificate_expiry_seconds{listener=", f);
		put_label(f, m->certificates[i].listener);
		(void)fputs(",file=", f);
		put_label(f, m->certificates[i].file);
		(void)fprintf(f, "} %" PRId64 "\n", m->certificates[i].not_after);
	}
}

/* ---- certificates of CAs ---- */

struct ca_lines {
	FILE *f;
	const char *listener;
};

static void
put_ca(void *ctx, const struct pki_ca_facts *c)
{
	const struct ca_lines *x = ctx;

	(void)fputs("signet_ca_certificate_expiry_seconds{listener=", x->f);
	put_label(x->f, x->listener);
	(void)fputs(",subject=", x->f);
	put_label(x->f, c->subject);
	(void)fprintf(x->f, ",serial=\"%s\"} %" PRId64 "\n", c->serial_hex, c->not_after);
}

static void
put_cas(FILE *f, const struct metrics *m)
{
	if (m->n_cas == 0)
		return;
	put_head(f, "signet_ca_certificate_expiry_seconds", "gauge",
	    "When a CA that client certificates may come from ends, in seconds since 1970.");
	for (unsigned i = 0; i < m->n_cas; i++) {
		struct ca_lines x = { f, m->cas[i].listener };

		pki_trust_cas(m->cas[i].trust, put_ca, &x);
	}
}

/* ---- the process ---- */

/* False: /proc is not there. */
static bool
count_fds(uint64_t *ret)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	uint64_t n = 0;

	if (d == NULL)
		return false;
	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	(void)closedir(d); /* only read from */
	*ret = n > 0 ? n - 1 : 0; /* without the one that looked */
	return true;
}

static void
put_process(FILE *f, const struct metrics *m)
{
	uint64_t n = 0;

	put_head(f, "signet_build_info", "gauge", "Always 1; the label tells the version.");
	(void)fputs("signet_build_info{version=\"" SIGNET_VERSION "\"} 1\n", f);
	put_gauge(f, "process_start_time_seconds", "When the broker started, in seconds since 1970.",
	    (uint64_t)m->started);
	if (memory_resident(&n))
		put_gauge(f, "process_resident_memory_bytes", "Memory that the process has in RAM.", n);
	n = atomic_load_explicit(&m->counters->open_fds, memory_order_relaxed);
	if (n > 0)
		put_gauge(f, "process_open_fds", "Descriptors that were open a little while ago.", n);
	put_gauge(f, "signet_memory_limit_bytes", "memory_limit; 0: none.", m->memory_limit);
	put_gauge(f, "signet_memory_used_bytes", "What counts for memory_limit, far below it an upper bound; 0 without a limit.", m->memory_used);
	put_gauge(f, "signet_memory_shed_level", "What is shed for memory_limit: 0 nothing, 1 QoS 0, 2 and connections, 3 and publishers, 4 and queues.",
	    m->memory_level);
	put_gauge(f, "signet_registry_devices", "Devices that the control process has stated, for require_registration.", m->registry.devices);
	put_gauge(f, "signet_registry_generation", "Of what it has stated last; 0: nothing since the start, and devices are refused.",
	    m->registry.known ? (uint64_t)m->registry.generation : 0);
}

char *
metrics_text(const struct metrics *m, size_t *ret_n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, ret_n);
	bool ok;

	if (f == NULL)
		return NULL;
	put_shards(f, m);
	put_loops(f, m);
	metrics_put_health(f, m);
	put_refusals(f, m->counters);
	put_handshakes(f, m->counters);
	put_tickets(f, m);
	put_certificates(f, m);
	put_staples(f, m);
	put_cas(f, m);
	put_process(f, m);
	metrics_put_store(f, m->store);
	metrics_put_ocsp(f, m->ocsp);
	ok = ferror(f) == 0;
	ok = fclose(f) == 0 && ok;
	if (ok)
		return text;
	free(text);
	return NULL;
}

static unsigned
find_cause(const char *name)
{
	unsigned i = PKI_CAUSES;

	while (i > 0 && strcmp(pki_cause_name((enum pki_cause)(i - 1)), name) != 0)
		i--;
	return i; /* one more than the cause; 0: none has this name */
}

void
metrics_count_refusal(struct metrics_counters *c, const struct refusal *r)
{
	unsigned i = r->cause == REFUSAL_CERTIFICATE ? find_cause(r->name) : 0;

	(void)atomic_fetch_add_explicit(
	    i > 0 ? &c->certificates[i - 1] : &c->refusals[r->cause], 1, memory_order_relaxed);
}

void
metrics_count_handshake(struct metrics_counters *c, const struct refusal *r)
{
	unsigned i = r->cause == REFUSAL_CERTIFICATE ? find_cause(r->name) : 0;

	(void)atomic_fetch_add_explicit(
	    i > 0 ? &c->handshake_certificates[i - 1] : &c->handshake_refusals[r->cause], 1, memory_order_relaxed);
}

/* A hundred thousand descriptors are a long walk, which no worker can afford. */
void
metrics_tick(struct metrics_counters *c, uint64_t now_ms)
{
	uint64_t n, last = atomic_load_explicit(&c->fds_ms, memory_order_relaxed);

	if (last != 0 && (now_ms < last + FDS_EVERY_MS || !atomic_exchange(&c->fds_wanted, false)))
		return;
	if (count_fds(&n))
		atomic_store_explicit(&c->open_fds, n, memory_order_relaxed);
	atomic_store_explicit(&c->fds_ms, now_ms, memory_order_relaxed);
}

/* ---- certificates of bridges, whose plans are elsewhere by the time that somebody asks ---- */

struct metrics_bridges {
	unsigned n;
	struct {
		char name[80], file[240];
		int64_t not_after;
	} v[];
};

void
metrics_bridges_set(struct server *s, const struct bridge_plans *plans)
{
	struct metrics_bridges *b = calloc(1, sizeof(*b) + plans->n * sizeof(b->v[0])), *old;
	int64_t from;

	for (unsigned i = 0; b != NULL && i < plans->n; i++) {
		const struct bridge_plan *p = plans->v[i];

		if (p->tls == NULL || p->config.certfile == NULL || !tls_ctx_dates(p->tls, &from, &b->v[b->n].not_after))
			continue;
		(void)snprintf(b->v[b->n].name, sizeof(b->v[0].name), "bridge %s", p->config.name);
		(void)snprintf(b->v[b->n].file, sizeof(b->v[0].file), "%s", p->config.certfile);
		b->n++;
	}
	(void)pthread_mutex_lock(&s->lock);
	old = s->bridge_certificates;
	s->bridge_certificates = b;
	(void)pthread_mutex_unlock(&s->lock);
	free(old);
}

/* ---- for the listeners ---- */

/* What one reader gets. */
struct page {
	char *text;
	size_t n, off;
};

static char *
text_of_server(struct server *s, size_t *ret_n)
{
	const struct shard_stats *shards[CONFIG_WORKERS_MAX];
	const struct loop_stats *loops[CONFIG_WORKERS_MAX];
	const struct probe *probes[CONFIG_WORKERS_MAX];
	struct metrics_ca cas[CONFIG_LISTENERS_MAX];
	struct metrics_certificate certificates[CONFIG_LISTENERS_MAX + CONFIG_BRIDGES_MAX];
	struct metrics m = { .shards = shards,
		.n_shards = s->n_workers,
		.certificates = certificates,
		.loops = loops,
		.probes = probes,
		.board = s->board,
		.cas = cas,
		.memory_limit = (uint64_t)atomic_load(&s->memory.limit),
		.memory_used = atomic_load(&s->memory.used),
		.memory_level = atomic_load(&s->memory.level),
		.counters = s->counters,
		.tickets = tls_tickets_stats(s->tickets),
		.ocsp = ocsp_counters(s->ocsp),
		.store = persist_store(s),
		.started = s->started };
	char *text;

	registration_facts(s->registrations, &m.registry);
	for (unsigned i = 0; i < m.n_shards; i++) {
		shards[i] = shard_stats(s->workers[i].shard);
		loops[i] = loop_stats(s->workers[i].loop);
		probes[i] = &s->workers[i].probe;
	}
	atomic_store_explicit(&s->counters->fds_wanted, true, memory_order_relaxed);
	/* A reload may take this world away. */
	(void)pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->n_listeners; i++) {
		const struct world_listener *wl = &s->world->listeners[i];
		struct metrics_certificate *c = &certificates[m.n_certificates];
		int64_t from;

		if (wl->trust != NULL)
			cas[m.n_cas++] = (struct metrics_ca){ s->listeners[i].config->name, wl->trust };
		if (wl->tls == NULL || !tls_ctx_dates(wl->tls, &from, &c->not_after))
			continue;
		c->staple_end = tls_ctx_staple_end(wl->tls);
		c->listener = s->listeners[i].config->name;
		c->file = wl->cert_file != NULL ? wl->cert_file : "";
		m.n_certificates++;
	}
	for (unsigned i = 0; s->bridge_certificates != NULL && i < s->bridge_certificates->n; i++)
		certificates[m.n_certificates++] = (struct metrics_certificate){ s->bridge_certificates->v[i].name,
			s->bridge_certificates->v[i].file, s->bridge_certificates->v[i].not_after };
	text = metrics_text(&m, ret_n);
	(void)pthread_mutex_unlock(&s->lock);
	return text;
}

static void *
on_open(void *ctx, const char *path, struct ws_file *ret)
{
	struct page *p = strcmp(path, "metrics") == 0 ? calloc(1, sizeof(*p)) : NULL;

	if (p == NULL)
		return NULL;
	p->text = text_of_server(ctx, &p->n);
	if (p->text == NULL) {
		free(p);
		return NULL;
	}
	ret->size = p->n;
	return p;
}

static ptrdiff_t
on_read(void *file, void *out, size_t n)
{
	struct page *p = file;
	size_t k = NUM_MIN(n, p->n - p->off);

	memcpy(out, p->text + p->off, k);
	p->off += k;
	return (ptrdiff_t)k;
}

static void
on_close(void *file)
{
	struct page *p = file;

	free(p->text);
	free(p);
}

struct ws_files
metrics_files(struct server *s)
{
	return (struct ws_files){ .ctx = s, .open = on_open, .read = on_read, .close = on_close };
}

/* They tell what $SYS tells, so whoever may subscribe to that may read them. A listener that can tell nobody from nobody is
 * guarded by its address: no policy is asked about people without names there. */
bool
metrics_may_read(struct listener *l, const struct authz_principal *who)
{
	const struct config_listener *c = l->config;
	unsigned rules = atomic_load(&l->rules);
	struct server *s = l->server;
	struct authz_policy *policy;
	struct authz_verdict v;
	struct authz_facts facts;
	bool ok;

	if (c->cafile == NULL && c->capath == NULL && c->psk_hint == NULL)
		return c->allow_anonymous != 0;
	authz_principal_facts(who, &facts);
	/* Before CONNECT a user name can only come from a certificate or a key. */
	if (!facts.has_cert && facts.username.p == NULL && (rules & RULE_ANONYMOUS) == 0)
		return false;
	(void)pthread_mutex_lock(&s->lock);
	policy = authz_policy_ref(s->world->listeners[l->index].policy);
	(void)pthread_mutex_unlock(&s->lock);
	ok = authz_allowed(policy, who, facts.cn, AUTHZ_SUBSCRIBE, SL("$SYS/#"), &v);
	authz_policy_unref(policy);
	return ok;
}
