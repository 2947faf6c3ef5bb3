/* Shared inside broker/ only: the structures of one shard and who does what with them. */
#ifndef BROKER_INTERNAL_H
#define BROKER_INTERNAL_H

#include <stdatomic.h>
#include "base/assert.h"
#include "base/inbox.h"
#include "base/map.h"
#include "base/num.h"
#include "base/wheel.h"
#include "broker/broker.h"
#include "broker/idset.h"
#include "broker/journal.h"
#include "broker/keep.h"
#include "broker/request.h"
#include "broker/record.h"
#include "broker/ring.h"
#include "broker/session.h"
#include "msg/msg.h"
#include "topic/topic.h"

enum {
	MOUNTED_MAX = UINT16_MAX,        /* bytes of a topic or filter behind its mount point */
	CONNECT_PACKET_MAX = 512 * 1024, /* before anybody is known: id, will, user name and password at their largest */
	AUTH_PACKET_MAX = 16 * 1024,     /* likewise, during the exchange that a CONNECT has begun */
	JUDGE_TIMEOUT_MS = 60000,        /* for a verdict on a login; when many come at once, it is not the client that is slow */
	LEND_BYTES_MAX = 64 * 1024,      /* one pull lends about this much */
	LEND_PACKETS_MAX = 64,
	OUT_PACKETS_HIGH = 8192,         /* unsent packets at which a peer that does not read is no longer read from */
	OUT_PACKETS_LOW = 1024,
	TOLD_MAX = 256 * 1024,           /* unsent bytes above which shard_tell() waits */
	SUBSCRIPTIONS_MAX = 65536,       /* of one session; also filters in one packet */
	SUBSCRIPTION_BYTES_MAX = 16 * 1024 * 1024, /* filters of one session in all */
	SHARED_MAX = 8192,               /* shared ones among them: a letter for each when the client comes or goes */
	BACKLOG_FULL = 64 * 1024 * 1024, /* bytes of letters to one shard above which QoS 0 is dropped */
	BACKLOG_HIGH = 32 * 1024 * 1024, /* publishers of QoS > 0 are not read from */
	BACKLOG_LOW = 16 * 1024 * 1024,  /* until it is below this again */
	THROTTLED_MS = 5,                /* how often that is looked at */
	SCAN_BATCH = 128,                /* retained messages sent before the receiver must ask for more */
	SCAN_VISITS = 256,               /* nodes looked at before it is another scan's turn */
	SCANS_A_TURN = 8,
	SCAN_COUNTED = 16,               /* messages a scan sends in its turn where their bytes count */
	SWEEP_VISITS = 16,               /* retained topics looked at for expiry in one turn */
	ROUTE_SLOTS = 1024,              /* remembered routes, a power of two */
	ROUTE_HITS_MAX = 256,            /* a route to more sessions is remembered as long as such ones have */
	ROUTE_HITS_LARGE = 65536,        /* no more hits than this in all */
	ROUTE_LARGE_PATIENCE = 16,       /* messages to one that finds no room, until those that have it lose it */
	SPREAD_FIRST = 64,               /* hits here above which other shards are told of a message before they get it */
	LEND_REFS_MIN = 16,              /* hits above which references are counted at once */
	OUTBOXES = 2,                    /* for each receiver */
	INTEREST_SLOTS = 4096,
	INTEREST_DEPTH = 3,              /* topic levels that the interest map looks at */
};

enum trie_kind { SUB_SESSION, SUB_GROUP };

/* Names a session from another shard; may be stale, then session_of() says so. */
struct handle {
	uint32_t slot, generation;
};

/* JUDGING: its CONNECT is still the transport's, which offers it again when the verdict is there. EXCHANGING: its CONNECT is kept
 * by exchange.c, and AUTH goes to and fro. */
enum client_state { CLIENT_NEW, CLIENT_MOVING, CLIENT_JUDGING, CLIENT_EXCHANGING, CLIENT_OPEN, CLIENT_CLOSING };

struct pace;

/* Why a client is not read from. */
enum held {
	HELD_OUTPUT = 1,  /* it does not read either */
	HELD_BACKLOG = 2, /* another shard cannot keep up with what it publishes */
	HELD_REQUEST = 16, /* what it asked the broker for is being done */
	HELD_RATE = 4,    /* it has published as much as it may for now */
	HELD_MEMORY = 8,  /* memory is short */
};

struct client {
	struct shard *shard;
	struct session *session;
	struct authz_principal *who;
	struct waker waker;
	struct client *next, **prev; /* all of the shard */
	struct client *next_throttled;
	struct ring out;
	struct timer timer; /* CONNECT deadline, keep alive, certificate expiry; on the client wheel */
	struct request *request; /* HELD_REQUEST: what is being done */
	struct login *login; /* JUDGING: pending; NEW: the verdict on the CONNECT that comes again; or NULL */
	struct pace *pace;   /* NULL: no rates */
	struct auth *auth;   /* of a CONNECT with an authentication method, or NULL */
	char *came_by;       /* as the transport knows him, or NULL */
	struct alias_in *alias_in;
	struct stamp *stamp; /* what its messages are stamped with; NULL: not yet */
	struct msg_source *source; /* of what it has published retained, see source.c; NULL: nothing yet */
	struct alias_out *alias_out;
	struct scan_wait *scan_waits; /* retained scans that wait for room in the queues */
	uint32_t scan_active, scan_home; /* the one that was let go on; 0 = none */
	struct gates *gates; /* in .out; NULL: all may go */
	uint64_t out_base;   /* packets that have left .out */
	uint64_t last_rx_ms, begun_ms;
	uint64_t bytes_in, bytes_out, messages_in, messages_out; /* of this connection: whole packets, PUBLISH */
	uint64_t identity;       /* as crowd.c counts it; 0: it does not */
	size_t out_bytes;        /* of .out: messages and blocks */
	uint32_t max_packet_out; /* the client's Maximum Packet Size; 0 = none */
	uint32_t listener;
	uint16_t keep_alive, window, alias_max_in, alias_max_out, lent;
	uint16_t mount_n; /* bytes of the mount point, taken off each topic that goes out */
	uint8_t version, state, role; /* role: as it was counted */
	uint8_t max_qos;   /* as it was told */
	uint8_t held;      /* enum held */
	bool dropping;     /* output is over its bound */
	bool starved;      /* there was no memory for something promised: the next pull ends it */
	bool is_bridge;    /* 3.1 and 3.1.1 with the mark: subscriptions are as a bridge needs them */
	bool problem_info; /* reason strings and user properties are welcome (3.1.2.11.7) */
	bool explain_acks; /* and were asked for: acknowledgements have them too */
	bool resumed;      /* the session is older than the connection */
	bool vouched;      /* somebody has vouched for its certificate */
	char peer[];
};

/* One match of a message with a session of this shard, or with a share group that lives here. */
struct hit {
	union {
		struct session *session;
		struct group *group;
	};
	uint32_t id;   /* subscription identifier */
	uint32_t more; /* 1 + index of further identifiers in shard->more, 0 = none */
	uint16_t extra;
	uint8_t qos;
	uint8_t share; /* the number of the shared subscription at its session */
	bool is_group, no_local, as_published;
};
struct more_id {
	uint32_t id, next;
};

struct slot {
	struct session *session;
	uint32_t generation, next_free;
};

/* certs.c: sessions by the certificate of their owner. */
struct certs {
	struct map groups;  /* by issuer and what is above it */
	uint32_t *buckets;  /* by issuer and serial number: 1 + slot of the first */
	uint32_t mask, n;
	uint32_t unindexed; /* sessions for which there was no memory */
	uint32_t cursor;    /* of the review under way: 1 + slot of the next one in its list */
	bool by_group;      /* in that of a group, else in that of a bucket */
	struct review *reviews, **last_review;
	struct inbox inbox;
};

struct shard {
	struct broker *broker;
	unsigned index;
	bool closing;    /* being freed: letters go nowhere */
	bool stopping;   /* everybody is being sent away: nobody takes over what others leave */
	bool after_turn; /* nothing flushes the outboxes before the next turn unless it is asked for */
	uint64_t now_ms, sweep_ms;
	uint32_t now_s;
	const struct keep_ops *keep_ops; /* sessions by name, retained messages: embedded today */
	void *keep;
	struct trie *subs;
	struct wheel *clients_wheel, *sessions_wheel, *paces_wheel; /* paces_wheel: NULL until there is a rate */
	struct client *clients, *throttled;
	struct slot *slots;
	uint32_t n_slots, cap_slots, free_slot; /* free_slot: 1 + index, 0 = none */
	struct listener_table *listeners;
	uint16_t policy_tag; /* marks subscriptions whose deliveries need no look under the present policies */
	/* route.c */
	struct hit *hits;
	struct more_id *more;
	struct route *routes;
	uint32_t n_hits, cap_hits, n_more, cap_more, match_seq;
	uint32_t large_hits; /* of routes with more than ROUTE_HITS_MAX */
	uint32_t large_refused; /* since there was room for one */
	uint64_t large_swept; /* the tree for which old ones were looked for */
	struct lent_refs {
		struct msg *msg;
		uint32_t n;
	} lent; /* references that are counted and not taken */
	bool match_failed;
	/* share.c: the sessions' shared subscriptions; those of which their home has not heard yet */
	struct map shared_subs;
	struct shared_sub *untold;
	/* group.c, retained.c */
	struct map groups, groups_by_id;
	uint32_t next_group_id;
	struct scan *scans, *last_scan; /* those that can go on, in turn */
	struct map scans_by_id;
	struct scan_wait *scan_stops; /* scans that nobody waits for, and whose homes do not know it yet */
	bool scans_retry; /* something about scans could not be posted for lack of memory */
	uint32_t next_scan_id;
	struct flaps *flaps; /* crowd.c; NULL without flap_connects */
	/* shed.c */
	uint8_t shed; /* enum broker_shed, and an allowance used up */
	uint32_t shed_seq;
	uint64_t shed_mark, shed_since_ms; /* bytes_in at the last measurement; since when at PUBLISHERS, 0 = not */
	/* drops.c */
	struct drop_note *drop_notes;
	uint64_t drops_ms, drop_lines_ms;
	uint32_t drop_lines, drops_untold;
	/* mail.c */
	struct batch **outboxes; /* for each shard, or NULL: those that go first, then the others (mail.c) */
	bool outbox_dirty, outbox_large;
	const struct batch *carried; /* letters that are being carried out; or NULL */
	uint64_t carried_seq;
	uint32_t flushes;
	struct inbox inbox, verdicts, orders;
	struct certs certs;
	struct journal_shard journal;
	_Atomic size_t backlog; /* bytes of letters on their way to this shard; any thread */
	uint8_t *mounted; /* mount.c: MOUNTED_MAX bytes to put a topic together */
	uint8_t scratch[LEND_PACKETS_MAX * MSG_SCRATCH];
	struct shard_stats stats;
};

struct interest {
	_Atomic uint32_t count;
};

/* The buckets that all clients of a listener share; see pace.c. */
struct listener_pace {
	_Atomic uint64_t at[BROKER_RATES];
};

struct listener_table {
	_Atomic uint32_t refs;
	uint32_t generation;
	unsigned n;
	struct broker_listener v[];
};

struct broker {
	struct broker_settings settings;
	struct broker_ports ports;
	unsigned n_shards;
	struct shard **shards;
	_Atomic uint32_t generation;  /* of the newest listener table */
	_Atomic bool listeners_lock;
	struct listener_table *newest; /* under listeners_lock */
	struct interest *interest;     /* n_shards x INTEREST_SLOTS */
	struct listener_pace *paces;   /* one a listener */
	struct crowd *crowd;
	struct once once;
	struct map notes; /* notes.c: the first shard's */
	struct shed {
		_Atomic uint32_t seq; /* measurements; 0: there is no limit */
		_Atomic uint8_t level;
		_Atomic bool stopped; /* a shard, by its allowance */
		_Atomic uint64_t allowance;
	} shed;
	_Atomic uint32_t n_clients;    /* sessions of all shards, counted only with max_clients */
};

static inline const struct broker_settings *
settings_of(const struct shard *sh)
{
	return &sh->broker->settings;
}
static inline const struct broker_listener *
listener_of(const struct shard *sh, unsigned listener)
{
	return &sh->listeners->v[listener];
}
static inline uint8_t
max_qos_of(const struct shard *sh, unsigned listener)
{
	const struct broker_listener *l = listener_of(sh, listener);

	return l->own_max_qos ? l->max_qos : settings_of(sh)->max_qos;
}
static inline int64_t
broker_wall(const struct shard *sh)
{
	return sh->broker->ports.wall(sh->broker->ports.ctx);
}
static inline struct slice
session_id(const struct session *s)
{
	return slice_of(s->id, s->id_n);
}
#define stat_add(sh, field, n) \
	atomic_store_explicit(&(sh)->stats.field, \
	    atomic_load_explicit(&(sh)->stats.field, memory_order_relaxed) + (uint64_t)(n), memory_order_relaxed)
#define stat_sub(sh, field, n) \
	atomic_store_explicit(&(sh)->stats.field, \
	    atomic_load_explicit(&(sh)->stats.field, memory_order_relaxed) - (uint64_t)(n), memory_order_relaxed)

/* ---- client.c: one connection ---- */

/* Tell the peer (v5: DISCONNECT with <reason>), leave the session (its will is published unless <clean>) and close when
 * the output is out. <text> is static. Harmless when the client is closing already. */
void client_end(struct client *c, uint8_t reason, const char *text, bool clean);
/* client_end() of somebody who may not be here any more: <why>, which need not be static, is told to him as well. */
void client_expel(struct client *c, uint8_t reason, const char *why);
/* client_end() for what the peer did wrong; returns false for handlers. */
bool client_fail(struct client *c, uint8_t reason, const char *text);
/* (Re)arm the timer from keep alive and certificate expiry. */
void client_arm(struct client *c);
void client_report(struct client *c, struct broker_event *e); /* fills in who and where, then calls the port */
void client_timer(void *shard, struct timer *t);
/* From within feed(): go on at <shard>, where the same bytes come again. */
void client_leave(struct client *c, unsigned shard);
/* publish.c: is it the broker's own topic, and not the state of this client as a bridge? */
bool is_reserved(const struct broker_listener *l, struct slice client_id, struct slice topic);
/* publish.c: is what is published there for the broker itself? */
bool is_request(struct slice topic);
/* publish.c: UTF-8 as a payload may have it, that is with U+0000, which strings may not (5.0, 3.3.2.3.2). */
bool utf8_payload_ok(struct slice payload);
/* publish.c: a packet id of QoS 2 counts as received, also after a restart. False: out of memory. */
bool publish_receive(struct session *s, uint16_t packet_id);
/* publish.c: forget the topic aliases that the client has set. */
void alias_in_clear(struct client *c);

/* Handlers: true to go on, false when the client was ended. */
typedef bool handler(struct client *c, const struct mqtt_frame *f);
handler on_connect, on_publish, on_puback, on_pubrec, on_pubrel, on_pubcomp, on_subscribe, on_unsubscribe, on_disconnect, on_auth;

/* ---- outq.c: packets waiting for one connection ---- */

bool out_packet(struct client *c, const void *p, size_t n);       /* a whole packet, copied */
bool out_ack(struct client *c, uint8_t type, uint16_t packet_id, uint8_t reason, const char *text);
/* Is it small enough for the client's Maximum Packet Size? Never sent is the same as sent, for the sender [MQTT-3.1.2-25]. */
bool out_fits(const struct client *c, const struct out *o);
/* <o> with its reference is taken in any case; false: dropped. */
bool out_publish(struct client *c, const struct out *o);
int out_pull(struct client *c, struct iovec *iov, int max);
void out_sent(struct client *c);
void out_clear(struct client *c);

/* ---- trace.c: with settings.trace ---- */

void trace_in(struct client *c, const struct mqtt_frame *f); /* before it is carried out */
void trace_out(struct client *c, const struct out *o);       /* while it is lent */

/* ---- session.c ---- */

struct session *session_find(struct shard *sh, struct slice id);
struct session *session_of(struct shard *sh, struct handle h); /* NULL: gone */
/* Before session_new(): is there room below max_clients? <must>: it is made in any case. session_free() counts it out, and
 * who counted one that is not made. */
bool session_count_in(struct broker *b, bool must);
void session_count_out(struct broker *b);
struct session *session_new(struct shard *sh, struct slice id);
/* Remove subscriptions, queues, will (unpublished) and the session itself. */
void session_free(struct session *s);
static inline struct handle
session_handle(const struct session *s)
{
	return (struct handle){ s->slot, s->generation };
}
/* The same, but its will is published. */
void session_end(struct session *s);
void session_attach(struct session *s, struct client *c);
/* The connection is gone: publish or delay the will, keep or end the session. */
void session_detach(struct session *s, bool clean);
/* It was read from the store, with all that belongs to it. */
void session_recovered(struct session *s);
void session_timer(void *shard, struct timer *t);
/* Offer a message under a subscription; no_local and rights are judged here. */
void session_offer(struct session *s, struct msg *m, const struct hit *h);
/* The same for a retained message that answers a subscription. */
void session_offer_retained(struct session *s, struct msg *m, const struct hit *h);

/* ---- inflight.c: QoS 1 and 2 outwards ---- */

enum { FLIGHT_SPAN_MAX = 65000 }; /* packet ids between the oldest in flight and the newest: ids never meet themselves */
static inline uint16_t
packet_id_after(uint16_t id)
{
	return id == UINT16_MAX ? 1 : (uint16_t)(id + 1);
}
enum flight { FLIGHT_DEAD, FLIGHT_PUBACK, FLIGHT_PUBREC, FLIGHT_PUBCOMP };
enum { OUT_ANSWER = 1 }; /* .flight of a retained QoS 0 message that answers a subscription: its scan minds the room */
/* Queue <o> (QoS > 0, or 0 for offline clients) for the session; takes the reference. */
void flight_offer(struct session *s, struct out o);
/* Resend what was in flight, then fill the window [MQTT-4.4.0-1]. */
void flight_resume(struct session *s);
void flight_fill(struct session *s);
/* The store can be written again: what waited for that goes on. The client may be ended. */
void flight_go_on(struct session *s);
void flight_clear(struct session *s);
struct out *flight_find(struct session *s, uint16_t packet_id); /* NULL: not in flight */
void flight_done(struct session *s, struct out *o);
/* PUBREC came: the message may be forgotten, the id not yet. */
bool flight_received(struct session *s, struct out *o); /* false: out of memory, nothing changed */

/* ---- login.c: CONNECTs that wait for a verdict from elsewhere ---- */

/* Ask who it is, or take the verdict that has come. BROKER_LOGIN_PENDING: the client is JUDGING now. Else an MQTT reason with
 * *ret_who (a reference, NULL unless OK) and <why>. */
uint8_t login_judge(struct client *c, const struct mqtt_connect *m, struct authz_principal **ret_who, char why[static BROKER_WHY_MAX]);
/* The same of his certificate, if it takes somebody to vouch for it; comes before. */
uint8_t login_vouch(struct client *c, const struct mqtt_connect *m, char why[static BROKER_WHY_MAX]);
/* The client goes; its verdict will not be needed. */
void login_forget(struct client *c);
void logins_take(struct shard *sh); /* verdicts that have arrived */
void logins_done(struct shard *sh);

/* ---- certs.c: sessions by certificate ---- */

void certs_init(struct certs *x);
void certs_done(struct shard *sh);
void certs_add(struct session *s); /* .who was set */
void certs_del(struct session *s); /* .who will change, or the session end */
bool reviews_turn(struct shard *sh); /* true: there is more to do at once */
/* The owner of a session has no right to be here any more: as his listener's withdrawn_… say. <purge>: it ends in any case. True: that made
 * a difference. */
bool session_withdraw(struct session *s, uint8_t reason, const char *why, bool purge);

/* ---- will.c ---- */

struct will_of {
	struct slice topic, id;
	struct authz_principal *who;
};

/* Build from a CONNECT that has one; as a PUBLISH of it: <topic> is the will's behind its mount point, <id> is the session's, <who> its owner.
 * An MQTT reason. */
uint8_t will_new(const struct shard *sh, const struct mqtt_connect *m, const struct will_of *of, struct will **ret);
void will_publish(struct session *s); /* and forget it */
void will_free(struct will *w);

/* ---- mount.c ---- */

/* Put the mount point of the client's listener in front of *topic or *filter ("$share/NAME/" stays in front of it), if it has
 * one. The result is borrowed until the next call. False: too long or too deep, or no filter any more. */
bool mount_name(const struct client *c, struct slice *topic);
bool mount_filter(const struct client *c, struct slice *filter);
/* The same for whoever is on <listener>. */
bool mount_name_of(const struct shard *sh, unsigned listener, struct slice *topic);
bool mount_filter_of(const struct shard *sh, unsigned listener, struct slice *filter);
/* Is <topic> below the mount point of the session's listener? Only what was subscribed to on another listener may not be. */
bool mount_sees(const struct session *s, struct slice topic);

/* ---- route.c ---- */

enum routed {
	ROUTED_NOBODY,
	ROUTED,       /* somebody may have got it */
	ROUTED_NOMEM, /* QoS > 0: nobody has got it, and it must not be acknowledged */
};
/* Deliver to everybody on this shard, and hand to the other shards if <spread>. */
enum routed route_message(struct shard *sh, struct msg *m, bool spread);
/* To <s> of this shard alone, as far as it has subscribed. */
void route_to_one(struct shard *sh, struct msg *m, struct session *s);
void route_done(struct shard *sh); /* frees what route.c keeps */
/* Publish as a client would: retained store and routing. */
enum routed publish_message(struct shard *sh, struct msg *m);

/* ---- interest.c: which shards may care for a topic ---- */

void interest_add(struct broker *b, unsigned shard, struct slice filter);
void interest_del(struct broker *b, unsigned shard, struct slice filter);
/* Where a topic would be in every shard's table: worked out once for all of them. */
struct interest_key {
	uint16_t slot[INTEREST_DEPTH + 1];
	uint8_t n;
};
struct interest_key interest_key_of(struct slice topic);
bool interest_any(const struct broker *b, unsigned shard, const struct interest_key *k); /* false: certainly not */

/* ---- subscribe.c ---- */

void session_unsubscribe_all(struct session *s);
/* A subscription that was read from the store as <record>. False: it makes no sense, or out of memory. */
bool session_resubscribe(struct session *s, const struct record_sub *r, uint64_t record);

/* ---- share.c: shared subscriptions where the members are ---- */

struct shared_sub {
	struct shared_sub *next; /* of shard->untold */
	uint32_t index;          /* its place among the session's subscriptions: the caller's */
	uint32_t id;
	uint16_t full_n, name_n, extra; /* "$share/NAME/FILTER" in text, NAME; extra: the policy tag */
	uint8_t options, slot, news;    /* news: an enum mail_kind that the home has not heard yet, or MAIL_NONE */
	struct handle session;
	char text[];
};
unsigned share_home(const struct broker *b, struct slice full);
struct shared_sub *share_find(const struct session *s, struct slice full); /* NULL: not subscribed */
enum { SHARE_NO_SLOT = 0xff };
struct share_terms {
	uint32_t id;
	uint16_t extra, name_n;
	uint8_t slot; /* that of a subscription that was kept, or SHARE_NO_SLOT; 0: a new one */
};
/* On the session's shard: tell the home. False, NULL: out of memory, nothing changed. */
struct shared_sub *share_join(struct session *s, const struct mqtt_sub *how, const struct share_terms *t);
bool share_rejoin(struct session *s, struct shared_sub *sub, const struct mqtt_sub *how, uint32_t id, uint16_t extra);
void share_leave(struct session *s, struct shared_sub *sub); /* <sub> is taken over */
/* The session's client came or went. */
void share_presence(struct session *s, bool online);
/* The session ends: what it had from groups and was not acknowledged is gathered before it leaves them, and returned to them
 * after that. NULL: nothing. */
struct share_rest *share_gather(struct session *s);
void share_return(struct shard *sh, struct share_rest *rest);
bool shares_turn(struct shard *sh); /* true: something could not be told for lack of memory */
void shares_done(struct shard *sh);

/* ---- group.c: a group lives on one shard ---- */

/* One member gets it. */
void group_deliver(struct shard *sh, struct group *g, struct msg *m);
void groups_done(struct shard *sh);

/* ---- retained.c ---- */

unsigned retained_home(const struct broker *b, struct slice topic);
bool retained_set(struct shard *sh, struct msg *m); /* at the topic's home, wherever that is */
/* Send what <filter> matches to the session, now and in slices. */
void retained_request(struct session *s, struct slice filter, const struct hit *h);
/* Let the scans that wait for <c> go on if its queues have room. */
void retained_room(struct client *c);
void retained_forget(struct client *c); /* the client is going */
bool scans_turn(struct shard *sh);    /* true: there is more to do at once */
bool scans_wait(const struct shard *sh); /* true: there is something to try again soon */
void scans_done(struct shard *sh);

/* ---- stamp.c: who published, for MQTT 5 subscribers ---- */

/* <p> carries on what <who> is in p->added, and nothing that looks like it and is not: for stamp_publishers. What is added is borrowed
 * from *stamp, which begins as NULL and is made again when <who> is another. False: out of memory. */
bool stamp_put(struct stamp **stamp, struct authz_principal *who, struct mqtt_publish *p);
void stamp_free(struct stamp *s); /* NULL is fine */

/* ---- throttle.c: publishers wait for shards that cannot keep up ---- */

/* Stop reading from <c> for this reason; go on when there is none left. */
void hold(struct client *c, enum held why);
void release(struct client *c, enum held why);

/* <c> has published with QoS > 0: if a shard has too much to do, it is not read from until that is done. */
void throttle(struct client *c);
void throttle_forget(struct client *c); /* the client is going */
bool throttle_turn(struct shard *sh);   /* true: somebody still waits */
/* Has shard <to> so much to do that QoS 0 is dropped? */
bool throttle_is_full(const struct broker *b, unsigned to);

/* ---- notes.c ---- */

bool note_load(struct broker *b, uint64_t record, struct slice name, struct slice value); /* false: out of memory */
void notes_done(struct broker *b);

/* ---- shard.c ---- */

struct shard *shard_new(struct broker *b, unsigned index);
/* Of all shards before the first one goes: what was ordered is carried out, since it may give orders to others. NULL is fine. */
void shard_settle(struct shard *sh);
void shard_free(struct shard *sh);
/* Take what broker_set_listeners() has set. */
void shard_renew(struct shard *sh);
void listener_table_unref(struct listener_table *t);
struct listener_table *broker_listeners(struct broker *b); /* the newest, a reference */

#include "broker/mail.h" /* needs what stands above */

#include "broker/source.h" /* likewise */

#include "broker/limits.h" /* about what stands above */

#endif
