/* A reader that remembers failure: read on, then ask rd_ok() once. Big-endian, as MQTT is. */
#ifndef BASE_RD_H
#define BASE_RD_H

#include "base/slice.h"

struct rd {
	const uint8_t *p, *end;
	bool bad;
};

static inline struct rd
rd_of(struct slice s)
{
	return (struct rd){ s.p, s.n > 0 ? s.p + s.n : s.p, false };
}

static inline bool
rd_ok(const struct rd *r)
{
	return !r->bad;
}

/* Bytes not yet read; 0 after a failure. */
static inline size_t
rd_left(const struct rd *r)
{
	return r->bad ? 0 : (size_t)(r->end - r->p);
}

/* The next <n> bytes, borrowed from the input; the empty slice after a failure. */
static inline struct slice
rd_take(struct rd *r, size_t n)
{
	struct slice s = { r->p, n };

	if (rd_left(r) < n) {
		r->bad = true;
		return (struct slice){ 0 };
	}
	r->p = n > 0 ? r->p + n : r->p;
	return s;
}

static inline uint8_t
rd_u8(struct rd *r)
{
	struct slice s = rd_take(r, 1);

	return s.n > 0 ? s.p[0] : 0;
}

static inline uint16_t
rd_u16(struct rd *r)
{
	struct slice s = rd_take(r, 2);

	return (uint16_t)(s.n > 0 ? s.p[0] << 8 | s.p[1] : 0);
}

static inline uint32_t
rd_u32(struct rd *r)
{
	uint32_t high = rd_u16(r);

	return high << 16 | rd_u16(r);
}

/* Two bytes of length, then as many bytes: MQTT's strings and binary data (1.5.4, 1.5.6). */
static inline struct slice
rd_str(struct rd *r)
{
	return rd_take(r, rd_u16(r));
}

/* MQTT 1.5.5: at most four bytes, seven bits each, shortest form only. */
static inline uint32_t
rd_varint(struct rd *r)
{
	uint32_t v = 0;

	for (unsigned shift = 0; shift < 28; shift += 7) {
		uint8_t b = rd_u8(r);

		v |= (uint32_t)(b & 0x7f) << shift;
		if ((b & 0x80) == 0) {
			if (b == 0 && shift > 0)
				r->bad = true;
			return v;
		}
	}
	r->bad = true;
	return 0;
}

#endif
