/* Errors: class, text, what is escaped and what is cut. */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void
set_fills_code_and_text(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_false(err_set(&e, ERR_USAGE, "%s: port %d is not a port", "signet.conf:7", 70000));
	assert_int_equal(e.code, ERR_USAGE);
	assert_string_equal(e.text, "signet.conf:7: port 70000 is not a port");
	assert_false(err_set(NULL, ERR_USAGE, "nobody %s", "listens"));
	assert_false(err_sys(NULL, "nobody %s", "listens"));
	assert_false(err_prefix(NULL, "nobody %s", "listens"));
}

static void
text_is_one_printable_line(void **state)
{
	struct err e = { 0 };

	(void)state;
	(void)err_set(&e, ERR_INPUT, "topic \"%s\"", "a\nb\033[31m\xff");
	assert_string_equal(e.text, "topic \"a\\x0ab\\x1b[31m\\xff\"");
}

static void
sys_takes_code_and_reason_from_errno(void **state)
{
	static const struct {
		int no;
		enum err_code code;
	} cases[] = {
		{ ENOENT, ERR_MISSING },
		{ ENOTDIR, ERR_MISSING },
		{ EACCES, ERR_DENIED },
		{ EPERM, ERR_DENIED },
		{ EROFS, ERR_DENIED },
		{ EEXIST, ERR_EXISTS },
		{ ENOMEM, ERR_MEMORY },
		{ EMFILE, ERR_LIMIT },
		{ ENOSPC, ERR_LIMIT },
		{ EIO, ERR_SYSTEM },
		{ EPIPE, ERR_SYSTEM },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct err e = { 0 };

		errno = cases[i].no;
		assert_false(err_sys(&e, "cannot open %s", "x"));
		assert_int_equal(e.code, cases[i].code);
		assert_int_equal(errno, cases[i].no);
		assert_memory_equal(e.text, "cannot open x: ", 15);
		assert_string_equal(e.text + 15, strerror(cases[i].no));
	}
}

static void
long_text_is_cut_but_the_reason_stays(void **state)
{
	struct err e = { 0 };
	char path[2000];

	(void)state;
	memset(path, 'p', sizeof path - 1);
	path[sizeof path - 1] = '\0';
	(void)err_set(&e, ERR_INPUT, "%s", path);
	assert_int_equal(strlen(e.text), sizeof e.text - 1);
	errno = ENOENT;
	(void)err_sys(&e, "cannot open %s", path);
	assert_non_null(strstr(e.text, "p: No such file or directory"));
	assert_true(strlen(e.text) < sizeof e.text);
	(void)err_prefix(&e, "%s", path);
	assert_true(strlen(e.text) < sizeof e.text);
}

static void
prefix_keeps_code_and_text(void **state)
{
	struct err e = { 0 };

	(void)state;
	(void)err_set(&e, ERR_LIMIT, "too long");
	assert_false(err_prefix(&e, "%s:%d", "signet.conf", 3));
	assert_int_equal(e.code, ERR_LIMIT);
	assert_string_equal(e.text, "signet.conf:3: too long");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_fills_code_and_text),
		cmocka_unit_test(text_is_one_printable_line),
		cmocka_unit_test(sys_takes_code_and_reason_from_errno),
		cmocka_unit_test(long_text_is_cut_but_the_reason_stays),
		cmocka_unit_test(prefix_keeps_code_and_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
