/* Who has stopped saying how he is. Private to api/. */
#ifndef API_STALE_H
#define API_STALE_H

#include "api/internal.h"

bool stale_open(struct api *a, struct err *err);
void stale_close(struct api *a);
/* <cn> has said that he is online, so the next word is expected within two intervals (config.status_interval_s); or he has said that he
 * leaves, and none is. When none comes: presence_stale(). */
void stale_expect(struct api *a, struct slice cn);
void stale_forget(struct api *a, struct slice cn);
bool stale_expects(const struct api *a, struct slice cn);
/* What is said is heard from now on, so everybody has his time anew; it is not heard any more, so nobody is blamed for it. */
void stale_hear(struct api *a);
void stale_deaf(struct api *a);

#endif
