/* Passwords are checked on threads of their own: a hash costs up to a second, and no worker may wait for it. */
#include "server/internal.h"
#include "server/attempts.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { THREADS_MAX = 4, PENDING_MAX = 1024, NICE = 5, SHOW_CAP = 100 };

struct job {
	struct job *next;
	struct broker_login *login;
	struct passwd_file *file; /* or, in its place: */
	struct dynsec_logins *logins;
	struct attempts_key key;
	size_t user_n, password_n;
	uint8_t bytes[]; /* user name, password */
};

struct logins {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **last;
	unsigned pending; /* in the list or being judged */
	bool stop;
	struct buckets *attempts;
	uint8_t scram_secret[SCRAM_SECRET_N];
	pthread_t threads[THREADS_MAX];
	unsigned n_threads;
};

static struct slice
job_user(const struct job *j)
{
	return slice_of(j->bytes, j->user_n);
}

static void
job_free(struct job *j)
{
	passwd_unref(j->file);
	dynsec_logins_unref(j->logins);
	secret_free(j, sizeof(*j) + j->user_n + j->password_n);
}

static struct job *
job_new(struct broker_login *login)
{
	struct slice user = login->connect->username, password = login->connect->password;
	struct job *j = malloc(sizeof(*j) + user.n + password.n);

	if (j == NULL)
		return NULL;
	*j = (struct job){
		.login = login, .user_n = user.n, .password_n = password.n
	};
	if (user.n > 0)
		memcpy(j->bytes, user.p, user.n);
	if (password.n > 0)
		memcpy(j->bytes + user.n, password.p, password.n);
	attempts_key(&j->key, ATTEMPTS_DEVICE, login->peer, user);
	return j;
}

static uint8_t
refuse(struct broker_login *login, uint8_t reason, const char *why)
{
	(void)snprintf(login->why, sizeof(login->why), "%s", why);
	return reason;
}

/* The client is told the same whether the name or the password is wrong; only the log says which. */
static uint8_t
refuse_user(struct broker_login *login, const char *why, struct slice user)
{
	char show[SHOW_CAP];

	(void)snprintf(
	    login->why, sizeof(login->why), "%s '%s'", why, text_show(user, show, sizeof(show)));
	return MQTT_RC_NOT_AUTHORIZED;
}

static enum passwd_verdict
check(const struct job *j)
{
	struct slice password = slice_of(j->bytes + j->user_n, j->password_n);
	enum passwd_kind kind = PASSWD_SHA512;
	enum passwd_verdict v;

	if (j->logins != NULL)
		return dynsec_login(j->logins, job_user(j), password);
	v = passwd_check(j->file, job_user(j), password, &kind);
	log_debug("Login: one %s hash computed.", passwd_kind_name(kind));
	return v;
}

static uint8_t
verdict_of(struct logins *ls, const struct job *j)
{
	struct slice user = job_user(j);
	const char *unknown = j->logins != NULL ? WHY_DYNSEC_UNKNOWN : WHY_LOGIN_UNKNOWN;
	enum passwd_verdict v;

	/* No hash for who sends a CONNECT and leaves. */
	if (atomic_load_explicit(&j->login->gone, memory_order_relaxed))
		return refuse(j->login, MQTT_RC_NOT_AUTHORIZED, "the client has gone");
	/* Guesses that came in parallel with those that failed meanwhile. */
	if (!attempts_take(ls->attempts, &j->key, server_now_ms()))
		return refuse(j->login, MQTT_RC_CONNECTION_RATE, WHY_LOGIN_RATE);
	v = check(j);
	if (v == PASSWD_FAILED || v == PASSWD_RIGHT)
		attempts_spare(ls->attempts, &j->key);
	if (v == PASSWD_FAILED)
		return refuse(j->login, MQTT_RC_UNAVAILABLE, "out of memory");
	if (v == PASSWD_RIGHT)
		return identity_named(j->login, user,
		    j->logins != NULL ? dynsec_tag(j->logins, user) : passwd_tag(j->file, user));
	return refuse_user(
	    j->login, v == PASSWD_UNKNOWN ? unknown : WHY_LOGIN_WRONG, user);
}

/* The next one; NULL: the end, and the list is empty. */
static struct job *
next_job(struct logins *ls, bool *ret_stop)
{
	struct job *j;

	(void)pthread_mutex_lock(&ls->lock);
	while (ls->first == NULL && !ls->stop)
		(void)pthread_cond_wait(&ls->more, &ls->lock);
	j = ls->first;
	if (j != NULL) {
		ls->first = j->next;
		if (ls->first == NULL)
			ls->last = &ls->first;
	}
	*ret_stop = ls->stop;
	(void)pthread_mutex_unlock(&ls->lock);
	return j;
}

static void *
thread_main(void *arg)
{
	struct logins *ls = arg;
	struct job *j;
	bool stop;

	/* Behind the workers: who is connected already goes first. */
	(void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	while ((j = next_job(ls, &stop)) != NULL) {
		uint8_t reason = stop ? refuse(j->login, MQTT_RC_SHUTTING_DOWN, "the broker stops")
				      : verdict_of(ls, j);

		broker_login_done(j->login, reason);
		job_free(j);
		(void)pthread_mutex_lock(&ls->lock);
		ls->pending--;
		(void)pthread_mutex_unlock(&ls->lock);
	}
	return NULL;
}

uint8_t
logins_ask(struct logins *ls, struct judge *judge, struct broker_login *login)
{
	struct job *j = job_new(login);
	bool room;

	if (j == NULL)
		return refuse(login, MQTT_RC_UNAVAILABLE, "out of memory");
	if (judge->dynamic != NULL)
		j->logins = dynamic_logins(judge->dynamic);
	else
		j->file = judge_passwords(judge);
	/* A reload took the file away since the rules were read. */
	if (j->file == NULL && j->logins == NULL) {
		job_free(j);
		return refuse(login, MQTT_RC_UNAVAILABLE, "the configuration is being exchanged");
	}
	if (!attempts_may(ls->attempts, &j->key, server_now_ms())) {
		job_free(j);
		return refuse(login, MQTT_RC_CONNECTION_RATE, WHY_LOGIN_RATE);
	}
	(void)pthread_mutex_lock(&ls->lock);
	room = ls->pending < PENDING_MAX && ls->n_threads > 0 && !ls->stop;
	if (room) {
		ls->pending++;
		*ls->last = j;
		ls->last = &j->next;
		(void)pthread_cond_signal(&ls->more);
	}
	(void)pthread_mutex_unlock(&ls->lock);
	if (room)
		return BROKER_LOGIN_PENDING;
	job_free(j);
	return refuse(login, MQTT_RC_BUSY, WHY_LOGIN_BUSY);
}

struct logins *
logins_new(void)
{
	struct logins *ls = calloc(1, sizeof(*ls));

	if (ls == NULL)
		return NULL;
	ls->last = &ls->first;
	ls->attempts = buckets_new();
	random_bytes(ls->scram_secret, sizeof(ls->scram_secret));
	if (ls->attempts == NULL || pthread_mutex_init(&ls->lock, NULL) != 0) {
		buckets_free(ls->attempts);
		free(ls);
		return NULL;
	}
	if (pthread_cond_init(&ls->more, NULL) != 0) {
		(void)pthread_mutex_destroy(&ls->lock);
		buckets_free(ls->attempts);
		free(ls);
		return NULL;
	}
	return ls;
}

bool
logins_start(struct logins *ls, unsigned n_workers, struct err *err)
{
	unsigned i, n = NUM_MIN(NUM_MAX(n_workers / 2, 1u), (unsigned)THREADS_MAX);

	for (i = 0; i < n; i++) {
		int no = pthread_create(&ls->threads[i], NULL, thread_main, ls);

		if (no != 0)
			return err_set(err, ERR_SYSTEM,
			    "cannot start the thread that checks passwords: %s", strerror(no));
		(void)pthread_setname_np(
		    ls->threads[i], "login"); /* only for people who look with top */
		(void)pthread_mutex_lock(&ls->lock);
		ls->n_threads++;
		(void)pthread_mutex_unlock(&ls->lock);
	}
	return true;
}

void
logins_stop(struct logins *ls)
{
	unsigned i;

	if (ls == NULL)
		return;
	(void)pthread_mutex_lock(&ls->lock);
	ls->stop = true;
	(void)pthread_cond_broadcast(&ls->more);
	(void)pthread_mutex_unlock(&ls->lock);
	for (i = 0; i < ls->n_threads; i++)
		(void)pthread_join(ls->threads[i], NULL);
	ls->n_threads = 0;
}

void
logins_free(struct logins *ls)
{
	if (ls == NULL)
		return;
	buckets_free(ls->attempts);
	(void)pthread_cond_destroy(&ls->more);
	(void)pthread_mutex_destroy(&ls->lock);
	secret_free(ls, sizeof(*ls));
}

struct buckets *
logins_attempts(struct logins *ls)
{
	return ls->attempts;
}

const uint8_t *
logins_scram_secret(const struct logins *ls)
{
	return ls->scram_secret;
}
