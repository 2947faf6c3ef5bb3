/* Threads that ask OCSP responders, each about one certificate at a time, and one that keeps the time. */
#include "server/ocsp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/num.h"

enum { TICK_MS = 100, IDLE_MS = 500 };

void
ocsp_release(struct waiter *w)
{
	struct waiter *next;

	for (; w != NULL; w = next) {
		next = w->next;
		broker_login_done(w->login, w->reason);
		free(w);
	}
}

/* ---- one question ---- */

struct question {
	struct responder *responder;
	struct x509_st *issuer;
	uint8_t serial[AUTHZ_SERIAL_MAX];
	size_t serial_n;
	unsigned listener;
	unsigned timeout_ms;
	bool reached; /* there was an answer, whatever it says */
};

static bool
fetch(struct ocsp *o, struct question *q, struct pki_ocsp_question *about, struct pki_ocsp_answer *ret, struct err *err)
{
	struct fetch_post p = { .url = &q->responder->url, .type = "application/ocsp-request", .accept = "application/ocsp-response",
		.body = about->request, .max = PKI_OCSP_RESPONSE_MAX, .timeout_ms = q->timeout_ms, .stop_fd = o->stop_fd };
	uint8_t *der = NULL;
	size_t n = 0;
	bool ok;

	if (!fetch_post(&p, &der, &n, err))
		return false;
	q->reached = true;
	ok = pki_ocsp_judge(slice_of(der, n), about, ret, err);
	free(der);
	return ok;
}

static bool
ask(struct ocsp *o, struct question *q, struct pki_ocsp_answer *ret, struct err *err)
{
	struct pki_ocsp_question about = { .issuer = q->issuer, .serial = slice_of(q->serial, q->serial_n) };
	struct pki_trust *t = judge_trust(&o->s->judges[q->listener]);
	uint8_t *request = NULL;
	size_t n = 0;
	bool ok = pki_ocsp_ask(about.issuer, about.serial, &request, &n, err);

	about.request = slice_of(request, n);
	about.trust = t;
	ok = ok && fetch(o, q, &about, ret, err);
	free(request);
	pki_trust_unref(t);
	return ok;
}

/* With the lock held. True: it failed and does not now, or the other way round. */
static bool
note(struct ocsp *o, const struct question *q, bool ok, const struct err *err)
{
	struct responder *r = q->responder;
	bool was = r->failing;

	/* Nobody's fault. */
	if (o->stop)
		return false;
	r->failing = !ok;
	if (!ok)
		(void)snprintf(r->why, sizeof(r->why), "%.199s", err->text);
	r->down_until_ms = ok || q->reached ? 0 : (int64_t)server_now_ms() + o->timeout_ms;
	return was != r->failing;
}

/* With the lock held, which it gives away while it asks. */
static void
ask_about(struct ocsp *o, struct subject *e)
{
	struct question q = { .responder = e->responder, .issuer = e->issuer != NULL ? e->issuer->cert : NULL,
		.serial_n = (size_t)e->id_n - OCSP_KEY_N, .listener = e->listener, .timeout_ms = (unsigned)o->timeout_ms };
	bool ok = false, changed = false, revoked;
	struct broker_suspect suspect = { .serial_n = (uint8_t)q.serial_n };
	struct pki_ocsp_answer a;
	struct waiter *waited;
	struct err err = { 0 };

	memcpy(q.serial, e->id + OCSP_KEY_N, q.serial_n);
	memcpy(suspect.serial, q.serial, q.serial_n);
	memcpy(suspect.issuer_key, e->id, OCSP_KEY_N);
	if (q.responder == NULL || q.issuer == NULL) {
		(void)err_set(&err, ERR_MISSING, "nobody is known who could be asked");
	} else if (q.responder->failing && (int64_t)server_now_ms() < q.responder->down_until_ms) {
		(void)err_set(&err, ERR_SYSTEM, "%s", q.responder->why);
	} else {
		(void)pthread_mutex_unlock(&o->lock);
		ok = ask(o, &q, &a, &err);
		if (!ok)
			log_debug("OCSP: %s: %s.", q.responder->text, err.text);
		(void)pthread_mutex_lock(&o->lock);
		changed = note(o, &q, ok, &err);
	}
	revoked = ok && a.status == PKI_OCSP_REVOKED && e->state != OCSP_REVOKED;
	waited = ocsp_learn(o, e, ok ? &a : NULL, err.text);
	(void)pthread_mutex_unlock(&o->lock);
	ocsp_release(waited);
	if (revoked && !broker_judge_again(o->s->broker, &suspect, 1))
		log_error("Out of memory: who is connected with a certificate that was just revoked was not judged; reload the broker.");
	if (changed)
		watch_look(o->s->watch);
	(void)pthread_mutex_lock(&o->lock);
}

static struct subject *
take_next(struct ocsp *o)
{
	struct ocsp_queue *q = o->urgent.first != NULL ? &o->urgent : &o->idle;
	struct subject *e = q->first;

	q->first = e->next;
	if (e->next != NULL)
		e->next->link = &q->first;
	else
		q->last = &q->first;
	e->next = NULL;
	e->link = NULL;
	return e;
}

static void *
asker_main(void *arg)
{
	struct ocsp *o = arg;

	(void)pthread_mutex_lock(&o->lock);
	while (!o->stop) {
		if (o->urgent.first == NULL && o->idle.first == NULL)
			(void)pthread_cond_wait(&o->more, &o->lock);
		else
			ask_about(o, take_next(o));
	}
	(void)pthread_mutex_unlock(&o->lock);
	return NULL;
}

/* ---- time ---- */

static void
wait_tick(struct ocsp *o)
{
	struct timespec t;
	int64_t ms = o->waiting != NULL ? TICK_MS : IDLE_MS;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	t.tv_nsec += (long)ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	(void)pthread_cond_timedwait(&o->tick, &o->lock, &t);
}

/* With the lock held, which it gives away in between. */
static void
probe_all(struct ocsp *o, struct broker_suspect *v)
{
	bool end = false;

	while (!end && !o->stop) {
		size_t n = ocsp_probe(o, v, OCSP_PROBES, &end);

		(void)pthread_mutex_unlock(&o->lock);
		if (n > 0 && !broker_judge_again(o->s->broker, v, n))
			log_error("Out of memory: certificates of connected clients are not asked about again; reload the broker.");
		(void)pthread_mutex_lock(&o->lock);
	}
}

static void *
keeper_main(void *arg)
{
	struct ocsp *o = arg;
	struct broker_suspect *v = calloc(OCSP_PROBES, sizeof(*v));
	int64_t probed = 0;
	struct waiter *late;

	if (v == NULL)
		log_error("Out of memory: certificates of connected clients are not asked about again.");
	(void)pthread_mutex_lock(&o->lock);
	do {
		int64_t now = (int64_t)server_now_ms();

		late = ocsp_overdue(o, now);
		if (late != NULL) {
			(void)pthread_mutex_unlock(&o->lock);
			ocsp_release(late);
			(void)pthread_mutex_lock(&o->lock);
		}
		if (v != NULL && now - probed >= IDLE_MS) {
			probe_all(o, v);
			probed = now;
		}
		if (!o->stop)
			wait_tick(o);
	} while (!o->stop);
	late = ocsp_overdue(o, 0);
	(void)pthread_mutex_unlock(&o->lock);
	ocsp_release(late);
	free(v);
	return NULL;
}

/* ---- life ---- */

bool
ocsp_threads_start(struct ocsp *o, struct err *err)
{
	int no;

	o->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (o->stop_fd == -1)
		return err_sys(err, "cannot make an eventfd");
	while (o->n_askers < OCSP_THREADS) {
		no = pthread_create(&o->askers[o->n_askers], NULL, asker_main, o);
		if (no != 0)
			return err_set(err, ERR_SYSTEM, "cannot start a thread that asks OCSP responders: %s", strerror(no));
		(void)pthread_setname_np(o->askers[o->n_askers++], "ocsp"); /* only for people who look with top */
	}
	no = pthread_create(&o->keeper, NULL, keeper_main, o);
	if (no != 0)
		return err_set(err, ERR_SYSTEM, "cannot start the thread that times OCSP answers: %s", strerror(no));
	o->keeps = true;
	(void)pthread_setname_np(o->keeper, "ocsp-time");
	return true;
}

void
ocsp_threads_stop(struct ocsp *o)
{
	uint64_t one = 1;
	unsigned i;

	(void)pthread_mutex_lock(&o->lock);
	o->stop = true;
	(void)pthread_cond_broadcast(&o->more);
	(void)pthread_cond_broadcast(&o->tick);
	(void)pthread_mutex_unlock(&o->lock);
	/* It stays readable. */
	if (o->stop_fd != -1 && write(o->stop_fd, &one, sizeof(one)) == -1)
		log_debug("eventfd: %s.", strerror(errno));
	for (i = 0; i < o->n_askers; i++)
		(void)pthread_join(o->askers[i], NULL);
	o->n_askers = 0;
	if (o->keeps)
		(void)pthread_join(o->keeper, NULL);
	o->keeps = false;
	if (o->stop_fd != -1)
		(void)close(o->stop_fd);
	o->stop_fd = -1;
}
