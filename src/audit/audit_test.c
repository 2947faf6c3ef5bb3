/* The audit log: what was written is read back, and no byte of it can be changed without being found. */
#include "audit/internal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/file.h"

struct home {
	char dir[64], path[96];
};

static int
setup(void **state)
{
	struct home *h = calloc(1, sizeof *h);

	assert_non_null(h);
	/* In memory where that is possible: thousands of fsync() on a busy disk are no part of what is tested. */
	(void)snprintf(h->dir, sizeof h->dir, "%s/signet-audit-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(h->dir));
	(void)snprintf(h->path, sizeof h->path, "%s/audit.log", h->dir);
	*state = h;
	return 0;
}

static int
teardown(void **state)
{
	struct home *h = *state;

	(void)unlink(h->path);
	assert_int_equal(rmdir(h->dir), 0);
	free(h);
	return 0;
}

static void
append(struct audit *a, const char *action, const char *object)
{
	struct audit_detail d[] = { { "ca", "client" }, { "why", "a \"quoted\" \\ and a\ttab" } };
	struct audit_record r = { 1700000000, "cli/root", action, object, d, ARRAY_LEN(d) };
	struct err err = { 0 };

	if (!audit_append(a, &r, NULL, &err))
		fail_msg("%s", err.text);
}

/* Three records. */
static void
make(const struct home *h)
{
	struct err err = { 0 };
	struct audit *a = audit_open(h->path, &err);

	if (a == NULL)
		fail_msg("%s", err.text);
	append(a, "issue", "sensor01");
	append(a, "revoke", "gr\xc3\xbc\xc3\x9f");
	append(a, "issue", "bad\xff utf8");
	assert_int_equal(audit_head(a).n, 3);
	audit_close(a);
}

static bool
verify(const struct home *h, struct audit_summary *ret, struct err *err)
{
	struct audit_reader none = { 0 };

	return audit_verify(h->path, &none, ret, err);
}

static void
put(const struct home *h, const void *p, size_t n)
{
	struct err err;

	assert_true(file_write(h->path, slice_of(p, n), 0640, FILE_REPLACE, &err));
}

static uint8_t *
get(const struct home *h, size_t *ret_n)
{
	uint8_t *p = NULL;
	struct err err;

	assert_true(file_read(h->path, 1 << 20, &p, ret_n, &err));
	return p;
}

struct seen {
	unsigned n;
	char object[64], why[64];
};

static bool
on_record(void *ctx, const struct audit_seen *s)
{
	struct seen *k = ctx;

	k->n++;
	assert_int_equal(s->n, k->n);
	assert_string_equal(s->actor, "cli/root");
	assert_string_equal(s->time, "2023-11-14T22:13:20Z");
	assert_int_equal(s->n_details, 2);
	assert_string_equal(s->details[0].name, "ca");
	(void)snprintf(k->object, sizeof k->object, "%s", s->object);
	(void)snprintf(k->why, sizeof k->why, "%s", s->details[1].value);
	return true;
}

static void
test_written_is_read(void **state)
{
	struct seen k = { 0 };
	struct audit_reader r = { .each = on_record, .ctx = &k };
	struct audit_summary sum;
	struct err err = { 0 };
	struct stat st;

	make(*state);
	assert_true(audit_verify(((struct home *)*state)->path, &r, &sum, &err));
	assert_int_equal(k.n, 3);
	assert_string_equal(k.object, "bad\\xff utf8");
	assert_string_equal(k.why, "a \"quoted\" \\ and a\ttab");
	assert_int_equal(sum.records, 3);
	assert_int_equal(sum.torn, 0);
	assert_string_equal(sum.first, "2023-11-14T22:13:20Z");
	assert_int_equal(stat(((struct home *)*state)->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

/* The number of the line in which byte <at> stands. */
static unsigned
line_of(const uint8_t *p, size_t at)
{
	unsigned n = 1;

	for (size_t i = 0; i < at; i++)
		n += p[i] == '\n';
	return n;
}

static void
test_each_changed_byte_is_found(void **state)
{
	size_t n;
	uint8_t *p;

	make(*state);
	p = get(*state, &n);
	for (size_t i = 0; i < n; i++) {
		struct audit_summary sum;
		struct err err = { 0 };
		char place[32];

		p[i] ^= 0x01;
		put(*state, p, n);
		p[i] ^= 0x01;
		if (i == n - 1) { /* the last newline: as after a crash */
			assert_true(verify(*state, &sum, &err));
			assert_int_equal(sum.records, 2);
			assert_true(sum.torn > 0);
			continue;
		}
		if (verify(*state, &sum, &err))
			fail_msg("byte %zu was changed and not found", i);
		(void)snprintf(place, sizeof place, "line %u,", line_of(p, i));
		if (strstr(err.text, place) == NULL)
			fail_msg("byte %zu: wanted %s in: %s", i, place, err.text);
	}
	free(p);
}

static void
test_removed_and_moved_records_are_found(void **state)
{
	size_t n, end_n, first, second, last;
	uint8_t *p, *other, *end;
	struct audit_summary sum;
	struct err err = { 0 };
	struct audit *a;

	make(*state);
	p = get(*state, &n);
	other = malloc(2 * n);
	assert_non_null(other);
	first = (size_t)((uint8_t *)memchr(p, '\n', n) + 1 - p);
	second = (size_t)((uint8_t *)memchr(p + first, '\n', n - first) + 1 - p);
	/* Without the first; without the second; the second twice. */
	put(*state, p + first, n - first);
	assert_false(verify(*state, &sum, &err));
	assert_non_null(strstr(err.text, "record 2 stands where record 1 should"));
	memcpy(other, p, first);
	memcpy(other + first, p + second, n - second);
	put(*state, other, first + n - second);
	assert_false(verify(*state, &sum, &err));
	assert_non_null(strstr(err.text, "record 3 stands where record 2 should"));
	memcpy(other, p, second);
	memcpy(other + second, p + first, n - first);
	put(*state, other, second + n - first);
	assert_false(verify(*state, &sum, &err));
	assert_int_equal(sum.records, 2);
	/* The end of another chain, its numbers right. */
	put(*state, p, first);
	a = audit_open(((struct home *)*state)->path, &err);
	assert_non_null(a);
	append(a, "issue", "other");
	append(a, "issue", "more");
	audit_close(a);
	end = get(*state, &end_n);
	last = (size_t)((uint8_t *)memrchr(end, '\n', end_n - 1) + 1 - end);
	memcpy(other, p, second);
	memcpy(other + second, end + last, end_n - last);
	put(*state, other, second + end_n - last);
	assert_false(verify(*state, &sum, &err));
	assert_non_null(strstr(err.text, "line 3, "));
	assert_non_null(strstr(err.text, "record 3 follows another record"));
	free(end);
	free(other);
	free(p);
}

static bool
find_torn(void *ctx, const struct audit_seen *s)
{
	bool *found = ctx;

	*found = *found || strcmp(s->action, "torn") == 0;
	return true;
}

/* A crash at each byte: the next who writes goes on, and says what he cut. */
static void
test_each_truncation_is_mended(void **state)
{
	const struct home *h = *state;
	size_t n;
	uint8_t *p;

	make(h);
	p = get(h, &n);
	for (size_t i = 0; i < n; i++) {
		bool whole = i == 0 || p[i - 1] == '\n', found = false;
		struct audit_reader r = { .each = find_torn, .ctx = &found };
		struct audit_summary sum;
		struct err err = { 0 };
		struct audit *a;

		put(h, p, i);
		a = audit_open(h->path, &err);
		if (a == NULL)
			fail_msg("cut at %zu: %s", i, err.text);
		append(a, "issue", "after");
		audit_close(a);
		assert_true(audit_verify(h->path, &r, &sum, &err));
		assert_int_equal(sum.torn, 0);
		assert_int_equal(found, !whole);
		assert_int_equal(sum.records, line_of(p, i) - 1 + (whole ? 1 : 2));
	}
	free(p);
}

static void
test_nothing_goes_behind_a_forged_end(void **state)
{
	const struct home *h = *state;
	struct err err = { 0 };
	uint8_t *p, *at;
	size_t n;

	make(h);
	p = get(h, &n);
	at = memmem(p, n, "bad", 3);
	assert_non_null(at);
	*at = 'B';
	put(h, p, n);
	assert_null(audit_open(h->path, &err));
	assert_non_null(strstr(err.text, "was changed"));
	free(p);
}

static void
test_two_writers(void **state)
{
	const struct home *h = *state;
	struct err err = { 0 };
	struct audit *a = audit_open(h->path, &err), *b = audit_open(h->path, &err);
	struct audit_summary sum;

	assert_non_null(a);
	assert_non_null(b);
	for (unsigned i = 0; i < 10; i++) {
		append(a, "issue", "a");
		append(b, "issue", "b");
		append(b, "issue", "b");
	}
	audit_close(a);
	audit_close(b);
	assert_true(verify(h, &sum, &err));
	assert_int_equal(sum.records, 30);
}

/* ---- checkpoints ---- */

static bool
sign(void *ctx, struct slice s, uint8_t *ret, size_t cap, size_t *ret_n, struct err *err)
{
	char sum[AUDIT_HASH_CAP];

	(void)err;
	assert_string_equal(ctx, "key");
	assert_true(cap >= HASH_HEX);
	audit_hash(s, sum);
	memcpy(ret, sum, HASH_HEX);
	*ret_n = HASH_HEX;
	return true;
}

static bool
check(void *ctx, const char *name, struct slice s, struct slice signature, struct err *err)
{
	char sum[AUDIT_HASH_CAP];

	audit_hash(s, sum);
	++*(unsigned *)ctx;
	if (strcmp(name, "client") != 0)
		return err_set(err, ERR_MISSING, "no such key");
	return slice_eq(signature, slice_str(sum)) || err_set(err, ERR_DENIED, "not by this key");
}

static void
test_checkpoints(void **state)
{
	const struct home *h = *state;
	char key[] = "key";
	struct audit_signer s = { "client", sign, key };
	struct err err = { 0 };
	struct audit *a = audit_open(h->path, &err);
	unsigned checked = 0;
	struct audit_reader r = { .verify = check, .ctx = &checked };
	struct audit_summary sum;
	struct audit_head head;

	assert_non_null(a);
	append(a, "issue", "x");
	assert_int_equal(audit_head(a).unsigned_n, 1);
	assert_true(audit_checkpoint(a, "signer", &s, &head, &err));
	assert_int_equal(head.n, 2);
	assert_int_equal(head.unsigned_n, 0);
	append(a, "issue", "y");
	assert_int_equal(audit_head(a).unsigned_n, 1);
	assert_true(audit_verify(h->path, &r, &sum, &err));
	assert_int_equal(checked, 1);
	assert_int_equal(sum.last_checkpoint, 2);
	/* A checkpoint by a key that is not ours: whoever writes a whole new chain has none other. */
	s.name = "root";
	assert_true(audit_checkpoint(a, "signer", &s, &head, &err));
	assert_false(audit_verify(h->path, &r, &sum, &err));
	assert_non_null(strstr(err.text, "no such key"));
	assert_int_equal(sum.records, 3);
	audit_close(a);
}

static void
test_parser_at_every_truncation(void **state)
{
	char room[AUDIT_LINE_MAX], hash[AUDIT_HASH_CAP], line[AUDIT_LINE_MAX];
	struct audit_detail d[] = { { "k", "v\n" } };
	struct audit_record r = { 1, "a", "b", "c", d, 1 };
	struct parsed p = { .room = room };
	size_t n = audit_format(&r, 1, AUDIT_ZEROS, line, hash);
	struct err err;

	(void)state;
	assert_true(n > 0);
	assert_true(audit_parse(&p, slice_of(line, n - 1), &err));
	assert_string_equal(p.details[0].value, "v\n");
	assert_true(audit_intact(&p));
	for (size_t i = 0; i < n - 1; i++) {
		char *copy = malloc(i + 1);

		assert_non_null(copy);
		memcpy(copy, line, i);
		copy = realloc(copy, i > 0 ? i : 1);
		assert_false(audit_parse(&p, slice_of(copy, i), &err));
		free(copy);
	}
}

struct seen_back {
	uint64_t n[8];
	unsigned count, stop_after, broken;
};

static bool
note_back(void *ctx, const struct audit_seen *r, bool intact)
{
	struct seen_back *b = ctx;

	assert_true(b->count < ARRAY_LEN(b->n));
	b->n[b->count++] = r->n;
	b->broken += !intact;
	return b->count != b->stop_after;
}

static void
backwards_shows_all_of_it_in_pages(void **state)
{
	const struct home *h = *state;
	struct seen_back b = { .stop_after = 2 };
	struct audit_page p = { .each = note_back, .ctx = &b };
	struct err err = { 0 };
	int fd;

	make(h);
	fd = open(h->path, O_RDWR | O_CLOEXEC);
	assert_int_not_equal(fd, -1);
	assert_true(audit_backwards(fd, &p, &err));
	assert_int_equal(b.count, 2);
	assert_int_equal(b.n[0], 3);
	assert_int_equal(b.n[1], 2);
	assert_int_not_equal(p.next, 0);
	p.before = p.next;
	b.stop_after = 0;
	assert_true(audit_backwards(fd, &p, &err));
	assert_int_equal(b.count, 3);
	assert_int_equal(b.n[2], 1);
	assert_int_equal(p.next, 0);
	assert_int_equal(b.broken, 0);
	/* No place where a record ends; behind the end. */
	p.before = 5;
	assert_false(audit_backwards(fd, &p, &err));
	assert_int_equal(err.code, ERR_INPUT);
	p.before = 1 << 20;
	assert_false(audit_backwards(fd, &p, &err));
	/* A line that is being written is none yet; one that was changed is shown as such. */
	assert_int_equal(pwrite(fd, "{\"n\":4", 6, lseek(fd, 0, SEEK_END)), 6);
	assert_int_equal(pwrite(fd, "9", 1, 5), 1);
	b = (struct seen_back){ 0 };
	p.before = 0;
	assert_true(audit_backwards(fd, &p, &err));
	assert_int_equal(b.count, 3);
	assert_int_equal(b.broken, 1);
	(void)close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_written_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_changed_byte_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_removed_and_moved_records_are_found, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_truncation_is_mended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing_goes_behind_a_forged_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_writers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_checkpoints, setup, teardown),
		cmocka_unit_test(test_parser_at_every_truncation),
		cmocka_unit_test_setup_teardown(backwards_shows_all_of_it_in_pages, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
