/* Files and secrets: what is there stays, what fails leaves nothing. */
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/secret.h"

static char dir[64];
static char long_name[300];

static int
make_dir(void **state)
{
	(void)state;
	(void)snprintf(dir, sizeof dir, "/tmp/signet-file-test-XXXXXX");
	memset(long_name, 'n', sizeof long_name - 1);
	return mkdtemp(dir) == NULL ? -1 : 0;
}

/* One level below is as deep as the tests go, but for "a/b/c". */
static void
remove_all(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	char sub[512];

	while (d != NULL && (e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		(void)snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
		if (unlink(sub) == -1)
			remove_all(sub);
	}
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(path);
}

static int
drop_dir(void **state)
{
	(void)state;
	remove_all(dir);
	return 0;
}

static const char *
in_dir(const char *name)
{
	static char path[512];

	assert_true(path_join(path, sizeof path, dir, name));
	return path;
}

static size_t
entries(const char *path)
{
	DIR *d = opendir(path);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n - 2;
}

static void
assert_content(const char *path, struct slice want)
{
	struct err err;
	uint8_t *p = NULL;
	size_t n = 0;

	assert_true(file_read(path, 1 << 20, &p, &n, &err));
	assert_true(slice_eq(slice_of(p, n), want));
	assert_int_equal(p[n], 0);
	free(p);
}

static void
written_is_read_again(void **state)
{
	struct err err = { 0 };
	struct stat st;
	mode_t old = umask(077);

	(void)state;
	assert_true(file_write(in_dir("f"), SL("hello\n"), 0644, 0, &err));
	assert_content(in_dir("f"), SL("hello\n"));
	assert_int_equal(stat(in_dir("f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644); /* whatever the umask says */
	assert_true(file_write(in_dir("key"), (struct slice){ 0 }, 0600, 0, &err));
	assert_int_equal(stat(in_dir("key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_content(in_dir("key"), (struct slice){ 0 });
	assert_int_equal(entries(dir), 2);
	(void)umask(old);
}

static void
existing_is_kept_unless_told(void **state)
{
	struct err err = { 0 };
	struct stat st;

	(void)state;
	assert_true(file_write(in_dir("f"), SL("old"), 0600, 0, &err));
	assert_false(file_write(in_dir("f"), SL("new"), 0644, 0, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	assert_non_null(strstr(err.text, in_dir("f")));
	assert_content(in_dir("f"), SL("old"));
	assert_int_equal(entries(dir), 1);
	assert_true(file_write(in_dir("f"), SL("new"), 0640, FILE_REPLACE, &err));
	assert_content(in_dir("f"), SL("new"));
	assert_int_equal(stat(in_dir("f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(entries(dir), 1);
}

static void
dangling_link_is_not_followed(void **state)
{
	struct err err = { 0 };
	char target[512];

	(void)state;
	(void)snprintf(target, sizeof target, "%s/elsewhere", dir);
	assert_int_equal(symlink(target, in_dir("link")), 0);
	assert_false(file_write(in_dir("link"), SL("x"), 0600, 0, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	assert_int_equal(access(target, F_OK), -1);
}

static void
failure_leaves_nothing(void **state)
{
	struct err err = { 0 };

	(void)state;
	assert_false(file_write(in_dir("no/such/f"), SL("x"), 0600, 0, &err));
	assert_int_equal(err.code, ERR_MISSING);
	/* The temporary file can be written, its final name cannot be taken: a directory stands there. */
	assert_true(dir_make(in_dir("d"), 0700, &err));
	assert_false(file_write(in_dir("d"), SL("x"), 0600, FILE_REPLACE, &err));
	assert_false(file_write(in_dir("d"), SL("x"), 0600, 0, &err));
	assert_false(file_write(in_dir(long_name), SL("x"), 0600, 0, &err));
	assert_int_equal(entries(dir), 1);
	if (geteuid() != 0) { /* root may write everywhere */
		assert_int_equal(chmod(in_dir("d"), 0500), 0);
		assert_false(file_write(in_dir("d/f"), SL("x"), 0600, 0, &err));
		assert_int_equal(err.code, ERR_DENIED);
		assert_int_equal(entries(in_dir("d")), 0);
	}
	assert_false(file_write("/proc/signet-test", SL("x"), 0600, 0, &err));
	assert_non_null(strstr(err.text, "/proc/signet-test"));
}

static void
relative_paths_work(void **state)
{
	struct err err = { 0 };
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)state;
	assert_int_not_equal(here, -1);
	assert_int_equal(chdir(dir), 0);
	assert_true(file_write("plain", SL("x"), 0600, 0, &err));
	assert_int_equal(fchdir(here), 0);
	assert_int_equal(close(here), 0);
	assert_content(in_dir("plain"), SL("x"));
}

static void
reading_refuses(void **state)
{
	struct err err = { 0 };
	uint8_t *p = NULL;
	size_t n = 77;

	(void)state;
	assert_true(file_write(in_dir("f"), SL("0123456789"), 0600, 0, &err));
	assert_false(file_read(in_dir("f"), 9, &p, &n, &err));
	assert_int_equal(err.code, ERR_LIMIT);
	assert_false(file_read(in_dir("none"), 9, &p, &n, &err));
	assert_int_equal(err.code, ERR_MISSING);
	assert_false(file_read(dir, 9, &p, &n, &err));
	assert_int_equal(err.code, ERR_INPUT);
	assert_non_null(strstr(err.text, "a directory"));
	assert_false(file_read("/dev/zero", 9, &p, &n, &err));
	assert_int_equal(err.code, ERR_INPUT);
	assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
	assert_false(file_read(in_dir("pipe"), 9, &p, &n, &err));
	assert_int_equal(err.code, ERR_INPUT);
	assert_null(p);
	assert_int_equal(n, 77);
	assert_true(file_read(in_dir("f"), 10, &p, &n, &err));
	assert_int_equal(n, 10);
	secret_free(p, n);
}

static void
directories(void **state)
{
	struct err err = { 0 };
	struct stat st;

	(void)state;
	assert_true(dir_make(in_dir("a/b/c"), 0700, &err));
	assert_true(dir_make(in_dir("a/b/c/"), 0700, &err));
	assert_int_equal(stat(in_dir("a/b"), &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_true(file_write(in_dir("a/f"), SL("x"), 0600, 0, &err));
	assert_false(dir_make(in_dir("a/f"), 0700, &err));
	assert_int_equal(err.code, ERR_EXISTS);
	assert_false(dir_make(in_dir("a/f/g"), 0700, &err));
	assert_false(dir_make("", 0700, &err));
	assert_int_equal(err.code, ERR_MISSING);
}

static void
paths_are_joined(void **state)
{
	char out[8];

	(void)state;
	assert_true(path_join(out, sizeof out, "a", "b"));
	assert_string_equal(out, "a/b");
	assert_true(path_join(out, sizeof out, "a/", "b"));
	assert_string_equal(out, "a/b");
	assert_true(path_join(out, sizeof out, "a", "/b"));
	assert_string_equal(out, "/b");
	assert_true(path_join(out, sizeof out, "", "b"));
	assert_string_equal(out, "b");
	assert_true(path_join(out, sizeof out, "abc", "def"));
	assert_false(path_join(out, sizeof out, "abcd", "def"));
}

static void
secrets(void **state)
{
	uint8_t a[32] = { 0 }, b[32] = { 0 };
	uint8_t *p = malloc(16);

	(void)state;
	assert_true(secret_eq(slice_of(a, 32), slice_of(b, 32)));
	assert_true(secret_eq((struct slice){ 0 }, (struct slice){ 0 }));
	assert_false(secret_eq(slice_of(a, 32), slice_of(b, 31)));
	random_bytes(a, sizeof a);
	random_bytes(b, sizeof b);
	assert_false(secret_eq(slice_of(a, 32), slice_of(b, 32)));
	secret_wipe(a, sizeof a);
	for (size_t i = 0; i < sizeof a; i++)
		assert_int_equal(a[i], 0);
	random_bytes(a, 0);
	assert_non_null(p);
	secret_free(p, 16);
	secret_free(NULL, 16);
	secret_wipe(NULL, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, make_dir, drop_dir)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(written_is_read_again),
		T(existing_is_kept_unless_told),
		T(dangling_link_is_not_followed),
		T(failure_leaves_nothing),
		T(relative_paths_work),
		T(reading_refuses),
		T(directories),
		cmocka_unit_test(paths_are_joined),
		cmocka_unit_test(secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
