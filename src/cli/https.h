/* Private to cli/: a few HTTPS requests, one after the other, to one host. */
#ifndef CLI_HTTPS_H
#define CLI_HTTPS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

enum { HTTPS_ANSWER_MAX = 1 << 20, HTTPS_SECONDS = 30 };

struct https;
struct https_config {
	const char *base;   /* "https://host:port/path"; without a scheme: https */
	const char *cafile; /* whom to trust, and nobody else; NULL: the CAs of this machine */
	const char *socket; /* a unix socket in the place of the network; NULL: none */
	bool unverified;    /* the server's certificate is not looked at */
};
struct https *https_open(const struct https_config *c, struct err *err);
void https_close(struct https *h); /* NULL is fine */
void https_wipe_json(void); /* before the first one: jansson's copies of what is secret are wiped, too */
bool https_is_plain(const struct https *h); /* http:// */
void https_patience(struct https *h, unsigned seconds); /* for one answer, in the place of HTTPS_SECONDS */
/* "Authorization: Bearer <token>" from now on; false: out of memory, or a token that cannot be in a header. */
bool https_bearer(struct https *h, const char *token, struct err *err);

struct https_answer {
	long status;
	char *body;     /* NUL-terminated; wiped and freed by https_answer_done() */
	size_t n;
};
/* POST <body> as JSON, or GET when it is NULL. <path> is the part behind the base, "/ca/%s", whose one %s is <name>, escaped.
 * Redirections are not followed: they would take what is secret elsewhere. False: there was no answer; <err> says why. */
bool https_ask(struct https *h, const char *path, const char *name, const json_t *body, struct https_answer *ret, struct err *err);
void https_answer_done(struct https_answer *a);
/* The same with POST and DELETE, without a body. */
bool https_post(struct https *h, const char *path, const char *name, struct https_answer *ret, struct err *err);
bool https_delete(struct https *h, const char *path, const char *name, struct https_answer *ret, struct err *err);

#endif
