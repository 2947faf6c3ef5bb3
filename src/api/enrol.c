/* Who shows a secret gets a certificate: the secret is claimed, the signer asked, and secret, device and certificate are booked as one. */
#include "api/enrol.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/enrol_fleet.h"
#include "api/events.h"
#include "api/signers.h"
#include "api/standing.h"
#include "base/log.h"
#include "base/text.h"

/* One that is under way: between the claim and the signer's answer. */
struct enrol_job {
	struct enrol_job *prev, *next;
	struct call *call;
	enrol_done *done;
	const char *origin;
	struct registry_secret secret; /* claimed; .mem is ours */
	char tenant[REGISTRY_NAME_MAX + 1], device[4 * REGISTRY_NAME_MAX + 1], cn[5 * REGISTRY_NAME_MAX + 2];
	char ca[REGISTRY_NAME_MAX + 1], profile[REGISTRY_NAME_MAX + 1];
	char actor[64];
	struct standing standing;
	bool fresh;            /* the device is made with it */
	bool has_key;          /* of the next two: whose it is, should he ask again */
	uint8_t hash[REGISTRY_HASH], key[REGISTRY_HASH];
	struct enrol_job *first; /* who asks the same again while <first> is under way: gets its answer; NULL: this is the first */
};
struct enrol {
	struct enrol_job *jobs;
};

bool
enrol_open(struct api *a, struct err *err)
{
	a->enrol = calloc(1, sizeof(*a->enrol));
	return a->enrol != NULL || err_set(err, ERR_MEMORY, "out of memory");
}

static void
job_free(struct api *a, struct enrol_job *j)
{
	if (j->prev != NULL)
		j->prev->next = j->next;
	else
		a->enrol->jobs = j->next;
	if (j->next != NULL)
		j->next->prev = j->prev;
	free(j->secret.mem);
	free(j);
}

void
enrol_close(struct api *a)
{
	if (a->enrol == NULL)
		return;
	for (struct enrol_job *j = a->enrol->jobs, *next; j != NULL; j = next) {
		next = j->next;
		free(j->secret.mem);
		free(j);
	}
	free(a->enrol);
	a->enrol = NULL;
}

void
enrol_problem(struct call *c, const struct err *why)
{
	if (why->code == ERR_DENIED) {
		call_problem(c, 401, "secret", "ask for a new secret: `signet device token`", "%s", why->text);
	} else if (why->code == ERR_LIMIT) {
		call_header(c, "Retry-After", "5");
		call_problem(c, 429, "too-many-attempts", "wait a few seconds", "%s", why->text);
	} else {
		call_error(c, why);
	}
}

/* ---- whom is it for? ---- */

static const char void_text[] = "the secret is unknown, used up, expired or withdrawn, or it is for another device";

/* The log says why; the asker only learns that it is no use. */
static void
refuse_secret(struct call *c, struct slice device, const struct err *why, enrol_done *done)
{
	const struct api_ports *ports = &c->api->config->ports;
	struct err said = { .code = why->code };
	char shown[200];

	if (why->code != ERR_DENIED) {
		done(c, NULL, why);
		return;
	}
	ports->tried(ports->ctx, API_TRY_SECRET, c->peer, device);
	log_notice("Enrolment of '%s' from %s is refused: %s.", text_show(device, shown, sizeof(shown)), c->peer, why->text);
	api_audit(c->api, c->peer, "enrol-refused", device.n > 0 ? device : SL("?"));
	(void)err_set(&said, ERR_DENIED, "%s", void_text);
	done(c, NULL, &said);
}

static bool
is_named(const struct registry_device *d, struct slice name)
{
	return name.n == 0 || slice_eq(name, d->id) || slice_eq(name, d->cn);
}

static bool
for_device(struct api *a, struct enrol_job *j, const struct enrol_order *o, struct err *err)
{
	struct registry_device d;
	bool ok;

	if (!registry_device_get(a->registry, j->secret.tenant, j->secret.device, &d, err))
		return false;
	if (!is_named(&d, o->device))
		ok = err_set(err, ERR_DENIED, "the secret is another device's");
	else if (d.state == REGISTRY_DISABLED)
		ok = err_set(err, ERR_DENIED, "the device is disabled");
	else
		ok = text_copy(j->tenant, sizeof(j->tenant), d.tenant) && text_copy(j->device, sizeof(j->device), d.id) &&
		    text_copy(j->cn, sizeof(j->cn), d.cn) ? true : err_set(err, ERR_INPUT, "the device's name is too long");
	free(d.mem);
	issue_terms(a->registry, slice_str(j->cn), j->ca, j->profile);
	standing_of(a->registry, slice_str(j->cn), &j->standing);
	return ok;
}

/* Somebody else is about to get this name. */
static bool
is_taken(const struct api *a, const struct enrol_job *but, const char *cn)
{
	for (const struct enrol_job *j = a->enrol->jobs; j != NULL; j = j->next)
		if (j != but && strcmp(j->cn, cn) == 0)
			return true;
	return false;
}

static bool
name_free(void *ctx, const char *cn)
{
	struct enrol_job *j = ctx;
	struct api *a = j->call->api;
	struct registry_device d;

	if (is_taken(a, j, cn))
		return false;
	if (!registry_device_find(a->registry, slice_str(cn), &d, NULL))
		return true;
	free(d.mem);
	return false;
}

static bool
for_fleet(struct api *a, struct enrol_job *j, const struct enrol_order *o, struct err *err)
{
	struct registry_tenant t;
	struct fleet_question q = { .note = j->secret.note, .name = o->device, .csr = o->csr, .uses = j->secret.uses, .free = name_free, .ctx = j };
	bool ok;

	if (!registry_tenant_get(a->registry, j->secret.tenant, &t, err))
		return false;
	q.tenant = t.first ? (struct slice){ 0 } : t.name;
	if (t.disabled)
		ok = err_set(err, ERR_DENIED, "the tenant is disabled");
	else
		ok = text_copy(j->tenant, sizeof(j->tenant), t.name) &&
		    fleet_name(&q, j->device, sizeof(j->device), j->cn, sizeof(j->cn), err);
	free(t.mem);
	j->fresh = true;
	(void)text_copy(j->ca, sizeof(j->ca), SL("client"));
	(void)text_copy(j->profile, sizeof(j->profile), SL("client"));
	return ok;
}

/* ---- the answer of the signer ---- */

static void
finish(struct enrol_job *j, const struct enrolled *e, const struct err *why)
{
	struct call *c = j->call;
	struct api *a = c->api;
	enrol_done *done = j->done;
	struct err err;

	if (e == NULL && !registry_secret_unclaim(a->registry, j->secret.id, &err))
		log_warning("Secret %" PRId64 " is not given back: %s.", j->secret.id, err.text);
	/* What <e> borrows of the job is needed until the end. */
	done(c, e, why);
	for (struct enrol_job *k = a->enrol->jobs, *next; k != NULL; k = next) {
		next = k->next;
		if (k->first != j)
			continue;
		k->done(k->call, e, why);
		job_free(a, k);
	}
	job_free(a, j);
}

/* Device, certificate and secret: all or nothing. */
static bool
book(struct enrol_job *j, const struct registry_certificate_new *n, struct err *err)
{
	struct registry *r = j->call->api->registry;

	if (!j->fresh)
		return standing_book(j->call->api, n, &j->standing, err);
	if (!registry_begin(r, err))
		return false;
	if (fleet_add(r, &j->secret, slice_str(j->tenant), slice_str(j->device), err) && registry_certificate_add(r, n, err) && registry_commit(r, err))
		return true;
	registry_rollback(r);
	if (err->code == ERR_DENIED)
		standing_void(j->call->api, &n->certificate);
	return false;
}

static void
on_signed(void *ctx, const struct signer_issued *s, const struct err *why)
{
	struct enrol_job *j = ctx;
	struct registry_certificate_new n = { .supersede = true, .secret = j->secret.id, .certificate = { .ca = slice_str(j->ca),
		.profile = slice_str(j->profile), .origin = slice_str(j->origin), .by = slice_str(j->actor), .cn = slice_str(j->cn) } };
	struct enrolled e = { .tenant = slice_str(j->tenant), .device = slice_str(j->device), .cn = slice_str(j->cn), .ca = j->ca };
	struct err err;

	if (s == NULL) {
		/* Here the secret was right: it is the request that the signer does not take. */
		err = *why;
		err.code = why->code == ERR_DENIED ? ERR_INPUT : why->code;
		finish(j, NULL, &err);
		return;
	}
	issued_fill(s, &n.certificate);
	if (j->has_key)
		(void)text_hex(slice_of(j->key, sizeof(j->key)), n.certificate.spki, sizeof(n.certificate.spki));
	e.not_before = s->not_before;
	e.not_after = s->not_after;
	/* One that the registry does not know, or whose secret was withdrawn meanwhile, must not go out. */
	if (!book(j, &n, &err)) {
		log_warning("The certificate %s for '%s' is not handed out: %s.", s->serial, j->cn, err.text);
		finish(j, NULL, &err);
		return;
	}
	e.der = s->der;
	e.serial = s->serial;
	e.fingerprint = s->fingerprint;
	api_audit(j->call->api, j->actor, "enrol", slice_str(j->cn));
	event_certificate(j->call->api, "issued", slice_str(j->ca), slice_str(s->serial));
	event_put(j->call->api, "enrolment", e.tenant, json_pack("{s:o, s:o, s:o, s:b, s:s, s:s}", "tenant", text_json(e.tenant), "device", text_json(e.device), "cn",
						       text_json(e.cn), "new", j->fresh, "serial", s->serial, "by", j->actor));
	broker_poke(j->call->api);
	finish(j, &e, NULL);
}

/* ---- taking ---- */

static struct enrol_job *
job_new(struct call *c, const char *origin, enrol_done *done)
{
	struct enrol_job *j = calloc(1, sizeof(*j));
	struct enrol *e = c->api->enrol;

	if (j == NULL)
		return NULL;
	j->call = c;
	j->done = done;
	j->origin = origin;
	j->next = e->jobs;
	if (j->next != NULL)
		j->next->prev = j;
	e->jobs = j;
	return j;
}

static bool
claim(struct enrol_job *j, const struct enrol_order *o, struct err *err)
{
	struct api *a = j->call->api;

	if (!registry_secret_claim(a->registry, slice_of(j->hash, sizeof(j->hash)), (struct slice){ 0 }, &j->secret, err))
		return false;
	(void)snprintf(j->actor, sizeof(j->actor), "enrolment:%" PRId64, j->secret.id);
	if (j->secret.device.n > 0 ? for_device(a, j, o, err) : for_fleet(a, j, o, err))
		return true;
	(void)registry_secret_unclaim(a->registry, j->secret.id, NULL);
	return false;
}

static void
sign(struct enrol_job *j, const struct enrol_order *o)
{
	struct api *a = j->call->api;
	struct signer_issue q = { .ca = j->ca, .profile = j->profile[0] != '\0' ? j->profile : NULL, .cn = j->cn, .csr = o->csr, .actor = j->actor };
	struct signer_client *signer = signers_client(a);
	struct err err;

	if (signer == NULL) {
		(void)err_set(&err, ERR_SYSTEM, "the signer is not there, so nothing can be signed");
		finish(j, NULL, &err);
	} else if (!signer_issue(signer, &q, on_signed, j, &err)) {
		finish(j, NULL, &err);
	} else {
		signers_asked(a);
	}
}

/* ---- who asks again ---- */

static bool
is_allowed(struct api *a, const struct registry_certificate *x)
{
	struct registry_device d;
	bool ok = x->device.n > 0 && registry_device_get(a->registry, x->tenant, x->device, &d, NULL);

	if (!ok)
		return false;
	ok = d.state != REGISTRY_DISABLED;
	free(d.mem);
	return ok;
}

/* The answer was lost on its way: the secret and the proof of the same key are as good as they were the first time. */
static bool
answer_again(struct enrol_job *j)
{
	struct api *a = j->call->api;
	struct registry_certificate x;
	struct enrolled e;
	char ca[REGISTRY_NAME_MAX + 1];

	if (!registry_secret_answer(a->registry, slice_of(j->hash, sizeof(j->hash)), slice_of(j->key, sizeof(j->key)), &x, NULL))
		return false;
	if (!is_allowed(a, &x) || !text_copy(ca, sizeof(ca), x.ca)) {
		free(x.mem);
		return false;
	}
	e = (struct enrolled){ .tenant = x.tenant, .device = x.device, .cn = x.cn, .der = x.der, .ca = ca, .serial = x.serial, .fingerprint = x.fingerprint,
		.not_before = x.not_before, .not_after = x.not_after };
	/* Nothing is issued, so nothing is booked: who asks in a loop fills no log. */
	j->done(j->call, &e, NULL);
	free(x.mem);
	job_free(a, j);
	return true;
}

/* Or it is still being made. */
static bool
wait_for_first(struct enrol_job *j)
{
	for (struct enrol_job *k = j->call->api->enrol->jobs; k != NULL && j->first == NULL; k = k->next)
		if (k != j && k->first == NULL && k->has_key && memcmp(k->hash, j->hash, sizeof(j->hash)) == 0 && memcmp(k->key, j->key, sizeof(j->key)) == 0)
			j->first = k;
	return j->first != NULL;
}

void
enrol_take(struct call *c, const struct enrol_order *o, enrol_done *done)
{
	const struct api_ports *ports = &c->api->config->ports;
	struct enrol_job *j;
	struct err err;

	if (!ports->may_try(ports->ctx, API_TRY_SECRET, c->peer, o->device)) {
		(void)err_set(&err, ERR_LIMIT, "too many wrong secrets from this address, or for this device from this address");
		done(c, NULL, &err);
		return;
	}
	if (o->csr.n == 0 || o->csr.n > ENROL_CSR_MAX) {
		(void)err_set(&err, ERR_INPUT, "a certificate request has 1 to %d bytes", ENROL_CSR_MAX);
		done(c, NULL, &err);
		return;
	}
	j = job_new(c, o->origin, done);
	if (j == NULL) {
		(void)err_set(&err, ERR_MEMORY, "out of memory");
		done(c, NULL, &err);
		return;
	}
	/* Found by its hash, whose bytes nobody can choose one after the other: the time that it takes tells nothing. */
	if (EVP_Digest(o->secret.p, o->secret.n, j->hash, NULL, EVP_sha256(), NULL) != 1) {
		job_free(c->api, j);
		(void)err_set(&err, ERR_MEMORY, "out of memory");
		done(c, NULL, &err);
		return;
	}
	/* What is wrong with a request says who takes it. */
	j->has_key = o->again && pki_request_key(o->csr, j->key, NULL);
	if (j->has_key && (answer_again(j) || wait_for_first(j)))
		return;
	if (!claim(j, o, &err)) {
		job_free(c->api, j);
		refuse_secret(c, o->device, &err, done);
		return;
	}
	sign(j, o);
}
