/* JSON (RFC 8259) out, and in as far as checking and reprinting goes: numbers and strings keep
 * their own spelling. */
#include "base/text.h"
#include "cli/format.h"

enum { DEPTH_MAX = 128 };

/* ---- writing ---- */

static void
new_line(struct jout *j)
{
	if (!j->pretty)
		return;
	putc('\n', j->f);
	for (unsigned i = 0; i < j->depth; i++)
		putc('\t', j->f);
}

void
jout_open(struct jout *j)
{
	putc('{', j->f);
	j->depth++;
	j->first = true;
}

void
jout_close(struct jout *j)
{
	j->depth--;
	new_line(j);
	putc('}', j->f);
	j->first = false;
}

void
jout_key(struct jout *j, struct slice key)
{
	if (!j->first)
		putc(',', j->f);
	j->first = false;
	new_line(j);
	jout_string(j, key);
	fputs(j->pretty ? ":\t" : ":", j->f);
}

/* Bytes of the well-formed UTF-8 sequence at the start of <s>, or 0. */
static size_t
sequence(struct slice s)
{
	uint8_t c = s.p[0];
	size_t n = c < 0x80                ? 1
		   : c >= 0xc2 && c < 0xe0 ? 2
		   : (c & 0xf0) == 0xe0    ? 3
		   : c >= 0xf0 && c < 0xf5 ? 4
					   : 0;

	if (n == 0 || n > s.n)
		return 0;
	return n == 1 || utf8_ok(slice_of(s.p, n)) ? n : 0;
}

static void
escaped(FILE *f, uint8_t c)
{
	static const char names[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
	const char *at = c != 0 ? strchr(names, c) : NULL;

	if (at != NULL)
		fprintf(f, "\\%c", letters[at - names]);
	else if (c < 0x20)
		fprintf(f, "\\u%04x", c);
	else
		putc(c, f);
}

void
jout_string(struct jout *j, struct slice s)
{
	putc('"', j->f);
	while (s.n > 0) {
		size_t n = sequence(s);

		if (n == 0)
			fputs("\\ufffd", j->f);
		else if (n == 1)
			escaped(j->f, s.p[0]);
		else
			fwrite(s.p, 1, n, j->f);
		s = slice_from(s, n > 0 ? n : 1);
	}
	putc('"', j->f);
}

/* ---- reading: one walk checks (out == NULL) or reprints ---- */

struct walk {
	const uint8_t *p, *end;
	struct jout *out;
	unsigned depth;
};

static bool value(struct walk *w);

static void
skip_space(struct walk *w)
{
	while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\n' || *w->p == '\r'))
		w->p++;
}

static void
emit(struct walk *w, const void *p, size_t n)
{
	if (w->out != NULL)
		fwrite(p, 1, n, w->out->f);
}

/* Skip white space; is <c> next? Then take it. */
static bool
take(struct walk *w, uint8_t c)
{
	skip_space(w);
	if (w->p == w->end || *w->p != c)
		return false;
	w->p++;
	return true;
}

static bool
hex4(struct walk *w)
{
	for (int i = 0; i < 4; i++, w->p++)
		if (w->p == w->end || *w->p == 0 || strchr("0123456789abcdefABCDEF", *w->p) == NULL)
			return false;
	return true;
}

/* Behind the opening quote. */
static bool
string(struct walk *w)
{
	const uint8_t *start = w->p - 1;

	while (w->p < w->end && *w->p != '"') {
		uint8_t c = *w->p++;

		if (c < 0x20)
			return false;
		if (c != '\\')
			continue;
		if (w->p == w->end || *w->p == 0 || strchr("\"\\/bfnrtu", *w->p) == NULL)
			return false;
		if (*w->p++ == 'u' && !hex4(w))
			return false;
	}
	if (w->p == w->end)
		return false;
	w->p++;
	emit(w, start, (size_t)(w->p - start));
	return true;
}

static bool
digits(struct walk *w)
{
	const uint8_t *start = w->p;

	while (w->p < w->end && *w->p >= '0' && *w->p <= '9')
		w->p++;
	return w->p > start;
}

static bool
number(struct walk *w)
{
	const uint8_t *start = w->p;

	if (*w->p == '-')
		w->p++;
	if (w->p < w->end && *w->p == '0')
		w->p++;
	else if (!digits(w))
		return false;
	if (w->p < w->end && *w->p == '.') {
		w->p++;
		if (!digits(w))
			return false;
	}
	if (w->p < w->end && (*w->p | 0x20) == 'e') {
		w->p++;
		if (w->p < w->end && (*w->p == '+' || *w->p == '-'))
			w->p++;
		if (!digits(w))
			return false;
	}
	emit(w, start, (size_t)(w->p - start));
	return true;
}

static bool
word(struct walk *w, struct slice text)
{
	if (!slice_starts(slice_of(w->p, (size_t)(w->end - w->p)), text))
		return false;
	w->p += text.n;
	emit(w, text.p, text.n);
	return true;
}

static bool
array(struct walk *w)
{
	emit(w, "[", 1);
	if (!take(w, ']')) {
		do {
			if (!value(w))
				return false;
			skip_space(w);
			if (w->p < w->end && *w->p == ',')
				emit(w, ", ", w->out != NULL && w->out->pretty ? 2 : 1);
		} while (take(w, ','));
		if (!take(w, ']'))
			return false;
	}
	emit(w, "]", 1);
	return true;
}

static bool
members(struct walk *w)
{
	bool more = false;

	do {
		if (w->out != NULL) {
			emit(w, ",", more ? 1 : 0);
			new_line(w->out);
		}
		if (!take(w, '"') || !string(w) || !take(w, ':'))
			return false;
		emit(w, ":\t", w->out != NULL && w->out->pretty ? 2 : 1);
		if (!value(w))
			return false;
		more = true;
	} while (take(w, ','));
	return true;
}

static bool
object(struct walk *w)
{
	emit(w, "{", 1);
	if (w->out != NULL)
		w->out->depth++;
	if (!take(w, '}') && (!members(w) || !take(w, '}')))
		return false;
	if (w->out != NULL) {
		w->out->depth--;
		new_line(w->out);
	}
	emit(w, "}", 1);
	return true;
}

/* Recursion is bounded by DEPTH_MAX. */
static bool
value(struct walk *w)
{
	bool ok;

	skip_space(w);
	if (w->p == w->end)
		return false;
	switch (*w->p) {
	case '"':
		w->p++;
		return string(w);
	case 't':
		return word(w, SL("true"));
	case 'f':
		return word(w, SL("false"));
	case 'n':
		return word(w, SL("null"));
	case '{':
	case '[':
		if (w->depth == DEPTH_MAX)
			return false;
		w->depth++;
		ok = *w->p++ == '{' ? object(w) : array(w);
		w->depth--;
		return ok;
	default:
		return number(w);
	}
}

bool
json_ok(struct slice s)
{
	struct walk w = { s.p, s.n > 0 ? s.p + s.n : s.p, NULL, 0 };

	if (!utf8_ok(s) || !value(&w))
		return false;
	skip_space(&w);
	return w.p == w.end;
}

void
jout_copy(struct jout *j, struct slice s)
{
	struct walk w = { s.p, s.n > 0 ? s.p + s.n : s.p, j, 0 };

	(void)value(&w); /* checked before */
}
