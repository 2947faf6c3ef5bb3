/* Addresses by their first bits: whom to believe. */
#include "proxy/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "base/text.h"

/* The bytes of an address; their number, 0 for unix sockets. */
static size_t
bytes_of(const struct sockaddr_storage *a, uint8_t *ret_family, uint8_t out[16])
{
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;

	*ret_family = (uint8_t)a->ss_family;
	if (a->ss_family == AF_INET) {
		memcpy(out, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
		return 4;
	}
	if (a->ss_family != AF_INET6)
		return 0;
	if (IN6_IS_ADDR_V4MAPPED(six)) {
		*ret_family = AF_INET;
		memcpy(out, six->s6_addr + 12, 4);
		return 4;
	}
	memcpy(out, six->s6_addr, 16);
	return 16;
}

static bool
same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

bool
proxy_range_parse(struct slice text, struct proxy_range *ret)
{
	struct proxy_range r = { 0 };
	bool masked;
	struct slice addr = slice_cut(&text, '/', &masked);
	char word[INET6_ADDRSTRLEN];
	uint64_t bits = 0;
	unsigned size;

	if (slice_eq(addr, SL("unix")) && !masked) {
		*ret = (struct proxy_range){ .family = AF_UNIX };
		return true;
	}
	if (!text_copy(word, sizeof(word), addr))
		return false;
	if (inet_pton(AF_INET, word, r.addr) == 1)
		r.family = AF_INET;
	else if (inet_pton(AF_INET6, word, r.addr) == 1)
		r.family = AF_INET6;
	else
		return false;
	size = r.family == AF_INET ? 32 : 128;
	bits = size;
	if (masked && !text_u64(text, 0, size, &bits))
		return false;
	r.bits = (uint8_t)bits;
	/* "10.1.2.3/8" is more often a slip than a way to write 10.0.0.0/8. */
	for (unsigned i = r.bits; i < size; i++)
		if ((r.addr[i / 8] >> (7 - i % 8) & 1) != 0)
			return false;
	*ret = r;
	return true;
}

bool
proxy_range_has(const struct proxy_range *r, unsigned n, const struct sockaddr_storage *a)
{
	uint8_t family, addr[16] = { 0 };

	(void)bytes_of(a, &family, addr);
	for (unsigned i = 0; i < n; i++)
		if (r[i].family == family && same_bits(r[i].addr, addr, r[i].bits))
			return true;
	return false;
}
