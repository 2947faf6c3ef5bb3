/* Secrets and randomness. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include "base/slice.h"

/* Overwrite in a way that the compiler does not remove. */
void secret_wipe(void *p, size_t n);
/* Wipe <n> bytes and free(); NULL is fine. */
void secret_free(void *p, size_t n);
/* Equal, in time that depends only on the lengths. */
bool secret_eq(struct slice a, struct slice b);
/* <n> bytes from the kernel's generator; never fails (waits at early boot, aborts if there is no generator). */
void random_bytes(void *p, size_t n);

#endif
