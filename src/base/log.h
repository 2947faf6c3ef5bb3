/* The program's log: one line an event. Any thread. Libraries below server/ do not log, they return errors. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include "base/slice.h"
#include "base/err.h"

enum log_level {
	LOG_LVL_ERROR,
	LOG_LVL_WARNING,
	LOG_LVL_NOTICE,
	LOG_LVL_INFO,
	LOG_LVL_DEBUG,
	/* Not in the row: written whatever the level is. */
	LOG_LVL_SUBSCRIBE,
	LOG_LVL_UNSUBSCRIBE,
};

/* Where lines go: called with one whole line (no newline), already escaped, under the log's lock. */
typedef void log_sink(void *ctx, enum log_level level, const char *line, size_t n);

/* Levels above <max> are not formatted at all. Default: standard error, LOG_LVL_NOTICE, with a timestamp. Any thread. */
void log_set_level(enum log_level max);
bool log_on(enum log_level level);
/* Add a sink; the first one takes the place of standard error, which log_add_stderr() brings back beside it.
 * False when there are too many. <fn> must not log. */
bool log_add_sink(log_sink *fn, void *ctx);
bool log_add_stderr(void);
/* Go back to standard error alone; files are closed. */
void log_reset_sinks(void);
/* "2026-01-31T12:00:00: " before each line on file and stderr sinks; on by default. */
void log_set_timestamp(bool on);
/* How the time is written, in the words of strftime(3); NULL: as above. <format> is borrowed until log_reset_sinks(). */
void log_set_timestamp_format(const char *format);
/* Does it write something, and less than LOG_STAMP_MAX bytes? */
bool log_timestamp_format_ok(const char *format);
/* The time now, with ": " behind it; "" when timestamps are off. For sinks that write to people. */
enum { LOG_STAMP_MAX = 64 };
const char *log_stamp(char out[LOG_STAMP_MAX + 2]);

void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_write(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LVL_WARNING, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LVL_NOTICE, __VA_ARGS__)
#define log_info(...) log_write(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...) (log_on(LOG_LVL_DEBUG) ? log_write(LOG_LVL_DEBUG, __VA_ARGS__) : (void)0)

/* Open <path> (append, 0600 when created) as a sink; log_reopen() closes and opens it again (for log rotation), with the
 * mode of the old file if it makes one. */
bool log_open_file(const char *path, struct err *err);
void log_reopen(void);

#endif
