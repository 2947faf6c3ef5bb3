/* A password's hash costs a tenth of a second: the loop does not wait for it. One thread computes them in turn. */
#include "api/internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/secret.h"
#include "passwd/passwd.h"

struct hasher {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct hash_job *first, **last;   /* to be done */
	struct hash_job *done, **done_last;
	unsigned n;                       /* all that are not handed back yet */
	bool stop, started;
	int wake;
	struct event *woken;
	pthread_t thread;
};

struct hash_job *
hash_job_new(struct slice hash, struct slice password)
{
	struct hash_job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	j->hash = calloc(1, PASSWD_HASH_TEXT_MAX);
	j->password = malloc(password.n + 1);
	if (j->hash == NULL || j->password == NULL || hash.n >= PASSWD_HASH_TEXT_MAX) {
		hash_job_free(j);
		return NULL;
	}
	if (hash.n > 0)
		memcpy(j->hash, hash.p, hash.n);
	if (password.n > 0)
		memcpy(j->password, password.p, password.n);
	j->password_n = password.n;
	return j;
}

void
hash_job_free(struct hash_job *j)
{
	if (j == NULL)
		return;
	secret_free(j->password, j->password != NULL ? j->password_n : 0);
	secret_free(j->hash, j->hash != NULL ? PASSWD_HASH_TEXT_MAX : 0);
	free(j);
}

static void
compute(struct hash_job *j)
{
	struct slice password = slice_of(j->password, j->password_n);

	if (j->hash[0] != '\0')
		j->right = passwd_check_hash(slice_str(j->hash), password) == PASSWD_RIGHT;
	else
		j->right = passwd_hash(PASSWD_ARGON2ID, 0, password, j->hash, NULL);
}

static struct hash_job *
next_job(struct hasher *h)
{
	struct hash_job *j;

	(void)pthread_mutex_lock(&h->lock);
	while (h->first == NULL && !h->stop)
		(void)pthread_cond_wait(&h->more, &h->lock);
	j = h->stop ? NULL : h->first;
	if (j != NULL) {
		h->first = j->next;
		if (h->first == NULL)
			h->last = &h->first;
	}
	(void)pthread_mutex_unlock(&h->lock);
	return j;
}

static void *
run(void *ctx)
{
	static const uint64_t one = 1;
	struct hasher *h = ctx;
	struct hash_job *j;

	while ((j = next_job(h)) != NULL) {
		compute(j);
		j->next = NULL;
		(void)pthread_mutex_lock(&h->lock);
		*h->done_last = j;
		h->done_last = &j->next;
		(void)pthread_mutex_unlock(&h->lock);
		/* A counter that is full wakes as well. */
		if (write(h->wake, &one, sizeof(one)) == -1)
			continue;
	}
	return NULL;
}

static void
on_woken(evutil_socket_t fd, short what, void *ctx)
{
	struct hasher *h = ctx;
	struct hash_job *list, *next;
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) == -1)
		return;
	(void)pthread_mutex_lock(&h->lock);
	list = h->done;
	h->done = NULL;
	h->done_last = &h->done;
	for (next = list; next != NULL; next = next->next)
		h->n--;
	(void)pthread_mutex_unlock(&h->lock);
	for (; list != NULL; list = next) {
		next = list->next;
		list->done(list->ctx, list);
	}
}

struct hasher *
hasher_new(struct event_base *base)
{
	struct hasher *h = calloc(1, sizeof(*h));

	if (h == NULL)
		return NULL;
	h->last = &h->first;
	h->done_last = &h->done;
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->more, NULL);
	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->woken = h->wake != -1 ? event_new(base, h->wake, EV_READ | EV_PERSIST, on_woken, h) : NULL;
	h->started = h->woken != NULL && event_add(h->woken, NULL) == 0 && pthread_create(&h->thread, NULL, run, h) == 0;
	if (h->started)
		return h;
	hasher_free(h);
	return NULL;
}

static void
free_jobs(struct hash_job *j)
{
	while (j != NULL) {
		struct hash_job *next = j->next;

		hash_job_free(j);
		j = next;
	}
}

void
hasher_free(struct hasher *h)
{
	if (h == NULL)
		return;
	(void)pthread_mutex_lock(&h->lock);
	h->stop = true;
	(void)pthread_cond_signal(&h->more);
	(void)pthread_mutex_unlock(&h->lock);
	if (h->started)
		(void)pthread_join(h->thread, NULL);
	free_jobs(h->first);
	free_jobs(h->done);
	if (h->woken != NULL)
		event_free(h->woken);
	if (h->wake != -1)
		(void)close(h->wake);
	(void)pthread_cond_destroy(&h->more);
	(void)pthread_mutex_destroy(&h->lock);
	free(h);
}

bool
hasher_add(struct hasher *h, struct hash_job *j)
{
	bool room;

	(void)pthread_mutex_lock(&h->lock);
	room = h->n < HASH_WAITING_MAX;
	if (room) {
		h->n++;
		j->next = NULL;
		*h->last = j;
		h->last = &j->next;
		(void)pthread_cond_signal(&h->more);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return room;
}
