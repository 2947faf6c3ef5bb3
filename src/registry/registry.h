/* The registry: who and what belongs here. Tenants, people and their rights, templates, devices, their certificates and enrolment
 * secrets, the CAs with their lists, and what the broker is to be told. One SQLite file, registry.db, mode 0600.
 *
 * One process has it open, one thread uses it; every function is synchronous. A function that changes something is one transaction
 * and durable when it returns true, unless it stands between registry_begin() and registry_commit(). False: nothing of it was done,
 * and <err> says why:
 *   ERR_INPUT     text that is not UTF-8, holds NUL, is too long or not of its kind; a cursor that is none; the file is damaged
 *   ERR_EXISTS    the name, number or key is taken
 *   ERR_MISSING   there is no such tenant, user, device, …
 *   ERR_CONFLICT  .version is not the row's: somebody else changed it meanwhile
 *   ERR_DENIED    what is asked may not be: something in use is removed, the last administrator, a secret that is void
 *   ERR_LIMIT     a bound was reached, or the disk is full
 *   ERR_SYSTEM, ERR_MEMORY
 * Rows are structs, the same for what goes in and what comes out; fields marked "out" are not looked at when it goes in. Texts are
 * slices; those that come out have a NUL behind their last byte. A _get fills a row whose texts are all in .mem: free(row.mem). The
 * rows of an _each or _list are borrowed for the callback, whose false ends the walk without an error; a callback calls nothing
 * that changes the registry. Times are seconds UTC, 0 where there is none. JSON is kept as it is given: the caller has checked it. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include "base/err.h"
#include "base/slice.h"

struct registry;

enum {
	REGISTRY_NAME_MAX = 64,     /* bytes of a tenant's, user's, group's, permission's or CA's name; characters of a device's id and CN */
	REGISTRY_LABEL_MAX = 256,   /* bytes of labels, e-mail addresses, descriptions, regular expressions and other short texts */
	REGISTRY_JSON_MAX = 262144, /* bytes of a JSON text or a reply that is kept */
	REGISTRY_DER_MAX = 65536,   /* bytes of a certificate */
	REGISTRY_CRL_MAX = 1 << 28, /* bytes of a revocation list */
	REGISTRY_TEMPLATES_MAX = 32, /* of one device */
	REGISTRY_SERIAL_MAX = 20,   /* bytes: RFC 5280 4.1.2.2 */
	REGISTRY_HASH = 32,         /* bytes of a SHA-256 */
	REGISTRY_PAGE_MAX = 1000,
	REGISTRY_PAGE = 100,        /* rows of a page whose .limit is 0 */
};

/* ---- opening ---- */

struct registry_options {
	const char *path;               /* of registry.db; path.lock beside it says who has it */
	bool create;                    /* make it when it is missing */
	bool read_only;                 /* nothing is changed; refused while another process writes */
	bool check;                     /* quick_check before use: about a second for a million devices */
	int64_t (*now)(void *ctx);      /* NULL: the clock */
	void *ctx;
};
/* NULL with <err>: locked (ERR_EXISTS, with the process that has it), no database of ours, damaged or of a newer version (ERR_INPUT),
 * missing, permission, disk. An older version is brought up to date; a copy of it stays as path.vN. What was in the middle of
 * something when the last process died is put right: claims on secrets fall back, unfinished idempotency keys go. */
struct registry *registry_open(const struct registry_options *o, struct err *err);
void registry_close(struct registry *r); /* NULL is fine; an open transaction is rolled back */

/* Several changes as one; durable with the commit. A change that fails leaves the others of the transaction as they were. No
 * nesting. False of a commit: nothing of it was done. Rolling back without a transaction does nothing. */
bool registry_begin(struct registry *r, struct err *err);
bool registry_commit(struct registry *r, struct err *err);
void registry_rollback(struct registry *r);

/* ---- pages: by key, so that each costs the same however far in it is ---- */

enum { REGISTRY_CURSOR_MAX = 1152 };
struct registry_page {
	struct slice cursor;            /* .next of the page before; empty: the first */
	unsigned limit;                 /* rows; 0: REGISTRY_PAGE, more than REGISTRY_PAGE_MAX is that */
	char next[REGISTRY_CURSOR_MAX]; /* out: "" when this was the last; letters and digits only. A page may be short, even empty, and
	                                 * have a successor: a filter that fits little is worked off in bounded steps. Not for another
	                                 * list or order (ERR_INPUT), but for another filter */
};

/* ---- tenants ---- */

/* The first one made has devices whose CN is their id; of all others it is "tenant:id". */
struct registry_tenant {
	struct slice name;              /* a-z 0-9 _ -, begins with a letter or digit */
	struct slice quotas;            /* JSON or empty */
	bool disabled;
	bool first;                     /* out */
	int64_t devices, users;         /* out; kept, not counted */
	int64_t created, version;       /* out; _set: version 0 = whatever it is */
	void *mem;
};
typedef bool registry_tenant_fn(void *ctx, const struct registry_tenant *t);
bool registry_tenant_add(struct registry *r, const struct registry_tenant *t, struct err *err);
bool registry_tenant_set(struct registry *r, const struct registry_tenant *t, struct err *err); /* all but the name */
/* ERR_DENIED while it has users, devices or templates, and for the first. */
bool registry_tenant_remove(struct registry *r, struct slice name, struct err *err);
bool registry_tenant_get(struct registry *r, struct slice name, struct registry_tenant *ret, struct err *err);
bool registry_tenant_first(struct registry *r, struct registry_tenant *ret, struct err *err); /* whose devices have their ids as common names */
bool registry_tenant_list(struct registry *r, struct registry_page *page, registry_tenant_fn *each, void *ctx, struct err *err);

/* ---- users ---- */

/* Names and e-mail addresses are unique over all tenants and kept in lower case (ASCII). */
struct registry_user {
	int64_t id;                     /* out of _add's *ret_id; in for _set */
	struct slice tenant, name;      /* name: a-z 0-9 _ - . @, begins with a letter or digit; _set does not change these two */
	struct slice full_name, email, profile; /* email empty: none */
	struct slice password;          /* an encoded hash, never the password; _set does not change it; empty: nobody can log in */
	bool disabled;
	int64_t generation;             /* out: raised whenever tokens issued before are void: password, disabled, removed rights */
	int64_t failures, locked_until; /* out: see registry_user_login() */
	int64_t last_login, password_changed; /* out */
	int64_t created, version;       /* out */
	void *mem;
};
typedef bool registry_user_fn(void *ctx, const struct registry_user *u);
struct registry_user_filter {
	struct slice tenant;            /* empty: all */
	struct slice prefix;            /* of the name */
	int64_t group;                  /* 0: any */
};
bool registry_user_add(struct registry *r, const struct registry_user *u, int64_t *ret_id, struct err *err);
/* tenant and name are not looked at. ERR_DENIED: would leave its tenant no administrator. */
bool registry_user_set(struct registry *r, const struct registry_user *u, struct err *err);
bool registry_user_remove(struct registry *r, int64_t id, struct err *err);
bool registry_user_get(struct registry *r, int64_t id, struct registry_user *ret, struct err *err);
bool registry_user_find(struct registry *r, struct slice name, struct registry_user *ret, struct err *err);
bool registry_user_list(struct registry *r, const struct registry_user_filter *f, struct registry_page *page, registry_user_fn *each,
    void *ctx, struct err *err);
/* The hash of a new password; none of an old one is kept. Failures and lock are cleared. */
bool registry_user_set_password(struct registry *r, int64_t id, struct slice hash, struct err *err);
/* What came of a login: failures are counted, with a lock until <locked_until> (0: none); success clears both. */
bool registry_user_login(struct registry *r, int64_t id, bool success, int64_t locked_until, struct err *err);

/* ---- groups and permissions, as dojot has them: platform-wide ---- */

/* Who is in this group is an administrator: the last enabled one of each tenant stays (ERR_DENIED), unless he is the last user of a tenant that
 * is not the first, so that it can be removed. */
#define REGISTRY_ADMIN_GROUP "admin"

struct registry_group {
	int64_t id;
	struct slice name, description;
	bool system;                    /* ours: cannot be removed */
	int64_t created, version;       /* out */
	void *mem;
};
struct registry_permission {
	int64_t id;
	struct slice name, path, method; /* path and method: regular expressions, anchored at the start */
	bool deny, system;
	int64_t created, version;       /* out */
	void *mem;
};
typedef bool registry_group_fn(void *ctx, const struct registry_group *g);
typedef bool registry_permission_fn(void *ctx, const struct registry_permission *p);
bool registry_group_add(struct registry *r, const struct registry_group *g, int64_t *ret_id, struct err *err);
bool registry_group_set(struct registry *r, const struct registry_group *g, struct err *err);
bool registry_group_remove(struct registry *r, int64_t id, struct err *err);
bool registry_group_get(struct registry *r, int64_t id, struct registry_group *ret, struct err *err);
bool registry_group_find(struct registry *r, struct slice name, struct registry_group *ret, struct err *err);
bool registry_permission_add(struct registry *r, const struct registry_permission *p, int64_t *ret_id, struct err *err);
bool registry_permission_set(struct registry *r, const struct registry_permission *p, struct err *err);
bool registry_permission_remove(struct registry *r, int64_t id, struct err *err);
bool registry_permission_get(struct registry *r, int64_t id, struct registry_permission *ret, struct err *err);
bool registry_permission_find(struct registry *r, struct slice name, struct registry_permission *ret, struct err *err);

enum registry_link { REGISTRY_USER_GROUP, REGISTRY_USER_PERMISSION, REGISTRY_GROUP_PERMISSION };
/* ERR_EXISTS: is so already; ERR_MISSING: one of the two, or the link, is not there. */
bool registry_link_add(struct registry *r, enum registry_link kind, int64_t a, int64_t b, struct err *err);
bool registry_link_remove(struct registry *r, enum registry_link kind, int64_t a, int64_t b, struct err *err);
/* By name. Of user <user>'s groups; <user> 0: all. */
bool registry_group_each(struct registry *r, int64_t user, registry_group_fn *each, void *ctx, struct err *err);
/* By name. All (<of> 0), or those that are linked with <of>, a user or a group. */
bool registry_permission_each(struct registry *r, enum registry_link kind, int64_t of, registry_permission_fn *each, void *ctx,
    struct err *err);
/* What counts for a user: <direct> ones come first, then those of its groups. */
bool registry_user_rules(struct registry *r, int64_t user, bool (*each)(void *ctx, bool direct, const struct registry_permission *p),
    void *ctx, struct err *err);

/* ---- templates ---- */

struct registry_template {
	int64_t id;                     /* never used twice */
	struct slice tenant, label;
	struct slice attrs;             /* JSON */
	int64_t devices;                /* out; counted up to REGISTRY_PAGE_MAX */
	int64_t created, updated, version; /* out */
	void *mem;
};
typedef bool registry_template_fn(void *ctx, const struct registry_template *t);
bool registry_template_add(struct registry *r, const struct registry_template *t, int64_t *ret_id, struct err *err);
/* .tenant must be the template's: else ERR_MISSING; so with _get and _remove. */
bool registry_template_set(struct registry *r, const struct registry_template *t, struct err *err);
bool registry_template_remove(struct registry *r, struct slice tenant, int64_t id, struct err *err); /* ERR_DENIED: in use */
bool registry_template_get(struct registry *r, struct slice tenant, int64_t id, struct registry_template *ret, struct err *err);
/* By id; <prefix>: of the label. <tenant> empty: all. */
bool registry_template_list(struct registry *r, struct slice tenant, struct slice prefix, struct registry_page *page,
    registry_template_fn *each, void *ctx, struct err *err);
/* A number for each attribute of a template, never used twice in this registry (dojot's attrs[].id): <n> of them from *ret on. */
bool registry_attr_ids(struct registry *r, unsigned n, int64_t *ret, struct err *err);

/* ---- devices ---- */

enum registry_device_state { REGISTRY_ENABLED, REGISTRY_DISABLED, REGISTRY_PENDING, REGISTRY_QUARANTINED, REGISTRY_DEVICE_STATES };
const char *registry_device_state_name(enum registry_device_state s); /* "enabled", …; static */
bool registry_device_state_parse(struct slice name, enum registry_device_state *ret);

/* Of what a device has: active, if one of its certificates is, whenever it ends; else as its newest one is; none. What is active may have
 * ended: only <not_after> says so, and a filter. */
enum registry_device_certificate { REGISTRY_HAS_ACTIVE, REGISTRY_HAS_SUPERSEDED, REGISTRY_HAS_HOLD, REGISTRY_HAS_REVOKED, REGISTRY_HAS_NONE,
	REGISTRY_HAS_EXPIRED };

struct registry_device {
	struct slice tenant, id;        /* id: as a CN without ':', see registry_cn_ok() */
	struct slice cn;                /* out; in, when <tenant> is empty: the device is looked up by it */
	struct slice label;
	struct slice attrs;             /* JSON or empty: what is this device's own */
	int64_t templates[REGISTRY_TEMPLATES_MAX]; /* of its tenant, in order */
	size_t n_templates;
	enum registry_device_state state;
	int64_t not_after;              /* out: the latest end of its active certificates; 0: it has none */
	enum registry_device_certificate certificate; /* out: never EXPIRED */
	bool online;                    /* out: presence, see registry_presence_set() */
	int64_t since, last_seen;       /* out: online or offline since */
	struct slice address, status;   /* out */
	bool stale;                     /* out: its status messages have stopped */
	int64_t created, updated, version; /* out */
	void *mem;
};
typedef bool registry_device_fn(void *ctx, const struct registry_device *d);

/* A device with its end entity (NEW), perhaps a one-time secret, and the word to the broker: all or nothing. */
struct registry_device_new {
	struct registry_device device;
	struct slice ca, profile, subject; /* of the end entity; subject empty: "CN=<cn>" */
	struct slice secret;            /* SHA-256 of a one-time secret; empty: none */
	int64_t secret_expires;         /* 0: never */
	struct slice by;                /* who */
};
bool registry_device_add(struct registry *r, const struct registry_device_new *d, struct err *err);
/* label, attrs, templates and state. */
bool registry_device_set(struct registry *r, const struct registry_device *d, struct err *err);
/* Revokes its certificates with <reason> (registry_ca.crl_due is set), voids its secrets, keeps its end entity as REVOKED, and tells
 * the broker. *ret_revoked: certificates. */
bool registry_device_remove(struct registry *r, struct slice tenant, struct slice id, int reason, unsigned *ret_revoked,
    struct err *err);
bool registry_device_get(struct registry *r, struct slice tenant, struct slice id, struct registry_device *ret, struct err *err);
bool registry_device_find(struct registry *r, struct slice cn, struct registry_device *ret, struct err *err);

enum registry_device_order { REGISTRY_BY_ID, REGISTRY_BY_LABEL, REGISTRY_BY_EXPIRY, REGISTRY_BY_LAST_SEEN };
/* Rows come tenant by tenant, in this order within each. What an order has no value for it leaves out: BY_EXPIRY shows devices with
 * an active certificate, BY_LAST_SEEN those that were ever seen. */
struct registry_device_filter {
	enum registry_device_order order;
	struct slice tenant;            /* empty: all */
	struct slice prefix;            /* of the label in BY_LABEL, else of the id; capitals count */
	unsigned states;                /* 1u << enum registry_device_state, several; 0: all */
	int64_t template;               /* 0: any */
	int64_t expires_before;         /* its latest certificate ends before; 0: any */
	unsigned certificates;          /* 1u << enum registry_device_certificate, several; 0: any. ACTIVE are those that have not ended */
	int64_t seen_before, seen_after; /* 0: any; never seen counts as before everything */
	bool online, offline;           /* only these; both or none: any */
	bool stale, fresh;              /* fresh: not stale; both or none: any */
};
bool registry_device_list(struct registry *r, const struct registry_device_filter *f, struct registry_page *page,
    registry_device_fn *each, void *ctx, struct err *err);
/* How many of <tenant> (empty: all) in each state; kept, not counted. */
bool registry_device_totals(struct registry *r, struct slice tenant, int64_t ret[static REGISTRY_DEVICE_STATES], struct err *err);

/* Can <cn> be a device's CN: 1 to 64 characters of UTF-8, no control characters, none of "/ + #". */
bool registry_cn_ok(struct slice cn);

/* ---- presence: in batches, not a message ---- */

/* Of status messages, which come at an interval: are they expected of it? It is stale when they have stopped. */
enum registry_beat { REGISTRY_BEAT_SAME, REGISTRY_BEAT_NONE, REGISTRY_BEAT_EXPECTED, REGISTRY_BEAT_STALE };
struct registry_presence {
	struct slice cn;
	bool online;
	enum registry_beat beat;        /* SAME: as it was */
	int64_t since;                  /* 0: as it was */
	int64_t last_seen;              /* an older one than is known changes nothing */
	struct slice address;           /* empty: as it was */
	struct slice status;            /* of its status messages ("online,ready"); empty: as it was */
};
/* Those of devices that are not there are passed over. */
bool registry_presence_set(struct registry *r, const struct registry_presence *p, size_t n, struct err *err);
/* The common names of those whose beat is EXPECTED, at most <limit>, behind *at (begin with 0), which is moved; 0 again: these were all. */
bool registry_presence_expected(struct registry *r, int64_t *at, unsigned limit, bool (*each)(void *ctx, struct slice cn), void *ctx,
    struct err *err);
/* Nobody is online: before the broker states its whole truth anew. */
bool registry_presence_reset(struct registry *r, struct err *err);

/* ---- end entities: the CA's view of a device, and of who else gets certificates through dojot's /user ---- */

enum registry_entity_state {
	REGISTRY_NEW = 10, REGISTRY_FAILED = 11, REGISTRY_INITIALIZED = 20, REGISTRY_INPROCESS = 30, REGISTRY_GENERATED = 40,
	REGISTRY_REVOKED = 50, REGISTRY_HISTORICAL = 60,
};
struct registry_entity {
	struct slice name;              /* a device's CN, or a name of its own */
	struct slice tenant;            /* in: of one that has no device; empty: the platform's */
	struct slice device;            /* out: the id, empty: none */
	struct slice ca, profile, ee_profile, token_type, subject, password; /* password: an encoded hash or empty */
	struct slice other;             /* JSON: what else was given */
	enum registry_entity_state state;
	int64_t created, updated, version; /* out */
	void *mem;
};
bool registry_entity_put(struct registry *r, const struct registry_entity *e, struct err *err); /* makes or replaces */
bool registry_entity_set_state(struct registry *r, struct slice name, enum registry_entity_state state, struct err *err);
bool registry_entity_remove(struct registry *r, struct slice name, struct err *err);
bool registry_entity_get(struct registry *r, struct slice name, struct registry_entity *ret, struct err *err);

/* ---- enrolment secrets: only hashes (SHA-256 of what has 128 random bits or more) ---- */

struct registry_secret {
	int64_t id;                     /* out */
	struct slice tenant;            /* empty: any */
	struct slice device;            /* id; empty: whoever shows it (a fleet's token), of the tenant */
	struct slice purpose;           /* the caller's word: "one-time", "token", "retriever" */
	struct slice note;              /* JSON or empty: template, rules */
	struct slice hash;              /* REGISTRY_HASH bytes; in only: it never comes out */
	int64_t max_uses;               /* 0: without limit */
	int64_t uses;                   /* out: certificates that came of it */
	int64_t expires;                /* 0: never */
	bool revoked;                   /* out */
	struct slice by;
	int64_t created;                /* out */
	void *mem;
};
typedef bool registry_secret_fn(void *ctx, const struct registry_secret *s);
bool registry_secret_add(struct registry *r, const struct registry_secret *s, int64_t *ret_id, struct err *err);
/* Take one use of the secret with this hash while a certificate is made: <cn> empty, or who wants it: a device's secret is good for
 * that device only, a tenant's for its devices and for those that are not there yet. The claim ends with registry_certificate_add(),
 * with _unclaim(), or when the process dies: then it falls back. ERR_DENIED: unknown, expired, revoked, used up, somebody else's; the
 * text says which, for the log and not for the asker. */
bool registry_secret_claim(struct registry *r, struct slice hash, struct slice cn, struct registry_secret *ret, struct err *err);
bool registry_secret_unclaim(struct registry *r, int64_t id, struct err *err);
bool registry_secret_revoke(struct registry *r, int64_t id, struct err *err);
/* .tenant must be the secret's: else ERR_MISSING. */
bool registry_secret_get(struct registry *r, struct slice tenant, int64_t id, struct registry_secret *ret, struct err *err);
/* By id. Of <device>, if it is not empty. */
bool registry_secret_list(struct registry *r, struct slice tenant, struct slice device, struct registry_page *page,
    registry_secret_fn *each, void *ctx, struct err *err);

/* ---- certificate authorities ---- */

struct registry_ca {
	int64_t id;                     /* out; never used twice */
	struct slice name;              /* unique; a-z 0-9 A-Z _ - . */
	struct slice tenant;            /* of a CA that only this tenant's devices come from; empty: the platform's */
	struct slice role;              /* "client", "watch", "control", "cloud", … */
	struct slice parent;            /* name or empty */
	struct slice subject;           /* RFC 2253 */
	struct slice key;               /* SHA-256 of the SubjectPublicKeyInfo; unique */
	struct slice der;
	int64_t not_before, not_after;
	bool own;                       /* the signer has its key */
	bool auto_register;             /* devices with its certificates register themselves */
	bool retired;                   /* issues nothing any more */
	int64_t crl_number, crl_this, crl_next; /* out: the last list */
	bool crl_due;                   /* out: something was revoked, or put back, since the last list */
	int64_t created, version;       /* out */
	void *mem;
};
typedef bool registry_ca_fn(void *ctx, const struct registry_ca *c);
bool registry_ca_put(struct registry *r, const struct registry_ca *c, struct err *err); /* by name: makes or replaces */
bool registry_ca_get(struct registry *r, struct slice name, struct registry_ca *ret, struct err *err);
bool registry_ca_find(struct registry *r, struct slice key, struct registry_ca *ret, struct err *err);
bool registry_ca_each(struct registry *r, registry_ca_fn *each, void *ctx, struct err *err); /* by name */

/* A number for the next list: larger than all before, never used twice even if nothing comes of it. */
bool registry_crl_begin(struct registry *r, struct slice ca, int64_t *ret_number, struct err *err);
/* Keep the list and its dates. crl_due is cleared if nothing was revoked since its registry_crl_begin(). A number that is not
 * larger than the last is ERR_CONFLICT: a newer list is there. One made elsewhere (the CLI) may have any larger number. */
struct registry_crl {
	struct slice ca, der;
	int64_t number, this_update, next_update;
};
bool registry_crl_put(struct registry *r, const struct registry_crl *c, struct err *err);
/* The last list; free(*ret_mem). ERR_MISSING: none. */
bool registry_crl_get(struct registry *r, struct slice ca, struct slice *ret_der, void **ret_mem, struct err *err);
/* What stands on the list: revoked or on hold, and not past its end at the time of the last list (RFC 5280 3.3: it must be on one
 * list after that). By serial number. */
struct registry_revoked {
	char serial[2 * REGISTRY_SERIAL_MAX + 1];
	int64_t at;
	int reason;                     /* CRLReason; 0: not given */
};
bool registry_revoked_each(struct registry *r, struct slice ca, bool (*each)(void *ctx, const struct registry_revoked *v), void *ctx,
    struct err *err);

/* ---- certificates ---- */

enum registry_certificate_state { REGISTRY_CERT_ACTIVE, REGISTRY_CERT_SUPERSEDED, REGISTRY_CERT_HOLD, REGISTRY_CERT_REVOKED,
	REGISTRY_CERT_STATES };
const char *registry_certificate_state_name(enum registry_certificate_state s); /* "active", …; static */
bool registry_certificate_state_parse(struct slice name, enum registry_certificate_state *ret);

struct registry_certificate {
	struct slice ca;                /* name */
	char serial[2 * REGISTRY_SERIAL_MAX + 1]; /* lower-case hex, whole bytes, as in pki.h */
	char fingerprint[2 * REGISTRY_HASH + 1];  /* SHA-256, lower-case hex */
	char spki[2 * REGISTRY_HASH + 1];         /* SHA-256 of its key; "" when it is not known */
	struct slice cn;
	struct slice tenant, device;    /* out: id; empty: belongs to no device. In: both, or it goes to the device of its CN if the CA has
	                                 * the role "client", else to none */
	struct slice profile, origin, by; /* origin: "api", "est", "cli", "factory", … */
	struct slice der;               /* may be empty: only the index knew it */
	enum registry_certificate_state state; /* in: of an import; else out. An expired one keeps its state */
	int64_t not_before, not_after;
	int64_t revoked_at;             /* with REVOKED and HOLD */
	int reason;
	bool own;                       /* out: so is its CA, which can revoke it */
	int64_t created;                /* out */
	void *mem;
};
typedef bool registry_certificate_fn(void *ctx, const struct registry_certificate *c);

struct registry_certificate_new {
	struct registry_certificate certificate;
	int64_t secret;                 /* a claimed one, which is used now; 0: none */
	bool supersede;                 /* others of the device are SUPERSEDED now; without a device: of the CA and CN */
	bool keep_entity;               /* the end entity stays as it is; else the one of this CN becomes GENERATED */
};
/* ERR_EXISTS: serial or fingerprint is there already. ERR_DENIED: the claim is gone; the certificate must not go out. */
bool registry_certificate_add(struct registry *r, const struct registry_certificate_new *n, struct err *err);
/* One that was made while nobody looked (the CLI's index): made, or brought up to date: a revocation is taken over, never taken
 * back, der and key are filled in. *ret_news (may be NULL): something changed. ERR_CONFLICT: another one has this serial number. */
bool registry_certificate_import(struct registry *r, const struct registry_certificate *c, bool *ret_news, struct err *err);
bool registry_certificate_get(struct registry *r, struct slice ca, struct slice serial, struct registry_certificate *ret,
    struct err *err);
/* As the broker knows it: by the issuer's key (SHA-256) and the serial number's bytes. */
bool registry_certificate_find(struct registry *r, struct slice issuer_key, struct slice serial_bytes, struct registry_certificate *ret,
    struct err *err);
/* <fingerprint>: hex. */
bool registry_certificate_find_fingerprint(struct registry *r, struct slice fingerprint, struct registry_certificate *ret,
    struct err *err);
/* What was issued for the secret with this hash to the key with this SHA-256: while the secret's time is not over and the certificate is active, else
 * ERR_MISSING. */
bool registry_secret_answer(struct registry *r, struct slice hash, struct slice key, struct registry_certificate *ret, struct err *err);
/* Another owner; both empty: none. */
bool registry_certificate_assign(struct registry *r, struct slice fingerprint, struct slice tenant, struct slice device,
    struct err *err);
/* <reason>: CRLReason but 8 (removeFromCRL); 6 is HOLD. ERR_EXISTS: it is revoked already; from HOLD it can be. ERR_DENIED: the CA's key is
 * not here, so nothing would tell anybody. */
bool registry_certificate_revoke(struct registry *r, struct slice ca, struct slice serial, int reason, struct err *err);
bool registry_certificate_unhold(struct registry *r, struct slice ca, struct slice serial, struct err *err); /* ERR_DENIED: not on hold */
/* All of a CN that are not revoked. */
bool registry_certificate_revoke_all(struct registry *r, struct slice cn, int reason, unsigned *ret_n, struct err *err);
/* What stands neither in the CA's index nor in the audit log yet: revocations, holds (reason 6) and their ends (reason -1) of the functions
 * above and of registry_device_remove(), for CAs that are our own; oldest certificates first, at most <max>. It ends when <each> says false. */
struct registry_unbooked {
	struct slice ca;
	char serial[2 * REGISTRY_SERIAL_MAX + 1];
	int reason;                     /* CRLReason; -1: no longer on hold */
	int64_t at;
};
bool registry_unbooked_each(struct registry *r, unsigned max, bool (*each)(void *ctx, const struct registry_unbooked *v), void *ctx,
    struct err *err);
/* The signer has booked that; what was changed since stays. */
bool registry_booked(struct registry *r, struct slice ca, struct slice serial, int reason, struct err *err);

enum registry_certificate_order { REGISTRY_CERT_BY_AGE, REGISTRY_CERT_BY_EXPIRY };
struct registry_certificate_filter {
	enum registry_certificate_order order; /* BY_AGE: newest first; BY_EXPIRY: active ones, what ends next first */
	struct slice tenant, device;    /* empty: all */
	struct slice ca, cn;            /* empty: any */
	bool nobodys;                   /* those of names that no device here has; .tenant and .device are empty then */
	unsigned states;                /* 1u << enum registry_certificate_state; 0: all */
	int64_t expires_after, expires_before; /* 0: any */
	bool with_der;                  /* else .der is empty */
};
bool registry_certificate_list(struct registry *r, const struct registry_certificate_filter *f, struct registry_page *page,
    registry_certificate_fn *each, void *ctx, struct err *err);
/* On which days (UTC) active certificates end; kept, not counted. */
struct registry_expiry {
	struct slice tenant, ca;        /* empty: all */
	int64_t from;                   /* lies on the first day */
	size_t n;                       /* days */
	int64_t *days;                  /* out: how many end on each of these; the caller's */
	int64_t before, later;          /* out: end before the first, behind the last of them */
	int64_t last;                   /* out: when the last day begins on which one ends; 0: none ends */
};
bool registry_expiry(struct registry *r, struct registry_expiry *e, struct err *err); /* ERR_MISSING: no such CA or tenant */
/* How many of a tenant's (empty: of nobody's) are active, by CA; of CAs that have none nothing is said. <last>: as above. */
struct registry_active {
	struct slice ca;
	int64_t n, last;
};
bool registry_active_each(struct registry *r, struct slice tenant, bool (*each)(void *ctx, const struct registry_active *x), void *ctx, struct err *err);

/* ---- towards the broker: changes in order, and the whole truth ---- */

/* Raised by each change that the broker must know; never falls. */
bool registry_generation(struct registry *r, int64_t *ret, struct err *err);
struct registry_change {
	int64_t generation;
	struct slice tenant, cn;
	enum registry_device_state state;
	bool removed;                   /* its sessions are to be purged; a later change may make it anew */
};
typedef bool registry_change_fn(void *ctx, const struct registry_change *c);
/* Changes above <after>, in order, at most <limit>. Of one device only the last is kept, and a removal before it. ERR_CONFLICT: there
 * were more than are kept (REGISTRY_CHANGES_MAX): take a snapshot. Removals are always kept. */
enum { REGISTRY_CHANGES_MAX = 65536 };
bool registry_changes(struct registry *r, int64_t after, unsigned limit, registry_change_fn *each, void *ctx, struct err *err);
/* The broker has carried out all up to <generation>: they are forgotten. */
bool registry_changes_done(struct registry *r, int64_t generation, struct err *err);
/* All devices but removed ones, from the one behind *at on (begin with 0), at most <limit>; *at is moved, *ret_more says whether there
 * are others. Take registry_generation() first, then the slices, then the changes above it: what changes meanwhile is among these.
 * .generation is 0. */
bool registry_snapshot(struct registry *r, int64_t *at, unsigned limit, registry_change_fn *each, void *ctx, bool *ret_more,
    struct err *err);

/* ---- certificates of factories ---- */

/* A device's certificate that a factory's CA has made (.origin "factory") says nothing by its common name: the broker is told it as "/" and its
 * fingerprint, with the state of its device. As many as are not revoked: */
bool registry_factory_count(struct registry *r, int64_t *ret, struct err *err);
/* As registry_snapshot(), of them; .cn is what the broker is told. */
bool registry_factory_snapshot(struct registry *r, int64_t *at, unsigned limit, registry_change_fn *each, void *ctx, bool *ret_more, struct err *err);
/* Those with the common name of a change: <c> again with .cn as the broker is told it. Revoked ones only if it says removed. */
bool registry_factory_change(struct registry *r, const struct registry_change *c, registry_change_fn *each, void *ctx, struct err *err);

/* ---- idempotency keys of requests ---- */

/* Of one scope no more answers are kept than these, and the oldest give way: their keys are forgotten. */
enum { REGISTRY_REPLAYS_MAX = 4096, REGISTRY_REPLAY_BYTES_MAX = 16 << 20 };
enum registry_replay { REGISTRY_FIRST, REGISTRY_REPLAY, REGISTRY_RUNNING, REGISTRY_OTHER };
struct registry_reply {
	int status;
	struct slice head, body;        /* as they were given */
	void *mem;
};
/* <scope> (who) and <key>; <hash>: of the request. FIRST: go on, and end with _finish or _abandon. REPLAY: *ret is the reply. RUNNING:
 * the first is not finished. OTHER: the key was used for another request. */
bool registry_replay_begin(struct registry *r, struct slice scope, struct slice key, struct slice hash, enum registry_replay *ret_what,
    struct registry_reply *ret, struct err *err);
bool registry_replay_finish(struct registry *r, struct slice scope, struct slice key, const struct registry_reply *reply,
    int64_t expires, struct err *err);
bool registry_replay_abandon(struct registry *r, struct slice scope, struct slice key, struct err *err);

/* ---- records that the audit log does not have yet ---- */

enum { REGISTRY_RECORDS_MAX = 100000, REGISTRY_OBJECT_MAX = 512 /* bytes */ };
struct registry_record {
	int64_t n, at;                  /* out; never used twice, and when it was added */
	struct slice actor, action, object, details; /* details: JSON or empty */
	void *mem;
};
typedef bool registry_record_fn(void *ctx, const struct registry_record *x);
/* Fewer than REGISTRY_RECORDS_MAX wait: ask before what is to be told is done. Those that are added beyond it are kept, too. */
bool registry_records_room(struct registry *r, bool *ret, struct err *err);
bool registry_record_add(struct registry *r, const struct registry_record *x, struct err *err);
/* The oldest, in order, at most <limit>. */
bool registry_record_each(struct registry *r, unsigned limit, registry_record_fn *each, void *ctx, struct err *err);
/* The log has it. One that is not there is fine. */
bool registry_record_done(struct registry *r, int64_t n, struct err *err);

/* ---- housekeeping ---- */

/* Forget expired secrets and idempotency keys, at most <limit> of each. Call now and then. */
bool registry_purge(struct registry *r, unsigned limit, unsigned *ret_n, struct err *err);
/* A few words kept by name. *ret_value is empty when there is none; free(*ret_mem). */
bool registry_setting_get(struct registry *r, struct slice name, struct slice *ret_value, void **ret_mem, struct err *err);
bool registry_setting_set(struct registry *r, struct slice name, struct slice value, struct err *err); /* empty: forget */

/* A copy of one moment while the registry is in use; in steps, so that a caller with other duties can go on between them. What is
 * changed meanwhile is in the copy. <path> must not exist; it appears when it is whole. */
struct registry_backup;
struct registry_backup *registry_backup_new(struct registry *r, const char *path, struct err *err);
/* About <pages> pages of 4 KiB; *ret_done: it is there. */
bool registry_backup_step(struct registry_backup *b, unsigned pages, bool *ret_done, struct err *err);
void registry_backup_free(struct registry_backup *b); /* before registry_close(); what is not done leaves nothing. NULL is fine */

/* ---- without a process that has it open: read-only ---- */

struct registry_report {
	int version;                    /* of the schema */
	int64_t bytes, free_bytes;
	int64_t tenants, users, groups, permissions, templates, devices, certificates, revoked, cas, entities, secrets, changes;
	int64_t devices_of[REGISTRY_DEVICE_STATES];
	int64_t generation, faults;
};
/* Count; with <deep> also verify every page, index and reference, and that what is kept is what counting finds: each fault is one
 * call of <fault> and one in .faults. True when it could be read. */
bool registry_check(const char *path, bool deep, void (*fault)(void *ctx, const char *text), void *ctx, struct registry_report *ret,
    struct err *err);
/* Every row of every table as one JSON object, {"table":…,"column":…}; bytes as hex. Hashes of passwords and secrets are left out. */
bool registry_dump(const char *path, bool (*each)(void *ctx, const char *json, size_t n), void *ctx, struct err *err);

#endif
