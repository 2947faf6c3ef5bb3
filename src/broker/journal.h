/* What the broker promised, written to the durable store: sessions, subscriptions, queued and in-flight messages, retained
 * ones, wills. Private to broker/. Without a store (settings.store is NULL) every function here does nothing and costs a
 * comparison; a session without an expiry has no journal either.
 *
 * An answer that makes a promise is held back until the store says that what it promises is on the disk (gate.c). */
#ifndef BROKER_JOURNAL_H
#define BROKER_JOURNAL_H

#include "base/slice.h"
#include "broker/once.h"
#include "broker/ring.h"
#include "store/store.h"

struct client;
struct gates;
struct mqtt_sub;
struct session;
struct shard;
struct sub;

/* The records of one message to a session; .id 0: it has none. */
struct entry {
	uint64_t id, body;
};
/* In the order of a ring of messages. */
struct entries {
	struct entry *v;
	uint32_t head, count, cap;
};

/* A QoS 2 packet id that was received and not released. */
struct inbound {
	uint64_t id, seq; /* seq: of the turn that makes it true; 0: one of another life */
	uint16_t packet_id;
	bool in_doubt; /* once.c */
};

/* Of one session. */
struct journal {
	uint64_t id, will;
	uint64_t seq; /* of the turn in which the session, or a subscription, was put */
	struct entries pending, inflight; /* side by side with the session's rings */
	struct inbound *inbound;
	uint32_t n_inbound, cap_inbound;
	bool stale; /* who is connected, or the will, is to be written when the store can be */
};

/* Of one shard. */
struct journal_shard {
	struct store_writer *writer; /* NULL: there is no store */
	uint64_t marks;    /* counts what somebody has to wait for */
	struct msg *now;   /* being delivered; a reference is held by the caller */
	uint64_t body;     /* its record, or 0 */
	struct gates *gated;
	struct once_shard once;
	uint64_t durable;  /* as the last turn knew it */
	bool behind, refuses; /* the store does not keep up; it takes nothing new */
	bool failing;      /* it cannot be written at all: refuses, too */
	_Atomic uint32_t kept; /* sessions with a journal: others look whether it is 0 */
	_Atomic uint32_t members; /* of share groups whose home this is; likewise */
};

/* ---- sessions ---- */

/* Write down who the session's owner is, when it ends and since when he is away; begins its journal if it is to outlive its
 * connection. False: out of memory; a session that had no journal has none. While the store fails, what is kept already is
 * written later. */
bool journal_session(struct session *s);
/* It ends: everything of it is forgotten. */
void journal_end(struct session *s);
/* .will was set or has gone; likewise. False: out of memory. */
bool journal_will(struct session *s);
/* Is on the disk what was written of the session and its subscriptions? */
bool journal_is_durable(const struct session *s);
/* The store can be written again. */
void journal_catch_up(struct session *s);
/* False: out of memory; the subscription must not be promised. */
bool journal_subscribed(struct session *s, struct sub *sub, const struct mqtt_sub *how, uint32_t id);
void journal_unsubscribed(struct session *s, struct sub *sub);

/* ---- messages to a session; the rings are the session's own ---- */

/* Before <o> is put behind .pending, and when that failed. False: out of memory. */
bool journal_queued(struct session *s, const struct out *o);
void journal_not_queued(struct session *s);
/* It is going to be called: what it writes to, into the cache. */
static inline __attribute__((always_inline)) void
journal_prefetch(const struct journal *x)
{
	const struct entries *r = &x->pending;

	if (r->count < r->cap)
		__builtin_prefetch(&r->v[(r->head + r->count) & (r->cap - 1)], 1);
}
/* The first of .pending was taken out; what becomes of it is said with what is returned. */
struct entry journal_dequeued(struct session *s);
void journal_dropped(struct session *s, struct entry e);
/* Where the store has message <i> of .inflight or of .pending, which may have been taken out of the ring; 0: it does not. */
uint64_t journal_body(const struct session *s, bool inflight, uint32_t i);
/* Between journal_begin() and _finish(): where it has, or from this turn on will have, <m> on this shard. 0: out of memory. */
uint64_t journal_body_of(struct shard *sh, const struct msg *m);
/* <o>, which has its packet id now, is put behind .inflight; <e> from journal_dequeued(), or zeros. False: out of memory. */
bool journal_launched(struct session *s, const struct out *o, struct entry e);
/* Entry <i> of .inflight: it is done; PUBREC came; the first <n> are taken out. */
void journal_done(struct session *s, uint32_t i);
bool journal_released(struct session *s, uint32_t i, const struct out *o);
void journal_shift(struct session *s, uint32_t n);

/* ---- messages from a session ---- */

bool journal_received(struct session *s, uint16_t packet_id); /* QoS 2; false: out of memory */
struct inbound *journal_inbound(const struct session *s, uint16_t packet_id); /* NULL: none */
/* Its message went to <shards> shards; 0: and all have it. False: out of memory. */
bool journal_spread(struct session *s, const struct inbound *in, uint16_t shards);
void journal_freed(struct session *s, uint16_t packet_id);

/* ---- messages ---- */

/* Between these, however many get <m>, it is written once. They nest for the same message. */
bool journal_begin(struct shard *sh, struct msg *m);
void journal_finish(struct shard *sh, bool begun);
/* <m> takes the place of <old> (or NULL) as its topic's retained message; an empty payload: there is none any more. False:
 * out of memory. */
bool journal_retained(struct shard *sh, struct msg *m, struct msg *old);
/* <m> was retained and has expired (a retain_on_expiry() of a shard). */
void journal_unretained(void *shard, struct msg *m);

/* ---- recover.c: what was read is as if it had been written; false: out of memory ---- */

bool journal_adopt(struct session *s, uint64_t id); /* begins the journal */
bool journal_adopt_entry(struct session *s, bool inflight, struct entry e);
bool journal_adopt_inbound(struct session *s, struct inbound in);

/* ---- gate.c ---- */

static inline bool
journal_on(const struct journal_shard *j)
{
	return j->writer != NULL;
}
/* Has anything been written since <mark> was j->marks? Then what <c> is sent from now on waits for it. False: out of memory. */
bool gate_since(struct client *c, uint64_t mark); /* ends it then */
bool gate_try(struct client *c, uint64_t mark);
/* The same for what was written in turn <seq>. */
bool gate_turn(struct client *c, uint64_t seq);
/* How many of the first packets of .out may go. */
uint32_t gate_open(const struct client *c);
void gate_forget(struct client *c);
/* At the beginning of a turn: what became durable may go. */
void gates_turn(struct shard *sh);

/* Does the store take nothing new, and would a message need it? */
bool journal_refuses(const struct shard *sh, bool retain);

#endif
