/* Secrets of devices and fleets: made, listed, withdrawn; and the open way by which a device comes with one. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/enrol.h"
#include "api/enrol_fleet.h"
#include "api/enrol_uri.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { HOURS_MAX = 24 * 365, HOURS = 24, USES_MAX = 1000000 };
static const char purpose_device[] = "one-time", purpose_fleet[] = "fleet";

/* ---- making ---- */

static json_t *
secret_json(const struct registry_secret *s, int64_t now)
{
	json_t *note = s->note.n > 0 ? json_loadb((const char *)s->note.p, s->note.n, 0, NULL) : NULL;
	bool open = !s->revoked && (s->expires == 0 || s->expires > now) && (s->max_uses == 0 || s->uses < s->max_uses);
	json_t *v = json_pack("{s:I, s:o, s:o, s:o, s:b, s:b, s:I, s:I, s:o, s:o, s:o}", "id", (json_int_t)s->id, "device", s->device.n > 0 ? text_json(s->device) : json_null(),
	    "tenant", text_json(s->tenant), "purpose", text_json(s->purpose), "open", open, "withdrawn", s->revoked, "uses", (json_int_t)s->uses, "max_uses",
	    (json_int_t)s->max_uses, "expires", time_json(s->expires), "by", text_json(s->by), "created", time_json(s->created));

	(void)json_object_set_new(v, "fleet", json_is_object(note) ? json_incref(note) : json_null());
	json_decref(note);
	return v;
}

/* Shown once: nobody can read it back. */
static void
answer_made(struct call *c, int64_t id, struct slice secret, const char *uri)
{
	struct registry_secret s;
	struct err err;
	json_t *v;

	if (!registry_secret_get(c->api->registry, call_tenant(c), id, &s, &err)) {
		call_error(c, &err);
		return;
	}
	v = secret_json(&s, api_now(c->api));
	free(s.mem);
	(void)json_object_set_new(v, "secret", text_json(secret));
	(void)json_object_set_new(v, "uri", json_string(uri));
	call_json(c, 201, v);
}

static void
make(struct call *c, const struct registry_secret *asked)
{
	struct registry_secret s = *asked;
	uint8_t random[ENROL_SECRET_N], hash[REGISTRY_HASH];
	char text[ENROL_SECRET_CAP], uri[ENROL_TOKEN_CAP];
	struct slice secret;
	struct err err;
	int64_t id;

	random_bytes(random, sizeof(random));
	secret = slice_str(text_hex(slice_of(random, sizeof(random)), text, sizeof(text)));
	secret_wipe(random, sizeof(random));
	s.tenant = call_tenant(c);
	s.expires = api_now(c->api) + call_int(c, "hours", HOURS) * 3600;
	s.by = slice_str(c->actor.name);
	s.hash = slice_of(hash, sizeof(hash));
	if (EVP_Digest(secret.p, secret.n, hash, NULL, EVP_sha256(), NULL) != 1)
		call_json(c, 503, NULL);
	else if (!enrol_uri(c, s.device, secret, uri, &err) || !registry_secret_add(c->api->registry, &s, &id, &err))
		call_error(c, &err);
	else {
		call_name_number(c, id);
		answer_made(c, id, secret, uri);
	}
	secret_wipe(text, sizeof(text));
	secret_wipe(uri, sizeof(uri));
}

static void
create(struct call *c)
{
	struct registry_secret s = { .device = c->params[0], .purpose = slice_str(purpose_device), .max_uses = 1 };

	make(c, &s);
}

/* The templates have to be there now; that they go later is an error then. */
static bool
check_templates(struct call *c, const json_t *list)
{
	struct registry_template t;
	struct err err;
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one) {
		if (!registry_template_get(c->api->registry, call_tenant(c), json_integer_value(one), &t, &err)) {
			call_error(c, &err);
			return false;
		}
		free(t.mem);
	}
	return true;
}

static void
create_fleet(struct call *c)
{
	json_t *templates = json_object_get(c->body, "templates"), *note;
	struct registry_secret s = { .purpose = slice_str(purpose_fleet), .max_uses = call_int(c, "max_uses", 1) };
	const char *why;
	char *text;

	if (!fleet_pattern_ok(call_text(c, "pattern"), &why)) {
		call_problem(c, 422, "pattern", "such as \"line7-{n:4}\" or \"{name}\"", "the pattern cannot be used: %s", why);
		return;
	}
	if (!check_templates(c, templates))
		return;
	note = json_pack("{s:o, s:o, s:o}", "pattern", text_json(call_text(c, "pattern")), "templates", templates != NULL ? json_incref(templates) : json_array(), "label",
	    text_json(call_text(c, "label")));
	text = note != NULL ? json_dumps(note, JSON_COMPACT) : NULL;
	json_decref(note);
	if (text == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	s.note = slice_str(text);
	make(c, &s);
	free(text);
}

/* ---- listing, withdrawing ---- */

struct rows {
	json_t *items;
	int64_t now;
};

static bool
add_row(void *ctx, const struct registry_secret *s)
{
	struct rows *w = ctx;

	return json_array_append_new(w->items, secret_json(s, w->now)) == 0;
}

static void
list_of(struct call *c, struct slice device)
{
	struct registry_page page = call_page(c);
	struct rows w = { json_array(), api_now(c->api) };
	struct err err;

	if (w.items == NULL || registry_secret_list(c->api->registry, call_tenant(c), device, &page, add_row, &w, &err)) {
		call_page_json(c, w.items, &page);
		return;
	}
	json_decref(w.items);
	call_error(c, &err);
}

static void
list_device(struct call *c)
{
	list_of(c, c->params[0]);
}

static void
list_all(struct call *c)
{
	list_of(c, (struct slice){ 0 });
}

static void
withdraw(struct call *c)
{
	struct registry_secret s;
	uint64_t id = 0;
	struct err err;

	(void)text_u64(c->params[0], 1, INT64_MAX, &id);
	if (!registry_secret_get(c->api->registry, call_tenant(c), (int64_t)id, &s, &err)) {
		call_error(c, &err);
		return;
	}
	free(s.mem);
	if (registry_secret_revoke(c->api->registry, (int64_t)id, &err))
		call_nothing(c);
	else
		call_error(c, &err);
}

/* ---- the device comes ---- */

static void
on_enrolled(struct call *c, const struct enrolled *e, const struct err *why)
{
	struct registry_ca ca = { 0 };
	struct err err;
	char *root, sha256[65], host[ENROL_HOST_CAP];
	json_t *v;

	if (e == NULL) {
		enrol_problem(c, why);
		return;
	}
	root = enrol_root(c->api, sha256, &err);
	(void)registry_ca_get(c->api->registry, slice_str(e->ca), &ca, NULL);
	v = json_pack("{s:o, s:o, s:o, s:o, s:o, s:s?, s:s, s:o}", "device", text_json(e->device), "tenant", text_json(e->tenant), "cn", text_json(e->cn), "certificate",
	    pem_json(e->der, "CERTIFICATE"), "chain", pem_json(ca.der, "CERTIFICATE"), "ca", root, "serial", e->serial, "not_after", time_json(e->not_after));
	free(root);
	free(ca.mem);
	if (c->api->config->mqtt_port != 0 && enrol_host(c, (struct slice){ 0 }, host, sizeof(host))) {
		*strrchr(host, ':') = '\0';
		(void)json_object_set_new(v, "broker", json_pack("{s:s, s:i}", "host", host, "port", (int)c->api->config->mqtt_port));
	} else {
		(void)json_object_set_new(v, "broker", json_null());
	}
	call_json(c, 201, v);
}

static void
enrol(struct call *c)
{
	struct enrol_order o = { .device = call_text(c, "device"), .secret = call_text(c, "secret"), .csr = call_text(c, "csr"), .origin = "enrol", .again = true };

	enrol_take(c, &o, on_enrolled);
}

/* What a token's fingerprint is of. */
static void
get_root(struct call *c)
{
	char sha256[65];
	struct err err;
	char *root = enrol_root(c->api, sha256, &err);

	if (root == NULL)
		call_error(c, &err);
	else
		call_json(c, 200, json_pack("{s:s, s:s}", "pem", root, "sha256", sha256));
	free(root);
}

/* ---- as a picture ---- */

static void
draw(struct call *c)
{
	struct enrol_token t;
	struct err err;
	struct slice uri = call_text(c, "uri");
	char *svg = enrol_token_read(uri, &t, &err) ? qr_svg(json_string_value(json_object_get(c->body, "uri")), &err) : NULL;

	secret_wipe(&t, sizeof(t));
	if (svg == NULL)
		call_error(c, &err);
	else
		call_bytes(c, 200, "image/svg+xml", slice_str(svg));
	if (svg != NULL)
		secret_free(svg, strlen(svg));
}

/* ---- tables ---- */

static const struct field template_row = { "template", FIELD_INT, 0, 1, INT64_MAX };
#define TOKEN_FIELDS \
	{ "hours", FIELD_INT, 0, 1, HOURS_MAX, .help = "For which it is good (24)", .example = "24" }, \
	{ "host", FIELD_TEXT, 0, 1, 256, &rule_host, .help = "HOST[:PORT] under which the device reaches this; else enrol_host, else as you did" }, \
	{ 0 }
static const struct field new_rows[] = { TOKEN_FIELDS };
static const struct field fleet_rows[] = {
	{ "pattern", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX, &rule_plain, .help = "Of the ids: {n} or {n:DIGITS} is a number, {name} what the device calls itself",
	    .example = "\"line7-{n:4}\"" },
	{ "max_uses", FIELD_INT, FIELD_REQUIRED, 1, USES_MAX, .help = "How many devices", .example = "500" },
	{ "templates", FIELD_LIST, 0, 0, REGISTRY_TEMPLATES_MAX, .of = &template_row, .example = "[]" },
	{ "label", FIELD_TEXT, 0, 0, 200, &rule_plain },
	TOKEN_FIELDS,
};
static const struct field fleet_note[] = {
	{ "pattern", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "templates", FIELD_LIST, FIELD_REQUIRED, 0, REGISTRY_TEMPLATES_MAX, .of = &template_row },
	{ "label", FIELD_TEXT, FIELD_REQUIRED, 0, 200 },
	{ 0 },
};
#define SECRET_FIELDS \
	{ "id", FIELD_INT, FIELD_REQUIRED, 1, INT64_MAX }, { "device", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, REGISTRY_NAME_MAX, .help = "null: a fleet's" }, \
	{ "tenant", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX }, { "purpose", FIELD_TEXT, FIELD_REQUIRED, 0, 256 }, \
	{ "open", FIELD_BOOL, FIELD_REQUIRED, .help = "It can be used now" }, { "withdrawn", FIELD_BOOL, FIELD_REQUIRED }, \
	{ "uses", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX }, { "max_uses", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "0: without limit" }, \
	{ "expires", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time }, { "by", FIELD_TEXT, FIELD_REQUIRED, 0, 256 }, \
	{ "created", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time }, { "fleet", FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULL, .of = fleet_note }
static const struct field secret_rows[] = { SECRET_FIELDS, { 0 } };
static const struct field made_rows[] = {
	SECRET_FIELDS,
	{ "secret", FIELD_TEXT, FIELD_REQUIRED, 32, 32, .help = "Shown this once" },
	{ "uri", FIELD_TEXT, FIELD_REQUIRED, 1, ENROL_TOKEN_CAP, .help = "All that a device needs: signet://HOST:PORT/DEVICE?ca=SHA256#SECRET" },
	{ 0 },
};
static const struct field enrol_rows[] = {
	{ "secret", FIELD_TEXT, FIELD_REQUIRED | FIELD_SECRET, 1, 256, &rule_plain, .example = "\"5f0c3a91b2d84e6f7a1029384756abcd\"" },
	{ "csr", FIELD_TEXT, FIELD_REQUIRED, 1, ENROL_CSR_MAX, &rule_pem, .help = "Certificate request (PKCS#10, PEM); of it the key is taken" },
	{ "device", FIELD_TEXT, 0, 1, 160, &rule_plain, .help = "Its id or common name; a fleet's device: what it calls itself" },
	{ 0 },
};
static const struct field broker_rows[] = {
	{ "host", FIELD_TEXT, FIELD_REQUIRED, 1, 300 },
	{ "port", FIELD_INT, FIELD_REQUIRED, 1, 65535 },
	{ 0 },
};
static const struct field enrolled_rows[] = {
	{ "device", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX }, { "tenant", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "cn", FIELD_TEXT, FIELD_REQUIRED, 1, 160 }, { "certificate", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, 65536 },
	{ "chain", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, 65536, .help = "The CA that signed it" },
	{ "ca", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, 65536, .help = "The root, with which the broker is checked" }, { "serial", FIELD_TEXT, FIELD_REQUIRED, 2, 40 },
	{ "not_after", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time }, { "broker", FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULL, .of = broker_rows },
	{ 0 },
};
static const struct field root_rows[] = {
	{ "pem", FIELD_TEXT, FIELD_REQUIRED, 1, 65536 },
	{ "sha256", FIELD_TEXT, FIELD_REQUIRED, 64, 64 },
	{ 0 },
};
static const struct field uri_rows[] = {
	{ "uri", FIELD_TEXT, FIELD_REQUIRED, 1, ENROL_TOKEN_CAP, &rule_plain,
	    .example = "\"signet://localhost:8443/sensor01?ca=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef#5f0c3a91b2d84e6f7a1029384756abcd\"" },
	{ 0 },
};
static const struct schema secret_schema = { "EnrolmentSecret", secret_rows }, made_schema = { "NewEnrolmentSecret", made_rows },
			   new_schema = { "EnrolmentSecretWish", new_rows }, fleet_schema = { "FleetSecretWish", fleet_rows },
			   enrol_schema = { "Enrolment", enrol_rows }, enrolled_schema = { "Enrolled", enrolled_rows }, root_schema = { "Root", root_rows }, uri_schema = { "EnrolmentUri", uri_rows };

static const struct op ops[] = {
	{ "createEnrolment", "Make a one-time secret with which the device gets its certificate", HTTP_POST, "/api/v1/devices/{device}/enrolment", 0, 201, create,
	    .body = &new_schema, .answer = &made_schema, .example = "{\"hours\":24}" },
	{ "listDeviceEnrolments", "Secrets of a device, without the secrets", HTTP_GET, "/api/v1/devices/{device}/enrolment", OP_LIST, 200, list_device,
	    .answer = &secret_schema },
	{ "createFleetEnrolment", "Make a secret with which so many new devices of templates come", HTTP_POST, "/api/v1/enrolment", 0, 201, create_fleet, .body = &fleet_schema,
	    .answer = &made_schema, .example = "{\"pattern\":\"line7-{n:4}\",\"max_uses\":500,\"hours\":72}" },
	{ "listEnrolments", "All secrets of the tenant, without the secrets", HTTP_GET, "/api/v1/enrolment", OP_LIST, 200, list_all, .answer = &secret_schema },
	{ "withdrawEnrolment", "A secret is no use any more", HTTP_DELETE, "/api/v1/enrolment/{secret}", 0, 204, withdraw },
	{ "drawEnrolment", "The QR code of a token; nothing of it is kept", HTTP_POST, "/api/v1/enrolment/qr", OP_SELF | OP_QUIET, 200, draw, .body = &uri_schema,
	    .example = "{\"uri\":\"signet://localhost:8443/sensor01?ca=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef#5f0c3a91b2d84e6f7a1029384756abcd\"}",
	    .media = "image/svg+xml" },
	{ "enrol", "A device gets its certificate for a secret", HTTP_POST, "/api/v1/enrol", OP_OPEN | OP_QUIET | OP_RATIONED, 201, enrol, .body = &enrol_schema, .answer = &enrolled_schema,
	    .example = "{\"secret\":\"5f0c3a91b2d84e6f7a1029384756abcd\",\"csr\":\"-----BEGIN CERTIFICATE REQUEST-----\\nMIH…\\n-----END CERTIFICATE REQUEST-----\\n\"}",
	    .body_max = 32768 },
	{ "enrolmentRoot", "The root whose fingerprint stands in a token", HTTP_GET, "/api/v1/enrol", OP_OPEN, 200, get_root, .answer = &root_schema },
};
const struct op_group group_enrol = { "enrolment", "How devices come to their first certificate", ops, ARRAY_LEN(ops) };
