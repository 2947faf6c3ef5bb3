/* Requests that come as text: OCSP in a URL, EST in base64. */
#include "pki/internal.h"

#include "base/base64.h"
#include "base/text.h"

bool
pki_ocsp_from_path(struct slice path, uint8_t *out, size_t cap, size_t *ret_n)
{
	uint8_t text[PKI_OCSP_PATH_MAX];
	size_t n = 0;

	if (path.n == 0 || path.n > sizeof text)
		return false;
	for (size_t i = 0; i < path.n; i++) {
		uint8_t c = path.p[i];

		if (c == '%') {
			int high = i + 2 < path.n ? text_hex_digit(path.p[i + 1]) : -1;
			int low = i + 2 < path.n ? text_hex_digit(path.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = (uint8_t)(high << 4 | low);
			i += 2;
		}
		/* Some send the alphabet for URLs (RFC 4648 5). */
		text[n++] = c == '-' ? '+' : c == '_' ? '/' : c;
	}
	return base64_get(slice_of(text, n), out, cap, ret_n) && *ret_n > 0;
}

/* RFC 8951 3.1: with white space anywhere, or without. */
bool
pki_est_decode(struct slice body, uint8_t *out, size_t cap, size_t *ret_n)
{
	uint8_t *text = malloc(body.n > 0 ? body.n : 1);
	size_t n = 0;
	bool ok;

	if (text == NULL)
		return false;
	for (size_t i = 0; i < body.n; i++)
		if (body.p[i] != ' ' && body.p[i] != '\t' && body.p[i] != '\r' && body.p[i] != '\n')
			text[n++] = body.p[i];
	ok = base64_get(slice_of(text, n), out, cap, ret_n) && *ret_n > 0;
	free(text);
	return ok;
}

char *
pki_est_encode(struct slice der)
{
	enum { LINE = 48 };
	char *text = malloc(der.n / LINE * 66 + 70), *at = text;

	if (text != NULL)
		*text = '\0';
	for (size_t i = 0; text != NULL && i < der.n; i += LINE) {
		base64_put(slice_of(der.p + i, NUM_MIN(der.n - i, (size_t)LINE)), true, at);
		at += strlen(at);
		memcpy(at, "\r\n", 3);
		at += 2;
	}
	return text;
}
