/* The audit log: one file, one JSON line a record, each with the hash of the one before it. Several processes may append to
 * it at once (flock); a record is on the disk when the call returns. Nobody changes or removes a record: verify finds the
 * first byte that is not as it was written. One thread for each struct audit. */
#ifndef AUDIT_AUDIT_H
#define AUDIT_AUDIT_H

#include "base/err.h"
#include "base/slice.h"

enum {
	AUDIT_HASH_CAP = 65,     /* SHA-256 in lower-case hex, and NUL */
	AUDIT_ACTOR_MAX = 160, AUDIT_ACTION_MAX = 64, AUDIT_OBJECT_MAX = 512, /* bytes */
	AUDIT_NAME_MAX = 64, AUDIT_VALUE_MAX = 1024, AUDIT_DETAILS_MAX = 24,
	AUDIT_LINE_MAX = 256 << 10,
};

struct audit_detail {
	const char *name, *value; /* UTF-8; what is not, and what is too long, is shown as text_show() does */
};
/* Who did what to whom. */
struct audit_record {
	int64_t time;                        /* seconds since 1970; 0 = now */
	const char *actor, *action, *object; /* "cli/root", "issue", "sensor01" */
	const struct audit_detail *details;
	size_t n_details;                    /* at most AUDIT_DETAILS_MAX */
};
/* The newest record; what a checkpoint signs. */
struct audit_head {
	uint64_t n;                    /* 0: there is none */
	char hash[AUDIT_HASH_CAP];     /* of record <n>; sixty-four zeros before the first */
	uint64_t unsigned_n;           /* records since the newest checkpoint that this struct audit has seen or made */
};

struct audit;
/* Open <path>, and make it (0640, owner of its folder) if it is not there. The end is looked at: a last line that a crash cut is
 * taken away and said by a record of its own; a last record that is not whole is an error (ERR_INPUT). NULL and <err>. */
struct audit *audit_open(const char *path, struct err *err);
void audit_close(struct audit *a); /* NULL is fine */
/* Append; *ret (may be NULL) is the new head. Afterwards it is on the disk. */
bool audit_append(struct audit *a, const struct audit_record *r, struct audit_head *ret, struct err *err);
/* The same for many with one audit_sync() for all of them, which has to come before anybody is told. */
bool audit_write(struct audit *a, const struct audit_record *r, struct audit_head *ret, struct err *err);
bool audit_sync(struct audit *a, struct err *err);
struct audit_head audit_head(const struct audit *a); /* as this struct audit knows it */

/* A checkpoint is a record of action "checkpoint" whose details hold "signer" and "signature" over audit_statement().
 * sign() fills <ret> (at most <cap> bytes) with a signature. */
enum { AUDIT_SIGNATURE_MAX = 1024, AUDIT_STATEMENT_CAP = 160 };
struct audit_signer {
	const char *name; /* of the key: the CA's */
	bool (*sign)(void *ctx, struct slice statement, uint8_t *ret, size_t cap, size_t *ret_n, struct err *err);
	void *ctx;
};
bool audit_checkpoint(struct audit *a, const char *actor, const struct audit_signer *s, struct audit_head *ret, struct err *err);
/* "signet audit checkpoint v1\n<n>\n<hash>\n", of the record that the checkpoint follows. */
struct slice audit_statement(uint64_t n, const char *hash, char out[AUDIT_STATEMENT_CAP]);

/* Seconds since 1970 as "2026-01-31T12:00:00Z", as times in records are written. */
void audit_time(int64_t t, char out[24]);
/* "cli/<user>" of this process. */
const char *audit_actor(char out[AUDIT_ACTOR_MAX + 1]);
/* One record to DIR/audit.log. */
bool audit_note(const char *dir, const struct audit_record *r, struct err *err);

/* ---- read ---- */

/* One record as it stands in the file. Strings are borrowed for the time of the callback. */
struct audit_seen {
	uint64_t n, line, offset; /* line from 1; offset of the line's first byte */
	const char *time, *actor, *action, *object;
	const struct audit_detail *details;
	size_t n_details;
	const char *hash, *prev;
	struct slice text;        /* the line without its newline */
};
struct audit_reader {
	bool (*each)(void *ctx, const struct audit_seen *r); /* false ends it; may be NULL */
	/* Is <signature> by the key <name> over <statement>? NULL: signatures are not looked at. */
	bool (*verify)(void *ctx, const char *name, struct slice statement, struct slice signature, struct err *err);
	void *ctx;
};
struct audit_summary {
	uint64_t records, checkpoints, last_checkpoint; /* number of the newest one's record; 0: none */
	uint64_t torn;                                  /* bytes behind the last newline: a crash, or somebody is writing */
	char hash[AUDIT_HASH_CAP];                      /* of the newest record */
	char first[32], last[32];                       /* their times */
};
/* Read the whole file in order: numbers, hashes, chain, checkpoints. False: at the first fault, <err> says the record, the line
 * and the byte; <ret> holds what was good before it in any case. */
bool audit_verify(const char *path, const struct audit_reader *r, struct audit_summary *ret, struct err *err);
/* The same of a file that is open; <name> is for errors. */
bool audit_verify_fd(int fd, const char *name, const struct audit_reader *r, struct audit_summary *ret, struct err *err);

/* From the newest record towards the first, at most half a megabyte of lines in one call; the chain is not looked at. */
struct audit_page {
	uint64_t before;          /* .next of the call before; 0: the end */
	/* <intact>: its hash is that of its text. False: enough. .line is 0. */
	bool (*each)(void *ctx, const struct audit_seen *r, bool intact);
	void *ctx;
	uint64_t next;            /* out: for the next call; 0: the first record was reached. Lines may be left even if each() was not called */
};
/* False and <err>: ERR_INPUT a line is no record, or .before is no place between records; ERR_SYSTEM. */
bool audit_backwards(int fd, struct audit_page *p, struct err *err);

#endif
