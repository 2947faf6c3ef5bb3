/* SIGUSR2: what there is at the moment, for people who read logs. Topics and client ids are not among it. */
#include "server/internal.h"

#include <inttypes.h>

#define NOW(stats, field) atomic_load_explicit(&(stats)->field, memory_order_relaxed)

void
state_log(const struct server *s)
{
	uint64_t connected = 0, sessions = 0;

	for (unsigned i = 0; i < s->n_workers; i++) {
		const struct shard_stats *t = shard_stats(s->workers[i].shard);

		connected += NOW(t, connected);
		sessions += NOW(t, sessions);
		log_notice("State of worker %u: %" PRIu64 " connected, %" PRIu64 " sessions, %" PRIu64 " subscriptions (%" PRIu64
			   " shared), %" PRIu64 " retained, %" PRIu64 " queued, %" PRIu64 " dropped.",
		    i, NOW(t, connected), NOW(t, sessions), NOW(t, subscriptions), NOW(t, shared), NOW(t, retained),
		    NOW(t, queued), NOW(t, dropped));
	}
	log_notice("State: %" PRIu64 " connected, %" PRIu64 " sessions, %u listeners, %u workers; up since %" PRId64 ".", connected,
	    sessions, s->n_listeners, s->n_workers, s->started);
}
