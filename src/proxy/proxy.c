/* PROXY protocol: https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt */
#include "proxy/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "base/num.h"
#include "base/rd.h"
#include "base/text.h"

enum {
	V2_HEAD = 16,
	V2_LOCAL = 0x20,
	V2_PROXY = 0x21,
	FAMILY_UNSPEC = 0,
	FAMILY_INET = 1,
	FAMILY_INET6 = 2,
	FAMILY_UNIX = 3,
	TRANSPORT_STREAM = 1,
	UNIX_PATH = 108, /* of each of the two addresses */
	TLV_CRC32C = 0x03,
	TLV_SSL = 0x20,
	TLV_SSL_VERSION = 0x21,
	TLV_SSL_CN = 0x22,
	TLV_SSL_CIPHER = 0x23,
	CLIENT_SSL = 1,
	CLIENT_CERT_CONN = 2,
	CLIENT_CERT_SESS = 4,
};

static const uint8_t v2_signature[] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_result
bad(struct proxy_header *h, const char *why)
{
	*h = (struct proxy_header){ .why = why };
	return PROXY_BAD;
}

/* ---- version 1: a line of text ---- */

static bool
word_is(struct slice *line, struct slice word)
{
	bool more;
	struct slice first = slice_cut(line, ' ', &more);

	return slice_eq(first, word);
}

static bool
read_v1_address(struct slice word, bool six, struct sockaddr_storage *ret)
{
	char text[INET6_ADDRSTRLEN];

	if (!text_copy(text, sizeof(text), word))
		return false;
	if (six) {
		ret->ss_family = AF_INET6;
		return inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)(void *)ret)->sin6_addr) == 1;
	}
	ret->ss_family = AF_INET;
	return inet_pton(AF_INET, text, &((struct sockaddr_in *)(void *)ret)->sin_addr) == 1;
}

/* "ADDRESS ADDRESS PORT PORT", of the client and of the proxy. */
static bool
read_v1_pair(struct slice line, bool six, struct sockaddr_storage *ret)
{
	struct sockaddr_storage other = { 0 };
	struct slice word[4];
	uint64_t port = 0, other_port = 0;
	bool more = true;

	for (size_t i = 0; i < ARRAY_LEN(word); i++) {
		if (!more)
			return false;
		word[i] = slice_cut(&line, ' ', &more);
	}
	if (more || !read_v1_address(word[0], six, ret) || !read_v1_address(word[1], six, &other) ||
	    !text_u64(word[2], 0, 65535, &port) || !text_u64(word[3], 0, 65535, &other_port))
		return false;
	if (six)
		((struct sockaddr_in6 *)(void *)ret)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)(void *)ret)->sin_port = htons((uint16_t)port);
	return true;
}

static enum proxy_result
read_v1(struct slice in, struct proxy_header *ret)
{
	static const struct slice begin = { (const uint8_t *)"PROXY ", 6 };
	struct slice seen = { in.p, NUM_MIN(in.n, (size_t)PROXY_V1_MAX) }, line;
	const uint8_t *end;
	struct proxy_header h = { 0 };

	if (!slice_starts(seen, (struct slice){ begin.p, NUM_MIN(begin.n, seen.n) }))
		return bad(ret, "the first bytes are no PROXY line of version 1");
	end = seen.n > 0 ? memchr(seen.p, '\n', seen.n) : NULL;
	if (end == NULL)
		return in.n < PROXY_V1_MAX ? PROXY_MORE : bad(ret, "the PROXY line is longer than 107 bytes");
	h.used = (size_t)(end - seen.p) + 1;
	if (h.used <= begin.n || end[-1] != '\r')
		return bad(ret, "the PROXY line does not end with CR LF");
	line = slice_of(seen.p + begin.n, h.used - begin.n - 2);
	if (slice_eq(line, SL("UNKNOWN")) || slice_starts(line, SL("UNKNOWN "))) {
		h.unknown = true;
		*ret = h;
		return PROXY_DONE;
	}
	if (slice_starts(line, SL("TCP4 ")) && word_is(&line, SL("TCP4")) ? read_v1_pair(line, false, &h.client)
	    : slice_starts(line, SL("TCP6 ")) && word_is(&line, SL("TCP6")) ? read_v1_pair(line, true, &h.client)
									    : false) {
		*ret = h;
		return PROXY_DONE;
	}
	return bad(ret, "the PROXY line has not the form TCP4|TCP6 ADDRESS ADDRESS PORT PORT");
}

/* ---- version 2: bytes ---- */

/* CRC-32C (RFC 3720 B.4) of <s>, where the <hole> of four bytes counts as zeros. */
static uint32_t
crc32c(struct slice s, const uint8_t *hole)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < s.n; i++) {
		bool blank = s.p + i >= hole && s.p + i < hole + 4;

		crc ^= blank ? 0 : s.p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

/* "Unspecified" is for a proxy that does not know. */
static const char *
read_v2_address(struct rd *r, uint8_t family, struct proxy_header *h)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&h->client;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&h->client;
	struct slice from, path;

	switch (family >> 4) {
	case FAMILY_INET:
		from = rd_take(r, 8);
		if (!rd_ok(r))
			return "it is too short for two IPv4 addresses";
		v4->sin_family = AF_INET;
		memcpy(&v4->sin_addr, from.p, 4);
		v4->sin_port = htons(rd_u16(r));
		(void)rd_u16(r);
		break;
	case FAMILY_INET6:
		from = rd_take(r, 32);
		if (!rd_ok(r))
			return "it is too short for two IPv6 addresses";
		v6->sin6_family = AF_INET6;
		memcpy(&v6->sin6_addr, from.p, 16);
		v6->sin6_port = htons(rd_u16(r));
		(void)rd_u16(r);
		break;
	case FAMILY_UNIX:
		path = rd_take(r, 2 * UNIX_PATH);
		if (!rd_ok(r))
			return "it is too short for two paths";
		h->client.ss_family = AF_UNIX;
		memcpy(((struct sockaddr_un *)(void *)&h->client)->sun_path, path.p, UNIX_PATH);
		break;
	case FAMILY_UNSPEC:
		h->unknown = true;
		return NULL;
	default:
		return "its address family is none of IPv4, IPv6 and unix";
	}
	if ((family & 0xf) != TRANSPORT_STREAM)
		return "its transport is not a stream";
	return rd_ok(r) ? NULL : "it is too short for two ports";
}

static const char *
read_ssl(struct slice value, struct proxy_header *h)
{
	struct rd r = rd_of(value);
	uint8_t client = rd_u8(&r);
	uint32_t verify = rd_u32(&r);

	if (!rd_ok(&r))
		return "its SSL TLV is too short";
	h->ssl = (client & CLIENT_SSL) != 0;
	h->certificate = (client & (CLIENT_CERT_CONN | CLIENT_CERT_SESS)) != 0;
	h->verified = h->certificate && verify == 0;
	while (rd_left(&r) > 0) {
		uint8_t type = rd_u8(&r);
		struct slice v = rd_str(&r);

		if (!rd_ok(&r))
			return "a TLV within its SSL TLV is longer than that";
		if (type == TLV_SSL_CN)
			h->cn = v;
		else if (type == TLV_SSL_VERSION)
			h->tls_version = v;
		else if (type == TLV_SSL_CIPHER)
			h->cipher = v;
	}
	return NULL;
}

static const char *
read_tlvs(struct rd *r, struct slice whole, struct proxy_header *h)
{
	const char *why = NULL;
	bool ssl_seen = false, crc_seen = false;

	while (why == NULL && rd_left(r) > 0) {
		uint8_t type = rd_u8(r);
		struct slice v = rd_str(r);

		if (!rd_ok(r))
			return "a TLV is longer than the header";
		if (type == TLV_CRC32C) {
			struct rd sum = rd_of(v);

			/* Computed once: a header full of them would be work. */
			if (crc_seen || v.n != 4 || rd_u32(&sum) != crc32c(whole, v.p))
				return "its checksum is wrong";
			crc_seen = true;
		} else if (type == TLV_SSL) {
			/* Of two that differ one would be believed. */
			if (ssl_seen)
				return "it has two SSL TLVs";
			ssl_seen = true;
			why = read_ssl(v, h);
		}
	}
	return why;
}

static enum proxy_result
read_v2(struct slice in, struct proxy_header *ret)
{
	struct slice signature = { v2_signature, sizeof(v2_signature) - 1 };
	struct proxy_header h = { 0 };
	const char *why = NULL;
	uint8_t command, family;
	struct rd r = rd_of(in);

	if (!slice_starts(in, (struct slice){ signature.p, NUM_MIN(signature.n, in.n) }))
		return bad(ret, "the first bytes are no PROXY header of version 2");
	if (in.n < V2_HEAD)
		return PROXY_MORE;
	(void)rd_take(&r, signature.n);
	command = rd_u8(&r);
	family = rd_u8(&r);
	h.used = V2_HEAD + (size_t)rd_u16(&r);
	if (command != V2_LOCAL && command != V2_PROXY)
		return bad(ret, "its version is not 2, or its command neither LOCAL nor PROXY");
	if (h.used > PROXY_MAX)
		return bad(ret, "the PROXY header is longer than 8 KiB");
	if (in.n < h.used)
		return PROXY_MORE;
	in.n = h.used;
	r = rd_of(slice_from(in, V2_HEAD));
	h.local = command == V2_LOCAL;
	/* "The receiver must ignore" what stands in LOCAL's address block; its TLVs cannot be found then. */
	if (!h.local)
		why = read_v2_address(&r, family, &h);
	if (!h.local && why == NULL && !h.unknown)
		why = read_tlvs(&r, in, &h);
	if (why != NULL)
		return bad(ret, why);
	*ret = h;
	return PROXY_DONE;
}

enum proxy_result
proxy_read(unsigned version, struct slice in, struct proxy_header *ret)
{
	if (in.n == 0)
		return PROXY_MORE;
	return version == 1 ? read_v1(in, ret) : read_v2(in, ret);
}
