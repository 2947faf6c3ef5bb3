/* How `signet sub` and `signet rr` show a message: payload, topic and payload, or a format (-F). */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include <stdio.h>
#include <time.h>

#include "base/err.h"
#include "mqtt/mqtt.h"

struct format {
	const char *text; /* -F; NULL: payload alone, or with the topic */
	bool verbose, pretty, no_eol;
};

/* Is <text> a format? <err> names what is wrong. */
bool format_check(const char *text, struct err *err);

/* Write <m>, which came at <at> (CLOCK_REALTIME), to <out>. False when %J met a payload that is
 * not JSON: nothing is written for it, and <err> says so. Errors of <out> stay with it (ferror). */
bool format_print(FILE *out, const struct format *f, const struct mqtt_publish *m,
    const struct timespec *at, struct err *err);

/* ---- jout.c ---- */

struct jout {
	FILE *f;
	bool pretty;
	unsigned depth;
	bool first; /* nothing in the present object yet */
};

void jout_open(struct jout *j);  /* { */
void jout_close(struct jout *j); /* } */
/* "key": with what goes before it. */
void jout_key(struct jout *j, struct slice key);
/* A string; what is not UTF-8 becomes U+FFFD. */
void jout_string(struct jout *j, struct slice s);
/* Is <s> one whole JSON text (RFC 8259)? */
bool json_ok(struct slice s);
/* Write the JSON text <s>, for which json_ok(), without its white space or with ours. */
void jout_copy(struct jout *j, struct slice s);

#endif
