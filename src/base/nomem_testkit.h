/* For tests only: allocation that fails when told to. Linked with --wrap (see nomem_wrap in
 * base/meson.build); not with LTO, which inlines calls before the linker sees them. */
#ifndef BASE_NOMEM_TESTKIT_H
#define BASE_NOMEM_TESTKIT_H

#include <stdbool.h>

/* The linker gives no way to hand it down, so there is one of it. One thread's. */
struct nomem {
	unsigned fail_in; /* the calls up to and with the one that fails; 0: none will */
	unsigned more;    /* those right behind it that fail, too */
	bool all;         /* every call fails */
	bool hit;         /* one has failed by <fail_in> */
	long live;        /* pieces of memory that are in use */
};
extern struct nomem nomem;

#endif
