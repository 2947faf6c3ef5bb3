/* Packets waiting for one connection: references and a few raw bytes, never payload copies. */
#include <stdlib.h>
#include "broker/internal.h"

/* Topic aliases towards a client (3.3.2.3.4): the first topics that come get one each. */
struct alias_out {
	uint16_t n;
	struct block *topic[];
};

/* A peer that does not read what it asks for is not read from. */
static void
push_back(struct client *c)
{
	if (c->out.count < OUT_PACKETS_HIGH && c->out_bytes <= settings_of(c->shard)->max_out_bytes)
		return;
	hold(c, HELD_OUTPUT);
}

static struct out *
out_room(struct client *c)
{
	struct out *o = ring_push(&c->out);

	if (o == NULL)
		return NULL;
	*o = (struct out){ .kind = OUT_RAW };
	if (c->out.count == 1)
		wake(&c->waker);
	return o;
}

bool
out_packet(struct client *c, const void *p, size_t n)
{
	struct block *b = NULL;
	struct out *o;

	if (n > sizeof o->raw) {
		if ((b = malloc(sizeof *b + n)) == NULL)
			return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
		b->n = (uint32_t)n;
		memcpy(b->bytes, p, n);
	}
	if ((o = out_room(c)) == NULL) {
		free(b);
		return client_fail(c, MQTT_RC_UNSPECIFIED, "out of memory");
	}
	if (b != NULL) {
		o->kind = OUT_BLOCK;
		o->block = b;
		c->out_bytes += b->n;
	} else {
		memcpy(o->raw, p, n);
		o->raw_n = (uint8_t)(n & 15);
	}
	push_back(c);
	return true;
}

bool
out_ack(struct client *c, uint8_t type, uint16_t packet_id, uint8_t reason, const char *text)
{
	uint8_t buf[256];
	struct wr w = wr_of(buf, sizeof buf);
	/* [MQTT-3.1.2-29]: reason strings only where they are welcome. */
	struct slice why = c->explain_acks && reason >= MQTT_RC_UNSPECIFIED ? slice_str(text) : SL("");

	(void)mqtt_put_ack(&w, c->version, type, packet_id, reason, why);
	ASSERT(wr_ok(&w));
	if (c->max_packet_out != 0 && wr_len(&w) > c->max_packet_out) {
		w = wr_of(buf, sizeof buf);
		(void)mqtt_put_ack(&w, c->version, type, packet_id, reason, SL(""));
	}
	return out_packet(c, buf, wr_len(&w));
}

bool
out_fits(const struct client *c, const struct out *o)
{
	if (c->max_packet_out == 0)
		return true;

	uint32_t id = o->id;
	/* An alias that is new to the client comes with the topic. */
	struct msg_out how = { .ids = &id, .n_ids = id != 0, .version = c->version, .qos = o->qos,
		.alias = c->alias_max_out > 0, .strip = c->mount_n };

	if (o->kind == OUT_MANY) {
		how.ids = o->many->ids;
		how.n_ids = o->many->n;
	}
	return msg_wire_size(out_msg(o), &how) <= c->max_packet_out;
}

static enum broker_drop
drop_reason(const struct client *c)
{
	if (!c->dropping)
		return BROKER_DROP_NO_MEMORY;
	if (c->shard->shed != BROKER_SHED_NONE && c->out_bytes <= settings_of(c->shard)->max_out_bytes)
		return BROKER_DROP_SHED;
	return pace_is_slow(c) ? BROKER_DROP_RATE : BROKER_DROP_SLOW;
}

bool
out_publish(struct client *c, const struct out *src)
{
	struct msg *m = out_msg(src);
	size_t limit = c->shard->shed == BROKER_SHED_NONE ? settings_of(c->shard)->max_out_bytes : shed_out_max(c->shard);
	struct out *o;

	/* A slow reader loses QoS 0, not the broker its memory. QoS > 0 is bounded by the window. */
	c->dropping = c->out_bytes > limit || (c->dropping && c->out_bytes > limit / 2);
	if ((src->qos == 0 && c->dropping && src->flight != OUT_ANSWER) || (o = out_room(c)) == NULL) {
		struct out copy = *src;

		/* It is in flight and would hold its place in the window for ever: the next connection gets it. Not ended
		 * here, where others are being served. */
		if (src->qos > 0) {
			c->starved = true;
			wake(&c->waker);
		}
		session_dropped(c->session, drop_reason(c));
		out_release(&copy);
		return false;
	}
	*o = *src;
	c->out_bytes += msg_size(m);
	return true;
}

/* The alias for <topic>, or 0; *ret_known tells whether the client knows it already. */
static uint16_t
alias_for(struct client *c, struct slice topic, bool *ret_known)
{
	struct alias_out *a = c->alias_out;

	*ret_known = false;
	if (a == NULL) {
		a = calloc(1, sizeof *a + c->alias_max_out * sizeof a->topic[0]);
		if ((c->alias_out = a) == NULL)
			return 0;
	}
	for (uint16_t i = 0; i < a->n; i++)
		if (slice_eq(slice_of(a->topic[i]->bytes, a->topic[i]->n), topic)) {
			*ret_known = true;
			return (uint16_t)(i + 1);
		}
	if (a->n == c->alias_max_out)
		return 0;
	struct block *b = malloc(sizeof *b + topic.n);
	if (b == NULL)
		return 0;
	b->n = (uint32_t)topic.n;
	memcpy(b->bytes, topic.p, topic.n);
	a->topic[a->n++] = b;
	return a->n;
}

static int
lend_message(struct client *c, struct out *o, uint8_t *scratch, struct iovec *iov)
{
	struct msg *m = out_msg(o);
	uint32_t id = o->id;
	struct msg_out how = { .ids = &id, .n_ids = id != 0, .packet_id = o->packet_id, .version = c->version,
		.qos = o->qos, .dup = o->dup, .retain = o->retain, .strip = c->mount_n };

	stat_add(c->shard, messages_out[o->qos], 1);
	c->messages_out++;
	stat_add(c->shard, payload_out[o->qos], m->payload_n);
	if (o->kind == OUT_MANY) {
		how.ids = o->many->ids;
		how.n_ids = o->many->n;
	}
	if (c->alias_max_out > 0)
		how.alias = alias_for(c, msg_topic(m), &how.alias_only);
	return msg_pieces(m, &how, c->shard->now_s, scratch, iov);
}

/* More identifiers than the common scratch has room for: bytes of their own, put in place of the message. */
static int
lend_many(struct client *c, struct out *o, struct iovec *iov)
{
	size_t scratch_n = MSG_SCRATCH + 5u * o->many->n;
	uint8_t *scratch = malloc(scratch_n);
	size_t n = 0;
	struct block *b;
	int k;

	if (scratch == NULL) {
		c->starved = true;
		return 0;
	}
	k = lend_message(c, o, scratch, iov);
	for (int i = 0; i < k; i++)
		n += iov[i].iov_len;
	if ((b = malloc(sizeof *b + n)) == NULL) {
		free(scratch);
		c->starved = true; /* it may have been the one that tells a topic alias, too */
		return 0;
	}
	b->n = 0;
	for (int i = 0; i < k; i++) {
		memcpy(b->bytes + b->n, iov[i].iov_base, iov[i].iov_len);
		b->n += (uint32_t)iov[i].iov_len;
	}
	free(scratch);
	c->out_bytes += b->n - msg_size(out_msg(o));
	out_release(o);
	o->kind = OUT_BLOCK;
	o->block = b;
	iov[0] = (struct iovec){ b->bytes, b->n };
	return 1;
}

static int
lend(struct client *c, struct out *o, uint8_t *scratch, struct iovec *iov)
{
	switch (o->kind) {
	case OUT_RAW:
		iov[0] = (struct iovec){ o->raw, o->raw_n };
		return 1;
	case OUT_BLOCK:
		iov[0] = (struct iovec){ o->block->bytes, o->block->n };
		return 1;
	case OUT_MANY:
		return lend_many(c, o, iov);
	default:
		return lend_message(c, o, scratch, iov);
	}
}

int
out_pull(struct client *c, struct iovec *iov, int max)
{
	struct shard *sh = c->shard;
	uint32_t open = gate_open(c);
	size_t bytes = 0;
	int n = 0;

	ASSERT_HOT(c->lent == 0);
	while (c->lent < open && c->lent < LEND_PACKETS_MAX && n + MSG_PIECES <= max && bytes < LEND_BYTES_MAX) {
		struct out *o = ring_at(&c->out, c->lent);
		bool is_paced = c->pace != NULL && (o->kind == OUT_MSG || o->kind == OUT_MANY);
		size_t before = bytes;
		int k;

		if (is_paced && !pace_may_send(c))
			break;
		if (settings_of(sh)->trace)
			trace_out(c, o);
		k = lend(c, o, sh->scratch + (size_t)c->lent * MSG_SCRATCH, iov + n);
		for (int i = n; i < n + k; i++)
			bytes += iov[i].iov_len;
		if (is_paced)
			pace_out(c, bytes - before);
		n += k;
		c->lent++;
	}
	stat_add(sh, bytes_out, bytes);
	c->bytes_out += bytes;
	stat_add(sh, packets_out, c->lent);
	if (n == 0 && c->lent > 0)
		out_sent(c); /* nothing but packets for which there was no memory */
	return n;
}

void
out_sent(struct client *c)
{
	uint32_t lent = c->lent;

	for (uint32_t i = 0; i < lent; i++) {
		struct out *o = ring_at(&c->out, i);

		if (o->kind == OUT_BLOCK)
			c->out_bytes -= o->block->n;
		else if (o->kind != OUT_RAW)
			c->out_bytes -= msg_size(out_msg(o));
		out_release(o);
	}
	c->lent = 0;
	c->out_base += lent;
	ring_drop(&c->out, lent);
}

void
out_clear(struct client *c)
{
	c->lent = 0;
	for (uint32_t i = 0; i < c->out.count; i++)
		out_release(ring_at(&c->out, i));
	ring_drop(&c->out, c->out.count);
	c->out_bytes = 0;
	for (uint16_t i = 0; c->alias_out != NULL && i < c->alias_out->n; i++)
		free(c->alias_out->topic[i]);
	free(c->alias_out);
	c->alias_out = NULL;
}
