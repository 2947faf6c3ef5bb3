/* UTF-8, and bytes from outside made safe to show; see text.h. */
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/num.h"

/* The well-formed sequence at s[i]: its length and code point, or 0. Unicode table 3-7: the second byte's range
 * depends on the first and thereby excludes overlong forms, surrogates and what lies above U+10FFFF. */
static size_t
decode(struct slice s, size_t i, uint32_t *ret_cp)
{
	uint8_t b = s.p[i], low = 0x80, high = 0xbf;
	size_t n = b < 0x80 ? 1 : b < 0xc2 ? 0 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : b < 0xf5 ? 4 : 0;
	uint32_t cp = n < 2 ? b : b & (0xffu >> (n + 1));

	if (n == 0 || s.n - i < n)
		return 0;
	if (b == 0xe0)
		low = 0xa0;
	else if (b == 0xed)
		high = 0x9f;
	else if (b == 0xf0)
		low = 0x90;
	else if (b == 0xf4)
		high = 0x8f;
	for (size_t k = 1; k < n; k++) {
		uint8_t c = s.p[i + k];

		if (c < low || c > high)
			return 0;
		low = 0x80;
		high = 0xbf;
		cp = cp << 6 | (c & 0x3fu);
	}
	*ret_cp = cp;
	return n;
}

/* Eight bytes that are all in U+0001..U+007F. */
static bool
ascii8(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	/* The subtraction sets the top bit of a byte that was zero; where a borrow sets one more, the byte below was
	 * zero, so the answer is the same. */
	return ((v | (v - 0x0101010101010101u)) & 0x8080808080808080u) == 0;
}

bool
utf8_ok(struct slice s)
{
	size_t i = 0;

	while (i < s.n) {
		uint32_t cp;
		size_t n;

		if (s.n - i >= 8 && ascii8(s.p + i)) {
			i += 8;
			continue;
		}
		/* The last few bytes by one look, which may see some a second time: most text is ASCII. */
		if (s.n - i < 8 && s.n >= 8 && ascii8(s.p + s.n - 8))
			return true;
		n = decode(s, i, &cp);
		if (n == 0 || cp == 0) /* [MQTT-1.5.4-1], [MQTT-1.5.4-2] */
			return false;
		i += n;
	}
	return true;
}

static const char digits[] = "0123456789abcdef";

/* Text that grows piece by piece and is cut between two pieces. */
struct out {
	char *p;
	size_t cap, n, safe; /* safe: the last end of a piece behind which "..." fits */
};

static bool
out_add(struct out *o, const char *piece, size_t n)
{
	if (o->n + n + 1 > o->cap) {
		memcpy(o->p + o->safe, "...", 4);
		return false;
	}
	memcpy(o->p + o->n, piece, n);
	o->n += n;
	o->p[o->n] = '\0';
	if (o->n + 4 <= o->cap)
		o->safe = o->n;
	return true;
}

/* Code points that would change how the text around them is shown: line and paragraph separators, direction. */
static bool
is_trick(uint32_t cp)
{
	return cp == 0x61c || cp == 0x200e || cp == 0x200f || (cp >= 0x2028 && cp <= 0x202e) ||
	    (cp >= 0x2066 && cp <= 0x2069);
}

static bool
out_byte(struct out *o, uint8_t b)
{
	char hex[4] = { '\\', 'x', digits[b >> 4], digits[b & 15] };

	return out_add(o, hex, sizeof hex);
}

/* One character of <n> bytes at <p>, escaped where it has to be; n = 0: a byte that is not UTF-8. */
static bool
out_char(struct out *o, const uint8_t *p, size_t n, uint32_t cp, bool quotes)
{
	if (n == 0 || (n == 1 && (cp < 0x20 || cp == 0x7f)))
		return out_byte(o, p[0]);
	if (quotes && (cp == '"' || cp == '\'' || cp == '\\'))
		return out_byte(o, p[0]);
	if (cp >= 0x80 && cp < 0xa0) /* C1 controls: a terminal may obey them */
		return out_byte(o, p[0]) && out_byte(o, p[1]);
	if (is_trick(cp)) {
		char u[8] = { '\\', 'u', '{', digits[cp >> 12], digits[cp >> 8 & 15], digits[cp >> 4 & 15],
			digits[cp & 15], '}' };

		return out_add(o, u, sizeof u);
	}
	return out_add(o, (const char *)p, n);
}

static const char *
show(struct slice s, char *out, size_t cap, bool quotes)
{
	struct out o = { .p = out, .cap = cap };

	if (cap == 0)
		return "";
	out[0] = '\0';
	if (cap < 4)
		return out;
	for (size_t i = 0; i < s.n;) {
		uint32_t cp = 0;
		size_t n = decode(s, i, &cp);

		if (!out_char(&o, s.p + i, n, cp, quotes))
			break;
		i += n > 0 ? n : 1;
	}
	return out;
}

const char *
text_show(struct slice s, char *out, size_t cap)
{
	return show(s, out, cap, true);
}

const char *
text_line(struct slice s, char *out, size_t cap)
{
	return show(s, out, cap, false);
}

const char *
text_hex(struct slice s, char *out, size_t cap)
{
	size_t n;

	if (cap == 0)
		return "";
	n = NUM_MIN(s.n, (cap - 1) / 2);
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[s.p[i] >> 4];
		out[2 * i + 1] = digits[s.p[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

bool
text_u64(struct slice s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || !num_mul(v, 10u, &v) || !num_add(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	if (v < min || v > max)
		return false;
	*ret = v;
	return true;
}

const char *
text_when(int64_t t, char out[static 32])
{
	time_t when = (time_t)t;
	struct tm tm;

	if (gmtime_r(&when, &tm) == NULL || strftime(out, 32, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		(void)snprintf(out, 32, "an unreadable time");
	return out;
}

int
text_hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
text_unhex(struct slice hex, uint8_t *out, size_t cap, size_t *ret_n)
{
	if (hex.n % 2 != 0 || hex.n / 2 > cap)
		return false;
	for (size_t i = 0; i < hex.n / 2; i++) {
		int high = text_hex_digit(hex.p[2 * i]), low = text_hex_digit(hex.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	*ret_n = hex.n / 2;
	return true;
}

struct slice
text_trim(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = slice_from(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

bool
text_is_token(struct slice s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
			continue;
		if (memchr(others, c, sizeof(others) - 1) == NULL)
			return false;
	}
	return s.n > 0;
}

bool
text_same_word(struct slice s, const char *word)
{
	return s.n == strlen(word) && strncasecmp((const char *)s.p, word, s.n) == 0;
}

bool
text_has_word(struct slice list, const char *word)
{
	bool more = true;

	while (more)
		if (text_same_word(text_trim(slice_cut(&list, ',', &more)), word))
			return true;
	return false;
}

bool
text_shell(const char *s, char *out, size_t cap)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:@%+=-";
	size_t n = 0;

	if (s[0] != '\0' && strspn(s, plain) == strlen(s))
		return text_copy(out, cap, slice_str(s));
	if (cap > 0)
		out[n++] = '\'';
	/* A quote ends the quoted part, stands by itself, and begins the next. */
	for (; *s != '\0'; s++) {
		size_t piece = *s == '\'' ? 4 : 1;

		if (n + piece + 2 > cap)
			break;
		memcpy(out + n, *s == '\'' ? "'\\''" : s, piece);
		n += piece;
	}
	if (*s != '\0' || n + 2 > cap) {
		(void)text_copy(out, cap, (struct slice){ 0 });
		return false;
	}
	out[n++] = '\'';
	out[n] = '\0';
	return true;
}

bool
text_copy(char *out, size_t cap, struct slice s)
{
	if (cap == 0)
		return false;
	out[0] = '\0';
	if (s.n >= cap || (s.n > 0 && memchr(s.p, 0, s.n) != NULL))
		return false;
	if (s.n > 0)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
	return true;
}

char *
text_dup(struct slice s)
{
	char *copy = malloc(s.n + 1);

	if (copy == NULL)
		return NULL;
	if (s.n > 0)
		memcpy(copy, s.p, s.n);
	copy[s.n] = '\0';
	return copy;
}
