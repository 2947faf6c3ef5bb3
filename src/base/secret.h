/* Secrets and randomness. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/slice.h"

/* Overwrite in a way that the compiler does not remove. */
void secret_wipe(void *p, size_t n);
/* Wipe <n> bytes and free(); NULL is fine. */
void secret_free(void *p, size_t n);
/* free() and realloc() for blocks of malloc() whose size their owner does not know: what is left behind is wiped. Other libraries get them in
 * place of their own. */
void secret_drop(void *p);
void *secret_realloc(void *old, size_t n);
/* From now on what OpenSSL frees in this process is wiped: its decoders leave copies of keys in what they free. To be called before anything
 * else of OpenSSL; too late it changes nothing. */
void secret_wipe_freed(void);
/* Equal, in time that depends only on the lengths. */
bool secret_eq(struct slice a, struct slice b);
/* <n> bytes from the kernel's generator; never fails (waits at early boot, aborts if there is no generator). */
void random_bytes(void *p, size_t n);

#endif
