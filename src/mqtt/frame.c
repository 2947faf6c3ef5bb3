/* The fixed header (2.2; 5.0: 2.1): finding one whole packet, and putting the header before one. */
#include "mqtt/internal.h"

enum { VARINT_MAX_BYTES = 4, HEADER_MAX = 1 + VARINT_MAX_BYTES };

enum mqtt_frame_result
mqtt_frame(struct slice in, size_t max, struct mqtt_frame *ret)
{
	uint32_t n = 0;
	size_t i = 1;

	ret->size = 0;
	ret->type = ret->flags = 0;
	if (in.n == 0)
		return MQTT_FRAME_MORE;
	ret->type = in.p[0] >> 4;
	ret->flags = in.p[0] & 0x0f;
	if (ret->type == 0) /* reserved, forbidden (2.2.1; 5.0: 2.1.2) */
		return MQTT_FRAME_BAD;
	for (;; i++) {
		if (i == in.n)
			return MQTT_FRAME_MORE;
		n |= (uint32_t)(in.p[i] & 0x7f) << (7 * (i - 1));
		if ((in.p[i] & 0x80) == 0)
			break;
		if (i == VARINT_MAX_BYTES) /* a fourth byte that announces a fifth */
			return MQTT_FRAME_BAD;
	}
	if (in.p[i] == 0 && i > 1) /* not the shortest form [MQTT-1.5.5-1] */
		return MQTT_FRAME_BAD;
	ret->size = i + 1 + n;
	if (ret->size > max)
		return MQTT_FRAME_TOO_LARGE;
	if (in.n < ret->size)
		return MQTT_FRAME_MORE;
	ret->body = slice_of(in.p + i + 1, n);
	return MQTT_FRAME_OK;
}

/* Put <head> before what was written since <mark>. */
static void
insert(struct wr *w, size_t mark, struct slice head)
{
	size_t n = wr_len(w) - mark;
	uint8_t *at;

	if (w->bad || (size_t)(w->end - w->p) < head.n) {
		w->bad = true;
		return;
	}
	at = w->start + mark;
	memmove(at + head.n, at, n);
	memcpy(at, head.p, head.n);
	w->p += head.n;
}

/* Append the length of what was written in <w> since <mark>, if MQTT can say it. */
static void
write_length(struct wr *head, const struct wr *w, size_t mark)
{
	size_t n = wr_len(w) - mark;

	if (n > UINT32_MAX)
		head->bad = true;
	else
		wr_varint(head, (uint32_t)n);
}

void
put_length(struct wr *w, size_t mark)
{
	uint8_t bytes[VARINT_MAX_BYTES];
	struct wr head = wr_of(bytes, sizeof bytes);

	write_length(&head, w, mark);
	if (head.bad)
		w->bad = true;
	insert(w, mark, wr_slice(&head));
}

bool
put_packet(struct wr *w, size_t mark, uint8_t type, uint8_t flags)
{
	uint8_t bytes[HEADER_MAX];
	struct wr head = wr_of(bytes, sizeof bytes);

	wr_u8(&head, (uint8_t)(type << 4 | flags));
	write_length(&head, w, mark);
	if (head.bad)
		w->bad = true;
	insert(w, mark, wr_slice(&head));
	if (w->bad)
		w->p = mark > 0 ? w->start + mark : w->start; /* <start> may be NULL */
	return !w->bad;
}
