/* Private to audit/: one record as text. */
#ifndef AUDIT_INTERNAL_H
#define AUDIT_INTERNAL_H

#include "audit/audit.h"
#include "base/num.h"
#include "base/text.h"

enum { AUDIT_TIME_CAP = 21, HASH_HEX = AUDIT_HASH_CAP - 1 };

/* Before the first record. */
#define AUDIT_ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

void audit_hash(struct slice text, char out[AUDIT_HASH_CAP]);
/* The line of <r> behind <prev>, with its newline, into <out> (AUDIT_LINE_MAX); its hash into <ret_hash>. 0: it does not fit. */
size_t audit_format(const struct audit_record *r, uint64_t n, const char *prev, char *out, char ret_hash[AUDIT_HASH_CAP]);

/* A line taken apart. <text> is where its strings stand, unescaped. */
struct parsed {
	struct audit_seen seen;
	struct audit_detail details[AUDIT_DETAILS_MAX];
	char *text, *end;
	char *room;          /* AUDIT_LINE_MAX bytes, the caller's */
};
/* False: <err> says what is wrong and at which byte of the line. <p->room> must be set. */
bool audit_parse(struct parsed *p, struct slice line, struct err *err);
/* Is its hash that of its text? */
bool audit_intact(const struct parsed *p);

#endif
