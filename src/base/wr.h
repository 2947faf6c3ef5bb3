/* A writer into counted space that remembers failure: write on, then ask wr_ok() once. Big-endian. */
#ifndef BASE_WR_H
#define BASE_WR_H

#include "base/slice.h"

struct wr {
	uint8_t *start, *p, *end;
	bool bad;
};

static inline struct wr
wr_of(void *p, size_t n)
{
	return (struct wr){ p, p, n > 0 ? (uint8_t *)p + n : p, false };
}

static inline bool
wr_ok(const struct wr *w)
{
	return !w->bad;
}

/* Bytes written so far. */
static inline size_t
wr_len(const struct wr *w)
{
	return (size_t)(w->p - w->start);
}

/* What was written so far; borrowed from the space given to wr_of(). */
static inline struct slice
wr_slice(const struct wr *w)
{
	return (struct slice){ w->start, wr_len(w) };
}

static inline void
wr_bytes(struct wr *w, struct slice s)
{
	if (w->bad || (size_t)(w->end - w->p) < s.n) {
		w->bad = true;
		return;
	}
	if (s.n > 0) {
		memcpy(w->p, s.p, s.n);
		w->p += s.n;
	}
}

static inline void
wr_u8(struct wr *w, uint8_t v)
{
	wr_bytes(w, (struct slice){ &v, 1 });
}

static inline void
wr_u16(struct wr *w, uint16_t v)
{
	uint8_t b[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	wr_bytes(w, (struct slice){ b, sizeof b });
}

static inline void
wr_u32(struct wr *w, uint32_t v)
{
	wr_u16(w, (uint16_t)(v >> 16));
	wr_u16(w, (uint16_t)v);
}

/* A string or binary data with its two bytes of length; longer than 65,535 fails. */
static inline void
wr_str(struct wr *w, struct slice s)
{
	if (s.n > UINT16_MAX)
		w->bad = true;
	wr_u16(w, (uint16_t)s.n);
	wr_bytes(w, s);
}

/* Bytes that wr_varint() takes for <v>. */
static inline size_t
varint_len(uint32_t v)
{
	return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

/* MQTT 1.5.5; more than 268,435,455 fails. */
static inline void
wr_varint(struct wr *w, uint32_t v)
{
	if (v > 268435455u)
		w->bad = true;
	do {
		wr_u8(w, (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0)));
		v >>= 7;
	} while (v > 0);
}

#endif
