/* Certificates for devices, signed by the signer; and the CAs that it has. */
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "api/events.h"
#include "api/signers.h"
#include "api/standing.h"
#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

/* ---- the CAs ---- */

static bool
key_hash(X509 *x, uint8_t out[static REGISTRY_HASH])
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	bool ok = n > 0 && EVP_Digest(der, (size_t)n, out, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return ok;
}

static int64_t
seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* RFC 2253, as everywhere; free(). */
static char *
subject_of(X509 *x)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *text = NULL, *p;
	long n;

	if (b != NULL && X509_NAME_print_ex(b, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0 && (n = BIO_get_mem_data(b, &p)) >= 0)
		text = text_dup(slice_of(p, (size_t)n));
	(void)BIO_free(b);
	return text;
}

/* A CA of the four roles says it by its name; what an adopted one's certificates are worth, signet.conf knows. */
static struct slice
role_of(const struct api *a, const char *name)
{
	static const char *const roles[] = { "client", "watch", "control", "cloud" };
	const struct api_config *config = a->config;
	char file[REGISTRY_NAME_MAX + 32];

	for (size_t i = 0; i < ARRAY_LEN(roles); i++)
		if (strcmp(name, roles[i]) == 0)
			return slice_str(roles[i]);
	(void)snprintf(file, sizeof(file), "/pki/%s/cert.pem", name);
	for (unsigned i = 0; i < config->n_role_cas; i++) {
		struct slice at = slice_str(config->role_cas[i].file), end = slice_str(file);

		if (at.n >= end.n && slice_eq(slice_from(at, at.n - end.n), end))
			return slice_str(config->role_cas[i].role);
	}
	return (struct slice){ 0 };
}

/* Ours are below the root; an adopted one is only if the root has signed it. */
static struct slice
parent_of(struct api *a, X509 *x)
{
	struct registry_ca root;
	struct slice parent = { 0 };
	const unsigned char *p;
	X509 *above;

	if (!registry_ca_get(a->registry, SL("root"), &root, NULL))
		return parent;
	p = root.der.p;
	above = d2i_X509(NULL, &p, (long)root.der.n);
	if (above != NULL && X509_check_issued(above, x) == X509_V_OK && X509_cmp(above, x) != 0)
		parent = SL("root");
	X509_free(above);
	free(root.mem);
	return parent;
}

bool
cas_put(struct api *a, const struct cas_entry *s, X509 *x, struct err *err)
{
	uint8_t key[REGISTRY_HASH];
	struct registry_ca ca = { 0 };
	char *subject = subject_of(x);
	bool ok;

	/* What was said of it here stays; what the certificate says is taken from there. */
	if (!registry_ca_get(a->registry, slice_str(s->name), &ca, NULL)) {
		ca = (struct registry_ca){ .name = slice_str(s->name), .role = slice_str(s->role != NULL ? s->role : "") };
	}
	if (s->role == NULL) {
		ca.parent = parent_of(a, x);
		if (ca.role.n == 0)
			ca.role = role_of(a, s->name);
	}
	ca.subject = slice_str(subject);
	ca.key = slice_of(key, sizeof(key));
	ca.der = s->der;
	ca.not_before = seconds(X509_get0_notBefore(x));
	ca.not_after = seconds(X509_get0_notAfter(x));
	ca.own = s->own;
	ok = subject != NULL && key_hash(x, key) ? registry_ca_put(a->registry, &ca, err)
						 : err_set(err, ERR_INPUT, "its certificate cannot be read");
	free(subject);
	free(ca.mem);
	return ok;
}

static void
on_cas(void *ctx, const struct signer_ca *cas, size_t n, const struct err *why)
{
	struct api *a = ctx;
	struct err err;

	if (n == 0)
		log_error("The signer does not say which CAs it has: %s.", why->text);
	/* The root first, of which the others come. */
	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < n; i++) {
			const unsigned char *p = cas[i].der.p;
			X509 *x = NULL;

			if ((strcmp(cas[i].name, "root") == 0) != (round == 0))
				continue;
			x = d2i_X509(NULL, &p, (long)cas[i].der.n);
			if (x == NULL || !cas_put(a, &(struct cas_entry){ cas[i].name, NULL, cas[i].der, !cas[i].away }, x, &err))
				log_error("CA %s is not taken into the registry: %s.", cas[i].name, x != NULL ? err.text : "no certificate");
			X509_free(x);
		}
	}
	indexes_lists(a);
	indexes_soon(a);
	lists_due(a);
	responders_due(a, true);
}

void
cas_import(struct api *a)
{
	struct err err;

	if (!signer_cas(signers_client(a), on_cas, a, &err))
		log_error("The signer cannot be asked for its CAs: %s.", err.text);
}

/* ---- issuing ---- */

void
issue_terms(struct registry *r, struct slice cn, char ret_ca[static REGISTRY_NAME_MAX + 1], char ret_profile[static REGISTRY_NAME_MAX + 1])
{
	struct registry_entity e = { .ca = SL("client"), .profile = SL("client") };

	(void)registry_entity_get(r, cn, &e, NULL);
	(void)text_copy(ret_ca, REGISTRY_NAME_MAX + 1, e.ca);
	(void)text_copy(ret_profile, REGISTRY_NAME_MAX + 1, e.profile);
	free(e.mem);
}

void
issued_fill(const struct signer_issued *s, struct registry_certificate *ret)
{
	ret->cn = slice_str(s->cn);
	ret->der = s->der;
	ret->not_before = s->not_before;
	ret->not_after = s->not_after;
	(void)text_copy(ret->serial, sizeof(ret->serial), slice_str(s->serial));
	(void)text_copy(ret->fingerprint, sizeof(ret->fingerprint), slice_str(s->fingerprint));
}

enum { NAMES_MAX = 16 };

struct order {
	char ca[REGISTRY_NAME_MAX + 1], profile[REGISTRY_NAME_MAX + 1], cn[4 * REGISTRY_NAME_MAX + 80];
	struct standing standing;
	bool supersede;
};

static void
on_issued(void *ctx, const struct signer_issued *s, const struct err *why)
{
	struct call *c = ctx;
	struct order *o = c->work;
	struct registry_certificate_new n = { .supersede = o->supersede, .certificate = { .ca = slice_str(o->ca), .profile = slice_str(o->profile),
		.origin = SL("api"), .by = slice_str(c->actor.name) } };
	struct registry_certificate *x = &n.certificate;
	struct err err;

	if (s == NULL) {
		call_error(c, why);
		return;
	}
	issued_fill(s, x);
	/* One that the registry does not know must not go out: nobody could revoke it here. */
	if (!standing_book(c->api, &n, &o->standing, &err)) {
		call_error(c, &err);
		return;
	}
	event_certificate(c->api, "issued", x->ca, slice_str(x->serial));
	(void)evbuffer_add_printf(c->headers, "Location: /api/v1/certificates/%s/%s\r\n", o->ca, x->serial);
	certificate_show(c, x->ca, slice_str(x->serial), 201);
}

static size_t
read_names(const struct call *c, const char *out[static NAMES_MAX])
{
	json_t *list = json_object_get(c->body, "names"), *one;
	size_t i, n = 0;

	json_array_foreach(list, i, one)
		out[n++] = json_string_value(one);
	return n;
}

static void
order(struct call *c, struct order *o)
{
	const char *names[NAMES_MAX];
	struct signer_issue q = { .ca = o->ca, .profile = o->profile[0] != '\0' ? o->profile : NULL, .cn = o->cn, .names = names, .csr = call_text(c, "csr"),
		.days = (unsigned)call_int(c, "days", 0), .actor = c->actor.name };
	struct signer_client *signer = call_signer(c);
	struct err err;

	if (signer == NULL)
		return;
	standing_of(c->api->registry, slice_str(o->cn), &o->standing);
	q.n_names = read_names(c, names);
	if (!signer_issue(signer, &q, on_issued, c, &err))
		call_error(c, &err);
	else
		signers_asked(c->api);
}

static void
issue(struct call *c)
{
	struct order *o = c->work = calloc(1, sizeof(*o));
	struct registry_device d;
	struct err err;

	if (o == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	if (!registry_device_get(c->api->registry, call_tenant(c), c->params[0], &d, &err)) {
		call_error(c, &err);
		return;
	}
	issue_terms(c->api->registry, d.cn, o->ca, o->profile);
	(void)text_copy(o->cn, sizeof(o->cn), d.cn);
	o->supersede = call_bool(c, "supersede", false);
	free(d.mem);
	order(c, o);
}

/* Another one of the same name from the same CA. */
static void
renew(struct call *c)
{
	struct order *o = c->work = calloc(1, sizeof(*o));
	struct registry_certificate x;

	if (o == NULL) {
		call_json(c, 503, NULL);
		return;
	}
	if (!certificate_load_to_change(c, &x))
		return;
	(void)text_copy(o->ca, sizeof(o->ca), x.ca);
	(void)text_copy(o->profile, sizeof(o->profile), x.profile);
	(void)text_copy(o->cn, sizeof(o->cn), x.cn);
	o->supersede = true;
	if (x.state == REGISTRY_CERT_REVOKED || x.state == REGISTRY_CERT_HOLD) {
		free(x.mem);
		call_problem(c, 409, "revoked", "issue one for the device, if it may have one again", "the certificate is revoked or on hold");
		return;
	}
	free(x.mem);
	order(c, o);
}

static const struct field host_row = { "name", FIELD_TEXT, 0, 1, 253, &rule_host };
#define ORDER_FIELDS \
	{ "csr", FIELD_TEXT, FIELD_REQUIRED, 1, 65536, &rule_pem, .help = "Certificate request (PKCS#10, PEM); of it the key is taken" }, \
	{ "days", FIELD_INT, 0, 1, 36500, .help = "At most what the profile says, and what the CA has left" }, \
	{ "names", FIELD_LIST, 0, 0, NAMES_MAX, .of = &host_row, .help = "For subjectAltName, where the profile takes them" }
static const struct field issue_rows[] = {
	ORDER_FIELDS,
	{ "supersede", FIELD_BOOL, .help = "The device's other certificates are superseded now" },
	{ 0 },
};
static const struct field renew_rows[] = {
	ORDER_FIELDS,
	{ 0 },
};
static const struct schema issue_schema = { "NewCertificate", issue_rows }, renew_schema = { "Renewal", renew_rows };

static const struct op ops[] = {
	{ "issueCertificate", "Sign a certificate for a device", HTTP_POST, "/api/v1/devices/{device}/certificates", OP_ONCE, 201, issue, .body = &issue_schema,
	    .answer = &certificate_schema, .example = "{\"csr\":\"-----BEGIN CERTIFICATE REQUEST-----\\nMIH…\\n-----END CERTIFICATE REQUEST-----\\n\"}" },
	{ "renewCertificate", "Sign another one of the same name; the old one is superseded", HTTP_POST, "/api/v1/certificates/{ca}/{serial}/renew", OP_ONCE, 201,
	    renew, .body = &renew_schema, .answer = &certificate_schema,
	    .example = "{\"csr\":\"-----BEGIN CERTIFICATE REQUEST-----\\nMIH…\\n-----END CERTIFICATE REQUEST-----\\n\"}" },
};
const struct op_group group_issue = { "issuing", "New certificates", ops, ARRAY_LEN(ops) };
