/* What is kept for a client id: private to broker/. */
#ifndef BROKER_SESSION_H
#define BROKER_SESSION_H

#include <stddef.h>
#include "authz/authz.h"
#include "base/wheel.h"
#include "broker/idset.h"
#include "broker/journal.h"
#include "broker/ring.h"
#include "topic/topic.h"

struct cert_group;
struct client;
struct drop_note;
struct shared_sub;

enum { SESSION_HOT = 128 /* bytes that a message in its queue looks at */ };

struct will {
	struct msg *msg;
	uint32_t delay_s;
	uint32_t expiry_s; /* counts from the moment it is published [MQTT-3.1.3.2.4] */
	bool has_expiry;
};

/* A subscription as its session sees it. */
struct sub {
	struct trie_node *node; /* NULL: a shared one, kept at the group's home */
	struct shared_sub *shared;
	uint64_t record; /* journal.c; 0: none */
};

struct session {
	/* What a message looks at that has to wait for a client who is away: two cache lines (SESSION_HOT), for many sessions get one message. */
	struct shard *shard;
	struct client *client;       /* NULL while nobody is connected */
	struct authz_principal *who; /* whose it is; judges what is queued */
	struct journal *journal; /* NULL: it ends with its connection, or there is no store */
	struct ring pending;  /* QoS > 0 (and 0 on wish) that waits for the window or for the client */
	uint32_t match_seq, match_index; /* where route.c has put it in the present match */
	size_t pending_bytes;
	uint16_t listener, queue_tag; /* queue_tag: the policies under which .pending was judged */
	uint16_t id_n;
	bool judge_all;       /* subscriptions were granted to another identity or listener: each delivery is judged */
	bool homeless;        /* its listener is not there any more: until its client comes to another, what it would get waits unjudged, and nobody else asks */
	bool unclaimed;       /* imported: whoever connects first with the user name of .who, or with any if there is none, is its owner */
	bool unindexed;       /* has a certificate, and there was no memory to list it */
	uint32_t slot, generation;
	struct ring inflight; /* QoS > 0, sent at least once, in packet id order without gaps; entry kinds: enum flight */
	uint16_t next_packet_id, live; /* live: entries of inflight that still wait */
	uint16_t unsent, resend_id;    /* live ones that were not sent again yet since the client came back; where to look */
	size_t inflight_bytes;  /* payloads in .inflight that were not received yet */
	struct sub *subs;
	struct will *will;
	struct drop_note *drops; /* NULL: it has lost nothing lately */
	struct timer timer;   /* offline: will delay or session expiry, on the session wheel */
	uint64_t offline_ms;  /* since when */
	uint64_t share_slots; /* numbers of shared subscriptions that queued messages may bear; bit 0: is not one */
	struct idset received; /* QoS 2 packet ids received and not released */
	uint32_t expiry_s;    /* session expiry interval; 0 ends with the connection, UINT32_MAX never */
	uint32_t n_dropped;   /* messages, since the session began */
	uint32_t n_subs, cap_subs, n_shared, sub_bytes;
	uint32_t sub_cursor; /* where the last one was found that was asked for again */
	uint32_t cert_hash, cert_next, cert_prev, group_next, group_prev; /* certs.c: in its lists, by 1 + slot */
	struct cert_group *group; /* certs.c; NULL: stands in no list */
	char id[];
};
_Static_assert(offsetof(struct session, slot) <= SESSION_HOT, "the hot part comes first");

#endif
