/* Bytes of segment headers, frames and records; docs/store-format.md says the same in words. */
#include "base/num.h"
#include "store/internal.h"

enum { FRAME_MAGIC = 0x31524653 /* "SFR1" */ };

static const uint8_t SEGMENT_MAGIC[8] = { 'S', 'I', 'G', 'S', 'E', 'G', '\r', '\n' };

static void
put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void
put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)v);
	put16(p + 2, (uint16_t)(v >> 16));
}

static void
put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)v);
	put32(p + 4, (uint32_t)(v >> 32));
}

static uint16_t
get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t
get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* ---- segment header ---- */

void
header_put(const struct seg_header *h, uint8_t out[static HEADER_BYTES])
{
	memset(out, 0, HEADER_BYTES);
	memcpy(out, SEGMENT_MAGIC, 8);
	put16(out + 8, h->major);
	put16(out + 10, h->minor);
	put32(out + 12, h->id);
	put32(out + 16, h->tail);
	put64(out + 24, h->first_seq);
	put64(out + 32, h->next_id);
	put64(out + 88, h->size);
	memcpy(out + 40, h->uuid, 16);
	memcpy(out + 56, h->salt, 16);
	out[72] = h->cipher;
	memcpy(out + 80, h->key_id, 8);
	put32(out + HEADER_BYTES - 4, crc32c(0, out, HEADER_BYTES - 4));
}

bool
header_get(const uint8_t in[static HEADER_BYTES], struct seg_header *ret)
{
	if (memcmp(in, SEGMENT_MAGIC, 8) != 0 || get32(in + HEADER_BYTES - 4) != crc32c(0, in, HEADER_BYTES - 4))
		return false;
	ret->major = get16(in + 8);
	ret->minor = get16(in + 10);
	ret->id = get32(in + 12);
	ret->tail = get32(in + 16);
	ret->first_seq = get64(in + 24);
	ret->next_id = get64(in + 32);
	ret->size = get64(in + 88);
	memcpy(ret->uuid, in + 40, 16);
	memcpy(ret->salt, in + 56, 16);
	ret->cipher = in[72];
	memcpy(ret->key_id, in + 80, 8);
	return true;
}

uint32_t
header_seed(const struct seg_header *h)
{
	uint8_t id[4];

	put32(id, h->id);
	return crc32c(crc32c(crc32c(0, h->uuid, 16), h->salt, 16), id, 4);
}

/* ---- frames ---- */

void
frame_put(const struct frame *f, uint32_t seed, uint8_t out[static FRAME_HEADER])
{
	put32(out, FRAME_MAGIC);
	put32(out + 4, f->n);
	put64(out + 8, f->seq);
	put32(out + 16, f->records);
	put32(out + 20, 0);
	put32(out + 24, f->crc);
	put32(out + 28, crc32c(seed, out, 28));
}

bool
frame_get(const uint8_t in[static FRAME_HEADER], uint32_t seed, struct frame *ret)
{
	if (get32(in) != FRAME_MAGIC || get32(in + 28) != crc32c(seed, in, 28))
		return false;
	*ret = (struct frame){ .n = get32(in + 4), .seq = get64(in + 8), .records = get32(in + 16), .crc = get32(in + 24) };
	return true;
}

uint64_t
frame_size(uint64_t payload)
{
	return (payload + FRAME_HEADER + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
}

/* ---- records ---- */

bool
record_get(const uint8_t *p, size_t n, struct record *ret)
{
	uint8_t op = n >= RECORD_SHORT ? p[4] : 0;
	bool has_content = op == OP_PUT || op >= 0x80; /* from 0x80 on: what a later minor version may add */

	if (op == 0 || (!has_content && op > OP_END) || (has_content && n < RECORD_PUT))
		return false;
	*ret = (struct record){ .op = op, .kind = p[5], .id = get64(p + 8), .size = RECORD_SHORT };
	if (!has_content)
		return true;
	ret->ref = get64(p + 16);
	ret->n = get32(p + 24);
	if (ret->n > n - RECORD_PUT)
		return false;
	ret->bytes = p + RECORD_PUT;
	ret->size = RECORD_PUT + ret->n;
	return true;
}

void
record_put(uint8_t *p, const struct record *r)
{
	p[4] = r->op;
	p[5] = r->kind;
	put16(p + 6, 0);
	put64(p + 8, r->id);
	if (r->op == OP_PUT) {
		put64(p + 16, r->ref);
		put32(p + 24, r->n);
	}
	put32(p, crc32c(0, p + 4, (r->op == OP_PUT ? (size_t)RECORD_PUT + r->n : RECORD_SHORT) - 4));
}

uint32_t
frame_mask(uint32_t seed, uint64_t seq)
{
	uint8_t b[8];

	put64(b, seq);
	return crc32c(seed, b, sizeof b);
}

bool
record_verify(const uint8_t *p, const struct record *r, uint32_t mask)
{
	return (get32(p) ^ mask) == crc32c(0, p + 4, r->size - 4);
}

void
records_mask(uint8_t *p, size_t n, uint32_t change)
{
	struct record r;

	for (size_t at = 0; at < n && record_get(p + at, n - at, &r); at += r.size)
		put32(p + at, get32(p + at) ^ change);
}
