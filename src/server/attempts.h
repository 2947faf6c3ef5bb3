/* How often somebody may give a wrong password or secret. Private to server/. */
#ifndef SERVER_ATTEMPTS_H
#define SERVER_ATTEMPTS_H

#include "base/slice.h"

struct buckets;
enum { ATTEMPTS_USER, ATTEMPTS_ADDRESS, ATTEMPTS_RULES };
enum attempts_of { ATTEMPTS_DEVICE, ATTEMPTS_PERSON };
struct attempts_key {
	uint64_t of[ATTEMPTS_RULES];
	enum attempts_of rules;
};
/* <peer>: as net_addr_text() writes it. */
void attempts_key(struct attempts_key *ret, enum attempts_of of, const char *peer, struct slice user);
/* May this user try again from there? Any thread. */
bool attempts_may(struct buckets *t, const struct attempts_key *k, uint64_t now_ms);
bool attempts_take(struct buckets *t, const struct attempts_key *k, uint64_t now_ms); /* it counts, unless there are too many */
void attempts_spare(struct buckets *t, const struct attempts_key *k);                 /* it was none that costs */
void attempts_failed(struct buckets *t, const struct attempts_key *k, uint64_t now_ms);

#endif
