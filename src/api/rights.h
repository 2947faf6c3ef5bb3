/* What people may do by the API: each operation weighed with the permissions of a user. Private to api/. */
#ifndef API_RIGHTS_H
#define API_RIGHTS_H

#include "api/internal.h"

struct rights;
/* All operations for which somebody must be signed in. NULL: out of memory. */
struct rights *rights_new(struct registry *r);
void rights_free(struct rights *x); /* NULL is fine */
size_t rights_count(const struct rights *x);
struct rights_op {
	const struct op *op;
	const char *group; /* in which it stands in the document */
};
struct rights_op rights_op(const struct rights *x, size_t i);

/* What decides about one operation. */
struct rights_verdict {
	bool allowed;
	const char *permission; /* its name; NULL: none fits, or it is no matter of permissions */
	const char *via;        /* the group through which he has it; NULL: his own */
	const char *other;      /* why else: "every login may", "only for users of the first tenant"; or NULL */
};
struct rights_user {
	int64_t id;
	bool first; /* of the first tenant */
};
/* Learn what counts for <u>: what was said of another one is void. False: <err>. */
bool rights_of(struct rights *x, const struct rights_user *u, struct err *err);
void rights_judge(const struct rights *x, size_t i, struct rights_verdict *ret);
/* Of any method and path, which has a slash at its end; <dojot>: also of dojot's. */
void rights_try(const struct rights *x, enum http_method m, const char *path, bool dojot, struct rights_verdict *ret);
/* Each of his permissions, his own first; <via> NULL: his own. */
void rights_each(const struct rights *x, void (*each)(void *ctx, const struct registry_permission *p, const char *via), void *ctx);
/* What groups have may have changed. */
void rights_forget(struct rights *x);

#endif
