/* Private to cli/: the API of the control process that runs on this machine, by its unix socket. */
#ifndef CLI_LOCAL_H
#define CLI_LOCAL_H

#include "cli/https.h"

/* <dir>: the installation, as site_dir() finds it. NULL and <err>. https_close(). */
struct https *local_open(const char *dir, struct err *err);
/* One exchange; <body> is released. *ret: the answer's JSON (NULL for one without), the caller's; <ret> NULL: not wanted. False: nobody answers, or the answer is a problem
 * document, whose detail and remedy are in <err>: ERR_MISSING 404, ERR_EXISTS 409, ERR_INPUT 4xx, ERR_LIMIT 429, ERR_SYSTEM 5xx. */
bool local_ask(struct https *h, const char *path, const char *name, json_t *body, json_t **ret, struct err *err);
bool local_post(struct https *h, const char *path, const char *name, json_t **ret, struct err *err); /* the same without a body */
bool local_delete(struct https *h, const char *path, const char *name, struct err *err);
/* The same of any answer of the API. */
bool local_read(const struct https_answer *a, json_t **ret, struct err *err);

#endif
