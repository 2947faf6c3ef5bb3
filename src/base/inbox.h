/* A mailbox with many senders and one receiver, lock-free. What is sent is a node that the sender allocated and the
 * receiver then owns. Nodes arrive in the order in which their pushes happened. */
#ifndef BASE_INBOX_H
#define BASE_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct inbox_node {
	struct inbox_node *next;
};

/* Zero-initialised memory is an empty inbox. */
struct inbox {
	_Atomic(struct inbox_node *) head;
};

/* From any thread. True when the inbox was empty, that is when the receiver has to be woken. Everything the
 * sender wrote before is visible to the receiver. */
static inline bool
inbox_push(struct inbox *b, struct inbox_node *n)
{
	struct inbox_node *old = atomic_load_explicit(&b->head, memory_order_relaxed);

	do
		n->next = old;
	while (!atomic_compare_exchange_weak_explicit(
	    &b->head, &old, n, memory_order_acq_rel, memory_order_relaxed));
	return old == NULL;
}

/* From the receiver: everything that is there, oldest first; NULL when empty. */
static inline struct inbox_node *
inbox_take(struct inbox *b)
{
	struct inbox_node *n, *list = NULL;

	if (atomic_load_explicit(&b->head, memory_order_relaxed) == NULL)
		return NULL;
	n = atomic_exchange_explicit(&b->head, NULL, memory_order_acq_rel);
	while (n != NULL) {
		struct inbox_node *next = n->next;

		n->next = list;
		list = n;
		n = next;
	}
	return list;
}

#endif
