/* Where the log goes. */
#include "server/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define JOURNAL "/run/systemd/journal/socket"

static void
to_stdout(void *ctx, enum log_level level, const char *line, size_t n)
{
	char stamp[LOG_STAMP_MAX + 2];

	(void)ctx;
	(void)level;
	(void)fprintf(stdout, "%s%.*s\n", log_stamp(stamp), (int)n, line);
	(void)fflush(stdout); /* a log that cannot be written has nowhere to say so */
}

static int
priority_of(enum log_level level)
{
	static const int priorities[] = {
		[LOG_LVL_ERROR] = LOG_ERR,
		[LOG_LVL_WARNING] = LOG_WARNING,
		[LOG_LVL_NOTICE] = LOG_NOTICE,
		[LOG_LVL_INFO] = LOG_INFO,
		[LOG_LVL_DEBUG] = LOG_DEBUG,
		[LOG_LVL_SUBSCRIBE] = LOG_NOTICE,
		[LOG_LVL_UNSUBSCRIBE] = LOG_NOTICE,
	};

	return priorities[level];
}

static void
to_syslog(void *ctx, enum log_level level, const char *line, size_t n)
{
	(void)ctx;
	syslog(priority_of(level), "%.*s", (int)n, line);
}

/* The journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of NAME=VALUE lines; a line of ours has no
 * newline in it. A journal that does not read loses lines rather than stop the broker. */
static void
to_journal(void *ctx, enum log_level level, const char *line, size_t n)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = JOURNAL };
	char head[64];
	int head_n = snprintf(head, sizeof(head), "SYSLOG_IDENTIFIER=signet\nPRIORITY=%d\nMESSAGE=", priority_of(level));
	struct iovec iov[] = { { head, (size_t)head_n }, { (void *)(uintptr_t)line, n }, { (void *)(uintptr_t) "\n", 1 } };
	struct msghdr m = { .msg_name = &addr, .msg_namelen = sizeof(addr), .msg_iov = iov, .msg_iovlen = 3 };

	/* By name each time: a journal that was restarted is another socket. */
	(void)sendmsg((int)(intptr_t)ctx, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The socket stays open as long as the process does. */
static bool
open_journal(struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd != -1 && access(JOURNAL, W_OK) == 0) {
		if (log_add_sink(to_journal, (void *)(intptr_t)fd))
			return true;
		(void)err_set(err, ERR_LIMIT, "too many log destinations");
	} else {
		(void)err_sys(err, "log_dest journald: the journal's socket " JOURNAL);
	}
	if (fd != -1)
		(void)close(fd);
	return false;
}

static void
to_nowhere(void *ctx, enum log_level level, const char *line, size_t n)
{
	(void)ctx;
	(void)level;
	(void)line;
	(void)n;
}

/* A file that we make as root shall belong to the user that will write to it and open it again.
 * It is made here and not by name afterwards: in a directory that is not ours, chown() of a name
 * would follow whatever link stands there by then. */
static bool
make_log_file(const char *path, uid_t owner, gid_t group, struct err *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	bool ok = true;

	/* What is there already is opened, or explained, by log_open_file(). */
	if (fd == -1)
		return true;
	if (owner != (uid_t)-1 && fchown(fd, owner, group) == -1)
		ok = err_sys(err, "cannot give the log file %s to its user", path);
	(void)close(fd);
	return ok;
}

bool
logdest_open(const struct config *c, const struct logdest *d, struct err *err)
{
	unsigned dest = c->log_none ? CONFIG_LOG_NONE : c->log_dest;
	char where[CONFIG_PLACE_CAP];
	bool ok = true;

	log_reset_sinks();
	log_set_level(c->log_level);
	log_set_timestamp(c->log_timestamp);
	log_set_timestamp_format(c->log_timestamp_format);
	if ((dest & CONFIG_LOG_NONE) != 0)
		return log_add_sink(to_nowhere, NULL);
	/* A daemon has no terminal: what would go there goes to syslog. */
	if (d->daemon && dest == 0 && c->log_file == NULL)
		dest = CONFIG_LOG_SYSLOG;
	if (c->log_file != NULL &&
	    (!make_log_file(c->log_file, d->owner, d->group, err) || !log_open_file(c->log_file, err)))
		return err_prefix(err, "%s: log_dest",
		    config_place_text(c, option_at(c->at, "log_dest"), where, sizeof(where)));
	if ((dest & CONFIG_LOG_STDERR) != 0)
		ok = log_add_stderr() && ok;
	if ((dest & CONFIG_LOG_STDOUT) != 0)
		ok = log_add_sink(to_stdout, NULL) && ok;
	if ((dest & CONFIG_LOG_SYSLOG) != 0) {
		openlog("signet", LOG_PID, c->log_facility < 0 ? LOG_DAEMON : (LOG_LOCAL0 + (int)c->log_facility * 8));
		ok = log_add_sink(to_syslog, NULL) && ok;
	}
	if ((dest & CONFIG_LOG_TOPIC) != 0)
		ok = logtopics_sink(d->topics) && ok;
	if ((dest & CONFIG_LOG_JOURNAL) != 0 && !open_journal(err))
		return false;
	return ok || err_set(err, ERR_LIMIT, "too many log destinations");
}
