/* The mailbox under several senders: nothing lost, nothing doubled, each sender's order kept. */
#include "base/inbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { SENDERS = 4, EACH = 20000 };

struct letter {
	struct inbox_node node; /* first: the node is the letter */
	unsigned sender, no;
	unsigned *body; /* written before the push, without any lock: the receiver must see it */
};

struct sender {
	struct inbox *box;
	struct letter *letters;
	unsigned id;
	unsigned woke; /* how often this sender found the box empty */
};

static void *
send_all(void *arg)
{
	struct sender *s = arg;

	for (unsigned i = 0; i < EACH; i++) {
		struct letter *l = &s->letters[i];

		l->sender = s->id;
		l->no = i;
		l->body = malloc(sizeof *l->body);
		if (l->body == NULL)
			abort();
		*l->body = s->id * EACH + i;
		s->woke += inbox_push(s->box, &l->node);
	}
	return NULL;
}

static unsigned
take_some(struct inbox *box, unsigned next[SENDERS], unsigned *takes)
{
	struct inbox_node *n = inbox_take(box);
	unsigned got = 0;

	*takes += n != NULL;
	for (; n != NULL; n = n->next) {
		struct letter *l = (struct letter *)(void *)n;

		assert_int_equal(l->no, next[l->sender]);
		assert_int_equal(*l->body, l->sender * EACH + l->no);
		next[l->sender]++;
		free(l->body);
		got++;
	}
	return got;
}

static void
many_senders(void **state)
{
	struct inbox box = { .head = NULL };
	struct sender s[SENDERS];
	pthread_t th[SENDERS];
	unsigned next[SENDERS] = { 0 }, got = 0, takes = 0, woke = 0;

	(void)state;
	for (unsigned i = 0; i < SENDERS; i++) {
		s[i] = (struct sender){ .box = &box, .id = i, .letters = calloc(EACH, sizeof(struct letter)) };
		assert_non_null(s[i].letters);
		assert_int_equal(pthread_create(&th[i], NULL, send_all, &s[i]), 0);
	}
	while (got < SENDERS * EACH) {
		unsigned n = take_some(&box, next, &takes);

		got += n;
		if (n == 0)
			(void)sched_yield();
	}
	for (unsigned i = 0; i < SENDERS; i++) {
		assert_int_equal(pthread_join(th[i], NULL), 0);
		assert_int_equal(next[i], EACH);
		woke += s[i].woke;
		free(s[i].letters);
	}
	assert_null(inbox_take(&box));
	/* Exactly one sender is told to wake the receiver for each batch. */
	assert_int_equal(woke, takes);
}

static void
oldest_first_and_wake_only_once(void **state)
{
	struct inbox box = { .head = NULL };
	struct inbox_node n[3];

	(void)state;
	assert_null(inbox_take(&box));
	assert_true(inbox_push(&box, &n[0]));
	assert_false(inbox_push(&box, &n[1]));
	assert_false(inbox_push(&box, &n[2]));
	assert_ptr_equal(inbox_take(&box), &n[0]);
	assert_ptr_equal(n[0].next, &n[1]);
	assert_ptr_equal(n[1].next, &n[2]);
	assert_null(n[2].next);
	assert_null(inbox_take(&box));
	assert_true(inbox_push(&box, &n[0]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oldest_first_and_wake_only_once),
		cmocka_unit_test(many_senders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
