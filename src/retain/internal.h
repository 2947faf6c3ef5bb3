/* The inside of the store of retained messages. Private to retain/.
 *
 * Topics are kept in order, in a tree that branches on half bytes and holds nothing but
 * pointers to the messages: about eleven bytes a topic. A walk is "the next topic from here on
 * that can match", so that its place is a text, not a pointer, and nothing that happens to the
 * tree between two calls can hurt it. */
#ifndef RETAIN_INTERNAL_H
#define RETAIN_INTERNAL_H

#include "retain/retain.h"

/* The order: byte by byte, with '/' before all others, so that a topic and all that is below it
 * are side by side. 0 is the end of the text, which is why U+0000 may not be in a topic. */
static inline unsigned
topic_rank(uint8_t c)
{
	return c > '/' ? c : c == '/' ? 1 : c + 1u;
}

/* ---- tree.c ---- */

/* A message, or a branch when the lowest bit is set; 0: empty. */
typedef uintptr_t twig;

struct tree {
	twig root;
	size_t bytes; /* of the branches */
};

struct msg *tree_get(const struct tree *t, struct slice topic);
/* Put <m> under its topic; what was there comes back in <ret_old> (or NULL). References are the
 * caller's matter. False: out of memory, nothing changed. */
bool tree_put(struct tree *t, struct msg *m, struct msg **ret_old);
/* Take out what is under <topic>; NULL: nothing. */
struct msg *tree_del(struct tree *t, struct slice topic);
/* The first message whose topic is <from> or comes after it; NULL: none. */
struct msg *tree_from(const struct tree *t, struct slice from);

/* ---- retain.c ---- */

/* A topic and a filter's shortest match behind it, and a byte between. */
enum { SCRATCH_SIZE = 2 * 65536 };

struct retain {
	struct tree tree;
	size_t count, bytes;
	void (*expired)(void *ctx, struct msg *m); /* or NULL */
	void *expired_ctx;
	size_t expiring;   /* messages that will be worthless some day */
	uint64_t walks;    /* begun so far: tells what was stored before a walk from what came later */
	struct msg *swept; /* where the last sweep ended; a reference */
	uint8_t *scratch;  /* SCRATCH_SIZE bytes to put a walk's place together */
};

/* <m>, which is there, has expired. */
void retain_expire(struct retain *r, struct msg *m);

#endif
