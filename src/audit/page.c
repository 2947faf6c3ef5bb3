/* The audit log from its end, a few records at a time; see audit.h. */
#include "audit/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK = 2 * AUDIT_LINE_MAX };

/* <n> bytes from <at> on. */
static bool
read_all(int fd, uint8_t *buf, size_t n, off_t at, struct err *err)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, buf + have, n - have, at + (off_t)have);

		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			return err_sys(err, "cannot read the audit log");
		have += (size_t)got;
	}
	return true;
}

/* One line; false: it is no record. */
static bool
show(struct audit_page *p, struct parsed *x, struct slice line, uint64_t offset, bool *ret_more, struct err *err)
{
	struct err why = { 0 };

	if (!audit_parse(x, line, &why))
		return err_set(err, ERR_INPUT, "the audit log is damaged at byte %llu: %s", (unsigned long long)offset, why.text);
	x->seen.line = 0;
	x->seen.offset = offset;
	p->next = offset;
	*ret_more = p->each(p->ctx, &x->seen, audit_intact(x));
	return true;
}

/* The lines in <have>, which begins at byte <at> and ends behind a newline or is empty, the last one first. */
static bool
lines(struct audit_page *p, struct parsed *x, struct slice have, uint64_t at, struct err *err)
{
	bool more = true;

	while (more && have.n > 0) {
		const uint8_t *before = have.n > 1 ? memrchr(have.p, '\n', have.n - 1) : NULL;
		size_t from = before != NULL ? (size_t)(before - have.p) + 1 : 0;

		/* The first one may have begun before the block. */
		if (before == NULL && at > 0) {
			p->next = at + have.n;
			return true;
		}
		if (!show(p, x, slice_of(have.p + from, have.n - from - 1), at + from, &more, err))
			return false;
		have.n = from;
	}
	return true;
}

static bool
run(int fd, struct audit_page *p, struct parsed *x, uint8_t *buf, struct err *err)
{
	off_t size = lseek(fd, 0, SEEK_END);
	uint64_t end = p->before != 0 ? p->before : (uint64_t)NUM_MAX(size, 0), at = end > BLOCK ? end - BLOCK : 0;
	size_t n = (size_t)(end - at);
	const uint8_t *last;

	if (size == -1)
		return err_sys(err, "cannot read the audit log");
	if (end > (uint64_t)size)
		return err_set(err, ERR_INPUT, "the audit log is not so long");
	p->next = 0;
	if (n == 0 || !read_all(fd, buf, n, (off_t)at, err))
		return n == 0;
	/* Behind the last newline is what somebody writes at this moment; a cursor stands behind one. */
	last = memrchr(buf, '\n', n);
	if (p->before != 0 && last != buf + n - 1)
		return err_set(err, ERR_INPUT, "no record ends there");
	if (last == NULL)
		return at == 0 || err_set(err, ERR_INPUT, "a line of the audit log is longer than a record can be");
	return lines(p, x, slice_of(buf, (size_t)(last - buf) + 1), at, err);
}

bool
audit_backwards(int fd, struct audit_page *p, struct err *err)
{
	struct parsed x = { .room = malloc(AUDIT_LINE_MAX) };
	uint8_t *buf = malloc(BLOCK);
	bool ok = buf != NULL && x.room != NULL ? run(fd, p, &x, buf, err) : err_set(err, ERR_MEMORY, "out of memory");

	free(buf);
	free(x.room);
	return ok;
}
