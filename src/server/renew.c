/* New certificates over MQTT. A device publishes a request below "$signet/renew/"; it is kept here until the administrator, who has
 * the CA's key, answers it (`signet device approve`). The broker itself signs nothing. */
#include "server/succeed.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/text.h"

enum { RENEWALS_MAX = 256, RENEW_CSR_MAX = 16 * 1024, RENEW_TOPIC_CAP = 320 };

struct renewals {
	pthread_mutex_t lock;
	struct renewal v[RENEWALS_MAX];
};

struct renewals *
renewals_new(void)
{
	struct renewals *x = calloc(1, sizeof(*x));

	if (x != NULL && pthread_mutex_init(&x->lock, NULL) != 0) {
		free(x);
		return NULL;
	}
	return x;
}

void
renewals_free(struct renewals *x)
{
	unsigned i;

	if (x == NULL)
		return;
	for (i = 0; i < RENEWALS_MAX; i++)
		free(x->v[i].csr);
	(void)pthread_mutex_destroy(&x->lock);
	free(x);
}

/* The entry of <name> below that issuer's key, or of anybody of that name; NULL: none. */
static struct renewal *
find(struct renewals *x, struct slice name, const uint8_t *issuer_key)
{
	unsigned i;

	for (i = 0; i < RENEWALS_MAX; i++)
		if (x->v[i].time != 0 && slice_eq(slice_str(x->v[i].name), name) &&
		    (issuer_key == NULL || memcmp(x->v[i].issuer_key, issuer_key, sizeof(x->v[i].issuer_key)) == 0))
			return &x->v[i];
	return NULL;
}

/* A free place, or that of the oldest who only was here and asked for nothing. */
static struct renewal *
place(struct renewals *x)
{
	struct renewal *oldest = NULL;
	unsigned i;

	for (i = 0; i < RENEWALS_MAX; i++) {
		if (x->v[i].time == 0)
			return &x->v[i];
		if (x->v[i].csr == NULL && (oldest == NULL || x->v[i].time < oldest->time))
			oldest = &x->v[i];
	}
	return oldest;
}

/* <csr> is taken over; NULL: he only was here. False: there is no room. */
static bool
keep(struct renewals *x, const struct authz_facts *f, char *csr)
{
	struct renewal *r;
	char *old = csr;

	(void)pthread_mutex_lock(&x->lock);
	r = find(x, f->cn, f->issuer_key);
	if (r == NULL && (r = place(x)) != NULL) {
		*r = (struct renewal){ .time = 0 };
		(void)text_copy(r->name, sizeof(r->name), f->cn);
		memcpy(r->issuer_key, f->issuer_key, sizeof(r->issuer_key));
	}
	if (r != NULL) {
		r->time = (int64_t)time(NULL);
		r->not_before = f->not_before;
		r->not_after = f->not_after;
		r->role = f->role;
		r->quarantine = renew_quarantine(f);
		(void)text_show(f->issuer, r->issuer, sizeof(r->issuer));
		(void)text_hex(f->serial, r->serial, sizeof(r->serial));
		(void)text_hex(slice_of(f->fingerprint, 32), r->fingerprint, sizeof(r->fingerprint));
		old = r->csr;
		if (csr != NULL)
			r->csr = csr;
		else
			old = NULL;
	}
	(void)pthread_mutex_unlock(&x->lock);
	free(old);
	return r != NULL;
}

const char *
renew_quarantine(const struct authz_facts *f)
{
	if (f->role != AUTHZ_ROLE_QUARANTINE)
		return NULL;
	if (f->credential == CREDENTIAL_UNREGISTERED)
		return "unregistered";
	return f->not_before > (int64_t)time(NULL) ? "not-yet-valid" : "expired";
}

void
renew_seen(struct server *s, const struct authz_principal *who)
{
	struct authz_facts f;

	authz_principal_facts(who, &f);
	if (f.role == AUTHZ_ROLE_QUARANTINE && f.issuer_key != NULL && f.fingerprint != NULL)
		(void)keep(s->renewals, &f, NULL);
}

static bool
reply(struct server *s, struct slice name, struct slice payload)
{
	char topic[RENEW_TOPIC_CAP];
	int n = snprintf(topic, sizeof(topic), "$signet/renew/%.*s/reply", (int)name.n, (const char *)name.p);

	return n > 0 && (size_t)n < sizeof(topic) && broker_publish(s->broker, slice_of(topic, (size_t)n), payload, true);
}

static bool
answer(struct server *s, struct slice name, const char *status, const char *reason)
{
	char text[256];

	/* <reason> is ours and needs no escapes. */
	(void)snprintf(text, sizeof(text), reason[0] != '\0' ? "{\"status\":\"%s\",\"reason\":\"%s\"}" : "{\"status\":\"%s\"}", status, reason);
	return reply(s, name, slice_str(text));
}

/* NULL: he may ask now. */
static const char *
too_early(const struct authz_facts *f)
{
	int64_t life = f->not_after - f->not_before, now = (int64_t)time(NULL);

	if (f->role == AUTHZ_ROLE_QUARANTINE || f->not_before == 0 || f->not_after == 0 || now >= f->not_after - life / 3)
		return NULL;
	return "a certificate is renewed in the last third of its time";
}

static const char *
take(struct server *s, const struct broker_request *r, const struct authz_facts *f)
{
	const struct config_listener *l = s->listeners[r->listener].config;
	const char *early;
	struct err err;
	char *pem = NULL, shown[200];

	if (l->quarantine == 0 && !l->device_renewal)
		return "device_renewal is false on this listener";
	if (f->issuer_key == NULL || f->fingerprint == NULL)
		return "the certificate has no issuer here";
	if ((early = too_early(f)) != NULL)
		return early;
	if (r->payload.n == 0 || r->payload.n > RENEW_CSR_MAX || !pki_request_check(r->payload, &pem, &err))
		return "not a certificate request (PKCS 10, PEM or DER, at most 16 KiB) with a strong key and a signature of its own";
	if (!keep(s->renewals, f, pem))
		return "too many requests wait for the administrator";
	log_notice("Device %s asks for a new certificate (role %s, listener %s); see `signet device pending`.",
	    text_show(f->cn, shown, sizeof(shown)), authz_role_name(f->role), s->listeners[r->listener].config->name);
	feed_put_device(s->feed, "renewal", r->who, r->listener);
	return NULL;
}

bool
renew_request(struct server *s, struct broker_request *r)
{
	struct authz_facts f;
	const char *why;

	if (r->listener >= s->n_listeners || !slice_starts(r->topic, SL("$signet/renew/")))
		return false;
	authz_principal_facts(r->who, &f);
	why = take(s, r, &f);
	(void)answer(s, f.cn, why == NULL ? "pending" : "refused", why != NULL ? why : "");
	broker_request_done(r, "$signet/renew", NULL, 0);
	return true;
}

void
renewals_read(struct renewals *x, void (*each)(void *ctx, const struct renewal *r), void *ctx)
{
	unsigned i;

	(void)pthread_mutex_lock(&x->lock);
	for (i = 0; i < RENEWALS_MAX; i++)
		if (x->v[i].time != 0)
			each(ctx, &x->v[i]);
	(void)pthread_mutex_unlock(&x->lock);
}

bool
renew_answer(struct server *s, const char *name, const char *fingerprint, const char *certificate)
{
	struct renewals *x = s->renewals;
	struct renewal *r = NULL;
	bool found;
	unsigned i;

	(void)pthread_mutex_lock(&x->lock);
	for (i = 0; i < RENEWALS_MAX && r == NULL; i++)
		if (x->v[i].time != 0 && strcmp(x->v[i].name, name) == 0 && strcmp(x->v[i].fingerprint, fingerprint) == 0)
			r = &x->v[i];
	found = r != NULL;
	if (found && certificate != NULL && !succession_begin(s, r, certificate))
		log_warning("That the old certificate of %s ends when the new one is used could not be noted: it stays good until it ends or is revoked.", name);
	if (found) {
		free(r->csr);
		*r = (struct renewal){ .time = 0 };
	}
	(void)pthread_mutex_unlock(&x->lock);
	if (!found)
		return false;
	return certificate != NULL ? reply(s, slice_str(name), slice_str(certificate))
				   : answer(s, slice_str(name), "refused", "the administrator says no");
}
