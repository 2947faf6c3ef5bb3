/* Bundles: what a device or its engineer is given, with a key that was made in this process's memory, signed for at once, and handed out once.
 * Nothing of it is ever on a disk of ours, and it is wiped when it was taken or nobody came. */
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/broker.h"
#include "api/bundles.h"
#include "api/enrol_uri.h"
#include "api/events.h"
#include "api/signers.h"
#include "api/standing.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "bundle/bundle.h"

enum { PARCELS_MAX = 64, OF_ONE_MAX = 32 /* of a tenant, with those that are being made */, LIFE_S = 600, TOKEN_N = 32 };

/* What waits to be taken. */
struct parcel {
	struct parcel *next;
	char token[2 * TOKEN_N + 1], cn[4 * REGISTRY_NAME_MAX + 80], file[sizeof(((struct bundle_set *)NULL)->folder) + 24], by[128], tenant[REGISTRY_NAME_MAX + 1];
	const char *media;
	uint8_t *data;
	size_t n;
	int64_t expires;
};

static const struct form {
	const char *name, *suffix, *media;
	const char *file; /* of the set; NULL: all of it */
} forms[] = {
	{ "zip", ".zip", "application/zip", NULL },
	{ "tar.gz", ".tar.gz", "application/gzip", NULL },
	{ "pkcs12", ".p12", "application/x-pkcs12", "device.p12" },
	{ "header", ".h", "text/x-c", "device.h" },
	{ "springcore", ".json", "application/json", "springcore.json" },
};
static const char *const form_names[] = { "zip", "tar.gz", "pkcs12", "header", "springcore", NULL };
static const char *const key_names[] = { "p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", NULL };

/* One that is being made: of its call. */
struct making {
	const struct form *form;
	struct pki_pair pair; /* of zeros: the device has its own key */
	struct standing standing;
	char *client_id, *publish, *subscribe; /* what the broker lets it do; NULL: it has not said, or nothing */
	char ca[REGISTRY_NAME_MAX + 1], profile[REGISTRY_NAME_MAX + 1], cn[4 * REGISTRY_NAME_MAX + 80];
};

/* ---- what waits ---- */

static void
parcel_free(struct parcel *p)
{
	if (p == NULL)
		return;
	secret_free(p->data, p->n);
	secret_wipe(p->token, sizeof(p->token));
	free(p);
}

void
bundles_expire(struct api *a, int64_t now)
{
	for (struct parcel **at = &a->parcels; *at != NULL;) {
		struct parcel *p = *at;

		if (p->expires > now) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		parcel_free(p);
	}
}

static bool
has_room(const struct call *c)
{
	size_t n = 0, of_one = 0;

	for (const struct parcel *p = c->api->parcels; p != NULL; p = p->next, n++)
		of_one += strcmp(p->tenant, c->tenant) == 0;
	for (const struct call *x = c->api->calls; x != NULL; x = x->next)
		of_one += x != c && x->op == c->op && x->work != NULL && strcmp(x->tenant, c->tenant) == 0;
	return n < PARCELS_MAX && of_one < OF_ONE_MAX;
}

/* Out of the list: whoever has it has it alone. */
static struct parcel *
take(struct api *a, struct slice token)
{
	struct parcel **at = &a->parcels, *p;

	while (*at != NULL && !secret_eq(slice_str((*at)->token), token))
		at = &(*at)->next;
	p = *at;
	if (p != NULL)
		*at = p->next;
	return p;
}

static void
fetch(struct call *c)
{
	struct parcel *p;
	char what[sizeof(p->cn) + sizeof(c->peer) + 8];
	struct blob *b;

	bundles_expire(c->api, api_now(c->api));
	p = take(c->api, c->params[0]);
	if (p == NULL) {
		call_problem(c, 404, "not-found", "make another one; a link is good for one download within ten minutes", "nothing waits under this link");
		return;
	}
	call_header(c, "Content-Disposition", "attachment; filename=\"%s\"", p->file);
	b = c->head.method == HTTP_GET ? blob_new(slice_of(p->data, p->n)) : NULL;
	if (b == NULL) {
		p->next = c->api->parcels;
		c->api->parcels = p;
		if (c->head.method == HTTP_HEAD)
			call_bytes(c, 200, p->media, slice_of(p->data, p->n));
		else
			call_json(c, 503, NULL);
		return;
	}
	/* Also what waits to be sent is wiped. */
	b->secret = true;
	(void)snprintf(what, sizeof(what), "%s to %s", p->cn, c->peer);
	api_audit(c->api, p->by, "downloadBundle", slice_str(what));
	call_blob(c, p->media, b);
	blob_unref(b);
	parcel_free(p);
}

/* ---- what goes in ---- */

static struct slice
bio_text(BIO *b)
{
	char *text;
	long n = BIO_get_mem_data(b, &text);

	return n > 0 ? slice_of(text, (size_t)n) : (struct slice){ 0 };
}

static bool
write_key(const struct making *m, BIO *out, struct err *err)
{
	uint8_t *der;
	size_t n;
	bool ok;

	if (m->pair.key == NULL)
		return true;
	if (!pki_pair_key(&m->pair, &der, &n, err))
		return false;
	ok = PEM_write_bio(out, "PRIVATE KEY", "", der, (long)n) > 0;
	secret_free(der, n);
	return ok || err_set(err, ERR_MEMORY, "out of memory");
}

static const char *
word(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* How the device reaches the broker: as said, or as this API was reached. */
static bool
find_host(const struct call *c, char *out, size_t cap, struct err *err)
{
	const char *said = word(c->body, "host");
	char *colon;

	if (said != NULL)
		return text_copy(out, cap, slice_str(said)) || err_set(err, ERR_USAGE, "the host's name is too long");
	if (!enrol_host(c, (struct slice){ 0 }, out, cap))
		return err_set(err, ERR_USAGE, "say the broker's name as \"host\"");
	colon = strrchr(out, ':');
	if (colon != NULL)
		*colon = '\0';
	return true;
}

static bool
make_set(struct call *c, struct slice key, struct slice chain, struct slice root, struct bundle_set *ret, struct err *err)
{
	const struct making *m = c->work;
	const json_t *reader = json_object_get(c->body, "springcore");
	const struct bundle_springcore s = { .client_id = word(reader, "client_id"), .device_id = word(reader, "device_id"), .prefix = word(reader, "prefix"),
		.login = word(reader, "login"), .password = word(reader, "password"), .ca_slot = (unsigned)json_integer_value(json_object_get(reader, "slot")) };
	unsigned port = (unsigned)call_int(c, "port", c->api->config->mqtt_port != 0 ? c->api->config->mqtt_port : 8883);
	char host[300], *commands = NULL;
	struct bundle_order o = { .cn = m->cn, .client_id = m->client_id, .key = key, .cert = chain, .ca = root, .host = host, .port = (uint16_t)port, .password = word(c->body, "password"),
		.springcore = reader != NULL || strcmp(m->form->name, "springcore") == 0 ? &s : NULL, .now = api_now(c->api) };
	bool ok;

	if (!find_host(c, host, sizeof(host), err))
		return false;
	if (m->client_id != NULL && !bundle_commands(&(struct bundle_usage){ .host = host, .port = port, .client_id = m->client_id, .publish = m->publish,
		.subscribe = m->subscribe }, &commands))
		return err_set(err, ERR_MEMORY, "out of memory");
	o.commands = commands;
	ok = chain.n > 0 ? bundle_make(&o, ret, err) : bundle_reader(&o, ret, err);
	free(commands);
	return ok;
}

static struct bundle_file *
file_of(struct bundle_set *b, const char *name)
{
	for (size_t i = 0; i < b->n; i++)
		if (strcmp(b->files[i].name, name) == 0)
			return &b->files[i];
	return NULL;
}

static bool
pack(const struct making *m, struct bundle_set *b, struct parcel *p, struct err *err)
{
	struct bundle_file *f;

	if (m->form->file == NULL)
		return bundle_pack(b, strcmp(m->form->name, "zip") == 0 ? BUNDLE_ZIP : BUNDLE_TAR_GZ, &p->data, &p->n, err);
	f = file_of(b, m->form->file);
	if (f == NULL)
		return err_set(err, ERR_USAGE, "PKCS#12 needs the private key: leave csr out");
	p->data = f->data;
	p->n = f->n;
	f->data = NULL;
	f->n = 0;
	return true;
}

/* ---- the answer ---- */

static json_t *
answer_json(const struct making *m, const struct parcel *p, struct bundle_set *b, const char *serial)
{
	struct bundle_file *password = strcmp(m->form->name, "pkcs12") == 0 ? file_of(b, "p12-password.txt") : NULL;
	json_t *files = json_array();
	char link[sizeof(p->token) + 32];

	for (size_t i = 0; m->form->file == NULL && i < b->n; i++)
		(void)json_array_append_new(files, json_string(b->files[i].name));
	if (m->form->file != NULL)
		(void)json_array_append_new(files, json_string(m->form->file));
	(void)snprintf(link, sizeof(link), "/api/v1/bundles/%s", p->token);
	return json_pack("{s:s, s:o, s:s, s:o, s:b, s:o, s:s?, s:s?}", "link", link, "expires", time_json(p->expires), "file", p->file, "files", files, "private_key",
	    m->pair.key != NULL, "password",
	    password != NULL ? json_stringn((const char *)password->data, NUM_MAX(password->n, (size_t)1) - 1) : json_null(), "ca", serial != NULL ? m->ca : NULL, "serial", serial);
}

static struct parcel *
parcel_new(struct call *c, const struct making *m, const char *folder)
{
	struct parcel *p = calloc(1, sizeof(*p));
	uint8_t token[TOKEN_N];

	if (p == NULL)
		return NULL;
	random_bytes(token, sizeof(token));
	(void)text_hex(slice_of(token, sizeof(token)), p->token, sizeof(p->token));
	secret_wipe(token, sizeof(token));
	p->media = m->form->media;
	p->expires = api_now(c->api) + LIFE_S;
	(void)text_copy(p->cn, sizeof(p->cn), slice_str(m->cn));
	(void)text_copy(p->by, sizeof(p->by), slice_str(c->actor.name));
	memcpy(p->tenant, c->tenant, sizeof(p->tenant));
	(void)snprintf(p->file, sizeof(p->file), "%s%s", folder, m->form->suffix);
	/* It goes into a header's quotes. */
	for (char *at = p->file; *at != '\0'; at++)
		if (*at == '"' || *at == '\\' || *at == ':' || (uint8_t)*at >= 0x7f)
			*at = '_';
	return p;
}

static bool
finish(struct call *c, struct slice leaf, const char *serial, json_t **ret, struct err *err)
{
	struct making *m = c->work;
	BIO *key = BIO_new(BIO_s_secmem()), *chain = BIO_new(BIO_s_mem()), *root = BIO_new(BIO_s_mem());
	struct bundle_set b = { 0 };
	struct parcel *p = NULL;
	bool ok = (key != NULL && chain != NULL && root != NULL) || err_set(err, ERR_MEMORY, "out of memory");

	ok = ok && (bundles_chain(c, leaf, m->ca, chain, root) || err_set(err, ERR_SYSTEM, "the certificates of the CAs are not known yet")) && write_key(m, key, err) &&
	    make_set(c, bio_text(key), bio_text(chain), bio_text(root), &b, err);
	if (ok && (p = parcel_new(c, m, b.folder)) == NULL)
		ok = err_set(err, ERR_MEMORY, "out of memory");
	ok = ok && p != NULL && pack(m, &b, p, err);
	if (ok) {
		*ret = answer_json(m, p, &b, serial);
		p->next = c->api->parcels;
		c->api->parcels = p;
	} else {
		parcel_free(p);
	}
	bundle_done(&b);
	(void)BIO_free(key);
	(void)BIO_free(chain);
	(void)BIO_free(root);
	return ok;
}

/* A reader shows the certificate that its maker has put into it: there is nothing of ours in its configuration but the CA's. */
static bool
is_without_certificate(const struct making *m)
{
	return strcmp(m->form->name, "springcore") == 0;
}

static void
finish_without(struct call *c)
{
	json_t *answer = NULL;
	struct err err;

	if (finish(c, (struct slice){ 0 }, NULL, &answer, &err))
		call_json(c, 201, answer);
	else
		call_error(c, &err);
}

static void
on_issued(void *ctx, const struct signer_issued *s, const struct err *why)
{
	struct call *c = ctx;
	struct making *m = c->work;
	struct registry_certificate_new n = { .supersede = call_bool(c, "supersede", false), .certificate = { .ca = slice_str(m->ca), .profile = slice_str(m->profile),
		.origin = SL("bundle"), .by = slice_str(c->actor.name) } };
	json_t *answer = NULL;
	struct err err;

	if (s == NULL) {
		call_error(c, why);
		return;
	}
	issued_fill(s, &n.certificate);
	if (!standing_book(c->api, &n, &m->standing, &err) || !finish(c, s->der, s->serial, &answer, &err)) {
		call_error(c, &err);
		return;
	}
	event_certificate(c->api, "issued", n.certificate.ca, slice_str(s->serial));
	call_json(c, 201, answer);
}

/* ---- the request ---- */

struct key_job {
	struct job job;
	struct call *call;
	enum pki_key_type type;
	char cn[4 * REGISTRY_NAME_MAX + 80];
	struct pki_pair pair;
	bool ok;
	struct err err;
};

static void
key_drop(struct job *j)
{
	struct key_job *k = (void *)j;

	pki_pair_done(&k->pair);
	free(k);
}

static void
key_work(struct job *j)
{
	struct key_job *k = (void *)j;

	k->ok = pki_pair_make(k->type, k->cn, &k->pair, &k->err);
}

static void
order(struct call *c, struct slice csr)
{
	struct making *m = c->work;
	struct signer_client *signer = call_signer(c);
	struct signer_issue q = { .ca = m->ca, .profile = m->profile[0] != '\0' ? m->profile : NULL, .cn = m->cn, .csr = csr,
		.days = (unsigned)call_int(c, "days", 0), .actor = c->actor.name };
	struct err err;

	if (signer == NULL)
		return;
	if (signer_issue(signer, &q, on_issued, c, &err))
		signers_asked(c->api);
	else
		call_error(c, &err);
}

static void
key_done(struct job *j)
{
	struct key_job *k = (void *)j;
	struct call *c = k->call;
	struct making *m = c->work;

	if (!k->ok) {
		call_error(c, &k->err);
		key_drop(j);
		return;
	}
	m->pair = k->pair;
	k->pair = (struct pki_pair){ 0 };
	key_drop(j);
	order(c, slice_of(m->pair.csr, m->pair.csr_n));
}

static void
make_key(struct call *c)
{
	const struct making *m = c->work;
	struct key_job *k = calloc(1, sizeof(*k));
	struct slice type = call_text(c, "key");

	if (k != NULL) {
		k->job = (struct job){ .work = key_work, .done = key_done, .drop = key_drop };
		k->call = c;
		(void)text_copy(k->cn, sizeof(k->cn), slice_str(m->cn));
		if (type.p != NULL)
			(void)pki_key_type_parse(type, &k->type);
		else if (slice_eq(slice_str(m->profile), SL("cfree")))
			k->type = PKI_RSA2048; /* it takes no other kind */
		if (worker_add(c->api->worker, &k->job))
			return;
		key_drop(&k->job);
	}
	call_header(c, "Retry-After", "5");
	call_problem(c, 503, "busy", "try again later", "there is no room for another key");
}

static void
ended(struct call *c)
{
	struct making *m = c->work;

	pki_pair_done(&m->pair);
	free(m->client_id);
	free(m->publish);
	free(m->subscribe);
}

/* False: answered. */
static bool
begin(struct call *c, struct making *m)
{
	struct slice form = call_text(c, "format");
	struct registry_device d;
	struct err err;

	if (!registry_device_get(c->api->registry, call_tenant(c), c->params[0], &d, &err)) {
		call_error(c, &err);
		return false;
	}
	issue_terms(c->api->registry, d.cn, m->ca, m->profile);
	(void)text_copy(m->cn, sizeof(m->cn), d.cn);
	standing_of(c->api->registry, d.cn, &m->standing);
	free(d.mem);
	m->form = &forms[0];
	for (size_t i = 0; i < ARRAY_LEN(forms); i++)
		if (slice_eq(form, slice_str(forms[i].name)))
			m->form = &forms[i];
	return true;
}

/* Before anything is signed. False: answered. */
static bool
fits(struct call *c, const struct making *m)
{
	bool reader = call_has(c, "springcore") || strcmp(m->form->name, "springcore") == 0;
	static const char *const of_certificate[] = { "/csr", "/key", "/days", "/supersede" };
	struct faults f = { 0 };
	char host[300];
	struct err err;

	if (call_has(c, "csr") && strcmp(m->form->name, "pkcs12") == 0)
		fault_add(&f, "/csr", "PKCS#12 needs the private key");
	for (size_t i = 0; i < ARRAY_LEN(of_certificate); i++)
		if (is_without_certificate(m) && call_has(c, of_certificate[i] + 1))
			fault_add(&f, of_certificate[i], "a reader shows its maker's certificate, so none is issued for this form");
	if (!find_host(c, host, sizeof(host), &err))
		fault_add(&f, "/host", "%s", err.text);
	else if (reader && strlen(host) > SPRINGCORE_HOST_MAX)
		fault_add(&f, "/host", "a SpringCore reader has room for %d characters, and \"%s\" has %zu", SPRINGCORE_HOST_MAX, host, strlen(host));
	if (f.list == NULL && !f.failed)
		return true;
	call_faults(c, 422, &f);
	return false;
}

/* Of one member; NULL: it is none. */
static char *
learned(const json_t *answer, const char *name)
{
	const char *text = json_string_value(json_object_get(answer, name));

	return text != NULL ? text_dup(slice_str(text)) : NULL;
}

static void
on_usage(struct call *c, const json_t *answer)
{
	struct making *m = c->work;

	m->client_id = learned(answer, "client_id");
	m->publish = learned(answer, "publish");
	m->subscribe = learned(answer, "subscribe");
	if (is_without_certificate(m))
		finish_without(c);
	else if (call_has(c, "csr"))
		order(c, call_text(c, "csr"));
	else
		make_key(c);
}

static void
create(struct call *c)
{
	struct making *m;

	bundles_expire(c->api, api_now(c->api));
	if (!has_room(c) || (m = calloc(1, sizeof(*m))) == NULL) {
		call_header(c, "Retry-After", "60");
		call_problem(c, 503, "limit", "fetch those, or try again in ten minutes", "%d bundles of the tenant, or %d of all, wait to be fetched already, or memory is short",
		    OF_ONE_MAX, PARCELS_MAX);
		return;
	}
	c->work = m;
	c->ended = ended;
	if (begin(c, m) && fits(c, m))
		broker_learn(c, "usage", json_pack("{s:s, s:s}", "cn", m->cn, "role", "client"), on_usage);
}

/* ---- tables ---- */

static const struct field reader_rows[] = {
	{ "client_id", FIELD_TEXT, 0, 1, SPRINGCORE_ID_MAX, &rule_plain, .help = "Else its serial number" },
	{ "device_id", FIELD_TEXT, 0, 1, SPRINGCORE_ID_MAX, &rule_plain, .help = "Else its serial number" },
	{ "prefix", FIELD_TEXT, 0, 1, SPRINGCORE_PREFIX_MAX, &rule_plain },
	{ "login", FIELD_TEXT, 0, 1, SPRINGCORE_LOGIN_MAX, &rule_plain },
	{ "password", FIELD_TEXT, FIELD_SECRET, 1, SPRINGCORE_LOGIN_MAX, &rule_plain },
	{ "slot", FIELD_INT, 0, 0, SPRINGCORE_SLOT_MAX, .help = "Where it keeps our CA" },
	{ 0 },
};
static const struct field body_rows[] = {
	{ "format", FIELD_TEXT, .choices = form_names, .help = "zip: PEM, PKCS#12, C header, commands, README in one; others: one of them. springcore is for a reader with its maker's certificate: none is issued" },
	{ "key", FIELD_TEXT, .choices = key_names, .help = "What kind of key is made (p256; rsa2048 where the profile is cfree)" },
	{ "csr", FIELD_TEXT, 0, 1, 65536, &rule_pem, .help = "The device keeps its own key: its request (PKCS#10, PEM)" },
	{ "days", FIELD_INT, 0, 1, 36500 },
	{ "supersede", FIELD_BOOL, .help = "The device's other certificates are superseded now" },
	{ "password", FIELD_TEXT, FIELD_SECRET, 4, 128, &rule_plain, .help = "Of PKCS#12; else a random one" },
	{ "host", FIELD_TEXT, 0, 1, 253, &rule_host, .help = "The broker's name for the device; else this API's" },
	{ "port", FIELD_INT, 0, 1, 65535 },
	{ "springcore", FIELD_OBJECT, .of = reader_rows, .help = "With the configuration of a SpringCore reader" },
	{ 0 },
};
static const struct field name_row = { "file", FIELD_TEXT, 0, 1, 64 };
static const struct field answer_rows[] = {
	{ "link", FIELD_TEXT, FIELD_REQUIRED, 1, 200, .help = "Whoever has it may take the bundle, once, without a login" },
	{ "expires", FIELD_TEXT, FIELD_REQUIRED, 20, 20, &rule_time },
	{ "file", FIELD_TEXT, FIELD_REQUIRED, 1, 320 },
	{ "files", FIELD_LIST, FIELD_REQUIRED, 0, BUNDLE_FILES_MAX, .of = &name_row },
	{ "private_key", FIELD_BOOL, FIELD_REQUIRED, .help = "It is in the bundle" },
	{ "password", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, 256, .help = "Of a PKCS#12 file that comes alone; shown once" },
	{ "ca", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 1, REGISTRY_NAME_MAX, .help = "Of the certificate in it; null: there is none" },
	{ "serial", FIELD_TEXT, FIELD_REQUIRED | FIELD_NULL, 2, 2 * REGISTRY_SERIAL_MAX, &rule_serial },
	{ 0 },
};
static const struct schema body_schema = { "NewBundle", body_rows }, answer_schema = { "Bundle", answer_rows };

static const struct op ops[] = {
	{ "createBundle", "A key, a certificate and all that a device needs, for one download", HTTP_POST, "/api/v1/devices/{device}/bundle", 0, 201, create,
	    .body = &body_schema, .answer = &answer_schema, .example = "{\"format\":\"zip\",\"key\":\"p256\"}" },
	{ "fetchBundle", "Take it: the link is good once, for ten minutes", HTTP_GET, "/api/v1/bundles/{token}", OP_OPEN, 200, fetch, .media = "application/octet-stream" },
};
const struct op_group group_bundles = { "bundles", "What devices are given", ops, ARRAY_LEN(ops) };
