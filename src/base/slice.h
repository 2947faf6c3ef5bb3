/* A borrowed run of bytes: never owned, never NUL-terminated by promise. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
	const uint8_t *p;
	size_t n;
};

/* Of a string literal. */
#define SL(lit) ((struct slice){ (const uint8_t *)(lit), sizeof(lit) - 1 })
/* For printf: "%.*s", SL_ARG(s). Only for text that is known to be short and printable. */
#define SL_ARG(s) (int)(s).n, (const char *)(s).p

static inline struct slice
slice_of(const void *p, size_t n)
{
	return (struct slice){ p, n };
}

/* Of a NUL-terminated string; NULL gives the empty slice. */
static inline struct slice
slice_str(const char *s)
{
	return (struct slice){ (const uint8_t *)s, s != NULL ? strlen(s) : 0 };
}

static inline bool
slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
slice_starts(struct slice s, struct slice prefix)
{
	return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

/* What is left of <s> after its first <n> bytes; n <= s.n. */
static inline struct slice
slice_from(struct slice s, size_t n)
{
	return (struct slice){ n > 0 ? s.p + n : s.p, s.n - n };
}

/* Split <s> at the first <sep>: return what is before it, leave the rest in <s>;
 * <more> tells an empty last part from no part at all. */
static inline struct slice
slice_cut(struct slice *s, uint8_t sep, bool *more)
{
	const uint8_t *at = s->n > 0 ? memchr(s->p, sep, s->n) : NULL;
	struct slice head = *s;

	*more = at != NULL;
	if (at != NULL)
		head.n = (size_t)(at - s->p);
	*s = *more ? (struct slice){ at + 1, s->n - head.n - 1 } : (struct slice){ 0 };
	return head;
}

#endif
