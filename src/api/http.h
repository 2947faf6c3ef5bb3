/* HTTP/1.1 requests as bytes: heads, bodies, targets. Knows no sockets. Private to api/. */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "base/slice.h"

enum {
	HTTP_HEAD_MAX = 16 * 1024,   /* request line and header lines */
	HTTP_HEADERS_MAX = 64,
	HTTP_TARGET_MAX = 4096,
	HTTP_SEGMENTS_MAX = 12,      /* of a path */
	HTTP_QUERY_MAX = 24,         /* parameters */
	HTTP_CHUNK_LINE_MAX = 256,
};

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_METHODS };
const char *http_method_name(enum http_method m); /* "GET", …; static */

/* Why a request is refused before anybody looks at what it wants. */
struct http_fault {
	unsigned status;  /* 400, 405, 413, 414, 417, 431, 501, 505 */
	const char *what; /* one sentence without a full stop; static */
};

struct http_header {
	struct slice name, value; /* the value without blanks around it */
};
struct http_head {
	enum http_method method;
	struct slice target; /* "/path?query" in the form of the origin, whatever form it came in */
	struct http_header headers[HTTP_HEADERS_MAX];
	unsigned n_headers;
	bool http_10;
	bool close;       /* the client wants no further request on this connection */
	bool expects;     /* "100-continue" */
	bool chunked;     /* else <length> */
	uint64_t length;
};

/* Read a head at the front of <in>. > 0: its length, and *ret is set; its slices lie in <in>. 0: not all of it is there.
 * -1: *ret_fault says why; the connection can have no further request. Strict on purpose (RFC 9112 2.2, 3, 5, 6): what a
 * proxy and we could read in two ways is refused, not guessed. */
ptrdiff_t http_read_head(struct slice in, struct http_head *ret, struct http_fault *ret_fault);

/* The value of the only header of that name; .p NULL: there is none. False: there are several. */
bool http_header(const struct http_head *h, const char *name, struct slice *ret);

/* A body in chunks (RFC 9112 7.1), taken as it comes. Zero-initialised memory is a beginning. */
struct http_chunks {
	uint64_t left;  /* of the chunk that is being read */
	uint8_t state;
	bool done;
};
/* One step on the front of <in>: bytes used, and in *ret the part of them that is the body's (it may be empty). 0: more is needed,
 * or c->done. -1: *ret_fault. */
ptrdiff_t http_read_chunk(struct http_chunks *c, struct slice in, struct slice *ret, struct http_fault *ret_fault);

/* ---- targets ---- */

struct http_param {
	struct slice name, value;
};
struct http_path {
	char room[HTTP_TARGET_MAX]; /* where the decoded parts lie */
	struct slice segments[HTTP_SEGMENTS_MAX];
	unsigned n;
	struct http_param query[HTTP_QUERY_MAX];
	unsigned n_query;
};
/* Cut a target at its slashes and decode each part (RFC 3986 2.1). Refused: an encoded slash or backslash, control characters,
 * what is not UTF-8, "." and ".." however they are written, empty parts but for one at the end, a parameter twice. */
bool http_read_target(struct slice target, struct http_path *ret, struct http_fault *ret_fault);

#endif
