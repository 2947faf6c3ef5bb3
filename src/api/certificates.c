/* Certificates: what was issued, to whom, and whether it still counts. */
#include <stdlib.h>

#include "api/events.h"
#include "api/signers.h"
#include "base/num.h"

static json_t *
certificate_json(const struct registry_certificate *x)
{
	bool revoked = x->state == REGISTRY_CERT_REVOKED || x->state == REGISTRY_CERT_HOLD;

	return json_pack("{s:o, s:b, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "ca", text_json(x->ca), "own", x->own,
	    "serial", x->serial, "fingerprint", x->fingerprint, "cn", text_json(x->cn), "tenant", text_json(x->tenant), "device", text_json(x->device), "profile",
	    text_json(x->profile), "origin", text_json(x->origin), "by", text_json(x->by), "state", registry_certificate_state_name(x->state),
	    "not_before", time_json(x->not_before), "not_after", time_json(x->not_after), "revoked", time_json(revoked ? x->revoked_at : 0),
	    "reason", revoked ? json_string(reason_name(x->reason)) : json_null(), "created", time_json(x->created), "pem",
	    pem_json(x->der, "CERTIFICATE"));
}

static bool
add_row(void *ctx, const struct registry_certificate *x)
{
	return json_array_append_new(ctx, certificate_json(x)) == 0;
}

static const char *const state_names[] = { "active", "superseded", "hold", "revoked", NULL };
static const char *const order_names[] = { "age", "expiry", NULL };

static void
list(struct call *c)
{
	struct slice state = call_query(c, "state");
	enum registry_certificate_state one;
	struct registry_certificate_filter f = { .tenant = call_tenant(c), .device = call_query(c, "device"), .ca = call_query(c, "ca"),
		.cn = call_query(c, "cn"), .expires_after = time_read(call_query(c, "expires_after")),
		.expires_before = time_read(call_query(c, "expires_before")) };
	struct registry_page page = call_page(c);
	struct err err;
	json_t *items;
	bool ok;

	f.nobodys = slice_eq(call_query(c, "without_device"), SL("true"));
	if (f.nobodys && (!c->actor.first || f.device.p != NULL)) {
		call_problem(c, c->actor.first ? 400 : 403, c->actor.first ? "query" : "denied", NULL, "%s",
		    c->actor.first ? "a certificate without a device is none of a device" : "certificates without a device are for users of the first tenant");
		return;
	}
	if (f.nobodys)
		f.tenant = (struct slice){ 0 };
	items = json_array();
	f.order = slice_eq(call_query(c, "order"), SL("expiry")) ? REGISTRY_CERT_BY_EXPIRY : REGISTRY_CERT_BY_AGE;
	if (state.p != NULL && registry_certificate_state_parse(state, &one))
		f.states = 1u << one;
	ok = items == NULL || registry_certificate_list(c->api->registry, &f, &page, add_row, items, &err);
	call_listed(c, ok, items, &page, &err);
}

/* ---- when they end ---- */

enum { DAY = 86400, STEPS_MAX = 1000, STEPS = 53 };
static const char *const step_names[] = { "day", "week", NULL };

/* So many days together as a step has. */
static json_t *
steps_json(const struct registry_expiry *e, size_t of)
{
	json_t *counts = json_array();

	for (size_t i = 0; counts != NULL && i < e->n; i += of) {
		int64_t sum = 0;

		for (size_t k = 0; k < of; k++)
			sum += e->days[i + k];
		(void)json_array_append_new(counts, json_integer(sum));
	}
	return counts;
}

static void
expiry(struct call *c)
{
	struct slice from = call_query(c, "from"), step = call_query(c, "step");
	size_t of = slice_eq(step, SL("day")) ? 1 : 7, count = (size_t)call_query_int(c, "count", STEPS);
	struct registry_expiry e = { .tenant = call_tenant(c), .ca = call_query(c, "ca"), .n = count * of, .days = calloc(count * of, sizeof(*e.days)),
		.from = (from.p != NULL ? time_read(from) : api_now(c->api)) / DAY * DAY };
	int64_t total;
	struct err err;

	if (e.days == NULL)
		(void)err_set(&err, ERR_MEMORY, "out of memory");
	if (e.days == NULL || !registry_expiry(c->api->registry, &e, &err)) {
		call_error(c, &err);
	} else {
		total = e.before + e.later;
		for (size_t i = 0; i < e.n; i++)
			total += e.days[i];
		call_json(c, 200, json_pack("{s:o, s:s, s:I, s:I, s:I, s:o, s:o}", "from", time_json(e.from), "step", step_names[of > 1], "total", (json_int_t)total,
				      "before", (json_int_t)e.before, "later", (json_int_t)e.later, "last", time_json(e.last), "counts", steps_json(&e, of)));
	}
	free(e.days);
}

/* Those without a device are the platform's: the first tenant's to look after. */
static bool
is_visible(const struct call *c, const struct registry_certificate *x)
{
	return slice_eq(x->tenant, call_tenant(c)) || (x->tenant.n == 0 && c->actor.first);
}

bool
certificate_load(struct call *c, struct slice ca, struct slice serial, struct registry_certificate *ret)
{
	struct err err;

	if (registry_certificate_get(c->api->registry, ca, serial, ret, &err)) {
		if (is_visible(c, ret))
			return true;
		free(ret->mem);
		(void)err_set(&err, ERR_MISSING, "there is no such certificate");
	}
	call_error(c, &err);
	return false;
}

bool
certificate_is_device(struct api *a, const struct registry_certificate *x)
{
	struct registry_ca ca;
	bool ok;

	if (x->device.n == 0 || !registry_ca_get(a->registry, x->ca, &ca, NULL))
		return false;
	ok = ca.role.n == 0 || slice_eq(ca.role, SL("client")) || slice_eq(ca.role, SL("factory"));
	free(ca.mem);
	return ok;
}

bool
certificate_load_to_change(struct call *c, struct registry_certificate *ret)
{
	if (!certificate_load(c, c->params[0], c->params[1], ret))
		return false;
	if (certificate_is_device(c->api, ret) || actor_is_admin(c))
		return true;
	free(ret->mem);
	call_problem(c, 403, "permission", NULL, "only an administrator can change a certificate that is no device's");
	return false;
}

void
certificate_show(struct call *c, struct slice ca, struct slice serial, unsigned status)
{
	struct registry_certificate x;

	if (!certificate_load(c, ca, serial, &x))
		return;
	call_json(c, status, certificate_json(&x));
	free(x.mem);
}

static void
get(struct call *c)
{
	certificate_show(c, c->params[0], c->params[1], 200);
}

/* ---- revocation ---- */

static const struct {
	const char *name;
	int code;
} reasons[] = {
	{ "unspecified", 0 }, { "keyCompromise", 1 }, { "cACompromise", 2 }, { "affiliationChanged", 3 }, { "superseded", 4 },
	{ "cessationOfOperation", 5 }, { "certificateHold", 6 }, { "privilegeWithdrawn", 9 }, { "aACompromise", 10 },
};

const char *
reason_name(int code)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (reasons[i].code == code)
			return reasons[i].name;
	return "unspecified";
}

static int
reason_code(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
		if (slice_eq(slice_str(reasons[i].name), name))
			return reasons[i].code;
	return 0;
}

enum { HOLD = 6, RELEASE = -1 };

static void
on_listed(struct call *c, const struct err *why)
{
	if (why == NULL)
		certificate_show(c, c->params[0], c->params[1], 200);
	else
		lists_pending(c, why);
}

/* The registry knows it first, so that it stays true whoever dies now; then the signer's books and the list. */
static void
set_reason(struct call *c, int reason)
{
	struct registry *r = c->api->registry;
	struct registry_certificate x;
	struct err err;
	bool ok;

	if (!certificate_load_to_change(c, &x))
		return;
	ok = reason == RELEASE ? registry_certificate_unhold(r, c->params[0], c->params[1], &err)
			       : registry_certificate_revoke(r, c->params[0], c->params[1], reason, &err);
	if (ok)
		event_certificate(c->api, reason == RELEASE ? "released" : reason == HOLD ? "held" : "revoked", c->params[0], c->params[1]);
	if (ok)
		lists_publish(c, &x, reason, on_listed);
	else if (err.code == ERR_DENIED && reason != RELEASE)
		call_problem(c, 409, "denied", "disable or remove the device, or have the CA's owner revoke it", "%s", err.text);
	else
		call_error(c, &err);
	free(x.mem);
}

static void
revoke(struct call *c)
{
	set_reason(c, reason_code(call_text(c, "reason")));
}

static void
hold(struct call *c)
{
	set_reason(c, HOLD);
}

static void
release(struct call *c)
{
	set_reason(c, RELEASE);
}

/* ---- tables ---- */

static const char *const reason_names[] = { "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
	"cessationOfOperation", "privilegeWithdrawn", "aACompromise", NULL };
static const struct field query[] = {
	{ "device", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_device },
	{ "ca", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_plain },
	{ "cn", FIELD_TEXT, .min = 1, .max = 160, .rule = &rule_plain },
	{ "without_device", FIELD_BOOL, .help = "Those of names that no device has: servers', operators', and what commands issued for others; for users of the first tenant" },
	{ "state", FIELD_TEXT, .choices = state_names },
	{ "order", FIELD_TEXT, .choices = order_names, .help = "age: newest first; expiry: active ones, what ends next first" },
	{ "expires_after", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time },
	{ "expires_before", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time },
	{ 0 },
};
static const struct field expiry_query[] = {
	{ "step", FIELD_TEXT, .choices = step_names, .help = "What is counted together (week: seven days each)" },
	{ "count", FIELD_INT, .min = 1, .max = STEPS_MAX, .help = "So many steps (53)" },
	{ "from", FIELD_TEXT, .min = 20, .max = 20, .rule = &rule_time, .help = "The day of the first step, in UTC; else today" },
	{ "ca", FIELD_TEXT, .min = 1, .max = REGISTRY_NAME_MAX, .rule = &rule_plain, .help = "Only those of this CA" },
	{ 0 },
};
static const struct field count_row = { "count", FIELD_INT, 0, 0, INT64_MAX };
static const struct field expiry_rows[] = {
	{ "from", FIELD_TEXT, FIELD_REQUIRED, 20, 20, &rule_time, .help = "The beginning of the first step" },
	{ "step", FIELD_TEXT, FIELD_REQUIRED, .choices = step_names },
	{ "total", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "All active certificates of the tenant's devices" },
	{ "before", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Ended before the first step" },
	{ "later", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "End behind the last step" },
	{ "last", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time, .help = "The day on which the last of all ends; null: there is none" },
	{ "counts", FIELD_LIST, FIELD_REQUIRED, 1, STEPS_MAX, .of = &count_row, .help = "How many end in each step" },
	{ 0 },
};
static const struct schema expiry_schema = { "Expiry", expiry_rows };
static const struct field revoke_rows[] = {
	{ "reason", FIELD_TEXT, FIELD_REQUIRED, .choices = reason_names, .example = "\"keyCompromise\"" },
	{ 0 },
};
static const struct field rows[] = {
	{ "ca", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "own", FIELD_BOOL, FIELD_REQUIRED, .help = "The key of its CA is here: it can be revoked here" },
	{ "serial", FIELD_TEXT, FIELD_REQUIRED, 2, 2 * REGISTRY_SERIAL_MAX, &rule_serial },
	{ "fingerprint", FIELD_TEXT, FIELD_REQUIRED, 64, 64, &rule_serial, .help = "SHA-256 of the certificate" },
	{ "cn", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "tenant", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX },
	{ "device", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX, .help = "Empty: it belongs to no device" },
	{ "profile", FIELD_TEXT, FIELD_REQUIRED, 0, 64 },
	{ "origin", FIELD_TEXT, FIELD_REQUIRED, 0, 64, .help = "The way on which it came: api, cli, …" },
	{ "by", FIELD_TEXT, FIELD_REQUIRED, 0, 256 },
	{ "state", FIELD_TEXT, FIELD_REQUIRED, .choices = state_names },
	{ "not_before", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "not_after", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "revoked", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "reason", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, 64 },
	{ "created", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "pem", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, 262144, .help = "Only of one certificate, and only if its bytes are known" },
	{ 0 },
};
const struct schema certificate_schema = { "Certificate", rows };
static const struct schema revoke_schema = { "Revocation", revoke_rows };
#define ONE "/api/v1/certificates/{ca}/{serial}"

static const struct op ops[] = {
	{ "listCertificates", "Certificates of the tenant's devices, or those without a device", HTTP_GET, "/api/v1/certificates", OP_LIST, 200, list, .query = query, .answer = &certificate_schema },
	{ "getExpiry", "How many active certificates end when: kept as numbers, not counted", HTTP_GET, "/api/v1/certificates/expiry", 0, 200, expiry, .query = expiry_query,
	    .answer = &expiry_schema },
	{ "getCertificate", "One certificate", HTTP_GET, ONE, 0, 200, get, .answer = &certificate_schema },
	{ "revokeCertificate", "Revoke a certificate for good; the answer comes when the list is published", HTTP_POST, ONE "/revoke", OP_ONCE, 200, revoke,
	    .body = &revoke_schema, .answer = &certificate_schema, .example = "{\"reason\":\"keyCompromise\"}" },
	{ "holdCertificate", "Put a certificate on hold", HTTP_POST, ONE "/hold", OP_ONCE, 200, hold, .answer = &certificate_schema },
	{ "releaseCertificate", "End the hold", HTTP_POST, ONE "/release", OP_ONCE, 200, release, .answer = &certificate_schema },
};
const struct op_group group_certificates = { "certificates", "Certificates", ops, ARRAY_LEN(ops) };
