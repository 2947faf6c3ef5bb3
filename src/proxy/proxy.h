/* The PROXY protocol, versions 1 and 2: what a load balancer says in front of a connection about the client that it speaks for.
 * Bytes in, facts out; whom to believe is the caller's to decide. */
#ifndef PROXY_PROXY_H
#define PROXY_PROXY_H

#include <sys/socket.h>
#include "base/slice.h"

enum {
	PROXY_V1_MAX = 107,  /* the longest line of version 1, section 2.1 of the specification */
	PROXY_MAX = 16 + 8192, /* the longest header that is taken; a client's certificate fits */
};

enum proxy_result {
	PROXY_MORE, /* so far so good: ask again with more */
	PROXY_DONE,
	PROXY_BAD, /* .why */
};

struct proxy_header {
	size_t used;     /* bytes of the header; what follows is the client's */
	const char *why; /* PROXY_BAD: what is wrong, static text */
	/* The proxy speaks for itself (LOCAL, a health check), or does not say for whom (UNKNOWN, UNSPEC): the connection's own
	 * address holds. */
	bool local, unknown;
	struct sockaddr_storage client; /* else: the client's, AF_INET, AF_INET6 or AF_UNIX */
	/* The TLV of type PP2_TYPE_SSL, section 2.2.6. */
	bool ssl;              /* the client spoke TLS with the proxy */
	bool certificate;      /* it has shown one, on this connection or in the session that was resumed */
	bool verified;         /* and the proxy has verified it */
	struct slice cn;       /* its common name, as the proxy says; borrowed; n == 0: not said */
	struct slice tls_version, cipher; /* the same */
};

/* Look for a header of <version>, 1 or 2, at the beginning of <in>. <ret> is written unless it returns PROXY_MORE. A checksum
 * (PP2_TYPE_CRC32C) that is there is verified. [PROXY protocol, 2.1 and 2.2] */
enum proxy_result proxy_read(unsigned version, struct slice in, struct proxy_header *ret);

/* ---- addresses, to say who may send a header ---- */

struct proxy_range {
	uint8_t family; /* AF_INET, AF_INET6 or AF_UNIX */
	uint8_t bits;   /* of <addr> that count */
	uint8_t addr[16];
};
/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "unix". False: none of these, or bits behind the mask are set. */
bool proxy_range_parse(struct slice text, struct proxy_range *ret);
/* Is <a> in one of <n> ranges? An IPv4 address in IPv6's clothes counts as IPv4. */
bool proxy_range_has(const struct proxy_range *r, unsigned n, const struct sockaddr_storage *a);

#endif
