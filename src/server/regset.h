/* Which devices exist: common names and how they stand, 16 bytes a slot. Names are kept as 125 bits of a keyed hash of which nobody outside can
 * choose a collision. Counted; one thread at a time writes, any number read without a lock meanwhile. Private to server/. */
#ifndef SERVER_REGSET_H
#define SERVER_REGSET_H

#include "base/slice.h"

enum regset_state {
	REGSET_NONE, /* never heard of */
	REGSET_ENABLED,
	REGSET_DISABLED,
	REGSET_PENDING,
	REGSET_GONE, /* was there */
	REGSET_STATES
};

enum { REGSET_MAX = 4000000 }; /* names */

struct regset;
/* With room for <n> names and a quarter more. NULL: out of memory, or more than REGSET_MAX. */
struct regset *regset_new(size_t n);
struct regset *regset_ref(struct regset *s);
void regset_unref(struct regset *s); /* NULL is fine */
/* False: there is no room; regset_grown() makes some. A name that was never there is not made one that has gone. */
bool regset_put(struct regset *s, struct slice name, enum regset_state state);
enum regset_state regset_get(const struct regset *s, struct slice name);
size_t regset_count(const struct regset *s); /* of those that are neither NONE nor GONE; any thread */
bool regset_has_room(const struct regset *s, size_t n); /* for so many more names; the writer */
size_t regset_bytes(const struct regset *s); /* that it takes in memory */
/* The same names with room for as many more as there are, without those that have gone. NULL: as regset_new(). */
struct regset *regset_grown(const struct regset *s);

#endif
