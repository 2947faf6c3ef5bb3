/* signet restore of a whole installation: every file is compared with the manifest while it is copied, into a folder that gets its name at the end. */
#include "cli/restore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/audit.h"
#include "base/file.h"
#include "base/num.h"
#include "base/text.h"
#include "cli/internal.h"
#include "store/store.h"

enum { MANIFEST_MAX = 256 << 20, PIECE = 256 * 1024 };

struct restoring {
	const char *backup, *dir;
	struct slice key;
	json_t *manifest;
	char made[PKI_PATH_MAX];     /* "<dir>.restore-XXXXXX" */
	char place[PATH_MAX];        /* what <dir> will be */
	const char *old;             /* what it was, "" if that is not known */
};

bool
restore_is_whole(const char *backup)
{
	char path[PKI_PATH_MAX];

	return path_join(path, sizeof path, backup, "backup.json") && access(path, F_OK) == 0;
}

static bool
read_manifest(struct restoring *r, struct err *err)
{
	char path[PKI_PATH_MAX];
	uint8_t *text;
	size_t n;

	if (!path_join(path, sizeof path, r->backup, "backup.json"))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", r->backup);
	if (!file_read(path, MANIFEST_MAX, &text, &n, err))
		return false;
	r->manifest = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (json_integer_value(json_object_get(r->manifest, "signet_backup")) != 1 || !json_is_array(json_object_get(r->manifest, "files")))
		return err_set(err, ERR_INPUT, "%s is no manifest that this program knows", path);
	r->old = json_string_value(json_object_get(r->manifest, "dir"));
	r->old = r->old != NULL ? r->old : "";
	return true;
}

/* Nothing that leads out of the folder. */
static bool
is_tame(const char *name)
{
	return name != NULL && name[0] != '/' && name[0] != '\0' && strcmp(name, "..") != 0 && strncmp(name, "../", 3) != 0 && strstr(name, "/../") == NULL && strstr(name, "//") == NULL &&
	    (strlen(name) < 3 || strcmp(name + strlen(name) - 3, "/..") != 0);
}

/* ---- the configuration ---- */

static const char *
registry_place(const struct restoring *r)
{
	const char *place = json_string_value(json_object_get(r->manifest, "registry"));

	return is_tame(place) ? place : "registry/registry.db";
}

/* One line with what lay in the old folder in the new one. */
static void
put_line(const struct restoring *r, FILE *out, struct slice line)
{
	size_t old = strlen(r->old);
	const uint8_t *at;

	while (old > 0 && (at = memmem(line.p, line.n, r->old, old)) != NULL) {
		struct slice before = slice_of(line.p, (size_t)(at - line.p)), rest = slice_from(line, (size_t)(at - line.p) + old);
		bool word = (before.n == 0 || before.p[before.n - 1] == ' ' || before.p[before.n - 1] == '\t') && (rest.n == 0 || strchr("/ \t\r", rest.p[0]) != NULL);

		(void)fprintf(out, "%.*s%s", SL_ARG(before), word ? r->place : r->old);
		line = rest;
	}
	(void)fprintf(out, "%.*s\n", SL_ARG(line));
}

/* Did it lie beside the folder of before? What did is in the new one now. */
static bool
is_elsewhere(const struct restoring *r, struct slice path)
{
	size_t n = strlen(r->old);

	return path.n > 0 && path.p[0] == '/' && (n == 0 || path.n < n || memcmp(path.p, r->old, n) != 0 || (path.n > n && path.p[n] != '/'));
}

static void
rewrite_line(const struct restoring *r, FILE *out, struct slice line)
{
	const json_t *store = json_object_get(r->manifest, "store");
	struct slice value = text_trim(line), word;
	size_t n = 0;

	while (n < value.n && value.p[n] != ' ' && value.p[n] != '\t')
		n++;
	word = slice_of(value.p, n);
	value = text_trim(slice_from(value, n));
	if (slice_eq(word, slice_str("registry_file")) && is_elsewhere(r, value))
		(void)fprintf(out, "registry_file %s/%s\n", r->place, registry_place(r));
	else if (slice_eq(word, slice_str("persistence_location")) && is_elsewhere(r, value))
		(void)fprintf(out, "persistence_location %s\n", r->place);
	else if (!slice_eq(word, slice_str("persistence_file")) || !json_is_object(store) || is_tame(json_string_value(json_object_get(store, "place"))))
		put_line(r, out, line);
	/* else: its store is signet.store now. */
}

/* <name> in the new folder, if it is a configuration. */
static bool
rewrite(const struct restoring *r, const char *name, struct err *err)
{
	char path[PKI_PATH_MAX];
	uint8_t *data;
	size_t n = strlen(name), made_n = 0;
	struct stat st;
	char *made = NULL;
	FILE *out;
	bool more = true, ok;

	if (n <= 5 || strcmp(name + n - 5, ".conf") != 0)
		return true;
	if (!path_join(path, sizeof path, r->made, name))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", name);
	if (!file_read(path, PKI_FILE_MAX, &data, &n, err))
		return false;
	out = open_memstream(&made, &made_n);
	for (struct slice rest = slice_of(data, n); out != NULL && more && rest.n > 0;) {
		struct slice line = slice_cut(&rest, '\n', &more);

		rewrite_line(r, out, line);
	}
	free(data);
	if (out == NULL || fclose(out) != 0)
		ok = err_set(err, ERR_MEMORY, "out of memory");
	else
		ok = stat(path, &st) == 0 ? file_write(path, slice_of(made, made_n), st.st_mode & 0777, FILE_REPLACE, err) : err_sys(err, "%s", path);
	free(made);
	return ok;
}

/* ---- files ---- */

/* The folder of <name> in the new one. Private keys and what is said of devices lie in folders that are nobody else's. */
static bool
make_parent(const struct restoring *r, const char *name, struct err *err)
{
	const char *slash = strrchr(name, '/');
	char folder[PKI_PATH_MAX];
	bool open = strncmp(name, "pki/", 4) != 0 && strncmp(name, "registry/", 9) != 0;

	if (snprintf(folder, sizeof folder, "%s/%.*s", r->made, slash != NULL ? (int)(slash - name) : 0, name) >= (int)sizeof folder)
		return err_set(err, ERR_LIMIT, "%s: the path is too long", name);
	return dir_make(folder, open ? 0755 : 0700, err);
}

static bool
copy_checked(FILE *in, FILE *out, const char *sha256, const char *name, struct err *err)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t *buf = malloc(PIECE), sum[32];
	char hex[65];
	size_t n;
	bool ok = (md != NULL && buf != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) || err_set(err, ERR_MEMORY, "out of memory");

	while (ok && (n = fread(buf, 1, PIECE, in)) > 0)
		ok = (EVP_DigestUpdate(md, buf, n) == 1 && fwrite(buf, 1, n, out) == n) || err_sys(err, "cannot write %s", name);
	if (ok && ferror(in) != 0)
		ok = err_sys(err, "cannot read %s", name);
	ok = ok && (EVP_DigestFinal_ex(md, sum, NULL) == 1 || err_set(err, ERR_MEMORY, "out of memory"));
	if (ok && (sha256 == NULL || strcmp(text_hex(slice_of(sum, sizeof sum), hex, sizeof hex), sha256) != 0))
		ok = err_set(err, ERR_INPUT, "%s was changed or damaged after the backup was made: take another backup", name);
	EVP_MD_CTX_free(md);
	free(buf);
	return ok;
}

static bool
put_file(const struct restoring *r, const json_t *file, const char *name, const char *to, struct err *err)
{
	mode_t mode = (mode_t)json_integer_value(json_object_get(file, "mode")) & 0777;
	char from[PKI_PATH_MAX], path[PKI_PATH_MAX];
	FILE *in = NULL, *out = NULL;
	bool ok;
	int fd;

	if (!path_join(from, sizeof from, r->backup, name) || !path_join(path, sizeof path, r->made, to))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", name);
	if (!make_parent(r, to, err))
		return false;
	in = fopen(from, "re");
	fd = in != NULL ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	out = fd != -1 ? fdopen(fd, "w") : NULL;
	ok = out != NULL ? copy_checked(in, out, json_string_value(json_object_get(file, "sha256")), from, err) : err_sys(err, in == NULL ? "cannot read %s" : "cannot write %s", in == NULL ? from : path);
	if (ok && fchmod(fd, mode != 0 ? mode : 0600) == -1)
		ok = err_sys(err, "cannot write %s", path);
	if (in != NULL)
		(void)fclose(in);
	if (out != NULL ? fclose(out) != 0 && ok : fd != -1 && close(fd) != 0 && ok)
		ok = err_sys(err, "cannot write %s", path);
	return ok;
}

static bool
put_files(const struct restoring *r, struct err *err)
{
	const json_t *file;
	bool registry = false;
	size_t i;

	json_array_foreach(json_object_get(r->manifest, "files"), i, file) {
		const char *name = json_string_value(json_object_get(file, "name"));

		if (!is_tame(name))
			return err_set(err, ERR_INPUT, "%s/backup.json names a file that lies elsewhere", r->backup);
		if (strcmp(name, "registry.db") == 0) {
			registry = true;
			if (!put_file(r, file, name, registry_place(r), err))
				return false;
		} else if (strncmp(name, "files/", 6) == 0 && !(put_file(r, file, name, name + 6, err) && rewrite(r, name + 6, err))) {
			return false;
		}
	}
	return registry || err_set(err, ERR_INPUT, "%s has no registry", r->backup);
}

/* The broker looks into it also where no CA has a list yet. */
static bool
put_lists(const struct restoring *r, struct err *err)
{
	char path[PKI_PATH_MAX];

	return path_join(path, sizeof path, r->made, "crls") ? dir_make(path, 0755, err) : err_set(err, ERR_LIMIT, "%s: the path is too long", r->made);
}

static bool
put_store(const struct restoring *r, struct err *err)
{
	const json_t *store = json_object_get(r->manifest, "store");
	const char *place = json_string_value(json_object_get(store, "place")), *copy = json_string_value(json_object_get(store, "copy"));
	char from[PKI_PATH_MAX], to[PKI_PATH_MAX];

	if (!json_is_object(store))
		return true;
	place = is_tame(place) ? place : "signet.store";
	if (!path_join(from, sizeof from, r->backup, "store") || !path_join(to, sizeof to, r->made, place))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", r->backup);
	if (access(from, F_OK) == -1 && copy != NULL && !text_copy(from, sizeof from, slice_str(copy)))
		return err_set(err, ERR_LIMIT, "%s: the path is too long", copy);
	if (access(from, F_OK) == -1)
		return err_set(err, ERR_MISSING, "the broker's store is not in the backup: it was copied to %s; bring this folder to %s/store", from, r->backup);
	/* Of the parent folder the broker needs nothing but the way through. */
	return make_parent(r, place, err) && (store_restore(from, to, r->key, err) || err_prefix(err, "the store"));
}

/* `signet backup --keys` has put them there. */
static bool
put_keys(const struct restoring *r, struct err *err)
{
	char folder[PKI_PATH_MAX], from[2 * PKI_PATH_MAX], to[2 * PKI_PATH_MAX];
	const struct dirent *e;
	bool ok = true;
	DIR *d;

	if (!path_join(folder, sizeof folder, r->backup, "keys") || (d = opendir(folder)) == NULL)
		return true;
	while (ok && (e = readdir(d)) != NULL) {
		size_t n = strlen(e->d_name);
		uint8_t *data;
		size_t bytes;

		if (n < 5 || strcmp(e->d_name + n - 4, ".pem") != 0)
			continue;
		(void)snprintf(from, sizeof from, "%s/%s", folder, e->d_name);
		(void)snprintf(to, sizeof to, "%s/pki/%.*s/key.pem", r->made, (int)(n - 4), e->d_name);
		ok = file_read(from, PKI_FILE_MAX, &data, &bytes, err);
		if (!ok)
			break;
		ok = file_write(to, slice_of(data, bytes), 0600, 0, err);
		free(data); /* encrypted */
	}
	(void)closedir(d);
	return ok;
}

/* ---- all of it ---- */

static void
say_key(void *ctx, const char *name)
{
	const struct restoring *r = ctx;
	char path[2 * PKI_PATH_MAX], uri[2 * PKI_PATH_MAX];

	(void)snprintf(path, sizeof path, "%s/pki/%s/key.pem", r->place, name);
	(void)snprintf(uri, sizeof uri, "%s/pki/%s/key.uri", r->place, name);
	if (access(path, F_OK) == -1 && access(uri, F_OK) == -1)
		(void)printf("The CA %s has no key here: bring it to %s (mode 0600), or leave it out if it is kept elsewhere.\n", name, path);
}

static void
sum_up(struct restoring *r)
{
	const json_t *one;
	size_t i;

	(void)printf("%s is as it was at %s.\n", r->place, json_string_value(json_object_get(r->manifest, "made")));
	json_array_foreach(json_object_get(r->manifest, "without"), i, one) {
		const char *what = json_string_value(json_object_get(one, "what")), *why = json_string_value(json_object_get(one, "why"));

		if (what != NULL && why != NULL && strstr(why, "private key") == NULL)
			(void)printf("Not in the backup: %s (%s).\n", what, why);
	}
	(void)pki_each_ca(r->place, say_key, r, NULL);
	(void)printf("Then: signet serve --dir %s. It makes the broker's own key and certificate anew.\n", r->place);
}

static bool
note(const struct restoring *r, struct err *err)
{
	char actor[AUDIT_ACTOR_MAX + 1];
	const char *made = json_string_value(json_object_get(r->manifest, "made"));
	struct audit_detail d[] = { { "made", made != NULL ? made : "?" } };
	struct audit_record rec = { .actor = audit_actor(actor), .action = "restore", .object = r->backup, .details = d, .n_details = 1 };

	return audit_note(r->made, &rec, err);
}

/* Is it missing, or empty: then rename() replaces it at the end. */
static bool
is_free(const char *dir, struct err *err)
{
	const struct dirent *e;
	bool empty = true;
	DIR *d = opendir(dir);

	if (d == NULL)
		return errno == ENOENT || err_sys(err, "%s", dir);
	while (empty && (e = readdir(d)) != NULL)
		empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	(void)closedir(d);
	return empty || err_set(err, ERR_EXISTS, "%s is not empty: restore to a new folder", dir);
}

static bool
begin(struct restoring *r, struct err *err)
{
	size_t n = strlen(r->dir);

	if (!is_free(r->dir, err))
		return false;
	while (n > 1 && r->dir[n - 1] == '/')
		n--;
	if (snprintf(r->made, sizeof r->made, "%.*s.restore-XXXXXX", (int)n, r->dir) >= (int)sizeof r->made)
		return err_set(err, ERR_LIMIT, "%s: the path is too long", r->dir);
	if (mkdtemp(r->made) == NULL || chmod(r->made, 0755) == -1) {
		(void)err_sys(err, "cannot make a folder beside %s", r->dir);
		r->made[0] = '\0';
		return false;
	}
	if (realpath(r->made, r->place) == NULL)
		return err_sys(err, "%s", r->made);
	r->place[strlen(r->place) - (sizeof ".restore-XXXXXX" - 1)] = '\0';
	return true;
}

bool
restore_whole(const char *backup, const char *dir, struct slice key, struct err *err)
{
	struct restoring r = { .backup = backup, .dir = dir, .key = key };
	bool ok = read_manifest(&r, err) && begin(&r, err) && put_files(&r, err) && put_lists(&r, err) && put_store(&r, err) && put_keys(&r, err) && note(&r, err) &&
	    file_sync_all(r.made, err) && (rename(r.made, r.place) == 0 || err_sys(err, "cannot write %s", r.place)) &&
	    file_sync_all(r.place, err);

	if (ok)
		sum_up(&r);
	else if (r.made[0] != '\0')
		(void)dir_remove(r.made);
	json_decref(r.manifest);
	return ok;
}
