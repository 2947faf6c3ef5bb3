/* What ocsp.c knows: certificates, their issuers, and who answers for them. */
#include "server/ocsp.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVICT_TRIES = 64 };

/* ---- whom to ask ---- */

struct responder *
ocsp_responder(struct ocsp *o, const char *url)
{
	struct err err = { 0 };
	struct responder *r;

	for (r = o->responders; r != NULL; r = r->next)
		if (strcmp(r->text, url) == 0)
			return r;
	if (o->n_responders == OCSP_RESPONDERS_MAX || strlen(url) > FETCH_URL_MAX || (r = calloc(1, sizeof(*r))) == NULL)
		return NULL;
	(void)snprintf(r->text, sizeof(r->text), "%s", url);
	if (!fetch_url_parse(url, &r->url, &err)) {
		free(r);
		return NULL;
	}
	r->next = o->responders;
	o->responders = r;
	o->n_responders++;
	return r;
}

/* Takes <cert>. */
static struct issuer *
issuer_add(struct ocsp *o, const uint8_t key[OCSP_KEY_N], struct x509_st *cert)
{
	struct issuer *i = &o->issuers[o->n_issuers];

	if (cert == NULL || o->n_issuers == OCSP_ISSUERS_MAX) {
		pki_cert_free(cert);
		return NULL;
	}
	memcpy(i->key, key, OCSP_KEY_N);
	i->cert = cert;
	o->n_issuers++;
	return i;
}

static struct issuer *
issuer_find(struct ocsp *o, const uint8_t key[OCSP_KEY_N])
{
	unsigned i;

	for (i = 0; i < o->n_issuers; i++)
		if (memcmp(o->issuers[i].key, key, OCSP_KEY_N) == 0)
			return &o->issuers[i];
	return NULL;
}

/* One that no handshake has shown may stand in the cafile. */
static struct issuer *
issuer_of(struct ocsp *o, unsigned listener, const uint8_t key[OCSP_KEY_N])
{
	struct issuer *i = issuer_find(o, key);
	struct pki_trust *t;

	if (i != NULL || (t = judge_trust(&o->s->judges[listener])) == NULL)
		return i;
	i = issuer_add(o, key, pki_trust_ca(t, key));
	pki_trust_unref(t);
	return i;
}

/* ---- the certificates that are remembered ---- */

static struct slice
subject_id(const void *value)
{
	const struct subject *e = value;

	return slice_of(e->id, e->id_n);
}

void
ocsp_known_init(struct ocsp *o)
{
	map_init(&o->subjects, subject_id);
}

static void
unlink_age(struct ocsp *o, struct subject *e)
{
	*(e->newer != NULL ? &e->newer->older : &o->newest) = e->older;
	*(e->older != NULL ? &e->older->newer : &o->oldest) = e->newer;
}

static void
link_age(struct ocsp *o, struct subject *e)
{
	e->newer = NULL;
	e->older = o->newest;
	*(o->newest != NULL ? &o->newest->newer : &o->oldest) = e;
	o->newest = e;
}

void
ocsp_forget(struct ocsp *o, struct subject *e)
{
	(void)map_del(&o->subjects, subject_id(e));
	unlink_age(o, e);
	free(e->why);
	free(e);
	atomic_store(&o->counters.remembered, --o->n_subjects);
}

static bool
make_room(struct ocsp *o)
{
	struct subject *e = o->oldest;
	unsigned i;

	if (o->n_subjects < OCSP_CACHE_MAX)
		return true;
	for (i = 0; i < EVICT_TRIES && e != NULL && e->asking; i++)
		e = e->newer;
	if (e == NULL || e->asking)
		return false;
	ocsp_forget(o, e);
	return true;
}

static struct subject *
subject_find(const struct ocsp *o, const uint8_t key[OCSP_KEY_N], struct slice serial)
{
	uint8_t id[OCSP_KEY_N + AUTHZ_SERIAL_MAX];

	memcpy(id, key, OCSP_KEY_N);
	memcpy(id + OCSP_KEY_N, serial.p, serial.n);
	return map_get(&o->subjects, slice_of(id, OCSP_KEY_N + serial.n));
}

struct subject *
ocsp_subject(struct ocsp *o, unsigned listener, const uint8_t key[OCSP_KEY_N], struct slice serial)
{
	struct subject *e = subject_find(o, key, serial);

	if (e != NULL) {
		unlink_age(o, e);
		link_age(o, e);
	} else if (make_room(o) && (e = calloc(1, sizeof(*e))) != NULL) {
		memcpy(e->id, key, OCSP_KEY_N);
		memcpy(e->id + OCSP_KEY_N, serial.p, serial.n);
		e->id_n = (uint8_t)(OCSP_KEY_N + serial.n);
		e->probe = INT64_MAX;
		if (!map_put(&o->subjects, e)) {
			free(e);
			return NULL;
		}
		link_age(o, e);
		atomic_store(&o->counters.remembered, ++o->n_subjects);
	}
	if (e == NULL)
		return NULL;
	e->listener = (uint8_t)listener;
	if (e->issuer == NULL)
		e->issuer = issuer_of(o, listener, key);
	if (o->rules[listener].responder != NULL)
		e->responder = o->rules[listener].responder;
	return e;
}

void
ocsp_know(struct ocsp *o, unsigned listener, const struct pki_peer *peer)
{
	struct responder *r;
	struct subject *e;

	if (peer == NULL || peer->issuer_cert == NULL) /* who stands in the cafile himself is not asked about */
		return;
	(void)pthread_mutex_lock(&o->lock);
	if (o->rules[listener].check != CONFIG_OCSP_OFF) {
		if (issuer_find(o, peer->issuer_key) == NULL)
			(void)issuer_add(o, peer->issuer_key, pki_cert_ref(peer->issuer_cert));
		e = ocsp_subject(o, listener, peer->issuer_key, slice_of(peer->serial, peer->serial_n));
		r = o->rules[listener].responder == NULL && peer->ocsp_url != NULL ? ocsp_responder(o, peer->ocsp_url) : NULL;
		if (e != NULL && r != NULL)
			e->responder = r;
	}
	(void)pthread_mutex_unlock(&o->lock);
}
