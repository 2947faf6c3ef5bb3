/* The log: levels, one line an event, sinks, files and their rotation, several threads. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"

struct seen {
	size_t lines;
	enum log_level level;
	char last[8192];
};

static void
remember(void *ctx, enum log_level level, const char *line, size_t n)
{
	struct seen *s = ctx;

	assert_true(n < sizeof s->last);
	assert_int_equal(strlen(line), n);
	assert_null(memchr(line, '\n', n));
	memcpy(s->last, line, n + 1);
	s->level = level;
	s->lines++;
}

static int
start(void **state)
{
	static struct seen seen;

	seen = (struct seen){ 0 };
	*state = &seen;
	log_reset_sinks();
	log_set_level(LOG_LVL_NOTICE);
	log_set_timestamp(true);
	return log_add_sink(remember, &seen) ? 0 : -1;
}

static int
stop(void **state)
{
	(void)state;
	log_reset_sinks();
	return 0;
}

static void
levels(void **state)
{
	struct seen *s = *state;

	log_notice("n=%d", 1);
	assert_string_equal(s->last, "n=1");
	assert_int_equal(s->level, LOG_LVL_NOTICE);
	log_info("n=%d", 2);
	log_debug("n=%d", 3);
	assert_int_equal(s->lines, 1);
	log_set_level(LOG_LVL_DEBUG);
	assert_true(log_on(LOG_LVL_DEBUG));
	log_debug("n=%d", 4);
	assert_string_equal(s->last, "n=4");
	log_set_level(LOG_LVL_ERROR);
	log_warning("n=%d", 5);
	assert_int_equal(s->lines, 2);
	log_error("n=%d", 6);
	assert_int_equal(s->level, LOG_LVL_ERROR);
	assert_int_equal(s->lines, 3);
}

static void
one_event_is_one_line(void **state)
{
	struct seen *s = *state;
	char big[5000];

	log_error("client \"%s\" refused", "evil\n2026-01-31T12:00:00: all is well\r\033[2J\xff");
	assert_string_equal(s->last,
	    "client \"evil\\x0a2026-01-31T12:00:00: all is well\\x0d\\x1b[2J\\xff\" refused");
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	log_error("%s", big);
	assert_true(strlen(s->last) > 1000 && strlen(s->last) < 4096);
	assert_string_equal(s->last + strlen(s->last) - 3, "...");
	memset(big, '\n', sizeof big - 1);
	log_error("%s", big);
	assert_true(strlen(s->last) > 1000 && strlen(s->last) < 4096);
	assert_string_equal(s->last + strlen(s->last) - 3, "...");
	assert_int_equal(s->lines, 3);
}

static void
subscriptions_are_beside_the_levels(void **state)
{
	struct seen *s = *state;

	log_set_level(LOG_LVL_ERROR);
	log_write(LOG_LVL_SUBSCRIBE, "a 1 t");
	assert_string_equal(s->last, "a 1 t");
	assert_int_equal(s->level, LOG_LVL_SUBSCRIBE);
	log_write(LOG_LVL_UNSUBSCRIBE, "a t");
	assert_int_equal(s->lines, 2);
}

static void
the_stamp_has_its_format(void **state)
{
	char out[LOG_STAMP_MAX + 2], wide[120];

	(void)state;
	log_set_timestamp(true);
	log_set_timestamp_format("at");
	assert_string_equal(log_stamp(out), "at: ");
	log_set_timestamp_format(NULL);
	assert_int_equal(strlen(log_stamp(out)), 21);
	log_set_timestamp(false);
	assert_string_equal(log_stamp(out), "");
	log_set_timestamp(true);
	assert_true(log_timestamp_format_ok("%s") && log_timestamp_format_ok("%Y"));
	memset(wide, 'x', sizeof wide);
	wide[LOG_STAMP_MAX - 1] = '\0';
	assert_true(log_timestamp_format_ok(wide));
	wide[LOG_STAMP_MAX - 1] = 'x';
	wide[LOG_STAMP_MAX] = '\0';
	assert_false(log_timestamp_format_ok(wide) || log_timestamp_format_ok(""));
}

static void
errno_is_kept(void **state)
{
	(void)state;
	errno = EXDEV;
	log_error("x");
	assert_int_equal(errno, EXDEV);
}

static void
too_many_sinks_are_refused(void **state)
{
	struct seen *s = *state;
	struct err err = { 0 };
	size_t n = 1;

	while (n < 100 && log_add_sink(remember, s))
		n++;
	assert_in_range(n, 2, 99);
	log_error("x");
	assert_int_equal(s->lines, n);
	assert_false(log_open_file("/dev/null", &err));
	assert_int_equal(err.code, ERR_LIMIT);
}

static size_t
read_log(const char *path, char *out, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_int_not_equal(fd, -1);
	n = read(fd, out, cap - 1);
	assert_true(n >= 0);
	out[n] = '\0';
	(void)close(fd);
	return (size_t)n;
}

static void
file_and_rotation(void **state)
{
	char dir[] = "/tmp/signet-log-test-XXXXXX", path[64], moved[64], out[512];
	struct err err = { 0 };
	struct stat st;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_true(path_join(path, sizeof path, dir, "log"));
	assert_true(path_join(moved, sizeof moved, dir, "log.1"));
	assert_true(log_open_file(path, &err));
	log_error("first");
	/* 2026-01-31T12:00:00: first\n */
	assert_int_equal(read_log(path, out, sizeof out), 27);
	assert_true(out[4] == '-' && out[10] == 'T' && out[13] == ':');
	assert_string_equal(out + 19, ": first\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chmod(path, 0640), 0); /* as server/ makes it for its user */
	log_set_timestamp(false);
	log_error("second");
	assert_int_equal(rename(path, moved), 0);
	log_error("third");
	log_reopen();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	log_error("fourth");
	(void)read_log(moved, out, sizeof out);
	assert_string_equal(out + 21, "first\nsecond\nthird\n");
	(void)read_log(path, out, sizeof out);
	assert_string_equal(out, "fourth\n");
	log_reset_sinks();
	assert_true(log_open_file(path, &err));
	log_error("fifth");
	(void)read_log(path, out, sizeof out);
	assert_string_equal(out, "fourth\nfifth\n");
	log_reset_sinks();
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unlink(moved), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_false(log_open_file(path, &err));
	assert_int_equal(err.code, ERR_MISSING);
}

static void *
write_many(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_error("%s", (const char *)arg);
	return NULL;
}

static void
threads_do_not_mix_lines(void **state)
{
	static char words[4][40] = { "aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccc",
		"dddddddddddddddddddd" };
	char path[] = "/tmp/signet-log-test-XXXXXX";
	int fd = mkstemp(path);
	struct err err = { 0 };
	pthread_t th[4];
	uint8_t *p = NULL;
	size_t n = 0;

	(void)state;
	assert_int_not_equal(fd, -1);
	(void)close(fd);
	log_reset_sinks();
	log_set_timestamp(false);
	assert_true(log_open_file(path, &err));
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&th[i], NULL, write_many, words[i]), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(th[i], NULL), 0);
	assert_true(file_read(path, 1 << 20, &p, &n, &err));
	assert_int_equal(n, 4 * 500 * 21);
	for (size_t i = 0; i < n; i += 21) {
		assert_memory_equal(p + i, words[p[i] - 'a'], 20);
		assert_int_equal(p[i + 20], '\n');
	}
	free(p);
	assert_int_equal(unlink(path), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(levels),
		T(one_event_is_one_line),
		T(subscriptions_are_beside_the_levels),
		T(the_stamp_has_its_format),
		T(errno_is_kept),
		T(too_many_sinks_are_refused),
		T(file_and_rotation),
		T(threads_do_not_mix_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
