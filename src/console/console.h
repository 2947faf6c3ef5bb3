/* The web console's files, as they lie in the binary, and how a request for one is answered over HTTP. Made of console/ at build time
 * (tools/console.py); none with -Dconsole=disabled. Knows neither sockets nor requests: control and a broker's listener ask. */
#ifndef CONSOLE_CONSOLE_H
#define CONSOLE_CONSOLE_H

#include "base/slice.h"

struct console_file {
	const char *path;             /* below /console/: "lib/api.js" */
	const char *type;             /* Content-Type */
	const char *etag, *etag_gzip; /* strong entity tags, with their quotes, of the two forms */
	struct slice plain, gzip;
};
extern const struct console_file console_files[];
extern const size_t console_files_n; /* 0: this binary was built without the console */

/* The file of that path; the empty path is the page itself. NULL: there is none. Any thread. */
const struct console_file *console_find(struct slice path);

/* ---- HTTP ---- */

/* What no browser may do with the console, as header lines: its own files and nothing else, and no text becomes markup (Trusted Types).
 * For every answer with status 200 or 304. Static. */
extern const char console_security[];

/* A GET or HEAD, as far as it matters; all borrowed for the call. */
struct console_ask {
	struct slice path;       /* without the query, as it came: what is escaped is no file's name */
	struct slice accept;     /* Accept-Encoding; .p NULL: there is none, as for the next */
	struct slice none_match; /* If-None-Match */
	/* JSON that tells the page whose it is: the answer to /console/mode.json, which is the only one that is not the same everywhere. */
	struct slice mode;
};

enum { CONSOLE_FIELDS_MAX = 160 };
struct console_reply {
	unsigned status;  /* 200, 302, 304, 404 */
	const char *type; /* Content-Type; NULL: there is no body */
	char fields[CONSOLE_FIELDS_MAX]; /* further header lines of this answer, each with its CR LF */
	struct slice body; /* static, or the asker's own <mode> */
};

/* False: the path is not the console's, or this binary has none. "/" is, as a way to it. Any thread. */
bool console_answer(const struct console_ask *ask, struct console_reply *ret);

/* Does Accept-Encoding allow gzip? .p NULL: there is none. */
bool console_takes_gzip(struct slice accept);

#endif
