/* CSV as RFC 4180 has it, a line at a time and no more of it than one line in memory. */
#include "enrol/enrol.h"

#include <stdlib.h>

enum state {
	FIELD_BEGIN,
	PLAIN,
	QUOTED,
	QUOTE_SEEN, /* the end of a quoted field, or the first of two quotes */
	LINE_ENDS,  /* CR behind it: now LF */
	BROKEN,     /* to the end of the line */
};

struct csv {
	uint8_t separator;
	enum state state;
	uint8_t mark;          /* bytes of a byte order mark that began the file; 3: nothing of the kind can come any more */
	bool ended;            /* the line before was given out */
	unsigned line, begun;  /* the line that is read; where the entry began */
	const char *fault;
	size_t n_fields, used;
	size_t begin[CSV_FIELDS_MAX + 1], end[CSV_FIELDS_MAX];
	uint8_t text[CSV_LINE_MAX];
};

struct csv *
csv_new(char separator)
{
	struct csv *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->separator = (uint8_t)separator;
	c->line = c->begun = 1;
	return c;
}

void
csv_free(struct csv *c)
{
	free(c);
}

static void
break_line(struct csv *c, const char *fault)
{
	c->fault = fault;
	c->state = BROKEN;
}

static void
put(struct csv *c, uint8_t byte)
{
	if (c->used == sizeof(c->text))
		break_line(c, "it is too long: at most 16384 bytes");
	else
		c->text[c->used++] = byte;
}

/* The field is over, and the next one begins. */
static void
close_field(struct csv *c)
{
	if (c->n_fields == CSV_FIELDS_MAX) {
		break_line(c, "it has more than 32 fields");
		return;
	}
	c->end[c->n_fields++] = c->used;
	c->begin[c->n_fields] = c->used;
	c->state = FIELD_BEGIN;
}

static void
take_plain(struct csv *c, uint8_t b)
{
	c->state = PLAIN;
	if (b == c->separator)
		close_field(c);
	else if (b == '"')
		break_line(c, "a quote stands inside a field that does not begin with one");
	else
		put(c, b);
}

static void
take_byte(struct csv *c, uint8_t b)
{
	switch (c->state) {
	case FIELD_BEGIN:
		if (b == '"')
			c->state = QUOTED;
		else
			take_plain(c, b);
		break;
	case PLAIN:
		take_plain(c, b);
		break;
	case QUOTED:
		if (b == '"')
			c->state = QUOTE_SEEN;
		else
			put(c, b);
		break;
	case QUOTE_SEEN:
		if (b == c->separator) {
			close_field(c);
		} else if (b == '"') {
			c->state = QUOTED;
			put(c, b);
		} else if (b == '\r') {
			c->state = LINE_ENDS;
		} else {
			break_line(c, "something stands behind a closing quote");
		}
		break;
	case LINE_ENDS:
		break_line(c, "something stands behind a closing quote");
		break;
	case BROKEN:
		break;
	}
}

static void
give(struct csv *c, struct csv_line *ret)
{
	if (c->state != BROKEN)
		close_field(c);
	*ret = (struct csv_line){ .number = c->begun, .fault = c->fault };
	ret->n = c->fault == NULL ? c->n_fields : 0;
	for (size_t i = 0; i < ret->n; i++)
		ret->fields[i] = slice_of(c->text + c->begin[i], c->end[i] - c->begin[i]);
	c->ended = true;
}

static void
begin_line(struct csv *c)
{
	c->ended = false;
	c->state = FIELD_BEGIN;
	c->fault = NULL;
	c->n_fields = c->used = c->begin[0] = 0;
	c->begun = c->line;
}

/* CR belongs to the end of a line where LF follows. */
static void
drop_cr(struct csv *c)
{
	if (c->state == PLAIN && c->used > c->begin[c->n_fields] && c->text[c->used - 1] == '\r')
		c->used--;
}

static bool
has_entry(const struct csv *c)
{
	return c->n_fields > 0 || c->used > 0 || (c->state != FIELD_BEGIN && c->state != PLAIN);
}

/* True: that was the end of an entry. */
static bool
take_line_end(struct csv *c)
{
	bool whole;

	c->line++;
	if (c->state == QUOTED) {
		put(c, '\n');
		return false;
	}
	drop_cr(c);
	whole = has_entry(c);
	if (!whole)
		begin_line(c);
	return whole;
}

/* A byte order mark is no text. True: <b> may be of one. */
static bool
skip_mark(struct csv *c, uint8_t b)
{
	static const uint8_t mark[] = { 0xef, 0xbb, 0xbf };
	uint8_t had = c->mark;

	if (had < sizeof(mark) && b == mark[had]) {
		c->mark++;
		return true;
	}
	c->mark = sizeof(mark);
	for (uint8_t i = 0; had < sizeof(mark) && i < had; i++)
		take_byte(c, mark[i]);
	return false;
}

/* True: an entry has ended. */
static bool
take(struct csv *c, uint8_t b)
{
	if (skip_mark(c, b))
		return false;
	if (b == '\n')
		return take_line_end(c);
	take_byte(c, b);
	return false;
}

bool
csv_next(struct csv *c, struct slice *in, bool last, struct csv_line *ret)
{
	bool whole = false;

	if (c->ended)
		begin_line(c);
	while (in->n > 0 && !whole) {
		whole = take(c, in->p[0]);
		*in = slice_from(*in, 1);
	}
	if (!whole && last) {
		if (c->state == QUOTED)
			break_line(c, "a quote is not closed until the end of the file");
		drop_cr(c);
		whole = has_entry(c);
	}
	if (whole)
		give(c, ret);
	return whole;
}
