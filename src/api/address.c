/* How many connections there are from each address: nobody takes all of them. */
#include "api/internal.h"

#include <stdlib.h>

struct address {
	size_t key_n;
	unsigned n;
	uint8_t key[16];
};

static struct slice
address_key(const void *value)
{
	const struct address *a = value;

	return slice_of(a->key, a->key_n);
}

/* Of IPv6 the network counts: a host has 2^64 addresses to choose from. */
static struct slice
address_of(const struct sockaddr_storage *s)
{
	if (s->ss_family == AF_INET)
		return slice_of(&((const struct sockaddr_in *)(const void *)s)->sin_addr, 4);
	if (s->ss_family == AF_INET6)
		return slice_of(&((const struct sockaddr_in6 *)(const void *)s)->sin6_addr, 8);
	return SL("unix");
}

struct address *
address_take(struct api *a, const struct sockaddr_storage *s)
{
	struct slice key = address_of(s);
	struct address *x;

	if (a->addresses.key == NULL)
		map_init(&a->addresses, address_key);
	x = map_get(&a->addresses, key);
	if (x != NULL) {
		if (x->n >= a->config->max_per_address)
			return NULL;
		x->n++;
		return x;
	}
	x = calloc(1, sizeof(*x));
	if (x == NULL)
		return NULL;
	x->n = 1;
	x->key_n = key.n;
	memcpy(x->key, key.p, key.n);
	if (map_put(&a->addresses, x))
		return x;
	free(x);
	return NULL;
}

void
address_give(struct api *a, struct address *x)
{
	if (x == NULL || --x->n > 0)
		return;
	(void)map_del(&a->addresses, address_key(x));
	free(x);
}
