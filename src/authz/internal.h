/* Private to authz/: how a policy is kept between those who parse it and the one who judges by it.
 * */
#ifndef AUTHZ_INTERNAL_H
#define AUTHZ_INTERNAL_H

#include <stdatomic.h>
#include "authz/authz.h"
#include "base/map.h"

enum {
	AUTHZ_LINE_MAX = 1024, /* bytes of a line, without its end */
	/* Bytes of a template with its values in place; longer ones match no filter. */
	AUTHZ_EXPANSION_MAX = 1024,
	AUTHZ_TENANT_MAX = 128,
};

/* ---- principal.c ---- */

/* One allocation: this, then subject, issuer, what of CN and user name is not found in them, serial
 * and digests. */
struct authz_principal {
	atomic_uint refs;
	uint8_t role, flags, serial_n;
	int64_t not_before, not_after;
	uint64_t credential;
	uint32_t cn_at, username_at, tail_at; /* in text */
	uint16_t subject_n, issuer_n, cn_n, username_n, chain_n;
	uint8_t text[];
};

enum {
	PRINCIPAL_CERT = 1 << 0,
	PRINCIPAL_USERNAME = 1 << 1, /* there is one, though it may be empty; without: anonymous */
	PRINCIPAL_ISSUER_KEY = 1 << 2,
	PRINCIPAL_FINGERPRINT = 1 << 3,
	PRINCIPAL_CN_PLAIN = 1 << 4, /* authz_plain() */
	PRINCIPAL_USERNAME_PLAIN = 1 << 5,
};

/* Fit to stand in a topic as literal text: no '+', '#', '/' or U+0000. */
bool authz_plain(struct slice value);

/* ---- reserved.c ---- */

bool authz_is_reserved(struct slice topic);
bool authz_reserved(const struct authz_principal *who, enum authz_action action, struct slice topic, struct authz_verdict *ret);
/* Whoever is in quarantine, and what is not reserved. */
bool authz_quarantined(const struct authz_policy *p, const struct authz_principal *who, struct slice client_id, enum authz_action action, struct authz_verdict *ret);

/* ---- template.c ---- */

enum authz_var {
	AUTHZ_VAR_CLIENT_ID,
	AUTHZ_VAR_USER,
	AUTHZ_VAR_TENANT,
	AUTHZ_VAR_DEVICE,
	AUTHZ_VAR_COUNT
};

/* What stands for the variables now. An empty one is not there; a bit (1 << var) in <unfit> says
 * that the value is there and must not be put into a topic. */
struct authz_values {
	struct slice v[AUTHZ_VAR_COUNT];
	unsigned unfit;
};

/* A topic filter with variables, as whole levels or parts of them. */
struct authz_template;

enum authz_syntax {
	AUTHZ_SYNTAX_PLAIN,   /* '%' is a character like any other */
	AUTHZ_SYNTAX_PATTERN, /* mosquitto's: %c and %u, any other '%' stands for itself */
	AUTHZ_SYNTAX_POLICY,  /* %c %u %t %d %p %%; anything else is an error */
};
/* <prefix> is what %p stands for; .p NULL: not defined. NULL on failure, with *ret_fault naming
 * what is wrong and what was expected, or NULL when out of memory. */
struct authz_template *authz_template_new(
    struct slice text, enum authz_syntax syntax, struct slice prefix, const char **ret_fault);
void authz_template_free(struct authz_template *t);
/* Bits (1 << var) of the variables in it. */
unsigned authz_template_vars(const struct authz_template *t);

enum authz_match {
	AUTHZ_NO,
	AUTHZ_YES,
	AUTHZ_UNFIT, /* up to a value that must not be put into a topic, it matched */
};
enum authz_match authz_template_matches(
    const struct authz_template *t, const struct authz_values *v, struct slice name);
/* The filter with the values in place, written to <out>, which has AUTHZ_EXPANSION_MAX bytes. */
enum authz_match authz_template_expand(
    const struct authz_template *t, const struct authz_values *v, uint8_t *out, struct slice *ret);
/* For people: as it was written, %p replaced. */
struct slice authz_template_source(const struct authz_template *t);

/* ---- policy.c ---- */

enum { AUTHZ_WRITE = 1, AUTHZ_READ = 2 }; /* PUBLISH; SUBSCRIBE and RECEIVE */

enum authz_id_rule { AUTHZ_ID_ANY, AUTHZ_ID_EQUALS_USER, AUTHZ_ID_TENANT_DEVICE };

#define AUTHZ_ROLE_BIT(role) (1u << (role))
/* Cloud is in no set of roles: its certificates are for servers. */
#define AUTHZ_ROLES_ALL                                                                            \
	(AUTHZ_ROLE_BIT(AUTHZ_ROLE_NONE) | AUTHZ_ROLE_BIT(AUTHZ_ROLE_CLIENT) |                     \
	    AUTHZ_ROLE_BIT(AUTHZ_ROLE_WATCH) | AUTHZ_ROLE_BIT(AUTHZ_ROLE_CONTROL))

enum authz_whom { AUTHZ_WHOM_ANY, AUTHZ_WHOM_ANONYMOUS, AUTHZ_WHOM_USER };

/* Who is meant. */
struct authz_selector {
	enum authz_whom whom;
	unsigned roles;    /* bits; all must hold: role, and name if there is one */
	struct slice user; /* for AUTHZ_WHOM_USER */
};

struct authz_set;

struct authz_rule {
	uint8_t roles, rights;
	bool deny;
	bool used; /* of the ready-made policy that the file uses */
	uint32_t line;
	struct authz_template *template; /* owned; NULL: not a topic, the rule lets connect */
	struct authz_set *set;
	struct slice user; /* .p NULL: not for one user alone */
};

/* The rules for everybody, for anonymous clients, or for one user: first those that deny. */
struct authz_set {
	const struct authz_rule **rules;
	uint32_t n_deny, n_allow, filled;
	uint8_t connect; /* roles */
	bool placed;
};

struct authz_user {
	struct slice name; /* in text */
	struct authz_set set;
	uint8_t text[];
};

struct authz_policy {
	atomic_uint refs;
	enum authz_kind kind;
	/* A filter that only overlaps what is allowed is granted, and each delivery judged. */
	bool overlap;
	unsigned vars; /* all that occur */
	enum authz_id_rule id_rule[AUTHZ_ROLE_COUNT];
	struct {
		uint32_t line; /* 0: nothing was said */
		bool used;
	} id_place[AUTHZ_ROLE_COUNT];
	char *source;     /* the name that it was parsed under, or NULL */
	const char *used; /* the ready-made policy in it; static; NULL: none */
	char *text;       /* from which it was made, up to AUTHZ_TEXT_MAX; NULL: longer, or made otherwise */
	size_t text_n;
	/* Of certificates that name the device alone; empty: there are none. */
	char tenant[AUTHZ_TENANT_MAX + 1];
	struct authz_set any, anonymous;
	struct map users;
	struct authz_rule *rules; /* in the order of the file */
	size_t n_rules, cap_rules;
	const struct authz_rule **order; /* what the sets point into */
	struct authz_ranks *ranks;       /* AUTHZ_KIND_RANKED: all there is */
};

/* NULL: out of memory. */
struct authz_policy *authz_policy_blank(enum authz_kind kind);
/* Keep where it came from. False: out of memory. */
bool authz_policy_keep(struct authz_policy *p, struct slice text, const char *name);
/* <rule>.template becomes the policy's, also on failure; its set, user and roles are filled in from
 * <who>. False: out of memory. */
bool authz_policy_add(
    struct authz_policy *p, const struct authz_selector *who, struct authz_rule rule);
/* After the last rule. False: out of memory. */
bool authz_policy_finish(struct authz_policy *p);

/* Split "tenant:device", both [A-Za-z0-9_]+. */
bool authz_tenant_device(struct slice id, struct slice *ret_tenant, struct slice *ret_device);
bool authz_is_word(struct slice s);

enum { AUTHZ_RULE_TEXT_MAX = AUTHZ_REASON_RULE };
struct authz_question {
	struct slice client_id;
	enum authz_action action;
	struct slice topic;
};

/* ---- ranked.c ---- */

/* authz_allowed() for AUTHZ_KIND_RANKED. */
bool authz_ranks_allow(const struct authz_ranks *r, const struct authz_principal *who,
    struct slice client_id, enum authz_action action, struct slice topic,
    struct authz_verdict *ret);
/* The ACL that lets it say yes or no, with its role and group; "" where none does. */
void authz_ranks_decider(const struct authz_ranks *r, const struct authz_principal *who, const struct authz_question *q,
    char out[static AUTHZ_RULE_TEXT_MAX]);
/* The filters of the ACLs that allow <c>'s client something, whether others deny it or not, and "#", to c->each. */
void authz_ranks_each(const struct authz_ranks *r, const struct authz_comparison *c);
void authz_ranks_describe(
    const struct authz_ranks *r, void (*line)(void *ctx, const char *text), void *ctx);
void authz_ranks_free(struct authz_ranks *r); /* NULL is fine */

/* ---- check.c ---- */

/* The rule that let authz_allowed() say <allowed>; NULL: none did, or it is no matter of rules. */
const struct authz_rule *authz_decider(const struct authz_policy *policy, const struct authz_principal *who,
    const struct authz_question *q, bool allowed);
/* Is it the line about client ids that refuses? */
bool authz_id_decides(const struct authz_policy *policy, const struct authz_principal *who, const struct authz_question *q);
/* Fill in the verdict; authz_refuse() returns false, authz_allow() true. */
bool authz_refuse(struct authz_verdict *ret, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool authz_allow(struct authz_verdict *ret, bool whole);

/* ---- describe.c ---- */

/* "role client: may publish springcard/#". */
void authz_rule_text(const struct authz_policy *p, const struct authz_rule *r, char out[static AUTHZ_RULE_TEXT_MAX]);

/* ---- remedy.c ---- */

/* What would make it otherwise: <ret>'s remedy and fix; all else of it is filled in. <r>: what decided, or NULL. */
void authz_remedy(const struct authz_policy *p, const struct authz_principal *who, const struct authz_question *q, const struct authz_rule *r,
    struct authz_reason *ret);

/* ---- builtin.c ---- */

/* The static name of the ready-made policy <name>, and its text; NULL: there is none. */
const char *authz_builtin_name(const char *name, struct slice *ret_text);

/* ---- lines.c ---- */

/* The lines of a policy or ACL file that say something. */
struct authz_lines {
	struct slice rest;
	const char *name;
	uint32_t line; /* of the last one returned */
	bool more, bad;
	struct err *err;
};
struct authz_lines authz_lines_of(struct slice text, const char *name, struct err *err);
/* The next line that is neither empty nor a comment, without blanks around it. False at the end or,
 * with ->bad set and the error filled in, at a line that cannot be one. */
bool authz_lines_next(struct authz_lines *l, struct slice *ret);
/* Fill in the error "NAME:LINE: …". Returns false. */
bool authz_lines_fail(struct authz_lines *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
bool authz_lines_nomem(struct authz_lines *l);
/* The first word of <s>, which loses it and the blanks behind; empty at the end. */
struct slice authz_word(struct slice *s);
/* A word from a file for an error text: shortened and safe. */
struct authz_shown {
	char text[64];
};
const char *authz_show(struct slice s, struct authz_shown *buf);

#endif
