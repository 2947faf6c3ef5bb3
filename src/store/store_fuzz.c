/* The reader of segments on arbitrary bytes. The first byte says how many files and whether their frames are given right checksums,
 * so that what stands behind those is reached, too. */
#include <stdlib.h>
#include "base/assert.h"
#include "base/num.h"
#include "store/fs_testkit.h"

enum { FILES_MAX = 3, FILE_BYTES = FILE_HEADER + 64 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool
on_load(void *ctx, const struct store_record *r)
{
	uint32_t *sum = ctx;

	*sum = crc32c(*sum, r->bytes.p, r->bytes.n);
	return true;
}

/* Two bytes of length, two of what is to be wrong, then the payload of a frame. */
static size_t
frames(uint8_t *file, const struct seg_header *h, struct slice *in, bool right)
{
	uint32_t seed = header_seed(h);
	uint64_t seq = h->first_seq;
	size_t at = FILE_HEADER;

	while (in->n > 4) {
		size_t want = NUM_MIN((size_t)(in->p[0] | (in->p[1] & 0x0f) << 8), in->n - 4);
		struct frame f = { .n = (uint32_t)want, .seq = seq + (in->p[2] & 1), .records = in->p[3] };

		if (at + frame_size(want) > FILE_BYTES)
			break;
		seq = f.seq + 1;
		memcpy(file + at + FRAME_HEADER, in->p + 4, want);
		f.crc = crc32c(seed, file + at + FRAME_HEADER, want) ^ (in->p[2] & 2);
		frame_put(&f, right ? seed : seed ^ (in->p[2] & 4), file + at);
		at += frame_size(want);
		*in = slice_from(*in, 4 + want);
	}
	return FILE_BYTES;
}

static void
make_files(struct sim *sim, struct slice in)
{
	unsigned count = 1 + in.p[0] % FILES_MAX;
	bool right = in.p[0] & 0x40, raw = in.p[0] & 0x80;
	static uint8_t file[FILE_BYTES];
	char path[64] = "d/0000000000000001.seg";

	in = slice_from(in, 1);
	for (unsigned i = 0; i < count; i++) {
		struct seg_header h = { .id = i + 1, .first_seq = 1 + i * 3, .size = FILE_BYTES, .major = 1, .uuid = "u", .salt = "s" };
		size_t n;

		memset(file, 0, sizeof file);
		header_put(&h, file);
		header_put(&h, file + HEADER_SECOND);
		if (raw) {
			n = NUM_MIN(in.n, sizeof file);
			memcpy(file, in.p, n);
			in = slice_from(in, n);
		} else
			n = frames(file, &h, &in, right);
		path[17] = (char)('1' + i);
		sim_write(sim, path, slice_of(file, n));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sim *sim = n > 0 ? sim_new() : NULL;
	struct store_options o = { .dir = "d", .n_writers = 1, .segment_bytes = STORE_SEGMENT_MIN };
	struct store_report rep;
	struct store *s;
	struct err err;
	uint32_t dumped = 0, loaded = 0;

	if (sim == NULL)
		return 0;
	make_files(sim, slice_of(data, n));
	o.fs = sim_fs(sim);
	if (store_check(&o, &rep, &err) && store_dump(&o, on_load, &dumped, &err) && (s = store_open(&o, &err)) != NULL) {
		ASSERT(store_load(s, on_load, &loaded, &err) && loaded == dumped);
		ASSERT(store_close(s));
		/* Whatever it was: what was recovered stays what it is. */
		loaded = 0;
		ASSERT((s = store_open(&o, &err)) != NULL);
		ASSERT(store_load(s, on_load, &loaded, &err) && loaded == dumped);
		(void)store_close(s);
	}
	sim_free(sim);
	return 0;
}
