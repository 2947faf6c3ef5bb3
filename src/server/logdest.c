/* Where the log goes. */
#include "server/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

static void
to_stdout(void *ctx, enum log_level level, const char *line, size_t n)
{
	char stamp[LOG_STAMP_MAX + 2];

	(void)ctx;
	(void)level;
	(void)fprintf(stdout, "%s%.*s\n", log_stamp(stamp), (int)n, line);
	(void)fflush(stdout); /* a log that cannot be written has nowhere to say so */
}

static void
to_syslog(void *ctx, enum log_level level, const char *line, size_t n)
{
	static const int priorities[] = {
		[LOG_LVL_ERROR] = LOG_ERR,
		[LOG_LVL_WARNING] = LOG_WARNING,
		[LOG_LVL_NOTICE] = LOG_NOTICE,
		[LOG_LVL_INFO] = LOG_INFO,
		[LOG_LVL_DEBUG] = LOG_DEBUG,
	};

	(void)ctx;
	syslog(priorities[level], "%.*s", (int)n, line);
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
logdest_open(const struct config *c, bool daemon, uid_t owner, gid_t group, struct err *err)
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
	if (daemon && dest == 0 && c->log_file == NULL)
		dest = CONFIG_LOG_SYSLOG;
	if (c->log_file != NULL &&
	    (!make_log_file(c->log_file, owner, group, err) || !log_open_file(c->log_file, err)))
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
	return ok || err_set(err, ERR_LIMIT, "too many log destinations");
}
