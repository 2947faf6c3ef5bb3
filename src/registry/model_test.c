/* The registry against a model of a few lines: thousands of random operations, with restarts, transactions that are given up and
 * a broker that listens now and then. After each round both must say the same, and the broker must know who there is. */
#include "registry/testkit.h"

#include "base/num.h"

enum { DEVICES = 24, ROUNDS = 60, STEPS = 40, SERIALS = 4096 };

/* What is remembered of each device, by its number; even ones are the first tenant's. */
struct model {
	bool there[DEVICES], gone[DEVICES]; /* gone: removed since the broker listened last */
	enum registry_device_state state[DEVICES];
	char label[DEVICES][8];
	int owner[SERIALS];                 /* of a certificate; -1: none any more */
	enum registry_certificate_state cert[SERIALS];
	int64_t end[SERIALS];
	unsigned n_certs;
};

/* Whom the broker lets in, by what it was told. */
struct broker {
	bool known[DEVICES], purged[DEVICES];
	enum registry_device_state state[DEVICES];
	int64_t generation;
};

struct run {
	struct kit *k;
	struct model m;
	struct broker b;
	uint64_t random;
};

static unsigned
any(struct run *x, unsigned n)
{
	x->random = x->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(x->random >> 33) % n;
}

static struct slice
tenant_of(unsigned i)
{
	return i % 2 == 0 ? SL("default") : SL("other");
}

static struct slice
id_of(unsigned i, char out[8])
{
	(void)snprintf(out, 8, "d%02u", i / 2 % 100);
	return slice_str(out);
}

static struct slice
cn_of(unsigned i, char out[16])
{
	(void)snprintf(out, 16, i % 2 == 0 ? "d%02u" : "other:d%02u", i / 2 % 100);
	return slice_str(out);
}

static unsigned
number_of(struct slice cn)
{
	unsigned n = 0;

	assert_true(cn.n >= 3);
	for (size_t i = cn.n - 2; i < cn.n; i++)
		n = 10 * n + cn.p[i] - '0';
	return 2 * n + (cn.p[0] == 'o');
}

/* ---- operations: each does the same to both, or expects the error that the model foresees ---- */

#define AGREE(x, should, code_else, call)                                                                                       \
	do {                                                                                                                    \
		if (should)                                                                                                     \
			WORKS((x)->k, call);                                                                                    \
		else                                                                                                            \
			FAILS((x)->k, code_else, call);                                                                         \
	} while (0)

static void
op_add(struct run *x, unsigned i)
{
	char id[8];
	struct registry_device_new d = { .device = { .tenant = tenant_of(i), .id = id_of(i, id), .state = any(x, REGISTRY_DEVICE_STATES) } };
	bool fresh = !x->m.there[i];

	AGREE(x, fresh, ERR_EXISTS, registry_device_add(x->k->r, &d, &x->k->err));
	if (!fresh)
		return;
	x->m.there[i] = true;
	x->m.state[i] = d.device.state;
	x->m.label[i][0] = '\0';
}

static void
op_remove(struct run *x, unsigned i)
{
	char id[8];
	unsigned n = 0, want = 0;

	for (unsigned c = 0; c < x->m.n_certs; c++)
		want += x->m.owner[c] == (int)i && x->m.cert[c] != REGISTRY_CERT_REVOKED;
	AGREE(x, x->m.there[i], ERR_MISSING, registry_device_remove(x->k->r, tenant_of(i), id_of(i, id), 5, &n, &x->k->err));
	if (!x->m.there[i])
		return;
	assert_int_equal(n, want);
	x->m.there[i] = false;
	x->m.gone[i] = true;
	for (unsigned c = 0; c < x->m.n_certs; c++) {
		if (x->m.owner[c] != (int)i)
			continue;
		x->m.cert[c] = REGISTRY_CERT_REVOKED;
		x->m.owner[c] = -1;
	}
}

static void
op_state(struct run *x, unsigned i)
{
	char id[8];
	enum registry_device_state state = any(x, REGISTRY_DEVICE_STATES);

	AGREE(x, x->m.there[i], ERR_MISSING, kit_set_state(x->k, (const char *)tenant_of(i).p, (const char *)id_of(i, id).p, state));
	if (x->m.there[i])
		x->m.state[i] = state;
}

static void
op_set(struct run *x, unsigned i)
{
	char cn[16], label[8];
	struct registry_device d = { .cn = cn_of(i, cn), .state = any(x, REGISTRY_DEVICE_STATES) };

	(void)snprintf(label, sizeof label, "l%u", any(x, 50));
	d.label = slice_str(label);
	AGREE(x, x->m.there[i], ERR_MISSING, registry_device_set(x->k->r, &d, &x->k->err));
	if (!x->m.there[i])
		return;
	x->m.state[i] = d.state;
	memcpy(x->m.label[i], label, sizeof label);
}

static void
op_certify(struct run *x, unsigned i)
{
	char cn[16];
	unsigned c = x->m.n_certs;
	struct registry_certificate_new n = { .supersede = any(x, 3) == 0 };

	if (c == SERIALS)
		return;
	(void)cn_of(i, cn);
	n.certificate = kit_certificate(x->k, "client", cn, c, 1 + (int)any(x, 400));
	WORKS(x->k, registry_certificate_add(x->k->r, &n, &x->k->err));
	/* Without a device it belongs to its CN, and goes to the device that comes under it. */
	for (unsigned o = 0; n.supersede && o < c; o++)
		if (x->m.owner[o] == (int)i && x->m.cert[o] == REGISTRY_CERT_ACTIVE)
			x->m.cert[o] = REGISTRY_CERT_SUPERSEDED;
	x->m.owner[c] = (int)i;
	x->m.cert[c] = REGISTRY_CERT_ACTIVE;
	x->m.end[c] = n.certificate.not_after;
	x->m.n_certs++;
}

static void
op_revoke(struct run *x, unsigned i)
{
	unsigned c = x->m.n_certs > 0 ? any(x, x->m.n_certs) : 0;
	int reason = any(x, 2) == 0 ? 6 : 1;
	char serial[16];
	bool may;

	(void)i;
	if (x->m.n_certs == 0)
		return;
	(void)snprintf(serial, sizeof serial, "%08x", c);
	if (x->m.cert[c] == REGISTRY_CERT_HOLD && reason == 6) {
		WORKS(x->k, registry_certificate_unhold(x->k->r, SL("client"), slice_str(serial), &x->k->err));
		x->m.cert[c] = REGISTRY_CERT_ACTIVE;
		return;
	}
	may = x->m.cert[c] != REGISTRY_CERT_REVOKED;
	AGREE(x, may, ERR_EXISTS, registry_certificate_revoke(x->k->r, SL("client"), slice_str(serial), reason, &x->k->err));
	if (may)
		x->m.cert[c] = reason == 6 ? REGISTRY_CERT_HOLD : REGISTRY_CERT_REVOKED;
}

typedef void op_fn(struct run *x, unsigned i);
static op_fn *const ops[] = { op_add, op_add, op_remove, op_state, op_set, op_certify, op_certify, op_revoke };

/* ---- the broker ---- */

static bool
on_change(void *ctx, const struct registry_change *c)
{
	struct broker *b = ctx;
	unsigned i = number_of(c->cn);

	assert_true(c->generation == 0 || c->generation > b->generation);
	if (c->generation != 0)
		b->generation = c->generation;
	b->known[i] = !c->removed;
	b->state[i] = c->state;
	b->purged[i] |= c->removed;
	assert_true(slice_eq(c->tenant, tenant_of(i)));
	return true;
}

/* It has heard nothing since, or is another one and takes all of it. */
static void
listen(struct run *x)
{
	struct broker *b = &x->b;
	int64_t at = 0, generation;
	bool more = true;

	memset(b->purged, 0, sizeof b->purged);
	WORKS(x->k, registry_generation(x->k->r, &generation, &x->k->err));
	/* Removals are told to those who take a snapshot, too. */
	WORKS(x->k, registry_changes(x->k->r, b->generation, 1000, on_change, b, &x->k->err));
	if (any(x, 4) == 0) {
		memset(b->known, 0, sizeof b->known);
		while (more)
			WORKS(x->k, registry_snapshot(x->k->r, &at, 5, on_change, b, &more, &x->k->err));
	}
	b->generation = generation;
	if (any(x, 2) == 0)
		WORKS(x->k, registry_changes_done(x->k->r, b->generation, &x->k->err));
	for (unsigned i = 0; i < DEVICES; i++) {
		assert_int_equal(b->known[i], x->m.there[i]);
		assert_int_equal(b->purged[i], x->m.gone[i]);
		if (b->known[i])
			assert_int_equal(b->state[i], x->m.state[i]);
	}
	memset(x->m.gone, 0, sizeof x->m.gone);
}

/* ---- comparing ---- */

struct seen {
	const struct model *m;
	bool device[DEVICES];
	unsigned n;
};

static int64_t
end_of(const struct model *m, unsigned i)
{
	int64_t end = 0;

	for (unsigned c = 0; c < m->n_certs; c++)
		if (m->owner[c] == (int)i && m->cert[c] == REGISTRY_CERT_ACTIVE)
			end = NUM_MAX(end, m->end[c]);
	return end;
}

static bool
on_device(void *ctx, const struct registry_device *d)
{
	struct seen *s = ctx;
	unsigned i = number_of(d->cn);

	assert_true(s->m->there[i] && !s->device[i]);
	assert_int_equal(d->state, s->m->state[i]);
	assert_true(slice_is(d->label, s->m->label[i]));
	assert_int_equal(d->not_after, end_of(s->m, i));
	s->device[i] = true;
	s->n++;
	return true;
}

static bool
on_certificate(void *ctx, const struct registry_certificate *c)
{
	struct seen *s = ctx;
	unsigned n = (unsigned)strtoul(c->serial, NULL, 16);

	assert_int_equal(c->state, s->m->cert[n]);
	assert_true(c->device.n == 0 || s->m->owner[n] == (int)number_of(c->cn));
	s->n++;
	return true;
}

static void
compare_devices(struct run *x, enum registry_device_order order)
{
	struct registry_page page = { .limit = 1 + any(x, 9) };
	char cursor[REGISTRY_CURSOR_MAX];
	struct seen s = { .m = &x->m };
	unsigned want = 0;

	do {
		WORKS(x->k, registry_device_list(x->k->r, &(struct registry_device_filter){ .order = order }, &page, on_device, &s, &x->k->err));
		memcpy(cursor, page.next, sizeof cursor);
		page.cursor = slice_str(cursor);
	} while (cursor[0] != '\0');
	for (unsigned i = 0; i < DEVICES; i++)
		want += x->m.there[i] && (order != REGISTRY_BY_EXPIRY || end_of(&x->m, i) > 0);
	assert_int_equal(s.n, want);
}

static void
compare(struct run *x)
{
	int64_t totals[REGISTRY_DEVICE_STATES], want[REGISTRY_DEVICE_STATES] = { 0 }, days[500], active = 0;
	struct registry_page page = { .limit = REGISTRY_PAGE_MAX };
	struct seen s = { .m = &x->m };

	compare_devices(x, REGISTRY_BY_ID);
	compare_devices(x, REGISTRY_BY_LABEL);
	compare_devices(x, REGISTRY_BY_EXPIRY);
	for (unsigned i = 0; i < DEVICES; i++)
		want[x->m.state[i]] += x->m.there[i];
	WORKS(x->k, registry_device_totals(x->k->r, SL(""), totals, &x->k->err));
	assert_memory_equal(totals, want, sizeof totals);
	WORKS(x->k, registry_certificate_list(x->k->r, &(struct registry_certificate_filter){ 0 }, &page, on_certificate, &s, &x->k->err));
	assert_int_equal(s.n, NUM_MIN(x->m.n_certs, REGISTRY_PAGE_MAX));
	WORKS(x->k, registry_expiry(x->k->r, &(struct registry_expiry){ .from = KIT_NOW, .n = ARRAY_LEN(days), .days = days }, &x->k->err));
	for (unsigned c = 0; c < x->m.n_certs; c++)
		active += x->m.cert[c] == REGISTRY_CERT_ACTIVE;
	for (unsigned i = 0; i < ARRAY_LEN(days); i++)
		active -= days[i];
	assert_int_equal(active, 0);
}

static void
count_fault(void *ctx, const char *text)
{
	(void)ctx;
	fail_msg("%s", text);
}

static void
test_model(void **state)
{
	struct kit *k = *state;
	struct run *x = calloc(1, sizeof *x), *before = calloc(1, sizeof *before);
	struct registry_report report;

	assert_true(x != NULL && before != NULL);
	*x = (struct run){ .k = k, .random = 20 };
	for (unsigned round = 0; round < ROUNDS; round++) {
		bool whole = any(x, 3) > 0;

		/* One transaction, which is given up now and then: then nothing of it was. */
		*before = *x;
		WORKS(k, registry_begin(k->r, &k->err));
		for (unsigned i = 0; i < STEPS; i++)
			ops[any(x, ARRAY_LEN(ops))](x, any(x, DEVICES));
		if (whole) {
			WORKS(k, registry_commit(k->r, &k->err));
		} else {
			registry_rollback(k->r);
			before->random = x->random;
			*x = *before;
		}
		for (unsigned i = 0; i < 3; i++)
			ops[any(x, ARRAY_LEN(ops))](x, any(x, DEVICES));
		if (any(x, 5) == 0)
			kit_reopen(k);
		if (any(x, 2) == 0)
			listen(x);
		compare(x);
	}
	listen(x);
	registry_close(k->r);
	k->r = NULL;
	WORKS(k, registry_check(k->path, true, count_fault, NULL, &report, &k->err));
	assert_int_equal(report.certificates, x->m.n_certs);
	free(before);
	free(x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_model, kit_setup, kit_teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
