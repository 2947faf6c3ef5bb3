/* What clients are shown beside the broker's certificates: OCSP answers from files that others make, or from responders that are asked
 * here, on a thread of their own. Nothing is shown that a client would not believe. */
#include "server/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "fetch/fetch.h"

enum { RETRY_MAX_S = 30, LOOK_S = 3600, WHY_CAP = 400 };

/* One listener's. */
struct staple {
	struct tls_ctx *tls;               /* NULL: nothing is stapled there */
	struct x509_st *cert, *issuer;
	char *file;                        /* or: */
	struct fetch_url url;
	uint64_t looks;                    /* what the file looked like when it was read; 0: not yet */
	uint8_t *der;                      /* that is shown */
	size_t n;
	int64_t this_update, until;
	int64_t next;                      /* when to ask; wall clock */
	unsigned generation;               /* changes with the certificate */
	char why[WHY_CAP];                 /* what is wrong; "": nothing */
};

struct staples {
	struct server *s;
	pthread_mutex_t lock; /* of all but the thread */
	pthread_cond_t more;
	struct staple *v;     /* by listener */
	int64_t timeout_ms, max_age_s;
	bool stop, asks;      /* asks: the thread is needed */
	int stop_fd;
	pthread_t thread;
	bool started;
};

static int64_t
wall(void)
{
	return (int64_t)time(NULL);
}

/* ---- one answer ---- */

static bool
judge(const struct staple *x, struct slice der, struct slice request, struct pki_ocsp_answer *ret, struct err *err)
{
	uint8_t serial[AUTHZ_SERIAL_MAX];
	struct pki_ocsp_question q = { .issuer = x->issuer, .serial = pki_cert_serial(x->cert, serial), .request = request };

	if (!pki_ocsp_judge(der, &q, ret, err))
		return false;
	if (ret->status != PKI_OCSP_GOOD)
		return err_set(err, ERR_DENIED, "it says that the broker's certificate is %s", pki_ocsp_status_name(ret->status));
	if (ret->until <= wall())
		return err_set(err, ERR_DENIED, "it has expired");
	return true;
}

/* Takes <der>. */
static bool
adopt(struct staple *x, uint8_t *der, size_t n, struct slice request, struct err *err)
{
	struct pki_ocsp_answer a;
	bool ok = judge(x, slice_of(der, n), request, &a, err);

	if (ok && x->n > 0 && x->until > wall() && a.this_update < x->this_update)
		ok = err_set(err, ERR_DENIED, "it is older than the one that is shown");
	if (ok && !tls_ctx_staple(x->tls, slice_of(der, n), a.until))
		ok = err_set(err, ERR_MEMORY, "out of memory");
	if (!ok) {
		free(der);
		return false;
	}
	free(x->der);
	x->der = der;
	x->n = n;
	x->this_update = a.this_update;
	x->until = a.until;
	return true;
}

static void
read_file(struct staple *x)
{
	struct err err = { 0 };
	uint8_t *der = NULL;
	size_t n = 0;

	x->why[0] = '\0';
	if (!file_read(x->file, PKI_OCSP_RESPONSE_MAX, &der, &n, &err))
		(void)snprintf(x->why, sizeof(x->why), "%.380s", err.text);
	else if (!adopt(x, der, n, (struct slice){ 0 }, &err))
		(void)snprintf(x->why, sizeof(x->why), "%.120s: %.260s", x->file, err.text);
}

/* ---- at a start and a reload ---- */

static void
clear(struct staple *x)
{
	tls_ctx_unref(x->tls);
	pki_cert_free(x->cert);
	pki_cert_free(x->issuer);
	free(x->file);
	x->tls = NULL;
	x->cert = x->issuer = NULL;
	x->file = NULL;
}

static bool
renew(struct staple *x, const struct world_listener *l)
{
	struct err err = { 0 };

	x->file = l->staple_file != NULL ? strdup(l->staple_file) : NULL;
	x->tls = tls_ctx_ref(l->tls);
	x->cert = pki_cert_ref(l->staple_cert);
	x->issuer = pki_cert_ref(l->staple_issuer);
	return x->cert != NULL && x->issuer != NULL && (x->file == NULL) == (l->staple_file == NULL) &&
	       (x->file != NULL || fetch_url_parse(l->staple_url, &x->url, &err));
}

/* With the same certificate the answer that is there is shown again; else the old one is nobody's. */
static void
carry(struct staple *x, uint8_t *der, size_t n)
{
	struct err err = { 0 };

	if (der != NULL)
		(void)adopt(x, der, n, (struct slice){ 0 }, &err);
	x->next = x->n > 0 ? NUM_MIN(x->next, x->until) : 0;
	if (x->file != NULL)
		read_file(x);
}

void
staples_prepare(struct staples *sp, const struct config *c, const struct world *w)
{
	unsigned i;

	(void)pthread_mutex_lock(&sp->lock);
	sp->timeout_ms = c->ocsp_timeout * 1000;
	sp->max_age_s = c->ocsp_max_age;
	for (i = 0; i < w->n; i++) {
		struct staple *x = &sp->v[i];
		uint8_t *der = x->der;
		size_t n = x->n;

		clear(x);
		x->generation++;
		x->der = NULL;
		x->n = 0;
		x->looks = 0;
		x->why[0] = '\0';
		if (w->listeners[i].staple_cert == NULL) {
			free(der);
		} else if (renew(x, &w->listeners[i])) {
			sp->asks = sp->asks || x->file == NULL;
			carry(x, der, n);
		} else {
			free(der);
			clear(x);
			log_error("Out of memory: no OCSP response is stapled on listener %s.", sp->s->listeners[i].config->name);
		}
	}
	(void)pthread_cond_signal(&sp->more);
	(void)pthread_mutex_unlock(&sp->lock);
}

/* ---- files, on the thread that watches them ---- */

bool
staples_look(struct staples *sp)
{
	bool again = false;
	unsigned i;

	(void)pthread_mutex_lock(&sp->lock);
	for (i = 0; i < sp->s->n_listeners; i++) {
		struct staple *x = &sp->v[i];
		bool young = false;
		uint64_t looks;

		if (x->tls == NULL || x->file == NULL)
			continue;
		looks = watch_looks(x->file, &young);
		if (looks == x->looks)
			continue;
		read_file(x);
		/* Perhaps only half of it is there: it is looked at again before anything is said. */
		if (x->why[0] != '\0' && young) {
			x->why[0] = '\0';
			again = true;
		} else {
			x->looks = looks;
		}
	}
	(void)pthread_mutex_unlock(&sp->lock);
	return again;
}

void
staples_complaints(struct staples *sp, void (*each)(void *ctx, const char *text), void *ctx)
{
	char text[WHY_CAP + 320];
	unsigned i;

	(void)pthread_mutex_lock(&sp->lock);
	for (i = 0; i < sp->s->n_listeners; i++) {
		const struct staple *x = &sp->v[i];
		bool none = x->n == 0 || x->until <= wall();

		/* Until the first answer is there, it is being asked for. */
		if (x->tls == NULL || (x->why[0] == '\0' && (!none || (x->n == 0 && (x->file == NULL || x->looks == 0)))))
			continue;
		(void)snprintf(text, sizeof(text), "listener %s: OCSP stapling: %s; %s%s", sp->s->listeners[i].config->name,
		    x->why[0] != '\0' ? x->why : "the response has expired",
		    none ? "clients that ask are shown none" : "the one before is shown until its end",
		    none && pki_cert_must_staple(x->cert) ? ", and as the certificate demands one (must-staple) they will refuse it" : "");
		each(ctx, text);
	}
	(void)pthread_mutex_unlock(&sp->lock);
}

/* ---- responders ---- */

struct bytes {
	uint8_t *p;
	size_t n;
};

static bool
ask(const struct staple *x, struct fetch_post *p, struct bytes *ret, struct bytes *ret_request, struct err *err)
{
	uint8_t serial[AUTHZ_SERIAL_MAX];

	p->url = &x->url;
	if (!pki_ocsp_ask(x->issuer, pki_cert_serial(x->cert, serial), &ret_request->p, &ret_request->n, err))
		return false;
	p->body = slice_of(ret_request->p, ret_request->n);
	return fetch_post(p, &ret->p, &ret->n, err);
}

/* With the lock held, which it gives away while it asks. */
static void
ask_for(struct staples *sp, struct staple *x)
{
	struct staple copy = { .cert = pki_cert_ref(x->cert), .issuer = pki_cert_ref(x->issuer), .url = x->url, .generation = x->generation };
	struct fetch_post p = { .type = "application/ocsp-request", .accept = "application/ocsp-response", .max = PKI_OCSP_RESPONSE_MAX,
		.timeout_ms = (unsigned)sp->timeout_ms, .stop_fd = sp->stop_fd };
	struct bytes der = { 0 }, request = { 0 };
	bool ok, told = x->why[0] != '\0';
	struct err err = { 0 };

	(void)pthread_mutex_unlock(&sp->lock);
	ok = ask(&copy, &p, &der, &request, &err);
	(void)pthread_mutex_lock(&sp->lock);
	if (copy.generation != x->generation) {
		free(der.p); /* of the certificate before */
	} else {
		ok = ok && adopt(x, der.p, der.n, slice_of(request.p, request.n), &err);
		x->why[0] = '\0';
		if (!ok)
			(void)snprintf(x->why, sizeof(x->why), "http://%.100s%.40s: %.240s", x->url.authority, x->url.path, err.text);
		x->next = wall() + (ok ? NUM_MAX(NUM_MIN((x->until - wall()) / 2, sp->max_age_s), 1)
				       : NUM_MIN(2 * sp->timeout_ms / 1000, (int64_t)RETRY_MAX_S));
		if (ok == told && !sp->stop)
			watch_look(sp->s->watch);
	}
	free(request.p);
	clear(&copy);
}

/* The one whose time has come; NULL: none, and for how many seconds to wait. */
static struct staple *
who_is_next(struct staples *sp, int64_t *ret_s)
{
	int64_t now = wall(), next = now + LOOK_S;
	unsigned i;

	for (i = 0; i < sp->s->n_listeners; i++) {
		struct staple *x = &sp->v[i];

		if (x->tls == NULL || x->file != NULL)
			continue;
		if (x->next <= now)
			return x;
		next = NUM_MIN(next, x->next);
	}
	*ret_s = next - now;
	return NULL;
}

static void *
thread_main(void *arg)
{
	struct staples *sp = arg;
	struct staple *x;
	struct timespec t;
	int64_t s = 0;

	(void)pthread_mutex_lock(&sp->lock);
	while (!sp->stop) {
		if ((x = who_is_next(sp, &s)) != NULL) {
			ask_for(sp, x);
			continue;
		}
		(void)clock_gettime(CLOCK_REALTIME, &t); /* cannot fail for this clock */
		t.tv_sec += (time_t)s;
		(void)pthread_cond_timedwait(&sp->more, &sp->lock, &t);
	}
	(void)pthread_mutex_unlock(&sp->lock);
	return NULL;
}

/* ---- life ---- */

struct staples *
staples_new(struct server *s)
{
	struct staples *sp = calloc(1, sizeof(*sp));

	if (sp == NULL)
		return NULL;
	sp->s = s;
	sp->stop_fd = -1;
	sp->v = calloc(s->n_listeners, sizeof(*sp->v));
	if (sp->v == NULL || pthread_mutex_init(&sp->lock, NULL) != 0 || pthread_cond_init(&sp->more, NULL) != 0) {
		free(sp->v);
		free(sp);
		return NULL;
	}
	return sp;
}

bool
staples_start(struct staples *sp, struct err *err)
{
	int no;

	if (!sp->asks || sp->started)
		return true;
	sp->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (sp->stop_fd == -1)
		return err_sys(err, "cannot make an eventfd");
	no = pthread_create(&sp->thread, NULL, thread_main, sp);
	if (no != 0)
		return err_set(err, ERR_SYSTEM, "cannot start the thread that asks for OCSP responses to staple: %s", strerror(no));
	sp->started = true;
	(void)pthread_setname_np(sp->thread, "staple"); /* only for people who look with top */
	return true;
}

void
staples_stop(struct staples *sp)
{
	uint64_t one = 1;

	if (sp == NULL)
		return;
	(void)pthread_mutex_lock(&sp->lock);
	sp->stop = true;
	(void)pthread_cond_signal(&sp->more);
	(void)pthread_mutex_unlock(&sp->lock);
	if (sp->stop_fd != -1 && write(sp->stop_fd, &one, sizeof(one)) == -1)
		log_debug("eventfd: %s.", strerror(errno));
	if (sp->started)
		(void)pthread_join(sp->thread, NULL);
	sp->started = false;
	if (sp->stop_fd != -1)
		(void)close(sp->stop_fd);
	sp->stop_fd = -1;
}

void
staples_free(struct staples *sp)
{
	unsigned i;

	if (sp == NULL)
		return;
	for (i = 0; i < sp->s->n_listeners; i++) {
		clear(&sp->v[i]);
		free(sp->v[i].der);
	}
	(void)pthread_cond_destroy(&sp->more);
	(void)pthread_mutex_destroy(&sp->lock);
	free(sp->v);
	free(sp);
}
