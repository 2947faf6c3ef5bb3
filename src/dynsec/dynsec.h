/* mosquitto's dynamic security: clients, groups and roles that administrators change by commands while the broker runs.
 * JSON in, JSON and policies out. No I/O, no threads, no clock. */
#ifndef DYNSEC_DYNSEC_H
#define DYNSEC_DYNSEC_H

#include "authz/authz.h"
#include "base/err.h"
#include "base/slice.h"
#include "passwd/passwd.h"

/* Where commands are published to, and where their answers come. */
#define DYNSEC_TOPIC "$CONTROL/dynamic-security/v1"
#define DYNSEC_RESPONSE_TOPIC DYNSEC_TOPIC "/response"

enum { DYNSEC_FILE_MAX = 256 * 1024 * 1024 }; /* bytes */

/* The state. One thread at a time. */
struct dynsec;

/* From the text of the file that `mosquitto_ctrl dynsec init` writes. <name> stands in error texts: "FILE: clients[3]: …".
 * NULL and <err> on the first mistake. */
struct dynsec *dynsec_parse(struct slice text, const char *name, struct err *err);
/* What `mosquitto_ctrl dynsec init` makes: the client "admin" with <password> (1 to 65535 bytes), who may command and listen to
 * everything; others may receive and unsubscribe. NULL and <err>. */
struct dynsec *dynsec_init(const char *password, struct err *err);
void dynsec_free(struct dynsec *d); /* NULL is fine */
/* What the file named that is not there, in words, or "": references to roles or clients that mosquitto leaves behind,
 * too; they were left out. */
const char *dynsec_warning(const struct dynsec *d);
/* The text of the file; to be freed with secret_free(). NULL: out of memory. */
char *dynsec_dump(const struct dynsec *d, size_t *ret_n);

/* What the clients may do now. NULL: out of memory. */
struct authz_policy *dynsec_policy(struct dynsec *d);

/* ---- logins ---- */

/* The passwords as they are now. Immutable, counted across threads. */
struct dynsec_logins;
struct dynsec_logins *dynsec_logins_new(const struct dynsec *d); /* NULL: out of memory */
struct dynsec_logins *dynsec_logins_ref(struct dynsec_logins *l);
void dynsec_logins_unref(struct dynsec_logins *l); /* NULL is fine; wipes */
/* As passwd_check(). Whether the client is disabled, or its client id another, is the policy's matter. */
enum passwd_verdict dynsec_login(const struct dynsec_logins *l, struct slice user, struct slice password);
/* As passwd_tag(): another for another password; 0: no such client, or it has none. */
uint64_t dynsec_tag(const struct dynsec_logins *l, struct slice user);

/* ---- commands ---- */

/* Who commands, and what is needed for it. */
struct dynsec_admin {
	struct slice client_id, username; /* username.p NULL: anonymous */
	/* One line for each command that was carried out, without passwords. */
	void (*say)(void *ctx, const char *line);
	/* Keep <text>, the new file, so that it survives whatever comes. False: nothing was kept; all that the batch has changed
	 * is taken back, and its answers say so. */
	bool (*save)(void *ctx, struct slice text);
	void *ctx;
};

struct dynsec_outcome {
	char *response; /* JSON; NULL: there was no memory for it */
	size_t response_n;
	bool changed;
	/* Clients who shall be disconnected, names perhaps repeated; <anonymous>: those without a name, too. */
	char **kicked;
	size_t n_kicked;
	bool kick_anonymous;
};
/* Carry out what was published to DYNSEC_TOPIC: {"commands": [...]}. What is wrong is answered, not returned. Takes a
 * tenth of a second for each password that is set. False: out of memory, and nothing has changed. */
bool dynsec_execute(struct dynsec *d, struct slice payload, const struct dynsec_admin *by, struct dynsec_outcome *ret);
void dynsec_outcome_done(struct dynsec_outcome *o);

#endif
