/* Private to token/: the module's side, in the process that has loaded it. */
#ifndef TOKEN_INTERNAL_H
#define TOKEN_INTERNAL_H

#include "token/token.h"

enum token_op { TOKEN_OP_SIGN = 1, TOKEN_OP_MAKE, TOKEN_OP_UNMAKE };
enum { TOKEN_ANSWER_MAX = 1 + TOKEN_PUBLIC_MAX };

/* ---- module.c ---- */

struct modules;
/* Keys of <s>, opened. NULL: <err>. */
struct modules *modules_new(const struct token_setup *s, struct err *err);
bool modules_sign(struct modules *m, size_t key, struct slice data, uint8_t ret[static TOKEN_SIGNATURE_MAX], size_t *ret_n, struct err *err);
bool modules_make(struct modules *m, size_t key, enum token_kind kind, unsigned bits, uint8_t ret[static TOKEN_PUBLIC_MAX], size_t *ret_n,
    struct err *err);
void modules_unmake(struct modules *m, size_t key);
void modules_wipe(struct modules *m);

#endif
