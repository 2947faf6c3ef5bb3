/* The web console's files, as they lie in the binary. Made of console/ at build time (tools/console.py); none with
 * -Dconsole=disabled. Static and immutable. */
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

#endif
