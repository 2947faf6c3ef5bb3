/* The text of a token. */
#include "enrol/enrol.h"

#include <stdio.h>

#include "base/text.h"

#define SCHEME "signet://"
#define KEY "ca="

static bool
is_of(struct slice s, const char *more)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i], lower = (uint8_t)(c | 0x20);

		if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && (c == 0 || strchr(more, c) == NULL))
			return false;
	}
	return s.n > 0;
}

static bool
is_hex(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!(s.p[i] >= '0' && s.p[i] <= '9') && !(s.p[i] >= 'a' && s.p[i] <= 'f'))
			return false;
	return true;
}

/* Percent codes (RFC 3986 2.1) undone. */
static bool
decode(struct slice s, char out[static ENROL_DEVICE_CAP])
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		int c = s.p[i];

		if (c == '%') {
			int high = i + 2 < s.n ? text_hex_digit(s.p[i + 1]) : -1, low = high >= 0 ? text_hex_digit(s.p[i + 2]) : -1;

			if (low < 0)
				return false;
			c = high << 4 | low;
			i += 2;
		}
		if (c == 0 || n + 1 >= ENROL_DEVICE_CAP)
			return false;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return utf8_ok(slice_of(out, n));
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool
enrol_token_read(struct slice text, struct enrol_token *ret, struct err *err)
{
	struct enrol_token t;
	struct slice host, device, query;
	bool has_path, has_query, has_secret;

	while (text.n > 0 && is_blank(text.p[0]))
		text = slice_from(text, 1);
	while (text.n > 0 && is_blank(text.p[text.n - 1]))
		text.n--;
	if (!slice_starts(text, SL(SCHEME)) || text.n >= ENROL_TOKEN_CAP)
		return err_set(err, ERR_INPUT, "this is no token: one begins with " SCHEME);
	text = slice_from(text, sizeof(SCHEME) - 1);
	host = slice_cut(&text, '/', &has_path);
	device = slice_cut(&text, '?', &has_query);
	query = slice_cut(&text, '#', &has_secret);
	if (!has_path || !has_query || !has_secret)
		return err_set(err, ERR_INPUT, "the token is not whole: it has %s", !has_path ? "no '/'" : !has_query ? "no '?'" : "no '#' with a secret behind it");
	if (!is_of(host, "-.:_[]") || !text_copy(t.host, sizeof(t.host), host))
		return err_set(err, ERR_INPUT, "the token's host is no host");
	if (!decode(device, t.device))
		return err_set(err, ERR_INPUT, "the token's device is no device's id");
	if (!slice_starts(query, SL(KEY)))
		return err_set(err, ERR_INPUT, "the token has no fingerprint (ca=…)");
	query = slice_from(query, sizeof(KEY) - 1);
	if (query.n != 64 || !is_hex(query) || !text_copy(t.ca, sizeof(t.ca), query))
		return err_set(err, ERR_INPUT, "the token's fingerprint is not 64 digits of lower-case hex");
	if (!is_of(text, "") || !text_copy(t.secret, sizeof(t.secret), text))
		return err_set(err, ERR_INPUT, "the token's secret is not of letters and digits");
	*ret = t;
	return true;
}

bool
enrol_token_write(const struct enrol_token *t, char out[static ENROL_TOKEN_CAP])
{
	char name[3 * ENROL_DEVICE_CAP + 1] = "";
	struct enrol_token back;
	size_t at = 0;
	int n;

	for (const char *p = t->device; *p != '\0'; p++) {
		bool plain = is_of(slice_of(p, 1), "-._~");

		at += (size_t)snprintf(name + at, sizeof(name) - at, plain ? "%c" : "%%%02X", (unsigned char)*p);
	}
	n = snprintf(out, ENROL_TOKEN_CAP, SCHEME "%s/%s?" KEY "%s#%s", t->host, name, t->ca, t->secret);
	return n > 0 && n < ENROL_TOKEN_CAP && enrol_token_read(slice_str(out), &back, NULL);
}
