/* What policy files and ACL files have in common: lines, words, and errors that say where. */
#include "authz/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include "base/text.h"

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

struct authz_lines
authz_lines_of(struct slice text, const char *name, struct err *err)
{
	/* Editors of one system put a byte order mark before UTF-8. */
	if (slice_starts(text, SL("\xef\xbb\xbf")))
		text = slice_from(text, 3);
	return (struct authz_lines){ .rest = text, .name = name, .more = text.n > 0, .err = err };
}

bool
authz_lines_fail(struct authz_lines *l, const char *fmt, ...)
{
	char text[sizeof l->err->text];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	l->bad = true;
	return err_set(l->err, ERR_INPUT, "%s:%u: %s", l->name, l->line, text);
}

bool
authz_lines_nomem(struct authz_lines *l)
{
	l->bad = true;
	return err_set(l->err, ERR_MEMORY, "%s:%u: out of memory", l->name, l->line);
}

static struct slice
trim(struct slice s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = slice_from(s, 1);
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool
line_ok(struct authz_lines *l, struct slice line)
{
	if (line.n > AUTHZ_LINE_MAX)
		return authz_lines_fail(l, "the line is longer than 1,024 bytes");
	if (line.n > 0 && memchr(line.p, 0, line.n) != NULL)
		return authz_lines_fail(l, "the line holds a NUL byte: is this a text file?");
	return true;
}

bool
authz_lines_next(struct authz_lines *l, struct slice *ret)
{
	while (!l->bad && l->more) {
		struct slice line = slice_cut(&l->rest, '\n', &l->more);

		l->line++;
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (!line_ok(l, line))
			return false;
		line = trim(line);
		if (line.n == 0 || line.p[0] == '#')
			continue;
		if (!utf8_ok(line))
			return authz_lines_fail(
			    l, "the line is not UTF-8, as topics and names have to be");
		*ret = line;
		return true;
	}
	return false;
}

struct slice
authz_word(struct slice *s)
{
	struct slice word = *s;
	size_t n = 0;

	while (n < s->n && !is_blank(s->p[n]))
		n++;
	word.n = n;
	*s = trim(slice_from(*s, n));
	return word;
}

const char *
authz_show(struct slice s, struct authz_shown *buf)
{
	return text_show(s, buf->text, sizeof buf->text);
}
