/* The registry: devices, templates, pages, presence, and what the broker is told. */
#include "registry/testkit.h"
#include "registry/internal.h"

static bool
show_tenant(void *ctx, const struct registry_tenant *t)
{
	return kit_add_name(ctx, t->name);
}

static void
test_tenants(void **state)
{
	struct kit *k = *state;
	struct registry_tenant t;
	struct kit_names names = { 0 };
	struct registry_page page = { .limit = 1 };
	char cursor[REGISTRY_CURSOR_MAX];

	FAILS(k, ERR_EXISTS, registry_tenant_add(k->r, &(struct registry_tenant){ .name = SL("other") }, &k->err));
	WORKS(k, registry_tenant_get(k->r, SL("default"), &t, &k->err));
	assert_true(t.first && t.devices == 0 && t.users == 0 && t.version == 1 && t.created == KIT_NOW && !t.disabled);
	free(t.mem);
	WORKS(k, registry_tenant_get(k->r, SL("other"), &t, &k->err));
	assert_false(t.first);
	t.quotas = SL("{\"devices\":5}");
	t.disabled = true;
	WORKS(k, registry_tenant_set(k->r, &t, &k->err));
	FAILS(k, ERR_CONFLICT, registry_tenant_set(k->r, &t, &k->err));
	free(t.mem);
	WORKS(k, registry_tenant_get(k->r, SL("other"), &t, &k->err));
	assert_true(t.disabled && t.version == 2 && slice_is(t.quotas, "{\"devices\":5}"));
	free(t.mem);
	FAILS(k, ERR_MISSING, registry_tenant_get(k->r, SL("none"), &t, &k->err));
	FAILS(k, ERR_MISSING, registry_tenant_set(k->r, &(struct registry_tenant){ .name = SL("none") }, &k->err));
	WORKS(k, registry_tenant_list(k->r, &page, show_tenant, &names, &k->err));
	assert_string_equal(names.text, "default,");
	memcpy(cursor, page.next, sizeof cursor);
	page.cursor = slice_str(cursor);
	WORKS(k, registry_tenant_list(k->r, &page, show_tenant, &names, &k->err));
	assert_string_equal(names.text, "default,other,");
	assert_string_equal(page.next, "");
	kit_device(k, "other", "d");
	FAILS(k, ERR_DENIED, registry_tenant_remove(k->r, SL("other"), &k->err));
	WORKS(k, registry_device_remove(k->r, SL("other"), SL("d"), 0, NULL, &k->err));
	WORKS(k, registry_tenant_remove(k->r, SL("other"), &k->err));
	FAILS(k, ERR_DENIED, registry_tenant_remove(k->r, SL("default"), &k->err));
	FAILS(k, ERR_MISSING, registry_tenant_remove(k->r, SL("other"), &k->err));
}

static void
test_templates(void **state)
{
	struct kit *k = *state;
	struct registry_template t = { .tenant = SL("default"), .label = SL("thermometer"), .attrs = SL("[{\"label\":\"t\"}]") };
	struct registry_device_new d = { .device = { .tenant = SL("default"), .id = SL("d1"), .n_templates = 1 } };
	struct registry_template got;
	int64_t a, b, first;

	WORKS(k, registry_template_add(k->r, &t, &a, &k->err));
	t.tenant = SL("other");
	WORKS(k, registry_template_add(k->r, &t, &b, &k->err));
	assert_true(b > a);
	FAILS(k, ERR_MISSING, registry_template_get(k->r, SL("other"), a, &got, &k->err));
	FAILS(k, ERR_MISSING, registry_template_remove(k->r, SL("other"), a, &k->err));
	d.device.templates[0] = b;
	FAILS(k, ERR_MISSING, registry_device_add(k->r, &d, &k->err)); /* another tenant's */
	d.device.templates[0] = a;
	WORKS(k, registry_device_add(k->r, &d, &k->err));
	WORKS(k, registry_template_get(k->r, SL("default"), a, &got, &k->err));
	assert_true(got.devices == 1 && slice_is(got.label, "thermometer") && slice_is(got.tenant, "default"));
	got.label = SL("thermometer 2");
	WORKS(k, registry_template_set(k->r, &got, &k->err));
	FAILS(k, ERR_CONFLICT, registry_template_set(k->r, &got, &k->err));
	free(got.mem);
	FAILS(k, ERR_DENIED, registry_template_remove(k->r, SL("default"), a, &k->err));
	d.device.n_templates = 0;
	WORKS(k, registry_device_set(k->r, &d.device, &k->err));
	WORKS(k, registry_template_remove(k->r, SL("default"), a, &k->err));
	FAILS(k, ERR_MISSING, registry_template_remove(k->r, SL("default"), a, &k->err));
	t.tenant = SL("default");
	WORKS(k, registry_template_add(k->r, &t, &a, &k->err));
	assert_true(a > b); /* never used twice */
	WORKS(k, registry_attr_ids(k->r, 3, &first, &k->err));
	assert_int_equal(first, 1);
	WORKS(k, registry_attr_ids(k->r, 1, &first, &k->err));
	assert_int_equal(first, 4);
}

static void
test_devices(void **state)
{
	struct kit *k = *state;
	struct registry_device d, e;
	struct registry_entity entity;
	int64_t totals[REGISTRY_DEVICE_STATES];

	kit_device(k, "default", "f60c28");
	kit_device(k, "other", "f60c28"); /* the same id in two tenants (dojot #1193) */
	FAILS(k, ERR_EXISTS,
	    registry_device_add(k->r,
	        &(struct registry_device_new){ .device = { .tenant = SL("other"), .id = SL("f60c28") } }, &k->err));
	WORKS(k, registry_device_get(k->r, SL("default"), SL("f60c28"), &d, &k->err));
	WORKS(k, registry_device_find(k->r, SL("other:f60c28"), &e, &k->err));
	assert_true(slice_is(d.cn, "f60c28") && slice_is(e.tenant, "other") && slice_is(e.id, "f60c28"));
	assert_true(d.state == REGISTRY_ENABLED && d.version == 1 && d.not_after == 0 && d.last_seen == 0 && !d.online);
	free(e.mem);
	WORKS(k, registry_entity_get(k->r, SL("f60c28"), &entity, &k->err));
	assert_true(entity.state == REGISTRY_NEW && slice_is(entity.subject, "CN=f60c28") && slice_is(entity.device, "f60c28") &&
	    slice_is(entity.tenant, "default"));
	free(entity.mem);
	d.label = SL("hall");
	d.state = REGISTRY_QUARANTINED;
	d.attrs = SL("{\"a\":1}");
	WORKS(k, registry_device_set(k->r, &d, &k->err));
	FAILS(k, ERR_CONFLICT, registry_device_set(k->r, &d, &k->err));
	free(d.mem);
	WORKS(k, registry_device_find(k->r, SL("f60c28"), &d, &k->err));
	assert_true(slice_is(d.label, "hall") && slice_is(d.attrs, "{\"a\":1}") && d.state == REGISTRY_QUARANTINED);
	free(d.mem);
	WORKS(k, kit_set_state(k, "other", "f60c28", REGISTRY_DISABLED));
	WORKS(k, registry_device_totals(k->r, SL(""), totals, &k->err));
	assert_true(totals[REGISTRY_ENABLED] == 0 && totals[REGISTRY_DISABLED] == 1 && totals[REGISTRY_QUARANTINED] == 1);
	WORKS(k, registry_device_totals(k->r, SL("other"), totals, &k->err));
	assert_true(totals[REGISTRY_DISABLED] == 1 && totals[REGISTRY_QUARANTINED] == 0);
	FAILS(k, ERR_MISSING, registry_device_totals(k->r, SL("none"), totals, &k->err));
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("f60c28"), 5, NULL, &k->err));
	FAILS(k, ERR_MISSING, registry_device_get(k->r, SL("default"), SL("f60c28"), &d, &k->err));
	WORKS(k, registry_entity_get(k->r, SL("f60c28"), &entity, &k->err));
	assert_true(entity.state == REGISTRY_REVOKED && entity.device.n == 0);
	free(entity.mem);
	FAILS(k, ERR_MISSING, registry_device_remove(k->r, SL("default"), SL("f60c28"), 5, NULL, &k->err));
	kit_device(k, "default", "f60c28"); /* the end entity is new again */
	WORKS(k, registry_entity_get(k->r, SL("f60c28"), &entity, &k->err));
	assert_int_equal(entity.state, REGISTRY_NEW);
	free(entity.mem);
}

static void
test_device_by_cn(void **state)
{
	struct kit *k = *state;

	kit_device(k, "other", "x");
	WORKS(k, registry_device_set(k->r,
	    &(struct registry_device){ .cn = SL("other:x"), .label = SL("l"), .state = REGISTRY_PENDING }, &k->err));
	FAILS(k, ERR_MISSING, registry_device_set(k->r, &(struct registry_device){ .cn = SL("x") }, &k->err));
}

/* ---- pages ---- */

static void
fill(struct kit *k)
{
	/* Labels run against the ids, ends against both. */
	for (unsigned i = 0; i < 9; i++) {
		char id[16], label[16];
		struct registry_device_new d = { .device = { .tenant = i < 6 ? SL("default") : SL("other"), .state = i % 3 == 0 } };

		(void)snprintf(id, sizeof id, i == 4 ? "Xd%u" : "d%u", i);
		(void)snprintf(label, sizeof label, "l%u", 9 - i);
		d.device.id = slice_str(id);
		d.device.label = slice_str(label);
		WORKS(k, registry_device_add(k->r, &d, &k->err));
		if (i % 2 == 0 && i < 6)
			kit_certify(k, "client", id, i + 1, 30 - (int)i);
		if (i == 1 || i == 5)
			WORKS(k, registry_presence_set(k->r,
			    &(struct registry_presence){ .cn = slice_str(id), .online = i == 5, .last_seen = k->now - i }, 1, &k->err));
	}
}

static void
test_lists(void **state)
{
	struct kit *k = *state;
	static const struct {
		struct registry_device_filter f;
		const char *want;
	} cases[] = {
		{ { .tenant = { 0 } }, "Xd4,d0,d1,d2,d3,d5,other:d6,other:d7,other:d8," },
		{ { .tenant = SL("other") }, "other:d6,other:d7,other:d8," },
		{ { .prefix = SL("X") }, "Xd4," },
		{ { .prefix = SL("d") }, "d0,d1,d2,d3,d5,other:d6,other:d7,other:d8," },
		{ { .prefix = SL("d1") }, "d1," },
		{ { .prefix = SL("d11") }, "" },
		{ { .states = 1u << REGISTRY_DISABLED }, "d0,d3,other:d6," },
		{ { .states = 1u << REGISTRY_ENABLED }, "Xd4,d1,d2,d5,other:d7,other:d8," },
		{ { .states = 3 }, "Xd4,d0,d1,d2,d3,d5,other:d6,other:d7,other:d8," },
		{ { .states = 1u << REGISTRY_PENDING }, "" },
		{ { .order = REGISTRY_BY_LABEL, .tenant = SL("default") }, "d5,Xd4,d3,d2,d1,d0," },
		{ { .order = REGISTRY_BY_LABEL, .prefix = SL("l4") }, "d5," },
		{ { .order = REGISTRY_BY_LABEL }, "d5,Xd4,d3,d2,d1,d0,other:d8,other:d7,other:d6," },
		{ { .order = REGISTRY_BY_EXPIRY }, "Xd4,d2,d0," },
		{ { .order = REGISTRY_BY_EXPIRY, .expires_before = KIT_NOW + 28 * 86400 }, "Xd4," },
		{ { .order = REGISTRY_BY_EXPIRY, .prefix = SL("d") }, "d2,d0," },
		{ { .expires_before = KIT_NOW + 29 * 86400 }, "Xd4,d2," },
		{ { .order = REGISTRY_BY_LAST_SEEN }, "d5,d1," },
		{ { .order = REGISTRY_BY_LAST_SEEN, .seen_after = KIT_NOW - 5 }, "d1," },
		{ { .order = REGISTRY_BY_LAST_SEEN, .seen_before = KIT_NOW - 1 }, "d5," },
		{ { .order = REGISTRY_BY_LAST_SEEN, .online = true }, "d5," },
		{ { .seen_after = KIT_NOW - 5 }, "d1," },
		{ { .seen_before = KIT_NOW - 1, .tenant = SL("default") }, "Xd4,d0,d2,d3,d5," },
		{ { .online = true }, "d5," },
		{ { .offline = true, .tenant = SL("default") }, "Xd4,d0,d1,d2,d3," },
		{ { .online = true, .offline = true, .prefix = SL("d5") }, "d5," },
	};
	struct kit_names names;

	fill(k);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (unsigned limit = 1; limit <= 10; limit++) {
			(void)kit_devices(k, &cases[i].f, limit, &names);
			if (strcmp(names.text, cases[i].want) != 0)
				fail_msg("case %zu, pages of %u: %s, not %s", i, limit, names.text, cases[i].want);
		}
	}
	FAILS(k, ERR_MISSING,
	    registry_device_list(k->r, &(struct registry_device_filter){ .tenant = SL("none") }, &(struct registry_page){ 0 }, NULL, NULL, &k->err));
}

static void
test_list_of_template(void **state)
{
	struct kit *k = *state;
	struct registry_template t = { .tenant = SL("default"), .label = SL("t"), .attrs = SL("[]") };
	struct registry_device_new d = { .device = { .tenant = SL("default") } };
	struct kit_names names;
	int64_t a, b;

	WORKS(k, registry_template_add(k->r, &t, &a, &k->err));
	WORKS(k, registry_template_add(k->r, &t, &b, &k->err));
	for (unsigned i = 0; i < 6; i++) {
		char id[8];

		(void)snprintf(id, sizeof id, "d%u", 5 - i);
		d.device.id = slice_str(id);
		d.device.n_templates = 1 + (i % 3 == 0);
		d.device.templates[0] = i % 3 == 0 ? b : a;
		d.device.templates[1] = a;
		if (i < 4)
			WORKS(k, registry_device_add(k->r, &d, &k->err));
		else
			kit_device(k, "default", id);
	}
	for (unsigned limit = 1; limit < 6; limit++) {
		(void)kit_devices(k, &(struct registry_device_filter){ .template = a }, limit, &names);
		assert_string_equal(names.text, "d2,d3,d4,d5,");
		(void)kit_devices(k, &(struct registry_device_filter){ .template = b, .tenant = SL("default") }, limit, &names);
		assert_string_equal(names.text, "d2,d5,");
		(void)kit_devices(k, &(struct registry_device_filter){ .template = b, .order = REGISTRY_BY_LABEL }, limit, &names);
		assert_string_equal(names.text, "d5,d2,"); /* no labels: the older first */
		(void)kit_devices(k, &(struct registry_device_filter){ .template = a, .prefix = SL("d3") }, limit, &names);
		assert_string_equal(names.text, "d3,");
		(void)kit_devices(k, &(struct registry_device_filter){ .template = b, .tenant = SL("other") }, limit, &names);
		assert_string_equal(names.text, "");
	}
	WORKS(k, registry_device_get(k->r, SL("default"), SL("d5"), &d.device, &k->err));
	assert_true(d.device.n_templates == 2 && d.device.templates[0] == b && d.device.templates[1] == a);
	free(d.device.mem);
}

static bool
stop_at_two(void *ctx, const struct registry_device *d)
{
	unsigned *n = ctx;

	(void)d;
	return ++*n < 2;
}

/* A cursor is for its list and order only, of a page that was cut short it says where, and what is not one is refused. */
static void
test_cursors(void **state)
{
	struct kit *k = *state;
	struct registry_device_filter f = { 0 };
	struct registry_page page = { .limit = 5 };
	char cursor[REGISTRY_CURSOR_MAX];
	struct kit_names names;
	unsigned n = 0;

	fill(k);
	WORKS(k, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err));
	assert_int_equal(n, 2);
	memcpy(cursor, page.next, sizeof cursor);
	page.cursor = slice_str(cursor);
	n = 0;
	WORKS(k, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err));
	(void)kit_devices(k, &f, 3, &names);
	f.order = REGISTRY_BY_LABEL;
	FAILS(k, ERR_INPUT, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err));
	FAILS(k, ERR_INPUT, registry_tenant_list(k->r, &page, show_tenant, &names, &k->err));
	f.order = REGISTRY_BY_ID;
	f.tenant = SL("other");
	FAILS(k, ERR_INPUT, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err));
	f.tenant = SL("");
	for (size_t len = 1; len < strlen(cursor); len++) {
		page.cursor = slice_of(cursor, len);
		(void)registry_device_list(k->r, &f, &page, stop_at_two, &n, NULL);
		if (len < 50)
			FAILS(k, ERR_INPUT, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err));
	}
	page.cursor = SL("zz");
	FAILS(k, ERR_INPUT, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err));
}

/* Pages go on where they ended, whatever is added and removed meanwhile. */
static void
test_pages_move(void **state)
{
	struct kit *k = *state;
	struct registry_device_filter f = { 0 };
	struct registry_page page = { .limit = 5 };
	char cursor[REGISTRY_CURSOR_MAX];
	unsigned n = 0;

	fill(k);
	WORKS(k, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err)); /* up to d0 */
	memcpy(cursor, page.next, sizeof cursor);
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("d0"), 0, NULL, &k->err));
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("d1"), 0, NULL, &k->err));
	kit_device(k, "default", "d00");
	kit_device(k, "default", "a");
	page.cursor = slice_str(cursor);
	n = 0;
	WORKS(k, registry_device_list(k->r, &f, &page, stop_at_two, &n, &k->err));
	memcpy(cursor, page.next, sizeof cursor);
	/* d00 and d2 were shown: hex of "d2" ends the cursor. */
	assert_string_equal(cursor + strlen(cursor) - 4, "6432");
}

/* A filter that fits nothing costs a page no more than a bounded number of entries. */
static void
test_bounded(void **state)
{
	struct kit *k = *state;
	struct kit_names names;

	WORKS(k, registry_begin(k->r, &k->err));
	for (unsigned i = 0; i < 5000; i++) {
		char id[16];

		(void)snprintf(id, sizeof id, "d%04u", i);
		kit_device(k, "default", id);
	}
	WORKS(k, registry_commit(k->r, &k->err));
	WORKS(k, registry_presence_set(k->r,
	    &(struct registry_presence){ .cn = SL("d4999"), .online = true, .last_seen = k->now }, 1, &k->err));
	assert_in_range(kit_devices(k, &(struct registry_device_filter){ .online = true }, 10, &names), 3, 10);
	assert_string_equal(names.text, "d4999,");
}

static int
count_work(void *ctx)
{
	++*(unsigned *)ctx;
	return 0;
}

/* What the whole list costs in steps of SQLite's machine: as much for each page, so that the last one costs no more than the first. */
static unsigned
work(struct kit *k, const struct registry_device_filter *f, const struct registry_certificate_filter *c, unsigned limit)
{
	struct kit_names names;
	unsigned n = 0;

	sqlite3_progress_handler(k->r->db, 50, count_work, &n);
	if (f != NULL)
		(void)kit_devices(k, f, limit, &names);
	else
		(void)kit_certificates(k, c, limit, &names);
	sqlite3_progress_handler(k->r->db, 0, NULL, NULL);
	assert_true(names.n > 0);
	return n;
}

/* Small pages cost a little more than large ones, and not the square: no page begins at the list's beginning. */
static void
test_work(void **state)
{
	struct kit *k = *state;
	struct registry_template t = { .tenant = SL("default"), .label = SL("t"), .attrs = SL("[]") };
	int64_t template;

	WORKS(k, registry_template_add(k->r, &t, &template, &k->err));
	const struct registry_device_filter devices[] = { { 0 }, { .tenant = SL("default") }, { .order = REGISTRY_BY_LABEL },
		{ .order = REGISTRY_BY_EXPIRY }, { .order = REGISTRY_BY_LAST_SEEN }, { .states = 1u << REGISTRY_PENDING },
		{ .template = template }, { .prefix = SL("d") }, { .order = REGISTRY_BY_EXPIRY, .expires_before = KIT_NOW + 999 * 86400 },
		{ .order = REGISTRY_BY_LAST_SEEN, .seen_after = 1 }, { .online = true }, { .certificates = 1u << REGISTRY_HAS_ACTIVE } };
	const struct registry_certificate_filter certificates[] = { { .tenant = { 0 } }, { .tenant = SL("default") },
		{ .tenant = SL("default"), .device = SL("d0") }, { .cn = SL("d0") }, { .states = 1u << REGISTRY_CERT_REVOKED },
		{ .order = REGISTRY_CERT_BY_EXPIRY }, { .order = REGISTRY_CERT_BY_EXPIRY, .tenant = SL("default") } };

	WORKS(k, registry_begin(k->r, &k->err));
	for (unsigned i = 0; i < 400; i++) {
		char id[16], serial[16];
		struct registry_device_new d = { .device = { .tenant = SL("default"), .id = slice_of(id, (size_t)snprintf(id, sizeof id, "d%u", i)),
			.label = SL("same"), .state = i % 2 == 0 ? REGISTRY_PENDING : REGISTRY_ENABLED, .templates = { template }, .n_templates = 1 } };

		WORKS(k, registry_device_add(k->r, &d, &k->err));
		kit_certify(k, "client", id, i, 10);
		WORKS(k, registry_presence_set(k->r,
		    &(struct registry_presence){ .cn = d.device.id, .online = true, .last_seen = KIT_NOW }, 1, &k->err));
		kit_certify(k, "client", "d0", 1000 + i, 5 + (int)i);
		(void)snprintf(serial, sizeof serial, "%08x", 2000 + i);
		kit_certify(k, "client", "r", 2000 + i, 10);
		WORKS(k, registry_certificate_revoke(k->r, SL("client"), slice_str(serial), 0, &k->err));
	}
	WORKS(k, registry_commit(k->r, &k->err));
	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		unsigned large = work(k, &devices[i], NULL, 100), small = work(k, &devices[i], NULL, 5);

		if (small > 4 * large + 100)
			fail_msg("devices %zu: %u in small pages, %u in large ones", i, small, large);
	}
	for (size_t i = 0; i < ARRAY_LEN(certificates); i++) {
		unsigned large = work(k, NULL, &certificates[i], 100), small = work(k, NULL, &certificates[i], 5);

		if (small > 4 * large + 100)
			fail_msg("certificates %zu: %u in small pages, %u in large ones", i, small, large);
	}
}

/* ---- presence ---- */

static bool
show_cn(void *ctx, struct slice cn)
{
	return kit_add_name(ctx, cn);
}

static void
test_presence(void **state)
{
	struct kit *k = *state;
	struct registry_device d;
	struct registry_presence p[] = {
		{ .cn = SL("d"), .online = true, .last_seen = KIT_NOW, .address = SL("192.0.2.1:4"), .status = SL("online,ready") },
		{ .cn = SL("nobody"), .online = true, .last_seen = KIT_NOW },
	};
	static const struct {
		enum registry_beat beat;
		bool stale;
		const char *expected;
	} beats[] = { { REGISTRY_BEAT_SAME, false, "" }, { REGISTRY_BEAT_EXPECTED, false, "d," }, { REGISTRY_BEAT_SAME, false, "d," },
		{ REGISTRY_BEAT_STALE, true, "" }, { REGISTRY_BEAT_SAME, true, "" }, { REGISTRY_BEAT_EXPECTED, false, "d," },
		{ REGISTRY_BEAT_NONE, false, "" } };

	kit_device(k, "default", "d");
	kit_device(k, "default", "e");
	WORKS(k, registry_presence_set(k->r, p, 2, &k->err));
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_true(d.online && d.since == KIT_NOW && d.last_seen == KIT_NOW && slice_is(d.address, "192.0.2.1:4") &&
	    slice_is(d.status, "online,ready") && d.version == 1);
	free(d.mem);
	p[0] = (struct registry_presence){ .cn = SL("d"), .online = true, .last_seen = KIT_NOW - 50 };
	WORKS(k, registry_presence_set(k->r, p, 1, &k->err));
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_true(d.since == KIT_NOW && d.last_seen == KIT_NOW && slice_is(d.status, "online,ready"));
	free(d.mem);
	/* Its status messages are expected, stop, and come again. */
	for (unsigned i = 0; i < ARRAY_LEN(beats); i++) {
		struct kit_names names = { 0 };
		int64_t at = 0;

		p[0].beat = beats[i].beat;
		WORKS(k, registry_presence_set(k->r, p, 1, &k->err));
		WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
		assert_int_equal(d.stale, beats[i].stale);
		free(d.mem);
		WORKS(k, registry_presence_expected(k->r, &at, 10, show_cn, &names, &k->err));
		assert_string_equal(names.text, beats[i].expected);
		assert_int_equal(at != 0, names.n != 0);
		WORKS(k, registry_presence_expected(k->r, &at, 10, show_cn, &names, &k->err));
		assert_true(at == 0 && strcmp(names.text, beats[i].expected) == 0);
		(void)kit_devices(k, &(struct registry_device_filter){ .stale = true }, 10, &names);
		assert_string_equal(names.text, beats[i].stale ? "d," : "");
		(void)kit_devices(k, &(struct registry_device_filter){ .fresh = true }, 10, &names);
		assert_string_equal(names.text, beats[i].stale ? "e," : "d,e,");
	}
	k->now += 100;
	WORKS(k, registry_presence_reset(k->r, &k->err));
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_true(!d.online && d.since == KIT_NOW + 100 && d.last_seen == KIT_NOW);
	free(d.mem);
}

/* ---- towards the broker ---- */

static bool
show_change(void *ctx, const struct registry_change *c)
{
	char line[120];

	(void)snprintf(line, sizeof line, "%.*s/%.*s %s", SL_ARG(c->tenant), SL_ARG(c->cn),
	    c->removed ? "removed" : registry_device_state_name(c->state));
	return kit_add_name(ctx, slice_str(line));
}

static const char *
changes(struct kit *k, int64_t after, struct kit_names *names)
{
	*names = (struct kit_names){ 0 };
	WORKS(k, registry_changes(k->r, after, 100, show_change, names, &k->err));
	return names->text;
}

static void
test_changes(void **state)
{
	struct kit *k = *state;
	struct kit_names names;
	int64_t g, at = 0;
	bool more;

	kit_device(k, "default", "a");
	kit_device(k, "other", "b");
	assert_string_equal(changes(k, 0, &names), "default/a enabled,other/other:b enabled,");
	WORKS(k, kit_set_state(k, "default", "a", REGISTRY_DISABLED));
	assert_string_equal(changes(k, 0, &names), "other/other:b enabled,default/a disabled,");
	WORKS(k, kit_set_state(k, "default", "a", REGISTRY_DISABLED)); /* is no change */
	WORKS(k, registry_generation(k->r, &g, &k->err));
	assert_int_equal(g, 3);
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("a"), 0, NULL, &k->err));
	kit_device(k, "default", "a");
	assert_string_equal(changes(k, 0, &names), "other/other:b enabled,default/a removed,default/a enabled,");
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("a"), 0, NULL, &k->err));
	assert_string_equal(changes(k, 0, &names), "other/other:b enabled,default/a removed,");
	kit_reopen(k);
	assert_string_equal(changes(k, 3, &names), "default/a removed,");
	WORKS(k, registry_changes_done(k->r, 3, &k->err));
	assert_string_equal(changes(k, 0, &names), "default/a removed,");
	WORKS(k, registry_generation(k->r, &g, &k->err));
	WORKS(k, registry_changes_done(k->r, g, &k->err));
	assert_string_equal(changes(k, 0, &names), "");
	kit_reopen(k);
	WORKS(k, registry_generation(k->r, &at, &k->err));
	assert_int_equal(at, g); /* never falls */
	for (unsigned i = 0; i < 7; i++) {
		char id[8];

		(void)snprintf(id, sizeof id, "s%u", i);
		kit_device(k, "default", id);
	}
	names = (struct kit_names){ 0 };
	at = 0;
	do
		WORKS(k, registry_snapshot(k->r, &at, 3, show_change, &names, &more, &k->err));
	while (more);
	assert_string_equal(names.text, "other/other:b enabled,default/s0 enabled,default/s1 enabled,default/s2 enabled,default/s3 enabled,"
	                                "default/s4 enabled,default/s5 enabled,default/s6 enabled,");
}

/* Without anybody who listens the outbox stays bounded, and whoever comes is told to take a snapshot; removals are never lost. */
/* What a factory gave a device is told beside it, and goes with it. */
static void
test_factories(void **state)
{
	struct kit *k = *state;
	struct registry_ca ca = { .name = SL("acme"), .role = SL("factory"), .subject = SL("CN=Acme"), .key = SL("0123456789abcdef0123456789abcdef"), .der = SL("DER"),
		.not_before = KIT_NOW, .not_after = KIT_NOW + 1000 };
	struct registry_certificate c = { .ca = SL("acme"), .serial = "01", .cn = SL("a"), .tenant = SL("default"), .device = SL("a"), .origin = SL("factory"),
		.fingerprint = "aa00000000000000000000000000000000000000000000000000000000000000" };
	struct registry_change change = { .cn = SL("a"), .tenant = SL("default"), .state = REGISTRY_ENABLED };
	struct kit_names names = { 0 };
	int64_t n, at = 0;
	bool more;

	WORKS(k, registry_ca_put(k->r, &ca, &k->err));
	kit_device(k, "default", "a");
	WORKS(k, registry_certificate_import(k->r, &c, NULL, &k->err));
	memcpy(c.serial, "02", 3);
	c.fingerprint[0] = 'b';
	WORKS(k, registry_certificate_import(k->r, &c, NULL, &k->err));
	WORKS(k, registry_factory_count(k->r, &n, &k->err));
	assert_int_equal(n, 2);
	WORKS(k, registry_factory_snapshot(k->r, &at, 1, show_change, &names, &more, &k->err));
	assert_true(more && strncmp(names.text, "default//aa00", 13) == 0);
	WORKS(k, registry_factory_snapshot(k->r, &at, 1, show_change, &names, &more, &k->err));
	assert_true(!more && strstr(names.text, "default//ba00") != NULL && strstr(names.text, "0 enabled,") != NULL);
	memcpy(c.serial, "01", 3);
	c.fingerprint[0] = 'a';
	c.state = REGISTRY_CERT_REVOKED;
	WORKS(k, registry_certificate_import(k->r, &c, NULL, &k->err));
	names = (struct kit_names){ 0 };
	WORKS(k, registry_factory_change(k->r, &change, show_change, &names, &k->err));
	assert_true(strncmp(names.text, "default//ba00", 13) == 0 && strstr(names.text, "/aa00") == NULL);
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("a"), 0, NULL, &k->err));
	names = (struct kit_names){ 0 };
	change.removed = true;
	WORKS(k, registry_factory_change(k->r, &change, show_change, &names, &k->err));
	assert_true(strstr(names.text, "/aa00") != NULL && strstr(names.text, "/ba00") != NULL && strstr(names.text, "0 removed,") != NULL);
	WORKS(k, registry_factory_count(k->r, &n, &k->err));
	assert_int_equal(n, 0);
}

static void
test_too_many_changes(void **state)
{
	struct kit *k = *state;
	struct kit_names names;
	int64_t g;

	kit_device(k, "default", "gone");
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("gone"), 0, NULL, &k->err));
	kit_device(k, "default", "d0");
	kit_device(k, "default", "d1");
	k->r->n_changes = REGISTRY_CHANGES_MAX - 1; /* as if there were so many */
	kit_device(k, "default", "d2");
	assert_string_equal(changes(k, 0, &names), "default/gone removed,default/d0 enabled,default/d1 enabled,default/d2 enabled,");
	WORKS(k, registry_begin(k->r, &k->err));
	kit_device(k, "default", "more");
	WORKS(k, registry_commit(k->r, &k->err));
	FAILS(k, ERR_CONFLICT, registry_changes(k->r, 0, 2, show_change, &names, &k->err));
	WORKS(k, registry_generation(k->r, &g, &k->err));
	assert_string_equal(changes(k, g, &names), "");
	kit_device(k, "default", "last");
	assert_string_equal(changes(k, g, &names), "default/last enabled,");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, kit_setup, kit_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tenants), TEST(test_templates), TEST(test_devices), TEST(test_device_by_cn), TEST(test_lists),
		TEST(test_list_of_template), TEST(test_cursors), TEST(test_pages_move), TEST(test_bounded), TEST(test_work), TEST(test_presence), TEST(test_changes), TEST(test_factories),
		TEST(test_too_many_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
