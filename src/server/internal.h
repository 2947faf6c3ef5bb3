/* How the parts of the server hang together. Private to server/. */
#ifndef SERVER_INTERNAL_H
#define SERVER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "broker/broker.h"
#include "dynsec/dynsec.h"
#include "net/net.h"
#include "passwd/passwd.h"
#include "pki/pki.h"
#include "server/bridges.h"
#include "server/config.h"
#include "server/dynamic.h"
#include "server/health.h"
#include "server/refuse.h"
#include "server/registration.h"
#include "server/server.h"
#include "server/vouch.h"
#include "store/store.h"
#include "ws/ws.h"

struct server;
struct runner;

struct privileges {
	bool drop; /* we are root and shall not stay it */
	uid_t uid;
	gid_t gid;
	char name[64];
};

/* ---- what a reload renews; all of it is loaded before any of it is used ---- */

struct world_listener {
	struct tls_ctx *tls;     /* NULL: plain */
	char *cert_file;         /* certfile that <tls> was made of, or NULL */
	char *crl_file;          /* crlfile of <trust>, or NULL */
	int64_t crl_grace;
	/* OCSP stapling: our certificate and its issuer, the file or the responder to ask; NULL: none. */
	struct x509_st *staple_cert, *staple_issuer;
	char *staple_file, *staple_url;
	struct pki_trust *trust; /* NULL: no client certificates */
	struct passwd_file *passwords; /* NULL: no password_file */
	struct psk_file *psk;    /* NULL: no psk_hint */
	struct authz_policy *policy;
};
struct world {
	unsigned n;
	struct world_listener *listeners;
	struct authz_policy *bridges; /* our own: nothing is refused to them */
};
/* Load certificates, CAs, revocation lists and policies. <judges> (one a listener) is what TLS
 * contexts call back; NULL for a look only. NULL and <err>, which names place, directive and
 * file. */
struct judge;
/* <old>: the one that is in force, whose revocation lists stay where what is read may not take their place; NULL: none. */
struct world *world_load(
    const struct config *c, struct judge *judges, const struct dynamics *ds, const struct world *old, struct err *err);
void world_free(struct world *w); /* NULL is fine */
/* Parts of it for a look: what decides on <l>, and whom it trusts, which may be nobody (NULL). */
bool world_policy(const struct config *c, const struct config_listener *l, const struct dynamics *ds, struct authz_policy **ret, struct err *err);
bool world_trust(const struct config *c, const struct config_listener *l, struct pki_trust **ret, struct err *err);

/* Judges the certificates, keys and passwords that come to one listener. It stays where it is for the life of the
 * process, because connections under old TLS contexts call it too; what it trusts is exchanged
 * at a reload. */
struct judge {
	pthread_mutex_t lock;
	struct pki_trust *trust;
	struct passwd_file *passwords;
	struct psk_file *psk;
	struct dynamic *dynamic; /* who has the passwords instead, or NULL; never exchanged */
	struct registrations *registrations; /* never exchanged */
	struct tls_tickets *tickets; /* the server's; never exchanged */
};
bool judge_init(struct judge *j);
void judge_done(struct judge *j);
void judge_set(struct judge *j, const struct world_listener *l); /* takes references of its own */
struct passwd_file *judge_passwords(struct judge *j);            /* a reference, or NULL */
uint64_t judge_psk_tag(struct judge *j, const char *identity);
/* A reference to what is trusted now, or NULL; and only that exchanged. */
struct pki_trust *judge_trust(struct judge *j);
void judge_set_trust(struct judge *j, struct pki_trust *t);
/* broker_ports.judge_again without its context: <rules> of the listener as they are now. */
uint8_t judge_again(struct judge *j, unsigned rules, const struct authz_principal *who, bool fresh,
    char why[static BROKER_WHY_MAX]);
/* registration_judge() of somebody on a listener with these <rules>. */
uint8_t judge_registration(struct judge *j, unsigned rules, const struct authz_principal *who, bool fresh, char why[static BROKER_WHY_MAX],
    bool *ret_purge);
/* registration_wants_quarantine() of somebody there. */
bool judge_wants_quarantine(struct judge *j, unsigned rules, const struct authz_principal *who);
struct tls_hooks judge_hooks(struct judge *j);

/* ---- a listener while the server runs ---- */

enum listener_rules {
	RULE_ANONYMOUS = 1,
	RULE_EMPTY_CLIENT_ID = 2,
	RULE_CERT_IS_IDENTITY =
	    4,            /* a verified certificate says who somebody is, CONNECT does not */
	RULE_SUBJECT = 8,    /* its subject is the user name, not its CN */
	RULE_PASSWORDS = 16, /* user names are those of password_file */
	RULE_PSK_IS_IDENTITY = 32,
	RULE_SCRAM = 64,        /* they may prove their password by SCRAM-SHA-256 */
	RULE_ONLY_SCRAM = 128,  /* and must: a user name without it is refused */
	RULE_REGISTERED = 256,  /* who has the client role must be enabled in the registry */
	RULE_QUARANTINE_UNREGISTERED = 512, /* and else, unless he is disabled, he is in quarantine */
	RULE_OCSP = 1024,        /* certificates are asked about */
	RULE_CONSOLE = 2048,     /* control says who it is, and the client id is ours */
};
unsigned listener_rules_of(const struct config *c, const struct config_listener *l);

struct listener {
	struct server *server;
	unsigned index;
	const struct config_listener *config; /* as it was at the start */
	atomic_uint rules;                    /* enum listener_rules; a reload exchanges them */
	struct net_proxy proxy;               /* used when config->proxy_version says so */
	bool unix_made;                       /* the socket file is ours to remove */
	_Atomic int64_t connections;          /* counted only with max_connections */
	_Atomic uint64_t connect_ns;          /* the bucket of listener_connect_rate; see admit.c */
	struct ws_config ws;                  /* used when config->protocol says so */
	struct ws_config forbidden;           /* the same for who may not read metrics */
	struct ws_files files;
	struct ws_pages pages; /* the console */
	int http_fd; /* http_dir, or -1 */

	pthread_mutex_t log_lock; /* of the three below: refusals are rationed */
	uint64_t log_last_ms;
	uint32_t log_tokens, log_suppressed;
};

struct worker {
	struct server *server;
	struct shard *shard;
	struct loop *loop;
	struct runner *bridges; /* those whose home is here */
	pthread_t thread;
	unsigned index;
	struct sys *sys;     /* the first worker's; NULL: no $SYS */
	struct probe probe;
	unsigned generation; /* of the world whose TLS contexts the loop has */
	bool leaving;        /* the shutdown has reached it */
	uint64_t leave_by_ms;
	bool started;

	/* The watchdog: <asked> is set by the main thread and taken back by the next turn; the
	 * others are the main thread's. */
	atomic_bool asked;
	bool late;
	uint64_t asked_ms;
};

/* Listening sockets that were open before we started: <n> descriptors from <first> on. */
enum { INHERITED_MAX = 64, INHERIT_COVERED = -2 };
struct inherited {
	int first;
	unsigned n;
	const struct config_listener *by[INHERITED_MAX]; /* who has it; NULL: nobody yet */
};

/* What the heap's own books said last. One thread's; zeroed: nothing yet. */
struct heap_gauge {
	uint64_t value, next_ms;
};

struct server {
	struct server_options options;
	struct config *config;
	pthread_mutex_t lock; /* of <world> */
	struct watch *watch;
	struct world *world;
	atomic_uint generation; /* counts worlds */
	atomic_bool stopping;

	_Atomic int64_t connections; /* counted only with global_max_connections */
	struct listener *listeners;
	struct judge *judges;
	struct tls_tickets *tickets; /* keys of session tickets, for all listeners and workers */
	unsigned n_listeners;
	struct asides *asides;
	struct persist *persist; /* NULL: sessions and retained messages are in memory only */
	struct diary *diary;
	struct board *board; /* alarms */
	struct renewals *renewals;
	struct successions *successions;
	struct registrations *registrations;
	struct feed *feed;
	char id[17];           /* of this life of the broker */
	struct broker *broker;
	struct runner *bridges; /* all that ever were; of the main thread */
	struct metrics_bridges *bridge_certificates; /* under <lock> */
	struct worker *workers;
	unsigned n_workers;
	struct privileges privileges;
	struct authz_principal *nobody; /* whom anonymous connections share */
	struct logins *logins;
	struct ocsp *ocsp;
	struct staples *staples;
	struct dynamics *dynamics;
	pthread_mutex_t changing;    /* held by who exchanges policies: a reload, dynamic security */
	struct broker_listener *told; /* what the broker has, under <changing>; policies are the world's */
	struct buckets *origins;        /* networks and addresses, for their rates */
	struct inherited inherited;     /* empty once listen_all() is done */
	struct metrics_counters *counters;
	struct logtopics *logtopics; /* NULL: no log_dest topic */
	int64_t started;                /* seconds since 1970 */
	struct memory {
		_Atomic int64_t limit; /* 0: none; a reload exchanges it */
		_Atomic uint64_t used; /* bytes, when they were measured last; the main thread writes this and the next */
		atomic_uint level;     /* enum broker_shed */
		bool limited; /* the broker was told of a limit */
		struct heap_gauge heap;
	} memory;
	uint64_t watchdog_ms;           /* 0: nobody watches */
	uint64_t alarm_ms, alarm_log_ms; /* when certificates are looked at again, and when the log is told again; of the main thread */
};

/* ---- memory.c: memory_limit ---- */

/* Bytes in use; not always looked at anew, as that can take long. */
uint64_t heap_bytes(struct heap_gauge *g, uint64_t now_ms);
/* Bytes of the process in RAM. False: /proc is not there. */
bool memory_resident(uint64_t *ret);
/* Where <used> of <limit> leads to from the level <old>. */
enum broker_shed memory_level(enum broker_shed old, uint64_t used, uint64_t limit);
/* Measure, tell the broker, and the log when something changes; every MEMORY_EVERY_MS, on the main thread. */
enum { MEMORY_EVERY_MS = 100 };
void memory_tick(struct server *s, uint64_t now_ms);

/* ---- sys.c: the $SYS tree ---- */

struct sys *sys_new(unsigned interval_s, uint64_t now_ms); /* NULL: 0 seconds, or out of memory */
void sys_free(struct sys *y);                              /* NULL is fine */
/* On the thread of <w>. Returns ms until it has something to say again. */
uint64_t sys_turn(struct sys *y, const struct worker *w, uint64_t now_ms);

/* ---- identity.c ---- */

/* authz_facts.credential of who was named by a trusted proxy, and of who is in quarantine only for want of a registration; tags of passwords and
 * keys are odd. */
enum { CREDENTIAL_PROXIED = 2, CREDENTIAL_UNREGISTERED = 4 };
/* What the network knows of a peer as a principal; NULL: out of memory. <peer> may be NULL. */
struct authz_principal *identity_of_peer(
    unsigned rules, const struct pki_peer *peer, struct authz_principal *nobody);
/* The same of a client whose certificate a proxy has verified and named. */
struct authz_principal *identity_of_proxied(const char *name);
struct authz_principal *identity_of_console(const char *name); /* who is signed in at control: "all NAME" or "tenant TENANT" */
struct authz_principal *identity_of_psk(unsigned rules, const char *identity, uint64_t credential); /* of a pre-shared key */
/* broker_ports.authenticate without its context. BROKER_LOGIN_PENDING: the password decides. */
uint8_t identity_judge(unsigned rules, struct broker_login *login);
/* Does the transport already say who it is, so that CONNECT is not asked? */
bool identity_is_known(unsigned rules, const struct authz_principal *cert);
/* The same person under another name; NULL: out of memory. It never makes a certificate's identity. <credential>: passwd_tag() of
 * what the password was compared with; 0: the name was just taken. */
struct authz_principal *identity_as(const struct authz_principal *cert, struct slice username, uint64_t credential);
/* The password was right: the verdict. */
uint8_t identity_named(struct broker_login *login, struct slice username, uint64_t credential);

/* ---- login.c: passwords ---- */

/* Threads that compute hashes, and the queue in front of them. */
struct logins;
struct logins *logins_new(void); /* NULL: out of memory */
bool logins_start(struct logins *ls, unsigned n_workers, struct err *err);
/* As broker_ports.authenticate. Any worker's thread. */
uint8_t logins_ask(struct logins *ls, struct judge *judge, struct broker_login *login);
/* Answer all that is pending and end the threads; before the loops are freed. NULL is fine. */
void logins_stop(struct logins *ls);
void logins_free(struct logins *ls); /* NULL is fine */
struct buckets *logins_attempts(struct logins *ls);
/* SCRAM_SECRET_N random bytes, new at each start. */
const uint8_t *logins_scram_secret(const struct logins *ls);

/* ---- scram.c: proofs of passwords ---- */

/* As broker_ports.exchange, and its end. Any worker's thread. */
uint8_t scram_step(struct logins *ls, struct judge *judge, unsigned rules, struct broker_exchange *x);
void scram_end(struct broker_exchange *x);

/* ---- buckets.c: token buckets by key ---- */

struct bucket_rule {
	uint64_t every_ns, burst; /* one token in that time; how many there may be, >= 1 */
};
struct buckets;
struct buckets *buckets_new(void); /* NULL: out of memory */
void buckets_free(struct buckets *b); /* NULL is fine */
/* Any thread. A <key> is a hash, of which two that are alike share a bucket. */
bool buckets_has(struct buckets *b, uint64_t key, const struct bucket_rule *r, uint64_t now_ns); /* a token? */
void buckets_take(struct buckets *b, uint64_t key, const struct bucket_rule *r, uint64_t now_ns); /* one, in any case */
void buckets_give(struct buckets *b, uint64_t key, const struct bucket_rule *r); /* back */
bool buckets_try(struct buckets *b, uint64_t key, const struct bucket_rule *r, uint64_t now_ns); /* one, if there is one */

/* ---- admit.c: connections a second ---- */

/* For how many ms <l> shall accept nobody; 0: go on. */
uint64_t admit_wait(struct listener *l, uint64_t now_ms);
/* May a connection from <addr> come in? It is counted. NULL: yes; else why not, static. */
const char *admit(struct listener *l, const struct sockaddr *addr, uint64_t now_ms);

/* ---- metrics.c: what $SYS says, and more, for Prometheus ---- */

/* What is counted for metrics alone. */
struct metrics_counters {
	_Atomic uint64_t refusals[REFUSAL_CAUSES];
	_Atomic uint64_t certificates[PKI_CAUSES]; /* REFUSAL_CERTIFICATE more exactly */
	_Atomic uint64_t handshakes, resumptions;  /* that were done; of these, by a ticket */
	/* Those that were not: by cause, NONE for who left without a byte. */
	_Atomic uint64_t handshake_refusals[REFUSAL_CAUSES], handshake_certificates[PKI_CAUSES];
	_Atomic uint64_t open_fds, fds_ms;         /* counted by the main thread; when */
	atomic_bool fds_wanted;                    /* somebody has asked since */
};
struct metrics_ca {
	const char *listener;
	const struct pki_trust *trust;
};
struct metrics_certificate {
	const char *listener, *file;
	int64_t not_after, staple_end; /* staple_end 0: none */
};
/* All that is said, from wherever it comes. */
struct metrics {
	const struct shard_stats *const *shards;
	unsigned n_shards;
	const struct metrics_certificate *certificates;
	unsigned n_certificates;
	const struct metrics_ca *cas;
	unsigned n_cas;
	const struct loop_stats *const *loops; /* n_shards of them, as of the next */
	const struct probe *const *probes;
	struct board *board;
	uint64_t memory_limit, memory_used;
	unsigned memory_level;
	const struct metrics_counters *counters;
	const struct tls_ticket_stats *tickets;
	struct registration_facts registry;
	const struct ocsp_counters *ocsp;
	const struct store *store; /* NULL: there is none */
	int64_t started;
};
/* What <s> (NULL: none) tells of itself; also the word for its state. */
void metrics_put_store(FILE *f, const struct store *s);
const char *metrics_store_state(const struct store *s);
void metrics_put_ocsp(FILE *f, const struct ocsp_counters *c); /* NULL: none */
void metrics_put_health(FILE *f, const struct metrics *m);
/* A TLS handshake that was not done. */
void metrics_count_handshake(struct metrics_counters *c, const struct refusal *r);
/* On the main thread, now and then: count what takes long, if anybody wants to know. */
void metrics_tick(struct metrics_counters *c, uint64_t now_ms);
/* What the certificates of these bridges tell takes the place of what was told before. Out of memory: nothing is. */
void metrics_bridges_set(struct server *s, const struct bridge_plans *plans);
void metrics_count_refusal(struct metrics_counters *c, const struct refusal *r);
/* In the text format 0.0.4; free(). NULL: out of memory. */
char *metrics_text(const struct metrics *m, size_t *ret_n);
/* The one file of a listener for metrics. */
struct ws_files metrics_files(struct server *s);
/* May <who>, as identity_of_peer() or identity_of_psk() made him, read them on <l>? Any thread. */
bool metrics_may_read(struct listener *l, const struct authz_principal *who);

/* ---- renew.c: devices that ask for a new certificate over MQTT ---- */

struct renewals;
struct renewal {
	int64_t time; /* of the request, or when he was here last; 0: this place is free */
	int64_t not_before, not_after;
	enum authz_role role;
	const char *quarantine; /* why he is in it, or NULL */
	uint8_t issuer_key[32];
	char name[4 * PKI_CN_MAX + 1], issuer[320], serial[2 * AUTHZ_SERIAL_MAX + 1], fingerprint[65];
	char *csr; /* PEM; NULL: he is in quarantine and has not asked yet */
};
struct renewals *renewals_new(void);       /* NULL: out of memory */
void renewals_free(struct renewals *x); /* NULL is fine */
/* As broker_ports.request. Any worker's thread. */
bool renew_request(struct server *s, struct broker_request *r);
/* <who> has connected: if that is in quarantine, he is listed. Any thread. */
void renew_seen(struct server *s, const struct authz_principal *who);
/* "expired", "not-yet-valid", "unregistered": why somebody is in quarantine; NULL: he is not. */
const char *renew_quarantine(const struct authz_facts *f);
/* Under a lock: <each> must be short. Any thread. */
void renewals_read(struct renewals *x, void (*each)(void *ctx, const struct renewal *r), void *ctx);
/* The administrator's word on one of them: the certificate and the CAs above it (PEM), or NULL: no. False: there is none such, or
 * out of memory. Any thread. */
bool renew_answer(struct server *s, const char *name, const char *fingerprint, const char *certificate);

/* ---- diary.c: the latest refusals ---- */

struct diary_note {
	int64_t time, not_before, not_after; /* seconds since 1970; 0: not known */
	int alert;                           /* of TLS; -1: none */
	const char *cause;                   /* static */
	char what[80], peer[80], listener[80], tls_version[12], serial[2 * AUTHZ_SERIAL_MAX + 1], fingerprint[65];
	char client_id[200], sni[200], subject[320], issuer[320], text[640], remedy[320];
};
struct diary *diary_new(void); /* NULL: out of memory */
void diary_free(struct diary *d); /* NULL is fine */
void diary_write(struct diary *d, const struct diary_note *note); /* any thread */
/* At most <max> of those about <key>, newest first: an address with or without its port, a client id, a common name or subject, a serial
 * number, a cause; "": all. Any thread; <each> must not write. */
void diary_read(struct diary *d, const char *key, unsigned max, void (*each)(void *ctx, const struct diary_note *x), void *ctx);

/* ---- control.c: the administrator's requests ---- */

extern const char control_policy[], console_policy[]; /* of listeners with `protocol control` and `console` */
/* As broker_ports.request; false: it is not for us. */
bool control_request(struct server *s, struct broker_request *r);
/* "publish", "will", …; NULL and unknown names: false. */
bool rights_action(const char *name, enum authz_action *ret, bool *ret_will);

/* ---- feed.c: events for control ---- */

struct feed *feed_new(struct server *s); /* NULL: out of memory */
void feed_free(struct feed *f);          /* NULL is fine */
bool feed_is_on(const struct feed *f);   /* does anybody listen? Any thread, costs nothing */
/* What the broker tells: news, or somebody who begins or ends to listen. On the thread of the client's home. */
void feed_event(struct feed *f, const struct broker_event *e);
/* <kind> of a device, as far as somebody listens. Any thread; control.h has the others. */
void feed_put_device(struct feed *f, const char *kind, const struct authz_principal *who, unsigned listener);
void feed_turn(struct feed *f, const struct worker *w); /* on <w>'s thread: send what has come */

/* ---- events.c ---- */

void event_of_broker(struct server *s, const struct broker_event *e);
void event_of_failure(struct listener *l, const struct net_peer *peer, const struct net_failure *f);
/* What client_came_by() shall remember of a TLS connection, for the record of a refusal. */
enum { CAME_BY_CAP = 352 }; /* the name alone has up to 255 bytes (RFC 6066 3) */
void event_came_by(const struct net_peer *peer, char *out, size_t cap);
/* A refusal of our own by max_connections, or <global>: global_max_connections. */
void event_of_limit(struct listener *l, const char *peer, bool global);
/* Say how many refusals were not logged, if any. */
void events_flush(struct server *s);
/* May one more refusal of this listener be logged at <now_ms>? */
bool event_ration(struct listener *l, uint64_t now_ms, uint32_t *ret_suppressed);

/* ---- limit.c: max_connections, global_max_connections ---- */

bool limit_applies(const struct listener *l);
/* Is there room for a connection? Counts it if so; else <ret_global> says whose limit it is. */
bool limit_take(struct listener *l, bool *ret_global);
void limit_give_back(struct listener *l);

/* Wrap <inner> so that limit_give_back() is called when it closes. NULL: out of memory. */
void *limit_new(struct listener *l, void *inner, const struct stream_ops *ops,
    const struct stream_ops **ret_ops);

/* ---- files.c: http_dir ---- */

/* A directory to serve from; *ret_fd is the caller's to close. */
bool files_open_dir(const char *path, int *ret_fd, struct err *err);
/* What is below <fd>, which must stay open: no symbolic link is followed on the way. */
struct ws_files files_below(const int *fd);

bool privileges_named(const char *name, struct privileges *ret); /* false: there is no such user */

/* ---- logdest.c, privileges.c, check.c, listen.c ---- */

struct logtopics;
struct logdest {
	bool daemon;
	uid_t owner; /* whom a new log file shall belong to, or (uid_t)-1 */
	gid_t group;
	struct logtopics *topics; /* for log_dest topic */
};
/* Send the log where the configuration says. */
bool logdest_open(const struct config *c, const struct logdest *d, struct err *err);

/* ---- logtopics.c: log lines as messages on $SYS/broker/log/… ---- */

struct logtopics *logtopics_new(void); /* NULL: out of memory */
bool logtopics_sink(struct logtopics *t);
/* From now on lines are for <w>, who publishes them in its turns; NULL: for nobody, they wait. Any thread. */
void logtopics_attach(struct logtopics *t, struct worker *w);
/* On the thread of <w>: publish what has come. */
void logtopics_turn(struct logtopics *t, struct worker *w);
void logtopics_free(struct logtopics *t); /* after log_reset_sinks(); NULL is fine */

/* ---- alarms.c ---- */

/* Raise alarms about certificates that are not valid, and those that end soon, if <now> or a minute has passed since the last time; and
 * if <now> say in the log which are not valid. Main thread. */
void alarm_certificates(struct server *s, bool now);
/* May <new> take the place of <old>? Not if a valid certificate would be exchanged for one that is not. */
bool alarm_may_exchange(const struct server *s, const struct world *old, const struct world *new, struct err *err);

/* ---- state.c: SIGUSR2 ---- */

/* Say in the log what there is: sessions, subscriptions, messages on each worker. */
void state_log(const struct server *s);

bool privileges_find(const struct config *c, struct privileges *ret, struct err *err);
/* Whom control becomes. *ret_guess (may be NULL): there is none of its own, and it was not said. */
bool privileges_control(const struct config *c, struct privileges *ret, bool *ret_guess, struct err *err);
/* For good; checked afterwards. */
bool privileges_drop(const struct privileges *p, struct err *err);
/* What is right for every start: no core dumps, no tracing, no new privileges, as many files as
 * allowed. */
void privileges_harden(void);
/* Be that user for a while, before other threads are there: what is made then is his. */
bool privileges_borrow(const struct privileges *p, struct err *err);
void privileges_return(const struct privileges *p); /* ends the process if it cannot */
/* Could that user read <path>? */
bool privileges_may_read(const struct privileges *p, const char *path);
bool privileges_may_write(const struct privileges *p, const char *path); /* the same */

/* Add warnings about what is legal and probably not meant: short-lived certificates, open key
 * files, … */
bool check_config(struct config *c, const struct privileges *p);

/* Open every listener for every loop. Nothing is listening after a failure once the loops are
 * freed. */
bool listen_all(struct server *s, struct err *err);
/* Only find the addresses; <each> gets them as text. */
bool listen_resolve(const struct config *c, const struct config_listener *l,
    void (*each)(void *ctx, const char *addr), void *ctx, struct err *err);

/* ---- wire.c: network to broker and back ---- */

/* The handler of the loops; its context is a struct worker. */
extern const struct net_handler server_handler;
struct broker_ports server_ports(struct server *s);
struct broker_settings settings_of_config(const struct config *c);
/* <ret> has room for all listeners and one more, for our own bridges. */
void broker_listeners_of(
    const struct config *c, const struct world *w, struct broker_listener *ret);

/* ---- persist.c: the durable store ---- */

/* Open it if the configuration wants one; before the broker is made and before other threads. */
bool persist_open(struct server *s, struct err *err);
struct store *persist_store(const struct server *s); /* NULL: everything is in memory */
/* Give the broker what it has kept. */
bool persist_recover(struct server *s, struct err *err);
bool persist_start(struct server *s, struct err *err);
void persist_quiet(struct server *s); /* before the loops go: nobody is woken any more */
void persist_close(struct server *s); /* after the broker has gone */

/* ---- reload.c ---- */

/* SIGHUP: read everything again; on any error the old state stays and it returns false. Logs. */
bool server_reload(struct server *s);
/* Give the listeners in <listeners> (1 << index) a new policy, of which a reference is taken. False: out of memory, nothing has
 * changed for them. Any thread but a worker's. */
bool server_set_policy(struct server *s, uint64_t listeners, struct authz_policy *policy);

/* ---- watch.c: files that change under us ---- */

/* A thread that takes revocation lists over as soon as they change, tells the broker whom that concerns, and raises alarms. */
struct watch *watch_new(struct server *s, struct err *err);
bool watch_start(struct watch *w, struct err *err);
/* Around a reload: the thread keeps off meanwhile, and looks at everything again afterwards. */
void watch_hold(struct watch *w);
void watch_release(struct watch *w);
uint64_t watch_looks(const char *path, bool *ret_young); /* of a file or directory: changes when it does; young: perhaps still being written */
void watch_look(struct watch *w); /* soon: something has changed that is an alarm, or is one no more. Any thread; NULL is fine */
void watch_free(struct watch *w);             /* ends the thread; NULL is fine */

/* ---- inherit.c: sockets from the service manager ---- */

/* What LISTEN_FDS announces, to this process; usually nothing. */
bool inherit_take(struct inherited *ret, struct err *err);
/* The socket for the address <wanted> of <l> into *ret_fd: -1 when there is none, INHERIT_COVERED
 * when a socket that <l> has already takes these clients too. False: there is one, and it lets in
 * whom the configuration keeps out. The descriptor stays in <in>. */
bool inherit_find(struct inherited *in, const struct config_listener *l,
    const struct sockaddr_storage *wanted, int *ret_fd, struct err *err);
/* Close them; <say>: name those that nobody wanted. */
void inherit_done(struct inherited *in, bool say);

/* ---- notify.c: messages to the service manager ---- */

void notify_ready(const struct server *s);
void notify_reloading(const struct server *s);
void notify_reload_failed(const struct server *s);
void notify_stopping(const struct server *s); /* NULL: of the supervisor of `signet serve` */
void notify_text(const char *text);           /* to the service manager itself */
/* How often it wants a sign of life at the least; 0: never. */
uint64_t watchdog_interval_ms(void);
/* Give one, unless a worker has been busy with one turn for more than half of that time. To be
 * called four times in it, by the main thread. */
void watchdog_tick(struct server *s, uint64_t now_ms);

uint64_t server_now_ms(void);

#endif
