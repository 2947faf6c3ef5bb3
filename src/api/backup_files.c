/* The files of a backup: what stands in the installation's folder and is no private key. Control may have given up the rights for some of
 * them; those of the CAs root has opened for it at the start. */
#include "api/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/num.h"
#include "base/secret.h"
#include "base/text.h"

enum { KEPT_MAX = 256, DEPTH_MAX = 4, KEY_FILE_MAX = 1 << 20, PIECE = 256 * 1024 };

struct kept {
	json_t *without; /* [{"what", "why"}]: what could not be opened */
	size_t n;
	struct {
		int fd;
		char name[160]; /* "pki/client/cert.pem" */
	} v[KEPT_MAX];
};

/* ---- what root opens ---- */

static bool
ends(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n >= m && strcmp(name + n - m, end) == 0;
}

static void
keep_not(struct kept *k, const char *sub, const char *name, const char *why)
{
	char what[160];

	(void)snprintf(what, sizeof(what), "%.100s/%.50s", sub, name);
	(void)json_array_append_new(k->without, json_pack("{s:s, s:s}", "what", what, "why", why));
}

static void
keep_one(struct kept *k, int folder, const char *sub, const char *name)
{
	int fd, n;
	struct stat st = { 0 };

	if (strcmp(name, "key.pem") == 0 || (!ends(name, ".pem") && !ends(name, ".txt") && !ends(name, ".uri")))
		return;
	fd = k->n < KEPT_MAX ? openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
	if (fd == -1) {
		keep_not(k, sub, name, k->n < KEPT_MAX ? strerror(errno) : "there are too many files");
		return;
	}
	n = snprintf(k->v[k->n].name, sizeof(k->v[0].name), "%s/%s", sub, name);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && n > 0 && (size_t)n < sizeof(k->v[0].name)) {
		k->v[k->n++].fd = fd;
		return;
	}
	if (S_ISREG(st.st_mode))
		keep_not(k, sub, name, "its path is too long");
	(void)close(fd);
}

static void
keep_folder(struct kept *k, const char *dir, const char *sub, bool deeper)
{
	char path[PKI_PATH_MAX], below[160];
	DIR *d = path_join(path, sizeof(path), dir, sub) ? opendir(path) : NULL;
	const struct dirent *e;

	if (d == NULL && errno != ENOTDIR)
		keep_not(k, sub, "", strerror(errno));
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		keep_one(k, dirfd(d), sub, e->d_name);
		if (deeper && snprintf(below, sizeof(below), "%s/%s", sub, e->d_name) < (int)sizeof(below))
			keep_folder(k, dir, below, false);
	}
	if (d != NULL)
		(void)closedir(d);
}

bool
backup_open(struct api *a, struct err *err)
{
	if (geteuid() != 0)
		return true;
	a->kept = calloc(1, sizeof(*a->kept));
	if (a->kept == NULL || (a->kept->without = json_array()) == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	keep_folder(a->kept, a->config->dir, "pki", true);
	return true;
}

void
backup_close(struct api *a)
{
	for (size_t i = 0; a->kept != NULL && i < a->kept->n; i++)
		(void)close(a->kept->v[i].fd);
	if (a->kept != NULL)
		json_decref(a->kept->without);
	free(a->kept);
	a->kept = NULL;
}

/* ---- one file ---- */

static bool
no_memory(struct files_job *j)
{
	return err_set(&j->err, ERR_MEMORY, "out of memory");
}

static bool
leave_out(struct files_job *j, const char *what, const char *why)
{
	return json_array_append_new(j->without, json_pack("{s:s, s:s}", "what", what, "why", why)) == 0 || no_memory(j);
}

/* NULL: it may be copied. What is small enough to be a key is looked into; what cannot be counts as one. */
static const char *
why_not(int fd, off_t size)
{
	static const char mark[] = "PRIVATE KEY-----";
	const char *why = NULL;
	char *text;

	if (size > KEY_FILE_MAX)
		return NULL;
	text = malloc((size_t)size + 1);
	if (text == NULL)
		return "there is no memory to see whether a private key is in it";
	if (pread(fd, text, (size_t)size, 0) != size)
		why = "it cannot be seen whether a private key is in it";
	else if (memmem(text, (size_t)size, mark, sizeof(mark) - 1) != NULL)
		why = "a private key";
	secret_free(text, (size_t)size + 1);
	return why;
}

static bool
copy_bytes(struct files_job *j, int in, int out, off_t size, char hex[static 65])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t *buf = malloc(PIECE), sum[32];
	off_t at = 0;
	bool ok = (md != NULL && buf != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) || no_memory(j);

	while (ok && at < size) {
		ssize_t n = pread(in, buf, (size_t)NUM_MIN(size - at, (off_t)PIECE), at);

		ok = (n > 0 && (out == -1 || write(out, buf, (size_t)n) == n) && EVP_DigestUpdate(md, buf, (size_t)n) == 1) || err_sys(&j->err, "cannot copy to %s", j->to);
		at += n > 0 ? n : 0;
	}
	ok = ok && (EVP_DigestFinal_ex(md, sum, NULL) == 1 || no_memory(j));
	if (ok)
		(void)text_hex(slice_of(sum, sizeof(sum)), hex, 65);
	EVP_MD_CTX_free(md);
	free(buf);
	return ok;
}

/* As <to>/<name>, for us alone; restoring gives it its mode back. */
static bool
copy_as(struct files_job *j, int in, const struct stat *st, const char *name)
{
	char path[2 * PKI_PATH_MAX], folder[2 * PKI_PATH_MAX], hex[65];
	int out;
	bool ok;

	(void)snprintf(path, sizeof(path), "%s/%s", j->to, name);
	(void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (!dir_make(folder, 0700, &j->err))
		return false;
	out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (out == -1)
		return err_sys(&j->err, "cannot write %s", path);
	ok = copy_bytes(j, in, out, st->st_size, hex);
	if (close(out) == -1 && ok)
		ok = err_sys(&j->err, "cannot write %s", path);
	if (!ok)
		return false;
	j->bytes += st->st_size;
	return json_array_append_new(j->files, json_pack("{s:s, s:I, s:s, s:i}", "name", name, "bytes", (json_int_t)st->st_size, "sha256", hex, "mode",
						   (int)(st->st_mode & 0777))) == 0 || no_memory(j);
}

/* <name> below the installation's folder. False: nothing can be copied any more. */
static bool
take(struct files_job *j, int fd, const char *name)
{
	char place[PKI_PATH_MAX];
	struct stat st;
	const char *why;

	if (fstat(fd, &st) == -1)
		return leave_out(j, name, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return true;
	why = why_not(fd, st.st_size);
	if (why != NULL)
		return leave_out(j, name, why);
	if (snprintf(place, sizeof(place), "files/%s", name) >= (int)sizeof(place))
		return leave_out(j, name, "its path is too long");
	return copy_as(j, fd, &st, place);
}

/* ---- the folder ---- */

static bool
is_passed_over(const struct files_job *j, const char *name, unsigned depth)
{
	static const char *const folders[] = { "clients", "servers", "responders", "backups" }, *const ends_with[] = { ".log", ".pid", ".sock", ".store", ".lock", ".part" };
	const char *base = strrchr(j->registry, '/');

	if (name[0] == '.')
		return true;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		if (depth == 0 && strcmp(name, folders[i]) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_LEN(ends_with); i++)
		if (ends(name, ends_with[i]))
			return true;
	base = base != NULL ? base + 1 : j->registry;
	/* Its log, the copies of older versions. */
	return strncmp(name, base, strlen(base)) == 0;
}

static bool walk(struct files_job *j, const char *sub, unsigned depth);

static bool
take_entry(struct files_job *j, const char *name, unsigned depth)
{
	char path[2 * PKI_PATH_MAX];
	struct stat st;
	bool ok;
	int fd;

	if (!utf8_ok(slice_str(name)))
		return leave_out(j, text_show(slice_str(name), path, sizeof(path)), "its name is not UTF-8");
	(void)snprintf(path, sizeof(path), "%s/%s", j->dir, name);
	if (lstat(path, &st) == -1)
		return true; /* it has gone meanwhile */
	if (S_ISLNK(st.st_mode))
		return leave_out(j, name, "a link to elsewhere");
	if (S_ISDIR(st.st_mode)) {
		if (st.st_dev == j->backups.st_dev && st.st_ino == j->backups.st_ino)
			return true;
		if (ends(name, "/certs"))
			return leave_out(j, name, "copies of certificates, which nothing needs");
		return depth + 1 < DEPTH_MAX ? walk(j, name, depth + 1) : leave_out(j, name, "it lies too deep");
	}
	if (!S_ISREG(st.st_mode))
		return true;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return ends(name, "key.pem") ? leave_out(j, name, "a private key") : leave_out(j, name, strerror(errno));
	ok = take(j, fd, name);
	(void)close(fd);
	return ok;
}

static bool
take_kept(struct files_job *j)
{
	bool ok = leave_out(j, "pki/*/key.pem", "private keys") && (j->unkept == NULL || json_array_extend(j->without, j->unkept) == 0 || no_memory(j));

	for (size_t i = 0; j->kept != NULL && i < j->kept->n && ok; i++)
		ok = take(j, j->kept->v[i].fd, j->kept->v[i].name);
	return ok;
}

/* <sub>: "" or "pki/client". */
static bool
walk(struct files_job *j, const char *sub, unsigned depth)
{
	char path[2 * PKI_PATH_MAX], name[PKI_PATH_MAX];
	const struct dirent *e;
	bool ok = true;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s%s%s", j->dir, sub[0] != '\0' ? "/" : "", sub);
	d = opendir(path);
	if (d == NULL)
		return strcmp(sub, "pki") == 0 ? take_kept(j) : leave_out(j, sub, strerror(errno));
	while (ok && (e = readdir(d)) != NULL) {
		if (is_passed_over(j, e->d_name, depth))
			continue;
		ok = snprintf(name, sizeof(name), "%s%s%s", sub, sub[0] != '\0' ? "/" : "", e->d_name) < (int)sizeof(name) ? take_entry(j, name, depth) :
														       leave_out(j, sub, "a path is too long");
	}
	(void)closedir(d);
	return ok;
}

/* ---- audit log, store ---- */

static bool
take_audit(struct files_job *j)
{
	struct stat st;

	if (j->audit_fd == -1 || fstat(j->audit_fd, &st) == -1)
		return leave_out(j, "audit.log", "control cannot read it, or there is none");
	return copy_as(j, j->audit_fd, &st, "files/audit.log");
}

static bool
take_store_file(void *ctx, int folder, const char *name)
{
	struct files_job *j = ctx;
	char place[300];
	struct stat st;
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	bool ok = fd != -1 && fstat(fd, &st) == 0;

	(void)snprintf(place, sizeof(place), "store/%s", name);
	if (!ok)
		(void)err_sys(&j->err, "cannot read %s/%s", j->store, name);
	else if (!S_ISREG(st.st_mode))
		ok = err_set(&j->err, ERR_SYSTEM, "%s/%s is no file, and the broker has it among those of its store", j->store, name);
	else
		ok = copy_as(j, fd, &st, place);
	if (fd != -1)
		(void)close(fd);
	return ok;
}

/* Beside the store it is hard links to what the broker goes on with; here it is of its own. What cannot be opened is the broker's user's alone: it
 * stays there, and the answer says where. */
static bool
take_store(struct files_job *j)
{
	struct store_copy c;

	if (j->store[0] == '\0')
		return true;
	if (!store_copy_open(j->dir, j->registry, j->store, &c, &j->err)) {
		if (j->err.code != ERR_INPUT)
			return true;
		j->err.code = ERR_SYSTEM; /* not the asker's fault */
		return false;
	}
	(void)err_set(&j->err, ERR_SYSTEM, "cannot read %s", j->store);
	j->has_store = store_copy_each(&c, take_store_file, j);
	store_copy_close(&c);
	return j->has_store;
}

/* It is there already. */
static bool
count_registry(struct files_job *j)
{
	char path[PKI_PATH_MAX + 32], hex[65];
	struct stat st = { 0 };
	int fd;
	bool ok;

	(void)snprintf(path, sizeof(path), "%s/registry.db", j->to);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ok = (fd != -1 && fstat(fd, &st) == 0) || err_sys(&j->err, "cannot read %s", path);
	ok = ok && copy_bytes(j, fd, -1, st.st_size, hex) &&
	    (json_array_append_new(j->files, json_pack("{s:s, s:I, s:s, s:i}", "name", "registry.db", "bytes", (json_int_t)st.st_size, "sha256", hex, "mode", 0600)) == 0 ||
	     no_memory(j));
	if (fd != -1)
		(void)close(fd);
	j->bytes += ok ? st.st_size : 0;
	return ok;
}

/* ---- the job ---- */

static void
work(struct job *job)
{
	struct files_job *j = (void *)job;
	char folder[PKI_PATH_MAX];

	(void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(j->to, '/') - j->to), j->to);
	(void)stat(folder, &j->backups); /* where it is, it exists: we write there */
	/* The index of a CA before the audit log, as it is written after it: what it says is in there. */
	j->ok = count_registry(j) && take_store(j) && walk(j, "", 0) && take_audit(j) && file_sync_all(j->to, &j->err);
}

static void
hand_back(struct job *job)
{
	struct files_job *j = (void *)job;

	j->done(j);
}

static void
drop(struct job *job)
{
	files_job_free((void *)job);
}

/* A CA that came later stands in a folder that control cannot get to. */
static bool
note_unkept(void *ctx, const struct registry_ca *c)
{
	struct files_job *j = ctx;
	char what[REGISTRY_NAME_MAX + 16];
	size_t n = (size_t)snprintf(what, sizeof(what), "pki/%.*s/", SL_ARG(c->name));

	for (size_t i = 0; i < j->kept->n && c->own; i++)
		if (strncmp(j->kept->v[i].name, what, n) == 0)
			return true;
	if (c->own)
		(void)json_array_append_new(j->unkept, json_pack("{s:s, s:s}", "what", what, "why", "the CA has come since control was started: restart it"));
	return true;
}

static bool
note_all_unkept(struct api *a, struct files_job *j)
{
	j->kept = a->kept;
	return j->kept == NULL || ((j->unkept = json_deep_copy(j->kept->without)) != NULL && registry_ca_each(a->registry, note_unkept, j, NULL));
}

struct files_job *
files_job_new(struct api *a, const char *to)
{
	struct files_job *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	j->job = (struct job){ .work = work, .done = hand_back, .drop = drop };
	j->dir = a->config->dir;
	j->registry = a->config->registry;
	j->files = json_array();
	j->without = json_array();
	if (a->audit_fd == -1)
		auditing_open(a);
	j->audit_fd = a->audit_fd != -1 ? fcntl(a->audit_fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (j->files != NULL && j->without != NULL && note_all_unkept(a, j) && text_copy(j->to, sizeof(j->to), slice_str(to)))
		return j;
	files_job_free(j);
	return NULL;
}

void
files_job_free(struct files_job *j)
{
	if (j == NULL)
		return;
	if (j->audit_fd != -1)
		(void)close(j->audit_fd);
	json_decref(j->files);
	json_decref(j->without);
	json_decref(j->unkept);
	free(j);
}
