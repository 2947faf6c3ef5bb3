/* http_dir: what is below it is served, and nothing else, whatever stands there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "server/internal.h"

struct site {
	char dir[64];
	int fd, top; /* top: its parent, where the secret is */
};

static void
write_at(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd != -1);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
}

static int
setup(void **state)
{
	struct site *s = calloc(1, sizeof(*s));
	char path[80];
	struct err err = { 0 };

	assert_non_null(s);
	(void)snprintf(s->dir, sizeof(s->dir), "%s", "/tmp/signet-files-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->top = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->top != -1);
	write_at(s->top, "secret", "secret");
	assert_int_equal(mkdirat(s->top, "site", 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/site", s->dir);
	assert_true(files_open_dir(path, &s->fd, &err));
	write_at(s->fd, "a.txt", "hello");
	assert_int_equal(mkdirat(s->fd, "sub", 0700), 0);
	write_at(s->fd, "sub/b.txt", "");
	assert_int_equal(symlinkat("../secret", s->fd, "link"), 0);
	assert_int_equal(symlinkat("a.txt", s->fd, "inner"), 0);
	assert_int_equal(symlinkat("..", s->fd, "up"), 0);
	assert_int_equal(symlinkat("sub", s->fd, "side"), 0);
	assert_int_equal(mkfifoat(s->fd, "fifo", 0600), 0);
	*state = s;
	return 0;
}

static int
teardown(void **state)
{
	static const char *const names[] = { "site/sub/b.txt", "site/a.txt", "site/link",
		"site/inner", "site/up", "site/side", "site/fifo", "secret" };
	struct site *s = *state;
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(unlinkat(s->top, names[i], 0), 0);
	assert_int_equal(unlinkat(s->top, "site/sub", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(s->top, "site", AT_REMOVEDIR), 0);
	assert_int_equal(rmdir(s->dir), 0);
	(void)close(s->fd);
	(void)close(s->top);
	free(s);
	return 0;
}

static void
what_is_below_is_there(void **state)
{
	const struct site *s = *state;
	struct ws_files f = files_below(&s->fd);
	struct ws_file got = { 0 };
	char text[16] = "";
	void *file = f.open(f.ctx, "a.txt", &got);

	assert_non_null(file);
	assert_int_equal(got.size, 5);
	assert_true(strncmp(got.tag, "W/\"", 3) == 0 && strlen(got.tag) > 8);
	assert_int_equal(f.read(file, text, 3), 3);
	assert_int_equal(f.read(file, text + 3, sizeof(text) - 3), 2);
	assert_string_equal(text, "hello");
	assert_int_equal(f.read(file, text, sizeof(text)), 0);
	f.close(file);
	file = f.open(f.ctx, "sub/b.txt", &got);
	assert_non_null(file);
	assert_int_equal(got.size, 0);
	f.close(file);
}

static void
nothing_else_is(void **state)
{
	static const char *const names[] = { "none", "sub", "sub/none", "a.txt/b", "link", "inner",
		"up/secret", "side/b.txt", "fifo", "/etc/passwd", "" };
	const struct site *s = *state;
	struct ws_files f = files_below(&s->fd);
	struct ws_file got = { 0 };
	char name[2 * 255];
	size_t i;

	for (i = 0; i < ARRAY_LEN(names); i++)
		if (f.open(f.ctx, names[i], &got) != NULL)
			fail_msg("%s was opened", names[i]);
	memset(name, 'a', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_null(f.open(f.ctx, name, &got));
}

static void
a_directory_that_is_none_is_named(void **state)
{
	struct err err = { 0 };
	int fd;

	(void)state;
	assert_false(files_open_dir("/dev/null", &fd, &err));
	assert_non_null(strstr(err.text, "cannot open the directory /dev/null"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_below_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_else_is, setup, teardown),
		cmocka_unit_test(a_directory_that_is_none_is_named),
	};

	return cmocka_run_group_tests_name("server_files", tests, NULL, NULL);
}
