/* QoS 2 exactly once when a message goes to sessions of several shards and the broker is killed in between. Private to broker/.
 *
 * The disk has the turns of all shards in the order in which they were handed over, up to some moment. So after a crash the packet
 * id may be there (INBOUND) and what another shard was to write may not: the publisher, who got no PUBREC, sends it again, and
 * exactly those who lack it must get it. Therefore each shard that writes something for such an exchange writes a PART with it, a
 * share group's member one with the group's name, and INBOUND says that it is in doubt. When all is durable the doubt is taken
 * back, and then the parts go. An exchange is named by the identity of its INBOUND. What is carried on after a crash may be cut off
 * by another one: its parts say how sessions are spread in this life, and the publisher's shard writes one, too.
 *
 * The same for what one shard lets go of and another one is to write: a HANDOVER names the message, and is what INBOUND is above. The
 * next start, not a publisher, sends it again. */
#ifndef BROKER_ONCE_H
#define BROKER_ONCE_H

#include "base/slice.h"

struct broker;
struct left_over;
struct mail;
struct msg;
struct record_handover;
struct record_inbound;
struct record_part;
struct session;
struct shard;

/* What was found in doubt at the start; nobody changes it later but for .over, which belongs to the publisher's shard. */
struct doubt {
	uint64_t exchange, key[2];
	uint16_t shards; /* how many there were then, and how sessions were spread over them */
	bool over;
	size_t first, n; /* parts */
};
struct once_part {
	uint64_t exchange, who, record, key[2];
	uint16_t shards;
	bool is_group, has_key;
};
struct once {
	struct doubt *doubts;    /* by exchange */
	struct once_part *parts; /* by exchange */
	size_t n_doubts, cap_doubts, n_parts, cap_parts;
	uint64_t max; /* no exchange above it was found */
	struct left_over *left; /* handover.c: what was on its way */
	size_t n_left;
};

/* Of one shard: exchanges of its publishers that are not durable everywhere, and parts that it has written for those of others. */
struct once_shard {
	struct open_exchange *open;
	struct once_mine *mine;
	size_t n_open, cap_open, n_mine, cap_mine;
	bool spread; /* something went to another shard, or a part was written, since once_begin() or handover_begin() */
	uint64_t whole; /* of this one nothing is left in doubt that this turn writes here; or 0 */
};

/* A letter about a group on its way: of which exchange it is (0: none), and which shard wants to hear of its parts. */
struct errand {
	uint64_t exchange;
	unsigned from;
};

/* What is handed over, and what it is called in the store on this shard: the message, its body, and the group that is to have it, or
 * an empty name. */
struct handover {
	struct msg *msg;
	uint64_t body;
	struct slice group;
};

/* ---- recovery; false: out of memory ---- */

bool once_add_doubt(struct once *o, uint64_t exchange, const uint64_t key[static 2], uint16_t shards);
bool handover_load(struct once *o, uint64_t id, const struct record_handover *r, struct msg *m);
/* All is loaded, and groups are complete: what was on its way goes on. */
void handovers_go_on(struct broker *b);
void handovers_done(struct once *o);
bool once_add_part(struct once *o, uint64_t record, const struct record_part *r);
void once_loaded(struct broker *b); /* parts that nobody asks for are taken out */
void once_done(struct once *o);
void once_shard_done(struct once_shard *o);

/* ---- the publisher's shard ---- */

/* The exchange that <packet_id> began before the broker was killed, if it must be carried on and has not been yet; else 0. */
uint64_t once_again(const struct session *s, uint16_t packet_id);
/* Around publish_message() of a QoS 2 message whose packet id counts as received. False: out of memory. */
void once_begin(struct session *s, uint16_t packet_id, struct msg *m);
bool once_end(struct session *s, uint16_t packet_id, const struct msg *m);
/* Around what takes a message from this shard to others, in the turn that lets go of it. begin: 0 if nothing has to be remembered. */
uint64_t handover_begin(struct shard *sh, const struct handover *h);
void handover_end(struct shard *sh, uint64_t id);
/* For handover.c: what stands for HANDOVER <id> goes when this turn is durable everywhere; what <m> had to add here stands in a part.
 * False: out of memory. */
bool once_open(struct shard *sh, uint64_t id);
bool once_own_part(struct shard *sh, const struct msg *m);
void once_over(struct shard *sh, uint64_t id); /* it goes in this turn */
/* j->durable has grown. */
void once_durable(struct shard *sh);

/* ---- any shard ---- */

const struct doubt *once_doubt(const struct broker *b, uint64_t exchange); /* NULL: it is in none */
bool once_has_session(const struct broker *b, const struct doubt *d, const struct msg *m, struct slice session_id);
bool once_has_group(const struct broker *b, const struct msg *m, struct slice full);
/* <m> was delivered to the sessions of this shard, or something to a member of a group; <mark>: journal.marks before that. */
void once_here(struct shard *sh, const struct msg *m, uint64_t mark);
void once_group(struct shard *sh, const struct errand *e, struct slice full, uint64_t mark);
/* Of a message that is published now. */
struct errand once_errand(const struct shard *sh, const struct msg *m);

#endif
