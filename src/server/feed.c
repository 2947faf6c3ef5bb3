/* Events for control: who comes, goes and is refused, told as it happens to whoever on the control socket has subscribed to it. Each subscriber has a
 * row of his own, with a bound; when he does not read, what comes is counted and he is told how much is missing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"
#include "base/text.h"
#include "server/control.h"

enum { TAPS_MAX = 4, WAITING_MAX = 16384, WAITING_BYTES_MAX = 8 * 1024 * 1024, BATCH_BYTES = 128 * 1024 };

struct news {
	struct news *next;
	size_t n;
	char text[];
};

struct tap {
	char *client_id; /* NULL: free */
	size_t id_n;
	unsigned home;
	struct news *first, **last;
	size_t n, bytes;  /* that wait */
	uint64_t seq;     /* of the first one that waits, or of the next one */
	uint64_t missing; /* behind those that wait: nothing is kept until they are gone */
	char *batch;      /* that could not be sent yet */
	size_t batch_n;
};

struct feed {
	struct server *server;
	_Atomic unsigned n_taps;
	pthread_mutex_t lock; /* of all below; nobody takes it unless somebody listens */
	struct tap taps[TAPS_MAX];
};

struct feed *
feed_new(struct server *s)
{
	struct feed *f = calloc(1, sizeof(*f));

	if (f == NULL || pthread_mutex_init(&f->lock, NULL) != 0) {
		free(f);
		return NULL;
	}
	f->server = s;
	return f;
}

static void
tap_clear(struct tap *t)
{
	for (struct news *x = t->first, *next; x != NULL; x = next) {
		next = x->next;
		free(x);
	}
	free(t->client_id);
	free(t->batch);
	*t = (struct tap){ 0 };
}

void
feed_free(struct feed *f)
{
	if (f == NULL)
		return;
	for (unsigned i = 0; i < TAPS_MAX; i++)
		tap_clear(&f->taps[i]);
	(void)pthread_mutex_destroy(&f->lock);
	free(f);
}

bool
feed_is_on(const struct feed *f)
{
	return atomic_load_explicit(&f->n_taps, memory_order_relaxed) > 0;
}

/* ---- who listens ---- */

static struct tap *
find(struct feed *f, struct slice id)
{
	for (unsigned i = 0; i < TAPS_MAX; i++)
		if (f->taps[i].client_id != NULL && slice_eq(slice_of(f->taps[i].client_id, f->taps[i].id_n), id))
			return &f->taps[i];
	return NULL;
}

static struct tap *
make(struct feed *f, struct slice id)
{
	for (unsigned i = 0; i < TAPS_MAX; i++) {
		struct tap *t = &f->taps[i];

		if (t->client_id != NULL)
			continue;
		if ((t->client_id = text_dup(id)) == NULL)
			return NULL;
		t->id_n = id.n;
		t->home = broker_home(f->server->broker, id);
		t->last = &t->first;
		(void)atomic_fetch_add_explicit(&f->n_taps, 1, memory_order_relaxed);
		return t;
	}
	return NULL;
}

static void
feed_open(struct feed *f, struct slice client_id)
{
	bool ok;

	(void)pthread_mutex_lock(&f->lock);
	ok = find(f, client_id) != NULL || make(f, client_id) != NULL;
	(void)pthread_mutex_unlock(&f->lock);
	if (!ok)
		log_warning("Control socket: a client subscribed to " CONTROL_EVENTS " and gets none: %d others listen, or memory is short.", TAPS_MAX);
}

static void
feed_close(struct feed *f, struct slice client_id)
{
	struct tap *t;

	if (!feed_is_on(f))
		return;
	(void)pthread_mutex_lock(&f->lock);
	t = find(f, client_id);
	if (t != NULL) {
		tap_clear(t);
		(void)atomic_fetch_sub_explicit(&f->n_taps, 1, memory_order_relaxed);
	}
	(void)pthread_mutex_unlock(&f->lock);
}

/* ---- what comes ---- */

/* True: its home has to be woken. */
static bool
tap_put(struct tap *t, const char *text, size_t n)
{
	struct news *x = NULL;
	bool idle = t->n == 0 && t->batch == NULL;

	if (t->missing == 0 && t->n < WAITING_MAX && t->bytes + n <= WAITING_BYTES_MAX)
		x = malloc(sizeof(*x) + n);
	if (x == NULL) {
		t->missing++;
		return idle;
	}
	x->next = NULL;
	x->n = n;
	memcpy(x->text, text, n);
	*t->last = x;
	t->last = &x->next;
	t->n++;
	t->bytes += n;
	return idle;
}

void
feed_put(struct feed *f, const char *kind, json_t *o)
{
	unsigned wake[TAPS_MAX], n = 0;
	char *text;

	(void)json_object_set_new(o, "event", json_string(kind));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	(void)pthread_mutex_lock(&f->lock);
	for (unsigned i = 0; i < TAPS_MAX; i++) {
		struct tap *t = &f->taps[i];

		if (t->client_id == NULL)
			continue;
		/* Out of memory is a gap like any other. */
		if (text == NULL)
			t->missing++;
		else if (tap_put(t, text, strlen(text)))
			wake[n++] = t->home;
	}
	(void)pthread_mutex_unlock(&f->lock);
	free(text);
	for (unsigned i = 0; i < n; i++)
		if (f->server->workers[wake[i]].loop != NULL)
			loop_wake(f->server->workers[wake[i]].loop);
}

/* ---- what goes ---- */

/* As many as go into one message; free(). NULL: out of memory, and nothing has changed. */
static char *
gather(struct tap *t, size_t *ret_n)
{
	size_t n = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, ret_n);

	if (out == NULL)
		return NULL;
	/* What is missing is behind those that wait. */
	(void)fprintf(out, "{\"seq\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"events\":[", t->seq + (t->n == 0 ? t->missing : 0), t->n == 0 ? t->missing : 0);
	for (const struct news *x = t->first; x != NULL && (n == 0 || n + x->n < BATCH_BYTES); n += x->n, x = x->next) {
		if (n > 0)
			(void)fputc(',', out);
		(void)fwrite(x->text, 1, x->n, out);
	}
	(void)fputs("]}", out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static void
next_batch(struct tap *t)
{
	size_t n = 0;

	if (t->n == 0 && t->missing == 0)
		return;
	if ((t->batch = gather(t, &t->batch_n)) == NULL)
		return;
	if (t->n == 0) {
		t->seq += t->missing;
		t->missing = 0;
		return;
	}
	for (struct news *x; (x = t->first) != NULL && (n == 0 || n + x->n < BATCH_BYTES);) {
		n += x->n;
		t->first = x->next;
		t->n--;
		t->bytes -= x->n;
		t->seq++;
		free(x);
	}
	if (t->first == NULL)
		t->last = &t->first;
}

/* The next message for somebody at home on <w>, with his name; false: there is none. Both are the caller's then. */
static bool
take(struct feed *f, const struct worker *w, unsigned i, char **ret_id, char **ret, size_t *ret_n)
{
	struct tap *t = &f->taps[i];
	bool ok = false;

	(void)pthread_mutex_lock(&f->lock);
	if (t->client_id != NULL && t->home == w->index) {
		if (t->batch == NULL)
			next_batch(t);
		*ret_id = t->batch != NULL ? text_dup(slice_of(t->client_id, t->id_n)) : NULL;
		if (*ret_id != NULL) {
			*ret = t->batch;
			*ret_n = t->batch_n;
			t->batch = NULL;
			ok = true;
		}
	}
	(void)pthread_mutex_unlock(&f->lock);
	return ok;
}

/* Only this thread opens and closes those that are at home here: it is still the same one. */
static void
give_back(struct feed *f, unsigned i, char *batch, size_t n)
{
	struct tap *t = &f->taps[i];
	bool gone;

	(void)pthread_mutex_lock(&f->lock);
	gone = t->client_id == NULL;
	if (!gone) {
		t->batch = batch;
		t->batch_n = n;
	}
	(void)pthread_mutex_unlock(&f->lock);
	if (gone)
		free(batch);
}

void
feed_turn(struct feed *f, const struct worker *w)
{
	char *id, *batch;
	size_t n;

	for (unsigned i = 0; i < TAPS_MAX; i++) {
		while (take(f, w, i, &id, &batch, &n)) {
			/* Without the lock: what is told may be an event itself. */
			enum broker_told told = shard_tell(w->shard, slice_str(id), SL(CONTROL_EVENTS), slice_of(batch, n));

			free(id);
			if (told == BROKER_TOLD_LATER) {
				give_back(f, i, batch, n);
				break;
			}
			free(batch);
		}
	}
}

/* ---- of the broker ---- */

static json_t *
json_of(const struct server *s, const struct broker_event *e)
{
	struct broker_session x = { .client_id = e->client_id, .listener = e->listener, .who = e->who, .peer = e->peer, .version = e->version };
	json_t *o = json_object();

	control_put_time(o, "time", (int64_t)time(NULL));
	control_put_session(s, o, &x);
	return o;
}

static void
connected(struct server *s, const struct broker_event *e)
{
	json_t *o;

	if (e->who != NULL && authz_principal_role(e->who) == AUTHZ_ROLE_QUARANTINE)
		feed_put_device(s->feed, "quarantine", e->who, e->listener);
	o = json_of(s, e);
	(void)json_object_set_new(o, "keep_alive", json_integer(e->keep_alive));
	(void)json_object_set_new(o, "session_present", json_boolean(e->session_present));
	feed_put(s->feed, "connect", o);
}

static void
disconnected(const struct server *s, const struct broker_event *e)
{
	json_t *o = json_of(s, e);

	(void)json_object_set_new(o, "reason", json_integer(e->reason));
	control_put_text(o, "text", e->text);
	(void)json_object_set_new(o, "clean", json_boolean(e->clean));
	feed_put(s->feed, "disconnect", o);
}

void
feed_put_device(struct feed *f, const char *kind, const struct authz_principal *who, unsigned listener)
{
	struct broker_session x = { .listener = listener, .who = who };
	struct authz_facts facts;
	const char *cause;
	json_t *o;

	if (!feed_is_on(f))
		return;
	authz_principal_facts(who, &facts);
	cause = renew_quarantine(&facts);
	o = json_object();
	control_put_time(o, "time", (int64_t)time(NULL));
	control_put_session(f->server, o, &x);
	(void)json_object_del(o, "client_id");
	control_put_slice(o, "name", facts.cn);
	control_put_text(o, "cause", cause != NULL ? cause : "");
	control_put_slice(o, "subject", facts.subject);
	control_put_time(o, "not_before", facts.not_before);
	control_put_time(o, "not_after", facts.not_after);
	feed_put(f, kind, o);
}

void
feed_event(struct feed *f, const struct broker_event *e)
{
	struct server *s = f->server;

	if (e->listener >= s->n_listeners) /* a bridge of ours */
		return;
	/* Who listens on the control socket is no news himself. */
	if (s->listeners[e->listener].config->protocol == CONFIG_CONTROL) {
		if (e->kind == BROKER_DISCONNECTED || (e->kind == BROKER_UNSUBSCRIBED && slice_eq(e->topic, SL(CONTROL_EVENTS))))
			feed_close(f, e->client_id);
		else if (e->kind == BROKER_SUBSCRIBED && slice_eq(e->topic, SL(CONTROL_EVENTS)))
			feed_open(f, e->client_id);
		return;
	}
	if (!feed_is_on(f))
		return;
	if (e->kind == BROKER_CONNECTED)
		connected(s, e);
	else if (e->kind == BROKER_DISCONNECTED)
		disconnected(s, e);
}
