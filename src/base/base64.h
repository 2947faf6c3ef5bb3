/* Base64 (RFC 4648 4). */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/slice.h"

/* With or without padding; canonical only, so that each value has one text. False: not that, or more than <cap> bytes. */
bool base64_get(struct slice text, uint8_t *out, size_t cap, size_t *ret_n);
/* NUL-terminated, 4 * ((n + 2) / 3) + 1 bytes at most. */
void base64_put(struct slice in, bool pad, char *out);

#endif
