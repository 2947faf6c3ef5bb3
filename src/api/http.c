/* One HTTP/1.1 request head and the chunks of a body. */
#include "api/http.h"

#include <stdio.h>
#include <strings.h>

#include "base/num.h"
#include "base/text.h"

static const char *const methods[HTTP_METHODS] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };

const char *
http_method_name(enum http_method m)
{
	return methods[m];
}

static ptrdiff_t
fail(struct http_fault *f, unsigned status, const char *what)
{
	*f = (struct http_fault){ status, what };
	return -1;
}

static bool
refuse(struct http_fault *f, unsigned status, const char *what)
{
	return fail(f, status, what) >= 0;
}

/* A line up to CR LF, which is not part of it; a CR or LF alone ends nothing (RFC 9112 2.2). */
static bool
take_line(struct slice *in, struct slice *ret)
{
	bool more;
	struct slice line = slice_cut(in, '\n', &more);

	if (!more || line.n == 0 || line.p[line.n - 1] != '\r')
		return false;
	line.n--;
	*ret = line;
	return line.n == 0 || memchr(line.p, '\r', line.n) == NULL;
}

/* ---- the request line ---- */

/* RFC 9112 3.2.2: a server takes the form for proxies, too; who it is meant for is of no interest here. */
static bool
origin_form(struct slice target, struct slice *ret)
{
	static const char *const schemes[] = { "https://", "http://" };

	for (size_t i = 0; i < ARRAY_LEN(schemes) && target.n > 0 && target.p[0] != '/'; i++) {
		size_t n = strlen(schemes[i]);
		const uint8_t *slash;

		if (target.n <= n || strncasecmp((const char *)target.p, schemes[i], n) != 0)
			continue;
		target = slice_from(target, n);
		slash = memchr(target.p, '/', target.n);
		if (slash == NULL || slash == target.p)
			return false;
		target = slice_from(target, (size_t)(slash - target.p));
	}
	*ret = target;
	return target.n > 0 && target.p[0] == '/';
}

static bool
read_method(struct slice word, struct http_head *h, struct http_fault *f)
{
	for (unsigned i = 0; i < HTTP_METHODS; i++) {
		if (!slice_eq(word, slice_str(methods[i])))
			continue;
		h->method = (enum http_method)i;
		return true;
	}
	return text_is_token(word) ? refuse(f, 501, "the method is none that is known here")
			      : refuse(f, 400, "the method is not a word");
}

static bool
read_version(struct slice s, struct http_head *h, struct http_fault *f)
{
	h->http_10 = slice_eq(s, SL("HTTP/1.0"));
	if (h->http_10 || slice_eq(s, SL("HTTP/1.1")))
		return true;
	return slice_starts(s, SL("HTTP/")) ? refuse(f, 505, "the version of HTTP is not 1.1 or 1.0")
					    : refuse(f, 400, "the request line does not end with HTTP/1.1");
}

static bool
read_request_line(struct slice line, struct http_head *h, struct http_fault *f)
{
	bool more;
	struct slice method = slice_cut(&line, ' ', &more), target = slice_cut(&line, ' ', &more);

	if (!more)
		return refuse(f, 400, "the request line is not METHOD TARGET HTTP/1.1");
	if (!read_version(line, h, f) || !read_method(method, h, f))
		return false;
	if (target.n > HTTP_TARGET_MAX)
		return refuse(f, 414, "the target of the request is longer than 4096 bytes");
	if (!origin_form(target, &h->target))
		return refuse(f, 400, "the target of the request is not a path");
	for (size_t i = 0; i < h->target.n; i++)
		if (h->target.p[i] <= ' ' || h->target.p[i] >= 0x7f)
			return refuse(f, 400, "the target of the request has a byte that must be written as %XX");
	return true;
}

/* ---- headers ---- */

static bool
read_header(struct slice line, struct http_head *h, struct http_fault *f)
{
	bool colon;
	struct http_header x = { .name = slice_cut(&line, ':', &colon) };

	if (h->n_headers == HTTP_HEADERS_MAX)
		return refuse(f, 431, "there are more than 64 header lines");
	/* A blank in front of the colon or at the front of the line (obsolete folding) is no token, too. */
	if (!colon || !text_is_token(x.name))
		return refuse(f, 400, "a header line is not NAME: VALUE");
	x.value = text_trim(line);
	for (size_t i = 0; i < x.value.n; i++)
		if ((x.value.p[i] < ' ' && x.value.p[i] != '\t') || x.value.p[i] == 0x7f)
			return refuse(f, 400, "a header has a control character in it");
	h->headers[h->n_headers++] = x;
	return true;
}

bool
http_header(const struct http_head *h, const char *name, struct slice *ret)
{
	struct slice found = { 0 };

	for (unsigned i = 0; i < h->n_headers; i++) {
		if (!text_same_word(h->headers[i].name, name))
			continue;
		if (found.p != NULL)
			return false;
		found = h->headers[i].value;
	}
	*ret = found;
	return true;
}

/* What decides where the body ends must be said once and in one way (RFC 9112 6.3). */
static bool
read_framing(struct http_head *h, struct http_fault *f)
{
	struct slice length, coding;

	if (!http_header(h, "Content-Length", &length) || !http_header(h, "Transfer-Encoding", &coding))
		return refuse(f, 400, "Content-Length or Transfer-Encoding is there more than once");
	if (length.p != NULL && coding.p != NULL)
		return refuse(f, 400, "Content-Length and Transfer-Encoding exclude each other");
	if (coding.p != NULL && h->http_10)
		return refuse(f, 400, "HTTP/1.0 has no Transfer-Encoding");
	if (coding.p != NULL && !text_same_word(coding, "chunked"))
		return refuse(f, 501, "the only Transfer-Encoding is chunked");
	h->chunked = coding.p != NULL;
	return length.p == NULL || text_u64(length, 0, UINT64_MAX / 2, &h->length) ||
	       refuse(f, 400, "Content-Length is not a number");
}

static bool
read_connection(struct http_head *h, struct http_fault *f)
{
	struct slice host, expect, connection;

	if (!http_header(h, "Host", &host) || (host.p == NULL && !h->http_10))
		return refuse(f, 400, "there must be one Host header");
	if (!http_header(h, "Expect", &expect) || (expect.p != NULL && !text_same_word(expect, "100-continue")))
		return refuse(f, 417, "the only expectation that is met is 100-continue");
	if (!http_header(h, "Connection", &connection))
		return refuse(f, 400, "there is more than one Connection header");
	h->expects = expect.p != NULL && !h->http_10;
	h->close = text_has_word(connection, "close") || (h->http_10 && !text_has_word(connection, "keep-alive"));
	return true;
}

ptrdiff_t
http_read_head(struct slice in, struct http_head *ret, struct http_fault *ret_fault)
{
	const uint8_t *end = in.n > 0 ? memmem(in.p, in.n, "\r\n\r\n", 4) : NULL;
	struct slice rest = in, line;
	struct http_head h = { 0 };

	if (end == NULL || (size_t)(end - in.p) + 4 > HTTP_HEAD_MAX) {
		/* What ends its lines with LF alone would wait here for ever. */
		if (in.n > 0 && memmem(in.p, in.n, "\n\n", 2) != NULL)
			return fail(ret_fault, 400, "lines end with CR and LF");
		return in.n < HTTP_HEAD_MAX && end == NULL ? 0 : fail(ret_fault, 431, "the head of the request is longer than 16 KiB");
	}
	rest.n = (size_t)(end - in.p) + 4;
	if (!take_line(&rest, &line))
		return fail(ret_fault, 400, "lines end with CR and LF");
	if (!read_request_line(line, &h, ret_fault))
		return -1;
	for (;;) {
		if (!take_line(&rest, &line))
			return fail(ret_fault, 400, "lines end with CR and LF");
		if (line.n == 0)
			break;
		if (!read_header(line, &h, ret_fault))
			return -1;
	}
	if (!read_framing(&h, ret_fault) || !read_connection(&h, ret_fault))
		return -1;
	*ret = h;
	return end + 4 - in.p;
}

/* ---- chunks ---- */

enum chunk_state { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER };

/* The length in hexadecimal; what stands behind a semicolon means nothing to us. */
static bool
read_size(struct slice line, uint64_t *ret)
{
	bool more;
	struct slice digits = text_trim(slice_cut(&line, ';', &more));
	uint64_t n = 0;

	if (digits.n == 0 || digits.n > 15)
		return false;
	for (size_t i = 0; i < digits.n; i++) {
		uint8_t c = digits.p[i], lower = (uint8_t)(c | 0x20);

		if (c >= '0' && c <= '9')
			n = n << 4 | (uint8_t)(c - '0');
		else if (lower >= 'a' && lower <= 'f')
			n = n << 4 | (uint8_t)(lower - 'a' + 10);
		else
			return false;
	}
	*ret = n;
	return true;
}

/* A whole line at the front; 0: it has not come yet. */
static ptrdiff_t
chunk_line(struct slice in, struct slice *ret, struct http_fault *f)
{
	struct slice rest = in;

	if (in.n == 0 || memchr(in.p, '\n', in.n) == NULL)
		return in.n < HTTP_CHUNK_LINE_MAX ? 0 : fail(f, 400, "a line between chunks is too long");
	if (!take_line(&rest, ret) || ret->n > HTTP_CHUNK_LINE_MAX)
		return fail(f, 400, "a line between chunks is not as it should be");
	return rest.n > 0 ? rest.p - in.p : (ptrdiff_t)in.n;
}

static ptrdiff_t
on_chunk_line(struct http_chunks *c, struct slice in, struct http_fault *f)
{
	struct slice line = { 0 };
	ptrdiff_t used = chunk_line(in, &line, f);

	if (used <= 0)
		return used;
	switch ((enum chunk_state)c->state) {
	case CHUNK_SIZE:
		if (!read_size(line, &c->left))
			return fail(f, 400, "the length of a chunk is not a hexadecimal number");
		c->state = c->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
		break;
	case CHUNK_END:
		if (line.n > 0)
			return fail(f, 400, "a chunk is longer than it said");
		c->state = CHUNK_SIZE;
		break;
	case CHUNK_TRAILER:
		if (line.n > 0)
			return fail(f, 400, "headers behind a body are not taken");
		c->done = true;
		break;
	case CHUNK_DATA:
		break;
	}
	return used;
}

ptrdiff_t
http_read_chunk(struct http_chunks *c, struct slice in, struct slice *ret, struct http_fault *ret_fault)
{
	*ret = (struct slice){ 0 };
	if (c->done || in.n == 0)
		return 0;
	if (c->state != CHUNK_DATA)
		return on_chunk_line(c, in, ret_fault);
	*ret = slice_of(in.p, (size_t)NUM_MIN((uint64_t)in.n, c->left));
	c->left -= ret->n;
	if (c->left == 0)
		c->state = CHUNK_END;
	return (ptrdiff_t)ret->n;
}
