/* A bundle as a folder, a zip or a tar. */
#include "bundle/bundle.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/secret.h"
#include "bundle/sink.h"

enum { PATH_CAP = 4096 };

static mode_t
mode_of(const struct bundle_file *f)
{
	return f->secret ? 0600 : 0644;
}

bool
bundle_put(const struct bundle_set *b, const char *dir, struct err *err)
{
	char path[PATH_CAP];
	size_t done = 0;
	bool ok;

	if (mkdir(dir, 0700) == -1)
		return errno == EEXIST ? err_set(err, ERR_EXISTS, "%s: is there already", dir) : err_sys(err, "%s", dir);
	for (ok = true; ok && done < b->n; done += ok)
		ok = (path_join(path, sizeof path, dir, b->files[done].name) || err_set(err, ERR_USAGE, "%s: the path is too long", dir)) &&
		    file_write(path, slice_of(b->files[done].data, b->files[done].n), mode_of(&b->files[done]), 0, err);
	if (ok)
		return true;
	for (size_t i = 0; i < done; i++)
		if (path_join(path, sizeof path, dir, b->files[i].name))
			(void)unlink(path);
	(void)rmdir(dir);
	return false;
}

/* ---- archives, in memory ---- */

bool
sink_put(struct sink *s, const void *p, size_t n)
{
	if (n >= s->cap - s->n) {
		size_t cap = 2 * (s->cap + n) + 1;
		uint8_t *more = malloc(cap); /* not realloc: what it leaves behind would be a key */

		if (more == NULL)
			return false;
		if (s->n > 0)
			memcpy(more, s->data, s->n);
		secret_free(s->data, s->cap);
		s->data = more;
		s->cap = cap;
	}
	if (n > 0)
		memcpy(s->data + s->n, p, n);
	s->n += n;
	return true;
}

static la_ssize_t
on_bytes(struct archive *a, void *ctx, const void *p, size_t n)
{
	if (sink_put(ctx, p, n))
		return (la_ssize_t)n;
	archive_set_error(a, ENOMEM, "out of memory");
	return -1;
}

static bool
put_file(struct archive *a, const struct bundle_set *b, const struct bundle_file *f)
{
	struct archive_entry *e = archive_entry_new();
	char path[sizeof b->folder + 40];
	bool ok;

	if (e == NULL)
		return false;
	(void)snprintf(path, sizeof path, "%s/%s", b->folder, f->name);
	archive_entry_set_pathname_utf8(e, path);
	archive_entry_set_size(e, (la_int64_t)f->n);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, mode_of(f));
	archive_entry_set_mtime(e, b->now, 0);
	ok = archive_write_header(a, e) == ARCHIVE_OK && archive_write_data(a, f->data, f->n) == (la_ssize_t)f->n;
	archive_entry_free(e);
	return ok;
}

bool
bundle_pack(const struct bundle_set *b, enum bundle_archive kind, uint8_t **ret, size_t *ret_n, struct err *err)
{
	struct archive *a = archive_write_new();
	struct sink s = { 0 };
	/* Straight from our buffers into ours: what libarchive frees, nobody wipes. So only who wants it compressed leaves something of it there. */
	bool ok = a != NULL && archive_write_set_bytes_per_block(a, 0) == ARCHIVE_OK;

	if (ok && kind == BUNDLE_ZIP)
		ok = archive_write_set_format_zip(a) == ARCHIVE_OK && archive_write_set_options(a, "zip:hdrcharset=UTF-8,zip:compression=store") == ARCHIVE_OK;
	else if (ok)
		ok = archive_write_set_format_pax_restricted(a) == ARCHIVE_OK && archive_write_add_filter_gzip(a) == ARCHIVE_OK &&
		    archive_write_set_options(a, "gzip:!timestamp") == ARCHIVE_OK;
	ok = ok && archive_write_open(a, &s, NULL, on_bytes, NULL) == ARCHIVE_OK;
	for (size_t i = 0; ok && i < b->n; i++)
		ok = put_file(a, b, &b->files[i]);
	ok = ok && archive_write_close(a) == ARCHIVE_OK;
	if (!ok)
		(void)err_set(err, ERR_SYSTEM, "cannot make the archive: %s", a != NULL && archive_error_string(a) != NULL ? archive_error_string(a) : "out of memory");
	(void)archive_write_free(a);
	if (!ok) {
		secret_free(s.data, s.cap);
		return false;
	}
	*ret = s.data;
	*ret_n = s.n;
	return true;
}
