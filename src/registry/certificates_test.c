/* The registry: certificates, revocation, lists of the CAs, enrolment secrets, end entities. */
#include "registry/testkit.h"
#include "registry/internal.h"

static void
test_certificates(void **state)
{
	struct kit *k = *state;
	struct registry_certificate c;
	struct registry_device d;
	struct registry_entity e;
	struct registry_certificate_new n = { .certificate = kit_certificate(k, "client", "d", 1, 30) };
	char fingerprint[2 * REGISTRY_HASH + 1];
	uint8_t key[REGISTRY_HASH];

	kit_device(k, "default", "d");
	WORKS(k, registry_certificate_add(k->r, &n, &k->err));
	FAILS(k, ERR_EXISTS, registry_certificate_add(k->r, &n, &k->err));
	(void)snprintf(n.certificate.serial, sizeof n.certificate.serial, "99");
	FAILS(k, ERR_EXISTS, registry_certificate_add(k->r, &n, &k->err)); /* the fingerprint */
	WORKS(k, registry_certificate_get(k->r, SL("client"), SL("00000001"), &c, &k->err));
	assert_true(slice_is(c.tenant, "default") && slice_is(c.device, "d") && slice_is(c.ca, "client") && slice_is(c.der, "DER") &&
	    c.state == REGISTRY_CERT_ACTIVE && c.not_after == k->now + 30 * 86400 && c.created == k->now && c.spki[0] == '\0');
	assert_true(c.own);
	assert_string_equal(c.serial, "00000001"); /* leading zeros are a part of it */
	memcpy(fingerprint, c.fingerprint, sizeof fingerprint);
	free(c.mem);
	WORKS(k, registry_certificate_find(k->r, kit_hash(1, key), SL("\0\0\0\x01"), &c, &k->err));
	free(c.mem);
	FAILS(k, ERR_MISSING, registry_certificate_find(k->r, kit_hash(1, key), SL("\x01"), &c, &k->err));
	FAILS(k, ERR_MISSING, registry_certificate_find(k->r, kit_hash(2, key), SL("\0\0\0\x01"), &c, &k->err));
	WORKS(k, registry_certificate_find_fingerprint(k->r, slice_str(fingerprint), &c, &k->err));
	free(c.mem);
	FAILS(k, ERR_MISSING, registry_certificate_find_fingerprint(k->r, SL("zz"), &c, &k->err));
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_int_equal(d.not_after, k->now + 30 * 86400);
	free(d.mem);
	WORKS(k, registry_entity_get(k->r, SL("d"), &e, &k->err));
	assert_int_equal(e.state, REGISTRY_GENERATED);
	free(e.mem);
	/* A CN that only looks like the device's: another CA's certificates are not a device's. */
	kit_certify(k, "watch", "d", 2, 60);
	WORKS(k, registry_certificate_get(k->r, SL("watch"), SL("00000002"), &c, &k->err));
	assert_int_equal(c.device.n, 0);
	free(c.mem);
	FAILS(k, ERR_MISSING, registry_certificate_assign(k->r, SL("00"), SL("default"), SL("d"), &k->err));
	WORKS(k, registry_certificate_assign(k->r, slice_str(fingerprint), SL(""), SL(""), &k->err));
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_int_equal(d.not_after, 0);
	free(d.mem);
	WORKS(k, registry_certificate_assign(k->r, slice_str(fingerprint), SL("default"), SL("d"), &k->err));
	FAILS(k, ERR_MISSING, registry_certificate_assign(k->r, slice_str(fingerprint), SL("default"), SL("x"), &k->err));
}

static void
test_supersede(void **state)
{
	struct kit *k = *state;
	struct registry_certificate_new n = { .certificate = kit_certificate(k, "client", "d", 3, 10), .supersede = true };
	struct registry_device d;
	struct kit_names names;

	kit_device(k, "default", "d");
	kit_certify(k, "client", "d", 1, 30);
	kit_certify(k, "client", "e", 2, 30);
	WORKS(k, registry_certificate_add(k->r, &n, &k->err));
	(void)kit_certificates(k, &(struct registry_certificate_filter){ .states = 1u << REGISTRY_CERT_SUPERSEDED }, 10, &names);
	assert_string_equal(names.text, "00000001,");
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_int_equal(d.not_after, k->now + 10 * 86400);
	free(d.mem);
}

struct unbooked {
	char text[256];
	unsigned n, stop;
};

static bool
note_unbooked(void *ctx, const struct registry_unbooked *v)
{
	struct unbooked *u = ctx;
	size_t at = strlen(u->text);

	(void)snprintf(u->text + at, sizeof u->text - at, "%.*s/%s:%d%s ", SL_ARG(v->ca), v->serial, v->reason, v->at > 0 ? "@" : "");
	return ++u->n != u->stop;
}

static const char *
unbooked(struct kit *k, unsigned max, struct unbooked *u)
{
	*u = (struct unbooked){ .stop = u->stop };
	WORKS(k, registry_unbooked_each(k->r, max, note_unbooked, u, &k->err));
	return u->text;
}

/* What the signer has to be told, whichever way a certificate came to its end. */
static void
test_unbooked(void **state)
{
	struct kit *k = *state;
	struct registry_certificate c = kit_certificate(k, "client", "x", 5, 30);
	struct unbooked u = { 0 };
	unsigned n;

	kit_device(k, "default", "d");
	for (unsigned i = 1; i <= 4; i++)
		kit_certify(k, "client", i == 4 ? "e" : "d", i, 30);
	assert_string_equal(unbooked(k, 10, &u), "");
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000001"), 6, &k->err));
	assert_string_equal(unbooked(k, 10, &u), "client/00000001:6@ ");
	/* Other than it was said to the signer. */
	WORKS(k, registry_certificate_unhold(k->r, SL("client"), SL("00000001"), &k->err));
	WORKS(k, registry_booked(k->r, SL("client"), SL("00000001"), 6, &k->err));
	assert_string_equal(unbooked(k, 10, &u), "client/00000001:-1 ");
	WORKS(k, registry_booked(k->r, SL("client"), SL("00000001"), -1, &k->err));
	assert_string_equal(unbooked(k, 10, &u), "");
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("d"), 5, &n, &k->err));
	WORKS(k, registry_certificate_revoke_all(k->r, SL("e"), 4, &n, &k->err));
	assert_string_equal(unbooked(k, 10, &u), "client/00000001:5@ client/00000002:5@ client/00000003:5@ client/00000004:4@ ");
	assert_string_equal(unbooked(k, 2, &u), "client/00000001:5@ client/00000002:5@ ");
	u.stop = 1;
	assert_string_equal(unbooked(k, 10, &u), "client/00000001:5@ ");
	u.stop = 0;
	FAILS(k, ERR_MISSING, registry_booked(k->r, SL("client"), SL("77"), 5, &k->err));
	/* What the index says, it knows: news or not. */
	c.state = REGISTRY_CERT_REVOKED;
	c.revoked_at = k->now;
	WORKS(k, registry_certificate_import(k->r, &c, NULL, &k->err));
	c = kit_certificate(k, "client", "d", 2, 30);
	c.state = REGISTRY_CERT_REVOKED;
	c.revoked_at = k->now;
	WORKS(k, registry_certificate_import(k->r, &c, NULL, &k->err));
	assert_string_equal(unbooked(k, 10, &u), "client/00000001:5@ client/00000003:5@ client/00000004:4@ ");
	/* It is as true in the next process. */
	kit_reopen(k);
	assert_string_equal(unbooked(k, 1, &u), "client/00000001:5@ ");
}

static void
test_revocation(void **state)
{
	struct kit *k = *state;
	struct registry_certificate c;
	struct registry_device d;
	struct registry_ca ca;
	unsigned n;

	kit_device(k, "default", "d");
	kit_certify(k, "client", "d", 1, 30);
	kit_certify(k, "client", "d", 2, 40);
	kit_certify(k, "client", "d", 3, 50);
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000003"), 6, &k->err));
	FAILS(k, ERR_EXISTS, registry_certificate_revoke(k->r, SL("client"), SL("00000003"), 6, &k->err));
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_int_equal(d.not_after, k->now + 40 * 86400);
	free(d.mem);
	WORKS(k, registry_certificate_unhold(k->r, SL("client"), SL("00000003"), &k->err));
	FAILS(k, ERR_DENIED, registry_certificate_unhold(k->r, SL("client"), SL("00000003"), &k->err));
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000003"), 6, &k->err));
	k->now += 10;
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000003"), 1, &k->err));
	WORKS(k, registry_certificate_get(k->r, SL("client"), SL("00000003"), &c, &k->err));
	assert_true(c.state == REGISTRY_CERT_REVOKED && c.reason == 1 && c.revoked_at == k->now - 10); /* since the hold */
	free(c.mem);
	FAILS(k, ERR_EXISTS, registry_certificate_revoke(k->r, SL("client"), SL("00000003"), 1, &k->err));
	FAILS(k, ERR_DENIED, registry_certificate_unhold(k->r, SL("client"), SL("00000003"), &k->err));
	FAILS(k, ERR_MISSING, registry_certificate_revoke(k->r, SL("watch"), SL("00000003"), 1, &k->err));
	/* A factory's: no list of ours could name it. */
	kit_certify(k, "watch", "another", 9, 50);
	WORKS(k, registry_ca_get(k->r, SL("watch"), &ca, &k->err));
	ca.own = false;
	WORKS(k, registry_ca_put(k->r, &ca, &k->err));
	free(ca.mem);
	FAILS(k, ERR_DENIED, registry_certificate_revoke(k->r, SL("watch"), SL("00000009"), 1, &k->err));
	FAILS(k, ERR_DENIED, registry_certificate_revoke(k->r, SL("watch"), SL("00000009"), 6, &k->err));
	for (int reason = -1; reason <= 11; reason++)
		if (reason < 0 || reason == 7 || reason == 8 || reason == 11)
			FAILS(k, ERR_INPUT, registry_certificate_revoke(k->r, SL("client"), SL("00000001"), reason, &k->err));
	WORKS(k, registry_ca_get(k->r, SL("client"), &ca, &k->err));
	assert_true(ca.crl_due);
	free(ca.mem);
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("d"), 5, &n, &k->err));
	assert_int_equal(n, 2);
	WORKS(k, registry_certificate_get(k->r, SL("client"), SL("00000001"), &c, &k->err));
	assert_true(c.state == REGISTRY_CERT_REVOKED && c.reason == 5 && c.device.n == 0 && slice_is(c.tenant, "default"));
	free(c.mem);
	/* By CN: what no device has, too. */
	kit_certify(k, "client", "x", 4, 40);
	kit_certify(k, "watch", "x", 5, 40);
	WORKS(k, registry_certificate_revoke_all(k->r, SL("x"), 6, &n, &k->err));
	assert_int_equal(n, 2);
	WORKS(k, registry_certificate_revoke_all(k->r, SL("x"), 6, &n, &k->err));
	assert_int_equal(n, 0);
	WORKS(k, registry_certificate_revoke_all(k->r, SL("x"), 0, &n, &k->err));
	assert_int_equal(n, 2);
	/* A device that comes again does not have what was taken from the one before. */
	kit_certify(k, "client", "d", 6, 20);
	kit_device(k, "default", "d");
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_int_equal(d.not_after, k->now + 20 * 86400);
	free(d.mem);
	WORKS(k, registry_certificate_get(k->r, SL("client"), SL("00000001"), &c, &k->err));
	assert_int_equal(c.device.n, 0);
	free(c.mem);
}

/* Whether one is active, else as the newest is; and who is found by that. */
static void
has(struct kit *k, enum registry_device_certificate want, const char *line)
{
	struct registry_device d;
	struct kit_names names;

	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	if (d.certificate != want && want != REGISTRY_HAS_EXPIRED)
		fail_msg("%s: %d", line, (int)d.certificate);
	free(d.mem);
	for (unsigned i = REGISTRY_HAS_ACTIVE; i <= REGISTRY_HAS_EXPIRED; i++) {
		struct registry_device_filter f = { .certificates = 1u << i, .prefix = SL("d") };
		bool ends = want == REGISTRY_HAS_ACTIVE || want == REGISTRY_HAS_EXPIRED;

		(void)kit_devices(k, &f, 10, &names);
		assert_string_equal(names.text, i == want ? "d," : "");
		f.order = REGISTRY_BY_EXPIRY; /* which leaves out who has none that is active */
		(void)kit_devices(k, &f, 10, &names);
		assert_string_equal(names.text, i == want && ends ? "d," : "");
	}
}

static void
test_what_a_device_has(void **state)
{
	struct kit *k = *state;
	struct registry_certificate_new n;

	kit_device(k, "default", "d");
	kit_device(k, "default", "e");
	kit_certify(k, "client", "e", 9, 90);
	has(k, REGISTRY_HAS_NONE, "none");
	kit_certify(k, "client", "d", 1, 30);
	has(k, REGISTRY_HAS_ACTIVE, "active");
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000001"), 6, &k->err));
	has(k, REGISTRY_HAS_HOLD, "hold");
	WORKS(k, registry_certificate_unhold(k->r, SL("client"), SL("00000001"), &k->err));
	has(k, REGISTRY_HAS_ACTIVE, "released");
	n = (struct registry_certificate_new){ .certificate = kit_certificate(k, "client", "d", 2, 40), .supersede = true };
	WORKS(k, registry_certificate_add(k->r, &n, &k->err));
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000002"), 1, &k->err));
	has(k, REGISTRY_HAS_REVOKED, "revoked, and an older one superseded");
	kit_certify(k, "client", "d", 3, 5);
	has(k, REGISTRY_HAS_ACTIVE, "a new one");
	k->now += 6 * 86400;
	has(k, REGISTRY_HAS_EXPIRED, "ended");
}

/* ---- lists of the CA ---- */

static bool
show_revoked(void *ctx, const struct registry_revoked *v)
{
	return kit_add_name(ctx, slice_str(v->serial));
}

static const char *
revoked(struct kit *k, struct kit_names *names)
{
	*names = (struct kit_names){ 0 };
	WORKS(k, registry_revoked_each(k->r, SL("client"), show_revoked, names, &k->err));
	return names->text;
}

static bool
due(struct kit *k)
{
	struct registry_ca ca;
	bool is;

	WORKS(k, registry_ca_get(k->r, SL("client"), &ca, &k->err));
	is = ca.crl_due;
	free(ca.mem);
	return is;
}

static void
test_crl(void **state)
{
	struct kit *k = *state;
	struct registry_crl crl = { .ca = SL("client"), .der = SL("list"), .this_update = k->now, .next_update = k->now + 60 };
	struct kit_names names;
	struct slice der;
	void *mem;
	int64_t number;

	FAILS(k, ERR_MISSING, registry_crl_get(k->r, SL("client"), &der, &mem, &k->err));
	for (unsigned i = 1; i < 5; i++)
		kit_certify(k, "client", "d", i, 10 * (int)i);
	assert_false(due(k));
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000003"), 0, &k->err));
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000001"), 6, &k->err));
	assert_true(due(k));
	assert_string_equal(revoked(k, &names), "00000001,00000003,");
	WORKS(k, registry_crl_begin(k->r, SL("client"), &number, &k->err));
	assert_int_equal(number, 1);
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000002"), 0, &k->err)); /* while it is being signed */
	crl.number = number;
	WORKS(k, registry_crl_put(k->r, &crl, &k->err));
	assert_true(due(k));
	FAILS(k, ERR_CONFLICT, registry_crl_put(k->r, &crl, &k->err));
	WORKS(k, registry_crl_begin(k->r, SL("client"), &number, &k->err)); /* nothing comes of this one */
	kit_reopen(k);
	WORKS(k, registry_crl_begin(k->r, SL("client"), &number, &k->err));
	assert_int_equal(number, 3);
	crl.number = number;
	WORKS(k, registry_crl_put(k->r, &crl, &k->err));
	assert_false(due(k));
	WORKS(k, registry_certificate_unhold(k->r, SL("client"), SL("00000001"), &k->err));
	assert_true(due(k));
	crl.number = 40; /* the command line's */
	WORKS(k, registry_crl_put(k->r, &crl, &k->err));
	assert_true(due(k));
	WORKS(k, registry_crl_begin(k->r, SL("client"), &number, &k->err));
	assert_int_equal(number, 41);
	WORKS(k, registry_crl_get(k->r, SL("client"), &der, &mem, &k->err));
	assert_true(slice_is(der, "list"));
	free(mem);
	/* 00000002 ends after 20 days: it stands on one list behind that, and then no more. */
	k->now += 21 * 86400;
	assert_string_equal(revoked(k, &names), "00000002,00000003,");
	crl = (struct registry_crl){ .ca = SL("client"), .der = SL("list"), .number = 41, .this_update = k->now, .next_update = k->now + 60 };
	WORKS(k, registry_crl_put(k->r, &crl, &k->err));
	assert_string_equal(revoked(k, &names), "00000003,");
	FAILS(k, ERR_MISSING, registry_crl_begin(k->r, SL("none"), &number, &k->err));
}

static void
test_cas(void **state)
{
	struct kit *k = *state;
	uint8_t key[REGISTRY_HASH];
	struct registry_ca ca = { .name = SL("sub"), .role = SL("client"), .parent = SL("client"), .key = kit_hash(9, key), .der = SL("D") }, got;

	WORKS(k, registry_ca_put(k->r, &ca, &k->err));
	ca.auto_register = true;
	WORKS(k, registry_ca_put(k->r, &ca, &k->err));
	WORKS(k, registry_ca_find(k->r, ca.key, &got, &k->err));
	assert_true(got.auto_register && slice_is(got.parent, "client") && got.version == 2 && slice_eq(got.key, ca.key));
	free(got.mem);
	ca.name = SL("twin");
	FAILS(k, ERR_EXISTS, registry_ca_put(k->r, &ca, &k->err));
	ca.parent = SL("none");
	FAILS(k, ERR_MISSING, registry_ca_put(k->r, &ca, &k->err));
	ca.key = SL("short");
	FAILS(k, ERR_INPUT, registry_ca_put(k->r, &ca, &k->err));
}

/* ---- import ---- */

static void
test_import(void **state)
{
	struct kit *k = *state;
	struct registry_certificate c = kit_certificate(k, "client", "d", 1, 30), got;
	struct registry_device d;
	bool news;

	c.der = SL("");
	WORKS(k, registry_certificate_import(k->r, &c, &news, &k->err));
	assert_true(news);
	WORKS(k, registry_certificate_import(k->r, &c, &news, &k->err));
	assert_false(news);
	kit_device(k, "default", "d"); /* finds what was made for it before */
	WORKS(k, registry_device_find(k->r, SL("d"), &d, &k->err));
	assert_int_equal(d.not_after, c.not_after);
	free(d.mem);
	c.der = SL("DER");
	memset(c.spki, 'a', 64);
	WORKS(k, registry_certificate_import(k->r, &c, &news, &k->err));
	assert_true(news);
	c.state = REGISTRY_CERT_REVOKED;
	c.revoked_at = k->now;
	c.reason = 4;
	assert_false(due(k));
	WORKS(k, registry_certificate_import(k->r, &c, &news, &k->err));
	assert_true(news && due(k));
	c.state = REGISTRY_CERT_ACTIVE; /* an index of yesterday takes nothing back */
	WORKS(k, registry_certificate_import(k->r, &c, &news, &k->err));
	assert_false(news);
	WORKS(k, registry_certificate_get(k->r, SL("client"), SL("00000001"), &got, &k->err));
	assert_true(got.state == REGISTRY_CERT_REVOKED && got.reason == 4 && slice_is(got.der, "DER") && got.spki[0] == 'a');
	free(got.mem);
	(void)snprintf(c.fingerprint, sizeof c.fingerprint, "%064x", 77);
	FAILS(k, ERR_CONFLICT, registry_certificate_import(k->r, &c, &news, &k->err));
	c.ca = SL("none");
	FAILS(k, ERR_MISSING, registry_certificate_import(k->r, &c, &news, &k->err));
	c.ca = SL("client");
	(void)snprintf(c.serial, sizeof c.serial, "123");
	FAILS(k, ERR_INPUT, registry_certificate_import(k->r, &c, &news, &k->err));
	(void)snprintf(c.serial, sizeof c.serial, "12; DROP TABLE x");
	FAILS(k, ERR_INPUT, registry_certificate_import(k->r, &c, &news, &k->err));
}

/* ---- lists ---- */

/* "CA N DAYS, " */
static bool
show_active(void *ctx, const struct registry_active *x)
{
	char *text = ctx;
	size_t at = strlen(text);

	(void)snprintf(text + at, 64 - at, "%.*s %lld %lld, ", SL_ARG(x->ca), (long long)x->n, (long long)(x->last - KIT_NOW / 86400 * 86400) / 86400);
	return true;
}

static void
test_certificate_lists(void **state)
{
	struct kit *k = *state;
	static const struct {
		struct registry_certificate_filter f;
		const char *want;
	} cases[] = {
		{ { .tenant = { 0 } }, "00000007,00000006,00000005,00000004,00000003,00000002,00000001," },
		{ { .tenant = SL("other") }, "00000004,00000003," },
		{ { .tenant = SL("default"), .device = SL("d") }, "00000006,00000002,00000001," },
		{ { .cn = SL("d") }, "00000007,00000006,00000002,00000001," },
		{ { .cn = SL("d"), .ca = SL("watch") }, "00000007," },
		{ { .cn = SL("none") }, "" },
		{ { .states = 1u << REGISTRY_CERT_REVOKED }, "00000002," },
		{ { .states = 1u << REGISTRY_CERT_REVOKED | 1u << REGISTRY_CERT_HOLD }, "00000004,00000002," },
		{ { .states = 1u << REGISTRY_CERT_ACTIVE, .tenant = SL("other") }, "00000003," },
		{ { .order = REGISTRY_CERT_BY_EXPIRY }, "00000006,00000001,00000003,00000007,00000005," },
		{ { .order = REGISTRY_CERT_BY_EXPIRY, .tenant = SL("default") }, "00000006,00000001," },
		{ { .order = REGISTRY_CERT_BY_EXPIRY, .expires_before = KIT_NOW + 30 * 86400 }, "00000006,00000001," },
		{ { .order = REGISTRY_CERT_BY_EXPIRY, .expires_after = KIT_NOW + 10 * 86400 }, "00000003,00000007,00000005," },
		{ { .order = REGISTRY_CERT_BY_EXPIRY, .ca = SL("watch") }, "00000007,00000005," },
		{ { .order = REGISTRY_CERT_BY_EXPIRY, .tenant = SL("default"), .ca = SL("client") }, "00000006,00000001," },
		{ { .order = REGISTRY_CERT_BY_EXPIRY, .tenant = SL("default"), .ca = SL("watch") }, "" },
		{ { .order = REGISTRY_CERT_BY_EXPIRY, .tenant = SL("other"), .ca = SL("client"), .expires_after = KIT_NOW }, "00000003," },
		{ { .expires_before = KIT_NOW + 20 * 86400, .ca = SL("client") }, "00000006,00000001," },
		{ { .nobodys = true }, "00000007,00000005," },
		{ { .nobodys = true, .cn = SL("w") }, "00000005," },
		{ { .nobodys = true, .ca = SL("client") }, "" },
		{ { .nobodys = true, .order = REGISTRY_CERT_BY_EXPIRY }, "00000007,00000005," },
		{ { .nobodys = true, .order = REGISTRY_CERT_BY_EXPIRY, .expires_after = KIT_NOW + 40 * 86400 }, "00000005," },
		{ { .nobodys = true, .states = 1u << REGISTRY_CERT_REVOKED }, "" },
	};
	struct kit_names names;
	int64_t days[60];
	struct registry_expiry e = { .from = k->now, .n = 60, .days = days };
	char n_of[64];

	kit_device(k, "default", "d");
	kit_device(k, "other", "d");
	kit_certify(k, "client", "d", 1, 10);
	kit_certify(k, "client", "d", 2, 20);
	kit_certify(k, "client", "other:d", 3, 30);
	kit_certify(k, "client", "other:d", 4, 40);
	kit_certify(k, "watch", "w", 5, 50);
	kit_certify(k, "client", "d", 6, 5);
	kit_certify(k, "watch", "d", 7, 30);
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000002"), 0, &k->err));
	WORKS(k, registry_certificate_revoke(k->r, SL("client"), SL("00000004"), 6, &k->err));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (unsigned limit = 1; limit <= 8; limit++) {
			(void)kit_certificates(k, &cases[i].f, limit, &names);
			if (strcmp(names.text, cases[i].want) != 0)
				fail_msg("case %zu, pages of %u: %s, not %s", i, limit, names.text, cases[i].want);
		}
	}
	WORKS(k, registry_expiry(k->r, &e, &k->err));
	for (int i = 0; i < 60; i++)
		assert_int_equal(days[i], i == 30 ? 2 : i == 5 || i == 10 || i == 50);
	assert_int_equal(e.before + e.later, 0);
	assert_int_equal(e.last, (k->now + 50 * 86400) / 86400 * 86400);
	e = (struct registry_expiry){ .tenant = SL("other"), .from = k->now, .n = 60, .days = days };
	WORKS(k, registry_expiry(k->r, &e, &k->err));
	for (int i = 0; i < 60; i++)
		assert_int_equal(days[i], i == 30);
	e = (struct registry_expiry){ .ca = SL("client"), .from = k->now + 6 * 86400, .n = 5, .days = days };
	WORKS(k, registry_expiry(k->r, &e, &k->err));
	for (int i = 0; i < 5; i++)
		assert_int_equal(days[i], i == 4);
	assert_int_equal(e.before, 1);
	assert_int_equal(e.later, 1);
	assert_int_equal(e.last, (k->now + 30 * 86400) / 86400 * 86400);
	e = (struct registry_expiry){ .tenant = SL("default"), .ca = SL("watch") };
	WORKS(k, registry_expiry(k->r, &e, &k->err));
	assert_int_equal(e.last, 0);
	n_of[0] = '\0';
	WORKS(k, registry_active_each(k->r, SL("default"), show_active, n_of, &k->err));
	assert_string_equal(n_of, "client 2 10, ");
	n_of[0] = '\0';
	WORKS(k, registry_active_each(k->r, SL(""), show_active, n_of, &k->err));
	assert_string_equal(n_of, "watch 2 50, ");
	e.ca = SL("none");
	FAILS(k, ERR_MISSING, registry_expiry(k->r, &e, &k->err));
	FAILS(k, ERR_MISSING, registry_certificate_list(k->r, &(struct registry_certificate_filter){ .ca = SL("none") },
	    &(struct registry_page){ 0 }, NULL, NULL, &k->err));
}

/* ---- secrets ---- */

static int64_t
add_secret(struct kit *k, uint8_t n, const char *tenant, const char *device, int64_t uses)
{
	uint8_t hash[REGISTRY_HASH];
	struct registry_secret s = { .tenant = slice_str(tenant), .device = slice_str(device), .purpose = SL("token"), .hash = kit_hash(n, hash),
		.max_uses = uses, .expires = n == 9 ? KIT_NOW + 10 : 0 };
	int64_t id = 0;

	WORKS(k, registry_secret_add(k->r, &s, &id, &k->err));
	return id;
}

static bool
claim(struct kit *k, uint8_t n, const char *cn)
{
	uint8_t hash[REGISTRY_HASH];
	struct registry_secret s;

	if (!registry_secret_claim(k->r, kit_hash(n, hash), slice_str(cn), &s, &k->err)) {
		assert_int_equal(k->err.code, ERR_DENIED);
		return false;
	}
	free(s.mem);
	return true;
}

static bool
show_secret(void *ctx, const struct registry_secret *s)
{
	char id[8];

	(void)snprintf(id, sizeof id, "%d", (int)s->id);
	assert_int_equal(s->hash.n, 0);
	return kit_add_name(ctx, slice_str(id));
}

static void
test_secrets(void **state)
{
	struct kit *k = *state;
	uint8_t hash[REGISTRY_HASH];
	struct registry_device_new d = { .device = { .tenant = SL("default"), .id = SL("d") }, .secret = kit_hash(1, hash) };
	struct registry_certificate_new c = { .certificate = kit_certificate(k, "client", "d", 1, 30), .secret = 1 };
	struct kit_names names = { 0 };
	int64_t id, twice;
	unsigned n;

	WORKS(k, registry_device_add(k->r, &d, &k->err)); /* its secret is number 1 */
	assert_false(claim(k, 2, "d")); /* nobody's */
	assert_false(claim(k, 1, "e"));
	FAILS(k, ERR_DENIED, registry_certificate_add(k->r, &c, &k->err)); /* not claimed */
	assert_true(claim(k, 1, "d"));
	assert_false(claim(k, 1, "d")); /* at the same time */
	WORKS(k, registry_secret_unclaim(k->r, 1, &k->err));
	FAILS(k, ERR_MISSING, registry_secret_unclaim(k->r, 1, &k->err));
	assert_true(claim(k, 1, "d"));
	kit_reopen(k); /* died in between: the claim falls back */
	assert_true(claim(k, 1, "d"));
	WORKS(k, registry_certificate_add(k->r, &c, &k->err));
	assert_false(claim(k, 1, "d")); /* used up */
	FAILS(k, ERR_EXISTS, registry_secret_add(k->r, &(struct registry_secret){ .hash = kit_hash(1, hash) }, &twice, &k->err));

	id = add_secret(k, 3, "other", "", 2);
	kit_device(k, "other", "o");
	assert_false(claim(k, 3, "d"));
	assert_false(claim(k, 3, "unknown"));      /* would be the first tenant's */
	assert_false(claim(k, 3, "none:unknown")); /* likewise */
	assert_true(claim(k, 3, "other:unknown"));
	assert_true(claim(k, 3, "other:o"));
	assert_false(claim(k, 3, "other:o"));
	WORKS(k, registry_secret_unclaim(k->r, id, &k->err));
	WORKS(k, registry_secret_revoke(k->r, id, &k->err));
	assert_false(claim(k, 3, "other:o"));
	/* Revoked while the certificate was being made: it must not go out. */
	c = (struct registry_certificate_new){ .certificate = kit_certificate(k, "client", "other:o", 2, 30), .secret = id };
	FAILS(k, ERR_DENIED, registry_certificate_add(k->r, &c, &k->err));
	FAILS(k, ERR_MISSING, registry_certificate_get(k->r, SL("client"), SL("00000002"), &c.certificate, &k->err));

	id = add_secret(k, 4, "", "", 0); /* anybody's, without limit */
	for (int i = 0; i < 5; i++)
		assert_true(claim(k, 4, i % 2 == 0 ? "d" : "other:z"));
	(void)add_secret(k, 9, "default", "", 0);
	assert_true(claim(k, 9, ""));
	k->now += 10;
	assert_false(claim(k, 9, ""));
	WORKS(k, registry_purge(k->r, 10, &n, &k->err));
	assert_int_equal(n, 0); /* a certificate may still come of it */
	kit_reopen(k);
	WORKS(k, registry_purge(k->r, 10, &n, &k->err));
	assert_int_equal(n, 1);
	WORKS(k, registry_secret_list(k->r, SL(""), SL(""), &(struct registry_page){ 0 }, show_secret, &names, &k->err));
	assert_string_equal(names.text, "1,2,3,");
	names.n = 0;
	WORKS(k, registry_secret_list(k->r, SL("other"), SL(""), &(struct registry_page){ 0 }, show_secret, &names, &k->err));
	assert_string_equal(names.text, "2,");
	names.n = 0;
	WORKS(k, registry_secret_list(k->r, SL("default"), SL("d"), &(struct registry_page){ 0 }, show_secret, &names, &k->err));
	assert_string_equal(names.text, "1,");
	WORKS(k, registry_device_remove(k->r, SL("default"), SL("d"), 0, NULL, &k->err)); /* with its secrets */
	names.n = 0;
	WORKS(k, registry_secret_list(k->r, SL(""), SL(""), &(struct registry_page){ 0 }, show_secret, &names, &k->err));
	assert_string_equal(names.text, "2,3,");
}

/* ---- end entities ---- */

static void
test_entities(void **state)
{
	struct kit *k = *state;
	struct registry_entity e = { .name = SL("mosca"), .ca = SL("IOTmidCA"), .profile = SL("CFREE"), .subject = SL("CN=mosca"),
		.password = SL("$x"), .state = REGISTRY_NEW }, got;

	WORKS(k, registry_entity_put(k->r, &e, &k->err));
	WORKS(k, registry_entity_set_state(k->r, SL("mosca"), REGISTRY_FAILED, &k->err));
	FAILS(k, ERR_INPUT, registry_entity_set_state(k->r, SL("mosca"), (enum registry_entity_state)12, &k->err));
	FAILS(k, ERR_MISSING, registry_entity_set_state(k->r, SL("none"), REGISTRY_NEW, &k->err));
	WORKS(k, registry_entity_get(k->r, SL("mosca"), &got, &k->err));
	assert_true(got.state == REGISTRY_FAILED && got.version == 2 && got.device.n == 0 && got.tenant.n == 0 && slice_is(got.password, "$x"));
	free(got.mem);
	kit_device(k, "other", "d");
	e.name = SL("other:d");
	e.state = REGISTRY_GENERATED;
	WORKS(k, registry_entity_put(k->r, &e, &k->err)); /* stays the device's */
	WORKS(k, registry_entity_get(k->r, SL("other:d"), &got, &k->err));
	assert_true(slice_is(got.device, "d") && slice_is(got.tenant, "other"));
	free(got.mem);
	e.name = SL("a/b");
	FAILS(k, ERR_INPUT, registry_entity_put(k->r, &e, &k->err));
	WORKS(k, registry_entity_remove(k->r, SL("mosca"), &k->err));
	FAILS(k, ERR_MISSING, registry_entity_remove(k->r, SL("mosca"), &k->err));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, kit_setup, kit_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_certificates), TEST(test_supersede), TEST(test_revocation), TEST(test_what_a_device_has), TEST(test_unbooked), TEST(test_crl), TEST(test_cas), TEST(test_import),
		TEST(test_certificate_lists), TEST(test_secrets), TEST(test_entities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
