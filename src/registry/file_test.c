/* The registry's file: who may open it, what a kill -9 and a full disk leave, versions, backup, check, dump, failing memory. */
#include "registry/testkit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/file.h"
#include "base/nomem_testkit.h"
#include "registry/internal.h"

static const char *
beside(const struct kit *k, const char *name, char out[128])
{
	(void)snprintf(out, 128, "%s/%s", k->dir, name);
	return out;
}

static void
write_file(const char *path, const char *text)
{
	struct err err;

	if (!file_write(path, slice_str(text), 0600, FILE_REPLACE, &err))
		fail_msg("%s", err.text);
}

#define REFUSED(k, want, path, words)                                                                                           \
	do {                                                                                                                    \
		assert_null(kit_open(k, path, false));                                                                          \
		assert_int_equal((k)->err.code, want);                                                                          \
		if (strstr((k)->err.text, words) == NULL)                                                                       \
			fail_msg("\"%s\" does not say \"%s\"", (k)->err.text, words);                                           \
	} while (0)

static void
test_modes(void **state)
{
	struct kit *k = *state;
	struct stat st;
	char path[128];

	assert_int_equal(stat(k->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(beside(k, "registry.db-wal", path), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(chmod(k->path, 0644), 0);
	kit_reopen(k);
	assert_int_equal(stat(k->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
test_not_ours(void **state)
{
	struct kit *k = *state;
	char path[128], link[128];
	sqlite3 *db;

	REFUSED(k, ERR_MISSING, beside(k, "none.db", path), "there is no registry");
	write_file(beside(k, "text.db", path), "this is a text and no database at all; it is long enough to have a header, if it were one: "
	                                       "one hundred bytes");
	REFUSED(k, ERR_INPUT, path, "not an SQLite database");
	write_file(beside(k, "empty.db", path), "");
	REFUSED(k, ERR_INPUT, path, "is empty");
	REFUSED(k, ERR_INPUT, k->dir, "not a regular file");
	assert_int_equal(symlink(k->path, beside(k, "link.db", link)), 0);
	REFUSED(k, ERR_INPUT, link, "not a regular file");
	assert_int_equal(sqlite3_open(beside(k, "other.db", path), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE x(y)", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	REFUSED(k, ERR_INPUT, path, "another program's database");
}

static void
test_newer(void **state)
{
	struct kit *k = *state;
	sqlite3 *db;

	registry_close(k->r);
	assert_int_equal(sqlite3_open(k->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	k->r = NULL;
	REFUSED(k, ERR_INPUT, k->path, "version 99");
	assert_null(registry_open(&(struct registry_options){ .path = k->path, .read_only = true }, &k->err));
	assert_non_null(strstr(k->err.text, "version 99"));
}

/* ---- one at a time ---- */

static void
test_locked(void **state)
{
	struct kit *k = *state;
	struct registry *reader;
	char words[64];
	sqlite3 *db;

	(void)snprintf(words, sizeof words, "process %ld has the registry open", (long)getpid());
	REFUSED(k, ERR_EXISTS, k->path, words);
	assert_null(registry_open(&(struct registry_options){ .path = k->path, .read_only = true }, &k->err));
	assert_int_equal(k->err.code, ERR_EXISTS);
	/* Also for programs that know nothing of the lock file. */
	assert_int_equal(sqlite3_open(k->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "SELECT * FROM tenants", NULL, NULL, NULL), SQLITE_BUSY);
	(void)sqlite3_close(db);
	registry_close(k->r);
	k->r = NULL;
	/* Readers keep each other company, and the writer out. */
	reader = registry_open(&(struct registry_options){ .path = k->path, .read_only = true, .check = true }, &k->err);
	assert_non_null(reader);
	k->r = registry_open(&(struct registry_options){ .path = k->path, .read_only = true }, &k->err);
	assert_non_null(k->r);
	FAILS(k, ERR_DENIED, registry_tenant_add(k->r, &(struct registry_tenant){ .name = SL("new") }, &k->err));
	REFUSED(k, ERR_EXISTS, k->path, "another process reads the registry");
	registry_close(reader);
	registry_close(k->r);
	k->r = NULL;
	assert_int_equal(sqlite3_open(k->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	REFUSED(k, ERR_EXISTS, k->path, "another program has this database locked");
	(void)sqlite3_close(db);
}

/* ---- transactions ---- */

static void
test_transactions(void **state)
{
	struct kit *k = *state;
	struct registry_tenant t;
	struct kit_names names;

	FAILS(k, ERR_USAGE, registry_commit(k->r, &k->err));
	registry_rollback(k->r);
	WORKS(k, registry_begin(k->r, &k->err));
	FAILS(k, ERR_USAGE, registry_begin(k->r, &k->err));
	kit_device(k, "default", "a");
	FAILS(k, ERR_EXISTS, registry_device_add(k->r,
	    &(struct registry_device_new){ .device = { .tenant = SL("default"), .id = SL("a") } }, &k->err));
	kit_device(k, "default", "b");
	registry_rollback(k->r);
	(void)kit_devices(k, &(struct registry_device_filter){ 0 }, 10, &names);
	assert_string_equal(names.text, "");
	WORKS(k, registry_begin(k->r, &k->err));
	kit_device(k, "default", "a");
	/* The one that fails takes nothing else with it. */
	FAILS(k, ERR_MISSING, registry_device_add(k->r,
	    &(struct registry_device_new){ .device = { .tenant = SL("default"), .id = SL("c"), .templates = { 9 }, .n_templates = 1 } }, &k->err));
	kit_device(k, "default", "b");
	WORKS(k, registry_commit(k->r, &k->err));
	(void)kit_devices(k, &(struct registry_device_filter){ 0 }, 10, &names);
	assert_string_equal(names.text, "a,b,");
	WORKS(k, registry_begin(k->r, &k->err));
	kit_device(k, "default", "left-open");
	kit_reopen(k);
	WORKS(k, registry_tenant_get(k->r, SL("default"), &t, &k->err));
	assert_int_equal(t.devices, 2);
	free(t.mem);
}

/* ---- kill -9 ---- */

static void
count_fault(void *ctx, const char *text)
{
	(void)text;
	++*(unsigned *)ctx;
}

static void
assert_whole(struct kit *k)
{
	struct registry_report report;
	unsigned faults = 0;

	WORKS(k, registry_check(k->path, true, count_fault, &faults, &report, &k->err));
	assert_true(faults == 0 && report.faults == 0);
}

/* The child says after each device that it is there; then it is killed at a moment of its own. */
static void
write_until_killed(struct kit *k, int told, unsigned from)
{
	k->r = kit_open(k, k->path, false);
	for (unsigned i = from; k->r != NULL; i++) {
		char id[16];
		struct registry_device_new d = { .device = { .tenant = SL("default") } };

		(void)snprintf(id, sizeof id, "d%u", i);
		d.device.id = slice_str(id);
		if (!registry_device_add(k->r, &d, &k->err) || write(told, &i, sizeof i) != sizeof i)
			break;
		if (i % 3 == 0 && registry_begin(k->r, NULL)) { /* never comes to its end */
			d.device.id = SL("half");
			(void)registry_device_add(k->r, &d, NULL);
			registry_rollback(k->r);
		}
	}
	_exit(3);
}

static void
test_killed(void **state)
{
	struct kit *k = *state;
	unsigned n = 0;

	registry_close(k->r);
	k->r = NULL;
	for (unsigned round = 0; round < 12; round++) {
		unsigned last, there = n, want = n + round % 5;
		int told[2], status;
		pid_t pid;
		struct registry_tenant t;

		assert_int_equal(pipe(told), 0);
		pid = fork();
		assert_int_not_equal(pid, -1);
		if (pid == 0) {
			(void)close(told[0]);
			write_until_killed(k, told[1], n);
		}
		(void)close(told[1]);
		for (; there < want; there++)
			assert_int_equal(read(told[0], &last, sizeof last), sizeof last);
		assert_int_equal(kill(pid, SIGKILL), 0); /* in the middle of whatever it does */
		while (read(told[0], &last, sizeof last) == sizeof last)
			there++;
		(void)close(told[0]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		if (round % 3 == 0)
			assert_whole(k); /* also from the log that the dead one has left */
		k->r = kit_open(k, k->path, false);
		if (k->r == NULL)
			fail_msg("%s", k->err.text);
		WORKS(k, registry_tenant_get(k->r, SL("default"), &t, &k->err));
		/* What was told is there; of what was being written either all or nothing. */
		assert_in_range(t.devices, there, there + 1);
		n = (unsigned)t.devices;
		free(t.mem);
		registry_close(k->r);
		k->r = NULL;
	}
	assert_whole(k);
}

/* ---- a full disk ---- */

static void
limit_files(rlim_t bytes)
{
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ bytes, RLIM_INFINITY }), 0);
}

static void
test_full_disk(void **state)
{
	struct kit *k = *state;
	struct registry_device_new d = { .device = { .tenant = SL("default"), .id = SL("big") } };
	static char attrs[100000];
	struct registry_device got;
	void (*before)(int) = signal(SIGXFSZ, SIG_IGN);

	memset(attrs, 'x', sizeof attrs);
	d.device.attrs = slice_of(attrs, sizeof attrs);
	kit_device(k, "default", "before");
	kit_reopen(k); /* the log begins anew */
	limit_files(50000);
	FAILS(k, ERR_LIMIT, registry_device_add(k->r, &d, &k->err));
	FAILS(k, ERR_MISSING, registry_device_find(k->r, SL("big"), &got, &k->err));
	WORKS(k, registry_device_find(k->r, SL("before"), &got, &k->err));
	free(got.mem);
	/* Within a transaction: it is undone as a whole, and says so until it is ended. */
	WORKS(k, registry_begin(k->r, &k->err));
	if (registry_device_add(k->r, &d, &k->err)) {
		FAILS(k, ERR_LIMIT, registry_commit(k->r, &k->err));
	} else {
		registry_rollback(k->r);
	}
	FAILS(k, ERR_MISSING, registry_device_find(k->r, SL("big"), &got, &k->err));
	limit_files(RLIM_INFINITY);
	WORKS(k, registry_device_add(k->r, &d, &k->err)); /* space again */
	kit_reopen(k);
	WORKS(k, registry_device_find(k->r, SL("big"), &got, &k->err));
	assert_true(got.attrs.n == sizeof attrs);
	free(got.mem);
	(void)signal(SIGXFSZ, before); /* the limit is open again */
	registry_close(k->r);
	k->r = NULL;
	assert_whole(k);
}

/* ---- versions ---- */

static void
test_migrations(void **state)
{
	struct kit *k = *state;
	struct migration next[] = { schema_migrations[0], schema_migrations[1], schema_migrations[2], { "CREATE TABLE later(x INTEGER) STRICT; ALTER TABLE tenants ADD COLUMN y TEXT" },
		{ "CREATE TABLE later(x INTEGER)" } };
	char path[128];
	struct registry_report report;
	int version;
	struct stat st;

	assert_int_equal(schema_version, 3); /* a fourth one comes with a file of the third in tests/registry/ */
	kit_device(k, "default", "d");
	/* The fifth step fails: the fourth stays, and the copy of what was is there. */
	FAILS(k, ERR_SYSTEM, schema_migrate(k->r, next, 5, &k->err));
	assert_non_null(strstr(k->err.text, "version 5"));
	WORKS(k, db_version(k->r, &version, &k->err));
	assert_int_equal(version, 4);
	assert_true(db_run(k->r, "SELECT x FROM later", NULL, &k->err));
	beside(k, "registry.db.v3", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	WORKS(k, registry_check(path, true, NULL, NULL, &report, &k->err));
	assert_true(report.devices == 1 && report.version == 3 && report.faults == 0);
	WORKS(k, schema_migrate(k->r, next, 4, &k->err)); /* nothing to do */
	registry_close(k->r);
	k->r = NULL;
	REFUSED(k, ERR_INPUT, k->path, "versions up to 3");
}

/* ---- forgetting ---- */

/* Counts of days on which none ends any more go, of one tenant after the other. */
static void
test_empty_days(void **state)
{
	struct kit *k = *state;
	int64_t rows;
	unsigned n, all = 0;

	kit_device(k, "default", "a");
	kit_device(k, "other", "b");
	kit_certify(k, "client", "a", 1, 10);
	kit_certify(k, "client", "other:b", 2, 10);
	kit_certify(k, "client", "x", 3, 10);
	kit_certify(k, "client", "a", 4, 20);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 1; round == 1 && i <= 3; i++) {
			char serial[9];

			(void)snprintf(serial, sizeof serial, "%08x", i);
			WORKS(k, registry_certificate_revoke(k->r, SL("client"), slice_str(serial), 0, &k->err));
		}
		for (int i = 0; i < 4; i++) { /* three tenants, nobody among them, and from the beginning */
			WORKS(k, registry_purge(k->r, 10, &n, &k->err));
			all += n;
		}
		WORKS(k, db_int(k->r, "SELECT COUNT(*) FROM end_tally", NULL, &rows, &k->err));
		assert_int_equal(rows, round == 0 ? 4 : 1);
		assert_int_equal(all, round == 0 ? 0 : 3);
	}
}

/* ---- backup ---- */

static void
test_backup(void **state)
{
	struct kit *k = *state;
	struct registry_backup *b;
	struct registry_report report;
	char path[128], part[136];
	struct stat st;
	bool done = false;
	unsigned steps = 0;

	for (unsigned i = 0; i < 200; i++) {
		char id[16];

		(void)snprintf(id, sizeof id, "d%u", i);
		kit_device(k, "default", id);
	}
	beside(k, "copy.db", path);
	(void)snprintf(part, sizeof part, "%s.part", path);
	b = registry_backup_new(k->r, path, &k->err);
	assert_non_null(b);
	WORKS(k, registry_backup_step(b, 5, &done, &k->err));
	assert_false(done);
	registry_backup_free(b); /* given up: nothing is left */
	assert_int_equal(stat(part, &st), -1);
	b = registry_backup_new(k->r, path, &k->err);
	assert_non_null(b);
	while (!done) {
		WORKS(k, registry_backup_step(b, 20, &done, &k->err));
		if (steps++ == 1)
			kit_device(k, "default", "meanwhile");
	}
	FAILS(k, ERR_USAGE, registry_backup_step(b, 5, &done, &k->err));
	registry_backup_free(b);
	assert_true(steps > 3);
	assert_int_equal(stat(part, &st), -1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	WORKS(k, registry_check(path, true, NULL, NULL, &report, &k->err));
	assert_true(report.devices == 201 && report.faults == 0);
	assert_null(registry_backup_new(k->r, path, &k->err));
	assert_int_equal(k->err.code, ERR_EXISTS);
	assert_null(registry_backup_new(k->r, "/none/such/folder", &k->err));
	assert_int_equal(k->err.code, ERR_MISSING);
	/* It is a registry as any other. */
	registry_close(k->r);
	k->r = kit_open(k, path, false);
	assert_non_null(k->r);
	kit_device(k, "default", "after");
}

/* ---- check and dump ---- */

static void
damage(struct kit *k, const char *sql)
{
	sqlite3 *db;

	registry_close(k->r);
	k->r = NULL;
	assert_int_equal(sqlite3_open(k->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
}

static void
test_check(void **state)
{
	struct kit *k = *state;
	struct registry_report report;
	unsigned faults = 0;
	uint8_t page[4096];
	int fd;

	kit_device(k, "default", "a");
	kit_device(k, "other", "b");
	kit_certify(k, "client", "a", 1, 10);
	WORKS(k, kit_set_state(k, "other", "b", REGISTRY_PENDING));
	damage(k, "SELECT 1");
	WORKS(k, registry_check(k->path, true, count_fault, &faults, &report, &k->err));
	assert_true(faults == 0 && report.tenants == 2 && report.devices == 2 && report.certificates == 1 && report.cas == 2 &&
	    report.entities == 2 && report.devices_of[REGISTRY_PENDING] == 1 && report.generation == 3 && report.bytes > 4096);
	damage(k, "UPDATE device_tally SET n = 7 WHERE state = 2; UPDATE devices SET not_after = 5 WHERE cn = 'a';"
	          "DELETE FROM end_tally; UPDATE devices SET cn = 'b' WHERE cn = 'other:b'; UPDATE cas SET revocations_listed = 9;"
	          "INSERT INTO presence VALUES(99, 1, 0, 0, 0, '', '', 0)");
	WORKS(k, registry_check(k->path, false, count_fault, &faults, &report, &k->err));
	assert_int_equal(faults, 0);
	WORKS(k, registry_check(k->path, true, count_fault, &faults, &report, &k->err));
	assert_true(faults == 7 && report.faults == 7);
	/* A page of zeros: found before use. */
	memset(page, 0, sizeof page);
	fd = open(k->path, O_RDWR | O_CLOEXEC);
	assert_int_not_equal(fd, -1);
	for (off_t at = 4096 * 20; at < 4096 * 30; at += 4096)
		assert_int_equal(pwrite(fd, page, sizeof page, at), sizeof page);
	(void)close(fd);
	assert_null(registry_open(&(struct registry_options){ .path = k->path, .check = true }, &k->err));
	assert_int_equal(k->err.code, ERR_INPUT);
	assert_non_null(strstr(k->err.text, "damaged"));
}

struct dumped {
	unsigned lines, bad;
};

static bool
on_line(void *ctx, const char *json, size_t n)
{
	struct dumped *d = ctx;

	d->lines++;
	d->bad += memmem(json, n, "argon2id", 8) != NULL || memmem(json, n, "0303030303", 10) != NULL || json[0] != '{' || json[n - 1] != '}';
	return d->lines < 1000;
}

static void
test_dump(void **state)
{
	struct kit *k = *state;
	struct dumped d = { 0 };
	uint8_t hash[REGISTRY_HASH];
	int64_t id;

	WORKS(k, registry_user_add(k->r,
	    &(struct registry_user){ .tenant = SL("default"), .name = SL("ann"), .password = SL("$argon2id$x") }, &id, &k->err));
	WORKS(k, registry_user_set_password(k->r, id, SL("$argon2id$y"), &k->err));
	WORKS(k, registry_device_add(k->r, &(struct registry_device_new){ .device = { .tenant = SL("default"), .id = SL("d\"\\x") },
	    .secret = kit_hash(3, hash) }, &k->err));
	damage(k, "SELECT 1");
	WORKS(k, registry_dump(k->path, on_line, &d, &k->err));
	assert_true(d.lines >= 12 && d.bad == 0);
}

/* ---- failing memory ---- */

static void
test_no_memory(void **state)
{
	struct kit *k = *state;

	for (unsigned i = 1; i < 40; i++) {
		struct registry_device d = { 0 };
		bool ok;

		kit_reopen(k);
		nomem.hit = false;
		nomem.fail_in = i;
		ok = registry_device_add(k->r, &(struct registry_device_new){ .device = { .tenant = SL("default"), .id = SL("d") } }, &k->err) &&
		    registry_device_get(k->r, SL("default"), SL("d"), &d, &k->err);
		nomem.fail_in = 0;
		assert_true(ok || k->err.code == ERR_MEMORY);
		free(d.mem);
		if (ok && !nomem.hit)
			return;
		(void)registry_device_remove(k->r, SL("default"), SL("d"), 0, NULL, NULL);
	}
	fail_msg("more allocations than expected");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, kit_setup, kit_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_modes), TEST(test_not_ours), TEST(test_newer), TEST(test_locked), TEST(test_transactions), TEST(test_killed),
		TEST(test_full_disk), TEST(test_migrations), TEST(test_empty_days), TEST(test_backup), TEST(test_check), TEST(test_dump), TEST(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
