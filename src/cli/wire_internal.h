/* Between wire.c (sockets) and wire_tls.c (TLS). */
#ifndef CLI_WIRE_INTERNAL_H
#define CLI_WIRE_INTERNAL_H

#include "cli/wire.h"

/* Give <w>, which is connected, a TLS object. */
bool wire_tls_start(struct wire *w, struct err *err);
/* One step of the handshake, of reading, of writing. */
enum wire_result wire_tls_shake(struct wire *w, struct err *err);
enum wire_result wire_tls_read(struct wire *w, void *p, size_t n, size_t *ret, struct err *err);
enum wire_result wire_tls_write(struct wire *w, struct slice s, size_t *ret, struct err *err);
/* Send close_notify as far as possible. */
void wire_tls_stop(struct wire *w);

/* "localhost:8883" or the unix socket's path into <out>. Returns out. */
const char *wire_where(const struct wire_target *t, char *out, size_t cap);

#endif
