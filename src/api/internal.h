/* How the parts of the control process hang together. Private to api/. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <regex.h>

#include "api/api.h"
#include "api/field.h"
#include "api/http.h"
#include "base/map.h"
#include "registry/registry.h"

enum {
	API_BODY_MAX = 256 * 1024, /* of a body, unless its operation says another */
	API_PARAMS_MAX = 4,        /* in a path */
	API_TEXT_MAX = 200,
	API_TOKEN_MAX = 2048,
	PASSWORD_MIN = 10,         /* characters */
	PASSWORD_MAX = 512,
};

struct blob;
struct call;
struct chan;
struct tunnel;
struct hash_job;
struct broker;
struct backup;
struct kept;
struct parcel;
struct enrol;
struct events;
struct presence;
struct records;
struct signers;
struct stale;

/* ---- operations: the router, the checks and the OpenAPI document read these rows ---- */

struct schema {
	const char *name;
	const struct field *rows;
};
enum op_flags {
	OP_OPEN = 1,      /* without a login */
	OP_SELF = 2,      /* every login may, whatever its rules are */
	OP_PLATFORM = 4,  /* only for users of the first tenant */
	OP_LIST = 8,      /* the answer is a page of <answer> */
	OP_ALL = 128,     /* the answer is all of them, in the form of a page */
	OP_QUIET = 16,    /* not for the audit log */
	OP_ONCE = 32,     /* takes an Idempotency-Key */
	OP_MATCH = 64,    /* takes If-Match */
	OP_PAGE = 256,    /* for a page of the console: the answer has the cookie */
	OP_PUBLIC = 512,  /* also without TLS */
	OP_ADMIN = 2048,  /* only for administrators, whatever else the rules of others say: it changes rules, or has all */
	OP_RATIONED = 4096, /* wrong passwords or secrets cost: 429 */
	OP_DOJOT = 1024,  /* of dojot: its handler looks at parameters and body itself, and refusals have the form of dojot's gateway */
};
struct op {
	const char *id, *summary;
	enum http_method method;
	const char *path;          /* "/api/v1/devices/{device}" */
	unsigned flags;            /* enum op_flags */
	unsigned status;           /* of success */
	void (*run)(struct call *c);
	const struct field *query; /* beside those that all have, or NULL */
	const struct schema *body, *answer; /* NULL: none */
	const char *example;       /* a body that is taken, JSON */
	size_t body_max;           /* 0: API_BODY_MAX */
	const char *media;         /* of an answer that is not JSON, or NULL */
	const char *takes;         /* of a body that is not JSON and is in body_bytes, or NULL */
};
struct op_group {
	const char *name, *about;
	const struct op *ops;
	size_t n;
};
extern const struct op_group *const op_groups[];
extern const size_t op_groups_n;
/* dojot's; not in the document. */
extern const struct op_group *const dojot_groups[];
extern const size_t dojot_groups_n;
enum { DOJOT_METRICS = 7, DOJOT_TOPICS = 3 };
extern const char *const dojot_topics[DOJOT_TOPICS]; /* of the broker, for dojot's metrics */
bool dojot_told(struct api *a, struct slice topic, struct slice payload); /* a message of the broker; false: not one of these */
bool dojot_prepare(struct api *a, struct err *err); /* the groups and permissions that dojot has from the beginning */
/* A line each, in the order of the document. */
extern const struct op_group
    group_login,
    group_tenants,
    group_users,
    group_groups,
    group_rights,
    group_policy,
    group_templates,
    group_devices,
    group_issue,
    group_bundles,
    group_certificates,
    group_broker,
    group_actuate,
    group_cas,
    group_audit,
    group_enrol,
    group_pending,
    group_events,
    group_backup,
    group_system;
extern const struct op_group group_public, group_ocsp, group_est;
/* The operation at a path. NULL: *ret_allowed has a bit (1 << enum http_method) for each method that there is one for; 0: nothing lies
 * there. <dojot>: look among dojot's, too. ret_params: the parts of the path that stand for {…}. */
const struct op *op_find(const struct http_path *p, enum http_method m, bool dojot, struct slice ret_params[static API_PARAMS_MAX], unsigned *ret_allowed);
/* Is a part of a path a parameter, "{name}" or "{name}.suffix"? ret_suffix: what must stand behind it. */
bool op_brace(struct slice part, struct slice *ret_name, struct slice *ret_suffix);
/* What a {name} in a path must be; never NULL for those of the table. */
const struct field *op_param(struct slice name);
extern const struct field page_query[]; /* limit and cursor */
extern const struct field tenant_query[]; /* "tenant": all that are logged in */

/* ---- who asks ---- */

enum actor_kind { ACTOR_NOBODY, ACTOR_USER, ACTOR_CERTIFICATE, ACTOR_LOCAL };
struct actor {
	enum actor_kind kind;
	char name[128];       /* "user:admin", "certificate:controller", "uid:0" */
	char tenant[REGISTRY_NAME_MAX + 1]; /* his own */
	bool first;           /* it is the first one, so that he may act in all others */
	int64_t user;         /* of ACTOR_USER */
	char jti[33];         /* of his token */
	int64_t expires, since, generation; /* of his token */
	bool cookie;          /* the token came in the cookie */
};

/* ---- one request, from its head to its answer ---- */

struct call {
	struct call *prev, *next; /* of all calls */
	struct api *api;
	struct chan *chan;    /* NULL: the client has gone, and the answer has no reader */
	const struct op *op;  /* NULL: there is none */
	uint8_t *head_bytes;
	size_t head_n;
	struct http_head head;
	struct http_path path;
	struct slice params[API_PARAMS_MAX]; /* in the order of the path */
	struct slice tail;    /* of a target that does not end with its path: /ocsp/{ca}/… */
	uint8_t *body_bytes;
	size_t body_n, body_cap, body_max;
	json_t *body;
	json_t *names;        /* that its record in the audit log has, or NULL */
	char peer[80];        /* "192.0.2.1:50000" */
	struct actor actor;
	char tenant[REGISTRY_NAME_MAX + 1]; /* in which he acts */
	int64_t version;      /* of the row that is shown, for its ETag */
	char key[80];         /* Idempotency-Key that is held; "": none */
	struct evbuffer *headers; /* of the answer */
	char cache[80];       /* Cache-Control of the answer; "": nobody keeps it */
	void *work;           /* of a handler that goes on later; call_work() */
	void (*answered)(struct call *c, const json_t *answer); /* what follows the broker's answer */
	void (*refused)(struct call *c, const char *why);        /* its refusal; NULL: a problem says so */
	void (*ended)(struct call *c); /* before it is freed, or NULL */
	void (*listed)(struct call *c, const struct err *why);  /* what follows when a revocation list is out; <why>: it is not */
	char listed_ca[REGISTRY_NAME_MAX + 1], listed_serial[2 * REGISTRY_SERIAL_MAX + 1];
	int listed_reason;
	bool replayed;        /* the answer is that of an earlier request */
	bool page;            /* the answer is one of the console's files */
};

/* Answers; each call gets exactly one, now or later, and is no longer the handler's after it. */
void call_json(struct call *c, unsigned status, json_t *body); /* takes <body>; NULL: out of memory */
void call_nothing(struct call *c);                             /* 204 */
void call_bytes(struct call *c, unsigned status, const char *type, struct slice body);
void call_blob(struct call *c, const char *type, struct blob *b); /* 200; counted */
/* A problem document (RFC 9457). <slug>: its type; <remedy>: one sentence, or NULL. */
void call_problem(struct call *c, unsigned status, const char *slug, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void call_faults(struct call *c, unsigned status, struct faults *f); /* takes the list */
void call_error(struct call *c, const struct err *err);             /* of the registry or the signer */
const char *call_why(const struct call *c, const struct err *err);  /* as the asker may read it; borrowed */
void call_header(struct call *c, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void call_header_lines(struct call *c, const char *lines); /* each with its CR LF */

void call_location(struct call *c, const char *folder, struct slice name); /* Location: <folder><name> */

/* The body's members. */
struct slice call_text(const struct call *c, const char *name); /* .p NULL: none, or null */
bool call_has(const struct call *c, const char *name);
int64_t call_int(const struct call *c, const char *name, int64_t otherwise);
bool call_bool(const struct call *c, const char *name, bool otherwise);
/* A parameter of the query, decoded; .p NULL: none. */
struct slice call_query(const struct call *c, const char *name);
int64_t call_query_int(const struct call *c, const char *name, int64_t otherwise);
int64_t call_param_int(const struct call *c, unsigned i); /* of a part of the path that is a number */
struct slice call_tenant(const struct call *c);
/* Compute the hash of a new password: <done> gets the call as its context. When too many wait, the call is answered instead. */
void call_hash(struct call *c, struct slice password, void (*done)(void *ctx, struct hash_job *j));
/* Compare, likewise. It counts as a wrong one until <done>, which takes that back (ports.spared) when it was right. */
struct hash_try {
	enum api_try what;
	struct slice user, hash;
};
void call_try_hash(struct call *c, const struct hash_try *t, struct slice password, void (*done)(void *ctx, struct hash_job *j));
/* The page that the query asks for. */
struct registry_page call_page(const struct call *c);
/* Answer with a page: {"items": <items>, "next": …} and a Link. Takes <items>. */
void call_page_json(struct call *c, json_t *items, const struct registry_page *page);
/* What came of it: <ok>, or <err>. A list (takes <items>); the row that the path names, whose version is looked at only when it is there
 * and is for the ETag (false: answered); something that has no answer of its own (204). */
void call_listed(struct call *c, bool ok, json_t *items, const struct registry_page *page, const struct err *err);
bool call_found(struct call *c, bool ok, const int64_t *version, const struct err *err);
void call_done(struct call *c, bool ok, const struct err *err);
/* Is <version> of the row still what If-Match says? False: the call is answered (412). */
bool call_if_match(struct call *c, int64_t version);
/* Is a tag that begins so (with its quote) in the list of an If-Match or If-None-Match? */
bool call_has_tag(struct slice list, struct slice begin);
/* The request without its head is there: checks, then the operation. */
void call_run(struct call *c);
/* Before the body is read. False: it is answered. */
bool call_admit(struct call *c);
struct call *call_new(struct chan *chan, struct slice head);
void call_free(struct call *c); /* NULL is fine */
/* The connection is gone. */
void call_orphan(struct call *c);

bool call_sees_ca(const struct call *c, const struct registry_ca *x); /* cas.c; one of another tenant is none */

/* ---- reply.c ---- */

/* Bytes that several answers send at one time. */
struct blob {
	unsigned refs;
	bool secret; /* wiped at the end */
	size_t n;
	uint8_t bytes[];
};
struct blob *blob_new(struct slice s); /* NULL: out of memory */
void blob_unref(struct blob *b);       /* NULL is fine */

struct reply {
	unsigned status;
	const char *type;        /* Content-Type, or NULL */
	struct slice body;
	struct blob *blob;       /* in the place of <body>, or NULL */
	struct evbuffer *headers; /* lines, or NULL */
	const char *cache;       /* Cache-Control, or NULL: nobody keeps it */
	bool plain;              /* without TLS */
	bool close;
	bool head_only;          /* the answer to HEAD: lengths without bytes */
	bool page;               /* one of the console's files, which a browser may show and run */
	bool endless;            /* what follows ends with the connection */
};
void reply_write(struct evbuffer *out, const struct reply *r);
const char *reply_reason(unsigned status);
json_t *problem_json(unsigned status, const char *slug, const char *detail, const char *remedy);

/* ---- page.c: the web console ---- */

/* False: the request is not for the console. Else it is answered. */
bool page_serve(struct call *c);
bool api_has_console(void);

/* ---- chan.c: connections; listen.c: where they come from ---- */

enum { LISTENER_SOCKETS_MAX = 4 };
struct listener {
	struct api *api;
	unsigned index, n;
	struct evconnlistener *ev[LISTENER_SOCKETS_MAX];
	struct event *again; /* after one could not be taken */
	struct tls_ctx *tls; /* NULL: a unix socket, or plain */
};
/* The connection's bytes are <t>'s from now on; the call is gone. */
struct bufferevent *chan_lend(struct chan *c, struct tunnel *t);
void chan_end(struct chan *c); /* and its tunnel */
const struct sockaddr_storage *chan_addr(const struct chan *c);
/* Takes <fd>. */
void chan_accept(struct listener *l, int fd, const struct sockaddr *addr, socklen_t len);
bool listeners_open(struct api *a, struct err *err);
void listeners_close(struct api *a);
void listeners_renew(struct api *a); /* with the TLS contexts of now */
void chans_close(struct api *a); /* all of them */
void chans_leave(struct api *a); /* those that wait for a request; the others after their answer */
/* The answer of the request that is being worked on. */
void chan_answer(struct chan *c, struct reply *r);
const struct pki_peer *chan_peer(const struct chan *c); /* who was judged, or NULL */
struct x509_st *chan_certificate(const struct chan *c); /* his, borrowed, or NULL */
/* What only the two ends of this connection know: with TLS 1.3 tls-exporter (RFC 9266), with TLS 1.2 and an extended master secret tls-unique (RFC 5929).
 * Bytes written; 0: there is nothing. */
enum { CHAN_BINDING_MAX = 64 };
size_t chan_binding(const struct chan *c, uint8_t out[static CHAN_BINDING_MAX]);
struct api *chan_api(const struct chan *c);
bool chan_is_plain(const struct chan *c);               /* without TLS: only what is OP_PUBLIC */
bool chan_is_local(const struct chan *c);               /* over the unix socket, and one of those who may */
bool chan_is_loopback(const struct chan *c);            /* from this machine, over TCP */
const char *chan_peer_text(const struct chan *c);       /* "192.0.2.1:50000" */
bool chan_continue(struct chan *c);                     /* "100 Continue" */
/* A 200 that goes on until the connection ends, or the login of who asked: the call stays, and call.ended is told at its end. False: it is
 * over already. From within any of these nothing is freed; <s> goes out when the client reads, and who does not is sent away. */
bool chan_stream(struct chan *c, const char *type, struct evbuffer *headers);
bool chan_stream_put(struct chan *c, struct slice s);
void chan_stream_end(struct chan *c);

/* ---- address.c ---- */

struct address;
/* Count one more from there. NULL: there are as many as may be, or no memory. */
struct address *address_take(struct api *a, const struct sockaddr_storage *s);
void address_give(struct api *a, struct address *x); /* NULL is fine */

/* ---- auth.c ---- */

struct tokens;
struct tokens *tokens_new(unsigned life_s);
void tokens_free(struct tokens *t); /* NULL is fine */
struct token {
	const char *more;     /* in of _issue only: other claims, a JSON object, or NULL */
	char jti[33];
	char tenant[REGISTRY_NAME_MAX + 1];
	int64_t user, generation, issued, expires;
	int64_t since; /* the sign-in that it renews; 0: it is the first */
};
/* free(). NULL: out of memory. <t>: user, generation and tenant, and of one that is renewed jti and since; the rest comes out. */
char *token_issue(struct tokens *ts, struct token *t, int64_t now);
/* False: it is none of ours, changed, expired, not yet good, or given back; *ret_why: static. */
bool token_read(struct tokens *ts, struct slice text, int64_t now, struct token *ret, const char **ret_why);
bool token_revoke(struct tokens *ts, const char *jti, int64_t expires, int64_t now);

/* Who asks? False: the call is answered (401). */
bool auth_who(struct call *c);
/* May he use <method> on <path>, which has a slash at its end? */
bool auth_permits(struct api *a, const struct actor *who, enum http_method m, const char *path);
/* A permission's regular expression, anchored at the front as everywhere where these come from. False: it cannot be read. */
bool auth_pattern(struct slice rule, regex_t *re);
/* One of a permission that permits, or denies: what cannot be read fits nothing, or all. */
struct auth_rule {
	regex_t re;
	bool readable, deny;
};
void auth_rule_read(struct auth_rule *x, struct slice rule, bool deny);
bool auth_rule_fits(const struct auth_rule *x, const char *text);
void auth_rule_free(struct auth_rule *x);
bool auth_fits(struct slice rule, const char *text, bool deny); /* read for this one text */
/* Is the token's user still who he was, and what is he called? */
bool auth_still(struct api *a, const struct token *t, struct actor *ret);
/* May he? False: the call is answered (403). */
bool auth_may(struct call *c);
/* Is it still so, for an answer that goes on? */
bool auth_stands(struct call *c);
/* Is he in the group of administrators? Certificates and the unix socket are. */
bool actor_is_admin(const struct call *c);
bool user_is_admin(struct registry *r, int64_t user);

/* ---- users.c ---- */

/* The user, if he is of the call's tenant; false: answered. */
bool user_load(struct call *c, struct slice name, struct registry_user *ret);
/* His groups shall be those of the body's "groups" and no others, if it has them. */
bool user_set_groups(struct call *c, int64_t user, struct err *err);

/* ---- signin.c: browsers ---- */

#define API_COOKIE "__Host-signet"
extern const struct schema signin_schema;
extern const struct op_group group_signin;
/* The token in the cookie. False: there is none. */
bool signin_cookie(const struct call *c, struct slice *ret);
/* Nothing says that another site's page has made the browser send this. */
bool signin_same_origin(const struct call *c);
/* The same, and what would change something has the header that only pages of ours can set. */
bool signin_page(const struct call *c);
/* Answer with the cookie: <t> has user, generation and tenant. */
void signin_done(struct call *c, struct token *t, const char *name);
/* Show the link for the first sign-in, if there was none yet and somebody looks. */
void signin_offer(struct api *a);
void signin_forget(struct api *a); /* it is void from now on */

/* login.c: whose password it was. */
struct login {
	void (*done)(struct call *c, const struct login *who); /* <who> NULL: name or password is wrong */
	int64_t user; /* 0: nobody has this name, or nobody may log in under it */
	int64_t generation;
	char name[REGISTRY_NAME_MAX + 1], tenant[REGISTRY_NAME_MAX + 1];
};
/* Compare, within the bounds for wrong passwords; then <done>, or the call is answered (429, 503). Uses c->work. */
void login_try(struct call *c, struct slice name, struct slice password, void (*done)(struct call *c, const struct login *who));
/* A new token of <who>, with the claims <more> beside its own (a JSON object, or NULL); free(). *ret is filled in. */
char *login_token(struct call *c, const struct login *who, const char *more, struct token *ret);

/* ---- tunnel.c: MQTT over WebSocket, to the broker and back ---- */

/* False: the request is not for it. Else it is answered, or the connection is a tunnel from now on. */
bool tunnel_serve(struct call *c);
void tunnel_free(struct tunnel *t);
void tunnels_renew(struct api *a, const char *jti, int64_t expires);
void tunnels_end(struct api *a, const char *jti);
/* Something may have changed: those whose user may not look any more end. */
void tunnels_check(struct api *a);

/* ---- signers.c: the process that signs, and the audit log ---- */

/* certificates.c */
extern const struct schema certificate_schema;
const char *reason_name(int code);
/* The certificate, if the call's tenant may see it; false: answered. */
bool certificate_load(struct call *c, struct slice ca, struct slice serial, struct registry_certificate *ret);
/* A device's, and of a CA that issues for devices? Who gets another one of the Control CA is an administrator, of the cloud's the broker. */
bool certificate_is_device(struct api *a, const struct registry_certificate *x);
/* The certificate of the path, if the asker may change it; false: answered. */
bool certificate_load_to_change(struct call *c, struct registry_certificate *ret);
void certificate_show(struct call *c, struct slice ca, struct slice serial, unsigned status);
/* The registry has the certificate with another state: tell the signer, publish the list, then <done>; <why>: it is not published. */
void lists_publish(struct call *c, const struct registry_certificate *x, int reason, void (*done)(struct call *c, const struct err *why));
/* Make the list of <ca> now; then <done>, as above. */
void lists_make(struct call *c, struct slice ca, void (*done)(struct call *c, const struct err *why));
bool signers_open(struct api *a, struct err *err);
void signers_close(struct api *a);
/* Something was revoked or put back: CAs whose lists are due get new ones, and the signer books what it does not know yet. */
void lists_due(struct api *a);

/* ---- records.c: what the audit log is told ---- */

bool records_open(struct api *a, struct err *err);
void records_close(struct api *a);
void records_send(struct api *a); /* the signer is there, or there is something new */
void records_lost(struct api *a); /* it has gone: what it has not answered is sent again */
/* May something be done of which the log must know? False: the call is answered (503). */
bool records_room(struct call *c);
/* On the disk when it returns; the log has it as soon as the signer is there. */
void api_audit(struct api *a, const char *actor, const char *action, struct slice object);
/* The same, with all the names that it was about (or NULL): in as many records as it takes. */
void api_audit_names(struct api *a, const char *actor, const char *action, struct slice object, const json_t *names);
/* The call's record names this, too: what was made or changed is not in its target. */
void call_name(struct call *c, struct slice name);
void call_name_number(struct call *c, int64_t n);

/* ---- broker.c ---- */

bool broker_open(struct api *a, struct err *err);
void broker_close(struct api *a);
/* Something may have changed that the broker is to know. */
void broker_poke(struct api *a);

/* ---- worker.c: what takes long, on a thread of its own ---- */

struct worker;
enum { WORKER_WAITING_MAX = 64 };
struct job { /* the first member of what it is about */
	struct job *next;
	void (*work)(struct job *j); /* on that thread: touches nothing but what it is about */
	void (*done)(struct job *j); /* on the loop's thread, afterwards; frees it */
	void (*drop)(struct job *j); /* in the place of done(), when the process ends */
};
struct worker *worker_new(struct event_base *base);
void worker_free(struct worker *w); /* NULL is fine; what waits is not done any more */
/* False: too many wait; <j> stays the caller's. */
bool worker_add(struct worker *w, struct job *j);

/* ---- indexes.c: what commands issued and revoked ---- */

struct indexes;
bool indexes_open(struct api *a, struct err *err); /* while we may still read them */
bool indexes_begin(struct api *a);                 /* the registry is open; true */
void indexes_more(struct api *a);                  /* there may be CAs that were not there at the start */
void indexes_soon(struct api *a);                  /* look at them */
void indexes_lists(struct api *a);                 /* at the lists that commands made */
bool indexes_ready(const struct api *a);           /* they were read once: who was revoked meanwhile is known */
void indexes_close(struct api *a);

/* ---- hasher.c: passwords ---- */

struct hash_job {
	struct job job;
	char *hash;          /* what to compare with, in PASSWD_HASH_TEXT_MAX bytes; empty: one is made, and stands here */
	uint8_t *password;   /* wiped and freed */
	size_t password_n;
	void (*done)(void *ctx, struct hash_job *j); /* on the loop's thread; frees it with hash_job_free() */
	void *ctx;
	bool right;          /* it is the password; or: a hash was made */
};
struct hash_job *hash_job_new(struct slice hash, struct slice password); /* NULL: out of memory */
void hash_job_free(struct hash_job *j);
/* False: too many wait; <j> stays the caller's. */
bool hasher_add(struct worker *w, struct hash_job *j);

/* ---- the process ---- */

struct api {
	const struct api_config *config;
	struct event_base *base;
	struct registry *registry;
	struct tokens *tokens;
	struct worker *hasher;    /* passwords */
	struct worker *worker;    /* and what takes longer */
	int audit_fd;             /* -1: not open */
	char *decoy;              /* a hash of nobody's password */
	struct signers *signers;
	struct records *records;
	struct indexes *indexes;
	struct broker *broker;    /* NULL: there is none to speak to */
	struct enrol *enrol;      /* who is getting a certificate for a secret */
	struct events *events;
	struct presence *presence;
	struct stale *stale;
	struct parcel *parcels;   /* bundles that wait to be fetched */
	json_t *document;         /* OpenAPI */
	struct listener listeners[API_LISTENERS_MAX];
	struct chan *conns;
	unsigned n_chans, n_plain; /* plain ones are among n_chans */
	struct map addresses;     /* struct address */
	struct event *signals[3], *chores;
	struct call *calls;       /* all of them */
	struct tunnel *tunnels;
	unsigned n_tunnels;
	char dojot_metrics[DOJOT_METRICS][24]; /* the last values of dojot_topics; "": none yet */
	struct backup *backup;    /* that is being made, or NULL */
	struct kept *kept;        /* for backups: files that root has opened for us, or NULL */
	struct factory_ca *factories; /* CAs of factories, of the configuration */
	char link[64];            /* for the first sign-in */
	int64_t link_user, link_until; /* user 0: there is none */
	struct list *lists;       /* of revoked certificates, as they are sent */
	struct responder *responders;
	struct ocsp *ocsp;
	bool leaving;
};
void backup_stop(struct api *a);
bool backup_open(struct api *a, struct err *err); /* while we may still read them */
void backup_close(struct api *a);
/* public.c, responder.c, ocsp.c */
void public_close(struct api *a);
/* Ask the signer for what OCSP answers are signed with, where it is missing or half of its time is over. <fresh>: what was asked for before is
 * not answered any more. */
void responders_due(struct api *a, bool fresh);
void responders_close(struct api *a);
bool ocsp_open(struct api *a, struct err *err);
void ocsp_close(struct api *a);
void api_chan_gone(struct api *a);
int64_t api_now(const struct api *a); /* seconds since 1970 */
void bundles_expire(struct api *a, int64_t now); /* those whose time is over by <now> are wiped */
/* auditing.c: before the process gives up what it may. */
void auditing_open(struct api *a);
void auditing_close(struct api *a);
json_t *document_json(void);          /* the OpenAPI document; NULL: out of memory */
json_t *time_json(int64_t t);         /* RFC 3339; 0: null */
int64_t time_read(struct slice s);    /* a text of rule_time; 0: none, or no such time */
json_t *text_json(struct slice s);
json_t *pem_json(struct slice der, const char *label); /* "CERTIFICATE"; null without bytes */

#endif
