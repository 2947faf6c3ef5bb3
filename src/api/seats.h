/* Who is connected: sessions by client id, and the common names that have some. Private to api/. */
#ifndef API_SEATS_H
#define API_SEATS_H

#include "base/map.h"

struct who;
/* A connected session of a device. */
struct seat {
	unsigned mark;  /* the caller's: when it was seen last */
	int64_t told;   /* the caller's: what others know of its last sign */
	struct who *who;
	size_t id_n;
	char id[];
};
struct seats {
	struct map seats, whos;
};
void seats_init(struct seats *s);
void seats_clear(struct seats *s); /* nobody is there */
void seats_done(struct seats *s);
/* <id> is there, of <cn>. NULL: out of memory, and it is not. */
struct seat *seats_take(struct seats *s, struct slice id, struct slice cn, unsigned mark);
void seats_drop(struct seats *s, struct slice id); /* one that is not there, too */
bool seats_has(const struct seats *s, struct slice cn);
size_t seats_count(const struct seats *s);
/* Walk: *pos is 0 at the start; NULL: the end. The one just returned may be dropped. */
struct seat *seats_next(const struct seats *s, size_t *pos);
struct slice seat_id(const struct seat *s);
struct slice seat_cn(const struct seat *s);
bool seat_is_shared(const struct seat *s); /* its name has others, too */

#endif
