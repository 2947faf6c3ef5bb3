/* What the registry costs: `registry_bench DIR [COUNT]`, with COUNT in thousands of devices. DIR is made and filled, or
 * used as it is when a registry is there already. Not a test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "registry/registry.h"

enum { BATCH = 10000, SAMPLES = 5000, SLOW_SAMPLES = 500, DER = 700, REVOKED_EVERY = 20, TEMPLATES = 20 };

struct bench {
	struct registry *r;
	struct err err;
	char path[300], copy[320];
	unsigned count;
	int64_t from, templates[TEMPLATES];
	double samples[SAMPLES];
	uint64_t rows;
};

static double
now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#define MUST(b, call)                                                                                                           \
	do {                                                                                                                    \
		if (!(call)) {                                                                                                  \
			fprintf(stderr, "%s: %s\n", #call, (b)->err.text);                                                      \
			exit(1);                                                                                                \
		}                                                                                                               \
	} while (0)

static int
by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
print_latency(struct bench *b, const char *what, size_t n)
{
	qsort(b->samples, n, sizeof *b->samples, by_value);
	printf("%-56s p50 %8.1f us, p99 %8.1f us, max %8.1f us\n", what, b->samples[n / 2] * 1e6, b->samples[n * 99 / 100] * 1e6,
	    b->samples[n - 1] * 1e6);
	(void)fflush(stdout);
}

/* ---- filling ---- */

static unsigned
any(const struct bench *b)
{
	uint32_t v;

	random_bytes(&v, sizeof v);
	return v % b->count;
}

static void
hex(char *out, unsigned i, unsigned digits)
{
	/* Spread, as serial numbers and fingerprints are, and found again from <i>. */
	uint64_t v = i;

	for (unsigned at = 0; at < digits; at += 16) {
		v = (v + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
		v ^= v >> 29;
		(void)snprintf(out + at, 17, "%016" PRIx64, v);
		out[digits] = '\0';
	}
}

static void
add(struct bench *b, unsigned i)
{
	static uint8_t der[DER];
	char id[16], label[32], attrs[64];
	struct registry_device_new d = { .ca = SL("client"), .profile = SL("client") };
	struct registry_certificate_new c = { .certificate = { .ca = SL("client"), .profile = SL("client"), .origin = SL("api"),
		.by = SL("bench"), .not_before = b->from, .not_after = b->from + 86400 * (1 + (int64_t)(i % 730)) } };

	(void)snprintf(id, sizeof id, "%06x", i);
	(void)snprintf(label, sizeof label, "reader %u in hall %u", i, i % 977);
	(void)snprintf(attrs, sizeof attrs, "{\"location\":\"hall %u\",\"rack\":%u}", i % 977, i % 41);
	memcpy(der, &i, sizeof i);
	d.device = (struct registry_device){ .tenant = SL("default"), .id = slice_str(id), .label = slice_str(label),
		.attrs = slice_str(attrs), .templates = { b->templates[i % TEMPLATES] }, .n_templates = 1,
		.state = i % 1000 == 7 ? REGISTRY_PENDING : REGISTRY_ENABLED };
	MUST(b, registry_device_add(b->r, &d, &b->err));
	c.certificate.cn = slice_str(id);
	c.certificate.der = slice_of(der, sizeof der);
	hex(c.certificate.serial, i, 32);
	hex(c.certificate.fingerprint, i + 0x80000000u, 64);
	hex(c.certificate.spki, i + 0x40000000u, 64);
	MUST(b, registry_certificate_add(b->r, &c, &b->err));
	if (i % REVOKED_EVERY == 0)
		MUST(b, registry_certificate_revoke(b->r, SL("client"), slice_str(c.certificate.serial), 4, &b->err));
	if (i % 2 == 0)
		MUST(b, registry_presence_set(b->r,
		    &(struct registry_presence){ .cn = slice_str(id), .online = i % 4 == 0, .last_seen = b->from - i % 86400,
		        .address = SL("192.0.2.1:40000") }, 1, &b->err));
}

static void
fill(struct bench *b)
{
	struct registry_ca ca = { .name = SL("client"), .role = SL("client"), .key = SL("0123456789abcdef0123456789abcdef"), .der = SL("DER"),
		.not_before = b->from, .not_after = b->from + 10 * 365 * 86400L, .own = true };
	double t = now(), took;
	struct stat st;

	MUST(b, registry_tenant_add(b->r, &(struct registry_tenant){ .name = SL("default") }, &b->err));
	MUST(b, registry_ca_put(b->r, &ca, &b->err));
	for (unsigned i = 0; i < TEMPLATES; i++)
		MUST(b, registry_template_add(b->r, &(struct registry_template){ .tenant = SL("default"), .label = SL("t"), .attrs = SL("[]") },
		    &b->templates[i], &b->err));
	for (unsigned i = 0; i < b->count; i += BATCH) {
		MUST(b, registry_begin(b->r, &b->err));
		for (unsigned j = i; j < NUM_MIN(i + BATCH, b->count); j++)
			add(b, j);
		MUST(b, registry_commit(b->r, &b->err));
	}
	took = now() - t;
	(void)stat(b->path, &st);
	printf("%u devices with a certificate, end entity, template, half of them seen: %.1f s, %.0f/s; file %.0f MB\n", b->count, took,
	    b->count / took, (double)st.st_size / 1e6);
}

/* The templates are the first of theirs. */
static bool
filled(struct bench *b)
{
	struct registry_device d;
	char last[16];

	for (unsigned i = 0; i < TEMPLATES; i++)
		b->templates[i] = i + 1;
	(void)snprintf(last, sizeof last, "%06x", b->count - 1);
	if (!registry_device_get(b->r, SL("default"), slice_str(last), &d, &b->err))
		return false;
	b->from = d.created;
	free(d.mem);
	return true;
}

/* ---- changes, each its own transaction ---- */

static void
bench_changes(struct bench *b)
{
	unsigned first = b->count + (unsigned)(time(NULL) % 1000000) * 2 * SLOW_SAMPLES; /* other serial numbers each time */
	struct registry_presence p[100];
	char id[100][16];

	for (unsigned i = 0; i < SLOW_SAMPLES; i++) {
		double t = now();

		MUST(b, registry_begin(b->r, &b->err));
		add(b, first + 1 + 2 * i); /* neither revoked nor seen */
		MUST(b, registry_commit(b->r, &b->err));
		b->samples[i] = now() - t;
	}
	print_latency(b, "new device with its certificate, on disk", SLOW_SAMPLES);
	for (unsigned i = 0; i < SLOW_SAMPLES; i++) {
		double t = now();
		char one[16];

		(void)snprintf(one, sizeof one, "%06x", first + 1 + 2 * i);
		MUST(b, registry_device_remove(b->r, SL("default"), slice_str(one), 5, NULL, &b->err));
		b->samples[i] = now() - t;
	}
	print_latency(b, "device removed, certificate revoked, on disk", SLOW_SAMPLES);
	for (unsigned i = 0; i < SLOW_SAMPLES; i++) {
		double t;

		for (unsigned j = 0; j < 100; j++) {
			(void)snprintf(id[j], sizeof id[j], "%06x", any(b));
			p[j] = (struct registry_presence){ .cn = slice_str(id[j]), .online = true, .last_seen = b->from + i };
		}
		t = now();
		MUST(b, registry_presence_set(b->r, p, 100, &b->err));
		b->samples[i] = now() - t;
	}
	print_latency(b, "presence of 100 devices, on disk", SLOW_SAMPLES);
}

/* ---- look-ups ---- */

static void
bench_finds(struct bench *b)
{
	struct registry_device d;
	struct registry_certificate c;
	char id[16], serial[40], fingerprint[72];
	double t;

	for (unsigned kind = 0; kind < 4; kind++) {
		static const char *const names[] = { "device by tenant and id", "device by CN", "certificate by CA and serial number",
			"certificate by fingerprint" };

		for (unsigned i = 0; i < SAMPLES; i++) {
			unsigned n = any(b);

			(void)snprintf(id, sizeof id, "%06x", n);
			hex(serial, n, 32);
			hex(fingerprint, n + 0x80000000u, 64);
			t = now();
			if (kind == 0)
				MUST(b, registry_device_get(b->r, SL("default"), slice_str(id), &d, &b->err));
			else if (kind == 1)
				MUST(b, registry_device_find(b->r, slice_str(id), &d, &b->err));
			else if (kind == 2)
				MUST(b, registry_certificate_get(b->r, SL("client"), slice_str(serial), &c, &b->err));
			else
				MUST(b, registry_certificate_find_fingerprint(b->r, slice_str(fingerprint), &c, &b->err));
			b->samples[i] = now() - t;
			free(kind < 2 ? d.mem : c.mem);
		}
		print_latency(b, names[kind], SAMPLES);
	}
}

/* ---- pages: from a random place, as far in as can be ---- */

static bool
on_device(void *ctx, const struct registry_device *d)
{
	((struct bench *)ctx)->rows += d->id.n > 0;
	return true;
}

static bool
on_certificate(void *ctx, const struct registry_certificate *c)
{
	((struct bench *)ctx)->rows += c->serial[0] != '\0';
	return true;
}

/* Page after page, all of the list or as many as are measured. One of the two filters is there. */
static void
bench_list(struct bench *b, const char *what, const struct registry_device_filter *d, const struct registry_certificate_filter *c)
{
	struct registry_page page = { .limit = 100 };
	char cursor[REGISTRY_CURSOR_MAX] = "", name[100];
	size_t n = 0;

	b->rows = 0;
	do {
		double t;

		page.cursor = slice_str(cursor);
		t = now();
		MUST(b, d != NULL ? registry_device_list(b->r, d, &page, on_device, b, &b->err)
				  : registry_certificate_list(b->r, c, &page, on_certificate, b, &b->err));
		b->samples[n++] = now() - t;
		memcpy(cursor, page.next, sizeof cursor);
	} while (cursor[0] != '\0' && n < SAMPLES);
	(void)snprintf(name, sizeof name, "%s: %zu pages, %" PRIu64 " rows", what, n, b->rows);
	print_latency(b, name, n);
}

static void
bench_pages(struct bench *b)
{
	bench_list(b, "devices", &(struct registry_device_filter){ 0 }, NULL);
	bench_list(b, "by label", &(struct registry_device_filter){ .order = REGISTRY_BY_LABEL }, NULL);
	bench_list(b, "by expiry", &(struct registry_device_filter){ .order = REGISTRY_BY_EXPIRY }, NULL);
	bench_list(b, "by last seen", &(struct registry_device_filter){ .order = REGISTRY_BY_LAST_SEEN }, NULL);
	bench_list(b, "prefix", &(struct registry_device_filter){ .prefix = SL("00a") }, NULL);
	bench_list(b, "pending", &(struct registry_device_filter){ .states = 1u << REGISTRY_PENDING }, NULL);
	bench_list(b, "template", &(struct registry_device_filter){ .template = b->templates[3] }, NULL);
	bench_list(b, "online", &(struct registry_device_filter){ .online = true }, NULL);
	bench_list(b, "expires in 3 days", &(struct registry_device_filter){ .expires_before = b->from + 3 * 86400 }, NULL);
	bench_list(b, "with a certificate that is good", &(struct registry_device_filter){ .certificates = 1u << REGISTRY_HAS_ACTIVE }, NULL);
	bench_list(b, "with a revoked one", &(struct registry_device_filter){ .certificates = 1u << REGISTRY_HAS_REVOKED }, NULL);
	bench_list(b, "seen, that are not there", &(struct registry_device_filter){ .seen_after = b->from + 86400 }, NULL);
	bench_list(b, "certificates", NULL, &(struct registry_certificate_filter){ 0 });
	bench_list(b, "certificates with DER", NULL, &(struct registry_certificate_filter){ .with_der = true });
	bench_list(b, "certificates by expiry", NULL, &(struct registry_certificate_filter){ .order = REGISTRY_CERT_BY_EXPIRY });
	bench_list(b, "revoked certificates", NULL, &(struct registry_certificate_filter){ .states = 1u << REGISTRY_CERT_REVOKED });
}

/* ---- the whole ---- */

static bool
on_revoked(void *ctx, const struct registry_revoked *v)
{
	((struct bench *)ctx)->rows += v->serial[0] != '\0';
	return true;
}

static bool
on_change(void *ctx, const struct registry_change *c)
{
	((struct bench *)ctx)->rows += c->cn.n > 0;
	return true;
}

static void
bench_whole(struct bench *b)
{
	int64_t totals[REGISTRY_DEVICE_STATES], days[730], at = 0;
	struct registry_backup *backup;
	struct registry_report report;
	double t = now();
	bool more = true, done = false;

	MUST(b, registry_device_totals(b->r, SL(""), totals, &b->err));
	printf("totals of devices: %.0f us; ", (now() - t) * 1e6);
	t = now();
	MUST(b, registry_expiry(b->r, &(struct registry_expiry){ .from = b->from, .n = 730, .days = days }, &b->err));
	printf("ends of 730 days: %.0f us; ", (now() - t) * 1e6);
	b->rows = 0;
	t = now();
	MUST(b, registry_revoked_each(b->r, SL("client"), on_revoked, b, &b->err));
	printf("%" PRIu64 " revoked for a CRL: %.0f ms\n", b->rows, (now() - t) * 1e3);
	b->rows = 0;
	t = now();
	for (unsigned i = 0; more; i++) {
		double slice = now();

		MUST(b, registry_snapshot(b->r, &at, 4096, on_change, b, &more, &b->err));
		b->samples[i % SAMPLES] = now() - slice;
	}
	printf("snapshot of %" PRIu64 " devices in slices of 4096: %.2f s\n", b->rows, now() - t);
	t = now();
	backup = registry_backup_new(b->r, b->copy, &b->err);
	MUST(b, backup != NULL);
	while (!done)
		MUST(b, registry_backup_step(backup, 2000, &done, &b->err));
	registry_backup_free(backup);
	printf("backup: %.1f s\n", now() - t);
	t = now();
	MUST(b, registry_check(b->copy, true, NULL, NULL, &report, &b->err));
	printf("check of every page and reference: %.1f s, %" PRId64 " faults\n", now() - t, report.faults);
	t = now();
	registry_close(b->r);
	printf("close: %.2f s; ", now() - t);
	t = now();
	b->r = registry_open(&(struct registry_options){ .path = b->path }, &b->err);
	MUST(b, b->r != NULL);
	printf("open: %.3f s; ", now() - t);
	registry_close(b->r);
	t = now();
	b->r = registry_open(&(struct registry_options){ .path = b->path, .check = true }, &b->err);
	MUST(b, b->r != NULL);
	printf("open with quick check: %.1f s\n", now() - t);
}

int
main(int argc, char *argv[])
{
	static struct bench b;

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: registry_bench DIR [THOUSANDS]\n");
		return 2;
	}
	b.from = (int64_t)time(NULL);
	(void)snprintf(b.path, sizeof b.path, "%s/registry.db", argv[1]);
	(void)snprintf(b.copy, sizeof b.copy, "%s.copy", b.path);
	MUST(&b, dir_make(argv[1], 0700, &b.err));
	b.r = registry_open(&(struct registry_options){ .path = b.path, .create = true }, &b.err);
	MUST(&b, b.r != NULL);
	b.count = 1000 * (argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 100);
	if (!filled(&b))
		fill(&b);
	bench_changes(&b);
	bench_finds(&b);
	bench_pages(&b);
	bench_whole(&b);
	registry_close(b.r);
	return 0;
}
