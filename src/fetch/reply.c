/* An HTTP/1.1 answer, piece by piece. What could be read in two ways is refused. */
#include "fetch/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"

enum { BODY_FIRST = 4096, SHOW_CAP = 80, STATUS_OK = 200 };

void
fetch_init(struct fetch_reader *r, size_t body_max)
{
	*r = (struct fetch_reader){ .max = body_max };
}

void
fetch_done(struct fetch_reader *r)
{
	free(r->body);
	r->body = NULL;
}

static bool
begin_body(struct fetch_reader *r, struct err *err)
{
	if (r->chunked && r->has_length) /* RFC 9112 6.3: somebody in between may see another end than we do */
		return err_set(err, ERR_INPUT, "the answer has two lengths (Content-Length and chunks)");
	r->state = r->chunked ? FETCH_CHUNK : !r->has_length ? FETCH_CLOSE : r->left > 0 ? FETCH_LENGTH : FETCH_READY;
	return true;
}

/* ---- lines ---- */

static bool
on_status(struct fetch_reader *r, struct slice line, struct err *err)
{
	char shown[SHOW_CAP];
	uint64_t status;

	if (line.n < 12 || !slice_starts(line, SL("HTTP/1.")) || (line.p[7] != '0' && line.p[7] != '1') || line.p[8] != ' ' ||
	    (line.n > 12 && line.p[12] != ' ') || !text_u64(slice_of(line.p + 9, 3), 100, 599, &status))
		return err_set(err, ERR_INPUT, "this is no HTTP/1.1 answer: \"%s\"", text_show(line, shown, sizeof shown));
	r->status = (unsigned)status;
	if (status >= 200 ? status != STATUS_OK : status == 101)
		return err_set(err, ERR_INPUT, "the server answers \"%s\"", text_show(slice_from(line, 9), shown, sizeof shown));
	r->state = FETCH_HEADER;
	return true;
}

static bool
on_header(struct fetch_reader *r, struct slice line, struct err *err)
{
	struct slice value = line, name;
	bool more = false;
	uint64_t n;

	if (line.n == 0 && r->status == STATUS_OK)
		return begin_body(r, err);
	if (line.n == 0) { /* 100 Continue and its like: the answer follows */
		r->state = FETCH_STATUS;
		r->has_length = r->chunked = false;
		return true;
	}
	name = slice_cut(&value, ':', &more);
	if (!more || name.n == 0 || text_trim(name).n != name.n)
		return err_set(err, ERR_INPUT, "a header of the answer cannot be read");
	value = text_trim(value);
	if (text_same_word(name, "Content-Length")) {
		if (!text_u64(value, 0, INT64_MAX, &n) || (r->has_length && n != r->left))
			return err_set(err, ERR_INPUT, "the answer's Content-Length cannot be read");
		if (n > r->max)
			return err_set(err, ERR_LIMIT, "the answer is larger than %zu bytes", r->max);
		r->has_length = true;
		r->left = n;
	} else if (text_same_word(name, "Transfer-Encoding")) {
		if (!text_same_word(value, "chunked") || r->chunked)
			return err_set(err, ERR_INPUT, "the answer has a Transfer-Encoding that is not read");
		r->chunked = true;
	}
	return true;
}

/* RFC 9112 7.1: its length, and perhaps extensions, which mean nothing to us. */
static bool
on_chunk(struct fetch_reader *r, struct slice line, struct err *err)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < line.n && i < 15 && text_hex_digit(line.p[i]) >= 0; i++)
		n = n << 4 | (uint64_t)text_hex_digit(line.p[i]);
	if (i == 0 || (i < line.n && line.p[i] != ';' && line.p[i] != ' ' && line.p[i] != '\t'))
		return err_set(err, ERR_INPUT, "a chunk of the answer cannot be read");
	if (n > r->max - r->body_n)
		return err_set(err, ERR_LIMIT, "the answer is larger than %zu bytes", r->max);
	r->left = n;
	r->state = n > 0 ? FETCH_DATA : FETCH_TRAILER;
	return true;
}

static bool
on_line(struct fetch_reader *r, struct slice line, struct err *err)
{
	if (r->state == FETCH_STATUS)
		return on_status(r, line, err);
	if (r->state == FETCH_HEADER)
		return on_header(r, line, err);
	if (r->state == FETCH_CHUNK)
		return on_chunk(r, line, err);
	if (r->state == FETCH_TRAILER) {
		r->state = line.n == 0 ? FETCH_READY : FETCH_TRAILER;
		return true;
	}
	r->state = FETCH_CHUNK; /* was FETCH_DATA_END */
	return line.n == 0 || err_set(err, ERR_INPUT, "a chunk of the answer is longer than it says");
}

/* Up to the end of the line or of what is there; how much that was. */
static bool
take_line(struct fetch_reader *r, struct slice *bytes, struct err *err)
{
	const uint8_t *end = memchr(bytes->p, '\n', bytes->n);
	size_t n = end != NULL ? (size_t)(end - bytes->p) + 1 : bytes->n;
	struct slice line;

	if (n > sizeof r->line - r->line_n)
		return err_set(err, ERR_LIMIT, "a line of the answer is longer than %d bytes", FETCH_LINE_MAX);
	/* Lines between chunks are as many as chunks, which have a limit of their own. */
	if (r->state != FETCH_CHUNK && r->state != FETCH_DATA_END && (r->head_n += n) > FETCH_HEAD_MAX)
		return err_set(err, ERR_LIMIT, "the headers of the answer are longer than %d bytes", FETCH_HEAD_MAX);
	memcpy(r->line + r->line_n, bytes->p, n);
	r->line_n += n;
	*bytes = slice_from(*bytes, n);
	if (end == NULL)
		return true;
	line = slice_of(r->line, r->line_n - 1);
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	r->line_n = 0;
	return on_line(r, line, err);
}

/* ---- the body ---- */

static bool
take_body(struct fetch_reader *r, struct slice *bytes, struct err *err)
{
	size_t n = r->state == FETCH_CLOSE ? bytes->n : (size_t)NUM_MIN((uint64_t)bytes->n, r->left), cap = r->body_cap;
	uint8_t *p;

	if (n > r->max - r->body_n)
		return err_set(err, ERR_LIMIT, "the answer is larger than %zu bytes", r->max);
	while (cap < r->body_n + n)
		cap = cap == 0 ? BODY_FIRST : cap * 2;
	p = cap > r->body_cap ? realloc(r->body, cap) : r->body;
	if (p == NULL)
		return err_set(err, ERR_MEMORY, "out of memory");
	r->body = p;
	r->body_cap = cap;
	memcpy(p + r->body_n, bytes->p, n);
	r->body_n += n;
	*bytes = slice_from(*bytes, n);
	if (r->state == FETCH_CLOSE)
		return true;
	r->left -= n;
	if (r->left == 0)
		r->state = r->state == FETCH_LENGTH ? FETCH_READY : FETCH_DATA_END;
	return true;
}

enum fetch_step
fetch_feed(struct fetch_reader *r, struct slice bytes, struct err *err)
{
	bool ok = true;

	while (ok && bytes.n > 0 && r->state != FETCH_READY) {
		if (r->state == FETCH_LENGTH || r->state == FETCH_CLOSE || r->state == FETCH_DATA)
			ok = take_body(r, &bytes, err);
		else
			ok = take_line(r, &bytes, err);
	}
	if (!ok)
		r->state = FETCH_BAD;
	return !ok ? FETCH_BROKEN : r->state == FETCH_READY ? FETCH_DONE : FETCH_MORE;
}

enum fetch_step
fetch_end(struct fetch_reader *r, struct err *err)
{
	if (r->state == FETCH_READY || r->state == FETCH_CLOSE) {
		r->state = FETCH_READY;
		return FETCH_DONE;
	}
	(void)err_set(err, ERR_INPUT, r->head_n == 0 ? "the server closed the connection without an answer"
						     : "the server closed the connection in the middle of its answer");
	r->state = FETCH_BAD;
	return FETCH_BROKEN;
}
