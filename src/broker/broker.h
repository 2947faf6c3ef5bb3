/* The broker without sockets, files or clocks: streams in, streams out.
 *
 * A shard is all the state of one core: sessions, subscriptions, retained messages, timers. Everything here is called on
 * the shard's own thread unless it says otherwise. Shards reach each other only through their inboxes. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <stdatomic.h>

#include "authz/authz.h"
#include "base/err.h"
#include "base/stream.h"
#include "mqtt/mqtt.h"

struct store;
struct broker; /* what all shards share: inboxes, interest map, configuration; immutable or atomic */
struct shard;

enum { BROKER_QOS = 3, BROKER_PREFIX_MAX = 64, BROKER_MOUNT_MAX = 255, BROKER_NAME_MAX = 159, BROKER_WHY_MAX = 200 };

/* What is counted a second: PUBLISH packets and their bytes, from clients and to clients. */
enum broker_rate { BROKER_MESSAGES_IN, BROKER_BYTES_IN, BROKER_MESSAGES_OUT, BROKER_BYTES_OUT, BROKER_RATES };

/* What may be published to a topic whose last level is "attrs" (a device's data, as dojot has it). */
enum broker_data { BROKER_DATA_ANY, BROKER_DATA_COUNT, BROKER_DATA_OBJECT /* what is no JSON object is counted; and refused */ };

/* Settings of one listener. Copied; the policy is referenced. */
struct broker_listener {
	struct authz_policy *policy;
	bool deny_v3_by_close;        /* a refused v3 QoS > 0 PUBLISH closes the connection; else it is acknowledged and dropped */
	enum broker_data data;
	bool grant_denied_v3;         /* SUBACK to v3 as mosquitto: a refused filter is granted and delivers nothing */
	bool takeover_same_identity;  /* a client id may only be taken over by the same identity (certificate) */
	bool username_is_client_id;   /* the user name takes the place of the client id; without one nobody may connect */
	bool own_aliases;             /* the two numbers below stand in for those of the settings */
	uint16_t topic_alias_max_in, topic_alias_max_out;
	bool own_max_qos;             /* and this one; who is connected keeps what he was told */
	uint8_t max_qos;
	uint8_t versions;             /* 1 << protocol level for each that is accepted; 0 = all */
	bool withdrawn_no_will;       /* who loses the right to be here: his will is not published */
	bool withdrawn_purge;         /* and his session ends, with what is queued for him */
	bool vouch;                   /* certificates count only once broker_ports.vouch() has said so */
	bool bridges;                 /* the broker's own: they say on $SYS how they are, and take what the remote sends as it comes */
	uint64_t client_rates[BROKER_RATES]; /* of each client; 0 = no limit, at most 10^10 */
	uint64_t rates[BROKER_RATES]; /* of all clients of the listener together */
	uint32_t max_per_identity;    /* connections of one certificate's identity or user name, on all listeners; 0 = no limit */
	bool rate_disconnects;        /* a client above its own rates is disconnected (0x96), not left waiting */
	char auto_id_prefix[BROKER_PREFIX_MAX + 1];   /* of client ids that the broker makes up; "": "auto-" */
	char client_id_prefix[BROKER_PREFIX_MAX + 1]; /* what every client id must begin with */
	char response_info[BROKER_PREFIX_MAX + 1];    /* Response Information (5.0, 3.2.2.3.15) with %c and %u for the client's names; "": none */
	char name[BROKER_NAME_MAX + 1];               /* by which it is found again after a restart: "8883", "192.0.2.1:8883", a path */
	char mount_point[BROKER_MOUNT_MAX + 1];       /* stands in front of every topic of its clients, for everybody else; "": none */
};

/* Settings of the broker. 0 is a real value unless it says otherwise. */
struct broker_settings {
	uint32_t max_packet_size;        /* bytes, whole packet; at most 268,435,460 */
	uint32_t max_payload;            /* bytes of a PUBLISH or a will; 0 = no limit beside max_packet_size */
	uint32_t max_queued_messages;    /* per session, QoS > 0 (and QoS 0 if queue_qos0); 0 = no limit */
	size_t max_queued_bytes;         /* 0 = no limit */
	uint16_t max_inflight;           /* per session outwards, also capped by the client's Receive Maximum; >= 1 */
	size_t max_inflight_bytes;       /* payloads per session outwards at which no more are sent; 0 = no limit */
	uint16_t receive_maximum;        /* announced to clients, enforced; >= 1 */
	uint16_t topic_alias_max_in;     /* aliases a client may use towards us */
	uint16_t topic_alias_max_out;    /* aliases we use towards a client, capped by its own maximum */
	uint16_t max_keep_alive;         /* s; 0 = no limit */
	uint32_t max_session_expiry;     /* s; UINT32_MAX = no limit. v3 persistent sessions get exactly this */
	uint32_t connect_timeout_ms;     /* from open() to a whole CONNECT; for AUTH again */
	uint8_t max_qos;                 /* 0..2 */
	bool retain_available, allow_empty_client_id, queue_qos0;
	bool check_retain_source;        /* a retained message goes to new subscribers only while its publisher may still publish it */
	bool stamp_publishers;           /* MQTT 5 subscribers are told who published: user properties "signet-…", which no client can send */
	bool upgrade_qos;                /* deliveries have the QoS of the subscription, not at most that of the message */
	uint32_t flap_connects;          /* a client that connects more often in a minute is held off; 0 = never, at most 60,000 */
	uint32_t flap_hold_s;            /* for 1 s, then 2 s, 4 s, …, at most so long; >= 1 */
	uint32_t drop_log_s;             /* a client that loses messages is told of once in so many seconds; >= 1 */
	uint32_t max_clients;            /* sessions, connected or not; 0 = no limit */
	size_t max_out_bytes;            /* unsent output per connection above which QoS 0 is dropped */
	bool trace;                      /* report each packet, too */
	struct store *store;             /* where all that is promised is kept; opened with a writer for each shard, and longer there than
	                                  * the broker; NULL: in memory only. Its wake() is to call broker_ports.wake() */
};
void broker_settings_default(struct broker_settings *s);

enum broker_event_kind {
	BROKER_CONNECTED,
	BROKER_DISCONNECTED,   /* after CONNECTED: .reason, .text, .clean */
	BROKER_REFUSED,        /* CONNECT refused: .reason, .text */
	BROKER_DROPPED,        /* closed before a CONNECT was accepted, for other reasons: .text */
	BROKER_DENIED_PUBLISH, /* .topic, .text */
	BROKER_DENIED_SUBSCRIBE,
	BROKER_DENIED_WILL,
	BROKER_DENIED_RECEIVE, /* a queued or retained message was not delivered */
	BROKER_SUBSCRIBED, BROKER_UNSUBSCRIBED,
	BROKER_FLAPPING,       /* a client is held off: .text */
	BROKER_DROPPING,       /* a client does not get all its messages: .drops, .drops_total; or .drops_clients */
	BROKER_TRACE,          /* settings.trace: a packet, in words: .text */
};

/* Why a message did not reach a client. */
enum broker_drop {
	BROKER_DROP_QUEUE,       /* max_queued_messages */
	BROKER_DROP_QUEUE_BYTES, /* max_queued_bytes */
	BROKER_DROP_SLOW,        /* QoS 0: the client does not read fast enough, max_out_bytes */
	BROKER_DROP_RATE,        /* the same, but it is a rate of ours that holds it up */
	BROKER_DROP_SIZE,        /* larger than the packets that the client takes */
	BROKER_DROP_SHED,        /* memory is short, see broker_shed() */
	BROKER_DROP_BACKLOG,     /* QoS 0: another worker cannot keep up */
	BROKER_DROP_NO_MEMORY,
	BROKER_DROPS
};
const char *broker_drop_name(enum broker_drop why); /* "queue-full", …; static */

/* Something worth a log line. Everything is borrowed for the call. */
struct broker_event {
	enum broker_event_kind kind;
	unsigned listener;
	const char *peer;                     /* address text given to client_new() */
	const char *came_by;                  /* as client_came_by() has it; NULL: nothing was said */
	struct slice client_id;               /* as far as known */
	const struct authz_principal *who;    /* NULL when not known */
	struct slice topic;                   /* name or filter */
	uint8_t reason;                       /* MQTT reason code */
	uint8_t version;                      /* protocol level, 0 = unknown */
	uint8_t qos;
	bool clean;                           /* CONNECTED: clean start; DISCONNECTED: by a DISCONNECT packet */
	bool session_present;
	uint16_t keep_alive;
	const char *text;                     /* the exact cause in words, never NULL; may be "" */
	/* DROPPING: */
	const uint32_t *drops;                /* since the last such event of this client, by enum broker_drop; one alone: the first */
	uint32_t drops_total;                 /* since its session began */
	uint32_t drops_clients;               /* without client_id: clients more that lost messages, and were not told of */
};

/* One CONNECT that waits to be judged: who is this? */
struct broker_login {
	unsigned listener;
	const char *peer;             /* address text given to client_new(); only within authenticate() */
	struct authz_principal *cert; /* of the certificate, or of an anonymous peer; never NULL; valid until the verdict */
	const struct mqtt_connect *connect; /* only within authenticate() */
	atomic_bool gone;             /* its client is: the verdict will find nobody, and need not be true. Any thread may look */
	/* The verdict. */
	struct authz_principal *who;  /* with MQTT_RC_OK: a reference, <cert> itself or another */
	char why[BROKER_WHY_MAX];     /* else: the cause in words */
};
/* What authenticate() returns when the verdict comes later: no MQTT reason. */
enum { BROKER_LOGIN_PENDING = 0xff };
/* Any thread, once for each login that is pending: <who> and <why> are set, <reason> as authenticate() would have returned it.
 * The login is not the caller's any more. The client may be gone by now, the broker may not. */
void broker_login_done(struct broker_login *login, uint8_t reason);

/* One enhanced authentication (MQTT 5, 4.12): of a CONNECT that names a method, or, later and with the same method, of its client
 * once more. */
enum { BROKER_AUTH_METHOD_MAX = 64, BROKER_AUTH_DATA_MAX = 1024 }; /* bytes of a method's name, and of an answer */
struct broker_exchange {
	unsigned listener;
	const char *peer;             /* address text given to client_new() */
	struct authz_principal *cert; /* of the certificate, or of an anonymous peer; never NULL */
	struct slice method;          /* as CONNECT had it */
	bool again;                   /* the client is connected: re-authentication */
	void *state;                  /* the port's own; NULL before the first step */
	/* Of this step; within exchange() only. */
	const struct mqtt_connect *connect; /* in the first step, unless <again>; else NULL */
	struct slice data;                  /* Authentication Data; may be empty */
	/* The verdict. */
	struct authz_principal *who; /* with MQTT_RC_OK: a reference */
	uint16_t answer_n;           /* 0 before each step */
	uint8_t answer[BROKER_AUTH_DATA_MAX]; /* Authentication Data for the client: in AUTH, or in CONNACK, also in one that refuses */
	char why[BROKER_WHY_MAX];    /* neither OK nor CONTINUE: the cause in words */
};

/* A PUBLISH below "$CONTROL/" or "$signet/renew/" that its sender may send: it is for the broker itself. Valid until it is done. */
enum { BROKER_CORRELATION_MAX = 64 };
struct broker_request {
	unsigned listener;
	struct slice client_id, topic, payload;
	struct slice correlation; /* Correlation Data, which comes back with the answer; empty: none, or longer than the maximum */
	const struct authz_principal *who;
	bool writes; /* set by who takes it, before he returns: the answer leaves when what the sender's shard has written for it is durable */
};
/* Any thread, once for each request that was taken. <topic> (static), <answer>: what its sender gets, as far as he has subscribed to
 * it and may receive it; NULL: nothing. <answer> is taken over, free(). The request is not the caller's any more. The client may be
 * gone by now, the broker may not. */
void broker_request_done(struct broker_request *request, const char *topic, void *answer, size_t n);

/* Whom to disconnect. */
struct broker_kick {
	uint64_t listeners; /* of these, 1 << index for each */
	const char *const *names; /* user names */
	size_t n;
	bool anonymous;     /* those without one, too */
	uint8_t reason;     /* for DISCONNECT */
	const char *text;   /* for the log; static */
};
/* Any thread, soon: publish as the broker itself; <retain>: instead of what is retained there. False: out of memory. */
bool broker_publish(struct broker *b, struct slice topic, struct slice payload, bool retain);
/* Any thread, soon: without their wills, and who waits for broker_request_done() after that. Only who is connected now: whoever is
 * told of it by a later broker_request_done() and connects then is not meant. What was set by broker_set_listeners() before holds by then;
 * who connects just now is the matter of judge_again() and the policy. False: out of memory, nobody is disconnected. */
bool broker_kick(struct broker *b, const struct broker_kick *what);

/* What the broker needs of the world. */
struct broker_ports {
	void *ctx;
	/* From any shard's thread: make shard <n>'s thread call shard_turn() soon. */
	void (*wake)(void *ctx, unsigned shard);
	/* May the owner of this certificate be here, whatever he says? Once for each connection with one on a listener with .vouch, on the
	 * session's home and before authenticate() or exchange(). As authenticate(), but <who> is not looked at. NULL: yes. */
	uint8_t (*vouch)(void *ctx, struct broker_login *login);
	/* Called for each CONNECT on the session's home, before the policy is asked. Must not block. Returns MQTT_RC_OK, or the
	 * reason for CONNACK, or BROKER_LOGIN_PENDING: nothing more of this client is read until broker_login_done(). */
	uint8_t (*authenticate)(void *ctx, struct broker_login *login);
	/* Has <who>, who was let in on <listener>, still the right to be here? <fresh>: he connects just now. MQTT_RC_OK, or the reason
	 * for DISCONNECT and in <why> the cause in words. On any shard's thread; must not block. NULL: always. */
	uint8_t (*judge_again)(void *ctx, unsigned listener, const struct authz_principal *who, bool fresh, char why[static BROKER_WHY_MAX]);
	/* One step of an enhanced authentication, in place of authenticate(). Must not block. Returns MQTT_RC_CONTINUE_AUTH when the
	 * client has to say more, MQTT_RC_OK, MQTT_RC_AUTH_METHOD when the method is not offered, or another reason for CONNACK
	 * or DISCONNECT. A client is given a handful of rounds, and connect_timeout_ms for them. */
	uint8_t (*exchange)(void *ctx, struct broker_exchange *x);
	/* It is over, finished or not: free x->state. Called once for each that saw a step. */
	void (*exchange_end)(void *ctx, struct broker_exchange *x);
	/* On any shard's thread; must not block. True: taken, and broker_request_done() follows; nothing more of its sender is read until
	 * then. False: nobody knows what to do with it, it is acknowledged and dropped. NULL: always that. */
	bool (*request)(void *ctx, struct broker_request *request);
	void (*event)(void *ctx, const struct broker_event *e);
	/* Within broker_recover(): what broker_note() was told, for each name. NULL is fine. */
	void (*note)(void *ctx, struct slice name, struct slice value);
	/* Wall clock, seconds since 1970: for certificates that expire during a session. */
	int64_t (*wall)(void *ctx);
};

/* <n_shards> >= 1. Settings and listeners are copied. NULL: out of memory. */
struct broker *broker_new(unsigned n_shards, const struct broker_settings *s, const struct broker_listener *listeners, unsigned n_listeners, const struct broker_ports *ports);
/* After all threads have ended and all streams were closed. */
void broker_free(struct broker *b);
struct shard *broker_shard(struct broker *b, unsigned index);
/* Before any shard's turn, with settings.store and before store_start(): take over what the store has kept. False: the store cannot be read, or
 * out of memory. */
struct broker_recovered {
	uint64_t sessions, subscriptions, messages, retained; /* messages: queued or in flight */
	uint64_t homeless; /* sessions whose listener is not there any more */
	uint64_t rejected; /* records that belong to nothing or make no sense; they are removed */
};
bool broker_recover(struct broker *b, uint64_t now_ms, struct broker_recovered *ret, struct err *err);
/* Something small of the server's own that outlives the process if there is a store: <value> under <name>; an empty one forgets it. Any
 * thread; what was said last counts. It is on the disk soon. False: out of memory, or the name is too long. */
enum { BROKER_NOTE_NAME_MAX = 128 };
bool broker_note(struct broker *b, struct slice name, struct slice value);
/* What mosquitto 2.0 kept becomes what the store keeps: sessions, subscriptions, messages queued and in flight, retained ones. A
 * session may be taken once by whoever has its user name, with or without a certificate; one without a user name by whoever may use
 * its client id. From then on it is his. */
struct broker_import {
	struct slice file;        /* a whole mosquitto.db, of a machine with the same byte order */
	int64_t now, saved_at;    /* seconds since 1970; saved_at: when the file was written */
	bool any_owner;           /* user names are not looked at: whoever may use a client id may take its session */
};
struct broker_imported {
	uint64_t sessions, subscriptions, messages, retained; /* as in broker_recovered */
	uint64_t inbound; /* QoS 2 packet ids that were received and not released; what came with them is handed on */
	uint64_t over, expired;  /* sessions, messages whose time was over */
	uint64_t qos0;    /* messages of QoS 0 in queues: not kept */
	uint64_t missing; /* messages of which the file has only the number */
	uint64_t unnamed; /* sessions with what may be another client's user name, by a mistake of mosquitto's; they have none now */
};
/* <s>: new and started, with nothing in it; what comes first is on the disk when store_close() says so. False: the file is damaged
 * (<err> names the byte) or of another version, or out of memory; then the store is of no use. */
bool broker_import(struct store *s, const struct broker_import *from, struct broker_imported *ret, struct err *err);
/* Any thread: new listener settings (same number, same order) for all shards; each takes them at its next turn; mount points stay as they are. Sessions keep
 * their subscriptions; what a new policy forbids is no longer delivered or accepted. False: out of memory, nothing changed. */
bool broker_set_listeners(struct broker *b, const struct broker_listener *listeners, unsigned n_listeners);

/* Whose right may be gone: the owner of one certificate, or with serial_n 0 all that one CA issued; also what is below a CA. */
struct broker_suspect {
	uint8_t issuer_key[32]; /* as authz_facts.issuer_key */
	uint8_t serial_n;
	uint8_t serial[AUTHZ_SERIAL_MAX];
};
/* Any thread: every session that they own, and with <n> 0 every session, is judged by ports.judge_again() soon, a few in a turn;
 * who may not stay gets DISCONNECT with the reason and is closed. False: out of memory, and nothing was begun. */
bool broker_judge_again(struct broker *b, const struct broker_suspect *v, size_t n);

/* What is known of a session, for people. Everything is borrowed for the call. */
struct broker_finding {
	bool found;     /* there is such a session; if not, nothing else is set */
	bool connected; /* else it is kept */
	bool allowed;
	unsigned listener;
	uint32_t waiting; /* messages that wait for it */
	const struct authz_principal *who;
	struct slice topic; /* behind the mount point, as the policy sees it */
	const char *text;   /* why: authz_explain() */
	const struct authz_reason *reason; /* the same taken apart; NULL: no policy was asked */
};
/* May <client_id>, connected or kept, do that, by who it is and by the policies as they are now? */
struct broker_ask {
	struct slice client_id, topic; /* copied */
	enum authz_action action;
	bool will;                     /* PUBLISH: about the will that it has; <topic> empty */
	void (*answer)(void *ctx, const struct broker_finding *f); /* once, soon, on a shard's thread; must not block */
	void *ctx;
};
/* Any thread. False: out of memory, and there will be no answer. */
bool broker_ask(struct broker *b, const struct broker_ask *q);

/* Who would gain or lose what if other policies were in force: every session, connected or kept, with its subscriptions and its will. */
enum { BROKER_CHANGES_MAX = 16, BROKER_CHANGE_TEXT = 200, BROKER_CHANGED_MAX = 1000 };
struct broker_change {
	enum authz_action action;
	bool will, lost;
	char topic[BROKER_CHANGE_TEXT]; /* name or filter, fit to be shown; cut to this */
};
struct broker_changed {
	struct authz_principal *who;
	unsigned listener;
	bool connected;
	uint32_t waiting;    /* messages */
	uint32_t lost, gained; /* all; <v> has the first */
	unsigned n;
	char *client_id;     /* fit to be shown */
	struct broker_change v[];
};
struct broker_survey_result;
struct broker_survey {
	struct authz_policy *policy; /* the new one; not ranked. A reference is taken */
	uint64_t listeners;          /* of these, 1 << index for each */
	unsigned most;               /* sessions that are named, at most BROKER_CHANGED_MAX: the first by client id */
	uint32_t ms;                 /* it is broken off after this; 0: never */
	/* Once, when all shards have been through, a few sessions in a turn; on a shard's thread; must not block. Borrowed for the call. */
	void (*done)(void *ctx, const struct broker_survey_result *r);
	void *ctx;
};
struct broker_survey_result {
	uint64_t sessions, subscriptions; /* looked at */
	uint64_t changed, losing, gaining; /* sessions; one may do both */
	bool incomplete;                  /* for lack of memory or time, or the broker ends */
	uint64_t coarse;                  /* of the sessions: so many rules are about these that only who comes in, the first subscriptions and the will were compared */
	unsigned n;
	struct broker_changed *const *v;  /* by client id */
};
/* Any thread. False: out of memory, and done() is not called. */
bool broker_survey(struct broker *b, const struct broker_survey *s);

/* One session, for administrators. Everything is borrowed for the call. */
struct broker_session {
	struct slice client_id;
	bool connected;            /* else it is kept */
	bool homeless;             /* its listener is not there any more: <listener> says nothing */
	unsigned listener;
	const struct authz_principal *who; /* NULL: imported, nobody's yet */
	const char *peer;          /* connected: the address; else NULL, and so are the next three */
	uint8_t version;
	uint16_t keep_alive;
	uint64_t idle_ms;          /* since the last bytes came */
	uint64_t away_ms;          /* not connected: for so long */
	uint32_t expiry_s;         /* UINT32_MAX: never */
	uint32_t subscriptions, waiting, inflight, dropped; /* messages to it; waiting: with those in flight */
	size_t waiting_bytes;
	/* Of its connection; 0 and NULL without one. */
	uint64_t since_ms, bytes_in, bytes_out, messages_in, messages_out;
	const char *came_by;       /* as client_came_by() has it */
	struct slice will;         /* its topic; .p NULL: none */
};
/* What shall become of it. */
enum broker_wish {
	BROKER_PASS,     /* nothing, and it does not count */
	BROKER_TAKE,     /* nothing, and it counts */
	BROKER_EXPEL,    /* its connection ends; its will and its session have what that means for them */
	BROKER_WITHDRAW, /* the same, but will and session as the listener's withdrawn_… say, also of one that is kept */
	BROKER_PURGE,    /* the same, and the session ends with all that is queued for it */
};
struct broker_word {
	uint8_t reason; /* for DISCONNECT; MQTT_RC_ADMINISTRATIVE unless something else is written into it */
	char why[BROKER_WHY_MAX];
};
struct broker_visited {
	uint64_t n;     /* that counted; of those who were to go, those for whom it made a difference */
	bool more;      /* there may be more, from here on: */
	unsigned shard;
	uint32_t slot;
};
/* A walk over all sessions, shard by shard and a few in a turn, or over one. Who is there all the time is met once; who comes meanwhile
 * may be. */
struct broker_visit {
	struct slice client_id; /* this one alone; .p NULL: all. Copied */
	unsigned shard;         /* where it begins: 0, 0, or what an earlier visit has left */
	uint32_t slot;
	uint64_t most;          /* it is over when so many have counted; 0: no limit */
	/* On the sessions' shards, one after another, never two at once; must not block. */
	enum broker_wish (*each)(void *ctx, const struct broker_session *s, struct broker_word *ret);
	/* Behind each() that said TAKE, for every subscription; or NULL. */
	void (*subscription)(void *ctx, struct slice filter, uint8_t qos);
	void (*done)(void *ctx, const struct broker_visited *r); /* once, also at the end of the broker */
	void *ctx;
};
/* Any thread. False: out of memory, and nothing is called. What was set before the visit holds during it. */
bool broker_visit(struct broker *b, const struct broker_visit *v);

/* One connection. <peer> is copied, <who> taken over. NULL: out of memory (then <who> is released). */
extern const struct stream_ops client_stream;
void *client_new(struct shard *sh, unsigned listener, struct authz_principal *who, const char *peer, const struct waker *w);
/* Before the first feed(): what the transport knows of him, in the caller's words. They are copied, for all events of this connection;
 * out of memory: those have none. */
void client_came_by(void *client, const char *words);

/* Once a loop turn, before input: takes the time, and what other shards have posted before any of the coming input could be
 * sent: a subscription that was acknowledged elsewhere holds for it. */
void shard_begin(struct shard *sh, uint64_t now_ms);
/* Once a loop turn, after input and before output: inbox, timers, outboxes. Returns ms until the next turn is needed. */
uint64_t shard_turn(struct shard *sh, uint64_t now_ms);
/* End every connection of this shard with <reason> (v5: DISCONNECT), for shutdown; wills are not sent for MQTT_RC_SHUTTING_DOWN. */
void shard_disconnect_all(struct shard *sh, uint8_t reason);

/* On which shard the session with this client id is at home. Any thread. */
unsigned broker_home(const struct broker *b, struct slice client_id);
/* Messages that wait for the client with this id while it is away; at its home. */
uint32_t shard_waiting(const struct shard *sh, struct slice client_id);

/* Publish as the broker itself, on <sh>'s thread: QoS 0, no rights are asked. False: out of memory. */
bool shard_publish(struct shard *sh, struct slice topic, struct slice payload, bool retain);
/* The same with a QoS, an expiry and properties (p->forward). *ret_heard: somebody may have got it. With QoS > 0 false means that nobody
 * has. */
bool shard_publish_message(struct shard *sh, const struct mqtt_publish *p, bool *ret_heard);
/* On <sh>'s thread, to the client of that id alone if it is connected and has subscribed to <topic>, QoS 0. */
enum broker_told {
	BROKER_TOLD,
	BROKER_TOLD_LATER,  /* it does not read: try again when it has */
	BROKER_TOLD_NOBODY, /* there is no such connection */
};
enum broker_told shard_tell(struct shard *sh, struct slice client_id, struct slice topic, struct slice payload);

/* How short memory is; each level with those before it. */
enum broker_shed {
	BROKER_SHED_NONE,
	BROKER_SHED_QOS0,       /* QoS 0 is dropped for clients that do not read, and not kept for those that are away */
	BROKER_SHED_CONNECTS,   /* nobody may connect (0x89) */
	BROKER_SHED_PUBLISHERS, /* who publishes is not read from, and after 30 s ended (0x97) */
	BROKER_SHED_QUEUES,     /* nothing is kept for clients that are away */
};
/* Any thread, as often as memory is measured. Until the next call a shard that takes in more than <allowance> bytes acts as at
 * PUBLISHERS. Never called: there is no limit. */
void broker_shed(struct broker *b, enum broker_shed level, uint64_t allowance);

/* Counters; each is written by one thread, read by any. */
struct shard_stats {
	_Atomic uint64_t connected, sessions, subscriptions, shared, retained, queued; /* now */
	_Atomic uint64_t roles[AUTHZ_ROLE_COUNT];                                      /* of .connected */
	_Atomic uint64_t queued_bytes, inflight, retained_bytes; /* of .queued; QoS > 0 sent and not acknowledged; of .retained */
	_Atomic uint64_t backlog;                                /* bytes of letters from other shards, at the last turn */
	_Atomic uint64_t sockets, connects, expired;        /* since the start: transports, accepted CONNECTs, sessions that timed out */
	_Atomic uint64_t packets_in, packets_out, bytes_in, bytes_out;
	_Atomic uint64_t messages_in[BROKER_QOS], messages_out[BROKER_QOS], payload_in[BROKER_QOS], payload_out[BROKER_QOS]; /* PUBLISH */
	_Atomic uint64_t drops[BROKER_DROPS][AUTHZ_ROLE_COUNT]; /* by the role of who did not get it; NONE also where nobody is known */
	_Atomic uint64_t dropped, denied, refused; /* dropped: the sum of .drops */
	_Atomic uint64_t no_objects; /* publications that broker_data counts */
	_Atomic uint64_t paced; /* times that a publisher was not read from as it, or its listener, was above a rate */
};
const struct shard_stats *shard_stats(const struct shard *sh);

#endif
