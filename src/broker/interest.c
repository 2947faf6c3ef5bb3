/* Which shards may care for a topic: a summary of the first topic levels of every shard's filters. False positives are
 * allowed, false negatives never: a shard's counters go up before its SUBACK leaves. Counters are atomic, written by the
 * shard that subscribes, read by every publisher. */
#include "broker/internal.h"

/* A multiplicative hash of the bytes before <depth> levels end; quality matters little, a collision costs one mail. */
static uint32_t
slot_of(uint64_t h, unsigned depth)
{
	h = (h ^ (uint64_t)(depth + 1) * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
	return (uint32_t)(h >> 40) & (INTEREST_SLOTS - 1);
}

static uint64_t
mix(uint64_t h, struct slice level)
{
	for (size_t i = 0; i < level.n; i++)
		h = (h ^ level.p[i]) * 0x100000001b3u;
	return (h ^ '/') * 0x100000001b3u;
}

/* The slot of the literal levels in front of the first wildcard. ("a/#" also matches "a": that name is looked up under all
 * of its levels too.) */
static uint32_t
filter_slot(struct slice filter)
{
	uint64_t h = 0xcbf29ce484222325u;
	unsigned depth = 0;
	bool more = true;

	while (more && depth < INTEREST_DEPTH) {
		struct slice level = slice_cut(&filter, '/', &more);

		if (level.n == 1 && (level.p[0] == '+' || level.p[0] == '#'))
			break;
		h = mix(h, level);
		depth++;
	}
	return slot_of(h, depth);
}

static struct interest *
table(const struct broker *b, unsigned shard)
{
	return b->interest + (size_t)shard * INTEREST_SLOTS;
}

void
interest_add(struct broker *b, unsigned shard, struct slice filter)
{
	atomic_fetch_add_explicit(&table(b, shard)[filter_slot(filter)].count, 1, memory_order_release);
}

void
interest_del(struct broker *b, unsigned shard, struct slice filter)
{
	atomic_fetch_sub_explicit(&table(b, shard)[filter_slot(filter)].count, 1, memory_order_release);
}

struct interest_key
interest_key_of(struct slice topic)
{
	struct interest_key k = { .n = 0 };
	uint64_t h = 0xcbf29ce484222325u;
	bool more = true;

	_Static_assert(INTEREST_SLOTS <= UINT16_MAX + 1, "a slot's number fits");
	for (unsigned depth = 0; depth <= INTEREST_DEPTH; depth++) {
		k.slot[k.n++] = (uint16_t)slot_of(h, depth);
		if (!more)
			break;
		h = mix(h, slice_cut(&topic, '/', &more));
	}
	return k;
}

bool
interest_any(const struct broker *b, unsigned shard, const struct interest_key *k)
{
	const struct interest *t = table(b, shard);

	for (unsigned i = 0; i < k->n; i++)
		if (atomic_load_explicit(&t[k->slot[i]].count, memory_order_acquire) > 0)
			return true;
	return false;
}
