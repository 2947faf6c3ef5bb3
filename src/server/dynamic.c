/* Dynamic security: files, the thread that carries out what administrators want, and what it tells everybody about it. Workers only
 * ever see what is immutable: policies and passwords of one moment. */
#include "server/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"

/* One file. */
struct dynamic {
	char *file;
	uint64_t listeners; /* whose matter it is, 1 << index */
	struct dynsec *d;   /* of the thread, once it runs */
	pthread_mutex_t lock; /* of the next two */
	struct authz_policy *policy;
	struct dynsec_logins *logins;
	/* Made before a change is kept, and taken when it is. */
	struct authz_policy *next_policy;
	struct dynsec_logins *next_logins;
};

struct job {
	struct job *next;
	struct dynamic *of;
	struct broker_request *request;
};

struct dynamics {
	unsigned n;
	struct dynamic *v;
	struct server *server;
	pthread_mutex_t lock; /* of the list */
	pthread_cond_t more;
	struct job *first, **last;
	bool stop, started;
	pthread_t thread;
};

_Static_assert((int)CONFIG_LISTENERS_MAX <= 64, "a bit for each listener");

/* ---- loading ---- */

/* Without its line end. */
static bool
read_password(const char *path, char **ret, size_t *ret_n, struct err *err)
{
	uint8_t *text = NULL;
	size_t n = 0;

	if (!file_read(path, PASSWD_USER_MAX, &text, &n, err))
		return false;
	*ret = (char *)text;
	*ret_n = n;
	text[strcspn((char *)text, "\r\n")] = '\0';
	return true;
}

/* The first start of an installation. */
static bool
make_file(const struct config_plugin *x, struct err *err)
{
	char *password = NULL, *text = NULL;
	size_t password_n = 0, n = 0;
	struct dynsec *d = NULL;
	bool ok = read_password(x->init_file, &password, &password_n, err) && (d = dynsec_init(password, err)) != NULL;

	if (ok && (text = dynsec_dump(d, &n)) == NULL)
		ok = err_set(err, ERR_MEMORY, "out of memory");
	ok = ok && file_write(x->file, slice_of(text, n), 0600, 0, err);
	if (ok)
		log_notice("Dynamic security: %s was made, with the client admin.", x->file);
	secret_free(password, password_n);
	secret_free(text, n);
	dynsec_free(d);
	return ok;
}

static bool
read_state(const struct config_plugin *x, bool look, struct dynsec **ret, struct err *err)
{
	uint8_t *text = NULL;
	size_t n = 0;

	if (!file_read(x->file, DYNSEC_FILE_MAX, &text, &n, err)) {
		if (err->code != ERR_MISSING)
			return false;
		if (x->init_file == NULL)
			return err_set(err, ERR_MISSING, "%s is not there; make it with `mosquitto_ctrl dynsec init %s ADMIN`", x->file, x->file);
		if (look) /* nothing is made by a look */
			return (*ret = dynsec_parse(SL("{}"), x->file, err)) != NULL;
		if (!make_file(x, err) || !file_read(x->file, DYNSEC_FILE_MAX, &text, &n, err))
			return false;
	}
	*ret = dynsec_parse(slice_of(text, n), x->file, err);
	secret_free(text, n);
	return *ret != NULL;
}

static bool
load_one(const struct config *c, const struct config_plugin *x, bool look, struct dynamic *d, struct err *err)
{
	char where[CONFIG_PLACE_CAP];

	if (!read_state(x, look, &d->d, err)) {
		(void)err_prefix(err, "plugin_opt_config_file");
		return err_prefix(err, "%s", config_place_text(c, x->place, where, sizeof(where)));
	}
	if (dynsec_warning(d->d)[0] != '\0')
		log_warning("Dynamic security: %s: %s.", x->file, dynsec_warning(d->d));
	d->file = strdup(x->file);
	d->policy = dynsec_policy(d->d);
	d->logins = dynsec_logins_new(d->d);
	return (d->file != NULL && d->policy != NULL && d->logins != NULL) || err_set(err, ERR_MEMORY, "out of memory");
}

static struct dynamic *
find(const struct dynamics *ds, const char *file)
{
	for (unsigned i = 0; i < ds->n; i++)
		if (strcmp(ds->v[i].file, file) == 0)
			return &ds->v[i];
	return NULL;
}

static bool
load_all(struct dynamics *ds, const struct config *c, bool look, struct err *err)
{
	for (unsigned i = 0; i < c->n_listeners; i++) {
		const struct config_plugin *x = c->listeners[i].dynsec;
		struct dynamic *d;

		if (x == NULL)
			continue;
		d = find(ds, x->file);
		if (d == NULL) {
			d = &ds->v[ds->n];
			if (pthread_mutex_init(&d->lock, NULL) != 0)
				return err_set(err, ERR_MEMORY, "out of memory");
			ds->n++;
			if (!load_one(c, x, look, d, err))
				return false;
		}
		d->listeners |= UINT64_C(1) << i;
	}
	return true;
}

struct dynamics *
dynamics_load(const struct config *c, bool look, struct err *err)
{
	struct dynamics *ds = calloc(1, sizeof(*ds));

	if (ds != NULL)
		ds->v = calloc(c->n_listeners, sizeof(*ds->v));
	if (ds == NULL || ds->v == NULL || pthread_mutex_init(&ds->lock, NULL) != 0) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		free(ds != NULL ? ds->v : NULL);
		free(ds);
		return NULL;
	}
	ds->last = &ds->first;
	if (pthread_cond_init(&ds->more, NULL) != 0) {
		(void)err_set(err, ERR_MEMORY, "out of memory");
		(void)pthread_mutex_destroy(&ds->lock);
		free(ds->v);
		free(ds);
		return NULL;
	}
	if (load_all(ds, c, look, err))
		return ds;
	dynamics_free(ds);
	return NULL;
}

void
dynamics_free(struct dynamics *ds)
{
	if (ds == NULL)
		return;
	for (unsigned i = 0; i < ds->n; i++) {
		struct dynamic *d = &ds->v[i];

		dynsec_free(d->d);
		authz_policy_unref(d->policy);
		dynsec_logins_unref(d->logins);
		(void)pthread_mutex_destroy(&d->lock);
		free(d->file);
	}
	(void)pthread_cond_destroy(&ds->more);
	(void)pthread_mutex_destroy(&ds->lock);
	free(ds->v);
	free(ds);
}

/* ---- what the others ask ---- */

struct dynamic *
dynamics_of(const struct dynamics *ds, const struct config_plugin *x)
{
	return x != NULL ? find(ds, x->file) : NULL;
}

struct authz_policy *
dynamic_policy(struct dynamic *d)
{
	struct authz_policy *p;

	(void)pthread_mutex_lock(&d->lock);
	p = authz_policy_ref(d->policy);
	(void)pthread_mutex_unlock(&d->lock);
	return p;
}

struct dynsec_logins *
dynamic_logins(struct dynamic *d)
{
	struct dynsec_logins *l;

	(void)pthread_mutex_lock(&d->lock);
	l = dynsec_logins_ref(d->logins);
	(void)pthread_mutex_unlock(&d->lock);
	return l;
}

uint64_t
dynamic_tag(struct dynamic *d, struct slice user)
{
	uint64_t tag;

	(void)pthread_mutex_lock(&d->lock);
	tag = dynsec_tag(d->logins, user);
	(void)pthread_mutex_unlock(&d->lock);
	return tag;
}

/* ---- commands ---- */

static void
say(void *ctx, const char *line)
{
	(void)ctx;
	log_info("%s.", line);
}

static void
drop_next(struct dynamic *d)
{
	authz_policy_unref(d->next_policy);
	dynsec_logins_unref(d->next_logins);
	d->next_policy = NULL;
	d->next_logins = NULL;
}

/* All that could fail comes before the file is written: what is kept can be told. */
static bool
save(void *ctx, struct slice text)
{
	struct dynamic *d = ctx;
	struct err err = { 0 };

	drop_next(d);
	d->next_policy = dynsec_policy(d->d);
	d->next_logins = dynsec_logins_new(d->d);
	if (d->next_policy == NULL || d->next_logins == NULL)
		(void)err_set(&err, ERR_MEMORY, "out of memory");
	else if (file_write(d->file, text, 0600, FILE_REPLACE | FILE_KEEP_OWNER, &err))
		return true;
	drop_next(d);
	log_error("Dynamic security: nothing was changed: %s; the directory must be writable for the user the broker runs as.", err.text);
	return false;
}

/* To all workers, who judge everybody by it from their next turn on. */
static void
tell(struct dynamics *ds, struct dynamic *d)
{
	struct server *s = ds->server;
	struct authz_policy *policy;
	struct dynsec_logins *logins;

	(void)pthread_mutex_lock(&d->lock);
	policy = d->policy;
	logins = d->logins;
	d->policy = d->next_policy;
	d->logins = d->next_logins;
	d->next_policy = NULL;
	d->next_logins = NULL;
	(void)pthread_mutex_unlock(&d->lock);
	if (!server_set_policy(s, d->listeners, d->policy))
		log_error("Dynamic security: out of memory; what was changed in %s holds from the next change or start on.", d->file);
	authz_policy_unref(policy);
	dynsec_logins_unref(logins);
}

static void
disconnect(struct dynamics *ds, const struct dynamic *d, const struct dynsec_outcome *o)
{
	struct broker_kick kick = { .listeners = d->listeners,
		.names = (const char *const *)o->kicked,
		.n = o->n_kicked,
		.anonymous = o->kick_anonymous,
		.reason = MQTT_RC_ADMINISTRATIVE,
		.text = "dynamic security has changed what this client may do" };

	if ((kick.n > 0 || kick.anonymous) && !broker_kick(ds->server->broker, &kick))
		log_error("Dynamic security: out of memory; clients stay connected, with the rights that they have now.");
}

static void
carry_out(struct dynamics *ds, struct dynamic *d, struct broker_request *r)
{
	struct dynsec_admin admin = { .client_id = r->client_id,
		.username = authz_principal_username(r->who),
		.say = say,
		.save = save,
		.ctx = d };
	struct dynsec_outcome o = { 0 };
	char *response;

	if (!dynsec_execute(d->d, r->payload, &admin, &o)) {
		log_error("Dynamic security: out of memory; a command was not carried out.");
		broker_request_done(r, DYNSEC_RESPONSE_TOPIC, NULL, 0);
		return;
	}
	if (o.changed)
		tell(ds, d);
	disconnect(ds, d, &o);
	response = o.response;
	o.response = NULL;
	broker_request_done(r, DYNSEC_RESPONSE_TOPIC, response, o.response_n);
	dynsec_outcome_done(&o);
}

static struct job *
next_job(struct dynamics *ds, bool *ret_stop)
{
	struct job *j;

	(void)pthread_mutex_lock(&ds->lock);
	while (ds->first == NULL && !ds->stop)
		(void)pthread_cond_wait(&ds->more, &ds->lock);
	j = ds->first;
	if (j != NULL) {
		ds->first = j->next;
		if (ds->first == NULL)
			ds->last = &ds->first;
	}
	*ret_stop = ds->stop;
	(void)pthread_mutex_unlock(&ds->lock);
	return j;
}

static void *
thread_main(void *arg)
{
	struct dynamics *ds = arg;
	struct job *j;
	bool stop;

	while ((j = next_job(ds, &stop)) != NULL) {
		if (stop)
			broker_request_done(j->request, DYNSEC_RESPONSE_TOPIC, NULL, 0);
		else
			carry_out(ds, j->of, j->request);
		free(j);
	}
	return NULL;
}

bool
dynamics_request(struct dynamics *ds, struct broker_request *r)
{
	struct job *j;
	unsigned i;

	for (i = 0; i < ds->n; i++)
		if (r->listener < CONFIG_LISTENERS_MAX && (ds->v[i].listeners & UINT64_C(1) << r->listener) != 0)
			break;
	if (i == ds->n || !slice_eq(r->topic, SL(DYNSEC_TOPIC)))
		return false;
	j = malloc(sizeof(*j));
	if (j == NULL) {
		log_error("Dynamic security: out of memory; a command was not carried out.");
		return false;
	}
	*j = (struct job){ .of = &ds->v[i], .request = r };
	(void)pthread_mutex_lock(&ds->lock);
	*ds->last = j;
	ds->last = &j->next;
	(void)pthread_cond_signal(&ds->more);
	(void)pthread_mutex_unlock(&ds->lock);
	return true;
}

bool
dynamics_start(struct dynamics *ds, struct server *s, struct err *err)
{
	int no;

	ds->server = s;
	if (ds->n == 0)
		return true;
	no = pthread_create(&ds->thread, NULL, thread_main, ds);
	if (no != 0)
		return err_set(err, ERR_SYSTEM, "cannot start the thread of dynamic security: %s", strerror(no));
	(void)pthread_setname_np(ds->thread, "dynsec"); /* only for people who look with top */
	ds->started = true;
	return true;
}

void
dynamics_stop(struct dynamics *ds)
{
	if (ds == NULL || !ds->started)
		return;
	(void)pthread_mutex_lock(&ds->lock);
	ds->stop = true;
	(void)pthread_cond_broadcast(&ds->more);
	(void)pthread_mutex_unlock(&ds->lock);
	(void)pthread_join(ds->thread, NULL);
	ds->started = false;
}
