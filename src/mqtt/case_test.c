/* The notation of the case tables. */
#include <ctype.h>
#include <stdlib.h>
#include "mqtt/case_test.h"

static unsigned
nibble(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f')
		return (unsigned)(c - 'a' + 10);
	if (c >= 'A' && c <= 'F')
		return (unsigned)(c - 'A' + 10);
	abort(); /* a table with a misprint */
}

/* Put head before the bytes since <mark>. */
static void
prefix(struct wr *w, size_t mark, struct slice head)
{
	size_t n = wr_len(w) - mark;

	wr_bytes(w, head); /* for the room */
	if (!wr_ok(w))
		abort();
	memmove(w->start + mark + head.n, w->start + mark, n);
	memcpy(w->start + mark, head.p, head.n);
}

static void
prefix_varint(struct wr *w, size_t mark)
{
	uint8_t bytes[4];
	struct wr head = wr_of(bytes, sizeof bytes);

	wr_varint(&head, (uint32_t)(wr_len(w) - mark));
	prefix(w, mark, wr_slice(&head));
}

/* Text up to <end>. */
static const char *
text(const char *s, char end, struct wr *w)
{
	for (; *s != end; s++) {
		if (*s == '\0')
			abort();
		wr_u8(w, (uint8_t)*s);
	}
	return s + 1;
}

static const char *
bytes(const char *s, struct wr *w)
{
	while (*s != '\0' && *s != '}') {
		size_t mark = wr_len(w);

		if (isspace((unsigned char)*s)) {
			s++;
		} else if (*s == '\'') {
			s = text(s + 1, '\'', w);
		} else if (*s == '<') {
			s = text(s + 1, '>', w);
			uint8_t head[2] = { (uint8_t)((wr_len(w) - mark) >> 8),
				(uint8_t)(wr_len(w) - mark) };
			prefix(w, mark, slice_of(head, sizeof head));
		} else if (*s == '{') {
			s = bytes(s + 1, w);
			if (*s++ != '}')
				abort();
			prefix_varint(w, mark);
		} else {
			wr_u8(w, (uint8_t)(nibble(s[0]) << 4 | nibble(s[1])));
			s += 2;
		}
	}
	return s;
}

size_t
case_bytes(const char *notation, uint8_t *out, size_t cap)
{
	struct wr w = wr_of(out, cap);

	if (*bytes(notation, &w) != '\0' || !wr_ok(&w))
		abort();
	return wr_len(&w);
}

size_t
case_packet(const char *notation, uint8_t *out, size_t cap)
{
	size_t n = case_bytes(notation, out, cap);
	struct wr w = { out, out + n, out + cap, false };

	prefix_varint(&w, 1);
	return wr_len(&w);
}

void
each_case(void (*fn)(const struct mqtt_case *c, struct slice packet))
{
	const struct {
		const struct mqtt_case *cases;
		size_t n;
	} tables[] = {
		{ connect_cases, connect_cases_n },
		{ publish_cases, publish_cases_n },
		{ ack_cases, ack_cases_n },
		{ filter_cases, filter_cases_n },
		{ end_cases, end_cases_n },
	};
	uint8_t packet[4096];

	for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
		for (size_t i = 0; i < tables[t].n; i++) {
			const struct mqtt_case *c = &tables[t].cases[i];
			size_t n = case_packet(c->packet, packet, sizeof packet);

			fn(c, slice_of(packet, n));
		}
}
