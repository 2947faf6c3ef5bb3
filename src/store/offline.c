/* A store that nobody has open: check it, read it, say what its kinds are called. Nothing is written. */
#include "store/internal.h"

const char *
store_kind_name(uint8_t kind)
{
	static const char *const names[256] = {
		[STORE_SESSION] = "session",
		[STORE_RETAINED] = "retained",
		[STORE_BODY] = "body",
		[STORE_SUBSCRIPTION] = "subscription",
		[STORE_ENTRY] = "entry",
		[STORE_INBOUND] = "inbound",
		[STORE_WILL] = "will",
		[STORE_PART] = "part",
		[STORE_NOTE] = "note",
		[STORE_HANDOVER] = "handover",
	};

	return names[kind];
}

struct offline {
	struct files files;
	struct index index;
	struct seal *seal;
};

static bool
offline_open(struct offline *f, const struct store_options *o, struct store_report *ret, struct err *err)
{
	struct report rep = { o->event, o->ctx };
	struct load l = { .files = &f->files, .index = &f->index, .report = &rep, .out = ret };

	*ret = (struct store_report){ 0 };
	f->files.fs = o->fs != NULL ? o->fs : store_fs_posix();
	if (!files_open(&f->files, o->dir, true, err))
		return false;
	if (f->files.n == 0)
		return err_set(err, ERR_MISSING, "%s has no segments of a store: give the directory that the broker keeps it in", o->dir);
	if (!load_key(&f->files, o->key, &f->seal, err))
		return false;
	l.seal = f->seal;
	return load_index(&l, err);
}

static void
offline_close(struct offline *f)
{
	files_close(&f->files);
	index_clear(&f->index);
	seal_free(f->seal);
}

bool
store_check(const struct store_options *o, struct store_report *ret, struct err *err)
{
	struct offline f = { 0 };
	struct store_report out;
	bool ok = offline_open(&f, o, &out, err);

	offline_close(&f);
	if (ok)
		*ret = out;
	return ok;
}

bool
store_dump(const struct store_options *o, store_load_fn *fn, void *ctx, struct err *err)
{
	struct offline f = { 0 };
	struct store_report out;
	bool ok = offline_open(&f, o, &out, err) && load_records(&f.files, &f.index, f.seal, fn, ctx, err);

	offline_close(&f);
	return ok;
}
