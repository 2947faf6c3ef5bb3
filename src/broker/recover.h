/* Between recover.c, which takes the records one by one, and recover_finish.c, which puts together what they were. Private to these
 * two. */
#ifndef BROKER_RECOVER_H
#define BROKER_RECOVER_H

#include <pthread.h>
#include "broker/internal.h"

/* Identities to things. */
struct recover_cell {
	uint64_t id;
	void *thing;
};
struct recover_table {
	struct recover_cell *v;
	size_t n, cap; /* cap: 0 or a power of two */
};
void *recover_find(const struct recover_table *t, uint64_t id); /* NULL: it is not there */

/* A message of a session. */
struct loaded {
	struct out out;
	struct entry entry;
	uint8_t state; /* enum record_state */
};
/* A session while it is put together. */
struct loading {
	struct session *session;
	struct loaded *v;
	uint32_t n, cap, shard;
};
struct orphan {
	uint64_t id, ref;
	struct msg_source *source; /* of a retained message, or NULL; the table's reference */
	uint8_t kind;
};
struct orphans {
	struct orphan *v;
	size_t n, cap;
};
bool recover_note(struct orphans *o, const struct orphan *one); /* false: out of memory */

/* What is done for one shard, beside the others: nothing but that shard's own is touched, and messages are counted. */
struct crew {
	struct recovery *recovery;
	struct shard *shard;
	bool (*work)(struct crew *c);
	struct orphans orphans; /* that it rejected */
	uint64_t kept;
	pthread_t thread;
	bool started, failed; /* failed: out of memory */
};

struct recovery {
	struct broker *broker;
	struct record_now now;
	struct recover_table sessions, bodies, sources; /* sessions: 1 + place in .loading; sources: by a hash of their bytes */
	struct loading *loading; /* in the order of the log */
	size_t n_loading, cap_loading;
	struct orphans orphans, retained; /* retained ones wait until all messages are there */
	struct once *once;
	struct broker_recovered *count;
	struct crew *crew; /* one a shard */
	bool late; /* sessions, messages and retained messages are all there */
	bool nomem;
};

/* All messages are there: retained ones become so, while the caller goes on with what belongs to sessions. False: out of memory. */
bool recover_retained_begin(struct recovery *r);
bool recover_retained_end(struct recovery *r);
/* Everything of all sessions is there. <ok>: else it is only released. */
bool recover_sessions(struct recovery *r, bool ok);

#endif
