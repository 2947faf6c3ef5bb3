/* Bytes that come one after the other and may be a key. Private to bundle/. */
#ifndef BUNDLE_SINK_H
#define BUNDLE_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sink {
	uint8_t *data; /* its owner gives it back by secret_free(data, cap) */
	size_t n, cap;
};

/* False: no memory, and nothing has changed. There is always room for one byte more. */
bool sink_put(struct sink *s, const void *p, size_t n);

#endif
