/* The OCSP responder (RFC 6960, by the profile of RFC 5019): what the registry says of a certificate, signed with the CA's lent key. An answer
 * about one certificate is made once and kept; what cannot be kept (a nonce, several certificates, one that is not known) is signed as it is
 * asked for, so many times a second and no more. */
#include <stdlib.h>
#include <time.h>

#include "api/public.h"
#include "base/clock.h"
#include "base/num.h"
#include "base/text.h"

enum { LIVE_A_SECOND = 200, LIVE_BURST = 400 };
#define MEDIA "application/ocsp-response"

struct ocsp {
	struct ocsp_cache cache;
	int64_t tokens_ms, at_ms; /* of live answers; one costs 1000 / LIVE_A_SECOND */
	struct pki_ocsp_request request; /* that is being answered */
};

bool
ocsp_open(struct api *a, struct err *err)
{
	a->ocsp = calloc(1, sizeof(*a->ocsp));
	if (a->ocsp == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	ocsp_cache_init(&a->ocsp->cache);
	return true;
}

void
ocsp_close(struct api *a)
{
	if (a->ocsp != NULL)
		ocsp_cache_done(&a->ocsp->cache);
	free(a->ocsp);
	a->ocsp = NULL;
}

static bool
take_token(struct ocsp *o)
{
	const int64_t cost = 1000 / LIVE_A_SECOND;
	int64_t now = clock_ms();

	o->tokens_ms = o->at_ms == 0 ? LIVE_BURST * cost : NUM_MIN(o->tokens_ms + now - o->at_ms, LIVE_BURST * cost);
	o->at_ms = now;
	if (o->tokens_ms < cost)
		return false;
	o->tokens_ms -= cost;
	return true;
}

/* ---- answers ---- */

static void
send_der(struct call *c, uint8_t *der, size_t n)
{
	call_bytes(c, 200, MEDIA, slice_of(der, n));
	free(der);
}

/* A refusal, too, is an OCSP response, and HTTP has no say in it (RFC 6960 A.2). */
static void
refuse(struct call *c, enum pki_ocsp_refusal why)
{
	uint8_t *der;
	size_t n;
	struct err err;

	if (pki_ocsp_refuse(why, &der, &n, &err))
		send_der(c, der, n);
	else
		call_error(c, &err);
}

/* What the registry knows of it now. */
static bool
look(struct api *a, const struct responder *r, const struct pki_ocsp_id *id, struct pki_ocsp_single *ret)
{
	char serial[2 * AUTHZ_SERIAL_MAX + 1];
	struct registry_certificate x;
	struct err err = { 0 };

	*ret = (struct pki_ocsp_single){ .id = id, .status = PKI_OCSP_UNKNOWN, .reason = -1 };
	(void)text_hex(slice_of(id->serial, id->serial_n), serial, sizeof(serial));
	if (!registry_certificate_get(a->registry, slice_str(r->ca), slice_str(serial), &x, &err))
		return err.code == ERR_MISSING || err.code == ERR_INPUT;
	ret->status = PKI_OCSP_GOOD;
	if (x.state == REGISTRY_CERT_REVOKED || x.state == REGISTRY_CERT_HOLD) {
		ret->status = PKI_OCSP_REVOKED;
		ret->revoked_at = x.revoked_at;
		ret->reason = x.reason;
	}
	free(x.mem);
	return true;
}

/* No longer than whoever signs may. */
static struct pki_ocsp_signing
terms(const struct api *a, const struct responder *r, int64_t now)
{
	return (struct pki_ocsp_signing){ .cert = r->cert, .key = r->key, .this_update = now,
		.next_update = NUM_MIN(now + (int64_t)a->config->ocsp_s, r->until) };
}

/* ---- those that are kept ---- */

static size_t
make_key(const struct responder *r, const struct pki_ocsp_id *id, uint8_t out[static OCSP_KEY_MAX])
{
	size_t n = strlen(r->ca);

	memcpy(out, r->ca, n);
	out[n++] = '\0';
	out[n++] = (uint8_t)(id->digest >> 8);
	out[n++] = (uint8_t)id->digest;
	memcpy(out + n, id->serial, id->serial_n);
	return n + id->serial_n;
}

static bool
is_fresh(const struct ocsp_entry *e, const struct responder *r, const struct pki_ocsp_single *v, int64_t now)
{
	return e->generation == r->generation && e->status == v->status && e->revoked_at == v->revoked_at && e->reason == v->reason &&
	       now < e->made + (e->until - e->made) / 2;
}

static struct ocsp_entry *
sign_kept(struct api *a, const struct responder *r, const struct pki_ocsp_single *v, int64_t now)
{
	struct pki_ocsp_signing s = terms(a, r, now);
	struct ocsp_entry *e = calloc(1, sizeof(*e));
	uint8_t *der = NULL;
	size_t n;
	struct err err;
	bool ok;

	if (e == NULL || !pki_ocsp_sign(&s, v, 1, &der, &n, &err)) {
		free(e);
		return NULL;
	}
	e->key_n = make_key(r, v->id, e->key);
	e->generation = r->generation;
	e->status = v->status;
	e->revoked_at = v->revoked_at;
	e->reason = v->reason;
	e->made = s.this_update;
	e->until = s.next_update;
	e->blob = blob_new(slice_of(der, n));
	ok = e->blob != NULL && keep_tag(slice_of(der, n), e->tag) && ocsp_cache_put(&a->ocsp->cache, e);
	free(der);
	if (ok)
		return e;
	blob_unref(e->blob);
	free(e);
	return NULL;
}

static void
answer_kept(struct call *c, const struct responder *r, const struct pki_ocsp_single *v)
{
	uint8_t key[OCSP_KEY_MAX];
	int64_t now = api_now(c->api);
	struct ocsp_entry *e = ocsp_cache_get(&c->api->ocsp->cache, slice_of(key, make_key(r, v->id, key)));

	if (e == NULL || !is_fresh(e, r, v, now))
		e = sign_kept(c->api, r, v, now);
	if (e == NULL)
		refuse(c, PKI_OCSP_INTERNAL);
	else if (c->head.method == HTTP_POST) /* which nobody keeps */
		call_blob(c, MEDIA, e->blob);
	else if (!keep_known(c, &(struct keep){ e->tag, e->made, e->until, e->made + (e->until - e->made) / 2 }))
		call_blob(c, MEDIA, e->blob);
}

/* ---- those that are not ---- */

static void
answer_live(struct call *c, const struct responder *r, const struct pki_ocsp_single *v)
{
	const struct pki_ocsp_request *q = &c->api->ocsp->request;
	struct pki_ocsp_signing s = terms(c->api, r, api_now(c->api));
	uint8_t *der;
	size_t n;
	struct err err;

	s.nonce = slice_of(q->nonce, q->nonce_n);
	if (pki_ocsp_sign(&s, v, q->n, &der, &n, &err))
		send_der(c, der, n);
	else
		refuse(c, PKI_OCSP_INTERNAL);
}

static void
answer(struct call *c, struct slice der)
{
	struct ocsp *o = c->api->ocsp;
	struct responder *r = responder_find(c->api, c->params[0]);
	struct pki_ocsp_single v[PKI_OCSP_IDS_MAX];
	struct pki_ocsp_request *q = &o->request;
	bool can_keep;
	struct err err;

	if (!pki_ocsp_parse_request(der, q, &err)) {
		refuse(c, PKI_OCSP_MALFORMED);
		return;
	}
	if (r == NULL || r->issuer == NULL) {
		refuse(c, PKI_OCSP_UNAUTHORIZED);
		return;
	}
	for (unsigned i = 0; i < q->n; i++) {
		if (!pki_ocsp_is_of(&q->ids[i], r->issuer)) {
			refuse(c, PKI_OCSP_UNAUTHORIZED);
			return;
		}
		if (!look(c->api, r, &q->ids[i], &v[i])) {
			refuse(c, PKI_OCSP_INTERNAL);
			return;
		}
	}
	/* Names that nobody has would push all others out. */
	can_keep = q->n == 1 && v[0].status != PKI_OCSP_UNKNOWN;
	if (r->cert == NULL || api_now(c->api) >= r->until)
		refuse(c, PKI_OCSP_TRY_LATER);
	else if (can_keep && (q->nonce_n == 0 || !take_token(o)))
		answer_kept(c, r, v);
	else if (can_keep || take_token(o))
		answer_live(c, r, v);
	else
		refuse(c, PKI_OCSP_TRY_LATER);
}

static void
post(struct call *c)
{
	answer(c, slice_of(c->body_bytes, c->body_n));
}

static void
get(struct call *c)
{
	uint8_t der[HTTP_TARGET_MAX];
	size_t n = 0;

	if (pki_ocsp_from_path(c->tail, der, sizeof(der), &n))
		answer(c, slice_of(der, n));
	else
		refuse(c, PKI_OCSP_MALFORMED);
}

static const struct op ops[] = {
	{ "askOcsp", "Ask whether certificates of the CA are revoked (RFC 6960), as ocsp_url names it", HTTP_POST, "/ocsp/{ca}", OP_OPEN | OP_PUBLIC | OP_QUIET,
	    200, post, .takes = "application/ocsp-request", .body_max = PKI_OCSP_REQUEST_MAX, .media = MEDIA },
	{ "getOcsp", "The same by GET: the request, as base64 with what URLs need escaped, behind /ocsp/{ca}/", HTTP_GET, "/ocsp/{ca}", OP_OPEN | OP_PUBLIC, 200,
	    get, .media = MEDIA },
};
const struct op_group group_ocsp = { "ocsp", "The OCSP responder", ops, ARRAY_LEN(ops) };
