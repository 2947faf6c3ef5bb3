/* Read the audit log from its beginning and compare every byte with what the chain says; see audit.h. */
#include "audit/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

struct walk {
	const char *path;
	const struct audit_reader *reader;
	struct audit_summary *sum;
	struct err *err;
	struct parsed parsed;
	uint64_t line, offset; /* of the line at hand */
	bool ended;            /* the reader has seen enough */
};

static bool
fault(struct walk *w, enum err_code code, const char *what)
{
	return err_set(w->err, code, "%s: line %llu, which begins at byte %llu: %s", w->path, (unsigned long long)w->line,
	    (unsigned long long)w->offset, what);
}

static const char *
detail(const struct audit_seen *s, const char *name)
{
	for (size_t i = 0; i < s->n_details; i++)
		if (strcmp(s->details[i].name, name) == 0)
			return s->details[i].value;
	return "";
}

static bool
hex_bytes(const char *hex, uint8_t *out, size_t cap, size_t *ret_n)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = strlen(hex);

	if (n % 2 != 0 || n / 2 > cap || n == 0 || strspn(hex, digits) != n)
		return false;
	for (size_t i = 0; i < n / 2; i++)
		out[i] = (uint8_t)((strchr(digits, hex[2 * i]) - digits) << 4 | (strchr(digits, hex[2 * i + 1]) - digits));
	*ret_n = n / 2;
	return true;
}

static bool
check_signature(struct walk *w, const struct audit_seen *s)
{
	char statement[AUDIT_STATEMENT_CAP], text[256];
	uint8_t signature[AUDIT_SIGNATURE_MAX];
	struct slice said = audit_statement(s->n - 1, s->prev, statement);
	struct err why = { 0 };
	size_t n = 0;

	if (w->reader->verify == NULL)
		return true;
	if (!hex_bytes(detail(s, "signature"), signature, sizeof signature, &n))
		return fault(w, ERR_INPUT, "a checkpoint without a signature");
	if (w->reader->verify(w->reader->ctx, detail(s, "signer"), said, slice_of(signature, n), &why))
		return true;
	(void)snprintf(text, sizeof text, "a checkpoint that does not hold: %.200s", why.text);
	return fault(w, why.code, text);
}

static bool
check_record(struct walk *w, const struct audit_seen *s)
{
	struct audit_summary *sum = w->sum;
	char text[160];

	if (s->n != sum->records + 1) {
		(void)snprintf(text, sizeof text, "record %llu stands where record %llu should: records were removed or put in",
		    (unsigned long long)s->n, (unsigned long long)sum->records + 1);
		return fault(w, ERR_INPUT, text);
	}
	if (!audit_intact(&w->parsed)) {
		(void)snprintf(text, sizeof text, "record %llu was changed after it was written (its hash is not that of its text)",
		    (unsigned long long)s->n);
		return fault(w, ERR_INPUT, text);
	}
	if (strcmp(s->prev, sum->hash) != 0) {
		(void)snprintf(text, sizeof text, "record %llu follows another record than the one before it: that one was changed or put in",
		    (unsigned long long)s->n);
		return fault(w, ERR_INPUT, text);
	}
	return strcmp(s->action, "checkpoint") != 0 || check_signature(w, s);
}

static void
take(struct walk *w, const struct audit_seen *s)
{
	struct audit_summary *sum = w->sum;

	if (sum->records == 0)
		(void)snprintf(sum->first, sizeof sum->first, "%s", s->time);
	(void)snprintf(sum->last, sizeof sum->last, "%s", s->time);
	memcpy(sum->hash, s->hash, AUDIT_HASH_CAP);
	sum->records++;
	if (strcmp(s->action, "checkpoint") == 0) {
		sum->checkpoints++;
		sum->last_checkpoint = s->n;
	}
	w->ended = w->reader->each != NULL && !w->reader->each(w->reader->ctx, s);
}

static bool
one_line(struct walk *w, struct slice line)
{
	struct err why = { 0 };
	char text[400];

	w->line++;
	if (!audit_parse(&w->parsed, line, &why)) {
		(void)snprintf(text, sizeof text, "this is no record any more: %.300s", why.text);
		return fault(w, ERR_INPUT, text);
	}
	w->parsed.seen.line = w->line;
	w->parsed.seen.offset = w->offset;
	if (!check_record(w, &w->parsed.seen))
		return false;
	take(w, &w->parsed.seen);
	w->offset += line.n + 1;
	return true;
}

/* The lines that are whole in <have>; *ret_used: how many bytes that were. */
static bool
lines(struct walk *w, struct slice have, size_t *ret_used)
{
	const uint8_t *end;

	*ret_used = 0;
	while (!w->ended && have.n > 0 && (end = memchr(have.p, '\n', have.n)) != NULL) {
		size_t n = (size_t)(end - have.p);

		if (!one_line(w, slice_of(have.p, n)))
			return false;
		have = slice_from(have, n + 1);
		*ret_used += n + 1;
	}
	return true;
}

static bool
walk_file(struct walk *w, int fd, off_t size, uint8_t *buf)
{
	size_t have = 0, used;
	off_t at = 0;

	while (!w->ended && at < size) {
		size_t room = (size_t)NUM_MIN((off_t)(2 * AUDIT_LINE_MAX - have), size - at);
		ssize_t got = pread(fd, buf + have, room, at);

		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(w->err, "cannot read %s", w->path);
		at += got;
		have += (size_t)got;
		if (!lines(w, slice_of(buf, have), &used))
			return false;
		have -= used;
		memmove(buf, buf + used, have);
		if (have >= AUDIT_LINE_MAX) {
			w->line++;
			return fault(w, ERR_INPUT, "it is longer than a record can be");
		}
	}
	w->sum->torn = have;
	return true;
}

/* Whole records, as nobody is writing one while we have the lock. */
static off_t
size_of(int fd)
{
	off_t size;

	(void)flock(fd, LOCK_SH); /* a file system without locks: a record may look torn */
	size = lseek(fd, 0, SEEK_END);
	(void)flock(fd, LOCK_UN);
	return size;
}

bool
audit_verify(const char *path, const struct audit_reader *r, struct audit_summary *ret, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok;

	*ret = (struct audit_summary){ .hash = AUDIT_ZEROS };
	if (fd == -1)
		return err_sys(err, "cannot open %s", path);
	ok = audit_verify_fd(fd, path, r, ret, err);
	(void)close(fd);
	return ok;
}

bool
audit_verify_fd(int fd, const char *name, const struct audit_reader *r, struct audit_summary *ret, struct err *err)
{
	struct walk w = { .path = name, .reader = r, .sum = ret, .err = err };
	uint8_t *buf;
	off_t size = size_of(fd);
	bool ok;

	*ret = (struct audit_summary){ .hash = AUDIT_ZEROS };
	buf = malloc(2 * AUDIT_LINE_MAX);
	w.parsed.room = malloc(AUDIT_LINE_MAX);
	if (size == -1)
		ok = err_sys(err, "cannot read %s", name);
	else if (buf == NULL || w.parsed.room == NULL)
		ok = err_set(err, ERR_MEMORY, "out of memory");
	else
		ok = walk_file(&w, fd, size, buf);
	free(buf);
	free(w.parsed.room);
	return ok;
}
