/* Private to dynsec/: what is kept, and who does what with it. */
#ifndef DYNSEC_INTERNAL_H
#define DYNSEC_INTERNAL_H

#include <jansson.h>
#include "dynsec/dynsec.h"

enum { NO_PRIORITY = -1, NAME_MAX_BYTES = 65535 };

/* ---- state.c ---- */

/* What clients, groups and roles have in common; the first member of each. */
struct entry {
	char *name, *text_name, *text_description; /* the texts may be NULL */
};

/* All of a kind, by name. */
struct book {
	struct entry **v;
	size_t n, cap;
};

struct ref {
	struct entry *to; /* not owned */
	int priority;
};
/* Some of a kind, the highest priority first, then by name; or all by name alone. */
struct refs {
	struct ref *v;
	size_t n, cap;
	bool by_name;
};

struct acl {
	char *topic;
	int priority;
	bool allow;
};
/* The highest priority first, then the oldest. */
struct acls {
	struct acl *v;
	size_t n, cap;
};

struct role {
	struct entry e;
	struct acls acls[AUTHZ_LISTS];
	struct authz_role_lists *made; /* of <acls>, or NULL */
	bool has_wildcards;            /* the file said "allowwildcardsubs": true */
};

struct group {
	struct entry e;
	struct refs roles, clients;
};

struct client {
	struct entry e;
	char *client_id; /* or NULL */
	char *hash;      /* as passwd_hash() writes it, or NULL */
	bool disabled;
	struct refs roles, groups;
};

enum access { ACCESS_SEND, ACCESS_RECEIVE, ACCESS_SUBSCRIBE, ACCESS_UNSUBSCRIBE, ACCESSES };

struct dynsec {
	struct book clients, groups, roles;
	struct group *anonymous;
	bool access[ACCESSES];
	char warning[200];
	bool lost; /* a change could neither be kept nor taken back */
};

extern const char *const dynsec_access_names[ACCESSES];
extern const char *const dynsec_list_names[AUTHZ_LISTS];

struct entry *dynsec_book_find(const struct book *b, const char *name);
bool dynsec_book_add(struct book *b, struct entry *e);
void dynsec_book_del(struct book *b, const struct entry *e);

struct ref *dynsec_refs_find(const struct refs *r, const struct entry *to);
bool dynsec_refs_add(struct refs *r, struct entry *to, int priority); /* <to> is not in it yet */
void dynsec_refs_del(struct refs *r, const struct entry *to);         /* harmless if it is not in it */

struct acl *dynsec_acls_find(const struct acls *a, const char *topic);
bool dynsec_acls_add(struct acls *a, const char *topic, int priority, bool allow);
void dynsec_acls_clear(struct acls *a);
/* The ACLs of <r> are others now. */
void dynsec_role_changed(struct role *r);
bool dynsec_list_parse(const char *name, enum authz_list *ret);

struct client *dynsec_client_new(const char *name); /* these three: in no book yet; NULL: out of memory */
struct group *dynsec_group_new(const char *name);
struct role *dynsec_role_new(const char *name);
/* Out of the book and all groups, and free. */
void dynsec_client_delete(struct dynsec *d, struct client *c);
void dynsec_group_delete(struct dynsec *d, struct group *g);
void dynsec_role_delete(struct dynsec *d, struct role *r);
/* <c> becomes a member of <g>; not if it is one already (true). False: out of memory, and it is none. */
bool dynsec_group_join(struct group *g, struct client *c, int priority);
void dynsec_group_leave(struct group *g, struct client *c);
/* PBKDF2, as every mosquitto can read it. <password>: 1 to 65535 bytes. False: out of memory. */
bool dynsec_client_set_hash(struct client *c, const char *password);
/* Replace *at with a copy of <text>; NULL removes it. */
bool dynsec_set_text(char **at, const char *text);

static inline struct client *
find_client(const struct dynsec *d, const char *name)
{
	return (void *)dynsec_book_find(&d->clients, name);
}
static inline struct group *
find_group(const struct dynsec *d, const char *name)
{
	return (void *)dynsec_book_find(&d->groups, name);
}
static inline struct role *
find_role(const struct dynsec *d, const char *name)
{
	return (void *)dynsec_book_find(&d->roles, name);
}

/* ---- json.c ---- */

/* Keys are found in any case, as mosquitto does ("textName"). NULL: not there. */
json_t *dynsec_get(const json_t *o, const char *key);
enum got { GOT_NONE, GOT_BAD, GOT_IT };
enum got dynsec_get_text(const json_t *o, const char *key, const char **ret);
bool dynsec_get_bool(const json_t *o, const char *key, bool otherwise);
int dynsec_get_int(const json_t *o, const char *key, int otherwise);
/* UTF-8 without control characters, as mosquitto wants names. */
bool dynsec_name_ok(const char *s);

/* References are released also on failure; NULL or false: out of memory. */
bool dynsec_put(json_t *o, const char *key, json_t *v);
bool dynsec_put_text(json_t *o, const char *key, const char *v); /* NULL: nothing is put */
json_t *dynsec_refs_json(const struct refs *r, const char *key, bool priorities);
json_t *dynsec_acls_json(const struct role *r);
json_t *dynsec_role_json(const struct role *r);
bool dynsec_put_texts(json_t *o, const struct entry *e);

/* ---- command.c ---- */

/* One batch while it is carried out. */
struct run {
	struct dynsec *d;
	const struct dynsec_admin *by;
	json_t *data; /* what the command answers, or NULL */
	struct dynsec_outcome *out;
	char *old; /* the file before the first change; NULL: there was none */
	size_t old_n;
	bool nomem; /* somebody who should be kicked could not be noted */
};

#define INTERNAL_ERROR "Internal error"

/* Each returns NULL, or the error that is answered; then nothing has changed but for INTERNAL_ERROR. */
typedef const char *command_fn(struct run *r, const json_t *c);
command_fn dynsec_client_create, dynsec_client_remove, dynsec_client_get, dynsec_client_list, dynsec_client_modify, dynsec_client_set_password, dynsec_client_set_id,
    dynsec_client_add_role, dynsec_client_remove_role, dynsec_client_enable, dynsec_client_disable;
command_fn dynsec_group_create, dynsec_group_remove, dynsec_group_get, dynsec_group_list, dynsec_group_modify, dynsec_group_add_client, dynsec_group_remove_client,
    dynsec_group_add_role, dynsec_group_remove_role, dynsec_group_set_anonymous, dynsec_group_get_anonymous;
command_fn dynsec_role_create, dynsec_role_remove, dynsec_role_get, dynsec_role_list, dynsec_role_modify, dynsec_role_add_acl, dynsec_role_remove_acl;

void dynsec_kick(struct run *r, const char *username);
void dynsec_kick_anonymous(struct run *r);
void dynsec_kick_group(struct run *r, const struct group *g);

/* A name that the command must have: NULL, or what is answered. */
struct name_words {
	const char *key, *missing, *invalid;
};
extern const struct name_words dynsec_username_words, dynsec_groupname_words, dynsec_rolename_words;
const char *dynsec_need_name(const json_t *c, const struct name_words *w, const char **ret);
/* "textname" and "textdescription". */
struct texts {
	const char *name, *description;
};
const char *dynsec_read_texts(const json_t *c, struct texts *ret);
bool dynsec_set_texts(struct entry *e, const struct texts *t); /* those that are there */
/* "roles": [{"rolename", "priority"}]; *ret_there: there is such a list. <ret> is freed by the caller. */
const char *dynsec_read_roles(const struct run *r, const json_t *c, struct refs *ret, bool *ret_there);
/* {"totalCount", "<key>": [...]} of <b> into r->data. */
const char *dynsec_answer_list(struct run *r, const json_t *c, const struct book *b, const char *key,
    json_t *(*show)(const struct entry *e));
/* {"<key>": v} into r->data. */
const char *dynsec_answer_one(struct run *r, const char *key, json_t *v);

#endif
