/* Where an "http:" URL leads (RFC 3986). */
#include "fetch/fetch.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

static bool
is_visible(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			return false;
	return true;
}

/* HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT. */
static bool
split_authority(struct slice a, struct fetch_url *u)
{
	const uint8_t *close = a.n > 0 && a.p[0] == '[' ? memchr(a.p, ']', a.n) : NULL;
	struct slice host = a, port = { 0 };
	uint64_t n = 80;

	if (close != NULL) {
		host = slice_of(a.p + 1, (size_t)(close - a.p) - 1);
		port = slice_from(a, host.n + 2);
	} else {
		const uint8_t *colon = a.n > 0 ? memchr(a.p, ':', a.n) : NULL;

		host.n = colon != NULL ? (size_t)(colon - a.p) : a.n;
		port = slice_from(a, host.n);
	}
	if (port.n > 0 && (port.p[0] != ':' || !text_u64(slice_from(port, 1), 1, 65535, &n)))
		return false;
	if (host.n == 0 || memchr(host.p, '[', host.n) != NULL || memchr(a.p, '@', a.n) != NULL)
		return false;
	(void)snprintf(u->port, sizeof u->port, "%u", (unsigned)n);
	return text_copy(u->host, sizeof u->host, host) && text_copy(u->authority, sizeof u->authority, a);
}

bool
fetch_url_parse(const char *url, struct fetch_url *ret, struct err *err)
{
	struct slice all = slice_str(url), rest;
	struct fetch_url u = { .path = "/" };
	char shown[128];
	size_t n;

	if (slice_starts(all, SL("https:")))
		return err_set(err, ERR_USAGE, "%s: only http: is spoken with a responder; its answers are signed", text_show(all, shown, sizeof shown));
	if (!slice_starts(all, SL("http://")) || all.n > FETCH_URL_MAX || !is_visible(all) || strchr(url, '#') != NULL)
		return err_set(err, ERR_USAGE, "\"%s\" is no URL like http://host:port/path", text_show(all, shown, sizeof shown));
	rest = slice_from(all, 7);
	for (n = 0; n < rest.n && rest.p[n] != '/' && rest.p[n] != '?'; n++)
		;
	if (!split_authority(slice_of(rest.p, n), &u))
		return err_set(err, ERR_USAGE, "%s: its host or port cannot be read", text_show(all, shown, sizeof shown));
	rest = slice_from(rest, n);
	if (rest.n > 0)
		(void)snprintf(u.path, sizeof u.path, "%s%s", rest.p[0] == '?' ? "/" : "", (const char *)rest.p);
	*ret = u;
	return true;
}
