/* One WebSocket frame for one MQTT packet. RFC 6455 and MQTT 6 let them be cut anywhere, but there are clients that look at the
 * socket again when they have taken one packet from a frame (Paho's C client), and then wait for what they have already. */
#include "base/assert.h"
#include "base/rd.h"
#include "ws/internal.h"

/* How many of <n> pieces are the first packet, by the length in its fixed header (MQTT 2.1.4); all of them, if it does not end
 * where a piece does. */
static int
first_packet(const struct iovec *iov, int n, uint64_t *ret_bytes)
{
	struct rd r = rd_of(slice_of(iov[0].iov_base, iov[0].iov_len));
	uint64_t want, have = iov[0].iov_len;
	int k = 1;

	(void)rd_u8(&r);
	want = rd_varint(&r);
	want = rd_ok(&r) ? want + have - rd_left(&r) : UINT64_MAX;
	while (k < n && have != want)
		have += iov[k++].iov_len;
	*ret_bytes = have;
	return k;
}

int
frames_of_packets(struct iovec *iov, int room, int n)
{
	struct iovec *heads = iov + 2 * (ptrdiff_t)room, *out = iov, *in = iov + room;

	ASSERT(n <= room);
	for (int k; n > 0; n -= k, heads++) {
		uint8_t *head = (uint8_t *)heads; /* the bytes of one that nobody uses */
		uint64_t bytes;

		_Static_assert(sizeof(*heads) >= FRAME_HEAD_MAX, "a head is kept in the place of a piece");
		k = first_packet(in, n, &bytes);
		*out++ = (struct iovec){ head, frame_put_head(head, bytes) };
		/* There are not more heads than pieces: what is written is never ahead of what is read. */
		for (int i = 0; i < k; i++)
			*out++ = *in++;
	}
	return (int)(out - iov);
}
