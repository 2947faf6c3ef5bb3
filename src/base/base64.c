/* Base64. Strict: each value has one text, so that a file cannot hide a second one. */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int
digit(uint8_t c)
{
	const char *at = c != 0 ? memchr(digits, c, sizeof(digits) - 1) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

bool
base64_get(struct slice text, uint8_t *out, size_t cap, size_t *ret_n)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t i, n = 0, body = text.n;

	while (body > 0 && text.n - body < 2 && text.p[body - 1] == '=')
		body--;
	if (body % 4 == 1 || (body != text.n && text.n % 4 != 0))
		return false;
	for (i = 0; i < body; i++) {
		int d = digit(text.p[i]);

		if (d < 0)
			return false;
		bits = bits << 6 | (uint32_t)d;
		have += 6;
		if (have < 8)
			continue;
		if (n >= cap)
			return false;
		have -= 8;
		out[n++] = (uint8_t)(bits >> have);
	}
	/* What is left over must be zero. */
	if ((bits & ((1u << have) - 1)) != 0)
		return false;
	*ret_n = n;
	return true;
}

void
base64_put(struct slice in, bool pad, char *out)
{
	size_t i, k;

	for (i = 0; i < in.n; i += 3) {
		uint32_t v = 0;
		size_t left = in.n - i < 3 ? in.n - i : 3;

		for (k = 0; k < 3; k++)
			v = v << 8 | (k < left ? in.p[i + k] : 0);
		for (k = 0; k < 4; k++) {
			if (k <= left)
				*out++ = digits[v >> (18 - 6 * k) & 63];
			else if (pad)
				*out++ = '=';
		}
	}
	*out = '\0';
}
