/* What responders have said of clients' certificates (RFC 6960): remembered for as long as it counts, asked for again while somebody is
 * here by it. Nobody waits here: a login that needs an answer is pending meanwhile, and ocsp_ask.c asks. */
#include "server/ocsp.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"

enum { MARGIN_MAX_S = 300, PROBE_S = 30 };

static int64_t
wall(void)
{
	return (int64_t)time(NULL);
}

/* Who stands in the cafile himself is vouched for by that. */
static bool
is_asked_about(const struct authz_facts *f)
{
	return f->has_cert && f->issuer_key != NULL && f->serial.n > 0 && !slice_eq(f->subject, f->issuer);
}

/* ---- verdicts ---- */

static void
say_revoked(const struct subject *e, char *out, size_t cap)
{
	char when[32];

	(void)snprintf(out, cap, WHY_OCSP_REVOKED " %s (%s)", text_when(e->revoked_at, when), pki_reason_text(e->reason));
}

/* <no_answer>: why there is none; NULL: what is remembered counts. */
static uint8_t
verdict(struct ocsp *o, unsigned listener, const struct subject *e, const char *no_answer, char why[static BROKER_WHY_MAX])
{
	/* Once revoked, until an answer says otherwise. */
	if (e != NULL && e->state == OCSP_REVOKED) {
		say_revoked(e, why, BROKER_WHY_MAX);
		return MQTT_RC_NOT_AUTHORIZED;
	}
	if (no_answer == NULL && e != NULL && e->state == OCSP_GOOD)
		return MQTT_RC_OK;
	if (o->rules[listener].check != CONFIG_OCSP_HARD) {
		(void)atomic_fetch_add_explicit(&o->counters.unchecked, 1, memory_order_relaxed);
		return MQTT_RC_OK;
	}
	if (no_answer == NULL && e != NULL && e->state == OCSP_UNKNOWN) {
		(void)snprintf(why, BROKER_WHY_MAX, "%s", WHY_OCSP_UNKNOWN);
		return MQTT_RC_NOT_AUTHORIZED;
	}
	if (no_answer == NULL)
		no_answer = e != NULL && e->why != NULL ? e->why : "out of memory";
	(void)snprintf(why, BROKER_WHY_MAX, WHY_OCSP_UNAVAILABLE ": %s", no_answer);
	return MQTT_RC_UNAVAILABLE;
}

/* NULL: it can be asked. */
static const char *
cannot_ask(const struct ocsp *o, const struct subject *e)
{
	if (e->issuer == NULL)
		return "the CA's certificate is not known here; put it into cafile";
	if (e->responder == NULL)
		return "no responder is known: set ocsp_responder, or issue certificates that name one";
	if (e->responder->failing && (int64_t)server_now_ms() < e->responder->down_until_ms)
		return e->responder->why;
	if (!o->running || o->stop)
		return "the broker stops, or lacks threads";
	return o->n_waiting < OCSP_WAITING_MAX ? NULL : "too many clients wait for its answers";
}

void
ocsp_enqueue(struct ocsp *o, struct subject *e)
{
	struct ocsp_queue *q = e->waiters != NULL ? &o->urgent : &o->idle;

	if (e->asking && e->link == NULL) /* it is under way */
		return;
	if (e->link != NULL) {
		struct ocsp_queue *in = o->idle.last == &e->next ? &o->idle : o->urgent.last == &e->next ? &o->urgent : NULL;

		*e->link = e->next;
		if (e->next != NULL)
			e->next->link = e->link;
		else if (in != NULL)
			in->last = e->link;
	}
	e->asking = true;
	e->next = NULL;
	e->link = q->last;
	*q->last = e;
	q->last = &e->next;
	(void)pthread_cond_signal(&o->more);
}

static bool
wait_for_answer(struct ocsp *o, struct subject *e, struct broker_login *login)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return false;
	*w = (struct waiter){ .next = e->waiters, .link = o->last_waiting, .subject = e, .login = login, .listener = login->listener,
		.due_ms = (int64_t)server_now_ms() + o->timeout_ms };
	*o->last_waiting = w;
	o->last_waiting = &w->later;
	e->waiters = w;
	o->n_waiting++;
	ocsp_enqueue(o, e);
	return true;
}

static uint8_t
vouch(struct ocsp *o, struct broker_login *login, const struct authz_facts *f)
{
	struct subject *e = ocsp_subject(o, login->listener, f->issuer_key, f->serial);
	const char *no;

	if (e == NULL)
		return verdict(o, login->listener, NULL, NULL, login->why);
	if (e->state != OCSP_NEW && wall() < e->until) {
		if (e->probed) { /* he comes after the broker was asked who is here */
			e->probed = false;
			e->probe = wall();
		}
		return verdict(o, login->listener, e, NULL, login->why);
	}
	no = cannot_ask(o, e);
	if (no == NULL && !wait_for_answer(o, e, login))
		no = "out of memory";
	return no == NULL ? BROKER_LOGIN_PENDING : verdict(o, login->listener, e, no, login->why);
}

uint8_t
ocsp_vouch(struct ocsp *o, struct broker_login *login)
{
	uint8_t reason = MQTT_RC_OK;
	struct authz_facts f;

	authz_principal_facts(login->cert, &f);
	if (!is_asked_about(&f))
		return MQTT_RC_OK;
	(void)pthread_mutex_lock(&o->lock);
	if (o->rules[login->listener].check != CONFIG_OCSP_OFF)
		reason = vouch(o, login, &f);
	(void)pthread_mutex_unlock(&o->lock);
	return reason;
}

/* Somebody is here by it: ask anew, now or later. */
static void
here(struct ocsp *o, struct subject *e)
{
	if (cannot_ask(o, e) == NULL) {
		ocsp_enqueue(o, e);
		return;
	}
	e->probed = false;
	e->probe = wall() + PROBE_S;
}

bool
ocsp_stands(struct ocsp *o, unsigned listener, const struct authz_facts *f, char *text, size_t cap)
{
	struct subject *e;
	bool stands = true;

	if (!is_asked_about(f))
		return true;
	(void)pthread_mutex_lock(&o->lock);
	if (o->rules[listener].check != CONFIG_OCSP_OFF && (e = ocsp_subject(o, listener, f->issuer_key, f->serial)) != NULL) {
		stands = e->state != OCSP_REVOKED;
		if (!stands)
			say_revoked(e, text, cap);
		else if (!e->asking && (e->probed || e->state == OCSP_NEW))
			here(o, e);
	}
	(void)pthread_mutex_unlock(&o->lock);
	return stands;
}

/* ---- what was learned ---- */

static void
waiter_remove(struct ocsp *o, struct waiter *w)
{
	*w->link = w->later;
	if (w->later != NULL)
		w->later->link = w->link;
	else
		o->last_waiting = w->link;
	o->n_waiting--;
}

static void
take_answer(struct ocsp *o, struct subject *e, const struct pki_ocsp_answer *a)
{
	int64_t now = wall();

	e->state = a->status == PKI_OCSP_GOOD ? OCSP_GOOD : a->status == PKI_OCSP_REVOKED ? OCSP_REVOKED : OCSP_UNKNOWN;
	e->revoked_at = a->revoked_at;
	e->reason = a->reason;
	e->until = NUM_MAX(NUM_MIN(a->until, now + o->max_age_s), now + 1);
	e->probe = e->state == OCSP_REVOKED ? INT64_MAX : e->until - NUM_MIN(NUM_MAX((e->until - now) / 4, 1), (int64_t)MARGIN_MAX_S);
	(void)atomic_fetch_add_explicit(&o->counters.answers[a->status], 1, memory_order_relaxed);
}

static void
take_failure(struct ocsp *o, struct subject *e, const char *why)
{
	int64_t now = wall();

	(void)atomic_fetch_add_explicit(&o->counters.failures, 1, memory_order_relaxed);
	free(e->why);
	e->why = strdup(why);
	e->probe = e->state == OCSP_REVOKED ? INT64_MAX : now + PROBE_S;
	if (e->state == OCSP_GOOD && now < e->until)
		return;
	if (e->state != OCSP_REVOKED)
		e->state = OCSP_FAILED;
	e->until = now + o->timeout_ms / 1000;
}

struct waiter *
ocsp_learn(struct ocsp *o, struct subject *e, const struct pki_ocsp_answer *a, const char *why)
{
	struct waiter *all = e->waiters;
	struct waiter *w;

	e->asking = e->probed = false;
	e->waiters = NULL;
	if (a != NULL)
		take_answer(o, e, a);
	else
		take_failure(o, e, why);
	for (w = all; w != NULL; w = w->next) {
		waiter_remove(o, w);
		w->reason = verdict(o, w->listener, e, NULL, w->login->why);
	}
	return all;
}

struct waiter *
ocsp_overdue(struct ocsp *o, int64_t now_ms)
{
	struct waiter *w, *all = NULL, **at;
	char text[80];

	(void)snprintf(text, sizeof(text), "no answer within %d s", (int)(o->timeout_ms / 1000));
	while ((w = o->waiting) != NULL && (w->due_ms <= now_ms || o->stop)) {
		for (at = &w->subject->waiters; *at != NULL && *at != w; at = &(*at)->next)
			;
		if (*at != NULL)
			*at = w->next;
		waiter_remove(o, w);
		w->reason = verdict(o, w->listener, w->subject, text, w->login->why);
		w->next = all;
		all = w;
	}
	return all;
}

size_t
ocsp_probe(struct ocsp *o, struct broker_suspect *v, size_t max, bool *ret_end)
{
	int64_t now = wall();
	struct subject *e;
	size_t n = 0, looks;

	for (looks = 0; looks < OCSP_PROBES && n < max; looks++) {
		e = map_next(&o->subjects, &o->cursor);
		*ret_end = e == NULL;
		if (e == NULL) {
			o->cursor = 0;
			return n;
		}
		if (e->asking || e->probe > now)
			continue;
		/* Nobody has said that he is here. */
		if (e->probed && now >= e->until && e->state != OCSP_REVOKED) {
			ocsp_forget(o, e);
			continue;
		}
		e->probed = true;
		e->probe = now + PROBE_S;
		memcpy(v[n].issuer_key, e->id, OCSP_KEY_N);
		v[n].serial_n = (uint8_t)(e->id_n - OCSP_KEY_N);
		memcpy(v[n].serial, e->id + OCSP_KEY_N, v[n].serial_n);
		n++;
	}
	return n;
}

void
ocsp_complaints(struct ocsp *o, void (*each)(void *ctx, const char *text), void *ctx)
{
	const struct responder *r;
	char text[FETCH_URL_MAX + 400];

	(void)pthread_mutex_lock(&o->lock);
	for (r = o->responders; r != NULL; r = r->next) {
		if (!r->failing)
			continue;
		(void)snprintf(text, sizeof(text), "the OCSP responder %s gives no answer that counts: %s; ocsp_check soft lets clients in "
		    "unchecked meanwhile, hard refuses them", r->text, r->why);
		each(ctx, text);
	}
	(void)pthread_mutex_unlock(&o->lock);
}

const struct ocsp_counters *
ocsp_counters(const struct ocsp *o)
{
	return &o->counters;
}

/* ---- life ---- */

static bool
init_locks(struct ocsp *o)
{
	pthread_condattr_t attr;
	bool ok;

	if (pthread_mutex_init(&o->lock, NULL) != 0 || pthread_cond_init(&o->more, NULL) != 0 || pthread_condattr_init(&attr) != 0)
		return false;
	ok = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0 && pthread_cond_init(&o->tick, &attr) == 0;
	(void)pthread_condattr_destroy(&attr);
	return ok;
}

struct ocsp *
ocsp_new(struct server *s)
{
	struct ocsp *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->s = s;
	o->stop_fd = -1;
	o->urgent.last = &o->urgent.first;
	o->idle.last = &o->idle.first;
	o->last_waiting = &o->waiting;
	o->rules = calloc(s->n_listeners, sizeof(*o->rules));
	/* Locks of which one could not be made are not used either. */
	if (o->rules == NULL || !init_locks(o)) {
		free(o->rules);
		free(o);
		return NULL;
	}
	ocsp_known_init(o);
	return o;
}

bool
ocsp_configure(struct ocsp *o, const struct config *c, struct err *err)
{
	bool wanted = false, run;
	unsigned i;

	(void)pthread_mutex_lock(&o->lock);
	o->timeout_ms = c->ocsp_timeout * 1000;
	o->max_age_s = c->ocsp_max_age;
	for (i = 0; i < c->n_listeners; i++) {
		const struct config_listener *l = &c->listeners[i];

		o->rules[i].check = l->ocsp_check;
		o->rules[i].responder = l->ocsp_responder != NULL ? ocsp_responder(o, l->ocsp_responder) : NULL;
		wanted = wanted || l->ocsp_check != CONFIG_OCSP_OFF;
	}
	run = wanted && !o->running;
	o->running = o->running || wanted;
	(void)pthread_mutex_unlock(&o->lock);
	if (!run || ocsp_threads_start(o, err))
		return true;
	(void)pthread_mutex_lock(&o->lock);
	o->running = false; /* what is asked is answered as if nobody could be */
	(void)pthread_mutex_unlock(&o->lock);
	return false;
}

void
ocsp_stop(struct ocsp *o)
{
	if (o != NULL)
		ocsp_threads_stop(o);
}

void
ocsp_free(struct ocsp *o)
{
	struct responder *r;

	if (o == NULL)
		return;
	while (o->oldest != NULL)
		ocsp_forget(o, o->oldest);
	map_done(&o->subjects);
	while ((r = o->responders) != NULL) {
		o->responders = r->next;
		free(r);
	}
	while (o->n_issuers > 0)
		pki_cert_free(o->issuers[--o->n_issuers].cert);
	(void)pthread_cond_destroy(&o->tick);
	(void)pthread_cond_destroy(&o->more);
	(void)pthread_mutex_destroy(&o->lock);
	free(o->rules);
	free(o);
}
