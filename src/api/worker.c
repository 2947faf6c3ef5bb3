/* What takes long is done on a thread of its own, one after another: the loop does not wait for it. */
#include "api/internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct worker {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct job *first, **last;   /* to be done */
	struct job *done, **done_last;
	unsigned n;                       /* all that are not handed back yet */
	bool stop, started;
	int wake;
	struct event *woken;
	pthread_t thread;
};

static struct job *
next_job(struct worker *w)
{
	struct job *j;

	(void)pthread_mutex_lock(&w->lock);
	while (w->first == NULL && !w->stop)
		(void)pthread_cond_wait(&w->more, &w->lock);
	j = w->stop ? NULL : w->first;
	if (j != NULL) {
		w->first = j->next;
		if (w->first == NULL)
			w->last = &w->first;
	}
	(void)pthread_mutex_unlock(&w->lock);
	return j;
}

static void *
run(void *ctx)
{
	static const uint64_t one = 1;
	struct worker *w = ctx;
	struct job *j;

	while ((j = next_job(w)) != NULL) {
		j->work(j);
		j->next = NULL;
		(void)pthread_mutex_lock(&w->lock);
		*w->done_last = j;
		w->done_last = &j->next;
		(void)pthread_mutex_unlock(&w->lock);
		/* A counter that is full wakes as well. */
		if (write(w->wake, &one, sizeof(one)) == -1)
			continue;
	}
	return NULL;
}

static void
on_woken(evutil_socket_t fd, short what, void *ctx)
{
	struct worker *w = ctx;
	struct job *list, *next;
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) == -1)
		return;
	(void)pthread_mutex_lock(&w->lock);
	list = w->done;
	w->done = NULL;
	w->done_last = &w->done;
	for (next = list; next != NULL; next = next->next)
		w->n--;
	(void)pthread_mutex_unlock(&w->lock);
	for (; list != NULL; list = next) {
		next = list->next;
		list->done(list);
	}
}

struct worker *
worker_new(struct event_base *base)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->last = &w->first;
	w->done_last = &w->done;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->more, NULL);
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->woken = w->wake != -1 ? event_new(base, w->wake, EV_READ | EV_PERSIST, on_woken, w) : NULL;
	w->started = w->woken != NULL && event_add(w->woken, NULL) == 0 && pthread_create(&w->thread, NULL, run, w) == 0;
	if (w->started)
		return w;
	worker_free(w);
	return NULL;
}

static void
free_jobs(struct job *j)
{
	while (j != NULL) {
		struct job *next = j->next;

		j->drop(j);
		j = next;
	}
}

void
worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	(void)pthread_mutex_lock(&w->lock);
	w->stop = true;
	(void)pthread_cond_signal(&w->more);
	(void)pthread_mutex_unlock(&w->lock);
	if (w->started)
		(void)pthread_join(w->thread, NULL);
	free_jobs(w->first);
	free_jobs(w->done);
	if (w->woken != NULL)
		event_free(w->woken);
	if (w->wake != -1)
		(void)close(w->wake);
	(void)pthread_cond_destroy(&w->more);
	(void)pthread_mutex_destroy(&w->lock);
	free(w);
}

bool
worker_add(struct worker *w, struct job *j)
{
	bool room;

	(void)pthread_mutex_lock(&w->lock);
	room = w->n < WORKER_WAITING_MAX;
	if (room) {
		w->n++;
		j->next = NULL;
		*w->last = j;
		w->last = &j->next;
		(void)pthread_cond_signal(&w->more);
	}
	(void)pthread_mutex_unlock(&w->lock);
	return room;
}
