/* One HTTP/1.1 exchange (RFC 9112) as a client over plain TCP: bounded in bytes and in time. What OCSP responders want; no
 * redirects, no cookies, no second request on a connection. */
#ifndef FETCH_FETCH_H
#define FETCH_FETCH_H

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

enum {
	FETCH_URL_MAX = 511,
	FETCH_LINE_MAX = 4096,  /* of a header or of a chunk's beginning */
	FETCH_HEAD_MAX = 16384, /* all headers together, and those behind the last chunk */
};

/* ---- where ---- */

struct fetch_url {
	char host[254];             /* name or address, without brackets */
	char port[6];               /* digits */
	char authority[264];        /* for the Host header */
	char path[FETCH_URL_MAX + 1]; /* with its query; at least "/" */
};
/* Only "http:", without user names and fragments; visible ASCII. */
bool fetch_url_parse(const char *url, struct fetch_url *ret, struct err *err);

/* ---- what comes back, without sockets ---- */

enum fetch_step { FETCH_MORE, FETCH_DONE, FETCH_BROKEN };
enum fetch_state {
	FETCH_STATUS, FETCH_HEADER, FETCH_LENGTH, FETCH_CLOSE, FETCH_CHUNK, FETCH_DATA, FETCH_DATA_END, FETCH_TRAILER, FETCH_READY,
	FETCH_BAD
};
struct fetch_reader {
	enum fetch_state state;
	unsigned status;
	bool has_length, chunked;
	uint64_t left;         /* of the body or of the chunk */
	size_t max, head_n, line_n, body_n, body_cap;
	char line[FETCH_LINE_MAX];
	uint8_t *body;         /* body_n bytes, of the reader until fetch_done() */
};
void fetch_init(struct fetch_reader *r, size_t body_max);
void fetch_done(struct fetch_reader *r);
/* The next bytes, whatever their number. DONE: status 200 and the whole body is there, what follows is not looked at. BROKEN: <err>
 * says what the server did; only fetch_done() may follow. */
enum fetch_step fetch_feed(struct fetch_reader *r, struct slice bytes, struct err *err);
/* The server has closed: that may be the end of a body, or of nothing. */
enum fetch_step fetch_end(struct fetch_reader *r, struct err *err);

/* ---- the exchange ---- */

struct fetch_post {
	const struct fetch_url *url;
	const char *type, *accept; /* media types of what is sent and wanted */
	struct slice body;
	size_t max;                /* bytes of the answer */
	unsigned timeout_ms;       /* for everything after the name is resolved */
	int stop_fd;               /* becomes readable: give up; -1: none */
};
/* POST, and the body of the answer: free(). Blocks, for longer than <timeout_ms> only while the system resolves a name. Any thread. */
bool fetch_post(const struct fetch_post *p, uint8_t **ret, size_t *ret_n, struct err *err);

#endif
