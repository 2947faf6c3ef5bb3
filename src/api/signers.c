/* The signer: its socket in our loop, and each CA's revocation list. */
#include "api/internal.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/dojot.h"
#include "api/signers.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "base/text.h"

enum { LIST_DAYS = 30, LIST_FRESH_S = 60, LIST_ENTRIES_MAX = 4000000, BOOKS_AT_ONCE = 64 };

/* One CA's list that is being made, and who waits for it. */
struct making {
	struct making *next;
	struct signers *s;
	char ca[REGISTRY_NAME_MAX + 1];
	int64_t number, begun;
	bool again;              /* something was revoked after it was begun */
	struct waiter *now, *then;
};
struct waiter {
	struct waiter *next;
	struct call *call;
};

struct signers {
	struct api *api;
	struct signer_client *client;
	struct event *read, *write;
	struct making *makings;
	struct booking *books;   /* those of one go */
	unsigned booking;        /* revocations that the signer was told of and has not answered */
	bool books_again;
};

/* A revocation of which nobody but the registry knows yet. */
struct booking {
	struct booking *next;
	struct signers *s;
	char ca[REGISTRY_NAME_MAX + 1], serial[2 * REGISTRY_SERIAL_MAX + 1];
	int reason;
	int64_t at;
	bool done;
};

/* ---- the socket ---- */

static void
lose(struct signers *s)
{
	if (s->read != NULL)
		event_free(s->read);
	if (s->write != NULL)
		event_free(s->write);
	signer_client_free(s->client);
	s->read = s->write = NULL;
	s->client = NULL;
	s->booking = 0;
	records_lost(s->api);
}

static void
watch_write(struct signers *s)
{
	if (s->client != NULL && signer_client_wants_write(s->client))
		(void)event_add(s->write, NULL);
}

static void
on_ready(evutil_socket_t fd, short what, void *ctx)
{
	struct signers *s = ctx;
	struct err err;

	(void)fd;
	(void)what;
	if (signer_client_ready(s->client, &err)) {
		watch_write(s);
		return;
	}
	log_warning("The signer is gone: %s; nothing is signed until it is back.", err.text);
	lose(s);
}

bool
signers_connect(struct api *a, int fd)
{
	struct signers *s = a->signers;

	lose(s);
	s->client = signer_client_new(fd);
	if (s->client == NULL)
		return false;
	s->read = event_new(a->base, fd, EV_READ | EV_PERSIST, on_ready, s);
	s->write = event_new(a->base, fd, EV_WRITE, on_ready, s);
	if (s->read != NULL && s->write != NULL && event_add(s->read, NULL) == 0) {
		cas_import(a);
		records_send(a);
		watch_write(s);
		return true;
	}
	lose(s);
	return false;
}

struct signer_client *
call_signer(struct call *c)
{
	struct signers *s = c->api->signers;

	if (s->client != NULL)
		return s->client;
	call_header(c, "Retry-After", "5");
	call_problem(c, 503, "no-signer", "start `signet serve`, which runs the signer beside this process", "the signer is not there, so nothing can be signed");
	return NULL;
}

struct signer_client *
signers_client(struct api *a)
{
	return a->signers->client;
}

void
signers_asked(struct api *a)
{
	watch_write(a->signers);
}

bool
signers_open(struct api *a, struct err *err)
{
	struct signers *s = a->signers = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	s->api = a;
	if (a->config->signer_fd != -1 && !signers_connect(a, a->config->signer_fd))
		return err_set(err, ERR_MEMORY, "out of memory");
	return true;
}

static void
free_books(struct signers *s)
{
	while (s->books != NULL) {
		struct booking *b = s->books;

		s->books = b->next;
		free(b);
	}
}

static void
free_waiters(struct waiter *w)
{
	while (w != NULL) {
		struct waiter *next = w->next;

		free(w);
		w = next;
	}
}

void
signers_close(struct api *a)
{
	struct signers *s = a->signers;

	if (s == NULL)
		return;
	lose(s);
	while (s->makings != NULL) {
		struct making *m = s->makings;

		s->makings = m->next;
		free_waiters(m->now);
		free_waiters(m->then);
		free(m);
	}
	free_books(s);
	free(s);
	a->signers = NULL;
}

/* ---- lists ---- */

static void begin(struct making *m);

static void
answer_all(struct making *m, const struct err *err)
{
	struct waiter *w = m->now, *next;

	m->now = NULL;
	for (; w != NULL; w = next) {
		next = w->next;
		w->call->listed(w->call, err);
		free(w);
	}
}

static void
end(struct making *m, const struct err *err)
{
	struct making **at = &m->s->makings;

	answer_all(m, err);
	m->now = m->then;
	m->then = NULL;
	if (m->again && m->s->client != NULL) {
		m->again = false;
		begin(m);
		return;
	}
	answer_all(m, err);
	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	free(m);
}

/* Where the broker looks for it; it watches the folder. */
static bool
write_file(const struct api *a, const char *ca, struct slice der, struct err *err)
{
	char folder[PKI_PATH_MAX], path[PKI_PATH_MAX], name[REGISTRY_NAME_MAX + 8];
	BIO *b = BIO_new(BIO_s_mem());
	char *text;
	long n;
	bool ok;

	(void)snprintf(name, sizeof(name), "%s.pem", ca);
	ok = b != NULL && PEM_write_bio(b, "X509 CRL", "", der.p, (long)der.n) > 0;
	if (!ok)
		(void)err_set(err, ERR_MEMORY, "out of memory");
	ok = ok && ((path_join(folder, sizeof(folder), a->config->dir, "crls") && path_join(path, sizeof(path), folder, name)) ||
		       err_set(err, ERR_LIMIT, "%s: the path is too long", a->config->dir));
	if (ok) {
		n = BIO_get_mem_data(b, &text);
		ok = dir_make(folder, 0755, err) && file_write(path, slice_of(text, (size_t)n), 0644, FILE_REPLACE, err);
	}
	(void)BIO_free(b);
	return ok;
}

static void
on_list(void *ctx, struct slice der, const struct err *why)
{
	struct making *m = ctx;
	struct api *a = m->s->api;
	struct registry_crl list = { .ca = slice_str(m->ca), .der = der, .number = m->number, .this_update = m->begun,
		.next_update = m->begun + (int64_t)LIST_DAYS * 86400 };
	struct err err;

	if (der.n == 0) {
		log_error("The revocation list of CA %s cannot be signed: %s.", m->ca, why->text);
		end(m, why);
		return;
	}
	if (registry_crl_put(a->registry, &list, &err) && write_file(a, m->ca, der, &err)) {
		end(m, NULL);
		return;
	}
	log_error("The revocation list of CA %s cannot be published: %s.", m->ca, err.text);
	end(m, &err);
}

struct entries {
	struct signer_entry *v;
	size_t n, cap;
	bool failed;
};

static bool
add_entry(void *ctx, const struct registry_revoked *x)
{
	struct entries *e = ctx;
	struct signer_entry *one;
	size_t n;

	if (e->n == e->cap) {
		size_t cap = NUM_MAX((size_t)64, 2 * e->cap);
		void *p = cap <= LIST_ENTRIES_MAX ? realloc(e->v, cap * sizeof(*e->v)) : NULL;

		e->failed = p == NULL;
		if (p == NULL)
			return false;
		e->v = p;
		e->cap = cap;
	}
	one = &e->v[e->n++];
	*one = (struct signer_entry){ .reason = (int8_t)x->reason, .at = x->at };
	_Static_assert(SIGNER_SERIAL_MAX >= (int)REGISTRY_SERIAL_MAX, "all fit");
	if (text_unhex(slice_str(x->serial), one->serial, sizeof(one->serial), &n))
		one->serial_n = (uint8_t)n;
	return true;
}

static void
begin(struct making *m)
{
	struct api *a = m->s->api;
	struct entries e = { 0 };
	struct signer_crl q = { .ca = m->ca, .days = LIST_DAYS, .actor = "lists" };
	struct err err;
	bool ok = registry_crl_begin(a->registry, slice_str(m->ca), &m->number, &err) &&
	    registry_revoked_each(a->registry, slice_str(m->ca), add_entry, &e, &err);

	if (ok && e.failed)
		ok = err_set(&err, ERR_MEMORY, "out of memory");
	m->begun = api_now(a);
	q.entries = e.v;
	q.n = e.n;
	q.number = (uint64_t)m->number;
	ok = ok && signer_crl(m->s->client, &q, on_list, m, &err);
	free(e.v);
	watch_write(m->s);
	if (ok)
		return;
	log_error("The revocation list of CA %s cannot be made: %s.", m->ca, err.text);
	m->again = false;
	end(m, &err);
}

/* Make the list of <ca>; <c> (or NULL) is answered when one is published that was begun after now. */
static void
want(struct signers *s, struct slice ca, struct call *c)
{
	struct making *m = s->makings;
	struct waiter *w = c != NULL ? calloc(1, sizeof(*w)) : NULL;

	while (m != NULL && !slice_eq(slice_str(m->ca), ca))
		m = m->next;
	if (w != NULL)
		w->call = c;
	if (m != NULL) {
		m->again = true;
		if (w != NULL) {
			w->next = m->then;
			m->then = w;
		}
	} else if ((m = calloc(1, sizeof(*m))) != NULL) {
		m->s = s;
		m->now = w;
		(void)text_copy(m->ca, sizeof(m->ca), ca);
		m->next = s->makings;
		s->makings = m;
		begin(m);
		return;
	} else {
		free(w);
		w = NULL;
	}
	if (c != NULL && w == NULL)
		call_json(c, 503, NULL);
}

void
lists_pending(struct call *c, const struct err *err)
{
	call_header(c, "Retry-After", "60");
	call_problem(c, 503, "list-pending", "the list is made as soon as the signer can; ask for the CA's list.due",
	    "the registry knows it, but the CA's revocation list is not published yet: %s", err->text);
}


/* ---- the CA's index and the audit log ---- */

static void books_due(struct signers *s);

/* With nothing under way: what the signer has answered is done with, in one go. False: it wants to be asked later. */
static bool
settle_books(struct signers *s)
{
	struct registry *r = s->api->registry;
	struct err err = { 0 };
	bool all = true, ok = registry_begin(r, &err);

	for (struct booking *b = s->books; ok && b != NULL; b = b->next) {
		all = all && b->done;
		ok = !b->done || registry_booked(r, slice_str(b->ca), slice_str(b->serial), b->reason, &err);
	}
	ok = ok && registry_commit(r, &err);
	if (!ok) {
		log_error("The registry cannot note which revocations are booked: %s.", err.text);
		registry_rollback(r);
	}
	free_books(s);
	return ok && all;
}

static void
one_less(struct signers *s)
{
	bool more;

	if (--s->booking > 0)
		return;
	more = s->books != NULL && settle_books(s);
	if ((more || s->books_again) && s->client != NULL)
		books_due(s);
}

static void
on_book(void *ctx, bool ok, const struct err *err)
{
	struct booking *b = ctx;

	/* What it will never do is not asked for again. */
	b->done = ok || (err->code != ERR_LIMIT && err->code != ERR_SYSTEM && err->code != ERR_MEMORY);
	if (!ok)
		log_error("The signer does not book the revocation of certificate %s of CA %s: %s.", b->serial, b->ca, err->text);
	one_less(b->s);
}

static bool
add_book(void *ctx, const struct registry_unbooked *v)
{
	struct signers *s = ctx;
	struct booking *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return false;
	*b = (struct booking){ .next = s->books, .s = s, .reason = v->reason, .at = v->at };
	(void)text_copy(b->ca, sizeof(b->ca), v->ca);
	(void)text_copy(b->serial, sizeof(b->serial), slice_str(v->serial));
	s->books = b;
	return true;
}

/* What became of certificates by the way (a device was removed), or while the signer was away. Else a list that a command makes from the index
 * would let them in again. */
static void
books_due(struct signers *s)
{
	struct err err = { 0 };

	s->books_again = s->booking > 0;
	if (s->booking > 0)
		return;
	free_books(s);
	if (!registry_unbooked_each(s->api->registry, BOOKS_AT_ONCE, add_book, s, &err))
		log_error("The registry cannot say which revocations are to be booked: %s.", err.text);
	for (struct booking *b = s->books; b != NULL; b = b->next) {
		struct signer_revoke q = { .ca = b->ca, .serial = b->serial, .reason = b->reason, .at = b->at, .actor = "registry" };

		if (!signer_revoke(s->client, &q, on_book, b, &err))
			break;
		s->booking++;
	}
	watch_write(s);
}

/* ---- revocation, and who waits for it ---- */

static void
on_booked(void *ctx, bool ok, const struct err *err)
{
	static const struct err gone = { .code = ERR_SYSTEM, .text = "the signer is gone" };
	struct call *c = ctx;
	struct signers *s = c->api->signers;
	struct err why;

	if (!ok)
		log_error("The signer does not book a revocation: %s.", err->text);
	else if (!registry_booked(c->api->registry, slice_str(c->listed_ca), slice_str(c->listed_serial), c->listed_reason, &why))
		log_error("The registry cannot note that a revocation is booked: %s.", why.text);
	if (s->client == NULL)
		c->listed(c, err != NULL ? err : &gone);
	else
		want(s, slice_str(c->listed_ca), c);
	one_less(s);
}

/* Is the last one what another one would be? Else who asks in a loop would keep the signer at work. */
static bool
is_fresh(struct api *a, struct slice ca)
{
	int64_t now = api_now(a);
	struct registry_ca x;
	bool fresh;

	if (!registry_ca_get(a->registry, ca, &x, NULL))
		return false;
	fresh = !x.crl_due && x.crl_next > now && x.crl_this <= now && x.crl_this > now - LIST_FRESH_S;
	free(x.mem);
	return fresh;
}

void
lists_make(struct call *c, struct slice ca, void (*done)(struct call *c, const struct err *why))
{
	struct err err;

	c->listed = done;
	if (is_fresh(c->api, ca)) {
		done(c, NULL);
		return;
	}
	if (c->api->signers->client != NULL) {
		want(c->api->signers, ca, c);
		return;
	}
	(void)err_set(&err, ERR_SYSTEM, "the signer is not there");
	done(c, &err);
}

void
lists_publish(struct call *c, const struct registry_certificate *x, int reason, void (*done)(struct call *c, const struct err *why))
{
	struct signer_revoke q = { .ca = c->listed_ca, .serial = x->serial, .reason = reason, .actor = c->actor.name };
	struct err err;

	c->listed = done;
	c->listed_reason = reason;
	(void)text_copy(c->listed_ca, sizeof(c->listed_ca), x->ca);
	(void)text_copy(c->listed_serial, sizeof(c->listed_serial), slice_str(x->serial));
	if (c->api->signers->client == NULL)
		(void)err_set(&err, ERR_SYSTEM, "the signer is not there");
	else if (signer_revoke(c->api->signers->client, &q, on_booked, c, &err)) {
		c->api->signers->booking++;
		watch_write(c->api->signers);
		return;
	}
	done(c, &err);
}

struct due {
	struct signers *s;
	int64_t soon;
	char names[64][REGISTRY_NAME_MAX + 1];
	size_t n;
};

static bool
note_due(void *ctx, const struct registry_ca *x)
{
	struct due *d = ctx;
	const struct api_config *config = d->s->api->config;
	/* Programs of dojot read the list of devices' CA at their start, whether anything was ever revoked or not. */
	bool dojots = config->dojot.on && (slice_eq(x->name, slice_str(config->dojot.ca)) || slice_eq(x->name, SL(DOJOT_CA)));
	bool none = x->crl_next == 0 && !config->lists && !dojots;

	if (x->own && (x->crl_due || (x->crl_next < d->soon && !none)) && d->n < ARRAY_LEN(d->names))
		(void)text_copy(d->names[d->n++], sizeof(d->names[0]), x->name);
	return true;
}

void
lists_due(struct api *a)
{
	struct signers *s = a->signers;
	struct due *d = s->client != NULL && indexes_ready(a) ? calloc(1, sizeof(*d)) : NULL;

	if (d == NULL)
		return;
	books_due(s);
	d->s = s;
	d->soon = api_now(a) + (int64_t)LIST_DAYS * 86400 / 2;
	(void)registry_ca_each(a->registry, note_due, d, NULL);
	for (size_t i = 0; i < d->n; i++)
		want(s, slice_str(d->names[i]), NULL);
	free(d);
}
