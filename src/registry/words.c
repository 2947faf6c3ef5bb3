/* What may stand in a field. Whoever asks for more (a JSON schema, a policy) has done so before. */
#include "registry/internal.h"

#include <stdio.h>

bool
word_text(struct slice s, size_t max, const char *what, struct err *err)
{
	if (s.n > max)
		return err_set(err, ERR_INPUT, "the %s is too long: at most %zu bytes", what, max);
	return utf8_ok(s) || err_set(err, ERR_INPUT, "the %s is no text: it must be UTF-8 without NUL", what);
}

bool
word_json(struct slice s, const char *what, struct err *err)
{
	return word_text(s, REGISTRY_JSON_MAX, what, err);
}

static bool
is_plain(uint8_t c, bool upper)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z');
}

bool
word_name(struct slice s, const char *more, bool upper, const char *what, struct err *err)
{
	bool ok = s.n > 0 && s.n <= REGISTRY_NAME_MAX && is_plain(s.p[0], upper);

	for (size_t i = 0; ok && i < s.n; i++)
		ok = is_plain(s.p[i], upper) || (s.p[i] != '\0' && strchr(more, s.p[i]) != NULL);
	return ok || err_set(err, ERR_INPUT, "a %s is 1 to %d of %sa-z 0-9 %s and begins with a letter or digit", what,
	    REGISTRY_NAME_MAX, upper ? "A-Z " : "", more);
}

bool
word_hash(struct slice s, const char *what, struct err *err)
{
	return s.n == REGISTRY_HASH || err_set(err, ERR_INPUT, "the %s is no SHA-256: it has %zu bytes", what, s.n);
}

bool
registry_cn_ok(struct slice cn)
{
	size_t characters = 0;

	if (cn.n == 0 || cn.n > CN_BYTES_MAX || !utf8_ok(cn))
		return false;
	for (size_t i = 0; i < cn.n; i++) {
		uint8_t c = cn.p[i];

		if (c < 0x20 || c == 0x7f || c == '/' || c == '+' || c == '#' || (c == 0xc2 && cn.p[i + 1] < 0xa0))
			return false; /* C1 controls are U+0080 to U+009F: C2 80 to C2 9F */
		characters += (c & 0xc0) != 0x80;
	}
	return characters <= REGISTRY_NAME_MAX;
}

bool
word_lower(struct slice s, char *out, size_t cap, struct slice *ret)
{
	if (s.n > cap)
		return false;
	for (size_t i = 0; i < s.n; i++)
		out[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]);
	*ret = slice_of(out, s.n);
	return true;
}

struct slice
word_number(int64_t n, char out[NUMBER_TEXT])
{
	int len = snprintf(out, NUMBER_TEXT, "%lld", (long long)n);

	return slice_of(out, (size_t)len);
}

bool
word_hex(struct slice hex, uint8_t *out, size_t cap, struct slice *ret)
{
	size_t n;

	if (hex.n == 0 || !text_unhex(hex, out, cap, &n))
		return false;
	*ret = slice_of(out, n);
	return true;
}
