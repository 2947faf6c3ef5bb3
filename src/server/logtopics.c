/* log_dest topic: each line of the log is a message on $SYS/broker/log/E, W, N, I, M/subscribe or M/unsubscribe, as
 * mosquitto.conf(5) has it; debug lines never are. Lines come from any thread under the log's lock, so they are kept here until the
 * first worker publishes them. */
#include "server/internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

enum { LINES_MAX = 1000 }; /* that wait for one turn */

struct line {
	struct line *next;
	enum log_level level;
	size_t n;
	char text[];
};

struct logtopics {
	pthread_mutex_t lock;
	struct worker *worker;
	struct line *first, **end;
	unsigned n, lost;
	/* Who publishes: what is logged about that would only make more of it. */
	pthread_t publisher;
	bool publishing;
};

struct logtopics *
logtopics_new(void)
{
	struct logtopics *t = calloc(1, sizeof(*t));

	if (t == NULL || pthread_mutex_init(&t->lock, NULL) != 0) {
		free(t);
		return NULL;
	}
	t->end = &t->first;
	return t;
}

static void
to_topic(void *ctx, enum log_level level, const char *text, size_t n)
{
	struct logtopics *t = ctx;
	char stamp[LOG_STAMP_MAX + 2];
	size_t stamp_n = strlen(log_stamp(stamp));
	struct line *l;

	if (level == LOG_LVL_DEBUG)
		return;
	l = malloc(sizeof(*l) + stamp_n + n);
	(void)pthread_mutex_lock(&t->lock);
	if (l == NULL || t->n >= LINES_MAX || (t->publishing && pthread_equal(t->publisher, pthread_self()))) {
		t->lost++;
		(void)pthread_mutex_unlock(&t->lock);
		free(l);
		return;
	}
	*l = (struct line){ .level = level, .n = stamp_n + n };
	memcpy(l->text, stamp, stamp_n);
	memcpy(l->text + stamp_n, text, n);
	*t->end = l;
	t->end = &l->next;
	if (t->n++ == 0 && t->worker != NULL)
		loop_wake(t->worker->loop);
	(void)pthread_mutex_unlock(&t->lock);
}

bool
logtopics_sink(struct logtopics *t)
{
	return log_add_sink(to_topic, t);
}

void
logtopics_attach(struct logtopics *t, struct worker *w)
{
	(void)pthread_mutex_lock(&t->lock);
	t->worker = w;
	(void)pthread_mutex_unlock(&t->lock);
}

static struct line *
take(struct logtopics *t, bool publishing, unsigned *ret_lost)
{
	struct line *all;

	(void)pthread_mutex_lock(&t->lock);
	all = t->first;
	t->first = NULL;
	t->end = &t->first;
	t->n = 0;
	*ret_lost = t->lost;
	t->lost = 0;
	t->publishing = publishing;
	t->publisher = pthread_self();
	(void)pthread_mutex_unlock(&t->lock);
	return all;
}

static void
stop_publishing(struct logtopics *t)
{
	(void)pthread_mutex_lock(&t->lock);
	t->publishing = false;
	(void)pthread_mutex_unlock(&t->lock);
}

void
logtopics_turn(struct logtopics *t, struct worker *w)
{
	static const char *const names[] = { [LOG_LVL_ERROR] = "E", [LOG_LVL_WARNING] = "W", [LOG_LVL_NOTICE] = "N", [LOG_LVL_INFO] = "I",
		[LOG_LVL_DEBUG] = "D", [LOG_LVL_SUBSCRIBE] = "M/subscribe", [LOG_LVL_UNSUBSCRIBE] = "M/unsubscribe" };
	unsigned lost;
	struct line *l = take(t, true, &lost), *next;
	char topic[64], text[80];

	for (; l != NULL; l = next) {
		int n = snprintf(topic, sizeof(topic), "$SYS/broker/log/%s", names[l->level]);

		/* Out of memory: a line is lost, as it is when a log file is full. */
		(void)shard_publish(w->shard, slice_of(topic, (size_t)n), slice_of(l->text, l->n), false);
		next = l->next;
		free(l);
	}
	if (lost > 0) {
		int n = snprintf(text, sizeof(text), "%u lines of the log are not on these topics.", lost);

		(void)shard_publish(w->shard, SL("$SYS/broker/log/W"), slice_of(text, (size_t)n), false);
	}
	stop_publishing(t);
}

void
logtopics_free(struct logtopics *t)
{
	unsigned lost;
	struct line *l, *next;

	if (t == NULL)
		return;
	for (l = take(t, false, &lost); l != NULL; l = next) {
		next = l->next;
		free(l);
	}
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
}
