/* The CAs and their revocation lists. */
#include "api/public.h"

#include <openssl/pem.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/text.h"

json_t *
pem_json(struct slice der, const char *label)
{
	BIO *b = der.n > 0 ? BIO_new(BIO_s_mem()) : NULL;
	json_t *v = NULL;
	char *text;
	long n;

	if (der.n == 0)
		return json_null();
	if (b != NULL && PEM_write_bio(b, label, "", der.p, (long)der.n) > 0 && (n = BIO_get_mem_data(b, &text)) > 0)
		v = json_stringn(text, (size_t)n);
	(void)BIO_free(b);
	return v;
}

static json_t *
hex_json(struct slice s)
{
	char text[2 * REGISTRY_HASH + 1];

	return json_string(text_hex(s, text, sizeof(text)));
}

static json_t *
ca_json(const struct registry_ca *x)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:b, s:o, s:o, s:{s:I, s:o, s:o, s:b}}", "name", text_json(x->name), "role", text_json(x->role),
	    "parent", text_json(x->parent), "subject", text_json(x->subject), "key_sha256", hex_json(x->key), "own", x->own, "retired", x->retired,
	    "not_before", time_json(x->not_before), "not_after", time_json(x->not_after), "list", "number", (json_int_t)x->crl_number, "made",
	    time_json(x->crl_this), "until", time_json(x->crl_next), "due", x->crl_due);
}

static bool
put_active(json_t *ca, int64_t n, int64_t last)
{
	return json_object_set_new(ca, "active", json_integer(n)) == 0 && json_object_set_new(ca, "active_until", time_json(last)) == 0;
}

static bool
note_active(void *ctx, const struct registry_active *x)
{
	json_t *cas = ctx, *one;
	size_t i;

	json_array_foreach(cas, i, one)
		if (slice_eq(slice_str(json_string_value(json_object_get(one, "name"))), x->ca))
			return put_active(one, x->n, x->last);
	return true;
}

/* What is still good of each of them: the tenant's. */
static bool
add_active(struct call *c, json_t *cas, struct err *err)
{
	json_t *one;
	size_t i;

	json_array_foreach(cas, i, one)
		if (!put_active(one, 0, 0))
			return err_set(err, ERR_MEMORY, "out of memory");
	return registry_active_each(c->api->registry, call_tenant(c), note_active, cas, err);
}

/* A CA of another tenant is none. */
bool
call_sees_ca(const struct call *c, const struct registry_ca *x)
{
	return x->tenant.n == 0 || slice_eq(x->tenant, call_tenant(c));
}

struct listing {
	struct call *call;
	json_t *items;
};

static bool
add_row(void *ctx, const struct registry_ca *x)
{
	struct listing *l = ctx;

	return !call_sees_ca(l->call, x) || json_array_append_new(l->items, ca_json(x)) == 0;
}

static void
list(struct call *c)
{
	struct listing l = { c, json_array() };
	struct registry_page all = { 0 };
	struct err err;
	bool ok;

	ok = l.items == NULL || (registry_ca_each(c->api->registry, add_row, &l, &err) && add_active(c, l.items, &err));
	call_listed(c, ok, l.items, &all, &err);
}

static void
get(struct call *c)
{
	struct registry_ca x;
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	json_t *v = NULL;

	if (!registry_ca_get(c->api->registry, c->params[0], &x, &err)) {
		call_error(c, &err);
		return;
	}
	c->version = x.version;
	if (!call_sees_ca(c, &x)) {
		call_problem(c, 404, "not-found", NULL, "there is no such CA");
	} else {
		v = json_pack("[o]", ca_json(&x));
		if (v != NULL && add_active(c, v, &err))
			call_json(c, 200, json_incref(json_array_get(v, 0)));
		else
			call_error(c, &err);
		json_decref(v);
	}
	free(x.mem);
}

/* What everybody may have who meets the CA's certificates. */
static void
get_certificate(struct call *c)
{
	struct registry_ca x;
	struct err err;

	if (!registry_ca_get(c->api->registry, c->params[0], &x, &err)) {
		call_error(c, &err);
		return;
	}
	call_bytes(c, 200, "application/pkix-cert", x.der);
	free(x.mem);
}

static void
get_list(struct call *c)
{
	bool pem = slice_eq(call_query(c, "form"), SL("pem"));
	const struct public_list *l;
	struct registry_ca x;
	struct slice match;
	struct err err;

	if (!registry_ca_get(c->api->registry, c->params[0], &x, &err)) {
		call_error(c, &err);
		return;
	}
	l = public_list(c->api, &x, pem, &err);
	free(x.mem);
	if (l == NULL) {
		call_error(c, &err);
		return;
	}
	call_header(c, "ETag", "%s", l->tag);
	if (http_header(&c->head, "If-None-Match", &match) && match.p != NULL && call_has_tag(match, slice_str(l->tag)))
		call_bytes(c, 304, NULL, (struct slice){ 0 });
	else
		call_blob(c, pem ? "application/x-pem-file" : "application/pkix-crl", l->blob);
}

static void
on_made(struct call *c, const struct err *why)
{
	if (why == NULL) {
		get(c);
		return;
	}
	call_header(c, "Retry-After", "60");
	call_problem(c, 503, "list-pending", "try again when the signer is there", "the list cannot be made: %s", why->text);
}

static void
make_list(struct call *c)
{
	struct registry_ca x;
	struct err err;
	bool ok;

	if (!registry_ca_get(c->api->registry, c->params[0], &x, &err)) {
		call_error(c, &err);
		return;
	}
	ok = x.own;
	free(x.mem);
	if (ok)
		lists_make(c, c->params[0], on_made);
	else
		call_problem(c, 409, "denied", "its list is made where its key is", "the signer does not have this CA's key");
}

static const char *const list_forms[] = { "der", "pem", NULL };
static const struct field list_query[] = {
	{ "form", FIELD_TEXT, .choices = list_forms },
	{ 0 },
};

static const struct field list_rows[] = {
	{ "number", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX },
	{ "made", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "until", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "due", FIELD_BOOL, FIELD_REQUIRED, .help = "Something was revoked or put back since" },
	{ 0 },
};
static const struct field rows[] = {
	{ "name", FIELD_TEXT, FIELD_REQUIRED, 1, REGISTRY_NAME_MAX },
	{ "role", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX, .help = "What its certificates make of their owners" },
	{ "parent", FIELD_TEXT, FIELD_REQUIRED, 0, REGISTRY_NAME_MAX },
	{ "subject", FIELD_TEXT, FIELD_REQUIRED, 0, 1024 },
	{ "key_sha256", FIELD_TEXT, FIELD_REQUIRED, 0, 64, .help = "Of the SubjectPublicKeyInfo, hex" },
	{ "own", FIELD_BOOL, FIELD_REQUIRED, .help = "The signer has its key" },
	{ "retired", FIELD_BOOL, FIELD_REQUIRED },
	{ "not_before", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "not_after", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time },
	{ "active", FIELD_INT, FIELD_REQUIRED, 0, INT64_MAX, .help = "Its active certificates of the tenant's devices" },
	{ "active_until", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 20, 20, &rule_time, .help = "The day on which the last of these ends" },
	{ "list", FIELD_OBJECT, FIELD_REQUIRED, .of = list_rows, .help = "Its revocation list" },
	{ 0 },
};
static const struct schema schema = { "Ca", rows };

static const struct op ops[] = {
	{ "listCas", "All CAs", HTTP_GET, "/api/v1/cas", OP_ALL, 200, list, .answer = &schema },
	{ "getCa", "One CA", HTTP_GET, "/api/v1/cas/{ca}", 0, 200, get, .answer = &schema },
	{ "getCaCertificate", "The CA's certificate, DER", HTTP_GET, "/api/v1/cas/{ca}/certificate", OP_OPEN, 200, get_certificate, .media = "application/pkix-cert" },
	{ "getCaList", "The CA's revocation list, DER or PEM", HTTP_GET, "/api/v1/cas/{ca}/crl", OP_OPEN, 200, get_list, .query = list_query,
	    .media = "application/pkix-crl" },
	{ "makeCaList", "Make a new revocation list now; the answer comes when it is published. One of the last minute stays if nothing was revoked since", HTTP_POST, "/api/v1/cas/{ca}/crl", OP_PLATFORM, 200, make_list,
	    .answer = &schema },
};
const struct op_group group_cas = { "cas", "Certificate authorities", ops, ARRAY_LEN(ops) };
