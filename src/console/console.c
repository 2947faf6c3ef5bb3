/* Finding the console's files, and the answers of HTTP. The files are the same for everybody and hold no secret, so nobody needs to be
 * signed in for them. */
#include "console/console.h"

#include <stdio.h>

#include "base/text.h"

const char console_security[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types signet\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Permissions-Policy: camera=(), geolocation=(), microphone=()\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "X-Frame-Options: DENY\r\n";

const struct console_file *
console_find(struct slice path)
{
	if (path.n == 0)
		path = SL("index.html");
	for (size_t i = 0; i < console_files_n; i++)
		if (slice_eq(path, slice_str(console_files[i].path)))
			return &console_files[i];
	return NULL;
}

/* A weight of zero is a no (RFC 9110 12.4.2). */
static bool
is_refused(struct slice weight)
{
	weight = text_trim(weight);
	if (weight.n < 3 || (weight.p[0] != 'q' && weight.p[0] != 'Q') || weight.p[1] != '=')
		return false;
	for (size_t i = 2; i < weight.n; i++)
		if (weight.p[i] != '0' && weight.p[i] != '.')
			return false;
	return true;
}

bool
console_takes_gzip(struct slice accept)
{
	bool more = accept.p != NULL, parameters;

	while (more) {
		struct slice one = slice_cut(&accept, ',', &more), name = slice_cut(&one, ';', &parameters);

		name = text_trim(name);
		if (text_same_word(name, "gzip") || text_same_word(name, "x-gzip"))
			return !is_refused(one);
	}
	return false;
}

/* Weak comparison, as If-None-Match has it (RFC 9110 13.1.2). */
static bool
knows(struct slice list, const char *etag)
{
	bool more = list.p != NULL;

	while (more) {
		struct slice one = text_trim(slice_cut(&list, ',', &more));

		if (slice_starts(one, SL("W/")))
			one = slice_from(one, 2);
		if (slice_eq(one, SL("*")) || slice_eq(one, slice_str(etag)))
			return true;
	}
	return false;
}

/* Kept, but asked for: another version of the program brings another page at once. */
static void
answer_file(const struct console_file *f, const struct console_ask *ask, struct console_reply *ret)
{
	bool packed = console_takes_gzip(ask->accept), same;
	const char *etag = packed ? f->etag_gzip : f->etag;

	same = knows(ask->none_match, etag);
	*ret = (struct console_reply){ .status = same ? 304 : 200, .type = same ? NULL : f->type };
	if (!same)
		ret->body = packed ? f->gzip : f->plain;
	(void)snprintf(ret->fields, sizeof(ret->fields), "ETag: %s\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n%s", etag,
	    packed && !same ? "Content-Encoding: gzip\r\n" : "");
}

bool
console_answer(const struct console_ask *ask, struct console_reply *ret)
{
	static const struct slice folder = { (const uint8_t *)"/console/", 9 };
	const struct console_file *f;
	struct slice name;

	if (console_files_n == 0)
		return false;
	if (slice_eq(ask->path, SL("/")) || slice_eq(ask->path, SL("/console"))) {
		*ret = (struct console_reply){ .status = 302, .fields = "Location: /console/\r\nCache-Control: no-store\r\n" };
		return true;
	}
	if (!slice_starts(ask->path, folder))
		return false;
	name = slice_from(ask->path, folder.n);
	f = console_find(name);
	if (f != NULL)
		answer_file(f, ask, ret);
	else if (slice_eq(name, SL("mode.json")))
		*ret = (struct console_reply){ .status = 200, .type = "application/json", .fields = "Cache-Control: no-store\r\n", .body = ask->mode };
	else
		*ret = (struct console_reply){ .status = 404 };
	return true;
}
