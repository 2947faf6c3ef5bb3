/* signet store import: what mosquitto 2.0 kept, into a store of ours. The directory comes whole or not at all. */
#include "cli/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"
#include "broker/broker.h"
#include "store/store.h"

#define FILE_BYTES_MAX ((size_t)1 << 36)
#define DEFAULT_FILE "mosquitto.db"
#define DEFAULT_DIR "signet.store"

struct import {
	const char *file, *key_file;
	char dir[PKI_PATH_MAX], making[PKI_PATH_MAX + 16];
	bool any_owner;
	uint8_t *bytes;
	size_t n;
	int64_t saved_at;
	char trouble[200]; /* what the store said last */
	struct broker_imported got;
};

static void
on_event(void *ctx, const struct store_event *e)
{
	struct import *im = ctx;

	(void)snprintf(im->trouble, sizeof im->trouble, ": %s", e->text);
}

/* Where the broker looks for it: beside the file, with its name. */
static bool
place(struct import *im, const char *given, struct err *err)
{
	const char *slash = strrchr(im->file, '/'), *name = slash != NULL ? slash + 1 : im->file;
	size_t folder_n = (size_t)(name - im->file);
	int n;

	if (given != NULL)
		n = snprintf(im->dir, sizeof im->dir, "%s", given);
	else if (strcmp(name, DEFAULT_FILE) == 0)
		n = snprintf(im->dir, sizeof im->dir, "%.*s%s", (int)NUM_MIN(folder_n, (size_t)PKI_PATH_MAX), im->file, DEFAULT_DIR);
	else
		n = snprintf(im->dir, sizeof im->dir, "%s.store", im->file);
	if (n < 0 || (size_t)n >= sizeof im->dir)
		return err_set(err, ERR_LIMIT, "the path of the store is too long");
	while (n > 1 && im->dir[n - 1] == '/')
		im->dir[--n] = '\0';
	(void)snprintf(im->making, sizeof im->making, "%s.XXXXXX", im->dir);
	return true;
}

static bool
is_free(const char *dir, struct err *err)
{
	DIR *d = opendir(dir);
	const struct dirent *e = NULL;
	bool found = false;

	if (d == NULL && errno == ENOENT)
		return true;
	if (d == NULL)
		return err_sys(err, "cannot look into %s", dir);
	while (!found && (e = readdir(d)) != NULL)
		found = strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	(void)closedir(d);
	if (!found)
		return true;
	return err_set(err, ERR_EXISTS, "%s is there already: a file of mosquitto's is imported once, into a directory that is new or empty",
	    dir);
}

static bool
read_mosquitto(struct import *im, struct err *err)
{
	struct stat st;

	if (stat(im->file, &st) == -1)
		return err_sys(err, "cannot read %s", im->file);
	im->saved_at = st.st_mtime;
	return file_read(im->file, FILE_BYTES_MAX, &im->bytes, &im->n, err);
}

/* Nothing of it was promised to anybody yet. */
static void
discard(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(dir);
}

static bool
fill(struct import *im, struct store *s, struct err *err)
{
	const struct broker_import from = { .file = slice_of(im->bytes, im->n), .now = time(NULL), .saved_at = im->saved_at,
		.any_owner = im->any_owner };

	if (!store_start(s, err)) {
		(void)store_close(s);
		return false;
	}
	if (!broker_import(s, &from, &im->got, err)) {
		(void)store_close(s);
		return err_prefix(err, "%s", im->file);
	}
	if (store_close(s))
		return true;
	return err_set(err, ERR_SYSTEM, "the store %s could not be written%s", im->dir, im->trouble);
}

static bool
make_store(struct import *im, struct err *err)
{
	struct store_options o = { .dir = im->making, .n_writers = 1, .ctx = im, .event = on_event };
	uint8_t key[STORE_KEY_BYTES] = { 0 };
	struct store *s;

	if (im->key_file != NULL) {
		if (!store_key_read(im->key_file, key, err))
			return false;
		o.key = slice_of(key, sizeof key);
	}
	s = store_open(&o, err);
	secret_wipe(key, sizeof key);
	return s != NULL && fill(im, s, err);
}

/* From now on it is a store, also after a power cut. */
static bool
put_in_place(const struct import *im, struct err *err)
{
	char folder[PKI_PATH_MAX];
	char *slash;
	int fd;
	bool ok;

	(void)snprintf(folder, sizeof folder, "%s", im->dir);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		(void)snprintf(folder, sizeof folder, ".");
	else
		slash[slash == folder ? 1 : 0] = '\0';
	if (rename(im->making, im->dir) == -1)
		return err_sys(err, "cannot make the directory %s", im->dir);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = fd != -1 && fsync(fd) == 0;
	if (!ok)
		(void)err_sys(err, "cannot write the directory %s to the disk; the store is in it", folder);
	if (fd != -1)
		(void)close(fd);
	return ok;
}

static void
tell(uint64_t n, const char *what)
{
	if (n > 0)
		(void)printf("  %" PRIu64 " %s\n", n, what);
}

static void
report(const struct import *im)
{
	const struct broker_imported *g = &im->got;

	(void)printf("%s: %" PRIu64 " sessions with %" PRIu64 " subscriptions, %" PRIu64 " messages for them, %" PRIu64
		     " retained messages, from %s, which stays as it is\n",
	    im->dir, g->sessions, g->subscriptions, g->messages, g->retained, im->file);
	tell(g->inbound, "packet ids of QoS 2 that were received and not released");
	tell(g->over, "sessions whose time was over: left out");
	tell(g->expired, "messages whose time was over: left out");
	tell(g->qos0, "messages of QoS 0 in queues: left out");
	tell(g->missing, "messages of which the file has only the number: left out");
	tell(g->unnamed, "sessions with what may be another client's user name, by a mistake of mosquitto's: they have none now");
}

static bool
import(struct import *im, const char *dir, struct err *err)
{
	bool ok;

	if (!place(im, dir, err) || !is_free(im->dir, err) || !read_mosquitto(im, err))
		return false;
	if (mkdtemp(im->making) == NULL)
		return err_sys(err, "cannot make a directory beside %s", im->dir);
	ok = make_store(im, err) && put_in_place(im, err);
	if (!ok)
		discard(im->making);
	return ok;
}

int
store_cmd_import(int argc, char *argv[])
{
	struct import *im = calloc(1, sizeof *im);
	struct err err = { .code = ERR_MEMORY, .text = "out of memory" };
	int words, code = EXIT_FAILED;
	bool ok;

	if (im == NULL)
		return fail(&err);
	const struct arg table[] = {
		{ "key-file", "FILE", ARG_TEXT, &im->key_file, 0, 0, "encrypt the store with this key: 32 bytes, or 64 hex digits" },
		{ "any-owner", NULL, ARG_FLAG, &im->any_owner, 0, 0,
			"whoever may use a client id may take its session: user names in the file are not looked at" },
	};
	const struct args args = { "signet store import MOSQUITTO.DB [DIR] [--key-file FILE] [--any-owner]",
		"Makes a store of what mosquitto 2.0 kept: sessions, subscriptions, messages on their way, retained messages. DIR must\n"
		"be empty or missing; without it the directory is the one in which the broker looks: signet.store beside mosquitto.db,\n"
		"NAME.store beside another NAME. Stop mosquitto first: it writes the file when it ends. The file is only read.",
		table, ARRAY_LEN(table), NULL, 1, 2 };

	if (args_parse(&args, argc, argv, &words, &code)) {
		im->file = argv[1];
		ok = import(im, words > 1 ? argv[2] : NULL, &err);
		code = ok ? EXIT_OK : fail(&err);
		if (ok)
			report(im);
	}
	free(im->bytes);
	free(im);
	return code;
}
