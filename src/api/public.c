/* Revocation lists and CAs' certificates, for everybody: the addresses that stand in certificates. */
#include "api/public.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"

/* ---- what caches are told ---- */

enum { DATE_CAP = 40 };

/* RFC 9110 5.6.7 */
static const char *
date_text(int64_t t, char out[static DATE_CAP])
{
	struct tm tm;
	time_t sec = (time_t)t;

	if (gmtime_r(&sec, &tm) == NULL || strftime(out, DATE_CAP, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
		out[0] = '\0';
	return out;
}

static bool
date_read(struct slice s, int64_t *ret)
{
	struct tm tm = { 0 };
	char text[DATE_CAP];
	const char *end;

	if (!text_copy(text, sizeof(text), s) || (end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm)) == NULL || *end != '\0')
		return false;
	*ret = (int64_t)timegm(&tm);
	return true;
}

bool
keep_tag(struct slice bytes, char out[static KEEP_TAG_CAP])
{
	uint8_t hash[EVP_MAX_MD_SIZE];
	char hex[KEEP_TAG_CAP - 2];

	if (EVP_Digest(bytes.p, bytes.n, hash, NULL, EVP_sha256(), NULL) != 1)
		return false;
	(void)snprintf(out, KEEP_TAG_CAP, "\"%s\"", text_hex(slice_of(hash, (sizeof(hex) - 1) / 2), hex, sizeof(hex)));
	return true;
}

static bool
has_same(const struct call *c, const struct keep *k)
{
	struct slice match, since;
	int64_t t;

	if (http_header(&c->head, "If-None-Match", &match) && match.p != NULL)
		return call_has_tag(match, slice_str(k->tag));
	return http_header(&c->head, "If-Modified-Since", &since) && since.p != NULL && date_read(since, &t) && k->made <= t;
}

bool
keep_known(struct call *c, const struct keep *k)
{
	int64_t now = api_now(c->api), age = KEEP_MAX_AGE_S;
	char date[DATE_CAP];

	call_header(c, "ETag", "%s", k->tag);
	call_header(c, "Last-Modified", "%s", date_text(k->made, date));
	if (k->until != 0)
		call_header(c, "Expires", "%s", date_text(k->until, date));
	if (k->again != 0)
		age = NUM_MAX(0, NUM_MIN(age, k->again - now));
	/* Short, since a revocation makes a new one at once; to ask again costs next to nothing. */
	(void)snprintf(c->cache, sizeof(c->cache), "public, no-transform, must-revalidate, max-age=%lld", (long long)age);
	if (!has_same(c, k))
		return false;
	call_bytes(c, 304, NULL, (struct slice){ 0 });
	return true;
}

/* ---- revocation lists ---- */

/* The newest of a CA, as it is sent: a list can have megabytes, and many may ask. */
struct list {
	struct list *next;
	char ca[REGISTRY_NAME_MAX + 1];
	int64_t number;
	struct public_list der, pem; /* without a blob: not asked for yet */
};

static void
drop(struct list *l)
{
	blob_unref(l->der.blob);
	blob_unref(l->pem.blob);
	l->der = l->pem = (struct public_list){ .blob = NULL };
}

void
public_close(struct api *a)
{
	while (a->lists != NULL) {
		struct list *l = a->lists;

		a->lists = l->next;
		drop(l);
		free(l);
	}
}

static struct list *
list_of(struct api *a, struct slice ca)
{
	struct list *l = a->lists;

	while (l != NULL && !slice_eq(slice_str(l->ca), ca))
		l = l->next;
	if (l != NULL || (l = calloc(1, sizeof(*l))) == NULL)
		return l;
	(void)text_copy(l->ca, sizeof(l->ca), ca);
	l->next = a->lists;
	a->lists = l;
	return l;
}

static bool
fill(struct public_list *p, struct slice bytes)
{
	p->blob = bytes.p != NULL ? blob_new(bytes) : NULL;
	if (p->blob != NULL && keep_tag(bytes, p->tag))
		return true;
	blob_unref(p->blob);
	p->blob = NULL;
	return false;
}

static bool
fetch(struct api *a, struct list *l, struct err *err)
{
	struct slice der;
	void *mem;
	bool ok;

	if (!registry_crl_get(a->registry, slice_str(l->ca), &der, &mem, err))
		return false;
	ok = fill(&l->der, der);
	free(mem);
	return ok || err_set(err, ERR_MEMORY, "out of memory");
}

const struct public_list *
public_list(struct api *a, const struct registry_ca *x, bool pem, struct err *err)
{
	struct list *l = list_of(a, x->name);
	json_t *text;
	bool ok;

	if (l == NULL) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		return NULL;
	}
	if (l->number != x->crl_number)
		drop(l);
	l->number = x->crl_number;
	if (l->der.blob == NULL && !fetch(a, l, err))
		return NULL;
	if (!pem || l->pem.blob != NULL)
		return pem ? &l->pem : &l->der;
	text = pem_json(slice_of(l->der.blob->bytes, l->der.blob->n), "X509 CRL");
	ok = fill(&l->pem, slice_str(json_string_value(text))) || err_set(err, ERR_MEMORY, "out of memory");
	json_decref(text);
	return ok ? &l->pem : NULL;
}

static void
get_list(struct call *c)
{
	const struct public_list *l;
	struct registry_ca x;
	struct err err;

	if (!registry_ca_get(c->api->registry, c->params[0], &x, &err)) {
		call_error(c, &err);
		return;
	}
	l = public_list(c->api, &x, false, &err);
	free(x.mem);
	if (l == NULL)
		call_error(c, &err);
	else if (!keep_known(c, &(struct keep){ l->tag, x.crl_this, x.crl_next, x.crl_next }))
		call_blob(c, "application/pkix-crl", l->blob);
}

static void
get_certificate(struct call *c)
{
	struct registry_ca x;
	char tag[KEEP_TAG_CAP];
	struct err err;

	if (!registry_ca_get(c->api->registry, c->params[0], &x, &err)) {
		call_error(c, &err);
		return;
	}
	if (!keep_tag(x.der, tag))
		call_json(c, 503, NULL);
	else if (!keep_known(c, &(struct keep){ .tag = tag, .made = x.not_before }))
		call_bytes(c, 200, "application/pkix-cert", x.der);
	free(x.mem);
}

static const struct op ops[] = {
	{ "fetchList", "A CA's revocation list, DER (RFC 5280 5), as crl_url names it", HTTP_GET, "/crl/{ca}.crl", OP_OPEN | OP_PUBLIC, 200, get_list,
	    .media = "application/pkix-crl" },
	{ "fetchCa", "A CA's certificate, DER, as ca_issuers_url names it", HTTP_GET, "/ca/{ca}.cer", OP_OPEN | OP_PUBLIC, 200, get_certificate,
	    .media = "application/pkix-cert" },
};
const struct op_group group_public = { "public", "Revocation lists and CAs' certificates for everybody, also by HTTP without TLS (`http_listener`)", ops,
	ARRAY_LEN(ops) };
