/* Devices that wait for their approval. */
#include "api/pending.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/events.h"
#include "api/signers.h"
#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum { PENDING_MAX = 10000 };
static const char factory[] = "factory";

/* ---- the factories' CAs ---- */

/* "…/factory-acme.pem" is the CA factory-acme. */
static void
name_of_file(const char *file, char out[static REGISTRY_NAME_MAX + 1])
{
	const char *slash = strrchr(file, '/');
	struct slice base = slice_str(slash != NULL ? slash + 1 : file);
	const uint8_t *dot = memrchr(base.p, '.', base.n);

	if (dot != NULL && dot > base.p)
		base.n = (size_t)(dot - base.p);
	base.n = NUM_MIN(base.n, (size_t)REGISTRY_NAME_MAX);
	memcpy(out, base.p, base.n);
	out[base.n] = '\0';
	for (char *p = out; *p != '\0'; p++) {
		uint8_t c = (uint8_t)*p, lower = (uint8_t)(c | 0x20);

		if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && strchr("_-.", c) == NULL)
			*p = '-';
	}
}

struct factory_ca {
	struct factory_ca *next;
	X509 *cert;
	char name[REGISTRY_NAME_MAX + 1];
};

static bool
read_factory(struct api *a, const char *file, struct err *err)
{
	struct factory_ca *f = calloc(1, sizeof(*f));
	BIO *b = BIO_new_file(file, "r");

	if (f != NULL && b != NULL)
		f->cert = PEM_read_bio_X509(b, NULL, NULL, NULL);
	(void)BIO_free(b);
	if (f == NULL || f->cert == NULL) {
		bool memory = f == NULL;

		free(f);
		return memory ? err_set(err, ERR_MEMORY, "out of memory") : err_set(err, ERR_INPUT, "its certificate cannot be read");
	}
	name_of_file(file, f->name);
	f->next = a->factories;
	a->factories = f;
	return true;
}

void
pending_read(struct api *a)
{
	struct err err;

	pending_forget(a);
	for (unsigned i = 0; i < a->config->n_factories; i++)
		if (!read_factory(a, a->config->factories[i], &err))
			log_error("role_ca factory %s is not taken into the registry: %s.", a->config->factories[i], err.text);
}

void
pending_forget(struct api *a)
{
	while (a->factories != NULL) {
		struct factory_ca *f = a->factories;

		a->factories = f->next;
		X509_free(f->cert);
		free(f);
	}
}

void
pending_factories(struct api *a)
{
	for (const struct factory_ca *f = a->factories; f != NULL; f = f->next) {
		unsigned char *der = NULL;
		int n = i2d_X509(f->cert, &der);
		struct err err = { .text = "out of memory" };

		if (n <= 0 || !cas_put(a, &(struct cas_entry){ f->name, factory, slice_of(der, (size_t)n), false }, f->cert, &err))
			log_error("The factory's CA %s is not taken into the registry: %s.", f->name, err.text);
		OPENSSL_free(der);
	}
}

/* ---- somebody has come ---- */

static bool
may_say(struct api *a, enum api_saying what)
{
	return a->config->ports.may_say(a->config->ports.ctx, what);
}

static struct slice
member(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	return json_is_string(v) ? slice_of(json_string_value(v), json_string_length(v)) : (struct slice){ 0 };
}

/* "tenant:id", or an id of the first tenant: what the common name says, since it is one over all. */
struct owner {
	char tenant[REGISTRY_NAME_MAX + 1];
	struct slice id;
};

static bool
find_owner(struct api *a, struct slice cn, struct owner *ret)
{
	const uint8_t *colon = cn.n > 0 ? memchr(cn.p, ':', cn.n) : NULL;
	struct registry_tenant t;
	bool ok;

	*ret = (struct owner){ .id = cn };
	if (colon != NULL)
		ret->id = slice_from(cn, (size_t)(colon - cn.p) + 1);
	if (!(colon == NULL ? registry_tenant_first(a->registry, &t, NULL) : registry_tenant_get(a->registry, slice_of(cn.p, (size_t)(colon - cn.p)), &t, NULL)))
		return false;
	ok = t.first == (colon == NULL) && !t.disabled && text_copy(ret->tenant, sizeof(ret->tenant), t.name);
	free(t.mem);
	return ok;
}

/* More than so many who wait are no devices any more but somebody's play. */
static bool
has_room(struct api *a)
{
	int64_t totals[REGISTRY_DEVICE_STATES];

	return registry_device_totals(a->registry, (struct slice){ 0 }, totals, NULL) && totals[REGISTRY_PENDING] < PENDING_MAX;
}

static char *
make_attrs(const json_t *o, const struct registry_ca *ca, const struct rule_verdict *v)
{
	json_t *e = json_pack("{s:{s:o, s:o, s:o, s:o, s:o, s:s}}", "enrolment", "ca", text_json(ca->name), "fingerprint", text_json(member(o, "fingerprint")), "serial",
	    text_json(member(o, "serial")), "subject", text_json(member(o, "subject")), "listener", text_json(member(o, "listener")), "rule", v->rule);
	char *text = e != NULL ? json_dumps(e, JSON_COMPACT) : NULL;

	json_decref(e);
	return text;
}

/* The device and, of a factory, the certificate by which the broker knows it: both or none. */
static bool
book(struct api *a, const json_t *o, const struct registry_ca *ca, struct registry_device_new *n, struct err *err)
{
	struct registry_certificate x = { .ca = ca->name, .cn = n->device.cn, .tenant = n->device.tenant, .device = n->device.id, .profile = slice_str(factory),
		.origin = slice_str(factory), .by = n->by, .not_before = time_read(member(o, "not_before")), .not_after = time_read(member(o, "not_after")) };

	if (!registry_begin(a->registry, err))
		return false;
	if (registry_device_add(a->registry, n, err) &&
	    (!slice_eq(ca->role, slice_str(factory)) || (text_copy(x.serial, sizeof(x.serial), member(o, "serial")) &&
	    text_copy(x.fingerprint, sizeof(x.fingerprint), member(o, "fingerprint")) && registry_certificate_import(a->registry, &x, NULL, err))) &&
	    registry_commit(a->registry, err))
		return true;
	registry_rollback(a->registry);
	return false;
}

static void
add(struct api *a, const json_t *o, const struct registry_ca *ca, struct slice cn)
{
	struct rule_verdict v;
	struct owner owner;
	struct registry_device_new n = { .ca = SL("client"), .profile = SL("client"), .by = slice_str("quarantine") };
	char shown[200], *attrs;
	struct err err = { .text = "" };

	rules_judge(a, &(struct newcomer){ ca->name, cn, member(o, "subject") }, &v);
	if (!find_owner(a, cn, &owner) || !rule_device.ok(owner.id) || (v.state == REGISTRY_PENDING && !has_room(a)) || (attrs = make_attrs(o, ca, &v)) == NULL) {
		if (may_say(a, API_SAY_NEWCOMER))
			log_notice("'%s' is in quarantine and not listed as pending: its name is no device's id, or too many wait.", text_show(cn, shown, sizeof(shown)));
		return;
	}
	n.device = (struct registry_device){ .tenant = slice_str(owner.tenant), .id = owner.id, .cn = cn, .attrs = slice_str(attrs), .state = v.state,
		.n_templates = v.n_templates };
	memcpy(n.device.templates, v.templates, sizeof(v.templates));
	if (book(a, o, ca, &n, &err)) {
		if (may_say(a, API_SAY_NEWCOMER))
			log_notice("'%s' has come with a certificate of CA %.*s: %s%s%s.", text_show(cn, shown, sizeof(shown)), SL_ARG(ca->name),
		    v.state == REGISTRY_PENDING ? "it waits for its approval" : registry_device_state_name(v.state), v.rule[0] != '\0' ? " by rule " : "", v.rule);
		api_audit(a, v.rule[0] != '\0' ? "rule" : "quarantine", v.state == REGISTRY_PENDING ? "device-pending" : v.state == REGISTRY_ENABLED ? "device-approved" : "device-refused", cn);
		event_put(a, "pending", slice_str(owner.tenant), json_pack("{s:o, s:o, s:o, s:s, s:s}", "device", text_json(owner.id), "cn", text_json(cn), "ca", text_json(ca->name), "state",
		    registry_device_state_name(v.state), "rule", v.rule));
		broker_poke(a);
	} else if (may_say(a, API_SAY_NEWCOMER)) {
		log_warning("'%s' is in quarantine and cannot be listed as pending: %s.", text_show(cn, shown, sizeof(shown)), err.text);
	}
	free(attrs);
}

void
pending_seen(struct api *a, const json_t *o)
{
	struct slice cause = member(o, "cause"), cn = member(o, "cn");
	uint8_t key[REGISTRY_HASH];
	struct registry_certificate x;
	struct registry_device d;
	struct registry_ca ca;
	size_t n;

	if ((cause.n > 0 && !slice_eq(cause, SL("unregistered"))) || !registry_cn_ok(cn) || !text_unhex(member(o, "issuer"), key, sizeof(key), &n) || n != sizeof(key))
		return;
	/* One that is known waits already, was refused, or was removed, which revoked it. */
	if (registry_certificate_find_fingerprint(a->registry, member(o, "fingerprint"), &x, NULL)) {
		bool known = x.device.n > 0 || x.state == REGISTRY_CERT_REVOKED;

		free(x.mem);
		if (known)
			return;
	}
	if (!registry_ca_find(a->registry, slice_of(key, sizeof(key)), &ca, NULL))
		return;
	if (registry_device_find(a->registry, cn, &d, NULL)) {
		char shown[200];

		if (slice_eq(ca.role, slice_str(factory)) && may_say(a, API_SAY_COLLISION))
			log_warning("A certificate of CA %.*s has the name '%s', which is another device's here: it stays in quarantine.", SL_ARG(ca.name),
			    text_show(cn, shown, sizeof(shown)));
		free(d.mem);
	} else {
		add(a, o, &ca, cn);
	}
	free(ca.mem);
}

/* ---- operations ---- */

static json_t *
pending_json(const struct registry_device *d)
{
	json_t *attrs = json_loadb((const char *)d->attrs.p, d->attrs.n, 0, NULL), *e = json_object_get(attrs, "enrolment");
	json_t *v = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "device", text_json(d->id), "tenant", text_json(d->tenant), "cn", text_json(d->cn), "ca",
	    text_json(member(e, "ca")), "fingerprint", text_json(member(e, "fingerprint")), "serial", text_json(member(e, "serial")), "subject", text_json(member(e, "subject")),
	    "address", text_json(d->address), "since", time_json(d->created));

	json_decref(attrs);
	return v;
}

static bool
add_row(void *ctx, const struct registry_device *d)
{
	return json_array_append_new(ctx, pending_json(d)) == 0;
}

static void
list(struct call *c)
{
	struct registry_device_filter f = { .tenant = call_tenant(c), .states = 1u << REGISTRY_PENDING };
	struct registry_page page = call_page(c);
	json_t *items = json_array();
	struct err err;

	if (items == NULL || registry_device_list(c->api->registry, &f, &page, add_row, items, &err)) {
		call_page_json(c, items, &page);
		return;
	}
	json_decref(items);
	call_error(c, &err);
}

static void
read_templates(const struct call *c, struct registry_device *d)
{
	const json_t *one;
	size_t i;

	if (!call_has(c, "templates"))
		return;
	d->n_templates = 0;
	json_array_foreach(json_object_get(c->body, "templates"), i, one)
		d->templates[d->n_templates++] = json_integer_value(one);
}

/* The broker is told at once, and ends its connection: it comes back with its rights, or not at all. */
static void
settle(struct call *c, enum registry_device_state state)
{
	struct registry_device d;
	struct err err;
	bool ok;

	if (!registry_device_get(c->api->registry, call_tenant(c), c->params[0], &d, &err)) {
		call_error(c, &err);
		return;
	}
	if (d.state != REGISTRY_PENDING) {
		free(d.mem);
		call_problem(c, 409, "not-pending", "PATCH /api/v1/devices/{device} changes its state", "the device is %s", registry_device_state_name(d.state));
		return;
	}
	d.state = state;
	if (call_has(c, "label"))
		d.label = call_text(c, "label");
	read_templates(c, &d);
	ok = registry_device_set(c->api->registry, &d, &err);
	free(d.mem);
	if (ok)
		call_nothing(c);
	else
		call_error(c, &err);
}

static void
approve(struct call *c)
{
	settle(c, REGISTRY_ENABLED);
}

static void
refuse(struct call *c)
{
	settle(c, REGISTRY_DISABLED);
}

static const struct field template_row = { "template", FIELD_INT, 0, 1, INT64_MAX };
static const struct field approval_rows[] = {
	{ "label", FIELD_TEXT, 0, 0, 200, &rule_plain, .example = "\"Press 7\"" },
	{ "templates", FIELD_LIST, 0, 0, REGISTRY_TEMPLATES_MAX, .of = &template_row },
	{ 0 },
};
static const struct field pending_rows[] = {
	{ "device", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX }, { "tenant", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "cn", FIELD_TEXT, FIELD_REQUIRED, 1, 160 }, { "ca", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX, .help = "Who made its certificate; empty: it was made by hand" },
	{ "fingerprint", FIELD_TEXT, FIELD_REQUIRED, 0, 64 }, { "serial", FIELD_TEXT, FIELD_REQUIRED, 0, 40 }, { "subject", FIELD_TEXT, FIELD_REQUIRED, 0, 1024 },
	{ "address", FIELD_TEXT, FIELD_REQUIRED, 0, 256 }, { "since", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ 0 },
};
static const struct schema approval_schema = { "Approval", approval_rows }, pending_schema = { "PendingDevice", pending_rows };

static const struct op ops[] = {
	{ "listPending", "Devices that have come by themselves and wait for their approval", HTTP_GET, "/api/v1/pending", OP_LIST, 200, list, .answer = &pending_schema },
	{ "approveDevice", "A device that waits gets its rights; its connection is ended, so that it comes back with them", HTTP_POST, "/api/v1/pending/{device}/approve", OP_ONCE, 204,
	    approve, .body = &approval_schema, .example = "{\"label\":\"Press 7\"}" },
	{ "refuseDevice", "A device that waits is disabled", HTTP_POST, "/api/v1/pending/{device}/refuse", OP_ONCE, 204, refuse },
	{ "getEnrolmentRules", "What becomes of new devices by themselves", HTTP_GET, "/api/v1/enrolment/rules", OP_PLATFORM, 200, rules_get, .answer = &rules_schema },
	{ "setEnrolmentRules", "Set all rules", HTTP_PUT, "/api/v1/enrolment/rules", OP_PLATFORM | OP_MATCH, 200, rules_put, .body = &rules_schema, .answer = &rules_schema, .example = rules_example },
};
const struct op_group group_pending = { "pending", "Devices that come by themselves", ops, ARRAY_LEN(ops) };
