/* The program's log; see log.h. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include "base/text.h"

enum {
	SINKS_MAX = 8,
	RAW_MAX = 2048, /* bytes of one event before escaping; what is longer is cut */
	SHOWN_MAX = 4096,
};

/* <fn>, or the file <fd>. */
struct sink {
	log_sink *fn;
	void *ctx;
	int fd;
	char *path; /* of a file that log_reopen() opens again, else NULL */
};

#define USUAL "%Y-%m-%dT%H:%M:%S"

/* State of the whole process, because the log is: any function of a program may write to it, and a log handed
 * down through every call would be a parameter of everything. Only log.c touches it; <lock> guards all but the
 * level. */
static struct {
	pthread_mutex_t lock;
	atomic_int level;
	bool no_stamp;
	const char *format; /* of timestamps */
	size_t n; /* 0: standard error alone */
	struct sink sinks[SINKS_MAX];
} the = { .lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_LVL_NOTICE, .format = USUAL };

static const struct sink standard_error = { .fd = STDERR_FILENO };

void
log_set_level(enum log_level max)
{
	atomic_store_explicit(&the.level, (int)max, memory_order_relaxed);
}

bool
log_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&the.level, memory_order_relaxed);
}

void
log_set_timestamp(bool on)
{
	(void)pthread_mutex_lock(&the.lock);
	the.no_stamp = !on;
	(void)pthread_mutex_unlock(&the.lock);
}

static bool
add(struct sink s)
{
	bool room;

	(void)pthread_mutex_lock(&the.lock);
	room = the.n < SINKS_MAX;
	if (room)
		the.sinks[the.n++] = s;
	(void)pthread_mutex_unlock(&the.lock);
	return room;
}

void
log_set_timestamp_format(const char *format)
{
	(void)pthread_mutex_lock(&the.lock);
	the.format = format != NULL ? format : USUAL;
	(void)pthread_mutex_unlock(&the.lock);
}

bool
log_add_sink(log_sink *fn, void *ctx)
{
	return add((struct sink){ .fn = fn, .ctx = ctx, .fd = -1 });
}

bool
log_add_stderr(void)
{
	return add(standard_error);
}

void
log_reset_sinks(void)
{
	(void)pthread_mutex_lock(&the.lock);
	for (size_t i = 0; i < the.n; i++) {
		if (the.sinks[i].path == NULL)
			continue;
		(void)close(the.sinks[i].fd); /* nothing can be done about a log that cannot be closed */
		free(the.sinks[i].path);
	}
	the.n = 0;
	the.format = USUAL; /* the other belongs to whoever set it */
	(void)pthread_mutex_unlock(&the.lock);
}

static int
open_append(const char *path, mode_t mode)
{
	return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, mode);
}

bool
log_open_file(const char *path, struct err *err)
{
	struct sink s = { .fd = open_append(path, 0600), .path = strdup(path) };
	bool ok = false;

	if (s.fd == -1)
		(void)err_sys(err, "cannot open the log file %s", path);
	else if (s.path == NULL)
		(void)err_set(err, ERR_MEMORY, "out of memory opening the log file %s", path);
	else if (!add(s))
		(void)err_set(err, ERR_LIMIT, "cannot log to %s: there are %d log destinations already", path, SINKS_MAX);
	else
		ok = true;
	if (!ok) {
		if (s.fd != -1)
			(void)close(s.fd);
		free(s.path);
	}
	return ok;
}

/* One writev() a line, so that lines of several processes on one file do not mix. A log that cannot be written has
 * nowhere to say so. */
static void
write_fd(int fd, const char *stamp, const char *line, size_t n)
{
	struct iovec iov[3] = {
		{ .iov_base = (void *)(uintptr_t)stamp, .iov_len = strlen(stamp) },
		{ .iov_base = (void *)(uintptr_t)line, .iov_len = n },
		{ .iov_base = (void *)(uintptr_t) "\n", .iov_len = 1 },
	};

	while (writev(fd, iov, 3) == -1 && errno == EINTR)
		continue;
}

/* The format is the configuration's, not a peer's, and strftime() writes what fits or nothing. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static size_t
stamp_in(const char *format, char out[LOG_STAMP_MAX])
{
	time_t now = time(NULL);
	struct tm tm;

	return localtime_r(&now, &tm) != NULL ? strftime(out, LOG_STAMP_MAX, format, &tm) : 0;
}
#pragma GCC diagnostic pop

bool
log_timestamp_format_ok(const char *format)
{
	char out[LOG_STAMP_MAX];

	return stamp_in(format, out) > 0;
}

/* With the lock held, as sinks have it. */
const char *
log_stamp(char out[LOG_STAMP_MAX + 2])
{
	size_t n = the.no_stamp ? 0 : stamp_in(the.format, out);

	memcpy(out + n, n > 0 ? ": " : "", n > 0 ? 3 : 1);
	return out;
}

/* With the lock held. */
static void
write_all(enum log_level level, const char *line, size_t n)
{
	char stamp[LOG_STAMP_MAX + 2];

	(void)log_stamp(stamp);
	for (size_t i = 0; i < the.n || i == 0; i++) {
		const struct sink *s = the.n > 0 ? &the.sinks[i] : &standard_error;

		if (s->fn != NULL)
			s->fn(s->ctx, level, line, n);
		else
			write_fd(s->fd, stamp, line, n);
	}
}

void
log_write(enum log_level level, const char *fmt, ...)
{
	int no = errno; /* logging an error must not change it */
	char raw[RAW_MAX], line[SHOWN_MAX];
	struct slice in;
	va_list ap;
	bool tab;
	int n;

	if (level <= LOG_LVL_DEBUG && !log_on(level))
		return;
	va_start(ap, fmt);
	n = vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof raw)
		memcpy(raw + sizeof raw - 4, "...", 4);
	/* One event is one line, whatever came in with it. */
	/* A tab in front is ours: it is for lines that belong to the one before. */
	in = slice_str(n < 0 ? fmt : raw);
	tab = in.n > 0 && in.p[0] == '\t';
	line[0] = '\t';
	text_line(slice_from(in, tab), line + tab, sizeof line - tab);
	(void)pthread_mutex_lock(&the.lock);
	write_all(level, line, strlen(line));
	(void)pthread_mutex_unlock(&the.lock);
	errno = no;
}

void
log_reopen(void)
{
	int failed = 0;

	(void)pthread_mutex_lock(&the.lock);
	for (size_t i = 0; i < the.n; i++) {
		struct sink *s = &the.sinks[i];
		struct stat st;
		/* Who could read the old file can read the new one. */
		mode_t mode = s->path != NULL && fstat(s->fd, &st) == 0 ? st.st_mode & 0666 : 0600;
		int fd = s->path != NULL ? open_append(s->path, mode) : -1;

		if (fd != -1) {
			(void)close(s->fd);
			s->fd = fd;
		} else if (s->path != NULL) {
			failed = errno;
		}
	}
	(void)pthread_mutex_unlock(&the.lock);
	if (failed != 0)
		log_error("cannot open the log file again, going on with the old one: %s", strerror_r(failed, (char[96]){ 0 }, 96));
}
