/* Who somebody is and what he may do. One function decides; policies are data. Pure, no I/O: the same code is meant to be
 * linked into other brokers' plugins. */
#ifndef AUTHZ_AUTHZ_H
#define AUTHZ_AUTHZ_H

#include "base/err.h"
#include "base/slice.h"

/* From the key of the issuing CA, never from text in a name. */
enum authz_role {
	AUTHZ_ROLE_NONE, /* no certificate, or its issuer has no role */
	AUTHZ_ROLE_CLOUD, AUTHZ_ROLE_CLIENT, AUTHZ_ROLE_WATCH, AUTHZ_ROLE_CONTROL,
	AUTHZ_ROLE_QUARANTINE, /* not of a CA: a certificate out of its time, which may only ask for another; no policy speaks of it */
	AUTHZ_ROLE_COUNT
};
const char *authz_role_name(enum authz_role role);              /* "client", …; static */
bool authz_role_parse(struct slice name, enum authz_role *ret); /* "cloud", "client", "watch", "control" */

enum { AUTHZ_SERIAL_MAX = 20, AUTHZ_LINKS_MAX = 10, AUTHZ_CHAIN_MAX = 1 + AUTHZ_LINKS_MAX * (32 + 1 + AUTHZ_SERIAL_MAX) };

/* The chain above a certificate's issuer in a few bytes: for each CA, by whose key and under which serial number it was issued. So
 * that a connection can be judged again when nobody has its certificates any more. */
struct authz_link {
	const uint8_t *key;  /* of the issuer: SHA-256 of its SubjectPublicKeyInfo */
	struct slice serial; /* of who was issued */
	bool anchor;         /* the issuer was itself trusted */
};
void authz_chain_begin(uint8_t chain[static AUTHZ_CHAIN_MAX], size_t *ret_n, bool anchor); /* anchor: of the leaf's issuer */
bool authz_chain_add(uint8_t chain[static AUTHZ_CHAIN_MAX], size_t *n, const struct authz_link *l); /* false: too long */
bool authz_chain_anchored(struct slice *chain);                       /* takes the beginning off */
bool authz_chain_next(struct slice *chain, struct authz_link *ret);   /* then link by link; false: the end */

/* What was learned of a peer; the views are only read by authz_principal_new(). */
struct authz_facts {
	enum authz_role role;
	bool has_cert;
	struct slice cn;        /* common name of the certificate */
	struct slice username;  /* the name for %u: CN, subject or user name, by the listener's settings; .p NULL = anonymous */
	struct slice subject, issuer; /* RFC 2253 text, for people */
	struct slice serial;    /* big-endian bytes, at most AUTHZ_SERIAL_MAX */
	const uint8_t *issuer_key;   /* SHA-256 of the issuer's SubjectPublicKeyInfo, 32 bytes; NULL without certificate */
	const uint8_t *fingerprint;  /* SHA-256 of the certificate, 32 bytes; NULL without */
	struct slice chain;     /* of the CAs above, for authz_chain_anchored(); empty without */
	int64_t not_before;     /* of the certificate, seconds since 1970; 0: not known, as after a restart */
	int64_t not_after;      /* the earliest end in the chain, seconds since 1970; 0 without */
	uint64_t credential;    /* of the password or pre-shared key that was shown, as it was then; 0: none */
};

/* Immutable and counted across threads; one allocation. */
struct authz_principal;
struct authz_principal *authz_principal_new(const struct authz_facts *facts); /* NULL: out of memory or a field over 64 KiB */
struct authz_principal *authz_principal_ref(struct authz_principal *p);
void authz_principal_unref(struct authz_principal *p); /* NULL is fine */
/* Views borrow from <p>. */
void authz_principal_facts(const struct authz_principal *p, struct authz_facts *ret);
enum authz_role authz_principal_role(const struct authz_principal *p);
struct slice authz_principal_username(const struct authz_principal *p);
/* Same identity for the purpose of owning a session: same issuer key and CN with certificates, same user name without. */
bool authz_same_identity(const struct authz_principal *a, const struct authz_principal *b);

enum authz_action {
	AUTHZ_CONNECT,   /* topic is the client id (possibly empty) */
	AUTHZ_PUBLISH,   /* topic name (topic_name_ok()); also for wills */
	AUTHZ_SUBSCRIBE, /* topic filter, without "$share/NAME/" */
	AUTHZ_RECEIVE,   /* topic name of a message about to be delivered */
	AUTHZ_UNSUBSCRIBE, /* as SUBSCRIBE; only ranked policies ever refuse it */
};

/* Immutable once built, counted across threads. */
struct authz_policy;

struct authz_verdict {
	bool allowed;
	bool whole;      /* SUBSCRIBE: every message that the filter can match may also be received, so deliveries need no look */
	char why[160];   /* not allowed: the rule or the lack of one, in words for the log; no bytes from the peer */
};

/* The one function. <client_id>: the session's, for %c (for CONNECT: what the client sent). <who> is never NULL. Deny by default.
 * Fast when allowed for PUBLISH and RECEIVE: `why` is only written on refusal. Any thread. */
bool authz_allowed(const struct authz_policy *policy, const struct authz_principal *who, struct slice client_id,
    enum authz_action action, struct slice topic, struct authz_verdict *ret);

/* The same decision for people: true or false as authz_allowed(), and in <out> why, with the rule that decides and its line in the policy's
 * file, or the role and group of a ranked policy. Cut to <cap>. Not for the path of a message. */
bool authz_explain(const struct authz_policy *policy, const struct authz_principal *who, struct slice client_id,
    enum authz_action action, struct slice topic, char *out, size_t cap);

/* The same taken apart, for programs that show it. */
enum { AUTHZ_REASON_RULE = 1524, AUTHZ_SOURCE_MAX = 256, AUTHZ_TEXT_MAX = 256 * 1024 };
struct authz_reason {
	bool allowed, part;     /* part: of a filter; granted, and each delivery is judged */
	char source[AUTHZ_SOURCE_MAX]; /* file or ready-made policy in which the rule stands; "": no line decides */
	unsigned line;          /* of it; 0: no line decides */
	char rule[AUTHZ_REASON_RULE]; /* in words; of a ranked policy with its role and group; "": no rule decides */
	char why[160];          /* not allowed: as of authz_verdict */
	char remedy[600];       /* what would make it otherwise, a sentence or two; "": nothing that a policy could say */
	char fix[AUTHZ_REASON_RULE]; /* the line for it behind the end of the file, which the remedy speaks of; "": none */
};
void authz_reason(const struct authz_policy *policy, const struct authz_principal *who, struct slice client_id, enum authz_action action,
    struct slice topic, struct authz_reason *ret);
/* authz_explain()'s words for it; cut to <cap>. */
void authz_reason_text(const struct authz_reason *r, char *out, size_t cap);

/* What one client would gain and lose if <to> stood in the place of <from>; neither is ranked. */
struct authz_change {
	enum authz_action action; /* CONNECT, PUBLISH, RECEIVE */
	struct slice topic;       /* the filter of a rule of either that is about him, variables in place; CONNECT: his client id */
	bool lost;                /* less of it is allowed; else more */
};
struct authz_comparison {
	const struct authz_policy *from, *to;
	const struct authz_principal *who;
	struct slice client_id;
	void (*each)(void *ctx, const struct authz_change *c); /* who loses CONNECT is told of nothing else */
	void *ctx;
};
void authz_compare(const struct authz_comparison *c);

/* What somebody can do at once, for commands to be pasted: each is allowed, whatever rules say it. */
enum { AUTHZ_USAGE_MAX = 1025 };
struct authz_usage {
	char client_id[AUTHZ_USAGE_MAX]; /* with which he may be here: his CN or user name, with the policy's tenant where it wants one */
	char publish[AUTHZ_USAGE_MAX];   /* a topic name; "": there is none */
	char subscribe[AUTHZ_USAGE_MAX]; /* a filter; "": there is none */
};
/* <mount>: stands before each of his topics where they are judged; may be empty. False: he may not connect with any client id that can be
 * thought of here. Not for the path of a message. */
bool authz_usage(const struct authz_policy *policy, const struct authz_principal *who, struct slice mount, struct authz_usage *ret);

/* For an empty client id: the one that the policy assigns (springcore: the CN), borrowed from <who>; empty slice: none, the broker
 * makes one up. */
struct slice authz_assigned_client_id(const struct authz_policy *policy, const struct authz_principal *who);

/* Build a policy from the text of a policy file (docs/policies.md has the grammar) or of a mosquitto acl_file. <name> stands in
 * error texts with the line number: "acl.conf:12: …". NULL and <err> on the first mistake. */
struct authz_policy *authz_policy_parse(struct slice text, const char *name, struct err *err);
struct authz_policy *authz_policy_parse_acl(struct slice text, const char *name, struct err *err);
/* Is it the text of an acl_file, by its first word? */
bool authz_text_is_acl(struct slice text);
/* The text of a ready-made policy, "springcore" or "dojot", for authz_policy_parse(); the empty slice (.p NULL) if there is none
 * of that name. Static. */
struct slice authz_policy_builtin(const char *name);
/* Everything allowed (mosquitto without acl_file); certificates of the Cloud role still may not connect. */
struct authz_policy *authz_policy_open(void);

/* ---- ranked policies: lists of rules in an order, as mosquitto's dynamic security has them ---- */

enum authz_list {
	AUTHZ_LIST_SEND, AUTHZ_LIST_RECEIVE, AUTHZ_LIST_SUBSCRIBE_LITERAL, AUTHZ_LIST_SUBSCRIBE_PATTERN,
	AUTHZ_LIST_UNSUBSCRIBE_LITERAL, AUTHZ_LIST_UNSUBSCRIBE_PATTERN,
	AUTHZ_LISTS
};
struct authz_entry {
	enum authz_list list;
	bool allow;
	struct slice topic; /* a filter, with %c and %u but in the literal lists; authz_entry_ok() */
};
bool authz_entry_ok(struct slice topic);

/* The lists of one role. Immutable, counted across threads. */
struct authz_role_lists;
/* In each list the first entry that matches decides, in the order of <entries>. <name>: the role, for authz_explain(). NULL: out of memory. */
struct authz_role_lists *authz_role_lists_new(struct slice name, const struct authz_entry *entries, size_t n);
struct authz_role_lists *authz_role_lists_ref(struct authz_role_lists *l);
void authz_role_lists_unref(struct authz_role_lists *l); /* NULL is fine */

/* Somebody who may be here, and whose roles are asked in which order. */
struct authz_member {
	struct slice name;
	struct slice client_id; /* he must have; .p NULL: any */
	bool disabled;          /* known, and may not be here */
	struct authz_role_lists *const *roles;
	const struct slice *groups; /* through which he has each of the roles, for authz_explain(); .p NULL: it is his own; NULL: all are */
	size_t n_roles;
};
struct authz_ranking {
	const struct authz_member *members; /* no name twice */
	size_t n_members;
	struct authz_member anonymous; /* whom nobody named; only the roles count */
	/* Where no entry matches; never for topics and filters that begin with "$CONTROL". */
	bool send, receive, subscribe, unsubscribe;
};
/* Copies what it needs and takes references of its own. NULL: out of memory. */
struct authz_policy *authz_policy_ranked(const struct authz_ranking *from);

struct authz_policy *authz_policy_ref(struct authz_policy *p);
void authz_policy_unref(struct authz_policy *p); /* NULL is fine */
/* Describe the policy in words, a line a rule, for --test-config. */
void authz_policy_describe(const struct authz_policy *p, void (*line)(void *ctx, const char *text), void *ctx);
/* The same with the place of each rule: <source> and <line>; "" and 0 for what stands in no line. */
struct authz_told {
	const char *source, *text;
	unsigned line;
};
void authz_policy_tell(const struct authz_policy *p, void (*each)(void *ctx, const struct authz_told *t), void *ctx);
/* How many rules are there that may be about <who>? What authz_compare() takes grows with its square. */
size_t authz_policy_weight(const struct authz_policy *p, const struct authz_principal *who);
enum authz_kind { AUTHZ_KIND_OPEN, AUTHZ_KIND_ACL, AUTHZ_KIND_ROLES, AUTHZ_KIND_RANKED };
enum authz_kind authz_policy_kind(const struct authz_policy *p);
const char *authz_policy_source(const struct authz_policy *p);  /* the name that it was parsed under; "": none */
struct slice authz_policy_text(const struct authz_policy *p);   /* from which it was parsed; .p NULL: not kept, above AUTHZ_TEXT_MAX */

#endif
