/* Frames from a client (RFC 6455 section 5), taken apart where they lie: payload may come in any number of pieces, and only
 * control frames have to be whole. */
#include "ws/internal.h"

#include "base/num.h"
#include "base/rd.h"
#include "base/text.h"

enum {
	FIN = 0x80,
	RSV = 0x70,
	OPCODE = 0x0f,
	MASKED = 0x80,
	OP_MORE = 0,
	OP_TEXT = 1,
	OP_BINARY = 2,
	OP_CONTROL = 8,
};

struct head {
	uint8_t first, op;
	uint64_t n;
	uint8_t mask[4];
	size_t size; /* of the head itself */
};

static enum frame_event
bad(struct frame_step *s, enum frame_close code, const char *why)
{
	s->code = (uint16_t)code;
	s->why = why;
	return FRAME_BAD;
}

/* What is wrong can be seen from the first two bytes, but for the length. NULL: nothing. */
static const char *
fault_of(const struct frames *f, uint8_t first, uint8_t second)
{
	uint8_t op = first & OPCODE;

	if ((first & RSV) != 0)
		return "WebSocket: a frame with reserved bits";
	if ((second & MASKED) == 0)
		return "WebSocket: a frame without a mask"; /* 5.1 */
	if (op >= OP_CONTROL) {
		if (op > FRAME_OP_PONG)
			return "WebSocket: a frame of an unknown kind";
		if ((first & FIN) == 0 || (second & 0x7f) > FRAME_CONTROL_MAX)
			return "WebSocket: a control frame that is fragmented or longer than 125 "
			       "bytes"; /* 5.5 */
		return NULL;
	}
	if (op > OP_BINARY)
		return "WebSocket: a frame of an unknown kind";
	if ((op == OP_MORE) != f->within)
		return "WebSocket: fragments out of order"; /* 5.4 */
	return NULL;
}

/* False: not all there. */
static bool
read_head(struct slice in, struct head *h)
{
	struct rd r = rd_of(in);
	uint64_t high;

	h->first = rd_u8(&r);
	h->op = h->first & OPCODE;
	h->n = rd_u8(&r) & 0x7f;
	if (h->n == 126) {
		h->n = rd_u16(&r);
	} else if (h->n == 127) {
		high = rd_u32(&r);
		h->n = high << 32 | rd_u32(&r);
	}
	for (int i = 0; i < 4; i++)
		h->mask[i] = rd_u8(&r);
	h->size = (size_t)(r.p - in.p);
	return rd_ok(&r);
}

/* 5.2: the shortest form that can say it, and 63 bits at most. */
static bool
is_shortest(const struct head *h)
{
	return h->size == 6 + (size_t)(h->n > UINT16_MAX          ? 8
				       : h->n > FRAME_CONTROL_MAX ? 2
								  : 0) &&
	       h->n >> 63 == 0;
}

static void
unmask(uint8_t *out, const uint8_t *in, size_t n, uint8_t mask[4])
{
	uint8_t turned[4];
	uint64_t wide, v;
	uint32_t m;
	size_t i = 0;

	memcpy(&m, mask, sizeof(m));
	wide = (uint64_t)m << 32 | m;
	for (; n - i >= sizeof(v); i += sizeof(v)) {
		memcpy(&v, in + i, sizeof(v));
		v ^= wide;
		memcpy(out + i, &v, sizeof(v));
	}
	for (; i < n; i++)
		out[i] = in[i] ^ mask[i % 4];
	for (i = 0; i < 4; i++)
		turned[i] = mask[(n + i) % 4];
	memcpy(mask, turned, sizeof(turned));
}

/* 7.4.1, 7.4.2 */
static bool
is_close_code(uint16_t code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
	       (code >= 3000 && code <= 4999);
}

static enum frame_event
take_close(struct frame_step *s)
{
	s->code = CLOSE_EMPTY;
	if (s->payload_n == 0)
		return FRAME_CLOSE;
	s->code = (uint16_t)(s->payload[0] << 8 | s->payload[1]);
	if (s->payload_n == 1 || !is_close_code(s->code))
		return bad(s, CLOSE_PROTOCOL, "WebSocket: a Close frame without a good code");
	/* U+0000 is UTF-8 for everybody but MQTT; no sane peer sends it in a reason. */
	if (!utf8_ok(slice_of(s->payload + 2, s->payload_n - 2)))
		return bad(s, CLOSE_PROTOCOL, "WebSocket: a Close frame whose reason is not UTF-8");
	return FRAME_CLOSE;
}

/* All of it is there. What ends the connection is left in the input. */
static enum frame_event
take_control(struct head *h, struct slice in, struct frame_step *s)
{
	s->payload_n = (size_t)h->n;
	memset(s->payload, 0, sizeof(s->payload));
	unmask(s->payload, in.p + h->size, s->payload_n, h->mask);
	if (h->op == FRAME_OP_CLOSE)
		return take_close(s);
	s->used += h->size + s->payload_n;
	return h->op == FRAME_OP_PING ? FRAME_PING : FRAME_DATA;
}

static void
take_data(struct frames *f, struct slice in, uint8_t *out, size_t *out_n, struct frame_step *s)
{
	size_t n = (size_t)NUM_MIN(f->left, (uint64_t)in.n);

	unmask(out + *out_n, in.p, n, f->mask);
	*out_n += n;
	s->used += n;
	f->left -= n;
}

/* The frame that begins at <in>. *ret_more: it is not all there. */
static enum frame_event
begin(struct frames *f, struct slice in, struct frame_step *s, bool *ret_more)
{
	struct head h;
	const char *fault;

	*ret_more = in.n < 2;
	if (*ret_more)
		return FRAME_DATA;
	fault = fault_of(f, in.p[0], in.p[1]);
	if (fault != NULL)
		return bad(s, CLOSE_PROTOCOL, fault);
	/* [MQTT-6.0.0-1] */
	if ((in.p[0] & OPCODE) == OP_TEXT)
		return bad(s, CLOSE_TEXT, "WebSocket: a text frame; MQTT is sent in binary ones");
	*ret_more = !read_head(in, &h);
	if (*ret_more)
		return FRAME_DATA;
	if (!is_shortest(&h))
		return bad(s, CLOSE_PROTOCOL,
		    "WebSocket: a length that is not written in the shortest way");
	if (h.op >= OP_CONTROL) {
		*ret_more = in.n < h.size + h.n;
		return *ret_more ? FRAME_DATA : take_control(&h, in, s);
	}
	f->left = h.n;
	f->within = (h.first & FIN) == 0;
	memcpy(f->mask, h.mask, sizeof(f->mask));
	s->used += h.size;
	return FRAME_DATA;
}

enum frame_event
frames_step(struct frames *f, struct slice in, uint8_t *out, size_t *out_n, struct frame_step *ret)
{
	enum frame_event event = FRAME_DATA;
	bool more = false;

	ret->used = 0;
	while (event == FRAME_DATA && !more && ret->used < in.n) {
		struct slice rest = slice_from(in, ret->used);

		if (f->left > 0)
			take_data(f, rest, out, out_n, ret);
		else
			event = begin(f, rest, ret, &more);
	}
	return event;
}

size_t
frame_put_head(uint8_t out[static FRAME_HEAD_MAX], uint64_t n)
{
	int bytes = n <= FRAME_CONTROL_MAX ? 0 : n <= UINT16_MAX ? 2 : 8;

	out[0] = FIN | OP_BINARY;
	out[1] = (uint8_t)(bytes == 0 ? n : bytes == 2 ? 126 : 127);
	for (int i = 0; i < bytes; i++)
		out[2 + i] = (uint8_t)(n >> 8 * (bytes - 1 - i));
	return 2 + (size_t)bytes;
}
