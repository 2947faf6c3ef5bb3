/* Who may come in at all, before a byte is read or a key is touched: connections a second of a listener, of a network and of an
 * address. A listener above its rate leaves the next ones in the kernel's queue; an address or network above its own is closed. */
#include "server/internal.h"

#include <netinet/in.h>

#include "base/map.h"
#include "base/num.h"

enum {
	NS = 1000000000,
	NS_MS = 1000000,
	BURST_S = 10, /* what an address or network holds: devices come back in groups, and try again */
	KEY_N = 17,
	NETWORK_4 = 3, NETWORK_6 = 8, /* bytes: /24 and /64 */
};

struct origin {
	uint8_t bytes[KEY_N]; /* the family and the address; zeros behind it */
	size_t n, network_n;  /* with the family */
};

/* False: a unix socket has no address. */
static bool
origin_of(const struct sockaddr *a, struct origin *ret)
{
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;
	const uint8_t *p = (const void *)&six->sin6_addr;

	memset(ret, 0, sizeof(*ret));
	if (a->sa_family == AF_INET)
		p = (const void *)&four->sin_addr;
	else if (a->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
		p += 12;
	else if (a->sa_family == AF_INET6) {
		ret->bytes[0] = 6;
		ret->n = 17;
		ret->network_n = 1 + NETWORK_6;
		memcpy(ret->bytes + 1, p, 16);
		return true;
	} else
		return false;
	ret->bytes[0] = 4;
	ret->n = 5;
	ret->network_n = 1 + NETWORK_4;
	memcpy(ret->bytes + 1, p, 4);
	return true;
}

/* A key of this listener; <n>: how much of the origin counts. Networks and addresses do not meet: their lengths differ. */
static uint64_t
key_of(const struct listener *l, const struct origin *o, size_t n)
{
	uint8_t text[sizeof(o->bytes) + 2];

	memcpy(text, o->bytes, n);
	text[n] = (uint8_t)l->index;
	text[n + 1] = (uint8_t)n;
	return map_hash(slice_of(text, n + 2));
}

static struct bucket_rule
rule_of(int64_t rate)
{
	return (struct bucket_rule){ .every_ns = NS / (uint64_t)rate, .burst = (uint64_t)rate * BURST_S };
}

uint64_t
admit_wait(struct listener *l, uint64_t now_ms)
{
	uint64_t rate = (uint64_t)l->config->connect_rate, at;

	if (rate == 0)
		return 0;
	at = atomic_load_explicit(&l->connect_ns, memory_order_relaxed) + NS / rate;
	return at > now_ms * NS_MS ? (at - now_ms * NS_MS + NS_MS - 1) / NS_MS : 0;
}

/* One second's connections are held, as with the rates of messages. */
static void
count(struct listener *l, uint64_t now_ms)
{
	uint64_t rate = (uint64_t)l->config->connect_rate, now = now_ms * NS_MS, oldest = now > NS ? now - NS : 0;
	uint64_t old = atomic_load_explicit(&l->connect_ns, memory_order_relaxed), new;

	do
		new = NUM_MAX(old, oldest) + NS / rate;
	while (!atomic_compare_exchange_weak_explicit(
	    &l->connect_ns, &old, new, memory_order_relaxed, memory_order_relaxed));
}

const char *
admit(struct listener *l, const struct sockaddr *addr, uint64_t now_ms)
{
	int64_t network_rate = l->config->network_connect_rate, address_rate = l->config->address_connect_rate;
	struct bucket_rule network, address;
	struct origin o;

	if (atomic_load_explicit(&l->server->memory.level, memory_order_relaxed) >= BROKER_SHED_CONNECTS &&
	    l->config->protocol != CONFIG_METRICS)
		return WHY_MEMORY;
	if (l->config->connect_rate != 0)
		count(l, now_ms);
	if ((network_rate == 0 && address_rate == 0) || !origin_of(addr, &o))
		return NULL;
	/* The address first: what it is refused does not use up the rate of its neighbours. */
	if (address_rate != 0) {
		address = rule_of(address_rate);
		if (!buckets_try(l->server->origins, key_of(l, &o, o.n), &address, now_ms * NS_MS))
			return WHY_ADDRESS_RATE;
	}
	if (network_rate != 0) {
		network = rule_of(network_rate);
		if (!buckets_try(l->server->origins, key_of(l, &o, o.network_n), &network, now_ms * NS_MS))
			return WHY_NETWORK_RATE;
	}
	return NULL;
}
