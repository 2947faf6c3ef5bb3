/* Questions on the control socket that may take their time, as a policy that is to be read: on a thread of their own, one after another, so that
 * no worker waits. It starts with the first of them. */
#include "server/control.h"

#include <stdlib.h>

enum { ASIDE_WAITING_MAX = 32 };

struct aside {
	struct aside *next;
	struct broker_request *request;
	json_t *in;
	aside_work *work;
};

struct asides {
	struct server *server;
	pthread_mutex_t lock; /* of all that follows */
	pthread_cond_t more;
	pthread_t thread;
	bool runs, over;
	unsigned n;
	struct aside *first, **end;
};

struct asides *
asides_new(struct server *s)
{
	struct asides *a = calloc(1, sizeof(*a));

	if (a == NULL)
		return NULL;
	a->server = s;
	a->end = &a->first;
	if (pthread_mutex_init(&a->lock, NULL) != 0) {
		free(a);
		return NULL;
	}
	if (pthread_cond_init(&a->more, NULL) == 0)
		return a;
	(void)pthread_mutex_destroy(&a->lock);
	free(a);
	return NULL;
}

/* Under the lock. NULL: there is nothing more. */
static struct aside *
take(struct asides *a)
{
	struct aside *x = a->first;

	if (x == NULL)
		return NULL;
	a->first = x->next;
	if (a->first == NULL)
		a->end = &a->first;
	a->n--;
	return x;
}

static void
aside_free(struct aside *x)
{
	json_decref(x->in);
	free(x);
}

static void *
asides_main(void *ctx)
{
	struct asides *a = ctx;
	struct aside *x;

	(void)pthread_setname_np(pthread_self(), "asides"); /* only for people who look with top */
	for (;;) {
		(void)pthread_mutex_lock(&a->lock);
		while (!a->over && a->first == NULL)
			(void)pthread_cond_wait(&a->more, &a->lock);
		x = a->over ? NULL : take(a);
		(void)pthread_mutex_unlock(&a->lock);
		if (x == NULL)
			return NULL;
		x->work(a->server, x->request, x->in);
		aside_free(x);
	}
}

/* What is against it: as for control_error(). */
struct against {
	const char *code, *text;
};
static const struct against ends = { "limit", "the broker ends" }, many = { "limit", "too many questions wait already" },
	no_memory = { "memory", "the broker is out of memory" },
	no_thread = { "memory", "there is no thread for it: out of memory, or a limit on processes" };

/* Under the lock: <x> waits for its turn. NULL: it does. */
static const struct against *
give(struct asides *a, struct aside *x)
{
	if (a->over)
		return &ends;
	if (a->n == ASIDE_WAITING_MAX)
		return &many;
	if (!a->runs && pthread_create(&a->thread, NULL, asides_main, a) != 0)
		return &no_thread;
	a->runs = true;
	*a->end = x;
	a->end = &x->next;
	a->n++;
	(void)pthread_cond_signal(&a->more);
	return NULL;
}

bool
control_aside(struct asides *a, struct broker_request *r, const json_t *in, aside_work *work, json_t **ret_out)
{
	struct aside *x = malloc(sizeof(*x));
	const struct against *against = &no_memory;

	if (x != NULL)
		*x = (struct aside){ .request = r, .in = json_deep_copy(in), .work = work };
	if (x != NULL && x->in != NULL) {
		(void)pthread_mutex_lock(&a->lock);
		against = give(a, x);
		(void)pthread_mutex_unlock(&a->lock);
	}
	if (against == NULL)
		return true;
	if (x != NULL)
		aside_free(x);
	*ret_out = control_error(against->code, against->text);
	return false;
}

void
asides_quiet(struct asides *a)
{
	struct aside *x;
	bool runs;

	if (a == NULL)
		return;
	(void)pthread_mutex_lock(&a->lock);
	a->over = true;
	runs = a->runs;
	a->runs = false;
	(void)pthread_cond_signal(&a->more);
	(void)pthread_mutex_unlock(&a->lock);
	if (runs)
		(void)pthread_join(a->thread, NULL);
	/* Whoever asked is answered while there is a broker. */
	while ((x = take(a)) != NULL) {
		control_answer(x->request, control_error("limit", "the broker ends"));
		aside_free(x);
	}
}

void
asides_free(struct asides *a)
{
	if (a == NULL)
		return;
	(void)pthread_cond_destroy(&a->more);
	(void)pthread_mutex_destroy(&a->lock);
	free(a);
}
