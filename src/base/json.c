#include "base/json.h"

#include <string.h>

#include "base/text.h"

/* What may stand next. */
enum next { NEXT_VALUE, NEXT_VALUE_OR_END, NEXT_NAME, NEXT_NAME_OR_END, NEXT_COLON, NEXT_COMMA_OR_END, NEXT_NOTHING, NEXT_FAULT };

struct reader {
	struct slice s;
	size_t at;
	unsigned depth;
	uint8_t is_object[JSON_NESTING_MAX / 8]; /* one bit a level */
};

static int
peek(const struct reader *r)
{
	return r->at < r->s.n ? r->s.p[r->at] : -1;
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void
skip_blanks(struct reader *r)
{
	while (r->at < r->s.n && is_blank(r->s.p[r->at]))
		r->at++;
}

static bool
is_hex(int c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool
read_escape(struct reader *r)
{
	int c = peek(r);

	r->at++;
	if (c != 'u')
		return c > 0 && strchr("\"\\/bfnrt", c) != NULL;
	for (unsigned i = 0; i < 4; i++, r->at++)
		if (!is_hex(peek(r)))
			return false;
	return true;
}

/* Behind its first quote. */
static bool
read_string(struct reader *r)
{
	for (;;) {
		int c = peek(r);

		r->at++;
		if (c == '"')
			return true;
		if (c < ' ' || (c == '\\' && !read_escape(r)))
			return false;
	}
}

static bool
read_digits(struct reader *r)
{
	size_t from = r->at;

	while (peek(r) >= '0' && peek(r) <= '9')
		r->at++;
	return r->at > from;
}

static bool
read_number(struct reader *r)
{
	if (peek(r) == '-')
		r->at++;
	if (peek(r) == '0')
		r->at++;
	else if (!read_digits(r))
		return false;
	if (peek(r) == '.') {
		r->at++;
		if (!read_digits(r))
			return false;
	}
	if (peek(r) != 'e' && peek(r) != 'E')
		return true;
	r->at++;
	if (peek(r) == '+' || peek(r) == '-')
		r->at++;
	return read_digits(r);
}

static bool
read_word(struct reader *r, const char *word)
{
	size_t n = strlen(word);

	if (r->s.n - r->at < n || memcmp(r->s.p + r->at, word, n) != 0)
		return false;
	r->at += n;
	return true;
}

static enum next
open_level(struct reader *r, bool object)
{
	uint8_t bit = (uint8_t)(1u << r->depth % 8);

	if (r->depth == JSON_NESTING_MAX)
		return NEXT_FAULT;
	if (object)
		r->is_object[r->depth / 8] |= bit;
	else
		r->is_object[r->depth / 8] &= (uint8_t)~bit;
	r->depth++;
	r->at++;
	return object ? NEXT_NAME_OR_END : NEXT_VALUE_OR_END;
}

static bool
in_object(const struct reader *r)
{
	return (r->is_object[(r->depth - 1) / 8] >> (r->depth - 1) % 8 & 1) != 0;
}

static enum next
close_level(struct reader *r)
{
	r->at++;
	r->depth--;
	return r->depth == 0 ? NEXT_NOTHING : NEXT_COMMA_OR_END;
}

static enum next
read_value(struct reader *r)
{
	int c = peek(r);
	bool ok;

	if (c == '{' || c == '[')
		return open_level(r, c == '{');
	if (c == '"') {
		r->at++;
		ok = read_string(r);
	} else if (c == 't' || c == 'f' || c == 'n') {
		ok = read_word(r, c == 't' ? "true" : c == 'f' ? "false" : "null");
	} else {
		ok = read_number(r);
	}
	return ok ? NEXT_COMMA_OR_END : NEXT_FAULT;
}

static enum next
read_name(struct reader *r)
{
	if (peek(r) != '"')
		return NEXT_FAULT;
	r->at++;
	return read_string(r) ? NEXT_COLON : NEXT_FAULT;
}

static enum next
step(struct reader *r, enum next what)
{
	int c = peek(r);

	switch (what) {
	case NEXT_VALUE_OR_END:
		return c == ']' ? close_level(r) : read_value(r);
	case NEXT_VALUE:
		return read_value(r);
	case NEXT_NAME_OR_END:
		return c == '}' ? close_level(r) : read_name(r);
	case NEXT_NAME:
		return read_name(r);
	case NEXT_COLON:
		r->at++;
		return c == ':' ? NEXT_VALUE : NEXT_FAULT;
	case NEXT_COMMA_OR_END:
		if (c == (in_object(r) ? '}' : ']'))
			return close_level(r);
		r->at++;
		return c != ',' ? NEXT_FAULT : in_object(r) ? NEXT_NAME : NEXT_VALUE;
	case NEXT_NOTHING:
	case NEXT_FAULT:
		break;
	}
	return NEXT_FAULT;
}

bool
json_text_is_object(struct slice s)
{
	struct reader r = { .s = s };
	enum next what;

	skip_blanks(&r);
	if (peek(&r) != '{' || !utf8_ok(s))
		return false;
	what = open_level(&r, true);
	while (what != NEXT_NOTHING && what != NEXT_FAULT) {
		skip_blanks(&r);
		what = step(&r, what);
	}
	skip_blanks(&r);
	return what == NEXT_NOTHING && r.at == s.n;
}
