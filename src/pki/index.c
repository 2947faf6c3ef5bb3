/* pki/CA/index.txt: what a CA issued. Append only, a line an event, synced before a certificate leaves; locked while open, so
 * that two issuers never give the same name twice. A last line without its newline (a crash while writing) counts for nothing. */
#include "pki/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

enum { INDEX_MAX = 1 << 30, FIELDS_MAX = 8 };
#define FAR_FUTURE INT64_C(253402300799) /* the last second of the year 9999 */

static const char *const status_names[] = {
	[PKI_LIVE] = "live", [PKI_EXPIRED] = "expired", [PKI_REPLACED] = "replaced", [PKI_DROPPED] = "dropped",
	[PKI_REVOKED] = "revoked",
};

const char *
pki_status_name(enum pki_status s)
{
	return status_names[s];
}

const char *
time_stamp(int64_t t, char out[32])
{
	time_t when = (time_t)t;
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(out, 32, "0000-00-00T00:00:00Z");
	return out;
}

static bool
stamp_parse(struct slice s, int64_t *ret)
{
	char text[32];
	struct tm tm = { 0 };
	const char *end;

	if (!text_copy(text, sizeof text, s))
		return false;
	end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (end == NULL || *end != '\0')
		return false;
	*ret = (int64_t)timegm(&tm);
	return true;
}

/* issued SERIAL NOTBEFORE NOTAFTER PROFILE FINGERPRINT CN */
static bool
parse_issued(struct slice *f, size_t n, struct pki_entry *e)
{
	return n == 7 && text_copy(e->serial, sizeof e->serial, f[1]) && stamp_parse(f[2], &e->not_before) &&
	    stamp_parse(f[3], &e->not_after) && text_copy(e->profile, sizeof e->profile, f[4]) &&
	    text_copy(e->fingerprint, sizeof e->fingerprint, f[5]) && text_copy(e->cn, sizeof e->cn, f[6]);
}

static bool
reserve(struct index *x, size_t more)
{
	size_t cap = x->cap > 0 ? x->cap : 64;
	struct pki_entry *p;

	while (cap - x->n < more)
		cap *= 2;
	if (cap == x->cap)
		return true;
	p = reallocarray(x->entries, cap, sizeof *p);
	if (p == NULL)
		return false;
	x->entries = p;
	x->cap = cap;
	return true;
}

static bool
push(struct index *x, const struct pki_entry *e)
{
	if (!reserve(x, 1))
		return false;
	x->entries[x->n++] = *e;
	return true;
}

static size_t
split(struct slice line, struct slice f[FIELDS_MAX])
{
	bool more = true;
	size_t n = 0;

	while (more && n < FIELDS_MAX)
		f[n++] = slice_cut(&line, '\t', &more);
	return more ? 0 : n;
}

/* Revoked, and not issued here: by an adopted CA before it came to us. */
static bool
foreign(struct index *x, struct slice *f, size_t n, const char *ca)
{
	struct pki_entry e = { .status = PKI_REVOKED, .profile = "client", .cn = "-", .not_after = FAR_FUTURE };
	uint64_t reason = 0;

	if (n < 3 || !slice_eq(f[0], SL("revoked")) || !text_copy(e.serial, sizeof e.serial, f[1]) || !stamp_parse(f[2], &e.revoked_at))
		return false;
	if (n > 3 && text_u64(f[3], 0, 10, &reason))
		e.reason = (int)reason;
	(void)snprintf(e.ca, sizeof e.ca, "%s", ca);
	return push(x, &e);
}

/* "replaced", "dropped" or "live" (no longer on hold) SERIAL TIME, "revoked" SERIAL TIME [REASON]: the newest event counts. */
static bool
apply_mark(struct index *x, struct slice *f, size_t n, const char *ca)
{
	for (size_t i = x->n; n >= 3 && i-- > 0;) {
		if (!slice_eq(slice_str(x->entries[i].serial), f[1]))
			continue;
		for (unsigned s = PKI_LIVE; s <= PKI_REVOKED; s++) {
			if (s != PKI_EXPIRED && slice_eq(f[0], slice_str(status_names[s]))) {
				uint64_t reason = 0;

				x->entries[i].status = (enum pki_status)s;
				if (n > 3 && text_u64(f[3], 0, 10, &reason))
					x->entries[i].reason = (int)reason;
				return s != PKI_REVOKED || stamp_parse(f[2], &x->entries[i].revoked_at);
			}
		}
		return false;
	}
	return foreign(x, f, n, ca);
}

static bool
parse_line(struct index *x, struct slice line, const char *ca)
{
	struct slice f[FIELDS_MAX];
	struct pki_entry e = { 0 };
	size_t n;

	if (line.n == 0 || line.p[0] == '#')
		return true;
	n = split(line, f);
	if (n == 0)
		return false;
	if (!slice_eq(f[0], SL("issued")))
		return apply_mark(x, f, n, ca);
	(void)snprintf(e.ca, sizeof e.ca, "%s", ca);
	return parse_issued(f, n, &e) && push(x, &e);
}

bool
pki_index_line(struct slice line, enum pki_index_what *ret_what, struct pki_entry *ret)
{
	struct slice f[FIELDS_MAX];
	uint64_t reason = 0;
	size_t n;

	*ret = (struct pki_entry){ .status = PKI_LIVE };
	*ret_what = PKI_INDEX_NOTHING;
	if (line.n == 0 || line.p[0] == '#')
		return true;
	n = split(line, f);
	*ret_what = n > 0 && slice_eq(f[0], SL("issued")) ? PKI_INDEX_ISSUED : PKI_INDEX_MARKED;
	if (*ret_what == PKI_INDEX_ISSUED)
		return parse_issued(f, n, ret);
	if (n < 3 || !text_copy(ret->serial, sizeof ret->serial, f[1]) || !stamp_parse(f[2], &ret->revoked_at) ||
	    (n > 3 && !text_u64(f[3], 0, 10, &reason)))
		return false;
	ret->reason = (int)reason;
	for (unsigned s = PKI_LIVE; s <= PKI_REVOKED; s++) {
		ret->status = (enum pki_status)s;
		if (s != PKI_EXPIRED && slice_eq(f[0], slice_str(status_names[s])))
			return true;
	}
	return false;
}

static bool
parse_all(struct index *x, struct slice text, const char *path, const char *ca, struct err *err)
{
	unsigned line = 0;

	while (text.n > 0) {
		bool more;
		struct slice l = slice_cut(&text, '\n', &more);

		line++;
		if (more && !parse_line(x, l, ca))
			return err_set(err, ERR_INPUT, "%s:%u: this line is damaged: restore the file from a backup", path, line);
	}
	return true;
}

static void
expire(struct index *x, int64_t now)
{
	for (size_t i = 0; i < x->n; i++) {
		if (x->entries[i].status == PKI_LIVE && x->entries[i].not_after <= now)
			x->entries[i].status = PKI_EXPIRED;
	}
}

/* Up to its last whole line. */
static off_t
whole(struct slice text)
{
	const uint8_t *end = text.n > 0 ? memrchr(text.p, '\n', text.n) : NULL;

	return end != NULL ? (off_t)(end - text.p) + 1 : 0;
}

static bool
load(struct index *x, const char *path, const char *ca, int64_t now, struct err *err)
{
	uint8_t *text;
	size_t n;
	bool ok;

	if (!file_read(path, INDEX_MAX, &text, &n, err))
		return false;
	ok = parse_all(x, slice_of(text, n), path, ca, err);
	x->seen = whole(slice_of(text, n));
	free(text);
	expire(x, now);
	return ok;
}

bool
index_open(struct index *x, const char *ca_dir, const char *ca, int64_t now, bool write, struct err *err)
{
	char path[PKI_PATH_MAX];
	struct index t = { .fd = -1 };

	if (!path_join(path, sizeof path, ca_dir, "index.txt"))
		return err_set(err, ERR_LIMIT, "%s: path too long", ca_dir);
	t.fd = open(path, (write ? O_RDWR | O_APPEND | O_CREAT : O_RDONLY) | O_CLOEXEC, 0600);
	if (t.fd == -1 && errno == ENOENT && !write) {
		*x = t;
		return true;
	}
	if (t.fd == -1)
		return err_sys(err, "cannot open %s", path);
	if (flock(t.fd, write ? LOCK_EX : LOCK_SH) == -1) {
		(void)err_sys(err, "cannot lock %s", path);
		index_done(&t);
		return false;
	}
	if (!load(&t, path, ca, now, err)) {
		index_done(&t);
		return false;
	}
	*x = t;
	return true;
}

void
index_done(struct index *x)
{
	if (x->fd != -1)
		(void)close(x->fd); /* what was written is synced already */
	free(x->entries);
	*x = (struct index){ .fd = -1 };
}

void
index_pause(struct index *x)
{
	(void)flock(x->fd, LOCK_UN);
}

/* What stands behind <x->seen>, <n> bytes of <path>. */
static bool
read_more(struct index *x, size_t n, const char *path, const char *ca, struct err *err)
{
	uint8_t *p = malloc(n);
	size_t done = 0;
	bool ok;

	if (p == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	while (done < n) {
		ssize_t got = pread(x->fd, p + done, n - done, x->seen + (off_t)done);

		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	ok = (done == n || err_sys(err, "cannot read %s", path)) && parse_all(x, slice_of(p, n), path, ca, err);
	if (ok)
		x->seen += whole(slice_of(p, n));
	free(p);
	return ok;
}

/* Restored from a backup meanwhile, or cut. */
static bool
is_other(const struct index *x, const struct stat *ours, const char *path)
{
	struct stat theirs;

	return stat(path, &theirs) == -1 || ours->st_ino != theirs.st_ino || ours->st_dev != theirs.st_dev || ours->st_size < x->seen;
}

bool
index_resume(struct index *x, const char *ca_dir, const char *ca, int64_t now, struct err *err)
{
	char path[PKI_PATH_MAX];
	struct stat ours;
	bool ok = true;

	if (!path_join(path, sizeof path, ca_dir, "index.txt"))
		return err_set(err, ERR_LIMIT, "%s: path too long", ca_dir);
	if (flock(x->fd, LOCK_EX) == -1)
		return err_sys(err, "cannot lock %s", path);
	if (fstat(x->fd, &ours) == -1 || is_other(x, &ours, path)) {
		unsigned reads = x->reads + 1;

		index_done(x);
		ok = index_open(x, ca_dir, ca, now, true, err);
		x->reads = reads;
		return ok;
	}
	if (ours.st_size > x->seen)
		ok = read_more(x, (size_t)(ours.st_size - x->seen), path, ca, err);
	if (ok)
		expire(x, now);
	else
		index_pause(x);
	return ok;
}

/* Of an earlier crash: ours has to begin a line. */
static bool
cut_torn_line(int fd)
{
	off_t end = lseek(fd, 0, SEEK_END), at = end;
	char c;

	while (at > 0 && pread(fd, &c, 1, at - 1) == 1 && c != '\n')
		at--;
	return at == end || (end != -1 && ftruncate(fd, at) == 0);
}

/* All of it: write() stops short without an error where the disk is full, and says why when asked again. */
static bool
write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done == -1 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

static bool
append(struct index *x, const char *line, size_t n, struct err *err)
{
	off_t before;

	if (!cut_torn_line(x->fd) || (before = lseek(x->fd, 0, SEEK_END)) == -1)
		return err_sys(err, "cannot write the index");
	if (!write_all(x->fd, line, n) || (!x->lean && fsync(x->fd) == -1)) {
		(void)err_sys(err, "cannot write the index");
		if (ftruncate(x->fd, before) == -1)
			return false; /* the error that is set already is the one to tell */
		return false;
	}
	x->seen = before + (off_t)n;
	return true;
}

enum { LINE_CAP = 768 };

/* 0: it is too long. */
static size_t
issued_line(const struct pki_entry *e, char out[static LINE_CAP], struct err *err)
{
	char from[32], to[32];
	int n = snprintf(out, LINE_CAP, "issued\t%s\t%s\t%s\t%s\t%s\t%s\n", e->serial, time_stamp(e->not_before, from), time_stamp(e->not_after, to), e->profile,
	    e->fingerprint, e->cn);

	if (n >= 0 && n < LINE_CAP)
		return (size_t)n;
	(void)err_set(err, ERR_LIMIT, "the entry of \"%s\" is too long for the index", e->cn);
	return 0;
}

bool
index_issued(struct index *x, const struct pki_entry *e, struct err *err)
{
	char line[LINE_CAP];
	size_t n = issued_line(e, line, err);

	return n > 0 && append(x, line, n, err) && (x->lean || push(x, e) || err_set(err, ERR_MEMORY, "out of memory"));
}

bool
index_issued_all(struct index *x, const struct pki_entry *const *e, size_t n, struct err *err)
{
	char *text = reallocarray(NULL, n, LINE_CAP);
	size_t used = 0, one = 1;
	bool ok = (text != NULL && reserve(x, n)) || err_set(err, ERR_MEMORY, "out of memory");

	for (size_t i = 0; i < n && ok; i++) {
		one = issued_line(e[i], text + used, err);
		used += one;
		ok = one > 0;
	}
	ok = ok && append(x, text, used, err);
	free(text);
	for (size_t i = 0; i < n && ok; i++)
		x->entries[x->n++] = *e[i];
	return ok;
}

static bool
mark(struct index *x, const char *line, int n, const char *serial, enum pki_status status, struct err *err)
{
	if (n < 0)
		return err_set(err, ERR_LIMIT, "a serial number is too long for the index");
	if (!append(x, line, (size_t)n, err))
		return false;
	for (size_t i = 0; i < x->n; i++) {
		if (strcmp(x->entries[i].serial, serial) == 0)
			x->entries[i].status = status;
	}
	return true;
}

bool
index_mark(struct index *x, const char *serial, enum pki_status status, int64_t now, struct err *err)
{
	char line[160], when[32];
	int n = snprintf(line, sizeof line, "%s\t%s\t%s\n", status_names[status], serial, time_stamp(now, when));

	return mark(x, line, (size_t)n < sizeof line ? n : -1, serial, status, err);
}

bool
index_revoke(struct index *x, const char *serial, int reason, int64_t now, struct err *err)
{
	char line[160], when[32];
	int n = snprintf(line, sizeof line, "revoked\t%s\t%s\t%d\n", serial, time_stamp(now, when), reason);

	if (!mark(x, line, (size_t)n < sizeof line ? n : -1, serial, PKI_REVOKED, err))
		return false;
	for (size_t i = 0; i < x->n; i++) {
		if (strcmp(x->entries[i].serial, serial) == 0) {
			x->entries[i].revoked_at = now;
			x->entries[i].reason = reason;
		}
	}
	return true;
}
